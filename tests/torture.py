"""What the tests kill: a process that downloads a small request.

Importing this module imports everything that a run needs and warms the compiled loops up,
so that a fork server can do it once and each round begins at once.
"""

from __future__ import annotations

import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyproj
import xarray as xr

import convert
import download
from grid import tile_at
from store import Archive
from tests.downloading import SIZE, run


def work(url: str, path: Path) -> None:
    """Download the usual small request of these tests."""
    summary = run(url, Archive(path))
    if summary.failed or summary.left:
        raise RuntimeError(f"{summary.failed} {summary.left} {summary.stopped}")


def work_and_tell(url: str, path: Path, pipe: Connection) -> None:
    """The same, sending the kind of every event; an interrupt ends it as it ends a command."""
    try:
        run(url, Archive(path), observer=lambda event: pipe.send(event.kind))
    except download.Interrupted as interrupted:
        pipe.send(str(interrupted))
        sys.exit(130)
    except KeyboardInterrupt:
        os._exit(130)


def _warm_up() -> None:
    size = 20
    tile = tile_at(7, 50, SIZE)
    project = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform
    west, south = project(tile.west, tile.south)
    x, y = west + 10 * np.arange(size), south - 10 * np.arange(-size, 0)
    band = (("y", "x"), np.ones((size, size), "float32"))
    raster = xr.Dataset({"VV": band, "VH": band}, {"x": x, "y": y})
    raster["crs"] = xr.Variable((), 0, {"crs_wkt": "EPSG:32632"})
    convert.raster_to_cells(raster, tile)


_warm_up()
