"""Boxes and days as people spell them, read into the words of the house.

Where a spelling can be read in two ways it is never settled in silence: letters settle a box, and
what looks as if its latitudes came first is handed back as a doubt, to be asked about.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from grid import BBox, parse_days, pasted, shorten
from shared.areas import LATITUDES, LONGITUDES, Area

BOXES = "west,south,east,north in degrees"  # what is accepted, in messages
DAYS = "2026-01-31, 2026-01, 2026-W04, 31.01.2026, yesterday, last 30 days, or A/B"

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_BEHIND = re.compile(rf"({_NUMBER})\s*([NSEW])\b", re.IGNORECASE)
_BEFORE = re.compile(rf"\b([NSEW])\s*({_NUMBER})", re.IGNORECASE)
_NAMED = re.compile(rf"(west|south|east|north)\s*[=:]?\s*({_NUMBER})", re.IGNORECASE)
_PUNCTUATION = r"[\s,;/()\[\]{}]*"


class SureBox(BBox):
    """A box whose letters or words say which number is which."""


class Doubtful(ValueError):
    """What is no area as it stands, but in another order; the text says it."""

    def __init__(
        self, reason: str, meant: BBox, how: str = "In the order west,south,east,north"
    ) -> None:
        self.meant = meant
        super().__init__(f"{reason}  {how} it would be {meant}.")


def sure(bbox: BBox) -> BBox:
    """The same area, of which nobody asks any more whether it was meant."""
    if isinstance(bbox, Area):
        return replace(bbox, is_sure=True)
    return SureBox(bbox.west, bbox.south, bbox.east, bbox.north)


# --- boxes -------------------------------------------------------------------------------


def box(text: str) -> BBox:
    """``3.6,51.1,4.4,51.4``, in brackets, with blanks or slashes, or with letters in any order.

    Raises `Doubtful` for what is a box with latitude and longitude swapped alone, and ValueError.
    """
    plain = pasted(text)
    sure = _named(plain) or _lettered(plain)
    if sure is not None:
        return sure
    parts = [part for part in re.split(r"[\s,;/()\[\]{}]+", plain) if part]
    try:
        return BBox.parse(",".join(parts) if len(parts) == 4 else plain.strip())
    except ValueError as error:
        meant = list(_reordered(parts))
        if len(meant) == 1:
            raise Doubtful(str(error), meant[0]) from None
        raise


def meant_instead(given: BBox) -> BBox | None:
    """The box that has the same numbers with latitudes first, if that could be one.

    Likewise of polygons.  None for what is settled, and for what is an area one way alone.
    """
    if isinstance(given, Area) and not given.is_sure:
        from shared import polygons

        return polygons.swapped(given)
    if type(given) is not BBox:
        return None
    numbers = given.west, given.south, given.east, given.north
    meant = next(_reordered([f"{number!r}" for number in numbers]), None)
    return None if meant == given else meant


def ways_out(given: BBox) -> str:
    """What to write where an area was meant as it stands, or, of polygons, the other way."""
    if isinstance(given, Area):
        return f"Write {LATITUDES}{given.name} then, or {LONGITUDES}{given.name} if not."
    return f"If not, write {with_letters(given)}."


def with_letters(bbox: BBox) -> str:
    """The box so that nothing can be mistaken, as ``3.6E 51.1N 4.4E 51.4N``."""
    sides = ((bbox.west, "EW"), (bbox.south, "NS"), (bbox.east, "EW"), (bbox.north, "NS"))
    return " ".join(f"{abs(v):.10g}{letters[v < 0]}" for v, letters in sides)


def _reordered(parts: Sequence[str]) -> Iterator[BBox]:
    """Boxes of south,west,north,east and north,west,south,east, not wider than half the Earth."""
    try:
        a, b, c, d = map(float, parts)
    except ValueError:
        return
    for west, south, east, north in ((b, a, d, c), (b, c, d, a)):
        try:
            found = BBox(west, south, east, north)
        except ValueError:
            continue
        if found.width <= 180:
            yield found


def _named(text: str) -> BBox | None:
    """A box of edges that are called by their names, as this program echoes it."""
    found = {name.lower(): float(number) for name, number in _NAMED.findall(text)}
    if len(found) != 4 or re.sub(_PUNCTUATION, "", _NAMED.sub("", text)):
        return None
    return SureBox(**found)


def _lettered(text: str) -> BBox | None:
    """A box of two longitudes and two latitudes with letters, not wider than half the Earth."""
    for pattern, letter in ((_BEHIND, 2), (_BEFORE, 1)):
        found = [(m[letter].upper(), m[3 - letter]) for m in pattern.finditer(text)]
        if len(found) == 4 and not re.sub(_PUNCTUATION, "", pattern.sub("", text)):
            break
    else:
        return None
    lon = [_signed(*pair) for pair in found if pair[0] in "EW"]
    lat = sorted(_signed(*pair) for pair in found if pair[0] in "NS")
    if len(lon) != 2:
        raise ValueError(f"{shorten(text.strip())!r} needs two longitudes and two latitudes.")
    west, east = lon
    if (east - west) % 360 > 180:
        west, east = east, west
    return SureBox(west, lat[0], east, lat[1])


def _signed(letter: str, number: str) -> float:
    if number.startswith("-"):
        raise ValueError(f"{number}{letter} has a sign and a letter; write one of them.")
    return float(number) * (-1 if letter in "SW" else 1)


# --- days --------------------------------------------------------------------------------


def days(text: str, today: dt.date | None = None) -> tuple[dt.date, dt.date]:
    """First and last day (included) of a day, week, month, year, ``last 30 days`` or A/B.

    Days are of UTC.  ``20/01/2026`` has the day first.  Raises ValueError.
    """
    plain = " ".join(pasted(text).split())
    today = today or dt.datetime.now(dt.UTC).date()
    found = _period(plain, today)
    if found is not None:
        return found
    for first, last in _halves(plain):
        both = _period(first, today), _period(last, today)
        if both[0] and both[1]:
            start, end = both[0][0], both[1][1]
            return parse_days(f"{start}/{end}")  # refuses what ends before it begins
    raise ValueError(f"{shorten(text.strip())!r} is not a date.  Write {DAYS}.")


def is_iso(text: str) -> bool:
    """Whether days are spelled as they are echoed anyway, so that nothing need be said of them."""
    return bool(re.fullmatch(r"[\d-]{4,10}(?:/[\d-]{4,10})?", pasted(text).strip()))


def _halves(text: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"/|\bto\b|\.\.", text):
        yield text[: match.start()].strip(), text[match.end() :].strip()


def _period(text: str, today: dt.date) -> tuple[dt.date, dt.date] | None:
    """The days of one spelling without A/B; None if it is none."""
    for reader in (_relative, _week, _written):
        if found := reader(text.lower(), today):
            return found
    try:
        return parse_days(text) if "/" not in text else None
    except ValueError:
        return None


def _relative(text: str, today: dt.date) -> tuple[dt.date, dt.date] | None:
    if text in ("today", "yesterday"):
        day = today - dt.timedelta(days=text == "yesterday")
        return day, day
    match = re.fullmatch(r"(?:the )?(?:last|past) (\d{1,5}) ?(day|week)s?", text)
    if match is None:
        return None
    number = int(match[1]) * (7 if match[2] == "week" else 1)
    return (today - dt.timedelta(days=number - 1), today) if number else None


def _week(text: str, _today: dt.date) -> tuple[dt.date, dt.date] | None:
    match = re.fullmatch(r"(\d{4})-?w(\d{1,2})", text, re.ASCII)
    try:
        first = match and dt.date.fromisocalendar(int(match[1]), int(match[2]), 1)
    except ValueError:
        return None
    return (first, first + dt.timedelta(days=6)) if first else None


def _written(text: str, _today: dt.date) -> tuple[dt.date, dt.date] | None:
    """A day as 20260120, 2026-1-5, 20.01.2026 or 20/01/2026."""
    compact = re.fullmatch(r"(\d{4})(\d{2})(\d{2})", text, re.ASCII)
    loose = re.fullmatch(r"(\d{4})([-./])(\d{1,2})\2(\d{1,2})", text, re.ASCII)
    day_first = re.fullmatch(r"(\d{1,2})([-./])(\d{1,2})\2(\d{4})", text, re.ASCII)
    if compact:
        year, month, day = compact.groups()
    elif loose:
        year, month, day = loose[1], loose[3], loose[4]
    elif day_first:
        year, month, day = day_first[4], day_first[3], day_first[1]
    else:
        return None
    try:
        found = dt.date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found, found
