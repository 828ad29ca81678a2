"""Tiles of the map of `browse`, against TiTiler on the same image as a cloud-optimised GeoTIFF.

Both serve over loopback; a walk of a browser that pans and zooms at random is gone by both, a tile
after the other.  TiTiler is set up by ``make peers``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import requests

import retrieve
import store
from benchmarks._speckle import counts, record, size_of, speckle
from benchmarks.store import Row
from grid import BBox, Chunk, Tile
from tests.peers.install import missing, python

MAIN = Path(__file__).parents[1] / "main.py"
TILES = Tile(7.0, 50.0, 8.0, 50.5), Tile(8.0, 50.0, 9.0, 50.5)
BOX = BBox(7.0, 50.0, 9.0, 50.5)
DAY = dt.date(2026, 1, 1)
STEPS, ZOOMS = 500, (4, 16)
WARM = 20  # tiles that are asked for before
PICKED = {"first": str(DAY), "orbit": "any"}
RANGES = {"VV": "-20,-5", "colour": "-20,-5,-28,-12,2,14"}
PEER = """
import sys, uvicorn
from fastapi import FastAPI
from titiler.core.factory import TilerFactory
app = FastAPI()
app.include_router(TilerFactory().router)
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
"""

Ask = Callable[[tuple[int, int, int]], requests.Response]


def run() -> Iterator[Row]:
    """Rows of (work, against, asked, measured)."""
    with tempfile.TemporaryDirectory(prefix="benchmark-tiles-") as folder:
        archive = filled(Path(folder) / "a.zarr")
        walk = list(walked(random.Random(1)))
        with ours(archive) as (process, url, first):
            yield "first tile after the command", "-", "1.5 s", f"{first:.2f} s"
            mine = timed(tile_of(url, "VV"), walk)
            colour = timed(tile_of(url, "colour"), walk)
            yield "a tile of one band", "-", "15 ms, 99 % 60 ms", words(mine)
            yield "a tile in colour", "-", "15 ms, 99 % 60 ms", words(colour)
            yield "the same, at its first visit", "-", "", words(at_first(colour, walk))
            used = peak(process)
            yield "memory after both walks", "-", "400 MB", f"{used:.0f} MB"
        if why := missing("titiler"):
            yield "a tile of one band", "TiTiler", "faster", why
            return
        picture = Path(folder) / "a.tif"
        retrieve.export(retrieve.open(archive, BOX, DAY, bands=["VV"]), picture)
        with theirs() as url:
            peer = timed(peer_of(url, picture), walk)
        ratio = np.median(mine) / np.median(peer)
        late = np.percentile(mine, 99) / np.percentile(peer, 99)
        told = f"{ratio:.2f} of its median, {late:.2f} of its 99 %; it: {words(peer)}"
        yield "a tile of one band", "TiTiler", "faster", told
        new, its = (at_first(found, walk) for found in (mine, peer))
        ratio = np.median(new) / np.median(its)
        yield (
            "the same, at its first visit",
            "TiTiler",
            "",
            f"{ratio:.2f} of its median; {words(new)}",
        )


def filled(path: Path) -> store.Archive:
    """An archive of speckle at the usual size, all of it seen."""
    archive = store.Archive(path)
    for number, tile in enumerate(TILES):
        rng, size = np.random.default_rng(number), size_of(tile)
        power = {band: speckle(rng, size) for band in ("VV", "VH")}
        archive.write(Chunk(tile, DAY), record(tile, power, counts(rng, size, gaps=0.0)))
    return archive


def walked(rng: random.Random) -> Iterator[tuple[int, int, int]]:
    """Tiles as a browser asks for them whose map is moved and zoomed, all of them in the box."""
    zoom, lon, lat = ZOOMS[0], BOX.west + BOX.width / 2, BOX.south + BOX.height / 2
    for _ in range(STEPS):
        if rng.random() < 0.5:
            zoom = min(max(zoom + rng.choice((-1, 1)), ZOOMS[0]), ZOOMS[1])
        else:
            side = 360 / 2**zoom
            lon = min(max(lon + rng.uniform(-side, side), BOX.west + 1e-3), BOX.east - 1e-3)
            lat = min(max(lat + rng.uniform(-side, side), BOX.south + 1e-3), BOX.north - 1e-3)
        y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
        yield zoom, int((lon + 180) / 360 * 2**zoom), int(y * 2**zoom)


@contextlib.contextmanager
def ours(archive: store.Archive) -> Iterator[tuple[psutil.Process, str, float]]:
    """The server of `browse`, its address, and after how many seconds its first tile came."""
    command = [sys.executable, str(MAIN), "browse", "--no-open", "--archive", str(archive.path)]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        tile_of(url, "VV")((7, 66, 43)).raise_for_status()
        try:
            yield psutil.Process(process.pid), url, time.perf_counter() - began
        finally:
            process.terminate()


def tile_of(url: str, band: str) -> Ask:
    session = requests.Session()
    query = PICKED | {"band": band, "ranges": RANGES[band]}
    return lambda at: session.get("{}tile/{}/{}/{}.png".format(url, *at), params=query)


@contextlib.contextmanager
def theirs() -> Iterator[str]:
    """TiTiler's address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [str(python("titiler")), "-c", PEER, str(port)], stderr=subprocess.DEVNULL
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(url, timeout=5)
                    break
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def peer_of(url: str, picture: Path) -> Ask:
    session = requests.Session()
    query = {"url": str(picture), "bidx": "1", "rescale": "0,0.3"}
    return lambda at: session.get(
        "{}/tiles/WebMercatorQuad/{}/{}/{}.png".format(url, *at), params=query
    )


def timed(ask: Ask, walk: list[tuple[int, int, int]]) -> list[float]:
    """Milliseconds of each tile, after some that only warm up."""
    for at in walk[:: len(walk) // WARM]:
        ask(at)
    found = []
    for at in walk:
        began = time.perf_counter()
        ask(at).raise_for_status()
        found.append(1e3 * (time.perf_counter() - began))
    return found


def at_first(found: list[float], walk: list[tuple[int, int, int]]) -> list[float]:
    """Those of tiles that were not asked for before."""
    seen, new = set(walk[:: len(walk) // WARM]), []
    for took, at in zip(found, walk, strict=True):
        new += [took] * (at not in seen)
        seen.add(at)
    return new


def words(found: list[float]) -> str:
    middle, late = np.percentile(found, [50, 99])
    return f"median {middle:.1f} ms, 99 % {late:.1f} ms"


def peak(process: psutil.Process) -> float:
    """The most memory that a process has had, MB; now, where nobody says the most."""
    about = process.memory_info()
    most = getattr(about, "peak_wset", about.rss)
    with contextlib.suppress(OSError):  # Linux
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = 1024 * int(status.partition("VmHWM:")[2].split()[0])
    return float(most) / 1e6
