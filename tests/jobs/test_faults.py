"""The back end misbehaves: nothing is lost, nothing is ordered twice.

Every test runs the same request against the sandbox with some of its fault switches on,
over real HTTP, and compares with a clean run: the same bytes in the archive, the same
chunks without data, one job for each chunk and one more for each that the back end lost.
"""

from __future__ import annotations

import dataclasses
import random
import threading

import pytest

from jobs.journal import State
from jobs.trouble import CreditsNeeded, LoginNeeded
from store import Archive
from tests.downloading import (
    QUICK,
    connect,
    created_for,
    folder_of,
    journal_of,
    most_pending,
    plan,
    raw_files,
    run,
    tree,
)
from tests.processes import context
from tests.rounds import dice, rounds, torture, turns


@pytest.fixture(scope="module")
def clean(sandbox, tmp_path_factory):
    """The archive of a run without faults, and its summary."""
    archive = Archive(tmp_path_factory.mktemp("clean") / "a.zarr")
    summary = run(sandbox.url, archive)
    assert len(summary.archived) == 2
    assert len(summary.empty) == 2
    assert len(created_for(sandbox.events(), archive)) == 4
    return archive, summary


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "a.zarr")


def fired(sandbox):
    return sum(fault["fired"] for fault in sandbox.control("faults")["faults"])


def assert_same(archive, summary, clean):
    """Everything came to the end that it came to without faults, and nothing is left over."""
    assert summary.failed == []
    assert summary.left == []
    assert summary.stopped is None
    assert sorted(summary.empty) == sorted(clean[1].empty)
    assert tree(archive.path) == tree(clean[0].path)
    assert raw_files(archive) == []
    states = {row.state for row in journal_of(archive).latest("sandbox").values()}
    assert states == {State.ARCHIVED, State.EMPTY}


PASSING = [
    "500=3", "503=4", "502-html=3", "504=3", "429=5,times=2", "html=4",
    "reset=4", "reset-body=4", "refuse=9,seconds=0.3,times=2", "stall=9,seconds=3,times=2",
    "token-invalid=5", "tokens-revoked=4", "job-limit=2", "job-slow=2,seconds=0.3",
    "lost-create=1,times=3", "lost-create=2,answer=502",
    "lost-start=1,times=3", "lost-start=2,answer=502",
    "asset-short=2", "asset-short-clean=2", "asset-reset=2", "asset-stall=2,seconds=3,times=1",
    "asset-wrong-length=2", "asset-wrong-length=2,bytes=-900", "asset-no-range=1",
    "asset-html=2", "asset-flip=2", "asset-403=2", "asset-410=2", "stac11", "no-file-size",
    "text-string", "text-latin1",
]  # fmt: skip


@torture
@pytest.mark.parametrize("fault", turns(PASSING, 8))
def test_a_passing_fault_costs_no_job(fault, faulty, archive, clean):
    connection = connect(faulty.url, timeout=(0.5, 0.5))
    faulty.fault(fault)
    summary = run(faulty.url, archive, connection=connection)
    assert fired(faulty) > 0
    assert_same(archive, summary, clean)
    events = faulty.events()
    assert list(created_for(events, archive).values()) == [1, 1, 1, 1]
    assert events["max_active"] <= 2
    assert most_pending(events, archive) <= QUICK.max_pending


COSTLY = [
    "job-error=2", "job-canceled=1", "job-vanishes=3", "job-stuck=2", "job-unknown-status=2",
    "job-error=1,every=4",
]  # fmt: skip


@torture
@pytest.mark.parametrize("fault", turns(COSTLY))
def test_a_job_that_the_back_end_loses_is_replaced_once(fault, faulty, archive, clean):
    faulty.fault(fault)
    summary = run(faulty.url, archive, pace=dataclasses.replace(QUICK, stuck_after=1.0))
    lost = fired(faulty)
    assert lost > 0
    assert_same(archive, summary, clean)
    created = created_for(faulty.events(), archive)
    assert set(created.values()) == {1}
    assert len(created) == 4 + lost


@pytest.mark.parametrize("fault", ["job-no-data-error=1", "job-no-data-empty=1"])
def test_no_data_in_either_form_is_an_end_that_is_remembered(fault, faulty, archive):
    faulty.fault(fault)
    summary = run(faulty.url, archive, columns=1, days=1)
    assert len(summary.empty) == 1
    faulty.clear_faults()
    again = plan(archive, columns=1, days=1)
    assert (again.missing, len(again.empty)) == ([], 1)
    summary = run(faulty.url, archive, columns=1, days=1, retry_empty=True)
    assert len(summary.archived) == 1


def test_a_job_that_fails_every_time_is_given_up_with_the_reason(faulty, archive):
    faulty.fault("job-error")
    summary = run(faulty.url, archive, columns=2, days=1)
    assert len(summary.failed) == 2
    for _, reason in summary.failed:
        assert "Connection reset" in reason
        assert "3 times" in reason
    assert len(created_for(faulty.events(), archive)) == 2 * QUICK.max_trys
    faulty.clear_faults()
    assert len(run(faulty.url, archive, columns=2, days=1).archived) == 2


def test_without_credits_the_run_fetches_what_runs_and_stops(faulty, archive, clean):
    faulty.fault("payment-required=3")
    summary = run(faulty.url, archive)
    assert isinstance(summary.stopped, CreditsNeeded)
    assert "credits" in str(summary.stopped)
    assert len(summary.archived) + len(summary.empty) == 2
    assert len(summary.left) == 2
    assert summary.failed == []
    faulty.clear_faults()
    summary = run(faulty.url, archive)
    assert tree(archive.path) == tree(clean[0].path)
    created = created_for(faulty.events(), archive)
    assert (len(created), set(created.values())) == (4, {1})


def test_a_login_that_is_gone_stops_the_run_and_keeps_everything(faulty, archive, clean):
    connection = connect(faulty.url)
    faulty.fault("login-gone=9")
    summary = run(faulty.url, archive, connection=connection)
    assert isinstance(summary.stopped, LoginNeeded)
    assert "Log in again" in str(summary.stopped)
    assert summary.failed == []
    assert summary.left
    faulty.clear_faults()
    summary = run(faulty.url, archive)
    assert summary.failed == []
    assert tree(archive.path) == tree(clean[0].path)
    created = created_for(faulty.events(), archive)
    assert (len(created), set(created.values())) == (4, {1})


def test_one_chunks_endless_trouble_is_given_up_and_its_job_is_kept(faulty, archive):
    faulty.fault("asset-403=1")
    pace = dataclasses.replace(QUICK, patience=0.5)
    summary = run(faulty.url, archive, columns=1, days=1, pace=pace)
    assert [reason for _, reason in summary.failed] == [summary.failed[0][1]]
    assert "HTTP 403" in summary.failed[0][1]
    assert "again and again" in summary.failed[0][1]
    faulty.clear_faults()
    assert len(run(faulty.url, archive, columns=1, days=1).archived) == 1
    assert list(created_for(faulty.events(), archive).values()) == [1]


def test_a_back_end_that_is_down_as_a_whole_is_waited_for(faulty, archive):
    connection = connect(faulty.url)
    faulty.fault("503=1")
    threading.Timer(1.2, faulty.clear_faults).start()
    pace = dataclasses.replace(QUICK, patience=0.2)
    summary = run(faulty.url, archive, columns=1, days=1, connection=connection, pace=pace)
    assert (len(summary.archived), summary.failed) == (1, [])
    assert summary.seconds > 1


MIXED = [
    "500=7", "502-html=9", "503=11", "429=13,times=2", "reset=8", "reset-body=10", "html=12",
    "asset-short=3", "asset-short-clean=4", "asset-reset=3", "asset-html=4", "asset-flip=3",
    "asset-403=4", "asset-410=5", "asset-no-range=2", "asset-wrong-length=4", "lost-create=3",
    "lost-start=3", "job-limit=3", "stac11=2", "no-file-size=2", "tokens-revoked=15",
    "job-error=2", "job-canceled=4", "job-vanishes=5", "job-unknown-status=3",
]  # fmt: skip


@torture
@pytest.mark.parametrize("seed", turns(range(10), 5))
def test_a_mixture_of_faults_ends_like_a_clean_run(seed, faulty, archive, clean):
    chosen = random.Random(seed).sample(MIXED, 7)
    connection = connect(faulty.url, timeout=(0.5, 0.5))
    # The sandbox counts by the text of a switch: the seed makes this test's counts its own.
    faulty.fault(*(f"{fault},seed={seed}" for fault in chosen))
    pace = dataclasses.replace(QUICK, max_trys=6, stuck_after=2.0, dice=random.Random(seed))
    summary = run(faulty.url, archive, connection=connection, pace=pace)
    faults = faulty.control("faults")["faults"]
    lost = sum(
        f["fired"] for f in faults if f["fault"].startswith("job-") and "limit" not in f["fault"]
    )
    assert_same(archive, summary, clean)
    events = faulty.events()
    created = created_for(events, archive)
    assert set(created.values()) == {1}
    assert len(created) == 4 + lost
    assert events["max_active"] <= 2
    assert most_pending(events, archive) <= QUICK.max_pending


def test_the_log_tells_every_step_and_no_secret(faulty, archive):
    faulty.fault("502-html=4", "asset-403=2")
    run(faulty.url, archive)
    log = (folder_of(archive) / "download.log").read_text()
    assert "signature=" not in log
    assert "Bearer" not in log
    for word in (
        "creating",
        "starting",
        "finished",
        "downloading",
        "archived",
        "PASSING: HTTP 502",
    ):
        assert word in log


@torture
def test_kill_at_any_moment_loses_nothing_and_orders_nothing_twice(sandbox, tmp_path, clean):
    """Killed again and again until it happens to finish, then the same with a new archive."""
    from tests.torture import work  # takes seconds, which the other tests need not wait

    chance, processes, most = dice("faults"), context(), rounds(6)
    kills = done = 0
    while kills < most:
        archive = Archive(tmp_path / f"{done}.zarr")
        done += 1
        finished = False
        while not finished and kills < most:
            process = processes.Process(target=work, args=(sandbox.url, archive.path))
            process.start()
            process.join(chance.uniform(0.02, 0.5))
            finished = process.exitcode == 0
            assert finished or process.exitcode is None, "the worker failed by itself"
            process.kill()
            process.join()
            kills += not finished
        summary = run(sandbox.url, archive)
        assert summary.failed == []
        assert summary.left == []
        assert tree(archive.path) == tree(clean[0].path)
        assert raw_files(archive) == []
        created = created_for(sandbox.events(), archive)
        assert (len(created), set(created.values())) == (4, {1})
    assert sandbox.events()["max_active"] <= 2
