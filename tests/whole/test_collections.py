"""Other collections end to end: from a constant that was edited, or a flag, to pictures."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pytest
import rasterio
import xarray as xr
from PIL import Image

import convert
import download
import main
from cli import download_command, menu
from cli.exits import DONE, FAILED, NO_DATA, USAGE
from cli.workspace import Workspace
from images.scales import scale_of
from shared.collection import SENTINEL2, product_of
from store import Archive
from tests.cells.test_products import assert_as_expected, expected
from tests.whole.test_main import BOX, answer, folder, settle  # noqa: F401
from tests.whole.test_main import order as usual_order

DAY = "2026-01-20"
BANDS = ("B02", "B03", "B04", "B08", "SCL")
DEM_DAYS = "2011-01-01/2014-12-31"


def order(sandbox, start=DAY, *more):
    return usual_order(sandbox, "--start", start, "--end", start, *more)


@pytest.fixture(scope="module")
def sentinel2(sandbox, tmp_path_factory):
    """A folder with an archive of Sentinel-2, by nothing but two edited constants."""
    place = tmp_path_factory.mktemp("s2")
    with pytest.MonkeyPatch.context() as patch:
        settle(place, patch)
        patch.setattr(download, "COLLECTION", "SENTINEL2_L2A")
        patch.setattr(download, "BANDS", BANDS)
        patch.setattr(download, "KEEP_RAW", True)
        assert order(sandbox) == DONE
    return place


def test_every_band_of_sentinel2_is_archived_in_its_own_units(sandbox, folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr(download, "KEEP_RAW", True)
    bands = "AOT,WVP,CLD,SNW,B01,B11"
    assert order(sandbox, DAY, "--collection", "SENTINEL2_L2A", "--bands", bands) == DONE
    archive = assert_archived(folder, SENTINEL2.product)
    cells = archive.read(archive.chunks()[0])
    assert 0.05 < float(cells["AOT"].mean()) < 0.6
    assert 0 <= float(cells["CLD"].min()) < float(cells["CLD"].max()) <= 100


def test_how_cloudy_an_image_may_be_is_asked(sandbox, folder, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setattr(download, "COLLECTION", "SENTINEL2_L2A")
    monkeypatch.setattr(download, "BANDS", ("B04",))
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{BOX}\ny\n{DAY}\n\n-3\n0 %\n"))
    place = ["--backend", sandbox.url, "--catalogue", f"{sandbox.url}/stac"]
    assert main.main(["download", *place, "--dry-run"]) == NO_DATA
    told = capsys.readouterr().err
    assert "'-3' is no number from 0 to 100" in told
    assert "with clouds over more than 0 %" in told


@pytest.fixture(scope="module")
def heights(sandbox, tmp_path_factory):
    """A folder with an archive of heights, by flags."""
    place = tmp_path_factory.mktemp("dem")
    with pytest.MonkeyPatch.context() as patch:
        settle(place, patch)
        patch.setattr(download, "KEEP_RAW", True)
        assert order(sandbox, DEM_DAYS, "--collection", "COPERNICUS_30", "--bands", "dem") == DONE
    return place


def assert_archived(place, product):
    """Every record is what numpy and healpy make of the file that it came from."""
    archive, number = Archive(place / main.ZARR_PATH), 0
    raw = sorted((place / f"{main.ZARR_PATH}.downloads").rglob("*.nc"))
    for chunk in archive.chunks():
        (path,) = [path for path in raw if path.name.startswith(chunk.name)]
        with xr.open_dataset(path, mask_and_scale=False) as file:
            made = file.load()
        crs = made.crs.attrs["crs_wkt"]
        assert archive.layout is not None
        bands, cells = archive.layout.bands, archive.read(chunk)
        assert_as_expected(
            cells, *expected(made, product, bands, chunk.tile, convert.NSIDE, crs)
        )  # fmt: skip
        number += 1
    assert number > 0
    return archive


def test_sentinel2_is_archived_as_reflectance_and_classes(sentinel2):
    archive = assert_archived(sentinel2, SENTINEL2.product)
    assert {chunk.orbit for chunk in archive.chunks()} == {"any"}
    cells = archive.read(archive.chunks()[0])
    assert 0 < float(cells["B03"].median()) < 1
    assert set(np.unique(cells["SCL"])) <= set(range(12)) | {np.nan}
    coarse = archive.read(archive.chunks()[0], level=14)
    assert set(np.unique(coarse["SCL"])) <= set(np.unique(cells["SCL"]))


def test_an_overview_has_the_most_frequent_class(sentinel2):
    archive = Archive(sentinel2 / main.ZARR_PATH)
    chunk = archive.chunks()[0]
    fine, coarse = archive.read(chunk), archive.read(chunk, level=16)
    from healpix.ids import runs_to_ids

    parents = runs_to_ids(fine.start_ipix.values, fine.run_len.values) >> np.uint64(4)
    ids = runs_to_ids(coarse.start_ipix.values, coarse.run_len.values)
    place = np.searchsorted(ids, parents)
    classes = np.unique(fine.SCL.values[np.isfinite(fine.SCL.values)])
    votes = np.stack(
        [np.bincount(place[m], fine["count"].values[m], ids.size)
         for m in (fine.SCL.values == c for c in classes)]
    )  # fmt: skip
    expected = np.where(votes.sum(axis=0) > 0, classes[votes.argmax(axis=0)], np.nan)
    np.testing.assert_array_equal(coarse.SCL.values, expected.astype(np.float32))


def test_its_picture_is_in_true_colour_and_its_files_say_what_they_hold(
    sentinel2, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(sentinel2)
    outputs = [f"--output={tmp_path / name}" for name in ("a.png", "a.nc", "a.tif")]
    flags = ["--bbox", BOX, "--day", DAY, "--no-show", *outputs]
    assert main.main(["retrieve", *flags]) == DONE
    said = capsys.readouterr().err
    assert said.count("B04:") == said.count("B03:") == said.count("B02:") == 1
    assert "dB" not in said
    with Image.open(tmp_path / "a.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (np.ptp(colours.astype(int), axis=1) > 20).mean() > 0.05
    with xr.open_dataset(tmp_path / "a.nc") as file:
        assert file.B04.attrs["standard_name"] == "surface_bidirectional_reflectance"
        assert file.SCL.attrs["long_name"] == "scene classification"
        assert set(np.unique(file.SCL.values[np.isfinite(file.SCL.values)])) <= set(range(12))
        assert not [name for name in file if str(name).endswith("_dB")]
        assert "Sentinel-2" in file.attrs["title"]
        product = product_of(file.attrs)
    assert scale_of({"product": json.dumps(product.to_json())}).composite(BANDS) == (
        "B04", "B03", "B02",
    )  # fmt: skip
    with rasterio.open(tmp_path / "a.tif") as image:
        assert image.descriptions == BANDS
    other = ["--composite", "b08,b04,b03", "--stretch", "0,0.4", "--overwrite"]
    assert main.main(["retrieve", *flags, *other]) == DONE
    assert "B08: 0 to 0.4 (as asked)" in capsys.readouterr().err


def test_a_coarse_picture_never_averages_classes(sentinel2, monkeypatch, tmp_path):
    import retrieve
    from grid import BBox

    archive, box = Archive(sentinel2 / main.ZARR_PATH), BBox.parse(BOX)
    day = archive.chunks()[0].day
    for step in (0.002, 0.01):
        grid = retrieve.retrieve(archive, box, day, ["SCL"], step, step)
        values = grid.SCL.values[np.isfinite(grid.SCL.values)]
        assert values.size
        assert set(np.unique(values)) <= set(range(12))
    fine = retrieve.retrieve(archive, box, day, ["SCL"], 2e-5, 3e-5, method="bilinear")
    assert set(np.unique(fine.SCL.values[np.isfinite(fine.SCL.values)])) <= set(range(12))


def test_cloudy_images_are_left_aside_and_not_ordered(sandbox, folder, answer, capsys):  # noqa: F811
    flags = ["--collection", "SENTINEL2_L2A", "--bands", "B04", "--max-cloud", "0"]
    assert order(sandbox, DAY, *flags) in (DONE, NO_DATA)
    said = capsys.readouterr().err
    assert "with clouds over more than 0 %" in said


def test_heights_are_kept_by_what_the_back_end_says(heights, monkeypatch, capsys, tmp_path):
    layout = Archive(heights / main.ZARR_PATH).layout
    assert layout is not None
    assert (layout.product.name, layout.bands) == ("COPERNICUS_30", ("DEM",))
    archive = assert_archived(heights, layout.product)
    cells = archive.read(archive.chunks()[0])
    assert float(cells["DEM"].min()) < 0
    monkeypatch.chdir(heights)
    day = str(archive.chunks()[0].day)
    flags = ["--bbox", BOX, "--day", day, "--no-show"]
    outputs = [f"--output={tmp_path / name}" for name in ("h.png", "h.nc")]
    assert main.main(["retrieve", *flags, *outputs]) == DONE
    assert " m (2nd to 98th percentile)" in capsys.readouterr().err
    with xr.open_dataset(tmp_path / "h.nc") as file:
        assert file.DEM.attrs["units"] == "m"
    assert main.main(["verify"]) == DONE


def test_what_is_guessed_is_said_before_anything_is_ordered(sandbox, folder, answer, capsys):  # noqa: F811
    flags = ["--collection", "COPERNICUS_30", "--bands", "DEM", "--dry-run"]
    assert order(sandbox, DEM_DAYS, *flags) == DONE
    said = " ".join(capsys.readouterr().err.split())
    assert "COPERNICUS_30 is kept by what the back end says of it" in said
    assert "DEM: Height of the surface, in m" in said
    assert "coarser than cells" in said
    assert "NSIDE = 131072" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--collection", "SENTINEL2"], "no collection SENTINEL2; it has SENTINEL2_L2A"),
        (["--collection", "COPERNICUS_30", "--bands", "HEIGHT"], "some of DEM, which COPERNICUS"),
        (["--collection", "SENTINEL2_L2A"], "BANDS in download.py"),
        (["--bands", "VV,B04"], "some of VV, VH, HH, HV, which SENTINEL1_GRD has"),
        (["--collection", "SENTINEL2_L2A", "--bands", "B04", "--orbit", "ascending"], "by orbit"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(sandbox, folder, answer, capsys, flags, words):  # noqa: F811
    assert order(sandbox, DAY, *flags) == USAGE
    assert words in " ".join(capsys.readouterr().err.split())
    assert sandbox.events()["counts"].get("created", 0) >= 0
    assert not (folder / main.ZARR_PATH).exists()


def test_a_catalogue_in_trouble_is_not_one_without_the_collection(faulty, folder, answer, capsys):  # noqa: F811
    faulty.fault("503=1,path=/stac")
    flags = ["--collection", "COPERNICUS_30", "--bands", "DEM"]
    assert order(faulty, DEM_DAYS, *flags) == FAILED
    assert "cannot be asked which images there are" in " ".join(capsys.readouterr().err.split())
    assert not (folder / main.ZARR_PATH).exists()


def test_what_was_interrupted_goes_on_with_its_collection(sandbox, sentinel2):
    with Workspace(str(sentinel2 / main.ZARR_PATH)).journal() as journal:
        with journal._writing() as database:
            database.execute("UPDATE requests SET closed = NULL")
        request = journal.unfinished_request()
    assert request is not None
    recipe = download_command.settings(menu.flags_of(request)).download.recipe
    assert (recipe.collection.name, recipe.bands) == ("SENTINEL2_L2A", BANDS)


def test_an_archive_is_of_one_collection(sandbox, sentinel2, monkeypatch, capsys):
    monkeypatch.chdir(sentinel2)
    monkeypatch.setattr(download, "CHUNK_SIZE", [0.04, 0.04])
    assert order(sandbox) == USAGE
    said = capsys.readouterr().err
    assert "COLLECTION = SENTINEL2_L2A" in said
    assert "SENTINEL1_GRD" in said
