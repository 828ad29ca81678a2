"""What the tests of downloading share: a small request, quick times, and comparisons.

Tiles of 0.02 x 0.01 degrees make jobs of a fraction of a second.  Place and days are
chosen by the sandbox's own calendar: one day on which the place was imaged, one on which a
pass's footprint touches it but no image does (the job finishes without a file), and one
without any pass (the job ends in error with NoDataAvailable).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import random
from pathlib import Path
from typing import Any

import numpy as np

import convert
import download
import store
from grid import BBox
from jobs import login
from jobs.journal import Journal
from sandbox import orbit

SIZE = (0.02, 0.01)
LABEL = "sandbox"
QUICK = dataclasses.replace(
    download.settings().pace,
    poll=0.03,
    start_interval=0.0,
    backoff_first=0.02,
    backoff_longest=0.3,
    start_lag=0.2,
    log_wait=0.1,
    empty_wait=0.1,
    stuck_after=600.0,  # a first job waits for compiled loops
    dice=random.Random(1),
)


def box(columns: int, rows: int = 1) -> BBox:
    """A box of so many tiles."""
    west, _ = where_and_when()
    return BBox(west, 50, west + SIZE[0] * (columns - 0.5), 50 + SIZE[1] * (rows - 0.5))


@functools.cache
def where_and_when() -> tuple[int, dt.date]:
    """A longitude at 50 N and the first of three days: imaged, only a footprint, nothing."""
    for west in range(5, 60):
        for start in (dt.date(2026, 1, 1) + dt.timedelta(days=i) for i in range(6)):
            days = [start + dt.timedelta(days=i) for i in range(3)]
            if [_kind(west, day) for day in days] == ["imaged", "footprint", "nothing"]:
                return west, start
    raise AssertionError("the sandbox's calendar has no such days any more")


def _kind(west: float, day: dt.date) -> str:
    lon, lat = np.array([west, west + 0.2]), np.array([50.0, 50.1])
    across = np.concatenate([p.across(lon, lat) for p in orbit.passes(day)])
    middle, outside = np.abs(across - 0.5), 0.5 + orbit.FOOTPRINT_MARGIN
    if np.nanmin(middle) < 0.4:
        return "imaged"
    if np.nanmin(middle) > outside:
        return "nothing"
    inside = middle < outside
    return "footprint" if (middle[inside] > 0.52).all() and inside.any() else "mixed"


def connect(url: str, timeout: tuple[float, float] = (2.0, 2.0)):
    return login.connect(url, False, print, prefer_basic=True, timeout=timeout)


def journal_of(archive: store.Archive) -> Journal:
    return Journal(folder_of(archive))


def folder_of(archive: store.Archive) -> Path:
    path = Path(archive.path)
    return path.with_name(f"{path.name}.downloads")


def into(archive: store.Archive):
    """Archive a result.  No provenance: the bytes shall depend on the data alone."""

    def handle(result: download.Result) -> bool:
        try:
            cells = convert.raster_to_cells(result.path, result.chunk.tile)
        except convert.RasterError as error:
            raise download.Spoiled(str(error)) from error
        if not (cells["count"] > 0).any():
            return False
        archive.write(result.chunk, cells)
        return True

    return handle


def plan(archive: store.Archive, columns: int = 2, days: int = 2, rows: int = 1, **more):
    _, first = where_and_when()
    last = first + dt.timedelta(days=days - 1)
    return download.plan(
        box(columns, rows), first, last, "any", archive.has, journal_of(archive), LABEL,
        chunk_size=SIZE, **more,
    )  # fmt: skip


def run(
    url: str,
    archive: store.Archive,
    columns: int = 2,
    days: int = 2,
    *,
    rows: int = 1,
    pace: download.Pace = QUICK,
    connection=None,
    handle=None,
    observer=lambda event: None,
    **more,
) -> download.Summary:
    """Plan and run a small request; the sandbox needs nobody to log in."""
    return download.run(
        plan(archive, columns, days, rows, **more),
        connection or connect(url),
        folder_of(archive),
        handle or into(archive),
        archive.has,
        observer,
        pace=pace,
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def created_for(events: dict[str, Any], archive: store.Archive) -> dict[str, int]:
    """How many jobs the sandbox has created for this archive, by title."""
    ours = journal_of(archive).id
    return {t: n for t, n in events["created_by_title"].items() if t.endswith(ours)}


def most_pending(events: dict[str, Any], archive: store.Archive) -> int:
    """The most jobs for this archive that were created and not started at any one time."""
    ours, pending, most = created_for(events, archive), 0, 0
    for event in events["events"]:
        if event["title"] in ours:
            pending += (event["kind"] == "created") - (event["kind"] == "started")
            most = max(most, pending)
    return most


def raw_files(archive: store.Archive) -> list[str]:
    """Names of the files that wait or are half downloaded."""
    folder = folder_of(archive) / "raw"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
