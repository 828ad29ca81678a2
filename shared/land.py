"""Where there is land: the 1 km mask in the package global_land_mask, read as a stream.

Importing that package expands the mask to 0.9 GB; here the rows that are wanted are picked while
the file is being inflated, so it costs a second or two at most and no memory.
"""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from grid import BBox

SAMPLES = 64  # points to each side of a box that are looked at


def land(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether there is land, for a regular grid: ``bool[len(lat), len(lon)]``, lat descending.

    The mask has 120 pixels a degree, rows from 90 N southwards, columns from 180 W.
    """
    spec = importlib.util.find_spec("global_land_mask")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The package global-land-mask, which has the land, is missing.")
    rows = np.clip(((90 - lat) * 120).astype(int), 0, 21599)
    columns = np.clip(((lon + 180) % 360 * 120).astype(int), 0, 43199)
    found = np.empty((len(lat), len(lon)), bool)
    with (
        zipfile.ZipFile(Path(spec.origin).with_name("globe_combined_mask_compressed.npz")) as file,
        file.open("mask.npy") as stream,
    ):
        np.lib.format.read_magic(stream)
        (_, length), _, _ = np.lib.format.read_array_header_1_0(stream)
        at, line = -1, np.empty(0, np.uint8)
        for i, row in enumerate(rows):
            while at < row:
                line, at = np.frombuffer(stream.read(length), np.uint8), at + 1
            found[i] = line[columns] == 0  # the mask is True on the ocean
    return found


def is_open_sea(bbox: BBox) -> bool:
    """Whether a box has no land, by `SAMPLES` points to each side."""
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES
    lat, lon = bbox.north - steps * bbox.height, bbox.west + steps * bbox.width
    return not land(lat, lon).any()
