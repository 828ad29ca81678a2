"""The cells whose centre lies in a box."""

from __future__ import annotations

import math

import numpy as np

from grid import BBox
from healpix.arrays import Ints, Runs
from healpix.cells import FACE_EAST, FACE_SOUTH, cell_lon, decode, ring_lat, ring_size, to_ring
from healpix.ids import as_stored, join_runs, level_of
from healpix.latitudes import is_geodetic
from healpix.loops import loop

Box = tuple[float, float, float, float]  # west, south, east, north

# Edges are compared with this margin (degrees) before whole blocks of cells are
# accepted; what is nearer is decided cell by cell.
_MARGIN = 1e-9


def box_runs(bbox: BBox, nside: int, ellipsoid: str) -> Runs:
    """The cells whose centre lies in the half-open box, as sorted runs of nested ids.

    The centre is what healpy's ``pix2ang(..., nest=True, lonlat=True)`` gives in double
    precision, with 360 subtracted from longitudes of 180 and more.  Blocks of cells that
    lie inside as a whole are never visited, so time and memory go with the border of the
    box.  Returns ``start_ipix`` uint64 and ``run_len`` uint32.
    """
    level, geodetic = level_of(nside), is_geodetic(ellipsoid)
    # The poles and, all around, 180 degrees are no edges.
    south = bbox.south if bbox.south > -90 else -math.inf
    north = bbox.north if bbox.north < 90 else math.inf
    sides = [(part.west, part.east) for part in bbox.split()]
    if sides == [(-180.0, 180.0)]:
        sides = [(-math.inf, math.inf)]
    parts = [_walk((west, south, east, north), level, geodetic) for west, east in sides]
    if len(parts) == 1:
        return as_stored(*parts[0])
    start, length = (np.concatenate(both) for both in zip(*parts, strict=True))
    order = np.argsort(start)
    return as_stored(*join_runs(start[order], length[order]))


@loop
def _walk(box: Box, level: int, geodetic: bool) -> tuple[Ints, Ints]:
    """Start and length (int64) of the runs of a box with west < east.

    Walks the quad-tree of each base face depth first, which is the order of the ids.
    """
    nside = 1 << level
    start = np.empty(1024, np.int64)
    length = np.empty(1024, np.int64)
    used = 0
    # Depth first: three brothers wait at each level while the fourth is worked on.
    stack = np.empty((3 * level + 12, 2), np.int64)
    for face in range(12):
        stack[11 - face, 0] = face << (2 * level)
        stack[11 - face, 1] = level
    depth = 12
    while depth > 0:
        depth -= 1
        cell, height = stack[depth]
        face, x0, y0 = decode(cell, level)
        if height == 0:
            inside = _cell_in_box(face, x0, y0, box, nside, geodetic)
        else:
            edge = (1 << height) - 1
            verdict = _block_in_box(face, x0, y0, x0 + edge, y0 + edge, box, nside, geodetic)
            if verdict == 0:
                for child in range(3, -1, -1):
                    stack[depth, 0] = cell + (child << (2 * height - 2))
                    stack[depth, 1] = height - 1
                    depth += 1
                continue
            inside = verdict == 1
        if not inside:
            continue
        count = 1 << (2 * height)
        if used > 0 and start[used - 1] + length[used - 1] == cell:
            length[used - 1] += count
            continue
        if used == start.size:
            start = np.append(start, np.empty(used, np.int64))
            length = np.append(length, np.empty(used, np.int64))
        start[used] = cell
        length[used] = count
        used += 1
    return start[:used].copy(), length[:used].copy()


@loop
def _block_in_box(
    face: int, x0: int, y0: int, x1: int, y1: int, box: Box, nside: int, geodetic: bool
) -> int:
    """1 if all cells of a block lie in the box, -1 if none does, 0 if it is to be split.

    In a base face latitude grows with ix and iy, longitude with ix and against iy, so
    that the corners of a block bound it.
    """
    west, south, east, north = box
    base = FACE_SOUTH[face] * nside - 1
    low = ring_lat(base - x0 - y0, nside, geodetic)
    high = ring_lat(base - x1 - y1, nside, geodetic)
    if high < south - _MARGIN or low > north + _MARGIN:
        return -1
    left = _free_lon(face, x0, y1, nside)
    right = _free_lon(face, x1, y0, nside)
    meets = False
    inside = False
    for turn in (-360.0, 0.0, 360.0):
        if right >= west + turn - _MARGIN and left <= east + turn + _MARGIN:
            meets = True
        if left >= west + turn + _MARGIN and right <= east + turn - _MARGIN:
            inside = True
    if not meets:
        return -1
    if inside and low >= south + _MARGIN and high <= north - _MARGIN:
        return 1
    return 0


@loop
def _free_lon(face: int, ix: int, iy: int, nside: int) -> float:
    """Longitude of a cell in degrees, without a jump inside its face."""
    ring = FACE_SOUTH[face] * nside - ix - iy - 1
    size = ring_size(ring, nside)
    return 45.0 * int(FACE_EAST[face] * size + ix - iy) / size


@loop
def _cell_in_box(face: int, ix: int, iy: int, box: Box, nside: int, geodetic: bool) -> bool:
    west, south, east, north = box
    ring, place = to_ring(face, ix, iy, nside)
    if not west <= cell_lon(place, ring, nside) < east:
        return False
    return south <= ring_lat(ring, nside, geodetic) < north
