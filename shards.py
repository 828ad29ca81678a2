"""Reading a tile back from disk.

zarr-python writes (`commit`); reading needs so little of Zarr that it is done here: look
into the shard's index, fetch the inner chunks that are wanted, check their crc32c, let
blosc decode them straight into the result, on all cores.  The numbers that say where to
look come from the metadata, so an archive made with other constants reads as well.

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

import google_crc32c
import numcodecs.blosc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from numcodecs.vlen import VLenUTF8  # type: ignore[import-untyped]

import healpix
from grid import ORBITS, Chunk, Tile
from schema import EMPTY

NO_TIME = int(np.iinfo(np.int64).min)  # the time of a removed record; decodes as NaT
LOST = json.dumps({"source": "unknown: its provenance was lost with a damaged file"})
NOTHING = -1  # what ``time`` and ``orbit`` hold where nothing was written
EPOCH = dt.date(1970, 1, 1)

Bytes = npt.NDArray[np.uint8]
Runs = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]  # start_ipix, run_len
Spans = list[tuple[int, int]]  # (first cell, number of cells), counted within the tile


class DamageError(ValueError):
    """Bytes on disk are missing, or are not those that were written."""

    def __init__(self, reason: str, variable: str = "") -> None:
        super().__init__(f"{variable}: {reason}" if variable else reason)
        self.reason, self.variable = reason, variable


# --- a tile as it was committed --------------------------------------------------------


@dataclass
class Group:
    """A tile's group: its metadata, and the key of the record in each of its slots."""

    tile: Tile
    folder: Path
    metadata: dict[str, Any]  # the zarr.json with consolidated metadata
    times: npt.NDArray[np.int64]  # seconds since 1970; NO_TIME: removed
    orbits: npt.NDArray[np.int8]  # index into ORBITS

    @classmethod
    def load(cls, folder: Path, tile: Tile) -> Group | None:
        """The group as committed last; None if there is none.  Raises DamageError.

        Takes the same time for one record and for a thousand.
        """
        try:
            metadata = json.loads((folder / "zarr.json").read_bytes())
            found = metadata["consolidated_metadata"]["metadata"]
            size = int(found["time"]["shape"][0])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise DamageError(f"it is not readable ({error})", "zarr.json") from error
        group = cls(tile, folder, metadata, np.empty(0, np.int64), np.empty(0, np.int8))
        try:
            group.times = group._rows("time", "<i8", size)
            group.orbits = group._rows("orbit", "i1", size)
            if (group.times == NOTHING).any():
                raise DamageError(f"it ends before slot {size}", "time")
        except DamageError as error:
            group._recover_rows(size, error)
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
        """The arrays of which each record has a shard: count and the bands."""
        return [n for n, a in self.arrays.items() if a.get("dimension_names") == ["time", "cells"]]

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
            if array.get("dimension_names", [""])[:1] == ["time"]:
                array["shape"][0] = len(self.times)

    def about(self, slots: Iterable[int]) -> list[dict[str, Any]]:
        """What is known of these slots' records."""
        texts = self.texts()
        return [json.loads(texts[slot] or "{}") for slot in slots]

    def texts(self) -> list[str]:
        """The provenance of each slot as JSON; "" where it is removed, LOST where damaged."""
        texts: list[str] = []
        for path, size in self._row_files("provenance", len(self.times)):
            try:
                texts += read_texts(path, size)
            except DamageError:
                times = self.times[len(texts) : len(texts) + size]
                texts += ["" if time == NO_TIME else LOST for time in times]
        return texts

    def shard(self, name: str, slot: int) -> Path:
        """The file of one variable of one record."""
        return self.folder / name / "c" / str(slot) / "0"

    def read(self, name: str, slot: int, spans: Spans, about: Mapping[str, Any]) -> Any:
        """These cells of one variable of one record.  Raises DamageError."""
        path = self.shard(name, slot)
        if about.get("bytes", {}).get(name) == 0 and not path.exists():  # all fill value
            return np.full(sum(n for _, n in spans), fill_value(self.arrays[name]))
        with _naming(name):
            return read_cells(path, self.arrays[name], spans)

    def cell_ids(self) -> npt.NDArray[np.uint64]:
        """The cells as ids, ascending.  Raises DamageError."""
        with _naming("cell_ids"):
            path, whole = self.folder / "cell_ids" / "c" / "0", [(0, self.pix_len)]
            ids: npt.NDArray[np.uint64] = read_cells(path, self.arrays["cell_ids"], whole)
            return ids

    def stored_runs(self) -> Runs:
        """The cells as runs.  Raises DamageError."""
        found = []
        for name, dtype in (("start_ipix", "<u8"), ("run_len", "<u4")):
            with _naming(name):
                path = self.folder / name / "c" / "0"
                found.append(read_values(path, dtype, self.arrays[name]["shape"][0]))
        return found[0], found[1]

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
            self.cell_ids,
        ]
        for check in checks:
            try:
                check()
            except DamageError as error:
                yield error

    def index_is_whole(self) -> bool:
        """Whether both copies of the tile's cells have the checksums they were given."""
        try:
            self.stored_runs()
            check_shard(self.folder / "cell_ids" / "c" / "0", self.arrays["cell_ids"])
        except DamageError:
            return False
        return True

    def _rows(self, name: str, dtype: str, size: int) -> npt.NDArray[Any]:
        with _naming(name):
            parts = [read_values(path, dtype, n) for path, n in self._row_files(name, size)]
            return np.concatenate([np.empty(0, dtype), *parts])

    def _all_texts(self, size: int) -> list[str]:
        with _naming("provenance"):
            files = self._row_files("provenance", size)
            return [text for path, n in files for text in read_texts(path, n)]

    def _row_files(self, name: str, size: int) -> list[tuple[Path, int]]:
        """The files of an array with a value per record, and how many values to take."""
        rows = int(self.arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][0])
        folder = self.folder / name / "c"
        return [(folder / str(i // rows), min(rows, size - i)) for i in range(0, size, rows)]

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


# --- bytes -----------------------------------------------------------------------------


def read_values(path: Path, dtype: str, size: int) -> npt.NDArray[Any]:
    """The first ``size`` values of a file that holds one chunk; DamageError."""
    with _open(path) as file:
        return np.frombuffer(_unpack(np.frombuffer(file.read(), np.uint8)), dtype)[:size]


def read_texts(path: Path, size: int) -> list[str]:
    """As `read_values`, for an array of strings."""
    with _open(path) as file:
        texts = VLenUTF8().decode(_unpack(np.frombuffer(file.read(), np.uint8)))
    return [str(text) for text in texts[:size]]


def read_cells(path: Path, array: Mapping[str, Any], spans: Spans) -> npt.NDArray[Any]:
    """The cells of these spans, one span after the other, from one shard.

    ``array`` is the metadata of the shard's array.  Fetches the inner chunks that the
    spans touch and nothing else.  Raises DamageError.
    """
    inner = int(array["codecs"][0]["configuration"]["chunk_shape"][-1])
    out = np.empty(sum(size for _, size in spans), array["data_type"])
    pieces = _cut(spans, inner)
    found = _fetch(path, array, pieces)
    for number in pieces.keys() - found.keys():
        for _, to, size in pieces[number]:
            out[to : to + size] = fill_value(array)
    tasks = [(out, inner, pieces[number], data) for number, data in found.items()]
    for _ in map(_place, tasks) if len(tasks) < 2 else _pool().map(_place, tasks):
        pass
    return out


def check_shard(path: Path, array: Mapping[str, Any]) -> None:
    """Raise DamageError unless every byte of a shard has the checksum it was given."""
    for data in _fetch(path, array).values():
        _checked(data)


def fill_value(array: Mapping[str, Any]) -> Any:
    """What a cell holds that was not written."""
    return np.dtype(array["data_type"]).type(array["fill_value"])


def _cut(spans: Spans, inner: int) -> dict[int, list[tuple[int, int, int]]]:
    """By inner chunk: (from there, to here in the result, number of cells)."""
    pieces: dict[int, list[tuple[int, int, int]]] = {}
    done = 0
    for first, size in spans:
        while size > 0:
            number, start = divmod(first, inner)
            part = min(size, inner - start)
            pieces.setdefault(number, []).append((start, done, part))
            first, size, done = first + part, size - part, done + part
    return pieces


def _fetch(
    path: Path, array: Mapping[str, Any], numbers: Iterable[int] | None = None
) -> dict[int, Bytes]:
    """The bytes of these inner chunks, or of all; a chunk of fill value is left out."""
    inner = int(array["codecs"][0]["configuration"]["chunk_shape"][-1])
    chunks = int(array["chunk_grid"]["configuration"]["chunk_shape"][-1]) // inner
    found = {}
    with _open(path) as file:
        index = _read_index(file, chunks)
        for number in range(chunks) if numbers is None else numbers:
            offset, length = (int(value) for value in index[number])
            if offset != EMPTY:
                file.seek(offset)
                found[number] = np.frombuffer(file.read(length), np.uint8)
    return found


def _read_index(file: BinaryIO, chunks: int) -> npt.NDArray[np.uint64]:
    """Where a shard keeps its inner chunks: (chunks, 2), offset and length in bytes."""
    size = 16 * chunks + 4  # crc32c
    if file.seek(0, os.SEEK_END) < size:
        raise DamageError("the file is cut short")
    file.seek(-size, os.SEEK_END)
    data = np.frombuffer(file.read(size), np.uint8)
    return np.frombuffer(_checked(data), "<u8").reshape(chunks, 2)


def _place(task: tuple[npt.NDArray[Any], int, list[tuple[int, int, int]], Bytes]) -> None:
    """Decode one inner chunk and put its pieces where they belong in the result."""
    out, inner, pieces, data = task
    start, to, size = pieces[0]
    if size == inner:
        _unpack(data, out[to : to + size])
        return
    values = np.frombuffer(_unpack(data), out.dtype)
    for start, to, size in pieces:
        out[to : to + size] = values[start : start + size]


def _open(path: Path) -> BinaryIO:
    # A URL's path reads ahead, unless it is told to fetch just what is asked for.
    options: dict[str, Any] = {} if isinstance(path, Path) else {"cache_type": "none"}
    try:
        return cast(BinaryIO, path.open("rb", **options))
    except FileNotFoundError:
        raise DamageError("the file is missing") from None


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
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="shards")


if hasattr(os, "register_at_fork"):  # threads do not live on in a forked process
    os.register_at_fork(after_in_child=_pool.cache_clear)
