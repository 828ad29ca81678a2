"""`retrieve --features`: the numbers of many areas and places, each by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import questions
from cli.bar import working
from cli.exits import DONE
from cli.running import cluster
from cli.terminal import count, somebody_is_there, tell
from cli.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from cli.questions import Period
    from cli.retrieve_command import RetrieveFlags
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
    with cluster(flags.scheduler):
        table = read(archive, flags, bands, days)
    tell_table(table)
    write(table, targets)
    return DONE


def require_sense(flags: RetrieveFlags, days: Period | None) -> None:
    """ValueError for flags that numbers of features have no use for, or that they lack."""
    useless: dict[str, Any] = {
        "--bbox": flags.bbox, "--output": flags.outputs, "--as-of": flags.as_of,
        "--dlat": flags.dlat, "--dlon": flags.dlon, "--composite": flags.composites,
        "--stretch": flags.stretch, "--clip": flags.clip,
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


def read(archive: Archive, flags: RetrieveFlags, bands: Any, days: Period) -> pd.DataFrame:
    """The numbers, while a bar says how many images are read."""
    import retrieve

    assert flags.features is not None
    with working("averaging the features") as progress:
        return retrieve.features(
            archive, flags.features, *days, bands, flags.orbit, flags.by or "direction", flags.id,
            progress,
        )  # fmt: skip


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


def write(table: pd.DataFrame, targets: dict[str, bool]) -> None:
    """Write the numbers to the files, and print their names."""
    import retrieve

    for name, replace in targets.items():
        with working(f"writing {Path(name).name}"):
            retrieve.save_line(table, None, name, replace)
        click.echo(name)
