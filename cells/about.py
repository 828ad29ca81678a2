"""What a raster says of itself: its bands, days and passes, where it is from, and its tiles."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from cells import geotiff
from cells.cover import tiles_touched
from cells.layers import (
    TIME_NAMES,
    Step,
    choose,
    day_of,
    find_layers,
    index_of,
    step_dimension,
    steps_of,
)
from cells.projection import projection_at
from cells.raster import Given, are_decibels, open_file, refusal
from grid import FIRST_DAY, ORBITS, Tile
from shared.attributes import text
from shared.errors import RasterError
from shared.lattice import find_axes, locate

# Attributes that tell when an image was taken: of CF's discovery conventions, STAC and SNAP.
DAY_KEYS = (
    "time_coverage_start", "start_datetime", "datetime", "acquisition_datetime",
    "acquisition_date", "acquisitiondatetime", "sensing_start", "first_line_time", "day", "date",
)  # fmt: skip
ORBIT_KEYS = (
    "sat:orbit_state", "orbit_state", "orbit_direction", "orbitdirection", "orbit_pass", "pass",
    "orbit",
)  # fmt: skip
ASCENDING, DESCENDING = ORBITS[1:]
PASSES = {"a": ASCENDING, "asc": ASCENDING, "d": DESCENDING, "desc": DESCENDING}
PASSES |= {orbit: orbit for orbit in ORBITS[1:]}


@dataclass(frozen=True)
class About:
    """What a raster says of itself."""

    name: str
    bands: tuple[str, ...]  # in file order; "" where nothing names them
    decibels: tuple[str, ...]  # those that are, by their unit or name
    steps: tuple[Step, ...]  # of its time, by their index; none where it has no time
    day: dt.date | None  # of a raster without steps, by its attributes or its name
    day_by: str  # what says the day: "its attributes", "its name"; or why none is known, or ""
    orbit: str | None  # "ascending" or "descending", where it says so
    source: str  # as the file words it
    synthetic: bool  # made up, by that
    tiles: tuple[Tile, ...]  # that it touches
    others: tuple[Path, ...] = ()  # the files beside its own that its values are in

    def which(self, bands: Sequence[str]) -> tuple[str, ...]:
        """Those of these bands that it has by name."""
        return tuple(band for band in bands if index_of(band, self.bands) is not None)

    def require(self, bands: Sequence[str], decibels: bool) -> None:
        """Raise RasterError unless it has these bands, in power or in what is spoken of."""
        for index in choose(self.bands, bands, "", self.name):
            if self.bands[index] in self.decibels and not decibels:
                raise RasterError(refusal(self.name, self.bands[index]))


def about(raster: Given, chunk_size: Sequence[float], nside: int, ellipsoid: str) -> About:
    """What a raster says of itself.  Raises RasterError for one that cannot be used."""
    steps: tuple[Step, ...] = ()
    others: list[Path] = []
    with open_file(raster) as opened:
        if isinstance(opened, geotiff.Image):
            name, bands, said = opened.name, tuple(opened.names), opened.tags
            units, others = opened.units, opened.others()
            (x, y), crs, source = opened.lattice(), opened.crs(), opened.source
        else:
            dataset, name, _ = opened
            axes = find_axes(dataset, name)
            layers = find_layers(dataset, axes[::-1])
            if not layers:
                raise RasterError(f"{name}: there is no band over {axes[1]} and {axes[0]}.")
            bands = tuple(layer.name for layer in layers)
            units = [text(dataset[layer.variable].attrs.get("units")) for layer in layers]
            array = dataset[layers[0].variable].isel(layers[0].place)
            dim = step_dimension(array, axes[::-1], name)
            if dim is not None:
                steps = tuple(sorted(steps_of(array, dim), key=lambda step: step.index))
            said = _sayings(dataset)
            where = locate(dataset, axes, [layer.variable for layer in layers], name)
            x, y, crs, source = where.x, where.y, where.crs, text(dataset.attrs.get("source"))
    decibels = tuple(
        band for band, unit in zip(bands, units, strict=True) if are_decibels(band, unit)
    )
    projection = projection_at(x, y, crs, ellipsoid, name)
    stem = Path(name).stem
    day, day_by = _day(said, stem)
    return About(
        name, bands, decibels, steps, day, day_by, _orbit(said, stem), source,
        source.lower().startswith("synthetic"),
        tuple(tiles_touched(projection, chunk_size, nside, ellipsoid)), tuple(others),
    )  # fmt: skip


def _sayings(dataset: xr.Dataset) -> dict[str, str]:
    """The attributes of a dataset as text, and its time where that is a single one."""
    said = {str(key): text(value) for key, value in dataset.attrs.items()}
    for key in TIME_NAMES:
        if key in dataset.variables and dataset[key].size == 1:
            alone = dataset[key].reset_coords(drop=True).squeeze().rename("time").expand_dims("one")
            said["datetime"] = steps_of(alone.assign_coords(one=("one", alone.values)), "one")[
                0
            ].label
    return said


def _day(said: Mapping[str, Any], stem: str) -> tuple[dt.date | None, str]:
    """The day by attributes, else by the name of the file if there is just one in it."""
    by_key = {key.lower(): value for key, value in said.items()}
    for key in DAY_KEYS:
        if day := day_of(by_key.get(key, "")):
            return day, "its attributes"
    dates = re.findall(r"(?<!\d)(20\d\d-\d\d-\d\d|20\d{6})(?!\d)", stem)
    days = {day for date in dates if (day := day_of(date)) and day >= FIRST_DAY}
    if len(days) > 1:
        return None, f"its name has the days {' and '.join(map(str, sorted(days)))}"
    return (days.pop(), "its name") if days else (None, "")


def _orbit(said: Mapping[str, Any], stem: str) -> str | None:
    """Ascending or descending, by attributes or as pyroSAR names files; None if nothing says so."""
    by_key = {key.lower(): value for key, value in said.items()}
    for key in ORBIT_KEYS:
        if orbit := PASSES.get(by_key.get(key, "").strip().lower()):
            return orbit
    named = re.match(r"S1[A-D]__[A-Z0-9_]{2,4}_([AD])_\d{8}T", stem)
    return PASSES[named[1].lower()] if named else None
