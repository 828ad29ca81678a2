"""Areas that are polygons: a box with what of it is meant.

An `Area` is the box around its polygon, so it goes wherever a box goes; what knows of polygons
orders the tiles, takes the pixels and counts the cells of the polygon alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from grid import BBox, Box, Tile, as_box, iter_tiles_covering

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry

# Degrees, a decimetre: what reaches less far into a tile is the rounding of a projection.
SLIVER = 1e-6
BATCH = 4096  # tiles that are compared with a polygon at a time
KINDS = ("POINT", "LINESTRING", "LINEARRING", "POLYGON", "GEOMETRYCOLLECTION")
LATITUDES, LONGITUDES = "lat,lon:", "lon,lat:"  # before polygons: what comes first in them
WKT = re.compile(rf"(?:SRID=(\d+);)?\s*((?:MULTI)?(?:{'|'.join(KINDS)})\b.*)", re.I | re.S)


class SupportsGeometry(Protocol):
    """What says as GeoJSON what its geometry is: shapely's, a row of geopandas, a feature."""

    @property
    def __geo_interface__(self) -> dict[str, Any]: ...


AreaLike: TypeAlias = "Box | SupportsGeometry"  # what `as_area` takes


@dataclass(frozen=True)
class Area(BBox):
    """The box around a polygon, and the polygon.

    ``wkb``: a valid shapely (multi)polygon in degrees, longitude first, whose
    longitudes begin at ``west`` and go on beyond 180 where the box crosses it.
    """

    wkb: bytes = b""
    name: str = ""  # what it was read from, for people
    clips: bool = True  # whether what lies outside is left out of images
    is_sure: bool = field(default=False, compare=False)  # that its longitudes come first

    @classmethod
    def of(cls, polygon: BaseGeometry, name: str) -> Area:
        """The area of a polygon in degrees that begins within -180 to 180."""
        west, south, east, north = (float(side) for side in polygon.bounds)
        return cls(west, south, east if east <= 180 else east - 360, north, polygon.wkb, name)

    @cached_property
    def polygon(self) -> BaseGeometry:
        """The polygon, as shapely has it."""
        import shapely

        return shapely.from_wkb(self.wkb)

    @property
    def box(self) -> BBox:
        """The box alone."""
        return BBox(self.west, self.south, self.east, self.north)

    def without_clipping(self) -> Area:
        """The same area; images are of its box, with its outline."""
        return replace(self, clips=False)


def ordered(text: str) -> tuple[str, str]:
    """`LATITUDES`, `LONGITUDES` or "": what is said to come first in polygons; and the rest."""
    found = re.match(r"\s*(lat,\s*lon:|lon,\s*lat:)(?=.)", text, re.IGNORECASE)
    if not found:
        return "", text
    return found[1].replace(" ", "").lower(), text[found.end() :].strip()


def file_of(text: str) -> Path | None:
    """The file that a text names polygons of, if there is one: without their order and layer."""
    for name in (text, ordered(text)[1], ordered(text)[1].rpartition("|")[0]):
        if name and len(name) < 256 and Path(name).is_file():
            return Path(name)
    return None


def is_meant(text: str) -> bool:
    """Whether a text stands for polygons, and not for a box: WKT, or the name of a file."""
    text = ordered(text)[1].strip().strip("'\"")
    if WKT.fullmatch(text) or re.search(r"\.[a-z]\w*$|[\\|]", text, re.IGNORECASE):
        return True
    return bool(text) and len(text) < 256 and Path(text).exists()


def clipping(bbox: BBox) -> Area | None:
    """The area that images of a box are clipped to; None of a plain box."""
    return bbox if isinstance(bbox, Area) and bbox.clips else None


def as_area(box: AreaLike) -> BBox:
    """A box, as of `grid.as_box`; or polygons: a file, WKT, or a geometry as of shapely."""
    if isinstance(box, str) and is_meant(box):
        from shared import polygons

        return polygons.read(box)
    if hasattr(box, "__geo_interface__"):
        from shared import polygons

        return polygons.of_geometry(box.__geo_interface__)
    return as_box(box)


def shown(bbox: BBox) -> BBox:
    """What images of an area show: the area, or if it does not clip them its box."""
    return clipping(bbox) or plain(bbox)


def plain(bbox: BBox) -> BBox:
    """The box of an area; of a plain one the same."""
    return BBox(bbox.west, bbox.south, bbox.east, bbox.north)


def as_text(area: BBox) -> str:
    """The polygon as JSON with WKT, exactly; "" of a plain box."""
    if not isinstance(area, Area):
        return ""
    return json.dumps({"name": area.name, "wkt": wkt(area.polygon)})


def from_text(text: str) -> Area | None:
    """What `as_text` has written; None for "" or for what cannot be read."""
    if not text:
        return None
    import shapely

    try:
        found = json.loads(text)
        area = Area.of(shapely.from_wkt(found["wkt"]), str(found["name"]))
        return replace(area, is_sure=True)
    except (ValueError, TypeError, KeyError, shapely.GEOSException):
        return None


def wkt(polygon: BaseGeometry) -> str:
    """A geometry as text that reads back to the same bits."""
    import shapely

    return str(shapely.to_wkt(polygon, rounding_precision=-1))


# --- tiles -------------------------------------------------------------------------------


def iter_tiles(area: BBox, chunk_size: Sequence[float]) -> Iterator[Tile]:
    """The tiles that share an area with a box, or with the polygon of an `Area`; row by row."""
    every = iter_tiles_covering(area, chunk_size)
    if not isinstance(area, Area):
        yield from every
        return
    while some := list(islice(every, BATCH)):
        yield from touched(area, some)


def touched(area: BBox, tiles: Sequence[Tile]) -> list[Tile]:
    """Those of some tiles that share an area with a box, or with the polygon of an `Area`.

    A polygon that reaches less than `SLIVER` into a tile does not touch it.
    """
    inside = [tile for tile in tiles if tile.bbox.intersects(area)]
    if not isinstance(area, Area) or not inside:
        return inside
    import numpy as np
    import shapely

    shapely.prepare(area.polygon)
    west, south, east, north = np.array([(t.west, t.south, t.east, t.north) for t in inside]).T
    found = np.zeros(len(inside), bool)
    for turn in (0.0, 360.0) if area.crosses_antimeridian else (0.0,):
        boxes = shapely.box(
            west + turn + SLIVER, south + SLIVER, east + turn - SLIVER, north - SLIVER
        )
        found |= shapely.intersects(area.polygon, boxes)
    return [tile for tile, is_in in zip(inside, found.tolist(), strict=True) if is_in]


# --- points -----------------------------------------------------------------------------


def holds(area: Area, lon: NDArray[Any], lat: NDArray[Any]) -> NDArray[Any]:
    """Which points, longitudes within -180 to 180, are inside, as bool."""
    import numpy as np
    import shapely

    shapely.prepare(area.polygon)
    # Points on the western side of one that crosses 180 are beyond it.
    east = np.where(lon < area.west, lon + 360, lon) if area.crosses_antimeridian else lon
    return np.asarray(shapely.contains_xy(area.polygon, east, lat), bool)
