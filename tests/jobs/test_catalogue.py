"""What there is is what is ordered: the catalogue, orbit-pure records, limits and estimates.

The catalogue is the sandbox's, asked over HTTP; what its jobs return is the truth.  Tiles
of 0.05 x 0.01 degrees make small rasters.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import re
import sys
import warnings

import healpy
import numpy as np
import pytest
import shapely

import convert
import download
import main
import retrieve
import store
from cli import plan_text
from cli.exits import DONE, FAILED, NO_DATA
from grid import ORBITS, BBox, Chunk, Provenance, days, tiles_covering
from healpix.ids import runs_to_ids
from jobs import catalogue, footprint
from jobs.catalogue import CatalogueError
from jobs.journal import State
from sandbox import orbit
from tests.downloading import QUICK, connect, created_for, folder_of, into, journal_of
from tests.rounds import seldom, torture, turns
from tests.sphere import grown

SIZE = (0.05, 0.01)
BOX = BBox(1.5, 1.0, 1.7, 1.01)  # four tiles, where passes are rare and a swath ends within one
FIRST, LAST = dt.date(2026, 1, 1), dt.date(2026, 1, 30)
MANY = dataclasses.replace(QUICK, max_inflight=6, max_pending=6, poll=0.1)
LABEL = "sandbox"
WORLD = '{"type":"Polygon";"coordinates":[[[-180;-90];[180;-90];[180;90];[-180;-90]]]}'


@pytest.fixture
def archive(tmp_path):
    return store.Archive(tmp_path / "a.zarr")


@pytest.fixture(scope="module")
def covers(request):
    """What the catalogue has of the box, asked for once."""
    sandbox = request.getfixturevalue("sandbox")
    return look_up(sandbox, BOX)


def look_up(sandbox, bbox, first=FIRST, last=LAST, size=SIZE):
    return download.images(bbox, first, last, address_of(sandbox), size)


def address_of(sandbox):
    return catalogue.address(sandbox.url, download.CATALOGUE)


def plan(archive, covers, bbox=BOX, first=FIRST, last=LAST, orbit=None, **more):
    asked = None if covers is None else ""
    return download.plan(
        bbox, first, last, orbit, archive.has, journal_of(archive), LABEL,
        chunk_size=SIZE, covers=covers, catalogue=asked, **{"pace": QUICK, **more},
    )  # fmt: skip


def run(sandbox, archive, made, pace=MANY, handle=None):
    return download.run(
        made, connect(sandbox.url), folder_of(archive), handle or into(archive), archive.has,
        pace=pace,
    )  # fmt: skip


def truth(first=FIRST, last=LAST, bbox=BOX, size=SIZE):
    """The chunks of which a pass sees something, by the geometry of the passes alone."""
    found: dict[Chunk, np.ndarray] = {}
    for tile in tiles_covering(bbox, size):
        x = np.linspace(tile.west, tile.east, 501)[:-1] + (tile.east - tile.west) / 1000
        lon, lat = np.meshgrid(x, np.linspace(tile.south, tile.north, 12)[1:-1])
        for day in days(first, last):
            for view in orbit.passes(day):
                with np.errstate(invalid="ignore"):
                    across = view.across(lon, lat)
                    seen = (across >= 0) & (across < 1)
                if seen.any():
                    chunk = Chunk(tile, day, view.orbit.lower())
                    found[chunk] = found.get(chunk, np.zeros(seen.shape, bool)) | seen
    return {chunk: seen.mean() for chunk, seen in found.items()}


# --- what the catalogue says ------------------------------------------------------------


@pytest.mark.parametrize("bbox", [BBox(3.0, 1.0, 4.0, 1.01), BBox(178.5, 60.0, -178.5, 60.01)])
def test_the_covers_are_what_the_passes_see(sandbox, bbox):
    last, size = FIRST + dt.timedelta(days=6), (0.25, 0.01)
    covers = look_up(sandbox, bbox, FIRST, last, size)
    pure = {chunk: cover.share for chunk, cover in covers.items() if chunk.orbit != "any"}
    expected = truth(FIRST, last, bbox, size)
    assert pure.keys() == expected.keys()
    assert len({round(share, 2) for share in pure.values()}) > 2, "some are covered in part"
    for chunk, share in expected.items():
        assert pure[chunk] == pytest.approx(share, abs=0.01)
    whole_days = {(c.tile, c.day) for c in pure}
    assert {(c.tile, c.day) for c in covers if c.orbit == "any"} == whole_days


def test_an_image_is_counted_once_however_many_products_there_are(sandbox):
    usual = download.settings().selection
    found = catalogue.search(address_of(sandbox), BOX, FIRST, LAST, 4, usual).images
    assert len({(i.begin, i.relative_orbit) for i in found}) == len(found) > 10
    assert found == sorted(found, key=lambda image: image.begin)
    day = dt.date(2026, 1, 20)
    place = BBox(3.0, 51.0, 5.0, 51.5)
    here = catalogue.search(address_of(sandbox), place, day, day, 1, usual)
    [image] = here.images
    assert (image.orbit, image.relative_orbit, image.platform) == (
        "descending",
        154,
        "synthetic-1a",
    )
    other = dataclasses.replace(usual, bands=("HH", "HV"))
    none = catalogue.search(address_of(sandbox), place, day, day, 1, other)
    assert (none.images, none.aside) == ([], ("1 image without HH and HV",))


def test_a_long_search_is_cut_into_pieces_and_pages(sandbox, monkeypatch):
    whole = look_up(sandbox, BOX)
    monkeypatch.setattr(catalogue, "MOST_ITEMS", 24 * 7)  # a week of four tiles
    monkeypatch.setattr(catalogue, "PAGE", 3)
    before = sandbox.events()["requests"]
    assert look_up(sandbox, BOX) == whole
    after = sandbox.events()["requests"]
    searches = after["POST /stac/search"] - before["POST /stac/search"]
    assert searches > 10


def test_both_sides_of_180_degrees_are_searched(sandbox):
    box = BBox(179.5, 10.0, -179.5, 10.01)
    found = look_up(sandbox, box, last=dt.date(2026, 1, 12))
    assert {chunk.tile.west > 0 for chunk in found} == {True, False}
    assert len({chunk.tile for chunk in found}) == 20
    assert catalogue.whole_tiles(box, SIZE) == (box, 20)
    assert catalogue.whole_tiles(BBox(-180, 0, 180, 1), (1, 0.5)) == (BBox(-180, 0, 180, 1), 720)


@pytest.mark.parametrize(
    "ring",
    [
        [[170, 0], [190, 0], [190, 10], [170, 10], [170, 0]],
        [[170, 0], [-170, 0], [-170, 10], [170, 10], [170, 0]],
        [[-190, 0], [-170, 0], [-170, 10], [-190, 10], [-190, 0]],
    ],
)
def test_a_footprint_across_180_degrees_is_cut_however_it_is_written(ring):
    shape = footprint.cut({"type": "Polygon", "coordinates": [ring]})
    expected = shapely.MultiPolygon([shapely.box(170, 0, 180, 10), shapely.box(-180, 0, -170, 10)])
    assert shapely.normalize(shape).equals_exact(shapely.normalize(expected), 1e-9)
    already = footprint.cut(shapely.geometry.mapping(expected))
    assert already.symmetric_difference(expected).area == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("500=1,path=/stac", "it answers with HTTP 500"),
        ("502-html=1,path=/stac", "it answers with HTTP 502"),
        ("html=1,path=/stac", "its answer is not that of a catalogue"),
        ("html=1,path=/stac/search", "its answer is not that of a catalogue"),
        ("reset=1,path=/stac/search", "it does not answer"),
    ],
)
def test_a_catalogue_that_fails_is_said_with_the_ways_out(sandboxes, monkeypatch, fault, words):
    monkeypatch.setattr(catalogue, "RETRIES", 1)
    own = sandboxes("--fault", fault)
    with pytest.raises(CatalogueError, match=f"{words}.*--catalogue.*--no-catalogue"):
        look_up(own, BOX)


def test_a_passing_trouble_of_the_catalogue_is_not_noticed(sandboxes):
    own = sandboxes("--fault", "503=2,path=/stac", "--fault", "429=5,path=/stac,seconds=0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(look_up(own, BOX)) > 10


@torture
@pytest.mark.parametrize(
    ("field", "answer"),
    turns([
        ("geometry", "null"),
        ("geometry", WORLD),
        ("properties.sat:orbit_state", "null"),
        ("properties", "null"),
        ("properties", None),
    ], 4),
)  # fmt: skip
def test_a_malformed_item_is_skipped_said_and_logged(
    sandboxes, archive, covers, capsys, field, answer
):
    """Each image is there twice, so half of the items are enough for every chunk."""
    fault = f"item=1,path=_COG,field={field}" + (f",answer={answer}" if answer else "")
    own = sandboxes("--job-seconds", "0.05", "--slots", "6", "--fault", fault)
    here = look_up(own, BOX)
    assert dict(here) == dict(covers)
    assert len(here.skipped) > 10
    assert all("_COG: " in words for words in here.skipped)
    day = min(chunk.day for chunk in here)
    made = plan(archive, look_up(own, BOX, day, day), first=day, last=day)
    plan_text.describe_plan(made, to_archive=0, slots=2)
    said = " ".join(capsys.readouterr().err.split())
    assert f"skipped, since the catalogue has them malformed: {made.skipped[0]}"[:60] in said
    assert plan_text.plan_document(made)["skipped"] == list(made.skipped) != []
    assert len(run(own, archive, made).archived) == len(made.missing) > 0
    log = journal_of(archive).log_path.read_text(encoding="utf-8")
    assert all(words in log for words in made.skipped)


def test_fields_that_are_left_out_too_many_are_asked_for_again(sandboxes, covers):
    own = sandboxes("--fault", "fields-lost=1")
    here = look_up(own, BOX)
    assert (dict(here), here.skipped) == (dict(covers), ())


@seldom(3)
def test_what_the_back_end_does_not_read_is_said_and_not_ordered(
    sandboxes, archive, covers, capsys
):
    """Of one track of all the catalogue has products of a kind that jobs do not see."""
    last = FIRST + dt.timedelta(days=11)
    covers = {chunk: cover for chunk, cover in covers.items() if chunk.day <= last}
    tracks = sorted({track for cover in covers.values() for track in cover.relative_orbits})
    own = sandboxes(
        "--job-seconds", "0.05", "--slots", "6",
        "--fault", f"not-read,path=_{tracks[0]:03}_", "--fault", f"no-vh,path=_{tracks[1]:03}_",
    )  # fmt: skip
    here = look_up(own, BOX, last=last)
    left = {c for c, cover in covers.items() if set(cover.relative_orbits) - {*tracks[:2]}}
    assert here.keys() == left < covers.keys()
    made = plan(archive, here, last=last)
    plan_text.describe_plan(made, to_archive=0, slots=2)
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"left aside: \d+ images? of Synthetic-1D \(IW_GRDH_1S_D\), which the", said)
    assert re.search(r"left aside: \d+ images? without VH", said)
    summary = run(own, archive, made)
    assert (set(summary.archived), summary.empty, summary.failed) == (set(made.missing), [], [])


def test_the_catalogue_of_a_back_end_is_its_own_or_that_of_copernicus():
    usual = download.CATALOGUE
    assert catalogue.address("https://openeo.dataspace.copernicus.eu", usual) == usual
    assert catalogue.address("https://openeofed.dataspace.copernicus.eu/x", usual) == usual
    assert catalogue.address("http://127.0.0.1:80/openeo/1.2", usual) == "http://127.0.0.1:80/stac"


# --- what is ordered --------------------------------------------------------------------


@seldom(2)
def test_in_6_days_of_4_tiles_just_the_chunks_with_data_are_ordered(sandboxes, tmp_path):
    """After that time the passes repeat."""
    last = FIRST + dt.timedelta(days=orbit.REPEAT - 1)
    own = sandboxes("--job-seconds", "0.05", "--slots", "6")
    pure, mixed = store.Archive(tmp_path / "pure.zarr"), store.Archive(tmp_path / "mixed.zarr")
    covers = look_up(own, BOX, last=last)
    summary = run(own, pure, plan(pure, covers, last=last))
    assert (summary.empty, summary.failed) == ([], [])
    assert set(summary.archived) == truth(last=last).keys()
    assert sum(created_for(own.events(), pure).values()) == len(summary.archived)
    assert plan(pure, covers, last=last).missing == []

    every_day = plan(mixed, None, last=last)
    assert len(every_day.missing) == 24
    summary = run(own, mixed, every_day)
    assert sum(created_for(own.events(), mixed).values()) == 24
    assert len(summary.empty) > 6, "what the catalogue saves"

    whole_days = {Chunk(c.tile, c.day): c for c in pure.chunks()}
    assert len(whole_days) == len(pure.chunks()), "no day here has passes of both orbits"
    assert set(mixed.chunks()) == whole_days.keys()
    for day, chunk in whole_days.items():
        assert pure.read(chunk).equals(mixed.read(day)), chunk


def check_mixture(both, apart, upper, lower):
    """The back end puts the first pass of a day on top, so that is what a mixed cell holds."""
    count = {name: cells["count"].values for name, cells in apart.items()}
    whole = both["count"].values
    assert (whole >= np.maximum(count[upper], count[lower])).all()
    for name, other in ((upper, lower), (lower, upper)):
        only = (count[name] == whole) & ((count[other] == 0) | (name == upper)) & (whole > 0)
        np.testing.assert_array_equal(both["VV"].values[only], apart[name]["VV"].values[only], name)
        assert only.sum() > 1000


@seldom(1)
def test_two_passes_of_a_day_differ_where_both_see_and_a_mixture_is_neither(sandbox, archive):
    day, box = two_passes(sandbox)
    covers = look_up(sandbox, box, day, day)
    for state in (None, "any"):
        made = plan(archive, covers, box, day, day, state)
        run(sandbox, archive, made)
    [tile] = tiles_covering(box, SIZE)
    cells = {state: archive.read(Chunk(tile, day, state)) for state in ORBITS}
    seen = {state: cells[state]["count"].values > 0 for state in ORBITS}
    np.testing.assert_array_equal(seen["any"], seen["ascending"] | seen["descending"])
    both = seen["ascending"] & seen["descending"]
    assert 0.2 < both.mean() < 0.999, "one of them ends within the tile"
    up, down = (cells[state]["VV"].values for state in ORBITS[1:])
    assert (up[both] != down[both]).mean() > 0.99
    order = sorted(ORBITS[1:], key=lambda s: covers[Chunk(tile, day, s)].times)
    check_mixture(cells["any"], {s: cells[s] for s in ORBITS[1:]}, *order)
    part = {s: covers[Chunk(tile, day, s)].share for s in ORBITS}
    for state in ORBITS:
        assert seen[state].mean() == pytest.approx(part[state], abs=0.02)
    archive.remove(Chunk(tile, day))
    check_retrievals(archive, box, day)


def check_retrievals(archive, box, day):
    """Grids of one direction, and of both by their counts; ``orbit`` "any" is not archived."""
    grids = {s: retrieve.retrieve(archive, box, day, dlat=1e-4, dlon=2e-4, orbit=s) for s in ORBITS}
    assert grids["any"].attrs["orbit"] == "ascending+descending"
    lon, lat = np.meshgrid(grids["any"]["lon"], grids["any"]["lat"])
    ids = healpy.ang2pix(convert.NSIDE, lon, lat, nest=True, lonlat=True)
    power, count = {}, {}
    for state in ORBITS[1:]:
        cells = retrieve.select(archive, grown(box, 0.001), day, state)
        known = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values).astype(int)
        place = np.searchsorted(known, ids).clip(max=len(known) - 1)
        inside = known[place] == ids
        count[state] = np.where(inside, cells["count"].values[place], 0).astype(int)
        power[state] = np.where(count[state] > 0, cells["VV"].values[place], 0.0)
        expected = np.where(count[state] > 0, power[state], np.nan)
        np.testing.assert_array_equal(grids[state]["VV"], expected.astype(np.float32))
    total = sum(count.values())
    with np.errstate(invalid="ignore"):
        mean = sum(power[s] * count[s] for s in ORBITS[1:]) / total
    np.testing.assert_allclose(grids["any"]["VV"], mean, rtol=1e-6)
    both = (count["ascending"] > 0) & (count["descending"] > 0)
    for state in ORBITS[1:]:
        assert (grids["any"]["VV"].values[both] != grids[state]["VV"].values[both]).mean() > 0.99


def two_passes(sandbox):
    """A day and a tile of which the first pass sees a part and the other orbit's sees all."""
    for west in range(0, 40, 10):
        area = BBox(float(west), 60.0, west + 10.0, 60.01)
        covers = look_up(sandbox, area, FIRST, FIRST + dt.timedelta(days=5))
        for chunk, cover in covers.items():
            other = covers.get(dataclasses.replace(chunk, orbit="descending"))
            if chunk.orbit == "ascending" and other:
                first, second = sorted((cover, other), key=lambda c: c.times)
                if 0.3 < first.share < 0.7 and second.share == 1:
                    return chunk.day, BBox(*dataclasses.astuple(chunk.tile))
    raise AssertionError("the sandbox's calendar has no such day any more")


def test_a_record_says_whose_images_it_is_made_of(sandbox, archive, covers):
    results: list[download.Result] = []

    def handle(result):
        results.append(result)
        return into(archive)(result)

    first = next(chunk for chunk in covers if chunk.orbit != "any")
    box = BBox(*dataclasses.astuple(first.tile))
    made = plan(archive, covers, box, first.day, first.day, first.orbit)
    run(sandbox, archive, made, handle=handle)
    [result] = results
    cover, about = covers[result.chunk], result.provenance
    assert about.relative_orbits == cover.relative_orbits != ()
    assert about.platforms == cover.platforms != ()
    assert about.acquired == cover.times
    begin, end = (dt.datetime.fromisoformat(time) for time in about.acquired[0].split("/"))
    assert begin.date() == first.day
    assert begin < end
    assert Provenance("cdse", "SENTINEL1_GRD", "job", "", False).acquired == (), "as before"


def test_only_what_an_image_touches_is_wanted_of_each_kind(archive, covers):
    made = plan(archive, covers)
    assert {c.orbit for c in made.missing} == {"ascending", "descending"}
    up = plan(archive, covers, orbit="ascending").missing
    assert up == [c for c in made.missing if c.orbit == "ascending"]
    mixed = plan(archive, covers, orbit="any").missing
    assert {(c.tile, c.day) for c in mixed} == {(c.tile, c.day) for c in made.missing}
    assert {c.orbit for c in mixed} == {"any"}
    assert len(plan(archive, None).missing) == 120
    assert plan(archive, {}).missing == []


def test_a_record_of_the_whole_day_is_not_ordered_again_unless_asked(archive, covers):
    chunk = next(c for c in covers if c.orbit == "ascending")
    day = Chunk(chunk.tile, chunk.day)

    def wanted(there, orbit, known=covers):
        made = download.plan(
            BOX, FIRST, LAST, orbit, lambda c: c in there, journal_of(archive), LABEL,
            chunk_size=SIZE, covers=known,
        )  # fmt: skip
        return chunk in made.missing, day in made.missing, made.archived

    assert wanted({day}, None) == (False, False, [day])
    assert wanted({day}, "ascending") == (True, False, [])
    assert wanted({day}, "any") == (False, False, [day])
    assert wanted({chunk}, None) == (False, False, [chunk])
    assert wanted({chunk}, "any")[1] is True
    assert wanted({chunk}, None, known=None) == (False, False, [chunk])
    assert wanted({chunk}, "any", known=None)[1] is True


@seldom(4)
def test_images_that_came_after_a_day_was_found_empty_are_noticed(sandboxes, archive):
    own = sandboxes("--job-seconds", "0.05")
    chunk = next(c for c in look_up(own, BOX) if c.orbit != "any")
    box, day = BBox(*dataclasses.astuple(chunk.tile)), chunk.day
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    own.control("publish", "POST", day=str(day), at=later.isoformat())
    assert look_up(own, box, day, day) == {}
    summary = run(own, archive, plan(archive, None, box, day, day))
    assert len(summary.empty) == 1
    assert len(plan(archive, None, box, day, day).empty) == 1

    own.control("publish", "POST", day=str(day), at="2026-02-01T00:00:00Z")
    old = plan(archive, look_up(own, box, day, day), box, day, day)
    assert (old.missing, len(old.empty)) == ([], 1), "it was there when nothing was found"
    now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1)
    own.control("publish", "POST", day=str(day), at=now.isoformat())
    while not (covers := look_up(own, box, day, day)):
        pass
    new = plan(archive, covers, box, day, day)
    assert new.renewed == new.missing == [chunk]
    assert run(own, archive, new).archived == [chunk]
    assert plan(archive, covers, box, day, day).missing == []


# --- what it costs ----------------------------------------------------------------------


@pytest.mark.alone
def test_the_estimate_of_the_second_run_is_within_a_fifth_of_what_it_takes(
    sandboxes, archive, covers
):
    own = sandboxes("--job-seconds", "1.5")
    chunks = [c for c in covers if c.orbit != "any" and covers[c].share == 1]
    warm = store.Archive(archive.path.with_name("warm.zarr"))  # compiled loops are no part of a job
    run(own, warm, plan(warm, {chunks[0]: covers[chunks[0]]}))
    part = {c: covers[c] for c in chunks[:4]}
    first = plan(archive, part)
    assert first.estimate.jobs == 0
    run(own, archive, first, pace=QUICK)
    part = {c: covers[c] for c in chunks[:10]}
    second = plan(archive, part)
    assert (second.estimate.jobs, len(second.missing)) == (4, 6)
    summary = run(own, archive, second, pace=QUICK)
    assert summary.seconds == pytest.approx(second.estimate.seconds, rel=0.2)
    low, high = second.estimate.seconds_range or (0, 0)
    assert low <= second.estimate.seconds <= high
    assert summary.bytes == pytest.approx(second.estimate.bytes, rel=0.2)
    paid = [row.credits for row in journal_of(archive).rows()][:6]
    assert sum(c or 0 for c in paid) == pytest.approx(second.estimate.credits, rel=0.05)


def test_a_limit_of_credits_stops_the_ordering_before_it_is_passed(sandboxes, archive, covers):
    own = sandboxes("--job-seconds", "0.05")
    part = {c: covers[c] for c in [c for c in covers if c.orbit != "any"][:9]}
    journal = journal_of(archive)
    limited = run(own, archive, plan(archive, part, max_credits=7.0))
    assert isinstance(limited.stopped, download.LimitReached)
    assert "--max-credits" in str(limited.stopped)
    assert (len(limited.archived), len(limited.left)) == (3, 6), "of 2 credits and a little each"
    assert journal.unfinished_request() is None, "it was done as far as was wanted"
    assert run(own, archive, plan(archive, part, max_credits=1.0)).archived == []
    more = run(own, archive, plan(archive, part, max_credits=4.5))
    assert (len(more.archived), len(more.left)) == (2, 4)
    assert own.events()["counts"]["started"] == 5
    assert len(run(own, archive, plan(archive, part, max_credits=100.0)).archived) == 4
    created = created_for(own.events(), archive)
    assert (len(created), set(created.values())) == (9, {1})
    assert 18 < journal.spent(LABEL, 0) < 19


def test_jobs_that_fail_count_towards_the_limit(sandboxes, archive, covers):
    own = sandboxes("--job-seconds", "0.05")
    part = {c: covers[c] for c in [c for c in covers if c.orbit != "any"][:3]}
    own.fault("job-error")
    limited = run(own, archive, plan(archive, part, max_credits=5.0))
    assert isinstance(limited.stopped, download.LimitReached)
    assert own.events()["counts"]["started"] == 2
    rows = [row for row in journal_of(archive).rows() if row.state is State.FAILED]
    assert all(row.credits and row.credits >= 2 for row in rows)


# --- through the program ----------------------------------------------------------------


@pytest.fixture
def program(tmp_path, monkeypatch, capsys):
    """Run `main.py download` with more flags; exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "CHUNK_SIZE", list(SIZE))
    monkeypatch.setattr(download, "MAX_INFLIGHT", 6)
    monkeypatch.setattr(download, "MAX_PENDING", 6)
    monkeypatch.setattr(download, "START_INTERVAL", 0.0)
    monkeypatch.setattr(download, "POLL_WAIT_TIME", 0.1)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    for name, value in {
        "METHOD": "client_credentials", "PROVIDER_ID": "sandbox",
        "CLIENT_ID": "sandbox-client", "CLIENT_SECRET": "sandbox-secret",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"OPENEO_AUTH_{name}", value)

    def start(*flags, bbox=BOX, command="download"):
        period = ["--bbox", str(bbox), "--start", "2026-01-01/2026-01-08"]
        code = main.main([command, *(period if command == "download" else []), *flags])
        said = capsys.readouterr()
        return code, said.out, said.err

    return start


def test_a_dry_run_prints_what_would_be_ordered_and_orders_nothing(
    sandbox, program, covers, tmp_path
):
    code, out, said = program("--backend", sandbox.url, "--dry-run", "--json")
    made = json.loads(out)
    wanted = [c for c in covers if c.orbit != "any" and c.day <= dt.date(2026, 1, 8)]
    assert (code, made["chunks"], made["to_order"]) == (DONE, len(wanted), len(wanted))
    assert (made["archived"], made["known_empty"], made["catalogue"]) == (0, 0, True)
    listed = {(c["tile"], c["day"], c["orbit_state"]): c["covered"] for c in made["list"]}
    assert listed == {
        (c.tile.name, str(c.day), c.orbit): covers[c].share for c in wanted
    }  # fmt: skip
    assert made["estimate"]["jobs"] == 0
    assert made["estimate"]["seconds"] > 0
    assert "The catalogue has images of" in said
    assert "A dry run: nothing was ordered." in said
    assert list(tmp_path.iterdir()) == []
    code, out, _ = program("--backend", sandbox.url, "--dry-run", "--json", "--no-catalogue")
    assert (json.loads(out)["to_order"], json.loads(out)["catalogue"]) == (32, False)
    assert program("--json")[0] == 2
    assert program("--catalogue", sandbox.url, "--no-catalogue")[0] == 2
    assert program("--max-credits", "-1")[0] == 2


def test_what_was_ordered_is_listed_with_its_orbit_and_the_limit_is_kept(sandbox, program):
    flags = ["--backend", sandbox.url, "--yes"]
    code, out, said = program(*flags, "--max-credits", "5")
    assert code == FAILED
    assert "The limit of 5 credits" in said
    assert "; a limit of 5 credits" in said
    assert "not finished" in out
    code, out, _ = program("--json", command="list")
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 2
    assert all(row["orbit_state"] in ORBITS[1:] for row in rows)
    assert program(*flags)[0] == DONE
    code, out, said = program(*flags, "--dry-run", "--json")
    made = json.loads(out)
    assert made["archived"] == made["chunks"] > 2
    assert (made["to_order"], made["estimate"]["jobs"]) == (0, made["chunks"])


def test_without_a_catalogue_nothing_is_ordered_unless_told_to(sandboxes, program, monkeypatch):
    monkeypatch.setattr(catalogue, "RETRIES", 0)
    own = sandboxes("--job-seconds", "0.05", "--slots", "6", "--fault", "500=1,path=/stac")
    for flags in (["--yes"], [], ["--dry-run"]):
        code, out, said = program("--backend", own.url, *flags)
        assert (code, out) == (FAILED, "")
        assert "--no-catalogue" in said
    assert own.events()["counts"].get("created", 0) == 0
    code, out, said = program(
        "--backend", own.url, "--no-catalogue", "--yes", bbox="1.5,1,1.51,1.01"
    )
    assert (code, "to order 8" in said) == (DONE, True)


def test_where_the_catalogue_has_nothing_there_is_no_data(sandbox, program):
    code, _, said = program("--backend", sandbox.url, "--yes", bbox="3,85,3.2,85.01")
    assert code == NO_DATA
    assert "The catalogue has no image of 3,85,3.2,85.01" in said
    assert "--no-catalogue" in said


def test_another_catalogue_can_be_named(sandboxes, sandbox, program):
    own = sandboxes("--fault", "500=1,path=/stac")
    named = f"{sandbox.url}/stac"
    code, out, _ = program("--backend", own.url, "--catalogue", named, "--dry-run", "--json")
    assert (code, json.loads(out)["catalogue"]) == (DONE, True)
