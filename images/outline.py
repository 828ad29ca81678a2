"""The outline of an area in a picture of it.

What lies outside of an area that a picture is clipped to is left as paper; the hatching there is
for what was not seen of the area itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from images.grids import Box, Pixels
from images.mask import inside, outline_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.path import Path
    from shapely.geometry.base import BaseGeometry

LINE, HALO = 0.9, 2.0  # points, of the line and of what sets it off from the image
COLOUR, HALO_COLOUR = "#ffc20a", "black"  # seen on grey and on colours, by colour-blind eyes, too
FINEST = 2000  # steps along a side of the box; what is finer is not drawn


def draw(axes: Axes, attrs: Mapping[Any, Any], box: Box) -> None:
    """Draw the outline of the area that a grid is of; nothing of a plain box."""
    polygon = outline_of(attrs)
    if polygon is None:
        return
    import shapely
    from matplotlib.patches import PathPatch
    from matplotlib.patheffects import withStroke

    west, east, south, north = box
    polygon = shapely.simplify(polygon, max(east - west, north - south) / FINEST)
    if attrs.get("clipped"):
        rest = shapely.difference(shapely.box(west, south, east, north), polygon)
        axes.add_patch(PathPatch(_path(rest), facecolor="white", linewidth=0, zorder=-0.5))
    halo = [withStroke(linewidth=HALO, foreground=HALO_COLOUR)]
    axes.add_patch(
        PathPatch(
            _path(polygon), fill=False, edgecolor=COLOUR, linewidth=LINE, path_effects=halo,
            zorder=2, gid="outline", joinstyle="round",
        )
    )  # fmt: skip


def has_gaps(dataset: xr.Dataset, drawn: Mapping[str, Pixels], names: Iterable[str]) -> bool:
    """Whether something of a grid was not seen, of what it is clipped to if it is."""
    names, within = list(names), inside(dataset)
    if within is None:
        return any(not np.isfinite(drawn[name]).all() for name in names)
    return any(not np.isfinite(dataset[name].values[within]).all() for name in names)


def _path(polygon: BaseGeometry) -> Path:
    """The rings of a (multi)polygon as one path of matplotlib."""
    import shapely
    from matplotlib.path import Path

    rings = shapely.get_rings([part for part in shapely.get_parts(polygon) if part.area])
    every = [Path(shapely.get_coordinates(ring), closed=True) for ring in rings]
    return Path.make_compound_path(*every)
