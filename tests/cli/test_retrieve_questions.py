"""What the questions of `retrieve` offer, and the command line that does the same."""

from __future__ import annotations

import datetime as dt
import io
import math
import shlex
import sys

import healpy
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod

import main
from cli import questions, retrieve_questions
from cli.exits import DONE
from cli.flags import METHODS
from cli.retrieve_command import RetrieveFlags, Wish, named_days
from cli.retrieve_questions import arguments, pixel
from grid import ORBITS, BBox
from healpix.ids import cell_width
from retrieve import Coverage
from shared.areas import Area, as_area
from tests.cli.test_retrieve_command import DAY, archive, three_days
from tests.rounds import torture, turns

_ = archive, three_days  # fixtures
BOX = "7.2,50.1,7.6,50.3"
NEWEST = "2026-02-01"  # of two orbits


def asked(monkeypatch, capsys, *answers):
    """What was written and said when these answers were given."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
    code = main.main(["retrieve", "--no-show"])
    out, err = capsys.readouterr()
    assert code == DONE, err
    return out.split(), err


def line_of(err):
    """The command line that was told: one line, whatever the window."""
    lines = err.splitlines()
    where = lines.index("The same without questions:")
    assert len(lines) == where + 2
    words = shlex.split(lines[-1])
    assert words[:3] == ["python", "main.py", "retrieve"]
    return words[2:]


WAYS = {
    "Enter": [BOX, "y", "", "", "", "a.png"],
    "one day": [BOX, "y", "2026-01-20", "VV", "a.nc"],
    "both": [BOX, "y", NEWEST, "any", "", "a b's.nc"],
    "each": [BOX, "y", NEWEST, "apart", "", "a.nc a.png"],
    "one of each": [BOX, "y", "2026", "apart", "median", "", "a.nc a.tif"],
    "several": [BOX, "y", "2026", "any", "", "VH", "a.gif a.tif"],
    "one image": [BOX, "y", "2026", "ascending", "median", "VV", "a.nc"],
    "more": [BOX, "y", "2026-01-20", "", "more", "1 km", "1", "3", "-25,-3.5", "a.nc a.png"],
    "more of several": [
        BOX, "y", "2026", "any", "", "VV", "more", "0.001,0.002", "bilinear", "usual", "y",
        "l.csv", "", "a.nc",
    ],
    "more of each orbit": [
        BOX, "y", "2026", "apart", "", "VV", "more", "", "usual", "n", "l.csv", "relative-orbit",
        "a.nc",
    ],
}  # fmt: skip


@torture
@pytest.mark.parametrize("way", turns(WAYS, 4))
def test_the_command_line_writes_the_same_files(archive, tmp_path, monkeypatch, capsys, way):
    names, err = asked(monkeypatch, capsys, *WAYS[way])
    words = line_of(err)
    before = {}
    for name in tmp_path.iterdir():
        if name.is_file():
            before[name] = name.read_bytes()
            name.unlink()
    assert len(before) == len(WAYS[way][-1].split(" a.")) + ("l.csv" in names)
    for _ in range(2):  # the second time the files are there
        assert main.main(words) == DONE
        capsys.readouterr()
    for path, data in before.items():
        if path.suffix == ".nc":  # has the time when it was written in it
            with xr.open_dataset(path) as new, xr.open_dataset(io.BytesIO(data)) as old:
                xr.testing.assert_equal(new, old)
        else:
            assert path.read_bytes() == data


def test_a_scripted_run_is_not_told_what_it_has_said_itself(archive, capsys):
    assert main.main(["retrieve", "--bbox", BOX, "--day", "2026-01-20", "--no-show", "--output",
                      "a.nc"]) == DONE  # fmt: skip
    assert "without questions" not in capsys.readouterr().err


def test_an_animation_of_one_day_is_a_reason_and_the_question_again(archive, monkeypatch, capsys):
    way = [BOX, "y", "2026-01-20", "VV", "a.gif", "a.nc"]
    names, err = asked(monkeypatch, capsys, *way)
    assert "a.gif needs several days" in err
    assert names == ["a.nc"]


# --- the day that is offered ---


def covers(*shares):
    """Newest first, a day apart."""
    return [Coverage(DAY - dt.timedelta(days=i), "any", share) for i, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("shares", "offered"),
    [
        ((1.0, 1.0), 0), ((0.3, 1.0), 1), ((0.3, 0.995, 1.0), 1), ((0.3, 0.5, 0.2), 1),
        ((None,), 0), ((None, 0.4), 1), ((0.2, 0.2), 0),
    ],
)  # fmt: skip
def test_the_newest_complete_day_is_offered(shares, offered):
    assert questions.newest_complete(covers(*shares)) == DAY - dt.timedelta(days=offered)


# --- pixels ---


@given(st.floats(1, 1e5), st.floats(-80, 80))
def test_a_pixel_in_metres_is_so_long_on_the_ground(metres, south):
    dlat, dlon = pixel(f"{metres:g} m", BBox(7, south, 8, south + 1))
    sphere = Geod(a=6_371_007.2, b=6_371_007.2)
    for lon, lat in ((0, dlat), (dlon, 0)):
        middle = south + 0.5
        _, _, length = sphere.inv(7, middle - lat / 2, 7 + lon, middle + lat / 2)
        assert length == pytest.approx(float(f"{metres:g}"), rel=2e-3)


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "m", "0 m", "1,2,3", "nan", "1e-3,0"])
def test_what_is_no_size_of_a_pixel_gets_a_reason(text):
    with pytest.raises(ValueError, match="is no size of a pixel"):
        pixel(text, BBox(7, 50, 8, 51))


@pytest.mark.parametrize("nside", [4096, 262144])
def test_a_cell_is_as_large_as_healpy_says(nside):
    expected = math.degrees(healpy.nside2resol(nside))
    assert cell_width(nside) == pytest.approx(expected, rel=1e-5)


# --- any command line ---

NAMES = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1).map(
    lambda name: f"{name}.nc"
)
DAYS = st.dates(dt.date(2015, 1, 1), dt.date(2025, 1, 1))


@st.composite
def wishes(draw):
    first, last = sorted((draw(DAYS), draw(DAYS)))
    west, south = draw(st.integers(-180, 170)), draw(st.integers(-80, 70))
    return Wish(
        BBox(west, south, west + draw(st.floats(0.001, 5)), south + draw(st.floats(0.001, 5))),
        (first, last),
        as_of=draw(st.none() | st.integers(0, 9)) if first == last else None,
        bands=draw(st.none() | st.just(("VV",))),
        orbit=draw(st.none() | st.sampled_from(ORBITS)),
        dlat=draw(st.none() | st.floats(1e-6, 1)),
        dlon=draw(st.none() | st.floats(1e-6, 1)),
        method=draw(st.sampled_from(METHODS)),
        how=draw(st.none() | st.sampled_from(questions.COMPOSITES)),
        colours=draw(st.none() | st.just(("B08", "B04", "B03"))),
        stretch=draw(st.none() | st.tuples(st.floats(-99, 0), st.floats(0.1, 9))),
        targets=dict.fromkeys(draw(st.lists(NAMES, unique=True)), True),
    )


@given(wishes())
def test_any_wish_is_read_from_its_command_line_as_it_was(wish):
    words = shlex.split(retrieve_questions.quoted(arguments(wish, "a b.zarr", False)))
    context = main.retrieve.make_context("retrieve", words[1:])
    assert context.params.pop("archive_path") == "a b.zarr"
    flags = RetrieveFlags(**context.params)
    days = named_days(flags)
    assert days is not None
    assert flags.bbox is not None
    assert flags.overwrite and flags.no_show  # noqa: PT018
    back = Wish(
        flags.bbox, days, flags.as_of, flags.bands, flags.orbit, flags.dlat, flags.dlon,
        flags.method, flags.how, flags.colours, flags.stretch,
        dict.fromkeys(flags.outputs, True),
    )  # fmt: skip
    assert back == wish


@pytest.mark.parametrize("clip", [True, False])
def test_the_command_line_of_polygons_gives_them_again(clip):
    area = as_area("POLYGON ((7 50, 8 50, 7.5 50.4, 7 50))")
    assert isinstance(area, Area)
    day = dt.date(2026, 1, 20)
    wish = Wish(area if clip else area.without_clipping(), (day, day))
    words = arguments(wish, "a.zarr", False)
    context = main.retrieve.make_context("retrieve", words[1:])
    given = context.params["bbox"]
    assert isinstance(given, Area)
    assert given.polygon.equals(area.polygon)
    assert context.params["clip"] == (None if clip else False)
