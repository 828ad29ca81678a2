"""Where the pixels of a raster are: its axes, their units, and its coordinate reference system.

Result files say it in many ways: well-known text, the parameters of CF's grid mappings, PROJ's
text, a number of EPSG, or nothing at all where longitude and latitude go without saying.  What
is found here is in the units of the reference system; longitudes may go on beyond 180.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import ProjError

from shared.attributes import as_unsigned, plain, text
from shared.errors import RasterError, brief

X_NAMES = ("x", "lon", "longitude", "easting", "projection_x_coordinate", "grid_longitude")
Y_NAMES = ("y", "lat", "latitude", "northing", "projection_y_coordinate", "grid_latitude")
DEGREES = ("lon", "longitude", "lat", "latitude")  # names that need no reference system
WKT_NAMES = ("crs_wkt", "spatial_ref")
PROJ_NAMES = ("proj4", "proj4text", "proj4_text", "proj4_string", "proj4_params", "proj_string")
EPSG_NAMES = ("epsg_code", "epsg", "spatial_epsg")

LENGTHS = {  # in metres
    1.0: "m metre metres meter meters",
    1e3: "km kilometre kilometres kilometer kilometers",
    1e-2: "cm centimetre centimetres centimeter centimeters",
    0.3048: "ft foot feet",
    1200 / 3937: "us-ft us_survey_foot us_survey_feet",
}
EAST = "degree_east degrees_east degree_e degrees_e degreee degreese"  # only longitudes count so
NORTH = "degree_north degrees_north degree_n degrees_n degreen degreesn"
ANGLES = {  # in radians
    np.pi / 180: f"degree degrees deg {EAST} {NORTH}",
    1.0: "rad radian radians",
}

log = logging.getLogger("cells")


@dataclass(frozen=True)
class Lattice:
    """The centres of the pixels: x of each column, y of each row, and what they mean."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    crs: str  # anything that PROJ takes for one


def with_plain_attributes(dataset: xr.Dataset) -> xr.Dataset:
    """The same data; the caller's dataset keeps its own attributes."""
    dataset = dataset.copy()
    dataset.attrs = plain(dataset.attrs)
    for variable in dataset.variables.values():
        variable.attrs = plain(variable.attrs)
    return dataset


def find_axes(dataset: xr.Dataset, name: str) -> tuple[str, str]:
    """The dimensions along x and along y.  Raises RasterError."""
    return _axis(dataset, X_NAMES, "X", EAST, name), _axis(dataset, Y_NAMES, "Y", NORTH, name)


def locate(dataset: xr.Dataset, dims: tuple[str, str], bands: Sequence[str], name: str) -> Lattice:
    """Where the pixels of these bands are.  Raises RasterError."""
    crs = _crs(dataset, dims, bands, name)
    x, y = (_in_units_of(crs, dataset[dim], name) for dim in dims)
    return Lattice(x, y, crs.srs)


def _axis(dataset: xr.Dataset, names: Sequence[str], axis: str, units: str, name: str) -> str:
    """The dimension that runs along x or y, by its name, attributes or units."""
    for dim in map(str, dataset.dims):
        attrs = dataset[dim].attrs if dim in dataset.variables else {}
        hints = (dim.lower(), attrs.get("standard_name"), attrs.get("axis"))
        by_unit = text(attrs.get("units")).strip().lower() in units.split()
        if by_unit or any(isinstance(hint, str) and hint in (*names, axis) for hint in hints):
            if dim not in dataset.variables:
                raise RasterError(f"{name}: the dimension {dim} has no coordinates.")
            if not np.all(np.isfinite(dataset[dim].values)) or dataset[dim].size == 0:
                raise RasterError(f"{name}: the coordinates of {dim} are empty or not finite.")
            return dim
    raise RasterError(
        f"{name}: there is no {axis.lower()} dimension among {', '.join(map(str, dataset.dims))}."
    )


def _crs(dataset: xr.Dataset, dims: tuple[str, str], bands: Sequence[str], name: str) -> CRS:
    for attrs in _descriptions(dataset, bands):
        if said := _said(attrs):
            return _understood(said, name)
    if all(_is_degrees(dataset[dim]) for dim in dims):
        log.info("%s names no CRS; its longitudes and latitudes are taken as of WGS 84.", name)
        return CRS.from_epsg(4326)
    raise RasterError(
        f"{name}: there is no CRS; no variable has the attribute crs_wkt or spatial_ref, CF's "
        f"parameters of a grid mapping, or a text of PROJ."
    )


def _descriptions(dataset: xr.Dataset, bands: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Attributes that may say what the CRS is, the bands' own grid mapping first."""
    for band in bands:
        for place in (dataset[band].attrs, dataset[band].encoding):
            # CF 1.7 allows "crs: x y".
            named = text(place.get("grid_mapping")).partition(":")[0].strip()
            if named in dataset.variables:
                yield dataset[named].attrs
    for key in ("crs", "spatial_ref", *dataset.variables):
        if key in dataset.variables:
            yield dataset[key].attrs
    yield dataset.attrs


def _said(attrs: Mapping[str, Any]) -> Any:
    """What PROJ is to take for a CRS: a text, or CF's parameters; "" for nothing."""
    for key in WKT_NAMES:
        if said := text(attrs.get(key)):
            return said
    if text(attrs.get("grid_mapping_name")):
        return dict(attrs)
    for key in PROJ_NAMES:
        if said := text(attrs.get(key)):
            return said
    for key in EPSG_NAMES:
        if said := text(attrs.get(key)).upper().removeprefix("EPSG:"):
            return f"EPSG:{said}"
    return ""


def _understood(said: Any, name: str) -> CRS:
    try:
        return CRS.from_cf(said) if isinstance(said, dict) else CRS.from_user_input(said)
    except (ProjError, KeyError, ValueError, TypeError) as error:
        words = said.get("grid_mapping_name") if isinstance(said, dict) else said[:60]
        raise RasterError(f"{name}: PROJ cannot use the CRS {words!r} ({brief(error)}).") from error


def _is_degrees(axis: xr.DataArray) -> bool:
    """Whether an axis says by itself that it is longitude or latitude."""
    hints = str(axis.name).lower(), text(axis.attrs.get("standard_name"))
    by_unit = _factor(ANGLES, axis.attrs) is not None
    return by_unit or any(hint in DEGREES for hint in hints)


def _in_units_of(crs: CRS, axis: xr.DataArray, name: str) -> NDArray[np.float64]:
    """The coordinates as numbers of the CRS's own unit."""
    scale, offset = axis.attrs.get("scale_factor", 1), axis.attrs.get("add_offset", 0)
    values: NDArray[np.float64] = as_unsigned(axis.values, axis.attrs).astype(np.float64)
    values = values * float(scale) + float(offset)
    unit = text(axis.attrs.get("units")).strip()
    if unit in ("", "1") or not crs.axis_info:
        return values
    angular = bool(crs.is_geographic)
    factor = _factor(ANGLES if angular else LENGTHS, axis.attrs)
    if factor is None:
        raise RasterError(
            f"{name}: {axis.name} counts {unit!r}, and its CRS {crs.name!r} counts "
            f"{crs.axis_info[0].unit_name}; nothing can be said of where its pixels are."
        )
    ratio = factor / crs.axis_info[0].unit_conversion_factor
    return values if abs(ratio - 1) < 1e-9 else values * ratio


def _factor(units: Mapping[float, str], attrs: Mapping[str, Any]) -> float | None:
    unit = text(attrs.get("units")).strip().lower()
    return next((factor for factor, names in units.items() if unit in names.split()), None)
