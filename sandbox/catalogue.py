"""The documents that describe what is on offer: collection, processes, formats, capabilities."""

from __future__ import annotations

from typing import Any

from sandbox import orbit

API_VERSION = "1.2.0"
STAC_VERSION = "1.0.0"
TITLE = "openEO sandbox (synthetic Sentinel-1 and Sentinel-2)"
DESCRIPTION = (
    "A back end on this computer, for a first run, for tests and for working offline. "
    "Its images are **synthetic**: made up by a formula, not measured."
)
COLLECTION_ID = "SENTINEL1_GRD"
BANDS = ("VV", "VH")
SENTINEL2 = "SENTINEL2_L2A"
ELEVATION = "COPERNICUS_30"
DEGREES = 4326  # EPSG code of what is not in UTM
ELEVATION_MODELS = ("SRTMGL1", "GEOTIFF", "MAPZEN", "COPERNICUS_30", "OFF")
FILTERS: dict[
    str, str
] = {  # properties that can be filtered on: as they may be written, and by STAC
    "sat:orbit_state": "sat:orbit_state",
    "orbitDirection": "sat:orbit_state",
    "polarisation": "sar:polarizations",
    "polarization": "sar:polarizations",
    "sar:polarizations": "sar:polarizations",
}
FORMAT = "netCDF"
MEDIA_TYPE = "application/x-netcdf"
FIRST_DAY = orbit.FIRST_DAY
COMPARISONS = {
    "eq": "two values are equal",
    "lte": "a value is at most another one",
    "lt": "a value is less than another one",
    "gte": "a value is at least another one",
    "gt": "a value is greater than another one",
}
REDUCERS = ("first", "last", "mean", "median", "min", "max")
COEFFICIENTS = (
    "beta0",
    "sigma0-ellipsoid",
    "sigma0-terrain",
    "gamma0-ellipsoid",
    "gamma0-terrain",
    None,
)
PLAN = "free"
CURRENCY = "credits"

Json = dict[str, Any]

ENDPOINTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/", ("GET",)),
    ("/conformance", ("GET",)),
    ("/file_formats", ("GET",)),
    ("/collections", ("GET",)),
    ("/collections/{collection_id}", ("GET",)),
    ("/collections/{collection_id}/queryables", ("GET",)),
    ("/processes", ("GET",)),
    ("/credentials/basic", ("GET",)),
    ("/credentials/oidc", ("GET",)),
    ("/me", ("GET",)),
    ("/validation", ("POST",)),
    ("/jobs", ("GET", "POST")),
    ("/jobs/{job_id}", ("GET", "PATCH", "DELETE")),
    ("/jobs/{job_id}/logs", ("GET",)),
    ("/jobs/{job_id}/results", ("GET", "POST", "DELETE")),
)

# Begins of the API's other addresses, of which there are none here.
UNSUPPORTED = (
    "/result",
    "/process_graphs",
    "/services",
    "/service_types",
    "/udf_runtimes",
    "/files",
)

CONFORMANCE = (
    "https://api.openeo.org/1.2.0",
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
)


def account_limits(base: str) -> Json:
    """What a back end may add to what it tells of a user (openEO API, GET /me)."""
    return {
        "budget": 1234.5,
        "storage": {"free": 2_600_000_000, "quota": 10_000_000_000},
        "links": [{"rel": "payment", "href": f"{base}/credits", "title": "Buy credits"}],
    }


def capabilities(root: str, base: str) -> Json:
    """The document at ``/``; ``root`` is the API's address, ``base`` the server's."""
    return {
        "api_version": API_VERSION,
        "backend_version": "0.1.0",
        "stac_version": STAC_VERSION,
        "type": "Catalog",
        "id": "openeo-sandbox",
        "title": TITLE,
        "description": DESCRIPTION,
        "production": False,
        "conformsTo": list(CONFORMANCE),
        "endpoints": [{"path": path, "methods": list(methods)} for path, methods in ENDPOINTS],
        "billing": {
            "currency": CURRENCY,
            "default_plan": PLAN,
            "plans": [
                {
                    "name": PLAN,
                    "description": "Two batch jobs at a time. Nothing is charged.",
                    "paid": False,
                }
            ],
        },
        "links": [
            {
                "rel": "version-history",
                "href": f"{base}/.well-known/openeo",
                "type": "application/json",
            },
            {"rel": "data", "href": f"{root}/collections", "type": "application/json"},
            {"rel": "conformance", "href": f"{root}/conformance", "type": "application/json"},
            {"rel": "self", "href": f"{root}/", "type": "application/json"},
        ],
    }


def file_formats() -> Json:
    """The document at ``/file_formats``."""
    return {
        "input": {},
        "output": {
            FORMAT: {
                "title": "Network Common Data Form",
                "description": "One netCDF-4 file, one variable per band.",
                "gis_data_types": ["raster"],
                "parameters": {},
            }
        },
        "links": [],
    }


def radar(root: str, *, full: bool) -> Json:
    """Sentinel-1's STAC document, or with ``full=False`` its entry in the list."""
    document: Json = {
        "stac_version": STAC_VERSION,
        "stac_extensions": [
            "https://stac-extensions.github.io/datacube/v2.2.0/schema.json",
            "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
        ],
        "type": "Collection",
        "id": COLLECTION_ID,
        "title": "Sentinel-1 GRD, synthetic",
        "description": (
            "**Synthetic.** Backscatter as Sentinel-1 IW GRD would show it, computed from a "
            "formula of place, day and orbit on a true land mask. Nothing in it was measured. "
            "All passes of a day are merged into one time step. Values are linear power."
        ),
        "keywords": ["synthetic", "SAR", "Sentinel-1"],
        "license": "MIT",
        "providers": [{"name": "openEO sandbox", "roles": ["producer", "host"]}],
        "extent": {
            "spatial": {"bbox": [[-180.0, orbit.SOUTH_LIMIT, 180.0, orbit.NORTH_LIMIT]]},
            "temporal": {"interval": [[f"{FIRST_DAY.isoformat()}T00:00:00Z", None]]},
        },
        "links": [
            {"rel": "root", "href": f"{root}/", "type": "application/json"},
            {"rel": "parent", "href": f"{root}/", "type": "application/json"},
            {
                "rel": "self",
                "href": f"{root}/collections/{COLLECTION_ID}",
                "type": "application/json",
            },
            {
                "rel": "http://www.opengis.net/def/rel/ogc/1.0/queryables",
                "href": f"{root}/collections/{COLLECTION_ID}/queryables",
                "type": "application/schema+json",
            },
        ],
    }
    if full:
        document["cube:dimensions"] = {
            "x": {"type": "spatial", "axis": "x", "extent": [-180, 180], "reference_system": 4326},
            "y": {
                "type": "spatial",
                "axis": "y",
                "extent": [orbit.SOUTH_LIMIT, orbit.NORTH_LIMIT],
                "reference_system": 4326,
            },
            "t": {
                "type": "temporal",
                "extent": [f"{FIRST_DAY.isoformat()}T00:00:00Z", None],
                "step": "P1D",
            },
            "bands": {"type": "bands", "values": list(BANDS)},
        }
        document["summaries"] = {
            "constellation": ["sentinel-1"],
            "platform": ["synthetic-1a", "synthetic-1b"],
            "instruments": ["c-sar"],
            "sar:instrument_mode": ["IW"],
            "sar:product_type": ["GRD"],
            "sar:frequency_band": ["C"],
            "sar:polarizations": list(BANDS),
            "sat:orbit_state": list(orbit.STATES),
            "gsd": [10],
        }
    return document


def radar_queryables(root: str) -> Json:
    """What Sentinel-1 can be filtered on, as a JSON Schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{root}/collections/{COLLECTION_ID}/queryables",
        "type": "object",
        "title": f"Queryables of {COLLECTION_ID}",
        "properties": {
            "sat:orbit_state": {
                "title": "Orbit state",
                "description": "Direction of the pass.",
                "type": "string",
                "enum": list(orbit.STATES),
            },
            "sar:polarizations": {
                "title": "Polarisations",
                "description": "All those that a product has, in its order.",
                "type": "array",
                "items": {"type": "string", "enum": list(BANDS)},
            },
            "polarisation": {
                "title": "Polarisations",
                "description": "The same in one word.",
                "type": "string",
                "enum": ["VV", "VV&VH"],
            },
        },
        "additionalProperties": False,
    }


def process(name: str) -> Json:
    """The description of one process."""
    return PROCESSES[name]


def processes() -> list[Json]:
    """The descriptions of all processes."""
    return list(PROCESSES.values())


_CUBE = {"type": "object", "subtype": "datacube"}
_BOX = {
    "title": "Bounding box",
    "type": "object",
    "subtype": "bounding-box",
    "required": ["west", "south", "east", "north"],
    "properties": {
        **{edge: {"type": "number"} for edge in ("west", "south", "east", "north")},
        "crs": {"type": "integer", "enum": [4326], "default": 4326},
    },
}
_INTERVAL = {
    "type": "array",
    "subtype": "temporal-interval",
    "minItems": 2,
    "maxItems": 2,
    "items": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
}
_BAND_NAMES = {"type": "array", "items": {"type": "string", "subtype": "band-name"}}


def _parameter(name: str, description: str, schema: object, **more: object) -> Json:
    optional = {"optional": True} if "default" in more else {}
    return {"name": name, "description": description, "schema": schema, **optional, **more}


def _process(name: str, summary: str, parameters: list[Json], returns: Json = _CUBE) -> Json:
    return {
        "id": name,
        "summary": summary,
        "description": summary,
        "categories": ["cubes"],
        "parameters": parameters,
        "returns": {"description": "The result.", "schema": returns},
        "links": [],
    }


_DATA = _parameter("data", "A data cube.", _CUBE)
_FLAG = {"type": "boolean"}

_LISTED = [
    _process(
        "load_collection",
        "Loads the part of a collection that lies in the extents.",
        [
            _parameter("id", "The collection.", {"type": "string", "subtype": "collection-id"}),
            _parameter("spatial_extent", "A bounding box in degrees.", _BOX),
            _parameter("temporal_extent", "Start (included) and end (not included).", _INTERVAL),
            _parameter("bands", "Only these bands.", [_BAND_NAMES, {"type": "null"}], default=None),
            _parameter(
                "properties",
                "Filters by metadata property; see the queryables of the collection.",
                [
                    {
                        "type": "object",
                        "subtype": "metadata-filter",
                        "additionalProperties": {
                            "type": "object",
                            "subtype": "process-graph",
                            "parameters": [_parameter("value", "The property's value.", {})],
                            "returns": {"schema": _FLAG},
                        },
                    },
                    {"type": "null"},
                ],
                default=None,
            ),
        ],
    ),
    _process(
        "sar_backscatter",
        "Computes backscatter. Here only sigma0-ellipsoid, which is also what a cube holds "
        "without this process.",
        [
            _DATA,
            _parameter(
                "coefficient",
                "The radiometric coefficient.",
                [
                    {"type": "string", "enum": [c for c in COEFFICIENTS if c]},
                    {"type": "null"},
                ],
                default="gamma0-terrain",
            ),
            _parameter(
                "elevation_model",
                "The elevation model; SRTM where none is named, which ends at 60 degrees north.",
                {"type": ["string", "null"]},
                default=None,
            ),
            _parameter("mask", "Adds a mask (not here).", _FLAG, default=False),
            _parameter("contributing_area", "Adds a band (not here).", _FLAG, default=False),
            _parameter("local_incidence_angle", "Adds a band (not here).", _FLAG, default=False),
            _parameter(
                "ellipsoid_incidence_angle", "Adds a band (not here).", _FLAG, default=False
            ),
            _parameter("noise_removal", "Removes thermal noise (always).", _FLAG, default=True),
            _parameter("options", "None here.", {"type": "object"}, default={}),
        ],
    ),
    _process(
        "reduce_dimension",
        "Reduces the time dimension with one of " + ", ".join(REDUCERS) + ".",
        [
            _DATA,
            _parameter(
                "reducer",
                "A process graph of a single reducer.",
                {
                    "type": "object",
                    "subtype": "process-graph",
                    "parameters": [
                        _parameter("data", "The values along the dimension.", {"type": "array"})
                    ],
                    "returns": {"schema": {}},
                },
            ),
            _parameter("dimension", "The dimension: t.", {"type": "string"}),
            _parameter("context", "None here.", {}, default=None),
        ],
    ),
    _process(
        "filter_temporal",
        "Limits the cube to an interval, whose end is not included.",
        [
            _DATA,
            _parameter("extent", "Start and end.", _INTERVAL),
            _parameter(
                "dimension", "The dimension: t.", {"type": ["string", "null"]}, default=None
            ),
        ],
    ),
    _process(
        "filter_bands",
        "Limits the cube to some of its bands.",
        [
            _DATA,
            _parameter("bands", "The bands.", _BAND_NAMES, default=[]),
            _parameter("wavelengths", "None here.", {"type": "array"}, default=[]),
        ],
    ),
    _process(
        "filter_bbox",
        "Limits the cube to a bounding box.",
        [_DATA, _parameter("extent", "The bounding box.", _BOX)],
    ),
    _process(
        "save_result",
        "Saves the cube as netCDF.",
        [
            _DATA,
            _parameter(
                "format", "The file format.", {"type": "string", "subtype": "output-format"}
            ),
            _parameter("options", "None here.", {"type": "object"}, default={}),
        ],
        {"type": "boolean"},
    ),
    *(
        _process(
            name,
            f"Whether {what}; for filters on properties.",
            [_parameter("x", "A value.", {}), _parameter("y", "A value.", {})],
            {"type": "boolean"},
        )
        for name, what in COMPARISONS.items()
    ),
    *(
        _process(
            name,
            f"The {name} of an array, without pixels that have no data; for reducers.",
            [
                _parameter("data", "An array.", {"type": "array"}),
                _parameter("ignore_nodata", "Always true.", _FLAG, default=True),
            ],
            {},
        )
        for name in REDUCERS
    ),
]
PROCESSES: dict[str, Json] = {p["id"]: p for p in _LISTED}
