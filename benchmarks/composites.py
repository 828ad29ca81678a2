"""One image of many days, against reading what it is made of.

8 x 8 tiles of 1 x 0.5 degrees and 20 days of each, whose cells are four times as wide as usual, so
that a picture of all shows them (and the archive takes 3 GB of a disk, while it is measured).
Reading is that of the inner chunks of every record, once, on as many threads.
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
from functools import partial
from pathlib import Path

import numpy as np

import retrieve
import store
from archive.shards import one_of_many
from archive.snapshot import View
from benchmarks._speckle import counts, record, size_of, speckle
from benchmarks.start import memory
from benchmarks.store import Row, Unsynced
from grid import BBox, Chunk, Tile, tiles_covering
from images.composites import HOW
from images.records import views_of

NSIDE = 65536
BOX = BBox(3.0, 48.0, 11.0, 52.0)
FIRST = dt.date(2026, 1, 1)
DAYS, TURNS = 20, 3
CODE = (
    "import sys, store, benchmarks.composites as b; b.{}(store.Archive(sys.argv[1]), sys.argv[2])"
)


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    with tempfile.TemporaryDirectory(prefix="benchmark-composites-") as folder:
        path = Path(folder) / "a.zarr"
        archive = filled(path)
        number = len(archive.tiles())
        read = []
        for how in HOW:
            made = []
            for _ in range(TURNS + 1):
                made.append(seconds(partial(composite, archive, how)))
                read.append(seconds(partial(read_all, archive)))
            now = statistics.median(read[-TURNS:])
            ratios = sorted(one / now for one in made[1:])
            command = [sys.executable, "-c", CODE.format("composite"), str(path), how]
            yield (
                f"{how} of {DAYS} days of {number} tiles", "reading their records", "1.3, 1 GB",
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; "
                f"{statistics.median(made[1:]):.1f} s), {memory(command):.0f} MB in all",
            )  # fmt: skip


def filled(path: Path) -> store.Archive:
    """An archive of speckle, a tenth of each record unseen; a record is another one, shifted."""
    archive = store.Archive(path, Unsynced)
    rng = np.random.default_rng(1)
    tiles = tiles_covering(BOX, (1.0, 0.5))
    most = max(size_of(tile, NSIDE) for tile in tiles) + 1000 * DAYS
    field, count = speckle(rng, most), counts(rng, most)

    def write(tile: Tile, number: int) -> None:
        size = size_of(tile, NSIDE)
        shifts = {"VV": 1000 * number, "VH": 77 + 900 * number}
        power = {band: field[shift : shift + size] for band, shift in shifts.items()}
        cells = record(tile, power, count[500 * number : 500 * number + size], NSIDE)
        archive.write(Chunk(tile, FIRST + dt.timedelta(days=number)), cells)

    for tile in tiles:
        for number in range(DAYS):
            write(tile, number)
    return archive


def composite(archive: store.Archive, how: str) -> None:
    """A picture of all."""
    last = FIRST + dt.timedelta(days=DAYS)
    dlat, dlon = retrieve.spacing(BOX)
    retrieve.open(archive, BOX, FIRST, last, dlat=dlat, dlon=dlon, composite=how).compute()


def read_all(archive: store.Archive) -> None:
    """Every record's cells in the box."""
    work = [(view, chunk) for view in views_of(archive, BOX) for chunk in view.chunks()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(read_one, view, chunk) for view, chunk in work]:
            done.result()


def read_one(view: View, chunk: Chunk) -> None:
    """A record's cells in the box, by this thread."""
    with one_of_many():
        view.read(chunk, BOX)


def seconds(work: Callable[[], object]) -> float:
    """What some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
