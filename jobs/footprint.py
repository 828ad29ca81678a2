"""Where an image is on the Earth, however its footprint is written.

Catalogues write them in all forms: cut at 180 degrees or not, as a ring that seems to go
around the Earth the other way, with corners in the wrong order, or around the whole world.
What can be understood is mended; what cannot be an image of Sentinel-1 is not believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

LARGEST = 1000.0  # km from end to end; an image is 250 km across and some hundreds along
EARTH_RADIUS = 6371.0  # km
STEP = 1.0  # degrees between the points that stand for a footprint's edge
TURNED = 540.0  # degrees; longitudes beyond are none, whichever way they were counted


def of_image(geometry: object) -> BaseGeometry:
    """A GeoJSON footprint in degrees, cut at 180.

    Raises ValueError, with words that follow "its footprint", if it is not believed.
    """
    parts = [part for part in _parts(geometry) if part.area > 0.0]
    if not parts:
        raise ValueError("has no area")
    if (length := _length(parts)) > LARGEST:
        raise ValueError(f"is {length:.0f} km long")
    return _joined(parts)


def cut(geometry: object) -> BaseGeometry:
    """A GeoJSON geometry with longitudes in -180..180, in parts on both sides of 180 degrees.

    Footprints across 180 come in all forms: cut already (RFC 7946, 3.1.9), with longitudes
    beyond 180, or as one ring that seems to go around the Earth the other way.
    """
    return _joined(list(_parts(geometry)))


def _parts(geometry: object) -> Iterator[BaseGeometry]:
    """The parts of a geometry, whole and valid, some of them beyond 180 degrees."""
    import shapely

    if not isinstance(geometry, Mapping):
        raise ValueError("is missing")
    try:
        with np.errstate(invalid="ignore"):  # a NaN is found below
            whole = shapely.force_2d(shapely.geometry.shape(geometry))
    except Exception as error:  # whatever somebody has written into it
        raise ValueError("is no GeoJSON") from error
    lon, lat = np.abs(shapely.get_coordinates(whole)).T
    if not (lon <= TURNED).all():
        raise ValueError("has longitudes that are none")
    if not (lat <= 90.0).all():
        raise ValueError("has latitudes that are none")
    for part in shapely.get_parts(whole):
        west, _, east, _ = part.bounds
        turned = shapely.transform(part, _eastward) if east - west > 180.0 else part
        # One that is nothing when it is turned goes around the Earth indeed.
        turned = turned if turned.area > 0.0 else part
        # A bow-tie has the right corners in the wrong order, and an image is nearly convex.
        yield turned if turned.is_valid else turned.convex_hull


def _joined(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    """The parts, cut at 180 degrees."""
    import shapely

    pieces = []
    for part in parts:
        west, _, east, _ = part.bounds
        for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0)):
            window = shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0)
            inside = shapely.intersection(part, window)
            pieces.append(shapely.transform(inside, lambda xy, t=turn: xy - [360.0 * t, 0.0]))
    return shapely.union_all(pieces)


def _length(parts: Sequence[BaseGeometry]) -> float:
    """Kilometres between the two points of the edges that are farthest apart."""
    import shapely

    edges = [shapely.get_coordinates(shapely.segmentize(part, STEP)) for part in parts]
    lon, lat = np.radians(np.concatenate(edges)).T
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    least = min(float((points @ point).min()) for point in points)
    return EARTH_RADIUS * math.acos(max(-1.0, min(1.0, least)))


def _eastward(points: Any) -> Any:
    """The points with longitudes from 0 to 360."""
    return points + (points < 0) * [360.0, 0.0]
