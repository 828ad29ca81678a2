"""The archive is open to everyone: plain xarray, xdggs, a second Zarr implementation, CF."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import flask
import numpy as np
import pandas as pd
import pytest
import werkzeug.serving
import xarray as xr
import zarr

from archive.layout import ArchiveError
from grid import BBox, Chunk
from healpix.ids import runs_to_ids
from store import Archive
from tests.archive.aging import age
from tests.archive.test_contents import CHUNK, DAY, ORIGIN, TILE, cells_of, days
from tests.conftest import ROOT
from tests.sphere import centres_of, tile_at

ELLIPSOIDS = ("sphere", "WGS84")


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Two records of a tile, one archive per ellipsoid."""
    found = {}
    for ellipsoid in ELLIPSOIDS:
        archive = Archive(tmp_path_factory.mktemp("open") / ellipsoid)
        for seed, chunk in enumerate(days(2)):
            archive.write(chunk, cells_of(seed=seed, ellipsoid=ellipsoid), ORIGIN)
        found[ellipsoid] = archive
    return found


@pytest.fixture(scope="module")
def tile(archives):
    with xr.open_zarr(archives["sphere"].path / TILE.name) as opened:
        yield opened


@pytest.fixture
def served(archives):
    """The archive on an HTTP server that lists folders and knows ranges; what was asked of it."""
    app, asked = flask.Flask("archive"), []
    root = archives["sphere"].path

    @app.get("/")
    @app.get("/<path:name>")
    def get(name=""):
        place = root / name
        if place.is_dir():
            names = [entry.name + "/" * entry.is_dir() for entry in place.iterdir()]
            return "".join(f'<a href="{name}">{name}</a>' for name in names)
        if not place.is_file():
            flask.abort(404)
        answer = flask.send_file(place, "application/octet-stream", conditional=True)
        if flask.request.method == "GET":
            asked.append((name, answer.content_range and answer.content_range.stop))
        return answer

    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    yield f"http://127.0.0.1:{server.port}", asked
    server.shutdown()
    thread.join()


def test_an_archive_at_a_url_reads_like_the_folder(archives, served):
    folder, (url, asked) = archives["sphere"], served
    there = Archive(url)
    assert there.layout == folder.layout
    assert there.tiles() == folder.tiles()
    pd.testing.assert_frame_equal(there.records(), folder.records())
    xr.testing.assert_identical(there.read(CHUNK), folder.read(CHUNK))
    box = BBox(TILE.west, TILE.south, TILE.west + 0.01, TILE.south + 0.01)
    asked.clear()
    xr.testing.assert_identical(there.read(CHUNK, box), folder.read(CHUNK, box))
    shards = [stop for name, stop in asked if "/c/0/0" in name]
    assert shards
    assert all(shards), "ranges of a shard, never a whole one"
    xr.testing.assert_identical(there.open(TILE).load(), folder.open(TILE).load())
    assert there.verify() == []


def test_an_archive_at_a_url_is_never_changed(archives, served):
    url, _ = served
    there, cells = Archive(url), archives["sphere"].read(CHUNK)
    for change in (
        lambda: there.write(CHUNK, cells), lambda: there.remove(CHUNK),
        lambda: there.remove_tile(TILE), lambda: there.require(2**18, "sphere", (1, 0.5), "V"),
    ):  # fmt: skip
        with pytest.raises(ArchiveError, match="can be read, but not changed"):
            change()
    with pytest.raises(ArchiveError, match="There is no archive at"):
        Archive(f"{url}/{TILE.name}/nothing")


def test_a_file_url_is_its_folder(archives):
    path = archives["sphere"].path
    assert Archive(path.as_uri()).path == path


def test_xarray_opens_a_tile_by_itself(tile):
    cells = cells_of()
    assert dict(tile.sizes) == {
        "time": 2, "cells": cells.sizes["cells"], "runs": cells.sizes["runs"],
    }  # fmt: skip
    assert tile.time.dtype.kind == "M"
    assert [np.datetime64(chunk.day) for chunk in days(2)] == list(tile.time.values)
    for name in ("VV", "VH", "count", "start_ipix", "run_len"):
        values = tile[name][0] if name in ("VV", "VH", "count") else tile[name]
        np.testing.assert_array_equal(values.values, cells[name].values)
        assert values.dtype == cells[name].dtype
    assert set(tile.coords) >= {"time", "cell_ids"}


def test_everything_says_what_it_is(tile):
    assert tile.attrs["Conventions"] == "CF-1.13"
    assert tile.attrs["pix_len"] == tile.sizes["cells"]
    assert tile.attrs["runs_len"] == tile.sizes["runs"]
    assert (tile.attrs["tile_west"], tile.attrs["tile_south"]) == (TILE.west, TILE.south)
    for name in ("VV", "VH"):
        about = tile[name].attrs
        assert about["standard_name"] == "surface_backwards_scattering_coefficient_of_radar_wave"
        assert name in about["long_name"]
        assert about["units"] == "1"
        assert about["grid_mapping"] == "crs"
        assert about["ancillary_variables"] == "count"
    assert tile["count"].attrs["standard_name"] == "number_of_observations"
    assert tile.time.attrs["standard_name"] == "time"
    assert tile.crs.attrs["grid_mapping_name"] == "healpix"
    assert tile.crs.attrs["refinement_level"] == 18
    assert tile.crs.attrs["indexing_scheme"] == "nested"
    meanings = tile.orbit.attrs["flag_meanings"].split()
    assert dict(zip(meanings, tile.orbit.attrs["flag_values"], strict=True)) == {
        "any": 0, "ascending": 1, "descending": 2,
    }  # fmt: skip
    assert all("long_name" in tile[name].attrs for name in ("run_len", "start_ipix", "provenance"))


def test_the_provenance_of_a_record_is_in_the_tile(tile):
    about = json.loads(tile.provenance.values[1])
    known = json.loads(json.dumps(asdict(ORIGIN)))
    assert known.pop("files") == []
    assert "files" not in about  # only of records that are made of files
    assert {name: about[name] for name in known} == known
    assert (about["day"], about["orbit"]) == (days(2)[1].day.isoformat(), "any")
    assert about["seen"] == int((tile["count"][1] > 0).sum())
    assert about["source"].startswith("synthetic")


def test_the_ids_are_those_that_the_runs_spell(tile):
    ids = runs_to_ids(tile.start_ipix.values, tile.run_len.values)
    np.testing.assert_array_equal(tile.cell_ids.values, ids)


@pytest.mark.parametrize(
    ("ellipsoid", "convention"),  # xdggs 0.6 reads an ellipsoid in its own convention only
    [("sphere", "xdggs"), ("WGS84", "xdggs"), ("sphere", "zarr"), ("sphere", "cf")],
)
def test_xdggs_finds_the_centres(archives, ellipsoid, convention):
    import xdggs

    with xr.open_zarr(archives[ellipsoid].path / TILE.name) as tile:
        decoded = xdggs.decode(tile, name="cell_ids", convention=convention)
        centres = decoded.dggs.cell_centers()
        ids = tile.cell_ids.values
    lon, lat = centres.longitude.values, centres.latitude.values
    if ellipsoid == "sphere":
        healpy = pytest.importorskip("healpy")
        wanted = healpy.pix2ang(2**18, ids.astype(np.int64), nest=True, lonlat=True)
    else:
        wanted = centres_of(ids, 2**18, "WGS84")
    np.testing.assert_allclose((lon + 180) % 360 - 180, wanted[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(lat, wanted[1], rtol=0, atol=1e-9)


def test_xdggs_finds_what_it_wants_of_the_ids(tile):
    # Exactly these, for xdggs 0.6 takes every attribute for a parameter.
    assert tile.cell_ids.attrs == {
        "grid_name": "healpix", "level": 18, "indexing_scheme": "nested",
    }  # fmt: skip


@pytest.mark.parametrize("ellipsoid", ELLIPSOIDS)
def test_a_second_implementation_of_zarr_reads_the_same(archives, ellipsoid):
    """zarrs, written in Rust, instead of zarr-python's own decoding."""
    pytest.importorskip("zarrs")
    path = archives[ellipsoid].path / TILE.name
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        for name in ("VV", "VH", "count"):
            array = zarr.open_array(path / name, mode="r")  # by the array's own metadata
            assert array.shape[0] == 2
            for seed in range(2):
                wanted = cells_of(seed=seed, ellipsoid=ellipsoid)[name].values
                np.testing.assert_array_equal(array[seed], wanted)
                np.testing.assert_array_equal(array[seed, 77:99], wanted[77:99])
        ids = zarr.open_array(path / "cell_ids", mode="r")[:]
        cells = cells_of(ellipsoid=ellipsoid)
    wanted = runs_to_ids(cells.start_ipix.values, cells.run_len.values)
    np.testing.assert_array_equal(ids, wanted)


def test_the_root_leads_to_the_tiles(archives):
    root = zarr.open_group(archives["sphere"].path, mode="r")
    assert root.metadata.consolidated_metadata is None
    assert [name for name, _ in root.groups()] == [TILE.name]
    assert root.attrs["nside"] == 2**18
    assert root.attrs["level"] == 18
    assert root.attrs["ordering"] == "nested"
    assert root.attrs["chunk_size"] == [0.02, 0.02]
    assert root.attrs["bands"] == ["VV", "VH"]
    assert (root.attrs["PIX_MAX"], root.attrs["RUNS_MAX"]) == (10_485_760, 8192)
    assert root.attrs["keep_bits"] is None
    assert root.attrs["format_version"] == 5
    assert dict(root.attrs)["collection"]["name"] == "SENTINEL1_GRD"  # type: ignore[index,call-overload]


def test_a_shard_is_one_record_padded_to_pix_max(archives):
    group = zarr.open_group(archives["sphere"].path / TILE.name, mode="r")
    for name in ("VV", "VH", "count"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        assert array.shards == (1, 10_485_760)
        assert array.chunks == (1, 131_072)
        assert [type(codec).__name__ for codec in array.compressors] == [
            "BloscCodec",
            "Crc32cCodec",
        ]
        files = (archives["sphere"].path / TILE.name / name / "c").rglob("*")
        assert sum(p.is_file() for p in files) == 2
    assert group["start_ipix"].chunks == (8192,)  # type: ignore[union-attr]


def test_the_dggs_convention_for_zarr_is_followed(archives):
    for ellipsoid in ELLIPSOIDS:
        metadata = json.loads((archives[ellipsoid].path / TILE.name / "zarr.json").read_bytes())
        about = metadata["attributes"]["dggs"]
        assert about["name"] == "healpix"
        assert about["refinement_level"] == 18
        assert about["spatial_dimension"] == "cells"
        assert about["coordinate"] == "cell_ids"
        assert about["compression"] == "none"
        assert ("ellipsoid" in about) == (ellipsoid == "WGS84")


def schema_of(convention):
    """The convention's own JSON schema."""
    jsonschema = pytest.importorskip("jsonschema")
    path = Path(__file__).with_name("conventions") / f"{convention}.json"
    return jsonschema.Draft7Validator(json.loads(path.read_bytes()))


def own_metadata(archive, tile=TILE):
    """Each group's own zarr.json, by its name; "": the tile's."""
    for path in (archive.path / tile.name).glob("**/zarr.json"):
        about = json.loads(path.read_bytes())
        if about["node_type"] == "group":
            yield path.parent.relative_to(archive.path / tile.name).as_posix(), about


@pytest.mark.parametrize("ellipsoid", ELLIPSOIDS)
def test_the_schemas_of_the_conventions_validate_every_group(archives, ellipsoid):
    found = dict(own_metadata(archives[ellipsoid]))
    assert set(found) == {".", "16", "14", "12"}
    for name, about in found.items():
        said = {convention["name"] for convention in about["attributes"]["zarr_conventions"]}
        assert said == ({"dggs", "multiscales"} if name == "." else {"dggs"})
        for convention in said:
            schema_of(convention).validate(about)
    whole = archives[ellipsoid].path / TILE.name / "zarr.json"
    for name, about in json.loads(whole.read_bytes())["consolidated_metadata"]["metadata"].items():
        if about["node_type"] == "group":
            assert about["attributes"] == found[name]["attributes"]


@pytest.mark.parametrize("convention", ["dggs", "multiscales"])
def test_the_schemas_refuse_what_is_wrong(archives, convention):
    about = dict(own_metadata(archives["WGS84"]))["."]
    attributes = about["attributes"]
    wrong: list[dict[str, Any]] = [
        {"zarr_conventions": []}, {convention: {}},
        {"dggs": attributes["dggs"] | {"refinement_level": -1}} if convention == "dggs" else
        {"multiscales": {"layout": [{"asset": "../16"}]}},
    ]  # fmt: skip
    for change in wrong:
        assert not schema_of(convention).is_valid(about | {"attributes": attributes | change})


def test_the_levels_that_multiscales_names_are_those_of_the_groups(archives):
    hp = pytest.importorskip("healpy")
    for ellipsoid in ELLIPSOIDS:
        found = dict(own_metadata(archives[ellipsoid]))
        layout = found["."]["attributes"]["multiscales"]["layout"]
        assert [level["asset"] for level in layout] == [".", "16", "14", "12"]
        base = layout[0]["dggs"]
        for level in layout:
            assert base | level["dggs"] == found[level["asset"]]["attributes"]["dggs"]
            if level["asset"] != ".":
                edges = [hp.nside2resol(2 ** each["dggs"]["refinement_level"])
                         for each in (level, layout[0])]  # fmt: skip
                assert level["transform"]["scale"] == [pytest.approx(edges[0] / edges[1])]


def test_an_archive_of_before_is_valid_after_the_next_write(archives, tmp_path):
    shutil.copytree(archives["WGS84"].path, tmp_path / "a")
    age(tmp_path / "a", 3)
    archive = Archive(tmp_path / "a")
    assert not any("multiscales" in about["attributes"] for _, about in own_metadata(archive))
    archive.write(days(3)[2], cells_of(seed=2, ellipsoid="WGS84"), ORIGIN)
    for name, about in own_metadata(archive):
        schema_of("dggs").validate(about)
        if name == ".":
            schema_of("multiscales").validate(about)


def test_the_grid_mapping_is_that_of_cf(archives):
    """CF 1.13, appendix F: HEALPix."""
    for ellipsoid in ELLIPSOIDS:
        for name, _ in own_metadata(archives[ellipsoid]):
            about = zarr.open_array(archives[ellipsoid].path / TILE.name / name / "crs").attrs
            level = 18 if name == "." else int(name)
            wanted = {"grid_mapping_name": "healpix", "refinement_level": level}
            wanted |= {"indexing_scheme": "nested"}
            if ellipsoid == "WGS84":
                wanted |= {"reference_ellipsoid_name": "WGS 84"}
            assert dict(about) == wanted


def test_a_tile_as_netcdf_is_cf(archives, tmp_path):
    """By the checker of the IOOS, which knows CF up to 1.11; HEALPix came with 1.13."""
    runner = pytest.importorskip("compliance_checker.runner")
    with xr.open_zarr(archives["sphere"].path / TILE.name) as opened:
        flat = opened.load().drop_attrs(deep=False).assign_attrs(Conventions="CF-1.11")
        flat.to_netcdf(tmp_path / "tile.nc")
    runner.CheckSuite.load_all_available_checkers()
    runner.ComplianceChecker.run_checker(
        str(tmp_path / "tile.nc"), ["cf:1.11"], 1, "normal",
        output_filename=str(tmp_path / "report.json"), output_format="json",
    )  # fmt: skip
    report = json.loads((tmp_path / "report.json").read_text())["cf:1.11"]
    assert {m for item in report["high_priorities"] for m in item["msgs"]} == {
        "healpix is not a valid grid_mapping_name. See Appendix F for valid grid mappings",
        # JSON knows one type of whole numbers:
        "flag_values (<class 'numpy.int64'>) must be the same data type as orbit "
        "(<class 'numpy.int8'>)",
        # xdggs 0.6 takes every attribute of the ids for a parameter:
        "Attribute long_name or/and standard_name is highly recommended for variable cell_ids",
    }


def test_reading_needs_no_zarr_reader_to_agree_on_sharding(archives, tmp_path):
    """What the archive reads is what zarr-python reads, cell for cell."""
    tile = tile_at(7.1, 50.1, (0.2, 0.2))  # several inner chunks
    archive = Archive(tmp_path / "a")
    archive.write(Chunk(tile, DAY), cells_of(tile))
    record = archive.read(Chunk(tile, DAY))
    with xr.open_zarr(tmp_path / "a" / tile.name) as opened:
        for name in ("VV", "VH", "count"):
            np.testing.assert_array_equal(opened[name][0].values, record[name].values)


def test_the_five_lines_of_the_readme_work(archives):
    code = f"""
import xarray, xdggs
tile = xdggs.decode(xarray.open_zarr({str(archives["sphere"].path / TILE.name)!r}))
day = tile.sel(time="{CHUNK.day}").squeeze()
cells = day.dggs.assign_latlon_coords()
print(float(cells.VV.mean()), float(cells.latitude.min()))
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "tests"
    )
    mean, south = (float(v) for v in run.stdout.split())
    assert mean == pytest.approx(float(np.nanmean(cells_of().VV.values)), rel=1e-5)
    assert south >= TILE.south
