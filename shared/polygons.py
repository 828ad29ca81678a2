"""Polygons as people have them: files that GDAL reads, and WKT, as an area in degrees.

Files are read by pyogrio (decision 075): GeoJSON, shapefiles, GeoPackage, KML, FlatGeobuf and
more, each layer in its own coordinate reference system.  What comes of them is one (multi)polygon
of longitude and latitude on WGS84: mended where rings cross themselves, without what is in it
twice, and in one piece across 180 degrees, however it was cut there (RFC 7946, 3.1.9) or not.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from grid import BBox, shorten
from shared.areas import LATITUDES, WKT, Area, ordered

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

ACCEPTED = "GeoJSON, a shapefile, GeoPackage, KML, FlatGeobuf or WKT"
POINTS = {"X_POSSIBLE_NAMES": "lon*,lng,x", "Y_POSSIBLE_NAMES": "lat*,y"}  # columns of a .csv
STEP = 1000.0  # m; a straight line of a projection is followed in steps of this length
MOST_STEPS = 100_000  # along all edges of a polygon, where such steps would be more
ROUNDING = 1e-9  # of a turn, by which a longitude may be less than itself after sums
FARTHEST = 540.0  # degrees of longitude, whichever way they are counted
_LAYER = re.compile(r"(.+)\|(?:layername=)?([^|]+)")  # as QGIS writes it

Floats = NDArray[np.float64]


class Layer(NamedTuple):
    """A layer of a file: geometries in degrees, and the columns beside them."""

    name: str
    geometries: list[BaseGeometry]
    columns: dict[str, NDArray[Any]]


def read(text: str) -> BBox:
    """The area of WKT, or of a file: an `Area`, or a plain box where the polygon is just its box.

    ``file|layer`` names one of several layers; ``lat,lon:`` before it says that whoever wrote it
    put latitudes first.  Raises ValueError that says in one line what the thing is and what is
    accepted.
    """
    order, what = _plain(text)
    name = order + (shorten(what) if WKT.fullmatch(what) else what)
    layers = read_layers(text, _has_polygon, "polygons", f"an area is a box, or {ACCEPTED}", [])
    return _area([each for layer in layers for each in layer.geometries], name)


def swapped(area: Area) -> BBox | None:
    """The area whose latitudes are the longitudes of this one; None where that cannot be."""
    order, name = ordered(area.name)
    with contextlib.suppress(ValueError):
        return _area([_flipped(area.polygon)], LATITUDES * (order != LATITUDES) + name)
    return None


def _plain(text: str) -> tuple[str, str]:
    """What is said to come first, and the rest, without quotes."""
    order, what = ordered(text.strip().strip("'\""))
    return order, what.strip("'\"")


def _flipped(geometry: BaseGeometry) -> BaseGeometry:
    import shapely

    return shapely.transform(geometry, lambda xy: xy[:, ::-1])


def read_layers(
    text: str,
    is_one: Callable[[BaseGeometry], bool],
    what: str,
    accepted: str,
    columns: list[str] | None = None,
) -> list[Layer]:
    """What WKT has, or the layer of a file that has such geometries; of KML all of them.

    Of a file without any all layers.  ``columns``: those to read, None: all.  ValueError says
    what is ``accepted``.
    """
    order, text = _plain(text)
    if order == LATITUDES:
        layers = read_layers(text, is_one, what, accepted, columns)
        return [each._replace(geometries=[*map(_flipped, each.geometries)]) for each in layers]
    if WKT.fullmatch(text):
        return [Layer("", [_from_wkt(text, "This WKT")], {})]
    layer = _LAYER.fullmatch(text)
    path = Path(layer[1] if layer else text).expanduser()
    if not path.exists():
        raise ValueError(f"There is no file {path}; {accepted}.")
    if path.suffix.lower() not in (".wkt", ".txt"):
        found = _layers(path, columns, what, accepted)
        every = [each for each in found if not layer or each.name == layer[2]]
        if not every and layer:
            raise ValueError(f"{path.name} has no layer {layer[2]}.")
        return _filled(every, path, is_one, what)
    try:
        return [Layer("", [_from_wkt(path.read_text("utf-8"), path.name)], {})]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}.") from None


def of_geometry(content: Mapping[str, Any]) -> BBox:
    """The area of GeoJSON in degrees: a geometry, a feature or features."""
    import shapely

    found = content.get("features") or [content]
    try:
        geometries = [shapely.geometry.shape(each.get("geometry") or each) for each in found]
    except (shapely.GEOSException, AttributeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"This is no geometry: {error}.") from None
    return _area([shapely.force_2d(each) for each in geometries], "a geometry")


def _from_wkt(text: str, name: str) -> BaseGeometry:
    """A geometry of WKT in degrees; EWKT says another reference system."""
    import shapely

    match = WKT.fullmatch(text.strip())
    try:
        geometry = shapely.from_wkt(match[2] if match else text)
    except shapely.GEOSException:
        raise ValueError(f"{name} is no WKT, such as POLYGON ((3 51, 4 51, 4 52, 3 51)).") from None
    crs = f"EPSG:{match[1]}" if match and match[1] else None
    return _in_degrees([shapely.force_2d(geometry)], crs, name)[0]


def _filled(
    layers: list[Layer], path: Path, is_one: Callable[[BaseGeometry], bool], what: str
) -> list[Layer]:
    """Those of the layers of a file that have such geometries, which are one but in KML."""
    filled = [layer for layer in layers if any(map(is_one, layer.geometries))]
    if len(filled) > 1 and path.suffix.lower() not in (".kml", ".kmz"):
        names = [layer.name for layer in filled]
        raise ValueError(
            f"{path.name} has {what} in several layers: {', '.join(names)}.  "
            f"Name one, like {path.name}|{names[0]}."
        )
    return filled or layers


def _layers(path: Path, columns: list[str] | None, what: str, accepted: str) -> Iterator[Layer]:
    """The layers of a file; features without a geometry are left out."""
    import pyogrio
    import shapely

    options = POINTS if path.suffix.lower() == ".csv" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for name, kind in pyogrio.list_layers(path):
                if kind is None and not options:
                    yield Layer(str(name), [], {})
                    continue
                meta, _, wkb, values = pyogrio.raw.read(
                    path, layer=name, columns=columns, force_2d=True, **options
                )
                found = np.empty(0, object) if wkb is None else shapely.from_wkb(wkb)
                there = ~shapely.is_missing(found)
                geometries = _in_degrees(list(found[there]), meta["crs"], path.name)
                rows = [column[there] for column in values] if len(there) else []
                yield Layer(str(name), geometries, dict(zip(meta["fields"], rows, strict=False)))
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            why = _why(path, error, accepted)
            raise ValueError(f"{path.name or path} is no file of {what}: {why}.") from None


def _why(path: Path, error: Exception, accepted: str) -> str:
    """What is wrong with a file that GDAL cannot read, and what is accepted."""
    if path.suffix.lower() == ".shp" and not path.with_suffix(".shx").exists():
        return f"{path.stem}.shx, which belongs to it, is missing"
    if "not recognized" in str(error) or path.is_dir():
        return accepted
    return shorten(str(error).strip().rstrip("."), 120)


def _has_polygon(geometry: BaseGeometry) -> bool:
    return any(True for _ in polygons_in(geometry))


def polygons_in(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    """The polygons in a geometry, whatever it is a collection of."""
    if geometry.geom_type == "Polygon":
        if not geometry.is_empty:
            yield geometry
    elif hasattr(geometry, "geoms"):
        for part in geometry.geoms:
            yield from polygons_in(part)


# --- degrees -----------------------------------------------------------------------------


def _in_degrees(
    geometries: Sequence[BaseGeometry], crs: str | None, name: str
) -> list[BaseGeometry]:
    """Geometries of a reference system as longitude and latitude on WGS84."""
    import shapely

    if crs is None:
        return list(geometries)  # taken for degrees, and judged as such
    from pyproj import CRS, Transformer
    from pyproj.exceptions import CRSError

    try:
        system = CRS.from_user_input(crs)
        if system.equals(CRS("EPSG:4326"), ignore_axis_order=True):
            return list(geometries)
        degrees = Transformer.from_crs(system, "OGC:CRS84", always_xy=True)
    except CRSError:
        raise ValueError(
            f"{name}: its coordinate reference system is not known ({shorten(crs)})."
        ) from None
    if system.is_projected:
        unit = system.axis_info[0].unit_conversion_factor or 1.0
        geometries = [_followed(each, STEP / unit) for each in geometries]

    def turned(xy: Floats) -> Floats:
        return np.column_stack(degrees.transform(xy[:, 0], xy[:, 1]))

    return [shapely.transform(each, turned) for each in geometries]


def _followed(geometry: BaseGeometry, step: float) -> BaseGeometry:
    """With points along its edges, since a straight line of a projection is none in degrees."""
    import shapely

    return shapely.segmentize(geometry, max(step, geometry.length / MOST_STEPS))


# --- one polygon -------------------------------------------------------------------------


def _area(geometries: Iterable[BaseGeometry], name: str) -> BBox:
    """One area of the polygons in some geometries in degrees."""
    import shapely

    every = list(geometries)
    parts = [part for each in every for part in polygons_in(each)]
    short = Path(ordered(name)[1]).name if "(" not in name else "This WKT"
    if not parts:
        raise ValueError(
            f"{short} has {counted(every)}, and no polygon; an area is a box, or {ACCEPTED}."
        )
    for part in parts:
        require_degrees(part, short)
    mended = [piece for part in parts for piece in valid_pieces(part)]
    if not sum(piece.area for piece in mended) > 0:
        raise ValueError(f"{short}: its polygon has no area.")
    polygon = _united(mended)
    found = Area.of(shapely.normalize(polygon), name)
    west, south, east, north = polygon.bounds
    is_box = shapely.box(west, south, east, north).equals(polygon)
    return found.box if is_box else found


def counted(geometries: Sequence[BaseGeometry]) -> str:
    """How many there are of each kind, in words."""
    numbers = Counter(each.geom_type for each in geometries)
    words = [f"{number} {kind.lower()}{'s' * (number > 1)}" for kind, number in numbers.items()]
    return " and ".join(words) or "no geometry at all"


def require_degrees(part: BaseGeometry, name: str) -> None:
    """ValueError unless coordinates can be longitudes and latitudes."""
    west, south, east, north = part.bounds
    if not all(map(math.isfinite, part.bounds)):
        raise ValueError(f"{name}: it has coordinates that are nowhere on the Earth.")
    if max(abs(west), abs(east)) > FARTHEST or max(abs(south), abs(north)) > 90:
        worst = max(part.bounds, key=abs)
        raise ValueError(
            f"{name}: {worst:.10g} is no number of degrees; the file does not say what its "
            "coordinate reference system is."
        )


def valid_pieces(part: BaseGeometry) -> Iterator[BaseGeometry]:
    """A polygon with longitudes that go on beyond 180, in valid pieces."""
    import shapely

    turned = _turned(part)
    if shapely.make_valid(turned).area == 0.0:
        turned = part  # it goes around the Earth indeed
    yield from polygons_in(shapely.make_valid(turned, method="structure"))


def _turned(part: BaseGeometry) -> BaseGeometry:
    """A polygon whose edges go the short way around the Earth.

    A ring around a pole is closed along the ends of the map.
    """
    import shapely

    shell = _ring(np.asarray(part.exterior.coords))
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
    holes = []
    for hole in part.interiors:
        xy = _ring(np.asarray(hole.coords))
        mean = (xy[:, 0].min() + xy[:, 0].max()) / 2
        holes.append(xy - [360.0 * round((mean - middle) / 360), 0.0])
    return shapely.Polygon(shell, holes)


def _ring(xy: Floats) -> Floats:
    steps = np.diff(xy[:, 0])
    far = np.abs(steps) > 180
    if not far.any():
        return xy
    lon = xy[:, 0].copy()
    lon[1:] -= np.cumsum(np.where(far, 360.0 * np.round(steps / 360), 0.0))
    out = np.column_stack([lon, xy[:, 1]])
    if abs(lon[-1] - lon[0]) < 180:
        return out
    pole = math.copysign(90.0, xy[:, 1].mean())
    return np.concatenate([out, [[lon[-1], pole], [lon[0], pole]], out[:1]])


def _united(parts: Sequence[BaseGeometry]) -> BaseGeometry:
    """The union of polygons, beginning within -180 to 180 and not longer than once around."""
    import shapely

    start = _start(parts)
    turns = [math.floor((part.bounds[0] - start) / 360 + ROUNDING) for part in parts]
    shifted = [_moved(part, -360.0 * turn) for part, turn in zip(parts, turns, strict=True)]
    whole = shapely.union_all(shifted)
    west, _, east, _ = whole.bounds
    if east - west >= 360:
        return shapely.union_all([*_windows(whole)])
    return _moved(whole, -360.0 * math.floor((west + 180) / 360))


def _start(parts: Sequence[BaseGeometry]) -> float:
    """The longitude at which the widest gap between polygons ends."""
    ends = sorted(((part.bounds[0] + 180) % 360, part.bounds[2] - part.bounds[0]) for part in parts)
    reach, best, start = ends[0][0], -1.0, ends[0][0]
    reach = max(west + width for west, width in ends) - 360  # what comes around from the east
    for west, width in ends:
        if west - reach > best:
            best, start = west - reach, west
        reach = max(reach, west + width)
    return float(start) - 180


def _windows(whole: BaseGeometry) -> Iterator[BaseGeometry]:
    """What lies in each turn around the Earth, put on top of one another."""
    import shapely

    west, _, east, _ = whole.bounds
    for turn in range(math.floor((west + 180) / 360), math.ceil((east + 180) / 360)):
        window = shapely.box(360.0 * turn - 180, -90, 360.0 * turn + 180, 90)
        yield _moved(shapely.intersection(whole, window), -360.0 * turn)


def _moved(geometry: BaseGeometry, east: float) -> BaseGeometry:
    import shapely

    return shapely.transform(geometry, lambda xy: xy + np.array([east, 0.0])) if east else geometry
