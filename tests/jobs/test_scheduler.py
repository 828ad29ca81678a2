"""Plans, orders and the scheduler, against the sandbox over real HTTP."""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import datetime as dt
import errno
import itertools
import json
import math
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convert
import download
from grid import BBox, Chunk, Tile
from healpix.ids import runs_to_ids
from jobs import assets, recipe, remote
from jobs.journal import Journal, State
from jobs.trouble import Kind, Trouble
from sandbox import graph
from shared import collection
from shared.files import is_disk_full
from store import Archive
from tests.conftest import start_sandbox
from tests.downloading import (
    LABEL,
    QUICK,
    connect,
    created_for,
    folder_of,
    into,
    journal_of,
    most_pending,
    plan,
    raw_files,
    run,
    tree,
    where_and_when,
)
from tests.processes import context, ctrl_c
from tests.rounds import seldom, torture, turns
from tests.sphere import centres_of
from tests.waiting import until

DAY = dt.date(2026, 1, 20)
STEADY = 2.0  # s, jobs of the tests that measure how busy the slots are
EAGER = dataclasses.replace(QUICK, poll=0.01)


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "a.zarr")


def ordered(tile, day=DAY, orbit="any"):
    """The cube that the sandbox reads from an order: its reader is not ours."""
    order = recipe.order(
        Chunk(tile, day, orbit), collection.SENTINEL1, download.BANDS, 0.001, "MAPZEN"
    )
    return graph.read({"process_graph": order}).cube


# --- what is ordered --------------------------------------------------------------------


def test_an_order_is_for_one_day_a_little_more_than_the_tile_and_both_bands():
    cube = ordered(Tile(7, 50, 8, 50.5))
    aside = 0.001 / math.cos(math.radians(50.5))
    assert cube.bbox == pytest.approx((7 - aside, 49.999, 8 + aside, 50.501))
    assert (cube.start, cube.end) == (
        dt.datetime(2026, 1, 20, tzinfo=dt.UTC), dt.datetime(2026, 1, 21, tzinfo=dt.UTC),
    )  # fmt: skip
    assert cube.bands == ("VV", "VH")
    assert cube.reducer is not None


def test_orders_at_180_degrees_and_at_the_poles_are_clipped():
    assert ordered(Tile(179, 89.5, 180, 90)).bbox == (178.9, 89.499, 180, 90)
    assert ordered(Tile(-180, -90, -179, -89.5)).bbox == (-180, -90, -178.9, -89.499)


@torture
@pytest.mark.parametrize("south", turns([41.5, 0, 60, 76, 80, 86.5, -87.5], 6))
def test_an_order_holds_the_border_cells_of_its_tile_as_a_whole(south):
    healpy = pytest.importorskip("healpy", reason="has no wheel for this system")
    tile = Tile(7, south, 8, south + 0.5)
    ids = runs_to_ids(*convert.tile_runs(tile))
    lon, lat = centres_of(ids, convert.NSIDE, convert.ELLIPSOID)
    inside = np.minimum(np.abs(lon - 7.5) < 0.498, np.abs(lat - south - 0.25) < 0.249)
    corners = healpy.boundaries(convert.NSIDE, ids[~inside].astype(int), step=1, nest=True)
    lon, lat = healpy.vec2ang(np.moveaxis(corners, 1, 2).reshape(-1, 3), lonlat=True)
    west, south, east, north = ordered(tile).bbox
    assert lon.min() < tile.west < tile.east < lon.max(), "they reach over the edges"
    assert west < lon.min()
    assert lon.max() < east
    assert south < lat.min()
    assert lat.max() < north


def test_an_orbit_is_filtered_in_the_collections_own_words():
    assert ordered(Tile(7, 50, 8, 50.5)).orbit is None
    assert ordered(Tile(7, 50, 8, 50.5), orbit="ascending").orbit == "ASCENDING"
    assert ordered(Tile(7, 50, 8, 50.5), orbit="descending").orbit == "DESCENDING"


def test_another_order_has_another_digest():
    tiles = (Tile(7, 50, 8, 50.5), Tile(7, 50, 7.5, 50.5))
    orders = [
        recipe.order(Chunk(tile, day, orbit), collection.SENTINEL1, bands, 0.001, "MAPZEN")
        for tile, day, orbit, bands in itertools.product(
            tiles, (DAY, DAY + dt.timedelta(days=1)), ("any", "ascending"), (("VV",), ("VV", "VH"))
        )
    ]
    assert len({recipe.digest(order) for order in orders}) == len(orders) == 16
    assert recipe.digest(orders[0]) == recipe.digest(json.loads(json.dumps(orders[0])))


NC = {"href": "https://a/nc?x=1", "type": "application/x-netcdf", "roles": ["data"]}
JSON = {"href": "https://a/json", "type": "application/json", "roles": ["metadata"]}


def chosen(document, **items):
    return assets.choose(document, lambda href: {"assets": items[href]}, ("VV", "VH"))


def test_the_result_is_found_by_its_media_type_under_any_key():
    for key in ("openEO.nc", "0b1c_openEO", "whatever"):
        found = chosen({"assets": {"other": JSON, key: {**NC, "file:size": 12}}})
        assert found == assets.Asset("https://a/nc?x=1", 12)
    assert chosen({"assets": {"a": NC}}).size is None


@pytest.mark.parametrize(
    "document",
    [
        {"assets": {"a": NC, "b": NC}},  # one file under two keys
        {"assets": {"x": {"href": "https://a/nc?x=1"}, "openEO.nc": {"href": "https://a/nc?x=1"}}},
        {"assets": {"a": NC, "b": {**NC, "href": "https://a/b", "roles": ["metadata"]}}},
        {"assets": {"openEO.nc": NC, "b.nc": {**NC, "href": "https://a/b"}}},
        {"assets": {"a": {**NC, "bands": [{"name": "VH"}, {"name": "VV"}]},
                    "b": {**NC, "href": "https://a/b", "bands": [{"name": "VV"}]}}},
        {"assets": {}, "links": [{"rel": "self", "href": "x"}, {"rel": "item", "href": "i"}]},
        {"links": [{"rel": "item", "href": "j"}, {"rel": "item", "href": "i"}]},
        {"assets": {"m": JSON}, "links": [{"rel": "item", "href": "i"}]},
    ],
)  # fmt: skip
def test_the_ordered_file_is_told_from_others_and_found_behind_items(document):
    assert chosen(document, i={"f": NC}, j={"m": JSON}).url == "https://a/nc?x=1"


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"assets": {}}, Kind.NO_ASSET),
        ({"assets": {}, "links": [{"rel": "item", "href": "none"}]}, Kind.PASSING),
        ({"assets": {"a": JSON}}, Kind.WRONG),
        ({"assets": {"a": NC, "b": {**NC, "href": "https://a/b"}}}, Kind.WRONG),
    ],
)
def test_results_without_a_file_are_no_data_only_if_nothing_else_is_listed(document, kind):
    with pytest.raises(Trouble) as trouble:
        chosen(document, none={})
    assert trouble.value.kind is kind


# --- plans ------------------------------------------------------------------------------


def test_a_plan_sorts_chunks_and_touches_nothing(tmp_path):
    journal = Journal(tmp_path / "x.downloads")
    box, last = BBox(7, 50, 9, 50.5), DAY + dt.timedelta(days=2)
    made = download.plan(box, DAY, last, "any", lambda c: c.day == DAY, journal)
    assert (len(made.missing), len(made.archived), made.empty) == (4, 2, [])
    assert not journal.folder.exists()


def test_what_is_known_to_be_empty_is_not_asked_for_until_told(tmp_path):
    journal = Journal(tmp_path / "x.downloads")
    box = BBox(7, 50, 9, 50.5)

    def planned(**more):
        more = {"backend": "cdse", **more}
        made = download.plan(box, DAY, DAY, "any", lambda _: False, journal, **more)
        return len(made.missing), len(made.empty)

    chunk = Chunk(Tile(7, 50, 8, 50.5), DAY)
    order = download.settings().recipe.order(chunk)
    (row,) = journal.plan("cdse", [(chunk, recipe.digest(order))])
    assert planned() == (2, 0)
    journal.note(row, State.EMPTY)
    assert planned() == (1, 1)
    assert planned(retry_empty=True) == (2, 0)
    assert planned(backend="sandbox") == (2, 0)


def test_an_estimate_without_a_history_is_of_typical_jobs():
    made = download.estimate([Chunk(Tile(7, 50, 8, 50.5), DAY)] * 8, [], "cdse")
    assert made.jobs == 0
    assert made.credits == 16
    assert made.seconds == 4 * download.settings().typical.seconds
    # 330 MB raw for two bands of such a tile, less what deflate saves.
    assert 0.5 * 330e6 < made.bytes / 8 < 1.1 * 330e6
    assert download.estimate([], [], "http://127.0.0.1").credits is None


def test_an_estimate_follows_our_own_jobs_by_area(tmp_path):
    journal = Journal(tmp_path)
    chunk = Chunk(Tile(7, 0, 8, 0.5), DAY)
    for seconds in (50, 100, 9000):
        (row,) = journal.plan("cdse", [(chunk, "d")])
        journal.note(
            row, State.ARCHIVED, started=0.0, finished=float(seconds), bytes=1000, credits=3.0
        )
    at_60_degrees = Chunk(Tile(7, 59.75, 8, 60.25), DAY)
    made = download.estimate([at_60_degrees] * 4, journal.history("cdse", 20), "cdse")
    assert made.jobs == 3
    assert made.seconds == 2 * 100
    assert made.credits == 12
    assert made.bytes == pytest.approx(4 * 500, rel=0.01)


def test_jobs_of_slivers_say_nothing_of_the_bytes_of_whole_tiles(tmp_path):
    journal = Journal(tmp_path)
    chunk = Chunk(Tile(7, 50, 8, 50.5), DAY)

    def archived(covered, size):
        images = json.dumps({"covered": covered})
        (row,) = journal.plan("cdse", [(chunk, "d")], images=lambda _: images)
        journal.note(row, State.ARCHIVED, started=0.0, finished=50.0, bytes=size)

    def estimated():
        return download.estimate([chunk] * 4, journal.history("cdse", 20), "cdse")

    typical = download.estimate([chunk] * 4, [], "cdse").bytes
    for _ in range(5):
        archived(0.01, 60_000_000)
    assert (estimated().bytes, estimated().jobs) == (typical, 5)
    archived(0.5, 100_000_000)
    assert estimated().bytes == pytest.approx(4 * 200_000_000)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_polls_get_slower_while_nothing_changes_but_cost_a_slot_two_percent(short, more):
    pace = download.settings().pace
    assert pace.poll <= pace.poll_wait(short) <= pace.poll_wait(short + more) <= 4 * pace.poll
    assert pace.poll_wait(short) <= max(pace.poll, 0.02 * short)


# --- runs -------------------------------------------------------------------------------


def test_a_run_archives_everything_and_a_second_one_orders_nothing(sandbox, archive):
    seen: list[download.Event] = []
    summary = run(sandbox.url, archive, observer=seen.append)
    assert (len(summary.archived), len(summary.empty)) == (2, 2)
    assert summary.bytes > 0
    assert raw_files(archive) == []
    assert journal_of(archive).unfinished_request() is None
    kinds = [e.kind for e in seen if e.chunk == summary.archived[0] and e.kind != "status"]
    assert kinds == [
        "created", "started", "finished", *["bytes"] * kinds.count("bytes"), "downloaded",
        "archived",
    ]  # fmt: skip
    assert {e.slot for e in seen if e.kind == "started"} == {1, 2}
    before = sandbox.events()["counts"]
    again = run(sandbox.url, archive)
    assert (again.archived, again.empty, again.failed) == ([], [], [])
    assert sandbox.events()["counts"] == before


def test_a_result_comes_with_where_it_came_from(sandbox, archive):
    results: list[download.Result] = []

    def handle(result):
        results.append(result)
        return into(archive)(result)

    run(sandbox.url, archive, columns=1, days=1, handle=handle)
    (row,) = journal_of(archive).rows()
    about = results[0].provenance
    assert (about.backend, about.collection, about.job_id) == (LABEL, "SENTINEL1_GRD", row.job_id)
    assert about.synthetic
    age = dt.datetime.now(dt.UTC) - dt.datetime.fromisoformat(about.processed)
    assert dt.timedelta(0) <= age < dt.timedelta(minutes=5)
    assert row.credits is not None
    assert row.credits >= 2
    assert row.finished is not None
    assert row.started is not None
    assert row.bytes is not None


def test_starts_keep_their_distance(sandbox, archive):
    pace = dataclasses.replace(QUICK, start_interval=0.3)
    run(sandbox.url, archive, columns=3, days=1, pace=pace)
    ours = created_for(sandbox.events(), archive)
    starts = [
        e["time"]
        for e in sandbox.events()["events"]
        if e["kind"] == "started" and e["title"] in ours
    ]
    assert len(starts) == 3
    assert min(b - a for a, b in itertools.pairwise(starts)) > 0.29


def test_raw_files_are_kept_if_wanted(sandbox, archive):
    download.run(
        plan(archive, 1, 1), connect(sandbox.url), folder_of(archive), into(archive),
        archive.has, pace=QUICK, keep_raw=True,
    )  # fmt: skip
    assert len(raw_files(archive)) == 1


def test_a_result_without_a_measured_pixel_is_no_data(sandbox, archive):
    summary = run(sandbox.url, archive, columns=1, days=1, handle=lambda result: False)
    assert len(summary.empty) == 1
    assert raw_files(archive) == []
    again = plan(archive, 1, 1)
    assert (again.missing, len(again.empty)) == ([], 1)


def test_an_error_while_handling_fails_that_chunk_alone_and_costs_no_second_job(sandbox, archive):
    calls = []

    def handle(result):
        calls.append(result)
        if len(calls) == 1:
            raise RuntimeError("out of luck")
        return into(archive)(result)

    summary = run(sandbox.url, archive, columns=2, days=1, handle=handle)
    assert [reason for _, reason in summary.failed] == ["RuntimeError: out of luck"]
    assert len(summary.archived) == 1
    assert len(raw_files(archive)) == 1
    summary = run(sandbox.url, archive, columns=2, days=1)
    assert len(summary.archived) == 1
    assert raw_files(archive) == []
    assert set(created_for(sandbox.events(), archive).values()) == {1}
    assert len(created_for(sandbox.events(), archive)) == 2


def test_a_refused_result_is_fetched_again_and_ordered_anew_only_when_asked_again(sandbox, archive):
    def refuse(result):
        raise download.Spoiled("not what it should be")

    def one(handle):
        return run(sandbox.url, archive, columns=1, days=1, handle=handle)

    assert [reason for _, reason in one(refuse).failed] == ["not what it should be"]
    downloads = [e for e in sandbox.events()["events"] if e["kind"] == "download"]
    job_id = journal_of(archive).rows()[0].job_id or "none"
    assert sum(job_id in f"{e['job']} {e['detail']}" for e in downloads) == 2, "the same bytes"
    assert len(created_for(sandbox.events(), archive)) == 1
    calls = itertools.count(1)

    def refuse_the_old_one(result):
        if next(calls) <= 2:
            raise download.Spoiled("still not")
        return into(archive)(result)

    assert len(one(refuse_the_old_one).archived) == 1
    assert len(created_for(sandbox.events(), archive)) == 2


def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(sandbox, archive):
    def full(result):
        raise OSError(errno.ENOSPC, "No space left on device")

    summary = run(sandbox.url, archive, handle=full)
    assert isinstance(summary.stopped, OSError)
    assert summary.stopped.errno == errno.ENOSPC
    assert (summary.failed, len(summary.left) >= 1) == ([], True)
    assert journal_of(archive).unfinished_request() is not None
    summary = run(sandbox.url, archive)
    assert summary.failed == []
    assert len(archive.chunks()) == 2
    created = created_for(sandbox.events(), archive)
    assert (len(created), set(created.values())) == (4, {1})


def test_a_run_waits_for_the_threads_of_an_interrupted_one(sandbox, archive):
    """In a notebook they go on: with a transfer that stalls, of which they have the file."""
    sandbox.fault("asset-stall=2,seconds=1,times=1")
    with pytest.raises(download.Interrupted):
        run(sandbox.url, archive, columns=2, days=1, observer=interrupt_at("downloaded"))
    seen: list[download.Event] = []
    summary = run(sandbox.url, archive, columns=2, days=1, observer=seen.append)
    assert (summary.failed, summary.left, summary.lost_jobs) == ([], [], 0)
    assert len(archive.chunks()) == 2
    assert "Another run in this process" in seen[0].reason
    assert [event.kind for event in seen].count("waiting") == 1
    sandbox.clear_faults()


def test_without_space_for_a_transfer_nothing_is_lost(sandbox, archive, monkeypatch):
    def no_space(folder, needed, purpose):
        raise OSError(errno.ENOSPC, f"{purpose} needs more than there is.")

    monkeypatch.setattr("jobs.transfer.require_space", no_space)
    summary = run(sandbox.url, archive, columns=1, days=1)
    assert "needs more than there is" in str(summary.stopped)
    assert len(summary.left) == 1
    monkeypatch.undo()
    assert len(run(sandbox.url, archive, columns=1, days=1).archived) == 1
    assert len(created_for(sandbox.events(), archive)) == 1


def interrupt_at(kind):
    """An observer that interrupts the run at the first event of a kind."""

    def observer(event):
        if event.kind == kind:
            raise KeyboardInterrupt

    return observer


@torture
@pytest.mark.parametrize(
    "kind", turns(["started", "created", "finished", "downloaded", "archived"])
)
def test_after_an_interrupt_the_next_run_goes_on(sandbox, archive, kind):
    with pytest.raises(download.Interrupted, match="Run the same command to continue") as error:
        run(sandbox.url, archive, columns=2, days=1, observer=interrupt_at(kind))
    assert error.value.summary.left
    request = journal_of(archive).unfinished_request()
    assert request is not None
    assert request.chunks == 2
    summary = run(sandbox.url, archive, columns=2, days=1)
    assert len(archive.chunks()) == 2, summary
    assert raw_files(archive) == []
    created = created_for(sandbox.events(), archive)
    assert (len(created), set(created.values())) == (2, {1})


def test_what_a_writer_killed_behind_its_commit_left_undone_is_done(sandbox, archive, tmp_path):
    clean = Archive(tmp_path / "clean.zarr")
    run(sandbox.url, clean, columns=1, days=1)
    released = threading.Event()

    def killed(result):
        into(archive)(result)
        (archive.path / result.chunk.tile.name / "cell_ids" / "zarr.json").unlink()
        _thread.interrupt_main()
        return released.wait(30)

    with ctrl_c(), pytest.raises(download.Interrupted):
        run(sandbox.url, archive, columns=1, days=1, handle=killed)
    released.set()
    assert len(archive.chunks()) == 1
    assert tree(archive.path) != tree(clean.path)
    run(sandbox.url, archive, columns=1, days=1)
    assert tree(archive.path) == tree(clean.path)
    assert raw_files(archive) == []
    assert sum(created_for(sandbox.events(), archive).values()) == 1


def test_a_started_job_is_fetched_also_by_a_run_that_asks_for_something_else(sandbox, archive):
    with pytest.raises(download.Interrupted):
        run(sandbox.url, archive, columns=1, days=1, observer=interrupt_at("started"))
    _, first = where_and_when()
    elsewhere = download.plan(
        BBox(40, 50, 40.01, 50.005), first, first, "any", archive.has, journal_of(archive), LABEL,
        chunk_size=(0.02, 0.01),
    )  # fmt: skip
    summary = download.run(
        elsewhere, connect(sandbox.url), folder_of(archive), into(archive), archive.has, pace=QUICK
    )
    assert len(archive.chunks()) >= 1
    assert plan(archive, 1, 1).archived == [c for c in summary.archived if c.tile.west < 40]


def test_what_another_request_has_begun_is_known_to_the_plan(sandbox, archive):
    with pytest.raises(download.Interrupted):
        run(sandbox.url, archive, columns=1, days=1, observer=interrupt_at("started"))
    here = plan(archive, 1, 1)
    assert (len(here.missing), here.begun) == (1, [])
    next_day = here.first + dt.timedelta(days=1)
    elsewhere = download.plan(
        here.bbox, next_day, next_day, "any", archive.has, journal_of(archive), LABEL,
        chunk_size=(0.02, 0.01),
    )  # fmt: skip
    assert elsewhere.begun == here.missing


def test_of_two_orders_with_one_title_one_is_used_and_the_other_removed(sandbox, archive):
    """As after an order that took so long that it was repeated."""
    journal, connection = journal_of(archive), connect(sandbox.url)
    (chunk,) = plan(archive, 1, 1).missing
    order = download.settings().recipe.order(chunk)
    (row,) = journal.plan(LABEL, [(chunk, recipe.digest(order))])
    journal.note(row, State.CREATING)
    journal.close()
    both = {connection.create(order, row.title) for _ in range(2)}
    assert len(both) == 2
    assert len(run(sandbox.url, archive, columns=1, days=1).archived) == 1
    statuses = sandbox.events()["statuses"]
    assert [statuses.get(job) for job in both if job in statuses] == ["finished"]


def test_a_title_is_found_on_any_page_of_the_list(sandbox, archive, monkeypatch):
    monkeypatch.setattr(remote, "PAGE", 2)
    connection = connect(sandbox.url)
    (chunk,) = plan(archive, 1, 1).missing
    order = download.settings().recipe.order(chunk)
    ids = {f"{archive.path} {n}": connection.create(order, f"{archive.path} {n}") for n in range(5)}
    for title, job_id in ids.items():
        assert [found for found, _ in connection.find(title)] == [job_id]
        connection.delete(job_id)


def test_an_error_of_the_observer_ends_the_run_as_an_interrupt_does(sandbox, archive):
    def broken(event):
        raise RuntimeError("no terminal any more")

    with pytest.raises(RuntimeError, match="no terminal"):
        run(sandbox.url, archive, columns=1, days=1, observer=broken)
    assert len(run(sandbox.url, archive, columns=1, days=1).archived) == 1
    assert list(created_for(sandbox.events(), archive).values()) == [1]


def test_a_journal_that_cannot_be_written_at_any_point_loses_nothing(sandbox, archive, monkeypatch):
    """The disk is full at the first write of the journal, the second, and so on."""
    writing, count, limit = Journal._writing, 0, 0

    @contextlib.contextmanager
    def full(self):
        nonlocal count
        count += 1
        if count == limit:
            raise OSError(errno.ENOSPC, "The disk is full.")
        with writing(self) as database:
            yield database

    for limit in itertools.count(1, 3):
        count = 0
        monkeypatch.setattr(Journal, "_writing", full)
        try:
            summary = run(sandbox.url, archive, columns=1, days=1)
        except OSError as error:
            assert error.errno == errno.ENOSPC
        else:
            assert summary.stopped is None or is_disk_full(summary.stopped)
        monkeypatch.undo()
        if count < limit:
            break
        assert run(sandbox.url, archive, columns=1, days=1).failed == []
        (chunk,) = archive.chunks()
        assert raw_files(archive) == []
        archive.remove(chunk)
    assert limit > 12
    assert set(created_for(sandbox.events(), archive).values()) == {1}


def test_a_back_end_that_comes_back_at_another_port_is_the_same(tmp_path, archive):
    state = tmp_path / "state"
    with (
        start_sandbox(state, "--job-seconds", "0.3") as first,
        pytest.raises(download.Interrupted),
    ):
        run(first.url, archive, columns=1, days=1, observer=interrupt_at("started"))
    with start_sandbox(state) as second:
        assert second.url != first.url
        assert len(run(second.url, archive, columns=1, days=1).archived) == 1
        assert list(created_for(second.events(), archive).values()) == [1]


def test_a_second_run_waits_says_for_whom_and_finds_everything_done(sandbox, archive):
    go_on, waits = threading.Event(), []

    def slow(result):
        go_on.wait(20)
        return into(archive)(result)

    made = plan(archive)  # both have the same idea of what is missing
    arguments = (connect(sandbox.url), folder_of(archive))
    first: list[download.Summary] = []
    thread = threading.Thread(
        target=lambda: first.append(download.run(made, *arguments, slow, archive.has, pace=QUICK))
    )
    thread.start()
    until(lambda: raw_files(archive), "a file", every=0.01)

    def observer(event):
        waits.append((event.kind, event.reason))
        go_on.set()

    second = download.run(made, *arguments, into(archive), archive.has, observer, pace=QUICK)
    thread.join()
    assert waits == [("waiting", waits[0][1])]
    assert "Another run in this process (since " in waits[0][1]
    assert (len(first[0].archived), len(first[0].empty)) == (2, 2)
    assert (second.archived, len(second.already), len(second.empty)) == ([], 2, 2)
    created = created_for(sandbox.events(), archive)
    assert (len(created), set(created.values())) == (4, {1})


def test_a_stale_lock_of_a_dead_process_is_no_obstacle(sandbox, archive):
    folder_of(archive).mkdir()
    (folder_of(archive) / "lock").write_text("4242")
    (folder_of(archive) / "lock.json").write_text("{")
    assert len(run(sandbox.url, archive, columns=1, days=1).archived) == 1


def test_two_processes_with_the_same_request_order_each_chunk_once(sandbox, archive):
    from tests.torture import work

    both = [context().Process(target=work, args=(sandbox.url, archive.path)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert len(archive.chunks()) == 2
    created = created_for(sandbox.events(), archive)
    assert (len(created), set(created.values())) == (4, {1})


# --- times ------------------------------------------------------------------------------


def busy_share(events, archive, slots=2):
    """Share of the time from first start to last end in which all slots were taken."""
    ours = created_for(events, archive)
    changes = []
    for event in events["events"]:
        if event["title"] in ours and event["kind"] in ("started", "finished", "error"):
            changes.append((event["time"], 1 if event["kind"] == "started" else -1))
    running = most = 0
    busy = 0.0
    for (begin, step), (end, _) in itertools.pairwise(sorted(changes)):
        running += step
        most = max(most, running)
        busy += (end - begin) * (running == slots)
    return busy / (changes[-1][0] - changes[0][0]), most


@pytest.fixture
def steady(sandbox, tmp_path):
    """The shared sandbox with longer jobs, warmed up."""
    run(sandbox.url, Archive(tmp_path / "warm.zarr"), columns=1, days=1)
    sandbox.control("settings", "POST", job_seconds=STEADY)
    yield sandbox
    sandbox.control("settings", "POST", job_seconds=0.1)


def share_of_the_best_run(sandbox, folder, jobs, handling=None):
    """Busy share of some jobs; up to three runs, since others may use this computer, too."""
    best = 0.0
    for number in range(3):
        archive = Archive(folder / f"{number}.zarr")
        handle = handling(archive) if handling else None
        summary = run(sandbox.url, archive, jobs, days=1, handle=handle, pace=EAGER)
        assert len(summary.archived) == jobs
        share, most = busy_share(sandbox.events(), archive)
        assert most == 2
        assert most_pending(sandbox.events(), archive) <= download.MAX_PENDING
        best = max(best, share)
        if best >= 0.95:
            break
    return best


@pytest.mark.alone
def test_both_slots_are_busy_nineteen_twentieths_of_the_time(steady, tmp_path):
    assert share_of_the_best_run(steady, tmp_path, 8) >= 0.95


@pytest.mark.alone
def test_slots_stay_busy_while_handling_is_slower_and_files_are_few(steady, tmp_path):
    files = []

    def handling(archive):
        def slow(result):
            time.sleep(STEADY * 0.55)  # two slots make a file every half
            files.append(sum(not name.endswith(".tag") for name in raw_files(archive)))
            return into(archive)(result)

        return slow

    assert share_of_the_best_run(steady, tmp_path, 6, handling) >= 0.95
    assert 2 <= max(files) <= download.MAX_FILES


@pytest.fixture
def worker(sandbox, archive):
    """A download in a process of its own whose first job runs, and what it sends."""
    from tests.torture import work_and_tell

    sandbox.control("settings", "POST", job_seconds=0.6)
    sends = context().Pipe(duplex=False)
    process = context().Process(target=work_and_tell, args=(sandbox.url, archive.path, sends[1]))
    process.start()
    sends[1].close()
    while sends[0].recv() != "started":
        pass
    yield process, sends[0]
    process.kill()
    process.join()
    sandbox.clear_faults()
    sandbox.control("settings", "POST", job_seconds=0.1)


STALL = "stall=1,seconds=30,path=/openeo/"


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("fault", [None, STALL])
def test_an_interrupt_is_answered_within_two_seconds(sandbox, archive, worker, fault):
    process, sent = worker
    if fault:
        sandbox.fault(fault)
        time.sleep(0.2)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    while " " not in (line := sent.recv()):
        pass
    assert time.monotonic() - began < 2
    assert "Interrupted: 0 chunks archived, 4 to go" in line
    assert "at the back end go" in line
    process.join()
    assert process.exitcode == 130
    sandbox.clear_faults()
    assert run(sandbox.url, archive).failed == []
    created = created_for(sandbox.events(), archive)
    assert (len(created), set(created.values())) == (4, {1})


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_a_second_interrupt_leaves_at_once(sandbox, worker):
    process, _ = worker
    sandbox.fault(STALL)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert time.monotonic() - began < 0.25


@seldom(3)
def test_the_archive_does_not_depend_on_the_pace(sandbox, archive, tmp_path):
    other = Archive(tmp_path / "b.zarr")
    run(sandbox.url, archive)
    slow = dataclasses.replace(QUICK, max_inflight=1, max_pending=1, max_files=1)
    run(sandbox.url, other, pace=slow)
    assert tree(archive.path) == tree(other.path)
