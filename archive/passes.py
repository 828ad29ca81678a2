"""When a record's images were taken, by which satellite, and on which relative orbit.

The back end says only of which day a record is.  The rest is what the catalogue said of the
images, in the record's provenance; a tile has it as rows beside `time` too, for whoever reads it
without this program.  What nobody said is not known, and never made up from the day.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ACQUIRED_BEGIN, ACQUIRED_END = "acquired_begin", "acquired_end"  # the rows, and coordinates
PLATFORM, RELATIVE_ORBIT = "platform", "relative_orbit"
NO_TIME = -(2**63)  # seconds; decodes as NaT
NO_ORBIT, SEVERAL_ORBITS = 0, -1  # what stands for a relative orbit, which is 1 or more
UNKNOWN: dict[str, Any] = {
    ACQUIRED_BEGIN: NO_TIME, ACQUIRED_END: NO_TIME, PLATFORM: "", RELATIVE_ORBIT: NO_ORBIT,
}  # fmt: skip
ATTRIBUTES: dict[str, dict[str, Any]] = {
    ACQUIRED_BEGIN: {
        "standard_name": "time",
        "long_name": "begin of the first acquisition, UTC; NaT: not known",
        "units_metadata": "leap_seconds: none",
    },
    ACQUIRED_END: {
        "standard_name": "time",
        "long_name": "end of the last acquisition, UTC; NaT: not known",
        "units_metadata": "leap_seconds: none",
    },
    PLATFORM: {
        "standard_name": "platform_name",
        "long_name": "satellite, several joined by +; empty: not known",
    },
    RELATIVE_ORBIT: {"long_name": "relative orbit; 0: not known, -1: several"},
}  # of the rows in a tile, and of the coordinates of a grid


@dataclass(frozen=True)
class Passes:
    """The images that were taken: from when to when, by what, on which relative orbits."""

    begin: dt.datetime | None = None  # UTC, whole seconds; None: not known
    end: dt.datetime | None = None
    platforms: tuple[str, ...] = ()
    relative_orbits: tuple[int, ...] = ()

    @property
    def platform(self) -> str:
        """The satellite, as "sentinel-1a"; several as "sentinel-1a+sentinel-1c"; "": not known."""
        return "+".join(self.platforms)

    @property
    def relative_orbit(self) -> int:
        """The relative orbit; `SEVERAL_ORBITS` or `NO_ORBIT` where there is not just one."""
        if len(self.relative_orbits) == 1:
            return self.relative_orbits[0]
        return SEVERAL_ORBITS if self.relative_orbits else NO_ORBIT

    @property
    def row(self) -> dict[str, Any]:
        """The same as a tile's rows hold it; times in seconds since 1970."""
        return {
            ACQUIRED_BEGIN: _seconds(self.begin),
            ACQUIRED_END: _seconds(self.end),
            PLATFORM: self.platform,
            RELATIVE_ORBIT: self.relative_orbit,
        }

    @property
    def texts(self) -> dict[str, str | None]:
        """Begin and end by ISO 8601, as `list --json` has them; None: not known."""
        return {ACQUIRED_BEGIN: _text(self.begin), ACQUIRED_END: _text(self.end)}


def passes_of(about: Mapping[str, Any]) -> Passes:
    """What a record's provenance says of its images; what cannot be understood is not known."""
    spans = [_span(text) for text in about.get("acquired") or ()]
    known = [span for span in spans if span is not None]
    is_known = bool(spans) and len(known) == len(spans)
    return Passes(
        min(begin for begin, _ in known) if is_known else None,
        max(end for _, end in known) if is_known else None,
        tuple(sorted({str(name) for name in about.get("platforms") or () if name})),
        tuple(sorted({int(n) for n in about.get("relative_orbits") or () if _is_orbit(n)})),
    )


def relative_name(number: int) -> str:
    """A relative orbit in words: "37", "several", or "not known"."""
    return {NO_ORBIT: "not known", SEVERAL_ORBITS: "several"}.get(number, str(number))


def together(some: Iterable[Passes]) -> Passes:
    """Those of several records.  What is not known of one of them is not known of all."""
    found = list(some)
    begins, ends = [each.begin for each in found], [each.end for each in found]
    platforms = [each.platforms for each in found]
    orbits = [each.relative_orbits for each in found]
    return Passes(
        min(filter(None, begins)) if found and all(begins) else None,
        max(filter(None, ends)) if found and all(ends) else None,
        tuple(sorted({name for names in platforms for name in names})) if all(platforms) else (),
        tuple(sorted({number for some in orbits for number in some})) if all(orbits) else (),
    )


def _span(text: object) -> tuple[dt.datetime, dt.datetime] | None:
    """Begin and end of ``begin/end`` by ISO 8601, UTC; None if it is none."""
    begin, _, end = str(text).partition("/")
    try:
        first, last = _moment(begin), _moment(end or begin)
    except (ValueError, OverflowError):
        return None
    return (first, last) if first <= last else None


def _moment(text: str) -> dt.datetime:
    moment = dt.datetime.fromisoformat(text)
    utc = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    return utc.replace(microsecond=0)


def _is_orbit(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**15


def _seconds(moment: dt.datetime | None) -> int:
    return NO_TIME if moment is None else int(moment.timestamp())


def _text(moment: dt.datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")
