"""An archive as a map in a browser asks for it: tiles, ranges, places, and what there is.

Nothing of a whole continent is read at once: where a tile of the map would show more than
`TILES_MOST` tiles of the archive it stays empty, and what there is is seen by their outlines.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archive.holdings import day_of, key_of
from archive.lookout import Lookout
from archive.passes import passes_of
from archive.shards import one_of_many
from cells.regrid import compile_loops
from grid import ORBITS, BBox, Chunk, Tile, as_box
from healpix.few import centres, ids_around
from healpix.ids import cell_width, level_of
from images import composites, figure, lazy, web_tiles
from images.blocks import Block, padded, whole
from images.grids import DAY, edges_around
from images.records import Image, NoData, layout_of, of_period, on_days
from images.scales import RATIO, Scale
from images.tile_map import unwrapped
from shared.memory import Memory

if TYPE_CHECKING:
    from archive.contents import Contents
    from archive.holdings import Holdings
    from archive.snapshot import View
    from archive.spans import Spans
    from images.settings import Look

TILES_MOST = 64  # of the archive, that a tile of the map is made of
RANGED = 16  # tiles of the archive, at most, by which a range is found
SAMPLES = 400  # pixels, of the longer side of a grid that a range is found by
COLOUR = "colour"  # instead of a band: the picture in colour
KEPT = 32_000_000  # bytes of the values of tiles, to be drawn in another range: of a large screen
AROUND = 4.0  # mean cell widths to each side of a place, in which its cell is

Range = tuple[float, float]


@dataclass(frozen=True)
class Picked:
    """What of an archive is shown."""

    first: dt.date
    last: dt.date
    orbit: str = "any"
    band: str = COLOUR
    how: str | None = None  # of one image of all days


@dataclass(frozen=True)
class _Held:
    """What the archive held when it was looked at."""

    tiles: list[Tile]
    days: list[set[tuple[int, int]]]  # of each tile
    sides: NDArray[np.float64]  # of each tile: west, south, east, north
    records: int
    states: list[str]  # of each tile: another one after each change

    @classmethod
    def of(cls, holdings: Holdings, before: _Held | None = None) -> _Held:
        """The same of an archive's holdings; what is as before is not read again."""
        held = holdings.tiles
        states = [f"{each.name} {each.stamp} {zlib.crc32(each.keys)}" for each in held]
        if before is not None and before.states == states:
            return before
        known = dict(zip(before.states, before.days, strict=True)) if before else {}
        tiles = [Tile.from_name(each.name, holdings.layout.chunk_size) for each in held]
        sides = [(t.west, t.south, t.east, t.north) for t in tiles]
        days = [
            known[state] if state in known else each.days  # noqa: SIM401 (which are parsed)
            for each, state in zip(held, states, strict=True)
        ]
        return cls(tiles, days, np.array(sides, float).reshape(-1, 4), holdings.records, states)

    @cached_property
    def version(self) -> str:
        """Another one after each change."""
        return hashlib.sha256("".join(self.states).encode()).hexdigest()[:12]

    @cached_property
    def images(self) -> list[dict[str, Any]]:
        """Each day and orbit that there is, and of how many tiles."""
        number = Counter(key for days in self.days for key in days)
        return [
            {"day": day_of(day).isoformat(), "orbit": ORBITS[orbit], "tiles": tiles}
            for (day, orbit), tiles in sorted(number.items())
        ]


class Atlas:
    """An archive to look at for a long time; many threads may ask at a time.

    ``holdings`` says what there is now, ``look`` how pictures are drawn.
    """

    def __init__(
        self, archive: Contents, holdings: Callable[[], Holdings], look: Callable[[], Look]
    ) -> None:
        self._layout = layout_of(archive)
        self._archive, self._look = archive, look
        self._ask, self._lookout = holdings, Lookout(archive)
        self.scale = Scale(self._layout.product)
        self._held = _Held.of(holdings())
        self._values = Memory[Hashable, NDArray[np.float32]](KEPT)
        self.drawn = threading.Event()  # whether there is a tile with an image

    def prepare(self) -> None:
        """Load what the first tiles did not wait for, and what many need."""
        compile_loops()

    # --- what there is ---

    def look_again(self) -> None:
        """See what has been written since."""
        self._held = _Held.of(self._ask(), self._held)

    def about(self) -> dict[str, Any]:
        """What the page has to know before it can ask for anything."""
        bands, classes = self._layout.bands, self._layout.product.classes(self._layout.bands)
        shown = [COLOUR] * bool(self.scale.composite(bands)) + list(bands)
        held = self._held
        return {
            "name": self._archive.name,
            "title": self.scale.title,
            "version": held.version,
            "records": held.records,
            "bands": [
                {"name": name, "label": self._label(name), "isClass": name in classes}
                for name in shown
            ],
            "composites": [how for how in composites.HOW if how not in ("count", "std")],
            "images": held.images,
            "extent": self.extent(),
            "tileSize": list(self._layout.chunk_size),
        }

    def _label(self, name: str) -> str:
        if name != COLOUR:
            return self.scale.label(name)
        return "colour: " + ", ".join(self.scale.composite(self._layout.bands))

    def extent(self) -> list[float] | None:
        """West, south, east, north of all tiles; east may pass 180.  None of no tile."""
        if not self._held.tiles:
            return None
        west, south, _, north = self._held.sides.T
        lefts = unwrapped(west.tolist())
        east = max(lefts) + self._layout.chunk_size[0]
        return [min(lefts), float(south.min()), east, float(north.max())]

    def coverage(self, picked: Picked) -> list[list[float]]:
        """West, south, number of records of each tile, and how many of them are picked."""
        keys, held = self._keys(picked), self._held
        return [
            [tile.west, tile.south, len(days), sum(1 for key in days if keys(key))]
            for tile, days in zip(held.tiles, held.days, strict=True)
        ]

    def _keys(self, picked: Picked) -> Callable[[tuple[int, int]], bool]:
        first, last = picked.first.toordinal(), picked.last.toordinal()
        orbit = None if picked.orbit == "any" else ORBITS.index(picked.orbit)
        return lambda key: first <= key[0] <= last and orbit in (None, key[1])

    # --- pictures ---

    def tile(self, picked: Picked, ranges: dict[str, Range], z: int, x: int, y: int) -> bytes:
        """A tile of the map as PNG.  Raises ValueError for a tile or band that there is not."""
        frame = web_tiles.frame_of(z, x, y)
        names = self.names(picked.band)
        if set(ranges) != set(names):
            raise ValueError(f"A range is needed for each of {', '.join(names)}.")
        bands = tuple(name for name in names if name != RATIO)
        near = self._near(padded(frame.bbox, self._layout.nside), picked)
        if not 0 < len(near) <= TILES_MOST:
            return web_tiles.empty()
        views = self._lookout.views(near)
        image = self._image(views, frame.bbox, picked)
        if image is None:
            return web_tiles.empty()
        days = (DAY,) * (picked.how == "newest")  # a layer that comes with it
        classes = (*self._layout.product.classes(bands), *days)
        layers, nside = (*bands, *days), self._layout.nside
        key = (*views, image, layers, z, x, y)  # another view after each change
        of_all = frame, views, image, layers, nside, classes
        [values] = self._values.of([key], lambda _: [web_tiles.values_of(*of_all)])
        ordered = {name: ranges[name] for name in names}
        shown = web_tiles.picture(dict(zip(layers, values, strict=True)), self.scale, ordered)
        self.drawn.set()
        return shown

    def names(self, band: str) -> tuple[str, ...]:
        """What is drawn: a band, or what red, green and blue stand for."""
        if band == COLOUR and (channels := self.scale.composite(self._layout.bands)):
            return channels
        if band not in self._layout.bands:
            raise ValueError(f"The archive has no {band}; it has {', '.join(self._layout.bands)}.")
        return (band,)

    def _near(self, bbox: BBox, picked: Picked) -> list[Tile]:
        """The tiles with something picked that a box touches."""
        keys, held, found = self._keys(picked), self._held, set[int]()
        west, south, east, north = held.sides.T
        for part in bbox.split():
            inside = (east > part.west) & (west < part.east)
            inside &= (north > part.south) & (south < part.north)
            found |= set(np.flatnonzero(inside).tolist())
        return [held.tiles[i] for i in sorted(found) if any(map(keys, held.days[i]))]

    def _image(self, views: Sequence[View], bbox: BBox, picked: Picked) -> Image | None:
        """The records that are seen together; None if there are none now."""
        try:
            if picked.how:
                period = picked.first, picked.last
                return of_period(self._archive, views, bbox, *period, picked.orbit, picked.how)[0]
            return on_days(self._archive, views, bbox, picked.first, picked.last, picked.orbit)[0]
        except NoData:
            return None

    def ranges(self, picked: Picked, bbox: BBox) -> dict[str, Range]:
        """What is to be drawn darkest and brightest, by what a box has; {} if it has nothing."""
        near = self._near(bbox, picked)
        if len(near) > RANGED:
            middle = (bbox.west + bbox.width / 2, (bbox.south + bbox.north) / 2)
            near = [min(near, key=lambda tile: math.dist((tile.west, tile.south), middle))]
            bbox = near[0].bbox
        if not near:
            return {}
        names = self.names(picked.band)
        bands = [name for name in names if name != RATIO]
        cell = cell_width(self._layout.nside)
        sizes = lazy.spacing(bbox, cell, cell, SAMPLES)
        on = lazy.canvas(self._archive, bbox, bands, *sizes, "nearest", picked.orbit)

        def read() -> tuple[lazy.Shown, Block]:
            less = web_tiles.LESS
            found = lazy.shown_on(on, picked.first, picked.last, composite=picked.how, less=less)
            cube = replace(found.cube, images=found.cube.images[:1])
            with one_of_many():
                return found, whole(cube)[0]

        try:
            shown, values = web_tiles.pool().submit(read).result()
        except NoData:
            return {}
        frame, drawn = on.frame, dict(zip(shown.cube.bands, values, strict=True))
        drawn.pop(DAY, None)
        edges = edges_around(frame.lat, frame.lon, frame.dlat, frame.dlon)
        found = figure.ranges_of(drawn, Scale(shown.product), edges, self._look())
        return {name: found[name] for name in names if name in found}

    # --- places ---

    def place(self, picked: Picked, lon: float, lat: float) -> dict[str, Any]:
        """The cell at a point, and its values in the records that are picked."""
        found = self._cell(lon, lat)
        units = {name: self.scale.unit(name) for name in self._layout.bands}
        return {**found, "units": units, "records": self._rows(found["cell"], lon, lat, picked)}

    def _cell(self, lon: float, lat: float) -> dict[str, Any]:
        layout = self._layout
        ids = ids_around(np.array([lon]), np.array([lat]), layout.nside, layout.ellipsoid)
        east, north = centres(ids, layout.nside, layout.ellipsoid)
        return {
            "cell": int(ids[0]),
            "level": level_of(layout.nside),
            "lon": float(east[0]),
            "lat": float(north[0]),
        }

    def _rows(self, cell: int, lon: float, lat: float, picked: Picked) -> list[dict[str, Any]]:
        half = AROUND * cell_width(self._layout.nside)
        wide = min(90.0, half / max(math.cos(math.radians(lat)), 1e-6))
        box = as_box((lon - wide, max(-90.0, lat - half), lon + wide, min(90.0, lat + half)))
        keys, rows = self._keys(picked), []
        alone = np.array([cell], np.uint64), np.ones(1, np.uint32)
        for view in self._lookout.views(self._near(box, picked)):
            spans = view.meet(alone)[1]
            if spans.size:  # else the cell is another tile's
                chunks = (each for each in view.chunks() if keys(key_of(each.day, each.orbit)))
                rows += [self._row(view, chunk, spans) for chunk in chunks]
        return sorted(rows, key=lambda row: (row["day"], row["orbit"]))

    def _row(self, view: View, chunk: Chunk, spans: Spans) -> dict[str, Any]:
        """What a record has of a single cell."""
        bands, about = self._layout.bands, view.about(chunk)
        found = view.values(chunk, spans, (*bands, "count"))
        values = {name: float(found[name][0]) for name in bands}
        passes = passes_of(about)
        kept = ("source", "backend", "collection", "job_id", "processed")
        return {
            "day": chunk.day.isoformat(),
            "orbit": chunk.orbit,
            "tile": chunk.tile.name,
            "count": int(found["count"][0]),
            "values": {name: _number(value) for name, value in values.items()},
            "shown": {name: self._shown(value) for name, value in values.items()},
            "begin": passes.texts["acquired_begin"],
            "platform": passes.platform,
            "relativeOrbit": max(passes.relative_orbit, 0),
            "provenance": {name: about[name] for name in kept if about.get(name)},
        }

    def _shown(self, value: float) -> float | None:
        """A value as pictures show it, in dB of radar."""
        return _number(float(self.scale.shown(np.array([value], np.float32))[0]))


def _number(value: float) -> float | None:
    """A number for JSON, which knows neither NaN nor infinity."""
    return value if math.isfinite(value) else None
