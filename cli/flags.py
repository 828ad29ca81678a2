"""The flags of each command, whose values are read as typed answers are."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click import argument, option
from click.core import ParameterSource

from cli import questions
from cli.places import place
from grid import ORBITS

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)

NAMED = "archive that was named"  # in the context: it, and the usual one
PROJECT = Path(__file__).parents[1] / "pyproject.toml"


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


def as_text(path: object) -> object:
    """A path as text; what is none stays as it is, to be judged."""
    return os.fspath(path) if isinstance(path, os.PathLike) else path


def show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print the version, that of the project's file, and end."""
    if wanted and not context.resilient_parsing:
        project = tomllib.loads(PROJECT.read_text("utf-8"))
        click.echo(f"{project['project']['name']} {project['project']['version']}")
        context.exit()


_HELP = "A folder, s3://, gs://, az://, or https:// to read from; {} if not given."


def archive_flag(
    default: Callable[[], str], usual: Callable[[], object]
) -> Callable[[Command], Command]:
    """--archive; its help says what the constant is now."""

    class ArchiveOption(click.Option):
        def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
            self.help = _HELP.format(usual())
            return super().get_help_record(ctx)

    def note(context: click.Context, option: click.Parameter, path: str) -> str:
        if context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE:
            context.find_root().meta[NAMED] = path, str(as_text(usual()))
        return path

    return click.option(
        "--archive", "archive_path", metavar="PATH", default=default, cls=ArchiveOption,
        help=_HELP, callback=note,
    )  # fmt: skip


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
)
bbox_option = click.option(
    "--bbox", type=Parsed("W,S,E,N|FILE", place),
    help="West, south, east, north in degrees; or polygons: a GeoJSON, shapefile, GeoPackage, KML "
    "or WKT.  West > east is across 180.",
)  # fmt: skip
scheduler_option = click.option(
    "--scheduler", metavar="tcp://...", help="Compute on the workers of this dask cluster."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
version_option = click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=show_version,
    help="Show the version and end.",
)  # fmt: skip
bands_type = Parsed("NAMES", questions.band_names)
METHODS = ("nearest", "bilinear")  # as of `retrieve.open`, which takes long to import
APART = ("direction", "relative-orbit")  # the same
period_type = Parsed("DAY", questions.period)
day_type = Parsed("DAY", questions.image_day)


back_end_type = Parsed("cdse|sandbox|URL", questions.back_end)
json_plan_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the plan of a dry run as JSON."
)
yes_option = click.option("--yes", is_flag=True, help="Start without asking.")


def _together(*options: Callable[[Any], Any]) -> Callable[[Command], Command]:
    """The options of a command, as one decorator."""

    def decorated(command: Command) -> Command:
        for each in reversed(options):
            command = each(command)
        return command

    return decorated


# --- of each command ---------------------------------------------------------------------

download_flags = _together(
    bbox_option,
    option("--start", type=period_type, help="First day; a month, year or A/B is all its days."),
    option("--end", type=period_type, help="Last day, included."),
    option(
        "--orbit",
        type=click.Choice(ORBITS),
        help="Only passes of this direction; any: all of a day in one record.",
    ),
    option(
        "--backend",
        metavar=back_end_type.name,
        type=back_end_type,
        help="Where to order: Copernicus, the built-in SYNTHETIC sandbox, or an address.",
    ),
    option(
        "--catalogue",
        metavar="URL",
        type=Parsed("URL", questions.catalogue_address),
        help="The STAC API that is asked which images there are; else the back end's own.",
    ),
    option("--no-catalogue", is_flag=True, help="Order every day, image or not."),
    option(
        "--collection",
        metavar="NAME",
        type=Parsed("NAME", questions.collection_name),
        help="What to order, by the back end's name; else COLLECTION in download.py.",
    ),
    option(
        "--bands",
        type=bands_type,
        help="As VV,VH; else BANDS in download.py.",
    ),
    option(
        "--max-cloud",
        type=click.FloatRange(0, 100),
        metavar="PERCENT",
        help="Of a collection whose images say how cloudy they are: leave out cloudier ones.",
    ),
    option(
        "--job-option",
        "job_options",
        multiple=True,
        type=Parsed("KEY=VALUE", questions.job_option),
        help="An option of each job, as python-memory=4G; repeat it for more.",
    ),
    option("--retry-empty", is_flag=True, help="Order again what was found to have no data."),
    option(
        "--retry-partial",
        is_flag=True,
        help="Order again what shows much less than the catalogue promised.",
    ),
    option(
        "--max-credits",
        metavar="N",
        type=Parsed("N", questions.credits_limit),
        help="Start no job that could take the run beyond so many credits.",
    ),
    option(
        "--update",
        is_flag=True,
        help="What is new: the last area, from the archive's last day until today, unasked.",
    ),
    scheduler_option,
    option("--dry-run", is_flag=True, help="Say what would be ordered, and end."),
    json_plan_option,
    yes_option,
)
add_flags = _together(
    argument("files", nargs=-1, type=click.Path(), help="Files, and folders of files."),
    option("--day", type=day_type, help="The day of files that do not say it, or say another."),
    option("--orbit", type=click.Choice(ORBITS), help="The direction of their passes."),
    option(
        "--bands",
        type=bands_type,
        help="The bands to add; of files that do not name theirs, in the order of the file.",
    ),
    option(
        "--step",
        type=click.IntRange(0),
        metavar="N",
        help="The time step, from 0.",
    ),
    option("--decibels", is_flag=True, help="Turn decibels into power first."),
    option(
        "--apart",
        is_flag=True,
        help="Merge nothing: what meets a record goes to an archive of its own.",
    ),
    scheduler_option,
    option("--dry-run", is_flag=True, help="Say what would be added, and end."),
    json_plan_option,
    yes_option,
)
retrieve_flags = _together(
    bbox_option,
    option(
        "--clip/--no-clip",
        default=None,
        help="Of polygons: leave out what is outside, as is usual, or show their box.",
    ),
    option("--day", type=day_type, help="The day, as 2026-01-20."),
    option("--start", type=period_type, help="First of several days; a month or A/B is all."),
    option("--end", type=period_type, help="Last of several days, included."),
    option(
        "--as-of",
        type=click.IntRange(0),
        metavar="N",
        help="With --day: the newest values, at most N days older.",
    ),
    option("--bands", type=bands_type, help="As VV,VH; else all."),
    option(
        "--orbit",
        type=click.Choice(ORBITS),
        help="Only passes of this direction; any may mix them.  Not given: each by itself.",
    ),
    option(
        "--dlat",
        type=Parsed("DEGREES", questions.spacing),
        help="Height of a pixel.  Not given: as the cells, or so that a side is below 4000 pixels.",
    ),
    option("--dlon", type=Parsed("DEGREES", questions.spacing), help="Width of a pixel."),
    option(
        "--method",
        type=click.Choice(METHODS),
        default=METHODS[0],
        show_default=True,
        help="Of pixels smaller than cells: the cell around each, or between its four neighbours.",
    ),
    option(
        "--output",
        "outputs",
        type=click.Path(),
        multiple=True,
        metavar="FILE",
        help="File to write: .png, .nc, .tif or .gif.  May be given several times.",
    ),
    option(
        "--line",
        "lines",
        type=click.Path(),
        multiple=True,
        metavar="FILE",
        help="The mean of the box over the days: a plot (.png) or numbers (.csv).  With --features "
        "that of each feature, also as .parquet.",
    ),
    option(
        "--features",
        metavar="FILE",
        help="Instead of --bbox: polygons or points, each by itself, for --line.",
    ),
    option("--id", metavar="NAME", help="The column with their names; those of a name are one."),
    option(
        "--by",
        type=click.Choice(APART),
        help="What has images and lines of its own; not given: direction.",
    ),
    option(
        "--composite",
        "composites",
        type=Parsed("HOW", questions.composite),
        multiple=True,
        help="One image of several days: the mean, median, newest, min, max, std or count of each "
        "cell.  Or bands like B08,B04,B03, shown as red, green and blue, of what is no radar.",
    ),
    option(
        "--despeckle",
        is_flag=True,
        help="Of several days: filter the speckle of each by the others on its orbit.",
    ),
    option(
        "--stretch",
        type=Parsed("LOW,HIGH", questions.stretch),
        help="What is drawn darkest and brightest, in dB or in the units of the bands.",
    ),
    overwrite_option,
    option("--no-show", is_flag=True, help="Open no window."),
    scheduler_option,
)
browse_flags = _together(
    option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        metavar="ADDRESS",
        help="Where to listen; another one lets other computers in that know the address.",
    ),
    option(
        "--port",
        type=click.IntRange(0, 65535),
        default=0,
        metavar="N",
        help="The port; else one that is free.",
    ),
    option("--no-open", is_flag=True, help="Open no browser, just say the address."),
)
_chosen = (  # which records are meant
    bbox_option,
    option("--start", type=period_type, help="First day; a month, year or A/B is all its days."),
    option("--end", type=period_type, help="Last day, included."),
    option("--orbit", type=click.Choice(ORBITS), help="Only records of these passes."),
)
remove_flags = _together(
    *_chosen,
    option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing."),
    option("--yes", is_flag=True, help="Remove without asking."),
)
list_flags = _together(
    *_chosen,
    option("--json", "as_json", is_flag=True, help="One JSON object per record."),
    option("--jobs", is_flag=True, help="The jobs of the downloads instead of the records."),
    option(
        "--map",
        "map_path",
        type=click.Path(),
        metavar="FILE",
        help="Draw a map of the tiles, a .png.",
    ),
    option(
        "--stac",
        "stac_path",
        type=click.Path(),
        metavar="FILE",
        help="Write the records as STAC items, a .parquet (needs the package rustac).",
    ),
    overwrite_option,
)
verify_flags = _together(
    option("--remove", is_flag=True, help="Remove damaged records without asking."),
)
login_flags = _together(
    option(
        "--backend",
        metavar=back_end_type.name,
        type=back_end_type,
        help="Where to log in; else where the archive's last download was, or cdse.",
    ),
    option("--check", is_flag=True, help="Only look: exit code 0 if logged in, 4 if not."),
)
claims_flags = _together(
    option(
        "--release",
        metavar="MACHINE",
        help="End the claims of this machine, by its name or number.",
    ),
)
clean_flags = _together(
    option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing."),
)
