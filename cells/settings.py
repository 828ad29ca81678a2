"""The constants of `convert.py`, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from healpix.ids import MAX_NSIDE
from healpix.latitudes import ELLIPSOIDS
from shared import judge


@dataclass(frozen=True)
class Settings:
    """How rasters become cells, and cells a regular grid."""

    nside: int
    ellipsoid: str
    dlat: float  # degrees
    dlon: float
    workers: int


def judged(constants: Mapping[str, Any]) -> Settings:
    """The constants of the door as they are now; ValueError names the one that cannot be."""
    nside = judge.whole("NSIDE in convert.py", constants["NSIDE"], 1, MAX_NSIDE)
    if nside & (nside - 1):
        raise ValueError(judge.wrong("NSIDE in convert.py", nside, "a power of 2, as 262144"))
    return Settings(
        nside,
        judge.choice("ELLIPSOID in convert.py", constants["ELLIPSOID"], ELLIPSOIDS),
        judge.positive("DLAT in convert.py", constants["DLAT"], 90),
        judge.positive("DLON in convert.py", constants["DLON"], 180),
        judge.whole("WORKERS in convert.py", constants["WORKERS"], 1),
    )
