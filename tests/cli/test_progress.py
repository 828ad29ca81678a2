"""What is drawn while a download runs, at any width and where there is no terminal."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import os
import re
import shutil
import subprocess
import sys
import time

import pytest
from rich.console import Console

from cli import bar
from cli.bar import working
from cli.progress import BAR, DONE_BAR, LEFT_BAR, DownloadProgress, Quiet
from cli.redrawn import Rows, folds
from cli.table import print_table
from download import Estimate, Event
from grid import Chunk
from tests.cli.test_terminal import check_screen
from tests.conftest import ROOT
from tests.rounds import seldom
from tests.sphere import tile_at
from tests.waiting import until

DAY = dt.date(2026, 1, 20)
CHUNKS = [Chunk(tile_at(7 + i, 50, (1, 0.5)), DAY) for i in range(8)]


class Stream(io.StringIO):
    """A terminal that keeps what was written."""

    def __init__(self, terminal=True):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


class Watch:
    """A clock that is set by hand."""

    now = 1000.0

    def __call__(self):
        return self.now


def drawing(columns=80, total=8, seconds=2400.0, places=2, terminal=True, size=0):
    """A DownloadProgress, its clock, and functions for what is drawn now and what was said."""
    stream = Stream(terminal)
    console = Quiet(stream)
    console.width = columns
    clock = Watch()
    shown = DownloadProgress(total, Estimate(size, seconds, None, 20), places, console, clock)

    def lines():
        plain = io.StringIO()
        console = Console(file=plain, width=columns)
        console.print(shown.lines(), overflow="ellipsis", no_wrap=True)
        return plain.getvalue().splitlines()

    return shown, clock, lines, lambda: stream.getvalue().splitlines()


def happen(shown, kind, i, slot=None, **more):
    shown(Event(kind, CHUNKS[i], slot, "job", **more))


def halfway(shown, clock):
    """Four of eight chunks at their end, two at the back end, one on its way, one ahead."""
    for i in range(4):
        happen(shown, "started", i, i % 2 + 1, status="queued")
        clock.now += 300
        happen(shown, "finished", i, i % 2 + 1)
        happen(shown, ["archived", "empty", "failed", "archived"][i], i, reason="a reason")
    happen(shown, "started", 4, 1)
    happen(shown, "finished", 4, 1)
    happen(shown, "bytes", 4, 1, bytes=630, total=1000)
    happen(shown, "started", 5, 1)
    happen(shown, "status", 5, 1, status="running")
    happen(shown, "started", 6, 2)
    happen(shown, "created", 7)
    clock.now += 100
    shown.step(CHUNKS[3], "reading back")


@pytest.mark.parametrize("columns", [200, 80, 40, 20])
def test_a_running_download_looks_as_it_was_looked_at(columns):
    shown, clock, lines, said = drawing(columns, size=1_200_000_000)
    halfway(shown, clock)
    happen(shown, "waiting", 6, reason="the account runs as many jobs as it may")
    drawn = lines()
    assert len(drawn) == (5 if columns >= 80 else 8), drawn
    assert all(len(line) <= columns for line in drawn)
    check_screen(f"progress-{columns}", "\n".join([*said(), "", *drawn]))


@pytest.mark.parametrize("columns", [20, 30, 59, 60, 80, 200])
@pytest.mark.parametrize("kind", ["place", "result"])
def test_chunks_of_one_tile_can_be_told_apart_at_any_width(kind, columns):
    tile = CHUNKS[0].tile
    chunks = [
        Chunk(tile, DAY, "ascending"), Chunk(tile, DAY, "descending"),
        Chunk(tile, DAY + dt.timedelta(days=1), "descending"), Chunk(CHUNKS[1].tile, DAY),
    ]  # fmt: skip
    shown, _, lines, _ = drawing(columns, places=4)
    for slot, chunk in enumerate(chunks, 1):
        if kind == "place":
            shown(Event("started", chunk, slot, "job"))
        else:
            shown.step(chunk, "reading back")
    whole = -1 if columns >= 60 else -2  # where what is said of the whole begins
    drawn = lines()[:4] if kind == "place" else "\n".join(lines()[4:whole]).replace(", ", "\n")
    rows = list(drawn) if kind == "place" else drawn.split("\n")
    assert len(rows) == 4, rows
    for chunk, row in zip(chunks[:3], rows, strict=False):
        assert chunk.day.isoformat()[5:] in row
        if chunk.day == DAY:
            assert chunk.orbit[:4] in row
    assert len({row.replace(str(i), "", 1) for i, row in enumerate(rows, 1)}) == 4


def test_a_result_alone_of_its_tile_is_named_by_the_tile():
    shown, _, lines, _ = drawing()
    shown.step(CHUNKS[0], "reading back")
    shown.step(CHUNKS[1], "reading back")
    expected = "results E007.0_N50.0 reading back, E008.0_N50.0 reading back"
    assert lines()[-2] == expected


def test_the_time_left_begins_with_the_history_and_follows_the_run():
    shown, clock, drawn, _ = drawing(total=8, seconds=2400.0, places=2)

    def lines():
        return [re.sub(f"[{DONE_BAR}{LEFT_BAR}]+ ", "", line) for line in drawn()]

    assert lines()[-1] == "[0/8] about 40 min left"
    clock.now += 600
    assert lines()[-1] == "[0/8] about 30 min left"
    clock.now += 3000  # a late job says nothing about those behind it
    assert lines()[-1] == "[0/8] about 30 min left"
    for i in range(7):
        happen(shown, "archived", i)
    slow = 3600 / 7  # s a chunk in this run, 300 in the history, which counts as two chunks
    expected = (2 * 300 + 7 * slow) / 9
    assert lines()[-1] == f"[7/8] about {round(expected / 60)} min left"
    clock.now += 700
    assert lines()[-1] == "[7/8] later than usual"


def bar_of(line):
    return "".join(re.findall(f"[{DONE_BAR}{LEFT_BAR}]", line))


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_there_is_one_bar_and_it_grows_with_bytes_and_chunks(columns):
    shown, _, lines, _ = drawing(columns, total=2, size=2000)
    shares, seen = [], []

    def look():
        (bar,) = filter(None, map(bar_of, lines()))
        assert all(len(line) <= columns for line in lines())
        assert len(bar) <= (BAR if columns >= 60 else columns)
        shares.append((2 * bar.count(DONE_BAR[0]) + bar.count(DONE_BAR[1])) / (2 * len(bar)))
        seen.append(next(re.findall(r"(\S+ k?B) of (\S+ k?B)", line)[0] for line in lines()
                         if " of " in line))  # fmt: skip

    look()
    for done in (250, 500, 1000):
        happen(shown, "bytes", 0, 1, bytes=done, total=1000)
        look()
    happen(shown, "downloaded", 0, 1, bytes=1000, total=1000)
    look()
    happen(shown, "archived", 0)
    look()
    happen(shown, "retry", 1, reason="a reason")
    happen(shown, "empty", 1)
    look()
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares[-2] == pytest.approx(0.5, abs=0.06)
    assert seen[0] == ("0 B", "2.0 kB")
    assert seen[-1] == ("1.0 kB", "1.0 kB"), "what has no data brings no bytes"


def test_where_no_other_signs_can_be_written_the_bar_is_plain():
    class Ascii(Stream):
        encoding = "ascii"

    console = Quiet(Ascii())
    console.width = 80
    shown = DownloadProgress(4, Estimate(0, 60.0, None, 0), 2, console)
    happen(shown, "archived", 0)
    assert str(shown.lines()).splitlines()[-1].startswith("[1/4] ########--")
    assert str(shown.lines()).isascii()


# --- a window that changes ---

DRAW = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from cli.progress import DownloadProgress
from download import Estimate
from tests.cli.test_progress import halfway, Watch
print(*["before"] * 24, sep=chr(10), flush=True)
with DownloadProgress(8, Estimate(1_200_000_000, 2400.0, None, 20), 2) as shown:
    halfway(shown, Watch())
    while not Path(sys.argv[2]).exists():
        time.sleep(0.05)
print("after", flush=True)
"""
SAID = ["before", *[f"[{i}/8] E0{i + 6:02}.0_N50.0" for i in range(1, 5)], "after"]
# What has left a window at its top cannot be taken back, so there is something above.
SIZES = (100, 33, 20, 64, 120)  # columns, one after the other
DRAWINGS = 3  # the one that may have been under way, and two in the window as it is now


def beginnings(screen):
    """The lines of a screen, up to the place of a chunk; nothing else may be on it."""
    return [line[: len("[1/8] E007.0_N50.0")] for line in screen.splitlines() if line.strip()]


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux, which folds lines")
@seldom(2)
def test_a_window_that_folds_its_lines_has_no_rubbish_when_it_changes(tmp_path):
    script, end = tmp_path / "draw.py", tmp_path / "end"
    script.write_text(DRAW, encoding="utf-8")
    written = tmp_path / "written"
    tmux = ["tmux", "-L", f"test{os.getpid()}", "-f", "/dev/null"]

    def call(*words):
        return subprocess.run([*tmux, *words], capture_output=True, text=True, check=True).stdout

    def screen():
        return call("capture-pane", "-p")

    shell = f"'{sys.executable}' '{script}' '{ROOT}' '{end}'; sleep 60"

    def is_drawn():
        return written.read_text().count("queued") >= DRAWINGS

    def is_clean():
        shown = screen()
        bars = re.findall(f"[{DONE_BAR}{LEFT_BAR}]+", shown)
        return shown.count("queued") == shown.count("8.0_N50.0 reading") + 1 == len(bars) == 1

    call("new-session", "-d", "-x", str(SIZES[0]), "-y", "30", f"COLUMNS= {shell}")
    try:
        call("pipe-pane", f"cat >> '{written}'")
        until(written.exists, "the first drawing")
        for columns in SIZES:
            call("resize-window", "-x", str(columns), "-y", "30")
            written.write_text("")
            until(is_drawn, screen)
            until(is_clean, screen)  # what is in the middle of a drawing has no end yet
        end.touch()
        until(lambda: "after" in screen(), screen)
        assert beginnings(screen())[-len(SAID) - 1 :] == ["before", *SAID]
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            call("kill-server")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@seldom(0)
def test_a_window_that_cuts_its_lines_has_no_rubbish_when_it_changes(tmp_path):
    """xterm does; pyte, too."""
    pexpect, pyte = pytest.importorskip("pexpect"), pytest.importorskip("pyte")
    script, end = tmp_path / "draw.py", tmp_path / "end"
    script.write_text(DRAW, encoding="utf-8")
    environ = {**os.environ, "TERM": "xterm", "XTERM_VERSION": "XTerm(390)", "COLUMNS": ""}
    running = pexpect.spawn(
        sys.executable, [str(script), str(ROOT), str(end)], dimensions=(30, SIZES[0]),
        env=environ, encoding="utf-8",
    )  # fmt: skip
    screen = pyte.Screen(SIZES[0], 30)
    stream = pyte.Stream(screen)

    written = ""

    def read():
        nonlocal written
        with contextlib.suppress(pexpect.TIMEOUT):
            new = running.read_nonblocking(10_000, timeout=0.1)
            stream.feed(new)
            written += new
        return "\n".join(line.rstrip() for line in screen.display)

    def is_drawn():
        return read() and written.count("queued") >= DRAWINGS

    until(lambda: "slot 2" in read(), read)
    for columns in SIZES:
        screen.resize(30, columns)
        running.setwinsize(30, columns)
        written = ""
        until(is_drawn, read)
        until(lambda: read().count("queued") == 1, read)
    end.touch()
    with pytest.raises(pexpect.EOF):
        until(lambda: read() and False, read)
    lines = [line.strip()[:6] for line in screen.display if line.strip()]
    assert lines[-len(SAID) - 1 :] == ["before", *[line[:6] for line in SAID]]


@pytest.mark.parametrize(
    ("environ", "folded"),
    [
        ({"TERM": "xterm-256color"}, True), ({"TERM": "linux"}, False),
        ({"TERM": "xterm", "XTERM_VERSION": "XTerm(390)"}, False), ({"STY": "1.pts"}, False),
    ],
)  # fmt: skip
def test_most_terminals_fold_their_lines(environ, folded):
    assert folds(environ) is folded


@pytest.mark.parametrize(("window", "rows"), [(80, 3), (40, 4), (39, 6), (10, 13), (1, 30)])
def test_the_rows_of_what_was_drawn_are_counted_in_the_window_as_it_is(window, rows, monkeypatch):
    monkeypatch.delenv("XTERM_VERSION", raising=False)
    console = Console(file=io.StringIO(), width=80, height=30, force_terminal=True)
    drawn = Rows(console, "a" * 79 + "\n" + "b" * 40 + "\n")
    console.print(drawn)
    console.width = window
    assert drawn.position_cursor().segment.text.count("\x1b[1A") == rows - 1


def test_a_job_of_an_earlier_run_gets_a_free_line():
    shown, _, lines, said = drawing()
    happen(shown, "started", 0, 1)
    happen(shown, "status", 1, None, status="running")
    assert lines()[:2] == [
        "slot 1  E007.0_N50.0 on 2026-01-20 queued 1 s",
        "slot 2  E008.0_N50.0 on 2026-01-20 running 1 s",
    ]
    happen(shown, "retry", 1, reason="it failed")
    happen(shown, "started", 2, 2)
    assert "E009.0" in lines()[1]
    assert said() == ["E008.0_N50.0 on 2026-01-20: trying again: it failed"]


def test_without_a_terminal_there_is_one_line_for_each_finished_chunk():
    shown, clock, _, said = drawing(terminal=False)
    with shown:
        halfway(shown, clock)
        for seconds in (1, 2, 4):
            happen(shown, "waiting", 5, reason=f"HTTP 503; next try in {seconds} s")
    assert said() == [
        "[1/8] E007.0_N50.0 on 2026-01-20 archived",
        "[2/8] E008.0_N50.0 on 2026-01-20 no data",
        "[3/8] E009.0_N50.0 on 2026-01-20 failed: a reason",
        "[4/8] E010.0_N50.0 on 2026-01-20 archived",
        "waiting: HTTP 503; next try in 1 s",
    ]


@pytest.mark.parametrize(
    ("environ", "draws", "colours"),
    [
        ({"TERM": "xterm-256color"}, True, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm", "FORCE_COLOR": "1"}, None, False),  # not a terminal
    ],
)
def test_the_environment_is_respected(environ, draws, colours, monkeypatch):
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(bar, "SHOWN_AFTER", 0.0)
    stream = Stream(terminal=draws is not None)
    monkeypatch.setattr("sys.stderr", stream)
    with working("verifying") as step:
        step(1, 4)
        time.sleep(0.05)
    with DownloadProgress(1, Estimate(0, 60.0, None, 0), 2) as shown:
        happen(shown, "started", 0, 1)
        happen(shown, "archived", 0, 1)
    text = stream.getvalue()
    assert ("verifying" in text) is bool(draws)
    assert ("slot 1" in text) is bool(draws)
    assert ("\x1b[3" in text) is colours, "colours"
    assert ("\x1b" in text) is bool(draws), "any control sequence"
    assert "[1/1] E007.0_N50.0 on 2026-01-20 archived" in text


def test_quick_work_is_not_worth_a_bar(monkeypatch):
    stream = Stream()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with working("verifying") as step:
        step(1, 2)
    assert stream.getvalue() == ""


def test_work_that_fails_leaves_the_terminal_as_it_was(monkeypatch):
    stream = Stream()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(bar, "SHOWN_AFTER", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(KeyboardInterrupt), working("verifying"):
        time.sleep(0.05)
        raise KeyboardInterrupt
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1


def test_a_table_is_cut_nowhere(monkeypatch):
    rows = [["E007.0_N50.0", "", "a" * 50], ["Köln", "3 MB", "b"]]
    texts = {}
    for columns, terminal in ((80, True), (20, True), (20, False)):
        stream = Stream(terminal)
        monkeypatch.setenv("COLUMNS", str(columns))
        print_table(["tile", "size", "reason"], rows, stream=stream)
        texts[columns, terminal] = stream.getvalue()
        assert "a" * 50 in texts[columns, terminal]
    assert texts[20, False] == (
        "tile          size  reason\n"
        f"E007.0_N50.0        {'a' * 50}\n"
        "Köln          3 MB  b\n"
    )  # fmt: skip
    assert " size    3 MB" in texts[20, True]


def test_a_closed_pipe_is_quiet(tmp_path):
    class Closed(Stream):
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            return handle.fileno()

    with (tmp_path / "x").open("w") as handle:
        print_table(["a"], [["b"]], stream=Closed())
