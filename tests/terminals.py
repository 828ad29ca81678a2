"""A pseudo-terminal with `main.py` in it, for tests that answer questions and press keys.

The processes have a terminal of their own, which makes Ctrl-C and the end of input what
they are for a person.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.processes import context

if sys.platform == "win32":
    pytest.skip("Windows has no pseudo-terminals of this kind", allow_module_level=True)

import fcntl
import pty
import struct
import termios

import pexpect.fdpexpect
import pyte

ROWS = 200  # of the window, so that nothing scrolls away


class Terminal:
    """`main.py` with these arguments in a window of so many columns; a context manager.

    A window of 0 x 0 is what a bare pty has.  ``settings`` change constants, as in
    ``{"download.CHUNK_SIZE": [0.04, 0.04]}``.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        columns: int = 80,
        rows: int = ROWS,
        environ: dict[str, str] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        for path in settings or {}:  # in the child it would look like an error of the program
            room, _, constant = path.rpartition(".")
            assert hasattr(importlib.import_module(room), constant), path
        master, slave = pty.openpty()
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "", "NO_COLOR": "", **(environ or {})}
        self._process = context().Process(
            target=_run, args=(os.ttyname(slave), folder, arguments, environ, settings or {})
        )
        self._process.start()
        self.pid = self._process.pid
        self._slave = slave  # held until there is something to read: macOS loses what is early
        self._screen = pexpect.fdpexpect.fdspawn(master, encoding="utf-8")
        self._columns = columns or 80
        self._shown: list[str] = []

    def wait_for(self, text: str, seconds: float = 120) -> str:
        """Wait until this text is on the screen; what came before it."""
        until = time.monotonic() + seconds
        while True:
            # What ended before the terminal is read has shown all that it will.
            lives = self._process.is_alive() and time.monotonic() < until
            if self._screen.expect_exact([text, pexpect.TIMEOUT], timeout=1) == 0:
                break
            assert lives, f"no {text!r}; it showed:\n{self.screen}{self._screen.before}"
        before = str(self._screen.before)
        self._shown += [before, text]
        return before

    def answer(self, *lines: str) -> None:
        """Type lines."""
        for line in lines:
            self._screen.send(line + "\n")

    def press(self, key: str) -> None:
        """Press a key together with Ctrl."""
        self._screen.send(chr(ord(key) - 96))

    def end(self, seconds: float = 120) -> int:
        """Wait until the program has ended; its exit code."""
        until = time.monotonic() + seconds
        while self._process.is_alive() and time.monotonic() < until:
            self._screen.expect(pexpect.TIMEOUT, timeout=0.02)
        code = self._process.exitcode
        assert code is not None, f"still running; it showed:\n{self.screen}{self._screen.before}"
        os.close(self._slave)  # only now: without anybody on it, the terminal would be at its end
        self._screen.expect(pexpect.EOF)
        self._shown.append(str(self._screen.before))
        return code

    @property
    def shown(self) -> str:
        """Everything that was written so far, one after the other."""
        return "".join(self._shown)

    @property
    def screen(self) -> str:
        """What is on the screen, by a terminal that is not ours."""
        screen = pyte.Screen(self._columns, ROWS)
        pyte.Stream(screen).feed(self.shown)
        return "\n".join(line.rstrip() for line in screen.display).rstrip("\n")

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.is_alive():
            self._process.kill()
        self._process.join()


def _run(
    terminal: str, folder: Path, arguments: tuple[str, ...], environ: dict[str, str],
    settings: dict[str, Any],
) -> None:  # fmt: skip
    """The child: take the terminal, set things up, and become main.py."""
    os.setsid()
    descriptor = os.open(terminal, os.O_RDWR)
    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
    for number in range(3):
        os.dup2(descriptor, number)
    os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.environ.clear()  # the server that it came from may have begun with another one
    os.environ.update({name: value for name, value in environ.items() if value})
    os.chdir(folder)
    for path, value in settings.items():
        room, _, constant = path.rpartition(".")
        setattr(importlib.import_module(room), constant, value)
    sys.argv = ["main.py", *arguments]
    runpy.run_path(str(ROOT / "main.py"), run_name="__main__")
