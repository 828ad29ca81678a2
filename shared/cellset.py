"""Cells in memory as the rooms hand them to each other; at the doors they are datasets of xarray.

The command `browse` shows its first tile before xarray would have been imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shared.border import Border, borders_in
from shared.counts import count_of

if TYPE_CHECKING:
    import xarray as xr

Values = NDArray[Any]


@dataclass(frozen=True)
class CellSet:
    """Cells: their ids as runs, and what they hold.

    ``start_ipix`` uint64[run] and ``run_len`` uint32[run] spell the ids, ascending; ``values`` are
    the bands, float32[cell], ``count`` and, where it differs from it, ``<band>_count``, whole
    numbers[cell]; ``attrs`` has ``nside``, ``ellipsoid``, ``ordering`` and ``source`` at least.
    ``borders`` has, of bands of classes in an overview, what cells on the border of a tile have
    beside their most frequent one.
    """

    start_ipix: Values
    run_len: Values
    values: Mapping[str, Values]
    attrs: Mapping[str, Any]
    borders: Mapping[str, Border] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: xr.Dataset) -> CellSet:
        """The cells of a dataset, of which nothing is copied."""
        names = [name for name, one in cells.data_vars.items() if one.dims == ("cells",)]
        values = {str(name): np.asarray(cells[name].values) for name in names}
        runs = cells["start_ipix"].values, cells["run_len"].values
        return cls(*runs, values, cells.attrs, borders_in(cells.data_vars))

    def dataset(self) -> xr.Dataset:
        """The same as a dataset: values along ``cells``, ids along ``runs``, and borders."""
        import xarray as xr

        from shared.variables import variable

        data = {name: variable("cells", values) for name, values in self.values.items()}
        data["start_ipix"] = variable("runs", self.start_ipix)
        data["run_len"] = variable("runs", self.run_len)
        for band, border in self.borders.items():
            columns = border.named(band).items()
            data |= {name: variable(f"{band}_border", column) for name, column in columns}
        return xr.Dataset(data, attrs=dict(self.attrs))

    def __getitem__(self, name: str) -> Values:
        """The values of a variable; of the count of a band `count`, if it has none by itself."""
        if name not in self.values and name.endswith(count_of("")):
            name = "count"
        return self.values[name]

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def having(self, values: Mapping[str, Values]) -> CellSet:
        """The same cells with other or more values."""
        return replace(self, values={**self.values, **values})

    def only(self, names: Iterable[str]) -> CellSet:
        """The same cells with some of the values."""
        return replace(self, values={name: self.values[name] for name in names})

    @property
    def bands(self) -> list[str]:
        """The variables that are bands, not counts."""
        return [n for n in self.values if n != "count" and not n.endswith(count_of(""))]

    def weights(self, band: str) -> Values:
        """Of each cell that has a value in a band the pixels that this is the mean of, (cell)."""
        return self[count_of(band)]

    def counts(self, band: str) -> Values:
        """Of each cell the pixels that its value is the mean of, (cell); 0 where it has none.

        Records of before counts of bands were kept have `count` wherever there is a value.
        """
        found = self.weights(band)
        if count_of(band) in self or not (none := np.isnan(self[band])).any():
            return found
        return np.where(none, found.dtype.type(0), found)
