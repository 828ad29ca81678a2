"""Cells to pixels of a grid that are larger than they are: sums over the cells in each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix import few
from healpix.arrays import Floats, Ints
from healpix.cells import DOUBT, FACE_EAST, FACE_SOUTH, cell_lon, decode, ring_lat, ring_size
from healpix.latitudes import is_geodetic, rings_at, to_authalic
from healpix.loops import is_worth, loop

AS_MANY_A_RING = 20  # points that numpy looks up while Python finds where a ring is
AS_MANY_A_CELL = 4  # twice what numpy takes to add a cell of a band, as more will come
_LOW = 4  # bits of ix and of iy that are looked up
_LOW_X = np.array([sum((v >> 2 * b & 1) << b for b in range(_LOW)) for v in range(4**_LOW)])
_LOW_Y = np.array([sum((v >> 2 * b + 1 & 1) << b for b in range(_LOW)) for v in range(4**_LOW)])


def ring_rows(
    south: float, dlat: float, rows: slice, nside: int, ellipsoid: str
) -> tuple[int, Ints]:
    """The first ring of some rows of a grid, and from it on the row of each ring, or -1.

    Row ``rows.start`` is 0; row i of the grid is at ``[south + i dlat, south + (i + 1) dlat)``.
    """
    low, high = south + rows.start * dlat, south + rows.stop * dlat
    top, lats = rings_between(low, high, nside, ellipsoid)
    found = np.floor((lats - south) / dlat).astype(np.int64)
    return top, np.where((found >= rows.start) & (found < rows.stop), found - rows.start, -1)


def ring_rows_between(edges: Floats, nside: int, ellipsoid: str) -> tuple[int, Ints]:
    """As `ring_rows`, where row i is at ``[edges[i], edges[i + 1])``, degrees, ascending."""
    top, lats = rings_between(float(edges[0]), float(edges[-1]), nside, ellipsoid)
    found = np.searchsorted(edges, lats, "right") - 1
    return top, np.where(found < edges.size - 1, found, -1)


def rings_between(south: float, north: float, nside: int, ellipsoid: str) -> tuple[int, Floats]:
    """The first of the rings that may lie between two latitudes, and the latitude of each."""
    lat = np.array([min(90.0, north), max(-90.0, south)])
    if is_geodetic(ellipsoid):
        lat = to_authalic(lat)
    upper, lower = rings_at(lat, nside)
    top, last = max(1, int(upper) - 1), min(4 * nside - 1, int(lower) + 2)
    geodetic = is_geodetic(ellipsoid)
    if is_worth(AS_MANY_A_RING * (last - top)):
        return top, _ring_lats(top, last, nside, geodetic)
    return top, few.ring_lats(np.arange(top, last + 1), nside, geodetic)


@loop
def _ring_lats(first: int, last: int, nside: int, geodetic: bool) -> Floats:
    lat = np.empty(last - first + 1)
    for ring in range(first, last + 1):
        lat[ring - first] = ring_lat(ring, nside, geodetic)
    return lat


def add_to_pixels(
    run_start: Ints, run_len: Ints, level: int, top: int, rows: Ints,
    west: float, dlon: float, first: int, values: Any, weights: Any, sums: Floats,
) -> None:  # fmt: skip
    """Add the cells of the runs to the pixels that their centres lie in.

    top, rows: of `ring_rows`.  Column 0 is the grid's column ``first``; column j of the grid
    is at ``[west + j dlon, west + (j + 1) dlon)``.  values: (band, cell), NaN for none.
    weights: (band, cell), or (1, cell) for all bands.  sums: (row, column, 2 bands + 1), for
    each band the sum of weight times value and that of the weights, and last the number
    of cells, whether they have a value or not.
    """
    add = add_to_pixels_loop if is_worth(AS_MANY_A_CELL * values.size) else few.add_to_pixels
    add(run_start, run_len, level, top, rows, west, dlon, first, values, weights, sums)


@loop
def add_to_pixels_loop(
    run_start: Ints, run_len: Ints, level: int, top: int, rows: Ints,
    west: float, dlon: float, first: int, values: Any, weights: Any, sums: Floats,
) -> None:  # fmt: skip
    """As `add_to_pixels`, compiled."""
    nside = 1 << level
    bands, apart = values.shape[0], weights.shape[0] > 1
    low = min(_LOW, level)
    flat = sums.ravel()
    sizes = np.array([ring_size(top + i, nside) for i in range(rows.size)], np.int64)
    steps = 45.0 / sizes / dlon  # columns of an eighth of a cell
    pixels = np.empty(4**_LOW, np.int64)  # where the sums of each cell of a square are, or -1
    k = 0
    for run in range(run_start.size):
        cell, stop = run_start[run], run_start[run] + run_len[run]
        while cell < stop:
            square = cell >> 2 * low
            begin = cell - (square << 2 * low)
            end = min(stop - (square << 2 * low), 4**low)
            _pixels_of_square(
                square, begin, end, level, top, rows, sizes, steps, west, dlon, first,
                sums.shape, pixels,
            )  # fmt: skip
            for inside in range(begin, end):
                place = pixels[np.uint64(inside)]
                if place < 0:
                    continue
                pixel, here = np.uint64(place), np.uint64(k + inside - begin)
                for band in range(bands):
                    value = float(values[band, here])
                    if value == value:
                        weight = float(weights[band if apart else 0, here])
                        flat[pixel] += weight * value
                        flat[pixel + np.uint64(1)] += weight
                    pixel += np.uint64(2)
                flat[pixel] += 1
            k += end - begin
            cell += end - begin


@loop
def _pixels_of_square(
    square: int, begin: int, end: int, level: int, top: int, rows: Ints, sizes: Ints,
    steps: Floats, west: float, dlon: float, first: int, shape: Any, pixels: Ints,
) -> None:  # fmt: skip
    """Of the cells of a square of 16 by 16 the places of their sums in an array of a shape."""
    low = min(_LOW, level)
    nside, turn, before = 1 << level, 360.0 / dlon, west / dlon
    face, x, y = decode(square, level - low)
    x, y = x << low, y << low
    corner = FACE_SOUTH[face] * nside - x - y - 1 - top
    for inside in range(begin, end):
        ix, iy = _LOW_X[np.uint64(inside)], _LOW_Y[np.uint64(inside)]
        ring = corner - ix - iy
        pixels[np.uint64(inside)] = -1
        if ring < 0 or ring >= rows.size:
            continue
        east = FACE_EAST[face] * sizes[np.uint64(ring)] + x - y + ix - iy
        place = east * steps[np.uint64(ring)] - before
        beyond = place - turn
        if place < -DOUBT:
            place += turn
        elif beyond >= DOUBT:
            place = beyond
        column = int(place)
        if abs(place - column - 0.5) > 0.5 - DOUBT or abs(beyond) < DOUBT:
            column = _column(east, ring + top, nside, west, dlon)
        column -= first
        row = rows[np.uint64(ring)]
        if row >= 0 and column >= 0 and column < shape[1]:
            pixels[np.uint64(inside)] = (row * shape[1] + column) * shape[2]


@loop
def _column(east: int, ring: int, nside: int, west: float, dlon: float) -> int:
    """The column of a grid that a centre lies in; see `to_ring`, but ``east`` may be below 0."""
    size = ring_size(ring, nside)
    beyond = 45.0 * east / size - west
    if beyond < 0.0:
        beyond += 360.0
    elif beyond >= 360.0:
        beyond -= 360.0
    columns = beyond / dlon
    if abs(columns - math.floor(columns + 0.5)) < DOUBT:  # on an edge healpy's rounding decides
        beyond = cell_lon(east + 8 * size if east < 0 else east, ring, nside) - west
        columns = (beyond + 360.0 if beyond < 0.0 else beyond) / dlon
    return int(columns)
