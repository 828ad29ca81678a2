"""Threads that fetch and handle files beside the deciding thread, and report to it.

They decide nothing: what a worker has found out goes into the inbox, as a function that the
deciding thread calls.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

Work = Callable[[], None]
Queue = queue.SimpleQueue[Work | None]


class Workers:
    """A crew for transfers of so many threads, and one thread that handles files."""

    def __init__(self, transfers: int) -> None:
        self._stopped = threading.Event()
        self._inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._transfers: Queue = queue.SimpleQueue()
        self._handling: Queue = queue.SimpleQueue()
        self._lines = [self._transfers] * transfers + [self._handling]  # of each thread
        # Daemons, so that a program that is told to end does not wait for them.
        self.threads = [
            threading.Thread(target=_work, args=(line,), daemon=True) for line in self._lines
        ]

    def hire(self) -> None:
        """Have the threads begin."""
        for thread in self.threads:
            thread.start()

    def dismiss(self) -> None:
        """Have each thread end when it is done with what it does."""
        for line in self._lines:
            line.put(None)

    def transfer(self, work: Work) -> None:
        """Have a file fetched."""
        self._transfers.put(work)

    def handle(self, work: Work) -> None:
        """Have a file handled."""
        self._handling.put(work)

    def report(self, report: Work) -> None:
        """Tell the deciding thread; for the workers."""
        self._inbox.put(report)

    def has_reported(self) -> bool:
        """Whether a report waits."""
        return not self._inbox.empty()

    def take_in(self, seconds: float) -> None:
        """Take in one report, or wait for one so long."""
        with contextlib.suppress(queue.Empty):
            self._inbox.get(timeout=seconds)()

    def interrupt(self) -> None:
        """Have the transfers stop soon, and whoever waits for a report go on."""
        self._stopped.set()
        self._inbox.put(lambda: None)

    def is_stopped(self) -> bool:
        """Whether somebody has interrupted them."""
        return self._stopped.is_set()


def _work(line: Queue) -> None:
    while (work := line.get()) is not None:
        work()
