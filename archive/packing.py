"""A chunk of an array as bytes: packed by blosc and followed by its crc32c, and back.

Every array is packed like this, so no flipped byte goes unseen.  The codecs are imported where
they work: who only looks whether there is an archive does not wait for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from archive.storage import Bytes

SHUFFLES = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}  # as blosc numbers them


class DamageError(ValueError):
    """Bytes on disk are missing, or are not those that were written."""

    def __init__(self, reason: str, variable: str = "") -> None:
        super().__init__(f"{variable}: {reason}" if variable else reason)
        self.reason, self.variable = reason, variable


def pack(values: npt.NDArray[Any], how: Mapping[str, Any]) -> bytes:
    """Values as zarr writes them; ``how`` is the configuration of its blosc codec."""
    from numcodecs import blosc  # type: ignore[import-untyped]

    raw = np.ascontiguousarray(values).view(np.uint8)
    options = how["cname"].encode(), how["clevel"], SHUFFLES[how["shuffle"]], how["blocksize"]
    return sealed(bytes(blosc.compress(raw, *options, how["typesize"])))


def pack_texts(texts: npt.NDArray[Any], how: Mapping[str, Any]) -> bytes:
    """As `pack`, for texts."""
    from numcodecs.vlen import VLenUTF8  # type: ignore[import-untyped]

    return pack(np.frombuffer(VLenUTF8().encode(texts), np.uint8), how)


def unpack(data: Bytes, out: npt.NDArray[Any] | None = None) -> Any:
    """Undo crc32c and blosc; straight into ``out`` where it is given.  Raises DamageError."""
    from numcodecs import blosc

    packed = unsealed(data)
    size = int.from_bytes(packed[4:8].tobytes(), "little")  # as blosc's header says
    if out is not None and out.nbytes != size:
        raise DamageError(f"a chunk holds {size} bytes, not {out.nbytes}")
    return blosc.decompress(packed, out)


def sealed(data: bytes) -> bytes:
    """The bytes with their crc32c behind them."""
    return data + int(google_crc32c.value(data)).to_bytes(4, "little")


def unsealed(data: Bytes) -> Bytes:
    """The bytes without the crc32c behind them, which must be theirs.  Raises DamageError."""
    crc = int(google_crc32c.value(data[:-4]))
    if crc.to_bytes(4, "little") != data[-4:].tobytes():
        raise DamageError("the checksum does not match")
    return data[:-4]


def read_values(data: Bytes | None, dtype: str, size: int) -> npt.NDArray[Any]:
    """The first ``size`` values of a file that holds one chunk.  Raises DamageError."""
    return np.frombuffer(unpack(_there(data)), dtype)[:size]


def read_texts(data: Bytes | None, size: int) -> list[str]:
    """As `read_values`, for an array of strings."""
    from numcodecs.vlen import VLenUTF8

    texts = VLenUTF8().decode(unpack(_there(data)))
    return [str(text) for text in texts[:size]]


def _there(data: Bytes | None) -> Bytes:
    if data is None:
        raise DamageError("the file is missing")
    return data
