"""Latitudes on a sphere and on an ellipsoid, and the rings of cells there; plain numpy."""

from __future__ import annotations

import math

import numpy as np

from healpix.arrays import Floats

ELLIPSOIDS = ("sphere", "WGS84")  # latitudes as they are, or geodetic ones on WGS84
RADIAN = math.pi / 180
DEGREE = 180 / math.pi
_WGS84_F = 1 / 298.257223563  # flattening


def _authalic_coefficients(table: list[list[float]]) -> Floats:
    n = _WGS84_F / (2 - _WGS84_F)  # third flattening
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
TO_GEODETIC = _authalic_coefficients(
    [
        [4 / 3, 4 / 45, -16 / 35, -2582 / 14175, 60136 / 467775, 28112932 / 212837625],
        [46 / 45, 152 / 945, -11966 / 14175, -21016 / 51975, 251310128 / 638512875],
        [3044 / 2835, 3802 / 14175, -94388 / 66825, -8797648 / 10945935],
        [6059 / 4725, 41072 / 93555, -1472637812 / 638512875],
        [768272 / 467775, -455935736 / 638512875],
        [4210684958 / 1915538625],
    ]
)


def is_geodetic(ellipsoid: str) -> bool:
    """Whether latitudes are those of an ellipsoid; ValueError for one that is unknown."""
    if ellipsoid not in ELLIPSOIDS:
        raise ValueError(f"ELLIPSOID is {ellipsoid!r}; it must be one of {', '.join(ELLIPSOIDS)}.")
    return ellipsoid == "WGS84"


def to_authalic(lat: Floats) -> Floats:
    """Authalic latitude of a geodetic latitude on WGS84, both in degrees."""
    return lat + DEGREE * _sine_series(lat * RADIAN, _TO_AUTHALIC)


def _sine_series(angle: Floats, coefficients: Floats) -> Floats:
    total = np.zeros_like(angle)
    for k, c in enumerate(coefficients):
        total += c * np.sin(2 * (k + 1) * angle)
    return total


def rings_at(lat: Floats, nside: int) -> Floats:
    """The ring of a latitude (authalic, for an ellipsoid), as a fraction: 0 to 4 nside."""
    z = np.sin(np.radians(lat))
    cap = nside * math.sqrt(6) * np.sin(np.radians(90 - np.abs(lat)) / 2)
    belt = nside * (2 - 1.5 * z)
    return np.where(z > 2 / 3, cap, np.where(z < -2 / 3, 4 * nside - cap, belt))
