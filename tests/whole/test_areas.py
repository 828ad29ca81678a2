"""A polygon through the program: its tiles are ordered, it is kept, images are cut to it."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import numpy as np
import pytest
import shapely
import xarray as xr
from rasterio import Affine
from rasterio.features import geometry_mask

import download
import main
from cli import menu, update
from cli.download_command import DownloadFlags, Wanted, agreed, planned, settings
from cli.exits import DONE, USAGE
from cli.workspace import Workspace
from jobs.journal import Request
from shared import areas
from shared.areas import Area
from shared.polygons import read
from store import Archive
from tests.whole.test_main import DAY, answer, folder  # noqa: F401

# On tiles of 0.04 x 0.04 degrees: three of the four of its box, and a hole.
FIELD = shapely.Polygon(
    [
        (3.725, 51.205),
        (3.795, 51.205),
        (3.795, 51.235),
        (3.758, 51.238),
        (3.755, 51.27),
        (3.725, 51.27),
    ],
    [[(3.74, 51.21), (3.75, 51.21), (3.745, 51.22)]],
)
TILES = {"E003.72_N51.2", "E003.76_N51.2", "E003.72_N51.24"}


@pytest.fixture
def field(folder, answer):  # noqa: F811
    """A file of it, in a folder to work in."""
    member = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    content = shapely.geometry.mapping(FIELD) | {"crs": member}
    (folder / "field.geojson").write_text(json.dumps(content))
    return folder


def order(sandbox, *more, bbox="field.geojson"):
    flags = ["--bbox", bbox, "--start", DAY, "--end", DAY, "--backend", sandbox.url, "--yes"]
    return main.main(["download", *flags, *more])


def tiles_of(path):
    return {chunk.tile.name for chunk in Archive(path).chunks()}


def test_a_polygon_from_order_to_files(field, sandbox, capsys, answer):  # noqa: F811
    assert order(sandbox, "--dry-run", "--json") == DONE
    plan = json.loads(capsys.readouterr().out)
    assert {chunk["tile"] for chunk in plan["list"]} == TILES
    assert shapely.from_wkt(plan["area"]).equals(FIELD)

    assert order(sandbox) == DONE
    said = capsys.readouterr().err
    assert "field.geojson: 1 polygon with 1 hole, " in said
    assert "3 of the 4 tiles of its box (E003.72_N51.2, E003.76_N51.2, E003.72_N51.24)." in said
    assert tiles_of(main.ZARR_PATH) == TILES

    # It is what is offered the next time, also where the file is gone.
    (field / "field.geojson").unlink()
    answer("", "", "", "", "", "VV", "field.nc field.png")
    assert main.main(["retrieve", "--no-show"]) == DONE
    said, out = capsys.readouterr().err, None
    assert "[field.geojson]: " in said
    assert "Leave out what is outside of the polygon? [Y/n]" in said
    with xr.open_dataset("field.nc") as grid:
        height, width = grid.sizes["lat"], grid.sizes["lon"]
        dlat, dlon = grid.attrs["dlat"], grid.attrs["dlon"]
        where = Affine(dlon, 0, 3.725, 0, -dlat, 51.205 + height * dlat)
        out = geometry_mask([FIELD], (height, width), where)[::-1]
        np.testing.assert_array_equal(np.isnan(grid["VV"].values), out)

    again = ["--bbox", FIELD.wkt, "--day", DAY, "--no-show", "--output"]
    assert main.main(["retrieve", *again, "clip.nc"]) == DONE
    assert main.main(["retrieve", *again, "box.nc", "--no-clip"]) == DONE
    with xr.open_dataset("clip.nc") as clip, xr.open_dataset("box.nc") as box:
        assert float(clip["VV"].notnull().mean()) < float(box["VV"].notnull().mean())
        assert (clip.attrs["clipped"], box.attrs["clipped"]) == (1, 0)
    assert (
        main.main(["retrieve", "--bbox", "3.73,51.21,3.79,51.23", "--day", DAY, "--clip"]) == USAGE
    )
    assert "is a box, so there is nothing to clip" in capsys.readouterr().err


def test_what_was_interrupted_goes_on_with_the_polygon(field, sandbox, monkeypatch):
    area = read("field.geojson")
    day = dt.date.fromisoformat(DAY)
    with Workspace("stopped.zarr").journal() as journal:
        journal.open_request(Request("sandbox", area, day, day, None, 3, 0.0, catalogue=""))
        tiles = download.plan(area, day, day, "any", lambda _: False, journal, "sandbox").missing
        journal.plan("sandbox", [(chunk, "x") for chunk in tiles])
        box = areas.plain(area)
        more = download.plan(box, day, day, "any", lambda _: False, journal, "sandbox").missing
        journal.plan("sandbox", [(chunk, "x") for chunk in set(more) - set(tiles)])
        request = journal.unfinished_request()
        assert request is not None
        assert {chunk.tile.name for chunk in journal.left_of(request)} == TILES
    flags = menu.flags_of(request)
    assert isinstance(flags.bbox, Area)
    assert flags.bbox.polygon.equals(FIELD)


# --- --update ---


def test_update_orders_what_is_new_and_asks_nothing(field, sandbox, capsys, monkeypatch):
    assert order(sandbox, "--orbit", "any") == DONE
    capsys.readouterr()
    other = main.main(["retrieve", "--bbox", "3.73,51.21,3.74,51.22", "--day", DAY, "--no-show",
                       "--output", "a.png"])  # fmt: skip
    assert other == DONE, "what is looked at is not what is updated"

    monkeypatch.setattr(update, "today", lambda: dt.date(2026, 1, 22))
    assert main.main(["download", "--update"]) == DONE
    said = capsys.readouterr().err
    assert f"{DAY} to 2026-01-22, since the archive's last day of it" in said
    assert "Start?" not in said
    days = {chunk.day.isoformat() for chunk in Archive(main.ZARR_PATH).chunks()}
    assert DAY < max(days) <= "2026-01-22"
    assert tiles_of(main.ZARR_PATH) == TILES
    assert {chunk.orbit for chunk in Archive(main.ZARR_PATH).chunks()} == {"any"}

    created = sandbox.events()["counts"]["created"]
    assert main.main(["download", "--update"]) == DONE
    assert "Nothing to order." in capsys.readouterr().err
    assert sandbox.events()["counts"]["created"] == created


def test_update_in_the_menu_asks_once_and_only_if_there_is_something_to_order(
    field,
    sandbox,
    answer,  # noqa: F811
    capsys,
    monkeypatch,
):
    def after(*lines):
        answer(*lines)
        code = main.main([])
        said = capsys.readouterr().err.rpartition("Which one")[2]
        return code, said.count("?"), said

    assert order(sandbox, "--orbit", "any") == DONE
    monkeypatch.setattr(update, "today", lambda: dt.date(2026, 1, 22))
    for reply, words in (("n", "Nothing was started."), ("y", "on 2026-01-21 archived")):
        code, questions, said = after("6", reply)
        assert (code, questions) == (DONE, 1)
        assert "Start? [y/N]" in said
        assert words in said
    code, questions, said = after("6")
    assert (code, questions) == (DONE, 0)
    assert "Nothing to order." in said


def test_what_was_begun_is_brought_to_its_end_by_an_update_without_a_question(field):
    workspace, day = Workspace(main.ZARR_PATH), dt.date(2026, 1, 22)
    wanted = Wanted(read("field.geojson"), (day, day), "sandbox")
    flags = DownloadFlags(update=True, asks=True)
    plan = planned(workspace, wanted, flags, settings(flags), None)
    assert plan.missing
    assert agreed(replace(plan, missing=[], begun=plan.missing), flags)


def test_update_begins_where_the_last_tile_ends(field, sandbox):
    assert order(sandbox) == DONE
    workspace = Workspace(main.ZARR_PATH)
    area = read("field.geojson")
    assert update.last_day(workspace, area) == dt.date.fromisoformat(DAY)
    assert update.last_day(workspace, read("POLYGON ((8 50, 9 50, 8.5 51, 8 50))")) is None
    flags = update.flags_of_update(workspace, DownloadFlags(update=True))
    assert flags.backend == sandbox.url
    assert flags.bands == ["VV", "VH"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "sentinel1.zarr has no area of a last time.  Nothing was ordered."),
        (("--start", DAY), "--update goes from the archive's last day until today"),
    ],
)
def test_update_without_a_last_time_is_one_line(field, capsys, more, words):
    assert main.main(["download", "--update", *more]) == USAGE
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not list(field.glob("*.zarr*"))
