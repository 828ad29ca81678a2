"""Addresses of back ends and catalogues: which are safe to talk to.

By itself, so that an answer is judged at once: the openEO client takes half a second to load.
"""

from __future__ import annotations

import ipaddress
import urllib.parse


def require_safe(url: str) -> str:
    """The address, with https before it if it has no scheme; ValueError if it is not safe."""
    if "://" not in url:
        url = f"https://{url}"
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise ValueError(f"{url!r} is no address of a back end; one begins with https://.")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError(
            f"{url} is not encrypted, and the login would be readable on the way. "
            "Use https://; plain http is only for a back end on this computer."
        )
    return url


def is_loopback(url: str) -> bool:
    """Whether the address is one of this computer."""
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
