"""What retrieving calls is compiled together with what converting calls."""

from __future__ import annotations

import pytest

import healpix.kept
import retrieve
from cells import regrid
from healpix import loops, pixels, places, quads, sample
from store import Archive
from tests.archive.test_contents import TILE, cells_of, days


def compiled():
    """How many forms of each loop there are, by the types that it was called with."""
    return {
        f"{module.__name__}.{name}": len(function.compiled.signatures)
        for module in (pixels, places, quads, sample)
        for name, function in vars(module).items()
        if isinstance(function, loops.Loop)
    }


def test_nothing_is_left_to_be_compiled_when_a_box_is_retrieved(tmp_path):
    (chunk,) = days(1)
    archive = Archive(tmp_path / "a.zarr")
    archive.write(chunk, cells_of(chunk.tile, 1))
    regrid.compile_loops()
    before = compiled()
    for step in (1, 3, 40):
        dlon, dlat = (step * side / 100 for side in TILE.size)
        for method in ("nearest", "bilinear"):
            retrieve.load(archive, TILE.bbox, chunk.day, dlat=dlat, dlon=dlon, method=method)
    retrieve.days(archive, TILE.bbox)
    assert compiled() == before
    assert before["healpix.pixels.add_to_pixels_loop"] >= 2


@pytest.mark.parametrize("said", [False, True])
def test_only_who_waits_for_loops_anyway_waits_for_all(said, monkeypatch):
    import convert

    asked = []
    monkeypatch.setattr(healpix.kept.announcement, "said", said)
    monkeypatch.setattr(regrid, "compile_loops", lambda: asked.append(1))
    convert.complete_loops()
    assert len(asked) == said
