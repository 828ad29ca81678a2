"""Which layers of a dataset the bands are: variables, labels of a band dimension, time steps.

openEO writes each band as a variable; other writers stack them along a dimension, whose labels
are then the bands.  Of what is left beside x and y a dimension of one is no matter, and one
dimension may be longer: the time, under any name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from shared.attributes import text
from shared.errors import RasterError

TIME_NAMES = ("t", "time")
BAND_NAMES = (
    "band", "bands", "polarization", "polarizations", "polarisation", "polarisations", "pol",
)  # fmt: skip
GENERIC = re.compile(r"band_?\d+|band_data|__xarray_\w+__|", re.IGNORECASE)  # of GDAL and xarray
STEPS_SHOWN = 6  # that an error lists

log = logging.getLogger("cells")


@dataclass(frozen=True)
class Layer:
    """A band in a dataset: its variable, and where in it along some of the other dimensions."""

    name: str  # "" where nothing names it
    variable: str
    place: Mapping[str, int]


@dataclass(frozen=True)
class Step:
    """A time step: its index and its label; what it says of the day, if that is one."""

    index: int
    label: str

    @property
    def day(self) -> dt.date | None:
        """The day, UTC; None for a label that is no time."""
        return day_of(self.label)


def day_of(label: str) -> dt.date | None:
    """The day that a time in ISO 8601 begins with; None for anything else."""
    found = re.match(r"(\d{4}-\d\d-\d\d|\d{8})(?![\d-])", label.strip())
    with contextlib.suppress(ValueError):
        return dt.date.fromisoformat(found[1]) if found else None
    return None


def find_layers(dataset: xr.Dataset, space: Sequence[str]) -> list[Layer]:
    """All layers over x and y that hold numbers, in file order; time is not chosen yet."""
    found = []
    for key, variable in dataset.data_vars.items():
        if not set(space) <= set(variable.dims) or variable.dtype.kind not in "fiu":
            continue
        others = [str(dim) for dim in variable.dims if dim not in space]
        labels = {dim: _labels(dataset, dim, variable.attrs) for dim in others}
        dim = next((dim for dim in others if labels[dim] is not None), None)
        if dim is None:
            found.append(Layer(str(key), str(key), {}))
            continue
        named = labels[dim] or []
        found += [Layer(label, str(key), {dim: i}) for i, label in enumerate(named)]
    names = [layer.name for layer in found]
    if all(GENERIC.fullmatch(name) for name in names):
        return [replace(layer, name="") for layer in found]
    return [
        Layer(f"{layer.variable}_{layer.name}", layer.variable, layer.place)
        if layer.name and layer.place and names.count(layer.name) > 1
        else layer
        for layer in found
    ]


def choose(names: Sequence[str], wanted: Sequence[str] | None, where: str, name: str) -> list[int]:
    """Which of the layers with these names are the wanted ones; None: all of them.

    A name is the wanted one if it is the same, but for case, or has it as one of its parts, as
    Sigma0_VV has VV.  Layers that nothing names are taken in their order, if they are as many
    as are wanted.  Raises RasterError.
    """
    if wanted is None and names:
        return list(range(len(names)))
    if wanted and not any(names) and len(names) == len(wanted):
        return list(range(len(names)))
    chosen = [index_of(band, names) for band in wanted or ()]
    missing = [band for band, index in zip(wanted or (), chosen, strict=True) if index is None]
    if missing or not chosen:
        there = ", ".join(filter(None, names)) or "none"
        if names and not any(names):
            there = f"{len(names)} without a name; name as many, in their order"
        raise RasterError(
            f"{name}: there is no band {' or '.join(missing) or 'at all'}{where}, only {there}."
        )
    return [index for index in chosen if index is not None]


def named(names: Sequence[str]) -> list[str]:
    """Names of all layers: band_1, band_2 and so on where nothing names them."""
    return [name or f"band_{number}" for number, name in enumerate(names, 1)]


def parts(name: str) -> list[str]:
    """The words that a name is made of, in lower case."""
    return [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]


def step_dimension(array: xr.DataArray, space: Sequence[str], name: str) -> str | None:
    """The dimension that steps go along; None if there is none but x and y.  RasterError."""
    others = [str(dim) for dim in array.dims if dim not in space]
    many = [dim for dim in others if array.sizes[dim] > 1]
    if len(many) > 1:
        raise RasterError(
            f"{name}: {array.name} has the dimensions {' and '.join(many)}, neither space nor "
            "bands; one of them can be the time, and no more."
        )
    for dim in others:
        if array.sizes[dim] == 0:
            raise RasterError(f"{name}: {array.name} has no time step at all.")
    return next(iter([*many, *(dim for dim in others if _is_time(array, dim)), *others]), None)


def steps_of(array: xr.DataArray, dim: str) -> list[Step]:
    """The steps along a dimension, from the earliest to the latest; what is no time is last."""
    size = array.sizes[dim]
    if dim not in array.coords:
        return [Step(index, "") for index in range(size)]
    values = array[dim].values
    with contextlib.suppress(ValueError, OverflowError):  # odd units: the numbers will do
        alone = array[dim].drop_vars(dim).rename("label").to_dataset()
        values = xr.decode_cf(alone)["label"].values
    # Sorting is stable: of equal ones the first.
    order = np.argsort(array[dim].values, kind="stable").tolist()
    return [Step(index, _label(values[index])) for index in order]


def choose_step(
    array: xr.DataArray,
    space: Sequence[str],
    step: int | None,
    day: dt.date | None,
    name: str,
) -> tuple[dict[str, int], str]:
    """Where a band is along the dimensions beside x and y, and the label of its time step.

    ``step`` counts from 0; of a ``day`` the earliest step is taken, and the earliest of all
    if nothing is asked.  Raises RasterError.
    """
    place = {str(dim): 0 for dim in array.dims if dim not in space}
    dim = step_dimension(array, space, name)
    if dim is None:
        if step:
            raise RasterError(f"{name}: {array.name} has no step {step}, as it has no time at all.")
        return place, ""
    steps = steps_of(array, dim)
    found = steps[0]
    if step is not None:
        if not 0 <= step < len(steps):
            raise RasterError(f"{name}: there is no step {step} of {dim}; {_in_words(steps)}.")
        found = next(one for one in steps if one.index == step)
    elif len(steps) > 1 and not _is_time(array, dim):
        raise RasterError(
            f"{name}: {array.name} has the dimension {dim}, neither space nor time; say which "
            f"step of the {len(steps)} is wanted, counted from 0."
        )
    elif len(steps) > 1 and day is not None:
        of_day = [one for one in steps if one.day == day]
        if not of_day:
            raise RasterError(
                f"{name}: there is no step of {day} along {dim}; {_in_words(steps)}.  Say which "
                "step is wanted, or another day."
            )
        found = of_day[0]
    elif len(steps) > 1:
        log.info("%s has %d time steps; the earliest is used.", name, len(steps))
    return place | {dim: found.index}, found.label


def _in_words(steps: Sequence[Step]) -> str:
    by_index = sorted(steps, key=lambda step: step.index)[:STEPS_SHOWN]
    listed = ", ".join(f"{step.index}: {step.label or '?'}" for step in by_index)
    more = ", ..." if len(steps) > STEPS_SHOWN else ""
    return f"it has {listed}{more}"


def _is_time(array: xr.DataArray, dim: str) -> bool:
    """Whether a dimension is the time, by its name, attributes or labels."""
    if dim.lower() in TIME_NAMES:
        return True
    if dim not in array.coords:
        return False
    axis, attrs = array[dim], array[dim].attrs
    says = " since " in f" {text(attrs.get('units')).lower()} "
    says |= text(attrs.get("standard_name")) == "time" or text(attrs.get("axis")) == "T"
    if says or axis.dtype.kind == "M":
        return True
    return axis.dtype.kind in "OSU" and all(map(day_of, map(_label, axis.values.ravel())))


def _label(value: Any) -> str:
    """A time, or a text in any form, as text."""
    return text(value) if isinstance(value, str | bytes) else str(value)


def _labels(dataset: xr.Dataset, dim: str, attrs: Mapping[str, Any]) -> list[str] | None:
    """The names of the bands along a dimension; None if it is another one."""
    size, labels = dataset.sizes[dim], None
    if dim in dataset.variables:
        values = dataset[dim].values
        if values.dtype.kind in "OSU":
            rows = values.reshape(size, -1) if size else values
            labels = [text(row if row.size > 1 else row[0]).strip() for row in rows]
            if labels and all(map(day_of, labels)):
                return None  # times as texts
    if dim.lower() not in BAND_NAMES:
        return labels
    if labels is None:
        described = text(attrs.get("long_name")).split()  # several texts, of rioxarray
        labels = described if len(described) == size > 1 else [""] * size
    return labels


def index_of(band: str, names: Sequence[str]) -> int | None:
    """Where a band is among names; None if none of them, or several, could be it."""
    if band in names:
        return list(names).index(band)
    for alike in (
        [i for i, name in enumerate(names) if name.lower() == band.lower()],
        [i for i, name in enumerate(names) if band.lower() in parts(name)],
    ):
        if len(alike) == 1:
            return alike[0]
    return None
