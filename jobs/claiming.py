"""Which chunks other machines order, where several fill the same archive.

Without claims, for an archive that is one machine's alone, nothing here does anything.
"""

from __future__ import annotations

import contextlib

from jobs.attempt import ORDERING, Attempt
from jobs.board import Board
from jobs.journal import State
from jobs.trouble import Kind, Trouble

LOOK_AGAIN = 60.0  # s between two looks at a chunk that another machine orders


def is_anothers(board: Board, attempt: Attempt) -> bool:
    """Claim the chunk of a job that is to be ordered or started.

    If another machine orders it, or is done with it, the attempt is put aside.
    """
    claims = board.destination.claims
    if claims is None:
        return False
    chunk = attempt.row.chunk
    try:
        holder = claims.claim(chunk, attempt.row.title)
        done = not (holder or attempt.row.again) and board.destination.has(chunk)
    except OSError as error:
        raise Trouble(Kind.PASSING, str(error)) from error
    if holder:
        _hold(board, attempt, holder)
    elif done:
        board.put_aside(attempt)
        board.note(attempt, State.ARCHIVED, reason="archived by another machine")
        release(board, attempt)
        board.summary.already.append(chunk)
        board.tell("archived", attempt)
    return bool(holder) or done


def _hold(board: Board, attempt: Attempt, holder: str) -> None:
    """Leave a chunk to the machine that orders it, and look again later."""
    board.put_aside(attempt)
    board.held.append(attempt)
    attempt.due = board.clock() + LOOK_AGAIN
    if holder != attempt.holder:
        attempt.holder = holder
        board.tell("left", attempt, reason=holder)


def take_back(board: Board, attempt: Attempt) -> None:
    """Have the next step of an attempt, which asks whose it is, be taken once more."""
    board.held.remove(attempt)
    attempt.due = board.clock()
    if attempt.row.state is State.PLANNED:
        board.todo.appendleft(attempt)
    else:
        board.live[attempt.row.id] = attempt


def look_again(board: Board) -> bool:
    """Look for the last time at what other machines have claimed; False if it was done."""
    if State.PLANNED not in board.allowed:
        return False
    again = [attempt for attempt in board.held if not attempt.last_look]
    for attempt in again:
        attempt.last_look = True
        take_back(board, attempt)
    return bool(again)


def inherited(board: Board, attempt: Attempt) -> list[str]:
    """Titles under which machines that are gone may have ordered a chunk."""
    claims = board.destination.claims
    return claims.inherited(attempt.row.chunk) if claims else []


def claim_again(board: Board) -> None:
    """Keep others from what an earlier run has begun, unless they are at it already."""
    claims = board.destination.claims
    if claims is None:
        return
    for attempt in board.live.values():
        if attempt.row.state not in ORDERING:
            with contextlib.suppress(OSError):
                claims.claim(attempt.row.chunk, attempt.row.title)


def release(board: Board, attempt: Attempt) -> None:
    """Let others have a chunk.  A claim that stays for a trouble ends by itself."""
    if board.destination.claims is not None:
        with contextlib.suppress(OSError):
            board.destination.claims.release(attempt.row.chunk)


def release_what_costs_nothing(board: Board) -> None:
    """At the end of a run: what is not paid for is anybody's."""
    for attempt in (*board.todo, *board.live.values()):
        if attempt.row.state in ORDERING:
            release(board, attempt)
