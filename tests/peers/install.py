"""Sets up the environments of the peers in `.peers/`: ``python -m tests.peers.install``.

One that cannot be installed is left out with a line that says why, and the tests that need
it are skipped with the same words.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".peers"
LONGEST_WORDS = 300  # characters of an installer's last words


def python(name: str) -> Path:
    """The interpreter of an environment."""
    return PEERS / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def missing(name: str) -> str:
    """Why a peer is not there; empty if it is."""
    if (PEERS / f"{name}.ready").is_file():
        return ""
    why = PEERS / f"{name}.why"
    words = why.read_text(encoding="utf-8") if why.is_file() else "run `make peers`"
    return f"{name} is not installed: {words}"


def main() -> None:
    """Install what is not there yet."""
    for name in ("openeo", "stac", "titiler", "node"):
        install(name)


def install(name: str) -> None:
    """Install a peer if it is not there yet."""
    PEERS.mkdir(exist_ok=True)
    if name == "node":
        _once(name, HERE / "package.json", _install_node)
    else:
        _once(name, HERE / f"requirements-{name}.txt", _install_python)


def _once(name: str, wanted: Path, work: object) -> None:
    """Install a peer unless what is wanted is what is there."""
    ready, why = PEERS / f"{name}.ready", PEERS / f"{name}.why"
    text = wanted.read_text(encoding="utf-8")
    if ready.is_file() and ready.read_text(encoding="utf-8") == text:
        return
    ready.unlink(missing_ok=True)
    shutil.rmtree(PEERS / name, ignore_errors=True)
    try:
        assert callable(work)
        work(name, wanted)
    except (OSError, subprocess.CalledProcessError) as error:
        words = str(getattr(error, "stderr", "") or error).strip()[-LONGEST_WORDS:]
        why.write_text(" ".join(words.split()), encoding="utf-8")
        print(missing(name), file=sys.stderr)
        return
    why.unlink(missing_ok=True)
    ready.write_text(text, encoding="utf-8")


def _install_python(name: str, requirements: Path) -> None:
    venv.create(PEERS / name, with_pip=True)
    _run(str(python(name)), "-m", "pip", "install", "--quiet", "-r", str(requirements))


def _install_node(name: str, package: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise OSError("there is no npm")
    (PEERS / name).mkdir()
    shutil.copy(package, PEERS / name)
    for file in ("provider.mjs", "eslint.config.mjs"):  # modules are looked for beside them
        shutil.copy(HERE / file, PEERS / name)
    _run(npm, "install", "--prefix", str(PEERS / name), "--no-audit", "--no-fund")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


if __name__ == "__main__":
    main()
