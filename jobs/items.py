"""What the items of a STAC catalogue say, and which of them are images that can be ordered.

Only those count that the back end can make the order from: of the types and modes it reads
(`Selection`), and with every band.  Others are left aside, and `Found` says so.  An item that
cannot be understood is skipped by itself, and named.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grid import ORBITS
from jobs import footprint
from jobs.recipe import ALL_CLOUDS, CLOUDS, Recipe
from shared.collection import BACKSCATTER

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

FIELDS = (
    "id", "geometry", "properties.datetime", "properties.start_datetime", "properties.end_datetime",
    "properties.created", "properties.published", "properties.platform",
    "properties.sat:relative_orbit",
)  # fmt: skip
# What every item has; where one lacks it, it may have been left out of the answer.
OF_RADAR = ("sat:orbit_state", "sar:instrument_mode", "sar:polarizations", "product:type")
PLACE = "grid:code"  # of images that are cut into squares of a grid


@dataclass(frozen=True)
class Selection:
    """Where images are looked for, and which of them count."""

    address: str  # of the catalogue of the Copernicus back ends
    collection: str  # "": that of the recipe
    types: tuple[str, ...] = ()  # of products that the back end reads; none: all
    modes: tuple[str, ...] = ()  # of the instrument, that it reads; none: all
    bands: tuple[str, ...] = ()  # that an image must have
    least_share: float = 0.0  # of a tile
    by_orbit: bool = True  # whether passes of each direction are told apart
    max_cloud: float | None = None  # percent of an image; None: they do not say

    def of(self, recipe: Recipe) -> Selection:
        """What there is to choose from for a recipe."""
        collection = recipe.collection
        chosen = replace(
            self,
            collection=self.collection or collection.images,
            by_orbit=collection.by_orbit,
            max_cloud=recipe.max_cloud if collection.has_clouds else None,
        )
        if collection.process == BACKSCATTER:
            return replace(chosen, bands=recipe.bands)
        return replace(chosen, types=(), modes=())

    @property
    def usual(self) -> tuple[str, ...]:
        """The properties that every item has."""
        clouds = () if self.max_cloud is None else (CLOUDS, PLACE)
        return (OF_RADAR if self.types else ()) + clouds

    @property
    def fields(self) -> list[str]:
        """What is wanted of each item."""
        return [*FIELDS, *(f"properties.{name}" for name in self.usual)]


@dataclass(frozen=True)
class Acquisition:
    """One acquisition, in however many products it is there."""

    orbit: str  # "ascending" or "descending", "any" where that is of no account
    relative_orbit: int | None
    platform: str
    begin: dt.datetime
    end: dt.datetime
    created: dt.datetime | None  # of the product that was published last
    footprint: BaseGeometry  # degrees, cut at 180
    place: str = ""  # in the grid that images are cut by


@dataclass(frozen=True)
class Found:
    """What a catalogue has: images, and what was not taken for one."""

    images: list[Acquisition]
    aside: tuple[str, ...] = ()  # how many images of which kind the back end does not read
    skipped: tuple[str, ...] = ()  # items that cannot be understood, each with the reason


def sorted_out(
    items: Mapping[str, Any], first: dt.date, last: dt.date, selection: Selection
) -> Found:
    """The images of some days; what else there is, by why it is not taken."""
    images, aside, skipped = [], {}, []
    for name, item in items.items():
        try:
            image = _image(item, selection.by_orbit)
            why = _unread(item["properties"], image, selection)
        except Exception as error:  # whatever somebody has written into it
            skipped.append(f"{name}: {error if type(error) is ValueError else repr(error)}")
            continue
        if not first <= image.begin.date() <= last:
            continue
        if why:
            aside[_key(image)] = why
        else:
            images.append(image)
    merged = sorted(_merge(images), key=lambda image: (image.begin, image.orbit))
    kinds = Counter(why for key, why in aside.items() if key not in set(map(_key, merged)))
    words = (f"{n} image{'s' * (n != 1)} {why}" for why, n in sorted(kinds.items()))
    return Found(merged, tuple(words), tuple(skipped))


def _image(item: Any, by_orbit: bool) -> Acquisition:
    """The image of an item; ValueError says what of it cannot be understood."""
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        raise ValueError("it has no properties")
    about = item["properties"]
    moments = [_moment(about.get(name)) for name in ("start_datetime", "datetime")]
    begin = next(filter(None, moments), None)
    if begin is None:
        raise ValueError("it has no time")
    orbit = str(about.get("sat:orbit_state")).strip().lower() if by_orbit else ORBITS[0]
    if by_orbit and orbit not in ORBITS[1:]:
        raise ValueError(f"its orbit state is {about.get('sat:orbit_state')!r}")
    published = [_moment(about.get(name)) for name in ("created", "published")]
    return Acquisition(
        orbit,
        _whole_number(about.get("sat:relative_orbit")),
        str(about.get("platform") or ""),
        begin,
        _moment(about.get("end_datetime")) or begin,
        max(filter(None, published), default=None),
        _footprint(item.get("geometry")),
        str(about.get(PLACE) or ""),
    )


def _unread(about: Mapping[str, Any], image: Acquisition, selection: Selection) -> str:
    """Why the back end cannot make the order from an image; "" if it can, or nobody knows."""
    kind, mode = _word(about.get("product:type")), _word(about.get("sar:instrument_mode"))
    if selection.types and kind and kind not in selection.types:
        name = image.platform.capitalize()[:-1] + image.platform[-1:].upper()
        return f"of {name or 'a satellite'} ({kind}), which the back end does not read yet"
    if selection.modes and mode and mode not in selection.modes:
        return f"in mode {mode}, which the back end does not read"
    if _is_cloudy(about.get(CLOUDS), selection.max_cloud):
        return f"with clouds over more than {selection.max_cloud:g} %"
    known = _polarisations(about.get("sar:polarizations"))
    lacking = [band for band in selection.bands if known and band not in known]
    return f"without {' and '.join(lacking)}" if lacking else ""


def _is_cloudy(share: object, most: float | None) -> bool:
    """Whether an image has more clouds than are wanted; one that does not say may be clear."""
    if most is None or most >= ALL_CLOUDS:
        return False
    try:
        return float(str(share)) > most
    except ValueError:
        return False


def _footprint(geometry: object) -> BaseGeometry:
    try:
        return footprint.of_image(geometry)
    except ValueError as error:
        raise ValueError(f"its footprint {error}") from error


def _polarisations(value: object) -> set[str]:
    """In capitals, whether they are written as a list or in a word; none if nobody knows."""
    words = value if isinstance(value, list) else re.split(r"[^A-Za-z]+", str(value or ""))
    return {str(word).upper() for word in words if word}


def _word(value: object) -> str:
    return str(value or "").strip().upper()


def _whole_number(value: object) -> int | None:
    """The number, if it is one: an image is as good without."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _key(image: Acquisition) -> tuple[object, ...]:
    """What the products of one acquisition have in common."""
    second = round(image.begin.timestamp())
    return image.platform, image.relative_orbit, image.orbit, second, image.place


def _merge(images: Iterable[Acquisition]) -> list[Acquisition]:
    """Each acquisition once: its products differ in their format and date of publication."""
    import shapely

    same: dict[tuple[object, ...], list[Acquisition]] = defaultdict(list)
    for image in images:
        same[_key(image)].append(image)
    merged = []
    for group in same.values():
        created = max((i.created for i in group if i.created), default=None)
        one, shapes = group[0], {i.footprint.wkb: i.footprint for i in group}
        whole = one.footprint if len(shapes) == 1 else shapely.union_all([*shapes.values()])
        merged.append(replace(one, created=created, footprint=whole))
    return merged


def _moment(text: object) -> dt.datetime | None:
    """A time of ISO 8601, of UTC unless it says otherwise; None if it is none."""
    try:
        moment = dt.datetime.fromisoformat(str(text))
        if moment.tzinfo is None:
            return moment.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def name_of(item: Any) -> str:
    """The id of an item, or the begin of all of it."""
    known = item.get("id") if isinstance(item, Mapping) else None
    return str(known or f"an item without an id ({str(item)[:80]})")


def lacks_something(item: Any, usual: Iterable[str]) -> bool:
    """Whether an item has not even a place for what every item has."""
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        return True
    about = item["properties"]
    timed = "datetime" in about or "start_datetime" in about
    return "geometry" not in item or not timed or any(name not in about for name in usual)
