"""Nested HEALPix arithmetic in compiled loops.

The scheme is that of Gorski et al. 2005 (ApJ 622, 759, doi:10.1086/427976), sections 4
and 5.  With ``z = sin(latitude)`` and ``t`` the longitude in quarter turns, two families
of lines cut the sphere into cells.  Counted from the corner of a base face they are

    belt, |z| <= 2/3:   up = nside (1/2 + t - 3z/4),   down = nside (1/2 + t + 3z/4)
    caps, |z| > 2/3:    up = u w,   down = (1 - u) w   with u = t - floor(t),
                        w = nside sqrt(3 (1 - |z|)) = nside sqrt(6) sin(colatitude / 2)

A cell is a pair of whole numbers (floor(up), floor(down)).  From it follow the place
(face, ix, iy) in a base face, whose interleaved bits are the nested id, and the place
(ring, index) on a circle of latitude: rings 1 to 4 nside - 1 from north to south, in each
of them ``4 * min(ring, nside, 4 nside - ring)`` cells eastwards from 0 E.

Cells are found with the operations of healpy in the order of healpy, so that a centre
exactly on the edge of a box falls to the same side of it, rounding included.

All loops live in this one file: numba recompiles a cached loop only when its own file
changes.  They release the interpreter lock and use no threads of their own; who wants
two cores calls them from two threads, each with its own output.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numba import njit
from numba.core import event
from numpy.typing import NDArray

from grid import BBox

ELLIPSOIDS = ("sphere", "WGS84")
WGS84_F = 1 / 298.257223563  # flattening
MAX_NSIDE = 2**29  # ids fit 62 bits
MAX_RUN = 2**31  # cells; a longer run is written as several, since run_len is uint32

log = logging.getLogger("convert")

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]  # west, south, east, north
Ids = NDArray[np.uint64]
Runs = tuple[NDArray[np.uint64], NDArray[np.uint32]]

_HALF_PI = math.pi / 2
_RADIAN = math.pi / 180
_DEGREE = 180 / math.pi
# How far south each base face has its southern corner (in nside rings), and how far
# east its middle (in eighth turns).
_SOUTH = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
_EAST = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])
# Edges are compared with this margin (degrees) before whole blocks of cells are
# accepted; what is nearer is decided cell by cell.
_MARGIN = 1e-9


def _authalic_coefficients(table: list[list[float]]) -> Floats:
    n = WGS84_F / (2 - WGS84_F)  # third flattening
    return np.array(
        [sum(c * n ** (k + i + 1) for i, c in enumerate(row)) for k, row in enumerate(table)]
    )


# Sine series between geodetic and authalic latitude, order n^6: Karney 2024, "On auxiliary
# latitudes", Survey Review 56, 165, doi:10.1080/00396265.2023.2217604, eqs. A19 and A20.
_TO_AUTHALIC = _authalic_coefficients(
    [
        [-4 / 3, -4 / 45, 88 / 315, 538 / 4725, 20824 / 467775, -44732 / 2837835],
        [34 / 45, 8 / 105, -2482 / 14175, -37192 / 467775, -12467764 / 212837625],
        [-1532 / 2835, -898 / 14175, 54968 / 467775, 100320856 / 1915538625],
        [6007 / 14175, 24496 / 467775, -5884124 / 70945875],
        [-23356 / 66825, -839792 / 19348875],
        [570284222 / 1915538625],
    ]
)
_TO_GEODETIC = _authalic_coefficients(
    [
        [4 / 3, 4 / 45, -16 / 35, -2582 / 14175, 60136 / 467775, 28112932 / 212837625],
        [46 / 45, 152 / 945, -11966 / 14175, -21016 / 51975, 251310128 / 638512875],
        [3044 / 2835, 3802 / 14175, -94388 / 66825, -8797648 / 10945935],
        [6059 / 4725, 41072 / 93555, -1472637812 / 638512875],
        [768272 / 467775, -455935736 / 638512875],
        [4210684958 / 1915538625],
    ]
)


class _Announcement(event.Listener):
    """Says once that loops are being compiled: nobody should wonder what takes so long."""

    said = False

    def on_start(self, *_: Any) -> None:
        if not self.said:
            log.info("Compiling the loops for this computer; once only, about half a minute.")
            self.said = True

    def on_end(self, *_: Any) -> None:
        pass


_announcement = _Announcement()
event.register("numba:compile", _announcement)  # type: ignore[no-untyped-call]

Function = TypeVar("Function", bound=Callable[..., Any])


def loop(function: Function) -> Function:
    """Compile a function at its first call, once per installation, to run beside others."""
    return cast(Function, njit(cache=True, nogil=True, error_model="numpy")(function))


def loose_loop(function: Function) -> Function:
    """As `loop`, but a product and a sum may be rounded as one: for what checks its margins."""
    compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return cast(Function, compiled)


# ---------------------------------------------------------------- what the other rooms use


def box_runs(bbox: BBox, nside: int, ellipsoid: str) -> Runs:
    """The cells whose centre lies in the half-open box, as sorted runs of nested ids.

    The centre is what healpy's ``pix2ang(..., nest=True, lonlat=True)`` gives in double
    precision, with 360 subtracted from longitudes of 180 and more.  Blocks of cells that
    lie inside as a whole are never visited, so time and memory go with the border of the
    box.  Returns ``start_ipix`` uint64 and ``run_len`` uint32.
    """
    level, geodetic = level_of(nside), _is_geodetic(ellipsoid)
    # The poles and, all around, 180 degrees are no edges.
    south = bbox.south if bbox.south > -90 else -math.inf
    north = bbox.north if bbox.north < 90 else math.inf
    sides = [(part.west, part.east) for part in bbox.split()]
    if sides == [(-180.0, 180.0)]:
        sides = [(-math.inf, math.inf)]
    parts = [_box_runs((west, south, east, north), level, geodetic) for west, east in sides]
    if len(parts) == 1:
        return _split_long(*parts[0])
    start, length = (np.concatenate(both) for both in zip(*parts, strict=True))
    order = np.argsort(start)
    return _split_long(*_join(start[order], length[order]))


def runs_to_ids(start_ipix: NDArray[Any], run_len: NDArray[Any]) -> Ids:
    """Every id of the runs, uint64, in their order."""
    start = np.asarray(start_ipix, np.uint64).astype(np.int64)
    return _fill_ids(start, np.asarray(run_len).astype(np.int64)).view(np.uint64)


def ids_to_runs(ids: NDArray[Any]) -> Runs:
    """The runs of strictly ascending ids; ValueError for ids in another order."""
    ids = np.asarray(ids, np.uint64).astype(np.int64)
    if ids.size == 0:
        return np.empty(0, np.uint64), np.empty(0, np.uint32)
    step = np.diff(ids)
    if np.any(step <= 0):
        raise ValueError("The cell ids are not in strictly ascending order.")
    first = np.concatenate([[0], np.flatnonzero(step != 1) + 1])
    return _split_long(ids[first], np.diff(np.append(first, ids.size)))


def parent_runs(start_ipix: NDArray[Any], run_len: NDArray[Any], levels: int) -> Runs:
    """The cells, this many levels coarser, that hold at least one cell of sorted runs."""
    first = np.asarray(start_ipix, np.uint64).astype(np.int64)
    last = (first + np.asarray(run_len).astype(np.int64) - 1) >> 2 * levels
    first >>= 2 * levels
    is_new = np.append(True, first[1:] > last[:-1] + 1)[: first.size]
    begin, end = first[is_new], last[np.append(is_new[1:], True)[: first.size]]
    return _split_long(begin, end - begin + 1)


class Slots(NamedTuple):
    """The cells of a box ring by ring, west to east: a place in memory for each.

    Row r is ring ``top + r``; its slots ``start[r]`` to ``start[r + 1] - 1`` hold the
    cells from index ``first[r]`` eastwards (below 0 for a box west of 0 E).  A cell or
    two stand over on every side.
    """

    level: int
    top: int
    first: Ints
    start: Ints


def box_slots(bbox: BBox, nside: int, ellipsoid: str) -> Slots:
    """Slots for all cells whose centre lies in the box, and a narrow margin."""
    lat = np.array([bbox.north, bbox.south])
    if _is_geodetic(ellipsoid):
        lat = to_authalic(lat)
    north, south = rings_at(lat, nside)
    top, bottom = max(1, int(north) - 2), min(4 * nside - 1, int(south) + 3)
    ring = np.arange(top, bottom + 1)
    size = np.minimum(np.minimum(ring, nside), 4 * nside - ring)
    first = np.floor(bbox.west / 90 * size).astype(np.int64) - 2
    count = np.ceil(bbox.width / 90 * size).astype(np.int64) + 4
    count = np.minimum(count, 4 * size)
    return Slots(level_of(nside), top, first, np.concatenate([[0], np.cumsum(count)]))


def cut_slots(slots: Slots, low: int, high: int) -> Slots:
    """The slots of the rings in [low, high), in the same places."""
    low, high = (min(max(0, ring - slots.top), slots.first.size) for ring in (low, high))
    return Slots(slots.level, slots.top + low, slots.first[low:high], slots.start[low : high + 1])


def rings_at(lat: Floats, nside: int) -> Floats:
    """The ring of a latitude (authalic, for an ellipsoid), as a fraction: 0 to 4 nside."""
    z = np.sin(np.radians(lat))
    cap = nside * math.sqrt(6) * np.sin(np.radians(90 - np.abs(lat)) / 2)
    belt = nside * (2 - 1.5 * z)
    return np.where(z > 2 / 3, cap, np.where(z < -2 / 3, 4 * nside - cap, belt))


def to_authalic(lat: Floats) -> Floats:
    """Authalic latitude of a geodetic latitude on WGS84, both in degrees."""
    return lat + _DEGREE * _sine_series(lat * _RADIAN, _TO_AUTHALIC)


def _sine_series(angle: Floats, coefficients: Floats) -> Floats:
    total = np.zeros_like(angle)
    for k, c in enumerate(coefficients):
        total += c * np.sin(2 * (k + 1) * angle)
    return total


def level_of(nside: int) -> int:
    """The refinement level, log2(NSIDE); ValueError unless there is one."""
    level = int(nside).bit_length() - 1
    if not 1 <= nside <= MAX_NSIDE or nside != 2**level:
        raise ValueError(f"NSIDE is {nside}; it must be a power of two from 1 to {MAX_NSIDE}.")
    return level


def _is_geodetic(ellipsoid: str) -> bool:
    if ellipsoid not in ELLIPSOIDS:
        raise ValueError(f"ELLIPSOID is {ellipsoid!r}; it must be one of {', '.join(ELLIPSOIDS)}.")
    return ellipsoid == "WGS84"


def _join(start: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Sorted runs with those that touch made one."""
    if start.size == 0:
        return start, length
    first = np.flatnonzero(np.append(True, start[1:] != start[:-1] + length[:-1]))
    return start[first], np.add.reduceat(length, first)


def _split_long(start: Ints, length: Ints) -> Runs:
    """Runs as stored: uint64 and uint32."""
    if length.size and length.max() > MAX_RUN:
        pieces = -(-length // MAX_RUN)
        number = _fill_ids(np.zeros_like(pieces), pieces)
        start = np.repeat(start, pieces) + number * MAX_RUN
        length = np.minimum(np.repeat(length, pieces) - number * MAX_RUN, MAX_RUN)
    return start.astype(np.uint64), length.astype(np.uint32)


# ------------------------------------------------------------------------- single cells


@loop
def _spread(v: int) -> int:
    """The bits of v, 32 at most, at the even places."""
    v = (v | (v << 16)) & 0x0000FFFF0000FFFF
    v = (v | (v << 8)) & 0x00FF00FF00FF00FF
    v = (v | (v << 4)) & 0x0F0F0F0F0F0F0F0F
    v = (v | (v << 2)) & 0x3333333333333333
    return (v | (v << 1)) & 0x5555555555555555


@loop
def _compact(v: int) -> int:
    """The bits of v at the even places, side by side."""
    v &= 0x5555555555555555
    v = (v | (v >> 1)) & 0x3333333333333333
    v = (v | (v >> 2)) & 0x0F0F0F0F0F0F0F0F
    v = (v | (v >> 4)) & 0x00FF00FF00FF00FF
    v = (v | (v >> 8)) & 0x0000FFFF0000FFFF
    return (v | (v >> 16)) & 0x00000000FFFFFFFF


@loop
def _encode(face: int, ix: int, iy: int, level: int) -> int:
    """Nested id of a place in a base face."""
    return (face << (2 * level)) | _spread(ix) | (_spread(iy) << 1)


@loop
def _decode(cell: int, level: int) -> tuple[int, int, int]:
    """Face, ix, iy of a nested id."""
    inside = cell & ((1 << (2 * level)) - 1)
    return cell >> (2 * level), _compact(inside), _compact(inside >> 1)


@loop
def _latitude(lat: float, nside: int) -> tuple[float, float]:
    """z and w (see the module) of a latitude in degrees; w is 0 in the belt."""
    theta = _HALF_PI - lat * _RADIAN
    z = math.cos(theta)
    za = abs(z)
    if za <= 2 / 3:
        return z, 0.0
    if za >= 0.99 and (theta < 0.01 or theta > 3.14159 - 0.01):
        return z, nside * math.sin(theta) / math.sqrt((1.0 + za) / 3.0)
    return z, nside * math.sqrt(3 * (1 - za))


@loop
def _quarters(lon: float) -> float:
    """Longitude in quarter turns, in [0, 4)."""
    rest = ((lon * _RADIAN) * (1 / _HALF_PI)) % 4.0
    return 0.0 if rest == 4.0 else rest


@loop
def _belt_face(up: int, down: int, level: int) -> tuple[int, int, int]:
    """Face, ix, iy of the cell between two lines of the equatorial belt."""
    nside = 1 << level
    face_up = up >> level
    face_down = down >> level
    if face_up == face_down:
        face = face_up | 4
    elif face_up < face_down:
        face = face_up
    else:
        face = face_down + 8
    return face, down & (nside - 1), nside - 1 - (up & (nside - 1))


@loop
def _place(t: float, z: float, w: float, level: int) -> tuple[int, int, int]:
    """Face, ix, iy of the cell around a point."""
    nside = 1 << level
    if abs(z) <= 2 / 3:
        a = nside * (0.5 + t)
        b = nside * (z * 0.75)
        return _belt_face(int(a - b), int(a + b), level)
    quarter = min(3, int(t))
    u = t - quarter
    up = min(int(u * w), nside - 1)
    down = min(int((1.0 - u) * w), nside - 1)
    if z >= 0:
        return quarter, nside - 1 - down, nside - 1 - up
    return quarter + 8, up, down


@loop
def _ring_size(ring: int, nside: int) -> int:
    """A quarter of the number of cells in a ring."""
    return min(ring, nside, 4 * nside - ring)


@loop
def _to_ring(face: int, ix: int, iy: int, nside: int) -> tuple[int, int]:
    """Ring, and the middle of the cell in eighths of a turn times the ring size."""
    ring = _SOUTH[face] * nside - ix - iy - 1
    size = _ring_size(ring, nside)
    east = _EAST[face] * size + ix - iy
    return ring, east + 8 * size if east < 0 else east


@loop
def _from_ring(ring: int, index: int, level: int) -> tuple[int, int, int]:
    """Face, ix, iy of a cell given by its place on a ring."""
    nside = 1 << level
    if ring < nside:
        quarter = index // ring
        up = index - quarter * ring
        return quarter, nside - ring + up, nside - 1 - up
    if ring > 3 * nside:
        size = 4 * nside - ring
        quarter = index // size
        up = index - quarter * size
        return quarter + 8, up, size - 1 - up
    total = 2 * index + nside - 1 + ((ring + nside + 1) & 1)
    return _belt_face((total + ring - 2 * nside) >> 1, (total - ring + 2 * nside) >> 1, level)


@loop
def _ring_theta(ring: int, nside: int) -> float:
    """Colatitude of a ring in radians."""
    square = 4.0 / (12.0 * nside * nside)
    size = _ring_size(ring, nside)
    if size < nside:
        step = (size * size) * square
        z = 1 - step
        if z > 0.99:
            theta = math.atan2(math.sqrt(step * (2.0 - step)), z if ring < nside else -z)
        else:
            theta = math.acos(z if ring < nside else -z)
        return theta
    return math.acos((2 * nside - ring) * ((nside << 1) * square))


@loop
def _ring_lat(ring: int, nside: int, geodetic: bool) -> float:
    """Latitude of a ring in degrees."""
    lat = 90.0 - _ring_theta(ring, nside) * _DEGREE
    if geodetic:
        angle = lat * _RADIAN
        total = 0.0
        for k in range(_TO_GEODETIC.size):
            total += _TO_GEODETIC[k] * math.sin(2 * (k + 1) * angle)
        lat += total * _DEGREE
    return lat


@loop
def _cell_lon(east: int, ring: int, nside: int) -> float:
    """Longitude of a cell on a ring in degrees, in [-180, 180); see `_to_ring`."""
    size = _ring_size(ring, nside)
    if size == nside:
        phi = 0.75 * _HALF_PI * east * ((nside << 1) * (4.0 / (12.0 * nside * nside)))
    else:
        phi = (0.5 * _HALF_PI * east) / size
    lon: float = phi * _DEGREE
    if lon >= 180.0:
        lon -= 360.0
    return lon


@loop
def _fill_ids(start: Ints, length: Ints) -> Ints:
    ids = np.empty(length.sum(), np.int64)
    k = 0
    for i in range(start.size):
        for j in range(length[i]):
            ids[k] = start[i] + j
            k += 1
    return ids


@loop
def _free_lon(face: int, ix: int, iy: int, nside: int) -> float:
    """Longitude of a cell in degrees, without a jump inside its face."""
    ring = _SOUTH[face] * nside - ix - iy - 1
    size = _ring_size(ring, nside)
    return 45.0 * int(_EAST[face] * size + ix - iy) / size


@loop
def _block_in_box(
    face: int, x0: int, y0: int, x1: int, y1: int, box: Box, nside: int, geodetic: bool
) -> int:
    """1 if all cells of a block lie in the box, -1 if none does, 0 if it is to be split.

    In a base face latitude grows with ix and iy, longitude with ix and against iy, so
    that the corners of a block bound it.
    """
    west, south, east, north = box
    base = _SOUTH[face] * nside - 1
    low = _ring_lat(base - x0 - y0, nside, geodetic)
    high = _ring_lat(base - x1 - y1, nside, geodetic)
    if high < south - _MARGIN or low > north + _MARGIN:
        return -1
    left = _free_lon(face, x0, y1, nside)
    right = _free_lon(face, x1, y0, nside)
    meets = False
    inside = False
    for turn in (-360.0, 0.0, 360.0):
        if right >= west + turn - _MARGIN and left <= east + turn + _MARGIN:
            meets = True
        if left >= west + turn + _MARGIN and right <= east + turn - _MARGIN:
            inside = True
    if not meets:
        return -1
    if inside and low >= south + _MARGIN and high <= north - _MARGIN:
        return 1
    return 0


@loop
def _cell_in_box(face: int, ix: int, iy: int, box: Box, nside: int, geodetic: bool) -> bool:
    west, south, east, north = box
    ring, place = _to_ring(face, ix, iy, nside)
    if not west <= _cell_lon(place, ring, nside) < east:
        return False
    return south <= _ring_lat(ring, nside, geodetic) < north


@loop
def _box_runs(box: Box, level: int, geodetic: bool) -> tuple[Ints, Ints]:
    """Start and length (int64) of the runs of a box with west < east.

    Walks the quad-tree of each base face depth first, which is the order of the ids.
    """
    nside = 1 << level
    start = np.empty(1024, np.int64)
    length = np.empty(1024, np.int64)
    used = 0
    # Depth first: three brothers wait at each level while the fourth is worked on.
    stack = np.empty((3 * level + 12, 2), np.int64)
    for face in range(12):
        stack[11 - face, 0] = face << (2 * level)
        stack[11 - face, 1] = level
    depth = 12
    while depth > 0:
        depth -= 1
        cell, height = stack[depth]
        face, x0, y0 = _decode(cell, level)
        if height == 0:
            inside = _cell_in_box(face, x0, y0, box, nside, geodetic)
        else:
            edge = (1 << height) - 1
            verdict = _block_in_box(face, x0, y0, x0 + edge, y0 + edge, box, nside, geodetic)
            if verdict == 0:
                for child in range(3, -1, -1):
                    stack[depth, 0] = cell + (child << (2 * height - 2))
                    stack[depth, 1] = height - 1
                    depth += 1
                continue
            inside = verdict == 1
        if not inside:
            continue
        count = 1 << (2 * height)
        if used > 0 and start[used - 1] + length[used - 1] == cell:
            length[used - 1] += count
            continue
        if used == start.size:
            start = np.append(start, np.empty(used, np.int64))
            length = np.append(length, np.empty(used, np.int64))
        start[used] = cell
        length[used] = count
        used += 1
    return start[:used].copy(), length[:used].copy()


# ---------------------------------------------------------------------- raster to cells

# How a block of raster pixels finds its cells: by polynomials for ``up`` and ``down`` in
# the belt or one quarter of a cap, or by polynomials for longitude and latitude.
BELT, NORTH, SOUTH, MIXED = range(4)
DOUBT = 4e-8  # cells; points nearer to a line between cells are projected by themselves
_DOUBTFUL = -2  # instead of a slot


@loop
def _slot(ring: int, index: int, slots: Slots) -> int:
    """The slot of a cell, -1 for a cell that has none."""
    row = ring - slots.top
    if row < 0 or row >= slots.first.size:
        return -1
    turn = 4 * _ring_size(ring, 1 << slots.level)
    k = index - slots.first[row]
    if k < 0:
        k += turn
    elif k >= turn:
        k -= turn
    k += slots.start[row]
    return k if k < slots.start[row + 1] else -1


@loop
def _weigh(values: Any, row: int, column: int, weight: Floats) -> None:
    """1 for pixels with a value in each band, 0 if all are 0, -1 if some are none."""
    part = values[0][row, column : column + weight.size]
    for j in range(weight.size):
        weight[j] = part[j] if (part[j] >= 0) & (part[j] < np.inf) else -1.0
    for band in range(1, len(values)):
        part = values[band][row, column : column + weight.size]
        for j in range(weight.size):
            good = (weight[j] >= 0) & (part[j] >= 0) & (part[j] < np.inf)
            weight[j] = weight[j] + part[j] if good else -1.0
    for j in range(weight.size):
        weight[j] = 1.0 if weight[j] > 0 else weight[j]


@loop
def _add_row(
    values: Any, row: int, column: int, found: Ints, weight: Floats, sums: Floats, missing: Any
) -> int:
    """Add the pixels of one row, from a column on, to the slots found for them.

    Returns how many were seen in some bands only.
    """
    if len(values) == 2:
        return _add_row_of_two(values, row, column, found, sums, missing)
    partly = 0
    bands = len(values)
    _weigh(values, row, column, weight)
    for j in range(found.size):
        if found[j] < 0:
            continue
        slot = np.uint64(found[j])
        if weight[j] < 0:
            partly += _add_partly_seen(values, row, column + j, found[j], sums, missing)
        else:
            for band in range(bands):
                sums[slot, band] += values[band][row, column + j]
            sums[slot, bands] += weight[j]
    return partly


@loop
def _add_row_of_two(
    values: Any, row: int, column: int, found: Ints, sums: Floats, missing: Any
) -> int:
    """As `_add_row`, for the common case of two bands: much faster written out.

    What is the matter with single pixels is asked only in rows where something is.
    """
    first = values[0][row, column : column + found.size]
    second = values[1][row, column : column + found.size]
    flat = sums.ravel()
    unusual = 0
    for j in range(found.size):
        a, b = first[j], second[j]
        unusual |= not (a >= 0) & (b >= 0) & (a < np.inf) & (b < np.inf) & (max(a, b) > 0)
    partly = 0
    for j in range(found.size):
        if found[j] < 0:
            continue
        if unusual:
            a, b = first[j], second[j]
            if (a == 0) & (b == 0):
                continue
            if not (a >= 0) & (b >= 0) & (a < np.inf) & (b < np.inf):
                partly += _add_partly_seen(values, row, column + j, found[j], sums, missing)
                continue
        k = np.uint64(found[j]) * np.uint64(3)
        flat[k] += first[j]
        flat[k + np.uint64(1)] += second[j]
        flat[k + np.uint64(2)] += 1.0
    return partly


@loop
def _add_partly_seen(
    values: Any, row: int, column: int, slot: int, sums: Floats, missing: Any
) -> int:
    """Add a pixel of which some bands are no measurements, if another one is seen."""
    bands = len(values)
    seen = False
    for band in range(bands):
        if 0 < values[band][row, column] < np.inf:
            seen = True
    if not seen:
        return 0
    sums[slot, bands] += 1
    for band in range(bands):
        value = values[band][row, column]
        if 0 <= value < np.inf:
            sums[slot, band] += value
        else:
            missing[slot, band] += 1
    return 1


@loop
def _along_row(polynomial: Floats, s: float) -> Floats:
    """The coefficients of t^j of both polynomials for one row of a block."""
    c = np.empty((2, 5))
    for k in range(2):
        for j in range(5):
            p = polynomial[k, :, j]
            c[k, j] = (((p[4] * s + p[3]) * s + p[2]) * s + p[1]) * s + p[0]
    return c


@loose_loop
def _whole_parts(c: Floats, out: Any) -> bool:
    """floor(c(t)) for t from -1 to 1; whether any c(t) is nearly a whole number."""
    c0, c1, c2, c3, c4 = c
    scale = 2.0 / max(out.size - 1, 1)
    doubt = 0
    for j in range(out.size):
        t = scale * j - 1.0
        value = (((c4 * t + c3) * t + c2) * t + c1) * t + c0
        whole = math.floor(value)
        out[j] = np.int32(whole)
        doubt |= abs(value - whole - 0.5) > 0.5 - DOUBT
    return doubt != 0


@loop
def _value(c: Floats, t: float) -> float:
    return float((((c[4] * t + c[3]) * t + c[2]) * t + c[1]) * t + c[0])


@loop
def _is_doubtful(value: float) -> bool:
    """Whether a point is so near a line between cells that rounding may decide."""
    return abs(value - math.floor(value) - 0.5) > 0.5 - DOUBT


@loop
def _slots_between_lines(
    a: Ints, b: Ints, kind: int, quarter: int, base_a: int, base_b: int, slots: Slots, found: Ints
) -> None:
    """The slots of cells given by their lines; longitudes do not wrap here."""
    level, top, first, start = slots
    nside = 1 << level
    rows = first.size
    if kind == BELT:
        ring_base = 2 * nside + base_a - base_b - top
        index_base = base_a + base_b - nside + 1
        for j in range(a.size):
            row = ring_base + a[j] - b[j]
            slot = -1
            if 0 <= row < rows:
                k = ((index_base + a[j] + b[j]) >> 1) - first[row] + start[row]
                if start[row] <= k < start[row + 1]:
                    slot = k
            found[j] = slot
    else:
        for j in range(a.size):
            size = base_a + base_b + 1 + a[j] + b[j]
            row = (size if kind == NORTH else 4 * nside - size) - top
            slot = -1
            if 0 <= row < rows:
                k = quarter * size + base_a + a[j] - first[row] + start[row]
                if start[row] <= k < start[row + 1]:
                    slot = k
            found[j] = slot


@loop
def _slots_of_lonlat(c: Floats, origin: Floats, slots: Slots, found: Ints) -> None:
    """The slots of a row of a block whose polynomials give longitude and latitude."""
    nside = 1 << slots.level
    scale = 2.0 / max(found.size - 1, 1)
    for j in range(found.size):
        lon = origin[0] + _value(c[0], scale * j - 1.0)
        lat = origin[1] + _value(c[1], scale * j - 1.0)
        found[j] = _slot_of_point(lon, lat, slots)
        t = _quarters(lon)
        z, w = _latitude(lat, nside)
        if w > 0:
            up, down = (t - math.floor(t)) * w, (1 - t + math.floor(t)) * w
        else:
            up, down = nside * (0.5 + t - 0.75 * z), nside * (0.5 + t + 0.75 * z)
        if _is_doubtful(up) or _is_doubtful(down):
            found[j] = _DOUBTFUL


@loop
def _slot_of_point(lon: float, lat: float, slots: Slots) -> int:
    nside = 1 << slots.level
    z, w = _latitude(lat, nside)
    face, ix, iy = _place(_quarters(lon), z, w, slots.level)
    ring, east = _to_ring(face, ix, iy, nside)
    return _slot(ring, east >> 1, slots)


@loop
def add_blocks(
    values: Any,
    offset: int,
    blocks: Ints,
    polynomials: Floats,
    origins: Floats,
    slots: Slots,
    sums: Floats,
    missing: Any,
) -> tuple[int, Ints]:
    """Add the pixels of blocks of a raster to the slots of their cells.

    values: a tuple of bands (row, column), the rows from ``offset`` on.  blocks:
    (block, 6), first and last row, first and last column (included), kind, quarter of the
    cap.  polynomials: (block, 2, 5, 5), coefficients of s^i t^j for ``up`` and ``down``
    (or longitude and latitude), with s and t from -1 to 1 over the rows and columns; to
    them the origins, (block, 2), are added, whole numbers.  sums: (slot, band + 1), the
    last for the count of seen pixels.  missing: (slot, band), seen pixels without a value
    in the band.  Only sums of ``slots`` are touched, so that threads with different rings
    never meet.

    Returns how many pixels were seen in some bands only, and rows and columns, (n, 2), of
    the pixels left out because they are too near a line between cells.
    """
    width = (blocks[:, 3] - blocks[:, 2]).max() + 1 if blocks.shape[0] > 0 else 0
    a = np.empty(width, np.int32)
    b = np.empty(width, np.int32)
    found = np.empty(width, np.int64)
    weight = np.empty(width)
    doubtful = np.empty((1024, 2), np.int64)
    left_out = 0
    partly = 0
    for block in range(blocks.shape[0]):
        row0, row1, column0, column1, kind, quarter = blocks[block]
        n = column1 - column0 + 1
        base_a = int(origins[block, 0])
        base_b = int(origins[block, 1])
        for row in range(row0, row1 + 1):
            c = _along_row(polynomials[block], 2.0 * (row - row0) / max(row1 - row0, 1) - 1.0)
            if kind == MIXED:
                _slots_of_lonlat(c, origins[block], slots, found[:n])
                doubt = True
            else:
                doubt_a = _whole_parts(c[0], a[:n])
                doubt_b = _whole_parts(c[1], b[:n])
                doubt = doubt_a or doubt_b
                _slots_between_lines(a[:n], b[:n], kind, quarter, base_a, base_b, slots, found[:n])
            if doubt:
                scale = 2.0 / max(n - 1, 1)
                for j in range(n):
                    if kind != MIXED and (
                        _is_doubtful(_value(c[0], scale * j - 1.0))
                        or _is_doubtful(_value(c[1], scale * j - 1.0))
                    ):
                        found[j] = _DOUBTFUL
                    if found[j] == _DOUBTFUL:
                        if left_out == doubtful.shape[0]:
                            doubtful = np.concatenate((doubtful, np.empty_like(doubtful)))
                        doubtful[left_out, 0] = row
                        doubtful[left_out, 1] = column0 + j
                        left_out += 1
            partly += _add_row(values, row - offset, column0, found[:n], weight[:n], sums, missing)
    return partly, doubtful[:left_out]


@loop
def add_points(
    values: Any,
    rows: Ints,
    columns: Ints,
    lon: Floats,
    lat: Floats,
    slots: Slots,
    sums: Floats,
    missing: Any,
) -> int:
    """As `add_blocks`, for single pixels of known longitude and (authalic) latitude."""
    partly = 0
    found = np.empty(1, np.int64)
    weight = np.empty(1)
    for i in range(rows.size):
        if abs(lat[i]) <= 90 and abs(lon[i]) < np.inf:
            found[0] = _slot_of_point(lon[i], lat[i], slots)
            partly += _add_row(values, rows[i], columns[i], found, weight, sums, missing)
    return partly


_SIDE = 64  # cells; squares up to this size are taken at a time
_SPREAD = np.array([int(f"{v:b}", base=4) for v in range(_SIDE)])  # `_spread` of each


@loop
def take_means(
    run_start: Ints,
    run_len: Ints,
    slots: Slots,
    sums: Floats,
    missing: Any,
    means: Any,
    count: Any,
) -> None:
    """Mean and count of each cell of the runs, in their order.

    means: (band, cell), NaN where the band has no value.  count: (cell), at most the
    largest of its type.  missing may be empty, when nothing was.
    """
    k = 0
    for run in range(run_start.size):
        cell = run_start[run]
        stop = cell + run_len[run]
        while cell < stop:
            side = _largest_square(cell, stop, slots.level)
            n = side * side
            _take_square(cell, side, slots, sums, missing, means[:, k : k + n], count[k : k + n])
            k += n
            cell += n


@loop
def _largest_square(cell: int, stop: int, level: int) -> int:
    """The side of the largest square of cells whose ids begin here and end before ``stop``."""
    side = 1
    while side < min(_SIDE, 1 << level):
        n = 4 * side * side
        if cell & (n - 1) or cell + n > stop:
            break
        side *= 2
    return side


@loop
def _take_square(
    cell: int, side: int, slots: Slots, sums: Floats, missing: Any, means: Any, count: Any
) -> None:
    """As `take_means`, for one square; ring by ring, as the sums lie in memory."""
    level, top, first, start = slots
    nside = 1 << level
    bands = means.shape[0]
    flat = sums.ravel()
    face, x, y = _decode(cell, level)
    for along in range(2 * side - 1):
        ring = _SOUTH[face] * nside - 1 - x - y - along
        size = _ring_size(ring, nside)
        west = max(0, along - side + 1)
        n = along - 2 * west + 1
        # A square lies in one face; the numbers on a ring may start anew within it.
        index = ((_EAST[face] * size + x - y + 2 * west - along) >> 1) - first[ring - top]
        for i in range(n):
            k = index + i
            k += 4 * size if k < 0 else (-4 * size if k >= 4 * size else 0)
            place = np.uint64(start[ring - top] + k) * np.uint64(bands + 1)
            j = np.uint64(_SPREAD[west + i] + 2 * _SPREAD[along - west - i])
            seen = flat[place + np.uint64(bands)]
            count[j] = np.uint16(min(seen, 65535.0))
            for band in range(bands):
                valid = seen
                if missing.size > 0:
                    valid -= missing[start[ring - top] + k, band]
                # 0 / 0 is NaN, as asked.
                means[np.uint64(band), j] = flat[place + np.uint64(band)] / valid


# ----------------------------------------------------------------------- cells to raster


class RunIndex(NamedTuple):
    """Sorted runs, and for the ids with equal upper bits the runs to look through."""

    start: Ints
    length: Ints
    place: Ints  # of the first cell of each run among all cells
    shift: int
    bucket: Ints  # runs bucket[k] to bucket[k + 1] may hold ids with id >> shift == k + low
    low: int


def index_runs(start_ipix: NDArray[Any], run_len: NDArray[Any]) -> RunIndex:
    """What `look_up` needs to find a cell among sorted runs in a few steps."""
    start = np.asarray(start_ipix, np.uint64).astype(np.int64)
    length = np.asarray(run_len).astype(np.int64)
    if start.size == 0:  # one run of no cells spares the loops a question
        start, length = np.zeros(1, np.int64), np.zeros(1, np.int64)
    place = np.cumsum(length) - length
    last = start + length - 1
    shift = max(0, int(last[-1] - start[0]).bit_length() - 16)
    low = int(start[0] >> shift)
    keys = np.arange((int(last[-1]) >> shift) - low + 2)
    # The runs of a bucket: from the first that ends in it or later, to the last that
    # starts in it.
    bucket = np.searchsorted(last, (keys + low) << shift)
    return RunIndex(start, length, place, shift, bucket, low)


@loop
def _find_run(cell: int, index: RunIndex) -> int:
    """The run that holds a cell, or some other run if none does."""
    key = (cell >> index.shift) - index.low
    if key < 0 or key + 1 >= index.bucket.size:
        return 0
    low = index.bucket[key]
    high = min(index.bucket[key + 1] + 1, index.start.size)
    while high - low > 1:
        middle = (low + high) // 2
        if index.start[middle] <= cell:
            low = middle
        else:
            high = middle
    return int(min(low, index.start.size - 1))


def find_places(ids: NDArray[Any], index: RunIndex) -> Ints:
    """The places of ids among the cells of the runs, -1 for those not there."""
    places = np.asarray(ids, np.uint64).astype(np.int64)
    _to_places(places, index)
    return places


@loop
def copy_runs(values: Any, run_len: Ints, place: Ints, out: Any) -> None:
    """Copy the cells of runs, one run after the other in ``values``, to their places."""
    done = 0
    for run in range(run_len.size):
        for i in range(run_len[run]):
            out[place[run] + i] = values[done + i]
        done += run_len[run]


@loop
def _to_places(ids: Ints, index: RunIndex) -> None:
    """Replace ids by their places among the cells of the runs, -1 for those not there."""
    start, length, place = index.start, index.length, index.place
    run = 0
    for j in range(ids.size):
        # Most cells are in the run of the cell before.
        k = ids[j] - start[run]
        if k < 0 or k >= length[run]:
            run = _find_run(ids[j], index)
            k = ids[j] - start[run]
        ids[j] = place[run] + k if 0 <= k < length[run] else -1


@loop
def _row_ids(quarters: Floats, z: float, w: float, level: int, ids: Ints) -> None:
    """As `_place` and `_encode`, for many longitudes (in quarter turns) of one latitude."""
    nside = 1 << level
    if w == 0:
        b = nside * (z * 0.75)
        for j in range(ids.size):
            a = nside * (0.5 + quarters[j])
            face, ix, iy = _belt_face(int(a - b), int(a + b), level)
            ids[j] = _encode(face, ix, iy, level)
    else:
        for j in range(ids.size):
            face, ix, iy = _place(quarters[j], z, w, level)
            ids[j] = _encode(face, ix, iy, level)


@loop
def look_up(lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, out: Any) -> None:
    """out (band, lat, lon): the values (band, cell) of the cells that contain the points."""
    quarters = np.array([_quarters(v) for v in lon])
    ids = np.empty(lon.size, np.int64)
    for i in range(lat.size):
        z, w = _latitude(lat[i], 1 << level)
        _row_ids(quarters, z, w, level, ids)
        _to_places(ids, index)
        for band in range(out.shape[0]):
            for j in range(lon.size):
                out[band, i, j] = values[band, ids[j]] if ids[j] >= 0 else np.nan


@loop
def _ring_above(z: float, nside: int) -> int:
    """The last ring with a centre at z or north of it, 0 if there is none."""
    za = abs(z)
    if za <= 2 / 3:
        return int(nside * (2 - 1.5 * z))
    ring = int(nside * math.sqrt(3 * (1 - za)))
    return ring if z > 0 else 4 * nside - ring - 1


@loop
def _ring_values(ring: int, first: int, level: int, index: RunIndex, values: Any, out: Any) -> None:
    """out (band, cell): the values of a ring from an index on.

    Beyond the first and the last ring lies the pole: the mean of the four cells there.
    """
    last = (4 << level) - 1
    inner = min(max(ring, 1), last)
    turn = 4 * _ring_size(inner, 1 << level)
    ids = np.empty(out.shape[1], np.int64)
    number = first % turn
    for j in range(ids.size):
        face, ix, iy = _from_ring(inner, number, level)
        ids[j] = _encode(face, ix, iy, level)
        number = number + 1 if number + 1 < turn else 0
    _to_places(ids, index)
    for band in range(out.shape[0]):
        for j in range(ids.size):
            out[band, j] = values[band, ids[j]] if ids[j] >= 0 else np.nan
        if ring != inner:
            out[band, :] = (out[band, 0] + out[band, 1] + out[band, 2] + out[band, 3]) / 4


@loop
def interpolate(
    lat: Floats, lon: Floats, level: int, index: RunIndex, values: Any, out: Any
) -> None:
    """out (band, lat, lon): values (band, cell) interpolated between four neighbours.

    Two of them lie on the ring above and two on the ring below; the weights are linear in
    longitude along the rings and in colatitude between them, as in healpy's
    get_interp_weights.  lon ascends.  Where only some of the four have a value, their
    weights are made to add up to 1, and the point has a value only if the cell around
    it has one.
    """
    nside = 1 << level
    bands = out.shape[0]
    # Rings are kept by their parity: a row needs two neighbours, the next often the same.
    widest = int((lon[-1] - lon[0]) * nside / 90) + 4
    held = np.array([-1, -1])
    firsts = np.zeros(2, np.int64)
    cells = np.empty((2, bands, max(4, widest)), values.dtype)
    left = np.empty((2, lon.size), np.int64)
    right = np.empty((2, lon.size))
    theta = np.empty(2)
    quad = np.empty(4)
    weight = np.empty(4)
    own = np.empty(1, np.int64)
    for i in range(lat.size):
        z, w = _latitude(lat[i], nside)
        above = _ring_above(z, nside)
        for k in range(2):
            ring = above + k
            inner = min(max(ring, 1), 4 * nside - 1)
            step = 2 * math.pi / (4 * _ring_size(inner, nside))
            belt = nside <= inner <= 3 * nside
            shift = 0.0 if belt and (inner - nside) & 1 else 0.5
            theta[k] = _ring_theta(inner, nside)
            if ring != inner:
                theta[k] = 0.0 if ring == 0 else math.pi
            for j in range(lon.size):
                turns = lon[j] * _RADIAN / step - shift
                left[k, j] = math.floor(turns)
                right[k, j] = turns - left[k, j]
            if held[ring & 1] != ring:
                held[ring & 1] = ring
                firsts[ring & 1] = left[k, 0]
                number = max(4, left[k, -1] - left[k, 0] + 2)
                _ring_values(ring, left[k, 0], level, index, values, cells[ring & 1, :, :number])
        below = (_HALF_PI - lat[i] * _RADIAN - theta[0]) / (theta[1] - theta[0])
        north, south = above & 1, (above + 1) & 1
        for j in range(lon.size):
            weight[0] = (1 - below) * (1 - right[0, j])
            weight[1] = (1 - below) * right[0, j]
            weight[2] = below * (1 - right[1, j])
            weight[3] = below * right[1, j]
            a, b = left[0, j] - firsts[north], left[1, j] - firsts[south]
            for band in range(bands):
                quad[0] = cells[north, band, a]
                quad[1] = cells[north, band, a + 1]
                quad[2] = cells[south, band, b]
                quad[3] = cells[south, band, b + 1]
                total = 0.0
                for k in range(4):
                    total += weight[k] * quad[k]
                if total != total:
                    face, ix, iy = _place(_quarters(lon[j]), z, w, level)
                    own[0] = _encode(face, ix, iy, level)
                    _to_places(own, index)
                    here = values[band, own[0]] if own[0] >= 0 else np.nan
                    total = _share(quad, weight, here)
                out[band, i, j] = total


@loop
def _share(quad: Floats, weight: Floats, here: float) -> float:
    """The mean of the neighbours that have a value, if the cell itself has one."""
    total, known = 0.0, 0.0
    for k in range(4):
        if quad[k] == quad[k]:
            total += weight[k] * quad[k]
            known += weight[k]
    return total / known if here == here and known > 0 else here


# ----------------------------------------------------------------- cells to coarse pixels


def ring_rows(
    south: float, dlat: float, rows: slice, nside: int, ellipsoid: str
) -> tuple[int, Ints]:
    """The first ring of some rows of a grid, and from it on the row of each ring, or -1.

    Row ``rows.start`` is 0; row i of the grid is at ``[south + i dlat, south + (i + 1) dlat)``.
    """
    lat = np.array([min(90.0, south + rows.stop * dlat), max(-90.0, south + rows.start * dlat)])
    if _is_geodetic(ellipsoid):
        lat = to_authalic(lat)
    north, bottom = rings_at(lat, nside)
    top, last = max(1, int(north) - 1), min(4 * nside - 1, int(bottom) + 2)
    lats = _ring_lats(top, last, nside, _is_geodetic(ellipsoid))
    found = np.floor((lats - south) / dlat).astype(np.int64)
    return top, np.where((found >= rows.start) & (found < rows.stop), found - rows.start, -1)


@loop
def _ring_lats(first: int, last: int, nside: int, geodetic: bool) -> Floats:
    lat = np.empty(last - first + 1)
    for ring in range(first, last + 1):
        lat[ring - first] = _ring_lat(ring, nside, geodetic)
    return lat


_LOW = 4  # bits of ix and of iy that are looked up
_LOW_X = np.array([sum((v >> 2 * b & 1) << b for b in range(_LOW)) for v in range(4**_LOW)])
_LOW_Y = np.array([sum((v >> 2 * b + 1 & 1) << b for b in range(_LOW)) for v in range(4**_LOW)])


@loop
def add_to_pixels(
    run_start: Ints, run_len: Ints, level: int, top: int, rows: Ints,
    west: float, dlon: float, first: int, values: Any, weights: Any, sums: Floats,
) -> None:  # fmt: skip
    """Add the cells of the runs to the pixels that their centres lie in.

    top, rows: of `ring_rows`.  Column 0 is the grid's column ``first``; column j of the grid
    is at ``[west + j dlon, west + (j + 1) dlon)``.  values: (band, cell), NaN for none.
    weights: (band, cell), or (1, cell) for all bands.  sums: (row, column, 2 bands + 1), for
    each band the sum of weight times value and that of the weights, and last the number
    of cells, whether they have a value or not.
    """
    nside = 1 << level
    bands, apart, columns = values.shape[0], weights.shape[0] > 1, sums.shape[1]
    low = min(_LOW, level)
    flat = sums.ravel()
    k = np.uint64(0)
    for run in range(run_start.size):
        cell, stop = run_start[run], run_start[run] + run_len[run]
        while cell < stop:
            square = cell >> 2 * low
            face, x, y = _decode(square, level - low)
            x, y = x << low, y << low
            ring_of_corner = _SOUTH[face] * nside - x - y - 1
            end = min(stop, (square + 1) << 2 * low)
            for inside in range(cell - (square << 2 * low), end - (square << 2 * low)):
                here = k
                k += np.uint64(1)
                ix, iy = _LOW_X[np.uint64(inside)], _LOW_Y[np.uint64(inside)]
                ring = ring_of_corner - ix - iy
                if ring < top or ring >= top + rows.size:
                    continue
                row = rows[np.uint64(ring - top)]
                east = _EAST[face] * _ring_size(ring, nside) + x - y + ix - iy
                column = _column(east, ring, nside, west, dlon) - first
                if row < 0 or column < 0 or column >= columns:
                    continue
                pixel = np.uint64((row * columns + column) * (2 * bands + 1))
                for band in range(bands):
                    weight = float(weights[band if apart else 0, here])
                    value = float(values[band, here])
                    if value == value:
                        flat[pixel] += weight * value
                        flat[pixel + np.uint64(1)] += weight
                    pixel += np.uint64(2)
                flat[pixel] += 1
            cell = end


@loop
def _column(east: int, ring: int, nside: int, west: float, dlon: float) -> int:
    """The column of a grid that a centre lies in; see `_to_ring`, but ``east`` may be below 0."""
    size = _ring_size(ring, nside)
    beyond = 45.0 * east / size - west
    if beyond < 0.0:
        beyond += 360.0
    elif beyond >= 360.0:
        beyond -= 360.0
    columns = beyond / dlon
    if abs(columns - math.floor(columns + 0.5)) < 1e-6:  # on an edge healpy's rounding decides
        beyond = _cell_lon(east + 8 * size if east < 0 else east, ring, nside) - west
        columns = (beyond + 360.0 if beyond < 0.0 else beyond) / dlon
    return int(columns)


# ------------------------------------------------------------------------ cells of records


@loop
def gather(values: Any, starts: Ints, sizes: Ints, out: Any) -> None:
    """Copy runs of values, one behind the other."""
    k = 0
    for i in range(starts.size):
        for j in range(starts[i], starts[i] + sizes[i]):
            out[k] = values[j]
            k += 1


@loop
def sum_values(
    start: Ints, length: Ints, shift: int, values: Any, count: Any, total: Floats, weight: Ints
) -> None:
    """Add value x count, and count, of the cells of runs to those of their parents.

    Cells without a finite value are left out.  A parent is ``cell >> shift``; total and
    weight have an entry for each, in their order.
    """
    k, i, last = -1, 0, -1
    for run in range(start.size):
        cell, stop = start[run], start[run] + length[run]
        while cell < stop:
            parent = cell >> shift
            if parent != last:
                last = parent
                k += 1
            size = min(stop, (parent + 1) << shift) - cell
            sums, n = 0.0, 0
            for j in range(i, i + size):
                if count[j] > 0 and math.isfinite(values[j]):
                    sums += float(values[j]) * count[j]
                    n += count[j]
            total[k] += sums
            weight[k] += n
            i += size
            cell += size


@loop
def sum_cells(start: Ints, length: Ints, shift: int, values: Any, total: Any) -> None:
    """Add the values of the cells of runs to those of their parents: see `sum_values`."""
    k, i, last = -1, 0, -1
    for run in range(start.size):
        cell, stop = start[run], start[run] + length[run]
        while cell < stop:
            parent = cell >> shift
            if parent != last:
                last = parent
                k += 1
            size = min(stop, (parent + 1) << shift) - cell
            for j in range(i, i + size):
                total[k] += values[j]
            i += size
            cell += size
