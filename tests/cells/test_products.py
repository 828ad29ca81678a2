"""Rasters of reflectance, of heights below 0, of classes: by healpy and numpy."""

from __future__ import annotations

from dataclasses import replace

import healpy
import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import convert
from healpix.ids import runs_to_ids
from shared.collection import SENTINEL2, Band, Product
from shared.errors import RasterError
from tests.sphere import tile_at

TILE = tile_at(7.001, 50.001, (0.01, 0.01))
NSIDE = 2**16  # cells of 100 m: some 60 pixels of 13 m in each
HEIGHTS = Product("DEM", "heights", (Band("DEM", "height", "m", nodata=(-9999.0,)),))
FILL = -32768


def raster(bands, path=None, **encoding):
    """A raster in UTM that covers the tile, of these arrays."""
    project = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform
    west, south = project(TILE.west, TILE.south)
    (rows, columns) = next(iter(bands.values())).shape
    x, y = west - 40 + 13 * np.arange(columns), south + 1250 - 13 * np.arange(rows)
    made = xr.Dataset({name: (("y", "x"), values) for name, values in bands.items()})
    made = made.assign_coords(x=x, y=y)
    made["crs"] = xr.Variable((), 0, {"crs_wkt": pyproj.CRS(32632).to_wkt()})
    if path is None:
        return made
    chunks = {"chunksizes": (32, 32), "zlib": True, "shuffle": True, **encoding}
    made.to_netcdf(path, engine="h5netcdf", encoding=dict.fromkeys(bands, chunks))
    return path


def cell_of_each_pixel(made, tile, nside, crs):
    """healpy's cell of each pixel, as its place among the tile's cells; -1 for none."""
    back = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform
    lon, lat = back(*np.meshgrid(made.x.values, made.y.values))
    ids = runs_to_ids(*convert.tile_runs(tile, nside))
    cell = healpy.ang2pix(nside, lon, lat, nest=True, lonlat=True)
    place = np.searchsorted(ids, cell).clip(0, ids.size - 1)
    return np.where(ids[place] == cell, place, -1), ids.size


def expected(made, product, names, tile=TILE, nside=NSIDE, crs="EPSG:32632"):
    """Means, most frequent classes, and counts: by numpy alone."""
    place, size = cell_of_each_pixel(made, tile, nside, crs)
    values = {}
    for name in names:
        band = product.band(name)
        data = made[name].values.astype(float)
        values[name] = np.where(np.isin(data, band.nodata) | ~np.isfinite(data), np.nan, data)
    angles = [name for name in names if product.band(name).units == "degree"]
    of_sight = [name for name in names if name not in angles] or angles
    seen = np.any([np.isfinite(values[name]) for name in of_sight], axis=0) & (place >= 0)
    count = np.bincount(place[seen], minlength=size)
    found = {}
    for name, data in values.items():
        band, good = product.band(name), np.isfinite(data) & (place >= 0)
        number = np.bincount(place[good], minlength=size)
        if band.is_class:
            classes = np.unique([0.0, *data[good]])
            votes = np.stack(
                [np.bincount(place[good & (data == c)], minlength=size) for c in classes]
            )
            there = number > 0 if name in of_sight else (number > 0) & (count > 0)
            found[name] = np.where(there, classes[votes.argmax(axis=0)], np.nan)
        else:
            with np.errstate(invalid="ignore"):
                mean = np.bincount(place[good], data[good], size) / number
            found[name] = mean * band.scale + band.offset
    return found, count


def assert_as_expected(cells, found, count):
    np.testing.assert_array_equal(cells["count"].values, count)
    for name, values in found.items():
        np.testing.assert_allclose(cells[name].values, values.astype(np.float32), rtol=2e-7)


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_reflectance_and_classes_are_means_and_the_most_frequent(tmp_path_factory, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9999)))
    names = data.draw(
        st.sampled_from([("B02", "SCL"), ("B02", "B03", "B04", "B08", "SCL"), ("SCL",)])
    )
    bands = {}
    for name in names:
        low, high = (0, 12) if name == "SCL" else (-200, 9000)
        values = rng.integers(low, high, (110, 70)).astype("<i2")
        values[rng.random(values.shape) < data.draw(st.sampled_from([0.0, 0.4, 1.0]))] = (
            0 if name == "SCL" else FILL
        )
        bands[name] = values
    path = tmp_path_factory.mktemp("a") / "a.nc"
    raster(bands, path, _FillValue=np.int16(FILL))
    cells = convert.raster_to_cells(path, TILE, NSIDE, bands=names, product=SENTINEL2.product)
    found, count = expected(raster(bands), SENTINEL2.product, names)
    assert_as_expected(cells, found, count)
    by_dataset = convert.raster_to_cells(
        raster(bands), TILE, NSIDE, bands=names, product=SENTINEL2.product
    )
    for name in (*names, "count"):
        np.testing.assert_array_equal(cells[name].values, by_dataset[name].values)


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize(
    "names",
    [("B02", "sunZenithAngles", "SCL", "viewAzimuthMean"), ("sunAzimuthAngles",),
     ("SCL", "viewZenithMean"), ("viewZenithMean", "sunAzimuthAngles")],
)  # fmt: skip
def test_angles_are_those_of_most_pixels_where_anything_else_was_seen(tmp_path, names, dtype):
    """As the back end writes them: real numbers, constant over blocks, and none elsewhere."""
    rng = np.random.default_rng(5)
    bands = {}
    for i, name in enumerate(names):
        if name in ("B02", "SCL"):
            values = rng.integers(1, 12, (110, 70)).astype(dtype)
            values[rng.random(values.shape) < 0.3] = np.nan
            values[:, :30] = np.nan  # whole cells
        else:
            values = np.full((110, 70), 359.123 - i, dtype)
            values[50:, 33:] = 3.456 + i  # the mean of the two would be 181
            values[95:] = np.nan
        bands[name] = values
    path = raster(bands, tmp_path / "a.nc", _FillValue=np.nan)
    cells = convert.raster_to_cells(path, TILE, NSIDE, bands=names, product=SENTINEL2.product)
    found, count = expected(raster(bands), SENTINEL2.product, names)
    assert_as_expected(cells, found, count)
    for name in names:
        if name not in ("B02", "SCL"):
            known = cells[name].values[np.isfinite(cells[name].values)]
            assert set(np.unique(known)) == set(np.unique(bands[name].astype("f4"))[:2])
            assert not np.isfinite(cells[name].values[count == 0]).any()


@pytest.mark.parametrize("dtype", ["<i2", "<f4", "<f8", "<i4"])
def test_heights_below_0_and_0_itself_are_heights(tmp_path, dtype):
    rng = np.random.default_rng(3)
    values = rng.integers(-20, 7, (110, 70)).astype(dtype)
    values[:30] = -9999
    values[50:60] = 0
    cells = convert.raster_to_cells(
        raster({"DEM": values}, tmp_path / "a.nc"), TILE, NSIDE, bands=("DEM",), product=HEIGHTS
    )
    assert_as_expected(cells, *expected(raster({"DEM": values}), HEIGHTS, ("DEM",)))
    assert (cells["DEM"] < 0).any()


def test_two_bands_may_have_gaps_of_their_own():
    rng = np.random.default_rng(4)
    product = Product(
        "T", "temperatures", (Band("A", "a", "K"), Band("B", "b", "K", scale=2, offset=5))
    )
    bands = {name: rng.normal(0, 10, (110, 70)).astype("<f4") for name in "AB"}
    bands["A"][:60] = np.nan
    bands["B"][40:] = np.nan
    bands["A"][70:75] = np.inf
    cells = convert.raster_to_cells(raster(bands), TILE, NSIDE, product=product)
    assert_as_expected(cells, *expected(raster(bands), product, "AB"))


def test_the_lowest_of_classes_that_are_equally_frequent_is_taken():
    values = np.full((110, 70), 5, "i2")
    values[::2] = 3
    product = Product("C", "classes", (Band("C", "c", is_class=True),))
    cells = convert.raster_to_cells(raster({"C": values}), TILE, NSIDE, product=product)
    assert_as_expected(cells, *expected(raster({"C": values}), product, "C"))
    assert set(np.unique(cells["C"])) == {3.0, 5.0}


def test_what_has_too_many_values_is_no_classification():
    values = np.arange(110 * 70, dtype="f4").reshape(110, 70)
    product = replace(HEIGHTS, bands=(Band("DEM", "height", is_class=True),))
    with pytest.raises(RasterError, match="more than 256 different values.*Nothing was converted"):
        convert.raster_to_cells(raster({"DEM": values}), TILE, NSIDE, product=product)
