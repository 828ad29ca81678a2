"""A grid as CF-1.11 netCDF: linear power and dB, coordinates with bounds, grid mapping.

netCDF4 writes all but the large variables; of these each compressed block is made where it is
computed, and put into the file as it is.
"""

from __future__ import annotations

import datetime as dt
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import google_crc32c
import numpy as np
from isal import isal_zlib

from archive.passes import ACQUIRED_BEGIN, ACQUIRED_END, NO_TIME
from cells.regrid import plain_gaps
from grid import wrap
from images.grids import (
    CRS,
    georeferenced,
    grid_bands,
    grid_edges,
    grid_layers,
    has_several_a_day,
    is_lazy,
    to_db,
)
from images.pieces import DIFFERS, Place, Progress, Vector, computed, each_block, in_blocks
from images.scales import scale_of
from shared.variables import variable

if TYPE_CHECKING:
    import xarray as xr

CONVENTIONS = "CF-1.11"
DB_UNITS = "0.1 lg(re 1)"  # what UDUNITS, and so CF, calls dB
CHUNK = 512  # pixels, side of a compressed block in the netCDF file
IMAGE = "image"  # the dimension of several images a day: times along their own have to ascend
LEVEL: Final = 1  # deflate; speckle gains nothing from more


def write_netcdf(dataset: xr.Dataset, path: Path, progress: Progress | None = None) -> None:
    """CF-1.11 netCDF-4, shuffled and deflated."""
    import h5py

    is_here = not is_lazy(dataset)
    described = cf_dataset(in_blocks(dataset))
    bands = grid_layers(dataset)
    large = [*bands, *(name for name in (f"{band}_dB" for band in bands) if name in described)]
    _write_outline(described, large, path)
    checksums: dict[tuple[str, Place], int] = {}
    with h5py.File(path, "r+") as file:
        targets = {name: file[name].id for name in large}
        for place, packed in computed(each_block(described, large, _packed, progress, is_here)):
            for name, within, data, checksum in packed:
                at = tuple(a + b for a, b in zip(place, within, strict=True))
                targets[name].write_direct_chunk(at, data)
                checksums[name, at] = checksum
    with h5py.File(path) as file:
        targets = {name: file[name].id for name in large}
        for (name, at), checksum in checksums.items():
            if google_crc32c.value(targets[name].read_direct_chunk(at)[1]) != checksum:
                raise OSError(DIFFERS)


def _write_outline(described: xr.Dataset, large: list[str], path: Path) -> None:
    """The file without the values of the large variables.

    Not by xarray, which imports dask, and a cluster's client with it, before it writes.
    """
    import netCDF4

    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(described.attrs)
        for dim, size in described.sizes.items():
            file.createDimension(str(dim), size)
        beside = " ".join(sorted(str(n) for n in described.coords if n not in described.dims))
        for key, values in described.variables.items():
            name, dims, about = str(key), tuple(map(str, values.dims)), dict(values.attrs)
            if name in large:
                chunks = _chunks(values.shape)
                file.createVariable(
                    name, "f4", dims, compression="zlib", complevel=LEVEL, shuffle=True,
                    chunksizes=chunks, fill_value=np.float32("nan"),
                ).setncatts(about | ({"coordinates": beside} if beside else {}))  # fmt: skip
                continue
            array = values.values
            kind: Any = array.dtype
            fill = None
            if kind.kind == "M":
                if "bnds" not in dims:  # bounds have units and gaps of what they bound
                    fill = NO_TIME if np.isnat(array).any() else None
                    about |= {"units": "seconds since 1970-01-01", "calendar": "standard"}
                array = array.astype("datetime64[s]").astype(np.int64)
                kind = array.dtype
            elif kind.kind == "U":
                array, kind = array.astype(object), str
            plain = file.createVariable(name, kind, dims, fill_value=fill)
            plain.setncatts(about)
            plain[...] = array


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (len(shape) - 2) + tuple(min(CHUNK, size) for size in shape[-2:])


def _packed(
    names: list[str], arrays: list[Vector], whole: tuple[int, ...]
) -> list[tuple[str, Place, bytes, int]]:
    """The compressed chunks of a block: variable, place within the block, bytes, their crc32c.

    ``whole`` is the shape of the whole variable, which the chunks' shape depends on.  A
    chunk without a value is left out.
    """
    shape = _chunks(whole)
    full = np.empty(shape, "<f4")
    by_byte = np.empty((full.itemsize, full.size), np.uint8)  # first bytes first, as HDF5 has it
    found = []
    for name, array in zip(names, arrays, strict=True):
        for at in product(*(range(0, n, step) for n, step in zip(array.shape, shape, strict=True))):
            part = array[tuple(slice(i, i + n) for i, n in zip(at, shape, strict=True))]
            if not np.isnan(part).all():
                if part.shape != shape:
                    full.fill(np.nan)  # a chunk on the border is padded
                full[tuple(slice(0, n) for n in part.shape)] = plain_gaps(part)
                by_byte[:] = full.view(np.uint8).reshape(full.size, full.itemsize).T
                data = isal_zlib.compress(by_byte, LEVEL)
                found.append((name, at, data, google_crc32c.value(data)))
    return found


def cf_dataset(dataset: xr.Dataset) -> xr.Dataset:
    """A copy with all that CF-1.11 asks for: dB beside linear, bounds, box, history."""
    bands = grid_bands(dataset)
    west, east, south, north = grid_edges(dataset)
    out = georeferenced(dataset[grid_layers(dataset)])
    out = out.reset_coords("crs")  # a variable, not a coordinate
    for name in bands if scale_of(dataset.attrs).is_decibel else ():
        attrs = {**out[name].attrs, "long_name": f"sigma0 backscatter in {name}, in dB"}
        attrs |= {"units": DB_UNITS, "comment": "dB; no value where the linear power is 0"}
        out[f"{name}_dB"] = variable(out[name].dims, _decibels(out[name]), attrs)
    for axis, edges in (("lat", (south, north)), ("lon", (west, east))):
        out[f"{axis}_bnds"] = variable((axis, "bnds"), _bounds(dataset[axis].values, *edges))
        out[axis].attrs["bounds"] = f"{axis}_bnds"
    out = _with_times(out)
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    out.attrs = {
        "Conventions": CONVENTIONS,
        **dataset.attrs,
        "history": "\n".join(filter(None, [dataset.attrs.get("history"), f"{now} exported"])),
        **_days_covered(dataset),
        "geospatial_lon_min": wrap(west),
        "geospatial_lon_max": wrap(east) if east > 180 else east,
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_bounds_crs": CRS,
    }
    return out.rename_dims(time=IMAGE) if has_several_a_day(dataset) else out


def _with_times(dataset: xr.Dataset) -> xr.Dataset:
    """The grid with the bounds of its times: the UTC day, and the acquisitions where known."""
    out = dataset.copy()
    for name, last in (("time", None), (ACQUIRED_BEGIN, ACQUIRED_END)):
        if name not in dataset.coords or np.isnat(dataset[name].values).all():
            continue
        begin = dataset[name]
        edges = _days_of(dataset) if last is None else (begin.values, dataset[last].values)
        bounds = f"{name.removesuffix('_begin')}_bnds"
        out[bounds] = variable((*begin.dims, "bnds"), np.stack(edges, axis=-1))
        out[name].attrs = begin.attrs | {"bounds": bounds}
    return out


def _decibels(power: xr.DataArray) -> Any:
    """The values in dB, lazy where the power is."""
    if not power.chunks:
        return _decibel(power.values)
    return power.data.map_blocks(_decibel, dtype=np.float32)


def _decibel(power: Vector) -> Vector:
    decibel = to_db(power)
    decibel[np.isneginf(decibel)] = np.nan
    return decibel


def _days_covered(dataset: xr.Dataset) -> dict[str, str]:
    if "time" not in dataset.coords:
        return {}
    if ACQUIRED_BEGIN in dataset.attrs:
        begin, end = dataset.attrs[ACQUIRED_BEGIN], dataset.attrs[ACQUIRED_END]
        return {"time_coverage_start": begin, "time_coverage_end": end}
    starts, ends = _days_of(dataset)
    return {
        "time_coverage_start": f"{starts.ravel()[0]}Z",
        "time_coverage_end": f"{ends.ravel()[-1]}Z",
    }


def _days_of(dataset: xr.Dataset) -> tuple[Vector, Vector]:
    """When the days of each image begin and end; of composites these are days of a period."""
    begin = np.asarray(dataset["time"].values, "datetime64[s]")
    last, used = begin, str(dataset.attrs.get("days_used", "")).split()
    if used and (begin.size == 1 or "composite" in dataset.attrs):
        every = np.array([*used, str(begin.ravel()[0].item().date())], "datetime64[s]")
        begin, last = np.full_like(begin, every.min()), np.full_like(begin, every.max())
    return begin, last + np.timedelta64(1, "D")


def _bounds(centres: Vector, first: float, last: float) -> Vector:
    edges = np.concatenate([[first], (centres[:-1] + centres[1:]) / 2, [last]])
    return np.column_stack([edges[:-1], edges[1:]])
