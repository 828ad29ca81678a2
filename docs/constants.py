"""Writes docs/constants.md, the list of all constants at the tops of the files."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "constants.md"
ROOMS = ("cli", "jobs", "cells", "archive", "images", "healpix", "shared")
LONGEST = 60  # characters of a value that are worth a column

HEAD = """# Constants

Every constant at the top of a file, with its value and the comment behind it: first those of the
doors, which one may want to change (settings.md explains most of them), then those of the rooms
behind them, listed so that none is hidden. Written by `python docs/constants.py`.

| file | constant | value | what it is |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page."""
    rows = []
    for path in files():
        name_of_file = path.relative_to(ROOT).as_posix()
        source = path.read_text(encoding="utf-8")
        for name, value, comment in constants(source):
            cells = (f"`{name_of_file}`", f"`{name}`", f"`{value}`" if value else "", comment)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(rows)


def files() -> list[Path]:
    """The doors, then what is in the rooms."""
    inside = (path for room in ROOMS for path in (ROOT / room).glob("*.py"))
    return sorted(ROOT.glob("*.py")) + sorted(inside)


def constants(source: str) -> Iterator[tuple[str, str, str]]:
    """Name, value and comment of the public constants of a file, in its order."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or node.value is None:
            continue
        value = ast.unparse(node.value)
        comment = lines[(node.end_lineno or node.lineno) - 1][node.end_col_offset or 0 :]
        for name in names(node):
            if name.isupper() and not name.startswith("_") and len(name) > 1:
                yield name, value if len(value) <= LONGEST else "", comment.lstrip(" #")


def names(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """What a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [x.id for target in targets for x in ast.walk(target) if isinstance(x, ast.Name)]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
