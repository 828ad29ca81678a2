"""What cells of classes hold of each class: their own, and on the border of a tile others, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from healpix.ids import ids_to_runs
from healpix.indexes import index_runs
from healpix.places import find_places
from shared.cellset import CellSet


def own_pixels(cells: CellSet, band: str) -> NDArray[Any]:
    """Of each cell the pixels that are of its class, (cell)."""
    weights = cells.weights(band)
    if band not in cells.borders:
        return weights
    border = cells.borders[band]
    place = find_places(border.cell, index_runs(cells.start_ipix, cells.run_len))
    found = weights.copy()
    np.subtract.at(found, place, border.number.astype(found.dtype))
    return found


def other_pixels(cells: CellSet, band: str, classes: Mapping[str, float]) -> CellSet:
    """The cells that are known to have other classes besides: the pixels of some of these, by name.

    With a ``count`` of 1, so that sums over cells count pixels.
    """
    border = cells.borders[band]
    ids, place = np.unique(border.cell, return_inverse=True)
    values: dict[str, NDArray[Any]] = {"count": np.ones(ids.size, np.uint32)}
    for name, of_class in classes.items():
        values[name] = np.zeros(ids.size)
        same = border.value == of_class
        values[name][place[same]] = border.number[same]
    return CellSet(*ids_to_runs(ids), values, cells.attrs)
