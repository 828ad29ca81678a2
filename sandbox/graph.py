"""Reads the process graph that was sent, as far as this back end can execute it.

A graph is evaluated from its result node backwards.  Every node becomes a `Cube`: what
is to be loaded and what is done to it.  The whole comes out as an `Order`, which
`raster.py` executes.  What is not known, be it a process, an argument or a value, is
refused with the error that the API has for it; nothing is guessed or left out.

On the Copernicus back end some of these refusals come only when the job runs.  Here they
come when the job is created or validated, which says the same thing earlier.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sandbox import catalogue, orbit
from sandbox.errors import ApiError
from sandbox.offers import OFFERS, Offer

MAX_PIXELS = 400_000_000  # per band and time step; a 1 x 0.5 degree tile has 41 million
METRES_PER_DEGREE = 111_320.0

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Condition:
    """What a property of a product must be like."""

    name: str  # by STAC
    comparison: str  # one of catalogue.COMPARISONS
    value: object

    def holds(self, properties: Mapping[str, Any]) -> bool:
        """Whether a product is wanted; one without the property is not."""
        if self.name not in properties:
            return False
        try:
            return bool(_COMPARE[self.comparison](properties[self.name], self.value))
        except TypeError:  # a text and a number
            return False


_COMPARE: dict[str, Callable[[Any, Any], object]] = {
    "eq": operator.eq, "lte": operator.le, "lt": operator.lt,
    "gte": operator.ge, "gt": operator.gt,
}  # fmt: skip


@dataclass(frozen=True)
class Cube:
    """What a node of the graph stands for: a selection of the collection, reduced or not."""

    bbox: tuple[float, float, float, float]  # west, south, east, north in degrees
    start: dt.datetime  # included
    end: dt.datetime  # not included
    bands: tuple[str, ...]
    orbit: str | None = None  # "ASCENDING" or "DESCENDING"
    reducer: str | None = None  # over t; None keeps the time dimension
    elevation_model: str | None = None  # in capitals; None is SRTM, as on the Copernicus back end
    polarisations: tuple[str, ...] | None = None  # of the products, exactly; None: of any
    collection: str = catalogue.COLLECTION_ID
    conditions: tuple[Condition, ...] = ()  # on the products of other collections


@dataclass(frozen=True)
class Order:
    """A cube and the format to save it in: what a job does."""

    cube: Cube
    format: str


def read(process: object) -> Order:
    """The order that a process spells (``{"process_graph": {...}}``).

    Raises ApiError with the API's code for anything that cannot be executed.
    """
    if not isinstance(process, dict) or not isinstance(process.get("process_graph"), dict):
        raise ApiError("ProcessGraphMissing")
    nodes: dict[str, Any] = process["process_graph"]
    if not nodes:
        raise ApiError("ProcessGraphInvalid", reason="It has no nodes.")
    for name, node in nodes.items():
        _check_node(name, node)
    result = _Evaluation(nodes).value(_result_node(nodes))
    if not isinstance(result, Order):
        raise ApiError("ProcessGraphInvalid", reason="Its result is not saved: use save_result.")
    return result


def _check_node(name: str, node: object) -> None:
    """Structure, process and argument names of one node, whether or not it is used."""
    if not isinstance(node, dict) or not isinstance(node.get("process_id"), str):
        raise ApiError("ProcessGraphInvalid", reason=f"Node '{name}' has no process_id.")
    process = node["process_id"]
    if not isinstance(node.get("arguments", {}), dict):
        raise ApiError("ProcessGraphInvalid", reason=f"Arguments of '{name}' are no object.")
    namespace = node.get("namespace") or "backend"
    if process not in _PROCESSES or namespace != "backend":
        raise ApiError("ProcessUnsupported", process=process, namespace=namespace)
    parameters = {p["name"]: p for p in catalogue.process(process)["parameters"]}
    arguments = node.get("arguments", {})
    for argument in arguments:
        if argument not in parameters:
            raise ApiError("ProcessParameterUnsupported", process=process, parameter=argument)
    for parameter, description in parameters.items():
        if not description.get("optional") and parameter not in arguments:
            raise ApiError("ProcessParameterRequired", process=process, parameter=parameter)


def _result_node(nodes: Mapping[str, Any]) -> str:
    results = [name for name, node in nodes.items() if node.get("result") is True]
    if len(results) != 1:
        raise ApiError(
            "ProcessGraphInvalid", reason=f"It has {len(results)} result nodes instead of one."
        )
    return results[0]


class _Evaluation:
    """Values of the nodes of one graph, each computed once."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self._nodes = nodes
        self._values: dict[str, Any] = {}
        self._pending: set[str] = set()

    def value(self, name: object) -> Any:
        if not isinstance(name, str) or name not in self._nodes:
            raise ApiError("ProcessGraphInvalid", reason=f"There is no node '{name}'.")
        if name in self._pending:
            raise ApiError("ProcessGraphInvalid", reason=f"Node '{name}' depends on itself.")
        if name not in self._values:
            self._pending.add(name)
            node = self._nodes[name]
            arguments = {k: self._resolve(v) for k, v in node.get("arguments", {}).items()}
            self._values[name] = _PROCESSES[node["process_id"]](arguments)
            self._pending.discard(name)
        return self._values[name]

    def _resolve(self, argument: object) -> Any:
        if isinstance(argument, dict) and "from_node" in argument:
            return self.value(argument["from_node"])
        if isinstance(argument, dict) and "from_parameter" in argument:
            raise ApiError(
                "ProcessGraphInvalid",
                reason=f"Parameter '{argument['from_parameter']}' has no value.",
            )
        return argument


def _load_collection(arguments: Arguments) -> Cube:
    name, collection = "load_collection", str(arguments["id"])
    offer = OFFERS.get(collection)
    if offer is None:
        raise ApiError("CollectionNotFound", identifier=collection)
    start, end = _interval(arguments["temporal_extent"], name, "temporal_extent", offer.first_day)
    asked = arguments.get("bands")
    bands = offer.bands if asked is None else _bands(asked, offer.bands, name)
    box = _box(arguments["spatial_extent"], name, "spatial_extent", offer.pixel(bands))
    conditions = _conditions(arguments.get("properties"), offer)
    if collection != catalogue.COLLECTION_ID:
        wanted = tuple(Condition(*each) for each in conditions)
        return Cube(box, start, end, bands, collection=collection, conditions=wanted)
    equal = {}
    for key, comparison, value in conditions:
        if comparison != "eq":
            raise ApiError("ProcessUnsupported", process=comparison, namespace="backend")
        equal[key] = value
    return Cube(
        box,
        start,
        end,
        bands,
        _orbit(equal.get("sat:orbit_state")),
        polarisations=_polarisations(equal.get("sar:polarizations")),
    )


def _sar_backscatter(arguments: Arguments) -> Cube:
    name = "sar_backscatter"
    cube = _cube(arguments["data"], name)
    if cube.collection != catalogue.COLLECTION_ID:
        reason = f'Process "{name}" is not applicable for collection {cube.collection}.'
        raise _invalid(name, "data", reason)
    coefficient = arguments.get("coefficient", "gamma0-terrain")
    if coefficient != "sigma0-ellipsoid":
        raise _invalid(
            name,
            "coefficient",
            f"{coefficient!r} is not supported, only 'sigma0-ellipsoid' is.",
        )
    model = arguments.get("elevation_model")
    if model is not None and str(model).upper() not in catalogue.ELEVATION_MODELS:
        raise _invalid(name, "elevation_model", f"Unsupported elevation model {model!r}.")
    for extra in (
        "mask",
        "contributing_area",
        "local_incidence_angle",
        "ellipsoid_incidence_angle",
    ):
        if arguments.get(extra, False) is not False:
            raise _invalid(name, extra, "this additional band is not supported.")
    if arguments.get("noise_removal", True) is not True:
        raise _invalid(name, "noise_removal", "thermal noise is always removed.")
    if arguments.get("options"):
        raise _invalid(name, "options", "there are no options here.")
    if cube.reducer is not None:
        raise _invalid(name, "data", "the cube has no time dimension any more.")
    return replace(cube, elevation_model=model and str(model).upper())


def _reduce_dimension(arguments: Arguments) -> Cube:
    name = "reduce_dimension"
    cube = _cube(arguments["data"], name)
    if arguments["dimension"] != "t" or cube.reducer is not None:
        raise _invalid(name, "dimension", f"cannot reduce over {arguments['dimension']!r}.")
    if arguments.get("context") is not None:
        raise _invalid(name, "context", "a context is not supported.")
    return replace(cube, reducer=_reducer(arguments["reducer"]))


def _filter_temporal(arguments: Arguments) -> Cube:
    name = "filter_temporal"
    cube = _cube(arguments["data"], name)
    if arguments.get("dimension", "t") not in (None, "t") or cube.reducer is not None:
        raise _invalid(name, "dimension", "the cube has no such time dimension.")
    first = OFFERS[cube.collection].first_day
    start, end = _interval(arguments["extent"], name, "extent", first)
    return replace(cube, start=max(start, cube.start), end=min(end, cube.end))


def _filter_bands(arguments: Arguments) -> Cube:
    name = "filter_bands"
    cube = _cube(arguments["data"], name)
    if arguments.get("wavelengths"):
        raise _invalid(name, "wavelengths", "bands are chosen by name.")
    return replace(cube, bands=_bands(arguments.get("bands"), cube.bands, name))


def _filter_bbox(arguments: Arguments) -> Cube:
    name = "filter_bbox"
    cube = _cube(arguments["data"], name)
    pixel = OFFERS[cube.collection].pixel(cube.bands)
    west, south, east, north = _box(arguments["extent"], name, "extent", pixel)
    w, s, e, n = cube.bbox
    box = max(w, west), max(s, south), min(e, east), min(n, north)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise _invalid(name, "extent", "it lies outside the cube.")
    return replace(cube, bbox=box)


def _save_result(arguments: Arguments) -> Order:
    cube = _cube(arguments["data"], "save_result")
    chosen = str(arguments["format"])
    if chosen.lower() != catalogue.FORMAT.lower():
        raise ApiError("FormatUnsupported")
    if arguments.get("options"):
        raise _invalid("save_result", "options", f"{catalogue.FORMAT} has no options here.")
    return Order(cube, catalogue.FORMAT)


_PROCESSES: dict[str, Callable[[Arguments], Cube | Order]] = {
    "load_collection": _load_collection,
    "sar_backscatter": _sar_backscatter,
    "reduce_dimension": _reduce_dimension,
    "filter_temporal": _filter_temporal,
    "filter_bands": _filter_bands,
    "filter_bbox": _filter_bbox,
    "save_result": _save_result,
}


def _cube(value: object, process: str) -> Cube:
    if not isinstance(value, Cube):
        raise _invalid(process, "data", "it is no data cube.")
    return value


def _box(
    value: object, process: str, parameter: str, pixel: float
) -> tuple[float, float, float, float]:
    """A bounding box object in degrees, checked; ``pixel`` is the edge of its pixels, m."""
    edges = ("west", "south", "east", "north")
    if not isinstance(value, dict) or not set(edges) <= set(value):
        raise _invalid(
            process, parameter, "a bounding box with west, south, east, north is needed."
        )
    if unknown := set(value) - {*edges, "crs"}:
        raise _invalid(process, parameter, f"{sorted(unknown)[0]!r} is not supported.")
    if value.get("crs", 4326) not in (None, 4326, "EPSG:4326", "4326"):
        raise _invalid(
            process, parameter, f"crs {value['crs']!r} is not supported, only EPSG:4326."
        )
    numbers = [value[edge] for edge in edges]
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise _invalid(process, parameter, "its edges must be numbers of degrees.")
    west, south, east, north = (float(n) for n in numbers)
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise _invalid(process, parameter, "west < east and south < north must hold, in degrees.")
    height = (north - south) * METRES_PER_DEGREE
    widest = math.cos(math.radians(0 if south <= 0 <= north else min(abs(south), abs(north))))
    pixels = round(height * (east - west) * METRES_PER_DEGREE * widest / pixel**2)
    if pixels > MAX_PIXELS:
        raise ApiError("ExtentTooLarge", pixels=pixels, limit=MAX_PIXELS)
    return west, south, east, north


def _interval(
    value: object, process: str, parameter: str, first: dt.date
) -> tuple[dt.datetime, dt.datetime]:
    """Both ends of a left-closed interval; null stands for the collection's own ends."""
    if not isinstance(value, list | tuple) or len(value) != 2 or value == [None, None]:
        raise _invalid(process, parameter, "an array with start and end is needed.")
    ends = [_moment(end, process, parameter) for end in value]
    start = ends[0] or dt.datetime.combine(first, dt.time(), dt.UTC)
    end = ends[1] or dt.datetime.now(dt.UTC)
    if start >= end:
        raise _invalid(
            process, parameter, "the end must be after the start, since the end is not included."
        )
    return start, end


def _moment(value: object, process: str, parameter: str) -> dt.datetime | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise _invalid(process, parameter, f"{value!r} is no date.") from None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _bands(value: object, available: tuple[str, ...], process: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or len(set(map(str, value))) != len(value):
        raise _invalid(process, "bands", "a list of different band names is needed.")
    for band in value:
        if band not in available:
            # In the words of the Copernicus back end, which gets them from the openEO client.
            reason = f"Invalid band name/index {band!r}. Valid names: {list(available)!r}"
            raise _invalid(process, "bands", reason)
    return tuple(value)


def _conditions(properties: object, offer: Offer) -> list[tuple[str, str, object]]:
    """The properties, by their STAC names, how they are compared, and with what."""
    name, found = "load_collection", []
    if not isinstance(properties, dict | None):
        raise _invalid(name, "properties", "it is no object.")
    for key, condition in (properties or {}).items():
        if key not in offer.filters:
            known = ", ".join(repr(each) for each in offer.filters) or "nothing"
            raise _invalid(name, "properties", f"only {known} can be filtered on.")
        comparison, value = _comparison(_only_node(condition, name, "properties"))
        if key == "tileId":  # the old name of the tile, which the catalogue has with a prefix
            value = f"MGRS-{value}"
        found.append((offer.filters[key], comparison, value))
    return found


def _comparison(node: Mapping[str, Any]) -> tuple[str, object]:
    """How a condition compares its value, and with what."""
    process = node["process_id"]
    if process not in catalogue.COMPARISONS:
        raise ApiError("ProcessUnsupported", process=process, namespace="backend")
    arguments = dict(node["arguments"])
    sides = [arguments.pop("x", None), arguments.pop("y", None)]
    if arguments:
        raise ApiError(
            "ProcessParameterUnsupported", process=process, parameter=next(iter(arguments))
        )
    if sides[1] == {"from_parameter": "value"} and process != "eq":
        process = {"lte": "gte", "lt": "gt", "gte": "lte", "gt": "lt"}[process]
    if {"from_parameter": "value"} in sides:
        sides.remove({"from_parameter": "value"})
    if len(sides) != 1:
        raise _invalid("load_collection", "properties", "a value is compared with one other.")
    return process, sides[0]


def _orbit(value: object) -> str | None:
    """One of the orbits, in whatever case it is written."""
    if value is not None and str(value).upper() not in orbit.STATES:
        reason = f"sat:orbit_state is one of {list(orbit.STATES)}."
        raise _invalid("load_collection", "properties", reason)
    return None if value is None else str(value).upper()


def _polarisations(value: object) -> tuple[str, ...] | None:
    """Those that a product must have: a list, or as "VV&VH"."""
    parts = value.split("&") if isinstance(value, str) else value
    if parts is not None and not isinstance(parts, list):
        raise _invalid("load_collection", "properties", "polarisations are written VV&VH.")
    return None if parts is None else tuple(map(str, parts))


def _reducer(value: object) -> str:
    """The name of the one process that a reducer applies to its data."""
    node = _only_node(value, "reduce_dimension", "reducer")
    process, arguments = node["process_id"], dict(node["arguments"])
    if process not in catalogue.REDUCERS:
        raise ApiError("ProcessUnsupported", process=process, namespace="backend")
    if arguments.pop("data", None) != {"from_parameter": "data"}:
        raise _invalid(process, "data", "a reducer works on its parameter 'data'.")
    if arguments.pop("ignore_nodata", True) is not True:
        raise _invalid(process, "ignore_nodata", "pixels without data are always ignored.")
    if arguments:
        raise ApiError(
            "ProcessParameterUnsupported", process=process, parameter=next(iter(arguments))
        )
    return str(process)


def _only_node(value: object, process: str, parameter: str) -> dict[str, Any]:
    """The single node of a child process graph, with its arguments."""
    graph = value.get("process_graph") if isinstance(value, dict) else None
    if not isinstance(graph, dict) or len(graph) != 1:
        raise _invalid(process, parameter, "a process graph of a single node is needed.")
    node = next(iter(graph.values()))
    if not isinstance(node, dict) or not isinstance(node.get("process_id"), str):
        raise _invalid(process, parameter, "its node has no process_id.")
    if not isinstance(node.get("arguments"), dict) or node.get("result") is not True:
        raise _invalid(process, parameter, "its node must be the result and have arguments.")
    return node


def _invalid(process: str, parameter: str, reason: str) -> ApiError:
    return ApiError("ProcessParameterInvalid", process=process, parameter=parameter, reason=reason)
