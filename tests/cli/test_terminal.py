"""Every question: its default, a good answer, a bad one, the end of input, and Ctrl-C.

Twice: typed on a pseudo-terminal, and piped.  The screens that people see are kept in
`tests/screens`; `UPDATE_SCREENS=1 pytest tests/cli/test_terminal.py` writes them anew.
"""

from __future__ import annotations

import datetime as dt
import io
import itertools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import xarray as xr

import convert
import main
import retrieve
from cli import questions, terminal
from cli.exits import DONE, FAILED, INTERRUPTED, USAGE
from grid import FIRST_DAY, BBox, Chunk, Provenance, tiles_covering
from healpix.ids import runs_to_ids
from jobs import login
from jobs.journal import Journal, Request
from store import Archive
from tests.conftest import ROOT
from tests.folders import copied
from tests.rounds import combinations, torture, turns

SCREENS = ROOT / "tests" / "screens"
BOX = "3.9,51.2,4.1,51.22"  # parts of two tiles
DAY = dt.date(2026, 1, 20)
NSIDE = 4096  # coarse, so that a record is small
NOWHERE = "http://127.0.0.1:9"  # nobody listens there


def put(archive, bbox, day, orbit="any", backend="sandbox"):
    for tile in tiles_covering(BBox.parse(bbox), (1, 0.5)):
        start, length = convert.tile_runs(tile, NSIDE, "sphere")
        ids = runs_to_ids(start, length)
        values = {band: ("cells", (0.01 + ids % 97 / 1000).astype("f4")) for band in ("VV", "VH")}
        values |= {"count": ("cells", np.ones(len(ids), "u2"))}
        values |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
        attrs = {"nside": NSIDE, "ellipsoid": "sphere", "ordering": "nested", "source": ""}
        about = Provenance(backend, "SENTINEL1_GRD", "job", "2026-01-21T00:00:00+00:00", True)
        archive.write(Chunk(tile, day, orbit), xr.Dataset(values, attrs=attrs), about)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A folder with archives: whole.zarr, damaged.zarr, stopped.zarr."""
    folder = tmp_path_factory.mktemp("archives")
    whole = Archive(folder / "whole.zarr")
    put(whole, BOX, DAY)
    put(whole, BOX, dt.date(2026, 1, 14))
    for orbit in ("ascending", "descending"):
        put(whole, "3.9,51.2,3.95,51.22", dt.date(2026, 1, 8), orbit)
    for name in ("damaged", "stopped"):
        shutil.copytree(folder / "whole.zarr", folder / f"{name}.zarr")
    shard = folder / "damaged.zarr" / "E003.0_N51.0" / "VV" / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 0xFF
    shard.write_bytes(data)
    journal = Journal(folder / "stopped.zarr.downloads")
    days = DAY, dt.date(2026, 1, 21)
    journal.open_request(Request(NOWHERE, BBox.parse(BOX), *days, "any", 2, 0.0, done=2))
    tiles = tiles_covering(BBox.parse(BOX), (1, 0.5))
    journal.plan(NOWHERE, [(Chunk(tile, day), "x") for tile in tiles for day in days])
    journal.close()
    return folder


@pytest.fixture
def folder(archives, tmp_path):
    """A copy of the archives to work with."""
    copied(archives, tmp_path)
    (tmp_path / "there.png").write_text("something precious")
    return tmp_path


def listing(folder):
    return sorted(str(path) for path in folder.rglob("*") if ".lock" not in path.name)


@dataclass
class Question:
    """A question, the way to it, and what some answers lead to."""

    name: str  # as the end of input names it
    asked: str  # how its line ends
    way: list[str]  # answers to the questions before it
    default: str  # what is shown after Enter
    bad: str
    reason: str
    good: str
    then: str
    arguments: list[str] = field(default_factory=list)


FIELD = "POLYGON ((3.9 51.2, 4.1 51.2, 4.0 51.22, 3.9 51.2))"
WHOLE = ["retrieve", "--archive", "whole.zarr", "--no-show"]
QUESTIONS = [
    Question(
        "What do you want to do?", "Which one [1]: ", [], "Back end",
        "0", "'0' is not one of 1, 2, 3, 4, 5, 6, 7, 8, q.",
        "list", "There is no archive at sentinel1.zarr",
    ),
    Question(
        "Continue it?", "stopped with 2 of 4 chunks done.  Continue it? [Y/n]: ", [],
        "There is no usable answer of an openEO back end at http://127.0.0.1:9",
        "perhaps", "'perhaps' is neither y nor n.", "n", "What do you want to do?",
        ["--archive", "stopped.zarr"],
    ),
    Question(
        "Back end", "1, 2 or the address of another one [1]: ", ["1"], "Area",
        "3", "'3' is neither cdse, sandbox nor an address like https://...", "cdse", "Area",
    ),
    Question(
        "Area", "[3.6,51.1,4.4,51.4]: ", ["1", ""], "west 3.6, south 51.1, east 4.4, north 51.4",
        "7,50,8", "'7,50,8' has 3 parts, not 4.", "51N 7E 52N 8E",
        "west 7, south 51, east 8, north 52: 69 x 111 km, 2 tiles (E007.0_N51.0, E007.0_N51.5).",
    ),
    Question(  # latitudes first: open sea
        "Did you mean 3.6,51.1,4.4,51.4?",
        "51.1,3.6,51.4,4.4 is open sea, and 3.6,51.1,4.4,51.4 has land.  "
        "Did you mean 3.6,51.1,4.4,51.4? [Y/n]: ",
        ["1", "", "51.1,3.6,51.4,4.4"], "west 3.6, south 51.1, east 4.4, north 51.4",
        "8", "'8' is neither y nor n.", "n", "west 51.1, south 3.6, east 51.4, north 4.4",
    ),
    Question(  # latitudes first: no box at all as it stands
        "Did you mean 120,50,121,51?", "south is 120; it must lie between -90 and 90.  "
        "Did you mean 120,50,121,51? [Y/n]: ", ["1", "", "[50, 120, 51, 121]"],
        "west 120, south 50, east 121, north 51", "8", "'8' is neither y nor n.", "n", "Area",
    ),
    Question(
        "Right?", "Right? [Y/n]: ", ["1", "", ""], "First day",
        "right", "'right' is neither y nor n.", "n", "Area",
    ),
    Question(  # across 180 degrees, the careful answer is the default one
        "Right?", "Right? [y/N]: ", ["1", "", "179,-17,-179,-16"], "Area",
        "8", "'8' is neither y nor n.", "y", "First day",
    ),
    Question(
        "First day", "or a month, a year, a week, or days A/B [2026-01-20]: ", ["1", "", "", ""],
        "Last day", "2026-13-31", "'2026-13-31' is not a date.  Write 2026-01-31, 2026-01, ",
        "2026-01", "2026-01-01 to 2026-01-31, 31 days.",
    ),
    Question(
        "First day", "or a month, a year, a week, or days A/B [2026-01-20]: ", ["1", "", "", ""],
        "Last day", "31/02/2026", "'31/02/2026' is not a date.",
        "20/01/2026", "20/01/2026 is 2026-01-20 (UTC)",
    ),
    Question(
        "Last day, included", "included [2026-01-20]: ", ["1", "", "", "", ""], "chunks 2 ",
        "2026-01-19", "The first day, 2026-01-20, is after the last day, 2026-01-19.",
        "2026-01-21", "2026-01-20 to 2026-01-21, 2 days.",
    ),
    Question(
        "Start?", "Start? [y/N]: ", ["1", "", "", "", "", ""], "Nothing was started.",
        "1", "'1' is neither y nor n.", "no", "Nothing was started.",
    ),
    Question(
        "Area", "[3,51,4,51.5]: ", [], "west 3, south 51, east 4, north 51.5",
        "3,51,4,50", "south (51) must be smaller than north (50)",
        BOX, "14 x 2.2 km, 2 tiles", WHOLE,
    ),
    Question(
        "Leave out what is outside of the polygon?", "outside of the polygon? [Y/n]: ",
        [FIELD, ""], "The archive has, with the share of the area:",
        "8", "'8' is neither y nor n.", "n", "The archive has, with the share of the box:", WHOLE,
    ),
    Question(
        "Day", "Day or days A/B [2026-01-20]: ", [BOX, ""], "Bands",
        "2026-01-19", f"The archive has nothing of {BOX} on 2026-01-19.",
        "2026-01-14", "Bands", WHOLE,
    ),
    Question(
        "Passes of which orbit?", "1 ascending  2 descending  3 any  4 apart [1]: ",
        [BOX, "", "2026-01-08"], "Bands", "5", "'5' is not one of 1, 2, 3, 4.", "any", "Bands",
        WHOLE,
    ),
    Question(
        "Bands", "Bands [VV,VH]: ", [BOX, "", ""], "Files",
        "VV,HH", "The archive has VV, VH, but not HH.", "vh", "Files", WHOLE,
    ),
    Question(
        "Files", "_51.22.png]: ", [BOX, "", "", "VV"], "dB (2nd to 98th percentile)",
        "a.jpg", "'a.jpg': a name must end in .png, .nc, .tif or .gif.",
        "none", "There is no display to open a window on", WHOLE[:-1],
    ),
    Question(
        "Replace it?", "there.png exists.  Replace it? [y/N]: ", [BOX, "", "", "VV", "there.png"],
        "Files", "!", "'!' is neither y nor n.", "y", "dB (2nd to 98th percentile)", WHOLE,
    ),
    Question(
        "Remove 1 damaged record, so that `download` orders it again?", "again? [y/N]: ", ["4"],
        "`verify --remove` removes what is damaged", "all", "'all' is neither y nor n.",
        "y", "Removed 1 damaged record.", ["--archive", "damaged.zarr"],
    ),
    Question(
        "Remove 2 records for good?", "for good? [y/N]: ", ["8", BOX, "", "2026-01-20", ""],
        "Nothing was removed.", "some", "'some' is neither y nor n.",
        "y", "Removed 2 records.", ["--archive", "whole.zarr"],
    ),
]  # fmt: skip
IDS = [f"{i}-{question.name.split(',')[0][:12]}" for i, question in enumerate(QUESTIONS)]
each_question = pytest.mark.parametrize("question", turns(QUESTIONS, 3), ids=turns(IDS, 3))
some_questions = pytest.mark.parametrize("question", turns(QUESTIONS, 5), ids=turns(IDS, 5))


# --- on a terminal ----------------------------------------------------------------------


@pytest.fixture
def typed(folder, monkeypatch):
    """Start `main.py` on a pseudo-terminal, in the folder of archives."""
    terminals = pytest.importorskip("tests.terminals", reason="needs a pseudo-terminal")
    settings = {"convert.NSIDE": NSIDE, "jobs.login.CONNECT_TRIES": 1, "retrieve.DPI": 40}
    settings["jobs.catalogue.RETRIES"] = 0
    settings["cli.bar.SHOWN_AFTER"] = 60
    environ = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"), "")

    def start(question, columns=200, rows=200, more=()):
        return terminals.Terminal(
            folder, *question.arguments, columns=columns, rows=rows, environ=environ,
            settings=settings | dict(more),
        )  # fmt: skip

    return start


def go_to(running, question):
    running.answer(*question.way)
    running.wait_for(question.asked)


@torture
@some_questions
def test_typed_bad_answers_get_a_reason_and_the_question_again(typed, question):
    with typed(question) as running:
        go_to(running, question)
        running.answer(question.bad)
        running.wait_for(question.reason)
        assert "\n" in running.wait_for(question.asked), "on a line of its own"
        running.answer("")
        running.wait_for(question.default)


@torture
@some_questions
def test_typed_good_answers_lead_on(typed, question):
    with typed(question) as running:
        go_to(running, question)
        running.answer(question.good)
        running.wait_for(question.then)


KEYS = {"d": USAGE, "c": INTERRUPTED}  # with Ctrl: the end of input, and an interrupt


@torture
@pytest.mark.parametrize(
    ("question", "key"), turns(itertools.product(QUESTIONS, KEYS), 6),
    ids=lambda given: given if isinstance(given, str) else given.name[:12],
)  # fmt: skip
def test_at_any_question_one_can_leave_and_nothing_was_done(typed, folder, question, key):
    before = listing(folder)
    with typed(question) as running:
        go_to(running, question)
        running.press(key)
        assert running.end() == KEYS[key]
    said = running.screen
    assert "Traceback" not in said
    ended = f"input ended at '{question.name}'; nothing was started"
    assert (ended if key == "d" else "Interrupted; nothing was started.") in said
    assert listing(folder) == before


def test_typed_question_marks_explain_and_back_returns(typed):
    """In one sitting: the menu, an area as people have it, days as they say them."""
    with typed(QUESTIONS[0]) as running:
        running.wait_for("Which one [1]: ")
        running.answer("?")
        running.wait_for("The number of a command, or its name.")
        running.wait_for("Which one [1]: ")
        running.answer("back")
        running.wait_for("There is no question before this one.")
        running.answer("1", "", "area.shp")
        running.wait_for("There is no file area.shp; an area is a box, or GeoJSON, a shapefile, ")
        running.answer("51.4N 3.6E 51.1N 4.4E")
        running.wait_for("west 3.6, south 51.1, east 4.4, north 51.4")
        running.answer("back")
        running.wait_for("Area, west,south,east,north in degrees, or a file or WKT of polygons")
        running.answer("help")
        running.wait_for("A box, as 3.6,51.1,4.4,51.4")
        running.answer("3.6/51.1/4.4/51.4", "y")
        running.wait_for("or days A/B [2026-01-20]: ")
        running.answer("last 3 days")
        running.wait_for("last 3 days is ")
        running.wait_for(", 3 days.")
        running.press("c")
        assert running.end() == INTERRUPTED


# --- through a pipe ---------------------------------------------------------------------


@pytest.fixture
def piped(folder, monkeypatch, capsys):
    """Run `main.py` with these lines on its standard input: exit code, stderr and stdout."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(convert, "NSIDE", NSIDE)
    monkeypatch.setattr(login, "CONNECT_TRIES", 1)
    monkeypatch.setattr(retrieve, "DPI", 40)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    def run(arguments, *lines):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        code = main.main(arguments)
        out, err = capsys.readouterr()
        return code, err, out

    return run


@torture
@each_question
def test_piped_answers_are_read_like_typed_ones(piped, question):
    _, said, _ = piped(question.arguments, *question.way, question.bad, "")
    assert said.count(question.asked.strip()) == 2
    assert said.index(question.reason) < said.rindex(question.asked.strip())
    assert question.default in said[said.rindex(question.asked.strip()) :]
    assert "Traceback" not in said
    assert question.then in piped(question.arguments, *question.way, question.good)[1]


@torture
@each_question
def test_at_the_end_of_a_pipe_nothing_was_done(piped, folder, question):
    before = listing(folder)
    code, said, _ = piped(question.arguments, *question.way)
    assert code == USAGE
    assert said.endswith(f"Error: input ended at '{question.name}'; nothing was started\n")
    assert listing(folder) == before


def test_a_pipe_that_never_ends_is_no_loop(piped, monkeypatch):
    class Yes(io.StringIO):
        def readline(self, *_):
            return "yes\n"

    monkeypatch.setattr("io.StringIO", Yes)
    code, said, _ = piped([])
    assert code == USAGE
    assert "none of 20 answers could be used at 'What do you want to do?'" in said


def test_a_tile_that_cannot_be_read_can_still_be_removed(piped, folder):
    (folder / "whole.zarr" / "E003.0_N51.0" / "zarr.json").write_text("garbage")
    code, said, _ = piped(["--archive", "whole.zarr"], "q")
    assert (code, "(damaged: verify it)" in said) == (DONE, True)
    code, said, out = piped(["--archive", "whole.zarr"], "4", "y")
    assert code == FAILED
    assert "E003.0_N51.0" in out
    assert "Removed 1 unreadable tile." in said
    assert piped(["verify", "--archive", "whole.zarr"])[0] == DONE


# --- what people see --------------------------------------------------------------------

SESSIONS = {
    "download": (
        [],
        ["1", "", "51,3,51.5,4", "", "n", BOX, "", "2026-13-31", "2026-01", "n"],
        DONE,
    ),
    "catalogue": (
        ["download", "--backend", NOWHERE, "--bbox", BOX, "--start", "2026-01", "--archive", "x"],
        ["y", "n"],
        DONE,
    ),
    "retrieve": (WHOLE, ["", "n", BOX, "", "2026-01-08", "2", "", "there.png", "n", "x.nc"], DONE),
    "continue": (["--archive", "stopped.zarr"], ["n", "q"], DONE),
    "list": (["list", "--archive", "whole.zarr"], [], DONE),
    "verify": (["verify", "--archive", "damaged.zarr"], ["n"], FAILED),
    "error": (["download", "--bbox", "8,51,7,50"], [], USAGE),
}


@torture
@pytest.mark.parametrize(("name", "columns"), turns(itertools.product(SESSIONS, [80, 20])))
def test_the_screens_are_those_that_were_looked_at(typed, name, columns):
    arguments, answers, code = SESSIONS[name]
    with typed(Question("", "", [], "", "", "", "", "", arguments), columns) as running:
        for answer in answers:
            running.wait_for("]: ")
            running.answer(answer)
        assert running.end() == code
    check_screen(f"{name}-{columns}", running.screen)


def check_screen(name, shown):
    path = SCREENS / f"{name}.txt"
    if os.environ.get("UPDATE_SCREENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(shown + "\n", encoding="utf-8")
    assert shown + "\n" == path.read_text(encoding="utf-8")


# --- windows of every size --------------------------------------------------------------

WINDOWS = [(0, 0), (1, 1), (2, 2), (19, 19), (80, 0)]
BUG = {"images.scales.NARROWEST_DB": None}  # nobody can: it stands for an error that nobody raised
COMMANDS: dict[str, Any] = {
    **SESSIONS,
    "help": (["retrieve", "--help"], [], DONE),
    "jobs": (["list", "--jobs", "--archive", "stopped.zarr"], [], DONE),
    "draw": ([*WHOLE, "--bbox", BOX, "--day", "2026-01-20", "--output", "x.png"], [], DONE),
    "map": (["list", "--map", "map.png", "--archive", "whole.zarr"], [], DONE),
    "usage": (["retrieve", "--nothing"], [], USAGE),
    "bug": ([*WHOLE, "--bbox", BOX, "--day", "2026-01-20", "--output", "x.png"], [], FAILED, BUG),
}


@torture
@pytest.mark.parametrize(("name", "window"), combinations(COMMANDS, WINDOWS), ids=str)
def test_every_command_ends_as_it_should_in_a_window_of_any_size(typed, name, window):
    arguments, answers, code, *settings = COMMANDS[name]
    question = Question("", "", [], "", "", "", "", "", arguments)
    with typed(question, *window, {"cli.bar.SHOWN_AFTER": 0, **dict(*settings)}) as running:
        running.answer(*answers)
        assert running.end() == code, running.shown
    assert "Traceback" not in running.shown
    words = " ".join(running.shown.split())  # a narrow window breaks lines
    assert ("This is a bug" in words) == (name == "bug")


@pytest.mark.parametrize("columns", ["", "0", "-3", "wide", "1", "19"])
@pytest.mark.parametrize("line", ["", "  ", " one  two ", "one\n \ntwo-three"])
def test_a_line_is_told_whatever_the_environment_says_of_the_window(columns, line, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    terminal.tell(line)
    assert stream.getvalue().split() == line.split()


@pytest.mark.parametrize("columns", [14, 20, 21, 30, 80])
def test_a_line_that_was_begun_ends_as_if_it_was_told_at_once(columns, monkeypatch):
    class Stream(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    shown = []
    for title, rest in (("", "one  two-three four five"), ("one  two-three ", "four five")):
        stream = Stream()
        monkeypatch.setattr(sys, "stderr", stream)
        if title:
            terminal.begin(title)
        terminal.tell(rest, title)
        shown.append(stream.getvalue())
    assert shown[0] == shown[1]
    assert all(len(line) <= columns for line in shown[0].split("\n"))


# --- the words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (9_960, "10 kB"), (999_499, "999 kB"),
        (999_500, "1.0 MB"), (2.6e9, "2.6 GB"), (330e6, "330 MB"), (7e15, "7000 TB"),
    ],
)  # fmt: skip
def test_sizes_are_short(number, words):
    assert terminal.size(number) == words


@pytest.mark.parametrize(
    ("seconds", "words", "short"),
    [
        (0, "1 second", "1 s"), (1, "1 second", "1 s"), (89, "89 seconds", "89 s"),
        (90, "2 minutes", "2 min"), (3000, "50 minutes", "50 min"), (5400, "2 hours", "2 h"),
        (172_800, "2 days", "2 d"), (1e9, "11574 days", "11574 d"),
    ],
)  # fmt: skip
def test_times_are_short(seconds, words, short):
    assert terminal.duration(seconds) == words
    assert terminal.duration(seconds, short=True) == short


@pytest.mark.parametrize(
    ("share", "words"),
    [(None, "-"), (1.0, "100 %"), (0.9997, "99.9 %"), (0.994, "99 %"), (0.004, "0.4 %"),
     (0.0001, "0.1 %"), (0.46, "46 %")],
)  # fmt: skip
def test_a_share_that_is_not_whole_is_never_said_to_be(share, words):
    assert terminal.percent(share) == words


def test_a_period_holds_only_days_that_can_have_images():
    today = dt.datetime.now(dt.UTC).date()
    assert questions.period("2016-02") == (dt.date(2016, 2, 1), dt.date(2016, 2, 29))
    assert questions.period("2014", FIRST_DAY) == (dt.date(2014, 10, 3), dt.date(2014, 12, 31))
    assert questions.period(f"2026-01-20/{today.year + 1}") == (DAY, today)
    for text in ("2014-10-02", "2013", f"{today.year + 1}", "2023-02-29", "2026-1-32", ""):
        with pytest.raises(ValueError, match=r"\S"):
            questions.period(text, FIRST_DAY)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.png", ["a.png"]), ("a.png b.nc", ["a.png", "b.nc"]), ("a.TIF,b.nc", ["a.TIF", "b.nc"]),
        ("my box.png two.tif", ["my box.png", "two.tif"]), ("'Köln 1.nc'", ["Köln 1.nc"]),
        ("none", []), ("-", []), ("a.png a.png", ["a.png"]), ("s1.nc.png", ["s1.nc.png"]),
    ],
)  # fmt: skip
def test_names_of_files_may_hold_blanks(text, names):
    assert list(questions.file_names(text)) == names


@pytest.mark.parametrize(
    ("text", "name"),
    [("cdse", "cdse"), (" Sandbox ", "sandbox"), ("https://openeo.example.org", None),
     ("openeo.example.org", "https://openeo.example.org"), ("http://127.0.0.1:8080", None)],
)  # fmt: skip
def test_a_back_end_is_a_name_or_a_safe_address(text, name):
    assert questions.back_end(text) == (name or text)


@pytest.mark.parametrize("text", ["cds", "", "http://openeo.example.org", "a b.c", "ftp://x.org"])
def test_what_is_no_back_end_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        questions.back_end(text)


def test_an_address_is_judged_without_the_client_of_openeo():
    judge = (
        "import sys\nfrom cli import questions\n"
        "questions.back_end('https://openeo.example.org')\n"
        "questions.catalogue_address('https://stac.example.org/v1')\n"
        "assert 'openeo' not in sys.modules and 'requests' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", judge], cwd=ROOT, check=True)
