"""From the archive back to a box: select, merge, crop, put on a regular grid, describe.

The tiles partition the sphere, so the cells of a box are the union of what its tiles
hold of it: merging sorts runs and copies, it never averages, and no seam can appear.
A grid is made from cells a little beyond the box, so that its border pixels find the
cell that contains them; large grids are made block by block, so that memory holds one
grid and the cells of one block.  NSIDE and ellipsoid are those of the archive.

The rooms that look at the result, `figure` and `export`, load matplotlib and rasterio
when they are called; their functions can be had from here.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import convert
from convert import DLAT, DLON
from export import export, georeferenced, save_figure
from figure import plot, plot_ranges, show
from grid import BBox, Chunk, wrap
from tilemap import coverage_map

if TYPE_CHECKING:
    from schema import Layout
    from store import Archive

MEMORY_MAX = 2_000_000_000  # bytes that the bands of a grid may take
BLOCK = (2.0, 0.5)  # degrees E-W and S-N of which the cells are in memory at a time
MARGIN = 3.0  # mean cell widths that are read beyond a block
DAYS_NAMED = 5  # of the days there are, when the one asked for is not there

MEASURED = "contains modified Copernicus Sentinel data {year}"
SYNTHETIC = "synthetic data (sandbox), not a measurement"

__all__ = [
    "Coverage", "NoData", "coverage_map", "days", "export", "merge", "plot", "plot_ranges",
    "retrieve", "save_figure", "select", "show",
]  # fmt: skip


class NoData(LookupError):
    """The archive holds nothing of the box on the day."""


@dataclass(frozen=True)
class Coverage:
    """What the archive has of a box on one day."""

    day: dt.date
    orbit: str
    share: float  # of the area of the box, 0 to 1


def select(archive: Archive, bbox: BBox, day: dt.date, orbit: str | None = None) -> xr.Dataset:
    """The cells of a day whose centres are in the half-open box, of all tiles, merged.

    Returns ``<band>(cells)`` float32, ``count(cells)`` uint16, ``start_ipix(runs)``
    uint64, ``run_len(runs)`` uint32.  Tiles without a record are left out.  ``orbit``
    None means "any" if the archive has it, else the only one that it has.  Raises
    NoData, or ValueError when the orbit has to be named.
    """
    return merge([archive.read(chunk, bbox) for chunk in _choose(archive, bbox, day, orbit)])


def retrieve(
    archive: Archive,
    bbox: BBox,
    day: dt.date,
    bands: Sequence[str] | None = None,
    dlat: float = DLAT,
    dlon: float = DLON,
    method: str = "nearest",
    orbit: str | None = None,
) -> xr.Dataset:
    """A regular grid of the box, ``<band>(lat, lon)`` float32, linear power, NaN for gaps.

    Pixel centres are at ``south + (i + 0.5) * dlat`` and ``west + (j + 0.5) * dlon``, in
    degrees; across 180 degrees the longitudes go on beyond 180.  ``method`` as in
    `convert.cells_to_grid`.  The attributes say where the data came from.  Raises as
    `select`, and ValueError for an unknown band, a grid larger than `MEMORY_MAX` or without
    a pixel.
    """
    chunks = _choose(archive, bbox, day, orbit)
    layout = _layout(archive)
    bands = _bands(layout, bands)
    _check_size(bbox, dlat, dlon, len(bands))
    around = [
        chunk
        for chunk in _records(archive, padded(bbox, layout.nside))
        if (chunk.day, chunk.orbit) == (day, chunks[0].orbit)
    ]
    lat = convert.pixel_centres(bbox.south, bbox.height, dlat, "dlat")
    lon = convert.pixel_centres(bbox.west, bbox.width, dlon, "dlon")
    values = {band: np.full((lat.size, lon.size), np.nan, np.float32) for band in bands}
    for rows, columns, block in _blocks(bbox, lat.size, lon.size, dlat, dlon):
        reach = padded(block, layout.nside)
        parts = [archive.read(c, reach) for c in around if c.tile.bbox.intersects(reach)]
        if parts:
            part = convert.cells_to_grid(merge(parts), block, dlat, dlon, method)
            for band in bands:
                values[band][rows, columns] = part[band].values
    grid = xr.Dataset(
        {band: (("lat", "lon"), values[band]) for band in bands},
        {"lat": lat, "lon": lon, "time": np.datetime64(day, "s")},
        {
            "title": f"Sentinel-1 backscatter, {' and '.join(bands)}, {day}",
            **_origin(archive, chunks),
            "bbox": str(bbox),
            "dlat": dlat,
            "dlon": dlon,
            "method": method,
            "healpix_nside": layout.nside,
            "healpix_ellipsoid": layout.ellipsoid,
            "healpix_ordering": "nested",
        },
    )
    return georeferenced(grid)


def days(archive: Archive, bbox: BBox) -> list[Coverage]:
    """The days of which the archive has something of the box, newest first.

    A tile counts by its area inside the box and by its share of seen cells; no pixel is
    read, so it is not known on which side of the box's edge a tile has its gaps.
    """
    shares: dict[tuple[dt.date, str], float] = {}
    tiles = [tile for tile in archive.tiles() if tile.bbox.intersects(bbox)]
    weights = {
        tile.name: _common_area(tile.bbox, bbox) / _common_area(bbox, bbox) for tile in tiles
    }
    for row in archive.records(tiles).to_dict("records"):
        key = row["day"], row["orbit"]
        shares[key] = shares.get(key, 0.0) + weights[row["tile"]] * row["seen"]
    found = [Coverage(*key, min(1.0, share)) for key, share in shares.items()]
    return sorted(found, key=lambda c: (-c.day.toordinal(), c.orbit))


def merge(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One set of cells from one or more that have no cell in common; ids ascending."""
    start = np.concatenate([part["start_ipix"].values for part in parts])
    length = np.concatenate([part["run_len"].values for part in parts]).astype(np.int64)
    owner = np.repeat(np.arange(len(parts)), [part.sizes["runs"] for part in parts])
    begins = [np.cumsum(part["run_len"].values, dtype=np.int64) for part in parts]
    end = np.concatenate(begins)
    order = np.argsort(start)
    pieces = [(owner[i], slice(end[i] - length[i], end[i])) for i in order.tolist()]
    values: dict[str, Any] = {}
    for name in [name for name in parts[0].data_vars if parts[0][name].dims == ("cells",)]:
        arrays = [part[name].values for part in parts]
        values[str(name)] = (
            "cells",
            np.concatenate([arrays[0][:0], *(arrays[i][piece] for i, piece in pieces)]),
        )
    joined = _joined(start[order], length[order])
    values |= {"start_ipix": ("runs", joined[0]), "run_len": ("runs", joined[1])}
    sources = dict.fromkeys(part.attrs["source"] for part in parts)
    return xr.Dataset(values, attrs={**parts[0].attrs, "source": "; ".join(filter(None, sources))})


def _joined(
    start: NDArray[np.uint64], length: NDArray[np.int64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    """Sorted runs with those that touch made one."""
    opens = np.ones(len(start), bool)
    opens[1:] = start[1:] != start[:-1] + length[:-1].astype(np.uint64)
    total = np.add.reduceat(length, np.flatnonzero(opens)) if len(start) else length
    return start[opens], total.astype(np.uint32)


def padded(bbox: BBox, nside: int) -> BBox:
    """The box with the cells around it: `MARGIN` mean cell widths to every side."""
    margin = MARGIN * math.degrees(math.sqrt(math.pi / 3) / nside)
    south, north = max(-90.0, bbox.south - margin), min(90.0, bbox.north + margin)
    narrowest = math.cos(math.radians(max(abs(south), abs(north))))
    sideways = margin / max(narrowest, 1e-9)
    if bbox.width + 2 * sideways >= 360:
        return BBox(-180.0, south, 180.0, north)
    return _box(bbox.west - sideways, south, bbox.east + sideways, north)


def _box(west: float, south: float, east: float, north: float) -> BBox:
    return BBox(wrap(west), south, east if east <= 180 else east - 360, north)


def _blocks(
    bbox: BBox, height: int, width: int, dlat: float, dlon: float
) -> Iterator[tuple[slice, slice, BBox]]:
    """Rows, columns and box of the blocks of a grid, of at most `BLOCK` degrees."""
    most_columns, most_rows = max(1, int(BLOCK[0] / dlon)), max(1, int(BLOCK[1] / dlat))
    for i, j in product(range(0, height, most_rows), range(0, width, most_columns)):
        rows, columns = slice(i, min(i + most_rows, height)), slice(j, min(j + most_columns, width))
        # The last ones end where the box ends: a sum of steps may pass a pole.
        north = bbox.south + rows.stop * dlat if rows.stop < height else bbox.north
        east = bbox.west + (columns.stop * dlon if columns.stop < width else bbox.width)
        yield rows, columns, _box(bbox.west + j * dlon, bbox.south + i * dlat, east, north)


def _records(archive: Archive, bbox: BBox) -> list[Chunk]:
    """The chunks of which the archive has a record, of the tiles of a box."""
    tiles = [tile for tile in archive.tiles() if tile.bbox.intersects(bbox)]
    return [chunk for tile in tiles for chunk in archive.chunks(tile)]


def _choose(archive: Archive, bbox: BBox, day: dt.date, orbit: str | None) -> list[Chunk]:
    """The records of the box on the day, all of one orbit."""
    there = _records(archive, bbox)
    today = [chunk for chunk in there if chunk.day == day]
    orbits = sorted({chunk.orbit for chunk in today})
    if orbit is None and len(orbits) > 1 and "any" not in orbits:
        raise ValueError(
            f"The archive has {' and '.join(orbits)} passes of {bbox} on {day}. "
            "Say which of them you want: they see the ground from different sides."
        )
    wanted = orbit or ("any" if "any" in orbits else "".join(orbits))
    chunks = [chunk for chunk in today if chunk.orbit == wanted]
    if not chunks:
        what = f"no record ({orbit})" if orbit else "nothing"
        text = f"The archive {archive.name} has {what} of {bbox} on {day}."
        raise NoData(f"{text}  {_what_there_is(there)}")
    return chunks


def _what_there_is(chunks: Sequence[Chunk]) -> str:
    found = sorted({(chunk.day, chunk.orbit) for chunk in chunks}, reverse=True)
    if not found:
        return "It has no record of this box at all; download it first."
    names = [f"{day}" + f" ({orbit})" * (orbit != "any") for day, orbit in found[:DAYS_NAMED]]
    more = f" and {len(found) - DAYS_NAMED} more" if len(found) > DAYS_NAMED else ""
    return f"Of this box it has {', '.join(names)}{more}."


def _layout(archive: Archive) -> Layout:
    if archive.layout is None:
        raise NoData(f"There is no archive at {archive.name} yet.")
    return archive.layout


def _bands(layout: Layout, bands: Sequence[str] | None) -> list[str]:
    """The bands asked for, by default all; ValueError names those there are."""
    missing = [band for band in bands or () if band not in layout.bands]
    if missing:
        raise ValueError(
            f"The archive has the bands {', '.join(layout.bands)}, but not {', '.join(missing)}."
        )
    return list(dict.fromkeys(bands or layout.bands))


def _check_size(bbox: BBox, dlat: float, dlon: float, bands: int) -> None:
    for name, step, extent in (("dlat", dlat, bbox.height), ("dlon", dlon, bbox.width)):
        if not 0 < step < math.inf:
            raise ValueError(f"{name} is {step:g} degrees; it must be above 0.")
        if step > 2 * extent:
            raise ValueError(
                f"No pixel centre lies in {bbox}: {name} is {step:g} degrees, and the box has but "
                f"{extent:.3g}.  Take a larger box or smaller pixels."
            )
    rows, columns = bbox.height / dlat, bbox.width / dlon
    size = 4 * rows * columns * bands
    if size > MEMORY_MAX:
        factor = 1.1 * math.sqrt(size / MEMORY_MAX)
        raise ValueError(
            f"{bbox} at dlat {dlat:g} and dlon {dlon:g} is {rows:.0f} x {columns:.0f} pixels, "
            f"{size / 1e9:.1f} GB; the most is {MEMORY_MAX / 1e9:g} GB.  Take a smaller box, or "
            f"larger pixels such as dlat {dlat * factor:.2g} and dlon {dlon * factor:.2g}."
        )


def _origin(archive: Archive, chunks: Sequence[Chunk]) -> dict[str, Any]:
    """Day, orbit, tiles and provenance as attributes; what is not known is left out."""
    day, orbit, names = chunks[0].day, chunks[0].orbit, [chunk.tile.name for chunk in chunks]
    records = archive.records([chunk.tile for chunk in chunks])
    records = records[(records["day"] == day) & (records["orbit"] == orbit)]
    synthetic = any(value is True for value in records["synthetic"].tolist())
    attrs: dict[str, Any] = {
        "source": SYNTHETIC if synthetic else MEASURED.format(year=day.year),
        "synthetic": int(synthetic),
        "day": day.isoformat(),
        "orbit": orbit,
        "tiles": " ".join(names),
    }
    for name in ("backend", "collection", "job_id", "processed"):
        known = sorted({str(value) for value in records[name].tolist() if value})
        if known:
            attrs[name] = " ".join(known)
    return attrs


def _common_area(a: BBox, b: BBox) -> float:
    """The area that two boxes share, in degrees of longitude times sine of latitude."""
    south, north = max(a.south, b.south), min(a.north, b.north)
    height = math.sin(math.radians(north)) - math.sin(math.radians(south))
    pairs = product(a.split(), b.split())
    widths = (max(0.0, min(p.east, q.east) - max(p.west, q.west)) for p, q in pairs)
    return max(0.0, height) * sum(widths)
