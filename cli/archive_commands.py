"""The commands that look after an archive: list, verify, claims, clean.

There is no science here.  The other rooms are imported when they are needed, so that the
first question is on the screen at once.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import apart, questions
from cli.chosen import Chosen
from cli.conversation import held
from cli.exits import DONE, FAILED, NO_DATA
from cli.questions import Period
from cli.table import print_table
from cli.terminal import confirm, count, duration, size, somebody_is_there, tell
from cli.workspace import Workspace, records_in_words
from grid import ORBITS, BBox
from shared.files import local_path

if TYPE_CHECKING:
    from archive.claims import Standing
    from archive.holdings import Holdings
    from archive.listing import Row
    from jobs.journal import Row as Attempt


def run_list(
    workspace: Workspace,
    as_json: bool = False,
    jobs: bool = False,
    map_path: str | None = None,
    stac_path: str | None = None,
    overwrite: bool = False,
    bbox: BBox | None = None,
    start: Period | None = None,
    end: Period | None = None,
    orbit: str | None = None,
) -> int:
    """Print the records or the jobs, draw a map of the tiles, or write STAC items."""
    chosen = Chosen(bbox, start, end, orbit)
    if jobs:
        if not chosen.is_all:
            raise ValueError("--jobs lists all jobs; leave out --bbox, --start, --end and --orbit.")
        return list_jobs(workspace)
    found = workspace.holdings
    if found is None:
        _ = workspace.existing  # says that there is none
        return DONE
    found = chosen.of(found)
    if not found.tiles and not chosen.is_all:
        tell(f"{workspace.path} has no record of {chosen.words}.")
        return NO_DATA
    if map_path is not None:
        return draw_map(found, workspace.path, map_path, overwrite)
    if stac_path is not None:
        return write_stac(found, workspace.path, stac_path, overwrite)
    if as_json:
        for line in found.lines():
            click.echo(line)
        return DONE
    print_records(found)
    tell(workspace.describe() if chosen.is_all else records_in_words(found))
    if there := apart.names(workspace.path):
        tell(f"Kept apart from it: {', '.join(there)}")
    return DONE


def write_stac(found: Holdings, place: str, path: str, overwrite: bool) -> int:
    """The records as STAC items, in a file of GeoParquet."""
    from archive import stac
    from cli.bar import working

    questions.require_targets([path], (".parquet",))
    targets = questions.may_replace([path], overwrite, somebody_is_there())
    if targets is None:
        tell("Nothing was written.")
        return DONE
    where = place if "://" in place else str(local_path(place).absolute())
    with working("writing the items"):
        written = stac.write(found.rows, found.layout, where, Path(path))
    tell(f"  {count(written, 'item')}")
    click.echo(path)
    return DONE


def draw_map(found: Holdings, archive: str, path: str, overwrite: bool) -> int:
    """The tiles and their numbers of records, over land and sea."""
    import retrieve
    from cli.bar import working
    from images import export, tile_map

    export.checked_target(path, overwrite=True, suffixes=(".png",))
    targets = questions.may_replace([path], overwrite, somebody_is_there())
    if targets is None:
        tell("Nothing was written.")
        return DONE
    with working("drawing the map"):
        counts = Counter(chunk.tile for chunk in found.chunks())
        retrieve.save_figure(tile_map.drawn(archive, counts), path, targets[path])
    click.echo(path)
    return DONE


@held
def run_verify(workspace: Workspace, remove: bool = False, ask_first: bool = False) -> int:
    """Read every record again, name the damaged ones, and remove them if that is wanted."""
    from cli.bar import working

    archive = workspace.existing
    with working("verifying") as progress:
        damaged = archive.verify(progress)
    if not damaged:
        tell(f"{workspace.describe()}, all whole.")
        return DONE
    for damage in damaged:
        click.echo(str(damage))
    records = dict.fromkeys(damage.chunk for damage in damaged if damage.chunk is not None)
    tiles = dict.fromkeys(d.tile for d in damaged if d.chunk is None and d.variable == "zarr.json")
    kinds = ((records, "damaged record"), (tiles, "unreadable tile"))
    what = " and ".join(count(len(found), name) for found, name in kinds if found)
    it = "it" if len(records) + len(tiles) == 1 else "them"
    if what and not remove and (ask_first or somebody_is_there()):
        question = f"Remove {what}, so that `download` orders {it} again?"
        remove = confirm(question, default=False)
    if what and remove:
        for chunk in records:
            archive.remove(chunk)
        for tile in tiles:
            archive.remove_tile(tile)
        tell(f"Removed {what}.  `download` of the same area and days orders {it} again.")
    elif what:
        tell(
            "The other records are whole.  `verify --remove` removes what is damaged, so that "
            "`download` of the same area and days orders it again."
        )
    return FAILED


def run_claims(workspace: Workspace, release: str | None = None) -> int:
    """Print which machine orders which chunk, or end the claims of one that is gone."""
    import download

    archive = workspace.archive
    claims = archive.claims("", download.settings().claim_lasts)
    if claims is None:
        tell(f"{archive.name} is not in an object store: one lock beside it is all it needs.")
        return DONE
    if release is not None:
        freed = claims.free(release)
        for name in freed:
            click.echo(name)
        tell(f"Released: {count(len(freed), 'chunk')} of {release}.  Whoever asks may order them.")
        return DONE if freed else NO_DATA
    rows = [
        [s.chunk, s.claim.holder, duration(s.age), state_of(s, claims.is_over(s)), s.claim.title]
        for s in claims.standing()
    ]
    print_table(["chunk", "machine", "sign of life", "state", "job"], rows)
    return DONE


def state_of(standing: Standing, is_over: bool) -> str:
    """Whether a chunk may be had."""
    if standing.claim.released:
        return "released"
    return "gone" if is_over else "claimed"


def run_clean(workspace: Workspace, dry_run: bool = False) -> int:
    """Remove what downloads have left and nothing needs; say what is kept, and why."""
    import download
    from cli import leavings

    keep_raw = download.settings().keep_raw
    found = leavings.leavings(workspace, keep_raw)
    gone = [each for each in found if not each.why]
    if not dry_run:
        gone = leavings.remove(workspace, keep_raw)
    verb = "Would remove" if dry_run else "Removed"
    tell(f"{verb} {leavings.in_words(gone)}." if gone else "There is nothing to remove.")
    for line in leavings.reasons(found):
        tell(line)
    return DONE


JOB = (
    "tile", "day", "orbit", "try", "state", "changed (UTC)", "min", "size", "credits", "reason",
    "job", "asked for",
)  # fmt: skip


def list_jobs(workspace: Workspace) -> int:
    """Print the journal of the downloads, the last change first."""
    from jobs.failures import in_words

    def when(seconds: float) -> str:
        return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M}"

    with workspace.journal() as journal:
        found = journal.rows()
    rows = [
        [row.chunk.tile.name, str(row.chunk.day), row.chunk.orbit, str(row.tries), str(row.state),
         when(row.changed), *used(row), row.reason, row.job_id or "", in_words(row.asked)]
        for row in found
    ]  # fmt: skip
    print_table(JOB, rows, spare=2, cuts=True)
    return DONE


def used(row: Attempt) -> tuple[str, str, str]:
    """What a job took, as far as it is known."""
    minutes = (row.finished - row.started) / 60 if row.finished and row.started else None
    return (
        "" if minutes is None else f"{minutes:.1f}",
        "" if row.bytes is None else size(row.bytes),
        "" if row.credits is None else f"{row.credits:.2f}",
    )


RECORD = ("tile", "day", "orbit", "bands", "seen", "size", "from")
PASS = ("time", "satellite", "track")  # where there is room: UTC, and the relative orbit
MEASURED = 10_000  # records, at most, whose widest cells are looked for before any is printed


def print_records(found: Holdings) -> None:
    """One row per record; of many they are printed as they are read."""
    if found.records <= MEASURED:
        rows = [cells_of(row) for row in found.rows()]
        print_table((*RECORD, *PASS), rows, spare=len(PASS))
        return
    print_table((*RECORD, *PASS), map(cells_of, found.rows()), widest(found), spare=len(PASS))


def cells_of(row: Row) -> list[str]:
    """A record as the cells of the table."""
    begin, tracks = row["acquired_begin"], row["relative_orbits"] or ()
    return [
        row["tile"], row["day"], row["orbit"], row["bands"], seen_of(row), size(row["bytes"]),
        source_of(row["backend"], row["synthetic"]), begin[11:16] if begin else "",
        "+".join(row["platforms"] or ()), "+".join(map(str, tracks)),
    ]  # fmt: skip


def widest(found: Holdings) -> list[int]:
    """What the cells of each column are hardly ever wider than."""
    facts = [held.facts for held in found.tiles]
    partial = any(about["partial"] for about in facts)
    sources = {source_of(*source) for about in facts for source in about["sources"]}
    columns: tuple[Iterable[str], ...] = (
        (held.name for held in found.tiles), ("2026-01-20",), ORBITS,
        (bands for about in facts for bands in about["bands"]),
        ("100 % of 100 %, partial" if partial else "100 %",), ("999 MB",), sources,
        ("06:00",), ("sentinel-1a",), ("154",),
    )  # fmt: skip
    return [max(map(len, column), default=0) for column in columns]


def seen_of(row: Row) -> str:
    """What share of its tile a record shows, and of how much if that is much less."""
    if row["seen"] is None:
        return "?"
    promised = f" of {100 * row['covered']:.0f} %, partial" if row["partial"] else ""
    return f"{100 * row['seen']:.0f} %{promised}"


def source_of(backend: str | None, synthetic: bool | None) -> str:
    """Where a record came from."""
    return (backend or "?") + (" (synthetic)" if synthetic else "")
