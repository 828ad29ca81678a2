"""From the records of images to blocks of a grid, each read by itself.

The tiles partition the sphere, so the cells of a box are the union of what its tiles hold
of it: merging sorts runs and copies, and no seam can appear.  Only cells that two parts
share are averaged, by their counts: those of two records of a tile, and those of an
overview that lie on the border of two tiles.

A grid that is finer than the cells shows single cells.  A pixel of a coarser one is the
mean of the cells in it, by their counts, so that no speckle and no field is aliased:

    value of a pixel = sum(count x value) / sum(count)   over the cells with their centre in it

taken from the coarsest overview whose cells are at most half a pixel wide, so what is
read goes with the pixels, not with the area.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import convert
import healpix
from archive.shards import one_of_many
from convert import Frame
from grid import BBox, Chunk, wrap
from images.records import Image

if TYPE_CHECKING:
    from archive.snapshot import View

BLOCK = 2048  # pixels, the largest side of a block
BLOCK_CELLS = 8_000_000  # cells, about the most that are read for a block
MARGIN = 3.0  # mean cell widths that are read beyond a block

AT_ONCE = 16  # records that are read at the same time from an archive far away

Block = NDArray[np.float32]  # (band, row, column)
Wish = tuple["View", Chunk, BBox, int, tuple[str, ...]]  # with level and names of variables


@dataclass(frozen=True)
class Cube:
    """Images on a grid, (time, band, lat, lon): what it takes to read any block of them.

    It can be sent to another process.  What it reads stays the same while others write.
    """

    views: tuple[View, ...]
    images: tuple[Image, ...]
    bands: tuple[str, ...]
    frame: Frame
    nside: int
    method: str  # for a grid that is finer than the cells: "nearest" or "bilinear"

    @cached_property
    def averages(self) -> bool:
        """Whether pixels are larger than cells, so that a pixel is the mean of its cells."""
        box, cell = self.frame.bbox, cell_width(self.nside)
        across = self.frame.dlon * _narrowing(box.south, box.north, widest=True)
        return self.frame.dlat * across > cell**2 or max(self.frame.dlat, across) > 2 * cell

    @cached_property
    def side(self) -> int:
        """Pixels, the side of a block: a power of 2, smaller where pixels hold many cells."""
        if not self.averages:
            return BLOCK
        level = self.level(slice(0, self.frame.lat.size))
        box = self.frame.bbox
        across = self.frame.dlon * _narrowing(box.south, box.north, widest=True)
        cells = self.frame.dlat * across / cell_width(1 << level) ** 2
        most = math.sqrt(BLOCK_CELLS / cells)
        return int(min(BLOCK, max(64, 2 ** math.floor(math.log2(most)))))

    @property
    def chunks(self) -> tuple[tuple[int, ...], ...]:
        """The blocks, as dask counts them: (time, band, lat, lon)."""
        rows, columns = (
            tuple(min(self.side, size - first) for first in range(0, size, self.side))
            for size in (self.frame.lat.size, self.frame.lon.size)
        )
        return (1,) * len(self.images), (len(self.bands),), rows, columns

    def level(self, rows: slice) -> int:
        """The HEALPix level that rows of an averaged grid want: cells of half a pixel or less."""
        box, dlat = self.frame.bbox, self.frame.dlat
        south, north = box.south + rows.start * dlat, box.south + rows.stop * dlat
        spacing = min(dlat, self.frame.dlon * _narrowing(south, north, widest=False))
        level = math.ceil(math.log2(cell_width(1) / (spacing / 2))) if spacing > 0 else 99
        return min(max(level, 0), healpix.level_of(self.nside))

    def read(self, time: int, rows: slice, columns: slice) -> Block:
        """One block of one image."""
        image, reach = self.images[time], self._box(rows, columns)
        if not self.averages:
            return self._read_points(image, padded(reach, self.nside), rows, columns)
        level, names = self.level(rows), (*self.bands, "count")
        means = convert.Means(self.frame, rows, columns, self.bands)
        wishes = []
        for view, chunk in self._near(image, padded(reach, 1 << level)):
            there = min(has for has in view.levels(chunk) if has >= level)
            wishes.append((view, chunk, padded(reach, 1 << there), there, names))
        for part in read_all(wishes):
            means.add(part)
        return means.values()

    def _read_points(self, image: Image, reach: BBox, rows: slice, columns: slice) -> Block:
        near = list(self._near(image, reach))
        mixed = len({view.tile for view, _ in near}) < len(near)
        names = (*self.bands, "count") if mixed else self.bands
        level = healpix.level_of(self.nside)
        parts = list(read_all([(view, chunk, reach, level, names) for view, chunk in near]))
        if not parts:
            shape = self.frame.lat[rows].size, self.frame.lon[columns].size
            return np.full((len(self.bands), *shape), np.nan, np.float32)
        return convert.grid_values(merge(parts), self.frame, rows, columns, self.method, workers=1)

    def _near(self, image: Image, reach: BBox) -> Iterator[tuple[View, Chunk]]:
        """The records of an image that may have cells in a box."""
        views = {view.tile: view for view in self.views}
        for chunk in image.chunks:
            if chunk.tile.bbox.intersects(reach):
                yield views[chunk.tile], chunk

    def _box(self, rows: slice, columns: slice) -> BBox:
        """The pixels of a block."""
        box, dlat, dlon = self.frame.bbox, self.frame.dlat, self.frame.dlon
        south, north = box.south + rows.start * dlat, box.south + rows.stop * dlat
        west, width = box.west + columns.start * dlon, (columns.stop - columns.start) * dlon
        return _box(west, max(-90.0, south), width, min(90.0, north))


def read_all(wishes: Sequence[Wish]) -> Iterator[xr.Dataset]:
    """What is to be read, in its order; from far away all at once, else one after the other."""
    if len(wishes) < 2 or not wishes[0][0].is_far:
        yield from (_read(wish) for wish in wishes)
        return
    with ThreadPoolExecutor(min(len(wishes), AT_ONCE)) as pool:
        yield from pool.map(_read, wishes)


def _read(wish: Wish) -> xr.Dataset:
    view, chunk, reach, level, names = wish
    return view.read(chunk, reach, level, names)


def block_of(cube: Cube, block_id: tuple[int, int, int, int]) -> Any:
    """A block (1, band, lat, lon) by its number along each dimension, as dask asks for it."""
    time, _, i, j = block_id
    height, width = cube.frame.lat.size, cube.frame.lon.size
    rows = slice(i * cube.side, min((i + 1) * cube.side, height))
    columns = slice(j * cube.side, min((j + 1) * cube.side, width))
    with one_of_many():
        return cube.read(time, rows, columns)[np.newaxis]


def merge(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One set of cells from one or more, ids ascending; cells in common are averaged.

    Parts hold ``<band>(cells)``, ``count(cells)`` and, where it differs from it,
    ``<band>_count(cells)``, and the runs.  A cell that several have gets the mean of their
    values, weighted by their counts, and the sum of their counts (of uint16, at most
    65535).  ``count`` may be missing if no cell is in common.
    """
    if len(parts) == 1:
        return parts[0]
    start = np.concatenate([part["start_ipix"].values for part in parts]).astype(np.int64)
    length = np.concatenate([part["run_len"].values for part in parts]).astype(np.int64)
    joined, place, shared = _united(start, length)
    runs = np.cumsum([0] + [part.sizes["runs"] for part in parts])
    total = int(joined[1].sum())
    values: dict[str, Any] = {}
    for name in _cell_variables(parts):
        out = np.empty(total, _of(parts[0], name).dtype)
        for part, low, high in zip(parts, runs[:-1], runs[1:], strict=True):
            healpix.copy_runs(_of(part, name).values, length[low:high], place[low:high], out)
        values[name] = ("cells", out)
    merged = xr.Dataset(values)
    if shared.size:
        _average_shared(merged, parts, shared, healpix.index_runs(*joined))
    merged["start_ipix"] = ("runs", joined[0].astype(np.uint64))
    merged["run_len"] = ("runs", joined[1].astype(np.uint32))
    sources = dict.fromkeys(part.attrs["source"] for part in parts)
    merged.attrs = {**parts[0].attrs, "source": "; ".join(filter(None, sources))}
    return merged


def _cell_variables(parts: Sequence[xr.Dataset]) -> list[str]:
    """Every variable of cells that one of the parts has."""
    names = [str(n) for part in parts for n in part.data_vars if part[n].dims == ("cells",)]
    return list(dict.fromkeys(names))


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
    shared = healpix.runs_to_ids(low[twice], (high - low)[twice])
    return (begins, ends - begins), place, np.unique(shared)


def _average_shared(
    merged: xr.Dataset,
    parts: Sequence[xr.Dataset],
    shared: NDArray[np.uint64],
    index: healpix.RunIndex,
) -> None:
    """Have the cells that several parts hold be the means of these, by their counts."""
    here = healpix.find_places(shared, index)
    places = [
        healpix.find_places(
            shared, healpix.index_runs(part["start_ipix"].values, part["run_len"].values)
        )
        for part in parts
    ]
    for name in [str(name) for name in merged.data_vars]:
        sums, weights = np.zeros((2, len(shared)))
        is_band = name in convert.grid_bands(merged)
        for part, there in zip(parts, places, strict=True):
            has, at = there >= 0, there[there >= 0]
            value = _of(part, name).values[at].astype(float)
            if is_band:
                weight = _of(part, f"{name}_count").values[at] * np.isfinite(value)
                sums[has] += weight * np.nan_to_num(value)
                weights[has] += weight
            else:
                sums[has] += value
        out = merged[name].values
        if is_band:
            with np.errstate(invalid="ignore"):
                out[here] = sums / weights
        else:
            out[here] = np.minimum(sums, np.iinfo(out.dtype).max)


def cell_width(nside: int) -> float:
    """The mean width of a cell, the root of its area, in degrees of a great circle."""
    return math.degrees(math.sqrt(math.pi / 3) / nside)


def padded(bbox: BBox, nside: int) -> BBox:
    """The box with the cells around it: `MARGIN` mean cell widths to every side."""
    margin = MARGIN * cell_width(nside)
    south, north = max(-90.0, bbox.south - margin), min(90.0, bbox.north + margin)
    sideways = margin / max(_narrowing(south, north, widest=False), 1e-9)
    return _box(bbox.west - sideways, south, bbox.width + 2 * sideways, north)


def _box(west: float, south: float, width: float, north: float) -> BBox:
    if width >= 360:
        return BBox(-180.0, south, 180.0, north)
    west = wrap(west)
    east = west + width
    return BBox(west, south, east if east <= 180 else east - 360, north)


def _narrowing(south: float, north: float, widest: bool) -> float:
    """The cosine of the latitude, at its most or at its least between two latitudes."""
    if widest:
        return 1.0 if south <= 0 <= north else math.cos(math.radians(min(abs(south), abs(north))))
    return max(0.0, math.cos(math.radians(min(90.0, max(abs(south), abs(north))))))
