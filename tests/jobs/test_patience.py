"""Nothing that is paid for is given up on one look.

Each fault is one of the sandbox's switches, over HTTP.  Stated are the jobs that were
ordered, the end, and the words: what was ordered once is paid for once.
"""

from __future__ import annotations

import dataclasses
import json
import threading

import pytest

import download
from jobs import recipe, remote
from jobs.journal import State
from jobs.trouble import Kind, Trouble
from store import Archive
from tests.downloading import (
    LABEL,
    QUICK,
    connect,
    created_for,
    journal_of,
    plan,
    run,
)
from tests.rounds import torture, turns
from tests.waiting import until

PATIENT = dataclasses.replace(QUICK, empty_wait=3.0, log_wait=3.0, start_lag=5.0)
PROMISE = json.dumps({"covered": 0.83, "relative_orbits": [15], "platforms": [], "acquired": []})


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "a.zarr")


def one(url, archive, pace=QUICK, **more):
    return run(url, archive, columns=1, days=1, pace=pace, **more)


def jobs(sandbox, archive):
    return len(created_for(sandbox.events(), archive))


def count(sandbox, kind, archive):
    ours = created_for(sandbox.events(), archive)
    return sum(e["kind"] == kind and e["title"] in ours for e in sandbox.events()["events"])


def ordered(chunk):
    """The order of a chunk by the constants."""
    return download.settings().recipe.order(chunk)


def prepared(archive, state, images="", **fields):
    """A row of an earlier run for the one chunk."""
    journal = journal_of(archive)
    (chunk,) = plan(archive, 1, 1).missing
    (row,) = journal.plan(LABEL, [(chunk, recipe.digest(ordered(chunk)))], images=lambda _: images)
    row = journal.note(row, state, **fields)
    journal.close()
    return row


def finished_job(sandbox, archive, state, images="", **fields):
    """As `prepared`, with a job that has run."""
    row = prepared(archive, state, images)
    connection = connect(sandbox.url)
    job = connection.create(ordered(row.chunk), row.title)
    connection.start(job)
    until(lambda: connection.status(job).status == "finished", "the end")
    journal_of(archive).note(row, state, job_id=job, **fields)
    return job


# --- results ----------------------------------------------------------------------------

LISTINGS = [
    "results-empty=1,times=1", "results-items", "asset-no-type", "asset-more",
    "asset-404=1,times=2", "asset-500=1,times=2", "asset-no-validators=1",
]  # fmt: skip


@torture
@pytest.mark.parametrize("fault", turns(LISTINGS))
def test_a_result_that_is_listed_in_another_way_or_later_is_fetched(fault, faulty, archive):
    faulty.fault(fault)
    summary = one(faulty.url, archive, PATIENT)
    assert (len(summary.archived), summary.failed, summary.empty) == (1, [], [])
    assert jobs(faulty, archive) == 1


def test_a_job_without_a_promised_file_is_doubtful_and_fetched_in_the_next_run(faulty, archive):
    faulty.fault("results-empty")
    now = journal_of(archive).now()
    finished_job(faulty, archive, State.FINISHED, PROMISE, finished=now, started=now - 1)
    summary = one(faulty.url, archive)
    [(_, reason)] = summary.doubtful
    assert "without any file, though the catalogue has images of 83 % of it" in reason
    assert (summary.empty, summary.failed) == ([], [])
    assert journal_of(archive).rows()[0].state is State.DOUBTFUL
    assert journal_of(archive).unfinished_request() is not None
    assert len(one(faulty.url, archive).doubtful) == 1
    faulty.clear_faults()
    assert len(one(faulty.url, archive).archived) == 1
    assert jobs(faulty, archive) == 1


def test_a_doubtful_job_is_empty_after_a_day_and_says_what_was_promised(faulty, archive):
    faulty.fault("results-empty")
    long_ago = journal_of(archive).now() - 30 * 3600
    finished_job(faulty, archive, State.DOUBTFUL, PROMISE, finished=long_ago, started=long_ago)
    summary = one(faulty.url, archive)
    assert (len(summary.empty), summary.doubtful) == (1, [])
    (row,) = journal_of(archive).rows()
    assert "images of 83 % of it, and 30 hours after its end" in row.reason
    assert jobs(faulty, archive) == 1


def test_a_listed_file_that_stays_missing_ends_in_hours_over_several_runs(faulty, archive):
    faulty.fault("asset-404=1")
    told = []
    four_hours = dataclasses.replace(QUICK, missing_wait=4 * 3600)

    def stop(event):
        told.append(event.reason)
        if "2 times so far" in event.reason:
            raise KeyboardInterrupt

    with pytest.raises(download.Interrupted):
        one(faulty.url, archive, four_hours, observer=stop)
    assert any("lists its file but does not give it: HTTP 404" in words for words in told)
    journal = journal_of(archive)
    (row,) = journal.rows()
    assert row.refused >= 2
    journal.note(row, row.state, refused_since=journal.now() - 5 * 3600)
    journal.close()
    summary = one(faulty.url, archive, four_hours)
    [(_, reason)] = summary.failed
    assert "in 5 hours" in reason
    assert "Run the same command" in reason
    assert jobs(faulty, archive) == 1
    # Somebody has asked again: it is looked for once more, then ordered anew.
    faulty.clear_faults()
    faulty.fault(f"asset-404=1,path={row.job_id}")
    assert len(one(faulty.url, archive, four_hours).archived) == 1
    assert jobs(faulty, archive) == 2


# --- starts -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.CREATED, State.STARTING])
def test_a_job_that_was_started_by_hand_after_a_kill_costs_nothing_more(faulty, archive, state):
    finished_job(faulty, archive, state)
    summary = one(faulty.url, archive)
    assert (len(summary.archived), summary.failed) == (1, [])
    assert jobs(faulty, archive) == 1
    assert count(faulty, "start refused", archive) == 0


@pytest.mark.parametrize("fault", ["", "start-ended-400"])
def test_a_refused_start_of_a_job_that_has_ended_leads_to_its_result(fault, faulty, archive):
    """Somebody starts it between the question and the start."""
    if fault:
        faulty.fault(fault)
    connection = connect(faulty.url)
    start = connection.start

    def late(job_id):
        start(job_id)
        until(lambda: connection.status(job_id).status == "finished", "the end")
        start(job_id)

    connection.start = late  # the real requests, one of them somebody else's
    summary = one(faulty.url, archive, connection=connection)
    assert (len(summary.archived), summary.failed) == (1, [])
    assert jobs(faulty, archive) == 1


def test_a_status_that_lags_behind_its_start_is_no_reason_for_another_one(faulty, archive):
    faulty.fault("status-lag=1,seconds=1.5")
    summary = one(faulty.url, archive, PATIENT)
    assert len(summary.archived) == 1
    assert count(faulty, "started", archive) == 1
    assert count(faulty, "start ignored", archive) == 0
    assert jobs(faulty, archive) == 1


def test_a_start_that_takes_longer_than_we_wait_is_not_sent_again(faulty, archive):
    faulty.fault("start-slow=1,seconds=2,times=1")
    connection = connect(faulty.url, timeout=(0.4, 0.4))
    summary = one(faulty.url, archive, PATIENT, connection=connection)
    assert (len(summary.archived), summary.failed) == (1, [])
    assert count(faulty, "started twice", archive) == 0
    assert jobs(faulty, archive) == 1


def test_a_job_that_is_being_started_already_is_waited_for(faulty, archive):
    faulty.fault("start-slow=1,seconds=1.5,times=1")
    row = prepared(archive, State.CREATED)
    connection = connect(faulty.url)
    job = connection.create(ordered(row.chunk), row.title)
    journal_of(archive).note(row, State.CREATED, job_id=job)
    hand = threading.Thread(target=lambda: connect(faulty.url, timeout=(5, 5)).start(job))
    hand.start()
    until(lambda: faulty.control("faults")["faults"][0]["fired"], "the first start")
    summary = one(faulty.url, archive, PATIENT)
    hand.join()
    assert (len(summary.archived), summary.failed) == (1, [])
    assert count(faulty, "started twice", archive) == 1
    assert count(faulty, "started", archive) == 1
    assert jobs(faulty, archive) == 1


def test_a_start_that_was_lost_is_sent_again_after_its_time(faulty, archive):
    faulty.fault("500=1,times=1,method=POST,path=/results")
    summary = one(faulty.url, archive)
    assert len(summary.archived) == 1
    assert summary.seconds > QUICK.start_lag
    assert jobs(faulty, archive) == 1


# --- orders -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["federation-missing=1,times=2", "list-no-next=1"])
def test_a_list_that_is_not_whole_does_not_cost_a_second_order(fault, faulty, archive, monkeypatch):
    monkeypatch.setattr(remote, "PAGE", 2)
    row = prepared(archive, State.CREATING)
    connection = connect(faulty.url)
    order = ordered(row.chunk)
    connection.create(order, row.title)
    others = [connection.create(order, f"{archive.path} {n}") for n in range(3)]
    faulty.fault(fault)
    summary = one(faulty.url, archive)
    assert (len(summary.archived), summary.failed) == (1, [])
    assert jobs(faulty, archive) == 1
    for job in others:
        connection.delete(job)


def test_a_list_without_a_part_of_the_federation_says_which(faulty):
    faulty.fault("federation-missing")
    with pytest.raises(Trouble, match="b1 of the federation did not answer") as trouble:
        connect(faulty.url).find("no such title")
    assert trouble.value.kind is Kind.PASSING
