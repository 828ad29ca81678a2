"""What could be done next in a run, and when: the most urgent first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jobs import claiming, deliveries, steps
from jobs.attempt import IN_PLACE, ON_DISK, PENDING, Attempt
from jobs.board import Board
from jobs.journal import State

Action = Callable[[Board, Attempt], None]


def actions(board: Board) -> Iterator[tuple[float, Action, Attempt]]:
    """When, what, and about which attempt."""
    live = [a for a in board.live.values() if a.row.state in board.allowed and not a.busy]

    def are(*states: State) -> list[Attempt]:
        return [a for a in live if a.row.state in states]

    def after(due: float) -> float:
        return max(due, board.quiet_until)

    if board.count(IN_PLACE) < board.pace.max_inflight and board.purse.allows():
        for attempt in sorted(are(State.CREATED), key=lambda a: a.due)[:1]:
            yield after(max(attempt.due, board.next_start)), steps.start, attempt
    for attempt in are(*IN_PLACE):
        yield after(attempt.due), steps.poll, attempt
    for attempt in are(State.CREATING):
        yield after(attempt.due), steps.find, attempt
    if State.PLANNED in board.allowed:
        if board.todo and _has_room_to_order(board):
            yield after(board.todo[0].due), steps.create, board.todo[0]
        for attempt in board.held:
            yield after(attempt.due), claiming.take_back, attempt
    for attempt in are(State.ERROR):
        yield after(attempt.due), steps.ask_why, attempt
    if board.count(ON_DISK) < board.pace.max_files:
        for attempt in are(State.FINISHED):
            yield after(attempt.due), deliveries.fetch, attempt
    for attempt in are(State.DOWNLOADED):
        yield attempt.due, deliveries.hand_over, attempt


def _has_room_to_order(board: Board) -> bool:
    """Whether one more job may be ordered ahead."""
    pending = board.count(PENDING)
    # One that is being started may still be pending at the back end.
    if pending + board.count(frozenset({State.STARTING})) >= board.pace.max_pending:
        return False
    if not board.purse.allows(pending + 1):
        return False
    # The options may be refused: that is found out with a single order.
    return board.options_accepted or not pending + board.count(IN_PLACE)


def is_at_the_limit(board: Board) -> bool:
    """Whether not one more job may be started, whatever those cost that run now."""
    waiting = State.PLANNED in board.allowed and (board.todo or board.count(PENDING))
    return bool(waiting) and not board.purse.allows() and not board.count(IN_PLACE)
