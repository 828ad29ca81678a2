"""Arrays that were used last, up to so many bytes, for who asks for much that is alike."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from numpy.typing import NDArray


class LastUsed:
    """Arrays by what they hold, which must not change; many threads may ask at a time."""

    def __init__(self, most: int) -> None:
        self.most, self.size = most, 0  # bytes
        self._arrays: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> NDArray[Any] | None:
        """What was put there, if it is still kept."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def put(self, key: Hashable, values: NDArray[Any]) -> None:
        """Keep an array, and forget those that were used longest ago."""
        with self._lock:
            if key in self._arrays:
                self.size -= self._arrays.pop(key).nbytes
            self._arrays[key] = values
            self.size += values.nbytes
            while self.size > self.most:
                self.size -= self._arrays.popitem(last=False)[1].nbytes
