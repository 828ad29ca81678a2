"""Overviews: what a record looks like from afar, by numpy and healpy from the cells alone."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from zarr.core.metadata.v3 import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

import store
from archive import layout as layouts
from archive import schema
from archive.arrays import zarr_array
from archive.storage import Bucket
from grid import BBox, Chunk, Tile
from healpix.ids import runs_to_ids
from store import Archive, ArchiveError
from tests.archive.aging import age
from tests.archive.test_contents import CHUNK, DAY, ORIGIN, TILE, cells_of, days, tree
from tests.sphere import tile_at

healpy = pytest.importorskip("healpy")

SIZE = (0.02, 0.02)
SQUARE = [tile_at(7.001 + x, 50.001 + y, SIZE) for x in (0, 0.02) for y in (0, 0.02)]


def cells_with_gaps(tile: Tile, seed: int) -> xr.Dataset:
    """Cells of which some were seen in VV only."""
    cells = cells_of(tile, seed)
    cells["VH"].values[np.random.default_rng(seed).random(cells.sizes["cells"]) < 0.2] = np.nan
    return cells


def ids_of(cells: xr.Dataset) -> np.ndarray:
    return runs_to_ids(cells.start_ipix.values, cells.run_len.values).astype(np.int64)


def by_parent(parts: list[xr.Dataset], band: str, steps: int) -> dict[int, tuple[float, int, int]]:
    """Mean, weight and count by id, straight from the definition."""
    found: dict[int, tuple[float, int, int]] = {}
    ids = np.concatenate([ids_of(part) for part in parts]) >> 2 * steps
    values = np.concatenate([part[band].values.astype(float) for part in parts])
    count = np.concatenate([part["count"].values.astype(int) for part in parts])
    for parent in np.unique(ids):
        value, n = values[ids == parent], count[ids == parent]
        there = np.isfinite(value) & (n > 0)
        weight = int(n[there].sum())
        mean = float((value[there] * n[there]).sum()) / weight if weight else np.nan
        found[int(parent)] = mean, weight, int(n.sum())
    return found


def merged(parts: list[xr.Dataset], band: str) -> dict[int, tuple[float, int, int]]:
    """Overviews of several tiles made one, as their weights say."""
    found: dict[int, tuple[float, int, int]] = {}
    for part in parts:
        weights = part.get(f"{band}_count", part["count"]).values.astype(int)
        rows = (ids_of(part), part[band].values, weights, part["count"].values)
        for cell, value, weight, n in zip(*rows, strict=True):
            assert np.isnan(value) == (weight == 0)
            mean, total, seen = found.get(cell, (np.nan, 0, 0))
            if weight:
                mean = (np.nan_to_num(mean) * total + float(value) * weight) / (total + weight)
            found[int(cell)] = mean, total + int(weight), seen + int(n)
    return found


@pytest.fixture(scope="module")
def square(tmp_path_factory):
    """Four tiles around a corner, one record each."""
    archive = Archive(tmp_path_factory.mktemp("square") / "a")
    cells = [cells_with_gaps(tile, seed) for seed, tile in enumerate(SQUARE)]
    for tile, record in zip(SQUARE, cells, strict=True):
        archive.write(Chunk(tile, DAY), record, ORIGIN)
    return archive, cells


@pytest.mark.parametrize("level", [16, 14, 12])
@pytest.mark.parametrize("band", ["VV", "VH"])
def test_a_cell_is_the_weighted_mean_of_its_children_across_tiles(square, level, band):
    archive, cells = square
    views = archive.views()
    assert {view.levels(Chunk(view.tile, DAY)) for view in views} == {(18, 16, 14, 12)}
    parts = [view.read(Chunk(view.tile, DAY), level=level) for view in views]
    found, wanted = merged(parts, band), by_parent(cells, band, 18 - level)
    assert found.keys() == wanted.keys()
    assert sum(map(len, map(ids_of, parts))) > len(wanted), "neighbours share cells"
    for cell, (mean, weight, count) in wanted.items():
        assert found[cell][1:] == (weight, count)
        np.testing.assert_allclose(found[cell][0], mean, rtol=1e-6)


@pytest.mark.parametrize("level", [16, 14, 12])
def test_each_tile_has_its_share(square, level):
    archive, cells = square
    for tile, record in zip(SQUARE, cells, strict=True):
        found = archive.read(Chunk(tile, DAY), level=level)
        assert int(found["count"].sum()) == int(record["count"].sum())
        assert (found.attrs["nside"], found["count"].dtype) == (2**level, np.uint32)
        assert found.VV.dtype == np.float32
        assert found.attrs["ellipsoid"] == "sphere"
        assert "VV_count" not in found
        energy = float((record.VH.astype(float) * record["count"]).sum())
        assert float((found.VH.astype(float) * found.VH_count).sum()) == pytest.approx(energy)
        for name in ("VV", "VH"):
            wanted = by_parent([record], name, 18 - level)
            np.testing.assert_array_equal(ids_of(found), list(wanted))
            means = [mean for mean, *_ in wanted.values()]
            np.testing.assert_allclose(found[name].values, means, rtol=1e-6)


@pytest.mark.parametrize("level", [16, 14, 12])
@pytest.mark.parametrize(
    "box",
    [
        BBox(7.0, 50.0, 7.04, 50.04),
        BBox(7.003, 50.011, 7.013, 50.031),
        BBox(6, 49, 8, 51),
        BBox(7.1, 49, 6.9, 51),
        BBox(7.005, 50.0, 6.995, 50.02),
    ],
)
def test_a_box_gives_the_cells_whose_own_centre_is_in_it(square, box, level):
    archive, cells = square
    for tile, record in zip(SQUARE, cells, strict=True):
        ids = np.unique(ids_of(record) >> 2 * (18 - level))
        lon, lat = healpy.pix2ang(2**level, ids, nest=True, lonlat=True)
        inside = (lon >= box.west) & (lon < box.east)
        if box.west > box.east:
            inside = (lon >= box.west) | (lon < box.east)
        inside &= (lat >= box.south) & (lat < box.north)
        found = archive.read(Chunk(tile, DAY), box, level)
        whole = archive.read(Chunk(tile, DAY), level=level)
        np.testing.assert_array_equal(ids_of(found), ids[inside])
        np.testing.assert_array_equal(found.VV.values, whole.VV.values[inside])
        np.testing.assert_array_equal(found["count"].values, whole["count"].values[inside])


@pytest.mark.parametrize(
    ("tile", "nside"),
    [
        (tile_at(179, -1, (2, 2)), 2**10),
        (tile_at(-180, 41, (90, 2)), 2**8),
        (tile_at(10, 89, (180, 2)), 2**9),
    ],
)
def test_boxes_at_the_date_line_and_at_the_pole(tmp_path, tile, nside):
    archive, chunk = Archive(tmp_path / "a"), Chunk(tile, DAY)
    archive.write(chunk, cells_of(tile, nside=nside))
    for level in archive.views()[0].levels(chunk)[1:]:
        ids = ids_of(archive.read(chunk, level=level))
        lon, lat = healpy.pix2ang(2**level, ids, nest=True, lonlat=True)
        lon = (lon + 180) % 360 - 180
        for box in (BBox(-180, -90, 180, 90), BBox(150, -80, -100, 90), BBox(-180, 0, 180, 89.7)):
            west, east = lon >= box.west, lon < box.east
            inside = (west | east) if box.west > box.east else (west & east)
            inside &= (lat >= box.south) & ((lat < box.north) | (box.north == 90))
            np.testing.assert_array_equal(ids_of(archive.read(chunk, box, level)), ids[inside])


def test_a_band_that_is_whole_takes_no_room_for_what_is_missing(square, tmp_path):
    archive, _ = square
    there = {key.split("/c/")[0] for key in tree(archive.path / SQUARE[0].name)}
    assert {"16/VH_missing", "16/n"} <= there
    assert "16/VV_missing" not in there
    whole = Archive(tmp_path / "a")
    whole.write(CHUNK, cells_of())
    assert not [key for key in tree(whole.path) if "missing/c/" in key]
    sizes = json.loads(xr.open_zarr(whole.path / TILE.name).provenance.values[0])["bytes"]
    assert (sizes["16/VV_missing"], sizes["16/VV"] > 0) == (0, True)
    assert set(whole.read(CHUNK, level=14, variables=["VH"])) == {"VH", "start_ipix", "run_len"}


def test_what_nobody_saw_is_nan_with_count_0(tmp_path):
    archive, cells = Archive(tmp_path / "a"), cells_of()
    cells["VH"].values[:] = np.nan
    cells["VV"].values[2000:] = np.nan
    cells["count"].values[2000:] = 0
    archive.write(CHUNK, cells)
    found = archive.read(CHUNK, level=16)
    unseen = found["count"].values == 0
    assert unseen.any()
    np.testing.assert_array_equal(np.isnan(found.VV.values), unseen)
    assert np.isnan(found.VH.values).all()
    assert not found.VH_count.any()
    assert "VV_count" not in found
    assert archive.verify() == []


@pytest.mark.parametrize(
    ("nside", "levels"), [(2**5, (5, 3, 1)), (2**6, (6, 4, 2, 0)), (2, (1,)), (4, (2, 0))]
)
def test_coarse_archives_have_as_many_as_there_are_levels(tmp_path, nside, levels):
    tile = tile_at(10, 10, (90, 45))
    archive, cells = Archive(tmp_path / "a"), cells_of(tile, nside=nside)
    archive.write(Chunk(tile, DAY), cells)
    [view] = archive.views()
    assert view.levels(Chunk(tile, DAY)) == levels
    for level in levels[1:]:
        found = view.read(Chunk(tile, DAY), level=level)
        wanted = by_parent([cells], "VV", levels[0] - level)
        np.testing.assert_allclose(found.VV.values, [v for v, *_ in wanted.values()], rtol=1e-6)
    with pytest.raises(ArchiveError, match="has no level 9; it has"):
        view.read(Chunk(tile, DAY), level=9)
    assert archive.verify() == []


def test_rounded_archives_have_rounded_overviews(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "KEEP_BITS", 9)
    archive = Archive(tmp_path / "a")
    archive.write(CHUNK, cells_of())
    values = archive.read(CHUNK, level=16).VV.values
    assert not (values.view(np.uint32) & ((1 << 14) - 1)).any()
    wanted = [mean for mean, *_ in by_parent([cells_of()], "VV", 2).values()]
    np.testing.assert_allclose(values, wanted, rtol=2**-10)


def test_damage_in_an_overview_is_named_and_hurts_nothing_else(tmp_path):
    archive = Archive(tmp_path / "a")
    for seed, chunk in enumerate(days(2)):
        archive.write(chunk, cells_of(seed=seed), ORIGIN)
    path = archive.path / TILE.name / "16" / "VV" / "c" / "1" / "0"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    assert [str(damage) for damage in archive.verify()] == [
        f"{days(2)[1]}, 16/VV: the checksum does not match"
    ]
    xr.testing.assert_identical(archive.read(days(2)[1]), cells_of(seed=1))
    archive.read(days(2)[1], level=14)
    with pytest.raises(ArchiveError, match="16/VV: the checksum does not match"):
        archive.read(days(2)[1], level=16)
    ids = archive.path / TILE.name / "14" / "cell_ids" / "c" / "0"
    whole = ids.read_bytes()
    ids.write_bytes(whole[:-1] + b"?")
    assert str(archive.verify()[0]).startswith(f"{TILE.name}, 14/cell_ids: the checksum")
    archive.write(days(2)[1], cells_of(seed=1), ORIGIN, replace=True)
    assert archive.verify() == []
    assert ids.read_bytes() == whole


def test_bytes_and_removals_include_them(tmp_path):
    archive = Archive(tmp_path / "a")
    for seed, chunk in enumerate(days(2)):
        archive.write(chunk, cells_of(seed=seed), ORIGIN)
    files = list(archive.path.glob("*/**/c/1/0"))
    assert any("/16/" in path.as_posix() for path in files)
    assert archive.records().bytes[1] == sum(path.stat().st_size for path in files)
    archive.remove(days(2)[1])
    assert not any(path.exists() for path in files)
    archive.write(days(2)[1], cells_of(seed=1), ORIGIN)
    assert archive.read(days(2)[1], level=12)["count"].sum() == cells_of(seed=1)["count"].sum()
    archive.remove_tile(TILE)
    assert {path.name for path in (archive.path / TILE.name).iterdir()} <= {".lock", ".next-slot"}


# --- for others ---


@pytest.mark.parametrize("keep_bits", [None, 9])
@pytest.mark.parametrize("inner", [131_072, 1000])
def test_shards_are_those_that_zarr_python_writes(tmp_path, monkeypatch, keep_bits, inner):
    monkeypatch.setattr(store, "KEEP_BITS", keep_bits)
    monkeypatch.setattr(schema, "INNER", inner)
    monkeypatch.setattr(store, "PIX_MAX", 10 * 131_072 if inner > 1000 else 8000)
    archive, cells = Archive(tmp_path / "a"), cells_with_gaps(TILE, 3)
    for name, fill in (("VV", np.nan), ("VH", np.nan), ("count", 0)):
        cells[name].values[900:3100] = fill
    archive.write(CHUNK, cells)
    group = archive.load(TILE)
    assert group is not None
    for name in group.cell_arrays:
        values = zarr.open_group(archive.path / TILE.name, mode="r")[name][0]  # type: ignore[index]
        files: dict[str, Any] = {}
        zarr_array(MemoryStore(files), group, name)[0] = np.asarray(values)
        there = archive.path / group.shard(name, 0)
        wanted = {group.shard(name, 0): there.read_bytes()} if there.exists() else {}
        assert {key: data.to_bytes() for key, data in files.items()} == wanted


@pytest.mark.parametrize("number", [1, 3])
def test_rows_are_those_that_zarr_python_writes(tmp_path, monkeypatch, number):
    monkeypatch.setattr(schema, "ROWS", 2)
    archive = Archive(tmp_path / "a")
    for chunk in days(number):
        archive.write(chunk, cells_of(chunk.tile, 3), ORIGIN)
    group = archive.load(TILE)
    assert group is not None
    rows = [name for name, of in group.arrays.items() if of.get("dimension_names") == ["time"]]
    assert len(rows) == 7
    there = zarr.open_group(archive.path / TILE.name, mode="r")
    for name in rows:
        files: dict[str, Any] = {}
        place = StorePath(MemoryStore(files), f"{TILE.name}/{name}")
        about = ArrayV3Metadata.from_dict(dict(group.arrays[name]))
        array = zarr.Array(zarr.AsyncArray(about, place, {"write_empty_chunks": True}))
        array[:] = np.asarray(there[name][:])  # type: ignore[index]
        assert len(files) == (number + 1) // 2
        for key, data in files.items():
            assert (archive.path / key).read_bytes() == data.to_bytes()


def test_plain_xarray_zarr_and_xdggs_find_them(square):
    import xdggs

    archive, _ = square
    path = archive.path / SQUARE[0].name
    record = archive.read(Chunk(SQUARE[0], DAY), level=16)
    group = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(group["16/VV"][0], record.VV.values)  # type: ignore[index]
    tile = xr.open_zarr(path, group="16")
    np.testing.assert_array_equal(tile.n[0].values, record["count"].values)
    np.testing.assert_array_equal(tile.cell_ids.values, ids_of(record))
    decoded = xdggs.decode(tile)
    assert decoded.dggs.grid_info.level == 16
    centres = decoded.dggs.cell_centers()
    lon, lat = healpy.pix2ang(2**16, ids_of(record), nest=True, lonlat=True)
    np.testing.assert_allclose(centres.longitude.values, lon, atol=1e-9)
    np.testing.assert_allclose(centres.latitude.values, lat, atol=1e-9)
    tree = xr.open_datatree(path, engine="zarr")
    assert set(tree.children) == {"16", "14", "12"}
    assert tree["14"].time.values[0] == np.datetime64(DAY)


@pytest.mark.parametrize("level", ["16", "14", "12"])
def test_an_overview_and_its_arrays_open_by_themselves(square, level):
    import xdggs

    archive, _ = square
    path = archive.path / SQUARE[0].name
    with xr.open_zarr(path / level) as alone, xr.open_zarr(path, group=level) as within:
        xr.testing.assert_identical(alone.load(), within.load())
        assert alone.sizes["time"] == 1
        assert xdggs.decode(alone).dggs.grid_info.level == int(level)
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        for name in within.variables:
            array = zarr.open_array(path / level / str(name), mode="r")
            np.testing.assert_array_equal(array[...], within[name].values)


# --- archives of before ---


def make_old(path) -> Archive:
    """An archive as version 1 made it: two records, no overviews."""
    with pytest.MonkeyPatch.context() as before:
        before.setattr(layouts, "OVERVIEWS", ())
        archive = Archive(path)
        for seed, chunk in enumerate(days(2)):
            archive.write(chunk, cells_of(seed=seed), ORIGIN)
    age(path, 1)
    return Archive(path)


def test_an_archive_of_before_is_read_as_ever(tmp_path):
    archive = make_old(tmp_path / "a")
    before = tree(tmp_path)
    [view] = archive.views()
    for seed, chunk in enumerate(days(2)):
        assert view.levels(chunk) == (18,)
        xr.testing.assert_identical(view.read(chunk), cells_of(seed=seed))
        with pytest.raises(ArchiveError, match="has no level 16; it has 18"):
            view.read(chunk, level=16)
    assert archive.verify() == []
    assert len(archive.records()) == 2
    assert tree(tmp_path) == before


def test_the_first_write_gives_an_archive_of_before_overviews(tmp_path):
    archive = make_old(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert archive.remove(days(2)[1])
    assert archive.write(days(3)[2], cells_of(seed=2), ORIGIN)
    layout = Archive(tmp_path / "a").layout
    assert layout is not None
    assert layout.version == layouts.FORMAT_VERSION
    assert replace(layout, version=1) == Archive(tmp_path / "b").layout
    [view] = archive.views()
    assert [view.levels(chunk) for chunk in view.chunks()] == [(18,), (18, 16, 14, 12)]
    xr.testing.assert_identical(view.read(days(2)[0]), cells_of(seed=0))
    fresh = Archive(tmp_path / "c")
    fresh.write(days(3)[2], cells_of(seed=2), ORIGIN)
    for level in (18, 16, 14, 12):
        found = view.read(days(3)[2], level=level)
        xr.testing.assert_identical(found, fresh.read(days(3)[2], level=level))
    assert archive.verify() == []
    assert xr.open_zarr(tmp_path / "a" / TILE.name, group="16").sizes["time"] == 3


@pytest.mark.parametrize("far", [False, True])
def test_overviews_of_before_get_metadata_of_their_own_with_the_next_write(far, tmp_path):
    place = f"memory://overviews-of-before-{tmp_path.name}" if far else tmp_path / "a"
    archive = Archive(place)
    archive.write(CHUNK, cells_of(), ORIGIN)
    own = [f"{TILE.name}/{level}/zarr.json" for level in (16, 14, 12)]
    own += [f"{TILE.name}/14/{name}/zarr.json" for name in ("VV", "n", "cell_ids", "crs")]
    for key in own:
        if isinstance(archive.files, Bucket):
            archive.files.discard([key])
        else:
            (archive.path / key).unlink()
    archive.write(days(2)[1], cells_of(seed=1), ORIGIN)
    for key in own:
        data = archive.files.get(key)
        assert data is not None
        about = json.loads(bytes(data))
        if "time" in about.get("dimension_names", ()):
            assert about["shape"][0] == 2
