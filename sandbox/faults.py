"""The switches that make the back end misbehave, on the command line or while it runs.

They are listed in the package's own docstring, which ``python -m sandbox --help`` prints.
Nothing is left to chance: a switch counts what it meets, and the counts are kept in the
state folder, so a fault that was due before a restart is not due again after it.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

REQUESTS = (
    "500",
    "503",
    "502-html",
    "504",
    "429",
    "html",
    "reset",
    "reset-body",
    "stall",
    "refuse",
    "token-invalid",
)
LOGIN = ("login-gone", "tokens-revoked")
ASSETS = (
    "asset-short",
    "asset-short-clean",
    "asset-wrong-length",
    "asset-no-range",
    "asset-html",
    "asset-flip",
    "asset-reset",
    "asset-stall",
    "asset-403",
    "asset-410",
    "asset-404",
    "asset-500",
    "asset-no-validators",
)
EXPIRED = ("asset-403", "asset-410")  # faults of a link, which stays expired
CALLS = (
    "payment-required",
    "job-limit",
    "lost-create",
    "lost-start",
    "stac11",
    "fields-lost",
    "no-file-size",
    "text-string",
    "text-latin1",
    "no-oidc",
    "no-providers",
    "refresh-once",
    "account-limits",
    "no-account",
    "results-empty",
    "results-items",
    "asset-no-type",
    "asset-more",
    "log-empty",
    "log-fails",
    "start-slow",
    "start-ended-400",
    "start-ended-202",
    "status-lag",
    "federation-missing",
    "list-no-next",
)
ITEMS = ("item",)
PRODUCTS = (
    "no-vh",
    "not-read",
)
JOBS = (
    "job-error",
    "job-canceled",
    "job-vanishes",
    "job-stuck",
    "job-slow",
    "job-hole",
    "job-unknown-status",
    "job-no-data-error",
    "job-no-data-empty",
    "job-memory",
    "job-driver-memory",
    "job-executor-lost",
    "job-silent",
    "job-product",
    "job-no-band",
    "job-unsupported",
)
NAMES = (*PRODUCTS, *ITEMS, *REQUESTS, *LOGIN, *ASSETS, *CALLS, *JOBS)
OPTIONS = (
    "path",
    "method",
    "title",
    "every",
    "times",
    "skip",
    "seconds",
    "bytes",
    "factor",
    "chance",
    "seed",
    "answer",
    "field",
    "share",
)
SECONDS = {
    "429": 1.0, "stall": 60.0, "asset-stall": 60.0, "refuse": 2.0, "job-slow": 5.0,
    "start-slow": 60.0, "status-lag": 4.0,
}  # fmt: skip
HOLE = 0.5  # of the rows of a result
WRONG_BY = 1000  # bytes
FACTOR = 3.0  # times the default memory
DEFAULT_SCOPE = ("/openeo/", "/files/")  # of faults of requests


@dataclass
class Switch:
    """One fault that is on."""

    text: str  # as it was written; its counter goes by it
    name: str
    n: int | None
    options: dict[str, str] = field(default_factory=dict)
    met: int = 0
    fired: int = 0

    @classmethod
    def parse(cls, text: str) -> Switch:
        """Read ``NAME[=N][,OPTION=VALUE ...]``; ValueError says what is wrong with it."""
        head, *rest = text.split(",")
        name, _, number = head.partition("=")
        if name not in NAMES:
            raise ValueError(f"{name!r} is no fault; these are: {', '.join(NAMES)}.")
        if number and not (number.isascii() and number.isdigit() and int(number) > 0):
            raise ValueError(f"{text!r}: N must be a whole number from 1 up, not {number!r}.")
        options = dict(part.partition("=")[::2] for part in rest)
        for option, value in options.items():
            if option not in OPTIONS:
                raise ValueError(f"{text!r}: {option!r} is none of {', '.join(OPTIONS)}.")
            if option not in ("path", "method", "title", "answer", "field"):
                try:
                    float(value)
                except ValueError:
                    raise ValueError(f"{text!r}: {option} must be a number.") from None
        return cls(text, name, int(number) if number else None, options)

    @property
    def seconds(self) -> float:
        """How long it stalls, waits or asks to wait."""
        return float(self.options.get("seconds", SECONDS.get(self.name, 0.0)))

    @property
    def bytes(self) -> int:
        """By how much a Content-Length is wrong."""
        return int(self.options.get("bytes", WRONG_BY))

    @property
    def share(self) -> float:
        """What of a result is a hole."""
        return float(self.options.get("share", HOLE))

    @property
    def factor(self) -> float:
        """How many times the default memory a job needs."""
        return float(self.options.get("factor", FACTOR))

    def matches(self, path: str, method: str, title: str) -> bool:
        """Whether it counts what happens here."""
        if "method" in self.options and self.options["method"].upper() != method:
            return False
        if self.options.get("title", "") not in title:
            return False
        if "path" in self.options:
            return self.options["path"] in path
        return self.name not in REQUESTS or path.startswith(DEFAULT_SCOPE)

    def decides(self, count: int) -> bool:
        """Whether it fires at the ``count``-th thing that it meets."""
        count -= int(self.options.get("skip", 0))
        if count < 1 or self.fired >= float(self.options.get("times", "inf")):
            return False
        if "chance" in self.options:
            key = f"{self.options.get('seed', 0)} {self.name} {count}".encode()
            dice = int.from_bytes(blake2b(key, digest_size=6).digest()) / 2**48
            return dice < float(self.options["chance"])
        if "every" in self.options:
            return count % int(self.options["every"]) == 0
        if self.name in JOBS:
            return self.n is None or count == self.n
        if self.name in LOGIN:
            return count == (self.n or 1)
        return count % (self.n or (1 if self.name in CALLS else 3)) == 0


class Counters(Protocol):
    """Counters that outlive a restart."""

    def count(self, key: str, step: int = 1) -> int:
        """Add to a counter and return it; one that is new begins at 0."""

    def reset(self, key: str) -> None:
        """Set a counter to 0."""


class Faults:
    """All switches that are on; ``note`` is told of every fault that fires."""

    def __init__(self, counters: Counters, note: Callable[[str], None]) -> None:
        self._counters = counters
        self._note = note
        self._lock = threading.Lock()
        self._switches: list[Switch] = []
        self._gone = False
        self._expired: dict[str, Switch] = {}
        self.revoked_before = 0.0  # Unix time: tokens that were issued earlier are invalid

    def add(self, text: str, *, anew: bool) -> None:
        """Turn a switch on, counting anew or on from what it met before a restart.

        Raises ValueError for one that does not exist.
        """
        switch = Switch.parse(text)
        with self._lock:
            if anew:
                self._counters.reset(f"met {text}")
                self._counters.reset(f"fired {text}")
            switch.fired = self._counters.count(f"fired {text}", 0)
            self._switches.append(switch)

    def clear(self) -> None:
        """Turn all switches off; logins work again."""
        with self._lock:
            self._switches.clear()
            self._expired.clear()
            self._gone = False

    def describe(self) -> list[dict[str, Any]]:
        """The switches that are on, with what they met and how often they fired."""
        with self._lock:
            return [{"fault": s.text, "met": s.met, "fired": s.fired} for s in self._switches]

    def fire(
        self, names: tuple[str, ...], path: str = "", method: str = "", title: str = ""
    ) -> Switch | None:
        """Let the switches among ``names`` count something; the first that fires, if any."""
        found = None
        with self._lock:
            for switch in self._switches:
                if switch.name in names and switch.matches(path, method, title):
                    switch.met = self._counters.count(f"met {switch.text}")
                    if found is None and switch.decides(switch.met):
                        switch.fired = self._counters.count(f"fired {switch.text}")
                        found = switch
        if found is not None:
            self._note(f"{found.text} {method} {path} {title}".strip())
        return found

    def fate(self, title: str) -> str | None:
        """What is to become of a job that is being created; None for the usual."""
        switch = self.fire(JOBS, title=title)
        return switch.text if switch else None

    def link_expired(self, signature: str, path: str) -> str | None:
        """The fault by which a link has expired: once it has, it stays so."""
        if signature not in self._expired:
            if (switch := self.fire(EXPIRED, path, "GET")) is None:
                return None
            self._expired[signature] = switch
        return self._expired[signature].name

    def token_met(self) -> None:
        """A request with a token has come; the faults of the login may fire."""
        switch = self.fire(LOGIN)
        if switch and switch.name == "login-gone":
            self._gone = True
        elif switch:
            self.revoked_before = time.time()

    def item(self, item: dict[str, Any]) -> dict[str, Any]:
        """An item of the catalogue as it is shown."""
        switch = self.fire(ITEMS, path=str(item["id"]))
        if switch is None:
            return item
        shown = json.loads(json.dumps(item))
        inside, _, name = ("." + switch.options.get("field", "id")).rpartition(".")
        place = shown[inside[1:]] if inside else shown
        place.pop(name, None)
        if "answer" in switch.options:
            place[name] = json.loads(switch.options["answer"].replace(";", ","))
        return dict(shown)

    def product(self, identifier: str) -> str:
        """What is the matter with a product, in jobs and catalogue alike; "" for nothing.

        Nothing is counted: a product is the same whoever looks at it.
        """
        with self._lock:
            named = (s for s in self._switches if s.name in PRODUCTS)
            return next((s.name for s in named if s.options.get("path", "") in identifier), "")

    @property
    def login_gone(self) -> bool:
        """Whether no token is valid and no login succeeds."""
        return self._gone

    def assets(self, assets: dict[str, Any], title: str) -> dict[str, Any]:
        """The assets of a result as they are shown."""
        if self.fire(("no-file-size",), title=title):
            assets = {
                k: {n: v for n, v in a.items() if n != "file:size"} for k, a in assets.items()
            }
        if self.fire(("stac11",), title=title):
            key = uuid.uuid5(uuid.NAMESPACE_URL, title or "openEO")
            assets = {f"{key}_openEO": asset for asset in assets.values()}
        if self.fire(("asset-no-type",), title=title):
            assets = {
                k: {n: v for n, v in a.items() if n not in ("type", "roles")}
                for k, a in assets.items()
            }
        if self.fire(("asset-more",), title=title):
            assets = {**_other_files(assets), **assets}
        return assets


def _other_files(assets: dict[str, Any]) -> dict[str, Any]:
    """Files that a job may have made beside the one that was ordered."""
    address = next((a["href"] for a in assets.values()), "")
    return {
        "statistics.nc": {"href": address, "type": "application/x-netcdf", "roles": ["metadata"]},
        "job_metadata.json": {"href": address, "type": "application/json"},
    }
