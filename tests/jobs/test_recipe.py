"""What an order says beyond place, day and bands, and what becomes of orders of before."""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import sqlite3

import numpy as np
import pytest

import download
from grid import BBox, Chunk, Provenance, Tile
from jobs import recipe
from jobs.journal import DATABASE, State
from sandbox import elevation, errors, graph, orbit
from shared import collection as collections
from store import Archive
from tests.conftest import ROOT
from tests.downloading import LABEL, QUICK, connect, folder_of, into, journal_of
from tests.rounds import seldom
from tests.waiting import until

JOURNALS = ROOT / "tests" / "journals"
SIZE = (0.02, 0.01)
DAY = dt.date(2026, 1, 20)
NOWHERE = Provenance("", "", "", "", True)
TILE = Tile(7, 50, 8, 50.5)


def todays(chunk):
    """The order for a chunk by the constants as they are."""
    return download.settings().recipe.order(chunk)


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path / "a.zarr")


def ordered(bands=("VV", "VH"), collection="SENTINEL1_GRD", orbit_state="any"):
    """What the sandbox reads from an order: its reader is not ours."""
    chunk = Chunk(TILE, DAY, orbit_state)
    order = recipe.order(
        chunk, collections.of_name(collection), bands, 0.001, download.ELEVATION_MODEL
    )
    return graph.read({"process_graph": order}).cube


def download_at(sandbox, archive, west, south, day=DAY):
    """One small chunk, ordered without the catalogue; the summary."""
    box = BBox(west, south, west + SIZE[0] / 2, south + SIZE[1] / 2)
    made = download.plan(
        box, day, day, "any", archive.has, journal_of(archive), LABEL, chunk_size=SIZE
    )  # fmt: skip
    assert len(made.missing) == 1
    once = dataclasses.replace(QUICK, max_trys=1)
    return download.run(
        made, connect(sandbox.url), folder_of(archive), into(archive), archive.has, pace=once
    )


# --- the elevation model ---------------------------------------------------------------


def test_an_order_names_its_elevation_model():
    assert ordered().elevation_model == "COPERNICUS_30" == download.ELEVATION_MODEL


@pytest.mark.parametrize("value", ["MAPZEN", "COPERNICUS_30"])
def test_the_elevation_model_is_the_constant_when_it_is_used(monkeypatch, value):
    monkeypatch.setattr(download, "ELEVATION_MODEL", value)
    chunk = Chunk(TILE, DAY)
    assert graph.read({"process_graph": todays(chunk)}).cube.elevation_model == value
    assert recipe.digest(todays(chunk)) == recipe.digest(todays(chunk))


@pytest.mark.parametrize(
    ("west", "south", "file"),
    [
        (24.3, 62.2, "N62E024"),
        (24.3, 59.9999, "N60E024"),
        (10.3, 41.9, "N41E010"),
        (-69.5, -57.2, "S57W069"),
    ],
)
def test_srtm_has_no_file_there(west, south, file):
    box = west, south, west + 0.02, south + 0.01
    with pytest.raises(errors.Failed, match=f"FileNotFoundError.*/{file}.SRTMGL1.hgt.zip"):
        elevation.require(box, None)
    elevation.require(box, "COPERNICUS_30")


@pytest.mark.parametrize(("west", "south"), [(7.2, 50.2), (-3.5, 40.2), (23.3, -29.8), (-60, -10)])
def test_srtm_has_the_land_between(west, south):
    elevation.require((west, south, west + 0.02, south + 0.01), None)


def test_west_and_south_srtm_is_looked_up_one_cell_off():
    """Madeira lies in N32W017; asked for is N32W016, which is sea."""
    assert elevation.is_there(-17, 32)
    with pytest.raises(errors.Failed, match="N32W016"):
        elevation.require((-16.95, 32.7, -16.93, 32.71), "SRTMGL1")


def test_north_of_60_an_order_comes_out_that_failed_without_a_model(sandbox, archive, monkeypatch):
    place = 24.3, 62.2
    day = imaged(*place)
    monkeypatch.setattr(download, "ELEVATION_MODEL", "SRTMGL1")
    summary = download_at(sandbox, archive, *place, day)
    [(_, reason)] = summary.failed
    assert "No such file or directory: '/eodata/auxdata/SRTMGL1/dem/N62E024" in reason
    monkeypatch.undo()
    summary = download_at(sandbox, archive, *place, day)
    assert len(summary.archived) == 1


def imaged(west, south):
    """A day on which a pass sees a place."""
    for number in range(12):
        day = DAY + dt.timedelta(days=number)
        across = [p.across(np.array([west]), np.array([south]))[0] for p in orbit.passes(day)]
        if any(0.1 < each < 0.9 for each in across):
            return day
    raise AssertionError("the sandbox's calendar has no such day any more")


# --- polarisations ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bands", "wanted"),
    [
        (("VV", "VH"), ("VV", "VH")),
        (("VH", "VV"), ("VV", "VH")),
        (("VH",), ("VV", "VH")),
        (("VV",), None),
    ],
)
def test_products_are_filtered_by_the_bands_in_the_catalogues_order(bands, wanted):
    cube = ordered(bands)
    assert (cube.bands, cube.polarisations, cube.orbit) == (bands, wanted, None)
    assert ordered(bands, orbit_state="ascending").orbit == "ASCENDING"
    assert ordered(bands, orbit_state="ascending").polarisations == wanted


def test_a_product_without_vh_ends_no_job(sandboxes, archive, monkeypatch):
    own = sandboxes("--job-seconds", "0.05", "--fault", "no-vh,path=_")
    day = imaged(7.0, 50.0)
    monkeypatch.setattr(recipe, "PAIRS", ())  # as before: without a filter
    summary = download_at(own, archive, 7.0, 50.0, day)
    [(_, reason)] = summary.failed
    assert "No tiff for band VH in /eodata/Sentinel-1/SAR/SYN" in reason
    monkeypatch.undo()
    summary = download_at(own, archive, 7.0, 50.0, day)
    assert (len(summary.empty), summary.failed) == (1, []), "it has no product that it could use"


# --- other collections -----------------------------------------------------------------


def test_another_collection_is_ordered_without_what_is_for_radar():
    order = recipe.order(
        Chunk(TILE, DAY), collections.SENTINEL2, ("B04", "B08"), 0.001, "COPERNICUS_30"
    )
    assert [node["process_id"] for node in order.values()] == [
        "load_collection", "reduce_dimension", "save_result",
    ]  # fmt: skip
    assert "properties" not in order["load"]["arguments"]
    assert graph.read({"process_graph": order}).cube.collection == "SENTINEL2_L2A"
    before = recipe.of_before(order)
    with pytest.raises(errors.ApiError, match=r"not applicable for collection SENTINEL2_L2A"):
        graph.read({"process_graph": before})


# --- orders of before ------------------------------------------------------------------


def test_an_order_of_before_is_known_by_its_digest():
    with sqlite3.connect(JOURNALS / "version2.sqlite") as database:
        rows = database.execute("SELECT west, south, east, north, day, digest FROM attempts")
        for *edges, day, digest in rows.fetchall():
            chunk = Chunk(Tile(*edges), dt.date.fromisoformat(day))
            assert (
                recipe.digest(recipe.of_before(todays(chunk)))
                == digest
                != recipe.digest(todays(chunk))
            )


class World:
    """The back end and the disk as that journal's program left them when it was updated.

    The journal has a row in each state.  Its jobs are made here, by their titles, from the
    orders that their digests stand for.
    """

    def __init__(self, sandbox, archive):
        self.sandbox, self.archive, self.folder = sandbox, archive, folder_of(archive)
        self.folder.mkdir()
        shutil.copy(JOURNALS / "version2.sqlite", self.folder / DATABASE)
        self.connection = connect(sandbox.url)
        self.rows = sorted(journal_of(archive).rows(), key=lambda row: row.chunk.tile)
        for row in self.rows:
            if row.job_id or row.state is State.CREATING:
                self.make(row)

    def make(self, row):
        job = self.connection.create(recipe.of_before(todays(row.chunk)), row.title)
        with sqlite3.connect(self.folder / DATABASE) as database:
            database.execute("UPDATE attempts SET job_id = ? WHERE id = ? AND job_id NOT NULL",
                             (job, row.id))  # fmt: skip
        if row.state in (State.CREATING, State.CREATED):
            return
        self.connection.start(job)
        until(lambda: self.connection.status(job).status in ("finished", "error"), "the end")
        if row.state in (State.DOWNLOADED, State.ARCHIVED):
            self.fetch(row, job)

    def fetch(self, row, job):
        raw = self.folder / "raw"
        raw.mkdir(exist_ok=True)
        path = raw / f"{row.chunk.name}.{row.digest}-{row.attempt}.nc"
        path.write_bytes(self.connection.get(self.connection.asset(job).url, {}).content)
        if row.state is State.ARCHIVED:
            assert into(self.archive)(download.Result(row.chunk, path, NOWHERE))
            path.unlink()


@seldom(3)
def test_what_an_older_version_left_is_adopted_and_finished(sandboxes, archive):
    own = sandboxes("--job-seconds", "0.05", "--slots", "6")
    own.fault("job-error,title=E005.12", "job-error,title=E005.26")
    world = World(own, archive)
    own.clear_faults()
    left = {row.chunk: row for row in world.rows}
    assert {row.state for row in world.rows} == set(State) - {State.DOUBTFUL}, (
        "it had no such state"
    )
    before = dict(own.events()["created_by_title"])
    first = world.rows[0].chunk
    box = BBox(first.tile.west, 50, world.rows[-1].chunk.tile.east - 0.001, 50.005)
    made = download.plan(
        box, first.day, first.day, "any", archive.has, journal_of(archive), LABEL, chunk_size=SIZE
    )  # fmt: skip
    nothing = [chunk for chunk, row in left.items() if row.state is State.EMPTY]
    assert (made.empty, len(made.archived), len(made.missing)) == (nothing, 1, len(left) - 2)
    summary = download.run(
        made, connect(own.url), world.folder, into(archive), archive.has, pace=QUICK
    )
    assert (summary.failed, summary.empty, summary.left) == ([], [], [])
    assert set(archive.chunks()) == left.keys() - set(nothing)
    again = {
        title for title, n in own.events()["created_by_title"].items() if n > before.get(title, 0)
    }
    free = (State.PLANNED, State.CREATING, State.CREATED, State.ERROR)
    anew = {c for c, row in left.items() if row.state in free or "OOM" in row.reason}
    assert sorted(title.split()[0] for title in again) == sorted(chunk.name for chunk in anew)
    for title in again:
        chunk = next(chunk for chunk in anew if chunk.name == title.split()[0])
        assert title.split()[1].startswith(recipe.digest(todays(chunk))), "by today's order"
    states = {row.state for row in journal_of(archive).rows()}
    assert states == {State.ARCHIVED, State.EMPTY, State.FAILED}, "nothing waits for ever"
    assert journal_of(archive).unfinished_request() is None
