"""The page of the map, read by who knows its language: TypeScript and ESLint."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT
from tests.peers.install import PEERS, missing

PAGE = ROOT / "pages" / "static" / "map.js"
NODE = PEERS / "node"
READERS = {
    "tsc": ("--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--lib",
            "es2022,dom,dom.iterable"),
    "eslint": ("--config", "eslint.config.mjs"),
}  # fmt: skip


@pytest.mark.skipif(bool(missing("node")), reason=missing("node") or "it is there")
@pytest.mark.parametrize("reader", READERS)
def test_the_page_has_nothing_to_complain_of(reader):
    copy = shutil.copy(PAGE, NODE)  # ESLint reads what is below its settings
    program = NODE / "node_modules" / ".bin" / (f"{reader}.cmd" if os.name == "nt" else reader)
    command = [str(program), *READERS[reader], str(copy)]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
