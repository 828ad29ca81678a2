"""The command that downloads: ask, plan, say what it will cost, carry out, report."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli import leavings, questions
from cli.exits import DONE, FAILED, NO_DATA
from cli.plan_text import bytes_to_archive, describe_plan, show_plan
from cli.questions import Period
from cli.terminal import confirm, count, duration, size, somebody_is_there, tell
from cli.workspace import (
    downloads_folder,
    key_of,
    keys_of,
    open_archive,
    open_journal,
    remember,
    remembered,
)
from grid import BBox, Chunk, Tile
from jobs.trouble import LimitReached
from shared import judge

if TYPE_CHECKING:
    import pandas as pd

    import convert
    import download
    import store
    from download import Cover, Pace, Plan, Result, Summary
    from jobs.model import Claims
    from store import Archive

EMBEDDED_POLL = 1.0  # s between two questions to a back end that is ours alone


@dataclass(frozen=True)
class Settings:
    """The constants that a download rests on, judged before anything else is done."""

    download: download.Settings
    convert: convert.Settings
    store: store.Settings


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    import convert
    import download
    import store

    judge.positive("EMBEDDED_POLL in cli/download_command.py", EMBEDDED_POLL)
    return Settings(download.settings(), convert.settings(), store.settings())


def run_download(
    archive_path: str,
    bbox: BBox | None = None,
    start: Period | None = None,
    end: Period | None = None,
    orbit: str | None = None,
    backend: str | None = None,
    retry_empty: bool = False,
    retry_partial: bool = False,
    yes: bool = False,
    catalogue: str | None = None,
    no_catalogue: bool = False,
    max_credits: float | None = None,
    dry_run: bool = False,
    as_json: bool = False,
    scheduler: str | None = None,
    job_options: Sequence[tuple[str, object]] = (),
    records: pd.DataFrame | None = None,
) -> int:
    """Ask for what is missing, say what it will cost, then order, convert and store.

    ``records``: those of the archive, if they were read already.
    """
    from shared import compute

    require_sense(catalogue and no_catalogue, as_json and not dry_run)
    if start and end:
        questions.require_order(start[0], end[1])
    made = settings()
    cells, chunk_size, bands = made.convert, made.download.chunk_size, made.download.recipe.bands
    archive = open_archive(archive_path)
    archive.require(cells.nside, cells.ellipsoid, chunk_size, bands)
    records = archive.records() if records is None else records
    folder = downloads_folder(archive_path)
    before = remembered(folder)
    backend = backend or usual_back_end(archive, before, records)
    if backend is None:
        backend = default_back_end() if yes else questions.ask_back_end(default_back_end())
    require_same_kind(archive, backend, records)
    usual = before.get("bbox", str(questions.EXAMPLE_AREA))
    bbox = questions.area(bbox, usual, chunk_size)
    days = questions.ask_period(
        start, end, questions.remembered_period(before, questions.EXAMPLE_DAY)
    )
    covers, go_on = None, True
    if not no_catalogue:
        patient = somebody_is_there() and not yes and not dry_run
        covers, go_on = ask_catalogue(bbox, days, backend, catalogue, patient, made.download)
    if not go_on:
        tell("Nothing was started.")
        return DONE
    asked = None if covers is None else catalogue or ""
    plan = make_plan(
        archive, records, bbox, days, orbit, backend, retry_empty, retry_partial, covers, asked,
        max_credits, made.download,
    )  # fmt: skip
    archive.require_room(
        (chunk.tile for chunk in (*plan.missing, *plan.begun)), cells.nside, cells.ellipsoid
    )
    to_archive = bytes_to_archive(plan, records, cells.nside)
    describe_plan(plan, to_archive, made.download.pace.max_inflight)
    describe_claims(plan, archive, made.download.claim_lasts)
    if dry_run:
        return show_plan(plan, as_json)
    if not plan.missing and not plan.begun:
        tell("Nothing to order.")
        return DONE if plan.archived else NO_DATA
    require_writable(archive)
    require_free_disk(plan, archive, to_archive, made.download)
    if not yes and not confirm("Start?", default=False):
        tell("Nothing was started.")
        return DONE
    with compute.cluster(scheduler):
        summary = carry_out(plan, archive, records, made, dict(job_options))
    code = report(summary, plan, folder)
    say_what_is_left(archive_path, made.download.keep_raw)
    if code == DONE:
        remember(folder, bbox=bbox, start=days[0], end=days[1], backend=backend)
    return code


def require_sense(both: object, no_plan: bool) -> None:
    """Refuse flags that exclude each other."""
    if both:
        raise ValueError("--catalogue and --no-catalogue exclude each other.  Nothing was ordered.")
    if no_plan:
        raise ValueError("--json prints the plan of a --dry-run.  Nothing was ordered.")


def ask_catalogue(
    bbox: BBox,
    days: Period,
    backend: str,
    named: str | None,
    patient: bool,
    made: download.Settings,
) -> tuple[dict[Chunk, Cover] | None, bool]:
    """What the catalogue has, and whether to go on; None: order every day without it.

    That is asked where it does not answer or has nothing, if there is a ``patient``
    somebody to answer; otherwise CatalogueError is raised, or nothing is what there is.
    """
    import download

    try:
        covers = look_up(bbox, days, backend, named, made)
    except download.CatalogueError as error:
        if not patient:
            raise
        tell(f"  {error}")
    else:
        if covers:
            return covers, True
        tell(
            f"  The catalogue has no image of {bbox} from {days[0]} to {days[1]} in "
            f"{' and '.join(made.recipe.bands)}.  "
            "--no-catalogue orders every day nevertheless."
        )
        if not patient:
            return covers, True
    return None, confirm("Order every day, image or not?", default=False)


def look_up(
    bbox: BBox, days: Period, backend: str, named: str | None, made: download.Settings
) -> dict[Chunk, Cover]:
    """Ask the catalogue that was named, or the one of the back end."""
    import download
    from cli.progress import working
    from jobs import catalogue

    address: contextlib.AbstractContextManager[str]
    address = contextlib.nullcontext(download.BACKENDS.get(backend, backend))
    if backend == "sandbox" and named is None:
        from cli import local_backend

        address = local_backend.catalogue()
    with working("asking the catalogue"), address as url:
        where = named or catalogue.address(url, made.selection.address)
        return download.images(bbox, *days, where, made.chunk_size, made.recipe.bands)


def make_plan(
    archive: Archive,
    records: pd.DataFrame,
    bbox: BBox,
    days: Period,
    orbit: str | None,
    backend: str,
    retry_empty: bool,
    retry_partial: bool,
    covers: dict[Chunk, Cover] | None,
    asked: str | None,
    max_credits: float | None,
    made: download.Settings,
) -> Plan:
    """What is missing by the records there are; nothing is read for every chunk."""
    import download
    from cli.progress import working

    there = keys_of(records)
    with working("planning"), contextlib.closing(open_journal(archive.name)) as journal:
        return download.plan(
            bbox, *days, orbit, lambda chunk: key_of(chunk) in there, journal,
            backend, chunk_size=made.chunk_size, retry_empty=retry_empty, covers=covers,
            retry=partial_records(archive, records) if retry_partial else (),
            catalogue=asked, max_credits=max_credits, pace=pace_of(backend, made.pace),
        )  # fmt: skip


def pace_of(backend: str, pace: Pace) -> Pace:
    """How often a back end is asked: one that is ours alone more often."""
    if backend == "sandbox":
        return dataclasses.replace(pace, poll=min(EMBEDDED_POLL, pace.poll))
    return pace


def carry_out(
    plan: Plan,
    archive: Archive,
    records: pd.DataFrame,
    made: Settings,
    job_options: Mapping[str, object] | None = None,
) -> Summary:
    """Run a plan on its back end; the embedded one is started for as long as it takes."""
    import download
    from cli.progress import DownloadProgress

    folder = downloads_folder(archive.name)
    pace = pace_of(plan.backend, made.download.pace)
    address: contextlib.AbstractContextManager[str] = contextlib.nullcontext(plan.backend)
    if plan.backend == "sandbox":
        from cli import local_backend

        with contextlib.suppress(BlockingIOError):
            leavings.remove(archive.name, made.download.keep_raw)
        address = local_backend.back_end(folder / "sandbox", tell)
    with address as url, claims_on(archive, made.download.claim_lasts) as claims:
        connection = download.connect(
            url, interactive=somebody_is_there(), label=plan.backend, show=tell
        )
        with DownloadProgress(
            len(plan.missing) + len(plan.begun), plan.estimate, pace.max_inflight
        ) as progress:
            handle = archiver(archive, records, made, progress.step)
            return download.run(
                plan, connection, folder, handle, archive.has, progress, pace=pace,
                keep_raw=made.download.keep_raw, claims=claims, job_options=job_options,
                tidy=plan.backend == "sandbox",
            )  # fmt: skip


def describe_claims(plan: Plan, archive: Archive, lasts: float) -> None:
    """Say what of a plan other machines order at present."""
    if archive.is_folder:
        return
    with contextlib.closing(open_journal(archive.name)) as journal:
        ours = journal.id if journal.path.exists() else ""
    claims = archive.claims(ours, lasts)
    assert claims is not None
    missing = {chunk.name for chunk in plan.missing}
    others = Counter(
        standing.claim.holder
        for standing in claims.standing()
        if standing.chunk in missing
        and standing.claim.machine != ours
        and not claims.is_over(standing)
    )
    for holder, number in others.items():
        tell(f"  {holder} orders {number} of them already; what it orders is left to it")


@contextlib.contextmanager
def claims_on(archive: Archive, lasts: float) -> Iterator[Claims | None]:
    """What other machines order, for as long as this one downloads; None for a folder."""
    with contextlib.closing(open_journal(archive.name)) as journal:
        claims = archive.claims(journal.id, lasts)
    if claims is None:
        yield None
        return
    with claims.kept({chunk.name for chunk in archive.chunks()}):
        yield claims


def partial_records(archive: Archive, records: pd.DataFrame) -> list[Chunk]:
    """What the archive has less of than the catalogue promised."""
    layout = archive.layout
    if layout is None:
        return []
    return [
        Chunk(Tile.from_name(row["tile"], layout.chunk_size), row["day"], row["orbit"])
        for row in records[records["partial"].astype(bool)].to_dict("records")
    ]


def archiver(
    archive: Archive, records: pd.DataFrame, made: Settings, step: Callable[[Chunk, str], None]
) -> Callable[[Result], float]:
    """The function that turns a result into a record, and returns what share of it is seen.

    Where there is a record already, it is replaced if this one shows more.  Only for a damaged
    file it raises `download.Spoiled`: nothing else is mended by fetching it again.  The
    constants go along, as the workers of a cluster have their own.
    """
    import convert
    import download
    from shared import compute

    kinds = set(records["synthetic"])
    nside, ellipsoid = made.convert.nside, made.convert.ellipsoid
    chunk_size, bands = made.download.chunk_size, made.download.recipe.bands

    def handle(result: Result) -> float:
        step(result.chunk, "converting")
        raster, tile = result.path.absolute(), result.chunk.tile
        try:
            archive.require(nside, ellipsoid, chunk_size, bands)
        except ValueError as error:  # another process has made it since
            raise download.Unwanted(str(error)) from error
        try:
            cells = compute.call(
                convert.raster_to_cells, raster, tile, nside=nside, ellipsoid=ellipsoid, bands=bands
            )
        except convert.RasterError as error:
            raise download.Spoiled(str(error)) from error
        seen = float((cells["count"].values > 0).mean())
        if not seen:
            return False
        if (not result.provenance.synthetic) in kinds:
            raise download.Unwanted(mixed(archive, result.provenance.synthetic, "this back end"))
        step(result.chunk, "writing")
        partial = download.is_partial(result.provenance.covered, seen)
        about = dataclasses.replace(result.provenance, partial=partial)
        before = share_seen(archive, result.chunk)
        is_new = archive.write(result.chunk, cells, about, replace=before < seen)
        kinds.add(result.provenance.synthetic)
        step(result.chunk, "reading back")
        there = archive.read(result.chunk)
        if is_new and not there["count"].equals(cells["count"]):
            raise OSError(f"{result.chunk}: what was read back from {archive.name} differs.")
        return max(seen, before)

    return handle


def share_seen(archive: Archive, chunk: Chunk) -> float:
    """What share of its tile the record of a chunk shows; 0 if there is none."""
    if not archive.has(chunk):
        return 0.0
    cells = archive.read(chunk, variables=["count"])
    return float((cells["count"].values > 0).mean())


def report(summary: Summary, plan: Plan, folder: Path) -> int:
    """Print what came of a download and what to do about it; the exit code."""
    from cli.progress import print_table

    rows = [
        ["archived", str(len(summary.archived)), ""],
        ["archived by another process", str(len(summary.already)), ""],
        [
            "of these in part",
            str(len(summary.partial)),
            "less than the catalogue promised; --retry-partial orders them again",
        ],
        ["no data", str(len(summary.empty)), ""],
        *(["archived, with a reservation", chunk.name, why] for chunk, why in summary.marked),
        *(["doubtful", chunk.name, reason] for chunk, reason in summary.doubtful),
        *(["failed", chunk.name, reason] for chunk, reason in summary.failed),
        *(
            [
                "left to another machine",
                str(number),
                f"{holder} orders {'it' if number == 1 else 'them'}",
            ]
            for holder, number in Counter(who for _, who in summary.elsewhere).items()
        ),
        ["spent on failures", *lost(summary)],
        ["not finished", str(len(summary.left)), "run the same command to go on"],
        ["downloaded", size(summary.bytes), f"in {duration(summary.seconds)}"],
    ]
    shown = [row for row in rows if row[1] != "0" or row[0] in ("archived", "no data")]
    print_table(["what", "how much", "remarks"], shown)
    if isinstance(summary.stopped, LimitReached):
        tell(str(summary.stopped))
        return FAILED
    if summary.stopped is not None:
        raise summary.stopped
    if summary.doubtful and not summary.failed:
        tell("Run the same command to ask for the doubtful ones again; that orders nothing.")
        return FAILED
    if summary.failed:
        tell(
            "Run the same command to try the failed ones again; `list --jobs` shows their jobs, "
            f"and {folder / 'download.log'} what happened."
        )
        return FAILED
    if summary.elsewhere:
        tell(
            "What another machine orders will be in the archive when that is done.  Run the same "
            "command later to make sure; `claims` lists who orders what, and `claims --release` "
            "ends the claims of a machine that is gone."
        )
        return FAILED
    return DONE if summary.archived or summary.already or plan.archived else NO_DATA


def lost(summary: Summary) -> tuple[str, str]:
    """Jobs that were paid for and of no use, and what they cost."""
    if not summary.lost_jobs:
        return "0", ""
    return f"{summary.lost_credits:.4g} credits", f"{count(summary.lost_jobs, 'job')}"


def say_what_is_left(archive_path: str, keep_raw: bool) -> None:
    """What is kept beside the archive, and how it goes."""
    if left := leavings.leavings(archive_path, keep_raw):
        tell(f"Left beside the archive: {leavings.in_words(left)}; `clean` says what for.")


def default_back_end() -> str:
    """The constant of that name, if it is a back end."""
    import download

    try:
        return questions.back_end(judge.text("BACKEND in download.py", download.BACKEND))
    except ValueError:
        must = '"cdse", "sandbox" or an address like "https://..."'
        raise ValueError(judge.wrong("BACKEND in download.py", download.BACKEND, must)) from None


def usual_back_end(archive: Archive, before: dict[str, str], records: pd.DataFrame) -> str | None:
    """The back end of the last time, or the one that the archive's last record came from."""
    if archive.layout is None:
        return None
    known = [str(name) for name in records["backend"].tolist() if name]
    return before.get("backend") or (known[-1] if known else None)


def require_same_kind(archive: Archive, backend: str, records: pd.DataFrame) -> None:
    """Refuse to put measured and synthetic records into one archive."""
    if backend not in ("cdse", "sandbox"):
        return  # its first result will tell
    synthetic = backend == "sandbox"
    if (not synthetic) in set(records["synthetic"]):
        raise ValueError(mixed(archive, synthetic, backend))


def mixed(archive: Archive, synthetic: bool, source: str) -> str:
    """Why measured and synthetic records are kept apart."""
    kinds = ("measured", "synthetic")
    return (
        f"The archive {archive.name} holds {kinds[not synthetic]} data, {source} gives "
        f"{kinds[synthetic]} data, and they must not be mixed.  Nothing was written.  "
        "Name another archive with --archive."
    )


def require_writable(archive: Archive) -> None:
    """Refuse to order what could not be kept."""
    archive.require_writable()
    if not archive.is_folder:
        return
    place = existing(archive.path)
    for folder in {place, archive.path.absolute().parent} if place == archive.path else {place}:
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written.  Nothing was ordered.")


def require_free_disk(
    plan: Plan, archive: Archive, to_archive: float, made: download.Settings
) -> None:
    """Refuse to order what will not fit on the disks of the archive and of the raw files."""
    number = len(plan.missing)
    files = number if made.keep_raw else min(number, made.pace.max_files)
    if plan.backend == "sandbox":  # its results are on this disk, too, until they are archived
        files += min(number, made.pace.max_inflight + made.pace.max_files)
    raw = files * plan.estimate.bytes / max(number, 1)
    needs = [(downloads_folder(archive.name), raw)]
    if archive.is_folder:
        needs.append((archive.path, to_archive))
    disks: dict[int, tuple[Path, float]] = {}
    for folder, needed in needs:
        place = existing(folder)
        disk = place.stat().st_dev
        disks[disk] = place, needed + disks.get(disk, (place, 0.0))[1]
    for place, needed in disks.values():
        free = shutil.disk_usage(place).free
        if free < needed:
            raise OSError(
                errno.ENOSPC,
                f"This takes about {size(needed)} on the disk of {place} ({size(to_archive)} to "
                f"archive, {size(raw)} for results on their way), but {size(free)} are free.  "
                "Nothing was ordered.  Free some space, or take a smaller area or fewer days.",
            )


def existing(folder: Path) -> Path:
    """The folder, or the one above it that there is."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
