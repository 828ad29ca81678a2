"""Grids that are coarser than the cells, days side by side, records that are mixed."""

from __future__ import annotations

import datetime as dt
import itertools
import math

import dask
import healpy
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieve as room
from cells.regrid import Frame
from convert import cells_to_grid, tile_runs
from grid import BBox, Chunk, Tile, tiles_covering
from healpix import ids
from healpix.ids import ids_to_runs, runs_to_ids
from images import blocks
from images.merge import merge
from retrieve import NoData, retrieve, select, spacing
from store import Archive
from tests.rounds import torture, turns
from tests.sphere import grown

SIZE = (1.0, 0.5)
NSIDE = 4096
DAY = dt.date(2026, 1, 20)
BOX = BBox(7.3, 50.1, 8.6, 50.9)


def values_of(ids, seed=0):
    """Band values with gaps, and counts, that depend on the cell alone (splitmix64)."""
    mixed = (np.asarray(ids, np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = mixed ^ (mixed >> np.uint64(27))
    count = (mixed % np.uint64(8)).astype(np.uint16)
    power = ((mixed >> np.uint64(8)) % np.uint64(10007)).astype(np.float32) / 1000 + 0.01
    return np.where(count > 0, power, np.nan).astype(np.float32), count


def cells_of(tile, nside=NSIDE, ellipsoid="sphere", seed=0):
    start, length = tile_runs(tile, nside, ellipsoid)
    power, count = values_of(runs_to_ids(start, length), seed)
    holes = power.copy()
    holes[power > 9] = np.nan  # a band that is missing in part
    values = {"VV": ("cells", power), "VH": ("cells", holes), "count": ("cells", count)}
    runs = {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    attrs = {"nside": nside, "ellipsoid": ellipsoid, "ordering": "nested", "source": ""}
    return xr.Dataset(values | runs, attrs=attrs)


def filled(path, bbox, day=DAY, orbit="any", size=SIZE, **options):
    archive = Archive(path)
    for tile in tiles_covering(bbox, size):
        archive.write(Chunk(tile, day, orbit), cells_of(tile, **options))
    return archive


@pytest.fixture(scope="module")
def rhine(tmp_path_factory):
    """Nine tiles around 7.5 E, 50.5 N."""
    return filled(tmp_path_factory.mktemp("rhine") / "a.zarr", BBox(6.5, 49.8, 9.5, 51.2))


def averaged(grid, band, nside=NSIDE, level_down=0, seed=0):
    """By healpy and numpy: the count-weighted mean of the cells of a level in each pixel."""
    west, south = grid["lon"].values[0], grid["lat"].values[0]
    dlat, dlon = grid.attrs["dlat"], grid.attrs["dlon"]
    west, south = west - dlon / 2, south - dlat / 2
    shape = grid[band].shape
    low, high = south - 0.3, south + shape[0] * dlat + 0.3
    z = np.sin(np.radians(np.clip([low, high], -90, 90)))
    strip = healpy.query_strip(nside, *np.arccos(z[::-1]), inclusive=True, nest=False)
    ids = np.sort(healpy.ring2nest(nside, strip))
    power, count = values_of(ids.astype(np.uint64), seed)
    if band == "VH":
        power = np.where(power > 9, np.nan, power)
    weight = np.where(np.isfinite(power), count, 0).astype(float)
    parent = ids >> (2 * level_down)
    lon, lat = healpy.pix2ang(nside >> level_down, parent, nest=True, lonlat=True)
    row = np.floor((lat - south) / dlat).astype(int)
    column = np.floor(((lon - west) % 360) / dlon).astype(int)
    ok = (row >= 0) & (row < shape[0]) & (column < shape[1])
    sums, totals, hits = np.zeros((3, *shape))
    np.add.at(sums, (row[ok], column[ok]), (weight * np.nan_to_num(power))[ok])
    np.add.at(totals, (row[ok], column[ok]), weight[ok])
    np.add.at(hits, (row[ok], column[ok]), 1)
    with np.errstate(invalid="ignore"):
        return sums / totals, hits


# --- coarse grids ---


@torture
@pytest.mark.parametrize(
    ("box", "dlat", "dlon"),
    turns([
        (BOX, 0.03, 0.05),
        (BOX, 0.08, 0.11),
        (BBox(179.3, -0.4, -179.2, 0.6), 0.05, 0.06),
        (BBox(89.2, 41.4, 90.7, 42.3), 0.06, 0.07),
        (BBox(-30, 89.1, 50, 90), 0.1, 4.0),
        (BBox(-180, -90, 180, -89.4), 0.1, 10.0),
    ]),
)  # fmt: skip
def test_a_coarse_pixel_is_the_mean_of_its_cells_by_their_counts(tmp_path, box, dlat, dlon):
    size = SIZE if abs(box.south) < 89 else (90.0, 2.5)
    archive = filled(tmp_path / "a.zarr", grown(box, 0.2), size=size)
    grid = retrieve(archive, box, DAY, dlat=dlat, dlon=dlon)
    assert grid.attrs["method"] == "mean"
    cube = blocks.Cube((), (), ("VV",), Frame(box, dlat, dlon), NSIDE, "")
    wanted = cube.level(slice(0, grid.sizes["lat"]))
    level = min(has for has in archive.views()[0].levels(archive.chunks()[0]) if has >= wanted)
    for band in ("VV", "VH"):
        expected, hits = averaged(grid, band, level_down=12 - level)
        np.testing.assert_allclose(
            grid[band].values[hits > 0], expected[hits > 0], rtol=2e-6, err_msg=str(level)
        )
    assert (hits > 0).mean() > 0.7


def test_a_pixel_without_a_centre_shows_the_cell_around_its_own(rhine):
    grid = retrieve(rhine, BOX, DAY, dlat=0.015, dlon=0.024)
    assert grid.attrs["method"] == "mean"
    expected, hits = averaged(grid, "VV")
    assert 0.05 < (hits == 0).mean() < 0.5
    lon, lat = np.meshgrid(grid["lon"], grid["lat"])
    nearest = values_of(healpy.ang2pix(NSIDE, lon, lat, nest=True, lonlat=True).astype(np.uint64))
    wanted = np.where(hits > 0, expected, nearest[0])
    np.testing.assert_allclose(grid["VV"], wanted, rtol=2e-6)


@given(st.floats(0.015, 20))
def test_cells_are_at_most_half_a_pixel_wide_and_no_smaller_than_they_need_be(dlat):
    cube = blocks.Cube((), (), ("VV",), Frame(BBox(-1, -1, 1, 1), dlat, dlat), NSIDE, "")
    level = cube.level(slice(0, 1))
    if level < 12:
        assert ids.cell_width(1 << level) <= dlat / 2
    assert level == 0 or ids.cell_width(1 << (level - 1)) > dlat / 2 * math.cos(dlat)


def test_a_fine_grid_is_not_averaged_and_a_long_pixel_is(rhine):
    assert retrieve(rhine, BOX, DAY, dlat=0.01, dlon=0.016).attrs["method"] == "nearest"
    assert retrieve(rhine, BOX, DAY, dlat=0.002, dlon=0.06).attrs["method"] == "mean"


def test_the_mean_of_a_large_pixel_is_that_of_all_cells_in_it(rhine):
    box = BBox(7, 50, 8, 50.5)
    cells = select(rhine, box, DAY)
    grid = cells_to_grid(cells, box, 0.5, 1.0, "mean")
    power, count = cells["VV"].values.astype(float), cells["count"].values
    expected = np.nansum(power * count) / count.sum()
    assert grid["VV"].values == pytest.approx(expected, rel=1e-6)


@given(extent=st.tuples(st.floats(0.01, 300), st.floats(0.01, 80)), most=st.integers(10, 5000))
def test_no_side_of_a_picture_has_more_pixels_than_asked(extent, most):
    box = BBox(-150, -80, -150 + extent[0], -80 + extent[1])
    dlat, dlon = spacing(box, most=most)
    assert math.ceil(box.height / dlat) < most + 1
    assert math.ceil(box.width / dlon) < most + 1
    assert dlat / dlon == pytest.approx(15 / 24)
    if (dlat, dlon) != (15e-5, 24e-5):
        assert max(box.height / dlat, box.width / dlon) > 0.89 * (most - 1)


# --- cells in common ---


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(0, 40), max_size=25), min_size=1, max_size=4))
def test_cells_in_common_are_averaged_by_their_counts(owned):
    def cells(ids, seed):
        ids = np.array(sorted(ids), np.uint64)
        start, length = ids_to_runs(ids)
        power, count = values_of(ids, seed)
        data = {"VV": ("cells", power), "count": ("cells", count)}
        data |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
        return xr.Dataset(data, attrs={"nside": 64, "source": ""})

    parts = [cells(ids, 1000 * seed) for seed, ids in enumerate(owned)]
    whole = merge(parts)
    union = np.array(sorted(set().union(*owned)), np.uint64)
    np.testing.assert_array_equal(
        runs_to_ids(whole["start_ipix"].values, whole["run_len"].values), union
    )
    for k, cell in enumerate(union.tolist()):
        found = [values_of([cell], 1000 * s) for s, ids in enumerate(owned) if cell in ids]
        total = sum(int(count[0]) for _, count in found)
        assert whole["count"].values[k] == total
        if total:
            mean = sum(float(np.nan_to_num(p[0])) * int(c[0]) for p, c in found) / total
            assert whole["VV"].values[k] == pytest.approx(mean, rel=1e-6)
        else:
            assert math.isnan(whole["VV"].values[k])


def test_passes_of_both_directions_are_mixed_only_if_that_is_asked(tmp_path):
    tile = Tile(7, 50, 8, 50.5)
    box = BBox(7.2, 50.1, 7.5, 50.3)
    archive = Archive(tmp_path / "a.zarr")
    archive.write(Chunk(tile, DAY, "ascending"), cells_of(tile, seed=1))
    archive.write(Chunk(tile, DAY, "descending"), cells_of(tile, seed=2))
    with pytest.raises(ValueError, match="or any to mix them"):
        retrieve(archive, box, DAY)
    grids = {
        orbit: retrieve(archive, box, DAY, orbit=orbit, dlat=0.01, dlon=0.016)
        for orbit in ("ascending", "descending", "any")
    }
    assert grids["any"].attrs["orbit"] == "ascending+descending"
    lon, lat = np.meshgrid(grids["any"]["lon"], grids["any"]["lat"])
    ids = healpy.ang2pix(NSIDE, lon, lat, nest=True, lonlat=True).astype(np.uint64)
    (up, n), (down, m) = values_of(ids, 1), values_of(ids, 2)
    np.testing.assert_array_equal(grids["ascending"]["VV"], up)
    np.testing.assert_array_equal(grids["descending"]["VV"], down)
    with np.errstate(invalid="ignore"):
        mean = (np.nan_to_num(up) * n + np.nan_to_num(down) * m) / (n.astype(int) + m)
    np.testing.assert_allclose(grids["any"]["VV"], mean, rtol=1e-6)
    coarse = retrieve(archive, box, DAY, orbit="any", dlat=0.1, dlon=0.15)
    for orbit in ("ascending", "descending"):
        part = retrieve(archive, box, DAY, orbit=orbit, dlat=0.1, dlon=0.15)
        assert (np.abs(part["VV"] - coarse["VV"]) > 0).all()
    archive.write(Chunk(tile, DAY), cells_of(tile, seed=3))
    assert retrieve(archive, box, DAY).attrs["orbit"] == "any"


# --- over time ---


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """Two tiles; the western one on eight days, the eastern one on every other of them."""
    archive = Archive(tmp_path_factory.mktemp("year") / "a.zarr")
    for i in range(8):
        for tile in (Tile(7, 50, 8, 50.5), Tile(8, 50, 9, 50.5))[: 2 - i % 2]:
            day = DAY + dt.timedelta(days=6 * i)
            archive.write(Chunk(tile, day, "ascending"), cells_of(tile, seed=i))
    return archive


ACROSS = BBox(7.8, 50.1, 8.2, 50.3)


def test_a_series_is_the_images_of_its_days_in_order(year):
    last = DAY + dt.timedelta(days=30)
    cube = room.open(year, ACROSS, DAY + dt.timedelta(days=1), last, dlat=0.01, dlon=0.016)
    days = [DAY + dt.timedelta(days=6 * i) for i in range(1, 6)]
    assert cube["time"].values.tolist() == [np.datetime64(day, "s").item() for day in days]
    assert cube["orbit"].values.tolist() == [1] * 5
    assert cube.attrs["day"] == f"{days[0]} to {days[-1]}"
    for i, day in enumerate(days):
        one = retrieve(year, ACROSS, day, dlat=0.01, dlon=0.016)
        np.testing.assert_array_equal(cube["VH"][i], one["VH"])
    with pytest.raises(NoData, match="from 2025-01-01 to 2025-02-01"):
        room.open(year, ACROSS, dt.date(2025, 1, 1), dt.date(2025, 2, 1))


def test_as_of_a_day_each_tile_has_its_newest_values(year):
    day = DAY + dt.timedelta(days=45)  # the west was seen 3 days ago, the east 9
    image = room.open(year, ACROSS, day, as_of=9, dlat=0.01, dlon=0.016).isel(time=0)
    east = image["lon"].values > 8
    for which, seen in ((~east, DAY + dt.timedelta(days=42)), (east, DAY + dt.timedelta(days=36))):
        one = retrieve(year, ACROSS, seen, dlat=0.01, dlon=0.016)
        columns = np.flatnonzero(which)[2:-2] if which[0] else np.flatnonzero(which)[2:]
        wanted, found = (grid["VV"].values[:, columns] for grid in (one, image))
        there = np.isfinite(wanted)  # else an older record may have a value
        np.testing.assert_array_equal(found[there], wanted[there])
    assert image.attrs["days_used"] == "2026-02-25 2026-03-03"
    alone = room.open(year, ACROSS, day, as_of=8, dlat=0.01, dlon=0.016).isel(time=0)
    assert np.isnan(alone["VV"].values[:, alone["lon"].values > 8.02]).all()
    with pytest.raises(NoData, match="from 2026-03-05 to 2026-03-06"):
        room.open(year, ACROSS, day, as_of=1)


# --- lazily ---


@pytest.fixture
def blocks_read(monkeypatch):
    """The blocks that are read: time, rows, columns."""
    read = blocks.Cube.read
    found: list[tuple[object, ...]] = []

    def noted(cube, *where):
        found.append(where)
        return read(cube, *where)

    monkeypatch.setattr(blocks.Cube, "read", noted)
    return found


def test_opening_reads_no_pixel_and_computing_only_the_blocks_it_needs(
    rhine, blocks_read, monkeypatch
):
    monkeypatch.setattr(blocks, "SIDE", 64)
    cube = room.open(rhine, BOX, DAY, dlat=0.01, dlon=0.016)
    assert blocks_read == []
    cube["VV"][0, :10, :10].compute(scheduler="sync")
    assert blocks_read == [(0, slice(0, 64), slice(0, 64))]


def test_both_bands_of_a_block_are_read_once(rhine, blocks_read):
    room.open(rhine, BOX, DAY, dlat=0.01, dlon=0.016).compute()
    assert len(blocks_read) == 1


def test_threads_or_none_give_the_same(rhine, monkeypatch):
    monkeypatch.setattr(blocks, "SIDE", 32)
    cube = room.open(rhine, BOX, DAY, dlat=0.01, dlon=0.016)
    with dask.config.set(scheduler="sync"):
        alone = cube.compute()
    xr.testing.assert_identical(alone, cube.compute(scheduler="threads", num_workers=4))


# --- gaps ---


@torture
@pytest.mark.parametrize(
    ("orbit", "step", "method"),
    turns(itertools.product(["ascending", "any"], [0.002, 0.05], ["bilinear", "nearest"]), 4),
)
def test_a_box_that_is_covered_in_part_has_one_kind_of_gap_and_becomes_files(
    tmp_path, step, method, orbit
):
    tile = Tile(7, 50, 8, 50.5)
    archive = Archive(tmp_path / "a.zarr")
    for seed, each in enumerate(("ascending", "descending")):
        cells = cells_of(tile, seed=seed)
        for band in ("VV", "VH"):  # as 0 / 0 is
            cells[band] = cells[band].copy(data=np.where(cells[band] > 0, cells[band], -np.nan))
        archive.write(Chunk(tile, DAY, each), cells)
    box = BBox(6.5, 49.9, 8.7, 50.9)
    options = {"dlat": step, "dlon": 1.6 * step, "method": method, "orbit": orbit}
    grid = room.open(archive, box, DAY, **options)
    values = grid["VV"].values
    assert 0.2 < np.isnan(values).mean() < 0.95
    assert set(values[np.isnan(values)].view(np.uint32).tolist()) == {0x7FC00000}
    for suffix in (".tif", ".nc"):
        assert room.export(grid, tmp_path / f"a{suffix}").stat().st_size


@pytest.mark.parametrize("side", [32, 2048])
@pytest.mark.parametrize("dlat", [0.0005, 0.01])
def test_what_is_loaded_is_what_is_computed_lazily(year, monkeypatch, side, dlat):
    monkeypatch.setattr(blocks, "SIDE", side)
    box = BBox(7.9, 50.2, 8.1, 50.3) if dlat < 0.01 else ACROSS
    last = DAY + dt.timedelta(days=9)
    lazy = room.open(year, box, DAY, last, dlat=dlat, dlon=1.6 * dlat)
    loaded = room.load(year, box, DAY, last, dlat=dlat, dlon=1.6 * dlat)
    assert all(lazy[band].chunks and not loaded[band].chunks for band in ("VV", "VH"))
    xr.testing.assert_identical(lazy.compute(), loaded)
