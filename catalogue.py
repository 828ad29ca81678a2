"""What there is to order: the images of an area and days, by a STAC catalogue.

Sentinel-1 passes a place every few days, and a job without an image costs as much as one
with.  So the catalogue is asked first, with `pystac-client`; it needs no login.  `search`
gives the images, each acquisition once; `covers` says what share of each tile they cover,
by day and orbit.

An image belongs to the UTC day on which it began, as the back end sorts it.  Only images
are counted that the back end can make the order from: of the `MODES` it reads, and with
every band.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grid import ORBITS, BBox, Chunk, Tile, days, iter_tiles_covering

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

CATALOGUE = "https://stac.dataspace.copernicus.eu/v1"  # of the Copernicus back ends
IMAGES = "sentinel-1-grd"  # the collection there
MODES = ("IW",)  # instrument modes that the back end's SENTINEL1_GRD is made of
LEAST_SHARE = 1e-4  # of a tile; footprints are not exact, and less is not worth a job
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
    "properties.sar:instrument_mode", "properties.sar:polarizations",
]  # fmt: skip

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
class Cover:
    """What the images of a chunk are."""

    share: float  # of the tile's area in degrees, 0 to 1
    created: dt.datetime | None  # when the last of them was published
    relative_orbits: tuple[int, ...]
    platforms: tuple[str, ...]
    times: tuple[str, ...]  # begin/end of each, ISO 8601, UTC


def address(url: str) -> str:
    """The catalogue of the back end at an address."""
    parts = urlsplit(url)
    if f".{parts.hostname}".endswith(COPERNICUS):
        return CATALOGUE
    return f"{parts.scheme}://{parts.netloc}{OWN}"


def search(
    url: str, bbox: BBox, first: dt.date, last: dt.date, bands: Sequence[str], tiles: int
) -> list[Image]:
    """The images that touch a box on the days from first to last, in the order of time.

    ``tiles`` in the box say how many items there can be.  Raises CatalogueError.
    """
    import pystac_client
    from pystac import STACError
    from pystac_client.exceptions import APIError
    from shapely.errors import ShapelyError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a server is no catalogue is found out below
            client = pystac_client.Client.open(url, stac_io=_connection())
            items = {
                str(item["id"]): item
                for begin, end in _windows(first, last, tiles)
                for part in bbox.split()
                for item in _items(client, part, begin, end)
            }
        found = _merge(image for i in items.values() for image in _image(i, bands))
    except (
        APIError, STACError, NotImplementedError, Warning, ShapelyError,
        KeyError, TypeError, ValueError, AttributeError,
    ) as error:  # fmt: skip
        raise CatalogueError(_unusable(url, error)) from error
    wanted = [image for image in found if first <= image.begin.date() <= last]
    return sorted(wanted, key=lambda image: (image.begin, image.orbit))


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


def _items(client: Any, bbox: BBox, begin: dt.date, end: dt.date) -> Iterator[Json]:
    """The items of a box that lies on one side of 180 degrees; both days are included."""
    after = end + dt.timedelta(days=1)  # an image may begin in the last second of the day
    return iter(
        client.search(
            collections=[IMAGES],
            bbox=[bbox.west, bbox.south, bbox.east, bbox.north],
            datetime=f"{begin}T00:00:00Z/{after}T00:00:00Z",
            limit=PAGE,
            fields={"include": FIELDS, "exclude": ["assets", "links"]}
            if client.conforms_to("FIELDS")
            else None,
        ).items_as_dicts()
    )


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


def _image(item: Json, bands: Sequence[str]) -> Iterator[Image]:
    """The image of an item, unless the back end cannot make the order from it."""
    about = item["properties"]
    if about.get("sar:instrument_mode", MODES[0]) not in MODES:
        return
    if not set(bands) <= set(about.get("sar:polarizations", bands)):
        return
    begin = _moment(about.get("start_datetime") or about["datetime"])
    published = [about[name] for name in ("created", "published") if about.get(name)]
    relative = about.get("sat:relative_orbit")
    orbit = str(about["sat:orbit_state"]).lower()
    if orbit not in ORBITS[1:]:
        raise ValueError(f"{item['id']} has the orbit state {orbit!r}")
    yield Image(
        orbit,
        None if relative is None else int(relative),
        str(about.get("platform") or ""),
        begin,
        _moment(about["end_datetime"]) if about.get("end_datetime") else begin,
        max(map(_moment, published), default=None),
        cut(item["geometry"]),
    )


def _merge(images: Iterable[Image]) -> list[Image]:
    """Each acquisition once: its products differ in their format and date of publication."""
    import shapely

    same: dict[tuple[object, ...], list[Image]] = defaultdict(list)
    for image in images:
        second = round(image.begin.timestamp())
        same[image.platform, image.relative_orbit, image.orbit, second].append(image)
    merged = []
    for group in same.values():
        created = max((i.created for i in group if i.created), default=None)
        one, footprints = group[0], {i.footprint.wkb: i.footprint for i in group}
        footprint = (
            one.footprint if len(footprints) == 1 else shapely.union_all([*footprints.values()])
        )
        merged.append(
            Image(
                one.orbit, one.relative_orbit, one.platform, one.begin, one.end, created, footprint
            )
        )
    return merged


def cut(geometry: Json) -> BaseGeometry:
    """A GeoJSON geometry with longitudes in -180..180, in parts on both sides of 180 degrees.

    Footprints across 180 come in all forms: cut already (RFC 7946, 3.1.9), with longitudes
    beyond 180, or as one ring that seems to go around the Earth the other way.
    """
    import shapely

    parts = []
    for part in shapely.get_parts(shapely.geometry.shape(geometry)):
        west, _, east, _ = part.bounds
        if east - west > 180.0:
            part = shapely.transform(part, _eastward)
        part = part if part.is_valid else shapely.make_valid(part)
        west, _, east, _ = part.bounds
        for turn in range(math.floor((west + 180.0) / 360.0), math.ceil((east + 180.0) / 360.0)):
            window = shapely.box(360.0 * turn - 180.0, -90.0, 360.0 * turn + 180.0, 90.0)
            inside = shapely.intersection(part, window)
            parts.append(shapely.transform(inside, lambda xy, t=turn: xy - [360.0 * t, 0.0]))
    return shapely.union_all(parts)


def _eastward(points: Any) -> Any:
    """The points with longitudes from 0 to 360."""
    return points + (points < 0) * [360.0, 0.0]


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
