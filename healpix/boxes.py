"""The cells whose centre lies in a box."""

from __future__ import annotations

import math

import numpy as np

from grid import BBox
from healpix import few, quads
from healpix.arrays import Runs
from healpix.ids import as_stored, join_runs, level_of
from healpix.latitudes import is_geodetic
from healpix.loops import is_worth


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
    walk = quads.walk if is_worth(_border(bbox, nside)) else few.walk
    parts = [walk((west, south, east, north), level, geodetic) for west, east in sides]
    if len(parts) == 1:
        return as_stored(*parts[0])
    start, length = (np.concatenate(both) for both in zip(*parts, strict=True))
    order = np.argsort(start)
    return as_stored(*join_runs(start[order], length[order]))


def _border(bbox: BBox, nside: int) -> int:
    """About the number of blocks of cells to be looked at, which lie along the border."""
    widths = 2 * (bbox.width + bbox.height) * nside / 58.6  # a cell of nside 1 has 58.6 degrees
    return int(16 * widths) + 1000
