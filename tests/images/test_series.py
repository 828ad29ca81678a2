"""Several days: side by side, one after the other, as a line, as numbers, in a file."""

from __future__ import annotations

import csv
import datetime as dt
import itertools
import math
from dataclasses import replace
from typing import Any

import google_crc32c
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
from PIL import GifImagePlugin, Image

import retrieve
from grid import Chunk
from images import line, netcdf, pieces, series
from images.grids import georeferenced
from images.lazy import ORBIT_FLAGS
from retrieve import animate, export, plot, plot_line, save_line, statistics
from store import Archive
from tests.archive.test_contents import ORIGIN, cells_of
from tests.images.test_export import assert_cf, grid
from tests.rounds import torture, turns
from tests.sphere import tile_at

FIRST = np.datetime64("2026-01-20", "s")


def cube(days=5, lazy=False, bands=("VV", "VH"), **size):
    """Images of every sixth day, each a decibel brighter than the one before."""
    one = grid(bands=bands, **size).drop_vars("time")
    steps = [one * np.float32(10 ** (i / 10)) for i in range(days)]
    out = xr.concat([step.drop_vars("crs") for step in steps], "time")
    time = FIRST + np.arange(days) * np.timedelta64(6, "D")
    out = out.assign_coords(time=time, crs=one["crs"])
    out["orbit"] = ("time", (np.arange(days) % 2 + 1).astype(np.int8), ORBIT_FLAGS)
    out = out.set_coords("orbit")
    out.attrs = one.attrs | {"day": "2026-01-20 to 2026-02-13", "bbox": "7,50,7.12,50.09"}
    out = georeferenced(out.transpose("time", "lat", "lon"))
    return out.chunk({"time": 1, "lat": 17, "lon": 23}) if lazy else out


# --- files ---


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """A field on three days: taken in one pass, in two of two satellites, and nobody knows when."""
    tile, day = tile_at(7, 50, (0.02, 0.02)), dt.date(2026, 1, 20)
    archive = Archive(tmp_path_factory.mktemp("timed") / "a")
    about: list[dict[str, Any]] = [
        {"acquired": ("2026-01-20T17:16:40Z/2026-01-20T17:17:05Z",), "relative_orbits": (88,),
         "platforms": ("sentinel-1a",)},
        {"acquired": ("2026-01-21T17:08:40Z/2026-01-21T17:09:05Z",
                      "2026-01-21T05:42:00Z/2026-01-21T05:42:25Z"),
         "relative_orbits": (15, 139), "platforms": ("sentinel-1a", "sentinel-1c")},
        {},
    ]  # fmt: skip
    for number, known in enumerate(about):
        chunk = Chunk(tile, day + dt.timedelta(days=number), "ascending")
        archive.write(chunk, cells_of(tile, number), replace(ORIGIN, **known))
    return archive, tile.bbox, day


BEGINS = ["2026-01-20T17:16:40", "2026-01-21T05:42:00", "NaT"]
ENDS = ["2026-01-20T17:17:05", "2026-01-21T17:09:05", "NaT"]


@pytest.mark.parametrize("suffix", ["all", "one"])
def test_times_platforms_and_orbits_are_coordinates_of_grids_and_of_netcdf(timed, tmp_path, suffix):
    archive, bbox, day = timed
    last = day + dt.timedelta(days=2)
    lazy = retrieve.open(archive, bbox, day, last)
    grid = lazy if suffix == "all" else retrieve.retrieve(archive, bbox, day)
    xr.testing.assert_equal(lazy.compute(), retrieve.load(archive, bbox, day, last))
    path = export(grid, tmp_path / "a.nc")
    size = 3 if suffix == "all" else 1
    with xr.open_dataset(path, decode_coords="all") as back:
        for found in (grid, back):
            begins, ends = (np.atleast_1d(found[f"acquired_{n}"].values) for n in ("begin", "end"))
            np.testing.assert_array_equal(begins, np.array(BEGINS[:size], "datetime64[s]"))
            np.testing.assert_array_equal(ends, np.array(ENDS[:size], "datetime64[s]"))
            platforms = [str(name) for name in np.atleast_1d(found["platform"].values)]
            assert platforms == ["sentinel-1a", "sentinel-1a+sentinel-1c", ""][:size]
            assert np.atleast_1d(found["relative_orbit"].values).tolist() == [88, -1, 0][:size]
        np.testing.assert_array_equal(back["VV"].values, grid["VV"].values)
        if suffix == "one":
            assert back.attrs["time_coverage_start"] == f"{BEGINS[0]}Z"
        begin, end = back["acquired_bnds"].values.T
        np.testing.assert_array_equal(begin, back["acquired_begin"].values)
        np.testing.assert_array_equal(end, back["acquired_end"].values)
        begin, end = back["time_bnds"].values.T
        np.testing.assert_array_equal(begin, back["time"].values)
        np.testing.assert_array_equal(end - begin, np.timedelta64(1, "D"))
    assert_cf(path, tmp_path)


def test_the_layers_of_a_geotiff_say_when_they_were_taken(timed, tmp_path):
    archive, bbox, day = timed
    grid = retrieve.open(archive, bbox, day, day + dt.timedelta(days=2))
    with rasterio.open(export(grid, tmp_path / "a.tif")) as back:
        tags = [back.tags(layer) for layer in (1, 4, 5)]
    names = ("acquired_begin", "acquired_end", "platform", "relative_orbit")
    assert [[tag.get(name) for name in names] for tag in tags] == [
        [f"{BEGINS[0]}Z", f"{ENDS[0]}Z", "sentinel-1a", "88"],
        [f"{BEGINS[1]}Z", f"{ENDS[1]}Z", "sentinel-1a+sentinel-1c", "-1"],
        [None] * 4,
    ]
    with rasterio.open(export(grid.isel(time=0), tmp_path / "b.tif")) as back:
        assert back.tags(2)["acquired_begin"] == f"{BEGINS[0]}Z"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "2026-01-20 17:16-17:17 UTC, ascending passes, relative orbit 88"),
        (1, "2026-01-21 05:42-17:09 UTC, ascending passes"),
        (2, "2026-01-22, ascending passes"),
    ],
)
def test_a_picture_says_when_it_was_taken(timed, number, words):
    archive, bbox, day = timed
    image = retrieve.retrieve(archive, bbox, day + dt.timedelta(days=number))
    assert words in [text.get_text() for text in retrieve.plot(image).texts]


def test_a_period_is_selected_by_slices(timed):
    archive, bbox, day = timed
    grid = retrieve.open(archive, bbox, day, day + dt.timedelta(days=2))
    assert grid.sel(time=slice("2026-01-20", "2026-01-21")).sizes["time"] == 2
    by_begin = grid.isel(time=[0, 1]).swap_dims(time="acquired_begin")
    morning = by_begin.sel(acquired_begin=slice("2026-01-21T05", "2026-01-21T06"))
    assert morning.platform.values.tolist() == ["sentinel-1a+sentinel-1c"]


@pytest.mark.parametrize("how", [{"composite": "mean"}, {"as_of": 5}])
def test_one_image_of_several_days_has_the_times_of_all_of_them(timed, tmp_path, how):
    archive, bbox, day = timed
    second = day + dt.timedelta(days=1)
    asked = (day, second) if "composite" in how else (second,)
    grid = retrieve.open(archive, bbox, *asked, **how)
    used = grid.attrs.get("days_used", str(second)).split()
    first = used[0]
    with xr.open_dataset(export(grid, tmp_path / "a.nc"), decode_coords="all") as back:
        begin, end = back["time_bnds"].values[0]
        assert (begin, end) == (np.datetime64(first), np.datetime64("2026-01-22"))
        assert back["acquired_begin"].values[0] == np.datetime64(BEGINS[used == ["2026-01-21"]])
        assert back["acquired_end"].values[0] == np.datetime64(ENDS[1])
        assert back["relative_orbit"].values.tolist() == [-1]
        assert back["platform"].values.tolist() == ["sentinel-1a+sentinel-1c"]
    assert_cf(tmp_path / "a.nc", tmp_path)
    unknown = retrieve.open(archive, bbox, day, day + dt.timedelta(days=2), composite="max")
    assert np.isnat(unknown["acquired_begin"].values).all()
    assert unknown["relative_orbit"].values.tolist() == [0]


@pytest.mark.parametrize("lazy", [False, True])
def test_a_netcdf_file_of_several_days_has_a_time_axis_and_passes_the_cf_checker(tmp_path, lazy):
    path = export(cube(lazy=lazy), tmp_path / "a.nc")
    with xr.open_dataset(path, decode_coords="all") as back:
        np.testing.assert_array_equal(back["VV"], cube()["VV"])
        assert back["time"].values.tolist() == cube()["time"].values.astype("M8[ns]").tolist()
        assert back["orbit"].values.tolist() == [1, 2, 1, 2, 1]
        assert back["VH"].attrs["standard_name"].startswith("surface_backwards_scattering")
        assert back.attrs["time_coverage_start"] == "2026-01-20T00:00:00Z"
        assert back.attrs["time_coverage_end"] == "2026-02-14T00:00:00Z"
    assert_cf(path, tmp_path)


def test_a_geotiff_of_several_days_has_a_named_layer_for_each_day_and_band(tmp_path):
    dataset = cube(days=3)
    with rasterio.open(export(dataset, tmp_path / "a.tif")) as back:
        assert back.descriptions[:3] == ("VV 2026-01-20", "VH 2026-01-20", "VV 2026-01-26")
        for i in range(3):
            np.testing.assert_array_equal(back.read(2 * i + 2)[::-1], dataset["VH"].values[i])


@pytest.mark.parametrize("days", [1, 2])
def test_overviews_are_those_of_gdals_cog_driver_and_layers_are_apart(tmp_path, days):
    dataset = cube(days=days, rows=1100, columns=600, dlat=15e-5, dlon=24e-5)
    dataset["VH"].values[:, 300:500, :200] = np.nan
    path = export(dataset if days > 1 else dataset.isel(time=0), tmp_path / "a.tif")
    with rasterio.open(path) as back:
        assert back.overviews(1) == [2, 4]
        assert back.block_shapes[0] == (512, 512)
        layered = rasterio.enums.Interleaving.band
        assert (back.interleaving == layered) == (days > 1)
        profile = back.profile | {"driver": "GTiff"}
        with rasterio.open(tmp_path / "plain.tif", "w", **profile) as plain:
            plain.write(back.read())
    rasterio.shutil.copy(
        tmp_path / "plain.tif", tmp_path / "cog.tif", driver="COG", overview_resampling="average"
    )
    for level in (0, 1):
        with (
            rasterio.open(path, overview_level=level) as ours,
            rasterio.open(tmp_path / "cog.tif", overview_level=level) as theirs,
        ):
            np.testing.assert_array_equal(ours.read(), theirs.read())


@pytest.mark.parametrize("small", [0, pieces.SMALL], ids=["on dask", "small"])
@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_a_grid_of_many_blocks_is_the_same_file_as_one_of_a_single_block(
    tmp_path, monkeypatch, suffix, small
):
    dataset = grid(rows=150, columns=170)
    monkeypatch.setattr(pieces, "SMALL", small)
    monkeypatch.setattr(netcdf, "CHUNK", 32)
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(pieces, "SIDE", 64)
    path = export(dataset, tmp_path / f"a{suffix}", progress=lambda *n: calls.append(n))
    assert calls == [(i, 9) for i in range(1, 10)]
    if suffix == ".nc":
        with xr.open_dataset(path) as back:
            np.testing.assert_array_equal(back["VH"], dataset["VH"])
            assert back["VH"].encoding["chunksizes"] == (32, 32)
    else:
        with rasterio.open(path) as back:
            np.testing.assert_array_equal(back.read(1)[::-1], dataset["VV"])


def test_a_file_that_reads_back_differently_is_not_kept(tmp_path, monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(google_crc32c, "value", lambda _data: next(numbers))
    for suffix in (".nc", ".tif"):
        with pytest.raises(OSError, match="does not read back"):
            export(grid(), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


# --- pictures ---


def test_each_day_has_a_panel_with_its_date_and_all_have_the_same_colours():
    drawn = plot(cube())
    assert retrieve.ranges(cube()) == retrieve.plot_ranges(drawn)
    titles = [axes.get_title(loc="left") for axes in drawn.axes if axes.get_title(loc="left")]
    assert titles == ["2026-01-20", "2026-01-26", "2026-02-01", "2026-02-07", "2026-02-13"]
    words = [text.get_text() for text in drawn.texts]
    assert "2026-01-20 to 2026-02-13, ascending passes" in words
    assert "synthetic data" in words
    assert set(retrieve.plot_ranges(drawn)) == {"VV", "VH", "VV/VH"}
    images = [axes.images[0].get_array() for axes in drawn.axes[:5]]
    brightness = [float(np.asarray(image)[20:40, 20:40, 0].mean()) for image in images]
    assert brightness == sorted(brightness)
    assert brightness[-1] - brightness[0] > 0.1


def test_a_single_band_is_grey_and_of_many_days_some_are_drawn():
    drawn = plot(cube(days=40, bands=("VV",), rows=20, columns=20))
    titles = [axes.get_title(loc="left") for axes in drawn.axes if axes.get_title(loc="left")]
    assert len(titles) == series.PANELS
    assert (titles[0], titles[-1]) == ("2026-01-20", "2026-09-11")
    assert any(", 24 of 40 images" in text.get_text() for text in drawn.texts)
    assert set(retrieve.plot_ranges(drawn)) == {"VV"}


def test_one_day_with_a_time_axis_is_drawn_as_an_image_of_one_day():
    assert len(plot(cube(days=1)).axes) == len(plot(grid()).axes)


def test_the_animation_has_a_frame_for_each_day_and_gets_brighter(tmp_path):
    animate(cube(), tmp_path / "a.gif")
    with GifImagePlugin.GifImageFile(tmp_path / "a.gif") as picture:
        assert (picture.n_frames, picture.info["loop"]) == (5, 0)
        means = []
        for frame in range(5):
            picture.seek(frame)
            means.append(np.asarray(picture.convert("RGB"))[:, :, 0].mean())
            assert picture.info["duration"] == series.FRAME_TIME
    assert means == sorted(means)
    with pytest.raises(ValueError, match="two days or more"):
        animate(cube(days=1), tmp_path / "b.gif")


# --- numbers ---


@pytest.mark.parametrize("lazy", [False, True])
def test_the_line_is_the_mean_of_the_power_by_area_and_the_spread_of_the_pixels(lazy):
    dataset = cube(lazy=lazy)
    rows = statistics(dataset)
    assert [(row["day"], row["band"]) for row in rows[:3]] == [
        ("2026-01-20", "VV"), ("2026-01-20", "VH"), ("2026-01-26", "VV"),
    ]  # fmt: skip
    assert [row["orbit"] for row in rows[::2]] == ["ascending", "descending"] * 2 + ["ascending"]
    image = cube()["VH"].isel(time=1)
    weighted = image.astype(float).weighted(np.cos(np.radians(image["lat"])))
    assert rows[3]["mean_dB"] == pytest.approx(10 * math.log10(weighted.mean()), abs=1e-9)
    seen = image.values[np.isfinite(image.values)]
    for name, percent in (("low_dB", 10), ("high_dB", 90)):
        expected = 10 * math.log10(np.percentile(seen, percent))
        assert rows[3][name] == pytest.approx(expected, abs=1e-5)
    assert rows[3]["seen"] == pytest.approx(seen.size / image.size, abs=1e-3)


def test_the_numbers_and_the_line_are_written(tmp_path):
    dataset = cube()
    dataset["VV"][2] = np.nan
    rows = statistics(dataset)
    path = save_line(rows, dataset.attrs, tmp_path / "a.csv")
    back = list(csv.DictReader(path.open(encoding="utf-8")))
    assert list(back[0]) == ["day", "orbit", "band", "mean_dB", "low_dB", "high_dB", "seen"]
    assert float(back[0]["mean_dB"]) == pytest.approx(rows[0]["mean_dB"], abs=5e-4)
    assert (back[4]["day"], back[4]["mean_dB"], back[4]["seen"]) == ("2026-02-01", "", "0.000")
    drawn = plot_line(rows, dataset.attrs)
    _, labels = drawn.axes[0].get_legend_handles_labels()
    passes = "ascending", "descending"
    assert labels == [f"{band} {orbit}" for band in ("VV", "VH") for orbit in passes]
    found = {str(one.get_label()): one for one in drawn.axes[0].get_lines()}
    for orbit in passes:
        mine = [row for row in rows if (row["band"], row["orbit"]) == ("VH", orbit)]
        wanted = [row["mean_dB"] for row in mine if row["seen"] >= line.WHOLE or not row["seen"]]
        drawn_at = np.asarray(found[f"VH {orbit}"].get_ydata(), float)
        np.testing.assert_allclose(drawn_at, wanted)
    save_line(rows, dataset.attrs, tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size[0] == round(7.2 * retrieve.DPI)
    with pytest.raises(ValueError, match=r"must end in \.png or \.csv"):
        save_line(rows, dataset.attrs, tmp_path / "a.nc")


# --- nothing seen ---


def texts(drawn):
    """All that is written in a figure and its key, but for ticks of the map."""
    found = [text.get_text() for text in drawn.texts]
    for axes in drawn.axes:
        found += [axes.get_xlabel(), axes.get_ylabel()]
        if not axes.get_ylabel().startswith("Latitude") and not axes.get_xlabel().startswith("Lon"):
            found += [tick.get_text() for tick in axes.get_yticklabels()]
    return found


@pytest.mark.parametrize("days", [1, 2])
@pytest.mark.parametrize("bands", [("VV", "VH"), ("VH",)])
@pytest.mark.parametrize("value", [np.nan, 0.0])
@torture
@pytest.mark.parametrize("rows", turns([20, 90], 2))
def test_what_no_pixel_gave_has_no_number_in_a_figure(days, bands, value, rows):
    dataset = cube(days, bands=bands, rows=rows)
    dataset["VH"] = dataset["VH"].copy(data=np.full_like(dataset["VH"], value))
    drawn = plot(dataset)
    assert set(retrieve.plot_ranges(drawn)) == {"VV"} & set(bands)
    assert any("no value" in text for text in texts(drawn))
    assert not any("25.0" in text or "1.0 dB" in text for text in texts(drawn))
    numbers = [text for text in texts(drawn) if "VH" in text and " dB" in text and " to " in text]
    assert numbers == []


def test_a_line_of_days_without_a_pixel_has_no_numbers_at_its_side():
    dataset = cube(3)
    dataset["VH"] = dataset["VH"] * np.float32("nan")
    rows = statistics(dataset)
    drawn = plot_line(rows, dataset.attrs)
    _, names = drawn.axes[0].get_legend_handles_labels()
    assert [name for name in names if "VV" in name] == ["VV ascending", "VV descending"]
    assert all("(no value)" in name for name in names if "VH" in name)
    drawn = plot_line([row for row in rows if row["band"] == "VH"], dataset.attrs)
    assert not drawn.axes[0].get_yticks().size


def test_a_day_that_is_seen_in_part_is_beside_the_line_and_one_without_a_pixel_breaks_it():
    days = [f"2026-01-{day:02}" for day in (2, 8, 14, 20, 26)]
    shares = [1.0, 0.4, 1.0, 0.0, 1.0]
    rows = [
        {"day": day, "orbit": "ascending", "band": "VV", "mean_dB": -10.0 if share else math.nan,
         "low_dB": -12.0, "high_dB": -8.0, "seen": share}
        for day, share in zip(days, shares, strict=True)
    ]  # fmt: skip
    (axes,) = plot_line(rows, cube().attrs).axes
    joined, part, nothing = axes.get_lines()
    np.testing.assert_array_equal(np.isfinite(joined.get_ydata()), [1, 1, 0, 1])
    assert "hollow: seen in part; cross: not seen" in axes.figure.texts[1].get_text()
    assert (part.get_markerfacecolor(), np.size(part.get_xdata())) == ("white", 1)
    assert (nothing.get_marker(), np.size(nothing.get_xdata())) == ("x", 1)
    axes.figure.canvas.draw()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == days
