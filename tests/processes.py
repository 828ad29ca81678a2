"""Processes of their own for the tests: killed, interrupted, or given a terminal.

Where the system can fork they come from a server that has imported all rooms and loaded
the compiled loops once, so that each begins at once.  A process of the tests has one such
server.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = "cli", "pages", "jobs", "cells", "archive", "images", "healpix", "shared", "sandbox"
LATE = [  # what the rooms import when they need it
    "matplotlib.backends.backend_agg", "matplotlib.dates", "PIL.GifImagePlugin", "contourpy",
    "pystac_client", "rasterio.shutil", "h5py", "dask.array", "obstore.store", "distributed",
]  # fmt: skip


def preloaded() -> list[str]:
    """What the server imports: all doors, rooms and libraries, and what the tests start."""
    rooms = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in rooms]
    doors = ["main", "download", "convert", "store", "retrieve"]
    found = [name for name in sorted(names) if not name.endswith(("__init__", "__main__"))]
    return ["tests.terminals", "tests.torture", *doors, *found, *LATE, "tests.settled"]


@functools.cache
def context() -> ForkServerContext | SpawnContext:
    """Where the tests get their processes."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    for name in preloaded():
        assert importlib.util.find_spec(name), f"{name} has moved; the server would not say so"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", *preloaded()])
    with ctrl_c(), contextlib.chdir(ROOT):  # where the server finds what it imports, or is silent
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, here and in what is started here, also where our starter ignores it.

    ``nohup`` and a shell's ``&`` start the tests so, and a program inherits that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Forked:
    """``python -m <module> <arguments>`` from the server, used as a `subprocess.Popen` is.

    Its standard input and output are pipes of text.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        processes = context()
        read, stdin = processes.Pipe(duplex=False)
        stdout, write = processes.Pipe(duplex=False)
        self._process = processes.Process(
            target=_become, args=(module, arguments, read, write), daemon=True
        )
        self._process.start()
        self.stdin = os.fdopen(os.dup(stdin.fileno()), "w")
        self.stdout = os.fdopen(os.dup(stdout.fileno()))
        for end in (read, stdin, stdout, write):
            end.close()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self._process.exitcode

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()


def _become(module: str, arguments: tuple[str, ...], stdin: Connection, stdout: Connection) -> None:
    """The child: take the pipes and run the module."""
    os.dup2(stdin.fileno(), 0)
    os.dup2(stdout.fileno(), 1)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    for end in (stdin, stdout):
        end.close()
    os.chdir(ROOT)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def python(module: str, *arguments: str) -> Forked | subprocess.Popen[str]:
    """Start ``python -m <module> <arguments>`` in our folder, with pipes, as fast as can be."""
    if sys.platform == "win32":
        command = [sys.executable, "-m", module, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
    return Forked(module, *arguments)
