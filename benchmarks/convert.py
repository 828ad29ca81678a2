"""Conversion against the plain way and its peers, all in the same run on the same data.

The raster is one tile of 1 x 0.5 degrees at 50 N as the back end writes it: 41.6 million
pixels of 10 m in UTM, two bands of speckle over fields, deflated in blocks of 256 x 256.
Plain: project every pixel, `healpy.ang2pix`, `argsort`, `add.reduceat`.  Plain and peers
take half a minute each and run once or twice; of the short ones the best of several turns
counts.  What needs a process of its own, for its memory, gets one.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import healpy
import numpy as np
import psutil
import rasterio.warp
import xarray as xr
from pyproj import CRS, Transformer
from rasterio.transform import from_bounds, from_origin
from scipy.interpolate import griddata

import convert
from grid import BBox, Tile
from healpix.ids import ids_to_runs, runs_to_ids
from shared.collection import SENTINEL2

TILE = Tile(7.0, 50.0, 8.0, 50.5)
TILES = (
    Tile(7.0, 0.0, 8.0, 0.5),
    TILE,
    Tile(-71.0, -33.5, -70.0, -33.0),
    Tile(20.0, 85.0, 21.0, 85.5),
)
BANDS = ("VV", "VH")
OPTICAL = ("B02", "B03", "B04", "B08")
LOOKS = 4.4  # speckle: gamma distributed with this shape
TURNS = 7

Row = tuple[str, str, str, str]


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    with tempfile.TemporaryDirectory(prefix="benchmark-convert-") as folder:
        path = Path(folder) / "raster.nc"
        raster = speckle()
        write(raster, path)
        plain = child("plain", path)
        ours = child("ours", path)
        memory = child("memory", path)
        work = "`raster_to_cells`, 2 bands, in memory"
        plain_work, our_work = plain["work"], ours["work"]
        yield work, "plain way", "50 times faster", times(plain_work, our_work)
        both = plain["read"] + plain_work, ours["file"]
        yield "same, from the file", "plain way from the file", "16 times faster", times(*both)
        optical_path = path.with_name("optical.nc")
        write_optical(raster, optical_path)
        seconds = child("optical", optical_path)["file"]
        yield (
            "Sentinel-2, 4 bands, from the file, a band and pixel",
            "Sentinel-1, from the file",
            "1.3 of its time",
            share(seconds / len(OPTICAL), ours["file"] / len(BANDS)),
        )
        warp = best(partial(warp_average, raster), 3)
        yield (
            "same, in memory",
            "GDAL warp (average), 2 threads",
            "0.3 of its time",
            share(our_work, warp),
        )
        yield (
            "same, in memory",
            "healpix-resample GroupBy",
            "50 times faster",
            peer(raster, our_work),
        )
        yield (
            "peak memory, file to cells",
            "plain way",
            "0.9 GB",
            f"{memory['peak'] / 1e9:.2f} GB against {plain['peak'] / 1e9:.2f} GB",
        )
    yield from grids()
    yield from runs()


def speckle() -> xr.Dataset:
    """The raster: fields of different brightness, and speckle."""
    crs = CRS.from_epsg(32632)
    to_utm = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    west, south, east, north = TILE.west, TILE.south, TILE.east, TILE.north
    box = BBox(west - 0.001, south - 0.001, east + 0.001, north + 0.001)
    bounds = to_utm.transform_bounds(box.west, box.south, box.east, box.north, 201)
    west, south, east, north = (10 * round(v / 10) for v in bounds)
    x, y = np.arange(west + 5.0, east, 10), np.arange(north - 5.0, south, -10)
    random = np.random.default_rng(1)
    fields = random.gamma(3, 0.03, (y.size // 40 + 1, x.size // 40 + 1)).astype("f4")
    fields = fields.repeat(40, 0).repeat(40, 1)[: y.size, : x.size]
    data: dict[str, Any] = {"crs": ((), b"", {"crs_wkt": crs.to_wkt("WKT1_GDAL")})}
    for band, level in zip(BANDS, (1.0, 0.2), strict=True):
        values = (
            random.standard_gamma(LOOKS, fields.shape, np.float32)
            * fields
            * np.float32(level / LOOKS)
        )
        data[band] = (("y", "x"), values, {"grid_mapping": "crs"})
    return xr.Dataset(data, {"x": x, "y": y})


def write(raster: xr.Dataset, path: Path) -> None:
    layout = {"zlib": True, "chunksizes": (256, 256), "_FillValue": np.float32(0)}
    raster.to_netcdf(path, engine="netcdf4", encoding=dict.fromkeys(BANDS, layout))


def write_optical(raster: xr.Dataset, path: Path) -> None:
    """The same fields as Sentinel-2 has them: whole numbers, 1 for 0.0001."""
    packed = {
        band: (("y", "x"), (2e4 * raster[BANDS[i % 2]].values).clip(0, 15000).astype("i2"))
        for i, band in enumerate(OPTICAL)
    }
    layout = {"zlib": True, "chunksizes": (256, 256), "_FillValue": np.int16(-32768)}
    made = xr.Dataset({**packed, "crs": raster["crs"]}, {"x": raster["x"], "y": raster["y"]})
    made.to_netcdf(path, engine="netcdf4", encoding=dict.fromkeys(OPTICAL, layout))


def plain_cells(raster: xr.Dataset) -> tuple[Any, ...]:
    """The plain way: cell ids, means of the bands, counts."""
    to_lonlat = Transformer.from_crs(raster["crs"].attrs["crs_wkt"], "EPSG:4326", always_xy=True)
    x, y = np.meshgrid(raster["x"].values, raster["y"].values)
    lon, lat = to_lonlat.transform(x.ravel(), y.ravel())
    cell = healpy.ang2pix(convert.NSIDE, lon, lat, nest=True, lonlat=True)
    values = [raster[band].values.ravel() for band in BANDS]
    seen = (values[0] > 0) | (values[1] > 0)
    cell, values = cell[seen], [value[seen] for value in values]
    order = np.argsort(cell)
    cell = cell[order]
    first = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
    count = np.diff(np.append(first, cell.size))
    means = [np.add.reduceat(value[order], first) / count for value in values]
    return cell[first], means, count


def warp_average(raster: xr.Dataset) -> Any:
    """GDAL's average on the lat/lon grid that `cells_to_grid` would make."""
    shape = (2, round(0.5 / convert.DLAT), round(1 / convert.DLON))
    x, y = raster["x"].values, raster["y"].values
    return rasterio.warp.reproject(
        np.stack([raster[band].values for band in BANDS]),
        np.empty(shape, np.float32),
        src_transform=from_origin(x[0] - 5, y[0] + 5, 10, 10),
        src_crs="EPSG:32632",
        dst_transform=from_bounds(TILE.west, TILE.south, TILE.east, TILE.north, shape[2], shape[1]),
        dst_crs="EPSG:4326",
        resampling=rasterio.warp.Resampling.average,
        num_threads=2,
    )


def peer(raster: xr.Dataset, our_work: float) -> str:
    """healpix-resample's mean of the pixels in each cell, where it is installed."""
    if importlib.util.find_spec("healpix_resample") is None:
        return "not installed (`pip install healpix-resample`)"
    from healpix_resample import GroupByResampler

    start = time.perf_counter()
    to_lonlat = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    x, y = np.meshgrid(raster["x"].values, raster["y"].values)
    lon, lat = to_lonlat.transform(x.ravel(), y.ravel())
    values = np.stack([raster[band].values.ravel() for band in BANDS])
    resampler = GroupByResampler("mean", lon, lat, level=18, ellipsoid="sphere", verbose=False)
    resampler.resample(values)
    return times(time.perf_counter() - start, our_work)


def grids() -> Iterator[Row]:
    """Cells to the default grid, against griddata."""
    start, length = convert.tile_runs(TILE)
    ids = runs_to_ids(start, length)
    random = np.random.default_rng(2)
    data: dict[str, Any] = {
        band: ("cells", random.standard_gamma(LOOKS, ids.size, np.float32)) for band in BANDS
    }
    data |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    cells = xr.Dataset(data, attrs={"nside": convert.NSIDE, "ellipsoid": convert.ELLIPSOID})
    ours = {
        method: best(partial(convert.cells_to_grid, cells, TILE.bbox, method=method), TURNS)
        for method in ("nearest", "bilinear")
    }
    grid = convert.cells_to_grid(cells, TILE.bbox)
    points = np.stack(
        healpy.pix2ang(convert.NSIDE, ids.astype(np.int64), nest=True, lonlat=True), axis=1
    )
    values = np.stack([cells[band].values for band in BANDS], axis=1)
    target = np.stack(np.meshgrid(grid["lon"], grid["lat"]), axis=-1)
    theirs = best(lambda: griddata(points, values, target, method="nearest"), 1)
    work = f"`cells_to_grid`, {target.shape[0] * target.shape[1] / 1e6:.1f} M pixels, 2 bands"
    yield work, "scipy griddata nearest", "80 times faster", times(theirs, ours["nearest"])
    yield "same, bilinear", "scipy griddata nearest", "", times(theirs, ours["bilinear"])


def runs() -> Iterator[Row]:
    """The runs of tiles, against enumerating centres with healpy."""
    for tile in TILES:
        ours = best(partial(convert.tile_runs, tile), TURNS)
        theirs = best(partial(enumerate_centres, tile.bbox), 1)
        work = f"`tile_runs`, {tile.name}"
        yield work, "every centre by healpy", "10 times faster", times(theirs, ours)


def enumerate_centres(box: BBox) -> Any:
    """The cells of a box by healpy alone: those of a wider polygon, tested one by one."""
    wide = BBox(box.west - 0.01, box.south - 0.01, box.east + 0.01, box.north + 0.01)
    lon, lat = [wide.west, wide.east, wide.east, wide.west], [wide.south] * 2 + [wide.north] * 2
    corners = healpy.ang2vec(lon, lat, lonlat=True)
    ids = healpy.query_polygon(convert.NSIDE, corners, inclusive=True, nest=True)
    lon, lat = healpy.pix2ang(convert.NSIDE, ids, nest=True, lonlat=True)
    lon = np.where(lon >= 180, lon - 360, lon)
    inside = (lon >= box.west) & (lon < box.east) & (lat >= box.south) & (lat < box.north)
    return ids_to_runs(np.sort(ids[inside]))


def best(work: Callable[[], Any], turns: int) -> float:
    """The shortest of several turns, in seconds."""
    taken = []
    for _ in range(turns):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def times(theirs: float, ours: float) -> str:
    return f"{theirs / ours:.0f} times faster ({theirs:.3g} s against {ours:.3g} s)"


def share(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2f} of its time ({ours:.3g} s against {theirs:.3g} s)"


def child(what: str, path: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.convert", what, str(path)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    )
    return dict(json.loads(done.stdout))


def measure(what: str, path: Path) -> dict[str, float]:
    """Seconds to read the file, of the work in memory, from the file; peak memory in bytes."""
    result: dict[str, float] = {}
    if what == "memory":
        convert.raster_to_cells(path, TILE)
        return {"peak": peak()}
    if what == "optical":
        work = partial(
            convert.raster_to_cells, path, TILE, bands=OPTICAL, product=SENTINEL2.product
        )
        work()
        return {"file": best(work, TURNS)}
    read = lambda: xr.open_dataset(path, mask_and_scale=False).load()  # noqa: E731
    if what == "plain":
        result["read"] = best(read, 2)
    raster = read()
    if what == "plain":
        result["work"] = best(lambda: plain_cells(raster), 2)
        return result | {"peak": peak()}
    convert.raster_to_cells(raster, TILE)
    result["work"] = best(lambda: convert.raster_to_cells(raster, TILE), TURNS)
    return result | {"file": best(lambda: convert.raster_to_cells(path, TILE), TURNS)}


def peak() -> float:
    """The most memory that this process has had, in bytes."""
    if Path("/proc/self/status").exists():
        # Unlike ru_maxrss, this does not begin with what the parent had.
        status = Path("/proc/self/status").read_text()
        return 1024.0 * int(status.split("VmHWM:")[1].split()[0])
    if importlib.util.find_spec("resource") is not None:  # macOS, in bytes
        resource = importlib.import_module("resource")
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return float(getattr(psutil.Process().memory_info(), "peak_wset", np.nan))


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
