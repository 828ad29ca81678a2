"""Square windows of cells around each cell, on the plane of a base face.

A base face is a square of 2**level by 2**level cells (x, y); a part of it is an array of that
plane.  A window does not reach beyond its face.
"""

from __future__ import annotations

import math
from typing import Any

from healpix.arrays import Floats, Ints
from healpix.cells import decode
from healpix.loops import loop


@loop
def extend(start: Ints, length: Ints, level: int, low: Ints, high: Ints) -> None:
    """low and high (face, 2): the least and the greatest x and y of the cells of runs."""
    for run in range(start.size):
        for cell in range(start[run], start[run] + length[run]):
            face, x, y = decode(cell, level)
            low[face, 0], low[face, 1] = min(low[face, 0], x), min(low[face, 1], y)
            high[face, 0], high[face, 1] = max(high[face, 0], x), max(high[face, 1], y)


@loop
def spread(
    start: Ints, length: Ints, level: int, face: int, x0: int, y0: int,
    values: Any, counts: Any, sums: Floats, weights: Floats,
) -> None:  # fmt: skip
    """count x value and count of the cells of runs onto a part (x, y) of a face from x0, y0 on.

    A cell that counts 0, or has no value, leaves its place as it is.
    """
    k = 0
    for run in range(start.size):
        for cell in range(start[run], start[run] + length[run]):
            here, x, y = decode(cell, level)
            x, y = x - x0, y - y0
            inside = 0 <= x < sums.shape[0] and 0 <= y < sums.shape[1]
            if here == face and inside and counts[k] > 0 and math.isfinite(values[k]):
                weights[x, y] = float(counts[k])
                sums[x, y] = float(counts[k]) * float(values[k])
            k += 1


@loop
def sum_windows(field: Floats, reach: int, rows: Floats, out: Floats) -> None:
    """out: the sum of the field over the windows of 2 reach + 1 by 2 reach + 1; rows: room."""
    height, width = field.shape
    for i in range(height):
        for j in range(width):
            total = 0.0
            for k in range(max(0, j - reach), min(width, j + reach + 1)):
                total += field[i, k]
            rows[i, j] = total
    for i in range(height):
        for j in range(width):
            out[i, j] = 0.0
        for k in range(max(0, i - reach), min(height, i + reach + 1)):
            for j in range(width):
                out[i, j] += rows[k, j]


@loop
def add_ratios(
    sums: Floats, weights: Floats, around: Floats, weights_around: Floats,
    total: Floats, number: Floats,
) -> None:  # fmt: skip
    """total += value / mean of its window, and number += 1, where there is a value."""
    for i in range(sums.shape[0]):
        for j in range(sums.shape[1]):
            if weights[i, j] > 0 and around[i, j] > 0:
                value, mean = sums[i, j] / weights[i, j], around[i, j] / weights_around[i, j]
                total[i, j] += value / mean
                number[i, j] += 1.0


@loop
def take_products(
    start: Ints, length: Ints, level: int, face: int, x0: int, y0: int,
    around: Floats, weights_around: Floats, total: Floats, number: Floats,
    values: Any, out: Any,
) -> None:  # fmt: skip
    """out: of cells with a value the mean of their window times the mean ratio at their place."""
    k = 0
    for run in range(start.size):
        for cell in range(start[run], start[run] + length[run]):
            here, x, y = decode(cell, level)
            x, y = x - x0, y - y0
            inside = 0 <= x < total.shape[0] and 0 <= y < total.shape[1]
            if here == face and inside and math.isfinite(values[k]) and number[x, y] > 0:
                mean = around[x, y] / weights_around[x, y]
                out[k] = mean * total[x, y] / number[x, y]
            k += 1
