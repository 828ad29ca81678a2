"""Ask for Sentinel-1 images of a place, keep them as a HEALPix archive, look at them.

`python main.py` asks; every question can be answered ahead by a flag, so the same path
runs from a script.  Here are the commands and their flags; what they do is in
the room `cli`, and so are the questions, and how it ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from cli import archive_commands, flags, menu, questions
from cli.add_command import AddFlags, run_add
from cli.download_command import DownloadFlags, run_download
from cli.exits import DONE, INTERRUPTED, explain, explain_usage
from cli.flags import Parsed, as_text
from cli.login_command import run_login
from cli.retrieve_command import RetrieveFlags, run_retrieve
from cli.running import mend_streams, remarks, terminable
from cli.terminal import hush, tell
from cli.workspace import Workspace
from grid import ORBITS
from shared import judge

METHODS = ("nearest", "bilinear")  # as of `retrieve.open`, which takes long to import
ZARR_PATH = "sentinel1.zarr"  # the archive, a folder; --archive names another one


def named_archive() -> str:
    """The archive that was named before the command, if one was."""
    context = click.get_current_context(silent=True)
    named = context and context.find_root().params.get("archive_path")
    return str(named or judge.text("ZARR_PATH in main.py", as_text(ZARR_PATH)))


def usual_archive() -> object:
    """The constant, as it is now."""
    return ZARR_PATH


period_type = Parsed("DAY", questions.period)
day_type = Parsed("DAY", questions.image_day)
archive_option = flags.archive_flag(named_archive, usual_archive)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@archive_option
@flags.debug_option
@flags.version_option
@click.pass_context
def cli(context: click.Context, archive_path: str) -> None:
    """Sentinel-1 images of a place, as a HEALPix archive of your own.

    Without a command it asks what to do.  Every question can be answered ahead by a flag,
    and answers may be piped, one per line.

    Results go to stdout; questions, progress and errors to stderr.  Exit codes: 0 done (or
    nothing to do), 1 some chunks failed, 2 bad input, 3 no data, 4 login needed, 5 disk
    full, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        context.exit(menu.run_menu(Workspace(archive_path)))


@cli.command()
@flags.bbox_option
@click.option("--start", type=period_type, help="First day; a month, year or A/B is all its days.")
@click.option("--end", type=period_type, help="Last day, included.")
@click.option(
    "--orbit", type=click.Choice(ORBITS),
    help="Only passes of this direction; any: all of a day in one record.",
)  # fmt: skip
@click.option(
    "--backend", metavar="cdse|sandbox|URL", type=Parsed("cdse|sandbox|URL", questions.back_end),
    help="Where to order: Copernicus, the built-in SYNTHETIC sandbox, or an address.",
)  # fmt: skip
@click.option(
    "--catalogue", metavar="URL", type=Parsed("URL", questions.catalogue_address),
    help="The STAC API that is asked which images there are; else the back end's own.",
)  # fmt: skip
@click.option("--no-catalogue", is_flag=True, help="Order every day, image or not.")
@click.option(
    "--job-option", "job_options", multiple=True, type=Parsed("KEY=VALUE", questions.job_option),
    help="An option of each job, as python-memory=4G; repeat it for more.",
)  # fmt: skip
@click.option("--retry-empty", is_flag=True, help="Order again what was found to have no data.")
@click.option(
    "--retry-partial", is_flag=True,
    help="Order again what shows much less than the catalogue promised.",
)  # fmt: skip
@click.option(
    "--max-credits", metavar="N", type=Parsed("N", questions.credits_limit),
    help="Start no job that could take the run beyond so many credits.",
)  # fmt: skip
@flags.scheduler_option
@click.option("--dry-run", is_flag=True, help="Say what would be ordered, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan of a dry run as JSON.")
@click.option("--yes", is_flag=True, help="Start without asking.")
@archive_option
@flags.debug_option
def download(archive_path: str, **answers: Any) -> int:
    """Order what the archive lacks, and store it.

    Asks a catalogue which images there are, and says what they will cost in bytes, time and
    credits.  Ascending and descending passes become records of their own, unless --orbit
    any makes one of both.  It can be stopped at any moment; the same command goes on.  Days
    are UTC, as 2026-01-20, 2026-01, 2026 or A/B.

    \b
    Examples:
      main.py download --bbox 7,50,8,50.5 --start 2026-01-20 --end 2026-01-26
      main.py download --bbox area.geojson --start 2026-01 --backend cdse --dry-run
      main.py download --bbox area.geojson --start 2026-01 --max-credits 200 --yes
    """
    return run_download(Workspace(archive_path), DownloadFlags(**answers))


@cli.command()
@click.argument("files", nargs=-1, type=click.Path(), help="Files, and folders of files.")
@click.option("--day", type=day_type, help="The day of files that do not say it, or say another.")
@click.option("--orbit", type=click.Choice(ORBITS), help="The direction of their passes.")
@click.option(
    "--bands", type=Parsed("NAMES", questions.band_names),
    help="The bands to add; of files that do not name theirs, in the order of the file.",
)  # fmt: skip
@click.option("--step", type=click.IntRange(0), metavar="N", help="The time step, from 0.")
@click.option("--decibels", is_flag=True, help="Turn decibels into power first.")
@click.option("--apart", is_flag=True, help="Merge nothing with what another file has added.")
@flags.scheduler_option
@click.option("--dry-run", is_flag=True, help="Say what would be added, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan of a dry run as JSON.")
@click.option("--yes", is_flag=True, help="Start without asking.")
@archive_option
@flags.debug_option
def add(archive_path: str, **answers: Any) -> int:
    """Put files that you have into the archive: netCDF, GeoTIFF, or folders of them.

    Each tile that a file touches gets a record, or what the file adds to that of other files,
    by the counts of the pixels.  It can be stopped at any moment; adding a file twice does nothing.

    \b
    Examples:
      main.py add openEO.nc --orbit ascending
      main.py add scene.tif --day 2026-01-20 --bands VV,VH
      main.py add products/ --dry-run
    """
    return run_add(Workspace(archive_path), AddFlags(**answers))


@cli.command()
@flags.bbox_option
@click.option("--day", type=day_type, help="The day, as 2026-01-20.")
@click.option("--start", type=period_type, help="First of several days; a month or A/B is all.")
@click.option("--end", type=period_type, help="Last of several days, included.")
@click.option(
    "--as-of", type=click.IntRange(0), metavar="N",
    help="With --day: of each tile the newest record, at most N days older.",
)  # fmt: skip
@click.option("--bands", type=Parsed("NAMES", questions.band_names), help="As VV,VH; else all.")
@click.option(
    "--orbit", type=click.Choice(ORBITS), help="Only passes of this direction; any may mix them."
)
@click.option(
    "--dlat", type=Parsed("DEGREES", questions.spacing),
    help="Height of a pixel.  Not given: as the cells, or so that a side is below 4000 pixels.",
)  # fmt: skip
@click.option("--dlon", type=Parsed("DEGREES", questions.spacing), help="Width of a pixel.")
@click.option(
    "--method", type=click.Choice(METHODS), default=METHODS[0], show_default=True,
    help="Of pixels smaller than cells: the cell around each, or between its four neighbours.",
)  # fmt: skip
@click.option(
    "--output", "outputs", type=click.Path(), multiple=True, metavar="FILE",
    help="File to write: .png, .nc, .tif or .gif.  May be given several times.",
)  # fmt: skip
@click.option(
    "--line", "lines", type=click.Path(), multiple=True, metavar="FILE",
    help="The mean of the box over the days: a plot (.png) or numbers (.csv).",
)  # fmt: skip
@flags.overwrite_option
@click.option("--no-show", is_flag=True, help="Open no window.")
@flags.scheduler_option
@archive_option
@flags.debug_option
def retrieve(archive_path: str, **answers: Any) -> int:
    """Show a box of the archive, or write it to files.

    The files may be pictures (.png), netCDF (.nc), GeoTIFF (.tif) and, of several days,
    animations (.gif).

    Opens a window where there is a display, unless --no-show is given.

    \b
    Examples:
      main.py retrieve --bbox 7,50,8,50.5 --day 2026-01-20
      main.py retrieve --bbox 7,50,8,50.5 --day 2026-01-20 --output a.png --output a.tif
      main.py retrieve --bbox 7.1,50.2,7.2,50.3 --start 2026-01 --line field.csv --no-show
    """
    return run_retrieve(Workspace(archive_path), RetrieveFlags(**answers))


@cli.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per record.")
@click.option("--jobs", is_flag=True, help="The jobs of the downloads instead of the records.")
@click.option(
    "--map", "map_path", type=click.Path(), metavar="FILE", help="Draw a map of the tiles, a .png."
)
@flags.overwrite_option
@archive_option
@flags.debug_option
def list_(archive_path: str, **answers: Any) -> int:
    """List what the archive holds: tiles, days, coverage, size.

    \b
    Examples:
      main.py list
      main.py list --json | jq -r .tile
      main.py list --map tiles.png
    """
    return archive_commands.run_list(Workspace(archive_path), **answers)


@cli.command()
@click.option("--remove", is_flag=True, help="Remove damaged records without asking.")
@archive_option
@flags.debug_option
def verify(archive_path: str, remove: bool) -> int:
    """Read every record again and name the damaged ones.

    A damaged record that is removed is ordered again by the next `download` of its area
    and day.
    """
    return archive_commands.run_verify(Workspace(archive_path), remove)


@cli.command()
@click.option(
    "--backend", metavar="cdse|sandbox|URL", type=Parsed("cdse|sandbox|URL", questions.back_end),
    help="Where to log in; else where the archive's last download was, or cdse.",
)  # fmt: skip
@click.option("--check", is_flag=True, help="Only look: exit code 0 if logged in, 4 if not.")
@archive_option
@flags.debug_option
def login(archive_path: str, **answers: Any) -> int:
    """Log in, and say who you are, for how long, and what is left.

    By client credentials from the environment, by the login of an earlier time, by a code to
    confirm in a browser, or by name and password: whatever the back end offers.  The login
    is remembered.  Nothing is ordered.

    \b
    Examples:
      main.py login --backend cdse
      main.py login --backend cdse --check || echo "somebody has to log in"
    """
    return run_login(Workspace(archive_path), **answers)


@cli.command()
@click.option(
    "--release", metavar="MACHINE", help="End the claims of this machine, by its name or number."
)
@archive_option
@flags.debug_option
def claims(archive_path: str, release: str | None) -> int:
    """List which machine orders which chunk of an archive in an object store.

    A machine that downloads claims its chunks, so that no other one pays for them, too.  The
    claims of one that is gone end by themselves after some hours, or by --release.

    \b
    Examples:
      main.py claims --archive s3://bucket/sentinel1.zarr
      main.py claims --archive s3://bucket/sentinel1.zarr --release laptop
    """
    return archive_commands.run_claims(Workspace(archive_path), release)


@cli.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@archive_option
@flags.debug_option
def clean(archive_path: str, dry_run: bool) -> int:
    """Remove what downloads have left beside the archive and nothing needs any more.

    These are results at the built-in back end and raw files, of chunks that are archived or
    were given up for a new order.  What the next download goes on with is kept, and said, and
    so are the journal and its log.
    """
    return archive_commands.run_clean(Workspace(archive_path), dry_run)


@cli.command()
@flags.debug_option
def demo() -> int:
    """Do the whole job once; no account, no network.

    Orders two tiles from the built-in back end, whose images are synthetic.  Leaves an
    archive and a picture in the folder "demo".
    """
    return menu.run_demo()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; turn every error into one line and an exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    mend_streams()
    try:
        with terminable(), remarks(), cli.make_context("main.py", [*arguments]) as context:
            code = cli.invoke(context)
            sys.stdout.flush()
            return int(code or DONE)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        return explain_usage(error)
    except KeyboardInterrupt as error:
        tell(f"\n{error}" if str(error) else "\nInterrupted; nothing half done was kept.")
        return INTERRUPTED
    except BrokenPipeError:
        hush(sys.stdout)  # Python would complain once more when it closes it
        return DONE
    except Exception as error:
        return explain(error, debug="--debug" in arguments)


if __name__ == "__main__":
    code = main()
    if code == INTERRUPTED:
        # Threads in the middle of a file or a compiled loop are not waited for: whatever
        # they leave is what kill -9 would leave, and the next run sweeps it up.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
