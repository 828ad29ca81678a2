"""The collections on offer: what an order may ask of each, and the documents about it.

`SENTINEL2_L2A` is described as the Copernicus back end describes its own, in ``eo:bands`` with
scale, offset, type and unit, a resolution for each band, and dimensions in "AUTO 42001", the
UTM zone that suits the box.  `COPERNICUS_30` is the plain one: it really exists there under
this id, with one band, in degrees (see `terrain`).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox import angles, catalogue, granules, mosaic, optical, orbit, terrain

Json = dict[str, Any]
METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class Offer:
    """A collection, as far as orders are concerned."""

    id: str
    bands: tuple[str, ...]
    first_day: dt.date
    filters: dict[str, str]  # properties: as they may be written, and by STAC
    pixel: Callable[[tuple[str, ...]], float]  # m, of an order of some of the bands
    document: Callable[[str, bool], Json]  # by the API's address, in full or for the list
    queryables: Callable[[str], Json]


def _sentinel2(root: str, full: bool) -> Json:
    start = f"{catalogue.FIRST_DAY.isoformat()}T00:00:00Z"
    south, north = granules.MISSION.limits
    document = _document(
        root,
        catalogue.SENTINEL2,
        "Sentinel-2 L2A, synthetic",
        "**Synthetic.** Surface reflectance as Sentinel-2 would show it, computed from a formula "
        "of place, day and overpass on a true land mask, with clouds. Nothing in it was measured. "
        "Values are whole numbers, reflectance x 10000 with the offset already taken off. All "
        "products of a day are merged into one time step.",
        ["synthetic", "MSI", "Sentinel-2", "reflectance"],
        [-180.0, south, 180.0, north],
        [start, None],
    )
    if full:
        zones = {
            "$schema": "https://proj.org/schemas/v0.2/projjson.schema.json",
            "type": "GeodeticCRS",
            "name": "AUTO 42001 (Universal Transverse Mercator)",
            "id": {"authority": "OGC", "version": "1.3", "code": "Auto42001"},
        }
        document["cube:dimensions"] = {
            "x": {"type": "spatial", "axis": "x", "extent": [-180, 180], "step": 10,
                  "reference_system": zones},
            "y": {"type": "spatial", "axis": "y", "extent": [south, north], "step": 10,
                  "reference_system": zones},
            "t": {"type": "temporal", "extent": [start, None], "step": "P1D"},
            "bands": {"type": "bands", "values": list(mosaic.OFFERED)},
        }  # fmt: skip
        document["summaries"] = {
            "constellation": ["sentinel-2"],
            "platform": ["synthetic-2a", "synthetic-2b"],
            "instruments": ["msi"],
            "gsd": sorted(set(mosaic.OFFERED.values())),
            "eo:bands": [_band(name) for name in mosaic.OFFERED],
        }
    return document


def _band(name: str) -> Json:
    size = mosaic.OFFERED[name]
    gsd: Json = {"gsd": size, "openeo:gsd": {"value": [size, size], "unit": "m"}}
    if name == optical.CLASSES:
        return {"name": name, "description": "Scene classification", "type": "uint8",
                "nodata": optical.NO_DATA, **gsd}  # fmt: skip
    if name in angles.NAMES:
        return {"name": name, "type": "float32", "unit": "deg", **gsd}
    if name in optical.DERIVED:
        title, number = optical.DERIVED[name]
        return {"name": name, "description": title, "scale": 1 / number, "offset": 0,
                "type": "int16", **gsd}  # fmt: skip
    about = optical.BANDS[name]
    return {
        "name": name, "common_name": about.common_name, "center_wavelength": about.wavelength,
        "scale": 0.0001, "offset": 0, "type": "int16", "unit": "1", **gsd,
    }  # fmt: skip


def _sentinel2_queryables(root: str) -> Json:
    properties = {
        "eo:cloud_cover": {"title": "Cloud cover", "type": "number", "minimum": 0, "maximum": 100},
        "sat:relative_orbit": {"title": "Relative orbit", "type": "integer"},
        "sat:orbit_state": {"title": "Orbit state", "type": "string", "enum": ["descending"]},
        "grid:code": {"title": "Tile", "type": "string", "pattern": "^MGRS-[0-9A-Z]{5}$"},
        "platform": {"title": "Satellite", "type": "string"},
        "product:type": {"title": "Type", "type": "string", "enum": ["S2MSI2A"]},
    }
    return _schema(root, catalogue.SENTINEL2, properties)


def _elevation(root: str, full: bool) -> Json:
    extent: list[str | None] = [f"{terrain.FIRST_DAY}T00:00:00Z", f"{terrain.LAST_DAY}T00:00:00Z"]
    document = _document(
        root,
        catalogue.ELEVATION,
        "Elevation model of 1 arc second, synthetic",
        "**Synthetic.** Metres above the sea of the land of the other collections, with trees "
        "and houses, made up by a formula. Nothing in it was measured. Each file of a degree has "
        "a date of its own: reduce the time dimension.",
        ["synthetic", "DEM", "elevation"],
        [-180.0, -90.0, 180.0, 90.0],
        extent,
    )
    if full:
        step = 1 / terrain.SECONDS
        document["cube:dimensions"] = {
            "x": {"type": "spatial", "axis": "x", "extent": [-180, 180], "step": step,
                  "reference_system": catalogue.DEGREES},
            "y": {"type": "spatial", "axis": "y", "extent": [-90, 90], "step": step,
                  "reference_system": catalogue.DEGREES},
            "t": {"type": "temporal", "extent": extent, "step": None},
            "bands": {"type": "bands", "values": [terrain.BAND]},
        }  # fmt: skip
        document["summaries"] = {
            "gsd": [30],
            "eo:bands": [
                {
                    "name": terrain.BAND, "description": "Height of the surface",
                    "type": "float32", "unit": "m", "gsd": 30,
                    "openeo:gsd": {"value": [step, step], "unit": "°"},
                }
            ],
        }  # fmt: skip
    return document


def _document(
    root: str,
    identifier: str,
    title: str,
    description: str,
    keywords: list[str],
    box: list[float],
    interval: list[str | None],
) -> Json:
    """What the documents of all collections have."""
    own = f"{root}/collections/{identifier}"
    return {
        "stac_version": catalogue.STAC_VERSION,
        "stac_extensions": [
            "https://stac-extensions.github.io/datacube/v2.2.0/schema.json",
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
        ],
        "type": "Collection",
        "id": identifier,
        "title": title,
        "description": description,
        "keywords": keywords,
        "license": "MIT",
        "providers": [{"name": "openEO sandbox", "roles": ["producer", "host"]}],
        "extent": {"spatial": {"bbox": [box]}, "temporal": {"interval": [interval]}},
        "links": [
            {"rel": "root", "href": f"{root}/", "type": "application/json"},
            {"rel": "parent", "href": f"{root}/", "type": "application/json"},
            {"rel": "self", "href": own, "type": "application/json"},
            {
                "rel": "http://www.opengis.net/def/rel/ogc/1.0/queryables",
                "href": f"{own}/queryables",
                "type": "application/schema+json",
            },
        ],
    }


def _schema(root: str, identifier: str, properties: Json) -> Json:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{root}/collections/{identifier}/queryables",
        "type": "object",
        "title": f"Queryables of {identifier}",
        "properties": properties,
        "additionalProperties": False,
    }


OFFERS = {
    offer.id: offer
    for offer in (
        Offer(
            catalogue.COLLECTION_ID,
            catalogue.BANDS,
            orbit.FIRST_DAY,
            catalogue.FILTERS,
            lambda _: 10.0,
            lambda root, full: catalogue.radar(root, full=full),
            catalogue.radar_queryables,
        ),
        Offer(
            catalogue.SENTINEL2,
            tuple(mosaic.OFFERED),
            orbit.FIRST_DAY,
            {
                "tileId": "grid:code",
                "productType": "product:type",
                **{
                    name: name
                    for name in (
                        "eo:cloud_cover", "sat:relative_orbit", "sat:orbit_state", "grid:code",
                        "platform", "product:type",
                    )
                },
            },
            lambda bands: float(mosaic.pixel(bands)),
            _sentinel2,
            _sentinel2_queryables,
        ),
        Offer(
            catalogue.ELEVATION,
            (terrain.BAND,),
            terrain.FIRST_DAY,
            {},
            lambda _: METRES_PER_DEGREE / terrain.SECONDS / math.sqrt(2),  # at 45 degrees
            _elevation,
            lambda root: _schema(root, catalogue.ELEVATION, {}),
        ),
    )
}  # fmt: skip
