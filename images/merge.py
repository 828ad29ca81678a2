"""Cells of several parts as one set: tiles of a box, records of a tile.

The tiles partition the sphere, so the cells of a box are the union of what its tiles hold
of it: merging sorts runs and copies, and no seam can appear.  Only cells that two parts
share are averaged, by their counts: those of two records of a tile, and those of an
overview that lie on the border of two tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from healpix.copies import copy_runs
from healpix.ids import runs_to_ids
from healpix.indexes import index_runs
from healpix.places import find_places
from shared.classes import most_frequent_by_counts
from shared.collection import product_of
from shared.counts import band_names, count_of, counts
from shared.variables import variable


def merge(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One set of cells from one or more, ids ascending; cells in common are averaged.

    Parts hold ``<band>(cells)``, ``count(cells)`` and, where it differs from it,
    ``<band>_count(cells)``, and the runs.  A cell that several have gets the mean of their
    values, weighted by their counts, or of classes the most frequent one, and the sum of their
    counts (of uint16, at most 65535).  ``count`` may be missing if no cell is in common.
    """
    if len(parts) == 1:
        return parts[0]
    if _have_same_cells(parts):
        return _averaged(parts)
    start = np.concatenate([part["start_ipix"].values for part in parts]).astype(np.int64)
    length = np.concatenate([part["run_len"].values for part in parts]).astype(np.int64)
    joined, place, shared = _united(start, length)
    runs = np.cumsum([0] + [part.sizes["runs"] for part in parts])
    total = int(joined[1].sum())
    values: dict[str, xr.Variable] = {}
    for name in _cell_variables(parts):
        out = np.empty(total, _of(parts[0], name).dtype)
        for part, low, high in zip(parts, runs[:-1], runs[1:], strict=True):
            copy_runs(_of(part, name).values, length[low:high], place[low:high], out)
        values[name] = variable("cells", out)
    merged = xr.Dataset(values)
    if shared.size:
        here = find_places(shared, index_runs(*joined))
        found = [
            find_places(shared, index_runs(part["start_ipix"].values, part["run_len"].values))
            for part in parts
        ]
        _average_shared(merged, parts, here, [(at >= 0, at[at >= 0]) for at in found])
    return _finished(merged, parts, joined)


def _have_same_cells(parts: Sequence[xr.Dataset]) -> bool:
    """Whether all parts have the same cells, as records of a tile have."""
    return all(
        np.array_equal(part[name].values, parts[0][name].values)
        for part in parts[1:]
        for name in ("start_ipix", "run_len")
    )


def _averaged(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """The same where no cell has to be looked for."""
    parts = [_with_counts(part) for part in parts]
    names = _cell_variables(parts)
    values = {name: variable("cells", _of(parts[0], name).values.copy()) for name in names}
    merged, every = xr.Dataset(values), slice(None)
    _average_shared(merged, parts, every, [(every, every)] * len(parts))
    return _finished(merged, parts, (parts[0]["start_ipix"].values, parts[0]["run_len"].values))


def _finished(
    merged: xr.Dataset, parts: Sequence[xr.Dataset], runs: tuple[NDArray[Any], NDArray[Any]]
) -> xr.Dataset:
    """The cells with the runs that spell them, and attributes."""
    merged["start_ipix"] = variable("runs", runs[0].astype(np.uint64))
    merged["run_len"] = variable("runs", runs[1].astype(np.uint32))
    sources = dict.fromkeys(part.attrs["source"] for part in parts)
    merged.attrs = {**parts[0].attrs, "source": "; ".join(filter(None, sources))}
    return merged


def _cell_variables(parts: Sequence[xr.Dataset]) -> list[str]:
    """Every variable of cells that one of the parts has."""
    names = [str(n) for part in parts for n in part.data_vars if part[n].dims == ("cells",)]
    return list(dict.fromkeys(names))


def _with_counts(part: xr.Dataset) -> xr.Dataset:
    """A part with the counts of each band of which some seen cells have no value at all."""
    found = {count_of(band): counts(part, band) for band in band_names(part)}
    more = {
        name: variable("cells", values)
        for name, values in found.items()
        if name not in part and not np.array_equal(values, part["count"].values)
    }
    return part.assign(more)


def _of(part: xr.Dataset, name: str) -> xr.DataArray:
    """A variable of a part; the count of a band is `count` where it is not there by itself."""
    return part[name] if name in part else part["count"]


def _united(
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
    merged: xr.Dataset,
    parts: Sequence[xr.Dataset],
    here: Any,
    places: Sequence[tuple[Any, Any]],
) -> None:
    """Have cells that several parts hold be the means of these, by their counts.

    ``here`` are their places among the merged cells; of each part, which of them it has, and
    their places in it.
    """
    names = _cell_variables([merged])
    classes = product_of(parts[0].attrs).classes(names)
    for name in names:
        out = merged[name].values
        if name in classes:
            held = [
                (has, _of(part, name).values[at], _of(part, count_of(name)).values[at])
                for part, (has, at) in zip(parts, places, strict=True)
            ]
            out[here] = most_frequent_by_counts(held, out[here].size)
            continue
        sums, weights = np.zeros((2, out[here].size))
        is_band = name in band_names(merged)
        for part, (has, at) in zip(parts, places, strict=True):
            value = _of(part, name).values[at].astype(float)
            if is_band:
                weight = _of(part, count_of(name)).values[at] * np.isfinite(value)
                sums[has] += weight * np.nan_to_num(value)
                weights[has] += weight
            else:
                sums[has] += value
        if is_band:
            with np.errstate(invalid="ignore"):
                out[here] = sums / weights
        else:
            out[here] = np.minimum(sums, np.iinfo(out.dtype).max)
