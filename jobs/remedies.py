"""What is done when something goes wrong with an attempt: wait, order anew, give up, or halt."""

from __future__ import annotations

import contextlib
import traceback

from grid import in_hours
from jobs import ends, failures
from jobs.attempt import EVERYTHING, ORDERING, Attempt
from jobs.board import Board
from jobs.journal import State
from jobs.trouble import (
    CreditsNeeded,
    Kind,
    LoginNeeded,
    OptionsRefused,
    Trouble,
    Unwanted,
    backoff,
)
from shared.files import is_disk_full


def troubled(board: Board, attempt: Attempt, trouble: Trouble) -> None:
    """Do about a trouble what its kind asks for."""
    board.log(attempt, f"{trouble.kind.name}: {trouble}")
    kind = trouble.kind
    if kind is Kind.NO_DATA:
        ends.finish(board, attempt, State.EMPTY, str(trouble))
    elif kind is Kind.NO_ASSET:
        _no_file(board, attempt, str(trouble))
    elif kind is Kind.BEGUN:
        attempt.due = board.clock()  # its status is asked for next
    elif kind is Kind.OPTIONS:
        _options_refused(board, attempt, trouble)
    elif kind is Kind.LIMIT:
        board.next_start = board.clock() + max(board.pace.poll, board.pace.start_interval)
        board.tell("waiting", attempt, reason="the account runs as many jobs as it may")
    elif kind is Kind.CREDITS:
        board.halt(_credits_needed(trouble), EVERYTHING - ORDERING)
    elif kind is Kind.LOGIN:
        board.halt(_login_needed(trouble), frozenset({State.DOWNLOADED}))
    elif kind is Kind.GONE:
        ends.replace(board, attempt, f"the job or its result is gone: {trouble}")
    elif kind is Kind.WRONG:
        ends.refuse_order(board, attempt, str(trouble))
    else:
        back_off(board, attempt, trouble)


def broken(board: Board, attempt: Attempt, error: Exception) -> None:
    """An unexpected error ends the chunk, or the run if the next chunk would fare no better."""
    if is_disk_full(error) or isinstance(error, Unwanted):
        board.log(attempt, str(error))
        board.halt(error, frozenset())
        return
    board.log(attempt, "".join(traceback.format_exception(error)))
    ends.fail(board, attempt, f"{type(error).__name__}: {error}")


def back_off(board: Board, attempt: Attempt, trouble: Trouble) -> None:
    """Try again later, unless it has been tried for long while others got on."""
    now, pace = board.clock(), board.pace
    attempt.troubles += 1
    if attempt.trouble_since is None:
        attempt.trouble_since = now
    since = attempt.trouble_since
    if now - since > pace.patience and board.last_good > since + pace.patience / 2:
        hours = (now - since) / 3600
        ends.fail(board, attempt, f"{trouble} (again and again for {in_hours(hours)})")
        return
    wait = backoff(attempt.troubles, pace.backoff_first, pace.backoff_longest, pace.dice)
    if trouble.retry_after is not None:
        wait = max(wait, trouble.retry_after)
        board.quiet_until = max(board.quiet_until, now + trouble.retry_after)
    attempt.due = now + wait
    board.tell("waiting", attempt, reason=f"{trouble}; next try in {wait:.3g} s")


def looks_again(board: Board, attempt: Attempt, patience: float, words: str) -> bool:
    """Whether to ask once more before it is believed that there is nothing to be told."""
    now = board.clock()
    attempt.looking = now if attempt.looking is None else attempt.looking
    if (passed := now - attempt.looking) >= patience:
        return False
    attempt.due = now + max(board.pace.poll, passed / 2)
    board.log(attempt, f"{words}: asked again")
    board.tell("waiting", attempt, reason=f"{words}; the back end is asked again")
    return True


def refused(board: Board, attempt: Attempt, reason: str, mark: str) -> None:
    """The result came whole and cannot be used; perhaps it is better the next time.

    If the same bytes came again, it will not be.
    """
    attempt.refusals += 1
    again = bool(mark) and mark == attempt.refused
    attempt.refused = mark
    board.log(attempt, f"refused{' again, the same file' * again}: {reason}")
    if attempt.refusals < board.pace.max_trys and not again:
        back_off(board, attempt, Trouble(Kind.PASSING, reason))
    else:
        ends.refuse_order(board, attempt, reason)


def not_there(board: Board, attempt: Attempt, trouble: Trouble) -> None:
    """The file is listed and not there: that may pass, but not for days, and not silently."""
    row, now, pace = attempt.row, board.journal.now(), board.pace
    since = row.refused_since or now
    board.note(attempt, State.FINISHED, refused=row.refused + 1, refused_since=since)
    attempt.refusals += 1
    hours, times = (now - since) / 3600, f"{row.refused + 1} times"
    words = f"the back end lists its file but does not give it: {trouble}"
    long = row.refused and now - since >= pace.missing_wait
    if long or (attempt.asked_again and attempt.refusals >= pace.max_trys):
        after = f"{times} in {in_hours(hours)}"
        advice = "Run the same command to ask once more and order it anew"
        ends.refuse_order(board, attempt, f"{words} ({after}).  {advice}")
        return
    board.log(attempt, f"{trouble.kind.name}: {words}, {times}")
    left = max(0.0, pace.missing_wait / 3600 - hours)
    more = f"{times} so far; given up in {in_hours(left)}"
    back_off(board, attempt, Trouble(Kind.PASSING, f"{words}, {more}"))


def _no_file(board: Board, attempt: Attempt, words: str) -> None:
    """No data, unless the catalogue has an image: then it is asked for the next time, too."""
    row, pace = attempt.row, board.pace
    if not attempt.doubted and looks_again(board, attempt, pace.empty_wait, words):
        return
    if not row.promised:
        ends.finish(board, attempt, State.EMPTY, words)
        return
    age = board.journal.now() - (row.finished or row.changed)
    words += f", though the catalogue has images of {100 * row.promised:.3g} % of it"
    if age < pace.doubt:
        until = f"; within {in_hours(pace.doubt / 3600)} the same command asks for it again"
        ends.finish(board, attempt, State.DOUBTFUL, words + until)
    else:
        reason = f"{words}, and {in_hours(age / 3600)} after its end"
        ends.finish(board, attempt, State.EMPTY, reason)


def _options_refused(board: Board, attempt: Attempt, trouble: Trouble) -> None:
    """Nobody's order is better with these options, unless they are more than was asked for."""
    if attempt.job_id:
        with contextlib.suppress(Trouble):
            board.remote.delete(attempt.job_id)
    row, usual = attempt.row, dict(board.made.job_options)
    asked = failures.in_words(row.asked)
    if row.asked != usual and row.tries == 1:  # by an earlier run
        reason = f"the options {asked} were refused: {trouble}"
        ends.replace(board, attempt, reason, usual)
        return
    if row.asked != usual:
        board.note(attempt, row.state, options=ends.as_text(usual))
        reason = f"the job before it needs more, and {asked} is refused: {trouble}"
        ends.fail(board, attempt, reason)
        return
    board.note(attempt, State.PLANNED, job_id=None, started=None, options="")
    board.put_aside(attempt)
    board.todo.appendleft(attempt)
    board.halt(_refusal(asked, trouble), EVERYTHING - ORDERING)


def _login_needed(trouble: Trouble) -> LoginNeeded:
    return LoginNeeded(
        f"The login has expired ({trouble}). Jobs at the back end go on, and everything is kept. "
        "Log in again by running the same command."
    )


def _refusal(asked: str, trouble: Trouble) -> OptionsRefused:
    return OptionsRefused(
        f"The back end refuses the job options {asked} ({trouble}).  Nothing was ordered with "
        "them; ask for less in JOB_OPTIONS or --job-option."
    )


def _credits_needed(trouble: Trouble) -> CreditsNeeded:
    return CreditsNeeded(
        f"The account is out of credits ({trouble}). What was ordered is fetched, and everything "
        "is kept. Run the same command when there are credits again."
    )
