"""Carries a plan out: what an earlier run has begun is taken on first, then what is missing.

How the jobs are driven is in `scheduler.py`; here is what surrounds that: the lock, the
request in the journal, the events for the caller's thread, and how a run ends.
"""

from __future__ import annotations

import contextlib
import functools
import json
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from grid import Chunk
from jobs.catalogue import Cover
from jobs.journal import ENDS, Journal, Request, Row, State
from jobs.lock import only_one
from jobs.model import Destination, Event, Purse, Summary
from jobs.plan import WAITING, Plan, is_under_way, latest_rows
from jobs.recipe import digests
from jobs.remote import Remote
from jobs.scheduler import Scheduler, Task
from jobs.settings import Settings
from jobs.trouble import LimitReached

STOP_WAIT = 0.5  # s that an interrupted run gives its threads


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


def run(
    plan: Plan,
    remote: Remote,
    folder: Path,
    destination: Destination,
    observer: Callable[[Event], None],
    made: Settings,
    tidy: bool,
) -> Summary:
    """Bring every missing chunk of the plan to its end; see `download.run`."""
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    task = Task(plan.backend, made, _purse(plan, made), tidy)
    journal = Journal(folder)
    with only_one(folder, observer):
        for item in plan.skipped:
            journal.log(f"skipped of the catalogue: {item}")
        scheduler = Scheduler(task, remote, journal, destination, events.put)
        number = journal.open_request(_request(plan))
        _take_on(scheduler, plan, journal, destination.has, made)
        _drive(scheduler, events, observer)
        if _is_through(scheduler.summary):
            journal.close_request(number)
        journal.close()
    return scheduler.summary


def _drive(
    scheduler: Scheduler,
    events: queue.SimpleQueue[Event | None],
    observer: Callable[[Event], None],
) -> None:
    """Let the scheduler decide in a thread of its own, and hand on its events, to the end."""
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


def _is_through(ends: Summary) -> bool:
    """Whether nothing of a request is left to do.

    One that came to its limit is done as far as was wanted.
    """
    unfinished = ends.left or ends.elsewhere or ends.doubtful
    return not unfinished or isinstance(ends.stopped, LimitReached)


def _request(plan: Plan) -> Request:
    return Request(
        plan.backend, plan.bbox, plan.first, plan.last, plan.orbit, len(plan.missing),
        plan.made, len(plan.archived) + len(plan.empty), plan.catalogue, plan.max_credits,
    )  # fmt: skip


def _take_on(
    scheduler: Scheduler,
    plan: Plan,
    journal: Journal,
    archive_has: Callable[[Chunk], bool],
    made: Settings,
) -> None:
    """Give the scheduler what is to be done: first what an earlier run has begun."""
    recipe = made.recipe
    wanted = dict.fromkeys(plan.missing)
    fresh: list[Chunk] = []
    latest = latest_rows(journal, plan.backend, recipe)
    for chunk, row in latest.items():
        begun = is_under_way(row, recipe)
        if chunk in wanted or begun:
            wanted.pop(chunk, None)
            again = chunk in plan.again or (begun and row.again)
            # What was being handled is handled again: a killed writer may have left its sweepings.
            if archive_has(chunk) and not again and not scheduler.has_result(row):
                if begun:
                    journal.note(row, State.ARCHIVED)
                scheduler.summary.already.append(chunk)
            elif row.state in (State.EMPTY, State.FAILED) and (row.ended or 0) > plan.made:
                _report(scheduler.summary, row)
            elif row.state is State.FAILED and row.job_id and row.finished:
                scheduler.add(row, asked_again=True)
            elif row.state in ENDS:
                fresh.append(chunk)
            elif row.state in WAITING and row.digest != digests(chunk, recipe)[0]:
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
    orders = [(chunk, digests(chunk, recipe)[0]) for chunk in fresh]
    for row in journal.plan(plan.backend, orders, images=about, options=options):
        scheduler.add(row)


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


def _purse(plan: Plan, made: Settings) -> Purse:
    """What may be spent, and what a job will take of it by what is known before."""
    cost, number = plan.estimate.credits, len(plan.missing)
    known = bool(plan.estimate.jobs and cost and number)
    price = cost / number if cost and number else made.typical.credits
    return Purse(plan.max_credits, price, known)


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
