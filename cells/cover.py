"""Which tiles a raster touches: those that own a cell with the centre of a pixel in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cells.projection import Projection
from grid import BBox, Tile, check_chunk_size, tiles_covering
from healpix.arrays import Floats
from healpix.centres import centres_around

SHARE = 1 / 16  # of a tile, at most, between two pixels that are looked at inside the raster
MOST = 2_000_000  # pixels that are looked at inside


def tiles_touched(
    projection: Projection, chunk_size: Sequence[float], nside: int, ellipsoid: str
) -> list[Tile]:
    """The tiles that a raster touches, row by row from the south-west.

    All pixels along its edges are looked at, and inside of them enough to meet each tile.
    """
    size = check_chunk_size(chunk_size)
    found: set[tuple[int, int]] = set()
    for rows, columns in _pixels(projection, size):
        lon, lat = projection.lonlat(rows, columns)
        there = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
        centres = centres_around(lon[there], lat[there], nside, ellipsoid)
        columns_, rows_ = (_index(at, step) for at, step in zip(centres, size, strict=True))
        found |= set(zip(rows_.tolist(), columns_.tolist(), strict=True))
    return [_tile(column, row, size) for row, column in sorted(found)]


def _pixels(
    projection: Projection, size: tuple[float, float]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows and columns of the pixels to look at."""
    height, width = projection.y.size, projection.x.size
    rows, columns = np.arange(height), np.arange(width)
    edges = [
        (np.full(width, row), columns) for row in {0, height - 1}
    ] + [(rows, np.full(height, column)) for column in {0, width - 1}]  # fmt: skip
    step = _step(projection, size)
    inside = np.meshgrid(rows[::step], columns[::step], indexing="ij")
    return [*edges, (inside[0].ravel(), inside[1].ravel())]


def _step(projection: Projection, size: tuple[float, float]) -> int:
    """Pixels from one to the next, so that none is farther than a share of a tile."""
    height, width = projection.y.size, projection.x.size
    rows, columns = (np.linspace(0, n - 1, 9).astype(int) for n in (height, width))
    row, column = (part.ravel() for part in np.meshgrid(rows, columns, indexing="ij"))
    lon, lat = projection.lonlat(row, column)
    beside = projection.lonlat(np.minimum(row + 1, height - 1), np.minimum(column + 1, width - 1))
    with np.errstate(invalid="ignore"):
        turn = np.abs((beside[0] - lon + 180) % 360 - 180)
        pixel = np.fmax(turn / size[0], np.abs(beside[1] - lat) / size[1])
    widest = float(np.nanmax(pixel)) if np.isfinite(pixel).any() else 0.0
    by_size = int(SHARE / widest) if widest > 0 else max(height, width)
    least = math.ceil(math.sqrt(height * width / MOST))
    return max(1, least, min(by_size, max(height, width)))


def _index(values: Floats, size: float) -> NDArray[np.int64]:
    """The i with ``i * size <= value < (i + 1) * size``, as in `grid`."""
    i = np.floor(values / size)
    exact = i + (values >= (i + 1) * size) - (values < i * size)
    return exact.astype(np.int64)


def _tile(column: int, row: int, size: tuple[float, float]) -> Tile:
    west, south, east, north = (
        (at + part) * step
        for part in (0.25, 0.75)
        for at, step in zip((column, row), size, strict=True)
    )
    (tile,) = tiles_covering(BBox(west, south, east, north), size)
    return tile
