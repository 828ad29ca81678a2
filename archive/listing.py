"""The records of an archive as rows, and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from archive.passes import ACQUIRED_BEGIN, ACQUIRED_END, passes_of
from grid import Chunk, Tile
from shared.counts import MISSING

if TYPE_CHECKING:
    import pandas as pd

    from archive.contents import Contents
    from archive.tile import Group

RECORD_COLUMNS = (
    "tile", "day", "orbit", "bands", "seen", "bytes",
    "backend", "collection", "job_id", "processed", "synthetic",
    "relative_orbits", "platforms", "acquired", "job_options", "soft_errors", "covered", "partial",
    "files", "acquired_begin", "acquired_end",
)  # fmt: skip

Row = dict[str, Any]  # by `RECORD_COLUMNS`


def records(archive: Contents, tiles: Iterable[Tile] | None = None) -> pd.DataFrame:
    """One row per record, of all tiles or of some: `RECORD_COLUMNS`.  Reads no pixel."""
    import pandas as pd

    there = of_tiles(archive, archive.named_tiles() if tiles is None else tiles)
    rows = [row for _, some in there for row in some]
    found = pd.DataFrame(rows, columns=list(RECORD_COLUMNS))
    for name in (ACQUIRED_BEGIN, ACQUIRED_END):
        found[name] = pd.to_datetime(found[name], utc=True).astype("datetime64[s, UTC]")
    return found


def of_tiles(archive: Contents, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, list[Row]]]:
    """The rows of each of these tiles that there is, by day."""
    for group in archive.groups(tiles, "provenance"):
        found = group.records()
        about = group.about(found.values())
        rows = zip(found.items(), about, strict=True)
        yield group.tile, [_row(group, chunk, slot, known) for (chunk, slot), known in rows]


def _row(group: Group, chunk: Chunk, slot: int, about: dict[str, Any]) -> Row:
    """What there is to say of a record."""
    sizes = about.get("bytes") or group.shard_sizes(slot)
    found = [name for name in sizes if "/" not in name and not name.endswith(MISSING)]
    bands = [name for name in found if name != "count" and sizes[name]]
    source = about.get("source", "unknown").lower()
    made_up = None if source.startswith("unknown") else source.startswith("synthetic")
    return {
        "tile": chunk.tile.name,
        "day": chunk.day,
        "orbit": chunk.orbit,
        "bands": ",".join(bands),
        "seen": about["seen"] / group.pix_len if "seen" in about else None,
        "bytes": sum(sizes.values()),
        **{name: about.get(name) for name in RECORD_COLUMNS[6:]},
        "synthetic": about.get("synthetic", made_up),
        "partial": about.get("partial", False),
        "files": about.get("files", [] if "job_id" in about else None),  # told only if there are
        **passes_of(about).texts,
    }
