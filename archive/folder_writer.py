"""Changing a tile, one writer at a time, so that each change is there wholly or not at all.

A write puts the files of slot n where nobody looks yet, and then commits: it replaces the
tile's ``zarr.json``, whose consolidated metadata says how many slots there are.  A
removal commits by replacing ``time``, where the record's day becomes NaT.  Every put is on
disk (fsync) before the next one begins, so the order holds across a power cut, too.

What a killed writer leaves behind is where nobody looks: partial files, files of slots
that were never committed, files of removed records.  The next writer of the tile removes
them first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from archive import arrays, record, schema
from archive import layout as layouts
from archive.layout import LOCK, ArchiveError, Layout
from archive.passes import ACQUIRED_BEGIN
from archive.storage import Folder
from archive.tile import NO_TIME, Group, key_of
from archive.tile_writer import NEXT_SLOT, TileWriter, ids_of
from grid import Chunk, Provenance, Tile
from healpix.arrays import Runs
from shared.files import is_disk_full, replacing, sync_folder

if TYPE_CHECKING:
    import xarray as xr

PATIENCE = 40  # turns of 0.05 s to wait for a reader, where open files cannot be replaced


class Disk(LocalStore):
    """zarr's local store, but each put is on disk before the next one begins.

    The store of zarr 3.1.6 writes beside and renames, which is atomic, but never calls
    fsync: after a power cut the commit could be there without the data.  Everything that
    the archive changes on disk goes through `put` and `discard`.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._changing = threading.Lock()
        self._retired = False

    def put(self, key: str, data: Any) -> None:
        """Write or replace one file, atomically and durably."""
        path = self.root / key
        with self._change():
            make_folder(path.parent)
            for turn in range(PATIENCE):
                try:
                    with replacing(path) as temporary:
                        temporary.write_bytes(data)
                    break
                except PermissionError:  # Windows: somebody is reading the old file
                    if os.name != "nt" or turn == PATIENCE - 1:
                        raise
                    time.sleep(0.05)

    def discard(self, key: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing there is fine."""
        path = self.root / key
        with self._change():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)

    def retire(self) -> None:
        """Let no change begin any more, and wait for the one under way.

        zarr works in a thread of its own, which goes on when Ctrl-C ends the write: it
        must not put a file when the tile's lock has been handed on.
        """
        with self._changing:
            self._retired = True

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._changing:
            if self._retired:
                raise RuntimeError("This write was given up.")
            yield

    async def set(self, key: str, value: Buffer) -> None:
        """`put`, as zarr calls it."""
        await asyncio.to_thread(self.put, key, value.as_buffer_like())

    async def delete(self, key: str) -> None:
        """`discard`, as zarr calls it."""
        await asyncio.to_thread(self.discard, key)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, durably."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


class FolderWriter(TileWriter):
    """What is done to a tile in a folder while its lock is held."""

    def __init__(
        self, disk: Disk, layout: Layout, tile: Tile, load: Callable[[], Group | None]
    ) -> None:
        super().__init__(Folder(disk.root), layout, tile, load)
        self._disk, self._folder = disk, disk.root / tile.name

    def write(
        self,
        chunk: Chunk,
        cells: xr.Dataset,
        provenance: Provenance | None,
        replace: bool,
        instead_of: int | None,
    ) -> bool:
        """Add a record; False if there is one of this chunk already: see `store.Archive.write`."""
        group = self._load()
        old = group.slots(chunk) if group else []
        if not self._may_write(old, replace, instead_of):
            with contextlib.suppress(OSError):
                self.tidy()
            return False
        try:
            if group is None:
                group = self._begin(cells)
            else:
                self._sweep(group)
                group = self._prepare(group, cells)
            self._append(group, chunk, cells, provenance)
        except BaseException:
            with contextlib.suppress(OSError, ArchiveError):
                self._undo()
            raise
        # The record is there.  The next writer makes up for what fails from here on.
        with contextlib.suppress(OSError):
            self._put_array_metadata(group)
            self._forget(group, old)
        return True

    def remove(self, chunk: Chunk) -> bool:
        """Remove a record; False if there is none.  A tile's last record takes the tile along."""
        group = self._load()
        slots = group.slots(chunk) if group else []
        if group is None or not slots:
            return False
        if list(group.records()) == [chunk]:
            self.clear()
        else:
            self._forget(group, slots)
        return True

    def tidy(self) -> None:
        """Do what a writer that was killed behind its commit did not come to."""
        group = self._load()
        if group is not None:
            self._sweep(group)
            self._put_array_metadata(group)

    def clear(self) -> None:
        """Remove all but the lock.  Without its metadata, which goes first, it is no tile."""
        if (self._folder / "zarr.json").exists():
            try:
                self._disk.put(f"{self._tile.name}/{NEXT_SLOT}", str(self._slots()).encode())
            except OSError as error:
                if not is_disk_full(error):  # removing is how one makes room
                    raise
            self._discard("zarr.json")
        for path in sorted(self._folder.iterdir()):
            if path.name not in (LOCK, NEXT_SLOT):
                self._discard(path.name)

    def _slots(self) -> int:
        """How many slots the tile has used, also if its metadata is damaged."""
        with contextlib.suppress(ArchiveError):
            group = self._load()
            return len(group.times) if group else 0
        slots = (path.name for path in self._folder.glob("*/c/*"))
        return max((int(slot) + 1 for slot in slots if slot.isdecimal()), default=0)

    def _begin(self, cells: xr.Dataset) -> Group:
        """A new tile: its index is on disk, its metadata is not."""
        self.clear()  # what a killed writer may have left
        group = self._prepare(None, cells)
        slots = len(group.times)
        for slot in range(0, slots, schema.ROWS):
            self._put_row(group, "provenance", [""] * slots, slot)
            self._put_row(group, "orbit", group.orbits, slot)
            self._put_row(group, "time", group.times, slot)
        if slots:
            self._put_passes(group, [""] * slots, 0)
        return group

    def _append(
        self, group: Group, chunk: Chunk, cells: xr.Dataset, provenance: Provenance | None
    ) -> None:
        """Fill the next slot and commit it."""
        slot, texts, timed = len(group.times), group.texts(), group.timed
        seconds, orbit = key_of(chunk)
        group.times = np.append(group.times, seconds)
        group.orbits = np.append(group.orbits, np.int8(orbit))
        group.lengthen()
        for name, data in record.shards_of(cells, group, self._layout):
            self._disk.put(group.shard(name, slot), data)
        texts.append(record.text_of(chunk, cells, group.shard_sizes(slot), provenance))
        self._put_passes(group, texts, timed)
        self._put_row(group, "provenance", texts, slot)
        self._put_row(group, "orbit", group.orbits, slot)
        self._put_row(group, "time", group.times, slot)
        self._disk.put(f"{self._tile.name}/zarr.json", layouts.encode_json(group.metadata))

    def _forget(self, group: Group, slots: list[int]) -> None:
        """Remove these slots' records.  The replace of ``time`` is what commits it."""
        texts = group.texts() if slots else []
        for slot in slots:
            group.times[slot], texts[slot] = NO_TIME, ""
            self._put_row(group, "time", group.times, slot)
            self._put_row(group, "provenance", texts, slot)
            with contextlib.suppress(OSError):  # Windows: somebody is reading it
                for name in self._shard_names(group):
                    self._discard(f"{name}/c/{slot}")

    def _sweep(self, group: Group) -> None:
        """Remove what killed writers left behind."""
        live = group.live()
        for name in self._shard_names(group):
            there = self._folder / name / "c"
            for path in there.iterdir() if there.is_dir() else ():
                if not (path.name.isdecimal() and int(path.name) in live):
                    self._discard(f"{name}/c/{path.name}")
        for file in list(self._files_besides(group.cell_arrays, max(live, default=-1))):
            if ".partial" in file.name:
                self._discard(Path(file).relative_to(self._folder).as_posix())
        texts = group.texts()
        half_removed = [
            slot
            for slot, seconds in enumerate(group.times.tolist())
            if slot not in live and (seconds != NO_TIME or texts[slot])
        ]
        self._forget(group, half_removed)

    def _files_besides(self, names: Sequence[str], newest: int) -> Iterator[os.DirEntry[str]]:
        """The tile's files, of its records those of the newest alone.

        A record counts once its files are there: beside those of earlier ones is nothing else,
        and to look would take the longer the more there are.
        """
        shards = [self._folder / name / "c" for name in names]
        yield from _files_below(str(self._folder), {str(path) for path in shards})
        for path in shards:
            if (path / str(newest)).is_dir():
                yield from _files_below(str(path / str(newest)), frozenset())

    def _undo(self) -> None:
        """Remove what this writer left behind when its write failed."""
        group = self._load()
        if group is None:
            self.clear()
        else:
            self._sweep(group)

    def _put_index(self, group: Group, runs: Runs) -> None:
        arrays.zarr_array(self._disk, group, "start_ipix")[:] = runs[0]
        arrays.zarr_array(self._disk, group, "run_len")[:] = runs[1]
        for name, ids in ids_of(group, runs):
            self._discard(f"{name}/c/0")  # else zarr would read it, and it may be damaged
            arrays.zarr_array(self._disk, group, name)[:] = ids

    def _put_row(self, group: Group, name: str, values: Any, slot: int) -> None:
        """Rewrite the file that this slot is in; as a whole, so that nothing is read."""
        rows = group.rows(name)
        number = slot // rows
        data = arrays.packed_rows(group, name, values[number * rows :][:rows])
        self._disk.put(f"{self._tile.name}/{name}/c/{number}", data)

    def _put_passes(self, group: Group, texts: list[str], timed: int) -> None:
        """Say when and by what the images were taken, of all slots from one on."""
        rows = group.rows(ACQUIRED_BEGIN)
        first = timed // rows * rows
        for name, values in group.passes(texts, first).items():
            for slot in range(first, len(texts), rows):
                self._put_row(group, name, [*([None] * first), *values], slot)

    def _put_array_metadata(self, group: Group) -> None:
        """Have each array's own metadata follow, for readers that go by it alone."""
        for key, data in arrays.own_metadata(group).items():
            path = self._disk.root / key
            if not path.exists() or path.read_bytes() != data:
                self._disk.put(key, data)

    def _discard(self, key: str) -> None:
        self._disk.discard(f"{self._tile.name}/{key}")


def _files_below(folder: str, but: Set[str]) -> Iterator[os.DirEntry[str]]:
    """All files in a folder and in those in it, but for some."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif entry.path not in but:
                yield from _files_below(entry.path, but)
