"""The archive under kills, a full disk, bit rot, and several processes at once.

Whoever reads, with plain xarray or with the archive, sees n or n + 1 whole records.  A
kill is a real SIGKILL of a forked child, before and inside every single change that the
child makes on disk, and after the last one (after one is before the next); `make test`
takes every third of these moments.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive import folder_writer, layout, tile_writer
from archive.changes import writer_of
from archive.folder_writer import Disk
from archive.layout import LOCK
from archive.passes import UNKNOWN
from grid import Chunk
from shared.files import is_disk_full, reason
from store import Archive, ArchiveError, NoRecordError
from tests.archive.test_contents import CHUNK, ORIGIN, TILE, cells_of, days, tree
from tests.folders import copied
from tests.processes import context
from tests.rounds import TORTURE, dice, moments, rounds, torture, turns
from tests.sphere import tile_at

pytestmark = pytest.mark.usefixtures("one_overview")
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
ROWS = {f"{TILE.name}/{name}/c/0" for name in ("time", "orbit", "provenance", *UNKNOWN)}
NEXT = f"{TILE.name}/{tile_writer.NEXT_SLOT}"
OLD, NEW = 2, 3  # records before, and which day comes next
WHOLE: set[tuple[str, tuple[Chunk, ...], tuple[int, ...]]] = set()  # what was found to be whole


@pytest.fixture
def one_overview(monkeypatch):
    """Of three overviews one has every kind of file that there is, and a third of the kills."""
    monkeypatch.setattr(layout, "OVERVIEWS", (2,))


def begin(path: Path, records: int = OLD) -> Archive:
    """An archive with some records."""
    archive = Archive(path)
    for seed, chunk in enumerate(days(records)):
        archive.write(chunk, cells_of(seed=seed), ORIGIN)
    return archive


def seen_by_xarray(path: Path) -> dict[np.datetime64, dict[str, np.ndarray]]:
    """What plain xarray finds in the tile: by time, each variable's bytes."""
    if not (path / TILE.name / "zarr.json").exists():
        return {}
    with xr.open_zarr(path / TILE.name, chunks=None) as tile:
        values = {name: tile[name].values for name in ("VV", "VH", "count")}
        return {
            time_: {name: values[name][i] for name in values}
            for i, time_ in enumerate(tile.time.values) if not np.isnat(time_)
        }  # fmt: skip


def assert_whole(path: Path, chunks: list[Chunk], seeds: list[int]) -> None:
    """These records, byte for byte, and no others, for xarray and for the archive.

    Kills leave the same files again and again, which are looked at once.
    """
    found = digest(path), tuple(chunks), tuple(seeds)
    if found not in WHOLE:
        assert_whole_at_sight(path, chunks, seeds)
        WHOLE.add(found)


def digest(path: Path) -> str:
    """The same for the same files with the same bytes."""
    files = sorted(tree(path).items())
    parts = (f"{key} {len(data)} ".encode() + data for key, data in files)
    return hashlib.sha256(b"".join(parts)).hexdigest()


def assert_whole_at_sight(path: Path, chunks: list[Chunk], seeds: list[int]) -> None:
    """The same, of an archive that was not seen before."""
    archive = Archive(path)
    assert archive.chunks() == chunks
    found = seen_by_xarray(path)
    assert sorted(found) == [np.datetime64(chunk.day, "ns") for chunk in chunks]
    for chunk, seed in zip(chunks, seeds, strict=True):
        cells = cells_of(seed=seed)
        xr.testing.assert_identical(archive.read(chunk), cells)
        for name, values in found[np.datetime64(chunk.day, "ns")].items():
            assert values.tobytes() == cells[name].values.tobytes()
    assert archive.verify() == []
    assert_overviews(path)


def assert_overviews(path: Path) -> None:
    """Who opens an overview by itself sees what the tile has, but maybe not the newest records."""
    for own in (path / TILE.name).glob("[0-9]*/zarr.json"):
        if not (path / TILE.name / "zarr.json").exists():
            return  # it is no tile any more
        level = own.parent.name
        with (
            xr.open_zarr(own.parent, chunks=None) as alone,
            xr.open_zarr(path / TILE.name, group=level, chunks=None) as all_,
        ):
            assert alone.sizes["time"] <= all_.sizes["time"]
            count = alone.sizes["time"]
            xr.testing.assert_identical(alone.load(), all_.isel(time=slice(count)).load())
            for name in alone:
                about = json.loads((own.parent / str(name) / "zarr.json").read_bytes())
                assert tuple(about["shape"][:1]) <= all_[name].shape[:1]


# --- kills ---


class Stopper(Disk):
    """Stops at the n-th change: before it, in the middle of it, or after it."""

    at = 0
    moment = "before"
    count = 0
    stop: Callable[[], Any] = staticmethod(lambda: os.kill(os.getpid(), signal.SIGKILL))

    def _passing(self, moment: str) -> None:
        if Stopper.count == Stopper.at and Stopper.moment == moment:
            Stopper.stop()

    def put(self, key: str, data: Any) -> None:
        Stopper.count += 1
        self._passing("before")
        if Stopper.count == Stopper.at and Stopper.moment == "inside":
            path = self.root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f".{path.name}.dead.partial").write_bytes(bytes(data)[: len(data) // 2])
            Stopper.stop()
        super().put(key, data)
        self._passing("after")

    def discard(self, key: str) -> None:
        Stopper.count += 1
        self._passing("before")
        files = sorted(p for p in (self.root / key).rglob("*") if p.is_file())
        if Stopper.count == Stopper.at and Stopper.moment == "inside":
            for path in files[: len(files) // 2 + 1]:
                path.unlink()
            Stopper.stop()
        super().discard(key)
        self._passing("after")


def die(action: Callable[[], Any]) -> None:
    """Run it in a forked child, which must be killed in it."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            action()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


def changes_of(action: Callable[[Archive], Any], path: Path) -> int:
    """How many changes on disk an action makes."""
    Stopper.at = Stopper.count = 0
    action(Archive(path, Stopper))
    return Stopper.count


def kill_everywhere(start: Path, work: Path, action: Callable[[Archive], Any]):
    """Kill the action at each of its moments; yields after each kill, to look."""
    copied(start, work / "clean")
    total = changes_of(action, work / "clean")
    assert total > 0
    clean = tree(work / "clean")
    each = [(at, moment) for at in range(1, total + 1) for moment in ("before", "inside")]
    for Stopper.at, Stopper.moment in moments([*each, (total, "after")]):
        Stopper.count = 0
        path = work / "killed"
        copied(start, path)
        die(partial(action, Archive(path, Stopper)))
        yield path, clean
        shutil.rmtree(path)


@pytest.fixture
def unsynced(monkeypatch):
    """fsync is of no account for a kill, only for a power cut."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@torture
@posix
@pytest.mark.parametrize("first", [True, False])
def test_a_writer_killed_anywhere_leaves_whole_records(tmp_path, first, unsynced):
    old = 0 if first else OLD
    start, new = tmp_path / "start", days(NEW)[old]
    start.mkdir()
    begin(start, old)
    cells = cells_of(seed=old)
    seeds = list(range(old + 1))
    seen = set()
    for path, clean in kill_everywhere(start, tmp_path, lambda a: a.write(new, cells, ORIGIN)):
        there = len(Archive(path).chunks())
        seen.add(there)
        assert there in (old, old + 1)
        assert_whole(path, days(there), seeds[:there])
        assert Archive(path).write(new, cells, ORIGIN) == (there == old)
        assert_whole(path, days(old + 1), seeds)
        assert tree(path) == clean
    assert seen == {old, old + 1}


@torture
@posix
def test_a_replacement_killed_anywhere_keeps_one_record(tmp_path, unsynced):
    begin(tmp_path / "start")
    chunk, cells = days(OLD)[0], cells_of(seed=9)

    def action(archive: Archive) -> None:
        archive.write(chunk, cells, ORIGIN, replace=True)

    for path, _ in kill_everywhere(tmp_path / "start", tmp_path, action):
        record = Archive(path).read(chunk)
        assert any(record.identical(c) for c in (cells, cells_of(seed=0)))
        assert Archive(path).verify() == []
        assert not Archive(path).write(chunk, cells, ORIGIN)
        with xr.open_zarr(path / TILE.name, chunks=None) as tile:
            assert tile.time.notnull().sum() == OLD  # no day twice
        action(Archive(path))
        assert_whole(path, days(OLD), [9, 1])


@torture
@posix
def test_a_removal_killed_anywhere_removes_all_or_nothing(tmp_path, unsynced):
    begin(tmp_path / "start")
    gone, stays = days(OLD)
    for path, clean in kill_everywhere(tmp_path / "start", tmp_path, lambda a: a.remove(gone)):
        there = Archive(path).chunks()
        assert there in ([gone, stays], [stays])
        assert_whole(path, there, [0, 1] if gone in there else [1])
        assert Archive(path).remove(gone) == (gone in there)
        assert Archive(path).write(days(NEW)[2], cells_of(seed=2), ORIGIN)
        assert_whole(path, days(NEW)[1:], [1, 2])
        assert not {k for k in tree(path) if ".partial" in k or "/c/0/" in k} - set(clean)


@torture
@posix
def test_the_removal_of_a_tile_killed_anywhere_removes_all_or_nothing(tmp_path, unsynced):
    begin(tmp_path / "start", 1)
    start = tmp_path / "start"
    for path, clean in kill_everywhere(start, tmp_path, lambda a: a.remove_tile(TILE)):
        there = Archive(path).chunks()
        assert there in ([CHUNK], [])
        assert_whole(path, there, [0] * len(there))
        assert Archive(path).write(CHUNK, cells_of(), ORIGIN) == (not there)
        assert_whole(path, [CHUNK], [0])
        assert clean.keys() == {"zarr.json", NEXT}


def test_the_last_record_takes_its_tile_along(tmp_path):
    archive = begin(tmp_path / "a")
    assert archive.remove(days(OLD)[0])
    assert archive.tiles() == [TILE]
    assert archive.remove(days(OLD)[1])
    assert [*archive.tiles(), *archive.verify()] == []
    assert tree(tmp_path / "a").keys() == {"zarr.json", NEXT}


@pytest.mark.parametrize("damaged", [False, True])
def test_a_tile_that_comes_again_is_no_trap_for_readers_of_the_old_one(
    tmp_path, damaged, monkeypatch
):
    monkeypatch.setattr("archive.schema.ROWS", 2)
    archive = begin(tmp_path / "a", 3)
    with xr.open_zarr(tmp_path / "a" / TILE.name) as early:
        early.time.load()
        if damaged:
            (tmp_path / "a" / TILE.name / "zarr.json").write_text("{")
        archive.remove_tile(TILE)
        for seed, chunk in enumerate(days(5)):
            archive.write(chunk, cells_of(seed=seed + 7), ORIGIN)
        assert np.isnan(early.VV.values).all()
    assert_whole(tmp_path / "a", days(5), [7, 8, 9, 10, 11])
    archive.remove(days(5)[4])
    archive.remove_tile(TILE)
    archive.write(CHUNK, cells_of(), ORIGIN)
    assert (tmp_path / "a" / TILE.name / "VV" / "c" / "8" / "0").exists()
    assert_whole(tmp_path / "a", [CHUNK], [0])


def test_a_record_is_replaced_only_if_it_is_still_the_one_that_was_read(tmp_path):
    archive = begin(tmp_path / "a")
    first = days(OLD)[0]
    slot = archive.slot(first)
    assert archive.write(first, cells_of(seed=5), ORIGIN, instead_of=slot)
    before = tree(tmp_path)
    assert not archive.write(first, cells_of(seed=6), ORIGIN, instead_of=slot)
    assert not archive.write(days(NEW)[-1], cells_of(seed=6), ORIGIN, instead_of=slot)
    assert tree(tmp_path) == before
    xr.testing.assert_identical(archive.read(first), cells_of(seed=5))


@posix
def test_what_a_writer_killed_behind_its_commit_left_is_tidied(tmp_path, unsynced):
    """Of a replacement: its old files, and the metadata that each array has by itself."""
    clean = begin(tmp_path / "clean")
    clean.write(days(OLD)[0], cells_of(seed=5), ORIGIN, replace=True)
    archive = begin(tmp_path / "a")
    writer = Archive(archive.path, NeverBehind)
    with contextlib.suppress(KeyboardInterrupt):
        writer.write(days(OLD)[0], cells_of(seed=5), ORIGIN, replace=True)
    assert tree(archive.path) != tree(clean.path)
    archive.tidy(TILE)
    assert tree(archive.path) == tree(clean.path)
    archive.tidy(days(1)[0].tile)
    assert tree(archive.path) == tree(clean.path)


class NeverBehind(Disk):
    """A disk that is killed right behind the commit of a tile."""

    def put(self, key, data):
        if getattr(self, "committed", False):
            raise KeyboardInterrupt
        super().put(key, data)
        self.committed = key.count("/") == 1 and key.endswith("/zarr.json")

    def discard(self, key):
        if getattr(self, "committed", False):
            raise KeyboardInterrupt
        super().discard(key)


@torture
@posix
def test_kill_at_random_moments(tmp_path, unsynced):
    """Not between two changes but at any machine instruction; more rounds: `make torture`."""
    path, chance = tmp_path / "a", dice("kill")
    copied(begin(tmp_path / "start").path, path)
    seeds = list(range(OLD))
    for _ in range(rounds(5)):
        new, cells = days(len(seeds) + 1)[-1], cells_of(seed=len(seeds))
        pid = os.fork()
        if pid == 0:
            try:
                Archive(path).write(new, cells, ORIGIN)
            finally:
                os._exit(0)
        time.sleep(chance.uniform(0, 0.12))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        there = len(Archive(path).chunks())
        assert there in (len(seeds), len(seeds) + 1)
        if there > len(seeds):
            seeds.append(len(seeds))
        assert_whole(path, days(there), seeds)
        if there == 12:
            shutil.rmtree(path)
            copied(tmp_path / "start", path)
            seeds = list(range(OLD))


def test_stray_files_of_a_killed_writer_are_swept(tmp_path):
    archive = begin(tmp_path / "a")
    clean = tree(tmp_path)
    tile = tmp_path / "a" / TILE.name
    strays = [tile / "VV" / "c" / "1" / "0.1234.partial", tile / "x.partial.json"]
    strays += [tile / "VH" / "c" / str(slot) / "0" for slot in (2, 77)]
    for path in strays:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert_whole(tmp_path / "a", days(OLD), [0, 1])
    archive.write(days(NEW)[2], cells_of(seed=2), ORIGIN)
    assert_whole(tmp_path / "a", days(NEW), [0, 1, 2])
    after = tree(tmp_path)
    assert set(clean) <= set(after)
    assert not [k for k in after if ".partial" in k or "/77/" in k]


def test_a_tile_without_its_commit_is_no_tile(tmp_path):
    archive = begin(tmp_path / "a")
    (tmp_path / "a" / TILE.name / "zarr.json").unlink()
    assert archive.tiles() == []
    assert not archive.has(CHUNK)
    assert archive.write(CHUNK, cells_of(seed=5), ORIGIN)
    assert_whole(tmp_path / "a", [CHUNK], [5])
    assert tree(tmp_path / "a") == tree(begin_with(tmp_path / "b", 5).path)


def begin_with(path: Path, seed: int) -> Archive:
    archive = Archive(path)
    archive.write(CHUNK, cells_of(seed=seed), ORIGIN)
    return archive


def interrupted(action: Callable[[], Any]) -> None:
    """Run it in a forked child, in which it must end by a KeyboardInterrupt."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            action()
        except KeyboardInterrupt:
            os._exit(7)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@torture
@posix
def test_ctrl_c_anywhere_leaves_whole_records_and_nothing_else(tmp_path, monkeypatch):
    def interrupt() -> None:  # it reaches the main thread, while zarr's thread goes on
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    monkeypatch.setattr(Stopper, "stop", staticmethod(interrupt))
    begin(tmp_path / "start")
    copied(tmp_path / "start", tmp_path / "clean")
    new, cells, path = days(NEW)[2], cells_of(seed=2), tmp_path / "a"
    total = changes_of(lambda a: a.write(new, cells, ORIGIN), tmp_path / "clean")
    Stopper.moment = "after"
    for Stopper.at in moments(range(1, total + 1)):
        Stopper.count = 0
        copied(tmp_path / "start", path)
        interrupted(lambda: Archive(path, Stopper).write(new, cells, ORIGIN))
        there = Archive(path).chunks()
        assert there in (days(OLD), days(NEW))
        assert_whole(path, there, list(range(len(there))))
        if there == days(OLD):
            assert not {k for k in tree(path) if "/c/2/" in k or ".partial" in k}
        Archive(path).write(new, cells, ORIGIN)
        assert tree(path) == tree(tmp_path / "clean")
        shutil.rmtree(path)


# --- a full disk ---


class Full(Disk):
    """A disk that is full from the n-th put on, until somebody makes room."""

    at = 0
    count = 0

    def put(self, key: str, data: Any) -> None:
        Full.count += 1
        if Full.count >= Full.at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), key)
        super().put(key, data)


@torture
@pytest.mark.parametrize("first", [True, False])
def test_a_disk_that_is_full_at_any_put_loses_nothing(tmp_path, first):
    old = 0 if first else OLD
    path, new, cells = tmp_path / "a", days(NEW)[old], cells_of(seed=old)
    seeds = list(range(old + 1))
    begin(path, old)
    before = tree(path)
    begin(tmp_path / "clean", old)
    Full.at, Full.count = sys.maxsize, 0
    Archive(tmp_path / "clean", Full).write(new, cells, ORIGIN)
    some = moments(range(1, Full.count + 1))
    for Full.at in [*some, sys.maxsize]:
        Full.count = 0
        try:
            Archive(path, Full).write(new, cells, ORIGIN)
            break
        except OSError as error:
            assert is_disk_full(error)
            assert f"{new}: the disk of the archive {path} is full" in str(error)
            after = tree(path)
            changed = {k for k in before | after if before.get(k) != after.get(k)}
            assert changed <= ({"zarr.json"} if first else ROWS)  # rows behind the last record
            assert_whole(path, days(old), seeds[:old])
    assert Full.at > 6  # the last puts, behind the commit, may fail without harm
    assert_whole(path, days(old + 1), seeds)
    Archive(path).write(days(NEW + 1)[old + 1], cells_of(seed=old + 1), ORIGIN)
    assert_whole(path, days(old + 2), [*seeds, old + 1])


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@torture
def test_a_small_full_disk_loses_nothing(small_disk):
    path, filler, failures = small_disk / "a", small_disk / "filler", 0
    begin(path)
    for free in range(0, 200_000, 12_288 if TORTURE else 24_576):
        filler.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - free)))
        try:
            Archive(path).write(days(NEW)[2], cells_of(seed=2), ORIGIN)
        except OSError as error:
            failures += 1
            assert is_disk_full(error)
            assert f"the disk of the archive {path} is full" in str(error)
        filler.unlink()
        there = Archive(path).chunks()
        assert_whole(path, there, list(range(len(there))))
    assert failures > 3
    assert there == days(NEW)
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    assert Archive(path).remove_tile(TILE)  # which is how one makes room
    assert Archive(path).write(CHUNK, cells_of(), ORIGIN)


def test_a_read_only_archive_is_read_and_says_that_it_cannot_be_written(small_disk):
    path = small_disk / "a"
    begin(path)
    before = tree(path)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert_whole(path, days(OLD), [0, 1])
    for change in (
        lambda: Archive(path).write(days(NEW)[2], cells_of(seed=2)),
        lambda: Archive(path).remove(CHUNK),
        lambda: Archive(path).remove_tile(TILE),
        lambda: Archive(small_disk / "b").write(CHUNK, cells_of()),
    ):
        with pytest.raises(OSError, match="cannot be written") as error:
            change()
        assert error.value.errno == errno.EROFS
        assert str(error.value).count("Errno") == 1
        assert "Errno" not in reason(error.value)
    assert tree(path) == before


# --- bit rot ---


def flip(path: Path, at: int, mask: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= mask
    path.write_bytes(data)


@pytest.fixture(scope="module")
def rotten(tmp_path_factory):
    """An archive of two tiles and two days, with three inner chunks a shard; its files."""
    path = tmp_path_factory.mktemp("rot") / "a"
    with pytest.MonkeyPatch.context() as small:
        small.setattr("archive.schema.INNER", 2048)
        small.setattr("store.PIX_MAX", 8192)
        archive = Archive(path)
        for tile in (TILE, tile_at(7.021, 50.001, (0.02, 0.02))):
            for seed, chunk in enumerate(days(2)):
                archive.write(replace(chunk, tile=tile), cells_of(tile, seed), ORIGIN)
    return archive, sorted(p for p in path.rglob("*") if p.is_file() and "/c/" in p.as_posix())


@torture
@given(st.data())
@settings(
    deadline=None, max_examples=rounds(20),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_a_flipped_bit_anywhere_is_found_and_hurts_nothing_else(rotten, data):
    archive, files = rotten
    path = data.draw(st.sampled_from(files))
    whole = path.read_bytes()
    flip(path, data.draw(st.integers(0, len(whole) - 1)), 1 << data.draw(st.integers(0, 7)))
    try:
        found = archive.verify()
        tile, _, rest = path.relative_to(archive.path).as_posix().partition("/")
        variable, _, slot = rest.partition("/c/")
        is_shard = slot.endswith("/0")
        assert [(d.tile.name, d.variable) for d in found] == [(tile, variable)]
        assert found[0].chunk == (archive.chunks(found[0].tile)[int(slot[0])] if is_shard else None)
        assert tile in str(found[0])
        assert variable in str(found[0])
        for chunk in archive.chunks():
            seed = (chunk.day - CHUNK.day).days
            if chunk == found[0].chunk and "/" not in variable:
                with pytest.raises(ArchiveError, match=variable):
                    archive.read(chunk)
            elif variable == "provenance":
                xr.testing.assert_equal(archive.read(chunk), cells_of(chunk.tile, seed))
            else:
                xr.testing.assert_identical(archive.read(chunk), cells_of(chunk.tile, seed))
    finally:
        path.write_bytes(whole)
    assert archive.chunks() == sorted(archive.chunks())


def test_a_missing_or_short_file_is_damage(tmp_path):
    archive = begin(tmp_path / "a")
    tile = tmp_path / "a" / TILE.name
    (tile / "VV" / "c" / "0" / "0").unlink()
    short = tile / "VH" / "c" / "1" / "0"
    for size in (0, 3, 100, short.stat().st_size - 1):
        short.write_bytes(short.read_bytes()[:size])
        found = archive.verify()
        assert [(d.chunk, d.variable) for d in found] == [(days(2)[0], "VV"), (days(2)[1], "VH")]
    assert "missing" in found[0].reason
    with pytest.raises(ArchiveError, match="VV: the file is missing.*order it again"):
        archive.read(days(2)[0])


@pytest.mark.parametrize("by", ["replace", "remove"])
def test_a_damaged_record_is_ordered_again(tmp_path, by):
    archive = begin(tmp_path / "a", 3)
    flip(tmp_path / "a" / TILE.name / "VV" / "c" / "1" / "0", 50, 1)
    [damage] = archive.verify()
    assert damage.chunk is not None
    if by == "remove":
        assert archive.remove(damage.chunk)
        assert archive.chunks() == [days(3)[0], days(3)[2]]
        assert not archive.remove(damage.chunk)
    assert archive.write(damage.chunk, cells_of(seed=1), ORIGIN, replace=by == "replace")
    assert_whole(tmp_path / "a", days(3), [0, 1, 2])


def test_who_lost_the_provenance_does_not_pass_made_up_data_for_measured(tmp_path):
    archive = begin(tmp_path / "a")
    flip(tmp_path / "a" / TILE.name / "provenance" / "c" / "0", 30, 16)
    for late in (False, True):  # also when another record has been added
        if late:
            archive.write(days(NEW)[2], cells_of(seed=2), ORIGIN)
        record = archive.read(CHUNK)
        assert record.attrs["source"].startswith("unknown")
        xr.testing.assert_equal(record, cells_of(seed=0))
        row = archive.records().iloc[0]
        assert row.day == CHUNK.day
        assert row.synthetic is None
        assert row.bytes > 0
    assert archive.records().job_id[2] == ORIGIN.job_id


@torture
@pytest.mark.parametrize("name", turns(["cell_ids", "start_ipix", "run_len", "time", "orbit"]))
def test_what_all_records_share_is_kept_twice_and_mended_by_the_next_write(tmp_path, name):
    archive = begin(tmp_path / "a")
    before = tree(tmp_path)
    file = tmp_path / "a" / TILE.name / name / "c" / "0"
    flip(file, 30, 16)
    [damage] = archive.verify()
    assert (damage.tile, damage.chunk, damage.variable) == (TILE, None, name)
    assert archive.chunks() == days(OLD)
    xr.testing.assert_identical(archive.read(days(OLD)[1]), cells_of(seed=1))
    assert len(archive.records()) == OLD
    archive.write(days(NEW)[2], cells_of(seed=2), ORIGIN)
    assert_whole(tmp_path / "a", days(NEW), [0, 1, 2])
    archive.remove(days(NEW)[2])
    same = set(before) - {f"a/{name}" for name in ROWS} - {k for k in before if "zarr.json" in k}
    assert {k: tree(tmp_path)[k] for k in same} == {k: before[k] for k in same}


def test_a_tile_that_lost_both_copies_of_its_cells_is_mended_by_the_next_write(tmp_path):
    archive = begin(tmp_path / "a")
    for name in ("start_ipix", "cell_ids"):
        flip(tmp_path / "a" / TILE.name / name / "c" / "0", 30, 16)
    with pytest.raises(ArchiveError, match="cell_ids"):
        archive.read(CHUNK)
    east = cells_of(tile_at(7.021, 50.051, (0.02, 0.02)), nside=2**18)
    with pytest.raises(ArchiveError, match=f"the archive has {cells_of().sizes['cells']}"):
        archive.write(days(NEW)[2], east)
    archive.write(days(NEW)[2], cells_of(seed=2), ORIGIN)
    assert_whole(tmp_path / "a", days(NEW), [0, 1, 2])


def test_a_damaged_tile_is_named_and_can_be_removed(tmp_path):
    archive = begin(tmp_path / "a")
    east = tile_at(7.021, 50.001, (0.02, 0.02))
    archive.write(Chunk(east, CHUNK.day), cells_of(east))
    path = tmp_path / "a" / TILE.name / "zarr.json"
    path.write_bytes(path.read_bytes()[:-200])
    [damage] = archive.verify()
    assert (damage.tile, damage.chunk, damage.variable) == (TILE, None, "zarr.json")
    with pytest.raises(ArchiveError, match=f"{TILE.name} .* is damaged"):
        archive.read(CHUNK)
    xr.testing.assert_identical(archive.read(Chunk(east, CHUNK.day)), cells_of(east))
    assert archive.remove_tile(TILE)
    assert archive.verify() == []
    assert archive.write(CHUNK, cells_of(), ORIGIN)


def test_verify_tells_how_far_it_is(tmp_path):
    steps: list[tuple[int, int]] = []
    begin(tmp_path / "a", 3).verify(lambda done, total: steps.append((done, total)))
    assert steps == [(1, 3), (2, 3), (3, 3)]


# --- several at once ---


def test_a_reader_of_an_earlier_state_never_gets_the_data_of_another_day(tmp_path):
    archive = begin(tmp_path / "a", 3)
    with xr.open_zarr(tmp_path / "a" / TILE.name) as early:
        early.time.load()
        archive.remove(days(3)[1])
        archive.write(days(4)[3], cells_of(seed=3))
        archive.write(days(3)[0], cells_of(seed=8), replace=True)
        for i, seed in enumerate((0, 1, 2)):
            values, wrote = early.VV[i].values, cells_of(seed=seed).VV.values
            gone = seed in (0, 1)  # replaced, removed: there is nothing any more
            assert np.isnan(values).all() if gone else np.array_equal(values, wrote, True)
    assert_whole(tmp_path / "a", [days(4)[0], *days(4)[2:]], [8, 2, 3])


def test_slots_are_in_the_order_of_writing_and_removed_ones_have_no_time(tmp_path):
    archive = Archive(tmp_path / "a")
    for i in (2, 0, 3, 1):
        archive.write(days(4)[i], cells_of(seed=i))
    archive.remove(days(4)[3])
    with xr.open_zarr(tmp_path / "a" / TILE.name) as tile:
        assert [str(t)[:10] for t in tile.time.values] == [
            "2026-01-22", "2026-01-20", "NaT", "2026-01-21",
        ]  # fmt: skip
        there = tile.sel(time=tile.time.notnull()).sortby("time")
        assert [str(t)[8:10] for t in there.time.values] == ["20", "21", "22"]
        day = tile.VV.sel(time="2026-01-21").squeeze()
        np.testing.assert_array_equal(day.values, cells_of(seed=1).VV.values)


def test_two_writers_of_a_tile_lose_nothing_and_readers_see_only_whole_records(tmp_path):
    from tests.torture import write_days

    path = tmp_path / "a"
    writers = [
        context().Process(target=write_days, args=(path, range(first, first + 20, 2)))
        for first in (0, 1)
    ]
    for writer in writers:
        writer.start()
    looks, most = 0, 0
    archive = Archive(path)
    while any(writer.is_alive() for writer in writers):
        chunks = archive.chunks()
        found = seen_by_xarray(path)
        assert len(found) >= len(chunks) >= most
        for time_, values in list(found.items())[-2:]:
            seed = int((time_ - np.datetime64(CHUNK.day)) / np.timedelta64(1, "D"))
            for name in values:
                assert values[name].tobytes() == cells_of(seed=seed)[name].values.tobytes()
        for chunk in chunks[-2:]:
            xr.testing.assert_identical(
                archive.read(chunk), cells_of(seed=(chunk.day - CHUNK.day).days)
            )
        most, looks = len(chunks), looks + 1
        time.sleep(0.01)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert looks > 3
    assert_whole(path, days(20), list(range(20)))


def test_removals_and_writes_in_threads_get_on(tmp_path):
    archive = begin(tmp_path / "a", 4)
    errors: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            for _ in range(6):
                work()
        except BaseException as error:
            errors.append(error)

    def again() -> None:
        archive.remove(days(4)[1])
        archive.write(days(4)[1], cells_of(seed=1), ORIGIN)

    def look() -> None:
        for seed, chunk in enumerate(days(4)):
            try:
                xr.testing.assert_identical(archive.read(chunk), cells_of(seed=seed))
            except NoRecordError:
                assert seed == 1

    def mend() -> None:
        archive.write(days(4)[2], cells_of(seed=2), ORIGIN, replace=True)

    threads = [threading.Thread(target=run, args=[w]) for w in (again, look, mend, look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert_whole(tmp_path / "a", days(4), [0, 1, 2, 3])


def test_the_lock_of_a_dead_process_is_no_lock(tmp_path):
    archive = begin(tmp_path / "a", 1)
    (tmp_path / "a" / TILE.name / LOCK).write_text("4711")
    assert archive.write(days(2)[1], cells_of(seed=1), ORIGIN)


def test_who_waits_too_long_for_another_writer_is_told(tmp_path, monkeypatch):
    archive = begin(tmp_path / "a", 1)
    monkeypatch.setattr("store.LOCK_WAIT", 0.1)
    with (
        writer_of(archive, Disk, TILE),
        pytest.raises(ArchiveError, match="Another process .* 0.1 seconds"),
    ):
        archive.write(days(2)[1], cells_of(seed=1))
    assert archive.write(days(2)[1], cells_of(seed=1))


def test_a_put_that_outlives_its_write_changes_nothing(tmp_path):
    disk = Disk(tmp_path)
    disk.put("a/b", b"in time")
    disk.retire()
    for change in (lambda: disk.put("a/b", b"too late"), lambda: disk.discard("a/b")):
        with pytest.raises(RuntimeError, match="given up"):
            change()
    assert (tmp_path / "a" / "b").read_bytes() == b"in time"


def test_each_put_is_synced_before_the_next(tmp_path, monkeypatch):
    """The bytes, then the name, then the folders that are new."""
    done: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: done.append("sync"))
    disk = Disk(tmp_path)
    disk.put("a/b/c", b"x")
    assert done == ["sync"] * 4  # a in its parent, b in a, the bytes of c, c in b
    assert folder_writer.PATIENCE > 1
