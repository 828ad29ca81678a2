"""What an archive holds, as this computer remembers it.

To list an archive, three small files of each tile are read; of a continent that takes half a
minute.  So what was found is kept in a file of the user's cache: the rows of each tile's
records, with the state of the files that every change of the tile replaces (`stamp_of`).

That file is derived, and never trusted over the archive.  A tile whose files are in another
state is read again, one that is gone is forgotten.  Where it is missing, damaged, of another
version, locked, or cannot be written, all is read from the archive, as it is for one in an
object store, where asking for a state takes as long as reading.

Nothing heavy is imported here unless something has to be read: this is what stands between
a command and its first line.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from archive.layout import Layout, parsed
from archive.listing import RECORD_COLUMNS, Row
from grid import FROM_FILE, ORBITS, Chunk, Tile
from shared.files import name_about

BUSY = 1.0  # s to wait for another process that writes the same file
COLUMNS = "name, stamp, records, size, about, keys, lines"
FACTS = ("kinds", "backend", "partial", "files", "bands", "sources")
VERSION = zlib.crc32(repr((COLUMNS, FACTS, RECORD_COLUMNS)).encode()) & 0x7FFF_FFFF

Read = Callable[[list[Tile]], Iterable[tuple[Tile, list[Row]]]]
Keep = Callable[[dt.date, str], bool]  # whether a record of a day and orbit is meant
Key = tuple[int, int]  # the day's ordinal number, and the orbit's place in ORBITS


@dataclass(frozen=True)
class Held:
    """The records of one tile."""

    name: str
    stamp: str
    records: int
    size: int  # bytes on disk
    about: str  # JSON: the `FACTS`; `backend` is the last known
    keys: bytes  # JSON: the key of each record
    lines: bytes | None = None  # JSON lines, deflated; None: in the file

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What else is known of them together."""
        return dict(json.loads(self.about))

    @property
    def text(self) -> str:
        """The rows as JSON, one a line; "" where they are in the file, or of no use."""
        try:
            return zlib.decompress(self.lines).decode() if self.lines else ""
        except (zlib.error, UnicodeDecodeError):
            return ""

    @cached_property
    def days(self) -> set[Key]:
        """Day and orbit of each record."""
        return set(self.ordered)

    @property
    def ordered(self) -> list[Key]:
        """The same in the order of the rows."""
        return [(day, orbit) for day, orbit in json.loads(self.keys)]

    @property
    def dates(self) -> set[dt.date]:
        """The days of its records."""
        return {day_of(day) for day, _ in self.days}


class Holdings:
    """The records of an archive at one moment, by tile, from west to east."""

    def __init__(
        self,
        layout: Layout,
        tiles: list[Held],
        memory: Memory | None = None,
        read: Read | None = None,
    ) -> None:
        self.layout, self.tiles, self._memory, self._read = layout, tiles, memory, read
        self._keep: Keep | None = None

    def some(self, names: Collection[str] | None, keep: Keep) -> Holdings:
        """Those records of the named tiles, or of all, whose day and orbit are kept."""
        tiles = [held for held in self.tiles if names is None or held.name in names]
        chosen = Holdings(self.layout, [], self._memory, self._read)
        chosen._keep = keep
        chosen.tiles = [held for held in tiles if any(map(chosen._keeps, held.days))]
        return chosen

    def _keeps(self, key: Key) -> bool:
        return self._keep is None or self._keep(day_of(key[0]), ORBITS[key[1]])

    @property
    def records(self) -> int:
        """How many there are."""
        if self._keep is None:
            return sum(held.records for held in self.tiles)
        return sum(self._keeps(key) for held in self.tiles for key in held.days)

    @property
    def size(self) -> int:
        """The bytes that they take on disk."""
        if self._keep is None:
            return sum(held.size for held in self.tiles)
        return sum(row["bytes"] for row in self.rows())

    def chunks(self) -> Iterator[Chunk]:
        """The records, by tile and day."""
        for held in self.tiles:
            yield from (self._chunk(held, key) for key in held.ordered if self._keeps(key))

    @cached_property
    def by_tile(self) -> dict[str, Held]:
        """The tiles that have a record, by their names."""
        return {held.name: held for held in self.tiles}

    def has(self, chunk: Chunk) -> bool:
        """Whether there is a record of this chunk."""
        held = self.by_tile.get(chunk.tile.name)
        return held is not None and key_of(chunk.day, chunk.orbit) in held.days

    def last_day(self, name: str) -> dt.date:
        """The day of the newest record of a tile that has one."""
        return dt.date.fromordinal(max(day for day, _ in self.by_tile[name].days))

    @property
    def kinds(self) -> set[bool | None]:
        """Whether records are synthetic; None: not known of some."""
        return {kind for held in self.tiles for kind in held.facts["kinds"]}

    @property
    def last_back_end(self) -> str | None:
        """Where the last record, by tile and day, of which that is known came from."""
        known = (held.facts["backend"] for held in reversed(self.tiles))
        return next(filter(None, known), None)

    @property
    def partial(self) -> list[Chunk]:
        """The records that show much less than the catalogue promised."""
        return [self._chunk(held, key) for held in self.tiles for key in held.facts["partial"]]

    @property
    def of_files(self) -> dict[Chunk, float]:
        """The records that are made of files, and what share of its tile each shows."""
        return {
            self._chunk(held, key): seen for held in self.tiles for key, seen in held.facts["files"]
        }

    def _chunk(self, held: Held, key: Key) -> Chunk:
        tile = Tile.from_name(held.name, self.layout.chunk_size)
        return Chunk(tile, day_of(key[0]), ORBITS[key[1]])

    def lines(self) -> Iterator[str]:
        """Each record as JSON, by tile and day; a tile at a time is in memory."""
        for held in self.tiles:
            lines = (held.text or self._text(held)).splitlines()
            if self._keep is None:
                yield from lines
                continue
            yield from (
                line for line, key in zip(lines, held.ordered, strict=True) if self._keeps(key)
            )

    def rows(self) -> Iterator[Row]:
        """Each record by `RECORD_COLUMNS`, its day as text."""
        return map(json.loads, self.lines())

    def _text(self, held: Held) -> str:
        """The rows of a tile that is remembered; read again if it was forgotten meanwhile."""
        assert self._memory is not None
        assert self._read is not None
        if (remembered := self._memory.whole(held)).text:
            return remembered.text
        tile = Tile.from_name(held.name, self.layout.chunk_size)
        return "".join(_held(tile, "", rows).text for _, rows in self._read([tile]))


def of_folder(path: Path, memory: Path | None, read: Read) -> Holdings | None:
    """What the archive in a folder holds; None if there is none.

    ``memory`` is the file to remember it in; ``read`` gives the rows of the tiles that are
    not, or no longer, remembered.  Raises ArchiveError as of `layout.parsed`, and what
    ``read`` raises.
    """
    try:
        layout = parsed((path / "zarr.json").read_bytes(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Stamps are taken before anything is read: what is written meanwhile is read again next time.
    tiles = _tiles(path, layout)
    stamps = {tile.name: stamp for tile, stamp in tiles.items()}
    with contextlib.closing(Memory(memory)) as known:
        held = {h.name: h for h in known.recall() if stamps.get(h.name) == h.stamp}
        missing = [tile for tile in tiles if tile.name not in held]
        fresh = {}
        if missing:
            fresh = {
                tile.name: _held(tile, stamps[tile.name], rows) for tile, rows in read(missing)
            }
        known.keep(fresh.values(), stamps)
    there = [(held | fresh).get(tile.name) for tile in sorted(tiles)]
    return Holdings(layout, [each for each in there if each and each.records], known, read)


def of_others(layout: Layout, found: Iterable[tuple[Tile, list[Row]]]) -> Holdings:
    """The same of rows that were read elsewhere, say in an object store."""
    held = [_held(tile, "", rows) for tile, rows in sorted(found, key=lambda pair: pair[0])]
    return Holdings(layout, [each for each in held if each.records])


def memory_of(path: Path, folder: Path) -> Path:
    """The file, in a folder of the user's, that remembers the archive at a path."""
    return folder / f"{name_about(path.name, str(path.resolve()))}.sqlite"


def usual_memory(path: Path) -> Path:
    """The file in the user's cache that remembers the archive at a path."""
    from platformdirs import user_cache_path

    return memory_of(path, user_cache_path("sentinel1-healpix") / "archives")


class Memory:
    """The file in which tiles are remembered.  Whatever is the matter with it: it is empty."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None

    def recall(self) -> list[Held]:
        """All that is remembered, but for the rows."""
        found: list[Held] = []
        with self._forgiving():
            database = self._open()
            database.execute(f"CREATE TABLE IF NOT EXISTS tiles ({COLUMNS}, PRIMARY KEY (name))")
            rows = database.execute(f"SELECT {COLUMNS.rpartition(',')[0]} FROM tiles")
            found.extend(Held(*row) for row in rows)
        return found

    def keep(self, fresh: Iterable[Held], stamps: Mapping[str, str]) -> None:
        """Remember these tiles, and forget those that are gone."""
        rows = [(h.name, h.stamp, h.records, h.size, h.about, h.keys, h.lines) for h in fresh]
        with self._forgiving():
            database = self._open()
            there = {name for (name,) in database.execute("SELECT name FROM tiles")}
            gone = [(name,) for name in there - set(stamps)]
            if not rows and not gone:
                return
            with database:
                database.execute("BEGIN IMMEDIATE")
                database.executemany("DELETE FROM tiles WHERE name = ?", gone)
                database.executemany("INSERT OR REPLACE INTO tiles VALUES (?,?,?,?,?,?,?)", rows)

    def whole(self, held: Held) -> Held:
        """A tile that is remembered, with its rows, if they still are."""
        found = None
        with self._forgiving():
            query = "SELECT lines FROM tiles WHERE name = ? AND stamp = ?"
            found = self._open().execute(query, (held.name, held.stamp)).fetchone()
        return replace(held, lines=bytes(found[0]) if found else None)

    def close(self) -> None:
        """Let the file go; it is opened again when it is needed."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            if self._path is None:
                raise sqlite3.OperationalError("there is no memory")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=BUSY, isolation_level=None)
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                self._database.execute("DROP TABLE IF EXISTS tiles")
                self._database.execute(f"PRAGMA user_version = {VERSION}")
        return self._database

    @contextlib.contextmanager
    def _forgiving(self) -> Iterator[None]:
        """A file that is damaged is removed; one that cannot be used is left alone."""
        try:
            yield
        except sqlite3.OperationalError:  # locked, read-only, no room: not damaged
            self.close()
        except sqlite3.DatabaseError:
            self.close()
            if self._path is not None:
                with contextlib.suppress(OSError):
                    self._path.unlink()
        except OSError:
            self.close()


def _tiles(path: Path, layout: Layout) -> dict[Tile, str]:
    """The tiles in a folder that have metadata, each with the state of its files."""
    found = {}
    for name in os.listdir(path):  # noqa: PTH208 (a Path for each takes as long as all the rest)
        with contextlib.suppress(ValueError, FileNotFoundError, NotADirectoryError):
            tile = Tile.from_name(name, layout.chunk_size)
            found[tile] = stamp_of(f"{path}/{name}")
    return found


def stamp_of(folder: str) -> str:
    """The state of the files that changes replace: a write the metadata, a removal the times.

    Each replacement is a new file, so its inode differs, whatever the clock says.
    """
    states = [_state(f"{folder}/zarr.json", os.stat(f"{folder}/zarr.json"))]  # noqa: PTH116
    with contextlib.suppress(FileNotFoundError), os.scandir(f"{folder}/time/c") as entries:
        states += sorted(_state(entry.name, entry.stat()) for entry in entries)
    return " ".join(states)


def _state(name: str, of: os.stat_result) -> str:
    return f"{name.rpartition('/')[2]}:{of.st_ino}:{of.st_mtime_ns}:{of.st_size}"


def _held(tile: Tile, stamp: str, rows: list[Row]) -> Held:
    keys = [key_of(row["day"], row["orbit"]) for row in rows]
    about: dict[str, Any] = {
        "kinds": list({row["synthetic"]: None for row in rows}),
        "backend": next(
            (r["backend"] for r in reversed(rows) if r["backend"] not in (None, "", FROM_FILE)),
            None,
        ),
        "partial": [key for key, row in zip(keys, rows, strict=True) if row["partial"]],
        "files": [
            (key, row["seen"] or 0.0)
            for key, row in zip(keys, rows, strict=True)
            if row["backend"] == FROM_FILE
        ],
    }
    about |= {
        "bands": list({row["bands"]: None for row in rows}),
        "sources": list({(row["backend"], row["synthetic"]): None for row in rows}),
    }
    lines = "\n".join(json.dumps(row | {"orbit_state": row["orbit"]}, default=str) for row in rows)
    return Held(
        tile.name, stamp, len(rows), sum(row["bytes"] for row in rows), json.dumps(about),
        json.dumps(keys).encode(), zlib.compress(lines.encode(), 1),
    )  # fmt: skip


def key_of(day: dt.date, orbit: str) -> Key:
    """What a record is known by, as keys have it."""
    return day.toordinal(), ORBITS.index(orbit)


def day_of(ordinal: int) -> dt.date:
    """The day with an ordinal number, as keys have it."""
    return dt.date.fromordinal(ordinal)
