"""Where work is done that comes in many pieces: here, on threads, or on a cluster.

All of it goes through dask.  Without a cluster the pieces run on as many threads as there
are cores; the loops and codecs release Python's lock.  While a `dask.distributed` client is
active, one of the caller's or that of `cluster`, they run on its workers, which need this
program's folder on their path and see the same files.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import cloudpickle
import dask
from dask.system import CPU_COUNT

CONNECT_WAIT = 10  # s for the scheduler of a cluster to answer
REACH_WAIT = 2  # s for a worker to answer, else its results come through the scheduler
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
    """The results of delayed pieces, in their order; a few at a time, so that they fit memory.

    A piece is done as a whole by one thread or worker.
    """
    with _hands() as (start, take):
        waiting, begun = iter(pieces), deque[Any]()
        begun += [start(piece) for piece in islice(waiting, AHEAD * workers())]
        while begun:
            result = take(begun.popleft())
            begun += [start(piece) for piece in islice(waiting, 1)]
            yield result


@contextlib.contextmanager
def _hands() -> Iterator[tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """What begins a delayed piece, on the cluster or on a thread, and what takes its result."""
    client = _client()
    if client is not None:
        direct = _reaches_workers(client)
        yield partial(_submit, client), lambda future: client.gather(future, direct=direct)
        return
    pool = ThreadPoolExecutor(workers(), thread_name_prefix="engine")
    try:
        yield lambda piece: pool.submit(_compute, piece), Future.result
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(client: Any, piece: Any) -> Any:
    """Have a worker compute a delayed piece.

    As the tasks that it consists of, it would be spread over the workers, which then send
    each other the blocks.
    """
    (small,) = dask.optimize(piece)
    graph = small.__dask_graph__()
    if any(task.dependencies - graph.keys() for task in graph.values()):
        return client.compute(piece)  # it needs what is on the cluster already
    return client.submit(_compute_packed, cloudpickle.dumps(small), pure=False)


def _compute_packed(packed: bytes) -> Any:
    return _compute(cloudpickle.loads(packed))


def _compute(piece: Any) -> Any:
    return dask.compute(piece, scheduler="sync")[0]


def _reaches_workers(client: Any) -> bool:
    """Whether results can come from the workers themselves, past the scheduler."""
    from distributed.comm.addressing import get_address_host_port

    try:
        address = get_address_host_port(next(iter(client.nthreads())))
        with socket.create_connection(address, timeout=REACH_WAIT):
            return True
    except (OSError, ValueError, StopIteration):
        return False


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
