"""Classes of overviews on borders of tiles, by numpy from the cells of all tiles at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

import retrieve
import store
from archive import layout as layouts
from archive import schema
from archive.arrays import zarr_array
from grid import BBox, Chunk, Tile
from images.merge import merge
from shared.border import names_of
from shared.collection import SENTINEL2, attributes_of, with_bands
from store import Archive, ArchiveError
from tests.archive.test_contents import DAY, ORIGIN, cells_of, days
from tests.archive.test_overviews import SQUARE, ids_of
from tests.rounds import rounds

healpy = pytest.importorskip("healpy")

BANDS = ("B02", "SCL")
PRODUCT = with_bands(SENTINEL2.product, BANDS)
LEVELS = 16, 14, 12


def classified(tile: Tile, seed: int, classes: int = 12, gaps: float = 0.1) -> xr.Dataset:
    """Cells of a tile with classes at random, of which some were seen in the other band only."""
    cells, rng = cells_of(tile, seed, bands=BANDS), np.random.default_rng(seed)
    size = cells.sizes["cells"]
    scl = rng.integers(1, classes + 1, size) ** 2 // (classes + 1)  # not all as often
    scl = np.where((rng.random(size) < gaps) | (cells["count"] == 0), np.nan, scl)
    cells["SCL"] = "cells", scl.astype(np.float32)
    own = cells["count"].values * np.isfinite(scl).astype(np.uint16)
    cells["SCL_count"] = "cells", own
    return cells.assign_attrs(attributes_of(PRODUCT))


def written(path, parts: dict[Tile, xr.Dataset]) -> Archive:
    archive = Archive(path)
    for tile, cells in parts.items():
        archive.write(Chunk(tile, DAY), cells, ORIGIN)
    return archive


def read(archive: Archive, tiles, level: int, box: BBox | None = None) -> list[xr.Dataset]:
    return [archive.read(Chunk(tile, DAY), box, level) for tile in tiles]


def votes(parts: list[xr.Dataset], steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ids of all parents, the classes, and the pixels of each class in each (parent, class)."""
    ids = np.concatenate([ids_of(part) for part in parts]) >> 2 * steps
    values = np.concatenate([part.SCL.values for part in parts])
    count = np.concatenate([part.SCL_count.values.astype(int) for part in parts])
    parents, classes = np.unique(ids), np.unique(values[np.isfinite(values)])
    found = np.zeros((parents.size, classes.size), int)
    there = np.isfinite(values)
    place = np.searchsorted(parents, ids[there]), np.searchsorted(classes, values[there])
    np.add.at(found, place, count[there])
    return parents, classes, found


def modes(parts: list[xr.Dataset], steps: int) -> dict[int, float]:
    parents, classes, found = votes(parts, steps)
    most = np.where(found.any(axis=1), classes[found.argmax(axis=1)], np.nan)
    return dict(zip(parents.tolist(), most.tolist(), strict=True))


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    """Four tiles around a corner, one record each."""
    parts = {tile: classified(tile, seed) for seed, tile in enumerate(SQUARE)}
    return written(tmp_path_factory.mktemp("borders") / "a", parts), parts


def assert_is_that_of_all(archive: Archive, parts: dict[Tile, xr.Dataset]) -> None:
    for level in LEVELS:
        found = merge(read(archive, parts, level))
        wanted = modes(list(parts.values()), 18 - level)
        np.testing.assert_array_equal(ids_of(found), list(wanted))
        np.testing.assert_array_equal(found.SCL.values, list(wanted.values()))
        borders = [name for name in found.data_vars if "border" in str(name)]
        assert not borders or len(parts) == 1
        total = sum(int(part.SCL_count.astype(int).sum()) for part in parts.values())
        assert int(found.get("SCL_count", found["count"]).sum()) == total


@settings(max_examples=rounds(5), deadline=None)
@given(st.integers(1, 30), st.sampled_from([0.0, 0.3]), st.integers(0, 999), st.data())
def test_a_cell_that_tiles_share_has_the_class_of_all_its_pixels(
    tmp_path_factory, classes, gaps, seed, data
):
    tiles = data.draw(st.sampled_from([SQUARE, SQUARE[:2], SQUARE[1:], SQUARE[:1]]))
    parts = {tile: classified(tile, seed + i, classes, gaps) for i, tile in enumerate(tiles)}
    archive = written(tmp_path_factory.mktemp("borders") / "a", parts)
    assert_is_that_of_all(archive, parts)
    assert archive.verify() == []


def test_a_part_has_the_most_frequent_class_of_its_own(square):
    archive, parts = square
    differing = 0
    for level in LEVELS:
        every = modes(list(parts.values()), 18 - level)
        for tile, cells in parts.items():
            found, wanted = archive.read(Chunk(tile, DAY), level=level), modes([cells], 18 - level)
            np.testing.assert_array_equal(found.SCL.values, list(wanted.values()))
            shared = [(value, every[cell]) for cell, value in wanted.items()]
            differing += sum(mine != whole for mine, whole in shared if whole == whole)
    assert differing > 50  # so that there is something to be merged


@pytest.mark.parametrize("level", LEVELS)
def test_what_else_is_in_a_part_is_told_of_the_cells_of_a_box(square, level):
    archive, parts = square
    box = BBox(7.009, 50.009, 7.031, 50.033)
    merged = merge(read(archive, parts, level))
    every = dict(zip(ids_of(merged), merged.SCL.values, strict=True))
    inside = read(archive, parts, level, box)
    for tile, found in zip(parts, inside, strict=True):
        cell, value, number = names_of("SCL")
        parents, classes, wanted = votes([parts[tile]], 18 - level)
        own = dict(zip(ids_of(found), found.SCL.values, strict=True))
        assert set(found[cell].values.astype(int)) <= own.keys()
        entries = zip(found[cell].values, found[value].values, found[number].values, strict=True)
        there = {(int(c), float(v)): int(n) for c, v, n in entries}
        counts = np.bincount(np.searchsorted(parents, ids_of(parts[tile]) >> 2 * (18 - level)))
        expected = {
            (int(parents[i]), float(classes[j])): int(wanted[i, j])
            for i, j in zip(*np.nonzero(wanted), strict=True)
            if counts[i] < 4 ** (18 - level) and own.get(int(parents[i]), classes[j]) != classes[j]
        }
        assert there == expected
    found = merge(inside)
    values = found.SCL.values
    np.testing.assert_array_equal(values, [every[cell] for cell in ids_of(found)])


@pytest.mark.parametrize("step", [0.0026, 0.0043, 0.011])
def test_a_pixel_on_a_border_counts_all_that_is_in_its_cells(square, step):
    archive, parts = square
    box = BBox(7.003, 50.003, 7.037, 50.037)
    grid = retrieve.retrieve(archive, box, DAY, ["SCL"], step, 1.6 * step)
    assert grid.attrs["method"] == "mean"
    for level in LEVELS:
        if healpy.nside2resol(2**level) > np.radians(step) / 2:
            break
        steps = 18 - level
    parents, classes, found = votes(list(parts.values()), steps)
    whole = np.zeros_like(found)  # a cell inside of a tile is one class
    whole[np.arange(len(found)), found.argmax(axis=1)] = found.sum(axis=1)
    owners: dict[int, int] = {}
    for cells in parts.values():
        for parent in np.unique(ids_of(cells) >> 2 * steps):
            owners[parent] = owners.get(parent, 0) + 1
    counts = np.bincount(
        np.searchsorted(parents, np.concatenate([ids_of(c) for c in parts.values()]) >> 2 * steps)
    )
    shared = np.array([owners[parent] > 1 for parent in parents]) | (counts < 4**steps)
    whole[shared] = found[shared]
    lon, lat = healpy.pix2ang(2 ** (18 - steps), parents, nest=True, lonlat=True)
    row, column = (
        np.floor((values - first) / size).astype(int)
        for values, first, size in ((lat, box.south, step), (lon, box.west, 1.6 * step))
    )
    height, width = grid.sizes["lat"], grid.sizes["lon"]
    sums = np.zeros((height, width, classes.size), int)
    ok = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    np.add.at(sums, (row[ok], column[ok]), whole[ok])
    wanted = np.where(sums.any(axis=2), classes[sums.argmax(axis=2)], np.nan)
    np.testing.assert_array_equal(grid.SCL.values, wanted)


def test_others_find_them_beside_the_cells(square):
    import xdggs

    archive, parts = square
    tile = next(iter(parts))
    path = archive.path / tile.name
    mine = archive.read(Chunk(tile, DAY), level=14)
    with xr.open_zarr(path, group="14") as opened:
        for name in names_of("SCL"):
            number = mine.sizes["SCL_border"]
            np.testing.assert_array_equal(opened[name][0, :number].values, mine[name].values)
        assert xdggs.decode(opened).dggs.grid_info.level == 14
        assert not opened.SCL_border_n[0, mine.sizes["SCL_border"] :].any()
    tree = xr.open_datatree(path, engine="zarr")
    assert set(tree.children) == {"16", "14", "12"}
    group = archive.load(tile)
    assert group is not None
    for name in (f"{level}/{column}" for level in LEVELS for column in names_of("SCL")):
        values = zarr.open_group(path, mode="r")[name][0]  # type: ignore[index]
        files: dict[str, Any] = {}
        zarr_array(MemoryStore(files), group, name)[0] = np.asarray(values)
        there = (archive.path / group.shard(name, 0)).read_bytes()
        assert [data.to_bytes() for data in files.values()] == [there]


def test_where_every_part_is_of_one_class_they_take_no_file(tmp_path):
    cells = classified(SQUARE[0], 0)
    cells["SCL"].values[:] = np.where(np.isfinite(cells.SCL.values), 4, np.nan)
    archive = written(tmp_path / "a", {SQUARE[0]: cells})
    assert not list(archive.path.glob("**/*_border_*/c"))
    values = archive.read(Chunk(SQUARE[0], DAY), level=16)["SCL"].values
    assert set(values[np.isfinite(values)]) == {4.0}


def test_numbers_have_none(tmp_path):
    archive = written(tmp_path / "a", {SQUARE[0]: cells_of(SQUARE[0])})
    assert not list(archive.path.glob("**/*border*"))


def test_classes_are_not_rounded(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "KEEP_BITS", 1)
    parts = {tile: classified(tile, seed) for seed, tile in enumerate(SQUARE)}
    assert_is_that_of_all(written(tmp_path / "a", parts), parts)


def test_damage_to_them_is_named(tmp_path):
    archive = written(tmp_path / "a", {SQUARE[0]: classified(SQUARE[0], 0)})
    name = f"14/{names_of('SCL')[1]}"
    path = archive.path / SQUARE[0].name / name / "c" / "0" / "0"
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    assert [str(damage) for damage in archive.verify()] == [
        f"{Chunk(SQUARE[0], DAY)}, {name}: the checksum does not match"
    ]
    archive.read(Chunk(SQUARE[0], DAY), level=14, variables=["B02"])
    with pytest.raises(ArchiveError, match=f"{name}: the checksum does not match"):
        archive.read(Chunk(SQUARE[0], DAY), level=14)


def test_what_has_too_many_values_is_no_classification(tmp_path):
    cells = classified(SQUARE[0], 0)
    cells["SCL"].values[:] = np.arange(cells.sizes["cells"]) % 257
    archive = Archive(tmp_path / "a")
    with pytest.raises(ArchiveError, match=r"SCL has 257 different values; .* Nothing was written"):
        archive.write(Chunk(SQUARE[0], DAY), cells)
    assert archive.chunks() == []


def test_an_archive_of_before_gets_them_with_its_next_write(tmp_path):
    tile = SQUARE[0]
    parts = {tile: classified(tile, 1)}
    archive = make_old(tmp_path / "a", parts)
    layout = archive.layout
    assert layout is not None
    assert layout.version == 4
    before = archive.read(Chunk(tile, DAY), level=14)
    assert "SCL_border_n" not in before
    np.testing.assert_array_equal(before.SCL.values, list(modes([parts[tile]], 4).values()))
    assert archive.verify() == []
    later = days(2)[1].day
    assert archive.write(Chunk(tile, later), classified(tile, 2), ORIGIN)
    assert Archive(tmp_path / "a").layout.version == layouts.FORMAT_VERSION  # type: ignore[union-attr]
    xr.testing.assert_identical(archive.read(Chunk(tile, DAY), level=14), before)
    assert archive.read(Chunk(tile, later), level=14)["SCL_border_n"].any()
    assert archive.verify() == []


def make_old(path, parts: dict[Tile, xr.Dataset]) -> Archive:
    """An archive as version 4 made it, without borders."""
    with pytest.MonkeyPatch.context() as before:
        before.setattr(schema, "border_of", lambda *_: ([], 0))
        before.setattr("archive.changes.FORMAT_VERSION", 4)
        before.setattr(layouts.Layout.__init__, "__defaults__", (4, SENTINEL2.product))
        written(path, parts)
    return Archive(path)
