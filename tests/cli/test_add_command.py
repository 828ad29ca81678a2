# ruff: noqa: F811 (fixtures of another file)
"""Files of one's own in an archive: by the flags and by the questions, killed, twice, in halves."""

from __future__ import annotations

import datetime as dt
import json
import os

import numpy as np
import pytest
import xarray as xr

import convert
import download
import main
from cli import add_command, archiver
from cli.exits import DONE, FAILED, INTERRUPTED, NO_DATA, USAGE
from grid import Chunk, Provenance, Tile
from healpix.ids import runs_to_ids
from images.merge import merge
from jobs.transfer import fingerprint
from store import Archive
from tests.cells.test_average import make_raster, pixel_cells
from tests.cells.test_kinds import BANDS, in_decibels, write_tiff
from tests.conftest import ROOT
from tests.downloading import tree
from tests.processes import context
from tests.rounds import dice, rounds, torture
from tests.whole.test_main import answer, folder, order  # noqa: F401

pytestmark = pytest.mark.usefixtures("folder", "answer")

DATA = ROOT.parent / "shared" / "data"
REAL = ["cdse_s1_sigma0_reduced.nc", "cdse_s1_sigma0_t2.nc"]
SIZE = (0.04, 0.04)
FOUR = Tile(7.03, 50.03, 7.05, 50.05)  # a box around the corner of four tiles
ONE = Tile(7.005, 50.005, 7.025, 50.025)  # inside of one
DAY = dt.date(2026, 1, 20)
TILE = Tile(7.0, 50.0, 7.04, 50.04)
CHUNK = Chunk(TILE, DAY)


@pytest.fixture(scope="module")
def four():
    return make_raster(FOUR, margin=0)


@pytest.fixture(scope="module")
def one():
    return make_raster(ONE, margin=0)


def add(*arguments, yes=True):
    words = [str(argument) for argument in arguments]
    return main.main(["add", *words, *(["--yes"] if yes else [])])


def halves(raster, folder, cut=70):
    """Two files, west and east, and their union."""
    west, east = raster.isel(x=slice(None, cut)), raster.isel(x=slice(cut, None))
    write_tiff(folder / "west.tif", west)
    write_tiff(folder / "east.tif", east)
    return folder / "west.tif", folder / "east.tif"


def archive():
    return Archive(main.ZARR_PATH)


def files_of(chunk):
    row = archive().records([chunk.tile]).set_index("day").loc[chunk.day]
    return [entry["name"] for entry in row["files"]]


def interrupt_third(monkeypatch):
    """Have Ctrl-C come when the third chunk is converted; the list of all conversions."""
    real, calls = convert.raster_to_cells, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(convert, "raster_to_cells", interrupted)
    return calls


def same_cells(cells, expected):
    """By the counts exactly, by the means to the last bits."""
    np.testing.assert_array_equal(cells["count"], expected["count"])
    for band in BANDS:
        np.testing.assert_allclose(cells[band], expected[band], rtol=3e-7)


# ---------------------------------------------------------------------------- what is added


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the project")
def test_real_files_are_added_once(folder, monkeypatch, capsys):
    monkeypatch.setattr(download, "CHUNK_SIZE", [1, 0.5])
    reduced, steps = (DATA / name for name in REAL)
    assert add(reduced, steps) == USAGE
    said = capsys.readouterr().err
    assert "nothing in it says of which day it is; name it with --day." in said
    assert "it has 2 time steps (0: 2021-03-01T00:00:00, 1: 2021-04-01T00:00:00)" in said
    assert not (folder / main.ZARR_PATH).exists()

    assert add(reduced, "--day", "2026-01-20", "--orbit", "descending") == DONE
    assert add(steps, "--day", "2021-04-01") == DONE
    assert add(steps, "--step", 0) == DONE
    rows = archive().records()
    assert [f"{row.day} {row.orbit} {row.backend}" for row in rows.itertuples()] == [
        "2021-03-01 any file", "2021-04-01 any file", "2026-01-20 descending file",
    ]  # fmt: skip
    (tile,) = archive().tiles()
    for day, orbit, path, step in (
        ("2026-01-20", "descending", reduced, None),
        ("2021-03-01", "any", steps, 0), ("2021-04-01", "any", steps, 1),
    ):  # fmt: skip
        chunk = Chunk(tile, dt.date.fromisoformat(day), orbit)
        expected = convert.raster_to_cells(path, tile, bands=BANDS, step=step)
        del expected.attrs["source"], expected.attrs["ordering"]
        cells = archive().read(chunk)
        for name in (*BANDS, "count", "start_ipix", "run_len"):
            np.testing.assert_array_equal(cells[name], expected[name])
        (entry,) = archive().view(tile).about(chunk)["files"]
        assert entry == {"name": path.name, "sha256": fingerprint(path)} | (
            {} if step is None else {"step": step}
        )
    before = tree(folder)
    assert add(reduced, "--day", "2026-01-20", "--orbit", "descending") == DONE
    assert add(steps, "--step", 1) == DONE
    assert "Nothing to add." in capsys.readouterr().err
    assert tree(folder) == before


def test_a_geotiff_of_four_tiles_becomes_a_record_of_each(four, folder, capsys):
    write_tiff(folder / "openEO_2026-01-20Z.tif", four)
    assert add("openEO_2026-01-20Z.tif") == DONE
    said = capsys.readouterr().err
    assert "openEO_2026-01-20Z.tif: 2026-01-20 (by its name), any, 4 tiles" in said
    chunks = archive().chunks()
    assert [chunk.day for chunk in chunks] == [DAY] * 4
    ids = pixel_cells(four)
    for band in BANDS:
        total = count = 0.0
        for chunk in chunks:
            cells = archive().read(chunk)
            total += np.nansum(cells[band].values.astype(float) * cells["count"].values)
            count += cells["count"].values.sum(dtype=int)
            owned = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values)
            inside = np.isin(ids, owned.astype(np.int64))
            assert cells["count"].values.sum(dtype=int) == np.count_nonzero(inside)
        assert count == four[band].size
        assert total == pytest.approx(four[band].values.sum(dtype=float), rel=1e-6)


def test_two_halves_are_what_their_union_is(one, folder, capsys):
    """In one go, one after the other, in either order, and with what both show."""
    west, east = halves(one, folder)
    expected = convert.raster_to_cells(one, TILE)
    for name, steps in (
        ("together", [[west, east]]), ("west first", [[west], [east]]),
        ("east first", [[east], [west]]),
    ):  # fmt: skip
        for files in steps:
            assert add(*files, "--day", DAY, "--archive", name) == DONE
        there = Archive(folder / name)
        same_cells(there.read(CHUNK), expected)
        (about,) = there.records()["files"]
        assert sorted(entry["name"] for entry in about) == ["east.tif", "west.tif"]
        before = tree(folder / name)
        assert add(west, east, "--day", DAY, "--archive", name) == DONE
        assert tree(folder / name) == before
    assert "1   of these to merge 1" in capsys.readouterr().err

    write_tiff(folder / "all.tif", one)
    assert add("all.tif", "--day", DAY, "--archive", "east first") == DONE
    twice = Archive(folder / "east first").read(CHUNK)
    np.testing.assert_array_equal(twice["count"], 2 * expected["count"])
    np.testing.assert_allclose(twice["VV"], expected["VV"], rtol=3e-7)


@pytest.mark.parametrize("first", [True, False], ids=["a record", "no record"])
def test_what_another_process_adds_meanwhile_is_not_lost(one, first, folder, monkeypatch):
    """It adds the other half when this one has read the record and not yet written it."""
    west, east = halves(one, folder)
    write_tiff(folder / "first.tif", one.isel(x=slice(0, 10)))
    expected = convert.raster_to_cells(one, TILE)
    if first:
        assert add("first.tif", "--day", DAY) == DONE
        part = convert.raster_to_cells(one.isel(x=slice(0, 10)), TILE)
        expected = merge([part, expected])
    real, calls = archiver.store_whole, []

    def late(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            assert add(east, "--day", DAY) == DONE
        return real(*arguments, **options)

    monkeypatch.setattr(add_command, "store_whole", late)
    assert add(west, "--day", DAY) == DONE
    assert len(calls) == 3
    assert files_of(CHUNK) == ["first.tif"] * first + ["east.tif", "west.tif"]
    same_cells(archive().read(CHUNK), expected)


# ------------------------------------------------------------------------- what is not mixed


def test_measured_and_synthetic_data_never_mix(one, folder, sandbox, capsys):
    made_up = one.assign_attrs(source="synthetic: made up")
    made_up.to_netcdf("made_up_20260120.nc")
    one.to_netcdf("measured_20260120.nc")
    assert add("made_up_20260120.nc", "measured_20260120.nc") == USAGE
    assert "must not be mixed" in capsys.readouterr().err
    assert add("measured_20260120.nc") == DONE
    before = tree(folder / main.ZARR_PATH)
    assert add("made_up_20260120.nc", "--day", "2026-01-21") == USAGE
    said = capsys.readouterr().err
    assert "holds measured data, made_up_20260120.nc gives synthetic data" in said
    assert order(sandbox) == USAGE  # its first result tells
    assert tree(folder / main.ZARR_PATH) == before


def test_what_a_back_end_gave_is_left_as_it_is(one, folder, capsys):
    cells = convert.raster_to_cells(one, TILE)
    archive().write(CHUNK, cells, Provenance("cdse", "SENTINEL1_GRD", "j-1", "", False))
    before = tree(folder)
    write_tiff(folder / "a.tif", one)
    assert add("a.tif", "--day", DAY) == DONE
    assert "left as they are: 1 record that a back end gave" in capsys.readouterr().err
    assert {k: v for k, v in tree(folder).items() if k != "a.tif"} == before


def test_the_next_download_asks_for_its_back_end(one, folder, capsys, answer):
    """A file is none that could be ordered from."""
    write_tiff(folder / "a.tif", one)
    assert add("a.tif", "--day", DAY) == DONE
    assert main.main(["list"]) == DONE
    assert capsys.readouterr().out.split()[-1] == "file"
    answer("2")
    main.main(["download", "--bbox", "7,50,7.01,50.01", "--start", "2026-01-20", "--no-catalogue"])
    assert "Where do the images of this new archive come from?" in capsys.readouterr().err


# ------------------------------------------------------------------- questions, plan, errors


def test_answers_do_the_same_as_flags(one, folder, answer, capsys):
    write_tiff(folder / "a b.tif", one, ["", ""])
    assert add("a b.tif", "--day", DAY, "--bands", "vh,vv", "--orbit", "ascending",
               "--archive", "flags.zarr") == DONE  # fmt: skip
    lines = ("5", "nothing.tif", "a b.tif", "VV,XX", "VH VV", "2014-01-01", "2026-01-20", "2", "y")
    answer(*lines)
    assert main.main(["--archive", "answers.zarr"]) == DONE
    said = capsys.readouterr().err
    assert "There is no file nothing.tif." in said
    assert "Name VV, VH, in the order of the file." in said
    flags, answers = Archive("flags.zarr"), Archive("answers.zarr")
    (chunk,) = flags.chunks()
    assert answers.chunks() == [chunk]
    xr.testing.assert_equal(answers.read(chunk), flags.read(chunk)[list(answers.read(chunk))])
    expected = convert.raster_to_cells(one, TILE)
    np.testing.assert_array_equal(flags.read(chunk)["VH"], expected["VV"])


def test_a_dry_run_tells_and_does_nothing(four, one, folder, capsys):
    write_tiff(folder / "a.tif", one)
    write_tiff(folder / "b.tif", four)
    assert add("a.tif", "--day", DAY) == DONE
    before = tree(folder)
    capsys.readouterr()
    assert add("a.tif", "b.tif", "--day", DAY, "--dry-run", "--json") == DONE
    plan = json.loads(capsys.readouterr().out)
    assert tree(folder) == before
    assert [file["name"] for file in plan["files"]] == ["a.tif", "b.tif"]
    states = [chunk["state"] for chunk in plan["list"]]
    assert sorted(states) == ["to_add", "to_add", "to_add", "to_merge"]
    assert plan["chunks"] == 4


def no_tile(folder, one):
    write_tiff(folder / "a.tif", one, ["HH", "HV"])
    return ["a.tif"]


def text(folder, one):
    (folder / "a.tif").write_text("502 Bad Gateway")
    return ["a.tif"]


def unnamed(folder, one):
    write_tiff(folder / "a.tif", one, ["", ""])
    return ["a.tif"]


def tiff(*more):
    def make(folder, one):
        write_tiff(folder / "a.tif", one)
        return ["a.tif", *more]

    return make


def decibels(names):
    def make(folder, one):
        write_tiff(folder / "a.tif", in_decibels(one), names)
        return ["a.tif"]

    return make


WRONG = {
    "no file": (lambda folder, one: ["none.tif"], USAGE, "There is no file none.tif."),
    "an empty folder": (lambda folder, one: ["."], USAGE, "without a netCDF or GeoTIFF file"),
    "a text": (text, USAGE, "nor an image that GDAL reads; it begins with '502 Bad Gateway'"),
    "other bands": (no_tile, USAGE, "there is no band VV or VH, only HH, HV"),
    "bands without a name": (unnamed, USAGE, "as --bands VV,VH"),
    "a step of none": (tiff("--step", "2"), USAGE, "there is no step 2"),
    "a day before the first image": (tiff("--day", "2014-01-01"), USAGE, "before the first"),
    "JSON without a dry run": (tiff("--json"), USAGE, "--json prints the plan of a --dry-run"),
    "decibels": (decibels(BANDS), FAILED, "look like decibels"),
    "decibels by name": (decibels(["VV_db", "VH_dB"]), USAGE, "a.tif: VV_db is in decibels"),
    "power called decibels": (tiff("--decibels"), FAILED, "look like linear power"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_a_line(case, one, folder, capsys):
    make, code, words = WRONG[case]
    arguments = make(folder, one)
    day = [] if "--day" in arguments or case == "a step of none" else ["--day", DAY]
    assert add(*arguments, *day) == code
    said = "".join(capsys.readouterr())
    assert words in " ".join(said.split())
    assert "Traceback" not in said
    assert not (folder / main.ZARR_PATH).exists()


def test_decibels_are_added_as_power(one, folder):
    write_tiff(folder / "a.tif", in_decibels(one), ["VV_db", "VH_db"])
    assert add("a.tif", "--day", DAY, "--decibels") == DONE
    cells, expected = archive().read(CHUNK), convert.raster_to_cells(one, TILE)
    np.testing.assert_array_equal(cells["count"], expected["count"])
    np.testing.assert_allclose(cells["VV"], expected["VV"], rtol=1e-5)


def test_the_good_ones_of_a_folder_are_added_and_the_others_named(one, folder, capsys):
    (folder / "files").mkdir()
    write_tiff(folder / "files" / "20260120.tif", one)
    (folder / "files" / "20260121.nc").write_bytes(b"\\x89HDF\\r\\n\\x1a\\n" + bytes(30))
    (folder / "files" / "notes.txt").write_text("not looked at")
    assert add("files") == FAILED
    out, said = capsys.readouterr()
    assert "left aside: files/20260121.nc: this is no whole netCDF file" in said
    assert "failed" in out
    assert archive().chunks() == [CHUNK]


def test_a_raster_without_a_seen_pixel_is_no_data(one, folder):
    unseen = one.assign({band: one[band] * np.nan for band in BANDS})
    write_tiff(folder / "a.tif", unseen)
    assert add("a.tif", "--day", DAY) == NO_DATA
    assert not (folder / main.ZARR_PATH).exists()


def test_ctrl_c_says_what_is_there_and_the_same_command_goes_on(
    four,
    folder,
    monkeypatch,
    capsys,
):
    write_tiff(folder / "a.tif", four)
    assert add("a.tif", "--day", DAY, "--archive", "clean.zarr") == DONE
    calls = interrupt_third(monkeypatch)
    assert add("a.tif", "--day", DAY) == INTERRUPTED
    assert "Interrupted with 2 of 4 chunks added; they are whole." in capsys.readouterr().err
    assert add("a.tif", "--day", DAY) == DONE
    assert len(calls) == 5, "what is there is not converted again"
    assert tree(folder / main.ZARR_PATH) == tree(folder / "clean.zarr")


# --------------------------------------------------------------------------------- killed


def work(folder, name):
    """The command as a process of its own, in a folder of files."""
    os.chdir(folder)
    download.CHUNK_SIZE = list(SIZE)
    os._exit(main.main(["add", "files", "--archive", name, "--yes"]))


@torture
def test_a_folder_killed_at_random_moments_ends_as_one_clean_run(four, folder):
    """Ten files of two days, each a stripe of four tiles."""
    (folder / "files").mkdir()
    for number, columns in enumerate(np.array_split(np.arange(four.x.size), 5)):
        for day in (20, 21):
            stripe = four.isel(x=columns)
            write_tiff(folder / "files" / f"stripe{number}_202601{day}.tif", stripe)
    assert add("files", "--archive", "clean.zarr") == DONE
    clean = Archive(folder / "clean.zarr")
    assert len(clean.chunks()) == 8
    expected = {c: convert.raster_to_cells(four, c.tile) for c in clean.chunks()}
    for chunk, cells in expected.items():
        same_cells(clean.read(chunk), cells)
    chance, kills, number = dice("add"), 0, 0
    while kills < rounds(3, 0.3):
        number += 1
        code, patience = None, 0.5
        while code is None:
            process = context().Process(target=work, args=(folder, f"{number}.zarr"))
            process.start()
            process.join(chance.uniform(0.05, patience))
            code = process.exitcode
            process.kill()
            process.join()
            kills += code is None
            patience *= 1.3  # so that a busy machine comes to an end, too
        assert code == DONE
        assert tree(folder / f"{number}.zarr") == tree(folder / "clean.zarr")
