"""What an archive is and holds in a few lines, for who looks at it in an interpreter.

It takes what is remembered (`holdings`), and reads but few tiles that are not; an archive at a URL
is not read at all.  It never fails: what cannot be told is left out, or said why.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from archive import holdings
from archive.listing import Row, of_tiles
from grid import ORBITS

if TYPE_CHECKING:
    from archive.contents import Contents
    from grid import Tile

MOST = 100  # tiles that are read for it


class _TooManyError(Exception):
    """There are more tiles to read than somebody waits for who only looks."""


def as_text(archive: Contents) -> str:
    """The lines as plain text."""
    return "\n".join([f"Archive {archive.name}", *(f"  {a:<8} {b}" for a, b in _lines(archive))])


def as_html(archive: Contents) -> str:
    """The lines as a table of a notebook."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th>"
        f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
        for name, text in _lines(archive)
    )
    return f"<div><strong>Archive</strong> {html.escape(archive.name)}<table>{rows}</table></div>"


def _lines(archive: Contents) -> Iterator[tuple[str, str]]:
    """What there is to say, and of what."""
    try:
        layout = archive.layout
        if layout is None:
            yield "records", "none yet; the first write makes the archive"
            return
        dx, dy = layout.chunk_size
        tiles = archive.named_tiles()
        yield "tiles", f"{len(tiles):,} of {dx:g} x {dy:g} degrees"
        yield from _records(archive)
        yield "bands", f"{', '.join(layout.bands)} of {layout.product.name}"
        yield "cells", f"HEALPix level {layout.level} (NSIDE {layout.nside}), {layout.ellipsoid}"
    except (ValueError, OSError) as error:
        yield "error", str(error)


def _records(archive: Contents) -> Iterator[tuple[str, str]]:
    """How many records there are, of which days, and their size."""

    def read(missing: list[Tile]) -> Iterable[tuple[Tile, list[Row]]]:
        if len(missing) > MOST:
            raise _TooManyError
        return of_tiles(archive, missing)

    held = None
    if archive.is_folder:
        try:
            held = holdings.of_folder(archive.path, holdings.usual_memory(archive.path), read)
        except _TooManyError:
            held = None
    if held is None:
        yield "records", "not counted here; see records()"
        return
    yield "records", f"{held.records:,}"
    yield "days", _days(sorted(key for tile in held.tiles for key in tile.days))
    yield "size", _size(held.size)


def _days(keys: list[Any]) -> str:
    """The first and the last day, how many there are, and of which orbits."""
    if not keys:
        return "none"
    days = sorted({day for day, _ in keys})
    first, last = (holdings.day_of(day).isoformat() for day in (days[0], days[-1]))
    orbits = ", ".join(ORBITS[orbit] for orbit in sorted({orbit for _, orbit in keys}))
    span = first if first == last else f"{first} to {last}"
    return f"{span} ({len(days):,} with a record; orbit {orbits})"


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
