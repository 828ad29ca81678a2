"""A few cells in plain numpy, in less time than numba takes to start.

The formulas are those of the loops, in their order: what is computed for a whole ring or row
is their own code in plain Python, as numpy's functions of angles may round otherwise.  So the
bits are equal, and tests hold them so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healpix import cells
from healpix.arrays import Box, Floats, Ints
from healpix.cells import DOUBT, FACE_EAST, FACE_SOUTH, HALF_PI
from healpix.ids import join_runs, level_of, runs_to_ids
from healpix.indexes import RunIndex
from healpix.latitudes import DEGREE, is_geodetic, to_authalic
from healpix.loops import plain
from healpix.quads import MARGIN

BLOCK = 1 << 16  # points, or cells, that are looked at at a time
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
    low = ring_lats(base - x0 - y0, nside, geodetic)
    high = ring_lats(base - x0 - y0 - 2 * edge, nside, geodetic)
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
    lon = _lons(FACE_EAST[face] * size + ix - iy, size, nside)
    return lon, ring_lats(ring, nside, geodetic)


def _lons(east: Ints, size: Ints, nside: int) -> Floats:
    """Longitudes of cells by their places on rings, which may be below 0; as of `cell_lon`."""
    east = np.where(east < 0, east + 8 * size, east)
    belt = 0.75 * HALF_PI * east * ((nside << 1) * (4.0 / (12.0 * nside * nside)))
    lon = np.where(size == nside, belt, (0.5 * HALF_PI * east) / size) * DEGREE
    return np.where(lon >= 180.0, lon - 360.0, lon)


def _ring_sizes(ring: Ints, nside: int) -> Ints:
    """A quarter of the number of cells in each ring."""
    return np.minimum(np.minimum(ring, nside), 4 * nside - ring)


def ring_lats(rings: Ints, nside: int, geodetic: bool) -> Floats:
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


# --- cells in pixels, as of `pixels` and `sample` ------------------------------------------


def add_to_pixels(
    run_start: Ints, run_len: Ints, level: int, top: int, rows: Ints,
    west: float, dlon: float, first: int, values: Any, weights: Any, sums: Floats,
) -> None:  # fmt: skip
    """As `pixels.add_to_pixels`: cells in the order of their ids, one after the other."""
    ids, flat = runs_to_ids(run_start, run_len).astype(np.int64), sums.ravel()
    for k in range(0, ids.size, BLOCK):
        face, ix, iy = (np.asarray(part) for part in _decode(ids[k : k + BLOCK], level))  # type: ignore[arg-type]
        ring = FACE_SOUTH[face] * (1 << level) - ix - iy - 1
        near = np.flatnonzero((ring > top - 1) & (ring < top + rows.size))
        ring, size = ring[near], _ring_sizes(ring[near], 1 << level)
        east = FACE_EAST[face][near] * size + (ix - iy)[near]
        column = _columns(east, size, 1 << level, west, dlon) - first
        row = rows[ring - top]
        there = np.flatnonzero((row >= 0) & (column >= 0) & (column < sums.shape[1]))
        pixel, cell = row[there] * sums.shape[1] + column[there], k + near[there]
        _add(pixel, cell, values, weights, sums, _is_number)
        np.add.at(flat, pixel * sums.shape[2] + sums.shape[2] - 1, 1.0)


def add_nearest(
    lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, weights: Any, sums: Floats
) -> None:
    """As `sample.add_nearest`: the cells around the centres of pixels that have none."""
    none = sums[..., -1] == 0
    lines = np.flatnonzero(none.any(axis=1))
    quarters = np.array([_quarter_turns(v) for v in lon.tolist()])
    at_a_time = max(1, BLOCK // max(1, lon.size))
    for some in (lines[i : i + at_a_time] for i in range(0, lines.size, at_a_time)):
        bands = np.array([_z_and_w(v, 1 << level) for v in lat[some].tolist()])
        row, column = np.nonzero(none[some])
        ids = _ids_around(quarters, bands[:, :1], bands[:, 1:], level)[row, column]
        places = to_places(ids, index)
        there = places >= 0
        pixel = some[row[there]] * lon.size + column[there]
        _add(pixel, places[there], values, weights, sums, np.isfinite)


def _add(
    pixel: Ints, cell: Ints, values: Any, weights: Any, sums: Floats, counts: Callable[[Any], Any]
) -> None:
    """Add those of some cells that count, in their order, to pixels by their numbers."""
    flat, width = sums.ravel(), sums.shape[2]
    for band in range(values.shape[0]):
        value = values[band, cell].astype(np.float64)
        some = np.flatnonzero(counts(value))
        place = pixel[some] * width + 2 * band
        weight = weights[band if weights.shape[0] > 1 else 0, cell[some]].astype(np.float64)
        with np.errstate(invalid="ignore"):  # an infinite value and no weight
            power = weight * value[some]
        np.add.at(flat, place, power)
        np.add.at(flat, place + 1, weight)


def _is_number(values: Floats) -> Bools:
    return ~np.isnan(values)


def _columns(east: Ints, size: Ints, nside: int, west: float, dlon: float) -> Ints:
    """As of `pixels`: the columns of a grid that centres lie in."""
    beyond = 45.0 * east / size - west
    turn = np.where(beyond < 0.0, 360.0, np.where(beyond >= 360.0, -360.0, 0.0))
    columns = (beyond + turn) / dlon
    doubtful = np.flatnonzero(np.abs(columns - np.floor(columns + 0.5)) < DOUBT)
    if doubtful.size:
        beyond = _lons(east[doubtful], size[doubtful], nside) - west
        columns[doubtful] = np.where(beyond < 0.0, beyond + 360.0, beyond) / dlon
    return columns.astype(np.int64)


def to_places(ids: Ints, index: RunIndex) -> Ints:
    """As `places.to_places`: places among the cells of the runs, -1 for ids not there."""
    run = np.maximum(np.searchsorted(index.start, ids, "right") - 1, 0)
    inside = ids - index.start[run]
    has = (inside >= 0) & (inside < index.length[run])
    return np.where(has, index.place[run] + inside, -1)
