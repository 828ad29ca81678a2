"""The archive: what was seen of each tile on each day, kept so that nothing is ever half there.

A tile is a Zarr group, a record is one slot along its time axis, and each variable of a
record is one file (`archive.schema` has the layout).  A write puts the files of slot n where
nobody looks yet, has them synced to disk, and then makes the record visible by one atomic
replace: that of the tile's ``zarr.json``, whose consolidated metadata says how many slots
there are.  So whoever reads at any moment, and whatever is killed at any moment,

    a tile has n or n + 1 whole records, never anything between.

Two rules keep readers right that opened the tile earlier: a slot's files are never
changed once they are visible, and the slot of a removed record is never used again (its
time becomes NaT).  Slots are in the order of writing, not of time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from archive.contents import Contents
from archive.layout import ArchiveError as ArchiveError
from archive.layout import NoRecordError as NoRecordError
from archive.listing import RECORD_COLUMNS as RECORD_COLUMNS
from archive.settings import Settings as Settings
from archive.settings import judged
from archive.storage import Bucket
from grid import Box, Chunk, Provenance, Tile
from shared.collection import SENTINEL1

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from archive.claims import Claims
    from archive.damage import Damage
    from archive.folder_writer import Disk

PIX_MAX = 10_485_760  # cells that a shard is padded to; a tile at the equator has 9,997,416
RUNS_MAX = 8192  # runs that a tile's index is padded to; a tile at the equator has 6,335
KEEP_BITS: int | None = None  # bits of the mantissa that a new archive keeps; None: all 23
LOCK_WAIT = 600  # seconds to wait for another process that is writing to the same tile
TILES = 8  # tiles that are opened at a time, where each request takes long

__all__ = [
    "KEEP_BITS", "LOCK_WAIT", "PIX_MAX", "RECORD_COLUMNS", "RUNS_MAX", "TILES",
    "Archive", "ArchiveError", "NoRecordError", "Settings", "settings",
]  # fmt: skip
__dir__ = sorted(__all__).copy  # what is offered, for `dir`


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    return judged(globals())


class Archive(Contents):
    """An archive in a folder.  Opening it creates nothing; the first `write` does.

    ``path`` may be the URL of an object store (``s3://``, ``gs://``, ``az://``), read and
    written as well, or ``https://``, which can be read only.  Raises ArchiveError if the path is
    neither an archive nor free for one, or if the archive is of a newer format.  ``disk`` is
    what changes a folder (for tests and measurements).

    What there is: `name`, `path`, `layout`, `tiles()`, `chunks(tile)`, and `view(tile)` or
    `views(tiles)` for who reads much of a tile.
    """

    def __init__(self, path: str | Path, disk: type[Disk] | None = None) -> None:
        super().__init__(path, settings)
        self._disk = disk

    def __repr__(self) -> str:
        from archive import summary

        return summary.as_text(self)

    def _repr_html_(self) -> str:
        from archive import summary

        return summary.as_html(self)

    # --- looking and reading ---

    def has(self, chunk: Chunk) -> bool:
        """Whether there is a record of this chunk."""
        return self.slot(chunk) is not None

    def records(self, tiles: Iterable[Tile] | None = None) -> pd.DataFrame:
        """One row per record, of all tiles or of some: `RECORD_COLUMNS`.  Reads no pixel.

        ``seen`` is the share of the tile's cells that hold a value, ``bytes`` the size of
        the record's shards on disk; what is not known of its origin is None.  What
        the catalogue said of the images is in three lists and in ``covered``, the share of
        the tile that it promised; ``partial`` is a record that shows much less.
        """
        from archive import listing

        return listing.records(self, tiles)

    def read(
        self,
        chunk: Chunk,
        bbox: Box | None = None,
        level: int | None = None,
        variables: Iterable[str] | None = None,
    ) -> xr.Dataset:
        """The cells of a record: `View.read` of its tile as it is now."""
        names = None if variables is None else list(variables)
        while (view := self.view(chunk.tile)) is not None and chunk in view.chunks():
            with contextlib.suppress(NoRecordError):  # removed or replaced while it was read
                return view.read(chunk, bbox, level, names)
        raise NoRecordError(f"The archive {self.name} has no record of {chunk}.")

    def open(self, tile: Tile | str) -> xr.Dataset:
        """The records of a tile, or of the tile with this name, by xarray: lazy, on dask.

        ``<band>(time, cells)`` float32, ``count(time, cells)`` uint16, and along ``time``, which
        ascends, the coordinates ``time`` (the UTC day), ``orbit``, and by the catalogue, where it
        was asked, ``acquired_begin`` and ``acquired_end`` (UTC; NaT: not known), ``platform`` ("":
        not known) and ``relative_orbit`` (0: not known, -1: several).  ``cell_ids(cells)`` are
        those that `xdggs.decode` wants.  Raises NoRecordError for a tile without a record.
        """
        from archive import dataset

        if isinstance(tile, str):
            tile = self.tile_named(tile)
        return dataset.open_tile(self, tile)

    def tree(self, tiles: Iterable[Tile] | None = None) -> xr.DataTree:
        """All tiles, or some, with their overviews: "E007.0_N50.0/16"; each as `open` has it."""
        from archive import dataset

        return dataset.open_tree(self, self.tiles() if tiles is None else tiles)

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[Damage]:
        """Read everything again and name what is damaged, sorted by tile and day.

        ``progress`` is called with the number of records done and of all.
        """
        from archive import damage

        return damage.verify(self, progress)

    # --- writing ---

    def require(
        self,
        nside: int,
        ellipsoid: str,
        chunk_size: Iterable[float],
        bands: Iterable[str],
        collection: str = SENTINEL1.name,
    ) -> None:
        """Raise ArchiveError, naming both values, unless such records can be written to it."""
        from archive import fit

        fit.require_same_settings(self, nside, ellipsoid, chunk_size, bands, collection)

    def require_room(self, tiles: Iterable[Tile], nside: int, ellipsoid: str) -> None:
        """Raise ArchiveError unless each of these tiles has cells, and room for all of them."""
        from archive import fit

        fit.require_room(self, tiles, nside, ellipsoid)

    def write(
        self,
        chunk: Chunk,
        cells: xr.Dataset,
        provenance: Provenance | None = None,
        replace: bool = False,
        instead_of: int | None = None,
    ) -> bool:
        """Add a record; False if there is one of this chunk already.

        ``cells``: a whole tile, as `convert.raster_to_cells` returns it.  With ``replace``
        a record that is there already, say a damaged one, is replaced; with ``instead_of`` only
        the one that was in this `slot`, and False says that it is no longer there.  Raises
        ArchiveError if the cells do not fit the archive, OSError if the disk is full or
        cannot be written; in either case nothing of the record is kept.
        """
        from archive import changes

        disk = self._disk or changes.Disk
        return changes.write(self, disk, chunk, cells, provenance, replace, instead_of)

    def tidy(self, tile: Tile) -> None:
        """Do what a writer of this tile that was killed behind its commit did not come to."""
        from archive import changes

        changes.tidy(self, self._disk or changes.Disk, tile)

    def remove(self, chunk: Chunk) -> bool:
        """Remove a record; False if there is none.  A tile's last record takes the tile along."""
        from archive import changes

        return changes.remove(self, self._disk or changes.Disk, chunk)

    def remove_tile(self, tile: Tile) -> bool:
        """Remove all records of a tile, readable or not; False if there are none."""
        from archive import changes

        return changes.remove_tile(self, self._disk or changes.Disk, tile)

    def claims(self, machine: str, lasts: float) -> Claims | None:
        """Who orders which chunk, for the machine with this journal; None for a folder.

        What is downloaded for a folder has one journal and one lock, beside the folder.
        ``lasts``: seconds after which the claim of a machine ends that does not renew it.
        """
        from archive.claims import Claims

        return Claims(self.files, machine, lasts) if isinstance(self.files, Bucket) else None
