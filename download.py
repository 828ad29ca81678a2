"""From an area and days to archived chunks: what is missing, what it will cost, and doing it.

`plan` compares the chunks of a request with the archive and the journal.  `run` orders the
missing ones at the back end and hands every checked result file to a function of the
caller's; it knows nothing of rasters, cells or archives.  What an earlier run has left, at
the back end or on disk, is picked up first.  How that is done is in `scheduler.py`.

One process at a time downloads for an archive; a second one waits, and then finds done
what the first has done.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import math
import os
import platform
import queue
import statistics
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

import remote
from grid import BBox, Chunk, Tile, days, iter_tiles_covering
from journal import Journal, Request, Row, State
from scheduler import Event, Pace, Result, Scheduler, Summary
from trouble import CreditsNeeded, LoginNeeded, Unwanted

if TYPE_CHECKING:
    from remote import Remote

BACKENDS = {"cdse": "https://openeo.dataspace.copernicus.eu"}  # label: address
BACKEND = "sandbox"  # of a new archive, if none is named; or "cdse", or an address
MAX_INFLIGHT = 2  # jobs queued or running at the back end
MAX_PENDING = 2  # jobs ordered ahead, not started
POLL_WAIT_TIME = 15  # s between two questions how a job is doing
START_INTERVAL = 5  # s between two starts
MAX_TRYS = 3  # jobs for a chunk
MAX_FILES = 4  # results on disk: on their way, waiting, or being handled
CHUNK_SIZE = [1, 0.5]  # degrees E-W, S-N
COLLECTION = "SENTINEL1_GRD"
BANDS = ("VV", "VH")
MARGIN = 0.001  # degrees of latitude by which a job's box is larger than its tile
KEEP_RAW = False  # keep the netCDF files after they are archived
BACKOFF = (1.0, 300.0)  # s, first and longest wait after a passing trouble
PATIENCE = 24 * 3600  # s with one chunk's troubles, while the back end answers otherwise
STUCK_AFTER = 12 * 3600  # s without a change of a job's status; then it is canceled

# Typical of one job for a tile of CHUNK_SIZE, until there is a history of our own.
TYPICAL_SECONDS = 600.0  # from start to finish
EMBEDDED_SECONDS = 20.0  # the same at the embedded back end
TYPICAL_BYTES = 4.0  # a pixel and band
PIXEL = 10.0  # m
MIN_CREDITS = 2.0  # a job, on the Copernicus back end
HISTORY = 20  # jobs that an estimate rests on
DEGREE = 111_195.0  # m of latitude

STOP_WAIT = 0.5  # s that an interrupted run gives its threads

PACE = Pace(
    max_inflight=MAX_INFLIGHT,
    max_pending=MAX_PENDING,
    max_trys=MAX_TRYS,
    max_files=MAX_FILES,
    poll=POLL_WAIT_TIME,
    start_interval=START_INTERVAL,
    backoff_first=BACKOFF[0],
    backoff_longest=BACKOFF[1],
    patience=PATIENCE,
    stuck_after=STUCK_AFTER,
)


@dataclass(frozen=True)
class Estimate:
    """What the missing chunks will cost."""

    bytes: int  # to download
    seconds: float
    credits: float | None  # at least; None where nothing is known
    jobs: int  # how many jobs of our own this rests on; 0: on typical values


@dataclass(frozen=True)
class Plan:
    """The chunks of a request, by what is to be done about them."""

    backend: str  # the label
    bbox: BBox
    first: dt.date
    last: dt.date
    orbit: str
    missing: list[Chunk]
    archived: list[Chunk]
    empty: list[Chunk]  # known to have no data
    estimate: Estimate
    retry_empty: bool
    made: float  # seconds since 1970-01-01 UTC
    begun: list[Chunk]  # of other requests: `run` brings them to their end, too


class Interrupted(KeyboardInterrupt):
    """The run was interrupted; the text says what is done and what goes on."""

    def __init__(self, summary: Summary) -> None:
        done = len(summary.archived)
        self.summary = summary
        super().__init__(
            f"Interrupted: {done} chunk{'s' * (done != 1)} archived, {len(summary.left)} to go. "
            f"{summary.at_server or 'No'} job{'s' * (summary.at_server != 1)} at the back end "
            f"{'goes' if summary.at_server == 1 else 'go'} on. Run the same command to continue."
        )


def plan(
    bbox: BBox,
    start: dt.date,
    end: dt.date,
    orbit: str,
    archive_has: Callable[[Chunk], bool],
    journal: Journal,
    backend: str = BACKEND,
    *,
    chunk_size: Sequence[float] = CHUNK_SIZE,
    retry_empty: bool = False,
) -> Plan:
    """What is missing of an area and its days (``end`` included), and what it will cost.

    ``archive_has`` is asked about every chunk.  Nothing is created, neither on disk nor
    at the back end.
    """
    latest = journal.latest(backend)
    missing: list[Chunk] = []
    archived: list[Chunk] = []
    empty: list[Chunk] = []
    for tile in iter_tiles_covering(bbox, chunk_size):
        for day in days(start, end):
            chunk = Chunk(tile, day, orbit)
            row = latest.get((chunk.name, _digest(chunk))) if latest else None
            if archive_has(chunk):
                archived.append(chunk)
            elif row and row.state is State.EMPTY and not retry_empty:
                empty.append(chunk)
            else:
                missing.append(chunk)
    wanted = set(missing)
    begun = [r.chunk for r in latest.values() if _is_under_way(r) and r.chunk not in wanted]
    history = journal.history(backend, HISTORY)
    return Plan(
        backend, bbox, start, end, orbit, missing, archived, empty,
        estimate(missing, history, backend), retry_empty, journal.now(), begun,
    )  # fmt: skip


def estimate(chunks: Sequence[Chunk], history: Sequence[Row], backend: str) -> Estimate:
    """Bytes, seconds and credits for these chunks, from jobs of our own or typical ones."""
    area = sum(_area(chunk.tile) for chunk in chunks)
    per_area = TYPICAL_BYTES * len(BANDS) / PIXEL**2
    seconds = EMBEDDED_SECONDS if backend == "sandbox" else TYPICAL_SECONDS
    credits = MIN_CREDITS if backend in BACKENDS else None
    if history:
        per_area = statistics.median((row.bytes or 0) / _area(row.chunk.tile) for row in history)
        seconds = statistics.median((r.finished or 0) - (r.started or 0) for r in history)
        known = [row.credits for row in history if row.credits is not None]
        credits = statistics.median(known) if known else credits
    turns = math.ceil(len(chunks) / MAX_INFLIGHT)
    total = None if credits is None else credits * len(chunks)
    return Estimate(round(area * per_area), turns * seconds, total, len(history))


def connect(
    backend: str,
    interactive: bool,
    *,
    label: str = "",
    show: Callable[[str], None] | None = None,
) -> Remote:
    """A back end by its name or address, logged in (see `login.connect`).

    ``label`` "sandbox" means the embedded one, which needs nobody to log in.  ``show``
    (stderr by default) is given the address and the code of a device login.
    """
    import login

    url = BACKENDS.get(backend, backend)
    show = show or functools.partial(print, file=sys.stderr)
    return login.connect(url, interactive, show, prefer_basic=label == "sandbox")


def run(
    plan: Plan,
    connection: Remote,
    folder: Path,
    handle: Callable[[Result], bool],
    archive_has: Callable[[Chunk], bool],
    observer: Callable[[Event], None] = lambda _: None,
    *,
    pace: Pace = PACE,
    keep_raw: bool = KEEP_RAW,
) -> Summary:
    """Bring every missing chunk of the plan to its end: archived, no data, or failed.

    ``folder`` is that of the journal.  ``handle`` archives a `Result` and reads it back;
    it returns False if the file holds no measured pixel.  It is called in a thread of its
    own, ``observer`` in the caller's.  ``Summary.stopped`` tells why a run ended early:
    LoginNeeded, CreditsNeeded, Unwanted by the handler, or OSError for a full disk.  Raises
    `Interrupted`, and JournalError.
    """
    journal = Journal(folder)
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    with _only_one(folder, observer):
        scheduler = Scheduler(
            connection, journal, _order, handle, archive_has, events.put, pace,
            label=plan.backend, collection=COLLECTION, bands=BANDS,
            folder=folder / "raw", keep_raw=keep_raw,
        )  # fmt: skip
        number = _take_on(scheduler, plan, journal, archive_has)
        deciding = threading.Thread(target=scheduler.run, daemon=True)
        deciding.start()
        try:
            _watch(events, observer)
        except BaseException as error:
            scheduler.interrupt()
            deciding.join(STOP_WAIT)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(scheduler.take_stock()) from None
            raise
        deciding.join()
        if scheduler.error:
            raise scheduler.error
        if not scheduler.summary.left:
            journal.close_request(number)
        journal.close()
    return scheduler.summary


def _take_on(
    scheduler: Scheduler, plan: Plan, journal: Journal, archive_has: Callable[[Chunk], bool]
) -> int:
    """Give the scheduler what is to be done: first what an earlier run has begun."""
    number = journal.open_request(
        Request(
            plan.backend, plan.bbox, plan.first, plan.last, plan.orbit,
            len(plan.missing), plan.made,
        )
    )  # fmt: skip
    latest = journal.latest(plan.backend)
    wanted = {(chunk.name, _digest(chunk)): chunk for chunk in plan.missing}
    fresh: list[tuple[Chunk, str]] = []
    for key, row in latest.items():
        if key in wanted or _is_under_way(row):
            chunk = wanted.pop(key, row.chunk)
            # What was being handled is handled again: a killed writer may have left its sweepings.
            if archive_has(chunk) and not scheduler.has_result(row):
                if _is_under_way(row):
                    journal.note(row, State.ARCHIVED)
                scheduler.summary.already.append(chunk)
            elif row.state in (State.EMPTY, State.FAILED) and (row.ended or 0) > plan.made:
                _report(scheduler.summary, row)
            elif row.state is State.FAILED and row.job_id and row.finished:
                scheduler.add(row, asked_again=True)
            elif row.state in (State.EMPTY, State.FAILED, State.ARCHIVED):
                fresh.append((chunk, key[1]))
            else:
                scheduler.add(row)
    for key, chunk in wanted.items():
        if archive_has(chunk):
            scheduler.summary.already.append(chunk)
        else:
            fresh.append((chunk, key[1]))
    for row in journal.plan(plan.backend, fresh):
        scheduler.add(row)
    return number


def _is_under_way(row: Row) -> bool:
    """Whether a job was started and has not come to its end: it is paid for."""
    ours = row.digest == _digest(row.chunk)
    waiting = (State.PLANNED, State.CREATING, State.CREATED)
    return ours and row.state not in (*waiting, State.ARCHIVED, State.EMPTY, State.FAILED)


def _report(summary: Summary, row: Row) -> None:
    """What another process has found out while this one waited for it."""
    if row.state is State.EMPTY:
        summary.empty.append(row.chunk)
    else:
        summary.failed.append((row.chunk, row.reason))


def _watch(events: queue.SimpleQueue[Event | None], observer: Callable[[Event], None]) -> None:
    """Hand on events until the last; short waits, since Windows cannot interrupt a long one."""
    while True:
        with contextlib.suppress(queue.Empty):
            event = events.get(timeout=0.2)
            if event is None:
                return
            observer(event)


@contextlib.contextmanager
def _only_one(folder: Path, observer: Callable[[Event], None]) -> Iterator[None]:
    """Hold the archive's download lock; while another process has it, say so and wait."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    holder = folder / "lock.json"
    told = False
    while True:
        try:
            lock.acquire(timeout=0.2)
            break
        except filelock.Timeout:
            if not told:
                told = True
                observer(Event("waiting", reason=f"{_holder(holder)} downloads for this archive"))
    try:
        now = dt.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        about = {"pid": os.getpid(), "host": platform.node(), "since": now}
        holder.write_text(json.dumps(about), encoding="utf-8")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return f"Process {about['pid']} on {about['host']} (since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"


def _order(chunk: Chunk) -> remote.Json:
    return remote.order(chunk, COLLECTION, BANDS, MARGIN)


@functools.lru_cache(maxsize=4096)
def _digest(chunk: Chunk) -> str:
    return remote.digest(_order(chunk))


def _area(tile: Tile) -> float:
    """Square metres of a tile, on a sphere."""
    width = (tile.east - tile.west) * math.cos(math.radians((tile.south + tile.north) / 2))
    return width * (tile.north - tile.south) * DEGREE**2


__all__ = [
    "BACKENDS", "CreditsNeeded", "Estimate", "Event", "Interrupted", "LoginNeeded", "Pace", "Plan",
    "Result", "Summary", "Unwanted", "connect", "estimate", "plan", "run",
]  # fmt: skip
