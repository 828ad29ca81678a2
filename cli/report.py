"""What came of a download, in a table and an exit code."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cli.exits import DONE, FAILED, NO_DATA
from cli.table import print_table
from cli.terminal import count, duration, size, tell
from jobs.trouble import LimitReached

if TYPE_CHECKING:
    from download import Plan, Summary


def report(summary: Summary, plan: Plan, folder: Path) -> int:
    """Print what came of a download and what to do about it; the exit code."""
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
