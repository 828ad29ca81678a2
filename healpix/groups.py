"""The values of groups of cells to a few numbers of each group."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix.arrays import Floats, Ints
from healpix.loops import loop

FEW = 24  # values that are sorted as a hand of cards is


@loop
def describe(
    values: Any, places: Ints, begins: Ints, which: Ints, shares: Floats, out: Floats
) -> None:
    """Of groups of values, NaN left out: number, mean, standard deviation, and quantiles.

    Group g has the values at ``places[begins[g] : begins[g + 1]]``; ``which`` are the groups that
    are wanted.  ``out``: (wanted, 3 + share), NaN for no value.  The deviation is that of the
    population, quantiles are between the two nearest values (numpy's "linear").
    """
    longest = 0
    for g in which:
        longest = max(longest, begins[g + 1] - begins[g])
    some = np.empty(longest, np.float32)
    for row in range(which.size):
        size, total = 0, 0.0
        for k in range(begins[which[row]], begins[which[row] + 1]):
            value = values[places[k]]
            if not math.isnan(value):
                some[size] = value
                total += float(value)
                size += 1
        out[row, 0] = size
        out[row, 1:] = np.nan
        if size > 0:
            _fill(some, size, total / size, shares, out[row])


@loop
def _fill(some: Any, size: int, mean: float, shares: Floats, out: Floats) -> None:
    """What is said of so many values; their order changes."""
    squares = 0.0
    for k in range(size):
        squares += (float(some[k]) - mean) ** 2
    out[1] = mean
    out[2] = math.sqrt(squares / size)
    first = 0
    for k in range(shares.size):
        at = shares[k] * (size - 1)
        place = min(int(at), size - 1)
        _select(some, min(first, place), size - 1, place)
        first = place + 1
        low = high = float(some[place])
        if place + 1 < size and at > place:
            high = math.inf
            for j in range(place + 1, size):
                high = min(high, float(some[j]))
        out[3 + k] = low + (high - low) * (at - place) if at > place else low


@loop
def _select(some: Any, low: int, high: int, wanted: int) -> None:
    """Have the value of a place be the one that sorting would put there (Hoare's quickselect)."""
    while high - low > FEW:
        a, b, c = some[low], some[(low + high) // 2], some[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while some[i] < pivot:
                i += 1
            while some[j] > pivot:
                j -= 1
            if i <= j:
                some[i], some[j] = some[j], some[i]
                i += 1
                j -= 1
        if wanted <= j:
            high = j
        elif wanted >= i:
            low = i
        else:
            return
    for i in range(low + 1, high + 1):
        value, j = some[i], i - 1
        while j >= low and some[j] > value:
            some[j + 1] = some[j]
            j -= 1
        some[j + 1] = value
