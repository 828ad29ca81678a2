"""The values of groups of cells to a few numbers of each group.

Quantiles are those of all values, found without sorting them: in a large group values are counted
in steps from the least to the greatest first, and what is looked for is then among the few of a
step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix.arrays import Floats, Ints
from healpix.loops import loop

FEW = 24  # values that are sorted as a hand of cards is
MANY = 512  # values that are counted in steps first
STEPS = 256


@loop
def describe(
    values: Any, places: Any, begins: Ints, which: Ints, shares: Floats, out: Floats
) -> None:
    """Of groups of values, NaN left out: number, mean, standard deviation, and quantiles.

    Group g has the values at ``places[begins[g] : begins[g + 1]]``; ``which`` are the groups that
    are wanted.  ``out``: (wanted, 3 + share), NaN for no value.  The deviation is that of the
    population, quantiles are between the two nearest values (numpy's "linear").
    """
    longest = 0
    for g in which:
        longest = max(longest, begins[g + 1] - begins[g])
    some, rest = np.empty(longest, np.float32), np.empty(longest, np.float32)
    steps = np.empty(STEPS, np.int64)
    for row in range(which.size):
        size, total = 0, 0.0
        for k in range(begins[which[row]], begins[which[row] + 1]):
            value = values[places[k]]
            some[size] = value
            if not math.isnan(value):
                total += float(value)
                size += 1
        out[row, 0] = size
        out[row, 1:] = np.nan
        if size > 0:
            out[row, 1] = total / size
            out[row, 2] = _deviation(some, size, total / size)
            _quantiles(some, size, shares, rest, steps, out[row, 3:])


@loop
def _deviation(some: Any, size: int, mean: float) -> float:
    squares = 0.0
    for k in range(size):
        squares += (float(some[k]) - mean) ** 2
    return math.sqrt(squares / size)


@loop
def _quantiles(some: Any, size: int, shares: Floats, rest: Any, steps: Ints, out: Floats) -> None:
    """The quantiles of so many values, whose order may change."""
    low = high = float(some[0])
    for k in range(size):
        low, high = min(low, float(some[k])), max(high, float(some[k]))
    scale = (STEPS - 1) / (high - low) if high > low else 0.0
    if size >= MANY and 0.0 < scale < math.inf:
        _count(some, size, low, scale, steps)
        for k in range(shares.size):
            at = shares[k] * (size - 1)
            number, before = _in_steps(some, size, low, scale, steps, at, rest)
            out[k] = _between(rest, number, at - before)
    else:
        for k in range(shares.size):
            out[k] = _between(some, size, shares[k] * (size - 1))


@loop
def _count(some: Any, size: int, low: float, scale: float, steps: Ints) -> None:
    """How many values there are in each step."""
    steps[:] = 0
    for k in range(size):
        steps[int((float(some[k]) - low) * scale)] += 1


@loop
def _in_steps(
    some: Any, size: int, low: float, scale: float, steps: Ints, at: float, rest: Any
) -> tuple[int, int]:
    """Put the values of the steps with the two places around ``at`` into ``rest``.

    How many these are, and how many are in the steps before.
    """
    first, before = 0, 0
    while before + steps[first] <= int(at):
        before += steps[first]
        first += 1
    last, number = first, steps[first]
    while before + number < min(size, int(at) + 2):
        last += 1
        number += steps[last]
    found = 0
    for k in range(size):
        if first <= int((float(some[k]) - low) * scale) <= last:
            rest[found] = some[k]
            found += 1
    return found, before


@loop
def _between(some: Any, size: int, at: float) -> float:
    """What is at a place of sorted values, which may be between two of them."""
    place = min(int(at), size - 1)
    _select(some, 0, size - 1, place)
    low = float(some[place])
    if place + 1 >= size or at <= place:
        return low
    high = math.inf
    for j in range(place + 1, size):
        high = min(high, float(some[j]))
    return low + (high - low) * (at - place)


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
