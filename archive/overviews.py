"""What a record looks like from afar: the same at coarser levels of HEALPix.

A cell of an overview of a tile stands for those of its children that the tile owns:

    n = sum of count,    value of a band = sum of (value x count) / sum of count

over the children that have a value in the band, of which count may be the band's own
(`shared.counts`).  So cells at the border of two tiles, which both have, merge to what the whole
sphere at once would have given: n adds up, values are weighted by it.  Where a band has no value
in children that were seen, n is not its weight; what is to be taken off is ``<band>_missing``,
which is 0 almost everywhere.

Of classes a cell of an overview has the most frequent one of its children, by their counts;
every level is made from the cells themselves.  What else is in the tile's part of a cell on its
border is kept beside it (`shared.border`), so that such cells, too, merge to what the whole sphere
at once would have given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from archive.layout import EMPTY, STEP, ArchiveError
from healpix.arrays import Runs
from healpix.ids import parent_runs, runs_to_ids
from healpix.parents import sum_cells, sum_values
from shared.border import Border
from shared.cellset import CellSet
from shared.classes import MOST, most_frequent

# By band, by what of it, and by band and class.
Sums = dict[str | tuple[str, float], npt.NDArray[Any]]


def make_overviews(
    cells: CellSet, levels: Iterable[int], classes: Collection[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a record's overviews: "16/VV" float32, "16/n", "16/VV_missing" uint32.

    ``cells`` are those of a tile; ``levels`` go on from theirs in steps of `STEP`.  All sums
    are made in double precision.  ``classes`` are the bands that hold such; they have the columns
    of a `Border` besides.  Raises ArchiveError where one has too many values for that.
    """
    runs, bands = (cells.start_ipix, cells.run_len), cells.bands
    sums: Sums = {}
    found: dict[str, npt.NDArray[Any]] = {}
    for steps, level in enumerate(levels, 1):
        parents = parent_runs(*runs, STEP)
        if sums:
            sums = _add_up(sums, runs, parents)
        else:
            sums = _sum_up(cells, bands, runs, parents)
            for band in classes:
                sums |= _count_classes(cells, band, runs, sums["n"].size)
        made = _as_stored(sums, bands, classes)
        if classes:
            whole = cells.start_ipix, cells.run_len
            is_border, room = border_of(whole, parents, steps * STEP)
            ids = runs_to_ids(*parents)[is_border]
            for band in classes:
                made |= _border(sums, band, made[band], is_border, ids, room).named(band)
        found |= {f"{level}/{name}": a for name, a in made.items()}
        runs = parents
    return found


def border_of(runs: Runs, parents: Runs, levels: int) -> tuple[npt.NDArray[np.bool_], int]:
    """Which parents have children elsewhere, and the room for all classes that those may have.

    ``runs`` are the cells of a tile, ``parents`` those so many levels coarser that hold any of
    them.  A cell has no more classes than children here, and one of them is kept as its own.
    """
    owned = np.zeros(int(parents[1].sum()), np.int64)
    sum_cells(*_as_int64(runs), 2 * levels, np.ones(int(runs[1].sum()), np.uint16), owned)
    is_border = owned < 4**levels
    return is_border, int((np.minimum(owned[is_border], MOST) - 1).sum())


def _sum_up(cells: CellSet, bands: list[str], runs: Runs, parents: Runs) -> Sums:
    """Sums over the cells of a record: of value x count and of count, by band, and of count."""
    size = int(parents[1].sum())
    sums: Sums = {"n": np.zeros(size, np.int64)}
    for band in bands:
        sums |= {band: np.zeros(size), f"{band} weight": np.zeros(size, np.int64)}
    where = (*_as_int64(runs), 2 * STEP)
    count = cells["count"]

    def add(band: str) -> None:
        own = cells.weights(band)
        sum_values(*where, cells[band], own, sums[band], sums[f"{band} weight"])

    with ThreadPoolExecutor(len(bands) + 1) as pool:
        done = [pool.submit(add, band) for band in bands]
        done.append(pool.submit(sum_cells, *where, count, sums["n"]))
    for future in done:
        future.result()
    return sums


def _count_classes(cells: CellSet, band: str, runs: Runs, size: int) -> Sums:
    """How many pixels of each class there are, by band and class."""
    values, count = cells[band], cells.weights(band)
    sums: Sums = {}
    every = np.unique(values[np.isfinite(values)])
    if every.size > MOST:
        raise ArchiveError(
            f"{band} has {every.size} different values; of classes there may be {MOST}.  Nothing "
            "was written."
        )
    for value in every:
        sums[band, float(value)] = total = np.zeros(size, np.int64)
        sum_cells(*_as_int64(runs), 2 * STEP, count * (values == value), total)
    return sums


def _add_up(sums: Sums, runs: Runs, parents: Runs) -> Sums:
    """The sums of the next coarser level."""
    size = int(parents[1].sum())
    coarser: Sums = {name: np.zeros(size, values.dtype) for name, values in sums.items()}
    for name, values in sums.items():
        sum_cells(*_as_int64(runs), 2 * STEP, values, coarser[name])
    return coarser


def _as_stored(
    sums: Sums, bands: list[str], classes: Collection[str]
) -> dict[str, npt.NDArray[Any]]:
    found: dict[str, npt.NDArray[Any]] = {"n": sums["n"].astype(np.uint32)}
    for band in bands:
        weight = sums[f"{band} weight"]
        if band in classes:
            found[band] = _most_frequent(sums, band)
            found[f"{band}_missing"] = (sums["n"] - weight).astype(np.uint32)
            continue
        with np.errstate(invalid="ignore"):
            found[band] = (sums[band] / weight).astype(np.float32)  # 0 / 0: NaN
        found[f"{band}_missing"] = (sums["n"] - weight).astype(np.uint32)
    return found


def _most_frequent(sums: Sums, band: str) -> npt.NDArray[np.float32]:
    def shares(some: Sequence[float]) -> list[npt.NDArray[Any]]:
        return [sums[band, value] for value in some]

    return most_frequent(_known(sums, band), shares, sums["n"].size)


def _known(sums: Sums, band: str) -> list[float]:
    """The classes of a band that there are, ascending."""
    return [key[1] for key in sums if isinstance(key, tuple) and key[0] == band]


def _border(
    sums: Sums,
    band: str,
    own: npt.NDArray[np.float32],
    is_border: npt.NDArray[np.bool_],
    ids: npt.NDArray[np.uint64],
    room: int,
) -> Border:
    """What cells on the border, with these ids, have beside their own class; as long as told."""
    known = np.array(_known(sums, band), np.float32)
    numbers = np.zeros((ids.size, known.size), np.int64)
    for column, value in zip(numbers.T, known.tolist(), strict=True):
        column[:] = sums[band, value][is_border]
    numbers[own[is_border, np.newaxis] == known] = 0
    place, which = np.nonzero(numbers)  # by cell, then class
    more = room - place.size
    return Border(
        np.append(ids[place], np.full(more, EMPTY, np.uint64)),
        np.append(known[which], np.full(more, np.nan, np.float32)),
        np.append(numbers[place, which].astype(np.uint32), np.zeros(more, np.uint32)),
    )


def _as_int64(runs: Runs) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return runs[0].astype(np.int64), runs[1].astype(np.int64)
