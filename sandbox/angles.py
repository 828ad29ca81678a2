"""The bands of angles of Sentinel-2: where the sun stood, and from where a product looked.

The Copernicus back end takes them from the metadata of a product, four numbers that hold for
all of it: the mean angles of the sun, and the mean viewing angles of one band.  It fills each
block of 256 x 256 pixels that the product's footprint touches with them, also where the product
shows nothing there; of several products the one whose path sorts first.  They are real numbers
in degrees, and an order with one of them has real numbers in all of its bands
(openeo-geotrellis-extensions, ``SentinelXMLMetadataRasterSource`` and ``FileLayerProvider``).
Which pixel its catalogue gives them is not known here; 10 m, as there where nobody says.

Azimuths are clockwise from north, from the ground towards the sun or the satellite.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import shapely
from numpy.typing import NDArray

from sandbox import granules, orbit
from sandbox.granules import Granule
from sandbox.grids import Grid

NAMES = ("sunAzimuthAngles", "sunZenithAngles", "viewAzimuthMean", "viewZenithMean")
RESOLUTION = 10  # m
BLOCK = 256  # pixels, edge of what is read at a time
ALTITUDE = 786.0  # km
DIGITS = 3  # of a degree

Values = NDArray[np.float32]


@functools.lru_cache(maxsize=20_000)
def of_product(product: Granule) -> dict[str, float]:
    """The angles of a product by their names, degrees; those of the middle of its tile."""
    middle = product.tile.outline.centroid
    lon, lat = float(middle.x), float(middle.y)
    found = (*_sun(product, lon, lat), *_satellite(product.view, lon, lat))
    return {name: round(angle, DIGITS) for name, angle in zip(NAMES, found, strict=True)}


def fill(pixels: Grid, row: int, products: tuple[Granule, ...], name: str, out: Values) -> None:
    """Fill a strip of a raster from ``row`` on, at most a block high, with an angle; the rest NaN.

    ``products`` are those of a day, the one on top first; ``out`` is (row, column).
    """
    out[:] = np.nan
    y = pixels.y[[row, row + len(out) - 1]] + np.array([0.5, -0.5]) * pixels.pixel
    for left in range(0, pixels.columns, BLOCK):
        right = min(left + BLOCK, pixels.columns)
        x = pixels.x[[left, right - 1]] + np.array([-0.5, 0.5]) * pixels.pixel
        lon, lat = granules.to_degrees(pixels.epsg).transform(x[[0, 1, 1, 0]], y[[0, 0, 1, 1]])
        block = shapely.polygons(np.stack([lon, lat], axis=1))
        on_top = (product for product in products if product.footprint.intersects(block))
        if (product := next(on_top, None)) is not None:
            out[:, left:right] = of_product(product)[name]


def _sun(product: Granule, lon: float, lat: float) -> tuple[float, float]:
    """Azimuth and zenith angle of the sun: without the equation of time, within some degrees."""
    time = product.time
    hour = time.hour + time.minute / 60 + time.second / 3600 + lon / 15
    east, north, up = granules.sun(time, hour, lat)
    return math.degrees(math.atan2(east, north)) % 360, math.degrees(math.acos(up))


def _satellite(view: orbit.Pass, lon: float, lat: float) -> tuple[float, float]:
    """Azimuth and zenith angle of the satellite, across its track over a sphere."""
    near, far = view.mission.range
    across = float(np.clip(np.nan_to_num(view.across(np.array(lon), np.array(lat))), 0, 1))
    right = near + across * (far - near)  # km, of the track
    angle = abs(right) / orbit.EARTH_RADIUS
    height = 1 + ALTITUDE / orbit.EARTH_RADIUS
    zenith = angle + math.atan2(math.sin(angle), height - math.cos(angle))
    share = math.cos(math.radians(view.mission.inclination)) / math.cos(math.radians(lat))
    turn = math.degrees(math.asin(max(-1.0, min(share, 1.0))))
    heading = turn if view.orbit == "ASCENDING" else 180 - turn
    return (heading - math.copysign(90, right)) % 360, math.degrees(zenith)
