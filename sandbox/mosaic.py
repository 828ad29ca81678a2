"""Executes an order of Sentinel-2: which products it is made of, and how they are merged.

As on the Copernicus back end (openeo-geotrellis-extensions, ``FileLayerProvider``), the
products of a day become one time step at midnight.  Where they overlap, the one whose path
sorts first is on top, and the next one fills what it has no data for, band by band; its path
sorts as its name: by satellite, datatake, orbit, tile.  (Clouds do not matter.  An older way
of reading, which looked at footprints, preferred products of the raster's own UTM zone.)  Of
a tile of the neighbouring zone the pixels are not warped here but computed in place.

The raster has the pixels of the finest band that was asked for; those of coarser bands are
repeated.  Bands are whole numbers of 16 bits with -32768 for no data, also the classes of SCL,
whose class 0 *is* no data; by itself SCL has 8 bits, unsigned.  With a band of `angles` among
them all are real numbers, with NaN for no data.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from sandbox import angles, granules, grids, optical, orbit
from sandbox.errors import Cancelled
from sandbox.granules import Granule
from sandbox.grids import Grid

if TYPE_CHECKING:
    from sandbox.graph import Cube

OFFERED = optical.OFFERED | dict.fromkeys(angles.NAMES, angles.RESOLUTION)  # m, of each band

Array = NDArray[Any]
Published = Callable[[orbit.Pass], dt.datetime]


@dataclass(frozen=True)
class Step:
    """One day of a cube and the products that may show it, the one on top first."""

    day: dt.date
    products: tuple[Granule, ...]


def steps(cube: Cube, published: Published = orbit.published) -> list[Step]:
    """The days of a cube of which the catalogue has a product, in order."""
    among = granules.tiles(cube.bbox)
    box = shapely.box(*cube.bbox)
    found = []
    now = dt.datetime.now(dt.UTC)
    day = max(cube.start.date(), orbit.FIRST_DAY)
    while day <= min(cube.end, now).date():
        products = [
            product
            for view in granules.passes(day)
            if published(view) <= now
            for product in granules.of_pass(view, among)
            if cube.start <= product.time < cube.end
            and product.footprint.intersects(box)
            and all(condition.holds(product.properties) for condition in cube.conditions)
        ]
        if products:
            found.append(Step(day, tuple(sorted(products, key=lambda product: product.id))))
        day += dt.timedelta(days=1)
    return found


def grid(cube: Cube) -> Grid:
    """The raster of a cube: with the pixels of its finest band."""
    return grids.grid(cube.bbox, pixel(cube.bands))


def pixel(bands: Sequence[str]) -> int:
    """The edge of the pixels of an order of some bands, m."""
    return min(OFFERED[band] for band in bands)


def has_angles(cube: Cube) -> bool:
    """Whether a band of angles makes real numbers of all of them."""
    return bool(set(cube.bands) & set(angles.NAMES))


def strips(
    pixels: Grid, cube: Cube, days: list[Step], alive: Callable[[], bool], block: int
) -> Iterator[tuple[int, Array]]:
    """Strips of ``block`` rows as (first row, array of step x band x row x column).

    It is int16, or of a cube with angles float32.
    """
    shown = [band for band in cube.bands if band not in angles.NAMES]
    for row, stack in _shown(pixels, shown, days, alive, block):
        yield row, _with_angles(pixels, row, cube.bands, days, stack) if has_angles(cube) else stack


def _with_angles(
    pixels: Grid, row: int, bands: Sequence[str], days: list[Step], stack: Array
) -> Array:
    """A strip of the bands that are no angles as real numbers, and the angles among them."""
    number, _, *shape = stack.shape
    found = np.empty((number, len(bands), *shape), np.float32)
    others = iter(np.moveaxis(stack, 1, 0))
    for i, band in enumerate(bands):
        if band not in angles.NAMES:
            values = next(others)
            found[:, i] = np.where(values == optical.FILL, np.nan, values)
            continue
        for step, out in zip(days, found[:, i], strict=True):
            angles.fill(pixels, row, step.products, band, out)
    return found


def _shown(
    pixels: Grid, bands: Sequence[str], days: list[Step], alive: Callable[[], bool], block: int
) -> Iterator[tuple[int, Array]]:
    """Strips of what the products show, int16."""
    wanted: dict[int, list[str]] = {}
    for band in bands:
        name = optical.CLASSES if band in optical.DERIVED else band
        rendered = wanted.setdefault(optical.RESOLUTIONS[name], [])
        rendered += [name] if name not in rendered else []
    for row in range(0, pixels.rows, block):
        rows = min(block, pixels.rows - row)
        shape = (len(days), len(bands), rows, pixels.columns)
        stack = np.full(shape, optical.FILL, np.int16)
        if not bands:
            yield row, stack
            continue
        parts = [_Part.under(pixels, row, rows, resolution) for resolution in sorted(wanted)]
        lattice = _Lattice(pixels.epsg, parts)
        for step, image in zip(days, stack, strict=True):
            number = (step.day - orbit.FIRST_DAY).days
            ground = optical.Ground.at(lattice.lon, lattice.lat, number)
            found = [
                np.full((len(wanted[part.resolution]), *part.shape), optical.FILL, np.int16)
                for part in parts
            ]
            for view, products in itertools.groupby(step.products, lambda product: product.view):
                # Products of an overpass follow each other: its name begins theirs.
                sky = ground.sky(granules.key(view))
                for product in products:
                    for part, out in zip(parts, found, strict=True):
                        if not alive():
                            raise Cancelled
                        lattice.show(product, ground, sky, part, wanted[part.resolution], out)
            for part, out in zip(parts, found, strict=True):
                for band, values in part.bands(bands, wanted[part.resolution], out):
                    image[bands.index(band)] = values[part.rows][:, part.columns]
        yield row, stack


@dataclass(frozen=True)
class _Part:
    """The pixels of one resolution that lie under a strip of a raster."""

    resolution: int
    top: int  # of the first row: pixels south of northing ``origin``
    left: int
    origin: int  # m
    rows: Array  # which of them each row of the raster shows
    columns: Array

    @classmethod
    def under(cls, pixels: Grid, row: int, rows: int, resolution: int) -> _Part:
        """Those under ``rows`` rows of a raster."""
        origin = 0 if pixels.epsg < 32700 else 10_000_000
        south = np.floor((origin - pixels.y[row : row + rows]) / resolution).astype(int)
        east = np.floor(pixels.x / resolution).astype(int)
        top, left = int(south[0]), int(east[0])
        return cls(resolution, top, left, origin, south - top, east - left)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.rows[-1]) + 1, int(self.columns[-1]) + 1

    def bands(
        self, asked: Sequence[str], rendered: list[str], out: Array
    ) -> Iterator[tuple[str, Array]]:
        """The bands that are asked for, of those that were rendered, or made of them."""
        for name, values in zip(rendered, out, strict=True):
            if name in asked:
                yield name, values
            if name == optical.CLASSES:
                for band in filter(optical.DERIVED.__contains__, asked):
                    yield band, optical.derived(band, values, self.top, self.left)

    @property
    def fine(self) -> tuple[int, int, int, int]:
        """The pixels of 10 m that they cover: first row and column, and one after the last."""
        ratio = self.resolution // grids.PIXEL
        row, column = self.top * ratio - self.origin // grids.PIXEL, self.left * ratio
        return row, column, row + self.shape[0] * ratio, column + self.shape[1] * ratio


class _Lattice:
    """The nodes around all that lies under a strip."""

    def __init__(self, epsg: int, parts: list[_Part]) -> None:
        self._epsg = epsg
        corners = np.array([part.fine for part in parts])
        row, column = (int(n) for n in corners[:, :2].min(axis=0))
        rows, columns = (int(n) for n in corners[:, 2:].max(axis=0) - (row, column))
        self._east, self._north, offset = grids.nodes(row, column, rows, columns)
        self._first = row - offset[0], column - offset[1]
        self.lon, self.lat = granules.to_degrees(epsg).transform(self._east, self._north)
        self._places = {epsg: np.stack([self._east, self._north])}
        self._across: dict[orbit.Pass, Array] = {}

    def show(
        self,
        product: Granule,
        ground: optical.Ground,
        sky: Array,
        part: _Part,
        bands: list[str],
        out: Array,
    ) -> None:
        """Put what a product shows of a part where there is nothing yet."""
        epsg, view = product.tile.epsg, product.view
        if epsg not in self._places:
            place = granules.to_metres(epsg).transform(self.lon, self.lat)
            self._places[epsg] = np.stack(place)
        if view not in self._across:
            self._across[view] = view.across(self.lon, self.lat)
        (east, north), bounds = self._places[epsg], product.tile.bounds
        west, south, right, top = bounds
        if east.max() < west or east.min() >= right or north.max() <= south or north.min() > top:
            return
        row, column, _, _ = part.fine
        number = granules.key(view)
        optical.render(
            ground,
            sky,
            self._places[epsg],
            self._across[view],
            (row - self._first[0], column - self._first[1]),
            (part.top, part.left),
            part.resolution,
            (float(west), float(south), float(right), float(top)),
            (number, number, product.number),
            bands,
            out,
        )
