"""Raster to HEALPix cells: the mean of the pixels whose centres fall into each.

The value of a cell is the mean, in linear power or in the units of a band, of the seen raster
pixels whose centres fall into it.  So, for each band without gaps, the sum over a tile of value
x count is the sum of the seen pixels in its cells.  Of power a pixel is seen when at least one
of its bands is finite and above 0, and of a seen pixel every band that is finite and not negative
counts.  Of anything else every finite value counts, and of classes a cell has the most frequent,
likewise of angles that hold for a whole product, where anything else was seen.

The sums are kept ring by ring, west to east, so neighbouring pixels meet in memory, and
each thread owns the rings of one part of the tile: no locks, and the same bits on
every run, whatever the number of threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from cells.blocks import Rows
from cells.projection import BLOCKS, STRIP, Fits, Projection, fits_of, projection_of
from cells.raster import Choice, Given, Parts, Raster, open_rasters
from grid import Tile
from healpix.arrays import Floats, Ints, Runs
from healpix.boxes import box_runs
from healpix.means import take_means
from healpix.slots import Slots, box_slots, cut_slots
from healpix.sums import add_blocks, add_points
from shared.classes import MOST, most_frequent
from shared.collection import attributes_of
from shared.counts import count_of
from shared.errors import RasterError

SAMPLED_ROWS = 16  # of a raster of which little is seen: are they decibels?
FEW = 16  # different negative values; so few stand for no data

log = logging.getLogger("cells")


def raster_to_cells(
    rasters: Sequence[Given | Parts],
    tile: Tile,
    nside: int,
    ellipsoid: str,
    choice: Choice,
    workers: int,
) -> xr.Dataset:
    """The cells of a tile from rasters, as `convert.raster_to_cells` has it."""
    slots = box_slots(tile.bbox, nside, ellipsoid)
    runs = box_runs(tile.bbox, nside, ellipsoid)
    with contextlib.ExitStack() as stack:
        works = []
        opened = [stack.enter_context(open_rasters(raster, choice)) for raster in rasters]
        for source in itertools.chain.from_iterable(opened):
            projection = projection_of(source, ellipsoid)
            fits = fits_of(projection, tile, slots)
            works.append(_Work(source, projection, fits, slots, runs, workers))
        sources = [work.raster for work in works]
        _require_same_bands(sources)
        bands = sources[0].bands
        seen_by = choice.product.seen_by(bands)
        means, count, counts = _average([_of_bands(work, seen_by) for work in works])
        values = dict(zip(seen_by, means, strict=True))
        for band in choice.product.classes(bands):
            values[band] = _classes([_of_bands(work, (band,)) for work in works])
            if band not in seen_by:
                values[band][count == 0] = np.nan
        for source in sources:
            if choice.decibels:
                _require_decibels(source)
            elif choice.product.is_power and (
                len(sources) > 1 or 2 * np.count_nonzero(count) < count.size
            ):
                _require_linear(source)
        if count.size and not count.any() and not any(map(_overlaps, works)):
            raise RasterError(
                f"{sources[0].name}: no pixel of {sources[0].bands[0]} falls into a cell of the "
                f"tile {tile.name}; it is the raster of another place."
            )
        attrs = {"nside": nside, "ellipsoid": ellipsoid, "ordering": "nested"}
        attrs |= attributes_of(choice.product)
        for key in ("source", "time"):
            said = [source.attrs[key] for source in sources if key in source.attrs]
            attrs |= {key: "; ".join(dict.fromkeys(filter(None, said)))} if said else {}
        for work in works:
            attrs |= _holes(work, nside, count)
    data: dict[str, Any] = {band: ("cells", values[band]) for band in bands}
    data |= {
        count_of(band): ("cells", counts[i])
        for i, band in enumerate(seen_by[: len(counts)])
        if not np.array_equal(counts[i], count)
    }
    data |= {"count": ("cells", count), "start_ipix": ("runs", runs[0])}
    return xr.Dataset(data | {"run_len": ("runs", runs[1])}, attrs=attrs)


@dataclass(frozen=True)
class _Work:
    """A raster, where its pixels are, and the cells that they are averaged in."""

    raster: Raster
    projection: Projection
    fits: Fits
    slots: Slots
    runs: Runs
    workers: int


def _require_same_bands(rasters: Sequence[Raster]) -> None:
    for raster in rasters:
        if raster.bands != rasters[0].bands:
            raise RasterError(
                f"{raster.name}: it has the bands {', '.join(raster.bands)}, but "
                f"{rasters[0].name} has {', '.join(rasters[0].bands)}; say which are wanted."
            )


def _sampled(raster: Raster) -> NDArray[Any]:
    """The values of some rows as they are read, but those of no data."""
    rows = range(0, raster.y.size, -(-raster.y.size // SAMPLED_ROWS))
    parts = [np.ravel(part) for row in rows for part in raster.read_raw(row, row + 1)]
    values = np.concatenate([part.astype(float) for part in parts])
    return np.asarray(values[np.isfinite(values) & (values != 0)])


def _require_decibels(raster: Raster) -> None:
    """Raise RasterError where what is said to be decibels has no negative value."""
    values = _sampled(raster)
    if values.size and not (values < 0).any():
        raise RasterError(
            f"{raster.name}: no value is negative: they look like linear power, not like "
            "decibels (--decibels). Nothing was converted."
        )


def _require_linear(raster: Raster) -> None:
    """Raise RasterError where most values of some rows are negative: those are decibels."""
    values = _sampled(raster)
    negative = values[values < 0]
    if 2 * negative.size > values.size and np.unique(negative).size > FEW:
        raise RasterError(
            f"{raster.name}: {negative.size / values.size:.0%} of the values are negative: they "
            "look like decibels, and averages need linear power. Nothing was converted. If they "
            "are, say so (--decibels), and they are turned into power first."
        )


def _average(
    works: Sequence[_Work],
) -> tuple[NDArray[np.float32], NDArray[np.uint16], NDArray[np.uint16]]:
    """Mean of each band, (band, cell), and count of seen pixels of the cells of the runs.

    And, if some were seen in some bands only, the count of those with a value, (band, cell).
    """
    bands, slots, workers = len(works[0].raster.bands), works[0].slots, works[0].workers
    sums = np.zeros((slots.start[-1], bands + 1))
    missing = np.zeros((slots.start[-1], bands), np.int32)
    run_start, run_len = (part.astype(np.int64) for part in works[0].runs)
    place = np.concatenate([[0], np.cumsum(run_len)])
    means = np.empty((bands, place[-1]), np.float32)
    count = np.empty(place[-1], np.uint16)
    known = list(map(works[0].raster.product.band, works[0].raster.bands))
    scaling = np.array([(band.scale, band.offset) for band in known])
    scaling = scaling[:0] if all(pair == [1, 0] for pair in scaling.tolist()) else scaling

    def take(first: int, stop: int) -> None:
        take_means(
            run_start[first:stop], run_len[first:stop], slots, sums, gaps, scaling,
            means[:, place[first] : place[stop]], count[place[first] : place[stop]],
            counts[:, place[first] : place[stop]],
        )  # fmt: skip

    with ThreadPoolExecutor(workers) as pool:
        partly = 0
        for work in works:  # one after the other, as they add to the same sums
            adding = [
                pool.submit(_add_rings, work, rings, sums, missing)
                for rings in itertools.pairwise(_shares(work))
            ]
            partly += sum(job.result() for job in adding)
        gaps = missing if partly else missing[:0]
        counts = np.empty(means.shape if partly else (0, 0), np.uint16)
        # Several shares for each thread: they take unequal times.
        cuts = np.searchsorted(place, np.linspace(0, place[-1], 8 * workers + 1))
        for job in [pool.submit(take, *cut) for cut in itertools.pairwise(cuts.tolist())]:
            job.result()
    return means, count, counts


def _of_bands(work: _Work, names: Sequence[str]) -> _Work:
    """The same of some of the bands."""
    raster = work.raster
    if tuple(names) == raster.bands:
        return work
    readers = tuple(raster.readers[raster.bands.index(name)] for name in names)
    alone = dataclasses.replace(raster, bands=tuple(names), readers=readers)
    return dataclasses.replace(work, raster=alone)


def _classes(works: Sequence[_Work]) -> NDArray[np.float32]:
    """The most frequent class of each cell, of rasters whose one band holds classes."""
    (band,), size = works[0].raster.bands, int(works[0].runs[1].sum())
    every: set[float] = set()
    for work in works:
        for values in _strips(work.raster):
            every.update(np.unique(values[np.isfinite(values)]).tolist())
            if len(every) > MOST:
                raise RasterError(
                    f"{work.raster.name}: {band} has more than {MOST} different values, so these "
                    "are neither classes nor angles of products. Nothing was converted."
                )

    def shares(some: Sequence[float]) -> Sequence[NDArray[Any]]:
        return list(_average([_with_classes(work, some) for work in works])[0])

    return most_frequent(every, shares, size)


def _strips(raster: Raster) -> Iterator[NDArray[Any]]:
    """The values of its one band, strip by strip."""
    for first in range(0, raster.y.size, STRIP):
        yield raster.read_raw(first, min(first + STRIP, raster.y.size))[0].astype(np.float32)


def _with_classes(work: _Work, classes: Sequence[float]) -> _Work:
    """The work with a band for each class: 1 where it is, 0 where another one is."""
    raster = work.raster

    def reader(value: float) -> Rows:
        def read(first: int, stop: int) -> NDArray[Any]:
            (values,) = raster.read_raw(first, stop)
            return np.where(np.isfinite(values), values.astype(np.float32) == value, np.nan)

        return read

    bands = tuple(f"{raster.bands[0]} = {value:g}" for value in classes)
    readers = tuple(map(reader, classes))
    return dataclasses.replace(
        work, raster=dataclasses.replace(raster, bands=bands, readers=readers)
    )


def _shares(work: _Work) -> list[int]:
    """Rings at which the work is divided, so that each share has about as many pixels."""
    fits, workers = work.fits, work.workers
    blocks = np.concatenate([fits.blocks[:, :4], fits.single])
    rings = np.concatenate([fits.rings, fits.single_rings]).mean(axis=1)
    pixels = (blocks[:, 1] - blocks[:, 0] + 1) * (blocks[:, 3] - blocks[:, 2] + 1)
    order = np.argsort(rings)
    done = np.cumsum(pixels[order])
    parts = np.arange(1, workers) / workers * (done[-1] if len(done) else 0)
    inner = rings[order][np.searchsorted(done, parts)] if len(done) else np.zeros(len(parts))
    return [0, *inner.astype(int).tolist(), 4 * (1 << work.slots.level)]


def _add_rings(
    work: _Work, rings: tuple[int, int], sums: Floats, missing: NDArray[np.int32]
) -> int:
    """Add all pixels that fall into the rings [low, high), strip by strip.

    Returns how many were seen in some bands only.
    """
    fits, height, partly = work.fits, work.projection.y.size, 0
    mine = (fits.rings[:, 0] < rings[1]) & (fits.rings[:, 1] >= rings[0])
    blocks, polynomials, origins = fits.blocks[mine], fits.polynomials[mine], fits.origins[mine]
    mine = (fits.single_rings[:, 0] < rings[1]) & (fits.single_rings[:, 1] >= rings[0])
    single = fits.single[mine]
    slots = cut_slots(work.slots, *rings)
    finite = not work.raster.product.is_power
    for first in range(0, height, STRIP):
        here = np.flatnonzero(blocks[:, 0] // STRIP == first // STRIP)
        alone = single[single[:, 0] // STRIP == first // STRIP]
        if len(here) + len(alone) == 0:
            continue
        values = work.raster.read(first, min(first + STRIP, height))
        # In the order of the raster, so that sums do not depend on how blocks were cut.
        here = here[np.lexsort((blocks[here, 2], blocks[here, 0]))]
        more, doubtful = add_blocks(
            values,
            first,
            blocks[here],
            polynomials[here],
            origins[here],
            slots,
            sums,
            missing,
            finite,
        )
        partly += more
        for rows, columns in ((doubtful[:, 0], doubtful[:, 1]), *_pixels(alone)):
            lon, lat = work.projection.lonlat(rows, columns)
            partly += add_points(
                values, rows - first, columns.copy(), lon, lat, slots, sums, missing, finite
            )
    return partly


def _pixels(corners: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Rows and columns of the pixels of blocks, some 65,536 at a time."""
    parts = max(1, len(corners) * math.prod(BLOCKS[-1]) // 65536)
    for some in np.array_split(corners, parts):
        grids = [np.mgrid[a : b + 1, c : d + 1].reshape(2, -1) for a, b, c, d in some.tolist()]
        if grids:
            rows, columns = np.concatenate(grids, axis=1)
            yield rows, columns


def _overlaps(work: _Work) -> bool:
    """Whether any pixel centre, seen or not, lies in a cell of the runs."""

    def ones(first: int, stop: int) -> NDArray[Any]:
        return np.ones((stop - first, work.projection.x.size))

    solid = dataclasses.replace(
        work.raster, bands=work.raster.bands[:1], readers=(ones,), decibels=False
    )
    return bool(_average([dataclasses.replace(work, raster=solid)])[1].any())


def _holes(work: _Work, nside: int, count: NDArray[np.uint16]) -> dict[str, str]:
    """A sentence on cells that no pixel can have reached, if pixels are too large for them."""
    projection = work.projection
    height, width = projection.y.size, projection.x.size
    rows, columns = height // 2 + np.array([0, 0, 1]), width // 2 + np.array([0, 1, 0])
    rows, columns = np.minimum(rows, height - 1), np.minimum(columns, width - 1)
    lon, lat = np.radians(projection.lonlat(rows, columns))
    points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    pixel = float(np.linalg.norm(np.cross(points[1] - points[0], points[2] - points[0])))
    cell = math.pi / 3 / nside**2
    # A square cell meets every square lattice that is finer than half its area.
    if count.size == 0 or not pixel > cell / 2:
        return {}
    share = (count == 0).mean()
    text = (
        f"a raster pixel has {pixel / cell:.2g} times the area of a cell, "
        f"so cells between pixel centres stay empty; {share:.1%} of the tile is empty"
    )
    log.warning("%s: %s.", work.raster.name, text, extra={"once": "holes"})
    return {"holes": text}
