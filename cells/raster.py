"""A raster as it comes: find its axes, CRS, bands and time step, and read its rows.

The back end writes netCDF-4 (CF), float32, deflated in blocks.  HDF5 inflates one block at
a time for the whole process, which would take longer than all the rest of a conversion; so
blocks of the usual layout are fetched as they are and inflated by the thread that needs
them.  Any other layout is read through xarray.

Values are taken raw.  ``_FillValue`` is often 0 here and 0 is a measurement, clipped, where
another band is seen; so 0 is never masked, whatever the file says, and any other fill
value always is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from isal import isal_zlib
from numpy.typing import NDArray

from healpix.arrays import Floats
from healpix.loops import loop
from shared.attributes import DEFAULT_FILLS, as_unsigned, fill_values, text
from shared.errors import RasterError
from shared.lattice import find_axes, locate, with_plain_attributes

TIME_NAMES = ("t", "time")
DEFAULT_FILL = np.float32(DEFAULT_FILLS["f4"])
DECIBELS = ("db", "decibel", "decibels")

# The rows [first, stop) of a band, until the same thread reads the next ones.
Rows = Callable[[int, int], NDArray[Any]]

log = logging.getLogger("cells")


@dataclass(frozen=True)
class Raster:
    """What is needed of a raster: where its pixels are and how to read its rows."""

    name: str
    bands: tuple[str, ...]
    x: Floats
    y: Floats
    crs: str
    attrs: dict[str, str]
    readers: tuple[Rows, ...]

    def read(self, first: int, stop: int) -> Any:
        """Rows [first, stop) of each band, until the same thread reads the next ones.

        As (row, column) float32 for each of two bands, without a copy if possible; else
        as one array (band, row, column) float64, so that the loops are compiled for no
        more than these two.
        """
        values = []
        for band, reader in zip(self.bands, self.readers, strict=True):
            try:
                values.append(reader(first, stop))
            except Exception as error:  # isal's errors have no class of their own in its stubs
                raise RasterError(
                    f"{self.name}: {band} cannot be read between the rows {first} and {stop}; "
                    f"the file is damaged ({error}). Download it again."
                ) from error
        if len(values) == 2 and all(part.dtype == np.float32 for part in values):
            return tuple(np.require(part, np.float32, ["C", "W"]) for part in values)
        return np.stack(values).astype(np.float64, copy=False)


@contextlib.contextmanager
def open_raster(
    raster: xr.Dataset | str | os.PathLike[str], bands: Sequence[str] | None
) -> Iterator[Raster]:
    """The raster, open for reading."""
    if isinstance(raster, xr.Dataset):
        yield _describe(raster, raster.encoding.get("source", "the raster"), bands, None)
        return
    path = Path(raster)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path)) if h5py.is_hdf5(path) else None
            engine = "h5netcdf" if file else "scipy"
            dataset = stack.enter_context(xr.open_dataset(path, engine=engine, decode_cf=False))
        except FileNotFoundError:
            raise
        except Exception as error:
            raise RasterError(
                f"{path}: this is no whole netCDF file ({error}). Download it again."
            ) from error
        yield _describe(dataset, str(path), bands, file)


def _describe(
    dataset: xr.Dataset, name: str, bands: Sequence[str] | None, file: h5py.File | None
) -> Raster:
    """Find axes, CRS, bands and time step of a raster, or say what is missing."""
    dataset = with_plain_attributes(dataset)
    x_dim, y_dim = find_axes(dataset, name)
    found = [
        str(key)
        for key, variable in dataset.data_vars.items()
        if {x_dim, y_dim} <= set(variable.dims) and variable.dtype.kind in "fiu"
    ]
    wanted = list(found if bands is None else bands)
    missing = [band for band in wanted if band not in found]
    if missing or not wanted:
        raise RasterError(
            f"{name}: there is no band {' or '.join(missing) or 'at all'} "
            f"over {y_dim} and {x_dim}, only {', '.join(found) or 'none'}."
        )
    for band in wanted:
        if (unit := text(dataset[band].attrs.get("units")).strip()).lower() in DECIBELS:
            raise RasterError(
                f"{name}: {band} is in decibels ({unit}), and averages need linear power; convert "
                "it first: 10 ** (dB / 10)."
            )
    attrs = {"source": str(dataset.attrs.get("source", ""))}
    readers = []
    for band in wanted:
        step, label = _time_step(dataset[band], x_dim, y_dim, name)
        attrs |= label
        array = dataset[band].isel(step)
        readers.append(
            _blocks_of(file, dataset[band], step, (y_dim, x_dim)) or _rows_of(array, y_dim, x_dim)
        )
    where = locate(dataset, (x_dim, y_dim), wanted, name)
    return Raster(
        name=name,
        bands=tuple(wanted),
        x=where.x,
        y=where.y,
        crs=where.crs,
        attrs=attrs,
        readers=tuple(readers),
    )


def _time_step(
    array: xr.DataArray, x_dim: str, y_dim: str, name: str
) -> tuple[dict[str, int], dict[str, str]]:
    """The index of the earliest time step of a band, and its label, where it has time."""
    others = [str(dim) for dim in array.dims if dim not in (x_dim, y_dim)]
    if not others:
        return {}, {}
    dim = others[0]
    if len(others) > 1 or (array.sizes[dim] > 1 and dim.lower() not in TIME_NAMES):
        raise RasterError(
            f"{name}: {array.name} has the dimension {others[-1]}, neither space nor time."
        )
    if array.sizes[dim] == 0:
        raise RasterError(f"{name}: {array.name} has no time step at all.")
    if dim not in array.coords:
        return {dim: 0}, {}
    # Sorting is stable and puts what is no time last.
    step = int(np.argsort(array[dim].values, kind="stable")[0])
    if array.sizes[dim] > 1:
        log.info("%s has %d time steps; the earliest is used.", name, array.sizes[dim])
    with contextlib.suppress(ValueError, OverflowError):  # odd units: the number will do
        decoded = xr.decode_cf(array[dim].drop_vars(dim).rename("label").to_dataset())["label"]
        return {dim: step}, {"time": str(decoded.values[step])}
    return {dim: step}, {"time": str(array[dim].values[step])}


def _rows_of(array: xr.DataArray, y_dim: str, x_dim: str) -> Rows:
    """A reader of rows through xarray, with fill values and scaling as CF has them."""
    attrs, encoding = array.attrs, array.encoding
    array = array.transpose(y_dim, x_dim)
    # xarray has masked those that it knows of, and zeros: see `raster_to_cells`.
    named = any(key in attrs for key in ("_FillValue", "missing_value"))
    of_file = "source" in encoding and "_FillValue" not in encoding
    fills = fill_values(attrs, array.dtype) if named or of_file else []
    scale, offset = float(attrs.get("scale_factor", 1)), float(attrs.get("add_offset", 0))
    masked_zeros = encoding.get("_FillValue") == 0 and offset == 0

    def read(first: int, stop: int) -> NDArray[Any]:
        raw: NDArray[Any] = as_unsigned(array[first:stop].values, attrs)
        values = raw
        if (scale, offset) != (1, 0):
            values = raw * scale + offset
        for fill in fills:
            if fill * scale + offset != 0:
                values = np.where(raw == fill, np.nan, values)
        if masked_zeros:
            values = np.nan_to_num(values, nan=0, posinf=np.inf, neginf=-np.inf)
        return values

    return read


def _blocks_of(
    file: h5py.File | None, array: xr.DataArray, step: dict[str, int], dims: tuple[str, str]
) -> Rows | None:
    """A reader of rows from the compressed blocks of an HDF5 file, for many threads at once.

    HDF5 inflates one block at a time for the whole process; here each thread inflates
    its own.  None for a layout other than the one that netCDF writes by default:
    little-endian float32, (shuffle and) deflate, one time step a block, no masking to do.
    """
    if file is None or any(key in array.attrs for key in ("scale_factor", "add_offset")):
        return None
    variable = file[str(array.name)]
    properties = variable.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    usual = ([h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE])
    fills = fill_values(array.attrs, variable.dtype)
    if (
        filters not in usual
        or variable.dtype != np.dtype("<f4")
        or array.dims != (*step, *dims)
        or any(value > 0 and value != DEFAULT_FILL for value in fills)
        or any(size != 1 for size in variable.chunks[:-2])
    ):
        return None
    shuffled = len(filters) == 2
    height, width = variable.chunks[-2:]
    scratch: dict[int, NDArray[np.float32]] = {}  # of each thread
    unwritten = 0 if variable.fillvalue == 0 else np.nan
    filled = DEFAULT_FILL in fills
    columns = variable.shape[-1]

    def read(first: int, stop: int) -> NDArray[Any]:
        # Memory that is new each time costs as much as inflating what goes there.
        out = scratch.get(threading.get_ident(), np.empty((0, columns), np.float32))
        if len(out) < stop - first:
            out = scratch[threading.get_ident()] = np.empty((stop - first, columns), np.float32)
        out = out[: stop - first]
        for row in range(first - first % height, stop, height):
            low, high = max(first, row), min(stop, row + height)
            for column in range(0, columns, width):
                place = (*step.values(), row, column)
                if variable.id.get_chunk_info_by_coord(place).byte_offset is None:
                    out[low - first : high - first, column : column + width] = unwritten
                    continue
                skipped, block = variable.id.read_direct_chunk(place)
                if skipped:
                    raise OSError(f"the block at {place} was stored without its filters")
                block = isal_zlib.decompress(block, bufsize=4 * height * width + 1)
                values = np.frombuffer(block, np.uint8)
                if values.size != 4 * height * width:
                    raise OSError(f"the block at {place} holds {values.size} bytes")
                values = (
                    values.reshape(4, height, width)
                    if shuffled
                    else values.reshape(height, width, 4).transpose(2, 0, 1)
                )
                part = out[low - first : high - first, column : column + width]
                _join_bytes(values[:, low - row :, :], part.view(np.uint32))
        if filled:
            out[out == DEFAULT_FILL] = np.nan
        return out

    return read


@loop
def _join_bytes(values: Any, out: Any) -> None:
    """Undo HDF5's shuffle filter: the lowest bytes of all numbers come first, then the next."""
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            out[row, column] = (
                np.uint32(values[0, row, column])
                | np.uint32(values[1, row, column]) << np.uint32(8)
                | np.uint32(values[2, row, column]) << np.uint32(16)
                | np.uint32(values[3, row, column]) << np.uint32(24)
            )
