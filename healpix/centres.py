"""From points to the centres of the cells around them."""

from __future__ import annotations

import numpy as np

from healpix.arrays import Floats
from healpix.cells import cell_around, cell_lon, quarter_turns, ring_lat, to_ring, z_and_w
from healpix.ids import level_of
from healpix.latitudes import is_geodetic
from healpix.loops import loop


def centres_around(lon: Floats, lat: Floats, nside: int, ellipsoid: str) -> tuple[Floats, Floats]:
    """Longitude in [-180, 180) and latitude of the centres of the cells around points; degrees.

    Latitudes of points are those that HEALPix counts (authalic on an ellipsoid), those of
    centres are of maps (geodetic).
    """
    found = np.empty((2, lon.size))
    _centres(lon, lat, level_of(nside), is_geodetic(ellipsoid), found)
    return found[0], found[1]


@loop
def _centres(lon: Floats, lat: Floats, level: int, geodetic: bool, found: Floats) -> None:
    for i in range(lon.size):
        z, w = z_and_w(lat[i], 1 << level)
        face, ix, iy = cell_around(quarter_turns(lon[i]), z, w, level)
        ring, east = to_ring(face, ix, iy, 1 << level)
        found[0, i] = cell_lon(east, ring, 1 << level)
        found[1, i] = ring_lat(ring, 1 << level, geodetic)
