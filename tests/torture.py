"""What the tests kill: a process that downloads a small request.

Importing this module imports everything that a run needs and warms the compiled loops up, also
those of retrieving, so that a fork server can do it once and each round begins at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyproj
import xarray as xr

import convert
import download
from cells import regrid
from jobs.journal import Journal
from sandbox import scene
from store import Archive
from tests.archive.test_contents import ORIGIN, cells_of, days
from tests.downloading import LABEL, QUICK, SIZE, box, connect, into, run, where_and_when
from tests.sphere import tile_at


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


def write_days(place: str | Path, seeds: Sequence[int]) -> list[bool]:
    """Write made-up records of the days with these numbers; whether each was new."""
    archive = Archive(place)
    return [archive.write(days(seed + 1)[-1], cells_of(seed=seed), ORIGIN) for seed in seeds]


def write_days_when_told(
    place: str, seeds: Sequence[int], environment: dict[str, str], pipe: Connection
) -> None:
    """The same in an object store, saying when all is ready and what came of it."""
    os.environ.update(environment)
    pipe.send("ready")
    pipe.recv()
    pipe.send(write_days(place, seeds))


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
    regrid.compile_loops()
    scene.prepare()


_warm_up()


def fill(
    url: str, place: str, folder: Path, environment: dict[str, str], lasts: float, columns: int
) -> None:
    """Download a small request into an object store, as a machine with a home of its own."""
    os.environ.update(environment)
    summary = fill_here(url, place, folder, lasts, columns)
    if summary.failed or summary.left:
        raise RuntimeError(f"{summary.failed} {summary.left} {summary.stopped}")


def fill_here(
    url: str,
    place: str,
    folder: Path,
    lasts: float,
    columns: int = 2,
    observer: Callable[[download.Event], None] = lambda _: None,
    handle: Callable[[download.Result], bool] | None = None,
) -> download.Summary:
    """The same in this process."""
    archive, journal = Archive(place), Journal(folder)
    _, day = where_and_when()
    made = download.plan(
        box(columns), day, day, "any", archive.has, journal, LABEL, chunk_size=SIZE
    )  # fmt: skip
    claims = archive.claims(journal.id, lasts)
    journal.close()
    assert claims is not None
    with claims.kept({chunk.name for chunk in archive.chunks()}):
        return download.run(
            made, connect(url), folder, handle or into(archive), archive.has, observer,
            pace=QUICK, claims=claims,
        )  # fmt: skip
