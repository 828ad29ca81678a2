"""What a record looks like from afar: the same at coarser levels of HEALPix.

A cell of an overview of a tile stands for those of its children that the tile owns:

    n = sum of count,    value of a band = sum of (value x count) / sum of count

over the children that have a value in the band, of which count may be the band's own
(`shared.counts`).  So cells at the border of two tiles, which both have, merge to what the whole
sphere at once would have given: n adds up, values are weighted by it.  Where a band has no value
in children that were seen, n is not its weight; what is to be taken off is ``<band>_missing``,
which is 0 almost everywhere.

Of classes a cell of an overview has the most frequent one of its children, by their counts;
every level is made from the cells themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from archive.layout import STEP
from healpix.arrays import Runs
from healpix.ids import parent_runs
from healpix.parents import sum_cells, sum_values
from shared.cellset import CellSet
from shared.classes import most_frequent

# By band, by what of it, and by band and class.
Sums = dict[str | tuple[str, float], npt.NDArray[Any]]


def make_overviews(
    cells: CellSet, levels: Iterable[int], classes: Collection[str] = ()
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a record's overviews: "16/VV" float32, "16/n", "16/VV_missing" uint32.

    ``cells`` are those of a tile; ``levels`` go on from theirs in steps of `STEP`.  All sums
    are made in double precision.  ``classes`` are the bands that hold such.
    """
    runs, bands = (cells.start_ipix, cells.run_len), cells.bands
    sums: Sums = {}
    found: dict[str, npt.NDArray[Any]] = {}
    for level in levels:
        parents = parent_runs(*runs, STEP)
        if sums:
            sums = _add_up(sums, runs, parents)
        else:
            sums = _sum_up(cells, bands, runs, parents)
            for band in classes:
                sums |= _count_classes(cells, band, runs, sums["n"].size)
        found |= {f"{level}/{name}": a for name, a in _as_stored(sums, bands, classes).items()}
        runs = parents
    return found


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
    for value in np.unique(values[np.isfinite(values)]):
        sums[band, float(value)] = total = np.zeros(size, np.int64)
        of_class = np.where(values == value, count, 0).astype(count.dtype)
        sum_cells(*_as_int64(runs), 2 * STEP, of_class, total)
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
    known = [key[1] for key in sums if isinstance(key, tuple) and key[0] == band]

    def shares(some: Sequence[float]) -> list[npt.NDArray[Any]]:
        return [sums[band, value] for value in some]

    return most_frequent(known, shares, sums["n"].size)


def _as_int64(runs: Runs) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return runs[0].astype(np.int64), runs[1].astype(np.int64)
