"""Waiting for what is to come: so long that no busy machine makes a test fail.

What must not take long is measured by tests marked ``alone``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 120.0  # s
Found = TypeVar("Found")


def until(done: Callable[[], Found], what: object = "it", every: float = 0.03) -> Found:
    """Ask every so many seconds until the answer is true; that answer.

    ``what`` says what is waited for; a function is called when it did not come.
    """
    end = time.monotonic() + PATIENCE
    while not (found := done()):
        if time.monotonic() > end:
            raise AssertionError(f"did not come: {what() if callable(what) else what}")
        time.sleep(every)
    return found
