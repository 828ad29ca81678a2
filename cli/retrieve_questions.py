"""What `retrieve` asks of those who want more than a picture, and how to say it all in one line.

The plain way is area, day, bands and a file.  Whoever answers "more" at the file is asked for the
rest that the flags do.
"""

from __future__ import annotations

import dataclasses
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli import questions
from cli.terminal import ask, choose, confirm, tell, tell_whole
from grid import DEGREE
from shared.areas import Area, clipping, file_of, wkt
from shared.collection import Product

if TYPE_CHECKING:
    from cli.retrieve_command import Wish
    from grid import BBox
    from retrieve import Coverage

DIGITS = 6  # of the size of a pixel in degrees that was named in metres


def ask_more(wish: Wish, found: Sequence[Coverage], product: Product, nside: int) -> Wish:
    """All else that the flags do, asked one after the other; Enter leaves each as it is.

    ``found``: what the archive has of the box.
    """
    from healpix.ids import cell_width

    orbits = {c.orbit for c in found if wish.days[0] <= c.day <= wish.days[1]}
    orbit = wish.orbit
    if orbit is None and len(orbits) > 1 and "any" in orbits:  # else it was asked before
        orbit = questions.ask_orbit(sorted(orbits - {"any"}), apart=True)
    dlat, dlon = ask_pixel(wish.bbox)
    is_finer = dlat is not None and dlat < cell_width(nside)
    method = ask_method() if is_finer else wish.method
    one = wish.days[0] == wish.days[1]
    wish = dataclasses.replace(
        wish,
        orbit=orbit,
        dlat=dlat,
        dlon=dlon,
        method=method,
        as_of=ask_older() if one else wish.as_of,
        colours=wish.colours or ask_colours(wish, product),
        stretch=ask_stretch(),
        despeckle=wish.despeckle or (wish.is_series and product.is_power and ask_despeckle()),
        lines=ask_lines() if wish.is_series else wish.lines,
        tables=ask_tables(wish.bbox) if wish.is_series else wish.tables,
    )
    column = ask_id(wish.bbox.name) if wish.tables and isinstance(wish.bbox, Area) else wish.id
    by = wish.by or (ask_by() if product.is_power and not one else None)
    return dataclasses.replace(wish, id=column, by=by)


def ask_pixel(bbox: BBox) -> tuple[float, float] | tuple[None, None]:
    """Height and width of a pixel, in degrees; none: as the cells."""

    def parse(text: str) -> tuple[float, float] | tuple[None, None]:
        if text.strip() in ("", "cells"):
            return None, None
        return pixel(text, bbox)

    return ask("Pixel size", parse, "cells", ", degrees, or metres like 100 m")


def pixel(text: str, bbox: BBox) -> tuple[float, float]:
    """Height and width of a pixel of a box, degrees: of degrees or of metres on the ground."""
    try:
        return _size(text, bbox)
    except ValueError:
        wrong = f"{text.strip()!r} is no size of a pixel; write 0.001, or 100 m."
        raise ValueError(wrong) from None


def _size(text: str, bbox: BBox) -> tuple[float, float]:
    metres = re.fullmatch(r"\s*(\S+?)\s*(k?)m\s*", text)
    if not metres:
        parts = [questions.spacing(part) for part in re.findall(r"[^,;x\s]+", text)] or [math.nan]
        if len(parts) > 2 or not parts[0] > 0:
            raise ValueError(text)
        return parts[0], parts[-1]
    length = questions.spacing(metres[1]) * (1000 if metres[2] else 1)
    middle = math.radians((bbox.south + bbox.north) / 2)
    dlat = length / DEGREE
    sizes = (dlat, dlat / max(math.cos(middle), 1e-6))
    return float(f"{sizes[0]:.{DIGITS}g}"), float(f"{sizes[1]:.{DIGITS}g}")


def ask_method() -> str:
    """What a pixel that is smaller than a cell shows."""
    options = {"1": "nearest", "2": "bilinear"}
    return options[choose("Pixels smaller than cells?", options, "1")]


def ask_older() -> int | None:
    """How many days older the values may be that fill gaps; None: not at all."""

    def parse(text: str) -> int | None:
        if not text.strip().isdecimal():
            raise ValueError(f"{text.strip()!r} is no number of days.")
        return int(text) or None

    return ask("Older days", parse, "0", ", so many at most, to fill the gaps")


def ask_colours(wish: Wish, product: Product) -> tuple[str, ...] | None:
    """The bands for red, green and blue, of what is no radar; None: the usual ones."""
    there = wish.bands or [band.name for band in product.bands]
    if product.is_power or len(there) < 3:
        return None

    def parse(text: str) -> tuple[str, ...] | None:
        if text.strip() == "usual":
            return None
        return questions.require_bands(questions.three_bands(text), there)

    return ask("Red, green, blue", parse, "usual", ", three bands")


def ask_stretch() -> tuple[float, float] | None:
    """What is darkest and brightest; None: percentiles."""

    def parse(text: str) -> tuple[float, float] | None:
        return None if text.strip() == "usual" else questions.stretch(text)

    return ask("Darkest and brightest", parse, "usual", ", like -20,0")


def ask_despeckle() -> bool:
    """Whether the speckle of each day is filtered by the others."""
    return confirm("Filter the speckle?", default=False)


def ask_lines() -> dict[str, bool]:
    """The files of the mean over the days, and whether to replace them."""
    return _ask_targets("Line", " of means over the days, a .png or .csv", questions.LINE_SUFFIXES)


def ask_tables(bbox: BBox) -> dict[str, bool]:
    """The same of each feature by itself, where the area is a file with several of them."""
    if not has_several(bbox):
        return {}
    hint = " by itself, a .csv, .parquet or .png"
    return _ask_targets("Each feature", hint, questions.TABLE_SUFFIXES)


def ask_id(file: str) -> str | None:
    """The column with the names of a file's features; None: the one that is usual."""
    from shared.features import as_features

    def parse(text: str) -> str | None:
        if text.strip() in ("", "usual"):
            return None
        as_features(file, text.strip())
        return text.strip()

    return ask("Named by", parse, "usual", " which column")


def ask_by() -> str | None:
    """What has images and lines of its own; None: each direction, unless they are mixed."""
    options = {"1": "direction", "2": "relative-orbit"}
    number = choose("Apart by what?", options, "1")
    return None if number == "1" else options[number]


def has_several(bbox: BBox) -> bool:
    """Whether an area is of a file with several features."""
    if not isinstance(bbox, Area) or file_of(bbox.name) is None:
        return False
    from shared.features import as_features

    return len(as_features(bbox.name).names) > 1


def _ask_targets(name: str, hint: str, suffixes: tuple[str, ...]) -> dict[str, bool]:
    """The file to write, and whether it replaces one; until nobody minds."""

    def parse(text: str) -> tuple[str, ...]:
        if text.strip().lower() in ("", "-", "none"):
            return ()
        try:
            questions.require_targets([text.strip()], suffixes)
        except OSError as error:
            raise ValueError(str(error)) from None
        return (text.strip(),)

    while True:
        names = ask(name, parse, "none", hint)
        agreed = questions.may_replace(names, False, interactive=True)
        if agreed is not None:
            return agreed


# --- the same in one line ----------------------------------------------------------------


def tell_command(wish: Wish, archive: str, shows: bool) -> None:
    """Say the command line that does what was answered."""
    tell("The same without questions:")
    if shows or wish.targets or wish.lines:
        tell_whole(f"  {quoted(['python', 'main.py', *arguments(wish, archive, shows)])}")
    if wish.tables:
        tell_whole(f"  {quoted(['python', 'main.py', *feature_arguments(wish, archive)])}")


def quoted(words: Sequence[str]) -> str:
    """A command line as the shell of this system takes it."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def arguments(wish: Wish, archive: str, shows: bool) -> list[str]:
    """The command and its flags that ask for this; files that exist by then are replaced."""
    named: list[tuple[str, object]] = [
        ("--archive", archive), ("--bbox", exactly(wish.bbox)), *_days(wish),
        ("--as-of", wish.as_of),
        ("--bands", wish.bands and ",".join(wish.bands)), ("--orbit", wish.orbit),
        ("--dlat", wish.dlat), ("--dlon", wish.dlon),
        ("--method", None if wish.method == "nearest" else wish.method), ("--composite", wish.how),
        ("--composite", wish.colours and ",".join(wish.colours)),
        ("--stretch", wish.stretch and "{!r},{!r}".format(*wish.stretch)),
        *(("--output", name) for name in wish.targets), *(("--line", name) for name in wish.lines),
        ("--by", wish.by),
    ]  # fmt: skip
    words = _words(named)
    is_whole = isinstance(wish.bbox, Area) and clipping(wish.bbox) is None
    return [
        "retrieve", *words, *["--no-clip"] * is_whole, *["--despeckle"] * wish.despeckle,
        "--overwrite", *["--no-show"] * (not shows),
    ]  # fmt: skip


def feature_arguments(wish: Wish, archive: str) -> list[str]:
    """The command and its flags that ask for the numbers of each feature."""
    assert isinstance(wish.bbox, Area)
    named: list[tuple[str, object]] = [
        ("--archive", archive), ("--features", wish.bbox.name), *_days(wish),
        ("--bands", wish.bands and ",".join(wish.bands)), ("--orbit", wish.orbit),
        *(("--line", name) for name in wish.tables), ("--by", wish.by), ("--id", wish.id),
    ]  # fmt: skip
    return ["retrieve", *_words(named), "--overwrite"]


def _days(wish: Wish) -> list[tuple[str, object]]:
    """The flags that name the days."""
    first, last = map(str, wish.days)
    return [("--day", first)] if first == last else [("--start", first), ("--end", last)]


def _words(named: Sequence[tuple[str, object]]) -> list[str]:
    """Flags that have a value, as words."""
    return [part for flag, value in named if value is not None for part in flagged(flag, value)]


def exactly(bbox: BBox) -> str:
    """A box with every digit that it has; of polygons the file, or all their corners."""
    if isinstance(bbox, Area):
        return bbox.name if file_of(bbox.name) else wkt(bbox.polygon)
    sides = bbox.west, bbox.south, bbox.east, bbox.north
    return ",".join(repr(side).removesuffix(".0") for side in sides)


def flagged(flag: str, value: object) -> list[str]:
    """A flag and its value, which may begin with a minus."""
    return [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]
