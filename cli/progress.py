"""What a person sees while a download takes its time.

On a terminal one line for each place at the back end, one for the results on
their way, and a bar for the whole with bytes and time left, redrawn in place.  Elsewhere,
and above these lines: one line for each chunk that came to its end.  Nothing is drawn where
there is no terminal or a dumb one.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

from cli.redrawn import redrawn
from cli.terminal import USUAL_WIDTH, duration, hush, size

if TYPE_CHECKING:
    from rich.live import Live

    from download import Estimate, Event
    from grid import Chunk

FRAMES = 2  # drawings a second
USUAL_HEIGHT = 25  # rows of a window where the environment says 0
BAR = 30  # columns of the bar, where they are there
DONE_BAR, LEFT_BAR = "━╸", "─"
PLAIN_BAR = "##", "-"  # where the stream has no other signs
FETCHED = 0.9  # of a chunk is done once its result is here
NARROW = 60  # columns; in a window below that the lines of a download are cut short

WORDS = {
    "started": "queued", "archived": "archived", "empty": "no data", "failed": "failed",
    "doubtful": "doubtful",
}  # fmt: skip
ENDS = ("archived", "empty", "doubtful", "failed")  # events behind which nothing comes


class Quiet(Console):
    """A console that takes a file for a file, and is silent when its reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        # rich would take FORCE_COLOR and the like for a terminal.
        super().__init__(file=stream, force_terminal=stream.isatty(), highlight=False)
        # rich knows windows of 0 x 0, but it believes COLUMNS=0 and LINES=0.
        if not self.width:
            self.width = USUAL_WIDTH
        if not self.height:
            self.height = USUAL_HEIGHT

    @property
    def draws(self) -> bool:
        """Whether lines can be redrawn in place."""
        return self.is_terminal and not self.is_dumb_terminal

    def on_broken_pipe(self) -> None:
        """What rich does when its reader has gone; by default it ends the program."""
        hush(self.file)  # type: ignore[arg-type]


class DownloadProgress:
    """Draws the events of `download.run`; use it as a context manager and as the observer.

    Work that needs no back end has no ``places`` at one.
    """

    def __init__(
        self,
        total: int,
        estimate: Estimate,
        places: int,
        console: Quiet | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Quiet(sys.stderr)
        self._total, self._estimate, self._clock = total, estimate, clock
        self._slots, self._places = places, max(1, places)
        self._done = 0
        self._began = self._last_end = clock()
        self._waiting = ""
        self._jobs: dict[Chunk, tuple[int, str, float]] = {}  # place, status, since when
        self._results: dict[Chunk, str] = {}  # what is being done with it
        self._bytes: dict[Chunk, tuple[int, int]] = {}  # of its result: those here, and of all
        self._ended: set[Chunk] = set()
        self._lock = threading.Lock()  # the drawing has a thread of its own
        self._live: Live | None = None

    def __enter__(self) -> DownloadProgress:
        if self._console.draws:
            self._live = redrawn(self._console, self.lines, FRAMES)
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
        """Take note of an event, in the thread that runs the download."""
        if event.kind in ("waiting", "stopping"):
            self._wait(event.reason)
        elif event.chunk is not None:
            self._waiting = ""
            with self._lock:
                self._note(event, event.chunk)
            self._report(event, event.chunk)

    def step(self, chunk: Chunk, doing: str) -> None:
        """Say what is being done with a result; from any thread."""
        with self._lock:
            self._results[chunk] = doing

    def lines(self) -> Text:
        """What is drawn now."""
        now = self._clock()
        with self._lock:
            jobs = {row[0]: (chunk, row[1], row[2]) for chunk, row in self._jobs.items()}
            results = list(self._results.items())
        narrow = self._console.width < NARROW
        ordered, here = [row[0] for row in jobs.values()], [chunk for chunk, _ in results]
        rows = [
            _place(number, jobs.get(number), now, ordered, narrow)
            for number in range(1, self._slots + 1)
        ]
        at_work = [_result(chunk, doing, here, narrow) for chunk, doing in results]
        head = "" if narrow or not self._slots else "results "
        rows += _rows(at_work, head, self._console.width)
        rows += self._whole(self._left(now), narrow)
        if self._waiting:
            rows.append(f"waiting: {self._waiting}")
        return Text("\n".join(rows), overflow="ellipsis", no_wrap=True)

    def _whole(self, left: str, narrow: bool) -> list[str]:
        """The bar of the whole, with bytes and time left: one row, or three in a narrow window."""
        here, of_all = self._traffic()
        traffic = f"{size(here)} of {size(of_all)}" if of_all else ""
        window = self._console.width
        if narrow:
            time_left = f"{self._number()} {left.removeprefix('about ')}"
            return [row for row in (self._bar(window), time_left, traffic) if row]
        words = ", ".join(part for part in (traffic, left) if part)
        room = window - len(self._number()) - len(words) - 2
        return [f"{self._number()} {self._bar(min(BAR, room))} {words}"]

    def _bar(self, width: int) -> str:
        """So many columns of which those that are done are strong."""
        done, left = PLAIN_BAR if self._console.options.ascii_only else (DONE_BAR, LEFT_BAR)
        halves = round(2 * width * self._share())
        bar = done[0] * (halves // 2) + done[1] * (halves % 2)
        return bar + left * (width - len(bar))

    def _share(self) -> float:
        """What of the whole is done, from 0 to 1."""
        with self._lock:
            under_way = [n / of for chunk, (n, of) in self._bytes.items()
                         if of and chunk not in self._ended]  # fmt: skip
        return min(1.0, (self._done + FETCHED * sum(under_way)) / max(1, self._total))

    def _traffic(self) -> tuple[float, float]:
        """Bytes of results that are here, and of all; those to come as the others, or planned."""
        with self._lock:
            known = [of or n for n, of in self._bytes.values()]
            here = sum(n for n, _ in self._bytes.values())
            to_come = self._total - len(self._ended | set(self._bytes))
        each = self._estimate.bytes / max(1, self._total)
        if known:
            each = (each * self._places + sum(known)) / (self._places + len(known))
        return here, sum(known) + max(0, to_come) * each

    def _note(self, event: Event, chunk: Chunk) -> None:
        if event.kind in ("started", "status"):
            self._put(chunk, event.slot, event.status or WORDS.get(event.kind, event.kind))
            return
        if event.kind != "created":
            self._jobs.pop(chunk, None)
        if event.kind == "finished":
            self._results[chunk] = "finished"
        elif event.kind == "bytes":
            self._bytes[chunk] = event.bytes, event.total or 0
            share = f"{100 * event.bytes / event.total:.0f} %" if event.total else ""
            self._results[chunk] = f"downloading {share or size(event.bytes)}"
        elif event.kind == "downloaded":
            self._bytes[chunk] = event.bytes, event.total or event.bytes
            self._results[chunk] = "downloaded"
        elif event.kind in ENDS:
            self._results.pop(chunk, None)
            self._ended.add(chunk)
            self._done += 1
            self._last_end = self._clock()
        elif event.kind == "retry":
            self._results.pop(chunk, None)
            self._bytes.pop(chunk, None)

    def _put(self, chunk: Chunk, place: int | None, words: str) -> None:
        """A job of an earlier run comes without a place: it gets one that is free."""
        before = self._jobs.pop(chunk, None)
        taken = {row[0] for row in self._jobs.values()}
        free = [n for n in range(1, self._places + 1) if n not in taken]
        if before is not None and before[0] in free:
            place = before[0]
        elif place not in free:
            place = free[0] if free else self._places
        since = before[2] if before is not None and before[1] == words else self._clock()
        self._jobs[chunk] = place or 1, words, since

    def _report(self, event: Event, chunk: Chunk) -> None:
        if event.kind in ENDS:
            reason = f": {event.reason}" if event.kind in ("failed", "doubtful") else ""
            self._say(f"{self._number()} {chunk} {WORDS[event.kind]}{reason}")
        elif event.kind == "left":
            self._say(f"{chunk}: {event.reason} orders it; looked at again later")
        elif event.kind == "retry":
            self._say(f"{chunk}: trying again: {event.reason}")

    def _wait(self, reason: str) -> None:
        """On a terminal below the other lines; elsewhere one line for each new reason."""
        known = self._waiting.partition(";")[0]  # behind it is for how long
        self._waiting = reason
        if not self._console.draws and reason and reason.partition(";")[0] != known:
            self._say(f"waiting: {reason}")

    def _number(self) -> str:
        return f"[{self._done:{len(str(self._total))}}/{self._total}]"

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)

    def _left(self, now: float) -> str:
        """Time left, from our own history and, the more the longer, from this run.

        The history counts as much as one job in each place.
        """
        expected = self._estimate.seconds / max(1, self._total)
        passed = self._last_end - self._began
        each = (self._places * expected + passed) / (self._places + self._done)
        left = each * (self._total - self._done) - (now - self._last_end)
        # A job that is late says nothing about those behind it.
        behind = max(0, self._total - self._done - self._places)
        left = max(left, each * behind)
        return f"about {duration(left, short=True)} left" if left > 0 else "later than usual"


def _place(
    number: int, row: tuple[Chunk, str, float] | None, now: float, among: Sequence[Chunk],
    narrow: bool,
) -> str:  # fmt: skip
    """The line of a place at the back end."""
    name = f"{number}" if narrow else f"slot {number} "
    if row is None:
        return f"{name} free"
    chunk, words, since = row
    doing = f"{words} {duration(now - since, short=True)}"
    if not narrow:
        return f"{name} {chunk} {doing}"
    # The end of a line is what a narrow window cuts off.
    which = _told_apart(chunk, among, narrow)
    return " ".join(part for part in (name, which, doing, chunk.tile.name) if part)


def _told_apart(chunk: Chunk, among: Sequence[Chunk], narrow: bool) -> str:
    """What tells a chunk from the others of its tile: the day, and of one day the orbit."""
    same = [other for other in among if other.tile == chunk.tile]
    if len(same) < 2:
        return ""
    day, orbit = chunk.day.isoformat(), chunk.orbit
    day, orbit = (day[5:], orbit[:4]) if narrow else (f"on {day}", f"({orbit})")
    return f"{day} {orbit}" if [other.day for other in same].count(chunk.day) > 1 else day


def _result(chunk: Chunk, doing: str, among: Sequence[Chunk], narrow: bool) -> str:
    """What is being done with a result."""
    which = _told_apart(chunk, among, narrow)
    if narrow and which:  # the end of a line is what is cut off
        return f"{which} {doing} {chunk.tile.name}"
    return " ".join(part for part in (chunk.tile.name, which, doing) if part)


def _rows(parts: Sequence[str], head: str, width: int) -> list[str]:
    """The parts in one row behind its head, or in one each where that would be cut off."""
    together = head + (", ".join(parts) or "-")
    if len(together) <= width or len(parts) < 2:
        return [together]
    return [f"{' ' * len(head) if i else head}{part}" for i, part in enumerate(parts)]
