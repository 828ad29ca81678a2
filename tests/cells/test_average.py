"""Raster to cells against per-pixel PROJ and healpy; cells to a grid against healpy."""

from __future__ import annotations

import datetime as dt
import logging
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyproj import CRS, Transformer

import convert
from convert import RasterError, cells_to_grid, raster_to_cells, tile_runs
from grid import BBox, Tile
from healpix.ids import ids_to_runs, runs_to_ids
from healpix.latitudes import ELLIPSOIDS
from tests.conftest import ROOT
from tests.rounds import rounds, torture, turns
from tests.shared.test_attributes import FORMS
from tests.sphere import tile_at

healpy = pytest.importorskip("healpy", reason="healpy, the oracle, has no Windows wheel")

NSIDE = convert.NSIDE
REAL = ROOT.parent / "shared" / "data"
HERE = Tile(7.0, 50.0, 7.02, 50.01)


def make_raster(tile, crs=None, pixel=10.0, bands=("VV", "VH"), margin=0.001, seed=0):
    """A raster like the back end's: speckle over the bounding rectangle of the tile."""
    lon, lat = (tile.west + tile.east) / 2, (tile.south + tile.north) / 2
    crs = CRS.from_user_input(crs or (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1)
    to_crs = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    south, north = max(-90.0, tile.south - margin), min(90.0, tile.north + margin)
    edge = np.meshgrid(
        np.linspace(tile.west - margin, tile.east + margin, 50), np.linspace(south, north, 50)
    )
    x, y = (np.unique(np.floor(v / pixel)) for v in to_crs.transform(*edge))
    x = (np.arange(x[0], x[-1] + 1) + 0.5) * pixel
    y = (np.arange(y[0], y[-1] + 1)[::-1] + 0.5) * pixel
    return dress({"x": x, "y": y}, crs, bands, seed)


def dress(coords, crs, bands=("VV", "VH"), seed=0):
    """Give coordinates a CRS and bands of speckle."""
    random = np.random.default_rng(seed)
    shape = coords["y"].size, coords["x"].size
    wkt = CRS.from_user_input(crs).to_wkt("WKT1_GDAL")
    data = {
        band: (
            ("y", "x"),
            random.gamma(4.4, 0.02 / (1 + i), shape).astype("f4"),
            {"grid_mapping": "crs"},
        )
        for i, band in enumerate(bands)
    }
    crs_variable = ((), b"", {"crs_wkt": wkt, "spatial_ref": wkt})
    return xr.Dataset(data | {"crs": crs_variable}, coords)


def pixel_cells(raster, ellipsoid="sphere", nside=NSIDE):
    """The cell of every pixel, by PROJ and healpy or healpix-geo."""
    to_lonlat = Transformer.from_crs(raster["crs"].attrs["crs_wkt"], "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(*np.meshgrid(raster["x"].values, raster["y"].values))
    on_earth = np.isfinite(lon)
    cells = np.full(lon.shape, -1)
    if ellipsoid == "sphere":
        place = lon[on_earth], lat[on_earth]
        cells[on_earth] = healpy.ang2pix(nside, *place, nest=True, lonlat=True)
    else:
        nested = pytest.importorskip("healpix_geo").nested
        place, level = (lon[on_earth], lat[on_earth]), nside.bit_length() - 1
        cells[on_earth] = nested.lonlat_to_healpix(*place, level, ellipsoid=ellipsoid)
    return cells


def expected_cells(raster, tile, ellipsoid="sphere", nside=NSIDE, bands=("VV", "VH")):
    """Means and counts by the words of the definitions, one array operation each."""
    ids = runs_to_ids(*tile_runs(tile, nside, ellipsoid)).astype(np.int64)
    pixels = pixel_cells(raster, ellipsoid, nside).ravel()
    place = np.searchsorted(ids, pixels).clip(max=ids.size - 1)
    inside = ids[place] == pixels
    values = np.stack([raster[band].values.ravel() for band in bands]).astype(float)
    with np.errstate(invalid="ignore"):
        seen = (np.isfinite(values) & (values > 0)).any(axis=0) & inside
        valid = np.isfinite(values) & (values >= 0) & seen
        count = np.bincount(place[seen], minlength=ids.size)
        means = {
            band: np.bincount(place[v], value[v], ids.size)
            / np.bincount(place[v], minlength=ids.size)
            for band, v, value in zip(bands, valid, values, strict=True)
        }
    return means, count


def check(raster, tile, ellipsoid="sphere", nside=NSIDE, bands=("VV", "VH")):
    cells = raster_to_cells(raster, tile, nside, ellipsoid)
    means, count = expected_cells(raster, tile, ellipsoid, nside, bands)
    np.testing.assert_array_equal(cells["count"].values, np.minimum(count, 65535))
    for band in bands:
        assert cells[band].dtype == np.float32
        np.testing.assert_allclose(cells[band].values, means[band], rtol=1e-6)
    return cells


# -------------------------------------------------------------------------------- places

# West, south, E-W size, S-N size, CRS (UTM unless given), pixel size in its units.
PLACES: dict[str, tuple[float, float, float, float, int | None, float]] = {
    "equator": (0.0, 0.0, 0.05, 0.05, None, 10.0),
    "equator, west of 0 E": (-0.05, -0.05, 0.05, 0.05, None, 10.0),
    "equator, base faces": (44.98, -0.02, 0.04, 0.04, None, 10.0),
    "corner of base faces": (89.98, 41.80, 0.04, 0.02, None, 10.0),
    "seam of belt and cap": (12.0, 41.80, 0.05, 0.02, None, 10.0),
    "seam of belt and cap, south": (12.3, -41.82, 0.05, 0.02, None, 10.0),
    "20 N": (100.3, 20.0, 0.05, 0.05, None, 10.0),
    "50 N": (7.0, 50.0, 0.05, 0.05, None, 10.0),
    "another zone": (7.0, 50.0, 0.05, 0.05, 32633, 10.0),
    "zone at the end of the Earth": (7.0, 50.0, 0.03, 0.03, 32610, 10.0),
    "66 N, 0 E": (0.0, 66.0, 0.05, 0.05, None, 10.0),
    "66 N, 90 E": (89.97, 66.0, 0.06, 0.05, None, 10.0),
    "66 N, 180 E": (179.95, 66.0, 0.05, 0.05, None, 10.0),
    "66 N, 180 W": (-180.0, 66.0, 0.05, 0.05, None, 10.0),
    "66 N, 180 E, zone of the other side": (179.95, 66.0, 0.05, 0.05, 32601, 10.0),
    "17 S, 180 E, zone of the other side": (179.95, -17.0, 0.05, 0.05, 32701, 10.0),
    "75 N, face edge on the diagonal": (89.95, 75.0, 0.1, 0.05, 3413, 10.0),
    "85 N": (20.0, 85.0, 0.3, 0.05, None, 10.0),
    "85 N, polar": (20.0, 85.0, 0.3, 0.05, 3413, 10.0),
    "85 S, polar": (-60.0, -85.0, 0.3, 0.05, 3031, 10.0),
    "north pole": (-45.0, 89.98, 45.0, 0.02, 3413, 10.0),
    "south pole": (-180.0, -90.0, 45.0, 0.02, 3031, 10.0),
    "web mercator": (7.0, 50.0, 0.05, 0.02, 3857, 10.0),
    "equal area": (7.0, 50.0, 0.05, 0.05, 3035, 10.0),
    "another datum": (-1.5, 52.0, 0.03, 0.03, 27700, 10.0),
    "degrees": (7.0, 50.0, 0.05, 0.05, 4326, 1.1e-4),
    "degrees, corner of base faces": (89.98, 41.80, 0.04, 0.02, 4326, 1.1e-4),
    "20 m pixels": (7.0, 50.0, 0.05, 0.05, None, 20.0),
    "3 m pixels": (7.0, 50.0, 0.02, 0.01, None, 3.0),
    "60 m pixels": (7.0, 50.0, 0.1, 0.1, None, 60.0),
}


def tile_of(place):
    west, south, width, height = PLACES[place][:4]
    return Tile(west, south, west + width, south + height)


def raster_of(place):
    return make_raster(tile_of(place), *PLACES[place][4:])


@torture
@pytest.mark.parametrize("place", turns(PLACES))
def test_cells_are_those_of_pixel_by_pixel_proj_and_healpy(place):
    cells = check(raster_of(place), tile_of(place))
    assert (cells["count"] > 0).mean() > 0.05


@pytest.mark.parametrize("place", ["50 N", "corner of base faces", "66 N, 180 E", "85 S, polar"])
def test_on_wgs84_the_cells_are_those_of_healpix_geo(place):
    check(raster_of(place), tile_of(place), "WGS84")


@pytest.mark.parametrize("nside", [64, 4096, 2**21])
def test_any_nside_will_do(nside):
    tile = Tile(6.0, 49.5, 8.0, 51.0) if nside < 4096 else HERE
    check(make_raster(HERE), tile, nside=nside)


@pytest.mark.parametrize("nside", [1, 64, 1024])
def test_a_raster_of_the_whole_earth_fills_tiles_of_any_size(nside):
    coords = {"x": np.arange(-180, 180) + 0.25, "y": np.arange(89.75, -90, -1)}
    raster = dress(coords, 4326)
    for tile in (
        Tile(-180, -90, 0, 0),
        Tile(0, 0, 180, 90),
        Tile(-90, 30, 0, 90),
        Tile(44, 40, 46, 43),
    ):
        check(raster, tile, nside=nside)


def test_a_pixel_on_the_edge_of_cells_goes_where_healpy_puts_it():
    # Pixel centres on the edges of base faces: 0 E in a cap, the equator, 45 E.
    for tile, lon, lat in (
        (Tile(-0.01, 66, 0.01, 66.01), 0, 66.005),
        (Tile(44.99, -0.01, 45.01, 0.01), 45, 0),
        (Tile(89.99, 70, 90.01, 70.01), 90, 70.005),
    ):
        x = lon + np.arange(-200, 200) * 1e-4
        y = lat + np.arange(200, -200, -1) * 1e-4
        check(dress({"x": x, "y": y}, 4326), tile)


# --------------------------------------------------------------------------- definitions

odd = st.sampled_from([0.0, -0.0, 1.0, 2.5, 1e-30, np.nan, np.inf, -np.inf, -1.0])


@torture
@settings(max_examples=rounds(8), deadline=None)
@given(st.integers(1, 3), st.sampled_from(["f4", "f8"]), st.data())
def test_seen_pixels_values_and_counts_are_as_defined(bands, dtype, data):
    names = tuple("ABC"[:bands])
    raster = make_raster(Tile(7, 50, 7.001, 50.001), bands=names, margin=0)
    for name in names:
        values = data.draw(arrays.arrays(dtype, raster[name].shape, elements=odd, fill=odd))
        raster[name] = raster[name].copy(data=np.zeros(values.shape, dtype)) + values
        raster[name].attrs["grid_mapping"] = "crs"
    check(raster, Tile(7, 50, 7.001, 50.001), bands=names, nside=2**17)


def test_a_zero_beside_a_seen_band_is_a_measurement():
    raster = make_raster(HERE)
    raster["VH"][:] = 0
    cells = raster_to_cells(raster, HERE)
    assert np.all(cells["VH"].values[cells["count"].values > 0] == 0)
    raster["VV"][:] = np.nan
    cells = raster_to_cells(raster, HERE)
    assert not cells["count"].any()
    assert np.isnan(cells["VV"]).all()
    assert np.isnan(cells["VH"]).all()


@pytest.mark.parametrize("ellipsoid", ELLIPSOIDS)
def test_value_times_count_sums_to_the_pixels_in_the_tile(ellipsoid):
    raster = make_raster(HERE)
    cells = raster_to_cells(raster, HERE, ellipsoid=ellipsoid)
    inside = np.isin(
        pixel_cells(raster, ellipsoid), runs_to_ids(*tile_runs(HERE, NSIDE, ellipsoid))
    )
    for band in ("VV", "VH"):
        total = np.sum(cells[band].values.astype(float) * cells["count"].values)
        assert total == pytest.approx(raster[band].values[inside].sum(dtype=float), rel=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(20, 120), st.booleans())
def test_neighbouring_rasters_give_what_their_union_gives(cut, upright):
    raster = make_raster(HERE)
    dim = "y" if upright else "x"
    whole = raster_to_cells(raster, HERE)
    parts = [
        raster_to_cells(raster.isel({dim: part}), HERE)
        for part in (slice(None, cut), slice(cut, None))
        if raster[dim][part].size
    ]
    count = sum(part["count"].astype(int) for part in parts)
    np.testing.assert_array_equal(count, whole["count"])
    for band in ("VV", "VH"):
        total = sum((part[band].fillna(0).astype(float) * part["count"]) for part in parts)
        np.testing.assert_allclose(np.asarray(total / count), whole[band], rtol=1e-6)


def test_neighbouring_tiles_share_no_pixel_and_lose_none():
    west, east = Tile(7.0, 50.0, 7.02, 50.01), Tile(7.02, 50.0, 7.04, 50.01)
    both = Tile(7.0, 50.0, 7.04, 50.01)
    raster = make_raster(both)
    parts = [raster_to_cells(raster, tile) for tile in (west, east)]
    whole = raster_to_cells(raster, both)
    ids = [runs_to_ids(c["start_ipix"].values, c["run_len"].values) for c in (*parts, whole)]
    order = np.argsort(np.concatenate(ids[:2]))
    np.testing.assert_array_equal(np.concatenate(ids[:2])[order], ids[2])
    for name in ("VV", "VH", "count"):
        merged = np.concatenate([part[name].values for part in parts])[order]
        np.testing.assert_array_equal(merged, whole[name].values)


def test_more_pixels_than_a_count_can_say_are_65535():
    tile = Tile(6.0, 49.5, 8.0, 51.0)
    raster = make_raster(Tile(7, 50, 7.05, 50.04))
    cells = check(raster, tile, nside=64)
    assert cells["count"].max() == 65535


def test_cells_have_the_runs_of_their_tile_and_say_what_they_are():
    raster = make_raster(HERE).assign_attrs(source="synthetic, made up")
    cells = raster_to_cells(raster, HERE, 2**17, "WGS84")
    start, length = tile_runs(HERE, 2**17, "WGS84")
    np.testing.assert_array_equal(cells["start_ipix"], start)
    np.testing.assert_array_equal(cells["run_len"], length)
    assert cells["start_ipix"].dtype == np.uint64
    assert cells["run_len"].dtype == np.uint32
    assert cells["count"].dtype == np.uint16
    assert list(cells.data_vars) == ["VV", "VH", "count", "start_ipix", "run_len"]
    expected = {"nside": 2**17, "ellipsoid": "WGS84", "ordering": "nested"}
    assert cells.attrs == expected | {"source": "synthetic, made up"}


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    raster = make_raster(Tile(7, 50, 7.1, 50.1))
    results = []
    for workers in (1, 2, 5):
        monkeypatch.setattr(convert, "WORKERS", workers)
        results.append(raster_to_cells(raster, Tile(7, 50, 7.1, 50.1)))
    assert results[0].identical(results[1])
    assert results[0].identical(results[2])


def test_several_conversions_at_once_do_not_disturb_each_other(tmp_path):
    path = save(make_raster(HERE), tmp_path / "raster.nc")
    expected = raster_to_cells(path, HERE)
    with ThreadPoolExecutor(4) as pool:
        for cells in pool.map(lambda _: raster_to_cells(path, HERE), range(12)):
            assert cells.identical(expected)


# ----------------------------------------------------------------------- as rasters come


def save(raster, path, **encoding):
    """Write a raster as the back end does: deflated, in blocks."""
    usual = {"zlib": True, "chunksizes": (64, 64), "_FillValue": np.float32(0)} | encoding
    bands = [name for name in raster.data_vars if raster[name].ndim >= 2]
    sizes = tuple(min(64, n) for n in raster[bands[0]].shape)
    if raster[bands[0]].ndim == 3:
        sizes = (1, *sizes[1:])
    if usual["chunksizes"] is not None:
        usual["chunksizes"] = sizes
    raster.to_netcdf(path, engine="netcdf4", encoding=dict.fromkeys(bands, usual))
    return path


LAYOUTS = {
    "as the back end": {},
    "without shuffle": {"shuffle": False},
    "whole": {"zlib": False, "chunksizes": None},
    "with checksums": {"fletcher32": True},
    "double": {"dtype": "f8"},
    "no data is NaN": {"_FillValue": np.float32(np.nan)},
    "no data is -9999": {"_FillValue": np.float32(-9999)},
    "no data is huge": {"_FillValue": np.float32(9.96921e36)},
}


@torture
@pytest.mark.parametrize("layout", turns(LAYOUTS.values()), ids=turns(LAYOUTS))
def test_a_file_of_any_layout_gives_what_the_raster_in_memory_gives(layout, tmp_path):
    raster = make_raster(HERE)
    raster["VV"][:30] = 0
    raster["VH"][:50] = 0
    if "_FillValue" in layout:
        raster["VV"][100:120, 10:60] = np.nan
    expected = check(raster, HERE)
    path = save(raster, tmp_path / "raster.nc", **layout)
    assert raster_to_cells(path, HERE).identical(expected)
    assert raster_to_cells(str(path), HERE).identical(expected)
    with xr.open_dataset(path, decode_cf=False) as raw:
        assert raster_to_cells(raw, HERE).identical(expected)


def test_a_dataset_whose_zeros_xarray_has_masked_gets_them_back(tmp_path):
    raster = make_raster(HERE)
    raster["VH"][:100] = 0
    path = save(raster, tmp_path / "raster.nc")
    with xr.open_dataset(path) as masked:
        assert np.isnan(masked["VH"]).any()
        assert raster_to_cells(masked, HERE).identical(raster_to_cells(raster, HERE))


def test_netcdf_3_is_read(tmp_path):
    raster = make_raster(HERE)
    raster.drop_vars("crs").assign(crs=((), 0, raster["crs"].attrs)).to_netcdf(
        tmp_path / "old.nc", engine="scipy"
    )
    assert raster_to_cells(tmp_path / "old.nc", HERE).identical(raster_to_cells(raster, HERE))


def test_blocks_that_were_never_written_hold_nothing(tmp_path):
    raster = make_raster(HERE)
    path = save(raster, tmp_path / "raster.nc")
    with h5py.File(path, "a") as file:
        attrs = dict(file["VH"].attrs)
        del file["VH"]
        file.create_dataset(
            "VH", raster["VH"].shape, "f4", chunks=(64, 64), compression=4, fillvalue=9e36
        )
        file["VH"][:64] = raster["VH"].values[:64]
        file["VH"].attrs["grid_mapping"] = attrs["grid_mapping"]
        for i, name in enumerate(("y", "x")):
            file["VH"].dims[i].attach_scale(file[name])
    raster["VH"][64:] = np.nan
    assert raster_to_cells(path, HERE).identical(raster_to_cells(raster, HERE))


def test_scaled_integers_are_unpacked(tmp_path):
    raster = make_raster(HERE)
    packed = raster.copy()
    for band in ("VV", "VH"):
        raster[band] = (np.round(raster[band].astype(float) / 1e-4) * 1e-4).assign_attrs(
            grid_mapping="crs"
        )
        raster[band][:20, :30] = np.nan
        packed[band] = raster[band]
        packed[band].encoding = {
            "dtype": "uint16", "scale_factor": 1e-4, "add_offset": 0.0, "_FillValue": 65535,
        }  # fmt: skip
    path = tmp_path / "packed.nc"
    packed.to_netcdf(path, engine="netcdf4")
    cells = raster_to_cells(path, HERE)
    expected = raster_to_cells(raster, HERE)
    np.testing.assert_array_equal(cells["count"], expected["count"])
    np.testing.assert_allclose(cells["VV"], expected["VV"], rtol=1e-6)


@torture
@pytest.mark.parametrize("form", turns(FORMS))
def test_attributes_in_any_form_are_understood(form, tmp_path):
    """Texts that say where the pixels are, and numbers in arrays of one."""
    raster = make_raster(HERE).rename(x="east", y="north")
    for band in ("VV", "VH"):
        raster[band] = raster[band].round(4)
    expected = raster_to_cells(raster.rename(east="x", north="y"), HERE)
    packing = {"dtype": "uint16", "scale_factor": 1e-4, "_FillValue": 65535}
    path = save(raster, tmp_path / "a.nc", **packing)
    with h5py.File(path, "r+") as file:
        wkt = raster["crs"].attrs["crs_wkt"].replace("WGS 84", "Île 6°E")
        file["crs"].attrs["crs_wkt"] = FORMS[form](wkt)
        file["crs"].attrs["spatial_ref"] = FORMS[form]("")
        for name, axis in (("east", "projection_x_coordinate"), ("north", "Y")):
            file[name].attrs["axis" if len(axis) == 1 else "standard_name"] = FORMS[form](axis)
        for band in ("VV", "VH"):
            file[band].attrs["scale_factor"] = np.array([[1e-4]])
            file[band].attrs["add_offset"] = np.array([0.0])
            file[band].attrs["grid_mapping"] = FORMS[form]("crs")
        file.attrs["source"] = FORMS[form]("Île 6°E")
    cells = raster_to_cells(path, HERE)
    np.testing.assert_array_equal(cells["count"], expected["count"])
    np.testing.assert_allclose(cells["VV"], expected["VV"], rtol=1e-6)
    assert cells.attrs["source"] == "Île 6°E"
    cells.attrs["source"].encode()


def test_y_may_go_up_or_down_and_x_come_first():
    raster = make_raster(HERE)
    expected = raster_to_cells(raster, HERE)
    for other in (
        raster.isel(y=slice(None, None, -1)),
        raster.isel(x=slice(None, None, -1)),
        raster.transpose(),
    ):
        cells = raster_to_cells(other, HERE)
        np.testing.assert_array_equal(cells["count"], expected["count"])
        np.testing.assert_allclose(cells["VV"], expected["VV"], rtol=1e-6)


def test_uneven_coordinates_are_taken_as_they_are():
    raster = make_raster(HERE)
    wobble = np.random.default_rng(5).uniform(-3, 3, raster["x"].size)
    check(raster.assign_coords(x=raster["x"] + wobble), HERE)


@pytest.mark.parametrize(
    "part",
    [
        {"y": slice(0, -1), "x": slice(0, -1)},
        {"y": slice(1, None)},
        {"y": slice(0, 40), "x": slice(30, 31)},
        {"y": slice(50, 51), "x": slice(60, 61)},
    ],
    ids=["last row and column missing", "first row missing", "one column", "one pixel"],
)
def test_a_raster_may_cover_its_tile_in_part(part):
    tile = Tile(7.0, 50.0, 7.03, 50.02)
    check(make_raster(tile).isel(part), tile)


def test_a_raster_may_be_larger_than_its_tile():
    check(make_raster(Tile(6.98, 49.98, 7.04, 50.03)), HERE)


def test_of_several_time_steps_the_earliest_is_used(tmp_path):
    days = [dt.datetime(2026, 1, day) for day in (21, 20, 20)]
    steps = [make_raster(HERE, seed=i) for i in range(3)]
    raster = xr.concat([s.drop_vars("crs") for s in steps], "t").assign_coords(t=days)
    raster = raster.assign(crs=steps[0]["crs"])
    raster["t"].encoding = {"units": "days since 1990-01-01", "dtype": "int32"}
    expected = raster_to_cells(steps[1], HERE)
    path = save(raster, tmp_path / "t3.nc")
    for given_raster in (raster, path):
        cells = raster_to_cells(given_raster, HERE)
        assert cells.attrs.pop("time").startswith("2026-01-20")
        assert cells.identical(expected)
    one = raster_to_cells(raster.isel(t=[0]), HERE)
    assert one.drop_attrs().identical(raster_to_cells(steps[0], HERE).drop_attrs())
    assert raster_to_cells(raster.isel(t=0, drop=True), HERE).identical(
        raster_to_cells(steps[0], HERE)
    )


def test_a_time_that_cannot_be_read_is_no_hindrance(tmp_path):
    raster = make_raster(HERE)
    steps = xr.concat([raster.drop_vars("crs")] * 2, "t").assign_coords(
        t=("t", [3, 2], {"units": "moons"})
    )
    cells = raster_to_cells(steps.assign(crs=raster["crs"]), HERE)
    assert cells.attrs["time"] == "2"


def test_a_raster_that_reaches_beyond_the_earth_is_used_where_it_is_on_it():
    x, y = np.arange(-4000, 4000, 40.0) * 1e3, np.arange(9000, -9000, -40.0) * 1e3
    for crs in ("+proj=ortho +lat_0=60 +lon_0=10", 32632):
        check(dress({"x": x * 2, "y": y}, crs), Tile(0, 45, 30, 60), "WGS84", nside=64)


def test_a_raster_coarser_than_the_cells_is_said_to_leave_holes(caplog):
    with caplog.at_level(logging.WARNING, "cells"):
        cells = raster_to_cells(make_raster(HERE, pixel=40.0), HERE)
    assert "cells between pixel centres stay empty" in caplog.text
    assert "40" not in cells.attrs["holes"]
    assert (cells["count"] == 0).any()
    assert "holes" not in raster_to_cells(make_raster(HERE), HERE).attrs


def test_only_the_wanted_bands_are_used():
    raster = make_raster(HERE, bands=("VV", "VH", "angle"))
    assert list(raster_to_cells(raster, HERE).data_vars)[:3] == ["VV", "VH", "angle"]
    cells = raster_to_cells(raster, HERE, bands=["VH", "VV"])
    assert list(cells.data_vars)[:3] == ["VH", "VV", "count"]


# ------------------------------------------------------------------------------ refusals


def no_crs(raster):
    return raster.drop_vars("crs")


def strange_crs(raster):
    raster["crs"].attrs = {"crs_wkt": "PROJCS[nonsense]"}
    return raster


def no_steps(raster):
    return raster.expand_dims(t=1).isel(t=slice(0, 0))


REFUSED = {
    "no CRS": (no_crs, "no CRS"),
    "strange CRS": (strange_crs, "PROJ cannot use the CRS 'PROJCS"),
    "missing band": (lambda r: r.drop_vars("VH"), "no band VH over y and x, only VV"),
    "no bands": (lambda r: r[["crs"]].assign_coords(x=r.x, y=r.y), "no band VV or VH"),
    "elsewhere": (
        lambda r: r.assign_coords(x=r.x + 50_000),
        "no pixel of VV falls into a cell of the tile",
    ),
    "beside": (lambda r: r.isel(x=slice(0, 3)), "no pixel of VV falls into a cell of the tile"),
    "no x": (lambda r: r.drop_vars("x"), "x has no coordinates"),
    "NaN in y": (lambda r: r.assign_coords(y=r.y * np.nan), "y are empty or not finite"),
    "no space": (
        lambda r: r.rename_dims(x="row", y="line").drop_vars(["x", "y"]),
        "no x dimension",
    ),
    "no time step": (no_steps, "VV has no time step"),
    "a dimension more": (lambda r: r.expand_dims(look=3), "look, neither space nor time"),
}


@pytest.mark.parametrize(("spoil", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_with_the_reason(spoil, reason, tmp_path):
    raster = spoil(make_raster(HERE))
    path = tmp_path / "spoilt.nc"
    raster.to_netcdf(path, engine="netcdf4")
    for given_raster, name in ((raster, "the raster"), (path, "spoilt.nc")):
        with pytest.raises(RasterError, match=reason) as error:
            raster_to_cells(given_raster, HERE, bands=["VV", "VH"])
        assert name in str(error.value)


@pytest.mark.parametrize("value", [0, np.nan, -1, np.inf, -np.inf])
def test_an_unseen_raster_in_its_place_is_not_refused(value):
    raster = make_raster(HERE)
    for band in ("VV", "VH"):
        raster[band][:] = value
    cells = raster_to_cells(raster, HERE)
    assert not cells["count"].any()
    assert np.isnan(cells["VV"]).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share, tmp_path):
    path = save(make_raster(HERE), tmp_path / "cut.nc")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(RasterError, match=r"cut\.nc: this is no whole netCDF file"):
        raster_to_cells(path, HERE)


def test_a_damaged_block_is_refused_by_name(tmp_path):
    path = save(make_raster(HERE), tmp_path / "flipped.nc")
    with h5py.File(path) as file:
        block = file["VH"].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[block.byte_offset + block.size // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RasterError, match=r"flipped\.nc: VH cannot be read"):
        raster_to_cells(path, HERE)


def test_a_tile_without_a_cell_has_no_cells():
    cells = raster_to_cells(make_raster(HERE), HERE, nside=64)
    assert cells.sizes == {"cells": 0, "runs": 0}


def test_html_is_no_raster_and_a_file_must_exist(tmp_path):
    path = tmp_path / "error.nc"
    path.write_text("<html>502 Bad Gateway</html>")
    with pytest.raises(RasterError, match="no whole netCDF file"):
        raster_to_cells(path, HERE)
    with pytest.raises(FileNotFoundError):
        raster_to_cells(tmp_path / "none.nc", HERE)


# -------------------------------------------------------------------------- regular grid


def make_cells(ids, nside, ellipsoid="sphere", seed=0, bands=("VV", "VH")):
    """Cells of any ids, with random values."""
    start, length = ids_to_runs(ids)
    random = np.random.default_rng(seed)
    data = {band: ("cells", random.gamma(4.4, 0.02, ids.size).astype("f4")) for band in bands}
    data |= {"count": ("cells", np.ones(ids.size, "u2"))}
    data |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    attrs = {"nside": nside, "ellipsoid": ellipsoid, "ordering": "nested", "source": ""}
    return xr.Dataset(data, attrs=attrs)


def whole_earth(nside, seed=0):
    return make_cells(np.arange(12 * nside**2), nside, seed=seed)


def check_nearest(cells, box, dlat, dlon):
    grid = cells_to_grid(cells, box, dlat, dlon)
    ids = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values).astype(np.int64)
    lon, lat = np.meshgrid(grid["lon"], grid["lat"])
    found = healpy.ang2pix(cells.attrs["nside"], lon, lat, nest=True, lonlat=True)
    place = np.searchsorted(ids, found).clip(max=ids.size - 1)
    for band in ("VV", "VH"):
        expected = np.where(ids[place] == found, cells[band].values[place], np.nan)
        assert grid[band].dtype == np.float32
        assert grid[band].dims == ("lat", "lon")
        np.testing.assert_array_equal(grid[band], expected)
    return grid


@pytest.mark.parametrize("place", ["50 N", "corner of base faces", "66 N, 180 W", "north pole"])
def test_nearest_is_the_value_of_the_cell_around_each_pixel(place):
    tile = tile_of(place)
    cells = make_cells(runs_to_ids(*tile_runs(tile)), NSIDE)
    beyond = BBox(tile.west, tile.south - 0.005, tile.east, tile.north)
    grid = check_nearest(cells, beyond, 0.0002, tile.size[0] / 300)
    assert 0 < np.isnan(grid["VV"]).mean() < 0.5


@settings(max_examples=50, deadline=None)
@given(
    st.sets(st.integers(0, 12 * 16**2 - 1), min_size=1, max_size=300),
    st.floats(-180, 170), st.floats(-90, 80), st.floats(0.5, 360), st.floats(0.5, 100),
)  # fmt: skip
def test_nearest_holds_for_any_runs_and_any_box(ids, west, south, width, height):
    east = west + min(width, 359)
    box = BBox(west, south, east if east <= 180 else east - 360, min(90, south + height))
    check_nearest(make_cells(np.array(sorted(ids)), 16), box, 1.7, 2.3)


def test_a_box_across_180_degrees_goes_on_counting():
    grid = check_nearest(whole_earth(64), BBox(178, -1, -178, 1), 0.1, 0.25)
    np.testing.assert_allclose(grid["lon"], 178.125 + 0.25 * np.arange(16))
    np.testing.assert_allclose(grid["lat"], -0.95 + 0.1 * np.arange(20))


def test_pixels_are_those_whose_centre_is_in_the_box():
    grid = cells_to_grid(whole_earth(8), BBox(7, 50, 8, 50.5), 15e-5 * 100, 24e-5 * 100)
    assert grid.sizes == {"lat": 33, "lon": 42}
    assert cells_to_grid(whole_earth(8), BBox(7, 50, 8, 50.5), 5, 5).sizes == {"lat": 1, "lon": 1}


@pytest.mark.parametrize("nside", [1, 2, 16, 128])
def test_bilinear_is_healpys_interpolation(nside):
    cells = whole_earth(nside)
    values = {band: cells[band].values.astype(float) for band in ("VV", "VH")}
    for box, step in ((BBox(-180, -90, 180, 90), 1.3), (BBox(0, 89, 360 - 360.0 + 90, 90), 0.037)):
        grid = cells_to_grid(cells, box, step, step, "bilinear")
        lon, lat = np.meshgrid(grid["lon"], grid["lat"])
        for band, value in values.items():
            expected = healpy.get_interp_val(value, lon, lat, nest=True, lonlat=True)
            np.testing.assert_allclose(grid[band], expected, rtol=2e-6)


def test_bilinear_at_full_resolution_is_healpys_interpolation():
    for place in ("50 N", "corner of base faces", "66 N, 180 W", "85 N"):
        tile = tile_of(place)
        width, height = tile.size
        ids = runs_to_ids(*tile_runs(tile)).astype(np.int64)
        cells = make_cells(ids, NSIDE)
        grid = cells_to_grid(cells, tile.bbox, height / 90, width / 110, "bilinear")
        lon, lat = np.meshgrid(grid["lon"], grid["lat"])
        near, weight = healpy.get_interp_weights(NSIDE, lon % 360, lat, nest=True, lonlat=True)
        place_of = np.searchsorted(ids, near).clip(max=ids.size - 1)
        complete = (ids[place_of] == near).all(axis=0)
        assert complete.mean() > 0.9
        expected = (cells["VV"].values[place_of] * weight).sum(axis=0)
        np.testing.assert_allclose(grid["VV"].values[complete], expected[complete], rtol=2e-6)


def test_bilinear_keeps_the_gaps_that_nearest_has_and_no_others():
    cells = whole_earth(16)
    holes = np.random.default_rng(3).random(cells.sizes["cells"]) < 0.4
    cells["VV"][holes] = np.nan
    box = BBox(-180, -90, 180, 90)
    nearest, bilinear = (cells_to_grid(cells, box, 1, 1, how) for how in ("nearest", "bilinear"))
    lon, lat = np.meshgrid(nearest["lon"], nearest["lat"])
    near = healpy.get_interp_weights(16, lon, lat, nest=True, lonlat=True)[0]
    complete = ~holes[near].any(axis=0)
    gaps = np.isnan(nearest["VV"].values)
    np.testing.assert_array_equal(np.isnan(bilinear["VV"].values), gaps & ~complete)
    assert bilinear["VV"].min() >= cells["VV"].min()
    assert bilinear["VV"].max() <= cells["VV"].max()
    constant = cells.assign(VV=cells["VV"] * 0 + 1)
    smooth = cells_to_grid(constant, box, 1, 1, "bilinear")["VV"].values
    np.testing.assert_allclose(smooth[~gaps], 1, rtol=1e-6)


def test_a_grid_on_wgs84_looks_up_authalic_cells():
    nested = pytest.importorskip("healpix_geo").nested
    ids = runs_to_ids(*tile_runs(HERE, NSIDE, "WGS84"))
    cells = make_cells(ids, NSIDE, "WGS84")
    grid = cells_to_grid(cells, HERE.bbox)
    lon, lat = (v.ravel() for v in np.meshgrid(grid["lon"], grid["lat"]))
    found = nested.lonlat_to_healpix(lon, lat, 18, ellipsoid="WGS84")
    place = np.searchsorted(ids, found).clip(max=ids.size - 1)
    expected = np.where(ids[place] == found, cells["VV"].values[place], np.nan)
    np.testing.assert_array_equal(grid["VV"].values.ravel(), expected)


def test_no_cells_make_an_empty_grid():
    cells = make_cells(np.empty(0, np.uint64), NSIDE)
    for method in ("nearest", "bilinear"):
        assert np.isnan(cells_to_grid(cells, HERE.bbox, method=method)["VV"]).all()


def test_a_grid_needs_a_step_and_a_known_method():
    for dlat, dlon, method, word in (
        (0, 1, "nearest", "dlat"),
        (1, -1, "nearest", "dlon"),
        (1, 1, "cubic", "'cubic'"),
    ):
        with pytest.raises(ValueError, match=word):
            cells_to_grid(whole_earth(1), HERE.bbox, dlat, dlon, method)


# -------------------------------------------------------------------------------- real data


@pytest.mark.parametrize("name", ["cdse_s1_sigma0_reduced.nc", "cdse_s1_sigma0_t2.nc"])
def test_real_files_survive_the_round_trip(name, record_property):
    path = REAL / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    with xr.open_dataset(path, decode_cf=False) as raw:
        raster = raw.isel(t=0, drop=True).load() if "t" in raw.dims else raw.load()
    to_lonlat = Transformer.from_crs(raster["crs"].attrs["crs_wkt"], "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(*np.meshgrid(raster["x"], raster["y"]))
    tile = tile_at(lon.mean(), lat.mean(), (0.05, 0.05))
    cells = raster_to_cells(path, tile)
    means, count = expected_cells(raster, tile)
    np.testing.assert_array_equal(cells["count"], count)
    for band in ("VV", "VH"):
        np.testing.assert_allclose(cells[band], means[band], rtol=1e-6)
        for method in ("nearest", "bilinear"):
            # The grid is read where the raster has its pixels: 100 x 100 of them.
            box = BBox(lon.min(), lat.min(), lon.max(), lat.max())
            grid = cells_to_grid(cells, box, 3e-5, 5e-5, method)[band]
            back = grid.sel(lon=xr.DataArray(lon), lat=xr.DataArray(lat), method="nearest").values
            both = np.isfinite(back) & (raster[band].values > 0)
            assert both.mean() > 0.8
            bias = 10 * np.log10(back[both].mean() / raster[band].values[both].mean())
            rmse = np.sqrt(np.mean((10 * np.log10(back[both] / raster[band].values[both])) ** 2))
            record_property(f"{band} {method}", f"bias {bias:+.4f} dB, RMSE {rmse:.2f} dB")
            assert abs(bias) < 0.02
