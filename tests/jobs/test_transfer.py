"""The transfer: whatever the server does on the way, the file is whole or it is refused."""

from __future__ import annotations

import datetime as dt
import errno
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import numpy as np
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from grid import Tile
from jobs import transfer
from jobs.trouble import Kind, Trouble, backoff, parse_retry_after, redact
from tests.conftest import ROOT
from tests.shared.test_attributes import FORMS

MAGIC = b"\x89HDF\r\n\x1a\n"  # how a netCDF-4 file begins
FILE = MAGIC + random.Random(1).randbytes(600_000)
SIZE = len(FILE)
DATA = ROOT.parent / "shared" / "data"


@dataclass
class Server:
    """A file on loopback; each answer is made by the next of ``script``, then plainly."""

    file: bytes = FILE
    etag: str = '"one"'
    script: list[Callable[[Handler], None]] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # method, headers
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ThreadingHTTPServer

    def do_GET(self):
        about: Server = self.server.about  # type: ignore[attr-defined]
        about.asked.append((self.command, dict(self.headers)))
        step = about.script.pop(0) if about.script else Handler.answer
        step(self)

    do_HEAD = do_GET

    def log_message(self, *_args):
        pass

    @property
    def about(self) -> Server:
        return self.server.about  # type: ignore[attr-defined,no-any-return]

    def answer(self, cut=None, length=None, ranges=True, encoding=None, clean=False, magic=True):
        """The file or the rest of it; ``cut`` bytes of it, then the connection is closed."""
        file, etag = self.about.file, self.about.etag
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, etag)
        start = int(wanted[6:-1]) if wanted and ranges and same else 0
        body = file[start:]
        if start and not body:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(file)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(file) - 1}/{len(file)}")
        if etag:
            self.send_header("ETag", etag)
        if clean:
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Content-Type", "application/x-netcdf")
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None or length is not None:
            self.close_connection = True

    def say(self, status, body=b"<html>no</html>", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def cut(at, **more):
    return lambda handler: handler.answer(cut=at, **more)


def say(status, body=b"<html>no</html>", **headers):
    return lambda handler: handler.say(status, body, **headers)


class QuietServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """A client that hangs up in the middle is what these tests are about."""


@pytest.fixture(scope="module")
def running():
    with QuietServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture
def server(running):
    about = Server(url=f"http://127.0.0.1:{running.server_address[1]}/openEO.nc?signature=abc")
    running.about = about
    return about


@pytest.fixture
def part(tmp_path):
    return tmp_path / "a.nc.part"


def get(url, headers):
    return requests.get(url, headers=headers, stream=True, timeout=(1, 0.3))


def fetch(server, part, size=SIZE, **more):
    return transfer.fetch(get, server.url, size, part, **more)


def fetch_until_whole(server, part, size=SIZE, tries=40):
    """As the scheduler does it: again after each trouble that passes."""
    for _ in range(tries):
        try:
            return fetch(server, part, size)
        except Trouble as trouble:
            assert trouble.kind is Kind.PASSING
    raise AssertionError("never whole")


def test_a_file_comes_whole(server, part):
    told = []
    assert fetch(server, part, on_bytes=lambda have, total: told.append((have, total))) == SIZE
    assert part.read_bytes() == FILE
    assert told[-1] == (SIZE, SIZE)
    assert sorted(told) == told


def test_after_a_break_only_the_rest_is_fetched_and_only_if_the_file_is_the_same(server, part):
    server.script = [cut(250_000)]
    with pytest.raises(Trouble) as trouble:
        fetch(server, part)
    assert trouble.value.kind is Kind.PASSING
    have = part.stat().st_size
    assert 0 < have <= 250_000
    fetch(server, part)
    assert part.read_bytes() == FILE
    _, headers = server.asked[-1]
    assert (headers["Range"], headers["If-Range"]) == (f"bytes={have}-", '"one"')


def test_a_file_that_has_changed_meanwhile_is_fetched_afresh(server, part):
    server.script = [cut(250_000)]
    with pytest.raises(Trouble):
        fetch(server, part)
    server.file, server.etag = FILE[::-1].replace(FILE[:1], b"x"), '"two"'
    server.file = MAGIC + server.file[8:]
    fetch(server, part)
    assert part.read_bytes() == server.file


def test_a_server_that_ignores_ranges_is_asked_for_the_whole_file(server, part):
    server.script = [cut(250_000), lambda handler: handler.answer(ranges=False)]
    with pytest.raises(Trouble):
        fetch(server, part)
    fetch(server, part)
    assert part.read_bytes() == FILE


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_validator_and_size_nothing_is_resumed(server, part, etag):
    server.etag = etag
    server.script = [cut(250_000)]
    with pytest.raises(Trouble):
        fetch(server, part, None)
    fetch(server, part, None)
    assert "Range" not in server.asked[-1][1]
    assert part.read_bytes() == FILE


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_validator_the_rest_is_fetched_where_the_size_is_known(server, part, etag):
    server.etag = etag
    server.script = [cut(250_000)]
    with pytest.raises(Trouble):
        fetch(server, part)
    have = part.stat().st_size
    fetch(server, part)
    _, headers = server.asked[-1]
    assert (headers["Range"], "If-Range" in headers) == (f"bytes={have}-", False)
    assert part.read_bytes() == FILE


@pytest.mark.parametrize("told", [True, False])
def test_without_a_validator_a_file_of_another_size_is_fetched_afresh(server, part, told):
    """Whether its description tells it, or only the answer to the range does."""
    server.etag = ""
    server.script = [cut(250_000)]
    with pytest.raises(Trouble):
        fetch(server, part)
    server.file = FILE[:9] + b"more" + FILE[9:]
    if not told:
        with pytest.raises(Trouble, match="another range"):
            fetch(server, part)
        assert not part.exists()
    fetch(server, part, SIZE + 4)
    assert part.read_bytes() == server.file


def test_a_part_that_a_kill_left_without_its_validator_is_fetched_afresh(server, part):
    part.write_bytes(b"rubbish")
    fetch(server, part)
    assert part.read_bytes() == FILE


def test_a_part_that_is_whole_is_not_fetched_again(server, part):
    fetch(server, part)
    assert fetch(server, part) == SIZE
    assert part.read_bytes() == FILE


def test_a_part_longer_than_the_file_is_thrown_away(server, part):
    fetch(server, part)
    with part.open("ab") as file:
        file.write(b"more")
    with pytest.raises(Trouble):
        fetch(server, part)
    fetch(server, part)
    assert part.read_bytes() == FILE


# Too short a length without a size to compare with is found when the file is opened.
@pytest.mark.parametrize(("wrong", "known"), [(-5000, True), (5000, True), (5000, False)])
def test_a_wrong_content_length_does_no_harm(server, part, wrong, known):
    server.script = [lambda handler: handler.answer(length=SIZE + wrong)]
    fetch_until_whole(server, part, SIZE if known else None)
    assert part.read_bytes() == FILE


def test_a_body_that_ends_early_without_a_length_is_noticed_by_the_announced_size(server, part):
    server.script = [cut(123_456, clean=True)]
    with pytest.raises(Trouble, match=r"0\.477 MB short"):
        fetch(server, part)
    fetch(server, part)
    assert part.read_bytes() == FILE


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, SIZE), max_size=5), st.booleans(), st.booleans())
def test_however_often_it_breaks_the_file_is_the_same(running, tmp_path_factory, cuts, clean, tag):
    about = Server(url=f"http://127.0.0.1:{running.server_address[1]}/a.nc")
    running.about = about
    about.etag = '"one"' if tag else ""
    about.script = [cut(at, clean=clean) for at in cuts]
    part = tmp_path_factory.mktemp("cuts") / "a.nc.part"
    fetch_until_whole(about, part)
    assert part.read_bytes() == FILE


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (say(500), Kind.MISSING),
        (say(502), Kind.PASSING),
        (say(408), Kind.PASSING),
        (say(200, Content_Type="text/html; charset=utf-8"), Kind.PASSING),
        (say(200, b"\n<!doctype html>", Content_Type="application/x-netcdf"), Kind.PASSING),
        (say(403), Kind.EXPIRED),
        (say(410), Kind.EXPIRED),
        (say(400, b"<Code>ExpiredToken</Code>"), Kind.EXPIRED),
        (say(404), Kind.MISSING),
    ],
)
def test_each_answer_says_what_to_do(server, part, step, kind):
    server.script = [step]
    with pytest.raises(Trouble) as trouble:
        fetch(server, part)
    assert trouble.value.kind is kind
    fetch(server, part)
    assert part.read_bytes() == FILE


def test_a_server_that_asks_for_a_wait_is_believed(server, part):
    server.script = [say(429, Retry_After="7")]
    with pytest.raises(Trouble) as trouble:
        fetch(server, part)
    assert trouble.value.retry_after == 7


def test_a_stalled_body_is_given_up_after_seconds(server, part):
    release = threading.Event()

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(SIZE))
        handler.end_headers()
        handler.wfile.write(FILE[:1000])
        release.wait(5)

    server.script = [stall]
    with pytest.raises(Trouble) as trouble:
        fetch(server, part)
    release.set()
    assert trouble.value.kind is Kind.PASSING


def test_no_server_at_all_is_a_passing_trouble(part):
    with pytest.raises(Trouble) as trouble:
        transfer.fetch(get, "http://127.0.0.1:9/a.nc?signature=secret", None, part)
    assert trouble.value.kind is Kind.PASSING
    assert "secret" not in str(trouble.value)


def test_a_file_of_another_size_than_announced_is_refused_and_thrown_away(server, part):
    with pytest.raises(transfer.Refused, match="bytes instead of"):
        fetch(server, part, size=SIZE - 10)
    assert not part.exists()
    with pytest.raises(Trouble, match="short"):
        fetch(server, part, size=SIZE + 10)
    with pytest.raises(transfer.Refused, match="its description says"):
        fetch(server, part, size=SIZE + 10)
    assert not part.exists()


def test_it_stops_when_told_and_goes_on_later(server, part):
    with pytest.raises(transfer.Stopped):
        fetch(server, part, stopped=lambda: True)
    assert 0 < part.stat().st_size < SIZE
    fetch(server, part)
    assert part.read_bytes() == FILE


def test_head_is_never_used(server, part):
    fetch_until_whole(server, part)
    assert {method for method, _ in server.asked} == {"GET"}


def test_without_space_nothing_is_fetched(server, part, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(OSError, match="MB are free") as error:
        fetch(server, part)
    assert error.value.errno == errno.ENOSPC
    assert not part.exists()


def test_a_finished_file_leaves_nothing_beside_it(server, part):
    fetch(server, part)
    transfer.finish(part, part.with_name("a.nc"))
    assert [path.name for path in part.parent.iterdir()] == ["a.nc"]


# --- what is in the file ----------------------------------------------------------------

TILE = Tile(7.0, 50.0, 7.02, 50.01)


def write_raster(path, *, bands=("VV", "VH"), crs=True, shift=0.0, size=(140, 170), flip=False):
    """A raster as the back end writes it: UTM 32N, 10 m, around TILE."""
    from pyproj import CRS, Transformer

    utm = CRS("EPSG:32632")
    project = Transformer.from_crs("EPSG:4326", utm, always_xy=True).transform
    west, south = project(TILE.west, TILE.south)
    y = np.floor(south / 10) * 10 - 95 + 10 * np.arange(size[0])
    with h5py.File(path, "w") as file:
        file["x"] = np.floor(west / 10) * 10 - 85 + 10 * np.arange(size[1]) + shift
        file["y"] = y if flip else y[::-1]
        for name in ("x", "y"):
            file[name].make_scale(name)
        if crs:
            file["crs"] = np.bytes_(b"")
            file["crs"].attrs["crs_wkt"] = utm.to_wkt()
        for band in bands:
            file.create_dataset(band, size, "f4", compression="gzip")
            file[band].attrs["grid_mapping"] = np.bytes_(b"crs")
            for dim, name in enumerate(("y", "x")):
                file[band].dims[dim].attach_scale(file[name])
        file.attrs["source"] = np.bytes_(b"synthetic, made up")


def test_a_raster_that_covers_its_tile_is_accepted_either_way_up(tmp_path):
    for flip in (False, True):
        write_raster(tmp_path / "a.nc", flip=flip)
        transfer.check(tmp_path / "a.nc", TILE, ("VV", "VH"))
    assert transfer.source(tmp_path / "a.nc") == "synthetic, made up"


@pytest.mark.parametrize("form", FORMS)
def test_texts_in_any_form_are_understood(form, tmp_path):
    """As a CRS that is not ASCII, as the name of the grid mapping, and as the source."""
    write_raster(tmp_path / "a.nc")
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        wkt = file["crs"].attrs["crs_wkt"]
        file.move("crs", "Île 6°E")
        file["Île 6°E"].attrs["crs_wkt"] = FORMS[form](wkt.replace("WGS 84", "Île 6°E"))
        for holder, name in ((file["VV"], "grid_mapping"), (file, "source")):
            holder.attrs[name] = FORMS[form]("Île 6°E")
    transfer.check(tmp_path / "a.nc", TILE, ("VV", "VH"))
    assert transfer.source(tmp_path / "a.nc") == "Île 6°E"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"bands": ("VV",)}, "no band VH"),
        ({"crs": False}, "there is no CRS"),
        ({"shift": 200.0}, "does not cover the tile E007.0_N50.0"),
        ({"size": (60, 170)}, "does not cover the tile"),
        ({"size": (1, 1)}, "1 x 1 pixels"),
    ],
)
def test_a_raster_that_cannot_be_the_one_is_refused(tmp_path, options, word):
    write_raster(tmp_path / "a.nc", **options)
    with pytest.raises(transfer.Refused, match=word):
        transfer.check(tmp_path / "a.nc", TILE, ("VV", "VH"))


def test_a_truncated_file_is_refused(tmp_path):
    write_raster(tmp_path / "a.nc")
    whole = (tmp_path / "a.nc").read_bytes()
    for length in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "b.nc").write_bytes(whole[:length])
        with pytest.raises(transfer.Refused, match="no whole netCDF-4 file"):
            transfer.check(tmp_path / "b.nc", TILE, ("VV", "VH"))


@pytest.mark.parametrize("name", ["cdse_s1_sigma0_reduced.nc", "cdse_s1_sigma0_t2.nc"])
def test_real_results_of_the_back_end_are_understood(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no real data at {path}")
    import pyproj

    with h5py.File(path) as file:
        wkt = file["crs"].attrs["crs_wkt"].decode()
        x, y = np.mean(file["x"][:]), np.mean(file["y"][:])
    lon, lat = pyproj.Transformer.from_crs(wkt, "EPSG:4326", always_xy=True).transform(x, y)
    inside = Tile(lon - 1e-3, lat - 1e-3, lon + 1e-3, lat + 1e-3)
    transfer.check(path, inside, ("VV", "VH"))
    with pytest.raises(transfer.Refused, match="does not cover"):
        transfer.check(path, Tile(lon, lat, lon + 0.5, lat + 0.5), ("VV", "VH"))


# --- waits and words --------------------------------------------------------------------


@given(st.integers(1, 10_000), st.integers(0, 1000))
def test_waits_grow_up_to_a_limit_and_are_jittered(count, seed):
    wait = backoff(count, 1.0, 300.0, random.Random(seed))
    longest = min(300.0, 2.0 ** min(count - 1, 30))
    assert longest / 2 <= wait <= longest


def test_retry_after_is_a_number_or_a_date():
    now = dt.datetime(2026, 1, 20, 12, 0, tzinfo=dt.UTC)
    later = format_datetime(now + dt.timedelta(seconds=90), usegmt=True)
    assert parse_retry_after("30", now) == 30
    assert parse_retry_after(later, now) == 90
    assert parse_retry_after(format_datetime(now - dt.timedelta(days=1)), now) == 0
    assert parse_retry_after("1000000", now) == 3600
    assert parse_retry_after("soon", now) is None
    assert parse_retry_after(None, now) is None


@pytest.mark.parametrize(
    "text",
    [
        "GET https://store/openEO.nc?X-Amz-Signature=SECRET&x=1 failed",
        "Authorization: Bearer oidc/CDSE/SECRET",
        '{"access_token": "SECRET", "x": 1}',
        "refresh_token=SECRET",
        "client_secret: SECRET",
    ],
)
def test_what_is_shown_holds_no_secret(text):
    assert "SECRET" not in redact(text)


def test_what_is_shown_is_one_short_line():
    shown = redact("<html>\n<body>502 Bad\tGateway</body></html>" + "x" * 1000)
    assert shown.startswith("502 Bad Gateway")
    assert len(shown) <= 300
    assert "\n" not in shown
