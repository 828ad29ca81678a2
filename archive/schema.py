"""What a tile is made of: its Zarr v3 metadata.

Each tile is a group of its own, which any Zarr reader can open by
its name, and which tells third parties what it is by CF 1.13, by the DGGS convention for
Zarr and by the attributes that xdggs looks for.

The arrays of cells are as long as the tile has cells; it is their chunks (shards), on
disk, that are padded to ``PIX_MAX``.  So who opens a tile sees no padding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from archive.layout import EMPTY, STEP, Layout, encode_json, ids_attributes
from archive.overviews import border_of
from archive.passes import (
    ACQUIRED_BEGIN,
    ACQUIRED_END,
    ATTRIBUTES,
    NO_TIME,
    PLATFORM,
    RELATIVE_ORBIT,
    UNKNOWN,
)
from grid import Tile
from healpix.arrays import Runs
from healpix.ids import parent_runs
from shared import border
from shared.collection import Product
from shared.counts import missing_of

INNER = 131_072  # cells in an inner chunk of a shard: the least that a box read fetches
ROWS = 1024  # records in one chunk of the arrays that hold a value per record
DGGS = {
    "uuid": "7b255807-140c-42ca-97f6-7a1cfecdbc38",
    "name": "dggs",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/dggs/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/dggs/blob/v1/README.md",
    "description": "Discrete Global Grid Systems convention for zarr",
}
MULTISCALES = {
    "uuid": "d35379db-88df-4056-af3a-620245f8e347",
    "name": "multiscales",
    "schema_url": "https://raw.githubusercontent.com/zarr-conventions/multiscales/refs/tags/v1/schema.json",
    "spec_url": "https://github.com/zarr-conventions/multiscales/blob/v1/README.md",
    "description": "Multiscale layout of zarr datasets",
}


def new_metadata(tile: Tile, layout: Layout, runs: Runs, gaps: bool = False) -> dict[str, Any]:
    """The ``zarr.json`` of a tile's group without records, as plain JSON.

    With ``gaps`` it has arrays for the pixels without a value in a band, of full resolution, too.

    zarr-python makes it, in memory.  It is consolidated: the group's file carries a copy
    of each array's own metadata under its name, as zarr and xarray expect it; overviews are
    groups in it.
    """
    pix_len, runs_len = int(runs[1].sum()), len(runs[0])
    attributes = _group_attributes(tile, layout, layout.level, "cells")
    attributes |= _pyramid(attributes, layout) | {
        "format_version": layout.version,
        "nside": layout.nside,
        "ellipsoid": layout.ellipsoid,
        "ordering": "nested",
        "pix_len": pix_len,
        "runs_len": runs_len,
    }
    group = zarr.create_group(MemoryStore(), attributes=attributes)
    # A shard is whole inner chunks, whatever PIX_MAX says.
    shard = -(-layout.pix_max // INNER) * INNER
    full = Grid(layout.level, pix_len, INNER, shard, "cells")
    made = [
        *_create_cell_arrays(group, layout, full, gaps),
        *_create_row_arrays(group),
        *_create_index_arrays(group, layout, runs_len),
        *_create_grid_arrays(group, layout, full),
    ]
    arrays = {array.basename: array.metadata.to_dict() for array in made}
    classes, parents = layout.product.classes(layout.bands), runs
    for level in layout.coarser:
        parents = parent_runs(*parents, STEP)
        _, room = border_of(runs, parents, layout.level - level) if classes else ([], 0)
        size = int(parents[1].sum())
        arrays |= _overview_metadata(group, tile, layout, level, size, room)
    metadata = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    found: dict[str, Any] = json.loads(encode_json(metadata | consolidated(arrays)))
    return found


def consolidated(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What a group's metadata has beside its attributes: a copy of that of all that is in it."""
    about = {"kind": "inline", "must_understand": False, "metadata": arrays}
    return {"consolidated_metadata": about}


@dataclass(frozen=True)
class Grid:
    """The cells of a tile at one level, and how its arrays are cut."""

    level: int
    size: int  # cells
    inner: int  # cells in an inner chunk
    shard: int  # cells that a shard is padded to
    dim: str  # the dimension's name; one for each level, so that all can be one DataTree


def _overview_metadata(
    group: zarr.Group, tile: Tile, layout: Layout, level: int, size: int, room: int
) -> dict[str, Any]:
    """The metadata of the group of an overview and of what is in it.

    ``room``: for how many entries of classes on the tile's border.
    """
    inner = min(INNER, size)
    grid = Grid(level, size, inner, -(-size // inner) * inner, f"cells_{level}")
    attributes = _group_attributes(tile, layout, level, grid.dim)
    within = group.create_group(str(level), attributes=attributes)
    made = [
        *_create_cell_arrays(within, layout, grid, gaps=True),
        *_create_grid_arrays(within, layout, grid),
    ]
    if room:
        made += _create_border_arrays(within, layout, level, room)
    about = within.metadata.to_dict() | consolidated({})
    return {str(level): about} | {f"{level}/{a.basename}": a.metadata.to_dict() for a in made}


def _create_cell_arrays(
    group: zarr.Group, layout: Layout, grid: Grid, gaps: bool
) -> Iterator[zarr.Array[Any]]:
    is_full = grid.level == layout.level
    shape: dict[str, Any] = {
        "shape": (0, grid.size),
        "chunks": (1, grid.inner),
        "shards": (1, grid.shard),
        "dimension_names": ("time", grid.dim),
    }
    about: dict[str, Any] = {
        "grid_mapping": "crs",
        "coordinates": " ".join(("cell_ids", "orbit", *UNKNOWN) if is_full else ("cell_ids",)),
    }
    # Speckle leaves half of each value's bits at random: what is left to win is quickly won.
    # Rounded values are worth the longer look.
    packed = (
        _packed(cname="lz4", clevel=9, shuffle="bitshuffle")
        if layout.keep_bits is None
        else _packed(cname="zstd", clevel=3, shuffle="bitshuffle", blocksize=4 * grid.inner)
    )
    count = "count" if is_full else "n"
    for band in layout.bands:
        attributes = about | _band_attributes(layout.product, band)
        attributes["ancillary_variables"] = f"{count} {missing_of(band)}" if gaps else count
        yield group.create_array(
            band, dtype="float32", fill_value=float("nan"), compressors=packed,
            attributes=attributes, **shape,
        )  # fmt: skip
    counts = {count: "number of raster pixels averaged in the cell"}
    if gaps:
        counts |= {
            missing_of(band): f"those of the raster pixels in {count} that have no value in {band}"
            for band in layout.bands
        }
    for name, what in counts.items():
        attributes = about | {
            "units": "1", "long_name": what, "standard_name": "number_of_observations"
        }  # fmt: skip
        dtype = np.dtype("uint16" if is_full else "uint32")
        blocks = grid.inner * dtype.itemsize
        yield group.create_array(
            name, dtype=dtype, fill_value=0,
            compressors=_packed(cname="zstd", clevel=1, shuffle="shuffle", blocksize=blocks),
            attributes=attributes, **shape,
        )  # fmt: skip


def _create_border_arrays(
    group: zarr.Group, layout: Layout, level: int, room: int
) -> Iterator[zarr.Array[Any]]:
    """Of each band of classes what the tile's part of a cell has beside its most frequent one."""
    inner = min(INNER, room)
    for band in layout.product.classes(layout.bands):
        cell, value, number = border.names_of(band)
        rows: list[tuple[str, str, Any, str]] = [
            (cell, "uint64", EMPTY, "nested HEALPix id of a cell that other tiles have a part of"),
            (value, "float32", float("nan"), f"class of {band} in it beside the most frequent one"),
            (number, "uint32", 0, "number of raster pixels of that class in it"),
        ]
        for name, dtype, fill, what in rows:
            yield group.create_array(
                name, shape=(0, room), chunks=(1, inner), shards=(1, -(-room // inner) * inner),
                dtype=dtype, fill_value=fill, compressors=_packed(shuffle="shuffle"),
                dimension_names=("time", f"border_{level}"), attributes={"long_name": what},
            )  # fmt: skip


def _band_attributes(product: Product, name: str) -> dict[str, str]:
    """What a band is, by CF."""
    found = product.attributes(name)
    if product.is_power:
        found["polarization"] = name
    found["cell_methods"] = "area: mode" if product.band(name).is_class else "area: mean"
    return found


def _create_row_arrays(group: zarr.Group) -> Iterator[zarr.Array[Any]]:
    # No value is ever the fill value, so that none of these files is ever left out; of those that
    # say when and by what the images were taken it is "not known", and all are written.
    since_1970 = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
    rows: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("time", "int64", -1, {
            "long_name": "UTC day of the acquisitions; NaT: removed",
            "standard_name": "time",
            **since_1970,
            "axis": "T",
        }),
        (ACQUIRED_BEGIN, "int64", NO_TIME, ATTRIBUTES[ACQUIRED_BEGIN] | since_1970),
        (ACQUIRED_END, "int64", NO_TIME, ATTRIBUTES[ACQUIRED_END] | since_1970),
        (PLATFORM, str, UNKNOWN[PLATFORM], ATTRIBUTES[PLATFORM]),
        (RELATIVE_ORBIT, "int16", UNKNOWN[RELATIVE_ORBIT], ATTRIBUTES[RELATIVE_ORBIT]),
        ("orbit", "int8", -1, {
            "long_name": "orbit direction",
            "flag_values": [0, 1, 2],
            "flag_meanings": "any ascending descending",
        }),
        ("provenance", str, "-", {
            "long_name": "where the record came from, as JSON",
        }),
    ]  # fmt: skip
    for name, dtype, fill, attributes in rows:
        yield group.create_array(
            name, shape=(0,), chunks=(ROWS,), dtype=dtype, fill_value=fill,
            compressors=_packed(shuffle="noshuffle" if dtype is str else "bitshuffle"),
            dimension_names=("time",), attributes=attributes,
        )  # fmt: skip


def _create_index_arrays(
    group: zarr.Group, layout: Layout, runs_len: int
) -> Iterator[zarr.Array[Any]]:
    for name, dtype, what in (
        ("start_ipix", "uint64", "first nested HEALPix id of a run of consecutive cells"),
        ("run_len", "uint32", "number of cells in the run"),
    ):
        yield group.create_array(
            name, shape=(runs_len,), chunks=(layout.runs_max,), dtype=dtype,
            fill_value=int(np.iinfo(dtype).max), compressors=_packed(shuffle="bitshuffle"),
            dimension_names=("runs",), attributes={"long_name": what},
        )  # fmt: skip


def _create_grid_arrays(group: zarr.Group, layout: Layout, grid: Grid) -> Iterator[zarr.Array[Any]]:
    yield group.create_array(
        "cell_ids", shape=(grid.size,), chunks=(grid.inner,), shards=(grid.shard,),
        dtype="uint64", fill_value=EMPTY, compressors=_packed(shuffle="bitshuffle"),
        dimension_names=(grid.dim,), attributes=ids_attributes(grid.level, layout.ellipsoid),
    )  # fmt: skip
    attributes: dict[str, Any] = {
        "grid_mapping_name": "healpix",
        "refinement_level": grid.level,
        "indexing_scheme": "nested",
    }
    if layout.ellipsoid == "WGS84":
        attributes["reference_ellipsoid_name"] = "WGS 84"
    yield group.create_array("crs", shape=(), dtype="int8", attributes=attributes)


def _group_attributes(tile: Tile, layout: Layout, level: int, dim: str) -> dict[str, Any]:
    """What third parties need, by CF 1.13 and the DGGS convention for Zarr."""
    dggs: dict[str, Any] = {
        "name": "healpix",
        "refinement_level": level,
        "indexing_scheme": "nested",
        "spatial_dimension": dim,
        "coordinate": "cell_ids",
        "compression": "none",
    }
    if layout.ellipsoid == "WGS84":
        dggs["ellipsoid"] = {
            "name": "WGS84", "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563,
        }  # fmt: skip
    return {
        "Conventions": "CF-1.13",
        "title": f"{layout.product.title} in HEALPix cells, tile {tile.name}",
        "zarr_conventions": [DGGS],
        "dggs": dggs,
        "tile_west": tile.west,
        "tile_south": tile.south,
    }


def _pyramid(attributes: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """Which groups are the overviews, by the multiscales convention; "." is the tile itself.

    What each level is of a DGGS is said as the authors of both mean to (their issue 23): the
    whole of it for the cells, and for overviews what is different.
    """
    if not layout.coarser:
        return {}
    levels: list[dict[str, Any]] = [{"asset": ".", "dggs": attributes["dggs"]}]
    for level in layout.coarser:
        levels.append({
            "asset": str(level),
            "derived_from": ".",
            "transform": {"scale": [float(2 ** (layout.level - level))]},
            "dggs": {"refinement_level": level, "spatial_dimension": f"cells_{level}"},
        })  # fmt: skip
    every_is_class = all(layout.product.band(band).is_class for band in layout.bands)
    method = "mode" if every_is_class else "average"
    return {
        "zarr_conventions": [DGGS, MULTISCALES],
        "multiscales": {"layout": levels, "resampling_method": method},
    }


def _packed(**blosc: Any) -> list[Any]:
    return [BloscCodec(**blosc), Crc32cCodec()]
