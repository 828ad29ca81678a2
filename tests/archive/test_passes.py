"""When and by what the images of a record were taken: in a tile, and in archives of before."""

from __future__ import annotations

import datetime as dt
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr.storage
from hypothesis import given
from hypothesis import strategies as st

from archive.layout import FORMAT_VERSION
from archive.passes import NO_TIME, UNKNOWN, Passes, passes_of, together
from archive.storage import Bucket
from grid import Chunk, Tile
from store import Archive, NoRecordError
from tests.archive.aging import age
from tests.archive.test_contents import ORIGIN, TILE, cells_of, days, tree
from tests.archive.test_folder_writer import Stopper, kill_everywhere, posix
from tests.folders import copied
from tests.rounds import torture, turns

SECONDS = st.integers(1_400_000_000, 2_000_000_000)
SPAN = ("2026-01-20T17:16:40Z", "2026-01-20T17:17:05Z")
TIMED = replace(
    ORIGIN, relative_orbits=(88,), platforms=("sentinel-1a",), acquired=("/".join(SPAN),)
)
TILE_3 = Tile(7.0, 50.0, 8.0, 50.5)
KNOWN_3 = {  # of the archive of version 3, by what its provenance says
    ("2026-01-20", 1): ("2026-01-20T17:16:40", "2026-01-20T17:17:30", "sentinel-1a", 88),
    ("2026-01-20", 2): ("NaT", "NaT", "", 0),
    ("2026-01-08", 0): (
        "2026-01-08T05:42:00", "2026-01-08T17:17:05", "sentinel-1a+sentinel-1c", -1,
    ),
}  # fmt: skip


def iso(seconds: int, zone: str) -> str:
    return str(pd.Timestamp(seconds, unit="s", tz="UTC").tz_convert(zone).isoformat())


@given(
    st.lists(st.tuples(SECONDS, st.integers(0, 900)), min_size=1, max_size=5),
    st.sampled_from(["UTC", "Europe/Berlin", "America/Lima"]),
)
def test_several_images_last_from_the_first_begin_to_the_last_end(spans, zone):
    texts = [f"{iso(begin, zone)}/{iso(begin + long, 'UTC')}" for begin, long in spans]
    row = passes_of({"acquired": texts}).row
    assert row["acquired_begin"] == min(begin for begin, _ in spans)
    assert row["acquired_end"] == max(begin + long for begin, long in spans)


@given(st.lists(st.sets(st.integers(1, 175), max_size=3), min_size=1, max_size=4))
def test_the_orbit_of_several_records_is_known_if_that_of_each_is_and_is_one(orbits):
    found = together(passes_of({"relative_orbits": list(some)}) for some in orbits)
    every = set.union(*orbits)
    if not all(orbits):
        assert found.relative_orbit == 0
    else:
        assert found.relative_orbit == (next(iter(every)) if len(every) == 1 else -1)


@pytest.mark.parametrize(
    "about",
    [
        {}, {"acquired": []}, {"acquired": None}, {"acquired": ["yesterday"]},
        {"acquired": ["2026-01-20T17:17:05Z/2026-01-20T17:16:40Z"]},  # ends before it begins
        {"acquired": ["/".join(SPAN), "?"]},  # of one of two images it is not known
        {"platforms": [""], "relative_orbits": [None, "88", True, 0, 10**6]},
    ],
)  # fmt: skip
def test_what_is_not_said_or_not_understood_is_not_known(about):
    assert passes_of(about).row == UNKNOWN
    assert passes_of(about).texts == {"acquired_begin": None, "acquired_end": None}
    assert together([passes_of(about), passes_of(TIMED.__dict__)]) == Passes()
    assert together([]) == Passes()


def rows_of(tile: xr.Dataset) -> dict[tuple[str, int], tuple[Any, ...]]:
    """What plain xarray finds, by day and orbit."""
    there = tile.isel(time=tile.time.notnull().values)
    assert set(UNKNOWN) <= set(there.coords)
    known = (there[name].values for name in UNKNOWN)
    keys = zip(there.time.values, there.orbit.values, strict=True)
    return {
        (str(time)[:10], int(orbit)): (str(begin)[:19], str(end)[:19], str(platform), int(number))
        for (time, orbit), begin, end, platform, number in zip(keys, *known, strict=True)
    }


@pytest.fixture(params=["folder", "object store"])
def place(request, tmp_path):
    """Where an archive goes: a path, or a URL."""
    return tmp_path / "a" if request.param == "folder" else f"memory://passes/{tmp_path.name}"


def opened(archive: Archive, tile: Tile) -> xr.Dataset:
    """A tile by plain xarray."""
    place: Any = archive.path / tile.name if archive.is_folder else None
    if isinstance(archive.files, Bucket):
        store = zarr.storage.ObjectStore(archive.files._store, read_only=True)
        place = zarr.storage.StorePath(store, tile.name)
    found: xr.Dataset = xr.open_zarr(place, chunks=None)
    return found


def test_a_tile_says_when_and_by_what_its_images_were_taken(place):
    archive, chunks = Archive(place), days(3)
    origins = [TIMED, ORIGIN, replace(TIMED, platforms=("sentinel-1c", "sentinel-1a"))]
    for seed, (chunk, origin) in enumerate(zip(chunks, origins, strict=True)):
        assert archive.write(chunk, cells_of(seed=seed), origin)
    begin, end = (text.rstrip("Z") for text in SPAN)
    wanted = [(begin, end, "sentinel-1a", 88), ("NaT", "NaT", "", 0)]
    wanted += [(begin, end, "sentinel-1a+sentinel-1c", 88)]
    tile = opened(archive, TILE)
    assert list(rows_of(tile).values()) == wanted
    assert tile.acquired_begin.dtype.kind == tile.acquired_end.dtype.kind == "M"
    assert archive.verify() == []
    assert archive.remove(chunks[0])
    assert archive.write(chunks[0], cells_of(), ORIGIN)
    assert list(rows_of(opened(archive, TILE)).values()) == [*wanted[1:], wanted[1]]
    assert archive.verify() == []


def test_rows_go_on_in_further_files(place, monkeypatch):
    monkeypatch.setattr("archive.schema.ROWS", 2)
    archive, cells = Archive(place), cells_of()
    for chunk in days(5):
        text = f"{chunk.day}T05:00:00Z/{chunk.day}T05:00:25Z"
        archive.write(chunk, cells, replace(TIMED, acquired=(text,)))
    found = rows_of(opened(archive, TILE))
    assert [begin for begin, *_ in found.values()] == [f"{day}T05:00:00" for day, _ in found]
    assert archive.verify() == []


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_damaged_rows_are_named_and_mended_by_the_next_write(tmp_path, name):
    archive = Archive(tmp_path)
    archive.write(days(1)[0], cells_of(), TIMED)
    before = rows_of(opened(archive, TILE))
    (tmp_path / TILE.name / name / "c" / "0").write_bytes(b"rot")
    [damage] = archive.verify()
    assert damage.variable == name
    assert "the next write to the tile mends it" in damage.reason
    xr.testing.assert_identical(archive.read(days(1)[0]), cells_of())
    archive.write(days(2)[1], cells_of(seed=1), ORIGIN)
    assert archive.verify() == []
    assert before.items() <= rows_of(opened(archive, TILE)).items()


def test_where_the_provenance_is_lost_the_rows_are_kept(tmp_path):
    archive = Archive(tmp_path)
    archive.write(days(1)[0], cells_of(), TIMED)
    before = rows_of(opened(archive, TILE))
    (tmp_path / TILE.name / "provenance" / "c" / "0").write_bytes(b"rot")
    archive.write(days(2)[1], cells_of(seed=1), ORIGIN)
    assert before.items() <= rows_of(opened(archive, TILE)).items()


# --- a tile by its documented opener ---


def test_a_tile_is_opened_in_the_order_of_time_and_a_period_is_selected(place):
    archive, chunks = Archive(place), days(6)
    both = [replace(chunks[1], orbit=orbit) for orbit in ("descending", "ascending")]
    for seed, chunk in enumerate([chunks[4], *both, chunks[0], chunks[5]]):
        archive.write(chunk, cells_of(seed=seed), TIMED if seed % 2 else ORIGIN)
    archive.remove(chunks[5])
    archive.write(chunks[0], cells_of(seed=7), TIMED, replace=True)
    tile = archive.open(TILE)
    xr.testing.assert_identical(archive.open(TILE.name), tile)
    there = archive.chunks()
    assert [str(time)[:10] for time in tile.time.values] == [str(chunk.day) for chunk in there]
    assert tile.indexes["time"].is_monotonic_increasing
    for i, chunk in enumerate(there):
        record = archive.read(chunk)
        for name in ("VV", "VH", "count"):
            np.testing.assert_array_equal(tile[name][i].values, record[name].values)
    some = tile.sel(time=slice(str(chunks[1].day), str(chunks[3].day)))
    assert some.sizes["time"] == 2
    assert [*some.orbit.values] == [1, 2]
    by_begin = tile.swap_dims(time="acquired_begin")
    assert by_begin.relative_orbit.sel(acquired_begin="2026-01-20").size
    records = archive.records()
    for name in ("acquired_begin", "acquired_end"):
        told = pd.DatetimeIndex(records[name]).tz_localize(None).to_numpy()
        np.testing.assert_array_equal(tile[name].values.astype(told.dtype), told)


def test_a_tile_without_a_record_is_not_opened(place):
    archive = Archive(place)
    with pytest.raises(NoRecordError, match="There is no archive"):
        archive.open(TILE.name)
    archive.write(days(1)[0], cells_of(), TIMED)
    with pytest.raises(NoRecordError, match="has no record of E007.0_N51.0"):
        archive.open("E007.0_N51.0")
    with pytest.raises(ValueError, match="is no tile name"):
        archive.open("here")
    archive.remove(days(1)[0])
    with pytest.raises(NoRecordError, match=f"has no record of {TILE.name}"):
        archive.open(TILE)


# --- archives of before ---


@pytest.fixture(scope="module")
def of_version_3(tmp_path_factory):
    """An archive that the program wrote when its format was of version 3; three records."""
    path = tmp_path_factory.mktemp("before") / "a"
    zipfile.ZipFile(Path(__file__).with_name("version3.zip")).extractall(path)
    return path


def cells_3(seed: int) -> xr.Dataset:
    return cells_of(TILE_3, seed, nside=2**12)


def test_an_archive_of_version_3_is_read_and_raised_by_the_next_write(of_version_3, place):
    """No file of its records changes; what their provenance says becomes rows."""
    if isinstance(place, Path):
        copied(of_version_3, place)
    else:
        Bucket(place).put_all(tree(of_version_3).items())
    archive, old = Archive(place), tree(of_version_3)
    chunks = archive.chunks()
    records = archive.records()
    for seed, chunk in enumerate([chunks[1], chunks[2], chunks[0]]):
        xr.testing.assert_identical(archive.read(chunk), cells_3(seed))
    assert archive.verify() == []
    new = Chunk(TILE_3, dt.date(2026, 2, 1))
    assert archive.write(new, cells_3(9), TIMED)
    assert Archive(place).layout.version == FORMAT_VERSION  # type: ignore[union-attr]
    for seed, chunk in enumerate([chunks[1], chunks[2], chunks[0]]):
        xr.testing.assert_identical(archive.read(chunk), cells_3(seed))
    found = rows_of(opened(archive, TILE_3))
    assert found.pop((str(new.day), 0))[2:] == ("sentinel-1a", 88)
    assert found == KNOWN_3
    assert archive.verify() == []
    rows = ("time", "orbit", "provenance")
    for key, data in old.items():
        if "/c/" in key and key.split("/")[1] not in rows:
            assert archive.files.get(key) == data
    pd.testing.assert_frame_equal(archive.records().iloc[:3], records)


@posix
@torture
def test_a_writer_killed_while_it_raises_a_tile_leaves_whole_records(
    of_version_3, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    start, new, cells = tmp_path / "start", Chunk(TILE_3, dt.date(2026, 2, 1)), cells_3(9)
    copied(of_version_3, start)
    seen = set()
    for path, clean in kill_everywhere(start, tmp_path, lambda a: a.write(new, cells, TIMED)):
        archive = Archive(path)
        with xr.open_zarr(path / TILE_3.name, chunks=None) as tile:
            is_done = "acquired_begin" in tile.coords
            assert tile.sizes["time"] == 3 + is_done
            assert not is_done or KNOWN_3.items() <= rows_of(tile).items()
        assert archive.verify() == []
        assert archive.has(new) == is_done
        assert archive.write(new, cells, TIMED) == (not is_done)
        assert tree(path) == clean
        seen.add(is_done)
    assert seen == {True, False}
    assert Stopper.at > 10


@torture
@pytest.mark.parametrize("version", turns([3, 1, 2]))
def test_an_aged_archive_has_no_times_until_a_tile_is_written(tmp_path, version):
    archive, other = Archive(tmp_path), replace(TILE, west=TILE.east, east=TILE.east + 0.02)
    for tile in (TILE, other):
        archive.write(replace(days(1)[0], tile=tile), cells_of(tile), TIMED)
    age(tmp_path, version)
    archive = Archive(tmp_path)
    before = tree(tmp_path)
    assert len(archive.records()) == 2
    assert archive.verify() == []
    assert tree(tmp_path) == before
    archive.write(days(2)[1], cells_of(seed=1), ORIGIN)
    changed = {key for key, data in tree(tmp_path).items() if before.get(key) != data}
    assert not any(key.startswith(other.name) for key in changed)
    assert "acquired_begin" not in opened(archive, other)
    assert [number for *_, number in rows_of(opened(archive, TILE)).values()] == [88, 0]
    root = json.loads((tmp_path / "zarr.json").read_bytes())["attributes"]
    assert root["collection"]["name"] == "SENTINEL1_GRD"
    assert archive.write(replace(days(2)[1], tile=other), cells_of(other), ORIGIN)
    assert NO_TIME not in opened(archive, other).acquired_begin.values[:1].view("int64")
    assert np.isnat(opened(archive, other).acquired_begin.values[1])
    assert archive.verify() == []
