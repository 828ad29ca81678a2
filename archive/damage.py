"""Reading everything again, to find what is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from archive import record, recovery
from archive.contents import Contents
from archive.layout import ArchiveError
from archive.packing import DamageError
from archive.spans import Spans
from archive.tile import Group
from grid import Chunk, Tile


@dataclass(frozen=True)
class Damage:
    """What `verify` found; ``chunk`` is None if it concerns the whole tile."""

    tile: Tile
    chunk: Chunk | None
    variable: str
    reason: str

    def __str__(self) -> str:
        return f"{self.chunk or self.tile.name}, {self.variable}: {self.reason}"


def verify(archive: Contents, progress: Callable[[int, int], None] | None = None) -> list[Damage]:
    """What is damaged, sorted by tile and day.

    ``progress`` is called with the number of records done and of all.
    """
    found: list[Damage] = []
    groups: list[Group] = []
    for tile in archive.tiles():
        try:
            groups += [group] if (group := archive.load(tile)) else []
        except ArchiveError as error:
            found.append(Damage(tile, None, "zarr.json", str(error)))
    done, total = 0, sum(len(group.records()) for group in groups)
    for group in groups:
        found += _of_tile(group)
        records = group.records()
        about = group.about(records.values())
        for (chunk, slot), known in zip(records.items(), about, strict=True):
            damages = list(_of_record(group, chunk, slot, known))
            if damages and archive.slot(chunk) == slot:  # not removed in the meantime
                found += damages
            done += 1
            if progress is not None:
                progress(done, total)
    return sorted(found, key=lambda damage: damage.tile)


def _of_tile(group: Group) -> Iterator[Damage]:
    for error in recovery.check(group):
        help_ = (
            "where its records come from is lost, the records themselves are not"
            if error.variable == "provenance"
            else "it is kept twice, and the next write to the tile mends it"
        )
        yield Damage(group.tile, None, error.variable, f"{error.reason}; {help_}")


def _of_record(group: Group, chunk: Chunk, slot: int, about: dict[str, Any]) -> Iterator[Damage]:
    found: dict[str, Any] = {}
    for _, level in groupby(group.written(about), lambda name: name.rpartition("/")[0]):
        names = list(level)  # all of one level at a time
        found |= record.try_read(group, names, slot, Spans.whole(group.size(names[0])), about)
    for name, values in found.items():
        if isinstance(values, DamageError):
            yield Damage(group.tile, chunk, name, values.reason)
        elif name == "count":
            seen = int(np.count_nonzero(values))
            if about.get("seen", seen) != seen:
                reason = f"{seen} cells are seen, but {about['seen']} were"
                yield Damage(group.tile, chunk, name, reason)
