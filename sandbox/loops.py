"""How the loops of this program are compiled, and when they are compiled again.

numba keeps a compiled kernel until the kernel's own file changes.  What a kernel calls is
compiled into it, also from other files, so what is kept bears a stamp of all files here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any, TypeVar, cast

from numba import njit
from numba.core import caching, config

Function = TypeVar("Function", bound=Callable[..., Any])

# Only kernels are kept on disk, each for one set of types: what they call comes with them,
# and processes that compile at the same time cannot mix up each other's files.
compiled = njit(nogil=True, error_model="numpy")
# What is called for every pixel and given arrays: counting their references took a quarter
# of the time.
inlined = njit(nogil=True, error_model="numpy", inline="always")


def kernel(function: Function) -> Function:
    """Compile a function at its first call, and keep it until a file of the sandbox changes."""
    before = config.CACHE_LOCATOR_CLASSES  # type: ignore[attr-defined]
    config.CACHE_LOCATOR_CLASSES = _LOCATORS  # type: ignore[attr-defined]
    try:
        made = njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        config.CACHE_LOCATOR_CLASSES = before  # type: ignore[attr-defined]
    return cast(Function, made)


def _hash_of_package() -> str:
    sources = [f for f in files(__package__).iterdir() if f.name.endswith(".py")]
    parts = [(f.name, f.read_bytes()) for f in sorted(sources, key=lambda f: f.name)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


_STAMP = _hash_of_package()


class _Stamped:
    """Adds the stamp of the package to that of the kernel's own file."""

    def get_source_stamp(self) -> tuple[Any, str]:
        return super().get_source_stamp(), _STAMP  # type: ignore[misc]


class InNamedFolder(_Stamped, caching.UserProvidedCacheLocator):
    """In the folder that NUMBA_CACHE_DIR names, if it does."""


class BesideSource(_Stamped, caching.InTreeCacheLocator):
    """In ``__pycache__``, if it can be written."""


class InUserCache(_Stamped, caching.UserWideCacheLocator):
    """In the user's folder of caches."""


_LOCATORS = ",".join(
    f"{place.__module__}.{place.__qualname__}"
    for place in (InNamedFolder, BesideSource, InUserCache)
)
