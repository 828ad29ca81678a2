"""Keeps the back end's places busy, and every finished job on its way into the archive.

One thread decides.  It asks the back end, writes the journal, and never waits for a file:
transfers and the handling of files have threads of their own, which report into an inbox.
So there is one writer of the journal, and no step is taken that it did not note before.

Each turn does the most urgent thing whose time has come, in this order: start a job where
a place is free, ask how the jobs are doing, order jobs ahead, ask why a job failed, fetch
results, hand over files.  A place that becomes free is therefore filled before the result
that freed it is fetched.  If nothing is due, the thread sleeps until something is, or
until a worker reports.

Times are seconds of ``Pace.clock``, which tests hand in like the dice.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import functools
import json
import queue
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grid import Provenance
from jobs import failures, transfer
from jobs.assets import Asset
from jobs.failures import Failure
from jobs.journal import ENDS, Journal, JournalError, Row, State
from jobs.model import Destination, Event, Purse, Result, Summary
from jobs.recipe import digest
from jobs.remote import Remote, Status
from jobs.settings import Settings, is_partial
from jobs.trouble import (
    LONGEST_REASON,
    CreditsNeeded,
    Kind,
    LimitReached,
    LoginNeeded,
    OptionsRefused,
    Spoiled,
    Trouble,
    Unwanted,
    backoff,
    redact,
)
from shared.files import is_disk_full

LONGEST_REST = 60.0  # s
BYTES_INTERVAL = 0.2  # s between two reports of a transfer's progress
LOOK_AGAIN = 60.0  # s between two looks at a chunk that another machine orders
UNANSWERED = 5  # times the usual lag that a start without an answer may take

IN_PLACE = frozenset({State.STARTING, State.QUEUED, State.RUNNING})
PENDING = frozenset({State.CREATING, State.CREATED})
ON_DISK = frozenset({State.DOWNLOADING, State.DOWNLOADED})
ORDERING = PENDING | {State.PLANNED}
EVERYTHING = frozenset(State) - ENDS


@dataclass(frozen=True)
class Task:
    """What a run is to do, and with what."""

    backend: str  # the label
    made: Settings
    purse: Purse
    tidy: bool  # remove at the back end what came to its end, with its result


@dataclass
class _Attempt:
    """A row of the journal and what only this run knows of it."""

    row: Row
    due: float = 0.0  # when something may be done about it
    troubles: int = 0  # in a row
    trouble_since: float | None = None
    changed: float = 0.0  # when the job's status last changed
    status: str = ""
    slot: int | None = None
    busy: bool = False  # a worker has it
    refusals: int = 0
    refused: str = ""  # the fingerprint of the file that was refused last
    asked_again: bool = False  # it failed in an earlier run with a result that is still there
    holder: str = ""  # the machine that has claimed the chunk
    last_look: bool = False  # nothing else is left to do
    ask_first: bool = False  # an earlier run, or a hand in the web editor, may have started it
    sent: float = float("-inf")  # when its start was sent
    answered: bool = False  # the back end knows of that start
    looking: float | None = None  # since when its log or its results say nothing
    doubted: bool = False  # an earlier run found it without a file

    @property
    def job_id(self) -> str:
        return self.row.job_id or ""


Report = Callable[[], None]
Action = Callable[[_Attempt], None]


class Scheduler:
    """One run.  `run` is the body of the deciding thread; `interrupt` ends it from outside."""

    def __init__(
        self,
        task: Task,
        remote: Remote,
        journal: Journal,
        destination: Destination,
        emit: Callable[[Event | None], None],
    ) -> None:
        made = task.made
        self.summary = Summary()
        self.error: Exception | None = None  # what ended the deciding thread, if not its work
        self._made, self._remote, self._journal = made, remote, journal
        self._order = made.recipe.order
        self._handle, self._archive_has, self._emit = destination.handle, destination.has, emit
        self._pace, self._label, self._collection = made.pace, task.backend, made.recipe.collection
        self._bands, self._folder = made.recipe.bands, journal.folder / "raw"
        self._keep_raw, self._purse = made.keep_raw, task.purse
        self._claims = destination.claims
        self._held: list[_Attempt] = []  # which other machines have claimed
        self._job_options, self._mending = dict(made.job_options), made.mending
        self._accepted = not made.job_options  # the back end has started a job with these options
        self._tidy = task.tidy
        self._todo: collections.deque[_Attempt] = collections.deque()
        self._live: dict[int, _Attempt] = {}
        self._allowed = EVERYTHING
        self._next_start = float("-inf")
        self._quiet_until = float("-inf")  # a server that says Retry-After means all requests
        self._last_good = float("-inf")
        self._stop = threading.Event()
        self._inbox: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._transfers: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._handling: queue.SimpleQueue[Report | None] = queue.SimpleQueue()

    def add(self, row: Row, *, asked_again: bool = False) -> None:
        """Take on an attempt, wherever an earlier run has left it."""
        now = self._pace.clock()
        attempt = _Attempt(row, asked_again=asked_again, changed=now)
        if row.state is State.PLANNED:
            self._todo.append(attempt)
            return
        attempt.ask_first = row.state is State.CREATED
        attempt.doubted = row.state is State.DOUBTFUL
        if row.state in IN_PLACE:
            attempt.sent = now - max(0.0, self._journal.now() - (row.started or 0.0))
        if attempt.doubted:
            attempt.row = self._journal.note(row, State.FINISHED)
        have_file = self._path(row).exists()
        if row.state is State.FAILED or row.state in ON_DISK:
            state = State.DOWNLOADED if have_file and row.state is not State.DOWNLOADING else None
            attempt.row = self._journal.note(row, state or State.FINISHED, ended=None)
        self._live[row.id] = attempt

    def has_result(self, row: Row) -> bool:
        """Whether an earlier run has fetched the result and not come to the end of handling it."""
        return row.state is State.DOWNLOADED and self._path(row).exists()

    def run(self) -> None:
        """Work until nothing is left to do; never raises (see ``error``)."""
        began = self._pace.clock()
        try:
            self._sweep()
            self._hire()
            self._claim_again()
            while not self._stop.is_set() and (self._unfinished() or self._look_again()):
                self._turn()
        except Exception as error:
            if is_disk_full(error):
                self.summary.stopped = error
            else:
                self.error = error
            with contextlib.suppress(Exception):
                self._journal.log(f"stopped by {traceback.format_exc()}")
        finally:
            self._close(self._pace.clock() - began)

    def interrupt(self) -> None:
        """Have every thread end soon.  What is at the back end goes on there."""
        self._stop.set()
        self._inbox.put(lambda: None)

    def take_stock(self) -> Summary:
        """The summary with what is left, also while the deciding thread waits for an answer."""
        live = list(self._live.values())
        self.summary.elsewhere = [(a.row.chunk, a.holder) for a in list(self._held)]
        self.summary.left = [a.row.chunk for a in (*live, *list(self._todo))]
        self.summary.at_server = sum(a.row.state in IN_PLACE for a in live)
        return self.summary

    # --- one turn -------------------------------------------------------------------

    def _turn(self) -> None:
        """Take in one report, or do one thing, or wait for either."""
        if self._at_the_limit():
            self._halt(_limit_reached(self._purse), EVERYTHING - ORDERING)
            return
        now = self._pace.clock()
        soonest = now + LONGEST_REST
        if self._inbox.empty():
            for due, action, attempt in self._actions():
                if due <= now:
                    self._do(action, attempt)
                    return
                soonest = min(soonest, due)
        with contextlib.suppress(queue.Empty):
            self._inbox.get(timeout=soonest - now)()

    def _actions(self) -> Iterator[tuple[float, Action, _Attempt]]:
        """What could be done and when, the most urgent first."""
        live = [a for a in self._live.values() if a.row.state in self._allowed and not a.busy]

        def are(*states: State) -> list[_Attempt]:
            return [a for a in live if a.row.state in states]

        def after(due: float) -> float:
            return max(due, self._quiet_until)

        if self._count(IN_PLACE) < self._pace.max_inflight and self._purse.allows():
            for attempt in sorted(are(State.CREATED), key=lambda a: a.due)[:1]:
                yield after(max(attempt.due, self._next_start)), self._start, attempt
        for attempt in are(*IN_PLACE):
            yield after(attempt.due), self._poll, attempt
        for attempt in are(State.CREATING):
            yield after(attempt.due), self._find, attempt
        # One that is being started may still be pending at the back end.
        pending = self._count(PENDING)
        room = pending + self._count(frozenset({State.STARTING})) < self._pace.max_pending
        room = room and self._purse.allows(pending + 1)
        # The options may be refused: that is found out with a single order.
        room = room and (self._accepted or not pending + self._count(IN_PLACE))
        if room and self._todo and State.PLANNED in self._allowed:
            yield after(self._todo[0].due), self._create, self._todo[0]
        for attempt in self._held if State.PLANNED in self._allowed else ():
            yield after(attempt.due), self._take_back, attempt
        for attempt in are(State.ERROR):
            yield after(attempt.due), self._ask_why, attempt
        if self._count(ON_DISK) < self._pace.max_files:
            for attempt in are(State.FINISHED):
                yield after(attempt.due), self._fetch, attempt
        for attempt in are(State.DOWNLOADED):
            yield attempt.due, self._hand_over, attempt

    def _do(self, action: Action, attempt: _Attempt) -> None:
        """No chunk, answer or exception ends the run; only the journal's own errors do."""
        try:
            action(attempt)
            self._last_good = self._pace.clock()
        except Trouble as trouble:
            self._troubled(attempt, trouble)
        except JournalError:
            raise
        except Exception as error:
            self._broken(attempt, error)

    def _unfinished(self) -> bool:
        if any(a.busy or a.row.state in self._allowed for a in self._live.values()):
            return True
        return bool(self._todo) and State.PLANNED in self._allowed

    def _count(self, states: frozenset[State]) -> int:
        return sum(a.row.state in states for a in self._live.values())

    # --- what is done with a job ----------------------------------------------------

    def _create(self, attempt: _Attempt) -> None:
        if self._is_anothers(attempt):
            return
        self._todo.popleft()
        self._live[attempt.row.id] = attempt
        asked = failures.combined(attempt.row.asked, self._job_options)
        self._note(attempt, State.CREATING, options=_as_text(asked))
        if not self._adopt(attempt):
            self._order_job(attempt)

    def _find(self, attempt: _Attempt) -> None:
        """The order may have arrived although its answer did not: look for its title."""
        found = self._remote.find(attempt.row.title)
        if not found:
            if not self._is_anothers(attempt) and not self._adopt(attempt):
                self._order_job(attempt)
            return
        found.sort(key=lambda job: job[1].status == "created")
        (job_id, status), surplus = found[0], found[1:]
        for other_id, other in surplus:
            if other.status == "created":
                self._remote.delete(other_id)
        self._note(attempt, State.CREATED, job_id=job_id)
        self._log(attempt, f"found at the back end, {status.status}")
        self._calm(attempt)
        if status.status != "created":
            self._apply(attempt, status)

    def _order_job(self, attempt: _Attempt) -> None:
        row = attempt.row
        job_id = self._remote.create(self._order(row.chunk), row.title, row.asked)
        self._note(attempt, State.CREATED, job_id=job_id)
        self._calm(attempt)
        self._tell("created", attempt)

    def _start(self, attempt: _Attempt) -> None:
        if self._is_anothers(attempt) or (attempt.ask_first and self._has_begun(attempt)):
            return
        attempt.slot = self._free_slot()
        self._note(attempt, State.STARTING, started=self._journal.now())
        self._purse.open.add(attempt.row.id)
        attempt.answered = False
        try:
            self._remote.start(attempt.job_id)
        except Trouble as trouble:
            attempt.answered = trouble.answered
            if trouble.kind in (Kind.LIMIT, Kind.CREDITS, Kind.OPTIONS):
                self._purse.open.discard(attempt.row.id)
                self._note(attempt, State.CREATED, started=None)
            raise
        finally:
            attempt.sent = self._pace.clock()
            self._next_start = attempt.sent + self._pace.start_interval
        attempt.answered = self._accepted = True
        self._enter(attempt, State.QUEUED)
        self._calm(attempt)
        self._tell("started", attempt)

    def _has_begun(self, attempt: _Attempt) -> bool:
        """Whether a job that an earlier run has ordered was started since, by whomever."""
        status = self._remote.status(attempt.job_id)
        attempt.ask_first = False
        if status.status == "created":
            return False
        attempt.slot = self._free_slot()
        self._note(attempt, State.STARTING, started=self._journal.now())
        self._log(attempt, f"was started by somebody else, {status.status}")
        self._apply(attempt, status)
        return True

    def _poll(self, attempt: _Attempt) -> None:
        status = self._remote.status(attempt.job_id)
        self._calm(attempt)
        self._apply(attempt, status)

    def _apply(self, attempt: _Attempt, status: Status) -> None:
        """Follow what the back end says of a job that was started."""
        if status.status in ("finished", "error", "canceled"):
            self._purse.pay(attempt.row.id, status.credits)
        if status.status == "finished":
            self._note(
                attempt, State.FINISHED, finished=self._ended_at(attempt, status),
                credits=status.credits, noticed=self._journal.now(),
            )  # fmt: skip
            attempt.due = self._pace.clock()
            self._tell("finished", attempt)
        elif status.status == "error":
            self._note(attempt, State.ERROR, credits=status.credits)
            attempt.due = self._pace.clock()
        elif status.status == "canceled":
            self._note(attempt, attempt.row.state, credits=status.credits)
            self._replace(attempt, "the job was canceled at the back end")
        elif status.status == "created":
            self._not_begun(attempt)
        else:
            self._wait_for_job(attempt, status.status)

    def _not_begun(self, attempt: _Attempt) -> None:
        """The start was lost, or the status lags behind it: a second start could run it twice."""
        now, lag = self._pace.clock(), self._pace.start_lag
        if now - attempt.sent < lag * (1 if attempt.answered else UNANSWERED):
            attempt.due = now + self._pace.poll
            return
        self._purse.open.discard(attempt.row.id)
        self._note(attempt, State.CREATED)

    def _wait_for_job(self, attempt: _Attempt, status: str) -> None:
        """Queued, running, or a word that is in no specification."""
        now = self._pace.clock()
        if status != attempt.status:
            state = State.RUNNING if status == "running" else State.QUEUED
            self._enter(attempt, state, status)
            self._log(attempt, f"status {status}")
            self._tell("status", attempt)
        elif now - attempt.changed > self._pace.stuck_after:
            self._remote.stop(attempt.job_id)
            hours = (now - attempt.changed) / 3600
            self._replace(attempt, f"the job was {status} for {hours:.3g} hours; it was canceled")
            return
        attempt.due = now + self._pace.poll_wait(now - attempt.changed)

    def _enter(self, attempt: _Attempt, state: State, status: str = "queued") -> None:
        if attempt.row.state is not state:
            self._note(attempt, state)
        attempt.status = status
        attempt.changed = self._pace.clock()
        attempt.due = attempt.changed + self._pace.poll

    def _ask_why(self, attempt: _Attempt) -> None:
        """Logs come from an index that is late or down at times."""
        try:
            failure = failures.sort(self._remote.log(attempt.job_id))
        except Trouble as trouble:
            if trouble.kind not in (Kind.GONE, Kind.WRONG):
                raise
            failure = Failure(failures.Cause.SILENT, f"its log cannot be read: {trouble}")
        silent = failure.cause is failures.Cause.SILENT
        if silent and self._looks_again(attempt, self._pace.log_wait, failure.words):
            return
        options = failures.mend(failure, attempt.row.asked, self._mending)
        if options is None:
            self._give_up(attempt, failure.reason, failure.cause.value)
        else:
            self._replace(attempt, failure.reason, options, failure.cause.value)

    def _looks_again(self, attempt: _Attempt, patience: float, words: str) -> bool:
        """Whether to ask once more before it is believed that there is nothing to be told."""
        now = self._pace.clock()
        attempt.looking = now if attempt.looking is None else attempt.looking
        if (passed := now - attempt.looking) >= patience:
            return False
        attempt.due = now + max(self._pace.poll, passed / 2)
        self._log(attempt, f"{words}: asked again")
        self._tell("waiting", attempt, reason=f"{words}; the back end is asked again")
        return True

    def _fetch(self, attempt: _Attempt) -> None:
        """Ask where the result is, every time: addresses expire."""
        asset = self._remote.asset(attempt.job_id, self._bands)
        self._note(attempt, State.DOWNLOADING)
        attempt.busy = True
        self._transfers.put(functools.partial(self._transfer, attempt, asset))

    def _hand_over(self, attempt: _Attempt) -> None:
        attempt.busy = True
        self._handling.put(functools.partial(self._archive, attempt))

    # --- what the workers do, in their threads --------------------------------------

    def _transfer(self, attempt: _Attempt, asset: Asset) -> None:
        part = self._part(attempt.row)
        before = part.stat().st_size if part.exists() else 0
        error, mark = None, ""
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            transfer.fetch(
                self._remote.get, asset.url, asset.size, part,
                self._progress(attempt), self._stop.is_set,
            )  # fmt: skip
            transfer.check(part, attempt.row.chunk.tile, self._bands)
            transfer.finish(part, self._path(attempt.row))
        except Exception as problem:
            error = problem
            if isinstance(error, transfer.Refused):
                mark = transfer.fingerprint(part)
                transfer.discard(part)
        grown = part.exists() and part.stat().st_size > before
        self._inbox.put(functools.partial(self._transferred, attempt, error, grown, mark))

    def _progress(self, attempt: _Attempt) -> Callable[[int, int | None], None]:
        last = float("-inf")

        def on_bytes(have: int, total: int | None) -> None:
            nonlocal last
            if (now := self._pace.clock()) - last >= BYTES_INTERVAL or have == total:
                last = now
                self._tell("bytes", attempt, bytes=have, total=total)

        return on_bytes

    def _archive(self, attempt: _Attempt) -> None:
        row, path = attempt.row, self._path(attempt.row)
        outcome: float | Exception
        try:
            when = row.finished or row.changed
            processed = dt.datetime.fromtimestamp(when, dt.UTC).isoformat(timespec="seconds")
            synthetic = transfer.source(path).lower().startswith("synthetic")
            outcome = self._handle(
                Result(
                    row.chunk, path,
                    Provenance(
                        self._label, self._collection, attempt.job_id, processed, synthetic,
                        **_images(row), **self._reservation(row),
                    ),
                )
            )  # fmt: skip
            if outcome and not self._archive_has(row.chunk):
                outcome = RuntimeError("the archive does not hold the chunk after it was written")
        except Exception as problem:
            outcome = problem
        mark = transfer.fingerprint(path) if isinstance(outcome, Spoiled) else ""
        self._inbox.put(functools.partial(self._handled, attempt, outcome, mark))

    # --- what the workers report, in the deciding thread ----------------------------

    def _transferred(
        self, attempt: _Attempt, error: Exception | None, grown: bool, mark: str
    ) -> None:
        attempt.busy = False
        if error is None:
            size = self._path(attempt.row).stat().st_size
            self._note(attempt, State.DOWNLOADED, bytes=size)
            self.summary.bytes += size
            self._calm(attempt)
            self._tell("downloaded", attempt, bytes=size, total=size)
            return
        self._note(attempt, State.FINISHED)
        if grown:
            self._calm(attempt)
        if isinstance(error, transfer.Refused):
            self._refused(attempt, str(error), mark)
        elif isinstance(error, Trouble) and error.kind in (Kind.MISSING, Kind.EXPIRED):
            self._missing(attempt, error)
        elif isinstance(error, Trouble):
            self._troubled(attempt, error)
        elif not isinstance(error, transfer.Stopped):
            self._broken(attempt, error)

    def _handled(self, attempt: _Attempt, outcome: float | Exception, mark: str) -> None:
        attempt.busy = False
        if not isinstance(outcome, Exception):
            self._seen(attempt, outcome)
        elif isinstance(outcome, Spoiled) and not is_disk_full(outcome):
            # A byte that was flipped on the way looks just like a bad file: fetch it once more.
            self._path(attempt.row).unlink(missing_ok=True)
            self._note(attempt, State.FINISHED)
            self._refused(attempt, str(outcome), mark)
        else:
            self._broken(attempt, outcome)

    def _seen(self, attempt: _Attempt, share: float) -> None:
        """The file was handled; this share of the tile is seen in the archive."""
        if not share:
            self._finish(attempt, State.EMPTY, "the result holds no measured pixel")
            return
        row = attempt.row
        if is_partial(row.known.get("covered"), share, self._made):
            self.summary.partial.append(row.chunk)
        self._finish(attempt, State.ARCHIVED)

    # --- where other machines fill the same archive -----------------------------------

    def _is_anothers(self, attempt: _Attempt) -> bool:
        """Claim the chunk of a job that is to be ordered or started.

        If another machine orders it, or is done with it, the attempt is put aside.
        """
        if self._claims is None:
            return False
        chunk = attempt.row.chunk
        try:
            holder = self._claims.claim(chunk, attempt.row.title)
            done = not (holder or attempt.row.again) and self._archive_has(chunk)
        except OSError as error:
            raise Trouble(Kind.PASSING, str(error)) from error
        if holder:
            self._put_aside(attempt)
            self._held.append(attempt)
            attempt.due = self._pace.clock() + LOOK_AGAIN
            if holder != attempt.holder:
                attempt.holder = holder
                self._tell("left", attempt, reason=holder)
        elif done:
            self._put_aside(attempt)
            self._note(attempt, State.ARCHIVED, reason="archived by another machine")
            self._release(attempt)
            self.summary.already.append(chunk)
            self._tell("archived", attempt)
        return bool(holder) or done

    def _put_aside(self, attempt: _Attempt) -> None:
        with contextlib.suppress(ValueError):
            self._todo.remove(attempt)
        self._live.pop(attempt.row.id, None)

    def _take_back(self, attempt: _Attempt) -> None:
        """Have the next step of an attempt, which asks whose it is, be taken once more."""
        self._held.remove(attempt)
        attempt.due = self._pace.clock()
        if attempt.row.state is State.PLANNED:
            self._todo.appendleft(attempt)
        else:
            self._live[attempt.row.id] = attempt

    def _look_again(self) -> bool:
        """Look for the last time at what other machines have claimed; False if it was done."""
        if State.PLANNED not in self._allowed:
            return False
        again = [attempt for attempt in self._held if not attempt.last_look]
        for attempt in again:
            attempt.last_look = True
            self._take_back(attempt)
        return bool(again)

    def _adopt(self, attempt: _Attempt) -> bool:
        """Go on with the job of a machine that is gone, if there is one that is paid for."""
        titles = self._claims.inherited(attempt.row.chunk) if self._claims else []
        for title in titles:
            for job_id, status in self._remote.find(title):
                if status.status in ("queued", "running", "finished"):
                    self._note(attempt, State.QUEUED, job_id=job_id)
                    self._log(attempt, f"adopted from another machine, {status.status}: {title}")
                    self._calm(attempt)
                    self._apply(attempt, status)
                    return True
        return False

    def _claim_again(self) -> None:
        """Keep others from what an earlier run has begun, unless they are at it already."""
        for attempt in self._live.values() if self._claims else ():
            if attempt.row.state not in ORDERING:
                with contextlib.suppress(OSError):
                    assert self._claims is not None
                    self._claims.claim(attempt.row.chunk, attempt.row.title)

    def _release(self, attempt: _Attempt) -> None:
        """Let others have a chunk.  A claim that stays for a trouble ends by itself."""
        if self._claims is not None:
            with contextlib.suppress(OSError):
                self._claims.release(attempt.row.chunk)

    # --- when something is wrong ----------------------------------------------------

    def _troubled(self, attempt: _Attempt, trouble: Trouble) -> None:
        self._log(attempt, f"{trouble.kind.name}: {trouble}")
        kind = trouble.kind
        if kind is Kind.NO_DATA:
            self._finish(attempt, State.EMPTY, str(trouble))
        elif kind is Kind.NO_ASSET:
            self._no_file(attempt, str(trouble))
        elif kind is Kind.BEGUN:
            attempt.due = self._pace.clock()  # its status is asked for next
        elif kind is Kind.OPTIONS:
            self._options_refused(attempt, trouble)
        elif kind is Kind.LIMIT:
            self._next_start = self._pace.clock() + max(self._pace.poll, self._pace.start_interval)
            self._tell("waiting", attempt, reason="the account runs as many jobs as it may")
        elif kind is Kind.CREDITS:
            self._halt(_credits_needed(trouble), EVERYTHING - ORDERING)
        elif kind is Kind.LOGIN:
            self._halt(_login_needed(trouble), frozenset({State.DOWNLOADED}))
        elif kind is Kind.GONE:
            self._replace(attempt, f"the job or its result is gone: {trouble}")
        elif kind is Kind.WRONG:
            self._refuse_order(attempt, str(trouble))
        else:
            self._back_off(attempt, trouble)

    def _no_file(self, attempt: _Attempt, words: str) -> None:
        """No data, unless the catalogue has an image: then it is asked for the next time, too."""
        row = attempt.row
        if not attempt.doubted and self._looks_again(attempt, self._pace.empty_wait, words):
            return
        if not row.promised:
            self._finish(attempt, State.EMPTY, words)
            return
        age = self._journal.now() - (row.finished or row.changed)
        words += f", though the catalogue has images of {100 * row.promised:.3g} % of it"
        if age < self._pace.doubt:
            until = (
                f"; within {self._pace.doubt / 3600:.3g} hours the same command asks for it again"
            )
            self._finish(attempt, State.DOUBTFUL, words + until)
        else:
            self._finish(attempt, State.EMPTY, f"{words}, and {age / 3600:.3g} hours after its end")

    def _missing(self, attempt: _Attempt, trouble: Trouble) -> None:
        """The file is listed and not there: that may pass, but not for days, and not silently."""
        row, now = attempt.row, self._journal.now()
        since = row.refused_since or now
        self._note(attempt, State.FINISHED, refused=row.refused + 1, refused_since=since)
        attempt.refusals += 1
        hours, times = (now - since) / 3600, f"{row.refused + 1} times"
        words = f"the back end lists its file but does not give it: {trouble}"
        long = row.refused and now - since >= self._pace.missing_wait
        if long or (attempt.asked_again and attempt.refusals >= self._pace.max_trys):
            after = f"{times} in {hours:.3g} hours"
            advice = "Run the same command to ask once more and order it anew"
            self._refuse_order(attempt, f"{words} ({after}).  {advice}")
            return
        self._log(attempt, f"{trouble.kind.name}: {words}, {times}")
        left = max(0.0, self._pace.missing_wait / 3600 - hours)
        more = f"{times} so far; given up in {left:.3g} hours"
        self._back_off(attempt, Trouble(Kind.PASSING, f"{words}, {more}"))

    def _options_refused(self, attempt: _Attempt, trouble: Trouble) -> None:
        """Nobody's order is better with these options, unless they are more than was asked for."""
        if attempt.job_id:
            with contextlib.suppress(Trouble):
                self._remote.delete(attempt.job_id)
        row, asked, usual = attempt.row, failures.in_words(attempt.row.asked), self._job_options
        if row.asked != usual and row.tries == 1:  # by an earlier run
            self._replace(attempt, f"the options {asked} were refused: {trouble}", usual)
            return
        if row.asked != usual:
            self._note(attempt, row.state, options=_as_text(usual))
            self._fail(attempt, f"the job before it needs more, and {asked} is refused: {trouble}")
            return
        self._note(attempt, State.PLANNED, job_id=None, started=None, options="")
        self._put_aside(attempt)
        self._todo.appendleft(attempt)
        self._halt(_options_refused(asked, trouble), EVERYTHING - ORDERING)

    def _back_off(self, attempt: _Attempt, trouble: Trouble) -> None:
        now, pace = self._pace.clock(), self._pace
        attempt.troubles += 1
        if attempt.trouble_since is None:
            attempt.trouble_since = now
        since = attempt.trouble_since
        if now - since > pace.patience and self._last_good > since + pace.patience / 2:
            self._fail(attempt, f"{trouble} (again and again for {(now - since) / 3600:.3g} hours)")
            return
        wait = backoff(attempt.troubles, pace.backoff_first, pace.backoff_longest, pace.dice)
        if trouble.retry_after is not None:
            wait = max(wait, trouble.retry_after)
            self._quiet_until = max(self._quiet_until, now + trouble.retry_after)
        attempt.due = now + wait
        self._tell("waiting", attempt, reason=f"{trouble}; next try in {wait:.3g} s")

    def _broken(self, attempt: _Attempt, error: Exception) -> None:
        """An unexpected error ends the chunk, or the run if the next chunk would fare no better."""
        if is_disk_full(error) or isinstance(error, Unwanted):
            self._log(attempt, str(error))
            self._halt(error, frozenset())
            return
        self._log(attempt, "".join(traceback.format_exception(error)))
        self._fail(attempt, f"{type(error).__name__}: {error}")

    def _refused(self, attempt: _Attempt, reason: str, mark: str) -> None:
        """The result came whole and cannot be used; perhaps it is better the next time.

        If the same bytes came again, it will not be.
        """
        attempt.refusals += 1
        again = bool(mark) and mark == attempt.refused
        attempt.refused = mark
        self._log(attempt, f"refused{' again, the same file' * again}: {reason}")
        if attempt.refusals < self._pace.max_trys and not again:
            self._back_off(attempt, Trouble(Kind.PASSING, reason))
        else:
            self._refuse_order(attempt, reason)

    def _refuse_order(self, attempt: _Attempt, reason: str) -> None:
        """This job will not do. A new one costs: only if somebody has asked again since."""
        if attempt.asked_again:
            self._replace(attempt, reason)
        else:
            self._fail(attempt, reason)

    def _replace(
        self,
        attempt: _Attempt,
        reason: str,
        options: failures.Options | None = None,
        advice: str = "",
    ) -> None:
        """Order another job, with other options if the reason asks for them."""
        row = attempt.row
        tries = 0 if attempt.asked_again else row.tries
        if tries >= self._pace.max_trys:
            self._give_up(attempt, reason, advice)
            return
        self._purse.pay(row.id, None)
        self._lose(row)
        self._remove_files(row)
        self._remove_job(attempt)
        self._log(attempt, f"attempt {row.attempt} failed: {reason}")
        del self._live[row.id]
        order = digest(self._order(row.chunk))
        text = row.options if options is None else _as_text(options)
        following = self._journal.replace(row, redact(reason), tries + 1, order, text)
        self._todo.append(_Attempt(following))
        if text != row.options:
            reason += f"; the next job asks for {failures.in_words(following.asked)}"
            self._log(attempt, reason)
        self._tell("retry", attempt, reason=reason)

    def _give_up(self, attempt: _Attempt, reason: str, advice: str) -> None:
        tries = attempt.row.tries
        tried = f" (tried {tries} times)" if tries > 1 else ""
        self._fail(attempt, f"{reason}{tried}{advice and '.  '}{advice}")

    def _lose(self, row: Row) -> None:
        """A job that was started and is of no use."""
        if row.started and row.job_id:
            self.summary.lost_jobs += 1
            self.summary.lost_credits += row.credits or 0.0

    def _fail(self, attempt: _Attempt, reason: str) -> None:
        self._finish(attempt, State.FAILED, redact(reason, LONGEST_REASON))

    def _at_the_limit(self) -> bool:
        """Whether not one more job may be started, whatever those cost that run now."""
        waiting = State.PLANNED in self._allowed and (self._todo or self._count(PENDING))
        return bool(waiting) and not self._purse.allows() and not self._count(IN_PLACE)

    def _halt(self, reason: Exception, allowed: frozenset[State]) -> None:
        """Go on only with attempts in the ``allowed`` states, then end the run."""
        self._allowed &= allowed
        if self.summary.stopped is None:
            self.summary.stopped = reason
            self._emit(Event("stopping", reason=str(reason)))

    # --- ends, and the small print ---------------------------------------------------

    def _finish(self, attempt: _Attempt, state: State, reason: str = "") -> None:
        self._note(attempt, state, reason=reason)
        self._purse.pay(attempt.row.id, None)
        self._put_aside(attempt)
        if state is not State.DOUBTFUL:  # nobody else shall order it while this one is asked for
            self._release(attempt)
        chunk = attempt.row.chunk
        if state is State.FAILED:
            self._lose(attempt.row)
            self.summary.failed.append((chunk, reason))
            self._tell("failed", attempt, reason=reason)
            return
        if state is State.DOUBTFUL:
            self.summary.doubtful.append((chunk, reason))
            self._tell("doubtful", attempt, reason=reason)
            return
        if not self._keep_raw:
            self._remove_files(attempt.row)
        self._remove_job(attempt)
        done = self.summary.archived if state is State.ARCHIVED else self.summary.empty
        done.append(chunk)
        if state is State.ARCHIVED and (share := self._reservation(attempt.row)["soft_errors"]):
            self.summary.marked.append((chunk, _marked(share)))
        self._tell("archived" if state is State.ARCHIVED else "empty", attempt, reason=reason)

    def _note(self, attempt: _Attempt, state: State, **fields: Any) -> None:
        attempt.row = self._journal.note(attempt.row, state, **fields)
        self._log(attempt, f"{state} {fields.get('reason') or ''}")

    def _log(self, attempt: _Attempt, text: str) -> None:
        self._journal.log(text, attempt.row.chunk, attempt.row.job_id)

    def _tell(self, kind: str, attempt: _Attempt, **more: Any) -> None:
        row = attempt.row
        self._emit(Event(kind, row.chunk, attempt.slot, row.job_id, attempt.status, **more))

    def _calm(self, attempt: _Attempt) -> None:
        attempt.troubles, attempt.trouble_since = 0, None

    def _reservation(self, row: Row) -> dict[str, Any]:
        """What a record says of the options of its job."""
        asked = row.asked
        usual = asked.get(failures.SOFT) == self._job_options.get(failures.SOFT)
        share = None if usual else asked.get(failures.SOFT)
        return {"job_options": asked, "soft_errors": share}

    def _free_slot(self) -> int:
        taken = {a.slot for a in self._live.values() if a.row.state in IN_PLACE}
        return next(n for n in range(1, self._pace.max_inflight + 1) if n not in taken)

    def _ended_at(self, attempt: _Attempt, status: Status) -> float:
        """When the job ended by the back end's clock, if that is believable."""
        now = self._journal.now()
        with contextlib.suppress(ValueError):
            told = dt.datetime.fromisoformat(status.updated).timestamp()
            if (attempt.row.started or 0.0) <= told <= now:
                return told
        return now

    def _path(self, row: Row) -> Path:
        return self._folder / row.file_name

    def _part(self, row: Row) -> Path:
        return self._path(row).with_suffix(".nc.part")

    def _remove_files(self, row: Row) -> None:
        transfer.discard(self._part(row))
        self._path(row).unlink(missing_ok=True)

    def _remove_job(self, attempt: _Attempt) -> None:
        """Have a back end that is ours alone forget a job and its result, if it can."""
        if not self._tidy or not attempt.row.job_id:
            return
        try:
            self._remote.delete(attempt.row.job_id)
        except Trouble as trouble:
            self._log(attempt, f"not removed at the back end: {trouble}")

    def _sweep(self) -> None:
        """Remove files of attempts that have ended; those of failed ones may be wanted."""
        if self._keep_raw or not self._folder.is_dir():
            return
        rows = [a.row for a in self._live.values()]
        rows += [r for r in self._journal.latest(self._label).values() if r.state is State.FAILED]
        wanted = {self._path(row).name for row in rows}
        for path in self._folder.iterdir():
            if path.name.partition(".nc")[0] + ".nc" not in wanted:
                path.unlink(missing_ok=True)

    def _hire(self) -> None:
        for tasks, count in ((self._transfers, self._pace.max_inflight), (self._handling, 1)):
            for _ in range(count):
                # Daemons, so that a program that is told to end does not wait for them.
                threading.Thread(target=_work, args=(tasks,), daemon=True).start()

    def _close(self, seconds: float) -> None:
        for attempt in (*self._todo, *self._live.values()):
            if attempt.row.state in ORDERING:  # what is not paid for is anybody's
                self._release(attempt)
        for tasks, count in ((self._transfers, self._pace.max_inflight), (self._handling, 1)):
            for _ in range(count):
                tasks.put(None)
        self.summary.seconds = seconds
        self.take_stock()
        self._emit(None)


def _work(tasks: queue.SimpleQueue[Report | None]) -> None:
    while (task := tasks.get()) is not None:
        task()


def _login_needed(trouble: Trouble) -> LoginNeeded:
    return LoginNeeded(
        f"The login has expired ({trouble}). Jobs at the back end go on, and everything is kept. "
        "Log in again by running the same command."
    )


def _images(row: Row) -> dict[str, Any]:
    """What the catalogue said of the images of an attempt."""
    known = row.known
    names = ("relative_orbits", "platforms", "acquired")
    return {
        "covered": known.get("covered"),
        **{name: tuple(known[name]) for name in names if name in known},
    }


def _as_text(options: failures.Options) -> str:
    return json.dumps(dict(options), sort_keys=True) if options else ""


def _marked(share: float) -> str:
    """What is to be known of a record whose job was let pass failed reads."""
    return (
        f"a product was broken, and {share:g} of the reads were let fail: what that product has "
        "imaged may be missing; look at it before it is used"
    )


def _options_refused(asked: str, trouble: Trouble) -> OptionsRefused:
    return OptionsRefused(
        f"The back end refuses the job options {asked} ({trouble}).  Nothing was ordered with "
        "them; ask for less in JOB_OPTIONS or --job-option."
    )


def _limit_reached(purse: Purse) -> LimitReached:
    return LimitReached(
        f"The limit of {purse.limit:g} credits: {purse.spent:g} are spent, and the next job would "
        f"take about {purse.price:g}. What was ordered is in the archive. Run the same command "
        "with a higher --max-credits to go on."
    )


def _credits_needed(trouble: Trouble) -> CreditsNeeded:
    return CreditsNeeded(
        f"The account is out of credits ({trouble}). What was ordered is fetched, and everything "
        "is kept. Run the same command when there are credits again."
    )
