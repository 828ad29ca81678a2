"""From an area and days to archived chunks: what is missing, what it will cost, and doing it.

`images` asks the catalogue what there is to order.  `plan` compares the chunks of a request
with that, with the archive and with the journal.  `run` orders the missing ones at the back
end and hands every checked result file to a function of the caller's; it knows nothing of
rasters, cells or archives.  What an earlier run has left, at the back end or on disk, is
picked up first.  How that is done is in `jobs/`.

One process at a time downloads for an archive; a second one waits, and then finds done
what the first has done.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jobs.catalogue
import jobs.estimate
import jobs.plan
import jobs.run
import jobs.settings
from grid import BBox, Chunk, Day, as_days, check_chunk_size
from jobs.catalogue import CatalogueError, Cover, Covers
from jobs.estimate import Estimate
from jobs.journal import Journal, Row
from jobs.model import Claims, Destination, Event, Pace, Result, Summary
from jobs.plan import Demand, Plan
from jobs.recipe import Recipe
from jobs.run import Interrupted
from jobs.settings import Settings
from jobs.trouble import CreditsNeeded, LimitReached, LoginNeeded, OptionsRefused, Spoiled, Unwanted

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
COLLECTION = "SENTINEL1_GRD"  # or "SENTINEL2_L2A", or any other gridded one of the back end
BANDS = ("VV", "VH")
MAX_CLOUD = 100  # percent of an image, of collections whose images say how cloudy they are
ELEVATION_MODEL = "COPERNICUS_30"  # that images are orthorectified with, by the back end's name
# A record that shows less than this share of what the catalogue promised is partial.  A whole
# product that was skipped takes half of a tile or all of it, the edge of a swath that is not
# straight some hundredths.
PARTIAL = 0.9
INEXACT = 0.02  # of a tile: what footprints may be off by, a kilometre or two
MARGIN = 0.001  # degrees of latitude by which a job's box is larger than its tile
KEEP_RAW = False  # keep the netCDF files after they are archived
JOB_OPTIONS: dict[str, Any] = {}  # of each job, such as {"python-memory": "4G"}
# What a job asks for after one that ran out of memory, and after that; the back end's defaults
# are 2G, 3G and none on a worker, and 8G on the driver.
MEMORY_STEPS: list[dict[str, Any]] = [
    {"executor-memory": "4G", "executor-memoryOverhead": "2G", "python-memory": "4G",
     "executor-cores": 1, "driver-memory": "16G"},
    {"executor-memory": "8G", "executor-memoryOverhead": "4G", "python-memory": "8G",
     "executor-cores": 1, "driver-memory": "32G"},
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

CATALOGUE = "https://stac.dataspace.copernicus.eu/v1"  # STAC API of the Copernicus back ends
IMAGES = None  # the collection there, as "sentinel-1-grd"; None: the one that COLLECTION is made of
# What the back end's SENTINEL1_GRD is made of: products of the satellites A, B and C.
TYPES = ("IW_GRDH_1S", "IW_GRDH_1S_B", "IW_GRDH_1S_C")
MODES = ("IW",)  # instrument modes
LEAST_SHARE = 1e-4  # of a tile; footprints are not exact, and less is not worth a job

# Typical of one job for a tile of CHUNK_SIZE, until there is a history of our own; None: what
# is known of the collection.
TYPICAL_SECONDS = None  # from start to finish
EMBEDDED_SECONDS = 20.0  # the same at the embedded back end
TYPICAL_BYTES = None  # a pixel and band
PIXEL = None  # m
MIN_CREDITS = 2.0  # a job, on the Copernicus back end
HISTORY = 20  # jobs that an estimate rests on


def settings(recipe: Recipe | None = None) -> Settings:
    """The constants as they are now, or with another recipe; ValueError names a wrong one."""
    made = jobs.settings.judged(globals())
    return replace(made, recipe=recipe or made.recipe)


def images(
    bbox: BBox,
    start: Day,
    end: Day,
    address: str,
    chunk_size: Sequence[float] | None = None,
    bands: Sequence[str] | None = None,
    recipe: Recipe | None = None,
) -> Covers:
    """What the catalogue at an address has of the tiles of an area; raises CatalogueError."""
    made = settings(recipe)
    ours = replace(made.recipe, bands=tuple(bands or made.recipe.bands))
    size = check_chunk_size(chunk_size or made.chunk_size)
    return jobs.catalogue.images(
        address, bbox, *as_days(start, end), replace(made, chunk_size=size, recipe=ours)
    )


def plan(
    bbox: BBox,
    start: Day,
    end: Day,
    orbit: str | None,
    archive_has: Callable[[Chunk], bool],
    journal: Journal,
    backend: str | None = None,
    *,
    chunk_size: Sequence[float] | None = None,
    retry_empty: bool = False,
    retry: Collection[Chunk] = (),
    covers: Mapping[Chunk, Cover] | None = None,
    catalogue: str | None = None,
    max_credits: float | None = None,
    pace: Pace | None = None,
    recipe: Recipe | None = None,
    of_files: Mapping[Chunk, float] | None = None,
) -> Plan:
    """What is missing of an area and its days (``end`` included), and what it will cost.

    With the ``covers`` of the catalogue (named as ``catalogue`` says, see `journal.Request`) only
    what an image touches is missing; ``orbit`` None then means a chunk for each orbit, otherwise
    one for the day.  Of a tile and day with a record of another kind, None orders nothing more.
    ``archive_has`` is asked about every chunk.  Those of ``retry`` are ordered again, and records
    ``of_files``, with the share of its tile each shows, that show much less.  Nothing is created.
    """
    made, (first, last) = settings(recipe), as_days(start, end)
    demand = Demand(
        backend=backend or BACKEND, bbox=bbox, first=first, last=last, orbit=orbit, covers=covers,
        chunk_size=chunk_size or made.chunk_size, catalogue=catalogue, of_files=of_files or {},
        retry_empty=retry_empty, retry=frozenset(retry), max_credits=max_credits,
    )  # fmt: skip
    return jobs.plan.make(demand, archive_has, journal, replace(made, pace=pace or made.pace))


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
    made = settings()
    made = replace(made, pace=pace or made.pace)
    return jobs.estimate.estimate(chunks, history, backend, covers or {}, made)


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
    recipe: Recipe | None = None,
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
    made = settings(recipe)
    made = replace(
        made,
        pace=pace or made.pace,
        keep_raw=made.keep_raw if keep_raw is None else keep_raw,
        job_options={**made.job_options, **(job_options or {})},
    )
    destination = Destination(handle, archive_has, claims)
    return jobs.run.run(plan, connection, folder, destination, observer, made, tidy)


def is_partial(covered: float | None, seen: float) -> bool:
    """Whether a record shows much less than was promised: both are shares of its tile."""
    return jobs.settings.is_partial(covered, seen, settings())


__all__ = [
    "BACKEND", "BACKENDS", "BACKOFF", "BANDS", "CATALOGUE", "CHUNK_SIZE", "CLAIM_LASTS",
    "COLLECTION", "DOUBT", "ELEVATION_MODEL", "EMBEDDED_SECONDS", "EMPTY_WAIT", "HISTORY", "IMAGES",
    "INEXACT", "JOB_OPTIONS", "KEEP_RAW", "LEAST_SHARE", "LOG_WAIT", "MARGIN", "MAX_CLOUD",
    "MAX_FILES", "MAX_INFLIGHT", "MAX_PENDING", "MAX_TRYS", "MEMORY_STEPS", "MIN_CREDITS",
    "MISSING_WAIT", "MODES", "PARTIAL", "PATIENCE", "PIXEL", "POLL_WAIT_TIME", "SOFT_ERRORS",
    "START_INTERVAL", "START_LAG", "STUCK_AFTER", "TYPES", "TYPICAL_BYTES", "TYPICAL_SECONDS",
    "CatalogueError", "Cover", "CreditsNeeded", "Estimate", "Event", "Interrupted",
    "LimitReached", "LoginNeeded", "OptionsRefused", "Pace", "Plan", "Recipe", "Result",
    "Settings", "Spoiled", "Summary", "Unwanted", "connect", "estimate", "images", "is_partial",
    "plan", "run", "settings",
]  # fmt: skip
__dir__ = sorted(__all__).copy  # what is offered, for `dir`
