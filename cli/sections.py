"""How `--help` is laid out: many flags below headings, and no line about a command cut."""

from __future__ import annotations

from collections.abc import Sequence

import click

WHOLE = 400  # characters, more than any first sentence has
OTHERS = "Other options"  # the heading of those that have none
AREA = "Area and days"  # a heading of several commands
SECTIONS = {  # of commands with many flags: those below each heading, by their parameters
    "download": {
        AREA: ("bbox", "start", "end", "update", "orbit"),
        "What is ordered, and where": (
            "backend", "catalogue", "no_catalogue", "collection", "bands", "max_cloud",
            "job_options", "retry_empty", "retry_partial",
        ),
        "Before it starts": ("max_credits", "dry_run", "as_json", "yes"),
    },
    "retrieve": {
        AREA: ("bbox", "clip", "day", "start", "end", "as_of", "orbit"),
        "What the image shows": (
            "bands", "composites", "despeckle", "stretch", "dlat", "dlon", "method",
        ),
        "Files and the window": ("outputs", "overwrite", "no_show"),
        "A line over the days": ("lines", "features", "id", "by"),
    },
}  # fmt: skip


class Sectioned(click.Command):
    """A command whose help has headings where there are many flags."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the flags, those of a kind together."""
        if self.name not in SECTIONS:
            super().format_options(ctx, formatter)
            return
        options = {str(option.name): option for option in self.get_params(ctx)}
        for heading, names in sections(self.name, list(options)).items():
            records = [options[name].get_help_record(ctx) for name in names]
            with formatter.section(heading):
                formatter.write_dl([record for record in records if record])


class Commands(click.Group):
    """The program, whose help says of each command its whole first sentence."""

    command_class = Sectioned

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, each with what it does."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.get_short_help_str(WHOLE)) for name, c in found if c])


program = click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def sections(command: str, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The parameters of a command below their headings; what has none is among the others."""
    placed = {name for each in SECTIONS[command].values() for name in each}
    return {**SECTIONS[command], OTHERS: tuple(name for name in names if name not in placed)}
