"""A record as the shards of its slot, and as the text that says where it is from."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from archive.layout import Layout
from archive.overviews import make_overviews
from archive.packing import DamageError
from archive.shards import Shard, encode_shard, read_shards
from archive.spans import Spans
from archive.tile import Group
from grid import Chunk, Provenance
from shared.cellset import CellSet
from shared.counts import MISSING, count_of

if TYPE_CHECKING:
    import xarray as xr


def shards_of(cells: xr.Dataset, group: Group, layout: Layout) -> Iterator[tuple[str, bytes]]:
    """The shards that a record is stored as, by array; one without a value is left out."""
    classes = layout.product.classes(layout.bands)
    numbers = set(layout.bands) - set(classes)
    held = CellSet.of(cells)
    overviews = make_overviews(held, group.coarser, classes)
    for name in group.cell_arrays:
        values = overviews[name] if name in overviews else _of(held, name)
        if name.rpartition("/")[2] in numbers:
            values = _rounded(values, layout.keep_bits)
        data = encode_shard(values, group.arrays[name])
        if data:
            yield name, data


def text_of(
    chunk: Chunk, cells: xr.Dataset, sizes: Mapping[str, int], provenance: Provenance | None
) -> str:
    """The provenance of a record as JSON; ``sizes``: the bytes of each of its shards."""
    about = {
        "day": chunk.day.isoformat(),
        "orbit": chunk.orbit,
        "seen": int(np.count_nonzero(cells["count"].values)),
        "bytes": sizes,
        "source": str(cells.attrs.get("source", "")),
    }
    known = asdict(provenance) if provenance is not None else {}
    if not known.get("files"):  # only of records that are made of files
        known.pop("files", None)
    return json.dumps(about | known)


def read(
    group: Group, names: Sequence[str], slot: int, spans: Spans, about: Mapping[str, Any],
    owner: Hashable = None,
) -> dict[str, Any]:  # fmt: skip
    """These cells of some variables of one record.  Raises DamageError.

    ``owner``: for whom the slot holds this record, and will.
    """
    found = try_read(group, names, slot, spans, about, owner)
    for values in found.values():
        if isinstance(values, DamageError):
            raise values
    return found


def try_read(
    group: Group, names: Sequence[str], slot: int, spans: Spans, about: Mapping[str, Any],
    owner: Hashable = None,
) -> dict[str, Any]:  # fmt: skip
    """As `read`, with a DamageError for the values of a variable that is damaged."""
    sizes = about.get("bytes", {})
    shards = [
        Shard(group.storage, group.shard(name, slot), group.arrays[name], sizes.get(name), owner)
        for name in names
    ]
    return {
        name: DamageError(values.reason, name) if isinstance(values, DamageError) else values
        for name, values in zip(names, read_shards(shards, spans), strict=True)
    }


def gaps_of(cells: xr.Dataset) -> bool:
    """Whether pixels of some seen cells have no value in a band, by the band's own count."""
    held = CellSet.of(cells)
    own = (count_of(band) for band in held.bands)
    return any(not np.array_equal(held[name], held["count"]) for name in own if name in held)


def _of(cells: CellSet, name: str) -> npt.NDArray[Any]:
    """A variable of the record as it is stored; of pixels without a value in a band: how many."""
    if name in cells:
        return cells[name]
    return np.asarray(cells["count"] - cells.weights(name.removesuffix(MISSING)))


def _rounded(values: npt.NDArray[np.float32], keep_bits: int | None) -> npt.NDArray[np.float32]:
    """The values with this many bits of mantissa, rounded to even; relative error 2**-(n + 1)."""
    if keep_bits is None:
        return values
    from numcodecs import BitRound  # type: ignore[import-untyped]

    values = np.where(np.isnan(values), np.float32("nan"), values)  # rounding could make others -0
    rounded: npt.NDArray[np.float32] = BitRound(keep_bits).encode(values).view(np.float32)
    return rounded
