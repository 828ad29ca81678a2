"""Where on the Earth a small box is: a globe that is turned to it, with a dot.

The land is `earth.png` beside this file, a pixel for each half degree: the mask of `shared.land`
would take longer to read than such a picture to draw.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from images.grids import Box

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EARTH = Path(__file__).with_name("earth.png")
LOCATOR = "where on the Earth it is"  # gid of the globe
DIAMETER = 0.54  # inch
PIXELS = 162  # the globe's diameter, as it is printed at 300 dpi
SEA, LAND, RIM, DOT, CASING = (
    (221, 232, 240), (122, 134, 112), (110, 120, 128), (208, 28, 36), (255, 255, 255),
)  # fmt: skip
_DOT, _CASING, _RIM = 0.09, 0.135, 0.975  # of the globe's radius

Colours = NDArray[np.uint8]


def draw_locator(figure: Figure, box: Box, right: float, top: float) -> None:
    """The globe below ``top`` and left of ``right``, inches from the top left of the figure."""
    from matplotlib.image import BboxImage
    from matplotlib.transforms import Bbox, TransformedBbox

    width, height = (float(side) for side in figure.get_size_inches())
    place = Bbox.from_extents(
        (right - DIAMETER) / width, 1 - (top + DIAMETER) / height, right / width, 1 - top / height
    )
    image = BboxImage(TransformedBbox(place, figure.transFigure), gid=LOCATOR, origin="upper")
    west, east, south, north = box
    image.set_data(globe((west + east) / 2, (south + north) / 2))
    figure.add_artist(image)


def globe(lon: float, lat: float) -> Colours:
    """The half of the Earth around a place, seen from far away: ``uint8[PIXELS, PIXELS, 4]``.

    The orthographic projection, inverted: Snyder, Map Projections (1987), page 150.
    """
    x = (np.arange(PIXELS) + 0.5) / PIXELS * 2 - 1
    y = -x[:, np.newaxis]
    away = np.hypot(x, y)
    z = np.sqrt(np.maximum(0, 1 - away**2))
    up, along = math.sin(math.radians(lat)), math.cos(math.radians(lat))
    lats = np.degrees(np.arcsin(np.clip(z * up + y * along, -1, 1)))
    lons = lon + np.degrees(np.arctan2(x, z * along - y * up))
    seen = np.where(is_land(lats, lons)[..., np.newaxis], LAND, SEA)
    for colour, where in ((RIM, away > _RIM), (CASING, away < _CASING), (DOT, away < _DOT)):
        seen[where] = colour
    opaque = np.clip((1 - away) * PIXELS / 2, 0, 1) * 255
    return np.dstack([seen, opaque]).astype(np.uint8)


def is_land(lats: NDArray[np.float64], lons: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether there is land at some places, as the nearest pixels of `EARTH` have it."""
    earth = _earth()
    rows = np.clip((90 - lats) * 2, 0, len(earth) - 1).astype(int)
    columns = ((lons + 180) % 360 * 2).astype(int) % earth.shape[1]
    found: NDArray[np.bool_] = earth[rows, columns]
    return found


@functools.cache
def _earth() -> NDArray[np.bool_]:
    from PIL import Image

    with Image.open(EARTH) as picture:
        return np.asarray(picture, bool)
