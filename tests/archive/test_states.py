"""An archive in a folder against a dict: the same after whatever happens, in whatever order.

The machine writes, replaces and removes records through two open archives, lets a writer die
at any change on disk, has another writer and a reader come by in the middle of a change, keeps
views open meanwhile, and may begin with an archive that an older program made.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import xarray as xr
from hypothesis import Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from archive import layout, schema
from archive.folder_writer import Disk
from archive.snapshot import View
from grid import ORBITS, BBox, Chunk, Provenance, Tile
from store import Archive, ArchiveError, NoRecordError
from tests.archive.aging import age
from tests.archive.test_contents import cells_of
from tests.folders import copied
from tests.rounds import rounds, torture
from tests.sphere import tile_at

NSIDE = 2**14  # some 30 cells in a tile of 0.02 degrees
TILES = [tile_at(7.001 + x, 50.001, (0.02, 0.02)) for x in (0, 0.02)]
CHUNKS = [
    Chunk(tile, dt.date(2026, 1, 20 + day), orbit)
    for tile in TILES
    for day, orbit in ((0, "any"), (0, "ascending"))
]
VIEWS = 3  # that are kept open
EXAMPLES, STEPS = rounds(4), 18


class Record(NamedTuple):
    """What was written: no two writes have the same number."""

    number: int
    seed: int


Model = dict[Chunk, Record]


class Change(NamedTuple):
    """Something that is done to an archive."""

    kind: str
    chunk: Chunk
    seed: int

    def do(self, archive: Archive, number: int) -> bool:
        """Do it, and give its answer."""
        cells, origin = cells_at(self.chunk.tile, self.seed), origin_of(number)
        match self.kind:
            case "write" | "replace":
                return archive.write(self.chunk, cells, origin, self.kind == "replace")
            case "remove":
                return archive.remove(self.chunk)
        return archive.remove_tile(self.chunk.tile)

    def of(self, model: Model, number: int) -> tuple[Model, bool]:
        """What becomes of a dict by it, and the answer that is right."""
        is_there = self.chunk in model
        match self.kind:
            case "write" if is_there:
                return model, False
            case "write" | "replace":
                return model | {self.chunk: Record(number, self.seed)}, True
            case "remove":
                return {c: r for c, r in model.items() if c != self.chunk}, is_there
        others = {c: r for c, r in model.items() if c.tile != self.chunk.tile}
        return others, len(others) < len(model)


SHARES = st.floats(0, 1, exclude_max=True)  # of the changes on disk that a change makes
CHANGES = st.builds(
    Change,
    st.sampled_from(["write", "write", "replace", "remove", "remove", "remove_tile"]),
    st.sampled_from(CHUNKS),
    st.integers(0, 3),
)


class Numbered(NamedTuple):
    """A change, and the number of what it writes."""

    number: int
    change: Change


def in_order(model: Model, changes: Iterable[Numbered]) -> tuple[Model, dict[Numbered, bool]]:
    """What becomes of a dict by changes one after the other, and their answers."""
    answers = {}
    for each in changes:
        model, answers[each] = each.change.of(model, each.number)
    return model, answers


def cells_at(tile: Tile, seed: int) -> xr.Dataset:
    """Cells of which there are none in the last of the seeds."""
    return cells_of(tile, seed, NSIDE, seen=0.8 if seed < 3 else 0.0)


def origin_of(number: int) -> Provenance:
    """Of every third record nobody knows when it was taken."""
    orbits = (number % 175 + 1,) if number % 3 else ()
    begin = f"2026-01-20T05:{number // 60 % 60:02}:{number % 60:02}Z"
    return Provenance(
        "sandbox", "SENTINEL1_GRD", f"j-{number}", "2026-01-21T03:04:05Z", True,
        relative_orbits=orbits, acquired=(f"{begin}/{begin}",) if orbits else (),
    )  # fmt: skip


def shows(archive: Archive, model: Model) -> bool:
    """Whether these records are there, as they were written, and no others."""
    if archive.chunks() != sorted(model):
        return False
    return all(
        archive.read(chunk).identical(cells_at(chunk.tile, record.seed))
        for chunk, record in model.items()
    )


def names(model: Model) -> dict[Chunk, str]:
    """Who should have made each record."""
    return {chunk: f"j-{record.number}" for chunk, record in model.items()}


def jobs(archive: Archive) -> dict[Chunk, str]:
    """Who made each record, by the table of them."""
    tiles = {tile.name: tile for tile in TILES}
    rows = archive.records()
    keys = zip(rows.tile, rows.day, rows.orbit, strict=True)
    return {
        Chunk(tiles[tile], day, orbit): str(job)
        for (tile, day, orbit), job in zip(keys, rows.job_id, strict=True)
    }


# --- a disk on which something happens ---


class DeadError(BaseException):
    """The process is gone, and so is all that it would have done."""


class Fate:
    """What happens at the n-th change of a disk."""

    def __init__(self, at: int, moment: str, happening: Callable[[], None]) -> None:
        self._at, self._moment, self._happening = at, moment, happening
        self.count = 0

    def begin(self, break_off: Callable[[], None]) -> None:
        """A change begins, which may be broken off in the middle."""
        self.count += 1
        if self._moment == "inside" and self.count == self._at:
            break_off()
        if self._moment != "after" and self.count == self._at:
            self._happening()

    def end(self) -> None:
        """A change has been made."""
        if self._moment == "after" and self.count == self._at:
            self._happening()


def disk_with(fate: Fate) -> type[Disk]:
    """A kind of disk with this fate."""

    class Fateful(Disk):
        def put(self, key: str, data: Any) -> None:
            path = self.root / key

            def leave_half() -> None:
                path.parent.mkdir(parents=True, exist_ok=True)
                half = bytes(data)[: len(bytes(data)) // 2]
                path.with_name(f".{path.name}.dead.partial").write_bytes(half)

            fate.begin(leave_half)
            super().put(key, data)
            fate.end()

        def discard(self, key: str) -> None:
            path = self.root / key

            def leave_half() -> None:
                files = sorted(p for p in path.rglob("*") if p.is_file())
                for file in files[: len(files) // 2]:
                    file.unlink()

            fate.begin(leave_half)
            super().discard(key)
            fate.end()

    return Fateful


def doomed(at: int, moment: str) -> type[Disk]:
    """The disk of a process that dies at its n-th change: none comes after it."""
    dead = False

    def die() -> None:
        nonlocal dead
        dead = True
        raise DeadError

    class Doomed(disk_with(Fate(at, moment, die))):  # type: ignore[misc]
        def put(self, key: str, data: Any) -> None:
            if dead:
                raise DeadError
            super().put(key, data)

        def discard(self, key: str) -> None:
            if dead:
                raise DeadError
            super().discard(key)

    return Doomed


# --- the machine ---


class ArchiveStates(RuleBasedStateMachine):
    """Everything that may happen to an archive."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "a"
        self.model: Model = {}
        self.number = 0
        self.views: list[tuple[View, Model]] = []

    def next(self) -> int:
        self.number += 1
        return self.number

    @initialize(old=st.booleans())
    def begin(self, old: bool) -> None:
        if old:
            with pytest.MonkeyPatch.context() as before:
                before.setattr(layout, "OVERVIEWS", ())
                archive = Archive(self.path)
                for chunk in CHUNKS[:2]:
                    self.model[chunk] = Record(self.next(), 0)
                    archive.write(chunk, cells_at(chunk.tile, 0), origin_of(self.number))
            age(self.path, 1)
        self.archives = Archive(self.path), Archive(self.path)

    def moment_in(self, change: Change, share: float) -> int:
        """The number of one of the changes on disk that a change is going to make, from 1."""
        fate = Fate(0, "", lambda: None)
        copy = self.folder / "copy"
        if self.path.exists():
            copied(self.path, copy)
        change.do(Archive(copy, disk_with(fate)), 0)
        shutil.rmtree(copy, ignore_errors=True)
        return 1 + int(share * fate.count)

    # --- what changes it ---

    @rule(change=CHANGES, by=st.integers(0, 1))
    def change(self, change: Change, by: int) -> None:
        number = self.next()
        self.model, answer = change.of(self.model, number)
        assert change.do(self.archives[by], number) == answer

    @rule(
        change=CHANGES,
        share=SHARES,
        moment=st.sampled_from(["before", "inside", "after"]),
    )
    def is_killed(self, change: Change, share: float, moment: str) -> None:
        number, at = self.next(), self.moment_in(change, share)
        after, answer = change.of(self.model, number)
        try:
            assert change.do(Archive(self.path, doomed(at, moment)), number) == answer
        except DeadError:
            note(f"killed {moment} change {at}")
            found = Archive(self.path)
            is_done = jobs(found) == names(after)
            assert is_done or shows(found, self.model)
            if not is_done:
                return
        self.model = after

    @rule(change=CHANGES, share=SHARES, other=CHANGES)
    def is_crossed(self, change: Change, share: float, other: Change) -> None:
        """Another writer and a reader come by in the middle of a change.

        Unless the other one is kept out, all is as if one had come after the other.
        """
        first, second = Numbered(self.next(), change), Numbered(self.next(), other)
        states = [self.model, change.of(self.model, first.number)[0]]
        answers: dict[Numbered, bool] = {}
        seen: list[bool] = []

        def come_by() -> None:
            seen.append(any(shows(Archive(self.path), model) for model in states))
            try:
                answers[second] = other.do(self.archives[1], second.number)
            except ArchiveError as error:
                seen.append("Another process has been writing to" in str(error))

        disk = disk_with(Fate(self.moment_in(change, share), "before", come_by))
        answers[first] = change.do(Archive(self.path, disk), first.number)
        assert all(seen)
        found = jobs(Archive(self.path))
        for order in permutations(answers):
            model, right = in_order(self.model, order)
            if right == answers and found == names(model):
                self.model = model
                return
        raise AssertionError(f"{answers} and {found} are those of no order")

    # --- what looks at it ---

    @rule(tile=st.sampled_from(TILES))
    def open_view(self, tile: Tile) -> None:
        view = self.archives[0].view(tile)
        there = {c: record for c, record in self.model.items() if c.tile == tile}
        assert (view is None) == (not there)
        if view is not None:
            self.views = [*self.views[1 - VIEWS :], (view, there)]

    @rule(chunk=st.sampled_from(CHUNKS), by=st.integers(0, 1), share=st.floats(0.1, 1.0))
    def read_a_box(self, chunk: Chunk, by: int, share: float) -> None:
        archive, tile = self.archives[by], chunk.tile
        box = BBox(tile.west, tile.south, tile.west + 0.02 * share, tile.north)
        assert archive.has(chunk) == (chunk in self.model)
        if chunk not in self.model:
            with pytest.raises(NoRecordError):
                archive.read(chunk, box)
            return
        cells, whole = archive.read(chunk, box), cells_at(tile, self.model[chunk].seed)
        ids, all_ids = ids_of(cells), ids_of(whole)
        assert set(ids) <= set(all_ids)
        for name in ("VV", "VH", "count"):
            wrote = whole[name].values[np.isin(all_ids, ids)]
            np.testing.assert_array_equal(cells[name].values, wrote)

    @rule(chunk=st.sampled_from(CHUNKS))
    def read_from_afar(self, chunk: Chunk) -> None:
        view = self.archives[0].view(chunk.tile)
        if view is None or chunk not in view.chunks():
            assert chunk not in self.model
            return
        count = cells_at(chunk.tile, self.model[chunk].seed)["count"].values
        for level in view.levels(chunk):
            assert int(view.read(chunk, level=level)["count"].sum()) == int(count.sum())

    @rule(tile=st.sampled_from(TILES))
    def read_by_plain_xarray(self, tile: Tile) -> None:
        there = {(str(c.day), c.orbit): r for c, r in self.model.items() if c.tile == tile}
        if not there:
            assert not (self.path / tile.name / "zarr.json").exists()
            return
        with xr.open_zarr(self.path / tile.name) as opened:
            keys = zip(opened.time.values, opened.orbit.values, strict=True)
            slots = {(str(t)[:10], ORBITS[o]): i for i, (t, o) in enumerate(keys)}
            assert {key for key in slots if key[0] != "NaT"} == set(there)
            for key, record in there.items():
                for name in ("VV", "VH", "count"):
                    wrote = cells_at(tile, record.seed)[name].values
                    np.testing.assert_array_equal(opened[name].values[slots[key]], wrote)

    # --- what always holds ---

    @invariant()
    def it_is_as_the_model(self) -> None:
        for archive in self.archives:
            assert shows(archive, self.model)
            assert jobs(archive) == names(self.model)
        assert self.archives[0].verify() == []

    @invariant()
    def tiles_say_when_their_records_were_taken(self) -> None:
        """As xarray opens them; those that were not written to since they were old, not at all."""
        for tile in self.archives[0].tiles():
            opened = self.archives[0].open(tile)
            keys = sorted(chunk for chunk in self.model if chunk.tile == tile)
            days = [np.datetime64(chunk.day, "ns") for chunk in keys]
            assert opened.time.values.tolist() == sorted(np.array(days).tolist())
            if "relative_orbit" not in opened.coords:
                continue
            key = list(zip(opened.time.values, opened.orbit.values, strict=True))
            for chunk in keys:
                at = key.index((np.datetime64(chunk.day, "ns"), ORBITS.index(chunk.orbit)))
                origin = origin_of(self.model[chunk].number)
                assert opened.relative_orbit.values[at] == sum(origin.relative_orbits)
                begin = str(opened.acquired_begin.values[at])[:19]
                assert begin == (origin.acquired[0][:19] if origin.acquired else "NaT")

    @invariant()
    def views_show_what_they_saw(self) -> None:
        """Of a record that was replaced or removed they may say so, but nothing else."""
        for view, saw in self.views:
            assert view.chunks() == sorted(saw)
            for chunk, record in saw.items():
                try:
                    cells = view.read(chunk)
                except NoRecordError:
                    assert self.model.get(chunk) != record
                else:
                    assert cells.identical(cells_at(chunk.tile, record.seed))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


def ids_of(cells: xr.Dataset) -> np.ndarray:
    runs = zip(cells.start_ipix.values.tolist(), cells.run_len.values.tolist(), strict=True)
    return np.array([i for start, length in runs for i in range(start, start + length)], np.int64)


@torture
def test_an_archive_is_as_its_model_whatever_happens_to_it(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # of account for a power cut only
    monkeypatch.setattr(layout, "OVERVIEWS", (2,))  # one has every kind of file that there is
    monkeypatch.setattr(schema, "INNER", 16)
    monkeypatch.setattr(schema, "ROWS", 4)
    for name, value in (("PIX_MAX", 64), ("RUNS_MAX", 32), ("LOCK_WAIT", 0.01)):
        monkeypatch.setattr(f"store.{name}", value)
    run_state_machine_as_test(
        ArchiveStates,
        settings=settings(
            deadline=None,
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            phases=set(Phase) - {Phase.explain},  # which takes minutes
        ),
    )
