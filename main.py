"""Ask for Sentinel-1 images of a place, keep them as a HEALPix archive, look at them.

`python main.py` asks; every question can be answered ahead by a flag, so the same path
runs from a script.  This room asks, calls the other rooms, and prints.  Errors become
one line and an exit code here and nowhere else.  The other rooms are imported when they
are needed, so that the first question is on the screen at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import math
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from files import is_disk_full
from grid import FIRST_DAY, ORBITS, BBox, parse_area, parse_day, parse_days, tiles_covering
from terminal import InputEnded, ask, choose, confirm, duration, size, tell

if TYPE_CHECKING:
    import pandas as pd

    from download import Plan, Result, Summary
    from journal import Journal
    from store import Archive

ZARR_PATH = "sentinel1.zarr"  # the archive, a folder; --archive names another one

DEMO_AREA = BBox(3.6, 51.1, 4.4, 51.4)  # the Scheldt estuary: two tiles, coast, towns, fields
DEMO_DAY = dt.date(2026, 1, 20)
DEMO_FOLDER = "demo"
EMBEDDED_POLL = 1.0  # s between two questions to a back end that is ours alone

DONE, FAILED, USAGE, NO_DATA, LOGIN_NEEDED, DISK_FULL = range(6)
INTERRUPTED = 130


class Parsed(click.ParamType[Any]):
    """A flag whose value is read by the function that reads the typed answer."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self.parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value; a ValueError becomes a usage error."""
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def image_day(text: str) -> dt.date:
    """A day on which Sentinel-1 can have taken an image."""
    return _in_time(parse_day(text))


def first_day(text: str) -> dt.date:
    """The first day of a day, month or year, on which there can be an image."""
    return _in_time(parse_days(text)[0])


def last_day(text: str) -> dt.date:
    """The last day of a day, month or year, or today if that comes before it."""
    first, last = parse_days(text)
    return _in_time(last if first == last else min(last, _today()))


def band_names(text: str) -> tuple[str, ...]:
    """Names separated by commas, in capitals."""
    names = tuple(dict.fromkeys(name.strip().upper() for name in text.split(",") if name.strip()))
    if not names:
        raise ValueError("Name at least one band, like VV,VH.")
    return names


def _in_time(day: dt.date) -> dt.date:
    if day < FIRST_DAY:
        raise ValueError(f"{day} is before the first Sentinel-1 image ({FIRST_DAY}).")
    if day > _today():
        raise ValueError(f"{day} is in the future; today is {_today()} (UTC).")
    return day


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


area_type = Parsed("W,S,E,N", parse_area)
archive_option = click.option(
    "--archive", "archive_path", metavar="PATH", default=ZARR_PATH, show_default=True,
    help="The archive, a folder.",
)  # fmt: skip
bbox_option = click.option(
    "--bbox", type=area_type, help="West, south, east, north in degrees, or a GeoJSON file."
)
orbit_option = click.option(
    "--orbit", type=click.Choice(ORBITS), help="Only passes of this direction."
)


@click.group(invoke_without_command=True)
@archive_option
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, archive_path: str, debug: bool) -> None:
    """Sentinel-1 images of a place as a HEALPix archive of your own.

    Without a command, asks what to do.
    """
    context.obj = debug
    if context.invoked_subcommand is None:
        context.exit(ask_what_to_do(archive_path))


@cli.command()
@bbox_option
@click.option("--start", type=Parsed("DAY", first_day), help="First day, as 2026-01-20 or 2026-01.")
@click.option("--end", type=Parsed("DAY", last_day), help="Last day, included.")
@orbit_option
@click.option("--backend", metavar="cdse|sandbox|URL", help="Which openEO back end to order from.")
@archive_option
@click.option("--retry-empty", is_flag=True, help="Order again what was found to be empty.")
@click.option("--yes", is_flag=True, help="Start without asking.")
def download(archive_path: str, **answers: Any) -> int:
    """Order what the archive lacks, two jobs at a time, and store it."""
    return run_download(archive_path, **answers)


@cli.command()
@bbox_option
@click.option("--day", type=Parsed("DAY", image_day), help="The day, as 2026-01-20.")
@click.option("--bands", type=Parsed("NAMES", band_names), help="As VV,VH; all if not given.")
@orbit_option
@click.option(
    "--output", "outputs", type=click.Path(), multiple=True,
    help="File to write: .png, .nc or .tif; may be given several times.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace output files that exist.")
@click.option("--no-show", is_flag=True, help="Open no window.")
@archive_option
def retrieve(archive_path: str, **answers: Any) -> int:
    """Show and write a box of the archive as picture, netCDF or GeoTIFF."""
    return run_retrieve(archive_path, **answers)


@cli.command("list")
@archive_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object per record.")
@click.option("--jobs", is_flag=True, help="The jobs of the downloads instead of the records.")
@click.option("--map", "map_path", type=click.Path(), help="Draw a map of the tiles to a .png.")
def list_(archive_path: str, **answers: Any) -> int:
    """List what the archive holds."""
    return run_list(archive_path, **answers)


@cli.command()
@archive_option
def verify(archive_path: str) -> int:
    """Read every record again and name the damaged ones."""
    return run_verify(archive_path)


@cli.command()
def demo() -> int:
    """Do the whole job once with the built-in back end: no account, no network."""
    return run_demo()


def ask_what_to_do(archive_path: str) -> int:
    """The menu."""
    archive = open_archive(archive_path)
    tell(f"Sentinel-1 on HEALPix    archive: {archive_path}  ({describe(archive)})")
    request = open_journal(archive).unfinished_request()
    if request is not None and confirm(
        f"An earlier download of {request.chunks} chunks did not come to its end.  Continue it?",
        default=True,
    ):
        return run_download(
            archive_path, request.bbox, request.first, request.last, request.orbit,
            request.backend, yes=True,
        )  # fmt: skip
    options = {"1": "download", "2": "retrieve", "3": "list", "4": "verify", "q": "quit"}
    match choose("What do you want to do?", options, default="1"):
        case "1":
            return run_download(archive_path)
        case "2":
            return run_retrieve(archive_path)
        case "3":
            return run_list(archive_path)
        case "4":
            return run_verify(archive_path)
    return DONE


def run_download(
    archive_path: str,
    bbox: BBox | None = None,
    start: dt.date | None = None,
    end: dt.date | None = None,
    orbit: str | None = None,
    backend: str | None = None,
    retry_empty: bool = False,
    yes: bool = False,
) -> int:
    """Ask for what is missing, say what it will cost, then order, convert and store."""
    import convert
    import download

    archive = open_archive(archive_path)
    archive.require(convert.NSIDE, convert.ELLIPSOID, download.CHUNK_SIZE, download.BANDS)
    bbox = bbox or ask_area()
    start = start or ask("First day", first_day, DEMO_DAY.isoformat())
    end = end or ask("Last day, included", last_day, start.isoformat())
    if end < start:
        raise ValueError(f"The first day, {start}, is after the last day, {end}.")
    backend = backend or download.BACKEND
    if backend in ("cdse", "sandbox"):  # of another one, its first file will tell
        require_same_kind(archive, backend == "sandbox", backend)
    plan = download.plan(
        bbox, start, end, orbit or "any", archive.has, open_journal(archive), backend,
        chunk_size=download.CHUNK_SIZE, retry_empty=retry_empty,
    )  # fmt: skip
    describe_plan(plan)
    if not plan.missing:
        tell("Nothing to order.")
        return DONE if plan.archived else NO_DATA
    if not yes and not confirm("Start?", default=False):
        tell("Nothing was started.")
        return DONE
    summary = carry_out(plan, archive, backend)
    return report(summary)


def carry_out(plan: Plan, archive: Archive, backend: str) -> Summary:
    """Run a plan on its back end; the embedded one is started for as long as it takes."""
    import convert
    import download
    from progress import DownloadProgress

    def handle(result: Result) -> bool:
        cells = convert.raster_to_cells(result.path, result.chunk.tile, bands=download.BANDS)
        if not cells["count"].values.any():
            return False
        require_same_kind(archive, result.provenance.synthetic, result.provenance.backend)
        archive.write(result.chunk, cells, result.provenance)
        if not archive.read(result.chunk)["count"].equals(cells["count"]):
            raise OSError(f"{result.chunk}: what was read back from {archive.path} differs.")
        return True

    folder = downloads_folder(archive)
    pace, embedded = download.PACE, None
    if backend == "sandbox":
        pace = dataclasses.replace(pace, poll=EMBEDDED_POLL)
        embedded = embedded_back_end(folder / "sandbox")
    with embedded or contextlib.nullcontext(backend) as address:
        connection = download.connect(
            address, interactive=sys.stdin.isatty(), label=plan.backend, show=tell
        )
        progress = DownloadProgress(len(plan.missing), plan.estimate, download.MAX_INFLIGHT)
        with progress:
            return download.run(
                plan, connection, folder, handle, archive.has, progress,
                pace=pace,
            )  # fmt: skip


def report(summary: Summary) -> int:
    """Say what came of a download; the exit code."""
    tell(
        f"{len(summary.archived)} archived, {len(summary.empty)} without data, "
        f"{len(summary.failed)} failed; {size(summary.bytes)} in {duration(summary.seconds)}."
    )
    for chunk, reason in summary.failed:
        tell(f"  {chunk}: {reason}")
    if summary.stopped is not None:
        raise summary.stopped
    if summary.failed:
        tell("Run the same command to try the failed ones again.")
        return FAILED
    return DONE if summary.archived or summary.already else NO_DATA


def describe_plan(plan: Plan) -> None:
    """What there is, what is missing, what it will cost."""
    cost = plan.estimate
    tell(
        f"  chunks {len(plan.missing) + len(plan.archived) + len(plan.empty)}"
        f"   already archived {len(plan.archived)}   known empty {len(plan.empty)}"
        f"   to order {len(plan.missing)}"
    )
    if plan.missing:
        basis = f"from your last {cost.jobs} jobs" if cost.jobs else "a typical value"
        credits = f", at least {cost.credits:.0f} credits" if cost.credits is not None else ""
        tell(f"  about {size(cost.bytes)} to download, {duration(cost.seconds)} ({basis}){credits}")


@contextlib.contextmanager
def embedded_back_end(state: Path) -> Iterator[str]:
    """The address of a sandbox of our own, which ends with this program.

    Its jobs are kept in ``state``: a later run finds them as it would at Copernicus.
    """
    state.mkdir(parents=True, exist_ok=True)
    tell("Back end: the built-in sandbox.  Its Sentinel-1 data is SYNTHETIC, not measured.")
    flags = ["--port", "0", "--state", str(state.resolve()), "--parent-watch"]
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", *flags],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if " at " not in line:
            raise RuntimeError("The built-in back end did not start; see its message above.")
        yield line.split()[-1]
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def require_same_kind(archive: Archive, synthetic: bool, source: str) -> None:
    """Refuse to put measured and synthetic records into one archive."""
    records = archive.records()
    if len(records) and (not synthetic) in set(records["synthetic"]):
        kinds = ("measured", "synthetic")
        raise ValueError(
            f"The archive {archive.path} holds {kinds[not synthetic]} data, {source} gives "
            f"{kinds[synthetic]} data, and they must not be mixed.  Nothing was written.  "
            "Name another archive with --archive."
        )


def run_retrieve(
    archive_path: str,
    bbox: BBox | None = None,
    day: dt.date | None = None,
    bands: Sequence[str] | None = None,
    orbit: str | None = None,
    outputs: Sequence[str] = (),
    overwrite: bool = False,
    no_show: bool = False,
) -> int:
    """Ask for what is missing, then select, regrid, plot and export."""
    import export
    import retrieve

    archive = existing_archive(archive_path)
    interactive = bbox is None or day is None
    bbox = bbox or ask_area()
    if day is None:
        day = ask_day(archive, bbox)
    if interactive and not outputs:
        name = f"s1_{day}_{str(bbox).replace(',', '_')}.png"
        outputs = ask("Files to write (.png, .nc, .tif)", str.split, name)
    for output in outputs:
        export.checked_target(output, overwrite)
    grid = retrieve.retrieve(archive, bbox, day, bands=bands, orbit=orbit)
    figure = retrieve.plot(grid)
    for band, (low, high) in retrieve.plot_ranges(figure).items():
        tell(f"{band}: {low:.1f} to {high:.1f} dB (2nd to 98th percentile)")
    for output in outputs:
        if output.lower().endswith(".png"):
            export.save_figure(figure, output, overwrite)
        else:
            retrieve.export(grid, output, overwrite)
        click.echo(output)
    if not no_show and not retrieve.show(figure) and not outputs:
        tell("There is no display to open a window on; name a file with --output.")
    return DONE


def run_list(
    archive_path: str, as_json: bool = False, jobs: bool = False, map_path: str | None = None
) -> int:
    """Print the records, the jobs, or a map of the tiles."""
    if jobs:
        return list_jobs(archive_path)
    archive = existing_archive(archive_path)
    if map_path is not None:
        import export
        import tilemap

        export.save_figure(tilemap.coverage_map(archive), map_path, overwrite=True)
        click.echo(map_path)
        return DONE
    records = archive.records()
    if as_json:
        for row in records.to_dict("records"):
            click.echo(json.dumps(row, default=str))
        return DONE
    print_records(records)
    return DONE


def run_verify(archive_path: str) -> int:
    """Read every record again and name the damaged ones."""
    from progress import counting

    archive = existing_archive(archive_path)
    with counting("verifying") as progress:
        damaged = archive.verify(progress)
    for damage in damaged:
        click.echo(str(damage))
    if damaged:
        tell("The other records are whole.  Order the damaged ones again with `download`.")
        return FAILED
    tell(f"{len(archive.records())} records, all whole.")
    return DONE


def run_demo() -> int:
    """Download two neighbouring tiles from the built-in back end and picture a box of both."""
    folder = Path(DEMO_FOLDER)
    folder.mkdir(exist_ok=True)
    archive_path, picture = str(folder / "sentinel1.zarr"), str(folder / "sentinel1.png")
    code = run_download(archive_path, DEMO_AREA, DEMO_DAY, DEMO_DAY, backend="sandbox", yes=True)
    if code != DONE:
        return code
    code = run_retrieve(
        archive_path, DEMO_AREA, DEMO_DAY, outputs=[picture], overwrite=True, no_show=True
    )
    tell(f"The archive is in {archive_path}, the picture in {picture}.")
    return code


def list_jobs(archive_path: str) -> int:
    """Print the journal of the downloads, the last change first."""
    from progress import print_table

    rows = open_journal(open_archive(archive_path)).rows()
    print_table(
        ["chunk", "try", "state", "changed (UTC)", "job", "reason"],
        [
            [
                str(row.chunk), str(row.tries), str(row.state),
                f"{dt.datetime.fromtimestamp(row.changed, dt.UTC):%Y-%m-%d %H:%M:%S}",
                row.job_id or "", row.reason,
            ]
            for row in rows
        ],
    )  # fmt: skip
    return DONE


def print_records(records: pd.DataFrame) -> None:
    """One row per record."""
    from progress import print_table

    print_table(
        ["tile", "day", "orbit", "bands", "seen", "size", "from"],
        [
            [
                row["tile"], str(row["day"]), row["orbit"], row["bands"],
                f"{100 * row['seen']:.0f} %", size(row["bytes"]),
                (row["backend"] or "?") + (" (synthetic)" if row["synthetic"] else ""),
            ]
            for row in records.to_dict("records")
        ],
    )  # fmt: skip


def ask_area(default: str | None = None) -> BBox:
    """Ask for a box until somebody says that it is right."""
    while True:
        bbox = ask(
            "Area, west,south,east,north in degrees, or a GeoJSON file",
            parse_area,
            default or str(DEMO_AREA),
        )
        if confirm(f"  {echo_area(bbox)}  Right?", default=True):
            return bbox


def echo_area(bbox: BBox) -> str:
    """The box in words, so that swapped coordinates are noticed."""
    import download

    km_east = bbox.width * 111.195 * math.cos(math.radians((bbox.south + bbox.north) / 2))
    tiles = [tile.name for tile in tiles_covering(bbox, download.CHUNK_SIZE)]
    named = ", ".join(tiles[:3]) + (", ..." if len(tiles) > 3 else "")
    across = " (across 180 degrees)" if bbox.crosses_antimeridian else ""
    return (
        f"west {bbox.west:g}, south {bbox.south:g}, east {bbox.east:g}, north {bbox.north:g}"
        f"{across}: {km_east:.0f} x {bbox.height * 111.195:.0f} km, "
        f"{len(tiles)} tile{'s' * (len(tiles) != 1)} ({named})."
    )


def ask_day(archive: Archive, bbox: BBox) -> dt.date:
    """Offer the days that the archive has of the box, newest first."""
    import retrieve

    found = retrieve.days(archive, bbox)
    if not found:
        raise retrieve.NoData(f"The archive {archive.path} holds nothing of {bbox}.")
    tell("  the archive has, with the share of the box:")
    for cover in found[:10]:
        tell(f"    {cover.day}  {cover.orbit:10}  {100 * cover.share:3.0f} %")
    return ask("Day", image_day, found[0].day.isoformat())


def open_archive(path: str) -> Archive:
    """The archive at ``path``, which need not exist yet."""
    from store import Archive

    return Archive(path)


def existing_archive(path: str) -> Archive:
    """The archive at ``path``; ValueError if there is none."""
    archive = open_archive(path)
    if archive.layout is None:
        raise ValueError(f"There is no archive at {path}.  Make one with `download`.")
    return archive


def downloads_folder(archive: Archive) -> Path:
    """Where the journal and the raw files of an archive are: beside it."""
    return archive.path.with_name(archive.path.name + ".downloads")


def open_journal(archive: Archive) -> Journal:
    """The memory of the downloads into this archive."""
    from journal import Journal

    return Journal(downloads_folder(archive))


def describe(archive: Archive) -> str:
    """Records, tiles and bytes in a few words."""
    records = archive.records()
    if records.empty:
        return "empty"
    tiles = records["tile"].nunique()
    return f"{len(records)} records in {tiles} tiles, {size(records['bytes'].sum())}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; turn every error into one line and an exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=list(arguments), prog_name="main.py", standalone_mode=False)
        sys.stdout.flush()
        return int(code or DONE)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return USAGE
    except (KeyboardInterrupt, click.Abort) as error:
        tell(f"\n{error}" if str(error) else "\nInterrupted; nothing half done was kept.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:
        return explain(error, debug="--debug" in arguments)


def explain(error: Exception, debug: bool) -> int:
    """Say what went wrong; the exit code."""
    if debug:
        traceback.print_exc()
    code = exit_code(error)
    if code is None:
        log = write_traceback(error)
        tell(f"Error: {type(error).__name__}: {error}.  This is a bug; the traceback is in {log}.")
        return FAILED
    tell(f"Error: {error}")
    return code


def exit_code(error: Exception) -> int | None:
    """The documented exit code of an error that is nobody's bug, else None."""
    if is_disk_full(error):
        return DISK_FULL
    if isinstance(error, InputEnded):
        return USAGE
    names = {kind.__name__ for kind in type(error).__mro__}  # without importing their rooms
    by_name = {"NoData": NO_DATA, "LoginNeeded": LOGIN_NEEDED, "CreditsNeeded": FAILED}
    for name, code in by_name.items():
        if name in names:
            return code
    if isinstance(error, ConnectionError):
        return FAILED
    return USAGE if isinstance(error, (ValueError, OSError)) else None


def write_traceback(error: Exception) -> Path:
    """Keep the traceback of an unexpected error in a file of its own."""
    import platformdirs

    folder = platformdirs.user_log_path("sentinel1-healpix", ensure_exists=True)
    path = folder / f"error-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}.log"
    path.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.exit(main())
