"""Many records of a tile as one set of cells: the composite of a period.

Of each cell, over the records of the period, in linear power:

    mean     sum(count x value) / sum(count): what one record of all their pixels would hold
    newest   the value of the last record that has one, and its day
    median, min, max, std (of the population), count (of the records that have a value)

of bands with classes the most frequent one, by the counts, unless it is newest or count.  A
coarser pixel is the mean of the composites of its cells, by the sums of their counts.  Records
are read one after the other, so that a composite of many takes no more memory than one of few;
but for the median, of which all values have to be there at a time.  The newest values are looked
for backwards, and what is older than the last one that is missing is not read.  `periods` says of
which cells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from grid import Chunk
from healpix import folds, networks
from images.grids import DAY
from shared.classes import most_frequent_by_counts
from shared.collection import FINITE, PLAIN, Product, with_bands
from shared.counts import count_of

HOW = ("mean", "median", "newest", "min", "max", "std", "count")
WORDS = {"min": "minimum", "max": "maximum", "std": "standard deviation", "newest": "newest value"}
CELL_METHODS = {"newest": "point", "std": "standard_deviation", "min": "minimum", "max": "maximum"}
SPARE = 4  # stacks of medians that are kept for the next ones
_EPOCH = 719163  # the ordinal of 1970-01-01

Values = NDArray[Any]
Cells = Mapping[str, Any]  # bands, counts and count, (cell), by their names
Records = Iterable[tuple[Chunk, Cells]]


def judged(how: str | None) -> str | None:
    """How it is made, or None; ValueError for what is none of `HOW`."""
    if how is not None and how not in HOW:
        raise ValueError(f"composite is {how!r}; it must be one of {', '.join(HOW)}.")
    return how


def words(how: str, days: int) -> str:
    """What a composite is called: "mean of 12 days"."""
    if how == "count":
        return f"number of values on {days} day{'s' * (days != 1)}"
    return f"{WORDS.get(how, how)} of {days} day{'s' * (days != 1)}"


def product_of_composite(product: Product, how: str) -> Product:
    """What the composite holds: numbers and spreads are not shown as values are."""
    if how not in ("std", "count"):
        return product
    bands = []
    for band in product.bands:
        name, units = f"standard deviation of {band.long_name}", band.units
        if how == "count":
            name, units = f"number of values in {band.name}", "1"
        bands.append(replace(band, long_name=name, units=units, standard_name="", is_class=False))
    return replace(product, bands=tuple(bands), counts=FINITE, shown=PLAIN, composite=())


def composed(
    read: Callable[[Sequence[str], Sequence[Chunk]], Records],
    chunks: Sequence[Chunk],
    how: str,
    bands: Sequence[str],
    classes: Sequence[str],
    thrifty: bool = False,
) -> dict[str, Values]:
    """The composite of these records of the same cells, by day.

    ``read`` gives some variables of some records, one after the other.  ``thrifty``: no memory is
    kept for the next composite.
    ``<band>`` (cell) float32, NaN where none has a value; ``<band>_count`` (cell), uint32 or, where
    that does not hold them, float64, the sum of the counts that are in it (of newest its own); with
    "newest" also ``day`` (cell), float32, days since 1970-01-01, and the most of these counts.
    """
    made: dict[str, _Maker] = {}
    for chunk, cells in read((*bands, "count"), chunks[::-1] if how == "newest" else chunks):
        for band in bands:
            counts = np.asarray(cells[count_of(band) if count_of(band) in cells else "count"])
            if band not in made:
                made[band] = _maker(how, band in classes)(counts, len(chunks))
            made[band].day = float(chunk.day.toordinal() - _EPOCH)
            made[band].add(np.asarray(cells[band]), counts)
        if all(maker.is_full for maker in made.values()):
            break
    assert made, "an image has records"
    data: dict[str, Values] = {}
    for band, maker in made.items():
        maker.finish()
        if thrifty:
            let_go()
        data[band] = maker.values.astype(np.float32, copy=False)
        data[count_of(band)] = maker.weights
    if how == "newest":
        days = [maker.days for maker in made.values() if isinstance(maker, _Newest)]
        data[DAY] = np.fmax.reduce(days)
        data[count_of(DAY)] = np.maximum.reduce([data[count_of(band)] for band in bands])
    return data


class _Maker:
    """One band of a composite while its records come in; ``day`` is that of the next one."""

    day = 0.0
    is_full = False  # whether no other record can change it
    values: Values  # when it is finished

    def __init__(self, counts: Values, number: int) -> None:
        self.size, self.number = counts.size, number
        self.weights = folds.no_weights(counts, number)

    def add(self, values: Values, counts: Values) -> None:
        """Take a record into account."""
        raise NotImplementedError

    def finish(self) -> None:
        """Find ``values``, when all records have come in."""


class _Together(_Maker):
    """Takes some records at a time into account: see `healpix.folds`."""

    records = 2  # at a time
    fold: ClassVar[Callable[..., None]]  # the loop that takes values and counts of these

    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        self._waiting: list[Values] = []  # values and counts of one, and of another, ...

    def add(self, values: Values, counts: Values) -> None:
        self._waiting += values, counts
        if len(self._waiting) == 2 * self.records:
            some, self._waiting = self._waiting, []
            self.take(some)

    def finish(self) -> None:
        while self._waiting:
            values, counts = self._waiting[:2]
            self.add(values, np.zeros_like(counts))

    def take(self, some: Sequence[Values]) -> None:
        """Take so many records into account."""
        self.fold(*some, *self.into())

    def into(self) -> tuple[Any, ...]:
        """What the loop adds them to."""
        raise NotImplementedError


class _Mean(_Together):
    fold = staticmethod(folds.add_means)

    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        self._sums = np.zeros(self.size)

    def into(self) -> tuple[Any, ...]:
        return self._sums, self.weights

    def finish(self) -> None:
        super().finish()
        with np.errstate(invalid="ignore"):
            self.values = self._sums / self.weights


class _Newest(_Maker):
    """Its records come in backwards."""

    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        self.values, self.days = np.full((2, self.size), np.nan, np.float32)

    def add(self, values: Values, counts: Values) -> None:
        left = folds.fill(values, counts, self.day, self.values, self.weights, self.days)
        self.is_full = left == 0


class _Least(_Together):
    fold = staticmethod(folds.keep_least)
    flip = 0

    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        self._keys = np.full(self.size, folds.GREATEST, np.int32)

    def into(self) -> tuple[Any, ...]:
        return self.flip, self._keys, self.weights

    def finish(self) -> None:
        super().finish()
        self.values = folds.values_of(self._keys ^ np.int32(self.flip), self.weights)


class _Greatest(_Least):
    flip = -1


class _Count(_Together):
    fold = staticmethod(folds.add_numbers)

    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        self._times = np.zeros(self.size, np.float32)

    def into(self) -> tuple[Any, ...]:
        return self._times, self.weights

    def finish(self) -> None:
        super().finish()
        self.values = np.where(self._times > 0, self._times, np.float32(np.nan))


class _Spread(_Together):
    records = 4
    fold = staticmethod(folds.add_spreads)

    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        self._shift: Values | None = None
        self._times = np.zeros(self.size, np.float32)
        self._sums, self._squares = np.zeros((2, self.size))

    def take(self, some: Sequence[Values]) -> None:
        if self._shift is None:
            self._shift = np.empty(self.size, np.float32)
            first, counts, second, their_counts = some[:4]
            folds.begin_spreads(first, counts, second, their_counts, self._shift)
        super().take(some)

    def into(self) -> tuple[Any, ...]:
        return self._shift, self._sums, self._squares, self._times, self.weights

    def finish(self) -> None:
        super().finish()
        self.values = np.empty(self.size, np.float32)
        folds.take_spreads(self._sums, self._squares, self._times, self.values)


class _Median(_Together):
    """The one that needs all values at a time."""

    fold = staticmethod(folds.add_to_stack)

    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        rows = -(-number // self.records) * self.records
        width = -(-self.size // folds.ALIGNED) * folds.ALIGNED
        self._room, self._filled = _room(rows * width), 0
        self._rows = self._room[: rows * width].reshape(rows, width)
        self._fills = np.full(self.size, folds.INFINITE, np.int32)

    def into(self) -> tuple[Any, ...]:
        first, second = self._rows[self._filled : self._filled + self.records, : self.size]
        self._filled += self.records
        return first, second, self._fills, self.weights

    def finish(self) -> None:
        super().finish()
        self.values = np.empty(self.size, np.float32)
        network = networks.median_network(len(self._rows))
        folds.take_medians(self._rows, self._fills, self.weights, network, self.values)
        if len(_spare) < SPARE:
            _spare.append(self._room)
        del self._rows, self._room  # before the next band needs as much


def _room(size: int) -> folds.Keys:
    """Memory for so many keys, of an earlier median if there is: the system gives it slowly."""
    with contextlib.suppress(IndexError):
        room = _spare.pop()
        if room.size >= size:
            return room
    return np.empty(size, np.int32)


_spare: list[folds.Keys] = []


def let_go() -> None:
    """Give back the memory that is kept for the next medians."""
    _spare.clear()


class _MostFrequent(_Maker):
    def __init__(self, counts: Values, number: int) -> None:
        super().__init__(counts, number)
        self._parts: list[tuple[slice, Values, Values]] = []

    def add(self, values: Values, counts: Values) -> None:
        there = (counts > 0) & ~np.isnan(values)
        part = slice(None), np.where(there, values, np.nan), np.where(there, counts, 0)
        self._parts.append(part)
        self.weights += part[2].astype(self.weights.dtype)

    def finish(self) -> None:
        self.values = most_frequent_by_counts(self._parts, self.size)


def _maker(how: str, is_class: bool) -> type[_Maker]:
    if is_class and how not in ("newest", "count"):
        return _MostFrequent
    return {
        "mean": _Mean, "median": _Median, "newest": _Newest, "min": _Least, "max": _Greatest,
        "std": _Spread, "count": _Count,
    }[how]  # fmt: skip


def attributes(how: str) -> dict[str, str]:
    """What a band says by CF of how it was made; nothing of what is no composite."""
    return {"cell_methods": f"time: {CELL_METHODS.get(how, how)}"} if how and how != "count" else {}


def narrowed(product: Product, bands: Sequence[str], how: str | None) -> Product:
    """The product of some bands, as it is after a composite was made."""
    some = with_bands(product, [band for band in bands if band != DAY])
    return product_of_composite(some, how) if how else some
