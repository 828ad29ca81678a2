"""Records that are chosen by area, days and orbit: listed, drawn, written, and taken out."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal

import duckdb
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

import main
from archive import storage
from cli import remove_command
from cli.chosen import Chosen, is_inside
from cli.workspace import Workspace
from grid import ORBITS, BBox, Chunk, Tile
from store import Archive
from tests.folders import copied
from tests.images.test_blocks import cells_of
from tests.object_store import BUCKET, ENVIRONMENT, serving
from tests.rounds import rounds, seldom, torture

TILES = [Tile(w, s, w + 1, s + 0.5) for w in (-180.0, 7.0, 8.0, 179.0) for s in (50.0, 50.5)]
DAYS = [dt.date(2026, 1, 20) + dt.timedelta(days=6 * i) for i in range(4)]
CHUNKS = [
    Chunk(tile, day, ORBITS[(i + j) % 3])
    for i, tile in enumerate(TILES)
    for j, day in enumerate(DAYS)
    if (i + j) % 4
]


def filled(path, chunks=CHUNKS):
    archive = Archive(path)
    for chunk in chunks:
        archive.write(chunk, cells_of(chunk.tile, nside=256))
    return archive


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("chosen") / "a.zarr")


def expected(chosen, chunks=CHUNKS):
    first, last = chosen.days or (dt.date.min, dt.date.max)
    return sorted(
        chunk for chunk in chunks
        if (chosen.bbox is None or chunk.tile.bbox.intersects(chosen.bbox))
        and first <= chunk.day <= last
        and chosen.orbit in (None, chunk.orbit)
    )  # fmt: skip


days = st.none() | st.tuples(st.sampled_from(DAYS), st.sampled_from(DAYS)).map(
    lambda pair: (min(pair), max(pair))
)
boxes = st.none() | st.builds(
    lambda west, south, width, height: BBox(west, south, west + width, south + height),
    st.floats(-179, 177), st.floats(49.5, 51), st.floats(0.1, 2), st.floats(0.1, 1),
)  # fmt: skip


@torture
@settings(max_examples=rounds(25))
@given(bbox=boxes, start=days, orbit=st.sampled_from([None, *ORBITS]))
def test_what_is_chosen_is_what_fits(archive, bbox, start, orbit):
    chosen = Chosen(bbox, start, None, orbit)
    holdings = Workspace(str(archive.path)).holdings
    assert holdings is not None
    found, wanted = chosen.of(holdings), expected(chosen)
    assert sorted(found.chunks()) == wanted
    assert found.records == len(wanted)
    rows = [(row["tile"], row["day"], row["orbit"]) for row in found.rows()]
    assert rows == [(c.tile.name, str(c.day), c.orbit) for c in found.chunks()]
    assert found.size == sum(row["bytes"] for row in found.rows())


@given(bbox=boxes.filter(bool), tile=st.sampled_from(TILES))
def test_a_tile_is_inside_if_both_its_corners_are(bbox, tile):
    def holds(lon, lat):
        east = bbox.west + bbox.width
        return bbox.south <= lat <= bbox.north and any(
            bbox.west <= lon + turn <= east for turn in (-360, 0, 360)
        )

    corners = holds(tile.west, tile.south) and holds(tile.west + 1, tile.north)
    assert is_inside(tile, bbox) == corners


# --- list ---


def listed(capsys, archive, *flags):
    code = main.main(["list", "--archive", str(archive.path), *flags])
    return code, capsys.readouterr()


def test_a_list_has_what_is_chosen(archive, capsys):
    flags = "--bbox", "7.1,50.1,7.9,50.4", "--start", "2026-01-20", "--end", "2026-01-31"
    code, found = listed(capsys, archive, *flags)
    wanted = expected(Chosen(BBox(7.1, 50.1, 7.9, 50.4), (DAYS[0], DAYS[1])))
    assert code == 0
    assert [line.split()[:2] for line in found.out.splitlines()[1:]] == [
        [chunk.tile.name, str(chunk.day)] for chunk in wanted
    ]
    assert f"{len(wanted)} record" in found.err
    _, as_json = listed(capsys, archive, *flags, "--json")
    assert len(as_json.out.splitlines()) == len(wanted)


def test_nothing_chosen_is_said_and_has_a_code(archive, capsys):
    code, found = listed(capsys, archive, "--start", "2020")
    assert (code, found.out) == (3, "")
    assert "no record of 2020-01-01 to 2020-12-31" in found.err


def test_stac_items_are_those_that_are_chosen(archive, capsys, tmp_path):
    pytest.importorskip("rustac")
    path = tmp_path / "items.parquet"
    assert listed(capsys, archive, "--orbit", "ascending", "--stac", str(path))[0] == 0
    (number,) = duckdb.connect().execute(f"SELECT count(*) FROM '{path}'").fetchall()[0]
    assert number == len(expected(Chosen(orbit="ascending")))


def test_a_map_is_of_what_is_chosen(archive, capsys, tmp_path):
    path = tmp_path / "map.png"
    assert listed(capsys, archive, "--bbox", "7,50,8,50.5", "--map", str(path))[0] == 0
    assert path.stat().st_size > 5000


@pytest.mark.parametrize(
    "flags",
    [("--end", "2026-01-20"), ("--start", "2026-01-20", "--end", "2026-01-10"),
     ("--jobs", "--orbit", "any"), ("--bbox", "1,2,3"), ("--orbit", "up")],
)  # fmt: skip
def test_flags_that_make_no_sense_are_refused(archive, capsys, flags):
    code, found = listed(capsys, archive, *flags)
    assert code == 2
    assert found.err.startswith("Error: ")


# --- remove ---


def removed(archive, *flags):
    return main.main(["remove", "--archive", str(archive.path), *flags])


@pytest.fixture(scope="module")
def two_tiles(tmp_path_factory):
    """Two tiles on two days."""
    some = [chunk for chunk in CHUNKS if chunk.tile in TILES[2:4] and chunk.day in DAYS[1:3]]
    return filled(tmp_path_factory.mktemp("few") / "a.zarr", some)


@pytest.fixture
def few(two_tiles, tmp_path):
    """A copy of them."""
    return Archive(copied(two_tiles.path, tmp_path / "a.zarr"))


def test_what_is_chosen_goes_and_nothing_else(few, capsys):
    before = few.chunks()
    assert removed(few, "--start", str(DAYS[1]), "--yes") == 0
    assert few.chunks() == [chunk for chunk in before if chunk.day != DAYS[1]]
    assert few.verify() == []
    assert "`download` of the same area and days orders" in capsys.readouterr().err


def test_a_dry_run_lists_and_leaves_all(few, capsys):
    before = few.chunks()
    assert removed(few, "--bbox", "7.1,50.1,7.2,50.2", "--dry-run") == 0
    found = capsys.readouterr()
    assert len(found.out.splitlines()) == 1 + len(
        expected(Chosen(BBox(7.1, 50.1, 7.2, 50.2)), before)
    )
    assert "1 tile reaches beyond the area" in found.err
    assert few.chunks() == before


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ((), 2), (("--start", "2020", "--yes"), 3), (("--start", str(DAYS[1])), 2),
        (("--end", "2026"), 2),
    ],
)  # fmt: skip
def test_without_a_yes_or_a_choice_nothing_goes(few, flags, code, monkeypatch):
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115, PTH123
    before = few.chunks()
    assert removed(few, *flags) == code
    assert few.chunks() == before


def test_it_does_not_work_against_a_download(few, capsys):
    folder, before = Workspace(str(few.path)).folder, few.chunks()
    folder.mkdir()
    with FileLock(folder / "lock"):
        assert removed(few, "--start", str(DAYS[1]), "--yes") != 0
    assert "downloads for" in capsys.readouterr().err
    assert few.chunks() == before


def test_an_interruption_says_how_many_are_gone(few, monkeypatch):
    workspace, remove = Workspace(str(few.path)), Archive.remove
    gone: list[Chunk] = []

    def interrupted(self, chunk):
        if gone:
            signal.raise_signal(signal.SIGINT)
        gone.append(chunk)
        return remove(self, chunk)

    monkeypatch.setattr(Archive, "remove", interrupted)
    before = few.chunks()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt, match=f"1 of {len(before)} records were removed"):
            remove_command.remove(workspace, before)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert few.chunks() == before[1:]


@seldom(0)
def test_an_archive_in_an_object_store_loses_them_as_well(monkeypatch, capsys):
    with serving() as server:
        for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL": server.url}).items():
            monkeypatch.setenv(name, value)
        storage._object_store.cache_clear()
        archive = filled(f"s3://{BUCKET}/remove/a", CHUNKS[:3])
        assert (
            main.main(["remove", "--archive", archive.name, "--start", str(DAYS[1]), "--yes"]) == 0
        )
        assert archive.chunks() == [chunk for chunk in CHUNKS[:3] if chunk.day != DAYS[1]]
        capsys.readouterr()
        assert main.main(["list", "--archive", archive.name, "--json"]) == 0
        rows = map(json.loads, capsys.readouterr().out.splitlines())
        assert DAYS[1].isoformat() not in {row["day"] for row in rows}
        storage._object_store.cache_clear()


@pytest.mark.parametrize("answer", ["n", "y"])
def test_the_menu_removes_as_well_and_asks(few, answer):
    terminals = pytest.importorskip("tests.terminals")  # not on Windows
    before = few.chunks()
    with terminals.Terminal(few.path.parent, "--archive", "a.zarr") as running:
        running.wait_for("[1]: ")
        running.answer("remove", "7,50,7.5,50.5", "y", "2026-01-21", "")  # without a record
        running.wait_for("no record of it, 2026-01-21")
        running.answer(str(DAYS[1]), "", answer)
        assert running.end() == 0, running.shown
    left = [c for c in before if c.day != DAYS[1]]
    assert few.chunks() == (before if answer == "n" else left)
