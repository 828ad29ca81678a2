"""The command that adds files: look at them, ask what they do not say, plan, carry out, report."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import adding, questions
from cli.adding import Addition, AddPlan, Source
from cli.archiver import Settings, mixed, store_whole
from cli.conversation import held
from cli.exits import DONE, FAILED, NO_DATA
from cli.plan_text import bytes_to_archive
from cli.preflight import require_free, require_writable
from cli.running import cluster
from cli.table import print_table
from cli.terminal import ask, choose, confirm, count, size, tell
from cli.workspace import Workspace
from grid import ORBITS, Chunk
from shared.collection import Collection, Product, as_known, of_name
from shared.errors import RasterError

if TYPE_CHECKING:
    from cells.about import About
    from store import Archive

SECONDS = 3.0  # to convert and store a chunk, until some of them are done
FILES_SHOWN = 8  # that a plan shows


@dataclass(frozen=True)
class AddFlags:
    """What was asked for on the command line; None is asked for, or has a default."""

    files: Sequence[str] = ()
    day: dt.date | None = None
    orbit: str | None = None
    bands: tuple[str, ...] | None = None
    step: int | None = None
    decibels: bool = False
    apart: bool = False
    dry_run: bool = False
    as_json: bool = False
    yes: bool = False
    scheduler: str | None = None


@dataclass
class Outcome:
    """What came of it."""

    archived: list[Chunk] = field(default_factory=list)
    merged: list[Chunk] = field(default_factory=list)  # of the archived
    empty: list[Chunk] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)  # file or chunk, and the reason


@held
def run_add(workspace: Workspace, flags: AddFlags) -> int:
    """Put rasters that are there already into the archive: every tile that they touch."""
    from cli.download_command import settings

    if flags.as_json and not flags.dry_run:
        raise ValueError("--json prints the plan of a --dry-run.  Nothing was done.")
    made = settings()
    require_writable(workspace.archive, "done")
    paths = adding.rasters_in(ask_files(workspace, flags))
    looked, refused = look_at(paths, made)
    collection = collection_of(workspace.archive, made)
    if flags.decibels and not collection.product.is_power:
        raise ValueError(f"--decibels is for radar, and the archive is of {collection.name}.")
    bands = wanted_bands(workspace.archive, flags, made)
    workspace.archive.require(
        made.convert.nside, made.convert.ellipsoid, made.download.chunk_size, bands,
        collection.name,
    )  # fmt: skip
    sources = understood(looked, bands, flags, refused, collection)
    if refused and not sources:
        for _, why in refused[:-1]:
            tell(f"  {why}")
        raise RasterError(refused[-1][1])
    require_one_kind(workspace, sources)
    plan = adding.plan_of(sources, workspace.archive, flags.apart)
    workspace.archive.require_room(
        (addition.chunk.tile for addition in plan.additions),
        made.convert.nside, made.convert.ellipsoid,
    )  # fmt: skip
    chunks = [addition.chunk for addition in plan.additions]
    to_archive = bytes_to_archive(chunks, workspace.holdings, made.convert.nside)
    describe(plan, sources, refused, to_archive)
    if flags.dry_run:
        return show(plan, sources, flags.as_json)
    if plan.merging and not flags.yes and not confirm_merge(plan):
        plan = adding.plan_of(sources, workspace.archive, apart=True)
    if not plan.additions:
        finish_killed(plan, workspace.archive)
        tell("Nothing to add.")
        return report(Outcome(failed=refused), plan)
    if workspace.archive.is_folder:
        needs = [(workspace.archive.path, to_archive)]
        require_free(needs, "", "added", "name fewer files")
    if not flags.yes and not confirm("Start?", default=False):
        tell("Nothing was started.")
        return DONE
    with cluster(flags.scheduler):
        outcome = carry_out(
            plan, workspace.archive, made, bands, flags.decibels, collection.product
        )
    outcome.failed = [*refused, *outcome.failed]
    workspace.look_again()
    workspace.remember(files=" ".join(flags.files))
    return report(outcome, plan)


# --- what is to be added -----------------------------------------------------------------


def ask_files(workspace: Workspace, flags: AddFlags) -> list[Path]:
    """The files and folders that were named, or the answer to a question."""
    if flags.files:
        return [Path(name) for name in flags.files]
    usual = workspace.remembered().get("files", "")
    return questions.ask_rasters(usual)


def look_at(
    paths: Sequence[Path], made: Settings
) -> tuple[list[tuple[Path, About, str]], list[tuple[str, str]]]:
    """Each file with what it says of itself and its checksum; those of no use, with why."""
    import convert
    from cli.bar import working
    from jobs.transfer import fingerprint

    looked, refused = [], []
    with working("looking at the files") as progress:
        for number, path in enumerate(paths):
            progress(number, len(paths))
            try:
                about = convert.about(
                    path, made.download.chunk_size, made.convert.nside, made.convert.ellipsoid
                )
                looked.append((path, about, fingerprint(path)))
            except RasterError as error:
                refused.append((path.name, str(error)))
    return looked, refused


def collection_of(archive: Archive, made: Settings) -> Collection:
    """What the files are taken for: what the archive is of, else what downloads order."""
    layout = archive.layout
    if layout is None:
        return made.download.recipe.collection
    return replace(of_name(layout.product.name), product=layout.product)


def wanted_bands(archive: Archive, flags: AddFlags, made: Settings) -> tuple[str, ...]:
    """Those that were named, else those of the archive, else those that downloads have."""
    layout, recipe = archive.layout, made.download.recipe
    if flags.bands:
        return as_known(flags.bands, recipe.collection.bands if layout is None else layout.bands)
    return tuple(recipe.bands) if layout is None else layout.bands


def understood(
    looked: Sequence[tuple[Path, About, str]],
    bands: tuple[str, ...],
    flags: AddFlags,
    refused: list[tuple[str, str]],
    collection: Collection,
) -> list[Source]:
    """The files with all that has to be known of them, asked for where they do not say it."""
    orbit = flags.orbit
    found = []
    for path, about, checksum in looked:
        try:
            order = bands
            if not any(about.bands) and len(about.bands) == len(bands) and not flags.bands:
                order = ask_order(path, bands, flags)
            about.require(order, flags.decibels)
            step, day, day_by = which_day(path, about, flags, collection.first)
        except RasterError as error:
            refused.append((path.name, str(error)))
            continue
        if not collection.by_orbit:
            orbit = "any"
        elif about.orbit is None and orbit is None:
            orbit = "any" if flags.yes or flags.dry_run else ask_orbit(path)
        passes = flags.orbit or about.orbit or orbit or "any"
        passes = passes if collection.by_orbit else "any"
        chunks = tuple(Chunk(tile, day, passes) for tile in about.tiles)
        found.append(
            Source(path, checksum, order, step, day, day_by, passes, about.synthetic, chunks)
        )
    return found


def ask_order(path: Path, bands: tuple[str, ...], flags: AddFlags) -> tuple[str, ...]:
    """The bands of a file that does not name them, in its order."""
    if flags.yes or flags.dry_run:
        raise RasterError(
            f"{path}: it does not say which of its {count(len(bands), 'band')} is which; name them "
            f"in their order, as --bands {','.join(bands)}."
        )

    def parse(text: str) -> tuple[str, ...]:
        names = as_known(questions.band_names(text), bands)
        if sorted(names) != sorted(bands):
            raise ValueError(f"Name {', '.join(bands)}, in the order of the file.")
        return names

    tell(f"  {path.name} does not name its bands.")
    return ask("Bands in the order of the file", parse, ",".join(bands))


def which_day(
    path: Path, about: About, flags: AddFlags, since: dt.date | None
) -> tuple[int | None, dt.date, str]:
    """The time step to use, if there are several, the day, and what says which that is."""
    several = len(about.steps) > 1
    if flags.step is not None and not (several or flags.step == 0):
        raise RasterError(f"{path}: there is no step {flags.step}, as it has one time or none.")
    step, listed = flags.step, ", ".join(f"{s.index}: {s.label[:19]}" for s in about.steps)
    if several and step is None:
        if flags.day is not None:
            of_day = sorted((s.label, s.index) for s in about.steps if s.day == flags.day)
            step = of_day[0][1] if of_day else None
        elif not flags.yes and not flags.dry_run:
            step = questions.ask_step(path.name, [s.label[:19] for s in about.steps])
        if step is None:
            missing = f"none is of {flags.day}; " if flags.day else ""
            raise RasterError(
                f"{path}: it has {len(about.steps)} time steps ({listed}); {missing}say which "
                "with --step, or a day of one with --day."
            )
    if several and not 0 <= (step or 0) < len(about.steps):
        raise RasterError(f"{path}: there is no step {step}; it has {listed}.")
    label = about.steps[step or 0] if about.steps else None
    day, day_by = about.day, about.day_by
    if label is not None and label.day is not None:
        day, day_by = label.day, "its time"
    if flags.day is not None:
        day, day_by = flags.day, "--day"
    if day is None:
        if flags.yes or flags.dry_run:
            raise RasterError(f"{path}: nothing in it says of which day it is; name it with --day.")
        tell(f"  {path.name} does not say of which day it is.")
        day, day_by = ask("Day", partial(questions.image_day, since=since)), "your answer"
    try:
        questions.image_day(day.isoformat(), since)
    except ValueError as error:
        raise RasterError(f"{path}: by {day_by} it is of {day}, but {error}") from error
    return (step if several else None), day, day_by


def ask_orbit(path: Path) -> str:
    """Ask for the direction of the passes of all files that do not say it."""
    tell(f"  {path.name} does not say of which passes it is.")
    options = {str(number): orbit for number, orbit in enumerate(ORBITS, 1)}
    return options[choose("Passes of which orbit?", options, "1")]


def require_one_kind(workspace: Workspace, sources: Sequence[Source]) -> None:
    """Refuse to mix measured and synthetic data, in the archive or among the files."""
    for source in sources:
        if (not source.synthetic) in workspace.kinds:
            raise ValueError(mixed(workspace.archive, source.synthetic, source.path.name))
        if source.synthetic != sources[0].synthetic:
            kinds = ("measured", "synthetic")
            raise ValueError(
                f"{source.path.name} holds {kinds[source.synthetic]} data and "
                f"{sources[0].path.name} {kinds[sources[0].synthetic]} data, and they must not be "
                "mixed.  Nothing was written.  Add them to archives of their own."
            )


# --- the plan in words -------------------------------------------------------------------


def describe(
    plan: AddPlan, sources: Sequence[Source], refused: Sequence[tuple[str, str]], to_archive: float
) -> None:
    """What there is, what is there already, what it will take."""
    for source in sources[:FILES_SHOWN]:
        step = "" if source.step is None else f", step {source.step}"
        tell(
            f"  {source.path.name}: {source.day} (by {source.day_by}){step}, {source.orbit}, "
            f"{count(len(source.chunks), 'tile')}"
        )
    if len(sources) > FILES_SHOWN:
        tell(f"  and {count(len(sources) - FILES_SHOWN, 'more file')}")
    for _, why in refused:
        tell(f"  left aside: {why}")
    tell(
        f"  chunks {plan.number}   already added {len(plan.already)}   "
        f"to add {len(plan.additions)}   of these to merge {len(plan.merging)}"
    )
    if plan.other:
        tell(
            f"  left as they are: {count(len(plan.other), 'record')} that a back end gave, as "
            f"{plan.other[0]}; --archive names another archive for these files"
        )
    if plan.apart:
        tell(f"  kept apart, so not added: {apart_words(plan)}")
    if plan.additions:
        tell(f"  about {size(to_archive)} to archive")


def apart_words(plan: AddPlan) -> str:
    """How many parts are not merged, and what to do with them."""
    chunk, source = plan.apart[0]
    return (
        f"{count(len(plan.apart), 'part')} of chunks that another file has filled, as {chunk} of "
        f"{source.path.name}; another --orbit or another --archive takes them"
    )


def confirm_merge(plan: AddPlan) -> bool:
    """Whether to merge with what other files have put there."""
    first = plan.merging[0]
    return confirm(
        "Merge by the counts of their pixels?", True,
        f"  {count(len(plan.merging), 'chunk')} hold parts of other files, as {first.chunk}.  ",
    )  # fmt: skip


def show(plan: AddPlan, sources: Sequence[Source], as_json: bool) -> int:
    """End a dry run: the plan was told, or is printed for programs."""
    if as_json:
        click.echo(json.dumps(document(plan, sources)))
    tell("A dry run: nothing was added.")
    return DONE if plan.number else NO_DATA


def document(plan: AddPlan, sources: Sequence[Source]) -> dict[str, Any]:
    """A plan for programs."""
    states = [(a.chunk, "to_merge" if a.merges else "to_add") for a in plan.additions]
    states += [(chunk, "already_added") for chunk in plan.already]
    states += [(chunk, "left_as_it_is") for chunk in plan.other]
    states += [(chunk, "kept_apart") for chunk, _ in plan.apart]
    files = [
        {**source.entry, "day": source.day.isoformat(), "orbit_state": source.orbit,
         "bands": list(source.bands), "synthetic": source.synthetic}
        for source in sources
    ]  # fmt: skip
    listed = [
        {"tile": chunk.tile.name, "day": chunk.day.isoformat(), "orbit_state": chunk.orbit,
         "state": state}
        for chunk, state in states
    ]  # fmt: skip
    return {"files": files, "chunks": plan.number, "list": listed}


# --- doing it ----------------------------------------------------------------------------


def carry_out(
    plan: AddPlan,
    archive: Archive,
    made: Settings,
    bands: Sequence[str],
    decibels: bool,
    product: Product,
) -> Outcome:
    """Convert and store chunk by chunk; each is there wholly, or not at all."""
    import download
    from cli.progress import DownloadProgress

    outcome, total = Outcome(), len(plan.additions)
    usual = download.Estimate(0, SECONDS * total, None, 0)
    with DownloadProgress(total, usual, 0) as progress, told_where(outcome, total):
        finish_killed(plan, archive)
        for addition in plan.additions:
            chunk = addition.chunk
            try:
                kind = convert_and_store(
                    addition, archive, made, bands, decibels, product, progress.step
                )
                why = ""
            except RasterError as error:
                kind, why = "failed", str(error)
                outcome.failed.append((chunk.name, why))
            if kind == "archived":
                outcome.archived.append(chunk)
                outcome.merged += [chunk] if addition.merges else []
            elif kind == "empty":
                outcome.empty.append(chunk)
            progress(download.Event(kind, chunk, reason=why))
    return outcome


def convert_and_store(
    addition: Addition,
    archive: Archive,
    made: Settings,
    bands: Sequence[str],
    decibels: bool,
    product: Product,
    step: Callable[[Chunk, str], None],
) -> str:
    """Have a chunk's files in its record: "archived", or "empty" where nothing is seen.

    Files that differ in bands or step are averaged one by one, and merged by their counts.
    """
    import convert
    from images.merge import merge
    from shared import compute

    chunk, parts = addition.chunk, []
    step(chunk, "converting")
    for alike in alike_in_turn(addition.sources):
        first = alike[0]
        parts.append(
            compute.call(
                convert.raster_to_cells, [source.path.absolute() for source in alike], chunk.tile,
                nside=made.convert.nside, ellipsoid=made.convert.ellipsoid, bands=first.bands,
                step=first.step, decibels=decibels, product=product,
            )
        )  # fmt: skip
    cells = merge([part[[*bands, "count", "start_ipix", "run_len"]] for part in parts])
    if not cells["count"].values.any():
        return "empty"
    step(chunk, "writing")

    def write(*record: Any, **how: Any) -> bool:
        return store_whole(archive, step, *record, **how)

    adding.add(addition, archive, cells, write)
    return "archived"


def alike_in_turn(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """The files that can be read alike, together, in their order."""
    groups: dict[tuple[tuple[str, ...], int | None], list[Source]] = {}
    for source in sources:
        groups.setdefault((source.bands, source.step), []).append(source)
    yield from groups.values()


def finish_killed(plan: AddPlan, archive: Archive) -> None:
    """Do for what is there already what a killed run did not come to."""
    for tile in dict.fromkeys(chunk.tile for chunk in plan.already):
        with contextlib.suppress(OSError):
            archive.tidy(tile)


@contextlib.contextmanager
def told_where(outcome: Outcome, total: int) -> Iterator[None]:
    """Have an interruption say what is there and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted with {len(outcome.archived)} of {count(total, 'chunk')} added; they are "
            "whole.  Run the same command to go on."
        ) from None


def report(outcome: Outcome, plan: AddPlan) -> int:
    """Print what came of it and what to do about it; the exit code."""
    rows = [
        ["added", str(len(outcome.archived)), ""],
        ["of these merged", str(len(outcome.merged)), "with parts of other files"],
        ["no data", str(len(outcome.empty)), ""],
        ["already there", str(len(plan.already)), ""],
        ["left as they are", str(len(plan.other)), "records that a back end gave"],
        ["kept apart", str(len(plan.apart)), "not added: another file has filled these chunks"],
        *(["failed", name, why] for name, why in outcome.failed),
    ]
    print_table(["what", "how much", "remarks"], [row for row in rows if row[1] != "0"])
    if outcome.failed:
        tell("What failed is not in the archive.  Run the same command to try it again.")
        return FAILED
    if plan.apart:
        tell(f"Kept apart: {apart_words(plan)}.")
        return FAILED
    there = outcome.archived or plan.already or plan.other
    return DONE if there else NO_DATA
