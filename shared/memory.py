"""What was used last, kept for who needs it next, up to so many bytes; for many threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from operator import attrgetter
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LastUsed(Generic[Key, Value]):
    """Values by keys, which must not change and are never None.

    ``size``: the bytes of one, usually of an array; ``least``: how many stay, however large.
    """

    def __init__(
        self, most: int, size: Callable[[Value], Any] = attrgetter("nbytes"), least: int = 0
    ) -> None:
        self.most, self.size = most, 0  # bytes
        self._of, self._least = size, least
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Value | None:
        """What was put there, if it is still kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, and forget those that were used longest ago."""
        with self._lock:
            if key in self._values:
                self.size -= self._of(self._values.pop(key))
            self._values[key] = value
            self.size += self._of(value)
            while self.size > self.most and len(self._values) > self._least:
                self.size -= self._of(self._values.popitem(last=False)[1])


class Memory(Generic[Key, Value]):
    """The same of what takes long to make: several threads never make it at a time.

    The last one stays, however large.
    """

    def __init__(self, most: int, size: Callable[[Value], Any] = attrgetter("nbytes")) -> None:
        self.kept = LastUsed[Key, Value](most, size, least=1)
        self._coming: dict[Key, Future[Value]] = {}
        self._lock = threading.Lock()

    def of(
        self, keys: Sequence[Key], make: Callable[[Sequence[Key]], Sequence[Value]]
    ) -> list[Value]:
        """The values of some keys; ``make`` gives those of the keys that it is called with.

        What another thread is making is waited for, once all that is missing has been made here.
        """
        known: dict[Key, Value] = {}
        coming: dict[Key, Future[Value]] = {}
        missing = []
        with self._lock:
            for key in dict.fromkeys(keys):
                if (value := self.kept.get(key)) is not None:
                    known[key] = value
                    continue
                if key not in self._coming:
                    self._coming[key] = Future()
                    missing.append(key)
                coming[key] = self._coming[key]
        if missing:
            self._make(missing, make)
        return [known[key] if key in known else coming[key].result() for key in keys]

    def _make(
        self, missing: Sequence[Key], make: Callable[[Sequence[Key]], Sequence[Value]]
    ) -> None:
        try:
            made = make(missing)
        except BaseException as error:
            with self._lock:
                futures = [self._coming.pop(key) for key in missing]
            for future in futures:
                future.set_exception(error)
            raise
        with self._lock:
            for key, value in zip(missing, made, strict=True):
                self.kept.put(key, value)
                self._coming.pop(key).set_result(value)
