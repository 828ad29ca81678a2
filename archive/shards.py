"""The cells of one variable of one record as one file, a shard, and back.

Reading needs so little of Zarr that it is done here: look into the shards' indexes, fetch
the inner chunks that are wanted, check their crc32c, let blosc decode them straight into the
result, on all cores.  The numbers that say where to look come from the metadata, so an archive
made with other constants reads as well.  What is needed next of several files is asked for at
once: far storage takes its time for each answer.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from archive.layout import EMPTY
from archive.packing import DamageError, pack, sealed, unpack, unsealed
from archive.spans import Piece, Spans
from archive.storage import Bytes, Part, Storage
from healpix.copies import gather
from shared.memory import LastUsed

Array = Mapping[str, Any]  # the metadata of an array
Index: TypeAlias = npt.NDArray[np.uint64]  # where inner chunks are: (chunks, 2), offset and length
Unpacked: TypeAlias = LastUsed[Hashable, npt.NDArray[Any]]  # inner chunks

INDEXES = 4_000_000  # bytes of them that are kept: of who reads a record in pieces each time


class Shard(NamedTuple):
    """A file with the cells of one variable of one record."""

    storage: Storage
    key: str
    array: Array
    size: int | None = None  # bytes, if it is known; 0: no file, only fill values
    owner: Hashable = None  # for whom this key is this record, and will be: a view's token

    @property
    def inner(self) -> int:
        """Cells in an inner chunk."""
        return inner_of(self.array)

    @property
    def chunks(self) -> int:
        """Inner chunks."""
        return _inner_chunks(self.array)

    @property
    def index_size(self) -> int:
        """Bytes of the index at the end: offset and length of each inner chunk, and a crc32c."""
        return 16 * self.chunks + 4


_thread = threading.local()


@contextlib.contextmanager
def one_of_many() -> Iterator[None]:
    """Read with this thread alone: its caller has as many of them as there are cores."""
    before, _thread.is_one_of_many = is_one_of_many(), True
    try:
        yield
    finally:
        _thread.is_one_of_many = before


def is_one_of_many() -> bool:
    """Whether this thread is to do alone what it does."""
    return getattr(_thread, "is_one_of_many", False)


@contextlib.contextmanager
def keeping(unpacked: Unpacked | None) -> Iterator[None]:
    """What this thread reads is looked for there first, and kept there."""
    _thread.unpacked = unpacked
    try:
        yield
    finally:
        _thread.unpacked = None


def read_shards(shards: Sequence[Shard], spans: Spans) -> list[Any]:
    """The cells of these spans, one span after the other, from each of some shards.

    Fetches the inner chunks that the spans touch and nothing else, in all shards at once.
    What is damaged is a DamageError instead.
    """
    outs = _rooms([shard.array["data_type"] for shard in shards], spans.size)
    unpacked: Unpacked | None = getattr(_thread, "unpacked", None)
    held = [_held(shard, spans, unpacked) for shard in shards]
    tasks: list[tuple[int, Any]] = []
    for i, (shard, found) in enumerate(zip(shards, _fetch(shards, spans, held), strict=True)):
        if isinstance(found, DamageError):
            outs[i] = found
            continue
        pieces = spans.pieces(shard.inner)
        for number, piece in pieces.items():
            target = outs[i][piece.to : piece.to + piece.size]
            if number in held[i]:
                gather(held[i][number], piece.starts, piece.sizes, target)
            elif number in found:
                tasks.append((i, (target, shard, number, piece, found[number], unpacked)))
            else:
                target[:] = fill_value(shard.array)
    work = [task for _, task in tasks]
    alone = len(work) < 4 or is_one_of_many()
    results = map(_place, work) if alone else pool().map(_place, work)
    for (i, _), damage in zip(tasks, results, strict=True):
        if damage is not None:
            outs[i] = damage
    return outs


def _held(shard: Shard, spans: Spans, unpacked: Unpacked | None) -> dict[int, npt.NDArray[Any]]:
    """Those of the inner chunks that the spans touch which are unpacked already."""
    if unpacked is None or shard.size == 0:
        return {}
    found = {n: unpacked.get((shard.owner, shard.key, n)) for n in spans.pieces(shard.inner)}
    return {number: values for number, values in found.items() if values is not None}


def _rooms(types: Sequence[str], size: int) -> list[Any]:
    """Arrays to be read into; those of a type are the rows of one."""
    blocks = {each: iter(np.empty((types.count(each), size), each)) for each in set(types)}
    return [next(blocks[each]) for each in types]


def encode_shard(values: npt.NDArray[Any], array: Array) -> bytes:
    """The cells of a record as zarr-python would write them, in less than half the time.

    ``array`` is the metadata of the shard's array.  Inner chunks of nothing but the fill value
    are left out, and nothing is left where that are all.
    """
    how = array["codecs"][0]["configuration"]["codecs"][1]["configuration"]
    inner, fill = inner_of(array), fill_value(array)

    def encode(first: int) -> bytes:
        part = values[first : first + inner]
        if (np.isnan(part) if fill != fill else part == fill).all():
            return b""
        if len(part) < inner:
            part = np.concatenate([part, np.full(inner - len(part), fill)])
        return pack(part, how)

    starts = range(0, len(values), inner)
    parts = list((pool().map if len(starts) > 1 else map)(encode, starts))
    index = np.full((_inner_chunks(array), 2), EMPTY, "<u8")
    sizes = np.array([len(part) for part in parts])
    there = np.flatnonzero(sizes)
    index[there, 0] = (np.cumsum(sizes) - sizes)[there]
    index[there, 1] = sizes[there]
    if not len(there):
        return b""
    return b"".join([*parts, sealed(index.tobytes())])


def check_shard(shard: Shard) -> None:
    """Raise DamageError unless every byte of a shard has the checksum it was given."""
    size = int(shard.array["shape"][-1])
    [found] = _fetch([shard], Spans.whole(size))
    if isinstance(found, DamageError):
        raise found
    for data in found.values():
        unsealed(data)


def inner_of(array: Array) -> int:
    """Cells in an inner chunk."""
    return int(array["codecs"][0]["configuration"]["chunk_shape"][-1])


def _inner_chunks(array: Array) -> int:
    """Inner chunks in a shard."""
    return int(array["chunk_grid"]["configuration"]["chunk_shape"][-1]) // inner_of(array)


def fill_value(array: Array) -> Any:
    """What a cell holds that was not written."""
    return np.dtype(array["data_type"]).type(array["fill_value"])


def _fetch(
    shards: Sequence[Shard], spans: Spans, held: Sequence[Container[int]] = ()
) -> list[dict[int, Bytes] | DamageError]:
    """The bytes of the inner chunks that the spans touch; a chunk of fill value is left out.

    ``held``: of each shard those that are not wanted.
    """
    found: list[dict[int, Bytes] | DamageError] = [{} for _ in shards]
    wanted = [
        [n for n in spans.pieces(shard.inner) if not (held and n in held[i])]
        for i, shard in enumerate(shards)
    ]
    there = [i for i, shard in enumerate(shards) if shard.size != 0 and wanted[i]]
    if not there:
        return found
    storage = shards[there[0]].storage
    some = [shards[i] for i in there]
    whole = spans.size == int(some[0].array["shape"][-1]) and not any(held)
    numbers = [wanted[i] for i in there]
    parts = _fetch_whole(storage, some) if whole else _fetch_some(storage, some, numbers)
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
    storage: Storage, shards: Sequence[Shard], numbers: Sequence[Sequence[int]]
) -> list[dict[int, Bytes] | DamageError]:
    """The wanted inner chunks: first all indexes, then what they point to."""
    found: list[dict[int, Bytes] | DamageError] = [{} for _ in shards]
    wanted: list[tuple[int, int, Part]] = []
    for i, (shard, index) in enumerate(zip(shards, _fetch_indexes(storage, shards), strict=True)):
        if isinstance(index, DamageError):
            found[i] = index
            continue
        wanted += [
            (i, number, Part(shard.key, start, size))
            for number, start, size in _entries(index, numbers[i])
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


def _fetch_indexes(storage: Storage, shards: Sequence[Shard]) -> list[Index | DamageError]:
    """The index of each shard; what has an owner may be known already."""
    keys = [(shard.owner, shard.key) for shard in shards]
    known = [
        None if shard.owner is None else _indexes.get(key)
        for shard, key in zip(shards, keys, strict=True)
    ]
    missing = [shard for shard, index in zip(shards, known, strict=True) if index is None]
    ends = iter(_fetch_ends(storage, missing) if missing else [])
    found: list[Index | DamageError] = []
    for shard, key, index in zip(shards, keys, known, strict=True):
        if index is None:
            try:
                if (data := next(ends)) is None:
                    raise DamageError("the file is missing")
                index = _read_index(shard, data)
            except DamageError as error:
                found.append(error)
                continue
            if shard.owner is not None:
                _indexes.put(key, index)
        found.append(index)
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


def _read_index(shard: Shard, data: Bytes) -> Index:
    """The index in the last bytes of a shard."""
    if len(data) < shard.index_size:
        raise DamageError("the file is cut short")
    return np.frombuffer(unsealed(data), "<u8").reshape(shard.chunks, 2)


def _entries(index: Index, numbers: Sequence[int] | None = None) -> Iterator[tuple[int, int, int]]:
    """Number, offset and length of the inner chunks that are there."""
    some = range(len(index)) if numbers is None else numbers
    rows = (index if numbers is None else index[list(numbers)]).tolist()
    for number, (offset, length) in zip(some, rows, strict=True):
        if offset != EMPTY:
            yield number, offset, length


def _place(
    task: tuple[npt.NDArray[Any], Shard, int, Piece, Bytes, Unpacked | None],
) -> DamageError | None:
    """Decode one inner chunk and put its cells where they belong in the result."""
    out, shard, number, piece, data, unpacked = task
    try:
        if unpacked is not None:
            values = unpack(data, np.empty(shard.inner, out.dtype))
            unpacked.put((shard.owner, shard.key, number), values)
            gather(values, piece.starts, piece.sizes, out)
        elif piece.size == shard.inner:
            unpack(data, out)
        else:
            values = _scratch(shard.inner * out.dtype.itemsize).view(out.dtype)
            gather(unpack(data, values), piece.starts, piece.sizes, out)
    except DamageError as error:
        return error
    return None


def _scratch(size: int) -> npt.NDArray[np.uint8]:
    """Bytes of this thread to unpack into: new ones would cost as much as the unpacking."""
    held: npt.NDArray[np.uint8] | None = getattr(_thread, "scratch", None)
    if held is None or held.size < size:
        held = _thread.scratch = np.empty(size, np.uint8)
    return held[:size]


_indexes: LastUsed[Hashable, Index] = LastUsed(INDEXES)


@cache
def pool() -> ThreadPoolExecutor:
    """Threads to pack and unpack inner chunks on all cores."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="shards")


if hasattr(os, "register_at_fork"):  # threads do not live on in a forked process
    os.register_at_fork(after_in_child=pool.cache_clear)
