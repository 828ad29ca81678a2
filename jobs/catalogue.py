"""What there is to order: the images of an area and days, by a STAC catalogue.

A satellite passes a place every few days, and a job without an image costs as much as one
with.  So the catalogue is asked first, with `pystac-client`; it needs no login.  `search`
gives the images, each acquisition once; `covers` says what share of each tile they cover,
by day and orbit.

An image belongs to the UTC day on which it began, as the back end sorts it.  Which items
count is found out in `items.py`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from grid import ORBITS, BBox, Chunk, Tile, days, iter_tiles_covering
from jobs.items import Acquisition, Found, Selection, lacks_something, name_of, sorted_out
from jobs.settings import Settings
from shared.areas import iter_tiles

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

PAGE = 500  # items of one answer
MOST_ITEMS = 10_000  # of one search, whose later ones the catalogue may refuse
ITEMS_PER_TILE = 6  # and day, at most: two passes, two products of each, some cut in two
TIMEOUT = (5.0, 60.0)  # s to connect, and to wait for an answer
RETRIES = 3  # after a passing trouble

# What the catalogue of Copernicus calls what its back end calls otherwise.
CALLED = {"COPERNICUS_30": "cop-dem-glo-30-dged-cog", "COPERNICUS_90": "cop-dem-glo-90-dged-cog"}
COPERNICUS = ".dataspace.copernicus.eu"  # what the hosts of its back ends end with
OWN = "/stac"  # where a sandbox has its own catalogue

Part = tuple[Acquisition, "BaseGeometry"]  # and what of it lies in a tile


class CatalogueError(ConnectionError):
    """The catalogue did not answer, or not as a catalogue does; the message names ways out."""


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


def address(url: str, usual: str) -> str:
    """The catalogue of the back end at an address: the ``usual`` one of Copernicus, or its own."""
    parts = urlsplit(url)
    if f".{parts.hostname}".endswith(COPERNICUS):
        return usual
    return f"{parts.scheme}://{parts.netloc}{OWN}"


def collection_named(url: str, name: str) -> str:
    """What a catalogue calls the collection that a back end calls so; "" if it has none such.

    Raises CatalogueError.
    """
    small = name.lower()
    names = CALLED.get(name, name), name, small, small.replace("_", "-")
    with _opened(url) as client:
        known = (each for each in dict.fromkeys(names) if client.get_collection(each))
        return next(known, "")


def images(url: str, bbox: BBox, first: dt.date, last: dt.date, made: Settings) -> Covers:
    """What the catalogue at an address has of the tiles of a box, on the days from first to last.

    Raises CatalogueError.
    """
    tiles, number = whole_tiles(bbox, made.chunk_size)
    found = search(url, tiles, first, last, number, made.selection)
    every = iter_tiles(bbox, made.chunk_size)
    return Covers(covers(found.images, every, made.selection.least_share), found)


def search(
    url: str, bbox: BBox, first: dt.date, last: dt.date, tiles: int, selection: Selection
) -> Found:
    """The images that touch a box on the days from first to last, in the order of time.

    ``tiles`` in the box say how many items there can be.  Raises CatalogueError.
    """
    with _opened(url) as client:
        windows = [*_windows(first, last, tiles)]
        items = _all_items(client, selection, bbox, windows)
    return sorted_out(items, first, last, selection)


def whole_tiles(bbox: BBox, chunk_size: Sequence[float]) -> tuple[BBox, int]:
    """The box that the tiles of a box fill, and their number."""
    tiles = list(iter_tiles_covering(bbox, chunk_size))
    south, north = min(t.south for t in tiles), max(t.north for t in tiles)
    if bbox.width > 360.0 - 2 * chunk_size[0]:
        return BBox(-180.0, south, 180.0, north), len(tiles)
    row = [tile for tile in tiles if tile.south == south]  # from west to east
    return BBox(row[0].west, south, row[-1].east, north), len(tiles)


def covers(
    images: Sequence[Acquisition], tiles: Iterable[Tile], least_share: float
) -> dict[Chunk, Cover]:
    """What there is of each tile, day and orbit; of a chunk at least that share of its tile.

    Images of both orbits make a chunk of each, and one of "any" besides.
    """
    import shapely

    tree = shapely.STRtree([image.footprint for image in images])
    found: dict[Chunk, Cover] = {}
    for tile in tiles:
        box = shapely.box(tile.west, tile.south, tile.east, tile.north)
        groups: dict[tuple[dt.date, str], list[Part]] = defaultdict(list)
        for index in tree.query(box, predicate="intersects"):
            image = images[index]
            part = shapely.intersection(image.footprint, box)
            for orbit in dict.fromkeys((image.orbit, ORBITS[0])):
                groups[image.begin.date(), orbit].append((image, part))
        for (day, orbit), group in groups.items():
            share = shapely.union_all([part for _, part in group]).area / box.area
            if share >= least_share:
                found[Chunk(tile, day, orbit)] = _cover(share, [image for image, _ in group])
    return found


def _cover(share: float, images: Sequence[Acquisition]) -> Cover:
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


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Any]:
    """A catalogue, to be asked; whatever it does wrong meanwhile is a CatalogueError."""
    import pystac_client
    from pystac import STACError
    from pystac_client.exceptions import APIError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a server is no catalogue is found out here
            yield pystac_client.Client.open(url, stac_io=_connection())
    except (
        APIError, STACError, NotImplementedError, Warning,
        KeyError, TypeError, ValueError, AttributeError,
    ) as error:  # fmt: skip
        raise CatalogueError(_unusable(url, error)) from error


def _connection() -> Any:
    """Requests with time-outs that are repeated after a passing trouble."""
    from pystac_client.stac_api_io import StacApiIO
    from urllib3 import Retry

    again = Retry(
        RETRIES,
        backoff_factor=0.3,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=None,
    )
    return StacApiIO(timeout=TIMEOUT, max_retries=again)


def _all_items(
    client: Any, selection: Selection, bbox: BBox, windows: Sequence[tuple[dt.date, dt.date]]
) -> dict[str, Any]:
    """The items of a box, by their ids.

    Of a catalogue that can leave out fields only some are wanted.  One that then leaves out
    more is asked again for all.
    """
    for fields in (selection.fields, None) if client.conforms_to("FIELDS") else (None,):
        items = {
            name_of(item): item
            for begin, end in windows
            for part in bbox.split()
            for item in _items(client, selection.collection, part, begin, end, fields)
        }
        if not any(lacks_something(item, selection.usual) for item in items.values()):
            break
    return items


def _items(
    client: Any,
    collection: str,
    bbox: BBox,
    begin: dt.date,
    end: dt.date,
    fields: list[str] | None,
) -> Iterator[Any]:
    """The items of a box that lies on one side of 180 degrees; both days are included."""
    after = end + dt.timedelta(days=1)  # an image may begin in the last second of the day
    return iter(
        client.search(
            collections=[collection],
            bbox=[bbox.west, bbox.south, bbox.east, bbox.north],
            datetime=f"{begin}T00:00:00Z/{after}T00:00:00Z",
            limit=PAGE,
            fields={"include": fields, "exclude": ["assets", "links"]} if fields else None,
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


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
