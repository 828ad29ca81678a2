"""What was made last, kept for who needs it next; several threads never make the same at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memory(Generic[Key, Value]):
    """Values by keys, those that were used last, of so many bytes in all."""

    def __init__(self, most: int, size: Callable[[Value], int]) -> None:
        self._most, self._size = most, size
        self._kept: OrderedDict[Key, Future[Value]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def of(
        self, keys: Sequence[Key], make: Callable[[Sequence[Key]], Sequence[Value]]
    ) -> list[Value]:
        """The values of some keys; ``make`` gives those of the keys that it is called with.

        What another thread is making is waited for, once all that is missing has been made here.
        """
        with self._lock:
            missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
            self._kept.update((key, Future()) for key in missing)
            for key in keys:
                self._kept.move_to_end(key)
            futures = {key: self._kept[key] for key in keys}
        if missing:
            self._make(missing, make)
        return [futures[key].result() for key in keys]

    def _make(
        self, missing: Sequence[Key], make: Callable[[Sequence[Key]], Sequence[Value]]
    ) -> None:
        try:
            made = make(missing)
        except BaseException as error:
            with self._lock:
                futures = [self._kept.pop(key) for key in missing]
            for future in futures:
                future.set_exception(error)
            raise
        with self._lock:
            for key, value in zip(missing, made, strict=True):
                self._kept[key].set_result(value)
                self._bytes += self._size(value)
            self._forget()

    def _forget(self) -> None:
        """Let go of what was used longest ago, but for the last one."""
        while self._bytes > self._most and len(self._kept) > 1:
            key, future = next(iter(self._kept.items()))
            if not future.done():
                return  # who makes it comes here, too
            self._bytes -= self._size(future.result())
            del self._kept[key]
