"""From images over time to a line: the mean of a box day by day, as numbers and as a plot.

The numbers are those of the whole box: the mean is that of the linear power, pixels weighted by
their area, and turned into dB at the end; the spread is that of the pixels.  Passes of different
direction see the ground from different sides, so each direction has a line of its own.  What is
not seen, or just in part, is marked and not joined.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archive.passes import RELATIVE_ORBIT, relative_name
from images import figure as drawing
from images import mask
from images.grids import APART_BY, days_of, grid_bands, is_lazy
from images.records import RELATIVE
from images.scales import COLOURS, Scale, scale_of
from images.series import caption

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINE = (7.2, 3.6)  # inch, the least width, and the height of the figure
SPREAD = (10.0, 90.0)  # percentiles of the pixels that a shade reaches to
WHOLE = 0.9  # share of the box, below which a day is marked as seen in part
DATE = 0.95  # inch between ticks, so that a date fits below each
STYLES = {"descending": "--", "mixed": ":"}  # of passes; of others a plain line
MARKERS = "os^Dv<>pPX*hd8"  # of the bands, one after the other

NO_VALUE = " (no value)"
LEGEND = 0.18  # inch, a row of the key
KEY: dict[str, Any] = {"frameon": False, "fontsize": 8, "columnspacing": 1.2, "handlelength": 2.2}

Statistics = list[dict[str, Any]]
Line = tuple[str, str, str]  # band, direction, relative orbit


def statistics(dataset: xr.Dataset) -> Statistics:
    """Of each image and band: its mean and spread, and the share seen of the box, or area.

    A row has ``day``, ``orbit`` ("any", ..., where it is known), ``relative_orbit`` if passes are
    kept apart by that, ``band``, ``mean_dB``,
    ``low_dB`` and ``high_dB`` (the `SPREAD` of the pixels) and ``seen`` (0 to 1); of what is no
    backscatter ``mean``, ``low`` and ``high``, in the units of the band.  Classes have no mean:
    ValueError if there is nothing else.  The images are computed one after the other, a few at a
    time.
    """
    import dask

    from shared import compute

    scale = scale_of(dataset.attrs)
    bands = with_a_mean(grid_bands(dataset), scale)
    weights = np.cos(np.radians(dataset["lat"].values))[:, np.newaxis]
    whole, numbers = _whole(dataset, weights), dask.delayed(_numbers)
    pieces = [
        numbers(
            [dataset[band].isel(time=i).data for band in bands], weights, whole, scale.is_decibel
        )
        for i in range(dataset.sizes["time"])
    ]
    meanings = dataset["orbit"].attrs["flag_meanings"].split() if "orbit" in dataset else []
    rows: Statistics = []
    for i, found in enumerate(compute.each(pieces, not is_lazy(dataset))):
        orbit = {"orbit": meanings[int(dataset["orbit"].values[i])] if meanings else ""}
        if dataset.attrs.get(APART_BY) == RELATIVE:
            orbit[RELATIVE_ORBIT] = relative_name(int(dataset[RELATIVE_ORBIT].values[i]))
        for band, values in zip(bands, found, strict=True):
            rows.append({"day": days_of(dataset)[i]} | orbit | {"band": band} | values)
    return rows


def with_a_mean(bands: Sequence[str], scale: Scale) -> list[str]:
    """The bands that have a mean; ValueError if there are none."""
    found = [name for name in bands if scale.has_mean(name)]
    if not found:
        raise ValueError(
            f"{' and '.join(bands)}: classes and angles have no mean, and there is no other band.  "
            "Nothing was written."
        )
    return found


def write_numbers(rows: Statistics, path: Path) -> None:
    """The rows of `statistics` as CSV; nothing where nothing was seen."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: as_text(key, value) for key, value in row.items()})


def as_text(name: str, value: Any) -> Any:
    """A value as it is written: dB and shares with three digits behind the point, others six."""
    if not isinstance(value, float):
        return value
    form = ".3f" if name.endswith("_dB") or name == "seen" else ".6g"
    return format(value, form) if math.isfinite(value) else ""


def plot_line(rows: Statistics, attrs: dict[str, Any]) -> Figure:
    """Draw the rows of `statistics`: a line of means for each band and direction of the passes.

    Its spread is a shade.  A day that is seen in part has a hollow marker beside the line; one
    without a pixel has a cross at the foot, and the line is broken there.
    """
    from matplotlib.figure import Figure

    spread = spread_words("pixels")
    lines = [
        (
            drawing.title_of(attrs, f"mean of the {'area' if attrs.get('clipped') else 'box'}"),
            10.5,
            "bold",
        ),
        (f"{attrs.get('bbox', '')}  ({spread}{marks(rows)})", 8.0, "normal"),
        (str(attrs.get("source", "")), 7.0, "normal"),
    ]
    names = names_of(rows)
    width = max(LINE[0], drawing.words_inches(lines) + 0.24)
    columns = legend_columns(_labels(rows, names), width - 1.1)
    height = LINE[1] + LEGEND * max(0, math.ceil(len(names) / columns) - 2)
    figure = Figure(figsize=(width, height), dpi=100)
    left, bottom = 0.85 / width, 0.19 * LINE[1] / height
    axes = figure.add_axes((left, bottom, 1 - 1.1 / width, 0.53 * LINE[1] / height))
    draw_lines(axes, rows, names)
    if not any(math.isfinite(row[keys_of(rows)[0]]) for row in rows):
        axes.set_yticks([])  # those of an empty plot are numbers that no pixel gave
    day_axis(axes, sorted({row["day"] for row in rows}), width - 1.1)
    axes.set_ylabel(scale_of(attrs).quantity(list(dict.fromkeys(row["band"] for row in rows))))
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=columns, **KEY)
    caption(figure, lines)
    return figure


def spread_words(of: str) -> str:
    """What the shade is."""
    return f"shade: {SPREAD[0]:g}th to {SPREAD[1]:g}th percentile of its {of}"


def names_of(rows: Statistics) -> dict[Line, str]:
    """The lines that rows make, and what each is called: its direction only where there are two."""
    orbits = {row["orbit"] for row in rows}
    every = {line_of(row): None for row in rows}
    bands = {band: None for band, _, _ in every}
    return {
        line: " ".join(filter(None, (line[0], line[1] * (len(orbits) > 1), line[2])))
        for band in bands
        for line in every
        if line[0] == band
    }


def draw_lines(axes: Axes, rows: Statistics, names: dict[Line, str]) -> None:
    """Draw those of some lines that rows have: a marker for each band, and a colour for each band,
    or for each pass where relative orbits are kept apart.
    """
    bands = list(dict.fromkeys(band for band, _, _ in names))
    passes = list(dict.fromkeys(line[1:] for line in names))
    for line, name in names.items():
        band, orbit, relative = line
        mine = [row for row in rows if line_of(row) == line]
        if mine:
            at = bands.index(band)
            colour = COLOURS[(passes.index(line[1:]) if relative else at) % len(COLOURS)]
            marker = MARKERS[at % len(MARKERS)]
            _draw(axes, mine, keys_of(rows), colour, marker, STYLES.get(orbit, "-"), name)


def legend_columns(names: Iterable[str], inches: float) -> int:
    """How many names stand side by side, of four at most."""
    every = list(names)
    widest = drawing.words_inches([(name, KEY["fontsize"], "normal") for name in every])
    return min(4, len(every), max(1, int(inches / (widest + 0.5))))


def _labels(rows: Statistics, names: dict[Line, str]) -> list[str]:
    """What the key says of each line."""
    key = keys_of(rows)[0]
    seen = {line_of(row) for row in rows if math.isfinite(row[key])}
    return [name if line in seen else name + NO_VALUE for line, name in names.items()]


def line_of(row: dict[str, Any]) -> Line:
    """The line that a row is on."""
    return row["band"], row["orbit"], row.get(RELATIVE_ORBIT, "")


def keys_of(rows: Statistics) -> list[str]:
    """The columns of the mean, and of the ends of the shade."""
    return [key for key in rows[0] if key.partition("_")[0] in ("mean", "low", "high")]


def marks(rows: Statistics) -> str:
    """What the markers mean that are there."""
    some = any(0 < row["seen"] < WHOLE for row in rows)
    none = any(not row["seen"] for row in rows)
    return "; hollow: seen in part" * some + "; cross: not seen" * none


# --- behind the scenes -----------------------------------------------------------------


def _draw(
    axes: Axes,
    rows: Statistics,
    keys: Sequence[str],
    colour: str,
    marker: str,
    style: str,
    name: str,
) -> None:
    """One line, its shade, and the days that are not on it."""
    when = np.array([row["day"] for row in rows], "datetime64[D]")
    mean, low, high = (np.array([row[key] for row in rows], float) for key in keys)
    seen = np.array([row["seen"] for row in rows], float)
    there, whole = np.isfinite(mean), seen >= WHOLE
    joined = whole | ~there  # what has no value breaks the line
    axes.fill_between(
        when[joined], low[joined], high[joined], color=colour, alpha=0.15, linewidth=0
    )
    label = name if there.any() else name + NO_VALUE
    axes.plot(
        when[joined], mean[joined], color=colour, linestyle=style, marker=marker, markersize=3.5,
        linewidth=1, label=label,
    )  # fmt: skip
    part = there & ~whole
    marked: tuple[tuple[Any, Any, dict[str, Any]], ...] = (
        (part, mean, {"marker": marker, "markersize": 4.5, "markerfacecolor": "white"}),
        (~there, np.zeros(len(rows)), {"marker": "x", "transform": axes.get_xaxis_transform()}),
    )
    for which, at, how in marked:
        if which.any():
            axes.plot(when[which], at[which], color=colour, linestyle="none", clip_on=False, **how)


def day_axis(axes: Any, days: Sequence[str], inches: float) -> None:
    """Ticks at the days, where a date fits below each; else at round days, months or years."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    numbers = np.array(days, "datetime64[D]").astype(float).tolist()  # as matplotlib counts
    span = max(numbers[-1] - numbers[0], 1.0)
    axes.set_xlim(numbers[0] - 0.04 * span, numbers[-1] + 0.04 * span)
    least = min(np.diff(numbers), default=span)
    if least * inches / (1.08 * span) >= DATE:
        axes.set_xticks(numbers, days)
        return
    most = max(2, int(inches / DATE))
    locator = AutoDateLocator(minticks=min(3, most), maxticks=most)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _whole(dataset: xr.Dataset, weights: Any) -> float:
    """The weight of all pixels of a grid, or of those of the area that it is clipped to."""
    within = mask.inside(dataset)
    if within is None:
        return float(weights.sum() * dataset.sizes["lon"])
    return float((weights * within).sum())


def _numbers(
    arrays: Sequence[Any], weights: Any, whole: float, decibel: bool
) -> list[dict[str, float]]:
    found = []
    for array in arrays:
        power = np.asarray(array)
        seen = np.isfinite(power)
        weight = np.where(seen, weights, 0.0)
        total = weight.sum()
        mean = (np.where(seen, power, 0) * weight).sum() / total if total else math.nan
        low, high = np.percentile(power[seen], SPREAD) if total else (math.nan, math.nan)
        three = np.array([mean, low, high])
        with np.errstate(divide="ignore"):
            three = 10 * np.log10(three) if decibel else three
        share = float(total / whole)
        names = [f"{name}_dB" if decibel else name for name in ("mean", "low", "high")]
        found.append(dict(zip(names, three.tolist(), strict=True)) | {"seen": share})
    return found
