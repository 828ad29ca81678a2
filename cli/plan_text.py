"""What a plan is told as: the images there are, what is missing of them, what it will cost."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from cli import questions
from cli.exits import DONE, NO_DATA
from cli.terminal import count, duration, percent, size, tell
from grid import ORBITS, Chunk, Tile
from shared.areas import Area, wkt

if TYPE_CHECKING:
    from archive.holdings import Holdings
    from download import Plan
    from jobs.estimate import Range

TILES_SHOWN = 4  # of which a plan shows each, with what is covered of it
ROWS_SHOWN = 8  # days and orbits that a plan shows
CELL_BYTES = 6.3  # of a cell in the archive, until there are records to go by

Shares = tuple[tuple[dt.date, str], dict[Tile, float]]  # day and orbit, and what is covered


def describe_plan(plan: Plan, to_archive: float, slots: int) -> None:
    """What there is, what is missing, what it will cost."""
    if plan.covers:
        describe_images(plan)
    tell(
        f"  chunks {count_chunks(plan)}   already archived {len(plan.archived)}   "
        f"known empty {len(plan.empty)}   to order {len(plan.missing)}"
    )
    for line in remarks(plan):
        tell(f"  {line}")
    if not plan.missing:
        return
    cost = plan.estimate
    basis = f"from your last {count(cost.jobs, 'job')}" if cost.jobs else "a typical value"
    tell(
        f"  about {size(cost.bytes)} to download, {size(to_archive)} to "
        f"archive, {within(cost.seconds, cost.seconds_range, duration)} with "
        f"{count(slots, 'slot')} ({basis}){credits_of(plan)}"
    )
    if plan.backend == "sandbox":
        tell(f"  {questions.SANDBOX}")


def price_of(plan: Plan) -> str:
    """A plan in a sentence or two, for who still looks for an area."""
    words = []
    if plan.covers is not None:
        days = {chunk.day for chunk in plan.covers}
        if not days:
            return "the catalogue has no image of it on these days."
        words.append(f"images of {count(len(days), 'day')}")
    words.append(f"{count(len(plan.missing), 'chunk')} to order")
    if plan.archived:
        words.append(f"{len(plan.archived)} archived already")
    if not plan.missing:
        return f"{', '.join(words)}."
    cost = plan.estimate
    return (
        f"{', '.join(words)}: about {size(cost.bytes)} to download, "
        f"{duration(cost.seconds)}{credits_of(plan)}."
    )


def describe_images(plan: Plan) -> None:
    """A table of what share of each tile there is, by day and orbit."""
    assert plan.covers
    tiles = list(dict.fromkeys(chunk.tile for chunk in plan.covers))
    orbits = (plan.orbit,) if plan.orbit in ORBITS[1:] else ORBITS[1:]
    if not any(chunk.orbit in ORBITS[1:] for chunk in plan.covers):
        orbits = ORBITS[:1]  # of a collection that is not told apart by orbit
    rows: dict[tuple[dt.date, str], dict[Tile, float]] = {}
    for chunk, cover in plan.covers.items():
        if chunk.orbit in orbits:
            rows.setdefault((chunk.day, chunk.orbit), {})[chunk.tile] = cover.share
    days = len({day for day, _ in rows})
    length = (plan.last - plan.first).days + 1
    tell(f"  The catalogue has images of {count(days, 'day')}{f' of {length}' * (length > 1)}:")
    for line in lines_of(sorted(rows.items())[:ROWS_SHOWN], tiles):
        tell(f"  {line}")
    if len(rows) > ROWS_SHOWN:
        more = {day for day, _ in sorted(rows)[ROWS_SHOWN:]}
        tell(f"  and {count(len(more), 'more day')}")


def lines_of(rows: Sequence[Shares], tiles: Sequence[Tile]) -> Iterator[str]:
    """The lines of that table: each tile, or how many there are if they are many."""
    few = len(tiles) <= TILES_SHOWN
    head = [tile.name for tile in tiles] if few else ["tiles", "covered"]
    by_orbit = any(orbit != ORBITS[0] for (_, orbit), _ in rows)
    lines = [("day", *["orbit"] * by_orbit, *head)]
    for (day, orbit), shares in rows:
        mean = sum(shares.values()) / len(shares)
        cells = (
            [percent(shares.get(t)) for t in tiles] if few else [f"{len(shares)}", percent(mean)]
        )
        lines.append((str(day), *[orbit] * by_orbit, *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(f"{c:<{width}}" for c, width in zip(line, widths, strict=True)).rstrip()


def remarks(plan: Plan) -> Iterator[str]:
    """What is not plain about a plan."""
    for images in plan.aside:
        yield f"left aside: {images}"
    if plan.skipped:
        more = f" and {count(len(plan.skipped) - 1, 'more')}" if len(plan.skipped) > 1 else ""
        yield f"skipped, since the catalogue has them malformed: {plan.skipped[0]}{more}"
    if plan.begun:
        yield f"begun by an earlier request, and paid for: {count(len(plan.begun), 'more chunk')}"
    if plan.shown:
        yield (
            f"shown in part alone by records of files: {count(len(plan.shown), 'chunk')} to order; "
            "what shows less then is kept in an archive of its own"
        )
    days = sum(chunk.orbit == "any" for chunk in plan.archived)
    if plan.covers and plan.orbit is None and days:
        yield (
            f"archived with all passes of a day in one: {count(days, 'record')}; --orbit "
            "ascending or descending orders these apart"
        )
    if plan.renewed:
        yield f"found empty before, but with newer images now: {count(len(plan.renewed), 'chunk')}"


def within(value: float, spread: Range | None, words: Callable[[float], str]) -> str:
    """A value and its range, if there is one that says more."""
    if spread is None or words(spread[0]) == words(spread[1]):
        return words(value)
    return f"{words(value)} ({words(spread[0])} to {words(spread[1])})"


def credits_of(plan: Plan) -> str:
    """What a plan costs, and what of it a limit lets be done."""
    cost, limit = plan.estimate, plan.max_credits
    words = ""
    if cost.credits is not None and (plan.backend != "sandbox" or limit is not None):
        amount = within(cost.credits, cost.credits_range, lambda credits: f"{credits:.0f}")
        unit = "credit" if amount == "1" else "credits"
        words = f", {'' if cost.jobs else 'at least '}{amount} {unit}"
    if limit is not None and cost.credits is not None and cost.credits > limit:
        number = int(limit * len(plan.missing) / cost.credits)
        return f"{words}; the limit of {limit:g} is enough for about {number} of them"
    return words if limit is None else f"{words}; a limit of {count(limit, 'credit')}"


def show_plan(plan: Plan, as_json: bool) -> int:
    """End a dry run: the plan was told, or is printed for programs."""
    if as_json:
        click.echo(json.dumps(plan_document(plan)))
    tell("A dry run: nothing was ordered.")
    return DONE if count_chunks(plan) or plan.begun else NO_DATA


def plan_document(plan: Plan) -> dict[str, Any]:
    """A plan for programs."""
    kinds = {"archived": plan.archived, "known_empty": plan.empty, "to_order": plan.missing}
    covers = plan.covers or {}
    listed = [
        {
            "tile": chunk.tile.name,
            "day": chunk.day.isoformat(),
            "orbit_state": chunk.orbit,
            "covered": covers[chunk].share if chunk in covers else None,
            "state": kind,
        }
        for kind, chunks in kinds.items()
        for chunk in chunks
    ]
    return {
        "backend": plan.backend,
        "catalogue": plan.covers is not None,
        "bbox": str(plan.bbox),
        "area": wkt(plan.bbox.polygon) if isinstance(plan.bbox, Area) else None,
        "start": plan.first.isoformat(),
        "end": plan.last.isoformat(),
        "chunks": len(listed),
        **{kind: len(chunks) for kind, chunks in kinds.items()},
        "shown_by_files": len(plan.shown),
        "left_aside": list(plan.aside),
        "skipped": list(plan.skipped),
        "list": listed,
        "estimate": dataclasses.asdict(plan.estimate),
    }


def count_chunks(plan: Plan) -> int:
    """How many chunks were asked for."""
    return len(plan.missing) + len(plan.archived) + len(plan.empty)


def bytes_to_archive(missing: Sequence[Chunk], holdings: Holdings | None, nside: int) -> float:
    """Bytes that missing chunks will take, by the records there are, or a typical value."""
    share = sum(map(share_of_sphere, (chunk.tile for chunk in missing)))
    if not holdings or not holdings.records or not missing:
        return share * 12 * nside**2 * CELL_BYTES
    shape = missing[0].tile.size
    there = sum(
        held.records * share_of_sphere(Tile.from_name(held.name, shape)) for held in holdings.tiles
    )
    return share * holdings.size / there


def share_of_sphere(tile: Tile) -> float:
    """The area of a tile, of that of the sphere."""
    height = math.sin(math.radians(tile.north)) - math.sin(math.radians(tile.south))
    return (tile.east - tile.west) / 360 * height / 2
