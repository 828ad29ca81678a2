"""Makes docs/first-look.ipynb: its cells stand here, and Jupyter's own machinery runs them.

    python docs/notebook.py            # writes it with what the cells gave

It is run from end to end by a test.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "first-look.ipynb"
TIMEOUT = 600  # s of a cell

# Text and code.
TEXT, CODE = "markdown", "code"
CELLS = [
    (
        TEXT,
        """# A first look

From nothing to a small archive of radar images, a mean over days, the course of three fields, and HEALPix
cells: with the built-in back end, whose images are **made up**, so it needs no account and no network. For
measured images say `"--backend", "cdse"`; everything else stays the same.""",
    ),
    (
        CODE,
        """%matplotlib inline
%config InlineBackend.figure_formats = ["jpeg"]
import download, main

download.CHUNK_SIZE = [0.2, 0.1]             # degrees: small tiles, to be done in a minute
area = "4.01,51.21,4.19,51.29"               # west, south, east, north: the Scheldt below Antwerp
code = main.main([
    "download", "--bbox", area, "--start", "2026-01-20", "--end", "2026-01-31", "--orbit", "descending",
    "--backend", "sandbox", "--yes", "--archive", "first-look.zarr",
])
code                                         # 0: done""",
    ),
    (TEXT, """The archive says what it holds: its tiles, and a record for each day and orbit."""),
    (
        CODE,
        """import store

archive = store.Archive("first-look.zarr")
archive""",
    ),
    (CODE, """archive.records()[["tile", "day", "orbit", "seen", "acquired_begin"]].head()"""),
    (
        TEXT,
        """## One day

`retrieve.retrieve` gives an image on a regular grid of longitude and latitude, in linear power;
decibels are for eyes, at the very end.""",
    ),
    (
        CODE,
        """import retrieve

image = retrieve.retrieve(archive, area, "2026-01-20", dlat=4e-4, dlon=6e-4)
figure = retrieve.plot(image)
figure.set_dpi(60)
figure""",
    ),
    (
        TEXT,
        """## Several days as one image

The mean of each cell over all days has much less speckle. It is weighted by the pixels behind each cell, so
no energy is made or lost.""",
    ),
    (
        CODE,
        """mean = retrieve.load(archive, area, "2026-01-20", "2026-01-31", dlat=4e-4, dlon=6e-4, composite="mean")
print(mean.attrs["composite"], "of", mean.attrs["days_used"])
figure = retrieve.plot(mean.isel(time=0))
figure.set_dpi(60)
figure""",
    ),
    (
        TEXT,
        """## Three fields over time

Polygons come from a file, from geopandas or from shapely. Each gets a row for each day and band.""",
    ),
    (
        CODE,
        """import shapely

fields = {
    "east": shapely.box(4.150, 51.230, 4.156, 51.234),
    "middle": shapely.box(4.100, 51.250, 4.106, 51.254),
    "west": shapely.box(4.030, 51.270, 4.036, 51.274),
}
rows = retrieve.features(archive, fields, "2026-01-20", "2026-01-31", bands=["VV"])
rows.pivot_table(index="day", columns="feature", values="mean_dB").round(1)""",
    ),
    (
        TEXT,
        """## The cells themselves

A tile is a plain Zarr group; [xdggs](https://xdggs.readthedocs.io) knows it as a HEALPix grid.""",
    ),
    (
        CODE,
        """import warnings
import xarray, xdggs

warnings.simplefilter("ignore")
tile = xarray.open_zarr("first-look.zarr/" + archive.tiles()[0].name).pipe(xdggs.decode)
print(tile.dggs.grid_info)
tile.VV.sizes""",
    ),
    (
        TEXT,
        """Where to go on: [every command](commands.md), [from Python](python.md), [the map](map.md).""",
    ),
]


def notebook() -> Any:
    """The notebook without what its cells give."""
    from nbformat import from_dict

    cells: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(CELLS):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text}
        cells.append(cell | ({"outputs": [], "execution_count": None} if kind == CODE else {}))
    about = {"language_info": {"name": "python"}}
    return from_dict({"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 5})


def run(made: Any, folder: str | Path) -> Any:
    """Run all cells in a folder; CellExecutionError says what went wrong."""
    from nbclient import NotebookClient

    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), path]))
    try:
        where = {"metadata": {"path": str(folder)}}
        client = NotebookClient(made, timeout=TIMEOUT, kernel_name="python3", resources=where)
        client.execute()
    finally:
        os.environ["PYTHONPATH"] = path
    return made


def main() -> int:
    """Write the notebook, with what its cells gave."""
    with tempfile.TemporaryDirectory() as folder:
        made = run(notebook(), folder)
    for cell in made.cells:
        cell.get("metadata", {}).pop("execution", None)
    PAGE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
