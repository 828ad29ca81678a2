"""What a run leaves behind: nothing that no one needs, and all that the next run goes on with."""

from __future__ import annotations

import filelock
import pytest

import convert
import download
import main
import store
from archive import holdings, listing
from cli import leavings, local_backend
from cli.exits import DONE, USAGE
from jobs import journal as journal_module
from jobs.trouble import Kind, Trouble
from store import Archive
from tests.downloading import QUICK, connect, folder_of, into, journal_of, plan, run
from tests.rounds import seldom
from tests.whole.test_main import BOX, DAY, answer, folder, order  # noqa: F401


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "a.zarr")


def results(state):
    return sorted((state / "results").glob("*/*")) if state.is_dir() else []


def embedded_order(*more):
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--backend", "sandbox", "--yes"]
    return main.main(["download", *flags, *more])


@seldom(1)
def test_the_built_in_back_end_keeps_no_result_that_is_archived(folder, answer, capsys):  # noqa: F811
    assert embedded_order() == DONE
    beside = folder / f"{main.ZARR_PATH}.downloads"
    assert results(beside / "sandbox") == []
    assert list((beside / "sandbox" / "results").iterdir()) == []
    assert list((beside / "raw").iterdir()) == []
    assert "Left beside" not in capsys.readouterr().err
    assert main.main(["list", "--jobs"]) == DONE
    assert capsys.readouterr().out.count("archived") == 2, "the records of the jobs stay"


def test_a_back_end_of_others_keeps_its_jobs(sandboxes, archive):
    there = sandboxes("--job-seconds", "0.1")
    made = plan(archive, columns=1, days=1)
    made = type(made)(**{**vars(made), "backend": there.url})
    summary = download.run(
        made, connect(there.url), folder_of(archive), into(archive), archive.has, pace=QUICK
    )
    assert len(summary.archived) == 1
    assert "deleted" not in there.events()["counts"]
    assert len(results(there.state)) == 1


def test_a_result_whose_removal_fails_is_no_failure(sandboxes, archive, monkeypatch):
    own = sandboxes("--job-seconds", "0.1")
    connection = connect(own.url)

    def gone(job_id):
        raise Trouble(Kind.PASSING, "not now")

    monkeypatch.setattr(connection, "delete", gone)
    summary = download.run(
        plan(archive, columns=1, days=1), connection, folder_of(archive), into(archive),
        archive.has, pace=QUICK, tidy=True,
    )  # fmt: skip
    assert len(summary.archived) == 1
    assert "not removed at the back end: not now" in journal_of(archive).log_path.read_text()


def test_what_nothing_needs_is_removed_and_the_rest_is_said(
    sandboxes, archive, monkeypatch, capsys
):
    own = sandboxes("--job-seconds", "0.1")

    def refuse(result):
        raise RuntimeError("no")

    assert len(run(own.url, archive, columns=1, days=1, handle=refuse).failed) == 1
    monkeypatch.setattr(download, "KEEP_RAW", True)
    assert len(run(own.url, archive, columns=2, days=1).archived) == 2
    monkeypatch.setattr(download, "KEEP_RAW", False)
    # As it would be after a kill between the commit and the removal, and of an older program.
    beside = folder_of(archive)
    rows = journal_of(archive).rows()
    for name in (rows[0].job_id, "j-unknown"):
        stale = beside / "sandbox" / "results" / str(name)
        stale.mkdir(parents=True)
        (stale / "openEO.nc").write_bytes(bytes(1000))
    (beside / "raw").mkdir(exist_ok=True)
    (beside / "raw" / "what.nc.part").write_bytes(bytes(10))
    flags = ["clean", "--archive", str(archive.path)]
    assert main.main([*flags, "--dry-run"]) == DONE
    assert "Would remove 2 results at the built-in back end (2.0 kB) and" in words(capsys)
    assert len(results(beside / "sandbox")) == 2
    assert main.main(flags) == DONE
    assert "Removed 2 results at the built-in back end (2.0 kB) and" in words(capsys)
    assert results(beside / "sandbox") == []
    assert list((beside / "raw").iterdir()) == []
    assert main.main(flags) == DONE
    assert "nothing to remove" in words(capsys)
    assert len(archive.chunks()) == 2


def test_what_the_next_download_goes_on_with_is_kept(sandboxes, archive, monkeypatch, capsys):
    own = sandboxes("--job-seconds", "0.1")

    def refuse(result):
        raise RuntimeError("no")

    assert len(run(own.url, archive, columns=1, days=1, handle=refuse).failed) == 1
    flags = ["clean", "--archive", str(archive.path)]
    assert main.main(flags) == DONE
    said = words(capsys)
    assert "nothing to remove" in said
    assert "Kept 1 raw file" in said
    assert leavings.FAILED in said
    started = own.events()["counts"]["started"]
    monkeypatch.setattr(download, "KEEP_RAW", True)
    assert len(run(own.url, archive, columns=1, days=1).archived) == 1
    assert own.events()["counts"]["started"] == started, "it was kept, so nothing was ordered"
    assert main.main(flags) == DONE
    assert leavings.KEPT_RAW in words(capsys)


def test_nothing_is_removed_while_another_process_downloads(
    sandboxes, archive, monkeypatch, capsys
):
    own = sandboxes("--job-seconds", "0.1")
    monkeypatch.setattr(download, "KEEP_RAW", True)
    run(own.url, archive, columns=1, days=1)
    with filelock.FileLock(folder_of(archive) / "lock"):
        assert main.main(["clean", "--archive", str(archive.path)]) == USAGE
    assert "Another process downloads" in words(capsys)
    assert len(list((folder_of(archive) / "raw").iterdir())) == 1


def test_cleaning_where_there_is_nothing_creates_nothing(tmp_path, capsys):
    assert main.main(["clean", "--archive", str(tmp_path / "none.zarr")]) == DONE
    assert list(tmp_path.iterdir()) == []


def test_the_logs_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LOG_MAX", 1000)
    journal = journal_module.Journal(tmp_path)
    for number in range(100):
        journal.log(f"event {number}")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2200
    last = [p.read_text() for p in tmp_path.iterdir() if "event 99" in p.read_text()]
    assert len(last) == 1
    monkeypatch.setattr(local_backend, "LOG_MAX", 1000)
    state = tmp_path / "state"
    state.mkdir()
    (state / local_backend.LOG).write_bytes(bytes(2000))
    with local_backend.back_end(state, print):
        pass
    assert (state / local_backend.LOG).stat().st_size < 1000
    assert (state / f"{local_backend.LOG}.1").stat().st_size == 2000


# --- what fetching again cannot mend -----------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [ValueError("NSIDE is 1000"), store.ArchiveError("no room"), TypeError("x"), KeyError("y")],
    ids=repr,
)
def test_an_error_that_no_file_is_to_blame_for_fetches_nothing_again(sandbox, archive, error):
    def fail(result):
        raise error

    before = downloads(sandbox)
    assert len(run(sandbox.url, archive, columns=1, days=1, handle=fail).failed) == 1
    assert downloads(sandbox) == before + 1
    assert len(list((folder_of(archive) / "raw").iterdir())) == 1, "kept for the next run"
    assert len(run(sandbox.url, archive, columns=1, days=1).archived) == 1
    assert downloads(sandbox) == before + 1


def test_the_same_bytes_are_not_fetched_a_third_time(sandbox, archive):
    def refuse(result):
        raise download.Spoiled("a block is damaged")

    before = downloads(sandbox)
    summary = run(sandbox.url, archive, columns=1, days=1, handle=refuse)
    assert [reason for _, reason in summary.failed] == ["a block is damaged"]
    assert downloads(sandbox) == before + 2


def test_other_bytes_are_fetched_again(sandbox, archive):
    calls = iter(range(9))

    def once(result):
        if (call := next(calls)) < 2:
            result.path.write_bytes(bytes([call]))  # as if the line had changed it
            raise download.Spoiled("a block is damaged")
        return into(archive)(result)

    assert len(run(sandbox.url, archive, columns=1, days=1, handle=once).archived) == 1


def test_an_archive_made_by_another_process_meanwhile_ends_the_run(
    folder, answer, sandbox, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    require = Archive.require
    calls = []

    def changed(self, *arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise store.ArchiveError("The archive was made with NSIDE = 4.")
        require(self, *arguments)

    monkeypatch.setattr(Archive, "require", changed)
    before = downloads(sandbox)
    assert order(sandbox) == USAGE
    assert "was made with NSIDE = 4" in words(capsys)
    assert downloads(sandbox) <= before + 2


def downloads(sandbox):
    return sum(e["kind"] == "download" for e in sandbox.events()["events"])


# --- read once ---------------------------------------------------------------------------


def test_a_download_from_the_menu_reads_the_records_once(
    folder, answer, sandbox, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    assert order(sandbox) == DONE
    reads = []

    def counted(where, name):
        real = getattr(where, name)

        def read(*arguments):
            reads.append(name)
            return real(*arguments)

        monkeypatch.setattr(where, name, read)

    counted(holdings, "of_folder")
    counted(listing, "of_tiles")
    counted(Archive, "chunks")
    answer("1", BOX, "y", "2026-01-21", "", "y")
    main.main([])
    said = words(capsys)
    assert "to order" in said or "no image" in said
    # No tile is read that is remembered; afterwards those that are new, for the next command.
    assert reads == ["of_folder", "of_folder", "of_tiles"]


def words(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_the_constants_go_along_to_where_a_raster_is_converted(
    folder, answer, sandbox, monkeypatch  # noqa: F811
):  # fmt: skip
    """Workers of a cluster have their own constants; those of this program count."""
    seen = []
    real = convert.raster_to_cells

    def looked_at(raster, tile, nside=None, ellipsoid=None, bands=None, **more):
        seen.append((nside, ellipsoid, bands, more["product"].name))
        return real(raster, tile, nside, ellipsoid, bands, **more)

    monkeypatch.setattr(convert, "raster_to_cells", looked_at)
    monkeypatch.setattr(convert, "NSIDE", 65536)
    assert order(sandbox) == DONE
    assert set(seen) == {(65536, "sphere", ("VV", "VH"), "SENTINEL1_GRD")}
