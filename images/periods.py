"""The records of a tile in a period as one: a composite of what is wanted of its cells.

It is made in pieces, which are the cells of an inner chunk: each is read of one record after the
other and folded before it leaves the processor's cache, and is kept for the blocks beside, which
have cells of it, too.  So each inner chunk is read once, wherever blocks end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from archive.spans import Spans
from archive.storage import each_of
from grid import BBox, Chunk
from healpix.copies import gather
from images.composites import Cells, Values, composed
from images.grids import DAY
from shared.counts import count_of
from shared.memory import Memory
from shared.variables import variable

if TYPE_CHECKING:
    from archive.snapshot import View

STACK = 100_000_000  # bytes, about the most that the values of a piece on all days take
KEPT = 192_000_000  # bytes of pieces that a process remembers
LITTLE = 16_000_000  # bytes, of either for who is thrifty
TOGETHER = 8  # pieces that are read at once from far away, where each request takes its time

Key = tuple[str, int]  # of a piece: what is made, and its number in the tile
Piece = dict[str, Values]  # as of `composed`


@dataclass(frozen=True)
class Period:
    """The composite of some records of a tile."""

    view: View
    chunks: tuple[Chunk, ...]
    level: int
    how: str
    bands: tuple[str, ...]
    classes: tuple[str, ...]
    thrifty: bool = False  # takes less memory, and more time

    def cells(self, bbox: BBox) -> xr.Dataset:
        """What is in a box: as of `View.read`, with the counts of `composed`."""
        runs, spans = self.view.within(bbox, self.level)
        wanted = spans.pieces(self._size)
        out: Piece = {name: np.empty(spans.size, np.float32) for name in self._names}
        out |= {count_of(name): np.empty(spans.size) for name in self._names}
        together = TOGETHER if self.view.is_far else 1
        memory = _little if self.thrifty else _memory
        for numbers in _batches(list(wanted), together):
            made = memory.of([(self._key, number) for number in numbers], self._pieces)
            for number, piece in zip(numbers, made, strict=True):
                at = wanted[number]
                for name, values in out.items():
                    gather(piece[name], at.starts, at.sizes, values[at.to : at.to + at.size])
        out["count"] = np.maximum.reduce([out[count_of(band)] for band in self.bands])
        data = {name: variable("cells", values) for name, values in out.items()}
        data |= {"start_ipix": variable("runs", runs[0]), "run_len": variable("runs", runs[1])}
        return xr.Dataset(data, attrs=self.view.attributes(self.chunks[0], self.level))

    @cached_property
    def _key(self) -> str:
        """What tells it from others; a text, whose hash is remembered."""
        return f"{self.view.token} {self.level} {self.how} {self.bands} {self.chunks}"

    @cached_property
    def _size(self) -> int:
        """The cells of a piece: an inner chunk, or of very many records a part of one."""
        records = len(self.chunks) * len(self.bands) if self.how == "median" else 0
        size = self.view.inner
        most = LITTLE if self.thrifty else STACK
        while 4 * records * size > most and size > 1024:
            size //= 2
        return size

    @property
    def _names(self) -> tuple[str, ...]:
        """What a piece holds, besides the counts."""
        return (*self.bands, DAY) if self.how == "newest" else self.bands

    def _pieces(self, keys: Sequence[Key]) -> list[Piece]:
        """Some pieces, read together."""
        starts = np.array([number for _, number in keys], np.int64) * self._size
        ends = np.minimum(starts + self._size, self.view.within(None, self.level)[1].size)
        spans = Spans(starts, ends - starts)

        def read(names: Sequence[str]) -> Iterator[tuple[Chunk, Cells]]:
            values = partial(self.view.values, spans=spans, variables=names, level=self.level)
            return zip(
                self.chunks, each_of(values, self.chunks, self.view.is_far), strict=True
            )  # fmt: skip

        made = composed(read, self.how, self.bands, self.classes, len(self.chunks))
        _share_counts(made, self._names)
        if len(keys) == 1:
            return [made]
        edges = np.cumsum([0, *spans.sizes]).tolist()
        return [
            {name: values[low:high].copy() for name, values in made.items()}
            for low, high in pairwise(edges)
        ]


def _share_counts(made: Piece, names: Sequence[str]) -> None:
    """Keep the counts once where they are the same."""
    first = made[count_of(names[0])]
    for name in map(count_of, names[1:]):
        if np.array_equal(made[name], first):
            made[name] = first


def _batches(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]


def _bytes(piece: Piece) -> int:
    return sum({id(values): values.nbytes for values in piece.values()}.values())


_memory: Memory[Key, Piece] = Memory(KEPT, _bytes)
_little: Memory[Key, Piece] = Memory(LITTLE, _bytes)
