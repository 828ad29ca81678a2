"""Where there is land: the 1 km mask in the package global_land_mask.

Importing that package expands the mask to 0.9 GB.  Here it is inflated as a stream, once on a
computer, and kept as bits in strips of one degree, 3 MB in all, of which only those are opened
that are wanted.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grid import BBox
from shared.files import replacing

SAMPLES = 64  # points to each side of a box that are looked at
ROWS, COLUMNS, A_DEGREE = 21600, 43200, 120  # of the mask, and how many make a degree
KEPT = "land-1.zip"  # in the user's cache
OPEN = 16  # strips that are kept open


def land(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether there is land, for a regular grid: ``bool[len(lat), len(lon)]``.

    The mask has 120 pixels a degree, rows from 90 N southwards, columns from 180 W.
    """
    rows = np.clip(((90 - lat) * A_DEGREE).astype(int), 0, ROWS - 1)
    columns = np.clip(((lon + 180) % 360 * A_DEGREE).astype(int), 0, COLUMNS - 1)
    found = np.empty((len(lat), len(lon)), bool)
    strip, inside = np.divmod(rows, A_DEGREE)
    for number in set(strip.tolist()):
        here = strip == number
        eight = _strip(number)[inside[here]][:, columns >> 3]
        found[here] = eight >> (7 - (columns & 7)) & 1
    return found


@functools.cache  # it is asked again where somebody goes back
def is_open_sea(bbox: BBox) -> bool:
    """Whether a box has no land, by `SAMPLES` points to each side."""
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    lat, lon = bbox.north - steps * bbox.height, bbox.west + steps * bbox.width
    return not land(lat, lon).any()


@functools.lru_cache(OPEN)
def _strip(number: int) -> NDArray[np.uint8]:
    """The rows of a degree, counted from 90 N, eight columns a byte: ``uint8[120, 5400]``."""
    bits = zlib.decompress(_deflated(number))
    return np.frombuffer(bits, np.uint8).reshape(A_DEGREE, COLUMNS // 8)


def _deflated(number: int) -> bytes:
    """A strip that is kept in the user's cache, else from the mask, of which all are kept then."""
    with contextlib.suppress(OSError, ValueError, KeyError, zipfile.BadZipFile):
        return _kept().read(str(number))  # which checks it by its CRC
    return _strips()[number]


@functools.cache
def _kept() -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(_path().read_bytes()))


@functools.cache
def _strips() -> list[bytes]:
    """All strips, deflated."""
    strips, path = _made(), _path()
    with contextlib.suppress(OSError):  # no room, or not allowed: it is made again
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, zipfile.ZipFile(partial, "w") as file:
            for number, data in enumerate(strips):
                file.writestr(zipfile.ZipInfo(str(number)), data)  # of no time: the same bytes
    return strips


def _path() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("sentinel1-healpix") / KEPT


def _made() -> list[bytes]:
    """The strips, from the mask of the package, which is True on the ocean."""
    spec = importlib.util.find_spec("global_land_mask")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The package global-land-mask, which has the land, is missing.")
    with (
        zipfile.ZipFile(Path(spec.origin).with_name("globe_combined_mask_compressed.npz")) as file,
        file.open("mask.npy") as stream,
    ):
        np.lib.format.read_magic(stream)
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
        assert shape == (ROWS, COLUMNS)
        return [_packed(stream.read(A_DEGREE * COLUMNS)) for _ in range(ROWS // A_DEGREE)]


def _packed(ocean: bytes) -> bytes:
    return zlib.compress(np.packbits(np.frombuffer(ocean, np.uint8) == 0).tobytes(), 1)
