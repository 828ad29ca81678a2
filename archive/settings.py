"""The constants of `store.py`, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared import judge

MOST = 2**31  # of PIX_MAX and RUNS_MAX: beyond, no tile is of use
MANTISSA = 23  # bits that a float32 has


@dataclass(frozen=True)
class Settings:
    """What a new archive is made with, and how one is worked with."""

    pix_max: int  # cells
    runs_max: int
    keep_bits: int | None
    lock_wait: float  # s
    tiles: int  # opened at a time


def judged(constants: Mapping[str, Any]) -> Settings:
    """These constants; ValueError names the one that cannot be."""
    bits = constants["KEEP_BITS"]
    return Settings(
        pix_max=judge.whole("PIX_MAX in store.py", constants["PIX_MAX"], 1, MOST),
        runs_max=judge.whole("RUNS_MAX in store.py", constants["RUNS_MAX"], 1, MOST),
        keep_bits=bits if bits is None else judge.whole("KEEP_BITS in store.py", bits, 1, MANTISSA),
        lock_wait=judge.number("LOCK_WAIT in store.py", constants["LOCK_WAIT"]),
        tiles=judge.whole("TILES in store.py", constants["TILES"], 1),
    )
