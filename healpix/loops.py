"""How loops are compiled, when that is, and how a few cells do without.

A loop is compiled, or what was compiled earlier is loaded, when it is called first: numba takes
longer to import than plain Python and numpy take with the cells of a small box.  Where that is
weighed, `is_worth` says how much is too much for them, and `plain` gives the same formulas as
they stand in the source.  Who serves others may load them `beside` that, while they do without.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import update_wrapper
from importlib import import_module
from types import FunctionType
from typing import Any, TypeVar, cast

from healpix.stamp import STAMP as STAMP  # taken before any other file of the package is imported

PATIENCE = 8_000_000  # cells or pixels that numpy does in half the time that numba takes to start

Function = TypeVar("Function", bound=Callable[..., Any])


def loop(function: Function) -> Function:
    """Compile a function at its first call, once per installation, to run beside others."""
    return cast(Function, Loop(function, {}))


def loose_loop(function: Function) -> Function:
    """As `loop`, but a product and a sum may be rounded as one: for what checks its margins."""
    return cast(Function, Loop(function, {"fastmath": {"contract"}}))


class Loop:
    """A function that is compiled when it is called, or called by another one."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function, self.options = function, options
        self._compiled: Callable[..., Any] | None = None
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """The result of the compiled function."""
        return (self._compiled or self.compiled)(*arguments)

    @property
    def compiled(self) -> Any:
        """The function as numba has it."""
        with _compiling:
            if self._compiled is None:
                kept = import_module("healpix.kept")  # which imports numba
                self._compiled = kept.decorated(self)
        return self._compiled

    @property
    def plain(self) -> Callable[..., Any]:
        """The function in plain Python, as are the loops that it calls."""
        names = self.function.__globals__
        called = {name: names[name] for name in self.function.__code__.co_names if name in names}
        called = {name: has.plain if isinstance(has, Loop) else has for name, has in called.items()}
        return FunctionType(self.function.__code__, {**names, **called})


_compiling = threading.RLock()


def plain(function: Function) -> Function:
    """A loop in plain Python: the same formulas in the same order, so equal bits."""
    return cast(Function, cast(Loop, function).plain)


def were_compiled() -> bool:
    """Whether this process had to compile loops, as the first one on a computer has."""
    kept = sys.modules.get("healpix.kept")
    return kept is not None and bool(kept.announcement.said)


# --- what is worth to be compiled ---------------------------------------------------------


class _Patience:
    """How much plain numpy may still do in this process before the loops are loaded."""

    left = PATIENCE

    def lasts(self, size: int) -> bool:
        """Whether it lasts for so many cells or pixels, which then count."""
        self.left -= size  # two threads at once may lose one: much does not depend on it
        return self.left > 0


patience = _Patience()


class _Loading(threading.local):
    """Whether this thread loads the loops for all others."""

    here = False


_loading, _loading_anywhere = _Loading(), threading.Event()


@contextlib.contextmanager
def beside() -> Iterator[None]:
    """This thread loads the loops; until it has done so, others need not wait for them."""
    _loading_anywhere.set()
    _loading.here = True
    try:
        yield
    finally:
        _loading.here = False
        _loading_anywhere.clear()


def are_there() -> bool:
    """Whether the compiled loops are there already, for this thread."""
    return _loading.here or ("healpix.kept" in sys.modules and not _loading_anywhere.is_set())


def is_worth(size: int) -> bool:
    """Whether the compiled loops are for so many cells or pixels, and not plain numpy.

    Much in small pieces is much; and where numba is there already, nothing is small.
    """
    return are_there() or not patience.lasts(size)
