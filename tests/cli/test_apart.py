# ruff: noqa: F811 (fixtures of another file)
"""Parts that are kept apart: in archives of their own beside the first, which all commands know."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import convert
import main
from cli import adding, apart
from cli.exits import DONE, FAILED, INTERRUPTED, USAGE
from grid import Chunk, Provenance
from jobs.transfer import fingerprint
from store import Archive
from tests.cells.test_kinds import write_tiff
from tests.cli.test_add_command import (  # noqa: F401
    CHUNK,
    DAY,
    ONE,
    TILE,
    add,
    archive,
    files_of,
    four,
    halves,
    interrupt_third,
    one,
    same_cells,
)
from tests.downloading import tree
from tests.whole.test_main import answer, folder  # noqa: F401

pytestmark = pytest.mark.usefixtures("folder", "answer")


def beside(path):
    return f"sentinel1-apart-{fingerprint(path)[:10]}.zarr"


def test_a_part_that_meets_another_is_stored_in_an_archive_of_its_own(one, folder, capsys):
    west, east = halves(one, folder)
    assert add(west, east, "--day", DAY, "--apart") == DONE
    own = beside(east)
    out, said = capsys.readouterr()
    assert f"to keep apart: 1 part of east.tif in {own}" in said
    assert f"Kept apart: 1 part of east.tif in {own}" in said
    assert "of these apart" in out
    assert files_of(CHUNK) == ["west.tif"]
    for path, place in ((west, main.ZARR_PATH), (east, own)):
        there, expected = Archive(place).read(CHUNK), convert.raster_to_cells(path, TILE)
        for name in ("VV", "VH", "count"):
            np.testing.assert_array_equal(there[name], expected[name])
    before = tree(folder)
    east.rename(folder / "renamed.tif")
    assert add("renamed.tif", west, "--day", DAY, "--apart") == DONE
    assert "Nothing to add." in capsys.readouterr().err
    (folder / "renamed.tif").rename(east)
    assert tree(folder) == before


def test_the_other_commands_know_such_an_archive_by_its_name(one, folder, capsys):
    west, east = halves(one, folder)
    assert add(west, east, "--day", DAY, "--apart") == DONE
    own = beside(east)
    capsys.readouterr()
    assert main.main(["list"]) == DONE
    assert f"Kept apart from it: {own}" in capsys.readouterr().err
    assert main.main(["list", "--archive", own]) == DONE
    out, said = capsys.readouterr()
    assert TILE.name in out
    assert "Kept apart" not in said
    assert main.main(["verify", "--archive", own]) == DONE
    assert main.main(["retrieve", "--archive", own, "--bbox", "7.0,50.0,7.04,50.04", "--day",
                      str(DAY), "--no-show", "--output", "east.png"]) == DONE  # fmt: skip
    assert (folder / "east.png").stat().st_size > 1000


def test_who_does_not_want_to_merge_is_told_where_the_part_goes(one, folder, answer, capsys):
    west, east = halves(one, folder)
    assert add(west, "--day", DAY, "--orbit", "any") == DONE
    before = tree(folder / main.ZARR_PATH)
    answer("n", "y")  # merge?  no;  start?
    assert add(east, "--day", DAY, "--orbit", "any", yes=False) == DONE
    said = capsys.readouterr().err
    assert "1 chunk holds parts of other files" in said
    assert f"to keep apart: 1 part of east.tif in {beside(east)}" in said
    assert tree(folder / main.ZARR_PATH) == before
    assert Archive(beside(east)).chunks() == [CHUNK]
    answer("y", "y")  # and who changes their mind merges it
    assert add(east, "--day", DAY, "--orbit", "any", yes=False) == DONE
    same_cells(archive().read(CHUNK), convert.raster_to_cells(one, TILE))


def test_a_dry_run_says_what_would_go_where_and_does_nothing(one, four, folder, capsys):
    west, east = halves(one, folder)
    write_tiff(folder / "four.tif", four)
    assert add(west, "--day", DAY) == DONE
    before = tree(folder)
    capsys.readouterr()
    assert add(east, "four.tif", "--day", DAY, "--apart", "--dry-run", "--json") == DONE
    plan = json.loads(capsys.readouterr().out)
    assert tree(folder) == before
    found = {(c["state"], c["archive"]) for c in plan["list"] if c["tile"] == TILE.name}
    assert found == {
        ("to_keep_apart", beside(east)), ("to_keep_apart", beside(folder / "four.tif")),
    }  # fmt: skip
    others = [c for c in plan["list"] if c["tile"] != TILE.name]
    assert {(c["state"], c["archive"]) for c in others} == {("to_add", main.ZARR_PATH)}
    assert plan["chunks"] == 4


def test_beside_a_record_of_a_back_end_as_well(one, folder, capsys):
    cells = convert.raster_to_cells(one, TILE)
    archive().write(CHUNK, cells, Provenance("cdse", "SENTINEL1_GRD", "j-1", "", False))
    west, _ = halves(one, folder)
    before = tree(folder / main.ZARR_PATH)
    assert add(west, "--day", DAY) == DONE
    assert "--apart keeps the files' parts in archives of their own" in capsys.readouterr().err
    assert add(west, "--day", DAY, "--apart") == DONE
    assert Archive(beside(west)).chunks() == [CHUNK]
    assert tree(folder / main.ZARR_PATH) == before


def test_a_file_of_no_known_passes_does_not_hide_those_that_a_back_end_gave(one, folder, capsys):
    """A picture shows the record of all passes, where there is one."""
    ascending = replace(CHUNK, orbit="ascending")
    cells = convert.raster_to_cells(one, TILE)
    archive().write(ascending, cells, Provenance("cdse", "SENTINEL1_GRD", "j-1", "", False))
    west, _ = halves(one, folder)
    assert add(west, "--day", DAY, "--orbit", "any") == DONE
    assert "left as they are: 1 record that a back end gave" in capsys.readouterr().err
    assert archive().chunks() == [ascending]
    assert add(west, "--day", DAY, "--orbit", "descending") == DONE
    assert [chunk.orbit for chunk in archive().chunks()] == ["ascending", "descending"]


def test_ctrl_c_and_a_rerun_end_as_one_clean_run(one, four, folder, monkeypatch, capsys):
    west, _ = halves(one, folder)
    write_tiff(folder / "four.tif", four)
    assert add(west, "four.tif", "--day", DAY, "--apart", "--archive", "clean/a.zarr") == DONE
    interrupt_third(monkeypatch)
    goes = ("--day", DAY, "--apart", "--archive", "killed/a.zarr")
    assert add(west, "four.tif", *goes) == INTERRUPTED
    assert "Interrupted with 2 of 5 chunks added" in capsys.readouterr().err
    assert add(west, "four.tif", *goes) == DONE
    assert tree(folder / "killed") == tree(folder / "clean")


def test_what_another_process_fills_meanwhile_is_not_merged_with(one, folder, monkeypatch, capsys):
    west, east = halves(one, folder)
    real, calls = convert.raster_to_cells, []

    def late(*arguments, **options):
        calls.append(1)
        if len(calls) == 1:
            assert add(east, "--day", DAY) == DONE
        return real(*arguments, **options)

    monkeypatch.setattr(convert, "raster_to_cells", late)
    assert add(west, "--day", DAY, "--apart") == FAILED
    assert "another process has filled it meanwhile" in capsys.readouterr().out
    assert files_of(CHUNK) == ["east.tif"]
    assert add(west, "--day", DAY, "--apart") == DONE
    assert Archive(beside(west)).chunks() == [CHUNK]


def test_an_archive_of_that_name_that_holds_something_else_is_left_alone(one, folder, capsys):
    west, east = halves(one, folder)
    assert add(west, "--day", DAY) == DONE
    Archive(beside(east)).write(CHUNK, convert.raster_to_cells(one, TILE))
    before = tree(folder)
    assert add(east, "--day", DAY, "--apart") == USAGE
    assert "holds another record of E007.0_N50.0" in capsys.readouterr().err
    shutil.rmtree(folder / beside(east))
    (folder / beside(east)).mkdir()
    (folder / beside(east) / "notes.txt").write_text("mine")
    assert add(east, "--day", DAY, "--apart") == USAGE
    assert "is no archive, and it is not empty" in capsys.readouterr().err
    assert {k: v for k, v in before.items() if "-apart-" not in k}.items() <= tree(folder).items()


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        ("sentinel1.zarr", "sentinel1-apart-0123456789.zarr"),
        ("a b/mine", "a b/mine-apart-0123456789"),
        ("s3://bucket/folder/a.zarr/", "s3://bucket/folder/a-apart-0123456789.zarr"),
        ("C:\\data\\a.zarr", "C:\\data\\a-apart-0123456789.zarr"),
    ],
)
def test_the_name_is_that_of_the_archive_and_of_what_is_in_the_file(archive, expected):
    entry = {"name": "x.tif", "sha256": "0123456789abcdef" * 4}
    assert apart.name_of(archive, [entry]) == expected
    assert apart.name_of(archive, [entry | {"name": "y.tif"}]) == expected
    others: list[Any] = [
        [entry | {"step": 0}],
        [entry | {"step": 1}],
        [entry, entry | {"sha256": "f" * 64}],
    ]
    assert len({apart.name_of(archive, each) for each in others} | {expected}) == 4
    assert apart.name_of(archive, others[2]) == apart.name_of(archive, others[2][::-1])


def test_in_an_object_store_it_is_beside_as_well(one, folder):
    west, east = (folder / name for name in ("west.tif", "east.tif"))
    halves(one, folder)
    first = Archive("memory://apart/a.zarr")
    chunk = Chunk(TILE, DAY)
    for path in (west, east):
        part = adding.Part(path, fingerprint(path), ("VV", "VH"))
        source = adding.Source((part,), "", None, DAY, "", False, (chunk,))
        (addition,) = adding.plan_of([source], first, keep_apart=True).additions
        cells = convert.raster_to_cells(path, TILE)
        assert adding.add(addition, cells, lambda a, *record, **how: a.write(*record, **how))
        again = adding.plan_of([replace(source)], first, keep_apart=True)
        assert [chunk for _, chunk in again.already] == [chunk]
    own = Archive(f"memory://apart/a-apart-{fingerprint(east)[:10]}.zarr")
    assert own.chunks() == [chunk]
    np.testing.assert_array_equal(own.read(chunk)["count"], cells["count"])
