"""Where things are on the sphere, by others than ourselves: healpy and healpix-geo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from grid import BBox, Tile, tiles_covering, wrap


def tile_at(lon: float, lat: float, size: Sequence[float]) -> Tile:
    """The tile that owns a point: the only one of the smallest box from there."""
    east, north = math.nextafter(lon, math.inf), math.nextafter(lat, math.inf)
    (tile,) = tiles_covering(BBox(lon, lat, east, north), size)
    return tile


def grown(box: BBox, margin: float) -> BBox:
    """The box, larger by a margin on every side, around 180 degrees if need be."""
    south, north = max(-90.0, box.south - margin), min(90.0, box.north + margin)
    if box.width + 2 * margin >= 360:
        return BBox(-180, south, 180, north)
    east = box.east + margin
    return BBox(wrap(box.west - margin), south, east if east <= 180 else east - 360, north)


def cells_at(lon: Any, lat: Any, nside: int, ellipsoid: str) -> np.ndarray:
    """The nested ids of the cells around points, uint64."""
    if ellipsoid == "sphere":
        healpy = pytest.importorskip("healpy", reason="has no wheel for this system")
        return np.asarray(healpy.ang2pix(nside, lon, lat, nest=True, lonlat=True), np.uint64)
    nested = pytest.importorskip("healpix_geo").nested
    level = nside.bit_length() - 1
    found = nested.lonlat_to_healpix(np.asarray(lon), np.asarray(lat), level, ellipsoid=ellipsoid)
    return np.asarray(found, np.uint64)


def centres_of(ids: Any, nside: int, ellipsoid: str) -> tuple[np.ndarray, np.ndarray]:
    """The centres of nested cells: longitude in [-180, 180) and latitude."""
    healpy = pytest.importorskip("healpy", reason="has no wheel for this system")
    # Longitudes are the same on both; where one is a multiple of 45 they may round otherwise.
    lon, lat = healpy.pix2ang(nside, np.asarray(ids, np.int64), nest=True, lonlat=True)
    if ellipsoid != "sphere":
        nested = pytest.importorskip("healpix_geo").nested
        level = nside.bit_length() - 1
        _, lat = nested.healpix_to_lonlat(np.asarray(ids, np.uint64), level, ellipsoid=ellipsoid)
    return np.where(lon >= 180, lon - 360, lon), np.asarray(lat)
