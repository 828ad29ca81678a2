"""Every constant: judged before anything is done, and obeyed however it was set."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import math
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import download
import main
import store
from archive import layout as layouts
from cli.exits import DISK_FULL, USAGE
from grid import Tile
from tests.conftest import ROOT
from tests.rounds import torture, turns
from tests.whole.test_main import BOX, DAY, answer, folder, order  # noqa: F401

NAN, INF = math.nan, math.inf
ROOMS = ("cli", "jobs", "archive", "cells", "images", "healpix", "shared")
DOORS = ("main", "download", "convert", "store", "retrieve")
TILE = Tile(3.0, 51.0, 4.0, 51.5)

# What no constant may be, and what each may not be besides.
NOT_WHOLE = (0, -1, 2.5, True, NAN, INF, "2", None, [2])
NOT_POSITIVE = (0, -1.0, NAN, INF, "2", None, True)
NOT_POSITIVE_OR_NONE = tuple(value for value in NOT_POSITIVE if value is not None)
NOT_A_NUMBER = (-1, NAN, INF, "2", None)
NOT_A_TEXT = ("", " ", 5, None, "two\nlines")
WRONG = {
    "download.MAX_INFLIGHT": NOT_WHOLE,
    "download.MAX_PENDING": NOT_WHOLE,
    "download.MAX_TRYS": NOT_WHOLE,
    "download.MAX_FILES": NOT_WHOLE,
    "download.HISTORY": NOT_WHOLE,
    "download.POLL_WAIT_TIME": NOT_POSITIVE,
    "download.START_INTERVAL": NOT_A_NUMBER,
    "download.PATIENCE": NOT_POSITIVE,
    "download.STUCK_AFTER": NOT_POSITIVE,
    "download.TYPICAL_SECONDS": NOT_POSITIVE_OR_NONE,
    "download.EMBEDDED_SECONDS": NOT_POSITIVE,
    "download.TYPICAL_BYTES": NOT_POSITIVE_OR_NONE,
    "download.PIXEL": NOT_POSITIVE_OR_NONE,
    "download.MIN_CREDITS": NOT_POSITIVE,
    "download.BACKOFF": (5, (1,), (3, 1), (0, 1), (1, NAN), ("1", "2"), None),
    "download.MARGIN": (-0.1, 2, NAN, "0.001", None),
    "download.CLAIM_LASTS": NOT_POSITIVE,
    "download.START_LAG": NOT_A_NUMBER,
    "download.LOG_WAIT": NOT_A_NUMBER,
    "download.EMPTY_WAIT": NOT_A_NUMBER,
    "download.DOUBT": NOT_A_NUMBER,
    "download.MISSING_WAIT": NOT_A_NUMBER,
    "download.JOB_OPTIONS": ("4G", None, [], {1: 2}, {"": 1}, {"a": {1, 2}}, {"a": NAN}),
    "download.MEMORY_STEPS": ({}, "4G", None, ["4G"], [{1: 2}]),
    "download.SOFT_ERRORS": (-0.1, 1.1, NAN, "0", None),
    "download.ELEVATION_MODEL": NOT_A_TEXT,
    "download.KEEP_RAW": (0, 1, "no", None),
    "download.COLLECTION": NOT_A_TEXT,
    "download.BANDS": ("VV", (), ("VV", "VV"), ("VX",), ("vv",), (1,), None, ("VV", "")),
    "download.CHUNK_SIZE": (
        1, [1], [1, 2, 3], [1, 0], [1, -0.5], [0.7, 0.5], [1, NAN], [1, INF], ["1", "0.5"],
        "12", None, [1e-9, 1e-9], [360, 0.5], [True, 0.5],
    ),
    "download.BACKEND": ("cdes", "", 5, None, "http://openeo.example.org"),
    "download.CATALOGUE": (*NOT_A_TEXT, "ftp://stac.example.org"),
    "download.IMAGES": tuple(value for value in NOT_A_TEXT if value is not None),
    "download.MAX_CLOUD": (-1, 101, NAN, "20", None),
    "download.TYPES": ("IW_GRDH_1S", (), None, (1,)),
    "download.MODES": ("IW", (), None, (1,)),
    "download.PARTIAL": (-0.1, 1.1, NAN, "0", None),
    "download.INEXACT": (-0.1, 1.1, NAN, "0", None),
    "download.BACKENDS": (None, [], {1: "https://a.example"}, {"cdse": 5}, {"cdse": ""}),
    "download.LEAST_SHARE": (-0.1, 1.1, NAN, "0", None),
    "convert.NSIDE": (1000, 0, -4, 262144.0, 2**30, NAN, "262144", None, True),
    "convert.ELLIPSOID": ("wgs84", "", None, 5),
    "convert.DLAT": (*NOT_POSITIVE, 91),
    "convert.DLON": (*NOT_POSITIVE, 181),
    "store.PIX_MAX": (*NOT_WHOLE, 1e7, 2**40),
    "store.RUNS_MAX": (*NOT_WHOLE, 2**40),
    "store.KEEP_BITS": (0, 24, -1, 9.0, "9", True),
    "store.LOCK_WAIT": NOT_A_NUMBER,
    "store.TILES": NOT_WHOLE,
    "main.ZARR_PATH": NOT_A_TEXT,
}  # fmt: skip
WRONG_TO_RETRIEVE = {
    "convert.DLAT": WRONG["convert.DLAT"],
    "convert.DLON": WRONG["convert.DLON"],
    "retrieve.MEMORY_MAX": NOT_WHOLE,
    "retrieve.PICTURE_MAX": (1, *NOT_WHOLE),
    "retrieve.SERIES_MAX": (1, *NOT_WHOLE),
    "retrieve.DPI": NOT_WHOLE,
    "retrieve.PERCENTILES": (
        2,
        (2,),
        (98, 2),
        (-1, 98),
        (2, 101),
        (2, NAN),
        ("2", "98"),
        None,
    ),
}


def each(table):
    """Each constant with the first of its values, and those whose turn it is."""
    return [
        pytest.param(n, v, id=f"{n}={v!r}") for n, values in table.items() for v in turns(values, 4)
    ]


def put(monkeypatch, name, value):
    door, _, constant = name.rpartition(".")
    monkeypatch.setattr(importlib.import_module(door), constant, value)
    return constant, file_of(door)


def file_of(room):
    return f"{room.replace('.', '/')}.py"


@torture
@pytest.mark.parametrize(("name", "value"), each(WRONG))
def test_a_constant_that_cannot_be_is_named_before_anything_is_done(
    name, value, folder, answer, monkeypatch, capsys, sandbox  # noqa: F811
):  # fmt: skip
    constant, door = put(monkeypatch, name, value)
    monkeypatch.setattr(download, "images", nothing_is_done)
    where = [] if constant == "BACKEND" else ["--backend", sandbox.url]
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--yes", *where]
    assert main.main(["download", *flags]) == USAGE
    said = capsys.readouterr().err.strip().splitlines()
    assert "".join(said).count("Error: ") == 1
    told = " ".join(" ".join(said).split())
    assert constant in told or (constant == "CATALOGUE" and "stac.example.org" in told)
    assert door in told or constant in ("CHUNK_SIZE", "CATALOGUE")
    assert "bug" not in told
    assert list(folder.iterdir()) == []


def nothing_is_done(*_, **__):
    raise AssertionError("the catalogue was asked")


@torture
@pytest.mark.parametrize(("name", "value"), each(WRONG_TO_RETRIEVE))
def test_a_constant_of_a_retrieval_is_judged_before_it(
    name, value, folder, answer, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    constant, door = put(monkeypatch, name, value)
    flags = ["--bbox", BOX, "--day", DAY, "--output", "x.png", "--no-show"]
    assert main.main(["retrieve", *flags]) == USAGE
    told = " ".join(capsys.readouterr().err.split())
    assert f"{constant} in {door}" in told
    assert list(folder.iterdir()) == []


# --- what has no room --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"store.PIX_MAX": 1_000}, "PIX_MAX"),
        ({"store.RUNS_MAX": 10}, "RUNS_MAX"),
        ({"convert.NSIDE": 2**24}, "PIX_MAX"),
        ({"convert.NSIDE": 2**29}, "PIX_MAX"),
        ({"convert.NSIDE": 64}, "no cell"),
        ({"download.CHUNK_SIZE": [90, 45]}, "PIX_MAX"),
    ],
)
@pytest.mark.parametrize("more", [["--yes"], ["--dry-run"]])
def test_a_tile_without_room_is_told_before_it_is_ordered(
    settings, word, more, folder, answer, sandbox, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    before = sandbox.events()["counts"].get("created", 0)
    for name, value in settings.items():
        put(monkeypatch, name, value)
    flags = ["--bbox", BOX, "--start", DAY, "--end", DAY, "--backend", sandbox.url]
    assert main.main(["download", *flags, "--no-catalogue", *more]) == USAGE
    told = " ".join(capsys.readouterr().err.split())
    assert word in told
    assert "Start?" not in told
    assert sandbox.events()["counts"].get("created", 0) == before
    assert list(folder.iterdir()) == []


def test_the_room_is_that_of_the_archive_not_of_the_constant(tmp_path, monkeypatch):
    layout = layouts.Layout(262144, "sphere", (1.0, 0.5), ("VV", "VH"), 1000, 8192, None)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "zarr.json").write_bytes(layouts.encode_json(layouts.root_metadata(layout)))
    with pytest.raises(layouts.ArchiveError, match="6255788 cells.*room for 1000 .PIX_MAX"):
        store.Archive(tmp_path / "a").require_room([TILE], 262144, "sphere")
    monkeypatch.setattr(store, "PIX_MAX", 1000)
    with pytest.raises(layouts.ArchiveError, match="would be made with room for 1000"):
        store.Archive(tmp_path / "b").require_room([TILE], 262144, "sphere")
    monkeypatch.setattr(store, "PIX_MAX", 6_255_788)
    store.Archive(tmp_path / "b").require_room([TILE], 262144, "sphere")


def test_a_pix_max_that_is_no_multiple_of_the_inner_chunk_does(tmp_path, monkeypatch):
    from tests.archive.test_contents import CHUNK, cells_of

    monkeypatch.setattr(store, "PIX_MAX", cells_of().sizes["cells"] + 1)
    archive = store.Archive(tmp_path / "a")
    assert archive.write(CHUNK, cells_of())
    assert np.array_equal(archive.read(CHUNK)["count"], cells_of()["count"])


def test_a_disk_without_room_is_told_before_the_order(
    folder, answer, sandbox, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    before = sandbox.events()["counts"].get("created", 0)
    assert order(sandbox) == DISK_FULL
    told = " ".join(capsys.readouterr().err.split())
    assert "1 kB are free" in told or "1000 bytes are free" in told or "are free" in told
    assert "Nothing was ordered" in told
    assert sandbox.events()["counts"].get("created", 0) == before
    assert list(folder.iterdir()) == []


# --- bound nowhere -----------------------------------------------------------------------


def public(tree):
    """The constants of a module."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AnnAssign) else []
        yield from (
            t.id for t in targets if isinstance(t, ast.Name) and t.id.isupper() and t.id[0] != "_"
        )


@functools.cache
def trees():
    """The doors and what is in the rooms behind them, by their names."""
    inside = [path for room in ROOMS for path in (ROOT / room).glob("*.py")]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in (*ROOT.glob("*.py"), *inside)
    }


def test_no_constant_is_a_default_argument():
    bound = []
    for room, tree in trees().items():
        constants = set(public(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
                names = {n.id for d in defaults for n in ast.walk(d) if isinstance(n, ast.Name)}
                bound += [(room, node.lineno, name) for name in names & constants]
    assert [b for b in bound if b[0] in DOORS] == []


def test_no_constant_of_a_door_is_imported_by_its_name():
    constants = {room: set(public(tree)) for room, tree in trees().items() if room in DOORS}
    bound = [
        (room, alias.name)
        for room, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in constants
        for alias in node.names
        if alias.name in constants[node.module]
    ]
    assert bound == []


def test_no_constant_of_a_door_is_made_of_another_one():
    made = [
        (room, name.id)
        for room, tree in trees().items()
        if room in ("main", "download", "store", "retrieve")
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for name in ast.walk(node.value)
        if isinstance(name, ast.Name) and name.id in set(public(tree))
    ]
    assert made == []


# What shows that a constant is obeyed, and another value for it.
PROBES = {
    "main.ZARR_PATH": ("other.zarr", "main.named_archive()"),
    "download.BACKEND": ("cdse", "download_command.default_back_end()"),
    "download.MAX_INFLIGHT": (1, "download.settings().pace.max_inflight"),
    "download.MAX_PENDING": (3, "download.settings().pace.max_pending"),
    "download.POLL_WAIT_TIME": (7, "download.settings().pace.poll"),
    "download.START_INTERVAL": (1, "download.settings().pace.start_interval"),
    "download.MAX_TRYS": (2, "download.settings().pace.max_trys"),
    "download.MAX_FILES": (5, "download.settings().pace.max_files"),
    "download.PATIENCE": (60, "download.settings().pace.patience"),
    "download.STUCK_AFTER": (61, "download.settings().pace.stuck_after"),
    "download.BACKOFF": ((2.0, 9.0), "download.settings().pace.backoff_longest"),
    "download.CHUNK_SIZE": ([0.5, 0.25], "len(plan().missing)"),
    "download.COLLECTION": ("OTHER", "graph()['load']['arguments']['id']"),
    "download.MAX_CLOUD": (50, "download.settings().recipe.max_cloud"),
    "download.BANDS": (("VV",), "graph()['load']['arguments']['bands']"),
    "download.MARGIN": (0.01, "graph()['load']['arguments']['spatial_extent']['south']"),
    "download.START_LAG": (1, "download.settings().pace.start_lag"),
    "download.LOG_WAIT": (1, "download.settings().pace.log_wait"),
    "download.EMPTY_WAIT": (1, "download.settings().pace.empty_wait"),
    "download.DOUBT": (1, "download.settings().pace.doubt"),
    "download.MISSING_WAIT": (1, "download.settings().pace.missing_wait"),
    "download.JOB_OPTIONS": ({"a": 1}, "download.settings().job_options"),
    "download.MEMORY_STEPS": ([], "download.settings().mending.memory_steps"),
    "download.SOFT_ERRORS": (0.25, "download.settings().mending.soft_errors"),
    "download.CLAIM_LASTS": (3600.0, "download.settings().claim_lasts"),
    "download.ELEVATION_MODEL": (
        "MAPZEN",
        "json.dumps(graph())",
    ),
    "download.KEEP_RAW": (True, "download.settings().keep_raw"),
    "download.TYPICAL_SECONDS": (5.0, "plan('cdse').estimate.seconds"),
    "download.TYPICAL_BYTES": (1.0, "plan().estimate.bytes"),
    "download.MIN_CREDITS": (9.0, "plan('cdse').estimate.credits"),
    "download.BACKENDS": (
        {"mine": "https://openeo.example.org"},
        "download.settings().backends",
    ),
    "download.PARTIAL": (0.4, "download.is_partial(1.0, 0.5)"),
    "download.INEXACT": (0.5, "download.is_partial(1.0, 0.5)"),
    "download.CATALOGUE": (
        "https://stac.example.org",
        "catalogue.address('https://openeo.dataspace.copernicus.eu', selection().address)",
    ),
    "download.IMAGES": ("other", "selection().collection"),
    "download.TYPES": (("OTHER",), "selection().types"),
    "download.MODES": (("EW",), "selection().modes"),
    "download.LEAST_SHARE": (0.5, "selection().least_share"),
    "download.HISTORY": (1, "download.settings().typical.history"),
    "download.EMBEDDED_SECONDS": (1.0, "plan().estimate.seconds"),
    "download.PIXEL": (20.0, "plan().estimate.bytes"),
    "convert.NSIDE": (1024, "len(convert.tile_runs(tile)[0])"),
    "convert.ELLIPSOID": ("WGS84", "convert.tile_runs(tile)[0][0].item()"),
    "convert.DLAT": (1e-4, "retrieve.spacing(box)[0]"),
    "convert.DLON": (1e-4, "retrieve.spacing(box)[1]"),
    "store.PIX_MAX": (7_000_001, "store.settings().pix_max"),
    "store.RUNS_MAX": (7001, "store.settings().runs_max"),
    "store.KEEP_BITS": (9, "store.settings().keep_bits"),
    "store.LOCK_WAIT": (7.0, "store.settings().lock_wait"),
    "store.TILES": (3, "store.settings().tiles"),
    "retrieve.PICTURE_MAX": (50, "retrieve.spacing(box)[0]"),
}
PROBE = """
import datetime as dt, json, sys
from pathlib import Path
import convert, download, main, retrieve, store
from cli import download_command
from grid import BBox, Chunk, Tile
from jobs import catalogue
from jobs.journal import Journal

tile, box, day = Tile(3.0, 51.0, 4.0, 51.5), BBox(3.0, 51.0, 3.2, 51.2), dt.date(2026, 1, 20)

def plan(backend="sandbox"):
    journal = Journal(Path("nowhere"))
    return download.plan(tile.bbox, day, day, "any", lambda _: False, journal, backend)

def graph():
    return download.settings().recipe.order(Chunk(tile, day))

def selection():
    return download.settings().selection

def change(name, value):
    room, _, constant = name.rpartition(".")
    before = getattr(sys.modules[room], constant)
    setattr(sys.modules[room], constant, value)
    return before

def alone(name, value, show):
    before = change(name, value)
    found = eval(show)
    change(name, before)
    return found

"""


def run_probes(where, *lines):
    """What a program prints that runs in a folder with these modules."""
    code = "\n".join([PROBE, *lines])
    done = subprocess.run([sys.executable, "-c", code], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_each_constant_is_obeyed_when_it_is_set_and_when_it_is_edited(tmp_path):
    shows = ", ".join(show for _, show in PROBES.values())
    alone = ", ".join(f"alone({n!r}, {v!r}, {s!r})" for n, (v, s) in PROBES.items())
    changes = [f"change({name!r}, {value!r})" for name, (value, _) in PROBES.items()]
    usual, changed, together = run_probes(
        ROOT, f"usual, changed = [{shows}], [{alone}]", *changes,
        f"print(json.dumps([usual, changed, [{shows}]]))",
    )  # fmt: skip
    assert [n for n, a, b in zip(PROBES, usual, changed, strict=True) if a == b] == []

    for path in ROOT.glob("*.py"):
        shutil.copy(path, tmp_path)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("*.pyc"))
    for name, (value, _) in PROBES.items():
        edit(tmp_path, name, value)
    assert run_probes(tmp_path, f"print(json.dumps([{shows}]))") == together


def edit(where, name, value):
    """Change a constant as a person would."""
    room, _, constant = name.rpartition(".")
    path = Path(where, *room.split(".")).with_suffix(".py")
    source = path.read_text(encoding="utf-8")
    (node,) = (
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and constant in public(ast.Module([node], []))
    )
    lines = source.splitlines(keepends=True)
    lines[node.lineno - 1 : node.end_lineno] = [f"{constant} = {value!r}\n"]
    path.write_text("".join(lines), encoding="utf-8")
