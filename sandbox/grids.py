"""The pixels of a raster, and the nodes around them at which slow fields are computed.

The raster is the UTM bounding rectangle of the box, snapped to whole multiples of the
pixel, in the zone of the box's centre; it is not cut to the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from sandbox import ground

PIXEL = 10  # m

Array = NDArray[Any]


@dataclass(frozen=True)
class Grid:
    """The pixels of a raster: a UTM zone and its corner and size on the grid of its pixels."""

    epsg: int
    left: int  # of the westernmost pixel's west edge, in pixels from easting 0
    top: int  # of the northernmost pixel's north edge, in pixels from northing ``origin``
    rows: int
    columns: int
    pixel: int = PIXEL  # m
    origin: int = 0  # m

    @property
    def x(self) -> Array:
        """Pixel centres, m."""
        return (self.left + np.arange(self.columns) + 0.5) * self.pixel

    @property
    def y(self) -> Array:
        """Pixel centres from north to south, m."""
        return (self.top - np.arange(self.rows) - 0.5) * self.pixel + self.origin


def grid(bbox: tuple[float, float, float, float], pixel: int = PIXEL) -> Grid:
    """The raster that covers a box (west, south, east, north in degrees).

    Pixels of 60 m are those of Sentinel-2, which in the south count from the false northing.
    """
    west, south, east, north = bbox
    zone = min(int(((west + east) / 2 + 180) // 6) + 1, 60)
    epsg = (32600 if south + north >= 0 else 32700) + zone
    origin = 0 if epsg < 32700 else 10_000_000 % pixel
    to_utm = Transformer.from_crs(4326, epsg, always_xy=True)
    left, bottom, right, top = to_utm.transform_bounds(west, south, east, north, densify_pts=101)
    x0, x1 = int(np.floor(left / pixel)), int(np.ceil(right / pixel))
    y0, y1 = int(np.floor((bottom - origin) / pixel)), int(np.ceil((top - origin) / pixel))
    return Grid(epsg, x0, y1, max(1, y1 - y0), max(1, x1 - x0), pixel, origin)


def nodes(row: int, left: int, rows: int, columns: int) -> tuple[Array, Array, tuple[int, int]]:
    """The coarse lattice around pixels of 10 m: metres east and north, and where they begin in it.

    Its nodes are the centres of every `ground.CELL`-th pixel of the absolute 10 m grid, so
    that overlapping rasters are interpolated from the same nodes.  Rows count southwards from
    northing 0: pixel row r has its centre at -(r + 0.5).
    """
    cell = ground.CELL
    i0, i1 = row // cell, (row + rows - 1) // cell + 1
    j0, j1 = left // cell, (left + columns - 1) // cell + 1
    x = (np.arange(j0, j1 + 1) * cell + 0.5) * PIXEL
    y = -(np.arange(i0, i1 + 1) * cell + 0.5) * PIXEL
    east, north = np.meshgrid(x, y)
    return east, north, (row - i0 * cell, left - j0 * cell)
