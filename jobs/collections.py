"""Collections that nobody here has described: what a back end says of them itself.

It is told to everybody at ``/collections/{id}``, as STAC with the extensions for data cubes,
bands and rasters, of which back ends leave out whatever they like.  What is not said is
guessed, and `in_words` says all of it before anything is ordered.
"""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grid import DEGREE
from jobs.remote import Remote
from jobs.trouble import Kind, Trouble
from shared.collection import Band, Collection, Product

NEAR, MANY = 5, 30  # names that are said instead of one that is not there
USUAL_PIXEL = 10.0  # m, where nobody says how large a pixel is

Json = dict[str, Any]


def described(remote: Remote, name: str) -> Collection:
    """A collection by what the back end says; ValueError, with other names, if it has none such."""
    try:
        about = remote.collection(name)
    except Trouble as trouble:
        if trouble.kind is not Kind.WRONG:
            raise
        raise ValueError(_unknown(name, remote.collections())) from trouble
    first, last = _extent(about)
    bands = tuple(_bands(about))
    product = Product(name, str(about.get("title") or name), bands)
    return Collection(product, pixel=_pixel(about), first=first, last=last)


def in_words(collection: Collection, bands: Sequence[str]) -> Iterator[str]:
    """What is taken for granted of a collection that is not known by heart, line by line."""
    product = collection.product
    yield (
        f"{collection.name} is kept by what the back end says of it: of each cell the mean of "
        "the finite values; a day is one record, whatever its orbits"
    )
    for band in map(product.band, bands):
        scaled = f", values x {band.scale:g} + {band.offset:g}" * (
            (band.scale, band.offset) != (1, 0)
        )
        kind = (
            "classes, of which a cell has the most frequent"
            if band.is_class
            else (f"in {band.units}" if band.units else "of unknown units")
        )
        none = (
            f", {' and '.join(f'{value:g}' for value in band.nodata)} for none"
            if band.nodata
            else ""
        )
        yield f"{band.name}: {band.long_name}, {kind}{scaled}{none}"
    yield f"pixels of {collection.pixel:.3g} m" + (
        f", from {collection.first} to {collection.last or 'today'}" if collection.first else ""
    )


def _unknown(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name.upper(), names, NEAR, 0.5)
    some = near or sorted(names)[:MANY]
    more = f" and {len(names) - len(some)} more" if len(names) > len(some) else ""
    return (
        f"The back end has no collection {name}; it has {', '.join(some)}{more}.  Nothing was "
        "ordered.  Edit COLLECTION in download.py, or name another one with --collection."
    )


def _bands(about: Mapping[str, Any]) -> Iterator[Band]:
    """The bands of a cube, each with what is said of it anywhere."""
    tables, dimensions = _tables(about), _part(about, "cube:dimensions")
    for dimension in (_part(dimensions, name) for name in dimensions):
        if dimension.get("type") == "bands":
            for name in map(str, dimension.get("values") or ()):
                yield _band(name, tables.get(name, {}))


def _band(name: str, said: Mapping[str, Any]) -> Band:
    return Band(
        name,
        " ".join(str(said.get("description") or said.get("title") or name).split()),
        str(said.get("unit") or ""),
        scale=_number(said.get("scale"), 1.0) or 1.0,
        offset=_number(said.get("offset"), 0.0),
        nodata=tuple(_nodata(said)),
        is_class=bool(said.get("classification:classes")),
    )


def _tables(about: Mapping[str, Any]) -> dict[str, Json]:
    """What is said of bands, by their names: in summaries, or (STAC 1.1) in `bands`."""
    places = [_part(about, "summaries"), about]
    lists = [place.get(key) for place in places for key in ("eo:bands", "raster:bands", "bands")]
    found: dict[str, Json] = {}
    for entries in lists:
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, Mapping) and "name" in entry:
                plain = {key.removeprefix("raster:"): value for key, value in entry.items()}
                found.setdefault(str(entry["name"]), {}).update(plain)
    return found


def _nodata(said: Mapping[str, Any]) -> Iterator[float]:
    value = said.get("nodata")
    if isinstance(value, int | float) and value == value:  # NaN is none in any case
        yield float(value)


def _pixel(about: Mapping[str, Any]) -> float:
    """Metres of the finest pixel, by the cube's axes, else by the ground sample distance."""
    steps = []
    for axis in ("x", "y"):
        said = _part(_part(about, "cube:dimensions"), axis)
        if (step := _number(said.get("step"), 0.0)) > 0:
            # Geographic without one, as the extension has it: EPSG:4326.
            geographic = said.get("reference_system", 4326) in (4326, "EPSG:4326")
            steps.append(step * DEGREE if geographic else step)
    distances = _part(about, "summaries").get("gsd")
    steps += [_number(value, 0.0) for value in (distances if isinstance(distances, list) else [])]
    return min((step for step in steps if step > 0), default=USUAL_PIXEL)


def _extent(about: Mapping[str, Any]) -> tuple[dt.date | None, dt.date | None]:
    """First and last day; None where that is open, or not said."""
    try:
        begin, end = about["extent"]["temporal"]["interval"][0]
    except (KeyError, IndexError, TypeError, ValueError):
        return None, None
    return _day(begin), _day(end)


def _day(moment: object) -> dt.date | None:
    try:
        return dt.datetime.fromisoformat(str(moment)).date()
    except ValueError:
        return None


def _part(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a document; empty where there is none, or something else."""
    part = said.get(name)
    return part if isinstance(part, Mapping) else {}


def _number(value: object, otherwise: float) -> float:
    return float(value) if isinstance(value, int | float) else otherwise
