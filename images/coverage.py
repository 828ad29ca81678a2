"""What an archive has of a box: days, orbits, and the share of the box that was seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grid import BBox, Box, Chunk, Tile, as_box
from healpix.boxes import box_runs
from healpix.ids import runs_to_ids
from images.blocks import read_all
from images.records import layout_of, views_of

if TYPE_CHECKING:
    from archive.contents import Contents
    from archive.layout import Layout
    from archive.snapshot import View

CELLS_COUNTED = 5000  # cells of a box, at least, of which the share that was seen is counted
CELLS_READ = 1_000_000  # cells of a box, at most, that are read for that where there is no overview


@dataclass(frozen=True)
class Coverage:
    """What the archive has of a box on one day."""

    day: dt.date
    orbit: str
    share: float | None  # of the area of the box, above 0 and up to 1; None: not known


def days(archive: Contents, bbox: Box) -> list[Coverage]:
    """The days of which the archive has something of the box, newest first.

    The share is counted in the overviews, whose cells have equal areas: those seen in the
    box, of all in the box.  It is None for a large box in records without overviews.
    """
    bbox = as_box(bbox)
    views = {view.tile: view for view in views_of(archive, bbox)}
    images: dict[tuple[dt.date, str], list[Chunk]] = {}
    for view in views.values():
        for chunk in view.chunks():
            images.setdefault((chunk.day, chunk.orbit), []).append(chunk)
    cells: dict[int, int] = {}
    found = []
    for (day, orbit), chunks in images.items():
        share = _share(views, chunks, bbox, layout_of(archive), cells)
        if share != 0:
            found.append(Coverage(day, orbit, share))
    return sorted(found, key=lambda c: (-c.day.toordinal(), c.orbit))


def _share(
    views: dict[Tile, View], chunks: Sequence[Chunk], bbox: BBox, layout: Layout,
    cells: dict[int, int],
) -> float | None:  # fmt: skip
    """The share of a box that some records have seen; ``cells``: of the box, by level."""
    levels = set.intersection(*(set(views[chunk.tile].levels(chunk)) for chunk in chunks))
    for level in sorted(levels):
        if level not in cells:
            runs = box_runs(bbox, 2**level, layout.ellipsoid)
            cells[level] = int(runs[1].sum(dtype=np.int64))
        if cells[level] >= CELLS_COUNTED or level == layout.level:
            break
    if level == layout.level and not 0 < cells[level] <= CELLS_READ:
        return None
    wishes = [(views[chunk.tile], chunk, bbox, level, ("count",)) for chunk in chunks]
    seen = [
        runs_to_ids(part["start_ipix"].values, part["run_len"].values)[part["count"] > 0]
        for part in read_all(wishes)
    ]
    return len(np.unique(np.concatenate(seen))) / cells[level]  # two tiles may share a cell
