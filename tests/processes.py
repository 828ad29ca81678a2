"""Processes of their own for the tests: killed, interrupted, or given a terminal.

Where the system can fork they come from a server that has imported the rooms once, so
that each begins at once.  A process of the tests has one such server, whoever asks first,
so what it imports is listed here for all of them.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import sys
from multiprocessing.context import ForkServerContext, SpawnContext

PRELOADED = [
    "__main__", "tests.terminals", "tests.torture", "main", "download", "jobs.login", "convert",
    "store", "retrieve", "images.export", "images.figure", "cli.progress", "jobs.journal",
]  # fmt: skip


def context() -> ForkServerContext | SpawnContext:
    """Where the tests get their processes."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    for name in PRELOADED[1:]:
        assert importlib.util.find_spec(name), f"{name} has moved; the server would not say so"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
