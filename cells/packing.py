"""What the stored numbers of a band mean, and which of them stand for none.

Numbers are unpacked by xarray, so that a file gives what xarray gives of it: `_Unsigned`,
``scale_factor`` and ``add_offset``, in the precision that xarray chooses.  No data are the
values of ``_FillValue`` and ``missing_value`` (one or a list; or netCDF's own where a file
names neither), and those outside of ``valid_range``, ``valid_min`` and ``valid_max``, which
are of the packed numbers unless they are of a wider type (NetCDF Users' Guide, appendix A).
But 0 is never a fill value: see `convert.raster_to_cells`.

What is judged are the unpacked values, whether they were unpacked here or by xarray before:
so a path and a dataset give the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from shared.attributes import as_unsigned, fill_values, text

SCALING = ("scale_factor", "add_offset")
FILLS = ("_FillValue", "missing_value")

Values = NDArray[Any]
Unpack = Callable[[Values], Values]


def unpacker(
    attrs: Mapping[str, Any],
    encoding: Mapping[str, Any],
    dtype: np.dtype[Any],
    of_file: bool,
    zero_fills: bool = False,
) -> Unpack:
    """The function that makes values of what is read of a band, NaN for no data.

    ``encoding`` is xarray's: it has the packing of a band that xarray has unpacked already.
    ``of_file``: it is of a netCDF file, where netCDF's own fill values may be.  With
    ``zero_fills`` a fill value of 0 is one as any other.
    """
    packed = any(key in attrs for key in (*SCALING, "_Unsigned"))
    if not packed and any(_named(encoding, key) for key in (*SCALING, "_Unsigned", *FILLS)):
        about = {**attrs, **encoding}
        stored = np.dtype(encoding.get("dtype") or dtype)
    else:
        about, stored = dict(attrs), dtype
    scaling = {key: _number(about[key]) for key in SCALING if _named(about, key)}
    fills = _fills(about, of_file, stored)
    unpacked_fills = _scaled(fills, scaling)
    masked = unpacked_fills if zero_fills else unpacked_fills[unpacked_fills != 0]
    # xarray has masked those that it knows of, and zeros.
    zeros_masked = about.keys() != attrs.keys() and masked.size < fills.size
    low, high = _valid(about, stored, scaling)

    def unpack(values: Values) -> Values:
        if packed:
            values = _scaled(as_unsigned(values, attrs), scaling)
        if zeros_masked:
            values = np.nan_to_num(values, nan=0, posinf=np.inf, neginf=-np.inf)
        for fill in masked:
            values = _without(values, values == fill)
        if low is not None:
            values = _without(values, values < low)
        if high is not None:
            values = _without(values, values > high)
        return values

    return unpack


def is_plain(attrs: Mapping[str, Any]) -> bool:
    """Whether the numbers of a band are its values, but for fill values."""
    keys = (*SCALING, "_Unsigned", "valid_range", "valid_min", "valid_max")
    return not any(_named(attrs, key) for key in keys)


def names_fill(attrs: Mapping[str, Any], encoding: Mapping[str, Any]) -> bool:
    """Whether a band says which of its numbers stand for none."""
    return any(_named(about, key) for about in (attrs, encoding) for key in FILLS)


def _named(about: Mapping[str, Any], key: str) -> bool:
    return about.get(key) is not None


def _number(value: Any) -> np.floating[Any]:
    """A factor in its own precision, which decides that of the values; double for whole ones."""
    number = np.ravel(value)[0]
    kind = np.asarray(number).dtype
    return (kind if kind.kind == "f" else np.dtype("f8")).type(number)


def _fills(about: Mapping[str, Any], of_file: bool, stored: np.dtype[Any]) -> Values:
    """The stored numbers that stand for none, of the sign that they are meant to have."""
    named = any(_named(about, key) for key in FILLS)
    about = {key: value for key, value in about.items() if value is not None}
    sample = as_unsigned(np.zeros(1, stored), about).dtype
    return np.array(fill_values(about, stored) if named or of_file else [], sample)


def _scaled(values: Values, scaling: Mapping[str, Any]) -> Values:
    """Numbers of the right sign as values, by xarray."""
    if not scaling or not values.size:
        return values
    dims = [f"d{i}" for i in range(values.ndim)]
    variable = xr.Variable(dims, values, dict(scaling))
    decoded = xr.decode_cf(xr.Dataset({"band": variable}), decode_times=False)["band"]
    return np.asarray(decoded.values)


def _valid(
    about: Mapping[str, Any], stored: np.dtype[Any], scaling: Mapping[str, Any]
) -> tuple[Any, Any]:
    """The smallest and the largest value that is one; None for no limit."""
    low, high = (_limit(about.get(key)) for key in ("valid_min", "valid_max"))
    both = np.ravel(np.asarray(about.get("valid_range", ())))
    if both.size == 2 and both.dtype.kind in "fiu":
        low, high = both
    sample = as_unsigned(np.zeros(1, stored), about)
    limits = [_unpacked_limit(limit, sample.dtype, stored, scaling) for limit in (low, high)]
    if scaling.get("scale_factor", 1) < 0 and not _is_wider(low, stored, scaling):
        limits.reverse()
    return limits[0], limits[1]


def _limit(value: Any) -> Any:
    """A limit as a number of its own type; None for none and for a text."""
    if value is None or text(value) == "":
        return None
    number = np.ravel(np.asarray(value))[0]
    return number if np.asarray(number).dtype.kind in "fiu" else None


def _unpacked_limit(
    limit: Any, dtype: np.dtype[Any], stored: np.dtype[Any], scaling: Mapping[str, Any]
) -> Any:
    """A limit of the unpacked values; None where no number could be beyond it."""
    if limit is None or np.isnan(limit):
        return None
    if _is_wider(limit, stored, scaling):
        return limit
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        if dtype.kind == "u" and stored.kind == "i" and limit < 0:
            limit = int(limit) + 2 ** (8 * dtype.itemsize)  # written with the sign of the file
        if not info.min <= limit <= info.max:
            return None
    return _scaled(np.array([limit]).astype(dtype), scaling)[0]


def _is_wider(limit: Any, stored: np.dtype[Any], scaling: Mapping[str, Any]) -> bool:
    """Whether a limit is of a type that only unpacked values have."""
    if limit is None or not scaling:
        return False
    dtype = np.asarray(limit).dtype
    return dtype.kind == "f" and (stored.kind in "iu" or dtype.itemsize > stored.itemsize)


def _without(values: Values, where: NDArray[np.bool_]) -> Values:
    """The values, as fractions, with NaN where they are none."""
    return np.where(where, np.nan, values) if where.any() else values
