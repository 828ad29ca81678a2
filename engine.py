"""Where work is done that comes in many pieces: here, on threads, or on a cluster.

All of it goes through dask.  Without a cluster the pieces run on as many threads as there
are cores; the loops and codecs release Python's lock.  While a `dask.distributed` client is
active, one of the caller's or that of `cluster`, they run on its workers, which need this
program's folder on their path and see the same files.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import dask
from dask.system import CPU_COUNT

CONNECT_WAIT = 10  # s for the scheduler of a cluster to answer
AHEAD = 2  # pieces for each worker that are computed before any is taken


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Work on the cluster of the scheduler at this address (``tcp://...``); None: here.

    Raises ConnectionError if it cannot be reached or has no worker.
    """
    if address is None:
        yield
        return
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_WAIT)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"There is no dask scheduler at {address} ({error}).  Nothing was done.  Start one "
            "with `dask scheduler`, or leave --scheduler away."
        ) from error
    with client:
        if not client.nthreads():
            raise ConnectionError(
                f"The dask scheduler at {address} has no workers.  Nothing was done.  Start some "
                f"in this program's folder: `dask worker {address}`."
            )
        yield


def workers() -> int:
    """How many pieces are worked on at a time."""
    client = _client()
    if client is not None:
        threads: int = sum(client.nthreads().values())
        return max(1, threads)
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def each(pieces: Iterable[Any]) -> Iterator[Any]:
    """The results of delayed pieces, in their order; a few at a time, so that they fit memory."""
    with _starter() as start:
        waiting, begun = iter(pieces), deque[Any]()
        begun += [start(piece) for piece in islice(waiting, AHEAD * workers())]
        while begun:
            result = begun.popleft().result()
            begun += [start(piece) for piece in islice(waiting, 1)]
            yield result


@contextlib.contextmanager
def _starter() -> Iterator[Callable[[Any], Any]]:
    """What begins a delayed piece, on the cluster or on a thread, and gives its future."""
    client = _client()
    if client is not None:
        yield client.compute
        return
    pool = ThreadPoolExecutor(workers(), thread_name_prefix="engine")
    try:
        yield lambda piece: pool.submit(_compute, piece)
    finally:
        pool.shutdown(cancel_futures=True)


def _compute(piece: Any) -> Any:
    return dask.compute(piece, scheduler="sync")[0]


def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a function returns: run by a worker of the cluster, or here if there is none."""
    client = _client()
    if client is None:
        return function(*arguments, **options)
    return client.submit(function, *arguments, pure=False, **options).result()


def _client() -> Any:
    """The active client of a cluster, if there is one; nothing is imported to find out."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None
