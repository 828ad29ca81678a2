"""Many records of a tile as one set of cells: the composite of a period.

Of each cell, over the records of the period, in linear power:

    mean     sum(count x value) / sum(count): what one record of all their pixels would hold
    newest   the value of the last record that has one, and its day
    median, min, max, std (of the population), count (of the records that have a value)

of bands with classes the most frequent one, by the counts, unless it is newest or count.  A
coarser pixel is the mean of the composites of its cells, by the sums of their counts.  Records
are read one after the other, so that a composite of many takes no more memory than one of few;
but for the median, of which all values have to be there at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from grid import Chunk
from healpix import folds
from images.grids import DAY
from shared.classes import most_frequent
from shared.collection import FINITE, PLAIN, Product, with_bands
from shared.variables import variable

HOW = ("mean", "median", "newest", "min", "max", "std", "count")
WORDS = {"min": "minimum", "max": "maximum", "std": "standard deviation", "newest": "newest value"}
CELL_METHODS = {"newest": "point", "std": "standard_deviation", "min": "minimum", "max": "maximum"}
_EPOCH = 719163  # the ordinal of 1970-01-01

Records = Iterable[tuple[Chunk, xr.Dataset]]
Values = NDArray[Any]


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
    what = "number of values" if how == "count" else "standard deviation"
    bands = []
    for band in product.bands:
        units = "1" if how == "count" else band.units
        name = f"{what}, {band.long_name}"
        bands.append(replace(band, long_name=name, units=units, standard_name="", is_class=False))
    return replace(
        product, bands=tuple(bands), title=f"{what.capitalize()} of {product.title}",
        counts=FINITE, shown=PLAIN, composite=(),
    )  # fmt: skip


def bytes_of_a_cell(how: str, bands: int, records: int) -> int:
    """What making a composite takes at most, for each cell."""
    return bands * (8 * records + 20 if how == "median" else 32) + 24


def composed(
    records: Records, how: str, bands: Sequence[str], classes: Sequence[str]
) -> xr.Dataset:
    """The composite of records of the same cells, which come by day.

    ``<band>(cells)`` float32, NaN where none has a value; ``<band>_count(cells)``, float64, the
    sum of the counts that are in it (of newest its own), and ``count``, the most of these; with
    "newest" also ``day(cells)``, float32, days since 1970-01-01.
    """
    makers: dict[str, _Maker] = {}
    first = None
    for chunk, cells in records:
        counts = cells["count"].values
        if first is None:
            first = cells
            makers = {b: _maker(how, b in classes)(counts.size) for b in bands}
        for band, maker in makers.items():
            weight = cells.get(f"{band}_count", cells["count"]).values
            maker.day = float(chunk.day.toordinal() - _EPOCH)
            maker.add(cells[band].values, weight)
    assert first is not None, "an image has records"
    data: dict[str, Any] = {}
    for band, maker in makers.items():
        data[band] = variable("cells", maker.values().astype(np.float32))
        data[f"{band}_count"] = variable("cells", maker.weights)
    weights = np.maximum.reduce([maker.weights for maker in makers.values()])
    if how == "newest":
        data[DAY] = variable("cells", np.fmax.reduce([m.days for m in makers.values()]))
        data[f"{DAY}_count"] = variable("cells", weights)
    return first[["start_ipix", "run_len"]].assign({**data, "count": variable("cells", weights)})


class _Maker:
    """One band of a composite while its records come in; ``day`` is that of the next one."""

    day = 0.0

    def __init__(self, size: int) -> None:
        self.weights = np.zeros(size)
        self.days = np.full(size, np.nan, np.float32)

    def add(self, values: Values, counts: Values) -> None:
        """Take a record into account."""
        raise NotImplementedError

    def values(self) -> Values:
        """What came of it."""
        raise NotImplementedError


class _Mean(_Maker):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._sums = np.zeros(size)

    def add(self, values: Values, counts: Values) -> None:
        folds.add_mean(values, counts, self._sums, self.weights)

    def values(self) -> Values:
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums / self.weights)


class _Newest(_Maker):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._values = np.full(size, np.nan, np.float32)

    def add(self, values: Values, counts: Values) -> None:
        folds.add_newest(values, counts, self.day, self._values, self.weights, self.days)

    def values(self) -> Values:
        return self._values


class _Least(_Maker):
    sign = 1.0

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._values = np.full(size, np.nan, np.float32)

    def add(self, values: Values, counts: Values) -> None:
        folds.add_least(values, counts, self.sign, self._values, self.weights)

    def values(self) -> Values:
        return self._values


class _Greatest(_Least):
    sign = -1.0


class _Spread(_Maker):
    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._number, self._mean, self._squares = np.zeros((3, size))

    def add(self, values: Values, counts: Values) -> None:
        folds.add_spread(values, counts, self._number, self._mean, self._squares, self.weights)

    def values(self) -> Values:
        with np.errstate(invalid="ignore"):
            return np.asarray(np.sqrt(self._squares / self._number))


class _Count(_Spread):
    def values(self) -> Values:
        return np.where(self._number > 0, self._number, np.nan)


class _Stacked(_Maker):
    """One that needs all values at a time."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._stack: list[Values] = []
        self._counts: list[Values] = []

    def add(self, values: Values, counts: Values) -> None:
        there = (counts > 0) & ~np.isnan(values)
        self._stack.append(np.where(there, values, np.float32("nan")))
        self._counts.append(np.where(there, counts, 0))
        self.weights += self._counts[-1]


class _Median(_Stacked):
    def add(self, values: Values, counts: Values) -> None:
        super().add(values, counts)
        self._counts.clear()  # their sums are enough

    def values(self) -> Values:
        out = np.full(self.weights.size, np.nan, np.float32)
        folds.take_medians(np.stack(self._stack, axis=-1), out)
        return out


class _MostFrequent(_Stacked):
    def values(self) -> Values:
        def shares(some: Sequence[float]) -> list[Values]:
            return [
                np.sum([(v == one) * c for v, c in zip(self._stack, self._counts, strict=True)], 0)
                for one in some
            ]

        every = np.unique(np.concatenate(self._stack))
        return most_frequent(every[~np.isnan(every)].tolist(), shares, self.weights.size)


def _maker(how: str, is_class: bool) -> Callable[[int], _Maker]:
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
