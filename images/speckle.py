"""A speckle filter that keeps the radiometry: that of Quegan and Yu (2001).

Of M images that see the ground in the same way, with E the mean of a window around a cell:

    J of an image = E of it  x  (1 / M) sum over the images of (value / E)

so what is the same in all of them, as edges and ships at anchor, stays sharp, and the level is
each image's own.  E is the mean by the counts over `WINDOW` x `WINDOW` cells of the base face,
of those that have a value.  Only images on the same relative orbit are put together, or of the same
direction where the relative orbit is not known.  A cell without a value stays without one, and
adds nothing to the others.

S. Quegan and J. J. Yu: Filtering of multichannel SAR images, IEEE Transactions on Geoscience and
Remote Sensing 39 (11), 2373-2379, 2001.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from grid import count
from healpix import windows
from images.records import Image
from shared.cellset import CellSet
from shared.memory import Memory

WINDOW = 7  # cells, odd: the side of the window
REACH = WINDOW // 2
BORDER = 1.5 * (REACH + 1)  # cell widths around a box that its windows reach to
KEPT = 256_000_000  # bytes of ratios that a process remembers

Floats = NDArray[np.float64]
Read = Callable[[Image], CellSet]  # the cells of an image around a block


@dataclass(frozen=True)
class Speckle:
    """Images of a period, those together that see the ground in the same way."""

    groups: tuple[tuple[Image, ...], ...]
    token: str  # of this one, wherever it is sent

    def group_of(self, image: Image) -> int:
        """The number of the group that an image is in."""
        return next(i for i, group in enumerate(self.groups) if image in group)


@dataclass(frozen=True)
class _Part:
    """A part of a base face: x from x0 on, y from y0 on."""

    face: int
    x0: int
    y0: int
    shape: tuple[int, int]


Ratios = dict[tuple[_Part, str], tuple[Floats, Floats]]  # sums of value / E, and their numbers


def filtered(
    image: Image, group: Sequence[Image], bands: Sequence[str], read: Read, place: object
) -> CellSet:
    """The cells of an image around a block, filtered with those of its group.

    ``place`` names group and block: what the group has there is kept for its next image.
    """
    own = read(image)
    parts = _parts(own)
    key = place, tuple(bands), tuple(parts)
    [ratios] = _memory.of([key], lambda _: [_ratios(map(read, group), parts, bands)])
    found = {}
    for band in bands:
        out = np.full(own[band].size, np.nan, np.float32)
        for part in parts:
            _, around = _means(own, band, part)
            where, values = _where(own, part), own[band]
            windows.take_products(*where, *around, *ratios[part, band], values, out)
        found[band] = out
    return own.having(found)


def _ratios(group: Iterable[CellSet], parts: Sequence[_Part], bands: Sequence[str]) -> Ratios:
    """Of each cell the sum of its values by the means around it, and the number of them."""
    found: Ratios = {}
    for part in parts:
        for band in bands:
            found[part, band] = np.zeros(part.shape), np.zeros(part.shape)
    for cells in group:
        for part, band in found:
            own, around = _means(cells, band, part)
            windows.add_ratios(*own, *around, *found[part, band])
    return found


def _means(
    cells: CellSet, band: str, part: _Part
) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Count x value and count on a part of a face, and their sums over the windows there."""
    sums, weights = np.zeros(part.shape), np.zeros(part.shape)
    windows.spread(*_where(cells, part), cells[band], cells.weights(band), sums, weights)
    room, around, weights_around = (np.empty(part.shape) for _ in range(3))
    windows.sum_windows(sums, REACH, room, around)
    windows.sum_windows(weights, REACH, room, weights_around)
    return (sums, weights), (around, weights_around)


def _where(cells: CellSet, part: _Part) -> tuple[Any, Any, int, int, int, int]:
    """Where cells are, as the loops want it."""
    level = int(cells.attrs["nside"]).bit_length() - 1
    runs = cells.start_ipix.astype(np.int64), cells.run_len.astype(np.int64)
    return *runs, level, part.face, part.x0, part.y0


def _parts(cells: CellSet) -> list[_Part]:
    """The parts of base faces that cells are in."""
    low, high = np.full((12, 2), np.iinfo(np.int64).max), np.full((12, 2), -1)
    start, length, level = _where(cells, _Part(0, 0, 0, (0, 0)))[:3]
    windows.extend(start, length, level, low, high)
    return [
        _Part(face, int(low[face, 0]), int(low[face, 1]), _size(low[face], high[face]))
        for face in np.flatnonzero(high[:, 0] >= 0).tolist()
    ]


def _size(low: NDArray[np.int64], high: NDArray[np.int64]) -> tuple[int, int]:
    width, height = (high - low + 1).tolist()
    return width, height


def _bytes(ratios: Ratios) -> int:
    return sum(each.nbytes for pair in ratios.values() for each in pair)


_memory: Memory[Hashable, Ratios] = Memory(KEPT, _bytes)


def grouped(images: Sequence[Image], tracks: Sequence[tuple[int, ...]]) -> Iterator[list[Image]]:
    """Images that see the ground in the same way: by orbit direction and relative orbits."""
    ways: dict[tuple[str, tuple[int, ...]], list[Image]] = {}
    for image, track in zip(images, tracks, strict=True):
        ways.setdefault((image.orbit, track), []).append(image)
    yield from ways.values()


def words(days: int) -> str:
    """What is said of a filtered grid."""
    return (
        f"multi-temporal speckle filter of Quegan and Yu (2001), {WINDOW} x {WINDOW} cells, "
        f"{count(days, 'day')}"
    )
