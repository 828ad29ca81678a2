# ruff: noqa: F811 (fixtures of another file)
"""Records of files beside what a back end has: the whole image is ordered, and nothing is lost."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import convert
import download
import main
from cli.exits import DONE
from grid import BBox, Chunk, Tile
from jobs.transfer import fingerprint
from store import Archive
from tests.cells.test_average import make_raster
from tests.whole.test_partial import (  # noqa: F401
    BOX,
    DATE,
    DAY,
    FIRST,
    SECOND,
    archive,
    made,
    order,
)


@pytest.fixture
def own(sandboxes):
    return sandboxes("--job-seconds", "0.05")


@pytest.fixture
def chunks(own):
    """What the catalogue has: the same passes of two tiles."""
    covers = download.images(BBox.parse(BOX), DATE, DATE, f"{own.url}/stac", download.CHUNK_SIZE)
    return sorted(chunk for chunk in covers if chunk.orbit != "any")


def write(path, tile, share, synthetic=True):
    """A file that shows a share of a tile, from the west; of the kind that the back end gives."""
    raster = inside(tile) if share < 1 else make_raster(tile, margin=0)
    raster = raster.isel(x=slice(0, round(raster.x.size * share)))
    raster.assign_attrs(source="synthetic: made up" if synthetic else "measured").to_netcdf(path)
    return path


def inside(tile):
    """A raster that shows most of a tile and nothing of its neighbours."""
    west, south, east, north = tile.west, tile.south, tile.east, tile.north
    return make_raster(Tile(west + 0.002, south + 0.002, east - 0.002, north - 0.002), margin=0)


def add(*arguments):
    return main.main(["add", *map(str, arguments), "--day", DAY, "--yes"])


def dry(own, capsys, *more):
    capsys.readouterr()
    assert order(own, "--dry-run", "--json", *more) == DONE
    out, said = capsys.readouterr()
    return json.loads(out), said


def states(plan):
    return {(row["tile"], row["orbit_state"]): row["state"] for row in plan["list"]}


@pytest.mark.parametrize("passes", ["the same", "any"])
def test_a_part_does_not_hide_the_whole(own, archive, chunks, passes, tmp_path, capsys):
    """The image takes its place, and the record of files is whole in an archive of its own."""
    first = next(chunk for chunk in chunks if chunk.tile.name == FIRST)
    orbit = first.orbit if passes == "the same" else "any"
    path = write(tmp_path / "part.nc", first.tile, 0.4)
    assert add(path, "--orbit", orbit) == DONE
    part = archive.read(Chunk(first.tile, DATE, orbit))
    plan, said = dry(own, capsys)
    assert states(plan) == dict.fromkeys([(c.tile.name, c.orbit) for c in chunks], "to_order")
    assert plan["shown_by_files"] == 1
    assert "shown in part alone by records of files: 1 chunk to order" in said

    assert order(own) == DONE
    assert made(own) == 2
    beside = f"sentinel1-apart-{fingerprint(path)[:10]}.zarr"
    assert f"{FIRST} on {DAY}" in (said := capsys.readouterr().err)
    assert f"showed less, and is kept in {beside} now" in said
    assert archive.chunks() == chunks
    cells = archive.read(first)
    assert (cells["count"].values > 0).all()
    assert archive.records()["backend"].tolist() == [own.url] * 2
    there = Archive(tmp_path / beside)
    xr.testing.assert_identical(there.read(Chunk(first.tile, DATE, orbit)), part)
    assert [entry["name"] for entry in there.records()["files"][0]] == ["part.nc"]
    assert [*archive.verify(), *there.verify()] == []

    plan, said = dry(own, capsys)
    assert set(states(plan).values()) == {"archived"}
    assert add(path, "--orbit", orbit, "--apart") == DONE
    assert "Nothing to add." in capsys.readouterr().err
    counts = archive.read(first)["count"].values
    np.testing.assert_array_equal(counts, cells["count"])


def test_a_record_of_files_that_shows_all_is_what_there_is(own, archive, chunks, tmp_path, capsys):
    first = next(chunk for chunk in chunks if chunk.tile.name == FIRST)
    assert add(write(tmp_path / "all.nc", first.tile, 1), "--orbit", first.orbit) == DONE
    plan, _ = dry(own, capsys)
    assert states(plan) == {
        (FIRST, first.orbit): "archived", (SECOND, first.orbit): "to_order",
    }  # fmt: skip
    assert plan["shown_by_files"] == 1, "of its neighbour it shows the edge"


def test_without_a_catalogue_it_is_ordered_once(own, archive, chunks, tmp_path, capsys):
    """Nobody says what there is to be had, so one image is worth a look, and not two."""
    first = next(chunk for chunk in chunks if chunk.tile.name == FIRST)
    assert add(write(tmp_path / "part.nc", first.tile, 0.7), "--orbit", "any") == DONE
    part = archive.read(Chunk(first.tile, DATE))
    own.fault(f"job-hole,share=0.5,title={FIRST}")
    assert order(own, "--no-catalogue") == DONE
    assert made(own) == 2
    assert "showed less" not in capsys.readouterr().err, "the image shows less, and is not kept"
    xr.testing.assert_identical(archive.read(Chunk(first.tile, DATE)), part)
    plan, _ = dry(own, capsys, "--no-catalogue")
    assert set(states(plan).values()) == {"archived"}


def test_a_measured_part_and_a_synthetic_image_do_not_mix(own, archive, chunks, tmp_path, capsys):
    first = next(chunk for chunk in chunks if chunk.tile.name == FIRST)
    path = write(tmp_path / "part.nc", first.tile, 0.4, synthetic=False)
    assert add(path, "--orbit", first.orbit) == DONE
    part = archive.read(first)
    assert order(own) != DONE
    assert "must not be mixed" in capsys.readouterr().err
    xr.testing.assert_identical(archive.read(first), part)
    assert archive.chunks() == [first]
    assert not list(tmp_path.glob("*-apart-*"))


def test_merged_files_of_several_are_set_apart_as_one(own, archive, chunks, tmp_path, capsys):
    first = next(chunk for chunk in chunks if chunk.tile.name == FIRST)
    raster = inside(first.tile).assign_attrs(source="synthetic: made up")
    for name, columns in (("a.nc", slice(0, 40)), ("b.nc", slice(40, 80))):
        raster.isel(x=columns).to_netcdf(tmp_path / name)
        assert add(tmp_path / name, "--orbit", first.orbit) == DONE
    assert order(own) == DONE
    (beside,) = tmp_path.glob("*-apart-*")
    there = Archive(beside)
    assert [entry["name"] for entry in there.records()["files"][0]] == ["a.nc", "b.nc"]
    expected = convert.raster_to_cells(raster.isel(x=slice(0, 80)), first.tile)
    np.testing.assert_array_equal(there.read(first)["count"], expected["count"])
