"""The command that downloads: ask, plan, say what it will cost, carry out, report."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cli import places, questions
from cli.archiver import Settings, archiver
from cli.conversation import held
from cli.exits import DONE, NO_DATA
from cli.plan_text import bytes_to_archive, describe_plan, price_of, show_plan
from cli.preflight import require_free_disk, require_same_kind, require_writable
from cli.questions import Period
from cli.report import report
from cli.running import cluster
from cli.terminal import confirm, somebody_is_there, tell
from cli.workspace import Workspace
from grid import DEGREE, BBox, Chunk
from shared import judge
from shared.collection import KNOWN, as_known, of_name

if TYPE_CHECKING:
    import download
    from download import Cover, Pace, Plan, Summary
    from jobs.model import Claims
    from jobs.recipe import Recipe
    from shared.collection import Collection

EMBEDDED_POLL = 1.0  # s between two questions to a back end that is ours alone


@dataclass(frozen=True)
class DownloadFlags:
    """What was asked for on the command line; None is asked for, or has a default."""

    bbox: BBox | None = None
    start: Period | None = None
    end: Period | None = None
    orbit: str | None = None
    backend: str | None = None
    retry_empty: bool = False
    retry_partial: bool = False
    yes: bool = False
    catalogue: str | None = None
    no_catalogue: bool = False
    max_credits: float | None = None
    dry_run: bool = False
    as_json: bool = False
    scheduler: str | None = None
    job_options: Sequence[tuple[str, object]] = ()
    collection: str | None = None
    bands: Sequence[str] | None = None
    max_cloud: float | None = None
    update: bool = False
    asks: bool = False  # also whether to start an update


@dataclass(frozen=True)
class Wanted:
    """What is wanted, when nothing is left to be asked."""

    bbox: BBox
    days: Period
    backend: str


def settings(flags: DownloadFlags | None = None) -> Settings:
    """The constants as they are now, but for what flags say; ValueError names a wrong one."""
    import convert
    import download
    import store

    judge.positive("EMBEDDED_POLL in cli/download_command.py", EMBEDDED_POLL)
    made = download.settings()
    recipe = recipe_of(flags or DownloadFlags(), made.recipe)
    return Settings(replace(made, recipe=recipe), convert.settings(), store.settings())


def recipe_of(flags: DownloadFlags, usual: Recipe) -> Recipe:
    """What is ordered: by the constants, but for what flags say."""
    known = of_name(flags.collection) if flags.collection else usual.collection
    bands = bands_of(known, flags, usual)
    cloud = usual.max_cloud if flags.max_cloud is None else flags.max_cloud
    return replace(usual, collection=known, bands=bands, max_cloud=cloud)


def bands_of(known: Collection, flags: DownloadFlags, usual: Recipe) -> tuple[str, ...]:
    """The bands that are ordered of a collection; ValueError for one that is not there."""
    from jobs.settings import require_bands

    bands = as_known(flags.bands or usual.bands, known.bands)
    require_bands("--bands" if flags.bands else "BANDS in download.py", bands, known)
    return bands


def described(wanted: Wanted, flags: DownloadFlags, made: Settings) -> Settings:
    """The settings with what the back end says of a collection that is not known by heart.

    It is told, with what is guessed.  ValueError for a collection or band that is not there.
    """
    from cli.bar import working
    from jobs import catalogue, collections, login

    recipe = made.download.recipe
    with working("asking the back end"), address_of(wanted) as url:
        found = collections.described(login.look(url), recipe.collection.name)
        place = flags.catalogue or catalogue.address(url, made.download.selection.address)
        if not flags.no_catalogue:
            found = replace(found, images=catalogue.collection_named(place, found.name))
    bands = bands_of(found, flags, recipe)
    for line in collections.in_words(found, bands):
        tell(f"  {line}")
    recipe = replace(recipe, collection=found, bands=bands)
    return replace(made, download=replace(made.download, recipe=recipe))


def say_how_cells_fit(made: Settings) -> None:
    """Say once that pixels are coarser than cells, and which cells would suit them."""
    from healpix.ids import cell_width

    pixel, cell = made.download.typical.pixel, cell_width(made.convert.nside) * DEGREE
    if pixel <= cell:
        return
    level = math.floor(math.log2(cell_width(1) * DEGREE / pixel))
    tell(
        f"  pixels of {pixel:.3g} m are coarser than cells of {cell:.3g} m, so that cells between "
        f"them stay empty; NSIDE = {2 ** max(level, 0)} in convert.py suits them"
    )


def address_of(wanted: Wanted) -> contextlib.AbstractContextManager[str]:
    """The address of a back end; the embedded one is started to be looked at."""
    import download

    if wanted.backend == "sandbox":
        from cli import local_backend

        return local_backend.catalogue()
    return contextlib.nullcontext(download.BACKENDS.get(wanted.backend, wanted.backend))


@held
def run_download(workspace: Workspace, flags: DownloadFlags) -> int:
    """Ask for what is missing, say what it will cost, then order, convert and store."""
    require_sense(flags)
    if flags.update:
        from cli.update import flags_of_update

        flags = flags_of_update(workspace, flags)
    made = settings(flags)
    cells, archive, recipe = made.convert, workspace.archive, made.download.recipe
    archive.require(
        cells.nside, cells.ellipsoid, made.download.chunk_size, recipe.bands, recipe.collection.name
    )
    if flags.start:
        questions.imaged(flags.start, recipe.collection.first)
    wanted = ask_what(workspace, flags, made)
    made = with_clouds(flags, made)
    if recipe.collection.name not in KNOWN:
        made = described(wanted, flags, made)
    say_how_cells_fit(made)
    plan = make_plan(workspace, wanted, flags, made)
    if plan is None:
        tell("Nothing was started.")
        return DONE
    archive.require_room(
        (chunk.tile for chunk in (*plan.missing, *plan.begun)), cells.nside, cells.ellipsoid
    )
    to_archive = bytes_to_archive(plan.missing, workspace.holdings, cells.nside)
    describe_plan(plan, to_archive, made.download.pace.max_inflight)
    describe_claims(plan, workspace, made.download.claim_lasts)
    if flags.dry_run:
        return show_plan(plan, flags.as_json)
    if not plan.missing and not plan.begun:
        tell("Nothing to order.")
        return DONE if plan.archived or flags.update else NO_DATA
    require_writable(archive)
    require_free_disk(plan, workspace, to_archive, made.download)
    if not agreed(plan, flags):
        tell("Nothing was started.")
        return DONE
    with cluster(flags.scheduler):
        summary = carry_out(plan, workspace, made, dict(flags.job_options))
    workspace.look_again()
    code = report(summary, plan, workspace.folder)
    for chunk, place in sorted(workspace.set_apart):
        tell(f"The record of files of {chunk} showed less, and is kept in {place} now.")
    say_what_is_left(workspace, made.download.keep_raw)
    if code == DONE:
        first, last = wanted.days
        places.remember(workspace, wanted.bbox, start=first, end=last, backend=wanted.backend)
    return code


def agreed(plan: Plan, flags: DownloadFlags) -> bool:
    """Whether somebody wants the plan that was told; an update that orders nothing is wanted."""
    if flags.yes or (flags.update and not plan.missing):  # what was begun is paid for
        return True
    return confirm("Start?", default=False)


def require_sense(flags: DownloadFlags) -> None:
    """Refuse flags that exclude each other."""
    if flags.catalogue and flags.no_catalogue:
        raise ValueError("--catalogue and --no-catalogue exclude each other.  Nothing was ordered.")
    if flags.as_json and not flags.dry_run:
        raise ValueError("--json prints the plan of a --dry-run.  Nothing was ordered.")
    if flags.start and flags.end:
        questions.require_order(flags.start[0], flags.end[1])


def ask_what(workspace: Workspace, flags: DownloadFlags, made: Settings) -> Wanted:
    """Back end, area and days: those of the flags, else the answers to questions."""
    before = workspace.remembered()
    backend = flags.backend or usual_back_end(workspace, before)
    if backend is None:
        backend = default_back_end() if flags.yes else questions.ask_back_end(default_back_end())
    require_same_kind(workspace, backend)
    bbox = places.asked_of(
        workspace, flags.bbox, made.download.chunk_size, places.sea_or_around, not flags.yes,
        draw=lambda: draw_area(workspace, flags, made, backend),
    )  # fmt: skip
    days = questions.ask_period(
        flags.start,
        flags.end,
        questions.remembered_period(before, questions.EXAMPLE_DAY),
        made.download.recipe.collection.first,
    )
    if flags.update:
        tell(f"  {questions.in_words(days)}, since the archive's last day of it")
    return Wanted(bbox, days, backend)


def with_clouds(flags: DownloadFlags, made: Settings) -> Settings:
    """The settings with the most clouds of an image; asked for where other things were asked."""
    recipe = made.download.recipe
    asks = flags.bbox is None or flags.start is None
    if not recipe.collection.has_clouds or flags.max_cloud is not None or not asks:
        return made
    cloud = questions.ask_clouds(recipe.max_cloud)
    return replace(made, download=replace(made.download, recipe=replace(recipe, max_cloud=cloud)))


def make_plan(
    workspace: Workspace, wanted: Wanted, flags: DownloadFlags, made: Settings
) -> Plan | None:
    """What is missing by the records there are; None if somebody does not want to go on.

    Nothing is read for every chunk.
    """
    from cli.bar import working

    covers, go_on = None, True
    if not flags.no_catalogue and not made.download.selection.collection:
        tell("  no catalogue is known of it: every day is ordered")
    elif not flags.no_catalogue:
        patient = somebody_is_there() and not (flags.yes or flags.dry_run or flags.update)
        covers, go_on = ask_catalogue(wanted, flags.catalogue, patient, made.download)
    if not go_on:
        return None
    with working("planning"):
        return planned(workspace, wanted, flags, made, covers)


def planned(
    workspace: Workspace,
    wanted: Wanted,
    flags: DownloadFlags,
    made: Settings,
    covers: dict[Chunk, Cover] | None,
) -> Plan:
    """What is missing, where the catalogue has this."""
    import download

    with workspace.journal() as journal:
        return download.plan(
            wanted.bbox, *wanted.days, flags.orbit, workspace.has, journal, wanted.backend,
            chunk_size=made.download.chunk_size, retry_empty=flags.retry_empty, covers=covers,
            retry=workspace.partial if flags.retry_partial else (),
            catalogue=None if covers is None else flags.catalogue or "",
            max_credits=flags.max_credits, pace=pace_of(wanted.backend, made.download.pace),
            recipe=made.download.recipe, of_files=workspace.of_files,
        )  # fmt: skip


def ask_catalogue(
    wanted: Wanted, named: str | None, patient: bool, made: download.Settings
) -> tuple[dict[Chunk, Cover] | None, bool]:
    """What the catalogue has, and whether to go on; None: order every day without it.

    That is asked where it does not answer or has nothing, if there is a ``patient``
    somebody to answer; otherwise CatalogueError is raised, or nothing is what there is.
    """
    import download

    try:
        covers = look_up(wanted, named, made)
    except download.CatalogueError as error:
        if not patient:
            raise
        tell(f"  {error}")
    else:
        if covers:
            return covers, True
        tell(
            f"  The catalogue has no image of {wanted.bbox} from {wanted.days[0]} to "
            f"{wanted.days[1]} in "
            f"{' and '.join(made.recipe.bands)}.  "
            "--no-catalogue orders every day nevertheless."
        )
        if not patient:
            return covers, True
    return None, confirm("Order every day, image or not?", default=False)


def look_up(wanted: Wanted, named: str | None, made: download.Settings) -> dict[Chunk, Cover]:
    """Ask the catalogue that was named, or the one of the back end."""
    from cli.bar import working

    with working("asking the catalogue"), catalogue_at(wanted, named, made) as where:
        return images_of(wanted, where, made)


@contextlib.contextmanager
def catalogue_at(wanted: Wanted, named: str | None, made: download.Settings) -> Iterator[str]:
    """The address of the catalogue that was named, or of the back end's."""
    from jobs import catalogue

    address: contextlib.AbstractContextManager[str] = contextlib.nullcontext("")
    if named is None:
        address = address_of(wanted)
    with address as url:
        yield named or catalogue.address(url, made.selection.address)


def images_of(wanted: Wanted, where: str, made: download.Settings) -> dict[Chunk, Cover]:
    """What a catalogue has of an area and days."""
    import download

    return download.images(wanted.bbox, *wanted.days, where, made.chunk_size, recipe=made.recipe)


def draw_area(workspace: Workspace, flags: DownloadFlags, made: Settings, backend: str) -> str:
    """The area, drawn on a map that says what there is to order and what it would cost."""
    from cli.area_page import AreaDesk, drawn
    from cli.browse_command import atlas_of

    days = flags.start and (flags.start[0], (flags.end or flags.start)[1])
    before = workspace.remembered()
    days = days or questions.remembered_period(before, questions.EXAMPLE_DAY)
    is_known = made.download.recipe.collection.name in KNOWN
    atlas = atlas_of(workspace) if workspace.archive.layout is not None else None
    with contextlib.ExitStack() as stack:
        found: list[str] = []  # the catalogue, once somebody asks

        def price(bbox: BBox, days: Period) -> str:
            wanted, covers = Wanted(bbox, days, backend), None
            if not flags.no_catalogue and is_known:
                if not found:
                    here = catalogue_at(wanted, flags.catalogue, made.download)
                    found.append(stack.enter_context(here))
                covers = images_of(wanted, found[0], made.download)
            return price_of(planned(workspace, wanted, flags, made, covers))

        box = places.remembered_box(workspace) or (None if atlas else questions.EXAMPLE_AREA)
        desk = AreaDesk(price, made.download.chunk_size, days, box)
        return drawn(atlas, desk)


def carry_out(
    plan: Plan, workspace: Workspace, made: Settings, job_options: dict[str, object]
) -> Summary:
    """Run a plan on its back end; the embedded one is started for as long as it takes."""
    import download
    from cli.progress import DownloadProgress

    pace = pace_of(plan.backend, made.download.pace)
    address: contextlib.AbstractContextManager[str] = contextlib.nullcontext(plan.backend)
    if plan.backend == "sandbox":
        from cli import leavings, local_backend

        with contextlib.suppress(BlockingIOError):
            leavings.remove(workspace, made.download.keep_raw)
        address = local_backend.back_end(workspace.folder / "sandbox", tell)
    with address as url, claims_on(workspace, made.download.claim_lasts) as claims:
        connection = download.connect(
            url, interactive=somebody_is_there(), label=plan.backend, show=tell
        )
        with DownloadProgress(
            len(plan.missing) + len(plan.begun), plan.estimate, pace.max_inflight
        ) as progress:
            handle = archiver(workspace, made, progress.step)
            return download.run(
                plan, connection, workspace.folder, handle, workspace.archive.has, progress,
                pace=pace, keep_raw=made.download.keep_raw, claims=claims,
                job_options=job_options, tidy=plan.backend == "sandbox",
                recipe=made.download.recipe,
            )  # fmt: skip


def pace_of(backend: str, pace: Pace) -> Pace:
    """How often a back end is asked: one that is ours alone more often."""
    if backend == "sandbox":
        return replace(pace, poll=min(EMBEDDED_POLL, pace.poll))
    return pace


def describe_claims(plan: Plan, workspace: Workspace, lasts: float) -> None:
    """Say what of a plan other machines order at present."""
    archive = workspace.archive
    if archive.is_folder:
        return
    with workspace.journal() as journal:
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
def claims_on(workspace: Workspace, lasts: float) -> Iterator[Claims | None]:
    """What other machines order, for as long as this one downloads; None for a folder."""
    archive = workspace.archive
    with workspace.journal() as journal:
        claims = archive.claims(journal.id, lasts)
    if claims is None:
        yield None
        return
    with claims.kept({chunk.name for chunk in archive.chunks()}):
        yield claims


def say_what_is_left(workspace: Workspace, keep_raw: bool) -> None:
    """What is kept beside the archive, and how it goes."""
    from cli import leavings

    if left := leavings.leavings(workspace, keep_raw):
        tell(f"Left beside the archive: {leavings.in_words(left)}; `clean` says what for.")


def default_back_end() -> str:
    """The constant of that name, if it is a back end."""
    import download

    try:
        return questions.back_end(judge.text("BACKEND in download.py", download.BACKEND))
    except ValueError:
        must = '"cdse", "sandbox" or an address like "https://..."'
        raise ValueError(judge.wrong("BACKEND in download.py", download.BACKEND, must)) from None


def usual_back_end(workspace: Workspace, before: dict[str, str]) -> str | None:
    """The back end of the last time, or the one that the archive's last record came from."""
    if workspace.archive.layout is None:
        return None
    return before.get("backend") or workspace.last_back_end
