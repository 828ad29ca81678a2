"""Classes on the border of a tile: what more there is to a cell of an overview that others share.

A cell has one class, the most frequent one.  Of a cell that is in several tiles each has its own
part: to say which class is the most frequent one in all of it takes what else is in the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CELL, CLASS, NUMBER = "_border_cell", "_border_class", "_border_n"


class Border(NamedTuple):
    """An entry for each class of a band that a cell has beside its most frequent one.

    By cell, then class: the cell's id uint64[entry], the class float32[entry] and its pixels
    uint32[entry].
    """

    cell: NDArray[np.uint64]
    value: NDArray[np.float32]
    number: NDArray[np.uint32]

    def of(self, some: NDArray[Any]) -> Border:
        """Some of the entries."""
        return Border(self.cell[some], self.value[some], self.number[some])

    def named(self, band: str) -> dict[str, NDArray[Any]]:
        """Its columns by the names that they have in an archive and in a dataset."""
        return dict(zip(names_of(band), self, strict=True))


def names_of(band: str) -> tuple[str, str, str]:
    """The names of the columns: of cells, of classes, of numbers of pixels."""
    return band + CELL, band + CLASS, band + NUMBER


def borders_in(columns: Mapping[Any, Any]) -> dict[str, Border]:
    """The borders that there are among columns by their names, by band."""
    bands = [name.removesuffix(CELL) for name in map(str, columns) if name.endswith(CELL)]
    return {band: Border(*(np.asarray(columns[name]) for name in names_of(band))) for band in bands}
