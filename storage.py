"""Where an archive's files are, and fetching many of them at once.

An archive is a set of files named by keys, as Zarr has it: ``E007.0_N50.0/zarr.json``.  What
reads them asks for all that it needs next in one call of `Storage.fetch`, so that where an
answer takes long they are all under way together.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
FETCHES = 16  # requests to a web server that are under way at a time


class Part(NamedTuple):
    """Some bytes of a file."""

    key: str
    start: int = 0
    size: int | None = None  # None: all to the end


class Storage(abc.ABC):
    """A set of files.  Two of the same class and ``name`` are the same; pickles are small."""

    name: str  # of the place, as people write it
    is_far: bool  # whether each request takes so long that asking for more at once pays

    @abc.abstractmethod
    def fetch(self, parts: Sequence[Part]) -> list[Bytes | None]:
        """The bytes of each part, fewer where the file ends before; None if there is no file."""

    @abc.abstractmethod
    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """The size of each file in bytes; None if there is none."""

    @abc.abstractmethod
    def entries(self) -> list[str]:
        """The names of the files and folders right below the root."""

    def get(self, key: str) -> bytes | None:
        """A whole file; None if there is none."""
        [data] = self.fetch([Part(key)])
        return None if data is None else data.tobytes()


class Folder(Storage):
    """A folder on a disk."""

    is_far = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def fetch(self, parts: Sequence[Part]) -> list[Bytes | None]:
        """See `Storage.fetch`."""
        return [_read(f"{self.name}/{part.key}", part) for part in parts]

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """See `Storage.sizes`."""
        paths = (self.path / key for key in keys)
        return [path.stat().st_size if path.is_file() else None for path in paths]

    def entries(self) -> list[str]:
        """See `Storage.entries`."""
        return [path.name for path in self.path.iterdir()] if self.path.exists() else []


class Site(Storage):
    """A folder on a web server that knows byte ranges and lists folders; for reading."""

    is_far = True

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name}

    @cached_property
    def _files(self) -> Any:
        import fsspec  # type: ignore[import-untyped]

        return fsspec.filesystem(self.name.partition("://")[0])

    def fetch(self, parts: Sequence[Part]) -> list[Bytes | None]:
        """See `Storage.fetch`."""
        return list(_threads().map(self._fetch, parts))

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """See `Storage.sizes`."""
        return list(_threads().map(self._size, keys))

    def entries(self) -> list[str]:
        """See `Storage.entries`."""
        try:
            found: Iterable[str] = self._files.ls(self.name, detail=False)
        except FileNotFoundError:
            return []
        return [entry.rstrip("/").rpartition("/")[2] for entry in found]

    def _fetch(self, part: Part) -> Bytes | None:
        end = None if part.size is None else part.start + part.size
        try:
            data = self._files.cat_file(
                f"{self.name}/{part.key}", start=part.start or None, end=end
            )
        except FileNotFoundError:
            return None
        return np.frombuffer(data, np.uint8)

    def _size(self, key: str) -> int | None:
        try:
            return int(self._files.size(f"{self.name}/{key}"))
        except FileNotFoundError:
            return None


def storage_at(path: str | Path) -> Storage:
    """The storage at a path or URL.  Raises ValueError for an address of an unknown kind."""
    scheme, found, _ = str(path).partition("://")
    if not found:
        return Folder(Path(path))
    if scheme == "file":
        from urllib.parse import urlsplit
        from urllib.request import url2pathname

        return Folder(Path(url2pathname(urlsplit(str(path)).path)))
    if scheme in ("http", "https"):
        return Site(str(path))
    raise ValueError(f"{path}: archives at {scheme}:// are not known.")


def _read(path: str, part: Part) -> Bytes | None:
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (Path.open takes as long again)
            size = os.fstat(file.fileno()).st_size - part.start if part.size is None else part.size
            file.seek(part.start)
            data = np.empty(max(size, 0), np.uint8)
            done = 0
            while done < len(data):
                count = file.readinto(data[done:].data)
                if not count:
                    break
                done += count
            return data[:done]
    except (FileNotFoundError, NotADirectoryError):
        return None


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(FETCHES, thread_name_prefix="storage")


if hasattr(os, "register_at_fork"):  # threads do not live on in a forked process
    os.register_at_fork(after_in_child=_threads.cache_clear)
