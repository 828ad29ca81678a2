"""A bar on a terminal, once some work has taken a second.

What draws it is imported only then: most work has ended sooner.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live
    from rich.progress import Progress

FRAMES = 5  # drawings a second
SHOWN_AFTER = 1.0  # s of work before anything is drawn about it


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show, on a terminal, that something is being done if it takes longer than a second.

    The function it gives may be called with the steps that are done and those there are.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    bar = _Bar(what)
    timer = threading.Timer(SHOWN_AFTER, bar.show)
    timer.daemon = True
    timer.start()
    try:
        yield bar.step
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


class _Bar:
    """The steps of some work, drawn as soon as `show` was called."""

    def __init__(self, what: str) -> None:
        self._what, self._steps = what, (0, 0)
        self._drawn: Progress | None = None
        self._live: Live | None = None
        self._lock = threading.Lock()

    def step(self, done: int, total: int) -> None:
        """So many of all steps are done."""
        with self._lock:
            self._steps = done, total
            self._update()

    def show(self) -> None:
        """Begin to draw; nothing on a dumb terminal."""
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        from cli.progress import Quiet
        from cli.redrawn import redrawn

        console = Quiet(sys.stderr)
        if not console.draws:
            return
        columns = (
            SpinnerColumn("line"), TextColumn("{task.description}"), BarColumn(20),
            TimeElapsedColumn(),
        )  # fmt: skip
        with self._lock:
            self._drawn = Progress(*columns, console=console)
            self._drawn.add_task(self._what, total=None)
            self._update()
            self._live = redrawn(console, self._drawn.get_renderable, FRAMES)
        self._live.start()

    def stop(self) -> None:
        """Leave nothing of it."""
        if self._live is not None:
            self._live.stop()

    def _update(self) -> None:
        done, total = self._steps
        if self._drawn is not None and total:
            self._drawn.update(self._drawn.task_ids[0], completed=done, total=total)
