"""The values of runs of cells, from where they are to where they belong.

In plain numpy, unless the loops are there already: they take a quarter of the time for short runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from healpix.arrays import Ints
from healpix.ids import runs_to_ids
from healpix.loops import are_there, loop

LONG = 128  # values of a run, on average, from where on it is copied sooner by itself
WORD = 4  # bytes of most values


def gather(values: Any, starts: Ints, sizes: Ints, out: Any) -> None:
    """Copy runs of values, one behind the other."""
    if values.itemsize == WORD and starts.size > 1 and are_there():
        gather_words(values.view(np.uint32), starts, sizes, out.view(np.uint32))
        return
    if out.size < LONG * starts.size:
        np.take(values, _places(starts, sizes), out=out, mode="clip")
        return
    done = 0
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        out[done : done + size] = values[start : start + size]
        done += size


@loop
def gather_words(values: Any, starts: Ints, sizes: Ints, out: Any) -> None:
    """As `gather`, compiled, of values of four bytes."""
    done = 0
    for run in range(starts.size):
        start, size = starts[run], sizes[run]
        out[done : done + size] = values[start : start + size]
        done += size


def copy_runs(values: Any, run_len: Ints, place: Ints, out: Any) -> None:
    """Copy the cells of runs, one run after the other in ``values``, to their places."""
    if values.size < LONG * run_len.size:
        out[_places(place, run_len)] = values
        return
    done = 0
    for start, size in zip(place.tolist(), run_len.tolist(), strict=True):
        out[start : start + size] = values[done : done + size]
        done += size


def _places(starts: Ints, sizes: Ints) -> Ints:
    return runs_to_ids(starts, sizes).view(np.int64)
