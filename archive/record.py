"""A record as the arrays of its tile, and an array as zarr-python writes it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import google_crc32c
import numcodecs.blosc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from numcodecs import BitRound
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

import healpix
from archive import schema
from archive.overviews import STEP, make_overviews
from archive.schema import EMPTY, ArchiveError, Layout
from archive.shards import DamageError, Group, fill_value, pool
from grid import Chunk, Provenance
from healpix import Runs

SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}  # as blosc numbers them


def shards_of(
    cells: xr.Dataset, group: Group, keep_bits: int | None
) -> Iterator[tuple[str, bytes]]:
    """The shards that a record is stored as, by array; one without a value is left out."""
    overviews = make_overviews(cells, group.coarser)
    for name in group.cell_arrays:
        values = overviews[name] if name in overviews else cells[name].values
        if values.dtype == np.float32:
            values = _rounded(values, keep_bits)
        data = encode_shard(values, group.arrays[name])
        if data:
            yield name, data


def encode_shard(values: npt.NDArray[Any], array: Mapping[str, Any]) -> bytes:
    """The cells of a record as zarr-python would write them, in less than half the time.

    ``array`` is the metadata of the shard's array.  Inner chunks of nothing but the fill value
    are left out, and nothing is left where that are all.
    """
    sharding = array["codecs"][0]["configuration"]
    inner = int(sharding["chunk_shape"][-1])
    chunks = int(array["chunk_grid"]["configuration"]["chunk_shape"][-1]) // inner
    how, fill = sharding["codecs"][1]["configuration"], fill_value(array)
    options = how["cname"].encode(), how["clevel"], SHUFFLES[how["shuffle"]], how["blocksize"]

    def encode(first: int) -> bytes:
        part = values[first : first + inner]
        if (np.isnan(part) if fill != fill else part == fill).all():
            return b""
        if len(part) < inner:
            part = np.concatenate([part, np.full(inner - len(part), fill)])
        raw = np.ascontiguousarray(part).view(np.uint8)
        data = bytes(numcodecs.blosc.compress(raw, *options, how["typesize"]))
        return data + _crc(data)

    parts = list(pool().map(encode, range(0, len(values), inner)))
    index = np.full((chunks, 2), EMPTY, "<u8")
    sizes = np.array([len(part) for part in parts])
    there = np.flatnonzero(sizes)
    index[there, 0] = (np.cumsum(sizes) - sizes)[there]
    index[there, 1] = sizes[there]
    if not len(there):
        return b""
    return b"".join([*parts, index.tobytes(), _crc(index.tobytes())])


def ids_of(group: Group, runs: Runs) -> Iterator[tuple[str, npt.NDArray[np.uint64]]]:
    """The ids of the tile's cells and of its overviews', by the array that holds them."""
    for name in group.id_arrays:
        yield name, healpix.runs_to_ids(*runs)
        runs = healpix.parent_runs(*runs, STEP)


def text_of(
    chunk: Chunk, cells: xr.Dataset, sizes: Mapping[str, int], provenance: Provenance | None
) -> str:
    """The provenance of a record as JSON; ``sizes``: the bytes of each of its shards."""
    about = {
        "day": chunk.day.isoformat(),
        "orbit": chunk.orbit,
        "seen": int(np.count_nonzero(cells["count"].values)),
        "bytes": sizes,
        "source": str(cells.attrs.get("source", "")),
    }
    return json.dumps(about | (asdict(provenance) if provenance is not None else {}))


def require_same_cells(group: Group, runs: Runs) -> None:
    """Raise ArchiveError unless these are the cells that the tile has."""
    try:
        has = group.runs()
        same = np.array_equal(has[0], runs[0]) and np.array_equal(has[1], runs[1])
    except DamageError:  # both copies: their numbers are still known
        same = (group.pix_len, group.runs_len) == (int(runs[1].sum()), len(runs[0]))
    if not same:
        raise ArchiveError(
            f"{group.tile.name}: the record has {int(runs[1].sum())} cells in {len(runs[0])} "
            f"runs, the archive has {group.pix_len} in {group.runs_len} for this tile, and "
            "they must be the same.  Nothing was written."
        )


def add_overviews(group: Group, layout: Layout, runs: Runs) -> bool:
    """Have arrays for them in a tile that was made before there were any; False if it has."""
    if group.coarser or not layout.coarser:
        return False
    metadata = schema.new_metadata(group.tile, layout, runs)
    arrays = metadata["consolidated_metadata"]["metadata"]
    group.arrays.update({n: a for n, a in arrays.items() if n not in group.arrays})
    return True


def zarr_array(store: Store, group: Group, name: str, whole: bool = False) -> zarr.Array[Any]:
    """The array by the group's metadata, whatever its own metadata in the store says.

    Chunks of nothing but the fill value are written only where ``whole`` says so.
    """
    place = StorePath(store, f"{group.tile.name}/{name}")
    metadata = ArrayV3Metadata.from_dict(copy.copy(group.arrays[name]))
    return zarr.Array(zarr.AsyncArray(metadata, place, {"write_empty_chunks": whole}))


def packed(
    group: Group, name: str, where: Any, values: Any, whole: bool = False
) -> dict[str, memoryview]:
    """The files, by key, that hold these values of an array."""
    files: dict[str, Buffer] = {}
    zarr_array(MemoryStore(files), group, name, whole)[where] = values
    return {key: memoryview(value.as_buffer_like()) for key, value in files.items()}


def packed_rows(group: Group, name: str, number: int, values: Any) -> memoryview:
    """A file of an array with a value per record: the one with this number, all its values."""
    rows = len(values)
    longer = copy.copy(group)
    array = group.arrays[name] | {"shape": [(number + 1) * rows]}
    longer.metadata = {"consolidated_metadata": {"metadata": {name: array}}}
    where = slice(number * rows, (number + 1) * rows)
    values = np.asarray(values, object if array["data_type"] == "string" else None)
    [data] = packed(longer, name, where, values, whole=True).values()
    return data


def own_metadata(group: Group) -> dict[str, bytes]:
    """The ``zarr.json`` of each array and overview by key, for readers that go by it alone.

    That of an overview comes after those of its arrays, of which it has a copy.
    """
    name = group.tile.name
    found = {f"{name}/{of}/zarr.json": about for of, about in group.arrays.items()}
    for level in group.coarser:
        inside = {of: a for of, a in group.arrays.items() if of.startswith(f"{level}/")}
        arrays = {of.removeprefix(f"{level}/"): about for of, about in inside.items()}
        about = found.pop(f"{name}/{level}/zarr.json")
        found[f"{name}/{level}/zarr.json"] = about | schema.consolidated(arrays)
    return {key: schema.encode_json(about) for key, about in found.items()}


def _crc(data: bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def _rounded(values: npt.NDArray[np.float32], keep_bits: int | None) -> npt.NDArray[np.float32]:
    """The values with this many bits of mantissa, rounded to even; relative error 2**-(n + 1)."""
    if keep_bits is None:
        return values
    values = np.where(np.isnan(values), np.float32("nan"), values)  # rounding could make others -0
    rounded: npt.NDArray[np.float32] = BitRound(keep_bits).encode(values).view(np.float32)
    return rounded
