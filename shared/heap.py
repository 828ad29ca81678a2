"""What the C library does with memory that nobody uses any more, where that can be said to it."""

from __future__ import annotations

import ctypes

ARENAS = 2  # heaps, whatever the number of threads
LARGE = 1_000_000  # bytes that are a mapping of their own, which is given back at once
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # of malloc.h


def give_back() -> None:
    """Have this process keep less of what it has freed, for who runs long.

    glibc has a heap for each thread, and keeps ever larger arrays in them once one was freed:
    what several threads made for a moment each stays.  Elsewhere nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or Windows
        return
    mallopt(_M_ARENA_MAX, ARENAS)
    mallopt(_M_MMAP_THRESHOLD, LARGE)
