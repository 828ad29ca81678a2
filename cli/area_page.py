"""The answer `map` to the question for an area: it is drawn in a browser, with what it would cost.

The page hands it over, and it is read as if it had been typed; a line that is typed meanwhile is
the answer, too, so that the terminal never waits for the page.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import queue
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from cli import places
from cli.page import opened
from cli.terminal import count, read_line, somebody_is_there, tell, typed
from grid import BBox
from shared.areas import iter_tiles

if TYPE_CHECKING:
    from images.atlas import Atlas
    from pages.app import View

Days = tuple[dt.date, dt.date]
Price = Callable[[BBox, Days], str]  # what there is of an area, and what it would cost, in words

LOOK = 0.1  # s between two looks at the terminal and at the page
PARTING = 0.3  # s for the page to hear that its area was taken
MANY = 400  # tiles, from which on nobody is asked what they would cost


class AreaDesk:
    """Takes the area that is drawn."""

    def __init__(self, price: Price, chunk_size: Sequence[float], days: Days, box: BBox | None):
        self._price, self._chunk_size, self._days, self._box = price, chunk_size, days, box
        self._one = threading.Lock()
        self.taken: queue.SimpleQueue[str] = queue.SimpleQueue()

    def about(self) -> dict[str, Any]:
        """An area is wanted; days and box of the last time are proposed."""
        first, last = (day.isoformat() for day in self._days)
        box = self._box
        sides = box and [box.west, box.south, box.west + box.width, box.north]
        return {"wantsArea": True, "first": first, "last": last, "box": sides}

    def estimate(self, area: str, days: Days) -> dict[str, Any]:
        """What there is of an area and its days, in words."""
        box = places.place(area)
        number = sum(1 for _ in islice(iter_tiles(box, self._chunk_size), MANY + 1))
        if number > MANY:
            return {"words": f"More than {count(MANY, 'tile')}."}
        with self._one:
            return {"words": f"{count(number, 'tile')}: {self._price(box, days)}"}

    def take(self, area: str) -> None:
        """Use this area, if it is one."""
        places.place(area)
        self.taken.put(area)

    def save(self, view: View, suffix: str) -> dict[str, Any]:
        """Nothing is written where an area is asked for."""
        raise ValueError(f"Here an area is drawn; `browse` writes {view.bbox} as .{suffix}.")


def drawn(atlas: Atlas | None, desk: AreaDesk) -> str:
    """The area that was drawn, or what was typed instead; "" to be asked again."""
    if not somebody_is_there():
        raise ValueError("A map is for somebody at a terminal; name the area by --bbox.")
    from pages.server import Address

    with opened(atlas, desk, Address(), opens=True) as url:
        tell("Draw the area in the browser, at an address of this computer:")
        tell(f"  {url}")
        tell("Or type it here; Enter goes on without the map.")
        while True:
            with contextlib.suppress(queue.Empty):
                area = desk.taken.get(timeout=LOOK)
                tell(f"  from the map: {area}")
                time.sleep(PARTING)
                return area
            if typed():
                return read_line("Area").strip()
