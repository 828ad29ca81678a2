"""What a person waits for: whole commands, cold imports, files in the page cache.

Each is a ratio of medians against a yardstick that runs in turn with it: what Python takes to
import the packages that the work cannot do without.  The large archive is one of 4,000 tiles
with 120 records each; its tiles are copies of one that was written, without their shards, which
no list opens.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import convert
import store
from benchmarks.store import Row
from grid import BBox, Chunk, Provenance, Tile, tiles_covering

ROOT = Path(__file__).parents[1]
TURNS = 7
TILES, RECORDS = 4000, 120
SMALL = 256  # NSIDE of the large archive, whose cells are of no interest
DAY = dt.date(2026, 1, 20)
BOX = "3.95,51.15,4.05,51.25"  # 0.1 x 0.1 degrees in two tiles of the demo


# A small parent: the most memory of a process counts from that of who started it.
LAUNCH = """
import resource, subprocess, sys
nothing = subprocess.DEVNULL
subprocess.run(sys.argv[1:], stdin=nothing, stdout=nothing, stderr=nothing)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    with tempfile.TemporaryDirectory(prefix="benchmark-start-") as folder:
        place = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(place / "cache")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once
        small = demo(place)
        large = continent(place)
        yield from first_lines(small, large)
        yield from pictures(small, place)
        yield from plans(large, place)


def demo(place: Path) -> Path:
    """The archive of the demo: two records in two tiles."""
    command = [sys.executable, str(ROOT / "main.py"), "demo"]
    subprocess.run(command, cwd=place, check=True, capture_output=True)
    return place / "demo" / "sentinel1.zarr"


def continent(place: Path) -> Path:
    """The large archive."""
    path = place / "large.zarr"
    chunk_size = (1.0, 0.5)
    tiles = list(tiles_covering(BBox(-40, 0, 10, 40), chunk_size))[:TILES]
    archive = store.Archive(path)
    cells = cells_of(tiles[0])
    about = Provenance("cdse", "SENTINEL1_GRD", "j-2601", "2026-01-21T03:04:05Z", False)
    for number in range(RECORDS):
        archive.write(Chunk(tiles[0], DAY + dt.timedelta(days=number)), cells, about)
    first = path / tiles[0].name
    metadata = json.loads((first / "zarr.json").read_bytes())
    for tile in tiles[1:]:
        copy(first, path / tile.name, tile, metadata)
    return path


def cells_of(tile: Tile) -> xr.Dataset:
    """A few cells of a tile."""
    start, length = convert.tile_runs(tile, SMALL, "sphere")
    size = int(length.sum())
    values = {band: ("cells", np.full(size, 0.1, np.float32)) for band in ("VV", "VH")}
    values |= {"count": ("cells", np.ones(size, np.uint16))}
    about = {"nside": SMALL, "ellipsoid": "sphere", "ordering": "nested"}
    runs = {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    return xr.Dataset(values | runs, attrs=about)


def copy(source: Path, target: Path, tile: Tile, metadata: dict[str, object]) -> None:
    """What a list reads of a tile, as another tile."""
    for name in ("time", "orbit", "provenance"):
        shutil.copytree(source / name, target / name)
    attributes = {"tile_west": tile.west, "tile_south": tile.south}
    known = metadata["attributes"]
    assert isinstance(known, dict)
    text = json.dumps(metadata | {"attributes": known | attributes})
    (target / "zarr.json").write_text(text)


def first_lines(small: Path, large: Path) -> Iterator[Row]:
    """Lists, and the first question."""
    main = [sys.executable, str(ROOT / "main.py")]
    yardstick = [sys.executable, "-c", "import xarray"]
    works = {
        "`list`, 2 records": ([*main, "list", "--archive", str(small)], "0.35"),
        "until the first question, 2 records": ([*main, "--archive", str(small)], "0.35"),
        "until the first question, 480,000 records": (
            [*main, "--archive", str(large)], "0.8, 200 MB",
        ),
        "`list`, three lines of 480,000 records": (
            [*main, "list", "--archive", str(large)], "0.8, 200 MB",
        ),
    }  # fmt: skip
    subprocess.run(works["until the first question, 480,000 records"][0], input=b"", check=False)
    for work, (command, asked) in works.items():
        lines = 3 if "three lines" in work else None
        yield work, "`import xarray`", asked, against(command, yardstick, lines)
    whole = [spend([*main, "list", "--json", "--archive", str(large)]) for _ in range(3)]
    begun = [spend([*main, "--archive", str(large)]) for _ in range(3)]
    took = statistics.median(whole) - statistics.median(begun)
    yield (
        "`list --json`, 480,000 records", "a record", "20 microseconds, memory flat",
        f"{took / TILES / RECORDS * 1e6:.1f} microseconds, "
        f"{memory([*main, 'list', '--json', '--archive', str(large)]):.0f} MB (the first question: "
        f"{memory([*main, '--archive', str(large)]):.0f} MB)",
    )  # fmt: skip


def pictures(small: Path, place: Path) -> Iterator[Row]:
    """A small box as a picture, and as files."""
    main = [sys.executable, str(ROOT / "main.py"), "retrieve", "--archive", str(small)]
    flags = ["--bbox", BOX, "--day", str(DAY), "--no-show", "--overwrite", "--output"]
    for suffix, packages in (
        (".png", "matplotlib.pyplot, xarray, zarr"),
        (".nc", "xarray, zarr, netCDF4"),
        (".tif", "xarray, zarr, rasterio"),
    ):
        command = [*main, *flags, str(place / f"box{suffix}")]
        yardstick = [sys.executable, "-c", f"import {packages}"]
        measured = against(command, yardstick)
        yield f"`retrieve` 0.1 x 0.1 degrees to {suffix}", f"`import {packages}`", "1.2", measured


def plans(large: Path, place: Path) -> Iterator[Row]:
    """A plan of a continent and a year against the large archive."""
    code = (
        "import sys, download, datetime as dt\n"
        "from pathlib import Path\n"
        "from cli.workspace import Workspace\n"
        "from grid import BBox\n"
        "from jobs.journal import Journal\n"
        "workspace = Workspace(sys.argv[1])\n"
        "first = dt.date(2026, 1, 1)\n"
        "plan = download.plan(BBox(-40, 0, 8, 20), first, first + dt.timedelta(days=364), 'any',\n"
        "    workspace.has, Journal(Path(sys.argv[2])), 'cdse', chunk_size=(1, 0.5))\n"
        "print(len(plan.missing) + len(plan.archived), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, str(large), str(place / "j")]
    yield (
        "plan of 700,800 chunks against 480,000 records", "", "5 s, 300 MB",
        f"{statistics.median(spend(command) for _ in range(3)):.1f} s, {memory(command):.0f} MB",
    )  # fmt: skip


def against(command: Sequence[str], yardstick: Sequence[str], lines: int | None = None) -> str:
    """The ratio of medians, its spread, and the most memory."""
    spend(command, lines)
    ours, theirs = [], []
    for _ in range(TURNS):
        ours.append(spend(command, lines))
        theirs.append(spend(yardstick))
    middle = statistics.median(theirs)
    ratios = sorted(seconds / middle for seconds in ours)
    typical = statistics.median(ratios)
    return (
        f"{typical:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; {1000 * middle * typical:.0f} ms), "
        f"{memory(command, lines):.0f} MB"
    )


def spend(command: Sequence[str], lines: int | None = None) -> float:
    """Seconds of a command to its end, or until it has printed so many lines and was let go."""
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        if lines is None:
            while process.stdout.read(1 << 20):
                pass
        else:
            for _ in range(lines):
                process.stdout.readline()
            process.stdout.close()
    return time.perf_counter() - began


def memory(command: Sequence[str], lines: int | None = None) -> float:
    """The most memory that a command holds, in megabytes."""
    if lines is not None:
        command = ["sh", "-c", f"{shlex.join(command)} | head -{lines}"]
    launched = [sys.executable, "-c", LAUNCH, *command]
    done = subprocess.run(launched, cwd=ROOT, check=True, capture_output=True, text=True)
    return int(done.stdout) / (1e6 if sys.platform == "darwin" else 1e3)
