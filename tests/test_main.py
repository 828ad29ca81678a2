"""The main job through the program: order, download, convert, store, retrieve, draw."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

import download
import main
from outcome import DONE, FAILED, NO_DATA, USAGE
from store import Archive
from tests.conftest import ROOT

BOX = "3.73,51.21,3.79,51.23"  # parts of two tiles of 0.04 x 0.04 degrees
DAY = "2026-01-20"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, tiles small enough for a test, and no display."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "CHUNK_SIZE", [0.04, 0.04])
    pace = dataclasses.replace(download.PACE, poll=0.1, start_interval=0.0)
    monkeypatch.setattr(download, "PACE", pace)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    login = {"METHOD": "client_credentials", "PROVIDER_ID": "sandbox"}
    login |= {"CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret"}
    for name, value in login.items():
        monkeypatch.setenv(f"OPENEO_AUTH_{name}", value)
    return tmp_path


@pytest.fixture
def answer(monkeypatch):
    """Put lines on standard input, as a pipe would."""

    def give(*lines):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    give()
    return give


def order(sandbox, *more):
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--backend", sandbox.url, "--yes"]
    return main.main(["download", *flags, *more])


def test_the_main_job_runs_end_to_end(folder, answer, sandbox, capsys):
    assert order(sandbox) == DONE
    archive = Archive(folder / main.ZARR_PATH)
    records = archive.records()
    assert list(records["tile"]) == ["E003.72_N51.2", "E003.76_N51.2"]
    assert records["synthetic"].all()
    assert (records["seen"] == 1).all()

    created = sandbox.events()["counts"]["created"]
    assert order(sandbox) == DONE
    assert sandbox.events()["counts"]["created"] == created, "the same request orders nothing"

    capsys.readouterr()
    outputs = [f"--output=box.{suffix}" for suffix in ("png", "nc", "tif")]
    assert main.main(["retrieve", "--bbox", BOX, "--day", DAY, "--no-show", *outputs]) == DONE
    assert capsys.readouterr().out.split() == ["box.png", "box.nc", "box.tif"]
    with xr.open_dataset("box.nc") as grid:
        assert np.isfinite(grid["VV"]).all(), "no gap, so no seam between the tiles"
        assert "synthetic" in grid.attrs["source"]
    picture = matplotlib.image.imread("box.png")
    assert picture[..., :3].std() > 0.1


def test_piped_answers_do_the_same_as_flags(folder, answer, sandbox, monkeypatch, capsys):
    monkeypatch.setattr(download, "BACKEND", sandbox.url)
    assert order(sandbox, "--archive", "flags.zarr") == DONE
    answer("1", "", "nonsense", BOX, "y", "2026-13-31", DAY, "", "y")
    assert main.main(["--archive", "answers.zarr"]) == DONE
    said = capsys.readouterr().err
    assert "'2026-13-31' is not a date.  Write it like 2026-01-31." in said
    by_flags, by_answers = Archive("flags.zarr"), Archive("answers.zarr")
    assert by_flags.chunks() == by_answers.chunks() != []
    for chunk in by_flags.chunks():
        xr.testing.assert_identical(by_flags.read(chunk), by_answers.read(chunk))

    answer("2", BOX, "y", "", "", "one.png two.tif")
    assert main.main(["--archive", "answers.zarr"]) == DONE
    assert (folder / "one.png").stat().st_size > 10_000
    assert (folder / "two.tif").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["download", "--bbox", "7,51,8,50"], 2, "south"),
        (["download", "--bbox", "7,50,8"], 2, "3 numbers"),
        (["download", "--bbox", BOX, "--start", "2026-13-31"], 2, "not a date"),
        (["download", "--bbox", BOX, "--start", "2014-01-01"], 2, "before the first"),
        (["download", "--bbox", BOX, "--start", "2099-01-01"], 2, "in the future"),
        (["download", "--bbox", BOX, "--start", DAY, "--end", "2026-01-19"], 2, "after the last"),
        (["download", "--bbox", BOX, "--start", DAY, "--end", DAY], 2, "input ended at 'Back end'"),
        (["download"], 2, "input ended at 'Back end'"),
        ([], 2, "input ended at 'What do you want to do?"),
        (["retrieve", "--bbox", BOX, "--day", DAY], 2, "no archive at sentinel1.zarr"),
        (["list", "--archive", "file.txt"], 2, "file.txt"),
        (["retrieve", "--archive", "nowhere"], 2, "no archive at nowhere"),
        (["verify", "--archive", "."], 2, "not"),
        (["fly"], 2, "fly"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_done(
    folder, answer, arguments, code, words, capsys
):
    (folder / "file.txt").write_text("a file")
    assert main.main(arguments) == code
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert [path.name for path in folder.iterdir()] == ["file.txt"]


def test_a_back_end_that_is_not_there_is_said_and_costs_nothing(folder, answer, capsys):
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--yes"]
    assert main.main(["download", "--backend", "http://127.0.0.1:9", *flags]) == FAILED
    said = capsys.readouterr().err
    assert "127.0.0.1:9" in said
    assert "Traceback" not in said
    assert not (folder / main.ZARR_PATH).exists()


def test_a_back_end_over_plain_http_elsewhere_is_refused(folder, answer, capsys):
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--yes"]
    assert main.main(["download", "--backend", "http://openeo.example.org", *flags]) == USAGE
    assert "https" in capsys.readouterr().err


def test_a_day_without_an_image_is_no_data(folder, answer, sandbox, capsys):
    assert order(sandbox) == DONE
    assert main.main(["retrieve", "--bbox", BOX, "--day", "2026-01-19"]) == NO_DATA
    assert main.main(["retrieve", "--bbox", "10,10,10.1,10.1", "--day", DAY]) == NO_DATA
    assert DAY in capsys.readouterr().err, "it says which days there are"


def test_synthetic_data_never_joins_a_measured_archive(folder, answer, sandbox, capsys):
    assert order(sandbox) == DONE
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--yes", "--backend", "cdse"]
    assert main.main(["download", *flags]) == USAGE
    assert "synthetic" in capsys.readouterr().err


def test_the_list_is_for_people_and_for_programs(folder, answer, sandbox, capsys):
    assert order(sandbox) == DONE
    capsys.readouterr()
    assert main.main(["list"]) == DONE
    table = capsys.readouterr().out
    assert "E003.72_N51.2" in table
    assert "synthetic" in table
    assert main.main(["list", "--json"]) == DONE
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["day"] for row in rows] == [DAY, DAY]
    assert main.main(["list", "--jobs"]) == DONE
    assert capsys.readouterr().out.count("archived") == 2
    assert main.main(["verify"]) == DONE


def test_help_is_quick_and_imports_no_heavy_library():
    code = (
        "import sys, main; main.main(['--help']);"
        "bad = {'openeo', 'matplotlib', 'zarr', 'xarray', 'numba'} & set(sys.modules);"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "download" in done.stdout
