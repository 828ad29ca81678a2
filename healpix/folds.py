"""Values of the same cells at many times to one, a few times after the other.

Each loop takes the values of two times into account, those of spreads of four: float32, NaN where
there is none, and what they count; a cell that counts 0 has none either.  Several at once, because
what they are added to is then fetched and put back less often.  Last ones that are left go with
some that count 0.

The loops do not branch.  Where a tenth of the cells has no value, here and there, guesses of the
processor take longer than the arithmetic, and what does not branch is done for several cells at a
time.  What may be chosen is loaded before, or the load would be masked, and of masks some
processors take a cell at a time.  For the same reason values are compared as keys, integers that
order as they do: the lesser one of two floats is kept by a masked store.

    key = bits of x >= 0, else bits xor 0x7fffffff      key(-x) = ~key(x)      int32
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healpix.arrays import Ints
from healpix.loops import loop

ABREAST = 2048  # cells that are sorted at a time, at most
CACHE = 160_000  # bytes that they take about, with all their values
ALIGNED = 16  # values of a line of the processor's cache
INFINITE = 0x7F800000  # the key of +inf
GREATEST = 0x7FFFFFFF  # a key that no value has

Keys = NDArray[np.int32]
Weights = NDArray[Any]  # as `no_weights` gives them


def values_of(keys: Keys, weights: Weights) -> NDArray[np.float32]:
    """The values with these keys; NaN where weights are 0."""
    values = (keys ^ ((keys >> 31) & 0x7FFFFFFF)).view(np.float32)
    values[weights == 0] = np.nan
    return values


def no_weights(counts: NDArray[Any], times: int) -> Weights:
    """Zeros to add so many times such counts to: the fewer bytes, the faster."""
    small = np.iinfo(counts.dtype).max * times <= np.iinfo(np.uint32).max
    return np.zeros(counts.size, np.uint32 if small else np.float64)


@loop
def _is_there(value: Any, count: Any) -> Any:
    """Whether there is a value."""
    return (count > 0) & (value == value)


@loop
def _key_of(bits: Any) -> Any:
    """The key of a value with these bits, and back."""
    return np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))


@loop
def add_means(
    values: Any, counts: Any, others: Any, their_counts: Any, sums: Any, weights: Any
) -> None:
    """sums += count x value, float64, first of the values, then of the others; weights += count."""
    for k in range(values.size):
        one = _is_there(values[k], counts[k])
        two = _is_there(others[k], their_counts[k])
        count = counts[k] if one else counts.dtype.type(0)
        their = their_counts[k] if two else counts.dtype.type(0)
        first = float(count) * (float(values[k]) if one else 0.0)
        sums[k] = sums[k] + first + float(their) * (float(others[k]) if two else 0.0)
        weights[k] += weights.dtype.type(count) + weights.dtype.type(their)


@loop
def fill(values: Any, counts: Any, day: float, out: Any, weights: Any, days: Any) -> int:
    """Where ``out`` is NaN a value, its count and day are taken; how many there are still."""
    left = 0
    for k in range(values.size):
        if out[k] != out[k]:  # soon nowhere, which is well guessed
            if _is_there(values[k], counts[k]):
                out[k] = values[k]
                weights[k] = counts[k]
                days[k] = day
            else:
                left += 1
    return left


@loop
def keep_least(
    values: Any, counts: Any, others: Any, their_counts: Any, flip: int, keys: Any, weights: Any
) -> None:
    """The least key; with a flip of -1, of ``flip xor key``, that of the greatest value.

    ``keys`` begin as `GREATEST`; weights += count.
    """
    bits, their_bits = values.view(np.int32), others.view(np.int32)
    for k in range(values.size):
        one = _is_there(values[k], counts[k])
        two = _is_there(others[k], their_counts[k])
        key = np.int32(_key_of(bits[k]) ^ flip)
        other = np.int32(_key_of(their_bits[k]) ^ flip)
        lesser = min(key if one else np.int32(GREATEST), other if two else np.int32(GREATEST))
        keys[k] = min(keys[k], lesser)
        count = counts[k] if one else counts.dtype.type(0)
        their = their_counts[k] if two else counts.dtype.type(0)
        weights[k] += weights.dtype.type(count) + weights.dtype.type(their)


@loop
def add_numbers(
    values: Any, counts: Any, others: Any, their_counts: Any, number: Any, weights: Any
) -> None:
    """How often there was a value, float32; weights += count."""
    for k in range(values.size):
        one = _is_there(values[k], counts[k])
        two = _is_there(others[k], their_counts[k])
        number[k] += np.float32(1.0 if one else 0.0) + np.float32(1.0 if two else 0.0)
        count = counts[k] if one else counts.dtype.type(0)
        their = their_counts[k] if two else counts.dtype.type(0)
        weights[k] += weights.dtype.type(count) + weights.dtype.type(their)


@loop
def begin_spreads(values: Any, counts: Any, others: Any, their_counts: Any, shift: Any) -> None:
    """The first value of each cell; where neither has one, that of the cell before, at first 0."""
    last = np.float32(0.0)
    for k in range(values.size):
        if (counts[k] > 0) & math.isfinite(values[k]):
            last = values[k]
        elif (their_counts[k] > 0) & math.isfinite(others[k]):
            last = others[k]
        shift[k] = last


@loop
def add_spreads(
    values: Any, counts: Any, others: Any, their_counts: Any,
    third: Any, third_counts: Any, fourth: Any, fourth_counts: Any,
    shift: Any, sums: Any, squares: Any, number: Any, weights: Any,
) -> None:  # fmt: skip
    """Of four times sums of the differences from ``shift`` and of their squares, float64.

    The rest as of `add_numbers`.  The variance, of the squares' mean less the square of the mean,
    is the less exact the further the shift is from the mean: with one of the values it is off by
    no more than their number times the precision of a double (Chan, Golub and LeVeque 1983).
    """
    for k in range(values.size):
        one = _is_there(values[k], counts[k])
        two = _is_there(others[k], their_counts[k])
        three = _is_there(third[k], third_counts[k])
        four = _is_there(fourth[k], fourth_counts[k])
        start = float(shift[k])
        a = float(values[k]) - start if one else 0.0
        b = float(others[k]) - start if two else 0.0
        c = float(third[k]) - start if three else 0.0
        d = float(fourth[k]) - start if four else 0.0
        sums[k] += (a + b) + (c + d)
        squares[k] += (a * a + b * b) + (c * c + d * d)
        first = np.float32(1.0 if one else 0.0) + np.float32(1.0 if two else 0.0)
        second = np.float32(1.0 if three else 0.0) + np.float32(1.0 if four else 0.0)
        number[k] += first + second
        count = counts[k] if one else counts.dtype.type(0)
        their = their_counts[k] if two else counts.dtype.type(0)
        weights[k] += weights.dtype.type(count) + weights.dtype.type(their)
        count = third_counts[k] if three else counts.dtype.type(0)
        their = fourth_counts[k] if four else counts.dtype.type(0)
        weights[k] += weights.dtype.type(count) + weights.dtype.type(their)


@loop
def take_spreads(sums: Any, squares: Any, number: Any, out: Any) -> None:
    """The standard deviation of the population, of `add_spreads`; NaN where number is 0."""
    for k in range(out.size):
        mean = sums[k] / float(number[k])  # 0 / 0 is NaN, as asked
        out[k] = np.float32(math.sqrt(max(squares[k] / float(number[k]) - mean * mean, 0.0)))


@loop
def add_to_stack(
    values: Any, counts: Any, others: Any, their_counts: Any,
    row: Any, next_row: Any, fills: Any, weights: Any,
) -> None:  # fmt: skip
    """The lesser of the keys into one row, the greater into the other; weights += count.

    Where there is no value its key is one of ``fills``, infinite, which takes turns: so what
    stands for none is half of it before and half of it behind the values.
    """
    bits, their_bits = values.view(np.int32), others.view(np.int32)
    for k in range(values.size):
        one = _is_there(values[k], counts[k])
        two = _is_there(others[k], their_counts[k])
        key = _key_of(bits[k])
        next_key = _key_of(their_bits[k])
        fill = fills[k]
        key = key if one else fill
        fill = fill ^ np.int32(0 if one else -1)
        next_key = next_key if two else fill
        fills[k] = fill ^ np.int32(0 if two else -1)
        row[k] = min(key, next_key)
        next_row[k] = max(key, next_key)
        count = counts[k] if one else counts.dtype.type(0)
        their = their_counts[k] if two else counts.dtype.type(0)
        weights[k] += weights.dtype.type(count) + weights.dtype.type(their)


@loop
def take_medians(stack: Any, fills: Any, weights: Any, network: Ints, out: Any) -> None:
    """The median of each cell of a stack (time, cell) of `add_to_stack`; NaN where weights are 0.

    A time may have more cells than ``out``, so that all begin where the processor likes it
    (`ALIGNED`).  ``fills`` began as `INFINITE`.  ``network``: of `healpix.networks`.  Sorts the
    stack.
    """
    times = stack.shape[0]
    abreast = max(32, min(ABREAST, CACHE // (4 * times)) // ALIGNED * ALIGNED)
    for first in range(0, stack.shape[1], abreast):
        last = min(first + abreast, stack.shape[1])
        for step in range(network.shape[0]):
            a, b, c, d = network[step]
            if c < 0:
                _sort_two(stack[a, first:last], stack[b, first:last])
            else:
                _sort_four(
                    stack[a, first:last], stack[b, first:last],
                    stack[c, first:last], stack[d, first:last],
                )  # fmt: skip
    low, high = stack[times // 2 - 1, : out.size], stack[times // 2, : out.size]
    _to_bits(low)
    _to_bits(high)
    _take_middle(low.view(np.float32), high.view(np.float32), fills, weights, out)


@loop
def _take_middle(low: Any, high: Any, fills: Any, weights: Any, out: Any) -> None:
    for c in range(out.size):
        both = np.float32((float(low[c]) + float(high[c])) / 2.0)
        value = both if fills[c] > 0 else low[c]  # an odd number of values: one less is infinite
        out[c] = value if weights[c] > 0 else np.float32(np.nan)


@loop
def _sort_two(lesser: Any, greater: Any) -> None:
    for c in range(lesser.size):
        a, b = lesser[c], greater[c]
        lesser[c] = min(a, b)
        greater[c] = max(a, b)


@loop
def _sort_four(one: Any, two: Any, three: Any, four: Any) -> None:
    """One and three, two and four, then those in the middle."""
    for c in range(one.size):
        a, b = min(one[c], three[c]), min(two[c], four[c])
        x, y = max(one[c], three[c]), max(two[c], four[c])
        one[c] = a
        two[c] = min(b, x)
        three[c] = max(b, x)
        four[c] = y


@loop
def _to_bits(keys: Any) -> None:
    for c in range(keys.size):
        keys[c] = _key_of(keys[c])
