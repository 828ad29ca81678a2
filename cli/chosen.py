"""Which records of an archive are meant: those of an area, of some days, of an orbit."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli import questions
from cli.questions import Period
from grid import BBox, Tile
from shared.areas import plain, touched

if TYPE_CHECKING:
    from archive.holdings import Holdings


@dataclass(frozen=True)
class Chosen:
    """What flags say of them; nothing said: all."""

    bbox: BBox | None = None
    start: Period | None = None
    end: Period | None = None
    orbit: str | None = None

    def __post_init__(self) -> None:
        if self.end is not None and self.start is None:
            raise ValueError("--end needs a --start.")
        if self.start is not None:
            questions.require_order(self.start[0], (self.end or self.start)[1])

    @property
    def is_all(self) -> bool:
        """Whether nothing is said."""
        return self.bbox is None and self.start is None and self.orbit is None

    @property
    def days(self) -> Period | None:
        """First and last day, both included; None: all."""
        return None if self.start is None else (self.start[0], (self.end or self.start)[1])

    def has(self, day: dt.date, orbit: str) -> bool:
        """Whether a record of this day and orbit is meant, if its tile is."""
        first, last = self.days or (day, day)
        return first <= day <= last and self.orbit in (None, orbit)

    def of(self, holdings: Holdings) -> Holdings:
        """What is meant of the holdings of an archive."""
        if self.is_all:
            return holdings
        if self.bbox is None:
            return holdings.some(None, self.has)
        return holdings.some({tile.name for tile in touched(self.bbox, tiles(holdings))}, self.has)

    def reaching_beyond(self, some: Sequence[Tile]) -> list[Tile]:
        """Those of some tiles that are not wholly in the area."""
        if self.bbox is None:
            return []
        return [tile for tile in some if not is_inside(tile, self.bbox)]

    @property
    def words(self) -> str:
        """What is said, for people."""
        said = [str(plain(self.bbox))] if self.bbox else []
        said += [questions.in_words(self.days)] if self.days else []
        said += [f"{self.orbit} passes"] if self.orbit else []
        return ", ".join(said) or "everything"


def tiles(holdings: Holdings) -> list[Tile]:
    """The tiles of an archive's holdings."""
    size = holdings.layout.chunk_size
    return [Tile.from_name(held.name, size) for held in holdings.tiles]


def is_inside(tile: Tile, bbox: BBox) -> bool:
    """Whether a tile is wholly in a box."""
    if not (bbox.south <= tile.south and tile.north <= bbox.north):
        return False
    west = tile.west if tile.west >= bbox.west else tile.west + 360
    return bbox.width >= 360 or west + tile.size[0] <= bbox.west + bbox.width
