"""Boxes and days as people spell them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import spelled
from cli.spelled import Doubtful, SureBox
from grid import BBox
from shared.areas import plain

SCHELDT = BBox(3.6, 51.1, 4.4, 51.4)
FIJI = BBox(179, -17, -179, -16)
TODAY = dt.date(2026, 11, 27)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3.6,51.1,4.4,51.4", SCHELDT),
        ("[3.6, 51.1, 4.4, 51.4]", SCHELDT),
        ("(3.6; 51.1; 4.4; 51.4)", SCHELDT),
        ("3.6/51.1/4.4/51.4", SCHELDT),
        (" 3.6 51.1 4.4 51.4 ", SCHELDT),
        ("3.6E 51.1N 4.4E 51.4N", SCHELDT),
        ("3.6°E, 51.1°N, 4.4°E, 51.4°N", SCHELDT),
        ("51.1N 3.6E 51.4N 4.4E", SCHELDT),
        ("51.4n,3.6e,51.1n,4.4e", SCHELDT),
        ("4.4E 51.4N 3.6E 51.1N", SCHELDT),
        ("E3.6 N51.1 E4.4 N51.4", SCHELDT),
        ("west 3.6, south 51.1, east 4.4, north 51.4", SCHELDT),
        ("north=51.4 south=51.1 west=3.6 east=4.4", SCHELDT),
        ("3W 2S 1E 2N", BBox(-3, -2, 1, 2)),
        ("179E 17S 179W 16S", FIJI),
        ("16S 179W 17S 179E", FIJI),
        ("179,-17,-179,-16", FIJI),
        ("west 179, south -17, east -179, north -16", FIJI),
    ],
)
def test_a_box_is_read_as_people_spell_it(text, expected):
    assert plain(spelled.box(text)) == expected


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("7,50,8", "3 parts"),
        ("7,5,50,0,8,5,50,5", "8 parts"),
        ("3.6E 51.1N 4.4E", r"parts, not 4|not a number"),
        ("3.6E 51.1E 4.4E 51.4N", "two longitudes and two latitudes"),
        ("-3.6W 51.1N 4.4E 51.4N", "a sign and a letter"),
        ("3.6E 91N 4.4E 92N", "is 91|is 92"),
        ("", "parts"),
    ],
)
def test_what_is_no_box_is_refused_in_one_line(text, word):
    with pytest.raises(ValueError, match=word) as error:
        spelled.box(text)
    assert len(str(error.value)) < 200


degrees = st.integers(-1800, 1800).map(lambda tenths: tenths / 10)
latitudes = st.integers(-900, 900).map(lambda tenths: tenths / 10)


@given(degrees, latitudes, st.integers(1, 1790), latitudes, st.permutations(range(4)))
def test_letters_settle_any_order(west, south, width, north, order):
    """A box of less than half the Earth, its edges in every order."""
    if south == north or west == 180:
        return
    east = round(west + width / 10, 1)
    east = east if east <= 180 else round(east - 360, 1)
    box = BBox(west, min(south, north), east, max(south, north))
    words = spelled.with_letters(box).split()
    found = spelled.box(" ".join(words[i] for i in order))
    assert plain(found) == box
    assert isinstance(found, SureBox)
    assert spelled.meant_instead(found) is None


@given(degrees, latitudes, st.integers(1, 300), st.integers(1, 300))
def test_latitudes_first_is_handed_back_as_a_doubt(west, south, width, height):
    east, north = round(west + width / 10, 1), round(south + height / 10, 1)
    if east > 180 or north > 90:
        return
    box = BBox(west, south, east, north)
    for first in ((south, west, north, east), (north, west, south, east)):
        try:
            found = spelled.box(",".join(map(str, first)))
        except Doubtful as doubtful:
            assert doubtful.meant == box
            assert f"In the order west,south,east,north it would be {box}." in str(doubtful)
        except ValueError:
            continue  # none of both orders, or both, so that nobody can know
        else:
            meant = spelled.meant_instead(found)
            assert meant is None or meant != found


def test_a_box_that_makes_sense_only_with_latitudes_first_says_so():
    with pytest.raises(Doubtful, match=r"south is 120; .* it would be 120,50,121,51\.") as error:
        spelled.box("50,120,51,121")
    assert error.value.meant == BBox(120, 50, 121, 51)
    assert spelled.meant_instead(BBox(51.1, 3.6, 51.4, 4.4)) == SCHELDT
    assert spelled.meant_instead(BBox(51.4, 3.6, 51.1, 4.4)) == SCHELDT  # north,west,south,east
    assert spelled.meant_instead(BBox(100, 3.6, 101, 4.4)) is None


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-01-20", "2026-01-20", None),
        ("20260120", "2026-01-20", None),
        ("2026-1-5", "2026-01-05", None),
        ("2026/1/5", "2026-01-05", None),
        ("20.01.2026", "2026-01-20", None),
        ("20/01/2026", "2026-01-20", None),
        ("3/4/2026", "2026-04-03", None),
        ("today", "2026-11-27", None),
        ("Yesterday", "2026-11-26", None),
        ("last 30 days", "2026-10-29", "2026-11-27"),
        ("last 1 day", "2026-11-27", None),
        ("last 2 weeks", "2026-11-14", "2026-11-27"),
        ("2026-W04", "2026-01-19", "2026-01-25"),
        ("2026w4", "2026-01-19", "2026-01-25"),
        ("2026-W53", "2026-12-28", "2027-01-03"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("2026", "2026-01-01", "2026-12-31"),
        ("2025-12/2026-01-03", "2025-12-01", "2026-01-03"),
        ("20/01/2026/25/01/2026", "2026-01-20", "2026-01-25"),
        ("2026-W04 / yesterday", "2026-01-19", "2026-11-26"),
        ("2026-01-01 to 2026-01-31", "2026-01-01", "2026-01-31"),
    ],
)
def test_days_are_read_as_people_spell_them(text, first, last):
    expected = dt.date.fromisoformat(first), dt.date.fromisoformat(last or first)
    assert spelled.days(text, TODAY) == expected


@given(st.dates(dt.date(1900, 1, 1)))
def test_every_way_to_write_a_day_is_that_day(day):
    for form in ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%Y/%m/%d", "%d-%m-%Y"):
        assert spelled.days(day.strftime(form), TODAY) == (day, day)
    year, week, _ = day.isocalendar()
    first, last = spelled.days(f"{year}-W{week:02}", TODAY)
    assert first <= day <= last
    assert first.strftime("%G-W%V") == last.strftime("%G-W%V") == f"{year}-W{week:02}"


@pytest.mark.parametrize(
    "text",
    ["", "2026-13-31", "2026-02-29", "31/02/2026", "01/2026", "2026-W60", "last 0 days", "soon",
     "20/01/26", "1/2/3/4", "٢٠٢٦", "2026-02/2026-01", "2026-13"],
)  # fmt: skip
def test_what_is_no_day_is_refused_and_told_what_is(text):
    with pytest.raises(ValueError, match="not a date|after the last day") as error:
        spelled.days(text, TODAY)
    assert "last 30 days" in str(error.value) or "after the last day" in str(error.value)
