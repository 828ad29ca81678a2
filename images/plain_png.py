"""Pictures as PNG, hardly compressed: for who looks at them at once.

Pillow tries four filters on each row of a picture in colour, also where nothing is compressed,
which takes as long as all else that a tile of the map takes.  Here rows are as they are.
(PNG, W3C 2003: a signature, and chunks of length, type, data and CRC.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RGBA, PALETTE = 6, 3  # types of colour
SIGNATURE = b"\x89PNG\r\n\x1a\n"

Colour = tuple[int, int, int]


def in_colour(rgba: NDArray[np.uint8], level: int = 0) -> bytes:
    """A picture, uint8[row, column, 4]; ``level``: of zlib, from 0 to 9."""
    return _png(rgba, RGBA, [], level)


def of_palette(
    numbers: NDArray[np.uint8], palette: Sequence[Colour], transparent: int | None, level: int = 0
) -> bytes:
    """A picture of numbers of colours, uint8[row, column], of which one may be transparent."""
    chunks = [(b"PLTE", bytes(part for colour in palette for part in colour))]
    if transparent is not None:
        chunks.append((b"tRNS", b"\xff" * transparent + b"\0"))
    return _png(numbers[..., np.newaxis], PALETTE, chunks, level)


def _png(
    pixels: NDArray[np.uint8], kind: int, between: list[tuple[bytes, bytes]], level: int
) -> bytes:
    height, width, depth = pixels.shape
    rows = np.zeros((height, 1 + width * depth), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    data = zlib.compress(rows.data, level)
    chunks = [(b"IHDR", head), *between, (b"IDAT", data), (b"IEND", b"")]
    return SIGNATURE + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(content, zlib.crc32(name))
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)
