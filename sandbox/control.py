"""The control: what happened, and switches, for tests.  Outside the openEO API.

``GET /_sandbox/events``    everything that happened, with sums over it
``GET /_sandbox/faults``    the switches that are on, with how often each was met and fired
``POST /_sandbox/faults``   ``{"add": ["500=3", ...]}``: turn switches on
``DELETE /_sandbox/faults`` turn all of them off
``POST /_sandbox/settings`` ``{"job_seconds": 2, "slots": 2}``
``POST /_sandbox/publish``  ``{"day": "2026-01-20", "at": "2026-01-25T12:00:00Z"}``: the images of
                            that day appear then, rather than some hours after their pass
``POST /_sandbox/device``   ``{"user_code": "...", "approve": true}``: answer a device login
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import Any

from flask import Blueprint, Response, jsonify, request

from sandbox.auth import Auth
from sandbox.faults import Faults
from sandbox.jobs import ENDED, Jobs


def routes(auth: Auth, jobs: Jobs, faults: Faults, requests: Counter[str]) -> Blueprint:
    """The routes below ``/_sandbox``."""
    control = Blueprint("control", __name__, url_prefix="/_sandbox")

    @control.get("/events")
    def events() -> Response:
        return jsonify({**_events(jobs), "requests": dict(requests)})

    @control.get("/faults")
    def list_faults() -> Response:
        return jsonify(faults=faults.describe())

    @control.post("/faults")
    def add_faults() -> Response | tuple[Response, int]:
        try:
            for text in request.get_json()["add"]:
                faults.add(text, anew=True)
        except ValueError as error:
            return jsonify(error=str(error)), 400
        return jsonify(faults=faults.describe())

    @control.delete("/faults")
    def clear_faults() -> Response:
        faults.clear()
        return jsonify(faults=[])

    @control.post("/settings")
    def settings() -> Response:
        body = request.get_json()
        jobs.job_seconds = float(body.get("job_seconds", jobs.job_seconds))
        jobs.slots = int(body.get("slots", jobs.slots))
        return jsonify(job_seconds=jobs.job_seconds, slots=jobs.slots)

    @control.post("/publish")
    def publish() -> Response:
        body = request.get_json()
        day, at = dt.date.fromisoformat(body["day"]), dt.datetime.fromisoformat(body["at"])
        jobs.late[day] = at.astimezone(dt.UTC)
        return jsonify(late={str(day): str(at) for day, at in jobs.late.items()})

    @control.post("/device")
    def device() -> Response:
        body = request.get_json()
        found = auth.answer_device(body["user_code"], approve=bool(body.get("approve", True)))
        return jsonify(found=found)

    return control


def _events(jobs: Jobs) -> dict[str, Any]:
    """All events and what follows from them.

    ``active`` is the number of jobs that hold a slot over time, as [Unix time, number]
    after each change.
    """
    with jobs.state as db:
        rows = db.execute(
            "SELECT time, kind, job, title, detail FROM events ORDER BY id"
        ).fetchall()
    names = ("time", "kind", "job", "title", "detail")
    listed = [dict(zip(names, row, strict=True)) for row in rows]
    holding: set[str] = set()
    active: list[tuple[float, int]] = []
    for event in listed:
        before = len(holding)
        if event["kind"] == "started":
            holding.add(event["job"])
        elif event["kind"] in (*ENDED, "postponed", "deleted"):
            holding.discard(event["job"])
        if len(holding) != before:
            active.append((event["time"], len(holding)))
    kinds = Counter(e["kind"] for e in listed)
    return {
        "events": listed,
        "active": active,
        "max_active": max((n for _, n in active), default=0),
        "counts": dict(kinds),
        "created_by_title": dict(Counter(e["title"] for e in listed if e["kind"] == "created")),
        "statuses": _statuses(jobs),
    }


def _statuses(jobs: Jobs) -> dict[str, str]:
    with jobs.state as db:
        rows = db.execute("SELECT id, status FROM jobs WHERE deleted = 0 ORDER BY seq").fetchall()
    return dict(rows)
