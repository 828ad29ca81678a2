"""The page in a browser: served for as long as it is wanted, and opened."""

from __future__ import annotations

import contextlib
import sys
import webbrowser
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from images.atlas import Atlas
    from pages.app import Desk
    from pages.server import Address

IN_TEXT = ("www-browser", "links", "elinks", "lynx", "w3m")  # would take the terminal away


@contextlib.contextmanager
def opened(atlas: Atlas | None, desk: Desk, address: Address, opens: bool) -> Iterator[str]:
    """The page, served and opened, for as long as this lasts; its address.

    Raises OSError where nothing can listen.
    """
    from pages.app import create
    from pages.guard import Guard
    from pages.server import serving

    app = create(atlas, desk, Guard(address.token, ("localhost", address.host)))
    with serving(app, address) as url:
        if opens and has_browser():
            webbrowser.open(url)
        yield url


def has_browser() -> bool:
    """Whether there is a browser with windows."""
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return False
    name = str(getattr(found, "name", ""))
    return sys.platform in ("win32", "darwin") or name.rpartition("/")[2] not in IN_TEXT
