"""A tile as it stands: its arrays, the slots along its time axis, and what is in which.

What is here is plain: `recovery` reads the other copy of what is damaged, `record` what the
shards of a slot hold.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from archive.packing import DamageError, read_texts, read_values
from archive.passes import ACQUIRED_BEGIN, UNKNOWN, passes_of
from archive.passes import NO_TIME as NO_TIME  # also that of a removed record
from archive.storage import Bytes, Part, Storage
from grid import ORBITS, Chunk, Tile
from shared.counts import MISSING, missing_of

NOTHING = -1  # what ``time`` and ``orbit`` hold where nothing was written
LOST = json.dumps({"source": "unknown: its provenance was lost with a damaged file"})
EPOCH = dt.date(1970, 1, 1)


@dataclass(eq=False)
class Group:
    """A tile's group: its metadata, and the key of the record in each of its slots."""

    tile: Tile
    storage: Storage
    metadata: dict[str, Any]  # the zarr.json with consolidated metadata
    times: npt.NDArray[np.int64]  # seconds since 1970; NO_TIME: removed
    orbits: npt.NDArray[np.int8]  # index into ORBITS
    files: dict[str, Bytes | None] = field(default_factory=dict)  # fetched ahead

    @classmethod
    def open(cls, storage: Storage, tile: Tile, ahead: Sequence[str]) -> Group | None:
        """The group as committed last, without its slots; None if there is none.

        ``ahead`` names small arrays of which the files are to be fetched together.  Raises
        DamageError.
        """
        try:
            data = storage.get(f"{tile.name}/zarr.json")
            if data is None:
                return None
            group = cls(tile, storage, json.loads(data), np.empty(0, np.int64), np.empty(0, "i1"))
            keys = [key for name in ahead for key, _ in group.small(name)]
        except (ValueError, KeyError, TypeError) as error:
            raise DamageError(f"it is not readable ({error})", "zarr.json") from error
        group.files.update(zip(keys, storage.fetch([Part(key) for key in keys]), strict=True))
        return group

    # --- arrays ---

    @property
    def arrays(self) -> dict[str, dict[str, Any]]:
        """Metadata by array."""
        arrays: dict[str, dict[str, Any]] = self.metadata["consolidated_metadata"]["metadata"]
        return arrays

    @property
    def pix_len(self) -> int:
        """Cells of the tile."""
        return self.size("count")

    @property
    def runs_len(self) -> int:
        """Runs that spell the tile's cells."""
        return int(self.arrays["run_len"]["shape"][0])

    @property
    def cell_arrays(self) -> list[str]:
        """The arrays of which each record has a shard: the bands, count, and the overviews'."""
        dims = {name: array.get("dimension_names", []) for name, array in self.arrays.items()}
        return [name for name, dim in dims.items() if len(dim) == 2 and dim[0] == "time"]

    @property
    def has_gaps(self) -> bool:
        """Whether there are arrays for the pixels without a value in a band."""
        return any("/" not in name and missing_of(name) in self.arrays for name in self.arrays)

    @property
    def id_arrays(self) -> list[str]:
        """The arrays of ids, of the tile and of its overviews."""
        return ["cell_ids", *(f"{level}/cell_ids" for level in self.coarser)]

    @property
    def coarser(self) -> list[int]:
        """The levels of the overviews that the tile has arrays for, finest first."""
        return sorted((int(name) for name in self.arrays if name.isdecimal()), reverse=True)

    def size(self, name: str) -> int:
        """How many cells an array of cells has."""
        return int(self.arrays[name]["shape"][-1])

    def shard(self, name: str, slot: int) -> str:
        """The key of one variable of one record."""
        return f"{self.tile.name}/{name}/c/{slot}/0"

    def shard_sizes(self, slot: int) -> dict[str, int]:
        """The bytes of each variable of one record; 0 where there is no file."""
        names = self.cell_arrays
        sizes = self.storage.sizes([self.shard(name, slot) for name in names])
        return {name: size or 0 for name, size in zip(names, sizes, strict=True)}

    # --- slots ---

    @property
    def counted(self) -> int:
        """How many slots the metadata counts."""
        return int(self.arrays["time"]["shape"][0])

    def lengthen(self) -> None:
        """Have the metadata say how many slots there are."""
        for array in self.arrays.values():
            if (array.get("dimension_names") or [""])[0] == "time":
                array["shape"][0] = len(self.times)

    def slots(self, chunk: Chunk) -> list[int]:
        """The slots of a chunk: none, one, or more if it was replaced; the last one counts."""
        time, orbit = key_of(chunk)
        return [int(i) for i in np.flatnonzero((self.times == time) & (self.orbits == orbit))]

    def live(self) -> dict[int, tuple[int, int]]:
        """The slots that hold a record, with its time and orbit."""
        keys = zip(self.times.tolist(), self.orbits.tolist(), strict=True)
        last = {pair: slot for slot, pair in enumerate(keys) if pair[0] != NO_TIME}
        return {slot: pair for pair, slot in last.items()}

    def records(self) -> dict[Chunk, int]:
        """The slot of each record, by day and orbit."""
        found = {
            Chunk(self.tile, EPOCH + dt.timedelta(seconds=time), ORBITS[orbit]): slot
            for slot, (time, orbit) in self.live().items()
        }
        return dict(sorted(found.items()))

    # --- provenance ---

    def about(self, slots: Iterable[int]) -> list[dict[str, Any]]:
        """What is known of these slots' records."""
        texts = self.texts()
        return [json.loads(texts[slot] or "{}") for slot in slots]

    def written(self, about: Mapping[str, Any]) -> list[str]:
        """The arrays that a record was written to, by what is known of it."""
        sizes = about.get("bytes")
        usual = [n for n in self.cell_arrays if "/" not in n and not n.endswith(MISSING)]
        return [n for n in self.cell_arrays if n in sizes] if sizes else usual

    def texts(self) -> list[str]:
        """The provenance of each slot as JSON; "" where it is removed, LOST where damaged."""
        texts: list[str] = []
        size = len(self.times)
        rows = self.small("provenance", size)
        for data, (_, part) in zip(self._fetch("provenance", size), rows, strict=True):
            try:
                texts += read_texts(data, part)
            except DamageError:
                times = self.times[len(texts) : len(texts) + part]
                texts += ["" if time == NO_TIME else LOST for time in times]
        return texts

    def whole_texts(self, size: int, name: str = "provenance") -> list[str]:
        """The provenance of the first slots as JSON, or other texts.  Raises DamageError."""
        with _naming(name):
            found = zip(self._fetch(name, size), self.small(name, size), strict=True)
            return [text for data, (_, n) in found for text in read_texts(data, n)]

    # --- when and by what the images were taken ---

    @property
    def timed(self) -> int:
        """How many slots have rows that say so; of a tile of before there are none."""
        return int(self.arrays[ACQUIRED_BEGIN]["shape"][0]) if ACQUIRED_BEGIN in self.arrays else 0

    def passes(self, texts: Sequence[str], first: int = 0) -> dict[str, list[Any]]:
        """The rows that say so, by array, of the slots from one on; ``texts``: of all slots.

        They follow from the provenance; where that was lost, they are as they are stored.
        """
        rows = [passes_of(json.loads(text or "{}")).row for text in texts[first:]]
        found = {name: [row[name] for row in rows] for name in UNKNOWN}
        if LOST in texts[first : self.timed]:
            for name, values in found.items():
                for slot, value in enumerate(self._stored_passes(name)[first:], first):
                    if texts[slot] == LOST:
                        values[slot - first] = value
        return found

    def check_passes(self, name: str, size: int) -> Sequence[Any]:
        """The first values of one of these rows, as they are stored.  Raises DamageError."""
        if self.is_text(name):
            return self.whole_texts(size, name)
        return list(self.values(name, self.arrays[name]["data_type"], size).tolist())

    def _stored_passes(self, name: str) -> Sequence[Any]:
        """The same of all slots that have any; nothing where they are damaged, too."""
        try:
            return self.check_passes(name, self.timed)
        except DamageError:
            return ()

    # --- arrays of one dimension ---

    def values(self, name: str, dtype: str, size: int) -> npt.NDArray[Any]:
        """The first values of an array of one dimension.  Raises DamageError."""
        with _naming(name):
            found = zip(self._fetch(name, size), self.small(name, size), strict=True)
            parts = [read_values(data, dtype, n) for data, (_, n) in found]
            return np.concatenate([np.empty(0, dtype), *parts])

    def small(self, name: str, size: int | None = None) -> list[tuple[str, int]]:
        """The files of an array of one dimension, and how many values to take of each."""
        size = int(self.arrays[name]["shape"][0]) if size is None else size
        rows = self.rows(name)
        folder = f"{self.tile.name}/{name}/c"
        return [(f"{folder}/{i // rows}", min(rows, size - i)) for i in range(0, size, rows)]

    def is_text(self, name: str) -> bool:
        """Whether an array holds texts."""
        return bool(self.arrays[name]["data_type"] == "string")

    def rows(self, name: str) -> int:
        """How many values a file of an array of one dimension holds."""
        return int(self.arrays[name]["chunk_grid"]["configuration"]["chunk_shape"][0])

    def _fetch(self, name: str, size: int) -> list[Bytes | None]:
        """The files of an array of one dimension."""
        keys = [key for key, _ in self.small(name, size)]
        if all(key in self.files for key in keys):
            return [self.files[key] for key in keys]
        return self.storage.fetch([Part(key) for key in keys])


def key_of(chunk: Chunk) -> tuple[int, int]:
    """What ``time`` and ``orbit`` hold for a chunk."""
    return (chunk.day - EPOCH).days * 86400, ORBITS.index(chunk.orbit)


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Have a DamageError say which variable it is about."""
    try:
        yield
    except DamageError as error:
        raise DamageError(error.reason, name) from error
