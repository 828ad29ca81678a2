"""One image of many days, against reading what it is made of.

A tile of 0.5 x 0.25 degrees, its neighbour to the east, and 20 days of both; reading is that of
every record of the box, once, on as many threads.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import retrieve
import store
from benchmarks._speckle import counts, record, size_of, speckle
from benchmarks.start import memory
from benchmarks.store import Row
from grid import BBox, Chunk, Tile
from images.composites import HOW
from images.records import views_of

TILES = Tile(7.0, 50.0, 7.5, 50.25), Tile(7.5, 50.0, 8.0, 50.25)
BOX = BBox(7.1, 50.02, 7.9, 50.22)
FIRST = dt.date(2026, 1, 1)
DAYS, TURNS = 20, 5
CODE = (  # makes one composite, in a process of its own
    "import sys, datetime as dt, retrieve, store; from grid import BBox;"
    "retrieve.open(store.Archive(sys.argv[1]), BBox.parse(sys.argv[2]),"
    " dt.date(2026, 1, 1), dt.date(2026, 12, 31), composite=sys.argv[3]).compute()"
)


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    with tempfile.TemporaryDirectory(prefix="benchmark-composites-") as folder:
        path = Path(folder) / "a.zarr"
        archive = filled(path)
        for how in HOW:
            made, read = [], []
            for _ in range(TURNS + 1):
                made.append(seconds(lambda how=how: composite(archive, how)))  # type: ignore[misc]
                read.append(seconds(lambda: read_all(archive)))
            command = [sys.executable, "-c", CODE, str(path), str(BOX), how]
            ratios = sorted(one / statistics.median(read[1:]) for one in made[1:])
            yield (
                f"{how} of {DAYS} days of {len(TILES)} tiles", "reading their records", "1.3",
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; "
                f"{statistics.median(made[1:]):.2f} s), {memory(command):.0f} MB in all",
            )  # fmt: skip


def filled(path: Path) -> store.Archive:
    """An archive of speckle, a tenth of each record unseen."""
    archive = store.Archive(path)
    for tile in TILES:
        size = size_of(tile)
        for number in range(DAYS):
            rng = np.random.default_rng(number)
            count = counts(rng, size)
            power = {band: speckle(rng, size) for band in ("VV", "VH")}
            archive.write(
                Chunk(tile, FIRST + dt.timedelta(days=number)), record(tile, power, count)
            )
    return archive


def composite(archive: store.Archive, how: str) -> None:
    """The whole box, at the size of the cells."""
    last = FIRST + dt.timedelta(days=DAYS)
    retrieve.open(archive, BOX, FIRST, last, composite=how).compute()


def read_all(archive: store.Archive) -> None:
    """Every record's cells in the box."""
    work = [(view, chunk) for view in views_of(archive, BOX) for chunk in view.chunks()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(view.read, chunk, BOX) for view, chunk in work]:
            done.result()


def seconds(work: Callable[[], object]) -> float:
    """What some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
