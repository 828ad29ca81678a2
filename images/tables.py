"""Rows of numbers as files: .csv, and .parquet by arro3 (decision 084)."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from images.line import as_text

if TYPE_CHECKING:
    import pandas as pd

BATCH = 20_000  # rows that are text at a time
TEXTS = ("source", "synthetic", "day", "tiles")  # attributes of a table that a .parquet keeps


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """A table as text; nothing where there is no value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        for first in range(0, len(table), BATCH):
            some = table[first : first + BATCH]
            columns = [_values(some[name].to_numpy()) for name in table.columns]
            texts = [
                [as_text(name, value) for value in values]
                for name, values in zip(table.columns, columns, strict=True)
            ]
            writer.writerows(zip(*texts, strict=True))


def require_parquet() -> None:
    """ValueError where nothing can write a .parquet."""
    try:
        import arro3.io  # noqa: F401
    except ImportError:
        raise ValueError(
            "Writing .parquet needs the package arro3-io: pip install arro3-io.  Nothing was "
            "written.  A .csv has the same numbers."
        ) from None


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """A table with its types, days as dates; null where there is no value."""
    require_parquet()
    from arro3.core import Table
    from arro3.io import write_parquet as write

    about = {name: str(table.attrs[name]) for name in TEXTS if name in table.attrs}
    write(Table.from_pydict(dict(_arrays(table)), metadata=about), path, compression="zstd(3)")


def _arrays(table: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """The columns of a table, as Arrow has them."""
    from arro3.core import Array, DataType

    for name in table.columns:
        values = table[name].to_numpy()
        if values.dtype.kind == "M":
            days = Array.from_numpy(values.astype("datetime64[D]").astype(np.int32))
            yield name, days.cast(DataType.date32())
        elif values.dtype.kind == "f":
            known = [value if math.isfinite(value) else None for value in values.tolist()]
            yield name, Array(known, type=DataType.float64())
        elif values.dtype.kind == "O":
            yield name, Array(values.tolist(), type=DataType.string())
        else:
            yield name, Array.from_numpy(values)


def _values(values: Any) -> list[Any]:
    """A column in Python's own types, days as text."""
    found = values.astype("datetime64[D]").astype(str) if values.dtype.kind == "M" else values
    listed: list[Any] = found.tolist()
    return listed
