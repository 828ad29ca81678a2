"""Lines at the bottom of a terminal, drawn again in their place, also after its window has changed.

rich goes up as many rows as it has drawn lines.  In a window that has become narrower each line may
take several rows by then: most terminals fold what no longer fits, and what was drawn would stay.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender


def redrawn(console: Console, lines: Callable[[], RenderableType], per_second: float) -> Live:
    """What draws these lines, so often, until it is stopped; then nothing of them is left."""
    live = Live(
        get_renderable=lines, console=console, refresh_per_second=per_second, transient=True
    )
    live._live_render = Rows(console, live.get_renderable())  # rich offers no other way
    return live


def folds(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the terminal folds its lines when it becomes narrower; xterm and screen cut them."""
    return not ("XTERM_VERSION" in environ or "STY" in environ or environ.get("TERM") == "linux")


class Rows(LiveRender):
    """What was drawn, and how many rows it takes in the window as it is now."""

    def __init__(self, console: Console, renderable: RenderableType) -> None:
        super().__init__(renderable)
        self._console = console
        self._widths: list[int] = []  # columns of each line that was drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, as rich draws them."""
        widths = [0]
        for segment in super().__rich_console__(console, options):
            if segment.text == "\n":  # type: ignore[union-attr]
                widths.append(0)
            else:
                widths[-1] += segment.cell_length  # type: ignore[union-attr]
            yield segment
        self._widths = widths

    def position_cursor(self) -> Control:
        """What goes back to the beginning of the lines, and takes them away."""
        self._measure()
        return super().position_cursor()

    def restore_cursor(self) -> Control:
        """The same, from the row below them."""
        self._measure()
        return super().restore_cursor()

    def _measure(self) -> None:
        window = max(1, self._console.width)
        if self._shape is not None and folds():
            rows = sum(max(1, math.ceil(width / window)) for width in self._widths)
            self._shape = window, min(rows, self._console.height)
