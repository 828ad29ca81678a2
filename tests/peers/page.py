"""The page of the map, read by who knows its language: ``python -m tests.peers.page``.

TypeScript and ESLint come with the peers of node; who has npm gets them at the first time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.peers import install

PAGE = install.HERE.parents[1] / "pages" / "static" / "map.js"
NODE = install.PEERS / "node"
READERS = {
    "tsc": ("--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022", "--lib",
            "es2022,dom,dom.iterable"),
    "eslint": ("--config", "eslint.config.mjs"),
}  # fmt: skip


def complaints(reader: str) -> str:
    """What a reader has to say against the page."""
    copy = shutil.copy(PAGE, NODE)  # ESLint reads what is below its settings
    program = NODE / "node_modules" / ".bin" / (f"{reader}.cmd" if os.name == "nt" else reader)
    command = [str(program), *READERS[reader], str(copy)]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode or done.stdout else ""


def main() -> int:
    """Read the page, or say why not; 1 if there is something to complain of."""
    if install.missing("node") and not (install.PEERS / "node.why").exists():
        install.install("node")
    if why := install.missing("node"):
        print(f"The page's JavaScript is not read: {why}")
        return 0
    found = [words for words in map(complaints, READERS) if words]
    print("\n".join(found) or f"{PAGE.name}: nothing to complain of ({', '.join(READERS)})")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
