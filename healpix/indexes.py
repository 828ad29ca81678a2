"""Runs with what it takes to find a cell among them in a few steps; plain numpy."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from healpix.arrays import Ints


class RunIndex(NamedTuple):
    """Sorted runs, and for the ids with equal upper bits the runs to look through."""

    start: Ints
    length: Ints
    place: Ints  # of the first cell of each run among all cells
    shift: int
    bucket: Ints  # runs bucket[k] to bucket[k + 1] may hold ids with id >> shift == k + low
    low: int


def index_runs(start_ipix: NDArray[Any], run_len: NDArray[Any]) -> RunIndex:
    """What `look_up` needs to find a cell among sorted runs in a few steps."""
    start = np.asarray(start_ipix, np.uint64).astype(np.int64)
    length = np.asarray(run_len).astype(np.int64)
    if start.size == 0:  # one run of no cells spares the loops a question
        start, length = np.zeros(1, np.int64), np.zeros(1, np.int64)
    place = np.cumsum(length) - length
    last = start + length - 1
    shift = max(0, int(last[-1] - start[0]).bit_length() - 16)
    low = int(start[0] >> shift)
    keys = np.arange((int(last[-1]) >> shift) - low + 2)
    # The runs of a bucket: from the first that ends in it or later, to the last that
    # starts in it.
    bucket = np.searchsorted(last, (keys + low) << shift)
    return RunIndex(start, length, place, shift, bucket, low)
