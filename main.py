"""Ask for Sentinel-1 images of a place, keep them as a HEALPix archive, look at them.

`python main.py` asks; every question can be answered ahead by a flag, so the same path runs
from a script.  Here are the commands; their flags, and what they do, are in the room `cli`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from cli import archive_commands, flags, last, menu, sections
from cli.completion import completion
from cli.flags import as_text
from cli.running import end, look_seldom, run
from cli.workspace import Workspace
from shared import judge

ZARR_PATH = "sentinel1.zarr"  # the archive, a folder; --archive names another one
__all__ = ["ZARR_PATH", "cli", "main"]
__dir__ = sorted(__all__).copy  # what is offered, for `dir`


def named_archive() -> str:
    """The archive that was named before the command, if one was."""
    context = click.get_current_context(silent=True)
    named = context and context.find_root().params.get("archive_path")
    return str(named or judge.text("ZARR_PATH in main.py", as_text(ZARR_PATH)))


def usual_archive() -> object:
    """The constant, as it is now."""
    return ZARR_PATH


archive_option = flags.archive_flag(named_archive, usual_archive)


@sections.program
@archive_option
@flags.debug_option
@flags.version_option
@click.pass_context
def cli(context: click.Context, archive_path: str) -> None:
    """Sentinel-1 images of a place, as a HEALPix archive of your own.

    Without a command it asks what to do.  Answers may be piped, one per line.

    Results go to stdout; questions, progress and errors to stderr.  Exit codes: 0 done (or
    nothing to do), 1 some chunks failed, 2 bad input, 3 no data, 4 login needed, 5 disk
    full, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        path = archive_path if flags.NAMED in context.meta else last.archive(archive_path)
        context.exit(menu.run_menu(Workspace(path, is_last=path != archive_path)))


@cli.command()
@flags.download_flags
@archive_option
@flags.debug_option
def download(archive_path: str, **answers: Any) -> int:
    """Order what the archive lacks, and store it.

    Asks a catalogue which images there are, and says what they will cost in bytes, time and
    credits.  Ascending and descending passes become records of their own, unless --orbit
    any makes one of both.  It can be stopped at any moment; the same command goes on.  Days
    are UTC, as 2026-01-20, 2026-01, 2026, yesterday or A/B.

    \b
    Examples:
      main.py download --bbox 7,50,8,50.5 --start 2026-01-20 --end 2026-01-26
      main.py download --bbox fields.gpkg --start 2026-01 --max-credits 200 --yes
      main.py download --update
    """
    from cli.download_command import DownloadFlags, run_download

    return run_download(Workspace(archive_path), DownloadFlags(**answers))


@cli.command()
@flags.add_flags
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
    """
    from cli.add_command import AddFlags, run_add

    return run_add(Workspace(archive_path), AddFlags(**answers))


@cli.command()
@flags.retrieve_flags
@archive_option
@flags.debug_option
def retrieve(archive_path: str, **answers: Any) -> int:
    """Show a box of the archive, or write it to files.

    The files may be pictures (.png), netCDF (.nc), GeoTIFF (.tif) and, of several days,
    animations (.gif).  A window opens where there is a display.

    \b
    Examples:
      main.py retrieve --bbox 7,50,8,50.5 --day 2026-01-20
      main.py retrieve --bbox 7,50,8,50.5 --day 2026-01-20 --output a.png --output a.tif
      main.py retrieve --bbox 7.1,50.2,7.2,50.3 --start 2026-01 --line field.csv --no-show
      main.py retrieve --bbox 7,50,8,50.5 --start 2026-01 --composite mean --output mean.tif
    """
    from cli.retrieve_command import RetrieveFlags, run_retrieve

    return run_retrieve(Workspace(archive_path), RetrieveFlags(**answers))


@cli.command()
@flags.browse_flags
@archive_option
@flags.debug_option
def browse(archive_path: str, **answers: Any) -> int:
    """Look at the archive on a map in a browser, step through its days, save what is seen.

    It is served on this computer alone, without a network, until Ctrl-C.
    """
    from cli.browse_command import run_browse

    return run_browse(Workspace(archive_path), **answers)


@cli.command("list")
@flags.list_flags
@archive_option
@flags.debug_option
def list_(archive_path: str, **answers: Any) -> int:
    """List what the archive holds: tiles, days, coverage, size.

    \b
    Examples:
      main.py list --json | jq -r .tile
      main.py list --map tiles.png
    """
    return archive_commands.run_list(Workspace(archive_path), **answers)


@cli.command()
@flags.remove_flags
@archive_option
@flags.debug_option
def remove(archive_path: str, dry_run: bool, yes: bool, **answers: Any) -> int:
    """Take records out of the archive, by area, days and orbit.

    Says what would go, and asks.  Records are of whole tiles.  `download` orders them again.

    \b
    Example: main.py remove --bbox 7,50,8,50.5 --start 2026-01 --dry-run
    """
    from cli.chosen import Chosen
    from cli.remove_command import run_remove

    return run_remove(Workspace(archive_path), Chosen(**answers), dry_run, yes)


@cli.command()
@flags.verify_flags
@archive_option
@flags.debug_option
def verify(archive_path: str, remove: bool) -> int:
    """Read every record again and name the damaged ones.

    One that is removed is ordered again by the next `download` of its area and day.
    """
    return archive_commands.run_verify(Workspace(archive_path), remove)


@cli.command()
@flags.login_flags
@archive_option
@flags.debug_option
def login(archive_path: str, **answers: Any) -> int:
    """Log in, and say who you are, for how long, and what is left.

    By whatever the back end offers: client credentials from the environment, an earlier login, a
    code to confirm in a browser, or name and password.  Nothing is ordered.

    \b
    Example: main.py login --backend cdse --check || echo "somebody has to log in"
    """
    from cli.login_command import run_login

    return run_login(Workspace(archive_path), **answers)


@cli.command()
@flags.claims_flags
@archive_option
@flags.debug_option
def claims(archive_path: str, release: str | None) -> int:
    """List which machine orders which chunk of an archive in an object store.

    So no other one pays for it, too.  The claims of one that is gone end after some hours.

    \b
    Example: main.py claims --archive s3://bucket/sentinel1.zarr --release laptop
    """
    return archive_commands.run_claims(Workspace(archive_path), release)


@cli.command()
@flags.clean_flags
@archive_option
@flags.debug_option
def clean(archive_path: str, dry_run: bool) -> int:
    """Remove what downloads have left beside the archive and nothing needs any more.

    Results at the built-in back end and raw files go.  What the next download goes on with stays.
    """
    return archive_commands.run_clean(Workspace(archive_path), dry_run)


@cli.command()
@flags.debug_option
def demo() -> int:
    """Do the whole job once; no account, no network.

    Two tiles of synthetic images; leaves an archive and a picture in the folder "demo".
    """
    return menu.run_demo()


cli.add_command(completion)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; turn every error into one line and an exit code."""
    return run(cli, list(sys.argv[1:] if arguments is None else arguments))


if __name__ == "__main__":
    look_seldom()
    end(main())
