"""What has been imaged since the last time: the flags of a download that goes on where one ended.

A cron job asks nothing, so all comes from the archive and its journal: the area, orbit, collection
and bands of the last download, and the days from the last one of the archive until today.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING

from cli.download_command import DownloadFlags
from cli.spelled import sure
from cli.workspace import Workspace
from grid import BBox
from shared.areas import iter_tiles

if TYPE_CHECKING:
    from jobs.journal import Request


def flags_of_update(workspace: Workspace, flags: DownloadFlags) -> DownloadFlags:
    """The flags with what they do not say; ValueError where there was no download before."""
    if flags.start or flags.end:
        raise ValueError(
            "--update goes from the archive's last day until today, so leave out --start and "
            "--end.  Nothing was ordered."
        )
    with workspace.journal() as journal:
        before = journal.last_request()
    area = flags.bbox or (before and before.bbox)
    first = area and (last_day(workspace, area) or (before and before.first))
    if not area or not first:
        raise ValueError(
            f"{workspace.path} has no area of a last time.  Nothing was ordered.  Download one "
            "first, with --bbox, --start and --end; then --update goes on."
        )
    last = today()
    start = min(first, last)
    yes = flags.yes or not flags.asks
    flags = replace(flags, bbox=sure(area), start=(start, start), end=(last, last), yes=yes)
    return flags if before is None else as_before(flags, before)


def today() -> dt.date:
    """The day of UTC."""
    return dt.datetime.now(dt.UTC).date()


def as_before(flags: DownloadFlags, before: Request) -> DownloadFlags:
    """What flags do not say is as it was; a limit of credits is that of each run."""
    is_other = flags.collection not in (None, before.collection)
    named = flags.catalogue or flags.no_catalogue
    return replace(
        flags,
        orbit=flags.orbit or before.orbit,
        backend=flags.backend or before.backend,
        catalogue=flags.catalogue if named else before.catalogue or None,
        no_catalogue=flags.no_catalogue if named else before.catalogue is None,
        collection=flags.collection or before.collection or None,
        bands=flags.bands or (before.bands.split(",") if before.bands and not is_other else None),
        max_cloud=before.max_cloud if flags.max_cloud is None else flags.max_cloud,
    )


def last_day(workspace: Workspace, area: BBox) -> dt.date | None:
    """The day until which every tile of an area is there, of the tiles that have a record."""
    held = workspace.holdings
    if held is None:
        return None
    names = [tile.name for tile in iter_tiles(area, held.layout.chunk_size)]
    found = [held.last_day(name) for name in names if name in held.by_tile]
    return min(found, default=None)
