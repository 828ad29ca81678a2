"""The STAC API beside the back end: what its jobs are made of, as items.

It conforms to the classes of STAC API 1.0 that it names (core, collections, features,
item search with fields), as the catalogue of Copernicus does, and is open to everybody.

Items of Sentinel-1 are made here, those of other collections in `shelves`.  One of Sentinel-1
is `orbit.SLICE` degrees of latitude of a pass; its footprint is exactly what a job
gets of it.  (The back end's own look-up takes `orbit.FOOTPRINT_MARGIN` more, so that a job
that was ordered without asking here can find no data in both forms.)  As at Copernicus,
there are two items for each image, of the plain and of the cloud-optimised product.

Items are computed as they are asked for, newest first; a page ends with a token that says
where the next one begins: a day, and how many of its items were given.
"""

from __future__ import annotations

import datetime as dt
import functools
import heapq
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from urllib.parse import urlencode

import shapely
from flask import Blueprint, Response, jsonify, request
from shapely.geometry.base import BaseGeometry

from sandbox import catalogue, granules, orbit, shelves, terrain
from sandbox.faults import Faults
from sandbox.products import TYPES, VERSIONS, Product, Traits

ROOT = "/stac"
STAC_VERSION = "1.1.0"
COLLECTION_ID = "sentinel-1-grd"
TITLE = "Catalogue of the openEO sandbox (synthetic)"
SYNTHETIC = "Synthetic: made up by a formula of place, day and orbit, not measured by Sentinel-1."
MADE_UP = "Synthetic: made up by formulas, not measured."
EXTENSION_ROOT = "https://stac-extensions.github.io"
LIMIT, MOST = 10, 1000  # items of a page, unless another number is asked for, and at most
DIGITS = 7  # of a degree
GEOJSON = "application/geo+json"

CONFORMANCE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
)
EXTENSIONS = [
    "https://stac-extensions.github.io/sar/v1.0.0/schema.json",
    "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
]
PARAMETERS = ("bbox", "intersects", "datetime", "limit", "ids", "collections", "fields", "token")

Json = dict[str, Any]
Published = Callable[[orbit.Pass], dt.datetime]
About = Callable[[str], Traits]


class Refused(Exception):
    """A request that is answered with an HTTP error, in the words of the STAC API."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Shelf:
    """Since when there are which products, what they are like, and how they are shown."""

    published: Published
    about: About
    faults: Faults


@dataclass(frozen=True)
class Query:
    """What is looked for; None stands for no condition."""

    area: BaseGeometry | None = None
    first: dt.datetime | None = None  # of the start of an image; both ends are included
    last: dt.datetime | None = None
    ids: frozenset[str] | None = None
    collections: frozenset[str] | None = None
    limit: int = LIMIT
    begin: tuple[dt.date, int] | None = None  # the day to begin with, and items of it to skip
    fields: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())  # with, without


@dataclass(frozen=True)
class Image(Product):
    """A product, and where it is on the map."""

    @functools.cached_property
    def footprint(self) -> BaseGeometry:
        """Where it shows something; cut at 180 degrees."""
        ring = self.view.outline(self.south, self.south + orbit.SLICE)
        ring[:, 0] -= 360.0 * math.floor((ring[:, 0].min() + 180.0) / 360.0)
        whole = shapely.polygons(ring.round(DIGITS))
        if ring[:, 0].max() <= 180.0:
            return whole
        beyond = shapely.intersection(whole, shapely.box(180, -90, 540, 90))
        back = shapely.transform(beyond, lambda points: points - [360, 0])
        near = shapely.intersection(whole, shapely.box(-180, -90, 180, 90))
        return shapely.MultiPolygon([*shapely.get_parts(near), *shapely.get_parts(back)])


Found = Image | shelves.Scene | shelves.Degree


@dataclass(frozen=True)
class Collection:
    """What is said of a collection, and since when it has items."""

    title: str
    synthetic: str
    used_by: str  # the openEO collection
    keywords: tuple[str, ...]
    latitudes: tuple[float, float]
    first_day: dt.date
    last_day: dt.date | None = None


COLLECTIONS = {
    COLLECTION_ID: Collection(
        "Sentinel-1 GRD",
        SYNTHETIC,
        catalogue.COLLECTION_ID,
        ("SAR", "Sentinel-1"),
        (orbit.SOUTH_LIMIT, orbit.NORTH_LIMIT),
        orbit.FIRST_DAY,
    ),
    shelves.SENTINEL2: Collection(
        "Sentinel-2 L2A",
        shelves.SYNTHETIC.format("Sentinel-2"),
        catalogue.SENTINEL2,
        ("MSI", "Sentinel-2"),
        granules.MISSION.limits,
        orbit.FIRST_DAY,
    ),
    shelves.ELEVATION: Collection(
        "Elevation model of 1 arc second",
        shelves.SYNTHETIC.format("anybody"),
        catalogue.ELEVATION,
        ("DEM", "elevation"),
        (-90.0, 90.0),
        terrain.FIRST_DAY,
        terrain.LAST_DAY,
    ),
}


def routes(published: Published, about: About, faults: Faults) -> Blueprint:
    """The addresses below `ROOT`.

    ``published`` says when the images of a pass appear, ``about`` what a product is like.
    """
    shelf = Shelf(published, about, faults)
    api = Blueprint("stac", __name__, url_prefix=ROOT)
    api.register_error_handler(Refused, _explain)
    _discovery_routes(api)

    @api.get("/search")
    def search() -> Response:
        return _page(_query(_flat(request.args)), shelf, f"{_root()}/search")

    @api.post("/search")
    def search_with_body() -> Response:
        body = request.get_json(silent=True)
        if not isinstance(body, dict):
            _refuse("The body is no JSON object.")
        return _page(_query(body), shelf, f"{_root()}/search", body)

    @api.get("/collections/<identifier>/items")
    def items(identifier: str) -> Response:
        _require_collection(identifier)
        query = _query(_flat(request.args), ("bbox", "datetime", "limit", "token"))
        url = f"{_root()}/collections/{identifier}/items"
        return _page(replace(query, collections=frozenset([identifier])), shelf, url)

    @api.get("/collections/<identifier>/items/<item>")
    def one(identifier: str, item: str) -> Response:
        _require_collection(identifier)
        query = Query(ids=frozenset([item]), collections=frozenset([identifier]))
        found = next(_images(query, shelf.published), None)
        if found is None:
            _refuse(f"There is no item {item}.", 404)
        return _geojson(_item(found[2], shelf))

    return api


def _discovery_routes(api: Blueprint) -> None:
    @api.get("/")
    def landing() -> Response:
        return jsonify(_landing())

    @api.get("/conformance")
    def conformance() -> Response:
        return jsonify(conformsTo=list(CONFORMANCE))

    @api.get("/api")
    def description() -> Response:
        answer = jsonify(_openapi())
        answer.mimetype = "application/vnd.oai.openapi+json;version=3.0"
        return answer

    @api.get("/collections")
    def collections() -> Response:
        links = [_link("self", "/collections"), _link("root", "/"), _link("parent", "/")]
        return jsonify(collections=[_collection(name) for name in COLLECTIONS], links=links)

    @api.get("/collections/<identifier>")
    def collection(identifier: str) -> Response:
        _require_collection(identifier)
        return jsonify(_collection(identifier))


# --- what is asked -----------------------------------------------------------------------


def _query(given: Mapping[str, Any], known: tuple[str, ...] = PARAMETERS) -> Query:
    """The query that parameters spell; anything else is refused with 400."""
    if unknown := set(given) - set(known):
        _refuse(f"{sorted(unknown)[0]} is not supported.")
    if given.get("bbox") is not None and given.get("intersects") is not None:
        _refuse("Only one of bbox and intersects can be given.")
    first, last = _interval(given.get("datetime"))
    try:
        return Query(
            _area(given), first, last, _names(given.get("ids")), _names(given.get("collections")),
            _limit(given.get("limit")), _token(given.get("token")), _fields(given.get("fields")),
        )  # fmt: skip
    except (TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
        _refuse(f"The request cannot be understood: {error}.")


def _flat(arguments: Mapping[str, str]) -> Json:
    """The parameters of a GET as a POST would have them."""
    given: Json = dict(arguments)
    for name in ("bbox", "ids", "collections"):
        if name in given:
            given[name] = [part for part in given[name].split(",") if part]
    if "fields" in given:
        names = [name for name in given["fields"].split(",") if name]
        without = [name[1:] for name in names if name.startswith("-")]
        given["fields"] = {
            "include": [name.lstrip("+ ") for name in names if not name.startswith("-")],
            "exclude": without,
        }
    if "intersects" in given:
        try:
            given["intersects"] = json.loads(given["intersects"])
        except ValueError:
            _refuse("intersects is no GeoJSON.")
    return given


def _area(given: Mapping[str, Any]) -> BaseGeometry | None:
    if given.get("intersects") is not None:
        return shapely.geometry.shape(given["intersects"])
    if given.get("bbox") is None:
        return None
    box = [float(number) for number in given["bbox"]]
    if len(box) not in (4, 6) or not all(map(math.isfinite, box)):
        raise ValueError("a bbox has 4 or 6 numbers")
    west, south, east, north = box[0], box[1], box[len(box) // 2], box[len(box) // 2 + 1]
    if south > north:
        raise ValueError("the south of the bbox is beyond its north")
    if west <= east:
        return shapely.box(west, south, east, north)
    parts = [shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)]
    return shapely.MultiPolygon(parts)


def _interval(text: object) -> tuple[dt.datetime | None, dt.datetime | None]:
    """An instant, or two that a slash separates, of which one may be open (RFC 3339)."""
    if text is None:
        return None, None
    ends = [_instant(end) for end in str(text).split("/")]
    if len(ends) > 2 or ends in ([None], [None, None]):
        _refuse(f"{text!r} is no datetime.")
    first, last = ends[0], ends[-1]
    if first and last and first > last:
        _refuse("The datetime ends before it begins.")
    return first, last


def _instant(text: str) -> dt.datetime | None:
    if text in ("", ".."):
        return None
    pattern = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"
    try:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError
        return dt.datetime.fromisoformat(text.upper()).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        _refuse(f"{text!r} is no date and time of RFC 3339.")


def _names(value: object) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("ids and collections are lists of names")
    return frozenset(value)


def _limit(value: object) -> int:
    if value is None:
        return LIMIT
    number = int(str(value))
    if number < 1:
        raise ValueError("limit is at least 1")
    return min(number, MOST)


def _token(value: object) -> tuple[dt.date, int] | None:
    if value is None:
        return None
    day, _, skipped = str(value).partition(".")
    return dt.date.fromisoformat(day), int(skipped)


def _fields(value: Any) -> tuple[frozenset[str], frozenset[str]]:
    value = value or {}
    return frozenset(value.get("include") or ()), frozenset(value.get("exclude") or ())


# --- what is found -----------------------------------------------------------------------


def _images(query: Query, published: Published) -> Iterator[tuple[dt.date, int, Found]]:
    """The images of a query, newest first, each with its day and its number on that day."""
    wanted = [n for n in COLLECTIONS if query.collections is None or n in query.collections]
    for day in _days(query, wanted):
        skipped = query.begin[1] if query.begin and query.begin[0] == day else 0
        found = heapq.merge(
            *(_of_collection(name, day, query, published) for name in wanted), key=shelves.newest
        )
        for number, image in enumerate(found):
            if number >= skipped:
                yield day, number, image


def _days(query: Query, wanted: list[str]) -> Iterator[dt.date]:
    """The days on which there can be such an image, backwards."""
    if not wanted:
        return
    last = dt.datetime.now(dt.UTC).date()
    first = min(COLLECTIONS[name].first_day for name in wanted)
    if query.ids is not None:
        dates = [day for name in query.ids if (day := _named_day(name))]
        if not dates:
            return
        first, last = max(first, min(dates)), min(last, max(dates))
    first = max(first, query.first.date()) if query.first else first
    last = min(last, query.last.date()) if query.last else last
    last = min(last, query.begin[0]) if query.begin else last
    for back in range((last - first).days + 1):
        yield last - dt.timedelta(days=back)


def _named_day(identifier: str) -> dt.date | None:
    """The day of an image, by its name."""
    if (file := terrain.named(identifier)) is not None:
        return file.day
    match = re.search(r"_(\d{8})T\d{6}_", identifier)
    return dt.datetime.strptime(match[1], "%Y%m%d").date() if match and _is_date(match[1]) else None


def _is_date(digits: str) -> bool:
    try:
        dt.datetime.strptime(digits, "%Y%m%d")
    except ValueError:
        return False
    return True


def _of_collection(name: str, day: dt.date, query: Query, published: Published) -> Iterator[Found]:
    """The images of a collection on a day, newest first."""
    if name == COLLECTION_ID:
        yield from sorted(_of_day(day, query, published), key=shelves.newest)
        return
    found: Iterator[Found]
    boxes = None if query.area is None else _boxes(query)
    if name == shelves.SENTINEL2:
        found = shelves.scenes(day, boxes, query.ids, published)
    else:
        found = shelves.degrees(day, boxes)
    for image in found:
        begin = image.times[0]
        late = (query.first and begin < query.first) or (query.last and begin > query.last)
        unnamed = query.ids is not None and image.id not in query.ids
        outside = query.area is not None and not image.footprint.intersects(query.area)
        if not (late or unnamed or outside):
            yield image


def _boxes(query: Query) -> list[tuple[float, float, float, float]]:
    """Boxes (west, south, east, north) around the area that is asked for."""
    if query.area is None:
        return [(-180, -90, 180, 90)]
    return [part.bounds for part in shapely.get_parts(query.area)]


def _of_day(day: dt.date, query: Query, published: Published) -> Iterator[Image]:
    now = dt.datetime.now(dt.UTC)
    boxes = _boxes(query)
    for view in orbit.passes(day):
        if published(view) > now:
            continue
        for row in _rows(view, boxes):
            image = Image(view, row)
            if query.area is not None and not image.footprint.intersects(query.area):
                continue
            begin = image.times[0]
            if (query.first and begin < query.first) or (query.last and begin > query.last):
                continue
            for name in VERSIONS:
                version = replace(image, version=name)
                if query.ids is None or version.id in query.ids:
                    yield version


def _rows(view: orbit.Pass, boxes: Iterable[tuple[float, float, float, float]]) -> list[int]:
    """The slices of a pass that may touch one of the boxes (west, south, east, north)."""
    found = set()
    for west, south, east, north in boxes:
        low = max(0, math.floor((south - orbit.SOUTH_LIMIT) / orbit.SLICE) - 1)
        for row in range(low, len(_reaches(view.orbit))):
            if orbit.SOUTH_LIMIT + row * orbit.SLICE > north:
                break
            least, most = (view.node + lon for lon in _reaches(view.orbit)[row])
            turns = math.ceil((west - most) / 360.0)
            if least + 360.0 * turns <= east:
                found.add(row)
    return sorted(found)


@functools.cache
def _reaches(state: str) -> list[tuple[float, float]]:
    """The least and the greatest longitude east of the node, by slice."""
    view = orbit.Pass(state, 1, 0.0, dt.datetime.min, "")
    starts = [
        orbit.SOUTH_LIMIT + row * orbit.SLICE
        for row in range(round((orbit.NORTH_LIMIT - orbit.SOUTH_LIMIT) / orbit.SLICE))
    ]
    rings = [view.outline(south, south + orbit.SLICE)[:, 0] for south in starts]
    return [(float(ring.min()), float(ring.max())) for ring in rings]


# --- what is answered --------------------------------------------------------------------


def _page(query: Query, shelf: Shelf, url: str, body: Json | None = None) -> Response:
    """Up to ``limit`` items, and a link to the next page if there is one."""
    found = list(itertools.islice(_images(query, shelf.published), query.limit + 1))
    shown = [image for _, _, image in found[: query.limit]]
    links = [_link("root", "/"), {"rel": "self", "href": request.url, "type": GEOJSON}]
    if len(found) > query.limit:
        day, number, _ = found[-1]
        links.append(_next(url, f"{day}.{number}", body))
    features = [_shown(image, query, shelf) for image in shown]
    answer = {"type": "FeatureCollection", "features": features, "links": links}
    return _geojson({**answer, "numberReturned": len(features)})


def _shown(image: Found, query: Query, shelf: Shelf) -> Json:
    """An item with the fields that were asked for, and with the faults that are on."""
    wanted, unwanted = query.fields
    if (wanted or unwanted) and shelf.faults.fire(("fields-lost",)):
        wanted = frozenset({"id", "geometry", "properties.datetime"})
    return shelf.faults.item(_chosen(_item(image, shelf), wanted, unwanted))


def _next(url: str, token: str, body: Json | None) -> Json:
    if body is not None:
        more = {"method": "POST", "merge": True, "body": {"token": token}}
        return {"rel": "next", "href": url, "type": GEOJSON, **more}
    arguments = urlencode({**request.args, "token": token})
    return {"rel": "next", "href": f"{url}?{arguments}", "type": GEOJSON}


def _chosen(item: Json, wanted: frozenset[str], unwanted: frozenset[str]) -> Json:
    """The item with the fields that were asked for (``properties.datetime`` is one)."""
    if not wanted and not unwanted:
        return item
    shown: Json = {}
    for name, value in item.items():
        if name != "properties":
            if (not wanted or name in wanted or name == "id") and name not in unwanted:
                shown[name] = value
            continue
        inner = {
            key: v
            for key, v in value.items()
            if (not wanted or {"properties", f"properties.{key}"} & wanted)
            and not {"properties", f"properties.{key}"} & unwanted
        }
        if inner:
            shown["properties"] = inner
    return shown


def _item(image: Found, shelf: Shelf) -> Json:
    if isinstance(image, Image):
        name, extensions = COLLECTION_ID, EXTENSIONS
        properties, assets = _radar(image, shelf)
    else:
        name = shelves.SENTINEL2 if isinstance(image, shelves.Scene) else shelves.ELEVATION
        extensions = [f"{EXTENSION_ROOT}/{each}/schema.json" for each in shelves.EXTENSIONS[name]]
        properties, assets = image.about(shelf.published)
    item = f"/collections/{name}/items/{image.id}"
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": extensions,
        "id": image.id,
        "collection": name,
        "geometry": shapely.geometry.mapping(image.footprint),
        "bbox": _bbox(image.footprint),
        "properties": properties,
        "assets": assets,
        "links": [
            _link("self", item, GEOJSON),
            _link("collection", f"/collections/{name}"),
            _link("parent", f"/collections/{name}"),
            _link("root", "/"),
        ],
    }


def _radar(image: Image, shelf: Shelf) -> tuple[Json, Json]:
    """Properties and assets of an image of Sentinel-1."""
    view, (begin, end), kind = image.view, image.times, shelf.about(image.id)
    satellite = kind.satellite or view.platform
    created = shelves.iso(shelf.published(view))
    properties = {
        "title": f"{image.id} (synthetic)",
        "description": SYNTHETIC,
        "synthetic": True,
        "datetime": shelves.iso(begin),
        "start_datetime": shelves.iso(begin),
        "end_datetime": shelves.iso(end),
        "created": created,
        "updated": created,
        "platform": f"synthetic-1{satellite.lower()}",
        "constellation": "synthetic",
        "instruments": ["c-sar"],
        "sat:orbit_state": view.orbit.lower(),
        "sat:relative_orbit": view.relative_orbit,
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:polarizations": list(kind.polarisations),
        "sar:product_type": "GRD",
        "product:type": TYPES[satellite],
    }
    return properties, {}


def _bbox(footprint: BaseGeometry) -> list[float]:
    """West, south, east, north; west is the greater one across 180 degrees (RFC 7946, 5.2)."""
    west, south, east, north = footprint.bounds
    if footprint.geom_type == "MultiPolygon":
        parts = [part.bounds for part in shapely.get_parts(footprint)]
        west = min(part[0] for part in parts if part[0] > 0)
        east = max(part[2] for part in parts if part[2] < 0)
    return [west, south, east, north]


def _landing() -> Json:
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "openeo-sandbox",
        "title": TITLE,
        "description": f"What the jobs of this sandbox are made of. **{MADE_UP}**",
        "conformsTo": list(CONFORMANCE),
        "links": [
            _link("self", "/"),
            _link("root", "/"),
            _link("conformance", "/conformance"),
            _link("service-desc", "/api", "application/vnd.oai.openapi+json;version=3.0"),
            _link("data", "/collections"),
            *(_link("child", f"/collections/{name}") for name in COLLECTIONS),
            {**_link("search", "/search", GEOJSON), "method": "GET"},
            {**_link("search", "/search", GEOJSON), "method": "POST"},
        ],
    }


def _collection(name: str) -> Json:
    url, known = f"/collections/{name}", COLLECTIONS[name]
    first, last = known.first_day, known.last_day
    south, north = known.latitudes
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": name,
        "title": f"{known.title}, synthetic",
        "description": f"**{known.synthetic}** What the openEO collection {known.used_by} is "
        "made of.",
        "keywords": ["synthetic", *known.keywords],
        "license": "MIT",
        "extent": {
            "spatial": {"bbox": [[-180.0, south, 180.0, north]]},
            "temporal": {"interval": [[f"{first}T00:00:00Z", last and f"{last}T00:00:00Z"]]},
        },
        "links": [
            _link("self", url), _link("root", "/"), _link("parent", "/"),
            _link("items", f"{url}/items", GEOJSON),
        ],
    }  # fmt: skip


def _openapi() -> Json:
    """The addresses there are, in a word each."""
    answer = {"responses": {"200": {"description": "as the STAC API specification has it"}}}
    item = {"name": "item", "in": "path", "required": True, "schema": {"type": "string"}}
    of = {**item, "name": "collection"}
    paths: Json = {p: {"get": answer} for p in ("/", "/conformance", "/collections", "/search")}
    paths["/search"] = {"get": answer, "post": answer}
    paths["/collections/{collection}"] = {"parameters": [of], "get": answer}
    paths["/collections/{collection}/items"] = {"parameters": [of], "get": answer}
    paths["/collections/{collection}/items/{item}"] = {"parameters": [of, item], "get": answer}
    info = {"title": TITLE, "version": "1.0.0", "description": MADE_UP}
    return {"openapi": "3.0.3", "info": info, "servers": [{"url": _root()}], "paths": paths}


def _link(rel: str, path: str, kind: str = "application/json") -> Json:
    return {"rel": rel, "href": f"{_root()}{path}", "type": kind}


def _geojson(document: Json) -> Response:
    answer = jsonify(document)
    answer.mimetype = GEOJSON
    return answer


def _require_collection(identifier: str) -> None:
    if identifier not in COLLECTIONS:
        _refuse(f"There is no collection {identifier}.", 404)


def _refuse(reason: str, status: int = 400) -> NoReturn:
    raise Refused(reason, status)


def _explain(error: Refused) -> tuple[Response, int]:
    code = "NotFound" if error.status == 404 else "BadRequest"
    return jsonify(code=code, description=str(error)), error.status


def _root() -> str:
    return f"{request.host_url.rstrip('/')}{ROOT}"
