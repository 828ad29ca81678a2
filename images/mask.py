"""Which pixels of a grid have their centre in a polygon.

By GDAL's rule (gdal/alg/llrasterize.cpp, as of `rasterio.features.geometry_mask`), the crossings
of the polygon's edges with the row of centres:

    pixel k of a row is inside  <=>  the number of crossings x with floor(x + 0.5) <= k is odd

where x counts pixels from the western edge of the whole grid.  So it is the same for a pixel
whichever block of the grid it is asked for in, which GDAL, asked block by block, does not promise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cells.regrid import Frame
from images.grids import grid_edges
from shared.areas import Area

if TYPE_CHECKING:
    import xarray as xr
    from shapely.geometry.base import BaseGeometry

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


def of_frame(area: Area, frame: Frame) -> PixelMask:
    """The mask of an area on the grid of its box."""
    box = frame.bbox
    return PixelMask(area.polygon, box.west, box.south, frame.dlon, frame.dlat, frame.lat.size)


def inside(dataset: xr.Dataset) -> Bools | None:
    """``bool[lat, lon]``, which pixels of a grid are those of the area that it is clipped to.

    None where it is not clipped.
    """
    if not dataset.attrs.get("clipped"):
        return None
    height, width = dataset.sizes["lat"], dataset.sizes["lon"]
    west, east, south, north = grid_edges(dataset)
    steps = (east - west) / width, (north - south) / height
    mask = PixelMask(outline_of(dataset.attrs), west, south, *steps, height)
    return mask.of(slice(0, height), slice(0, width))


def outline_of(attrs: Mapping[Any, Any]) -> BaseGeometry | None:
    """The polygon that a grid is of, as its attributes have it; None of a plain box."""
    if not attrs.get("area"):
        return None
    import shapely

    return shapely.from_wkt(str(attrs["area"]))


class PixelMask:
    """Which pixels of a regular grid have their centre in a polygon.

    west, south: of the grid's outer edges; dlon, dlat: of a pixel, degrees; height: rows of it.
    """

    def __init__(
        self,
        polygon: BaseGeometry,
        west: float,
        south: float,
        dlon: float,
        dlat: float,
        height: int,
    ) -> None:
        import shapely

        rings = shapely.get_rings(shapely.get_parts(polygon))
        rings = np.where(shapely.is_ccw(rings), shapely.reverse(rings), rings)  # for `_floors`
        xy, ring = shapely.get_coordinates(rings, return_index=True)
        # As GDAL inverts the transform of a grid that is north up, to the bit.
        x = -west / dlon + xy[:, 0] * (1 / dlon)
        y = -(south + height * dlat) / -dlat + xy[:, 1] * (1 / -dlat)
        same = ring[:-1] == ring[1:]
        self._height = height
        self._ends = x[:-1][same], y[:-1][same], x[1:][same], y[1:][same]

    def of(self, rows: slice, columns: slice) -> Bools:
        """``bool[row, column]``, rows from the south as in a grid."""
        first, stop = self._height - rows.stop, self._height - rows.start  # from the north
        count, width = stop - first, columns.stop - columns.start
        x1, y1, x2, y2 = self._ends
        near = (np.maximum(y1, y2) >= first) & (np.minimum(y1, y2) <= stop)
        x1, y1, x2, y2 = x1[near], y1[near], x2[near], y2[near]
        toggles = np.zeros((count, width + 1), np.uint8)
        row, x = _crossings(x1, y1, x2, y2, first, stop)
        np.bitwise_xor.at(toggles, (row - first, _column(x, columns)), np.uint8(1))
        found = np.bitwise_xor.accumulate(toggles[:, :width], axis=1).view(bool)
        for y, left, right in _floors(x1, y1, x2, y2, first, stop):
            a, b = _column(np.array([left, right]), columns)
            found[y - first, a:b] = True
        return found[::-1]


def _crossings(
    x1: Floats, y1: Floats, x2: Floats, y2: Floats, first: int, stop: int
) -> tuple[NDArray[np.int64], Floats]:
    """Row and place of each crossing of an edge with the middle of a row, from first to stop."""
    low, high = np.minimum(y1, y2), np.maximum(y1, y2)
    begin = np.clip(np.ceil(low - 0.5), first, stop).astype(np.int64)
    end = np.clip(np.ceil(high - 0.5), first, stop).astype(np.int64)
    number = np.maximum(end - begin, 0)
    edge = np.repeat(np.arange(len(number)), number)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(number) - number, number) + begin[edge]
    upward = y1 < y2
    x_low, x_high = np.where(upward, x1, x2)[edge], np.where(upward, x2, x1)[edge]
    place = ((row + 0.5) - low[edge]) * (x_high - x_low) / (high[edge] - low[edge]) + x_low
    return row, place


def _floors(
    x1: Floats, y1: Floats, x2: Floats, y2: Floats, first: int, stop: int
) -> Iterator[tuple[int, float, float]]:
    """Row, begin and end of edges along the middle of a row that are the southern end of a ring.

    GDAL counts these pixels as inside, of holes, too: what the crossings, of edges with their
    northern end alone, would leave out.
    """
    along = (y1 == y2) & (x1 > x2) & (y1 - 0.5 == np.floor(y1 - 0.5)) & (y1 > first) & (y1 < stop)
    for right, y, left in zip(x1[along], y1[along], x2[along], strict=True):
        yield int(y - 0.5), float(left), float(right)


def _column(x: Any, columns: slice) -> Any:
    """The first pixel of a part of a row whose centre is not west of a place."""
    found = np.clip(np.floor(x + 0.5), columns.start, columns.stop)
    return found.astype(np.int64) - columns.start
