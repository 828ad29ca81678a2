"""A tile as it was when somebody looked: for who reads much of it, here or in other processes.

What a view has read once it need not read again: what is in the tile, the ids of its cells,
where the records come from, and which cells are in the boxes that were asked for last.  Since
the files of a record are never changed, its answers stay the same whatever others write; of a
record that was removed in the meantime it says so.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

import numpy as np
import xarray as xr

import healpix
from grid import BBox, Chunk, Tile
from schema import ArchiveError, Layout
from shards import DamageError, Group, Runs, Spans
from storage import Storage

SHARED = ("provenance", "start_ipix", "run_len")  # what reading needs besides the days
BOXES = 64  # that a view remembers
VIEWS = 64  # that a process remembers of those that it was sent

Value = TypeVar("Value")


class NoRecordError(ArchiveError, LookupError):
    """The archive holds no such record."""


class View:
    """A tile at a moment.  Small to pickle; who gets the same one again finds it warm."""

    def __init__(self, layout: Layout, group: Group, token: str = "") -> None:
        self._layout, self._group = layout, group
        self._token = token or uuid.uuid4().hex
        self._slots = group.records()
        self._texts: list[str] = []
        self._about: dict[int, dict[str, Any]] = {}
        self._runs: Runs | None = None
        self._boxes: OrderedDict[Hashable, tuple[Runs, Spans]] = OrderedDict()

    @classmethod
    def open(cls, storage: Storage, layout: Layout, tile: Tile) -> View | None:
        """The tile as it is now; None if there is none.  Raises DamageError."""
        group = Group.load(storage, tile, also=SHARED)
        return None if group is None else cls(layout, group)

    def __reduce__(self) -> tuple[Any, ...]:
        _remember(_views, self._token, VIEWS, lambda: self)
        return _known, (self._token, self._layout, self._group)

    @property
    def tile(self) -> Tile:
        """The tile."""
        return self._group.tile

    def chunks(self) -> list[Chunk]:
        """The records, sorted by day and orbit."""
        return list(self._slots)

    def levels(self, chunk: Chunk) -> tuple[int, ...]:
        """The HEALPix levels that a record can be read at, finest first."""
        self._slot(chunk)
        return (self._layout.level,)

    def read(
        self,
        chunk: Chunk,
        bbox: BBox | None = None,
        level: int | None = None,
        variables: Iterable[str] | None = None,
    ) -> xr.Dataset:
        """The cells of a record; with ``bbox``, those whose centre is in the half-open box.

        ``variables`` are some of the bands and "count"; None: all.  Returns
        ``<band>(cells)`` float32 and ``count(cells)`` uint16, with ``start_ipix(runs)`` uint64
        and ``run_len(runs)`` uint32 spelling the cells' ids.  Raises NoRecordError if there is
        no such record (any more), ArchiveError if it is damaged.
        """
        slot = self._slot(chunk)
        names = self._names(variables)
        if level not in (None, *self.levels(chunk)):
            raise ArchiveError(f"{chunk}: the record has no level {level}.")
        try:
            runs, spans = self._select(bbox)
            about = self._about_slot(slot)
            found = self._group.read(names, slot, spans, about)
        except DamageError as error:
            raise self._explained(chunk, slot, error) from error
        values: dict[str, Any] = {name: ("cells", found[name]) for name in names}
        values |= {"start_ipix": ("runs", runs[0]), "run_len": ("runs", runs[1])}
        attributes = {
            "nside": self._layout.nside,
            "ellipsoid": self._layout.ellipsoid,
            "ordering": "nested",
            "source": str(about.get("source", "")),
        }
        return xr.Dataset(values, attrs=attributes)

    def _slot(self, chunk: Chunk) -> int:
        slot = self._slots.get(chunk)
        if slot is None:
            raise NoRecordError(f"The archive {self._group.storage.name} has no record of {chunk}.")
        return slot

    def _names(self, variables: Iterable[str] | None) -> tuple[str, ...]:
        known = (*self._layout.bands, "count")
        if variables is None:
            return known
        asked = set(variables)
        if unknown := sorted(asked - set(known)):
            raise ArchiveError(
                f"The archive {self._group.storage.name} has no {unknown[0]}; it has "
                f"{', '.join(known)}."
            )
        return tuple(name for name in known if name in asked)

    def _about_slot(self, slot: int) -> dict[str, Any]:
        """What is known of a slot's record."""
        if slot not in self._about:
            self._texts = self._texts or self._group.texts()
            self._about[slot] = json.loads(self._texts[slot] or "{}")
        return self._about[slot]

    def _select(self, bbox: BBox | None) -> tuple[Runs, Spans]:
        """The runs of the tile that are in the box, and where in a record they are."""
        if self._runs is None:
            self._runs = self._group.runs()
        if bbox is None:
            return self._runs, Spans.whole(self._group.pix_len)
        has = self._runs
        return _remember(
            self._boxes, bbox, BOXES, lambda: _meet(has, _box_runs(self.tile, self._layout, bbox))
        )

    def _explained(self, chunk: Chunk, slot: int, error: DamageError) -> ArchiveError:
        """What to say of a damaged record, or of one that is no longer there."""
        now = Group.load(self._group.storage, self.tile)
        if now is None or now.slots(chunk)[-1:] != [slot]:
            return NoRecordError(f"{chunk}: the record was removed or replaced in the meantime.")
        return ArchiveError(
            f"{chunk}: the record in {self._group.storage.name} is damaged ({error}).  The other "
            "records can be read.  Remove this one and order it again."
        )


_views: OrderedDict[Hashable, View] = OrderedDict()  # those that this process was sent


def _known(token: str, layout: Layout, group: Group) -> View:
    """The view that was pickled; the same object if it has been here before."""
    return _remember(_views, token, VIEWS, lambda: View(layout, group, token))


def _meet(has: Runs, wanted: Runs) -> tuple[Runs, Spans]:
    """The cells that both have, as runs, and their places among the first."""
    start, length = (values.astype(np.int64) for values in has)
    box_begin, box_length = (values.astype(np.int64) for values in wanted)
    first, end, box_end = np.cumsum(length) - length, start + length, box_begin + box_length
    # Each run of the box meets the runs low to high - 1.
    low = np.searchsorted(end, box_begin, "right")
    high = np.searchsorted(start, box_end, "left")
    pairs = np.maximum(high - low, 0)
    box = np.repeat(np.arange(len(pairs)), pairs)
    tile = np.arange(len(box)) - np.repeat(np.cumsum(pairs) - pairs, pairs) + low[box]
    found = np.maximum(box_begin[box], start[tile])
    size = np.minimum(box_end[box], end[tile]) - found
    place = first[tile] + found - start[tile]
    return (found.astype(np.uint64), size.astype(np.uint32)), Spans(place, size)


def _box_runs(tile: Tile, layout: Layout, bbox: BBox) -> Runs:
    """Sorted runs of the part of the box that is in the tile."""
    parts = []
    for box in bbox.split():
        west, east = max(box.west, tile.west), min(box.east, tile.east)
        south, north = max(box.south, tile.south), min(box.north, tile.north)
        if west < east and south < north:
            part = BBox(west, south, east, north)
            parts.append(healpix.box_runs(part, layout.nside, layout.ellipsoid))
    start = np.concatenate([np.empty(0, np.uint64), *(part[0] for part in parts)])
    length = np.concatenate([np.empty(0, np.uint32), *(part[1] for part in parts)])
    order = np.argsort(start)
    return start[order], length[order]


_lock = threading.Lock()


def _remember(
    memory: OrderedDict[Hashable, Value], key: Hashable, limit: int, make: Callable[[], Value]
) -> Value:
    """What is remembered under a key, or else made; the last ``limit`` used are kept."""
    with _lock:
        if key in memory:
            memory.move_to_end(key)
            return memory[key]
    made = make()  # by two threads at a time, at worst
    with _lock:
        made = memory.setdefault(key, made)
        while len(memory) > limit:
            memory.popitem(last=False)
    return made
