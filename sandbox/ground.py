"""The synthetic land: coast, fields, forests, towns, rivers and relief, the same for every sensor.

Everything is noise on lattices of latitude and longitude, hashed from whole numbers: rows
of equal latitude, each with a whole number of columns around the Earth, about as wide as
the rows are high.  So the field is defined everywhere, has no seams, and can be computed
anywhere without its surroundings.

Slow fields (coast, wind, forests, towns, rivers, relief) are computed at *nodes*: every
`CELL`-th pixel of the UTM zone's own 10 m grid, and interpolated linearly.  Two rasters of
one zone share these nodes, so they agree exactly where they overlap; two rasters of
neighbouring zones are samples of the same field.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox import land
from sandbox.loops import compiled, inlined, kernel

CELL = 16  # pixels of 10 m between two nodes

# Rows of the lattices, degrees of latitude.
TEXTURE = 5.0e-4
COAST = (8.0e-3, 2.6e-3, 8.0e-4)
COAST_SHARES = (0.30, 0.16, 0.07)  # of land, by which each moves the coast
PARCELS = 1.1e-2  # blocks of fields of one orientation
TOWNS = 9.0e-2  # one place for a town in each
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
LON, LAT, ACROSS, LAND, WIND, FOREST, TOWN, RIVER, GAIN = range(9)
PX, PY, COLUMNS = 0, 1, 2  # of a block; its middle tells it from the others
SEA, RIVER_BED, BUILT, TREES, FIELD = range(5)  # what is on the ground
CROP_COUNT = 5  # grass, winter cereals, maize, root crops, orchards
PEAKS = np.array([150.0, 145.0, 215.0, 200.0, 180.0])  # day of the year at which each is highest

Array = NDArray[Any]
Block = tuple[float, float, float, float, float, float, float, float]
Rows = tuple[int, Array]  # of a lattice: the first row, and how many columns each row has


@compiled
def mix(a: int, b: int, c: int) -> int:
    """A 64-bit hash of three integers (the finalizer of SplitMix64)."""
    h = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15)
    h ^= np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    h += np.uint64(c) * np.uint64(0x165667B19E3779F9)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))  # type: ignore[return-value]


@compiled
def unit(h: int, part: int) -> float:
    """One of four parts of a hash as a number in [0, 1)."""
    bits = (np.uint64(h) >> np.uint64(16 * part)) & np.uint64(0xFFFF)
    return bits * (1.0 / 65536.0)


@compiled
def count_columns(row: int, step: float) -> int:
    """How many columns a row of a lattice has around the Earth."""
    return max(1, round(360.0 / step * math.cos(math.radians((row + 0.5) * step))))


@kernel
def lattice_rows(south: float, north: float, step: float) -> Rows:
    """The first row of a lattice in a range of latitudes, and the columns of its rows."""
    first = math.floor(south / step) - 2
    last = math.floor(north / step) + 2
    counts = np.empty(last - first + 1, np.int64)
    for row in range(first, last + 1):
        counts[row - first] = count_columns(row, step)
    return first, counts


@compiled
def row_noise(x: float, count: int, row: int, seed: int) -> float:
    """Smooth noise in [0, 1) along a row of a lattice."""
    column = math.floor(x)
    share = x - column
    share = share * share * (3.0 - 2.0 * share)
    a = unit(mix(column % count, row, seed), 1)
    b = unit(mix((column + 1) % count, row, seed), 1)
    return a + (b - a) * share


@compiled
def noise_at(lon: float, lat: float, step: float, seed: int, rows: Rows) -> float:
    """Smooth noise in [-1, 1] on a lattice whose columns were counted."""
    first, counts = rows
    y = lat / step
    row = math.floor(y)
    share = y - row
    share = share * share * (3.0 - 2.0 * share)
    turn = (lon + 180.0) / 360.0
    low, high = counts[row - first], counts[row + 1 - first]
    a = row_noise(turn * low, low, row, seed)
    b = row_noise(turn * high, high, row + 1, seed)
    return 2.0 * (a + (b - a) * share) - 1.0


@compiled
def octaves_at(lon: float, lat: float, octaves: Array, day: int) -> float:
    """A sum of noises, for the nodes, where there is time to count columns.

    One that changes from day to day has a ``day``; otherwise that is 0.
    """
    total = 0.0
    counts = np.empty(2, np.int64)
    for k in range(octaves.shape[0]):
        step = octaves[k, 0]
        row = math.floor(lat / step)
        counts[0], counts[1] = count_columns(row, step), count_columns(row + 1, step)
        seed = int(octaves[k, 2]) + 5003 * day
        noise: float = octaves[k, 1] * noise_at(lon, lat, step, seed, (row, counts))
        total += noise
    return total


@compiled
def land_share(lon: float, lat: float, cells: Array, top: int, left: int) -> float:
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


@compiled
def river_distance(lon: float, lat: float) -> float:
    """About how many metres a point is from the nearest river, negative on its far bank.

    The river is the zero line of a field, so that is the field over its slope.
    """
    d = 1e-3
    values = np.empty(3)
    for k in range(3):
        values[k] = octaves_at(lon + d * (k == 1), lat + d * (k == 2), RIVER_OCTAVES, 0)
    east = (values[1] - values[0]) / d / max(math.cos(math.radians(lat)), 0.1)
    north = (values[2] - values[0]) / d
    slope = math.sqrt(north * north + east * east)
    # Where the field is flat its zero line runs in rings: there the river runs dry.
    wet = min(max(0.5 * slope - 0.5, 0.05), 1.0)
    distance: float = values[0] / max(slope, 0.3) * METRES / wet
    return distance


@compiled
def built_up(lon: float, lat: float) -> float:
    """How built-up it is: 0 outside the towns, rising to 1 in their middle."""
    y = lat / TOWNS
    row = math.floor(y)
    built = 0.0
    bend = 0.0
    for r in range(row - 1, row + 2):
        count = count_columns(r, TOWNS)
        x = (lon + 180.0) / 360.0 * count
        column = math.floor(x)
        for c in range(column - 1, column + 2):
            h = mix(c % count, r, 31)
            dx, dy = x - c - unit(h, 0), y - r - unit(h, 1)
            # Many villages, few cities: radii of 0.3 to 5 km, in rows of 10 km.
            radius = min(0.03 * (0.01 + unit(h, 2)) ** -0.7, 0.5)
            distance = math.sqrt(dx * dx + dy * dy)
            if distance < 1.6 * radius:
                if bend == 0.0:
                    bend = octaves_at(lon, lat, TOWN_OCTAVES, 0)
                built = max(built, 1.0 - distance / radius + bend)
    return min(built, 1.0)


@compiled
def gain(lon: float, lat: float, day: int, look: float) -> float:
    """Slow changes in dB: soil moisture of the day, and slopes that face the radar."""
    moisture = octaves_at(lon, lat, MOISTURE_OCTAVES, day)
    hilly = min(max(0.2 + octaves_at(lon, lat, HILL_OCTAVES, 0), 0.0), 1.0)
    if hilly == 0.0:
        return moisture
    d = 2e-3
    slope = 0.0
    for side in (-1, 1):
        slope += side * octaves_at(lon + side * d, lat, HEIGHT_OCTAVES, 0) / (2 * d)
    return moisture + look * hilly * min(max(0.06 * slope, -5.0), 7.0)


@kernel
def fill_nodes(
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
            share = land_share(x, y, cells, top, left)
            nodes[LAND, i, j] = share
            if share < 1.0:
                wind = 7.5 + octaves_at(x, y, WIND_OCTAVES, day)
                nodes[WIND, i, j] = min(max(wind, 1.5), 18.0)
            if share > 0.0:
                nodes[FOREST, i, j] = octaves_at(x, y, FOREST_OCTAVES, 0)
                nodes[TOWN, i, j] = built_up(x, y)
                nodes[RIVER, i, j] = river_distance(x, y)
                nodes[GAIN, i, j] = gain(x, y, day, look)
                block = block_at(x, y, rows)
                for k in range(len(block)):  # to assign a whole tuple takes seconds to compile
                    blocks[i, j, k] = block[k]


@compiled
def block_at(lon: float, lat: float, rows: Rows) -> Block:
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
            h = mix(c % count, r, 61)
            dx, dy = x - c - unit(h, 0), y - r - unit(h, 1)
            distance = dx * dx + dy * dy
            if distance < best:
                best, columns, key = distance, count, h
                px, py = c + unit(h, 0), r + unit(h, 1)
    angle = math.pi * unit(key, 2)
    key = mix(key, 1, 62)
    width = (70.0 + 180.0 * unit(key, 0) ** 2) / (PARCELS * METRES)
    length = (150.0 + 350.0 * unit(key, 1)) / (PARCELS * METRES)
    whole = float(key >> np.uint64(16))  # a hash that a float can hold
    return px, py, float(columns), math.cos(angle), math.sin(angle), width, length, whole


@inlined
def nearest_block(lon: float, lat: float, blocks: Array, ci: int, cj: int) -> Block:
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


@inlined
def parcel_at(lon: float, lat: float, block: Block) -> tuple[int, float]:
    """The hash of the parcel at a point, and the distance from its edge in metres."""
    px, py, columns, c, s, width, length, key = block
    x, y = (lon + 180.0) / 360.0 * columns - px, lat / PARCELS - py
    a, b = (c * x + s * y) / width, (c * y - s * x) / length
    q = math.floor(b)
    a += 0.381966 * q
    p = math.floor(a)
    a, b = a - p, b - q
    edge = min(min(a, 1.0 - a) * width, min(b, 1.0 - b) * length) * (PARCELS * METRES)
    return mix(p, q, int(key)), edge


@compiled
def span(nodes: Array, k: int, ci: int, cj: int) -> tuple[float, float]:
    """The smallest and the largest value of a field at the corners of a cell."""
    a, b = nodes[k, ci, cj], nodes[k, ci, cj + 1]
    c, d = nodes[k, ci + 1, cj], nodes[k, ci + 1, cj + 1]
    return min(min(a, b), min(c, d)), max(max(a, b), max(c, d))


@inlined
def cover_at(at: Array, parcel: int, rows: Rows) -> int:
    """What covers a pixel of land; ``rows`` are those of the texture."""
    river = abs(at[RIVER])
    if river < 90.0 and river < 55.0 + 30.0 * noise_at(at[LON], at[LAT], TEXTURE, 81, rows):
        return RIVER_BED
    if at[TOWN] > 0.25 + 0.3 * (unit(parcel, 3) - 0.5):
        return BUILT
    if at[FOREST] + 0.5 * (unit(parcel, 3) - 0.5) > 0.62:
        return TREES
    return FIELD


@compiled
def crop_at(parcel: int, forest: float) -> int:
    """The crop of a parcel; what is grown differs from region to region."""
    region = min(max(0.5 + 0.6 * forest, 0.0), 0.999)
    return int((0.65 * unit(parcel, 0) + 0.35 * region) * 5.0)


@compiled
def grown_at(crop: int, lat: float, season: Array) -> float:
    """How far a crop is, 0 to 1.  Winter here is summer there; at the equator is neither."""
    grown: float = 0.5 + 0.5 * season[crop] * min(max(lat / 25.0, -1.0), 1.0)
    return grown


def seasons(day: int) -> Array:
    """The cosine of the time from each crop's peak, on a day of the catalogue."""
    of_year = (day + 276) % 365.25  # the catalogue begins on 3 October
    return np.cos(2 * np.pi * (of_year - PEAKS) / 365.25)
