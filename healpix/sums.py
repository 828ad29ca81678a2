"""Raster to cells: sums and counts of the pixels in each cell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from healpix.arrays import Floats, Ints
from healpix.cells import cell_around, quarter_turns, ring_size, to_ring, z_and_w
from healpix.loops import loop, loose_loop
from healpix.slots import BELT, MIXED, NORTH, Slots

_DOUBT = 4e-8  # cells; points nearer to a line between cells are projected by themselves
_DOUBTFUL = -2  # instead of a slot


@loop
def add_blocks(
    values: Any,
    offset: int,
    blocks: Ints,
    polynomials: Floats,
    origins: Floats,
    slots: Slots,
    sums: Floats,
    missing: Any,
    finite: bool,
) -> tuple[int, Ints]:
    """Add the pixels of blocks of a raster to the slots of their cells.

    values: a tuple of bands (row, column), the rows from ``offset`` on.  blocks:
    (block, 6), first and last row, first and last column (included), kind, quarter of the
    cap.  polynomials: (block, 2, 5, 5), coefficients of s^i t^j for ``up`` and ``down``
    (or longitude and latitude), with s and t from -1 to 1 over the rows and columns; to
    them the origins, (block, 2), are added, whole numbers.  sums: (slot, band + 1), the
    last for the count of seen pixels.  missing: (slot, band), seen pixels without a value
    in the band.  finite: every finite value counts; else those from 0 up, and a pixel is seen
    where one is above 0.  Only sums of ``slots`` are touched, so that threads with different rings
    never meet.

    Returns how many pixels were seen in some bands only, and rows and columns, (n, 2), of
    the pixels left out because they are too near a line between cells.
    """
    width = (blocks[:, 3] - blocks[:, 2]).max() + 1 if blocks.shape[0] > 0 else 0
    a = np.empty(width, np.int32)
    b = np.empty(width, np.int32)
    found = np.empty(width, np.int64)
    weight = np.empty(width)
    doubtful = np.empty((1024, 2), np.int64)
    left_out = 0
    partly = 0
    for block in range(blocks.shape[0]):
        row0, row1, column0, column1, kind, quarter = blocks[block]
        n = column1 - column0 + 1
        base_a = int(origins[block, 0])
        base_b = int(origins[block, 1])
        for row in range(row0, row1 + 1):
            c = _along_row(polynomials[block], 2.0 * (row - row0) / max(row1 - row0, 1) - 1.0)
            if kind == MIXED:
                _slots_of_lonlat(c, origins[block], slots, found[:n])
                doubt = True
            else:
                doubt_a = _whole_parts(c[0], a[:n])
                doubt_b = _whole_parts(c[1], b[:n])
                doubt = doubt_a or doubt_b
                _slots_between_lines(a[:n], b[:n], kind, quarter, base_a, base_b, slots, found[:n])
            if doubt:
                scale = 2.0 / max(n - 1, 1)
                for j in range(n):
                    if kind != MIXED and (
                        _is_doubtful(_value(c[0], scale * j - 1.0))
                        or _is_doubtful(_value(c[1], scale * j - 1.0))
                    ):
                        found[j] = _DOUBTFUL
                    if found[j] == _DOUBTFUL:
                        if left_out == doubtful.shape[0]:
                            doubtful = np.concatenate((doubtful, np.empty_like(doubtful)))
                        doubtful[left_out, 0] = row
                        doubtful[left_out, 1] = column0 + j
                        left_out += 1
            partly += _add_row(
                values, row - offset, column0, found[:n], weight[:n], sums, missing, finite
            )
    return partly, doubtful[:left_out]


@loop
def add_points(
    values: Any,
    rows: Ints,
    columns: Ints,
    lon: Floats,
    lat: Floats,
    slots: Slots,
    sums: Floats,
    missing: Any,
    finite: bool,
) -> int:
    """As `add_blocks`, for single pixels of known longitude and (authalic) latitude."""
    partly = 0
    found = np.empty(1, np.int64)
    weight = np.empty(1)
    for i in range(rows.size):
        if abs(lat[i]) <= 90 and abs(lon[i]) < np.inf:
            found[0] = _slot_of_point(lon[i], lat[i], slots)
            partly += _add_row(values, rows[i], columns[i], found, weight, sums, missing, finite)
    return partly


@loop
def _slot(ring: int, index: int, slots: Slots) -> int:
    """The slot of a cell, -1 for a cell that has none."""
    row = ring - slots.top
    if row < 0 or row >= slots.first.size:
        return -1
    turn = 4 * ring_size(ring, 1 << slots.level)
    k = index - slots.first[row]
    if k < 0:
        k += turn
    elif k >= turn:
        k -= turn
    k += slots.start[row]
    return k if k < slots.start[row + 1] else -1


@loop
def _weigh(values: Any, row: int, column: int, weight: Floats) -> None:
    """1 for pixels with a value in each band, 0 if all are 0, -1 if some are none."""
    part = values[0][row, column : column + weight.size]
    for j in range(weight.size):
        weight[j] = part[j] if (part[j] >= 0) & (part[j] < np.inf) else -1.0
    for band in range(1, len(values)):
        part = values[band][row, column : column + weight.size]
        for j in range(weight.size):
            good = (weight[j] >= 0) & (part[j] >= 0) & (part[j] < np.inf)
            weight[j] = weight[j] + part[j] if good else -1.0
    for j in range(weight.size):
        weight[j] = 1.0 if weight[j] > 0 else weight[j]


@loop
def _weigh_finite(values: Any, row: int, column: int, weight: Floats) -> None:
    """1 for pixels with a value in each band, -1 if some are none."""
    weight[:] = 1.0
    for band in range(len(values)):
        part = values[band][row, column : column + weight.size]
        for j in range(weight.size):
            weight[j] = weight[j] if abs(part[j]) < np.inf else -1.0


@loop
def _add_row(
    values: Any,
    row: int,
    column: int,
    found: Ints,
    weight: Floats,
    sums: Floats,
    missing: Any,
    finite: bool,
) -> int:
    """Add the pixels of one row, from a column on, to the slots found for them.

    Returns how many were seen in some bands only.
    """
    if len(values) == 2 and not finite:
        return _add_row_of_two(values, row, column, found, sums, missing)
    partly = 0
    bands = len(values)
    if finite:
        _weigh_finite(values, row, column, weight)
    else:
        _weigh(values, row, column, weight)
    for j in range(found.size):
        if found[j] < 0:
            continue
        slot = np.uint64(found[j])
        if weight[j] < 0:
            partly += _add_partly_seen(values, row, column + j, found[j], sums, missing, finite)
        else:
            for band in range(bands):
                sums[slot, band] += values[band][row, column + j]
            sums[slot, bands] += weight[j]
    return partly


@loop
def _add_row_of_two(
    values: Any, row: int, column: int, found: Ints, sums: Floats, missing: Any
) -> int:
    """As `_add_row`, for the common case of two bands: much faster written out.

    What is the matter with single pixels is asked only in rows where something is.
    """
    first = values[0][row, column : column + found.size]
    second = values[1][row, column : column + found.size]
    flat = sums.ravel()
    unusual = 0
    for j in range(found.size):
        a, b = first[j], second[j]
        unusual |= not (a >= 0) & (b >= 0) & (a < np.inf) & (b < np.inf) & (max(a, b) > 0)
    partly = 0
    for j in range(found.size):
        if found[j] < 0:
            continue
        if unusual:
            a, b = first[j], second[j]
            if (a == 0) & (b == 0):
                continue
            if not (a >= 0) & (b >= 0) & (a < np.inf) & (b < np.inf):
                partly += _add_partly_seen(values, row, column + j, found[j], sums, missing, False)
                continue
        k = np.uint64(found[j]) * np.uint64(3)
        flat[k] += first[j]
        flat[k + np.uint64(1)] += second[j]
        flat[k + np.uint64(2)] += 1.0
    return partly


@loop
def _add_partly_seen(
    values: Any, row: int, column: int, slot: int, sums: Floats, missing: Any, finite: bool
) -> int:
    """Add a pixel of which some bands are no measurements, if another one is seen."""
    bands = len(values)
    seen = False
    for band in range(bands):
        value = values[band][row, column]
        if abs(value) < np.inf and (finite or value > 0):
            seen = True
    if not seen:
        return 0
    sums[slot, bands] += 1
    for band in range(bands):
        value = values[band][row, column]
        if abs(value) < np.inf and (finite or value >= 0):
            sums[slot, band] += value
        else:
            missing[slot, band] += 1
    return 1


@loop
def _along_row(polynomial: Floats, s: float) -> Floats:
    """The coefficients of t^j of both polynomials for one row of a block."""
    c = np.empty((2, 5))
    for k in range(2):
        for j in range(5):
            p = polynomial[k, :, j]
            c[k, j] = (((p[4] * s + p[3]) * s + p[2]) * s + p[1]) * s + p[0]
    return c


@loose_loop
def _whole_parts(c: Floats, out: Any) -> bool:
    """floor(c(t)) for t from -1 to 1; whether any c(t) is nearly a whole number."""
    c0, c1, c2, c3, c4 = c
    scale = 2.0 / max(out.size - 1, 1)
    doubt = 0
    for j in range(out.size):
        t = scale * j - 1.0
        value = (((c4 * t + c3) * t + c2) * t + c1) * t + c0
        whole = math.floor(value)
        out[j] = np.int32(whole)
        doubt |= abs(value - whole - 0.5) > 0.5 - _DOUBT
    return doubt != 0


@loop
def _value(c: Floats, t: float) -> float:
    return float((((c[4] * t + c[3]) * t + c[2]) * t + c[1]) * t + c[0])


@loop
def _is_doubtful(value: float) -> bool:
    """Whether a point is so near a line between cells that rounding may decide."""
    return abs(value - math.floor(value) - 0.5) > 0.5 - _DOUBT


@loop
def _slots_between_lines(
    a: Ints, b: Ints, kind: int, quarter: int, base_a: int, base_b: int, slots: Slots, found: Ints
) -> None:
    """The slots of cells given by their lines; longitudes do not wrap here."""
    level, top, first, start = slots
    nside = 1 << level
    rows = first.size
    if kind == BELT:
        ring_base = 2 * nside + base_a - base_b - top
        index_base = base_a + base_b - nside + 1
        for j in range(a.size):
            row = ring_base + a[j] - b[j]
            slot = -1
            if 0 <= row < rows:
                k = ((index_base + a[j] + b[j]) >> 1) - first[row] + start[row]
                if start[row] <= k < start[row + 1]:
                    slot = k
            found[j] = slot
    else:
        for j in range(a.size):
            size = base_a + base_b + 1 + a[j] + b[j]
            row = (size if kind == NORTH else 4 * nside - size) - top
            slot = -1
            if 0 <= row < rows:
                k = quarter * size + base_a + a[j] - first[row] + start[row]
                if start[row] <= k < start[row + 1]:
                    slot = k
            found[j] = slot


@loop
def _slots_of_lonlat(c: Floats, origin: Floats, slots: Slots, found: Ints) -> None:
    """The slots of a row of a block whose polynomials give longitude and latitude."""
    nside = 1 << slots.level
    scale = 2.0 / max(found.size - 1, 1)
    for j in range(found.size):
        lon = origin[0] + _value(c[0], scale * j - 1.0)
        lat = origin[1] + _value(c[1], scale * j - 1.0)
        found[j] = _slot_of_point(lon, lat, slots)
        t = quarter_turns(lon)
        z, w = z_and_w(lat, nside)
        if w > 0:
            up, down = (t - math.floor(t)) * w, (1 - t + math.floor(t)) * w
        else:
            up, down = nside * (0.5 + t - 0.75 * z), nside * (0.5 + t + 0.75 * z)
        if _is_doubtful(up) or _is_doubtful(down):
            found[j] = _DOUBTFUL


@loop
def _slot_of_point(lon: float, lat: float, slots: Slots) -> int:
    nside = 1 << slots.level
    z, w = z_and_w(lat, nside)
    face, ix, iy = cell_around(quarter_turns(lon), z, w, slots.level)
    ring, east = to_ring(face, ix, iy, nside)
    return _slot(ring, east >> 1, slots)
