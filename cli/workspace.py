"""An archive and what is kept beside it: journal, raw files, last answers; looked at once.

They are in the folder `<archive>.downloads`, or for an archive at a URL in one of the user's,
which appears with the first order: looking at an archive, or where there is none, creates
nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cli.terminal import count, size
from grid import Chunk, Tile
from shared.files import local_path, name_about, replacing

if TYPE_CHECKING:
    from archive.holdings import Holdings
    from archive.listing import Row
    from jobs.journal import Journal
    from store import Archive

BESIDE = ".downloads"  # behind the name of the archive
ANSWERS = "answers.json"


class Workspace:
    """The archive at a path, which need not exist yet.  What it holds is read once."""

    def __init__(self, path: str, is_last: bool = False) -> None:
        self.path, self.is_last = path, is_last
        self.set_apart: list[tuple[Chunk, str]] = []  # records of files, and where they are now

    @cached_property
    def archive(self) -> Archive:
        """The archive; ArchiveError where the path is neither one nor free for one."""
        from store import Archive

        return Archive(self.path)

    @property
    def existing(self) -> Archive:
        """The archive; ValueError if there is none."""
        if self.archive.layout is None:
            raise ValueError(f"There is no archive at {self.path}.  Make one with `download`.")
        return self.archive

    @property
    def folder(self) -> Path:
        """Where the journal, the answers and the raw files are."""
        return downloads_folder(self.path)

    @contextlib.contextmanager
    def journal(self) -> Iterator[Journal]:
        """The memory of the downloads into this archive."""
        from jobs.journal import Journal

        with contextlib.closing(Journal(self.folder)) as journal:
            yield journal

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Have no other process download into this archive; BlockingIOError where one does."""
        import filelock

        from jobs.lock import alone

        if not self.folder.is_dir():
            yield
            return
        try:
            with alone(self.folder):
                yield
        except filelock.Timeout:
            raise BlockingIOError(
                f"Another process downloads for {self.path}.  Nothing was removed.  Wait for it."
            ) from None

    # --- what it held when it was looked at ---

    @cached_property
    def holdings(self) -> Holdings | None:
        """What the archive holds; None if there is none.

        ArchiveError where the path is no archive, or where a tile cannot be read.
        """
        from archive import holdings

        def read(tiles: list[Tile]) -> Iterable[tuple[Tile, list[Row]]]:
            from archive.listing import of_tiles

            return of_tiles(self.archive, tiles)

        if "://" not in self.path or self.path.startswith("file:"):
            path = local_path(self.path)
            memory = holdings.usual_memory(path)
            if (found := holdings.of_folder(path, memory, read)) is not None:
                return found
        layout = self.archive.layout
        if layout is None:
            return None
        return holdings.of_others(layout, read(self.archive.named_tiles()))

    def look_again(self) -> None:
        """Remember what has been archived since; what cannot be read now is found out later."""
        vars(self).pop("holdings", None)
        with contextlib.suppress(ValueError, OSError):
            _ = self.holdings

    def has(self, chunk: Chunk) -> bool:
        """Whether there was a record of this chunk; nothing is read for it."""
        return self.holdings is not None and self.holdings.has(chunk)

    @property
    def partial(self) -> list[Chunk]:
        """The records that show much less than the catalogue promised."""
        return self.holdings.partial if self.holdings else []

    @property
    def of_files(self) -> dict[Chunk, float]:
        """The records that are made of files, and what share of its tile each shows."""
        return self.holdings.of_files if self.holdings else {}

    @property
    def last_back_end(self) -> str | None:
        """Where the last record that tells it came from."""
        return self.holdings.last_back_end if self.holdings else None

    @property
    def kinds(self) -> set[bool | None]:
        """Whether its records are synthetic: of measured ones False, of made up ones True."""
        return self.holdings.kinds if self.holdings else set()

    def describe(self) -> str:
        """Records, tiles and bytes in a few words."""
        if "://" not in self.path and not Path(self.path).exists():
            return "new"
        try:
            found = self.holdings
        except ValueError:
            _ = self.archive  # what is no archive at all is told at once
            return "damaged: verify it"
        if found is None:
            return "new" if not self.archive.is_folder else "no records"
        if not found.records:
            return "no records"
        return records_in_words(found)

    @property
    def is_readable(self) -> bool:
        """Whether its records can be listed."""
        try:
            return self.holdings is not None
        except ValueError:
            return False

    # --- the answers of the last time ---

    def remembered(self) -> dict[str, str]:
        """The answers of the last run that went well; none if they cannot be read."""
        try:
            found = json.loads((self.folder / ANSWERS).read_text(encoding="utf-8"))
            return {str(name): str(value) for name, value in found.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def remember(self, **answers: object) -> None:
        """Keep answers beside the journal, if there is one; what cannot be written is forgotten."""
        if not self.folder.is_dir():
            return
        known = self.remembered() | {name: str(value) for name, value in answers.items()}
        with contextlib.suppress(OSError), replacing(self.folder / ANSWERS) as temporary:
            temporary.write_text(json.dumps(known, indent=1), encoding="utf-8")


def records_in_words(found: Holdings) -> str:
    """How many records there are, of how many tiles, and their bytes."""
    tiles = count(len(found.tiles), "tile")
    return f"{count(found.records, 'record')} in {tiles}, {size(found.size)}"


def downloads_folder(archive_path: str | Path) -> Path:
    """Where the journal, the answers and the raw files of an archive are: beside it.

    Beside the folder itself where it is reached by a link, so that all who fill it share one
    journal and one lock; but what an earlier version has kept beside the link stays there.
    Those of an archive at a URL are in a folder of the user's.
    """
    name = str(archive_path)
    if "://" in name and not name.startswith("file:"):
        from platformdirs import user_data_path

        place = name.rstrip("/")
        return user_data_path("sentinel1-healpix") / "downloads" / name_about(place, place)
    path = local_path(name)
    beside = path.with_name(path.name + BESIDE)
    if not path.is_symlink() or beside.exists():
        return beside
    path = path.resolve()
    return path.with_name(path.name + BESIDE)
