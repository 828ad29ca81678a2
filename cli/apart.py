"""Archives beside the first: what is kept apart from its records.

A record is told by tile, day and passes, so of two that have all of these in common an archive can
hold one.  The other one is in an archive of its own beside it, which is named by the first
and by the checksums of the files, not by their names: who adds them again finds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.files import local_path

if TYPE_CHECKING:
    from store import Archive

SUFFIX = ".zarr"
MARK = "-apart-"
DIGITS = 10  # of a checksum, that tell archives beside one another apart


def name_of(archive: str, files: Iterable[Mapping[str, Any]]) -> str:
    """The name of the archive for a record of these files, by their entries in its provenance."""
    stem, suffix = _divided(archive)
    keys = sorted((str(entry["sha256"]), entry.get("step")) for entry in files)
    sums = [sha256 if step is None else f"{sha256} {step}" for sha256, step in keys]
    if len(sums) > 1 or " " in sums[0]:
        sums = [hashlib.sha256("\n".join(sums).encode()).hexdigest()]
    return f"{stem}{MARK}{sums[0][:DIGITS]}{suffix}"


def beside(archive: Archive, files: Iterable[Mapping[str, Any]]) -> Archive:
    """The archive, which need not exist yet, for a record of these files."""
    from store import Archive

    return Archive(name_of(archive.name, files))


def names(archive: str) -> list[str]:
    """The archives that there are beside one in a folder, of what is kept apart from it."""
    if "://" in archive and not archive.startswith("file:"):
        return []
    stem, suffix = _divided(local_path(archive).name)
    folder = local_path(archive).parent
    there = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(
        str(path)
        for path in there
        if path.name.startswith(stem + MARK) and path.name.endswith(suffix) and _has_root(path)
    )


def _has_root(path: Path) -> bool:
    return (path / "zarr.json").is_file()


def _divided(name: str) -> tuple[str, str]:
    name = name.rstrip("/")
    return (name.removesuffix(SUFFIX), SUFFIX) if name.endswith(SUFFIX) else (name, "")
