"""A view: the same answers as the archive gave when it was opened, wherever it is sent."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import xarray as xr

from archive.shards import Unpacked, keeping
from archive.snapshot import View
from archive.spans import Spans
from archive.storage import Folder, Part
from grid import BBox, Chunk
from store import Archive, ArchiveError, NoRecordError
from tests.archive.test_contents import CHUNK, ORIGIN, TILE, cells_of, days
from tests.processes import context
from tests.sphere import tile_at

BOX = BBox(TILE.west + 0.003, TILE.south + 0.001, TILE.west + 0.011, TILE.south + 0.018)

EAST = BBox(TILE.west + 0.011, TILE.south + 0.001, TILE.west + 0.018, TILE.south + 0.018)


@pytest.fixture
def archive(tmp_path):
    archive = Archive(tmp_path / "a")
    for seed, chunk in enumerate(days(3)):
        archive.write(chunk, cells_of(seed=seed), ORIGIN)
    return archive


@pytest.fixture
def asked(monkeypatch):
    """What is read of the files, from now on."""
    parts: list[Part] = []
    real = Folder.fetch

    def fetch(self, wanted):
        parts.extend(wanted)
        return real(self, wanted)

    monkeypatch.setattr(Folder, "fetch", fetch)
    return parts


def view_of(archive: Archive) -> View:
    view = archive.view(TILE)
    assert view is not None
    return view


def test_a_view_reads_as_the_archive_does(archive):
    view = view_of(archive)
    assert (view.tile, view.chunks()) == (TILE, days(3))
    for chunk in days(3):
        for box in (None, BOX):
            xr.testing.assert_identical(view.read(chunk, box), archive.read(chunk, box))
    assert archive.view(tile_at(8.001, 50.001, (0.02, 0.02))) is None
    assert archive.view(tile_at(7, 50, (1, 0.5))) is None


def test_some_variables_are_read_alone(archive, asked):
    view = view_of(archive)
    for names in (["VH"], ["count", "VV"], []):
        asked.clear()
        found = view.read(CHUNK, BOX, variables=names)
        wanted = archive.read(CHUNK, BOX)
        xr.testing.assert_identical(found, wanted[[*names, "start_ipix", "run_len"]])
    for reader in (view, archive):
        with pytest.raises(ArchiveError, match="has no HH; it has VV, VH, count"):
            reader.read(CHUNK, variables=["HH", "VV"])
    asked.clear()
    view.read(CHUNK, BOX, variables=["VH"])
    assert {part.key.split("/")[1] for part in asked} == {"VH"}


def test_who_reads_a_record_in_pieces_looks_once_where_they_are(archive, asked):
    view = view_of(archive)
    wanted = [archive.read(CHUNK, box) for box in (BOX, EAST)]
    asked.clear()
    xr.testing.assert_identical(view.read(CHUNK, BOX), wanted[0])
    first = len(asked)
    asked.clear()
    xr.testing.assert_identical(view.read(CHUNK, EAST), wanted[1])
    assert (first, len(asked)) == (2 * 3, 3)  # an index of VV, VH and count, and an inner chunk


def test_what_is_known_of_a_file_that_changes_gives_nothing_wrong(archive):
    view = view_of(archive)
    view.read(CHUNK, BOX)
    shard = next(path for path in archive.path.rglob("VV/c/0/0"))
    whole = shard.read_bytes()
    for data in (whole[:100], bytes(len(whole)), whole[::-1], b""):
        shard.write_bytes(data)
        with pytest.raises(ArchiveError, match="is damaged"):
            view.read(CHUNK, EAST)
    shard.unlink()
    with pytest.raises(ArchiveError, match="missing"):
        view.read(CHUNK, EAST)
    archive.remove(CHUNK)
    with pytest.raises(NoRecordError, match="removed or replaced"):
        view.read(CHUNK, EAST)


def test_what_was_read_once_is_not_read_again(archive, asked, monkeypatch):
    view = view_of(archive)
    view.read(CHUNK, BOX)
    asked.clear()
    for name in (
        "archive.snapshot.box_runs",
        "archive.tile.Group.texts",
        "archive.recovery.runs",
        "archive.spans._cut",
    ):
        monkeypatch.setattr(name, None)  # would not even be callable
    for seed, chunk in enumerate(days(3)):
        found = view.read(chunk, BOX)
        xr.testing.assert_identical(found, pickle.loads(pickle.dumps(view)).read(chunk, BOX))
        assert float(found.VV.mean()) != float(view.read(days(3)[seed - 1], BOX).VV.mean())
    assert all("/c/" in part.key and part.key.endswith("/0") for part in asked)


def test_chunks_that_are_kept_unpacked_are_read_once_and_are_the_same(archive, asked):
    view, kept = view_of(archive), Unpacked(10_000_000)
    plain = {(chunk, box): view.read(chunk, box) for chunk in days(3) for box in (None, BOX)}
    for _ in range(2):
        for (chunk, box), wanted in plain.items():
            with keeping(kept):
                xr.testing.assert_identical(view.read(chunk, box), wanted)
    keys = [part.key for part in asked if part.key.endswith("/0")]
    asked.clear()
    with keeping(kept):
        view.read(CHUNK)
        xr.testing.assert_identical(view_of(archive).read(CHUNK), plain[CHUNK, None])
    assert keys
    assert len([part for part in asked if "/c/" in part.key and "VV" in part.key]) == 1  # anew
    assert kept.size > 0
    view.read(CHUNK)  # others neither look there nor add to it
    assert len([part for part in asked if "/c/" in part.key and "VV" in part.key]) == 2


def test_a_chunk_that_is_damaged_is_not_kept(archive):
    view, kept = view_of(archive), Unpacked(10_000_000)
    (path,) = archive.path.glob(f"{TILE.name}/VV/c/{len(days(3)) - 1}/0")
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    for _ in range(2):
        with keeping(kept), pytest.raises(ArchiveError, match="damaged"):
            view.read(days(3)[-1])


def test_a_view_never_changes(archive):
    view = view_of(archive)
    assert not archive.write(days(3)[0], cells_of(seed=9))
    archive.write(days(4)[3], cells_of(seed=3))
    archive.remove(days(3)[1])
    archive.write(days(3)[2], cells_of(seed=7), replace=True)
    assert view.chunks() == days(3)
    xr.testing.assert_identical(view.read(days(3)[0]), cells_of(seed=0))
    for gone in days(3)[1:]:
        with pytest.raises(NoRecordError, match="removed or replaced in the meantime"):
            view.read(gone)
    with pytest.raises(NoRecordError, match="no record of"):
        view.read(days(4)[3])
    xr.testing.assert_identical(archive.read(days(3)[2]), cells_of(seed=7))


def test_a_damaged_record_is_named(archive):
    view = view_of(archive)
    path = archive.path / TILE.name / "VH" / "c" / "1" / "0"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArchiveError, match="VH: the checksum does not match.*order it again"):
        view.read(days(3)[1])
    assert set(view.read(days(3)[1], variables=["VV"])) == {"VV", "start_ipix", "run_len"}


def read(view: View) -> tuple[int, float]:
    """The identity of the view, and a number that was read by it."""
    return id(view), float(view.read(CHUNK, BOX).VV.sum())


def test_a_view_is_sent_to_other_processes_and_stays_warm_there(archive):
    view = view_of(archive)
    with ProcessPoolExecutor(1, mp_context=context()) as pool:
        found = list(pool.map(read, [view] * 3))
    assert len({identity for identity, _ in found}) == 1
    assert found[0][1] == read(view)[1]
    assert len(pickle.dumps(view)) < 60_000


def test_views_of_all_tiles_and_of_some(archive):
    east = tile_at(7.021, 50.001, (0.02, 0.02))
    archive.write(Chunk(east, CHUNK.day), cells_of(east))
    assert [view.tile for view in archive.views()] == [TILE, east]
    assert [view.tile for view in archive.views([east])] == [east]
    assert archive.views([tile_at(9.001, 50.001, (0.02, 0.02))]) == []


def test_spans_are_cut_at_inner_chunks():
    starts, sizes = np.array([3, 9, 30]), np.array([4, 15, 2])
    values = np.arange(40)
    out: list[int] = []
    for number, piece in Spans(starts, sizes).pieces(10).items():
        assert piece.to == len(out)
        for start, size in zip(piece.starts, piece.sizes, strict=True):
            assert 0 <= start < start + size <= 10
            out += values[number * 10 + start :][:size].tolist()
    assert out == [*range(3, 7), *range(9, 24), 30, 31]
    assert Spans(np.empty(0, np.int64), np.empty(0, np.int64)).pieces(10) == {}
