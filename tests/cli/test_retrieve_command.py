"""The command that retrieves, as people type it: days, mixtures, sizes, files."""

from __future__ import annotations

import datetime as dt
import io
import math
import sys
from pathlib import Path

import healpy
import numpy as np
import pytest
import rasterio
import xarray as xr
from PIL import GifImagePlugin

import convert
import main
import retrieve
from cli import flags, questions
from cli.exits import DONE, FAILED, NO_DATA, USAGE
from grid import BBox, Chunk, Tile
from healpix.ids import runs_to_ids
from images import blocks, composites, lazy
from shared import compute
from store import Archive
from tests.folders import copied
from tests.images.test_blocks import cells_of

DAY = dt.date(2026, 1, 20)
TILE = Tile(7.0, 50.0, 8.0, 50.5)
BOX = ("--bbox", "7.2,50.1,7.6,50.3")


@pytest.fixture(scope="module")
def three_days(tmp_path_factory):
    """The folder of an archive of a tile on three days, of both directions on the last one."""
    made = Archive(tmp_path_factory.mktemp("three_days") / main.ZARR_PATH)
    for number, orbit in enumerate(("ascending", "descending", "ascending")):
        day = DAY + dt.timedelta(days=6 * number)
        made.write(Chunk(TILE, day, orbit), cells_of(TILE, seed=number))
    made.write(Chunk(TILE, DAY + dt.timedelta(days=12), "descending"), cells_of(TILE, seed=9))
    return made.path.parent


@pytest.fixture
def archive(three_days, tmp_path, monkeypatch):
    """A copy of it in the working folder."""
    copied(three_days, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(retrieve, "DPI", 50)
    monkeypatch.setattr(convert, "DLAT", 15e-4)  # its cells are large
    monkeypatch.setattr(convert, "DLON", 24e-4)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return Archive(main.ZARR_PATH)


def run(*arguments):
    return main.main(["retrieve", *BOX, "--no-show", *arguments])


def test_several_days_become_pictures_files_and_numbers(archive, capsys):
    names = ("a.png", "a.gif", "a.nc", "a.tif")
    days = ("--start", "2026-01-20", "--end", "2026-01-31")
    outputs = [word for name in names for word in ("--output", name)]
    assert run(*days, *outputs, "--line", "l.csv", "--line", "l.png") == DONE
    out, err = capsys.readouterr()
    assert out.split() == [*names, "l.csv", "l.png"]
    assert "2 days, 2026-01-20 to 2026-01-26" in err
    assert "ascending and descending passes from day to day" in err
    with xr.open_dataset("a.nc") as back:
        assert back.sizes["time"] == 2
    with GifImagePlugin.GifImageFile("a.gif") as picture:
        assert picture.n_frames == 2
    assert open("l.csv").read().count("\n") == 1 + 2 * 2  # noqa: PTH123, SIM115


def test_numbers_alone_draw_no_picture_where_nobody_sees_it(archive, monkeypatch, capsys):
    monkeypatch.setattr(retrieve, "plot", None)  # would not even be callable
    days = ("--start", "2026-01-20", "--end", "2026-01-31")
    assert main.main(["retrieve", *BOX, *days, "--line", "l.csv"]) == DONE
    assert capsys.readouterr().out.split() == ["l.csv"]


def test_a_day_of_both_directions_has_an_image_of_each_or_is_mixed_when_asked(archive, capsys):
    day = ("--day", "2026-02-01", "--output", "a.png", "--output", "a.nc", "--overwrite")
    assert run(*day) == DONE
    assert "ascending and descending passes in images of their own" in capsys.readouterr().err
    with xr.open_dataset("a.nc") as back:
        assert back["orbit"].values.tolist() == [1, 2]
    assert run(*day, "--orbit", "any") == DONE
    assert "ascending and descending passes in one image" in capsys.readouterr().err
    with xr.open_dataset("a.nc") as back:
        assert back["VV"].dims == ("lat", "lon")


def test_both_directions_stop_no_period_and_no_composite_of_one(archive, capsys):
    days = ("--start", "2026-01", "--end", "2026-02", "--output", "a.png", "--output", "a.tif")
    assert run(*days, "--output", "a.gif") == DONE
    err = capsys.readouterr().err
    assert "3 days, 2026-01-20 to 2026-02-01" in err
    assert "passes in images of their own" in err
    assert run(*days, "--output", "a.nc", "--composite", "median", "--overwrite") == DONE
    err = capsys.readouterr().err
    assert "median of 2 days (ascending) and median of 2 days (descending)" in err
    with rasterio.open("a.tif") as back:
        assert back.descriptions[:2] == ("VV ascending", "VH ascending")


def test_as_of_a_day_names_the_days_it_found(archive, capsys):
    assert run("--day", "2026-01-30", "--as-of", "10", "--output", "a.png") == DONE
    assert "  of 2026-01-26" in capsys.readouterr().err
    assert run("--day", "2026-01-30", "--as-of", "2", "--output", "b.png") == NO_DATA
    assert "nothing of 7.2,50.1,7.6,50.3 from 2026-01-28 to 2026-01-30" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--day", "2026-01-20", "--output", "a.gif"), "a.gif needs several days"),
        (("--day", "2026-01-20", "--line", "a.csv"), "a.csv needs several days"),
        (("--day", "2026-01-20", "--start", "2026-01-20"), "Name one --day, or --start and --end"),
        (("--start", "2026-01", "--as-of", "3"), "--as-of needs the --day"),
        (("--end", "2026-01-20"), "--end needs a --start"),
        (("--start", "2026-02-01", "--end", "2026-01-20"), "is after the last day"),
        (("--day", "2026-01-20", "--dlat", "0"), "is no size of a pixel"),
        (("--day", "2026-01-20", "--line", "a.nc"), r"must end in .png or .csv"),
    ],
)
def test_contradictions_are_one_line_and_nothing_is_written(
    archive, capsys, tmp_path, arguments, words
):
    before = sorted(tmp_path.iterdir())
    assert run(*arguments) == USAGE
    err = capsys.readouterr().err
    assert words in err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


def test_the_method_is_that_of_the_flag(archive, tmp_path):
    fine = ("--day", "2026-01-20", "--dlat", "0.004", "--dlon", "0.006")
    box = BBox(7.2, 50.1, 7.6, 50.3)
    for method in flags.METHODS:
        assert run(*fine, "--method", method, "--output", f"{method}.nc") == DONE
        grid = retrieve.retrieve(archive, box, DAY, dlat=0.004, dlon=0.006, method=method)
        with xr.open_dataset(f"{method}.nc") as back:
            assert back.attrs["method"] == method
            np.testing.assert_array_equal(back["VV"], grid["VV"])
    assert run(*fine, "--output", "usual.nc") == DONE
    with xr.open_dataset("usual.nc") as back:
        assert back.attrs["method"] == "nearest"
    assert run(*fine, "--method", "mean", "--output", "a.nc") == USAGE
    assert lazy.METHODS == flags.METHODS


def test_a_large_box_gets_larger_pixels_and_is_told_how_to_get_all(archive, capsys, monkeypatch):
    monkeypatch.setattr(retrieve, "PICTURE_MAX", 100)
    monkeypatch.setattr(convert, "DLAT", 15e-5)
    monkeypatch.setattr(convert, "DLON", 24e-5)
    assert run("--day", "2026-01-20", "--output", "a.nc") == DONE
    err = capsys.readouterr().err
    assert "so that no side has more than 100; full resolution is --dlat 0.00015" in err
    with xr.open_dataset("a.nc") as back:
        assert 89 < max(back.sizes["lat"], back.sizes["lon"]) < 100
    assert run("--day", "2026-01-20", "--dlat", "0.001", "--output", "b.nc") == DONE
    with xr.open_dataset("b.nc") as back:
        assert back.sizes["lat"] == 200


def test_a_grid_beyond_memory_is_drawn_from_afar_and_written_block_by_block(
    archive, capsys, monkeypatch
):
    monkeypatch.setattr(retrieve, "MEMORY_MAX", 1000)
    monkeypatch.setattr(retrieve, "PICTURE_MAX", 50)
    fine = ("--dlat", "0.002", "--dlon", "0.003")
    assert run("--day", "2026-01-20", *fine, "--output", "a.png", "--output", "a.nc") == DONE
    with xr.open_dataset("a.nc") as back:
        assert back["VV"].shape == (100, 133)
        assert float(back["VV"].notnull().mean()) > 0.8


def test_days_may_be_typed_as_a_period(archive, capsys, monkeypatch):
    answers = "\n".join(["7.2,50.1,7.6,50.3", "y", "2026-01", "VV", "s.png"]) + "\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    assert main.main(["retrieve", "--no-show", "--orbit", "ascending"]) == DONE
    out, err = capsys.readouterr()
    assert out.split() == ["s.png"]
    assert "1 day, 2026-01-20" in err


def test_several_days_may_become_one_image_by_an_answer(archive, capsys, monkeypatch):
    answers = "\n".join(["7.2,50.1,7.6,50.3", "y", "2026", "3", "median", "VV", "s.png"]) + "\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
    assert main.main(["retrieve", "--no-show"]) == DONE
    out, err = capsys.readouterr()
    assert out.split() == ["s.png"]
    assert "median of 3 days" in err
    assert "_median_7.2_50.1_7.6_50.3.png]" in "".join(err.split("\n"))


def test_a_cluster_that_is_not_there_is_one_line(archive, capsys, monkeypatch):
    monkeypatch.setattr(compute, "CONNECT_WAIT", 1)
    day = ("--day", "2026-01-20", "--output", "a.png")
    assert run(*day, "--scheduler", "tcp://127.0.0.1:9") == FAILED
    assert "There is no dask scheduler at tcp://127.0.0.1:9" in capsys.readouterr().err


# --- boxes without a pixel ---

EAST = ("--bbox", "7.7,50.1,7.9,50.3")
UNSEEN_DAY = ("--day", "2026-03-01")
SEVERAL_UNSEEN = ("--start", "2026-03-01", "--end", "2026-03-07")


@pytest.fixture(scope="module")
def five_days(three_days, tmp_path_factory):
    """The same with two more days on which the western half of the tile alone was seen."""
    archive = Archive(copied(three_days, tmp_path_factory.mktemp("five_days")) / main.ZARR_PATH)
    for days in (0, 6):
        cells = cells_of(TILE, seed=days)
        ids = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values)
        lon, _ = healpy.pix2ang(4096, ids.astype(int), nest=True, lonlat=True)
        for band in ("VV", "VH"):
            cells[band][lon > 7.5] = np.nan
        cells["count"][lon > 7.5] = 0
        day = dt.date(2026, 3, 1) + dt.timedelta(days=days)
        archive.write(Chunk(TILE, day, "descending"), cells)
    return archive.path.parent


@pytest.fixture
def west_only(five_days, archive, tmp_path):
    """A copy of it in the working folder."""
    copied(five_days, tmp_path)
    return Archive(main.ZARR_PATH)


@pytest.mark.parametrize("size", ["in memory", "beyond memory"])
@pytest.mark.parametrize(
    "arguments",
    [
        (*UNSEEN_DAY, "--output", "a.png"),
        (*UNSEEN_DAY, "--output", "a.nc", "--output", "b.tif"),
        (*UNSEEN_DAY, "--output", "a.tif", "--orbit", "descending"),
        (*UNSEEN_DAY, "--output", "a.tif", "--orbit", "any", "--dlat", "0.05", "--dlon", "0.05"),
        ("--day", "2026-03-04", "--as-of", "10", "--output", "a.nc"),
        (*SEVERAL_UNSEEN, "--output", "a.png", "--output", "a.gif"),
        (*SEVERAL_UNSEEN, "--line", "l.csv", "--line", "l.png"),
        (*SEVERAL_UNSEEN, "--output", "a.nc", "--line", "l.csv"),
    ],
)
def test_a_box_without_a_pixel_is_no_data_and_nothing_is_written(
    west_only, capsys, tmp_path, monkeypatch, arguments, size
):
    if size == "beyond memory":
        monkeypatch.setattr(retrieve, "MEMORY_MAX", 1000)
        monkeypatch.setattr(retrieve, "PICTURE_MAX", 50)
        monkeypatch.setattr(retrieve, "SERIES_MAX", 20)
    before = sorted(tmp_path.iterdir())
    assert main.main(["retrieve", *EAST, "--no-show", *arguments]) == NO_DATA
    out, err = capsys.readouterr()
    assert out == ""
    assert "not one pixel in this box" in err
    assert "dB" not in err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("memory", [2_000_000_000, 1000])
def test_one_day_with_pixels_is_enough_and_the_others_are_counted(
    west_only, capsys, monkeypatch, memory
):
    monkeypatch.setattr(retrieve, "MEMORY_MAX", memory)
    days = ("--start", "2026-02-01", "--end", "2026-03-07", "--orbit", "descending")
    files = ("--output", "a.gif", "--output", "a.tif", "--line", "l.csv", "--line", "l.png")
    step = ("--dlat", "0.004", "--dlon", "0.006")
    assert main.main(["retrieve", *EAST, "--no-show", *days, *step, *files]) == DONE
    out, err = capsys.readouterr()
    assert out.split() == list(files[1::2])
    assert "3 days, 2026-02-01 to 2026-03-07, 2 days without a pixel in the box" in err
    rows = [line.split(",") for line in open("l.csv").read().splitlines()]  # noqa: PTH123, SIM115
    assert [row[3:] for row in rows[3:]] == [["", "", "", "0.000"]] * 4


def test_a_grid_beyond_memory_is_not_computed_twice_to_know_that_it_has_pixels(
    west_only, monkeypatch
):
    """The blocks that are read: once for the picture, once to look, and once for the file."""
    read, found = blocks.Cube.read, []

    def noted(cube, *where):
        found.append(cube.frame.lat.size)
        return read(cube, *where)

    monkeypatch.setattr(blocks.Cube, "read", noted)
    monkeypatch.setattr(blocks, "SIDE", 32)
    monkeypatch.setattr(retrieve, "MEMORY_MAX", 1000)
    monkeypatch.setattr(retrieve, "PICTURE_MAX", 30)
    fine = ("--dlat", "0.001", "--dlon", "0.0015", "--output", "a.nc")
    assert (
        main.main(["retrieve", "--bbox", "7.2,50.1,7.9,50.3", "--no-show", *UNSEEN_DAY, *fine])
        == DONE
    )
    number = math.ceil(200 / 32) * math.ceil(0.7 / 0.0015 / 32)
    assert number < found.count(200) <= number + 4


def test_retrieve_says_no_data_and_a_lazy_grid_is_all_gaps(west_only):
    box, day = BBox(7.7, 50.1, 7.9, 50.3), dt.date(2026, 3, 1)
    with pytest.raises(retrieve.NoData, match="not one pixel in this box"):
        retrieve.retrieve(west_only, box, day)
    grid = retrieve.open(west_only, box, day)
    assert not retrieve.has_pixels(grid)
    assert retrieve.has_pixels(retrieve.open(west_only, BBox(7.4, 50.1, 7.9, 50.3), day))


def test_a_day_with_passes_of_both_directions_gives_a_line_for_each(archive, capsys):
    assert (
        run("--start", "2026-01", "--end", "2026-02", "--line", "l.csv", "--line", "l.png") == DONE
    )
    lines = Path("l.csv").read_text(encoding="utf-8").splitlines()[1:]
    rows = [line.split(",")[:3] for line in lines]
    assert [row for row in rows if row[2] == "VV"] == [
        ["2026-01-20", "ascending", "VV"], ["2026-01-26", "descending", "VV"],
        ["2026-02-01", "ascending", "VV"], ["2026-02-01", "descending", "VV"],
    ]  # fmt: skip
    assert "descending: 2 days" in capsys.readouterr().err


def test_days_become_one_image(archive, capsys):
    days = ("--start", "2026-01-20", "--end", "2026-01-31", "--orbit", "any")
    files = ("--output", "a.nc", "--output", "a.png", "--output", "a.tif")
    assert run(*days, *files, "--composite", "newest") == DONE
    assert "newest value of 2 days, 2026-01-20 to 2026-01-31" in capsys.readouterr().err
    with xr.open_dataset("a.nc") as file:
        found = file["day"].values[file["day"].notnull()].astype("datetime64[D]")
    assert set(found.astype(str)) == {"2026-01-20", "2026-01-26"}
    for wrong, words in (
        (("--day", "2026-01-20", "--composite", "mean", "--output", "b.nc"), "needs several days"),
        ((*days, "--composite", "mean", "--line", "b.csv"), "does not go with a composite"),
        ((*days, "--composite", "sum", "--output", "b.nc"), "is none of mean, median, newest"),
    ):
        assert run(*wrong) == USAGE
        assert words in " ".join(capsys.readouterr().err.split())
    assert questions.COMPOSITES == composites.HOW
