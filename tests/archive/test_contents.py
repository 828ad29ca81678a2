"""The archive: what goes in comes out, and what does not fit is refused."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

import store
from archive import layout as layouts
from archive import schema
from archive.storage import Folder
from grid import BBox, Chunk, Provenance, Tile
from healpix.boxes import box_runs
from healpix.ids import runs_to_ids
from store import Archive, ArchiveError, NoRecordError
from tests.rounds import rounds, torture
from tests.sphere import centres_of, tile_at

TILE = tile_at(7.001, 50.001, (0.02, 0.02))
DAY = dt.date(2026, 1, 20)
CHUNK = Chunk(TILE, DAY)
ORIGIN = Provenance("sandbox", "SENTINEL1_GRD", "j-7", "2026-01-21T03:04:05Z", True)


def cells_of(
    tile: Tile = TILE,
    seed: int = 0,
    nside: int = 2**18,
    ellipsoid: str = "sphere",
    bands: tuple[str, ...] = ("VV", "VH"),
    seen: float = 0.9,
) -> xr.Dataset:
    """A tile's cells with random values; this share of them seen."""
    return _made_up(tile, seed, nside, ellipsoid, bands, seen).copy(deep=True)


@cache
def _made_up(tile, seed, nside, ellipsoid, bands, seen) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    start, length = box_runs(tile.bbox, nside, ellipsoid)
    size = int(length.sum())
    count = np.where(rng.random(size) < seen, rng.integers(1, 9, size), 0).astype(np.uint16)
    values: dict[str, Any] = {
        band: ("cells", np.where(count > 0, rng.gamma(4.4, 0.02, size), np.nan).astype(np.float32))
        for band in bands
    }
    values |= {"count": ("cells", count)}
    values |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    attributes = {"nside": nside, "ellipsoid": ellipsoid, "ordering": "nested"}
    return xr.Dataset(values, attrs=attributes | {"source": "synthetic, for a test"})


def days(number: int) -> list[Chunk]:
    return [replace(CHUNK, day=DAY + dt.timedelta(days=i)) for i in range(number)]


def tree(path: Path) -> dict[str, bytes]:
    """All files below a folder, apart from locks."""
    files = (p for p in sorted(path.rglob("*")) if p.is_file() and p.name != layouts.LOCK)
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in files}


# --- in and out ---


@pytest.mark.parametrize("ellipsoid", ["sphere", "WGS84"])
@pytest.mark.parametrize(
    ("tile", "nside"),
    [
        (TILE, 2**18),
        (tile_at(7.1, 50.1, (0.2, 0.2)), 2**18),  # several inner chunks
        (tile_at(-71, -33, (1, 0.5)), 2**12),
        (tile_at(179.99, 0, (0.02, 0.02)), 2**16),
        (tile_at(10, 89.9, (30, 30)), 2**5),
    ],
)
def test_a_record_comes_out_as_it_went_in(tmp_path, tile, nside, ellipsoid):
    cells = cells_of(tile, nside=nside, ellipsoid=ellipsoid)
    archive = Archive(tmp_path / "a")
    assert archive.write(Chunk(tile, DAY), cells)
    xr.testing.assert_identical(Archive(tmp_path / "a").read(Chunk(tile, DAY)), cells)
    assert Archive(tmp_path / "a").verify() == []


def test_nothing_is_on_disk_before_the_first_write(tmp_path):
    archive = Archive(tmp_path / "deep" / "a")
    assert archive.layout is None
    assert not archive.has(CHUNK)
    assert [*archive.chunks(), *archive.tiles(), *archive.verify()] == []
    assert len(archive.records()) == 0
    assert not archive.remove(CHUNK)
    assert not archive.remove_tile(TILE)
    archive.require(nside=1, ellipsoid="WGS84", chunk_size=(1, 1), bands=("HH",))
    with pytest.raises(NoRecordError, match="no record of E007.0_N50.0"):
        archive.read(CHUNK)
    assert list(tmp_path.iterdir()) == []


def test_writing_twice_is_as_writing_once(tmp_path):
    archive = Archive(tmp_path / "a")
    assert archive.write(CHUNK, cells_of(), ORIGIN)
    before = tree(tmp_path)
    assert not archive.write(CHUNK, cells_of(seed=1))
    assert tree(tmp_path) == before


def test_records_are_told_apart_by_tile_day_and_orbit(tmp_path):
    archive = Archive(tmp_path / "a")
    east = tile_at(7.021, 50.001, (0.02, 0.02))
    chunks = [
        Chunk(tile, day, orbit)
        for tile in (east, TILE)
        for day, orbit in (
            (DAY, "descending"),
            (DAY, "any"),
            (DAY, "ascending"),
            (dt.date(1970, 1, 1), "any"),
            (dt.date(1969, 12, 31), "ascending"),
        )
    ]
    for seed, chunk in enumerate(chunks):
        assert archive.write(chunk, cells_of(chunk.tile, seed))
    assert archive.chunks() == sorted(chunks)
    assert archive.tiles() == [TILE, east]
    assert archive.chunks(east) == sorted(c for c in chunks if c.tile == east)
    for seed, chunk in enumerate(chunks):
        xr.testing.assert_identical(archive.read(chunk), cells_of(chunk.tile, seed))
    assert not archive.has(replace(CHUNK, day=DAY + dt.timedelta(days=1)))
    assert not archive.has(Chunk(Tile(7.0, 50.0, 8.0, 50.5), DAY))  # a namesake of another size


def test_rows_go_on_in_a_second_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "ROWS", 3)
    archive = Archive(tmp_path / "a")
    for seed, chunk in enumerate(days(8)):
        archive.write(chunk, cells_of(seed=seed), ORIGIN)
    archive.remove(days(8)[1])
    archive = Archive(tmp_path / "a")
    assert archive.chunks() == [days(8)[0], *days(8)[2:]]
    assert list(archive.records().job_id) == ["j-7"] * 7
    xr.testing.assert_identical(archive.read(days(8)[6]), cells_of(seed=6))
    assert {p.name for p in (tmp_path / "a" / TILE.name / "time" / "c").iterdir()} == set("012")


def test_cells_that_nobody_saw_take_no_room(tmp_path):
    tile = tile_at(7.1, 50.1, (0.2, 0.2))
    dense, sparse = cells_of(tile), cells_of(tile)
    half = sparse.sizes["cells"] // 2
    for name in ("VV", "VH", "count"):
        sparse[name].values[half:] = 0 if name == "count" else np.nan
    sparse["VH"].values[:] = np.nan  # a band without a single value
    archive = Archive(tmp_path / "a")
    archive.write(days(2)[0], dense)
    archive.write(days(2)[1], sparse)
    xr.testing.assert_identical(archive.read(days(2)[1]), sparse)
    records = archive.records()
    assert records.bytes[1] < 0.3 * records.bytes[0]
    assert list(records.bands) == ["VV,VH", "VV"]
    assert archive.verify() == []
    box = BBox(7.05, 50.05, 7.06, 50.15)
    assert np.isnan(archive.read(days(2)[1], box).VH).all()


# --- boxes ---


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """Archives of one record each: over several inner chunks, at 180 degrees, at the pole."""
    found = {}
    for name, tile, nside in (
        ("wide", tile_at(7.1, 50.1, (0.2, 0.2)), 2**18),
        ("date line", tile_at(179, -1, (2, 2)), 2**10),
        ("pole", tile_at(10, 89, (180, 2)), 2**9),
        ("turned", tile_at(-180, 41, (90, 2)), 2**8),
    ):
        for ellipsoid in ("sphere", "WGS84"):
            archive = Archive(tmp_path_factory.mktemp("boxes") / name)
            cells = cells_of(tile, nside=nside, ellipsoid=ellipsoid)
            archive.write(Chunk(tile, DAY), cells)
            ids = runs_to_ids(cells.start_ipix.values, cells.run_len.values)
            lon, lat = centres_of(ids, nside, ellipsoid)
            found[name, ellipsoid] = archive, tile, cells, ids, lon, lat
    return found


@given(
    st.sampled_from(["wide", "date line", "pole", "turned"]),
    st.sampled_from(["sphere", "WGS84"]),
    st.lists(st.floats(-0.3, 1.3) | st.sampled_from([0.0, 1.0]), min_size=4, max_size=4),
    st.booleans(),
)
@example("turned", "WGS84", [0.0, 0.5, 0.0, 1.0], False)  # centres on the edge
@torture
@settings(deadline=None, max_examples=rounds(60))
def test_a_box_gives_exactly_the_cells_whose_centre_is_in_it(boxes, name, ellipsoid, parts, around):
    archive, tile, cells, ids, lon, lat = boxes[name, ellipsoid]
    west, east = sorted(tile.west + p * tile.size[0] for p in parts[:2])
    south, north = sorted(tile.south + p * tile.size[1] for p in parts[2:])
    west, east = ((x + 180) % 360 - 180 if abs(x) > 180 else x for x in (west, east))
    if around:
        west, east = east, west
    south, north = max(south, -90.0), min(north, 90.0)
    if west == east or south >= north:
        return
    inside = (lon >= west) & (lon < east) if west < east else (lon >= west) | (lon < east)
    inside &= (lat >= south) & (lat < north)
    found = archive.read(Chunk(tile, DAY), BBox(west, south, east, north))
    ids_found = runs_to_ids(found.start_ipix.values, found.run_len.values)
    np.testing.assert_array_equal(ids_found, ids[inside])
    for variable in ("VV", "VH", "count"):
        np.testing.assert_array_equal(found[variable].values, cells[variable].values[inside])
    assert found.attrs == cells.attrs


def test_a_box_by_healpy(boxes):
    healpy = pytest.importorskip("healpy")
    archive, tile, cells, ids, *_ = boxes["wide", "sphere"]
    lon, lat = healpy.pix2ang(2**18, ids.astype(np.int64), nest=True, lonlat=True)
    inside = (lon >= 7.05) & (lon < 7.1) & (lat >= 50.1) & (lat < 50.15)
    found = archive.read(Chunk(tile, DAY), BBox(7.05, 50.1, 7.1, 50.15))
    np.testing.assert_array_equal(found.VV.values, cells.VV.values[inside])


def test_a_small_box_reads_a_small_part_of_the_file(boxes, monkeypatch):
    archive, tile, *_ = boxes["wide", "sphere"]
    read = []
    real = Folder.fetch

    def counting(self, parts):
        found = real(self, parts)
        read.append(sum(len(data) for data in found if data is not None))
        return found

    monkeypatch.setattr(Folder, "fetch", counting)
    archive.read(Chunk(tile, DAY), BBox(7.05, 50.1, 7.06, 50.11))
    few = sum(read)
    read.clear()
    archive.read(Chunk(tile, DAY))
    assert few < 0.6 * sum(read)


# --- what it says of itself ---


def test_records_say_where_they_come_from(tmp_path):
    archive = Archive(tmp_path / "a")
    unknown, known = days(2)
    cells = cells_of(seed=3, seen=0.5)
    archive.write(known, cells, ORIGIN)
    archive.write(unknown, cells_of())
    for path in (tmp_path / "a" / TILE.name).glob("**/c/*/0"):
        path.unlink()  # so no pixel is looked at
    records = archive.records()
    assert list(records.columns) == list(store.RECORD_COLUMNS)
    assert list(records.day) == [unknown.day, known.day]
    row = records.iloc[1].to_dict()
    origin = asdict(ORIGIN)
    for name, value in origin.items():
        assert row[name] == (list(value) if isinstance(value, tuple) else value)
    assert row["tile"] == TILE.name
    assert row["orbit"] == "any"
    assert row["bands"] == "VV,VH"
    assert row["seen"] == pytest.approx(float((cells["count"] > 0).mean()))
    assert records.job_id[0] is None
    assert records.synthetic[0]  # as the source says


def test_records_of_some_tiles(tmp_path):
    archive = Archive(tmp_path / "a")
    tiles = [TILE, tile_at(7.021, 50.001, (0.02, 0.02))]
    for tile in tiles:
        archive.write(Chunk(tile, DAY), cells_of(tile))
    assert list(archive.records().tile) == [tile.name for tile in tiles]
    assert list(archive.records(tiles[1:]).tile) == [tiles[1].name]
    assert len(archive.records([])) == 0


def test_bytes_are_those_of_the_files(tmp_path):
    archive = Archive(tmp_path / "a")
    archive.write(CHUNK, cells_of())
    files = (tmp_path / "a" / TILE.name).glob("**/c/0/0")
    assert archive.records().bytes[0] == sum(path.stat().st_size for path in files)


def test_an_archive_of_another_kind_is_refused_with_both_values(tmp_path):
    archive = Archive(tmp_path / "a")
    archive.write(CHUNK, cells_of())
    same: dict[str, Any] = {"nside": 2**18, "ellipsoid": "sphere", "chunk_size": (0.02, 0.02)}
    archive.require(**same, bands=("VH", "VV"))
    changes: list[tuple[dict[str, Any], str, str]] = [
        ({"nside": 2**17}, "262144", "131072"),
        ({"ellipsoid": "WGS84"}, "sphere", "WGS84"),
        ({"chunk_size": [1, 0.5]}, "0.02", "0.5"),
        ({"bands": ("VV",)}, "VH", "VV"),
        ({"bands": ("HH", "HV")}, "VV", "HH"),
    ]
    for change, here, asked in changes:
        for opened in (archive, Archive(tmp_path / "a")):
            with pytest.raises(ArchiveError) as error:
                opened.require(**({"bands": ("VV", "VH")} | same | change))
            assert here in str(error.value)
            assert asked in str(error.value)
    before = tree(tmp_path)
    wide = tile_at(7, 50, (1, 0.5))
    for chunk, cells in (
        (CHUNK, cells_of(nside=2**17)),
        (CHUNK, cells_of(ellipsoid="WGS84")),
        (CHUNK, cells_of(bands=("VV",))),
        (Chunk(wide, DAY), cells_of(wide, nside=2**8)),
    ):
        with pytest.raises(ArchiveError, match="was made with"):
            archive.write(chunk, cells)
    assert tree(tmp_path) == before


def test_an_archive_is_read_by_its_own_layout(tmp_path, monkeypatch):
    tile = tile_at(7.001, 50.001, (0.5, 0.25))
    with monkeypatch.context() as other:
        other.setattr(store, "PIX_MAX", 3000)
        other.setattr(store, "RUNS_MAX", 300)
        other.setattr(schema, "INNER", 500)
        other.setattr(schema, "ROWS", 2)
        archive = Archive(tmp_path / "a")
        cells = [cells_of(tile, seed, 2**13, "WGS84", ("HH",)) for seed in range(3)]
        for chunk, record in zip(days(3), cells, strict=True):
            archive.write(replace(chunk, tile=tile), record)
    archive = Archive(tmp_path / "a")
    assert archive.layout is not None
    assert (archive.layout.nside, archive.layout.ellipsoid) == (2**13, "WGS84")
    assert (archive.layout.chunk_size, archive.layout.bands) == ((0.5, 0.25), ("HH",))
    assert (archive.layout.pix_max, archive.layout.runs_max) == (3000, 300)
    for chunk, record in zip(days(3), cells, strict=True):
        xr.testing.assert_identical(archive.read(replace(chunk, tile=tile)), record)
    archive.write(replace(days(4)[3], tile=tile), cells[0])
    xr.testing.assert_identical(archive.read(replace(days(4)[3], tile=tile)), cells[0])


def test_a_tile_size_is_kept_without_rounding_errors(tmp_path):
    for number, size in enumerate([(0.1, 0.1), (0.3, 0.2), (0.02, 0.02), (1, 0.5)]):
        for lon, lat in ((179.95, 9.95), (-0.001, -45.3), (66.666, 71.2)):
            tile = tile_at(lon, lat, size)
            archive = Archive(tmp_path / f"{number} {lon}")
            archive.write(Chunk(tile, DAY), cells_of(tile, nside=2**9 * (16 if size[0] < 1 else 1)))
            assert archive.layout is not None
            assert archive.layout.chunk_size == size
            assert archive.tiles() == [tile]
            assert archive.chunks() == [Chunk(tile, DAY)]


# --- what is refused ---


def test_what_is_no_archive_is_left_alone(tmp_path):
    full, file, other = tmp_path / "full", tmp_path / "file", tmp_path / "other"
    full.mkdir()
    (full / "thesis.docx").write_text("years of work")
    file.write_text("a file")
    xr.Dataset({"x": ("y", [1, 2])}).to_zarr(other, zarr_format=3, consolidated=False)
    before = tree(tmp_path)
    for path, word in ((full, "thesis.docx"), (file, "is a file"), (other, "no archive")):
        with pytest.raises(ArchiveError, match=word):
            Archive(path)
    late = tmp_path / "late"
    archive = Archive(late)
    late.mkdir()
    (late / "thesis.docx").write_text("just moved here")
    with pytest.raises(ArchiveError, match="not empty"):
        archive.write(CHUNK, cells_of())
    assert tree(tmp_path) == before | {"late/thesis.docx": b"just moved here"}


def test_an_empty_folder_becomes_an_archive(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".zarr.1234.partial.json").write_text("{")  # of a killed writer
    assert Archive(tmp_path / "a").layout is None
    assert Archive(tmp_path / "a").write(CHUNK, cells_of())


def test_a_newer_format_is_refused(tmp_path):
    Archive(tmp_path / "a").write(CHUNK, cells_of())
    path = tmp_path / "a" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["attributes"]["format_version"] += 1
    path.write_text(json.dumps(metadata))
    with pytest.raises(ArchiveError, match=r"version 6; .* up to 5"):
        Archive(tmp_path / "a")
    path.write_text("{")
    with pytest.raises(ArchiveError, match="damaged"):
        Archive(tmp_path / "a")


def _spoilt(**change) -> xr.Dataset:
    cells = cells_of()
    for name, value in change.items():
        if name in cells.attrs:
            cells.attrs[name] = value
        elif value is None:
            cells = cells.drop_vars(name)
        else:
            cells[name] = (cells[name].dims, value(cells[name].values))
    return cells


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"VV": lambda v: v.astype(np.float64)}, "VV must be .* float32; it is .*float64"),
        ({"count": None}, "count must be .* missing"),
        ({"count": lambda v: v.astype(np.int32)}, "uint16"),
        ({"run_len": lambda v: v.astype(np.int64)}, "uint32"),
        ({"start_ipix": lambda v: v[::-1]}, "overlap or are not in order"),
        ({"run_len": lambda v: np.where(np.arange(len(v)) == 3, 0, v).astype("u4")}, "empty"),
        ({"run_len": lambda v: v + np.uint32(1)}, "overlap|spell"),
        ({"start_ipix": lambda v: v + np.uint64(12 * 4**18)}, "beyond the sphere"),
        ({"nside": 3}, "power of 2"),
        ({"ellipsoid": "GRS80"}, "GRS80"),
        ({"ordering": "ring"}, "not nested"),
        ({"VV": None, "VH": None}, "no band"),
    ],
)
def test_cells_that_make_no_sense_are_refused(tmp_path, change, word):
    with pytest.raises(ArchiveError, match=word):
        Archive(tmp_path / "a").write(CHUNK, _spoilt(**change))
    assert list(tmp_path.iterdir()) == []


def test_too_many_cells_or_runs_are_refused_with_both_numbers(tmp_path, monkeypatch):
    cells = cells_of()
    for name, dim in (("PIX_MAX", "cells"), ("RUNS_MAX", "runs")):
        with monkeypatch.context() as small:
            small.setattr(store, name, cells.sizes[dim] - 1)
            with pytest.raises(ArchiveError, match=f"{cells.sizes[dim]} {dim}.*{name}"):
                Archive(tmp_path / "a").write(CHUNK, cells)
    assert list(tmp_path.iterdir()) == []


def test_a_tile_keeps_its_cells(tmp_path):
    archive = Archive(tmp_path / "a")
    archive.write(CHUNK, cells_of())
    other = cells_of()
    other = other.isel(cells=slice(1, None))
    other["start_ipix"].values[0] += 1
    other["run_len"].values[0] -= 1
    if other["run_len"].values[0] == 0:
        other = other.isel(runs=slice(1, None))
    before = tree(tmp_path)
    with pytest.raises(ArchiveError, match="5123 cells .* has 5124"):
        archive.write(days(2)[1], other)
    assert tree(tmp_path) == before


# --- rounding ---


def test_rounding_stays_within_its_bound(tmp_path, monkeypatch):
    cells = cells_of(tile_at(7.1, 50.1, (0.2, 0.2)))
    values = cells.VV.values
    values[:400_000] = 10 ** np.random.default_rng(1).uniform(-6, 4, 400_000)
    values[5] = np.frombuffer(b"\xff\xff\xff\x7f", np.float32)[0]  # a NaN of all ones
    cells["VH"].values[:] = np.float32(0)
    chunk = Chunk(tile_at(7.1, 50.1, (0.2, 0.2)), DAY)
    Archive(tmp_path / "whole").write(chunk, cells)
    monkeypatch.setattr(store, "KEEP_BITS", 9)
    Archive(tmp_path / "rounded").write(chunk, cells)
    monkeypatch.undo()
    archive = Archive(tmp_path / "rounded")
    assert archive.layout is not None
    assert archive.layout.keep_bits == 9
    rounded = archive.read(chunk)
    np.testing.assert_array_equal(np.isnan(rounded.VV), np.isnan(values))
    with np.errstate(invalid="ignore"):
        error = np.abs(10 * np.log10(rounded.VV.values.astype(float) / values.astype(float)))
    bound = 10 * np.log10(1 + 2**-10)  # half a step just above a power of 2
    assert 0.99 * bound < np.nanmax(error) <= bound * (1 + 1e-9)
    assert round(bound, 4) == 0.0042
    xr.testing.assert_identical(
        rounded.drop_vars(["VV"]), Archive(tmp_path / "whole").read(chunk).drop_vars(["VV"])
    )
    # The archive remembers, whatever the constant says today.
    later = replace(chunk, day=DAY + dt.timedelta(days=1))
    archive.write(later, cells)
    xr.testing.assert_identical(archive.read(later), rounded)
