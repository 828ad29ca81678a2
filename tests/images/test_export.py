"""Files that other programs open: netCDF by the CF rules, GeoTIFF by GDAL, pictures."""

from __future__ import annotations

import errno
import os
import shutil
import signal

import h5py
import netCDF4
import numpy as np
import pytest
import rasterio
import xarray as xr
from compliance_checker.runner import CheckSuite, ComplianceChecker
from PIL import Image
from pyproj import CRS

import retrieve
from archive.layout import ArchiveError
from images.export import checked_target
from images.grids import GRID_MAPPING, georeferenced
from retrieve import export, plot, save_figure
from shared.files import is_disk_full
from tests.processes import context
from tests.rounds import combinations, torture

STANDARD_NAME = "surface_backwards_scattering_coefficient_of_radar_wave"


def grid(west=7.0, south=50.0, rows=60, columns=50, dlat=15e-4, dlon=24e-4, bands=("VV", "VH")):
    """A speckled grid as `retrieve` returns it, with a gap and a zero."""
    rng = np.random.default_rng(1)
    out = xr.Dataset(
        coords={
            "lat": south + (np.arange(rows) + 0.5) * dlat,
            "lon": west + (np.arange(columns) + 0.5) * dlon,
            "time": np.datetime64("2026-01-20", "s"),
        },
        attrs={
            "title": "Sentinel-1 backscatter", "source": "synthetic data", "synthetic": 1,
            "day": "2026-01-20", "orbit": "ascending", "dlat": dlat, "dlon": dlon,
            "history": "made",
        },
    )  # fmt: skip
    for band in bands:
        values = rng.gamma(4.4, 0.02, (rows, columns)).astype(np.float32)
        values[:7, :9], values[-1, -1] = np.nan, 0
        out[band] = (("lat", "lon"), values)
    return georeferenced(out)


def test_the_netcdf_file_passes_the_cf_checker(tmp_path):
    path = export(grid(), tmp_path / "a.nc")
    assert_cf(path, tmp_path)


def assert_cf(path, folder):
    """By the checker of the IOOS, in full.

    But of a scalar it wants bounds of two dimensions, where CF (7.1) wants one more than what is
    bounded has: that is all that it may say, and nothing of a file without such bounds.
    """
    plain = shutil.copy(path, folder / "plain.nc")
    with netCDF4.Dataset(plain, "a") as file:
        scalars = {name: of for name, of in file.variables.items() if of.ndim == 0}
        bounded = {name: of for name, of in scalars.items() if "bounds" in of.ncattrs()}
        for time in bounded.values():  # the bounds are then by themselves
            names = set(time.ncattrs()) - {"bounds", "axis", "_FillValue"}
            file.variables[time.bounds].setncatts({name: time.getncattr(name) for name in names})
            time.delncattr("bounds")
    passed, report = checked(plain, folder)
    assert passed, report
    assert any("All tests passed" in line for line in report)
    _, report = checked(path, folder)
    remarks = sorted(line for line in report if line.startswith("* "))
    for name, line in zip(sorted(bounded), remarks, strict=True):
        assert f"specified by {name} " in line
        assert line.endswith("the base case of a one dimensionsal variable")


def checked(path, folder):
    """Whether the checker has nothing to remark, and what it says, line by line."""
    CheckSuite.load_all_available_checkers()
    report = folder / "report.txt"
    passed, errors = ComplianceChecker.run_checker(
        str(path), ["cf:1.11"], 0, "strict", output_filename=str(report), output_format="text"
    )
    assert not errors
    return passed, report.read_text().splitlines()


def test_the_netcdf_file_holds_linear_power_and_decibels_and_says_what_they_are(tmp_path):
    dataset = grid()
    with xr.open_dataset(export(dataset, tmp_path / "a.nc"), decode_coords="all") as back:
        xr.testing.assert_equal(back["VV"], dataset["VV"])
        np.testing.assert_array_equal(back["lon"], dataset["lon"])
        power = dataset["VH"].values.astype(float)
        with np.errstate(divide="ignore"):
            decibel = np.where(power > 0, 10 * np.log10(power), np.nan)
        np.testing.assert_allclose(back["VH_dB"], decibel, atol=1e-5)
        assert back["VV"].attrs["units"] == "1"
        assert back["VV_dB"].attrs["units"] == "0.1 lg(re 1)"
        assert {back[n].attrs["standard_name"] for n in ("VV", "VH_dB")} == {STANDARD_NAME}
        assert back["VV"].encoding["grid_mapping"] == "crs"
        assert back["crs"].attrs["grid_mapping_name"] == "latitude_longitude"
        assert back["time"].values == np.datetime64("2026-01-20")
        assert back["lat_bnds"].values[[0, -1], [0, 1]] == pytest.approx([50, 50.09])
        assert back["lon_bnds"].values[:-1, 1] == pytest.approx(back["lon_bnds"].values[1:, 0])
        assert back.attrs["Conventions"] == "CF-1.11"
        assert back.attrs["source"] == "synthetic data"
        assert back.attrs["geospatial_lat_max"] == pytest.approx(50.09)
        made, exported = back.attrs["history"].split("\n")
        assert made == "made"
        assert exported.endswith("exported")


def test_gdal_finds_every_value_of_the_geotiff_at_its_place(tmp_path):
    dataset = grid()
    with rasterio.open(export(dataset, tmp_path / "a.tif")) as back:
        assert back.crs.to_epsg() == 4326
        assert back.descriptions == ("VV", "VH")
        assert back.dtypes == ("float32", "float32")
        assert np.isnan(back.nodata)
        assert tuple(back.bounds) == pytest.approx((7, 50, 7.12, 50.09))
        assert back.tags()["source"] == "synthetic data"
        points = [(lon, lat) for lat in dataset["lat"].values for lon in dataset["lon"].values]
        sampled = np.array(list(back.sample(points)))
    for i, band in enumerate(("VV", "VH")):
        np.testing.assert_array_equal(sampled[:, i], dataset[band].values.ravel())


def test_the_geotiff_is_cloud_optimised_with_overviews_averaged_in_power(tmp_path):
    dataset = grid(rows=1200, columns=1100, dlat=15e-5, dlon=24e-5, bands=("VV",))
    path = export(dataset, tmp_path / "a.tif")
    with rasterio.open(path) as back:
        assert back.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert back.block_shapes == [(512, 512)]
        assert back.overviews(1)[0] == 2
    with rasterio.open(path, overview_level=0) as half:
        overview = half.read(1)[::-1]
    blocks = dataset["VV"].values.reshape(600, 2, 550, 2)
    np.testing.assert_allclose(overview[10:-1], blocks.mean(axis=(1, 3))[10:-1], rtol=1e-5)


def test_a_box_across_180_degrees_stays_in_one_piece(tmp_path):
    dataset = grid(west=179.95)
    with rasterio.open(export(dataset, tmp_path / "a.tif")) as back:
        assert back.bounds.left == pytest.approx(179.95)
        assert back.bounds.right == pytest.approx(180.07)
    with xr.open_dataset(export(dataset, tmp_path / "a.nc")) as back:
        assert back["lon"].values[-1] > 180
        assert back.attrs["geospatial_lon_min"] == pytest.approx(179.95)
        assert back.attrs["geospatial_lon_max"] == pytest.approx(-179.93)


@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_a_single_pixel_is_written_with_its_size(tmp_path, suffix):
    path = export(grid(rows=1, columns=1), tmp_path / f"a{suffix}")
    if suffix == ".nc":
        with xr.open_dataset(path) as back:
            assert back["lat_bnds"].values.tolist() == [pytest.approx([50, 50.0015])]
    else:
        with rasterio.open(path) as back:
            assert back.res == pytest.approx((24e-4, 15e-4))


def test_the_picture_has_300_dots_per_inch_and_says_in_the_file_what_it_is(tmp_path):
    dataset = grid(bands=("VV",))
    path = export(dataset, tmp_path / "a.png")
    with Image.open(path) as picture:
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert "synthetic data" in picture.info["Description"]
        size = picture.size
    with Image.open(save_figure(plot(dataset), tmp_path / "b.png")) as picture:
        assert picture.size == size


def test_a_file_that_is_there_is_left_alone_unless_told(tmp_path):
    path = tmp_path / "ein Überblick.tif"
    path.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="exists already"):
        export(grid(), path)
    assert path.read_bytes() == b"old"
    export(grid(), path, overwrite=True)
    with rasterio.open(path) as back:
        assert back.count == 2
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "error", "word"),
    [
        ("a.jpg", ValueError, "must end in .nc or .tif or .png"),
        ("a", ValueError, "must end in"),
        ("", IsADirectoryError, "is a folder"),
        ("there is/no/a.nc", FileNotFoundError, "does not exist"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_in_one_sentence(tmp_path, name, error, word):
    with pytest.raises(error, match=word):
        export(grid(), tmp_path / name)
    with pytest.raises(error, match=word):
        checked_target(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_too_little_space_is_said_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    for suffix in (".nc", ".tif", ".png"):
        with pytest.raises(OSError, match="free on the disk") as error:
            export(grid(), tmp_path / f"a{suffix}")
        assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def write_in_vain(folder):
    """Write to files that may not become large."""
    import resource  # not on Windows

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    dataset, hard = grid(), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for limit in (3_000, 15_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        for path in sorted(folder.iterdir()):
            with pytest.raises(OSError, match=path.name):
                export(dataset, path, overwrite=True)


@pytest.mark.skipif(os.name == "nt", reason="the size of files cannot be limited on Windows")
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    names = ["a.nc", "a.png", "a.tif"]
    for name in names:
        (tmp_path / name).write_bytes(b"old")
    process = context().Process(target=write_in_vain, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_bytes() == b"old" for name in names)


# --- gaps ---

ODD = np.array([0x7FC00000, 0xFFC00000, 0x7FC00001, 0xFFFFFFFF, 0x7FA00000], "<u4").view("<f4")
SHAPE = (3, 2, 588, 720)  # days, bands, rows, columns
GAPS: dict[str, tuple[object, ...]] = {
    "none": (slice(0), slice(0)),
    "a pixel": (..., slice(300, 301), slice(700, 701)),
    "a corner": (..., slice(None, 40), slice(None, 50)),
    "the upper right": (..., slice(320, None), slice(300, None)),
    "whole blocks": (..., slice(76, 588), slice(0, 512)),
    "all but a pixel": (..., slice(1, None), slice(None)),
    "a band": (slice(None), 1),
    "a day": (1,),
    "a band of a day": (0, 0),
    "all": (...,),
}


def gapped(where, days, dtype="<f4"):
    """A grid of some days, with NaNs of all kinds where nothing is; and what is to be found."""
    rng = np.random.default_rng(2)
    values = rng.gamma(4.4, 0.02, SHAPE).astype("<f4")
    values[..., -1, -3:] = 0.0, -0.0, np.inf
    expected = values.copy()
    values[where] = np.resize(ODD, values[where].shape)
    expected[where] = np.nan
    dims = ("time", "lat", "lon")
    coords = {
        "lat": 50 + (np.arange(SHAPE[2]) + 0.5) * 15e-5,
        "lon": 7 + (np.arange(SHAPE[3]) + 0.5) * 24e-5,
        "time": np.datetime64("2026-01-20", "s") + np.arange(3) * np.timedelta64(86400, "s"),
    }
    attrs = {"source": "made", "day": "2026-01-20", "orbit": "any"}
    with np.errstate(invalid="ignore"):  # of a signalling NaN
        values = values.astype(dtype)
    bands = {band: (dims, values[:, i]) for i, band in enumerate(("VV", "VH"))}
    dataset = georeferenced(xr.Dataset(bands, coords, attrs))
    if days == 1:
        return dataset.isel(time=0), expected[:1]
    return dataset.isel(time=slice(days)), expected[:days]


def read_tif(path):
    with rasterio.open(path) as back:
        return back.read()[:, ::-1]


def read_nc(path):
    with h5py.File(path) as back:
        bands = [np.asarray(back[band]) for band in ("VV", "VH")]
    return np.stack(bands, axis=-3).reshape(-1, *SHAPE[2:])


READ = {".tif": read_tif, ".nc": read_nc}


@torture
@pytest.mark.parametrize(("suffix", "where", "days"), combinations(READ, GAPS, (1, 3)))
def test_gaps_of_every_shape_read_back_as_gaps(tmp_path, suffix, where, days):
    dataset, expected = gapped(GAPS[where], days)
    found = READ[suffix](export(dataset, tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(found, expected.reshape(found.shape))
    assert np.isin(found[np.isnan(found)].view("<u4"), ODD[:1].view("<u4")).all()


@torture
@pytest.mark.parametrize(("suffix", "where"), combinations((".png", ".gif"), GAPS))
def test_pictures_are_drawn_around_gaps_of_every_shape(tmp_path, suffix, where, monkeypatch):
    monkeypatch.setattr(retrieve, "DPI", 40)
    dataset, _ = gapped(GAPS[where], 3)
    small = dataset.isel(lat=slice(None, None, 11), lon=slice(None, None, 12))
    with Image.open(export(small, tmp_path / f"a{suffix}")) as picture:
        assert getattr(picture, "n_frames", 1) == (3 if suffix == ".gif" else 1)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
@pytest.mark.parametrize("suffix", READ)
def test_numbers_of_another_kind_are_written_as_float32(tmp_path, suffix, dtype):
    dataset, _ = gapped(GAPS["a corner"], 1, dtype)
    found = READ[suffix](export(dataset, tmp_path / f"a{suffix}"))
    both = np.stack([dataset["VV"], dataset["VH"]])
    np.testing.assert_array_equal(found, both.astype("<f4"))


# --- what is the matter ---


def failing(error):
    """A lazy grid of which a block cannot be computed."""

    def fail(block):
        raise error

    one = grid()
    broken = (
        one["VV"].chunk({"lat": 30}).data.map_blocks(fail, dtype=np.float32, meta=one["VV"].data)
    )
    return georeferenced(one.assign(VV=(("lat", "lon"), broken)))


@pytest.mark.parametrize("suffix", [".nc", ".tif", ".png", ".gif"])
@pytest.mark.parametrize(
    "error",
    [
        ArchiveError("E007.0_N50.0 on 2026-01-20: the record is damaged."),
        ConnectionError("The archive cannot be reached."),
        OSError(errno.EACCES, "Permission denied", "a shard"),
        RuntimeError("the worker was lost"),
        KeyError("a mistake"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_block_that_cannot_be_computed_is_not_taken_for_a_file_that_cannot_be_written(
    tmp_path, suffix, error
):
    broken = failing(error)
    if suffix == ".gif":
        broken = xr.concat([broken, broken], "time").assign_coords(
            time=["2026-01-20", "2026-01-21"]
        )
    with pytest.raises(type(error)) as caught:
        export(broken, tmp_path / f"a{suffix}")
    assert str(caught.value) == str(error)
    assert not is_disk_full(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".nc", ".tif", ".png", ".gif"])
@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.EIO, "Input/output error", "a"), "Input/output error: a"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (OSError("it does not read back."), "it does not read back"),
        (RuntimeError("NetCDF: HDF error"), "NetCDF: HDF error"),
        (rasterio.errors.RasterioIOError("Write failed"), "Write failed"),
    ],
)
def test_a_failed_write_says_once_what_is_the_matter(tmp_path, monkeypatch, suffix, error, what):
    def fail(*_arguments, **_options):
        raise error

    for place in (
        "images.export.write_netcdf",
        "images.export.write_geotiff",
        "images.export._save_png",
    ):
        monkeypatch.setattr(place, fail)
    monkeypatch.setattr("images.series.animate", fail)
    with pytest.raises(OSError, match=r"^a\.\w+ could not be written to") as caught:
        export(grid(), tmp_path / f"a{suffix}")
    text = str(caught.value)
    assert text.endswith(f": {what}.  Nothing half done was kept.")
    assert "Errno" not in text


def test_the_grid_mapping_is_that_of_proj():
    own = CRS.from_user_input("EPSG:4326").to_cf()
    assert CRS.from_cf(GRID_MAPPING) == CRS.from_user_input("EPSG:4326")
    assert CRS.from_cf({k: v for k, v in GRID_MAPPING.items() if k != "crs_wkt"}).is_geographic
    for name in set(own) - {"crs_wkt"}:  # whose list of members grows
        assert GRID_MAPPING[name] == own[name]
