"""The records as STAC items in GeoParquet, as others read them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pystac
import pytest
from pystac.extensions.sat import SatExtension
from pystac.validation import JsonSchemaSTACValidator
from shapely import from_wkt
from shapely.geometry import shape

import main
from archive import stac
from archive.layout import Layout
from cli.exits import DONE
from grid import Chunk, Tile
from shared.collection import SENTINEL2, Product
from store import Archive
from tests.archive.test_contents import ORIGIN, TILE, cells_of, days

duckdb = pytest.importorskip("duckdb")
rustac = pytest.importorskip("rustac")


LAYOUT = Layout(2**18, "sphere", (1.0, 0.5), ("VV", "VH"), 1000, 8192, None)


def row(tile, **more):
    return {
        "tile": tile.name, "day": "2026-01-20", "orbit": "any", "bands": "VV,VH", "seen": 0.5,
        "bytes": 7, "backend": None, "collection": None, "job_id": None, "processed": None,
        "synthetic": False, "relative_orbits": [], "platforms": [], "acquired": [],
        "covered": None, "partial": False,
    } | more  # fmt: skip


def validate(item):
    """Against the JSON schemas of STAC, which pystac brings; that of `sat` is not among them."""
    item = json.loads(json.dumps(item))  # lists for tuples
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, item["stac_version"])
    return pystac.Item.from_dict(item)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Archive(tmp_path / "sentinel1.zarr")
    for chunk in days(2):
        made.write(chunk, cells_of(chunk.tile, 1))
    ascending = Chunk(TILE, days(1)[0].day, "ascending")
    made.write(ascending, cells_of(TILE, 2), ORIGIN)
    return made


def test_duckdb_reads_what_was_written_and_the_items_are_valid(archive, capsys):
    assert main.main(["list", "--stac", "a.parquet"]) == DONE
    assert capsys.readouterr().out == "a.parquet\n"
    names = "id, bbox.xmin, bbox.ymax, assets.data.href, backend"
    found = duckdb.sql(f"SELECT {names} FROM 'a.parquet' ORDER BY id").fetchall()
    chunks = archive.chunks(TILE)
    assert [line[0] for line in found] == sorted(f"{TILE.name}_{c.day}_{c.orbit}" for c in chunks)
    assert {line[1:4] for line in found} == {(TILE.west, TILE.north, f"{archive.name}/{TILE.name}")}
    assert {line[4] for line in found} == {None, "sandbox"}
    text = "SELECT DISTINCT typeof(geometry), geometry::VARCHAR FROM 'a.parquet'"
    ((kind, polygon),) = duckdb.sql(text).fetchall()
    assert kind.startswith("GEOMETRY")
    assert from_wkt(polygon).bounds == (TILE.west, TILE.south, TILE.east, TILE.north)
    for item in rustac.read_sync("a.parquet")["features"]:
        validate(item)
        assert shape(item["geometry"]).bounds == pytest.approx(
            (TILE.west, TILE.south, TILE.east, TILE.north)
        )


def test_a_file_is_replaced_only_if_that_is_wanted(archive, capsys):
    assert main.main(["list", "--stac", "a.parquet"]) == DONE
    assert main.main(["list", "--stac", "a.parquet"]) == 2
    assert main.main(["list", "--stac", "a.parquet", "--overwrite"]) == DONE
    assert main.main(["list", "--stac", "a.csv"]) == 2
    assert "must end in .parquet" in capsys.readouterr().err


def test_without_the_package_one_is_told_its_name(archive, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rustac", None)
    assert main.main(["list", "--stac", "a.parquet"]) == 2
    assert "pip install rustac" in capsys.readouterr().err


@pytest.mark.parametrize("west", [-180.0, -1.0, 179.0])
@pytest.mark.parametrize("south", [-90.0, 0.0, 89.5])
def test_a_footprint_is_valid_beside_180_degrees_and_at_the_poles(west, south):
    tile = Tile(west, south, west + 1, south + 0.5)
    item = stac.item_of(row(tile), LAYOUT, "/a.zarr")
    validate(item)
    polygon = shape(item["geometry"])
    assert polygon.is_valid
    assert polygon.exterior.is_ccw
    assert polygon.bounds == tuple(item["bbox"]) == (west, south, west + 1, south + 0.5)


def test_what_only_some_records_have_is_a_column_all_the_same(tmp_path):
    tile = Tile.from_name("E007.0_N50.0", (1, 0.5))
    rows = [row(tile, day=f"2026-01-{1 + i:02}") for i in range(20)]
    rows[13] |= {"platforms": ["sentinel-1a"], "relative_orbits": [15], "orbit": "ascending"}
    rows[13] |= {"acquired": ["2026-01-14T05:00:00Z/2026-01-14T05:00:25Z"], "covered": 1.0}
    path = tmp_path / "a.parquet"
    assert stac.write(lambda: rows, LAYOUT, "/a.zarr", path) == 20
    text = f"SELECT id, covered, start_datetime FROM '{path}' WHERE platform = 'sentinel-1a'"
    ((name, covered, start),) = duckdb.sql(text).fetchall()
    assert (name, covered) == ("E007.0_N50.0_2026-01-14_ascending", 1.0)
    assert start.timestamp() == 1768366800
    items = {item["id"]: item for item in rustac.read_sync(str(path))["features"]}
    assert len(items) == 20
    sat = SatExtension.ext(validate(items[name]))
    assert (sat.orbit_state, sat.relative_orbit) == ("ascending", 15)


def test_items_are_of_the_satellites_of_the_archive():
    item = stac.item_of(row(TILE), LAYOUT, "/a.zarr")
    assert item["properties"]["constellation"] == "sentinel-1"
    for product, satellites in ((SENTINEL2.product, "sentinel-2"), (Product("X", "x", ()), None)):
        item = stac.item_of(row(TILE), replace(LAYOUT, product=product), "/a.zarr")
        assert item["properties"].get("constellation") == satellites
