"""An array of a tile as zarr-python writes it, straight to a store or as files by key."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

from archive import layout as layouts
from archive import schema
from archive.packing import pack, pack_texts
from archive.tile import Group


def zarr_array(store: Store, group: Group, name: str) -> zarr.Array[Any]:
    """The array by the group's metadata, whatever its own metadata in the store says."""
    place = StorePath(store, f"{group.tile.name}/{name}")
    metadata = ArrayV3Metadata.from_dict(copy.copy(group.arrays[name]))
    return zarr.Array(zarr.AsyncArray(metadata, place))


def packed(group: Group, name: str, values: Any) -> dict[str, memoryview]:
    """The files, by key, that hold the values of an array."""
    files: dict[str, Buffer] = {}
    zarr_array(MemoryStore(files), group, name)[:] = values
    return {key: memoryview(value.as_buffer_like()) for key, value in files.items()}


def packed_rows(group: Group, name: str, values: Sequence[Any]) -> bytes:
    """A file of an array with a value per record, as zarr writes it in ten times the time.

    Fewer values than a file holds are followed by the fill value.
    """
    array, rows = group.arrays[name], group.rows(name)
    dtype = object if group.is_text(name) else np.dtype(array["data_type"])
    part = np.full(rows, array["fill_value"], dtype)
    part[: len(values)] = values
    how = array["codecs"][1]["configuration"]
    return pack_texts(part, how) if group.is_text(name) else pack(part, how)


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
    return {key: layouts.encode_json(about) for key, about in found.items()}
