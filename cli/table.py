"""A table on stdout: lines of text, so that other programs can cut it.

Where the window is too narrow its cells stand below each other.  It is never cut or folded
when it goes to a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from cli.terminal import USUAL_WIDTH, hush
from grid import shorten

LEAST = 12  # columns, of what is cut
BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    widths: Sequence[int] | None = None,
    stream: TextIO | None = None,
    window: int | None = None,
    spare: int = 0,
    cuts: bool = False,
) -> None:
    """Print rows of cells below the names of their columns.

    ``widths`` are those of the widest cell of each column, where they are known before the
    rows are; then nothing is held in memory.  ``window`` is that of the stream, in columns.
    ``spare`` of the last columns are left out where the rest then fits the window; the last that
    is left is shortened for that, if it ``cuts``.
    """
    stream = stream or sys.stdout
    if widths is None:
        rows = list(rows)
        widths = [max(map(width, cells)) for cells in zip(*rows, strict=True)] or [0] * len(columns)
    widths = [max(n, width(name)) for n, name in zip(widths, columns, strict=True)]
    room = window or _window(stream)
    if spare and _over(widths, room) and not _over(_cut(widths[:-spare], room, cuts), room):
        columns, widths = columns[:-spare], widths[:-spare]
        rows = (cells[:-spare] for cells in rows)
    if (cut := _cut(widths, room, cuts)) != widths:
        rows = ((*cells[:-1], shorten(cells[-1], cut[-1])) for cells in rows)
        widths = cut
    fits = not _over(widths, room)
    try:
        lines = _beside(columns, rows, widths, stream) if fits else _below(columns, rows, stream)
        for line in lines:
            stream.write(f"{line}\n")
    except BrokenPipeError:
        hush(stream)


def _over(widths: Sequence[int], room: int) -> int:
    """By how many columns a line of these widths is too wide; 0: it fits."""
    return max(0, sum(widths) + 2 * (len(widths) - 1) - room)


def _cut(widths: Sequence[int], room: int, cuts: bool) -> list[int]:
    """The widths with the last one as narrow as it must be, and may be, to fit."""
    last = widths[-1] - _over(widths, room)
    return [*widths[:-1], last if cuts and last >= LEAST else widths[-1]]


def width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _beside(
    columns: Sequence[str], rows: Iterable[Sequence[str]], widths: Sequence[int], stream: TextIO
) -> Iterable[str]:
    def line(cells: Sequence[str]) -> str:
        padded = (cell + " " * (n - width(cell)) for cell, n in zip(cells, widths, strict=True))
        return "  ".join(padded).rstrip()

    yield _bold(line(columns), stream)
    yield from map(line, rows)


def _below(columns: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO) -> Iterable[str]:
    indent = max(map(len, columns[1:])) + 2 if len(columns) > 1 else 0
    for first, *cells in rows:
        yield _bold(first, stream)
        for column, cell in zip(columns[1:], cells, strict=True):
            if cell:
                yield f" {column:{indent}}{cell}"


def _bold(text: str, stream: TextIO) -> str:
    if not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return text
    return f"{BOLD}{text}{PLAIN}"


def _window(stream: TextIO) -> int:
    """Columns of the stream's window; of a file, more than any line has."""
    if not stream.isatty():
        return sys.maxsize
    try:
        columns = int(os.environ.get("COLUMNS") or 0)
    except ValueError:
        columns = 0
    if columns > 0:
        return columns
    try:
        return os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH
    except (OSError, ValueError):
        return USUAL_WIDTH
