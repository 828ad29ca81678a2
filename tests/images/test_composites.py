"""Many days as one image: against numpy, pixel by pixel, of what the archive gives back."""

from __future__ import annotations

import datetime as dt
import warnings
from typing import Any

import healpy
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieve as room
from archive.snapshot import View
from convert import cells_to_grid
from grid import BBox, Chunk, Provenance, Tile
from healpix.ids import runs_to_ids
from images import blocks, composites, periods
from images.composites import HOW, composed
from images.grids import DAY as LAYER
from images.grids import image_of
from images.lazy import METHODS
from retrieve import export, plot
from shared import compute
from shared.memory import Memory
from store import Archive
from tests.images.test_blocks import cells_of
from tests.rounds import torture, turns

FIRST = dt.date(2026, 1, 20)
DAYS = [FIRST + dt.timedelta(days=6 * i) for i in range(5)]
TILES = Tile(7.0, 50.0, 8.0, 50.5), Tile(8.0, 50.0, 9.0, 50.5)
ACROSS = BBox(7.9, 50.1, 8.1, 50.3)  # of two tiles
FINE: dict[str, Any] = {"dlat": 0.004, "dlon": 0.006}  # than cells of 0.014 degrees
COARSE: dict[str, Any] = {"dlat": 0.05, "dlon": 0.06}
SIZES = {"finer": FINE, "coarser": COARSE}
NUMPY = {
    "median": lambda v, c: np.nanmedian(v, axis=0),
    "min": lambda v, c: np.nanmin(v, axis=0),
    "max": lambda v, c: np.nanmax(v, axis=0),
    "std": lambda v, c: np.nanstd(v, axis=0),
    "count": lambda v, c: np.where(np.isfinite(v).any(axis=0), np.isfinite(v).sum(axis=0), np.nan),
    "mean": lambda v, c: np.nansum(v * c, axis=0) / np.where(np.isnan(v), 0, c).sum(axis=0),
    "newest": lambda v, c: np.take_along_axis(v, _newest(v)[np.newaxis], 0)[0],
}


def _newest(values):
    """Of each cell the place of the last day that has a value."""
    return len(values) - 1 - np.isfinite(values[::-1]).argmax(axis=0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Five days of two tiles, and one of the other direction."""
    archive = Archive(tmp_path_factory.mktemp("composites") / "a")
    for number, day in enumerate(DAYS):
        for tile in TILES:
            archive.write(Chunk(tile, day, "ascending"), cells_of(tile, seed=number))
    archive.write(Chunk(TILES[0], DAYS[1], "descending"), cells_of(TILES[0], seed=9))
    return archive


def opened(archive, how, bbox=ACROSS, orbit="ascending", **pixels):
    return room.open(archive, bbox, DAYS[0], DAYS[-1], orbit=orbit, composite=how, **pixels)


def made(chunks, records, how, band, classes=()):
    """The composite of some cells."""

    def read(names, some):
        of_chunk = dict(zip(chunks, records, strict=True))
        return ((chunk, of_chunk[chunk]) for chunk in some)

    return composed(read, chunks, how, (band,), classes)


def by_numpy(archive, tile, how, orbit="ascending"):
    """The composite of a tile's cells, as a dataset of cells, by numpy."""
    records = [archive.read(Chunk(tile, day, orbit)) for day in DAYS]
    count = np.stack([cells["count"].values for cells in records])
    out = records[0][["start_ipix", "run_len"]].copy()
    for band in ("VV", "VH"):
        values = np.stack([cells[band].values for cells in records]).astype(float)
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore")  # of cells without a value
            found = NUMPY[how](values, count)
            weight = np.where(np.isnan(values), 0, count)
        newest = np.take_along_axis(weight, _newest(values)[np.newaxis], 0)[0]
        out[band] = "cells", found.astype(np.float32)
        out[f"{band}_count"] = "cells", newest if how == "newest" else weight.sum(axis=0)
        out[LAYER if band == "VV" else "other"] = (
            "cells",
            np.where(np.isfinite(found), 20473.0 + 6 * _newest(values), np.nan).astype(np.float32),
        )
    out[LAYER] = np.fmax(out[LAYER], out["other"])
    return out.drop_vars("other").assign_attrs(records[0].attrs)


@torture
@pytest.mark.parametrize("how", turns(HOW))
@pytest.mark.parametrize("method", METHODS)
def test_a_pixel_finer_than_cells_shows_what_numpy_makes_of_its_cell(archive, how, method):
    bbox = BBox(7.3, 50.1, 7.4, 50.2)
    grid = opened(archive, how, bbox, method=method, **FINE).compute()
    cells = by_numpy(archive, TILES[0], how)
    for band in ("VV", "VH"):
        one = cells[[band, "start_ipix", "run_len"]]
        wanted = cells_to_grid(one, bbox, method=method, **FINE)[band]
        np.testing.assert_allclose(grid[band][0], wanted, rtol=2e-6, atol=1e-7)
    assert (LAYER in grid) == (how == "newest")
    if how == "newest":
        days = cells_to_grid(cells[[LAYER, "start_ipix", "run_len"]], bbox, **FINE)[LAYER].values
        np.testing.assert_array_equal(grid[LAYER][0], days)
        assert np.unique(days[~np.isnan(days)]).size > 1


@torture
@pytest.mark.parametrize("how", turns(HOW))
def test_a_coarser_pixel_is_the_mean_of_its_cells_by_all_their_counts(archive, how):
    grid = opened(archive, how, **COARSE).isel(time=0).compute()
    nside = 4096
    sums = np.zeros((2, grid.sizes["lat"], grid.sizes["lon"]))
    for tile in TILES:
        cells = by_numpy(archive, tile, how)
        ids = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values)
        lon, lat = healpy.pix2ang(nside, ids.astype(np.int64), nest=True, lonlat=True)
        row = np.floor((lat - ACROSS.south) / COARSE["dlat"]).astype(int)
        column = np.floor((lon - ACROSS.west) / COARSE["dlon"]).astype(int)
        value, weight = cells["VV"].values.astype(float), cells["VV_count"].values.astype(float)
        inside = (row >= 0) & (row < sums.shape[1]) & (column >= 0) & (column < sums.shape[2])
        inside &= np.isfinite(value)
        place = row[inside], column[inside]
        np.add.at(sums[0], place, (value * weight)[inside])
        np.add.at(sums[1], place, weight[inside])
    np.testing.assert_allclose(grid["VV"], sums[0] / sums[1], rtol=1e-5)


def test_pixels_far_coarser_than_cells_come_from_overviews(archive, monkeypatch):
    read, values = [], View.values

    def noted(*arguments, **named):
        read.append(named["level"])
        return values(*arguments, **named)

    monkeypatch.setattr(View, "values", noted)
    box = BBox(7.0, 50.0, 9.0, 50.5)
    mean = opened(archive, "mean", box, dlat=0.25, dlon=0.25)["VV"][0].values
    assert set(read) == {10}
    every = [archive.read(Chunk(tile, day, "ascending")) for tile in TILES for day in DAYS]
    value = np.concatenate([cells["VV"].values for cells in every]).astype(float)
    count = np.concatenate([cells["count"].values for cells in every])
    whole = np.nansum(value * count) / count[np.isfinite(value)].sum()
    assert np.average(mean) == pytest.approx(whole, rel=0.01)


def test_the_mean_of_records_is_what_one_record_of_all_their_pixels_holds():
    rng = np.random.default_rng(1)
    pixels = rng.gamma(4.4, 0.02, (4, 50, 6)).astype(np.float32)  # record, cell, pixel
    there = rng.random(pixels.shape) < 0.7
    runs = {"start_ipix": ("runs", np.array([0])), "run_len": ("runs", np.array([50], np.uint32))}
    records = []
    for one, has in zip(pixels, there, strict=True):
        count = has.sum(axis=1).astype(np.uint16)
        with np.errstate(invalid="ignore"):
            power = (np.where(has, one, 0).sum(axis=1, dtype=float) / count).astype(np.float32)
        values = {"VV": ("cells", power), "count": ("cells", count)}
        records.append(xr.Dataset(values | runs))
    days = [Chunk(TILES[0], day) for day in DAYS[:4]]
    found = made(days, records, "mean", "VV")
    total = there.sum(axis=(0, 2))
    union = np.where(there, pixels, 0).sum(axis=(0, 2), dtype=float) / total
    np.testing.assert_allclose(found["VV"], union, rtol=3e-7)
    np.testing.assert_array_equal(found["VV_count"], total)


values = st.one_of(st.just(np.nan), st.floats(0, 10, width=32))


@settings(max_examples=60)
@given(st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=6), st.data())
def test_any_values_and_counts_give_what_numpy_makes_of_them(stack, data):
    power = np.array(stack, np.float32)
    shape = st.lists(st.integers(1, 9), min_size=3, max_size=3)
    counts = np.array([data.draw(shape) for _ in stack], np.uint16)
    runs = {"start_ipix": ("runs", np.array([4])), "run_len": ("runs", np.array([3], np.uint32))}
    records = [
        xr.Dataset({"VV": ("cells", one), "count": ("cells", many)} | runs)
        for one, many in zip(power, counts, strict=True)
    ]
    chunks = [Chunk(TILES[0], FIRST + dt.timedelta(days=i)) for i in range(len(stack))]
    for how in HOW:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            wanted = NUMPY[how](power.astype(float), counts)
        found = made(chunks, records, how, "VV")
        np.testing.assert_allclose(found["VV"], wanted, rtol=1e-5, atol=1e-5, err_msg=how)


@pytest.mark.parametrize("number", [*range(1, 34), 100])
def test_a_median_of_any_number_of_days_is_that_of_numpy_to_the_bit(number):
    rng = np.random.default_rng(number)
    power = rng.choice([rng.gamma(4.4, 0.02), 0, np.inf, 1e-30], (number, 700)).astype(np.float32)
    power *= rng.integers(0, 4, power.shape).astype(np.float32)  # with equal ones, and inf x 0
    counts = rng.integers(0, 3, power.shape).astype(np.uint16)
    records = [{"VV": one, "count": many} for one, many in zip(power, counts, strict=True)]
    days = [Chunk(TILES[0], FIRST + dt.timedelta(days=i)) for i in range(number)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = np.nanmedian(np.where(counts > 0, power, np.nan).astype(float), axis=0)
    found = made(days, records, "median", "VV")["VV"]
    np.testing.assert_array_equal(found, wanted.astype(np.float32))


def test_a_spread_far_from_zero_is_that_of_numpy_and_of_equal_values_0():
    rng = np.random.default_rng(3)
    power = (2**23 + rng.integers(0, 3, (9, 400))).astype(np.float32)  # steps of the last bit
    power[:, :50] = power[0, :50]
    counts = rng.integers(0, 2, power.shape).astype(np.uint16)
    records = [{"VV": one, "count": many} for one, many in zip(power, counts, strict=True)]
    days = [Chunk(TILES[0], FIRST + dt.timedelta(days=i)) for i in range(9)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = np.nanstd(np.where(counts > 0, power, np.nan).astype(float), axis=0)
    found = made(days, records, "std", "VV")["VV"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert not np.nan_to_num(found[:50]).any()


def test_of_classes_it_is_the_most_frequent_one_by_the_counts():
    runs = {"start_ipix": ("runs", np.array([0])), "run_len": ("runs", np.array([4], np.uint32))}
    classes = np.array([[4, 4, np.nan, 8], [5, 4, np.nan, 3], [5, 6, np.nan, 3]], np.float32)
    counts = np.array([[3, 1, 1, 2], [1, 1, 1, 1], [1, 5, 1, 1]], np.uint16)
    records = [
        xr.Dataset({"SCL": ("cells", one), "count": ("cells", many)} | runs)
        for one, many in zip(classes, counts, strict=True)
    ]
    chunks = [Chunk(TILES[0], day) for day in DAYS[:3]]
    for how, wanted in (
        ("mean", [4, 6, np.nan, 3]),  # of those that are equally frequent the lowest
        ("median", [4, 6, np.nan, 3]),
        ("newest", [5, 6, np.nan, 3]),
        ("count", [3, 3, np.nan, 3]),
    ):
        found = made(chunks, records, how, "SCL", classes=("SCL",))
        np.testing.assert_array_equal(found["SCL"], wanted, how)


# --- passes ---


@torture
@pytest.mark.parametrize("how", turns(HOW))
def test_unasked_passes_of_each_direction_make_a_composite_of_their_own(archive, how, tmp_path):
    box = BBox(7.3, 50.1, 7.4, 50.2)
    both = opened(archive, how, box, orbit=None, **FINE)
    assert both["orbit"].values.tolist() == [1, 2]
    for number, orbit in enumerate(("ascending", "descending")):
        alone = opened(archive, how, box, orbit=orbit, **FINE)
        np.testing.assert_array_equal(both["VV"][number], alone["VV"][0])
    days = composites.words(how, 5), composites.words(how, 1)
    words = f"{days[0]} (ascending) and {days[1]} (descending)"
    assert both.attrs["composite"] == words
    assert words in str(plot(both).get_label())
    with xr.open_dataset(export(both, tmp_path / "a.nc"), decode_coords="all") as back:
        np.testing.assert_array_equal(back["VV"], both["VV"])
        assert back["orbit"].values.tolist() == [1, 2]
        assert back["time_bnds"].values.astype("datetime64[D]").astype(str).tolist() == [
            ["2026-01-20", "2026-02-14"]
        ] * 2  # fmt: skip
    with rasterio.open(export(both, tmp_path / "a.tif")) as back:
        assert back.descriptions[0] == "VV ascending"
        assert back.descriptions[-1].endswith(" descending")


def test_passes_of_both_directions_are_mixed_if_somebody_asks_for_it(archive):
    mixed = opened(archive, "count", BBox(7.3, 50.1, 7.4, 50.2), orbit="any", **FINE)
    assert mixed["VV"].max() == 6
    assert opened(archive, "count", BBox(7.3, 50.1, 7.4, 50.2), **FINE)["VV"].max() == 5
    assert mixed["orbit"].item() == 3


def test_as_of_a_day_an_older_value_fills_the_gap_of_a_newer_record(archive):
    bbox = BBox(8.3, 50.1, 8.4, 50.2)
    one = room.retrieve(archive, bbox, DAYS[-1], **FINE)
    filled = room.open(archive, bbox, DAYS[-1], as_of=30, **FINE).isel(time=0)
    gaps = np.isnan(one["VV"].values)
    assert gaps.any()
    np.testing.assert_array_equal(filled["VV"].values[~gaps], one["VV"].values[~gaps])
    assert np.isfinite(filled["VV"].values[gaps]).any()
    assert (filled[LAYER].values[~gaps] == 20473 + 24).all()
    older = filled[LAYER].values[gaps]
    assert (older[np.isfinite(older)] <= 20473 + 24).all()


@pytest.mark.parametrize("later", ["ascending", "descending"])
def test_of_two_passes_of_a_day_the_later_one_has_the_newest_values(tmp_path, later):
    archive = Archive(tmp_path / "a")
    hours = {"ascending": 5, "descending": 5, later: 17}
    for seed, (orbit, hour) in enumerate(hours.items()):
        came = f"2026-01-20T{hour:02}:10:00Z"
        origin = Provenance("cdse", "SENTINEL1_GRD", "j", came, False, acquired=(f"{came}/{came}",))
        archive.write(Chunk(TILES[0], FIRST, orbit), cells_of(TILES[0], seed=seed), origin)
    bbox = BBox(7.3, 50.1, 7.4, 50.2)
    one = {orbit: room.retrieve(archive, bbox, FIRST, orbit=orbit, **FINE) for orbit in hours}
    last = room.open(archive, bbox, FIRST, as_of=3, **FINE).isel(time=0).compute()
    np.testing.assert_array_equal(last["VV"], one[later]["VV"])
    period = (FIRST, DAYS[-1])
    both = room.open(archive, bbox, *period, orbit="any", composite="newest", **FINE).isel(time=0)
    other = one[min(set(hours) - {later})]["VV"]
    np.testing.assert_array_equal(both["VV"], one[later]["VV"].fillna(other))
    assert np.isnan(one[later]["VV"]).any()


def test_passes_of_a_day_whose_times_nobody_knows_are_asked_about(archive):
    with pytest.raises(ValueError, match="Say which of them you want"):
        room.open(archive, BBox(7.3, 50.1, 7.4, 50.2), DAYS[1], as_of=3, **FINE)


def test_nothing_is_read_that_is_older_than_the_newest_values(tmp_path, monkeypatch):
    archive = Archive(tmp_path / "a")
    for number, day in enumerate(DAYS):
        cells = cells_of(TILES[0], seed=number)
        if number == 3:  # the day before the last has all
            cells["count"][:] = 2
            for band in ("VV", "VH"):
                cells[band] = cells[band].fillna(number)
        archive.write(
            Chunk(TILES[0], day, "ascending"), cells.drop_vars("VH_count", errors="ignore")
        )
    read = set()
    values = View.values

    def noted(view, chunk, spans, variables, level):
        read.add(chunk.day)
        return values(view, chunk, spans, variables, level)

    monkeypatch.setattr(View, "values", noted)
    found = opened(archive, "newest", BBox(7.3, 50.1, 7.4, 50.2), **FINE).compute()
    assert read == set(DAYS[3:])
    assert set(np.unique(found[LAYER])) == {20473.0 + 18, 20473.0 + 24}


# --- lazily, in files, in pictures ---


@pytest.mark.parametrize("how", ["mean", "median", "newest"])
def test_blocks_make_the_composite_that_is_made_at_once(archive, how, monkeypatch):
    whole = opened(archive, how, **FINE).compute()
    monkeypatch.setattr(blocks, "COMPOSITE", 1000)  # then a block has the fewest pixels
    monkeypatch.setattr(blocks, "SIDE", 16)
    lazy = opened(archive, how, **FINE)
    assert lazy["VV"].data.npartitions > 4
    xr.testing.assert_identical(lazy.compute(), whole)


@torture
@pytest.mark.parametrize("how", turns(HOW))
@pytest.mark.parametrize("is_far", [False, True])
def test_a_composite_in_pieces_is_that_of_the_whole_tile(archive, how, is_far, monkeypatch):
    whole = {size: opened(archive, how, **pixels).compute() for size, pixels in SIZES.items()}
    monkeypatch.setattr(View, "inner", 1 << 7)  # tiles have 2,600 cells
    monkeypatch.setattr(View, "is_far", is_far)
    monkeypatch.setattr(periods, "TOGETHER", 3)
    monkeypatch.setattr(blocks, "SIDE", 16)
    for size, pixels in SIZES.items():
        xr.testing.assert_identical(opened(archive, how, **pixels).compute(), whole[size])


def test_records_far_away_are_read_a_few_at_once(archive, monkeypatch):
    whole = {how: opened(archive, how, **FINE).compute() for how in HOW}
    monkeypatch.setattr(View, "is_far", True)
    monkeypatch.setattr(periods, "TOGETHER", 2)
    monkeypatch.setattr(periods, "_memory", Memory(periods.KEPT, periods._bytes))
    for how in HOW:
        xr.testing.assert_identical(opened(archive, how, **FINE).compute(), whole[how])


def test_each_inner_chunk_is_read_once_wherever_blocks_end(archive, monkeypatch):
    read: list[Any] = []
    values = View.values

    def noted(view, chunk, spans, variables, level):
        read.extend((view.tile, chunk, first) for first in spans.starts.tolist())
        return values(view, chunk, spans, variables, level)

    monkeypatch.setattr(View, "values", noted)
    monkeypatch.setattr(View, "inner", 1 << 7)
    monkeypatch.setattr(blocks, "SIDE", 16)
    grid = opened(archive, "mean", BBox(7.2, 50.1, 8.8, 50.4), **FINE)
    assert grid["VV"].data.npartitions > 20
    grid.compute()
    assert len(read) == len(set(read)) > 100


@torture
def test_a_cluster_gives_what_threads_give(archive, cluster):
    some = turns(HOW)
    for pixels in SIZES.values():
        here = {how: opened(archive, how, **pixels).compute() for how in some}
        with compute.cluster(cluster):
            there = {how: opened(archive, how, **pixels).compute() for how in some}
        for how in some:
            xr.testing.assert_identical(there[how], here[how])


@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_a_file_of_newest_values_has_the_day_of_each_pixel(archive, suffix, tmp_path):
    grid = opened(archive, "newest", **FINE)
    path = export(grid, tmp_path / f"a{suffix}")
    day = grid[LAYER].values[0]
    if suffix == ".nc":
        with xr.open_dataset(path) as file:
            found = file[LAYER].values[0]
            assert file["VV"].attrs["cell_methods"] == "time: point"
        wanted = np.where(np.isnan(day), np.datetime64("NaT"), day.astype("datetime64[D]"))
        np.testing.assert_array_equal(found.astype("datetime64[D]"), wanted.astype("datetime64[D]"))
    else:
        with rasterio.open(path) as file:
            names = [str(name) for name in file.descriptions]
            at = [i for i, name in enumerate(names, 1) if name.startswith(LAYER)]
            np.testing.assert_array_equal(file.read(at[0])[::-1], day)
            assert file.units[at[0] - 1] == "days since 1970-01-01"


@pytest.mark.parametrize("how", HOW)
def test_a_picture_says_what_was_combined_of_how_many_days(archive, how):
    figure = plot(image_of(opened(archive, how, **COARSE)))
    written = " ".join(text.get_text() for text in figure.texts)
    assert f"{composites.words(how, 5)}, 2026-01-20 to 2026-02-13, ascending passes" in written
    in_decibels = any("dB" in axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes)
    assert in_decibels == (how not in ("std", "count"))


def test_what_is_no_composite_is_refused(archive):
    with pytest.raises(ValueError, match="'sum'; it must be one of mean, median, newest"):
        opened(archive, "sum", **COARSE)
