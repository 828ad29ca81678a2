"""Values of the same cells at many times to one, a time after the other.

Each loop takes the values of a time into account: float32, NaN where there is none, and what
they count; a cell that counts 0 has none either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix.arrays import Ints
from healpix.loops import loop

ABREAST = 256  # cells that are sorted at a time, at most
CACHE = 32_768  # bytes that they take about, with all their values


@loop
def add_mean(values: Any, counts: Any, sums: Any, weights: Any) -> None:
    """sums += count x value and weights += count, both float64."""
    for k in range(values.size):
        if counts[k] > 0 and not math.isnan(values[k]):
            sums[k] += float(counts[k]) * float(values[k])
            weights[k] += float(counts[k])


@loop
def add_newest(values: Any, counts: Any, day: float, out: Any, weights: Any, days: Any) -> None:
    """Values take the place of older ones, and so do their counts and days."""
    for k in range(values.size):
        if counts[k] > 0 and not math.isnan(values[k]):
            out[k] = values[k]
            weights[k] = float(counts[k])
            days[k] = day


@loop
def add_least(values: Any, counts: Any, sign: float, out: Any, weights: Any) -> None:
    """The least value, or with a sign of -1 the greatest; weights += count."""
    for k in range(values.size):
        if counts[k] > 0 and not math.isnan(values[k]):
            if math.isnan(out[k]) or sign * values[k] < sign * out[k]:
                out[k] = values[k]
            weights[k] += float(counts[k])


@loop
def add_spread(
    values: Any, counts: Any, number: Any, mean: Any, squares: Any, weights: Any
) -> None:
    """Number, mean and sum of squared differences from it, by Welford (1962); weights += count."""
    for k in range(values.size):
        if counts[k] > 0 and not math.isnan(values[k]):
            number[k] += 1.0
            step = float(values[k]) - mean[k]
            mean[k] += step / number[k]
            squares[k] += step * (float(values[k]) - mean[k])
            weights[k] += float(counts[k])


@loop
def add_to_stack(values: Any, counts: Any, row: Any, signs: Any, weights: Any) -> None:
    """row = values, for none one of ``signs``, infinite, which takes turns; weights += count.

    So what stands for none is half of it before and half of it behind the values.
    """
    for k in range(values.size):
        there = (counts[k] > 0) & (values[k] == values[k])
        row[k] = values[k] if there else signs[k]
        signs[k] = signs[k] if there else -signs[k]
        weights[k] += float(counts[k]) if there else 0.0


@loop
def take_medians(
    stack: Any, signs: Any, weights: Any, network: Ints, middle: int, out: Any
) -> None:  # fmt: skip
    """The median of each cell of a stack (time, cell) of `add_to_stack`; NaN where weights are 0.

    ``signs`` began as +inf.  ``network`` and ``middle``: of `healpix.networks`.
    """
    times = stack.shape[0]
    abreast = max(32, min(ABREAST, CACHE // (4 * times)))
    block = np.zeros((times, abreast), np.float32)
    for first in range(0, out.size, abreast):
        last = min(first + abreast, out.size)
        for t in range(times):
            block[t, : last - first] = stack[t, first:last]
        for step in range(network.shape[0]):
            _sort_pairs(block[network[step, 0]], block[network[step, 1]])
        low, high = block[middle], block[min(middle + 1, times - 1)]
        for c in range(last - first):
            is_odd = (times % 2 == 1) == (signs[first + c] > 0)  # the number of values
            alone = high[c] if times % 2 else low[c]
            both = np.float32((float(low[c]) + float(high[c])) / 2.0)
            value = alone if is_odd else both
            out[first + c] = value if weights[first + c] > 0 else np.float32(np.nan)


@loop
def _sort_pairs(lesser: Any, greater: Any) -> None:
    for c in range(lesser.size):
        a, b = lesser[c], greater[c]
        lesser[c] = min(a, b)
        greater[c] = max(a, b)
