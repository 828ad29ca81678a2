"""Whether records fit into an archive: its settings, its room, and cells as they must be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from archive.contents import Contents
from archive.layout import ArchiveError, Layout, exact_size
from archive.settings import Settings
from grid import Chunk, Tile
from healpix.boxes import box_runs
from healpix.latitudes import ELLIPSOIDS
from shared import collection as collections
from shared.counts import count_of

if TYPE_CHECKING:
    import xarray as xr

COUNTED = 10**8  # cells of a tile; of more the area says enough


def require_same_settings(
    archive: Contents,
    nside: int,
    ellipsoid: str,
    chunk_size: Iterable[float],
    bands: Iterable[str],
    collection: str,
) -> None:
    """Raise ArchiveError, naming both values, unless such records can be written to it."""
    archive.require_writable()
    layout = archive.layout
    if layout is None:
        return
    asked = {
        "COLLECTION": (layout.product.name, collection),
        "NSIDE": (layout.nside, int(nside)),
        "ELLIPSOID": (layout.ellipsoid, ellipsoid),
        "CHUNK_SIZE": (layout.chunk_size, exact_size(chunk_size)),
        "BANDS": (tuple(sorted(layout.bands)), tuple(sorted(bands))),
    }
    for name, (has, wants) in asked.items():
        if has != wants:
            raise ArchiveError(
                f"The archive {archive.name} was made with {name} = {has}, but now {name} is "
                f"{wants}.  Nothing was written.  Set it back, or use another archive."
            )


def require_room(archive: Contents, tiles: Iterable[Tile], nside: int, ellipsoid: str) -> None:
    """Raise ArchiveError unless each of these tiles has cells, and room for all of them.

    A tile's cells depend on its latitude and on its longitude within a base face, so
    few tiles have to be counted.
    """
    made = archive.layout or archive.settings()
    limits = {"cells": ("PIX_MAX", made.pix_max), "runs": ("RUNS_MAX", made.runs_max)}
    for tile in {(t.south, t.west % 90, t.size): t for t in tiles}.values():
        extent = _extent(tile, nside, ellipsoid, made.pix_max)
        for (what, (name, limit)), has in zip(limits.items(), extent, strict=True):
            if has > limit:
                raise ArchiveError(_no_room(archive, tile.name, has, what, limit, name))
            if has == 0:
                raise ArchiveError(
                    f"The tile {tile.name} has no cell: CHUNK_SIZE in download.py is too "
                    f"small for NSIDE {nside} in convert.py.  Nothing was done."
                )


def require_fit(archive: Contents, chunk: Chunk, wanted: Layout, cells: xr.Dataset) -> None:
    """Raise ArchiveError unless the archive has the settings of these cells, and room for them."""
    require_same_settings(
        archive, wanted.nside, wanted.ellipsoid, wanted.chunk_size, wanted.bands,
        wanted.product.name,
    )  # fmt: skip
    layout = archive.layout or wanted
    for dim, limit, name in (
        ("cells", layout.pix_max, "PIX_MAX"),
        ("runs", layout.runs_max, "RUNS_MAX"),
    ):
        if cells.sizes[dim] > limit:
            raise ArchiveError(_no_room(archive, str(chunk), cells.sizes[dim], dim, limit, name))


def layout_of(chunk: Chunk, cells: xr.Dataset, made: Settings) -> Layout:
    """What a new archive of such cells is made of.  Raises ArchiveError if they are not right."""
    others = ("count", "start_ipix", "run_len", *map(count_of, map(str, cells.data_vars)))
    bands = tuple(str(name) for name in cells.data_vars if name not in others)
    _require_arrays(chunk, cells, bands)
    nside, ellipsoid = int(cells.attrs.get("nside", 0)), cells.attrs.get("ellipsoid")
    start, length = (cells[name].values.astype(np.int64) for name in ("start_ipix", "run_len"))
    size, ends = cells.sizes["cells"], start + length
    for is_so, problem in (
        (not bands, "there is no band"),
        (nside < 1 or nside & (nside - 1), f"nside is {nside}, which is no power of 2"),
        (ellipsoid not in ELLIPSOIDS, f"the ellipsoid is {ellipsoid}"),
        (cells.attrs.get("ordering") != "nested", "the ordering is not nested"),
        (size == 0, "there is no cell"),
        ((length < 1).any(), "a run is empty"),
        ((start[1:] < ends[:-1]).any(), "the runs overlap or are not in order"),
        (size and (start[0] < 0 or ends[-1] > 12 * nside**2), "ids are beyond the sphere"),
        (length.sum() != size, f"the runs spell {length.sum()} cells, but there are {size}"),
    ):
        if is_so:
            raise ArchiveError(f"{chunk}: these cells cannot be archived: {problem}.")
    chunk_size = exact_size(chunk.tile.size)
    product = collections.with_bands(collections.product_of(cells.attrs), bands)
    return Layout(
        nside, str(ellipsoid), chunk_size, bands, made.pix_max, made.runs_max, made.keep_bits,
        product=product,
    )  # fmt: skip


def _require_arrays(chunk: Chunk, cells: xr.Dataset, bands: Iterable[str]) -> None:
    wanted = dict.fromkeys(bands, ("cells", "float32")) | {
        "count": ("cells", "uint16"),
        "start_ipix": ("runs", "uint64"),
        "run_len": ("runs", "uint32"),
    }
    own = [count_of(band) for band in bands if count_of(band) in cells]
    wanted |= dict.fromkeys(own, ("cells", "uint16"))
    for name, (dim, dtype) in wanted.items():
        if name not in cells or cells[name].dims != (dim,) or cells[name].dtype != dtype:
            has = f"{cells[name].dims} {cells[name].dtype}" if name in cells else "missing"
            raise ArchiveError(f"{chunk}: {name} must be ({dim}) {dtype}; it is {has}.")
    for name in own:
        if (cells[name].values > cells["count"].values).any():
            raise ArchiveError(f"{chunk}: {name} is more than count in some cells.")


def _no_room(archive: Contents, where: str, has: int, what: str, limit: int, name: str) -> str:
    made = "was made" if archive.layout else "would be made"
    return (
        f"{where}: the tile has {has} {what}, but the archive {archive.name} {made} with room "
        f"for {limit} ({name} in store.py).  Nothing was written.  Take a smaller "
        f"CHUNK_SIZE or NSIDE, or a new archive with a larger {name}."
    )


def _extent(tile: Tile, nside: int, ellipsoid: str, limit: int) -> tuple[int, int]:
    """Cells and runs of a tile; far beyond the limit the cells by its area alone, and no runs."""
    south, north = math.radians(tile.south), math.radians(tile.north)
    share = (tile.east - tile.west) / 360 * (math.sin(north) - math.sin(south)) / 2
    cells = round(12 * nside**2 * share)
    if cells > max(2 * limit, COUNTED):
        return cells, 1
    _, length = box_runs(tile.bbox, nside, ellipsoid)
    return int(length.sum()), len(length)
