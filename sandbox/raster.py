"""Executes an order: computes its raster strip by strip into a netCDF file.

What the pixels are comes from `scene` (Sentinel-1, here), `mosaic` (Sentinel-2) or `terrain`
(elevation).  The file is laid out as the Copernicus back end lays out its own: dimensions
(y, x), or (t, y, x) as long as the time dimension was not reduced, a variable for each band,
all of one type.  `netCDF4` writes the frame; the blocks are deflated here and stored as they
are, which needs no lock and so leaves the server free to answer.
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

from sandbox import catalogue, elevation, mosaic, optical, orbit, products, scene, terrain
from sandbox.errors import Cancelled, Failed, NoData
from sandbox.graph import Cube, Order
from sandbox.grids import Grid, grid, nodes
from sandbox.products import Product, Traits, traits
from shared.files import replacing

BLOCK = 256  # pixels, edge of a compressed block
DEFLATE_LEVEL: Final = 1
SOURCE = "synthetic: computed by the openEO sandbox, not measured by {}"
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
    source = _source(cube, published, about, alive)
    pixels = source.pixels
    form = source.form.reduced(cube)
    timed = cube.reducer is None
    seen = 0
    with replacing(path) as temporary:
        _write_frame(temporary, pixels, cube.bands, source.days if timed else None, form)
        with h5py.File(temporary, "r+") as file:
            for row, stack in source.strips:
                stack[:, :, : max(0, round(hole * pixels.rows) - row)] = source.form.fill
                strip = _reduce(stack, cube.reducer, source.form)[None] if cube.reducer else stack
                strip = form.stored(strip)
                seen += int(form.holds(strip).any(axis=1).sum())
                for b, band in enumerate(cube.bands):
                    _store(file[band], strip[:, b], row, timed=timed)
            if texts != "usual":
                _rewrite_texts(file, pixels.epsg, texts)
        if not seen:
            raise NoData(catalogued=True)
    return {"epsg": pixels.epsg, "shape": [pixels.rows, pixels.columns], "seen": seen}


@dataclass(frozen=True)
class Form:
    """How the values of a collection are kept in memory and in a file."""

    dtype: str
    fill: float  # of pixels without data
    what: str
    sensor: str
    comment: str
    unsigned: bool = False  # stored as signed, with the attribute _Unsigned

    def holds(self, values: Array) -> Array:
        """Where there is data."""
        return ~np.isnan(values) if np.isnan(self.fill) else values != self.fill

    def reduced(self, cube: Cube) -> Form:
        """That of the file, after the reduction.

        Of whole numbers a mean is a real number, with NaN for no data; the others keep their
        type (openeo-geotrellis-extensions, ``OpenEOProcessScriptBuilder``).  SCL by itself has
        8 bits; netCDF-Java writes unsigned ones into this kind of file as signed, and drops
        the fill, which is of another type (openeo-geopyspark-driver, issue 990).
        """
        if self.dtype != "i2":
            return self
        if cube.reducer == "mean":
            return replace(self, dtype="f4", fill=np.nan)
        if cube.bands == (optical.CLASSES,):
            return replace(self, dtype="i1", fill=0, unsigned=True)
        return self

    def stored(self, strip: Array) -> Array:
        """Values in the type of the file."""
        if self.unsigned:
            strip = np.maximum(strip, 0)
        return strip.astype(f"<{self.dtype}", copy=False)


BACKSCATTER = Form("f4", 0.0, "Sentinel-1 sigma0", "Sentinel-1", "Linear power.")
REFLECTANCE = Form(
    "i2", optical.FILL, "Sentinel-2 L2A", "Sentinel-2", "Reflectance x 10,000, and classes."
)
HEIGHTS = Form("f4", np.nan, "elevation", "anybody", "Metres.")


@dataclass(frozen=True)
class _Source:
    """What an order is made of: its steps, pixels and values."""

    form: Form
    pixels: Grid | terrain.Grid
    days: list[dt.date]
    strips: Iterator[tuple[int, Array]]


def _source(cube: Cube, published: Published, about: About, alive: Callable[[], bool]) -> _Source:
    """That of a cube; raises NoData if the catalogue has nothing for it."""
    pixels: Grid | terrain.Grid
    if cube.collection == catalogue.SENTINEL2:
        shown = mosaic.steps(cube, published)
        pixels = mosaic.grid(cube)
        made = mosaic.strips(pixels, cube, shown, alive, BLOCK)
        form = REFLECTANCE
        if mosaic.has_angles(cube):
            form = replace(form, dtype="f4", fill=np.nan)
        source = _Source(form, pixels, [step.day for step in shown], made)
    elif cube.collection == catalogue.ELEVATION:
        dated = terrain.steps(cube)
        pixels = terrain.grid(cube)
        made = terrain.strips(pixels, cube, dated, alive, BLOCK)
        source = _Source(HEIGHTS, pixels, [step.day for step in dated], made)
    else:
        seen = steps(cube, published, about)
        if seen:
            elevation.require(cube.bbox, cube.elevation_model)
        pixels = grid(cube.bbox)
        made = _strips(pixels, cube, seen, alive)
        source = _Source(BACKSCATTER, pixels, [step.day for step in seen], made)
    if not source.days:
        raise NoData(catalogued=False)
    return source


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
        yield row, stack[:, bands]


def _nodes(
    pixels: Grid, row: int, rows: int, to_degrees: Transformer
) -> tuple[Array, Array, tuple[int, int]]:
    """Longitude and latitude of the coarse lattice around a strip, and where it begins in it."""
    east, north, offset = nodes(row - pixels.top, pixels.left, rows, pixels.columns)
    lon, lat = to_degrees.transform(east, north)
    return lon, lat, offset


def _reduce(stack: Array, reducer: str, form: Form) -> Array:
    """Reduce the first axis without the pixels that have no data."""
    result: Array = stack[0]
    real = reducer == "mean" and form.dtype == "i2"
    if len(stack) == 1 and not real:
        return result
    if reducer in ("first", "last"):
        for image in stack if reducer == "last" else stack[::-1]:
            result = np.where(form.holds(image), image, result)
        return result
    masked = np.ma.masked_array(stack, ~form.holds(stack))
    reduced = getattr(np.ma, reducer)(masked, axis=0)  # mean, median, min, max: as the API's
    if real:
        return np.asarray(np.ma.filled(reduced, np.nan), np.float32)
    # The middle of two whole numbers loses its half, as it does there.
    return np.asarray(np.ma.filled(reduced, form.fill), form.dtype)


def _write_frame(
    path: Path,
    pixels: Grid | terrain.Grid,
    bands: tuple[str, ...],
    days: list[dt.date] | None,
    form: Form,
) -> None:
    """Everything in the file but the blocks of the bands."""
    with _netcdf_lock, netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as file:
        file.Conventions = "CF-1.9"
        file.institution = "openEO platform - sandbox back end"
        file.title = f"Synthetic {form.what} (made up, not measured)"
        file.description = ""
        file.source = SOURCE.format(form.sensor)
        file.comment = f"Synthetic data of the openEO sandbox. {form.comment}"
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
            if pixels.epsg == catalogue.DEGREES:
                axis.standard_name = axis.long_name = {"x": "longitude", "y": "latitude"}[name]
                axis.units = {"x": "degrees_east", "y": "degrees_north"}[name]
            else:
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
                form.dtype,
                ("y", "x") if days is None else ("t", "y", "x"),
                compression="zlib",
                complevel=DEFLATE_LEVEL,
                shuffle=True,
                chunksizes=list(block if days is None else (1, *block)),
                fill_value=False if form.unsigned else form.fill,
            )
            variable.long_name = band
            variable.units = ""
            variable.grid_mapping = "crs"
            if form.unsigned:
                variable.setncattr("_Unsigned", "true")


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
            block = np.zeros((height, width), strip.dtype)
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
