"""What the missing chunks will cost: by the median of jobs of our own, or by typical values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from grid import DEGREE, Chunk, Tile
from jobs.catalogue import Cover
from jobs.journal import Row
from jobs.settings import Settings

SLIVER = 0.1  # share of a tile below which the bytes of a job say nothing of others

Range = tuple[float, float]
Usual = TypeVar("Usual", float, "float | None")


@dataclass(frozen=True)
class Estimate:
    """What the missing chunks will cost, and in which range by the middle half of our jobs."""

    bytes: int  # to download
    seconds: float
    credits: float | None  # None where nothing is known; at least, where there is no history
    jobs: int  # how many jobs of our own this rests on; 0: on typical values
    bytes_range: Range | None = None  # None: one job or none says nothing of it
    seconds_range: Range | None = None
    credits_range: Range | None = None


def estimate(
    chunks: Sequence[Chunk],
    history: Sequence[Row],
    backend: str,
    covers: Mapping[Chunk, Cover],
    made: Settings,
) -> Estimate:
    """Bytes, seconds and credits for these chunks: the median of jobs of our own, or typical.

    The bytes go by the area that is covered, of jobs that had more than a sliver of their tile: of
    the others they are those of gaps.  The time is that of the turns in all places,
    but at least that of the starts, and what the last result takes to get into the archive.
    """
    number, pace, typical = len(chunks), made.pace, made.typical
    area = sum(_area(c.tile) * (covers[c].share if c in covers else 1.0) for c in chunks)
    usual = typical.embedded_seconds if backend == "sandbox" else typical.seconds
    density = [
        (row.bytes or 0) / (_area(row.chunk.tile) * _covered(row))
        for row in history
        if _covered(row) >= SLIVER
    ]
    held = [(row.noticed or row.finished or 0) - (row.started or 0) for row in history]
    behind = [(row.ended or row.noticed) - row.noticed for row in history if row.noticed]
    costs = [row.credits for row in history if row.credits is not None]
    last = _median(behind, 0.0)
    turns = math.ceil(number / pace.max_inflight)

    def seconds(each: float) -> float:
        starts = (number - 1) * pace.start_interval + each
        return max(turns * each, starts) + last if number else 0.0

    least = typical.credits if backend in made.backends else None
    credits = _median(costs, least)
    pixel_bytes = typical.bytes * len(made.recipe.bands)
    return Estimate(
        round(area * _median(density, pixel_bytes / typical.pixel**2)),
        seconds(_median(held, usual)),
        None if credits is None else credits * number,
        len(history),
        _spread(density, lambda each: each * area),
        _spread(held, seconds),
        _spread(costs, lambda each: each * number),
    )


def _covered(row: Row) -> float:
    """What share of the tile the images cover; all of it where the catalogue was not asked."""
    return float(row.known.get("covered", 1.0))


def _median(values: Sequence[float], otherwise: Usual) -> float | Usual:
    if not values:
        return otherwise
    import statistics

    return statistics.median(values)


def _spread(values: Sequence[float], total: Callable[[float], float]) -> Range | None:
    """The total by the lower and by the upper quartile of what one took."""
    if len(values) < 2:
        return None
    import statistics

    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return total(low), total(high)


def _area(tile: Tile) -> float:
    """Square metres of a tile, on a sphere."""
    width = (tile.east - tile.west) * math.cos(math.radians((tile.south + tile.north) / 2))
    return width * (tile.north - tile.south) * DEGREE**2
