"""Compiled loops are kept on disk, and compiled again when any file of the package changes."""

from __future__ import annotations

import os
import pkgutil
import shutil
import subprocess
import sys

import pytest

import healpix
from tests.conftest import ROOT
from tests.rounds import seldom, torture, turns

CALLEE = """
from healpix.loops import loop

@loop
def more(value: int) -> int:
    return value + {}
"""
CALLER = """
from healpix.callee import more
from healpix.loops import loop

@loop
def tenfold(value: int) -> int:
    return 10 * more(value)
"""
RUN = """
from numba.core import event

class Counter(event.Listener):
    count = 0
    def on_start(self, happened):
        self.count += 1
    def on_end(self, happened):
        pass

counter = Counter()
event.register("numba:compile", counter)
from healpix.caller import tenfold
print(tenfold(1), counter.count)
"""


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package with two loops more, and caches of its own."""
    shutil.copytree(ROOT / "healpix", tmp_path / "healpix", ignore=lambda *_: ["__pycache__"])
    (tmp_path / "healpix" / "caller.py").write_text(CALLER)
    (tmp_path / "healpix" / "callee.py").write_text(CALLEE.format(1))
    for name in ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / ".cache"))
    return tmp_path


def run(folder, at_once=1):
    """Result, and number of functions compiled, of each process that calls the outer loop."""
    started = [
        subprocess.Popen([sys.executable, "-c", RUN], cwd=folder, stdout=subprocess.PIPE, text=True)
        for _ in range(at_once)
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * at_once
    return [tuple(int(word) for word in text.split()) for text in said]


def beside_the_source(folder, monkeypatch):
    return folder / "healpix" / "__pycache__"


def in_a_folder_that_the_user_names(folder, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "named"))
    return folder / "named"


def in_the_user_s_cache(folder, monkeypatch):
    (folder / "healpix" / "__pycache__").write_text("no folder, so that nothing is written there")
    return folder / "home"


@torture
@pytest.mark.parametrize(
    "kept", turns([beside_the_source, in_a_folder_that_the_user_names, in_the_user_s_cache])
)
def test_a_loop_is_compiled_again_when_one_that_it_calls_has_changed(copy, monkeypatch, kept):
    place = kept(copy, monkeypatch)
    assert run(copy) == [(20, 2)]
    (copy / "healpix" / "callee.py").write_text(CALLEE.format(100))
    assert run(copy) == [(1010, 2)]
    assert run(copy) == [(1010, 0)], "it is kept"
    if os.name == "posix":
        assert list(place.rglob("*tenfold*.nbi"))


@seldom(4)
def test_processes_that_start_at_once_do_not_spoil_what_is_kept(copy):
    assert [result for result, _ in run(copy, at_once=3)] == [20, 20, 20]
    assert run(copy) == [(20, 0)]


@seldom(1)
def test_a_loop_is_compiled_again_when_its_own_file_elsewhere_has_changed(copy):
    own = CALLER.replace("healpix.callee", "inner").replace("10 *", "20 *")
    (copy / "inner.py").write_text(CALLEE.format(1))
    (copy / "healpix" / "caller.py").write_text("from outer import tenfold")
    (copy / "outer.py").write_text(own)
    assert run(copy) == [(40, 2)]
    (copy / "outer.py").write_text(own.replace("20 *", "300 *"))
    assert run(copy) == [(600, 1)]


def test_numba_is_imported_when_a_loop_is_called():
    modules = {f"healpix.{module.name}" for module in pkgutil.iter_modules(healpix.__path__)}
    told = f"import sys, {', '.join(modules - {'healpix.kept'})}; print('numba' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
