"""The archive: what was seen of each tile on each day, kept so that nothing is ever half there.

A tile is a Zarr group, a record is one slot along its time axis, and each variable of a
record is one file (`shards` has the layout).  A write puts the files of slot n where
nobody looks yet, has them synced to disk, and then makes the record visible by one atomic
replace: that of the tile's ``zarr.json``, whose consolidated metadata says how many slots
there are.  So whoever reads at any moment, and whatever is killed at any moment,

    a tile has n or n + 1 whole records, never anything between.

Two rules keep readers right that opened the tile earlier: a slot's files are never
changed once they are visible, and the slot of a removed record is never used again (its
time becomes NaT).  Slots are in the order of writing, not of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
import zarr
from filelock import FileLock, Timeout
from numcodecs import BitRound  # type: ignore[import-untyped]
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore, StorePath

import healpix
import shards
from files import is_disk_full, replacing, sync_folder
from grid import BBox, Chunk, Provenance, Tile
from shards import NO_TIME, DamageError, Group, Layout, Runs, Spans

PIX_MAX = 10_485_760  # cells that a shard is padded to; a tile at the equator has 9,997,416
RUNS_MAX = 8192  # runs that a tile's index is padded to; a tile at the equator has 6,335
KEEP_BITS: int | None = None  # bits of the mantissa that a new archive keeps; None: all 23
LOCK_WAIT = 600  # seconds to wait for another process that is writing to the same tile

FORMAT = "sentinel1-healpix archive"
FORMAT_VERSION = 1  # to be raised when older programs could not read what is written
RECORD_COLUMNS = (
    "tile", "day", "orbit", "bands", "seen", "bytes",
    "backend", "collection", "job_id", "processed", "synthetic",
)  # fmt: skip
LOCK = ".lock"


class ArchiveError(ValueError):
    """The archive, or what was to be written into it, is not as it must be."""


class NoRecordError(ArchiveError, LookupError):
    """The archive holds no such record."""


@dataclass(frozen=True)
class Damage:
    """What `Archive.verify` found; ``chunk`` is None if it concerns the whole tile."""

    tile: Tile
    chunk: Chunk | None
    variable: str
    reason: str

    def __str__(self) -> str:
        return f"{self.chunk or self.tile.name}, {self.variable}: {self.reason}"


class Disk(LocalStore):
    """zarr's local store, but each put is on disk before the next one begins.

    The store of zarr 3.1.6 writes beside and renames, which is atomic, but never calls
    fsync: after a power cut the commit could be there without the data.  Everything that
    the archive changes on disk goes through `put` and `discard`.
    """

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._changing = threading.Lock()
        self._retired = False

    def put(self, key: str, data: Any) -> None:
        """Write or replace one file, atomically and durably."""
        path = self.root / key
        with self._change():
            make_folder(path.parent)
            with replacing(path) as temporary:
                temporary.write_bytes(data)

    def discard(self, key: str) -> None:
        """Remove a file, or a folder with all that is in it; nothing there is fine."""
        path = self.root / key
        with self._change():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)

    def retire(self) -> None:
        """Let no change begin any more, and wait for the one under way.

        zarr works in a thread of its own, which goes on when Ctrl-C ends the write: it
        must not put a file when the tile's lock has been handed on.
        """
        with self._changing:
            self._retired = True

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        with self._changing:
            if self._retired:
                raise RuntimeError("This write was given up.")
            yield

    async def set(self, key: str, value: Buffer) -> None:
        """`put`, as zarr calls it."""
        await asyncio.to_thread(self.put, key, value.as_buffer_like())

    async def delete(self, key: str) -> None:
        """`discard`, as zarr calls it."""
        await asyncio.to_thread(self.discard, key)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, durably."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


class Archive:
    """An archive in a folder.  Opening it creates nothing; the first `write` does.

    Raises ArchiveError if the path is neither an archive nor free for one, or if the
    archive is of a newer format.  ``storage`` is what changes the disk (for tests and
    measurements).
    """

    def __init__(self, path: str | Path, storage: type[Disk] = Disk) -> None:
        self.path = Path(path)
        self._storage = storage
        self._layout = _read_layout(self.path)

    @property
    def layout(self) -> Layout | None:
        """What the archive is made of; None while there is none."""
        if self._layout is None:
            self._layout = _read_layout(self.path)
        return self._layout

    def require(
        self, nside: int, ellipsoid: str, chunk_size: Iterable[float], bands: Iterable[str]
    ) -> None:
        """Raise ArchiveError, naming both values, unless such records fit the archive."""
        layout = self.layout
        if layout is None:
            return
        asked = {
            "NSIDE": (layout.nside, int(nside)),
            "ELLIPSOID": (layout.ellipsoid, ellipsoid),
            "CHUNK_SIZE": (layout.chunk_size, _exact_size(chunk_size)),
            "BANDS": (tuple(sorted(layout.bands)), tuple(sorted(bands))),
        }
        for name, (has, wants) in asked.items():
            if has != wants:
                raise ArchiveError(
                    f"The archive {self.path} was made with {name} = {has}, but now {name} is "
                    f"{wants}.  Nothing was written.  Set it back, or use another archive."
                )

    # --- what there is ---

    def tiles(self) -> list[Tile]:
        """The tiles that have records, sorted from west to east."""
        layout = self.layout
        if layout is None:
            return []
        found = []
        for folder in self.path.iterdir():
            with contextlib.suppress(ValueError):  # not a tile's name
                tile = Tile.from_name(folder.name, layout.chunk_size)
                if (folder / "zarr.json").is_file():
                    found.append(tile)
        return sorted(found)

    def chunks(self, tile: Tile | None = None) -> list[Chunk]:
        """The records of one tile, or of all, sorted by tile and day."""
        groups = map(self._load, self.tiles() if tile is None else [tile])
        return [chunk for group in groups if group for chunk in group.records()]

    def has(self, chunk: Chunk) -> bool:
        """Whether there is a record of this chunk."""
        group = self._load(chunk.tile)
        return group is not None and bool(group.slots(chunk))

    def records(self) -> pd.DataFrame:
        """One row per record: `RECORD_COLUMNS`, sorted by tile and day.  Reads no pixel.

        ``seen`` is the share of the tile's cells that hold a value, ``bytes`` the size of
        the record's shards on disk; what is not known of its origin is None.
        """
        rows: list[dict[str, Any]] = []
        for group in map(self._load, self.tiles()):
            if group is not None:
                found = group.records()
                about = group.about(found.values())
                rows += map(_row, repeat(group), found, found.values(), about)
        return pd.DataFrame(rows, columns=list(RECORD_COLUMNS))

    # --- reading ---

    def read(self, chunk: Chunk, bbox: BBox | None = None) -> xr.Dataset:
        """The cells of a record; with ``bbox``, those whose centre is in the half-open box.

        Returns ``<band>(cells)`` float32 and ``count(cells)`` uint16, with
        ``start_ipix(runs)`` uint64 and ``run_len(runs)`` uint32 spelling the cells' ids.
        Raises NoRecordError, or ArchiveError if the record is damaged.
        """
        group = self._load(chunk.tile)
        slots = group.slots(chunk) if group else []
        layout = self.layout
        if layout is None or group is None or not slots:
            raise NoRecordError(f"The archive {self.path} has no record of {chunk}.")
        try:
            runs, spans = _select(group, layout, bbox)
            about = group.about(slots[-1:])[0]
            values = {
                name: ("cells", group.read(name, slots[-1], spans, about))
                for name in (*layout.bands, "count")
            }
        except DamageError as error:
            again = self._load(chunk.tile)
            if again is None or again.slots(chunk)[-1:] != slots[-1:]:
                return self.read(chunk, bbox)  # removed or replaced while it was being read
            raise ArchiveError(
                f"{chunk}: the record in {self.path} is damaged ({error}).  The other records "
                "can be read.  Remove this one and order it again."
            ) from error
        values |= {"start_ipix": ("runs", runs[0]), "run_len": ("runs", runs[1])}
        attributes = {"nside": layout.nside, "ellipsoid": layout.ellipsoid, "ordering": "nested"}
        return xr.Dataset(values, attrs=attributes | {"source": str(about.get("source", ""))})

    def verify(self, progress: Callable[[int, int], None] | None = None) -> list[Damage]:
        """Read everything again and name what is damaged, sorted by tile and day.

        ``progress`` is called with the number of records done and of all.
        """
        found: list[Damage] = []
        groups: list[Group] = []
        for tile in self.tiles():
            try:
                groups += [group] if (group := self._load(tile)) else []
            except ArchiveError as error:
                found.append(Damage(tile, None, "zarr.json", str(error)))
        done, total = 0, sum(len(group.records()) for group in groups)
        for group in groups:
            found += _verify_tile(group)
            records = group.records()
            about = group.about(records.values())
            for (chunk, slot), known in zip(records.items(), about, strict=True):
                found += _verify_record(group, chunk, slot, known)
                done += 1
                if progress is not None:
                    progress(done, total)
        return sorted(found, key=lambda damage: damage.tile)

    # --- writing ---

    def write(
        self,
        chunk: Chunk,
        cells: xr.Dataset,
        provenance: Provenance | None = None,
        replace: bool = False,
    ) -> bool:
        """Add a record; False if there is one of this chunk already.

        ``cells``: a whole tile, as `convert.raster_to_cells` returns it.  With ``replace``
        a record that is there already, say a damaged one, is replaced.  Raises
        ArchiveError if the cells do not fit the archive, OSError if the disk is full or
        cannot be written; in either case nothing of the record is kept.
        """
        layout = _layout_of(chunk, cells)
        with self._explained(str(chunk)):
            self._require_layout(layout)
            if self.layout is None:
                self._create(layout)
                self._require_layout(layout)
            with self._writer(chunk.tile) as writer:
                return writer.write(chunk, cells, provenance, replace)

    def remove(self, chunk: Chunk) -> bool:
        """Remove a record; False if there is none.  A tile's last record takes the tile along."""
        if not self.has(chunk):
            return False
        with self._explained(str(chunk)), self._writer(chunk.tile) as writer:
            return writer.remove(chunk)

    def remove_tile(self, tile: Tile) -> bool:
        """Remove all records of a tile, readable or not; False if there are none."""
        if self.layout is None or not (self.path / tile.name / "zarr.json").exists():
            return False
        with self._explained(tile.name), self._writer(tile) as writer:
            writer.clear()
        return True

    # --- behind the scenes ---

    def _load(self, tile: Tile) -> Group | None:
        layout = self.layout
        if layout is None or _exact_size(tile.size) != layout.chunk_size:
            return None
        try:
            return Group.load(self.path / tile.name, tile)
        except DamageError as error:
            raise ArchiveError(
                f"Tile {tile.name} of {self.path} is damaged ({error}).  The other tiles can be "
                f"read.  Remove the folder {tile.name} and order its records again."
            ) from error

    def _require_layout(self, wanted: Layout) -> None:
        self.require(wanted.nside, wanted.ellipsoid, wanted.chunk_size, wanted.bands)

    def _create(self, layout: Layout) -> None:
        """Make the archive, unless another process just did."""
        make_folder(self.path)
        with FileLock(self.path / LOCK, timeout=LOCK_WAIT):
            if _read_layout(self.path) is None:
                self._storage(self.path).put("zarr.json", shards.encode_json(_root(layout)))
        with contextlib.suppress(OSError):  # Windows: the other process still has it open
            (self.path / LOCK).unlink()

    @contextlib.contextmanager
    def _writer(self, tile: Tile) -> Iterator[_Writer]:
        """The only writer of a tile, for as long as the context lasts."""
        folder, layout = self.path / tile.name, self.layout
        assert layout is not None
        make_folder(folder)
        lock = FileLock(folder / LOCK, timeout=LOCK_WAIT)
        try:
            lock.acquire()
        except Timeout:
            raise ArchiveError(
                f"Another process has been writing to tile {tile.name} of {self.path} for "
                f"{LOCK_WAIT} seconds.  Nothing was written.  Wait for it, or stop it."
            ) from None
        disk = self._storage(self.path)
        try:
            yield _Writer(disk, layout, tile, lambda: self._load(tile))
        finally:
            disk.retire()
            lock.release()

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Have an OSError say what was to be written, what was kept and what to do."""
        try:
            yield
        except OSError as error:
            reason = "is full" if is_disk_full(error) else f"cannot be written ({error})"
            raise OSError(
                error.errno,
                f"{what}: the disk of the archive {self.path} {reason}.  Nothing half done was "
                "kept, all records in it are whole.  Mend that, then run the same command to "
                "go on.",
            ) from error


class _Writer:
    """What is done to a tile while its lock is held."""

    def __init__(
        self, disk: Disk, layout: Layout, tile: Tile, load: Callable[[], Group | None]
    ) -> None:
        self._disk, self._layout, self._tile, self._load = disk, layout, tile, load
        self._folder = disk.root / tile.name

    def write(
        self, chunk: Chunk, cells: xr.Dataset, provenance: Provenance | None, replace: bool
    ) -> bool:
        group = self._load()
        old = group.slots(chunk) if group else []
        if old and not replace:
            return False
        runs = (cells["start_ipix"].values, cells["run_len"].values)
        if group is None:
            group = self._begin(runs, cells.sizes["cells"])
        else:
            self._sweep(group)
            self._check_index(group, runs)
        try:
            self._append(group, chunk, cells, provenance)
        except BaseException:
            with contextlib.suppress(OSError, ArchiveError):
                self._tidy()
            raise
        # The record is there.  The next writer makes up for what fails from here on.
        with contextlib.suppress(OSError):
            self._put_array_metadata(group)
            self._forget(group, old)
        return True

    def remove(self, chunk: Chunk) -> bool:
        group = self._load()
        slots = group.slots(chunk) if group else []
        if group is None or not slots:
            return False
        if list(group.records()) == [chunk]:
            self.clear()
        else:
            self._forget(group, slots)
        return True

    def clear(self) -> None:
        """Remove all but the lock; without its metadata, which goes first, it is no tile."""
        self._discard("zarr.json")
        for path in sorted(self._folder.iterdir()):
            if path.name != LOCK:
                self._discard(path.name)

    def _begin(self, runs: Runs, pix_len: int) -> Group:
        """A new tile: its index is on disk, its metadata is not."""
        self.clear()  # what a killed writer may have left
        metadata = shards.new_metadata(self._tile, self._layout, pix_len, len(runs[0]))
        rows = np.empty(0, np.int64), np.empty(0, np.int8)
        group = Group(self._tile, self._folder, metadata, *rows)
        self._put_index(group, runs)
        return group

    def _check_index(self, group: Group, runs: Runs) -> None:
        """Refuse other cells than the tile has; mend the index if it is damaged."""
        has = group.runs()
        if not (np.array_equal(has[0], runs[0]) and np.array_equal(has[1], runs[1])):
            raise ArchiveError(
                f"{self._tile.name}: the record has {int(runs[1].sum())} cells in {len(runs[0])} "
                f"runs, the archive has {group.pix_len} in {len(has[0])} for this tile, and they "
                "must be the same.  Nothing was written."
            )
        if not group.index_is_whole():
            self._put_index(group, runs)

    def _append(
        self, group: Group, chunk: Chunk, cells: xr.Dataset, provenance: Provenance | None
    ) -> None:
        """Fill the next slot and commit it."""
        slot, texts = len(group.times), self._texts(group)
        time, orbit = shards.key(chunk)
        group.times = np.append(group.times, time)
        group.orbits = np.append(group.orbits, np.int8(orbit))
        group.lengthen()
        for name in group.cell_arrays:
            values = cells[name].values
            if name != "count":
                values = _rounded(values, self._layout.keep_bits)
            self._array(group, name)[slot] = values
        about = {
            "day": chunk.day.isoformat(),
            "orbit": chunk.orbit,
            "seen": int(np.count_nonzero(cells["count"].values)),
            "bytes": {name: _size(group.shard(name, slot)) for name in group.cell_arrays},
            "source": str(cells.attrs.get("source", "")),
        }
        if provenance is not None:
            about |= asdict(provenance)
        self._put_row(group, "provenance", [*texts, json.dumps(about)], slot)
        self._put_row(group, "orbit", group.orbits, slot)
        self._put_row(group, "time", group.times, slot)
        self._disk.put(f"{self._tile.name}/zarr.json", shards.encode_json(group.metadata))

    def _forget(self, group: Group, slots: list[int]) -> None:
        """Remove these slots' records.  The replace of ``time`` is what commits it."""
        texts = self._texts(group) if slots else []
        for slot in slots:
            group.times[slot], texts[slot] = NO_TIME, ""
            self._put_row(group, "time", group.times, slot)
            self._put_row(group, "provenance", texts, slot)
            for name in group.cell_arrays:
                self._discard(f"{name}/c/{slot}")

    def _sweep(self, group: Group) -> None:
        """Remove what killed writers left behind."""
        for folder, _, files in os.walk(self._folder):
            for file in files:
                if ".partial" in file:
                    self._discard((Path(folder) / file).relative_to(self._folder).as_posix())
        live = {str(slot) for slot in group.records().values()}
        for name in group.cell_arrays:
            shards_there = self._folder / name / "c"
            for path in shards_there.iterdir() if shards_there.is_dir() else ():
                if path.name not in live:
                    self._discard(f"{name}/c/{path.name}")
        texts = self._texts(group)
        half_removed = [
            slot
            for slot, time in enumerate(group.times)
            if str(slot) not in live and (time != NO_TIME or texts[slot])
        ]
        self._forget(group, half_removed)

    def _tidy(self) -> None:
        """Remove what this writer left behind when its write failed."""
        group = self._load()
        if group is None:
            self.clear()
        else:
            self._sweep(group)

    def _put_index(self, group: Group, runs: Runs) -> None:
        self._array(group, "start_ipix")[:] = runs[0]
        self._array(group, "run_len")[:] = runs[1]
        self._array(group, "cell_ids")[:] = healpix.runs_to_ids(*runs)

    def _put_row(self, group: Group, name: str, values: Any, slot: int) -> None:
        """Rewrite the chunk that this slot is in; as a whole, so that nothing is read."""
        array = self._array(group, name)
        first = slot // array.chunks[0] * array.chunks[0]
        part = np.asarray(
            values[first : first + array.chunks[0]], object if name == "provenance" else None
        )
        array[first : first + len(part)] = part

    def _put_array_metadata(self, group: Group) -> None:
        """Have each array's own metadata follow, for readers that go by it alone."""
        for name, metadata in group.arrays.items():
            path, data = self._folder / name / "zarr.json", shards.encode_json(metadata)
            if not path.exists() or path.read_bytes() != data:
                self._disk.put(f"{self._tile.name}/{name}/zarr.json", data)

    def _array(self, group: Group, name: str) -> zarr.Array[Any]:
        """The array by the group's metadata, whatever its own metadata says on disk."""
        place = StorePath(self._disk, f"{self._tile.name}/{name}")
        return zarr.Array.from_dict(place, group.arrays[name])

    def _texts(self, group: Group) -> list[str]:
        try:
            return group.texts()
        except DamageError:
            return [""] * len(group.times)

    def _discard(self, key: str) -> None:
        self._disk.discard(f"{self._tile.name}/{key}")


# --- small helpers ---------------------------------------------------------------------


def _read_layout(path: Path) -> Layout | None:
    """The layout of the archive in this folder; None if the folder is free for one."""
    file = path / "zarr.json"
    if path.exists() and not path.is_dir():
        raise ArchiveError(f"{path} is a file, not an archive.  Choose another path.")
    if not file.exists():
        left = [p.name for p in path.iterdir() if not _is_ours(p)] if path.is_dir() else []
        if left:
            raise ArchiveError(
                f"{path} is no archive, and it is not empty: it holds {sorted(left)[0]}.  "
                "Nothing was written.  Choose another path."
            )
        return None
    try:
        attributes = json.loads(file.read_bytes())["attributes"]
        if attributes["format"] != FORMAT:
            raise ValueError(f"its format is {attributes['format']}")
        version = int(attributes["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{path} is no archive of this program, or its zarr.json is damaged ({error!r}).  "
            "Nothing was written.  Choose another path."
        ) from error
    if version > FORMAT_VERSION:
        raise ArchiveError(
            f"The archive {path} has format version {version}; this program knows versions up "
            f"to {FORMAT_VERSION}.  Nothing was written.  Install a newer version of the program."
        )
    return Layout(
        nside=attributes["nside"],
        ellipsoid=attributes["ellipsoid"],
        chunk_size=(attributes["chunk_size"][0], attributes["chunk_size"][1]),
        bands=tuple(attributes["bands"]),
        pix_max=attributes["PIX_MAX"],
        runs_max=attributes["RUNS_MAX"],
        keep_bits=attributes["keep_bits"],
    )


def _root(layout: Layout) -> dict[str, Any]:
    """The archive's ``zarr.json``.  Not consolidated: it never changes."""
    attributes = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "nside": layout.nside,
        "level": layout.level,
        "ordering": "nested",
        "ellipsoid": layout.ellipsoid,
        "chunk_size": layout.chunk_size,
        "bands": layout.bands,
        "PIX_MAX": layout.pix_max,
        "RUNS_MAX": layout.runs_max,
        "keep_bits": layout.keep_bits,
    }
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def _is_ours(path: Path) -> bool:
    """Whether a killed writer that was about to make an archive may have left this."""
    return path.name in (LOCK, ".DS_Store") or ".partial" in path.name


def _layout_of(chunk: Chunk, cells: xr.Dataset) -> Layout:
    """What an archive of such cells is made of.  Raises ArchiveError if they are not right."""
    bands = tuple(str(n) for n in cells.data_vars if n not in ("count", "start_ipix", "run_len"))
    wanted = dict.fromkeys(bands, ("cells", "float32")) | {
        "count": ("cells", "uint16"),
        "start_ipix": ("runs", "uint64"),
        "run_len": ("runs", "uint32"),
    }
    for name, (dim, dtype) in wanted.items():
        if name not in cells or cells[name].dims != (dim,) or cells[name].dtype != dtype:
            has = f"{cells[name].dims} {cells[name].dtype}" if name in cells else "missing"
            raise ArchiveError(f"{chunk}: {name} must be ({dim}) {dtype}; it is {has}.")
    nside, ellipsoid = int(cells.attrs.get("nside", 0)), cells.attrs.get("ellipsoid")
    start, length = (cells[name].values.astype(np.int64) for name in ("start_ipix", "run_len"))
    problems = {
        "they have no band": not bands,
        f"nside is {nside}, which is no power of 2": nside < 1 or nside & (nside - 1),
        f"ellipsoid is {ellipsoid!r}": ellipsoid not in healpix.ELLIPSOIDS,
        "ordering is not nested": cells.attrs.get("ordering") != "nested",
        "there is none": not len(length),
        "a run is empty": (length < 1).any(),
        "the runs overlap or are not in order": (start[1:] < (start + length)[:-1]).any(),
        "ids are beyond the sphere": len(start)
        and not 0 <= start[0] <= start[-1] + length[-1] <= 12 * nside**2,
        f"the runs spell {length.sum()} cells, not {cells.sizes['cells']}": length.sum()
        != cells.sizes["cells"],
    }
    for problem, is_so in problems.items():
        if is_so:
            raise ArchiveError(f"{chunk}: the cells do not fit an archive: {problem}.")
    size = _exact_size(chunk.tile.size)
    return Layout(nside, str(ellipsoid), size, bands, PIX_MAX, RUNS_MAX, KEEP_BITS)


def _exact_size(chunk_size: Iterable[float]) -> tuple[float, float]:
    """Degrees E-W, S-N without the rounding of ``east - west``: whole tiles fill 180."""
    dx, dy = (180.0 / round(180.0 / float(size)) for size in chunk_size)
    return dx, dy


def _select(group: Group, layout: Layout, bbox: BBox | None) -> tuple[Runs, Spans]:
    """The runs of the tile that are in the box, and where in a record they are."""
    start, length = group.runs()
    if bbox is None:
        return (start, length), [(0, group.pix_len)]
    box_start, box_length = _box_runs(group.tile, layout, bbox)
    first = np.cumsum(length, dtype=np.int64) - length
    begin, end = start.astype(np.int64), (start + length).astype(np.int64)
    box_begin, box_end = box_start, box_start + box_length
    # Each run of the box meets the tile's runs low to high - 1.
    low = np.searchsorted(end, box_begin, "right")
    high = np.searchsorted(begin, box_end, "left")
    pairs = np.maximum(high - low, 0)
    box = np.repeat(np.arange(len(pairs)), pairs)
    tile = np.arange(len(box)) - np.repeat(np.cumsum(pairs) - pairs, pairs) + low[box]
    found = np.maximum(box_begin[box], begin[tile])
    size = np.minimum(box_end[box], end[tile]) - found
    place = first[tile] + found - begin[tile]
    spans = list(zip(place.tolist(), size.tolist(), strict=True))
    return (found.astype(np.uint64), size.astype(np.uint32)), spans


def _box_runs(tile: Tile, layout: Layout, bbox: BBox) -> tuple[Any, Any]:
    """Sorted runs (int64) of the part of the box that is in the tile."""
    parts = []
    for box in bbox.split():
        west, east = max(box.west, tile.west), min(box.east, tile.east)
        south, north = max(box.south, tile.south), min(box.north, tile.north)
        if west < east and south < north:
            part = BBox(west, south, east, north)
            parts.append(healpix.box_runs(part, layout.nside, layout.ellipsoid))
    start = np.concatenate([np.empty(0, np.int64), *(p[0].astype(np.int64) for p in parts)])
    length = np.concatenate([np.empty(0, np.int64), *(p[1].astype(np.int64) for p in parts)])
    order = np.argsort(start)
    return start[order], length[order]


def _rounded(values: npt.NDArray[np.float32], keep_bits: int | None) -> npt.NDArray[np.float32]:
    """The values with this many bits of mantissa, rounded to even; relative error 2**-(n + 1)."""
    if keep_bits is None:
        return values
    values = np.where(np.isnan(values), np.float32("nan"), values)  # rounding could make others -0
    rounded: npt.NDArray[np.float32] = BitRound(keep_bits).encode(values).view(np.float32)
    return rounded


def _row(group: Group, chunk: Chunk, slot: int, about: dict[str, Any]) -> dict[str, Any]:
    """What `Archive.records` says of a record."""
    sizes = about.get("bytes") or {n: _size(group.shard(n, slot)) for n in group.cell_arrays}
    source = about.get("source")
    made_up = None if source is None else source.lower().startswith("synthetic")
    return {
        "tile": chunk.tile.name,
        "day": chunk.day,
        "orbit": chunk.orbit,
        "bands": ",".join(name for name in sizes if name != "count" and sizes[name]),
        "seen": about["seen"] / group.pix_len if "seen" in about else None,
        "bytes": sum(sizes.values()),
        "synthetic": about.get("synthetic", made_up),
    } | {name: about.get(name) for name in ("backend", "collection", "job_id", "processed")}


def _verify_tile(group: Group) -> list[Damage]:
    return [
        Damage(
            group.tile,
            None,
            error.variable,
            f"{error.reason}; a second copy is used, and the next write to the tile mends it",
        )
        for error in group.check()
    ]


def _verify_record(
    group: Group, chunk: Chunk, slot: int, about: dict[str, Any]
) -> Iterator[Damage]:
    for name in group.cell_arrays:
        try:
            values = group.read(name, slot, [(0, group.pix_len)], about)
        except DamageError as error:
            yield Damage(group.tile, chunk, name, error.reason)
        else:
            seen = int(np.count_nonzero(values)) if name == "count" else None
            if seen is not None and about.get("seen", seen) != seen:
                reason = f"{seen} cells are seen, but {about['seen']} were"
                yield Damage(group.tile, chunk, name, reason)


def _size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0
