"""Which cells of a tile are wanted, and in which inner chunks of a shard they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Piece(NamedTuple):
    """Cells from one inner chunk, which lie side by side in the result."""

    starts: Ints  # the first cell of each run, counted within the inner chunk
    sizes: Ints
    to: int  # the place of the first in the result
    size: int  # all of them


@dataclass(frozen=True)
class Spans:
    """Cells of a tile: runs of them, counted within the tile, ascending."""

    starts: Ints
    sizes: Ints
    _pieces: dict[int, dict[int, Piece]] = field(default_factory=dict, repr=False)

    @classmethod
    def whole(cls, size: int) -> Spans:
        """All cells of a tile."""
        return cls(np.zeros(1, np.int64), np.array([size], np.int64))

    @property
    def size(self) -> int:
        """The number of cells."""
        return int(self.sizes.sum())

    def pieces(self, inner: int) -> dict[int, Piece]:
        """The same cells by inner chunk, where those hold ``inner`` cells."""
        if inner not in self._pieces:
            self._pieces[inner] = _cut(self.starts, self.sizes, inner)
        return self._pieces[inner]


def _cut(starts: Ints, sizes: Ints, inner: int) -> dict[int, Piece]:
    first, last = starts // inner, (starts + sizes - 1) // inner
    counts = np.where(sizes > 0, last - first + 1, 0)
    span = np.repeat(np.arange(len(starts)), counts)
    number = first[span] + np.arange(len(span)) - np.repeat(np.cumsum(counts) - counts, counts)
    start = np.maximum(starts[span], number * inner)
    size = np.minimum(starts[span] + sizes[span], (number + 1) * inner) - start
    edges = np.flatnonzero(np.diff(number, prepend=-1))
    to = np.cumsum(size) - size
    return {
        int(number[i]): Piece(start[i:j] % inner, size[i:j], int(to[i]), int(size[i:j].sum()))
        for i, j in pairwise([*edges, len(number)])
    }
