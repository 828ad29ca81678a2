"""What goes wrong between here and a server, sorted by what to do about it.

Every error of a request becomes a `Trouble` of one kind, so that the scheduler has one
place that decides: wait and try again, wait for a free place, stop and ask the user,
order a new job, or give the chunk up.  Nothing that came from a server is shown or
logged without `redact`: signed addresses carry a key in their query.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import random
import re
from enum import Enum

LONGEST_RETRY_AFTER = 3600.0  # s; what a server may make us wait at most
LONGEST_WORDS = 300  # characters of a server's answer that are worth showing
LONGEST_REASON = 600  # the same of a reason, which has an advice behind such words

_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}


class Kind(Enum):
    """What to do about it."""

    PASSING = "try again later; it counts as no try"
    LIMIT = "as many jobs as the account may run: wait for one to end"
    CREDITS = "out of credits: order nothing more"
    LOGIN = "the login is gone: ask for nothing more"
    GONE = "the job or its result is not there any more: order a new one"
    EXPIRED = "the address of the result has expired: ask for a new one"
    NO_ASSET = "no file is listed: ask again before that is believed"
    MISSING = "a file is listed and not there: ask again, but not for days"
    BEGUN = "the job was started before: ask how it is doing"
    OPTIONS = "the job options are refused: order nothing more with them"
    NO_DATA = "there is no image for this chunk: that is an end"
    WRONG = "the request is refused for good: give this chunk up"


class Trouble(Exception):
    """A request that did not do what it should; the message has the server's words."""

    def __init__(
        self,
        kind: Kind,
        words: str,
        retry_after: float | None = None,
        *,
        answered: bool = False,
    ) -> None:
        super().__init__(redact(words))
        self.kind = kind
        self.retry_after = retry_after
        self.answered = answered  # by the back end itself, so that it knows of the request


class LoginNeeded(Exception):
    """Somebody has to log in; the message names the ways to do it."""


class CreditsNeeded(Exception):
    """The account has no credits left; everything that was ordered is kept."""


class LimitReached(Exception):
    """The next job could pass the limit of credits; everything that was ordered is kept."""


class OptionsRefused(ValueError):
    """The back end refuses the job options; nothing was ordered with them."""


class Spoiled(Exception):
    """Raised by who handles a result: the file is damaged; fetched again it may be whole."""


class Unwanted(Exception):
    """Raised by who handles a result: no result of this back end will do, so order no more."""


def of_status(status: int, words: str, retry_after: str | None = None) -> Trouble:
    """The trouble that an HTTP status means, where no openEO code says more."""
    words = f"HTTP {status}: {words}" if words else f"HTTP {status}"
    if status in _PASSING_STATUS or status > 504:
        return Trouble(Kind.PASSING, words, parse_retry_after(retry_after))
    kinds = {401: Kind.LOGIN, 402: Kind.CREDITS, 404: Kind.GONE, 410: Kind.EXPIRED}
    return Trouble(kinds.get(status, Kind.WRONG), words)


def parse_retry_after(text: str | None, now: dt.datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3): a number or a date."""
    if not text:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text):
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=dt.UTC)
    seconds = (when - (now or dt.datetime.now(dt.UTC))).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def backoff(count: int, first: float, longest: float, dice: random.Random) -> float:
    """Seconds to wait after the ``count``-th trouble in a row (1, 2, ...).

    Doubles from ``first`` to ``longest``, and a random half is taken off so that
    programs which were thrown out together do not come back together.
    """
    return min(longest, first * 2.0 ** min(count - 1, 30)) * (0.5 + 0.5 * dice.random())


def redact(text: str, longest: int = LONGEST_WORDS) -> str:
    """The text without queries of addresses and without bearer tokens, on one line."""
    text = re.sub(r"<[^>]{1,200}>", " ", " ".join(text.split()))
    text = re.sub(r"\?[^\s'\"()<>]*=[^\s'\"()<>]*", "?...", text)
    text = re.sub(r"(?i)\b(bearer|basic)\s+\S+", r"\1 ...", text)
    text = re.sub(r"(?i)((?:token|secret|password|device_code)\W{1,4})[^\s'\",}]+", r"\1...", text)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 3] + "..."
