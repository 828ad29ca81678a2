"""Memory that was freed is given back, where the C library is glibc."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from shared.heap import give_back
from tests.conftest import ROOT

CODE = """
import sys
import numpy as np, psutil
from shared.heap import give_back

if sys.argv[1] == "given back":
    give_back()
now = psutil.Process().memory_info
del_me = np.ones(3_000_000)  # from now on glibc keeps arrays of 24 MB
del del_me
before, arrays, small = now().rss, [], []
for _ in range(20):
    arrays.append(np.ones(500_000))
    small.append(bytes(60_000))  # what stays behind each
arrays.clear()
print((now().rss - before) // 1_000_000)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_large_arrays_are_given_back_though_small_ones_stay():
    left = {}
    for how in ("given back", "kept"):
        done = subprocess.run(
            [sys.executable, "-c", CODE, how], cwd=ROOT, check=True, capture_output=True, text=True
        )
        left[how] = int(done.stdout)
    assert left["given back"] < 5 < 50 < left["kept"]


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_another_c_library_is_left_alone(monkeypatch, error):
    def fail(_name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    give_back()
