"""Values of the same cells at many times to one, a time after the other.

Each loop takes the values of a time into account: float32, NaN where there is none, and what
they count; a cell that counts 0 has none either.

The loops do not branch.  Where a tenth of the cells has no value, here and there, guesses of the
processor take longer than the arithmetic, and what does not branch is done for several cells at a
time.  For the same reason no loop writes more arrays than a compiler can tell apart, and values
are compared as keys, integers that order as they do: the lesser one of two floats is kept by a
masked store, which some processors do at a snail's pace.

    key = bits of x >= 0, else bits xor 0x7fffffff      key(-x) = ~key(x)      int32
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from healpix.arrays import Ints
from healpix.loops import loop

ABREAST = 256  # cells that are sorted at a time, at most
CACHE = 32_768  # bytes that they take about, with all their values
INFINITE = 0x7F800000  # the key of +inf
GREATEST = 0x7FFFFFFF  # a key that no value has

Keys = NDArray[np.int32]
Weights = NDArray[Any]  # as `no_weights` gives them


def keys_of(values: NDArray[np.float32]) -> Keys:
    """The keys of values, or the bits of the values with these keys."""
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def values_of(keys: Keys, weights: Weights) -> NDArray[np.float32]:
    """The values with these keys; NaN where weights are 0."""
    values = keys_of(keys.view(np.float32)).view(np.float32)
    values[weights == 0] = np.nan
    return values


def no_weights(counts: NDArray[Any], times: int) -> Weights:
    """Zeros to add so many times such counts to: the fewer bytes, the faster."""
    small = np.iinfo(counts.dtype).max * times <= np.iinfo(np.uint32).max
    return np.zeros(counts.size, np.uint32 if small else np.float64)


@loop
def add_mean(values: Any, counts: Any, sums: Any, weights: Any) -> None:
    """sums += count x value, float64, and weights += count."""
    for k in range(values.size):
        there = (counts[k] > 0) & (values[k] == values[k])
        count = counts[k] if there else counts.dtype.type(0)
        sums[k] += float(count) * (float(values[k]) if there else 0.0)
        weights[k] += weights.dtype.type(count)


@loop
def fill(values: Any, counts: Any, day: float, out: Any, weights: Any, days: Any) -> int:
    """Where ``out`` is NaN a value, its count and day are taken; how many there are still."""
    left = 0
    for k in range(values.size):
        if out[k] != out[k]:  # soon nowhere, which is well guessed
            if (counts[k] > 0) & (values[k] == values[k]):
                out[k] = values[k]
                weights[k] = counts[k]
                days[k] = day
            else:
                left += 1
    return left


@loop
def add_least(values: Any, counts: Any, flip: int, keys: Any, weights: Any) -> None:
    """The least key; with a flip of -1, of ``flip xor key``, that of the greatest value.

    ``keys`` begin as `GREATEST`; weights += count.
    """
    bits = values.view(np.int32)
    for k in range(values.size):
        there = (counts[k] > 0) & (values[k] == values[k])
        key = np.int32(bits[k] ^ ((bits[k] >> 31) & 0x7FFFFFFF) ^ flip)
        keys[k] = min(keys[k], key if there else np.int32(GREATEST))
        weights[k] += weights.dtype.type(counts[k]) if there else weights.dtype.type(0)


@loop
def add_number(values: Any, counts: Any, number: Any, weights: Any) -> None:
    """How often there was a value, float32; weights += count."""
    for k in range(values.size):
        there = (counts[k] > 0) & (values[k] == values[k])
        number[k] += np.float32(1.0 if there else 0.0)
        weights[k] += weights.dtype.type(counts[k]) if there else weights.dtype.type(0)


@loop
def add_spread(values: Any, counts: Any, number: Any, mean: Any, squares: Any) -> None:
    """Mean and sum of squared differences from it, by Welford (1962), after `add_number`."""
    for k in range(values.size):
        there = (counts[k] > 0) & (values[k] == values[k])
        value = float(values[k]) if there else mean[k]
        step = value - mean[k]
        mean[k] += step / float(max(number[k], np.float32(1.0)))
        squares[k] += step * (value - mean[k])


@loop
def add_to_stack(values: Any, counts: Any, row: Any, fills: Any) -> None:
    """row = keys of the values, where there is none one of ``fills``, infinite, which takes turns.

    So what stands for none is half of it before and half of it behind the values.
    """
    bits = values.view(np.int32)
    for k in range(values.size):
        there = (counts[k] > 0) & (values[k] == values[k])
        key = np.int32(bits[k] ^ ((bits[k] >> 31) & 0x7FFFFFFF))
        row[k] = key if there else fills[k]
        fills[k] ^= np.int32(0 if there else -1)


@loop
def add_weights(values: Any, counts: Any, weights: Any) -> None:
    """weights += count."""
    for k in range(values.size):
        there = (counts[k] > 0) & (values[k] == values[k])
        weights[k] += weights.dtype.type(counts[k]) if there else weights.dtype.type(0)


@loop
def take_medians(
    stack: Any, fills: Any, weights: Any, network: Ints, middle: int, out: Any
) -> None:  # fmt: skip
    """The median of each cell of a stack (time, cell) of `add_to_stack`; NaN where weights are 0.

    ``fills`` began as `INFINITE`.  ``network`` and ``middle``: of `healpix.networks`.
    """
    times = stack.shape[0]
    abreast = max(32, min(ABREAST, CACHE // (4 * times)))
    block = np.zeros((times, abreast), np.int32)
    for first in range(0, out.size, abreast):
        last = min(first + abreast, out.size)
        for t in range(times):
            block[t, : last - first] = stack[t, first:last]
        for step in range(network.shape[0]):
            _sort_pairs(block[network[step, 0]], block[network[step, 1]])
        for t in range(middle, min(middle + 2, times)):
            _to_bits(block[t])
        low = block[middle].view(np.float32)
        high = block[min(middle + 1, times - 1)].view(np.float32)
        for c in range(last - first):
            is_odd = (times % 2 == 1) == (fills[first + c] > 0)  # the number of values
            alone = high[c] if times % 2 else low[c]
            both = np.float32((float(low[c]) + float(high[c])) / 2.0)
            value = alone if is_odd else both
            out[first + c] = value if weights[first + c] > 0 else np.float32(np.nan)


@loop
def _sort_pairs(lesser: Any, greater: Any) -> None:
    for c in range(lesser.size):
        a, b = lesser[c], greater[c]
        lesser[c] = min(a, b)
        greater[c] = max(a, b)


@loop
def _to_bits(keys: Any) -> None:
    for c in range(keys.size):
        keys[c] ^= (keys[c] >> 31) & 0x7FFFFFFF
