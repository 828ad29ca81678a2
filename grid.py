"""The words that every room shares: box, tile, chunk, day, and the fixed tile grid.

A tile is a box of ``chunk_size`` degrees (E-W, S-N) whose edges are whole
multiples of its size, counted from 0 N, 0 E.  It is half-open,
``[west, east) x [south, north)``, so the tiles partition the sphere: every point,
and so every HEALPix cell centre, lies in exactly one of them.

This room imports no other room.
"""

from __future__ import annotations

import datetime as dt
import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np

ORBITS = ("any", "ascending", "descending")
FROM_FILE = "file"  # in place of a back end: a record made of files of one's own
DEGREE = 111_195.0  # m of latitude, on a sphere
FIRST_DAY = dt.date(2014, 10, 3)  # the first Sentinel-1 image that Copernicus serves

# Look-alikes that people paste from web pages and PDF files.
_PASTED = str.maketrans({"\u2212": "-", "\u2013": "-", "\u00a0": " ", "\u00b0": " "})


@dataclass(frozen=True)
class BBox:
    """A longitude/latitude box in degrees.

    ``west > east`` means that the box crosses 180 degrees; `split` cuts it there.
    Raises ValueError for anything that is no box: not finite, latitude outside
    [-90, 90], longitude outside [-180, 180], no area, south above north.
    """

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        for name in ("west", "south", "east", "north"):
            value = float(getattr(self, name))
            if not math.isfinite(value):
                raise ValueError(f"{name} is {value}, which is not a finite number of degrees.")
            limit = 180 if name in ("west", "east") else 90
            if abs(value) > limit:
                raise ValueError(f"{name} is {value:g}; it must lie between -{limit} and {limit}.")
            object.__setattr__(self, name, value)
        if self.south >= self.north:
            raise ValueError(
                f"south ({self.south:g}) must be smaller than north ({self.north:g}); "
                "the order is west,south,east,north."
            )
        if self.west == self.east:
            raise ValueError(f"west and east are both {self.west:g}: the box has no width.")

    @classmethod
    def parse(cls, text: str) -> BBox:
        """Read ``"7,50,8,50.5"`` (west,south,east,north; commas, semicolons or blanks)."""
        parts = [p for p in re.split(r"[,;\s]+", pasted(text).strip()) if p]
        if len(parts) != 4:
            raise ValueError(
                f"{shorten(text)!r} has {count(len(parts), 'part')}, not 4.  "
                "Write west,south,east,north in degrees with a decimal point, like 7,50,8,50.5."
            )
        return cls(*(_parse_degrees(part) for part in parts))

    @property
    def width(self) -> float:
        """East-west extent in degrees, in (0, 360]."""
        return self.east - self.west if self.west < self.east else self.east - self.west + 360.0

    @property
    def height(self) -> float:
        """South-north extent in degrees."""
        return self.north - self.south

    @property
    def crosses_antimeridian(self) -> bool:
        """Whether the box reaches across 180 degrees."""
        return self.west > self.east

    def split(self) -> list[BBox]:
        """The one or two boxes with west < east that make up this box."""
        if not self.crosses_antimeridian:
            return [self]
        parts = ((self.west, 180.0), (-180.0, self.east))
        return [BBox(w, self.south, e, self.north) for w, e in parts if w < e]

    def intersects(self, other: BBox) -> bool:
        """Whether the two boxes share an area (touching edges do not count)."""
        return any(
            a.west < b.east and b.west < a.east and a.south < b.north and b.south < a.north
            for a in self.split()
            for b in other.split()
        )

    def __str__(self) -> str:
        return ",".join(f"{v:.10g}" for v in (self.west, self.south, self.east, self.north))


@dataclass(frozen=True, order=True)
class Tile:
    """One box of the fixed grid, half-open ``[west, east) x [south, north)``, in degrees."""

    west: float
    south: float
    east: float
    north: float

    @property
    def name(self) -> str:
        """The south-west corner, as in ``E007.0_N50.0`` or ``W071.0_S33.5``."""
        lon = ("E" if self.west >= 0 else "W") + _corner(self.west, 3)
        lat = ("N" if self.south >= 0 else "S") + _corner(self.south, 2)
        return f"{lon}_{lat}"

    @property
    def bbox(self) -> BBox:
        """The tile as a box."""
        return BBox(self.west, self.south, self.east, self.north)

    @property
    def size(self) -> tuple[float, float]:
        """E-W and S-N extent in degrees."""
        return self.east - self.west, self.north - self.south

    @classmethod
    def from_name(cls, name: str, chunk_size: Sequence[float]) -> Tile:
        """The tile with this name on the grid of ``chunk_size`` (degrees E-W, S-N)."""
        match = re.fullmatch(r"([EW])(\d{3}\.\d+)_([NS])(\d{2}\.\d+)", name)
        if match is None:
            raise ValueError(f"{name!r} is no tile name; one looks like E007.0_N50.0.")
        west = float(match[2]) * (1 if match[1] == "E" else -1)
        south = float(match[4]) * (1 if match[3] == "N" else -1)
        dx, dy = check_chunk_size(chunk_size)
        tile = _tile(round(west / dx), round(south / dy), dx, dy)
        if tile.name != name:
            raise ValueError(
                f"{name} is not on the grid of {chunk_size[0]:g} x {chunk_size[1]:g} degrees."
            )
        return tile


@dataclass(frozen=True, order=True)
class Chunk:
    """One tile at one UTC day: the unit of a job, a conversion, a record and a retry."""

    tile: Tile
    day: dt.date
    orbit: str = "any"

    def __post_init__(self) -> None:
        object.__setattr__(self, "day", as_day(self.day))
        if self.orbit not in ORBITS:
            raise ValueError(f"orbit is {self.orbit!r}; it must be one of {', '.join(ORBITS)}.")

    @property
    def name(self) -> str:
        """``E007.0_N50.0_2026-01-20``, with the orbit behind it unless it is "any"."""
        suffix = "" if self.orbit == "any" else f"_{self.orbit}"
        return f"{self.tile.name}_{self.day.isoformat()}{suffix}"

    def __str__(self) -> str:
        orbit = "" if self.orbit == "any" else f" ({self.orbit})"
        return f"{self.tile.name} on {self.day.isoformat()}{orbit}"


Box: TypeAlias = "BBox | str | Sequence[float] | np.ndarray[Any, Any]"  # what `as_box` takes
Day: TypeAlias = "dt.date | str | np.datetime64"  # what `as_day` takes


@dataclass(frozen=True)
class Provenance:
    """Where the data of a record came from."""

    backend: str  # "cdse", "sandbox", the URL, or FROM_FILE
    collection: str  # openEO collection id
    job_id: str
    processed: str  # when the back end finished the job, ISO 8601, UTC
    synthetic: bool  # made up by the sandbox, not measured
    # By the catalogue; empty where it was not asked, and in records of before.
    relative_orbits: tuple[int, ...] = ()
    platforms: tuple[str, ...] = ()
    acquired: tuple[str, ...] = ()  # begin/end of each image, ISO 8601, UTC
    job_options: dict[str, Any] = field(default_factory=dict)  # as they were sent
    # Share of failed reads that the job was let pass, since a product was broken: what that
    # product has imaged may be missing.  None: no more than is usual.
    soft_errors: float | None = None
    covered: float | None = None  # share of the tile that the catalogue promised
    partial: bool = False  # much less than that is seen
    # Of a record made of files: name, sha256 and, of several, the time step of each.
    files: tuple[dict[str, Any], ...] = ()


def tiles_covering(bbox: Box, chunk_size: Sequence[float]) -> list[Tile]:
    """The tiles that share an area with the box, row by row from the south-west."""
    return list(iter_tiles_covering(as_box(bbox), chunk_size))


def iter_tiles_covering(bbox: BBox, chunk_size: Sequence[float]) -> Iterator[Tile]:
    """As `tiles_covering`, one at a time: the whole Earth has 129,600 of them."""
    dx, dy = check_chunk_size(chunk_size)
    columns = {
        i: None for part in bbox.split() for i in range(_index(part.west, dx), _end(part.east, dx))
    }
    for j in range(_index(bbox.south, dy), _end(bbox.north, dy)):
        for i in columns:
            yield _tile(i, j, dx, dy)


def check_chunk_size(chunk_size: Sequence[float]) -> tuple[float, float]:
    """Both sizes as floats; ValueError unless whole tiles fill 180 degrees each way."""
    dx, dy = (float(v) for v in chunk_size)
    for what, size, limit in (("E-W", dx, 180.0), ("S-N", dy, 90.0)):
        if not 0 < size <= limit or abs(limit / size - round(limit / size)) > 1e-9:
            raise ValueError(
                f"CHUNK_SIZE {what} is {size:g} degrees; {limit:g} must be a multiple of it."
            )
    return dx, dy


def wrap(lon: float) -> float:
    """The longitude in [-180, 180)."""
    return lon if -180.0 <= lon < 180.0 else (lon + 180.0) % 360.0 - 180.0


def pasted(text: str) -> str:
    """The text with plain signs in place of the look-alikes of web pages and PDF files."""
    return text.translate(_PASTED)


def count(number: float, what: str) -> str:
    """A number of things, as in ``1 tile``, ``2 tiles`` or ``1.5 hours``."""
    return f"{number:.12g} {what}{'' if number == 1 else 's'}"


def in_hours(hours: float) -> str:
    """A time span in hours, of three digits."""
    return count(float(f"{hours:.3g}"), "hour")


def shorten(text: str, limit: int = 40) -> str:
    """The beginning of a text that is too long for a message."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def parse_days(text: str) -> tuple[dt.date, dt.date]:
    """First and last day (included) of ``2026-01-20``, ``2026-01``, ``2026`` or ``A/B``."""
    text = pasted(text).strip()
    if "/" in text:
        first, _, last = text.partition("/")
        start, end = parse_days(first)[0], parse_days(last)[1]
    else:
        start, end = _parse_period(text)
    if start > end:
        raise ValueError(f"The first day, {start}, is after the last day, {end}.")
    return start, end


def parse_day(text: str) -> dt.date:
    """One day, as in ``2026-01-20``."""
    first, last = parse_days(text)
    if first != last:
        raise ValueError(f"{shorten(text)!r} is not a single day.  Write it like 2026-01-31.")
    return first


def as_box(box: Box) -> BBox:
    """A box, also given as four numbers (west, south, east, north) or as text like them."""
    if isinstance(box, BBox):
        return box
    if isinstance(box, str):
        return BBox.parse(box)
    try:
        west, south, east, north = (float(value) for value in box)
    except (TypeError, ValueError):
        raise ValueError(
            f"{shorten(repr(box))} is no box.  Give four numbers: west, south, east, north."
        ) from None
    return BBox(west, south, east, north)


def as_day(day: Day) -> dt.date:
    """A day, also given as a time (UTC, if it does not say), a datetime64, or text."""
    if type(day) is dt.date:
        return day
    first, last = as_days(day)
    if first != last:
        raise ValueError(f"{shorten(str(day))!r} is not a single day.  Write it like 2026-01-31.")
    return first


def as_days(start: Day, end: Day | None = None) -> tuple[dt.date, dt.date]:
    """First and last day of a period, each given as of `as_day`; months and years are periods."""
    first, last = _period(start)
    if end is not None:
        last = _period(end)[1]
    if first > last:
        raise ValueError(f"The first day, {first}, is after the last day, {last}.")
    return first, last


def days(start: dt.date, end: dt.date) -> list[dt.date]:
    """Every day from start to end, both included."""
    return [start + dt.timedelta(days=i) for i in range((end - start).days + 1)]


def _period(day: Day) -> tuple[dt.date, dt.date]:
    """First and last day of what stands for a day, a month, a year."""
    if isinstance(day, dt.datetime) and day == day:  # not pandas' NaT
        utc = day if day.tzinfo is None else day.astimezone(dt.UTC)
        return utc.date(), utc.date()
    if isinstance(day, dt.date) and not isinstance(day, dt.datetime):
        return day, day
    text = str(getattr(day, "values", day))  # of a datetime64 or of an array that holds one
    if not isinstance(day, str) and not re.match(r"\d{4}(-|$)", text):
        raise ValueError(f"{shorten(repr(day))} is not a day.  Give a date, or text: 2026-01-31.")
    if re.search(r"\d[T ]\d\d", text):
        try:
            return _period(dt.datetime.fromisoformat(text))
        except ValueError:
            raise ValueError(f"{shorten(text)!r} is not a time.  Write 2026-01-31.") from None
    return parse_days(text)


def _parse_period(text: str) -> tuple[dt.date, dt.date]:
    match = re.fullmatch(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", text, re.ASCII)
    try:
        if match is None:
            raise ValueError
        year, month, day = (int(g) if g else None for g in match.groups())
        first = dt.date(year or 0, month or 1, day or 1)
    except ValueError:
        raise ValueError(f"{shorten(text)!r} is not a date.  Write it like 2026-01-31.") from None
    if day is not None:
        return first, first
    following = (
        dt.date(first.year + 1, 1, 1)
        if month in (None, 12)
        else dt.date(first.year, first.month + 1, 1)
    )
    return first, following - dt.timedelta(days=1)


def _parse_degrees(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{shorten(text)!r} is not a number of degrees.") from None
    if not math.isfinite(value):
        raise ValueError(f"{shorten(text)!r} is not a finite number of degrees.")
    return value


def _tile(i: int, j: int, dx: float, dy: float) -> Tile:
    return Tile(i * dx, j * dy, (i + 1) * dx, (j + 1) * dy)


@functools.lru_cache(maxsize=4096)  # a plan of a continent asks for each of them hundreds of times
def _corner(value: float, width: int) -> str:
    whole, _, fraction = f"{abs(value):.6f}".rstrip("0").partition(".")
    return f"{whole.zfill(width)}.{fraction or '0'}"


def _index(value: float, size: float) -> int:
    """The i with ``i * size <= value < (i + 1) * size`` in floating point."""
    i = math.floor(value / size)
    return i + (value >= (i + 1) * size) - (value < i * size)


def _end(value: float, size: float) -> int:
    """The first tile index that begins at or after ``value``."""
    i = _index(value, size)
    return i if value == i * size else i + 1
