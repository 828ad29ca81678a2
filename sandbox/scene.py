"""The synthetic Sentinel-1: linear sigma0 as a function of place, day and pass alone.

Everything is noise on lattices of latitude and longitude, hashed from whole numbers: rows
of equal latitude, each with a whole number of columns around the Earth, about as wide as
the rows are high.  So the field is defined everywhere, has no seams, and can be computed
anywhere without its surroundings.

Slow fields (coast, wind, forests, towns, rivers, relief) are computed at every
`CELL`-th pixel of the UTM zone's own 10 m grid and interpolated linearly.  Two rasters of
one zone share these nodes, so they agree exactly where they overlap; two rasters of
neighbouring zones are samples of the same field.

What is on the ground, and how bright (VV / VH in dB):

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
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sandbox import land
from sandbox.orbit import FIRST_DAY, REPEAT, Pass, passes

CELL = 16  # pixels between two nodes
LOOKS = 4.4  # equivalent number of looks
NEAR_INCIDENCE, FAR_INCIDENCE = 29.0, 46.0  # degrees at the edges of the swath
NOISE_DB = -28.0  # noise equivalent sigma0 in the middle of a sub-swath
NOISE_RISE = 3.0  # dB, how much higher it is at a sub-swath's edges

# Rows of the lattices, degrees of latitude.
SPECKLE = 1.3e-4
TEXTURE = 5.0e-4
COAST = (8.0e-3, 2.6e-3, 8.0e-4)
COAST_SHARES = (0.30, 0.16, 0.07)  # of land, by which each moves the coast
PARCELS = 1.1e-2  # blocks of fields of one orientation
TOWNS = 9.0e-2  # one place for a town in each
SHIPS = 6.0e-2  # one place for a ship in each
SHIP_CHANCE = 0.2
SHIP_MARGIN = 0.12  # share of its place that a ship keeps from the edge
HILLS_SEED = 22552  # flat by the North Sea, hills in the Alps, the Pyrenees and the Rhineland
METRES = 111_320.0  # per degree of latitude

# Octaves of the slow fields: rows of the lattice (degrees), amplitude, seed.
WIND_OCTAVES = np.array([[2.5, 6.0, 1], [0.5, 3.0, 2], [0.11, 1.5, 3], [0.03, 0.7, 4]])  # m/s
RIVER_OCTAVES = np.array([[0.33, 1.0, 21], [0.09, 0.2, 22], [0.03, 0.06, 23]])
TOWN_OCTAVES = np.array([[0.03, 0.45, 32], [0.011, 0.35, 33], [0.005, 0.25, 34]])
HEIGHT_OCTAVES = np.array([[0.07, 2.0, 41], [0.028, 0.9, 42], [0.012, 0.4, 43]])  # 100 m
HILL_OCTAVES = np.array([[2.2, 1.4, HILLS_SEED]])
MOISTURE_OCTAVES = np.array([[0.8, 0.8, 1], [0.16, 0.7, 2], [0.05, 0.6, 3]])  # dB
FOREST_OCTAVES = np.array([[0.13, 1.0, 51], [0.045, 0.6, 52], [0.017, 0.4, 53]])
# Fields at the nodes, by their place in the stack.
LON, LAT, ACROSS, LAND, WIND, FOREST, TOWN, RIVER, GAIN = range(9)
PX, PY, COLUMNS = 0, 1, 2  # of a block; its middle tells it from the others
# Crops: VV and VH in winter (dB), their change at the peak of the season, day of the peak.
CROPS = np.array(
    [
        [-12.0, -19.0, 0.8, 1.2, 150.0],  # grass
        [-11.5, -18.5, -2.5, -1.0, 145.0],  # winter cereals
        [-10.5, -20.0, 1.0, 5.0, 215.0],  # maize
        [-10.0, -19.0, 0.8, 3.5, 200.0],  # potatoes, beet
        [-9.5, -15.5, 0.5, 0.8, 180.0],  # orchards
    ]
)

# Only the kernels are kept on disk, each for one set of types: what they call comes
# with them, and processes that compile at the same time cannot mix up each other's files.
_kernel = njit(cache=True, nogil=True, error_model="numpy")
_compiled = njit(nogil=True, error_model="numpy")
# What is called for every pixel and given arrays: counting their references took a quarter
# of the time.
_inlined = njit(nogil=True, error_model="numpy", inline="always")

Array = NDArray[Any]
Block = tuple[float, float, float, float, float, float, float, float]
Rows = tuple[int, Array]  # of a lattice: the first row, and how many columns each row has
Ship = tuple[float, float, float, float, float, float]


@_compiled
def _mix(a: int, b: int, c: int) -> int:
    """A 64-bit hash of three integers (the finalizer of SplitMix64)."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
    h ^= np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    h += np.uint64(c) * np.uint64(0x165667B19E3779F9)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))  # type: ignore[return-value]


@_compiled
def _unit(h: int, part: int) -> float:
    """One of four parts of a hash as a number in [0, 1)."""
    bits = (np.uint64(h) >> np.uint64(16 * part)) & np.uint64(0xFFFF)
    return bits * (1.0 / 65536.0)


@_compiled
def _columns(row: int, step: float) -> int:
    """How many columns a row of a lattice has around the Earth."""
    return max(1, round(360.0 / step * math.cos(math.radians((row + 0.5) * step))))


@_kernel
def _rows(south: float, north: float, step: float) -> Rows:
    """The first row of a lattice in a range of latitudes, and the columns of its rows."""
    first = math.floor(south / step) - 2
    last = math.floor(north / step) + 2
    counts = np.empty(last - first + 1, np.int64)
    for row in range(first, last + 1):
        counts[row - first] = _columns(row, step)
    return first, counts


@_compiled
def _row_noise(x: float, count: int, row: int, seed: int) -> float:
    """Smooth noise in [0, 1) along a row of a lattice."""
    column = math.floor(x)
    share = x - column
    share = share * share * (3.0 - 2.0 * share)
    a = _unit(_mix(column % count, row, seed), 1)
    b = _unit(_mix((column + 1) % count, row, seed), 1)
    return a + (b - a) * share


@_compiled
def _noise(lon: float, lat: float, step: float, seed: int, rows: Rows) -> float:
    """Smooth noise in [-1, 1] on a lattice whose columns were counted."""
    first, counts = rows
    y = lat / step
    row = math.floor(y)
    share = y - row
    share = share * share * (3.0 - 2.0 * share)
    turn = (lon + 180.0) / 360.0
    low, high = counts[row - first], counts[row + 1 - first]
    a = _row_noise(turn * low, low, row, seed)
    b = _row_noise(turn * high, high, row + 1, seed)
    return 2.0 * (a + (b - a) * share) - 1.0


@_compiled
def _octaves(lon: float, lat: float, octaves: Array, day: int) -> float:
    """A sum of noises, for the nodes, where there is time to count columns.

    One that changes from day to day has a ``day``; otherwise that is 0.
    """
    total = 0.0
    counts = np.empty(2, np.int64)
    for k in range(octaves.shape[0]):
        step = octaves[k, 0]
        row = math.floor(lat / step)
        counts[0], counts[1] = _columns(row, step), _columns(row + 1, step)
        seed = int(octaves[k, 2]) + 5003 * day
        noise: float = octaves[k, 1] * _noise(lon, lat, step, seed, (row, counts))
        total += noise
    return total


@_compiled
def _land_share(lon: float, lat: float, cells: Array, top: int, left: int) -> float:
    """Share of land around a point: the 1 km mask smoothed by a quadratic B-spline."""
    y = (90.0 - lat) * land.CELLS_PER_DEGREE - top
    x = (lon + 180.0) * land.CELLS_PER_DEGREE - left
    i, j = math.floor(y), math.floor(x)
    fy, fx = y - i - 0.5, x - j - 0.5
    wy = (0.5 * (0.5 - fy) ** 2, 0.75 - fy * fy, 0.5 * (0.5 + fy) ** 2)
    wx = (0.5 * (0.5 - fx) ** 2, 0.75 - fx * fx, 0.5 * (0.5 + fx) ** 2)
    total = 0.0
    for di in range(3):
        row = min(max(i + di - 1, 0), cells.shape[0] - 1)
        for dj in range(3):
            total += wy[di] * wx[dj] * cells[row, j + dj - 1]
    return total


@_compiled
def _river_distance(lon: float, lat: float) -> float:
    """About how many metres a point is from the nearest river, negative on its far bank.

    The river is the zero line of a field, so that is the field over its slope.
    """
    d = 1e-3
    values = np.empty(3)
    for k in range(3):
        values[k] = _octaves(lon + d * (k == 1), lat + d * (k == 2), RIVER_OCTAVES, 0)
    east = (values[1] - values[0]) / d / max(math.cos(math.radians(lat)), 0.1)
    north = (values[2] - values[0]) / d
    slope = math.sqrt(north * north + east * east)
    # Where the field is flat its zero line runs in rings: there the river runs dry.
    wet = min(max(0.5 * slope - 0.5, 0.05), 1.0)
    distance: float = values[0] / max(slope, 0.3) * METRES / wet
    return distance


@_compiled
def _town(lon: float, lat: float) -> float:
    """How built-up it is: 0 outside the towns, rising to 1 in their middle."""
    y = lat / TOWNS
    row = math.floor(y)
    built = 0.0
    bend = 0.0
    for r in range(row - 1, row + 2):
        count = _columns(r, TOWNS)
        x = (lon + 180.0) / 360.0 * count
        column = math.floor(x)
        for c in range(column - 1, column + 2):
            h = _mix(c % count, r, 31)
            dx, dy = x - c - _unit(h, 0), y - r - _unit(h, 1)
            # Many villages, few cities: radii of 0.3 to 5 km, in rows of 10 km.
            radius = min(0.03 * (0.01 + _unit(h, 2)) ** -0.7, 0.5)
            distance = math.sqrt(dx * dx + dy * dy)
            if distance < 1.6 * radius:
                if bend == 0.0:
                    bend = _octaves(lon, lat, TOWN_OCTAVES, 0)
                built = max(built, 1.0 - distance / radius + bend)
    return min(built, 1.0)


@_compiled
def _gain(lon: float, lat: float, day: int, look: float) -> float:
    """Slow changes in dB: soil moisture of the day, and slopes that face the radar."""
    moisture = _octaves(lon, lat, MOISTURE_OCTAVES, day)
    hilly = min(max(0.2 + _octaves(lon, lat, HILL_OCTAVES, 0), 0.0), 1.0)
    if hilly == 0.0:
        return moisture
    d = 2e-3
    slope = 0.0
    for side in (-1, 1):
        slope += side * _octaves(lon + side * d, lat, HEIGHT_OCTAVES, 0) / (2 * d)
    return moisture + look * hilly * min(max(0.06 * slope, -5.0), 7.0)


@_kernel
def _fill_nodes(
    nodes: Array,
    blocks: Array,
    rows: Rows,
    cells: Array,
    top: int,
    left: int,
    day: int,
    look: float,
) -> None:
    """The slow fields and the blocks of parcels at all nodes, by their place."""
    for i in range(nodes.shape[1]):
        for j in range(nodes.shape[2]):
            x, y = nodes[LON, i, j], nodes[LAT, i, j]
            share = _land_share(x, y, cells, top, left)
            nodes[LAND, i, j] = share
            if share < 1.0:
                wind = 7.5 + _octaves(x, y, WIND_OCTAVES, day)
                nodes[WIND, i, j] = min(max(wind, 1.5), 18.0)
            if share > 0.0:
                nodes[FOREST, i, j] = _octaves(x, y, FOREST_OCTAVES, 0)
                nodes[TOWN, i, j] = _town(x, y)
                nodes[RIVER, i, j] = _river_distance(x, y)
                nodes[GAIN, i, j] = _gain(x, y, day, look)
                block = _block(x, y, rows)
                for k in range(len(block)):  # to assign a whole tuple takes seconds to compile
                    blocks[i, j, k] = block[k]


@_compiled
def _block(lon: float, lat: float, rows: Rows) -> Block:
    """The block of parcels at a point: that of the nearest of the scattered middles.

    One middle lies in each cell of a lattice.  Returns the middle (columns and rows from
    180 W, 0 N), the columns of its row, the cosine and sine of its parcels' direction,
    their width and length (in rows), and a hash.
    """
    y = lat / PARCELS
    row = math.floor(y)
    best = 1e9
    px, py, columns, key = 0.0, 0.0, 1, 0
    for r in range(row - 1, row + 2):
        count = rows[1][r - rows[0]]
        x = (lon + 180.0) / 360.0 * count
        column = math.floor(x)
        for c in range(column - 1, column + 2):
            h = _mix(c % count, r, 61)
            dx, dy = x - c - _unit(h, 0), y - r - _unit(h, 1)
            distance = dx * dx + dy * dy
            if distance < best:
                best, columns, key = distance, count, h
                px, py = c + _unit(h, 0), r + _unit(h, 1)
    angle = math.pi * _unit(key, 2)
    key = _mix(key, 1, 62)
    width = (70.0 + 180.0 * _unit(key, 0) ** 2) / (PARCELS * METRES)
    length = (150.0 + 350.0 * _unit(key, 1)) / (PARCELS * METRES)
    whole = float(key >> np.uint64(16))  # a hash that a float can hold
    return px, py, float(columns), math.cos(angle), math.sin(angle), width, length, whole


@_inlined
def _nearest(lon: float, lat: float, blocks: Array, ci: int, cj: int) -> Block:
    """The nearest block to a point, of those at the corners of its cell."""
    best, di, dj = 1e9, 0, 0
    for i in range(ci, ci + 2):
        for j in range(cj, cj + 2):
            dx = (lon + 180.0) / 360.0 * blocks[i, j, COLUMNS] - blocks[i, j, PX]
            dy = lat / PARCELS - blocks[i, j, PY]
            if blocks[i, j, COLUMNS] > 0.0 and dx * dx + dy * dy < best:
                best, di, dj = dx * dx + dy * dy, i, j
    b = blocks[di, dj]
    return b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]


@_inlined
def _parcel(lon: float, lat: float, block: Block) -> tuple[int, float]:
    """The hash of the parcel at a point, and the distance from its edge in metres."""
    px, py, columns, c, s, width, length, key = block
    x, y = (lon + 180.0) / 360.0 * columns - px, lat / PARCELS - py
    a, b = (c * x + s * y) / width, (c * y - s * x) / length
    q = math.floor(b)
    a += 0.381966 * q
    p = math.floor(a)
    a, b = a - p, b - q
    edge = min(min(a, 1.0 - a) * width, min(b, 1.0 - b) * length) * (PARCELS * METRES)
    return _mix(p, q, int(key)), edge


@_compiled
def _ship(lon: float, lat: float, seed: int) -> Ship:
    """The ship near a point: metres east and north of it, heading, length, width, level.

    A level of 0 means that there is none.  A ship keeps away from the edges of its place,
    so no other place has to be looked at.
    """
    y = lat / SHIPS
    row = math.floor(y)
    count = _columns(row, SHIPS)
    x = (lon + 180.0) / 360.0 * count
    column = math.floor(x)
    h = _mix(column % count, row, seed)
    if _unit(h, 0) >= SHIP_CHANCE:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    room = 1.0 - 2.0 * SHIP_MARGIN
    east = (column + SHIP_MARGIN + room * _unit(h, 1) - x) * SHIPS * METRES
    north = (row + SHIP_MARGIN + room * _unit(h, 2) - y) * SHIPS * METRES
    k = _mix(h, 1, seed)
    length = 60.0 + 280.0 * _unit(k, 0) ** 2
    return east, north, math.pi * _unit(h, 3), length, 0.12 * length + 8.0, 8.0 + 8.0 * _unit(k, 1)


@_compiled
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


@_compiled
def _sea_db(wind: float, incidence: float) -> tuple[float, float]:
    vv = -27.5 + 15.0 * math.log10(wind) - 0.42 * (incidence - 35.0)
    return vv, 0.580 * wind - 35.652 - 0.1 * (incidence - 35.0)


@_compiled
def _field_db(
    parcel: int, edge: float, region: float, lat: float, season: Array
) -> tuple[float, float]:
    """A parcel with its crop; what is grown differs from region to region (0 to 1)."""
    crop = int((0.65 * _unit(parcel, 0) + 0.35 * region) * 5.0)
    own = 3.0 * (_unit(parcel, 1) - 0.5)
    if edge < 6.0:
        own -= 1.5
    # Winter here is summer there; near the equator there is neither.
    grown = 0.5 + 0.5 * season[crop] * min(max(lat / 25.0, -1.0), 1.0)
    return CROPS[crop, 0] + grown * CROPS[crop, 2] + own, CROPS[crop, 1] + grown * CROPS[
        crop, 3
    ] + own


@_compiled
def _town_db(lon: float, lat: float, built: float, parcel: int) -> tuple[float, float]:
    """Blocks of houses, and single scatterers on a lattice of about 22 m."""
    row = math.floor(lat / 2e-4)
    column = math.floor(lon / 2e-4 * math.cos(math.radians(0.1 * math.floor(10.0 * lat))))
    h = _mix(column, row, 71)
    level = -9.5 + 4.5 * built + 5.0 * (_unit(parcel, 2) - 0.5)
    if _unit(h, 0) < 0.015 + 0.06 * built:
        level += 4.0 + 14.0 * _unit(h, 1)
    elif _unit(h, 2) < 0.35 - 0.3 * built:
        level -= 4.0  # gardens
    return level, level - 7.0


@_compiled
def _row_keys(seed: int, rows: Rows) -> Array:
    """A hash of each row of a lattice, so that a pixel need not make it."""
    keys = np.empty(rows[1].size, np.uint64)
    for i in range(keys.size):
        keys[i] = _mix(rows[0] + i, seed, 11)
    return keys


@_inlined
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


@_inlined
def _power(db: float, noise: float, normal: float, gamma: Array, linear: Array) -> float:
    """A level with noise and speckle, less the noise, clipped at 0."""
    z = min(max((normal + 6.0) * 100.0, 0.0), gamma.size - 2.0)
    k = int(z)
    speckle = gamma[k] + (gamma[k + 1] - gamma[k]) * (z - k)
    level = linear[int((min(max(db, -49.0), 29.0) + 50.0) * 100.0)]
    power: float = (level + noise) * speckle - noise
    return max(0.0, power)


@_inlined
def _ground_db(at: Array, block: Block, season: Array, rows: Rows) -> tuple[float, float]:
    """VV and VH of land, from the fields at a pixel; ``rows`` are those of the texture."""
    lon, lat = at[LON], at[LAT]
    parcel, edge = _parcel(lon, lat, block)
    river = abs(at[RIVER])
    if river < 90.0 and river < 55.0 + 30.0 * _noise(lon, lat, TEXTURE, 81, rows):
        vv, vh = -21.0, -28.0
    elif at[TOWN] > 0.25 + 0.3 * (_unit(parcel, 3) - 0.5):
        vv, vh = _town_db(lon, lat, at[TOWN], parcel)
    elif at[FOREST] + 0.5 * (_unit(parcel, 3) - 0.5) > 0.62:
        crowns = _noise(lon, lat, TEXTURE, 82, rows)
        vv, vh = -8.3 + crowns, -14.0 + crowns
    else:
        region = min(max(0.5 + 0.6 * at[FOREST], 0.0), 0.999)
        vv, vh = _field_db(parcel, edge, region, lat, season)
    return vv + at[GAIN], vh + at[GAIN]


@_kernel
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
            low_f, high_f = _range(nodes, ACROSS, ci, cj)
            if not (high_f >= 0.0 and low_f < 1.0):
                continue
            low, high = _range(nodes, LAND, ci, cj)
            coast = low < 0.98 and high > 0.02
            one_block = True
            for k in (PX, PY):
                same = blocks[ci, cj, k] == blocks[ci, cj + 1, k] == blocks[ci + 1, cj, k]
                one_block = one_block and same and blocks[ci, cj, k] == blocks[ci + 1, cj + 1, k]
            block = _nearest(nodes[LON, ci, cj], nodes[LAT, ci, cj], blocks, ci, cj)
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
                            noise = _noise(x, y, COAST[k], 91 + k, rows[2 + k])
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
                            block = _nearest(x, y, blocks, ci, cj)
                        vv_db, vh_db = _ground_db(at, block, season, rows[1])
                        vv_db -= 0.08 * (incidence - 37.5)
                        vh_db -= 0.08 * (incidence - 37.5)
                    sub = 3.0 * f - math.floor(3.0 * f)
                    noise_db = NOISE_DB + NOISE_RISE * (2.0 * sub - 1.0) ** 2
                    noise = linear[int((noise_db + 50.0) * 100.0)]
                    g, h = _speckle(x, y, rows[0], speckle_keys, normal)
                    vv[i, j] = _power(vv_db, noise, g, gamma, linear)
                    vh[i, j] = _power(vh_db, noise, h, gamma, linear)


@_compiled
def _range(nodes: Array, k: int, ci: int, cj: int) -> tuple[float, float]:
    """The smallest and the largest value of a field at the corners of a cell."""
    a, b = nodes[k, ci, cj], nodes[k, ci, cj + 1]
    c, d = nodes[k, ci + 1, cj], nodes[k, ci + 1, cj + 1]
    return min(min(a, b), min(c, d)), max(max(a, b), max(c, d))


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


def _season(day: int) -> Array:
    """The cosine of the time from each crop's peak, on a day of the catalogue."""
    of_year = (day + 276) % 365.25  # the catalogue begins on 3 October
    return np.cos(2 * np.pi * (of_year - CROPS[:, 4]) / 365.25)


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
    _fill_nodes(nodes, blocks, _rows(south, north, PARCELS), cells, top, left, day, look)
    rows = tuple(_rows(south, north, step) for step in (SPECKLE, TEXTURE, *COAST))
    seed = 1_000_000 * (day + 1) + 2000 * (look > 0) + 4 * view.relative_orbit
    _render(nodes, blocks, rows, offset, seed, look, _season(day), *_tables(), out[0], out[1])


def prepare() -> None:
    """Compile the loops, which takes a new machine some seconds, or load them."""
    lon, lat = np.meshgrid([3.0, 3.001], [51.001, 51.0])
    for number in range(REPEAT):
        for view in passes(FIRST_DAY + dt.timedelta(days=number)):
            if 0 <= view.across(lon, lat)[0, 0] < 1:
                render(lon, lat, (0, 0), view, number, np.zeros((2, CELL, CELL), np.float32))
                return
