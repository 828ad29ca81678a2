"""Values of the same cells at many times to one, a time after the other.

Each loop takes the values of a time into account: float32, NaN where there is none, and what
they count; a cell that counts 0 has none either.
"""

from __future__ import annotations

import math
from typing import Any

from healpix.loops import loop


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
def take_medians(stack: Any, out: Any) -> None:
    """The median of each cell of a stack (cell, time), NaN for none; the stack is put in order."""
    for k in range(out.size):
        size = 0
        for t in range(stack.shape[1]):
            value = stack[k, t]
            if math.isnan(value):
                continue
            place = size
            while place > 0 and stack[k, place - 1] > value:
                stack[k, place] = stack[k, place - 1]
                place -= 1
            stack[k, place] = value
            size += 1
        if size % 2:
            out[k] = stack[k, size // 2]
        elif size:
            out[k] = (float(stack[k, size // 2 - 1]) + float(stack[k, size // 2])) / 2.0
