"""The order of the rooms: arrows point down."""

from __future__ import annotations

import ast
import re

from tests.conftest import ROOT

LIST = (ROOT / "docs" / "decisions" / "001-rooms.md").read_text(encoding="utf-8")
ROOMS = re.findall(r"^\| [a-z]* ?\| `(\w+)` \|", LIST, re.MULTILINE)
DOWNLOADING = {
    "download", "catalogue", "scheduler", "transfer", "login", "remote", "trouble", "journal",
    "failures", "results",
    "address",
}  # fmt: skip
STORING = {
    "store", "view", "commit", "claims", "objects", "pack", "shards", "schema",
    "overview", "storage",
}  # fmt: skip


def imports(room):
    """Every module that a room imports, also inside functions and for types only."""
    tree = ast.parse((ROOT / f"{room}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_the_list_names_every_room_once():
    assert sorted(ROOMS) == sorted(path.stem for path in ROOT.glob("*.py"))


def test_a_room_imports_only_rooms_below_it():
    upward = [
        (room, other)
        for room in ROOMS
        for other in imports(room)
        if other in ROOMS and ROOMS.index(other) <= ROOMS.index(room)
    ]
    assert upward == []


def test_the_four_jobs_do_not_know_each_other():
    converting = {"convert", "raster"}
    for room in DOWNLOADING:
        assert not {*STORING, *converting, "healpix", "retrieve"} & set(imports(room)), room
    for room in STORING:
        assert not {*DOWNLOADING, *converting, "retrieve"} & set(imports(room)), room
    for room in ("retrieve", "figure", "export", "tilemap", *converting):
        assert not DOWNLOADING & set(imports(room)), room


def test_no_room_imports_the_sandbox():
    assert all("sandbox" not in imports(room) for room in ROOMS)
