"""The tiles of an archive for who looks for a long time while others write.

A tile is opened once, and again when it has changed: in a folder when the state of its files is
another one, elsewhere, where asking for that takes as long as opening, after a while.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from archive.holdings import stamp_of

if TYPE_CHECKING:
    from archive.contents import Contents
    from archive.snapshot import View
    from grid import Tile

KEPT = 256  # tiles that are kept open
FAR_SECONDS = 30.0  # for which what is not in a folder is taken for unchanged


class Lookout:
    """The tiles of an archive, as they are now; many threads may ask at a time."""

    def __init__(self, archive: Contents) -> None:
        self.archive = archive
        self._views: OrderedDict[Tile, tuple[str, View]] = OrderedDict()
        self._lock = threading.Lock()

    def views(self, tiles: Iterable[Tile]) -> list[View]:
        """Those of these tiles that there are."""
        states = {tile: self._state(tile) for tile in tiles}
        with self._lock:
            found = {
                tile: self._views[tile][1]
                for tile, state in states.items()
                if tile in self._views and self._views[tile][0] == state
            }
        for view in self.archive.views(states.keys() - found.keys()):
            view.share()
            found[view.tile] = view
        with self._lock:
            for tile, state in states.items():
                self._views.pop(tile, None)
                if tile in found:
                    self._views[tile] = state, found[tile]
            while len(self._views) > KEPT:
                self._views.popitem(last=False)
        return [found[tile] for tile in states if tile in found]

    def _state(self, tile: Tile) -> str:
        """What changes when the tile does."""
        if not self.archive.is_folder:
            return str(int(time.monotonic() / FAR_SECONDS))
        try:
            return stamp_of(str(self.archive.path / tile.name))
        except OSError:
            return ""
