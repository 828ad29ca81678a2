"""Where every attempt of a run stands, what the run works with, and what came of it so far.

The functions of `steps`, `deliveries`, `claiming`, `remedies` and `ends` are each given the
board and an attempt.  Only the deciding thread changes either, so nothing here is locked.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.attempt import EVERYTHING, IN_PLACE, Attempt
from jobs.journal import Journal, State
from jobs.model import Destination, Event, Pace, Purse, Summary
from jobs.raw_files import RawFiles
from jobs.remote import Remote
from jobs.settings import Settings
from jobs.workers import Workers

Emit = Callable[[Event | None], None]


@dataclass(frozen=True)
class Task:
    """What a run is to do, and with what."""

    backend: str  # the label
    made: Settings
    purse: Purse
    tidy: bool  # remove at the back end what came to its end, with its result


class Board:
    """The state of a run."""

    def __init__(
        self, task: Task, remote: Remote, journal: Journal, destination: Destination, emit: Emit
    ) -> None:
        self.task, self.remote, self.journal = task, remote, journal
        self.destination, self.emit = destination, emit
        self.made, self.purse = task.made, task.purse
        self.files = RawFiles(journal.folder / "raw", task.made.keep_raw)
        self.workers = Workers(task.made.pace.max_inflight)
        self.summary = Summary()
        self.todo: collections.deque[Attempt] = collections.deque()  # not ordered yet
        self.live: dict[int, Attempt] = {}  # by the numbers of their rows
        self.held: list[Attempt] = []  # which other machines have claimed
        self.allowed = EVERYTHING  # states of the attempts that the run still goes on with
        self.options_accepted = not task.made.job_options  # by a job that was started with them
        self.next_start = float("-inf")
        self.quiet_until = float("-inf")  # a server that says Retry-After means all requests
        self.last_good = float("-inf")  # when something last went well

    @property
    def pace(self) -> Pace:
        """How fast the run goes."""
        return self.made.pace

    def clock(self) -> float:
        """The time, in seconds from anywhere."""
        return self.made.pace.clock()

    def count(self, states: frozenset[State]) -> int:
        """How many attempts are in one of these states."""
        return sum(a.row.state in states for a in self.live.values())

    def free_slot(self) -> int:
        """The number of a place that no job has."""
        taken = {a.slot for a in self.live.values() if a.row.state in IN_PLACE}
        return next(n for n in range(1, self.pace.max_inflight + 1) if n not in taken)

    def put_aside(self, attempt: Attempt) -> None:
        """Do nothing more about an attempt."""
        with contextlib.suppress(ValueError):
            self.todo.remove(attempt)
        self.live.pop(attempt.row.id, None)

    def is_unfinished(self) -> bool:
        """Whether there is something left that the run goes on with."""
        if any(a.busy or a.row.state in self.allowed for a in self.live.values()):
            return True
        return bool(self.todo) and State.PLANNED in self.allowed

    def halt(self, reason: Exception, allowed: frozenset[State]) -> None:
        """Go on only with attempts in the ``allowed`` states, then end the run."""
        self.allowed &= allowed
        if self.summary.stopped is None:
            self.summary.stopped = reason
            self.emit(Event("stopping", reason=str(reason)))

    def note(self, attempt: Attempt, state: State, **fields: Any) -> None:
        """Write down where an attempt stands."""
        attempt.row = self.journal.note(attempt.row, state, **fields)
        self.log(attempt, f"{state} {fields.get('reason') or ''}")

    def log(self, attempt: Attempt, text: str) -> None:
        """Write down what is for people only."""
        self.journal.log(text, attempt.row.chunk, attempt.row.job_id)

    def tell(self, kind: str, attempt: Attempt, **more: Any) -> None:
        """Tell whoever watches; also called by workers."""
        row = attempt.row
        self.emit(Event(kind, row.chunk, attempt.slot, row.job_id, attempt.status, **more))

    def take_stock(self) -> Summary:
        """The summary with what is left, also while the deciding thread waits for an answer."""
        live = list(self.live.values())
        self.summary.elsewhere = [(a.row.chunk, a.holder) for a in list(self.held)]
        self.summary.left = [a.row.chunk for a in (*live, *list(self.todo))]
        self.summary.at_server = sum(a.row.state in IN_PLACE for a in live)
        return self.summary
