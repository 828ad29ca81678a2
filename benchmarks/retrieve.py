"""Pictures, series and exports of an archive of full tiles, each against the plain way.

The archive has 8 x 8 tiles of 1 x 0.5 degrees around 50 N, 5.8 to 6.9 million cells of
speckle each, on one day, and one of them on 100 days.  The files are read from the cache of
the operating system, after a first read of all of them; both sides take turns and the best
of several counts.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import xarray as xr

import convert
import retrieve
import store
from benchmarks.store import Row, Unsynced, bytes_read, ratio, taking_turns
from grid import BBox, Chunk, Tile, tiles_covering
from healpix.ids import ids_to_runs, runs_to_ids
from retrieve import export
from shared import compute

DAY = dt.date(2026, 1, 1)
DAYS = 100
HOME = Tile(7.0, 50.0, 8.0, 50.5)
PIXELS = 1000  # a side of the pictures
SIDES = (1, 2, 4, 8)  # tiles a side of the boxes
FIELD = BBox(7.500, 50.200, 7.514, 50.209)  # 1 x 1 km
INSIDE = BBox(7.02, 50.02, 7.98, 50.48)  # of one tile, so that its neighbours are not read
EXPORTED = BBox(6.05, 49.55, 7.95, 50.95)
CONTINENT = BBox(2.0, 45.0, 12.0, 55.0)  # 10 x 10 degrees
MEMORY_MAX = 2e9  # bytes that its export may take


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    with tempfile.TemporaryDirectory(prefix="benchmark-retrieve-") as name:
        folder = Path(name)
        archive = store.Archive(fill(folder / "a.zarr"))
        yield from pictures(archive)
        yield from overview(archive)
        yield from series(archive)
        yield continent(archive, folder)
    # Where there is one, in a folder in memory: it is the work that is compared, not a disk.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        yield from exports(store.Archive(fill(folder / "a.zarr", sides=4, days=1)), folder)


def fill(path: Path, sides: int = SIDES[-1], days: int = DAYS) -> Path:
    """An archive of sides x sides tiles, and so many days of one of them."""
    archive = store.Archive(path, Unsynced)
    rng = np.random.default_rng(0)
    power = rng.gamma(4.4, 0.02, (2, 7_500_000)).astype(np.float32)
    count = rng.integers(5, 8, 7_500_000).astype(np.uint16)

    def write(tile: Tile, day: dt.date) -> None:
        start, length = convert.tile_runs(tile)
        first, size = int(rng.integers(0, 500_000)), int(length.sum())
        part = slice(first, first + size)
        values: dict[str, Any] = {"VV": ("cells", power[0, part]), "VH": ("cells", power[1, part])}
        values |= {"count": ("cells", count[part])}
        values |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
        attrs = {"nside": convert.NSIDE, "ellipsoid": convert.ELLIPSOID, "ordering": "nested"}
        archive.write(Chunk(tile, day), xr.Dataset(values, attrs=attrs))

    for tile in tiles_covering(box_of(sides), HOME.size):
        write(tile, DAY)
    for number in range(1, days):
        write(HOME, DAY + dt.timedelta(days=number))
    return path


def box_of(side: int) -> BBox:
    """A box of side x side tiles around the one with 100 days."""
    west, south = HOME.west - side // 2, HOME.south - side // 2 * 0.5
    return BBox(west, south, west + side, south + side * 0.5)


def picture(archive: store.Archive, side: int) -> xr.Dataset:
    box = box_of(side)
    dlat, dlon = box.height / PIXELS, box.width / PIXELS
    return retrieve.retrieve(archive, box, DAY, dlat=dlat, dlon=dlon)


def pictures(archive: store.Archive) -> Iterator[Row]:
    works = {f"{side}": partial(picture, archive, side) for side in SIDES}
    opening = {"open": lambda _: (archive.views(), archive.records())}
    taken = taking_turns({name: ignoring(work) for name, work in works.items()} | opening, turns=4)
    read = {side: bytes_read(works[f"{side}"]) for side in SIDES}
    for side in SIDES[1:]:
        number = side * side
        limit = f"at most 4 and the opening of the tiles ({taken['open']:.2g} s)"
        yield (
            f"picture of {number} tiles, 1,000 x 1,000 pixels", "the same of 1 tile",
            limit if number == 64 else "", ratio(taken[f"{side}"], taken["1"], "s"),
        )  # fmt: skip
        yield "the same, bytes read", "the same", "", ratio(read[side], read[1], "MB")


def ignoring(work: Callable[[], Any]) -> Callable[[int], Any]:
    """A work that does not care for the turn."""
    return lambda _: work()


def overview(archive: store.Archive) -> Iterator[Row]:
    """A small picture of one tile, and the same from the full resolution."""
    box = INSIDE
    step = 0.01, 0.016  # dlat, dlon

    def plain() -> xr.Dataset:
        """Every cell, averaged down to the cells of the overview, then to pixels."""
        cells = archive.read(Chunk(HOME, DAY))
        parent = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values) >> 8
        ids, place = np.unique(parent, return_inverse=True)
        count = cells["count"].values.astype(float)
        total = np.bincount(place, count)
        values: dict[str, Any] = {
            band: ("cells", np.bincount(place, cells[band].values * count) / total)
            for band in ("VV", "VH")
        }
        start, length = ids_to_runs(ids)
        values |= {"count": ("cells", total)}
        values |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
        attrs = cells.attrs | {"nside": convert.NSIDE >> 4}
        return convert.cells_to_grid(xr.Dataset(values, attrs=attrs), box, *step, method="mean")

    def ours() -> xr.Dataset:
        return retrieve.retrieve(archive, box, DAY, None, *step)

    found, expected = ours(), plain()
    apart = float(np.abs(found["VV"] / expected["VV"] - 1).max())
    taken = taking_turns({"plain": lambda _: plain(), "ours": lambda _: ours()}, turns=4)
    less = bytes_read(plain) / bytes_read(ours)
    work = f"picture of one tile, {found.sizes['lat']} x {found.sizes['lon']} pixels"
    against = "every cell, averaged by numpy"
    yield f"{work}, bytes read", against, "at least 20 times fewer", f"{less:.3g} times fewer"
    yield "the same, largest relative difference", against, "1e-6", f"{apart:.1e}"
    yield "the same, time", against, "", ratio(taken["ours"], taken["plain"], "s")


def series(archive: store.Archive) -> Iterator[Row]:
    last = DAY + dt.timedelta(days=DAYS - 1)
    days = [DAY + dt.timedelta(days=i) for i in range(DAYS)]
    taken = taking_turns(
        {
            "ours": lambda _: retrieve.open(archive, FIELD, DAY, last).compute(),
            "whole": lambda _: [archive.read(Chunk(HOME, day)) for day in days],
        },
        turns=3,
    )
    yield (
        f"{DAYS} days of 1 x 1 km", f"reading the {DAYS} records whole", "at most 0.05",
        ratio(taken["ours"], taken["whole"], "s"),
    )  # fmt: skip


def exports(archive: store.Archive, folder: Path) -> Iterator[Row]:
    """The same export with one and with two workers: threads, then processes of a cluster."""
    from distributed import LocalCluster

    def once() -> None:
        export(retrieve.open(archive, EXPORTED, DAY), folder / "a.nc", overwrite=True)

    def threads(number: int, work: Callable[[], None]) -> None:
        with dask.config.set(num_workers=number):
            work()

    def processes(address: str, work: Callable[[], None]) -> None:
        with compute.cluster(address):
            work()

    pixels = retrieve.open(archive, EXPORTED, DAY)["VV"].size / 1e6
    exporting = f"export of {pixels:.0f} M pixels to .nc, 2"
    asked = "at least 1.6 times faster"
    with contextlib.ExitStack() as stack:
        one, two = (
            stack.enter_context(
                LocalCluster(n_workers=number, threads_per_worker=1, dashboard_address=":0")
            ).scheduler_address
            for number in (1, 2)
        )
        for name, limit, first, second in (
            (f"{exporting} threads", asked, partial(threads, 1, once), partial(threads, 2, once)),
            (f"{exporting} processes", asked, partial(processes, one, once),
             partial(processes, two, once)),
            ("loops that need no data, 2 processes", "", partial(processes, one, idle_loops),
             partial(processes, two, idle_loops)),
        ):  # fmt: skip
            taken = taking_turns({"1": ignoring(first), "2": ignoring(second)}, turns=6)
            yield name, "1 of them", limit, f"{taken['1'] / taken['2']:.2f} times faster"


def idle_loops() -> None:
    """Work that workers share nothing of: how much faster two can be on this machine at all."""
    loop = dask.delayed(lambda number: sum(range(number)))
    for _ in compute.each(loop(10_000_000) for _ in range(16)):
        pass


def continent(archive: store.Archive, folder: Path) -> Row:
    """The peak memory of an export of 10 x 10 degrees at full resolution."""
    code = (
        "import datetime as dt, sys, retrieve, store;"
        "from benchmarks.retrieve import CONTINENT, DAY;"
        "from benchmarks.convert import peak;"
        "cube = retrieve.open(store.Archive(sys.argv[1]), CONTINENT, DAY);"
        "retrieve.export(cube, sys.argv[2]);"
        "print(peak(), cube['VV'].size)"
    )
    target = folder / "continent.nc"
    command = [sys.executable, "-c", code, str(archive.path), str(target)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    most, pixels = (float(word) for word in done.stdout.split())
    work = f"export of 10 x 10 degrees, {pixels / 1e9:.1f} G pixels of two bands"
    measured = f"{most / 1e9:.2f} GB (a file of {size_of_file(target) / 1e9:.1f} GB)"
    return work, "peak memory", f"under {MEMORY_MAX / 1e9:g} GB", measured


def size_of_file(path: Path) -> float:
    return float(path.stat().st_size)
