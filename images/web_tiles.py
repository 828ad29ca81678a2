"""Images as the tiles of a map in a browser: 256 x 256 pixels in Web Mercator.

A tile z/x/y is column x, from 180 W, and row y, from the north, of 2**z by 2**z that cut the
Mercator square (EPSG:3857).  Its columns are as regular on longitude as those of any grid; its
rows are not on latitude, so each is a row of a grid of its own:

    southern edge of row r from the north:  atan(sinh(pi (1 - 2 (256 y + r + 1) / (256 * 2**z))))

and has the values that `retrieve.retrieve` gives for that row.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archive.shards import Unpacked, keeping, one_of_many
from cells.regrid import Frame
from grid import BBox, Tile
from healpix.arrays import Floats, Ints
from healpix.ids import cell_width, level_of
from healpix.pixels import ring_rows_between
from images import plain_png
from images.blocks import Block, Cube, padded
from images.records import Image
from images.scales import COLOURS, Scale, shares
from shared.land import land
from shared.memory import LastUsed

if TYPE_CHECKING:
    from archive.snapshot import View

SIDE = 256  # pixels
ZOOM_MAX = 19  # of a tile; beyond, a browser enlarges pixels
ALONE = 500_000  # cells of all bands, more than which are not read by a single thread
CELLS = 2_000_000  # of all bands, about the most that are read at a time: more takes more memory
LESS = 20  # times less memory than elsewhere for a composite of a piece
THREADS = 2
KEPT = 16_000_000  # bytes of unpacked chunks, for the next tile
GREYS = 254  # of a picture of one band; 0 is a gap
EVEN = 1  # how much zlib tries with large areas of a colour, and not at all with images
WATER, GROUND = ((211, 224, 232), (24, 34, 42)), ((233, 230, 221), (52, 55, 52))  # bright, dark

Range = tuple[float, float]


@dataclass(frozen=True)
class MercatorFrame(Frame):
    """The pixels of a tile, row 0 in the south; ``dlat`` is the height of the lowest row."""

    edges: Floats  # of the rows, degrees, ascending

    @cached_property
    def lat(self) -> Floats:
        """Pixel centres, ascending: the middle of each row's edges."""
        return np.asarray(self.edges[:-1] + 0.5 * np.diff(self.edges))

    @cached_property
    def lon(self) -> Floats:
        """Pixel centres, ascending."""
        return np.asarray(self.bbox.west + (np.arange(SIDE) + 0.5) * self.dlon)

    def part(self, rows: slice) -> MercatorFrame:
        """Some of the rows."""
        edges = self.edges[rows.start : rows.stop + 1]
        box = BBox(self.bbox.west, float(edges[0]), self.bbox.east, float(edges[-1]))
        return MercatorFrame(box, float(np.diff(edges).min()), self.dlon, edges)

    def edge(self, row: int) -> float:
        """The southern edge of a row."""
        return float(self.edges[row])

    def thinnest(self, rows: slice) -> float:
        """The height of the lowest of some rows."""
        return float(np.diff(self.edges[rows.start : rows.stop + 1]).min())

    def rings(self, rows: slice, nside: int, ellipsoid: str) -> tuple[int, Ints]:
        """The first ring of cells of some rows, and from it on the row of each ring, or -1."""
        return ring_rows_between(self.edges[rows.start : rows.stop + 1], nside, ellipsoid)


def frame_of(z: int, x: int, y: int) -> MercatorFrame:
    """The pixels of a tile.  Raises ValueError where there is no such tile."""
    if not (0 <= z <= ZOOM_MAX and 0 <= x < 2**z and 0 <= y < 2**z):
        raise ValueError(f"There is no tile {z}/{x}/{y}.")
    dlon = 360.0 / (SIDE << z)
    north = np.arange(SIDE * (y + 1), SIDE * y - 1, -1) / (SIDE << z)  # of the whole map, 0 to 1
    edges = np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * north))))
    west = x * SIDE * dlon - 180.0
    box = BBox(west, float(edges[0]), west + SIDE * dlon, float(edges[-1]))
    return MercatorFrame(box, float(np.diff(edges).min()), dlon, edges)


@dataclass(frozen=True)
class _Rows(Cube):
    """Rows of a tile, all of which are read as one of them would be by itself."""

    like: Cube = field(kw_only=True)

    @cached_property
    def averages(self) -> bool:
        """Whether pixels are larger than cells."""
        return self.like.averages

    def level(self, rows: slice) -> int:  # noqa: ARG002
        """The level that is read."""
        return self.like.level(slice(0, 1))


def values_of(
    frame: MercatorFrame,
    views: Sequence[View],
    image: Image,
    bands: tuple[str, ...],
    nside: int,
    classes: tuple[str, ...] = (),
) -> Block:
    """The bands of an image in a tile: float32[band, row, column], row 0 in the south.

    ``views`` are the tiles of the archive that have records of the image.
    """
    out = np.full((len(bands), SIDE, SIDE), np.nan, np.float32)
    rows, columns = _covered(frame, [view.tile for view in views], nside)
    work: list[tuple[Cube, int, slice, slice]] = []
    size = 0.0  # bytes of the cells that are read
    for some in _groups(frame, rows, nside):
        like = frame.part(slice(some.start, some.start + 1))
        of_all = tuple(views), (image,), bands
        alone = Cube(*of_all, like, nside, "nearest", classes)
        part = frame.part(some)
        cube = _Rows(*of_all, part, nside, "nearest", classes, like=alone, less=LESS)
        height = some.stop - some.start
        work += [(cube, some.start, *block) for block in _blocks(cube, height, columns)]
        size += _cells(cube) * height * (columns.stop - columns.start) * (4 * len(bands) + 2)
    # What is larger would push out all else for what hardly comes again, and costs a copy.
    kept = None if image.how or size > KEPT / 2 else _unpacked()

    def read(cube: Cube, first: int, some: slice, columns: slice) -> None:
        with one_of_many(), keeping(kept):
            found = cube.read(0, some, columns)
        out[:, first + some.start : first + some.stop, columns] = found

    for done in [pool().submit(read, *each) for each in work]:
        done.result()
    return out


@functools.cache
def pool() -> ThreadPoolExecutor:
    """The threads that read for all: each thread that reads keeps memory for the next time."""
    return ThreadPoolExecutor(THREADS)


@functools.cache
def _unpacked() -> Unpacked:
    """What all tiles were made of last."""
    return LastUsed(KEPT)


def _covered(frame: MercatorFrame, tiles: Sequence[Tile], nside: int) -> tuple[slice, slice]:
    """The rows and columns that tiles of the archive can have cells in."""
    if not tiles:
        return slice(0, 0), slice(0, 0)
    boxes = [padded(tile.bbox, nside) for tile in tiles]
    if any(box.crosses_antimeridian for box in boxes):
        columns = slice(0, SIDE)
    else:
        west, east = min(box.west for box in boxes), max(box.east for box in boxes)
        first = int(np.floor((west - frame.bbox.west) / frame.dlon)) - 1
        stop = int(np.ceil((east - frame.bbox.west) / frame.dlon)) + 1
        columns = slice(max(0, first), max(0, min(SIDE, stop)))
    low = np.searchsorted(frame.edges, min(box.south for box in boxes)) - 2
    high = np.searchsorted(frame.edges, max(box.north for box in boxes)) + 1
    return slice(max(0, int(low)), min(SIDE, int(high))), columns


def _groups(frame: MercatorFrame, rows: slice, nside: int) -> Iterator[slice]:
    """The rows, those together that are read in the same way."""

    def how(row: int) -> tuple[bool, int]:
        cube = Cube((), (), (), frame.part(slice(row, row + 1)), nside, "nearest")
        return cube.averages, cube.level(slice(0, 1)) if cube.averages else 0

    if rows.start >= rows.stop:
        return
    is_one_side = frame.bbox.south >= 0 or frame.bbox.north <= 0
    if is_one_side and how(rows.start) == how(rows.stop - 1):  # it goes with the latitude
        yield rows
        return
    for _, some in itertools.groupby(range(rows.start, rows.stop), how):
        found = list(some)
        yield slice(found[0], found[-1] + 1)


def _blocks(cube: Cube, height: int, columns: slice) -> Iterator[tuple[slice, slice]]:
    """The pixels in pieces of few cells; of all cells few there is one.

    Of a composite in squares, else from side to side: fewer cells are then read twice.
    """
    cells, width = _cells(cube), columns.stop - columns.start
    if cube.images[0].how:
        side = math.ceil(math.sqrt(cube.most_cells / cells))
        high = wide = max(1, min(cube.side, side))
    else:
        total = cells * height * width * len(cube.bands)
        number = math.ceil(total / CELLS)
        if total > ALONE:
            number = THREADS * math.ceil(number / THREADS)
        high, wide = math.ceil(height / max(1, number)), max(1, width)
    for top in range(0, height, high):
        for left in range(columns.start, columns.stop, wide):
            yield (
                slice(top, min(top + high, height)),
                slice(left, min(left + wide, columns.stop)),
            )


def _cells(cube: Cube) -> float:
    """How many cells of those that are read a pixel has."""
    across = cube.frame.dlon * np.cos(np.radians(cube.frame.lat[0]))
    return float(cube.frame.dlat * across / cell_width(1 << _level(cube)) ** 2)


def _level(cube: Cube) -> int:
    """The level that is read, which is one of those that there are."""
    if not cube.averages:
        return level_of(cube.nside)
    wanted, first = cube.level(slice(0, 1)), cube.images[0].chunks[0]
    there = [view.levels(first) for view in cube.views if first in view]
    return min((has for levels in there for has in levels if has >= wanted), default=wanted)


# --- as pictures -------------------------------------------------------------------------


def picture(
    values: dict[str, NDArray[np.float32]], scale: Scale, ranges: dict[str, Range]
) -> bytes:
    """A PNG of a band, or of the three channels of a picture in colour; gaps are transparent.

    values: float32[row, column] by band, row 0 in the south.  ranges: what is drawn darkest and
    brightest, by what is drawn: a band, or red, green and blue.
    """
    if len(ranges) == 3:
        return plain_png.in_colour(scale.in_colour(values, ranges)[::-1])
    ((band, limits),) = ranges.items()
    known = values[band]
    if scale.is_class(band):
        shades = np.nan_to_num(known) % len(COLOURS)
        palette = [_rgb(colour) for colour in COLOURS]
    else:
        shades = shares(scale.shown(known), limits, GREYS - 1)
        palette = _ramp(scale.colours)
    numbers = np.where(np.isnan(known), 0, 1 + shades).astype(np.uint8)
    return plain_png.of_palette(numbers[::-1], [(0, 0, 0), *palette], transparent=0)


def empty() -> bytes:
    """A tile with nothing in it."""
    return plain_png.of_palette(np.zeros((SIDE, SIDE), np.uint8), [(0, 0, 0)], 0, EVEN)


def land_tile(z: int, x: int, y: int, *, dark: bool) -> bytes:
    """Land and sea, as a PNG."""
    frame = frame_of(z, x, y)
    ground = land(frame.lat, frame.lon)
    shades = ground.astype(np.uint8)[::-1]
    return plain_png.of_palette(shades, [WATER[dark], GROUND[dark]], None, EVEN)


@functools.cache
def _ramp(name: str) -> list[tuple[int, int, int]]:
    """The colours of one band, dark to bright."""
    if name == "gray":
        return [(level, level, level) for level in np.linspace(0, 255, GREYS).astype(int).tolist()]
    from matplotlib import colormaps

    shades = colormaps[name](np.linspace(0, 1, GREYS), bytes=True)[:, :3].tolist()
    return [(red, green, blue) for red, green, blue in shades]


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue
