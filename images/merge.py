"""Cells of several parts as one set: tiles of a box, records of a tile.

The tiles partition the sphere, so the cells of a box are the union of what its tiles hold
of it: merging sorts runs and copies, and no seam can appear.  Only cells that two parts
share are averaged, by their counts: those of two records of a tile, and those of an
overview that lie on the border of two tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cells.shares import own_pixels
from healpix.copies import copy_runs
from healpix.ids import runs_to_ids
from healpix.indexes import index_runs
from healpix.places import find_places
from shared.cellset import CellSet
from shared.classes import most_frequent_by_counts
from shared.collection import product_of
from shared.counts import count_of

if TYPE_CHECKING:
    import xarray as xr


def merge(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One dataset of cells from one or more: as `united`."""
    return parts[0] if len(parts) == 1 else united([*map(CellSet.of, parts)]).dataset()


def united(parts: Sequence[CellSet]) -> CellSet:
    """One set of cells from one or more, ids ascending; cells in common are averaged.

    A cell that several have gets the mean of their values, weighted by their counts, or of classes
    the most frequent one, and the sum of their counts (of uint16, at most 65535).  ``count`` may
    be missing if no cell is in common.  What cells on borders of tiles have beside their most
    frequent class is made use of, and is not in the result: all parts have to be given at once.
    """
    if len(parts) == 1:
        return parts[0]
    if _have_same_cells(parts):
        return _averaged(parts)
    start = np.concatenate([part.start_ipix for part in parts]).astype(np.int64)
    length = np.concatenate([part.run_len for part in parts]).astype(np.int64)
    runs, place, shared = _joined(start, length)
    cuts = np.cumsum([0, *(part.run_len.size for part in parts)])
    total = int(runs[1].sum())
    values: dict[str, NDArray[Any]] = {}
    for name in _names(parts):
        out = values[name] = np.empty(total, parts[0][name].dtype)
        for part, low, high in zip(parts, cuts[:-1], cuts[1:], strict=True):
            copy_runs(part[name], length[low:high], place[low:high], out)
    if shared.size:
        here = find_places(shared, index_runs(*runs))
        found = [find_places(shared, index_runs(part.start_ipix, part.run_len)) for part in parts]
        _average_shared(values, parts, shared, here, [(at >= 0, at[at >= 0]) for at in found])
    return _made_of(parts, runs, values)


def _have_same_cells(parts: Sequence[CellSet]) -> bool:
    """Whether all parts have the same cells, as records of a tile have."""
    first = parts[0]
    return all(
        np.array_equal(part.start_ipix, first.start_ipix)
        and np.array_equal(part.run_len, first.run_len)
        for part in parts[1:]
    )


def _averaged(parts: Sequence[CellSet]) -> CellSet:
    """The same where no cell has to be looked for."""
    parts = [_with_counts(part) for part in parts]
    values, every = {name: parts[0][name].copy() for name in _names(parts)}, slice(None)
    ids = np.empty(0, np.uint64)
    if any(part.borders for part in parts):
        ids = runs_to_ids(parts[0].start_ipix, parts[0].run_len)
    _average_shared(values, parts, ids, every, [(every, every)] * len(parts))
    return _made_of(parts, (parts[0].start_ipix, parts[0].run_len), values)


def _made_of(
    parts: Sequence[CellSet],
    runs: tuple[NDArray[Any], NDArray[Any]],
    values: Mapping[str, NDArray[Any]],
) -> CellSet:
    sources = dict.fromkeys(part.attrs["source"] for part in parts)
    attrs = {**parts[0].attrs, "source": "; ".join(filter(None, sources))}
    return CellSet(runs[0].astype(np.uint64), runs[1].astype(np.uint32), values, attrs)


def _names(parts: Sequence[CellSet]) -> list[str]:
    """Every variable that one of the parts has."""
    return list(dict.fromkeys(name for part in parts for name in part.values))


def _with_counts(part: CellSet) -> CellSet:
    """A part with the counts of each band of which some seen cells have no value at all."""
    found = {count_of(band): part.counts(band) for band in part.bands}
    return part.having({
        name: values for name, values in found.items()
        if name not in part and not np.array_equal(values, part["count"])
    })  # fmt: skip


def _joined(
    start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[tuple[NDArray[Any], NDArray[Any]], NDArray[Any], NDArray[Any]]:
    """Runs that cover the given ones, the place of each among their cells, and shared ids."""
    order = np.argsort(start, kind="stable")
    first, last = start[order], (start + length)[order]
    reached = np.maximum.accumulate(last) if len(last) else last
    opens = np.ones(len(first), bool)
    opens[1:] = first[1:] > reached[:-1]
    begins = first[opens]
    ends = np.maximum.reduceat(last, np.flatnonzero(opens)) if len(first) else last
    before = np.cumsum(ends - begins) - (ends - begins)
    run = np.searchsorted(begins, start, "right") - 1
    place = before[run] + start - begins[run] if len(start) else start
    low = first[1:]
    high = np.minimum(last[1:], reached[:-1])
    twice = high > low
    shared = runs_to_ids(low[twice], (high - low)[twice])
    return (begins, ends - begins), place, np.unique(shared)


def _average_shared(
    merged: Mapping[str, NDArray[Any]],
    parts: Sequence[CellSet],
    ids: NDArray[np.uint64],
    here: Any,
    places: Sequence[tuple[Any, Any]],
) -> None:
    """Have cells that several parts hold be the means of these, by their counts.

    ``ids`` are theirs (of no use without borders), ``here`` their places among the merged cells;
    of each part, which of them it has, and their places in it.
    """
    bands = {band for part in parts for band in part.bands}
    classes = product_of(parts[0].attrs).classes([*merged])
    for name, out in merged.items():
        if name in classes:
            pairs = zip(parts, places, strict=True)
            held = [each for part, place in pairs for each in _shares(part, name, ids, place)]
            out[here] = most_frequent_by_counts(held, out[here].size)
            continue
        sums, weights = np.zeros((2, out[here].size))
        is_band = name in bands
        for part, (has, at) in zip(parts, places, strict=True):
            value = part[name][at].astype(float)
            if is_band:
                weight = part.weights(name)[at] * np.isfinite(value)
                sums[has] += weight * np.nan_to_num(value)
                weights[has] += weight
            else:
                sums[has] += value
        if is_band:
            with np.errstate(invalid="ignore"):
                out[here] = sums / weights
        else:
            out[here] = np.minimum(sums, np.iinfo(out.dtype).max)


def _shares(
    part: CellSet, band: str, ids: NDArray[np.uint64], place: tuple[Any, Any]
) -> Iterator[tuple[Any, NDArray[Any], NDArray[Any]]]:
    """Which of the shared cells a part has, with classes and pixels; those on a border again."""
    has, at = place
    yield has, part[band][at], own_pixels(part, band)[at]
    if band not in part.borders:
        return
    border = part.borders[band]
    found = np.minimum(np.searchsorted(ids, border.cell), ids.size - 1)
    same = ids[found] == border.cell
    for value in np.unique(border.value[same]):  # of which no cell has two entries
        some = same & (border.value == value)
        yield found[some], border.value[some], border.number[some]
