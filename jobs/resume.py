"""Gives the scheduler what is to be done: first what an earlier run has begun, then the rest."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

from grid import Chunk
from jobs.journal import ENDS, Journal, Row, State
from jobs.model import Summary
from jobs.plan import WAITING, Plan, is_under_way, latest_rows
from jobs.recipe import Recipe, digests
from jobs.scheduler import Scheduler
from jobs.settings import Settings


def take_on(
    scheduler: Scheduler,
    plan: Plan,
    journal: Journal,
    archive_has: Callable[[Chunk], bool],
    made: Settings,
) -> None:
    """Give the scheduler what is to be done: first what an earlier run has begun."""
    recipe = made.recipe
    wanted = dict.fromkeys(plan.missing)
    fresh: list[Chunk] = []
    latest = latest_rows(journal, plan.backend, recipe)
    for chunk, row in latest.items():
        if chunk in wanted or is_under_way(row, recipe):
            wanted.pop(chunk, None)
            if _must_be_ordered(row, scheduler, plan, journal, archive_has, recipe):
                fresh.append(chunk)
    for chunk in wanted:
        if archive_has(chunk) and chunk not in plan.again:
            scheduler.summary.already.append(chunk)
        else:
            fresh.append(chunk)
    # What was learnt from a failed job is not forgotten with the run.
    before = {chunk: row.options for chunk, row in latest.items() if row.state is State.FAILED}

    def options(chunk: Chunk) -> str:
        return before.get(chunk, "")

    orders = [(chunk, digests(chunk, recipe)[0]) for chunk in fresh]
    about = functools.partial(_about, plan)
    for row in journal.plan(plan.backend, orders, images=about, options=options):
        scheduler.add(row)


def _must_be_ordered(
    row: Row,
    scheduler: Scheduler,
    plan: Plan,
    journal: Journal,
    archive_has: Callable[[Chunk], bool],
    recipe: Recipe,
) -> bool:
    """Go on with the last attempt at a chunk; whether that takes a new order."""
    chunk, begun = row.chunk, is_under_way(row, recipe)
    again = chunk in plan.again or (begun and row.again)
    # What was being handled is handled again: a killed writer may have left its sweepings.
    if archive_has(chunk) and not again and not scheduler.has_result(row):
        if begun:
            journal.note(row, State.ARCHIVED)
        scheduler.summary.already.append(chunk)
        return False
    if row.state in (State.EMPTY, State.FAILED) and (row.ended or 0) > plan.made:
        _report(scheduler.summary, row)
        return False
    if row.state is State.FAILED and row.job_id and row.finished:
        scheduler.add(row, asked_again=True)
        return False
    if row.state in WAITING and row.digest != digests(chunk, recipe)[0]:
        journal.note(row, State.FAILED, reason="an order of before, which was not started")
        return True
    if row.state in ENDS:
        return True
    scheduler.add(row)
    return False


def _about(plan: Plan, chunk: Chunk) -> str:
    """What the catalogue has of a chunk, for the journal and for the record's provenance."""
    about: dict[str, object] = {"again": True} if chunk in plan.again else {}
    if cover := (plan.covers or {}).get(chunk):
        about |= {
            "covered": cover.share,
            "relative_orbits": cover.relative_orbits,
            "platforms": cover.platforms,
            "acquired": cover.times,
        }
    return json.dumps(about) if about else ""


def _report(summary: Summary, row: Row) -> None:
    """What another process has found out while this one waited for it."""
    if row.state is State.EMPTY:
        summary.empty.append(row.chunk)
    else:
        summary.failed.append((row.chunk, row.reason))
