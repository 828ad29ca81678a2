"""Attributes of a netCDF file as plain text and numbers, in whatever form they were written.

netCDF has two types of text: one is an array of characters in an unknown encoding, the other
(NC_STRING, what netCDF4 and xarray write for any text that is not ASCII) an array of
strings, mostly of one.  Readers hand them over as bytes, as str, as arrays or lists, and
bytes that are not UTF-8 as half characters that nobody can write again.  Numbers come as
numbers and as arrays of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# What netCDF fills with where a file names no fill value (netcdf.h); bytes have none.
DEFAULT_FILLS = {
    "f4": 9.969209968386869e36, "f8": 9.969209968386869e36,
    "i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295,
    "i8": -9223372036854775806, "u8": 18446744073709551614,
}  # fmt: skip


def plain(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """All attributes; texts as str, arrays of one number as that number, others as they are."""
    return {text(name): _plain(value) for name, value in attributes.items()}


def text(value: Any) -> str:
    """A text in any form; "" for none.  Several texts are put together with blanks."""
    values = [] if _is_empty(value) else np.ravel(np.asarray(value)).tolist()
    if all(isinstance(value, bytes) and len(value) <= 1 for value in values):
        values = [b"".join(values)]  # an array of characters
    return " ".join(_decoded(value) for value in values).strip("\0")


def as_unsigned(values: Any, attributes: Mapping[str, Any]) -> Any:
    """Whole numbers of the sign that ``_Unsigned`` says: classic files know only signed ones."""
    says, kind = text(attributes.get("_Unsigned")).lower(), values.dtype.kind
    if (says, kind) not in (("true", "i"), ("false", "u")):
        return values
    return values.view(np.dtype(f"{values.dtype.byteorder}{'iu'[kind == 'i']}{values.itemsize}"))


def fill_values(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> list[Any]:
    """The values, as they are stored, that stand for none; netCDF's own if it has no _FillValue."""
    named = [np.ravel(attributes.get(key, ())) for key in ("_FillValue", "missing_value")]
    if not named[0].size and dtype.str[1:] in DEFAULT_FILLS:
        named[0] = np.array([DEFAULT_FILLS[dtype.str[1:]]])
    found = [values for values in named if values.dtype.kind in "fiu"]
    if dtype.kind in "iu":
        found = [values[np.isfinite(values)] for values in found]
    with np.errstate(invalid="ignore", over="ignore"):
        stored = np.concatenate([np.empty(0, dtype), *(values.astype(dtype) for values in found)])
    return list(as_unsigned(stored, attributes))


def _plain(value: Any) -> Any:
    if _is_empty(value):
        return ""
    values = np.asarray(value)
    if values.dtype.kind in "SU" or all(isinstance(v, str | bytes) for v in values.ravel()):
        return text(value)
    return values.reshape(-1)[0] if values.size == 1 else value


def _is_empty(value: Any) -> bool:
    """Whether there is nothing in it; HDF5 has a type for that, which has no shape."""
    return value is None or getattr(value, "shape", ()) is None or np.size(value) == 0


def _decoded(part: Any) -> str:
    """UTF-8 if it can be, else Latin-1, in which any bytes are some text."""
    if not isinstance(part, str | bytes):
        return str(part)
    raw = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
