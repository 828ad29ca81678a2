"""The sandbox's STAC API, by the official client and the published schemas, over HTTP."""

from __future__ import annotations

import datetime as dt
import warnings

import numpy as np
import pystac_client
import pytest
import requests
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pystac.validation import validate_dict

from sandbox import orbit, stac
from tests.rounds import rounds, torture

BOX = [3.0, 51.0, 5.0, 51.5]
WEEK = "2026-01-15T00:00:00Z/2026-01-21T23:59:59Z"
COLLECTION = stac.COLLECTION_ID


@pytest.fixture
def client(sandbox):
    return pystac_client.Client.open(f"{sandbox.url}/stac")


def found(client, **query):
    return list(client.search(collections=[COLLECTION], **query).items())


def test_the_classes_it_conforms_to_are_those_that_a_client_needs(client):
    for name in ("CORE", "COLLECTIONS", "FEATURES", "ITEM_SEARCH", "FIELDS"):
        assert client.conforms_to(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [c.id for c in client.get_collections()] == list(stac.COLLECTIONS)
        client.search(collections=[COLLECTION])


def test_its_documents_are_valid_by_the_schemas_of_stac(client, sandbox):
    item = found(client, bbox=BOX, datetime=WEEK)[0]
    across = found(client, bbox=[179, 40, -179, 41], datetime=WEEK)
    assert any(item.geometry["type"] == "MultiPolygon" for item in across)
    for document in (
        requests.get(f"{sandbox.url}/stac/").json(),
        requests.get(f"{sandbox.url}/stac/collections/{COLLECTION}").json(),
        *(item.to_dict(transform_hrefs=False) for item in (item, *across)),
    ):
        [schema] = validate_dict(document, extensions=[])
        assert "v1.1.0" in schema


def test_every_link_of_its_documents_leads_to_what_it_says(client, sandbox):
    item = found(client, bbox=BOX, datetime=WEEK)[0]
    page = requests.get(f"{sandbox.url}/stac/").json()
    collection = requests.get(f"{sandbox.url}/stac/collections/{COLLECTION}").json()
    for document in (page, collection, item.to_dict(transform_hrefs=False)):
        for link in document["links"]:
            answer = requests.request(link.get("method", "GET"), link["href"], json={})
            assert answer.headers["Content-Type"] == link["type"]
            if link["rel"] == "self":
                assert answer.json()["id"] == document["id"]
            if link["rel"] == "service-desc":
                assert answer.json()["openapi"].startswith("3.")


def test_an_item_says_what_an_image_is_and_that_it_is_synthetic(client):
    items = found(client, bbox=BOX, datetime="2026-01-20")
    assert len(items) == 2, "the plain and the cloud-optimised product of one image"
    assert items[0].id + "_COG" == items[1].id
    assert items[0].geometry == items[1].geometry
    about = items[0].properties
    assert about["synthetic"] is True
    assert "not measured" in about["description"]
    assert (about["platform"], about["sat:orbit_state"]) == ("synthetic-1a", "descending")
    assert about["sat:relative_orbit"] == 154
    assert about["sar:polarizations"] == ["VV", "VH"]
    begin, end = (dt.datetime.fromisoformat(about[n]) for n in ("start_datetime", "end_datetime"))
    assert begin == items[0].datetime
    assert dt.timedelta(seconds=20) < end - begin < dt.timedelta(seconds=60)
    created = dt.datetime.fromisoformat(about["created"])
    assert dt.timedelta(hours=2) < created - begin < dt.timedelta(hours=4)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_pages_hold_every_item_once_newest_first(client, method):
    query = {"bbox": BOX, "datetime": WEEK, "method": method}
    whole = [item.id for item in found(client, **query, limit=1000)]
    paged = client.search(collections=[COLLECTION], **query, limit=3)
    pages = [[item.id for item in page] for page in paged.pages()]
    assert max(map(len, pages)) == 3
    assert [name for page in pages for name in page] == whole
    assert len(set(whole)) == len(whole) > 6
    times = [item.datetime for item in found(client, **query)]
    assert times == sorted(times, reverse=True)


def test_a_search_by_ids_geometry_time_and_fields_finds_just_that(client):
    whole = found(client, bbox=BOX, datetime=WEEK)
    one = whole[5]
    assert [item.id for item in found(client, ids=[one.id])] == [one.id]
    assert found(client, ids=["nothing", "SYNA_IW_GRDH_1SDV_20269999T000000_x"]) == []
    geometry = shapely.geometry.mapping(shapely.box(*BOX))
    same = found(client, intersects=geometry, datetime=WEEK)
    assert [item.id for item in same] == [item.id for item in whole]
    at = f"{one.datetime:%Y-%m-%dT%H:%M:%SZ}"
    assert one.id in [item.id for item in found(client, bbox=BOX, datetime=at)]
    assert found(client, bbox=BOX, datetime="../2014-10-02T00:00:00Z") == []
    assert list(client.search(collections=["sentinel-3"], bbox=BOX).items()) == []
    fields = {"include": ["properties.datetime"], "exclude": ["links"]}
    [short] = client.search(ids=[one.id], fields=fields).items_as_dicts()
    assert short == {
        "id": one.id,
        "properties": {"datetime": one.to_dict()["properties"]["datetime"]},
    }


@pytest.mark.parametrize(
    "query",
    [
        {"bbox": "1,2,3"}, {"bbox": "1,2,nan,4"}, {"bbox": "0,5,1,4"}, {"limit": "0"},
        {"limit": "many"}, {"datetime": "2026-01-20"}, {"datetime": "../.."}, {"token": "x"},
        {"datetime": "2026-01-02T00:00:00Z/2026-01-01T00:00:00Z"}, {"colour": "red"},
        {"intersects": "{"}, {"intersects": '{"type": "Circle"}'},
        {"bbox": "0,0,1,1", "intersects": '{"type": "Point", "coordinates": [0, 0]}'},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_understood_is_refused(sandbox, query):
    answer = requests.get(f"{sandbox.url}/stac/search", params=query)
    assert answer.status_code == 400
    assert {"code", "description"} == set(answer.json())


def test_what_is_not_there_is_not_found(sandbox):
    for path in ("collections/x", "collections/x/items", f"collections/{COLLECTION}/items/x"):
        assert requests.get(f"{sandbox.url}/stac/{path}").status_code == 404


@given(
    st.dates(dt.date(2014, 10, 3), dt.date(2026, 1, 1)), st.floats(-180, 179.9),
    st.floats(-77, 78), st.sampled_from(orbit.STATES), st.integers(0, 1000),
)  # fmt: skip
@torture
@settings(max_examples=rounds(25), deadline=None)
def test_footprints_are_exactly_where_a_job_finds_pixels(day, west, south, state, seed):
    dice = np.random.default_rng(seed)
    lon, lat = west + 3 * dice.random(200), np.clip(south + 2 * dice.random(200), -78, 79)
    lon = (lon + 180) % 360 - 180
    views = [view for view in orbit.passes(day) if view.orbit == state]
    with np.errstate(invalid="ignore"):
        across = np.stack([view.across(lon, lat) for view in views])
        seen = np.any((across >= 0) & (across < 1), axis=0)
        edge = np.any(np.minimum(np.abs(across), np.abs(across - 1)) < 1e-6, axis=0)
    points = shapely.MultiPoint(np.stack([lon, lat], axis=1))
    images = stac._of_day(day, stac.Query(area=points), orbit.published)
    shown = [image.footprint for image in images if image.view.orbit == state]
    covered = np.asarray(shapely.intersects_xy(shapely.union_all(shown), lon, lat))
    np.testing.assert_array_equal(covered[~edge], seen[~edge])


def test_images_that_are_published_late_are_found_late_by_search_and_job(sandboxes):
    own = sandboxes("--job-seconds", "0.05")
    client = pystac_client.Client.open(f"{own.url}/stac")
    query = {"bbox": [3, 51, 3.01, 51.01], "datetime": "2026-01-20"}
    assert len(found(client, **query)) == 2
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    own.control("publish", "POST", day="2026-01-20", at=tomorrow.isoformat())
    assert found(client, **query) == []
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    own.control("publish", "POST", day="2026-01-20", at=now.isoformat())
    created = {item.properties["created"] for item in found(client, **query)}
    assert created == {f"{now:%Y-%m-%dT%H:%M:%SZ}"}
