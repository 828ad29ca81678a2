"""Where cells are among those of sorted runs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from healpix import few
from healpix.arrays import Ints
from healpix.indexes import RunIndex
from healpix.loops import is_worth, loop


def find_places(ids: NDArray[Any], index: RunIndex) -> Ints:
    """The places of ids among the cells of the runs, -1 for those not there."""
    places = np.asarray(ids, np.uint64).astype(np.int64)
    if not is_worth(places.size):
        return few.to_places(places, index)
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
