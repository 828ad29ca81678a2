"""From the sums in slots to the mean and count of each cell, in the order of the ids."""

from __future__ import annotations

from typing import Any

import numpy as np

from healpix.arrays import Floats, Ints
from healpix.cells import FACE_EAST, FACE_SOUTH, decode, ring_size
from healpix.loops import loop
from healpix.slots import Slots

_SIDE = 64  # cells; squares up to this size are taken at a time
_SPREAD = np.array([int(f"{v:b}", base=4) for v in range(_SIDE)])  # their bits at the even places


@loop
def take_means(
    run_start: Ints,
    run_len: Ints,
    slots: Slots,
    sums: Floats,
    missing: Any,
    scaling: Floats,
    means: Any,
    count: Any,
    counts: Any,
) -> None:
    """Mean and count of each cell of the runs, in their order.

    scaling: (band, 2), what means are multiplied by and what is added then; may be empty.
    means: (band, cell), NaN where the band has no value.  count: (cell), at most the
    largest of its type.  missing may be empty, when nothing was; counts, (band, cell), too:
    those of the seen pixels that have a value in the band.
    """
    k = 0
    for run in range(run_start.size):
        cell = run_start[run]
        stop = cell + run_len[run]
        while cell < stop:
            side = _largest_square(cell, stop, slots.level)
            n = side * side
            _take_square(
                cell, side, slots, sums, missing, scaling, means[:, k : k + n],
                count[k : k + n], counts[:, k : k + n],
            )  # fmt: skip
            k += n
            cell += n


@loop
def _largest_square(cell: int, stop: int, level: int) -> int:
    """The side of the largest square of cells whose ids begin here and end before ``stop``."""
    side = 1
    while side < min(_SIDE, 1 << level):
        n = 4 * side * side
        if cell & (n - 1) or cell + n > stop:
            break
        side *= 2
    return side


@loop
def _take_square(
    cell: int,
    side: int,
    slots: Slots,
    sums: Floats,
    missing: Any,
    scaling: Floats,
    means: Any,
    count: Any,
    counts: Any,
) -> None:
    """As `take_means`, for one square; ring by ring, as the sums lie in memory."""
    level, top, first, start = slots
    nside = 1 << level
    bands = means.shape[0]
    flat = sums.ravel()
    face, x, y = decode(cell, level)
    for along in range(2 * side - 1):
        ring = FACE_SOUTH[face] * nside - 1 - x - y - along
        size = ring_size(ring, nside)
        west = max(0, along - side + 1)
        n = along - 2 * west + 1
        # A square lies in one face; the numbers on a ring may start anew within it.
        index = ((FACE_EAST[face] * size + x - y + 2 * west - along) >> 1) - first[ring - top]
        for i in range(n):
            k = index + i
            k += 4 * size if k < 0 else (-4 * size if k >= 4 * size else 0)
            place = np.uint64(start[ring - top] + k) * np.uint64(bands + 1)
            j = np.uint64(_SPREAD[west + i] + 2 * _SPREAD[along - west - i])
            seen = flat[place + np.uint64(bands)]
            count[j] = np.uint16(min(seen, 65535.0))
            for band in range(bands):
                valid = seen
                if missing.size > 0:
                    valid -= missing[start[ring - top] + k, band]
                if counts.size > 0:
                    counts[np.uint64(band), j] = np.uint16(min(valid, 65535.0))
                # 0 / 0 is NaN, as asked.
                mean = flat[place + np.uint64(band)] / valid
                if scaling.size > 0:
                    mean = mean * scaling[band, 0] + scaling[band, 1]
                means[np.uint64(band), j] = mean
