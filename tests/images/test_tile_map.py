"""The map of an archive: tiles, numbers, land."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from convert import tile_runs
from grid import BBox, Chunk, tiles_covering
from images.tile_map import coverage_map, unwrapped
from shared.land import land
from store import Archive
from tests.images.test_layout import off_the_paper

SIZE = (1.0, 0.5)
NSIDE = 4096


def archive(path, box):
    """One record in the first tile of the box, two in the second, and so on."""
    holding = Archive(path / "some.zarr")
    for number, tile in enumerate(tiles_covering(box, SIZE), 1):
        start, length = tile_runs(tile, NSIDE, "sphere")
        n = int(length.sum())
        cells = xr.Dataset(
            {
                "VV": ("cells", np.ones(n, np.float32)),
                "count": ("cells", np.ones(n, np.uint16)),
                "start_ipix": ("runs", start),
                "run_len": ("runs", length),
            },
            attrs={"nside": NSIDE, "ellipsoid": "sphere", "ordering": "nested", "source": ""},
        )
        for day in range(number):
            holding.write(Chunk(tile, dt.date(2026, 1, 1 + day)), cells)
    return holding


def test_every_tile_is_drawn_at_its_place_with_its_number_of_records(tmp_path):
    figure = coverage_map(archive(tmp_path, BBox(5, 44, 7, 45)))
    axes = figure.axes[0]
    drawn = {type(collection).__name__: collection for collection in axes.collections}
    tiles: Any = drawn["PatchCollection"]
    corners = [tuple(path.get_extents().p0) for path in tiles.get_paths()]
    assert sorted(corners) == [(w, s) for w in (5, 6) for s in (44, 44.5)]
    assert sorted(tiles.get_array()) == [1, 2, 3, 4]
    assert {text.get_text() for text in axes.texts} == set("1234")
    assert "some.zarr: records by tile, 10 in all" in axes.get_title(loc="left")
    assert len(figure.axes) == 1, "a bar of what the numbers say"
    low, high = axes.get_xlim()
    assert (low, high) == pytest.approx((4.4, 7.6)), "a frame much larger than the tiles"


@pytest.mark.parametrize("name", ["a.zarr", f"{'an archive with a long name ' * 3}.zarr"])
@pytest.mark.parametrize("south", [-80, 0, 80])
def test_all_of_a_map_is_on_the_paper(tmp_path, name, south):
    archive(tmp_path, BBox(179, south, 180, south + 0.5))
    (tmp_path / "some.zarr").rename(tmp_path / name)
    assert off_the_paper(coverage_map(Archive(tmp_path / name))) == []


def test_the_background_is_land_where_there_is_land():
    places = {  # longitude, latitude, land
        "Greenland": (-42, 72, True), "Spitsbergen": (16, 78.7, True), "Paris": (2.35, 48.86, True),
        "Tuscany": (11.3, 43.4, True), "Bangui": (18.6, 4.4, True), "Madagascar": (47, -19, True),
        "Alice Springs": (133.9, -23.7, True), "Fiji": (178, -17.8, True), "Peru": (-75, -9, True),
        "North Sea": (3, 56, False), "Channel": (-1, 50.2, False), "Gulf": (2.5, 1.0, False),
        "Pacific": (180, 0, False), "Tasman Sea": (160, -38, False), "Cape Horn": (-67, -57, False),
    }  # fmt: skip
    order = sorted(places.values(), key=lambda place: -place[1])
    lon, lat, expected = (np.array(column) for column in zip(*order, strict=True))
    assert np.diag(land(lat, lon)).tolist() == expected.tolist()
    assert np.diag(land(lat, lon + 360)).tolist() == expected.tolist()


def test_tiles_on_both_sides_of_180_degrees_are_neighbours_on_the_map(tmp_path):
    axes = coverage_map(archive(tmp_path, BBox(179, -18, -179, -17.5))).axes[0]
    west, east = axes.get_xlim()
    assert west < 179
    assert 181 < east < 190


def test_the_map_ends_at_a_pole(tmp_path):
    axes = coverage_map(archive(tmp_path, BBox(10, 88, 11, 90))).axes[0]
    south, north = axes.get_ylim()
    assert north == 90
    assert 80 < south < 88


@given(st.lists(st.integers(-180, 179), min_size=1, max_size=12))
def test_longitudes_are_unwrapped_at_their_widest_gap(lons):
    result = unwrapped(lons)
    assert [(lon + 180) % 360 - 180 for lon in result] == lons
    extent = max(result) - min(result)
    around = sorted(set(lons))
    gaps = np.diff([*around, around[0] + 360])
    assert extent == 360 - max(gaps)


def test_an_archive_without_records_has_no_map(tmp_path):
    with pytest.raises(ValueError, match="holds no record"):
        coverage_map(Archive(tmp_path / "none.zarr"))
