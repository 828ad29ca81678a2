"""The questions of each command, what their answers mean, and the answers of the last time.

A question is asked only if no flag has answered it, and a typed answer is read by the
same function as the flag, so both ways give the same.  The answers of a run that went
well are kept beside the journal of its archive, and are the defaults of the next one.
"""

from __future__ import annotations

import datetime as dt
import glob
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli import spelled
from cli.terminal import ask, choose, confirm, count, percent, tell
from grid import BBox, parse_day, shorten
from jobs.address import require_safe
from shared.collection import as_known

if TYPE_CHECKING:
    from retrieve import Coverage

EXAMPLE_AREA = BBox(3.6, 51.1, 4.4, 51.4)  # the Scheldt estuary: two tiles, coast, towns, fields
EXAMPLE_DAY = dt.date(2026, 1, 20)
ABOUT = 0.01  # of a box: shares that differ by less are as good as each other
MORE = "more"  # the answer of who wants to be asked for the rest
DAYS_SHOWN = 10  # days of an archive that are offered
SUFFIXES = ("png", "nc", "tif", "gif")
LINE_SUFFIXES = (".png", ".csv")
TABLE_SUFFIXES = (".csv", ".parquet", ".png")  # of many features
# As of `retrieve.open`, which takes long to import.
COMPOSITES = ("mean", "median", "newest", "min", "max", "std", "count")

SANDBOX = "SYNTHETIC images, made up by the built-in sandbox: no account, no network"
CDSE = "measured images of the Copernicus Data Space: a free account is needed"

Period = tuple[dt.date, dt.date]  # first and last day, both included


# --- what an answer or a flag means ------------------------------------------------------


def period(text: str, since: dt.date | None = None) -> Period:
    """A day, month, year or A/B, without the days on which there can be no image.

    What is not spelled as days are echoed is told as it was understood.
    """
    today = dt.datetime.now(dt.UTC).date()
    first, last = spelled.days(text, today)
    if first > today:
        raise ValueError(f"{first} is in the future; today is {today} (UTC).")
    found = imaged((first, min(last, today)), since)
    if not spelled.is_iso(text):
        tell(f"  {text.strip()} is {in_words(found)} (UTC)")
    return found


def in_words(days: Period) -> str:
    """``2026-01-20``, or ``2026-01-20 to 2026-01-26``."""
    return str(days[0]) if days[0] == days[1] else f"{days[0]} to {days[1]}"


def imaged(days: Period, since: dt.date | None) -> Period:
    """The days without those before the first image; ValueError if that leaves none."""
    first, last = days
    if since and last < since:
        raise ValueError(f"{last} is before the first image ({since}).")
    return max(first, since or first), last


def image_day(text: str, since: dt.date | None = None) -> dt.date:
    """A single day on which there can be an image."""
    first, last = period(text, since)
    if first != last:
        raise ValueError(f"{shorten(text)!r} is not a single day.  Write it like 2026-01-31.")
    return first


def spacing(text: str) -> float:
    """Degrees, above 0: the size of a pixel."""
    try:
        step = float(text)
    except ValueError:
        step = math.nan
    if not 0 < step < math.inf:
        raise ValueError(f"{text!r} is no size of a pixel; write degrees, like 0.001.")
    return step


def band_names(text: str) -> tuple[str, ...]:
    """Names separated by commas or blanks, each once."""
    names = tuple(dict.fromkeys(_words(text)))
    if not names:
        raise ValueError("Name at least one band, like VV,VH.")
    return names


def three_bands(text: str) -> tuple[str, ...]:
    """The bands for red, green and blue."""
    names = tuple(_words(text))
    if len(names) != 3:
        raise ValueError("Name three bands, for red, green and blue, like B08,B04,B03.")
    return names


def composite(text: str) -> str | tuple[str, ...]:
    """How many days become one image, or the bands for red, green and blue."""
    how = text.strip().casefold()
    if "," not in how and how not in COMPOSITES:
        raise ValueError(
            f"{text.strip()!r} is none of {', '.join(COMPOSITES)}, nor three bands like "
            "B08,B04,B03."
        )
    return how if how in COMPOSITES else three_bands(text)


def stretch(text: str) -> tuple[float, float]:
    """Two numbers, the smaller one first."""
    try:
        low, high = map(float, _words(text))
    except ValueError:
        raise ValueError("Name two numbers, what is dark and what is bright, like -20,0.") from None
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"{text}: the second number must be above the first.")
    return low, high


def _words(text: str) -> list[str]:
    """What is separated by commas, semicolons or blanks."""
    return re.findall(r"[^,;\s]+", text)


def collection_name(text: str) -> str:
    """The name of a collection, a single word."""
    name = text.strip()
    if not re.fullmatch(r"[\w.:/-]+", name):
        raise ValueError(f"{text!r} is no name of a collection; one is SENTINEL2_L2A.")
    return name


def back_end(text: str) -> str:
    """``cdse``, ``sandbox``, or the address of another openEO back end."""
    name = text.strip()
    if name.lower() in ("cdse", "sandbox"):
        return name.lower()
    if not re.search(r"://|\.|^localhost\b", name) or re.search(r"\s", name):
        raise ValueError(f"{name!r} is neither cdse, sandbox nor an address like https://...")
    return require_safe(name)


def catalogue_address(text: str) -> str:
    """The address of a STAC API."""
    name = text.strip()
    if not re.search(r"://", name) or re.search(r"\s", name):
        raise ValueError(f"{name!r} is no address like https://...")
    return require_safe(name)


def credits_limit(text: str) -> float:
    """A number of credits, not negative."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{text.strip()!r} is no number of credits.")
    return number


def job_option(text: str) -> tuple[str, object]:
    """An option of a job and its value: a number or true and false where it is one."""
    name, is_one, value = text.partition("=")
    if not (is_one and name.strip() and value.strip()):
        raise ValueError(f"{text!r} is no job option; write it like python-memory=4G.")
    try:
        number = json.loads(value)
    except ValueError:
        number = value.strip()
    return name.strip(), number if isinstance(number, bool | int | float) else value.strip()


def file_names(text: str) -> tuple[str, ...]:
    """Names that end in .png, .nc, .tif or .gif, with commas or blanks between and in them."""
    if text.strip().lower() in ("", "-", "none"):
        return ()
    ends = rf"(\.(?:{'|'.join(SUFFIXES)})['\"]?)(?:[,;\s]+|$)"
    names = re.sub(ends, r"\1\n", text, flags=re.IGNORECASE).split("\n")
    if names.pop().strip():
        raise ValueError(f"{text.strip()!r}: a name must end in .png, .nc, .tif or .gif.")
    return tuple(dict.fromkeys(name.strip(" '\"") for name in names))


# --- the questions -----------------------------------------------------------------------


def remembered_period(before: dict[str, str], otherwise: dt.date) -> Period:
    """The days of the last time, or a single day."""
    try:
        return parse_day(before["start"]), parse_day(before["end"])
    except (KeyError, ValueError):
        return otherwise, otherwise


def ask_period(
    start: Period | None, end: Period | None, before: Period, since: dt.date | None = None
) -> Period:
    """The days, asking for what the flags did not say; a month or A/B answers both questions.

    ``before``: the days of the last time.  ``since``: the day of the first image.
    """
    asked = start is None
    if start is None:
        hint = ", or a month, a year, a week, or days A/B"
        start = ask("First day", partial(period, since=since), before[0].isoformat(), hint)
    start, end = imaged(start, since), end and imaged(end, since)
    if end is None and start[0] == start[1]:
        usual = before[1] if start[0] == before[0] else start[1]
        asked, end = True, ask("Last day, included", _not_before(start[0]), usual.isoformat())
    first, last = start[0], (end or start)[1]
    require_order(first, last)
    if asked and first != last:
        tell(f"  {first} to {last}, {count((last - first).days + 1, 'day')}.")
    return first, last


def require_order(first: dt.date, last: dt.date) -> None:
    """ValueError if the last day is before the first one."""
    if first > last:
        raise ValueError(f"The first day, {first}, is after the last day, {last}.")


def _not_before(first: dt.date) -> Callable[[str], Period]:
    def parse(text: str) -> Period:
        days = period(text)
        require_order(first, days[1])
        return days

    return parse


def ask_back_end(default: str) -> str:
    """Ask where the images of a new archive come from."""
    tell("Where do the images of this new archive come from?")
    tell(f"  1  sandbox: {SANDBOX}")
    tell(f"  2  cdse: {CDSE}")
    keys = {"1": "sandbox", "2": "cdse"}

    def parse(text: str) -> str:
        return back_end(keys.get(text.strip(), text))

    shown = next((key for key, name in keys.items() if name == default), default)
    return ask("Back end", parse, shown, ", 1, 2 or the address of another one")


def ask_days(found: Sequence[Coverage], box: str, of: str = "box") -> Period:
    """Offer the days that an archive has of a box, newest first; one, a month or A/B."""
    tell(f"  The archive has, with the share of the {of}:")
    for cover in found[:DAYS_SHOWN]:
        orbit = "" if cover.orbit == "any" else f" {cover.orbit}"
        share = "?" if cover.share is None else percent(cover.share)
        tell(f"  {cover.day} {share:>5}{orbit}")
    if len(found) > DAYS_SHOWN:
        tell(f"  and {len(found) - DAYS_SHOWN} more, back to {found[-1].day}")
    there = {cover.day for cover in found}

    def parse(text: str) -> Period:
        first, last = period(text)
        if not any(first <= day <= last for day in there):
            when = f"on {first}" if first == last else f"from {first} to {last}"
            raise ValueError(f"The archive has nothing of {box} {when}.")
        return first, last

    usual = newest_complete(found).isoformat()
    return ask("Day", parse, usual, " or days A/B" if len(there) > 1 else "")


def newest_complete(found: Sequence[Coverage]) -> dt.date:
    """The newest day that shows all of a box, or about as much of it as any day does."""
    best = max((cover.share for cover in found if cover.share is not None), default=None)
    if best is None:
        return found[0].day
    return next(c.day for c in found if c.share is not None and c.share >= best - ABOUT)


def ask_rasters(default: str) -> list[Path]:
    """Ask for files or folders of rasters, until they are there."""

    def parse(text: str) -> list[Path]:
        if not text.strip():
            raise ValueError("Name at least one file.")
        names = [text.strip()] if Path(text.strip()).exists() else words(text)
        return [path for name in names for path in matching(Path(name))]

    return ask("Files", parse, default, ", netCDF or GeoTIFF, or a folder of them")


def words(text: str, escape: str = "" if os.name == "nt" else "\\") -> list[str]:
    """Names with blanks between them, and in quotes where there are some in them.

    A backslash is no escape where it stands between folders.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", escape
    return list(lexer)


def as_text(paths: Iterable[Path]) -> str:
    """Names as `words` reads them."""
    return " ".join(f'"{path}"' if " " in str(path) else str(path) for path in paths)


def matching(path: Path) -> list[Path]:
    """The files and folders of a name or a pattern, which not every shell expands; ValueError."""
    path = path.expanduser()
    found = [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
    if not found:
        raise ValueError(f"There is no file {path}.")
    return found


def ask_step(name: str, labels: Sequence[str]) -> int:
    """Ask which of the time steps of a file, by their number from 0."""

    def parse(text: str) -> int:
        found = [i for i, label in enumerate(labels) if text.strip() in (str(i), label, label[:10])]
        if len(found) != 1:
            raise ValueError(f"{text.strip()!r} is none of them; write a number from the list.")
        return found[0]

    tell(f"  {name} has {len(labels)} time steps:")
    for index, label in enumerate(labels):
        tell(f"  {index}  {label}")
    return ask("Step", parse, "0")


def ask_orbit(orbits: Sequence[str], usual: str | None = None, apart: bool = False) -> str | None:
    """Ask which orbit of an archive's; None: all, each by itself, which ``apart`` offers."""
    names: list[str] = [*orbits, "any", *["apart"] * apart]
    options = {str(number): name for number, name in enumerate(names, 1)}
    default = next((key for key, orbit in options.items() if orbit == usual), "1")
    chosen = options[choose("Passes of which orbit?", options, default)]
    return None if chosen == "apart" else chosen


def ask_composite() -> str | None:
    """Ask whether several days become one image, and how."""
    options = {str(number): how for number, how in enumerate(("each day", *COMPOSITES), 1)}
    number = choose("Each day by itself, or one image of them all?", options, "1")
    return None if number == "1" else options[number]


def ask_clouds(usual: float) -> float:
    """Ask how cloudy an image may be, in percent."""

    def parse(text: str) -> float:
        try:
            most = float(text.strip().removesuffix("%"))
        except ValueError:
            most = math.nan
        if not 0 <= most <= 100:
            raise ValueError(f"{text.strip()!r} is no number from 0 to 100.")
        return most

    return ask("Clouds", parse, f"{usual:g}", " over an image at most, percent")


def ask_bands(there: Sequence[str]) -> tuple[str, ...]:
    """Ask which of the bands there are."""
    return ask("Bands", lambda text: require_bands(band_names(text), there), ",".join(there))


def require_bands(bands: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """The bands, whatever their capitals; ValueError for one that is not there."""
    found = as_known(bands, there)
    missing = [band for band in found if band not in there]
    if missing:
        raise ValueError(f"The archive has {', '.join(there)}, but not {', '.join(missing)}.")
    return found


def ask_files(default: str, overwrite: bool, several: bool, more: bool) -> dict[str, bool] | None:
    """Ask for the files to write until none is in the way: their names, and whether to replace.

    ``several`` days may be a .gif, too.  With ``more`` that is an answer as well: None.
    """

    def parse(text: str) -> tuple[str, ...]:
        if more and text.strip().lower() == MORE:
            return (MORE,)
        return _writable(text, several)

    suffixes = "(.png, .gif, .nc, .tif)" if several else "(.png, .nc, .tif)"
    hint = f" to write {suffixes}, none, or more" if more else f" to write {suffixes}, or none"
    while True:
        names = ask("Files", parse, default, hint)
        if names == (MORE,):
            return None
        agreed = may_replace(names, overwrite, interactive=True)
        if agreed is not None:
            return agreed


def may_replace(names: Iterable[str], overwrite: bool, interactive: bool) -> dict[str, bool] | None:
    """Which of the files will replace one; None if somebody does not want that.

    Nobody is asked if ``overwrite`` is True.  Raises FileExistsError where nobody is there to ask.
    """
    there = {name: Path(name).exists() for name in names}
    for name, exists in there.items():
        if exists and not overwrite and not interactive:
            raise FileExistsError(
                f"{name} exists already.  Nothing was done.  Name another file, or say --overwrite."
            )
        if exists and not overwrite and not confirm("Replace it?", False, f"{name} exists.  "):
            return None
    return there


def _writable(text: str, several: bool) -> tuple[str, ...]:
    names = file_names(text)
    for name in names:
        if name.lower().endswith(".gif") and not several:
            raise ValueError(f"{name} needs several days, each by itself.")
    try:
        require_targets(names)
    except OSError as error:
        raise ValueError(str(error)) from None
    return names


def require_targets(names: Iterable[str], suffixes: tuple[str, ...] | None = None) -> None:
    """Refuse, as `export.checked_target` does, what no file can be written to."""
    from images.export import SUFFIXES as ALL
    from images.export import checked_target

    for name in names:
        checked_target(name, True, suffixes or ALL)
