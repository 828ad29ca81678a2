"""Real openEO output through convert, store and retrieve, against pyproj and healpy."""

from __future__ import annotations

import datetime as dt

import healpy
import netCDF4
import numpy as np
import pyproj
import pytest

import convert
import retrieve
import store
from grid import BBox, Chunk
from tests.conftest import ROOT
from tests.sphere import tile_at

DATA = ROOT.parent / "shared" / "data"
FILES = ["cdse_s1_sigma0_reduced.nc", "cdse_s1_sigma0_t2.nc"]
DAY = dt.date(2026, 1, 20)

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the project")


def by_hand(path):
    """Mean and count per HEALPix cell: every pixel projected by PROJ, looked up by healpy."""
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        x, y = file["x"][:], file["y"][:]
        bands = {name: file[name][:].reshape(-1, y.size, x.size)[0] for name in ("VV", "VH")}
        crs = pyproj.CRS(file["crs"].crs_wkt)
    lon, lat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(
        *np.meshgrid(x, y)
    )
    stack = np.stack(list(bands.values())).astype(np.float64)
    seen = (np.isfinite(stack) & (stack > 0)).any(axis=0)
    ids = healpy.ang2pix(convert.NSIDE, lon[seen], lat[seen], nest=True, lonlat=True)
    cells, inverse, count = np.unique(ids, return_inverse=True, return_counts=True)
    means = {name: np.bincount(inverse, v[seen]) / count for name, v in bands.items()}
    return lon, lat, cells, count, means


@pytest.mark.parametrize("name", FILES)
def test_real_files_come_back_as_an_independent_computation_has_them(name, tmp_path):
    lon, lat, cells, count, means = by_hand(DATA / name)
    tile = tile_at(lon.mean(), lat.mean(), (1, 0.5))
    archive = store.Archive(tmp_path / "real.zarr")
    chunk = Chunk(tile, DAY)
    assert archive.write(chunk, convert.raster_to_cells(DATA / name, tile))

    box = BBox(lon.min(), lat.min(), lon.max(), lat.max())
    grid = retrieve.retrieve(archive, box, DAY)
    look = healpy.ang2pix(
        convert.NSIDE, *np.meshgrid(grid["lon"], grid["lat"]), nest=True, lonlat=True
    )
    at = np.searchsorted(cells, look).clip(max=len(cells) - 1)
    found = cells[at] == look
    assert found.mean() > 0.9
    for band in ("VV", "VH"):
        expected = np.where(found, means[band][at], np.nan)
        np.testing.assert_allclose(grid[band], expected, rtol=1e-6)

    stored = archive.read(chunk)
    assert stored["count"].values.sum(dtype=int) == count.sum()
    for band in ("VV", "VH"):
        total = np.nansum(stored[band].values.astype(np.float64) * stored["count"].values)
        assert total == pytest.approx((means[band] * count).sum(), rel=1e-6)
