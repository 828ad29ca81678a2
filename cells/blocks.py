"""Rows of a band from the compressed blocks of an HDF5 file, for many threads at once.

HDF5 inflates one block at a time for the whole process, which would take longer than all the
rest of a conversion; so blocks of the layout that the back end writes are fetched as they are
and inflated by the thread that needs them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import xarray as xr
from isal import isal_zlib
from numpy.typing import NDArray

from cells.packing import is_plain, unpacker
from healpix.loops import loop
from shared.attributes import DEFAULT_FILLS, fill_values

DEFAULT_FILL = np.float32(DEFAULT_FILLS["f4"])

# The rows [first, stop) of a band, until the same thread reads the next ones.
Rows = Callable[[int, int], NDArray[Any]]


def blocks_of(
    file: h5py.File | None,
    array: xr.DataArray,
    place: Mapping[str, int],
    space: Sequence[str],
    zero_fills: bool = False,
) -> Rows | None:
    """A reader of the rows of a variable, at a place along its other dimensions.

    None for a layout other than the one that netCDF writes by default: little-endian numbers,
    (shuffle and) deflate, one step a block.  Of float32 that is power, negative fill values may
    stay; of all else, or with ``zero_fills``, no data become NaN as of `packing`.
    """
    if file is None:
        return None
    usual = not zero_fills and array.dtype == np.dtype("<f4") and is_plain(array.attrs)
    read = (_floats_of if usual else _numbers_of)(file, array, place, space)
    if read is None or usual:
        return read
    unpack = unpacker(array.attrs, array.encoding, array.dtype, True, zero_fills)
    return lambda first, stop: unpack(read(first, stop))


@dataclass(frozen=True)
class _Blocks:
    """The blocks of a variable, as they lie in an HDF5 file."""

    variable: h5py.Dataset
    ahead: list[int]  # the place along the dimensions before x and y
    shuffled: bool

    def pieces(
        self, first: int, stop: int
    ) -> Iterator[tuple[slice, slice, NDArray[np.uint8] | None]]:
        """Where each block lies in the rows, and its bytes of these rows; None: not written.

        The bytes are (byte of a number, row, column).
        """
        height, width = self.variable.chunks[-2:]
        itemsize = self.variable.dtype.itemsize
        for row in range(first - first % height, stop, height):
            low, high = max(first, row), min(stop, row + height)
            for column in range(0, self.variable.shape[-1], width):
                at = (*self.ahead, row, column)
                where = slice(low - first, high - first), slice(column, column + width)
                if self.variable.id.get_chunk_info_by_coord(at).byte_offset is None:
                    yield *where, None
                    continue
                skipped, block = self.variable.id.read_direct_chunk(at)
                if skipped:
                    raise OSError(f"the block at {at} was stored without its filters")
                size = itemsize * height * width
                values = np.frombuffer(isal_zlib.decompress(block, bufsize=size + 1), np.uint8)
                if values.size != size:
                    raise OSError(f"the block at {at} holds {values.size} bytes")
                values = (
                    values.reshape(itemsize, height, width)
                    if self.shuffled
                    else values.reshape(height, width, itemsize).transpose(2, 0, 1)
                )
                yield *where, values[:, low - row : high - row]


def _blocks(
    file: h5py.File, array: xr.DataArray, place: Mapping[str, int], space: Sequence[str]
) -> _Blocks | None:
    ahead = [place[str(dim)] for dim in array.dims if dim not in space]
    variable = file[str(array.name)]
    properties = variable.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    usual = ([h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE])
    if (
        filters not in usual
        or variable.dtype.kind not in "fiu"
        or variable.dtype != variable.dtype.newbyteorder("<")
        or array.dims[-2:] != tuple(space)
        or any(size != 1 for size in variable.chunks[:-2])
    ):
        return None
    return _Blocks(variable, ahead, len(filters) == 2)


def _numbers_of(
    file: h5py.File, array: xr.DataArray, place: Mapping[str, int], space: Sequence[str]
) -> Rows | None:
    """A reader of rows as they are stored."""
    blocks = _blocks(file, array, place, space)
    if blocks is None:
        return None
    dtype, columns = blocks.variable.dtype, blocks.variable.shape[-1]
    fill = blocks.variable.fillvalue

    def read(first: int, stop: int) -> NDArray[Any]:
        out = np.empty((stop - first, columns), dtype)
        for rows, row_columns, values in blocks.pieces(first, stop):
            part = out[rows, row_columns]
            if values is None:
                part[...] = fill
                continue
            values = values[:, :, : part.shape[1]]
            if dtype.itemsize == 2:
                joined = values[1].astype(np.uint16)
                joined <<= 8
                joined |= values[0]
                part[...] = joined.view(dtype)
            else:
                whole = np.ascontiguousarray(values.transpose(1, 2, 0))
                part[...] = whole.view(dtype)[..., 0]
        return out

    return read


def _floats_of(
    file: h5py.File, array: xr.DataArray, place: Mapping[str, int], space: Sequence[str]
) -> Rows | None:
    """The same for float32 without any masking but netCDF's own fill value: much faster."""
    blocks = _blocks(file, array, place, space)
    fills = fill_values(array.attrs, array.dtype)
    if blocks is None or any(value > 0 and value != DEFAULT_FILL for value in fills):
        return None
    scratch: dict[int, NDArray[np.float32]] = {}  # of each thread
    unwritten = 0 if blocks.variable.fillvalue == 0 else np.nan
    filled = DEFAULT_FILL in fills
    columns = blocks.variable.shape[-1]

    def read(first: int, stop: int) -> NDArray[Any]:
        # Memory that is new each time costs as much as inflating what goes there.
        out = scratch.get(threading.get_ident(), np.empty((0, columns), np.float32))
        if len(out) < stop - first:
            out = scratch[threading.get_ident()] = np.empty((stop - first, columns), np.float32)
        out = out[: stop - first]
        for rows, row_columns, values in blocks.pieces(first, stop):
            part = out[rows, row_columns]
            if values is None:
                part[...] = unwritten
            else:
                _join_bytes(values, part.view(np.uint32))
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
