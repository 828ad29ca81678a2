"""The built-in back end as a child process that ends with this program, however that ends.

It watches its standard input, which closes when this program ends, even by kill -9.  It
is out of reach of the terminal's Ctrl-C: this program decides when it has to go.  Its
jobs are kept in a folder, so that the next run finds them as it would at Copernicus.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

STOP_WAIT = 1.0  # s that it may take to end
LOG = "sandbox.log"
LOG_MAX = 20_000_000  # bytes; then it becomes sandbox.log.1
NEW_GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # for Windows


@contextlib.contextmanager
def back_end(state: Path, tell: Callable[[str], None]) -> Iterator[str]:
    """The address of a sandbox of our own, with its jobs in ``state``.

    One at a time: a second program waits, and says so with ``tell``.  Raises
    ConnectionError if it does not start.
    """
    state.mkdir(parents=True, exist_ok=True)
    log = state / LOG
    with (
        _alone(state / "lock", tell),
        _bounded(log).open("ab") as errors,
        _child(errors, f"{log} says why.", "--state", str(state.resolve())) as address,
    ):
        yield address


def _bounded(log: Path) -> Path:
    """A log that has grown large is put aside, in place of the one before."""
    if log.exists() and log.stat().st_size > LOG_MAX:
        log.replace(f"{log}.1")
    return log


@contextlib.contextmanager
def catalogue() -> Iterator[str]:
    """The address of a sandbox that keeps nothing, to look into its catalogue."""
    with _child(subprocess.DEVNULL, "`python -m sandbox` says why.") as address:
        yield address


@contextlib.contextmanager
def _alone(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of the state: two sandboxes would both run the jobs in it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tell("waiting: another process downloads for this archive")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _child(errors: IO[bytes] | int, help_: str, *flags: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--port", "0", "--parent-watch", *flags],
        cwd=Path(__file__).parents[1], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        start_new_session=True, creationflags=NEW_GROUP,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if " at http://" not in line:
            raise ConnectionError(
                f"The built-in back end did not start; {help_}  Nothing was ordered."
            )
        yield line.split()[-1]
    finally:
        process.stdin.close()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_WAIT)
        finally:
            process.kill()  # one that has ended does not mind
            process.wait()
            process.stdout.close()
