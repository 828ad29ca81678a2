"""Carries a plan out.

How the jobs are driven is in `scheduler.py`; here is what surrounds that: the lock, the
request in the journal, the events for the caller's thread, and how a run ends.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path

from jobs.board import Task
from jobs.journal import Journal, Request
from jobs.lock import only_one
from jobs.model import Destination, Event, Purse, Summary
from jobs.plan import Plan
from jobs.recipe import Recipe
from jobs.remote import Remote
from jobs.resume import take_on
from jobs.scheduler import Scheduler
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
    with only_one(folder, observer) as users:
        for item in plan.skipped:
            journal.log(f"skipped of the catalogue: {item}")
        scheduler = Scheduler(task, remote, journal, destination, events.put)
        number = journal.open_request(_request(plan, made.recipe))
        take_on(scheduler, plan, journal, destination.has, made)
        _drive(scheduler, events, observer, users)
        if _is_through(scheduler.summary):
            journal.close_request(number)
        journal.close()
    return scheduler.summary


def _drive(
    scheduler: Scheduler,
    events: queue.SimpleQueue[Event | None],
    observer: Callable[[Event], None],
    users: list[threading.Thread],
) -> None:
    """Let the scheduler decide in a thread of its own, and hand on its events, to the end.

    ``users`` get what threads there are: nobody waits for all of them after an interrupt.
    """
    deciding = threading.Thread(target=scheduler.run, daemon=True)
    users += [deciding, *scheduler.workers]
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


def _request(plan: Plan, recipe: Recipe) -> Request:
    return Request(
        plan.backend, plan.bbox, plan.first, plan.last, plan.orbit, len(plan.missing),
        plan.made, len(plan.archived) + len(plan.empty), plan.catalogue, plan.max_credits,
        recipe.collection.name, ",".join(recipe.bands), recipe.max_cloud,
    )  # fmt: skip


def _purse(plan: Plan, made: Settings) -> Purse:
    """What may be spent, and what a job will take of it by what is known before."""
    cost, number = plan.estimate.credits, len(plan.missing)
    known = bool(plan.estimate.jobs and cost and number)
    price = cost / number if cost and number else made.typical.credits
    return Purse(plan.max_credits, price, known)


def _watch(events: queue.SimpleQueue[Event | None], observer: Callable[[Event], None]) -> None:
    """Hand on events until the last; short waits, since Windows cannot interrupt a long one."""
    while True:
        with contextlib.suppress(queue.Empty):
            event = events.get(timeout=0.2)
            if event is None:
                return
            observer(event)
