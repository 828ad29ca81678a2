"""Leaving files behind safely: beside, verified, synced, then renamed.

A reader sees the old file or the whole new one, also after a power cut.  This room
imports no other room.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a sibling temporary path; on success sync it and rename it to ``path``.

    The temporary name keeps the suffix, since writers choose the format by it.  On
    any error the temporary file is removed and ``path`` is left as it was.
    """
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.partial{path.suffix}")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Have the operating system put a file's bytes on disk."""
    # Windows only syncs a handle that may write.
    with path.open("r+b") as handle:
        os.fsync(handle.fileno())


def sync_folder(path: Path) -> None:
    """Have the operating system put a folder's names on disk (nothing to do on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise OSError (ENOSPC) with a whole sentence unless ``needed`` bytes are free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"{purpose} needs {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free "
            f"on the disk of {folder}. Free some space and run the same command to go on.",
        )


def reason(error: BaseException) -> str:
    """What an error says, without the number that Python puts before it."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename else error.strerror


def is_disk_full(error: BaseException | None) -> bool:
    """Whether this error, or one that led to it, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def name_about(what: str, identity: str) -> str:
    """The name of a file about something that is elsewhere: what people call it, and a digest."""
    safe = re.sub(r"[^A-Za-z0-9.-]+", "_", what)
    return f"{safe}.{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def local_path(name: str) -> Path:
    """The path of a file or folder that may be named by a ``file:`` URL."""
    if not name.startswith("file:"):
        return Path(name)
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    return Path(url2pathname(urlsplit(name).path))
