"""What is kept of what was made."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shared.memory import LastUsed, Memory

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 50)), max_size=60)


@given(most=st.integers(0, 120), steps=STEPS)
def test_it_is_as_a_list_of_what_was_used_with_the_oldest_first(most, steps):
    kept, wanted = LastUsed[int, NDArray[np.uint8]](most), dict[int, int]()
    for puts, key, size in steps:
        if puts:
            wanted.pop(key, None)
            wanted[key] = size
            kept.put(key, np.zeros(size, np.uint8))
            while sum(wanted.values()) > most:
                del wanted[next(iter(wanted))]
        else:
            found = kept.get(key)
            assert (None if found is None else found.size) == wanted.get(key)
            if key in wanted:
                wanted[key] = wanted.pop(key)
        assert kept.size == sum(wanted.values()) <= most


@given(st.lists(st.lists(st.integers(0, 9), max_size=5)), st.integers(0, 30))
def test_it_gives_what_would_be_made_and_keeps_no_more_than_it_may(asked, most):
    memory = Memory[int, str](most, len)
    for keys in asked:
        assert memory.of(keys, lambda some: ["x" * key for key in some]) == ["x" * k for k in keys]
        kept = [len(value) for value in memory.kept._values.values()]
        assert sum(kept) == memory.kept.size
        assert sum(kept[:-1]) <= most


def test_several_threads_make_nothing_twice():
    memory, made, together = Memory[int, int](100, lambda _: 1), [], threading.Barrier(4)

    def make(keys):
        made.extend(keys)
        return [key * key for key in keys]

    def ask(first):
        together.wait(10)
        return [memory.of([key % 20, key % 7], make)[0] for key in range(first, first + 20)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert found == [[(key % 20) ** 2 for key in range(n, n + 20)] for n in range(4)]
    assert sorted(made) == list(range(20))


def test_what_failed_is_made_anew():
    memory = Memory[int, int](100, lambda _: 1)

    def fail(_):
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        memory.of([1, 2], fail)
    assert memory.of([2, 1], lambda keys: [10 * key for key in keys]) == [20, 10]
