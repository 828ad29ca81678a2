"""Executes an order: renders the scene strip by strip into a netCDF file.

The raster is the UTM bounding rectangle of the box, snapped to whole multiples of 10 m,
in the zone of the box's centre; it is not cut to the box.  The file is laid out as the
Copernicus back end lays out its own: dimensions (y, x), or (t, y, x) as long as the time
dimension was not reduced.  `netCDF4` writes the frame; the blocks are deflated here and
stored as they are, which needs no lock and so leaves the server free to answer.
"""

from __future__ import annotations

import datetime as dt
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import h5py
import netCDF4
import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from sandbox import catalogue, elevation, ground, orbit, products, scene
from sandbox.errors import Cancelled, Failed, NoData
from sandbox.graph import Cube, Order
from sandbox.products import Product, Traits, traits
from shared.files import replacing

PIXEL = 10  # m
BLOCK = 256  # pixels, edge of a compressed block
DEFLATE_LEVEL: Final = 1
SOURCE = "synthetic: computed by the openEO sandbox, not measured by Sentinel-1"
_FIRST_T = dt.date(1990, 1, 1)  # day 0 of the time coordinate
_netcdf_lock = threading.Lock()  # the netCDF library is not safe to use from several threads

Array = NDArray[Any]
Published = Callable[[orbit.Pass], dt.datetime]  # when the images of a pass appear
About = Callable[[str], Traits]  # what a product is like, by its name
NO_TIFF = (
    "Python exception while evaluating processing graph: OpenEOApiException: sar_backscatter: "
    "No tiff for band {band} in /eodata/Sentinel-1/SAR/{name}.SAFE"
)


@dataclass(frozen=True)
class Grid:
    """The pixels of a raster: a UTM zone and its corner and size on the 10 m grid."""

    epsg: int
    left: int  # of the westernmost pixel's west edge, in pixels from easting 0
    top: int  # of the northernmost pixel's north edge, in pixels from northing 0
    rows: int
    columns: int

    @property
    def x(self) -> Array:
        """Pixel centres, m."""
        return (self.left + np.arange(self.columns) + 0.5) * PIXEL

    @property
    def y(self) -> Array:
        """Pixel centres from north to south, m."""
        return (self.top - np.arange(self.rows) - 0.5) * PIXEL


def grid(bbox: tuple[float, float, float, float]) -> Grid:
    """The raster that covers a box (west, south, east, north in degrees)."""
    west, south, east, north = bbox
    zone = min(int(((west + east) / 2 + 180) // 6) + 1, 60)
    epsg = (32600 if south + north >= 0 else 32700) + zone
    to_utm = Transformer.from_crs(4326, epsg, always_xy=True)
    left, bottom, right, top = to_utm.transform_bounds(west, south, east, north, densify_pts=101)
    x0, x1 = int(np.floor(left / PIXEL)), int(np.ceil(right / PIXEL))
    y0, y1 = int(np.floor(bottom / PIXEL)), int(np.ceil(top / PIXEL))
    return Grid(epsg, x0, y1, max(1, y1 - y0), max(1, x1 - x0))


@dataclass(frozen=True)
class Step:
    """One day of a cube and the passes that may see it, first come first."""

    day: dt.date
    passes: tuple[orbit.Pass, ...]


def steps(cube: Cube, published: Published = orbit.published, about: About = traits) -> list[Step]:
    """The days of a cube that have a pass in the catalogue, in order.

    Raises Failed if one of the products lacks a band.
    """
    west, south, east, north = cube.bbox
    lon, lat = np.meshgrid(np.linspace(west, east, 33), np.linspace(south, north, 17))
    found = []
    now = dt.datetime.now(dt.UTC)
    day = max(cube.start.date(), orbit.FIRST_DAY)
    while day <= min(cube.end, now).date():
        views: list[orbit.Pass] = []
        for view in orbit.passes(day):
            if cube.orbit not in (None, view.orbit):
                continue
            if not cube.start <= view.time < cube.end or published(view) > now:
                continue
            across = view.across(lon, lat)
            margin = orbit.FOOTPRINT_MARGIN
            touched = lat[(across >= -margin) & (across < 1 + margin)]
            views += _parts(view, cube, products.of_pass(view, touched), about)
        if views:
            found.append(Step(day, tuple(views)))
        day += dt.timedelta(days=1)
    return found


def _parts(
    view: orbit.Pass, cube: Cube, touched: list[Product], about: About
) -> Iterator[orbit.Pass]:
    """What can be used of a pass: all of it, or the slices of the products that can be."""
    used = [product for product in touched if _is_wanted(about(product.id), cube)]
    for product in used:
        for band in cube.bands:
            if band not in about(product.id).polarisations:
                raise Failed(NO_TIFF.format(band=band, name=product.id))
    if used and used == touched:
        yield view
        return
    for product in used:
        yield replace(view, south=product.south, north=product.south + orbit.SLICE)


def _is_wanted(product: Traits, cube: Cube) -> bool:
    """Whether the back end reads a product, and the filter on polarisations lets it pass."""
    return product.is_read and cube.polarisations in (None, product.polarisations)


def write(
    order: Order,
    path: Path,
    alive: Callable[[], bool] = lambda: True,
    published: Published = orbit.published,
    texts: str = "usual",
    about: About = traits,
    hole: float = 0.0,
) -> dict[str, Any]:
    """Compute an order and write its file; returns what the result's metadata need.

    ``texts`` is "usual", "text-string" or "text-latin1"; ``hole`` is the share of the rows, from
    the north, that a product which was skipped has left empty.  Raises NoData when there is
    nothing to write, Failed if it cannot be made, and Cancelled as soon as ``alive()`` is
    false.
    """
    cube = order.cube
    days = steps(cube, published, about)
    if not days:
        raise NoData(catalogued=False)
    elevation.require(cube.bbox, cube.elevation_model)
    pixels = grid(cube.bbox)
    timed = cube.reducer is None
    seen = 0
    with replacing(path) as temporary:
        _write_frame(temporary, pixels, cube.bands, [s.day for s in days] if timed else None)
        with h5py.File(temporary, "r+") as file:
            for row, strip in _strips(pixels, cube, days, alive):
                strip[:, :, : max(0, round(hole * pixels.rows) - row)] = 0
                seen += int((strip > 0).any(axis=1).sum())
                for b, band in enumerate(cube.bands):
                    _store(file[band], strip[:, b], row, timed=timed)
            if texts != "usual":
                _rewrite_texts(file, pixels.epsg, texts)
        if not seen:
            raise NoData(catalogued=True)
    return {"epsg": pixels.epsg, "shape": [pixels.rows, pixels.columns], "seen": seen}


def middle_of_pixels(path: Path) -> int:
    """The offset of a byte in the middle of the largest block of the last band's pixels."""
    with h5py.File(path) as file:
        band = [v for v in file.values() if v.chunks is not None and v.ndim > 1][-1]
        blocks = [band.id.get_chunk_info(i) for i in range(band.id.get_num_chunks())]
        largest = max(blocks, key=lambda block: block.size)
    return int(largest.byte_offset + largest.size // 2)


def _strips(
    pixels: Grid, cube: Cube, days: list[Step], alive: Callable[[], bool]
) -> Iterator[tuple[int, Array]]:
    """Strips of BLOCK rows as (first row, array of step x band x row x column)."""
    to_degrees = Transformer.from_crs(pixels.epsg, 4326, always_xy=True)
    bands = [catalogue.BANDS.index(b) for b in cube.bands]
    for row in range(0, pixels.rows, BLOCK):
        rows = min(BLOCK, pixels.rows - row)
        lon, lat, offset = _nodes(pixels, row, rows, to_degrees)
        stack = np.zeros((len(days), len(catalogue.BANDS), rows, pixels.columns), np.float32)
        for step, image in zip(days, stack, strict=True):
            number = (step.day - orbit.FIRST_DAY).days
            for view in step.passes:
                if not alive():
                    raise Cancelled
                scene.render(lon, lat, offset, view, number, image)
        chosen = stack[:, bands]
        yield row, _reduce(chosen, cube.reducer)[None] if cube.reducer else chosen


def _nodes(
    pixels: Grid, row: int, rows: int, to_degrees: Transformer
) -> tuple[Array, Array, tuple[int, int]]:
    """Longitude and latitude of the coarse lattice around a strip.

    Its nodes are the centres of every `ground.CELL`-th pixel of the absolute UTM grid, so
    that overlapping rasters are interpolated from the same nodes.
    """
    cell = ground.CELL
    # Rows count southwards from northing 0: pixel row r has its centre at -(r + 0.5).
    first = row - pixels.top
    i0, i1 = first // cell, (first + rows - 1) // cell + 1
    j0, j1 = pixels.left // cell, (pixels.left + pixels.columns - 1) // cell + 1
    x = (np.arange(j0, j1 + 1) * cell + 0.5) * PIXEL
    y = -(np.arange(i0, i1 + 1) * cell + 0.5) * PIXEL
    lon, lat = to_degrees.transform(*np.meshgrid(x, y))
    return lon, lat, (first - i0 * cell, pixels.left - j0 * cell)


def _reduce(stack: Array, reducer: str) -> Array:
    """Reduce the first axis; a 0 is no data, as in the file, and is left out."""
    result: Array = stack[0]
    if len(stack) == 1:
        return result
    if reducer in ("first", "last"):
        for image in stack if reducer == "last" else stack[::-1]:
            result = np.where(image != 0, image, result)
        return result
    masked = np.ma.masked_equal(stack, 0)
    reduced = getattr(np.ma, reducer)(masked, axis=0)  # mean, median, min, max: as the API's
    return np.asarray(np.ma.filled(reduced, 0), np.float32)


def _write_frame(
    path: Path, pixels: Grid, bands: tuple[str, ...], days: list[dt.date] | None
) -> None:
    """Everything in the file but the blocks of the bands."""
    with _netcdf_lock, netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as file:
        file.Conventions = "CF-1.9"
        file.institution = "openEO platform - sandbox back end"
        file.title = "Synthetic Sentinel-1 sigma0 (made up, not measured)"
        file.description = ""
        file.source = SOURCE
        file.comment = "Synthetic data of the openEO sandbox. Linear power."
        if days is not None:
            file.createDimension("t", None)
            t = file.createVariable("t", "i4", ("t",))
            t.standard_name = t.long_name = "t"
            t.units = f"days since {_FIRST_T.isoformat()}"
            t.axis = "T"
            t[:] = [(day - _FIRST_T).days for day in days]
        for name, size in (("y", pixels.rows), ("x", pixels.columns)):
            file.createDimension(name, size)
        for name, values in (("x", pixels.x), ("y", pixels.y)):
            axis = file.createVariable(name, "f8", (name,))
            axis.standard_name = f"projection_{name}_coordinate"
            axis.long_name = f"{name} coordinate of projection"
            axis.units = "m"
            axis[:] = values
        crs = file.createVariable("crs", "S1")
        crs.crs_wkt = crs.spatial_ref = CRS.from_epsg(pixels.epsg).to_wkt("WKT1_GDAL")
        block = (min(BLOCK, pixels.rows), min(BLOCK, pixels.columns))
        for band in bands:
            variable = file.createVariable(
                band,
                "f4",
                ("y", "x") if days is None else ("t", "y", "x"),
                compression="zlib",
                complevel=DEFLATE_LEVEL,
                shuffle=True,
                chunksizes=list(block if days is None else (1, *block)),
                fill_value=0.0,
            )
            variable.long_name = band
            variable.units = ""
            variable.grid_mapping = "crs"


def _rewrite_texts(file: h5py.File, epsg: int, form: str) -> None:
    """Have the attributes that other writers make, with a CRS that is not ASCII."""
    wkt = CRS.from_epsg(epsg).to_wkt()
    file["crs"].attrs["crs_wkt"] = file["crs"].attrs["spatial_ref"] = np.bytes_(wkt.encode())
    for holder in (file, *file.values()):
        texts = {k: v.decode() for k, v in holder.attrs.items() if isinstance(v, np.bytes_)}
        for name, text in texts.items():
            if name in ("CLASS", "NAME") or name.startswith("_"):
                continue  # HDF5's and netCDF's own
            if form == "text-string":
                holder.attrs.create(name, [text], dtype=h5py.string_dtype())
            else:
                holder.attrs[name] = np.bytes_(text.encode("latin-1"))


def _store(variable: h5py.Dataset, strip: Array, row: int, *, timed: bool) -> None:
    """Deflate a strip (step x row x column) block by block and put it into the file."""
    height, width = variable.chunks[-2:]
    if timed and len(variable) < len(strip):
        variable.resize(len(strip), axis=0)
    for step, image in enumerate(strip):
        for column in range(0, image.shape[1], width):
            block = np.zeros((height, width), "<f4")
            part = image[:, column : column + width]
            block[: part.shape[0], : part.shape[1]] = part
            place = (step, row, column) if timed else (row, column)
            variable.id.write_direct_chunk(place, _deflate(block))


def _deflate(block: Array) -> bytes:
    """A block as HDF5's filters leave it: bytes shuffled into planes, then deflated.

    Huffman coding alone: speckle has no repetitions that a search would find.
    """
    planes = block.view(np.uint8).reshape(-1, block.itemsize).T
    planes = np.ascontiguousarray(planes)
    packer = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, strategy=zlib.Z_HUFFMAN_ONLY)
    return packer.compress(planes.tobytes()) + packer.flush()
