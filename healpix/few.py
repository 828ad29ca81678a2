"""A few cells in plain numpy, in less time than numba takes to start.

The formulas are those of the loops, in their order: what is computed for a whole ring or row
is their own code in plain Python, as numpy's functions of angles may round otherwise.  So the
bits are equal, and tests hold them so.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healpix import cells
from healpix.arrays import Box, Floats, Ints
from healpix.cells import FACE_EAST, FACE_SOUTH, HALF_PI
from healpix.ids import join_runs, level_of
from healpix.indexes import RunIndex
from healpix.latitudes import DEGREE, is_geodetic, to_authalic
from healpix.loops import plain
from healpix.quads import MARGIN

BLOCK = 1 << 16  # points that are looked up at a time
RINGS = 1 << 14  # whose latitudes are kept: a walk asks for each some times, the next tile again

Bools = NDArray[np.bool_]

_decode, _encode = plain(cells.decode), plain(cells.encode)
_ring_lat = functools.lru_cache(RINGS)(plain(cells.ring_lat))
_quarter_turns, _z_and_w = plain(cells.quarter_turns), plain(cells.z_and_w)


# --- cells in a box, as of `quads` ---------------------------------------------------------


def walk(box: Box, level: int, geodetic: bool) -> tuple[Ints, Ints]:
    """As `quads.walk`: start and length (int64) of the runs of a box with west < east.

    All blocks of a size at a time, from the base faces down to single cells.
    """
    nside = 1 << level
    blocks = np.arange(12) << 2 * level  # by their first cell
    found = []
    for height in range(level, 0, -1):
        inside, split = _blocks_in_box(blocks, height, box, level, geodetic)
        found.append((blocks[inside], np.full(np.count_nonzero(inside), 1 << 2 * height)))
        quarters = np.arange(4) << 2 * height - 2
        blocks = (blocks[split, np.newaxis] + quarters).ravel()
    blocks = blocks[_cells_in_box(*_decode(blocks, level), box, nside, geodetic)]  # type: ignore[arg-type]
    found.append((blocks, np.ones_like(blocks)))
    start, length = (np.concatenate(both) for both in zip(*found, strict=True))
    order = np.argsort(start)
    return join_runs(start[order], length[order])


def _blocks_in_box(
    blocks: Ints, height: int, box: Box, level: int, geodetic: bool
) -> tuple[Bools, Bools]:
    """Which blocks lie in the box with all of their cells, and which are to be split."""
    west, south, east, north = box
    nside, edge = 1 << level, (1 << height) - 1
    face, x0, y0 = _decode(blocks, level)  # type: ignore[arg-type]
    base = FACE_SOUTH[face] * nside - 1
    low = _ring_lats(base - x0 - y0, nside, geodetic)
    high = _ring_lats(base - x0 - y0 - 2 * edge, nside, geodetic)
    left = _free_lon(face, x0, y0 + edge, nside)
    right = _free_lon(face, x0 + edge, y0, nside)
    meets = inside = np.zeros(len(blocks), bool)
    for turn in (-360.0, 0.0, 360.0):
        meets = meets | (right >= west + turn - MARGIN) & (left <= east + turn + MARGIN)
        inside = inside | (left >= west + turn + MARGIN) & (right <= east + turn - MARGIN)
    meets &= (high >= south - MARGIN) & (low <= north + MARGIN)
    inside &= meets & (low >= south + MARGIN) & (high <= north - MARGIN)
    return inside, meets & ~inside


def _free_lon(face: Any, ix: Any, iy: Any, nside: int) -> Floats:
    """As of `quads`: longitudes in degrees, without a jump inside a face."""
    size = _ring_sizes(FACE_SOUTH[face] * nside - ix - iy - 1, nside)
    return np.asarray(45.0 * (FACE_EAST[face] * size + ix - iy) / size)


def _cells_in_box(face: Any, ix: Any, iy: Any, box: Box, nside: int, geodetic: bool) -> Bools:
    """Which cells have their centre in the box."""
    west, south, east, north = box
    lon, lat = _centres(face, ix, iy, nside, geodetic)
    return np.asarray((west <= lon) & (lon < east) & (south <= lat) & (lat < north))


def centres(ids: Any, nside: int, ellipsoid: str) -> tuple[Floats, Floats]:
    """Longitude in [-180, 180) and latitude of the centres of cells, degrees; as of healpy."""
    places = _decode(np.asarray(ids).astype(np.int64), level_of(nside))  # type: ignore[arg-type]
    return _centres(*places, nside, is_geodetic(ellipsoid))


def _centres(face: Any, ix: Any, iy: Any, nside: int, geodetic: bool) -> tuple[Floats, Floats]:
    ring = FACE_SOUTH[face] * nside - ix - iy - 1
    size = _ring_sizes(ring, nside)
    place = FACE_EAST[face] * size + ix - iy
    place = np.where(place < 0, place + 8 * size, place)
    belt = 0.75 * HALF_PI * place * ((nside << 1) * (4.0 / (12.0 * nside * nside)))
    lon = np.where(size == nside, belt, (0.5 * HALF_PI * place) / size) * DEGREE
    lon = np.where(lon >= 180.0, lon - 360.0, lon)
    return np.asarray(lon), _ring_lats(ring, nside, geodetic)


def _ring_sizes(ring: Ints, nside: int) -> Ints:
    """A quarter of the number of cells in each ring."""
    return np.minimum(np.minimum(ring, nside), 4 * nside - ring)


def _ring_lats(rings: Ints, nside: int, geodetic: bool) -> Floats:
    """Latitudes of rings in degrees."""
    each = sorted(set(rings.tolist()))  # np.unique would import numpy.ma
    lats = np.array([_ring_lat(ring, nside, geodetic) for ring in each], float)
    return np.asarray(lats[np.searchsorted(each, rings)])


# --- values at points, as of `sample` and `places` -----------------------------------------


def look_up(lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, out: Any) -> None:
    """As `sample.look_up`: out (band, lat, lon), the values (band, cell) around the points."""
    quarters = np.array([_quarter_turns(v) for v in lon.tolist()])
    bands = np.array([_z_and_w(v, 1 << level) for v in lat.tolist()])
    rows = max(1, BLOCK // max(1, lon.size))
    for first in range(0, lat.size, rows):
        part = slice(first, first + rows)
        z, w = bands[part, :1], bands[part, 1:]
        places = to_places(_ids_around(quarters, z, w, level), index)
        there = places >= 0
        for band in range(out.shape[0]):
            out[band, part] = np.nan
            out[band, part][there] = values[band, places[there]]


def ids_around(lon: Floats, lat: Floats, nside: int, ellipsoid: str) -> Ints:
    """The cells that contain points, one for each, degrees; as of healpy."""
    lat = to_authalic(lat) if is_geodetic(ellipsoid) else lat
    found = np.empty(len(lon), np.int64)
    for i, (east, north) in enumerate(zip(lon.tolist(), lat.tolist(), strict=True)):
        z, w = (np.array([[each]]) for each in _z_and_w(north, nside))
        found[i] = _ids_around(np.array([_quarter_turns(east)]), z, w, level_of(nside))[0, 0]
    return found


def _ids_around(t: Floats, z: Floats, w: Floats, level: int) -> Ints:
    """The cells around points, by their quarter turns (column), z and w (row)."""
    nside = 1 << level
    ids = np.empty((len(z), len(t)), np.int64)
    belt = np.abs(z[:, 0]) <= 2 / 3
    if belt.any():
        a, b = nside * (0.5 + t), nside * (z[belt] * 0.75)
        up, down = (a - b).astype(np.int64), (a + b).astype(np.int64)
        face_up, face_down = up >> level, down >> level
        face = np.where(face_up < face_down, face_up, face_down + 8)
        face = np.where(face_up == face_down, face_up | 4, face)
        ids[belt] = _encode(face, down & nside - 1, nside - 1 - (up & nside - 1), level)  # type: ignore[arg-type]
    if not belt.all():
        quarter = np.minimum(3, t.astype(np.int64))
        u, width = t - quarter, w[~belt]
        up = np.minimum((u * width).astype(np.int64), nside - 1)
        down = np.minimum(((1.0 - u) * width).astype(np.int64), nside - 1)
        north = z[~belt] >= 0
        ids[~belt] = _encode(
            np.where(north, quarter, quarter + 8),  # type: ignore[arg-type]
            np.where(north, nside - 1 - down, up),  # type: ignore[arg-type]
            np.where(north, nside - 1 - up, down),  # type: ignore[arg-type]
            level,
        )
    return ids


def to_places(ids: Ints, index: RunIndex) -> Ints:
    """As `places.to_places`: places among the cells of the runs, -1 for ids not there."""
    run = np.maximum(np.searchsorted(index.start, ids, "right") - 1, 0)
    inside = ids - index.start[run]
    has = (inside >= 0) & (inside < index.length[run])
    return np.where(has, index.place[run] + inside, -1)
