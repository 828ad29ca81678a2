"""What changes an archive: records added and removed, a tile at a time, by whoever may.

A folder is changed under a lock of the tile, an object store without one.  Each function
takes ``disk``, what changes a folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from archive import fit
from archive.bucket_writer import BucketWriter
from archive.contents import Contents
from archive.folder_writer import Disk as Disk
from archive.folder_writer import FolderWriter, make_folder
from archive.layout import (
    FORMAT_VERSION,
    LOCK,
    ArchiveError,
    Layout,
    encode_json,
    read_layout,
    root_metadata,
)
from archive.storage import Bucket
from archive.tile_writer import TileWriter
from grid import Chunk, Provenance, Tile, count
from shared.files import is_disk_full, reason

if TYPE_CHECKING:
    import xarray as xr


def write(
    archive: Contents,
    disk: type[Disk],
    chunk: Chunk,
    cells: xr.Dataset,
    provenance: Provenance | None,
    replace: bool,
    instead_of: int | None,
) -> bool:
    """Add a record; False if there is one of this chunk already: see `store.Archive.write`."""
    archive.require_writable()
    layout = fit.layout_of(chunk, cells, archive.settings())
    fit.require_fit(archive, chunk, layout, cells)
    with _explained(archive, str(chunk)):
        if archive.layout is None:
            _create(archive, disk, layout)
            fit.require_fit(archive, chunk, layout, cells)
        _raise_version(archive, disk)
        with writer_of(archive, disk, chunk.tile) as writer:
            return writer.write(chunk, cells, provenance, replace, instead_of)


def remove(archive: Contents, disk: type[Disk], chunk: Chunk) -> bool:
    """Remove a record; False if there is none."""
    archive.require_writable()
    if archive.slot(chunk) is None:
        return False
    with _explained(archive, str(chunk)), writer_of(archive, disk, chunk.tile) as writer:
        return writer.remove(chunk)


def tidy(archive: Contents, disk: type[Disk], tile: Tile) -> None:
    """Do what a writer of a tile that was killed behind its commit did not come to."""
    archive.require_writable()
    if archive.load(tile) is not None:
        with _explained(archive, tile.name), writer_of(archive, disk, tile) as writer:
            writer.tidy()


def remove_tile(archive: Contents, disk: type[Disk], tile: Tile) -> bool:
    """Remove all records of a tile, readable or not; False if there are none."""
    archive.require_writable()
    if archive.layout is None or archive.files.get(f"{tile.name}/zarr.json") is None:
        return False
    with _explained(archive, tile.name), writer_of(archive, disk, tile) as writer:
        writer.clear()
    return True


@contextlib.contextmanager
def writer_of(archive: Contents, disk: type[Disk], tile: Tile) -> Iterator[TileWriter]:
    """Who may change a tile, for as long as the context lasts."""
    layout = archive.layout
    assert layout is not None
    if isinstance(archive.files, Bucket):
        yield BucketWriter(archive.files, layout, tile, lambda: archive.load(tile))
        return
    with _locked(archive, archive.path / tile.name, f"tile {tile.name} of {archive.name}"):
        opened = disk(archive.path)
        try:
            yield FolderWriter(opened, layout, tile, lambda: archive.load(tile))
        finally:
            opened.retire()


@contextlib.contextmanager
def _locked(archive: Contents, folder: Path, what: str) -> Iterator[None]:
    """The lock in a folder, made if need be; ArchiveError if others keep it for too long."""
    patience = archive.settings().lock_wait
    make_folder(folder)
    lock = FileLock(folder / LOCK, timeout=patience)
    try:
        lock.acquire()
    except Timeout:
        raise ArchiveError(
            f"Another process has been writing to {what} for {count(patience, 'second')}.  "
            "Nothing was written.  Wait for it, or stop it."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _create(archive: Contents, disk: type[Disk], layout: Layout) -> None:
    """Make the archive, unless another process just did."""
    data = encode_json(root_metadata(layout))
    if isinstance(archive.files, Bucket):
        if archive.files.put_if("zarr.json", data, None):
            archive.files.require_conditions("zarr.json", data)
        return
    with _locked(archive, archive.path, f"the archive {archive.name}"):
        if read_layout(archive.files) is None:
            _put_root(archive, disk, data)
    with contextlib.suppress(OSError):  # Windows: the other process still has it open
        (archive.path / LOCK).unlink()


def _raise_version(archive: Contents, disk: type[Disk]) -> None:
    """Let no older program open an archive of an older version once this one writes to it."""
    layout = archive.layout
    if layout is None or layout.version >= FORMAT_VERSION:
        return
    data = encode_json(root_metadata(changed(layout, version=FORMAT_VERSION)))
    if isinstance(archive.files, Bucket):
        archive.files.put("zarr.json", data)  # the same, whoever puts it
    else:
        with _locked(archive, archive.path, f"the archive {archive.name}"):
            _put_root(archive, disk, data)
    archive.look_again()


def _put_root(archive: Contents, disk: type[Disk], data: bytes) -> None:
    """Put what an archive says of itself, and remove what who was killed at it has left."""
    opened = disk(archive.path)
    for stray in archive.path.glob("*.partial*"):
        opened.discard(stray.name)
    opened.put("zarr.json", data)


@contextlib.contextmanager
def _explained(archive: Contents, what: str) -> Iterator[None]:
    """Have an OSError say what was to be written, what was kept and what to do."""
    try:
        yield
    except OSError as error:
        if not archive.is_folder:
            raise  # its errors are whole sentences
        what_is = "is full" if is_disk_full(error) else f"cannot be written ({reason(error)})"
        raise OSError(
            error.errno,
            f"{what}: the disk of the archive {archive.name} {what_is}.  Nothing half done was "
            "kept, all records in it are whole.  Mend that, then run the same command to "
            "go on.",
        ) from error
