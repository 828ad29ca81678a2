"""The journal: what is written stays, also after a kill, and reading it creates nothing."""

from __future__ import annotations

import datetime as dt
import errno
import itertools
import multiprocessing
import shutil
import sys
import threading
import time
import tracemalloc

import pytest

from download import plan
from grid import BBox, Chunk
from jobs.journal import Journal, JournalError, Request, State
from tests.conftest import ROOT
from tests.rounds import seldom
from tests.sphere import tile_at
from tests.waiting import PATIENCE

DAY = dt.date(2026, 1, 20)


def chunk(number: int = 0) -> Chunk:
    return Chunk(tile_at(number, 50, (1, 0.5)), DAY)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "a.zarr.downloads")


def test_reading_creates_nothing(journal):
    assert journal.latest("cdse") == {}
    assert journal.rows() == journal.history("cdse", 20) == []
    assert journal.unfinished_request() is None
    assert not journal.folder.exists()


def test_a_note_is_there_for_the_next_program(journal):
    (row,) = journal.plan("cdse", [(chunk(), "d")])
    assert (row.state, row.attempt, row.tries, row.job_id) == (State.PLANNED, 1, 1, None)
    noted = journal.note(row, State.CREATED, job_id="j-1", credits=2.5)
    again = Journal(journal.folder).latest("cdse")[(chunk().name, "d")]
    assert again == noted
    assert (again.chunk, again.job_id, again.credits) == (chunk(), "j-1", 2.5)


def test_notes_are_synced_to_disk(journal):
    journal.plan("cdse", [(chunk(), "d")])
    assert journal._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)


def test_only_an_end_has_an_end_time(journal):
    (row,) = journal.plan("cdse", [(chunk(), "d")])
    for state in State:
        ended = journal.note(row, state, ended=None).ended
        assert ended is None
    assert journal.note(row, State.RUNNING).ended is None
    for state in (State.ARCHIVED, State.EMPTY, State.FAILED):
        assert journal.note(row, state).ended is not None


def test_a_replaced_attempt_keeps_its_reason_and_the_next_one_counts_on(journal):
    (row,) = journal.plan("cdse", [(chunk(), "d")])
    following = journal.replace(row, "out of memory", 2)
    assert (following.attempt, following.tries, following.state) == (2, 2, State.PLANNED)
    assert following.title != row.title
    first = next(r for r in journal.rows() if r.id == row.id)
    assert (first.state, first.reason) == (State.FAILED, "out of memory")
    assert list(journal.latest("cdse").values()) == [following]


def test_replacing_is_done_wholly_or_not_at_all(journal, monkeypatch):
    (row,) = journal.plan("cdse", [(chunk(), "d")])

    def broken(*_args):
        raise RuntimeError("killed")

    monkeypatch.setattr(journal, "plan", broken)
    with pytest.raises(RuntimeError):
        journal.replace(row, "out of memory", 2)
    assert journal.rows() == [row]


def test_back_ends_orders_and_archives_do_not_mix(journal, tmp_path):
    journal.plan("cdse", [(chunk(), "d"), (chunk(), "other bands")])
    journal.plan("sandbox", [(chunk(), "d")])
    assert len(journal.latest("cdse")) == 2
    assert len(journal.latest("sandbox")) == 1
    other = Journal(tmp_path / "b.zarr.downloads")
    other.plan("cdse", [(chunk(), "d")])
    # Two back ends do not see each other's jobs, two archives may.
    assert not {row.title for row in journal.rows()} & {row.title for row in other.rows()}


def test_the_history_is_of_jobs_that_were_seen_from_start_to_end(journal):
    rows = journal.plan("cdse", [(chunk(i), "d") for i in range(4)])
    for number, row in enumerate(rows[:3]):
        journal.note(
            row, State.ARCHIVED, started=10.0, finished=20.0, bytes=5, ended=100.0 + number
        )
    journal.note(rows[3], State.ARCHIVED, finished=20.0, bytes=5)
    assert [row.id for row in journal.history("cdse", 2)] == [rows[2].id, rows[1].id]
    assert len(journal.history("cdse", 20)) == 3


def test_a_request_can_be_continued_until_it_is_closed(journal):
    request = Request("cdse", BBox(179, 50, -179, 51), DAY, DAY, "ascending", 4, 12.5)
    number = journal.open_request(request)
    assert Journal(journal.folder).unfinished_request() == request
    journal.close_request(number)
    assert journal.unfinished_request() is None


def test_the_log_has_a_line_for_each_event(journal):
    journal.log("created", chunk(), "j-1")
    journal.log("line one\n  line two")
    lines = journal.log_path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert lines[0].endswith(f"{chunk().name} j-1 created")
    assert lines[1].endswith("- - line one line two")
    assert dt.datetime.fromisoformat(lines[0].split()[0]).tzinfo is not None


def test_a_journal_of_a_newer_program_is_refused_and_left_alone(journal):
    journal.plan("cdse", [(chunk(), "d")])
    journal._database.execute("PRAGMA user_version = 99")
    journal.close()
    before = journal.path.read_bytes()
    with pytest.raises(JournalError, match="newer version"):
        journal.rows()
    assert journal.path.read_bytes() == before


def test_a_journal_of_before_the_catalogue_is_brought_up_and_keeps_all_it_knew(journal):
    journal.folder.mkdir()
    shutil.copy(ROOT / "tests" / "journals" / "version1.sqlite", journal.path)
    rows = journal.rows()
    assert [(r.chunk.orbit, r.state, r.bytes, r.credits) for r in rows] == [
        ("any", State.RUNNING, None, None), ("any", State.ARCHIVED, 260_000_000, 6.08),
    ]  # fmt: skip
    assert {(row.noticed, row.images) for row in rows} == {(None, "")}
    [request] = [journal.unfinished_request()]
    assert request is not None
    assert (request.orbit, request.chunks, request.done) == ("any", 2, 0)
    assert (request.catalogue, request.max_credits) == (None, None), "it was asked by day"
    assert journal.left_of(request) == [rows[0].chunk]
    noted = journal.note(rows[0], State.FINISHED, noticed=5.0)
    assert Journal(journal.folder).latest("cdse")[noted.key] == noted
    assert journal._database.execute("PRAGMA user_version").fetchone() == (5,)


def test_a_request_is_kept_with_how_it_was_asked(journal):
    how = 3, "", 20.0, "SENTINEL2_L2A", "B04,SCL", 60.0
    request = Request("cdse", BBox(7, 50, 8, 51), DAY, DAY, None, 4, 12.5, *how)
    journal.open_request(request)
    assert Journal(journal.folder).unfinished_request() == request


def test_what_the_catalogue_said_of_a_chunk_goes_with_each_attempt_at_it(journal):
    (row,) = journal.plan("cdse", [(chunk(), "d")], images=lambda c: f"about {c.tile.name}")
    assert row.images == f"about {chunk().tile.name}"
    assert journal.replace(row, "out of memory", 2).images == row.images


def test_what_was_spent_is_of_jobs_started_since(journal):
    rows = journal.plan("cdse", [(chunk(i), "d") for i in range(4)])
    for number, (row, credits) in enumerate(zip(rows, (2.0, 3.5, None, 4.0), strict=True)):
        journal.note(row, State.ARCHIVED, started=10.0 * number, credits=credits)
    journal.note(rows[3], State.PLANNED, started=None)
    assert journal.spent("cdse", 10.0) == 3.5
    assert journal.spent("sandbox", 0.0) == 0


def test_a_damaged_journal_is_named(journal):
    journal.folder.mkdir()
    journal.path.write_bytes(b"no database at all, whatever its name says" * 100)
    with pytest.raises(JournalError, match=r"journal\.sqlite is damaged.*Move the file away"):
        journal.rows()


def test_a_full_disk_is_an_error_of_the_system_and_the_journal_stays_whole(journal):
    """SQLite is given fewer and fewer pages: the write fails at every point it can."""
    journal.plan("cdse", [(chunk(), "d")])
    pages = journal._database.execute("PRAGMA page_count").fetchone()[0]
    journal._database.execute(f"PRAGMA max_page_count = {pages + 2}")
    kept = 1
    with pytest.raises(OSError, match="disk is full") as error:
        for number in itertools.count(1):
            journal.plan("cdse", [(chunk(number % 100), f"{number}")])
            kept += 1
    assert error.value.errno == errno.ENOSPC
    journal.close()
    assert len(journal.rows()) == kept
    assert len(journal.plan("cdse", [(chunk(), "more")])) == 1


def test_two_programs_may_open_a_new_journal_at_once(journal):
    errors = []

    def begin():
        try:
            mine = Journal(journal.folder)
            mine.plan("cdse", [(chunk(), threading.current_thread().name)])
            mine.close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(journal.rows()) == 8
    assert len({row.title.split()[-1] for row in journal.rows()}) == 1


def write_for_ever(folder, said, has_written):
    journal = Journal(folder)
    for number in itertools.count():
        (row,) = journal.plan("cdse", [(chunk(), f"{number}")])
        row = journal.note(row, State.CREATING)
        journal.note(row, State.CREATED, job_id=f"j-{number}")
        said.value = number
        if number == 2:
            has_written.set()


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_what_was_noted_before_a_kill_is_there_after_it(journal):
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        # Without a lock: who is killed may hold it.
        said, has_written = context.Value("i", -1, lock=False), context.Event()
        writer = context.Process(target=write_for_ever, args=(journal.folder, said, has_written))
        writer.start()
        assert has_written.wait(PATIENCE)
        time.sleep(0.03)
        writer.kill()
        writer.join()
        rows = {row.digest: row for row in journal.rows()}
        assert len(rows) > said.value
        for number in range(said.value + 1):
            assert rows[f"{number}"].job_id == f"j-{number}"
        assert not {row.state for row in rows.values()} - {
            State.PLANNED, State.CREATING, State.CREATED,
        }  # fmt: skip
        journal.close()
        for file in journal.folder.iterdir():
            file.unlink()


def plan_a_thousand(journal):
    """The whole cost of a thousand chunks before the first order."""
    box = BBox(0, 40, 10, 50)  # 10 x 20 tiles
    last = DAY + dt.timedelta(days=4)
    made = plan(box, DAY, last, "any", lambda _: False, journal, "cdse")
    journal.plan("cdse", [(c, "d") for c in made.missing])
    assert len(made.missing) == len(journal.latest("cdse")) == 1000
    return plan(box, DAY, last, "any", lambda _: False, journal, "cdse")


@pytest.mark.alone
def test_a_thousand_chunks_are_planned_and_noted_within_a_second(journal):
    began = time.process_time()
    plan_a_thousand(journal)
    assert time.process_time() - began < 1.0


@seldom(0)
def test_a_thousand_chunks_need_little_memory(journal):
    tracemalloc.start()
    plan_a_thousand(journal)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6
