"""The synthetic Sentinel-1: sigma0 as a function of place, day and pass, and of nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sandbox import land
from sandbox.orbit import Pass

CELL = 16  # pixels between two nodes of the coarse lattice, on which slow fields are computed
LOOKS = 4.4  # equivalent number of looks of an IW GRD image
SPECKLE_STEP = 1.3e-4  # degrees between two rows of the speckle lattice, 14.5 m

Array = NDArray[Any]


@njit(cache=True, nogil=True, inline="always")
def _mix(a, b, c):
    """A 64-bit hash of three integers (finalizer of SplitMix64)."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
    h ^= np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    h += np.uint64(c) * np.uint64(0x165667B19E3779F9)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@njit(cache=True, nogil=True, inline="always")
def _unit(h):
    """A hash as a number in [0, 1)."""
    return (h >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def _columns(row, step):
    """How many columns of about ``step`` a lattice row has around the Earth."""
    return max(1, int(round(360.0 / step * math.cos(math.radians((row + 0.5) * step)))))


@njit(cache=True, nogil=True)
def _noise(lon, lat, step, seed):
    """Smooth noise in [-1, 1] with features of about ``step`` degrees of latitude."""
    y = lat / step
    row = int(math.floor(y))
    fy = y - row
    fy = fy * fy * (3.0 - 2.0 * fy)
    total = 0.0
    for r in range(2):
        count = _columns(row + r, step)
        x = (lon + 180.0) / 360.0 * count
        column = int(math.floor(x))
        fx = x - column
        fx = fx * fx * (3.0 - 2.0 * fx)
        a = _unit(_mix(column % count, row + r, seed))
        b = _unit(_mix((column + 1) % count, row + r, seed))
        total += (a + (b - a) * fx) * (fy if r == 1 else 1.0 - fy)
    return 2.0 * total - 1.0


@njit(cache=True, nogil=True)
def _land_share(lon, lat, cells, top, left):
    """Share of land around a point: the mask smoothed by a quadratic B-spline."""
    y = (90.0 - lat) * 120.0 - top
    x = (lon + 180.0) * 120.0 - left
    i, j = int(math.floor(y)), int(math.floor(x))
    fy, fx = y - i - 0.5, x - j - 0.5
    wy = (0.5 * (0.5 - fy) ** 2, 0.75 - fy * fy, 0.5 * (0.5 + fy) ** 2)
    wx = (0.5 * (0.5 - fx) ** 2, 0.75 - fx * fx, 0.5 * (0.5 + fx) ** 2)
    total = 0.0
    for di in range(3):
        r = min(max(i + di - 1, 0), cells.shape[0] - 1)
        for dj in range(3):
            total += wy[di] * wx[dj] * cells[r, j + dj - 1]
    return total


@njit(cache=True, nogil=True)
def _coarse(lon, lat, cells, top, left, out):
    for i in range(lon.shape[0]):
        for j in range(lon.shape[1]):
            out[i, j] = _land_share(lon[i, j], lat[i, j], cells, top, left)


@njit(cache=True, nogil=True)
def _render(lon, lat, across, land_share, gy, gx, normal, gamma, seed, vv, vh):
    rows, columns = vv.shape
    for i in range(rows):
        node_i, fy = (i + gy) // CELL, ((i + gy) % CELL) / CELL
        for j in range(columns):
            node_j, fx = (j + gx) // CELL, ((j + gx) % CELL) / CELL
            a, b = (1 - fy) * (1 - fx), (1 - fy) * fx
            c, d = fy * (1 - fx), fy * fx
            f = (
                a * across[node_i, node_j]
                + b * across[node_i, node_j + 1]
                + c * across[node_i + 1, node_j]
                + d * across[node_i + 1, node_j + 1]
            )
            if not 0.0 <= f < 1.0 or vv[i, j] > 0.0 or vh[i, j] > 0.0:
                continue
            x = (
                a * lon[node_i, node_j]
                + b * lon[node_i, node_j + 1]
                + c * lon[node_i + 1, node_j]
                + d * lon[node_i + 1, node_j + 1]
            )
            y = (
                a * lat[node_i, node_j]
                + b * lat[node_i, node_j + 1]
                + c * lat[node_i + 1, node_j]
                + d * lat[node_i + 1, node_j + 1]
            )
            s = (
                a * land_share[node_i, node_j]
                + b * land_share[node_i, node_j + 1]
                + c * land_share[node_i + 1, node_j]
                + d * land_share[node_i + 1, node_j + 1]
            )
            if s + 0.3 * _noise(x, y, 0.004, 7) > 0.5:
                db = -10.0 + 2.5 * _noise(x, y, 0.004, 11)
                vh_db = db - 6.5
            else:
                db, vh_db = -18.0 - 4.0 * f, -32.0
            # Speckle
            ly = y / SPECKLE_STEP
            r0 = int(math.floor(ly))
            wy = ly - r0
            g1, g2, w2 = 0.0, 0.0, 0.0
            for r in range(2):
                count = _columns(r0 + r, SPECKLE_STEP)
                lx = (x + 180.0) / 360.0 * count
                c0 = int(math.floor(lx))
                wx = lx - c0
                wr = wy if r == 1 else 1.0 - wy
                for k in range(2):
                    w = wr * (wx if k == 1 else 1.0 - wx)
                    h = _mix((c0 + k) % count, r0 + r, seed)
                    g1 += w * normal[h & np.uint64(4095)]
                    g2 += w * normal[(h >> np.uint64(32)) & np.uint64(4095)]
                    w2 += w * w
            w2 = 1.0 / math.sqrt(w2)
            noise = 10.0 ** (-2.6)
            vv[i, j] = _power(db, noise, g1 * w2, gamma)
            vh[i, j] = _power(vh_db, noise, g2 * w2, gamma)


@njit(cache=True, nogil=True)
def _power(db, noise, normal, gamma):
    z = min(max((normal + 6.0) * 100.0, 0.0), gamma.size - 2.0)
    k = int(z)
    speckle = gamma[k] + (gamma[k + 1] - gamma[k]) * (z - k)
    return np.float32(max(0.0, (10.0 ** (0.1 * db) + noise) * speckle - noise))


def _tables() -> tuple[Array, Array]:
    from scipy import special

    normal = special.ndtri((np.arange(4096) + 0.5) / 4096)
    z = np.arange(0, 1202) / 100 - 6
    gamma = special.gammaincinv(LOOKS, np.clip(special.ndtr(z), 1e-12, 1 - 1e-12)) / LOOKS
    return normal, gamma


def render(
    lon: Array, lat: Array, offset: tuple[int, int], view: Pass, day_number: int, out: Array
) -> None:
    """Fill ``out`` (band, row, column) where it is 0 and the pass sees it."""
    across = view.across(lon, lat)
    if not ((across >= 0) & (across < 1)).any():
        return
    cells, top, left = land.window(
        float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
    )
    share = np.empty_like(lon)
    _coarse(lon, lat, cells, top, left, share)
    normal, gamma = _tables()
    seed = day_number * 1000 + view.relative_orbit * 2 + (view.orbit == "ASCENDING")
    _render(lon, lat, across, share, offset[0], offset[1], normal, gamma, seed, out[0], out[1])
