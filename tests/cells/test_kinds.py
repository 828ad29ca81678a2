"""Every kind of raster that people have, against xarray, netCDF4, rasterio, PROJ and healpy."""

from __future__ import annotations

import datetime as dt
import functools
import warnings
from typing import Any

import netCDF4
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

import convert
from convert import RasterError, about, raster_to_cells
from grid import Tile
from tests.cells.test_average import (
    dress,
    expected_cells,
    make_raster,
    pixel_cells,
    raster_of,
)
from tests.rounds import rounds, torture, turns
from tests.sphere import centres_of, tile_at

TILE = Tile(7.0, 50.0, 7.004, 50.003)
BANDS = ("VV", "VH")
LEVEL = 2**17  # nside: some pixels in each cell

# The CRS, the size of a pixel in its units, and the unit; None: no CRS is written.
PLACES = {
    "utm": (32632, 10.0, "m"),
    "another zone": (32631, 10.0, "metre"),
    "equal area": (3035, 10.0, ""),
    "degrees": (4326, 1.2e-4, "degrees"),
    "degrees without a CRS": (4326, 1.2e-4, None),
    "kilometres": (32632, 10.0, "km"),
}
STEP = 2.0**-12
# Type of the stored numbers, scale, offset, attributes, and whether 2 bytes are meant unsigned.
PACKINGS: dict[str, tuple[str, Any, Any, dict[str, str]]] = {
    "float": ("f4", None, None, {}),
    "double": ("f8", None, None, {}),
    "shorts": ("i2", np.float32(STEP), None, {}),
    "shorts and an offset": ("i2", 1e-4, 1.5, {}),
    "shorts, single precision": ("i2", np.float32(1e-4), np.float32(0.5), {}),
    "unsigned by attribute": ("i2", 1e-5, None, {"_Unsigned": "true"}),
    "unsigned by attribute, downwards": ("i2", -1e-5, 0.6, {"_Unsigned": "true"}),
    "unsigned": ("u2", 1e-5, 0.0, {}),
    "whole": ("i4", 1e-7, None, {}),
    "bytes": ("u1", 4e-3, None, {}),
    "signed by attribute": ("u1", 8e-3, 0.3, {"_Unsigned": "false"}),
    "a scaled float": ("f4", 0.5, None, {}),
}
FILLS = ("default", "_FillValue", "missing_value", "two", "valid_range", "valid_min", "none")
LAYOUTS = ("variables", "one step", "bands", "bands and time", "steps", "other steps")
FORMATS = ("NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC", "NETCDF3_64BIT_DATA")
DAYS = [dt.date(2026, 1, 21), dt.date(2026, 1, 20), dt.date(2026, 2, 3)]


def meant(packing):
    """The type that numbers are meant to have."""
    dtype, _, _, attrs = PACKINGS[packing]
    kinds = {"true": "u", "false": "i", "": dtype[0]}
    return np.dtype(kinds[attrs.get("_Unsigned", "")] + dtype[1])


def stored_numbers(raster, packing, fill):
    """Numbers as they are stored, some for no data, and the attributes that say what they mean."""
    dtype, scale, offset, says = PACKINGS[packing]
    kind, attrs = meant(packing), dict[str, Any](says)
    for name, value in (("scale_factor", scale), ("add_offset", offset)):
        attrs |= {} if value is None else {name: value}
    numbers = {}
    for i, band in enumerate(BANDS):
        values = (raster[band].values.astype(float) - (offset or 0)) / (scale or 1)
        if kind.kind in "iu":
            info = np.iinfo(kind)
            values = np.clip(np.round(values), info.min + 5, info.max - 5)
        numbers[band] = values.astype(kind)
        first, second = none_of(kind, np.dtype(dtype), fill, attrs)
        numbers[band][3 + i : 9, 4:11], numbers[band][12:14, 2 + i : 7] = first, second
    return {band: values.view(dtype) for band, values in numbers.items()}, attrs


def none_of(kind, dtype, fill, attrs):
    """Two numbers that stand for none; sets the attributes that say so."""
    info = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    ends = [info.max - 1, info.max - 2] if kind.kind in "iu" else [9999.5, 8888.25]
    ends = [kind.type(end) for end in ends]
    file = [np.array([end]).view(dtype)[0] for end in ends]
    key = f"{dtype.kind}{dtype.itemsize}"
    if fill == "default":
        if key in ("u1", "i1"):
            return ends[0], ends[0]  # bytes have none
        default = np.array([netCDF4.default_fillvals[key]], dtype)[0]
        return (np.array([default]).view(kind)[0],) * 2
    if fill == "_FillValue":
        attrs["_FillValue"] = file[0]
        return ends[0], ends[0]
    if fill == "missing_value":
        attrs["missing_value"] = file[0]
        return ends[0], ends[0]
    if fill == "two":
        attrs["missing_value"] = np.array(file)
    if fill == "valid_range":
        low = np.array([kind.type(info.min if kind.kind in "iu" else 0)]).view(dtype)[0]
        attrs["valid_range"] = np.array([low, np.array([ends[1] - 1]).astype(kind).view(dtype)[0]])
    if fill == "valid_min":
        least = kind.type(info.min + 3 if kind.kind in "iu" else 1e-6)
        attrs["valid_min"] = np.array([least]).view(dtype)[0]
        low = kind.type(info.min + 1 if kind.kind in "iu" else 5e-7)
        return low, low
    return ends[0], ends[1]


def write_netcdf(path, raster, place, packing, fill, layout, form, turned):
    """The raster as a file of this kind; what it takes to read it."""
    numbers, attrs = stored_numbers(raster, packing, fill)
    unit = PLACES[place][2]
    asked: dict[str, Any] = {}
    with netCDF4.Dataset(path, "w", format=form) as file:
        file.set_auto_maskandscale(False)
        names = ("lon", "lat") if unit is None else ("x", "y")
        for name, axis in zip(names, ("x", "y"), strict=True):
            values = raster[axis].values / (1000 if unit == "km" else 1)
            file.createDimension(name, values.size)
            file.createVariable(name, "f8", (name,))[:] = values
            if unit:
                file[name].units = unit
        if unit is not None:
            file.createVariable("crs", "i4").crs_wkt = raster["crs"].attrs["crs_wkt"]
        space = names if turned else names[::-1]
        ahead: list[str] = []
        chosen: list[int] = []
        if "step" in layout or layout == "bands and time":
            dim = {"steps": "t", "other steps": "acquisition"}.get(layout, "time")
            days = DAYS if layout.endswith("steps") else DAYS[:1]
            file.createDimension(dim, len(days))
            when = file.createVariable(dim, "i4", (dim,))
            when.units, when.calendar = "days since 2026-01-01", "standard"
            when[:] = [(day - dt.date(2026, 1, 1)).days for day in days]
            ahead.append(dim)
            chosen.append(len(days) - 1)
            asked = {"day": DAYS[2]} if layout == "steps" else {"step": len(days) - 1}
        stacks = {"sigma0": list(numbers)} if "bands" in layout else {b: [b] for b in numbers}
        if "bands" in layout:
            file.createDimension("bands", len(BANDS))
            file.createDimension("letters", 2)
            label = file.createVariable("bands", "S1", ("bands", "letters"))
            label[:] = np.array([list(band) for band in BANDS], "S1")
            ahead.append("bands")
        dtype = np.dtype(PACKINGS[packing][0])
        for name, bands in stacks.items():
            about = dict(attrs)
            fill_value = about.pop("_FillValue", None)
            band = file.createVariable(name, dtype, (*ahead, *space), fill_value=fill_value)
            band.set_auto_maskandscale(False)
            if unit is not None:
                band.grid_mapping = "crs"
            band[:] = np.ones(band.shape, dtype)
            for i, key in enumerate(bands):
                at = (*chosen, i) if "bands" in layout else tuple(chosen)
                band[at] = numbers[key].T if turned else numbers[key]
            band.setncatts(about)
    return asked


def by_others(path, raster, layout, fill):
    """The raster with values by xarray, and no data by xarray and netCDF4.

    netCDF4 looks for the library's own fill values with the sign that is not meant.
    """
    found = raster.copy()
    with warnings.catch_warnings(), xr.open_dataset(path) as by_xarray, netCDF4.Dataset(path) as f:
        warnings.simplefilter("ignore")
        for i, band in enumerate(BANDS):
            name = "sigma0" if "bands" in layout else band
            values = by_xarray[name]
            f[name].set_auto_maskandscale(True)
            masked = np.ma.getmaskarray(f[name][:])
            f[name].set_auto_maskandscale(False)
            stored = f[name][:]
            if fill == "default" and stored.itemsize > 1:
                masked |= stored == netCDF4.default_fillvals[stored.dtype.str[1:]]
            if "bands" in layout:
                values, masked = values.isel(bands=i), masked.take(i, values.get_axis_num("bands"))
            others = [dim for dim in values.dims if dim not in ("x", "y", "lon", "lat")]
            masked = masked[(-1,) * len(others)]
            values = values.isel(dict.fromkeys(others, -1))
            axes = ("lat", "lon") if "lat" in values.dims else ("y", "x")
            masked = masked if values.dims == axes else masked.T
            numbers = values.transpose(*axes).values.astype(float)
            found[band] = ("y", "x"), np.where(masked, np.nan, numbers)
    return found


def same_cells(cells, raster, tile=TILE):
    means, count = expected_cells(raster, tile, nside=LEVEL)
    np.testing.assert_array_equal(cells["count"], count)
    for band in BANDS:
        np.testing.assert_allclose(cells[band], means[band], rtol=1e-5)
    assert count.any()


kinds = st.fixed_dictionaries({
    "place": st.sampled_from(sorted(PLACES)), "packing": st.sampled_from(sorted(PACKINGS)),
    "fill": st.sampled_from(FILLS), "layout": st.sampled_from(LAYOUTS),
    "form": st.sampled_from(FORMATS), "turned": st.booleans(),
    "down": st.booleans(), "west": st.booleans(),
})  # fmt: skip


@functools.cache
def raster_at(place):
    return make_raster(TILE, *PLACES[place][:2])


@torture
@settings(max_examples=rounds(6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds)
@pytest.mark.filterwarnings("ignore")
def test_any_mixture_gives_what_xarray_netcdf4_proj_and_healpy_give(tmp_path, kind):
    """By path, as xarray opens it, and as it is stored: equal to the bit."""
    check_kind(tmp_path / "kind.nc", **kind)


def check_kind(path, down, west, **kind):
    if kind["form"] in ("NETCDF3_CLASSIC", "NETCDF4_CLASSIC"):  # they know no unsigned numbers
        wide = PACKINGS[kind["packing"]][0]
        kind["packing"] = "float" if wide[0] == "u" else kind["packing"]
    if kind["packing"] == "signed by attribute" and kind["fill"].startswith("valid"):
        kind["fill"] = "two"  # netCDF4 compares numbers with the sign that is not meant
    raster = raster_at(kind["place"]).isel(y=slice(None, None, 1 if down else -1))
    raster = raster.isel(x=slice(None, None, -1 if west else 1))
    asked = write_netcdf(path, raster, **kind) | {"nside": LEVEL, "bands": BANDS}
    cells = raster_to_cells(path, TILE, **asked)
    same_cells(cells, by_others(path, raster, kind["layout"], kind["fill"]))
    engine = "h5netcdf" if kind["form"].startswith("NETCDF4") else "netcdf4"
    with xr.open_dataset(path, decode_cf=False, engine=engine) as raw:
        xr.testing.assert_identical(raster_to_cells(raw, TILE, **asked), cells)
    with xr.open_dataset(path, engine=engine) as decoded:
        xr.testing.assert_identical(raster_to_cells(decoded, TILE, **asked), cells)


# ------------------------------------------------------------------------------------ GeoTIFF

TIFFS: dict[str, dict[str, Any]] = {
    "power": {},
    "tiled and deflated": {
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 16,
        "compress": "deflate",
    },
    "pixel by pixel": {"interleave": "pixel", "compress": "lzw"},
    "big": {"bigtiff": "yes"},
}


def write_tiff(
    path, raster, names=BANDS, dtype="float32", nodata=None, scale=1.0, offset=0.0, **how
):
    """The raster as GeoTIFF, GDAL's way."""
    left, top = raster.x.values[0], raster.y.values[0]
    dx, dy = raster.x.values[1] - left, raster.y.values[1] - top
    where = Affine(dx, 0, left - dx / 2, 0, dy, top - dy / 2)
    crs = how.pop("crs", raster["crs"].attrs["crs_wkt"])
    height, width = raster[BANDS[0]].shape
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=len(names), dtype=dtype,
        crs=crs, transform=where, nodata=nodata, **how,
    ) as image:  # fmt: skip
        for number, (name, band) in enumerate(zip(names, BANDS, strict=False), 1):
            values = (raster[band].values.astype(float) - offset) / scale
            values = np.where(np.isnan(values), np.nan if nodata is None else nodata, values)
            image.write((np.round(values) if "int" in dtype else values).astype(dtype), number)
            if name:
                image.set_band_description(number, name)
        image.scales, image.offsets = [scale] * len(names), [offset] * len(names)
    return path


def by_rasterio(path, raster):
    """The raster with what rasterio reads of the file, where rasterio puts its pixels."""
    found = raster.copy()
    with rasterio.open(path) as image:
        values = image.read(masked=True).astype(float).filled(np.nan)
        for i, band in enumerate(BANDS):
            found[band] = ("y", "x"), values[i] * image.scales[i] + image.offsets[i]
        x, y = image.xy(0, np.arange(image.width))[0], image.xy(np.arange(image.height), 0)[1]
    return found.assign_coords(x=x, y=y)


def with_gaps(raster):
    raster = raster.copy(deep=True)
    raster["VV"][4:9, 3:12] = np.nan
    raster["VH"][6:12, 3:12] = np.nan
    return raster


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(set(PLACES) - {"kilometres"})), st.sampled_from(sorted(TIFFS)),
    st.sampled_from([
        {"nodata": 9999.5}, {"nodata": np.nan}, {"dtype": "float64", "nodata": -1e30},
        {"dtype": "uint16", "nodata": 65535, "scale": 1e-4, "offset": 0.0},
        {"dtype": "int16", "nodata": -32768, "scale": 1e-4, "offset": 1.5},
    ]), st.booleans(),
)  # fmt: skip
def test_geotiff_gives_what_rasterio_proj_and_healpy_give(tmp_path, place, way, stored, up):
    raster = with_gaps(raster_at(place)).isel(y=slice(None, None, -1 if up else 1))
    path = write_tiff(tmp_path / "a.tif", raster, **TIFFS[way], **stored)
    same_cells(raster_to_cells(path, TILE, nside=LEVEL), by_rasterio(path, raster))


@pytest.mark.parametrize(
    "names",
    [("VV", "VH"), ("vv", "vh"), ("Sigma0_VV", "Sigma0_VH"), ("VV 2026-01-20", "VH 2026-01-20"),
     ("", "")],
)  # fmt: skip
def test_the_bands_of_a_geotiff_go_by_their_descriptions_or_their_order(names, tmp_path):
    raster = raster_at("utm")
    path = write_tiff(tmp_path / "a.tif", raster, names)
    expected = raster_to_cells(raster, TILE, nside=LEVEL)
    cells = raster_to_cells(path, TILE, nside=LEVEL, bands=BANDS)
    xr.testing.assert_identical(cells, expected)
    turned = raster_to_cells(path, TILE, nside=LEVEL, bands=["VH", "VV"])
    is_band = {"VH": "VV", "VV": "VH"} if not any(names) else {"VH": "VH", "VV": "VV"}
    for name, band in is_band.items():
        np.testing.assert_array_equal(turned[name], cells[band])


def test_a_file_of_one_polarisation_is_called_after_it(tmp_path):
    path = tmp_path / "S1A_IW_20260120T053000_DVP_RTC30_G_gpuned_1A2B_VV.tif"
    write_tiff(path, raster_at("utm"), [""])
    expected = raster_to_cells(raster_at("utm"), TILE, bands=["VV"])
    xr.testing.assert_identical(raster_to_cells(path, TILE), expected)


def test_a_mask_of_a_geotiff_is_obeyed(tmp_path):
    raster = raster_at("utm")
    path = write_tiff(tmp_path / "a.tif", raster)
    mask = np.ones(raster["VV"].shape, bool)
    mask[10:20, 5:15] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as image:
        image.write_mask(mask)
    same_cells(raster_to_cells(path, TILE, nside=LEVEL), by_rasterio(path, raster))


# ----------------------------------------------------------------------- decibels, steps, words


def in_decibels(raster):
    return raster.assign({b: (10 * np.log10(raster[b])).astype("f4") for b in BANDS})


@pytest.mark.parametrize("said", [False, True])
def test_decibels_become_power_when_somebody_says_what_they_are(said, tmp_path):
    """A zero without a word is no data there, not 1."""
    raster = with_gaps(raster_at("utm"))
    expected = raster_to_cells(raster, TILE, nside=LEVEL, bands=BANDS)
    decibels = in_decibels(raster)
    if said:
        for band in BANDS:
            decibels[band].attrs["units"] = "dB"
    outside = np.isnan(raster["VV"].values) & np.isnan(raster["VH"].values)
    zeros = decibels.copy(deep=True)
    for band in BANDS:
        zeros[band].values[outside] = 0
    for given_raster in (
        decibels,
        zeros,
        write_tiff(tmp_path / "a.tif", decibels, nodata=-9999.0),
        write_tiff(tmp_path / "zero.tif", zeros.fillna(0), nodata=0.0),
    ):
        cells = raster_to_cells(given_raster, TILE, nside=LEVEL, bands=BANDS, decibels=True)
        np.testing.assert_array_equal(cells["count"], expected["count"])
        for band in BANDS:
            np.testing.assert_allclose(cells[band], expected[band], rtol=1e-5)
    for wrong in (decibels, write_tiff(tmp_path / "b.tif", decibels, ["VV_db", "VH_db"])):
        with pytest.raises(RasterError, match="--decibels"):
            raster_to_cells(wrong, TILE, nside=LEVEL, bands=BANDS)
    with pytest.raises(RasterError, match="look like linear power"):
        raster_to_cells(raster, TILE, nside=LEVEL, decibels=True)


def steps(name="t", labels=None):
    parts = [make_raster(TILE, *PLACES["utm"][:2], seed=i) for i in range(3)]
    raster = xr.concat([part.drop_vars("crs") for part in parts], name)
    labels = [np.datetime64(day, "ns") for day in DAYS] if labels is None else labels
    return raster.assign_coords({name: labels}).assign(crs=parts[0]["crs"]), parts


@torture
@pytest.mark.parametrize(
    ("name", "labels"),
    turns([
        ("t", None), ("acquired", None), ("look", ["2026-01-21T05:30", "20260120", "2026-02-03"]),
    ]),
)  # fmt: skip
def test_a_step_is_chosen_by_its_number_or_by_its_day(name, labels, tmp_path):
    raster, parts = steps(name, labels)
    raster.to_netcdf(tmp_path / "a.nc")
    for given_raster in (raster, tmp_path / "a.nc"):
        for i, day in list(enumerate(DAYS))[::2]:
            expected = raster_to_cells(parts[i], TILE, nside=LEVEL)
            for asked in ({"step": i}, {"day": day}):
                cells = raster_to_cells(given_raster, TILE, nside=LEVEL, **asked)
                assert cells.attrs.pop("time").replace("-", "").startswith(f"{day:%Y%m%d}")
                xr.testing.assert_identical(cells, expected)
        with pytest.raises(RasterError, match=r"no step of 2026-05-01 along .* it has 0: 2026-01"):
            raster_to_cells(given_raster, TILE, day=dt.date(2026, 5, 1))
        with pytest.raises(RasterError, match="there is no step 3 of"):
            raster_to_cells(given_raster, TILE, step=3)


def test_labels_of_bands_may_be_texts_numbers_or_none(tmp_path):
    raster = raster_at("utm")
    expected = raster_to_cells(raster, TILE, nside=LEVEL)
    stacked = raster[list(BANDS)].to_dataarray("bands", "sigma0").to_dataset()
    stacked["crs"] = raster["crs"]
    stacked["sigma0"].attrs["grid_mapping"] = "crs"
    numbers = stacked.assign_coords(bands=[1, 2]).rename(bands="band")
    described = numbers.copy()
    described["sigma0"] = numbers["sigma0"].assign_attrs(long_name=("VV", "VH"))
    for i, (given_raster, bands) in enumerate((
        (stacked, None), (stacked.transpose("y", "bands", "x"), BANDS), (numbers, BANDS),
        (described, BANDS), (stacked.rename(bands="layer"), None),
    )):  # fmt: skip
        path = tmp_path / f"{i}.nc"
        given_raster.to_netcdf(path)
        for one in (given_raster, path):
            cells = raster_to_cells(one, TILE, nside=LEVEL, bands=bands)
            xr.testing.assert_identical(cells, expected)


def turned_raster(path):
    with rasterio.open(
        path, "w", driver="GTiff", width=5, height=5, count=2, dtype="float32", crs="EPSG:32632",
        transform=Affine.rotation(30) @ Affine.scale(10, -10),
    ):  # fmt: skip
        pass


def ground_points(path):
    from rasterio.control import GroundControlPoint

    points = [GroundControlPoint(r, c, 7 + c / 1e3, 50 - r / 1e3) for r in (0, 4) for c in (0, 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", width=5, height=5, count=2, dtype="float32", gcps=points,
            crs="EPSG:4326",
        ):  # fmt: skip
            pass


def cut(path):
    write_tiff(path, raster_at("utm"), compress="deflate")
    path.write_bytes(path.read_bytes()[:3000])


REFUSED = {
    "a text": (lambda path: path.write_text("<html>502"), "it begins with '<html>502'"),
    "nothing": (lambda path: path.write_bytes(b""), "no whole netCDF file"),
    "a turned image": (turned_raster, "turned against the axes"),
    "ground control points": (ground_points, "only placed by ground control points"),
    "three bands without a name": (
        lambda path: write_tiff(path, raster_at("utm"), ["", "", ""]), "3 without a name",
    ),
    "other bands": (lambda path: write_tiff(path, raster_at("utm"), ["HH", "HV"]), "only HH, HV"),
    "a GeoTIFF that is cut": (cut, "cannot be read|no whole GeoTIFF"),
    "a netCDF-3 file that is cut": (
        lambda path: path.write_bytes(b"CDF\x01" + bytes(9)), "no whole netCDF file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_used_is_told_in_one_line(kind, tmp_path):
    spoil, words = REFUSED[kind]
    path = tmp_path / "a.tif"
    spoil(path)
    with pytest.raises(RasterError, match=words) as error:
        raster_to_cells(path, TILE, bands=BANDS)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 300


def test_several_rasters_are_taken_together(tmp_path):
    """Halves of a raster give what the whole gives, and gaps of one band stay its own."""
    raster = with_gaps(raster_at("utm"))
    expected = raster_to_cells(raster, TILE)
    halves = [raster.isel(x=slice(None, 17)), raster.isel(x=slice(17, None))]
    write_tiff(tmp_path / "east.tif", halves[1], nodata=-1.0)
    cells = raster_to_cells([halves[0], tmp_path / "east.tif"], TILE, bands=BANDS)
    np.testing.assert_array_equal(cells["count"], expected["count"])
    for band in BANDS:
        np.testing.assert_allclose(cells[band], expected[band], rtol=1e-6)
    with pytest.raises(RasterError, match="it has the bands VV, but"):
        raster_to_cells([halves[0], halves[1][["VV", "crs"]]], TILE)


@torture
@pytest.mark.parametrize(
    ("place", "ellipsoid"),
    turns([
        ("66 N, 180 E", "WGS84"), ("50 N", "sphere"), ("85 S, polar", "sphere"),
        ("degrees", "WGS84"),
    ]),
)  # fmt: skip
def test_the_tiles_of_a_raster_are_those_of_the_cells_around_its_pixels(place, ellipsoid):
    raster, size = raster_of(place), (180 / 9001, 90 / 9007)  # no centre is on an edge
    ids = pixel_cells(raster, ellipsoid)
    lon, lat = centres_of(np.unique(ids[ids >= 0]), convert.NSIDE, ellipsoid)
    owners = {tile_at(*at, size) for at in zip(lon, lat, strict=True)}
    assert sorted(about(raster, size, ellipsoid=ellipsoid).tiles) == sorted(owners)


@pytest.mark.parametrize(
    ("name", "attrs", "day", "orbit"),
    [
        ("a", {"time_coverage_start": "2026-01-20T05:30:00Z"}, DAYS[1], None),
        ("a", {"datetime": "2026-01-20", "orbit_direction": "DESCENDING"}, DAYS[1], "descending"),
        ("openEO_2026-01-20Z", {}, DAYS[1], None),
        ("S1A__IW___A_20260120T053000_VV_gamma0-rtc", {}, DAYS[1], "ascending"),
        ("S1A_IW_20260120T053000_DVP_RTC30_G_gpuned_1A2B", {"pass": "asc"}, DAYS[1], "ascending"),
        ("S1A_IW_GRDH_1SDV_20260120T235950_20260121T000015_030880_038B0B_9B7E", {}, None, None),
        ("20261399", {"datetime": "soon", "orbit": "low"}, None, None),
        ("a20200101000000000", {}, None, None),
    ],
)
def test_day_and_pass_are_read_from_attributes_or_the_name(name, attrs, day, orbit, tmp_path):
    write_tiff(tmp_path / f"{name}.tif", raster_at("utm"))
    with rasterio.open(tmp_path / f"{name}.tif", "r+") as image:
        image.update_tags(TIFFTAG_DATETIME="2020:05:05 00:00:00", **attrs)
    raster_at("utm").assign_attrs(attrs).to_netcdf(tmp_path / f"{name}.nc")
    for suffix in ("tif", "nc"):
        found = about(tmp_path / f"{name}.{suffix}", (1, 0.5))
        assert (found.day, found.orbit) == (day, orbit)
        assert found.bands == BANDS
        assert Tile(7.0, 50.0, 8.0, 50.5) in found.tiles


def test_a_dataset_without_a_crs_may_name_its_axes_by_units(tmp_path):
    raster = make_raster(TILE, 4326, 1.2e-4)
    expected = raster_to_cells(raster, TILE)
    other = raster.drop_vars("crs").rename(x="column", y="line")
    other["column"].attrs["units"], other["line"].attrs["units"] = "degrees_east", "degrees_north"
    xr.testing.assert_identical(raster_to_cells(other, TILE), expected)


def test_dressing_changes_nothing():
    """The raster that the others are compared with is what its definition says."""
    raster = raster_at("utm")
    assert raster.identical(dress({"x": raster.x.values, "y": raster.y.values}, 32632))
