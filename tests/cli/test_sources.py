# ruff: noqa: F811 (fixtures of another file)
"""Files of one's own in all their forms: one for each band, those that refer to others, folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

import convert
import download
import main
from cli import adding, questions
from cli.exits import DONE, FAILED, USAGE
from jobs.transfer import fingerprint
from store import Archive
from tests.cells.test_average import dress
from tests.cells.test_kinds import BANDS, in_decibels, write_tiff
from tests.cli.test_add_command import (  # noqa: F401
    CHUNK,
    DAY,
    TILE,
    add,
    archive,
    files_of,
    halves,
    one,
    same_cells,
)
from tests.downloading import tree
from tests.whole.test_main import answer, folder  # noqa: F401

pytestmark = pytest.mark.usefixtures("folder", "answer")

HYP3 = "S1A_IW_20260120T054200_DVP_RTC10_G_gpuned_1A2B"


def write_band(path, band, description=""):
    """A GeoTIFF with this band alone."""
    x, y = band.x.values, band.y.values
    at = rasterio.transform.from_origin(
        x[0] - (x[1] - x[0]) / 2, y[0] - (y[1] - y[0]) / 2, x[1] - x[0], y[0] - y[1]
    )
    with rasterio.open(
        path, "w", driver="GTiff", width=x.size, height=y.size, count=1, dtype="float32",
        crs="EPSG:32632", transform=at,
    ) as image:  # fmt: skip
        image.write(band.values, 1)
        if description:
            image.set_band_description(1, description)


def write_bands(folder, raster, name, described=False):
    """A file for each polarisation, as hyp3 writes them."""
    paths = []
    for band in BANDS:
        paths.append(folder / name.format(band))
        write_band(paths[-1], raster[band], band if described else "")
    return paths


def own_count(cells, band):
    return cells.get(f"{band}_count", cells["count"]).values


def with_zeros(raster):
    """Pixels of 0 in one band, which are measurements where the other one is seen."""
    random, out = np.random.default_rng(3), raster.copy()
    out["VH"] = raster["VH"].where(random.random(raster["VH"].shape) > 0.2, 0)
    out["VV"] = raster["VV"].where(random.random(raster["VV"].shape) > 0.1)
    return out


# --- a file for each band ---


@pytest.mark.parametrize(
    ("name", "described"),
    [
        (HYP3 + "_{}.tif", False), ("s1 {} 20260120.tiff", False), ("vv/../Sigma0_{}.tif", True),
        ("{}.tif", True),
    ],
)  # fmt: skip
def test_files_of_a_polarisation_each_are_one_record(one, folder, name, described, capsys):
    """The same as one file with both bands, zeros and gaps included; both names and checksums."""
    (folder / "vv").mkdir()
    raster = with_zeros(one)
    paths = write_bands(folder, raster, name, described)
    assert add(*paths, "--day", DAY) == DONE
    said = capsys.readouterr().err
    assert f"{paths[0].name} + {paths[1].name}: 2026-01-20" in said
    assert "alone" not in said
    write_tiff(folder / "both.tif", raster)
    expected = convert.raster_to_cells(folder / "both.tif", TILE)
    cells = archive().read(CHUNK)
    for variable in (*BANDS, "count", "VV_count"):
        np.testing.assert_array_equal(cells[variable], expected[variable])
    (files,) = archive().records()["files"]
    assert [(f["name"], f["sha256"], f["bands"]) for f in files] == [
        (path.name, fingerprint(path), [band]) for path, band in zip(paths, BANDS, strict=True)
    ]
    before = tree(folder)
    for again in (paths, paths[1:], paths[:1]):
        assert add(*again, "--day", DAY) == DONE
    assert tree(folder) == before


def test_lower_case_and_generic_names_are_understood(one, folder):
    one[["VV", "crs"]].rename(VV="Band1").to_netcdf("scene_vv_20260120.nc")
    write_band(folder / "scene_vh_20260120.tif", one["VH"])
    assert add("scene_vh_20260120.tif", "scene_vv_20260120.nc") == DONE
    same_cells(archive().read(CHUNK), convert.raster_to_cells(one, TILE))


def test_bands_of_different_grids_are_averaged_each_by_itself(one, folder):
    """VH in pixels of 20 m that begin elsewhere."""
    x, y = np.arange(one.x[0] - 7, one.x[-1], 20), np.arange(one.y[0] + 3, one.y[-1], -20)
    coarse = dress({"x": x, "y": y}, 32632, ("VH",), seed=9)
    write_band(folder / "a_VV.tif", one["VV"])
    write_band(folder / "a_VH.tif", coarse["VH"])
    assert add("a_VV.tif", "a_VH.tif", "--day", DAY) == DONE
    cells = archive().read(CHUNK)
    for band, raster in (("VV", one), ("VH", coarse)):
        alone = convert.raster_to_cells(raster, TILE, bands=[band])
        np.testing.assert_array_equal(cells[band], alone[band])
        np.testing.assert_array_equal(own_count(cells, band), alone["count"])
    np.testing.assert_array_equal(
        cells["count"], sum(own_count(cells, band) for band in BANDS).astype(np.uint16)
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_second_call_adds_the_band_that_is_missing(one, folder, order, capsys):
    paths = write_bands(folder, one, HYP3 + "_{}.tif")
    first, second = (paths[i] for i in order)
    gives, lacks = (BANDS[i] for i in order)
    assert add(first) == DONE
    said = " ".join(capsys.readouterr().err.split())
    assert f"1 tile, {gives} alone" in said
    assert f"no file gives {lacks}: it stays without values until another file adds it" in said
    assert np.isnan(archive().read(CHUNK)[lacks]).all()
    assert add(second) == DONE
    assert "of these to merge 1" in capsys.readouterr().err
    cells, expected = archive().read(CHUNK), convert.raster_to_cells(one, TILE)
    for band in BANDS:
        np.testing.assert_array_equal(cells[band], expected[band])
        np.testing.assert_array_equal(own_count(cells, band), expected["count"])
    assert archive().verify() == []


def test_a_pair_of_which_one_is_there_gives_the_other(one, folder):
    first, second = write_bands(folder, one, HYP3 + "_{}.tif")
    assert add(first) == DONE
    assert add(first, second) == DONE
    assert files_of(CHUNK) == [first.name, second.name]
    np.testing.assert_array_equal(
        own_count(archive().read(CHUNK), "VV"), convert.raster_to_cells(one, TILE)["count"]
    )


def test_halves_of_two_scenes_are_put_together_by_their_names(one, folder):
    """Four files: west and east, of each polarisation one."""
    for name, part in (("w", one.isel(x=slice(70))), ("e", one.isel(x=slice(70, None)))):
        write_bands(folder, part, name + "_{}_20260120.tif")
    (folder / "files").mkdir()
    for path in folder.glob("*.tif"):
        path.rename(folder / "files" / path.name)
    assert add("files") == DONE
    same_cells(archive().read(CHUNK), convert.raster_to_cells(one, TILE))


def test_somebody_is_asked_once_for_the_day_of_a_scene(one, folder, answer, capsys):
    paths = write_bands(folder, one, "scene_{}.tif")
    answer("2026-01-20", "1", "y")
    assert add(*paths, yes=False) == DONE
    assert archive().chunks() == [CHUNK]


# --- files that refer to others ---


def vrt(path, *names, relative=1):
    """A .vrt with a band of each of these files."""
    with rasterio.open(next(Path(path).parent.glob("a_VV.tif"))) as image:
        width, height, crs = image.width, image.height, image.crs.to_wkt()
        at = ",".join(str(value) for value in image.transform.to_gdal())
    bands = "".join(
        f'<VRTRasterBand dataType="Float32" band="{i}"><Description>{band}</Description>'
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, (band, name) in enumerate(zip(BANDS, names, strict=True), 1)
    )
    Path(path).write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{at}</GeoTransform>{bands}</VRTDataset>"
    )


def test_the_checksum_of_a_vrt_is_that_of_the_files_it_refers_to(one, folder, capsys):
    write_bands(folder, one, "a_{}.tif")
    vrt(folder / "both.vrt", "a_VV.tif", "a_VH.tif")
    vrt(folder / "nested.vrt", "both.vrt", "a_VH.tif")
    assert add("both.vrt", "--day", DAY) == DONE
    same_cells(archive().read(CHUNK), convert.raster_to_cells(one, TILE))
    assert add("both.vrt", "--day", DAY) == DONE
    assert "Nothing to add." in capsys.readouterr().err
    sums = {name: convert_sum(folder / name) for name in ("both.vrt", "nested.vrt")}
    write_band(folder / "a_VH.tif", one["VV"])  # other content
    for name, before in sums.items():
        assert convert_sum(folder / name) != before
    assert add("both.vrt", "--day", DAY, "--dry-run") == DONE
    assert "of these to merge 1" in capsys.readouterr().err


def convert_sum(path):
    about = convert.about(path, (0.04, 0.04))
    return adding.checksum(path, about.others)


def test_a_vrt_of_a_vrt_and_of_a_file_in_an_archive_names_them_all(one, folder):
    write_bands(folder, one, "a_{}.tif")
    vrt(folder / "both.vrt", "a_VV.tif", "a_VH.tif")
    vrt(folder / "nested.vrt", "both.vrt", "a_VH.tif")
    others = convert.about(folder / "nested.vrt", (0.04, 0.04)).others
    assert sorted(path.name for path in others) == ["a_VH.tif", "a_VV.tif", "both.vrt"]
    shutil.make_archive("packed", "zip", folder, "a_VH.tif")
    vrt(folder / "zip.vrt", "a_VV.tif", "/vsizip/packed.zip/a_VH.tif")
    others = convert.about(folder / "zip.vrt", (0.04, 0.04)).others
    assert sorted(path.name for path in others) == ["a_VV.tif", "packed.zip"]
    one[["VH", "crs"]].to_netcdf("vh.nc")
    vrt(folder / "nc.vrt", "a_VV.tif", 'NETCDF:"vh.nc":VH')
    others = convert.about(folder / "nc.vrt", (0.04, 0.04)).others
    assert sorted(path.name for path in others) == ["a_VV.tif", "vh.nc"]


@pytest.mark.parametrize("name", ["gone.tif", "/vsicurl/http://127.0.0.1:9/a.tif"])
def test_a_vrt_of_what_is_not_here_is_refused(one, folder, name, capsys):
    write_bands(folder, one, "a_{}.tif")
    vrt(folder / "a.vrt", "a_VV.tif", name, relative=int(not name.startswith("/")))
    assert add("a.vrt", "--day", DAY) == USAGE
    said = " ".join(capsys.readouterr().err.split())
    assert f"its values are in {name}, and there is no such file here" in said
    assert not (folder / main.ZARR_PATH).exists()


# --- folders, patterns, names ---


def test_what_has_nothing_to_do_with_it_in_a_folder_is_left_aside(one, folder, capsys):
    """As in a product of hyp3: the terrain, a mask, a picture, a text; and that is no failure."""
    product = folder / HYP3
    product.mkdir()
    write_bands(product, one, HYP3 + "_{}.tif")
    for name in ("dem", "inc_map", "ls_map"):
        write_band(product / f"{HYP3}_{name}.tif", one["VV"])
    (product / "README.md.txt").write_text("about it")
    (product / "folder.tif").mkdir()
    (product / "._x.tif").write_bytes(b"of a Mac")
    assert add(product) == DONE
    out, said = capsys.readouterr()
    assert f"left aside, without a band VV or VH: {HYP3}_dem.tif, {HYP3}_inc_map.tif" in said
    assert "failed" not in out
    same_cells(archive().read(CHUNK), convert.raster_to_cells(one, TILE))
    assert add(product / f"{HYP3}_dem.tif") == USAGE, "who names it means it"


def test_a_folder_of_nothing_but_others_is_told_so(one, folder, capsys):
    (folder / "files").mkdir()
    write_band(folder / "files" / "dem.tif", one["VV"])
    assert add("files", "--day", DAY) == USAGE
    assert "none of dem.tif has a band VV or VH.  Nothing was done." in capsys.readouterr().err


def cut(path, raster):
    write_tiff(path, raster)
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize("kind", ["damaged", "decibels"])
def test_a_file_of_no_use_takes_no_other_one_of_its_tile_along(one, folder, kind, capsys):
    """What is found out when its pixels are read: it is named, and the others are added."""
    halves(one, folder)
    make = {"damaged": cut, "decibels": lambda path, raster: write_tiff(path, in_decibels(raster))}
    make[kind](folder / "middle.tif", one)
    assert add("west.tif", "middle.tif", "east.tif", "--day", DAY) == FAILED
    out = capsys.readouterr().out
    assert "failed" in out
    assert "middle.tif" in out
    assert "added" in out
    assert files_of(CHUNK) == ["west.tif", "east.tif"]
    same_cells(archive().read(CHUNK), convert.raster_to_cells(one, TILE))


def test_files_of_no_use_alone_are_each_named(one, folder, capsys):
    for name in ("a.tif", "b.tif"):
        cut(folder / name, one.isel(x=slice(None if name == "a.tif" else 100)))
    assert add("a.tif", "b.tif", "--day", DAY) == FAILED
    assert "a.tif: VV cannot be read" in capsys.readouterr().out
    assert not (folder / main.ZARR_PATH).exists()


def in_folders(folder, one):
    (folder / "files" / "deep").mkdir(parents=True)
    return ["files"]


def safe(folder, one):
    (folder / "S1A.SAFE").mkdir()
    (folder / "S1A.SAFE" / "manifest.safe").write_text("<xml/>")
    return ["S1A.SAFE"]


def two_days(folder, one):
    write_tiff(folder / "s1_20260120_20260201.tif", one)
    return ["s1_20260120_20260201.tif"]


WRONG = {
    "no name": (lambda folder, one: [""], "The name of a file is empty."),
    "folders in a folder": (in_folders, "folders in it are not looked into"),
    "a product of the radar": (
        safe,
        "in the geometry of the radar: calibrate and geocode it first",
    ),
    "two days in a name": (
        two_days,
        "its name has the days 2026-01-20 and 2026-02-01; name it with",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_name_is_told_in_a_line(case, one, folder, capsys):
    make, words = WRONG[case]
    assert add(*make(folder, one)) == USAGE
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (folder / main.ZARR_PATH).exists()


def test_a_pattern_that_the_shell_has_left_is_a_pattern(one, folder, capsys):
    halves(one, folder)
    (folder / "odd[1].tif").write_bytes((folder / "west.tif").read_bytes())
    assert add("[we]*st.tif", "--day", DAY) == DONE
    same_cells(archive().read(CHUNK), convert.raster_to_cells(one, TILE))
    assert add("odd[1].tif", "--day", DAY) == DONE
    assert "Nothing to add." in capsys.readouterr().err
    assert add("none*.tif", "--day", DAY) == USAGE
    assert "There is no file none*.tif.  Nothing was done." in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs links")
def test_a_link_is_what_it_leads_to_and_one_to_nowhere_is_named(one, folder, capsys):
    write_tiff(folder / "a.tif", one)
    (folder / "files").mkdir()
    (folder / "files" / "20260120.tif").symlink_to(folder / "a.tif")
    (folder / "files" / "gone.tif").symlink_to(folder / "nothing.tif")
    assert add("files", "a.tif", "--day", DAY) == FAILED
    assert "left aside: files/gone.tif is a link to nowhere" in capsys.readouterr().err
    assert files_of(CHUNK) == ["20260120.tif"], "the same content once"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read_is_named(one, folder, capsys):
    write_tiff(folder / "a.tif", one)
    (folder / "a.tif").chmod(0)
    assert add("a.tif", "--day", DAY) == USAGE
    assert "a.tif: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "escape", "expected"),
    [
        ("a.tif b.tif", "\\", ["a.tif", "b.tif"]),
        ("'a b.tif' c.nc", "\\", ["a b.tif", "c.nc"]),
        ("a\\ b.tif", "\\", ["a b.tif"]),
        ("C:\\data\\a.tif D:\\b.nc", "", ["C:\\data\\a.tif", "D:\\b.nc"]),
        ('"C:\\my data\\a.tif" b.nc', "", ["C:\\my data\\a.tif", "b.nc"]),
        ("//server/share/a#1.tif", "", ["//server/share/a#1.tif"]),
    ],
)
def test_names_at_the_question_may_have_blanks_and_backslashes(text, escape, expected):
    assert questions.words(text, escape) == expected
    assert questions.words(questions.as_text(map(Path, expected)), escape) == expected or escape


def test_the_files_of_the_last_time_are_offered_again(one, folder, answer, capsys):
    write_tiff(folder / "a b.tif", one)
    (folder / f"{main.ZARR_PATH}.downloads").mkdir()
    answer("a b.tif", "2026-01-20", "1", "y")
    assert add(yes=False) == DONE
    answer("", "2026-01-20", "1")
    assert add(yes=False) == DONE
    said = capsys.readouterr().err
    assert '["a b.tif"]' in said
    assert "Nothing to add." in said


# --- Sentinel-2 ---


def sentinel2(one, seed=0):
    """As the back end writes it: whole numbers, reflectance x 10,000, and classes."""
    random, shape = np.random.default_rng(seed), one["VV"].shape
    raster = one[["crs"]].assign_coords(one.coords)
    for band in ("B02", "B04"):
        values = random.integers(0, 12000, shape).astype(np.int16)
        values[random.random(shape) < 0.1] = -32768
        raster[band] = ("y", "x"), values, {"grid_mapping": "crs", "_FillValue": np.int16(-32768)}
    classes = random.choice([4, 5, 6, 9], shape, p=[0.5, 0.3, 0.1, 0.1]).astype(np.uint8)
    raster["SCL"] = ("y", "x"), classes, {"grid_mapping": "crs"}
    return raster


@pytest.fixture
def optical(monkeypatch):
    monkeypatch.setattr(download, "COLLECTION", "SENTINEL2_L2A")
    monkeypatch.setattr(download, "BANDS", ("B02", "B04", "SCL"))


def expected_reflectance(raster, band, tile):
    """Mean of the pixels of each cell that are there, by numpy."""
    from tests.archive.test_counts import _ids
    from tests.cells.test_average import pixel_cells

    owned = _ids(convert.raster_to_cells(raster, tile, bands=[band], product=product()))
    ids, values = pixel_cells(raster), raster[band].values.astype(float)
    inside = np.isin(ids, owned) & (values != -32768)
    at = np.searchsorted(owned, ids[inside])
    count = np.bincount(at, minlength=owned.size)
    with np.errstate(invalid="ignore"):
        return np.bincount(at, values[inside], owned.size) / count * 1e-4, count, owned, ids


def product():
    return download.settings().recipe.collection.product


@pytest.mark.usefixtures("optical")
@pytest.mark.parametrize("form", ["nc", "tif"])
def test_a_file_of_sentinel_2_becomes_reflectance_and_classes(one, folder, form, capsys):
    raster = sentinel2(one)
    name = f"openEO_2026-01-20.{form}"
    if form == "nc":
        raster.to_netcdf(name)
    else:
        write_optical(folder / name, raster)
    assert add(name) == DONE
    assert f"{name}: 2026-01-20 (by its name), any, 1 tile" in capsys.readouterr().err
    cells = archive().read(CHUNK)
    for band in ("B02", "B04"):
        mean, count, owned, ids = expected_reflectance(raster, band, TILE)
        np.testing.assert_allclose(cells[band], mean, rtol=1e-6)
        np.testing.assert_array_equal(own_count(cells, band), count)
    inside = np.isin(ids, owned)
    votes = np.zeros((10, owned.size), int)
    np.add.at(votes, (raster["SCL"].values[inside], np.searchsorted(owned, ids[inside])), 1)
    np.testing.assert_array_equal(
        cells["SCL"].values, np.where(votes.any(axis=0), votes.argmax(axis=0), np.nan)
    )
    assert archive().layout.product.name == "SENTINEL2_L2A"
    assert archive().records()["backend"].tolist() == ["file"]


def write_optical(path, raster):
    """A GeoTIFF with numbers of one type, as GDAL wants it; scale and offset are the product's."""
    bands = ["B02", "B04", "SCL"]
    x, y = raster.x.values, raster.y.values
    at = rasterio.transform.from_origin(x[0] - 5, y[0] + 5, 10, 10)
    with rasterio.open(
        path, "w", driver="GTiff", width=x.size, height=y.size, count=3, dtype="int16",
        crs="EPSG:32632", transform=at, nodata=-32768,
    ) as file:  # fmt: skip
        for i, band in enumerate(bands, 1):
            file.write(raster[band].values.astype(np.int16), i)
        file.descriptions = bands


@pytest.mark.usefixtures("optical")
def test_files_of_one_band_of_sentinel_2_are_put_together(one, folder):
    raster = sentinel2(one)
    raster.to_netcdf("all_20260120.nc")
    for band in ("B02", "B04", "SCL"):
        raster[[band, "crs"]].to_netcdf(f"T32UMB_20260120_{band}_10m.nc")
    names = sorted(path.name for path in folder.glob("T32*.nc"))
    assert add(*names) == DONE
    assert add("all_20260120.nc", "--archive", "all.zarr") == DONE
    alike = archive().read(CHUNK), Archive("all.zarr").read(CHUNK)
    for name in alike[1]:
        np.testing.assert_array_equal(alike[0][name], alike[1][name])


@pytest.mark.parametrize("first", ["radar", "optical"])
def test_files_of_another_collection_are_refused_with_both_named(one, folder, first, capsys):
    one.to_netcdf("radar_20260120.nc")
    sentinel2(one).to_netcdf("optical_20260120.nc")
    made = {"radar": ("SENTINEL1_GRD", BANDS), "optical": ("SENTINEL2_L2A", ("B02", "B04", "SCL"))}
    second = ({*made} - {first}).pop()
    with pytest.MonkeyPatch.context() as constants:
        constants.setattr(download, "COLLECTION", made[first][0])
        constants.setattr(download, "BANDS", made[first][1])
        assert add(f"{first}_20260120.nc") == DONE
    before = tree(folder)
    assert add(f"{second}_20260120.nc", "--day", "2026-01-21") == USAGE
    said = " ".join(capsys.readouterr().err.split())
    assert f"{second}_20260120.nc: there is no band" in said
    assert f"{made[first][0]}" in said
    assert f"{made[second][0]}" in said
    assert tree(folder) == before


def test_groups_of_a_netcdf_are_named_where_its_root_holds_no_band(one, folder, capsys):
    one.to_netcdf("a.nc", group="data")
    assert add("a.nc", "--day", DAY) == USAGE
    said = " ".join(capsys.readouterr().err.split())
    assert "its root holds nothing, its groups are: data" in said
    assert xr.open_dataset("a.nc", group="data")["VV"].ndim == 2
