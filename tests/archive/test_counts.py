# ruff: noqa: F811 (fixtures of another file)
"""Counts of a band's own: parts with gaps, merged in any order, are their union converted."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convert
from archive.layout import FORMAT_VERSION
from convert import raster_to_cells
from grid import BBox
from images.merge import merge
from store import Archive
from tests.archive.test_bucket_writer import NUMBER, at_change, changes_of, stops  # noqa: F401
from tests.archive.test_contents import CHUNK, ORIGIN, TILE, cells_of, days, tree
from tests.archive.test_folder_writer import (  # noqa: F401
    kill_everywhere,
    one_overview,
    posix,
    unsynced,
)
from tests.archive.test_overviews import make_old
from tests.cells.test_average import make_raster, pixel_cells
from tests.rounds import moments, rounds, torture, turns

BANDS = ("VV", "VH")
MISSING = [f"{band}_missing" for band in BANDS]
EPS = 3e-7  # relative: the last bits of float32, of some sums of such


@pytest.fixture(scope="module")
def raster():
    return make_raster(TILE, margin=0)


def with_gaps(raster, share, seed):
    """The raster with some pixels of no value in a band, in some of them in both."""
    random, out = np.random.default_rng(seed), raster.copy()
    for band in BANDS:
        out[band] = raster[band].where(random.random(raster[band].shape) >= share)
    return out


def masked(raster, where):
    """The raster with values here alone."""
    return raster.assign({band: raster[band].where(where) for band in BANDS})


def gapped(seed=0):
    """A tile's cells as of `cells_of`, some with fewer values in VH than in VV."""
    cells, random = cells_of(seed=seed), np.random.default_rng(seed)
    own = random.integers(0, cells["count"].values + 1).astype(np.uint16)
    cells["VH"] = cells["VH"].where(own > 0)
    return cells.assign(VH_count=("cells", own))


def own_count(cells, band):
    return cells.get(f"{band}_count", cells["count"]).values


def same(cells, expected):
    np.testing.assert_array_equal(cells["count"], expected["count"])
    for band in BANDS:
        np.testing.assert_allclose(cells[band], expected[band], rtol=EPS)
        known = np.isfinite(expected[band].values)
        np.testing.assert_array_equal(
            own_count(cells, band)[known], own_count(expected, band)[known]
        )


def put(archive, cells):
    """Merge cells with the record that is there, as `add` does."""
    slot = archive.slot(CHUNK)
    merged = cells if slot is None else merge([archive.read(CHUNK), cells])
    assert archive.write(CHUNK, merged, ORIGIN, instead_of=slot)


def test_counts_of_a_band_are_those_of_healpy(raster):
    """Of a seen pixel each band counts that has a value; where all have, nothing is said."""
    gaps = with_gaps(raster, 0.3, 1)
    cells, ids = raster_to_cells(gaps, TILE), pixel_cells(gaps)
    owned = _ids(cells)
    for band in BANDS:
        has = np.isfinite(gaps[band].values)
        inside = has & np.isin(ids, owned)
        expected = np.bincount(np.searchsorted(owned, ids[inside]), minlength=owned.size)
        np.testing.assert_array_equal(cells[f"{band}_count"], expected)
        assert cells[f"{band}_count"].dtype == np.uint16
    whole = raster_to_cells(raster, TILE)
    assert list(whole) == ["VV", "VH", "count", "start_ipix", "run_len"]


def _ids(cells):
    spans = zip(cells["start_ipix"].values, cells["run_len"].values, strict=True)
    return np.concatenate([np.arange(int(a), int(a) + int(n)) for a, n in spans])


@settings(
    max_examples=rounds(6), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.data())
def test_parts_in_any_order_are_the_conversion_of_their_union(raster, tmp_path, data):
    gaps = with_gaps(
        raster, data.draw(st.sampled_from([0.02, 0.3, 0.8])), data.draw(st.integers(0, 99))
    )
    number = data.draw(st.integers(2, 4))
    owner = np.random.default_rng(data.draw(st.integers(0, 99))).integers(
        number, size=gaps["VV"].shape
    )
    parts = [raster_to_cells(masked(gaps, owner == i), TILE) for i in range(number)]
    url = data.draw(st.sampled_from([tmp_path / f"{next(NUMBER)}", f"memory://{next(NUMBER)}/a"]))
    archive = Archive(url)
    for i in data.draw(st.permutations(range(number))):
        put(archive, parts[i])
    expected = raster_to_cells(gaps, TILE)
    cells = Archive(url).read(CHUNK)
    same(cells, expected)
    assert archive.verify() == []
    for level in (16, 12):
        assert_overview(archive.read(CHUNK, level=level), expected, level)


def assert_overview(found, cells, level):
    """Sums over the children of each cell, by numpy."""
    parents, at = np.unique(_ids(cells) >> 2 * (18 - level), return_inverse=True)
    np.testing.assert_array_equal(_ids(found), parents)
    for band in BANDS:
        weight, value = own_count(cells, band).astype(float), np.nan_to_num(cells[band].values)
        weight[np.isnan(cells[band].values)] = 0
        sums, counts = (np.bincount(at, of) for of in (weight * value.astype(float), weight))
        np.testing.assert_array_equal(own_count(found, band), counts)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(found[band], sums / counts, rtol=2 * EPS)


def test_a_record_without_gaps_is_stored_as_ever(tmp_path):
    """The arrays come with the first record that needs them; what was there stays as it is."""
    archive = Archive(tmp_path)
    archive.write(CHUNK, cells_of(), ORIGIN)
    before = tree(tmp_path)
    assert not [key for key in before if key.split("/")[1:2] in ([name] for name in MISSING)]
    _, second, third = days(3)
    assert archive.write(second, gapped(), ORIGIN)
    after = tree(tmp_path)
    shards = {key for key in before if "/c/0/0" in key}
    assert {key: after[key] for key in shards} == {key: before[key] for key in shards}
    assert f"{TILE.name}/VH_missing/c/1/0" in after
    assert f"{TILE.name}/VV_missing/c/1/0" not in after, "a band without gaps has no file"
    assert archive.write(third, cells_of(seed=2), ORIGIN)
    assert f"{TILE.name}/VH_missing/c/2/0" not in tree(tmp_path)
    for chunk, cells in zip(days(3), (cells_of(), gapped(), cells_of(seed=2)), strict=True):
        xr.testing.assert_identical(Archive(tmp_path).read(chunk), cells)
    assert archive.verify() == []
    assert archive.records()["bands"].tolist() == ["VV,VH"] * 3


def test_plain_xarray_finds_them_beside_their_bands(tmp_path):
    archive, cells = Archive(tmp_path), gapped()
    archive.write(CHUNK, cells, ORIGIN)
    with xr.open_zarr(tmp_path / TILE.name) as tile:
        assert tile["VH"].attrs["ancillary_variables"] == "count VH_missing"
        assert tile["VH_missing"].dims == ("time", "cells")
        np.testing.assert_array_equal(
            tile["count"].values[0] - tile["VH_missing"].values[0], cells["VH_count"]
        )
        assert not tile["VV_missing"].values.any()


def test_a_box_and_a_picture_of_it_weigh_by_them(tmp_path):
    """A coarse pixel is the mean of all pixels with a value that lie in it."""
    archive, cells = Archive(tmp_path), gapped()
    archive.write(CHUNK, cells, ORIGIN)
    box = BBox(TILE.west, TILE.south, TILE.east, TILE.north)
    part = archive.read(CHUNK, bbox=box)
    assert part["VH_count"].dims == ("cells",)
    assert list(archive.read(CHUNK, variables=["VH"])) == ["VH", "start_ipix", "run_len"]
    grid = convert.cells_to_grid(archive.read(CHUNK), box, box.height, box.width, "mean")
    for band in BANDS:
        value, weight = cells[band].values.astype(float), own_count(cells, band).astype(float)
        known = np.isfinite(value)
        mean = (value * weight)[known].sum() / weight[known].sum()
        assert float(grid[band].squeeze()) == pytest.approx(mean, rel=1e-6)


def test_an_archive_of_before_goes_on_and_older_programs_refuse_it_then(tmp_path):
    archive = make_old(tmp_path / "a")
    third = days(3)[2]
    assert archive.write(third, gapped(2), ORIGIN)
    root = json.loads((tmp_path / "a" / "zarr.json").read_bytes())
    assert root["attributes"]["format_version"] == FORMAT_VERSION
    again = Archive(tmp_path / "a")
    for chunk, cells in zip(days(3), (cells_of(), cells_of(seed=1), gapped(2)), strict=True):
        xr.testing.assert_identical(again.read(chunk), cells)
    assert again.verify() == []


def test_of_a_record_of_before_what_has_no_value_weighs_nothing():
    """It has no counts of its bands, but where a band has no value at all it has no pixel."""
    first, second = cells_of(seed=1, seen=1.0), cells_of(seed=2, seen=1.0)
    none = np.arange(first.sizes["cells"]) % 2 == 0
    first["VH"] = first["VH"].where(~none)
    merged = merge([first, second])
    np.testing.assert_array_equal(merged["VH"].values[none], second["VH"].values[none])
    np.testing.assert_array_equal(
        merged["VH_count"], second["count"] + np.where(none, 0, first["count"])
    )
    assert "VV_count" not in merged


def test_a_damaged_count_of_a_band_is_found_and_named(tmp_path):
    archive = Archive(tmp_path)
    archive.write(CHUNK, gapped(), ORIGIN)
    path = tmp_path / TILE.name / "VH_missing" / "c" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    (damage,) = archive.verify()
    assert (damage.chunk, damage.variable) == (CHUNK, "VH_missing")


def test_counts_that_cannot_be_are_refused(tmp_path):
    cells = gapped()
    cells["VH_count"] = cells["count"] + np.uint16(1)
    with pytest.raises(ValueError, match="VH_count is more than count"):
        Archive(tmp_path).write(CHUNK, cells)


# --- kills ---


@pytest.mark.usefixtures("one_overview", "unsynced")
@torture
@posix
@pytest.mark.parametrize("old", [0, 1])
def test_a_writer_of_gaps_killed_anywhere_leaves_whole_records(tmp_path, old):
    """What it leaves is swept by the next writer, also by one that knows of no gaps."""
    start = tmp_path / "start"
    start.mkdir()
    for chunk in days(old):
        Archive(start).write(chunk, cells_of(), ORIGIN)
    first, new, later = days(3)
    for path, clean in kill_everywhere(start, tmp_path, lambda a: a.write(new, gapped(), ORIGIN)):
        archive = Archive(path)
        there = new in archive.chunks()
        assert archive.chunks() == [*[first] * old, *[new] * there]
        if there:
            xr.testing.assert_identical(archive.read(new), gapped())
            archive.tidy(TILE)
        assert archive.verify() == []
        if there:
            assert tree(path) == clean
        else:
            archive.write(later, cells_of(seed=2), ORIGIN)
            assert not [key for key in tree(path) if f"{TILE.name}/VH_missing" in key]
        archive.write(new, gapped(), ORIGIN)
        xr.testing.assert_identical(Archive(path).read(new), gapped())


@torture
@pytest.mark.parametrize("meanwhile", turns(["killed", "another with gaps", "another without"]))
def test_in_an_object_store_as_well(at_change, meanwhile):
    """Killed, or crossed by another writer, at any of its changes."""
    first, new, other = days(3)

    def make():
        archive = Archive(f"memory://{next(NUMBER)}/a")
        archive.write(first, cells_of(), ORIGIN)
        return archive

    write = lambda archive: archive.write(new, gapped(), ORIGIN)  # noqa: E731
    if meanwhile == "killed":
        for archive in stops(at_change, make, write):
            there = new in Archive(archive.name).chunks()
            Archive(archive.name).write(other, cells_of(seed=2), ORIGIN)
            assert_crossed(archive.name, {first: cells_of(), other: cells_of(seed=2)},
                           {new: gapped()} if there else {})  # fmt: skip
        return
    cells = gapped(2) if meanwhile == "another with gaps" else cells_of(seed=2)
    for at in moments(changes_of(at_change, make, write)):
        archive = make()
        at_change.update(
            count=0, at=at, action=partial(Archive(archive.name).write, other, cells, ORIGIN)
        )
        write(archive)
        at_change.update(at=0)
        assert_crossed(archive.name, {first: cells_of(), new: gapped(), other: cells}, {})


def assert_crossed(url, records, maybe):
    archive = Archive(url)
    records = records | maybe
    for chunk, cells in records.items():
        xr.testing.assert_identical(archive.read(chunk), cells)
    assert archive.verify() == []
