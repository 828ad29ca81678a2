"""Features: many areas and places at once, each with a name of its own.

Where they come from, and how they become degrees, is as of `polygons`; but each stays by itself,
and may be points, too.  What is neither polygon nor point is left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from grid import count, shorten
from shared import polygons
from shared.areas import SupportsGeometry
from shared.polygons import Layer

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

USUAL = ("id", "name", "fid")  # columns that are names where they tell all features apart
ACCEPTED = (
    "features are polygons or points: GeoJSON, a shapefile, GeoPackage, KML or WKT, or a .csv with "
    "the columns lon and lat"
)

Named = Mapping[Any, "str | SupportsGeometry"]
FeaturesLike: TypeAlias = "str | SupportsGeometry | Sequence[str | SupportsGeometry] | Named"


@dataclass(frozen=True)
class Features:
    """Features, each a few polygons and points in degrees, longitudes going on beyond 180."""

    names: tuple[Any, ...]  # whole numbers or text, each once
    parts: NDArray[Any]  # shapely's polygons and points
    owners: NDArray[np.int64]  # the number of the feature of each part, ascending
    called: str  # what the names are, for people
    joined: int = 0  # names that several features had, and that are one feature now
    left: int = 0  # features that are neither polygon nor point


def as_features(source: FeaturesLike, column: str | None = None) -> Features:
    """Features of a file, WKT, or geometries; ``column`` has their names.

    Without one it is `USUAL`, if that tells them apart, else they are counted from 1.  Those of
    the same name are one.  ValueError says in one line what is wrong.
    """
    layers = _layers(source)
    geometries = [each for layer in layers for each in layer.geometries]
    found = [list(_parts(each)) for each in geometries]
    there = np.array([bool(parts) for parts in found], bool)
    if not there.any():
        what = shorten(source) if isinstance(source, str) else "This"
        raise ValueError(f"{what} has {polygons.counted(geometries)}; {ACCEPTED}.")
    names, called = _names(layers, column, there)
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    owned = [
        (order[name], part)
        for name, parts in zip(names, [parts for parts in found if parts], strict=True)
        for part in parts
    ]
    owned.sort(key=lambda pair: pair[0])
    parts = np.empty(len(owned), object)
    parts[:] = [part for _, part in owned]
    owners = np.array([owner for owner, _ in owned], np.int64)
    again = sum(number > 1 for number in Counter(names).values())
    return Features(tuple(order), parts, owners, called, again, int((~there).sum()))


# --- where they are from -----------------------------------------------------------------


def _layers(source: FeaturesLike) -> list[Layer]:
    if isinstance(source, str):
        return polygons.read_layers(source, _is_one, "features", ACCEPTED)
    if hasattr(source, "__geo_interface__"):
        content = source.__geo_interface__
        found = content.get("features") or [content]
        rows = [each.get("properties") or {} for each in found]
        common = [name for name in rows[0] if all(name in row for row in rows)]
        columns = {str(name): _column([row[name] for row in rows]) for name in common}
        return [Layer("", [_geometry(each) for each in found], columns)]
    if isinstance(source, Mapping):
        names = {"name": _column(list(source))}
        return [Layer("", [_geometry(each) for each in source.values()], names)]
    if isinstance(source, Iterable):
        return [Layer("", [_geometry(each) for each in source], {})]
    raise ValueError(f"{shorten(repr(source))}: {ACCEPTED}.")


def _column(values: Sequence[Any]) -> NDArray[Any]:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _geometry(source: Any) -> BaseGeometry:
    """A geometry of WKT, or of what says as GeoJSON what it is."""
    import shapely

    if isinstance(source, str):
        ((geometry,),) = ([*layer.geometries] for layer in _layers(source))
        return geometry
    content = getattr(source, "__geo_interface__", source)
    try:
        return shapely.force_2d(shapely.geometry.shape(content.get("geometry") or content))
    except (shapely.GEOSException, AttributeError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{shorten(repr(source))} is no geometry: {error}.") from None


# --- what they are -----------------------------------------------------------------------


def _is_one(geometry: BaseGeometry) -> bool:
    return any(True for _ in polygons.polygons_in(geometry)) or any(True for _ in _points(geometry))


def _parts(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    """The valid polygons, and the points, of a geometry."""
    for part in polygons.polygons_in(geometry):
        polygons.require_degrees(part, "A feature")
        yield from polygons.valid_pieces(part)
    for point in _points(geometry):
        polygons.require_degrees(point, "A feature")
        yield point


def _points(geometry: BaseGeometry) -> Iterator[BaseGeometry]:
    if geometry.geom_type == "Point":
        if not geometry.is_empty:
            yield geometry
    elif geometry.geom_type in ("MultiPoint", "GeometryCollection"):
        for part in geometry.geoms:
            yield from _points(part)


def _names(
    layers: Sequence[Layer], wanted: str | None, there: NDArray[np.bool_]
) -> tuple[list[Any], str]:
    """The name of each feature that is there, and what these are called."""
    common = [name for name in layers[0].columns if all(name in each.columns for each in layers)]
    columns = {
        name: np.concatenate([each.columns[name].astype(object) for each in layers])[there]
        for name in common
    }
    if wanted is not None:
        name = _known(wanted, common)
        missing = [number for number, value in enumerate(columns[name], 1) if _is_none(value)]
        if missing:
            raise ValueError(
                f"The column {name} has nothing for {len(missing)} of "
                f"{count(len(columns[name]), 'feature')}, the first of them number "
                f"{missing[0]}.  Take another one for the names."
            )
        return [_name(value) for value in columns[name]], name
    for name in sorted(common, key=lambda each: each.casefold()):
        values = columns[name]
        if name.casefold() in USUAL and not any(map(_is_none, values)):
            found = [_name(value) for value in values]
            if len(set(found)) == len(found):
                return found, name
    return (np.flatnonzero(there) + 1).tolist(), "their number in the file"


def _known(wanted: str, columns: Sequence[str]) -> str:
    """The column that is meant; ValueError names those there are."""
    for name in columns:
        if name == wanted:
            return name
    for name in columns:
        if name.casefold() == wanted.casefold():
            return name
    there = f"the columns are {', '.join(columns)}" if columns else "they have no columns at all"
    raise ValueError(f"The features have no column {wanted}; {there}.")


def _is_none(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _name(value: Any) -> Any:
    """A name as a whole number, if that is what it is, or as text."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return str(value)
