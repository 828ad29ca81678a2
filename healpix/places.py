"""Where cells are among those of sorted runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from healpix.arrays import Ints
from healpix.loops import loop


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


def find_places(ids: NDArray[Any], index: RunIndex) -> Ints:
    """The places of ids among the cells of the runs, -1 for those not there."""
    places = np.asarray(ids, np.uint64).astype(np.int64)
    to_places(places, index)
    return places


@loop
def to_places(ids: Ints, index: RunIndex) -> None:
    """Replace ids by their places among the cells of the runs, -1 for those not there."""
    start, length, place = index.start, index.length, index.place
    run = 0
    for j in range(ids.size):
        # Most cells are in the run of the cell before.
        k = ids[j] - start[run]
        if k < 0 or k >= length[run]:
            run = _find_run(ids[j], index)
            k = ids[j] - start[run]
        ids[j] = place[run] + k if 0 <= k < length[run] else -1


@loop
def _find_run(cell: int, index: RunIndex) -> int:
    """The run that holds a cell, or some other run if none does."""
    key = (cell >> index.shift) - index.low
    if key < 0 or key + 1 >= index.bucket.size:
        return 0
    low = index.bucket[key]
    high = min(index.bucket[key + 1] + 1, index.start.size)
    while high - low > 1:
        middle = (low + high) // 2
        if index.start[middle] <= cell:
            low = middle
        else:
            high = middle
    return int(min(low, index.start.size - 1))
