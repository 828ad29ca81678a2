"""From images over time to pictures: side by side, or one after the other.

The colours of all images have one range, so that what looks brighter is brighter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from images import figure as drawing
from images import outline
from images.coast import coast, draw_coast
from images.figure import Ranges
from images.grids import (
    Box,
    Pixels,
    grid_bands,
    grid_edges,
    is_lazy,
    labels_of,
    metres_per_degree,
)
from images.pieces import computed
from images.prints import printed
from images.scales import Scale, scale_of
from images.settings import Look

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PANELS = 24  # images in a figure, at most; of more, some at equal steps
PANEL = ((2, 3.2), (6, 2.5), (PANELS, 1.9))  # up to so many images: inch, the longer side of each
LABEL = 7.5  # points, the date over an image
CELL = 0.7  # inch, the least room across that an image gets there: its date has to fit over it
BAR = 1.75  # inch, from one colour bar of the key to the next
FRAME = 6.0  # inch, the longer side of an image of the animation
FRAME_DPI = 100  # dots per inch of the animation
FRAME_TIME = 600  # ms that an image of the animation is shown


def draw(dataset: xr.Dataset, look: Look) -> Figure:
    """Draw a grid: one image as `figure.draw_image` does, several side by side.

    dataset: as of `figure.draw_image`, or with ``<band>(time, lat, lon)``.  Of more than `PANELS`
    images some are drawn, at equal steps of their number, first and last included.
    """
    if "time" not in dataset.dims:
        return drawing.draw_image(dataset, look)
    if dataset.sizes["time"] == 1:
        return drawing.draw_image(dataset.isel(time=0), look)
    return _side_by_side(dataset, _shown(dataset), look)


def ranges(dataset: xr.Dataset, look: Look) -> dict[str, tuple[float, float]]:
    """What `draw` would draw darkest and brightest, by channel, without drawing."""
    if dataset.sizes.get("time", 1) == 1:
        return drawing.ranges(dataset.isel(time=0) if "time" in dataset.dims else dataset, look)
    shown = _shown(dataset)
    images = _images(dataset, shown, _panel(len(shown)) * look.dpi)
    found = _ranges(scale_of(dataset.attrs), images, look)
    return {name: limits for name, limits in found.items() if limits is not None}


def animate(dataset: xr.Dataset, path: Path, look: Look) -> None:
    """Write the images of a grid (time, lat, lon), one after the other, as an animated GIF."""
    if dataset.sizes.get("time", 1) < 2:
        raise ValueError("An animation needs images of two days or more.")
    frames = [printed(figure, FRAME_DPI) for figure in frames_of(dataset, look)]
    first, *rest = [frame.quantize(colors=256) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=FRAME_TIME, loop=0)


def frames_of(dataset: xr.Dataset, look: Look) -> Iterator[Figure]:
    """The figures of an animation, one for each image."""
    images = _images(dataset, range(dataset.sizes["time"]), FRAME * FRAME_DPI)
    scale, box = scale_of(dataset.attrs), grid_edges(dataset)
    ranges, coasts, gaps = _ranges(scale, images, look), coast(box), _have_gaps(images)
    for image, label in zip(images, labels_of(dataset), strict=True):
        lines = _lines(dataset, drawing.listed(image), dataset.sizes["time"])
        lines[1] = label, 9.0, "normal"
        room = drawing.words_inches(lines) + drawing.LEGEND * gaps
        figure, rectangle = _canvas(box, FRAME, room)
        axes = figure.add_axes(rectangle)
        _draw(axes, scale, image, ranges, box)
        outline.draw(axes, dataset.attrs, box)
        drawing.degree_axes(axes, *_inches(box, FRAME))
        drawing.reach_ticks(axes)
        draw_coast(axes, box, coasts)
        caption(figure, lines)
        if gaps:
            drawing.say_no_data(figure, figure.get_figwidth() - 0.12)
        yield figure


# --- behind the scenes -----------------------------------------------------------------


def _shown(dataset: xr.Dataset) -> list[int]:
    """The numbers of the images that a figure shows."""
    number = dataset.sizes["time"]
    steps = np.linspace(0, number - 1, min(PANELS, number))
    return [int(step) for step in np.unique(steps.round())]


def _panel(number: int) -> float:
    """Inches that the longer side of each of so many images has."""
    return next(inches for most, inches in PANEL if number <= most)


def _have_gaps(images: Sequence[dict[str, Pixels]]) -> bool:
    return any(not np.isfinite(each).all() for image in images for each in image.values())


class _Sheet:
    """Where the images and the key of a figure of several days go, in inches."""

    def __init__(self, box: Box, panels: int, bars: int, words: float, label: float) -> None:
        """``words`` and ``label``: inches of what is written around all, and over an image."""
        self.image = width, height = _inches(box, _panel(panels))
        self.room = max(width, label)
        self.cell = self.room + 0.45, height + 0.32  # with the ticks, and the label above
        shape = self.cell[1] / self.cell[0]
        self.across = min(panels, max(2, round(math.sqrt(panels * shape * 1.6))))
        self.left, self.top = 0.85, 0.65
        down = math.ceil(panels / self.across)
        wide = self.left + self.across * self.cell[0]
        key = self.left + bars * BAR
        self.size = max(wide, key, self.left + words + 0.1), self.top + down * self.cell[1] + 1.15

    def panel(self, figure: Figure, number: int) -> Any:
        """Axes of the image in a cell: from the left, or in the middle of one that is wider."""
        row, column = divmod(number, self.across)
        width, height = self.image
        x = self.left + column * self.cell[0] + (self.room - width) / 2
        y = self.size[1] - self.top - row * self.cell[1] - 0.2 - height
        return figure.add_axes(self._place(x, y, width, height))

    def bar(self, number: int) -> drawing.Place:
        """Where a part of the key goes."""
        return self._place(self.left + number * BAR, 0.62, BAR - 0.2, 0.08)

    def write(self, figure: Figure, lines: Sequence[drawing.Words]) -> None:
        """Title, days and source."""
        title, when, source = lines
        for (text, points, weight), y in (
            (title, self.size[1] - 0.28), (when, self.size[1] - 0.5), (source, 0.14)
        ):  # fmt: skip
            at = self.left / self.size[0], y / self.size[1]
            figure.text(*at, text, fontsize=points, fontweight=weight, va="center")
        figure.texts[-1].set_color("0.25")

    def _place(self, x: float, y: float, width: float, height: float) -> drawing.Place:
        w, h = self.size
        return x / w, y / h, width / w, height / h


def _side_by_side(dataset: xr.Dataset, shown: Sequence[int], look: Look) -> Figure:
    from matplotlib.figure import Figure

    box, labels = grid_edges(dataset), labels_of(dataset)
    images = _images(dataset, shown, _panel(len(shown)) * look.dpi)
    scale = scale_of(dataset.attrs)
    ranges, coasts, gaps = _ranges(scale, images, look), coast(box), _have_gaps(images)
    lines = _lines(dataset, drawing.listed(images[0]), len(shown))
    room = drawing.words_inches(lines) + drawing.LEGEND * gaps
    label = max(CELL, drawing.words_inches([(text, LABEL, "normal") for text in labels]))
    sheet = _Sheet(box, len(shown), len(ranges), room, label)
    figure = Figure(figsize=sheet.size, dpi=100)
    for number, (index, image) in enumerate(zip(shown, images, strict=True)):
        axes = sheet.panel(figure, number)
        _draw(axes, scale, image, ranges, box)
        outline.draw(axes, dataset.attrs, box)
        drawing.degree_axes(axes, *sheet.image)
        drawing.reach_ticks(axes)
        draw_coast(axes, box, coasts)
        lowest = number + sheet.across >= len(shown)
        axes.tick_params(
            labelleft=number % sheet.across == 0, labelbottom=lowest, labelsize=6.5
        )  # fmt: skip
        _put_label(axes, labels[index], sheet.image[0] < sheet.room)
    bars = [sheet.bar(number) for number in range(len(ranges))]
    if len(ranges) == 3:
        drawing.draw_ramps(figure, bars, scale, ranges)
    else:
        drawing.draw_ramp(figure, bars[0], scale, *next(iter(ranges.items())))
    sheet.write(figure, lines)
    if gaps:
        drawing.say_no_data(figure, sheet.size[0] - 0.12)
    figure.set_label(f"{lines[0][0]}, {lines[1][0]}: {lines[2][0]}")
    return figure


def _put_label(axes: Any, label: str, is_narrow: bool) -> None:
    """Over an image, from its left; over the middle of one that is narrower than the label."""
    axes.set_label(drawing.MAP)
    axes.set_title(
        label, fontsize=LABEL, pad=5 if is_narrow else 2, loc="center" if is_narrow else "left"
    )


def _lines(dataset: xr.Dataset, bands: str, shown: int) -> list[drawing.Words]:
    """Title, days and source of a figure of so many images."""
    number = dataset.sizes["time"]
    some = "" if shown == number else f", {shown} of {number} images"
    return [
        (drawing.title_of(dataset.attrs, bands), 10.5, "bold"),
        (drawing.when_and_how(dataset.attrs) + some, 9.0, "normal"),
        (str(dataset.attrs.get("source", "")), 7.0, "normal"),
    ]


def _images(dataset: xr.Dataset, shown: Sequence[int], pixels: float) -> list[dict[str, Pixels]]:
    """Some images of a grid, each band (lat, lon) averaged down to so many pixels a side."""
    import dask

    from shared import compute

    scale, every = scale_of(dataset.attrs), grid_bands(dataset)
    bands = [name for name in scale.composite(every) if name in every] or every[:1]
    shrink = dask.delayed(_shrunk)
    pieces = [
        shrink([dataset[band].isel(time=i).data for band in bands], int(pixels), scale, bands)
        for i in shown
    ]
    is_here = not is_lazy(dataset)
    each = computed(compute.each(pieces, is_here))
    return [dict(zip(bands, found, strict=True)) for found in each]


def _shrunk(arrays: Sequence[Any], pixels: int, scale: Scale, bands: Sequence[str]) -> list[Pixels]:
    return [
        drawing.shrunk(scale, band, np.asarray(array), pixels, pixels)
        for band, array in zip(bands, arrays, strict=True)
    ]


def _ranges(scale: Scale, images: Sequence[dict[str, Pixels]], look: Look) -> Ranges:
    """The range of each channel, over all images."""
    seen: dict[str, list[Pixels]] = {}
    for values in images:
        alone = {name: scale.shown(each) for name, each in values.items()}
        for name, each in (scale.channels(values) or alone).items():
            seen.setdefault(name, []).append(each.ravel())
    every = {name: np.concatenate(parts) for name, parts in seen.items()}
    if len(every) > 1:
        return drawing.channel_ranges(scale, every, look)
    return {name: drawing.shown_range(scale, name, each, look) for name, each in every.items()}


def _draw(axes: Any, scale: Scale, values: dict[str, Pixels], ranges: Ranges, box: Box) -> None:
    axes.set_aspect(_aspect(box))
    if len(values) > 1:
        drawing.draw_colours(axes, scale, values, ranges, box)
    else:
        ((name, alone),) = values.items()
        drawing.draw_values(axes, scale, name, scale.shown(alone), ranges[name], box)


def _aspect(box: Box) -> float:
    per_lon, per_lat = metres_per_degree((box[2] + box[3]) / 2)
    return per_lat / per_lon


def _inches(box: Box, longest: float) -> tuple[float, float]:
    """Width and height of an image whose longer side is given."""
    shape = (box[1] - box[0]) / ((box[3] - box[2]) * _aspect(box))
    return (longest, longest / shape) if shape > 1 else (longest * shape, longest)


def _canvas(
    box: Box, longest: float, words: float
) -> tuple[Figure, tuple[float, float, float, float]]:
    """A figure for one image, and where in it the image goes."""
    from matplotlib.figure import Figure

    width, height = _inches(box, longest)
    size = max(width + 1.3, words + 0.3), height + 1.15
    figure = Figure(figsize=size)
    return figure, (0.85 / size[0], 0.5 / size[1], width / size[0], height / size[1])


def caption(figure: Figure, lines: Sequence[drawing.Words]) -> None:
    """Title and what is under it above a figure, and the source below."""
    width, height = (float(side) for side in figure.get_size_inches())
    for (text, points, weight), y in zip(
        lines, (height - 0.2, height - 0.4, 0.12), strict=True
    ):  # fmt: skip
        at = 0.12 / width, y / height
        figure.text(*at, text, fontsize=points, fontweight=weight, va="center")
    figure.texts[-1].set_color("0.25")
