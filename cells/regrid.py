"""Cells to a regular grid of longitude and latitude.

Latitude and longitude of the pixels separate, so nothing is projected: each row lies
between two rings of cells.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cells.shares import other_pixels, own_pixels
from grid import BBox
from healpix import copies, folds, networks, places, quads
from healpix.arrays import Floats, Ints
from healpix.ids import level_of
from healpix.indexes import RunIndex, index_runs
from healpix.latitudes import to_authalic
from healpix.loops import beside
from healpix.pixels import add_to_pixels, ring_rows
from healpix.sample import add_nearest, interpolate, look_up
from shared.cellset import CellSet
from shared.classes import most_frequent
from shared.counts import count_of
from shared.variables import coordinate, variable

if TYPE_CHECKING:
    import xarray as xr

METHODS = ("nearest", "bilinear", "mean")


def cells_to_grid(cells: xr.Dataset, frame: Frame, method: str, workers: int) -> xr.Dataset:
    """Cells on the whole of a grid, as `convert.cells_to_grid` has it."""
    import xarray as xr

    held, whole = CellSet.of(cells), (slice(0, frame.lat.size), slice(0, frame.lon.size))
    values = grid_values(held, frame, *whole, method, workers)
    bands = {
        band: variable(("lat", "lon"), out, cells[band].attrs)
        for band, out in zip(held.bands, values, strict=True)
    }
    sides = {"lat": (frame.lat, "latitude", "north"), "lon": (frame.lon, "longitude", "east")}
    return xr.Dataset(
        bands,
        coords={
            dim: coordinate(dim, at, {"standard_name": name, "units": f"degrees_{side}"})
            for dim, (at, name, side) in sides.items()
        },
        attrs=cells.attrs,
    )


@dataclass(frozen=True)
class Frame:
    """A regular grid of longitude and latitude: a box and the size of its pixels, degrees.

    Raises ValueError for pixels without a size.
    """

    bbox: BBox
    dlat: float
    dlon: float

    @cached_property
    def lat(self) -> Floats:
        """Pixel centres, ascending."""
        return pixel_centres(self.bbox.south, self.bbox.height, self.dlat, "dlat")

    @cached_property
    def lon(self) -> Floats:
        """Pixel centres, ascending; beyond 180 where the box crosses it."""
        return pixel_centres(self.bbox.west, self.bbox.width, self.dlon, "dlon")

    def edge(self, row: int) -> float:
        """The southern edge of a row, or the northern one of the row before."""
        return self.bbox.south + row * self.dlat

    def thinnest(self, rows: slice) -> float:  # noqa: ARG002
        """The height of the lowest of some rows."""
        return self.dlat

    def rings(self, rows: slice, nside: int, ellipsoid: str) -> tuple[int, Ints]:
        """The first ring of cells of some rows, and from it on the row of each ring, or -1."""
        return ring_rows(self.bbox.south, self.dlat, rows, nside, ellipsoid)


def grid_values(
    cells: CellSet,
    frame: Frame,
    rows: slice,
    columns: slice,
    method: str,
    workers: int,
) -> NDArray[np.float32]:
    """Some rows and columns of a grid, (band, row, column), as of `convert.cells_to_grid`.

    They are the same whichever part of the grid is asked for.  Cells around it must be
    there: for "mean" those with their centre in a pixel, else those around its centre.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    if method == "mean":
        means = Means(frame, rows, columns, cells.bands)
        means.add(cells)
        return means.values()
    values = _stacked([cells[band] for band in cells.bands]).astype(np.float32, copy=False)
    return plain_gaps(_at_centres(cells, values, frame, rows, columns, method, workers))


def _at_centres(
    cells: CellSet,
    values: NDArray[np.float32],
    frame: Frame,
    rows: slice,
    columns: slice,
    method: str,
    workers: int,
) -> NDArray[np.float32]:
    """Values (n, cell) at the pixel centres, (n, row, column)."""
    lon = frame.lon[columns]
    lat, index, level = _sought(cells, frame.lat[rows])
    out = np.empty((len(values), lat.size, lon.size), np.float32)
    fill = interpolate if method == "bilinear" else look_up

    def work(first: int, stop: int) -> None:
        fill(lat[first:stop], lon, level, index, values, out[:, first:stop])

    if workers == 1:
        work(0, lat.size)
        return out
    with ThreadPoolExecutor(workers) as pool:
        cuts = np.linspace(0, lat.size, 4 * workers + 1).astype(int).tolist()
        for job in [pool.submit(work, *cut) for cut in itertools.pairwise(cuts)]:
            job.result()
    return out


def compile_loops() -> None:
    """Compile the loops of this module, for cells as archives give them, if they are not yet.

    Until that is done other threads do without, as long as that is not too much.
    """
    with beside():
        _call_loops()


def _call_loops() -> None:
    size = 48
    box = BBox(10.0, -20.0, 50.0, 20.0)
    frame = Frame(box, 20.0, 20.0)
    whole = slice(0, 2)
    start, length = quads.walk((box.west, box.south, box.east, box.north), 1, False)
    places.to_places(start, index_runs(start, length))
    copies.gather_words(np.zeros(1, np.uint32), start[:0], length[:0], np.zeros(1, np.uint32))
    for count in (np.uint16, np.uint32):  # of a record, of an overview
        values = {"VV": np.zeros(size, np.float32), "count": np.ones(size, count)}
        runs = np.zeros(1, np.uint64), np.full(1, size, np.uint32)
        cells = CellSet(*runs, values, {"nside": 2, "ellipsoid": "sphere"})
        for method in METHODS:
            grid_values(cells, frame, whole, whole, method, workers=1)
        _compile_folds(cells["VV"], cells["count"])


def _compile_folds(values: NDArray[Any], counts: NDArray[Any]) -> None:
    """Compile what makes one of many records."""
    a, b = np.zeros((2, values.size))
    number, shift = np.zeros((2, values.size), np.float32)
    weights, keys = folds.no_weights(counts, 2), np.zeros((2, values.size), np.int32)
    two = values, counts, values, counts
    folds.add_means(*two, a, weights)
    folds.fill(values, counts, 0.0, values.copy(), weights, values.copy())
    folds.keep_least(*two, 0, keys[0], weights)
    folds.add_numbers(*two, number, weights)
    folds.begin_spreads(*two, shift)
    folds.add_spreads(*two, *two, shift, a, b, number, weights)
    folds.take_spreads(a, b, number, shift)
    folds.add_to_stack(*two, keys[0], keys[1], keys[0].copy(), weights)
    folds.take_medians(keys, keys[0], weights, networks.median_network(2), values.copy())


class Means:
    """Pixels as weighted means of the cells with their centre in them, from one or more parts.

    The parts may be of different levels and have cells in common: a cell counts by its
    ``<band>_count`` where that is there, else by its ``count``.  A pixel without a centre
    gets the cells that contain its own centre.  ``rows`` and ``columns`` are those of the
    grid ``frame`` that are wanted, ``bands`` the names of the values to average.
    """

    def __init__(self, frame: Frame, rows: slice, columns: slice, bands: Sequence[str]) -> None:
        self.frame, self.rows, self.columns, self.bands = frame, rows, columns, list(bands)
        shape = frame.lat[rows].size, frame.lon[columns].size
        # Of each band the sum of weight x value and of weight, then the number of cells.
        self._sums = np.zeros((*shape, 2 * len(self.bands) + 1))
        self._parts: list[CellSet] = []

    def add(self, cells: CellSet) -> None:
        """Take a part into account."""
        nside, frame = cells.attrs["nside"], self.frame
        values, weights = self._values(cells)
        top, row_of = frame.rings(self.rows, nside, cells.attrs["ellipsoid"])
        add_to_pixels(
            cells.start_ipix.astype(np.int64), cells.run_len.astype(np.int64),
            level_of(nside), top, row_of,
            frame.bbox.west, frame.dlon, self.columns.start,
            values, weights, self._sums,
        )  # fmt: skip
        self._parts.append(cells)

    def values(self) -> NDArray[np.float32]:
        """The means, (band, row, column); NaN where no cell has a value."""
        if not self._sums[..., -1].all():
            for part in self._parts:
                self._add_nearest(part)
        means = np.empty((len(self.bands), *self._sums.shape[:2]), np.float32)
        with np.errstate(invalid="ignore"):
            for band, out in enumerate(means):
                sums, weights = self._sums[..., 2 * band], self._sums[..., 2 * band + 1]
                np.divide(sums, weights, out=out, casting="same_kind")
        return plain_gaps(means)

    def _values(self, cells: CellSet) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Values (band, cell) and weights (band, cell), or (1, cell) where all are the same."""
        values = _stacked([cells[band] for band in self.bands])
        weights = [cells["count"]]
        if any(count_of(band) in cells for band in self.bands):
            weights = [cells.weights(band) for band in self.bands]
            if all(each is weights[0] for each in weights):
                weights = weights[:1]
        return values.astype(np.float32, copy=False), _stacked(weights)

    def _add_nearest(self, cells: CellSet) -> None:
        """Give the pixels without a centre the cells around their own."""
        lat, index, level = _sought(cells, self.frame.lat[self.rows])
        add_nearest(
            lat, self.frame.lon[self.columns], level, index, *self._values(cells), self._sums
        )


def _sought(cells: CellSet, lat: Floats) -> tuple[Floats, RunIndex, int]:
    """Latitudes as the cells have them, and what finds one of the cells, with their level."""
    index = index_runs(cells.start_ipix, cells.run_len)
    lat = to_authalic(lat) if cells.attrs["ellipsoid"] == "WGS84" else lat
    return lat, index, level_of(cells.attrs["nside"])


def _stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The rows as one array; no copy is made of one, nor of those that have been read as one."""
    if len(rows) == 1:
        return rows[0][np.newaxis]
    whole = rows[0].base
    if whole is None or whole.shape != (len(rows), *rows[0].shape):
        return np.stack(rows)
    are_its = (row.ctypes.data == at.ctypes.data for row, at in zip(rows, whole, strict=True))
    return whole if all(are_its) else np.stack(rows)


def class_values(
    parts: Sequence[CellSet], frame: Frame, rows: slice, columns: slice, band: str
) -> NDArray[np.float32]:
    """The most frequent class of the cells in each pixel, by their counts, (row, column).

    ``parts`` and cells are as of `Means`.  Of classes that are equally frequent the lowest.  A cell
    on the border of two tiles counts with all that is in it.
    """
    shape = frame.lat[rows].size, frame.lon[columns].size
    own = [own_pixels(part, band) for part in parts]
    bordering = [part for part in parts if band in part.borders]
    values = np.concatenate([
        np.empty(0, np.float32), *(part[band] for part in parts),
        *(part.borders[band].value for part in bordering),
    ])  # fmt: skip

    def shares(some: Sequence[float]) -> list[NDArray[np.float32]]:
        named = {str(number): value for number, value in enumerate(some)}
        means = Means(frame, rows, columns, list(named))
        for part, count in zip(parts, own, strict=True):
            classes = part[band]
            known = np.isfinite(classes)
            data = {name: np.where(known, classes == v, np.nan) for name, v in named.items()}
            means.add(replace(part, values={**data, "count": count}))
        for part in bordering:
            means.add(other_pixels(part, band, named))
        return [share.ravel() for share in means.values()]

    every = np.unique(values[np.isfinite(values)]).tolist()
    return most_frequent(every, shares, math.prod(shape)).reshape(shape)


def plain_gaps(values: NDArray[Any]) -> NDArray[np.float32]:
    """The values as float32 with one NaN for every gap: that of 0 / 0 has a sign bit.

    Not all that writes and reads a file keeps the bits of a NaN, and some compare them.
    """
    values = values.astype(np.float32, copy=False)
    return np.where(np.isnan(values), np.float32("nan"), values)


def pixel_centres(start: float, extent: float, step: float, name: str) -> Floats:
    """The centres start + (i + 0.5) step that lie in [start, start + extent)."""
    if not 0 < step < math.inf:
        raise ValueError(f"{name} is {step:g} degrees; it must be above 0.")
    number = max(1, math.ceil(extent / step - 0.5))
    return np.asarray(start + (np.arange(number) + 0.5) * step)
