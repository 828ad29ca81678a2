"""The cells whose centre lies in a polygon, ring by ring.

By the crossings of the edges with the latitude of a ring of cells: of these, sorted from west to
east, the first and second, the third and fourth, ... are the ends of what is inside.  An edge has
its southern end and not its northern one, and what is inside its western end and not its eastern
one, as boxes have: so each cell belongs to one of polygons that share their edges, and a polygon
that is a box has the cells of the box.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix.arrays import Floats, Ints
from healpix.cells import cell_lon, encode, from_ring, ring_size
from healpix.ids import level_of
from healpix.loops import loop
from healpix.pixels import rings_between


def polygon_ids(edges: Floats, nside: int, ellipsoid: str, most: int) -> Ints | None:
    """The cells whose centre lies in a polygon, ring by ring; None if they are more than ``most``.

    ``edges``: (edge, 4), of all rings: longitude and latitude of both ends in degrees, without a
    jump at 180.  No edge crosses another.  Centres are those of `boxes.box_runs`.
    """
    y = edges[:, 1::2]
    top, lats = rings_between(float(y.min()), float(y.max()), nside, ellipsoid)
    number, found = _inside(edges, top, lats, level_of(nside), most)
    return None if number > most else found


@loop
def _inside(edges: Floats, top: int, lats: Floats, level: int, most: int) -> Any:
    """The number of cells and, unless these are too many, their ids; lats[i]: of ring top + i."""
    nside = 1 << level
    begins = np.zeros(lats.size + 1, np.int64)
    for k in range(edges.shape[0]):
        y1, y2 = edges[k, 1], edges[k, 3]
        for i in range(_first_below(lats, max(y1, y2)), _first_below(lats, min(y1, y2))):
            begins[i + 1] += 1
    begins = np.cumsum(begins)
    used = begins[:-1].copy()
    crossings = np.empty(begins[-1])
    for k in range(edges.shape[0]):
        x1, y1, x2, y2 = edges[k]
        if y1 > y2:  # so that an edge has the same crossings from both of its sides
            x1, y1, x2, y2 = x2, y2, x1, y1
        for i in range(_first_below(lats, y2), _first_below(lats, y1)):
            crossings[used[i]] = x1 + (lats[i] - y1) * ((x2 - x1) / (y2 - y1))
            used[i] += 1
    ends = np.empty(crossings.size, np.int64)
    number = 0
    for i in range(lats.size):
        crossings[begins[i] : begins[i + 1]].sort()
        for k in range(begins[i], begins[i + 1]):
            ends[k] = _first_east(crossings[k], top + i, nside)
        for k in range(begins[i], begins[i + 1] - 1, 2):
            ends[k + 1] = min(ends[k + 1], ends[k] + 4 * ring_size(top + i, nside))
            number += ends[k + 1] - ends[k]
    ids = np.empty(number if number <= most else 0, np.int64)
    if number > most:
        return number, ids
    number = 0
    for i in range(lats.size):
        size = 4 * ring_size(top + i, nside)
        for k in range(begins[i], begins[i + 1] - 1, 2):
            for place in range(ends[k], ends[k + 1]):
                face, ix, iy = from_ring(top + i, place % size, level)
                ids[number] = encode(face, ix, iy, level)
                number += 1
    return number, ids


@loop
def _first_below(lats: Floats, lat: float) -> int:
    """The first of descending latitudes that is south of another one."""
    low, high = 0, lats.size
    while low < high:
        middle = (low + high) // 2
        if lats[middle] < lat:
            high = middle
        else:
            low = middle + 1
    return low


@loop
def _first_east(lon: float, ring: int, nside: int) -> int:
    """The first cell of a ring that is not west of a longitude, counted on around the Earth."""
    shift = 1 if ring_size(ring, nside) < nside else (ring + nside + 1) & 1
    place = math.ceil((lon * ring_size(ring, nside) / 45.0 - shift) / 2)
    while _lon(2 * place + shift - 2, ring, nside) >= lon:
        place -= 1
    while _lon(2 * place + shift, ring, nside) < lon:
        place += 1
    return place


@loop
def _lon(east: int, ring: int, nside: int) -> float:
    """As `cell_lon`, going on beyond 180 and before -180."""
    turns = east // (8 * ring_size(ring, nside))
    lon = cell_lon(east - turns * 8 * ring_size(ring, nside), ring, nside)
    return lon + 360.0 * (turns + 1 if lon < 0 else turns)
