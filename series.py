"""From images over time to pictures: side by side, one after the other, or as a line.

The colours of all images have one range, so that what looks brighter is brighter.  The
numbers of a line are those of the whole box: the mean is that of the linear power, pixels
weighted by their area, and turned into dB at the end; the spread is that of the pixels.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import engine
import figure as drawing
from figure import Box, Image, Ranges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = 24  # images in a figure, at most; of more, some at equal steps
PANEL = 1.9  # inch, the longer side of an image in such a figure
FRAME = 6.0  # inch, the longer side of an image of the animation
FRAME_DPI = 100  # dots per inch of the animation
FRAME_TIME = 600  # ms that an image of the animation is shown
SPREAD = (10.0, 90.0)  # percentiles of the pixels that a line's shade reaches to

Statistics = list[dict[str, Any]]


def plot(dataset: xr.Dataset) -> Figure:
    """Draw a grid: one image as `figure.plot` does, several side by side.

    dataset: as of `figure.plot`, or with ``<band>(time, lat, lon)``.  Of more than `PANELS`
    images some are drawn, at equal steps of their number, first and last included.
    """
    if "time" not in dataset.dims:
        return drawing.plot(dataset)
    if dataset.sizes["time"] == 1:
        return drawing.plot(dataset.isel(time=0))
    number = dataset.sizes["time"]
    shown = np.unique(np.linspace(0, number - 1, min(PANELS, number)).round().astype(int))
    return _side_by_side(dataset, shown.tolist())


def animate(dataset: xr.Dataset, path: Path) -> None:
    """Write the images of a grid (time, lat, lon), one after the other, as an animated GIF."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image as Picture

    if dataset.sizes.get("time", 1) < 2:
        raise ValueError("An animation needs images of two days or more.")
    images = _images(dataset, range(dataset.sizes["time"]), FRAME * FRAME_DPI)
    ranges, box = _ranges(images), drawing.grid_edges(dataset)
    frames = []
    for image, time in zip(images, _days(dataset), strict=True):
        figure, rectangle = _canvas(box, FRAME)
        axes = figure.add_axes(rectangle)
        _draw(axes, image, ranges, box)
        drawing.degree_axes(axes, *_inches(box, FRAME))
        _caption(figure, dataset, time)
        canvas = FigureCanvasAgg(figure)
        figure.set_dpi(FRAME_DPI)
        canvas.draw()
        frames.append(Picture.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()))
    first, *rest = [frame.quantize(colors=256) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=FRAME_TIME, loop=0)


def statistics(dataset: xr.Dataset) -> Statistics:
    """Of each image and band: its mean and spread in dB, and the share of the box seen.

    A row has ``day``, ``orbit`` ("any", ..., where it is known), ``band``, ``mean_dB``,
    ``low_dB`` and ``high_dB`` (the `SPREAD` of the pixels) and ``seen`` (0 to 1).  The
    images are computed one after the other, a few at a time.
    """
    import dask

    bands = drawing.grid_bands(dataset)
    weights = np.cos(np.radians(dataset["lat"].values))[:, np.newaxis]
    numbers = dask.delayed(_numbers)
    pieces = [
        numbers([dataset[band].isel(time=i).data for band in bands], weights)
        for i in range(dataset.sizes["time"])
    ]
    meanings = dataset["orbit"].attrs["flag_meanings"].split() if "orbit" in dataset else []
    rows: Statistics = []
    for i, found in enumerate(engine.each(pieces, not drawing.is_lazy(dataset))):
        orbit = meanings[int(dataset["orbit"].values[i])] if meanings else ""
        for band, values in zip(bands, found, strict=True):
            rows.append({"day": _days(dataset)[i], "orbit": orbit, "band": band} | values)
    return rows


def write_numbers(rows: Statistics, path: Path) -> None:
    """The rows of `statistics` as CSV; dB with three digits, nothing where nothing was seen."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _shown(value) for key, value in row.items()})


def plot_line(rows: Statistics, attrs: dict[str, Any]) -> Figure:
    """Draw the rows of `statistics`: a line of means for each band, its spread as a shade."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), dpi=100)
    axes = figure.add_axes((0.1, 0.17, 0.87, 0.63))
    for number, band in enumerate(dict.fromkeys(row["band"] for row in rows)):
        mine = [row for row in rows if row["band"] == band]
        when = np.array([row["day"] for row in mine], "datetime64[D]")
        mean, low, high = (
            np.array([row[key] for row in mine]) for key in ("mean_dB", "low_dB", "high_dB")
        )
        colour = f"C{number}"
        axes.fill_between(when, low, high, color=colour, alpha=0.15, linewidth=0)
        label = band if np.isfinite(mean).any() else f"{band} (no value)"
        axes.plot(when, mean, color=colour, marker="o", markersize=3, linewidth=1, label=label)
    if not any(math.isfinite(row["mean_dB"]) for row in rows):
        axes.set_yticks([])  # those of an empty plot are numbers that no pixel gave
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_ylabel(drawing.QUANTITY)
    axes.grid(alpha=0.3, linewidth=0.5)
    axes.legend(frameon=False, ncols=4, loc="lower right", bbox_to_anchor=(1, 1))
    figure.text(0.1, 0.93, _title(attrs, "mean of the box"), fontsize=10.5, fontweight="bold")
    spread = f"shade: {SPREAD[0]:g}th to {SPREAD[1]:g}th percentile of its pixels"
    figure.text(0.1, 0.86, f"{attrs.get('bbox', '')}  ({spread})", fontsize=8)
    figure.text(0.1, 0.03, attrs.get("source", ""), fontsize=7, color="0.25")
    return figure


# --- behind the scenes -----------------------------------------------------------------


def _side_by_side(dataset: xr.Dataset, shown: Sequence[int]) -> Figure:
    box = drawing.grid_edges(dataset)
    width, height = _inches(box, PANEL)
    images = _images(dataset, shown, PANEL * drawing.DPI)
    ranges = _ranges(images)
    across = min(len(shown), max(2, round(math.sqrt(len(shown) * (height + 0.2) / width * 1.6))))
    down = math.ceil(len(shown) / across)
    left, top, bottom, gap, line = 0.75, 0.65, 1.15, 0.12, 0.2
    size = (
        max(left + across * (width + gap) + 0.2, 4.8), top + down * (height + line + gap) + bottom,
    )  # fmt: skip
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=100)
    days = _days(dataset)
    for number, (index, image) in enumerate(zip(shown, images, strict=True)):
        row, column = divmod(number, across)
        x = left + column * (width + gap)
        y = size[1] - top - row * (height + line + gap) - line - height
        axes = figure.add_axes((x / size[0], y / size[1], width / size[0], height / size[1]))
        _draw(axes, image, ranges, box)
        drawing.degree_axes(axes, width, height, crowded=True)
        lowest = number + across >= len(shown)
        axes.tick_params(labelleft=column == 0, labelbottom=lowest, labelsize=6.5)
        axes.set_title(days[index], fontsize=7.5, pad=2, loc="left")
    bars = [
        figure.add_axes(((left + i * 1.6) / size[0], 0.62 / size[1], 1.4 / size[0], 0.08 / size[1]))
        for i in range(len(ranges))
    ]
    if len(ranges) == 3:
        drawing.draw_ramps(bars, ranges)
    else:
        drawing.draw_grey_ramp(bars[0], *next(iter(ranges.items())))
    some = "" if len(shown) == len(days) else f", {len(shown)} of {len(days)} images"
    figure.text(
        left / size[0], 1 - 0.28 / size[1], _title(dataset.attrs, " and ".join(images[0])),
        fontsize=10.5, fontweight="bold", va="center",
    )  # fmt: skip
    when = drawing.when_and_how(dataset.attrs)
    figure.text(left / size[0], 1 - 0.5 / size[1], when + some, fontsize=9, va="center")
    source = dataset.attrs.get("source", "")
    figure.text(left / size[0], 0.1 / size[1], source, fontsize=7, color="0.25")
    figure.set_label(f"{_title(dataset.attrs, '')} {when}{some}: {source}")
    return figure


def _images(dataset: xr.Dataset, shown: Sequence[int], pixels: float) -> list[dict[str, Image]]:
    """Some images of a grid, each band (lat, lon) averaged down to so many pixels a side."""
    import dask

    bands = drawing.grid_bands(dataset)
    bands = ["VV", "VH"] if {"VV", "VH"} <= set(bands) else bands[:1]
    shrink = dask.delayed(_shrunk)
    pieces = [
        shrink([dataset[band].isel(time=i).data for band in bands], int(pixels)) for i in shown
    ]
    is_here = not drawing.is_lazy(dataset)
    return [dict(zip(bands, found, strict=True)) for found in engine.each(pieces, is_here)]


def _shrunk(arrays: Sequence[Any], pixels: int) -> list[Image]:
    return [drawing.shrink(np.asarray(array), pixels, pixels) for array in arrays]


def _ranges(images: Sequence[dict[str, Image]]) -> Ranges:
    """The range of dB of each channel, over all images."""
    seen: dict[str, list[Image]] = {}
    for power in images:
        found = (
            drawing.channels(power)
            if len(power) == 2
            else {name: drawing.to_db(values) for name, values in power.items()}
        )
        for name, decibel in found.items():
            seen.setdefault(name, []).append(decibel.ravel())
    return {name: drawing.db_range(np.concatenate(parts)) for name, parts in seen.items()}


def _draw(axes: Any, power: dict[str, Image], ranges: Ranges, box: Box) -> None:
    axes.set_aspect(_aspect(box))
    if len(power) == 2:
        drawing.draw_colours(axes, power, ranges, box)
    else:
        ((name, values),) = power.items()
        drawing.draw_grey(axes, drawing.to_db(values), ranges[name], box)


def _numbers(arrays: Sequence[Any], weights: Any) -> list[dict[str, float]]:
    found = []
    for array in arrays:
        power = np.asarray(array)
        seen = np.isfinite(power)
        weight = np.where(seen, weights, 0.0)
        total = weight.sum()
        mean = (np.where(seen, power, 0) * weight).sum() / total if total else math.nan
        low, high = np.percentile(power[seen], SPREAD) if total else (math.nan, math.nan)
        with np.errstate(divide="ignore"):
            mean_db, low_db, high_db = (float(v) for v in 10 * np.log10([mean, low, high]))
        share = float(total / (weights.sum() * power.shape[1]))
        found.append({"mean_dB": mean_db, "low_dB": low_db, "high_dB": high_db, "seen": share})
    return found


def _shown(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.3f}" if math.isfinite(value) else ""


def _days(dataset: xr.Dataset) -> list[str]:
    return [str(time)[:10] for time in dataset["time"].values]


def _aspect(box: Box) -> float:
    per_lon, per_lat = drawing.metres_per_degree((box[2] + box[3]) / 2)
    return per_lat / per_lon


def _inches(box: Box, longest: float) -> tuple[float, float]:
    """Width and height of an image whose longer side is given."""
    shape = (box[1] - box[0]) / ((box[3] - box[2]) * _aspect(box))
    return (longest, longest / shape) if shape > 1 else (longest * shape, longest)


def _canvas(box: Box, longest: float) -> tuple[Figure, tuple[float, float, float, float]]:
    """A figure for one image, and where in it the image goes."""
    from matplotlib.figure import Figure

    width, height = _inches(box, longest)
    size = max(width + 1.0, 4.2), height + 1.1
    figure = Figure(figsize=size)
    return figure, (0.75 / size[0], 0.5 / size[1], width / size[0], height / size[1])


def _caption(figure: Figure, dataset: xr.Dataset, time: str) -> None:
    height = float(figure.get_size_inches()[1])
    title = _title(dataset.attrs, " and ".join(drawing.grid_bands(dataset)))
    figure.text(0.02, 1 - 0.22 / height, title, fontsize=9, fontweight="bold", va="center")
    figure.text(0.02, 1 - 0.42 / height, time, fontsize=9, va="center")
    source = dataset.attrs.get("source", "")
    figure.text(0.02, 0.07 / height, source, fontsize=6.5, color="0.25")


def _title(attrs: dict[Any, Any], what: str) -> str:
    made_up = "Synthetic " if attrs.get("synthetic") else ""
    return f"{made_up}Sentinel-1 backscatter, {what}"
