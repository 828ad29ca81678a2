"""A grid as cloud-optimised GeoTIFF: linear power, one named layer for each band and day."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np

from cells.regrid import plain_gaps
from images.grids import (
    CRS,
    DAY,
    DAY_ATTRS,
    grid_edges,
    grid_layers,
    is_known,
    is_lazy,
    known_passes,
    labels_of,
)
from images.pieces import DIFFERS, Place, Progress, Vector, computed, each_block, in_blocks, places
from shared.collection import product_of

if TYPE_CHECKING:
    import xarray as xr

BLOCK = 512  # pixels, side of a tile of the GeoTIFF
LEVEL = 1  # deflate
CACHE = 256  # MB that GDAL keeps of what it reads and writes


def write_geotiff(dataset: xr.Dataset, path: Path, progress: Progress | None = None) -> None:
    """Cloud-optimised GeoTIFF: float32, NaN for no data, overviews averaged in power.

    A band for each band of the grid, of several days one for each day and band.
    """
    import rasterio
    import rasterio.shutil

    bands, is_here = grid_layers(dataset), not is_lazy(dataset)
    blocks = in_blocks(dataset)
    plain = path.with_name(f"{path.stem}.plain{path.suffix}")
    checksums: dict[Place, list[int]] = {}
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=CACHE),
            rasterio.open(plain, "w", **_profile(dataset)) as target,
        ):
            for number, (name, label) in enumerate(_layers(dataset), 1):
                target.set_band_description(number, f"{name} {label}".strip())
                target.set_band_unit(number, _unit(dataset, name))
                target.update_tags(number, **_taken(dataset, (number - 1) // len(bands)))
            target.update_tags(**{str(k): str(v) for k, v in dataset.attrs.items()})
            for place, arrays in computed(
                each_block(blocks, bands, _with_plain_gaps, progress, is_here)
            ):
                for window, layer, values in _windows(dataset, place, arrays):
                    target.write(values, layer, window=window)
                checksums[place] = [_checksum(array) for array in arrays]
        with rasterio.Env(GDAL_CACHEMAX=CACHE):
            _add_overviews(plain)
            rasterio.shutil.copy(plain, path, **_layout("time" in dataset.dims))
            with rasterio.open(path) as back:
                _require_same_blocks(blocks, bands, back, checksums)
    finally:
        plain.unlink(missing_ok=True)


def _add_overviews(plain: Path) -> None:
    """Halve the image until it fits one tile, by means.  The COG driver takes far longer."""
    import rasterio
    from rasterio.enums import Resampling

    with (
        rasterio.Env(GDAL_TIFF_OVR_BLOCKSIZE=BLOCK, GDAL_NUM_THREADS="ALL_CPUS"),
        rasterio.open(plain, "r+") as image,
    ):
        halvings = math.ceil(math.log2(max(1, max(image.shape) / BLOCK)))
        image.build_overviews([2**i for i in range(1, halvings + 1)], Resampling.average)


def _layout(many: bool) -> dict[str, Any]:
    """How GDAL lays out the final file.

    Its COG driver puts the bands of a pixel side by side, so that who wants one of many days
    has to inflate them all; of several days each layer is by itself.
    """
    options: dict[str, Any] = {"bigtiff": "if_safer", "num_threads": "all_cpus"}
    options |= {"compress": "deflate", "predictor": 3}
    if not many:
        return {"driver": "COG", "blocksize": BLOCK, "level": LEVEL, **options}
    return {
        "driver": "GTiff", "copy_src_overviews": True, "interleave": "band", "tiled": True,
        "blockxsize": BLOCK, "blockysize": BLOCK, "zlevel": LEVEL, **options,
    }  # fmt: skip


def _profile(dataset: xr.Dataset) -> dict[str, Any]:
    import rasterio

    west, east, south, north = grid_edges(dataset)
    height, width = dataset.sizes["lat"], dataset.sizes["lon"]
    return {
        "driver": "GTiff", "dtype": "float32", "nodata": np.nan, "crs": CRS,
        "count": len(_layers(dataset)), "height": height, "width": width,
        "transform": rasterio.Affine(
            (east - west) / width, 0, west, 0, (south - north) / height, north
        ),
        "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "sparse_ok": True,
        "interleave": "band", "bigtiff": "if_safer",
    }  # fmt: skip


def _layers(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """Band and image ("" of a single one) of each layer of a GeoTIFF."""
    bands = grid_layers(dataset)
    if "time" not in dataset[bands[0]].dims:
        return [(band, "") for band in bands]
    return [(band, label) for label in labels_of(dataset) for band in bands]


def _taken(dataset: xr.Dataset, time: int) -> dict[str, str]:
    """When and by what an image was taken, as far as it is known; UTC."""
    found = {}
    for name in known_passes(dataset):
        value = np.atleast_1d(dataset[name].values)[time]
        if is_known(value):
            is_time = value.dtype.kind == "M"
            found[name] = f"{value.astype('datetime64[s]')}Z" if is_time else str(value)
    return found


def _unit(dataset: xr.Dataset, layer: str) -> str:
    return DAY_ATTRS["units"] if layer == DAY else product_of(dataset.attrs).band(layer).units


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
    for place, shape in places(dataset[bands[0]]):
        nothing = [np.empty(shape, np.float32)] * len(bands)
        found = []
        for window, layer, _ in _windows(dataset, place, nothing):
            found.append(_checksum(back.read(layer, window=window)[::-1]))
        if found != checksums[place]:
            raise OSError(DIFFERS)


def _checksum(values: Vector) -> int:
    """The same for the same values: of gaps and zeros the bits may differ."""
    return int(google_crc32c.value((plain_gaps(values) + np.float32(0)).tobytes()))


def _with_plain_gaps(_names: list[str], arrays: list[Vector], _whole: object) -> list[Vector]:
    return [plain_gaps(array) for array in arrays]
