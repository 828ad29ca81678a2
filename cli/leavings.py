"""What downloads leave beside an archive: counted, and removed when nothing needs it any more.

The built-in back end keeps the result of each job until it is told that the record is in the
archive; a run that was killed between the two leaves it there.  Raw files stay where a chunk
failed, where a run was stopped, and where `KEEP_RAW` says so.  What the next download goes on
with is never removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.terminal import count, size
from cli.workspace import Workspace
from jobs.journal import ENDS, Journal, Row, State

RESULT, RAW = "result at the built-in back end", "raw file"
UNDER_WAY = "the next download goes on with it"
FAILED = "the next download tries it again without a new order"
KEPT_RAW = "KEEP_RAW is True"


@dataclass(frozen=True)
class Leaving:
    """A file that a download has left; ``why`` says what for, "" if it is for nothing."""

    path: Path
    kind: str
    bytes: int
    why: str


def leavings(workspace: Workspace, keep_raw: bool) -> list[Leaving]:
    """Everything that the downloads into an archive have left beside it."""
    folder = workspace.folder
    if not folder.is_dir():
        return []
    with workspace.journal() as journal:
        jobs, files = _known(journal)
    found = []
    for path in _files(folder / "sandbox" / "results"):
        row = jobs.get(path.parent.name)
        found.append(Leaving(path, RESULT, path.stat().st_size, _why(row, False)))
    for path in _files(folder / "raw"):
        row = files.get(path.name.partition(".nc")[0] + ".nc")
        found.append(Leaving(path, RAW, path.stat().st_size, _why(row, keep_raw)))
    return found


def remove(workspace: Workspace, keep_raw: bool) -> list[Leaving]:
    """Remove what nothing needs; what that was.  Nothing while another process downloads."""
    with workspace.alone():
        gone = [found for found in leavings(workspace, keep_raw) if not found.why]
        for found in gone:
            found.path.unlink(missing_ok=True)
            if found.kind == RESULT:
                shutil.rmtree(found.path.parent, ignore_errors=True)
        return gone


def in_words(found: list[Leaving]) -> str:
    """How many of which kind, and how large."""
    kinds = {
        kind: [each for each in found if each.kind == kind] for kind in (RESULT, RAW)
    }  # fmt: skip
    return " and ".join(
        f"{_several(len(some), kind)} ({size(sum(each.bytes for each in some))})"
        for kind, some in kinds.items()
        if some
    )


def reasons(found: list[Leaving]) -> Iterator[str]:
    """A line for each reason why something is kept."""
    for why in dict.fromkeys(each.why for each in found if each.why):
        yield f"Kept {in_words([each for each in found if each.why == why])}: {why}."


def _several(number: int, kind: str) -> str:
    noun, space, rest = kind.partition(" at")
    return count(number, noun) + space + rest


def _known(journal: Journal) -> tuple[dict[str, Row], dict[str, Row]]:
    """The attempts by their jobs and by their raw files."""
    rows = sorted(journal.rows(), key=lambda row: row.attempt)
    last = {(row.backend, *row.key): row.id for row in rows}
    # An attempt that failed and was followed by another one is of no use to anybody.
    of_use = [r for r in rows if r.state is not State.FAILED or last[r.backend, *r.key] == r.id]
    return {row.job_id: row for row in of_use if row.job_id}, {r.file_name: r for r in of_use}


def _why(row: Row | None, keep_raw: bool) -> str:
    """What a file of an attempt is still for."""
    if row is None:
        return ""
    if row.state not in ENDS:
        return UNDER_WAY
    if row.state is State.FAILED:
        return FAILED
    return KEPT_RAW if keep_raw else ""


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())
