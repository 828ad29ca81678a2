"""What an archive has of a box: days, orbits, and the share of it that was seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grid import BBox, Chunk, Tile
from healpix.arrays import Ids
from healpix.boxes import box_runs
from healpix.few import centres
from healpix.ids import runs_to_ids
from images.blocks import read_all
from images.records import layout_of, views_of
from shared.areas import AreaLike, as_area, clipping, holds, plain, shown

if TYPE_CHECKING:
    from archive.contents import Contents
    from archive.layout import Layout
    from archive.snapshot import View

CELLS_COUNTED = 5000  # cells of a box, at least, of which the share that was seen is counted
CELLS_READ = 1_000_000  # cells of a box, at most, that are read for that where there is no overview


Cells = tuple[int, Ids | None]  # their number, and which they are if not all of a box


@dataclass(frozen=True)
class Coverage:
    """What the archive has of a box on one day."""

    day: dt.date
    orbit: str
    share: float | None  # of the area of the box, above 0 and up to 1; None: not known


def days(archive: Contents, bbox: AreaLike) -> list[Coverage]:
    """The days of which the archive has something of the box, newest first.

    The share is counted in the overviews, whose cells have equal areas: those seen in the
    box, of all in the box.  It is None for a large box in records without overviews.
    """
    bbox = shown(as_area(bbox))
    views = {view.tile: view for view in views_of(archive, bbox)}
    images: dict[tuple[dt.date, str], list[Chunk]] = {}
    for view in views.values():
        for chunk in view.chunks():
            images.setdefault((chunk.day, chunk.orbit), []).append(chunk)
    cells: dict[int, Cells] = {}
    found = []
    for (day, orbit), chunks in images.items():
        share = _share(views, chunks, bbox, layout_of(archive), cells)
        if share != 0:
            found.append(Coverage(day, orbit, share))
    return sorted(found, key=lambda c: (-c.day.toordinal(), c.orbit))


def _share(
    views: dict[Tile, View], chunks: Sequence[Chunk], bbox: BBox, layout: Layout,
    cells: dict[int, Cells],
) -> float | None:  # fmt: skip
    """The share of an area that some records have seen; ``cells``: of the area, by level."""
    levels = set.intersection(*(set(views[chunk.tile].levels(chunk)) for chunk in chunks))
    for level in sorted(levels):
        if level not in cells:
            cells[level] = _cells(bbox, level, layout)
        number, ids = cells[level]
        if number >= CELLS_COUNTED or level == layout.level:
            break
    if level == layout.level and not 0 < number <= CELLS_READ:
        return None
    wishes = [(views[chunk.tile], chunk, plain(bbox), level, ("count",)) for chunk in chunks]
    seen = [
        runs_to_ids(part.start_ipix, part.run_len)[part["count"] > 0] for part in read_all(wishes)
    ]
    every = np.unique(np.concatenate(seen))  # two tiles may share a cell
    if ids is not None:
        every = np.intersect1d(every, ids, assume_unique=True)
    return len(every) / number


def _cells(bbox: BBox, level: int, layout: Layout) -> Cells:
    """How many cells of a level have their centre in an area, and of a polygon which.

    Of one whose box has too many of them to be read, the number is that of the box.
    """
    runs = box_runs(plain(bbox), 2**level, layout.ellipsoid)
    number, area = int(runs[1].sum(dtype=np.int64)), clipping(bbox)
    if area is None or (level == layout.level and number > CELLS_READ):
        return number, None
    ids = runs_to_ids(*runs)
    ids = ids[holds(area, *centres(ids, 2**level, layout.ellipsoid))]
    return len(ids), ids
