"""The products that the back end reads and that its catalogue lists: slices of passes.

They are named as Copernicus names its own, but for the mission.  Which polarisations a
product has, and whether the back end reads its kind at all, is told by its name alone, so
that jobs and catalogue agree (see the faults of products in `faults.py`).
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sandbox import orbit

VERSIONS = ("", "_COG")  # what the ids of the two versions of an image end with
TYPES = {"A": "IW_GRDH_1S", "B": "IW_GRDH_1S_B", "D": "IW_GRDH_1S_D"}  # product types
NOT_READ = "D"  # the satellite whose type the back end does not read yet


@dataclass(frozen=True)
class Traits:
    """What a product is like."""

    polarisations: tuple[str, ...] = ("VV", "VH")
    satellite: str = ""  # another one than that of its pass

    @property
    def is_read(self) -> bool:
        """Whether the back end reads products of this type."""
        return self.satellite != NOT_READ


def traits(fault: str) -> Traits:
    """What a product with a fault is like; any other word means a usual one."""
    return {"no-vh": Traits(("VV",)), "not-read": Traits(satellite=NOT_READ)}.get(fault, Traits())


@dataclass(frozen=True)
class Product:
    """`orbit.SLICE` degrees of latitude of a pass, in one of the `VERSIONS`."""

    view: orbit.Pass
    row: int  # slices from the south
    version: str = VERSIONS[0]

    @property
    def south(self) -> float:
        """Where the slice begins, degrees."""
        return orbit.SOUTH_LIMIT + self.row * orbit.SLICE

    @functools.cached_property
    def times(self) -> tuple[dt.datetime, dt.datetime]:
        """When it was begun and ended."""
        ends = (self.view.time_at(self.south), self.view.time_at(self.south + orbit.SLICE))
        return min(ends), max(ends)

    @functools.cached_property
    def id(self) -> str:
        """As Copernicus names its products, but for the mission."""
        begin, end = (f"{time:%Y%m%dT%H%M%S}" for time in self.times)
        number = f"{self.view.relative_orbit:03}_{self.row:02}"
        return f"SYN{self.view.platform}_IW_GRDH_1SDV_{begin}_{end}_{number}{self.version}"


def of_pass(view: orbit.Pass, latitudes: NDArray[Any]) -> list[Product]:
    """The products of a pass at these latitudes, degrees, from the south."""
    rows = {math.floor((lat - orbit.SOUTH_LIMIT) / orbit.SLICE) for lat in latitudes.tolist()}
    return [Product(view, row) for row in sorted(rows)]
