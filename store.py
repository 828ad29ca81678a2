"""The archive: what was seen of each tile on each day, kept so that nothing is ever half there.

A tile is a Zarr group, a record is one slot along its time axis, and each variable of a
record is one file (`schema` has the layout).  A write puts the files of slot n where
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
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from dataclasses import replace as changed
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr
from filelock import FileLock, Timeout

import healpix
from archive.bucket_writer import ObjectWriter
from archive.claims import Claims
from archive.folder_writer import Disk, Writer, make_folder
from archive.schema import (
    FORMAT_VERSION,
    LOCK,
    Layout,
    encode_json,
    exact_size,
    read_layout,
    root_metadata,
)
from archive.schema import ArchiveError as ArchiveError
from archive.shards import DamageError, Group, Spans
from archive.snapshot import NoRecordError as NoRecordError
from archive.snapshot import View as View
from archive.storage import Bucket, Folder, Site, storage_at
from grid import BBox, Chunk, Provenance, Tile
from shared import judge
from shared.files import is_disk_full, reason

PIX_MAX = 10_485_760  # cells that a shard is padded to; a tile at the equator has 9,997,416
RUNS_MAX = 8192  # runs that a tile's index is padded to; a tile at the equator has 6,335
KEEP_BITS: int | None = None  # bits of the mantissa that a new archive keeps; None: all 23
LOCK_WAIT = 600  # seconds to wait for another process that is writing to the same tile

COUNTED = 10**8  # cells of a tile; of more the area says enough
MANTISSA = 23  # bits that a float32 has
TILES = 8  # tiles that are opened at a time, where each request takes long

Opened = TypeVar("Opened")

MOST = 2**31  # of PIX_MAX and RUNS_MAX: beyond, no tile is of use

RECORD_COLUMNS = (
    "tile", "day", "orbit", "bands", "seen", "bytes",
    "backend", "collection", "job_id", "processed", "synthetic",
    "relative_orbits", "platforms", "acquired", "job_options", "soft_errors", "covered", "partial",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The constants at the top that a new archive is made with, judged."""

    pix_max: int
    runs_max: int
    keep_bits: int | None


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    judge.number("LOCK_WAIT in store.py", LOCK_WAIT)
    judge.whole("TILES in store.py", TILES, 1)
    bits = "KEEP_BITS in store.py"
    return Settings(
        judge.whole("PIX_MAX in store.py", PIX_MAX, 1, MOST),
        judge.whole("RUNS_MAX in store.py", RUNS_MAX, 1, MOST),
        None if KEEP_BITS is None else judge.whole(bits, KEEP_BITS, 1, MANTISSA),
    )


@dataclass(frozen=True)
class Damage:
    """What `Archive.verify` found; ``chunk`` is None if it concerns the whole tile."""

    tile: Tile
    chunk: Chunk | None
    variable: str
    reason: str

    def __str__(self) -> str:
        return f"{self.chunk or self.tile.name}, {self.variable}: {self.reason}"


class Archive:
    """An archive in a folder.  Opening it creates nothing; the first `write` does.

    ``path`` may be the URL of a folder, of any kind that fsspec knows (``https://``, ``s3://``
    with s3fs); such an archive can be read, not written.  Raises ArchiveError if the path is
    neither an archive nor free for one, or if the archive is of a newer format.  ``disk`` is
    what changes a folder (for tests and measurements).
    """

    def __init__(self, path: str | Path, disk: type[Disk] = Disk) -> None:
        try:
            self._files = storage_at(path)
            self._layout = read_layout(self._files)
        except (ImportError, ValueError) as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(f"{path} cannot be read: {error}.") from error
        self._disk = disk
        if self._layout is None and isinstance(self._files, Site):
            raise ArchiveError(f"There is no archive at {path}.")

    @property
    def name(self) -> str:
        """The path or URL, as people write it."""
        return self._files.name

    @property
    def path(self) -> Path:
        """The folder.  Raises ArchiveError for an archive at a URL."""
        if not isinstance(self._files, Folder):
            raise ArchiveError(f"{self.name} is a URL, not a folder.")
        return self._files.path

    @property
    def is_folder(self) -> bool:
        """Whether the archive is in a folder; else it is at a URL."""
        return isinstance(self._files, Folder)

    def require_writable(self) -> None:
        """Raise ArchiveError if the archive is of a kind that can be read only."""
        if not isinstance(self._files, Folder | Bucket):
            raise ArchiveError(
                f"{self.name} is a URL.  An archive there can be read, but not changed."
            )

    @property
    def layout(self) -> Layout | None:
        """What the archive is made of; None while there is none."""
        if self._layout is None:
            self._layout = read_layout(self._files)
        return self._layout

    def require(
        self, nside: int, ellipsoid: str, chunk_size: Iterable[float], bands: Iterable[str]
    ) -> None:
        """Raise ArchiveError, naming both values, unless such records can be written to it."""
        self.require_writable()
        layout = self.layout
        if layout is None:
            return
        asked = {
            "NSIDE": (layout.nside, int(nside)),
            "ELLIPSOID": (layout.ellipsoid, ellipsoid),
            "CHUNK_SIZE": (layout.chunk_size, exact_size(chunk_size)),
            "BANDS": (tuple(sorted(layout.bands)), tuple(sorted(bands))),
        }
        for name, (has, wants) in asked.items():
            if has != wants:
                raise ArchiveError(
                    f"The archive {self.name} was made with {name} = {has}, but now {name} is "
                    f"{wants}.  Nothing was written.  Set it back, or use another archive."
                )

    def require_room(self, tiles: Iterable[Tile], nside: int, ellipsoid: str) -> None:
        """Raise ArchiveError unless each of these tiles has cells, and room for all of them.

        A tile's cells depend on its latitude and on its longitude within a base face, so
        few tiles have to be counted.
        """
        made = settings()
        limits = {
            "cells": ("PIX_MAX", self.layout.pix_max if self.layout else made.pix_max),
            "runs": ("RUNS_MAX", self.layout.runs_max if self.layout else made.runs_max),
        }
        for tile in {(t.south, t.west % 90, t.size): t for t in tiles}.values():
            for (what, (name, limit)), has in zip(
                limits.items(), _extent(tile, nside, ellipsoid, limits["cells"][1]), strict=True
            ):
                if has > limit:
                    raise ArchiveError(self._no_room(tile.name, has, what, limit, name))
                if has == 0:
                    raise ArchiveError(
                        f"The tile {tile.name} has no cell: CHUNK_SIZE in download.py is too "
                        f"small for NSIDE {nside} in convert.py.  Nothing was done."
                    )

    def _no_room(self, where: str, has: int, what: str, limit: int, name: str) -> str:
        made = "was made" if self.layout else "would be made"
        return (
            f"{where}: the tile has {has} {what}, but the archive {self.name} {made} with room "
            f"for {limit} ({name} in store.py).  Nothing was written.  Take a smaller "
            f"CHUNK_SIZE or NSIDE, or a new archive with a larger {name}."
        )

    # --- what there is ---

    def tiles(self) -> list[Tile]:
        """The tiles that there are, sorted from west to east.

        In a folder they have records; in an object store all may have been removed.
        """
        found = self._named_tiles()
        sizes = self._files.sizes([f"{tile.name}/zarr.json" for tile in found])
        return [tile for tile, size in zip(found, sizes, strict=True) if size is not None]

    def chunks(self, tile: Tile | None = None) -> list[Chunk]:
        """The records of one tile, or of all, sorted by tile and day."""
        groups = self._groups(self._named_tiles() if tile is None else [tile])
        return [chunk for group in groups for chunk in group.records()]

    def has(self, chunk: Chunk) -> bool:
        """Whether there is a record of this chunk."""
        group = self._load(chunk.tile)
        return group is not None and bool(group.slots(chunk))

    def records(self, tiles: Iterable[Tile] | None = None) -> pd.DataFrame:
        """One row per record, of all tiles or of some: `RECORD_COLUMNS`.  Reads no pixel.

        ``seen`` is the share of the tile's cells that hold a value, ``bytes`` the size of
        the record's shards on disk; what is not known of its origin is None.  What
        the catalogue said of the images is in three lists and in ``covered``, the share of
        the tile that it promised; ``partial`` is a record that shows much less.
        """
        rows: list[dict[str, Any]] = []
        for group in self._groups(self._named_tiles() if tiles is None else tiles, "provenance"):
            found = group.records()
            about = group.about(found.values())
            rows += map(_row, repeat(group), found, found.values(), about)
        return pd.DataFrame(rows, columns=list(RECORD_COLUMNS))

    # --- reading ---

    def view(self, tile: Tile) -> View | None:
        """A tile as it is now, to read much of it; None if there is none of this archive's size.

        Raises ArchiveError if what its records share is damaged.
        """
        layout = self.layout
        if layout is None or exact_size(tile.size) != layout.chunk_size:
            return None
        return self._opened(tile, lambda: View.open(self._files, layout, tile))

    def views(self, tiles: Iterable[Tile] | None = None) -> list[View]:
        """The tiles as they are now, of all or of those named that there are."""
        return self._each(self.view, self._named_tiles() if tiles is None else tiles)

    def read(
        self,
        chunk: Chunk,
        bbox: BBox | None = None,
        level: int | None = None,
        variables: Iterable[str] | None = None,
    ) -> xr.Dataset:
        """The cells of a record: `View.read` of its tile as it is now."""
        names = None if variables is None else list(variables)
        while (view := self.view(chunk.tile)) is not None and chunk in view.chunks():
            with contextlib.suppress(NoRecordError):  # removed or replaced while it was read
                return view.read(chunk, bbox, level, names)
        raise NoRecordError(f"The archive {self.name} has no record of {chunk}.")

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[Damage]:
        """Read everything again and name what is damaged, sorted by tile and day.

        ``progress`` is called with the number of records done and of all.
        """
        found: list[Damage] = []
        groups: list[Group] = []
        for tile in self.tiles():
            try:
                groups += [group] if (group := self._load(tile)) else []
            except ArchiveError as error:
                found.append(Damage(tile, None, "zarr.json", str(error)))
        done, total = 0, sum(len(group.records()) for group in groups)
        for group in groups:
            found += _verify_tile(group)
            records = group.records()
            about = group.about(records.values())
            for (chunk, slot), known in zip(records.items(), about, strict=True):
                damages = list(_verify_record(group, chunk, slot, known))
                if damages and self._is_at(chunk, slot):  # not removed in the meantime
                    found += damages
                done += 1
                if progress is not None:
                    progress(done, total)
        return sorted(found, key=lambda damage: damage.tile)

    def claims(self, machine: str, lasts: float) -> Claims | None:
        """Who orders which chunk, for the machine with this journal; None for a folder.

        What is downloaded for a folder has one journal and one lock, beside the folder.
        ``lasts``: seconds after which the claim of a machine ends that does not renew it.
        """
        files = self._files
        return Claims(files, machine, lasts) if isinstance(files, Bucket) else None

    # --- writing ---

    def write(
        self,
        chunk: Chunk,
        cells: xr.Dataset,
        provenance: Provenance | None = None,
        replace: bool = False,
    ) -> bool:
        """Add a record; False if there is one of this chunk already.

        ``cells``: a whole tile, as `convert.raster_to_cells` returns it.  With ``replace``
        a record that is there already, say a damaged one, is replaced.  Raises
        ArchiveError if the cells do not fit the archive, OSError if the disk is full or
        cannot be written; in either case nothing of the record is kept.
        """
        self.require_writable()
        layout = _layout_of(chunk, cells)
        self._require_fit(chunk, layout, cells)
        with self._explained(str(chunk)):
            if self.layout is None:
                self._create(layout)
                self._require_fit(chunk, layout, cells)
            self._raise_version()
            with self._writer(chunk.tile) as writer:
                return writer.write(chunk, cells, provenance, replace)

    def remove(self, chunk: Chunk) -> bool:
        """Remove a record; False if there is none.  A tile's last record takes the tile along."""
        self.require_writable()
        if not self.has(chunk):
            return False
        with self._explained(str(chunk)), self._writer(chunk.tile) as writer:
            return writer.remove(chunk)

    def remove_tile(self, tile: Tile) -> bool:
        """Remove all records of a tile, readable or not; False if there are none."""
        self.require_writable()
        if self.layout is None or self._files.get(f"{tile.name}/zarr.json") is None:
            return False
        with self._explained(tile.name), self._writer(tile) as writer:
            writer.clear()
        return True

    # --- behind the scenes ---

    def _named_tiles(self) -> list[Tile]:
        """The tiles that have a folder, sorted from west to east."""
        layout, found = self.layout, []
        if layout is None:
            return []
        for name in self._files.entries():
            with contextlib.suppress(ValueError):  # not a tile's name
                found.append(Tile.from_name(name, layout.chunk_size))
        return sorted(found)

    def _groups(self, tiles: Iterable[Tile], *also: str) -> list[Group]:
        """Those of these tiles that there are, with what else is needed of them."""
        return self._each(lambda tile: self._load(tile, *also), tiles)

    def _each(self, open_: Callable[[Tile], Opened | None], tiles: Iterable[Tile]) -> list[Opened]:
        """What there is of these tiles; several are opened at a time where that takes long."""
        if not self._files.is_far:
            return [found for found in map(open_, tiles) if found is not None]
        with ThreadPoolExecutor(TILES) as pool:
            return [found for found in pool.map(open_, tiles) if found is not None]

    def _load(self, tile: Tile, *also: str) -> Group | None:
        layout = self.layout
        if layout is None or exact_size(tile.size) != layout.chunk_size:
            return None
        return self._opened(tile, lambda: Group.load(self._files, tile, also))

    def _opened(self, tile: Tile, load: Callable[[], Opened]) -> Opened:
        try:
            try:
                return load()
            except DamageError:  # it may have been removed between two of its files
                return load()
        except DamageError as error:
            raise ArchiveError(
                f"Tile {tile.name} of {self.name} is damaged ({error}).  The other tiles "
                f"can be read.  Remove the folder {tile.name} and order its records again."
            ) from error

    def _is_at(self, chunk: Chunk, slot: int) -> bool:
        """Whether the record of a chunk is (still) in this slot."""
        group = self._load(chunk.tile)
        return group is not None and group.slots(chunk)[-1:] == [slot]

    def _require_fit(self, chunk: Chunk, wanted: Layout, cells: xr.Dataset) -> None:
        self.require(wanted.nside, wanted.ellipsoid, wanted.chunk_size, wanted.bands)
        layout = self.layout or wanted
        for dim, limit, name in (
            ("cells", layout.pix_max, "PIX_MAX"),
            ("runs", layout.runs_max, "RUNS_MAX"),
        ):
            if cells.sizes[dim] > limit:
                raise ArchiveError(self._no_room(str(chunk), cells.sizes[dim], dim, limit, name))

    def _create(self, layout: Layout) -> None:
        """Make the archive, unless another process just did."""
        if isinstance(self._files, Bucket):
            data = encode_json(root_metadata(layout))
            if self._files.put_if("zarr.json", data, None):
                self._files.require_conditions("zarr.json", data)
            return
        make_folder(self.path)
        with FileLock(self.path / LOCK, timeout=LOCK_WAIT):
            if read_layout(self._files) is None:
                disk = self._disk(self.path)
                for stray in self.path.glob("*.partial*"):
                    disk.discard(stray.name)
                disk.put("zarr.json", encode_json(root_metadata(layout)))
        with contextlib.suppress(OSError):  # Windows: the other process still has it open
            (self.path / LOCK).unlink()

    def _raise_version(self) -> None:
        """Let no older program open an archive of an older version once this one writes to it."""
        layout = self.layout
        if layout is None or layout.version == FORMAT_VERSION:
            return
        self._layout = changed(layout, version=FORMAT_VERSION)
        data = encode_json(root_metadata(self._layout))
        if isinstance(self._files, Bucket):
            self._files.put("zarr.json", data)  # the same, whoever puts it
            return
        with FileLock(self.path / LOCK, timeout=LOCK_WAIT):
            self._disk(self.path).put("zarr.json", data)

    @contextlib.contextmanager
    def _writer(self, tile: Tile) -> Iterator[Writer | ObjectWriter]:
        """Who may change a tile, for as long as the context lasts."""
        layout = self.layout
        assert layout is not None
        if isinstance(self._files, Bucket):
            yield ObjectWriter(self._files, layout, tile, lambda: self._load(tile))
            return
        folder = self.path / tile.name
        make_folder(folder)
        lock = FileLock(folder / LOCK, timeout=LOCK_WAIT)
        try:
            lock.acquire()
        except Timeout:
            raise ArchiveError(
                f"Another process has been writing to tile {tile.name} of {self.name} for "
                f"{LOCK_WAIT} seconds.  Nothing was written.  Wait for it, or stop it."
            ) from None
        disk = self._disk(self.path)
        try:
            yield Writer(disk, layout, tile, lambda: self._load(tile))
        finally:
            disk.retire()
            lock.release()

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Have an OSError say what was to be written, what was kept and what to do."""
        try:
            yield
        except OSError as error:
            if not self.is_folder:
                raise  # its errors are whole sentences
            what_is = "is full" if is_disk_full(error) else f"cannot be written ({reason(error)})"
            raise OSError(
                error.errno,
                f"{what}: the disk of the archive {self.name} {what_is}.  Nothing half done was "
                "kept, all records in it are whole.  Mend that, then run the same command to "
                "go on.",
            ) from error


# --- small helpers ---------------------------------------------------------------------


def _layout_of(chunk: Chunk, cells: xr.Dataset) -> Layout:
    """What an archive of such cells is made of.  Raises ArchiveError if they are not right."""
    bands = tuple(str(n) for n in cells.data_vars if n not in ("count", "start_ipix", "run_len"))
    wanted = dict.fromkeys(bands, ("cells", "float32")) | {
        "count": ("cells", "uint16"),
        "start_ipix": ("runs", "uint64"),
        "run_len": ("runs", "uint32"),
    }
    for name, (dim, dtype) in wanted.items():
        if name not in cells or cells[name].dims != (dim,) or cells[name].dtype != dtype:
            has = f"{cells[name].dims} {cells[name].dtype}" if name in cells else "missing"
            raise ArchiveError(f"{chunk}: {name} must be ({dim}) {dtype}; it is {has}.")
    nside, ellipsoid = int(cells.attrs.get("nside", 0)), cells.attrs.get("ellipsoid")
    start, length = (cells[name].values.astype(np.int64) for name in ("start_ipix", "run_len"))
    size, ends = cells.sizes["cells"], start + length
    for is_so, problem in (
        (not bands, "there is no band"),
        (nside < 1 or nside & (nside - 1), f"nside is {nside}, which is no power of 2"),
        (ellipsoid not in healpix.ELLIPSOIDS, f"the ellipsoid is {ellipsoid}"),
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
    made = settings()
    return Layout(
        nside, str(ellipsoid), chunk_size, bands, made.pix_max, made.runs_max, made.keep_bits
    )


def _extent(tile: Tile, nside: int, ellipsoid: str, limit: int) -> tuple[int, int]:
    """Cells and runs of a tile; far beyond the limit the cells by its area alone, and no runs."""
    south, north = math.radians(tile.south), math.radians(tile.north)
    share = (tile.east - tile.west) / 360 * (math.sin(north) - math.sin(south)) / 2
    cells = round(12 * nside**2 * share)
    if cells > max(2 * limit, COUNTED):
        return cells, 1
    _, length = healpix.box_runs(tile.bbox, nside, ellipsoid)
    return int(length.sum()), len(length)


def _row(group: Group, chunk: Chunk, slot: int, about: dict[str, Any]) -> dict[str, Any]:
    """What `Archive.records` says of a record."""
    sizes = about.get("bytes") or group.shard_sizes(slot)
    bands = [name for name in sizes if name != "count" and "/" not in name and sizes[name]]
    source = about.get("source", "unknown").lower()
    made_up = None if source.startswith("unknown") else source.startswith("synthetic")
    return {
        "tile": chunk.tile.name,
        "day": chunk.day,
        "orbit": chunk.orbit,
        "bands": ",".join(bands),
        "seen": about["seen"] / group.pix_len if "seen" in about else None,
        "bytes": sum(sizes.values()),
        **{name: about.get(name) for name in RECORD_COLUMNS[6:]},
        "synthetic": about.get("synthetic", made_up),
        "partial": about.get("partial", False),
    }


def _verify_tile(group: Group) -> Iterator[Damage]:
    for error in group.check():
        help_ = (
            "where its records come from is lost, the records themselves are not"
            if error.variable == "provenance"
            else "it is kept twice, and the next write to the tile mends it"
        )
        yield Damage(group.tile, None, error.variable, f"{error.reason}; {help_}")


def _verify_record(
    group: Group, chunk: Chunk, slot: int, about: dict[str, Any]
) -> Iterator[Damage]:
    found: dict[str, Any] = {}
    for _, level in groupby(group.written(about), lambda name: name.rpartition("/")[0]):
        names = list(level)  # all of one level at a time
        found |= group.try_read(names, slot, Spans.whole(group.size(names[0])), about)
    for name, values in found.items():
        if isinstance(values, DamageError):
            yield Damage(group.tile, chunk, name, values.reason)
        elif name == "count":
            seen = int(np.count_nonzero(values))
            if about.get("seen", seen) != seen:
                reason = f"{seen} cells are seen, but {about['seen']} were"
                yield Damage(group.tile, chunk, name, reason)
