"""The main job through the program: order, download, convert, store, retrieve, draw."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time

import matplotlib.image
import numba
import numpy as np
import psutil
import pytest
import xarray as xr

import convert
import download
import main
import retrieve
from archive.layout import ArchiveError
from cells.raster import open_raster
from cli import download_command, exits
from cli.exits import DISK_FULL, DONE, FAILED, INTERRUPTED, LOGIN_NEEDED, NO_DATA, USAGE
from cli.running import remarks
from cli.terminal import InputEnded
from cli.workspace import Workspace
from grid import Provenance
from healpix.kept import announcement
from jobs import journal, trouble
from store import Archive
from tests.cells.test_average import HERE, make_raster
from tests.conftest import ROOT
from tests.folders import copied
from tests.rounds import seldom, torture, turns

BOX = "3.73,51.21,3.79,51.23"  # parts of two tiles of 0.04 x 0.04 degrees
DAY = "2026-01-20"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, tiles small enough for a test, and no display."""
    settle(tmp_path, monkeypatch)
    return tmp_path


def settle(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(download, "CHUNK_SIZE", [0.04, 0.04])
    monkeypatch.setattr(download, "POLL_WAIT_TIME", 0.1)
    monkeypatch.setattr(download, "START_INTERVAL", 0.0)
    monkeypatch.setattr(retrieve, "DPI", 75)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    login = {"METHOD": "client_credentials", "PROVIDER_ID": "sandbox"}
    login |= {"CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret"}
    for name, value in login.items():
        monkeypatch.setenv(f"OPENEO_AUTH_{name}", value)


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


@pytest.fixture(scope="module")
def made(sandbox, tmp_path_factory):
    """The archive that `order` makes, and what is kept beside it."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        settle(folder, patch)
        assert order(sandbox) == DONE
    return folder


@pytest.fixture
def ordered(made, folder, answer, capsys):
    """A copy of it in the working folder."""
    copied(made, folder)


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
    assert "'2026-13-31' is not a date.  Write 2026-01-31, " in said
    by_flags, by_answers = Archive("flags.zarr"), Archive("answers.zarr")
    assert by_flags.chunks() == by_answers.chunks() != []
    for chunk in by_flags.chunks():
        xr.testing.assert_identical(by_flags.read(chunk), by_answers.read(chunk))

    answer("2", BOX, "y", "", "", "one.png two.tif")
    assert main.main(["--archive", "answers.zarr"]) == DONE
    assert (folder / "one.png").stat().st_size > 10_000
    assert (folder / "two.tif").exists()


def test_a_cluster_does_the_same_work(folder, answer, sandbox, cluster, capsys):
    box = "--bbox", BOX, "--day", DAY, "--archive", "there.zarr", "--no-show"
    there = "--scheduler", cluster
    assert order(sandbox, "--archive", "here.zarr") == DONE
    assert order(sandbox, "--archive", "there.zarr", *there) == DONE
    for where, name in (((), "here.nc"), (there, "there.nc")):
        assert main.main(["retrieve", *box, "--output", name, *where]) == DONE
    here, archive = Archive("here.zarr"), Archive("there.zarr")
    assert here.chunks() == archive.chunks() != []
    for chunk in here.chunks():
        xr.testing.assert_identical(here.read(chunk), archive.read(chunk))
    with xr.open_dataset("here.nc") as one, xr.open_dataset("there.nc") as other:
        xr.testing.assert_equal(one, other)
    assert "large graph" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["download", "--bbox", "7,51,8,50"], 2, "south"),
        (["download", "--bbox", "7,50,8"], 2, "3 parts"),
        (["download", "--bbox", "7,50,7,51"], 2, "no width"),
        (["download", "--bbox", "7,50,8,91"], 2, "between -90 and 90"),
        (["download", "--bbox", "nan,50,8,51"], 2, "not a finite number"),
        (["download", "--bbox", f"{'9' * 400},50,8,51"], 2, "not a finite number"),
        (["download", "--bbox", "7,5,50,0,8,5,51,0"], 2, "with a decimal point"),
        (["download", "--bbox", "missing.geojson"], 2, "There is no file missing.geojson"),
        (["download", "--bbox", BOX, "--start", "2023-02-29"], 2, "not a date"),
        (["download", "--backend", "copernicus"], 2, "neither cdse, sandbox nor an address"),
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


def test_a_day_without_an_image_is_no_data(ordered, folder, answer, sandbox, capsys):
    assert main.main(["retrieve", "--bbox", BOX, "--day", "2026-01-19"]) == NO_DATA
    assert main.main(["retrieve", "--bbox", "10,10,10.1,10.1", "--day", DAY]) == NO_DATA
    assert DAY in capsys.readouterr().err, "it says which days there are"


def test_synthetic_data_never_joins_a_measured_archive(ordered, folder, answer, sandbox, capsys):
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--yes", "--backend", "cdse"]
    assert main.main(["download", *flags]) == USAGE
    assert "synthetic" in capsys.readouterr().err


def test_the_list_is_for_people_and_for_programs(ordered, folder, answer, sandbox, capsys):
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


# --- what is asked, kept and refused -----------------------------------------------------


def test_the_last_good_answers_are_the_defaults_of_the_next_run(
    ordered, folder, answer, sandbox, capsys
):
    capsys.readouterr()
    answer("1", "", "", "", "", "n")
    assert main.main([]) == DONE
    said = capsys.readouterr().err
    assert f"[{BOX}]" in said, "the area"
    assert f"or days A/B [{DAY}]" in said
    assert "Back end" not in said, "an archive stays with its back end"
    assert "already archived 2" in said
    answer("2", "", "", "", "", "none")
    assert main.main([]) == DONE
    assert f"[{BOX}]" in capsys.readouterr().err


def test_the_archive_may_be_named_before_or_behind_the_command(folder, answer, sandbox, capsys):
    assert order(sandbox, "--archive", "a.zarr") == DONE
    capsys.readouterr()
    lists = []
    for arguments in (["--archive", "a.zarr", "list"], ["list", "--archive", "a.zarr"]):
        assert main.main(arguments) == DONE
        lists.append(capsys.readouterr().out)
    assert lists[0] == lists[1] != ""


def test_what_is_in_the_way_is_replaced_only_if_that_was_said(
    ordered, folder, answer, sandbox, capsys
):
    (folder / "Köln Süd.tif").write_text("precious")
    flags = ["retrieve", "--bbox", BOX, "--day", DAY, "--no-show", "--output", "Köln Süd.tif"]
    capsys.readouterr()
    assert main.main(flags) == USAGE
    said = capsys.readouterr()
    assert "Köln Süd.tif exists already.  Nothing was done.  Name another file" in said.err
    assert "dB" not in said.err, "refused before the work"
    assert (folder / "Köln Süd.tif").read_text() == "precious"
    assert main.main([*flags, "--overwrite"]) == DONE
    assert (folder / "Köln Süd.tif").stat().st_size > 1000
    assert main.main(["list", "--map", "map.png"]) == DONE
    assert main.main(["list", "--map", "map.png"]) == USAGE
    assert main.main(["list", "--map", "map.png", "--overwrite"]) == DONE


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--no-show"], "name a file with --output"),
        (["--output", "a.jpg"], "must end in .nc or .tif or .png"),
        (["--output", "missing/a.png"], "the folder missing does not exist"),
        (["--output", "."], "is a folder"),
        (["--bands", "HH", "--no-show", "--output", "a.png"], "The archive has VV, VH"),
        (["--orbit", "sideways"], "sideways"),
        (["--day", "2026-01"], "not a single day"),
    ],
)
def test_a_retrieval_that_cannot_be_is_refused_before_the_work(
    ordered, folder, answer, sandbox, more, words, capsys
):
    capsys.readouterr()
    assert main.main(["retrieve", "--bbox", BOX, "--day", DAY, *more]) == USAGE
    said = capsys.readouterr().err
    assert words in said
    assert "bug" not in said


def test_a_damaged_record_is_named_removed_and_ordered_again(
    ordered, folder, answer, sandbox, capsys
):
    before = Archive(main.ZARR_PATH)
    [first, _] = before.chunks()
    cells = before.read(first)
    shard = folder / main.ZARR_PATH / first.tile.name / "VH" / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    capsys.readouterr()
    assert main.main(["verify"]) == FAILED
    said = capsys.readouterr()
    assert first.tile.name in said.out
    assert "`verify --remove`" in said.err
    assert main.main(["verify", "--remove"]) == FAILED
    created = sandbox.events()["counts"]["created"]
    assert order(sandbox) == DONE
    assert sandbox.events()["counts"]["created"] == created + 1, "only the damaged one"
    xr.testing.assert_identical(Archive(main.ZARR_PATH).read(first), cells)
    assert main.main(["verify"]) == DONE


def test_west_of_east_is_across_180_degrees(folder, answer, capsys):
    answer("n")
    flags = ["--bbox", "179.99,-17,-179.99,-16.99", "--start", DAY, "--end", DAY]
    assert main.main(["download", *flags, "--backend", "sandbox", "--no-catalogue"]) == DONE
    said = capsys.readouterr().err
    assert "across 180 degrees (179.99 to 180 and -180 to -179.99): 2.1 x 1.1 km, 2 tiles" in said


@seldom(2)
def test_a_whole_continent_is_planned_quickly_and_asked_about(folder, answer, monkeypatch, capsys):
    monkeypatch.setattr(download, "CHUNK_SIZE", [1, 0.5])
    monkeypatch.setattr(download_command, "require_free_disk", lambda *_: None)  # it takes 844 GB
    answer("n")
    began = time.process_time()  # the computer may have other things to do
    flags = ["--bbox", "-10,35,30,60", "--start", "2026-01-01", "--end", "2026-01-10"]
    assert main.main(["download", *flags, "--backend", "cdse", "--no-catalogue"]) == DONE
    said = " ".join(capsys.readouterr().err.split())
    assert "2000 tiles" in said
    assert "to order 20000" in said
    assert re.search(r"about \d\.\d TB to download, \d+ GB to archive, \d+ days with 2 slots", said)
    assert "(a typical value), at least 40000 credits" in said
    assert time.process_time() - began < 20
    assert list(folder.iterdir()) == []


# --- how a download ends -----------------------------------------------------------------


def test_failures_are_listed_with_reasons_and_what_to_do(folder, answer, sandboxes, capsys):
    own = sandboxes("--job-seconds", "0.05", "--fault", "job-error,title=E003.72")
    assert order(own) == FAILED
    said = capsys.readouterr()
    table = said.out.splitlines()
    assert [line.split()[0] for line in table] == [
        "what", "archived", "no", "failed", "spent", "downloaded",
    ]  # fmt: skip
    assert table[1].split()[1] == "1"
    assert "E003.72_N51.2_2026-01-20" in table[3]
    assert "tried 3 times" in table[3]
    assert "Run the same command to try the failed ones again" in said.err
    assert "download.log" in said.err
    own.clear_faults()
    assert order(own) == DONE
    assert "archived    1" in capsys.readouterr().out


def test_days_without_an_image_are_exit_code_3(folder, answer, sandboxes, capsys):
    own = sandboxes("--job-seconds", "0.05", "--fault", "job-no-data-error")
    assert order(own) == NO_DATA
    assert "no data     2" in capsys.readouterr().out
    assert order(own) == NO_DATA, "known empty"
    assert "known empty 2" in capsys.readouterr().err
    assert not (folder / main.ZARR_PATH).exists()
    own.clear_faults()
    assert order(own, "--retry-empty") == DONE


def test_without_a_login_and_without_anybody_there_the_ways_are_named(
    folder, answer, sandbox, monkeypatch, capsys
):
    for name in ("METHOD", "PROVIDER_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"OPENEO_AUTH_{name}")
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "OPENEO_CONFIG_HOME"):
        monkeypatch.setenv(name, str(folder / "home"))
    assert order(sandbox) == LOGIN_NEEDED
    assert "OPENEO_AUTH_METHOD=client_credentials" in capsys.readouterr().err
    assert not (folder / main.ZARR_PATH).exists()


def test_an_account_without_credits_is_said_and_everything_is_kept(
    folder, answer, sandboxes, capsys
):
    own = sandboxes("--job-seconds", "0.05", "--fault", "payment-required")
    assert order(own) == FAILED
    said = capsys.readouterr()
    assert "out of credits" in said.err
    assert "not finished  2" in said.out
    own.clear_faults()
    assert order(own) == DONE


def test_a_measured_archive_takes_no_synthetic_result(folder, answer, faulty, capsys):
    sandbox = faulty
    assert order(sandbox, "--archive", "other.zarr") == DONE
    made_up = Archive("other.zarr")
    [first, second] = made_up.chunks()
    about = Provenance("https://example.org", "SENTINEL1_GRD", "job", "2026-01-21", False)
    Archive(main.ZARR_PATH).write(first, made_up.read(first), about)
    created = sandbox.events()["counts"]["created"]
    sandbox.fault("job-slow,seconds=2,skip=1")
    assert order(sandbox, "--bbox", "3.72,51.2,4.12,51.24") == USAGE, "the last --bbox counts"
    said = capsys.readouterr()
    assert "must not be mixed" in said.err
    assert "not finished  9" in said.out
    assert sandbox.events()["counts"]["created"] < created + 9, "the first result was enough"
    assert Archive(main.ZARR_PATH).chunks() == [first] != [second]


def test_that_loops_are_compiled_is_said_once(folder, answer, monkeypatch, capsys):
    def compiles(_):
        for number in (1, 1.5):
            numba.njit(lambda x: x + 1)(number)
        raise KeyboardInterrupt

    monkeypatch.setattr(announcement, "said", False)
    monkeypatch.setattr(Workspace, "existing", property(compiles))
    assert main.main(["list"]) == INTERRUPTED
    assert capsys.readouterr().err.count("Compiling the loops for this computer") == 1


def test_what_a_raster_gives_rise_to_say_is_shown(capsys):
    values = xr.DataArray(np.ones((2, 3, 3), np.float32), dims=("t", "lat", "lon"))
    axes = {"t": [1, 2], "lat": [50.2, 50.1, 50.0], "lon": [7.0, 7.1, 7.2]}
    with remarks(), open_raster(values.to_dataset(name="VV").assign_coords(axes)):
        pass
    assert capsys.readouterr().err.count("2 time steps; the earliest is used") == 1


def test_that_pixels_are_too_coarse_is_said_once_for_all_files(capsys):
    with remarks():
        for _ in range(3):
            assert "holes" in convert.raster_to_cells(make_raster(HERE, pixel=40.0), HERE).attrs
    assert capsys.readouterr().err.count("stay empty") == 1


# --- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bug", "name"),
    [
        (lambda _: json.loads("{"), "JSONDecodeError"),
        (lambda _: int("x"), "ValueError"),
        (lambda _: xr.Dataset({"a": ("x", [1, 2]), "b": ("x", [1])}), "ValueError"),
    ],
    ids=["raised by the standard library", "by an operation of ours", "by a package beside us"],
)
def test_a_bug_is_said_to_be_one_and_its_traceback_goes_to_a_file(
    bug, name, folder, answer, monkeypatch, capsys
):
    monkeypatch.setattr("platformdirs.user_log_path", lambda *_, **__: folder / "logs")
    monkeypatch.setattr(Workspace, "existing", property(bug))
    assert main.main(["list"]) == FAILED
    said = capsys.readouterr().err
    [log] = (folder / "logs").iterdir()
    assert f"This is a bug: {name}" in said
    assert str(log) in said
    assert "Traceback" not in said
    assert "Traceback" in log.read_text()
    for arguments in (["--debug", "list"], ["list", "--debug"]):
        assert main.main(arguments) == FAILED
        assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (retrieve.NoData("x"), NO_DATA),
        (trouble.LoginNeeded("x"), LOGIN_NEEDED),
        (trouble.CreditsNeeded("x"), FAILED),
        (trouble.Unwanted("x"), USAGE),
        (ArchiveError("x"), USAGE),
        (journal.JournalError("x"), USAGE),
        (InputEnded("x"), USAGE),
        (ConnectionError("x"), FAILED),
        (FileExistsError("x"), USAGE),
        (OSError(errno.ENOSPC, "x"), DISK_FULL),
        (RuntimeError("x"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_kind_of_error_has_its_exit_code(error, code):
    assert exits.exit_code(error) == code


def test_a_full_disk_is_exit_code_5(folder, answer, sandbox, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("archive.folder_writer.Disk.put", full)
    assert order(sandbox) == DISK_FULL
    said = capsys.readouterr()
    assert "not finished" in said.out
    assert "disk" in said.err
    monkeypatch.undo()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_ordered(
    folder, answer, sandbox, capsys
):
    created = sandbox.events()["counts"].get("created", 0)
    folder.chmod(0o500)
    try:
        assert order(sandbox) == USAGE
    finally:
        folder.chmod(0o700)
    assert "cannot be written.  Nothing was ordered." in capsys.readouterr().err
    assert sandbox.events()["counts"].get("created", 0) == created


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_closed_pipe_is_quiet(ordered, folder, answer, sandbox):
    for line, code, out, err in (
        ("list | head -n 1", DONE, "tile ", "2 records"),
        ("list --json 2>&1 | head -n 1", DONE, '{"tile"', ""),
        ("list --json >&-", DONE, "", ""),
        ("--archive other.zarr <&-", USAGE, "", "input ended at 'What do you want to do?'"),
        ("fly 2>&-", USAGE, "", ""),
    ):
        command = f"{sys.executable} {ROOT / 'main.py'} {line}; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == code, (line, done.stderr)
        assert done.stdout.startswith(out), line
        assert len(done.stdout.splitlines()) == bool(out), line
        assert err in done.stderr, line
        assert not re.search("Traceback|Exception|Broken", done.stderr), line


# --- stopping and going on ---------------------------------------------------------------


@pytest.mark.alone
def test_stopped_twice_it_goes_on_with_the_same_jobs(tmp_path):
    """Ctrl-C, then SIGTERM, then to the end: with the built-in back end, on a terminal."""
    terminals = pytest.importorskip("tests.terminals", reason="needs a pseudo-terminal")
    settings = {
        "download.CHUNK_SIZE": [0.02, 0.02],
        "download.POLL_WAIT_TIME": 0.2,
        "download.START_INTERVAL": 0.0,
    }

    def start(*arguments):
        return terminals.Terminal(tmp_path, *arguments, settings=settings)

    box = "3.72,51.2,3.78,51.22"  # three tiles
    flags = ["--bbox", box, "--start", DAY, "--end", DAY, "--backend", "sandbox", "--yes"]
    with start("download", *flags) as running:
        running.wait_for("SYNTHETIC")
        running.wait_for("running")
        running.press("c")
        began = time.monotonic()
        assert running.end() == INTERRUPTED
        assert time.monotonic() - began < 3, "about 2 s, and this machine has other things to do"
        assert "Interrupted: 0 chunks archived, 3 to go." in running.screen
        assert "Traceback" not in running.screen
    with start() as running:
        running.wait_for("An earlier download stopped with 0 of 3 chunks done.  Continue it? [Y/n]")
        running.answer("")
        running.wait_for("on 2026-01-20 (descending) archived")
        os.kill(running.pid, signal.SIGTERM)
        assert running.end() == INTERRUPTED
        assert "Run the same command to continue." in " ".join(running.screen.split())
    with start() as running:
        before = running.wait_for(" of 3 chunks done.  Continue it?")
        assert int(before.split()[-1]) in (1, 2)
        running.answer("")
        assert running.end() == DONE
    with start() as running:
        running.wait_for("(3 records in 3 tiles")
        running.wait_for("What do you want to do?")
    assert orphans(tmp_path) == []
    with sqlite3.connect(tmp_path / f"{main.ZARR_PATH}.downloads/sandbox/sandbox.sqlite") as jobs:
        [[created]] = jobs.execute("SELECT count(*) FROM events WHERE kind = 'created'")
    jobs.close()
    assert created == 3, "no chunk was ordered twice"


@torture
@pytest.mark.parametrize(
    ("columns", "rows", "environ"),
    turns([
        (80, 24, {"COLUMNS": "0", "LINES": "0"}), (0, 0, {}), (1, 1, {}), (2, 2, {}), (19, 19, {}),
    ]),
)  # fmt: skip
def test_a_download_is_drawn_in_a_window_of_any_size(
    folder, sandbox, tmp_path, columns, rows, environ
):
    terminals = pytest.importorskip("tests.terminals", reason="needs a pseudo-terminal")
    settings = {
        "download.CHUNK_SIZE": [0.02, 0.02],
        "download.POLL_WAIT_TIME": 0.2,
        "download.START_INTERVAL": 0.0,
    }
    back_end = "sandbox" if columns == 80 else sandbox.url
    flags = ["--bbox", "3.72,51.2,3.74,51.22", "--start", DAY, "--backend", back_end, "--yes"]
    with terminals.Terminal(
        tmp_path, "download", *flags, "--end", DAY,
        columns=columns, rows=rows, environ=environ, settings=settings,
    ) as running:  # fmt: skip
        assert running.end() == DONE, running.shown
    assert "Traceback" not in running.shown
    assert Archive(tmp_path / main.ZARR_PATH).chunks()


def orphans(folder):
    """Back ends that are still running with their state in the folder."""
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if any(str(folder) in word for word in line)]
