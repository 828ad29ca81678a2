"""What each command may import, beside what it cannot do without."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
import requests

from store import Archive
from tests.archive.test_contents import ORIGIN, TILE, cells_of, days
from tests.conftest import ROOT
from tests.processes import ctrl_c
from tests.rounds import torture, turns
from tests.waiting import PATIENCE

HEAVY = (
    "numpy pandas xarray zarr numba llvmlite scipy dask distributed openeo requests matplotlib "
    "rich pyproj healpy h5py netCDF4 rasterio shapely pystac_client obstore fsspec numcodecs PIL "
    "rustac"
)
CODE = """
import sys
sys.path.insert(0, sys.argv[1])
heavy, sys.argv = sys.argv[2].split(), ["main.py", *sys.argv[3:]]
import main
code = main.main()
print(*sorted(name for name in heavy if name in sys.modules), file=sys.stderr)
sys.exit(code)
"""
READING = "numpy pandas xarray numcodecs"
ORDERING = "numpy requests"
BOX = f"{TILE.west},{TILE.south},{TILE.east},{TILE.north}"  # smaller than 0.1 x 0.1 degrees
ORDER = f"download --dry-run --no-catalogue --backend sandbox --bbox {BOX} --start 2026-01"


def retrieved(suffix):
    return f"retrieve --bbox {BOX} --day {days(1)[0].day} --no-show --output a{suffix}"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with an archive of one record, and its caches."""
    folder = tmp_path_factory.mktemp("imports")
    (chunk,) = days(1)
    Archive(folder / "sentinel1.zarr").write(chunk, cells_of(chunk.tile, 1), ORIGIN)
    return folder


@torture
@pytest.mark.parametrize(
    ("command", "allowed"),
    turns([
        ("", ""),  # the first question
        ("--help", ""),
        ("list", ""),
        ("list --json", ""),
        ("list --jobs", ""),
        ("verify", READING),
        ("clean --dry-run", ORDERING),
        (f"{ORDER} --archive new.zarr", ORDERING),
        ("login --backend http://127.0.0.1:9", "numpy openeo requests pyproj shapely"),
        (retrieved(".png"), f"{READING} matplotlib PIL"),
        (retrieved(".nc"), f"{READING} netCDF4 h5py"),
        (retrieved(".tif"), f"{READING} rasterio"),
    ]),
)  # fmt: skip
def test_a_command_imports_what_it_needs(small, command, allowed):
    environ = os.environ | {"XDG_CACHE_HOME": str(small / "cache"), "XDG_DATA_HOME": str(small)}
    for _ in range(2 if command[:4] in ("", "list") else 1):  # the first one reads the archive
        done = subprocess.run(
            [sys.executable, "-c", CODE, str(ROOT), HEAVY, *command.split()],
            cwd=small, env=environ, input="q\n", capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == (1 if command.startswith("login") else 0), done.stderr
    found = done.stderr.splitlines()[-1].split()
    assert set(found) <= set(allowed.split()), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_a_map_is_made_without_xarray(small):
    """Tiles, ranges and places: nobody waits for xarray, and nothing keeps its memory."""
    command = [sys.executable, "-c", CODE, str(ROOT), HEAVY, "browse", "--no-open"]
    pipe, picked = subprocess.PIPE, {"first": str(days(1)[0].day), "orbit": "any"}
    lon, lat = TILE.west + 0.5, TILE.south + 0.25
    column, row = int((lon + 180) / 360 * 2**6), 21
    with ctrl_c(), subprocess.Popen(
        command, cwd=small, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        asked: dict[str, dict[str, Any]] = {
            "ranges": {"band": "colour", "box": f"{BOX}"},
            f"tile/6/{column}/{row}.png": {"band": "VV", "ranges": "-20,-5"},
            "place": {"band": "VV", "lon": lon, "lat": lat},
        }
        for what, more in asked.items():
            answer = requests.get(url + what, params=picked | more, timeout=PATIENCE)
            assert answer.ok, answer.text
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE)
    assert not {"xarray", "pandas", "dask", "matplotlib"} & set(said.splitlines()[-1].split()), said


TILES = """
import datetime as dt, sys
sys.path.insert(0, sys.argv[1])
from cli.browse_command import atlas_of
from cli.workspace import Workspace
from images.atlas import Picked

day, at = dt.date.fromisoformat(sys.argv[2]), [tuple(map(int, a.split("/"))) for a in sys.argv[3:]]
picked = Picked(day, day, "any", "VV")

def tiles():
    atlas = atlas_of(Workspace("sentinel1.zarr"))
    return atlas, [atlas.tile(picked, {"VV": (-20.0, -5.0)}, *each) for each in at]

atlas, first = tiles()
before = "numba" in sys.modules
atlas.prepare()
_, again = tiles()
print(before, "numba" in sys.modules, first == again, len(set(first)))
"""


def test_the_first_tiles_do_not_wait_for_numba_and_are_the_same_with_it(small):
    lon, lat = TILE.west + TILE.size[0] / 2, TILE.south + TILE.size[1] / 2
    at = []
    for zoom in (6, 10, 13, 16):  # cells larger and smaller than pixels
        y = (1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2
        at.append(f"{zoom}/{int((lon + 180) / 360 * 2**zoom)}/{int(y * 2**zoom)}")
    done = subprocess.run(
        [sys.executable, "-c", TILES, str(ROOT), str(days(1)[0].day), *at],
        cwd=small, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "True", "True", "4"], done.stderr
