"""What surrounds each command: signals, streams, a cluster, remarks of the rooms, how it ends."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

import click

from cli import last
from cli.exits import DONE, INTERRUPTED, explain, explain_usage
from cli.flags import NAMED
from cli.terminal import hush, tell

NAME, COMPLETE = "s1", "_S1_COMPLETE"  # of the program in a shell, and what asks for completion
ALIVE = 10_000  # objects made since the last look for unreachable ones; Python's own number is 700


def look_seldom() -> None:
    """Have Python look for unreachable objects less often, and not once more when it ends.

    What is imported is a million objects that stay: looking through them takes a quarter of
    the time of a short command, and to take them apart at the end as much again.
    """
    gc.set_threshold(ALIVE)
    atexit.register(_leave)  # the first one that is registered is called last


_ended: list[int] = []  # the exit code, once it is known


def _leave() -> None:
    """Leave at once: threads have ended, what wanted to be told of the end has been."""
    gc.freeze()
    if _ended:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # told already, where that was possible
                stream.flush()
        os._exit(_ended[-1])


def cluster(scheduler: str | None) -> contextlib.AbstractContextManager[None]:
    """The cluster to work on; without one nothing is imported."""
    if scheduler is None:
        return contextlib.nullcontext()
    from shared import compute

    return compute.cluster(scheduler)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Remarks(logging.Handler):
    """Shows what a room has to say while it works; what is alike for all files but once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """A line on stderr."""
        if (once := getattr(record, "once", None)) in self._said:
            return
        self._said |= {once} if once else set()
        tell(self.format(record))


@contextlib.contextmanager
def remarks() -> Iterator[None]:
    """Show what rasters and loops have to say, as that they are being compiled, once."""
    logs, handler = [logging.getLogger(name) for name in ("cells", "healpix")], Remarks()
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.INFO)
        log.addHandler(handler)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.removeHandler(handler)
            log.setLevel(level)


def mend_streams() -> None:
    """Have the three streams, whatever the shell closed, and no character stop the program."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


def run(command: click.Command, arguments: list[str]) -> int:
    """Run the command that the arguments name; every error becomes one line and an exit code."""
    mend_streams()
    if (asked := os.environ.get(COMPLETE)) is not None:
        from click.shell_completion import shell_complete

        return shell_complete(command, {}, NAME, COMPLETE, asked)
    try:
        with terminable(), remarks(), command.make_context("main.py", [*arguments]) as context:
            code = command.invoke(context)
            sys.stdout.flush()
            if not code and (named := context.meta.get(NAMED)):
                last.remember(*named)
            return int(code or DONE)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        return explain_usage(error)
    except KeyboardInterrupt as error:
        tell(f"\n{error}" if str(error) else "\nInterrupted; nothing half done was kept.")
        return INTERRUPTED
    except BrokenPipeError:
        hush(sys.stdout)  # Python would complain once more when it closes it
        return DONE
    except Exception as error:
        return explain(error, debug="--debug" in arguments)


def end(code: int) -> NoReturn:
    """End the process with this exit code."""
    if code == INTERRUPTED:
        # Threads are not waited for: what they leave, kill -9 would, and the next run sweeps it up.
        sys.stdout.flush()
        os._exit(code)
    _ended.append(code)
    sys.exit(code)
