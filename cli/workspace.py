"""The archive at a path and what is kept beside it: journal, raw files, last answers.

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
from pathlib import Path
from typing import TYPE_CHECKING

from cli.terminal import count, size
from shared.files import local_path, replacing

if TYPE_CHECKING:
    import pandas as pd

    from grid import Chunk
    from jobs.journal import Journal
    from store import Archive

Key = tuple[str, dt.date, str]  # tile, day and orbit of a record

BESIDE = ".downloads"  # behind the name of the archive
ANSWERS = "answers.json"


def open_archive(path: str | Path) -> Archive:
    """The archive at ``path``, which need not exist yet."""
    from store import Archive

    return Archive(path)


def existing_archive(path: str) -> Archive:
    """The archive at ``path``; ValueError if there is none."""
    archive = open_archive(path)
    if archive.layout is None:
        raise ValueError(f"There is no archive at {path}.  Make one with `download`.")
    return archive


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


def open_journal(archive_path: str | Path) -> Journal:
    """The memory of the downloads into this archive."""
    from jobs.journal import Journal

    return Journal(downloads_folder(archive_path))


def describe(archive_path: str) -> str:
    """Records, tiles and bytes in a few words."""
    return look(archive_path)[0]


def look(archive_path: str) -> tuple[str, pd.DataFrame | None]:
    """An archive in a few words, and its records; None where there are none to be read."""
    if "://" not in archive_path and not Path(archive_path).exists():
        return "new", None
    archive = open_archive(archive_path)
    if not archive.is_folder and archive.layout is None:
        return "new", None
    try:
        records = archive.records()
    except ValueError:
        return "damaged: verify it", None
    if records.empty:
        return "no records", records
    tiles = count(records["tile"].nunique(), "tile")
    words = f"{count(len(records), 'record')} in {tiles}, {size(records['bytes'].sum())}"
    return words, records


def keys_of(records: pd.DataFrame) -> set[Key]:
    """What tells the records of an archive apart."""
    return set(zip(records["tile"], records["day"], records["orbit"], strict=True))


def key_of(chunk: Chunk) -> Key:
    """The same of a chunk."""
    return chunk.tile.name, chunk.day, chunk.orbit


def remembered(folder: Path) -> dict[str, str]:
    """The answers of the last run that went well; none if they cannot be read."""
    try:
        found = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def remember(folder: Path, **answers: object) -> None:
    """Keep answers beside the journal, where there is one; what cannot be written is forgotten."""
    if not folder.is_dir():
        return
    text = json.dumps(remembered(folder) | {k: str(v) for k, v in answers.items()}, indent=1)
    with contextlib.suppress(OSError), replacing(folder / ANSWERS) as temporary:
        temporary.write_text(text, encoding="utf-8")
