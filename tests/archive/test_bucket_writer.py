"""Archives in object stores: what a folder gives, with many writers, kills and latency.

The S3 server is moto's; what depends on the order of puts is stopped, or crossed by another
writer, at each of them, in obstore's object store in memory.
"""

from __future__ import annotations

import datetime as dt
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import obstore
import pandas as pd
import pytest
import shapely
import xarray as xr
import zarr.storage

import retrieve
from archive import bucket_writer, storage
from archive.bucket_writer import BucketWriter
from archive.layout import FORMAT_VERSION
from archive.storage import Bucket
from grid import BBox, Chunk
from store import Archive, ArchiveError, NoRecordError
from tests.archive.test_contents import CHUNK, ORIGIN, TILE, cells_of, days, tree
from tests.archive.test_folder_writer import one_overview
from tests.archive.test_overviews import make_old
from tests.object_store import BUCKET, ENVIRONMENT, ObjectStore, serving
from tests.processes import context
from tests.rounds import dice, moments, rounds, torture, turns
from tests.sphere import tile_at

_ = one_overview  # a fixture
NUMBER = itertools.count()
EAST = tile_at(7.021, 50.001, (0.02, 0.02))


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture
def s3(server: ObjectStore, monkeypatch):
    """The URL of an empty place."""
    for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url}).items():
        monkeypatch.setenv(name, value)
    storage._object_store.cache_clear()
    yield f"s3://{BUCKET}/{next(NUMBER)}/a"
    server.latency = 0
    storage._object_store.cache_clear()


@pytest.fixture
def gs(server: ObjectStore, monkeypatch):
    """The same in Google's dialect."""
    for name, value in server.google.items():
        monkeypatch.setenv(name, value)
    storage._object_store.cache_clear()
    yield f"gs://{BUCKET}/{next(NUMBER)}/a"
    storage._object_store.cache_clear()


@pytest.fixture
def memory():
    return f"memory://{next(NUMBER)}/a"


def begin(url: Any, records: int = 2) -> Archive:
    archive = Archive(url)
    for seed, chunk in enumerate(days(records)):
        assert archive.write(chunk, cells_of(seed=seed), ORIGIN)
    return archive


def copy_of(archive: Archive, url: str | None = None) -> Archive:
    """The same once more, in memory if nothing else is said."""
    files, copy = archive.files, Bucket(url or f"memory://{next(NUMBER)}")
    assert isinstance(files, Bucket)
    for key in files.below(""):
        obstore.put(copy._store, key, files.get(key) or b"")
    return Archive(copy.name)


def assert_records(url: str, chunks: list[Chunk], seeds: list[int]) -> None:
    """These records and no others."""
    views = Archive(url).views()
    assert [chunk for view in views for chunk in view.chunks()] == chunks
    for chunk, seed in zip(chunks, seeds, strict=True):
        xr.testing.assert_identical(views[0].read(chunk), cells_of(chunk.tile, seed))
        coarse = views[0].read(chunk, level=16, variables=["count"])
        assert int(coarse["count"].sum()) == int(cells_of(chunk.tile, seed)["count"].sum())


def assert_whole(url: str, chunks: list[Chunk], seeds: list[int]) -> None:
    """The same, also for plain xarray, and nothing is damaged."""
    archive = Archive(url)
    assert_records(url, chunks, seeds)
    assert archive.verify() == []
    if chunks:
        with seen_by_xarray(url) as tile:
            there = tile.sel(time=tile.time.notnull()).sortby("time")
            assert list(there.time.values) == [np.datetime64(chunk.day) for chunk in chunks]
            for i, seed in enumerate(seeds):
                np.testing.assert_array_equal(there.VV[i].values, cells_of(seed=seed).VV.values)
            alone = seen_by_xarray(url, f"{TILE.name}/16")
            assert alone.sizes["time"] <= tile.sizes["time"]
            assert_same_overview(url, alone)


def assert_same_overview(url: str, alone: xr.Dataset) -> None:
    """What an overview shows that is opened by itself is what the tile shows of it."""
    all_ = seen_by_xarray(url, TILE.name, group="16")
    xr.testing.assert_identical(alone, all_.isel(time=slice(alone.sizes["time"])))


def seen_by_xarray(url: str, name: str = TILE.name, **more: Any) -> xr.Dataset:
    files = zarr.storage.ObjectStore(storage._object_store(url), read_only=True)
    place = zarr.storage.StorePath(files, name)
    found: xr.Dataset = xr.open_zarr(place, chunks=None, consolidated=True, **more)
    return found


# --- as a folder ---


@torture
@pytest.mark.parametrize("kind", turns(["s3", "gs", "memory"]))
def test_it_is_as_in_a_folder(kind, request, tmp_path):
    url = request.getfixturevalue(kind)
    folder = begin(tmp_path / "a")
    assert Archive(url).layout is None
    there = begin(url)
    assert (there.layout, there.tiles(), there.chunks()) == (
        folder.layout, folder.tiles(), folder.chunks(),
    )  # fmt: skip
    pd.testing.assert_frame_equal(there.records(), folder.records())
    box = BBox(TILE.west, TILE.south, TILE.west + 0.01, TILE.south + 0.01)
    for level in (None, 16, 12):
        for where in (None, box):
            xr.testing.assert_identical(
                there.read(CHUNK, where, level), folder.read(CHUNK, where, level)
            )
    assert_whole(url, days(2), [0, 1])
    assert not there.write(CHUNK, cells_of(seed=5), ORIGIN)
    files, copies = there.files, tree(tmp_path / "a")
    assert isinstance(files, Bucket)
    same = {key for key in copies if "provenance/c" not in key}
    assert {key: files.get(key) for key in same} == {key: copies[key] for key in same}
    assert not there.is_folder
    assert there.name == url


def test_a_record_is_replaced_only_if_it_is_still_the_one_that_was_read(memory, monkeypatch):
    """Also where another writer is faster in the middle of the write."""
    archive = begin(memory)
    first = days(2)[0]
    slot = archive.slot(first)
    assert archive.write(first, cells_of(seed=5), ORIGIN, instead_of=slot)
    assert not archive.write(first, cells_of(seed=6), ORIGIN, instead_of=slot)
    assert_whole(memory, days(2), [5, 1])
    slot, real = archive.slot(first), BucketWriter._set_time

    def late(self, *arguments):
        monkeypatch.setattr(BucketWriter, "_set_time", real)
        assert Archive(memory).write(first, cells_of(seed=7), ORIGIN, instead_of=slot)
        real(self, *arguments)

    monkeypatch.setattr(BucketWriter, "_set_time", late)
    assert not archive.write(first, cells_of(seed=8), ORIGIN, instead_of=slot)
    assert_whole(memory, days(2), [7, 1])
    archive.tidy(TILE)
    assert_whole(memory, days(2), [7, 1])


def test_records_are_replaced_and_removed_and_slots_go_on(memory):
    archive = begin(memory, 3)
    [view] = archive.views()
    assert archive.remove(days(3)[1])
    assert not archive.remove(days(3)[1])
    assert archive.write(days(3)[1], cells_of(seed=5), ORIGIN)
    assert archive.write(days(3)[0], cells_of(seed=6), ORIGIN, replace=True)
    assert_whole(memory, days(3), [6, 5, 2])
    for gone in days(3)[:2]:
        with pytest.raises(NoRecordError):
            view.read(gone)
    xr.testing.assert_identical(view.read(days(3)[2]), cells_of(seed=2))
    files = archive.files
    assert isinstance(files, Bucket)
    shards = {key for key in files.below(TILE.name) if key.startswith(f"{TILE.name}/VV/c/")}
    assert shards == {f"{TILE.name}/VV/c/{slot}/0" for slot in (2, 3, 4)}
    assert archive.remove_tile(TILE)
    assert archive.chunks() == []
    assert archive.write(CHUNK, cells_of(seed=7), ORIGIN)
    assert_whole(memory, [CHUNK], [7])
    assert f"{TILE.name}/VV/c/5/0" in files.below(TILE.name)


def test_a_damaged_tile_is_removed_and_comes_again(memory):
    archive = begin(memory)
    files = archive.files
    assert isinstance(files, Bucket)
    files.put(f"{TILE.name}/zarr.json", b"{")
    with pytest.raises(ArchiveError, match="is damaged"):
        archive.read(CHUNK)
    assert archive.remove_tile(TILE)
    assert archive.tiles() == []
    assert archive.write(CHUNK, cells_of(seed=3), ORIGIN)
    assert_whole(memory, [CHUNK], [3])
    assert f"{TILE.name}/VV/c/2/0" in files.below(TILE.name)


def test_rows_go_on_in_a_second_file(memory, monkeypatch):
    monkeypatch.setattr("archive.schema.ROWS", 2)
    archive = begin(memory, 3)
    files = archive.files
    assert isinstance(files, Bucket)
    for slot in (3, 4, 5):  # of killed writers; more than a file of rows is theirs
        files.put(f"{TILE.name}/{bucket_writer.CLAIMS}/{slot}", b"dead")
    archive.write(days(4)[3], cells_of(seed=3), ORIGIN)
    assert_whole(memory, days(4), [0, 1, 2, 3])
    assert len(archive.views()[0]._group.times) == 7


def test_an_archive_of_before_is_written_on(memory, tmp_path):
    old = make_old(tmp_path / "a")
    files = Bucket(memory)
    files.put_all(tree(old.path).items())
    assert_full = Archive(memory).read(days(2)[1])
    xr.testing.assert_identical(assert_full, cells_of(seed=1))
    assert Archive(memory).write(days(3)[2], cells_of(seed=2), ORIGIN)
    [view] = Archive(memory).views()
    assert [view.levels(chunk) for chunk in view.chunks()] == [(18,), (18,), (18, 16, 14, 12)]
    layout = Archive(memory).layout
    assert layout is not None
    assert layout.version == FORMAT_VERSION
    assert Archive(memory).verify() == []


# --- kills, and other writers, at each change ---


class Stop(BaseException):
    """The process is gone."""


@pytest.fixture
def at_change(monkeypatch, one_overview):
    """Have something done at the n-th change of the object store; counts them."""
    state: dict[str, Any] = {"count": 0, "at": 0, "action": lambda: None, "dead": False}

    def wrap(name: str) -> None:
        real = getattr(Bucket, name)

        def change(self: Bucket, *arguments: Any) -> Any:
            if state["dead"]:
                raise Stop
            state["count"] += 1
            if state["count"] == state["at"]:
                state["action"]()
            return real(self, *arguments)

        monkeypatch.setattr(Bucket, name, change)

    put = Bucket.put

    def put_all(self: Bucket, files: Any) -> None:
        """A change before, and one in the middle."""
        files = sorted(files)
        for some in (files[::2], files[1::2]):
            self.discard([])
            for item in some:
                put(self, *item)

    monkeypatch.setattr(Bucket, "put_all", put_all)
    for name in ("put", "put_if", "discard"):
        wrap(name)
    monkeypatch.setattr(bucket_writer, "_pause", lambda turn: None)
    return state


def stops(
    state: dict[str, Any],
    make: Callable[[], Archive],
    action: Callable[[Archive], Any],
    chosen: Callable[[Sequence[int]], Sequence[int]] = moments,
):
    """The archive after each kill of an action, at those of its changes that are chosen."""
    for at in chosen(changes_of(state, make, action)):
        archive = make()

        def die() -> None:
            state["dead"] = True
            raise Stop

        state.update(count=0, at=at, action=die)
        with pytest.raises(Stop):
            action(archive)
        state.update(at=0, dead=False)
        yield archive


def changes_of(
    state: dict[str, Any], make: Callable[[], Archive], action: Callable[[Archive], Any]
) -> range:
    """The numbers of the changes of the object store that an action makes."""
    archive = make()
    state.update(count=0, at=0)
    action(archive)
    return range(1, state["count"] + 1)


@torture
@pytest.mark.parametrize("old", [0, 2])
def test_a_writer_killed_at_any_change_leaves_whole_records(at_change, old):
    new, cells, seen = days(old + 1)[old], cells_of(seed=old), set()
    start = begin(f"memory://{next(NUMBER)}", old)
    make = lambda: copy_of(start)  # noqa: E731
    for archive in stops(at_change, make, lambda a: a.write(new, cells, ORIGIN)):
        there = len(archive.chunks())
        seen.add(there)
        assert_records(archive.name, days(there), list(range(old + 1))[:there])
        later = Archive(archive.name)
        later.write(days(old + 2)[-1], cells_of(seed=old + 1), ORIGIN)  # may finish the other's
        later.write(new, cells, ORIGIN)
        assert_whole(archive.name, days(old + 2), list(range(old + 2)))
    assert seen == {old, old + 1}


def test_a_change_whose_answer_is_lost_leaves_whole_records(monkeypatch):
    """The store has done it, the writer sees an error and gives up."""
    start = begin(f"memory://{next(NUMBER)}")
    real, new, cells = Bucket.put_if, days(3)[2], cells_of(seed=2)
    for at in itertools.count(1):
        archive, number = copy_of(start), itertools.count(1)

        def put_if(*arguments: Any, at: int = at, number: Any = number) -> bool:
            done = real(*arguments)
            if next(number) == at:
                raise ConnectionResetError("no answer")
            return done

        with monkeypatch.context() as unlucky:
            unlucky.setattr(Bucket, "put_if", put_if)
            try:
                archive.write(new, cells, ORIGIN)
                break
            except ConnectionResetError:
                pass
        later = Archive(archive.name)
        later.write(days(4)[-1], cells_of(seed=3), ORIGIN)
        assert later.verify() == []
        later.write(new, cells, ORIGIN)
        assert_whole(archive.name, days(4), list(range(4)))
    assert at > 4


@torture
def test_a_removal_and_a_replacement_killed_at_any_change(at_change):
    start = begin(f"memory://{next(NUMBER)}")
    make = lambda: copy_of(start)  # noqa: E731
    for archive in stops(at_change, make, lambda a: a.remove(CHUNK)):
        there = archive.chunks()
        assert there in (days(2), days(2)[1:])
        if there == days(2):
            assert archive.remove(CHUNK)
        assert_records(archive.name, days(2)[1:], [1])
    new = cells_of(seed=9)
    for archive in stops(at_change, make, lambda a: a.write(CHUNK, new, ORIGIN, replace=True)):
        assert archive.chunks() == days(2)
        assert any(archive.read(CHUNK).identical(cells_of(seed=seed)) for seed in (0, 9))
        assert archive.verify() == []
        archive.write(CHUNK, new, ORIGIN, replace=True)
        xr.testing.assert_identical(archive.read(CHUNK), new)


@torture
@pytest.mark.parametrize("old", [0, 2])
@pytest.mark.parametrize("same", [True, False])
def test_another_writer_may_come_in_between_at_any_change(at_change, old, same):
    mine, cells = days(old + 1)[old], cells_of(seed=old)
    other = mine if same else days(old + 2)[-1]
    results, start = set(), begin(f"memory://{next(NUMBER)}", old)
    make = lambda: copy_of(start)  # noqa: E731
    every = changes_of(at_change, make, lambda a: a.write(mine, cells, ORIGIN))
    for at in moments(every):
        archive = make()
        done: list[bool] = []

        def cross(archive=archive, done=done) -> None:
            done.append(Archive(archive.name).write(other, cells_of(seed=old + 1), ORIGIN))

        at_change.update(count=0, at=at, action=cross)
        results.add((archive.write(mine, cells, ORIGIN), *done))
        at_change["at"] = 0
        if same:
            [seed] = [s for s in (old, old + 1) if archive.read(mine).identical(cells_of(seed=s))]
            assert_records(archive.name, days(old + 1), [*range(old), seed])
        else:
            assert_records(archive.name, days(old + 2), list(range(old + 2)))
    assert results >= ({(True, False), (False, True)} if same else {(True, True)})
    assert not same or (True, True) not in results, "one of them was first"


def test_what_a_killed_writer_left_is_swept_a_day_later(at_change, monkeypatch):
    start = begin(f"memory://{next(NUMBER)}")
    make = lambda: copy_of(start)  # noqa: E731
    left = 0
    write = lambda archive: archive.write(days(3)[2], cells_of(seed=2))  # noqa: E731
    for archive in stops(at_change, make, write, chosen=list):
        if archive.chunks() != days(2):
            break
        archive.write(days(4)[3], cells_of(seed=3), ORIGIN)
        files = archive.files
        assert isinstance(files, Bucket)
        before = {key for key in files.below(TILE.name) if "/c/2/0" in key}
        with monkeypatch.context() as later:
            later.setattr(bucket_writer, "STALE", dt.timedelta(seconds=-1))
            archive.write(days(5)[4], cells_of(seed=4), ORIGIN)
        assert not [key for key in files.below(TILE.name) if bucket_writer.CLAIMS in key]
        live = set(archive.views()[0]._slots.values())
        shards = [key.split("/VV/c/")[1] for key in files.below(TILE.name) if "/VV/c/" in key]
        there = {int(shard.partition("/")[0]) for shard in shards}
        assert there == live
        left += bool(before) and 2 not in live
    assert left > 3


def test_a_writer_that_took_half_a_day_gives_up(memory, monkeypatch):
    archive = begin(memory)
    monkeypatch.setattr(bucket_writer, "GIVE_UP", -1)
    with pytest.raises(TimeoutError, match="writing took more than"):
        archive.write(days(3)[2], cells_of(seed=2))
    assert_whole(memory, days(2), [0, 1])


# --- several processes, real kills ---


def writer(url: str, seeds: list[int], server: ObjectStore) -> tuple[BaseProcess, Connection]:
    """A process that is ready to write these days."""
    from tests.torture import write_days_when_told

    ours, theirs = context().Pipe()
    environment = ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url}
    process = context().Process(target=write_days_when_told, args=(url, seeds, environment, theirs))
    process.start()
    theirs.close()
    assert ours.recv() == "ready"
    return process, ours


def finish(process: BaseProcess, pipe: Connection) -> list[bool]:
    written: list[bool] = pipe.recv()
    process.join(60)
    assert process.exitcode == 0
    return written


def test_two_processes_write_to_one_tile(s3, server):
    both = [writer(s3, seeds, server) for seeds in ([0, 2, 4, 5], [1, 3, 4, 5])]
    for _, pipe in both:
        pipe.send("go")
    first, second = (finish(*one) for one in both)
    assert first[:2] == second[:2] == [1, 1]
    assert [a + b for a, b in zip(first[2:], second[2:], strict=True)] == [1, 1]
    assert_whole(s3, days(6), list(range(6)))


@torture
def test_a_process_killed_at_a_random_moment_leaves_whole_records(s3, server):
    chance, seeds, killed = dice("objects"), list(range(200)), 0
    begin(s3, 1)
    for _ in range(rounds(2, 0.02)):
        process, pipe = writer(s3, seeds[1:], server)
        pipe.send("go")
        time.sleep(chance.uniform(0.2, 0.8))
        process.kill()
        process.join()
        there = Archive(s3).chunks()
        killed += len(there) > 0
        assert_whole(s3, there, [(chunk.day - CHUNK.day).days for chunk in there])
        there = Archive(s3).chunks()
        new = next(chunk for chunk in days(200) if chunk not in there)
        Archive(s3).write(new, cells_of(seed=(new.day - CHUNK.day).days), ORIGIN)
    there = Archive(s3).chunks()
    assert len(there) >= 3
    assert_whole(s3, there, [(chunk.day - CHUNK.day).days for chunk in there])


# --- how often, and how deep ---


@pytest.mark.alone  # on a busy machine requests begun together look like a chain
def test_a_box_over_several_tiles_is_read_in_six_round_trips(s3, server):
    for tile in (TILE, EAST):
        for seed, chunk in enumerate(days(2)):
            Archive(s3).write(replace(chunk, tile=tile), cells_of(tile, seed), ORIGIN)
    box = BBox(7.012, 50.003, 7.03, 50.012)
    wanted = [Archive(s3).read(Chunk(tile, CHUNK.day), box) for tile in (TILE, EAST)]
    server.latency = 0.03
    server.asked.clear()
    start = time.monotonic()
    views = Archive(s3).views()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda view: view.read(view.chunks()[0], box), views))
    taken = time.monotonic() - start
    for one, two in zip(found, wanted, strict=True):
        xr.testing.assert_identical(one, two)
    assert max(asked.depth for asked in server.asked) <= 8
    assert len(server.asked) <= 2 + 2 * (1 + 5 + 3 + 3)
    assert taken < 2
    server.asked.clear()
    for view in views:
        view.read(view.chunks()[1], box)
    assert {asked.method for asked in server.asked} == {"GET"}
    assert len(server.asked) == 2 * (3 + 3)
    assert not [asked for asked in server.asked if "/c/1/0" not in asked.path]


@pytest.mark.alone
@pytest.mark.parametrize("step", [1e-4, 2e-3])
def test_a_grid_over_several_tiles_takes_as_few_round_trips(s3, server, step):
    for tile in (TILE, EAST):
        Archive(s3).write(replace(CHUNK, tile=tile), cells_of(tile), ORIGIN)
    box = BBox(7.012, 50.003, 7.03, 50.012)
    server.latency = 0.03
    for work in (
        lambda: retrieve.retrieve(Archive(s3), box, CHUNK.day, dlat=step, dlon=step),
        lambda: retrieve.select(Archive(s3), box, CHUNK.day),
    ):
        server.asked.clear()
        assert work()["VV"].notnull().any()
        assert max(asked.depth for asked in server.asked) <= 8


@pytest.mark.alone
def test_features_of_many_days_take_as_few_round_trips(s3, server):
    """Days are read at once, and so are tiles."""
    made = Archive(f"memory://{next(NUMBER)}/a")
    for chunk in days(10):
        for tile in (TILE, EAST):
            made.write(replace(chunk, tile=tile), cells_of(tile), ORIGIN)
    copy_of(made, s3)
    server.latency = 0.2  # more than it takes to send the requests of all days
    server.asked.clear()
    box = shapely.box(7.012, 50.003, 7.03, 50.012)
    table = retrieve.features(Archive(s3), {"a": box}, days(1)[0].day, days(10)[-1].day)
    assert len(table) == 10 * 2
    # Five to open it, and 80 requests, of which `FETCHES` are under way at a time.
    assert max(asked.depth for asked in server.asked) <= 5 + 80 / storage.FETCHES + 2


def test_a_whole_record_is_one_request_a_shard(s3, server):
    archive = begin(s3)
    [view] = archive.views()
    server.asked.clear()
    view.read(CHUNK)
    path = s3.removeprefix("s3:/")
    shards = [f"{path}/{TILE.name}/{name}/c/0/0" for name in ("VH", "VV", "count")]
    assert sorted(asked.path for asked in server.asked) == shards


# --- what may be wrong ---


def test_a_bucket_that_does_not_exist_is_named(s3):
    with pytest.raises(OSError, match="nowhere/a: there is no such bucket.  Make it first"):
        Archive("s3://nowhere/a")


def test_an_endpoint_that_does_not_answer_is_named(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(storage, "RETRIES", 1)
    storage._object_store.cache_clear()
    with pytest.raises(OSError, match="cannot be used .*Check the address") as error:
        Archive(s3)
    assert "\n" not in str(error.value)


def test_credentials_that_are_refused_are_named(s3, monkeypatch):
    from obstore.exceptions import PermissionDeniedError

    def refuse(*_: object, **__: object) -> None:
        raise PermissionDeniedError("403 Forbidden: AccessDenied\n\nDebug source: ...")

    monkeypatch.setattr(obstore, "get", refuse)
    with pytest.raises(PermissionError, match="refuses these credentials.  Check AWS_ACCESS"):
        Archive(s3)


def test_a_place_that_is_no_archive_is_left_alone(memory):
    files = Bucket(memory)
    files.put("thesis.docx", b"years of work")
    with pytest.raises(ArchiveError, match="not empty: it holds thesis.docx"):
        Archive(memory)
    with pytest.raises(ArchiveError, match="known are folders and s3://, gs://"):
        Archive("ftp://somewhere/a")


def test_a_store_that_ignores_conditions_is_refused(memory, monkeypatch):
    real = obstore.put

    def careless(store, key, data, **_):
        return real(store, key, data)

    monkeypatch.setattr(obstore, "put", careless)
    with pytest.raises(OSError, match="ignores the conditions of a put"):
        Archive(memory).write(CHUNK, cells_of())


def test_an_archive_that_is_made_while_one_looks_is_found(memory, monkeypatch):
    """Between asking for its ``zarr.json`` and listing what else there is."""
    real = Bucket.entries

    def late(self: Bucket) -> list[str]:
        monkeypatch.setattr(Bucket, "entries", real)
        begin(memory, 1)
        return real(self)

    monkeypatch.setattr(Bucket, "entries", late)
    assert Archive(memory).chunks() == days(1)
