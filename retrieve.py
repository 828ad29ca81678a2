"""From the archive back to a box: select, merge, crop, put on a regular grid, describe.

`open` gives any box and any days as a lazy dataset on dask arrays, a block for each image
and each part of the grid; nothing is read before it is computed, and then each block reads
just the inner chunks of the records that it touches (`mosaic`).  `retrieve` is the same for
one day, computed.  Which records make up an image is decided in `images`.  NSIDE and
ellipsoid are those of the archive.

The rooms that look at the result, `figure`, `series` and `export`, load matplotlib and
rasterio when they are called; their functions can be had from here.
"""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import healpix
from convert import Frame, pixel_size
from grid import ORBITS, BBox, Chunk, Tile
from images.blocks import Cube, block_of, merge, padded, read_all
from images.export import export, georeferenced, has_pixels, save_figure
from images.figure import plot_ranges, show
from images.records import Image, NoData, newest, on_days, views_of, with_border
from images.series import animate, plot, plot_line, statistics
from images.tile_map import coverage_map
from shared import judge
from shared.compute import Portable

if TYPE_CHECKING:
    from archive.schema import Layout
    from archive.snapshot import View
    from store import Archive

MEMORY_MAX = 2_000_000_000  # bytes that the bands of a grid in memory may take
PICTURE_MAX = 4000  # pixels, what a side of a grid stays under if no pixel size is asked for
SERIES_MAX = 600  # pixels, as above, of pictures that show several days
CELLS_COUNTED = 5000  # cells of a box, at least, of which the share that was seen is counted
CELLS_READ = 1_000_000  # cells of a box, at most, that are read for that where there is no overview

METHODS = ("nearest", "bilinear")
ORBIT_FLAGS = {
    "long_name": "orbit direction",
    "flag_values": np.arange(len(ORBITS) + 1, dtype=np.int8),
    "flag_meanings": " ".join((*ORBITS, "mixed")),
}
SEVERAL = ("relative_orbits", "platforms", "acquired")  # of a record, as the catalogue has them
MEASURED = "contains modified Copernicus Sentinel data {year}"
SYNTHETIC = "synthetic data (sandbox), not a measurement"

__all__ = [
    "Coverage", "NoData", "animate", "coverage_map", "days", "export", "has_pixels", "merge",
    "nothing_seen", "open", "padded",
    "plot", "plot_line", "plot_ranges", "retrieve", "save_figure", "select", "show", "spacing",
    "statistics",
]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """The constants at the top, judged; `settings` makes them when they are used."""

    memory_max: int
    picture_max: int
    series_max: int


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    return Settings(
        judge.whole("MEMORY_MAX in retrieve.py", MEMORY_MAX, 1),
        judge.whole("PICTURE_MAX in retrieve.py", PICTURE_MAX, 2),
        judge.whole("SERIES_MAX in retrieve.py", SERIES_MAX, 2),
    )


@dataclass(frozen=True)
class Coverage:
    """What the archive has of a box on one day."""

    day: dt.date
    orbit: str
    share: float | None  # of the area of the box, above 0 and up to 1; None: not known


def select(archive: Archive, bbox: BBox, day: dt.date, orbit: str | None = None) -> xr.Dataset:
    """The cells of a day whose centres are in the half-open box, of all tiles, merged.

    Returns ``<band>(cells)`` float32, ``count(cells)`` uint16, ``start_ipix(runs)``
    uint64, ``run_len(runs)`` uint32.  Tiles without a record are left out.  ``orbit`` as of
    `open`.  Raises NoData, or ValueError when the orbit has to be named.
    """
    layout = _layout(archive)
    views = {view.tile: view for view in views_of(archive, bbox)}
    (image,) = on_days(archive, list(views.values()), bbox, day, day, orbit)
    level, names = layout.level, (*layout.bands, "count")
    wishes = [(views[chunk.tile], chunk, bbox, level, names) for chunk in image.chunks]
    return merge(list(read_all(wishes)))


def open(  # the name that the house gives it
    archive: Archive,
    bbox: BBox,
    start: dt.date,
    end: dt.date | None = None,
    bands: Sequence[str] | None = None,
    dlat: float | None = None,
    dlon: float | None = None,
    method: str = "nearest",
    orbit: str | None = None,
    as_of: int | None = None,
) -> xr.Dataset:
    """The images of a box from start to end, both included, on a regular grid; lazy.

    ``<band>(time, lat, lon)`` float32, linear power, NaN for gaps, on dask arrays, which
    `engine` or any scheduler of dask computes; ``time`` ascends, one step for each day with
    a record.  Pixel centres are at ``south + (i + 0.5) * dlat`` and ``west + (j + 0.5) *
    dlon``, in degrees; across 180 degrees the longitudes go on beyond 180.

    ``method`` "nearest" or "bilinear", as of `convert.cells_to_grid`, is for a grid that is
    finer than the cells; a pixel of a coarser one is the mean of its cells, by their counts.
    ``orbit`` "ascending" or "descending": passes of this direction alone.  "any": the record
    of all passes of a tile, else both directions, averaged by their counts.  None: as "any",
    but ValueError where directions would be mixed.  ``as_of`` N: instead of the days, one
    image for ``start`` of each tile's newest record that is at most N days older.

    The attributes say where the data came from.  Raises NoData, and ValueError for an
    unknown band or method or for a grid without a pixel.
    """
    import dask.array

    layout = _layout(archive)
    bands = _bands(layout, bands)
    dlat, dlon = pixel_size(dlat, dlon)
    _check(bbox, dlat, dlon, method)
    frame = Frame(bbox, dlat, dlon)
    around = padded(bbox, layout.nside)
    views = views_of(archive, around)
    inside = [view for view in views if view.tile.bbox.intersects(bbox)]
    if as_of is None:
        images = on_days(archive, inside, bbox, start, end or start, orbit)
    else:
        images = [newest(archive, inside, bbox, start, as_of, orbit)]
    beside = [view for view in views if view not in inside]
    read = tuple(with_border(image, beside) for image in images)
    cube = Cube(tuple(views), read, tuple(bands), frame, layout.nside, method)
    values = dask.array.map_blocks(
        Portable(partial(block_of, cube)), chunks=cube.chunks, dtype=np.float32,
        meta=np.empty((0,) * 4, np.float32), name=f"sentinel1-{uuid.uuid4().hex}",
    )  # fmt: skip
    grid = xr.Dataset(
        {band: (("time", "lat", "lon"), values[:, i]) for i, band in enumerate(bands)},
        {
            "lat": frame.lat,
            "lon": frame.lon,
            "time": [np.datetime64(image.day, "s") for image in images],
            "orbit": ("time", np.array([_flag(image) for image in images], np.int8), ORBIT_FLAGS),
        },
        {
            "title": f"Sentinel-1 backscatter, {' and '.join(bands)}, {_when(images)}",
            **_origin(inside, images),
            "bbox": str(bbox),
            "dlat": dlat,
            "dlon": dlon,
            "method": "mean" if cube.averages else method,
            "healpix_nside": layout.nside,
            "healpix_ellipsoid": layout.ellipsoid,
            "healpix_ordering": "nested",
        },
    )
    return georeferenced(grid)


def retrieve(
    archive: Archive,
    bbox: BBox,
    day: dt.date,
    bands: Sequence[str] | None = None,
    dlat: float | None = None,
    dlon: float | None = None,
    method: str = "nearest",
    orbit: str | None = None,
) -> xr.Dataset:
    """The image of a day in memory, ``<band>(lat, lon)`` float32; all else as of `open`.

    Raises as `open`, NoData where no pixel has a value, and ValueError for a grid larger than
    `MEMORY_MAX`.
    """
    bands = _bands(_layout(archive), bands)
    dlat, dlon = pixel_size(dlat, dlon)
    _check(bbox, dlat, dlon, method)
    _check_size(bbox, dlat, dlon, len(bands))
    lazy = open(archive, bbox, day, None, bands, dlat, dlon, method, orbit)
    image = lazy.isel(time=0).drop_vars("orbit").compute()
    if not has_pixels(image):
        raise nothing_seen(archive, bbox, image)
    return image


def nothing_seen(archive: Archive, bbox: BBox, grid: xr.Dataset) -> NoData:
    """The error for a grid of records that have not seen anything of the box."""
    passes = "" if grid.attrs["orbit"] == "any" else f" ({grid.attrs['orbit']})"
    return NoData(
        f"The archive {archive.name} has records of {grid.attrs['day']}{passes} of the tiles of "
        f"{bbox}, but they have not one pixel in this box.  Take another day, other passes or a "
        "larger box."
    )


def spacing(
    bbox: BBox, dlat: float | None = None, dlon: float | None = None, most: int | None = None
) -> tuple[float, float]:
    """dlat and dlon of a grid of the box with less than ``most`` pixels a side.

    They are the given ones, or the next multiple of both, of two digits, that is large
    enough.  ``most`` is `PICTURE_MAX` if it is not given.
    """
    dlat, dlon = pixel_size(dlat, dlon)
    most = most or settings().picture_max
    factor = max(bbox.height / dlat, bbox.width / dlon) / (most - 1)
    if factor <= 1:
        return dlat, dlon
    digits = 1 - math.floor(math.log10(factor))
    factor = math.ceil(factor * 10**digits) / 10**digits
    return dlat * factor, dlon * factor


def days(archive: Archive, bbox: BBox) -> list[Coverage]:
    """The days of which the archive has something of the box, newest first.

    The share is counted in the overviews, whose cells have equal areas: those seen in the
    box, of all in the box.  It is None for a large box in records without overviews.
    """
    views = {view.tile: view for view in views_of(archive, bbox)}
    images: dict[tuple[dt.date, str], list[Chunk]] = {}
    for view in views.values():
        for chunk in view.chunks():
            images.setdefault((chunk.day, chunk.orbit), []).append(chunk)
    cells: dict[int, int] = {}
    found = []
    for (day, orbit), chunks in images.items():
        share = _share(views, chunks, bbox, _layout(archive), cells)
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
            runs = healpix.box_runs(bbox, 2**level, layout.ellipsoid)
            cells[level] = int(runs[1].sum(dtype=np.int64))
        if cells[level] >= CELLS_COUNTED or level == layout.level:
            break
    if level == layout.level and not 0 < cells[level] <= CELLS_READ:
        return None
    wishes = [(views[chunk.tile], chunk, bbox, level, ("count",)) for chunk in chunks]
    seen = [
        healpix.runs_to_ids(part["start_ipix"].values, part["run_len"].values)[part["count"] > 0]
        for part in read_all(wishes)
    ]
    return len(np.unique(np.concatenate(seen))) / cells[level]  # two tiles may share a cell


def _layout(archive: Archive) -> Layout:
    if archive.layout is None:
        raise NoData(
            f"There is no archive at {archive.name} yet, and so no record of this box at all; "
            "download it first."
        )
    return archive.layout


def _bands(layout: Layout, bands: Sequence[str] | None) -> list[str]:
    """The bands asked for, by default all; ValueError names those there are."""
    missing = [band for band in bands or () if band not in layout.bands]
    if missing:
        raise ValueError(
            f"The archive has the bands {', '.join(layout.bands)}, but not {', '.join(missing)}."
        )
    return list(dict.fromkeys(bands or layout.bands))


def _check(bbox: BBox, dlat: float, dlon: float, method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; it must be {' or '.join(METHODS)}.")
    for name, step, extent in (("dlat", dlat, bbox.height), ("dlon", dlon, bbox.width)):
        if not 0 < step < math.inf:
            raise ValueError(f"{name} is {step:g} degrees; it must be above 0.")
        if step > 2 * extent:
            raise ValueError(
                f"No pixel centre lies in {bbox}: {name} is {step:g} degrees, and the box has but "
                f"{extent:.3g}.  Take a larger box or smaller pixels."
            )


def _check_size(bbox: BBox, dlat: float, dlon: float, bands: int) -> None:
    rows, columns = bbox.height / dlat, bbox.width / dlon
    size = 4 * rows * columns * bands
    most = settings().memory_max
    if size > most:
        factor = 1.1 * math.sqrt(size / most)
        raise ValueError(
            f"{bbox} at dlat {dlat:g} and dlon {dlon:g} is {rows:.0f} x {columns:.0f} pixels, "
            f"{size / 1e9:.1f} GB; the most in memory is {most / 1e9:g} GB.  Take a smaller "
            f"box, larger pixels such as dlat {dlat * factor:.2g} and dlon {dlon * factor:.2g}, "
            "or retrieve.open, which is lazy."
        )


def _when(images: Sequence[Image]) -> str:
    first, last = images[0].day, images[-1].day
    return str(first) if first == last else f"{first} to {last}"


def _flag(image: Image) -> int:
    """What the coordinate ``orbit`` holds: as in the archive, and one more for a mixture."""
    return ORBITS.index(image.orbit) if image.orbit in ORBITS else len(ORBITS)


def _origin(views: Sequence[View], images: Sequence[Image]) -> dict[str, Any]:
    """Days, orbit, tiles and provenance as attributes; what is not known is left out."""
    chunks = sorted({chunk for image in images for chunk in image.chunks})
    by_tile = {view.tile: view for view in views}
    about = [by_tile[chunk.tile].about(chunk) for chunk in chunks]
    synthetic = any(
        row.get("synthetic", str(row.get("source", "")).lower().startswith("synthetic"))
        for row in about
    )
    years = sorted({chunk.day.year for chunk in chunks})
    span = str(years[0]) if len(years) == 1 else f"{years[0]}-{years[-1]}"
    attrs: dict[str, Any] = {
        "source": SYNTHETIC if synthetic else MEASURED.format(year=span),
        "synthetic": int(synthetic),
        "day": _when(images),
        "orbit": "+".join(sorted({chunk.orbit for chunk in chunks})),
        "tiles": " ".join(sorted({chunk.tile.name for chunk in chunks})),
    }
    taken = sorted({chunk.day.isoformat() for chunk in chunks})
    if taken != [image.day.isoformat() for image in images]:
        attrs["days_used"] = " ".join(taken)
    for name in ("backend", "collection", "job_id", "processed", *SEVERAL):
        found = [row.get(name) or [] for row in about]
        known = sorted({str(v) for has in found for v in (has if name in SEVERAL else [has]) if v})
        if known:
            attrs[name] = " ".join(known)
    return attrs
