"""Which records of an archive make up an image.

An image is a day, and of each tile the records that show it.  Passes of different
direction see the ground from different sides, so they are mixed only where somebody asks
for it: records of both are then averaged by their counts, and the image says so.  Where nobody
does, a day with both has an image of each, and so has a composite of days with both.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from archive.passes import passes_of
from grid import ORBITS, BBox, Chunk, Tile, count
from shared.areas import touched

if TYPE_CHECKING:
    from archive.contents import Contents
    from archive.layout import Layout
    from archive.snapshot import View

DIRECTION, RELATIVE = "direction", "relative-orbit"  # how passes may be kept apart
APART = (DIRECTION, RELATIVE)
Kind = tuple[str, int]  # of passes: direction, and relative orbit where that matters
DAYS_NAMED = 5  # of the days there are, when the one asked for is not there


class NoData(LookupError):
    """The archive holds nothing of the box on the day."""


@dataclass(frozen=True)
class Image:
    """The records that are seen together, and the day that they are shown for."""

    day: dt.date
    chunks: tuple[Chunk, ...]
    how: str = ""  # of a composite: one of `composites.HOW`
    last: dt.date | None = None  # of a period that begins with the day

    @property
    def orbit(self) -> str:
        """The orbit of its records; where there are several, as "ascending+descending"."""
        return "+".join(sorted({chunk.orbit for chunk in self.chunks}))

    @cached_property
    def by_tile(self) -> dict[Tile, list[tuple[int, Chunk]]]:
        """The records of each tile, with their numbers among all."""
        found: dict[Tile, list[tuple[int, Chunk]]] = {}
        for number, chunk in enumerate(self.chunks):
            found.setdefault(chunk.tile, []).append((number, chunk))
        return found


def layout_of(archive: Contents) -> Layout:
    """What an archive is made of; NoData where there is none."""
    if archive.layout is None:
        raise NoData(
            f"There is no archive at {archive.name} yet, and so no record of this box at all; "
            "download it first."
        )
    return archive.layout


def views_of(archive: Contents, bbox: BBox) -> list[View]:
    """The tiles of the box, or area, that have records, as they are now."""
    return archive.views(touched(bbox, archive.tiles()))


def on_days(
    archive: Contents,
    views: Sequence[View],
    bbox: BBox | str,
    start: dt.date,
    end: dt.date,
    orbit: str | None,
) -> list[Image]:
    """The images of all days from start to end, both included, that have one; ascending.

    ``orbit``: "ascending" or "descending": these records alone.  "any": of each tile the
    record of all passes, else those of both directions, mixed.  None: as "any", but where both
    directions would be mixed there is an image of each.  Raises NoData if there is no image.
    """
    there = _chunks(views)
    by_day: dict[dt.date, list[Chunk]] = {}
    for chunk in there:
        if start <= chunk.day <= end:
            by_day.setdefault(chunk.day, []).append(chunk)
    images = []
    for day, found in sorted(by_day.items()):
        chosen = _chosen(found, orbit)
        if chosen:
            images += _unmixed(Image(day, tuple(chosen)), orbit)
    if not images:
        when = f"on {start}" if start == end else f"from {start} to {end}"
        raise _no_data(archive, bbox, orbit, when, there)
    return images


def apart(
    archive: Contents,
    views: Sequence[View],
    bbox: BBox | str,
    start: dt.date,
    end: dt.date,
    orbit: str | None,
    by: str,
) -> list[Image]:
    """As `on_days`, but passes that differ are images of their own: several a day, maybe.

    ``by``: one of `APART`.  With ``orbit`` "any", those of both directions are mixed unless their
    relative orbits are to be kept apart.
    """
    key = _kind(views, by)
    images = on_days(archive, views, bbox, start, end, orbit or "any")
    if by == DIRECTION and orbit == "any":
        return images
    return [one for image in images for one in _split(image, key)]


def of_period(
    archive: Contents,
    views: Sequence[View],
    bbox: BBox,
    start: dt.date,
    end: dt.date,
    orbit: str | None,
    how: str,
    by: str | None = None,
) -> list[Image]:
    """The composite of all images from start to end, both included; ``orbit`` as of `on_days`.

    Several of them where passes of both directions would be mixed unasked, from day to day neither,
    or, with ``by`` one of `APART`, where they differ in that.
    """
    images = on_days(archive, views, bbox, start, end, orbit or "any")
    every = Image(start, tuple(chunk for image in images for chunk in image.chunks), how, end)
    if by is not None and (by, orbit) != (DIRECTION, "any"):
        return _split(every, _kind(views, by))
    return _unmixed(every, orbit)


def newest(
    archive: Contents,
    views: Sequence[View],
    bbox: BBox,
    day: dt.date,
    days_back: int,
    orbit: str | None,
) -> Image:
    """The newest values of each tile, not older than so many days before ``day``.

    ``orbit`` as of `on_days`, but tiles may differ in direction from one another: with None each
    has the passes of the direction of its newest record.  Which that is of two of a day their
    times say; ValueError where these are not known.
    """
    if days_back < 0:
        raise ValueError(
            f"{count(days_back, 'day')} back: a record cannot be newer than the day asked for."
        )
    first = day - dt.timedelta(days=days_back)
    found: list[Chunk] = []
    for view in views:
        recent = [chunk for chunk in _chunks([view]) if first <= chunk.day <= day]
        recent = [chunk for chunk in recent if orbit in (None, "any", chunk.orbit)]
        last = [chunk for chunk in recent if chunk.day == max(c.day for c in recent)]
        latest = _chosen(last, orbit)
        if len(_unmixed(Image(day, tuple(latest)), orbit)) > 1:
            latest = in_time(view, latest)[-1:]
            if passes_of(view.about(latest[0])).begin is None:
                raise to_choose(bbox, f"on {latest[0].day}")
        ways = {chunk.orbit for chunk in latest} if orbit is None else set(ORBITS)
        by_day = itertools.groupby(recent, lambda chunk: chunk.day)
        found += [
            chunk for _, some in by_day for chunk in _chosen(list(some), orbit)
            if chunk.orbit in {*ways, ORBITS[0]}
        ]  # fmt: skip
    if not found:
        raise _no_data(archive, bbox, orbit, f"from {first} to {day}", _chunks(views))
    return Image(day, tuple(found), "newest")


def with_border(image: Image, views: Iterable[View]) -> Image:
    """The image with what other tiles have that goes with it, for the pixels on its border.

    Of a composite all records of its days, else one for each tile.
    """
    kinds = {(chunk.day, chunk.orbit) for chunk in image.chunks}
    inside = {chunk.tile for chunk in image.chunks}
    more: list[Chunk] = []
    for view in views:
        same = [Chunk(view.tile, day, orbit) for day, orbit in sorted(kinds)]
        fits = [chunk for chunk in same if chunk in view]
        if view.tile not in inside and fits:
            last = max(chunk.day for chunk in fits)
            more += [chunk for chunk in fits if image.how or chunk.day == last]
    return replace(image, chunks=(*image.chunks, *more))


def _chunks(views: Iterable[View]) -> list[Chunk]:
    return [chunk for view in views for chunk in view.chunks()]


def in_time(view: View, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Records of a tile by day, those of a day by when they were taken if that is known of all.

    Else by direction, those that are known first.
    """
    several = {day for day, number in Counter(c.day for c in chunks).items() if number > 1}
    begin = {
        chunk: passes_of(view.about(chunk)).begin if chunk.day in several else None
        for chunk in chunks
    }
    unknown = {chunk.day for chunk, moment in begin.items() if moment is None}

    def key(chunk: Chunk) -> tuple[dt.date, bool, str, str]:
        moment = begin[chunk]
        when = "" if moment is None or chunk.day in unknown else moment.isoformat()
        return chunk.day, moment is None, when, chunk.orbit

    return sorted(begin, key=key)


def _chosen(chunks: Sequence[Chunk], orbit: str | None) -> list[Chunk]:
    """Of the records of one day, those that an image of this orbit is made of."""
    if orbit not in (None, "any"):
        return [chunk for chunk in chunks if chunk.orbit == orbit]
    whole = {chunk.tile for chunk in chunks if chunk.orbit == "any"}
    return [chunk for chunk in chunks if chunk.orbit == "any" or chunk.tile not in whole]


def _unmixed(image: Image, orbit: str | None) -> list[Image]:
    """An image; instead of one that would mix directions unasked, one of each kind of passes."""
    if orbit is None and {chunk.orbit for chunk in image.chunks} >= set(ORBITS[1:]):
        return _split(image, lambda chunk: (chunk.orbit, 0))
    return [image]


def _split(image: Image, kind: Callable[[Chunk], Kind]) -> list[Image]:
    """An image for each kind of its records; these stay in their order."""
    chunks = sorted(image.chunks, key=kind)
    return [replace(image, chunks=tuple(some)) for _, some in itertools.groupby(chunks, kind)]


def _kind(views: Sequence[View], by: str) -> Callable[[Chunk], Kind]:
    """What tells passes from others: direction, and relative orbit if it is ``by`` that."""
    if by not in APART:
        raise ValueError(f"by is {by!r}; it must be {' or '.join(APART)}.")
    by_tile = {view.tile: view for view in views}

    def kind(chunk: Chunk) -> Kind:
        about = by_tile[chunk.tile].about(chunk) if by == RELATIVE else {}
        return chunk.orbit, passes_of(about).relative_orbit

    return kind


def to_choose(bbox: BBox | str, when: str) -> ValueError:
    """The error where one image is wanted, and there are passes of both directions."""
    return ValueError(
        f"The archive has {' and '.join(ORBITS[1:])} passes of {bbox} {when}. "
        "Say which of them you want (--orbit ascending or descending, or orbit= in Python), or "
        "any to mix them: they see the ground from different sides."
    )


def _no_data(
    archive: Contents, bbox: BBox | str, orbit: str | None, when: str, there: Sequence[Chunk]
) -> NoData:
    what = f"no record ({orbit})" if orbit not in (None, "any") else "nothing"
    return NoData(f"The archive {archive.name} has {what} of {bbox} {when}.  {_listed(there)}")


def _listed(chunks: Sequence[Chunk]) -> str:
    found = sorted({(chunk.day, chunk.orbit) for chunk in chunks}, reverse=True)
    if not found:
        return "It has no record of this box at all; download it first."
    names = [f"{day}" + f" ({orbit})" * (orbit != "any") for day, orbit in found[:DAYS_NAMED]]
    more = f" and {len(found) - DAYS_NAMED} more" if len(found) > DAYS_NAMED else ""
    return f"Of this box it has {', '.join(names)}{more}."
