"""What there is in an archive: its layout, its tiles and their records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from archive import recovery
from archive.layout import ArchiveError, Layout, NoRecordError, exact_size, read_layout
from archive.packing import DamageError
from archive.settings import Settings
from archive.storage import Bucket, Folder, Site, storage_at
from archive.tile import Group
from grid import Chunk, Tile

if TYPE_CHECKING:
    from archive.snapshot import View

Opened = TypeVar("Opened")


class Contents:
    """An archive as far as looking goes.  Opening it creates nothing.

    ``settings`` gives the constants whenever they are needed.  Raises ArchiveError if the path
    is neither an archive nor free for one, or if the archive is of a newer format.
    """

    def __init__(self, path: str | Path, settings: Callable[[], Settings]) -> None:
        self.settings = settings
        try:
            self.files = storage_at(path)
            self._layout = read_layout(self.files)
        except (ImportError, ValueError) as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(f"{path} cannot be read: {error}.") from error
        if self._layout is None and isinstance(self.files, Site):
            raise ArchiveError(f"There is no archive at {path}.")

    @property
    def name(self) -> str:
        """The path or URL, as people write it."""
        return self.files.name

    @property
    def path(self) -> Path:
        """The folder.  Raises ArchiveError for an archive at a URL."""
        if not isinstance(self.files, Folder):
            raise ArchiveError(f"{self.name} is a URL, not a folder.")
        return self.files.path

    @property
    def is_folder(self) -> bool:
        """Whether the archive is in a folder; else it is at a URL."""
        return isinstance(self.files, Folder)

    def require_writable(self) -> None:
        """Raise ArchiveError if the archive is of a kind that can be read only."""
        if not isinstance(self.files, Folder | Bucket):
            raise ArchiveError(
                f"{self.name} is a URL.  An archive there can be read, but not changed."
            )

    @property
    def layout(self) -> Layout | None:
        """What the archive is made of; None while there is none."""
        if self._layout is None:
            self._layout = read_layout(self.files)
        return self._layout

    def look_again(self) -> None:
        """Forget the layout, which has changed."""
        self._layout = None

    def tiles(self) -> list[Tile]:
        """The tiles that there are, sorted from west to east.

        In a folder they have records; in an object store all may have been removed.
        """
        found = self.named_tiles()
        sizes = self.files.sizes([f"{tile.name}/zarr.json" for tile in found])
        return [tile for tile, size in zip(found, sizes, strict=True) if size is not None]

    def tile_named(self, name: str) -> Tile:
        """The tile of this archive's size with a name; ValueError where there can be none."""
        if self.layout is None:
            raise NoRecordError(f"There is no archive at {self.name} yet.")
        return Tile.from_name(name, self.layout.chunk_size)

    def chunks(self, tile: Tile | None = None) -> list[Chunk]:
        """The records of one tile, or of all, sorted by tile and day."""
        groups = self.groups(self.named_tiles() if tile is None else [tile])
        return [chunk for group in groups for chunk in group.records()]

    def slot(self, chunk: Chunk) -> int | None:
        """Where the record of a chunk is; None if there is none."""
        group = self.load(chunk.tile)
        slots = group.slots(chunk) if group else []
        return slots[-1] if slots else None

    def view(self, tile: Tile) -> View | None:
        """A tile as it is now, to read much of it; None if there is none of this archive's size.

        Raises ArchiveError if what its records share is damaged.
        """
        layout = self.layout
        if layout is None or exact_size(tile.size) != layout.chunk_size:
            return None
        from archive.snapshot import View

        return self._opened(tile, lambda: View.open(self.files, layout, tile))

    def views(self, tiles: Iterable[Tile] | None = None) -> list[View]:
        """The tiles as they are now, of all or of those named that there are."""
        return self._each(self.view, self.named_tiles() if tiles is None else tiles)

    # --- for the rest of the room ---

    def named_tiles(self) -> list[Tile]:
        """The tiles that have a folder, sorted from west to east."""
        layout, found = self.layout, []
        if layout is None:
            return []
        for name in self.files.entries():
            with contextlib.suppress(ValueError):  # not a tile's name
                found.append(Tile.from_name(name, layout.chunk_size))
        return sorted(found)

    def groups(self, tiles: Iterable[Tile], *also: str) -> list[Group]:
        """Those of these tiles that there are, with what else is needed of them."""
        return self._each(lambda tile: self.load(tile, *also), tiles)

    def load(self, tile: Tile, *also: str) -> Group | None:
        """A tile as it is now, as `view`; ``also`` names small arrays that will be needed."""
        layout = self.layout
        if layout is None or exact_size(tile.size) != layout.chunk_size:
            return None
        return self._opened(tile, lambda: recovery.load(self.files, tile, also))

    def _each(self, open_: Callable[[Tile], Opened | None], tiles: Iterable[Tile]) -> list[Opened]:
        """What there is of these tiles; several are opened at a time where that takes long."""
        if not self.files.is_far:
            return [found for found in map(open_, tiles) if found is not None]
        with ThreadPoolExecutor(self.settings().tiles) as pool:
            return [found for found in pool.map(open_, tiles) if found is not None]

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
