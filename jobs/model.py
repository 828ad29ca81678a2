"""What a run of jobs is spoken of with: how fast it goes, what happens in it, what comes of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from grid import Chunk, Provenance

POLL_SHARE = 0.02  # of the time without a change that may pass between two polls
POLL_SLOWEST = 4  # times the usual wait
CENT = 1e-6  # credits that are none


@dataclass(frozen=True)
class Pace:
    """How many at a time, how often, how long; times in seconds."""

    max_inflight: int  # jobs queued or running at the back end
    max_pending: int  # jobs ordered ahead, not started
    max_trys: int  # jobs for a chunk, and transfers of a result that is refused
    max_files: int  # results on disk: on their way, waiting, or being handled
    poll: float  # between two questions how a job is doing
    start_interval: float  # between two starts
    backoff_first: float  # wait after a first passing trouble
    backoff_longest: float
    patience: float  # with one chunk's troubles, while the back end answers otherwise
    stuck_after: float  # without a change of a job's status
    start_lag: float  # that a status may lag behind a start
    log_wait: float  # for a failed job's log to hold an error
    empty_wait: float  # for a finished job to list a file
    doubt: float  # since its end, while one without a file that was promised is asked for again
    missing_wait: float  # for a file that is listed to be there
    clock: Callable[[], float] = time.monotonic
    dice: random.Random = field(default_factory=random.Random)

    def poll_wait(self, unchanged: float) -> float:
        """Seconds to the next poll of a job whose status has not changed for a while."""
        return min(max(self.poll, POLL_SHARE * unchanged), POLL_SLOWEST * self.poll)


@dataclass(frozen=True)
class Event:
    """Something happened, for whoever watches.

    ``kind``: "created", "started", "status", "finished", "bytes", "downloaded",
    "archived", "empty", "doubtful", "failed", "retry", "left", "waiting", "stopping".
    """

    kind: str
    chunk: Chunk | None = None
    slot: int | None = None  # 1, 2, ...: the place of the job, also while its result is fetched
    job_id: str | None = None
    status: str = ""  # as the back end words it
    bytes: int = 0
    total: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Result:
    """A checked result file, to be archived."""

    chunk: Chunk
    path: Path
    provenance: Provenance


@dataclass(frozen=True)
class Destination:
    """Where results go: what a run knows of the archive."""

    # Archives a result and reads it back; the share of the tile that is seen then, True if it
    # does not know, and False if the file holds no measured pixel.
    handle: Callable[[Result], float]
    has: Callable[[Chunk], bool]
    claims: Claims | None = None  # where several machines fill one archive


@dataclass
class Summary:
    """What came of a run."""

    archived: list[Chunk] = field(default_factory=list)
    empty: list[Chunk] = field(default_factory=list)
    failed: list[tuple[Chunk, str]] = field(default_factory=list)  # with the reason
    doubtful: list[tuple[Chunk, str]] = field(default_factory=list)  # asked for again next time
    marked: list[tuple[Chunk, str]] = field(default_factory=list)  # archived, with a reservation
    lost_jobs: int = 0  # that were paid for and failed
    lost_credits: float = 0.0  # as far as the back end has said what they cost
    partial: list[Chunk] = field(default_factory=list)  # of the archived: see `settings.is_partial`
    already: list[Chunk] = field(default_factory=list)  # found done: another process was faster
    left: list[Chunk] = field(default_factory=list)  # not at their end when the run stopped
    elsewhere: list[tuple[Chunk, str]] = field(default_factory=list)  # with who orders it
    at_server: int = 0  # jobs that go on at the back end
    bytes: int = 0  # downloaded
    seconds: float = 0.0
    stopped: Exception | None = None  # why the run ended early; its text says what to do


@dataclass
class Purse:
    """What the jobs that a run starts may cost together, and what they have cost so far.

    A job takes the price until the back end says what it cost.  While no price is known,
    there is one job at a time; once a job was dearer than the price, that is the price.
    """

    limit: float | None  # None: no limit
    price: float  # of a job, in credits
    known: bool  # whether the price is one that we have paid before
    open: set[int] = field(default_factory=set)  # jobs that cost we do not know what
    paid: dict[int, float] = field(default_factory=dict)

    def allows(self, number: int = 1) -> bool:
        """Whether so many more jobs may be started."""
        if self.limit is None:
            return True
        if not self.known and (self.open or number > 1):
            return False
        return self.spent + (len(self.open) + number) * self.price <= self.limit + CENT

    @property
    def spent(self) -> float:
        """Credits that were paid for sure."""
        return sum(self.paid.values())

    def pay(self, number: int, credits: float | None) -> None:
        """Job ``number`` has ended; a back end that names no costs took the price."""
        if number not in self.open:
            return  # an earlier run started it
        self.open.discard(number)
        self.paid[number] = self.price if credits is None else credits
        self.price = max(self.price, self.paid[number]) if self.known else self.paid[number]
        self.known = True


class Claims(Protocol):
    """Who orders which chunk, where several machines fill one archive; see `claims`."""

    def claim(self, chunk: Chunk, title: str) -> str:
        """Claim a chunk for the job with this title, or renew the claim: "", or who has it."""

    def inherited(self, chunk: Chunk) -> list[str]:
        """Titles under which machines that are gone may have ordered this chunk."""

    def release(self, chunk: Chunk) -> None:
        """Let others have a chunk."""
