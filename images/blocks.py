"""From the records of images to blocks of a grid, each read by itself.

A grid that is finer than the cells shows single cells.  A pixel of a coarser one is the
mean of the cells in it, by their counts, so that no speckle and no field is aliased:

    value of a pixel = sum(count x value) / sum(count)   over the cells with their centre in it

(of classes the most frequent one, by the counts)

taken from the coarsest overview whose cells are at most half a pixel wide, so what is
read goes with the pixels, not with the area.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archive.shards import is_one_of_many, one_of_many
from archive.storage import each_of
from cells.regrid import Frame, Means, class_values, grid_values
from grid import BBox, Chunk, Tile, wrap
from healpix.ids import cell_width, level_of
from images.composites import let_go
from images.grids import DAY
from images.mask import PixelMask, of_frame
from images.merge import united
from images.periods import Period
from images.records import Image, in_time
from images.speckle import BORDER as speckle_border
from images.speckle import Speckle, filtered
from shared.areas import Area
from shared.cellset import CellSet

if TYPE_CHECKING:
    from archive.snapshot import View

SIDE = 2048  # pixels, the largest of a block
CELLS = 8_000_000  # cells, about the most that are read for a block
FILTERED = 2_000_000  # cells of all bands, about the most that are filtered at a time
COMPOSITE = 150_000_000  # bytes, about the most that making a composite of a block takes
BORDER = 3.0  # mean cell widths that are read beyond a block

Block = NDArray[np.float32]  # (band, row, column)
Place = tuple[int, ...]  # of a block: its number along time, band, lat, lon
Reading = tuple["View", Chunk, BBox, int, tuple[str, ...]]  # with level and names of variables


@dataclass(frozen=True)
class Cube:
    """Images on a grid, (time, band, lat, lon): what it takes to read any block of them.

    It can be sent to another process.  What it reads stays the same while others write.
    """

    views: tuple[View, ...]
    images: tuple[Image, ...]
    bands: tuple[str, ...]
    frame: Frame
    nside: int
    method: str  # for a grid that is finer than the cells: "nearest" or "bilinear"
    classes: tuple[str, ...] = ()  # the bands that hold such: never averaged
    area: Area | None = None  # of which pixels outside are gaps
    speckle: Speckle | None = None  # with what else the images are filtered
    less: int = 1  # times less memory that a composite of a block may take

    @cached_property
    def averages(self) -> bool:
        """Whether pixels are larger than cells, so that a pixel is the mean of its cells."""
        box, cell = self.frame.bbox, cell_width(self.nside)
        across = self.frame.dlon * _narrowing(box.south, box.north, widest=True)
        return self.frame.dlat * across > cell**2 or max(self.frame.dlat, across) > 2 * cell

    @property
    def finest(self) -> int:
        """The HEALPix level that the whole grid wants."""
        if self.averages:
            return self.level(slice(0, self.frame.lat.size))
        return level_of(self.nside)

    @cached_property
    def side(self) -> int:
        """Pixels, the side of a block: a power of 2, smaller where pixels hold many cells."""
        if not self.averages and not self.images[0].how and not self.speckle:
            return SIDE
        level, box = self.finest, self.frame.bbox
        across = self.frame.dlon * _narrowing(box.south, box.north, widest=True)
        cells = self.frame.dlat * across / cell_width(1 << level) ** 2
        most = math.sqrt(min(CELLS, self.most_cells) / cells)
        return int(min(SIDE, max(64, 2 ** math.floor(math.log2(most)))))

    @property
    def most_cells(self) -> float:
        """Cells of which a block may be made, if it is a composite."""
        if self.speckle:
            return FILTERED / len(self.bands)
        if not self.images[0].how:
            return math.inf
        return COMPOSITE / self.less / (32 * len(self.bands) + 24)

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The blocks, as dask counts them: (time, band, lat, lon)."""
        rows, columns = (
            tuple(min(self.side, size - first) for first in range(0, size, self.side))
            for size in (self.frame.lat.size, self.frame.lon.size)
        )
        return (1,) * len(self.images), (len(self.bands),), rows, columns

    def level(self, rows: slice) -> int:
        """The HEALPix level that rows of an averaged grid want: cells of half a pixel or less."""
        south, north = self.frame.edge(rows.start), self.frame.edge(rows.stop)
        across = self.frame.dlon * _narrowing(south, north, widest=False)
        spacing = min(self.frame.thinnest(rows), across)
        level = math.ceil(math.log2(cell_width(1) / (spacing / 2))) if spacing > 0 else 99
        return min(max(level, 0), level_of(self.nside))

    @cached_property
    def made(self) -> list[int]:
        """How many blocks this process has made."""
        return [0]

    @cached_property
    def _mask(self) -> PixelMask | None:
        return None if self.area is None else of_frame(self.area, self.frame)

    def read(self, time: int, rows: slice, columns: slice) -> Block:
        """One block of one image; of a block outside of the area nothing is read."""
        if self._mask is None:
            return self._read(time, rows, columns)
        inside = self._mask.of(rows, columns)
        if not inside.any():
            return np.full((len(self.bands), *inside.shape), np.nan, np.float32)
        values = self._read(time, rows, columns)
        values[:, ~inside] = np.nan
        return values

    def _read(self, time: int, rows: slice, columns: slice) -> Block:
        image, reach = self.images[time], self._box(rows, columns)
        if not self.averages:
            return self._read_points(image, reach, rows, columns)
        level, names = self.level(rows), (*self.bands, "count")
        means = Means(self.frame, rows, columns, self.bands)
        kept = []
        for part in self._parts(image, level, names, reach):
            means.add(part)
            kept += [part] * bool(self.classes)
        values = means.values()
        for band in self.classes:
            find = _newest_days if band == DAY else class_values
            values[self.bands.index(band)] = find(kept, self.frame, rows, columns, band)
        return values

    def _parts(
        self, image: Image, level: int, names: tuple[str, ...], reach: BBox
    ) -> Iterator[CellSet]:
        """The cells of an image around a block, at this level or the next finer one there is."""
        if self.speckle:
            yield from self._filtered(self.speckle, image, level, reach)
            return
        near = list(self._near(image, padded(reach, 1 << level)))
        if image.how:
            for view, some in itertools.groupby(sorted(near, key=_tile_of), lambda pair: pair[0]):
                yield self._composite(view, [chunk for _, chunk in some], level, reach, image.how)
            return
        readings = []
        for view, chunk in near:
            there = min(has for has in view.levels(chunk) if has >= level)
            readings.append((view, chunk, padded(reach, 1 << there), there, names))
        yield from read_all(readings)

    def _filtered(
        self, speckle: Speckle, image: Image, level: int, reach: BBox
    ) -> Iterator[CellSet]:
        """The cells of an image around a block without its speckle."""
        number = speckle.group_of(image)
        around = padded(reach, 1 << level, BORDER + speckle_border)
        near = {one: list(self._near(one, around)) for one in speckle.groups[number]}
        if not near[image]:
            return
        every = [pair for pairs in near.values() for pair in pairs]
        levels = set.intersection(*(set(view.levels(chunk)) for view, chunk in every))
        there = min(has for has in levels if has >= level)
        names = (*self.bands, "count")

        def read(one: Image) -> CellSet:
            return united(list(read_all([(v, c, around, there, names) for v, c in near[one]])))

        group = [one for one, pairs in near.items() if pairs]
        yield filtered(image, group, self.bands, read, (speckle.token, number, there, around))

    def _composite(
        self, view: View, chunks: list[Chunk], level: int, reach: BBox, how: str
    ) -> CellSet:
        """The composite of some records of a tile around a block."""
        common = set.intersection(*(set(view.levels(chunk)) for chunk in chunks))
        there = min(has for has in common if has >= level)
        bands = tuple(band for band in self.bands if band != DAY)
        period = Period(
            view, tuple(in_time(view, chunks)), there, how, bands, self.classes, self.less > 1
        )
        return period.cells(padded(reach, 1 << there))

    def _read_points(self, image: Image, reach: BBox, rows: slice, columns: slice) -> Block:
        tiles = [chunk.tile for _, chunk in self._near(image, padded(reach, self.nside))]
        mixed = len(set(tiles)) < len(tiles)
        names = (*self.bands, "count") if mixed else self.bands
        parts = list(self._parts(image, level_of(self.nside), names, reach))
        if not parts:
            shape = self.frame.lat[rows].size, self.frame.lon[columns].size
            return np.full((len(self.bands), *shape), np.nan, np.float32)
        cells, frame = united(parts), self.frame
        values = grid_values(cells, frame, rows, columns, self.method, workers=1)
        if self.classes and self.method != "nearest":
            nearest = grid_values(cells, frame, rows, columns, "nearest", workers=1)
            at = [self.bands.index(band) for band in self.classes]
            values[at] = nearest[at]
        return values

    def _near(self, image: Image, reach: BBox) -> Iterator[tuple[View, Chunk]]:
        """The records of an image that may have cells in a box."""
        found = [
            (number, view, chunk)
            for view in self.views if view.tile.bbox.intersects(reach)
            for number, chunk in image.by_tile.get(view.tile, ())
        ]  # fmt: skip
        for _, view, chunk in sorted(found, key=itemgetter(0)):
            yield view, chunk

    def _box(self, rows: slice, columns: slice) -> BBox:
        """The pixels of a block."""
        box, dlon = self.frame.bbox, self.frame.dlon
        south, north = self.frame.edge(rows.start), self.frame.edge(rows.stop)
        west, width = box.west + columns.start * dlon, (columns.stop - columns.start) * dlon
        return _box(west, max(-90.0, south), width, min(90.0, north))


def read_all(readings: Sequence[Reading]) -> Iterator[CellSet]:
    """What is to be read, in its order; from far away all at once, else one after the other."""
    is_far = bool(readings) and readings[0][0].is_far
    yield from each_of(_read, readings, is_far)


def _tile_of(near: tuple[View, Chunk]) -> Tile:
    return near[1].tile


def _newest_days(
    parts: Sequence[CellSet], frame: Frame, rows: slice, columns: slice, band: str
) -> NDArray[np.float32]:
    """Of the cell at the centre of each pixel the day, (row, column)."""
    days = (part.only([band, "count"]) for part in parts)
    found = [grid_values(part, frame, rows, columns, "nearest", workers=1) for part in days]
    shape = frame.lat[rows].size, frame.lon[columns].size
    nothing = np.full(shape, np.nan, np.float32)
    return np.asarray(np.fmax.reduce([nothing, *(each[0] for each in found)]))


def _read(reading: Reading) -> CellSet:
    view, chunk, reach, level, names = reading
    return view.cells(chunk, reach, level, names)


def whole(cube: Cube) -> NDArray[np.float32]:
    """All blocks, (time, band, lat, lon), on threads unless this is one of many."""
    numbers: list[Place] = list(product(*(range(len(sizes)) for sizes in cube.chunks)))
    out = np.empty([sum(sizes) for sizes in cube.chunks], np.float32)

    def fill(number: Place) -> None:
        time, _, i, j = number
        rows = slice(i * cube.side, (i + 1) * cube.side)
        out[time, :, rows, j * cube.side : (j + 1) * cube.side] = block_of(cube, number)[0]

    if len(numbers) == 1 or is_one_of_many():
        for number in numbers:
            fill(number)
        return out
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        rows = itertools.groupby(numbers, lambda number: number[:-1])
        order = [number for _, row in rows for number in _far_apart(list(row), threads)]
        for done in [pool.submit(fill, number) for number in order]:
            done.result()
    return out


def _far_apart(row: Sequence[Place], threads: int) -> Iterator[Place]:
    """The same, neighbours not at a time: of what both need one would wait for the other."""
    each = math.ceil(len(row) / threads)
    for first in range(each):
        yield from row[first::each]


def block_of(cube: Cube, block_id: Place) -> Any:
    """A block (1, band, lat, lon) by its number along each dimension, as dask asks for it."""
    time, _, i, j = block_id
    height, width = cube.frame.lat.size, cube.frame.lon.size
    rows = slice(i * cube.side, min((i + 1) * cube.side, height))
    columns = slice(j * cube.side, min((j + 1) * cube.side, width))
    with one_of_many():
        block = cube.read(time, rows, columns)[np.newaxis]
    with _counting:
        cube.made[0] += 1
        is_last = cube.made[0] % math.prod(map(len, cube.chunks)) == 0
    if is_last:  # before all blocks are put together, which takes memory again
        let_go()
    return block


_counting = threading.Lock()


def padded(bbox: BBox, nside: int, border: float = BORDER) -> BBox:
    """The box with the cells around it: some mean cell widths to every side."""
    margin = border * cell_width(nside)
    south, north = max(-90.0, bbox.south - margin), min(90.0, bbox.north + margin)
    sideways = margin / max(_narrowing(south, north, widest=False), 1e-9)
    return _box(bbox.west - sideways, south, bbox.width + 2 * sideways, north)


def _box(west: float, south: float, width: float, north: float) -> BBox:
    if width >= 360:
        return BBox(-180.0, south, 180.0, north)
    west = wrap(west)
    east = west + width
    return BBox(west, south, east if east <= 180 else east - 360, north)


def _narrowing(south: float, north: float, widest: bool) -> float:
    """The cosine of the latitude, at its most or at its least between two latitudes."""
    if widest:
        return 1.0 if south <= 0 <= north else math.cos(math.radians(min(abs(south), abs(north))))
    return max(0.0, math.cos(math.radians(min(90.0, max(abs(south), abs(north))))))
