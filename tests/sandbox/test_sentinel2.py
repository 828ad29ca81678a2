"""The sandbox's synthetic Sentinel-2: its tiles, clouds, values, files and items."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import re

import netCDF4
import numpy as np
import pystac_client
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from pystac.validation import validate_dict

from sandbox import (
    angles,
    catalogue,
    granules,
    ground,
    land,
    mosaic,
    offers,
    optical,
    orbit,
    raster,
    shelves,
)
from sandbox.errors import NoData
from sandbox.graph import Condition, Cube, Order
from tests.rounds import torture, turns

DAY = dt.date(2026, 1, 20)
BOX = (3.5, 51.2, 3.52, 51.21)
OVERLAP = (3.13, 51.2, 3.15, 51.21)  # of 31UDS and 31UES
ZONES = (5.99, 51.2, 6.01, 51.21)  # of 31 and 32
CLOUDY = (4.0, 51.05, 4.06, 51.08)  # with edges of clouds
FILL = optical.FILL
ALL = tuple(optical.RESOLUTIONS)


def order(box=BOX, day=DAY, days=1, bands=("B02", "B08", "SCL"), reducer="first", conditions=()):
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    return Order(
        Cube(
            box, start, start + dt.timedelta(days=days), bands, reducer=reducer,
            collection=catalogue.SENTINEL2, conditions=conditions,
        ),
        "netCDF",
    )  # fmt: skip


def write(path, *arguments, **more):
    """Variables as stored, by name, and their attributes."""
    raster.write(order(*arguments, **more), path)
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        attributes = {
            n: {k: v.getncattr(k) for k in v.ncattrs()} for n, v in file.variables.items()
        }
        return {name: v[...] for name, v in file.variables.items()}, attributes


def tile_of(name):
    tile = granules.named(name)
    assert tile is not None
    return tile


def products(box, day=DAY):
    (step,) = mosaic.steps(order(box, day).cube)
    return step.products


def rectangle(tile):
    """The pixels' centres of a tile, every 600 m, in longitude and latitude."""
    west, south, east, north = tile.bounds
    x, y = np.meshgrid(np.arange(west + 5, east, 600), np.arange(north - 5, south, -600))
    return Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(x.ravel(), y.ravel())


# --- where it looks


@pytest.mark.parametrize(
    ("name", "epsg", "left", "top"),
    [("31UFS", 32631, 600000, 5700000), ("55WFR", 32655, 600000, 7600020),
     ("36NYH", 32636, 699960, 300000), ("32TPS", 32632, 600000, 5200020)],
)  # fmt: skip
def test_tiles_are_those_of_sentinel_2(name, epsg, left, top):
    # By the metadata of products of Copernicus.
    assert tile_of(name) == granules.Tile(epsg, name, left, top)


@given(st.floats(-180, 179.9), st.floats(-55, 80))
@settings(max_examples=40, deadline=None)
def test_every_place_with_land_is_in_a_tile_of_its_own_zone(lon, lat):
    zone = int((lon + 180) // 6) + 1
    around = granules.tiles((lon, lat, lon + 1e-6, lat + 1e-6))
    if not land.window(lon, lat, lon, lat)[0][4, 4]:
        return
    epsg = (32600 if lat >= 0 else 32700) + zone
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(lon, lat)
    inside = [
        tile
        for tile in around
        if tile.epsg == epsg
        and tile.bounds[0] <= x < tile.bounds[2]
        and tile.bounds[1] < y <= tile.bounds[3]
    ]
    assert 1 <= len(inside) <= 4


def test_neighbouring_tiles_overlap_by_ten_kilometres():
    west, east = tile_of("31UDS"), tile_of("31UES")
    assert 9_000 < west.bounds[2] - east.bounds[0] < 10_000
    assert west.bounds[1::2] == east.bounds[1::2]


@given(st.floats(-180, 179), st.floats(-50, 65), st.dates(dt.date(2020, 1, 1), dt.date(2026, 1, 1)))
@settings(max_examples=40, deadline=None)
def test_a_place_is_seen_every_five_days(lon, lat, day):
    seen = []
    for number in range(10):
        views = granules.passes(day + dt.timedelta(days=number))
        across = [float(v.across(np.array([lon]), np.array([lat]))[0]) for v in views]
        seen.append(any(0 <= f < 1 for f in across))
    assert seen[:5] == seen[5:] or abs(lon) > 150  # a day ends in the middle of the Pacific
    assert 1 <= sum(seen[:5]) <= 4


def test_the_sun_is_up_and_there_is_land_where_it_looks():
    north = (25.0, 67.0, 25.1, 67.1)
    assert len(mosaic.steps(order(north, dt.date(2025, 6, 10), 10).cube)) > 3
    assert mosaic.steps(order(north, dt.date(2025, 12, 10), 10).cube) == []
    assert mosaic.steps(order((-30.0, 40.0, -29.9, 40.1), days=6).cube) == []


# --- what it sees


def test_two_runs_agree_bit_by_bit(tmp_path):
    for name in "ab":
        raster.write(order(bands=ALL), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_two_rasters_of_a_zone_agree_exactly_where_they_overlap(tmp_path):
    bands = ("B04", "B11", "B09", "SCL")
    a, _ = write(tmp_path / "a", CLOUDY, bands=bands)
    b, _ = write(tmp_path / "b", (4.0123, 51.0654, 4.07, 51.09), bands=bands)
    _, ax, bx = np.intersect1d(a["x"], b["x"], return_indices=True)
    _, ay, by = np.intersect1d(a["y"], b["y"], return_indices=True)
    for band in bands:
        np.testing.assert_array_equal(a[band][np.ix_(ay, ax)], b[band][np.ix_(by, bx)])


@pytest.mark.parametrize("south", [False, True])
def test_coarser_bands_are_repeated_on_their_own_lattice(tmp_path, south):
    box = (18.5, -33.9, 18.52, -33.88) if south else BOX
    day = DAY
    while not mosaic.steps(order(box, day).cube):
        day += dt.timedelta(days=1)
    bands = ("B03", "B05", "B01", "SCL")
    values, _ = write(tmp_path / "f", box, day, bands=bands)
    origin = 10_000_000 if south else 0
    for band, size in (("B05", 20), ("B01", 60), ("SCL", 20)):
        columns, rows = values["x"] // size, (origin - values["y"]) // size
        for axis, numbers in ((1, columns), (0, rows)):
            inner = np.diff(values[band], axis=axis).any(axis=1 - axis)
            assert not inner[np.diff(numbers) == 0].any()
        alone, _ = write(tmp_path / band, box, day, bands=(band,))
        assert set(np.diff(alone["x"])) == {size}
        assert alone["x"][0] % size == size / 2
        assert (origin - alone["y"][0]) % size == size / 2
        _, i, j = np.intersect1d(columns, alone["x"] // size, return_indices=True)
        _, k, m = np.intersect1d(rows, (origin - alone["y"]) // size, return_indices=True)
        mine = values[band][np.ix_(k, i)]
        np.testing.assert_array_equal(mine, alone[band][np.ix_(m, j)])
    assert np.diff(values["B03"], axis=1).any(axis=0).all()


def test_land_and_sea_have_the_colours_that_they_have(tmp_path):
    summer = dt.date(2025, 7, 14)  # without a cloud
    box = (3.3, 51.1, 3.35, 51.12)
    values, _ = write(tmp_path / "f", box, summer, bands=ALL)
    scl, seen = values["SCL"], values["SCL"] != FILL
    assert seen.all()
    green = scl == optical.PLANTS
    assert green.mean() > 0.4
    ndvi = (values["B08"] - values["B04"]) / (values["B08"] + values["B04"].astype(float))
    assert np.median(ndvi[green]) > 0.5 > np.median(ndvi[scl == optical.BARE])
    sea, _ = write(tmp_path / "sea", (3.0, 51.4, 3.02, 51.41), summer, bands=ALL)
    water = sea["SCL"] == optical.WATER
    assert water.mean() > 0.9
    assert np.median(sea["B02"][water]) > np.median(sea["B8A"][water])
    assert -200 < sea["B12"][water].min() < 0, "the offset is taken off, so water may be negative"


def test_the_radar_and_the_eye_see_the_same_coast(tmp_path):
    box = (3.2, 51.31, 3.25, 51.35)
    start = dt.datetime(2026, 1, 20, tzinfo=dt.UTC)
    optic, _ = write(tmp_path / "a", box)
    radar = Cube(box, start, start + dt.timedelta(days=1), ("VV",), None, "first", "OFF")
    raster.write(Order(radar, "netCDF"), tmp_path / "b")
    with netCDF4.Dataset(tmp_path / "b") as file:
        vv = file["VV"][...].filled(0)
    sea, soil = (
        np.isin(optic["SCL"], k) for k in ((optical.WATER,), (optical.PLANTS, optical.BARE))
    )
    assert sea.mean() > 0.1 < soil.mean()
    assert 10 * np.log10(vv[soil].mean() / vv[sea].mean()) > 3


def test_clouds_are_white_and_their_shadows_dark(tmp_path):
    values, _ = write(tmp_path / "f", (3.5, 51.18, 3.62, 51.24), bands=("B02", "B08", "SCL"))
    scl = values["SCL"]
    cloud, clear = scl == optical.HIGH, np.isin(scl, (optical.PLANTS, optical.BARE))
    shadow = scl == optical.SHADOW
    assert cloud.mean() > 0.03 < clear.mean()
    assert np.median(values["B02"][cloud]) > 3 * np.median(values["B02"][clear])
    assert shadow.mean() > 0.001
    assert np.median(values["B08"][shadow]) < 0.8 * np.median(values["B08"][clear])


@pytest.mark.parametrize("tile", ["31UDS", "31UES"])
def test_the_cloud_cover_of_a_product_is_that_of_its_pixels(tile):
    granule = next(g for g in products((3.1, 51.0, 3.2, 51.1)) if g.tile.name == tile)
    lon, lat = rectangle(granule.tile)
    across = granule.view.across(lon, lat)
    seen = (across >= 0) & (across < 1)
    sky = optical.clouds(lon[seen], lat[seen], granules.key(granule.view))
    share = 100 * np.isin(sky, (optical.MEDIUM, optical.HIGH, optical.CIRRUS)).mean()
    assert 5 < granule.cloud_cover < 95
    assert granule.cloud_cover == pytest.approx(share, abs=1.0)
    assert granule.shares["nodata"] == pytest.approx(100 * (1 - seen.mean()), abs=1.0)


def test_the_clouds_of_the_pixels_are_those_that_were_sampled(tmp_path):
    values, _ = write(tmp_path / "f", CLOUDY, bands=("SCL",))
    x, y = np.meshgrid(values["x"], values["y"])
    lon, lat = Transformer.from_crs(32631, 4326, always_xy=True).transform(x, y)
    (view,) = {g.view for g in products(CLOUDY)}
    sky = optical.clouds(lon.ravel(), lat.ravel(), granules.key(view)).reshape(lon.shape)
    clouds = (optical.MEDIUM, optical.HIGH, optical.CIRRUS)
    ours, theirs = np.isin(sky, clouds), np.isin(values["SCL"], clouds)
    assert 0.05 < ours.mean() < 0.95
    # Pixels interpolate between nodes of 160 m.
    assert (ours == theirs).mean() > 0.995


# --- how products are merged


def test_the_product_whose_name_sorts_first_is_on_top(tmp_path, monkeypatch):
    both, _ = write(tmp_path / "both", OVERLAP)
    first, second = sorted(products(OVERLAP), key=lambda g: g.id)
    single = {}
    for granule in (first, second):
        only = Condition("grid:code", "eq", f"MGRS-{granule.tile.name}")
        single[granule], _ = write(tmp_path / granule.id, OVERLAP, conditions=(only,))
    for band in ("B02", "B08", "SCL"):
        top, under = single[first][band], single[second][band]
        np.testing.assert_array_equal(both[band], np.where(top == FILL, under, top))
    edge = first.tile.bounds[2]
    assert 0 < (both["x"] > edge).sum() < both["x"].size, "one of them ends here"
    seen = (single[first]["B02"] != FILL) & (single[second]["B02"] != FILL)
    difference = single[first]["B02"][seen] - single[second]["B02"][seen]
    assert 1 < abs(np.median(difference)) < 200, "each has its own haze"
    np.testing.assert_array_equal(single[first]["SCL"][seen], single[second]["SCL"][seen])


def test_products_of_the_neighbouring_zone_fill_in(tmp_path):
    day = DAY
    while len({g.tile.epsg for s in mosaic.steps(order(ZONES, day).cube) for g in s.products}) < 2:
        day += dt.timedelta(days=1)
    values, _ = write(tmp_path / "f", ZONES, day)
    only = Condition("grid:code", "eq", next(
        f"MGRS-{g.tile.name}" for g in products(ZONES, day) if g.tile.epsg == 32632
    ))  # fmt: skip
    other, _ = write(tmp_path / "other", ZONES, day, conditions=(only,))
    assert (values["B02"] != FILL).mean() > 0.5
    assert (other["B02"] != FILL).any()


def test_what_no_product_shows_is_the_fill_in_all_bands(tmp_path):
    lons = np.arange(2.0, 8.0, 0.01)
    for number in range(5):
        day = DAY + dt.timedelta(days=number)
        across = [view.across(lons, np.full(lons.size, 51.01)) for view in granules.passes(day)]
        inside = np.any([(f >= 0) & (f < 1) for f in across], axis=0)
        edges = np.flatnonzero(np.diff(inside))
        if edges.size:
            west = float(lons[edges[0]]) - 0.01
            values, _ = write(tmp_path / "f", (west, 51.0, west + 0.03, 51.02), day)
            empty = values["B02"] == FILL
            assert 0 < empty.mean() < 1
            np.testing.assert_array_equal(values["B08"] == FILL, empty)
            # A pixel of 20 m ends where its middle does.
            assert (values["SCL"] == FILL).mean() == pytest.approx(empty.mean(), abs=0.02)
            return
    raise AssertionError("no swath ends there")


@torture
@pytest.mark.parametrize("reducer", turns(["first", "last", "mean", "median", "min", "max"]))
def test_a_reducer_works_on_the_days_without_the_pixels_that_have_no_data(tmp_path, reducer):
    stack, attributes = write(tmp_path / "stack", ZONES, days=9, reducer=None)
    values, reduced = write(tmp_path / reducer, ZONES, days=9, reducer=reducer)
    assert stack["t"].size > 2
    days = np.where(stack["B02"] == FILL, np.nan, stack["B02"].astype(float))
    seen = np.isfinite(days)
    if reducer in ("first", "last"):
        turn = slice(None) if reducer == "first" else slice(None, None, -1)
        index = seen[turn].argmax(axis=0)
        expected = np.take_along_axis(days[turn], index[None], axis=0)[0]
    else:
        expected = getattr(np, f"nan{reducer}")(days, axis=0)
    assert attributes["B02"]["_FillValue"] == FILL
    if reducer == "mean":
        assert values["B02"].dtype == values["SCL"].dtype == np.float32
        assert np.isnan(reduced["B02"]["_FillValue"])
        np.testing.assert_allclose(values["B02"], expected, rtol=1e-6)
        return
    assert values["B02"].dtype == np.int16
    assert reduced["B02"]["_FillValue"] == FILL
    np.testing.assert_array_equal(values["B02"], np.trunc(np.nan_to_num(expected, nan=FILL)))


def test_reducers_differ_where_days_do(tmp_path):
    values = {
        r: write(tmp_path / r, CLOUDY, days=9, reducer=r)[0]["B02"]
        for r in ("first", "min", "last")
    }
    assert (values["min"] <= values["first"]).all()
    assert (values["min"] < values["first"]).mean() > 0.1
    assert (values["first"] != values["last"]).mean() > 0.5


# --- the file, filters and no data


def test_the_file_is_laid_out_as_for_sentinel_1_but_of_whole_numbers(tmp_path):
    values, attributes = write(tmp_path / "f", bands=("SCL", "B04"), reducer=None)
    assert list(values) == ["t", "x", "y", "crs", "SCL", "B04"]
    assert list(values["t"]) == [(DAY - dt.date(1990, 1, 1)).days]
    assert values["B04"].dtype == values["SCL"].dtype == np.int16
    assert attributes["B04"]["_FillValue"] == attributes["SCL"]["_FillValue"] == -32768
    assert attributes["B04"]["_FillValue"].dtype == np.int16
    assert attributes["B04"]["grid_mapping"] == "crs"
    assert set(np.unique(values["SCL"])) <= set(range(1, 12))


def test_classes_by_themselves_have_eight_bits(tmp_path):
    values, attributes = write(tmp_path / "f", bands=("SCL",))
    assert values["SCL"].dtype == np.int8
    assert attributes["SCL"]["_Unsigned"] == "true"
    assert "_FillValue" not in attributes["SCL"]


def test_products_are_filtered_by_their_cloud_cover(tmp_path):
    covers = sorted(g.cloud_cover for g in products(OVERLAP))
    assert covers[0] < covers[1]

    def left(*conditions):
        found = mosaic.steps(order(OVERLAP, conditions=conditions).cube)
        return sorted(g.cloud_cover for step in found for g in step.products)

    cover = "eo:cloud_cover"
    assert left(Condition(cover, "lte", 100)) == covers
    assert left(Condition(cover, "lte", covers[0])) == covers[:1]
    assert left(Condition(cover, "lt", covers[0])) == []
    assert left(Condition(cover, "gt", covers[0])) == covers[1:]
    assert left(Condition(cover, "lte", "some")) == left(Condition("eo:snow", "eq", 0)) == []
    with pytest.raises(NoData) as none:
        raster.write(order(OVERLAP, conditions=(Condition(cover, "lt", 0),)), tmp_path / "f")
    assert not none.value.catalogued


def test_what_goes_by_the_classes_is_there_where_they_are(tmp_path):
    values, _ = write(tmp_path / "all", bands=("B04", "SCL", *optical.DERIVED))
    alone, _ = write(tmp_path / "alone", bands=("CLD",))
    rows, columns = np.isin(values["y"] - 5, alone["y"]), np.isin(values["x"] + 5, alone["x"])
    same = np.isin(alone["y"], values["y"] - 5), np.isin(alone["x"], values["x"] + 5)
    assert rows.sum() > 20
    np.testing.assert_array_equal(values["CLD"][np.ix_(rows, columns)], alone["CLD"][np.ix_(*same)])
    classes = values["SCL"]
    for band in optical.DERIVED:
        np.testing.assert_array_equal(values[band] == FILL, classes == FILL, err_msg=band)
    there = classes != FILL
    assert (values["WVP"][there] > 0).all()
    assert np.unique(values["WVP"]).size > 5
    assert set(np.unique(values["SNW"][there & (classes != optical.SNOW)])) <= set(range(10))
    box = (3.0, 51.0, 3.4, 51.2)  # with clouds and without
    day = DAY + dt.timedelta(days=10)
    values, _ = write(tmp_path / "wide", box, day, bands=("SCL", *optical.DERIVED))
    cloudy = values["SCL"] == optical.HIGH
    clear = np.isin(values["SCL"], (optical.PLANTS, optical.BARE, optical.WATER))
    assert cloudy.any()
    assert clear.any()
    assert values["CLD"][cloudy].min() > 90 > 10 > values["CLD"][clear].max()
    assert values["AOT"][cloudy].mean() > values["AOT"][clear].mean()


def test_angles_are_those_of_a_product_and_make_all_bands_real_numbers(tmp_path):
    bands = ("B04", "sunZenithAngles", "SCL", "viewAzimuthMean")
    values, attributes = write(tmp_path / "all", OVERLAP, bands=bands)
    plain, _ = write(tmp_path / "plain", OVERLAP, bands=("B04", "SCL"))
    for band in ("B04", "SCL"):
        assert values[band].dtype == np.float32
        assert np.isnan(attributes[band]["_FillValue"])
        as_whole = np.where(np.isnan(values[band]), FILL, values[band])
        np.testing.assert_array_equal(as_whole, plain[band])
    on_top = angles.of_product(products(OVERLAP)[0])
    for band in ("sunZenithAngles", "viewAzimuthMean"):  # one block, which both products touch
        np.testing.assert_array_equal(values[band], np.float32(on_top[band]))


def test_angles_of_a_raster_come_in_blocks_of_the_products_that_touch_them(tmp_path):
    box = (3.0, 51.1, 3.3, 51.2)
    values, _ = write(tmp_path / "f", box, bands=("sunAzimuthAngles",))
    known = {np.float32(angles.of_product(p)["sunAzimuthAngles"]) for p in products(box)}
    found = values["sunAzimuthAngles"]
    assert set(np.unique(found)) <= known
    assert len(np.unique(found)) > 1
    for row, column in itertools.product(*(range(0, size, 256) for size in found.shape)):
        assert np.unique(found[row : row + 256, column : column + 256]).size == 1


def test_angles_may_be_where_nothing_else_is(tmp_path):
    (view,) = {product.view for product in products(BOX)}
    lon = np.arange(3.0, 12.0, 0.01)
    across = view.across(lon, np.full(lon.shape, 51.05))
    edge = float(lon[(across >= 0) & (across < 1)].max())
    box = (edge - 0.02, 51.04, edge + 0.02, 51.06)
    values, _ = write(tmp_path / "f", box, bands=("B04", "viewZenithMean"))
    seen, known = (np.isfinite(values[name]) for name in ("B04", "viewZenithMean"))
    assert seen.any()
    assert (known & ~seen).any()
    assert (known | ~seen).all()


@pytest.mark.parametrize("lat", [-41.0, -12.0, 33.0, 51.0])
def test_angles_are_those_of_a_morning_and_of_a_swath(lat):
    for day in (DAY, DAY + dt.timedelta(days=150)):
        some = [
            product
            for one in range(5)
            for product in products_at(20.0, lat, day + dt.timedelta(days=one))
        ]
        for product in some:
            its = angles.of_product(product)
            assert 0 < its["sunZenithAngles"] < 90 - granules.SUN_LEAST + 4
            assert 0 < its["sunAzimuthAngles"] % 360 < 180  # before noon it stands in the east
            assert its["viewZenithMean"] < 12  # degrees, as the instrument's half of 20.6
            # The track runs about from north to south, so it is looked at from east or west.
            assert abs(abs((its["viewAzimuthMean"] - 8) % 180 - 90)) < 12


def products_at(lon, lat, day):
    steps = mosaic.steps(order((lon, lat, lon + 0.01, lat + 0.01), day).cube)
    return [product for step in steps for product in step.products]


def test_a_day_without_an_overpass_has_no_data(tmp_path):
    with pytest.raises(NoData) as none:
        raster.write(order(day=DAY + dt.timedelta(days=1)), tmp_path / "f")
    assert not none.value.catalogued
    assert list(tmp_path.iterdir()) == []


def test_the_collection_tells_what_its_bands_are():
    document = offers.OFFERS[catalogue.SENTINEL2].document("http://x", True)
    bands = {band["name"]: band for band in document["summaries"]["eo:bands"]}
    assert list(bands) == document["cube:dimensions"]["bands"]["values"] == list(mosaic.OFFERED)
    assert "B10" not in bands
    assert {b: bands[b]["gsd"] for b in bands} == mosaic.OFFERED
    assert (bands["AOT"]["scale"], bands["CLD"]["scale"]) == (0.001, 1)
    assert (bands["viewZenithMean"]["unit"], bands["viewZenithMean"]["type"]) == ("deg", "float32")
    reflectance = {(b["scale"], b["type"], b["unit"]) for n, b in bands.items() if n[0] == "B"}
    assert reflectance == {(0.0001, "int16", "1")}
    assert bands["B08"]["common_name"] == "nir"


# --- the catalogue


@pytest.fixture
def client(sandbox):
    return pystac_client.Client.open(f"{sandbox.url}/stac")


def test_items_are_what_jobs_find(client):
    items = list(
        client.search(collections=[shelves.SENTINEL2], bbox=OVERLAP, datetime="2026-01-20").items()
    )
    found = {g.id: g for g in products(OVERLAP)}
    assert {item.id for item in items} == set(found)
    for item in items:
        granule, about = found[item.id], item.properties
        assert about["eo:cloud_cover"] == granule.cloud_cover
        assert about["grid:code"] == f"MGRS-{granule.tile.name}"
        assert re.fullmatch(r"synthetic-2[ab]", about["platform"])
        assert item.datetime == granule.time
        shape = shapely.geometry.shape(item.geometry)
        assert shape.equals_exact(granule.footprint, 1e-6)
        assert set(item.assets) >= {"B02_10m", "SCL_20m", "B01_60m", "B8A_20m"}
        assert item.assets["B02_10m"].extra_fields["raster:offset"] == -0.1
        [schema] = validate_dict(item.to_dict(transform_hrefs=False), extensions=[])
        assert "v1.1.0" in schema
    [same] = client.search(ids=[items[0].id]).items()
    assert same.to_dict() == items[0].to_dict()


@given(
    st.dates(dt.date(2018, 1, 1), dt.date(2026, 1, 1)), st.floats(-180, 179),
    st.floats(-55, 78), st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_footprints_are_exactly_where_a_job_finds_pixels(day, west, south, seed):
    dice = np.random.default_rng(seed)
    lon, lat = west + dice.random(100), south + dice.random(100)
    among = granules.tiles((west, south, west + 1, south + 1))
    for view in granules.passes(day):
        for granule in granules.of_pass(view, among):
            tile = granule.tile
            x, y = Transformer.from_crs(4326, tile.epsg, always_xy=True).transform(lon, lat)
            w, s, e, n = tile.bounds
            across = view.across(lon, lat)
            with np.errstate(invalid="ignore"):
                inside = (x >= w) & (x < e) & (y > s) & (y <= n) & (across >= 0) & (across < 1)
                edge = np.minimum.reduce([abs(x - w), abs(x - e), abs(y - s), abs(y - n)]) < 3
                edge |= np.minimum(abs(across), abs(across - 1)) < 1e-5
            covered = shapely.intersects_xy(granule.footprint, lon, lat)
            np.testing.assert_array_equal(covered[~edge], inside[~edge])


def test_products_that_are_not_published_are_not_found():
    late = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    assert mosaic.steps(order().cube, lambda view: late) == []
    assert list(shelves.scenes(DAY, [BOX], None, lambda view: late)) == []
    shown = {s.id for s in shelves.scenes(DAY, [BOX], None, orbit.published)}
    assert {g.id for g in products(BOX)} <= shown


def test_the_land_does_not_depend_on_who_looks():
    assert ground.CROP_COUNT == len(ground.PEAKS) == len(optical.LEAF)
    assert dataclasses.fields(optical.Ground)[0].name == "nodes"
