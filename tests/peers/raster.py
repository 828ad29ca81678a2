"""Makes the file of an order by the sandbox's own writer: ``raster.py PROCESS.json FILE``.

For the back end of `backend.py`, whose environment has nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sandbox import graph, raster

if __name__ == "__main__":
    process = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    raster.write(graph.read(process), Path(sys.argv[2]))
