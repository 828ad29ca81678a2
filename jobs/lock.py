"""One process at a time downloads for an archive; a second one says who does, and waits."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from jobs.model import Event


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the archive's download lock; raises filelock.Timeout while another process has it."""
    with filelock.FileLock(folder / "lock", timeout=0):
        yield


@contextlib.contextmanager
def only_one(folder: Path, observer: Callable[[Event], None]) -> Iterator[None]:
    """Hold the archive's download lock; while another process has it, say so and wait."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock")
    holder = folder / "lock.json"
    told = False
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
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return f"Process {about['pid']} on {about['host']} (since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"
