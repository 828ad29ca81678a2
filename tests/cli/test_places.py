"""An area as it is asked for: latitudes first, and what is said of it."""

from __future__ import annotations

import io
import sys

import pytest

import main
from cli import places
from cli.exits import DONE, USAGE
from grid import BBox
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
    given = BBox(51.4, 3.6, 51.1, 4.4)  # north,west,south,east
    assert "goes around the Earth" in places.sea_or_around(given, BBox(3.6, 51.1, 4.4, 51.4))
