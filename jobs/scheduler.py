"""Keeps the back end's places busy, and every finished job on its way into the archive.

One thread decides.  It asks the back end, writes the journal, and never waits for a file:
transfers and the handling of files have threads of their own, which report into an inbox.
So there is one writer of the journal, and no step is taken that it did not note before.

Each turn does the most urgent thing whose time has come, in the order of `due.actions`:
start a job where a place is free, ask how the jobs are doing, order jobs ahead, ask why a job
failed, fetch results, hand over files.  A place that becomes free is therefore filled before
the result that freed it is fetched.  If nothing is due, the thread sleeps until something is,
or until a worker reports.

Times are seconds of ``Pace.clock``, which tests hand in like the dice.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator

from grid import count
from jobs import claiming, remedies
from jobs.attempt import EVERYTHING, IN_PLACE, ON_DISK, ORDERING, Attempt
from jobs.board import Board, Emit, Task
from jobs.due import Action, actions, is_at_the_limit
from jobs.journal import Journal, JournalError, Row, State
from jobs.model import Destination, Purse, Summary
from jobs.remote import Remote
from jobs.trouble import LimitReached, Trouble
from shared.files import is_disk_full

LONGEST_REST = 60.0  # s


class Scheduler:
    """One run.  `run` is the body of the deciding thread; `interrupt` ends it from outside."""

    def __init__(
        self, task: Task, remote: Remote, journal: Journal, destination: Destination, emit: Emit
    ) -> None:
        self.error: Exception | None = None  # what ended the deciding thread, if not its work
        self._board = Board(task, remote, journal, destination, emit)

    @property
    def summary(self) -> Summary:
        """What came of the run so far."""
        return self._board.summary

    def add(self, row: Row, *, asked_again: bool = False) -> None:
        """Take on an attempt, wherever an earlier run has left it."""
        board, now = self._board, self._board.clock()
        attempt = Attempt(row, asked_again=asked_again, changed=now)
        if row.state is State.PLANNED:
            board.todo.append(attempt)
            return
        attempt.ask_first = row.state is State.CREATED
        attempt.doubted = row.state is State.DOUBTFUL
        if row.state in IN_PLACE:
            attempt.sent = now - max(0.0, board.journal.now() - (row.started or 0.0))
        if attempt.doubted:
            attempt.row = board.journal.note(row, State.FINISHED)
        if row.state is State.FAILED or row.state in ON_DISK:
            have = row.state is not State.DOWNLOADING and board.files.path(row).exists()
            state = State.DOWNLOADED if have else State.FINISHED
            attempt.row = board.journal.note(row, state, ended=None)
        board.live[row.id] = attempt

    def has_result(self, row: Row) -> bool:
        """Whether an earlier run has fetched the result and not come to the end of handling it."""
        return row.state is State.DOWNLOADED and self._board.files.path(row).exists()

    def run(self) -> None:
        """Work until nothing is left to do; never raises (see ``error``)."""
        board = self._board
        began = board.clock()
        try:
            self._sweep()
            board.workers.hire()
            claiming.claim_again(board)
            while not board.workers.is_stopped() and self._has_more():
                self._turn()
        except Exception as error:
            if is_disk_full(error):
                board.summary.stopped = error
            else:
                self.error = error
            with contextlib.suppress(Exception):
                board.journal.log(f"stopped by {traceback.format_exc()}")
        finally:
            self._close(board.clock() - began)

    @property
    def workers(self) -> list[threading.Thread]:
        """The threads that work beside the deciding one; some may go on when it has ended."""
        return self._board.workers.threads

    def interrupt(self) -> None:
        """Have every thread end soon.  What is at the back end goes on there."""
        self._board.workers.interrupt()

    def take_stock(self) -> Summary:
        """The summary with what is left, also while the deciding thread waits for an answer."""
        return self._board.take_stock()

    def _has_more(self) -> bool:
        return self._board.is_unfinished() or claiming.look_again(self._board)

    def _turn(self) -> None:
        """Take in one report, or do one thing, or wait for either."""
        board = self._board
        if is_at_the_limit(board):
            board.halt(_limit_reached(board.purse), EVERYTHING - ORDERING)
            return
        now = board.clock()
        soonest = now + LONGEST_REST
        if not board.workers.has_reported():
            for due, action, attempt in actions(board):
                if due <= now:
                    self._do(action, attempt)
                    return
                soonest = min(soonest, due)
        board.workers.take_in(soonest - now)

    def _do(self, action: Action, attempt: Attempt) -> None:
        """No chunk, answer or exception ends the run; only the journal's own errors do."""
        board = self._board
        try:
            action(board, attempt)
            board.last_good = board.clock()
        except Trouble as trouble:
            remedies.troubled(board, attempt, trouble)
        except JournalError:
            raise
        except Exception as error:
            remedies.broken(board, attempt, error)

    def _sweep(self) -> None:
        """Remove files of attempts that have ended; those of failed ones may be wanted."""
        self._board.files.sweep(self._wanted())

    def _wanted(self) -> Iterator[Row]:
        board = self._board
        yield from (attempt.row for attempt in board.live.values())
        latest = board.journal.latest(board.task.backend).values()
        yield from (row for row in latest if row.state is State.FAILED)

    def _close(self, seconds: float) -> None:
        board = self._board
        claiming.release_what_costs_nothing(board)
        board.workers.dismiss()
        board.summary.seconds = seconds
        board.take_stock()
        board.emit(None)


def _limit_reached(purse: Purse) -> LimitReached:
    return LimitReached(
        f"The limit of {count(purse.limit or 0, 'credit')}: {purse.spent:g} are spent, and the "
        f"next job would take about {purse.price:g}. What was ordered is in the archive. Run the "
        "same command with a higher --max-credits to go on."
    )
