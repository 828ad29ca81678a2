"""Images of polygons: outside are gaps, to the pixel, in every kind of file and of grid."""

from __future__ import annotations

import datetime as dt
from typing import Any

import healpy
import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.features import geometry_mask

import retrieve as room
from grid import BBox, Chunk
from healpix.ids import runs_to_ids
from images import blocks, coverage
from shared import areas
from shared.areas import Area
from shared.polygons import read
from store import Archive
from tests.images.test_blocks import NSIDE, cells_of, filled
from tests.rounds import torture, turns

DAY = dt.date(2026, 1, 20)
STEP: dict[str, Any] = {"dlat": 0.004, "dlon": 0.006}
HOLED = (
    "POLYGON ((6.9 50.1, 8.1 50.2, 7.9 50.8, 7.0 50.7, 6.9 50.1), "
    "(7.3 50.3, 7.7 50.35, 7.5 50.6, 7.3 50.3))"
)
PARTS = f"MULTIPOLYGON ({HOLED[8:]}, ((8.3 50.0, 8.6 50.0, 8.5 50.4, 8.3 50.0)))"
FIJI = (
    "MULTIPOLYGON (((179.6 -0.3, 180 -0.3, 180 0.4, 179.6 -0.3)), "
    "((-180 -0.3, -179.5 0, -180 0.4, -180 -0.3)))"
)


def area_of(wkt):
    found = read(wkt)
    assert isinstance(found, Area)
    return found


def outside(grid, area):
    """By GDAL: ``bool[lat, lon]``."""
    height, width = grid.sizes["lat"], grid.sizes["lon"]
    dlat, dlon = grid.attrs["dlat"], grid.attrs["dlon"]
    where = Affine(dlon, 0, area.west, 0, -dlat, area.south + height * dlat)
    return geometry_mask([area.polygon], (height, width), where)[::-1]


@pytest.fixture(scope="module")
def rhine(tmp_path_factory):
    """Tiles around 7.5 E, 50.5 N, on two days."""
    archive = filled(tmp_path_factory.mktemp("area") / "a.zarr", BBox(6, 49.5, 9, 51))
    for tile in archive.tiles():
        archive.write(Chunk(tile, DAY + dt.timedelta(days=6), "any"), cells_of(tile, seed=3))
    return archive


@pytest.fixture(scope="module")
def fiji(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("fiji") / "a.zarr", BBox(179, -0.5, -179, 0.5))


@torture
@pytest.mark.parametrize("wkt", turns([PARTS, HOLED, FIJI]))
@pytest.mark.parametrize("step", [STEP, {"dlat": 0.03, "dlon": 0.05}])
def test_pixels_outside_are_gaps_and_those_inside_are_those_of_the_box(
    request, monkeypatch, wkt, step
):
    archive = request.getfixturevalue("fiji" if wkt == FIJI else "rhine")
    area = area_of(wkt)
    whole = room.retrieve(archive, area.box, DAY, **step)
    monkeypatch.setattr(blocks, "SIDE", 64)
    out = outside(whole, area)
    assert out.any()
    for grid in (
        room.retrieve(archive, area, DAY, **step),
        room.open(archive, area, DAY, **step).compute().isel(time=0),
        room.load(archive, area, DAY, **step).isel(time=0),
    ):
        for band in ("VV", "VH"):
            np.testing.assert_array_equal(grid[band], np.where(out, np.nan, whole[band]))
    plain = room.retrieve(archive, area.without_clipping(), DAY, **step)
    np.testing.assert_array_equal(plain["VV"], whole["VV"])


corners = st.tuples(st.integers(65, 85), st.integers(500, 508)).map(
    lambda p: (p[0] / 10, p[1] / 10)
)


@settings(max_examples=25)
@given(st.lists(corners, min_size=3, max_size=7), st.sampled_from(["nearest", "bilinear"]))
def test_any_polygon_is_cut_as_gdal_cuts_it(rhine, points, method):
    try:
        area = read(shapely.Polygon(points).wkt)
    except ValueError:
        return  # no area
    if not isinstance(area, Area):
        return
    grid = room.load(rhine, area, DAY, dlat=0.01, dlon=0.016, method=method).isel(time=0)
    whole = room.load(rhine, area.box, DAY, dlat=0.01, dlon=0.016, method=method).isel(time=0)
    expected = np.where(outside(grid, area), np.nan, whole["VV"])
    np.testing.assert_array_equal(grid["VV"], expected)


def test_blocks_outside_are_not_read(rhine, monkeypatch):
    area = area_of("POLYGON ((6 49.5, 6.1 49.5, 9 50.9, 9 51, 6 49.5))")
    monkeypatch.setattr(blocks, "SIDE", 64)
    read_ = blocks.Cube._read
    found: list[int] = []

    def noted(cube, *where):
        found.append(1)
        return read_(cube, *where)

    monkeypatch.setattr(blocks.Cube, "_read", noted)
    grid = room.load(rhine, area, DAY, **STEP)
    every = np.prod([np.ceil(grid.sizes[dim] / 64) for dim in ("lat", "lon")])
    assert len(found) < every / 2


def test_only_tiles_that_the_polygon_touches_make_an_image(rhine):
    area = area_of("POLYGON ((6.1 49.6, 6.2 49.6, 8.9 50.9, 8.8 50.9, 6.1 49.6))")
    grid = room.load(rhine, area, DAY, **STEP)
    touched = {tile.name for tile in areas.iter_tiles(area, (1, 0.5))}
    assert set(grid.attrs["tiles"].split()) == touched
    assert len(touched) < len(rhine.tiles())


def test_the_cells_of_an_area_are_those_whose_centre_is_inside(rhine):
    area = area_of(PARTS)
    cells = room.select(rhine, area, DAY)
    ids = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values)
    box = room.select(rhine, area.box, DAY)
    every = runs_to_ids(box["start_ipix"].values, box["run_len"].values)
    lon, lat = healpy.pix2ang(NSIDE, every.astype(np.int64), nest=True, lonlat=True)
    inside = shapely.contains_xy(area.polygon, lon, lat)
    np.testing.assert_array_equal(ids, every[inside])
    np.testing.assert_array_equal(cells["VV"], box["VV"].values[inside])


@pytest.mark.parametrize("most", [0, 10**9])
def test_the_share_of_a_day_is_that_of_the_polygon(rhine, monkeypatch, most):
    """Of its cells, by healpy; whether overviews are enough or not."""
    monkeypatch.setattr(coverage, "CELLS_COUNTED", 500 if most == 0 else most)
    area = area_of(HOLED)
    shares = {found.day: found.share for found in room.days(rhine, area)}
    cells = room.select(rhine, area, DAY)
    expected = float((cells["count"] > 0).mean())
    assert shares[DAY] == pytest.approx(expected, abs=0.02 if most == 0 else 1e-9)
    beyond = area_of("POLYGON ((9.1 49.6, 9.9 49.6, 9.5 50.9, 9.1 49.6))")
    assert room.days(rhine, beyond) == []


def test_the_mean_of_a_line_and_its_share_are_those_of_the_polygon(rhine):
    area = area_of(HOLED)
    grid = room.load(rhine, area, DAY, DAY + dt.timedelta(days=6), **STEP)
    rows = [row for row in room.statistics(grid) if row["band"] == "VV"]
    whole = room.load(rhine, area.box, DAY, DAY + dt.timedelta(days=6), **STEP)
    weight = np.cos(np.radians(whole["lat"].values))[:, None] * ~outside(whole, area)
    for time, row in enumerate(rows):
        power = whole["VV"].values[time].astype(float)
        seen = np.isfinite(power)
        mean = (np.nan_to_num(power) * weight).sum() / (weight * seen).sum()
        assert row["mean_dB"] == pytest.approx(10 * np.log10(mean), abs=1e-4)
        assert row["seen"] == pytest.approx((weight * seen).sum() / weight.sum(), abs=1e-9)


@pytest.mark.parametrize("lazy", [False, True])
def test_files_have_the_gaps_and_say_what_they_were_cut_to(rhine, tmp_path, lazy):
    area = area_of(PARTS)
    opened = room.open if lazy else room.load
    grid = opened(rhine, area, DAY, DAY + dt.timedelta(days=6), **STEP)
    out = outside(grid, area)
    for suffix in (".nc", ".tif", ".png", ".gif"):
        room.export(grid, tmp_path / f"a{suffix}")
    with xr.open_dataset(tmp_path / "a.nc") as back:
        assert np.isnan(back["VV"].values[:, out]).all()
        assert np.isfinite(back["VV"].values[:, ~out]).mean() > 0.8
        assert shapely.from_wkt(back.attrs["area"]).equals(area.polygon)
        bands = back[["VV", "VH", "orbit"]].load()
        assert room.statistics(bands) == room.statistics(grid.compute())
    with rasterio.open(tmp_path / "a.tif") as image:
        values = image.read(1)[::-1]
        np.testing.assert_array_equal(values, grid["VV"].values[0])


def test_the_outline_is_drawn_where_the_polygon_is_and_what_is_outside_is_paper(rhine):
    area = area_of(HOLED)
    figure = room.plot(room.retrieve(rhine, area, DAY, **STEP))
    maps = [axes for axes in figure.axes if axes.get_label() == "map"]
    for axes in maps:
        (line,) = [patch for patch in axes.patches if patch.get_gid() == "outline"]
        xy = np.asarray(line.get_path().vertices)
        far = shapely.distance(shapely.points(xy), area.polygon.boundary)
        assert far.max() < 1e-3
        assert xy.min(axis=0) == pytest.approx((area.west, area.south), abs=1e-3)
    box = room.plot(room.retrieve(rhine, area.box, DAY, **STEP))
    assert not [p for axes in box.axes for p in axes.patches if p.get_gid() == "outline"]


def test_an_area_of_a_large_polygon_goes_to_a_file_and_back(rhine, tmp_path):
    """Text of a megabyte, which attributes of HDF5 do not hold by themselves."""
    ring = shapely.Point(7.5, 50.5).buffer(0.4, quad_segs=8000)
    area = area_of(ring.wkt)
    grid = room.retrieve(rhine, area, DAY, dlat=0.02, dlon=0.02)
    assert len(grid.attrs["area"]) > 1_000_000
    room.export(grid, tmp_path / "a.nc")
    room.export(grid, tmp_path / "a.tif")
    with xr.open_dataset(tmp_path / "a.nc") as back:
        assert back.attrs["area"] == grid.attrs["area"]


def test_an_area_between_records_is_no_data(rhine):
    with pytest.raises(room.NoData, match="nothing of"):
        room.retrieve(rhine, area_of("POLYGON ((9.1 49.6, 9.9 49.6, 9.5 50.9, 9.1 49.6))"), DAY)


def test_the_archive_is_read_by_an_area_that_was_pickled(rhine):
    import pickle

    area = area_of(HOLED)
    _ = area.polygon
    again = pickle.loads(pickle.dumps(area))
    assert again == area
    assert again.polygon.equals(area.polygon)
    assert isinstance(rhine, Archive)


def test_from_python_polygons_are_given_as_people_have_them(rhine, tmp_path):
    area = area_of(HOLED)
    expected = room.retrieve(rhine, area, DAY, **STEP)
    (tmp_path / "a.wkt").write_text(HOLED)
    feature = {"type": "Feature", "geometry": shapely.geometry.mapping(area.polygon)}

    class Row:
        def __init__(self):
            self.__geo_interface__ = {"type": "FeatureCollection", "features": [feature]}

    for given_ in (HOLED, str(tmp_path / "a.wkt"), area.polygon, Row()):
        grid = room.retrieve(rhine, given_, DAY, **STEP)
        np.testing.assert_array_equal(grid["VV"], expected["VV"])
        assert room.days(rhine, given_) == room.days(rhine, area)
        assert room.spacing(given_, most=100) == room.spacing(area, most=100)
    with pytest.raises(ValueError, match="no geometry|no polygon"):
        room.retrieve(rhine, shapely.Point(1, 2), DAY)
