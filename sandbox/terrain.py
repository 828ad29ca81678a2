"""The synthetic elevation model, COPERNICUS_30: metres, of the same land as the images.

It is the plain collection here: one band of real numbers, negative in polders, on a grid of
1 arc second of longitude and latitude, that does not change from day to day.  At the
Copernicus back end it is a collection of its own under this id, with the band ``DEM``.

As the real one it is a surface model (trees and houses stand on it) in files of one degree,
none where there is only sea, with 0 on the sea beside land.  Each file has the date at which
its part was finished, so an order that spans several files, and keeps its time dimension, has
several steps that are each empty in part (openeo-geopyspark-driver, issue 180).  North of 50
degrees the files' columns are wider than 1 arc second; here they are repeated.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sandbox import land, orbit
from sandbox.errors import Cancelled
from sandbox.ground import (
    BUILT,
    COAST,
    COAST_SHARES,
    GAIN,
    HEIGHT_OCTAVES,
    HILL_OCTAVES,
    LAND,
    LAT,
    LON,
    PARCELS,
    RIVER_BED,
    TEXTURE,
    TREES,
    Array,
    Rows,
    cover_at,
    fill_nodes,
    lattice_rows,
    mix,
    nearest_block,
    noise_at,
    octaves_at,
    parcel_at,
    unit,
)
from sandbox.loops import kernel

if TYPE_CHECKING:
    from sandbox.graph import Cube

BAND = "DEM"
SECONDS = 3600  # pixels of a degree
CELL = 6  # pixels between two nodes
FIRST_DAY, LAST_DAY = dt.date(2010, 12, 12), dt.date(2015, 1, 16)  # of the measurements
WIDTHS = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0))  # arc seconds
PLAIN_OCTAVES = np.array([[0.6, 5.0, 301], [0.11, 2.5, 302], [0.03, 0.9, 303]])  # m
RIDGE_OCTAVES = np.array([[0.5, 1.0, 311], [0.18, 0.5, 312]])
BELOW = 1.5  # m, by which plains lie below the sea in the middle

Published = Callable[[orbit.Pass], dt.datetime]


@dataclass(frozen=True)
class Grid:
    """The pixels of a raster: those whose centres are on whole arc seconds."""

    left: int  # arc seconds of the first column
    top: int  # of the first row; rows go southwards
    rows: int
    columns: int
    epsg: int = 4326

    @property
    def x(self) -> Array:
        """Pixel centres, degrees of longitude."""
        return (self.left + np.arange(self.columns)) / SECONDS

    @property
    def y(self) -> Array:
        """Pixel centres from north to south, degrees of latitude."""
        return (self.top - np.arange(self.rows)) / SECONDS


def grid(cube: Cube) -> Grid:
    """The raster that covers a cube's box."""
    west, south, east, north = (edge * SECONDS for edge in cube.bbox)
    x0, x1 = math.floor(west + 0.5), math.ceil(east - 0.5)
    y0, y1 = math.floor(south + 0.5), math.ceil(north - 0.5)
    return Grid(x0, y1, max(1, y1 - y0 + 1), max(1, x1 - x0 + 1))


@dataclass(frozen=True)
class File:
    """A degree of the model, by its south-west corner."""

    lon: int
    lat: int

    @property
    def id(self) -> str:
        """As Copernicus names its own."""
        lat = f"{'NS'[self.lat < 0]}{abs(self.lat):02}"
        lon = f"{'EW'[self.lon < 0]}{abs(self.lon):03}"
        return f"Copernicus_DSM_10_{lat}_00_{lon}_00"

    @property
    def day(self) -> dt.date:
        """When its part was finished."""
        number = int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4], "big")
        return FIRST_DAY + dt.timedelta(days=number % ((LAST_DAY - FIRST_DAY).days + 1))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north: its pixels' edges, degrees."""
        half = 0.5 / SECONDS
        wide = width(self.lat + 0.5) * half
        return self.lon - wide, self.lat + half, self.lon + 1 - wide, self.lat + 1 + half


def width(lat: float) -> float:
    """Arc seconds from column to column in the files at a latitude."""
    return next(seconds for limit, seconds in WIDTHS if abs(lat) <= limit)


@functools.lru_cache(maxsize=4096)
def file(lon: int, lat: int) -> File | None:
    """The file of a degree, if there is land in it."""
    return File(lon, lat) if land.is_in(lon, lat) else None


def files(bbox: tuple[float, float, float, float]) -> list[File]:
    """The files that touch a box (degrees), from the south-west."""
    west, south, east, north = bbox
    lons = range(math.floor(west) - 1, min(math.floor(east) + 1, 179) + 1)
    lats = range(max(math.ceil(south) - 2, -90), min(math.ceil(north) + 1, 90))
    found = [file(lon, lat) for lat in lats for lon in lons if lon >= -180]
    return [
        each
        for each in found
        if each is not None
        and each.bounds[0] < east
        and each.bounds[2] > west
        and each.bounds[1] < north
        and each.bounds[3] > south
    ]


@functools.cache
def _calendar() -> dict[dt.date, list[File]]:
    """The degrees of the Earth by the date that a file of them would have."""
    found: dict[dt.date, list[File]] = {}
    for lat in range(-90, 90):
        for lon in range(-180, 180):
            each = File(lon, lat)
            found.setdefault(each.day, []).append(each)
    return found


def of_day(day: dt.date) -> Iterator[File]:
    """All files of a date."""
    for each in _calendar().get(day, []):
        if file(each.lon, each.lat) is not None:
            yield each


def named(identifier: str) -> File | None:
    """The file of a name, if there is one."""
    match = re.fullmatch(r"Copernicus_DSM_10_([NS])(\d\d)_00_([EW])(\d{3})_00", identifier)
    if match is None:
        return None
    lat = int(match[2]) * (1 if match[1] == "N" else -1)
    lon = int(match[4]) * (1 if match[3] == "E" else -1)
    return file(lon, lat) if -90 <= lat < 90 and -180 <= lon < 180 else None


@dataclass(frozen=True)
class Step:
    """A date and the files that bear it."""

    day: dt.date
    files: tuple[File, ...]


def steps(cube: Cube) -> list[Step]:
    """The dates of the files of a cube, in order."""
    found = [
        each
        for each in files(cube.bbox)
        if cube.start <= dt.datetime.combine(each.day, dt.time(), dt.UTC) < cube.end
    ]
    found.sort(key=lambda each: each.day)
    return [Step(day, tuple(same)) for day, same in itertools.groupby(found, lambda f: f.day)]


def strips(
    pixels: Grid, cube: Cube, days: list[Step], alive: Callable[[], bool], block: int
) -> Iterator[tuple[int, Array]]:
    """Strips of ``block`` rows as (first row, float32 array of step x band x row x column)."""
    for row in range(0, pixels.rows, block):
        rows = min(block, pixels.rows - row)
        if not alive():
            raise Cancelled
        shape = (len(days), len(cube.bands), rows, pixels.columns)
        stack = np.full(shape, np.nan, np.float32)
        heights = _heights(pixels, row, rows)
        # A file has its southern edge's pixels no more, its northern edge's still.
        lat = -(-(pixels.top - row - np.arange(rows)) // SECONDS) - 1
        lon = (pixels.left + np.arange(pixels.columns)) // SECONDS
        for image, step in zip(stack, days, strict=True):
            for each in step.files:
                inside = (lat == each.lat)[:, None] & (lon == each.lon)
                image[:, inside] = heights[inside]
        yield row, stack


def _heights(pixels: Grid, row: int, rows: int) -> NDArray[np.float32]:
    """Metres at the pixels of a strip, whether or not there is a file."""
    top = pixels.top - row
    y = top - np.arange(rows)
    x = pixels.left + np.arange(pixels.columns)
    # Nodes are on whole multiples of CELL arc seconds, so that all rasters share them.
    north, south = -(-top // CELL) + 1, (top - rows) // CELL - 1
    west, east = pixels.left // CELL - 2, -(-(pixels.left + pixels.columns) // CELL) + 2
    step = CELL / SECONDS
    lon, lat = np.meshgrid(np.arange(west, east + 1) * step, np.arange(north, south - 1, -1) * step)
    corners = float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
    cells, first, left = land.window(*corners)
    nodes = np.zeros((GAIN + 1, *lon.shape))
    nodes[LON], nodes[LAT] = lon, lat
    blocks = np.zeros((*lon.shape, 8))
    parcels = lattice_rows(corners[1], corners[3], PARCELS)
    fill_nodes(nodes, blocks, parcels, cells, first, left, 0, 0.0)
    height = np.empty(lon.shape)
    _fill_heights(height, nodes)
    lattices = tuple(lattice_rows(corners[1], corners[3], each) for each in (TEXTURE, *COAST))
    widths = np.array([width(float(n) / SECONDS) for n in y])
    out = np.empty((rows, pixels.columns), np.float32)
    _render(nodes, height, blocks, lattices, x, y, widths, west, north, out)
    return out


@kernel
def _fill_heights(height: Array, nodes: Array) -> None:
    """Metres of bare ground at the nodes."""
    for i in range(height.shape[0]):
        for j in range(height.shape[1]):
            x, y = nodes[LON, i, j], nodes[LAT, i, j]
            metres = octaves_at(x, y, PLAIN_OCTAVES, 0) - BELOW
            hilly = min(max(0.2 + octaves_at(x, y, HILL_OCTAVES, 0), 0.0), 1.6)
            if hilly > 0.0:
                ridge = 1.0 - abs(octaves_at(x, y, RIDGE_OCTAVES, 0))
                metres += hilly * (40.0 + 100.0 * octaves_at(x, y, HEIGHT_OCTAVES, 0) * hilly)
                metres += 900.0 * hilly * hilly * max(ridge, 0.0)
            height[i, j] = metres


@kernel
def _render(
    nodes: Array,
    height: Array,
    blocks: Array,
    rows: tuple[Rows, ...],
    columns: Array,
    lines: Array,
    widths: Array,
    west: int,
    north: int,
    out: Array,
) -> None:
    """All pixels of a strip; ``rows`` are of the lattices of texture and coast."""
    at = np.empty(GAIN + 1)
    for i in range(lines.size):
        v = north - lines[i] / CELL
        ci = math.floor(v)
        fy = v - ci
        for j in range(columns.size):
            # The middle of the file's own column.
            second = widths[i] * math.floor(columns[j] / widths[i] + 0.5)
            u = second / CELL - west
            cj = math.floor(u)
            fx = u - cj
            a, b = (1.0 - fy) * (1.0 - fx), (1.0 - fy) * fx
            c, d = fy * (1.0 - fx), fy * fx
            for k in range(GAIN + 1):
                at[k] = (
                    a * nodes[k, ci, cj]
                    + b * nodes[k, ci, cj + 1]
                    + c * nodes[k, ci + 1, cj]
                    + d * nodes[k, ci + 1, cj + 1]
                )
            x, y = at[LON], at[LAT]
            share = at[LAND]
            if 0.02 < share < 0.98:
                for k in range(len(COAST)):
                    noise = noise_at(x, y, COAST[k], 91 + k, rows[1 + k])
                    share += COAST_SHARES[k] * noise
            if share < 0.5:
                out[i, j] = 0.0
                continue
            metres = (
                a * height[ci, cj]
                + b * height[ci, cj + 1]
                + c * height[ci + 1, cj]
                + d * height[ci + 1, cj + 1]
            )
            block = nearest_block(x, y, blocks, ci, cj)
            parcel, _ = parcel_at(x, y, block)
            cover = cover_at(at, parcel, rows[0])
            h = mix(int(second), lines[i], 321)
            if cover == RIVER_BED:
                metres -= 1.5
            elif cover == BUILT:
                metres += 11.0 * unit(h, 1) * unit(parcel, 2)
            elif cover == TREES:
                metres += 16.0 + 4.0 * noise_at(x, y, TEXTURE, 82, rows[0])
            out[i, j] = metres + 0.6 * (unit(h, 0) - 0.5)
