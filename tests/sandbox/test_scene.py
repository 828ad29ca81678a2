"""The sandbox's synthetic Sentinel-1: the same everywhere it is asked for, and like a radar's."""

from __future__ import annotations

import datetime as dt
import sys
import tracemalloc
import warnings

import netCDF4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from scipy import special

from sandbox import grids, land, orbit, raster, scene
from sandbox.errors import Cancelled, NoData
from sandbox.graph import Cube, Order
from tests.conftest import ROOT
from tests.rounds import seldom, torture, turns

DAY = dt.date(2026, 1, 20)
YESTERDAY = DAY - dt.timedelta(days=1)
SEA = (3.0, 51.4, 3.1, 51.47)  # open, and seen on the day
REAL = ROOT.parent / "shared" / "data"
lons = st.floats(-180, 180, exclude_max=True)
imaged = st.floats(orbit.SOUTH_LIMIT + 1, orbit.NORTH_LIMIT - 1)


def order(box, day=DAY, days=1, bands=("VV", "VH"), orbit_state=None, reducer="first"):
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    cube = Cube(box, start, start + dt.timedelta(days=days), bands, orbit_state, reducer, "OFF")
    return Order(cube, "netCDF")


def write(path, *arguments, **more):
    raster.write(order(*arguments, **more), path)
    return read(path)


def read(path):
    """Variables of a file as stored, by name, and its attributes."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        attributes = {name: file.getncattr(name) for name in file.ncattrs()}
        return {name: v[...] for name, v in file.variables.items()}, attributes


def decibel(values):
    return 10 * np.log10(np.mean(values))


# --- where it looks


@given(lons, st.dates(dt.date(2014, 10, 3), dt.date(2030, 1, 1)))
def test_the_passes_repeat_after_six_days(lon, day):
    def tracks(d):
        return sorted((p.orbit, round(p.node, 9), p.time.timetz()) for p in orbit.passes(d))

    assert tracks(day) == tracks(day + dt.timedelta(days=orbit.REPEAT))


@given(st.dates(dt.date(2014, 10, 3), dt.date(2030, 1, 1)))
def test_a_cycle_has_175_revolutions_of_each_of_two_satellites(day):
    cycle = [p for i in range(orbit.CYCLE) for p in orbit.passes(day + dt.timedelta(days=i))]
    for state in orbit.STATES:
        for platform in "AB":
            found = [p for p in cycle if (p.orbit, p.platform) == (state, platform)]
            assert sorted(p.relative_orbit for p in found) == list(range(1, 176))


@given(st.dates(dt.date(2014, 10, 3), dt.date(2030, 1, 1)))
def test_the_node_is_crossed_at_six_in_the_evening_local_solar_time(day):
    for view in orbit.passes(day):
        if view.orbit == "ASCENDING":
            utc = view.time.hour + view.time.minute / 60 + view.time.second / 3600
            local = (utc + view.node / 15) % 24
            assert abs(local - orbit.NODE_HOUR) < 0.1


@given(imaged, st.sampled_from(orbit.STATES))
@settings(max_examples=20)
def test_a_swath_is_250_km_wide(lat, state):
    view = next(p for p in orbit.passes(DAY) if p.orbit == state)
    lats = np.clip(lat + np.linspace(-6, 6, 600), orbit.SOUTH_LIMIT, orbit.NORTH_LIMIT - 0.01)

    def edge(at, share):
        """Longitude of an edge: where `across` is 0 or 1, found between two other points."""
        start = np.full_like(at, view.node - 1.0)
        rise = view.across(start + 1e-3, at) - (begin := view.across(start, at))
        return start + (share - begin) / rise * 1e-3

    near = edge(np.array([lat]), 0.0)[0]
    geod = Geod(a=orbit.EARTH_RADIUS * 1000, b=orbit.EARTH_RADIUS * 1000)
    n = lats.size
    _, _, distance = geod.inv([near] * n, [lat] * n, edge(lats, 1.0), lats)
    assert min(distance) / 1000 == pytest.approx(orbit.FAR_RANGE - orbit.NEAR_RANGE, rel=0.01)


def test_a_place_at_51_north_is_seen_on_some_days_and_not_on_others():
    lon, lat = np.meshgrid(np.arange(-180, 180, 0.5), [51.0])
    seen = np.zeros(lon.shape)
    for i in range(orbit.REPEAT):
        day = np.zeros(lon.shape, bool)
        for view in orbit.passes(DAY + dt.timedelta(days=i)):
            day |= (view.across(lon, lat) >= 0) & (view.across(lon, lat) < 1)
        seen += day
    assert seen.min() >= 2
    assert seen.max() <= 5


def test_nothing_is_imaged_beyond_the_latitudes_that_are():
    view = orbit.passes(DAY)[0]
    for lat in (-90.0, orbit.SOUTH_LIMIT - 0.01, orbit.NORTH_LIMIT, 90.0):
        assert np.isnan(view.across(np.array([0.0]), np.array([lat]))).all()


def test_the_demo_is_covered_and_other_tiles_and_days_only_in_part_or_not_at_all():
    def share(box, day):
        lon, lat = np.meshgrid(np.linspace(box[0], box[2], 41), np.linspace(box[1], box[3], 21))
        seen = np.zeros(lon.shape, bool)
        for view in orbit.passes(day):
            seen |= (view.across(lon, lat) >= 0) & (view.across(lon, lat) < 1)
        return seen.mean()

    assert share((2.99, 50.99, 5.01, 51.51), DAY) == 1
    assert share((7, 50, 8, 50.5), DAY) == 1
    assert 0.1 < share((6, 50, 7, 50.5), DAY) < 0.9
    assert share((3, 51, 5, 51.5), DAY + dt.timedelta(days=2)) == 0


# --- what it sees


@pytest.fixture(scope="module")
def is_land():
    """The package's own look-up, whose 0.9 GB are kept for no other test."""
    from global_land_mask import globe

    yield globe.is_land
    for name in [name for name in sys.modules if name.startswith("global_land_mask")]:
        del sys.modules[name]


@seldom(4)
@given(lon=lons, lat=st.floats(-89, 89))
@settings(max_examples=25)
def test_land_is_where_the_mask_of_global_land_mask_has_it(is_land, lon, lat):
    cells, top, left = land.window(lon, lat, lon, lat)
    row, column = int((90 - lat) * 120) - top, int(np.floor((lon + 180) * 120)) - left
    # The package's own look-up rounds the other way now and then.
    around = cells[row - 1 : row + 2, column - 1 : column + 2]
    assert around.min() <= bool(is_land(lat, lon)) <= around.max()


def test_two_runs_agree_bit_by_bit(tmp_path):
    box = (3.0, 51.2, 3.03, 51.23)
    for name in "ab":
        raster.write(order(box), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["VV", "VH"]))
@settings(max_examples=6, deadline=None)
def test_two_rasters_of_a_zone_agree_exactly_where_they_overlap(tmp_path_factory, dx, dy, band):
    folder = tmp_path_factory.mktemp("overlap")
    a, _ = write(folder / "a", (3.60, 51.35, 3.65, 51.38))
    box = (3.61 + dx * 7e-4, 51.36 + dy * 3e-4, 3.66 + dx * 7e-4, 51.39 + dy * 3e-4)
    b, _ = write(folder / "b", box)
    _, ax, bx = np.intersect1d(a["x"], b["x"], return_indices=True)
    _, ay, by = np.intersect1d(a["y"], b["y"], return_indices=True)
    ours, theirs = a[band][np.ix_(ay, ax)], b[band][np.ix_(by, bx)]
    assert ours.size > 1000
    np.testing.assert_array_equal(ours, theirs)


def test_two_zones_sample_the_same_field(tmp_path):
    # Zones 31 and 32 meet at 6 E.
    west, _ = write(tmp_path / "w", (5.94, 50.2, 6.04, 50.25), YESTERDAY)
    east, _ = write(tmp_path / "e", (5.96, 50.2, 6.06, 50.25), YESTERDAY)
    to_east = Transformer.from_crs(32631, 32632, always_xy=True)
    x, y = to_east.transform(*np.meshgrid(west["x"], west["y"]))
    column = np.rint((x - east["x"][0]) / 10).astype(int)
    row = np.rint((east["y"][0] - y) / 10).astype(int)
    near = np.hypot(x - 10 * column - east["x"][0], y + 10 * row - east["y"][0]) < 0.7
    near &= (column >= 0) & (column < east["x"].size) & (row >= 0) & (row < east["y"].size)
    ours, theirs = west["VV"][near], east["VV"][row[near], column[near]]
    both = (ours > 0) & (theirs > 0)
    assert both.sum() > 500
    difference = 10 * np.log10(ours[both] / theirs[both])
    assert np.median(np.abs(difference)) < 0.3
    assert np.corrcoef(np.log(ours[both]), np.log(theirs[both]))[0, 1] > 0.95


def test_another_day_has_other_speckle_on_the_same_ground(tmp_path):
    box = (4.3, 51.1, 4.36, 51.14)
    a, _ = write(tmp_path / "a", box, DAY)
    b, _ = write(tmp_path / "b", box, DAY + dt.timedelta(days=6))
    a, b = (np.log(np.maximum(v["VV"], 1e-6)) for v in (a, b))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.75
    mean = [v[: v.shape[0] // 16 * 16, : v.shape[1] // 16 * 16] for v in (a, b)]
    mean = [v.reshape(v.shape[0] // 16, 16, -1, 16).mean((1, 3)).ravel() for v in mean]
    assert np.corrcoef(*mean)[0, 1] > 0.75  # the ground is wetter here and there


def test_speckle_has_the_looks_of_an_iw_image_and_reaches_over_two_pixels(tmp_path):
    # Open sea is even enough over 64 pixels.
    values, _ = write(tmp_path / "sea", SEA)
    sea = values["VV"]
    rows, columns = (n // 64 * 64 for n in sea.shape)
    blocks = sea[:rows, :columns].reshape(rows // 64, 64, -1, 64).swapaxes(1, 2).astype(float)
    blocks = blocks[(blocks > 0).all((2, 3))]
    # The noise that was subtracted had its share in the speckle.
    noise = 10 ** (0.1 * (scene.NOISE_DB + scene.NOISE_RISE / 3))
    looks = np.median((blocks.mean((1, 2)) + noise) ** 2 / blocks.var((1, 2)))
    assert looks == pytest.approx(scene.LOOKS, rel=0.1)
    even = blocks / blocks.mean((1, 2), keepdims=True) - 1
    neighbours = [(even[:, :, n:] * even[:, :, : -n or None]).mean() / even.var() for n in (1, 3)]
    assert 0.3 < neighbours[0] < 0.8
    assert abs(neighbours[1]) < 0.1


def test_speckle_is_gamma_distributed():
    normal, gamma, _ = scene._tables()
    share = special.ndtr(np.arange(1202) / 100 - 6.0)
    inner = (share > 1e-6) & (share < 1 - 1e-6)
    expected = special.gammaincinv(scene.LOOKS, share) / scene.LOOKS
    np.testing.assert_allclose(gamma[inner], expected[inner], rtol=2e-3)
    np.testing.assert_allclose(normal, special.ndtri((np.arange(4096) + 0.5) / 4096), rtol=1e-5)


def test_levels_are_those_of_the_literature(tmp_path):
    sea, _ = write(tmp_path / "sea", SEA)
    ground, _ = write(tmp_path / "land", (4.0, 51.05, 4.15, 51.15))
    assert -24 < decibel(sea["VV"]) < -10
    assert -34 < decibel(sea["VH"]) < -24
    assert -12 < decibel(ground["VV"]) < -6
    assert -20 < decibel(ground["VH"]) < -12
    ratio = 10 * np.log10(np.median(ground["VV"]) / np.median(ground["VH"]))
    assert 5 < ratio < 9


def test_calm_water_has_zeros_in_vh_beside_values_in_vv(tmp_path):
    values, _ = write(tmp_path / "sea", SEA)
    clipped = (values["VH"] == 0) & (values["VV"] > 0)
    assert 0.02 < clipped.mean() < 0.6
    assert (values["VV"] >= 0).all()
    assert np.isfinite(values["VH"]).all()


def test_the_sea_has_a_few_ships(tmp_path):
    values, _ = write(tmp_path / "sea", (2.9, 51.4, 3.2, 51.55))
    bright = values["VV"] > 2.0
    assert 5 < bright.sum() < 20_000
    assert bright.mean() < 1e-3


def test_passes_of_a_day_are_merged_the_first_on_top_and_can_be_told_apart(tmp_path):
    box, day = mixed_place()
    both, _ = write(tmp_path / "both", box, day)
    single = {
        state: write(tmp_path / state, box, day, orbit_state=state)[0] for state in orbit.STATES
    }
    first = raster.steps(order(box, day).cube)[0].passes[0].orbit
    last = next(s for s in orbit.STATES if s != first)
    seen = (single[first]["VV"] > 0) | (single[first]["VH"] > 0)
    assert (single[last]["VV"] > 0).mean() > 0.9
    for band in ("VV", "VH"):
        expected = np.where(seen, single[first][band], single[last][band])
        np.testing.assert_array_equal(both[band], expected)


def mixed_place():
    """A small box and a day on which one pass of each direction sees all of it."""
    for i in range(orbit.REPEAT):
        day = DAY + dt.timedelta(days=i)
        for lon in np.arange(-10, 20, 0.25):
            x, y = np.array([lon, lon + 0.03]), np.array([62.0, 62.03])
            seen = [
                p.orbit
                for p in orbit.passes(day)
                if ((f := p.across(x, y)) >= 0).all() and (f < 1).all()
            ]
            if sorted(seen) == list(orbit.STATES):
                return (float(lon), 62.0, float(lon) + 0.03, 62.03), day
    raise AssertionError("no such place")


# --- the file


def test_the_file_is_laid_out_like_one_of_the_copernicus_back_end(tmp_path):
    path = REAL / "cdse_s1_sigma0_reduced.nc"
    if not path.exists():
        pytest.skip(f"the real file is not at {path}")
    assert described(tmp_path, path, 1, "first") == description(path)


def test_the_file_with_time_is_laid_out_like_one_of_the_copernicus_back_end(tmp_path):
    path = REAL / "cdse_s1_sigma0_t2.nc"
    if not path.exists():
        pytest.skip(f"the real file is not at {path}")
    assert described(tmp_path, path, 2, None) == description(path)


def described(folder, path, days, reducer):
    box = (4.6, 51.1, 4.62, 51.12)
    raster.write(order(box, DAY - dt.timedelta(days=days - 1), days, reducer=reducer), folder / "f")
    return description(folder / "f")


def description(path):
    """Everything about a file's layout but sizes and words."""
    with netCDF4.Dataset(path) as file:
        variables = {}
        for name, v in file.variables.items():
            filters = {k: x for k, x in v.filters().items() if k != "complevel"}
            words = ("crs_wkt", "spatial_ref")
            attributes = {k: v.getncattr(k) for k in v.ncattrs() if k not in words}
            variables[name] = (v.dimensions, str(v.dtype), attributes, filters)
            assert all(k in v.ncattrs() for k in words) == (name == "crs")
        dimensions = {n: d.isunlimited() for n, d in file.dimensions.items()}
        return file.data_model, file.Conventions, dimensions, variables


def test_the_file_says_that_it_is_synthetic(tmp_path):
    _, attributes = write(tmp_path / "f", (3.0, 51.2, 3.01, 51.21))
    assert attributes["source"].startswith("synthetic")
    assert "ynthetic" in attributes["title"]
    assert "ynthetic" in attributes["comment"]


@given(lons.filter(lambda x: abs(x) < 179.9), st.floats(-70, 70), st.floats(0.005, 0.05))
@settings(max_examples=60, deadline=None)
def test_the_raster_is_the_bounding_rectangle_of_the_box_on_the_10_m_grid(lon, lat, size):
    box = (lon, lat, lon + size, lat + size)
    grid = grids.grid(box)
    zone = grid.epsg % 100
    assert abs((lon + size / 2) - (6 * zone - 183)) <= 3 + 1e-9
    assert (grid.epsg // 100 == 326) == (lat + size / 2 >= 0)
    assert set(np.unique(grid.x % 10)) == set(np.unique(grid.y % 10)) == {5.0}
    assert (np.diff(grid.x) == 10).all()
    assert (np.diff(grid.y) == -10).all()
    edge = np.linspace(0, size, 50)
    rim_lon = np.concatenate([lon + edge, lon + edge, np.full(50, lon), np.full(50, lon + size)])
    rim_lat = np.concatenate([np.full(50, lat), np.full(50, lat + size), lat + edge, lat + edge])
    x, y = Transformer.from_crs(4326, grid.epsg, always_xy=True).transform(rim_lon, rim_lat)
    assert grid.x[0] - 5 <= x.min() < grid.x[0] + 5
    assert grid.x[-1] - 5 < x.max() <= grid.x[-1] + 5
    assert grid.y[-1] - 5 <= y.min() < grid.y[-1] + 5
    assert grid.y[0] - 5 < y.max() <= grid.y[0] + 5


def test_outside_the_swath_all_bands_are_zero(tmp_path):
    values, _ = write(tmp_path / "edge", (6.7, 50.2, 6.95, 50.22))
    x, y = np.meshgrid(values["x"], values["y"])
    lon, lat = Transformer.from_crs(32632, 4326, always_xy=True).transform(x, y)
    (step,) = raster.steps(order((6.7, 50.2, 6.95, 50.22)).cube)
    across = np.stack([p.across(lon, lat) for p in step.passes])
    inside = ((across >= 0) & (across < 1)).any(axis=0)
    seen = (values["VV"] > 0) | (values["VH"] > 0)
    assert 0.1 < inside.mean() < 0.9
    assert not seen[~inside].any()
    assert seen[inside].mean() > 0.999


def test_bands_come_in_the_order_in_which_they_were_asked_for(tmp_path):
    box = (3.0, 51.2, 3.01, 51.21)
    both, _ = write(tmp_path / "both", box)
    turned, _ = write(tmp_path / "turned", box, bands=("VH", "VV"))
    single, _ = write(tmp_path / "single", box, bands=("VH",))
    assert [n for n in turned if n.startswith("V")] == ["VH", "VV"]
    assert "VV" not in single
    np.testing.assert_array_equal(both["VH"], turned["VH"])
    np.testing.assert_array_equal(both["VH"], single["VH"])


@torture
@pytest.mark.parametrize("reducer", turns(["first", "last", "mean", "median", "min", "max"]))
def test_a_reducer_works_on_the_days_without_the_pixels_that_have_no_data(tmp_path, reducer):
    box = (6.7, 50.2, 6.9, 50.21)
    stack, _ = write(tmp_path / "stack", box, DAY - dt.timedelta(days=1), 3, reducer=None)
    values, _ = write(tmp_path / reducer, box, DAY - dt.timedelta(days=1), 3, reducer=reducer)
    assert list(stack["t"]) == [(DAY - dt.date(1990, 1, 1)).days + i for i in (-1, 0, 1)]
    days = np.where(stack["VV"] == 0, np.nan, stack["VV"])
    seen = np.isfinite(days)
    assert 0 < (seen.sum(axis=0) < 3).mean() < 1
    if reducer in ("first", "last"):
        order_ = slice(None) if reducer == "first" else slice(None, None, -1)
        index = seen[order_].argmax(axis=0)
        expected = np.take_along_axis(days[order_], index[None], axis=0)[0]
    else:
        with warnings.catch_warnings(action="ignore"):  # of pixels that no day has seen
            expected = getattr(np, f"nan{reducer}")(days, axis=0)
    np.testing.assert_allclose(values["VV"], np.nan_to_num(expected), rtol=1e-6)


def test_the_interval_is_closed_at_its_start_and_open_at_its_end():
    days = [
        s.day for s in raster.steps(order((3, 51, 4, 51.5), DAY - dt.timedelta(days=3), 3).cube)
    ]
    assert DAY not in days
    assert max(days) == DAY - dt.timedelta(days=1)


def test_no_pass_and_no_image_are_told_apart(tmp_path):
    with pytest.raises(NoData) as none:
        raster.write(order((3, 51, 3.01, 51.01), DAY + dt.timedelta(days=2)), tmp_path / "a")
    with pytest.raises(NoData) as empty:
        raster.write(order((6.99, 50.1, 7, 50.11), DAY + dt.timedelta(days=1)), tmp_path / "b")
    assert (none.value.catalogued, empty.value.catalogued) == (False, True)
    assert list(tmp_path.iterdir()) == []


def test_the_future_has_no_data(tmp_path):
    tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)
    with pytest.raises(NoData):
        raster.write(order((3, 51, 3.01, 51.01), tomorrow, 6), tmp_path / "a")


def test_a_cancelled_job_leaves_nothing(tmp_path):
    with pytest.raises(Cancelled):
        raster.write(order((3, 51, 3.01, 51.01)), tmp_path / "a", lambda: False)
    assert list(tmp_path.iterdir()) == []


def test_a_box_at_180_degrees_is_one_raster_without_a_tear(tmp_path):
    for i in range(orbit.REPEAT):
        try:
            values, _ = write(
                tmp_path / f"{i}", (179.9, 51.0, 180.0, 51.02), DAY + dt.timedelta(days=i)
            )
        except NoData:
            continue
        seen = values["VV"] > 0
        assert seen.any()
        return
    raise AssertionError("no pass sees 180 E")


def test_memory_does_not_grow_with_the_height_of_the_raster(tmp_path):
    peaks = []
    for height in (0.05, 0.15):
        tracemalloc.start()
        raster.write(order((3.3, 51.1, 3.5, 51.1 + height)), tmp_path / "f")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
