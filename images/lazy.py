"""The images of a box on a regular grid, lazy: read when they are computed, block by block.

Which records make up an image is decided in `records`, how a block is read in `blocks`.
NSIDE and ellipsoid are those of the archive.
"""

from __future__ import annotations

import math
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from archive.layout import ids_attributes
from archive.passes import Passes, passes_of, relative_name, together
from cells.regrid import Frame
from grid import ORBITS, BBox, Chunk, Day, as_day, as_days
from healpix.few import centres
from healpix.ids import ids_to_runs, runs_to_ids
from images import composites, speckle
from images.blocks import BORDER, Cube, block_of, padded, read_all, whole
from images.grids import APART_BY, DAY, georeferenced, image_of, in_memory, pass_coordinates
from images.merge import united
from images.pieces import has_pixels
from images.records import (
    Image,
    NoData,
    apart,
    layout_of,
    newest,
    of_period,
    on_days,
    to_choose,
    views_of,
    with_border,
)
from images.speckle import Speckle, grouped
from shared.areas import Area, AreaLike, as_area, clipping, holds, shown, touched, wkt
from shared.cellset import CellSet
from shared.collection import KNOWN, Product, as_known, attributes_of
from shared.variables import coordinate, variable

if TYPE_CHECKING:
    import xarray as xr

    from archive.contents import Contents
    from archive.layout import Layout
    from archive.snapshot import View

METHODS = ("nearest", "bilinear")
ORBIT_FLAGS = {
    "long_name": "orbit direction",
    "flag_values": np.arange(len(ORBITS) + 1, dtype=np.int8),
    "flag_meanings": " ".join((*ORBITS, "mixed")),
}
SEVERAL = ("relative_orbits", "platforms", "acquired")  # of a record, as the catalogue has them
MEASURED = "contains modified Copernicus Sentinel data {year}"
OTHER = "contains modified data of {collection} {year}"
SYNTHETIC = "synthetic data (sandbox), not a measurement"


def select(
    archive: Contents, bbox: AreaLike, day: Day, orbit: str | None, cell_ids: bool
) -> xr.Dataset:
    """The cells of a day whose centres are in a box: as `retrieve.select` has it."""
    layout, bbox, day = layout_of(archive), as_area(bbox), as_day(day)
    area = clipping(bbox)
    views = {view.tile: view for view in views_of(archive, shown(bbox))}
    image, *others = on_days(archive, list(views.values()), bbox, day, day, orbit)
    if others:
        raise to_choose(bbox, f"on {day}")
    level, names = layout.level, (*layout.bands, "count")
    readings = [(views[chunk.tile], chunk, bbox, level, names) for chunk in image.chunks]
    cells = united(list(read_all(readings)))
    if area is not None:
        cells = cells_inside(cells, area, layout)
    found = cells.dataset()
    if not cell_ids:
        return found
    ids = runs_to_ids(cells.start_ipix, cells.run_len)
    about = ids_attributes(level, layout.ellipsoid)
    return found.assign_coords(cell_ids=variable("cells", ids, about))


def cells_inside(cells: CellSet, area: Area, layout: Layout) -> CellSet:
    """Those of some cells whose centres are in a polygon."""
    ids = runs_to_ids(cells.start_ipix, cells.run_len)
    inside = holds(area, *centres(ids, layout.nside, layout.ellipsoid))
    rest = {name: values[inside] for name, values in cells.values.items()}
    return CellSet(*ids_to_runs(ids[inside]), rest, cells.attrs)


@dataclass(frozen=True)
class Canvas:
    """What an archive is asked for: bands of a box on a regular grid.  `canvas` judges it."""

    archive: Contents
    layout: Layout
    bands: tuple[str, ...]
    frame: Frame
    method: str
    orbit: str | None


def canvas(
    archive: Contents,
    bbox: AreaLike,
    bands: Sequence[str] | None,
    dlat: float,
    dlon: float,
    method: str,
    orbit: str | None,
) -> Canvas:
    """A judged `Canvas`; raises ValueError and NoData as `retrieve.open` does."""
    layout, bbox = layout_of(archive), as_area(bbox)
    names = tuple(known_bands(layout, bands))
    _check(bbox, dlat, dlon, method)
    return Canvas(archive, layout, names, Frame(bbox, dlat, dlon), method, orbit)


@dataclass(frozen=True)
class Shown:
    """What a canvas shows: images, the records of which tiles they are of, and how to read them."""

    on: Canvas
    images: list[Image]
    views: list[View]
    cube: Cube
    product: Product  # which has no more bands than the images
    by: str | None  # what images of a day are apart by


def shown_on(
    on: Canvas,
    start: Day,
    end: Day | None = None,
    as_of: int | None = None,
    composite: str | None = None,
    by: str | None = None,
    despeckle: bool = False,
    less: int = 1,
) -> Shown:
    """The images of a box, none of which has been read; raises as `retrieve.open` does.

    A composite takes so many times ``less`` memory.
    """
    archive, layout, bands, frame = on.archive, on.layout, on.bands, on.frame
    bbox, orbit, area = frame.bbox, on.orbit, clipping(frame.bbox)
    around = padded(bbox, layout.nside)
    if despeckle:
        _require_single_days(layout, as_of, composite)
        level = Cube((), (), (), frame, layout.nside, on.method).finest
        around = padded(bbox, 1 << level, BORDER + speckle.BORDER)
    views = views_of(archive, around)
    tiles = set(touched(shown(bbox), [view.tile for view in views]))
    inside = [view for view in views if view.tile in tiles]
    if as_of is not None:
        images = [newest(archive, inside, bbox, as_day(start), as_of, orbit)]
    elif how := composites.judged(composite):
        images = of_period(archive, inside, bbox, *as_days(start, end), orbit, how, by)
    elif by is not None:
        images = apart(archive, inside, bbox, *as_days(start, end), orbit, by)
    else:
        images = on_days(archive, inside, bbox, *as_days(start, end), orbit)
    beside = [view for view in views if view not in inside]
    read = tuple(with_border(image, beside) for image in images)
    how = images[0].how
    product = composites.narrowed(layout.product, bands, how)
    layers = (*bands, DAY) if how == "newest" else bands
    classes = () if how == "count" else layout.product.classes(bands)
    classes += (DAY,) * (how == "newest")
    cube = Cube(
        tuple(views), read, layers, frame, layout.nside, on.method, classes, area, less=less
    )
    if despeckle:
        cube = replace(cube, speckle=_speckle(views, read))
    return Shown(on, images, inside, cube, product, by)


def open_grid(found: Shown, now: bool = False) -> xr.Dataset:
    """What a canvas shows, on a regular grid: as `retrieve.open` has it.

    Lazy, on dask, or with ``now`` in memory: dask takes longer to import than a small box to read.
    """
    import xarray as xr

    on, by, images, cube, product = found.on, found.by, found.images, found.cube, found.product
    how, bands, layout, frame = images[0].how, on.bands, on.layout, on.frame
    passes = [passes_in(found.views, image.chunks) for image in images]
    values = whole(cube) if now else _on_dask(cube)
    grid = xr.Dataset(
        {
            name: variable(("time", "lat", "lon"), values[:, i], composites.attributes(how))
            for i, name in enumerate(cube.bands)
        },
        {
            "lat": coordinate("lat", frame.lat),
            "lon": coordinate("lon", frame.lon),
            "time": coordinate("time", [np.datetime64(image.day, "s") for image in images]),
            "orbit": variable("time", np.array([*map(_flag, images)], np.int8), ORBIT_FLAGS),
            **pass_coordinates(passes),
        },
        {
            "title": f"{product.title}, {' and '.join(bands)}, {_when(images)}",
            **origin_of(found.views, images, product, passes),
            **attributes_of(product),
            "bbox": str(frame.bbox),
            **_outline(frame.bbox),
            **({} if by is None else {APART_BY: by}),
            "dlat": frame.dlat,
            "dlon": frame.dlon,
            "method": "mean" if cube.averages else on.method,
            "healpix_nside": layout.nside,
            "healpix_ellipsoid": layout.ellipsoid,
            "healpix_ordering": "nested",
        },
    )
    if cube.speckle:
        grid.attrs["speckle_filter"] = speckle.words(len(images))
        grid.attrs["title"] += ", speckle filtered"
    return georeferenced(grid)


def _speckle(views: Sequence[View], images: Sequence[Image]) -> Speckle:
    """The images in groups of those that see the ground in the same way."""
    tracks = [passes_in(views, image.chunks).relative_orbits for image in images]
    return Speckle(tuple(map(tuple, grouped(images, tracks))), uuid.uuid4().hex)


def _require_single_days(layout: Layout, as_of: int | None, composite: str | None) -> None:
    """ValueError where a speckle filter makes no sense."""
    if not layout.product.is_power:
        raise ValueError(f"{layout.product.title} has no speckle, so there is nothing to filter.")
    if as_of is not None or composite:
        raise ValueError("The speckle filter is of days by themselves, not of what is combined.")


def _outline(bbox: BBox) -> dict[str, Any]:
    """The polygon of an area as attributes: WKT, longitude first; nothing of a plain box."""
    if not isinstance(bbox, Area):
        return {}
    return {"area": wkt(bbox.polygon), "area_name": bbox.name, "clipped": int(bbox.clips)}


def _on_dask(cube: Cube) -> Any:
    """The values (time, band, lat, lon), to be computed block by block."""
    import dask.array

    from shared.compute import Portable

    return dask.array.map_blocks(
        Portable(partial(block_of, cube)), chunks=cube.chunks, dtype=np.float32,
        meta=np.empty((0,) * 4, np.float32), name=f"sentinel1-{uuid.uuid4().hex}",
    )  # fmt: skip


def image_of_day(on: Canvas, day: Day, memory_max: int) -> xr.Dataset:
    """The image of a day in memory: as `retrieve.retrieve` has it."""
    frame = on.frame
    _check_size(frame.bbox, frame.dlat, frame.dlon, len(on.bands), memory_max)
    here = "distributed" not in sys.modules  # else a client may be active
    grid = open_grid(shown_on(on, as_day(day)), now=here)
    if grid.sizes["time"] > 1:
        raise to_choose(frame.bbox, f"on {as_day(day)}")
    image = in_memory(image_of(grid))
    if not has_pixels(image):
        raise nothing_seen(on.archive, frame.bbox, image)
    return image


def nothing_seen(archive: Contents, bbox: BBox, grid: xr.Dataset) -> NoData:
    """The error for a grid of records that have not seen anything of the box."""
    what = "area" if grid.attrs.get("clipped") else "box"
    passes = "" if grid.attrs["orbit"] == "any" else f" ({grid.attrs['orbit']})"
    return NoData(
        f"The archive {archive.name} has records of {grid.attrs['day']}{passes} of the tiles of "
        f"{bbox}, but they have not one pixel in this {what}.  Take another day, other passes or a "
        f"larger {what}."
    )


def spacing(bbox: AreaLike, dlat: float, dlon: float, most: int) -> tuple[float, float]:
    """The given dlat and dlon, or larger: as `retrieve.spacing` has it."""
    bbox = as_area(bbox)
    factor = max(bbox.height / dlat, bbox.width / dlon) / (most - 1)
    if factor <= 1:
        return dlat, dlon
    digits = 1 - math.floor(math.log10(factor))
    factor = math.ceil(factor * 10**digits) / 10**digits
    return dlat * factor, dlon * factor


def known_bands(layout: Layout, bands: Sequence[str] | None) -> list[str]:
    """The bands asked for, by default all; ValueError names those there are."""
    bands = as_known(bands or (), layout.bands)
    missing = [band for band in bands if band not in layout.bands]
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


def _check_size(bbox: BBox, dlat: float, dlon: float, bands: int, most: int) -> None:
    rows, columns = bbox.height / dlat, bbox.width / dlon
    size = 4 * rows * columns * bands
    if size > most:
        factor = 1.1 * math.sqrt(size / most)
        raise ValueError(
            f"{bbox} at dlat {dlat:g} and dlon {dlon:g} is {rows:.0f} x {columns:.0f} pixels, "
            f"{size / 1e9:.1f} GB; the most in memory is {most / 1e9:g} GB.  Take a smaller "
            f"box, larger pixels such as dlat {dlat * factor:.2g} and dlon {dlon * factor:.2g}, "
            "or retrieve.open, which is lazy."
        )


def _when(images: Sequence[Image]) -> str:
    first, last = images[0].day, images[-1].last or images[-1].day
    return str(first) if first == last else f"{first} to {last}"


def _made_of(views: Sequence[View], images: Sequence[Image]) -> Iterator[str]:
    """What composites are called; of several each with its passes."""
    by_orbit = Counter(image.orbit for image in images)
    for image in images:
        name = f" ({image.orbit})" * (len(images) > 1)
        if by_orbit[image.orbit] > 1:
            track = relative_name(passes_in(views, image.chunks).relative_orbit)
            name = f" ({image.orbit}, relative orbit {track})"
        yield composites.words(image.how, len({chunk.day for chunk in image.chunks})) + name


def _flag(image: Image) -> int:
    """What the coordinate ``orbit`` holds: as in the archive, and one more for a mixture."""
    return ORBITS.index(image.orbit) if image.orbit in ORBITS else len(ORBITS)


def passes_in(views: Sequence[View], chunks: Iterable[Chunk]) -> Passes:
    """When and by what the images of some records were taken."""
    by_tile = {view.tile: view for view in views}
    return together(passes_of(by_tile[chunk.tile].about(chunk)) for chunk in chunks)


def origin_of(
    views: Sequence[View], images: Sequence[Image], product: Product, passes: Iterable[Passes]
) -> dict[str, Any]:
    """Days, orbit, tiles and provenance as attributes; what is not known is left out.

    ``passes``: of each image.
    """
    chunks = sorted({chunk for image in images for chunk in image.chunks})
    by_tile = {view.tile: view for view in views}
    about = [by_tile[chunk.tile].about(chunk) for chunk in chunks]
    synthetic = any(
        row.get("synthetic", str(row.get("source", "")).lower().startswith("synthetic"))
        for row in about
    )
    years = sorted({chunk.day.year for chunk in chunks})
    span = str(years[0]) if len(years) == 1 else f"{years[0]}-{years[-1]}"
    measured = MEASURED if product.name in KNOWN else OTHER
    attrs: dict[str, Any] = {
        "source": SYNTHETIC if synthetic else measured.format(year=span, collection=product.name),
        "synthetic": int(synthetic),
        "day": _when(images),
        "orbit": "+".join(sorted({chunk.orbit for chunk in chunks})),
        "tiles": " ".join(sorted({chunk.tile.name for chunk in chunks})),
    }
    attrs |= {name: text for name, text in together(passes).texts.items() if text}
    taken = sorted({chunk.day.isoformat() for chunk in chunks})
    if taken != list(dict.fromkeys(image.day.isoformat() for image in images)):
        attrs["days_used"] = " ".join(taken)
    if images[0].last is not None:
        attrs["composite"] = " and ".join(_made_of(views, images))
    for name in ("backend", "collection", "job_id", "processed", *SEVERAL):
        found = [row.get(name) or [] for row in about]
        known = sorted({str(v) for has in found for v in (has if name in SEVERAL else [has]) if v})
        if known:
            attrs[name] = " ".join(known)
    return attrs
