"""The README with the pages that it leads to, `--help` and code say the same."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import subprocess
import sys

import click
import pytest

import main
from cli import exits
from tests.conftest import ROOT

GUIDE = (
    "session", "copernicus", "commands", "map", "files", "collections", "python", "settings",
    "speed",
)  # fmt: skip
PAGES = {
    path: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in GUIDE))
}
README = "\n".join(PAGES.values())
LINKS = [(path.parent, to) for path, text in PAGES.items() for to in
         re.findall(r"\]\((?!http)([^)#]+)", text)]  # fmt: skip
COMMANDS = {str(name): command for name, command in main.cli.commands.items()}
LINES = re.findall(r"^\s*[\w./]*python\s+main\.py\b([^`\n]*)$", README, re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def flags(command: click.Command) -> set[str]:
    every = [(*p.opts, *p.secondary_opts) for p in command.params]
    return {flag for opts in every for flag in opts if flag.startswith("--")} | {"--help"}


def sections(page: str) -> list[tuple[str, str]]:
    """The rows of the table of constants: file, and the cells behind it."""
    rows = re.findall(r"^\| (`\w+\.py`)? *\| (.+?) \|$", page, re.MULTILINE)
    file, found = "", []
    for name, rest in rows:
        file = name.strip("`") or file
        found.append((file, rest))
    return found


@pytest.mark.parametrize("line", LINES)
def test_each_command_line_in_the_readme_is_one(line):
    words = shlex.split(re.sub(r"[\[\]]|#.*|\.\.\.|\\$", " ", line))
    command: click.Command = main.cli
    if words and not words[0].startswith("-"):
        assert words[0] in COMMANDS
        command = COMMANDS[words[0]]
    assert set(FLAG.findall(line)) <= flags(command)


def test_the_readme_shows_command_lines():
    assert len(LINES) >= len(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_each_flag_is_in_the_readme(name):
    assert re.search(rf"main\.py {name}\b", README)
    for flag in flags(COMMANDS[name]) - {"--help"}:
        assert flag in FLAG.findall(README), f"{name} {flag}"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_and_each_flag_has_a_help_text(name):
    command = COMMANDS[name]
    assert command.help
    assert all(getattr(option, "help", None) for option in command.params)


def test_each_flag_in_the_readme_exists():
    known = set().union(*map(flags, COMMANDS.values()), flags(main.cli))
    known |= set(FLAG.findall(sandbox_help()))
    elsewhere = {"--port"}  # of other programs
    assert set(FLAG.findall(README)) <= known | elsewhere


def sandbox_help() -> str:
    command = [sys.executable, "-m", "sandbox", "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_each_make_target_in_the_readme_exists_and_the_other_way_round():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*##", makefile, re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)\b", README, re.MULTILINE))
    assert named <= targets
    assert targets - {"help"} <= named


@pytest.mark.parametrize(("file", "row"), sections(README), ids=lambda value: value[:30])
def test_each_constant_in_the_readme_has_that_value(file, row):
    cells = row.split(" | ")
    room = importlib.import_module(file.removesuffix(".py"))
    values = [getattr(room, name) for name in re.findall(r"`([A-Z_]+)`", cells[0])]
    assert values, f"no constant in {row!r}"
    flat = [x for v in values for x in (v if isinstance(v, (tuple, list)) else [v])]
    text = cells[1]
    numbers = re.findall(
        r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?(?:e-?\d+)?", re.sub(r'"[^"]*"', "", text)
    )
    expected = [v for v in flat if isinstance(v, (int, float)) and not isinstance(v, bool)]
    assert [float(n.replace(",", "")) for n in numbers] == [float(v) for v in expected]
    for value in flat:
        if value not in expected:
            assert str(value) in text


def test_the_list_of_all_constants_is_fresh():
    spec = importlib.util.spec_from_file_location("constants", ROOT / "docs" / "constants.py")
    assert spec is not None
    assert spec.loader is not None
    room = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(room)
    written = room.PAGE.read_text(encoding="utf-8")
    assert written == room.page(), "run `python docs/constants.py`"


def test_the_exit_codes_are_those_of_the_help_text():
    text = " ".join((main.cli.help or "").split())
    for words, code in (
        ("0 done", exits.DONE), ("1 some chunks failed", exits.FAILED),
        ("2 bad input", exits.USAGE), ("3 no data", exits.NO_DATA),
        ("4 login needed", exits.LOGIN_NEEDED), ("5 disk full", exits.DISK_FULL),
        ("130 interrupted", exits.INTERRUPTED),
    ):  # fmt: skip
        assert words.startswith(f"{code} ")
        assert words in text
        assert words in " ".join(README.split())


@pytest.mark.parametrize(("folder", "link"), LINKS)
def test_each_link_of_the_pages_leads_somewhere(folder, link):
    assert (folder / link).exists()


def test_the_readme_leads_to_every_page_and_is_short():
    text = PAGES[ROOT / "README.md"]
    assert all(f"(docs/{name}.md)" in text for name in GUIDE)
    assert len(text.splitlines()) <= 100
