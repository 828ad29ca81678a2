"""Numbers of 1,000 fields over 100 days of a tile, against reading its records once.

Fields of 0.02 x 0.004 degrees (about 40 hectares, 1,000 cells) all over the tile, a tenth of which
overlap; and 1,000 that share the tile between them, so that each of its cells is in one.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import shapely

import retrieve
import store
from benchmarks._speckle import counts, record, size_of, speckle
from benchmarks.composites import seconds
from benchmarks.start import memory
from benchmarks.store import Row
from grid import Chunk, Tile

TILE = Tile(7.0, 50.0, 8.0, 50.5)
FIRST = dt.date(2026, 1, 1)
DAYS, TURNS = 100, 3
CODE = (
    "import sys, retrieve, store, benchmarks.features as b;"
    "retrieve.features(store.Archive(sys.argv[1]), b.FIELDS[sys.argv[2]](), '2026')"
)


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    with tempfile.TemporaryDirectory(prefix="benchmark-features-") as folder:
        path = Path(folder) / "a.zarr"
        archive = filled(path)
        for name, fields in FIELDS.items():
            shapes, made, read = fields(), [], []
            for _ in range(TURNS + 1):
                made.append(seconds(partial(features_of, archive, shapes)))
                read.append(seconds(partial(read_all, archive)))
            ratios = sorted(one / statistics.median(read[1:]) for one in made[1:])
            command = [sys.executable, "-c", CODE, str(path), name]
            yield (
                f"numbers of 1,000 fields {name} over {DAYS} days", "reading the records once", "3",
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; "
                f"{statistics.median(made[1:]):.1f} s), {memory(command):.0f} MB in all",
            )  # fmt: skip


def features_of(archive: store.Archive, shapes: list[shapely.Polygon]) -> None:
    """The numbers of all fields on all days."""
    retrieve.features(archive, shapes, "2026")


def scattered() -> list[shapely.Polygon]:
    """Fields all over the tile, turned a little; a tenth of them twice."""
    rng = np.random.default_rng(1)
    west, south = rng.uniform(7.0, 7.97, 900), rng.uniform(50.0, 50.49, 900)
    west, south = np.append(west, west[:100] + 0.005), np.append(south, south[:100] + 0.001)
    corners = np.array([(0, 0.001), (0.019, 0), (0.02, 0.004), (0.001, 0.005)])
    return [shapely.Polygon(corners + place) for place in np.column_stack([west, south])]


def dividing() -> list[shapely.Polygon]:
    """40 x 25 boxes, which are all of the tile."""
    west, south = np.meshgrid(np.arange(40) / 40 + 7, np.arange(25) / 50 + 50)
    return [
        shapely.box(x, y, x + 1 / 40, y + 1 / 50)
        for x, y in zip(west.ravel().tolist(), south.ravel().tolist(), strict=True)
    ]


FIELDS = {"all over a tile": scattered, "that are all of a tile": dividing}


def filled(path: Path) -> store.Archive:
    """An archive of speckle, a tenth of each record unseen; a day is the one before, shifted."""
    archive = store.Archive(path)
    size, rng = size_of(TILE), np.random.default_rng(1)
    field = speckle(rng, size)
    for number in range(DAYS):
        shifts = {"VV": 1000 * number, "VH": 77 + 1000 * number}
        power = {band: np.roll(field, shift) for band, shift in shifts.items()}
        day = FIRST + dt.timedelta(days=number)
        archive.write(Chunk(TILE, day), record(TILE, power, counts(rng, size)))
    return archive


def read_all(archive: store.Archive) -> None:
    """Every record, whole, on as many threads as there are cores."""
    view = archive.view(TILE)
    assert view is not None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(view.read, chunk) for chunk in view.chunks()]:
            done.result()
