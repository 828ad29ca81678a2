"""The archive against the plain layout, both in the same run with the same records.

Plain: Zarr v2, arrays (record, pix) padded to PIX_MAX, one chunk a record, the default
compressor, appended with ``to_zarr(append_dim="record")`` and read with ``open_zarr``.  The
record is the cells of `benchmarks.convert`'s raster: one tile of 1 x 0.5 degrees at 50 N,
6.4 million cells of speckle with their counts.  Nothing is fsynced on either side unless
it is said.  Both take turns, and the best of several counts.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr

import convert
import store
from archive.folder_writer import Disk
from benchmarks.convert import TILE, peak, speckle
from grid import BBox, Chunk, tiles_covering
from healpix.boxes import box_runs

BOX = BBox(7.5, 50.2, 7.55, 50.25)
FIRST = Chunk(TILE, dt.date(2026, 1, 1))
TURNS = 8
MANY = 1000  # records of the look-up, of a tile of 0.02 x 0.02 degrees
KEEP_BITS = 9

Row = tuple[str, str, str, str]
PLAIN = "plain layout"


class Unsynced(Disk):
    """Writes beside and renames, as zarr's own store does, without fsync."""

    def put(self, key: str, data: Any) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_bytes(data)
        partial.replace(path)


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    cells = convert.raster_to_cells(speckle(), TILE)
    with tempfile.TemporaryDirectory(prefix="benchmark-store-") as folder:
        yield from records(Path(folder), cells)
        yield from look_ups(Path(folder))


def records(folder: Path, cells: xr.Dataset) -> Iterator[Row]:
    """Size, writing and reading of whole records and of a small box."""
    plain, ours, synced = folder / "plain", folder / "ours", folder / "synced"
    padded, box_ids = pad(cells), box_runs(BOX, convert.NSIDE, convert.ELLIPSOID)
    some = slice(3_000_000, 3_000_000 + int(box_ids[1].sum()))  # as many cells, in one piece
    taken = taking_turns(
        {
            "plain write": lambda turn: append(plain, padded, turn),
            "write": lambda turn: store.Archive(ours, Unsynced).write(day(turn), cells),
            "synced": lambda turn: store.Archive(synced).write(day(turn), cells),
            "plain read": lambda turn: xr.open_zarr(plain).isel(record=turn).load(),
            "read": lambda turn: store.Archive(ours).read(day(turn)),
            "plain box": lambda turn: xr.open_zarr(plain).isel(record=turn, pix=some).load(),
            "box": lambda turn: store.Archive(ours).read(day(turn), BOX),
        }
    )
    # The plain layout has no overviews: the first rows compare what both have.
    size, (full, coarse) = size_of(plain) / TURNS, shard_sizes(ours)
    yield row("bytes of a record, lossless", 0.95, full, size, "MB")
    share = f"{coarse / full:.3g} ({coarse / 1e6:.3g} MB)"
    yield "bytes of its overviews", "the record", "about 0.065", share
    rounded, _ = shard_sizes(write_rounded(folder / "rounded", cells))
    yield row(f"bytes of a record, KEEP_BITS = {KEEP_BITS}", 0.45, rounded, size, "MB")
    for work, asked, name, other in (
        ("write a record", 1.3, "write", "plain write"),
        ("write a record, with fsync", None, "synced", "plain write"),
        ("read a whole record", 0.6, "read", "plain read"),
        ("read a 0.05 x 0.05 degree box, opening included", 0.2, "box", "plain box"),
    ):
        yield row(work, asked, taken[name], taken[other], "s")
    theirs = bytes_read(lambda: xr.open_zarr(plain).isel(record=0, pix=some).load())
    found = bytes_read(lambda: store.Archive(ours).read(day(0), BOX))
    yield row("the same, bytes read", 0.05, found, theirs, "MB")
    command = [sys.executable, "-m", "benchmarks.store", str(ours)]
    root = Path(__file__).parents[1]
    memory = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=root).stdout)
    measured = f"{memory['box'] / 1e6:.0f} MB (a whole record: {memory['whole'] / 1e6:.0f} MB)"
    yield "peak memory of that box read", "imports alone", "at most 150 MB more", measured


def look_ups(folder: Path) -> Iterator[Row]:
    """Finding one record among one and among many."""
    (tile,) = tiles_covering(BBox(7.001, 50.001, 7.019, 50.019), (0.02, 0.02))
    start, length = box_runs(tile.bbox, convert.NSIDE, convert.ELLIPSOID)
    size = int(length.sum())
    cells = xr.Dataset(
        {band: ("cells", np.ones(size, np.float32)) for band in ("VV", "VH")}
        | {"count": ("cells", np.ones(size, np.uint16))}
        | {"start_ipix": ("runs", start), "run_len": ("runs", length)},
        attrs={"nside": convert.NSIDE, "ellipsoid": convert.ELLIPSOID, "ordering": "nested"},
    )
    one, many, plain = folder / "one", folder / "many", folder / "plain many"
    chunks = [replace(day(i), tile=tile) for i in range(MANY)]
    store.Archive(one, Unsynced).write(chunks[0], cells)
    for chunk in chunks:
        store.Archive(many, Unsynced).write(chunk, cells)
    days = np.array([chunk.day for chunk in chunks], "M8[ns]")
    values = {"VV": (("record", "pix"), np.ones((MANY, 16), np.float32))}
    chunking = {"time": {"chunks": (1,)}, "VV": {"chunks": (1, 16)}}  # as appending makes them
    xr.Dataset(values, {"time": ("record", days)}).to_zarr(plain, zarr_format=2, encoding=chunking)
    last = chunks[-1]
    taken = taking_turns(
        {"plain": lambda _: np.flatnonzero(xr.open_zarr(plain).time.values == days[-1])}
    ) | taking_turns(
        {
            "many": lambda _: store.Archive(many).has(last),
            "one": lambda _: store.Archive(one).has(last),
        },
        turns=200,
    )
    yield row(f"find a record among {MANY:,}", 0.02, taken["many"], taken["plain"], "s")
    work = f"find a record among {MANY:,}"
    yield work, "among 1", "flat", ratio(taken["many"], taken["one"], "s")


def pad(cells: xr.Dataset) -> dict[str, Any]:
    """Name: (dimensions, one padded record)."""
    padded = {}
    for name, values in cells.data_vars.items():
        dim, size = ("run", store.RUNS_MAX) if "runs" in values.dims else ("pix", store.PIX_MAX)
        record = np.full((1, size), np.nan if values.dtype.kind == "f" else 0, values.dtype)
        record[0, : values.size] = values.values
        padded[str(name)] = (("record", dim), record)
    return padded


def append(path: Path, padded: dict[str, Any], turn: int) -> None:
    record = xr.Dataset(padded, {"time": ("record", np.array([day(turn).day], "M8[ns]"))})
    if turn:
        record.to_zarr(path, zarr_format=2, append_dim="record")
    else:
        chunking = {name: {"chunks": values.shape} for name, (_, values) in padded.items()}
        record.to_zarr(path, zarr_format=2, encoding=chunking)


def write_rounded(path: Path, cells: xr.Dataset) -> Path:
    before, store.KEEP_BITS = store.KEEP_BITS, KEEP_BITS
    store.Archive(path, Unsynced).write(day(0), cells)
    store.KEEP_BITS = before
    return path


def day(number: int) -> Chunk:
    return replace(FIRST, day=FIRST.day + dt.timedelta(days=number))


def taking_turns(works: dict[str, Callable[[int], Any]], turns: int = TURNS) -> dict[str, float]:
    """The shortest time of each in seconds, all of them once a turn."""
    taken: dict[str, float] = {}
    for turn in range(turns):
        for name, work in works.items():
            start = time.perf_counter()
            work(turn)
            seconds = time.perf_counter() - start
            taken[name] = min(seconds, taken.get(name, seconds))
    return taken


def bytes_read(work: Callable[[], Any]) -> float:
    """How many bytes the process read from files (Linux only; elsewhere nan)."""
    counters = getattr(psutil.Process(), "io_counters", None)
    if counters is None or not hasattr(counters(), "read_chars"):
        return float("nan")
    before = counters().read_chars
    work()
    return float(counters().read_chars - before)


def size_of(path: Path) -> float:
    return float(sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))


def shard_sizes(path: Path) -> tuple[float, float]:
    """Bytes of a record's shards and of those of its overviews."""
    full = sum(file.stat().st_size for file in path.glob(f"{TILE.name}/*/c/0/0"))
    coarse = sum(file.stat().st_size for file in path.glob(f"{TILE.name}/*/*/c/0/0"))
    return float(full), float(coarse)


def row(work: str, asked: float | None, ours: float, theirs: float, unit: str) -> Row:
    limit = "" if asked is None else f"at most {asked}"
    return work, PLAIN, limit, ratio(ours, theirs, unit)


def ratio(ours: float, theirs: float, unit: str) -> str:
    scale = 1e6 if unit == "MB" else 1.0
    return f"{ours / theirs:.3g} ({ours / scale:.3g} {unit} against {theirs / scale:.3g} {unit})"


def memory_of_reads(path: Path) -> dict[str, float]:
    """Bytes that the resident memory grows by: in a box read, then in that of a record."""
    imports = forget_peak()
    store.Archive(path).read(day(0), BOX)
    box = peak_since() - imports
    store.Archive(path).read(day(0))
    return {"box": box, "whole": peak_since() - imports}


def forget_peak() -> float:
    """The resident memory now; from here on the peak counts anew, where Linux lets us."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return float(psutil.Process().memory_info().rss)


def peak_since() -> float:
    """The peak of the resident memory since `forget_peak`."""
    status = Path("/proc/self/status")
    if not status.exists():
        return peak()
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return float(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(memory_of_reads(Path(sys.argv[1]))))
