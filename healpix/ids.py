"""Nested ids, and the runs that sets of them are kept as; plain numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healpix.arrays import Ids, Ints, Runs

MAX_NSIDE = 2**29  # ids fit 62 bits
_MAX_RUN = 2**31  # cells; a longer run is written as several, since run_len is uint32


def level_of(nside: int) -> int:
    """The refinement level, log2(NSIDE); ValueError unless there is one."""
    level = int(nside).bit_length() - 1
    if not 1 <= nside <= MAX_NSIDE or nside != 2**level:
        raise ValueError(f"NSIDE is {nside}; it must be a power of two from 1 to {MAX_NSIDE}.")
    return level


def runs_to_ids(start_ipix: NDArray[Any], run_len: NDArray[Any]) -> Ids:
    """Every id of the runs, uint64, in their order."""
    length = np.asarray(run_len).astype(np.int64)
    before = np.cumsum(length) - length
    ids = np.repeat(np.asarray(start_ipix, np.uint64).astype(np.int64) - before, length)
    ids += np.arange(ids.size)
    return ids.view(np.uint64)


def ids_to_runs(ids: NDArray[Any]) -> Runs:
    """The runs of strictly ascending ids; ValueError for ids in another order."""
    ids = np.asarray(ids, np.uint64).astype(np.int64)
    if ids.size == 0:
        return np.empty(0, np.uint64), np.empty(0, np.uint32)
    step = np.diff(ids)
    if np.any(step <= 0):
        raise ValueError("The cell ids are not in strictly ascending order.")
    first = np.concatenate([[0], np.flatnonzero(step != 1) + 1])
    return as_stored(ids[first], np.diff(np.append(first, ids.size)))


def parent_runs(start_ipix: NDArray[Any], run_len: NDArray[Any], levels: int) -> Runs:
    """The cells, this many levels coarser, that hold at least one cell of sorted runs."""
    first = np.asarray(start_ipix, np.uint64).astype(np.int64)
    last = (first + np.asarray(run_len).astype(np.int64) - 1) >> 2 * levels
    first >>= 2 * levels
    is_new = np.append(True, first[1:] > last[:-1] + 1)[: first.size]
    begin, end = first[is_new], last[np.append(is_new[1:], True)[: first.size]]
    return as_stored(begin, end - begin + 1)


def join_runs(start: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Sorted runs with those that touch made one."""
    if start.size == 0:
        return start, length
    first = np.flatnonzero(np.append(True, start[1:] != start[:-1] + length[:-1]))
    return start[first], np.add.reduceat(length, first)


def as_stored(start: Ints, length: Ints) -> Runs:
    """Runs as stored: uint64 and uint32."""
    if length.size and length.max() > _MAX_RUN:
        pieces = -(-length // _MAX_RUN)
        number = runs_to_ids(np.zeros_like(pieces), pieces).view(np.int64)
        start = np.repeat(start, pieces) + number * _MAX_RUN
        length = np.minimum(np.repeat(length, pieces) - number * _MAX_RUN, _MAX_RUN)
    return start.astype(np.uint64), length.astype(np.uint32)


def cell_width(nside: int) -> float:
    """The mean width of a cell, the root of its area, in degrees of a great circle."""
    return math.degrees(math.sqrt(math.pi / 3) / nside)
