"""Several machines fill one archive: no chunk is paid for twice, whoever is killed when.

The object store is moto's, the back end the sandbox; a machine is a process with a journal
of its own.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import itertools
import os
import platform
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import obstore
import pytest
from openeo.rest import OpenEoApiError
from openeo.rest.connection import connect

import download
import main
from archive import claims, storage
from archive.claims import Claims
from archive.storage import Bucket
from cli import workspace
from grid import Chunk
from jobs.journal import Journal
from store import Archive
from tests.archive.test_contents import CHUNK, days
from tests.downloading import SIZE, where_and_when
from tests.object_store import BUCKET, ENVIRONMENT, serving
from tests.processes import context
from tests.rounds import dice, rounds, torture
from tests.sphere import tile_at
from tests.waiting import until

NUMBER = itertools.count()
LONG = 3600.0  # s, more than a test takes


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture
def environment(server):
    return ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url}


@pytest.fixture
def place(environment, monkeypatch):
    """The URL of an empty place in an object store."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    storage._object_store.cache_clear()
    yield f"s3://{BUCKET}/claims{next(NUMBER)}/a"
    storage._object_store.cache_clear()


def machine(place: str, name: str, lasts: float = LONG) -> Claims:
    found = Archive(place).claims(name, lasts)
    assert found is not None
    return found


def starts(sandbox, place_of_titles: set[str]) -> collections.Counter[str]:
    """How often a job of each chunk was started for these journals: each costs."""
    return collections.Counter(
        event["title"].split()[0]
        for event in sandbox.events()["events"]
        if event["kind"] == "started" and event["title"].split()[-1] in place_of_titles
    )


def ids(*folders) -> set[str]:
    found = set()
    for folder in folders:
        with contextlib.closing(Journal(folder)) as journal:
            found.add(journal.id)
    return found


# --- claims -----------------------------------------------------------------------------


def test_of_many_machines_one_gets_a_chunk(place):
    machines = [machine(place, f"{number}") for number in range(8)]
    for chunk in days(3):
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda m, c=chunk: m.claim(c, f"title of {m}"), machines))
        assert found.count("") == 1
        assert len(set(found)) == 2  # the others are told who it is


def test_a_claim_is_ours_until_it_is_released(place):
    one, other = machine(place, "one"), machine(place, "other")
    assert one.claim(CHUNK, "1") == ""
    assert one.claim(CHUNK, "1") == ""
    assert "(one)" in other.claim(CHUNK, "2")
    other.release(CHUNK)
    assert "(one)" in other.claim(CHUNK, "2")
    one.release(CHUNK)
    assert other.claim(CHUNK, "2") == ""
    assert other.inherited(CHUNK) == []


def test_a_claim_ends_when_it_is_not_renewed_and_leaves_the_titles(place, server):
    one, other, third = (machine(place, name, lasts=2.0) for name in ("one", "other", "third"))
    assert one.claim(CHUNK, "1") == ""
    assert other.claim(CHUNK, "2") != ""
    server.ahead += 3.1  # the store's times are whole seconds
    assert other.claim(CHUNK, "2") == ""
    assert other.inherited(CHUNK) == ["1"]
    assert other.claim(CHUNK, "2") == ""  # as after a restart
    assert other.inherited(CHUNK) == ["1"]
    assert "(other)" in one.claim(CHUNK, "1")
    server.ahead += 3.1
    assert third.claim(CHUNK, "3") == ""
    assert third.inherited(CHUNK) == ["1", "2"]
    assert third.claim(CHUNK, "a later job") == ""
    assert third.inherited(CHUNK) == []


def test_a_claim_that_is_kept_does_not_end(place):
    one, other = machine(place, "one", lasts=3.0), machine(place, "other", lasts=3.0)
    with one.kept(()):
        assert one.claim(CHUNK, "1") == ""
        for _ in range(12):
            time.sleep(0.5)
            assert "(one)" in other.claim(CHUNK, "2")


def test_the_clocks_of_the_machines_do_not_matter(place, monkeypatch):
    one, other = machine(place, "one"), machine(place, "other")
    assert one.claim(CHUNK, "1") == ""
    monkeypatch.setattr(time, "time", lambda: 4e9)
    monkeypatch.setattr(time, "monotonic", lambda: 4e9)
    assert "(one)" in other.claim(CHUNK, "2")


@pytest.mark.parametrize("when", ["get_tagged", "written", "put_if"])
def test_who_renews_in_the_middle_of_a_takeover_keeps_the_chunk(place, server, monkeypatch, when):
    one, other = machine(place, "one", lasts=1.0), machine(place, "other", lasts=1.0)
    assert one.claim(CHUNK, "1") == ""
    server.ahead += 2.1
    real = getattr(Bucket, when)
    renewed: list[int] = []

    def crossed(self, key, *more):
        if self is other._bucket and "json" in key and not renewed:
            renewed.append(1)
            if when == "get_tagged":
                found = real(self, key, *more)
                assert one.claim(CHUNK, "1") == ""
                return found
            assert one.claim(CHUNK, "1") == ""
        return real(self, key, *more)

    other._bucket = Bucket(place)
    monkeypatch.setattr(Bucket, when, crossed)
    assert "(one)" in other.claim(CHUNK, "2")
    assert renewed


def test_who_slept_too_long_does_not_remove_the_claim_of_its_heir(place, server):
    one, other, third = (machine(place, name, lasts=1.0) for name in ("one", "other", "third"))
    assert one.claim(CHUNK, "1") == ""
    server.ahead += 2.1
    assert other.claim(CHUNK, "2") == ""
    one.release(CHUNK)
    assert "(other)" in third.claim(CHUNK, "3")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"machine": 1}', b"\xff"])
def test_a_claim_that_cannot_be_read_ends_like_any_other(place, server, data):
    one = machine(place, "one", lasts=1.0)
    obstore.put(storage._object_store(place), claims._key(CHUNK.name), data)
    assert one.claim(CHUNK, "1") == "an unknown machine"
    server.ahead += 2.1
    assert one.claim(CHUNK, "1") == ""
    assert one.inherited(CHUNK) == []


def test_a_store_that_ignores_conditions_is_refused_before_anything_is_ordered(place, monkeypatch):
    def put_if(self, key, data, tag):
        self.put(key, data)
        return True

    monkeypatch.setattr(Bucket, "put_if", put_if)
    with pytest.raises(OSError, match="ignores the conditions"), machine(place, "one").kept(()):
        pass


def test_what_killed_machines_left_on_archived_chunks_is_removed(place):
    first, second, third = days(3)
    one, other = machine(place, "one"), machine(place, "other")
    assert [one.claim(first, "1"), one.claim(second, "2"), other.claim(third, "3")] == [""] * 3
    with machine(place, "one").kept({first.name, third.name}):
        left = [standing.chunk for standing in one.standing()]
    assert left == [second.name, third.name]  # the third's machine may be alive


def test_a_folder_needs_no_claims(tmp_path):
    assert Archive(tmp_path / "a.zarr").claims("one", LONG) is None
    assert Archive((tmp_path / "a.zarr").as_uri()).claims("one", LONG) is None


# --- the command ------------------------------------------------------------------------


def test_the_command_lists_claims_and_releases_those_of_a_machine(place, capsys):
    one, other = machine(place, "one"), machine(place, "other")
    first, second = days(2)
    assert [one.claim(first, "job 1"), other.claim(second, "job 2")] == ["", ""]
    assert main.main(["claims", "--archive", place]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [first.name in lines[1], "(one)" in lines[1], "claimed" in lines[1]] == [True] * 3
    assert [second.name in lines[2], "job 2" in lines[2]] == [True] * 2
    assert main.main(["claims", "--archive", place, "--release", "one"]) == 0
    assert capsys.readouterr().out == f"{first.name}\n"
    assert other.claim(first, "job 3") == ""
    assert other.inherited(first) == ["job 1"]
    assert main.main(["claims", "--archive", place, "--release", "nobody"]) == 3


def test_the_command_says_that_a_folder_has_none(tmp_path, capsys):
    assert main.main(["claims", "--archive", str(tmp_path / "a.zarr")]) == 0
    assert "one lock beside it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_download_says_what_it_leaves_to_whom(place, tmp_path, monkeypatch, sandbox, capsys):
    """By the commands, with two homes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "CHUNK_SIZE", [0.04, 0.04])
    monkeypatch.setattr(download, "POLL_WAIT_TIME", 0.1)
    box, day = "3.73,51.21,3.79,51.23", "2026-01-20"
    order = ["download", "--bbox", box, "--start", day, "--end", day, "--yes", "--no-catalogue"]
    order += ["--backend", sandbox.url, "--archive", place]
    login = {"METHOD": "client_credentials", "PROVIDER_ID": "sandbox"}
    login |= {"CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret"}
    for name, value in login.items():
        monkeypatch.setenv(f"OPENEO_AUTH_{name}", value)
    theirs = Chunk(tile_at(3.77, 51.21, (0.04, 0.04)), dt.date(2026, 1, 20))
    other = machine(place, "other")
    assert other.claim(theirs, "a job of theirs") == ""

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "one"))
    assert main.main(order) == 1
    shown = capsys.readouterr()
    assert re.search(r"left to another machine +1 +.*\(other\) orders it", shown.out)
    assert f"{theirs}: {platform.node()} (other) orders it" in shown.err
    assert "failed" not in shown.out
    assert "`claims --release`" in shown.err
    assert main.main([*order, "--dry-run"]) == 0
    assert f"{platform.node()} (other) orders 1 of them already" in capsys.readouterr().err

    assert main.main(["claims", "--archive", place, "--release", "other"]) == 0
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "two"))
    assert main.main(order) == 0
    assert len(Archive(place).chunks()) == 2
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "one"))
    assert main.main(order) == 0
    assert "Nothing to order." in capsys.readouterr().err


# --- downloads --------------------------------------------------------------------------


def test_what_a_live_machine_orders_is_left_to_it(sandbox, place, tmp_path):
    from tests.torture import fill_here

    west, day = where_and_when()
    first = Chunk(tile_at(west + 0.001, 50.001, SIZE), day)
    other = machine(place, "other")
    seen: list[download.Event] = []
    assert other.claim(first, "a job of theirs") == ""
    summary = fill_here(sandbox.url, place, tmp_path / "one", LONG, observer=seen.append)
    assert [chunk.name for chunk, _ in summary.elsewhere] == [first.name]
    assert "(other)" in summary.elsewhere[0][1]
    assert (len(summary.archived), summary.failed, summary.left) == (1, [], [])
    assert [event.chunk for event in seen if event.kind == "left"] == [first]
    assert starts(sandbox, ids(tmp_path / "one")).total() == 1
    with contextlib.closing(Journal(tmp_path / "one")) as journal:
        assert journal.unfinished_request() is not None
    other.release(first)
    summary = fill_here(sandbox.url, place, tmp_path / "one", LONG)
    assert (len(summary.archived), summary.elsewhere) == (1, [])
    assert machine(place, "x").standing() == []


def test_a_paid_job_of_a_machine_that_is_gone_is_adopted(
    sandbox, place, server, environment, tmp_path
):
    from tests.torture import fill, fill_here

    folders = [tmp_path / "one", tmp_path / "two"]
    sandbox.control("settings", "POST", job_seconds=1.5)
    process = context().Process(
        target=fill, args=(sandbox.url, place, folders[0], environment, 2.0, 2)
    )
    process.start()
    try:
        until(lambda: folders[0].exists() and starts(sandbox, ids(folders[0])), "a job")
    finally:
        process.kill()
        process.join()
        sandbox.control("settings", "POST", job_seconds=0.1)
    server.ahead += 3.1
    summary = fill_here(sandbox.url, place, folders[1], 2.0)
    assert (len(summary.archived), summary.elsewhere, summary.failed) == (2, [], [])
    assert set(starts(sandbox, ids(*folders)).values()) == {1}
    jobs = {event["job"] for event in sandbox.events()["events"] if event["kind"] == "started"}
    with contextlib.closing(Journal(folders[1])) as journal:
        assert {row.job_id for row in journal.rows()} <= jobs
    # The other one comes back, and has nothing to pay for.
    summary = fill_here(sandbox.url, place, folders[0], 2.0)
    assert (summary.archived, summary.left, summary.failed) == ([], [], [])
    assert set(starts(sandbox, ids(*folders)).values()) == {1}


def test_an_unpaid_job_of_a_machine_that_is_gone_cannot_be_started_any_more(
    sandbox, place, server, tmp_path
):
    """It may only sleep, and be about to start it."""
    from tests.torture import fill_here

    west, day = where_and_when()
    first = Chunk(tile_at(west + 0.001, 50.001, SIZE), day)
    assert machine(place, "other").claim(first, "a job of theirs") == ""
    connection = connect(sandbox.url).authenticate_basic("sandbox", "sandbox")
    extent = {"west": west, "south": 50.0, "east": west + 0.01, "north": 50.01}
    cube = connection.load_collection("SENTINEL1_GRD", extent, [day, day + dt.timedelta(days=1)])
    theirs = cube.create_job(title="a job of theirs", out_format="netCDF")
    server.ahead += 3.1
    summary = fill_here(sandbox.url, place, tmp_path / "one", 2.0)
    assert (len(summary.archived), summary.elsewhere, summary.failed) == (2, [], [])
    with pytest.raises(OpenEoApiError, match="JobNotFound"):
        theirs.start()


@pytest.mark.alone  # claims of a second or two: a busy machine sleeps longer by itself
@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGSTOP")
@torture
@pytest.mark.parametrize("round_", range(rounds(2, 0.01)))
def test_a_machine_that_sleeps_longer_than_its_claims_last_pays_for_nothing_twice(
    sandbox, place, environment, tmp_path, round_
):
    """Its jobs are adopted meanwhile; it finds others at its chunks, or done with them."""
    from tests.torture import fill, fill_here

    columns, chance = 4, dice(f"sleep {round_}")
    folders = [tmp_path / name for name in ("one", "two")]
    arguments = (sandbox.url, place, folders[0], environment, 2.0, columns)
    process = context().Process(target=fill, args=arguments)
    process.start()
    assert process.pid is not None
    try:
        until(lambda: folders[0].exists() and starts(sandbox, ids(folders[0])), "a job")
        time.sleep(chance.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3.1)
        summary = fill_here(sandbox.url, place, folders[1], 2.0, columns)
        assert (summary.elsewhere, summary.left, summary.failed) == ([], [], [])
    finally:
        os.kill(process.pid, signal.SIGCONT)
        process.join(60)
    assert process.exitcode == 0
    assert len(Archive(place).chunks()) == columns
    paid = starts(sandbox, ids(*folders))
    assert (len(paid), set(paid.values())) == (columns, {1})


@torture
@pytest.mark.parametrize("round_", range(rounds(1, 0.1)))
def test_machines_that_are_killed_at_random_pay_for_each_chunk_once(
    sandbox, place, environment, tmp_path, round_
):
    from tests.torture import fill, fill_here

    chance = dice(f"claims {round_}")
    columns = 4
    folders = [tmp_path / name for name in ("one", "two")]

    def start(number):
        arguments = (sandbox.url, place, folders[number], environment, LONG, columns)
        process = context().Process(target=fill, args=arguments)
        process.start()
        return process

    running = [start(0), start(1)]
    for _ in range(chance.randint(2, 6)):
        time.sleep(chance.uniform(0, 1.2))
        number = chance.randrange(2)
        running[number].kill()
        running[number].join()
        running[number] = start(number)
    for process in running:
        process.join(120)
    assert [process.exitcode for process in running] == [0, 0]
    for folder in folders:  # what one has left to the other that was killed
        summary = fill_here(sandbox.url, place, folder, LONG, columns)
        assert (summary.failed, summary.left, summary.elsewhere) == ([], [], [])
    assert len(Archive(place).chunks()) == columns
    paid = starts(sandbox, ids(*folders))
    assert (len(paid), set(paid.values())) == (columns, {1})
    assert machine(place, "x").standing() == []


@pytest.mark.skipif(sys.platform == "win32", reason="not everybody may make links")
def test_two_homes_with_one_folder_share_its_journal_and_its_lock(tmp_path, monkeypatch):
    """Also where each has a link to it, or names it as a URL."""
    shared = tmp_path / "shared"
    shared.mkdir()
    folder = shared / "a.zarr"
    folder.mkdir()
    for home in ("one", "two"):
        (tmp_path / home).mkdir()
        (tmp_path / home / "mine.zarr").symlink_to(folder)
    names = [folder, folder.as_uri(), *(tmp_path / h / "mine.zarr" for h in ("one", "two"))]
    found = {workspace.downloads_folder(str(name)) for name in names}
    assert found == {shared / "a.zarr.downloads"}
