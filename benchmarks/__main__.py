"""Print the measurements of every room as Markdown tables: ``python -m benchmarks [room ...]``.

A room's module here, ``benchmarks/<room>.py``, has a function ``run()`` that gives rows
(work, against, asked, measured).  Each row compares with a plain implementation or a peer
in the same run on the same data, so what is printed are ratios, not seconds of one machine.
"""

from __future__ import annotations

import importlib
import logging
import platform
import sys
from pathlib import Path

import numpy as np


def main(names: list[str]) -> None:
    found = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))
    unknown = sorted(set(names) - set(found))
    if unknown:
        sys.exit(f"There is no benchmark of {', '.join(unknown)}; there are: {', '.join(found)}.")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    for name in names or found:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n## {name}\n\n| work | against | asked | measured |\n| --- | --- | --- | --- |")
        for row in module.run():
            print("| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
