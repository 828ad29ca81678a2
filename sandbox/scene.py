"""The synthetic Sentinel-1: linear sigma0 as a function of place, day and pass alone.

The land is that of `ground`; this is how bright its parts are (VV / VH in dB):

* sea: VV falls with incidence and rises with wind as CMOD5 does near 35 degrees (Hersbach
  et al. 2007, doi:10.1029/2006JC003743), VH by C-2PO, ``0.580 U - 35.652`` (Zhang and
  Perrie 2012); a few ships of +8 to +16 dB with their side lobes
* fields: -10 to -15 / -16 to -21, parcel by parcel, with the seasons of their crops
  (Veloso et al. 2017, doi:10.1016/j.rse.2017.07.015)
* forest: -8 / -14, hardly changing
* towns: -7 to 0 with single scatterers up to +12, VH 7 dB lower
* rivers: -21 / -28

Speckle is a gamma variate of 4.4 looks, the equivalent number of looks of an IW GRD image
(Sentinel-1 Product Definition, S1-RS-MDA-52-7440), correlated over two pixels.  Thermal
noise goes in before speckle and is subtracted after it, and what comes out negative is
clipped at 0, as the processor does: hence the zeros in VH over calm water.
"""

from __future__ import annotations

import datetime as dt
import math
from functools import cache
from statistics import NormalDist

import numpy as np

from sandbox import land
from sandbox.ground import (
    ACROSS,
    BUILT,
    CELL,
    COAST,
    COAST_SHARES,
    FOREST,
    GAIN,
    LAND,
    LAT,
    LON,
    METRES,
    PARCELS,
    PX,
    PY,
    RIVER_BED,
    TEXTURE,
    TOWN,
    TREES,
    WIND,
    Array,
    Block,
    Rows,
    count_columns,
    cover_at,
    crop_at,
    fill_nodes,
    grown_at,
    lattice_rows,
    mix,
    nearest_block,
    noise_at,
    parcel_at,
    seasons,
    span,
    unit,
)
from sandbox.loops import compiled, inlined, kernel
from sandbox.orbit import FIRST_DAY, REPEAT, Pass, passes

LOOKS = 4.4  # equivalent number of looks
NEAR_INCIDENCE, FAR_INCIDENCE = 29.0, 46.0  # degrees at the edges of the swath
NOISE_DB = -28.0  # noise equivalent sigma0 in the middle of a sub-swath
NOISE_RISE = 3.0  # dB, how much higher it is at a sub-swath's edges

SPECKLE = 1.3e-4  # rows of a lattice, degrees of latitude
SHIPS = 6.0e-2  # one place for a ship in each
SHIP_CHANCE = 0.2
SHIP_MARGIN = 0.12  # share of its place that a ship keeps from the edge
# Crops: VV and VH in winter (dB), and their change at the peak of the season.
CROPS = np.array(
    [
        [-12.0, -19.0, 0.8, 1.2],  # grass
        [-11.5, -18.5, -2.5, -1.0],  # winter cereals
        [-10.5, -20.0, 1.0, 5.0],  # maize
        [-10.0, -19.0, 0.8, 3.5],  # potatoes, beet
        [-9.5, -15.5, 0.5, 0.8],  # orchards
    ]
)


Ship = tuple[float, float, float, float, float, float]


@compiled
def _ship(lon: float, lat: float, seed: int) -> Ship:
    """The ship near a point: metres east and north of it, heading, length, width, level.

    A level of 0 means that there is none.  A ship keeps away from the edges of its place,
    so no other place has to be looked at.
    """
    y = lat / SHIPS
    row = math.floor(y)
    count = count_columns(row, SHIPS)
    x = (lon + 180.0) / 360.0 * count
    column = math.floor(x)
    h = mix(column % count, row, seed)
    if unit(h, 0) >= SHIP_CHANCE:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    room = 1.0 - 2.0 * SHIP_MARGIN
    east = (column + SHIP_MARGIN + room * unit(h, 1) - x) * SHIPS * METRES
    north = (row + SHIP_MARGIN + room * unit(h, 2) - y) * SHIPS * METRES
    k = mix(h, 1, seed)
    length = 60.0 + 280.0 * unit(k, 0) ** 2
    return east, north, math.pi * unit(h, 3), length, 0.12 * length + 8.0, 8.0 + 8.0 * unit(k, 1)


@compiled
def _ship_db(ship: Ship, east: float, north: float, look: float) -> float:
    """What a ship shows at a point, metres east and north, in dB; -99 for nothing."""
    x, y = east - ship[0], north - ship[1]
    c, s = math.cos(ship[2]), math.sin(ship[2])
    a, b = abs(c * x + s * y), abs(c * y - s * x)
    if a < 0.5 * ship[3] and b < 0.5 * ship[4]:
        return ship[5] - 6.0 * b / ship[4]
    # Side lobes lie along the track, which leans 12 degrees from the meridian, and across.
    c, s = 0.978, 0.208 * look
    a, b = abs(c * x + s * y), abs(c * y - s * x)
    if min(a, b) < 8.0 and max(a, b) < 350.0:
        return ship[5] - 19.0 - 0.045 * max(a, b)
    return -99.0


@compiled
def _sea_db(wind: float, incidence: float) -> tuple[float, float]:
    vv = -27.5 + 15.0 * math.log10(wind) - 0.42 * (incidence - 35.0)
    return vv, 0.580 * wind - 35.652 - 0.1 * (incidence - 35.0)


@compiled
def _field_db(
    parcel: int, edge: float, forest: float, lat: float, season: Array
) -> tuple[float, float]:
    """A parcel with its crop."""
    crop = crop_at(parcel, forest)
    own = 3.0 * (unit(parcel, 1) - 0.5)
    if edge < 6.0:
        own -= 1.5
    grown = grown_at(crop, lat, season)
    vv, vh = CROPS[crop, 0] + grown * CROPS[crop, 2], CROPS[crop, 1] + grown * CROPS[crop, 3]
    return vv + own, vh + own


@compiled
def _town_db(lon: float, lat: float, built: float, parcel: int) -> tuple[float, float]:
    """Blocks of houses, and single scatterers on a lattice of about 22 m."""
    row = math.floor(lat / 2e-4)
    column = math.floor(lon / 2e-4 * math.cos(math.radians(0.1 * math.floor(10.0 * lat))))
    h = mix(column, row, 71)
    level = -9.5 + 4.5 * built + 5.0 * (unit(parcel, 2) - 0.5)
    if unit(h, 0) < 0.015 + 0.06 * built:
        level += 4.0 + 14.0 * unit(h, 1)
    elif unit(h, 2) < 0.35 - 0.3 * built:
        level -= 4.0  # gardens
    return level, level - 7.0


@compiled
def _row_keys(seed: int, rows: Rows) -> Array:
    """A hash of each row of a lattice, so that a pixel need not make it."""
    keys = np.empty(rows[1].size, np.uint64)
    for i in range(keys.size):
        keys[i] = mix(rows[0] + i, seed, 11)
    return keys


@inlined
def _speckle(lon: float, lat: float, rows: Rows, keys: Array, normal: Array) -> tuple[float, float]:
    """Two independent standard normal variates, each smooth over a lattice cell."""
    first, counts = rows
    y = lat / SPECKLE
    row = math.floor(y)
    share_y = y - row
    turn = (lon + 180.0) / 360.0
    a, b, squares = 0.0, 0.0, 0.0
    for r in range(2):
        count = counts[row + r - first]
        x = turn * count
        column = math.floor(x)
        share_x = x - column
        weight_y = share_y if r == 1 else 1.0 - share_y
        for c in range(2):
            weight = weight_y * (share_x if c == 1 else 1.0 - share_x)
            place = column + c
            if place >= count:
                place -= count
            h = (np.uint64(place) + keys[row + r - first]) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
            a += weight * normal[h >> np.uint64(52)]
            b += weight * normal[(h >> np.uint64(36)) & np.uint64(4095)]
            squares += weight * weight
    scale = 1.0 / math.sqrt(squares)
    return a * scale, b * scale


@inlined
def _power(db: float, noise: float, normal: float, gamma: Array, linear: Array) -> float:
    """A level with noise and speckle, less the noise, clipped at 0."""
    z = min(max((normal + 6.0) * 100.0, 0.0), gamma.size - 2.0)
    k = int(z)
    speckle = gamma[k] + (gamma[k + 1] - gamma[k]) * (z - k)
    level = linear[int((min(max(db, -49.0), 29.0) + 50.0) * 100.0)]
    power: float = (level + noise) * speckle - noise
    return max(0.0, power)


@inlined
def _ground_db(at: Array, block: Block, season: Array, rows: Rows) -> tuple[float, float]:
    """VV and VH of land, from the fields at a pixel; ``rows`` are those of the texture."""
    lon, lat = at[LON], at[LAT]
    parcel, edge = parcel_at(lon, lat, block)
    cover = cover_at(at, parcel, rows)
    if cover == RIVER_BED:
        vv, vh = -21.0, -28.0
    elif cover == BUILT:
        vv, vh = _town_db(lon, lat, at[TOWN], parcel)
    elif cover == TREES:
        crowns = noise_at(lon, lat, TEXTURE, 82, rows)
        vv, vh = -8.3 + crowns, -14.0 + crowns
    else:
        vv, vh = _field_db(parcel, edge, at[FOREST], lat, season)
    return vv + at[GAIN], vh + at[GAIN]


@kernel
def _render(
    nodes: Array,
    blocks: Array,
    rows: tuple[Rows, ...],
    offset: tuple[int, int],
    seed: int,
    look: float,
    season: Array,
    normal: Array,
    gamma: Array,
    linear: Array,
    vv: Array,
    vh: Array,
) -> None:
    """All pixels of a strip, cell by cell; only where both bands are still 0.

    ``rows`` are those of the lattices of speckle, texture and coast.
    """
    height, width = vv.shape
    speckle_keys = _row_keys(seed, rows[0])
    west, step, at = np.empty(GAIN + 1), np.empty(GAIN + 1), np.empty(GAIN + 1)
    for ci in range(nodes.shape[1] - 1):
        for cj in range(nodes.shape[2] - 1):
            low_f, high_f = span(nodes, ACROSS, ci, cj)
            if not (high_f >= 0.0 and low_f < 1.0):
                continue
            low, high = span(nodes, LAND, ci, cj)
            coast = low < 0.98 and high > 0.02
            one_block = True
            for k in (PX, PY):
                same = blocks[ci, cj, k] == blocks[ci, cj + 1, k] == blocks[ci + 1, cj, k]
                one_block = one_block and same and blocks[ci, cj, k] == blocks[ci + 1, cj + 1, k]
            block = nearest_block(nodes[LON, ci, cj], nodes[LAT, ci, cj], blocks, ci, cj)
            ship = _ship(nodes[LON, ci, cj], nodes[LAT, ci, cj], seed + 1)
            metres = METRES * math.cos(math.radians(nodes[LAT, ci, cj]))
            for i in range(max(0, ci * CELL - offset[0]), min(height, (ci + 1) * CELL - offset[0])):
                fy = (i + offset[0] - ci * CELL) / CELL
                for k in range(GAIN + 1):
                    a, b = nodes[k, ci, cj], nodes[k, ci, cj + 1]
                    west[k] = a + (nodes[k, ci + 1, cj] - a) * fy
                    step[k] = b + (nodes[k, ci + 1, cj + 1] - b) * fy - west[k]
                begin = max(0, cj * CELL - offset[1])
                for j in range(begin, min(width, (cj + 1) * CELL - offset[1])):
                    fx = (j + offset[1] - cj * CELL) / CELL
                    f = west[ACROSS] + step[ACROSS] * fx
                    if not 0.0 <= f < 1.0 or vv[i, j] > 0.0 or vh[i, j] > 0.0:
                        continue
                    x, y = west[LON] + step[LON] * fx, west[LAT] + step[LAT] * fx
                    share = high
                    if coast:
                        share = west[LAND] + step[LAND] * fx
                        for k in range(len(COAST)):
                            noise = noise_at(x, y, COAST[k], 91 + k, rows[2 + k])
                            share += COAST_SHARES[k] * noise
                    incidence = NEAR_INCIDENCE + (FAR_INCIDENCE - NEAR_INCIDENCE) * f
                    if share < 0.5:
                        wind = max(west[WIND] + step[WIND] * fx, 1.5)
                        vv_db, vh_db = _sea_db(wind, incidence)
                        if ship[5] > 0.0:
                            hit = _ship_db(
                                ship,
                                (x - nodes[LON, ci, cj]) * metres,
                                (y - nodes[LAT, ci, cj]) * METRES,
                                look,
                            )
                            vv_db, vh_db = max(vv_db, hit), max(vh_db, hit - 7.0)
                    else:
                        for k in range(GAIN + 1):
                            at[k] = west[k] + step[k] * fx
                        if not one_block:
                            block = nearest_block(x, y, blocks, ci, cj)
                        vv_db, vh_db = _ground_db(at, block, season, rows[1])
                        vv_db -= 0.08 * (incidence - 37.5)
                        vh_db -= 0.08 * (incidence - 37.5)
                    sub = 3.0 * f - math.floor(3.0 * f)
                    noise_db = NOISE_DB + NOISE_RISE * (2.0 * sub - 1.0) ** 2
                    noise = linear[int((noise_db + 50.0) * 100.0)]
                    g, h = _speckle(x, y, rows[0], speckle_keys, normal)
                    vv[i, j] = _power(vv_db, noise, g, gamma, linear)
                    vh[i, j] = _power(vh_db, noise, h, gamma, linear)


@cache
def _tables() -> tuple[Array, Array, Array]:
    """Normal quantiles, gamma variates by normal variate, and powers by dB."""
    bell = NormalDist()
    normal = np.array([bell.inv_cdf((i + 0.5) / 4096) for i in range(4096)])
    # Gamma quantiles from the integral of the density; SciPy would take longer to import.
    x = np.linspace(0.0, 12.0, 120_001)
    below = np.cumsum((LOOKS * x) ** (LOOKS - 1) * np.exp(-LOOKS * x))
    share = np.array([bell.cdf(i / 100 - 6.0) for i in range(1202)])
    gamma = np.interp(share, below / below[-1], x + x[1] / 2)
    linear = 10.0 ** ((np.arange(8001) / 100 - 50.0) / 10)
    # Single precision, so that they stay in the processor's cache.
    return normal.astype(np.float32), gamma.astype(np.float32), linear.astype(np.float32)


def render(
    lon: Array, lat: Array, offset: tuple[int, int], view: Pass, day: int, out: Array
) -> None:
    """Fill a strip with what a pass sees, where it holds nothing yet.

    ``lon`` and ``lat`` are degrees at the nodes around the strip, ``offset`` how many
    pixels (rows, columns) it begins after the first node, ``day`` counts from the
    catalogue's first, ``out`` is float32 (band, row, column), VV and VH, linear power.
    """
    across = view.across(lon, lat)
    if not ((across >= 0) & (across < 1)).any():
        return
    corners = float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
    cells, top, left = land.window(*corners)
    look = 1.0 if view.orbit == "ASCENDING" else -1.0
    nodes = np.zeros((GAIN + 1, *lon.shape))
    nodes[LON], nodes[LAT], nodes[ACROSS] = lon, lat, across
    blocks = np.zeros((*lon.shape, 8))
    south, north = corners[1], corners[3]
    fill_nodes(nodes, blocks, lattice_rows(south, north, PARCELS), cells, top, left, day, look)
    rows = tuple(lattice_rows(south, north, step) for step in (SPECKLE, TEXTURE, *COAST))
    seed = 1_000_000 * (day + 1) + 2000 * (look > 0) + 4 * view.relative_orbit
    _render(nodes, blocks, rows, offset, seed, look, seasons(day), *_tables(), out[0], out[1])


def prepare() -> None:
    """Compile the loops, which takes a new machine some seconds, or load them."""
    lon, lat = np.meshgrid([3.0, 3.001], [51.001, 51.0])
    for number in range(REPEAT):
        for view in passes(FIRST_DAY + dt.timedelta(days=number)):
            if 0 <= view.across(lon, lat)[0, 0] < 1:
                render(lon, lat, (0, 0), view, number, np.zeros((2, CELL, CELL), np.float32))
                return
