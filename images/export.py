"""From a grid of backscatter to a file that other programs open at the right place.

.nc   CF-1.11 netCDF: linear power and dB, coordinates with bounds, grid mapping
.tif  cloud-optimised GeoTIFF: linear power, one named band each, EPSG:4326
.png  the picture that `series.plot` draws, at 300 dpi
.gif  the images of several days, one after the other

A grid may be in memory or lazy (`retrieve.open`), and larger than memory: it is computed,
packed and written block by block, by `engine`.  Each file is written beside its final name,
read back, synced and renamed, so a file that is there is whole.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import math
import shutil
from collections.abc import Callable, Generator, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
import xarray as xr
from isal import isal_zlib
from numpy.typing import NDArray

from convert import plain_gaps
from grid import wrap
from images import figure as drawing
from images import series
from shared import compute
from shared.files import is_disk_full, reason, replacing, require_space

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vector = NDArray[Any]

CRS = "EPSG:4326"
CONVENTIONS = "CF-1.11"
STANDARD_NAME = "surface_backwards_scattering_coefficient_of_radar_wave"
DB_UNITS = "0.1 lg(re 1)"  # what UDUNITS, and so CF, calls dB
SUFFIXES = (".nc", ".tif", ".png", ".gif")
BLOCK = 2048  # pixels, side of what is computed and packed at a time
NC_CHUNK = 512  # pixels, side of a compressed block in the netCDF file
NC_LEVEL = 1  # deflate; speckle gains nothing from more
TIF_BLOCK = 512  # pixels, side of a tile of the GeoTIFF
TIF_LEVEL = 1  # deflate
TIF_CACHE = 256  # MB that GDAL keeps of what it reads and writes
DISK_FULL = 1_000_000  # bytes; with less free space a failed write is taken for a full disk
SPACE_FACTOR = 1.1  # free disk asked for before writing, per uncompressed byte

_COMPUTING = "It came when a block was computed, not when it was written."
_DIFFERS = "it does not read back as it was written"

Progress = Callable[[int, int], None]
Place = tuple[int, ...]  # of a block: the index of its first value along each dimension


def export(
    dataset: xr.Dataset,
    path: str | Path,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a grid of `retrieve.retrieve` or `retrieve.open` to ``path``; the suffix says how.

    ``progress`` is called with the number of blocks written and of all.

    Raises ValueError for another suffix or a dataset without bands, FileExistsError
    where something is and ``overwrite`` is False, IsADirectoryError,
    FileNotFoundError for a missing parent folder, OSError (ENOSPC) for a full disk.
    """
    path = checked_target(path, overwrite)
    suffix = path.suffix.lower()
    bands = drawing.grid_bands(dataset)
    size = sum(dataset[name].nbytes for name in bands) * {".nc": 2, ".tif": 1}.get(suffix, 0)
    if drawing.is_lazy(dataset):
        size = 0  # a large lazy grid is mostly gaps, which take no room
    require_space(path.parent, DISK_FULL + int(SPACE_FACTOR * size), f"Writing {path.name}")
    figure = series.plot(dataset) if suffix == ".png" else None
    with _replacing(path) as temporary:
        match suffix:
            case ".nc":
                write_netcdf(dataset, temporary, progress)
            case ".tif":
                write_geotiff(dataset, temporary, progress)
            case ".gif":
                series.animate(dataset, temporary)
        if figure is not None:
            _save_png(figure, temporary)
    return path


def has_pixels(dataset: xr.Dataset) -> bool:
    """Whether a grid has a value anywhere; a lazy one is computed until one is found."""
    bands, is_here = drawing.grid_bands(dataset), not drawing.is_lazy(dataset)
    found = _each_block(_in_blocks(dataset), bands, _have_values, is_here, None)
    with contextlib.closing(found):  # what has not begun by then is left
        return any(has for _, has in found)


def save_figure(figure: Figure, path: str | Path, overwrite: bool = False) -> Path:
    """Write a figure as .png at 300 dpi; errors as for `export`."""
    path = checked_target(path, overwrite, suffixes=(".png",))
    with _replacing(path) as temporary:
        _save_png(figure, temporary)
    return path


def save_line(
    rows: series.Statistics, attrs: dict[str, Any], path: str | Path, overwrite: bool = False
) -> Path:
    """Write the rows of `series.statistics` as a plot (.png) or as numbers (.csv)."""
    path = checked_target(path, overwrite, suffixes=(".png", ".csv"))
    with _replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            series.write_numbers(rows, temporary)
        else:
            _save_png(series.plot_line(rows, attrs), temporary)
    return path


def checked_target(
    path: str | Path, overwrite: bool = False, suffixes: tuple[str, ...] = SUFFIXES
) -> Path:
    """The path, if a file can be written there; cheap, so ask before the work."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it, like {path / 'x'}.png.")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path.name}: the name must end in {' or '.join(suffixes)}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist. Make it first.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already and was left as it is.")
    return path


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`files.replacing`; what the libraries call "HDF error" and the like is explained."""
    with replacing(path) as temporary:
        try:
            yield temporary
        except Exception as error:
            if not _is_of_writing(error):
                raise
            if is_disk_full(error) or shutil.disk_usage(path.parent).free < DISK_FULL:
                text = f"The disk of {path.parent} is full; {path.name} was not written."
                raise OSError(errno.ENOSPC, text) from error
            text = f"{path.name} could not be written to {path.parent}: {reason(error)}"
            raise OSError(f"{text.rstrip('.')}.  Nothing half done was kept.") from error


def _is_of_writing(error: Exception) -> bool:
    """Whether it is an error of the file, by Python or by a library that writes one."""
    if _COMPUTING in getattr(error, "__notes__", ()):
        return False
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, (OSError, RuntimeError)) or library in ("rasterio", "netCDF4")


def write_netcdf(dataset: xr.Dataset, path: Path, progress: Progress | None = None) -> None:
    """CF-1.11 netCDF-4, shuffled and deflated.

    xarray and netCDF4 write all but the large variables; of these each compressed block is
    made where it is computed, and put into the file as it is.
    """
    import h5py

    is_here = not drawing.is_lazy(dataset)
    described = cf_dataset(_in_blocks(dataset))
    large = [str(name) for name, values in described.data_vars.items() if values.chunks]
    _write_outline(described, large, path)
    checksums: dict[tuple[str, Place], int] = {}
    with h5py.File(path, "r+") as file:
        targets = {name: file[name].id for name in large}
        for place, packed in _computed(_each_block(described, large, _packed, is_here, progress)):
            for name, within, data, checksum in packed:
                at = tuple(a + b for a, b in zip(place, within, strict=True))
                targets[name].write_direct_chunk(at, data)
                checksums[name, at] = checksum
    with h5py.File(path) as file:
        targets = {name: file[name].id for name in large}
        for (name, at), checksum in checksums.items():
            if google_crc32c.value(targets[name].read_direct_chunk(at)[1]) != checksum:
                raise OSError(_DIFFERS)


def _write_outline(described: xr.Dataset, large: list[str], path: Path) -> None:
    """The file without the values of the large variables."""
    packed = {"zlib": True, "complevel": NC_LEVEL, "shuffle": True, "_FillValue": np.float32("nan")}
    encoding: dict[str, dict[str, Any]] = {
        name: packed | {"chunksizes": _nc_chunks(described[name].shape)} for name in large
    }
    encoding |= {name: {"_FillValue": None} for name in ("lat", "lon", "lat_bnds", "lon_bnds")}
    if "time" in described.coords:
        since = {"units": "seconds since 1970-01-01", "calendar": "standard", "dtype": "int64"}
        encoding["time"] = {"_FillValue": None, **since}
    # Lazy values are left for later, that is to us; without a reference the file is closed.
    described.to_netcdf(path, engine="netcdf4", encoding=encoding, compute=False)


def _nc_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (len(shape) - 2) + tuple(min(NC_CHUNK, size) for size in shape[-2:])


def _packed(
    names: list[str], arrays: list[Vector], whole: tuple[int, ...]
) -> list[tuple[str, Place, bytes, int]]:
    """The compressed chunks of a block: variable, place within the block, bytes, their crc32c.

    ``whole`` is the shape of the whole variable, which the chunks' shape depends on.  A
    chunk without a value is left out.
    """
    shape = _nc_chunks(whole)
    full = np.empty(shape, "<f4")
    by_byte = np.empty((full.itemsize, full.size), np.uint8)  # first bytes first, as HDF5 has it
    found = []
    for name, array in zip(names, arrays, strict=True):
        for at in product(*(range(0, n, step) for n, step in zip(array.shape, shape, strict=True))):
            part = array[tuple(slice(i, i + n) for i, n in zip(at, shape, strict=True))]
            if not np.isnan(part).all():
                if part.shape != shape:
                    full.fill(np.nan)  # a chunk on the border is padded
                full[tuple(slice(0, n) for n in part.shape)] = plain_gaps(part)
                by_byte[:] = full.view(np.uint8).reshape(full.size, full.itemsize).T
                data = isal_zlib.compress(by_byte, NC_LEVEL)
                found.append((name, at, data, google_crc32c.value(data)))
    return found


def write_geotiff(dataset: xr.Dataset, path: Path, progress: Progress | None = None) -> None:
    """Cloud-optimised GeoTIFF: float32, NaN for no data, overviews averaged in power.

    A band for each band of the grid, of several days one for each day and band.
    """
    import rasterio
    import rasterio.shutil

    bands, is_here = drawing.grid_bands(dataset), not drawing.is_lazy(dataset)
    blocks = _in_blocks(dataset)
    plain = path.with_name(f"{path.stem}.plain{path.suffix}")
    checksums: dict[Place, list[int]] = {}
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=TIF_CACHE),
            rasterio.open(plain, "w", **_tif_profile(dataset)) as target,
        ):
            for number, (name, day) in enumerate(_layers(dataset), 1):
                target.set_band_description(number, f"{name} {day}".strip())
                target.set_band_unit(number, "1")
            target.update_tags(**{str(k): str(v) for k, v in dataset.attrs.items()})
            for place, arrays in _computed(
                _each_block(blocks, bands, _with_plain_gaps, is_here, progress)
            ):
                for window, layer, values in _windows(dataset, place, arrays):
                    target.write(values, layer, window=window)
                checksums[place] = [_checksum(array) for array in arrays]
        with rasterio.Env(GDAL_CACHEMAX=TIF_CACHE):
            _add_overviews(plain)
            rasterio.shutil.copy(plain, path, **_tif_layout("time" in dataset.dims))
            with rasterio.open(path) as back:
                _require_same_blocks(blocks, bands, back, checksums)
    finally:
        plain.unlink(missing_ok=True)


def _add_overviews(plain: Path) -> None:
    """Halve the image until it fits one tile, by means.  The COG driver takes far longer."""
    import rasterio
    from rasterio.enums import Resampling

    with (
        rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=TIF_BLOCK, GDAL_NUM_THREADS="ALL_CPUS"),
        rasterio.open(plain, "r+") as image,
    ):
        halvings = math.ceil(math.log2(max(1, max(image.shape) / TIF_BLOCK)))
        image.build_overviews([2**i for i in range(1, halvings + 1)], Resampling.average)


def _tif_layout(many: bool) -> dict[str, Any]:
    """How GDAL lays out the final file.

    Its COG driver puts the bands of a pixel side by side, so that who wants one of many days
    has to inflate them all; of several days each layer is by itself.
    """
    options: dict[str, Any] = {"bigtiff": "if_safer", "num_threads": "all_cpus"}
    options |= {"compress": "deflate", "predictor": 3}
    if not many:
        return {"driver": "COG", "blocksize": TIF_BLOCK, "level": TIF_LEVEL, **options}
    return {
        "driver": "GTiff", "copy_src_overviews": True, "interleave": "band", "tiled": True,
        "blockxsize": TIF_BLOCK, "blockysize": TIF_BLOCK, "zlevel": TIF_LEVEL, **options,
    }  # fmt: skip


def _tif_profile(dataset: xr.Dataset) -> dict[str, Any]:
    import rasterio

    west, east, south, north = drawing.grid_edges(dataset)
    height, width = dataset.sizes["lat"], dataset.sizes["lon"]
    return {
        "driver": "GTiff", "dtype": "float32", "nodata": np.nan, "crs": CRS,
        "count": len(_layers(dataset)), "height": height, "width": width,
        "transform": rasterio.Affine(
            (east - west) / width, 0, west, 0, (south - north) / height, north
        ),
        "tiled": True, "blockxsize": TIF_BLOCK, "blockysize": TIF_BLOCK, "sparse_ok": True,
        "interleave": "band", "bigtiff": "if_safer",
    }  # fmt: skip


def _layers(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """Band and day ("" of a single image) of each layer of a GeoTIFF."""
    bands = drawing.grid_bands(dataset)
    if "time" not in dataset[bands[0]].dims:
        return [(band, "") for band in bands]
    days = [str(time)[:10] for time in dataset["time"].values]
    return [(band, day) for day in days for band in bands]


def _windows(
    dataset: xr.Dataset, place: Place, arrays: list[Vector]
) -> Iterator[tuple[Any, int, Vector]]:
    """Window, layer and values, north up, of a block of each band."""
    from rasterio.windows import Window

    time = place[0] if len(place) == 3 else 0
    row, column = place[-2:]
    for number, array in enumerate(arrays, 1):
        values = array.reshape(array.shape[-2:])[::-1]
        height, width = values.shape
        top = dataset.sizes["lat"] - row - height
        yield Window(column, top, width, height), time * len(arrays) + number, values


def _require_same_blocks(
    dataset: xr.Dataset, bands: list[str], back: Any, checksums: dict[Place, list[int]]
) -> None:
    for place, shape in _places(dataset[bands[0]]):
        nothing = [np.empty(shape, np.float32)] * len(bands)
        found = []
        for window, layer, _ in _windows(dataset, place, nothing):
            found.append(_checksum(back.read(layer, window=window)[::-1]))
        if found != checksums[place]:
            raise OSError(_DIFFERS)


def _checksum(values: Vector) -> int:
    """The same for the same values: of gaps and zeros the bits may differ."""
    return int(google_crc32c.value((plain_gaps(values) + np.float32(0)).tobytes()))


def _in_blocks(dataset: xr.Dataset) -> xr.Dataset:
    """The bands of a grid as dask arrays, float32, of blocks that are written at a time."""
    sizes = {"lat": BLOCK, "lon": BLOCK} | ({"time": 1} if "time" in dataset.dims else {})
    bands = drawing.grid_bands(dataset)
    rest = dataset.drop_vars(bands).compute()
    blocks = {name: dataset[name].chunk(sizes) for name in bands}
    return rest.assign({name: block.astype("<f4", copy=False) for name, block in blocks.items()})


def _places(values: xr.DataArray) -> Iterator[tuple[Place, tuple[int, ...]]]:
    """Place and shape of each block of a variable."""
    assert values.chunks is not None
    along = []
    for sizes in values.chunks:
        ends = np.cumsum(sizes).tolist()
        along.append([(end - size, size) for end, size in zip(ends, sizes, strict=True)])
    for block in product(*along):
        yield tuple(first for first, _ in block), tuple(size for _, size in block)


def _each_block(
    dataset: xr.Dataset,
    names: list[str],
    work: Callable[..., Any],
    is_here: bool,
    progress: Progress | None,
) -> Generator[tuple[Place, Any], None, None]:
    """For each block its place, and what ``work(names, arrays, whole shape)`` makes of it."""
    import dask

    values = [dataset[name] for name in names]
    # Optimised one by one, the bands of a block would no longer share the reading of it.
    blocks = [array.data.to_delayed(optimize_graph=False).ravel() for array in values]
    task, places = dask.delayed(work), [place for place, _ in _places(values[0])]
    pieces = (task(names, list(some), values[0].shape) for some in zip(*blocks, strict=True))
    for done, found in enumerate(zip(places, compute.each(pieces, is_here), strict=True), 1):
        yield found
        if progress is not None:
            progress(done, len(places))


def _computed(blocks: Iterator[tuple[Place, Any]]) -> Iterator[tuple[Place, Any]]:
    """The blocks; what goes wrong with one is told apart from what goes wrong with the file."""
    try:
        yield from blocks
    except Exception as error:
        error.add_note(_COMPUTING)
        raise


def _with_plain_gaps(_names: list[str], arrays: list[Vector], _whole: object) -> list[Vector]:
    return [plain_gaps(array) for array in arrays]


def _have_values(_names: list[str], arrays: list[Vector], _whole: object) -> bool:
    return any(not np.isnan(array).all() for array in arrays)


def _save_png(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=drawing.DPI, metadata={"Description": str(figure.get_label())})


def cf_dataset(dataset: xr.Dataset) -> xr.Dataset:
    """A copy with all that CF-1.11 asks for: dB beside linear, bounds, box, history."""
    bands = drawing.grid_bands(dataset)
    west, east, south, north = drawing.grid_edges(dataset)
    out = georeferenced(dataset[bands]).reset_coords("crs")
    for name in bands:
        attrs = {**out[name].attrs, "long_name": f"{name} backscatter, sigma nought, in dB"}
        attrs |= {"units": DB_UNITS, "comment": "dB; no value where the linear power is 0"}
        decibel = xr.apply_ufunc(
            _decibel, out[name], dask="parallelized", output_dtypes=[np.float32]
        )
        out[f"{name}_dB"] = decibel.assign_attrs(attrs)
    out["lat_bnds"] = (("lat", "bnds"), _bounds(dataset["lat"].values, south, north))
    out["lon_bnds"] = (("lon", "bnds"), _bounds(dataset["lon"].values, west, east))
    out["lat"].attrs["bounds"], out["lon"].attrs["bounds"] = "lat_bnds", "lon_bnds"
    for name in ("crs", "lat_bnds", "lon_bnds"):
        out[name].encoding["coordinates"] = None  # xarray would say that time belongs to them
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    out.attrs = {
        "Conventions": CONVENTIONS,
        **dataset.attrs,
        "history": "\n".join(filter(None, [dataset.attrs.get("history"), f"{now} exported"])),
        **_days_covered(dataset),
        "geospatial_lon_min": wrap(west),
        "geospatial_lon_max": wrap(east) if east > 180 else east,
        "geospatial_lat_min": south,
        "geospatial_lat_max": north,
        "geospatial_bounds_crs": CRS,
    }
    return out


def _decibel(power: Vector) -> Vector:
    decibel = drawing.to_db(power)
    decibel[np.isneginf(decibel)] = np.nan
    return decibel


def _days_covered(dataset: xr.Dataset) -> dict[str, str]:
    if "time" not in dataset.coords:
        return {}
    start, last = dataset["time"].values.astype("datetime64[s]").ravel()[[0, -1]]
    end = last + np.timedelta64(1, "D")
    return {"time_coverage_start": f"{start}Z", "time_coverage_end": f"{end}Z"}


def georeferenced(dataset: xr.Dataset) -> xr.Dataset:
    """A shallow copy that says by CF what its bands and coordinates are."""
    from pyproj import CRS as PyprojCRS

    out = dataset.assign_coords(crs=((), np.int32(0), PyprojCRS.from_user_input(CRS).to_cf()))
    for axis, name, units, letter in (
        ("lat", "latitude", "degrees_north", "Y"),
        ("lon", "longitude", "degrees_east", "X"),
    ):
        long_name = f"{name} of the pixel centre"
        out[axis].attrs = {
            "standard_name": name, "long_name": long_name, "units": units, "axis": letter
        }  # fmt: skip
    if "time" in out.coords:
        out["time"].attrs = {
            "standard_name": "time", "long_name": "start of the UTC day", "axis": "T",
            "units_metadata": "leap_seconds: none",
        }  # fmt: skip
    for name in drawing.grid_bands(dataset):
        out[name].attrs = {
            "standard_name": STANDARD_NAME,
            "long_name": f"{name} backscatter, sigma nought, linear power",
            "units": "1",
            "radar_polarization": name,
            "grid_mapping": "crs",
        }
    return out


def _bounds(centres: Vector, first: float, last: float) -> Vector:
    edges = np.concatenate([[first], (centres[:-1] + centres[1:]) / 2, [last]])
    return np.column_stack([edges[:-1], edges[1:]])
