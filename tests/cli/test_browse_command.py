"""The map in a browser, seen from the terminal that serves it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
import requests

from tests.conftest import ROOT
from tests.images.test_atlas import filled
from tests.terminals import Terminal

NO_WINDOW = {"BROWSER": "true"}  # a command that does nothing
DOWNLOAD = (
    "download",
    "--backend",
    "sandbox",
    "--dry-run",
    "--start",
    "2026-01-20",
    "--end",
    "2026-01-20",
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("browse") / "a.zarr").path


def address_in(text):
    (address,) = set(re.findall(r"http://127\.0\.0\.1:\d+/[\w-]+/", text))
    return address


def open_map(terminal):
    """Answer the question for an area by `map`."""
    terminal.wait_for("or map")
    terminal.answer("map")
    terminal.wait_for("without the map.")


def post(address, what, body):
    parts = urlsplit(address)
    return requests.post(
        address + what,
        json=body,
        timeout=10,
        headers={"Origin": f"{parts.scheme}://{parts.netloc}"},
    )


def test_it_says_its_address_and_ctrl_c_ends_it_well(archive, tmp_path):
    with Terminal(tmp_path, "browse", "--archive", str(archive), environ=NO_WINDOW) as terminal:
        terminal.wait_for("/\r\n")
        address = address_in(terminal.shown)
        assert requests.get(f"{address}about", timeout=10).json()["archive"]["records"] == 3
        terminal.press("c")
        assert terminal.end(10) == 0
        assert "The map is closed." in terminal.shown


def test_stdout_is_the_address_alone(archive):
    with subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "browse", "--no-open", "--archive", str(archive)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"{address_in(line)}\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (0, "")
        assert "Traceback" not in err


def test_without_an_archive_it_says_how_to_get_one(tmp_path):
    with Terminal(tmp_path, "browse", environ=NO_WINDOW) as terminal:
        assert terminal.end() == 2
        assert "There is no archive at sentinel1.zarr.  Make one with `download`." in terminal.shown


def test_an_area_that_is_drawn_goes_on_in_the_terminal(tmp_path):
    with Terminal(tmp_path, *DOWNLOAD, environ=NO_WINDOW, columns=200) as terminal:
        open_map(terminal)
        address = address_in(terminal.shown)
        days = {"first": "2026-01-20", "last": "2026-01-20"}
        area = {"area": "3.6,51.1,4.4,51.4"}
        words = requests.get(f"{address}estimate", params=area | days, timeout=60).json()["words"]
        assert words.startswith("2 tiles: images of 1 day, 2 chunks to order: about ")
        bad = post(address, "area", {"area": "4,51,3"})
        assert bad.status_code == 400
        assert post(address, "area", {"area": "3.6,51.1,4.4,51.1,4,51.4"}).json() == {"taken": True}
        before = terminal.wait_for("Right? [Y/n]: ")
        assert "from the map: POLYGON ((3.6 51.1, 4.4 51.1, 4 51.4, 3.6 51.1))" in before
        assert "2 tiles" in before
        with pytest.raises(requests.ConnectionError):
            requests.get(address, timeout=5)
        terminal.answer("back")
        open_map(terminal)
        terminal.answer("3.6,51.1,3.7,51.2")
        assert "west 3.6, south 51.1, east 3.7" in terminal.wait_for("Right? [Y/n]: ")
        terminal.answer("y")
        assert terminal.end() == 0
        assert "A dry run" in terminal.shown


def test_enter_goes_on_without_the_map(tmp_path):
    with Terminal(tmp_path, *DOWNLOAD, environ=NO_WINDOW, columns=200) as terminal:
        open_map(terminal)
        terminal.answer("")
        open_map(terminal)
        terminal.press("c")
        assert terminal.end() == 130


def test_an_area_of_the_archive_may_be_drawn_too(archive, tmp_path):
    flags = "retrieve", "--archive", str(archive), "--no-show"
    with Terminal(tmp_path, *flags, environ=NO_WINDOW, columns=200) as terminal:
        open_map(terminal)
        address = address_in(terminal.shown)
        days = {"first": "2026-01-20", "last": "2026-01-26"}
        area = {"area": "7.2,50.1,7.8,50.4"}
        words = requests.get(f"{address}estimate", params=area | days, timeout=60).json()["words"]
        assert words == "1 tile: the archive has 2 days, the newest 2026-01-26."
        post(address, "area", area)
        terminal.wait_for("Right? [Y/n]: ")
        terminal.answer("y")
        terminal.wait_for("[2026-01-26]: ")
        terminal.press("c")
        assert terminal.end() == 130


def test_nobody_at_a_terminal_gets_no_map(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *DOWNLOAD], input="map\n3.6,51.1,3.7,51.2\ny\n",
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert "A map is for somebody at a terminal" in done.stderr
    assert done.returncode == 0
