"""The shared words: boxes, tiles, chunks and days."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grid import (
    BBox,
    Chunk,
    Tile,
    count,
    days,
    in_hours,
    parse_day,
    parse_days,
    tiles_covering,
)
from tests.conftest import ROOT
from tests.sphere import grown, tile_at

SIZE = (1.0, 0.5)
lons = st.floats(-180, 180, exclude_max=True)
lats = st.floats(-90, 90, exclude_max=True)
sizes = st.sampled_from([(1.0, 0.5), (0.1, 0.1), (0.3, 0.2), (0.04, 0.02), (180.0, 90.0)])


@given(lons, lats, sizes)
def test_a_point_lies_in_the_tile_that_owns_it(lon, lat, size):
    tile = tile_at(lon, lat, size)
    assert tile.west <= lon < tile.east
    assert tile.south <= lat < tile.north


@given(lons, lats, sizes)
def test_a_tile_is_found_again_by_its_name(lon, lat, size):
    tile = tile_at(lon, lat, size)
    assert Tile.from_name(tile.name, size) == tile


@given(lons, lats, st.floats(1e-6, 5), st.floats(1e-6, 5))
def test_the_tiles_of_a_box_are_those_that_share_an_area_with_it(lon, lat, width, height):
    if lon + width > 180 or lat + height > 90:
        return
    box = BBox(lon, lat, lon + width, lat + height)
    tiles = tiles_covering(box, SIZE)
    assert len(set(tiles)) == len(tiles)
    assert all(tile.bbox.intersects(box) for tile in tiles)
    assert tile_at(lon, lat, SIZE) in tiles
    neighbours = tiles_covering(grown(box, 1.5), SIZE)
    assert {t for t in neighbours if t.bbox.intersects(box)} == set(tiles)


def test_the_tiles_of_the_earth_partition_it():
    tiles = tiles_covering(BBox(-180, -90, 180, 90), SIZE)
    assert len(set(tiles)) == 360 * 360
    assert sum((t.east - t.west) * (t.north - t.south) for t in tiles) == 360 * 180


def test_tile_edges_are_half_open():
    assert [t.name for t in tiles_covering(BBox(6, 50, 7.0, 50.5), SIZE)] == ["E006.0_N50.0"]
    names = [t.name for t in tiles_covering(BBox(6, 50, 7.000000001, 50.5), SIZE)]
    assert names == ["E006.0_N50.0", "E007.0_N50.0"]


def test_tiles_are_named_by_their_south_west_corner():
    assert Tile(7, 50, 8, 50.5).name == "E007.0_N50.0"
    assert Tile(-71, -33.5, -70, -33).name == "W071.0_S33.5"
    assert Tile(0, 0, 0.25, 0.25).name == "E000.0_N00.0"
    assert tile_at(0.3, -0.1, (0.25, 0.25)).name == "E000.25_S00.25"


def test_a_box_across_180_degrees_is_split():
    box = BBox(179.5, -0.2, -179.5, 0.2)
    assert box.width == 1
    assert box.split() == [BBox(179.5, -0.2, 180, 0.2), BBox(-180, -0.2, -179.5, 0.2)]
    assert {t.name for t in tiles_covering(box, SIZE)} == {
        "E179.0_S00.5", "W180.0_S00.5", "E179.0_N00.0", "W180.0_N00.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("7,50,8", "3 parts"),
        ("7,5,50,0,8,5,50,5", "8 parts"),
        ("7,50,8,north", "'north'"),
        ("7,50,7,51", "no width"),
        ("7,51,8,50", "south"),
        ("7,50,8,50", "south"),
        ("7,50,8,91", "north is 91"),
        ("-181,50,8,51", "west is -181"),
        ("nan,50,8,51", "finite"),
        ("7,50,inf,51", "finite"),
        ("7,50,8," + "9" * 400, "finite"),
        ("", "0 parts"),
    ],
)
def test_what_is_no_box_is_refused_with_the_reason(text, word):
    with pytest.raises(ValueError, match=word) as error:
        BBox.parse(text)
    assert len(str(error.value)) < 200


def test_a_box_is_read_as_people_type_it():
    expected = BBox(-7, 50, 8, 50.5)
    for text in ("-7,50,8,50.5", " -7, 50, 8, 50.5 ", "-7 50 8 50.5", "\u22127;50;8;50.5"):
        assert BBox.parse(text) == expected
    assert BBox.parse(str(expected)) == expected


def test_days_are_read_as_day_month_year_or_period():
    assert parse_days("2026-01-20") == (dt.date(2026, 1, 20),) * 2
    assert parse_days("2024-02") == (dt.date(2024, 2, 1), dt.date(2024, 2, 29))
    assert parse_days("2026") == (dt.date(2026, 1, 1), dt.date(2026, 12, 31))
    assert parse_days("2025-12/2026-01-03") == (dt.date(2025, 12, 1), dt.date(2026, 1, 3))
    assert len(days(*parse_days("2025-12"))) == 31


@pytest.mark.parametrize(
    "text", ["2026-13-31", "2026-02-29", "20.1.2026", "", "2026-1-2", "٢٠٢٦", "2026-02/2026-01"]
)
def test_what_is_no_date_is_refused(text):
    with pytest.raises(ValueError, match="not a date|after the last day"):
        parse_days(text)


def test_a_period_is_not_a_day():
    with pytest.raises(ValueError, match="single day"):
        parse_day("2026-01")


def test_a_chunk_has_a_known_orbit_and_a_name_of_its_own():
    tile = Tile(7, 50, 8, 50.5)
    day = dt.date(2026, 1, 20)
    names = {Chunk(tile, day, orbit).name for orbit in ("any", "ascending", "descending")}
    assert len(names) == 3
    assert "E007.0_N50.0_2026-01-20" in names
    with pytest.raises(ValueError, match="sideways"):
        Chunk(tile, day, "sideways")


@pytest.mark.parametrize("size", [(0.7, 0.5), (1, 0.4321), (0, 1), (-1, 0.5), (400, 1)])
def test_tiles_that_would_not_fill_the_earth_are_refused(size):
    with pytest.raises(ValueError, match="CHUNK_SIZE"):
        tile_at(0, 0, size)


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 hours"), (1, "1 hour"), (1.0, "1 hour"), (2, "2 hours"), (1.5, "1.5 hours")],
)
def test_one_is_not_several(number, words):
    assert count(number, "hour") == words
    assert in_hours(number) == words


THINGS = (
    "record|tile|day|chunk|job|image|file|credit|hour|part|minute|second|slot|pixel|cell|item|"
    "feature"
)


@pytest.mark.parametrize(
    "path", [*(ROOT / "tests" / "screens").iterdir(), ROOT / "docs" / "session.md"], ids=str
)
def test_no_screen_says_one_of_several(path):
    words = path.read_text(encoding="utf-8")
    assert not re.search(rf"(?<![\d.,-])1 ({THINGS})s\b", words)
