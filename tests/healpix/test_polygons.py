"""The cells of polygons, against shapely and healpy; the numbers of groups, against numpy."""

from __future__ import annotations

import healpy
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from grid import BBox
from healpix.boxes import box_runs
from healpix.groups import describe
from healpix.ids import runs_to_ids
from healpix.polygons import polygon_ids
from images.features import edges_of
from shared.polygons import valid_pieces
from tests.rounds import seldom
from tests.sphere import centres_of

NSIDE = 1024


def cells_of(polygon, nside=NSIDE, ellipsoid="sphere"):
    found = polygon_ids(edges_of(polygon), nside, ellipsoid, 10**9)
    assert found is not None
    return found


def by_shapely(polygon, nside, ellipsoid):
    """The cells of the whole sphere near a polygon whose centre shapely finds in it."""
    west, south, east, north = polygon.bounds
    low, high = np.radians(90 - np.clip([north + 0.5, south - 0.5], -90, 90))
    ids = healpy.ring2nest(nside, healpy.query_strip(nside, low, high, inclusive=True))
    lon, lat = centres_of(ids, nside, ellipsoid)
    inside = np.zeros(len(ids), bool)
    for turn in (-360, 0, 360):
        near = (lon + turn >= west) & (lon + turn <= east)
        inside[near] |= shapely.contains_xy(polygon, lon[near] + turn, lat[near])
    return np.sort(ids[inside])


middles = st.tuples(st.floats(-200, 200), st.floats(-88, 88))
offsets = st.lists(st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)), min_size=3, max_size=8)


@settings(max_examples=60)
@given(middles, offsets, offsets, st.sampled_from(["sphere", "WGS84"]))
def test_the_cells_of_any_polygon_are_those_whose_centre_shapely_finds_in_it(
    middle, corners, hole, ellipsoid
):
    """With holes, in several pieces, across 180 degrees, near the poles."""
    around = np.array(middle)
    rings = [np.clip(around + np.array(some), [-540, -90], [540, 90]) for some in (corners, hole)]
    shell, other = (shapely.make_valid(shapely.Polygon(ring), method="structure") for ring in rings)
    for part in valid_pieces_of(shapely.difference(shell, other)):
        found = cells_of(part, ellipsoid=ellipsoid)
        differing = np.setxor1d(found, by_shapely(part, NSIDE, ellipsoid))
        lon, lat = centres_of(differing, NSIDE, ellipsoid)  # to shapely none on an edge is inside
        distance = shapely.distance(part.boundary, shapely.points(lon, lat))
        assert (np.minimum(distance, abs(distance - 360)) < 1e-12).all()


def valid_pieces_of(geometry):
    return [
        piece
        for part in shapely.get_parts(geometry)
        if part.geom_type == "Polygon" and part.area > 1e-9
        for piece in valid_pieces(part)
    ]


@settings(max_examples=60)
@given(st.integers(-180, 179), st.integers(-90, 89), st.integers(1, 40), st.integers(1, 40))
def test_a_polygon_that_is_a_box_has_the_cells_of_the_box(west, south, width, height):
    """Also where centres lie on its edges."""
    east, north = min(180, west + width / 4), min(90, south + height / 4)
    box = BBox(west, south, east, north)
    expected = runs_to_ids(*box_runs(box, 256, "sphere")).astype(np.int64)
    found = cells_of(shapely.box(west, south, east, north), 256)
    np.testing.assert_array_equal(np.sort(found), expected)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(-180, 170), st.integers(-88, 80))
def test_polygons_that_share_their_edges_share_no_cell_and_leave_none_out(seed, west, south):
    rng = np.random.default_rng(seed)
    points = np.vstack([rng.random((12, 2)), [(0, 0), (1, 0), (1, 1), (0, 1)]]) * 4 + (west, south)
    parts = shapely.get_parts(shapely.delaunay_triangles(shapely.multipoints(points)))
    found = np.concatenate([cells_of(part) for part in parts])
    whole = cells_of(shapely.box(*points[12], *points[14]))
    np.testing.assert_array_equal(np.sort(found), np.sort(whole))


@seldom(1)
def test_the_whole_sphere_has_each_cell_once_and_too_many_cells_are_none():
    globe = edges_of(shapely.box(-180, -90, 180, 90))
    found = polygon_ids(globe, 32, "WGS84", 12 * 32**2)
    assert found is not None
    np.testing.assert_array_equal(np.sort(found), np.arange(12 * 32**2))
    assert polygon_ids(globe, 32, "WGS84", 12 * 32**2 - 1) is None
    assert polygon_ids(globe, 2**20, "sphere", 1000) is None


values = st.floats(0, 5, width=32) | st.just(float("nan")) | st.sampled_from([0.0, 0.5])


@settings(max_examples=100)
@given(st.lists(st.lists(values, max_size=70), min_size=1, max_size=6), st.data())
def test_groups_are_described_as_numpy_does(groups, data):
    """In whatever order; some of them alone."""
    every = np.array([v for group in groups for v in group] + [np.nan], np.float32)
    begins = np.cumsum([0, *map(len, groups)])
    which = np.array(sorted(data.draw(st.sets(st.integers(0, len(groups) - 1)))), np.int64)
    shares = np.array([0.1, 0.5, 0.9])
    order = np.random.default_rng(1).permutation(len(every))
    places = np.argsort(order)[np.arange(begins[-1])]
    out = np.empty((len(which), 6))
    describe(every[order], places, begins, which, shares, out)
    for g, row in zip(which, out, strict=True):
        some = np.array(groups[g], np.float32).astype(float)
        some = some[~np.isnan(some)]
        assert row[0] == len(some)
        if not len(some):
            assert np.isnan(row[1:]).all()
            continue
        expected = [some.mean(), some.std(), *np.quantile(some, shares)]
        np.testing.assert_allclose(row[1:], expected, rtol=1e-9, atol=1e-12)


def speckle(size):
    return np.random.default_rng(size).gamma(4.4, 0.02, size)


LARGE = {
    "speckle": speckle(5000), "sorted": np.sort(speckle(1000)), "few": speckle(25),
    "one": speckle(1), "equal": np.full(2000, 0.3), "two values": np.repeat([0.1, 7.0], 600),
    "a ship": np.append(speckle(3000), 1e6), "below zero": speckle(2000) - 0.1,
    "wide": 10.0 ** np.random.default_rng(1).uniform(-30, 30, 900),
    "zeros": np.append(np.zeros(700), speckle(300)),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_large_groups_are_described_as_numpy_does(name):
    some = LARGE[name].astype(np.float32)
    shares = np.array([0.0, 0.1, 0.25, 0.5, 0.9, 0.9999, 1.0])
    out, size = np.empty((1, 3 + shares.size)), len(some)
    describe(some, np.arange(size), np.array([0, size]), np.array([0]), shares, out)
    wide = some.astype(float)
    with np.errstate(invalid="ignore"):
        expected = [size, wide.mean(), wide.std(), *np.quantile(wide, shares)]
    np.testing.assert_allclose(out[0], expected, rtol=1e-9)


def test_the_same_polygon_gives_no_cell_where_it_is_smaller_than_one():
    lon, lat = healpy.pix2ang(NSIDE, 12345, nest=True, lonlat=True)
    box = shapely.box(lon + 0.001, lat, lon + 0.002, lat + 0.001)
    assert cells_of(box).size == 0
