"""What plain numpy does with a few cells has the bits of the compiled loops."""

from __future__ import annotations

import subprocess
import sys
import threading

import healpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid import BBox
from healpix import boxes, copies, few, loops, pixels, places, quads, sample
from healpix.indexes import index_runs
from tests.conftest import ROOT

LEVELS = st.integers(0, 18)
EDGES = [-90.0, -66.44, -41.8103148957786, 0.0, 41.8103148957786, 41.9, 60.0, 89.99, 90.0]


@st.composite
def small_boxes(draw):
    """A level and a box with west < east, as `walk` takes it, with not too long a border."""
    level = draw(LEVELS)
    size = 200 / 2**level
    south = draw(st.one_of(st.sampled_from(EDGES), st.floats(-90, 90)))
    west = draw(st.one_of(st.sampled_from([-180.0, -45.0, 0.0, 90.0]), st.floats(-180, 180)))
    high, wide = draw(st.floats(1e-6, min(180.0, size))), draw(st.floats(1e-6, min(360.0, size)))
    return level, (west, south, min(west + wide, 180.0), min(south + high, 90.0))


@given(small_boxes(), st.booleans())
@settings(max_examples=150)
def test_the_same_cells_are_in_a_box(request_, geodetic):
    level, box = request_
    if box[0] < box[2] and box[1] < box[3]:
        for mine, theirs in zip(
            few.walk(box, level, geodetic), quads.walk(box, level, geodetic), strict=True
        ):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


@given(small_boxes(), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_the_same_values_are_found_around_points(request_, seed):
    level, (west, south, east, north) = request_
    random = np.random.default_rng(seed)
    cells = np.unique(random.integers(0, 12 * 4**level, 50))
    near, length = quads.walk((west, south, max(east, west + 1e-6), north), level, False)
    start = np.concatenate([near, cells])
    sizes = np.concatenate([length, np.ones_like(cells)])
    start, first = np.unique(start, return_index=True)
    sizes = np.minimum(sizes[first], np.append(np.diff(start), 1))
    index = index_runs(start, sizes)
    values = random.random((2, int(sizes.sum())), np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    lat = np.clip(np.linspace(south - 1e-3, north + 1e-3, random.integers(1, 30)), -90, 90)
    lon = np.linspace(west - 1e-3, east + 1e-3, random.integers(1, 30))
    found = np.empty((2, 2, lat.size, lon.size), np.float32)
    few.look_up(lat, lon, level, index, values, found[0])
    sample.look_up_loop(lat, lon, level, index, values, found[1])
    np.testing.assert_array_equal(*found.view(np.uint32))
    ids = np.concatenate([start, start + sizes - 1, cells + 1])
    expected = ids.copy()
    places.to_places(expected, index)
    np.testing.assert_array_equal(few.to_places(ids, index), expected)


@given(small_boxes(), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=150)
def test_the_same_sums_are_made_of_the_cells_in_pixels(request_, seed, apart):
    """Also where a centre lies on the edge of a pixel, or the grid goes around the Earth."""
    level, (west, south, east, north) = request_
    random = np.random.default_rng(seed)
    columns = int(random.integers(1, 20))
    edges = np.linspace(south, north, random.integers(2, 20))
    if not (west < east and (np.diff(edges) > 0).all()):
        return
    dlon = random.choice([(east - west) / columns, 45 / 2 ** min(level, 12), 0.1])
    start, length = quads.walk((west, south, east, north), level, False)
    some = random.random(start.size) < 0.9
    start, length = start[some][:5000], np.minimum(length[some][:5000], 1000)
    size = int(length.sum())
    values = random.random((2, size), np.float32) - np.float32(0.5)
    for none in (np.nan, np.inf):
        values[random.random(values.shape) < 0.1] = none
    weights = random.integers(0, 4, (2 if apart else 1, size)).astype(np.uint16)
    top, row_of = pixels.ring_rows_between(edges, 1 << level, "sphere")
    first = int(random.integers(0, 3))
    lat, lon = (edges[:-1] + edges[1:]) / 2, west + (first + np.arange(columns) + 0.5) * dlon
    index = index_runs(start, length)
    found = np.zeros((2, lat.size, columns, 5))
    for add, nearest, sums in (
        (few.add_to_pixels, few.add_nearest, found[0]),
        (pixels.add_to_pixels_loop, sample.add_nearest_loop, found[1]),
    ):
        for _ in range(2):  # to what other parts have added
            add(start, length, level, top, row_of, west, dlon, first, values, weights, sums)
        nearest(lat, lon, level, index, values, weights, sums)
    np.testing.assert_array_equal(np.isnan(found[0]), np.isnan(found[1]))
    np.testing.assert_array_equal(*np.where(np.isnan(found), 0, found).view(np.uint64))


@given(LEVELS, st.booleans(), st.data())
def test_the_latitudes_of_rings_are_the_same(level, geodetic, data):
    first = data.draw(st.integers(1, 4 * 2**level - 1))
    last = min(first + 40, 4 * 2**level - 1)
    mine = few.ring_lats(np.arange(first, last + 1), 1 << level, geodetic)
    np.testing.assert_array_equal(mine, pixels._ring_lats(first, last, 1 << level, geodetic))


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 50)), max_size=30),
    st.sampled_from(["f4", "u4", "f8", "u2"]), st.booleans(),
)  # fmt: skip
def test_runs_are_copied_to_where_they_belong(runs, dtype, are_there):
    sizes = np.array([size for size, _ in runs], np.int64)
    starts = np.array([gap for _, gap in runs], np.int64) + np.cumsum(sizes) - sizes
    starts += np.cumsum([0, *(gap for _, gap in runs)])[:-1]
    values = np.arange(1, 2 + (starts + sizes).max(initial=0)).astype(dtype)
    wanted = [values[a : a + n] for a, n in zip(starts, sizes, strict=True)]
    out = np.zeros(int(sizes.sum()), dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "are_there", lambda: are_there)
        copies.gather(values, starts, sizes, out)
    np.testing.assert_array_equal(out, np.concatenate([np.empty(0, dtype), *wanted]))
    back = np.zeros_like(values)
    copies.copy_runs(out, sizes, starts, back)
    np.testing.assert_array_equal(back[back > 0], out)
    np.testing.assert_array_equal(values[back > 0], out)


@pytest.mark.parametrize("size", [10**5, 10**6])
def test_much_in_small_pieces_is_left_to_the_loops(size, monkeypatch):
    monkeypatch.delitem(sys.modules, "healpix.kept", raising=False)
    monkeypatch.setattr(loops, "patience", loops._Patience())
    answers = [loops.is_worth(size) for _ in range(2 * loops.PATIENCE // size)]
    assert answers == sorted(answers)
    assert answers.count(False) * size == pytest.approx(loops.PATIENCE, abs=size)


def test_a_small_box_needs_no_numba_and_a_large_one_does():
    code = (
        "import sys; from grid import BBox; from healpix.boxes import box_runs\n"
        "small = box_runs(BBox(7.9, 50.1, 8.0, 50.2), 262144, 'WGS84')\n"
        "print('numba' in sys.modules)\n"
        "box_runs(BBox(-180, -60, 180, 60), 262144, 'sphere')\n"
        "print('numba' in sys.modules)\n"
        "again = box_runs(BBox(7.9, 50.1, 8.0, 50.2), 262144, 'WGS84')\n"
        "print(all((a == b).all() for a, b in zip(small, again)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True", "True"]


def test_threads_that_call_a_loop_first_get_the_same_function():
    loop = loops.Loop(lambda: 1, {})
    found, start = [], threading.Barrier(8)

    def look():
        start.wait()
        found.append(loop.compiled)

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_the_walk_of_a_box_takes_either_way(monkeypatch):
    box = BBox(7.9, 50.1, 8.0, 50.2)
    found = []
    for much in (False, True):
        monkeypatch.setattr(boxes, "is_worth", lambda _size, much=much: much)
        found.append(boxes.box_runs(box, 4096, "WGS84"))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("level", [0, 3, 18])
@pytest.mark.parametrize("fill", [few.look_up, sample.look_up_loop])
def test_at_the_poles_the_cell_around_is_that_of_healpy(level, fill):
    healpy = pytest.importorskip("healpy")
    lat, lon = np.array([90.0, -90.0]), np.arange(5.0, 360.0, 11.0)
    expected = healpy.ang2pix(2**level, *np.meshgrid(lon, lat), nest=True, lonlat=True)
    ids = np.unique(expected)
    found = np.empty((1, lat.size, lon.size))
    index = index_runs(ids, np.ones_like(ids))
    fill(lat, lon, level, index, np.arange(ids.size, dtype=float)[np.newaxis], found)
    np.testing.assert_array_equal(ids[found[0].astype(int)], expected)


@given(LEVELS, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_the_centres_of_cells_are_those_of_healpy(level, seed):
    ids = np.random.default_rng(seed).integers(0, 12 << 2 * level, 200, dtype=np.int64)
    lon, lat = few.centres(ids, 1 << level, "sphere")
    expected, north = healpy.pix2ang(1 << level, ids, nest=True, lonlat=True)
    np.testing.assert_array_equal(lon, np.where(expected >= 180, expected - 360, expected))
    np.testing.assert_array_equal(lat, north)
