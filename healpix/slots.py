"""A place in memory for each cell of a box, ring by ring; plain numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from grid import BBox
from healpix.arrays import Ints
from healpix.ids import level_of
from healpix.latitudes import is_geodetic, rings_at, to_authalic

# How a block of raster pixels finds its cells: by polynomials for ``up`` and ``down`` in
# the belt or one quarter of a cap, or by polynomials for longitude and latitude.
BELT, NORTH, SOUTH, MIXED = range(4)


class Slots(NamedTuple):
    """The cells of a box ring by ring, west to east: a place in memory for each.

    Row r is ring ``top + r``; its slots ``start[r]`` to ``start[r + 1] - 1`` hold the
    cells from index ``first[r]`` eastwards (below 0 for a box west of 0 E).  A cell or
    two stand over on every side.
    """

    level: int
    top: int
    first: Ints
    start: Ints


def box_slots(bbox: BBox, nside: int, ellipsoid: str) -> Slots:
    """Slots for all cells whose centre lies in the box, and a narrow margin."""
    lat = np.array([bbox.north, bbox.south])
    if is_geodetic(ellipsoid):
        lat = to_authalic(lat)
    north, south = rings_at(lat, nside)
    top, bottom = max(1, int(north) - 2), min(4 * nside - 1, int(south) + 3)
    ring = np.arange(top, bottom + 1)
    size = np.minimum(np.minimum(ring, nside), 4 * nside - ring)
    first = np.floor(bbox.west / 90 * size).astype(np.int64) - 2
    count = np.ceil(bbox.width / 90 * size).astype(np.int64) + 4
    count = np.minimum(count, 4 * size)
    return Slots(level_of(nside), top, first, np.concatenate([[0], np.cumsum(count)]))


def cut_slots(slots: Slots, low: int, high: int) -> Slots:
    """The slots of the rings in [low, high), in the same places."""
    low, high = (min(max(0, ring - slots.top), slots.first.size) for ring in (low, high))
    return Slots(slots.level, slots.top + low, slots.first[low:high], slots.start[low : high + 1])
