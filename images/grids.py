"""What a grid on longitude and latitude is: its bands, its edges, and its attributes by CF."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archive.passes import (
    ATTRIBUTES,
    PLATFORM,
    RELATIVE_ORBIT,
    UNKNOWN,
    Passes,
    relative_name,
)
from shared.collection import product_of
from shared.variables import variable

if TYPE_CHECKING:
    import xarray as xr

CRS = "EPSG:4326"
GRID_MAPPING: dict[str, str | float] = {  # what PROJ makes of it; a test compares
    "grid_mapping_name": "latitude_longitude",
    "geographic_crs_name": "WGS 84",
    "horizontal_datum_name": "World Geodetic System 1984 ensemble",
    "reference_ellipsoid_name": "WGS 84",
    "semi_major_axis": 6378137.0,
    "semi_minor_axis": 6356752.314245179,
    "inverse_flattening": 298.257223563,
    "prime_meridian_name": "Greenwich",
    "longitude_of_prime_meridian": 0.0,
    "crs_wkt": (
        'GEOGCRS["WGS 84",ENSEMBLE["World Geodetic System 1984 ensemble",'
        'MEMBER["World Geodetic System 1984 (Transit)"],'
        'MEMBER["World Geodetic System 1984 (G730)"],MEMBER["World Geodetic System 1984 (G873)"],'
        'MEMBER["World Geodetic System 1984 (G1150)"],MEMBER["World Geodetic System 1984 (G1674)"],'
        'MEMBER["World Geodetic System 1984 (G1762)"],MEMBER["World Geodetic System 1984 (G2139)"],'
        'MEMBER["World Geodetic System 1984 (G2296)"],'
        'ELLIPSOID["WGS 84",6378137,298.257223563,LENGTHUNIT["metre",1]],ENSEMBLEACCURACY[2.0]],'
        'PRIMEM["Greenwich",0,ANGLEUNIT["degree",0.0174532925199433]],CS[ellipsoidal,2],'
        'AXIS["geodetic latitude (Lat)",north,ORDER[1],ANGLEUNIT["degree",0.0174532925199433]],'
        'AXIS["geodetic longitude (Lon)",east,ORDER[2],ANGLEUNIT["degree",0.0174532925199433]],'
        'USAGE[SCOPE["Horizontal component of 3D system."],AREA["World."],BBOX[-90,-180,90,180]],'
        'ID["EPSG",4326]]'
    ),
}

DAY = "day"  # a layer that is no band: of which day the value of a pixel is
APART_BY = "passes_apart_by"  # the attribute of a grid with several images a day, and what they are
DAY_ATTRS = {"long_name": "day of the newest value", "units": "days since 1970-01-01"}

EARTH_RADIUS, EARTH_E2 = 6_378_137.0, 0.006_694_379_990_14  # WGS84: m, squared eccentricity

Box = tuple[float, float, float, float]  # west, east, south, north: degrees, as matplotlib has it
Pixels = NDArray[np.float32]


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Length of a degree of longitude and of latitude on WGS84 (radii of curvature)."""
    w2 = 1 - EARTH_E2 * math.sin(math.radians(lat)) ** 2
    east = EARTH_RADIUS / math.sqrt(w2) * math.cos(math.radians(lat))
    north = EARTH_RADIUS * (1 - EARTH_E2) / w2**1.5
    return math.radians(max(east, 1.0)), math.radians(north)


def grid_bands(dataset: xr.Dataset) -> list[str]:
    """The float variables on (lat, lon) or (time, lat, lon); ValueError when there is none."""
    names = [
        str(name)
        for name, values in dataset.data_vars.items()
        if values.dims in (("lat", "lon"), ("time", "lat", "lon"))
        and values.dtype.kind == "f" and values.size and name != DAY
    ]  # fmt: skip
    if not names:
        raise ValueError("There is nothing to draw or write: no band on (lat, lon) in the dataset.")
    return names


def grid_layers(dataset: xr.Dataset) -> list[str]:
    """What is written of a grid: its bands, and the day of each pixel where it has that."""
    return [*grid_bands(dataset), *([DAY] if DAY in dataset.data_vars else [])]


def is_lazy(dataset: xr.Dataset) -> bool:
    """Whether the bands of a grid are still to be computed."""
    return any(dataset[name].chunks for name in grid_layers(dataset))


def image_of(dataset: xr.Dataset) -> xr.Dataset:
    """The first image of a grid, without a time dimension; in memory if the grid is."""
    if is_lazy(dataset):
        return dataset.isel(time=0).drop_vars("orbit")
    bands = grid_layers(dataset)
    first = {
        name: variable(("lat", "lon"), dataset[name].values[0], dataset[name].attrs)
        for name in bands
    }
    along = [str(name) for name in dataset.coords if dataset[name].dims == ("time",)]
    alone = {
        name: variable((), np.asarray(dataset[name].values[0]), dataset[name].attrs)
        for name in along
        if name != "orbit"
    }
    return dataset.drop_vars([*bands, *along]).assign(first).assign_coords(alone)


def days_of(dataset: xr.Dataset) -> list[str]:
    """The days of the images of a grid, as 2026-01-20."""
    return [str(time)[:10] for time in dataset["time"].values]


def labels_of(dataset: xr.Dataset) -> list[str]:
    """What each image of a grid is called: its day; where a day has several, with its passes.

    Of composites, which are of the same days, the passes alone.
    """
    labels = days_of(dataset)
    if "composite" in dataset.attrs:
        labels = [""] * len(labels)
    for name, words in (("orbit", _directions), (RELATIVE_ORBIT, _tracks)):
        if len(set(labels)) < len(labels) and name in dataset.coords:
            more = words(dataset[name])
            labels = [" ".join(filter(None, pair)) for pair in zip(labels, more, strict=True)]
    return labels


def _directions(orbit: xr.DataArray) -> list[str]:
    meanings = str(orbit.attrs["flag_meanings"]).split()
    return [meanings[flag] for flag in orbit.values.tolist()]


def _tracks(orbit: xr.DataArray) -> list[str]:
    return [f"orbit {relative_name(number)}" for number in orbit.values.tolist()]


def has_several_a_day(dataset: xr.Dataset) -> bool:
    """Whether images of a grid are of the same day, or period."""
    return "time" in dataset.dims and len(set(days_of(dataset))) < dataset.sizes["time"]


def pass_coordinates(images: Sequence[Passes]) -> dict[Hashable, xr.Variable]:
    """When and by what each image was taken, as coordinates along time.

    ``acquired_begin`` and ``acquired_end`` are datetime64[s], UTC, NaT where they are not known;
    ``platform`` is text, "" likewise, several joined by "+"; ``relative_orbit`` is int16, 0
    likewise, -1 for several.
    """
    kinds = {PLATFORM: "U", RELATIVE_ORBIT: "int16"}
    rows = [image.row for image in images]
    found = {
        name: np.array([row[name] for row in rows], kinds.get(name, "datetime64[s]"))
        for name in UNKNOWN
    }
    return {name: variable("time", values, ATTRIBUTES[name]) for name, values in found.items()}


def known_passes(dataset: xr.Dataset) -> list[str]:
    """Those of these coordinates that a dataset has, and that are known of one of its images."""
    names = [name for name in UNKNOWN if name in dataset.coords]
    return [name for name in names if is_known(dataset[name].values).any()]


def is_known(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where such a coordinate says something."""
    if values.dtype.kind == "M":
        return np.asarray(~np.isnat(values))
    return np.asarray(values != np.zeros((), values.dtype))


def in_memory(dataset: xr.Dataset) -> xr.Dataset:
    """The grid, computed if it is lazy; what is in memory is not looked at by dask."""
    return dataset.compute() if is_lazy(dataset) else dataset


def grid_edges(dataset: xr.Dataset) -> Box:
    """West, east, south, north of the outer pixel edges in degrees; east may pass 180."""
    sizes = (float(dataset.attrs.get(name, 0)) for name in ("dlat", "dlon"))
    return edges_around(dataset["lat"].values, dataset["lon"].values, *sizes)


def edges_around(
    lat: NDArray[np.float64], lon: NDArray[np.float64], dlat: float, dlon: float
) -> Box:
    """West, east, south, north of pixels with these centres; their sizes matter of one alone."""
    return *_outer_edges(lon, dlon), *_outer_edges(lat, dlat)


def _outer_edges(centres: NDArray[np.float64], step: float) -> tuple[float, float]:
    if len(centres) > 1:
        step = float(centres[-1] - centres[0]) / (len(centres) - 1)
    return float(centres[0]) - step / 2, float(centres[-1]) + step / 2


def to_db(power: Pixels) -> Pixels:
    """10 log10 of linear power; -inf for 0, NaN for NaN."""
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(power), dtype=np.float32)


def georeferenced(dataset: xr.Dataset) -> xr.Dataset:
    """A shallow copy that says by CF what its bands and coordinates are."""
    out = dataset.assign_coords(crs=variable((), np.array(0, np.int32), GRID_MAPPING))
    for axis, name, units, letter in (
        ("lat", "latitude", "degrees_north", "Y"),
        ("lon", "longitude", "degrees_east", "X"),
    ):
        long_name = f"{name} of the pixel centre"
        out[axis].attrs = {
            "standard_name": name, "long_name": long_name, "units": units, "axis": letter
        }  # fmt: skip
    if "time" in out.coords:
        out["time"].attrs = {
            "standard_name": "time", "long_name": "start of the UTC day", "axis": "T",
            "units_metadata": "leap_seconds: none",
        }  # fmt: skip
    product = product_of(dataset.attrs)
    for name in grid_bands(dataset):
        radar = {"radar_polarization": name} if product.is_power else {}
        made = {key: value for key, value in out[name].attrs.items() if key == "cell_methods"}
        out[name].attrs = product.attributes(name) | radar | made | {"grid_mapping": "crs"}
    if DAY in out.data_vars:
        out[DAY].attrs = {**DAY_ATTRS, "calendar": "standard", "grid_mapping": "crs"}
    return out
