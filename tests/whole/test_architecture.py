"""The house is what `docs/architecture.md` says: its rooms, their order, and what they may know."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ORDER = re.findall(r"^\| `(\w+)(?:\.py|/)` \|", PAGE, re.MULTILINE)
DOORS = [path.stem for path in sorted(ROOT.glob("*.py"))]
FLOORS, ARROWS = 9, 50  # at most


def files(room: str) -> list[str]:
    """The sources of a door or a room."""
    paths = [ROOT / f"{room}.py"] if room in DOORS else sorted((ROOT / room).rglob("*.py"))
    return [path.read_text(encoding="utf-8") for path in paths]


def imports(node: ast.AST) -> Iterator[str]:
    """Every package that is imported below a node, also inside functions; not for types only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").partition(".")[0]
        yield from imports(child)


@functools.cache
def below(room: str) -> frozenset[str]:
    """What a room imports of the house."""
    found = {name for source in files(room) for name in imports(ast.parse(source))}
    return frozenset(found & set(ORDER) - {room})


@functools.cache
def floor(room: str) -> int:
    """On which floor a room stands: 1 is the ground."""
    return 1 + max(map(floor, below(room)), default=0)


def test_the_page_names_every_room_once():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    elsewhere = {"sandbox", "tests", "benchmarks"}  # programs of their own
    assert sorted(ORDER) == sorted({*DOORS, *folders} - elsewhere)


def test_there_are_six_modules_at_the_root():
    assert DOORS == ["convert", "download", "grid", "main", "retrieve", "store"]


def test_arrows_point_down():
    upward = [
        (room, other)
        for room in ORDER
        for other in below(room)
        if ORDER.index(other) < ORDER.index(room)
    ]
    assert upward == []


def test_there_are_few_floors_and_few_arrows():
    arrows = sum(len(below(room)) for room in ORDER)
    assert (max(map(floor, ORDER)) <= FLOORS, arrows <= ARROWS) == (True, True), arrows


def test_the_page_says_how_many():
    arrows = sum(len(below(room)) for room in ORDER)
    assert f"{max(map(floor, ORDER))} floors" in PAGE
    assert f"{arrows} arrows" in PAGE


@pytest.mark.parametrize("room", [name for name in ORDER if name not in DOORS and name != "cli"])
def test_a_room_does_not_know_the_doors(room):
    assert not below(room) & (set(DOORS) - {"grid"})


@pytest.mark.parametrize(
    ("room", "strangers"),
    [
        ("jobs", {"archive", "cells", "healpix", "images"}),
        ("archive", {"jobs", "cells", "images"}),
        ("images", {"jobs"}),
        ("cells", {"jobs", "archive", "images"}),
        ("download", {"archive", "cells", "images", "store", "convert", "retrieve"}),
    ],
)
def test_the_four_jobs_do_not_know_each_other(room, strangers):
    assert not below(room) & strangers


@pytest.mark.parametrize("door", [name for name in DOORS if name != "grid"])
def test_a_door_is_a_table_of_contents(door):
    (source,) = files(door)
    lines = len(source.splitlines())
    assert lines <= (340 if door == "main" else 250)  # main has the flags and their help


def test_no_room_imports_the_sandbox():
    for room in ORDER:
        assert "sandbox" not in {n for s in files(room) for n in imports(ast.parse(s))}


@pytest.mark.parametrize("room", [name for name in ORDER if name not in DOORS])
def test_each_room_has_a_line_for_each_of_its_files(room):
    """In the page's lists of files, and nothing that is not there."""
    section = PAGE.partition(f"\n### `{room}/`")[2].partition("\n##")[0]
    named = re.findall(r"^- `(\w+)`", section, re.MULTILINE)
    there = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__"}
    assert sorted(named) == sorted(there)
