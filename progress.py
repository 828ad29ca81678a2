"""What a person sees while a download runs.

On a terminal: one line for each place at the back end and one for the whole, redrawn in
place.  Elsewhere: one line for each chunk that came to its end, and for each wait.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from terminal import duration, size

if TYPE_CHECKING:
    from download import Estimate, Event
    from grid import Chunk

ENDS = ("archived", "empty", "failed")
WORDS = {"empty": "no data", "started": "queued", "finished": "finished"}


class DownloadProgress:
    """Draws the events of `download.run`; use it as a context manager and as the observer."""

    def __init__(
        self,
        total: int,
        estimate: Estimate,
        places: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False)
        self._total, self._estimate, self._clock = total, estimate, clock
        self._began = clock()
        self._done = 0
        self._waiting = ""
        self._slots: dict[int, tuple[Chunk, str, float]] = {}
        self._places = places
        self._live = (
            Live(get_renderable=self._draw, console=self._console, refresh_per_second=2)
            if self._console.is_terminal and not self._console.is_dumb_terminal
            else None
        )

    def __enter__(self) -> DownloadProgress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if event.kind == "waiting":
            if event.reason and event.reason != self._waiting:
                self._say(f"waiting: {event.reason}")
            self._waiting = event.reason
            return
        if event.chunk is None:
            return
        if event.kind in ENDS:
            self._end(event, event.chunk)
        elif event.kind == "retry":
            self._say(f"{event.chunk}: {event.reason}; trying again")
        elif event.slot is not None:
            self._note(event, event.chunk, event.slot)

    def _end(self, event: Event, chunk: Chunk) -> None:
        self._done += 1
        self._slots = {slot: row for slot, row in self._slots.items() if row[0] != chunk}
        reason = f": {event.reason}" if event.reason else ""
        words = WORDS.get(event.kind, event.kind)
        self._say(f"[{self._done}/{self._total}] {chunk} {words}{reason}")

    def _note(self, event: Event, chunk: Chunk, slot: int) -> None:
        words = event.status or WORDS.get(event.kind, event.kind)
        if event.kind == "bytes":
            words = f"downloading {size(event.bytes)}"
            if event.total:
                words = f"downloading {100 * event.bytes / event.total:.0f} %"
        before = self._slots.get(slot)
        since = self._clock()
        if before is not None and before[0] == chunk and before[1].split()[0] == words.split()[0]:
            since = before[2]
        self._slots[slot] = chunk, words, since

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _draw(self) -> Text:
        lines = []
        for slot in range(1, self._places + 1):
            if slot not in self._slots:
                lines.append(f"slot {slot}  free")
                continue
            chunk, words, since = self._slots[slot]
            lines.append(f"slot {slot}  {chunk}  {words}  {duration(self._clock() - since)}")
        passed = self._clock() - self._began
        left = self._left(passed)
        lines.append(f"[{self._done}/{self._total}]  {duration(passed)} so far, {left}")
        return Text("\n".join(lines), overflow="ellipsis", no_wrap=True)

    def _left(self, passed: float) -> str:
        """From the run itself once it has some ends to show, before that from the history."""
        if self._done >= 2:
            seconds = passed / self._done * (self._total - self._done)
        else:
            seconds = max(0.0, self._estimate.seconds - passed)
        return f"about {duration(seconds)} left"


@contextlib.contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for a number of steps done of all, on a terminal only."""
    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout, as wide as the terminal; not cut when it goes to a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console.print(table)
