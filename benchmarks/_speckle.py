"""Records that are made up for measurements: cells of a tile with given values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import convert
from grid import Tile

GAPS = 0.1  # share of the cells that are not seen


def record(
    tile: Tile,
    power: Mapping[str, NDArray[np.float32]],
    count: NDArray[np.uint16],
    nside: int | None = None,
) -> xr.Dataset:
    """The cells of a tile: of each band its power where ``count`` is above 0."""
    start, length = convert.tile_runs(tile, nside)
    bands = {
        band: ("cells", np.where(count > 0, values, np.float32("nan")))
        for band, values in power.items()
    }
    runs = {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    about = {
        "nside": nside or convert.NSIDE,
        "ellipsoid": "sphere",
        "ordering": "nested",
        "source": "",
    }
    return xr.Dataset(bands | {"count": ("cells", count)} | runs, attrs=about)


def size_of(tile: Tile, nside: int | None = None) -> int:
    """The number of its cells."""
    return int(convert.tile_runs(tile, nside)[1].sum())


def speckle(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Power of an even field."""
    return rng.gamma(4.4, 0.02, size).astype(np.float32)


def counts(rng: np.random.Generator, size: int, gaps: float = GAPS) -> NDArray[np.uint16]:
    """How many pixels each cell has: 7, or 0."""
    return np.where(rng.random(size) < 1 - gaps, 7, 0).astype(np.uint16)
