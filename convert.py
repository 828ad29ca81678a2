"""Raster to HEALPix cells, and cells to a regular grid.

The value of a cell is the mean, in linear power, of the seen raster pixels whose centres
fall into it.  How that is done is in the room `cells`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from cells.settings import Settings as Settings
from cells.settings import judged
from grid import Box, Day, Tile, as_box, as_day
from healpix.arrays import Runs
from shared.collection import SENTINEL1, Product
from shared.errors import RasterError as RasterError  # part of what this door offers

if TYPE_CHECKING:
    import xarray as xr

    from cells.about import About as About

    Raster: TypeAlias = xr.Dataset | str | os.PathLike[str]
    Parts: TypeAlias = Mapping[str, Raster]

NSIDE = 262144  # HEALPix resolution: level 18, cells of 25 m
ELLIPSOID = "sphere"  # "sphere": latitudes as they are, like healpy; "WGS84": authalic
DLAT = 15e-5  # pixel height of a regular grid, degrees
DLON = 24e-5  # pixel width of a regular grid, degrees
WORKERS = min(4, os.cpu_count() or 1)  # threads of a conversion

__all__ = [
    "DLAT", "DLON", "ELLIPSOID", "NSIDE", "WORKERS", "RasterError", "Settings", "about",
    "cells_to_grid", "complete_loops", "pixel_size", "raster_to_cells", "settings", "tile_runs",
]  # fmt: skip
__dir__ = sorted(__all__).copy  # what is offered, for `dir`


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    return judged(globals())


def tile_runs(tile: Tile, nside: int | None = None, ellipsoid: str | None = None) -> Runs:
    """The cells of a tile, those whose centre lies in it: start_ipix uint64, run_len uint32."""
    from healpix import boxes

    made = settings()
    nside = made.nside if nside is None else nside
    return boxes.box_runs(tile.bbox, nside, ellipsoid or made.ellipsoid)


def raster_to_cells(
    raster: Raster | Parts | Sequence[Raster | Parts],
    tile: Tile,
    nside: int | None = None,
    ellipsoid: str | None = None,
    bands: Sequence[str] | None = None,
    step: int | None = None,
    day: Day | None = None,
    decibels: bool = False,
    product: Product | None = None,
) -> xr.Dataset:
    """The cells of a tile from a raster, given as a dataset or as the path of its file.

    A file may be netCDF, GeoTIFF, or anything else that GDAL reads.  The raster may have any
    CRS (as text, by CF's parameters, by PROJ's; without one, longitudes and latitudes are those
    of WGS 84), x and y in either direction, any pixel size, and cover the tile in part.  Of
    several rasters the pixels are taken together, as if they were one.  A dictionary names the
    raster of each band, where these are in files of their own; a band that is not in it has no
    value.  Where their pixels are at the same places they are those of one raster.

    ``bands`` are the variables, labels of a dimension of bands or descriptions to use, which may
    have the name among other words (Sigma0_VV); by default all that span x and y, in file
    order.  Bands that nothing names are taken in their order.  Of several time steps ``step``
    (counted from 0) or the earliest of the UTC ``day`` is used, else the earliest, the first of
    them if there are several.  ``decibels``: turn values into power, 10 ** (value / 10), first.
    ``product`` says what the values are; Sentinel-1's backscatter if it is not given.

    Values are unpacked as CF has it.  Those equal to ``_FillValue`` or ``missing_value`` (or
    netCDF's own where a file names neither), or outside of ``valid_range``, are no data, except
    0, which the definition above judges; a dataset that xarray has masked gets such zeros back.

    Result: ``<band>(cells)`` float32, the mean in linear power, NaN where no seen pixel
    has a value; ``count(cells)`` uint16, the seen pixels (65535 stands for more); where some of
    these have no value in a band ``<band>_count(cells)`` uint16, those that have;
    ``start_ipix(runs)`` uint64 and ``run_len(runs)`` uint32 as of `tile_runs`.  attrs:
    nside, ellipsoid, ordering, source, and where it applies time (of the step used) and
    holes (a sentence, when the raster is coarser than the cells).
    Raises RasterError for a raster that cannot be used, one in decibels among them.
    """
    made = settings()
    nside = made.nside if nside is None else nside
    from cells import average
    from cells.raster import Choice

    on = None if day is None else as_day(day)
    choice = Choice(bands, step, on, decibels, product or SENTINEL1.product)
    given: list[Raster | Parts]
    given = [raster] if isinstance(raster, str | os.PathLike | Mapping) else list(raster)
    return average.raster_to_cells(
        given, tile, nside, ellipsoid or made.ellipsoid, choice, made.workers
    )


def about(
    raster: Raster,
    chunk_size: Sequence[float],
    nside: int | None = None,
    ellipsoid: str | None = None,
) -> About:
    """What a raster says of itself: bands, time steps, day, pass, source, and the tiles it touches.

    A tile of the grid of ``chunk_size`` (degrees E-W, S-N) is touched if the centre of a pixel,
    seen or not, falls into one of its cells.  No pixel is read.  Raises RasterError for a raster
    of which nobody knows where it is.
    """
    from cells import about

    made = settings()
    nside = made.nside if nside is None else nside
    return about.about(raster, chunk_size, nside, ellipsoid or made.ellipsoid)


def cells_to_grid(
    cells: xr.Dataset,
    bbox: Box,
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
    from cells import regrid

    frame = regrid.Frame(as_box(bbox), *pixel_size(dlat, dlon))
    return regrid.cells_to_grid(cells, frame, method, settings().workers)


def complete_loops() -> None:
    """Compile what retrieving needs, too, where converting had to: one waits once, and together."""
    from healpix import loops

    if loops.were_compiled():
        from cells import regrid

        regrid.compile_loops()


def pixel_size(dlat: float | None = None, dlon: float | None = None) -> tuple[float, float]:
    """The height and width that were asked for, else the constants; degrees."""
    made = settings()
    return made.dlat if dlat is None else dlat, made.dlon if dlon is None else dlon
