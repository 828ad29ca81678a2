"""A sandbox back end for the tests, as a child process on loopback.

``start_sandbox(folder, *flags)`` starts one; it is a context manager too::

    with start_sandbox(tmp_path / "state", "--job-seconds", "0.2") as sandbox:
        connection = openeo.connect(sandbox.url).authenticate_basic("sandbox", "sandbox")

The fixture ``sandbox`` is one that all tests of a process share (no faults, jobs of 0.1 s);
the fixture ``sandboxes`` is `start_sandbox` with the state in the test's own folder, which
stops what it started when the test ends.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
from distributed import Client
from xdist.scheduler import LoadFileScheduling

from tests.processes import python
from tests.rounds import SEED, has_turn
from tests.waiting import PATIENCE, until

ROOT = Path(__file__).parent.parent
LONG = (  # the files of tests that take longest
    "whole/test_main", "whole/test_notebook", "archive/test_folder_writer", "archive/test_claims",
    "archive/test_bucket_writer", "jobs/test_catalogue", "archive/test_passes",
    "archive/test_counts", "images/test_layout", "cli/test_terminal", "jobs/test_faults",
    "images/test_lazy", "jobs/test_scheduler", "cli/test_add_command", "healpix/test_loops",
    "cells/test_average", "cells/test_kinds", "archive/test_contents", "pages/test_browser",
    "whole/test_constants", "archive/test_states",
)  # fmt: skip
CLUSTERED = (  # files that use a cluster: one worker has them all, and begins one
    "whole/test_main", "images/test_features", "images/test_composites", "shared/test_compute",
    "images/test_speckle",
)  # fmt: skip
IDLE = {  # a cluster that nobody uses takes an eighth of a core to watch itself
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL": "10s",
    "DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL": "1s",
}

COMPILING = pytest.StashKey[subprocess.Popen[bytes]]()

# Where memory serves as a disk, tests do not wait for a real one: they kill processes, not power.
MEMORY = Path("/dev/shm")
ROOMY = 4_000_000_000  # bytes
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOMY and os.access(MEMORY, os.W_OK):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
# What is remembered of the tests' archives is not kept among that of one's own.
OWN = Path(tempfile.gettempdir()) / "sentinel1-healpix-tests"
os.environ["XDG_CACHE_HOME"] = os.environ["XDG_STATE_HOME"] = str(OWN)
# A busy machine may take its time for an example; whole tests have the time of `timeout`.
hypothesis.settings.register_profile("usual", deadline=None)
hypothesis.settings.load_profile("usual")


def pytest_configure(config: pytest.Config) -> None:
    """Compile the loops before several workers begin, which would all compile them."""
    if config.getoption("tx", None) and not hasattr(config, "workerinput"):
        command = [sys.executable, "-c", "import tests.torture"]
        config.stash[COMPILING] = subprocess.Popen(command, cwd=ROOT)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Who asks for whole files has those that use a cluster in one worker."""
    return OneCluster(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any) -> None:
    """Loops are compiled while the workers find their tests."""
    assert node.config.stash[COMPILING].wait() == 0


def pytest_report_header() -> str:
    """What repeats the choice that the tests of today take."""
    return f"ROUNDS_SEED={SEED}"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the tests that run by themselves only their files are imported."""
    if config.option.markexpr != "alone" or collection_path.suffix != ".py":
        return None
    return "mark.alone" not in collection_path.read_text(encoding="utf-8") or None


def pytest_collection_finish() -> None:
    """What the tests import is there now."""
    importlib.import_module("tests.settled")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out whose turn it is not today, and begin with what takes long.

    So no worker is at it when the others have ended.  A test that is named has its turn.
    """
    if not any("::" in name for name in config.args):
        away = [item for item in items if not has_turn(item)]
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if has_turn(item)]
    turn = {f"tests/{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: turn.get(item.nodeid.partition("::")[0], len(turn)))


class OneCluster(LoadFileScheduling):  # type: ignore[misc]
    """A file of tests is for one worker, and so are the files that use a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "cluster" if file.removesuffix(".py").endswith(CLUSTERED) else file


class Sandbox:
    """A running sandbox: ``url``, ``state`` (its folder) and ``process``."""

    def __init__(self, state: Path, flags: tuple[str, ...]) -> None:
        self.state = state
        self.flags = flags
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start the process, or start it again on the same state (and the same port)."""
        port = self.url.rpartition(":")[2] or "0"
        where = "--port", port, "--state", str(self.state)
        self.process = python("sandbox", *where, "--parent-watch", *self.flags)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("openEO sandbox at "), f"the sandbox did not start: {line!r}"
        self.url = line.split()[-1]

    def control(self, path: str, method: str = "GET", **body: Any) -> Any:
        """Talk to ``/_sandbox/<path>``: see `sandbox.control`."""
        answer = requests.request(
            method, f"{self.url}/_sandbox/{path}", json=body or None, timeout=10
        )
        assert answer.ok, answer.text
        return answer.json()

    def events(self) -> Any:
        """Everything that happened: see `sandbox.control`."""
        return self.control("events")

    def fault(self, *switches: str) -> Any:
        """Turn faults on: see `sandbox.faults`."""
        return self.control("faults", "POST", add=list(switches))

    def clear_faults(self) -> None:
        """Turn all faults off."""
        self.control("faults", "DELETE")

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Wait until ``count`` events of a kind have happened."""
        until(
            lambda: self.events()["counts"].get(kind, 0) >= count,
            lambda: f"{count} x {kind}: {self.events()}",
        )

    def kill(self) -> None:
        """End the process with SIGKILL; `start` goes on with its state."""
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        """End the process by closing its standard input."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._reap()

    def _reap(self) -> None:
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def start_sandbox(state: Path, *flags: str) -> Sandbox:
    """Start ``python -m sandbox`` with its state in a folder and more flags."""
    return Sandbox(state, flags)


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for all tests of this process: no faults, jobs of 0.1 s."""
    with start_sandbox(tmp_path_factory.mktemp("sandbox"), "--job-seconds", "0.1") as running:
        yield running


@pytest.fixture
def faulty(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The shared sandbox, whose faults are turned off again."""
    sandbox.clear_faults()
    yield sandbox
    sandbox.clear_faults()


@pytest.fixture
def sandboxes(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """Start sandboxes of the test's own, which end with it: ``sandboxes("--slots", "1")``."""
    with contextlib.ExitStack() as stack:
        count = iter(range(1000))

        def start(*flags: str) -> Sandbox:
            state = tmp_path / f"sandbox{next(count)}"
            return stack.enter_context(start_sandbox(state, *flags))

        yield start


def _address_in(about: Path) -> str:
    """What a dask scheduler has written of itself; "" as long as it is not all there."""
    try:
        return str(json.loads(about.read_text())["address"])
    except (OSError, ValueError):
        return ""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dask scheduler with two workers, started as people start them.

    They run in a folder of their own, so that they find this program only if they are told.
    """
    folder = tmp_path_factory.mktemp("cluster")
    about = folder / "scheduler.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= IDLE

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        with (folder / f"{arguments[0]}.log").open("wb") as log:
            return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    where = "--scheduler-file", str(about)
    running = [start("scheduler", "--host", "127.0.0.1", "--port", "0", *where)]
    running += [
        start("worker", *where, "--nworkers", "2", "--nthreads", "1", "--memory-limit", "0")
    ]
    try:
        address = until(lambda: _address_in(about), (folder / "scheduler.log").read_text)
        with Client(address, timeout=PATIENCE) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
        yield address
    finally:
        for process in reversed(running):
            process.terminate()
            process.wait(timeout=30)
