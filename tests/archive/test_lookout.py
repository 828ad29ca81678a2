"""Tiles that are kept open for as long as they are the same."""

from __future__ import annotations

import datetime as dt

import pytest

from archive import lookout
from archive.lookout import Lookout
from grid import Chunk, Tile
from store import Archive
from tests.images.test_blocks import cells_of

TILES = [Tile(7.0 + i, 50.0, 8.0 + i, 50.5) for i in range(3)]
DAY = dt.date(2026, 1, 20)


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "a.zarr")
    for tile in TILES[:2]:
        archive.write(Chunk(tile, DAY), cells_of(tile))
    return archive


def test_a_tile_is_opened_once(archive):
    watch = Lookout(archive)
    assert [view.tile for view in watch.views(TILES)] == TILES[:2]
    assert [a is b for a, b in zip(watch.views(TILES), watch.views(TILES), strict=True)] == [
        True
    ] * 2


def test_a_tile_that_has_changed_is_opened_again(archive):
    watch = Lookout(archive)
    first, second = watch.views(TILES)
    later = Chunk(TILES[0], DAY + dt.timedelta(days=6))
    archive.write(later, cells_of(TILES[0], seed=1))
    again, same = watch.views(TILES)
    assert (later in again, later in first) == (True, False)
    assert same is second
    archive.remove(later)
    assert later not in watch.views(TILES)[0]


def test_a_tile_comes_and_goes(archive):
    watch = Lookout(archive)
    watch.views(TILES)
    new = Chunk(TILES[2], DAY)
    archive.write(new, cells_of(TILES[2]))
    assert [view.tile for view in watch.views(TILES)] == TILES
    archive.remove(new)
    assert [view.tile for view in watch.views(TILES) if new in view] == []


def test_few_are_kept(archive, monkeypatch):
    monkeypatch.setattr(lookout, "KEPT", 1)
    watch = Lookout(archive)
    (first,), (second,) = watch.views(TILES[:1]), watch.views(TILES[1:2])
    assert watch.views(TILES[1:2])[0] is second
    assert watch.views(TILES[:1])[0] is not first
