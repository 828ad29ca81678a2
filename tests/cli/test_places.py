"""An area as it is asked for: latitudes first, and what is said of it."""

from __future__ import annotations

import datetime as dt
import io
import sys
from pathlib import Path

import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st

import main
from cli import menu, places, update
from cli.download_command import DownloadFlags
from cli.exits import DONE, USAGE
from cli.workspace import Workspace
from grid import BBox
from jobs.journal import Request
from shared import polygons
from shared.areas import Area
from shared.land import is_open_sea

ORDER = (
    "--start",
    "20/01/2026",
    "--end",
    "2026-01-20",
    "--backend",
    "sandbox",
    "--no-catalogue",
    "--dry-run",
)


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch):
    """An empty folder, and nobody to answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


def order(bbox, *more):
    return main.main(["download", "--bbox", bbox, *ORDER, *more])


def test_nobody_is_there_so_that_latitudes_first_are_refused_and_letters_settle_them(capsys):
    assert order("51.1,3.6,51.4,4.4", "--yes") == USAGE
    said = capsys.readouterr().err
    assert "Did you mean 3.6,51.1,4.4,51.4?  If not, write 51.1E 3.6N 51.4E 4.4N." in said
    assert "Nothing was done." in said
    assert order("51.1E 3.6N 51.4E 4.4N") == DONE
    said = capsys.readouterr().err
    assert "west 51.1, south 3.6, east 51.4, north 4.4" in said
    assert "20/01/2026 is 2026-01-20 (UTC)" in said


def test_what_is_a_box_one_way_alone_is_refused_with_the_other_way(capsys):
    assert order("50,120,51,121") == USAGE
    said = capsys.readouterr().err
    assert "In the order west,south,east,north it would be 120,50,121,51." in said


@pytest.mark.parametrize("box", ["3,54,4,55", "179,-17,-179,-16", "3.6,51.1,4.4,51.4"])
def test_a_box_that_would_be_in_the_sea_either_way_or_has_land_is_taken_as_it_is(box):
    assert order(box) == DONE


@pytest.mark.parametrize(
    ("box", "sea"),
    [("3.6,51.1,4.4,51.4", False), ("51.1,3.6,51.4,4.4", True), ("3,54,4,55", True),
     ("179,-17,-179,-16", False), ("-40,-40,-30,-30", True)],
)  # fmt: skip
def test_open_sea_has_no_land(box, sea):
    assert is_open_sea(BBox.parse(box)) == sea


def test_around_the_earth_against_a_small_box():
    there = BBox(51.4, 3.6, 51.1, 4.4)  # north,west,south,east
    assert "goes around the Earth" in places.sea_or_around(there, BBox(3.6, 51.1, 4.4, 51.4))


TRIANGLE = "POLYGON (({}, {}, {}, {}))"
SEA, LAND = ("51.1 3.6", "51.4 3.6", "51.4 4.4"), ("3.6 51.1", "3.6 51.4", "4.4 51.4")


def polygon(corners, name):
    """A file, or WKT, of a polygon with these corners."""
    text = TRIANGLE.format(*corners, corners[0])
    if name:
        Path(name).write_text(text)
    return name or text


@pytest.mark.parametrize("name", ["", "field.wkt"])
def test_polygons_with_latitudes_first_are_refused_and_a_word_settles_them(name, capsys):
    text = polygon(SEA, name)
    assert order(text, "--yes") == USAGE
    said = capsys.readouterr().err
    assert "51.1,3.6,51.4,4.4 is open sea, and 3.6,51.1,4.4,51.4 has land" in said
    assert "Write lat,lon:" in said
    assert "Nothing was done." in said
    assert order(f"lat,lon:{text}") == DONE
    assert "west 3.6, south 51.1, east 4.4, north 51.4" in capsys.readouterr().err
    assert order(f"lon,lat:{text}") == DONE
    assert "west 51.1, south 3.6, east 51.4, north 4.4" in capsys.readouterr().err


def test_polygons_that_are_some_with_latitudes_first_alone_are_refused_with_the_way_out(capsys):
    text = polygon(("50 120", "51 120", "51 121"), "far.wkt")
    assert order(text) == USAGE
    assert "As lat,lon:far.wkt it would be 120,50,121,51." in capsys.readouterr().err
    assert order("lat,lon:far.wkt") == DONE


@pytest.mark.parametrize("text", ["lat,lon:3,51,4,52", "lon,lat:there is none.gpkg"])
def test_what_comes_first_is_said_of_polygons_alone(text, capsys):
    assert order(text) == USAGE
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "field.wkt"])
def test_polygons_of_land_are_taken_as_they_are(name):
    assert order(polygon(LAND, name)) == DONE


DEGREES = st.integers(-80_000, 80_000).map(lambda number: number / 1000)  # no slivers of 1e-308


@given(st.lists(st.tuples(DEGREES, DEGREES), min_size=3, max_size=6))
def test_swapped_twice_is_the_same_polygon(corners):
    hull = shapely.MultiPoint(corners).convex_hull
    assume(hull.geom_type == "Polygon" and hull.area > 1e-3)
    area = Area.of(hull, "a hull")
    other = polygons.swapped(area)
    assume(isinstance(other, Area))
    assert isinstance(other, Area)
    assert (other.west, other.south, other.east, other.north) == (
        area.south, area.west, area.north, area.east
    )  # fmt: skip
    back = polygons.swapped(other)
    assert isinstance(back, Area)
    assert back.polygon.equals(hull)
    assert (other.name, back.name) == ("lat,lon:a hull", "a hull")


@pytest.mark.parametrize("kind", ["a box", "polygons"])
def test_what_was_agreed_on_once_is_not_asked_about_again(kind, capsys):
    """An update, and what goes on, are of the area of the last time, be it open sea."""
    sea = "9.9W 60S 9.8W 59.9S"
    if kind == "polygons":
        sea = "lon,lat:" + polygon(("-9.9 -60", "-9.8 -60", "-9.8 -59.9"), "")
    area, day, workspace = places.place(sea), dt.date(2026, 1, 20), Workspace("a.zarr")
    with workspace.journal() as journal:
        journal.open_request(Request("sandbox", area, day, day, None, 3, 0.0, catalogue=""))
        request = journal.last_request()
    assert request is not None
    for flags in (
        menu.flags_of(request),
        update.flags_of_update(workspace, DownloadFlags(update=True)),
    ):
        found = places.asked_of(workspace, flags.bbox, (1, 0.5), places.sea_or_around)
        assert (found.west, found.north) == (-9.9, -59.9)
        assert isinstance(found, Area) == (kind == "polygons")
