"""Pictures: what is drawn is what was measured, at the right place, and can be read."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.offsetbox import AnchoredOffsetbox
from pyproj import Geod

import retrieve
from images import figure as drawing
from images.figure import plot_ranges, shrink
from images.scales import scale_of
from retrieve import plot
from tests.conftest import ROOT
from tests.rounds import seldom, torture, turns

GEOD = Geod(ellps="WGS84")
powers = st.one_of(st.just(np.nan), st.floats(0, 100, width=32))
fields = arrays(np.float32, st.tuples(st.integers(1, 23), st.integers(1, 23)), elements=powers)
shapes = st.tuples(st.integers(1, 30), st.integers(1, 30))


def grid(west=7.0, south=50.0, columns=50, rows=40, dlon=24e-4, dlat=15e-4, bands="VV VH", **attrs):
    """A speckled grid with a gap in its north-east corner and zeros in VH."""
    rng = np.random.default_rng(0)
    out = xr.Dataset(
        coords={
            "lat": south + (np.arange(rows) + 0.5) * dlat,
            "lon": west + (np.arange(columns) + 0.5) * dlon,
        },
        attrs={"day": "2026-01-20", "orbit": "any", "source": "measured", "synthetic": 0}
        | {"dlat": dlat, "dlon": dlon}
        | attrs,
    )
    for band, level in zip(bands.split(), (0.1, 0.02), strict=False):
        values = rng.gamma(4.4, level / 4.4, (rows, columns)).astype(np.float32)
        values[3 * rows // 4 + 1 :, 3 * columns // 4 + 1 :] = np.nan
        if band == "VH":
            values[: rows // 4, : columns // 4] = 0
        out[band] = (("lat", "lon"), values)
    return out


def drawn(dataset):
    """The figure, and its pixels as `savefig` makes them."""
    figure = plot(dataset)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return figure, np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


@pytest.fixture(scope="module")
def usual():
    """A grid, its figure and the pixels of that."""
    dataset = grid(columns=200, rows=160, orbit="descending", synthetic=1, source="made up")
    return dataset, *drawn(dataset)


def pixel(figure, image, axes, lon, lat):
    x, y = axes.transData.transform((lon, lat))
    return image[round(image.shape[0] - 1 - y), round(x)]


def maps(figure):
    return [axes for axes in figure.axes if axes.get_label().split()[-2:-1] != ["range"]]


@given(fields, shapes)
def test_shrinking_a_grid_keeps_its_energy_where_nothing_is_missing(field, shape):
    small = shrink(field, *shape)
    assert small.shape == tuple(min(n, m) for n, m in zip(field.shape, shape, strict=True))
    rows, columns = (
        np.diff(np.linspace(0, n, m + 1).astype(int))
        for n, m in zip(field.shape, small.shape, strict=True)
    )
    if np.isfinite(field).all():
        weights = np.outer(rows, columns)
        np.testing.assert_allclose((small * weights).sum(), field.sum(), rtol=1e-4, atol=1e-5)
    assert np.isnan(small).all() == np.isnan(field).all()


@given(fields)
def test_a_shrunk_pixel_is_the_mean_of_those_seen_in_its_block(field):
    rows, columns = field.shape
    small = shrink(np.kron(field, np.ones((3, 2), np.float32)), rows, columns)
    np.testing.assert_allclose(small, field, rtol=1e-6)
    with_hole = np.kron(field, np.array([[1, np.nan], [1, 1]], np.float32))
    np.testing.assert_allclose(shrink(with_hole, rows, columns), field, rtol=1e-6)


def test_black_and_white_are_the_2nd_and_98th_percentile_of_the_decibels(usual):
    dataset, figure, _ = usual
    ranges = plot_ranges(figure)
    for band in ("VV", "VH"):
        seen = dataset[band].values[dataset[band].values > 0]
        np.testing.assert_allclose(ranges[band], np.percentile(10 * np.log10(seen), [2, 98]), 1e-5)
    both = dataset["VH"].values > 0
    ratio = 10 * np.log10(dataset["VV"].values[both] / dataset["VH"].values[both])
    np.testing.assert_allclose(ranges["VV/VH"], np.percentile(ratio, [2, 98]), rtol=1e-5)


def test_the_colours_span_the_range_that_is_told(usual):
    dataset, figure, _ = usual
    ranges = plot_ranges(figure)
    assert list(retrieve.ranges(dataset).items()) == list(ranges.items())
    for axes, band in zip(maps(figure), ("VV", "VH"), strict=False):
        assert axes.images[0].get_clim() == pytest.approx(ranges[band])
        assert axes.images[0].get_cmap().name == "gray"


@pytest.mark.parametrize(
    ("bands", "panels"), [("VV VH", 3), ("VV", 1), ("VH", 1), ("HH HV", 2)]
)  # fmt: skip
def test_each_band_has_a_panel_and_vv_with_vh_a_composite(bands, panels):
    figure = plot(grid(bands=bands))
    assert len(maps(figure)) == panels
    words = [text.get_text() for text in figure.texts]
    assert set(bands.split()) <= set(words)
    assert ("VV, VH, VV/VH" in words) == (panels == 3)


def test_the_composite_is_red_vv_green_vh_blue_ratio():
    dataset = grid()
    for band in ("VV", "VH"):
        dataset[band][:] = 0.03
    rows, columns = dataset["VV"].shape
    third = columns // 3
    dataset["VV"][:, :third], dataset["VH"][:, :third] = 0.9, 0.0005  # much VV, high ratio
    dataset["VV"][:, -third:], dataset["VH"][:, -third:] = 0.001, 0.8  # much VH, low ratio
    figure, image = drawn(dataset)
    axes = maps(figure)[2]
    lat = float(dataset["lat"][rows // 2])
    assert list(pixel(figure, image, axes, float(dataset["lon"][2]), lat)) == [255, 0, 255]
    assert list(pixel(figure, image, axes, float(dataset["lon"][-3]), lat)) == [0, 255, 0]


def test_gaps_are_paper_with_hatching_and_zero_power_is_black(usual):
    dataset, figure, image = usual
    for axes in maps(figure):
        lon, lat = dataset["lon"].values, dataset["lat"].values
        gap = [pixel(figure, image, axes, x, y) for x in lon[-40:-5:3] for y in lat[-30:-5:3]]
        values = {tuple(value) for value in gap}
        assert (255, 255, 255) in values  # paper
        assert len(values) > 1  # and lines
    vh = maps(figure)[1]
    assert list(pixel(figure, image, vh, lon[10], lat[10])) == [0, 0, 0]
    assert "no data" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert not plot(grid(bands="VV").fillna(0.01)).legends


def test_the_map_lies_where_the_pixels_lie():
    dataset = grid(west=-71.2, south=-33.5, bands="VV")
    for axes in maps(plot(dataset)):
        west, east, south, north = -71.2, -71.2 + 50 * 24e-4, -33.5, -33.5 + 40 * 15e-4
        assert axes.get_xlim() == pytest.approx((west, east))
        assert axes.get_ylim() == pytest.approx((south, north))
        assert axes.images[-1].get_extent() == pytest.approx([west, east, south, north])
        assert axes.images[-1].origin == "lower"


def test_north_is_up_and_east_is_right():
    dataset = grid(bands="VV")
    dataset["VV"][:] = 0.001
    dataset["VV"][-10:, -10:] = 1
    figure, image = drawn(dataset)
    axes = maps(figure)[0]
    lon, lat = dataset["lon"].values, dataset["lat"].values
    assert list(pixel(figure, image, axes, lon[-3], lat[-3])) == [255, 255, 255]
    assert list(pixel(figure, image, axes, lon[3], lat[3])) == [0, 0, 0]
    box = axes.transData.transform([(lon[0], lat[0]), (lon[-1], lat[-1])])
    assert (box[1] > box[0]).all()


@pytest.mark.parametrize("south", [-0.03, 50.0, -33.5, 78.0, -84.97])
def test_a_kilometre_is_as_long_eastwards_as_northwards(south):
    figure, _ = drawn(grid(south=south, bands="VV"))
    axes = maps(figure)[0]
    (west, east), (low, high) = axes.get_xlim(), axes.get_ylim()
    middle = (low + high) / 2
    across = GEOD.line_length([west, (west + east) / 2, east], [middle] * 3)
    along = GEOD.line_length([west] * 3, [low, middle, high])
    size = axes.get_window_extent()
    assert (size.width / across) / (size.height / along) == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize(("south", "columns"), [(50.0, 50), (-0.03, 500), (78.0, 7)])
def test_the_scale_bar_is_as_long_as_it_says(south, columns):
    figure, _ = drawn(grid(south=south, columns=columns, bands="VV"))
    axes = maps(figure)[0]
    bars: list[Any] = [a for a in axes.artists if isinstance(a, AnchoredOffsetbox)]
    (bar,) = bars
    text, line = bar.get_child().get_children()
    shown = text.get_text().split()
    metres = float(shown[0]) * {"km": 1000, "m": 1}[shown[1]]
    (west, east), (low, high) = axes.get_xlim(), axes.get_ylim()
    middle = (low + high) / 2
    across = GEOD.line_length([west, (west + east) / 2, east], [middle] * 3)
    (path,) = line.get_children()
    ends = line.get_transform().transform(path.get_bbox().get_points())
    inches = (ends[1][0] - ends[0][0]) / axes.get_window_extent().width
    assert inches * across == pytest.approx(metres, rel=2e-3)


def test_the_title_has_day_bands_and_orbit_and_the_source_is_told(usual):
    words = " | ".join(text.get_text() for text in usual[1].texts)
    for word in ("Synthetic Sentinel-1", "2026-01-20", "VV and VH", "descending", "made up"):
        assert word in words
    words = " | ".join(text.get_text() for text in plot(grid(bands="VH")).texts)
    for word in ("Sentinel-1 backscatter, VH", "2026-01-20", "measured"):
        assert word in words
    assert "any" not in words
    assert "Synthetic" not in words


def test_axes_and_bars_carry_their_units(usual):
    _, figure, _ = usual
    first = maps(figure)[0]
    assert (first.get_xlabel(), first.get_ylabel()) == ("Longitude", "Latitude")
    assert all(label.get_text().endswith("°E") for label in first.get_xticklabels())
    assert all(label.get_text().endswith("°N") for label in first.get_yticklabels())
    bars = [axes for axes in figure.axes if axes not in maps(figure)]
    keys = [text.get_text() for text in figure.texts if text.get_gid() == drawing.KEY]
    words = [axes.get_xlabel() for axes in bars] + keys
    assert len(words) == 5
    assert all("dB" in each for each in words)


def test_longitudes_past_180_are_called_west():
    figure, _ = drawn(grid(west=179.85, dlon=0.006, bands="VV"))
    ticks = {text.get_text() for text in labels(maps(figure)[0])}
    assert {"179.9°E", "180°", "179.9°W"} <= ticks


def labels(axes):
    """All texts of the axes; of the ticks those that are in view."""
    found = [axes.xaxis.label, axes.yaxis.label, *axes.texts]
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        found += [
            tick.label1 if axis is axes.xaxis or tick.label1.get_visible() else tick.label2
            for tick in axis.get_major_ticks()
            if low - slack <= tick.get_loc() <= high + slack
        ]
    return [text for text in found if text.get_visible()]


BOXES: dict[str, dict[str, Any]] = {
    "one band": {"bands": "VV"},
    "wide": {"columns": 200},
    "tall": {"rows": 160},
    "thin": {"columns": 800, "rows": 3},
    "needle": {"columns": 2, "rows": 400},
    "tiny": {"columns": 3, "rows": 4, "dlon": 24e-5, "dlat": 15e-5},
    "one pixel": {"columns": 1, "rows": 1, "dlon": 24e-5, "dlat": 15e-5},
    "high north": {"south": 84.0, "dlon": 0.01},
    "nothing seen": {"rows": 4, "columns": 4, "empty": True},
}


@torture
@pytest.mark.parametrize("name", turns(BOXES))
def test_all_text_is_inside_the_figure_and_no_two_labels_touch(name):
    options = dict(BOXES[name])
    empty = options.pop("empty", False)
    dataset = grid(orbit="descending", synthetic=1, source=drawing.__doc__[:43], **options)
    figure, _ = drawn(dataset * np.nan if empty else dataset)
    texts = [*figure.texts, *(text for axes in figure.axes for text in labels(axes))]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    whole = figure.bbox.padded(0.5)
    for i, box in enumerate(boxes):
        assert whole.contains(box.x0, box.y0), name
        assert whole.contains(box.x1, box.y1), name
        for other in boxes[:i]:
            overlap = min(box.x1, other.x1) - max(box.x0, other.x0)
            rise = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert overlap < 1 or rise < 1, name


def test_a_large_grid_is_averaged_to_the_pixels_of_the_paper():
    figure = plot(grid(columns=2100, rows=2500, dlon=24e-5, dlat=15e-5, bands="VV"))
    for axes in maps(figure):
        width, height = axes.get_window_extent().size * retrieve.DPI / figure.dpi
        rows, columns = axes.images[-1].get_array().shape[:2]
        assert rows == pytest.approx(height, abs=2)
        assert columns == pytest.approx(width, abs=2)


def test_a_dataset_without_bands_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        plot(grid()[[]])


@seldom(2)
def test_no_display_no_window_and_pyplot_only_for_windows():
    code = """if True:
        import sys, numpy as np, xarray as xr, retrieve
        axis = [0.5, 1.5]
        dataset = xr.Dataset({"VV": (("lat", "lon"), np.eye(2))}, {"lat": axis, "lon": axis})
        picture = retrieve.plot(dataset)
        assert "matplotlib.pyplot" not in sys.modules
        assert retrieve.show(picture) is False
    """
    environment = os.environ | {"MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=ROOT, timeout=120)


@pytest.mark.parametrize(
    ("percentiles", "words"),
    [
        ((2, 98), "(2nd to 98th percentile)"),
        ((1, 99), "(1st to 99th percentile)"),
        ((11, 93), "(11th to 93rd percentile)"),
        ((2.5, 97.5), "(2.5th to 97.5th percentile)"),
    ],
)
def test_a_range_is_told_by_the_percentiles_that_made_it(percentiles, words, monkeypatch):
    monkeypatch.setattr(retrieve, "PERCENTILES", percentiles)
    assert retrieve.range_words(-20.0, -5.0) == f"-20.0 to -5.0 dB {words}"


def test_of_a_nearly_even_band_no_number_is_told_that_no_pixel_has():
    even = np.full((3, 3), -12.0, np.float32)
    found = drawing.shown_range(scale_of({}), "VV", even, retrieve.settings().look)
    assert found is not None
    assert retrieve.range_words(*found) == "about -12.0 dB, nearly the same everywhere"
