"""Where an archive's files are, and fetching many of them at once.

An archive is a set of files named by keys, as Zarr has it: ``E007.0_N50.0/zarr.json``.  What
reads them asks for all that it needs next in one call of `Storage.fetch`, so that where an
answer takes long they are all under way together.
"""

from __future__ import annotations

import abc
import contextlib
import datetime as dt
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from shared.files import local_path

if TYPE_CHECKING:
    from zarr.abc.store import Store

Bytes = npt.NDArray[np.uint8]
BUCKETS = ("s3", "gs", "az", "memory")  # kinds of object stores
FETCHES = 16  # requests that are under way at a time, where each takes long
RETRIES = 4  # of a request that an object store did not answer, or not well
CONNECT = dt.timedelta(seconds=10)  # for an object store to answer at all


AT_ONCE = 16  # records that are read at the same time from far away

Item = TypeVar("Item")
Result = TypeVar("Result")


class Part(NamedTuple):
    """Some bytes of a file."""

    key: str
    start: int = 0
    size: int | None = None  # None: all to the end


class Tag(NamedTuple):
    """The state of an object: S3 and Azure compare its ETag, Google its generation."""

    e_tag: str | None
    version: str | None


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

    @abc.abstractmethod
    def zarr(self) -> Store:
        """The same as zarr-python has it, for reading."""

    def get(self, key: str) -> bytes | None:
        """A whole file; None if there is none."""
        [data] = self.fetch([Part(key)])
        return None if data is None else data.tobytes()


class Folder(Storage):
    """A folder on a disk."""

    is_far = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def __reduce__(self) -> tuple[type[Folder], tuple[Path]]:
        return Folder, (self.path.absolute(),)  # the other process may be elsewhere

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

    def zarr(self) -> Store:
        """See `Storage.zarr`."""
        from zarr.storage import LocalStore

        return LocalStore(self.path, read_only=True)


class Far(Storage):
    """A folder at a URL; what it is reached by is made anew in another process."""

    is_far = True

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name}


class Site(Far):
    """A folder on a web server that knows byte ranges and lists folders; for reading."""

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

    def zarr(self) -> Store:
        """See `Storage.zarr`."""
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(self.name, read_only=True)

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


class Bucket(Far):
    """A folder of an object store, read and written; credentials are those of the environment.

    Objects appear wholly or not at all.  What several writers share is changed by `put_if`,
    which fails if somebody else was faster.
    """

    @cached_property
    def _store(self) -> Any:
        with self._explained():
            return _object_store(self.name)

    def fetch(self, parts: Sequence[Part]) -> list[Bytes | None]:
        """See `Storage.fetch`; neighbouring ranges of an object are one request."""
        by_key: dict[str, list[int]] = {}
        for i, part in enumerate(parts):
            by_key.setdefault(part.key, []).append(i)
        found: list[Bytes | None] = [None] * len(parts)
        works = [[parts[i] for i in group] for group in by_key.values()]
        for group, data in zip(by_key.values(), self._at_once(self._fetch, works), strict=True):
            for i, part in zip(group, data, strict=True):
                found[i] = part
        return found

    def sizes(self, keys: Sequence[str]) -> list[int | None]:
        """See `Storage.sizes`."""
        return list(self._at_once(self._size, keys))

    def entries(self) -> list[str]:
        """See `Storage.entries`."""
        import obstore

        with self._explained():
            found = obstore.list_with_delimiter(self._store)
        return [*found["common_prefixes"], *(meta["path"] for meta in found["objects"])]

    def zarr(self) -> Store:
        """See `Storage.zarr`."""
        from zarr.storage import ObjectStore

        return ObjectStore(self._store, read_only=True)

    def get_tagged(self, key: str) -> tuple[Bytes, Tag] | None:
        """An object and the tag of its present state; None if there is none."""
        import obstore

        try:
            with self._explained():
                found = obstore.get(self._store, key)
                return _as_array(found.bytes()), Tag(found.meta["e_tag"], found.meta["version"])
        except FileNotFoundError:
            return None

    def written(self, key: str) -> dt.datetime | None:
        """When an object was written, by the clock of the object store; None if there is none."""
        import obstore

        try:
            with self._explained():
                found: dt.datetime = obstore.head(self._store, key)["last_modified"]
                return found
        except FileNotFoundError:
            return None

    def put(self, key: str, data: Any) -> None:
        """Write or replace an object."""
        import obstore

        with self._explained():
            obstore.put(self._store, key, bytes(data))

    def put_all(self, objects: Iterable[tuple[str, Any]]) -> None:
        """Write or replace many objects, several at a time."""
        for _ in self._at_once(lambda item: self.put(*item), list(objects)):
            pass

    def put_if(self, key: str, data: Any, tag: Tag | None) -> bool:
        """Replace an object if it still has this tag, or make it if there is none (None)."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create"
        if tag is not None:
            mode = {name: value for name, value in tag._asdict().items() if value is not None}
        try:
            with self._explained():
                obstore.put(self._store, key, bytes(data), mode=mode)
        except (AlreadyExistsError, PreconditionError):
            return False
        except OSError as error:
            if "409 Conflict" in str(error):  # another one is being put just now
                return False
            raise
        return True

    def require_conditions(self, key: str, data: Any) -> None:
        """Raise OSError if the store ignores conditions; the object must be there, and stays."""
        if self.put_if(key, data, None) or self.put_if(key, data, Tag('"none"', "1")):
            raise OSError(
                f"{self.name}: this object store ignores the conditions of a put (If-None-Match, "
                "If-Match), so nothing can be written there safely.  Choose another one."
            )

    def discard(self, keys: Sequence[str]) -> None:
        """Remove objects; nothing there is fine."""
        import obstore

        if keys:
            with self._explained(), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, list(keys))

    def below(self, key: str) -> dict[str, dt.datetime]:
        """All objects below a folder, with the time at which each was written."""
        import obstore

        with self._explained():
            found = obstore.list(self._store, key).collect()
        return {meta["path"]: meta["last_modified"] for meta in found}

    def _at_once(self, work: Callable[[Any], Any], items: Sequence[Any]) -> Iterable[Any]:
        return map(work, items) if len(items) < 2 else _threads().map(work, items)

    def _fetch(self, parts: list[Part]) -> list[Bytes | None]:
        """Parts of one object."""
        import obstore

        key = parts[0].key
        sizes = [part.size for part in parts if part.size is not None]
        try:
            with self._explained():
                if len(sizes) < len(parts):
                    whole = _as_array(obstore.get(self._store, key).bytes())
                    ends = [None if p.size is None else p.start + p.size for p in parts]
                    return [whole[p.start : end] for p, end in zip(parts, ends, strict=True)]
                starts = [part.start for part in parts]
                found = obstore.get_ranges(self._store, key, starts=starts, lengths=sizes)
                return [_as_array(data) for data in found]
        except FileNotFoundError:
            return [None] * len(parts)
        except OSError as error:
            if "416" in str(error):  # it is cut short
                return [np.empty(0, np.uint8) for _ in parts]
            raise

    def _size(self, key: str) -> int | None:
        import obstore

        try:
            with self._explained():
                return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Have an error of the object store say in one sentence what is the matter."""
        from obstore import exceptions as known

        try:
            yield
        except (known.AlreadyExistsError, known.PreconditionError):
            raise
        except FileNotFoundError as error:
            if not _lacks_bucket(error):
                raise
            raise OSError(self._no_bucket()) from error
        except known.BaseError as error:
            text = str(error)
            if _lacks_bucket(error):
                raise OSError(self._no_bucket()) from error
            denied = (known.PermissionDeniedError, known.UnauthenticatedError)
            if isinstance(error, denied) or "403 Forbidden" in text:
                raise PermissionError(
                    f"{self.name}: the object store refuses these credentials.  Check "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or those of your provider."
                ) from error
            reason = text.strip().splitlines()[0].rstrip(".")
            raise OSError(
                f"{self.name}: the object store cannot be used ({reason}).  Check the address "
                "(AWS_ENDPOINT_URL, AWS_REGION) and the connection."
            ) from error

    def _no_bucket(self) -> str:
        return f"{self.name}: there is no such bucket.  Make it first, or check the name."


def each_of(
    work: Callable[[Item], Result], items: Sequence[Item], is_far: bool
) -> Iterator[Result]:  # fmt: skip
    """What reading gives of each item, in their order; far away of many at once."""
    if len(items) < 2 or not is_far:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(min(len(items), AT_ONCE)) as pool:
        yield from pool.map(work, items)


def _lacks_bucket(error: Exception) -> bool:
    """Whether it is the bucket that is not there, in the words of S3 and Google, or of Azure."""
    return any(word in str(error) for word in ("NoSuchBucket", "ContainerNotFound"))


@cache
def _object_store(url: str) -> Any:
    """The store at a URL, as the usual variables of the environment say."""
    from obstore.store import MemoryStore, from_url

    if url.startswith("memory:"):
        return MemoryStore()
    make: Any = from_url
    options: dict[str, Any] = {
        "timeout": dt.timedelta(seconds=120), "connect_timeout": CONNECT,
        "allow_http": True,  # for an endpoint of the user's own
    }  # fmt: skip
    return make(url, client_options=options, retry_config={"max_retries": RETRIES})


def storage_at(path: str | Path) -> Storage:
    """The storage at a path or URL.  Raises ValueError for an address of an unknown kind."""
    scheme, found, _ = str(path).partition("://")
    if not found:
        return Folder(Path(path))
    if scheme == "file":
        return Folder(local_path(str(path)))
    if scheme in BUCKETS:
        return Bucket(str(path))
    if scheme in ("http", "https"):
        return Site(str(path))
    known = "://, ".join((*BUCKETS, "https", "file"))
    raise ValueError(f"{path} cannot be an archive: known are folders and {known}://.")


def _as_array(data: Any) -> Bytes:
    return np.frombuffer(data, np.uint8)


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
