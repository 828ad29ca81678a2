"""The web server, and the faults that happen between it and the wire."""

from __future__ import annotations

import itertools
import json
import math
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from werkzeug.datastructures import Headers
from werkzeug.serving import BaseWSGIServer, ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

from sandbox import api, control, faults
from sandbox.auth import Auth
from sandbox.errors import MESSAGES
from sandbox.faults import Faults, Switch
from sandbox.jobs import Jobs, State

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
LINGER = "hh" if sys.platform == "win32" else "ii"  # the two numbers of SO_LINGER
RESET_DELAY = 0.05  # s, so that what was sent before a reset arrives
LOGIN_PAGE = b"<!doctype html><html><body><h1>Please log in</h1></body></html>"
NO_SUCH_KEY = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
    "<Message>The specified key does not exist.</Message></Error>\n"
)
GATEWAY_PAGE = (
    "<!DOCTYPE HTML><html><head><title>{status} {name}</title></head><body><h1>{name}</h1>"
    "<p>The proxy server could not handle the request.</p></body></html>"
)


class Service:
    """The back end on a port of this computer, with everything it consists of."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        switches: Sequence[str] = (),
        job_seconds: float,
        slots: int,
        access_seconds: float,
        refresh_seconds: float,
        link_seconds: float,
    ) -> None:
        state = State(folder)
        self._faults = Faults(state, lambda text: state.event("fault", None, text))
        for text in switches:
            self._faults.add(text, anew=False)
        jobs = Jobs(state, self._faults, job_seconds, slots)
        auth = Auth(state.key(), self._faults, access_seconds, refresh_seconds)
        app = api.create(auth, jobs, self._faults, link_seconds)
        requests: Counter[str] = Counter()
        app.register_blueprint(control.routes(auth, jobs, self._faults, requests))
        self._app = _Faulty(app, self._faults, jobs, requests, self._refuse)
        self._pause = 0.0
        self._server = self._open(port)
        self.port = self._server.port

    def serve_forever(self) -> None:
        """Answer until the process ends, except while connections are refused."""
        while True:
            self._server.serve_forever(poll_interval=0.1)  # closes the port when it returns
            if not self._pause:
                return
            time.sleep(self._pause)
            self._pause = 0.0
            self._server = self._open(self.port)

    def _refuse(self, seconds: float) -> None:
        """Close the port for a while."""
        self._pause = seconds
        threading.Thread(target=self._server.shutdown, daemon=True).start()

    def _open(self, port: int) -> BaseWSGIServer:
        return _Server(HOST, port, self._app, _Handler)


class _Server(ThreadedWSGIServer):
    """Lets a reset be a reset: the usual way out would say goodbye first."""

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; one that lingers for no time is reset by that."""
        linger = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.calcsize(LINGER))
        if struct.unpack(LINGER, linger) == (1, 0):
            self.close_request(request)
        else:
            super().shutdown_request(request)


class _Handler(WSGIRequestHandler):
    """Sends small answers at once and keeps no log."""

    disable_nagle_algorithm = True

    def connection_dropped(self, *_: object) -> None:
        """There is nobody left to answer."""
        self.close_connection = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


class _Faulty:
    """The application, with the faults of requests and files between it and the wire."""

    def __init__(
        self,
        app: WSGIApplication,
        switches: Faults,
        jobs: Jobs,
        requests: Counter[str],
        refuse: Callable[[float], None],
    ) -> None:
        self._app = app
        self._faults = switches
        self._jobs = jobs
        self._requests = requests
        self._lock = threading.Lock()
        self._flips = itertools.count()
        self._refuse = refuse

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path.startswith("/_sandbox"):
            return self._app(environ, start)
        with self._lock:
            self._requests[f"{method} {_pattern(path)}"] += 1
        switch = self._faults.fire(_names(path, method), path, method)
        if switch is None:
            return self._app(environ, start)
        if switch.name in ("lost-create", "lost-start"):
            run_wsgi_app(self._app, environ, buffered=True)
            if switch.options.get("answer") == "502":
                return _page(502)(environ, start)
            _reset(environ)
        if switch.name == "refuse":
            self._refuse(switch.seconds)
            _reset(environ)
        if switch.name == "reset":
            _reset(environ)
        if (answer := _instead(switch)) is not None:
            return answer(environ, start)
        return self._tampered(switch, environ, start)

    def _tampered(
        self, switch: Switch, environ: WSGIEnvironment, start: StartResponse
    ) -> Iterable[bytes]:
        """The application's own answer, late or with its headers or body damaged."""
        if switch.name == "stall":
            time.sleep(switch.seconds)
        if switch.name == "asset-no-range":
            environ.pop("HTTP_RANGE", None)
        body, status, headers = run_wsgi_app(self._app, environ)
        length = headers.get("Content-Length", 0, type=int)
        if switch.name == "asset-short-clean":
            del headers["Content-Length"]
        if switch.name == "asset-no-validators":
            del headers["ETag"], headers["Last-Modified"]
        if switch.name == "asset-wrong-length":
            headers["Content-Length"] = str(length + switch.bytes)
        start(status, list(headers))
        half = length // 2
        if switch.name in ("asset-short", "asset-short-clean"):
            return _first(body, half)
        if switch.name in ("asset-reset", "reset-body"):
            return _then_reset(_first(body, half), environ)
        if switch.name == "asset-stall":
            return _paused(body, half, switch.seconds)
        if switch.name == "asset-flip" and status.startswith("20"):
            from sandbox import raster

            job = environ["PATH_INFO"].split("/")[2]
            # No two flips are alike: what is wrong in the same way twice is wrong at its source.
            place = raster.middle_of_pixels(self._jobs.file(job)) + next(self._flips) % 8
            return _flipped(body, place - _begin(headers))
        return body


def _names(path: str, method: str) -> tuple[str, ...]:
    """The faults that can befall this request here."""
    names = tuple(n for n in faults.REQUESTS if n != "token-invalid")
    if path.startswith("/files/") and method == "GET":
        names += tuple(n for n in faults.ASSETS if n not in faults.EXPIRED)
    if method == "POST" and path == f"{api.ROOT}/jobs":
        names += ("lost-create",)
    if method == "POST" and path.endswith("/results"):
        names += ("lost-start",)
    return names


def _instead(switch: Switch) -> Response | None:
    """The answer that a fault gives in place of the application's, if it does."""
    errors = {
        "500": "Internal",
        "asset-500": "Internal",
        "503": "InfrastructureBusy",
        "429": "TooManyRequests",
    }
    if switch.name in errors:
        code = errors[switch.name]
        status, message = MESSAGES[code]
        body = json.dumps({"code": code, "message": message.format(message="out of luck")})
        answer = Response(body, status, mimetype="application/json")
        if switch.name == "429":
            answer.headers["Retry-After"] = f"{math.ceil(switch.seconds)}"
        return answer
    if switch.name in ("502-html", "504"):
        return _page(int(switch.name[:3]))
    if switch.name == "asset-404":
        return Response(NO_SUCH_KEY, 404, mimetype="application/xml")
    if switch.name in ("html", "asset-html"):
        return Response(LOGIN_PAGE, 200, mimetype="text/html")
    return None


def _page(status: int) -> Response:
    """The HTML page of a proxy that got no answer."""
    name = HTTPStatus(status).phrase
    return Response(GATEWAY_PAGE.format(status=status, name=name), status, mimetype="text/html")


def _first(body: Iterable[bytes], length: int) -> Iterator[bytes]:
    """The beginning of a body."""
    for part in body:
        yield part[:length]
        length -= len(part)
        if length <= 0:
            return


def _then_reset(body: Iterable[bytes], environ: WSGIEnvironment) -> Iterator[bytes]:
    yield from body
    time.sleep(RESET_DELAY)
    _reset(environ)


def _paused(body: Iterable[bytes], length: int, seconds: float) -> Iterator[bytes]:
    """A body with a pause after its first ``length`` bytes."""
    for part in body:
        if 0 <= length < len(part):
            yield part[:length]
            time.sleep(seconds)
            yield part[length:]
        else:
            yield part
        length -= len(part)


def _flipped(body: Iterable[bytes], place: int) -> Iterator[bytes]:
    """A body with the byte at ``place`` flipped, if it holds it."""
    for part in body:
        if 0 <= place < len(part):
            part = part[:place] + bytes([part[place] ^ 0xFF]) + part[place + 1 :]
        place -= len(part)
        yield part


def _begin(headers: Headers) -> int:
    """Where in the file an answer begins."""
    return int(headers.get("Content-Range", "bytes 0-").removeprefix("bytes ").split("-")[0])


def _reset(environ: WSGIEnvironment) -> NoReturn:
    """Drop the connection so that the other side sees a reset rather than an end."""
    connection: socket.socket = environ["werkzeug.socket"]
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
    raise ConnectionResetError("a fault of the sandbox")


def _pattern(path: str) -> str:
    """The address with job ids replaced, to count requests by kind."""
    parts = path.removeprefix(api.ROOT).split("/")
    return "/".join("{id}" if part.startswith("j-") else part for part in parts)
