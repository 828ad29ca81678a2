"""An S3 server on loopback: moto's, with a log of what is asked, and latency where wanted.

The same speaks Google's dialect as well, which differs from S3 in what a put can depend on:
an object has a generation, and ``x-goog-if-generation-match`` names it, or 0 for none.

moto compares and sets in two steps, which a real object store does in one: here one put is
served at a time.  The server's clock can be put forward, so that nobody has to wait for it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import json
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import boto3
import moto.s3.models
import werkzeug.serving
from moto.core.utils import utcnow
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

BUCKET = "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}
# moto looks at who asks, not at the signature.
AS_AMAZON = (
    "AWS4-HMAC-SHA256 Credential=me/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)


class Asked(NamedTuple):
    """A request, and how many others, one after the other, it had to wait for."""

    method: str
    path: str
    depth: int


class ObjectStore:
    """The server's application; ``asked`` is what was asked since it was cleared."""

    def __init__(self) -> None:
        self.latency = 0.0  # seconds
        self.ahead = 0.0  # seconds, of its clock
        self.url = ""
        self.asked: list[Asked] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._putting = threading.Lock()
        self._generations: dict[str, int] = {}  # of the objects; Google's never repeat
        self._numbers = itertools.count(1_700_000_000_000_000)

    @property
    def google(self) -> dict[str, str]:
        """The environment in which ``gs://`` is this server."""
        account = {"gcs_base_url": self.url, "disable_oauth": True, "client_email": ""}
        account |= {"private_key": "", "private_key_id": ""}
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account)}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        depth = 1 + max((asked.depth for asked in self.asked), default=0)
        time.sleep(self.latency)
        with self._putting if method in ("PUT", "DELETE") else contextlib.nullcontext():
            answer = self._answer(environ, start_response, method, path)
        self.asked.append(Asked(method, path, depth))
        return answer

    def _answer(self, environ: dict[str, Any], start_response: Any, method: str, path: str) -> Any:
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS"):
            environ["HTTP_AUTHORIZATION"] = AS_AMAZON
        generation = self._generations.get(path, 0)
        if environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH", str(generation)) != str(generation):
            start_response("412 Precondition Failed", [])
            return [b"<Error><Code>PreconditionFailed</Code></Error>"]
        if method in ("PUT", "DELETE"):
            self._generations[path] = 0 if method == "DELETE" else next(self._numbers)

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            now = str(self._generations.get(path, 0))
            return start_response(status, [*headers, ("x-goog-generation", now)], *more)

        return list(self._app(environ, start))


@contextlib.contextmanager
def serving() -> Iterator[ObjectStore]:
    """The server, with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = ObjectStore()
    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=[0.02])
    thread.start()
    app.url = f"http://127.0.0.1:{server.port}"
    client = boto3.client(
        "s3", endpoint_url=app.url, region_name="us-east-1",
        aws_access_key_id="me", aws_secret_access_key="secret",
    )  # fmt: skip
    client.create_bucket(Bucket=BUCKET)
    clock = lambda: utcnow() + dt.timedelta(seconds=app.ahead)  # noqa: E731
    try:
        with patch.object(moto.s3.models, "utcnow", clock):
            yield app
    finally:
        server.shutdown()
        thread.join()
