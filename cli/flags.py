"""Flags: values read as typed answers are, and those that stand at several commands."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

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
