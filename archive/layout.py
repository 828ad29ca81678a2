"""What an archive is made of: the attributes of its root, which fix its layout for good.

The root is a Zarr group, not consolidated; only its version can ever change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.collection import SENTINEL1, Product, with_bands

if TYPE_CHECKING:
    from archive.storage import Storage

FORMAT = "sentinel1-healpix archive"
FORMAT_VERSION = 5  # to be raised when older programs could not read what is written
OF_SENTINEL1 = 2  # the last version that did not say of which collection an archive is
OVERVIEWS = (2, 4, 6)  # levels by which a record's overviews are coarser
STEP = 2  # levels from each overview to the next coarser one: 4**2 cells become one
EMPTY = 2**64 - 1  # in a shard's index: all cells have the fill value
CLAIMS = ".claims"  # the folder, in an object store, of who orders what; see `claims`
LOCK = ".lock"  # the file that a writer locks, in the root and in each tile


class ArchiveError(ValueError):
    """The archive, or what was to be written into it, is not as it must be."""


class NoRecordError(ArchiveError, LookupError):
    """The archive holds no such record."""


@dataclass(frozen=True)
class Layout:
    """What an archive is made of, fixed by its first record."""

    nside: int
    ellipsoid: str  # "sphere" or "WGS84"
    chunk_size: tuple[float, float]  # degrees E-W, S-N
    bands: tuple[str, ...]
    pix_max: int  # cells that a shard is padded to
    runs_max: int  # runs that a tile's index is padded to
    keep_bits: int | None  # bits of the mantissa that are kept; None: all
    version: int = FORMAT_VERSION  # 2: overviews, 4: acquired_begin, 5: classes on borders of tiles
    product: Product = SENTINEL1.product  # what cells hold, of these bands

    @property
    def level(self) -> int:
        """HEALPix refinement level: ``nside == 2**level``."""
        return self.nside.bit_length() - 1

    @property
    def coarser(self) -> tuple[int, ...]:
        """The levels of a record's overviews, finest first."""
        return tuple(self.level - by for by in OVERVIEWS if by <= self.level)


def read_layout(storage: Storage) -> Layout | None:
    """The layout of the archive in this storage; None if the place is free for one."""
    name, data = storage.name, storage.get("zarr.json")
    if data is None:
        try:
            left = [entry for entry in storage.entries() if not _is_ours(entry)]
        except NotADirectoryError:
            raise ArchiveError(f"{name} is a file, not an archive.  Choose another path.") from None
        if "zarr.json" in left:  # another process has made it since
            data = storage.get("zarr.json")
    if data is None:
        if left:
            raise ArchiveError(
                f"{name} is no archive, and it is not empty: it holds {sorted(left)[0]}.  "
                "Nothing was written.  Choose another path."
            )
        return None
    return parsed(data, name)


def parsed(data: bytes, name: str) -> Layout:
    """The layout by the ``zarr.json`` of a root; ArchiveError if it is none of ours, or newer."""
    try:
        attributes = json.loads(data)["attributes"]
        if attributes["format"] != FORMAT:
            raise ValueError(f"its format is {attributes['format']}")
        version = int(attributes["format_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(
            f"{name} is no archive of this program, or its zarr.json is damaged ({error!r}).  "
            "Nothing was written.  Choose another path."
        ) from error
    if version > FORMAT_VERSION:
        raise ArchiveError(
            f"The archive {name} has format version {version}; this program knows versions up "
            f"to {FORMAT_VERSION}.  Nothing was written.  Install a newer version of the program."
        )
    return Layout(
        nside=attributes["nside"],
        ellipsoid=attributes["ellipsoid"],
        chunk_size=(attributes["chunk_size"][0], attributes["chunk_size"][1]),
        bands=tuple(attributes["bands"]),
        pix_max=attributes["PIX_MAX"],
        runs_max=attributes["RUNS_MAX"],
        keep_bits=attributes["keep_bits"],
        version=version,
        product=_product(attributes, version),
    )


def _product(attributes: Mapping[str, Any], version: int) -> Product:
    """What cells hold; before version 3 that was Sentinel-1."""
    if version <= OF_SENTINEL1:
        return with_bands(SENTINEL1.product, attributes["bands"])
    return Product.from_json(attributes["collection"])


def root_metadata(layout: Layout) -> dict[str, Any]:
    """The archive's ``zarr.json``.  Not consolidated: only its version can ever change."""
    attributes = {
        "format": FORMAT,
        "format_version": layout.version,
        "nside": layout.nside,
        "level": layout.level,
        "ordering": "nested",
        "ellipsoid": layout.ellipsoid,
        "chunk_size": layout.chunk_size,
        "bands": layout.bands,
        "PIX_MAX": layout.pix_max,
        "RUNS_MAX": layout.runs_max,
        "keep_bits": layout.keep_bits,
    }
    if layout.version > OF_SENTINEL1:
        attributes["collection"] = layout.product.to_json()
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def ids_attributes(level: int, ellipsoid: str) -> dict[str, Any]:
    """What xdggs 0.6 wants to know of ids of cells: these attributes, and no standard_name."""
    found: dict[str, Any] = {"grid_name": "healpix", "level": level, "indexing_scheme": "nested"}
    if ellipsoid == "WGS84":
        found["ellipsoid"] = {
            "name": "WGS84", "semimajor_axis": 6378137.0, "inverse_flattening": 298.257223563,
        }  # fmt: skip
    return found


def exact_size(chunk_size: Iterable[float]) -> tuple[float, float]:
    """Degrees E-W, S-N without the rounding of ``east - west``: whole tiles fill 180."""
    dx, dy = (180.0 / round(180.0 / float(size)) for size in chunk_size)
    return dx, dy


def encode_json(metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a ``zarr.json``."""
    return json.dumps(metadata, allow_nan=False).encode()


def _is_ours(name: str) -> bool:
    """Whether a writer that is about to make an archive, or was killed then, may have left this."""
    return name in (LOCK, CLAIMS, ".DS_Store") or ".partial" in name
