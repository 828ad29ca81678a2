"""Variables of xarray around arrays that are in memory.

Given an array, xarray imports dask to see whether it is one of dask's, which takes longer than
a small box takes to read.  Given a variable that is made as here, it takes it as it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


def variable(
    dims: str | Sequence[Hashable], values: Any, attrs: Mapping[Any, Any] | None = None
) -> xr.Variable:
    """A variable of an array, of numpy or dask; not of a coordinate that is an index."""
    import xarray as xr

    return xr.Variable(dims, values, attrs, fastpath=True)


def coordinate(dim: str, values: Any, attrs: Mapping[Any, Any] | None = None) -> xr.Variable:
    """The coordinate of a dimension, of a vector of numbers or times."""
    import pandas as pd
    import xarray as xr

    index = pd.Index(np.asarray(values))
    return xr.IndexVariable(dim, index, attrs, fastpath=True)  # type: ignore[no-untyped-call]
