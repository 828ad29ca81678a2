"""What the server answers, asked as a browser asks, and as somebody who means no good."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from cli import area_page, browse_command
from cli.workspace import Workspace
from grid import BBox
from pages.app import create
from pages.guard import Guard
from pages.server import Address, serving
from shared.areas import Area, as_area
from tests.images.test_atlas import filled

TOKEN = "t0ken"
ORIGIN = {"Origin": "http://localhost", "Host": "localhost"}
PICKED = "first=2026-01-20&orbit=ascending&band=VV"
RANGES = "&ranges=-20,10"
TILE = f"tile/8/133/86.png?{PICKED}{RANGES}"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(str(filled(tmp_path_factory.mktemp("pages") / "a.zarr").path))


@pytest.fixture(scope="module")
def atlas(workspace):
    return browse_command.atlas_of(workspace)


@pytest.fixture(scope="module")
def client(workspace, atlas):
    return create(atlas, browse_command.Saver(workspace), Guard(TOKEN)).test_client()


@pytest.fixture
def desk():
    days = dt.date(2026, 1, 20), dt.date(2026, 1, 26)
    return area_page.AreaDesk(
        lambda box, days: f"{box} {days[0]}", (1.0, 0.5), days, BBox(7, 50, 8, 50.5)
    )


@pytest.fixture
def asking(desk):
    """Where an area is asked for and there is no archive yet."""
    return create(None, desk, Guard(TOKEN)).test_client()


def polygon_of(text):
    found = as_area(text)
    assert isinstance(found, Area)
    return found.polygon


def get(client, what):
    return client.get(f"/{TOKEN}/{what}", headers={"Host": "localhost"})


def post(client, what, body):
    return client.post(f"/{TOKEN}/{what}", json=body, headers=ORIGIN)


def test_the_page_has_all_that_it_names(client):
    page = get(client, "").get_data(as_text=True)
    for name in ("leaflet.js", "leaflet.css", "map.js", "map.css"):
        assert f'"{name}"' in page
        assert get(client, name).status_code == 200
    assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere


def test_every_answer_says_what_it_may_do(client):
    for what in ("", "map.js", "about", TILE, "nothing", "tile/99/0/0.png"):
        headers = get(client, what).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_a_tile_is_a_png(client):
    answer = get(client, TILE)
    image = Picture.open(io.BytesIO(answer.data))
    assert (image.format, image.size) == ("PNG", (256, 256))
    assert (np.asarray(image.convert("RGBA"))[..., 3] > 0).any()


def test_channels_keep_their_order(client):
    found = get(client, "ranges?box=7,50,9,50.5&first=2026-01-20&orbit=ascending&band=colour")
    assert list(json.loads(found.data)) == ["VV", "VH", "VV/VH"]


@pytest.mark.parametrize(
    "what",
    [
        "tile/8/133/86.png",
        f"tile/8/133/86.png?{PICKED}",
        f"tile/8/133/86.png?{PICKED}&ranges=1,2,3",
        f"tile/8/133/86.png?{PICKED}&ranges=5,5",
        f"tile/8/133/86.png?{PICKED}&ranges=nan,5",
        f"tile/99/0/0.png?{PICKED}{RANGES}",
        f"tile/3/99/0.png?{PICKED}{RANGES}",
        f"tile/8/133/86.png?first=2026-13-01&band=VV{RANGES}",
        f"tile/8/133/86.png?first=2026-01-20&last=2026-01-19&band=VV{RANGES}",
        f"tile/8/133/86.png?first=2026-01-20&band=../../etc/passwd{RANGES}",
        f"tile/8/133/86.png?first=2026-01-20&band=VV&orbit=up{RANGES}",
        f"tile/8/133/86.png?first=2026-01-20&band=VV&how=product{RANGES}",
        "land/99/0/0.png",
        f"place?{PICKED}&lon=400&lat=0",
        f"place?{PICKED}&lon=x&lat=0",
        f"ranges?{PICKED}&box=1,2,3",
        f"ranges?{PICKED}&box=1,60,2,50",
        "estimate?area=1,2,3,4&first=2026-01-20&last=2026-01-20",  # no area is wanted here
    ],
)
def test_what_is_wrong_is_a_sentence(client, what):
    answer = get(client, what)
    assert answer.status_code == 400
    words = json.loads(answer.data)["error"]
    assert words.endswith(".")
    assert "Traceback" not in words


@pytest.mark.parametrize(
    "path",
    ["/", "/x/", "/x/about", "/t0kenx/about", "/static/map.js", "//t0ken/about/..", "/favicon.ico"],
)
def test_without_the_token_nothing_is_told(client, path):
    answer = client.get(path, headers={"Host": "localhost"})
    assert answer.status_code in (403, 404, 308)
    assert b"a.zarr" not in answer.data


@pytest.mark.parametrize(
    "path",
    [
        "../main.py", "..%2fmain.py", "%2e%2e/main.py", "....//main.py", "index.html",
        "static/map.js", "map.js/../../app.py", "C:%5cwindows%5cwin.ini", "leaflet.js%00.png",
        "/etc/passwd",
    ],
)  # fmt: skip
def test_no_path_becomes_the_name_of_a_file(client, path):
    answer = get(client, path)
    assert answer.status_code in (403, 404, 308)
    assert b"import" not in answer.data


@given(path=st.text(max_size=30))
def test_whatever_is_asked_for_there_is_an_answer(client, path):
    from urllib.parse import quote

    assert get(client, quote(path)).status_code in (200, 308, 400, 403, 404, 405)


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Origin": "null"}])
@pytest.mark.parametrize("what", ["area", "save"])
def test_another_page_changes_nothing(client, asking, desk, headers, what):
    for each in (client, asking):
        answer = each.post(
            f"/{TOKEN}/{what}", json={"area": "1,2,3,4"}, headers={"Host": "localhost", **headers}
        )
        assert answer.status_code == 403
    assert desk.taken.empty()


def test_a_body_is_small_and_json(client):
    long = post(client, "area", {"area": "1," * 100_000})
    assert long.status_code == 413
    for body in ("[]", "x", ""):
        answer = client.post(
            f"/{TOKEN}/area", data=body, headers=ORIGIN, content_type="application/json"
        )
        assert answer.status_code == 400
    plain = client.post(f"/{TOKEN}/area", data="{}", headers=ORIGIN, content_type="text/plain")
    assert plain.status_code == 415


# --- an area ---


def test_an_area_is_taken_as_it_would_be_typed(asking, desk):
    assert post(asking, "area", {"area": "7.1,50.1,7.9,50.4"}).status_code == 200
    assert post(asking, "area", {"area": "7,50,8,50,7.5,50.4"}).status_code == 200
    assert desk.taken.get() == "7.1,50.1,7.9,50.4"
    polygon = desk.taken.get()
    assert polygon_of(polygon).area == pytest.approx(0.2)


@pytest.mark.parametrize(
    "area",
    [
        "", "1,2,3", "1,2,3,4,5", "7,50,8,nan", "7,50,8,50,inf,50", "7,60,8,50",
        "POLYGON ((0 0, 1 1, 1 0, 0 0))", "fields.gpkg", "/etc/passwd",
        ",".join(["1", "2"] * 501), "7,50,8,50.4,7,50.4,8,50",  # crosses itself: refused or mended
    ],
)  # fmt: skip
def test_what_is_no_area_is_refused(asking, desk, area):
    answer = post(asking, "area", {"area": area})
    if answer.status_code == 200:
        assert polygon_of(desk.taken.get()).is_valid
        return
    assert answer.status_code == 400
    assert desk.taken.empty()


def test_what_an_area_would_cost_is_said(asking):
    days = "first=2026-01-20&last=2026-01-26"
    words = json.loads(get(asking, f"estimate?area=7.1,50.1,8.9,50.4&{days}").data)["words"]
    assert words == "2 tiles: 7.1,50.1,8.9,50.4 2026-01-20"
    many = json.loads(get(asking, f"estimate?area=-60,0,60,60&{days}").data)["words"]
    assert many == "More than 400 tiles."


def test_without_an_archive_the_page_says_so(asking):
    found = json.loads(get(asking, "about").data)
    assert found["archive"] is None
    assert found["desk"] == {
        "wantsArea": True, "first": "2026-01-20", "last": "2026-01-26", "box": [7, 50, 8, 50.5],
    }  # fmt: skip
    assert get(asking, TILE).status_code == 404


# --- saving ---


def test_saving_writes_what_the_command_shown_writes(client, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = {
        "first": "2026-01-20", "orbit": "ascending", "band": "VV", "ranges": "-20,10",
        "box": "7.2,50.1,7.6,50.4", "format": "tif",
    }  # fmt: skip
    usual = Path("s1_2026-01-20_7.2_50.1_7.6_50.4.tif")
    usual.write_text("mine")
    found = json.loads(post(client, "save", body).data)
    name = Path(found["file"])
    assert (name.name, name.suffix) == (str(name), ".tif")  # not of another folder
    assert usual.read_text() == "mine"  # nothing is written over
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([str(name), str(usual)])
    words = found["command"]
    assert words.startswith("python main.py retrieve --archive ")
    assert "--bbox 7.2,50.1,7.6,50.4 --day 2026-01-20" in words
    assert "--stretch=-20.0,10.0" in words


@pytest.mark.parametrize("suffix", ["exe", "../x.png", "", "gif"])
def test_only_three_kinds_of_files_are_written(client, tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    body = {"first": "2026-01-20", "band": "VV", "ranges": "-20,10", "box": "7,50,8,50.4"}
    assert post(client, "save", body | {"format": suffix}).status_code == 400
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_says_why(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    body = {"first": "2026-01-20", "band": "VV", "ranges": "-20,10", "box": "20,20,21,21"}
    answer = post(client, "save", body | {"format": "png"})
    assert answer.status_code == 400
    assert "nothing of" in json.loads(answer.data)["error"]
    assert list(tmp_path.iterdir()) == []


# --- the server ---


def test_it_serves_on_loopback_and_ends(atlas, workspace):
    address = Address()
    app = create(atlas, browse_command.Saver(workspace), Guard(address.token))
    with serving(app, address) as url:
        assert url.startswith("http://127.0.0.1:")
        assert requests.get(f"{url}about", timeout=10).json()["archive"]["records"] == 3
        assert requests.get(url.replace(address.token, "x"), timeout=10).status_code == 403
    with contextlib.suppress(requests.ConnectionError):
        requests.get(f"{url}about", timeout=5)
        pytest.fail("it still answers")


@pytest.mark.skipif(sys.platform == "win32", reason="two may listen at one port there")
def test_a_port_in_use_is_said(atlas, workspace):
    first = Address()
    app = create(atlas, browse_command.Saver(workspace), Guard(first.token))
    with serving(app, first), pytest.raises(OSError, match=r"in use; name another --port"):  # noqa: SIM117
        with serving(app, Address(port=first.port)):
            pass


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux lists its sockets so")
def test_nobody_else_can_reach_it(atlas, workspace):
    address = Address()
    app = create(atlas, browse_command.Saver(workspace), Guard(address.token))
    with serving(app, address):
        rows = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert f"0100007F:{address.port:04X}" in rows
        assert f"00000000:{address.port:04X}" not in rows
