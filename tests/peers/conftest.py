"""The peers as child processes on loopback, and somebody at a browser."""

from __future__ import annotations

import contextlib
import html.parser
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import ROOT, Sandbox
from tests.peers import install

HERE = Path(__file__).parent
LONGEST_START = 60.0  # s


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def running(log: Path, *command: str, cwd: Path = ROOT, probe: str) -> Iterator[None]:
    """A server, from its first answer at an address to the end of the block."""
    with log.open("wb") as out:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENEO_AUTH")}
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=out, stderr=out)
    try:
        end = time.monotonic() + LONGEST_START
        while True:
            with contextlib.suppress(requests.RequestException):
                requests.get(probe, timeout=5)
                break
            words = log.read_text(errors="replace")[-3000:]
            assert process.poll() is None, words
            assert time.monotonic() < end, words
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def require(*names: str) -> None:
    for name in names:
        if why := install.missing(name):
            pytest.skip(why)


class BackEnd:
    """openeo-driver on loopback: ``url``, what happened, and what is to go wrong."""

    def __init__(self, url: str) -> None:
        self.url = url

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        found = requests.get(f"{self.url}/_peer/events", timeout=10).json()
        return [e for e in found if kind in ("", e["kind"])]

    def fault(self, *faults: dict[str, Any]) -> None:
        assert requests.post(f"{self.url}/_peer/faults", json=list(faults), timeout=10).ok

    def created(self) -> dict[str, int]:
        """How many jobs there were, by title."""
        titles = [e["title"] for e in self.events("created")]
        return {title: titles.count(title) for title in titles}

    def most_at_a_time(self) -> int:
        """The most jobs that ran at any one time."""
        now = most = 0
        for event in self.events():
            now += (event["kind"] == "started") - (event["kind"] == "ended")
            most = max(most, now)
        return most


@pytest.fixture
def provider(tmp_path):
    """npm's oidc-provider: ``provider(access_seconds, refresh_seconds)`` gives its address."""
    require("node")
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    with contextlib.ExitStack() as stack:

        def start(access: int = 600, refresh: int = 3600) -> str:
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            command = node, "provider.mjs", str(port), str(access), str(refresh)
            probe = f"{url}/.well-known/openid-configuration"
            shutil.copy(HERE / "provider.mjs", install.PEERS / "node")
            stack.enter_context(
                running(
                    tmp_path / f"provider{port}.log",
                    *command,
                    cwd=install.PEERS / "node",
                    probe=probe,
                )
            )
            return url

        yield start


@pytest.fixture
def back_end(tmp_path):
    """openeo-driver: ``back_end(issuer, job_seconds=...)``."""
    require("openeo")
    with contextlib.ExitStack() as stack:

        def start(issuer: str = "", job_seconds: float = 0.2, link_seconds: int = 3600) -> BackEnd:
            port = free_port()
            about = tmp_path / f"backend{port}.json"
            given = {
                "port": port,
                "issuer": issuer,
                "folder": str(tmp_path / f"results{port}"),
                "job_seconds": job_seconds,
                "link_seconds": link_seconds,
                "program": [sys.executable, "-m", "tests.peers.raster"],
                "root": str(ROOT),
            }
            about.write_text(json.dumps(given))
            url = f"http://127.0.0.1:{port}"
            command = str(install.python("openeo")), str(HERE / "backend.py"), str(about)
            stack.enter_context(
                running(
                    about.with_suffix(".log"), *command, cwd=tmp_path, probe=f"{url}/openeo/1.2/"
                )
            )
            return BackEnd(url)

        yield start


@pytest.fixture
def items(tmp_path, sandbox: Sandbox):
    """stac-fastapi-geoparquet with the sandbox's items of some days: ``items("A/B", bbox)``."""
    require("stac")
    with contextlib.ExitStack() as stack:

        def start(days: str, bbox: str) -> str:
            asked = {"datetime": days, "bbox": bbox, "limit": "500"}
            asked["collections"] = "sentinel-1-grd"
            found = requests.get(f"{sandbox.url}/stac/search", params=asked, timeout=30).json()
            assert found["features"], "the sandbox has no items there"
            collection = requests.get(
                f"{sandbox.url}/stac/collections/sentinel-1-grd", timeout=30
            ).json()
            collection["assets"] = {
                "items": {
                    "href": str(tmp_path / "items.parquet"),
                    "type": "application/vnd.apache.parquet",
                }
            }
            (tmp_path / "items.json").write_text(json.dumps(found))
            (tmp_path / "collections.json").write_text(json.dumps([collection]))
            port = free_port()
            files = str(tmp_path / "items.json"), str(tmp_path / "collections.json")
            command = str(install.python("stac")), str(HERE / "items.py"), *files, str(port)
            url = f"http://127.0.0.1:{port}"
            stack.enter_context(running(tmp_path / "items.log", *command, cwd=tmp_path, probe=url))
            return url

        yield start


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A place of its own for the openEO client's files, and an empty working folder."""
    folder = tmp_path / "openeo-home"
    folder.mkdir()
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setenv("OPENEO_CONFIG_HOME", str(folder))
    for name in ("METHOD", "CLIENT_ID", "CLIENT_SECRET", "PROVIDER_ID"):
        monkeypatch.delenv(f"OPENEO_AUTH_{name}", raising=False)
    monkeypatch.chdir(work)
    return folder


class Forms(html.parser.HTMLParser):
    """The forms of a page: address and fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append((given.get("action", ""), {}))
        elif tag == "input" and self.found and given.get("name"):
            self.found[-1][1][given["name"]] = given.get("value", "")


def log_in_at_a_browser(address: str, user: str) -> None:
    """Open the page, and fill in and send its forms until there are none."""
    browser = requests.Session()
    page = browser.get(address, timeout=10)
    for _ in range(10):
        forms = Forms(page.text).found
        if not forms:
            return
        action, fields = forms[0]
        if "login" in fields:
            fields |= {"login": user, "password": "any"}
        page = browser.post(urllib.parse.urljoin(page.url, action), data=fields, timeout=10)
    raise AssertionError(f"no end of forms: {page.text}")


@pytest.fixture
def somebody():
    """A ``show`` for a device login that does what a person does, beside the program."""
    threads: list[threading.Thread] = []

    def show(text: str) -> None:
        address = next((w.strip("'\"`.,") for w in text.split() if "user_code=" in w), None)
        if address:
            threads.append(threading.Thread(target=log_in_at_a_browser, args=(address, "jane")))
            threads[-1].start()

    yield show
    for thread in threads:
        thread.join()
