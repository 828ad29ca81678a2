"""The memory of the downloads: one row per chunk and attempt, every step written down.

The intent is committed before a step is taken and the outcome after it, with
``synchronous=FULL``, so that a program that was killed at any moment finds out by
reading what it may have done: a row in `State.CREATING` means "there may be a job with
this title", a row in `State.STARTING` means "this job may be running".  `steps.py`
turns each of these into a question to the back end before it orders anything.

The journal lives in a folder beside its archive, with a log of every event for people
to read.  Reading it creates nothing: the folder appears with the first order.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from grid import BBox, Chunk, Tile
from shared.areas import as_text, from_text, touched

VERSION = 5  # of the tables; an older journal is brought up to it, a newer one is refused
BUSY_TIMEOUT = 30.0  # s to wait while another process writes
DATABASE = "journal.sqlite"
LOG = "download.log"
LOG_MAX = 20_000_000  # bytes; then it becomes download.log.1, in place of the one before


class State(StrEnum):
    """Where an attempt stands; the words are those that people read in `list --jobs`."""

    PLANNED = "planned"
    CREATING = "creating"  # the order is on its way: a job may exist
    CREATED = "created"
    STARTING = "starting"  # the start is on its way: the job may run
    QUEUED = "queued"
    RUNNING = "running"
    ERROR = "error"  # ended at the back end; its log has yet to say why
    FINISHED = "finished"
    DOUBTFUL = "doubtful"  # finished and lists no file, though the catalogue has an image
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    ARCHIVED = "archived"
    EMPTY = "no data"
    FAILED = "failed"


ENDS = frozenset({State.ARCHIVED, State.EMPTY, State.FAILED})


class JournalError(ValueError):
    """The journal cannot be used; the message says which file and what to do."""


@dataclass(frozen=True)
class Row:
    """One attempt at one chunk; times are seconds since 1970-01-01 UTC."""

    id: int
    backend: str  # "cdse", "sandbox" or the URL: a label, since ports change
    chunk: Chunk
    digest: str  # of the order: other bands or another tile size are another order
    attempt: int  # 1, 2, ... over all runs
    tries: int  # 1, 2, ... since it was last asked for
    title: str  # of the job at the back end; unique
    state: State
    job_id: str | None
    reason: str  # of a failure, or what the back end said last
    changed: float
    started: float | None
    finished: float | None
    ended: float | None
    bytes: int | None
    credits: float | None
    noticed: float | None  # when we learned that it had finished; ``finished`` is their clock
    images: str  # what the catalogue said of them, as `download` writes it; "" if not asked
    options: str  # of the job, JSON; "" for none
    refused: int  # times that its file, though listed, was not to be had
    refused_since: float | None

    @property
    def key(self) -> tuple[str, str]:
        """What makes two rows attempts at the same thing."""
        return self.chunk.name, self.digest

    @property
    def asked(self) -> dict[str, Any]:
        """The options of the job."""
        return dict(json.loads(self.options or "{}"))

    @property
    def known(self) -> dict[str, Any]:
        """What the catalogue said of its images; nothing where it was not asked."""
        return dict(json.loads(self.images or "{}"))

    @property
    def promised(self) -> float:
        """What share of the tile the catalogue has images of; 0 where it was not asked."""
        return float(self.known.get("covered", 0.0))

    @property
    def again(self) -> bool:
        """Whether it was ordered although there was a record, which it may replace."""
        return bool(self.known.get("again"))

    @property
    def file_name(self) -> str:
        """Of its result among the raw files."""
        return f"{self.chunk.name}.{self.digest}-{self.attempt}.nc"


@dataclass(frozen=True)
class Request:
    """What somebody asked for; ``chunks`` of it were missing then."""

    backend: str
    bbox: BBox
    first: dt.date
    last: dt.date
    orbit: str | None  # None: each that there is
    chunks: int
    asked: float  # seconds since 1970-01-01 UTC
    done: int = 0  # chunks of it that were not missing
    catalogue: str | None = None  # its address if one was named, "" for the usual; None: not asked
    max_credits: float | None = None
    collection: str = ""  # "": not known, of before there were others than Sentinel-1
    bands: str = ""  # with commas
    max_cloud: float | None = None


_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    backend TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,
    west REAL NOT NULL, south REAL NOT NULL, east REAL NOT NULL, north REAL NOT NULL,
    day TEXT NOT NULL, orbit TEXT NOT NULL,
    attempt INTEGER NOT NULL, tries INTEGER NOT NULL,
    title TEXT NOT NULL, state TEXT NOT NULL, job_id TEXT, reason TEXT NOT NULL DEFAULT '',
    changed REAL NOT NULL, started REAL, finished REAL, ended REAL,
    bytes INTEGER, credits REAL,
    UNIQUE (backend, name, digest, attempt), UNIQUE (backend, title)
);
CREATE INDEX by_state ON attempts (backend, state);
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    backend TEXT NOT NULL, bbox TEXT NOT NULL, first TEXT NOT NULL, last TEXT NOT NULL,
    orbit TEXT NOT NULL, chunks INTEGER NOT NULL, asked REAL NOT NULL, closed REAL
);
"""
# What each version has brought; an older journal gets them one after the other.
_CHANGES = {
    2: """
ALTER TABLE attempts ADD COLUMN noticed REAL;
ALTER TABLE attempts ADD COLUMN images TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN done INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN catalogue TEXT;
ALTER TABLE requests ADD COLUMN max_credits REAL
""",
    3: """
ALTER TABLE attempts ADD COLUMN options TEXT NOT NULL DEFAULT '';
ALTER TABLE attempts ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempts ADD COLUMN refused_since REAL
""",
    4: """
ALTER TABLE requests ADD COLUMN collection TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN bands TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN max_cloud REAL
""",
    5: """
ALTER TABLE requests ADD COLUMN area TEXT NOT NULL DEFAULT ''
""",
}
_COLUMNS = (
    "id, backend, west, south, east, north, day, orbit, digest, attempt, tries, title, state, "
    "job_id, reason, changed, started, finished, ended, bytes, credits, noticed, images, "
    "options, refused, refused_since"
)
_NOTED = frozenset(
    {
        "job_id", "reason", "started", "finished", "ended", "bytes", "credits", "noticed",
        "options", "refused", "refused_since",
    }
)  # fmt: skip
_LATEST = (
    "SELECT max(attempt) FROM attempts AS other WHERE other.backend = attempts.backend "
    "AND other.name = attempts.name AND other.digest = attempts.digest"
)


class Journal:
    """The journal in ``folder``.  One process writes at a time (`download.run` sees to it)."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.time) -> None:
        self.folder = Path(folder)
        self.now = now
        self._database: sqlite3.Connection | None = None

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self.folder / DATABASE

    @property
    def log_path(self) -> Path:
        """The log, one line an event."""
        return self.folder / LOG

    @property
    def id(self) -> str:
        """Eight characters that tell this archive's jobs from those of another one."""
        with self._writing() as database:
            database.execute("INSERT OR IGNORE INTO meta VALUES ('id', ?)", (uuid.uuid4().hex[:8],))
            return str(database.execute("SELECT value FROM meta WHERE name = 'id'").fetchone()[0])

    def plan(
        self,
        backend: str,
        orders: Iterable[tuple[Chunk, str]],
        tries: int = 1,
        images: Callable[[Chunk], str] = lambda _: "",
        options: Callable[[Chunk], str] = lambda _: "",
    ) -> list[Row]:
        """A new attempt, `State.PLANNED`, for each chunk and digest, in one transaction.

        ``images`` says of each chunk what the catalogue has, ``options`` are those of its job.
        """
        archive_id = self.id
        ids = []
        with self._writing() as database:
            for chunk, digest in orders:
                key = (backend, chunk.name, digest)
                attempt = (
                    1
                    + database.execute(
                        "SELECT coalesce(max(attempt), 0) FROM attempts "
                        "WHERE backend = ? AND name = ? AND digest = ?",
                        key,
                    ).fetchone()[0]
                )
                tile = chunk.tile
                values = (
                    *key, tile.west, tile.south, tile.east, tile.north, chunk.day.isoformat(),
                    chunk.orbit, attempt, tries, f"{chunk.name} {digest}-{attempt} {archive_id}",
                    State.PLANNED, self.now(), images(chunk), options(chunk),
                )  # fmt: skip
                ids.append(
                    database.execute(
                        "INSERT INTO attempts (backend, name, digest, west, south, east, north, "
                        "day, orbit, attempt, tries, title, state, changed, images, options) "
                        f"VALUES ({', '.join('?' * len(values))})",
                        values,
                    ).lastrowid
                )
            # One transaction: nobody else's rows lie between.
            return (
                self._rows("WHERE id BETWEEN ? AND ? ORDER BY id", ids[0], ids[-1]) if ids else []
            )

    def note(self, row: Row, state: State, **fields: Any) -> Row:
        """The row in its new state, committed before this returns."""
        if unknown := fields.keys() - _NOTED:
            raise TypeError(f"no such columns: {', '.join(sorted(unknown))}")
        now = self.now()
        if state in ENDS:
            fields.setdefault("ended", now)
        fields |= {"state": state, "changed": now}
        with self._writing() as database:
            database.execute(
                f"UPDATE attempts SET {', '.join(f'{name} = ?' for name in fields)} WHERE id = ?",
                (*fields.values(), row.id),
            )
        return self._row(row.id)

    def replace(
        self,
        row: Row,
        reason: str,
        tries: int,
        digest: str | None = None,
        options: str | None = None,
    ) -> Row:
        """End an attempt as failed and plan the next one, both or neither.

        ``digest``: of another order than that of the attempt, which an older version wrote;
        ``options``: of its job, if they are others than those of the failed one.
        """
        options = row.options if options is None else options
        with self._writing():
            self.note(row, State.FAILED, reason=reason)
            return self.plan(
                row.backend, [(row.chunk, digest or row.digest)], tries, lambda _: row.images,
                lambda _: options,
            )[0]  # fmt: skip

    def latest(self, backend: str) -> dict[tuple[str, str], Row]:
        """The last attempt at each chunk, by `Row.key`."""
        rows = self._rows(f"WHERE backend = ? AND attempt = ({_LATEST})", backend)
        return {row.key: row for row in rows}

    def history(self, backend: str, limit: int) -> list[Row]:
        """The last archived attempts whose job was seen from start to end, newest first."""
        return self._rows(
            "WHERE backend = ? AND state = ? AND started NOT NULL AND finished NOT NULL "
            "AND bytes NOT NULL ORDER BY ended DESC LIMIT ?",
            backend, State.ARCHIVED, limit,
        )  # fmt: skip

    def spent(self, backend: str, since: float) -> float:
        """Credits of the jobs that were started since then, as far as they are known."""
        rows = self._rows("WHERE backend = ? AND started >= ?", backend, since)
        return sum(row.credits or 0.0 for row in rows)

    def rows(self, limit: int = -1) -> list[Row]:
        """Every attempt, or the last ``limit`` of them, the one that changed last first."""
        return self._rows("ORDER BY changed DESC, id DESC LIMIT ?", limit)

    def open_request(self, request: Request) -> int:
        """Remember what was asked for; the number closes it."""
        with self._writing() as database:
            cursor = database.execute(
                "INSERT INTO requests (backend, bbox, first, last, orbit, chunks, asked, done, "
                "catalogue, max_credits, collection, bands, max_cloud, area) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    request.backend, str(request.bbox), request.first.isoformat(),
                    request.last.isoformat(), request.orbit or "", request.chunks, request.asked,
                    request.done, request.catalogue, request.max_credits,
                    request.collection, request.bands, request.max_cloud, as_text(request.bbox),
                ),
            )  # fmt: skip
        return int(cursor.lastrowid or 0)

    def close_request(self, number: int) -> None:
        """Every chunk of the request has come to its end."""
        with self._writing() as database:
            database.execute("UPDATE requests SET closed = ? WHERE id = ?", (self.now(), number))

    def unfinished_request(self) -> Request | None:
        """The last request, if it stopped before its end."""
        return self.last_request(unfinished=True)

    def last_request(self, unfinished: bool = False) -> Request | None:
        """The last request; or None if it has come to its end, where only others are wanted."""
        with self._reading() as database:
            found = (
                database
                and database.execute(
                    "SELECT closed, area, backend, bbox, first, last, orbit, chunks, asked, done, "
                    "catalogue, max_credits, collection, bands, max_cloud "
                    "FROM requests ORDER BY id DESC LIMIT 1"
                ).fetchone()
            )
        if not found or (unfinished and found[0] is not None):
            return None
        area, backend, bbox, first, last, orbit, *more = found[1:]
        dates = dt.date.fromisoformat(first), dt.date.fromisoformat(last)
        place = from_text(area) or BBox.parse(bbox)
        return Request(backend, place, *dates, orbit or None, *more)

    def left_of(self, request: Request) -> list[Chunk]:
        """The chunks of a request that have not come to their end."""
        chunks = [
            row.chunk
            for row in self.latest(request.backend).values()
            if row.state not in ENDS
            and request.first <= row.chunk.day <= request.last
            and request.orbit in (None, row.chunk.orbit)
        ]
        tiles = set(touched(request.bbox, list({chunk.tile for chunk in chunks})))
        return [chunk for chunk in chunks if chunk.tile in tiles]

    def log(self, text: str, chunk: Chunk | None = None, job_id: str | None = None) -> None:
        """One line in the log: time, chunk, job, and the words on a single line."""
        stamp = dt.datetime.fromtimestamp(self.now(), dt.UTC).isoformat(timespec="milliseconds")
        who = f"{chunk.name if chunk else '-'} {job_id or '-'}"
        line = f"{stamp} {who} {' '.join(text.split())}\n"
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("a", encoding="utf-8") as log:
            log.write(line)
            full = log.tell() >= LOG_MAX
        if full:
            self.log_path.replace(f"{self.log_path}.1")

    def close(self) -> None:
        """Let go of the files."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _row(self, id_: int) -> Row:
        return self._rows("WHERE id = ?", id_)[0]

    def _rows(self, clause: str, *values: Any) -> list[Row]:
        with self._reading() as database:
            if database is None:
                return []
            query = f"SELECT {_COLUMNS} FROM attempts {clause}"
            return [_as_row(found) for found in database.execute(query, values)]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if self._database is None and not self.path.exists():
            yield None
            return
        with self._explained():
            yield self._open()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; inside another one it is a part of that."""
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            database = self._open()
            nested = database.in_transaction
            if nested:
                yield database
                return
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        # The scheduler's thread writes, the one that made the journal reads before and after.
        database = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            self._prepare(database)
        except BaseException:
            database.close()
            raise
        self._database = database
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise JournalError(
                f"{self.path} was written by a newer version of this program (journal version "
                f"{version}, this one knows {VERSION}). Nothing was changed; update the program."
            )
        if version == VERSION:
            return
        # executescript would commit by itself: two processes may get here at once.
        database.execute("BEGIN IMMEDIATE")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        tables = [_TABLES] if version == 0 else []
        changes = [_CHANGES[number] for number in range(max(version, 1) + 1, VERSION + 1)]
        for statement in ";".join((*tables, *changes)).split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")
        database.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words, and a full disk as the OSError that it is."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise OSError(
                    errno.ENOSPC,
                    f"The disk is full: {self.path} cannot be written. Everything that was "
                    "noted is kept. Free some space and run the same command to go on.",
                ) from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise JournalError(
                    f"{self.path} is damaged ({error}). The archive is not affected. Move the "
                    "file away to go on; jobs that it remembers will be ordered again."
                ) from error
            raise JournalError(f"{self.path} cannot be used: {error}.") from error


def _as_row(found: tuple[Any, ...]) -> Row:
    id_, backend, west, south, east, north, day, orbit, digest, attempt, tries, title = found[:12]
    chunk = Chunk(Tile(west, south, east, north), dt.date.fromisoformat(day), orbit)
    return Row(id_, backend, chunk, digest, attempt, tries, title, State(found[12]), *found[13:])
