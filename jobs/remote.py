"""What is asked of an openEO back end, and how its answers are to be understood.

The talking is done by the client's public `Connection` and `BatchJob`; every error of
theirs leaves this file as a `trouble.Trouble`.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import requests

from jobs import assets
from jobs.assets import Asset, Json
from jobs.trouble import Kind, Trouble, of_status

if TYPE_CHECKING:
    from openeo.rest.connection import Connection

NO_DATA_CODE = "NoDataAvailable"
NO_DATA_WORDS = "no data available for the given extents"
LOGIN_CODES = ("AuthenticationRequired", "AuthenticationSchemeInvalid", "TokenInvalid")
PAGE = 500  # jobs in one answer of the list
CUT = "its last page is full"
# A start that comes too late (backend.py of openeo-geopyspark-driver; the federation's words).
BEGUN_CODES = ("JobTransitionNotImplemented", "JobTransitionUnsupported")
BEGUN_WORDS = re.compile(r"already (been |being )?(start|queue|run)", re.IGNORECASE)
# Refused options have no code of their own (job_options.py there).
OPTION_WORDS = re.compile(r"the max for this instance|job.options?\b", re.IGNORECASE)

PLAIN_REFUSALS = (400, 402, 413, 422)  # believed also without an openEO code beside them

# The client warns about every error that it also raises; without a handler Python would
# print that on the terminal.
logging.getLogger("openeo").addHandler(logging.NullHandler())

T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """What the back end says of a job."""

    status: str
    credits: float | None
    updated: str  # ISO 8601 as the back end wrote it, "" if it did not


class Remote:
    """One back end, logged in.  Safe to use from several threads."""

    def __init__(
        self,
        connection: Connection,
        renewal_trouble: Callable[[], Trouble | None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._renewal_trouble = renewal_trouble
        self._answer = threading.local()
        connection.session.hooks["response"].append(self._note)

    def create(self, graph: Json, title: str, options: Mapping[str, Any] | None = None) -> str:
        """Order a job; its id.  It does not run yet, and costs nothing."""
        # The client's own validation asks the server about the catalogue first, which takes
        # long there and only warns.
        job = self._ask(
            lambda: self._connection.create_job(
                graph, title=title, job_options=dict(options or {}) or None, validate=False
            )
        )
        return str(job.job_id)

    def find(self, title: str) -> list[tuple[str, Status]]:
        """Ids and statuses of the jobs with this title: none, one, or several.

        Raises Trouble where none was found in a list that is not whole.
        """
        return self._ask(lambda: self._find(title))

    def start(self, job_id: str) -> None:
        """Have a job queued."""
        self._ask(lambda: self._connection.job(job_id).start())

    def stop(self, job_id: str) -> None:
        """Cancel a job; nothing happens if it has ended."""
        self._ask(lambda: self._connection.job(job_id).stop())

    def delete(self, job_id: str) -> None:
        """Remove a job and its results."""
        self._ask(lambda: self._connection.job(job_id).delete())

    def status(self, job_id: str) -> Status:
        """How the job is doing."""
        return self._ask(lambda: _status(self._connection.job(job_id).describe()))

    def log(self, job_id: str) -> list[str]:
        """The errors in a job's log; Trouble of Kind.NO_DATA if one is that there is no image."""
        return self._ask(lambda: _log(self._connection.job(job_id).logs(level="error")))

    def asset(self, job_id: str, bands: Sequence[str] = ()) -> Asset:
        """The netCDF file of a finished job; Trouble of Kind.NO_ASSET if it lists none."""
        job = self._connection.job(job_id)
        return self._ask(
            lambda: assets.choose(job.get_results().get_metadata(), self._document, bands)
        )

    def _document(self, url: str) -> Json:
        document: Json = self._connection.get(url).json()
        return document

    def collection(self, name: str) -> Json:
        """What the back end says of a collection; Trouble of Kind.WRONG if it has none such."""
        return dict(self._ask(lambda: self._connection.describe_collection(name)))

    def collections(self) -> list[str]:
        """The names of all collections."""
        return self._ask(lambda: list(map(str, self._connection.list_collection_ids())))

    def account(self) -> Json:
        """Who is logged in, as the back end describes it; empty if it does not."""
        if not self._offers("/me"):
            return {}
        return dict(self._ask(self._connection.describe_account))

    def billing(self) -> Json:
        """Currency and plans, as far as the back end has any."""
        answer = self._ask(self._connection.capabilities)
        return dict(answer.get("billing") or {})

    def _offers(self, path: str) -> bool:
        return bool(self._ask(self._connection.capabilities).supports_endpoint(path, "GET"))

    def get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """GET an asset as a stream.  Only the back end's own addresses see the login."""
        response = self._connection.get(url, headers=dict(headers), stream=True, check_error=False)
        assert isinstance(response, requests.Response)
        return response

    def _find(self, title: str) -> list[tuple[str, Status]]:
        jobs, doubt = self._list({"limit": PAGE})
        if doubt == CUT:
            jobs, doubt = self._list({})
        found = [(str(j["id"]), _status(j)) for j in jobs if j.get("title") == title]
        if doubt not in ("", CUT) and not found:
            raise Trouble(Kind.PASSING, f"the list of jobs is not whole: {doubt}")
        return found

    def _list(self, query: Json) -> tuple[list[Json], str]:
        """All jobs, and why they may not be all: `CUT`, or in words."""
        document = self._connection.get("/jobs", params=query, expected_status=200).json()
        jobs: list[Json] = []
        missing: list[str] = []
        while True:
            jobs += document["jobs"]
            missing += map(str, document.get("federation:missing") or ())
            links = document.get("links") or []
            following = [link["href"] for link in links if link.get("rel") == "next"]
            if not following:
                break
            document = self._connection.get(following[0]).json()
        if missing:
            return jobs, f"{', '.join(dict.fromkeys(missing))} of the federation did not answer"
        # A full page is the last one by chance, or by mistake.
        full = "limit" in query and len(document["jobs"]) >= query["limit"]
        return jobs, CUT if full else ""

    def _ask(self, question: Callable[[], T]) -> T:
        self._answer.retry_after = None
        try:
            return question()
        except Trouble:
            raise
        except Exception as error:
            trouble = self._sort(error)
            if trouble is None:
                raise
            raise trouble from error

    def _note(self, response: requests.Response, **_: object) -> None:
        """The client's errors do not carry the header; it is picked up as it comes by."""
        self._answer.retry_after = response.headers.get("Retry-After")

    def _sort(self, error: Exception) -> Trouble | None:
        """The trouble behind an error of the client; None for a mistake of our own."""
        from openeo.rest import OpenEoApiError, OpenEoApiPlainError, OpenEoClientException

        words = str(error)
        if isinstance(error, OpenEoApiError):
            return self._sort_code(error.http_status_code or 0, error.code, error.message)
        if isinstance(error, OpenEoApiPlainError):
            # Not the API but a proxy before it, or a broken server: most of that passes.
            status = error.http_status_code or 0
            trouble = of_status(status, error.message, self._answer.retry_after)
            kind = trouble.kind if status in PLAIN_REFUSALS else Kind.PASSING
            return Trouble(kind, str(trouble), trouble.retry_after)
        if isinstance(error, requests.RequestException):
            return Trouble(Kind.PASSING, f"{type(error).__name__}: {words}")
        if isinstance(error, OpenEoClientException | KeyError | TypeError | ValueError):
            # An unexpected status below 400, or JSON of another form than promised.
            return Trouble(Kind.PASSING, f"unusable answer ({type(error).__name__}: {words})")
        return None

    def _sort_code(self, status: int, code: str, message: str) -> Trouble:
        words = f"{code}: {message}"
        kinds = {
            "ConcurrentJobLimit": Kind.LIMIT,
            "PaymentRequired": Kind.CREDITS,
            "JobNotFound": Kind.GONE,
            "ResultLinkExpired": Kind.EXPIRED,
            "JobNotFinished": Kind.PASSING,
            "FeatureUnsupported": Kind.WRONG,
            NO_DATA_CODE: Kind.NO_DATA,
            **dict.fromkeys(BEGUN_CODES, Kind.BEGUN),
        }
        if code in LOGIN_CODES:
            # The client has tried to renew the token. That may have failed by a passing trouble.
            return self._renewal_trouble() or Trouble(Kind.LOGIN, words)
        if code in kinds:
            return Trouble(kinds[code], words)
        if status == 400:
            return Trouble(_refusal(words), words)
        trouble = of_status(status, words, self._answer.retry_after)
        kind = Kind.WRONG if trouble.kind is Kind.GONE else trouble.kind
        return Trouble(kind, words, trouble.retry_after, answered=True)


def _refusal(words: str) -> Kind:
    """What a 400 means that has no code of its own for it."""
    if BEGUN_WORDS.search(words):
        return Kind.BEGUN
    return Kind.OPTIONS if OPTION_WORDS.search(words) else Kind.WRONG


def _status(job: Mapping[str, Any]) -> Status:
    costs = job.get("costs")
    return Status(
        str(job["status"]),
        float(costs) if isinstance(costs, int | float) else None,
        str(job.get("updated") or ""),
    )


def _log(logs: Iterable[Mapping[str, Any]]) -> list[str]:
    entries = [_entry(str(entry.get("code") or ""), str(entry["message"])) for entry in logs]
    for entry in entries:
        if NO_DATA_CODE in entry or NO_DATA_WORDS in entry.lower():
            raise Trouble(Kind.NO_DATA, entry)
    return entries


def _entry(code: str, message: str) -> str:
    """A line of a log; some back ends repeat the code in the message."""
    return message if message.startswith(code) else f"{code}: {message}"
