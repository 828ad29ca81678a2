"""How loops are compiled, and when they are compiled again.

numba keeps a compiled loop on disk until the file of that loop changes.  But the loops it
calls are compiled into it, so one that changed in another file would go on giving its old
results.  What is kept here bears a stamp of all files of this package as well.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from importlib.resources import files
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import caching, config, event

log = logging.getLogger("healpix")

Function = TypeVar("Function", bound=Callable[..., Any])


def loop(function: Function) -> Function:
    """Compile a function at its first call, once per installation, to run beside others."""
    return _compiled(function)


def loose_loop(function: Function) -> Function:
    """As `loop`, but a product and a sum may be rounded as one: for what checks its margins."""
    return _compiled(function, fastmath={"contract"})


def _compiled(function: Function, **options: Any) -> Function:
    with _locating:  # numba looks up the setting while it decorates
        before = config.CACHE_LOCATOR_CLASSES  # type: ignore[attr-defined]
        config.CACHE_LOCATOR_CLASSES = _LOCATORS  # type: ignore[attr-defined]
        try:
            decorated = njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        finally:
            config.CACHE_LOCATOR_CLASSES = before  # type: ignore[attr-defined]
    return cast(Function, decorated)


# --- where compiled loops are kept -------------------------------------------------------


def _hash_of_package() -> str:
    sources = [f for f in files(__package__).iterdir() if f.name.endswith(".py")]
    parts = [(f.name, f.read_bytes()) for f in sorted(sources, key=lambda f: f.name)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


_STAMP = _hash_of_package()  # before any of them is imported


class _Stamped:
    """Adds the stamp of the package to that of the loop's own file."""

    def get_source_stamp(self) -> tuple[Any, str]:
        return super().get_source_stamp(), _STAMP  # type: ignore[misc]


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
