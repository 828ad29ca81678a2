"""Values of the same cells at many times to one, a time after the other.

Each loop takes the values of a time into account: float32, NaN where there is none, and what
they count; a cell that counts 0 has none either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix.loops import loop

ABREAST = 256  # cells that are sorted at a time


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
def add_to_stack(values: Any, counts: Any, row: Any, weights: Any) -> None:
    """row = values, NaN for none; weights += count."""
    for k in range(values.size):
        there = counts[k] > 0 and not math.isnan(values[k])
        row[k] = values[k] if there else math.nan
        weights[k] += float(counts[k]) if there else 0.0


@loop
def take_medians(stack: Any, out: Any) -> None:
    """The median of each cell of a stack (time, cell), NaN for none.

    By Batcher's odd-even merge sort (Knuth, vol. 3, 5.2.2 M), whose steps are the same for all
    cells, so that several are taken at a time.
    """
    times = stack.shape[0]
    block = np.empty((times, ABREAST), np.float32)
    sizes = np.empty(ABREAST, np.int64)
    for first in range(0, out.size, ABREAST):
        width = min(ABREAST, out.size - first)
        sizes[:] = 0
        for t in range(times):
            for c in range(width):
                value = stack[t, first + c]
                gap = math.isnan(value)
                block[t, c] = np.float32(np.inf) if gap else value
                sizes[c] += 0 if gap else 1
        _sort_columns(block, times)
        for c in range(width):
            if sizes[c]:
                low, high = block[(sizes[c] - 1) // 2, c], block[sizes[c] // 2, c]
                out[first + c] = low if sizes[c] % 2 else (float(low) + float(high)) / 2.0


@loop
def _sort_columns(block: Any, times: int) -> None:
    p = 1
    while p < times:
        k = p
        while k >= 1:
            for j in range(k % p, times - k, 2 * k):
                for i in range(j, j + min(k, times - j - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        for c in range(block.shape[1]):
                            a, b = block[i, c], block[i + k, c]
                            block[i, c] = a if a < b else b
                            block[i + k, c] = b if a < b else a
            k //= 2
        p *= 2
