"""Sums over the cells that lie in one cell of a coarser level."""

from __future__ import annotations

import math
from typing import Any

from healpix.arrays import Floats, Ints
from healpix.loops import loop


@loop
def sum_values(
    start: Ints, length: Ints, shift: int, values: Any, count: Any, total: Floats, weight: Ints
) -> None:
    """Add value x count, and count, of the cells of runs to those of their parents.

    Cells without a finite value are left out.  A parent is ``cell >> shift``; total and
    weight have an entry for each, in their order.
    """
    k, i, last = -1, 0, -1
    for run in range(start.size):
        cell, stop = start[run], start[run] + length[run]
        while cell < stop:
            parent = cell >> shift
            if parent != last:
                last = parent
                k += 1
            size = min(stop, (parent + 1) << shift) - cell
            sums, n = 0.0, 0
            for j in range(i, i + size):
                if count[j] > 0 and math.isfinite(values[j]):
                    sums += float(values[j]) * count[j]
                    n += count[j]
            total[k] += sums
            weight[k] += n
            i += size
            cell += size


@loop
def sum_cells(start: Ints, length: Ints, shift: int, values: Any, total: Any) -> None:
    """Add the values of the cells of runs to those of their parents: see `sum_values`."""
    k, i, last = -1, 0, -1
    for run in range(start.size):
        cell, stop = start[run], start[run] + length[run]
        while cell < stop:
            parent = cell >> shift
            if parent != last:
                last = parent
                k += 1
            size = min(stop, (parent + 1) << shift) - cell
            for j in range(i, i + size):
                total[k] += values[j]
            i += size
            cell += size
