"""The sandbox's answers, driven by the openEO client, against the openEO API specification."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from openapi_core import Config, OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from openeo.rest import OpenEoApiError
from openeo.rest.connection import connect

from sandbox import graph
from sandbox.errors import ApiError
from sandbox.offers import OFFERS
from tests.conftest import ROOT, start_sandbox
from tests.waiting import until

SPECIFICATION = ROOT.parent / "shared" / "openeo" / "openapi.yaml"
BOX = {"west": 3.0, "south": 51.2, "east": 3.01, "north": 51.21}
DAY = ["2026-01-20", "2026-01-21"]


@functools.cache
def specification(root: str) -> OpenAPI:
    if not SPECIFICATION.exists():
        pytest.skip(f"the openEO specification is not at {SPECIFICATION}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(SPECIFICATION.read_text(encoding="utf-8"), loader)
    document["servers"] = [{"url": root}]
    # The branch "Generic" accepts everything, so that no parameter that is a data cube or
    # a process graph, also not the specification's own examples, matches exactly one.
    schema = document["components"]["schemas"]["process_json_schema"]
    schema["anyOf"] = schema.pop("oneOf")
    readers: dict[str, Callable[[bytes], Any]] = {"application/schema+json": json.loads}
    return OpenAPI.from_dict(document, config=Config(extra_media_type_deserializers=readers))


class Recorder(requests.Session):
    """A session that holds every answer against the specification."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.root = f"{url}/openeo/1.2"
        self.seen: set[tuple[str, str, int]] = set()
        self.api = specification(self.root)
        self.hooks["response"].append(self.check)

    def check(self, response: requests.Response, *args: Any, **options: Any) -> None:
        url = str(response.request.url)
        if not url.startswith(self.root):
            return
        self.api.validate_response(
            RequestsOpenAPIRequest(response.request), RequestsOpenAPIResponse(response)
        )
        path = re.sub(r"/j-\w+", "/{id}", url.removeprefix(self.root).partition("?")[0])
        self.seen.add((str(response.request.method), path, response.status_code))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A sandbox of these tests' own: others leave jobs with faults behind."""
    with start_sandbox(tmp_path_factory.mktemp("api"), "--job-seconds", "0.1") as running:
        yield running


@pytest.fixture
def recorder(sandbox):
    return Recorder(sandbox.url)


@pytest.fixture
def connection(sandbox, recorder):
    return connect(sandbox.url, session=recorder).authenticate_basic("sandbox", "sandbox")


def cube(connection, box=BOX, days=DAY, **more):
    loaded = connection.load_collection(
        "SENTINEL1_GRD", spatial_extent=box, temporal_extent=days, bands=["VV", "VH"], **more
    )
    return loaded.sar_backscatter(coefficient="sigma0-ellipsoid").reduce_dimension(
        dimension="t", reducer="first"
    )


def create(connection, title="a job", **more):
    return cube(connection, **more).create_job(title=title, out_format="netCDF")


def wait(job, *statuses):
    until(lambda: job.status() in statuses, statuses)
    return job.describe()


def refused(code, status, call, *arguments):
    with pytest.raises(OpenEoApiError) as error:
        call(*arguments)
    assert (error.value.code, error.value.http_status_code) == (code, status)
    return error.value.message


def test_discovery_answers_as_the_specification_says(connection, recorder):
    connection.capabilities()
    connection.list_collections()
    connection.describe_collection("SENTINEL1_GRD")
    connection.list_processes()
    connection.list_file_formats()
    connection.describe_account()
    connection.get("/conformance")
    connection.get("/collections/SENTINEL1_GRD/queryables")
    connection.list_auth_providers()
    assert connection.capabilities().api_version() == "1.2.0"
    assert len({path for _, path, _ in recorder.seen}) >= 10


def test_every_endpoint_that_is_offered_answers_as_the_specification_says(connection, recorder):
    job = create(connection, "every endpoint")
    names = {"collection_id": "SENTINEL1_GRD", "job_id": job.job_id}
    offered = connection.capabilities().get("endpoints")
    for endpoint in sorted(offered, key=lambda e: e["path"]):
        path = endpoint["path"].format(**names)
        for method in sorted(endpoint["methods"], key=["GET", "PATCH", "POST", "DELETE"].index):
            if method == "DELETE" and path.endswith(job.job_id):
                continue  # the last one, below
            body = {"title": "changed"} if method == "PATCH" else PROCESS
            connection.request(
                method, path, json=None if method == "GET" else body, check_error=False
            )
    job.delete()
    seen = {(method, path) for method, path, _ in recorder.seen}
    for endpoint in offered:
        path = endpoint["path"].format(collection_id="SENTINEL1_GRD", job_id="{id}")
        assert {(m, path) for m in endpoint["methods"]} <= seen


@pytest.mark.parametrize("name", list(OFFERS))
def test_each_collection_is_described_by_the_specification_and_says_that_it_is_synthetic(
    connection, name
):
    document = connection.describe_collection(name)
    assert "**Synthetic.**" in document["description"]
    assert connection.collection_metadata(name).band_names == list(OFFERS[name].bands)
    assert connection.get(f"/collections/{name}/queryables").json()["type"] == "object"
    assert name in connection.list_collection_ids()


@pytest.mark.parametrize(
    ("name", "bands", "days", "code"),
    [
        ("SENTINEL2_L2A", ["B02", "SCL"], DAY, 32631),
        ("COPERNICUS_30", ["DEM"], ["2010-01-01", "2020-01-01"], 4326),
    ],
)
def test_an_order_of_another_collection_is_carried_out(connection, name, bands, days, code):
    more = {"max_cloud_cover": 99} if name.startswith("SENTINEL") else {}
    loaded = connection.load_collection(
        name, spatial_extent=BOX, temporal_extent=days, bands=bands, **more
    )
    job = loaded.reduce_dimension(dimension="t", reducer="first").create_job(out_format="netCDF")
    job.start()
    wait(job, "finished")
    [asset] = job.get_results().get_assets()
    assert asset.metadata["proj:epsg"] == code
    assert [band["name"] for band in asset.metadata["bands"]] == bands


def test_what_another_collection_has_not_is_refused_in_the_words_of_the_back_end(connection):
    loaded = connection.load_collection(
        "SENTINEL2_L2A", spatial_extent=BOX, temporal_extent=DAY, bands=["B02"]
    )
    cubes = [
        (loaded.sar_backscatter(coefficient="sigma0-ellipsoid"),
         'Process "sar_backscatter" is not applicable for collection SENTINEL2_L2A.'),
        (connection.datacube_from_flat_graph({
            "load": {**S2_HH, "arguments": {**S2_HH["arguments"]}, "result": True}}),
         "Invalid band name/index 'B10'. Valid names: ['B01', 'B02', 'B03',"),
    ]  # fmt: skip
    for cube, words in cubes:
        message = refused(
            "ProcessParameterInvalid", 400, lambda c=cube: c.create_job(out_format="netCDF")
        )
        assert words in message


def test_a_job_goes_from_created_to_a_result(connection, recorder, tmp_path):
    job = create(connection, "from created to result")
    described = job.describe()
    assert described["status"] == "created"
    assert "costs" not in described
    assert "usage" not in described
    refused("JobNotStarted", 400, job.get_results().get_metadata)
    job.start()
    refused("JobNotFinished", 400, job.get_results().get_metadata)
    done = wait(job, "finished")
    assert done["progress"] == 100
    assert done["costs"] >= 2
    assert done["usage"]["duration"]["value"] > 0
    assert [entry["level"] for entry in job.logs()] == ["info", "info"]
    assert job.logs(level="error") == []
    results = job.get_results()
    assert results.get_metadata()["type"] == "Collection"
    (asset,) = results.get_assets()
    assert asset.metadata["type"] == "application/x-netcdf"
    path = asset.download(tmp_path / "result.nc")
    assert path.stat().st_size == asset.metadata["file:size"]
    job.delete()
    refused("JobNotFound", 404, job.describe)
    assert {
        ("POST", "/validation", 200),
        ("POST", "/jobs", 201),
        ("GET", "/jobs/{id}", 200),
        ("POST", "/jobs/{id}/results", 202),
        ("GET", "/jobs/{id}/results", 400),
        ("GET", "/jobs/{id}/results", 200),
        ("GET", "/jobs/{id}/logs", 200),
        ("DELETE", "/jobs/{id}", 204),
        ("GET", "/jobs/{id}", 404),
    } <= recorder.seen


def test_jobs_are_listed_newest_first_and_page_by_page(sandboxes):
    sandbox = sandboxes()
    session = Recorder(sandbox.url)
    connection = connect(sandbox.url, session=session).authenticate_basic("sandbox", "sandbox")
    made = [create(connection, f"job {i}").job_id for i in range(5)]
    assert [j["id"] for j in connection.list_jobs()] == made[::-1]
    assert "process" not in connection.list_jobs()[0]
    found, url = [], "/jobs?limit=2"
    for expected in (2, 2, 1):
        page = connection.get(url).json()
        assert len(page["jobs"]) == expected
        found += [j["id"] for j in page["jobs"]]
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")
    assert url == ""
    assert found == made[::-1]
    other = connect(sandbox.url).authenticate_basic("guest", "guest")
    assert other.list_jobs() == []
    refused("JobNotFound", 404, other.job(made[0]).describe)


def test_a_third_job_is_refused_and_stays_created(sandboxes):
    sandbox = sandboxes("--job-seconds", "1.5")
    session = Recorder(sandbox.url)
    connection = connect(sandbox.url, session=session).authenticate_basic("sandbox", "sandbox")
    jobs = [create(connection, f"slot {i}") for i in range(3)]
    jobs[0].start()
    jobs[1].start()
    message = refused("ConcurrentJobLimit", 400, jobs[2].start)
    assert message == "Job was not started because concurrent job limit (2) is reached."
    assert jobs[2].status() == "created"
    assert jobs[0].status() in ("queued", "running")
    refused("JobLocked", 400, lambda: session_patch(connection, jobs[0], title="new"))
    jobs[0].stop()
    assert jobs[0].status() == "canceled"
    jobs[2].start()
    wait(jobs[1], "finished")
    wait(jobs[2], "finished")
    events = sandbox.events()
    assert events["max_active"] == 2
    assert events["created_by_title"] == {f"slot {i}": 1 for i in range(3)}
    assert events["counts"]["start refused"] == 1


def session_patch(connection, job, **changes):
    return connection.patch(f"/jobs/{job.job_id}", json=changes, expected_status=204)


def test_a_job_can_be_changed_before_it_starts(connection):
    job = create(connection)
    session_patch(connection, job, title="another title")
    assert job.describe()["title"] == "another title"
    refused("NoDataForUpdate", 400, lambda: session_patch(connection, job))
    refused("PropertyNotEditable", 400, lambda: session_patch(connection, job, status="x"))


def test_starting_a_job_that_has_ended_is_refused(sandboxes):
    sandbox = sandboxes("--job-seconds", "0.1", "--fault", "job-error=1")
    session = Recorder(sandbox.url)
    connection = connect(sandbox.url, session=session).authenticate_basic("sandbox", "sandbox")
    job = create(connection)
    job.start()
    wait(job, "error")
    assert [entry["level"] for entry in job.logs(level="error")] == ["error"]
    with pytest.raises(OpenEoApiError, match="424"):
        job.get_results().get_metadata()
    with pytest.raises(OpenEoApiError, match=r"\[501\] JobTransitionNotImplemented"):
        job.start()
    sandbox.fault("start-ended-400")
    with pytest.raises(OpenEoApiError, match=r"\[400\] JobTransitionUnsupported"):
        job.start()
    sandbox.clear_faults()
    sandbox.fault("start-ended-202")
    job.start()
    time.sleep(0.3)
    assert job.status() == "error"
    assert sandbox.events()["counts"]["start ignored"] == 1


def test_no_data_comes_in_two_forms(connection):
    # No pass comes near 3 E on 2026-01-22; on the 21st one ends just west of 7 E.
    none = create(connection, days=["2026-01-22", "2026-01-23"])
    none.start()
    wait(none, "error")
    assert any(
        "NoDataAvailable" in e["message"] and "no data available for the given extents" in e.message
        for e in none.logs()
    )
    box = {"west": 6.99, "south": 50.1, "east": 7.0, "north": 50.11}
    empty = create(connection, box=box, days=["2026-01-21", "2026-01-22"])
    empty.start()
    wait(empty, "finished")
    assert empty.get_results().get_assets() == []


GRAPH: dict[str, Any] = {
    "load": {
        "process_id": "load_collection",
        "arguments": {
            "id": "SENTINEL1_GRD",
            "spatial_extent": BOX,
            "temporal_extent": DAY,
            "bands": ["VV", "VH"],
        },
    },
    "sigma": {
        "process_id": "sar_backscatter",
        "arguments": {"data": {"from_node": "load"}, "coefficient": "sigma0-ellipsoid"},
    },
    "reduce": {
        "process_id": "reduce_dimension",
        "arguments": {
            "data": {"from_node": "sigma"},
            "dimension": "t",
            "reducer": {
                "process_graph": {
                    "mean": {
                        "process_id": "mean",
                        "arguments": {"data": {"from_parameter": "data"}},
                        "result": True,
                    }
                }
            },
        },
    },
    "save": {
        "process_id": "save_result",
        "arguments": {"data": {"from_node": "reduce"}, "format": "netCDF"},
        "result": True,
    },
}


PROCESS = {"process_graph": GRAPH, "process": {"process_graph": GRAPH}}


def changed(node, argument, value):
    """The graph with one argument changed."""
    entry = dict(GRAPH[node])
    entry["arguments"] = {**entry["arguments"], argument: value}
    return {**GRAPH, node: entry}


def only(process, **arguments):
    """A child process graph of one node."""
    return {"process_graph": {"n": {"process_id": process, "arguments": arguments, "result": True}}}


S2 = changed("load", "id", "SENTINEL2_L2A")["load"]
S2["arguments"]["bands"] = ["B04"]
S2_HH = {**S2, "arguments": {**S2["arguments"], "bands": ["B10"]}}
VALUE = {"from_parameter": "value"}
DATA = {"from_parameter": "data"}
REFUSED = {
    "an unknown process": (
        {**GRAPH, "x": {"process_id": "ndvi", "arguments": {}}},
        "ProcessUnsupported",
    ),
    "an unknown namespace": (
        {**GRAPH, "load": {**GRAPH["load"], "namespace": "user"}},
        "ProcessUnsupported",
    ),
    "an unknown argument": (changed("load", "clouds", 1), "ProcessParameterUnsupported"),
    "a missing argument": (
        {**GRAPH, "save": {"process_id": "save_result", "arguments": {}, "result": True}},
        "ProcessParameterRequired",
    ),
    "another collection": (changed("load", "id", "SENTINEL2"), "CollectionNotFound"),
    "gamma0-terrain": (
        changed("sigma", "coefficient", "gamma0-terrain"),
        "ProcessParameterInvalid",
    ),
    "a mask band": (changed("sigma", "mask", True), "ProcessParameterInvalid"),
    "options of the backscatter": (
        changed("sigma", "options", {"tile": 1}),
        "ProcessParameterInvalid",
    ),
    "an unknown elevation model": (
        changed("sigma", "elevation_model", "SRTM"),
        "ProcessParameterInvalid",
    ),
    "backscatter of another collection": (
        {**changed("load", "id", "SENTINEL2_L2A"), "load": S2},
        "ProcessParameterInvalid",
    ),
    "an unknown band of another collection": (
        {**changed("reduce", "data", {"from_node": "load"}), "load": S2_HH},
        "ProcessParameterInvalid",
    ),
    "a filter on polarisations of numbers": (
        changed("load", "properties", {"polarisation": only("eq", x=VALUE, y=5)}),
        "ProcessParameterInvalid",
    ),
    "another format": (changed("save", "format", "GTiff"), "FormatUnsupported"),
    "options of the format": (changed("save", "options", {"a": 1}), "ProcessParameterInvalid"),
    "an unknown band": (changed("load", "bands", ["HH"]), "ProcessParameterInvalid"),
    "a band twice": (changed("load", "bands", ["VV", "VV"]), "ProcessParameterInvalid"),
    "no box": (changed("load", "spatial_extent", None), "ProcessParameterInvalid"),
    "a box inside out": (
        changed("load", "spatial_extent", {**BOX, "west": 4}),
        "ProcessParameterInvalid",
    ),
    "a box of text": (
        changed("load", "spatial_extent", {**BOX, "west": "3"}),
        "ProcessParameterInvalid",
    ),
    "a box in another CRS": (
        changed("load", "spatial_extent", {**BOX, "crs": 32631}),
        "ProcessParameterInvalid",
    ),
    "a continent": (
        changed("load", "spatial_extent", {"west": 0, "south": 40, "east": 20, "north": 60}),
        "ExtentTooLarge",
    ),
    "an empty interval": (
        changed("load", "temporal_extent", ["2026-01-20", "2026-01-20"]),
        "ProcessParameterInvalid",
    ),
    "a day that is none": (
        changed("load", "temporal_extent", ["2026-13-31", None]),
        "ProcessParameterInvalid",
    ),
    "a filter on another property": (
        changed("load", "properties", {"platform": only("eq", x=VALUE, y="A")}),
        "ProcessParameterInvalid",
    ),
    "a filter for another orbit": (
        changed("load", "properties", {"sat:orbit_state": only("eq", x=VALUE, y="sideways")}),
        "ProcessParameterInvalid",
    ),
    "a filter by another process": (
        changed("load", "properties", {"sat:orbit_state": only("neq", x=VALUE, y="ASCENDING")}),
        "ProcessUnsupported",
    ),
    "another dimension": (changed("reduce", "dimension", "bands"), "ProcessParameterInvalid"),
    "an unknown reducer": (
        changed("reduce", "reducer", only("sd", data=DATA)),
        "ProcessUnsupported",
    ),
    "an unknown argument of a reducer": (
        changed("reduce", "reducer", only("mean", data=DATA, x=1)),
        "ProcessParameterUnsupported",
    ),
    "a reducer of nothing": (
        changed("reduce", "reducer", only("mean", data=3)),
        "ProcessParameterInvalid",
    ),
    "a node that is not there": (
        changed("save", "data", {"from_node": "x"}),
        "ProcessGraphInvalid",
    ),
    "a circle": (changed("load", "id", {"from_node": "save"}), "ProcessGraphInvalid"),
    "a free parameter": (changed("load", "id", {"from_parameter": "x"}), "ProcessGraphInvalid"),
    "two results": (
        {**GRAPH, "load": {**GRAPH["load"], "result": True}},
        "ProcessGraphInvalid",
    ),
    "a result that is not saved": (
        {k: {**v, "result": k == "reduce"} for k, v in GRAPH.items() if k != "save"},
        "ProcessGraphInvalid",
    ),
    "no nodes": ({}, "ProcessGraphInvalid"),
    "a node without a process": ({"x": {}}, "ProcessGraphInvalid"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_known_is_refused_when_validated_and_when_created(connection, what):
    wrong, code = REFUSED[what]
    errors = connection.validate_process_graph({"process_graph": wrong})
    assert [e["code"] for e in errors] == [code]
    status = 404 if code == "CollectionNotFound" else 400
    refused(code, status, lambda: connection.create_job(wrong, validate=False))


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.data(), json_values)
@settings(max_examples=150)
def test_a_broken_graph_is_never_anything_but_refused_or_understood(data, value):
    broken = json.loads(json.dumps(GRAPH))
    place = broken
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = value
    try:
        assert isinstance(graph.read({"process_graph": broken}), graph.Order)
    except ApiError as error:
        assert error.status in (400, 404)


def test_a_graph_that_can_be_executed_has_no_errors(connection):
    assert connection.validate_process_graph({"process_graph": GRAPH}) == []


def test_wrong_requests_get_the_errors_of_the_specification(connection, recorder):
    post = connection.post
    refused("ProcessGraphMissing", 400, lambda: post("/jobs", json={"title": "x"}))
    refused("ProcessGraphMissing", 400, lambda: post("/validation", json={}))
    refused("RequestInvalid", 400, lambda: post("/jobs", json=[]))
    refused("ContentTypeInvalid", 400, lambda: connection.request("post", "/jobs", data="x"))
    process = {"process_graph": GRAPH}
    refused(
        "BillingPlanInvalid", 400, lambda: post("/jobs", json={"process": process, "plan": "x"})
    )
    for wrong in ({"title": 5}, {"budget": "much"}, {"log_level": "loud"}):
        refused("RequestInvalid", 400, post, "/jobs", {"process": process, **wrong})
    refused("CollectionNotFound", 404, lambda: connection.get("/collections/NOPE"))
    refused("CollectionNotFound", 404, lambda: connection.get("/collections/NOPE/queryables"))
    for method, path in (
        ("get", "/jobs/nope"),
        ("patch", "/jobs/nope"),
        ("delete", "/jobs/nope"),
        ("get", "/jobs/nope/logs"),
        ("get", "/jobs/nope/results"),
        ("post", "/jobs/nope/results"),
        ("delete", "/jobs/nope/results"),
    ):
        refused("JobNotFound", 404, lambda m=method, p=path: connection.request(m, p, json={}))
    refused("RequestInvalid", 400, lambda: connection.get("/jobs?limit=0"))
    assert not any(status >= 500 for _, _, status in recorder.seen)
    refused("FeatureUnsupported", 501, lambda: post("/result", json={"process": process}))
    refused("FeatureUnsupported", 501, lambda: connection.get("/services"))


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (None, 401, "AuthenticationRequired"),
        ("Basic c2FuZGJveDpzYW5kYm94", 403, "AuthenticationSchemeInvalid"),
        ("Bearer nothing", 403, "AuthenticationSchemeInvalid"),
        ("Bearer basic//nothing", 403, "TokenInvalid"),
        ("Bearer oidc/sandbox/a.b.c", 403, "TokenInvalid"),
        ("Bearer oidc/other/a.b.c", 403, "AuthenticationSchemeInvalid"),
    ],
)
def test_nobody_gets_in_without_a_token(recorder, header, status, code):
    answer = recorder.get(
        f"{recorder.root}/jobs", headers={"Authorization": header} if header else {}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_wrong_password_is_refused(sandbox, recorder):
    connection = connect(sandbox.url, session=recorder)
    refused("CredentialsInvalid", 403, connection.authenticate_basic, "sandbox", "wrong")
    answer = recorder.get(f"{recorder.root}/credentials/basic")
    assert answer.status_code == 401
