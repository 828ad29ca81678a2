"""Files of other writers: each says the same of its pixels in its own way, or is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import netCDF4
import numpy as np
import pyproj
import pytest
import xarray as xr

from convert import RasterError, raster_to_cells
from grid import Tile
from jobs import transfer
from tests.cells.test_average import HERE, dress, expected_cells, make_raster
from tests.rounds import torture, turns

WEST = Tile(-71.02, -33.52, -71.0, -33.51)  # 288.98 degrees
DEGREES = ("EPSG:4326", 1e-4)
DEFAULT = netCDF4.default_fillvals["f4"]


def write(raster, path, x=None, y=None, mapping=None, bands=None, **of_file):
    """The raster as a file, with attributes of its axes, grid mapping and bands changed.

    ``x`` and ``y`` are (values, attributes), ``mapping`` attributes, ``bands`` (dtype, attributes).
    """
    x, y = x or (raster.x.values, {}), y or (raster.y.values, {})
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(of_file)
        for name, (values, attrs) in (("x", x), ("y", y)):
            file.createDimension(name, len(values))
            axis = file.createVariable(name, values.dtype, (name,))
            axis[:] = values
            axis.setncatts(attrs)  # not before: netCDF4 would pack by them
        if mapping is not None:
            file.createVariable("crs", "i4").setncatts(mapping)
        pack, attrs = bands or (lambda values: values, {})
        for name in ("VV", "VH"):
            values = pack(raster[name].values)
            about = dict(attrs)
            band = file.createVariable(
                name, values.dtype, ("y", "x"), zlib=True, fill_value=about.pop("_FillValue", None)
            )
            if mapping is not None:
                band.grid_mapping = "crs"
            band.set_auto_maskandscale(False)
            band[:] = values
            band.setncatts(about)
    return path


def wkt(raster):
    return {"crs_wkt": raster.crs.attrs["crs_wkt"]}


def scaled(values, step, offset, dtype="i4"):
    """Numbers as whole ones of a step, exactly."""
    return np.round((values - offset) / step).astype(dtype)


def crs_of(raster):
    return pyproj.CRS(raster.crs.attrs["crs_wkt"])


def cf(raster):
    """CF's parameters alone."""
    return {k: v for k, v in crs_of(raster).to_cf().items() if k != "crs_wkt"}


def whole_metres(raster, unit, factor):
    return {
        name: (raster[name].values / factor, {"units": unit}) for name in ("x", "y")
    } | {"mapping": wkt(raster)}  # fmt: skip


# How a file says where its pixels are.  The raster of UTM 32N, and what `write` is to write.
PLACES = {
    "kilometres": lambda r: whole_metres(r, "km", 1e3),
    "kilometres in full": lambda r: whole_metres(r, "kilometers", 1e3),
    "metres": lambda r: whole_metres(r, "metre", 1),
    "no unit": lambda r: whole_metres(r, "", 1),
    "centimetres": lambda r: whole_metres(r, "cm", 1e-2),
    "kilometres of a CRS in kilometres": lambda r: {
        "x": (r.x.values / 1e3, {"units": "km"}), "y": (r.y.values / 1e3, {"units": "km"}),
        "mapping": {"proj4": "+proj=utm +zone=32 +datum=WGS84 +units=km"},
    },
    "metres of a CRS in kilometres": lambda r: {
        "x": (r.x.values, {"units": "m"}), "y": (r.y.values, {"units": "m"}),
        "mapping": {"proj4": "+proj=utm +zone=32 +datum=WGS84 +units=km"},
    },
    "whole numbers and an offset": lambda r: {
        "x": (scaled(r.x.values, 10, 5), {"scale_factor": 10.0, "add_offset": 5.0}),
        "y": (scaled(r.y.values, 10, 5), {"scale_factor": np.array([10.0]), "add_offset": 5.0}),
        "mapping": wkt(r),
    },
    "unsigned shorts and an offset": lambda r: {
        "x": (scaled(r.x.values, 10, r.x.values[0] - 400_000, "u2").view("i2"),
              {"scale_factor": 10.0, "add_offset": r.x.values[0] - 400_000, "_Unsigned": "true"}),
        "mapping": wkt(r),
    },
    "CF's parameters": lambda r: {"mapping": cf(r)},
    "CF's parameters, in its longer form": lambda r: {
        "mapping": cf(r), "bands": (lambda v: v, {"grid_mapping": "crs: x y"}),
    },
    "text of PROJ": lambda r: {"mapping": {"proj4": crs_of(r).to_proj4()}},
    "text of PROJ by another name": lambda r: {"mapping": {"proj4text": crs_of(r).to_proj4()}},
    "text of PROJ as spatial_ref": lambda r: {"mapping": {"spatial_ref": crs_of(r).to_proj4()}},
    "a number": lambda r: {"mapping": {"epsg_code": 32632}},
    "a number with its name": lambda r: {"mapping": {"epsg_code": "EPSG:32632"}},
    "the file, not a variable": lambda r: {"crs_wkt": wkt(r)["crs_wkt"]},
}  # fmt: skip


def same(path, raster, tile=HERE):
    """The conversion is that of pixel by pixel PROJ and healpy, and the check agrees."""
    transfer.check(path, tile, ("VV", "VH"))
    cells, (means, count) = raster_to_cells(path, tile), expected_cells(raster, tile)
    np.testing.assert_array_equal(cells["count"], count)
    for band in ("VV", "VH"):
        np.testing.assert_allclose(cells[band], means[band], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:You will likely lose important projection information")
@torture
@pytest.mark.parametrize("place", turns(PLACES))
def test_where_the_pixels_are_may_be_said_in_any_way(place, tmp_path):
    raster = make_raster(HERE)
    same(write(raster, tmp_path / "a.nc", **PLACES[place](raster)), raster)


# Longitudes and latitudes: attributes of x and y, of the grid mapping, turns of x.
ROUND = {
    "without a CRS": ("degrees_east", "degrees_north", None, 0),
    "without a CRS, up to 360": ("degrees_east", "degrees_north", None, 360),
    "with a CRS, up to 360": ("degrees_east", "degrees_north", {"spatial_ref": "EPSG:4326"}, 360),
    "by CF's parameters": ("degree", "degree", pyproj.CRS(4326).to_cf(), 0),
    "in radians": ("radian", "radian", {"spatial_ref": "EPSG:4326"}, 0),
}


@torture
@pytest.mark.parametrize("tile", [HERE, WEST])
@pytest.mark.parametrize("way", turns(ROUND))
def test_longitudes_and_latitudes(way, tile, tmp_path):
    east, north, mapping, turn = ROUND[way]
    raster = make_raster(tile, *DEGREES)
    turned = np.where(raster.x.values < 0, raster.x.values + turn, raster.x.values)
    factor = np.pi / 180 if east == "radian" else 1
    path = write(
        raster, tmp_path / "a.nc", mapping=mapping, x=(turned * factor, {"units": east}),
        y=(raster.y.values * factor, {"units": north}),
    )  # fmt: skip
    same(path, raster, tile)
    other = Tile(tile.west + 0.1, tile.south, tile.east + 0.1, tile.north)
    with pytest.raises(transfer.Refused, match="does not cover"):
        transfer.check(path, other, ("VV", "VH"))


def test_a_rotated_pole_is_a_crs_as_any_other(tmp_path):
    pole = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25,
            "grid_north_pole_longitude": -162.0}  # fmt: skip
    crs = pyproj.CRS.from_cf(pole)
    project = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    x, y = project([HERE.west, HERE.east] * 2, [HERE.south] * 2 + [HERE.north] * 2)
    raster = dress(
        {name: np.arange(min(v) - 0.01, max(v) + 0.01, 1e-4) for name, v in (("x", x), ("y", y))},
        "EPSG:4326",
    )
    raster["crs"].attrs["crs_wkt"] = crs.to_wkt()
    units = {"units": "degrees"}
    path = write(
        raster, tmp_path / "a.nc", x=(raster.x.values, units), y=(raster.y.values, units),
        mapping=pole,
    )  # fmt: skip
    same(path, raster)


# How a file says what its values are: stored numbers, and attributes.  None: as they are.
STEP = 2.0**-14
FINE = STEP / 8  # so that some need the sixteenth bit
VALUES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "unsigned shorts": (lambda v: scaled(v, FINE, 0, "u2").view("i2"),
                        {"scale_factor": FINE, "_Unsigned": "true", "_FillValue": np.int16(-1)}),
    "unsigned shorts with an unsigned fill": (
        lambda v: scaled(v, FINE, 0, "u2").view("i2"),
        {"scale_factor": FINE, "_Unsigned": "true", "missing_value": np.uint16(65535)},
    ),
    "shorts": (lambda v: scaled(v, STEP, 0.75, "i2"),
               {"scale_factor": STEP, "add_offset": 0.75, "_FillValue": np.int16(-32768)}),
    "shorts with no fill value but netCDF's": (
        lambda v: scaled(v, STEP, 1.5, "i2"), {"scale_factor": STEP, "add_offset": 1.5},
    ),
    "unsigned with no fill value but netCDF's": (
        lambda v: scaled(v, STEP, 0, "u2"), {"scale_factor": STEP},
    ),
    "netCDF's fill without an attribute": (lambda v: v, {}),
    "a fill in double precision": (lambda v: v, {"missing_value": np.float64(-9999.9)}),
    "the same, positive": (lambda v: v, {"missing_value": np.float64(9999.9)}),
}  # fmt: skip
FILLS = {"unsigned shorts": -1, "unsigned shorts with an unsigned fill": -1, "shorts": -32768,
         "shorts with no fill value but netCDF's": -32767,
         "unsigned with no fill value but netCDF's": 65535,
         "netCDF's fill without an attribute": DEFAULT,
         "a fill in double precision": -9999.9, "the same, positive": 9999.9}  # fmt: skip


@torture
@pytest.mark.parametrize("way", turns(VALUES))
def test_what_the_values_are_may_be_said_in_any_way(way, tmp_path):
    """Values that stand for none, in both bands and in one; netCDF4 reads the same."""
    raster = make_raster(HERE)
    for band in ("VV", "VH"):
        raster[band] = (
            (np.round(raster[band] / STEP) * STEP).astype("f4").assign_attrs(grid_mapping="crs")
        )
    raster["VV"][20:60, 30:70] = np.nan
    raster["VH"][40:90, 30:70] = np.nan
    pack, attrs = VALUES[way]

    def store(values):
        packed = pack(np.nan_to_num(values, nan=0.4))
        packed[np.isnan(values)] = FILLS[way]
        return packed

    path = write(raster, tmp_path / "a.nc", mapping=wkt(raster), bands=(store, attrs))
    same(path, raster)
    with xr.open_dataset(path, decode_cf=False) as raw:
        xr.testing.assert_identical(raster_to_cells(raw, HERE), raster_to_cells(path, HERE))
    if "missing_value" not in attrs:  # netCDF4 takes those of the type as stored only
        with netCDF4.Dataset(path) as file:
            found = np.ma.filled(file["VH"][:].astype("f8"), np.nan)
            np.testing.assert_allclose(found, raster["VH"].values, rtol=1e-5)
    if "_FillValue" in attrs:  # xarray does not know netCDF's own
        with xr.open_dataset(path) as decoded:
            xr.testing.assert_allclose(raster_to_cells(decoded, HERE), raster_to_cells(path, HERE))


# What nobody can make sense of, and the words that say so.
REFUSED = {
    "a unit that is none": (lambda r: whole_metres(r, "furlong", 1), "x counts 'furlong'"),
    "degrees of a CRS in metres": (lambda r: whole_metres(r, "degrees", 1), "counts metre"),
    "radians of a satellite": (lambda r: whole_metres(r, "rad", 1), "x counts 'rad'"),
    "no CRS": (lambda r: {}, "there is no CRS"),
    "a grid mapping that CF does not know": (
        lambda r: {"mapping": {"grid_mapping_name": "nonsense"}}, "the CRS 'nonsense'",
    ),
    "a number of nothing": (lambda r: {"mapping": {"epsg_code": 1}}, "'EPSG:1'"),
    "nonsense for PROJ": (lambda r: {"mapping": {"proj4": "+proj=no"}}, "proj=no"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_nobody_can_make_sense_of_is_refused(case, tmp_path):
    raster = make_raster(HERE)
    changes, words = REFUSED[case]
    path = write(raster, tmp_path / "a.nc", **changes(raster))
    with pytest.raises(RasterError, match=words):
        raster_to_cells(path, HERE)
    with pytest.raises(transfer.Refused, match=words):
        transfer.check(path, HERE, ("VV", "VH"))


@pytest.mark.parametrize("unit", ["dB", "DB", "decibel", ""])
@pytest.mark.parametrize("offset", [0, 22])
def test_decibels_are_refused_whether_they_say_so_or_not(unit, offset, tmp_path):
    raster = make_raster(HERE)
    for band in ("VV", "VH"):
        raster[band] = (10 * np.log10(raster[band])).astype("f4")
    if offset:  # most are positive: only the unit tells
        raster = raster.assign({band: raster[band] + offset for band in ("VV", "VH")})
    path = write(raster, tmp_path / "a.nc", mapping=wkt(make_raster(HERE)),
                 bands=(lambda v: v, {"units": unit}))  # fmt: skip
    if offset and not unit:
        assert raster_to_cells(path, HERE)["count"].any()
        return
    with pytest.raises(RasterError, match="decibels"):
        raster_to_cells(path, HERE)
