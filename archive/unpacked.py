"""Inner chunks that were unpacked of late, for who asks for much that lies side by side.

The neighbouring tiles of a map, and the same one in other colours, are made of the same chunks.
Records are never changed, so what was unpacked once stays right.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy.typing as npt

Key = tuple[int, str, int]


class Unpacked:
    """The arrays that were used last, up to so many bytes; many threads may ask at a time."""

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0
        self._arrays: OrderedDict[Key, tuple[object, npt.NDArray[Any]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, owner: object, key: str, number: int) -> npt.NDArray[Any] | None:
        """Inner chunk of a file, as ``owner`` sees it, or None."""
        at = id(owner), key, number
        with self._lock:
            if at not in self._arrays:
                return None
            self._arrays.move_to_end(at)
            return self._arrays[at][1]

    def put(self, owner: object, key: str, number: int, values: npt.NDArray[Any]) -> None:
        """Keep an inner chunk, and its owner as long, so that no other one gets its id."""
        with self._lock:
            self._drop((id(owner), key, number))
            self._arrays[id(owner), key, number] = owner, values
            self.size += values.nbytes
            while self.size > self.most:
                self._drop(next(iter(self._arrays)))

    def _drop(self, at: Key) -> None:
        _, values = self._arrays.pop(at, (None, None))
        self.size -= 0 if values is None else values.nbytes
