"""An archive and what is kept beside it: journal, raw files, last answers; looked at once.

They are in the folder `<archive>.downloads`, or for an archive at a URL in one of the user's,
which appears with the first order: looking at an archive, or where there is none, creates
nothing.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cli.terminal import count, size
from grid import Chunk, Tile
from shared.files import local_path, replacing

if TYPE_CHECKING:
    import pandas as pd

    from jobs.journal import Journal
    from store import Archive

Key = tuple[str, dt.date, str]  # tile, day and orbit of a record

BESIDE = ".downloads"  # behind the name of the archive
ANSWERS = "answers.json"


class Workspace:
    """The archive at a path, which need not exist yet.  What it holds is read once."""

    def __init__(self, path: str) -> None:
        self.path = path

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

    # --- what it held when it was looked at ---

    @cached_property
    def records(self) -> pd.DataFrame:
        """The records: `store.Archive.records`."""
        return self.archive.records()

    @cached_property
    def _keys(self) -> set[Key]:
        names = (self.records[name] for name in ("tile", "day", "orbit"))
        return set(zip(*names, strict=True))

    def has(self, chunk: Chunk) -> bool:
        """Whether there was a record of this chunk; nothing is read for it."""
        return (chunk.tile.name, chunk.day, chunk.orbit) in self._keys

    @property
    def kinds(self) -> set[bool]:
        """Whether its records are synthetic: of measured ones False, of made up ones True."""
        return set(self.records["synthetic"])

    @property
    def last_back_end(self) -> str | None:
        """Where the last record that tells it came from."""
        known = [str(name) for name in self.records["backend"].tolist() if name]
        return known[-1] if known else None

    @property
    def partial(self) -> list[Chunk]:
        """What there is less of than the catalogue promised."""
        layout = self.archive.layout
        if layout is None:
            return []
        rows = self.records[self.records["partial"].astype(bool)].to_dict("records")
        return [
            Chunk(Tile.from_name(row["tile"], layout.chunk_size), row["day"], row["orbit"])
            for row in rows
        ]

    def describe(self) -> str:
        """Records, tiles and bytes in a few words."""
        if "://" not in self.path and not Path(self.path).exists():
            return "new"
        if not self.archive.is_folder and self.archive.layout is None:
            return "new"
        try:
            records = self.records
        except ValueError:
            return "damaged: verify it"
        if records.empty:
            return "no records"
        tiles = count(records["tile"].nunique(), "tile")
        return f"{count(len(records), 'record')} in {tiles}, {size(records['bytes'].sum())}"

    @property
    def is_readable(self) -> bool:
        """Whether its records can be listed."""
        try:
            return self.records is not None
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


def downloads_folder(archive_path: str | Path) -> Path:
    """Where the journal, the answers and the raw files of an archive are: beside it.

    Beside the folder itself where it is reached by a link, so that all who fill it share one
    journal and one lock; but what an earlier version has kept beside the link stays there.
    Those of an archive at a URL are in a folder of the user's.
    """
    name = str(archive_path)
    if "://" in name and not name.startswith("file:"):
        from platformdirs import user_data_path

        safe = re.sub(r"[^A-Za-z0-9.-]+", "_", name.rstrip("/"))
        digest = hashlib.sha256(name.rstrip("/").encode()).hexdigest()[:8]
        return user_data_path("sentinel1-healpix") / "downloads" / f"{safe}.{digest}"
    path = local_path(name)
    beside = path.with_name(path.name + BESIDE)
    if not path.is_symlink() or beside.exists():
        return beside
    path = path.resolve()
    return path.with_name(path.name + BESIDE)
