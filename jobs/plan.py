"""Which chunks of a request are missing, by the catalogue, the archive and the journal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from grid import ORBITS, BBox, Chunk, Tile, days
from jobs.catalogue import Cover, Covers
from jobs.estimate import Estimate, estimate
from jobs.journal import ENDS, Journal, Row, State
from jobs.recipe import Recipe, digests
from jobs.settings import Settings, is_partial
from shared.areas import iter_tiles
from shared.collection import Collection

WAITING = (State.PLANNED, State.CREATING, State.CREATED)  # what costs nothing yet


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What is asked for: which chunks, of which back end, and on what terms."""

    backend: str  # the label
    bbox: BBox  # or an `Area`: the tiles that its polygon touches
    first: dt.date
    last: dt.date  # included
    orbit: str | None  # None: of each orbit, or of the day where the catalogue was not asked
    chunk_size: Sequence[float]  # degrees E-W, S-N
    covers: Mapping[Chunk, Cover] | None = None  # by the catalogue; None if it was not asked
    catalogue: str | None = None  # of the request, see `journal.Request`
    retry_empty: bool = False  # order what was found to have no data
    retry: frozenset[Chunk] = frozenset()  # order these, although there is a record of them
    max_credits: float | None = None
    of_files: Mapping[Chunk, float] = field(default_factory=dict)  # records, and what each shows


@dataclass(frozen=True, kw_only=True)
class Plan(Demand):
    """The chunks of a demand, by what is to be done about them."""

    missing: list[Chunk]
    archived: list[Chunk]
    empty: list[Chunk]  # known to have no data
    renewed: list[Chunk]  # missing, with images that came after they were found empty
    shown: list[Chunk]  # missing, though a record of files shows a part
    begun: list[Chunk]  # of other requests: `run` brings them to their end, too
    estimate: Estimate
    made: float  # seconds since 1970-01-01 UTC

    @property
    def again(self) -> frozenset[Chunk]:
        """Missing, though there is a record of them."""
        there = self.retry.union(set(self.shown).intersection(self.of_files))
        return there.intersection(self.missing)

    @property
    def aside(self) -> tuple[str, ...]:
        """Images of the catalogue that the back end does not read: how many of which kind."""
        return self.covers.aside if isinstance(self.covers, Covers) else ()

    @property
    def skipped(self) -> tuple[str, ...]:
        """Items of the catalogue that cannot be understood, each with the reason."""
        return self.covers.skipped if isinstance(self.covers, Covers) else ()


@dataclass
class _Sorted:
    """The chunks of a demand while they are sorted."""

    missing: list[Chunk] = field(default_factory=list)
    archived: list[Chunk] = field(default_factory=list)
    empty: list[Chunk] = field(default_factory=list)
    renewed: list[Chunk] = field(default_factory=list)
    shown: list[Chunk] = field(default_factory=list)


def make(
    demand: Demand, archive_has: Callable[[Chunk], bool], journal: Journal, made: Settings
) -> Plan:
    """What is missing of a demand, and what it will cost; nothing is created."""
    collection = made.recipe.collection
    if not collection.by_orbit:
        demand = replace(demand, orbit=_without_orbit(demand.orbit, collection))
    latest = latest_rows(journal, demand.backend, made.recipe)
    found = _Sorted()
    for chunk in _wanted(demand, collection):
        _sort(chunk, demand, archive_has, latest, made, found)
    missing = found.missing
    under_way = {row.chunk for row in latest.values() if is_under_way(row, made.recipe)}
    begun = sorted(under_way.difference(missing))
    history = journal.history(demand.backend, made.typical.history)
    return Plan(
        **vars(demand),
        missing=missing,
        archived=list(dict.fromkeys(found.archived)),
        empty=found.empty,
        renewed=[] if demand.retry_empty else found.renewed,
        shown=found.shown,
        begun=begun,
        estimate=estimate(missing, history, demand.backend, demand.covers or {}, made),
        made=journal.now(),
    )


def _sort(
    chunk: Chunk,
    demand: Demand,
    archive_has: Callable[[Chunk], bool],
    latest: Mapping[Chunk, Row],
    made: Settings,
    found: _Sorted,
) -> None:
    """Find out what is to be done about a chunk; nothing, if its whole day is under way."""
    of_each, in_part = demand.orbit is None, list[Chunk]()

    def has(record: Chunk) -> bool:
        if not archive_has(record):
            return False
        in_part.extend([record] * _is_part(record, chunk, demand, latest, made))
        return record not in in_part

    instead = _instead(chunk, has) if of_each else None
    is_there = has(chunk)
    rows = _rows(chunk, latest, of_each)
    nothing = [row for row in rows if row.state is State.EMPTY]
    again = bool(demand.retry) and chunk in demand.retry
    if instead or (is_there and not again):
        found.archived.append(instead or chunk)
    elif nothing and not (again or demand.retry_empty or _is_new(chunk, nothing, demand.covers)):
        found.empty.append(chunk)
    elif not any(is_under_way(row, made.recipe) and row.chunk != chunk for row in rows):
        found.missing.append(chunk)
        found.renewed += [chunk] * bool(nothing)
        found.shown += [chunk] * bool(in_part)


def _is_part(
    record: Chunk,
    chunk: Chunk,
    demand: Demand,
    latest: Mapping[Chunk, Row],
    made: Settings,
) -> bool:
    """Whether a record of files shows much less than the images of a chunk do.

    Without the catalogue these are taken to show all.  Once the back end has given them, the
    record that there is shows no less.
    """
    if record not in demand.of_files:
        return False
    if (row := latest.get(chunk)) and row.state is State.ARCHIVED:
        return False
    covered = demand.covers[chunk].share if demand.covers is not None else 1.0
    return is_partial(covered, demand.of_files[record], made)


def _without_orbit(orbit: str | None, collection: Collection) -> str:
    """What the chunks of a collection are called that does not go by orbits."""
    if orbit in ORBITS[1:]:
        raise ValueError(
            f"{collection.name} is not told apart by orbit, so leave out --orbit {orbit}.  "
            "Nothing was ordered."
        )
    return ORBITS[0]


def _wanted(demand: Demand, collection: Collection) -> Iterator[Chunk]:
    """The chunks to be had of the tiles and days."""
    every = [day for day in days(demand.first, demand.last) if collection.has(day)]
    for tile in iter_tiles(demand.bbox, demand.chunk_size):
        for day in every:
            yield from _of_day(tile, day, demand)


def _of_day(tile: Tile, day: dt.date, demand: Demand) -> Iterator[Chunk]:
    """The chunks to be had of a tile and day."""
    if demand.covers is None:
        yield Chunk(tile, day, demand.orbit or ORBITS[0])
        return
    for state in ORBITS[1:] if demand.orbit is None else (demand.orbit,):
        if (chunk := Chunk(tile, day, state)) in demand.covers:
            yield chunk


def _instead(chunk: Chunk, archive_has: Callable[[Chunk], bool]) -> Chunk | None:
    """A record that makes this chunk needless: of the whole day, or parts of it."""
    others = ORBITS[1:] if chunk.orbit == ORBITS[0] else ORBITS[:1]
    records = (Chunk(chunk.tile, chunk.day, orbit) for orbit in others)
    return next(filter(archive_has, records), None)


def _rows(chunk: Chunk, latest: Mapping[Chunk, Row], or_day: bool) -> list[Row]:
    """The last attempts at a chunk, and at its whole day if that would do as well."""
    if not latest:
        return []
    chunks = {chunk, Chunk(chunk.tile, chunk.day)} if or_day else {chunk}
    return [latest[each] for each in chunks if each in latest]


def _is_new(chunk: Chunk, nothing: list[Row], covers: Mapping[Chunk, Cover] | None) -> bool:
    """Whether an image was published after the chunk was found to have no data."""
    created = covers[chunk].created if covers else None
    return created is not None and created.timestamp() > max(row.ended or 0.0 for row in nothing)


def is_under_way(row: Row, recipe: Recipe) -> bool:
    """Whether a job was started and has not come to its end: it is paid for."""
    return row.digest in digests(row.chunk, recipe) and row.state not in (*WAITING, *ENDS)


def latest_rows(journal: Journal, backend: str, recipe: Recipe) -> dict[Chunk, Row]:
    """Of each chunk the last attempt at it, also by an order as older versions wrote it.

    Of both the one that is paid for, else the one by today's order.
    """
    rows = journal.latest(backend).values()
    ours = [row for row in rows if row.digest in digests(row.chunk, recipe)]
    ours.sort(
        key=lambda row: (
            is_under_way(row, recipe),
            row.digest == digests(row.chunk, recipe)[0],
        )
    )
    return {row.chunk: row for row in ours}
