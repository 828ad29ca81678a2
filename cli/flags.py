"""Flags: values read as typed answers are, and those that stand at several commands."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from grid import parse_area

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)

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

    return click.option(
        "--archive", "archive_path", metavar="PATH", default=default, cls=ArchiveOption, help=_HELP
    )


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error."
)
bbox_option = click.option(
    "--bbox", type=Parsed("W,S,E,N", parse_area),
    help="West, south, east, north in degrees, or a GeoJSON file.  West > east is across 180.",
)  # fmt: skip
scheduler_option = click.option(
    "--scheduler", metavar="tcp://...", help="Compute on the workers of this dask cluster."
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace files that exist.")
version_option = click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=show_version,
    help="Show the version and end.",
)  # fmt: skip
