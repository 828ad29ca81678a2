"""The archive at a path and what is kept beside it: journal, raw files, last answers.

They are in the folder `<archive>.downloads`, which appears with the first order: looking
at an archive, or at a path where there is none, creates nothing.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from files import replacing
from terminal import count, size

if TYPE_CHECKING:
    from journal import Journal
    from store import Archive

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
    """Where the journal, the answers and the raw files of an archive are: beside it."""
    path = Path(archive_path)
    return path.with_name(path.name + BESIDE)


def open_journal(archive_path: str | Path) -> Journal:
    """The memory of the downloads into this archive."""
    from journal import Journal

    return Journal(downloads_folder(archive_path))


def describe(archive_path: str) -> str:
    """Records, tiles and bytes in a few words."""
    if "://" not in archive_path and not Path(archive_path).exists():
        return "new"
    archive = open_archive(archive_path)
    try:
        records = archive.records()
    except ValueError:
        return "damaged: verify it"
    if records.empty:
        return "no records"
    tiles = count(records["tile"].nunique(), "tile")
    return f"{count(len(records), 'record')} in {tiles}, {size(records['bytes'].sum())}"


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
