"""The records of a tile in a period as one: a composite of what is wanted of its cells.

It is made in pieces, which are the cells of an inner chunk: each is read of one record after the
other and folded before it leaves the processor's cache, and is kept for the blocks beside, which
have cells of it, too.  So each inner chunk is read once, wherever blocks end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from archive.spans import Spans
from archive.storage import each_of
from grid import BBox, Chunk
from healpix.copies import gather
from images.composites import Cells, Values, composed
from images.grids import DAY
from shared.cellset import CellSet
from shared.counts import count_of
from shared.memory import Memory

if TYPE_CHECKING:
    from archive.snapshot import View

STACK = 90_000_000  # bytes, about the most that the values of a piece on all days take
KEPT = 144_000_000  # bytes of pieces that a process remembers
LITTLE = 16_000_000  # bytes, of either for who is thrifty
TOGETHER = 8  # pieces, or records, that are read at once from far away: each request takes long
NEAR = 4  # pieces that are read at once from near

Item = TypeVar("Item")
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

    def cells(self, bbox: BBox) -> CellSet:
        """What is in a box: as of `View.cells`, with the counts of `composed`."""
        runs, spans = self.view.within(bbox, self.level)
        places = spans.pieces(self._size)
        memory, pieces = _little if self.thrifty else _memory, list[Piece]()
        for numbers in _batches(list(places), self._together):
            pieces += memory.of([(self._key, number) for number in numbers], self._pieces)
        first, *others = map(count_of, self._names)
        same = [name for name in others if all(piece[name] is piece[first] for piece in pieces)]
        rows = np.empty((len(self._names), spans.size), np.float32)  # as one: `Means` copies none
        out: Piece = dict(zip(self._names, rows, strict=True))
        for name in (first, *(set(others) - set(same))):
            out[name] = np.empty(spans.size, pieces[0][name].dtype if pieces else np.uint32)
        for name, values in out.items():
            for at, piece in zip(places.values(), pieces, strict=True):
                gather(piece[name], at.starts, at.sizes, values[at.to : at.to + at.size])
        out |= dict.fromkeys(same, out[first])
        bands = {id(out[count_of(band)]): out[count_of(band)] for band in self.bands}
        out["count"] = np.maximum.reduce(list(bands.values())) if len(bands) > 1 else out[first]
        return CellSet(*runs, out, self.view.attributes(self.chunks[0], self.level))

    @cached_property
    def _key(self) -> str:
        """What tells it from others; a text, whose hash is remembered."""
        return f"{self.view.token} {self.level} {self.how} {self.bands} {self.chunks}"

    @cached_property
    def _size(self) -> int:
        """The cells of a piece: an inner chunk, or for a median of very many records a part."""
        size = self.view.inner
        while self._stacked * size > self._most and size > 1024:
            size //= 2
        return size

    @property
    def _together(self) -> int:
        """Pieces that are read at once."""
        most = TOGETHER if self.view.is_far else NEAR if not self.thrifty else 1
        return max(1, min(most, self._most // max(self._stacked * self._size, 1)))

    @property
    def _stacked(self) -> int:
        """Bytes of all values of a cell that are needed at a time."""
        return 4 * len(self.chunks) * len(self.bands) if self.how == "median" else 0

    @property
    def _most(self) -> int:
        """Bytes that all values of the pieces that are made at once may take."""
        return LITTLE if self.thrifty else STACK

    @property
    def _names(self) -> tuple[str, ...]:
        """What a piece holds, besides the counts."""
        return (*self.bands, DAY) if self.how == "newest" else self.bands

    def _pieces(self, keys: Sequence[Key]) -> list[Piece]:
        """Some pieces, read together."""
        starts = np.array([number for _, number in keys], np.int64) * self._size
        ends = np.minimum(starts + self._size, self.view.within(None, self.level)[1].size)
        spans = Spans(starts, ends - starts)

        def read(names: Sequence[str], chunks: Sequence[Chunk]) -> Iterator[tuple[Chunk, Cells]]:
            values = partial(self.view.values, spans=spans, variables=names, level=self.level)
            for some in _batches(chunks, TOGETHER if self.how == "newest" else len(chunks)):
                yield from zip(some, each_of(values, some, self.view.is_far), strict=True)

        made = composed(read, self.chunks, self.how, self.bands, self.classes, self.thrifty)
        edges = np.cumsum([0, *spans.sizes]).tolist()
        return [
            _sharing({name: values[low:high] for name, values in made.items()}, self._names)
            for low, high in pairwise(edges)
        ]


def _sharing(made: Mapping[str, Values], names: Sequence[str]) -> Piece:
    """A piece by itself, whose counts are kept once where they are the same."""
    piece = {name: np.array(made[name]) for name in names}
    first = piece[count_of(names[0])] = np.array(made[count_of(names[0])])
    for name in map(count_of, names[1:]):
        piece[name] = first if np.array_equal(made[name], first) else np.array(made[name])
    return piece


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _bytes(piece: Piece) -> int:
    return sum({id(values): values.nbytes for values in piece.values()}.values())


_memory: Memory[Key, Piece] = Memory(KEPT, _bytes)
_little: Memory[Key, Piece] = Memory(LITTLE, _bytes)
