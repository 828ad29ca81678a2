"""An archive as a map asks for it: what there is, where, and how it is drawn."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import healpy
import numpy as np
import pytest
from PIL import Image as Picture

import retrieve
from archive import lookout, storage
from grid import BBox, Chunk, Provenance, Tile
from images import atlas as room
from images import web_tiles
from images.atlas import Atlas, Picked
from store import Archive
from tests.images.test_blocks import cells_of
from tests.images.test_web_tiles import number_of
from tests.object_store import BUCKET, ENVIRONMENT, serving
from tests.rounds import seldom

FIRST, SECOND = dt.date(2026, 1, 20), dt.date(2026, 1, 26)
LEFT, RIGHT = Tile(7.0, 50.0, 8.0, 50.5), Tile(8.0, 50.0, 9.0, 50.5)
BEYOND = Tile(-180.0, 50.0, -179.0, 50.5)
ALL = Picked(FIRST, SECOND, band="VV")
RANGE = {"VV": (-20.0, 10.0)}


def filled(path):
    archive = Archive(path)
    for number, (tile, day, orbit) in enumerate(
        [(LEFT, FIRST, "ascending"), (RIGHT, FIRST, "ascending"), (LEFT, SECOND, "descending")]
    ):
        came = Provenance(
            backend="sandbox", collection="SENTINEL1_GRD", job_id=f"j-{number}",
            processed="2026-01-27T00:00:00Z", synthetic=True,
            acquired=(f"{day}T06:00:00Z/{day}T06:00:25Z",),
        )  # fmt: skip
        archive.write(Chunk(tile, day, orbit), cells_of(tile, seed=number), came)
    return archive


def atlas_of(archive):
    from cli.workspace import Workspace

    def holdings():
        found = Workspace(archive.name).holdings
        assert found is not None
        return found

    return Atlas(archive, holdings, lambda: retrieve.settings().look)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("atlas") / "a.zarr")


@pytest.fixture(scope="module")
def atlas(archive):
    return atlas_of(archive)


def test_it_says_what_there_is(atlas):
    about = atlas.about()
    assert [(i["day"], i["orbit"], i["tiles"]) for i in about["images"]] == [
        ("2026-01-20", "ascending", 2), ("2026-01-26", "descending", 1),
    ]  # fmt: skip
    assert [band["name"] for band in about["bands"]] == ["colour", "VV", "VH"]
    assert about["extent"] == [7, 50, 9, 50.5]
    assert about["records"] == 3


def test_coverage_is_by_tile_and_tells_what_is_picked(atlas):
    assert atlas.coverage(ALL) == [[7, 50, 2, 2], [8, 50, 1, 1]]
    assert atlas.coverage(Picked(SECOND, SECOND)) == [[7, 50, 2, 1], [8, 50, 1, 0]]
    assert atlas.coverage(Picked(FIRST, SECOND, "descending")) == [[7, 50, 2, 1], [8, 50, 1, 0]]


def test_an_archive_across_180_degrees_is_one_piece(tmp_path):
    archive = filled(tmp_path / "a.zarr")
    for chunk in archive.chunks():
        archive.remove(chunk)
    for tile in (BEYOND, Tile(179.0, 50.0, 180.0, 50.5)):
        archive.write(Chunk(tile, FIRST, "any"), cells_of(tile))
    atlas = atlas_of(archive)
    assert atlas.extent() == [179, 50, 181, 50.5]
    assert len(atlas.tile(Picked(FIRST, FIRST, band="VV"), RANGE, 1, 0, 0)) > 1000
    box = BBox(179.5, 50.1, -179.5, 50.4)
    assert set(atlas.ranges(Picked(FIRST, FIRST, band="VV"), box)) == {"VV"}


def opaque(data):
    return int((np.asarray(Picture.open(io.BytesIO(data)).convert("RGBA"))[..., 3] > 0).sum())


def test_a_tile_shows_the_records_that_are_picked(atlas):
    number = number_of(5, 8.5, 50.25)
    first = atlas.tile(Picked(FIRST, FIRST, "ascending", "VV"), RANGE, *number)
    second = atlas.tile(Picked(SECOND, SECOND, "descending", "VV"), RANGE, *number)
    nothing = atlas.tile(Picked(SECOND, SECOND, "ascending", "VV"), RANGE, *number)
    assert opaque(first) > opaque(second) > 0
    assert opaque(nothing) == 0


@pytest.mark.parametrize("how", ["mean", "median", "newest", "min", "max"])
@pytest.mark.parametrize("zoom", [8, 11])
def test_a_composite_is_that_of_a_retrieval(atlas, archive, monkeypatch, how, zoom):
    number, drawn = number_of(zoom, 7.5, 50.25), {}
    monkeypatch.setattr(web_tiles, "picture", lambda values, *_: drawn.update(values) or b"")
    atlas.tile(Picked(FIRST, SECOND, "any", "VV", how), RANGE, *number)
    frame = web_tiles.frame_of(*number)
    south, north = float(frame.edges[100]), float(frame.edges[101])
    box = BBox(frame.bbox.west, south, frame.bbox.east, north)
    steps: dict[str, Any] = {"dlat": box.height, "dlon": frame.dlon}
    grid = retrieve.load(archive, box, FIRST, SECOND, ["VV"], **steps, orbit="any", composite=how)
    assert np.isfinite(drawn["VV"][100]).any()
    np.testing.assert_array_equal(drawn["VV"][100], grid["VV"].values[0, 0])


def test_a_tile_in_another_range_is_not_read_again(atlas, monkeypatch):
    number, picked = number_of(7, 7.5, 50.25), Picked(FIRST, SECOND, "any", "VV", "mean")
    before = atlas.tile(picked, RANGE, *number)
    monkeypatch.setattr(web_tiles, "values_of", lambda *_: pytest.fail("it was read"))
    assert atlas.tile(picked, RANGE, *number) == before
    assert atlas.tile(picked, {"VV": (-10.0, 0.0)}, *number) != before


@pytest.mark.parametrize("cells", [2_000, 2_000_000])
def test_the_pieces_of_a_tile_are_all_of_it_once(archive, monkeypatch, cells):
    monkeypatch.setattr(web_tiles, "CELLS", cells)
    real, seen = web_tiles._blocks, np.zeros((256, 256), int)

    def blocks(cube, height, columns):
        (south,) = np.flatnonzero(frame.edges == cube.frame.edges[0])
        for rows, some in real(cube, height, columns):
            seen[south + rows.start : south + rows.stop, some] += 1
            yield rows, some

    monkeypatch.setattr(web_tiles, "_blocks", blocks)
    number = number_of(10, 7.5, 50.25)
    frame = web_tiles.frame_of(*number)
    atlas_of(archive).tile(Picked(FIRST, FIRST, "ascending", "VV"), RANGE, *number)
    rows, columns = (np.flatnonzero(seen.any(axis=axis)) for axis in (1, 0))
    assert (seen[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 1).all()
    assert (np.diff(rows) == 1).all()


def test_what_would_be_many_tiles_reads_no_record(atlas, monkeypatch):
    monkeypatch.setattr(room, "TILES_MOST", 1)
    monkeypatch.setattr(atlas._lookout, "views", lambda tiles: pytest.fail("a tile was opened"))
    assert opaque(atlas.tile(Picked(FIRST, FIRST, band="VV"), RANGE, 0, 0, 0)) == 0


def test_ranges_are_those_of_the_pictures(atlas, archive):
    box = BBox(7.2, 50.1, 7.8, 50.4)
    found = atlas.ranges(Picked(FIRST, FIRST, "ascending"), box)
    assert list(found) == ["VV", "VH", "VV/VH"]
    grid = retrieve.retrieve(archive, box, FIRST, dlat=0.002, dlon=0.002, orbit="ascending")
    for name, (low, high) in retrieve.ranges(grid).items():
        assert found[name] == pytest.approx((low, high), abs=0.5)


def test_ranges_of_what_is_not_there_are_none(atlas):
    assert atlas.ranges(ALL, BBox(20, 20, 21, 21)) == {}
    assert atlas.ranges(Picked(dt.date(2020, 1, 1), dt.date(2020, 1, 1)), BBox(7, 50, 9, 51)) == {}


@pytest.mark.parametrize(("lon", "lat"), [(7.5, 50.25), (8.0, 50.2), (7.999, 50.499), (8.7, 50.01)])
def test_a_place_is_the_cell_that_healpy_finds(atlas, archive, lon, lat):
    found = atlas.place(Picked(dt.date.min, dt.date.max, band="VV"), lon, lat)
    cell = healpy.ang2pix(archive.layout.nside, lon, lat, nest=True, lonlat=True)
    assert found["cell"] == cell
    centre = healpy.pix2ang(archive.layout.nside, cell, nest=True, lonlat=True)
    assert (found["lon"], found["lat"]) == pytest.approx(centre, abs=1e-9)
    for row in found["records"]:
        day, around = (
            dt.date.fromisoformat(row["day"]),
            BBox(lon - 0.2, lat - 0.2, lon + 0.2, lat + 0.2),
        )
        cells = retrieve.select(archive, around, day, row["orbit"], cell_ids=True)
        (at,) = np.flatnonzero(cells["cell_ids"].values == cell)
        for band in ("VV", "VH"):
            value = float(cells[band].values[at])
            assert row["values"][band] == (None if np.isnan(value) else value)
        assert row["count"] == int(cells["count"].values[at])
        assert row["begin"] == f"{day}T06:00:00Z"
        assert row["provenance"]["backend"] == "sandbox"
    assert [row["day"] for row in found["records"]] == sorted(r["day"] for r in found["records"])


def test_a_place_without_a_record_has_a_cell_all_the_same(atlas):
    found = atlas.place(ALL, -120.0, 10.0)
    assert found["records"] == []
    assert found["cell"] > 0


def test_what_is_written_meanwhile_is_seen_after_another_look(tmp_path):
    archive = filled(tmp_path / "a.zarr")
    atlas, number = atlas_of(archive), number_of(8, 8.5, 50.25)
    picked = Picked(SECOND, SECOND, "descending", "VV")
    before, version = opaque(atlas.tile(picked, RANGE, *number)), atlas.about()["version"]
    Archive(archive.path).write(Chunk(RIGHT, SECOND, "descending"), cells_of(RIGHT, seed=7))
    atlas.look_again()
    assert opaque(atlas.tile(picked, RANGE, *number)) > before
    assert atlas.about()["version"] != version
    Archive(archive.path).remove(Chunk(RIGHT, SECOND, "descending"))
    atlas.look_again()
    assert opaque(atlas.tile(picked, RANGE, *number)) == before


@pytest.mark.parametrize("band", ["HH", "", "VV,VH"])
def test_a_band_that_is_not_there_is_named(atlas, band):
    with pytest.raises(ValueError, match="it has VV, VH"):
        atlas.tile(Picked(FIRST, FIRST, band=band), RANGE, 8, 0, 0)


@seldom(3)
def test_an_archive_in_an_object_store_is_looked_at_as_well(monkeypatch):
    with serving() as server:
        for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url}).items():
            monkeypatch.setenv(name, value)
        storage._object_store.cache_clear()
        archive = filled(f"s3://{BUCKET}/map/a")
        atlas, number = atlas_of(archive), number_of(8, 8.5, 50.25)
        picked = Picked(SECOND, SECOND, "descending", "VV")
        before, version = opaque(atlas.tile(picked, RANGE, *number)), atlas.about()["version"]
        server.asked.clear()
        assert opaque(atlas.tile(picked, RANGE, *number)) == before
        assert not [each for each in server.asked if "zarr.json" in each.path]  # is open already
        archive.write(Chunk(RIGHT, SECOND, "descending"), cells_of(RIGHT, seed=7))
        atlas.look_again()
        assert atlas.about()["version"] != version
        monkeypatch.setattr(lookout, "FAR_SECONDS", 1e-6)  # the time passes
        assert opaque(atlas.tile(picked, RANGE, *number)) > before
        storage._object_store.cache_clear()
