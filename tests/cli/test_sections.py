"""How `--help` is laid out."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

import main
from cli.sections import OTHERS, SECTIONS, sections

COMMANDS = main.cli.commands


def help_of(*names):
    done = CliRunner().invoke(main.cli, [*names, "--help"])
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_each_flag_stands_in_the_help_once(name):
    shown = re.findall(r"^  (--[\w-]+|-h, --help)", help_of(name), re.MULTILINE)
    there = [each.opts[0] for each in COMMANDS[name].params if isinstance(each, click.Option)]
    assert sorted(shown) == sorted([*there, "-h, --help"])


@pytest.mark.parametrize("name", SECTIONS)
def test_each_flag_below_a_heading_is_one_of_the_command(name):
    names = [str(each.name) for each in COMMANDS[name].params]
    found = [each for below in sections(name, names).values() for each in below]
    assert sorted(found) == sorted(names)
    assert len(sections(name, names)[OTHERS]) <= 5


def test_what_a_command_does_is_said_to_the_end():
    words = " ".join(help_of().partition("Commands:")[2].split())
    assert "..." not in words
    assert words.count(".") == len(COMMANDS)
    assert all(f" {name} " in f" {words}" for name in COMMANDS)
