"""Loops as numba compiles them, and where it keeps them; this alone imports numba.

numba keeps a compiled loop on disk until the file of that loop changes.  But the loops it
calls are compiled into it, so one that changed in another file would go on giving its old
results.  What is kept here bears a stamp of all files of this package as well.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.core import caching, config, event
from numba.extending import typeof_impl

from healpix.loops import STAMP, Loop

log = logging.getLogger("healpix")


def decorated(loop: Loop) -> Callable[..., Any]:
    """The dispatcher of a loop."""
    with _locating:  # numba looks up the setting while it decorates
        before = config.CACHE_LOCATOR_CLASSES  # type: ignore[attr-defined]
        config.CACHE_LOCATOR_CLASSES = _LOCATORS  # type: ignore[attr-defined]
        try:
            made = njit(cache=True, nogil=True, error_model="numpy", **loop.options)
            return made(loop.function)  # type: ignore[no-any-return]
        finally:
            config.CACHE_LOCATOR_CLASSES = before  # type: ignore[attr-defined]


@typeof_impl.register(Loop)
def _type_of_loop(loop: Loop, _context: Any) -> types.Dispatcher:
    """How numba comes by a loop that another one calls."""
    return types.Dispatcher(loop.compiled)


# --- where compiled loops are kept -------------------------------------------------------


class _Stamped:
    """Adds the stamp of the package to that of the loop's own file."""

    def get_source_stamp(self) -> tuple[Any, str]:
        return super().get_source_stamp(), STAMP  # type: ignore[misc]


class InNamedFolder(_Stamped, caching.UserProvidedCacheLocator):
    """In the folder that NUMBA_CACHE_DIR names, if it does."""


class BesideSource(_Stamped, caching.InTreeCacheLocator):
    """In ``__pycache__``, if it can be written."""


class InUserCache(_Stamped, caching.UserWideCacheLocator):
    """In the user's folder of caches."""


class BesideZip(_Stamped, caching.ZipCacheLocator):
    """There too, for sources in a zip file."""


_LOCATORS = ",".join(
    f"{place.__module__}.{place.__qualname__}"
    for place in (InNamedFolder, BesideSource, InUserCache, BesideZip)
)
_locating = threading.Lock()


# --- what is said about it ---------------------------------------------------------------


class Announcement(event.Listener):
    """Says once that loops are being compiled: nobody should wonder what takes so long."""

    said = False

    def on_start(self, *_: Any) -> None:
        """A loop is being compiled."""
        if not self.said:
            log.info("Compiling the loops for this computer; once only, about half a minute.")
            self.said = True

    def on_end(self, *_: Any) -> None:
        """It was."""


announcement = Announcement()
event.register("numba:compile", announcement)  # type: ignore[no-untyped-call]
