"""Items of a catalogue as they come: left aside, mended, or skipped one by one."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import math
import re
from typing import Any

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import download
from jobs import footprint, items
from jobs.items import Found
from sandbox import orbit
from tests.rounds import rounds, torture

DAY = dt.date(2026, 1, 20)
SELECTION = dataclasses.replace(download.settings().selection, bands=("VV", "VH"))
RING = [[3.0, 50.0], [6.4, 50.4], [6.0, 52.0], [2.5, 51.6], [3.0, 50.0]]
GOOD: dict[str, Any] = {
    "type": "Feature",
    "id": "S1A_good",
    "geometry": {"type": "Polygon", "coordinates": [RING]},
    "properties": {
        "datetime": "2026-01-20T05:50:00Z",
        "start_datetime": "2026-01-20T05:50:00Z",
        "end_datetime": "2026-01-20T05:50:25Z",
        "created": "2026-01-20T09:00:00Z",
        "published": "2026-01-20T09:30:00Z",
        "platform": "sentinel-1a",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": 154,
        "sar:instrument_mode": "IW",
        "sar:polarizations": ["VV", "VH"],
        "product:type": "IW_GRDH_1S",
    },
}
LEFT_OUT = object()
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part),
    max_leaves=6,
)  # fmt: skip


def changed(path, value, item=GOOD, **more):
    """The item with something else at a path, as ``properties/platform``; or without it."""
    item = copy.deepcopy(item) | more
    *parents, last = path.split("/")
    inside = item
    for name in parents:
        inside = inside[name]
    inside[last] = value
    if value is LEFT_OUT:
        del inside[last]
    return item


def alone(path, value) -> Found:
    return items.sorted_out({"it": changed(path, value)}, DAY, DAY, SELECTION)


def ring(*corners):
    return {"type": "Polygon", "coordinates": [[list(c) for c in (*corners, corners[0])]]}


SKIPPED: dict[str, dict[str, list[object]]] = {
    "geometry": {
        "is missing": [None, LEFT_OUT, 5, [], "POLYGON"],
        "is no GeoJSON": [{}, {"type": "Polygon"},
                          {"type": "Ball", "coordinates": []}, ring("ab", "cd", "ef")],
        "has no area": [{"type": "Polygon", "coordinates": None},
                        {"type": "Polygon", "coordinates": []},
                        {"type": "Point", "coordinates": [3, 50]},
                        {"type": "LineString", "coordinates": RING},
                        ring((3, 50), (4, 50), (5, 50))],
        r"is \d+ km long": [ring((-180, -1), (180, -1), (180, 1), (-180, 1)),
                            ring((-180, -90), (180, -90), (180, 90), (-180, 90)),
                            ring((-179, -1), (179.9, -1), (0, 1)),
                            ring((3, 30), (6, 30), (6, 52), (3, 52))],
        "has latitudes that are none": [ring((3, 50), (4, 50), (4, 99))],
        "has longitudes that are none": [ring((3, 50), (1e300, 50), (4, 51)),
                                         ring((3, 50), (math.nan, math.nan), (4, 51)),
                                         ring((math.inf, 50), (4, 50), (4, 51))],
    },
    "properties": {"it has no properties": [None, LEFT_OUT, [], "x", 3]},
    "properties/sat:orbit_state": {
        "its orbit state is": [None, LEFT_OUT, "sideways", "", 5, ["descending"], {}],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        pytest.param(path, value, why, id=f"{path} {why} {number}")
        for path, reasons in SKIPPED.items()
        for why, values in reasons.items()
        for number, value in enumerate(values)
    ],
)
def test_a_malformed_item_is_skipped_and_the_others_are_not(path, value, why):
    bad = changed(path, value, id="S1A_bad")
    result = items.sorted_out({"S1A_bad": bad, "S1A_good": GOOD}, DAY, DAY, SELECTION)
    assert len(result.images) == 1
    [words] = result.skipped
    assert re.search(why, words)
    assert words.startswith("S1A_bad: ")
    assert "\n" not in words


USED_ALL_THE_SAME: dict[str, list[object]] = {
    "id": [None, LEFT_OUT, 5, [], {}],
    "type": [None, LEFT_OUT],
    "properties/start_datetime": [None, LEFT_OUT, "", "yesterday", 5, [], {}],
    "properties/datetime": [None, LEFT_OUT, "x", 5],
    "properties/end_datetime": [None, LEFT_OUT, "x", 5],
    "properties/created": [None, LEFT_OUT, "x", 5, []],
    "properties/published": [None, LEFT_OUT, "x", 5, []],
    "properties/platform": [None, LEFT_OUT, 5, []],
    "properties/sat:relative_orbit": [None, LEFT_OUT, "154", 154.0, "x", [], {}, math.inf, True],
    "properties/sat:orbit_state": ["DESCENDING", " Descending"],
    "properties/sar:instrument_mode": [None, LEFT_OUT, "iw", ""],
    "properties/sar:polarizations": [None, LEFT_OUT, [], ["vv", "vh"], ["VH", "VV"], "VV&VH",
                                     "VV VH"],
    "properties/product:type": [None, LEFT_OUT, "iw_grdh_1s", "IW_GRDH_1S_B", "IW_GRDH_1S_C"],
    "geometry": [
        {"type": "Polygon", "coordinates": [[[*xy, 10.0] for xy in RING]]},
        {"type": "MultiPolygon", "coordinates": [[RING]]},
        {"type": "GeometryCollection", "geometries": [GOOD["geometry"]]},
        {"type": "Polygon", "coordinates": [[[x + 360, y] for x, y in RING]]},
        {"type": "Polygon", "coordinates": [RING[::-1]]},
        ring(RING[0], RING[2], RING[1], RING[3]),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(path, value, id=f"{path} {number}")
        for path, values in USED_ALL_THE_SAME.items()
        for number, value in enumerate(values)
    ],
)
def test_an_image_counts_whatever_is_missing_that_it_does_not_need(path, value):
    result = alone(path, value)
    assert (len(result.images), result.aside, result.skipped) == (1, (), ())
    [image] = result.images
    expected = shapely.Polygon(RING)
    assert image.footprint.symmetric_difference(expected).area < 1e-9 * expected.area
    assert image.begin == dt.datetime(2026, 1, 20, 5, 50, tzinfo=dt.UTC)


ASIDE = [
    ("product:type", "IW_GRDH_1S_D",
     "1 image of Sentinel-1A (IW_GRDH_1S_D), which the back end does not read yet"),
    ("sar:instrument_mode", "EW", "1 image in mode EW, which the back end does not read"),
    ("sar:polarizations", ["VV"], "1 image without VH"),
    ("sar:polarizations", ["HH", "HV"], "1 image without VV and VH"),
    ("sar:polarizations", "HH", "1 image without VV and VH"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "words"), ASIDE)
def test_what_the_back_end_does_not_read_is_left_aside_and_said(name, value, words):
    result = alone(f"properties/{name}", value)
    assert (result.images, result.skipped, result.aside) == ([], (), (words,))
    twin = items.sorted_out(
        {"a": changed(f"properties/{name}", value), "b": GOOD}, DAY, DAY, SELECTION
    )
    assert (len(twin.images), twin.aside) == (1, ()), "another product of it is read"


@pytest.mark.parametrize(("bands", "number"), [(("VV",), 1), (("VH",), 0), (("HH",), 0)])
def test_only_the_bands_that_are_ordered_are_needed(bands, number):
    item = changed("properties/sar:polarizations", ["VV"])
    selection = dataclasses.replace(SELECTION, bands=bands)
    assert len(items.sorted_out({"it": item}, DAY, DAY, selection).images) == number


paths = st.sampled_from(
    [*GOOD, *(f"properties/{name}" for name in GOOD["properties"]), "geometry/coordinates"]
)


@torture
@settings(max_examples=rounds(40))
@given(path=paths, value=junk)
def test_no_item_whatever_is_in_it_stops_the_others(path, value):
    bad = changed(path, value)
    result = items.sorted_out({"bad": bad, "good": GOOD}, DAY, DAY, SELECTION)
    assert [image.platform for image in result.images].count("sentinel-1a") >= 1
    assert len(result.images) + len(result.skipped) + len(result.aside) <= 2


@given(junk)
def test_an_item_may_be_anything_at_all(item):
    result = items.sorted_out({items.name_of(item): item, "g": GOOD}, DAY, DAY, SELECTION)
    assert (len(result.images), len(result.skipped)) == (1, 1)
    assert items.lacks_something(item, SELECTION.usual)


def test_every_footprint_of_the_sandbox_is_believed():
    """Its slices are as long towards the poles as images are anywhere."""
    view = orbit.passes(DAY)[0]
    for row in range(77):
        south = orbit.SOUTH_LIMIT + row * orbit.SLICE
        outline = view.outline(south, south + orbit.SLICE)
        footprint.of_image({"type": "Polygon", "coordinates": [outline.tolist()]})
