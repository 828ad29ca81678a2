"""Where one copy of what all records of a tile depend on is damaged, the other one is read.

The records' days and orbits are rows of their own and within the provenance, and so is when
and by what their images were taken; the cells are spelled as runs and as ids.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from archive.packing import DamageError
from archive.passes import UNKNOWN
from archive.shards import Shard, check_shard, read_shards
from archive.spans import Spans
from archive.storage import Storage
from archive.tile import NO_TIME, NOTHING, Group, key_of
from grid import Chunk, Tile
from healpix.arrays import Runs
from healpix.ids import ids_to_runs

Slots = tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]  # times and orbits


def load(storage: Storage, tile: Tile, also: Sequence[str] = ()) -> Group | None:
    """The tile as committed last; None if there is none.  Raises DamageError.

    Takes the same time for one record and for a thousand.  ``also`` names small arrays
    to be fetched together with those that are needed anyway.
    """
    group = Group.open(storage, tile, ("time", "orbit", *also))
    if group is None:
        return None
    try:
        times, orbits = _slots(group)
    except DamageError as error:
        times, orbits = _slots_by_provenance(group, error)
    # In an object store: given away, but its writer has not come to its rows.
    group.times, group.orbits = np.where(orbits == NOTHING, NO_TIME, times), orbits
    return group


def runs(group: Group) -> Runs:
    """The cells as runs, from the ids if need be.  Raises DamageError."""
    try:
        return _stored_runs(group)
    except DamageError:
        return ids_to_runs(_cell_ids(group))


def check(group: Group) -> Iterator[DamageError]:
    """What is damaged of all that the records of the tile share."""
    size = len(group.times)
    checks: list[Callable[[], Any]] = [
        lambda: group.values("time", "<i8", size),
        lambda: group.values("orbit", "i1", size),
        lambda: group.whole_texts(size),
        *(partial(group.check_passes, name, group.timed) for name in UNKNOWN if group.timed),
        lambda: _stored_runs(group),
        *(partial(_cell_ids, group, name) for name in group.id_arrays),
    ]
    for each in checks:
        try:
            each()
        except DamageError as error:
            yield error


def index_is_whole(group: Group) -> bool:
    """Whether all copies of the tile's cells have the checksums they were given."""
    try:
        _stored_runs(group)
        for name in group.id_arrays:
            check_shard(_ids_shard(group, name))
    except DamageError:
        return False
    return True


def _slots(group: Group) -> Slots:
    times = group.values("time", "<i8", group.counted)
    orbits = group.values("orbit", "i1", group.counted)
    if (times == NOTHING).any():
        raise DamageError(f"it ends before slot {group.counted}", "time")
    return times, orbits


def _slots_by_provenance(group: Group, cause: DamageError) -> Slots:
    """The same, from what is known of the records."""
    try:
        texts = group.whole_texts(group.counted)
        about = [json.loads(text) if text else None for text in texts]
    except DamageError as error:
        raise DamageError(f"{cause.reason}; {error}", cause.variable) from error
    if any(row is not None and "day" not in row for row in about):
        raise cause
    keys = [
        key_of(Chunk(group.tile, dt.date.fromisoformat(row["day"]), row["orbit"]))
        if row is not None
        else (NO_TIME, 0)
        for row in about
    ]
    times, orbits = [time for time, _ in keys], [orbit for _, orbit in keys]
    return np.array(times, np.int64), np.array(orbits, np.int8)


def _stored_runs(group: Group) -> Runs:
    size = group.runs_len
    return group.values("start_ipix", "<u8", size), group.values("run_len", "<u4", size)


def _cell_ids(group: Group, name: str = "cell_ids") -> npt.NDArray[np.uint64]:
    """The ids, ascending, of the tile's cells or of an overview's.  Raises DamageError."""
    [ids] = read_shards([_ids_shard(group, name)], Spans.whole(group.size(name)))
    if isinstance(ids, DamageError):
        raise DamageError(ids.reason, name) from ids
    found: npt.NDArray[np.uint64] = ids
    return found


def _ids_shard(group: Group, name: str) -> Shard:
    return Shard(group.storage, f"{group.tile.name}/{name}/c/0", group.arrays[name])
