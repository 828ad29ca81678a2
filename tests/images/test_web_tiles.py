"""Tiles of a web map: each row as `retrieve` gives it, and drawn as the pictures are."""

from __future__ import annotations

import datetime as dt
import io

import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture
from pyproj import Transformer

import retrieve
from grid import BBox, Chunk, Tile
from images import web_tiles
from images.blocks import padded
from images.records import on_days
from images.scales import Scale
from shared.collection import SENTINEL1, SENTINEL2
from store import Archive
from tests.images.test_blocks import cells_of

DAY = dt.date(2026, 1, 20)
TILES = Tile(7.0, 50.0, 8.0, 50.5), Tile(8.0, 50.0, 9.0, 50.5)
AROUND = BBox(6.9, 49.9, 9.1, 50.6)
BANDS = ("VV", "VH")
SCALE = Scale(SENTINEL1.product)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two tiles with gaps."""
    archive = Archive(tmp_path_factory.mktemp("web") / "a.zarr")
    for number, tile in enumerate(TILES):
        archive.write(Chunk(tile, DAY, "any"), cells_of(tile, seed=number))
    return archive


def number_of(zoom: int, lon: float, lat: float) -> tuple[int, int, int]:
    """The tile around a point, by PROJ."""
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(lon, lat)
    half = 20037508.342789244
    return zoom, int((x + half) / (2 * half) * 2**zoom), int((half - y) / (2 * half) * 2**zoom)


def values(archive, number):
    frame = web_tiles.frame_of(*number)
    layout = archive.layout
    views = [v for v in archive.views() if v.tile.bbox.intersects(padded(frame.bbox, layout.nside))]
    if not views:
        return None
    (image,) = on_days(archive, views, frame.bbox, DAY, DAY, None)
    return web_tiles.values_of(frame, views, image, BANDS, layout.nside)


@settings(max_examples=40)
@given(
    zoom=st.integers(0, 14), lon=st.floats(6.95, 9.05), lat=st.floats(49.95, 50.55),
    rows=st.lists(st.integers(0, 255), min_size=1, max_size=3),
)  # fmt: skip
def test_each_row_is_that_of_a_retrieval_to_the_bit(archive, zoom, lon, lat, rows):
    number = number_of(zoom, lon, lat)
    found, frame = values(archive, number), web_tiles.frame_of(*number)
    for row in rows:
        south, north = float(frame.edges[row]), float(frame.edges[row + 1])
        box = BBox(frame.bbox.west, south, frame.bbox.east, north)
        try:
            whole = retrieve.load(archive, box, DAY, dlat=box.height, dlon=frame.dlon)
        except retrieve.NoData:
            assert not any(tile.bbox.intersects(box) for tile in TILES)
            continue
        for band, name in enumerate(BANDS):
            np.testing.assert_array_equal(found[band, row], whole[name].values[0, 0])


def test_a_pixel_of_a_fine_tile_is_the_cell_that_healpy_finds(archive):
    number = number_of(12, 7.99, 50.25)
    frame, found = web_tiles.frame_of(*number), values(archive, number)
    lon, lat = np.meshgrid(frame.lon, frame.lat)
    ids = healpy.ang2pix(archive.layout.nside, lon, lat, nest=True, lonlat=True)
    cells = retrieve.select(archive, AROUND, DAY, cell_ids=True)
    place = np.searchsorted(cells["cell_ids"].values, ids)
    np.testing.assert_array_equal(found[0], cells["VV"].values[place])


@given(zoom=st.integers(0, 19), lon=st.floats(-179.9, 179.9), lat=st.floats(-85, 85))
def test_a_tile_is_where_proj_says(zoom, lon, lat):
    _, x, y = number_of(zoom, lon, lat)
    frame = web_tiles.frame_of(zoom, x, y)
    half, side = 20037508.342789244, 2 * 20037508.342789244 / 2**zoom
    back = Transformer.from_crs(3857, 4326, always_xy=True)
    west, south = back.transform(-half + x * side, half - (y + 1) * side)
    east, north = back.transform(-half + (x + 1) * side, half - y * side)
    box = frame.bbox
    assert (box.west, box.west + box.width) == pytest.approx((west, east), abs=1e-9)
    assert (box.south, box.north) == pytest.approx((south, north), abs=1e-9)
    assert frame.lat.size == frame.lon.size == 256
    assert (np.diff(frame.lat) > 0).all()


@pytest.mark.parametrize("number", [(0, 0, 1), (3, -1, 0), (3, 8, 0), (20, 0, 0)])
def test_a_tile_that_there_is_not_is_refused(number):
    with pytest.raises(ValueError, match="There is no tile"):
        web_tiles.frame_of(*number)


# --- as pictures ---


def shown(data):
    return np.asarray(Picture.open(io.BytesIO(data)).convert("RGBA"))[::-1]


def test_a_band_goes_from_black_to_white_and_gaps_are_transparent():
    power = np.full((256, 256), np.nan, np.float32)
    power[:, :4] = [0.0, 0.001, 0.01, 0.1]  # -inf, -30, -20 and -10 dB
    found = shown(web_tiles.picture({"VV": power}, SCALE, {"VV": (-30.0, -10.0)}))
    assert found[0, :4, 0].tolist() == [0, 0, pytest.approx(127, abs=1), 255]
    assert (found[:, :4, 3] == 255).all()
    assert (found[:, 4:, 3] == 0).all()


def test_a_picture_in_colour_has_a_channel_for_each_name():
    power = {
        "VV": np.full((256, 256), 0.1, np.float32),
        "VH": np.full((256, 256), 0.01, np.float32),
    }
    power["VH"][0, 0] = np.nan
    ranges = {"VV": (-20.0, -10.0), "VH": (-20.0, -10.0), "VV/VH": (0.0, 20.0)}
    found = shown(web_tiles.picture(power, SCALE, ranges))
    assert found[1, 1].tolist() == [255, 0, 128, 255]
    assert found[0, 0, 3] == 0


def test_classes_have_colours_of_their_own():
    classes = np.full((256, 256), 4, np.float32)
    classes[:, 100:] = 5
    found = shown(web_tiles.picture({"SCL": classes}, Scale(SENTINEL2.product), {"SCL": (0, 11)}))
    assert len({tuple(colour) for colour in found[:, 99:101].reshape(-1, 4).tolist()}) == 2


def test_land_and_sea_are_where_they_are():
    number = number_of(9, 3.9, 51.25)
    found = shown(web_tiles.land_tile(*number, dark=False))
    frame = web_tiles.frame_of(*number)
    row, column = np.searchsorted(frame.lat, 51.05), np.searchsorted(frame.lon, 3.73)  # Ghent
    assert tuple(found[row, column, :3]) == web_tiles.GROUND[0]
    sea = shown(web_tiles.land_tile(*number_of(9, 3.0, 51.6), dark=True))
    assert tuple(sea[128, 128, :3]) == web_tiles.WATER[1]
