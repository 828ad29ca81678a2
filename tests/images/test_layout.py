"""Where things stand in a picture: all of it on the paper, titles over their panels, apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.offsetbox import AnchoredOffsetbox

import retrieve
from images import figure as drawing
from images import line, series
from images.lazy import ORBIT_FLAGS
from tests.rounds import combinations, torture

BOXES = {  # west, south, width, height in degrees
    "wide": (3.0, 50.5, 2.0, 0.3),
    "usual": (3.0, 50.5, 2.0, 1.0),
    "whole degrees": (3.0, 50.0, 2.0, 1.0),
    "square": (7.0, 50.0, 1.0, 0.64),
    "tall": (7.0, 50.0, 0.2, 1.0),
    "needle": (7.0, 50.0, 0.004, 0.5),
    "thin": (7.0, 50.0, 2.0, 0.005),
    "tiny": (7.00012, 50.00012, 0.0012, 0.00075),
    "north pole": (-30.0, 88.0, 60.0, 2.0),
    "south": (-71.25, -33.5, 0.5, 0.5),
    "across 180": (179.5, -17.0, 1.0, 1.0),
}
BANDS = ("VV", "VH", "HH")
NUMBERS = (1, 2, 3, 5, 24, 30)


def cube(name, days, bands, pixels=12):
    """Noise in a box, with a gap, on so many days."""
    west, south, width, height = BOXES[name]
    rng = np.random.default_rng(1)
    dlat, dlon = height / pixels, width / pixels
    values = rng.gamma(4.0, 0.02, (days, pixels, pixels)).astype(np.float32)
    values[:, -3:, -3:] = np.nan
    time = np.datetime64("2026-01-20", "s") + np.arange(days) * np.timedelta64(6, "D")
    return xr.Dataset(
        {band: (("time", "lat", "lon"), values * (i + 1)) for i, band in enumerate(bands)},
        {
            "lat": south + (np.arange(pixels) + 0.5) * dlat,
            "lon": west + (np.arange(pixels) + 0.5) * dlon,
            "time": time,
            "orbit": ("time", np.zeros(days, np.int8), ORBIT_FLAGS),
        },
        {
            "day": " to ".join(dict.fromkeys(str(t)[:10] for t in time[[0, -1]])),
            "orbit": "ascending+descending",
            "source": "contains modified Copernicus Sentinel data 2025-2026",
            "synthetic": 1,
            "bbox": f"{west},{south},{west + width},{south + height}",
            "dlat": dlat,
            "dlon": dlon,
        },
    )  # fmt: skip


def drawn(figure):
    """The renderer of a figure whose things have their places: pixels are of no account here."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return canvas.get_renderer()


def off_the_paper(figure):
    """Whatever of a figure is not wholly on its paper: half a dot is the rounding of the edges."""
    renderer = drawn(figure)
    paper = figure.bbox.padded(0.5)
    things = [*figure.axes, *figure.texts, *figure.legends]
    boxes = [(thing, thing.get_tightbbox(renderer)) for thing in things]
    return [
        (str(thing), (box.extents - figure.bbox.extents).round(1).tolist())
        for thing, box in boxes
        if box is not None and not (
            paper.contains(box.x0, box.y0) and paper.contains(box.x1, box.y1)
        )
    ]  # fmt: skip


def maps(figure):
    return [axes for axes in figure.axes if axes.get_label().split()[-2:-1] != ["range"]]


def titles(figure):
    """The title over each map: its text and where it is."""
    renderer = figure.canvas.get_renderer()
    names = [text for text in figure.texts if text.get_gid() == drawing.TITLE]
    names += [date(axes) for axes in maps(figure) if date(axes).get_text()]
    return [(text, text.get_window_extent(renderer)) for text in names]


def date(axes):
    """The date over an image of several."""
    return max((axes.title, axes._left_title), key=lambda text: len(text.get_text()))


def labels(axes):
    """The labels of the ticks that are in view, and of the axes."""
    found = [axes.xaxis.label, axes.yaxis.label]
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        ticks = [t for t in axis.get_major_ticks() if low - slack <= t.get_loc() <= high + slack]
        found += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    return [text for text in found if text.get_visible() and text.get_text()]


def meeting(texts):
    """Pairs of texts that lie on each other."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


@torture
@pytest.mark.parametrize(("name", "days", "bands"), combinations(BOXES, NUMBERS, (1, 2, 3)))
def test_all_is_on_the_paper_and_titles_stand_over_their_panels(name, days, bands):
    figure = retrieve.plot(cube(name, days, BANDS[:bands]))
    assert off_the_paper(figure) == []
    panels = maps(figure)
    over = titles(figure)
    assert len(over) == len(panels)
    dot = figure.dpi / 72
    for axes, (text, title) in zip(panels, over, strict=True):
        panel = axes.get_window_extent()
        assert title.y0 > panel.y1 - dot, text
        assert title.y0 < panel.y1 + 25 * dot, text
        middle = (title.x0 + title.x1) / 2
        is_wider = title.width > panel.width
        at = (panel.x0 + panel.x1) / 2 if is_wider else min(max(middle, panel.x0), panel.x1)
        assert abs(middle - at) < 3 * dot, f"{text} does not stand over its panel"
    texts = [*figure.texts, *(date(axes) for axes in panels)]
    texts += [text for axes in figure.axes for text in labels(axes)]
    assert meeting([text for text in texts if text.get_text()]) == []


@torture
@pytest.mark.parametrize(("name", "bands"), combinations(BOXES, (1, 2, 3)))
def test_the_scale_bar_stands_over_its_panel_and_on_no_text(name, bands):
    figure = retrieve.plot(cube(name, 1, BANDS[:bands]))
    renderer = drawn(figure)
    first = maps(figure)[0]
    (bar,) = (a for a in first.artists if isinstance(a, AnchoredOffsetbox))
    box, panel = bar.get_window_extent(renderer), first.get_window_extent()
    assert box.y0 >= panel.y1 - 1
    assert box.y0 < panel.y1 + 10
    assert panel.x0 - 1 <= (box.x0 + box.x1) / 2 <= panel.x1 + 1
    if box.width < panel.width:
        assert box.x0 >= panel.x0 - 1
        assert box.x1 <= panel.x1 + 1
    for text in figure.texts:
        other = text.get_window_extent(renderer)
        apart = min(box.x1, other.x1) - max(box.x0, other.x0) <= 1
        assert apart or min(box.y1, other.y1) - max(box.y0, other.y0) <= 1, text.get_text()


@pytest.mark.parametrize("days", [1, 3])
@pytest.mark.parametrize("short", [0.0, 8e-5, 2e-3])
def test_a_tick_on_the_edge_of_the_box_is_there(days, short):
    """Pixels seldom fill a box to the last: the edge of the grid is then a bit inside of it."""
    dataset = cube("whole degrees", days, ("VV",))
    dataset["lon"] = 3 + (dataset["lon"] - 3) * (1 - short / 2)
    dataset["lat"] = 50 + (dataset["lat"] - 50) * (1 - short / 2)
    figure = retrieve.plot(dataset)
    drawn(figure)
    for axes in maps(figure):
        shown = {text.get_text() for text in labels(axes)}
        assert "5°E" in shown or not axes.xaxis.get_tick_params()["labelbottom"]
        assert "51°N" in shown or not axes.yaxis.get_tick_params()["labelleft"]
    everywhere = {text.get_text() for axes in maps(figure) for text in labels(axes)}
    assert {"3°E", "50°N"} <= everywhere


@torture
@pytest.mark.parametrize(
    ("power", "days", "bands"), combinations((1e-5, 1.0, 1e5), (2, 3, 30), (1, 2, 3))
)
def test_all_of_a_line_is_on_the_paper(days, bands, power):
    dataset = cube("usual", days, BANDS[:bands])
    dataset = dataset.assign({band: dataset[band] * power for band in BANDS[:bands]})
    dataset.attrs["bbox"] = "-170.123456789,-50.123456789,-169.123456789,-49.123456789"
    figure = line.plot_line(line.statistics(dataset), dataset.attrs)
    assert off_the_paper(figure) == []
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    assert meeting([*figure.texts, *legend.get_texts(), *labels(axes)]) == []


@torture
@pytest.mark.parametrize(("name", "bands"), combinations(BOXES, (1, 2, 3)))
def test_all_of_a_frame_is_on_the_paper(name, bands):
    dataset = cube(name, 2, BANDS[:bands])
    for figure in series.frames_of(dataset, retrieve.settings().look):
        assert off_the_paper(figure) == []
        assert meeting([*figure.texts, *(t for axes in figure.axes for t in labels(axes))]) == []
