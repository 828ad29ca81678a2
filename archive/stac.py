"""The records of an archive as STAC items, in a file of GeoParquet.

By STAC 1.1.0, its extension ``sat`` 1.0.0, and the layout of stac-geoparquet, which DuckDB,
GeoPandas and QGIS read.  What neither names is a property by the name that `list --json` has.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from archive.layout import Layout
from archive.listing import Row
from grid import BBox, Tile
from shared.collection import of_name
from shared.files import replacing

VERSION = "1.1.0"
SAT = "https://stac-extensions.github.io/sat/v1.0.0/schema.json"
OWN = (
    "bytes",
    "seen",
    "covered",
    "partial",
    "synthetic",
    "backend",
    "job_id",
    "processed",
    "acquired",
)
BATCH = 20_000  # items that are in memory

Item = dict[str, Any]


def write(rows: Callable[[], Iterable[Row]], layout: Layout, place: str, path: Path) -> int:
    """Write an item for each row; how many.

    rows: called twice, gives those of `listing`; ``layout``: of the archive at ``place``,
    which the items point to.  Memory stays flat.  Raises ValueError where the package
    rustac is missing or there is no row, OSError where the file cannot be written.
    """
    try:
        import rustac
    except ImportError:
        raise ValueError(
            "Writing STAC items needs the package rustac: pip install rustac.  Nothing was written."
        ) from None
    first = list(_examples(_items(rows(), layout, place)))
    if not first:
        raise ValueError("The archive has no record, so there is no item to write.")
    known = {item["id"] for item in first}
    rest = (item for item in _items(rows(), layout, place) if item["id"] not in known)

    async def work(temporary: Path) -> int:
        written = len(first)
        async with rustac.geoparquet_writer(first, str(temporary.absolute())) as file:
            async for batch in _batches(rest):
                await file.write(batch)
                written += len(batch)
        return written

    with replacing(path) as temporary:
        return asyncio.run(work(temporary))


async def _batches(items: Iterator[Item]) -> AsyncIterator[list[Item]]:
    while batch := list(islice(items, BATCH)):
        yield batch


def _examples(items: Iterable[Item]) -> Iterator[Item]:
    """The first item with each property that any has: the columns are made by the first items."""
    seen: set[str] = set()
    for item in items:
        new = {name for name, value in item["properties"].items() if value != []} - seen
        if new:
            seen |= new
            yield item


def _items(rows: Iterable[Row], layout: Layout, place: str) -> Iterator[Item]:
    return (item_of(row, layout, place) for row in rows)


def item_of(row: Row, layout: Layout, place: str) -> Item:
    """A record as a STAC item: its tile in degrees, which never crosses 180."""
    tile = Tile.from_name(row["tile"], layout.chunk_size)
    begin, end = _span(row)
    known = {
        "datetime": begin,
        "start_datetime": begin,
        "end_datetime": end,
        "constellation": of_name(layout.product.name).constellation or None,
        "platform": _only(row.get("platforms")),
        "sat:orbit_state": row["orbit"] if row["orbit"] != "any" else None,
        "sat:relative_orbit": _only(row.get("relative_orbits")),
        **{name: row.get(name) for name in OWN},
        "source_collection": row.get("collection"),
    }
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [SAT],
        "id": f"{row['tile']}_{row['day']}_{row['orbit']}",
        "bbox": [tile.west, tile.south, tile.east, tile.north],
        "geometry": _geometry(tile.bbox),
        "properties": {name: value for name, value in known.items() if value is not None},
        "links": [],
        "assets": {
            "data": {
                "href": f"{place}/{row['tile']}",
                "type": "application/vnd+zarr",
                "roles": ["data"],
                "bands": [{"name": name} for name in row["bands"].split(",") if name],
            }
        },
    }


def _geometry(box: BBox) -> dict[str, Any]:
    """A box as a polygon, counter-clockwise (RFC 7946, 3.1.6)."""
    west, south, east, north = box.west, box.south, box.east, box.north
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return {"type": "Polygon", "coordinates": [[list(corner) for corner in corners]]}


def _span(row: Row) -> tuple[str, str]:
    """When its images were taken, as far as it is known; else the UTC day."""
    spans = [str(text).split("/") for text in row.get("acquired") or []]
    if spans:
        return min(span[0] for span in spans), max(span[-1] for span in spans)
    day = dt.date.fromisoformat(str(row["day"]))
    return f"{day}T00:00:00Z", f"{day}T23:59:59Z"


def _only(values: Any) -> Any:
    """The one value that there is; None of none or several."""
    return values[0] if values and len(values) == 1 else None
