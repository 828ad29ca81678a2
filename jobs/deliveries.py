"""From a finished job to a record: its file is fetched, checked, and handed over.

`fetch` and `hand_over` give the work to the workers; what these report is taken in by the
deciding thread again.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from typing import Any

from grid import Provenance
from jobs import ends, remedies, transfer
from jobs.assets import Asset
from jobs.attempt import Attempt
from jobs.board import Board
from jobs.journal import Row, State
from jobs.model import Result
from jobs.settings import is_partial
from jobs.trouble import Kind, Spoiled, Trouble
from shared.files import is_disk_full

BYTES_INTERVAL = 0.2  # s between two reports of a transfer's progress


def fetch(board: Board, attempt: Attempt) -> None:
    """Ask where the result is, every time, since addresses expire, and have it fetched."""
    asset = board.remote.asset(attempt.job_id, board.made.recipe.bands)
    board.note(attempt, State.DOWNLOADING)
    attempt.busy = True
    board.workers.transfer(functools.partial(_transfer, board, attempt, asset))


def hand_over(board: Board, attempt: Attempt) -> None:
    """Have the file archived."""
    attempt.busy = True
    board.workers.handle(functools.partial(_archive, board, attempt))


# --- what the workers do, in their threads -----------------------------------------------


def _transfer(board: Board, attempt: Attempt, asset: Asset) -> None:
    row, bands = attempt.row, board.made.recipe.bands
    part = board.files.part(row)
    before = part.stat().st_size if part.exists() else 0
    error, mark = None, ""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        transfer.fetch(
            board.remote.get, asset.url, asset.size, part,
            _progress(board, attempt), board.workers.is_stopped,
        )  # fmt: skip
        transfer.check(part, row.chunk.tile, bands)
        transfer.finish(part, board.files.path(row))
    except Exception as problem:
        error = problem
        if isinstance(error, transfer.Refused):
            mark = transfer.fingerprint(part)
            transfer.discard(part)
    grown = part.exists() and part.stat().st_size > before
    board.workers.report(functools.partial(_transferred, board, attempt, error, grown, mark))


def _progress(board: Board, attempt: Attempt) -> Callable[[int, int | None], None]:
    last = float("-inf")

    def on_bytes(have: int, total: int | None) -> None:
        nonlocal last
        if (now := board.clock()) - last >= BYTES_INTERVAL or have == total:
            last = now
            board.tell("bytes", attempt, bytes=have, total=total)

    return on_bytes


def _archive(board: Board, attempt: Attempt) -> None:
    row, path = attempt.row, board.files.path(attempt.row)
    outcome: float | Exception
    try:
        provenance = _provenance(board, row, transfer.source(path))
        outcome = board.destination.handle(Result(row.chunk, path, provenance))
        if outcome and not board.destination.has(row.chunk):
            outcome = RuntimeError("the archive does not hold the chunk after it was written")
    except Exception as problem:
        outcome = problem
    mark = transfer.fingerprint(path) if isinstance(outcome, Spoiled) else ""
    board.workers.report(functools.partial(_handled, board, attempt, outcome, mark))


def _provenance(board: Board, row: Row, source: str) -> Provenance:
    """Where a record comes from; ``source`` is what the file says."""
    when = row.finished or row.changed
    processed = dt.datetime.fromtimestamp(when, dt.UTC).isoformat(timespec="seconds")
    return Provenance(
        board.task.backend, board.made.recipe.collection.name, row.job_id or "", processed,
        source.lower().startswith("synthetic"), **_images(row), **ends.reservation(board, row),
    )  # fmt: skip


def _images(row: Row) -> dict[str, Any]:
    """What the catalogue said of the images of an attempt."""
    known = row.known
    names = ("relative_orbits", "platforms", "acquired")
    return {
        "covered": known.get("covered"),
        **{name: tuple(known[name]) for name in names if name in known},
    }


# --- what they report, in the deciding thread --------------------------------------------


def _transferred(
    board: Board, attempt: Attempt, error: Exception | None, grown: bool, mark: str
) -> None:
    attempt.busy = False
    if error is None:
        size = board.files.path(attempt.row).stat().st_size
        board.note(attempt, State.DOWNLOADED, bytes=size)
        board.summary.bytes += size
        attempt.calm()
        board.tell("downloaded", attempt, bytes=size, total=size)
        return
    board.note(attempt, State.FINISHED)
    if grown:
        attempt.calm()
    if isinstance(error, transfer.Refused):
        remedies.refused(board, attempt, str(error), mark)
    elif isinstance(error, Trouble) and error.kind in (Kind.MISSING, Kind.EXPIRED):
        remedies.not_there(board, attempt, error)
    elif isinstance(error, Trouble):
        remedies.troubled(board, attempt, error)
    elif not isinstance(error, transfer.Stopped):
        remedies.broken(board, attempt, error)


def _handled(board: Board, attempt: Attempt, outcome: float | Exception, mark: str) -> None:
    attempt.busy = False
    if not isinstance(outcome, Exception):
        _seen(board, attempt, outcome)
    elif isinstance(outcome, Spoiled) and not is_disk_full(outcome):
        # A byte that was flipped on the way looks just like a bad file: fetch it once more.
        board.files.path(attempt.row).unlink(missing_ok=True)
        board.note(attempt, State.FINISHED)
        remedies.refused(board, attempt, str(outcome), mark)
    else:
        remedies.broken(board, attempt, outcome)


def _seen(board: Board, attempt: Attempt, share: float) -> None:
    """The file was handled; this share of the tile is seen in the archive."""
    if not share:
        ends.finish(board, attempt, State.EMPTY, "the result holds no measured pixel")
        return
    row = attempt.row
    if is_partial(row.known.get("covered"), share, board.made):
        board.summary.partial.append(row.chunk)
    ends.finish(board, attempt, State.ARCHIVED)
