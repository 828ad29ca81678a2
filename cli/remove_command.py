"""The command that removes: records are taken out of an archive on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cli import places, questions
from cli.archive_commands import print_records
from cli.chosen import Chosen, tiles
from cli.conversation import held
from cli.exits import DONE, NO_DATA
from cli.terminal import confirm, count, size, somebody_is_there, tell
from cli.workspace import Workspace
from grid import ORBITS, Chunk

if TYPE_CHECKING:
    from archive.holdings import Holdings

NAMED = 4  # tiles, at most, that are named


@held
def run_remove(
    workspace: Workspace, chosen: Chosen, dry_run: bool = False, yes: bool = False,
    asks: bool = False,
) -> int:  # fmt: skip
    """Say what would go, ask, and remove it; what was removed can be ordered again.

    ``asks``: whether to ask what is meant, be the answers piped.
    """
    archive = workspace.existing
    archive.require_writable()
    holdings = workspace.holdings
    assert holdings is not None
    if chosen.is_all:
        chosen = ask_which(workspace, holdings, asks or somebody_is_there())
    found = chosen.of(holdings)
    if not found.tiles:
        tell(f"{workspace.path} has no record of {chosen.words}.  Nothing was removed.")
        return NO_DATA
    describe(found, chosen)
    if dry_run:
        print_records(found)
        tell("A dry run: nothing was removed.")
        return DONE
    what = count(found.records, "record")
    if not yes and not confirm(f"Remove {what} for good?", default=False):
        tell("Nothing was removed.")
        return DONE
    with workspace.alone():
        remove(workspace, list(found.chunks()))
    it = "it" if found.records == 1 else "them"
    tell(f"Removed {what}.  `download` of the same area and days orders {it} again.")
    return DONE


def ask_which(workspace: Workspace, holdings: Holdings, asks: bool) -> Chosen:
    """What is to go: an area and days, where somebody is there to say."""
    if not asks:
        raise ValueError(
            "Say what is to be removed: --bbox, --start and --end, --orbit.  Nothing was removed.  "
            "To be rid of all of an archive, delete its folder."
        )
    doubt = places.not_archived(workspace.archive)
    size_of_tile = holdings.layout.chunk_size
    bbox = places.asked_of(workspace, None, size_of_tile, doubt, usual=str(tiles(holdings)[0].bbox))
    days = sorted({chunk.day for chunk in Chosen(bbox).of(holdings).chunks()})
    if not days:
        return Chosen(bbox)
    tell(f"  The archive has {count(len(days), 'day')} of it, {days[0]} to {days[-1]}.")
    orbits: list[str] = []
    while not orbits:
        period = questions.ask_period(None, None, (days[0], days[-1]))
        chosen = Chosen(bbox, period)
        orbits = sorted({chunk.orbit for chunk in chosen.of(holdings).chunks()})
        if not orbits:
            tell(f"  The archive has no record of it, {questions.in_words(period)}.")
    if len(orbits) > 1:
        offered = questions.ask_orbit([name for name in orbits if name != ORBITS[0]])
        chosen = replace(chosen, orbit=None if offered == ORBITS[0] else offered)
    return chosen


def describe(found: Holdings, chosen: Chosen) -> None:
    """How many records, of which tiles and days, how large; and that tiles go as a whole."""
    days = sorted({chunk.day for chunk in found.chunks()})
    names = [held_.name for held_ in found.tiles]
    listed = ", ".join(names[:NAMED]) + ", ..." * (len(names) > NAMED)
    tell(
        f"  {count(found.records, 'record')}, {size(found.size)}, of "
        f"{count(len(names), 'tile')} ({listed}), {questions.in_words((days[0], days[-1]))}"
    )
    if beyond := chosen.reaching_beyond(tiles(found)):
        reach = "reaches" if len(beyond) == 1 else "reach"
        tell(
            f"  A record is of a whole tile, and goes as a whole: {count(len(beyond), 'tile')} "
            f"{reach} beyond the area."
        )


def remove(workspace: Workspace, chunks: Sequence[Chunk]) -> None:
    """Take records out, one after the other; KeyboardInterrupt says how many are gone."""
    from cli.bar import working

    done = 0
    try:
        with working("removing") as progress:
            for done, chunk in enumerate(chunks):
                progress(done, len(chunks))
                workspace.archive.remove(chunk)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted; {done} of {count(len(chunks), 'record')} were removed, the others are "
            "whole.  The same command goes on."
        ) from None
