"""Who may ask the server: the page that it gave out, and nobody else.

The address has a token that nobody can guess, so that other users and other programs of the
computer stay outside.  A page of another site can make a browser ask, but not with the token; if
it ever had it, it would give itself away by its origin.  And a name that suddenly points at this
computer (DNS rebinding) is no name of this server.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from typing import Protocol
from urllib.parse import urlsplit

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}  # of each answer; Leaflet styles what it makes by attributes


class Headers(Protocol):
    """The headers of a request, whatever their capitals."""

    def get(self, name: str, /) -> str | None:
        """A header, if there is one."""
        ...


def new_token() -> str:
    """Something that nobody can guess."""
    return secrets.token_urlsafe(24)


class Guard:
    """Says of a request why it is refused.  ``names``: what the server is called, but for IPs."""

    def __init__(self, token: str, names: tuple[str, ...] = ("localhost",)) -> None:
        self._token, self._names = token, names

    def reason(self, token: str, method: str, headers: Headers) -> str:
        """Why a request is refused; "" if it is not."""
        host = headers.get("Host") or ""
        if not self._is_ours(host):
            return "This server is asked by another name."
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return "The token of the address is wrong.  Open the address that the terminal shows."
        origin = headers.get("Origin")
        if origin is None and method not in ("GET", "HEAD"):
            return "Nobody says which page asks."
        if origin is not None and origin != f"http://{host}":
            return "Another page asks."
        if (headers.get("Sec-Fetch-Site") or "none") not in ("same-origin", "none"):
            return "Another site asks."
        return ""

    def _is_ours(self, host: str) -> bool:
        """Whether a Host is an IP address, which no name server can turn, or a name of ours."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
