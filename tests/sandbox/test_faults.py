"""The sandbox's switches: each fault happens when it should, and only then."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time

import h5py
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from openeo.rest import OpenEoApiError
from openeo.rest.auth.oidc import OidcException
from openeo.rest.connection import Connection, connect

from sandbox import faults, jobs
from sandbox.faults import Switch
from tests.conftest import ROOT
from tests.waiting import until

BOX = {"west": 3.0, "south": 51.2, "east": 3.01, "north": 51.21}


def login(sandbox) -> Connection:
    return connect(sandbox.url, retry=False).authenticate_basic("sandbox", "sandbox")


def create(connection, title="a job"):
    cube = connection.load_collection(
        "SENTINEL1_GRD",
        spatial_extent=BOX,
        temporal_extent=["2026-01-20", "2026-01-21"],
        bands=["VV", "VH"],
        fetch_metadata=False,
    )
    return cube.create_job(title=title, out_format="netCDF", validate=False)


def wait(job, *statuses):
    return until(lambda: (found := job.status()) in statuses and found, statuses)


def asset_url(job):
    (asset,) = job.get_results().get_assets()
    return asset.href


@pytest.fixture
def faulty(sandbox):
    """The shared sandbox, without faults again when the test ends."""
    yield sandbox
    sandbox.clear_faults()


@pytest.fixture(scope="module")
def finished(sandbox):
    """A finished job."""
    job = create(login(sandbox), "finished")
    job.start()
    wait(job, "finished")
    return job


@pytest.fixture(scope="module")
def whole(finished):
    """The bytes of its result file."""
    return requests.get(asset_url(finished), timeout=10).content


def statuses(url, count):
    found = []
    for _ in range(count):
        try:
            found.append(requests.get(url, timeout=10).status_code)
        except requests.RequestException:
            found.append(0)
    return found


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("500", 500, "application/json"),
        ("503", 503, "application/json"),
        ("429", 429, "application/json"),
        ("502-html", 502, "text/html"),
        ("504", 504, "text/html"),
        ("html", 200, "text/html"),
    ],
)
def test_every_third_request_gets_the_fault_instead_of_an_answer(faulty, name, status, kind):
    faulty.fault(name)
    answers = [requests.get(f"{faulty.url}/openeo/1.2/", timeout=10) for _ in range(6)]
    bad = [i for i, a in enumerate(answers, 1) if not a.text.startswith('{"api_version"')]
    assert bad == [3, 6]
    assert answers[2].status_code == status
    assert answers[2].headers["Content-Type"].startswith(kind)
    if name == "429":
        assert answers[2].headers["Retry-After"] == "1"


@pytest.mark.parametrize("name", ["reset", "reset-body"])
def test_a_reset_breaks_the_connection(faulty, name):
    faulty.fault(f"{name}=2,times=1")
    assert statuses(f"{faulty.url}/openeo/1.2/processes", 5) == [200, 0, 200, 200, 200]


@pytest.mark.alone
def test_a_stalled_answer_comes_late(faulty):
    faulty.fault("stall=1,seconds=0.4,times=1")
    url = f"{faulty.url}/openeo/1.2/"
    with pytest.raises(requests.ReadTimeout):
        requests.get(url, timeout=0.2)
    assert requests.get(url, timeout=0.2).ok


def test_a_closed_port_refuses_connections_for_a_while(sandboxes):
    sandbox = sandboxes()
    url = f"{sandbox.url}/openeo/1.2/"
    sandbox.fault("refuse=2,seconds=1.5,times=1")
    assert statuses(url, 2) == [200, 0]
    time.sleep(0.25)
    with pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(url, timeout=5)
    until(lambda: statuses(url, 1) != [0], "an open port")


def test_a_fault_can_be_limited_to_some_requests(faulty):
    faulty.fault("500=1,path=/processes,times=2", "503=1,method=DELETE")
    root = f"{faulty.url}/openeo/1.2"
    assert statuses(f"{root}/", 3) == [200, 200, 200]
    assert statuses(f"{root}/processes", 3) == [500, 500, 200]
    assert requests.delete(f"{root}/jobs/x", timeout=10).status_code == 503
    assert faulty.control("faults")["faults"][0] == {
        "fault": "500=1,path=/processes,times=2",
        "met": 3,
        "fired": 2,
    }


def test_an_asset_that_is_cut_short_has_an_honest_length_and_half_a_body(faulty, finished, whole):
    faulty.fault("asset-short=1,times=1")
    answer = requests.get(asset_url(finished), stream=True, timeout=10)
    assert int(answer.headers["Content-Length"]) == len(whole)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        _ = answer.content


def test_an_asset_can_end_early_without_a_sign(faulty, finished, whole):
    faulty.fault("asset-short-clean=1,times=1")
    answer = requests.get(asset_url(finished), timeout=10)
    assert "Content-Length" not in answer.headers
    assert answer.content == whole[: len(whole) // 2]


@pytest.mark.parametrize("wrong_by", [1000, -1000])
def test_an_asset_can_have_the_wrong_length(faulty, finished, whole, wrong_by):
    faulty.fault(f"asset-wrong-length=1,bytes={wrong_by},times=1")
    answer = requests.get(asset_url(finished), stream=True, timeout=10)
    assert int(answer.headers["Content-Length"]) == len(whole) + wrong_by
    if wrong_by > 0:
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            _ = answer.content
    else:
        assert answer.content == whole[:wrong_by]


def test_an_asset_can_ignore_the_range(faulty, finished, whole):
    url, header = asset_url(finished), {"Range": "bytes=100-"}
    assert requests.get(url, headers=header, timeout=10).content == whole[100:]
    faulty.fault("asset-no-range=1,times=1")
    answer = requests.get(url, headers=header, timeout=10)
    assert (answer.status_code, answer.content) == (200, whole)


def test_an_asset_can_be_a_page(faulty, finished):
    faulty.fault("asset-html=1,times=1")
    answer = requests.get(asset_url(finished), timeout=10)
    assert answer.ok
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize("start", [0, 1000])
def test_one_byte_of_the_pixels_can_be_flipped(faulty, finished, whole, start, tmp_path):
    faulty.fault("asset-flip=1,times=1")
    header = {"Range": f"bytes={start}-"} if start else {}
    body = whole[:start] + requests.get(asset_url(finished), headers=header, timeout=10).content
    assert [a ^ b for a, b in zip(body, whole, strict=True) if a != b] == [0xFF]
    path = tmp_path / "flipped.nc"
    path.write_bytes(body)
    with h5py.File(path) as file, pytest.raises(OSError, match="filter"):
        for band in ("VV", "VH"):
            _ = file[band][:]


def test_an_asset_can_be_reset_half_way(faulty, finished, whole):
    faulty.fault("asset-reset=1,times=1")
    received = b""
    with pytest.raises(requests.RequestException):
        answer = requests.get(asset_url(finished), stream=True, timeout=10)
        for part in answer.iter_content(4096):
            received += part
    assert whole.startswith(received)
    assert len(received) < len(whole)


def test_an_asset_can_pause_half_way(faulty, finished, whole):
    faulty.fault("asset-stall=1,seconds=0.4,times=1")
    begin = time.monotonic()
    assert requests.get(asset_url(finished), timeout=10).content == whole
    assert time.monotonic() - begin > 0.4


@pytest.mark.parametrize(("name", "status"), [("asset-403", 403), ("asset-410", 410)])
def test_an_expired_link_stays_expired_and_a_fresh_one_works(faulty, finished, name, status):
    faulty.fault(f"{name}=1,times=1")
    old = asset_url(finished)
    assert statuses(old, 3) == [status] * 3
    if status == 410:
        assert requests.get(old, timeout=10).json()["code"] == "ResultLinkExpired"
    assert statuses(asset_url(finished), 1) == [200]


def test_a_link_expires_by_itself(sandboxes):
    sandbox = sandboxes("--link-seconds", "1", "--job-seconds", "0")
    job = create(login(sandbox))
    job.start()
    wait(job, "finished")
    url = asset_url(job)
    assert statuses(url, 1) == [200]
    until(lambda: statuses(url, 1) == [403], "the end of the link")
    assert statuses(asset_url(job), 1) == [200]


def test_a_link_cannot_be_changed(finished):
    url = asset_url(finished)
    assert statuses(url.replace("expires=1", "expires=2"), 1) == [403]
    assert requests.head(url, timeout=10).status_code == 403


def test_a_range_is_resumed_only_if_the_file_is_the_same(finished, whole):
    url = asset_url(finished)
    tag = requests.get(url, timeout=10).headers["ETag"]
    for if_range, status, body in ((tag, 206, whole[100:]), ('"other"', 200, whole)):
        header = {"Range": "bytes=100-", "If-Range": if_range}
        answer = requests.get(url, headers=header, timeout=10)
        assert (answer.status_code, answer.content) == (status, body)
    beyond = {"Range": f"bytes={len(whole)}-"}
    assert requests.get(url, headers=beyond, timeout=10).status_code == 416


def test_a_token_can_be_invalid_now_and_then(faulty):
    connection = login(faulty)
    faulty.fault("token-invalid=2,times=1")
    connection.list_jobs()
    with pytest.raises(OpenEoApiError, match="TokenInvalid"):
        connection.list_jobs()
    connection.list_jobs()


def test_a_lost_login_needs_a_new_one_or_comes_back_never(faulty):
    connection = login(faulty)
    faulty.fault("tokens-revoked")
    with pytest.raises(OpenEoApiError, match="TokenInvalid"):
        connection.list_jobs()
    connection = login(faulty)
    connection.list_jobs()
    faulty.fault("login-gone")
    with pytest.raises(OpenEoApiError, match="TokenInvalid"):
        connection.list_jobs()
    with pytest.raises(OpenEoApiError, match="CredentialsInvalid"):
        login(faulty)
    with pytest.raises(OidcException, match="invalid_grant"):
        connection.authenticate_oidc_client_credentials("sandbox-client", "sandbox-secret")
    faulty.clear_faults()
    connection.list_jobs()


@pytest.mark.parametrize(
    ("name", "code"),
    [("payment-required", "PaymentRequired"), ("job-limit", "ConcurrentJobLimit")],
)
def test_a_start_can_be_refused(faulty, name, code):
    job = create(login(faulty))
    faulty.fault(f"{name}=1,times=1")
    with pytest.raises(OpenEoApiError, match=code):
        job.start()
    assert job.status() == "created"
    job.start()
    wait(job, "finished")


@pytest.mark.parametrize("answer", ["reset", "502"])
def test_a_creation_can_be_carried_out_without_an_answer(faulty, answer):
    connection = login(faulty)
    title = f"lost by {answer}"
    faulty.fault(f"lost-create=1,times=1,answer={answer}")
    with pytest.raises((requests.ConnectionError, OpenEoApiError, Exception), match=r"502|abort"):
        create(connection, title)
    assert [j["status"] for j in connection.list_jobs() if j.get("title") == title] == ["created"]


def test_a_start_can_be_carried_out_without_an_answer(faulty):
    job = create(login(faulty))
    faulty.fault("lost-start=1,times=1")
    with pytest.raises(requests.ConnectionError):
        job.start()
    wait(job, "finished")


def test_jobs_meet_their_fate_by_their_number(sandboxes):
    fates = {
        "job-error": "error",
        "job-canceled": "canceled",
        "job-unknown-status": "postponed",
        "job-no-data-error": "error",
        "job-no-data-empty": "finished",
        "job-stuck": "queued",
    }
    flags = [f for i, name in enumerate(fates, 1) for f in ("--fault", f"{name}={i}")]
    sandbox = sandboxes("--job-seconds", "0.1", "--slots", "20", *flags)
    connection = login(sandbox)
    jobs = [create(connection, name) for name in [*fates, "usual"]]
    for job in jobs:
        job.start()
    for job, status in zip(jobs, [*fates.values(), "finished"], strict=True):
        wait(job, status)
    time.sleep(0.3)
    assert [j.status() for j in jobs] == [*fates.values(), "finished"]
    assert jobs[0].logs(level="error")[0]["code"] == "Internal"
    assert jobs[3].logs(level="error")[0]["code"] == "NoDataAvailable"
    assert jobs[4].get_results().get_assets() == []
    assert len(jobs[6].get_results().get_assets()) == 1
    jobs[5].stop()
    assert jobs[5].status() == "canceled"


def test_a_job_can_vanish_or_be_slow_chosen_by_its_title(faulty):
    connection = login(faulty)
    faulty.fault("job-vanishes,title=gone", "job-slow,title=slow,seconds=0.5")
    gone, slow = create(connection, "to be gone"), create(connection, "a slow one")
    gone.start()
    slow.start()
    with pytest.raises(OpenEoApiError, match="JobNotFound"):
        wait(gone, "finished")
    assert gone.job_id not in [j["id"] for j in connection.list_jobs()]
    wait(slow, "finished")
    times = {e["kind"]: e["time"] for e in faulty.events()["events"] if e["job"] == slow.job_id}
    assert times["finished"] - times["started"] >= 0.6


def test_results_can_lack_a_size_and_have_the_keys_of_stac_1_1(faulty, finished):
    job = login(faulty).job(finished.job_id)
    faulty.fault("no-file-size", "stac11")
    (asset,) = job.get_results().get_assets()
    assert re.fullmatch(r"[0-9a-f-]{36}_openEO", asset.key)
    assert "file:size" not in asset.metadata
    assert asset.metadata["type"] == "application/x-netcdf"


def test_a_restarted_sandbox_goes_on_with_its_jobs(sandboxes):
    sandbox = sandboxes("--job-seconds", "0.5", "--fault", "job-error=2")
    connection = login(sandbox)
    running, waiting = create(connection, "running"), create(connection, "waiting")
    running.start()
    sandbox.kill()
    sandbox.start()
    wait(running, "finished")
    assert requests.get(asset_url(running), timeout=10).ok
    waiting.start()
    wait(waiting, "error")
    third = create(connection, "third")
    third.start()
    wait(third, "finished")
    assert sandbox.events()["created_by_title"] == {"running": 1, "waiting": 1, "third": 1}


def test_the_sandbox_ends_when_its_standard_input_is_closed(sandboxes):
    sandbox = sandboxes()
    sandbox.process.stdin.close()
    assert sandbox.process.wait(timeout=10) == 0


def test_counts_go_on_after_a_restart_and_begin_anew_when_a_switch_is_turned_on(sandboxes):
    flags = ("--fault", "500=3,times=1", "--fault", "503=2,skip=3,times=1")
    sandbox = sandboxes(*flags)
    url = f"{sandbox.url}/openeo/1.2/"
    assert statuses(url, 4) == [200, 200, 500, 200]
    sandbox.stop()
    sandbox.start()
    assert statuses(url, 6) == [503, 200, 200, 200, 200, 200]
    for _ in range(2):
        sandbox.clear_faults()
        sandbox.fault("500=3,times=1")
        assert statuses(url, 4) == [200, 200, 500, 200]


@given(st.integers(1, 9), st.integers(0, 5), st.integers(1, 5))
def test_a_switch_fires_at_each_nth_after_the_skipped_until_its_times_are_over(n, skip, times):
    switch = Switch.parse(f"500={n},skip={skip},times={times}")
    fired = []
    for count in range(1, 100):
        if switch.decides(count):
            switch.fired += 1
            fired.append(count)
    assert fired == [skip + n * i for i in range(1, times + 1)]


@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_a_dice_falls_the_same_way_for_the_same_seed(seed, chance):
    switches = [Switch.parse(f"500,chance={chance},seed={seed}") for _ in range(2)]
    falls = [[s.decides(i) for i in range(1, 400)] for s in switches]
    assert falls[0] == falls[1]
    assert abs(sum(falls[0]) / 399 - chance) < 0.13


@pytest.mark.parametrize("text", ["nope", "500=0", "500=x", "500,colour=1", "stall,seconds=long"])
def test_a_wrong_switch_is_refused(text, sandbox):
    with pytest.raises(ValueError, match=re.escape(text.partition("=")[0].partition(",")[0])):
        Switch.parse(text)
    answer = requests.post(f"{sandbox.url}/_sandbox/faults", json={"add": [text]}, timeout=10)
    assert answer.status_code == 400
    command = [sys.executable, "-m", "sandbox", "--fault", text]
    if text == "nope":
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
        assert done.returncode == 2
        assert "no fault" in done.stderr


def test_every_switch_is_described_in_the_help():
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
    )
    assert done.returncode == 0
    for name in faults.NAMES:
        assert f"``{name}``" in done.stdout, name


def test_two_sandboxes_do_not_share_a_state(sandboxes, monkeypatch):
    sandbox = sandboxes()
    monkeypatch.setattr(jobs, "OWNER_SECONDS", 0.1)
    with pytest.raises(RuntimeError, match="Another sandbox uses"):
        jobs.State(sandbox.state)


def test_the_record_has_every_step_of_a_job(sandboxes):
    sandbox = sandboxes("--job-seconds", "0.2")
    job = create(login(sandbox), "recorded")
    job.start()
    wait(job, "finished")
    url = asset_url(job)
    requests.get(url, timeout=10)
    requests.get(url, headers={"Range": "bytes=0-9"}, timeout=10)
    sandbox.wait_for("downloaded", 2)
    record = sandbox.events()
    steps = [(e["kind"], e["detail"]) for e in record["events"]]
    assert steps == [
        ("created", None),
        ("started", None),
        ("finished", None),
        ("download", "whole"),
        ("downloaded", "whole"),
        ("download", "bytes=0-9"),
        ("downloaded", "bytes=0-9"),
    ]
    assert {(e["job"], e["title"]) for e in record["events"]} == {(job.job_id, "recorded")}
    times = [e["time"] for e in record["events"]]
    assert times == sorted(times)
    assert times[2] - times[1] >= 0.2
    assert [n for _, n in record["active"]] == [1, 0]
    assert record["statuses"] == {job.job_id: "finished"}
    assert record["requests"]["POST /jobs"] == 1


@pytest.mark.alone
def test_a_whole_tile_is_computed_without_holding_up_answers(sandboxes):
    sandbox = sandboxes("--job-seconds", "0")
    connection = login(sandbox)
    big = connection.load_collection(
        "SENTINEL1_GRD",
        spatial_extent={"west": 3, "south": 51, "east": 4, "north": 51.2},
        temporal_extent=["2026-01-20", "2026-01-21"],
        fetch_metadata=False,
    )
    job = big.create_job(title="big", out_format="netCDF", validate=False)
    job.start()
    waits = []
    while True:
        begin = time.monotonic()
        status = job.status()
        waits.append(time.monotonic() - begin)
        if status == "finished":
            break
        time.sleep(0.02)
    assert len(waits) > 10
    assert sorted(waits)[int(0.95 * len(waits))] < 0.3


MENDED: dict[
    str, tuple[dict[str, object], str]
] = {  # what helps a job, and the words of one that was not helped
    "job-memory": ({"python-memory": "10G", "executor-memory": "5G"}, "used too much memory"),
    "job-driver-memory": ({"driver-memory": "30G"}, "'driver' used too much java memory"),
    "job-executor-lost": ({"executor-memoryOverhead": "14G"}, "exit code 137"),
    "job-silent": ({"python-memory": "14G"}, ""),
    "job-product": ({"soft-errors": 0.5}, "Too many soft errors (0.5 > 0.1)"),
    "job-no-band": ({}, "No tiff for band VH in /eodata/"),
    "job-unsupported": ({}, "FeatureUnsupported"),
}


@pytest.mark.parametrize("name", MENDED)
def test_a_job_fails_by_what_its_options_ask_for(faulty, name):
    helpful, words = MENDED[name]
    faulty.fault(name)
    connection = login(faulty)
    graph = create(connection).describe()["process"]["process_graph"]
    for options, status in (({}, "error"), (helpful, "finished" if helpful else "error")):
        job = connection.create_job(graph, title="a job", job_options=options, validate=False)
        job.start()
        assert wait(job, "finished", "error") == status
        if status == "error":
            said = " ".join(entry["message"] for entry in job.logs(level="error"))
            assert words in said
            assert bool(said) == bool(words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"executor-memory": "60G", "executor-memoryOverhead": "5G"}, "executor memory: 60G + 5G"),
        ({"driver-memory": "63G"}, "too much driver memory: 63G + 2G, the max for this instance"),
        ({"executor-cores": 5}, "too many executor cores: 5 , the max for this instance is: 4"),
        ({"soft-errors": "0.3"}, "invalid value 0.3 for job_option soft-errors"),
    ],
)
def test_options_are_refused_when_the_job_is_started(sandbox, options, words):
    connection = login(sandbox)
    graph = create(connection).describe()["process"]["process_graph"]
    job = connection.create_job(graph, job_options=options, validate=False)
    assert job.describe()["job_options"] == options
    with pytest.raises(OpenEoApiError, match="400") as refused:
        job.start()
    assert words in str(refused.value)


def test_a_status_lags_behind_its_start_and_a_log_behind_its_job(faulty):
    faulty.fault("status-lag=1,seconds=1.5,times=1", "log-empty=1,times=1", "log-fails=1,times=1")
    job = create(login(faulty))
    job.start()
    assert job.status() == "created"
    wait(job, "finished")
    logs = [[entry["message"] for entry in job.logs()] for _ in range(3)]
    assert logs[0] == []
    assert [words.startswith("Log collection for job") for words in logs[1]] == [True]
    assert logs[2][-1] == "The job has finished."


def test_results_may_be_hidden_or_name_items_only(faulty, finished):
    # Tests of lost logins share the sandbox.
    finished.connection.authenticate_basic("sandbox", "sandbox")
    faulty.fault("results-empty=1,times=1", "results-items=2,times=1")
    first = finished.get_results().get_metadata()
    assert (first["assets"], [link["rel"] for link in first["links"]]) == (
        {},
        ["self", "canonical"],
    )
    second = finished.get_results().get_metadata()
    (item,) = [link["href"] for link in second["links"] if link["rel"] == "item"]
    assert second["assets"] == {}
    assert list(finished.connection.get(item).json()["assets"]) == ["openEO.nc"]


def test_a_slow_start_refuses_a_second_one_meanwhile(faulty):
    faulty.fault("start-slow=1,seconds=1,times=1")
    job = create(login(faulty))
    first = threading.Thread(target=job.start)
    first.start()
    until(lambda: faulty.control("faults")["faults"][0]["fired"], "the first start")
    with pytest.raises(OpenEoApiError, match=r"\[400\] Internal: Batch job .* already started"):
        job.start()
    first.join()
    assert wait(job, "finished") == "finished"


def test_a_list_may_lack_a_part_of_the_federation_or_its_next_page(faulty):
    connection = login(faulty)
    for _ in range(3):
        create(connection)
    faulty.fault("federation-missing=1,times=1", "list-no-next=1,times=1")
    missing = connection.get("/jobs", params={"limit": 2}).json()
    assert (missing["federation:missing"], missing["jobs"]) == (["b1"], [])
    assert connection.get("/jobs", params={"limit": 2}).json()["links"] == []
    assert connection.get("/jobs", params={"limit": 2}).json()["links"] != []
