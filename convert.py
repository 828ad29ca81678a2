"""Raster to HEALPix cells, and cells to a regular grid.

The value of a cell is the mean, in linear power, of the seen raster pixels whose centres
fall into it.  So, for each band without gaps, the sum over a tile of value x count is the
sum of the seen pixels in its cells.  A pixel is seen when at least one of its bands is
finite and above 0; of a seen pixel every band that is finite and not negative counts.

Projecting 41 million pixels one by one would take 20 s.  But the lines that bound the
cells (see `healpix`) are smooth functions of row and column nearly everywhere, so blocks
of pixels get a polynomial of fourth degree in each direction through 25 projected points,
which is then checked against the projection where such a polynomial errs most.  A block
that misses `TOLERANCE`, or that lies across the seam between belt and caps, is cut into
smaller ones; what is still not good enough at the smallest size is projected pixel by
pixel.

The sums are kept ring by ring, west to east, so neighbouring pixels meet in memory, and
each thread owns the rings of one part of the tile: no locks, and the same bits on
every run.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

import healpix
from cells.raster import Raster, open_raster
from grid import BBox, Tile
from healpix import Floats, Ints, Runs, Slots
from shared import judge
from shared.lattice import RasterError as RasterError  # part of what this room offers

NSIDE = 262144  # HEALPix resolution: level 18, cells of 25 m
ELLIPSOID = "sphere"  # "sphere": latitudes as they are, like healpy; "WGS84": authalic
DLAT = 15e-5  # pixel height of a regular grid, degrees
DLON = 24e-5  # pixel width of a regular grid, degrees

TOLERANCE = 1e-8  # of an interpolated pixel position, in cells
STRIP = 256  # rows of a raster that are read at a time, as many as the back end's blocks have
BLOCKS = ((STRIP, 1024), (STRIP, 256), (64, 64), (16, 16))  # sizes to try, rows x columns
SAMPLED_ROWS = 16  # of a raster of which little is seen: are they decibels?
FEW = 16  # different negative values; so few stand for no data
NSIDE_MAX = 2**29  # ids of finer cells do not fit into 64 bits
WORKERS = min(4, os.cpu_count() or 1)

log = logging.getLogger("cells")


@dataclass(frozen=True)
class Settings:
    """The constants at the top, judged; `settings` makes them when they are used."""

    nside: int
    ellipsoid: str
    dlat: float
    dlon: float


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    nside = judge.whole("NSIDE in convert.py", NSIDE, 1, NSIDE_MAX)
    if nside & (nside - 1):
        raise ValueError(judge.wrong("NSIDE in convert.py", NSIDE, "a power of 2, as 262144"))
    judge.whole("WORKERS in convert.py", WORKERS, 1)
    judge.positive("TOLERANCE in convert.py", TOLERANCE, 1)
    return Settings(
        nside,
        judge.choice("ELLIPSOID in convert.py", ELLIPSOID, healpix.ELLIPSOIDS),
        judge.positive("DLAT in convert.py", DLAT, 90),
        judge.positive("DLON in convert.py", DLON, 180),
    )


def tile_runs(tile: Tile, nside: int | None = None, ellipsoid: str | None = None) -> Runs:
    """The cells of a tile, those whose centre lies in it: start_ipix uint64, run_len uint32."""
    made = settings()
    nside = made.nside if nside is None else nside
    return healpix.box_runs(tile.bbox, nside, ellipsoid or made.ellipsoid)


def raster_to_cells(
    raster: xr.Dataset | str | os.PathLike[str],
    tile: Tile,
    nside: int | None = None,
    ellipsoid: str | None = None,
    bands: Sequence[str] | None = None,
) -> xr.Dataset:
    """The cells of a tile from a raster, given as a dataset or as the path of its file.

    The raster may have any CRS (as text, by CF's parameters, by PROJ's; without one,
    longitudes and latitudes are those of WGS 84), x and y in either direction, any pixel
    size, and cover the tile in part.  ``bands`` are the variables to use; by default all that
    span x and y, in file order.  Of several time steps the earliest is used, the first of
    them if there are several.  Values equal to ``_FillValue`` or ``missing_value`` (or
    netCDF's own where a file names neither) are no data, except 0, which the definition
    above judges; a dataset that xarray has masked gets such zeros back.

    Result: ``<band>(cells)`` float32, the mean in linear power, NaN where no seen pixel
    has a value; ``count(cells)`` uint16, the seen pixels (65535 stands for more);
    ``start_ipix(runs)`` uint64 and ``run_len(runs)`` uint32 as of `tile_runs`.  attrs:
    nside, ellipsoid, ordering, source, and where it applies time (of the step used) and
    holes (a sentence, when the raster is coarser than the cells).
    Raises RasterError for a raster that cannot be used, one in decibels among them.
    """
    made = settings()
    nside, ellipsoid = made.nside if nside is None else nside, ellipsoid or made.ellipsoid
    with open_raster(raster, bands) as source:
        run_start, run_len = tile_runs(tile, nside, ellipsoid)
        slots = healpix.box_slots(tile.bbox, nside, ellipsoid)
        grid = _grid(source, ellipsoid)
        plan = _plan(grid, tile, slots)
        means, count = _average(source, grid, plan, slots, (run_start, run_len))
        if 2 * np.count_nonzero(count) < count.size:
            _require_linear(source)
        if (
            count.size
            and not count.any()
            and not _overlaps(source, grid, plan, slots, (run_start, run_len))
        ):
            raise RasterError(
                f"{source.name}: no pixel of {source.bands[0]} falls into a cell of the tile "
                f"{tile.name}; it is the raster of another place."
            )
        attrs = {"nside": nside, "ellipsoid": ellipsoid, "ordering": "nested"} | source.attrs
        attrs |= _holes(source, grid, nside, count)
    data: dict[str, Any] = {b: ("cells", means[i]) for i, b in enumerate(source.bands)}
    data |= {"count": ("cells", count), "start_ipix": ("runs", run_start)}
    return xr.Dataset(data | {"run_len": ("runs", run_len)}, attrs=attrs)


# ---------------------------------------------------------------------- where pixels are


@dataclass(frozen=True)
class _Grid:
    """From row and column of a raster to longitude and (authalic) latitude in degrees."""

    x: Floats
    y: Floats
    transformer: Transformer
    authalic: bool

    def lonlat(self, rows: NDArray[Any], columns: NDArray[Any]) -> tuple[Floats, Floats]:
        """Of rows and columns, whole or in between; not finite where the CRS has no place."""
        x, y = _between(self.x, columns), _between(self.y, rows)
        lon, lat = self.transformer.transform(x.ravel(), y.ravel())
        if self.authalic:
            with np.errstate(invalid="ignore"):
                lat = healpix.to_authalic(lat)
        return lon.reshape(x.shape), lat.reshape(x.shape)

    @property
    def regular(self) -> bool:
        """Whether x and y advance by equal steps, to a hundred-millionth of a pixel."""
        return all(
            np.abs(axis - np.linspace(axis[0], axis[-1], axis.size)).max()
            <= 1e-8 * abs(axis[-1] - axis[0]) / max(axis.size - 1, 1)
            for axis in (self.x, self.y)
        )


def _between(axis: Floats, index: NDArray[Any]) -> Floats:
    """Coordinates of pixels, by their (fractional) index."""
    low = np.minimum(np.floor(index).astype(int), axis.size - 1)
    high = np.minimum(low + 1, axis.size - 1)
    return np.asarray(axis[low] + (index - low) * (axis[high] - axis[low]))


def _grid(raster: Raster, ellipsoid: str) -> _Grid:
    try:
        crs = CRS.from_user_input(raster.crs)
        transformer = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except ProjError as error:
        raise RasterError(
            f"{raster.name}: PROJ cannot use the CRS {raster.crs[:60]!r} ({error})."
        ) from error
    return _Grid(raster.x, raster.y, transformer, ellipsoid != "sphere")


# Chebyshev's points for a fourth degree, and two more where the error is the largest:
# |t (t^2 - 1/2) (t^2 - 1)| has its maximum at 0.3603.  The two tell the errors along rows
# from those along columns.
_NODES = -np.cos(np.pi * np.arange(5) / 4)
_CHECK = 0.3603
_S = np.concatenate([np.repeat(_NODES, 5), [_CHECK, _CHECK]])
_T = np.concatenate([np.tile(_NODES, 5), [_CHECK, -_CHECK]])
_TO_POWERS = np.linalg.inv(np.vander(_NODES, increasing=True))
_CHECK_S = np.vander(_S[25:], 5, increasing=True)
_CHECK_T = np.vander(_T[25:], 5, increasing=True)


@dataclass
class _Plan:
    """How each pixel of a raster that may lie in the tile finds its cell."""

    blocks: Ints  # (n, 6): first and last row, first and last column, kind, quarter
    polynomials: Floats  # (n, 2, 5, 5)
    origins: Floats  # (n, 2)
    rings: Ints  # (n, 2): first and last ring that it may touch
    single: Ints  # (m, 4): blocks to be projected pixel by pixel
    single_rings: Ints  # (m, 2)


def _plan(grid: _Grid, tile: Tile, slots: Slots) -> _Plan:
    """Blocks of the raster that may touch the tile, each with its polynomials."""
    corners = _cut(np.array([[0, grid.y.size - 1, 0, grid.x.size - 1]]), BLOCKS[0])
    done: list[tuple[NDArray[Any], ...]] = []
    for level, size in enumerate(BLOCKS):
        lon, lat = _nodes(grid, corners, (tile.west + tile.east) / 2)
        near, rings = _near(lon, lat, tile, slots, 1.0)
        corners, lon, lat, rings = corners[near], lon[near], lat[near], rings[near]
        if not grid.regular:
            break
        kind, quarter, polynomials, origins, error = _fit(lon, lat, tile, (1 << slots.level))
        good = error <= TOLERANCE * max(1.0, (1 << slots.level) / 2**20)
        if size in BLOCKS[:2]:
            good &= kind != healpix.MIXED
        near, fine = _near(lon, lat, tile, slots, 0.05)
        keep = good & near
        blocks = np.column_stack([corners, kind, quarter])
        done.append((blocks[keep], polynomials[keep], origins[keep], fine[keep]))
        corners, rings = corners[~good], rings[~good]
        if level + 1 < len(BLOCKS):
            corners = _cut(corners, BLOCKS[level + 1])
    if not done:
        done = [(np.empty((0, 6), int), np.empty((0, 2, 5, 5)), np.empty((0, 2)), rings[:0])]
    blocks, polynomials, origins, fine = (np.concatenate(part) for part in zip(*done, strict=True))
    return _Plan(blocks, polynomials, origins, fine, corners, rings)


def _cut(corners: Ints, size: tuple[int, int]) -> Ints:
    """Blocks cut into blocks of at most so many rows and columns."""
    rows, columns = size
    pieces = [
        (row, min(row + rows - 1, row1), column, min(column + columns - 1, column1))
        for row0, row1, column0, column1 in corners.tolist()
        for row in range(row0, row1 + 1, rows)
        for column in range(column0, column1 + 1, columns)
    ]
    return np.array(pieces, np.int64).reshape(-1, 4)


def _nodes(grid: _Grid, corners: Ints, near: float) -> tuple[Floats, Floats]:
    """Longitude and latitude of 25 + 2 points a block.

    The longitude has no jump inside a block; its middle is within 180 degrees of ``near``.
    """
    row0, row1, column0, column1 = corners.T[:, :, None]
    lon, lat = grid.lonlat(
        row0 + (_S + 1) / 2 * (row1 - row0), column0 + (_T + 1) / 2 * (column1 - column0)
    )
    with np.errstate(invalid="ignore"):
        middle = (lon[:, 12:13] - near + 180) % 360 + near - 180
        return lon - 360 * np.round((lon - middle) / 360), lat


def _near(
    lon: Floats, lat: Floats, tile: Tile, slots: Slots, margin: float
) -> tuple[NDArray[np.bool_], Ints]:
    """Which blocks may touch the tile, and the rings that they may touch.

    The margin is in widths of the block, for what happens between its points.
    """
    known = np.all(np.isfinite(lon) & np.isfinite(lat), axis=1)
    nside = 1 << slots.level
    ring = healpix.rings_at(np.where(np.isfinite(lat), lat, 0), nside)
    low, high = _range(ring, margin, 2.0)
    low, high = np.where(known, low, 0), np.where(known, high, 4 * nside)
    bottom = slots.top + slots.first.size - 1
    near = (high >= slots.top) & (low <= bottom)
    # A cell of the smallest ring that the tile has is the widest.
    size = max(1, min(slots.top, 4 * nside - bottom, nside))
    west, east = _range(np.where(np.isfinite(lon), lon, 0), margin, 180 / size)
    aside = np.ones(len(lon), bool)
    for turn in (-720, -360, 0, 360):
        aside &= (east < tile.west + turn) | (west > tile.east + turn)
    # Near a pole the longitudes of a few points say little about a block.
    sure = known & (east - west < 120) & (np.abs(lat).max(axis=1) < 88)
    return near & ~(aside & sure), np.stack([low, high], axis=1).astype(np.int64)


def _range(values: Floats, margin: float, extra: float) -> tuple[Floats, Floats]:
    low, high = values.min(axis=1), values.max(axis=1)
    more = margin * (high - low) + extra
    return low - more, high + more


def _fit(lon: Floats, lat: Floats, tile: Tile, nside: int) -> tuple[NDArray[Any], ...]:
    """Kind, quarter, polynomials, origins of blocks, and their errors in cells."""
    with np.errstate(invalid="ignore"):
        lon, lat = np.where(np.isfinite(lon), lon, np.nan), np.where(np.abs(lat) <= 90, lat, np.nan)
        t, z = lon / 90, np.sin(np.radians(lat))
        (z0, z1), (t0, t1) = _range(z, 0.02, 1e-9), _range(t, 0.02, 1e-9)
        quarter = np.nan_to_num(np.floor(t[:, 12]))
        whole = (np.floor(t0) == quarter) & (np.floor(t1) == quarter)
        # Only the loop for MIXED blocks counts round the ring.
        narrow = (t1 - t0 < 1) & (tile.size[0] <= 90)
        kind = np.full(len(lon), healpix.MIXED)
        kind[(z0 > -2 / 3) & (z1 < 2 / 3) & narrow] = healpix.BELT
        kind[(z0 > 2 / 3) & whole & narrow] = healpix.NORTH
        kind[(z1 < -2 / 3) & whole & narrow] = healpix.SOUTH
        cap = nside * math.sqrt(6) * np.sin(np.radians(90 - np.abs(lat)) / 2)
        u = t - quarter[:, None]
        kinds = [(kind == k)[:, None] for k in (healpix.BELT, healpix.MIXED)]
        up = np.select(kinds, [nside * (0.5 + t - 0.75 * z), lon], u * cap)
        down = np.select(kinds, [nside * (0.5 + t + 0.75 * z), lat], (1 - u) * cap)
        values = np.stack([up, down], axis=1)
        origins = np.floor(values[:, :, 12])
        values -= origins[:, :, None]
        nodes = values[:, :, :25].reshape(-1, 2, 5, 5)
        polynomials = np.einsum("ia,bkac,jc->bkij", _TO_POWERS, nodes, _TO_POWERS)
        check = np.einsum("pi,bkij,pj->bkp", _CHECK_S, polynomials, _CHECK_T)
        error = np.abs(check - values[:, :, 25:]).max(axis=(1, 2))
        # A degree is at most this many cells.
        error = np.where(kind == healpix.MIXED, error * nside / 45, error)
    return kind, quarter.astype(np.int64), polynomials, origins, np.nan_to_num(error, nan=np.inf)


# ------------------------------------------------------------------------------ averages


def _require_linear(raster: Raster) -> None:
    """Raise RasterError where most values of some rows are negative: those are decibels."""
    rows = range(0, raster.y.size, -(-raster.y.size // SAMPLED_ROWS))
    values = np.concatenate([np.ravel(raster.read(row, row + 1)) for row in rows])
    values = values[np.isfinite(values) & (values != 0)]
    negative = values[values < 0]
    if 2 * negative.size > values.size and np.unique(negative).size > FEW:
        raise RasterError(
            f"{raster.name}: {negative.size / values.size:.0%} of the values are negative: they "
            "look like decibels, and averages need linear power. Nothing was converted."
        )


def _average(
    raster: Raster, grid: _Grid, plan: _Plan, slots: Slots, runs: Runs
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Mean of each band, (band, cell), and count of seen pixels of the cells of the runs."""
    sums = np.zeros((slots.start[-1], len(raster.bands) + 1))
    missing = np.zeros((slots.start[-1], len(raster.bands)), np.int32)
    run_start, run_len = (part.astype(np.int64) for part in runs)
    place = np.concatenate([[0], np.cumsum(run_len)])
    means = np.empty((len(raster.bands), place[-1]), np.float32)
    count = np.empty(place[-1], np.uint16)

    def take(first: int, stop: int) -> None:
        healpix.take_means(
            run_start[first:stop], run_len[first:stop], slots, sums, gaps,
            means[:, place[first] : place[stop]], count[place[first] : place[stop]],
        )  # fmt: skip

    with ThreadPoolExecutor(WORKERS) as pool:
        adding = [
            pool.submit(_add_rings, raster, grid, plan, slots, rings, sums, missing)
            for rings in itertools.pairwise(_shares(plan, slots))
        ]
        partly = sum(job.result() for job in adding)
        gaps = missing if partly else missing[:0]
        # Several shares for each thread: they take unequal times.
        cuts = np.searchsorted(place, np.linspace(0, place[-1], 8 * WORKERS + 1))
        for job in [pool.submit(take, *cut) for cut in itertools.pairwise(cuts.tolist())]:
            job.result()
    return means, count


def _shares(plan: _Plan, slots: Slots) -> list[int]:
    """Rings at which the work is divided, so that each share has about as many pixels."""
    blocks = np.concatenate([plan.blocks[:, :4], plan.single])
    rings = np.concatenate([plan.rings, plan.single_rings]).mean(axis=1)
    pixels = (blocks[:, 1] - blocks[:, 0] + 1) * (blocks[:, 3] - blocks[:, 2] + 1)
    order = np.argsort(rings)
    done = np.cumsum(pixels[order])
    parts = np.arange(1, WORKERS) / WORKERS * (done[-1] if len(done) else 0)
    inner = rings[order][np.searchsorted(done, parts)] if len(done) else np.zeros(len(parts))
    return [0, *inner.astype(int).tolist(), 4 * (1 << slots.level)]


def _add_rings(
    raster: Raster, grid: _Grid, plan: _Plan, slots: Slots, rings: tuple[int, int],
    sums: Floats, missing: NDArray[np.int32],
) -> int:  # fmt: skip
    """Add all pixels that fall into the rings [low, high), strip by strip.

    Returns how many were seen in some bands only.
    """
    partly = 0
    mine = (plan.rings[:, 0] < rings[1]) & (plan.rings[:, 1] >= rings[0])
    blocks, polynomials, origins = plan.blocks[mine], plan.polynomials[mine], plan.origins[mine]
    mine = (plan.single_rings[:, 0] < rings[1]) & (plan.single_rings[:, 1] >= rings[0])
    single = plan.single[mine]
    slots = healpix.cut_slots(slots, *rings)
    for first in range(0, grid.y.size, STRIP):
        here = np.flatnonzero(blocks[:, 0] // STRIP == first // STRIP)
        alone = single[single[:, 0] // STRIP == first // STRIP]
        if len(here) + len(alone) == 0:
            continue
        values = raster.read(first, min(first + STRIP, grid.y.size))
        # In the order of the raster, so that sums do not depend on how blocks were cut.
        here = here[np.lexsort((blocks[here, 2], blocks[here, 0]))]
        more, doubtful = healpix.add_blocks(
            values, first, blocks[here], polynomials[here], origins[here], slots, sums, missing
        )
        partly += more
        for rows, columns in ((doubtful[:, 0], doubtful[:, 1]), *_pixels(alone)):
            lon, lat = grid.lonlat(rows, columns)
            partly += healpix.add_points(
                values, rows - first, columns.copy(), lon, lat, slots, sums, missing
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


def _overlaps(raster: Raster, grid: _Grid, plan: _Plan, slots: Slots, runs: Runs) -> bool:
    """Whether any pixel centre, seen or not, lies in a cell of the runs."""

    def ones(first: int, stop: int) -> NDArray[Any]:
        return np.ones((stop - first, grid.x.size))

    solid = dataclasses.replace(raster, bands=raster.bands[:1], readers=(ones,))
    return bool(_average(solid, grid, plan, slots, runs)[1].any())


def _holes(raster: Raster, grid: _Grid, nside: int, count: NDArray[np.uint16]) -> dict[str, str]:
    """A sentence on cells that no pixel can have reached, if pixels are too large for them."""
    rows, columns = grid.y.size // 2 + np.array([0, 0, 1]), grid.x.size // 2 + np.array([0, 1, 0])
    rows, columns = np.minimum(rows, grid.y.size - 1), np.minimum(columns, grid.x.size - 1)
    lon, lat = np.radians(grid.lonlat(rows, columns))
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
    log.warning("%s: %s.", raster.name, text)
    return {"holes": text}


# -------------------------------------------------------------------------- regular grid


METHODS = ("nearest", "bilinear", "mean")


def cells_to_grid(
    cells: xr.Dataset,
    bbox: BBox,
    dlat: float | None = None,
    dlon: float | None = None,
    method: str = "nearest",
) -> xr.Dataset:
    """Cells on a regular grid of longitude and latitude.

    ``cells`` may hold any sorted runs: a tile, a cropped box, several tiles merged.
    method "nearest": the value of the cell that contains the pixel centre, NaN where
    there is none.  "bilinear": HEALPix's interpolation between the four neighbours on the
    two rings around the centre (Gorski et al.'s get_interpol); where some of them have no
    value the others share their weight, and what is a gap by "nearest" stays one.  "mean":
    the mean of the cells whose centres lie in the pixel, weighted by ``count``, or by
    ``<band>_count`` where that is there; a pixel without a centre is as by "nearest".

    Result: ``<band>(lat, lon)`` float32; ``lat`` ascending, centres at
    south + (i + 0.5) dlat, and ``lon`` at west + (j + 0.5) dlon, as many as have their
    centre in the box (at least one).  East of 180 degrees ``lon`` goes on counting.
    """
    frame = Frame(bbox, *pixel_size(dlat, dlon))
    out = grid_values(cells, frame, slice(0, frame.lat.size), slice(0, frame.lon.size), method)
    names = grid_bands(cells)
    data = {band: (("lat", "lon"), out[i], cells[band].attrs) for i, band in enumerate(names)}
    return xr.Dataset(
        data,
        coords={
            "lat": ("lat", frame.lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "lon": ("lon", frame.lon, {"standard_name": "longitude", "units": "degrees_east"}),
        },
        attrs=cells.attrs,
    )


def pixel_size(dlat: float | None, dlon: float | None) -> tuple[float, float]:
    """The height and width that were asked for, else the constants."""
    made = settings()
    return made.dlat if dlat is None else dlat, made.dlon if dlon is None else dlon


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


def grid_bands(cells: xr.Dataset) -> list[str]:
    """The variables of cells that are bands, not counts."""
    names = [str(key) for key in cells.data_vars if cells[key].dims == ("cells",)]
    return [name for name in names if name != "count" and not name.endswith("_count")]


def grid_values(
    cells: xr.Dataset,
    frame: Frame,
    rows: slice,
    columns: slice,
    method: str,
    workers: int | None = None,
) -> NDArray[np.float32]:
    """Some rows and columns of a grid, (band, row, column), as of `cells_to_grid`.

    They are the same whichever part of the grid is asked for.  Cells around it must be
    there: for "mean" those with their centre in a pixel, else those around its centre.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    names = grid_bands(cells)
    if method == "mean":
        means = Means(frame, rows, columns, names)
        means.add(cells)
        return means.values()
    values = np.stack([cells[band].values for band in names]).astype(np.float32, copy=False)
    threads = workers or WORKERS
    return plain_gaps(_at_centres(cells, values, frame, rows, columns, method, threads))


def _at_centres(
    cells: xr.Dataset,
    values: NDArray[np.float32],
    frame: Frame,
    rows: slice,
    columns: slice,
    method: str,
    workers: int,
) -> NDArray[np.float32]:
    """Values (n, cell) at the pixel centres, (n, row, column)."""
    lat, lon = frame.lat[rows], frame.lon[columns]
    index = healpix.index_runs(cells["start_ipix"].values, cells["run_len"].values)
    level = healpix.level_of(cells.attrs["nside"])
    lat = healpix.to_authalic(lat) if cells.attrs["ellipsoid"] == "WGS84" else lat
    out = np.empty((len(values), lat.size, lon.size), np.float32)
    fill = healpix.interpolate if method == "bilinear" else healpix.look_up

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
        self._parts: list[xr.Dataset] = []

    def add(self, cells: xr.Dataset) -> None:
        """Take a part into account."""
        nside, frame = cells.attrs["nside"], self.frame
        values, weights = self._values(cells)
        top, row_of = healpix.ring_rows(
            frame.bbox.south, frame.dlat, self.rows, nside, cells.attrs["ellipsoid"]
        )
        healpix.add_to_pixels(
            cells["start_ipix"].values.astype(np.int64), cells["run_len"].values.astype(np.int64),
            healpix.level_of(nside), top, row_of,
            frame.bbox.west, frame.dlon, self.columns.start,
            values, weights, self._sums,
        )  # fmt: skip
        self._parts.append(cells)

    def values(self) -> NDArray[np.float32]:
        """The means, (band, row, column); NaN where no cell has a value."""
        empty = self._sums[..., -1] == 0
        if empty.any():
            for part in self._parts:
                value, weight = self._nearest(part)
                self._sums[empty, 0:-1:2] += (value * weight)[empty]
                self._sums[empty, 1::2] += weight[empty]
        with np.errstate(invalid="ignore"):
            means = self._sums[..., 0:-1:2] / self._sums[..., 1::2]
        return plain_gaps(np.moveaxis(means, -1, 0).astype(np.float32))

    def _values(self, cells: xr.Dataset) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Values (band, cell) and weights (band, cell), or (1, cell) where all are the same."""
        values = np.stack([cells[band].values for band in self.bands])
        weights = [cells["count"].values]
        if any(f"{band}_count" in cells for band in self.bands):
            weights = [cells.get(f"{band}_count", cells["count"]).values for band in self.bands]
        return values.astype(np.float32, copy=False), np.stack(weights)

    def _nearest(self, cells: xr.Dataset) -> tuple[Floats, Floats]:
        """Value and weight, (row, column, band), of the cells around the pixel centres."""
        values, weights = self._values(cells)
        both = np.concatenate([values, np.broadcast_to(weights, values.shape).astype(np.float32)])
        found = _at_centres(cells, both, self.frame, self.rows, self.columns, "nearest", 1)
        value, weight = np.split(np.moveaxis(found.astype(float), 0, -1), 2, axis=-1)
        seen = np.isfinite(value) & (weight > 0)
        return np.where(seen, value, 0), np.where(seen, weight, 0)


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
