"""The command that adds files: look at them, ask what they do not say, plan, carry out, report."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import adding, questions, sources
from cli.adding import Addition, AddPlan, Source
from cli.archiver import Settings, mixed, store_whole
from cli.conversation import held
from cli.exits import DONE, FAILED, NO_DATA
from cli.plan_text import bytes_to_archive
from cli.preflight import require_free, require_writable
from cli.running import cluster
from cli.sources import AddFlags as AddFlags
from cli.sources import Found
from cli.table import print_table
from cli.terminal import confirm, count, size, tell
from cli.workspace import Workspace
from grid import Chunk
from shared.collection import Collection, Product, as_known, of_name
from shared.errors import RasterError

if TYPE_CHECKING:
    import xarray as xr

    import convert
    from store import Archive

SECONDS = 3.0  # to convert and store a chunk, until some of them are done
FILES_SHOWN = 8  # that a plan shows


@dataclass
class Outcome:
    """What came of it."""

    archived: list[Addition] = field(default_factory=list)
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
    names = ask_files(workspace, flags)
    files = sources.rasters_in(names)
    collection = collection_of(workspace.archive, made)
    if flags.decibels and not collection.product.is_power:
        raise ValueError(f"--decibels is for radar, and the archive is of {collection.name}.")
    bands = wanted_bands(workspace.archive, flags, made)
    require_same(workspace.archive, made, bands, collection)
    found = sources.find(files, bands, flags, collection, made)
    require_some(found, bands)
    require_one_kind(workspace, found.sources)
    plan = adding.plan_of(found.sources, workspace.archive, flags.apart)
    describe_files(found, bands)
    to_archive = describe(plan, workspace, made)
    if flags.dry_run:
        return show(plan, found.sources, flags.as_json)
    if plan.merging and not flags.yes and not confirm_merge(plan):
        plan = adding.plan_of(found.sources, workspace.archive, keep_apart=True)
        to_archive = describe(plan, workspace, made)
    for archive in plan.archives:
        require_same(archive, made, bands, collection)
    if not plan.additions:
        finish_killed(plan)
        tell("Nothing to add.")
        return report(Outcome(failed=found.refused), plan)
    if workspace.archive.is_folder:
        needs = [(workspace.archive.path, to_archive)]
        require_free(needs, "", "added", "name fewer files")
    if not flags.yes and not confirm("Start?", default=False):
        tell("Nothing was started.")
        return DONE
    with cluster(flags.scheduler):
        how = Reading(made.convert, bands, flags.decibels, collection.product)
        outcome = carry_out(plan, how)
    outcome.failed = [*found.refused, *outcome.failed]
    workspace.look_again()
    workspace.remember(files=questions.as_text(names))
    return report(outcome, plan)


# --- what is to be added -----------------------------------------------------------------


def ask_files(workspace: Workspace, flags: AddFlags) -> list[Path]:
    """The files and folders that were named, or the answer to a question."""
    if "" in flags.files:
        raise ValueError("The name of a file is empty.  Nothing was done.")
    if flags.files:
        return [Path(name) for name in flags.files]
    usual = workspace.remembered().get("files", "")
    return questions.ask_rasters(usual)


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


def require_same(
    archive: Archive, made: Settings, bands: tuple[str, ...], collection: Collection
) -> None:
    """Refuse an archive that is made of other things."""
    archive.require(
        made.convert.nside, made.convert.ellipsoid, made.download.chunk_size, bands,
        collection.name,
    )  # fmt: skip


def require_some(found: Found, bands: Sequence[str]) -> None:
    """Raise RasterError where no file is of any use; the others are told before the last one."""
    if found.sources:
        return
    whys = [why for _, why in found.refused]
    if found.strays:
        whys.append(
            f"none of {', '.join(found.strays[:FILES_SHOWN])} has a band {' or '.join(bands)}.  "
            "Nothing was done.  Name other bands with --bands."
        )
    for why in whys[:-1]:
        tell(f"  {why}")
    raise RasterError(whys[-1])


def require_one_kind(workspace: Workspace, given: Sequence[Source]) -> None:
    """Refuse to mix measured and synthetic data, in the archive or among the files."""
    for source in given:
        if (not source.synthetic) in workspace.kinds:
            raise ValueError(mixed(workspace.archive, source.synthetic, source.name))
        if source.synthetic != given[0].synthetic:
            kinds = ("measured", "synthetic")
            raise ValueError(
                f"{source.name} holds {kinds[source.synthetic]} data and "
                f"{given[0].name} {kinds[given[0].synthetic]} data, and they must not be "
                "mixed.  Nothing was written.  Add them to archives of their own."
            )


# --- the plan in words -------------------------------------------------------------------


def describe_files(found: Found, bands: Sequence[str]) -> None:
    """What there is in the files."""
    for source in found.sources[:FILES_SHOWN]:
        step = "" if source.step is None else f", step {source.step}"
        some = "" if set(source.bands) == set(bands) else f", {', '.join(source.bands)} alone"
        tell(
            f"  {source.name}: {source.day} (by {source.day_by}){step}, {source.chunks[0].orbit}, "
            f"{count(len(source.chunks), 'tile')}{some}"
        )
    if len(found.sources) > FILES_SHOWN:
        tell(f"  and {count(len(found.sources) - FILES_SHOWN, 'more file')}")
    for _, why in found.refused:
        tell(f"  left aside: {why}")
    if found.strays:
        tell(f"  left aside, without a band {' or '.join(bands)}: {shortened(found.strays)}")
    lacking = [band for band in bands if not any(band in s.bands for s in found.sources)]
    if lacking:
        has = ",".join(band for band in bands if band not in lacking)
        tell(
            f"  no file gives {' or '.join(lacking)}: it stays without values until another file "
            f"adds it; --bands {has} makes an archive without it"
        )


def describe(plan: AddPlan, workspace: Workspace, made: Settings) -> float:
    """What is there already, what is to be done; the bytes that it will take."""
    nside, ellipsoid = made.convert.nside, made.convert.ellipsoid
    chunks = [addition.chunk for addition in plan.additions]
    workspace.archive.require_room((chunk.tile for chunk in chunks), nside, ellipsoid)
    to_archive = bytes_to_archive(chunks, workspace.holdings, nside)
    counted = {
        "chunks": plan.number, "already added": len(plan.already), "to add": len(plan.additions),
        "of these to merge": len(plan.merging), "to keep apart": len(plan.apart),
    }  # fmt: skip
    always = ("chunks", "already added", "to add")
    shown = (f"{name} {number}" for name, number in counted.items() if number or name in always)
    tell("  " + "   ".join(shown))
    if plan.other:
        tell(
            f"  left as they are: {count(len(plan.other), 'record')} that a back end gave, as "
            f"{plan.other[0]}; --apart keeps the files' parts in archives of their own"
        )
    for line in apart_lines(plan):
        tell(f"  to keep apart: {line}")
    if plan.additions:
        tell(f"  about {size(to_archive)} to archive")
    return to_archive


def apart_lines(plan: AddPlan) -> Iterator[str]:
    """What of which files goes to which archives."""
    names = {addition.archive.name: addition.sources[0].name for addition in plan.apart}
    number = Counter(addition.archive.name for addition in plan.apart)
    for archive, source in list(names.items())[:FILES_SHOWN]:
        yield f"{count(number[archive], 'part')} of {source} in {archive}"
    if len(names) > FILES_SHOWN:
        yield f"and {count(len(names) - FILES_SHOWN, 'more archive')}"


def shortened(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = len(names) - FILES_SHOWN
    return ", ".join(names[:FILES_SHOWN]) + (f" and {count(more, 'more file')}" if more > 0 else "")


def confirm_merge(plan: AddPlan) -> bool:
    """Whether to merge with what other files have put there."""
    chunks = [addition.chunk for addition in plan.merging]
    hold = f"{count(len(chunks), 'chunk')} {'holds' if len(chunks) == 1 else 'hold'}"
    return confirm(
        "Merge by the counts of their pixels? (n: keep apart)", True,
        f"  {hold} parts of other files, as {chunks[0]}.  ",
    )  # fmt: skip


def show(plan: AddPlan, given: Sequence[Source], as_json: bool) -> int:
    """End a dry run: the plan was told, or is printed for programs."""
    if as_json:
        click.echo(json.dumps(document(plan, given)))
    tell("A dry run: nothing was added.")
    return DONE if plan.number else NO_DATA


def document(plan: AddPlan, given: Sequence[Source]) -> dict[str, Any]:
    """A plan for programs."""
    states = [
        (each.chunk, each.archive,
         "to_keep_apart" if each.is_apart else "to_merge" if each.merges else "to_add")
        for each in plan.additions
    ]  # fmt: skip
    states += [(chunk, archive, "already_added") for archive, chunk in plan.already]
    files = [
        {"bands": list(source.bands), **entry, "day": source.day.isoformat(),
         "orbit_state": source.chunks[0].orbit, "synthetic": source.synthetic}
        for source in given
        for entry in source.entries
    ]  # fmt: skip
    listed: list[dict[str, Any]] = [
        {**named(chunk), "state": state, "archive": archive.name}
        for chunk, archive, state in states
    ]
    listed += [{**named(chunk), "state": "left_as_it_is"} for chunk in plan.other]
    return {"files": files, "chunks": plan.number, "list": listed}


def named(chunk: Chunk) -> dict[str, str]:
    """A chunk for programs."""
    return {
        "tile": chunk.tile.name, "day": chunk.day.isoformat(), "orbit_state": chunk.orbit,
    }  # fmt: skip


# --- doing it ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How files are read."""

    cells: convert.Settings
    bands: tuple[str, ...]  # of the archive
    decibels: bool
    product: Product


def carry_out(plan: AddPlan, how: Reading) -> Outcome:
    """Convert and store chunk by chunk; each is there wholly, or not at all."""
    import download
    from cli.progress import DownloadProgress

    outcome, total = Outcome(), len(plan.additions)
    usual = download.Estimate(0, SECONDS * total, None, 0)
    with DownloadProgress(total, usual, 0) as progress, told_where(outcome, total):
        finish_killed(plan)
        for addition in plan.additions:
            chunk = addition.chunk
            try:
                kind = convert_and_store(addition, how, progress.step, outcome.failed)
                why = ""
            except RasterError as error:
                kind, why = "failed", str(error)
                outcome.failed.append((chunk.name, why))
            if kind == "archived":
                outcome.archived.append(addition)
            elif kind == "empty":
                outcome.empty.append(chunk)
            progress(download.Event(kind, chunk, reason=why))
    return outcome


def convert_and_store(
    addition: Addition,
    how: Reading,
    step: Callable[[Chunk, str], None],
    failed: list[tuple[str, str]],
) -> str:
    """Have a chunk's files in its record: "archived", or "empty" where nothing is seen.

    Those that cannot be used join the ``failed``, and the others are taken without them.
    """
    step(addition.chunk, "converting")
    try:
        cells = cells_of(addition.sources, addition.chunk, how)
    except RasterError:
        bad = list(unusable(addition, how)) if len(addition.sources) > 1 else []
        names = [name for name, _ in bad]
        if len(bad) in (0, len(addition.sources)):
            raise
        failed += [each for each in bad if each not in failed]
        addition.sources = [each for each in addition.sources if each.name not in names]
        cells = cells_of(addition.sources, addition.chunk, how)
    if not cells["count"].values.any():
        return "empty"
    step(addition.chunk, "writing")

    def write(archive: Archive, *record: Any, **options: Any) -> bool:
        return store_whole(archive, step, *record, **options)

    adding.add(addition, cells, write)
    return "archived"


def unusable(addition: Addition, how: Reading) -> Iterator[tuple[str, str]]:
    """The files of a chunk that cannot be used, each with the reason."""
    for source in addition.sources:
        try:
            cells_of([source], addition.chunk, how)
        except RasterError as error:
            yield source.name, str(error)


def cells_of(given: Sequence[Source], chunk: Chunk, how: Reading) -> xr.Dataset:
    """The cells of a chunk from its files.

    Those that differ in bands or step are averaged one by one, and merged by their counts.
    """
    import convert
    from images.merge import merge
    from shared import compute

    parts = []
    for (order, of_time), alike in alike_in_turn(given, how.bands):
        parts.append(
            compute.call(
                convert.raster_to_cells, [source.raster for source in alike], chunk.tile,
                nside=how.cells.nside, ellipsoid=how.cells.ellipsoid, bands=order,
                step=of_time, decibels=how.decibels, product=how.product,
            )
        )  # fmt: skip
    return merge([in_order(part, how.bands) for part in parts])


def in_order(cells: xr.Dataset, bands: Sequence[str]) -> xr.Dataset:
    """The cells with their bands in the order of the archive."""
    return cells[[*bands, *(name for name in cells if name not in bands)]]


def alike_in_turn(
    given: Sequence[Source], bands: tuple[str, ...]
) -> Iterator[tuple[tuple[tuple[str, ...], int | None], list[Source]]]:
    """The bands and the step by which rasters are read, and those that are read so together."""
    groups: dict[tuple[tuple[str, ...], int | None], list[Source]] = {}
    for source in given:
        order = source.bands if source.is_whole else bands
        groups.setdefault((order, source.step), []).append(source)
    yield from groups.items()


def finish_killed(plan: AddPlan) -> None:
    """Do for what is there already what a killed run did not come to."""
    for archive, tile in plan.tiles_there:
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
    merged = sum(addition.merges for addition in outcome.archived)
    apart = sum(addition.is_apart for addition in outcome.archived)
    rows = [
        ["added", str(len(outcome.archived)), ""],
        ["of these merged", str(merged), "with parts of other files"],
        ["of these apart", str(apart), "in archives of their own"],
        ["no data", str(len(outcome.empty)), ""],
        ["already there", str(len(plan.already)), ""],
        ["left as they are", str(len(plan.other)), "records that a back end gave"],
        *(["failed", name, why] for name, why in outcome.failed),
    ]
    print_table(["what", "how much", "remarks"], [row for row in rows if row[1] != "0"])
    for line in apart_lines(AddPlan(outcome.archived)):
        tell(f"Kept apart: {line}")
    if outcome.failed:
        tell("What failed is not in the archive.  Run the same command to try it again.")
        return FAILED
    there = outcome.archived or plan.already or plan.other
    return DONE if there else NO_DATA
