"""openeo-driver's dummy back end with jobs that run: ``python backend.py CONFIG``.

Everything on the wire is the framework's: routes, errors, login, job and result documents,
signed addresses, files.  Added here is what its dummy leaves out: two jobs at a time, a
thread for each, a program that makes the file, and a log.  CONFIG is a JSON file.

Runs in the environment `.peers/openeo`, which has nothing of this project.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

CONFIG = json.loads(Path(os.environ.get("PEER_CONFIG") or sys.argv[1]).read_text(encoding="utf-8"))
os.environ["OPENEO_BACKEND_CONFIG"] = str(Path(__file__).with_name("backend_config.py"))
os.environ["PEER_CONFIG"] = os.environ.get("PEER_CONFIG") or sys.argv[1]

import flask  # noqa: E402
from openeo_driver.dummy.dummy_backend import (  # noqa: E402
    DummyBackendImplementation,
    DummyBatchJobs,
)
from openeo_driver.errors import OpenEOApiException, TokenInvalidException  # noqa: E402
from openeo_driver.server import run_gunicorn  # noqa: E402
from openeo_driver.views import build_app  # noqa: E402

SLOTS = 2
FOLDER = Path(CONFIG["folder"])
EVENTS: list[dict[str, Any]] = []  # what has happened, for the tests
FAULTS: list[dict[str, Any]] = []  # what is to go wrong: {"path", "method", "status" or "job"}
LOCK = threading.Lock()


def event(kind: str, **more: Any) -> None:
    """Note something for the tests."""
    EVENTS.append({"kind": kind, "time": time.time(), **more})


def due(**wanted: str) -> dict[str, Any] | None:
    """Take the next fault of a kind."""
    with LOCK:
        for fault in FAULTS:
            if all(str(fault.get(k, "")) in v and fault.get(k) for k, v in wanted.items()):
                FAULTS.remove(fault)
                return fault
    return None


class Jobs(DummyBatchJobs):  # type: ignore[misc]
    """Jobs that run, two at a time."""

    def create_job(self, user: Any, process: Any, *args: Any, **kwargs: Any) -> Any:
        """Note it."""
        job = super().create_job(user, process, *args, **kwargs)
        event("created", job=job.id, title=job.title, user=user.user_id)
        return job

    def start_job(self, job_id: str, user: Any) -> None:
        """Run it, or refuse as the Copernicus back end does."""
        with LOCK:
            states = [j.status for (owner, _), j in self._job_registry.items()
                      if owner == user.user_id]  # fmt: skip
            if states.count("queued") + states.count("running") >= SLOTS:
                raise OpenEOApiException(
                    status_code=400,
                    code="ConcurrentJobLimit",
                    message="Job was not started because concurrent job limit "
                    f"({SLOTS}) is reached.",
                )
            self._update_status(job_id, user.user_id, "queued")
        event("started", job=job_id, title=self._get_job_info(job_id, user.user_id).title)
        threading.Thread(target=self._work, args=(job_id, user.user_id), daemon=True).start()

    def _work(self, job_id: str, user_id: str) -> None:
        self._update_status(job_id, user_id, "running")
        begun = time.time()
        words = self._compute(job_id, user_id)
        time.sleep(max(0.0, CONFIG["job_seconds"] - (time.time() - begun)))
        if self._get_job_info(job_id, user_id).status != "canceled":
            self._custom_job_logs[job_id] = [
                {"id": "1", "level": "error", "message": line} for line in words
            ]
            self._update_status(job_id, user_id, "error" if words else "finished")
        event("ended", job=job_id, status=self._get_job_info(job_id, user_id).status)

    def _compute(self, job_id: str, user_id: str) -> list[str]:
        """Make the file; the lines of the log, if that did not work."""
        job = self._get_job_info(job_id, user_id)
        fault = due(job=job.title or "")
        if fault:
            return list(fault["log"])
        folder = FOLDER / job_id
        folder.mkdir(parents=True)
        (folder / "process.json").write_text(json.dumps(job.process), encoding="utf-8")
        command = [*CONFIG["program"], str(folder / "process.json"), str(folder / "openEO.nc")]
        done = subprocess.run(
            command, cwd=CONFIG["root"], check=False, capture_output=True, text=True
        )
        return done.stderr.strip().splitlines()[-1:] if done.returncode else []

    def get_result_assets(self, job_id: str, user_id: str) -> dict[str, Any]:
        """The file, if there is one."""
        if not (FOLDER / job_id / "openEO.nc").is_file():
            return {}
        return {
            "openEO.nc": {
                "output_dir": str(FOLDER / job_id),
                "type": "application/x-netcdf",
                "roles": ["data"],
                "bands": [{"name": "VV"}, {"name": "VH"}],
            }
        }

    def cancel_job(self, job_id: str, user_id: str) -> None:
        """Cancel it."""
        self._update_status(job_id, user_id, "canceled")

    def delete_job(self, job_id: str, user_id: str) -> None:
        """Forget it."""
        self._get_job_info(job_id, user_id)
        del self._job_registry[(user_id, job_id)]


class BackEnd(DummyBackendImplementation):  # type: ignore[misc]
    """The dummy with these jobs, which asks the provider about each token each time.

    (The framework believes a token for 15 minutes, which is longer than a test.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.batch_jobs = Jobs()
        self.handler: Any = None

    def user_access_validation(self, user: Any, request: Any) -> Any:
        """The user, while the token is good."""
        event("asked", path=request.path, method=request.method)
        data = user.internal_auth_data
        if data["authentication_method"] == "OIDC":
            from openeo_driver.config import get_backend_config
            from openeo_driver.users.auth import HttpAuthHandler

            provider = get_backend_config().oidc_providers[0]
            self.handler = self.handler or HttpAuthHandler([provider])
            try:
                self.handler.resolve_oidc_access_token(provider, data["access_token"])
            except TokenInvalidException:
                event("token expired", path=request.path)
                raise
        return user


def application() -> Any:
    """The framework's application, with two addresses for the tests beside it."""
    app = build_app(backend_implementation=BackEnd())

    @app.before_request
    def misbehave() -> Any:
        fault = due(path=flask.request.path, method=flask.request.method)
        if fault is None:
            return None
        event("fault", **fault)
        return flask.Response(fault.get("body", "<html>Bad Gateway</html>"), fault["status"])

    @app.get("/_peer/events")
    def events() -> Any:
        return flask.jsonify(EVENTS)

    @app.post("/_peer/faults")
    def faults() -> Any:
        FAULTS.extend(flask.request.get_json())
        return flask.jsonify(FAULTS)

    return app


if __name__ == "__main__":
    run_gunicorn(
        application(), threads=8, host="127.0.0.1", port=CONFIG["port"],
        on_started=lambda: print("ready", flush=True),
    )  # fmt: skip
