"""HEALPix arithmetic against healpy and healpix-geo."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid import BBox, tiles_covering
from healpix.boxes import box_runs
from healpix.ids import ids_to_runs, runs_to_ids
from tests.rounds import torture, turns
from tests.sphere import cells_at, centres_of

healpy = pytest.importorskip("healpy", reason="healpy, the oracle, has no Windows wheel")

NSIDE = 2**18
relaxed = settings(deadline=None)  # the first call compiles
EARTH = BBox(-180, -90, 180, 90)
levels = st.integers(0, 29)


def centres(ids, nside):
    """Longitude in [-180, 180) and latitude, by healpy."""
    lon, lat = healpy.pix2ang(nside, np.asarray(ids, np.int64), nest=True, lonlat=True)
    return np.where(lon >= 180, lon - 360, lon), lat


def cells_of_box(box, nside):
    """The ids of the cells of a small box: healpy finds them around a net of points."""
    step = 58.6 / nside / 4
    lat = np.arange(max(-90, box.south - 3 * step), min(90, box.north + 3 * step), step)
    found = []
    for v in np.append(lat, min(90, box.north)):
        wide = step / max(np.cos(np.radians(v)), step / 90)
        lon = np.arange(box.west - 3 * wide, box.west + box.width + 3 * wide, wide)
        found.append(np.unique(healpy.ang2pix(nside, lon, v, nest=True, lonlat=True)))
    ids = np.unique(np.concatenate(found))
    lon, lat = centres(ids, nside)
    inside = np.zeros(ids.size, bool)
    for part in box.split():
        inside |= (lon >= part.west) & (lon < part.east)
    return ids[inside & (lat >= box.south) & (lat < box.north)]


@relaxed
@given(st.floats(-179, 178), st.floats(-89.5, 89), st.integers(10, 18))
def test_authalic_cells_of_a_box_are_those_of_healpix_geo(west, south, level):
    size = 20 / 2**level
    box = BBox(west, south, west + size / np.cos(np.radians(south)), south + size)
    ids = runs_to_ids(*box_runs(box, 2**level, "WGS84"))
    lon, lat = centres_of(ids, 2**level, "WGS84")
    slack = 1e-10
    assert ((lon >= box.west - slack) & (lon < box.east + slack)).all()
    assert ((lat >= box.south - slack) & (lat < box.north + slack)).all()
    # Nothing is missing: the cells of a close net of points, where their centres are inside.
    net = np.meshgrid(np.linspace(box.west, box.east, 40), np.linspace(box.south, box.north, 40))
    found = np.unique(cells_at(net[0].ravel(), net[1].ravel(), 2**level, "WGS84"))
    lon, lat = centres_of(found, 2**level, "WGS84")
    inside = (lon >= box.west + slack) & (lon < box.east - slack)
    inside &= (lat >= box.south + slack) & (lat < box.north - slack)
    assert set(found[inside].tolist()) <= set(ids.tolist())


@relaxed
@given(st.sets(st.integers(0, 12 * 4**29 - 1), max_size=50), st.integers(1, 20))
def test_runs_and_ids_are_two_spellings_of_the_same(starts, length):
    ids = np.unique([v + i for v in starts for i in range(length) if v + i < 12 * 4**29])
    ids = ids.astype(np.uint64)
    start, run_len = ids_to_runs(ids)
    assert start.dtype == np.uint64
    assert run_len.dtype == np.uint32
    assert np.all(np.diff(start.astype(np.int64)) > run_len[:-1])
    np.testing.assert_array_equal(runs_to_ids(start, run_len), ids)


def test_the_runs_of_the_design_are_these():
    start, run_len = ids_to_runs(np.array([7, 8, 9, 10, 11, 12, 34, 35, 36, 37]))
    assert (start.tolist(), run_len.tolist()) == ([7, 34], [6, 4])


@pytest.mark.parametrize("ids", [[3, 2], [5, 5]])
def test_ids_out_of_order_make_no_runs(ids):
    with pytest.raises(ValueError, match="ascending"):
        ids_to_runs(np.array(ids))


@torture
@pytest.mark.parametrize(
    ("level", "size", "ellipsoid"),
    turns([
        (6, (4, 2), "WGS84"),
        (0, (30, 15), "WGS84"),
        (3, (0.5, 45), "sphere"),
        (4, (2, 1), "sphere"),
        (5, (1, 0.5), "sphere"),
    ], 5),
)  # fmt: skip
def test_the_tiles_of_the_earth_hold_each_cell_once(level, size, ellipsoid):
    seen = np.zeros(12 * 4**level, int)
    for tile in tiles_covering(EARTH, size):
        seen[runs_to_ids(*box_runs(tile.bbox, 2**level, ellipsoid))] += 1
    assert np.all(seen == 1)


PLACES = {
    "equator": (7.0, 0.0),
    "equator, base faces": (45.0, 0.0),
    "20 N": (100.3, 20.0),
    "a ring on 30 N": (7.0, 30.0),
    "corner of base faces": (90.0, 41.81),
    "50 N": (7.0, 50.0),
    "66 N": (7.0, 66.0),
    "66 N at 0 E": (0.0, 66.0),
    "66 N at 90 E": (90.0, 66.0),
    "66 S at 180 E": (180.0, -66.0),
    "85 S": (-120.0, -85.0),
    "85 N": (33.0, 85.0),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_the_cells_of_a_box_are_those_whose_centre_healpy_puts_there(place):
    east, north = place
    wide = 0.008 / np.cos(np.radians(north))
    for west, south in ((east, north), (east - wide, north), (east, north - 0.008)):
        box = BBox(
            west if west < 180 else -180, south, west + wide - (west >= 180) * 360, south + 0.008
        )
        ids = runs_to_ids(*box_runs(box, NSIDE, "sphere"))
        np.testing.assert_array_equal(ids, cells_of_box(box, NSIDE))


@pytest.mark.parametrize(
    "box",
    [
        BBox(-180, 89.99, -90, 90),
        BBox(0, -90, 45, -89.99),
        BBox(-180, 89.995, 180, 90),
        BBox(179.99, -0.01, -179.99, 0.01),
        BBox(179.99, 66, -179.99, 66.01),
        BBox(90, 89.99, -90, 90),
    ],
    ids=str,
)
def test_boxes_at_the_poles_and_across_180_degrees_are_no_exception(box):
    ids = runs_to_ids(*box_runs(box, NSIDE, "sphere"))
    np.testing.assert_array_equal(ids, cells_of_box(box, NSIDE))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_centre_on_an_edge_belongs_to_one_side_of_it(data):
    """Whole degrees in the caps, eighths of a turn in the belt: centres exactly on edges."""
    level = data.draw(st.integers(1, 8))
    nside = 2**level
    cell = data.draw(st.integers(0, 12 * nside**2 - 1))
    lon, lat = (v[0] for v in centres([cell], nside))
    whole = runs_to_ids(*box_runs(EARTH, nside, "sphere"))
    west = BBox(-180, -90, lon, 90) if lon > -180 else None
    parts = [west, BBox(lon, -90, 180, lat) if lat > -90 else None, BBox(lon, lat, 180, 90)]
    ids = [runs_to_ids(*box_runs(part, nside, "sphere")) for part in parts if part]
    assert cell in ids[-1]
    np.testing.assert_array_equal(np.sort(np.concatenate(ids)), whole)


@settings(max_examples=50, deadline=None)
@given(st.floats(-180, 179), st.floats(-90, 89), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_a_box_cut_in_four_loses_and_doubles_nothing(west, south, u, v):
    east, north = west + 1, south + 1
    lon, lat = west + u, south + v
    whole = runs_to_ids(*box_runs(BBox(west, south, east, north), 4096, "WGS84"))
    boxes = [
        BBox(*w, *e)
        for w, e in (
            ((west, south), (lon, lat)),
            ((lon, south), (east, lat)),
            ((west, lat), (lon, north)),
            ((lon, lat), (east, north)),
        )
    ]
    parts = [runs_to_ids(*box_runs(box, 4096, "WGS84")) for box in boxes]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), whole)


def test_no_tile_has_more_cells_or_runs_than_the_archive_has_room_for():
    for west, south in itertools.product((0, 7, 44, 90, 179, -180), np.arange(-90, 90, 7.5)):
        start, length = box_runs(BBox(west, south, west + 1, south + 0.5), NSIDE, "sphere")
        assert start.size <= 8192
        assert length.sum() <= 10_485_760
    assert box_runs(BBox(7, 0, 8, 0.5), NSIDE, "sphere")[1].sum() == 9_997_416
    assert box_runs(BBox(7, 50, 8, 50.5), NSIDE, "sphere")[1].sum() == 6_391_339


def test_the_earth_is_a_handful_of_runs():
    start, length = box_runs(EARTH, NSIDE, "sphere")
    assert start.size < 1000
    assert start[0] == 0
    assert length.astype(np.int64).sum() == 12 * NSIDE**2


@pytest.mark.parametrize("nside", [0, 3, -4, 2**30])
def test_nside_must_be_a_power_of_two(nside):
    with pytest.raises(ValueError, match=f"NSIDE is {nside}"):
        box_runs(EARTH, nside, "sphere")


def test_an_unknown_ellipsoid_is_refused():
    with pytest.raises(ValueError, match="'GRS80'"):
        box_runs(EARTH, 4, "GRS80")
