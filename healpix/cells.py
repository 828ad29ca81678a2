"""Single cells: their ids, their places on base faces and rings, and where they are."""

from __future__ import annotations

import math

import numpy as np

from healpix.latitudes import DEGREE, RADIAN, TO_GEODETIC
from healpix.loops import loop

HALF_PI = math.pi / 2
DOUBT = 1e-6  # columns of a grid; centres nearer to the edge of one are looked at by themselves
# How far south each base face has its southern corner (in nside rings), and how far
# east its middle (in eighth turns).
FACE_SOUTH = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
FACE_EAST = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])


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
    v = v & 0x5555555555555555  # numpy: not in place
    v = (v | (v >> 1)) & 0x3333333333333333
    v = (v | (v >> 2)) & 0x0F0F0F0F0F0F0F0F
    v = (v | (v >> 4)) & 0x00FF00FF00FF00FF
    v = (v | (v >> 8)) & 0x0000FFFF0000FFFF
    return (v | (v >> 16)) & 0x00000000FFFFFFFF


@loop
def encode(face: int, ix: int, iy: int, level: int) -> int:
    """Nested id of a place in a base face."""
    return (face << (2 * level)) | _spread(ix) | (_spread(iy) << 1)


@loop
def decode(cell: int, level: int) -> tuple[int, int, int]:
    """Face, ix, iy of a nested id."""
    inside = cell & ((1 << (2 * level)) - 1)
    return cell >> (2 * level), _compact(inside), _compact(inside >> 1)


@loop
def z_and_w(lat: float, nside: int) -> tuple[float, float]:
    """z and w (see the package) of a latitude in degrees; w is 0 in the belt."""
    theta = HALF_PI - lat * RADIAN
    z = math.cos(theta)
    za = abs(z)
    if za <= 2 / 3:
        return z, 0.0
    if za >= 0.99 and (theta < 0.01 or theta > 3.14159 - 0.01):
        return z, nside * math.sin(theta) / math.sqrt((1.0 + za) / 3.0)
    return z, nside * math.sqrt(3 * (1 - za))


@loop
def quarter_turns(lon: float) -> float:
    """Longitude in quarter turns, in [0, 4)."""
    rest = ((lon * RADIAN) * (1 / HALF_PI)) % 4.0
    return 0.0 if rest == 4.0 else rest


@loop
def belt_face(up: int, down: int, level: int) -> tuple[int, int, int]:
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
def cell_around(t: float, z: float, w: float, level: int) -> tuple[int, int, int]:
    """Face, ix, iy of the cell around a point."""
    nside = 1 << level
    if abs(z) <= 2 / 3:
        a = nside * (0.5 + t)
        b = nside * (z * 0.75)
        return belt_face(int(a - b), int(a + b), level)
    quarter = min(3, int(t))
    u = t - quarter
    up = min(int(u * w), nside - 1)
    down = min(int((1.0 - u) * w), nside - 1)
    if z >= 0:
        return quarter, nside - 1 - down, nside - 1 - up
    return quarter + 8, up, down


@loop
def ring_size(ring: int, nside: int) -> int:
    """A quarter of the number of cells in a ring."""
    return min(ring, nside, 4 * nside - ring)


@loop
def to_ring(face: int, ix: int, iy: int, nside: int) -> tuple[int, int]:
    """Ring, and the middle of the cell in eighths of a turn times the ring size."""
    ring = FACE_SOUTH[face] * nside - ix - iy - 1
    size = ring_size(ring, nside)
    east = FACE_EAST[face] * size + ix - iy
    return ring, east + 8 * size if east < 0 else east


@loop
def from_ring(ring: int, index: int, level: int) -> tuple[int, int, int]:
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
    return belt_face((total + ring - 2 * nside) >> 1, (total - ring + 2 * nside) >> 1, level)


@loop
def ring_theta(ring: int, nside: int) -> float:
    """Colatitude of a ring in radians."""
    square = 4.0 / (12.0 * nside * nside)
    size = ring_size(ring, nside)
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
def ring_lat(ring: int, nside: int, geodetic: bool) -> float:
    """Latitude of a ring in degrees."""
    lat = 90.0 - ring_theta(ring, nside) * DEGREE
    if geodetic:
        angle = lat * RADIAN
        total = 0.0
        for k in range(TO_GEODETIC.size):
            total += TO_GEODETIC[k] * math.sin(2 * (k + 1) * angle)
        lat += total * DEGREE
    return lat


@loop
def cell_lon(east: int, ring: int, nside: int) -> float:
    """Longitude of a cell on a ring in degrees, in [-180, 180); see `to_ring`."""
    size = ring_size(ring, nside)
    if size == nside:
        phi = 0.75 * HALF_PI * east * ((nside << 1) * (4.0 / (12.0 * nside * nside)))
    else:
        phi = (0.5 * HALF_PI * east) / size
    lon: float = phi * DEGREE
    if lon >= 180.0:
        lon -= 360.0
    return lon
