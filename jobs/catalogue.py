"""What there is to order: the images of an area and days, by a STAC catalogue.

Sentinel-1 passes a place every few days, and a job without an image costs as much as one
with.  So the catalogue is asked first, with `pystac-client`; it needs no login.  `search`
gives the images, each acquisition once; `covers` says what share of each tile they cover,
by day and orbit.

An image belongs to the UTC day on which it began, as the back end sorts it.  Only images
are counted that the back end can make the order from: of the `TYPES` and `MODES` it reads,
and with every band.  Others are left aside, and `Found` says so.  An item that cannot be
understood is skipped by itself, and named.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grid import ORBITS, BBox, Chunk, Tile, days, iter_tiles_covering
from jobs import footprint

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

CATALOGUE = "https://stac.dataspace.copernicus.eu/v1"  # of the Copernicus back ends
IMAGES = "sentinel-1-grd"  # the collection there
# What the back end's SENTINEL1_GRD is made of: products of the satellites A, B and C.
TYPES = ("IW_GRDH_1S", "IW_GRDH_1S_B", "IW_GRDH_1S_C")
MODES = ("IW",)  # instrument modes
LEAST_SHARE = 1e-4  # of a tile; footprints are not exact, and less is not worth a job
INEXACT = 0.02  # of a tile: what footprints may be off by, a kilometre or two
PAGE = 500  # items of one answer
MOST_ITEMS = 10_000  # of one search, whose later ones the catalogue may refuse
ITEMS_PER_TILE = 6  # and day, at most: two passes, two products of each, some cut in two
TIMEOUT = (5.0, 60.0)  # s to connect, and to wait for an answer
TRYS = 3  # again after a passing trouble

COPERNICUS = ".dataspace.copernicus.eu"  # what the hosts end with that `CATALOGUE` is of
OWN = "/stac"  # where a sandbox has its own catalogue
FIELDS = [
    "id", "geometry", "properties.datetime", "properties.start_datetime", "properties.end_datetime",
    "properties.created", "properties.published", "properties.platform",
    "properties.sat:orbit_state", "properties.sat:relative_orbit",
    "properties.sar:instrument_mode", "properties.sar:polarizations", "properties.product:type",
]  # fmt: skip
# What every item has; where one lacks it, it may have been left out of the answer.
USUAL = ("sat:orbit_state", "sar:instrument_mode", "sar:polarizations", "product:type")

Json = dict[str, Any]


class CatalogueError(ConnectionError):
    """The catalogue did not answer, or not as a catalogue does; the message names ways out."""


@dataclass(frozen=True)
class Image:
    """One acquisition, in however many products it is there."""

    orbit: str  # "ascending" or "descending"
    relative_orbit: int | None
    platform: str
    begin: dt.datetime
    end: dt.datetime
    created: dt.datetime | None  # of the product that was published last
    footprint: BaseGeometry  # degrees, cut at 180


@dataclass(frozen=True)
class Found:
    """What a catalogue has: images, and what was not taken for one."""

    images: list[Image]
    aside: tuple[str, ...] = ()  # how many images of which kind the back end does not read
    skipped: tuple[str, ...] = ()  # items that cannot be understood, each with the reason


@dataclass(frozen=True)
class Cover:
    """What the images of a chunk are."""

    share: float  # of the tile's area in degrees, 0 to 1
    created: dt.datetime | None  # when the last of them was published
    relative_orbits: tuple[int, ...]
    platforms: tuple[str, ...]
    times: tuple[str, ...]  # begin/end of each, ISO 8601, UTC


class Covers(dict[Chunk, Cover]):
    """What there is of each chunk, and what of the catalogue's items was not taken."""

    def __init__(self, covers: Mapping[Chunk, Cover], found: Found) -> None:
        super().__init__(covers)
        self.aside, self.skipped = found.aside, found.skipped


def address(url: str) -> str:
    """The catalogue of the back end at an address."""
    parts = urlsplit(url)
    if f".{parts.hostname}".endswith(COPERNICUS):
        return CATALOGUE
    return f"{parts.scheme}://{parts.netloc}{OWN}"


def search(
    url: str, bbox: BBox, first: dt.date, last: dt.date, bands: Sequence[str], tiles: int
) -> Found:
    """The images that touch a box on the days from first to last, in the order of time.

    ``tiles`` in the box say how many items there can be.  Raises CatalogueError.
    """
    import pystac_client
    from pystac import STACError
    from pystac_client.exceptions import APIError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a server is no catalogue is found out below
            client = pystac_client.Client.open(url, stac_io=_connection())
            items = _all_items(client, bbox, [*_windows(first, last, tiles)])
    except (
        APIError, STACError, NotImplementedError, Warning,
        KeyError, TypeError, ValueError, AttributeError,
    ) as error:  # fmt: skip
        raise CatalogueError(_unusable(url, error)) from error
    return _sorted_out(items, first, last, bands)


def whole_tiles(bbox: BBox, chunk_size: Sequence[float]) -> tuple[BBox, int]:
    """The box that the tiles of a box fill, and their number."""
    tiles = list(iter_tiles_covering(bbox, chunk_size))
    south, north = min(t.south for t in tiles), max(t.north for t in tiles)
    if bbox.width > 360.0 - 2 * chunk_size[0]:
        return BBox(-180.0, south, 180.0, north), len(tiles)
    row = [tile for tile in tiles if tile.south == south]  # from west to east
    return BBox(row[0].west, south, row[-1].east, north), len(tiles)


def covers(images: Sequence[Image], tiles: Iterable[Tile]) -> dict[Chunk, Cover]:
    """What there is of each tile, day and orbit; chunks of which there is nothing are left out.

    Images of both orbits make a chunk of each, and one of "any" besides.
    """
    import shapely

    tree = shapely.STRtree([image.footprint for image in images])
    found: dict[Chunk, Cover] = {}
    for tile in tiles:
        box = shapely.box(tile.west, tile.south, tile.east, tile.north)
        groups: dict[tuple[dt.date, str], list[tuple[Image, BaseGeometry]]] = defaultdict(list)
        for index in tree.query(box, predicate="intersects"):
            image = images[index]
            part = shapely.intersection(image.footprint, box)
            for orbit in (image.orbit, ORBITS[0]):
                groups[image.begin.date(), orbit].append((image, part))
        for (day, orbit), group in groups.items():
            share = shapely.union_all([part for _, part in group]).area / box.area
            if share >= LEAST_SHARE:
                found[Chunk(tile, day, orbit)] = _cover(share, [image for image, _ in group])
    return found


def _cover(share: float, images: Sequence[Image]) -> Cover:
    images = sorted(images, key=lambda image: image.begin)
    created = [image.created for image in images if image.created]
    return Cover(
        min(share, 1.0),
        max(created, default=None),
        tuple(sorted({i.relative_orbit for i in images if i.relative_orbit is not None})),
        tuple(sorted({image.platform for image in images})),
        tuple(dict.fromkeys(f"{_iso(image.begin)}/{_iso(image.end)}" for image in images)),
    )


# --- talking -----------------------------------------------------------------------------


def _connection() -> Any:
    """Requests with time-outs that are repeated after a passing trouble."""
    from pystac_client.stac_api_io import StacApiIO
    from urllib3 import Retry

    again = Retry(
        TRYS, backoff_factor=0.3, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
    )
    return StacApiIO(timeout=TIMEOUT, max_retries=again)


def _all_items(
    client: Any, bbox: BBox, windows: Sequence[tuple[dt.date, dt.date]]
) -> dict[str, Any]:
    """The items of a box, by their ids.

    Of a catalogue that can leave out fields only some are wanted.  One that then leaves out
    more is asked again for all.
    """
    for fields in (True, False) if client.conforms_to("FIELDS") else (False,):
        items = {
            _name(item): item
            for begin, end in windows
            for part in bbox.split()
            for item in _items(client, part, begin, end, fields)
        }
        if not any(map(_lacks_something, items.values())):
            break
    return items


def _items(client: Any, bbox: BBox, begin: dt.date, end: dt.date, fields: bool) -> Iterator[Any]:
    """The items of a box that lies on one side of 180 degrees; both days are included."""
    after = end + dt.timedelta(days=1)  # an image may begin in the last second of the day
    return iter(
        client.search(
            collections=[IMAGES],
            bbox=[bbox.west, bbox.south, bbox.east, bbox.north],
            datetime=f"{begin}T00:00:00Z/{after}T00:00:00Z",
            limit=PAGE,
            fields={"include": FIELDS, "exclude": ["assets", "links"]} if fields else None,
        ).items_as_dicts()
    )


def _name(item: Any) -> str:
    """The id of an item, or the begin of all of it."""
    known = item.get("id") if isinstance(item, Mapping) else None
    return str(known or f"an item without an id ({str(item)[:80]})")


def _lacks_something(item: Any) -> bool:
    """Whether an item has not even a place for what every item has."""
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        return True
    about = item["properties"]
    timed = "datetime" in about or "start_datetime" in about
    return "geometry" not in item or not timed or any(name not in about for name in USUAL)


def _windows(first: dt.date, last: dt.date, tiles: int) -> Iterator[tuple[dt.date, dt.date]]:
    """The days in pieces that hold no more items than one search may give."""
    length = max(1, MOST_ITEMS // (ITEMS_PER_TILE * tiles))
    every = days(first, last)
    for i in range(0, len(every), length):
        piece = every[i : i + length]
        yield piece[0], piece[-1]


def _unusable(url: str, error: Exception) -> str:
    """What is wrong with a catalogue, and the ways out."""
    from pystac_client.exceptions import APIError

    why = "its answer is not that of a catalogue of images"
    if isinstance(error, APIError):
        again = re.search(r"too many (\d+) error responses", str(error))
        status = getattr(error, "status_code", None) or (again and again[1])
        why = f"it answers with HTTP {status}" if status else "it does not answer"
    return (
        f"The catalogue {url} cannot be asked which images there are: {why}.  Nothing was "
        "ordered.  Try again later, name another one with --catalogue, or order every day, "
        "image or not, with --no-catalogue."
    )


# --- reading -----------------------------------------------------------------------------


def _sorted_out(
    items: Mapping[str, Any], first: dt.date, last: dt.date, bands: Sequence[str]
) -> Found:
    """The images of some days; what else there is, by why it is not taken."""
    images, aside, skipped = [], {}, []
    for name, item in items.items():
        try:
            image = _image(item)
            why = _unread(item["properties"], image, bands)
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


def _image(item: Any) -> Image:
    """The image of an item; ValueError says what of it cannot be understood."""
    if not isinstance(item, Mapping) or not isinstance(item.get("properties"), Mapping):
        raise ValueError("it has no properties")
    about = item["properties"]
    moments = [_moment(about.get(name)) for name in ("start_datetime", "datetime")]
    begin = next(filter(None, moments), None)
    if begin is None:
        raise ValueError("it has no time")
    orbit = str(about.get("sat:orbit_state")).strip().lower()
    if orbit not in ORBITS[1:]:
        raise ValueError(f"its orbit state is {about.get('sat:orbit_state')!r}")
    published = [_moment(about.get(name)) for name in ("created", "published")]
    return Image(
        orbit,
        _whole_number(about.get("sat:relative_orbit")),
        str(about.get("platform") or ""),
        begin,
        _moment(about.get("end_datetime")) or begin,
        max(filter(None, published), default=None),
        _footprint(item.get("geometry")),
    )


def _unread(about: Mapping[str, Any], image: Image, bands: Sequence[str]) -> str:
    """Why the back end cannot make the order from an image; "" if it can, or nobody knows."""
    kind, mode = _word(about.get("product:type")), _word(about.get("sar:instrument_mode"))
    if kind and kind not in TYPES:
        name = image.platform.capitalize()[:-1] + image.platform[-1:].upper()
        return f"of {name or 'a satellite'} ({kind}), which the back end does not read yet"
    if mode and mode not in MODES:
        return f"in mode {mode}, which the back end does not read"
    known = _polarisations(about.get("sar:polarizations"))
    lacking = [band for band in bands if known and band not in known]
    return f"without {' and '.join(lacking)}" if lacking else ""


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


def _key(image: Image) -> tuple[object, ...]:
    """What the products of one acquisition have in common."""
    second = round(image.begin.timestamp())
    return image.platform, image.relative_orbit, image.orbit, second


def _merge(images: Iterable[Image]) -> list[Image]:
    """Each acquisition once: its products differ in their format and date of publication."""
    import shapely

    same: dict[tuple[object, ...], list[Image]] = defaultdict(list)
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


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
