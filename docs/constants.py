"""Writes docs/constants.md, the list of all constants at the tops of the rooms."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "constants.md"
LONGEST = 60  # characters of a value that are worth a column

HEAD = """# Constants

Every constant at the top of a room, with its value and the comment behind it. Those that one may
want to change are explained in the README; the others are listed so that none is hidden. Written
by `python docs/constants.py`.

| room | constant | value | what it is |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page."""
    rows = []
    for room in sorted(ROOT.glob("*.py")):
        source = room.read_text(encoding="utf-8")
        for name, value, comment in constants(source):
            cells = (f"`{room.name}`", f"`{name}`", f"`{value}`" if value else "", comment)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(rows)


def constants(source: str) -> Iterator[tuple[str, str, str]]:
    """Name, value and comment of the public constants of a room, in the order of the room."""
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
