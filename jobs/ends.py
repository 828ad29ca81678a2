"""How an attempt comes to its end: archived, no data, doubtful, failed, or followed by another."""

from __future__ import annotations

import json
from typing import Any

from jobs import claiming, failures
from jobs.attempt import Attempt
from jobs.board import Board
from jobs.journal import Row, State
from jobs.recipe import digest
from jobs.trouble import LONGEST_REASON, Trouble, redact


def finish(board: Board, attempt: Attempt, state: State, reason: str = "") -> None:
    """Note the end of an attempt, and clear up behind it."""
    board.note(attempt, state, reason=reason)
    board.purse.pay(attempt.row.id, None)
    board.put_aside(attempt)
    if state is not State.DOUBTFUL:  # nobody else shall order it while this one is asked for
        claiming.release(board, attempt)
    chunk, summary = attempt.row.chunk, board.summary
    if state is State.FAILED:
        _lose(board, attempt.row)
        summary.failed.append((chunk, reason))
        board.tell("failed", attempt, reason=reason)
        return
    if state is State.DOUBTFUL:
        summary.doubtful.append((chunk, reason))
        board.tell("doubtful", attempt, reason=reason)
        return
    board.files.done_with(attempt.row)
    _remove_job(board, attempt)
    done = summary.archived if state is State.ARCHIVED else summary.empty
    done.append(chunk)
    share = reservation(board, attempt.row)["soft_errors"]
    if state is State.ARCHIVED and share:
        summary.marked.append((chunk, _marked(share)))
    board.tell("archived" if state is State.ARCHIVED else "empty", attempt, reason=reason)


def fail(board: Board, attempt: Attempt, reason: str) -> None:
    """End an attempt without a result."""
    finish(board, attempt, State.FAILED, redact(reason, LONGEST_REASON))


def give_up(board: Board, attempt: Attempt, reason: str, advice: str) -> None:
    """End an attempt that no other job would help."""
    tries = attempt.row.tries
    tried = f" (tried {tries} times)" if tries > 1 else ""
    fail(board, attempt, f"{reason}{tried}{advice and '.  '}{advice}")


def refuse_order(board: Board, attempt: Attempt, reason: str) -> None:
    """This job will not do. A new one costs: only if somebody has asked again since."""
    if attempt.asked_again:
        replace(board, attempt, reason)
    else:
        fail(board, attempt, reason)


def replace(
    board: Board,
    attempt: Attempt,
    reason: str,
    options: failures.Options | None = None,
    advice: str = "",
) -> None:
    """Order another job, with other options if the reason asks for them."""
    row = attempt.row
    tries = 0 if attempt.asked_again else row.tries
    if tries >= board.pace.max_trys:
        give_up(board, attempt, reason, advice)
        return
    board.purse.pay(row.id, None)
    _lose(board, row)
    board.files.remove(row)
    _remove_job(board, attempt)
    board.log(attempt, f"attempt {row.attempt} failed: {reason}")
    del board.live[row.id]
    order = digest(board.made.recipe.order(row.chunk))
    text = row.options if options is None else as_text(options)
    following = board.journal.replace(row, redact(reason), tries + 1, order, text)
    board.todo.append(Attempt(following))
    if text != row.options:
        reason += f"; the next job asks for {failures.in_words(following.asked)}"
        board.log(attempt, reason)
    board.tell("retry", attempt, reason=reason)


def reservation(board: Board, row: Row) -> dict[str, Any]:
    """What a record says of the options of its job."""
    asked = row.asked
    usual = asked.get(failures.SOFT) == board.made.job_options.get(failures.SOFT)
    share = None if usual else asked.get(failures.SOFT)
    return {"job_options": asked, "soft_errors": share}


def as_text(options: failures.Options) -> str:
    """Options as the journal keeps them."""
    return json.dumps(dict(options), sort_keys=True) if options else ""


def _lose(board: Board, row: Row) -> None:
    """A job that was started and is of no use."""
    if row.started and row.job_id:
        board.summary.lost_jobs += 1
        board.summary.lost_credits += row.credits or 0.0


def _remove_job(board: Board, attempt: Attempt) -> None:
    """Have a back end that is ours alone forget a job and its result, if it can."""
    if not board.task.tidy or not attempt.row.job_id:
        return
    try:
        board.remote.delete(attempt.row.job_id)
    except Trouble as trouble:
        board.log(attempt, f"not removed at the back end: {trouble}")


def _marked(share: float) -> str:
    """What is to be known of a record whose job was let pass failed reads."""
    return (
        f"a product was broken, and {share:g} of the reads were let fail: what that product has "
        "imaged may be missing; look at it before it is used"
    )
