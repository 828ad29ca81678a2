"""Rows of a band from the compressed blocks of an HDF5 file, for many threads at once.

HDF5 inflates one block at a time for the whole process, which would take longer than all the
rest of a conversion; so blocks of the layout that the back end writes are fetched as they are
and inflated by the thread that needs them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import xarray as xr
from isal import isal_zlib
from numpy.typing import NDArray

from cells.packing import is_plain
from healpix.loops import loop
from shared.attributes import DEFAULT_FILLS, fill_values

DEFAULT_FILL = np.float32(DEFAULT_FILLS["f4"])

# The rows [first, stop) of a band, until the same thread reads the next ones.
Rows = Callable[[int, int], NDArray[Any]]


def blocks_of(
    file: h5py.File | None, array: xr.DataArray, place: Mapping[str, int], space: Sequence[str]
) -> Rows | None:
    """A reader of the rows of a variable, at a place along its other dimensions.

    None for a layout other than the one that netCDF writes by default: little-endian float32,
    (shuffle and) deflate, one step a block, no masking to do.
    """
    if file is None or not is_plain(array.attrs):
        return None
    ahead = [place[str(dim)] for dim in array.dims if dim not in space]
    variable = file[str(array.name)]
    properties = variable.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    usual = ([h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE])
    fills = fill_values(array.attrs, variable.dtype)
    if (
        filters not in usual
        or variable.dtype != np.dtype("<f4")
        or array.dims[-2:] != tuple(space)
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
                at = (*ahead, row, column)
                if variable.id.get_chunk_info_by_coord(at).byte_offset is None:
                    out[low - first : high - first, column : column + width] = unwritten
                    continue
                skipped, block = variable.id.read_direct_chunk(at)
                if skipped:
                    raise OSError(f"the block at {at} was stored without its filters")
                block = isal_zlib.decompress(block, bufsize=4 * height * width + 1)
                values = np.frombuffer(block, np.uint8)
                if values.size != 4 * height * width:
                    raise OSError(f"the block at {at} holds {values.size} bytes")
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
