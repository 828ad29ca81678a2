"""Reading a tile back from disk.

Reading needs so little of Zarr that it is done here: look into the shards' indexes, fetch
the inner chunks that are wanted, check their crc32c, let blosc decode them straight into the
result, on all cores.  The numbers that say where to
look come from the metadata, so an archive made with other constants reads as well.  What is
needed next of several files is asked for at once: far storage takes its time for each answer.

Every array is packed by blosc and followed by its crc32c, so no flipped byte goes unseen.
Two things are kept twice, since all records of a tile depend on them: the cells, as runs
and as ids, and the records' days and orbits, as rows and within the provenance.  Where
one copy is damaged the other one is read.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import google_crc32c
import numcodecs.blosc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8  # type: ignore[import-untyped]

import healpix
from archive.schema import EMPTY
from archive.storage import Bytes, Part, Storage
from grid import ORBITS, Chunk, Tile
from healpix import Runs

NO_TIME = int(np.iinfo(np.int64).min)  # the time of a removed record; decodes as NaT
LOST = json.dumps({"source": "unknown: its provenance was lost with a damaged file"})
NOTHING = -1  # what ``time`` and ``orbit`` hold where nothing was written
EPOCH = dt.date(1970, 1, 1)

Ints = npt.NDArray[np.int64]
Array = Mapping[str, Any]  # the metadata of an array


class DamageError(ValueError):
    """Bytes on disk are missing, or are not those that were written."""

    def __init__(self, reason: str, variable: str = "") -> None:
        super().__init__(f"{variable}: {reason}" if variable else reason)
        self.reason, self.variable = reason, variable


# --- which cells ------------------------------------------------------------------------


class Piece(NamedTuple):
    """Cells from one inner chunk, which lie side by side in the result."""

    starts: Ints  # the first cell of each run, counted within the inner chunk
    sizes: Ints
    to: int  # the place of the first in the result
    size: int  # all of them


@dataclass(frozen=True)
class Spans:
    """Cells of a tile: runs of them, counted within the tile, ascending."""

    starts: Ints
    sizes: Ints
    _pieces: dict[int, dict[int, Piece]] = field(default_factory=dict, repr=False)

    @classmethod
    def whole(cls, size: int) -> Spans:
        """All cells of a tile."""
        return cls(np.zeros(1, np.int64), np.array([size], np.int64))

    @property
    def size(self) -> int:
        """The number of cells."""
        return int(self.sizes.sum())

    def pieces(self, inner: int) -> dict[int, Piece]:
        """The same cells by inner chunk, where those hold ``inner`` cells."""
        if inner not in self._pieces:
            self._pieces[inner] = _cut(self.starts, self.sizes, inner)
        return self._pieces[inner]


def _cut(starts: Ints, sizes: Ints, inner: int) -> dict[int, Piece]:
    first, last = starts // inner, (starts + sizes - 1) // inner
    counts = np.where(sizes > 0, last - first + 1, 0)
    span = np.repeat(np.arange(len(starts)), counts)
    number = first[span] + np.arange(len(span)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = np.maximum(starts[span], number * inner)
    size = np.minimum(starts[span] + sizes[span], (number + 1) * inner) - start
    edges = np.flatnonzero(np.diff(number, prepend=-1))
    to = np.cumsum(size) - size
    return {
        int(number[i]): Piece(start[i:j] % inner, size[i:j], int(to[i]), int(size[i:j].sum()))
        for i, j in pairwise([*edges, len(number)])
    }


# --- a tile as it was committed --------------------------------------------------------


@dataclass
class Group:
    """A tile's group: its metadata, and the key of the record in each of its slots."""

    tile: Tile
    storage: Storage
    metadata: dict[str, Any]  # the zarr.json with consolidated metadata
    times: npt.NDArray[np.int64]  # seconds since 1970; NO_TIME: removed
    orbits: npt.NDArray[np.int8]  # index into ORBITS
    files: dict[str, Bytes | None] = field(default_factory=dict)  # fetched ahead

    @classmethod
    def load(cls, storage: Storage, tile: Tile, also: Sequence[str] = ()) -> Group | None:
        """The group as committed last; None if there is none.  Raises DamageError.

        Takes the same time for one record and for a thousand.  ``also`` names small arrays
        to be fetched together with those that are needed anyway.
        """
        try:
            data = storage.get(f"{tile.name}/zarr.json")
            if data is None:
                return None
            metadata = json.loads(data)
            found = metadata["consolidated_metadata"]["metadata"]
            size = int(found["time"]["shape"][0])
        except (ValueError, KeyError, TypeError) as error:
            raise DamageError(f"it is not readable ({error})", "zarr.json") from error
        group = cls(tile, storage, metadata, np.empty(0, np.int64), np.empty(0, np.int8))
        keys = [key for name in ("time", "orbit", *also) for key, _ in group.small(name, size)]
        group.files.update(zip(keys, storage.fetch([Part(key) for key in keys]), strict=True))
        try:
            group.times = group._rows("time", "<i8", size)
            group.orbits = group._rows("orbit", "i1", size)
            if (group.times == NOTHING).any():
                raise DamageError(f"it ends before slot {size}", "time")
        except DamageError as error:
            group._recover_rows(size, error)
        # In an object store: given away, but its writer has not come to its rows.
        group.times = np.where(group.orbits == NOTHING, NO_TIME, group.times)
        return group

    @property
    def arrays(self) -> dict[str, dict[str, Any]]:
        """Metadata by array."""
        arrays: dict[str, dict[str, Any]] = self.metadata["consolidated_metadata"]["metadata"]
        return arrays

    @property
    def pix_len(self) -> int:
        """Cells of the tile."""
        return int(self.arrays["count"]["shape"][1])

    @property
    def runs_len(self) -> int:
        """Runs that spell the tile's cells."""
        return int(self.arrays["run_len"]["shape"][0])

    @property
    def cell_arrays(self) -> list[str]:
        """The arrays of which each record has a shard: the bands, count, and the overviews'."""
        dims = {name: array.get("dimension_names", []) for name, array in self.arrays.items()}
        return [name for name, dim in dims.items() if len(dim) == 2 and dim[0] == "time"]

    def written(self, about: Mapping[str, Any]) -> list[str]:
        """The arrays that a record was written to, by what is known of it."""
        sizes = about.get("bytes")
        return [n for n in self.cell_arrays if (n in sizes if sizes else "/" not in n)]

    @property
    def coarser(self) -> list[int]:
        """The levels of the overviews that the tile has arrays for, finest first."""
        return sorted((int(name) for name in self.arrays if name.isdecimal()), reverse=True)

    def slots(self, chunk: Chunk) -> list[int]:
        """The slots of a chunk: none, one, or more if it was replaced; the last one counts."""
        time, orbit = key(chunk)
        return [int(i) for i in np.flatnonzero((self.times == time) & (self.orbits == orbit))]

    def live(self) -> dict[int, tuple[int, int]]:
        """The slots that hold a record, with its time and orbit."""
        keys = zip(self.times.tolist(), self.orbits.tolist(), strict=True)
        last = {pair: slot for slot, pair in enumerate(keys) if pair[0] != NO_TIME}
        return {slot: pair for pair, slot in last.items()}

    def records(self) -> dict[Chunk, int]:
        """The slot of each record, by day and orbit."""
        found = {
            Chunk(self.tile, EPOCH + dt.timedelta(seconds=time), ORBITS[orbit]): slot
            for slot, (time, orbit) in self.live().items()
        }
        return dict(sorted(found.items()))

    def lengthen(self) -> None:
        """Have the metadata say how many slots there are."""
        for array in self.arrays.values():
            if (array.get("dimension_names") or [""])[0] == "time":
                array["shape"][0] = len(self.times)

    def about(self, slots: Iterable[int]) -> list[dict[str, Any]]:
        """What is known of these slots' records."""
        texts = self.texts()
        return [json.loads(texts[slot] or "{}") for slot in slots]

    def texts(self) -> list[str]:
        """The provenance of each slot as JSON; "" where it is removed, LOST where damaged."""
        texts: list[str] = []
        size = len(self.times)
        rows = self.small("provenance", size)
        for data, (_, part) in zip(self._fetch("provenance", size), rows, strict=True):
            try:
                texts += read_texts(data, part)
            except DamageError:
                times = self.times[len(texts) : len(texts) + part]
                texts += ["" if time == NO_TIME else LOST for time in times]
        return texts

    def shard(self, name: str, slot: int) -> str:
        """The key of one variable of one record."""
        return f"{self.tile.name}/{name}/c/{slot}/0"

    def shard_sizes(self, slot: int) -> dict[str, int]:
        """The bytes of each variable of one record; 0 where there is no file."""
        names = self.cell_arrays
        sizes = self.storage.sizes([self.shard(name, slot) for name in names])
        return {name: size or 0 for name, size in zip(names, sizes, strict=True)}

    def size(self, name: str) -> int:
        """How many cells an array of cells has."""
        return int(self.arrays[name]["shape"][-1])

    def read(
        self, names: Sequence[str], slot: int, spans: Spans, about: Mapping[str, Any]
    ) -> dict[str, Any]:
        """These cells of some variables of one record.  Raises DamageError."""
        found = self.try_read(names, slot, spans, about)
        for values in found.values():
            if isinstance(values, DamageError):
                raise values
        return found

    def try_read(
        self, names: Sequence[str], slot: int, spans: Spans, about: Mapping[str, Any]
    ) -> dict[str, Any]:
        """As `read`, with a DamageError for the values of a variable that is damaged."""
        sizes = about.get("bytes", {})
        shards = [
            Shard(self.storage, self.shard(name, slot), self.arrays[name], sizes.get(name))
            for name in names
        ]
        return {
            name: DamageError(values.reason, name) if isinstance(values, DamageError) else values
            for name, values in zip(names, read_shards(shards, spans), strict=True)
        }

    def cell_ids(self, name: str = "cell_ids") -> npt.NDArray[np.uint64]:
        """The cells as ids, ascending.  Raises DamageError."""
        [ids] = read_shards([self.ids_shard(name)], Spans.whole(self.size(name)))
        if isinstance(ids, DamageError):
            raise DamageError(ids.reason, name) from ids
        found: npt.NDArray[np.uint64] = ids
        return found

    def ids_shard(self, name: str) -> Shard:
        """The shard that holds the ids of the tile's cells, or of an overview's."""
        return Shard(self.storage, f"{self.tile.name}/{name}/c/0", self.arrays[name])

    @property
    def id_arrays(self) -> list[str]:
        """The arrays of ids, of the tile and of its overviews."""
        return ["cell_ids", *(f"{level}/cell_ids" for level in self.coarser)]

    def stored_runs(self) -> Runs:
        """The cells as runs.  Raises DamageError."""
        size = self.runs_len
        starts, lengths = self._rows("start_ipix", "<u8", size), self._rows("run_len", "<u4", size)
        return starts, lengths

    def runs(self) -> Runs:
        """The cells as runs, from the ids if need be.  Raises DamageError."""
        try:
            return self.stored_runs()
        except DamageError:
            return healpix.ids_to_runs(self.cell_ids())

    def check(self) -> Iterator[DamageError]:
        """What is damaged of all that the records of the tile share."""
        size = len(self.times)
        checks: list[Callable[[], Any]] = [
            lambda: self._rows("time", "<i8", size),
            lambda: self._rows("orbit", "i1", size),
            lambda: self._all_texts(size),
            self.stored_runs,
            *(partial(self.cell_ids, name) for name in self.id_arrays),
        ]
        for check in checks:
            try:
                check()
            except DamageError as error:
                yield error

    def index_is_whole(self) -> bool:
        """Whether all copies of the tile's cells have the checksums they were given."""
        try:
            self.stored_runs()
            for name in self.id_arrays:
                check_shard(self.ids_shard(name))
        except DamageError:
            return False
        return True

    def small(self, name: str, size: int | None = None) -> list[tuple[str, int]]:
        """The files of an array of one dimension, and how many values to take of each."""
        array = self.arrays[name]
        size = int(array["shape"][0]) if size is None else size
        rows = self.rows(name)
        folder = f"{self.tile.name}/{name}/c"
        return [(f"{folder}/{i // rows}", min(rows, size - i)) for i in range(0, size, rows)]

    def rows(self, name: str) -> int:
        """How many values a file of an array of one dimension holds."""
        return int(self.arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][0])

    def _fetch(self, name: str, size: int) -> list[Bytes | None]:
        """The files of an array of one dimension."""
        keys = [key for key, _ in self.small(name, size)]
        if all(key in self.files for key in keys):
            return [self.files[key] for key in keys]
        return self.storage.fetch([Part(key) for key in keys])

    def _rows(self, name: str, dtype: str, size: int) -> npt.NDArray[Any]:
        with _naming(name):
            found = zip(self._fetch(name, size), self.small(name, size), strict=True)
            parts = [read_values(data, dtype, n) for data, (_, n) in found]
            return np.concatenate([np.empty(0, dtype), *parts])

    def _all_texts(self, size: int) -> list[str]:
        with _naming("provenance"):
            rows = self.small("provenance", size)
            found = zip(self._fetch("provenance", size), rows, strict=True)
            return [text for data, (_, n) in found for text in read_texts(data, n)]

    def _recover_rows(self, size: int, cause: DamageError) -> None:
        """Take days and orbits from the provenance."""
        try:
            about = [json.loads(text) if text else None for text in self._all_texts(size)]
        except DamageError as error:
            raise DamageError(f"{cause.reason}; {error}", cause.variable) from error
        if any(row is not None and "day" not in row for row in about):
            raise cause
        keys = [
            key(Chunk(self.tile, dt.date.fromisoformat(row["day"]), row["orbit"]))
            if row is not None
            else (NO_TIME, 0)
            for row in about
        ]
        self.times = np.array([time for time, _ in keys], np.int64)
        self.orbits = np.array([orbit for _, orbit in keys], np.int8)


def key(chunk: Chunk) -> tuple[int, int]:
    """What ``time`` and ``orbit`` hold for a chunk."""
    return (chunk.day - EPOCH).days * 86400, ORBITS.index(chunk.orbit)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Have a DamageError say which variable it is about."""
    try:
        yield
    except DamageError as error:
        raise DamageError(error.reason, name) from error


# --- shards ----------------------------------------------------------------------------


class Shard(NamedTuple):
    """A file with the cells of one variable of one record."""

    storage: Storage
    key: str
    array: Array
    size: int | None = None  # bytes, if it is known; 0: no file, only fill values

    @property
    def inner(self) -> int:
        """Cells in an inner chunk."""
        return int(self.array["codecs"][0]["configuration"]["chunk_shape"][-1])

    @property
    def chunks(self) -> int:
        """Inner chunks."""
        return int(self.array["chunk_grid"]["configuration"]["chunk_shape"][-1]) // self.inner

    @property
    def index_size(self) -> int:
        """Bytes of the index at the end: offset and length of each inner chunk, and a crc32c."""
        return 16 * self.chunks + 4


_thread = threading.local()


@contextlib.contextmanager
def one_of_many() -> Iterator[None]:
    """Read with this thread alone: its caller has as many of them as there are cores."""
    _thread.is_one_of_many = True
    try:
        yield
    finally:
        _thread.is_one_of_many = False


def read_shards(shards: Sequence[Shard], spans: Spans) -> list[Any]:
    """The cells of these spans, one span after the other, from each of some shards.

    Fetches the inner chunks that the spans touch and nothing else, in all shards at once.
    What is damaged is a DamageError instead.
    """
    outs: list[Any] = [np.empty(spans.size, shard.array["data_type"]) for shard in shards]
    tasks: list[tuple[int, Any]] = []
    for i, (shard, found) in enumerate(zip(shards, _fetch(shards, spans), strict=True)):
        if isinstance(found, DamageError):
            outs[i] = found
            continue
        pieces = spans.pieces(shard.inner)
        for number, piece in pieces.items():
            target = outs[i][piece.to : piece.to + piece.size]
            if number in found:
                tasks.append((i, (target, shard.inner, piece, found[number])))
            else:
                target[:] = fill_value(shard.array)
    work = [task for _, task in tasks]
    alone = len(work) < 4 or getattr(_thread, "is_one_of_many", False)
    results = map(_place, work) if alone else pool().map(_place, work)
    for (i, _), damage in zip(tasks, results, strict=True):
        if damage is not None:
            outs[i] = damage
    return outs


def check_shard(shard: Shard) -> None:
    """Raise DamageError unless every byte of a shard has the checksum it was given."""
    size = int(shard.array["shape"][-1])
    [found] = _fetch([shard], Spans.whole(size))
    if isinstance(found, DamageError):
        raise found
    for data in found.values():
        _checked(data)


def fill_value(array: Array) -> Any:
    """What a cell holds that was not written."""
    return np.dtype(array["data_type"]).type(array["fill_value"])


def _fetch(shards: Sequence[Shard], spans: Spans) -> list[dict[int, Bytes] | DamageError]:
    """The bytes of the inner chunks that the spans touch; a chunk of fill value is left out."""
    found: list[dict[int, Bytes] | DamageError] = [{} for _ in shards]
    there = [i for i, shard in enumerate(shards) if shard.size != 0]
    if not there:
        return found
    storage = shards[there[0]].storage
    some = [shards[i] for i in there]
    whole = spans.size == int(some[0].array["shape"][-1])
    parts = _fetch_whole(storage, some) if whole else _fetch_some(storage, some, spans)
    for i, part in zip(there, parts, strict=True):
        found[i] = part
    return found


def _fetch_whole(storage: Storage, shards: Sequence[Shard]) -> list[dict[int, Bytes] | DamageError]:
    """All inner chunks of each shard, which is read as one."""
    found: list[dict[int, Bytes] | DamageError] = []
    for shard, data in zip(shards, storage.fetch([Part(s.key) for s in shards]), strict=True):
        try:
            if data is None:
                raise DamageError("the file is missing")
            index = _read_index(shard, data[-shard.index_size :])
            chunks = {n: data[start : start + size] for n, start, size in _entries(index)}
            found.append(chunks)
        except DamageError as error:
            found.append(error)
    return found


def _fetch_some(
    storage: Storage, shards: Sequence[Shard], spans: Spans
) -> list[dict[int, Bytes] | DamageError]:
    """The wanted inner chunks: first all indexes, then what they point to."""
    found: list[dict[int, Bytes] | DamageError] = [{} for _ in shards]
    wanted: list[tuple[int, int, Part]] = []
    for i, (shard, data) in enumerate(zip(shards, _fetch_ends(storage, shards), strict=True)):
        try:
            if data is None:
                raise DamageError("the file is missing")
            index = _read_index(shard, data)
        except DamageError as error:
            found[i] = error
            continue
        numbers = spans.pieces(shard.inner)
        wanted += [
            (i, number, Part(shard.key, start, size))
            for number, start, size in _entries(index, numbers)
        ]
    for (i, number, _), data in zip(
        wanted, storage.fetch([part for _, _, part in wanted]), strict=True
    ):
        chunks = found[i]
        if isinstance(chunks, dict):
            if data is None:
                found[i] = DamageError("the file is missing")
            else:
                chunks[number] = data
    return found


def _fetch_ends(storage: Storage, shards: Sequence[Shard]) -> list[Bytes | None]:
    """The bytes where the indexes of these shards should be."""
    unknown = [shard.key for shard in shards if shard.size is None]
    sizes = dict(zip(unknown, storage.sizes(unknown) if unknown else [], strict=True))
    parts = []
    for shard in shards:
        size = shard.size or sizes[shard.key] or 0
        parts.append(Part(shard.key, max(0, size - shard.index_size), shard.index_size))
    return storage.fetch(parts)


def _read_index(shard: Shard, data: Bytes) -> npt.NDArray[np.uint64]:
    """Where a shard keeps its inner chunks: (chunks, 2), offset and length in bytes."""
    if len(data) < shard.index_size:
        raise DamageError("the file is cut short")
    return np.frombuffer(_checked(data), "<u8").reshape(shard.chunks, 2)


def _entries(
    index: npt.NDArray[np.uint64], numbers: Iterable[int] | None = None
) -> Iterator[tuple[int, int, int]]:
    """Number, offset and length of the inner chunks that are there."""
    for number in range(len(index)) if numbers is None else numbers:
        offset, length = (int(value) for value in index[number])
        if offset != EMPTY:
            yield number, offset, length


def _place(task: tuple[npt.NDArray[Any], int, Piece, Bytes]) -> DamageError | None:
    """Decode one inner chunk and put its cells where they belong in the result."""
    out, inner, piece, data = task
    try:
        if piece.size == inner:
            _unpack(data, out)
        else:
            values = np.frombuffer(_unpack(data), out.dtype)
            healpix.gather(values, piece.starts, piece.sizes, out)
    except DamageError as error:
        return error
    return None


# --- bytes -----------------------------------------------------------------------------


def read_values(data: Bytes | None, dtype: str, size: int) -> npt.NDArray[Any]:
    """The first ``size`` values of a file that holds one chunk; DamageError."""
    return np.frombuffer(_unpack(_there(data)), dtype)[:size]


def read_texts(data: Bytes | None, size: int) -> list[str]:
    """As `read_values`, for an array of strings."""
    texts = VLenUTF8().decode(_unpack(_there(data)))
    return [str(text) for text in texts[:size]]


def _there(data: Bytes | None) -> Bytes:
    if data is None:
        raise DamageError("the file is missing")
    return data


def _checked(data: Bytes) -> Bytes:
    """The bytes without the crc32c behind them, which must be theirs."""
    crc = int(google_crc32c.value(data[:-4]))
    if crc.to_bytes(4, "little") != data[-4:].tobytes():
        raise DamageError("the checksum does not match")
    return data[:-4]


def _unpack(data: Bytes, out: npt.NDArray[Any] | None = None) -> Any:
    """Undo crc32c and blosc; straight into ``out`` where it is given."""
    packed = _checked(data)
    size = int.from_bytes(packed[4:8].tobytes(), "little")  # as blosc's header says
    if out is not None and out.nbytes != size:
        raise DamageError(f"a chunk holds {size} bytes, not {out.nbytes}")
    return numcodecs.blosc.decompress(packed, out)


@cache
def pool() -> ThreadPoolExecutor:
    """Threads to pack and unpack inner chunks on all cores."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="shards")


if hasattr(os, "register_at_fork"):  # threads do not live on in a forked process
    os.register_at_fork(after_in_child=pool.cache_clear)
