"""The values of runs of cells, from where they are to where they belong."""

from __future__ import annotations

from typing import Any

from healpix.arrays import Ints
from healpix.loops import loop


@loop
def gather(values: Any, starts: Ints, sizes: Ints, out: Any) -> None:
    """Copy runs of values, one behind the other."""
    k = 0
    for i in range(starts.size):
        for j in range(starts[i], starts[i] + sizes[i]):
            out[k] = values[j]
            k += 1


@loop
def copy_runs(values: Any, run_len: Ints, place: Ints, out: Any) -> None:
    """Copy the cells of runs, one run after the other in ``values``, to their places."""
    done = 0
    for run in range(run_len.size):
        for i in range(run_len[run]):
            out[place[run] + i] = values[done + i]
        done += run_len[run]
