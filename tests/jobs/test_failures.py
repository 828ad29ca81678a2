"""Jobs that fail, and those after them: how many, what they ask for, what is said.

The words are those of the back end (see the sandbox's own list).  Over HTTP every test
states the jobs, what was lost on them, the end, and the reason that people read.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import download
from cli import archive_commands, questions
from cli.report import report
from cli.workspace import Workspace
from jobs import failures
from jobs.failures import Cause, Failure, Mending
from jobs.journal import State
from jobs.trouble import OptionsRefused
from sandbox import failures as real
from sandbox import faults
from sandbox.faults import Switch
from store import Archive
from tests.downloading import (
    QUICK,
    connect,
    created_for,
    folder_of,
    into,
    journal_of,
    plan,
    raw_files,
    run,
)
from tests.rounds import torture, turns

MENDING = Mending(download.MEMORY_STEPS, download.SOFT_ERRORS)


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "a.zarr")


def asked(archive):
    """The options of each job, in the order of the jobs."""
    return [row.asked for row in sorted(journal_of(archive).rows(), key=lambda row: row.id)]


# --- the words --------------------------------------------------------------------------

CAUSES = {
    "job-error": Cause.OTHER, "job-memory": Cause.MEMORY, "job-driver-memory": Cause.DRIVER,
    "job-executor-lost": Cause.MEMORY, "job-silent": Cause.SILENT, "job-product": Cause.PRODUCT,
    "job-no-band": Cause.BAND, "job-unsupported": Cause.ORDER,
}  # fmt: skip


@pytest.mark.parametrize("name", real.FATES)
def test_each_failure_of_the_sandbox_is_of_its_kind(name):
    said = real.words(Switch.parse(name), {}, dt.date(2026, 1, 20))
    assert said is not None
    found = failures.sort(said)
    assert found.cause is CAUSES[name]
    named = name in ("job-product", "job-no-band")
    assert found.product.startswith("S1A_IW_GRDH_1S") == named
    assert name in faults.JOBS


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ("Ran out of memory. If you run as a batch_job, consider increasing job_options", "MEMORY"),
        ("Container killed on request. Exit code is 143: workers used too much memory", "MEMORY"),
        ("Python exception: MemoryError: std::bad_alloc", "MEMORY"),
        ("java.lang.OutOfMemoryError: Java heap space", "MEMORY"),
        ("pod terminated: exit code 137", "MEMORY"),
        ("Segmentation fault while running Orfeo toolbox. /eodata/x.tiff", "PRODUCT"),
        ("Errors can happen due to corrupted input products", "PRODUCT"),
        ("sar_backscatter: path to SAR product /eodata/x does not exist on the cluster", "PRODUCT"),
        ("Requested band 'VH' is not present in Sentinel 1 tile; try a filter", "BAND"),
        ("ProcessParameterInvalid: The value passed for parameter", "ORDER"),
        ("FileNotFoundError(2, '/eodata/auxdata/SRTMGL1/N61E007.hgt')", "ORDER"),
        ("A part of your process graph failed multiple times. Increasing executor memory", "LOST"),
        ("Log collection for job j-1 failed. (req_id: r-1) ConnectionTimeout", "SILENT"),
        ("Internal: Temporary failure while retrieving logs: ConnectionTimeout.", "SILENT"),
        ("Batch job failed due to Kubernetes error, try running again", "OTHER"),
    ],
)
def test_words_of_a_kind(entry, cause):
    assert failures.sort([entry]).cause is Cause[cause]
    # What only accompanies a failure hides none, wherever it stands.
    general = "A part of your process graph failed multiple times."
    if cause not in ("SILENT", "OTHER"):
        assert failures.sort([general, entry, general]).cause is Cause[cause]


SIZES = st.sampled_from(["1G", "3g", "4096m", "6G", "20G", "0", "512MB", "5Gi"])
OPTIONS = st.dictionaries(
    st.sampled_from(["python-memory", "executor-memory", "driver-memory"]), SIZES
)


@given(OPTIONS, st.sampled_from([Cause.MEMORY, Cause.DRIVER, Cause.LOST, Cause.SILENT]))
def test_the_ladder_ends_asks_for_more_at_each_step_and_never_for_less(options, cause):
    failure, steps = Failure(cause, ""), 0
    while (following := failures.mend(failure, options, MENDING)) is not None:
        assert following != options
        for name, value in options.items():
            if "memory" in name:
                assert failures.size(following[name]) >= failures.size(value)
            else:
                assert following[name] == value
        options, steps = following, steps + 1
    assert steps <= len(download.MEMORY_STEPS)


@given(OPTIONS)
def test_a_broken_product_is_passed_over_once(options):
    following = failures.mend(Failure(Cause.PRODUCT, ""), options, MENDING)
    assert following == {**options, "soft-errors": download.SOFT_ERRORS}
    assert failures.mend(Failure(Cause.PRODUCT, ""), following, MENDING) is None


# --- jobs -------------------------------------------------------------------------------


@torture
@pytest.mark.parametrize(
    ("fault", "jobs"),
    turns([
        ("job-memory,factor=2", 2),
        ("job-memory,factor=3", 3),
        ("job-executor-lost,factor=3", 3),
        ("job-silent,factor=2", 2),
        ("job-driver-memory,factor=2", 3),
        ("job-product", 2),
        ("job-error=1", 2),
    ]),
)  # fmt: skip
def test_a_job_after_a_failed_one_asks_for_what_helps(fault, jobs, faulty, archive):
    faulty.fault(fault)
    summary = run(faulty.url, archive, columns=1, days=1)
    assert (len(summary.archived), summary.failed) == (1, [])
    assert len(created_for(faulty.events(), archive)) == jobs
    assert (summary.lost_jobs, summary.lost_credits) == (jobs - 1, 2.0 * (jobs - 1))
    options = asked(archive)
    assert options[0] == {}
    assert len({str(each) for each in options}) == (1 if "job-error" in fault else jobs)
    assert bool(summary.marked) == ("product" in fault)


@pytest.mark.parametrize(
    ("fault", "jobs", "words"),
    [
        ("job-memory,factor=9", 3, "used too much memory.*tried 3 times.*--job-option python-mem"),
        ("job-no-band", 1, r"No tiff for band VH.*\[product S1A_IW_GRDH_1SSV_.*lacks a band"),
        ("job-unsupported", 1, "FeatureUnsupported.*change the constants"),
        ("job-silent,factor=9", 3, "log is empty.*tried 3 times"),
    ],
)
def test_what_cannot_be_mended_is_given_up_with_reason_and_advice(
    fault, jobs, words, faulty, archive
):
    faulty.fault(fault)
    summary = run(faulty.url, archive, columns=1, days=1)
    [(_, reason)] = summary.failed
    assert re.search(words, reason), reason
    assert len(created_for(faulty.events(), archive)) == jobs
    assert (summary.lost_jobs, summary.lost_credits) == (jobs, 2.0 * jobs)


def test_what_a_failed_job_asked_for_is_where_the_next_run_begins(faulty, archive):
    faulty.fault("job-memory,factor=9")
    run(faulty.url, archive, columns=1, days=1)
    last = asked(archive)[-1]
    faulty.clear_faults()
    faulty.fault("job-memory,factor=4")
    assert len(run(faulty.url, archive, columns=1, days=1).archived) == 1
    assert asked(archive)[-1] == last
    assert len(created_for(faulty.events(), archive)) == 4


@pytest.mark.parametrize("fault", ["log-empty=1,times=2", "log-fails=1,times=2"])
def test_a_log_that_is_late_is_waited_for(fault, faulty, archive):
    """Before, each look at it cost a job."""
    faulty.fault("job-no-band", fault)
    pace = dataclasses.replace(QUICK, log_wait=5.0)
    summary = run(faulty.url, archive, columns=1, days=1, pace=pace)
    assert "No tiff for band VH" in summary.failed[0][1]
    assert len(created_for(faulty.events(), archive)) == 1


# --- options ----------------------------------------------------------------------------


def run_with(url, archive, options, columns=1, **more):
    provenances = []

    def handle(result):
        provenances.append(result.provenance)
        return into(archive)(result)

    summary = download.run(
        plan(archive, columns, 1), connect(url), folder_of(archive), handle, archive.has,
        pace=QUICK, job_options=options, **more,
    )  # fmt: skip
    return summary, provenances


def test_job_options_go_with_each_order_and_into_the_provenance(faulty, archive, monkeypatch):
    monkeypatch.setattr(download, "JOB_OPTIONS", {"python-memory": "3G", "executor-cores": 2})
    summary, [about, _] = run_with(faulty.url, archive, {"executor-cores": 1}, columns=2)
    options = {"python-memory": "3G", "executor-cores": 1}
    assert len(summary.archived) == 2
    assert asked(archive) == [options] * 2
    assert (about.job_options, about.soft_errors) == (options, None)
    job = connect(faulty.url)._connection.job(about.job_id).describe()
    assert job["job_options"] == options


def test_options_do_not_make_another_order(faulty, archive):
    run_with(faulty.url, archive, {"python-memory": "3G"})
    again = plan(archive, 1, 1)
    assert (again.missing, len(again.archived)) == ([], 1)
    assert len({row.digest for row in journal_of(archive).rows()}) == 1


def test_refused_options_end_the_run_before_anything_else_is_ordered(faulty, archive):
    before = len(faulty.events()["statuses"])
    summary, _ = run_with(faulty.url, archive, {"executor-memory": "70G"}, columns=2)
    assert isinstance(summary.stopped, OptionsRefused)
    for word in ("executor-memory=70G", "the max for this instance is: 64G", "--job-option"):
        assert word in str(summary.stopped)
    assert len(created_for(faulty.events(), archive)) == 1
    assert len(faulty.events()["statuses"]) == before, "the order that was refused is removed"
    assert (len(summary.left), summary.failed, summary.lost_jobs) == (2, [], 0)
    assert len(run(faulty.url, archive, columns=2, days=1).archived) == 2
    assert asked(archive) == [{}, {}]


def test_a_step_beyond_the_maximum_ends_its_chunk_alone(faulty, archive, monkeypatch):
    monkeypatch.setattr(download, "MEMORY_STEPS", [{"python-memory": "90G"}])
    title = plan(archive, 2, 1).missing[0].name
    faulty.fault(f"job-memory,title={title}")
    summary = run(faulty.url, archive, columns=2, days=1)
    [(chunk, reason)] = summary.failed
    assert chunk.name == title
    assert "python-memory=90G is refused" in reason
    assert len(summary.archived) == 1


def test_a_record_whose_job_let_reads_fail_says_so(faulty, archive):
    faulty.fault("job-product")
    summary, [about] = run_with(faulty.url, archive, {})
    assert (about.soft_errors, about.job_options) == (0.5, {"soft-errors": 0.5})
    assert "may be missing" in summary.marked[0][1]


# --- all at once ------------------------------------------------------------------------


def test_eight_chunks_of_which_three_fail_in_three_ways(faulty, archive):
    chunks = plan(archive, 8, 1).missing
    product, memory, band = (chunks[n].name for n in (0, 1, 2))
    faulty.fault(
        f"job-product,title={product}", f"job-memory,title={memory}", f"job-no-band,title={band}"
    )
    began = time.monotonic()
    summary = run(faulty.url, archive, columns=8, days=1)
    assert time.monotonic() - began < 60
    assert len(summary.archived) == 7
    assert [chunk.name for chunk, _ in summary.failed] == [band]
    assert [chunk.name for chunk, _ in summary.marked] == [product]
    created = created_for(faulty.events(), archive)
    jobs = {c.name: sum(title.startswith(f"{c.name} ") for title in created) for c in chunks}
    assert [jobs.pop(name) for name in (product, memory, band)] == [2, 3, 1]
    assert set(jobs.values()) == {1}
    assert (summary.lost_jobs, summary.lost_credits) == (4, 8.0)
    assert "leave this day and orbit out" in summary.failed[0][1]
    # Nothing else waits for them: the others' jobs are ordered before any second one.
    first = [title.split()[1].endswith("-1") for title in created]
    assert first == sorted(first, reverse=True)
    assert raw_files(archive) == []
    states = {row.state for row in journal_of(archive).latest("sandbox").values()}
    assert states == {State.ARCHIVED, State.FAILED}


# --- what people see --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("python-memory=4G", ("python-memory", "4G")),
        ("executor-cores=1", ("executor-cores", 1)),
        ("soft-errors = 0.3", ("soft-errors", 0.3)),
        ("omit-derived-from-links=true", ("omit-derived-from-links", True)),
        ("image-name=a=b", ("image-name", "a=b")),
        ('credit-plans=["a"]', ("credit-plans", '["a"]')),
    ],
)
def test_an_option_is_read_as_the_value_that_it_is(text, option):
    assert questions.job_option(text) == option


@pytest.mark.parametrize("text", ["", "python-memory", "=4G", "python-memory="])
def test_what_is_no_option_is_refused(text):
    with pytest.raises(ValueError, match="write it like python-memory=4G"):
        questions.job_option(text)


def test_the_summary_and_the_list_of_jobs_say_what_was_tried_and_what_to_do(
    faulty, archive, capsys
):
    chunks = plan(archive, 3, 1).missing
    faulty.fault(
        f"job-product,title={chunks[0].name}", f"job-memory,title={chunks[1].name}",
        f"job-no-band,title={chunks[2].name}",
    )  # fmt: skip
    made = plan(archive, 3, 1)
    summary = run(faulty.url, archive, columns=3, days=1)
    assert report(summary, made, folder_of(archive)) == 1
    said = capsys.readouterr().out
    for words in (
        "archived, with a reservation", "may be missing", "spent on failures", "8 credits",
        "4 jobs", "No tiff for band VH", "leave this day and orbit out",
    ):  # fmt: skip
        assert words in said
    assert archive_commands.list_jobs(Workspace(str(archive.path))) == 0
    listed = capsys.readouterr().out
    assert "asked for" in listed
    assert "python-memory=8G" in listed
    assert "soft-errors=0.5" in listed
