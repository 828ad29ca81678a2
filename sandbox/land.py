"""Where the Earth has land: the 1 km mask of global-land-mask, small enough to open at once.

The package's mask is an array of 21600 x 43200 booleans, 933 MB once it is inflated.
Written as the places where land and sea change along its rows it is 3 MB.  That list is
made once (some seconds) and kept where the compiled loops are kept, in ``__pycache__``.
"""

from __future__ import annotations

import importlib.util
import threading
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shared.files import replacing

ROWS, COLUMNS = 21600, 43200  # of the mask: 1/120 degree, from 90 N, 180 W
CELLS_PER_DEGREE = 120
CACHE = Path(__file__).parent / "__pycache__" / "land-mask-1.npy"
_ROWS_AT_ONCE = 240
_lock = threading.Lock()


def window(
    west: float, south: float, east: float, north: float
) -> tuple[NDArray[np.uint8], int, int]:
    """Land (1) and sea (0) in the mask cells around a box in degrees.

    Returns the cells, row 0 being the northernmost, and the mask's row and column of the
    first one.  Columns may lie outside [0, COLUMNS): they go round the Earth.  Rows end at
    the poles.
    """
    margin = 4
    top = max(0, int((90.0 - north) * CELLS_PER_DEGREE) - margin)
    bottom = min(ROWS, int((90.0 - south) * CELLS_PER_DEGREE) + margin + 1)
    left = int(np.floor((west + 180.0) * CELLS_PER_DEGREE)) - margin
    right = int(np.floor((east + 180.0) * CELLS_PER_DEGREE)) + margin + 1
    changes = _changes()
    columns = np.arange(left, right) % COLUMNS
    cells = np.empty((bottom - top, right - left), np.uint8)
    for i, row in enumerate(range(top, bottom)):
        # The number of changes up to a cell is odd on land: the mask begins with sea.
        cells[i] = np.searchsorted(changes, row * COLUMNS + columns, side="right") & 1
    return cells, top, left


def is_in(lon: int, lat: int) -> bool:
    """Whether there is land in the degree north and east of a corner."""
    cells, top, left = window(lon, lat, lon + 1, lat + 1)
    size = CELLS_PER_DEGREE
    row, column = (90 - lat - 1) * size - top, (lon + 180) * size - left
    return bool(cells[row : row + size, column : column + size].any())


def _changes() -> NDArray[np.int64]:
    """Flat indices of the cells that differ from the one before them."""
    with _lock:
        return _load_changes()


@cache
def _load_changes() -> NDArray[np.int64]:
    try:
        stored: NDArray[np.int32] = np.load(CACHE)
        return stored.astype(np.int64)
    except (OSError, ValueError):
        changes = _read_package()
    try:
        CACHE.parent.mkdir(exist_ok=True)
        with replacing(CACHE) as temporary:
            np.save(temporary, changes.astype(np.int32))
    except OSError:
        pass  # a folder that cannot be written to: the next start takes some seconds more
    return changes


def _read_package() -> NDArray[np.int64]:
    """Walk through the package's file without holding all of it in memory."""
    spec = importlib.util.find_spec("global_land_mask")
    if spec is None or spec.origin is None:
        raise RuntimeError("The package global-land-mask is missing; install requirements.txt.")
    path = Path(spec.origin).with_name("globe_combined_mask_compressed.npz")
    found = []
    with zipfile.ZipFile(path) as archive, archive.open("mask.npy") as stream:
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        if shape != (ROWS, COLUMNS) or dtype != np.bool_:
            raise RuntimeError(f"{path} holds a mask of {shape} {dtype}, which is not expected.")
        last = np.ones(1, np.uint8)  # the mask's True is sea
        for row in range(0, ROWS, _ROWS_AT_ONCE):
            block = np.frombuffer(stream.read(_ROWS_AT_ONCE * COLUMNS), np.uint8)
            changed = np.flatnonzero(np.not_equal(block, np.concatenate([last, block[:-1]])))
            found.append(changed + row * COLUMNS)
            last = block[-1:]
    return np.concatenate(found).astype(np.int64)
