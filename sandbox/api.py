"""The HTTP side: openEO routes, the login provider's, the result files', and the control's.

Five groups of addresses, as they would be five servers in the real world:

* ``/openeo/1.2``: the openEO API, and ``/.well-known/openeo`` that leads to it;
* ``/oidc``: the OpenID Connect provider;
* ``/stac``: the catalogue of the images (see `stac.py`);
* ``/files``: the object store, whose signed links expire and refuse HEAD;
* ``/_sandbox``: for tests; no fault ever reaches it (see `control.py`).
"""

from __future__ import annotations

import datetime as dt
import html
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, g, jsonify, request, send_file
from werkzeug.exceptions import HTTPException
from werkzeug.utils import secure_filename

from sandbox import auth as login
from sandbox import catalogue, graph, stac
from sandbox.errors import ApiError
from sandbox.faults import Faults
from sandbox.jobs import FILE_NAME, LOG_LEVELS, Job, Jobs
from sandbox.offers import OFFERS, Offer

ROOT = "/openeo/1.2"
LINK_SECONDS = 86400  # life of a link to a result file
OPEN_ENDPOINTS = {
    "api.capabilities",
    "api.conformance",
    "api.file_formats",
    "api.collections",
    "api.collection",
    "api.queryables",
    "api.processes",
    "api.credentials_basic",
    "api.credentials_oidc",
}


def create(auth: login.Auth, jobs: Jobs, faults: Faults, link_seconds: float) -> Flask:
    """The application with its routes."""
    app = Flask(__name__)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.register_blueprint(_openeo(auth, jobs, faults, link_seconds))
    app.register_blueprint(_provider(auth))
    app.register_blueprint(stac.routes(jobs.published, jobs.traits, faults))
    app.register_blueprint(_files(auth, jobs, faults))
    app.add_url_rule("/.well-known/openeo", view_func=_well_known)
    app.register_error_handler(ApiError, _api_error)
    app.register_error_handler(HTTPException, _http_error)
    return app


def _well_known() -> Response:
    return jsonify(
        versions=[
            {
                "url": f"{_base()}{ROOT}",
                "api_version": catalogue.API_VERSION,
                "production": False,
            }
        ]
    )


def _openeo(auth: login.Auth, jobs: Jobs, faults: Faults, link_seconds: float) -> Blueprint:
    api = Blueprint("api", __name__, url_prefix=ROOT)

    @api.before_request
    def authenticate() -> None:
        if request.endpoint not in OPEN_ENDPOINTS:
            g.user = auth.user(request.headers.get("Authorization"), request.path, request.method)

    _discovery_routes(api, auth, faults)
    _job_routes(api, jobs, faults)
    _result_routes(api, jobs, auth, faults, link_seconds)
    return api


def _discovery_routes(api: Blueprint, auth: login.Auth, faults: Faults) -> None:
    @api.get("/")
    def capabilities() -> Response:
        document = catalogue.capabilities(_root(), _base())
        if faults.fire(("no-oidc",)):
            document["endpoints"] = [e for e in document["endpoints"] if "oidc" not in e["path"]]
        return jsonify(document)

    @api.get("/conformance")
    def conformance() -> Response:
        return jsonify(conformsTo=list(catalogue.CONFORMANCE))

    @api.get("/file_formats")
    def file_formats() -> Response:
        return jsonify(catalogue.file_formats())

    @api.get("/collections")
    def collections() -> Response:
        return jsonify(collections=[o.document(_root(), False) for o in OFFERS.values()], links=[])

    @api.get("/collections/<identifier>")
    def collection(identifier: str) -> Response:
        return jsonify(_offer(identifier).document(_root(), True))

    @api.get("/collections/<identifier>/queryables")
    def queryables(identifier: str) -> Response:
        answer = jsonify(_offer(identifier).queryables(_root()))
        answer.mimetype = "application/schema+json"
        return answer

    @api.get("/processes")
    def processes() -> Response:
        return jsonify(processes=catalogue.processes(), links=[])

    @api.get("/credentials/basic")
    def credentials_basic() -> Response:
        given = request.authorization
        if given is None or given.type != "basic":
            raise ApiError("AuthenticationRequired")
        return jsonify(access_token=auth.basic(given.username, given.password))

    @api.get("/credentials/oidc")
    def credentials_oidc() -> Response:
        none = faults.fire(("no-providers",))
        return jsonify({"providers": []} if none else login.providers(_base()))

    @api.get("/me")
    def me() -> Response:
        if faults.fire(("no-account",)):
            raise ApiError("PermissionsInsufficient")
        more = catalogue.account_limits(_base()) if faults.fire(("account-limits",)) else {}
        info = {"oidc_userinfo": {"sub": g.user, "email": f"{g.user}@localhost"}}
        return jsonify(user_id=g.user, name=g.user, info=info, default_plan=catalogue.PLAN, **more)

    @api.post("/validation")
    def validation() -> Response:
        body = _body()
        try:
            graph.read(body)
        except ApiError as error:
            if error.code == "ProcessGraphMissing":
                raise
            return jsonify(errors=[{"code": error.code, "message": error.message}])
        return jsonify(errors=[])


def _job_routes(api: Blueprint, jobs: Jobs, faults: Faults) -> None:
    @api.get("/jobs")
    def list_jobs() -> Response:
        limit, before = _number("limit", 1), _number("before", 1)
        found, more = jobs.page(g.user, limit, before)
        links = []
        if more:
            url = f"{_root()}/jobs?limit={limit}&before={found[-1].seq}"
            links.append({"rel": "next", "href": url, "type": "application/json"})
        return jsonify(_listing([_describe(job, jobs, full=False) for job in found], links))

    def _listing(shown: list[dict[str, Any]], links: list[dict[str, str]]) -> dict[str, Any]:
        if faults.fire(("federation-missing",)):
            return {"jobs": [], "links": [], "federation:missing": ["b1"]}
        if links and faults.fire(("list-no-next",)):
            links = []
        return {"jobs": shown, "links": links}

    @api.post("/jobs")
    def create_job() -> Response:
        job = jobs.create(g.user, _body())
        answer = Response(status=201)
        answer.headers["Location"] = f"{_root()}/jobs/{job.id}"
        answer.headers["OpenEO-Identifier"] = job.id
        return answer

    @api.get("/jobs/<identifier>")
    def describe_job(identifier: str) -> Response:
        return jsonify(_describe(jobs.get(g.user, identifier), jobs, full=True))

    @api.patch("/jobs/<identifier>")
    def update_job(identifier: str) -> Response:
        jobs.update(jobs.get(g.user, identifier), _body())
        return Response(status=204)

    @api.delete("/jobs/<identifier>")
    def delete_job(identifier: str) -> Response:
        jobs.delete(jobs.get(g.user, identifier))
        return Response(status=204)

    @api.get("/jobs/<identifier>/logs")
    def logs(identifier: str) -> Response:
        job = jobs.get(g.user, identifier)
        level = request.args.get("level", LOG_LEVELS[0]).lower()
        if level not in LOG_LEVELS:
            raise ApiError("RequestInvalid", reason=f"level is one of {', '.join(LOG_LEVELS)}.")
        entries = jobs.logs(job, _number("offset", 0) or 0)
        shown = [e for e in entries if LOG_LEVELS.index(e[2]) >= LOG_LEVELS.index(level)]
        return jsonify(level=level, logs=[_log_entry(e) for e in shown], links=[])


def _result_routes(
    api: Blueprint, jobs: Jobs, auth: login.Auth, faults: Faults, link_seconds: float
) -> None:
    @api.post("/jobs/<identifier>/results")
    def start_job(identifier: str) -> Response:
        jobs.start(jobs.get(g.user, identifier))
        return Response(status=202)

    @api.delete("/jobs/<identifier>/results")
    def stop_job(identifier: str) -> Response:
        jobs.stop(jobs.get(g.user, identifier))
        return Response(status=204)

    @api.get("/jobs/<identifier>/results")
    def results(identifier: str) -> Response | tuple[Response, int]:
        job = jobs.get(g.user, identifier)
        if job.status == "error":
            entries = jobs.logs(job)
            return jsonify(_log_entry(entries[-1]) if entries else {}), 424
        if job.status == "created":
            raise ApiError("JobNotStarted")
        if job.status != "finished":
            raise ApiError("JobNotFinished")
        answer = jsonify(_results(job, jobs, auth, faults, link_seconds))
        answer.headers["OpenEO-Costs"] = "0"
        return answer

    @api.get("/jobs/<identifier>/results/items/<item>")
    def result_item(identifier: str, item: str) -> Response:
        job = jobs.get(g.user, identifier)
        answer = jsonify(_item(job, jobs, auth, faults, link_seconds, item))
        answer.mimetype = "application/geo+json"
        return answer


def _describe(job: Job, jobs: Jobs, *, full: bool) -> dict[str, Any]:
    """A job's metadata; costs and usage appear once it is done."""
    job = replace(job, status=jobs.shown_status(job))
    answer: dict[str, Any] = {
        "id": job.id,
        "title": job.title,
        "description": job.description,
        "status": job.status,
        "created": _rfc3339(job.created),
        "updated": _rfc3339(job.updated),
        "plan": job.plan or catalogue.PLAN,
        "budget": job.budget,
        "costs": job.costs,
    }
    if job.status in ("created", "queued", "running"):
        answer["progress"] = 0
    elif job.status == "finished":
        answer["progress"] = 100
    if full:
        answer["process"] = json.loads(job.process)
        answer["log_level"] = job.log_level or "info"
        answer["job_options"] = job.asked
        url = f"{_root()}/jobs/{job.id}"
        answer["links"] = [
            {"rel": "monitor", "href": f"{url}/logs", "type": "application/json"},
            {"rel": "result", "href": f"{url}/results", "type": "application/json"},
        ]
        if job.ended and job.started and job.cpu is not None:
            seconds = job.ended - job.started
            answer["usage"] = {
                "cpu": {"value": job.cpu, "unit": "cpu-seconds"},
                "duration": {"value": seconds, "unit": "seconds"},
                "memory": {"value": 512.0 * seconds, "unit": "mb-seconds"},
            }
    return {k: v for k, v in answer.items() if v is not None}


def _results(
    job: Job, jobs: Jobs, auth: login.Auth, faults: Faults, link_seconds: float
) -> dict[str, Any]:
    """A finished job's results as a STAC Collection."""
    cube = graph.read(json.loads(job.process)).cube
    expires = time.time() + link_seconds
    url = f"{_root()}/jobs/{job.id}/results"
    assets = _assets(job, jobs, auth, faults, f"{expires:.6f}")
    links = [
        {"rel": "self", "href": url, "type": "application/json"},
        {"rel": "canonical", "href": url, "type": "application/json"},
    ]
    if assets and faults.fire(("results-items",), title=job.title or ""):
        item = f"{url}/items/{FILE_NAME}"
        links.append({"rel": "item", "href": item, "type": "application/geo+json"})
        assets = {}
    if faults.fire(("results-empty",), title=job.title or ""):
        assets = {}
    return {
        "type": "Collection",
        "stac_version": catalogue.STAC_VERSION,
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
        "id": job.id,
        "title": job.title or job.id,
        "description": f"Results of batch job {job.id}. The data are synthetic.",
        "license": "MIT",
        "extent": {
            "spatial": {"bbox": [list(cube.bbox)]},
            "temporal": {
                "interval": [[_iso(cube.start), _iso(cube.end)]],
            },
        },
        "openeo:status": "finished",
        "links": links,
        "assets": assets,
    }


def _item(
    job: Job, jobs: Jobs, auth: login.Auth, faults: Faults, link_seconds: float, name: str
) -> dict[str, Any]:
    """The same file as a STAC Item."""
    cube = graph.read(json.loads(job.process)).cube
    west, south, east, north = cube.bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": catalogue.STAC_VERSION,
        "id": name,
        "bbox": list(cube.bbox),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": _iso(cube.start)},
        "links": [],
        "assets": _assets(job, jobs, auth, faults, f"{time.time() + link_seconds:.6f}"),
    }


def _assets(job: Job, jobs: Jobs, auth: login.Auth, faults: Faults, expires: str) -> dict[str, Any]:
    """The result file under its key, or nothing for a job without data."""
    result = json.loads(job.result or "null")
    if result is None:
        return {}
    cube = graph.read(json.loads(job.process)).cube
    path = f"/files/{job.id}/{FILE_NAME}"
    signature = auth.sign_link(path, expires)
    asset = {
        "href": f"{_base()}{path}?expires={expires}&signature={signature}",
        "type": catalogue.MEDIA_TYPE,
        "title": FILE_NAME,
        "roles": ["data"],
        "file:size": jobs.file(job.id).stat().st_size,
        "bands": [{"name": band} for band in cube.bands],
        "proj:epsg": result["epsg"],
        "proj:shape": result["shape"],
    }
    return faults.assets({FILE_NAME: asset}, job.title or "")


def _provider(auth: login.Auth) -> Blueprint:
    """The OpenID Connect provider."""
    oidc = Blueprint("oidc", __name__, url_prefix="/oidc")

    @oidc.get("/.well-known/openid-configuration")
    def configuration() -> Response:
        return jsonify(login.discovery(_base()))

    @oidc.get("/keys")
    def keys() -> Response:
        return jsonify(keys=[])

    @oidc.get("/userinfo")
    def userinfo() -> Response:
        header = request.headers.get("Authorization", "").removeprefix("Bearer ")
        user = auth.user(f"Bearer oidc/{login.PROVIDER}/{header}")
        return jsonify(sub=user, name=user, email=f"{user}@localhost")

    @oidc.post("/token")
    def token() -> Response | tuple[Response, int]:
        try:
            return jsonify(auth.token(request.form.to_dict()))
        except login.TokenError as error:
            return jsonify(error=str(error)), 400

    @oidc.post("/device")
    def device() -> Response | tuple[Response, int]:
        try:
            answer = auth.device(request.form.to_dict())
        except login.TokenError as error:
            return jsonify(error=str(error)), 400
        page = f"{_base()}/oidc/device/verify"
        answer["verification_uri"] = page
        answer["verification_uri_complete"] = f"{page}?user_code={answer['user_code']}"
        return jsonify(answer)

    @oidc.get("/device/verify")
    def verify() -> str:
        code = html.escape(request.args.get("user_code", ""))
        return (
            "<!doctype html><title>openEO sandbox</title><h1>Log in to the openEO sandbox</h1>"
            f'<form method="post"><p>Code <input name="user_code" value="{code}"> '
            '<button name="answer" value="yes">Allow</button> '
            '<button name="answer" value="no">Deny</button></p></form>'
        )

    @oidc.post("/device/verify")
    def verified() -> tuple[str, int]:
        approve = request.form.get("answer") == "yes"
        if not auth.answer_device(request.form.get("user_code", ""), approve=approve):
            return "<!doctype html><p>No device waits with this code.</p>", 404
        return "<!doctype html><p>Done. You can close this page.</p>", 200

    return oidc


def _files(auth: login.Auth, jobs: Jobs, faults: Faults) -> Blueprint:
    """The object store: plain GET with Range on signed links, nothing else."""
    store = Blueprint("files", __name__)

    @store.route("/files/<job>/<name>", methods=["GET", "HEAD"], provide_automatic_options=False)
    def download(job: str, name: str) -> Response:
        if request.method == "HEAD":
            return _denied("SignatureDoesNotMatch", "The signature is for GET, not for HEAD.")
        expires, signature = request.args.get("expires", ""), request.args.get("signature", "")
        if signature != auth.sign_link(request.path, expires):
            return _denied("SignatureDoesNotMatch", "The signature does not match the request.")
        fault = faults.link_expired(signature, request.path)
        if fault == "asset-410":
            raise ApiError("ResultLinkExpired")
        if fault or float(expires) < time.time():
            return _denied("AccessDenied", "Request has expired")
        path = jobs.file(secure_filename(job))
        if name != FILE_NAME or not path.is_file():
            return _denied("NoSuchKey", "The specified key does not exist.", 404)
        return _serve(path, jobs, job)

    return store


def _serve(path: Path, jobs: Jobs, job: str) -> Response:
    """The file or a range of it; both ends of the transfer are noted."""
    asked = request.headers.get("Range", "whole")
    jobs.state.event("download", jobs.any(job), asked)
    answer = send_file(path, catalogue.MEDIA_TYPE, conditional=True, etag=True, max_age=0)
    answer.headers["Accept-Ranges"] = "bytes"
    body: Any = answer.response  # of the whole file or of the range

    def noted() -> Iterator[bytes]:
        yield from body
        jobs.state.event("downloaded", jobs.any(job), asked)

    if answer.status_code in (200, 206):
        answer.call_on_close(body.close)
        answer.response = noted()
    return answer


def _denied(code: str, message: str, status: int = 403) -> Response:
    """A refusal in the words of an object store."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message></Error>\n"
    )
    return Response(body, status, mimetype="application/xml")


def _offer(identifier: str) -> Offer:
    if identifier not in OFFERS:
        raise ApiError("CollectionNotFound", identifier=identifier)
    return OFFERS[identifier]


def _body() -> dict[str, Any]:
    """The request's JSON object."""
    if not request.is_json:
        raise ApiError("ContentTypeInvalid", types="application/json")
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise ApiError("RequestInvalid", reason="The body is no JSON object.")
    return body


def _number(name: str, least: int) -> int | None:
    """A whole number from the query, if it is there."""
    text = request.args.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise ApiError("RequestInvalid", reason=f"{name} must be a whole number from {least} up.")
    return int(text)


def _log_entry(entry: tuple[int, float, str, str | None, str]) -> dict[str, Any]:
    identifier, moment, level, code, message = entry
    answer = {
        "id": str(identifier),
        "time": _rfc3339(moment),
        "level": level,
        "code": code,
        "message": message,
    }
    return {k: v for k, v in answer.items() if v is not None}


def _api_error(error: ApiError) -> tuple[Response, int]:
    return jsonify(id=f"r-{time.time_ns():x}", code=error.code, message=error.message), error.status


def _http_error(error: HTTPException) -> tuple[Response, int]:
    """Errors that Flask raises, in the form that the API has for them."""
    path = request.path.removeprefix(ROOT)
    offered = not path.startswith(catalogue.UNSUPPORTED) and not path.endswith("/estimate")
    if error.code == 405 or (error.code == 404 and not offered):
        return _api_error(ApiError("FeatureUnsupported"))
    if error.code == 404:
        return _api_error(ApiError("NotFound"))
    if error.code == 416 and error.response is None:
        return jsonify(code="RangeNotSatisfiable", message=error.description), 416
    message = error.description or error.name
    return jsonify(code=error.name.replace(" ", ""), message=message), error.code or 500


def _base() -> str:
    return request.host_url.rstrip("/")


def _root() -> str:
    return f"{_base()}{ROOT}"


def _rfc3339(moment: float) -> str:
    return _iso(dt.datetime.fromtimestamp(moment, dt.UTC))


def _iso(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
