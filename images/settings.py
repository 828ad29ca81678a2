"""The constants of `retrieve.py`, judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared import judge


@dataclass(frozen=True)
class Look:
    """How a picture is drawn."""

    dpi: int  # dots per inch of a saved figure
    percentiles: tuple[float, float]  # of the drawn values: black and white


@dataclass(frozen=True)
class Settings:
    """How large grids and pictures may be, and how they are drawn."""

    memory_max: int  # bytes
    picture_max: int  # pixels
    series_max: int  # pixels
    look: Look


def judged(constants: Mapping[str, Any]) -> Settings:
    """The constants of the door as they are now; ValueError names the one that cannot be."""
    return Settings(
        judge.whole("MEMORY_MAX in retrieve.py", constants["MEMORY_MAX"], 1),
        judge.whole("PICTURE_MAX in retrieve.py", constants["PICTURE_MAX"], 2),
        judge.whole("SERIES_MAX in retrieve.py", constants["SERIES_MAX"], 2),
        Look(
            judge.whole("DPI in retrieve.py", constants["DPI"], 10, 2400),
            judge.rising("PERCENTILES in retrieve.py", constants["PERCENTILES"], 0, 100),
        ),
    )
