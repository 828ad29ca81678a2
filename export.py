"""From a grid of backscatter to a file that other programs open at the right place.

.nc   CF-1.11 netCDF: linear power and dB, coordinates with bounds, grid mapping
.tif  cloud-optimised GeoTIFF: linear power, one named band each, EPSG:4326
.png  the picture that `figure.plot` draws, at 300 dpi

Each is written beside its final name, read back, synced and renamed, so a file that
is there is whole.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import figure as drawing
from files import is_disk_full, replacing, require_space
from grid import wrap

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vector = NDArray[Any]

CRS = "EPSG:4326"
CONVENTIONS = "CF-1.11"
STANDARD_NAME = "surface_backwards_scattering_coefficient_of_radar_wave"
DB_UNITS = "0.1 lg(re 1)"  # what UDUNITS, and so CF, calls dB
NC_CHUNK = 512  # pixels, side of a compressed block in the netCDF file
NC_LEVEL = 1  # deflate; speckle gains nothing from more
TIF_BLOCK = 512  # pixels, side of a tile of the GeoTIFF
TIF_COMPRESSION = {"compress": "deflate", "level": 1, "predictor": 3}
DISK_FULL = 1_000_000  # bytes; with less free space a failed write is taken for a full disk
SPACE_FACTOR = 1.1  # free disk asked for before writing, per uncompressed byte


def export(dataset: xr.Dataset, path: str | Path, overwrite: bool = False) -> Path:
    """Write a grid that `retrieve.retrieve` made to ``path``; the suffix says how.

    Raises ValueError for another suffix or a dataset without bands, FileExistsError
    where something is and ``overwrite`` is False, IsADirectoryError,
    FileNotFoundError for a missing parent folder, OSError (ENOSPC) for a full disk.
    """
    path = checked_target(path, overwrite)
    bands = drawing.grid_bands(dataset)
    factor = 0.0 if path.suffix.lower() == ".png" else SPACE_FACTOR
    size = sum(dataset[name].nbytes for name in bands) * (2 if path.suffix.lower() == ".nc" else 1)
    require_space(path.parent, DISK_FULL + int(factor * size), f"Writing {path.name}")
    with _replacing(path) as temporary:
        WRITERS[path.suffix.lower()](dataset, temporary)
    return path


def save_figure(figure: Figure, path: str | Path, overwrite: bool = False) -> Path:
    """Write a figure as .png at 300 dpi; errors as for `export`."""
    path = checked_target(path, overwrite, suffixes=(".png",))
    with _replacing(path) as temporary:
        _save_png(figure, temporary)
    return path


def checked_target(
    path: str | Path, overwrite: bool = False, suffixes: tuple[str, ...] = (".nc", ".tif", ".png")
) -> Path:
    """The path, if a file can be written there; cheap, so ask before the work."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it, like {path / 'x'}.png.")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path.name}: the name must end in {' or '.join(suffixes)}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist. Make it first.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already and was left as it is.")
    return path


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`files.replacing`; what the libraries call "HDF error" and the like is explained."""
    with replacing(path) as temporary:
        try:
            yield temporary
        except MemoryError:
            raise
        except Exception as error:
            if is_disk_full(error) or shutil.disk_usage(path.parent).free < DISK_FULL:
                text = f"The disk of {path.parent} is full; {path.name} was not written."
                raise OSError(errno.ENOSPC, text) from error
            text = f"{path.name} could not be written to {path.parent}: {error}."
            raise OSError(errno.EIO, text) from error


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """CF-1.11 netCDF-4, deflated."""
    described = cf_dataset(dataset)
    shape = tuple(min(NC_CHUNK, described.sizes[name]) for name in ("lat", "lon"))
    packed = {"zlib": True, "complevel": NC_LEVEL, "shuffle": True, "chunksizes": shape}
    encoding: dict[str, dict[str, Any]] = {
        str(name): {"_FillValue": np.float32(np.nan), **packed}
        for name, values in described.data_vars.items()
        if values.dims == ("lat", "lon")
    }
    encoding |= {name: {"_FillValue": None} for name in ("lat", "lon", "lat_bnds", "lon_bnds")}
    if "time" in described.coords:
        since = {"units": "seconds since 1970-01-01", "calendar": "standard", "dtype": "int64"}
        encoding["time"] = {"_FillValue": None, **since}
    described.to_netcdf(path, engine="netcdf4", encoding=encoding)
    with xr.open_dataset(path, engine="netcdf4") as back:
        for name in drawing.grid_bands(dataset):
            _require_same(back[name].values, dataset[name].values)


def write_geotiff(dataset: xr.Dataset, path: Path) -> None:
    """Cloud-optimised GeoTIFF: float32, NaN for no data, overviews averaged in power."""
    import rasterio

    bands = drawing.grid_bands(dataset)
    west, east, south, north = drawing.grid_edges(dataset)
    height, width = dataset.sizes["lat"], dataset.sizes["lon"]
    profile = {
        "driver": "COG", "dtype": "float32", "nodata": np.nan, "crs": CRS,
        "count": len(bands), "height": height, "width": width,
        "transform": rasterio.Affine(
            (east - west) / width, 0, west, 0, (south - north) / height, north
        ),
        "blocksize": TIF_BLOCK, "overview_resampling": "average", "bigtiff": "if_safer",
        "num_threads": "all_cpus", **TIF_COMPRESSION,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        for i, name in enumerate(bands, 1):
            target.write(dataset[name].values[::-1].astype(np.float32, copy=False), i)
            target.set_band_description(i, name)
            target.set_band_unit(i, "1")
        target.update_tags(**{str(k): str(v) for k, v in dataset.attrs.items()})
    with rasterio.open(path) as back:
        for i, name in enumerate(bands, 1):
            _require_same(back.read(i)[::-1], dataset[name].values)


def write_png(dataset: xr.Dataset, path: Path) -> None:
    """The figure at `figure.DPI`."""
    _save_png(drawing.plot(dataset), path)


def _save_png(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=drawing.DPI, metadata={"Description": str(figure.get_label())})


WRITERS: dict[str, Callable[[xr.Dataset, Path], None]] = {
    ".nc": write_netcdf,
    ".tif": write_geotiff,
    ".png": write_png,
}


def cf_dataset(dataset: xr.Dataset) -> xr.Dataset:
    """A copy with all that CF-1.11 asks for: dB beside linear, bounds, box, history."""
    bands = drawing.grid_bands(dataset)
    west, east, south, north = drawing.grid_edges(dataset)
    out = georeferenced(dataset[bands]).reset_coords("crs")
    for name in bands:
        decibel = drawing.to_db(dataset[name].values)
        decibel[np.isneginf(decibel)] = np.nan
        attrs = {**out[name].attrs, "long_name": f"{name} backscatter, sigma nought, in dB"}
        attrs |= {"units": DB_UNITS, "comment": "dB; no value where the linear power is 0"}
        out[f"{name}_dB"] = (("lat", "lon"), decibel, attrs)
    out["lat_bnds"] = (("lat", "bnds"), _bounds(dataset["lat"].values, south, north))
    out["lon_bnds"] = (("lon", "bnds"), _bounds(dataset["lon"].values, west, east))
    out["lat"].attrs["bounds"], out["lon"].attrs["bounds"] = "lat_bnds", "lon_bnds"
    for name in ("crs", "lat_bnds", "lon_bnds"):
        out[name].encoding["coordinates"] = None  # xarray would say that time belongs to them
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    out.attrs = {
        "Conventions": CONVENTIONS,
        **dataset.attrs,
        "history": "\n".join(filter(None, [dataset.attrs.get("history"), f"{now} exported"])),
        **_day_covered(dataset),
        "geospatial_lon_min": wrap(west),
        "geospatial_lon_max": wrap(east) if east > 180 else east,
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_bounds_crs": CRS,
    }
    return out


def _day_covered(dataset: xr.Dataset) -> dict[str, str]:
    if "time" not in dataset.coords:
        return {}
    start = dataset["time"].values.astype("datetime64[s]")
    end = start + np.timedelta64(1, "D")
    return {"time_coverage_start": f"{start}Z", "time_coverage_end": f"{end}Z"}


def georeferenced(dataset: xr.Dataset) -> xr.Dataset:
    """A shallow copy that says by CF what its bands and coordinates are."""
    from pyproj import CRS as PyprojCRS

    out = dataset.assign_coords(crs=((), np.int32(0), PyprojCRS.from_user_input(CRS).to_cf()))
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
    for name in drawing.grid_bands(dataset):
        out[name].attrs = {
            "standard_name": STANDARD_NAME,
            "long_name": f"{name} backscatter, sigma nought, linear power",
            "units": "1",
            "radar_polarization": name,
            "grid_mapping": "crs",
        }
    return out


def _bounds(centres: Vector, first: float, last: float) -> Vector:
    edges = np.concatenate([[first], (centres[:-1] + centres[1:]) / 2, [last]])
    return np.column_stack([edges[:-1], edges[1:]])


def _require_same(written: Vector, given: Vector) -> None:
    if not np.array_equal(written, given.astype(np.float32, copy=False), equal_nan=True):
        raise OSError(errno.EIO, "the file does not read back as it was written")
