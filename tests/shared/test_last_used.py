"""Arrays that were used last: never more bytes than allowed, and those that were asked for stay."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.last_used import LastUsed

STEPS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 50)), max_size=60)


@given(most=st.integers(0, 120), steps=STEPS)
def test_it_is_as_a_list_of_what_was_used_with_the_oldest_first(most, steps):
    kept, wanted = LastUsed(most), dict[int, int]()
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
