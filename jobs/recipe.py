"""The order of a chunk: a process graph, and what tells it from another order.

The graph is written out here rather than built by the client's cubes: those ask the server
for descriptions with every chunk, and the graph is what the journal's digest stands for.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grid import Chunk
from shared.collection import BACKSCATTER, Collection

CLOUDS = "eo:cloud_cover"  # percent of an image, in the catalogue and as a filter
ALL_CLOUDS = 100.0
PAIRS = (("VV", "VH"), ("HH", "HV"))  # the bands of a product that has two
WIDEST = 100  # times a margin; nearer to a pole than 0.6 degrees there are no images

Json = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """What the order of a chunk is made from, besides the chunk."""

    collection: Collection
    bands: tuple[str, ...]
    margin: float  # degrees of latitude
    elevation_model: str
    max_cloud: float = ALL_CLOUDS  # percent of an image, where clouds are known

    def order(self, chunk: Chunk) -> Json:
        """The process graph."""
        return order(
            chunk, self.collection, self.bands, self.margin, self.elevation_model, self.max_cloud
        )


@functools.lru_cache(maxsize=4096)
def digests(chunk: Chunk, recipe: Recipe) -> tuple[str, str]:
    """Digests of the order for a chunk, and of the same order as older versions wrote it."""
    graph = recipe.order(chunk)
    return digest(graph), digest(of_before(graph))


def order(
    chunk: Chunk,
    collection: Collection,
    bands: Sequence[str],
    margin: float,
    elevation_model: str,
    max_cloud: float = ALL_CLOUDS,
) -> Json:
    """The process graph for one chunk.

    ``margin`` is in degrees of latitude: the box is that much larger than the tile, so that
    the tile's border cells are complete; in longitude the same in kilometres, at most
    `WIDEST` times the degrees.  At 180 degrees and at the poles it is clipped, since the
    API's boxes do not go around.  The end of the interval is exclusive.

    Of radar the backscatter is ordered, with its elevation model by name: where none is
    named the back end takes one that is missing in many places.  Only products are asked
    for that have the bands, since one without ends the whole job.
    """
    load: Json = {
        "id": collection.name,
        "spatial_extent": _extent(chunk, margin),
        "temporal_extent": [
            f"{day.isoformat()}T00:00:00Z" for day in (chunk.day, chunk.day + dt.timedelta(days=1))
        ],
        "bands": list(bands),
    }
    radar = collection.process == BACKSCATTER
    wanted = {"sat:orbit_state": None if chunk.orbit == "any" else chunk.orbit.upper()}
    wanted["polarisation"] = _polarisation(bands) if radar else None
    properties = {name: _compared("eq", value) for name, value in wanted.items() if value}
    if max_cloud < ALL_CLOUDS and collection.has_clouds:
        properties[CLOUDS] = _compared("lte", max_cloud)
    if properties:
        load["properties"] = properties
    graph: Json = {"load": {"process_id": "load_collection", "arguments": load}}
    if radar:
        graph["backscatter"] = _backscatter("load", elevation_model)
    reducer = _child(collection.reducer, {"data": {"from_parameter": "data"}})
    graph["reduce"] = {
        # One step a day is what the back end makes; the mean of linear power suits any number.
        "process_id": "reduce_dimension",
        "arguments": {"data": {"from_node": list(graph)[-1]}, "dimension": "t", "reducer": reducer},
    }
    graph["save"] = {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "reduce"}, "format": "netCDF"},
        "result": True,
    }
    return graph


def of_before(graph: Json) -> Json:
    """The same order as older versions wrote it, whose jobs may still be there.

    They named no elevation model, and did not filter on polarisations.
    """
    older: Json = json.loads(json.dumps(graph))
    load = older["load"]["arguments"]
    load.get("properties", {}).pop("polarisation", None)
    if not load.get("properties", True):
        del load["properties"]
    # They ordered the backscatter of everything.
    older["backscatter"] = _backscatter("load", None)
    older["reduce"]["arguments"]["data"] = {"from_node": "backscatter"}
    return older


def _extent(chunk: Chunk, margin: float) -> Json:
    tile = chunk.tile
    shrunk = math.cos(math.radians(max(abs(tile.south), abs(tile.north))))
    aside = margin / max(shrunk, 1 / WIDEST)
    return {
        "west": max(-180.0, round(tile.west - aside, 9)),
        "south": max(-90.0, round(tile.south - margin, 9)),
        "east": min(180.0, round(tile.east + aside, 9)),
        "north": min(90.0, round(tile.north + margin, 9)),
    }


def _backscatter(data: str, elevation_model: str | None) -> Json:
    named = {"elevation_model": elevation_model} if elevation_model else {}
    return {
        "process_id": BACKSCATTER,
        "arguments": {"data": {"from_node": data}, "coefficient": "sigma0-ellipsoid", **named},
    }


def _polarisation(bands: Sequence[str]) -> str | None:
    """The polarisations that a product must have, in the catalogue's order; None: whatever.

    The back end compares them as a whole.  A first band alone is also in products without
    a second one, so for that there is no filter.
    """
    for pair in PAIRS:
        if set(bands) <= set(pair) and pair[1] in bands:
            return "&".join(pair)
    return None


def digest(graph: Json) -> str:
    """Eight characters that are the same only for the same order."""
    text = json.dumps(graph, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _compared(process: str, value: object) -> Json:
    return _child(process, {"x": {"from_parameter": "value"}, "y": value})


def _child(process: str, arguments: Json) -> Json:
    node = {"process_id": process, "arguments": arguments, "result": True}
    return {"process_graph": {process: node}}
