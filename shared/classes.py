"""Classes of many parts as one: the most frequent one, the lowest of those that are equally so.

A mean of classes says nothing, nor does one of azimuths.  What does the averaging of numbers also
counts classes: the mean of 1 where a part has the class and 0 where it has another one is the
share of the class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 256  # classes; what has more is no classification
TOGETHER = 4  # classes that are averaged at a time

Shares = Callable[[Sequence[float]], Sequence[NDArray[np.floating]]]


def most_frequent(classes: Iterable[float], shares: Shares, size: int) -> NDArray[np.float32]:
    """The class of each of ``size`` parts with the largest share; NaN where none has any.

    ``shares`` gives, of some classes, the share of each of them in each part, or anything that
    grows with it.
    """
    found = np.full(size, np.nan, np.float32)
    best = np.zeros(size)
    every = sorted(classes)
    for some in (every[i : i + TOGETHER] for i in range(0, len(every), TOGETHER)):
        for value, share in zip(some, shares(some), strict=True):
            more = share > best  # False for NaN
            found[more] = value
            best[more] = share[more]
    return found


def most_frequent_by_counts(
    parts: Sequence[tuple[Any, NDArray[Any], NDArray[Any]]], size: int
) -> NDArray[np.float32]:
    """As `most_frequent`, of parts that each hold some of the places.

    A part is which places it holds, the class of each of these, NaN for none, and its count.
    """

    def shares(some: Sequence[float]) -> Sequence[NDArray[np.floating]]:
        found = []
        for value in some:
            share = np.zeros(size)
            for has, classes, counts in parts:
                share[has] += np.where(classes == value, counts, 0)
            found.append(share)
        return found

    every = np.unique(np.concatenate([classes for _, classes, _ in parts]))
    return most_frequent(every[np.isfinite(every)].tolist(), shares, size)
