"""A raster as it comes: find its axes, CRS, bands and time step, and read its rows.

The back end writes netCDF-4 (CF), float32, deflated in blocks, which `blocks` reads.  Any other
netCDF is read through xarray, and what is no netCDF by GDAL.

Values are taken raw.  ``_FillValue`` is often 0 here and 0 is a measurement, clipped, where
another band is seen; so 0 is never masked, whatever the file says, and any other fill
value always is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS

from cells import geotiff
from cells.blocks import Rows, blocks_of
from cells.layers import choose, choose_step, find_layers, named, parts
from cells.packing import names_fill, unpacker
from healpix.arrays import Floats
from shared.attributes import text
from shared.collection import SENTINEL1, Product
from shared.errors import RasterError, brief
from shared.lattice import find_axes, locate, with_plain_attributes

Given = xr.Dataset | str | os.PathLike[str]  # a raster, or the path of its file
Parts = Mapping[str, Given]  # by band what it is in; a band that is not there has no value

DECIBELS = ("db", "decibel", "decibels")
ENGINES = {b"CDF\x01": "scipy", b"CDF\x02": "scipy", b"CDF\x05": "netcdf4"}  # by how files begin


@dataclass(frozen=True)
class Choice:
    """What of a raster is wanted, and how it is meant."""

    bands: Sequence[str] | None = None  # None: all
    step: int | None = None  # of its time, counted from 0
    day: dt.date | None = None  # of several steps, those of this day
    decibels: bool = False  # its values are decibels
    product: Product = SENTINEL1.product  # what its values are

    @property
    def zero_fills(self) -> bool:
        """Whether a fill value of 0 is one as any other: a power of 0 is a measurement."""
        return self.decibels or not self.product.is_power


@dataclass(frozen=True)
class Raster:
    """What is needed of a raster: where its pixels are and how to read its rows."""

    name: str
    bands: tuple[str, ...]
    x: Floats
    y: Floats
    crs: str
    attrs: dict[str, str]
    readers: tuple[Rows, ...]
    decibels: bool = False  # what is read are decibels, to be turned into power
    zero_is_none: bool = False  # and a pixel of 0 in all bands is no data
    product: Product = SENTINEL1.product

    def read(self, first: int, stop: int) -> Any:
        """Rows [first, stop) of each band, until the same thread reads the next ones.

        As (row, column) float32 for each of two bands, without a copy if possible; else
        as one array (band, row, column) float64, so that the loops are compiled for no
        more than these two.
        """
        values = self.read_raw(first, stop)
        if self.decibels:
            values = _power(values, self.zero_is_none)
        is_usual = self.product.is_power and len(values) == 2
        if is_usual and all(part.dtype == np.float32 for part in values):
            return tuple(np.require(part, np.float32, ["C", "W"]) for part in values)
        return np.stack(values).astype(np.float64, copy=False)

    def read_raw(self, first: int, stop: int) -> list[NDArray[Any]]:
        """The same before decibels are turned into power, (row, column) of each band."""
        values = []
        for band, reader in zip(self.bands, self.readers, strict=True):
            try:
                values.append(self._without_nodata(band, reader(first, stop)))
            except Exception as error:  # isal's errors have no class of their own in its stubs
                raise RasterError(
                    f"{self.name}: {band} cannot be read between the rows {first} and {stop}; "
                    f"the file is damaged ({brief(error.__cause__ or error)}). Download it again."
                ) from error
        return values

    def _without_nodata(self, band: str, values: NDArray[Any]) -> NDArray[Any]:
        for none in self.product.band(band).nodata:
            if (where := values == none).any():
                values = np.where(where, np.nan, values)
        return values


@contextlib.contextmanager
def open_raster(raster: Given, choice: Choice | None = None) -> Iterator[Raster]:
    """The raster, open for reading.  Raises RasterError, and FileNotFoundError."""
    choice = choice or Choice()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_file(raster))
        if isinstance(opened, geotiff.Image):
            yield _of_image(opened, choice)
        else:
            yield _describe(*opened, choice)


@contextlib.contextmanager
def open_rasters(given: Given | Parts, choice: Choice) -> Iterator[list[Raster]]:
    """A raster, open for reading; of parts in files of their own one for each grid of pixels.

    Parts of the same grid are as one file with these bands would be.  Raises as `open_raster`.
    """
    with contextlib.ExitStack() as stack:
        if not isinstance(given, Mapping) or isinstance(given, xr.Dataset):
            yield [stack.enter_context(open_raster(given, choice))]
            return
        wanted = tuple(given if choice.bands is None else choice.bands)
        alike: list[dict[str, Raster]] = []
        for band in (band for band in wanted if band in given):
            alone = dataclasses.replace(choice, bands=(band,))
            part = stack.enter_context(open_raster(given[band], alone))
            same = (found for found in alike if _have_same_pixels(part, *found.values()))
            if (group := next(same, None)) is None:
                alike.append({band: part})
            else:
                group[band] = part
        yield [_joined(group, wanted) for group in alike]


def _have_same_pixels(part: Raster, other: Raster, *_: Raster) -> bool:
    """Whether two rasters have their pixels at the same places."""
    same_axes = np.array_equal(part.x, other.x) and np.array_equal(part.y, other.y)
    return same_axes and CRS.from_user_input(part.crs) == CRS.from_user_input(other.crs)


def _joined(group: Mapping[str, Raster], bands: tuple[str, ...]) -> Raster:
    """Rasters of the same pixels as one with these bands."""
    first = next(iter(group.values()))

    def nothing(first_row: int, stop: int) -> NDArray[Any]:
        return np.full((stop - first_row, first.x.size), np.nan, np.float32)

    parts = list(group.values())
    attrs = {key: text for part in reversed(parts) for key, text in part.attrs.items()}
    sources = dict.fromkeys(filter(None, (part.attrs.get("source") for part in parts)))
    return dataclasses.replace(
        first,
        name=" and ".join(dict.fromkeys(part.name for part in parts)),
        bands=bands,
        attrs=attrs | {"source": "; ".join(sources)},
        readers=tuple(group[b].readers[0] if b in group else nothing for b in bands),
        zero_is_none=all(part.zero_is_none for part in parts),
    )


@contextlib.contextmanager
def open_file(
    raster: Given,
) -> Iterator[geotiff.Image | tuple[xr.Dataset, str, h5py.File | None]]:
    """A dataset with its name and, of netCDF-4, its HDF5 file; or an image of another format."""
    if isinstance(raster, xr.Dataset):
        yield with_plain_attributes(raster), raster.encoding.get("source", "the raster"), None
        return
    path = Path(raster)
    with path.open("rb") as stream:
        engine = ENGINES.get(stream.read(4))
    is_hdf5 = h5py.is_hdf5(path)
    if engine is None and not is_hdf5:
        with geotiff.open_image(path) as image:
            yield image
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(h5py.File(path)) if is_hdf5 else None
            engine = "h5netcdf" if is_hdf5 else engine
            dataset = stack.enter_context(xr.open_dataset(path, engine=engine, decode_cf=False))
        except Exception as error:
            raise RasterError(
                f"{path}: this is no whole netCDF file ({brief(error)}). Download it again."
            ) from error
        if file is not None and not dataset.variables:
            _require_no_groups(file, path)
        yield with_plain_attributes(dataset), str(path), file


def _require_no_groups(file: h5py.File, path: Path) -> None:
    """Raise RasterError where all that a file holds is in groups."""
    groups = [str(name) for name, part in file.items() if isinstance(part, h5py.Group)]
    if groups:
        raise RasterError(
            f"{path}: its root holds nothing, its groups are: {', '.join(groups)}. Write one of "
            "them into a file of its own, for example with xarray.open_dataset(..., group=...)."
        )


def _describe(dataset: xr.Dataset, name: str, file: h5py.File | None, choice: Choice) -> Raster:
    """Find axes, CRS, bands and time step of a raster, or say what is missing."""
    x_dim, y_dim = find_axes(dataset, name)
    space = y_dim, x_dim
    layers = find_layers(dataset, space)
    found = [layer.name for layer in layers]
    chosen = choose(found, choice.bands, f" over {y_dim} and {x_dim}", name)
    attrs = {"source": str(dataset.attrs.get("source", ""))}
    of_file = bool(file is not None or dataset.encoding.get("source"))
    readers, of_fill = [], []
    for layer in (layers[index] for index in chosen):
        array = dataset[layer.variable]
        _require_scale(layer.name or layer.variable, text(array.attrs.get("units")), choice, name)
        sample = array.isel(layer.place, drop=True)
        place, label = choose_step(sample, space, choice.step, choice.day, name)
        attrs |= {"time": label} if label else {}
        place |= layer.place
        readers.append(
            blocks_of(file, array, place, space, choice.zero_fills)
            or _rows_of(array.isel(place), space, of_file, choice)
        )
        of_fill.append(names_fill(array.attrs, array.encoding))
    variables = [layers[index].variable for index in chosen]
    where = locate(dataset, (x_dim, y_dim), variables, name)
    return Raster(
        name=name,
        bands=_names(found, chosen, choice),
        x=where.x,
        y=where.y,
        crs=where.crs,
        attrs=attrs,
        readers=tuple(readers),
        decibels=choice.decibels,
        zero_is_none=choice.decibels and not any(of_fill),
        product=choice.product,
    )


def _of_image(image: geotiff.Image, choice: Choice) -> Raster:
    """The bands of an image, by their descriptions or in their order."""
    chosen = choose(image.names, choice.bands, "", image.name)
    if choice.step:
        raise RasterError(f"{image.name}: there is no step {choice.step}, as it has no time.")
    for index in chosen:
        _require_scale(image.names[index], image.units[index], choice, image.name)
    x, y = image.lattice()
    readers = tuple(
        image.reader(
            index, unpacker(image.packing(index), {}, image.dtype(index), False, choice.zero_fills)
        )
        for index in chosen
    )
    return Raster(
        name=image.name,
        bands=_names(image.names, chosen, choice),
        x=x,
        y=y,
        crs=image.crs(),
        attrs={"source": image.source},
        readers=readers,
        decibels=choice.decibels,
        zero_is_none=choice.decibels and not any(names_fill(image.packing(i), {}) for i in chosen),
        product=choice.product,
    )


def _names(found: Sequence[str], chosen: Sequence[int], choice: Choice) -> tuple[str, ...]:
    """What the bands are called: as they were asked for, else as in the file."""
    if choice.bands is not None:
        return tuple(choice.bands)
    every = named(found)
    return tuple(every[index] for index in chosen)


def _require_scale(band: str, unit: str, choice: Choice, name: str) -> None:
    """Raise RasterError for decibels, by their unit or name, that nobody has spoken of."""
    if choice.product.is_power and are_decibels(band, unit) and not choice.decibels:
        raise RasterError(refusal(name, band))


def are_decibels(band: str, unit: str) -> bool:
    """Whether a band says by its unit or its name that it is in decibels."""
    return unit.strip().lower() in DECIBELS or parts(band)[-1:] == ["db"]


def refusal(name: str, band: str) -> str:
    """Why decibels are not averaged, and what to do."""
    return (
        f"{name}: {band} is in decibels, and averages need linear power; say that they are "
        "decibels (--decibels), and they are turned into power first: 10 ** (dB / 10)."
    )


def _power(values: Sequence[NDArray[Any]], zero_is_none: bool) -> list[NDArray[Any]]:
    """Decibels as power.  Where nothing says what is no data, a pixel of 0 in all bands is."""
    with np.errstate(over="ignore"):
        power = [
            np.power(10, part / (part.dtype.type(10) if part.dtype.kind == "f" else 10.0))
            for part in values
        ]
    if zero_is_none:
        none = np.logical_and.reduce([(part == 0) | np.isnan(part) for part in values])
        power = [np.where(none, np.nan, part) for part in power]
    return power


def _rows_of(array: xr.DataArray, space: tuple[str, str], of_file: bool, choice: Choice) -> Rows:
    """A reader of rows through xarray, with fill values and scaling as CF has them."""
    unpack = unpacker(array.attrs, array.encoding, array.dtype, of_file, choice.zero_fills)
    array = array.transpose(*space)

    def read(first: int, stop: int) -> NDArray[Any]:
        return unpack(np.asarray(array[first:stop].values))

    return read
