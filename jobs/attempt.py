"""An attempt at a chunk: its row of the journal, and what only this run knows of it."""

from __future__ import annotations

from dataclasses import dataclass

from jobs.journal import ENDS, Row, State

IN_PLACE = frozenset({State.STARTING, State.QUEUED, State.RUNNING})
PENDING = frozenset({State.CREATING, State.CREATED})
ON_DISK = frozenset({State.DOWNLOADING, State.DOWNLOADED})
ORDERING = PENDING | {State.PLANNED}
EVERYTHING = frozenset(State) - ENDS


@dataclass
class Attempt:
    """Times are those of `Pace.clock`."""

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
        """The job at the back end; "" if there is none."""
        return self.row.job_id or ""

    def calm(self) -> None:
        """Something went well: the troubles before it are over."""
        self.troubles, self.trouble_since = 0, None
