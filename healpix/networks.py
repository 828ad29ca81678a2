"""Which values to compare and swap, in turn, so that the middle ones are in the middle.

By Batcher's odd-even merge sort (Knuth, vol. 3, 5.2.2 M), whose steps do not depend on the values,
so that many cells are taken at a time; of its steps those that the middle depends on.  Where four
values are compared among each other in two rounds, both are one step: so they are fetched once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from healpix.arrays import Ints

Pair = tuple[int, int]
Four = tuple[int, int, int, int]


@lru_cache(maxsize=64)
def median_network(number: int) -> Ints:
    """The steps, (step, 4), that bring the middle two of an even number of values to their places.

    The values come as sorted pairs: 0 and 1, 2 and 3, ...  A step (a, b, -1, -1) compares two, of
    which the lesser goes to a; (a, b, c, d) does a and c, b and d, then b and c.
    """
    rounds = list(_batcher(number))[1:]  # the first one sorts the pairs
    needed, kept = {number // 2 - 1, number // 2}, list[set[Pair]]()
    for pairs in reversed(rounds):
        kept.append({pair for pair in pairs if not needed.isdisjoint(pair)})
        needed |= {place for pair in kept[-1] for place in pair}
    kept.reverse()
    steps: list[Four] = []
    for pairs, following, left, after in zip(
        rounds, [*rounds, []][1:], kept, [*kept, set()][1:], strict=True
    ):
        fours = []
        for a, b, c, d in _fours(pairs, following):
            both = {(a, c), (b, d)}
            if len(both & left) + ((b, c) in after) > 1:
                fours.append((a, b, c, d))
                left -= both
                after.discard((b, c))
        steps += [(a, b, -1, -1) for a, b in sorted(left)] + fours
    return np.array(steps, np.int64).reshape(-1, 4)


def _fours(pairs: Sequence[Pair], following: Sequence[Pair]) -> Iterator[Four]:
    """Places a, b, c, d of which a and c, b and d are a pair, and then b and c."""
    higher = dict(pairs)
    lower = {high: low for low, high in pairs}
    for b, c in following:
        if b in higher and c in lower:
            yield lower[c], b, c, higher[b]


def _batcher(number: int) -> Iterator[list[Pair]]:
    """The rounds that sort so many values: pairs of places, none of them in two of a round."""
    p = 1
    while p < number:
        k = p
        while k >= 1:
            yield [
                (i, i + k)
                for j in range(k % p, number - k, 2 * k)
                for i in range(j, j + min(k, number - j - k))
                if i // (2 * p) == (i + k) // (2 * p)
            ]
            k //= 2
        p *= 2
