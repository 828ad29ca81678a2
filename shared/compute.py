"""Where work is done that comes in many pieces: here, on threads, or on a cluster.

All of it goes through dask.  Without a cluster the pieces run on as many threads as there
are cores; the loops and codecs release Python's lock.  While a `dask.distributed` client is
active, one of the caller's or that of `cluster`, they run on its workers, which need the
same packages and see the same files, this program's folder among them.
"""

from __future__ import annotations

import contextlib
import pickle
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial, update_wrapper
from itertools import islice
from pathlib import Path
from typing import Any

import cloudpickle
import dask
from dask.system import CPU_COUNT

_HOME = str(Path(__file__).parents[1].resolve())  # where the workers find this program, too
CONNECT_WAIT = 10  # s for the scheduler of a cluster to answer
REACH_WAIT = 2  # s for a worker to answer, else its results come through the scheduler
AHEAD = 2  # pieces for each worker that are computed before any is taken


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Work on the cluster of the scheduler at this address (``tcp://...``); None: here.

    Raises ConnectionError if it cannot be reached, has no worker, or one that cannot work.
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
                f"with the Python of this program: `dask worker {address}`."
            )
        try:
            client.run(Portable(_do_nothing))
        except ImportError as error:
            raise ConnectionError(
                f"A worker of the dask scheduler at {address} cannot work for this program "
                f"({error}).  Nothing was done."
            ) from error
        yield


class Portable:
    """A function that can be sent to where this program is not on Python's path.

    What is pickled, by `pickle`, `copy` or cloudpickle, names no module of this program: the
    scheduler of a cluster, which reads all that passes, needs none of them, and a worker
    imports them when it is called.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        update_wrapper(self, function)  # dask looks at the names of the arguments

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """What the function returns."""
        return self._function(*arguments, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (_blank(),), (_blank(), _HOME, cloudpickle.dumps(self._function))


@cache
def _blank() -> bytes:
    """The pickle of what a `Portable` becomes elsewhere; by its code, as local classes are."""

    class Carried:
        """Knows where the program is, and has its function, packed, until it is called."""

        function: Any = None

        def __call__(self, *arguments: Any, **options: Any) -> Any:
            if self.function is None:
                import sys
                from pathlib import Path

                import cloudpickle

                if not Path(self.home).is_dir():
                    raise ImportError(f"it does not see the folder {self.home} of this program")
                if self.home not in sys.path:
                    sys.path.insert(0, self.home)
                self.function = cloudpickle.loads(self.packed)
            return self.function(*arguments, **options)

        def __setstate__(self, state: tuple[bytes, str, bytes]) -> None:
            self.blank, self.home, self.packed = state
            self.function = None

        def __reduce__(self) -> tuple[Any, ...]:
            if "blank" not in vars(self):
                return type(self), ()
            import pickle

            return pickle.loads, (self.blank,), (self.blank, self.home, self.packed)

    data: bytes = cloudpickle.dumps(Carried())
    return data


def _do_nothing() -> None:
    pass


def workers(client: Any = None) -> int:
    """How many pieces are worked on at a time: by a cluster, or here if there is none."""
    if client is not None:
        threads: int = sum(client.nthreads().values())
        return max(1, threads)
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def each(pieces: Iterable[Any], is_here: bool = False, at_once: int = 1) -> Iterator[Any]:
    """The results of delayed pieces, in their order; a few at a time, so that they fit memory.

    A piece is done as a whole by one thread or worker.  ``is_here`` says that what they need
    is in this process, so that sending it to a cluster would take longer than the work;
    ``at_once``, that so many wait for something far away rather than for a core.
    """
    client = None if is_here else _client()
    with _hands(client, max(workers(), at_once)) as (start, take):
        waiting, begun = iter(pieces), deque[Any]()
        number = max(AHEAD * workers(client), at_once)
        begun += [start(piece) for piece in islice(waiting, number)]
        while begun:
            result = take(begun.popleft())
            begun += [start(piece) for piece in islice(waiting, 1)]
            yield result


@contextlib.contextmanager
def _hands(
    client: Any, threads: int
) -> Iterator[tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """What begins a delayed piece, on the cluster or on a thread, and what takes its result."""
    if client is not None:
        direct = _reaches_workers(client)
        yield partial(_submit, client), lambda future: client.gather(future, direct=direct)
        return
    pool = ThreadPoolExecutor(threads, thread_name_prefix="engine")
    try:
        yield lambda piece: pool.submit(piece.compute, scheduler="sync"), Future.result
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(client: Any, piece: Any) -> Any:
    """Have a worker compute a delayed piece.

    As the tasks that it consists of, it would be spread over the workers, which then send
    each other the blocks.
    """
    from distributed import Future as There

    (small,) = dask.optimize(piece)
    graph = dict(small.__dask_graph__())
    # Of what was persisted only the keys are left.
    keys = list({key for task in graph.values() for key in task.dependencies} - graph.keys())
    work = Portable(partial(_complete, graph, small.key, keys))
    return client.submit(work, [There(key, client) for key in keys], pure=False)


def _complete(graph: dict[Any, Any], wanted: Any, keys: list[Any], values: list[Any]) -> Any:
    """A value of a graph that lacks some, which are given."""
    return dask.get(graph | dict(zip(keys, values, strict=True)), wanted)


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
    work = Portable(partial(function, *arguments, **options))
    return client.submit(work, pure=False).result()


def _client() -> Any:
    """The active client of a cluster, if there is one; nothing is imported to find out."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None
