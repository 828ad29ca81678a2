"""One process at a time downloads for an archive; a second one says who does, and waits."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import filelock

from jobs.model import Event

ENDING = 0.5  # s, in which threads that have nothing to do have ended


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the archive's download lock; raises filelock.Timeout while another process has it."""
    with filelock.FileLock(folder / "lock", timeout=0):
        yield


@contextlib.contextmanager
def only_one(folder: Path, observer: Callable[[Event], None]) -> Iterator[list[threading.Thread]]:
    """Hold the archive's download lock; while another run has it, say so and wait.

    Threads that are put into the list hold it as long as they live: those of an interrupted run
    still have its files.  The first one begins the others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, users = filelock.FileLock(folder / "lock", thread_local=False), list[threading.Thread]()
    holder = folder / "lock.json"
    told, wait = False, 0.0  # who is interrupted leaves at once
    while True:
        try:
            lock.acquire(timeout=0.2)
            break
        except filelock.Timeout:
            if not told:
                told = True
                observer(Event("waiting", reason=f"{_holder(holder)} downloads for this archive"))
    try:
        now = dt.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        about = {"pid": os.getpid(), "host": platform.node(), "since": now}
        holder.write_text(json.dumps(about), encoding="utf-8")
        yield users
        wait = ENDING
    finally:
        try:
            _join(users, wait)
        finally:
            if any(thread.is_alive() for thread in users):
                threading.Thread(target=_release, args=(lock, users), daemon=True).start()
            else:
                lock.release()


def _join(users: Sequence[threading.Thread], seconds: float = math.inf) -> None:
    """Wait for the end of those of these threads that were begun, so long at most."""
    end = time.monotonic() + seconds
    for thread in users:
        if thread.ident is not None:
            left = end - time.monotonic()
            thread.join(None if left == math.inf else max(0.0, left))


def _release(lock: filelock.BaseFileLock, users: Sequence[threading.Thread]) -> None:
    """Let go of the lock when these threads have ended."""
    _join(users)
    lock.release()


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if (about["pid"], about["host"]) == (os.getpid(), platform.node()):
            return f"Another run in this process (since {about['since']})"
        return f"Process {about['pid']} on {about['host']} (since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"
