"""The cells whose centre lies in a box, by a walk through the quad-trees of the base faces."""

from __future__ import annotations

import numpy as np

from healpix.arrays import Box, Ints
from healpix.cells import FACE_EAST, FACE_SOUTH, cell_lon, decode, ring_lat, ring_size, to_ring
from healpix.loops import loop

# Edges are compared with this margin (degrees) before whole blocks of cells are
# accepted; what is nearer is decided cell by cell.
MARGIN = 1e-9


@loop
def walk(box: Box, level: int, geodetic: bool) -> tuple[Ints, Ints]:
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
    if high < south - MARGIN or low > north + MARGIN:
        return -1
    left = _free_lon(face, x0, y1, nside)
    right = _free_lon(face, x1, y0, nside)
    meets = False
    inside = False
    for turn in (-360.0, 0.0, 360.0):
        if right >= west + turn - MARGIN and left <= east + turn + MARGIN:
            meets = True
        if left >= west + turn + MARGIN and right <= east + turn - MARGIN:
            inside = True
    if not meets:
        return -1
    if inside and low >= south + MARGIN and high <= north - MARGIN:
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
