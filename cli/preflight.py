"""What would make an order useless is found out before it: no room, no permission, other data."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cli.archiver import mixed
from cli.terminal import size
from cli.workspace import Workspace

if TYPE_CHECKING:
    import download
    from download import Plan
    from store import Archive


def require_same_kind(workspace: Workspace, backend: str) -> None:
    """Refuse to put measured and synthetic records into one archive."""
    if backend not in ("cdse", "sandbox"):
        return  # its first result will tell
    synthetic = backend == "sandbox"
    if (not synthetic) in workspace.kinds:
        raise ValueError(mixed(workspace.archive, synthetic, backend))


def require_writable(archive: Archive, done: str = "ordered") -> None:
    """Refuse to order what could not be kept."""
    archive.require_writable()
    if not archive.is_folder:
        return
    place = existing(archive.path)
    for folder in {place, archive.path.absolute().parent} if place == archive.path else {place}:
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written.  Nothing was {done}.")


def require_free_disk(
    plan: Plan, workspace: Workspace, to_archive: float, made: download.Settings
) -> None:
    """Refuse to order what will not fit on the disks of the archive and of the raw files."""
    archive, number = workspace.archive, len(plan.missing)
    files = number if made.keep_raw else min(number, made.pace.max_files)
    if plan.backend == "sandbox":  # its results are on this disk, too, until they are archived
        files += min(number, made.pace.max_inflight + made.pace.max_files)
    raw = files * plan.estimate.bytes / max(number, 1)
    needs = [(workspace.folder, raw)]
    if archive.is_folder:
        needs.append((archive.path, to_archive))
    require_free(
        needs, f" ({size(to_archive)} to archive, {size(raw)} for results on their way)",
        "ordered", "take a smaller area or fewer days",
    )  # fmt: skip


def require_free(needs: Iterable[tuple[Path, float]], what: str, done: str, or_else: str) -> None:
    """Raise OSError unless there is so much room in each of these folders, by their disks."""
    disks: dict[int, tuple[Path, float]] = {}
    for folder, needed in needs:
        place = existing(folder)
        disk = place.stat().st_dev
        disks[disk] = place, needed + disks.get(disk, (place, 0.0))[1]
    for place, needed in disks.values():
        free = shutil.disk_usage(place).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"This takes about {size(needed)} on the disk of {place}{what}, but {size(free)} "
                f"are free.  Nothing was {done}.  Free some space, or {or_else}.",
            )


def existing(folder: Path) -> Path:
    """The folder, or the one above it that there is."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
