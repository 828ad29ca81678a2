"""What a person waits for: whole commands, cold imports, files in the page cache.

Each is a ratio of medians against a yardstick that runs in turn with it: what Python takes to
import the packages that the work cannot do without.  The large archive is one of 4,000 tiles
with 120 records each; its tiles are copies of one that was written, without their shards, which
no list opens.
"""

from __future__ import annotations

import contextlib
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
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import convert
import retrieve
import store
from archive import recovery
from archive.arrays import packed_rows
from archive.storage import storage_at
from benchmarks.store import Row
from grid import BBox, Chunk, Provenance, Tile, tiles_covering

ROOT = Path(__file__).parents[1]
# An environment as users have it: pystac imports a package of the tests where that is there.
PYTHON = str(Path(os.environ.get("BENCH_PYTHON", sys.executable)).absolute())
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
        yield ordered(place)
        yield opened(large, small)
        yield from plans(large, place)


def demo(place: Path) -> Path:
    """The archive of the demo: two records in two tiles."""
    command = [PYTHON, str(ROOT / "main.py"), "demo"]
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
    main = [PYTHON, str(ROOT / "main.py")]
    yardstick = [PYTHON, "-c", "import xarray"]
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
    main = [PYTHON, str(ROOT / "main.py"), "retrieve", "--archive", str(small)]
    flags = ["--bbox", BOX, "--day", str(DAY), "--no-show", "--overwrite", "--output"]
    for suffix, packages in (
        (".png", "matplotlib.pyplot, xarray, zarr"),
        (".nc", "xarray, zarr, netCDF4"),
        (".tif", "xarray, zarr, rasterio"),
    ):
        command = [*main, *flags, str(place / f"box{suffix}")]
        yardstick = [PYTHON, "-c", f"import {packages}"]
        measured = against(command, yardstick)
        yield f"`retrieve` 0.1 x 0.1 degrees to {suffix}", f"`import {packages}`", "1.2", measured


def ordered(place: Path) -> Row:
    """Until a job is created, of a download whose every answer is given."""
    yardstick = [PYTHON, "-c", "import openeo"]
    with back_end() as url:
        first_job(url, place / "ordered")
        ours, theirs = [], []
        for number in range(TURNS):
            ours.append(first_job(url, place / f"ordered-{number}"))
            theirs.append(spend(yardstick))
    return (
        "`download` until the first job is created",
        "`import openeo`",
        "1.5",
        ratio(ours, theirs),
    )


@contextlib.contextmanager
def back_end() -> Iterator[str]:
    """The address of a sandbox on loopback, whose jobs take long."""
    command = [PYTHON, "-m", "sandbox", "--job-seconds", "600"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


def first_job(url: str, folder: Path) -> float:
    """Seconds from the start of a download until the back end has created its first job."""
    command = [
        PYTHON, str(ROOT / "main.py"), "download", "--yes",
        "--archive", f"{folder}.zarr",
        "--bbox", BOX, "--start", str(DAY), "--end", str(DAY),
        "--backend", url, "--catalogue", f"{url}/stac",
    ]  # fmt: skip
    login = {"METHOD": "client_credentials", "CLIENT_ID": "sandbox-client"}
    login |= {"CLIENT_SECRET": "sandbox-secret"}
    environment = os.environ | {f"OPENEO_AUTH_{key}": value for key, value in login.items()}
    known, began, nothing = len(created(url)), time.time(), subprocess.DEVNULL
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=nothing, stdout=nothing, stderr=nothing
    ) as process:
        while len(times := created(url)) == known and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    if len(times) == known:
        raise RuntimeError("The download ended before it ordered anything.")
    return times[known] - began


def created(url: str) -> list[float]:
    """When the back end created its jobs."""
    with urllib.request.urlopen(f"{url}/_sandbox/events", timeout=10) as answer:
        events = json.load(answer)["events"]
    return [event["time"] for event in events if event["kind"] == "created"]


def opened(large: Path, small: Path) -> Row:
    """A lazy object of 1,000 days of a box, against reading a record of the demo's size.

    The archive is one of the large one's tiles with more days, whose shards nobody opens.
    """
    tile = store.Archive(large).tiles()[0]
    with tempfile.TemporaryDirectory(prefix="benchmark-days-") as folder:
        path = Path(folder) / "days.zarr"
        path.mkdir()
        shutil.copy(large / "zarr.json", path)
        shutil.copytree(large / tile.name, path / tile.name)
        lengthen(path, tile, 1000)
        archive, whole = store.Archive(path), store.Archive(small)
        chunk = whole.chunks(whole.tiles()[0])[0]
        box = BBox(tile.west + 0.1, tile.south + 0.1, tile.west + 0.2, tile.south + 0.2)
        last = DAY + dt.timedelta(days=999)

        def open_days() -> None:
            found = retrieve.open(store.Archive(path), box, DAY, last)
            assert found.sizes["time"] == len(archive.chunks(tile)) == 1000

        ours, theirs = [], []
        for _ in range(TURNS + 1):
            ours.append(seconds(open_days))
            theirs.append(seconds(lambda: whole.read(chunk)))
    return "`retrieve.open`, 1,000 days", "reading one record", "2", ratio(ours[1:], theirs[1:])


def lengthen(path: Path, tile: Tile, days: int) -> None:
    """Have a tile hold as many days, one after the other: what is known of its records."""
    group = recovery.load(storage_at(path), tile, also=("provenance",))
    assert group is not None
    rows = int(group.arrays["time"]["chunk_grid"]["configuration"]["chunk_shape"][0])
    texts = group.texts()
    first = np.datetime64(DAY, "s").astype(np.int64)
    values = {
        "time": first + 86400 * np.arange(rows),
        "orbit": np.zeros(rows, np.int8),
        "provenance": [texts[0]] * rows,
    }
    for name, array in values.items():
        data = packed_rows(group, name, np.asarray(array).tolist())
        (path / tile.name / name / "c" / "0").write_bytes(data)
    file = path / tile.name / "zarr.json"
    metadata = json.loads(file.read_bytes())
    for array in metadata["consolidated_metadata"]["metadata"].values():
        if array.get("dimension_names", [""])[:1] == ["time"]:
            array["shape"][0] = days
    file.write_text(json.dumps(metadata))


def seconds(work: Callable[[], object]) -> float:
    """What some work takes in this process."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


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
    command = [PYTHON, "-c", code, str(large), str(place / "j")]
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
    return f"{ratio(ours, theirs)}, {memory(command, lines):.0f} MB"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of medians, and its spread."""
    middle = statistics.median(theirs)
    ratios = sorted(seconds / middle for seconds in ours)
    typical = statistics.median(ratios)
    return f"{typical:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; {1000 * middle * typical:.0f} ms)"


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
    launched = [PYTHON, "-c", LAUNCH, *command]
    done = subprocess.run(launched, cwd=ROOT, check=True, capture_output=True, text=True)
    return int(done.stdout) / (1e6 if sys.platform == "darwin" else 1e3)
