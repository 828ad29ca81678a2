"""Where things stand in a picture: all of it on the paper, titles over their panels, apart."""

from __future__ import annotations

import itertools

import colorspacious
import numpy as np
import pytest
import xarray as xr
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox

import retrieve
from images import coast, line, series, tile_map
from images import figure as drawing
from images.lazy import ORBIT_FLAGS
from images.locator import LOCATOR
from images.scales import COLOURS, Scale
from shared.collection import SENTINEL2, attributes_of, with_bands
from shared.land import land
from tests.images.test_tables import table_of
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
    "20 to 1": (7.0, 50.0, 2.0, 0.0643),
    "1 to 20": (7.0, 50.0, 0.0778, 1.0),
    "3 x 3 pixels": (7.00012, 50.00012, 0.00072, 0.00045),
    "at 85 N": (20.0, 84.5, 10.0, 1.0),
    "a country": (5.0, 47.0, 11.0, 8.0),
}
LARGE = {  # land and sea of a large box take a second
    "a continent": (-12.0, 34.0, 60.0, 38.0),
    "half the globe": (100.0, -60.0, 160.0, 120.0),
}
PIXELS = {"3 x 3 pixels": 3}
LONG = (
    "contains modified Copernicus Sentinel data 2025-2026, processed by somebody at an institute "
    "with a very long name in a country far away"
)
BANDS = ("VV", "VH", "HH")
NUMBERS = (1, 2, 3, 5, 24, 30)


CLASSES = Scale(SENTINEL2.product)


def cube(name, days, bands, pixels=12):
    """Noise in a box, with a gap, on so many days."""
    west, south, width, height = (BOXES | LARGE)[name]
    pixels = PIXELS.get(name, pixels)
    rng = np.random.default_rng(1)
    dlat, dlon = height / pixels, width / pixels
    values = rng.gamma(4.0, 0.02, (days, pixels, pixels)).astype(np.float32)
    values[:, -(pixels // 4 or 1) :, -(pixels // 4 or 1) :] = np.nan
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


def filled(dataset, kind):
    """A cube of gaps alone, of one value, of zeros, or with long names around it."""
    if kind == "long":
        return dataset.assign_attrs(source=LONG, orbit="ascending+descending", synthetic=1)
    value = {"gaps": np.nan, "constant": 0.05, "zero": 0.0}[kind]
    return dataset.map(lambda band: band.copy(data=np.full_like(band, value)), keep_attrs=True)


def timed(dataset, step):
    """A cube whose images are so many days apart."""
    days = np.arange(dataset.sizes["time"]) * np.timedelta64(step, "D")
    time = np.datetime64("2026-01-20", "s") + days
    day = " to ".join(str(t)[:10] for t in time[[0, -1]])
    return dataset.assign_coords(time=time).assign_attrs(day=day)


def drawn(figure):
    """The renderer of a figure whose things have their places: pixels are of no account here."""
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    return canvas.get_renderer()


def off_the_paper(figure):
    """Whatever of a figure is not wholly on its paper: half a dot is the rounding of the edges."""
    renderer = drawn(figure)
    paper = figure.bbox.padded(0.5)
    things = [*figure.axes, *figure.artists, *figure.texts, *figure.legends]
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


def things(figure):
    """Whatever of a figure must not touch another: its name, and where it is, in dots.

    Of axes that is their frame; what is in it belongs there.
    """
    renderer = drawn(figure)
    every = [*figure.texts, *(date(axes) for axes in figure.axes)]
    every += [text for axes in figure.axes for text in labels(axes)]
    found = [(f"text {text.get_text()}", text) for text in every if text.get_text().strip()]
    found += [(f"axes {axes.get_label()} {i}", axes.patch) for i, axes in enumerate(figure.axes)]
    bars = [
        bar for axes in figure.axes for bar in axes.artists if isinstance(bar, AnchoredOffsetbox)
    ]
    legends = [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    ramps = [one for one in figure.artists if one.get_gid() == drawing.KEY]
    found += [(f"ramp {ramp.get_label()} {i}", ramp) for i, ramp in enumerate(ramps)]
    found += [("globe", one) for one in figure.artists if one.get_gid() == LOCATOR]
    found += [("legend", legend) for legend in [*figure.legends, *legends, *bars]]
    return [(name, thing.get_window_extent(renderer)) for name, thing in found]


def touching(figure):
    """Pairs of things that lie on each other by more than a dot."""
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(things(figure), 2)
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


@torture
@pytest.mark.parametrize(("name", "days", "bands"), combinations(BOXES, NUMBERS, (1, 2, 3), most=4))
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
    assert touching(figure) == []


@torture
@pytest.mark.parametrize(
    ("name", "bands"),
    combinations(BOXES, (("sunZenithAngles", "viewAzimuthMean"), ("AOT", "SCL"), ("WVP",)), most=3),
)
def test_what_stands_at_a_bar_is_no_longer_than_the_bar(name, bands):
    dataset = cube(name, 1, bands)
    dataset.attrs |= attributes_of(with_bands(SENTINEL2.product, bands))
    figure = retrieve.plot(dataset.isel(time=0))
    assert off_the_paper(figure) == []
    assert touching(figure) == []


@torture
@pytest.mark.parametrize(("name", "bands"), combinations(BOXES, (1, 2, 3), most=3))
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
    assert touching(figure) == []


@torture
@pytest.mark.parametrize(("name", "bands"), combinations(BOXES, (1, 2, 3), most=3))
def test_all_of_a_frame_is_on_the_paper(name, bands):
    dataset = cube(name, 2, BANDS[:bands])
    for figure in series.frames_of(dataset, retrieve.settings().look):
        assert off_the_paper(figure) == []
        assert touching(figure) == []


@torture
@pytest.mark.parametrize(
    ("kind", "name", "days"),
    combinations(
        ("gaps", "constant", "zero", "long"), ("usual", "1 to 20", "20 to 1"), (1, 2, 40), most=3
    ),
)
def test_what_is_odd_is_on_the_paper_as_well(kind, name, days):
    dataset = filled(cube(name, days, BANDS), kind)
    figures = [retrieve.plot(dataset)]
    if days > 1:
        figures.append(line.plot_line(line.statistics(dataset), dataset.attrs))
        figures += itertools.islice(series.frames_of(dataset, retrieve.settings().look), 1)
    for figure in figures:
        assert off_the_paper(figure) == []
        assert touching(figure) == []
        assert ("no data" in words(figure)) == (kind in ("gaps", "long")) or figure.axes[0].lines


def words(figure):
    """What the legends of a figure say."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


# --- lines ---


@pytest.mark.parametrize(
    ("days", "step", "ticks"),
    [
        (2, 1, ["2026-01-20", "2026-01-21"]),
        (3, 1, ["2026-01-20", "2026-01-21", "2026-01-22"]),
        (4, 12, ["2026-01-20", "2026-02-01", "2026-02-13", "2026-02-25"]),
        (2, 400, ["2026-01-20", "2027-02-24"]),
    ],
)
@pytest.mark.parametrize("kind", [None, "gaps", "constant"])
def test_a_line_of_a_few_days_has_its_ticks_at_the_days(days, step, ticks, kind):
    dataset = timed(cube("usual", days, BANDS), step)
    dataset = filled(dataset, kind) if kind else dataset
    figure = line.plot_line(line.statistics(dataset), dataset.attrs)
    drawn(figure)
    axis = figure.axes[0].xaxis
    assert [text.get_text() for text in axis.get_ticklabels()] == ticks
    numbers = np.array(ticks, "datetime64[D]").astype(float)
    assert axis.get_majorticklocs().tolist() == numbers.tolist()


@torture
@pytest.mark.parametrize(("days", "step"), combinations((1, 2, 3, 7, 40, 300), (1, 6, 12, 40)))
def test_the_ticks_of_a_line_are_whole_days_and_a_few_of_them(days, step):
    dataset = timed(cube("usual", days, ("VV",), pixels=2), step)
    figure = line.plot_line(line.statistics(dataset), dataset.attrs)
    assert off_the_paper(figure) == []
    assert touching(figure) == []
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    seen = [at for at in axes.get_xticks() if low <= at <= high]
    assert 1 <= len(seen) <= 8
    assert all(at == round(at) for at in seen)
    drawn = [np.asarray(each.get_xdata(orig=False), float) for each in axes.lines]
    first = min(each[0] for each in drawn if each.size)
    assert low < first <= high


PASSES = ("ascending", "descending")
RELATIVE = ("15", "88", "139", "several", "not known")
LONG_NAME = "field $x^$ \u00e4 with a name that is much longer than what its panel has room for"


@torture
@pytest.mark.parametrize(
    ("features", "days", "bands", "relative"),
    combinations((1, 2, 3, 4, 5, 9, 24, 30), (1, 2, 3, 10), (1, 3), ((), RELATIVE), most=3),
)
def test_all_of_small_multiples_is_on_the_paper(features, days, bands, relative):
    relative = relative if features < 10 else ()  # 720 lines take their time
    table = table_of(features, days, BANDS[:bands], PASSES, relative)
    table.attrs["source"] = LONG
    table["feature"] = table["feature"].replace("field 1", LONG_NAME).replace("field 2", " \n ")
    figure = retrieve.plot_line(table)
    assert off_the_paper(figure) == []
    assert touching(figure) == []


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_features_without_a_value_have_panels_and_no_numbers(value):
    table = table_of(3, 3, passes=PASSES)
    table[["mean_dB", "low_dB", "high_dB"]] = value
    table["seen"] = 0.0 if np.isnan(value) else 1.0
    figure = retrieve.plot_line(table)
    assert off_the_paper(figure) == []
    assert touching(figure) == []
    assert all(not axes.get_yticks().size for axes in figure.axes)
    titles = [axes.get_title(loc="left").endswith("(not seen)") for axes in figure.axes]
    assert titles == [bool(np.isnan(value))] * 3


@torture
@pytest.mark.parametrize(("days", "bands"), combinations((1, 2, 12), (1, 2, 3)))
def test_all_of_a_line_of_each_relative_orbit_is_on_the_paper(days, bands):
    table = table_of(1, days, BANDS[:bands], PASSES, RELATIVE)
    rows = table.assign(day=table["day"].dt.strftime("%Y-%m-%d")).to_dict("records")
    figure = line.plot_line(rows, cube("usual", 1, ("VV",)).attrs)
    assert off_the_paper(figure) == []
    assert touching(figure) == []
    (axes,) = figure.axes
    named = [one for one in axes.get_lines() if one.get_marker() != "x"]  # that is: not seen
    looks = [(one.get_color(), one.get_marker(), one.get_linestyle()) for one in named]
    assert len(set(looks)) == len(looks) == 10 * bands


# --- what can be told apart ---

FEWEST = 10  # in CAM02-UCS, where 1 is a difference that can just be seen


def as_seen(colours, kind):
    """Colours, sRGB from 0 to 1, as somebody without a kind of cones sees them: in CAM02-UCS."""
    colours = np.array([to_rgb(colour) for colour in colours])
    if kind:
        space = {"name": "sRGB1+CVD", "cvd_type": kind, "severity": 100}
        colours = np.clip(colorspacious.cspace_convert(colours, space, "sRGB1"), 0, 1)
    return colorspacious.cspace_convert(colours, "sRGB1", "CAM02-UCS")


@pytest.mark.parametrize("kind", [None, "deuteranomaly", "protanomaly"])
def test_colours_of_lines_and_classes_are_told_apart_by_whoever_is_colour_blind(kind):
    dataset = cube("usual", 3, ("VV", "VH", "HH", "HV"))
    (axes,) = line.plot_line(line.statistics(dataset), dataset.attrs).axes
    handles, _ = axes.get_legend_handles_labels()
    named = [each for each in handles if isinstance(each, Line2D)]
    lines = [each.get_color() for each in named]
    assert len({each.get_marker() for each in named}) == len(named) == 4
    map_of_classes = [drawing.colour_map(CLASSES, "SCL", (-0.5, 11.5))(i) for i in range(12)]
    for colours in (lines, map_of_classes, COLOURS):
        seen = as_seen(colours, kind)
        apart = np.linalg.norm(seen[:, None] - seen, axis=-1)
        assert apart[np.triu_indices(len(seen), 1)].min() > FEWEST


@pytest.mark.parametrize("kind", [None, "deuteranomaly", "protanomaly"])
def test_more_records_are_darker_for_whoever_is_colour_blind(kind):
    """And each tile is told from land and sea by its lightness or its colour."""
    shades = as_seen(colormaps[tile_map.TILE_COLOURS](np.linspace(0.2, 1, 5))[:, :3], kind)
    assert (np.diff(shades[:, 0]) < -5).all()
    ground = as_seen([tile_map.LAND, tile_map.SEA], kind)
    assert np.linalg.norm(shades[:, None] - ground, axis=-1).min() > 5


# --- where on the Earth ---


def coast_of(axes):
    return [c for c in axes.collections if isinstance(c, LineCollection) and c.get_segments()]


@pytest.mark.parametrize("days", [1, 2])
def test_a_large_box_has_its_coast_and_a_small_one_has_none(days):
    for name, has_coast in (("a country", True), ("a continent", True), ("3 x 3 pixels", False)):
        for axes in maps(retrieve.plot(cube(name, days, ("VV",)))):
            if axes.get_label() == drawing.MAP:
                assert bool(coast_of(axes)) == has_coast
                assert axes.xaxis.get_gridlines()[0].get_visible() == has_coast


def test_the_coast_lies_between_land_and_sea():
    west, south, width, height = BOXES["a country"]
    lines = coast.coast((west, west + width, south, south + height))
    step = 1 / 120  # every pixel of the mask
    lon, lat = np.arange(west, west + width, step), np.arange(south + height, south, -step)
    mask = land(lat, lon)
    for x, y in np.concatenate(lines)[::20]:
        column, row = round((x - west) / step), round((south + height - y) / step)
        around = mask[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
        assert around.any()
        assert not around.all()
