"""A tile as a dataset of xarray: its records alone, in the order of time.

On disk slots are in the order of arrival, and those of removed records stay.  Here they are as
somebody wants them who selects a period: ``time`` ascends, and no day is there that is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from zarr.storage import StorePath

from archive.layout import NoRecordError
from archive.passes import UNKNOWN

if TYPE_CHECKING:
    from archive.contents import Contents
    from grid import Tile

LOADED = ("orbit", *UNKNOWN)  # small, and what records are chosen by


def open_tile(archive: Contents, tile: Tile) -> xr.Dataset:
    """The records of a tile: as `store.Archive.open` has it."""
    group = archive.load(tile)
    if group is None or not group.records():
        raise NoRecordError(f"The archive {archive.name} has no record of {tile.name}.")
    found: xr.Dataset = xr.open_zarr(StorePath(archive.files.zarr(), tile.name))
    for name in LOADED:
        if name in found:  # a tile of before has no times yet
            found[name].load()
    return found.isel(time=_in_order(found))


def open_tree(archive: Contents, tiles: Iterable[Tile]) -> xr.DataTree:
    """Tiles and their overviews: as `store.Archive.tree` has it.

    By the metadata that each tile is committed with: those that overviews have by themselves
    follow a commit, and after a kill they may be behind.
    """
    nodes: dict[str, xr.DataTree] = {}
    for tile in tiles:
        place = StorePath(archive.files.zarr(), tile.name)
        found = xr.open_datatree(place, engine="zarr", chunks={})  # type: ignore[arg-type]
        order = _in_order(found.to_dataset())
        if order:
            nodes[tile.name] = found.isel(time=order)
    return xr.DataTree(children=nodes)


def _in_order(found: xr.Dataset) -> list[int]:
    """The slots that hold records, by day and orbit; of one that was replaced the last one."""
    times, orbits = found["time"].values, found["orbit"].values
    there = np.flatnonzero(~np.isnat(times) & (orbits >= 0))
    last = {(times[slot], orbits[slot]): int(slot) for slot in there}
    return [last[key] for key in sorted(last)]
