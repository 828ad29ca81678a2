"""What writers of both kinds, of folders and of object stores, begin a change of a tile with."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from archive import record, recovery, schema
from archive.layout import STEP, ArchiveError, Layout
from archive.packing import DamageError
from archive.storage import Storage
from archive.tile import NO_TIME, Group
from grid import Chunk, Provenance, Tile
from healpix.arrays import Runs
from healpix.ids import parent_runs, runs_to_ids
from shared.counts import missing_of

if TYPE_CHECKING:
    import xarray as xr

NEXT_SLOT = ".next-slot"  # the file that remembers it when a tile is removed


class TileWriter(abc.ABC):
    """Who may change a tile."""

    def __init__(
        self, storage: Storage, layout: Layout, tile: Tile, load: Callable[[], Group | None]
    ) -> None:
        self._storage, self._layout, self._tile, self._load = storage, layout, tile, load

    @abc.abstractmethod
    def write(
        self,
        chunk: Chunk,
        cells: xr.Dataset,
        provenance: Provenance | None,
        replace: bool,
        instead_of: int | None,
    ) -> bool:
        """Add a record; False if there is one of this chunk already: see `store.Archive.write`."""

    @abc.abstractmethod
    def remove(self, chunk: Chunk) -> bool:
        """Remove a record; False if there is none."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Remove all records, readable or not."""

    def tidy(self) -> None:  # noqa: B027 (in an object store the next write does it)
        """Do what a writer that was killed behind its commit did not come to."""

    @staticmethod
    def _may_write(slots: list[int], replace: bool, instead_of: int | None) -> bool:
        """Whether a record may be added to a chunk with these slots."""
        if instead_of is not None:
            return slots[-1:] == [instead_of]
        return replace or not slots

    @abc.abstractmethod
    def _put_index(self, group: Group, runs: Runs) -> None:
        """Put the files that spell the tile's cells."""

    def _prepare(self, group: Group | None, cells: xr.Dataset) -> Group:
        """The tile, ready for a record of these cells; a new one, which is nowhere yet, for None.

        Raises ArchiveError unless the cells are those of the tile.
        """
        runs, gaps = runs_of(cells), record.gaps_of(cells)
        if group is None:
            group = self._new(runs, gaps)
        else:
            _require_same_cells(group, runs)
            gets_overviews = _bring_up_to_date(group, self._layout, runs)
            if gaps:
                _add_gaps(group, self._layout, runs)
            if not gets_overviews and recovery.index_is_whole(group):
                return group
        self._put_index(group, runs)
        return group

    def _new(self, runs: Runs, gaps: bool) -> Group:
        """A tile without a record.

        It goes on after the last slot of one that was removed, whose readers may still be about.
        """
        metadata = schema.new_metadata(self._tile, self._layout, runs, gaps)
        slots = int(self._storage.get(f"{self._tile.name}/{NEXT_SLOT}") or 0)
        rows = np.full(slots, NO_TIME, np.int64), np.zeros(slots, np.int8)
        group = Group(self._tile, self._storage, metadata, *rows)
        group.lengthen()
        return group

    def _shard_names(self, group: Group) -> list[str]:
        """The arrays that a slot may have shards of, also by a writer that was killed."""
        more = map(missing_of, self._layout.bands)
        return list(dict.fromkeys([*group.cell_arrays, *more]))


def ids_of(group: Group, runs: Runs) -> Iterator[tuple[str, npt.NDArray[np.uint64]]]:
    """The ids of the tile's cells and of its overviews', by the array that holds them."""
    for name in group.id_arrays:
        yield name, runs_to_ids(*runs)
        runs = parent_runs(*runs, STEP)


def runs_of(cells: xr.Dataset) -> Runs:
    """The runs that spell the ids of a record's cells."""
    return cells["start_ipix"].values, cells["run_len"].values


def _require_same_cells(group: Group, runs: Runs) -> None:
    """Raise ArchiveError unless these are the cells that the tile has."""
    try:
        has = recovery.runs(group)
        same = np.array_equal(has[0], runs[0]) and np.array_equal(has[1], runs[1])
    except DamageError:  # both copies: their numbers are still known
        same = (group.pix_len, group.runs_len) == (int(runs[1].sum()), len(runs[0]))
    if not same:
        raise ArchiveError(
            f"{group.tile.name}: the record has {int(runs[1].sum())} cells in {len(runs[0])} "
            f"runs, the archive has {group.pix_len} in {group.runs_len} for this tile, and "
            "they must be the same.  Nothing was written."
        )


def _bring_up_to_date(group: Group, layout: Layout, runs: Runs) -> bool:
    """Have a tile of before be as one of today; whether it gets overviews, which have ids.

    Arrays that it has keep their files: only what they say of themselves is new.
    """
    if group.metadata["attributes"].get("format_version") == layout.version:
        return False
    had = group.coarser
    metadata = schema.new_metadata(group.tile, layout, runs, group.has_gaps)
    group.metadata["attributes"] = metadata["attributes"]
    for name, array in metadata["consolidated_metadata"]["metadata"].items():
        group.arrays.setdefault(name, array)["attributes"] = array["attributes"]
    return group.coarser != had


def _add_gaps(group: Group, layout: Layout, runs: Runs) -> None:
    """Have arrays for pixels without a value in a band in a tile that has had no such record."""
    if not group.has_gaps:
        add_arrays(group, schema.new_metadata(group.tile, layout, runs, gaps=True))


def add_arrays(group: Group, metadata: Mapping[str, Any]) -> None:
    """Have the arrays of some metadata that a tile lacks, and bands say which count their gaps.

    Of metadata of a newer format the tile takes what it says of itself, too.
    """
    about, has = metadata["attributes"], group.metadata["attributes"]
    is_newer = about.get("format_version", 0) > has.get("format_version", 0)
    if is_newer:
        group.metadata["attributes"] = copy.deepcopy(about)
    for name, array in metadata["consolidated_metadata"]["metadata"].items():
        mine = group.arrays.setdefault(name, copy.deepcopy(array))
        if is_newer:
            mine["attributes"] = copy.deepcopy(array["attributes"])
    for name, array in group.arrays.items():
        if "/" not in name and missing_of(name) in group.arrays:
            array["attributes"]["ancillary_variables"] = f"count {missing_of(name)}"
    group.lengthen()
