"""Cells to points of a grid: the cell around each, or between four neighbours."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix import few
from healpix.arrays import Floats, Ints
from healpix.cells import (
    HALF_PI,
    belt_face,
    cell_around,
    encode,
    from_ring,
    quarter_turns,
    ring_size,
    ring_theta,
    z_and_w,
)
from healpix.indexes import RunIndex
from healpix.latitudes import RADIAN
from healpix.loops import is_worth, loop
from healpix.places import to_places


def look_up(lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, out: Any) -> None:
    """out (band, lat, lon): the values (band, cell) of the cells that contain the points."""
    fill = look_up_loop if is_worth(lat.size * lon.size) else few.look_up
    fill(lat, lon, level, index, values, out)


@loop
def look_up_loop(
    lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, out: Any
) -> None:
    """As `look_up`, compiled."""
    quarters = np.array([quarter_turns(v) for v in lon])
    ids = np.empty(lon.size, np.int64)
    for i in range(lat.size):
        z, w = z_and_w(lat[i], 1 << level)
        _row_ids(quarters, z, w, level, ids)
        to_places(ids, index)
        for band in range(out.shape[0]):
            for j in range(lon.size):
                out[band, i, j] = values[band, ids[j]] if ids[j] >= 0 else np.nan


def add_nearest(
    lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, weights: Any, sums: Floats
) -> None:
    """Add the cells around the centres of the pixels that no cell was added to.

    values, weights, sums: of `pixels.add_to_pixels`; a cell adds where it has a finite value.
    """
    add = add_nearest_loop if is_worth(lat.size * lon.size) else few.add_nearest
    add(lat, lon, level, index, values, weights, sums)


@loop
def add_nearest_loop(
    lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, weights: Any, sums: Floats
) -> None:
    """As `add_nearest`, compiled."""
    quarters = np.array([quarter_turns(v) for v in lon])
    columns, ids, some = np.empty(lon.size, np.int64), np.empty(lon.size, np.int64), quarters.copy()
    for i in range(lat.size):
        n = 0
        for j in range(lon.size):
            if sums[i, j, -1] == 0:
                columns[n], some[n] = j, quarters[j]
                n += 1
        if n == 0:
            continue
        z, w = z_and_w(lat[i], 1 << level)
        _row_ids(some[:n], z, w, level, ids[:n])
        to_places(ids[:n], index)
        for k in range(n):
            for band in range(values.shape[0] if ids[k] >= 0 else 0):
                value = float(values[band, ids[k]])
                weight = float(weights[band if weights.shape[0] > 1 else 0, ids[k]])
                if abs(value) < np.inf and weight > 0:
                    sums[i, columns[k], 2 * band] += weight * value
                    sums[i, columns[k], 2 * band + 1] += weight


@loop
def _row_ids(quarters: Floats, z: float, w: float, level: int, ids: Ints) -> None:
    """As `cell_around` and `encode`, for many longitudes (in quarter turns) of one latitude."""
    nside = 1 << level
    if abs(z) <= 2 / 3:  # w is 0 there, but at the poles, too
        b = nside * (z * 0.75)
        for j in range(ids.size):
            a = nside * (0.5 + quarters[j])
            face, ix, iy = belt_face(int(a - b), int(a + b), level)
            ids[j] = encode(face, ix, iy, level)
    else:
        for j in range(ids.size):
            face, ix, iy = cell_around(quarters[j], z, w, level)
            ids[j] = encode(face, ix, iy, level)


@loop
def interpolate(
    lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, out: Any
) -> None:
    """out (band, lat, lon): values (band, cell) interpolated between four neighbours.

    Two of them lie on the ring above and two on the ring below; the weights are linear in
    longitude along the rings and in colatitude between them, as in healpy's
    get_interp_weights.  lon ascends.  Where only some of the four have a value, their
    weights are made to add up to 1, and the point has a value only if the cell around
    it has one.
    """
    nside = 1 << level
    bands = out.shape[0]
    # Rings are kept by their parity: a row needs two neighbours, the next often the same.
    widest = int((lon[-1] - lon[0]) * nside / 90) + 4
    held = np.array([-1, -1])
    firsts = np.zeros(2, np.int64)
    cells = np.empty((2, bands, max(4, widest)), values.dtype)
    left = np.empty((2, lon.size), np.int64)
    right = np.empty((2, lon.size))
    theta = np.empty(2)
    quad = np.empty(4)
    weight = np.empty(4)
    own = np.empty(1, np.int64)
    for i in range(lat.size):
        z, w = z_and_w(lat[i], nside)
        above = _ring_above(z, nside)
        for k in range(2):
            ring = above + k
            inner = min(max(ring, 1), 4 * nside - 1)
            step = 2 * math.pi / (4 * ring_size(inner, nside))
            belt = nside <= inner <= 3 * nside
            shift = 0.0 if belt and (inner - nside) & 1 else 0.5
            theta[k] = ring_theta(inner, nside)
            if ring != inner:
                theta[k] = 0.0 if ring == 0 else math.pi
            for j in range(lon.size):
                turns = lon[j] * RADIAN / step - shift
                left[k, j] = math.floor(turns)
                right[k, j] = turns - left[k, j]
            if held[ring & 1] != ring:
                held[ring & 1] = ring
                firsts[ring & 1] = left[k, 0]
                number = max(4, left[k, -1] - left[k, 0] + 2)
                _ring_values(ring, left[k, 0], level, index, values, cells[ring & 1, :, :number])
        below = (HALF_PI - lat[i] * RADIAN - theta[0]) / (theta[1] - theta[0])
        north, south = above & 1, (above + 1) & 1
        for j in range(lon.size):
            weight[0] = (1 - below) * (1 - right[0, j])
            weight[1] = (1 - below) * right[0, j]
            weight[2] = below * (1 - right[1, j])
            weight[3] = below * right[1, j]
            a, b = left[0, j] - firsts[north], left[1, j] - firsts[south]
            for band in range(bands):
                quad[0] = cells[north, band, a]
                quad[1] = cells[north, band, a + 1]
                quad[2] = cells[south, band, b]
                quad[3] = cells[south, band, b + 1]
                total = 0.0
                for k in range(4):
                    total += weight[k] * quad[k]
                if total != total:
                    face, ix, iy = cell_around(quarter_turns(lon[j]), z, w, level)
                    own[0] = encode(face, ix, iy, level)
                    to_places(own, index)
                    here = values[band, own[0]] if own[0] >= 0 else np.nan
                    total = _share(quad, weight, here)
                out[band, i, j] = total


@loop
def _ring_above(z: float, nside: int) -> int:
    """The last ring with a centre at z or north of it, 0 if there is none."""
    za = abs(z)
    if za <= 2 / 3:
        return int(nside * (2 - 1.5 * z))
    ring = int(nside * math.sqrt(3 * (1 - za)))
    return ring if z > 0 else 4 * nside - ring - 1


@loop
def _ring_values(ring: int, first: int, level: int, index: RunIndex, values: Any, out: Any) -> None:
    """out (band, cell): the values of a ring from an index on.

    Beyond the first and the last ring lies the pole: the mean of the four cells there.
    """
    last = (4 << level) - 1
    inner = min(max(ring, 1), last)
    turn = 4 * ring_size(inner, 1 << level)
    ids = np.empty(out.shape[1], np.int64)
    number = first % turn
    for j in range(ids.size):
        face, ix, iy = from_ring(inner, number, level)
        ids[j] = encode(face, ix, iy, level)
        number = number + 1 if number + 1 < turn else 0
    to_places(ids, index)
    for band in range(out.shape[0]):
        for j in range(ids.size):
            out[band, j] = values[band, ids[j]] if ids[j] >= 0 else np.nan
        if ring != inner:
            out[band, :] = (out[band, 0] + out[band, 1] + out[band, 2] + out[band, 3]) / 4


@loop
def _share(quad: Floats, weight: Floats, here: float) -> float:
    """The mean of the neighbours that have a value, if the cell itself has one."""
    total, known = 0.0, 0.0
    for k in range(4):
        if quad[k] == quad[k]:
            total += weight[k] * quad[k]
            known += weight[k]
    return total / known if here == here and known > 0 else here
