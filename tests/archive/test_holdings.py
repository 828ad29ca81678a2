"""What is remembered of an archive is never trusted over it: lists are those without a memory."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive import holdings, listing
from grid import Chunk
from store import Archive
from tests.archive.test_contents import ORIGIN, TILE, cells_of, days
from tests.conftest import ROOT
from tests.folders import copied
from tests.processes import context
from tests.rounds import torture, turns
from tests.sphere import tile_at

OTHER = tile_at(7.05, 50.05, TILE.size)


def looked(path, memory):
    """The holdings of a folder, and the names of the tiles that were read for it."""
    read: list[str] = []

    def reader(tiles):
        read.extend(tile.name for tile in tiles)
        return listing.of_tiles(Archive(path), tiles)

    found = holdings.of_folder(path, memory, reader)
    assert found is not None
    return found, read


def everything(found):
    """All that can be asked of holdings."""
    return (
        list(found.rows()), list(found.lines()), found.records, found.size, sorted(found.by_tile),
        found.kinds, found.last_back_end, found.partial,
    )  # fmt: skip


def by_the_archive(path):
    return everything(looked(path, None)[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An archive of two tiles with two and one records; not to be changed."""
    path = tmp_path_factory.mktemp("holdings") / "a.zarr"
    archive = Archive(path)
    for seed, chunk in enumerate([*days(2), Chunk(OTHER, days(1)[0].day, "ascending")]):
        archive.write(chunk, cells_of(chunk.tile, seed), ORIGIN)
    return path


@pytest.fixture
def archive(whole, tmp_path):
    """A copy of it, which may be changed, and a file to remember it in."""
    copied(whole, tmp_path / "a.zarr")
    return tmp_path / "a.zarr", tmp_path / "cache" / "a.sqlite"


def test_holdings_are_the_records_of_the_archive(archive):
    path, memory = archive
    found, _ = looked(path, memory)
    rows = json.loads(Archive(path).records().to_json(orient="records", date_format="iso"))
    for row, wanted in zip(found.rows(), rows, strict=True):
        assert row.pop("orbit_state") == row["orbit"]
        assert (row["tile"], row["day"]) == (wanted["tile"], wanted["day"][:10])
        same = set(row) - {"day", "seen", "covered"}
        assert {name: row[name] for name in same} == {name: wanted[name] for name in same}
        assert row["seen"] == pytest.approx(wanted["seen"])
    chunks = Archive(path).chunks()
    assert all(found.has(chunk) for chunk in chunks)
    assert not found.has(Chunk(TILE, days(9)[8].day))
    assert found.records == len(chunks) == 3


def test_what_is_remembered_is_not_read_again(archive):
    path, memory = archive
    assert sorted(looked(path, memory)[1]) == sorted([TILE.name, OTHER.name])
    found, read = looked(path, memory)
    assert read == []
    assert everything(found) == by_the_archive(path)
    Archive(path).write(days(3)[2], cells_of(seed=7), ORIGIN)
    found, read = looked(path, memory)
    assert read == [TILE.name]
    assert everything(found) == by_the_archive(path)


STEPS = st.lists(
    st.tuples(st.sampled_from(["write", "replace", "remove", "tile"]), st.integers(0, 2)),
    max_size=5,
)


@given(STEPS)
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_after_every_change_they_are_those_of_the_archive(whole, tmp_path, steps):
    path, memory = tmp_path / "a.zarr", tmp_path / "a.sqlite"
    shutil.rmtree(path, ignore_errors=True)  # the memory stays: it is that of another archive now
    copied(whole, path)
    archive = Archive(path)
    for number, (step, day) in enumerate(steps):
        chunk = days(3)[day]
        if step == "remove":
            archive.remove(chunk)
        elif step == "tile":
            archive.remove_tile(OTHER)
        else:
            archive.write(chunk, cells_of(seed=number), ORIGIN, replace=step == "replace")
        found, _ = looked(path, memory)
        assert everything(found) == by_the_archive(path)
    assert everything(looked(path, memory)[0]) == by_the_archive(path)


def garbage(memory):
    memory.write_bytes(b"this is no database" * 1000)


def cut(memory):
    data = memory.read_bytes()
    memory.write_bytes(data[: len(data) // 2])


def another_version(memory):
    with sqlite3.connect(memory) as database:
        database.execute("PRAGMA user_version = 1")


def other_columns(memory):
    with sqlite3.connect(memory) as database:
        database.executescript("DROP TABLE tiles; CREATE TABLE tiles (name)")


def a_folder(memory):
    memory.unlink()
    memory.mkdir()


def another_archive(memory):
    """One that was copied from elsewhere: same names, other files."""
    with sqlite3.connect(memory) as database:
        database.execute("UPDATE tiles SET records = 77, stamp = 'zarr.json:1:2:3'")


def rows_lost(memory):
    with sqlite3.connect(memory) as database:
        database.execute("UPDATE tiles SET lines = x'00'")


DAMAGES = [garbage, cut, another_version, other_columns, a_folder, another_archive]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_memory_that_is_of_no_use_is_as_none(archive, damage):
    path, memory = archive
    looked(path, memory)
    damage(memory)
    for _ in range(2):  # once with it, once with what was made of it
        assert everything(looked(path, memory)[0]) == by_the_archive(path)


def test_rows_that_cannot_be_unpacked_are_read_again(archive):
    path, memory = archive
    looked(path, memory)
    rows_lost(memory)
    assert everything(looked(path, memory)[0]) == by_the_archive(path)


def test_rows_that_were_forgotten_meanwhile_are_read_again(archive):
    path, memory = archive
    looked(path, memory)
    found, read = looked(path, memory)
    memory.unlink()
    assert everything(found) == by_the_archive(path)
    assert sorted(set(read)) == sorted([TILE.name, OTHER.name])


def test_a_memory_that_is_locked_is_not_waited_for_long(archive, monkeypatch):
    path, memory = archive
    monkeypatch.setattr(holdings, "BUSY", 0.05)
    looked(path, memory)
    with sqlite3.connect(memory, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert everything(looked(path, memory)[0]) == by_the_archive(path)
        other.execute("ROLLBACK")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_no_obstacle(archive):
    path, memory = archive
    memory.parent.mkdir(mode=0o500)
    assert everything(looked(path, memory)[0]) == by_the_archive(path)


def test_a_memory_below_a_file_is_no_obstacle(archive, tmp_path):
    path, _ = archive
    (tmp_path / "file").write_text("no folder")
    assert everything(looked(path, tmp_path / "file" / "a.sqlite")[0]) == by_the_archive(path)


def _look_often(path, memory, times):
    for _ in range(times):
        looked(path, memory)
        memory.unlink(missing_ok=True) if random.random() < 0.3 else None


def test_several_that_remember_at_once_lose_nothing(archive):
    path, memory = archive
    processes = context()
    others = [processes.Process(target=_look_often, args=(path, memory, 5)) for _ in range(2)]
    for other in others:
        other.start()
    for number in range(3):
        Archive(path).write(days(9)[4 + number], cells_of(seed=number), ORIGIN)
        assert everything(looked(path, memory)[0]) == by_the_archive(path)
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    assert everything(looked(path, memory)[0]) == by_the_archive(path)


def _look_and_die(path, memory, number):
    """Look, and be killed at the ``number``-th step of the database."""
    steps = itertools.count(1)

    class Watched(sqlite3.Connection):
        def __init__(self, *arguments, **more):
            super().__init__(*arguments, **more)
            self.set_progress_handler(self.step, 20)

        def step(self):
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0

    real = sqlite3.connect
    sqlite3.connect = lambda *arguments, **more: real(*arguments, factory=Watched, **more)  # type: ignore[assignment]
    looked(path, memory)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("number", range(1, 12, 2))
def test_killed_while_it_remembers(archive, number):
    path, memory = archive
    process = context().Process(target=_look_and_die, args=(path, memory, number))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    assert number > 5 or process.exitcode, "it was killed"
    assert everything(looked(path, memory)[0]) == by_the_archive(path)
    assert looked(path, memory)[1] == []


def test_a_place_without_an_archive_has_no_holdings(tmp_path):
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "nothing" / "below"):
        assert holdings.of_folder(path, None, lambda _: ()) is None


LIGHT = """
import sys
sys.argv = ["main.py", *sys.argv[1:]]
import main
code = main.main()
heavy = "numpy pandas xarray zarr numba openeo dask matplotlib rich requests scipy".split()
print([name for name in heavy if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


@torture
@pytest.mark.parametrize("command", turns([["list"], ["list", "--json"], []]))
def test_a_list_and_the_first_question_import_nothing_heavy(archive, tmp_path, command):
    path, _ = archive
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    flags = ["--archive", str(path)]
    for _ in range(2):  # the first one reads the archive
        done = subprocess.run(
            [sys.executable, "-c", LIGHT, *(command + flags if command else flags)],
            capture_output=True, text=True, input="q\n", env=environ, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
