"""Of how many pixels the value of a band in a cell is the mean.

Those are the pixels that were seen in the cell, ``count``, less those of them without a value in
the band.  Where these are none, as almost everywhere, `count` says it; else ``<band>_count`` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

MISSING = "_missing"


def count_of(band: str) -> str:
    """The variable of cells that counts the pixels with a value in a band."""
    return f"{band}_count"


def missing_of(band: str) -> str:
    """The array of an archive that counts the seen pixels without a value in a band."""
    return band + MISSING


def band_names(cells: xr.Dataset) -> list[str]:
    """The variables of cells that are bands, not counts."""
    names = [str(key) for key in cells.data_vars if cells[key].dims == ("cells",)]
    return [name for name in names if name != "count" and not name.endswith("_count")]


def weights_of(cells: xr.Dataset, band: str) -> NDArray[Any]:
    """Of each cell that has a value in a band the pixels that this is the mean of, (cell)."""
    import numpy as np  # a list needs the names alone

    return np.asarray(cells.get(count_of(band), cells["count"]).values)


def counts(cells: xr.Dataset, band: str) -> NDArray[Any]:
    """Of each cell the pixels that its value is the mean of, (cell); 0 where it has none.

    Records of before counts of bands were kept have `count` wherever there is a value.
    """
    import numpy as np

    found = weights_of(cells, band)
    if count_of(band) in cells or not (none := np.isnan(cells[band].values)).any():
        return found
    return np.where(none, found.dtype.type(0), found)
