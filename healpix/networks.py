"""Which values to compare and swap, in turn, so that the middle ones are in the middle.

By Batcher's odd-even merge sort (Knuth, vol. 3, 5.2.2 M), whose steps do not depend on the values,
so that many cells are taken at a time; of its steps those that the middle depends on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from healpix.arrays import Ints


def middle(number: int) -> int:
    """The place of the lower one of the two that a median may be the mean of.

    Of an even number they are the two in the middle; of an odd one that in the middle and the one
    before it, which are in the middle of one value less.
    """
    return max((number - 1) // 2 - number % 2, 0)


@lru_cache(maxsize=64)
def median_network(number: int) -> Ints:
    """The places to compare, (step, 2): the lesser value goes to the first of both."""
    needed = {middle(number), min(middle(number) + 1, number - 1)}
    kept = []
    for pair in reversed(list(_batcher(number))):
        if not needed.isdisjoint(pair):
            kept.append(pair)
            needed |= set(pair)
    return np.array(kept[::-1], np.int64).reshape(-1, 2)


def _batcher(number: int) -> Iterator[tuple[int, int]]:
    """The steps that sort so many values."""
    p = 1
    while p < number:
        k = p
        while k >= 1:
            for j in range(k % p, number - k, 2 * k):
                for i in range(j, j + min(k, number - j - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        yield i, i + k
            k //= 2
        p *= 2
