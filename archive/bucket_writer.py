"""Changing a tile in an object store: no locks, many writers, nothing half there.

Of what a file system has an object store has two things: an object appears wholly or not at
all, and a put can be made to depend on what is there.  So a write

1. claims a slot: it makes ``.slots/<n>``, which only one can, and takes the next n otherwise;
2. puts the shards of its slot, where nobody looks yet;
3. sets its rows, of ``time`` last: it reads the file,
   changes its own row, and puts it if nobody has changed it meanwhile, else it begins again;
4. has the tile's ``zarr.json`` say that there are n + 1 slots, in the same way.

A record is there when its row of ``time`` is a day and ``zarr.json`` counts its slot.  Who is
slower than the writer of slot n + 1 finds that its own row already counts, as a removed one;
it becomes a day by step 3.  A removal makes it a removed one again, for good: a slot is never
used twice.  Who finds in step 3 that another writer was faster with the same day takes back
what it put, having made sure of step 4 for the other one.

A killed writer leaves a claim and shards where nobody looks.  Whoever writes a day later
removes them: a writer that took as long as half a day would have given up.  Claims of records
stay as long, for a writer that looked before they were committed.
"""

from __future__ import annotations

import contextlib
import copy
import datetime as dt
import json
import random
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from archive import arrays, record
from archive import layout as layouts
from archive.layout import ArchiveError, Layout
from archive.packing import DamageError, read_texts, read_values
from archive.passes import UNKNOWN, passes_of
from archive.storage import Bucket, Tag
from archive.tile import NO_TIME, NOTHING, Group, key_of
from archive.tile_writer import NEXT_SLOT, TileWriter, add_arrays, ids_of
from grid import Chunk, Provenance, Tile
from healpix.arrays import Runs

if TYPE_CHECKING:
    import xarray as xr

CLAIMS = ".slots"  # the folder, in a tile, of the slots that were given away
TURNS = 200  # attempts at a change that others keep getting in before
STALE = dt.timedelta(days=1)  # after which a claim without a record is that of a dead writer
GIVE_UP = 12 * 3600  # seconds; a writer that took longer takes itself for dead


class _TakenError(Exception):
    """Another writer was faster with the same chunk; the slot that it used."""


class BucketWriter(TileWriter):
    """What is done to a tile in an object store, while others may do so, too."""

    def __init__(
        self, bucket: Bucket, layout: Layout, tile: Tile, load: Callable[[], Group | None]
    ) -> None:
        super().__init__(bucket, layout, tile, load)
        self._bucket = bucket

    def write(
        self,
        chunk: Chunk,
        cells: xr.Dataset,
        provenance: Provenance | None,
        replace: bool,
        instead_of: int | None,
    ) -> bool:
        """Add a record; False if there is one of this chunk already: see `store.Archive.write`."""
        began = time.time()
        group = self._load()
        if not self._may_write(group.slots(chunk) if group else [], replace, instead_of):
            return False
        group = self._prepare(group, cells)
        slot = self._claim(len(group.times))
        try:
            text = self._put_shards(group, slot, chunk, cells, provenance)
            self._set_passes(group, slot, text)
            self._set_row(group, "provenance", slot, text, missing="")
            self._set_row(group, "orbit", slot, key_of(chunk)[1], missing=NOTHING)
            if time.time() - began > GIVE_UP:
                raise TimeoutError(f"{chunk}: writing took more than {GIVE_UP // 3600} hours.")
        except BaseException:
            with contextlib.suppress(OSError):
                self._discard_shards(group, [slot])
            raise
        # From here on the record may count although the answer that says so was lost: an error
        # leaves its files where they are.
        try:
            self._set_time(group, slot, chunk, replace, instead_of)
        except _TakenError as taken:
            self._lengthen(group, int(taken.args[0]) + 1)
            self._forget(group, [slot])
            return False
        self._lengthen(group, slot + 1)
        with contextlib.suppress(OSError):  # the next writer makes up for it
            self._tidy(chunk, slot, replace or instead_of is not None)
        return True

    def remove(self, chunk: Chunk) -> bool:
        """Remove a record; False if there is none.  The tile stays, also without a record."""
        group = self._load()
        slots = group.slots(chunk) if group else []
        if group is not None:
            self._forget(group, slots)
        return bool(slots)

    def clear(self) -> None:
        """Remove all records.  A tile whose metadata is damaged is removed, too."""
        with contextlib.suppress(ArchiveError):
            group = self._load()
            if group is not None:
                self._forget(group, list(group.live()))
            return
        name = self._tile.name
        there = self._bucket.below(name)
        slots = [key.split("/c/")[-1].partition("/")[0] for key in there if "/c/" in key]
        slots += [key.rpartition("/")[2] for key in there if f"/{CLAIMS}/" in key]
        number = max((int(slot) + 1 for slot in slots if slot.isdecimal()), default=0)
        self._bucket.put(f"{name}/{NEXT_SLOT}", str(number).encode())
        self._bucket.discard([f"{name}/zarr.json"])
        self._bucket.discard([key for key in there if f"/{CLAIMS}/" not in key])

    # --- steps of a write ---

    def _put_index(self, group: Group, runs: Runs) -> None:
        """The cells, the same whoever puts them."""
        files = arrays.packed(group, "start_ipix", runs[0])
        files |= arrays.packed(group, "run_len", runs[1])
        for name, ids in ids_of(group, runs):
            files |= arrays.packed(group, name, ids)
        self._bucket.put_all(files.items())

    def _claim(self, slot: int) -> int:
        """A slot that is nobody else's, this one or a later one."""
        token = uuid.uuid4().hex.encode()
        while True:
            key = f"{self._tile.name}/{CLAIMS}/{slot}"
            # An answer may be lost and the put tried again: then it is there, and ours.
            if self._bucket.put_if(key, token, None) or self._bucket.get(key) == token:
                return slot
            slot += 1

    def _put_shards(
        self,
        group: Group,
        slot: int,
        chunk: Chunk,
        cells: xr.Dataset,
        provenance: Provenance | None,
    ) -> str:
        """Put the files of a slot; the text that says where they are from."""
        found = dict(record.shards_of(cells, group, self._layout))
        self._bucket.put_all((group.shard(name, slot), data) for name, data in found.items())
        sizes = {name: len(found.get(name, b"")) for name in group.cell_arrays}
        return record.text_of(chunk, cells, sizes, provenance)

    def _set_row(self, group: Group, name: str, slot: int, value: Any, missing: Any) -> None:
        """Set a slot's row, and make those before it that nobody has set yet ``missing``.

        Its own, too, where the value is None.
        """
        fill = group.arrays[name]["fill_value"]

        def change(values: list[Any], place: int) -> bool:
            before = list(values)
            values[place] = values[place] if value is None else value
            values[: place + 1] = [missing if v == fill else v for v in values[: place + 1]]
            return values != before

        self._change_rows(group, name, slot, change)

    def _set_passes(self, group: Group, slot: int, text: str) -> None:
        """Say when and by what its images were taken, and those of a tile of before."""
        if not group.timed:
            texts = group.texts()
            for name, known in group.passes(texts).items():
                for first in range(0, len(texts), group.rows(name)):
                    self._fill_rows(group, name, first, known[first : first + group.rows(name)])
        for name, value in passes_of(json.loads(text)).row.items():
            self._set_row(group, name, slot, value, missing=UNKNOWN[name])

    def _fill_rows(self, group: Group, name: str, first: int, known: list[Any]) -> None:
        """Set the rows of a file that nobody has set yet, as far as they are known."""

        def change(values: list[Any], _place: int) -> bool:
            before = list(values)
            for i, value in enumerate(known):
                values[i] = value if values[i] == UNKNOWN[name] else values[i]
            return values != before

        self._change_rows(group, name, first, change)

    def _set_time(
        self, group: Group, slot: int, chunk: Chunk, replace: bool, instead_of: int | None
    ) -> None:
        """Have a slot's record count.  Raises _TakenError if there is another of its chunk."""
        seconds, orbit = key_of(chunk)
        rows = group.rows("time")

        def change(values: list[Any], place: int) -> bool:
            if values[place] == seconds:
                return False
            same = [i for i, value in enumerate(values) if value == seconds]
            if same and not replace:
                orbits, _ = self._read_rows(group, "orbit", slot // rows)
                for i in same:
                    if orbits[i] == orbit and slot - place + i != instead_of:
                        raise _TakenError(slot - place + i)
            values[:place] = [NO_TIME if v == NOTHING else v for v in values[:place]]
            values[place] = seconds
            return True

        for last in range(len(group.times) // rows * rows + rows - 1, slot // rows * rows, rows):
            # Where killed writers had all slots of a file.
            for name, missing in UNKNOWN.items():
                self._set_row(group, name, last, None, missing)
            self._set_row(group, "provenance", last, None, missing="")
            self._set_row(group, "orbit", last, None, missing=NOTHING)
            self._set_row(group, "time", last, None, missing=NO_TIME)
        self._change_rows(group, "time", slot, change)

    def _lengthen(self, group: Group, length: int) -> None:
        """Have the tile's metadata count this many slots, if it does not yet."""
        key = f"{self._tile.name}/zarr.json"
        for turn in range(TURNS):
            found, tag = self._bucket.get_tagged(key), None
            metadata = copy.deepcopy(group.metadata)
            if found is not None:
                tag, there = found[1], json.loads(found[0].tobytes())
                known = there["consolidated_metadata"]["metadata"]
                has = int(known["time"]["shape"][0])
                is_current = there["attributes"].get("format_version") == self._layout.version
                if has >= length and group.arrays.keys() <= known.keys() and is_current:
                    return
                length, metadata = max(has, length), there
            rows = np.full(length, NO_TIME, np.int64), np.zeros(length, np.int8)
            longer = Group(self._tile, self._bucket, metadata, *rows)
            add_arrays(longer, group.metadata)
            if self._bucket.put_if(key, layouts.encode_json(longer.metadata), tag):
                return
            _pause(turn)
        raise self._too_busy()

    def _tidy(self, chunk: Chunk, slot: int, replace: bool) -> None:
        """What need not be done for the record to be there."""
        group = self._load()
        if group is None:
            return
        self._bucket.put_all(arrays.own_metadata(group).items())
        if replace:
            self._forget(group, [old for old in group.slots(chunk) if old < slot])
        self._sweep(group, slot)

    def _sweep(self, group: Group, own: int) -> None:
        """Remove claims that are no longer needed, and what killed writers left behind."""
        folder = f"{self._tile.name}/{CLAIMS}"
        claims = {int(k.rpartition("/")[2]): at for k, at in self._bucket.below(folder).items()}
        now = claims.get(own)  # by the clock of the object store
        stale = [slot for slot, at in claims.items() if now and now - at > STALE]
        live = group.live()
        self._discard_shards(group, [slot for slot in stale if slot not in live])
        # Slots are given away from the length on, as it was when the writer began.
        over = [slot for slot in stale if slot < len(group.times)]
        self._bucket.discard([f"{folder}/{slot}" for slot in over])

    # --- rows ---

    def _forget(self, group: Group, slots: list[int]) -> None:
        """Remove these slots' records."""
        for slot in slots:
            self._set_row(group, "time", slot, NO_TIME, missing=NO_TIME)
            self._set_row(group, "provenance", slot, "", missing="")
        self._discard_shards(group, slots)

    def _discard_shards(self, group: Group, slots: list[int]) -> None:
        names = self._shard_names(group)
        self._bucket.discard([group.shard(name, slot) for slot in slots for name in names])

    def _change_rows(
        self, group: Group, name: str, slot: int, change: Callable[[list[Any], int], bool]
    ) -> None:
        """Change the file that a slot's row is in; again if another writer was faster.

        ``change`` gets its values and the row's place among them, and says whether it
        changed anything.
        """
        number, place = divmod(slot, group.rows(name))
        for turn in range(TURNS):
            values, tag = self._read_rows(group, name, number)
            if not change(values, place) and tag is not None:
                return
            data = arrays.packed_rows(group, name, values)
            if self._bucket.put_if(self._rows_key(name, number), data, tag):
                return
            _pause(turn)
        raise self._too_busy()

    def _read_rows(self, group: Group, name: str, number: int) -> tuple[list[Any], Tag | None]:
        """All values of one file of rows, and its tag; the fill value if there is no file."""
        rows, array = group.rows(name), group.arrays[name]
        found = self._bucket.get_tagged(self._rows_key(name, number))
        if found is None:
            return [array["fill_value"]] * rows, None
        try:
            if group.is_text(name):
                return read_texts(found[0], rows), found[1]
            return read_values(found[0], array["data_type"], rows).tolist(), found[1]
        except DamageError as error:
            raise ArchiveError(
                f"Tile {self._tile.name} of {self._bucket.name} is damaged ({name}: {error}).  "
                "Nothing was written."
            ) from error

    def _rows_key(self, name: str, number: int) -> str:
        return f"{self._tile.name}/{name}/c/{number}"

    def _too_busy(self) -> OSError:
        return OSError(
            f"Others keep changing tile {self._tile.name} of {self._bucket.name}: {TURNS} attempts "
            "failed.  Run the same command again."
        )


def _pause(turn: int) -> None:
    """Let others get on, at random, so that two do not get in each other's way for long."""
    time.sleep(random.uniform(0, min(0.5, 0.01 * 2**turn)))
