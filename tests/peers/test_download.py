"""The whole `download` against openeo-driver, with oidc-provider and stac-fastapi-geoparquet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import xarray as xr

import download
import main
from cli.exits import DONE
from jobs import login
from store import Archive
from tests.conftest import ROOT

BOX = "3.73,51.21,3.79,51.27"  # parts of four tiles of 0.04 x 0.04 degrees
DAY = "2026-01-20"
NO_DATA_LINE = (
    "OpenEO batch job failed: NoDataAvailable: There is no data available for the given extents."
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(download, "CHUNK_SIZE", [0.04, 0.04])
    monkeypatch.setattr(download, "POLL_WAIT_TIME", 0.2)
    monkeypatch.setattr(download, "START_INTERVAL", 0.0)
    monkeypatch.setattr(download, "START_LAG", 1.0)


@pytest.fixture
def catalogue(sandbox):
    return f"{sandbox.url}/stac"


def logged_in(peer, somebody):
    login.connect(peer.url, True, somebody)
    return peer


def flags(peer, catalogue, path="peer.zarr"):
    area = ["--bbox", BOX, "--start", DAY, "--end", DAY]
    return ["download", *area, "--backend", peer.url, "--catalogue", catalogue, "--yes",
            "--archive", path]  # fmt: skip


def test_what_comes_is_what_the_sandbox_gives(
    provider, back_end, catalogue, somebody, sandbox, monkeypatch
):
    peer = logged_in(back_end(provider()), somebody)
    assert main.main(flags(peer, catalogue)) == DONE
    assert set(peer.created().values()) == {1}
    assert len(peer.created()) == 4
    assert peer.most_at_a_time() == 2

    secret = {"METHOD": "client_credentials", "PROVIDER_ID": "sandbox"}
    secret |= {"CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret"}
    for name, value in secret.items():
        monkeypatch.setenv(f"OPENEO_AUTH_{name}", value)
    assert main.main(flags(sandbox, catalogue, "sandbox.zarr")) == DONE
    ours, theirs = Archive("sandbox.zarr"), Archive("peer.zarr")
    assert {c.name for c in ours.chunks()} == {c.name for c in theirs.chunks()}
    for chunk in ours.chunks():
        xr.testing.assert_identical(ours.read(chunk).drop_attrs(), theirs.read(chunk).drop_attrs())


def test_a_catalogue_of_others_says_the_same_as_the_sandbox(
    back_end, catalogue, items, monkeypatch, capsys
):
    """stac-fastapi-geoparquet, which leaves out properties that it was asked for."""
    peer, theirs = back_end(), items(f"{DAY}T00:00:00Z/{DAY}T23:59:59Z", BOX)
    plans = []
    for address in (catalogue, theirs):
        assert main.main([*flags(peer, address), "--dry-run", "--json"]) == DONE
        plans.append(json.loads(capsys.readouterr().out) | {"catalogue": ""})
    assert plans[0] == plans[1]
    assert plans[0]["chunks"] == 4


def test_a_download_outlives_its_login_many_times(
    provider, back_end, catalogue, somebody, monkeypatch
):
    """Tokens of 2 s, refresh tokens of 8 s that are good once, and jobs of 5 s."""
    monkeypatch.setattr(login._Renewal, "FRESH", 0.5)
    peer = logged_in(back_end(provider(2, 8), job_seconds=5), somebody)
    assert main.main(flags(peer, catalogue)) == DONE
    assert set(peer.created().values()) == {1}
    assert len(peer.events("token expired")) >= 4


def test_failures_are_ordered_again_and_no_data_is_an_end(provider, back_end, catalogue, somebody):
    peer = logged_in(back_end(provider()), somebody)
    peer.fault(
        {"job": "E003.72_N51.2_", "log": ["Stage error: the executor went away"]},
        {"job": "E003.76_N51.2_", "log": [NO_DATA_LINE]},
    )
    code = main.main(flags(peer, catalogue))
    created = peer.created()
    assert (code, sorted(created.values())) == (DONE, [1, 1, 1, 1, 1]), created


def test_a_proxy_that_loses_answers_costs_no_second_job(provider, back_end, catalogue, somebody):
    peer = logged_in(back_end(provider()), somebody)
    peer.fault(
        {"path": "/jobs", "method": "POST", "status": 502},
        {"path": "/results", "method": "POST", "status": 504},
        {"path": "/results", "method": "GET", "status": 503},
        {"path": "/results/assets", "method": "GET", "status": 500},
        {"path": "/logs", "method": "GET", "status": 502},
    )
    assert main.main(flags(peer, catalogue)) == DONE
    assert set(peer.created().values()) == {1}


PROGRAM = """
import sys
import download, main
download.CHUNK_SIZE = [0.04, 0.04]
download.POLL_WAIT_TIME, download.START_INTERVAL, download.START_LAG = 0.2, 0.0, 1.0
sys.exit(main.main(sys.argv[1:]))
"""


def test_jobs_are_adopted_after_kill_9(provider, back_end, catalogue, somebody):
    peer = logged_in(back_end(provider(), job_seconds=3), somebody)
    command = [sys.executable, "-c", PROGRAM, *flags(peer, catalogue)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kind, number in (("created", 1), ("started", 2), ("ended", 2)):
        running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while len(peer.events(kind)) < number and running.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        running.kill()
        running.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == DONE, done.stderr
    assert set(peer.created().values()) == {1}
    assert len(peer.created()) == 4
    assert len(Archive("peer.zarr").chunks()) == 4
