"""`retrieve --features`: the numbers of many areas and places, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import questions
from cli.bar import working
from cli.exits import DONE
from cli.running import cluster
from cli.terminal import count, somebody_is_there, tell
from cli.workspace import Workspace
from shared.areas import LATITUDES, Area, ordered

if TYPE_CHECKING:
    import pandas as pd

    from cli.questions import Period
    from cli.retrieve_command import RetrieveFlags, Wish
    from store import Archive


def run_features(workspace: Workspace, flags: RetrieveFlags, days: Period | None) -> int:
    """Read what the features touch, and write their numbers."""
    require_sense(flags, days)
    questions.require_targets(flags.lines, questions.TABLE_SUFFIXES)
    archive = workspace.existing
    assert archive.layout is not None
    assert days is not None
    bands = flags.bands and questions.require_bands(flags.bands, archive.layout.bands)
    asks = somebody_is_there()
    targets = questions.may_replace(flags.lines, flags.overwrite, asks)
    if targets is None:
        tell("Nothing was written.")
        return DONE
    by = flags.by or "direction"
    with cluster(flags.scheduler):
        read_and_write(
            archive, flags.features or "", days, bands, flags.orbit, by, flags.id, targets
        )
    return DONE


def write_each(archive: Archive, wish: Wish) -> None:
    """The same for who was asked, of each feature of the file that the area is of."""
    assert isinstance(wish.bbox, Area)
    by = wish.by or "direction"
    read_and_write(
        archive, wish.bbox.name, wish.days, wish.bands, wish.orbit, by, wish.id, wish.tables
    )  # fmt: skip


def require_sense(flags: RetrieveFlags, days: Period | None) -> None:
    """ValueError for flags that numbers of features have no use for, or that they lack."""
    useless: dict[str, Any] = {
        "--bbox": flags.bbox, "--output": flags.outputs, "--as-of": flags.as_of,
        "--dlat": flags.dlat, "--dlon": flags.dlon, "--composite": flags.composites,
        "--stretch": flags.stretch, "--clip": flags.clip, "--despeckle": flags.despeckle or None,
        "--method": flags.method if flags.method != "nearest" else None,
    }  # fmt: skip
    for name, value in useless.items():
        if value not in (None, (), []):
            raise ValueError(
                f"{name} does not go with --features, which gives numbers of the cells in each."
            )
    if days is None:
        raise ValueError("--features needs days: --day, or --start and --end.")
    if not flags.lines:
        raise ValueError("--features needs a file to write: --line FILE, a .csv, .parquet or .png.")
    if any(Path(name).suffix.lower() == ".parquet" for name in flags.lines):
        from images.tables import require_parquet

        require_parquet()


def read_and_write(
    archive: Archive, file: str, days: Period, bands: Sequence[str] | None, orbit: str | None,
    by: str, column: str | None, targets: dict[str, bool],
) -> None:  # fmt: skip
    """Read what the features touch, say what there is, write it, and print the files' names."""
    import retrieve

    try:
        with working("averaging the features") as progress:
            table = retrieve.features(archive, file, *days, bands, orbit, by, column, progress)
    except (ValueError, retrieve.NoData) as error:
        other = LATITUDES + file
        if ordered(file)[0] or meets(archive, file) or not meets(archive, other):
            raise
        raise type(error)(
            f"{error}  It has something of {other}: latitudes may have been written first."
        ) from None
    tell_table(table)
    for name, replace in targets.items():
        with working(f"writing {Path(name).name}"):
            retrieve.save_line(table, None, name, replace)
        click.echo(name)


def meets(archive: Archive, file: str) -> bool:
    """Whether features are on tiles of an archive."""
    import shapely

    from shared.features import as_features

    try:
        bounds = shapely.bounds(as_features(file).parts)
    except ValueError:
        return False
    west, south, east, north = bounds.T
    return any(
        bool(((west < t.east) & (east > t.west) & (south < t.north) & (north > t.south)).any())
        for t in archive.tiles()
    )


def tell_table(table: pd.DataFrame) -> None:
    """Say what the numbers are of, what has none, and where the data came from."""
    said = table.attrs
    there = table["feature"].nunique()
    tell(f"  {there:,} of {count(said['features'], 'feature')}, named by {said['names']}")
    for number, what in (
        (said["features_joined"], "of the names are of several features, and these are one"),
        (said["features_left_out"], "with neither a polygon nor a point are left out"),
        (
            said["features_without_a_cell"],
            "without the centre of a cell inside have no numbers",
        ),
        (said["features_outside"], "outside of the archive's tiles have none"),
    ):
        if number:
            tell(f"  {number:,} {what}")
    passes = [name for name in ("orbit", "relative_orbit") if name in table]
    for names, some in table.groupby(passes, sort=True):
        days = some["day"].dt.strftime("%Y-%m-%d")
        period = " to ".join(dict.fromkeys((days.min(), days.max())))
        tell(f"  {' '.join(map(str, names))}: {count(days.nunique(), 'day')}, {period}")
    tell(f"  {said['source']}")
