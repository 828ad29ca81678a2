"""Where a picture of a large box is on the Earth: its coast, and lines at its ticks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from images.grids import Box, Pixels, metres_per_degree
from shared.land import land

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGE = 150_000.0  # m, the longer side of a box from which on its coast is drawn
SAMPLES = 800  # along the longer side: as fine as it can be told from the next on paper
LINE, CASING, GRATICULE = "#ffd92f", "black", "0.6"
_THIN, _THICK = 0.5, 1.1  # points


def is_large(box: Box) -> bool:
    """Whether somebody who looks at a picture of the box may ask where on the Earth it is."""
    west, east, south, north = box
    per_lon, per_lat = metres_per_degree((south + north) / 2)
    return max((east - west) * per_lon, (north - south) * per_lat) >= LARGE


def coast(box: Box) -> list[Pixels]:
    """The lines between land and sea in a box: ``float64[n, 2]`` each, longitude and latitude.

    None of them where the box is not large, so that the pixels of the mask would be seen.
    """
    if not is_large(box):
        return []
    from contourpy import contour_generator

    west, east, south, north = box
    step = max(east - west, north - south) / SAMPLES
    rows, columns = (max(2, round(side / step)) for side in (north - south, east - west))
    lat = north - (np.arange(rows) + 0.5) * (north - south) / rows
    lon = west + (np.arange(columns) + 0.5) * (east - west) / columns
    found = contour_generator(lon, lat, land(lat, lon).astype(np.float32)).lines(0.5)
    return [np.asarray(line) for line in found]


def draw_coast(axes: Axes, box: Box, lines: Sequence[Pixels]) -> None:
    """Draw the lines of `coast`, cased so that all is seen on bright and dark, and a graticule."""
    if not is_large(box):
        return
    from matplotlib.collections import LineCollection

    for colour, points in ((CASING, _THICK), (LINE, _THIN)):
        some = LineCollection(lines, colors=colour, linewidths=points, zorder=1.6)
        axes.add_collection(some, autolim=False)
    axes.grid(color=GRATICULE, linewidth=_THIN, alpha=0.6)
