"""Where the pixels of a raster are on the sphere: polynomials, checked against PROJ.

Projecting 41 million pixels one by one would take 20 s.  But the lines that bound the
cells (see `healpix`) are smooth functions of row and column nearly everywhere, so blocks
of pixels get a polynomial of fourth degree in each direction through 25 projected points,
which is then checked against the projection where such a polynomial errs most.  A block
that misses `TOLERANCE`, or that lies across the seam between belt and caps, is cut into
smaller ones; what is still not good enough at the smallest size is projected pixel by
pixel.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from cells.raster import Raster
from grid import Tile
from healpix.arrays import Floats, Ints
from healpix.latitudes import rings_at, to_authalic
from healpix.slots import BELT, MIXED, NORTH, SOUTH, Slots
from shared.errors import RasterError, brief

TOLERANCE = 1e-8  # of an interpolated pixel position, in cells
STRIP = 256  # rows of a raster that are read at a time, as many as the back end's blocks have
BLOCKS = ((STRIP, 1024), (STRIP, 256), (64, 64), (16, 16))  # sizes to try, rows x columns


@dataclass(frozen=True)
class Projection:
    """From row and column of a raster to longitude and (authalic) latitude in degrees."""

    x: Floats
    y: Floats
    transformer: Transformer
    authalic: bool

    def lonlat(self, rows: NDArray[Any], columns: NDArray[Any]) -> tuple[Floats, Floats]:
        """Of rows and columns, whole or in between; not finite where the CRS has no place."""
        x, y = _between(self.x, columns), _between(self.y, rows)
        lon, lat = self.transformer.transform(x.ravel(), y.ravel())
        if self.authalic:
            with np.errstate(invalid="ignore"):
                lat = to_authalic(lat)
        return lon.reshape(x.shape), lat.reshape(x.shape)

    @property
    def regular(self) -> bool:
        """Whether x and y advance by equal steps, to a hundred-millionth of a pixel."""
        return all(
            np.abs(axis - np.linspace(axis[0], axis[-1], axis.size)).max()
            <= 1e-8 * abs(axis[-1] - axis[0]) / max(axis.size - 1, 1)
            for axis in (self.x, self.y)
        )


@functools.lru_cache(16)
def _to_lonlat(crs: str) -> Transformer:
    """PROJ takes as long to find one as a small raster takes to be converted."""
    return Transformer.from_crs(CRS.from_user_input(crs), "EPSG:4326", always_xy=True)


def _between(axis: Floats, index: NDArray[Any]) -> Floats:
    """Coordinates of pixels, by their (fractional) index."""
    low = np.minimum(np.floor(index).astype(int), axis.size - 1)
    high = np.minimum(low + 1, axis.size - 1)
    return np.asarray(axis[low] + (index - low) * (axis[high] - axis[low]))


def projection_of(raster: Raster, ellipsoid: str) -> Projection:
    """The pixels of a raster by PROJ; RasterError if it cannot use the CRS."""
    return projection_at(raster.x, raster.y, raster.crs, ellipsoid, raster.name)


def projection_at(x: Floats, y: Floats, crs: str, ellipsoid: str, name: str) -> Projection:
    """The same of what is needed of a raster for it."""
    try:
        transformer = _to_lonlat(crs)
    except ProjError as error:
        raise RasterError(
            f"{name}: PROJ cannot use the CRS {crs[:60]!r} ({brief(error)})."
        ) from error
    return Projection(x, y, transformer, ellipsoid != "sphere")


# Chebyshev's points for a fourth degree, and two more where the error is the largest:
# |t (t^2 - 1/2) (t^2 - 1)| has its maximum at 0.3603.  The two tell the errors along rows
# from those along columns.
_NODES = -np.cos(np.pi * np.arange(5) / 4)
_CHECK = 0.3603
_S = np.concatenate([np.repeat(_NODES, 5), [_CHECK, _CHECK]])
_T = np.concatenate([np.tile(_NODES, 5), [_CHECK, -_CHECK]])
_TO_POWERS = np.linalg.inv(np.vander(_NODES, increasing=True))
_CHECK_S = np.vander(_S[25:], 5, increasing=True)
_CHECK_T = np.vander(_T[25:], 5, increasing=True)


@dataclass
class Fits:
    """How each pixel of a raster that may lie in the tile finds its cell."""

    blocks: Ints  # (n, 6): first and last row, first and last column, kind, quarter
    polynomials: Floats  # (n, 2, 5, 5)
    origins: Floats  # (n, 2)
    rings: Ints  # (n, 2): first and last ring that it may touch
    single: Ints  # (m, 4): blocks to be projected pixel by pixel
    single_rings: Ints  # (m, 2)


def fits_of(grid: Projection, tile: Tile, slots: Slots) -> Fits:
    """Blocks of the raster that may touch the tile, each with its polynomials."""
    corners = _cut(np.array([[0, grid.y.size - 1, 0, grid.x.size - 1]]), BLOCKS[0])
    done: list[tuple[NDArray[Any], ...]] = []
    for level, size in enumerate(BLOCKS):
        lon, lat = _nodes(grid, corners, (tile.west + tile.east) / 2)
        near, rings = _near(lon, lat, tile, slots, 1.0)
        corners, lon, lat, rings = corners[near], lon[near], lat[near], rings[near]
        if not grid.regular:
            break
        kind, quarter, polynomials, origins, error = _fit(lon, lat, tile, (1 << slots.level))
        good = error <= TOLERANCE * max(1.0, (1 << slots.level) / 2**20)
        if size in BLOCKS[:2]:
            good &= kind != MIXED
        near, fine = _near(lon, lat, tile, slots, 0.05)
        keep = good & near
        blocks = np.column_stack([corners, kind, quarter])
        done.append((blocks[keep], polynomials[keep], origins[keep], fine[keep]))
        corners, rings = corners[~good], rings[~good]
        if level + 1 < len(BLOCKS):
            corners = _cut(corners, BLOCKS[level + 1])
    if not done:
        done = [(np.empty((0, 6), int), np.empty((0, 2, 5, 5)), np.empty((0, 2)), rings[:0])]
    blocks, polynomials, origins, fine = (np.concatenate(part) for part in zip(*done, strict=True))
    return Fits(blocks, polynomials, origins, fine, corners, rings)


def _cut(corners: Ints, size: tuple[int, int]) -> Ints:
    """Blocks cut into blocks of at most so many rows and columns."""
    rows, columns = size
    pieces = [
        (row, min(row + rows - 1, row1), column, min(column + columns - 1, column1))
        for row0, row1, column0, column1 in corners.tolist()
        for row in range(row0, row1 + 1, rows)
        for column in range(column0, column1 + 1, columns)
    ]
    return np.array(pieces, np.int64).reshape(-1, 4)


def _nodes(grid: Projection, corners: Ints, near: float) -> tuple[Floats, Floats]:
    """Longitude and latitude of 25 + 2 points a block.

    The longitude has no jump inside a block; its middle is within 180 degrees of ``near``.
    """
    row0, row1, column0, column1 = corners.T[:, :, None]
    lon, lat = grid.lonlat(
        row0 + (_S + 1) / 2 * (row1 - row0), column0 + (_T + 1) / 2 * (column1 - column0)
    )
    with np.errstate(invalid="ignore"):
        middle = (lon[:, 12:13] - near + 180) % 360 + near - 180
        return lon - 360 * np.round((lon - middle) / 360), lat


def _near(
    lon: Floats, lat: Floats, tile: Tile, slots: Slots, margin: float
) -> tuple[NDArray[np.bool_], Ints]:
    """Which blocks may touch the tile, and the rings that they may touch.

    The margin is in widths of the block, for what happens between its points.
    """
    known = np.all(np.isfinite(lon) & np.isfinite(lat), axis=1)
    nside = 1 << slots.level
    ring = rings_at(np.where(np.isfinite(lat), lat, 0), nside)
    low, high = _range(ring, margin, 2.0)
    low, high = np.where(known, low, 0), np.where(known, high, 4 * nside)
    bottom = slots.top + slots.first.size - 1
    near = (high >= slots.top) & (low <= bottom)
    # A cell of the smallest ring that the tile has is the widest.
    size = max(1, min(slots.top, 4 * nside - bottom, nside))
    west, east = _range(np.where(np.isfinite(lon), lon, 0), margin, 180 / size)
    aside = np.ones(len(lon), bool)
    for turn in (-720, -360, 0, 360):
        aside &= (east < tile.west + turn) | (west > tile.east + turn)
    # Near a pole the longitudes of a few points say little about a block.
    sure = known & (east - west < 120) & (np.abs(lat).max(axis=1) < 88)
    return near & ~(aside & sure), np.stack([low, high], axis=1).astype(np.int64)


def _range(values: Floats, margin: float, extra: float) -> tuple[Floats, Floats]:
    low, high = values.min(axis=1), values.max(axis=1)
    more = margin * (high - low) + extra
    return low - more, high + more


def _fit(lon: Floats, lat: Floats, tile: Tile, nside: int) -> tuple[NDArray[Any], ...]:
    """Kind, quarter, polynomials, origins of blocks, and their errors in cells."""
    with np.errstate(invalid="ignore"):
        lon, lat = np.where(np.isfinite(lon), lon, np.nan), np.where(np.abs(lat) <= 90, lat, np.nan)
        t, z = lon / 90, np.sin(np.radians(lat))
        (z0, z1), (t0, t1) = _range(z, 0.02, 1e-9), _range(t, 0.02, 1e-9)
        quarter = np.nan_to_num(np.floor(t[:, 12]))
        whole = (np.floor(t0) == quarter) & (np.floor(t1) == quarter)
        # Only the loop for MIXED blocks counts round the ring.
        narrow = (t1 - t0 < 1) & (tile.size[0] <= 90)
        kind = np.full(len(lon), MIXED)
        kind[(z0 > -2 / 3) & (z1 < 2 / 3) & narrow] = BELT
        kind[(z0 > 2 / 3) & whole & narrow] = NORTH
        kind[(z1 < -2 / 3) & whole & narrow] = SOUTH
        cap = nside * math.sqrt(6) * np.sin(np.radians(90 - np.abs(lat)) / 2)
        u = t - quarter[:, None]
        kinds = [(kind == k)[:, None] for k in (BELT, MIXED)]
        up = np.select(kinds, [nside * (0.5 + t - 0.75 * z), lon], u * cap)
        down = np.select(kinds, [nside * (0.5 + t + 0.75 * z), lat], (1 - u) * cap)
        values = np.stack([up, down], axis=1)
        origins = np.floor(values[:, :, 12])
        values -= origins[:, :, None]
        nodes = values[:, :, :25].reshape(-1, 2, 5, 5)
        polynomials = np.einsum("ia,bkac,jc->bkij", _TO_POWERS, nodes, _TO_POWERS)
        check = np.einsum("pi,bkij,pj->bkp", _CHECK_S, polynomials, _CHECK_T)
        error = np.abs(check - values[:, :, 25:]).max(axis=(1, 2))
        # A degree is at most this many cells.
        error = np.where(kind == MIXED, error * nside / 45, error)
    return kind, quarter.astype(np.int64), polynomials, origins, np.nan_to_num(error, nan=np.inf)
