"""A tile as it was when somebody looked: for who reads much of it, here or in other processes.

What a view has read once it need not read again: what is in the tile, the ids of its cells,
where the records come from, and which cells are in the boxes that were asked for last.  Since
the files of a record are never changed, its answers stay the same whatever others write; of a
record that was removed in the meantime it says so.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from archive import record, recovery
from archive.layout import STEP, ArchiveError, Layout, NoRecordError
from archive.packing import DamageError
from archive.shards import inner_of
from archive.spans import Spans
from archive.storage import Storage
from archive.tile import Group
from grid import BBox, Box, Chunk, Tile, as_box
from healpix.arrays import Runs
from healpix.boxes import box_runs
from healpix.ids import parent_runs
from healpix.indexes import index_runs
from healpix.places import find_places
from shared.border import Border, names_of
from shared.cellset import CellSet
from shared.collection import attributes_of
from shared.counts import count_of, missing_of
from shared.memory import LastUsed

if TYPE_CHECKING:
    import xarray as xr

SHARED = ("provenance", "start_ipix", "run_len")  # what reading needs besides the days
BOXES = 8_000_000  # bytes of what tiles have of boxes, that a process remembers
VIEWS = 64  # that a process remembers of those that it was sent


class View:
    """A tile at a moment.  Small to pickle; who gets the same one again finds it warm."""

    def __init__(self, layout: Layout, group: Group, token: str = "") -> None:
        self._layout, self._group = layout, group
        self._token = token or uuid.uuid4().hex
        self._slots = group.records()
        self._texts: list[str] = []
        self._about: dict[int, dict[str, Any]] = {}
        self._levels: dict[int, tuple[int, ...]] = {}
        self._runs: dict[int, Runs] = {}

    @classmethod
    def open(cls, storage: Storage, layout: Layout, tile: Tile) -> View | None:
        """The tile as it is now; None if there is none.  Raises DamageError."""
        group = recovery.load(storage, tile, also=SHARED)
        return None if group is None else cls(layout, group)

    def __reduce__(self) -> tuple[Any, ...]:
        _sent(self._token, lambda: self)
        return _known, (self._token, self._layout, self._group)

    @property
    def tile(self) -> Tile:
        """The tile."""
        return self._group.tile

    @property
    def token(self) -> str:
        """What tells this view from others, in whatever process it is."""
        return self._token

    @property
    def inner(self) -> int:
        """Cells in an inner chunk: the least that is read of a variable of a record."""
        return inner_of(self._group.arrays["count"])

    @property
    def is_far(self) -> bool:
        """Whether each request takes so long that reading several records at once pays."""
        return self._group.storage.is_far

    def share(self) -> None:
        """Have what its metadata say as those of any other tile be there once for all.

        For who keeps many tiles open; nothing of a view is changed.
        """
        for array in self._group.arrays.values():
            for name in _ALIKE & array.keys():
                array[name] = _parts.setdefault(repr(array[name]), array[name])

    def chunks(self) -> list[Chunk]:
        """The records, sorted by day and orbit."""
        return list(self._slots)

    def __contains__(self, chunk: Chunk) -> bool:
        """Whether the tile has this record."""
        return chunk in self._slots

    def about(self, chunk: Chunk) -> dict[str, Any]:
        """What is known of where a record came from: ``source``, and maybe ``backend``, ..."""
        return self._about_slot(self._slot(chunk))

    def levels(self, chunk: Chunk) -> tuple[int, ...]:
        """The HEALPix levels that a record can be read at, finest first."""
        slot = self._slot(chunk)
        if slot not in self._levels:
            sizes = self._about_slot(slot).get("bytes", {})
            coarser = (level for level in self._group.coarser if f"{level}/n" in sizes)
            self._levels[slot] = (self._layout.level, *coarser)
        return self._levels[slot]

    def read(
        self,
        chunk: Chunk,
        bbox: Box | None = None,
        level: int | None = None,
        variables: Iterable[str] | None = None,
    ) -> xr.Dataset:
        """The cells of a record as a dataset: as `cells`."""
        return self.cells(chunk, bbox, level, variables).dataset()

    def cells(
        self,
        chunk: Chunk,
        bbox: Box | None = None,
        level: int | None = None,
        variables: Iterable[str] | None = None,
    ) -> CellSet:
        """The cells of a record; with ``bbox``, those whose centre is in the half-open box.

        ``level`` is one of `levels`; None: the archive's.  ``variables`` are some of the bands
        and "count"; None: all.  Returns ``<band>(cells)`` float32 and ``count(cells)`` uint16,
        with ``start_ipix(runs)`` uint64 and ``run_len(runs)`` uint32 spelling the cells' ids.
        Where pixels of a seen cell have no value in a band, ``<band>_count(cells)`` counts those
        that have; at the archive's level it comes with "count".

        Of an overview ``count`` is uint32, and the cells are all those of which the tile owns
        a part: the centre of one may lie outside of it, and then a neighbour has the rest.
        Their values are to be merged weighted by ``count``, or by ``<band>_count`` where there
        is one; of classes with what else the tile's part of such a cell has (`shared.border`).

        Raises NoRecordError if there is no such record (any more), ArchiveError if it is
        damaged or has no such level.
        """
        slot = self._slot(chunk)
        names = self._names(variables)
        level = self._layout.level if level is None else level
        if level not in self.levels(chunk):
            raise ArchiveError(
                f"{chunk}: the record in {self._group.storage.name} has no level {level}; it has "
                f"{', '.join(map(str, self.levels(chunk)))}."
            )
        with self._explaining(chunk):
            runs, spans = self.within(bbox, level)
            values = self._read(names, slot, level, spans)
            borders = self._borders(names, slot, level, runs)
        return CellSet(*runs, values, self.attributes(chunk, level), borders)

    def attributes(self, chunk: Chunk, level: int) -> dict[str, Any]:
        """What `read` says of a record's cells at a level."""
        return {
            "nside": 2**level,
            "ellipsoid": self._layout.ellipsoid,
            "ordering": "nested",
            "source": str(self.about(chunk).get("source", "")),
            **attributes_of(self._layout.product),
        }

    def meet(self, runs: Runs) -> tuple[Runs, Spans]:
        """Those of some cells, sorted runs of the archive's level, that the tile owns.

        As runs, and as `values` takes them.
        """
        return _meet(self._runs_at(self._layout.level), runs)

    def within(self, bbox: Box | None, level: int) -> tuple[Runs, Spans]:
        """Those of its cells at a level that `read` gives of a box; None: all.  As of `meet`."""
        return self._select(None if bbox is None else as_box(bbox), level)

    def values(
        self, chunk: Chunk, spans: Spans, variables: Iterable[str], level: int | None = None
    ) -> dict[str, Any]:
        """As `read`, of cells that `meet` or `within` has found: just the arrays (cell)."""
        slot, names = self._slot(chunk), self._names(variables)
        with self._explaining(chunk):
            return self._read(names, slot, self._layout.level if level is None else level, spans)

    def _read(self, names: tuple[str, ...], slot: int, level: int, spans: Spans) -> dict[str, Any]:
        """These cells at a level, by the names that variables have at full resolution."""
        about, is_full = self._about_slot(slot), level == self._layout.level
        at, count = ("", "count") if is_full else (f"{level}/", "n")
        wanted = {n: f"{at}{count if n == 'count' else n}" for n in names}
        sizes = about.get("bytes", {})
        partial = [n for n in names if sizes.get(f"{at}{missing_of(n)}")]
        if is_full and "count" not in names:  # no cell has a part elsewhere
            partial = []
        wanted |= {count_of(n): f"{at}{missing_of(n)}" for n in partial}
        if partial:
            wanted["count"] = f"{at}{count}"
        names_there = tuple(wanted.values())
        found = record.read(self._group, names_there, slot, spans, about, self._token)
        values = {name: found[wanted[name]] for name in names}
        for name in partial:
            missing = found[wanted[count_of(name)]]
            if missing.any():
                values[count_of(name)] = found[wanted["count"]] - missing
        return values

    def _borders(
        self, names: tuple[str, ...], slot: int, level: int, runs: Runs
    ) -> dict[str, Border]:
        """What some cells on the tile's border have beside their most frequent class, by band."""
        about, found = self._about_slot(slot), {}
        sizes = about.get("bytes", {})
        for band in self._layout.product.classes([name for name in names if name != "count"]):
            columns = [f"{level}/{name}" for name in names_of(band)]
            if not all(sizes.get(column) for column in columns):
                continue
            spans = Spans.whole(self._group.size(columns[0]))
            values = record.read(self._group, columns, slot, spans, about, self._token)
            border = Border(*(values[column] for column in columns))
            border = border.of(border.number > 0)
            found[band] = border.of(find_places(border.cell, index_runs(*runs)) >= 0)
        return found

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

    def _select(self, bbox: BBox | None, level: int) -> tuple[Runs, Spans]:
        """The runs of the tile that are in the box, and where in a record they are."""
        has = self._runs_at(level)
        if bbox is None:
            return has, Spans.whole(int(has[1].sum()))
        key = self._token, bbox, level
        if (known := _boxes.get(key)) is None:
            box = _cut_to(bbox, self.tile, level, self._layout)
            known = _meet(has, _box_runs(box, 2**level, self._layout.ellipsoid))
            _boxes.put(key, known)  # by two threads at a time, at worst
        return known

    def _runs_at(self, level: int) -> Runs:
        """The cells that the tile has at a level."""
        if level not in self._runs:
            runs = recovery.runs(self._group)
            for coarser in (self._layout.level, *self._group.coarser):
                self._runs[coarser] = runs
                runs = parent_runs(*runs, STEP)
        return self._runs[level]

    @contextlib.contextmanager
    def _explaining(self, chunk: Chunk) -> Iterator[None]:
        """Say of which record something is damaged."""
        try:
            yield
        except DamageError as error:
            raise self._explained(chunk, self._slot(chunk), error) from error

    def _explained(self, chunk: Chunk, slot: int, error: DamageError) -> ArchiveError:
        """What to say of a damaged record, or of one that is no longer there."""
        now = recovery.load(self._group.storage, self.tile)
        if now is None or now.slots(chunk)[-1:] != [slot]:
            return NoRecordError(f"{chunk}: the record was removed or replaced in the meantime.")
        return ArchiveError(
            f"{chunk}: the record in {self._group.storage.name} is damaged ({error}).  The other "
            "records can be read.  Remove this one and order it again."
        )


_views: OrderedDict[str, View] = OrderedDict()  # those that this process was sent


def _known(token: str, layout: Layout, group: Group) -> View:
    """The view that was pickled; the same object if it has been here before."""
    return _sent(token, lambda: View(layout, group, token))


def _sent(token: str, make: Callable[[], View]) -> View:
    """The view with a token that this process was sent, or another one; the last are kept."""
    with _lock:
        view = _views.pop(token, None)
        view = _views[token] = make() if view is None else view
        while len(_views) > VIEWS:
            _views.popitem(last=False)
    return view


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


def _cut_to(bbox: BBox, tile: Tile, level: int, layout: Layout) -> list[BBox]:
    """The parts of a box that can hold centres of a tile's cells, or of their parents.

    Cells of the archive's own level have their centres in the tile.  The centre of a parent
    is less than two of its widths away from it.
    """
    margin = 0.0 if level == layout.level else 2 * 60 / 2**level  # a cell's width is 58.6 / nside
    south, north = max(tile.south - margin, -90.0), min(tile.north + margin, 90.0)
    polar = max(-south, north)
    if margin:
        margin = margin / math.cos(math.radians(polar)) if polar < 89 else 360.0
    parts = []
    for box in bbox.split():
        low, high = max(box.south, south), min(box.north, north)
        sides = [(box.west, box.east)]
        if tile.size[0] + 2 * margin < 360:
            west, east = tile.west - margin, tile.east + margin
            sides = [
                (max(box.west, west + turn), min(box.east, east + turn)) for turn in (-360, 0, 360)
            ]
        parts += [BBox(w, low, e, high) for w, e in sides if w < e and low < high]
    return parts


def _box_runs(boxes: list[BBox], nside: int, ellipsoid: str) -> Runs:
    """Sorted runs of the cells in boxes that do not overlap."""
    parts = [box_runs(box, nside, ellipsoid) for box in boxes]
    start = np.concatenate([np.empty(0, np.uint64), *(part[0] for part in parts)])
    length = np.concatenate([np.empty(0, np.uint32), *(part[1] for part in parts)])
    order = np.argsort(start)
    return start[order], length[order]


def _bytes(found: tuple[Runs, Spans]) -> int:
    (start, length), spans = found
    return start.nbytes + length.nbytes + spans.starts.nbytes + spans.sizes.nbytes


_lock = threading.Lock()
_ALIKE = {"codecs", "chunk_grid", "chunk_key_encoding", "attributes", "dimension_names"}
_parts: dict[str, Any] = {}
_boxes: LastUsed[Hashable, tuple[Runs, Spans]] = LastUsed(BOXES, _bytes)
