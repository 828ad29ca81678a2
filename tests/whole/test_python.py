"""The Python interface, as who works with xarray expects it."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import importlib.util
import pydoc
import re
import runpy
from dataclasses import replace
from typing import Any

import healpy
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import grid
import retrieve
from grid import BBox, Chunk, as_box, as_day, as_days
from healpix.ids import runs_to_ids
from store import Archive
from tests.archive.test_contents import ORIGIN, TILE, cells_of, days
from tests.archive.test_folder_writer import NeverBehind
from tests.conftest import ROOT
from tests.rounds import torture, turns

DOORS = ("convert", "download", "main", "retrieve", "store")
DAY = days(1)[0].day
INSTANTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2060, 1, 1))
ZONES = st.sampled_from([dt.timezone(dt.timedelta(hours=hours)) for hours in (-5, 0, 9)])


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Three days of a tile, and a pass more on one of them."""
    archive = Archive(tmp_path_factory.mktemp("python") / "a.zarr")
    for seed, chunk in enumerate([*days(3), replace(days(1)[0], orbit="ascending")]):
        archive.write(chunk, cells_of(seed=seed), ORIGIN)
    return archive


# --- days and boxes ---


@given(INSTANTS, ZONES)
def test_a_day_is_that_of_pandas_in_utc_however_it_is_given(moment, zone):
    day = moment.date()
    fine = np.datetime64(moment, "ns")
    same: list[Any] = [day, moment, np.datetime64(moment), fine, np.datetime64(day), str(day)]
    same += [pd.Timestamp(moment), xr.DataArray(fine), moment.isoformat(), f"{moment}Z"]
    for each in same:
        assert as_day(each) == day
        assert type(as_day(each)) is dt.date
    there = moment.replace(tzinfo=zone)
    wanted = pd.Timestamp(there).tz_convert("UTC").date()
    assert as_day(there) == as_day(there.isoformat()) == wanted
    assert Chunk(TILE, there) == Chunk(TILE, wanted)


@pytest.mark.parametrize("month", ["2024-02", np.datetime64("2024-02")])
def test_a_month_is_a_period_and_no_day(month):
    assert as_days(month) == (dt.date(2024, 2, 1), dt.date(2024, 2, 29))
    assert as_days("2024", month) == (dt.date(2024, 1, 1), dt.date(2024, 2, 29))
    with pytest.raises(ValueError, match="not a single day"):
        as_day(month)


@pytest.mark.parametrize(
    "wrong",
    [20260120, 3.5, None, True, pd.NaT, np.datetime64("NaT"), ["2026-01-20"], b"2026",
     "", "yesterday", "2026-02-30", "2026-01-20T77:00"],
)  # fmt: skip
def test_what_is_no_day_is_said_in_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"is not a (day|date|time)\.  (Give|Write)"):
        as_day(wrong)


def test_a_period_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="is after the last day"):
        as_days("2026-02-01", dt.date(2026, 1, 1))


BOX = (TILE.west, TILE.south, TILE.west + 0.01, TILE.south + 0.01)
BOXES = [BOX, list(BOX), np.array(BOX), BBox(*BOX), ",".join(map(str, BOX)), pd.Series(BOX)]


@torture
@pytest.mark.parametrize("box", turns(BOXES, 2))
@pytest.mark.parametrize("day", [DAY, str(DAY), np.datetime64(DAY, "ns"), pd.Timestamp(DAY)])
def test_everything_that_takes_a_box_and_a_day_takes_them_as_they_come(archive, box, day):
    usual, orbit = BBox(*BOX), "any"
    xr.testing.assert_identical(
        retrieve.select(archive, box, day, orbit), retrieve.select(archive, usual, DAY, orbit)
    )
    image = retrieve.retrieve(archive, box, day, orbit=orbit)
    xr.testing.assert_identical(image, retrieve.retrieve(archive, usual, DAY, orbit=orbit))
    lazy = retrieve.open(archive, box, day, str(DAY + dt.timedelta(days=1)), orbit=orbit)
    assert lazy.sizes["time"] == 2
    newest = retrieve.load(archive, box, day, as_of=1, orbit=orbit)
    np.testing.assert_array_equal(newest.VV[0], image.VV)
    assert retrieve.days(archive, box) == retrieve.days(archive, usual)
    assert retrieve.spacing(box) == retrieve.spacing(usual)
    assert archive.has(Chunk(TILE, day))
    xr.testing.assert_identical(
        archive.read(Chunk(TILE, day), box), archive.read(Chunk(TILE, DAY), usual)
    )
    assert grid.tiles_covering(box, TILE.size) == grid.tiles_covering(usual, TILE.size)


def test_a_month_of_images_is_opened_by_its_name(archive):
    assert retrieve.open(archive, BOX, f"{DAY:%Y-%m}", orbit="any").sizes["time"] == 3


@pytest.mark.parametrize("wrong", [(7, 50, 8), (7, 50, 8, 51, 52), 7, None, ("a", 1, 2, 3), {}])
def test_what_is_no_box_is_said_in_a_sentence(wrong):
    with pytest.raises(ValueError, match=r"is no box\.  Give four numbers"):
        as_box(wrong)


# --- what an archive looks like ---


def test_an_archive_says_what_it_holds(archive):
    text = repr(archive)
    assert archive.name in text
    records = archive.records()
    for word in ("1 of 0.02 x 0.02 degrees", "VV, VH of SENTINEL1_GRD", "any, ascending"):
        assert word in text
    assert re.search(rf"records +{len(records)}\n", text)
    assert f"{records.day.min()} to {records.day.max()} ({records.day.nunique()} with" in text
    told, unit = re.search(r"size +(\S+) (\w+)", text).groups()  # type: ignore[union-attr]
    factor = {"kB": 1e3, "MB": 1e6}[unit]
    assert float(told) * factor == pytest.approx(records.bytes.sum(), rel=5e-3)
    assert archive._repr_html_().count("<tr>") == len(text.splitlines()) - 1


@pytest.mark.parametrize("far", [False, True])
def test_looking_at_an_archive_creates_nothing_and_never_fails(tmp_path, far):
    place = f"memory://look/{tmp_path.name}" if far else tmp_path / "<b>a"
    archive = Archive(place)
    assert "none yet" in repr(archive)
    assert not any(tmp_path.iterdir())
    archive.write(days(1)[0], cells_of(), ORIGIN)
    assert ("see records()" if far else "1 with a record") in repr(archive)
    assert "<b>" not in archive._repr_html_()
    if not far:
        (tmp_path / "<b>a" / TILE.name / "zarr.json").write_text("{")
        assert "damaged" in repr(archive)


def test_an_archive_of_many_tiles_is_not_read_to_be_looked_at(archive, monkeypatch):
    monkeypatch.setattr("archive.summary.MOST", 0)
    monkeypatch.setattr("archive.holdings.usual_memory", lambda path: None)
    assert "not counted here; see records()" in repr(archive)


# --- cells for xdggs, trees for xarray ---


@pytest.mark.parametrize("ellipsoid", ["sphere", "WGS84"])
def test_cells_with_their_ids_are_decoded_by_xdggs(tmp_path, ellipsoid):
    xdggs = pytest.importorskip("xdggs")
    archive = Archive(tmp_path)
    archive.write(days(1)[0], cells_of(ellipsoid=ellipsoid), ORIGIN)
    plain, cells = (retrieve.select(archive, BOX, DAY, cell_ids=c) for c in (False, True))
    ids = runs_to_ids(plain.start_ipix.values, plain.run_len.values)
    np.testing.assert_array_equal(cells.cell_ids.values, ids)
    xr.testing.assert_identical(cells.drop_vars("cell_ids"), plain)
    centres = xdggs.decode(cells).dggs.cell_centers()
    assert xdggs.decode(cells).dggs.grid_info.level == 18
    if ellipsoid == "sphere":
        lon, lat = healpy.pix2ang(2**18, ids.astype(np.int64), nest=True, lonlat=True)
        np.testing.assert_allclose(centres.longitude.values, lon, atol=1e-9)
        np.testing.assert_allclose(centres.latitude.values, lat, atol=1e-9)
    assert BOX[0] <= float(centres.longitude.min())
    assert float(centres.longitude.max()) < BOX[2]


def test_xarray_opens_a_tile_and_an_archive_as_trees(archive):
    with xr.open_datatree(archive.path / TILE.name, engine="zarr") as tree:
        assert set(tree.groups) == {"/", "/16", "/14", "/12"}
        np.testing.assert_array_equal(tree["14"].time.values, tree.time.values)
    with xr.open_datatree(archive.path, engine="zarr", consolidated=False) as tree:
        assert set(tree.children) == {TILE.name}
        there = tree[TILE.name]
        assert set(there.children) == {"16", "14", "12"}
        np.testing.assert_array_equal(
            there.to_dataset()["VV"][2].values, cells_of(seed=2).VV.values
        )
        assert there["12/VV"].sizes["time"] == 4


def test_a_tree_in_the_order_of_time_is_whole_whatever_was_killed(tmp_path):
    """Also where the overviews' own metadata do not count the newest record yet."""
    archive, late = Archive(tmp_path), days(3)[2]
    archive.write(late, cells_of(), ORIGIN)
    with contextlib.suppress(KeyboardInterrupt):
        Archive(tmp_path, NeverBehind).write(days(1)[0], cells_of(seed=1), ORIGIN)
    with pytest.raises(ValueError, match="not aligned"):
        xr.open_datatree(tmp_path, engine="zarr", consolidated=False)
    tree = archive.tree()
    assert set(tree[TILE.name].children) == {"16", "14", "12"}
    for level in (18, 16, 14, 12):
        node = tree[TILE.name if level == 18 else f"{TILE.name}/{level}"].to_dataset()
        assert [str(time)[:10] for time in node.time.values] == [str(DAY), str(late.day)]
        for i, chunk in enumerate((days(1)[0], late)):
            wanted = archive.read(chunk, level=level)
            np.testing.assert_array_equal(node["VV"][i].values, wanted["VV"].values)
    xr.testing.assert_equal(tree[TILE.name].to_dataset()["VV"].load(), archive.open(TILE)["VV"])
    archive.tidy(TILE)
    with xr.open_datatree(tmp_path, engine="zarr", consolidated=False) as plain:
        assert plain[f"{TILE.name}/12"].sizes["time"] == 2
    assert not Archive(tmp_path / "none").tree().children


# --- what the doors offer ---


@pytest.mark.parametrize("door", DOORS)
def test_dir_and_help_of_a_door_show_what_is_its_own(door):
    module = importlib.import_module(door)
    source = (ROOT / f"{door}.py").read_text(encoding="utf-8")
    page = runpy.run_path(str(ROOT / "docs" / "constants.py"))
    constants = {name for name, *_ in page["constants"](source)}
    made = (ast.FunctionDef, ast.ClassDef)
    own = {node.name for node in ast.parse(source).body if isinstance(node, made)}
    public = {name for name in own if not name.startswith("_")}
    offered = set(dir(module))
    assert offered == set(module.__all__)
    assert constants <= offered
    if door != "main":  # whose functions are commands
        assert public <= offered
    assert not offered & {"annotations", "Any", "TYPE_CHECKING", "dt", "np", "xr", "Path"}
    assert all(hasattr(module, name) for name in offered)
    shown = pydoc.plain(pydoc.render_doc(module))
    for name in constants | (public & offered):
        assert re.search(rf"\b{name}\b", shown), name
    assert "TYPE_CHECKING" not in shown


def test_what_the_readme_imports_is_what_it_installs():
    """Each package of the Python examples is in the lines of its section on installing."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    guide = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert blocks
    imported = {
        alias.name.partition(".")[0]
        for block in blocks
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    required = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    installed = set(re.findall(r"^(\w+)", required, re.MULTILINE))
    for line in re.findall(r"pip install (?!-r)(.+?)(?:  #.*)?$", text, re.MULTILINE):
        installed |= {re.split(r"[<>=\[]", word)[0].strip("\"'`.)") for word in line.split()}
    ours = {path.stem for path in ROOT.glob("*.py")}
    foreign = {name for name in imported if name not in ours and importlib.util.find_spec(name)}
    foreign -= {"datetime"}
    assert "xdggs" in foreign
    assert foreign <= installed
