"""From an area and days to archived chunks: what is missing, what it will cost, and doing it.

`images` asks the catalogue what there is to order.  `plan` compares the chunks of a request
with that, with the archive and with the journal.  `run` orders the missing ones at the back
end and hands every checked result file to a function of the caller's; it knows nothing of
rasters, cells or archives.  What an earlier run has left, at the back end or on disk, is
picked up first.  How that is done is in `scheduler.py`.

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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from grid import ORBITS, BBox, Chunk, Tile, check_chunk_size, days, iter_tiles_covering
from jobs import catalogue, remote
from jobs.address import require_safe
from jobs.catalogue import CatalogueError, Cover, Covers
from jobs.failures import Mending
from jobs.journal import Journal, Request, Row, State
from jobs.scheduler import Claims, Event, Pace, Purse, Result, Scheduler, Summary
from jobs.trouble import CreditsNeeded, LimitReached, LoginNeeded, OptionsRefused, Spoiled, Unwanted
from shared import judge

if TYPE_CHECKING:
    from jobs.remote import Remote

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
ELEVATION_MODEL = "COPERNICUS_30"  # that images are orthorectified with, by the back end's name
# A record that shows less than this share of what the catalogue promised is partial.  A whole
# product that was skipped takes half of a tile or all of it, the edge of a swath that is not
# straight some hundredths.
PARTIAL = 0.9
KNOWN_BANDS = {"SENTINEL1_GRD": ("VV", "VH", "HH", "HV")}  # of collections; others: any
MARGIN = 0.001  # degrees of latitude by which a job's box is larger than its tile
KEEP_RAW = False  # keep the netCDF files after they are archived
JOB_OPTIONS: dict[str, Any] = {}  # of each job, such as {"python-memory": "4G"}
# What a job asks for after one that ran out of memory, and after that; the back end's defaults
# are 2G, 3G and none on a worker, and 8G on the driver.
MEMORY_STEPS: list[dict[str, Any]] = [
    {
        "executor-memory": "4G", "executor-memoryOverhead": "2G", "python-memory": "4G",
        "executor-cores": 1, "driver-memory": "16G",
    },
    {
        "executor-memory": "8G", "executor-memoryOverhead": "4G", "python-memory": "8G",
        "executor-cores": 1, "driver-memory": "32G",
    },
]  # fmt: skip
SOFT_ERRORS = 0.5  # share of failed reads that a job after one with a broken product lets pass
BACKOFF = (1.0, 300.0)  # s, first and longest wait after a passing trouble
PATIENCE = 24 * 3600  # s with one chunk's troubles, while the back end answers otherwise
STUCK_AFTER = 12 * 3600  # s without a change of a job's status; then it is canceled
# A restart or an evening without a network is survived, and what a dead machine had begun is
# ordered by another one the same day.
CLAIM_LASTS = 3 * 3600  # s for which a chunk is kept from other machines without a sign of life
START_LAG = 60  # s that a status may lag behind a start before it is started again
LOG_WAIT = 300  # s for the log of a failed job to hold an error
EMPTY_WAIT = 300  # s for a finished job to list a file before it has none
DOUBT = 24 * 3600  # s since its end, while one without a file that was promised is asked again
MISSING_WAIT = 4 * 3600  # s for a file that is listed to be there

# Typical of one job for a tile of CHUNK_SIZE, until there is a history of our own.
TYPICAL_SECONDS = 600.0  # from start to finish
EMBEDDED_SECONDS = 20.0  # the same at the embedded back end
TYPICAL_BYTES = 4.0  # a pixel and band
PIXEL = 10.0  # m
MIN_CREDITS = 2.0  # a job, on the Copernicus back end
HISTORY = 20  # jobs that an estimate rests on
DEGREE = 111_195.0  # m of latitude

SMALLEST = 0.001  # degrees, a side of a tile
STOP_WAIT = 0.5  # s that an interrupted run gives its threads
WAITING = (State.PLANNED, State.CREATING, State.CREATED)  # what costs nothing yet


@dataclass(frozen=True)
class Recipe:
    """What the order of a chunk is made from, besides the chunk."""

    collection: str
    bands: tuple[str, ...]
    margin: float
    elevation_model: str

    def order(self, chunk: Chunk) -> remote.Json:
        """The process graph."""
        return remote.order(chunk, self.collection, self.bands, self.margin, self.elevation_model)


@dataclass(frozen=True)
class Settings:
    """The constants at the top, judged; `settings` makes them when a command begins."""

    chunk_size: tuple[float, float]
    recipe: Recipe
    pace: Pace
    keep_raw: bool
    claim_lasts: float  # s
    job_options: Mapping[str, Any]
    mending: Mending


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    recipe = Recipe(
        judge.text("COLLECTION in download.py", COLLECTION),
        _bands(),
        judge.number("MARGIN in download.py", MARGIN, 0, 1),
        judge.text("ELEVATION_MODEL in download.py", ELEVATION_MODEL),
    )
    _judge_typical()
    _judge_catalogue()
    judge.number("PARTIAL in download.py", PARTIAL, 0, 1)
    return Settings(
        _chunk_size(), recipe, _pace(), judge.flag("KEEP_RAW in download.py", KEEP_RAW),
        judge.positive("CLAIM_LASTS in download.py", CLAIM_LASTS),
        judge.options("JOB_OPTIONS in download.py", JOB_OPTIONS), _mending(),
    )  # fmt: skip


def _pace() -> Pace:
    whole, positive = judge.whole, judge.positive
    first, longest = judge.rising("BACKOFF in download.py", BACKOFF, 0.001, 86400)
    return Pace(
        max_inflight=whole("MAX_INFLIGHT in download.py", MAX_INFLIGHT, 1),
        max_pending=whole("MAX_PENDING in download.py", MAX_PENDING, 1),
        max_trys=whole("MAX_TRYS in download.py", MAX_TRYS, 1),
        max_files=whole("MAX_FILES in download.py", MAX_FILES, 1),
        poll=positive("POLL_WAIT_TIME in download.py", POLL_WAIT_TIME),
        start_interval=judge.number("START_INTERVAL in download.py", START_INTERVAL),
        backoff_first=first,
        backoff_longest=longest,
        patience=positive("PATIENCE in download.py", PATIENCE),
        stuck_after=positive("STUCK_AFTER in download.py", STUCK_AFTER),
        start_lag=judge.number("START_LAG in download.py", START_LAG),
        log_wait=judge.number("LOG_WAIT in download.py", LOG_WAIT),
        empty_wait=judge.number("EMPTY_WAIT in download.py", EMPTY_WAIT),
        doubt=judge.number("DOUBT in download.py", DOUBT),
        missing_wait=judge.number("MISSING_WAIT in download.py", MISSING_WAIT),
    )


def _mending() -> Mending:
    name = "MEMORY_STEPS in download.py"
    if not isinstance(MEMORY_STEPS, tuple | list):
        raise ValueError(judge.wrong(name, MEMORY_STEPS, "a list of job options"))
    steps = [judge.options(name, step) for step in MEMORY_STEPS]
    return Mending(steps, judge.number("SOFT_ERRORS in download.py", SOFT_ERRORS, 0, 1))


def _bands() -> tuple[str, ...]:
    found = judge.names("BANDS in download.py", BANDS)
    known = KNOWN_BANDS.get(COLLECTION, found)
    if not set(found) <= set(known):
        must = f"some of {', '.join(known)}, which {COLLECTION} has"
        raise ValueError(judge.wrong("BANDS in download.py", BANDS, must))
    return found


def _chunk_size() -> tuple[float, float]:
    name = "CHUNK_SIZE in download.py"
    must = "two numbers above 0, degrees E-W and S-N, as [1, 0.5]"
    if not isinstance(CHUNK_SIZE, tuple | list) or len(CHUNK_SIZE) != 2:
        raise ValueError(judge.wrong(name, CHUNK_SIZE, must))
    if not all(judge.is_number(size) and size >= SMALLEST for size in CHUNK_SIZE):
        raise ValueError(judge.wrong(name, CHUNK_SIZE, must))
    return check_chunk_size(CHUNK_SIZE)


def _judge_typical() -> None:
    for name, value in (
        ("TYPICAL_SECONDS", TYPICAL_SECONDS), ("EMBEDDED_SECONDS", EMBEDDED_SECONDS),
        ("TYPICAL_BYTES", TYPICAL_BYTES), ("PIXEL", PIXEL), ("DEGREE", DEGREE),
        ("MIN_CREDITS", MIN_CREDITS), ("STOP_WAIT", STOP_WAIT),
    ):  # fmt: skip
        judge.positive(f"{name} in download.py", value)
    judge.whole("HISTORY in download.py", HISTORY, 1)


def _judge_catalogue() -> None:
    require_safe(judge.text("CATALOGUE in catalogue.py", catalogue.CATALOGUE))
    judge.text("IMAGES in catalogue.py", catalogue.IMAGES)
    judge.names("MODES in catalogue.py", catalogue.MODES)
    judge.number("LEAST_SHARE in catalogue.py", catalogue.LEAST_SHARE, 0, 1)


Range = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """What the missing chunks will cost, and in which range by the middle half of our jobs."""

    bytes: int  # to download
    seconds: float
    credits: float | None  # None where nothing is known; at least, where there is no history
    jobs: int  # how many jobs of our own this rests on; 0: on typical values
    bytes_range: Range | None = None  # None: one job or none says nothing of it
    seconds_range: Range | None = None
    credits_range: Range | None = None


@dataclass(frozen=True)
class Plan:
    """The chunks of a request, by what is to be done about them."""

    backend: str  # the label
    bbox: BBox
    first: dt.date
    last: dt.date
    orbit: str | None  # None: of each orbit, or of the day where the catalogue was not asked
    missing: list[Chunk]
    archived: list[Chunk]
    empty: list[Chunk]  # known to have no data
    estimate: Estimate
    retry_empty: bool
    made: float  # seconds since 1970-01-01 UTC
    begun: list[Chunk]  # of other requests: `run` brings them to their end, too
    covers: Mapping[Chunk, Cover] | None = None  # by the catalogue; None if it was not asked
    renewed: list[Chunk] = field(default_factory=list)  # missing, with images that came later
    catalogue: str | None = None  # of the request, see `journal.Request`
    max_credits: float | None = None
    again: frozenset[Chunk] = frozenset()  # missing, though there is a record of them

    @property
    def aside(self) -> tuple[str, ...]:
        """Images of the catalogue that the back end does not read: how many of which kind."""
        return self.covers.aside if isinstance(self.covers, Covers) else ()

    @property
    def skipped(self) -> tuple[str, ...]:
        """Items of the catalogue that cannot be understood, each with the reason."""
        return self.covers.skipped if isinstance(self.covers, Covers) else ()


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


def images(
    bbox: BBox,
    start: dt.date,
    end: dt.date,
    address: str,
    chunk_size: Sequence[float] | None = None,
    bands: Sequence[str] | None = None,
) -> Covers:
    """What the catalogue at an address has of the tiles of an area; raises CatalogueError."""
    made = settings()
    if made.recipe.collection not in remote.RADAR:
        raise ValueError(
            f"The catalogue is asked for images of Sentinel-1 alone, and COLLECTION is "
            f"{made.recipe.collection}.  Nothing was ordered.  --no-catalogue orders every day."
        )
    chunk_size, bands = chunk_size or made.chunk_size, bands or made.recipe.bands
    tiles, number = catalogue.whole_tiles(bbox, chunk_size)
    found = catalogue.search(address, tiles, start, end, bands, number)
    covers = catalogue.covers(found.images, iter_tiles_covering(bbox, chunk_size))
    return Covers(covers, found)


def plan(
    bbox: BBox,
    start: dt.date,
    end: dt.date,
    orbit: str | None,
    archive_has: Callable[[Chunk], bool],
    journal: Journal,
    backend: str | None = None,
    *,
    chunk_size: Sequence[float] | None = None,
    retry_empty: bool = False,
    retry: Collection[Chunk] = (),
    covers: Mapping[Chunk, Cover] | None = None,
    asked: str | None = None,
    max_credits: float | None = None,
    pace: Pace | None = None,
) -> Plan:
    """What is missing of an area and its days (``end`` included), and what it will cost.

    With the ``covers`` of the catalogue (which was named as ``asked`` says, see
    `journal.Request`) only what an image touches is missing; ``orbit`` None then means a
    chunk for each orbit, otherwise one for the day.  Of a tile and day with a record of
    another kind, None orders nothing more.  ``archive_has`` is asked about every chunk.
    Those of ``retry`` are ordered again, although they are archived.
    Nothing is created, neither on disk nor at the back end.
    """
    made = settings()
    backend, pace = backend or BACKEND, pace or made.pace
    recipe, latest = made.recipe, _latest(journal, backend, made.recipe)
    missing: list[Chunk] = []
    archived: list[Chunk] = []
    empty: list[Chunk] = []
    renewed: list[Chunk] = []
    for tile in iter_tiles_covering(bbox, chunk_size or made.chunk_size):
        for day in days(start, end):
            for chunk in _wanted(tile, day, orbit, covers):
                instead = _instead(chunk, archive_has) if orbit is None else None
                rows = _rows(chunk, latest, orbit is None)
                nothing = [row for row in rows if row.state is State.EMPTY]
                again = chunk in retry
                if instead or (archive_has(chunk) and not again):
                    archived.append(instead or chunk)
                elif nothing and not (again or retry_empty) and not _is_new(chunk, nothing, covers):
                    empty.append(chunk)
                elif not any(_is_under_way(row, recipe) and row.chunk != chunk for row in rows):
                    missing.append(chunk)
                    renewed += [chunk] * bool(nothing)
    wanted = set(missing)
    begun = [
        row.chunk
        for row in latest.values()
        if _is_under_way(row, recipe) and row.chunk not in wanted
    ]
    history = journal.history(backend, HISTORY)
    return Plan(
        backend, bbox, start, end, orbit, missing, list(dict.fromkeys(archived)), empty,
        estimate(missing, history, backend, pace, covers or {}), retry_empty, journal.now(), begun,
        covers, [] if retry_empty else renewed, asked, max_credits,
        again=frozenset(retry).intersection(missing),
    )  # fmt: skip


def _wanted(
    tile: Tile, day: dt.date, orbit: str | None, covers: Mapping[Chunk, Cover] | None
) -> Iterator[Chunk]:
    """The chunks to be had of a tile and day."""
    if covers is None:
        yield Chunk(tile, day, orbit or ORBITS[0])
        return
    for state in ORBITS[1:] if orbit is None else (orbit,):
        if (chunk := Chunk(tile, day, state)) in covers:
            yield chunk


def _instead(chunk: Chunk, archive_has: Callable[[Chunk], bool]) -> Chunk | None:
    """A record that makes this chunk needless: of the whole day, or parts of it."""
    others = ORBITS[1:] if chunk.orbit == ORBITS[0] else ORBITS[:1]
    records = (Chunk(chunk.tile, chunk.day, orbit) for orbit in others)
    return next(filter(archive_has, records), None)


def _rows(chunk: Chunk, latest: Mapping[Chunk, Row], or_day: bool) -> list[Row]:
    """The last attempts at a chunk, and at its whole day if that would do as well."""
    chunks = {chunk, Chunk(chunk.tile, chunk.day)} if or_day else {chunk}
    return [latest[each] for each in chunks if each in latest]


def _is_new(chunk: Chunk, nothing: list[Row], covers: Mapping[Chunk, Cover] | None) -> bool:
    """Whether an image was published after the chunk was found to have no data."""
    created = covers[chunk].created if covers else None
    return created is not None and created.timestamp() > max(row.ended or 0.0 for row in nothing)


def estimate(
    chunks: Sequence[Chunk],
    history: Sequence[Row],
    backend: str,
    pace: Pace | None = None,
    covers: Mapping[Chunk, Cover] | None = None,
) -> Estimate:
    """Bytes, seconds and credits for these chunks: the median of jobs of our own, or typical.

    The bytes go by the area that is covered.  The time is that of the turns in all places,
    but at least that of the starts, and what the last result takes to get into the archive.
    """
    number, known, pace = len(chunks), covers or {}, pace or settings().pace
    area = sum(_area(c.tile) * (known[c].share if c in known else 1.0) for c in chunks)
    typical = EMBEDDED_SECONDS if backend == "sandbox" else TYPICAL_SECONDS
    density = [(row.bytes or 0) / (_area(row.chunk.tile) * _covered(row)) for row in history]
    held = [(row.noticed or row.finished or 0) - (row.started or 0) for row in history]
    behind = [(row.ended or row.noticed) - row.noticed for row in history if row.noticed]
    costs = [row.credits for row in history if row.credits is not None]
    last = statistics.median(behind) if behind else 0.0
    turns = math.ceil(number / pace.max_inflight)

    def seconds(each: float) -> float:
        starts = (number - 1) * pace.start_interval + each
        return max(turns * each, starts) + last if number else 0.0

    least = MIN_CREDITS if backend in BACKENDS else None
    credits = statistics.median(costs) if costs else least
    return Estimate(
        round(area * _median(density, TYPICAL_BYTES * len(BANDS) / PIXEL**2)),
        seconds(_median(held, typical)),
        None if credits is None else credits * number,
        len(history),
        _spread(density, lambda each: each * area),
        _spread(held, seconds),
        _spread(costs, lambda each: each * number),
    )


def _covered(row: Row) -> float:
    """What share of the tile the images cover; all of it where the catalogue was not asked."""
    return float(row.known.get("covered", 1.0))


def _median(values: Sequence[float], otherwise: float) -> float:
    return statistics.median(values) if values else otherwise


def _spread(values: Sequence[float], total: Callable[[float], float]) -> Range | None:
    """The total by the lower and by the upper quartile of what one took."""
    if len(values) < 2:
        return None
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return total(low), total(high)


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
    from jobs import login

    url = BACKENDS.get(backend, backend)
    show = show or functools.partial(print, file=sys.stderr)
    return login.connect(url, interactive, show, prefer_basic=label == "sandbox")


def run(
    plan: Plan,
    connection: Remote,
    folder: Path,
    handle: Callable[[Result], float],
    archive_has: Callable[[Chunk], bool],
    observer: Callable[[Event], None] = lambda _: None,
    *,
    pace: Pace | None = None,
    keep_raw: bool | None = None,
    claims: Claims | None = None,
    job_options: Mapping[str, Any] | None = None,
    tidy: bool = False,
) -> Summary:
    """Bring every missing chunk of the plan to its end: archived, no data, or failed.

    ``folder`` is that of the journal.  ``handle`` archives a `Result` and reads it back;
    it returns the share of the tile that is seen then, True if it does not know, and False
    if the file holds no measured pixel.  It is called in a thread of its
    own, ``observer`` in the caller's.  ``claims`` tells what other machines order, where
    several fill one archive.  ``job_options`` are added to JOB_OPTIONS.  ``tidy``
    has the back end forget each job that came to its end, with its result.  ``Summary.stopped``
    tells why a run ended early: LoginNeeded, CreditsNeeded, OptionsRefused, Unwanted by the
    handler, or OSError for a full disk.  Raises `Interrupted`, and JournalError.
    """
    made = settings()
    recipe, journal = made.recipe, Journal(folder)
    partial: list[Chunk] = []

    def handle_and_compare(result: Result) -> bool:
        seen = handle(result)
        if seen and is_partial(result.provenance.covered, seen):
            partial.append(result.chunk)
        return bool(seen)

    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    with _only_one(folder, observer):
        for item in plan.skipped:
            journal.log(f"skipped of the catalogue: {item}")
        scheduler = Scheduler(
            connection, journal, recipe.order, handle_and_compare, archive_has, events.put,
            pace or made.pace,
            label=plan.backend, collection=recipe.collection, bands=recipe.bands,
            folder=folder / "raw", keep_raw=made.keep_raw if keep_raw is None else keep_raw,
            tidy=tidy, purse=_purse(plan), claims=claims,
            job_options={**made.job_options, **(job_options or {})}, mending=made.mending,
        )  # fmt: skip
        number = _take_on(scheduler, plan, journal, recipe, archive_has)
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
        # One that came to its limit is done as far as was wanted.
        ends = scheduler.summary
        unfinished = ends.left or ends.elsewhere or ends.doubtful
        if not unfinished or isinstance(ends.stopped, LimitReached):
            journal.close_request(number)
        journal.close()
    scheduler.summary.partial = partial
    return scheduler.summary


def is_partial(covered: float | None, seen: float) -> bool:
    """Whether a record shows much less than was promised: both are shares of its tile."""
    return covered is not None and seen < PARTIAL * covered - catalogue.INEXACT


def _take_on(
    scheduler: Scheduler,
    plan: Plan,
    journal: Journal,
    recipe: Recipe,
    archive_has: Callable[[Chunk], bool],
) -> int:
    """Give the scheduler what is to be done: first what an earlier run has begun."""
    number = journal.open_request(
        Request(
            plan.backend, plan.bbox, plan.first, plan.last, plan.orbit, len(plan.missing),
            plan.made, len(plan.archived) + len(plan.empty), plan.catalogue, plan.max_credits,
        )
    )  # fmt: skip
    wanted = dict.fromkeys(plan.missing)
    fresh: list[Chunk] = []
    latest = _latest(journal, plan.backend, recipe)
    for chunk, row in latest.items():
        if chunk in wanted or _is_under_way(row, recipe):
            wanted.pop(chunk, None)
            again = chunk in plan.again or (_is_under_way(row, recipe) and row.again)
            # What was being handled is handled again: a killed writer may have left its sweepings.
            if archive_has(chunk) and not again and not scheduler.has_result(row):
                if _is_under_way(row, recipe):
                    journal.note(row, State.ARCHIVED)
                scheduler.summary.already.append(chunk)
            elif row.state in (State.EMPTY, State.FAILED) and (row.ended or 0) > plan.made:
                _report(scheduler.summary, row)
            elif row.state is State.FAILED and row.job_id and row.finished:
                scheduler.add(row, asked_again=True)
            elif row.state in (State.EMPTY, State.FAILED, State.ARCHIVED):
                fresh.append(chunk)
            elif row.state in WAITING and row.digest != _digests(chunk, recipe)[0]:
                journal.note(row, State.FAILED, reason="an order of before, which was not started")
                fresh.append(chunk)
            else:
                scheduler.add(row)
    for chunk in wanted:
        if archive_has(chunk) and chunk not in plan.again:
            scheduler.summary.already.append(chunk)
        else:
            fresh.append(chunk)
    about = functools.partial(_about, plan.covers or {}, plan.again)
    # What was learnt from a failed job is not forgotten with the run.
    asked = {chunk: row.options for chunk, row in latest.items() if row.state is State.FAILED}
    options = functools.partial(_asked, asked)
    orders = [(chunk, _digests(chunk, recipe)[0]) for chunk in fresh]
    for row in journal.plan(plan.backend, orders, images=about, options=options):
        scheduler.add(row)
    return number


def _asked(asked: Mapping[Chunk, str], chunk: Chunk) -> str:
    """The options of the last job for a chunk, if that one failed."""
    return asked.get(chunk, "")


def _about(covers: Mapping[Chunk, Cover], again: frozenset[Chunk], chunk: Chunk) -> str:
    """What the catalogue has of a chunk, for the journal and for the record's provenance."""
    about: dict[str, object] = {"again": True} if chunk in again else {}
    if cover := covers.get(chunk):
        about |= {
            "covered": cover.share,
            "relative_orbits": cover.relative_orbits,
            "platforms": cover.platforms,
            "acquired": cover.times,
        }
    return json.dumps(about) if about else ""


def _purse(plan: Plan) -> Purse:
    """What may be spent, and what a job will take of it by what is known before."""
    cost, number = plan.estimate.credits, len(plan.missing)
    known = bool(plan.estimate.jobs and cost and number)
    price = cost / number if cost and number else MIN_CREDITS
    return Purse(plan.max_credits, price, known)


def _is_under_way(row: Row, recipe: Recipe) -> bool:
    """Whether a job was started and has not come to its end: it is paid for."""
    ours = row.digest in _digests(row.chunk, recipe)
    return ours and row.state not in (*WAITING, State.ARCHIVED, State.EMPTY, State.FAILED)


def _latest(journal: Journal, backend: str, recipe: Recipe) -> dict[Chunk, Row]:
    """Of each chunk the last attempt at it, also by an order as older versions wrote it.

    Of both the one that is paid for, else the one by today's order.
    """
    rows = journal.latest(backend).values()
    ours = [row for row in rows if row.digest in _digests(row.chunk, recipe)]
    ours.sort(
        key=lambda row: (
            _is_under_way(row, recipe),
            row.digest == _digests(row.chunk, recipe)[0],
        )
    )
    return {row.chunk: row for row in ours}


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


@functools.lru_cache(maxsize=4096)
def _digests(chunk: Chunk, recipe: Recipe) -> tuple[str, str]:
    """Of the order for a chunk, and of the same order as older versions wrote it."""
    graph = recipe.order(chunk)
    return remote.digest(graph), remote.digest(remote.of_before(graph))


def _area(tile: Tile) -> float:
    """Square metres of a tile, on a sphere."""
    width = (tile.east - tile.west) * math.cos(math.radians((tile.south + tile.north) / 2))
    return width * (tile.north - tile.south) * DEGREE**2


__all__ = [
    "BACKENDS", "CatalogueError", "Cover", "CreditsNeeded", "Estimate", "Event", "Interrupted",
    "LimitReached", "LoginNeeded", "OptionsRefused", "Pace", "Plan", "Recipe", "Result",
    "Settings", "Spoiled", "Summary", "Unwanted", "connect", "estimate", "images", "is_partial",
    "plan", "run", "settings",
]  # fmt: skip
