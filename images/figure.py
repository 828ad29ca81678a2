"""From a grid to a picture worth keeping.

One panel a band, and a colour composite where VV and VH are both there; of reflectance the
picture in true colour instead.  Of backscatter all
arithmetic is done in linear power and turned into dB at the very end, when the
colours are chosen:  dB = 10 log10(power).  A grid finer than the paper is averaged
first, in linear power too, exactly to the pixels that will be printed, so a large
grid costs no more to draw than a small one and loses no energy.

What has no data stays paper with hatching; a power of 0 (the back end subtracts the
thermal noise and clips) is a measurement and gets the darkest grey.

Only matplotlib's object interface is used.  `show` alone touches pyplot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from archive.passes import ACQUIRED_BEGIN, ACQUIRED_END
from grid import wrap
from images import outline
from images.coast import coast, draw_coast, is_large
from images.grids import Box, Pixels, grid_bands, grid_edges, in_memory, metres_per_degree
from images.locator import draw_locator
from images.scales import COLOURS, RATIO, Scale, scale_of
from images.settings import Look
from shared.classes import most_frequent

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.ticker import MaxNLocator

BESIDE = (3.3, 5.2)  # inch, the most that a panel's map may take when panels stand side by side
STACKED = (6.6, 2.9)  # inch, as above, when a wide box stacks its panels
ALONE = (5.6, 5.6)  # inch, as above, for a single panel
SMALLEST = (1.1, 0.8)  # inch, the least room that a panel gets, however thin its box

_TEXT, _SMALL, _TITLE = 8.0, 7.0, 10.5  # points
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.95, 0.25, 0.85, 0.5  # inch, around the panels
_BAR, _ROW = 0.12, 0.27  # inch, thickness of a colour bar, height of a row of the key
_BESIDE, _BELOW, _FOOT = 1.45, 0.4, 0.4  # inch, room for bars beside and below, source line
_APART = 0.32  # inch, between a panel and what is beside it: half a label of its last tick
_UNDER = 0.03  # inch, between a bar in a channel's colour and its words
_CHANNELS, _SHADES = ("red", "lime", "blue"), 256  # of such bars
_EDGE = 0.15  # inch, left free around what is written
LEGEND = 0.95  # inch, for "no data" beside the source line, and the globe beside the title
_LOCATOR = 0.07  # inch, over the globe
_OVER = 0.17  # inch, a row over a panel too narrow for its title and the scale bar side by side
_REACH = 0.005  # of an axis, how far beyond its end a tick is still taken in
_GREY = "0.7"
_ANY = (0.0, 1.0)  # dB, to draw by what has no range; it is not written anywhere
TITLE, KEY = "title of a panel", "key of a band"  # gid of these texts
MAP = "map"  # label of the axes that have an image

Range = tuple[float, float]
Place = tuple[float, float, float, float]  # left, bottom, width, height; shares of the figure
Ranges = dict[str, Range | None]  # by channel; None where no pixel has a value in dB
Words = tuple[str, float, str]  # a line of text, its size in points, its weight


def draw_image(dataset: xr.Dataset, look: Look) -> Figure:
    """Draw every band of a grid, and VV/VH/ratio in colour when both are there.

    What is reflectance is one picture in true colour, where its bands are there.

    dataset: float variables (lat, lon) of linear power, NaN where nothing was seen,
    on regular ``lat`` and ``lon`` in degrees; the attributes ``day``, ``orbit``,
    ``source`` and ``synthetic``, where present, become title and source line.
    Save it with `export.save_figure`.
    Raises ValueError for a dataset without such a variable.
    """
    from matplotlib.figure import Figure

    scale, bands = scale_of(dataset.attrs), grid_bands(dataset)
    dataset = in_memory(dataset)  # both bands of a lazy one at a time
    composite, alone = scale.composite(bands), scale.panels(bands)
    panels, box = len(alone) + bool(composite), grid_edges(dataset)
    layout = _Layout(panels, box, words_inches(_words(dataset)) + LEGEND, bool(composite))
    figure = Figure(figsize=layout.size, dpi=100)
    values = _on_paper(_values(dataset), scale, box, look)
    for i, name in enumerate(alone):
        axes, bar = layout.map_axes(figure, i, name), layout.bar_axes(figure, i)
        _draw_band(
            axes,
            bar,
            name,
            values[name],
            look,
            box,
            layout.stacked,
            layout.room[layout.stacked],
            scale,
        )
    if composite:
        axes = layout.map_axes(figure, len(alone), ", ".join(composite))
        ranges = channel_ranges(scale, scale.channels(values), look)
        draw_colours(axes, scale, values, ranges, box)
        draw_ramps(figure, layout.ramps(len(alone)), scale, ranges)
    _scale_bar(figure.axes[0], box, layout.map_size[0], layout.is_narrow)
    lines = coast(box)
    for axes in figure.axes:
        if axes.get_label() == MAP:
            outline.draw(axes, dataset.attrs, box)
            reach_ticks(axes)
            draw_coast(axes, box, lines)
    if not is_large(box):
        draw_locator(figure, box, layout.right, _LOCATOR)
    drawn = alone or [name for name in composite if name in values]
    gaps = outline.has_gaps(dataset, values, drawn)
    _write_around(figure, layout, dataset, gaps)
    return figure


def ranges(dataset: xr.Dataset, look: Look) -> dict[str, Range]:
    """What `plot_ranges` would say of the figure that `draw_image` would draw, without drawing."""
    values = _values(in_memory(dataset))
    return ranges_of(values, scale_of(dataset.attrs), grid_edges(dataset), look)


def ranges_of(values: Mapping[str, Pixels], scale: Scale, box: Box, look: Look) -> dict[str, Range]:
    """The same of bands, (row, column), whose pixels reach to the edges of a box."""
    values = _on_paper(values, scale, box, look)
    alone = scale.panels(tuple(values))
    found: Ranges = {n: shown_range(scale, n, scale.shown(values[n]), look) for n in alone}
    if scale.composite(tuple(values)):
        found |= channel_ranges(scale, scale.channels(values), look)
    return {name: limits for name, limits in found.items() if limits is not None}


def _values(dataset: xr.Dataset) -> dict[str, Pixels]:
    """The bands of a grid in memory."""
    return {name: dataset[name].values for name in grid_bands(dataset)}


def _on_paper(
    values: Mapping[str, Pixels], scale: Scale, box: Box, look: Look
) -> dict[str, Pixels]:
    """The bands of a grid, averaged to the pixels that a panel will have when it is printed."""
    bands = tuple(values)
    panels = len(scale.panels(bands)) + bool(scale.composite(bands))
    size = _map_size(panels, box)[0]
    rows, columns = (max(1, round(side * look.dpi)) for side in size[::-1])
    drawn = [name for name in bands if name in (*scale.panels(bands), *scale.composite(bands))]
    return {name: shrunk(scale, name, values[name], rows, columns) for name in drawn}


def plot_ranges(figure: Figure) -> dict[str, Range]:
    """What `draw_image` drew darkest and brightest, by band, and of the ratio "VV/VH".

    In dB of backscatter, else in the units of the band.  What no pixel has a value of is not
    among them.
    """
    ranges = {}
    for axes in figure.axes:
        match str(axes.get_label()).split():
            case [name, "range", along]:
                low, high = axes.get_xlim() if along == "x" else axes.get_ylim()
                ranges[name] = (float(low), float(high))
    ramps: list[Any] = [ramp for ramp in figure.artists if ramp.get_gid() == KEY]
    return ranges | {str(ramp.get_label()): ramp.get_clim() for ramp in ramps if ramp.get_label()}


def show(figure: Figure) -> bool:
    """Open a window and wait until it is closed; False where there is no display."""
    if not has_display():
        return False
    from matplotlib import pyplot

    try:
        pyplot.figure(figure)
    except ImportError:  # a toolkit was chosen by hand, but is not there or has no display
        return False
    pyplot.show(block=True)
    return True


def has_display() -> bool:
    """Whether matplotlib has found a way to open windows."""
    from matplotlib import pyplot
    from matplotlib.backends.registry import BackendFilter, backend_registry

    windows = backend_registry.list_builtin(BackendFilter.INTERACTIVE)  # type: ignore[no-untyped-call]
    return pyplot.get_backend().lower() in windows


def shown_range(scale: Scale, band: str, values: Pixels, look: Look) -> Range | None:
    """What is drawn darkest and brightest of a band: percentiles of the look of finite values.

    At least as far apart as the scale wants; all of classes.  None where there is no such value:
    no number is shown that no pixel gave.
    """
    if scale.stretch is not None and not scale.is_class(band) and band != RATIO:
        return scale.stretch
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return None
    if scale.is_class(band):
        return float(finite.min()) - 0.5, float(finite.max()) + 0.5
    low, high = (float(v) for v in np.percentile(finite, look.percentiles))
    middle = (low + high) / 2
    narrowest = scale.narrowest(middle)
    if high - low < narrowest:
        return middle - narrowest / 2, middle + narrowest / 2
    return low, high


def channel_ranges(scale: Scale, channels: Mapping[str, Pixels], look: Look) -> Ranges:
    """The range of each channel of a picture in colour; one for all, where colours are true."""
    if scale.is_decibel:
        return {name: shown_range(scale, name, each, look) for name, each in channels.items()}
    every = np.concatenate([np.ravel(each) for each in channels.values()])
    return dict.fromkeys(channels, shown_range(scale, "", every, look))


def range_words(low: float, high: float, look: Look, scale: Scale, band: str) -> str:
    """What a range of `shown_range` says of the pixels; of a nearly even band only its middle."""
    unit = f" {scale.unit(band)}".rstrip()
    if scale.is_class(band):
        return f"classes {low + 0.5:g} to {high - 0.5:g}"
    words = f"{scale.number(low)} to {scale.number(high)}{unit}"
    if scale.stretch is not None and band != RATIO:
        return f"{words} (as asked)"
    if high - low <= scale.narrowest((low + high) / 2) * (1 + 1e-6):
        # It was widened, so its ends are no pixel's.
        return f"about {scale.number((low + high) / 2)}{unit}, nearly the same everywhere"
    first, last = (_ordinal(number) for number in look.percentiles)
    return f"{words} ({first} to {last} percentile)"


def _ordinal(number: float) -> str:
    """A percentile in words: 1st, 2nd, 11th, 2.5th."""
    endings = {1.0: "st", 2.0: "nd", 3.0: "rd"}
    teen = 10 <= number % 100 < 20
    return f"{number:g}{'th' if teen else endings.get(number % 10, 'th')}"


def shrink(power: Pixels, rows: int, columns: int) -> Pixels:
    """Average a grid down to at most rows x columns, over the values that are not NaN."""
    height, width = (min(n, m) for n, m in zip(power.shape, (rows, columns), strict=True))
    if (height, width) == power.shape:
        return power
    tops = np.linspace(0, power.shape[0], height + 1).astype(int).tolist()
    lefts = np.linspace(0, power.shape[1], width + 1).astype(int)[:-1]
    out = np.empty((height, width), np.float32)
    for i, (top, bottom) in enumerate(pairwise(tops)):
        strip = power[top:bottom]
        seen = np.isfinite(strip)
        total = np.add.reduceat(np.where(seen, strip, 0).sum(axis=0, dtype=np.float64), lefts)
        count = np.add.reduceat(seen.sum(axis=0), lefts)
        out[i] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return out


def shrunk(scale: Scale, band: str, values: Pixels, rows: int, columns: int) -> Pixels:
    """A band averaged down to at most rows x columns; of classes the most frequent ones."""
    height, width = (min(n, m) for n, m in zip(values.shape, (rows, columns), strict=True))
    if scale.has_mean(band) or (height, width) == values.shape:
        return shrink(values, rows, columns)
    finite = np.isfinite(values)

    def shares(some: Sequence[float]) -> list[Pixels]:
        each = (np.where(finite, values == value, np.nan).astype(np.float32) for value in some)
        return [shrink(one, rows, columns).ravel() for one in each]

    found = most_frequent(np.unique(values[finite]).tolist(), shares, height * width)
    return found.reshape(height, width)


def _map_size(panels: int, box: Box) -> tuple[tuple[float, float], bool]:
    """Width and height of the map of a panel, in inches, and whether the panels are stacked."""
    west, east, south, north = box
    per_lon, per_lat = metres_per_degree((south + north) / 2)
    shape = (east - west) * per_lon / ((north - south) * per_lat)
    stacked = panels > 1 and shape > 1.7
    widest, highest = ALONE if panels == 1 else STACKED if stacked else BESIDE
    width = min(widest, highest * shape)
    return (width, width / shape), stacked


class _Layout:
    """Where the panels and their bars go, in inches, for the shape of a box."""

    def __init__(self, panels: int, box: Box, words: float, in_colour: bool) -> None:
        """``words``: inches that what is written above and below the panels takes.

        ``in_colour``: the last panel is, so that it has three bars.
        """
        per_lon, per_lat = metres_per_degree((box[2] + box[3]) / 2)
        self.aspect = per_lat / per_lon
        self.map_size, self.stacked = _map_size(panels, box)
        width, height = self.map_size
        self.room = max(width, SMALLEST[0]), max(height, SMALLEST[1])
        self.is_narrow = width < SMALLEST[0]
        self.top = _TOP + _OVER * self.is_narrow
        across, down = (1, panels) if self.stacked else (panels, 1)
        self.down = down
        gap = 0.35 if self.stacked else 0.6
        self.step = self.room[0] + gap, self.room[1] + gap
        wide = _LEFT + across * self.step[0] - gap + _RIGHT
        high = self.top + down * self.step[1] - gap + _BOTTOM + _FOOT
        wide, high = (
            (wide + _BESIDE, high)
            if self.stacked
            else (wide, high + _BELOW + _ROW * (panels > 1 or in_colour))
        )
        self.size = max(wide, words + 2 * _EDGE), high
        self.left = _LEFT + (self.size[0] - wide) / 2
        self.words = min(self.left, self.size[0] - words - _EDGE)  # where they begin
        self.right = max(self.size[0] - self.left + _LEFT - _RIGHT, self.words + words)

    def corner(self, i: int) -> tuple[float, float]:
        """Left and top of the i-th panel, from the top left of the figure."""
        if self.stacked:
            return self.left, self.top + i * self.step[1]
        return self.left + i * self.step[0], self.top

    def place(self, left: float, top: float, width: float, height: float) -> Place:
        w, h = self.size
        return left / w, 1 - (top + height) / h, width / w, height / h

    def add(self, figure: Figure, *inches: float) -> Axes:
        return figure.add_axes(self.place(*inches))

    def map_axes(self, figure: Figure, i: int, title: str) -> Axes:
        """The axes of a panel, ticks and labels on the outer sides only."""
        left, top = self.corner(i)
        (width, height), (w, h) = self.room, self.map_size
        axes = self.add(figure, left + (width - w) / 2, top + (height - h) / 2, w, h)
        axes.set_aspect(self.aspect, adjustable="box")
        axes.set_label(MAP)
        degree_axes(axes, w, h)
        if self.stacked and i < self.down - 1:
            axes.tick_params(labelbottom=False)
        else:
            axes.set_xlabel("Longitude", fontsize=_TEXT)
        if not self.stacked and i > 0:
            axes.tick_params(labelleft=False)
        else:
            axes.set_ylabel("Latitude", fontsize=_TEXT)
        self._put_title(figure, axes, title)
        return axes

    def _put_title(self, figure: Figure, axes: Axes, title: str) -> None:
        """Over the panel; over the middle of one that is narrower than a title may be."""
        place = axes.get_position(original=True)
        figure.text(
            (place.x0 + place.x1) / 2 if self.is_narrow else place.x0,
            place.y1 + (0.06 + _OVER * self.is_narrow) / self.size[1], title, fontsize=_TEXT,
            fontweight="bold", ha="center" if self.is_narrow else "left", gid=TITLE,
        )  # fmt: skip

    def bar_axes(self, figure: Figure, i: int) -> Axes:
        """Axes for the colour bar of a panel: beside it when stacked, else below it."""
        left, top = self.corner(i)
        width, height = self.room
        if self.stacked:
            return self.add(figure, left + width + _APART, top, _BAR, height)
        return self.add(figure, left, top + height + _BOTTOM, width, _BAR)

    def ramps(self, i: int) -> list[Place]:
        """Where the three bars of a panel in colour go, likewise."""
        left, top = self.corner(i)
        width, height = self.room
        if self.stacked:
            left, width, top = left + width + _APART, _BESIDE - _APART, top + 0.02
        else:
            top += height + _BOTTOM
        return [self.place(left, top + _ROW * k, width, 0.6 * _BAR) for k in range(3)]


def degree_axes(axes: Axes, width: float, height: float) -> None:
    """Ticks such as 7.25°E and 50.5°N, as many as fit into so many inches."""
    from matplotlib.ticker import FuncFormatter

    axes.tick_params(labelsize=_TEXT, length=3, color="0.3")
    for axis, sides, room in ((axes.xaxis, "EW", width / 0.8), (axes.yaxis, "NS", height / 0.5)):
        axis.set_major_locator(_locator(max(1, min(5, int(room)))))
        axis.set_major_formatter(FuncFormatter(_degrees(sides)))


def _locator(bins: int) -> MaxNLocator:
    """Round numbers of degrees, so many steps at most; of a single step one tick only."""
    from matplotlib.ticker import MaxNLocator

    class Locator(MaxNLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            ticks = super().tick_values(vmin, vmax)
            slack = 1e-9 * (vmax - vmin)
            inside = [t for t in ticks if vmin - slack <= t <= vmax + slack]
            return inside[:1] if bins == 1 and inside else ticks

    return Locator(bins, steps=[1, 2, 5, 10], min_n_ticks=1)


def reach_ticks(axes: Axes) -> None:
    """Widen the view by a hair where that takes in a tick.

    Pixels seldom fill a box to the last, and a tick on its edge would not be seen.
    """
    for axis, view in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
        low, high = axis.get_view_interval()
        hair = _REACH * (high - low)
        ticks = axis.get_major_locator().tick_values(low, high)
        near = [t for t in ticks if low - hair <= t <= low or high <= t <= high + hair]
        view(min([low, *near]), max([high, *near]))


def _draw_band(
    axes: Axes,
    bar: Axes,
    name: str,
    values: Pixels,
    look: Look,
    box: Box,
    upright: bool,
    bar_inches: float,
    scale: Scale,
) -> None:
    from matplotlib.ticker import MaxNLocator

    shown = scale.shown(values)
    limits = shown_range(scale, name, shown, look)
    image = draw_values(axes, scale, name, shown, limits, box)
    if limits is None:
        bar.set(xticks=[], yticks=[])
        (bar.set_ylabel if upright else bar.set_xlabel)(f"{name}: no value", fontsize=_TEXT)
        return
    orientation = "vertical" if upright else "horizontal"
    extend = "neither" if scale.is_class(name) else "both"
    colours = axes.figure.colorbar(
        image, cax=bar, orientation=orientation, extend=extend, extendfrac=0.03
    )
    most = int(bar_inches / (0.3 if upright else 0.55))
    colours.locator = MaxNLocator(max(2, min(6, most)), steps=[1, 2, 5, 10])
    colours.update_ticks()
    colours.set_label(_bar_label(scale, name, bar_inches), fontsize=_TEXT)
    colours.ax.tick_params(labelsize=_TEXT, length=2)
    colours.outline.set_linewidth(0.5)
    bar.set_label(f"{name} range {'y' if upright else 'x'}")


def _bar_label(scale: Scale, band: str, inches: float) -> str:
    """What stands at the bar of a band: where that is too long its unit, which its title lacks."""
    text, unit = scale.label(band), scale.unit(band)
    if scale.is_decibel:
        return text
    some = (text, f"{band} ({unit})" if unit else band, unit)
    return next((t for t in some if words_inches([(t, _TEXT, "normal")]) <= inches), unit)


def draw_values(
    axes: Axes, scale: Scale, band: str, shown: Pixels, limits: Range | None, box: Box
) -> AxesImage:
    """An image of a band over a range; without one, what is not a gap is at its lower end."""
    limits = limits or _ANY
    if np.isnan(shown).any():
        _hatch(axes, box)
    return add_image(
        axes, np.where(shown == -np.inf, limits[0], shown), box,
        cmap=colour_map(scale, band, limits), clim=limits,
    )  # fmt: skip


def add_image(axes: Axes, values: np.ndarray[Any, Any], box: Box, **look: Any) -> AxesImage:
    """An image over a box, each dot that of the pixel it is in.

    Other than by `imshow`, its pixels get their colours, not all dots of the paper.
    """
    from matplotlib.image import PcolorImage

    west, east, south, north = box
    rows, columns = values.shape[:2]
    edges = np.linspace(west, east, columns + 1), np.linspace(south, north, rows + 1)
    image = PcolorImage(axes, *edges, values, **look)
    axes.add_image(image)
    image.set_extent(box)
    image.origin = "lower"
    return image


def colour_map(scale: Scale, band: str, limits: Range) -> Any:
    """Grey or a range of colours; of classes a colour for each."""
    if not scale.is_class(band):
        return scale.colours
    from matplotlib.colors import ListedColormap

    first, number = round(limits[0] + 0.5), round(limits[1] - limits[0])
    return ListedColormap([COLOURS[(first + i) % len(COLOURS)] for i in range(number)])


def draw_colours(
    axes: Axes, scale: Scale, values: Mapping[str, Pixels], ranges: Ranges, box: Box
) -> None:
    """The picture in colour, each channel over its range."""
    rgba = scale.in_colour(values, {name: limits or _ANY for name, limits in ranges.items()})
    if not rgba[..., 3].all():
        _hatch(axes, box)
    add_image(axes, rgba, box)


def draw_ramps(figure: Figure, places: Iterable[Place], scale: Scale, ranges: Ranges) -> None:
    """The key of a picture in colour: a bar for each channel."""
    for place, channel, (name, limits) in zip(places, _CHANNELS, ranges.items(), strict=True):
        draw_ramp(figure, place, scale, name, limits, channel)


def draw_ramp(
    figure: Figure, place: Place, scale: Scale, name: str, limits: Range | None, channel: str = ""
) -> None:
    """A bar of the colours of a band, or of a channel, with its name and range below it.

    It is no axes, which take some time to make and to draw.
    """
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.image import BboxImage
    from matplotlib.patches import Rectangle
    from matplotlib.transforms import Bbox, TransformedBbox

    ends, (left, bottom, width, height) = limits or _ANY, place
    colours = (
        LinearSegmentedColormap.from_list(name, ["black", channel])
        if channel
        else colour_map(scale, name, ends)
    )
    where = TransformedBbox(Bbox.from_bounds(*place), figure.transFigure)
    ramp = BboxImage(where, cmap=colours, norm=Normalize(*ends), interpolation="nearest")
    ramp.set_data(np.linspace(*ends, _SHADES)[np.newaxis])
    ramp.set(label=name if limits else "", gid=KEY)
    figure.add_artist(ramp)
    figure.add_artist(Rectangle((left, bottom), width, height, fill=False, linewidth=0.8))
    unit = f" {scale.unit(name)}".rstrip()
    what = "no value" if limits is None else "{} to {}{}".format(*_ends(scale, limits), unit)
    below = bottom - _UNDER / figure.get_figheight()
    words = f"{name}  {what}"
    figure.text(left + width / 2, below, words, fontsize=_SMALL, ha="center", va="top", gid=KEY)


def _hatch(axes: Axes, box: Box) -> None:
    """What lies under the image and so shows where the image has a gap."""
    from matplotlib.patches import Rectangle

    west, east, south, north = box
    axes.add_patch(
        Rectangle(
            (west, south), east - west, north - south,
            facecolor="white", edgecolor=_GREY, hatch="////", linewidth=0, zorder=-1,
        )
    )  # fmt: skip


def _scale_bar(axes: Axes, box: Box, inches: float, is_narrow: bool) -> None:
    """Above the map, so that it hides nothing; true also after zooming in a window."""
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, HPacker, TextArea
    from matplotlib.patches import Rectangle

    west, east, south, north = box
    per_lon, _ = metres_per_degree((south + north) / 2)
    longest = (east - west) * per_lon / inches * min(max(inches / 3, 0.45), 1.2)
    length = round_length(longest)
    line = AuxTransformBox(axes.transData)
    line.add_artist(Rectangle((0, 0), length / per_lon, 0, edgecolor="black", linewidth=2))
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"
    label = TextArea(text, textprops={"fontsize": _SMALL})
    place = axes.get_position(original=True)
    bar = AnchoredOffsetbox(
        "lower center" if is_narrow else "lower right", frameon=False, pad=0.1, borderpad=0.3,
        child=HPacker(children=[label, line], align="center", pad=0, sep=4),
        bbox_to_anchor=((place.x0 + place.x1) / 2 if is_narrow else place.x1, place.y1),
        bbox_transform=axes.figure.transFigure,
    )  # fmt: skip
    bar.set_label(f"scale bar {length:g} m")
    axes.add_artist(bar)


def round_length(most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above ``most``."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most)


def _write_around(figure: Figure, layout: _Layout, dataset: xr.Dataset, gaps: bool) -> None:
    """Title above; source line, and what the hatching means, below."""
    width, height = layout.size
    left = layout.words / width
    (title, *_), (when, *_), (source, *_) = _words(dataset)
    figure.text(left, 1 - 0.28 / height, title, fontsize=_TITLE, fontweight="bold", va="center")
    figure.text(left, 1 - 0.48 / height, when, fontsize=_TEXT + 1, va="center")
    figure.text(left, 0.12 / height, source, fontsize=_SMALL, color="0.25", va="bottom")
    figure.set_label(f"{title}, {when}: {source}")
    if gaps:
        say_no_data(figure, layout.right)


def say_no_data(figure: Figure, right: float) -> None:
    """What the hatching means, beside the source line; ``right``: inches, where it ends."""
    from matplotlib.patches import Patch

    width, height = (float(side) for side in figure.get_size_inches())
    patch = Patch(facecolor="white", edgecolor=_GREY, hatch="//////", linewidth=0.5)
    figure.legend(
        [patch], ["no data"], loc="lower right", fontsize=_SMALL, frameon=False,
        bbox_to_anchor=(right / width, 0.06 / height), handlelength=1.4, borderaxespad=0,
    )  # fmt: skip


def _words(dataset: xr.Dataset) -> list[Words]:
    """Title, days and source of a grid."""
    attrs, scale = dataset.attrs, scale_of(dataset.attrs)
    bands = grid_bands(dataset)
    what = title_of(attrs, listed(scale.panels(bands) or scale.composite(bands)))
    return [
        (what, _TITLE, "bold"),
        (when_and_how(attrs), _TEXT + 1, "normal"),
        (str(attrs.get("source", "")), _SMALL, "normal"),
    ]


def listed(names: Iterable[str]) -> str:
    """Two names with "and" between them, more of them with commas."""
    every = list(names)
    return " and ".join(every) if len(every) < 3 else ", ".join(every)


def title_of(attrs: Mapping[Any, Any], what: str) -> str:
    """The title of a picture of something of a grid."""
    title = scale_of(attrs).title
    return f"{'Synthetic ' if attrs.get('synthetic') else ''}{title}, {what}"


def words_inches(words: Sequence[Words]) -> float:
    """Width of the longest of some lines."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    dots = 10 * 72  # an inch: a tenth of a point, so that rounding is nothing
    fine: Any = RendererAgg(1, 1, dots)  # type: ignore[no-untyped-call]
    widths = [
        fine.get_text_width_height_descent(line, FontProperties(size=size, weight=weight), False)[0]
        for text, size, weight in words
        for line in text.splitlines()
    ]
    return float(1.04 * max(widths, default=0.0) / dots)  # dots of a screen are rounded


def _ends(scale: Scale, limits: Range) -> list[str]:
    return [scale.number(value).replace("-", "\N{MINUS SIGN}") for value in limits]


def when_and_how(attrs: Mapping[Any, Any]) -> str:
    """What of which days and passes a grid is, as "2026-01-20, ascending passes"."""
    orbits = [orbit for orbit in str(attrs.get("orbit", "any")).split("+") if orbit != "any"]
    made = str(attrs.get("composite", ""))  # of several it names the passes of each
    passes = [f"{' and '.join(orbits)} passes"] if orbits and "(" not in made else []
    when = " ".join(filter(None, [str(attrs.get("day", "")), _hours(attrs)]))
    numbers = str(attrs.get("relative_orbits", "")).split()
    if len(numbers) == 1 and ACQUIRED_BEGIN in attrs:  # else it may be that of some records alone
        passes.append(f"relative orbit {numbers[0]}")
    parts = [part for part in (made, when) if part]
    return ", ".join(parts + passes)


def _hours(attrs: Mapping[Any, Any]) -> str:
    """From when to when the images of a single day were taken; "" where that is not known."""
    begin, end = (str(attrs.get(name, "")) for name in (ACQUIRED_BEGIN, ACQUIRED_END))
    if not begin or {begin[:10], end[:10]} != {str(attrs.get("day"))}:
        return ""
    first, last = begin[11:16], end[11:16]
    return f"{first} UTC" if first == last else f"{first}-{last} UTC"


def _degrees(letters: str) -> Callable[[float, int], str]:
    """A formatter of ticks such as 7.25°E; past 180 the longitudes go on as W."""

    def text(value: float, _position: int) -> str:
        value = wrap(value) if letters == "EW" else value
        number = f"{abs(value):.6f}".rstrip("0").rstrip(".")
        side = "" if number in ("0", "180") else letters[0] if value > 0 else letters[1]
        return f"{number}°{side}"

    return text
