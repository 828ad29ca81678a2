"""What is done with a job until it has ended: order, look for, start, ask how it is doing, why."""

from __future__ import annotations

import contextlib
import datetime as dt

from grid import in_hours
from jobs import claiming, ends, failures, remedies
from jobs.attempt import Attempt
from jobs.board import Board
from jobs.failures import Failure
from jobs.journal import State
from jobs.remote import Status
from jobs.trouble import Kind, Trouble

UNANSWERED = 5  # times the usual lag that a start without an answer may take


def create(board: Board, attempt: Attempt) -> None:
    """Order the job of the first attempt that waits, or go on with one that another has paid."""
    if claiming.is_anothers(board, attempt):
        return
    board.todo.popleft()
    board.live[attempt.row.id] = attempt
    asked = failures.combined(attempt.row.asked, board.made.job_options)
    board.note(attempt, State.CREATING, options=ends.as_text(asked))
    if not _adopt(board, attempt):
        _order(board, attempt)


def find(board: Board, attempt: Attempt) -> None:
    """The order may have arrived although its answer did not: look for its title."""
    found = board.remote.find(attempt.row.title)
    if not found:
        if not claiming.is_anothers(board, attempt) and not _adopt(board, attempt):
            _order(board, attempt)
        return
    found.sort(key=lambda job: job[1].status == "created")
    (job_id, status), surplus = found[0], found[1:]
    for other_id, other in surplus:
        if other.status == "created":
            _remove(board, other_id)
    board.note(attempt, State.CREATED, job_id=job_id)
    board.log(attempt, f"found at the back end, {status.status}")
    attempt.calm()
    if status.status != "created":
        _follow(board, attempt, status)


def start(board: Board, attempt: Attempt) -> None:
    """Have a job queued, unless it is another machine's or has begun."""
    if claiming.is_anothers(board, attempt):
        return
    if attempt.ask_first and _has_begun(board, attempt):
        return
    attempt.slot = board.free_slot()
    board.note(attempt, State.STARTING, started=board.journal.now())
    board.purse.open.add(attempt.row.id)
    attempt.answered = False
    try:
        board.remote.start(attempt.job_id)
    except Trouble as trouble:
        attempt.answered = trouble.answered
        if trouble.kind in (Kind.LIMIT, Kind.CREDITS, Kind.OPTIONS):
            board.purse.open.discard(attempt.row.id)
            board.note(attempt, State.CREATED, started=None)
        raise
    finally:
        attempt.sent = board.clock()
        board.next_start = attempt.sent + board.pace.start_interval
    attempt.answered = board.options_accepted = True
    _enter(board, attempt, State.QUEUED)
    attempt.calm()
    board.tell("started", attempt)


def poll(board: Board, attempt: Attempt) -> None:
    """Ask how a job is doing."""
    status = board.remote.status(attempt.job_id)
    attempt.calm()
    _follow(board, attempt, status)


def ask_why(board: Board, attempt: Attempt) -> None:
    """Logs come from an index that is late or down at times."""
    try:
        failure = failures.sort(board.remote.log(attempt.job_id))
    except Trouble as trouble:
        if trouble.kind not in (Kind.GONE, Kind.WRONG):
            raise
        failure = Failure(failures.Cause.SILENT, f"its log cannot be read: {trouble}")
    silent = failure.cause is failures.Cause.SILENT
    if silent and remedies.looks_again(board, attempt, board.pace.log_wait, failure.words):
        return
    options = failures.mend(failure, attempt.row.asked, board.made.mending)
    if options is None:
        ends.give_up(board, attempt, failure.reason, failure.cause.value)
    else:
        ends.replace(board, attempt, failure.reason, options, failure.cause.value)


def _order(board: Board, attempt: Attempt) -> None:
    row = attempt.row
    job_id = board.remote.create(board.made.recipe.order(row.chunk), row.title, row.asked)
    board.note(attempt, State.CREATED, job_id=job_id)
    attempt.calm()
    board.tell("created", attempt)


def _adopt(board: Board, attempt: Attempt) -> bool:
    """Go on with the job of a machine that is gone, if there is one that is paid for.

    One that is not is removed: a machine that only slept could still start it, a moment after it
    has made sure that the chunk is its own.
    """
    found = [
        (title, *job)
        for title in claiming.inherited(board, attempt)
        for job in board.remote.find(title)
    ]
    for _, job_id, status in found:
        if status.status == "created":
            _remove(board, job_id)
    for title, job_id, status in found:
        if status.status in ("queued", "running", "finished"):
            board.note(attempt, State.QUEUED, job_id=job_id)
            board.log(attempt, f"adopted from another machine, {status.status}: {title}")
            attempt.calm()
            _follow(board, attempt, status)
            return True
    return False


def _remove(board: Board, job_id: str) -> None:
    """Have a job be there no more."""
    try:
        board.remote.delete(job_id)
    except Trouble as trouble:
        if trouble.kind is not Kind.GONE:
            raise


def _has_begun(board: Board, attempt: Attempt) -> bool:
    """Whether a job that an earlier run has ordered was started since, by whomever."""
    status = board.remote.status(attempt.job_id)
    attempt.ask_first = False
    if status.status == "created":
        return False
    attempt.slot = board.free_slot()
    board.note(attempt, State.STARTING, started=board.journal.now())
    board.log(attempt, f"was started by somebody else, {status.status}")
    _follow(board, attempt, status)
    return True


def _follow(board: Board, attempt: Attempt, status: Status) -> None:
    """Follow what the back end says of a job that was started."""
    if status.status in ("finished", "error", "canceled"):
        board.purse.pay(attempt.row.id, status.credits)
    if status.status == "finished":
        board.note(
            attempt, State.FINISHED, finished=_ended_at(board, attempt, status),
            credits=status.credits, noticed=board.journal.now(),
        )  # fmt: skip
        attempt.due = board.clock()
        board.tell("finished", attempt)
    elif status.status == "error":
        board.note(attempt, State.ERROR, credits=status.credits)
        attempt.due = board.clock()
    elif status.status == "canceled":
        board.note(attempt, attempt.row.state, credits=status.credits)
        ends.replace(board, attempt, "the job was canceled at the back end")
    elif status.status == "created":
        _not_begun(board, attempt)
    else:
        _wait_for_job(board, attempt, status.status)


def _not_begun(board: Board, attempt: Attempt) -> None:
    """The start was lost, or the status lags behind it: a second start could run it twice."""
    now, lag = board.clock(), board.pace.start_lag
    if now - attempt.sent < lag * (1 if attempt.answered else UNANSWERED):
        attempt.due = now + board.pace.poll
        return
    board.purse.open.discard(attempt.row.id)
    board.note(attempt, State.CREATED)


def _wait_for_job(board: Board, attempt: Attempt, status: str) -> None:
    """Queued, running, or a word that is in no specification."""
    now = board.clock()
    if status != attempt.status:
        state = State.RUNNING if status == "running" else State.QUEUED
        _enter(board, attempt, state, status)
        board.log(attempt, f"status {status}")
        board.tell("status", attempt)
    elif now - attempt.changed > board.pace.stuck_after:
        board.remote.stop(attempt.job_id)
        hours = (now - attempt.changed) / 3600
        reason = f"the job was {status} for {in_hours(hours)}; it was canceled"
        ends.replace(board, attempt, reason)
        return
    attempt.due = now + board.pace.poll_wait(now - attempt.changed)


def _enter(board: Board, attempt: Attempt, state: State, status: str = "queued") -> None:
    if attempt.row.state is not state:
        board.note(attempt, state)
    attempt.status = status
    attempt.changed = board.clock()
    attempt.due = attempt.changed + board.pace.poll


def _ended_at(board: Board, attempt: Attempt, status: Status) -> float:
    """When the job ended by the back end's clock, if that is believable."""
    now = board.journal.now()
    with contextlib.suppress(ValueError):
        told = dt.datetime.fromisoformat(status.updated).timestamp()
        if (attempt.row.started or 0.0) <= told <= now:
            return told
    return now
