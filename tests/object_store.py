"""An S3 server on loopback: moto's, with a log of what is asked, and latency where wanted.

moto compares and sets in two steps, which a real object store does in one: here one put is
served at a time.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
import werkzeug.serving
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

BUCKET = "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_REGION": "us-east-1",
}


class Asked(NamedTuple):
    """A request, and how many others, one after the other, it had to wait for."""

    method: str
    path: str
    depth: int


class ObjectStore:
    """The server's application; ``asked`` is what was asked since it was cleared."""

    def __init__(self) -> None:
        self.latency = 0.0  # seconds
        self.url = ""
        self.asked: list[Asked] = []
        self._app = DomainDispatcherApplication(create_backend_app)
        self._putting = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        depth = 1 + max((asked.depth for asked in self.asked), default=0)
        time.sleep(self.latency)
        with self._putting if method == "PUT" else contextlib.nullcontext():
            answer = list(self._app(environ, start_response))
        self.asked.append(Asked(method, path, depth))
        return answer


@contextlib.contextmanager
def serving() -> Iterator[ObjectStore]:
    """The server, with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = ObjectStore()
    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    app.url = f"http://127.0.0.1:{server.port}"
    client = boto3.client(
        "s3", endpoint_url=app.url, region_name="us-east-1",
        aws_access_key_id="me", aws_secret_access_key="secret",
    )  # fmt: skip
    client.create_bucket(Bucket=BUCKET)
    try:
        yield app
    finally:
        server.shutdown()
        thread.join()
