"""What was promised against what came: records that show much less than the catalogue has."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import sys
from collections import Counter

import numpy as np
import pytest

import download
import main
from cli import archive_commands
from cli.exits import DONE, FAILED
from cli.workspace import Workspace
from grid import BBox
from jobs.journal import State
from store import Archive
from tests.downloading import connect, folder_of, journal_of

BOX = "3.72,51.2,3.8,51.24"  # two tiles, of which one pass sees all on the day
DAY = "2026-01-20"
DATE = dt.date.fromisoformat(DAY)
FIRST, SECOND = "E003.72_N51.2", "E003.76_N51.2"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An empty working folder with tiles small enough for a test; the archive to be there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "CHUNK_SIZE", [0.04, 0.04])
    monkeypatch.setattr(download, "POLL_WAIT_TIME", 0.05)
    monkeypatch.setattr(download, "START_INTERVAL", 0)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    login = {"METHOD": "client_credentials", "PROVIDER_ID": "sandbox"}
    login |= {"CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret"}
    for name, value in login.items():
        monkeypatch.setenv(f"OPENEO_AUTH_{name}", value)
    return Archive(tmp_path / main.ZARR_PATH)


def order(sandbox, *more):
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--backend", sandbox.url, "--yes"]
    return main.main(["download", *flags, *more])


def listed(capsys):
    """What `list` says of each tile, for people and for programs."""
    capsys.readouterr()
    archive_commands.run_list(Workspace(main.ZARR_PATH))
    words = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    archive_commands.run_list(Workspace(main.ZARR_PATH), as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return words, {row["tile"]: row for row in rows}


def made(sandbox):
    return sandbox.events()["counts"]["created"]


@pytest.mark.parametrize(
    ("covered", "seen", "partial"),
    [
        (None, 0.01, False),
        (1.0, 1.0, False),
        (1.0, 0.9, False),
        (1.0, 0.87, True),
        (0.5, 0.25, True),
        (0.5, 0.45, False),
        (0.03, 0.01, False),
        (0.05, 0.001, True),
        (0.3, 1.0, False),
        (1.0, True, False),
    ],
)
def test_partial_is_much_less_than_was_promised(covered, seen, partial):
    assert download.is_partial(covered, seen) is partial


def test_what_is_partial_is_the_constant_when_it_is_used(monkeypatch):
    monkeypatch.setattr(download, "PARTIAL", 0.4)
    assert not download.is_partial(1.0, 0.5)


def test_a_silent_hole_is_marked_and_ordered_again_when_asked(sandboxes, archive, capsys):
    own = sandboxes("--job-seconds", "0.05", "--fault", f"job-hole,title={FIRST}")
    assert order(own) == DONE
    said = capsys.readouterr().out
    assert "archived          2" in said
    assert "of these in part  1" in said
    assert "--retry-partial" in said
    words, rows = listed(capsys)
    assert "100 %, partial" in words[FIRST]
    assert "partial" not in words[SECOND]
    assert (rows[FIRST]["partial"], rows[SECOND]["partial"]) == (True, False)
    assert rows[FIRST]["covered"] == rows[SECOND]["covered"] == 1.0
    assert 0.4 < rows[FIRST]["seen"] < 0.6
    assert made(own) == 2

    assert order(own) == DONE
    assert made(own) == 2, "it is kept as it is"

    assert order(own, "--retry-partial") == DONE
    assert "of these in part  1" in capsys.readouterr().out, "no better: it is kept"
    assert made(own) == 3
    own.clear_faults()
    before = archive.read(archive.chunks()[0])
    assert order(own, "--retry-partial") == DONE
    assert "in part" not in capsys.readouterr().out
    words, rows = listed(capsys)
    assert "100 %" in words[FIRST]
    assert (rows[FIRST]["partial"], rows[FIRST]["seen"], made(own)) == (False, 1.0, 4)
    after = archive.read(archive.chunks()[0])
    there = before["count"].values == after["count"].values  # not at the edge of the hole
    assert 0.4 < there.mean() < 0.6
    np.testing.assert_array_equal(before["VV"].values[there], after["VV"].values[there])
    assert archive.verify() == []
    assert order(own, "--retry-partial") == DONE
    assert made(own) == 4, "nothing is partial any more"
    assert {row.state for row in journal_of(archive).rows()} == {State.ARCHIVED}


def test_a_second_result_that_shows_less_does_not_replace_the_first(sandboxes, archive, capsys):
    own = sandboxes("--job-seconds", "0.05", "--fault", f"job-hole,share=0.3,title={FIRST}")
    assert order(own) == DONE
    first = archive.read(archive.chunks()[0])
    own.clear_faults()
    own.fault(f"job-hole,share=0.8,title={FIRST}")
    assert order(own, "--retry-partial") == DONE
    assert archive.read(archive.chunks()[0]).equals(first)
    own.clear_faults()
    own.fault(f"job-hole,share=0.99,title={FIRST}")
    assert order(own, "--retry-partial") == DONE
    assert archive.read(archive.chunks()[0]).equals(first)
    assert made(own) == 4


def test_a_retry_that_was_interrupted_after_the_start_is_finished_without_the_flag(
    sandboxes, archive
):
    """The job is paid for: its result is used, although there is a record."""
    own = sandboxes("--job-seconds", "0.05", "--fault", f"job-hole,title={FIRST}")
    assert order(own) == DONE
    own.clear_faults()
    covers = download.images(BBox.parse(BOX), DATE, DATE, f"{own.url}/stac", download.CHUNK_SIZE)
    retry = Workspace(str(archive.path)).partial
    plan = download.plan(
        BBox.parse(BOX), DATE, DATE, None, archive.has, journal_of(archive), own.url,
        chunk_size=download.CHUNK_SIZE, covers=covers, catalogue="", retry=retry,
    )  # fmt: skip
    assert (plan.missing, plan.again) == (retry, frozenset(retry))

    def die(result):
        raise OSError(28, "No space left on device")

    summary = download.run(plan, connect(own.url), folder_of(archive), die, archive.has)
    assert summary.left == retry
    assert made(own) == 3
    assert order(own) == DONE
    assert made(own) == 3
    assert [bool(p) for p in archive.records()["partial"]] == [False, False]


def test_a_hole_in_a_tile_that_is_covered_in_part_is_found(sandboxes, archive, capsys):
    """The end of a swath: half of what there is, is missing."""
    own = sandboxes("--job-seconds", "0.05")
    covers = download.images(
        BBox.parse("2,51.2,8,51.24"),
        DATE,
        DATE,
        f"{own.url}/stac",
        download.CHUNK_SIZE,
    )
    chunk = next(c for c, cover in covers.items() if 0.3 < cover.share < 0.7 and c.orbit != "any")
    own.fault("job-hole,share=0.6")
    flags = ["--start", DAY, "--end", DAY, "--backend", own.url, "--yes"]
    tile = chunk.tile
    box = f"{tile.west},{tile.south},{tile.east},{tile.north}"
    assert main.main(["download", "--bbox", box, *flags]) == DONE
    [row] = archive.records().to_dict("records")
    assert (row["partial"], row["covered"]) == (True, pytest.approx(covers[chunk].share))


def test_eight_chunks_of_which_four_go_wrong_each_in_its_way(sandboxes, archive, capsys):
    """A broken product, too little memory, a band that lacks, a silent hole: jobs 2, 3, 1, 1."""
    ways = {
        "E003.72_N51.2": ("job-product", 2), "E003.76_N51.2": ("job-memory", 3),
        "E003.8_N51.24": ("job-no-band", 1), "E003.84_N51.24": ("job-hole", 1),
    }  # fmt: skip
    faults = [f"{fault},title={tile}_2026" for tile, (fault, _) in ways.items()]
    own = sandboxes("--job-seconds", "0.05")
    own.fault(*faults)
    flags = ["--bbox", "3.72,51.2,3.88,51.28", "--start", DAY, "--end", DAY, "--yes"]
    assert main.main(["download", *flags, "--backend", own.url]) == FAILED
    said = capsys.readouterr().out
    titles = list(own.events()["created_by_title"])
    jobs = Counter(title.split("_2026")[0] for title in titles)
    assert len(jobs) == 8
    assert {tile: jobs.pop(tile) for tile in ways} == {t: n for t, (_, n) in ways.items()}
    assert set(jobs.values()) == {1}
    first = [title.split()[1].endswith("-1") for title in titles]
    assert first == sorted(first, reverse=True), "nothing waits for a second job of another"
    records = archive.records().set_index("tile")
    assert len(records) == 7
    # The product that was let pass is a hole, too.
    partial = sorted(records.index[records["partial"].astype(bool)])
    assert partial == ["E003.72_N51.2", "E003.84_N51.24"]
    assert records["soft_errors"].dropna().to_dict() == {"E003.72_N51.2": 0.5}
    for words in (
        r"archived +7", r"in part +2 +.*--retry-partial orders them again",
        r"with a reservation +E003.72_N51.2", r"failed +E003.8_N51.24", r"leave this day",
        r"spent on failures +8 credits +4 jobs",
    ):  # fmt: skip
        assert re.search(words, " ".join(said.split("\n"))), words
