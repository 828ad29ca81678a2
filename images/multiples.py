"""Small multiples: the lines of many features, a panel for each, on the same axes.

As of `line`, but a day on which nothing of a feature was seen is left out: the swaths of most
passes end somewhere in a tile, and a field beyond is no gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from grid import shorten
from images import figure as drawing
from images import line
from images.line import KEY, LEGEND, Statistics
from images.scales import scale_of
from images.series import PANELS, caption

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = ((1, 1), (4, 2), (9, 3), (PANELS, 4))  # up to so many panels: how many side by side
PANEL = (2.5, 1.35)  # inch, the lines of a feature
ALONE = (6.2, 2.0)  # inch, of a single one
DATE = 0.62  # inch, a date below a panel
TITLE = 7.5  # points, the name of a feature
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 0.2, 0.55, 0.6  # inch, around the panels
_BETWEEN, _OVER = 0.12, 0.24  # inch, between panels, and over each for its name


@dataclass(frozen=True)
class _Sheet:
    """Where the panels are on the paper, inches."""

    number: int
    key: float  # the height of the key
    words: float  # the width of what is written

    @property
    def across(self) -> int:
        """Panels side by side."""
        return next(number for most, number in ACROSS if self.number <= most)

    @property
    def panel(self) -> tuple[float, float]:
        """Width and height of a panel."""
        return ALONE if self.number == 1 else PANEL

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the paper."""
        down = math.ceil(self.number / self.across)
        inside = self.across * (self.panel[0] + _BETWEEN) - _BETWEEN
        height = _TOP + self.key + down * (self.panel[1] + _OVER) + _BOTTOM
        return max(inside + _LEFT + _RIGHT, self.words + 0.24), height

    @property
    def middle(self) -> float:
        """Of the panels, as a share of the height of the paper."""
        return (_BOTTOM + self.size[1] - _TOP - self.key) / 2 / self.size[1]

    def axes(self, figure: Figure, number: int, first: Any) -> Axes:
        """The axes of a panel, which are those of the first one."""
        (width, height), (wide, high) = self.size, self.panel
        row, column = divmod(number, self.across)
        left = _LEFT + column * (wide + _BETWEEN)
        low = height - _TOP - self.key - (row + 1) * (high + _OVER)
        box = (left / width, low / height, wide / width, high / height)
        axes = figure.add_axes(box, sharex=first, sharey=first, label=f"feature {number}")
        is_lowest = number + self.across >= self.number
        axes.tick_params(labelsize=6.5, labelleft=column == 0, labelbottom=is_lowest)
        axes.grid(alpha=0.3, linewidth=0.5)
        return axes


def draw(table: pd.DataFrame) -> Figure:
    """Draw the rows of `retrieve.features`; of more than `PANELS` features the first ones."""
    from matplotlib.figure import Figure

    every = list(dict.fromkeys(table["feature"].tolist()))
    shown = every[:PANELS]
    rows = _rows(table[table["feature"].isin(shown)])
    names = line.names_of([row for row in rows if row["seen"]] or rows)
    lines = _words(table, rows, len(shown), len(every))
    words = drawing.words_inches(lines)
    across = _Sheet(len(shown), 0.0, words).size[0] - 0.3
    columns = line.legend_columns(names.values(), across)
    sheet = _Sheet(len(shown), LEGEND * math.ceil(len(names) / columns), words)
    figure = Figure(figsize=sheet.size, dpi=100)
    days, first = sorted({row["day"] for row in rows}), None
    for number, feature in enumerate(shown):
        axes = sheet.axes(figure, number, first)
        first = first or axes
        mine = [row for row in rows if row["feature"] == feature and row["seen"]]
        line.draw_lines(axes, mine, names)
        _day_axis(axes, days, sheet.panel[0])
        title = _title(feature, sheet.panel[0], "" if mine else " (not seen)")
        axes.set_title(title, fontsize=TITLE, loc="left", pad=3)
    assert first is not None, "a table has rows"
    if not any(math.isfinite(row[line.keys_of(rows)[0]]) for row in rows):
        first.set_yticks([])  # those of an empty plot are numbers that no cell gave
    _write_key(figure, names.values(), columns)
    quantity = scale_of(table.attrs).quantity(list(dict.fromkeys(row["band"] for row in rows)))
    at = 0.14 / sheet.size[0], sheet.middle
    figure.text(*at, quantity, rotation=90, va="center", fontsize=8)
    caption(figure, lines)
    return figure


def _write_key(figure: Figure, names: Iterable[str], columns: int) -> None:
    """What the lines are, under the title."""
    handles = _handles(figure)
    known = [name for name in names if name in handles]
    width, height = (float(side) for side in figure.get_size_inches())
    figure.legend(
        [handles[name] for name in known], known, loc="upper left", ncols=columns, borderaxespad=0,
        bbox_to_anchor=(0.06 / width, 1 - (_TOP - 0.02) / height), **KEY,
    )  # fmt: skip


def _rows(table: pd.DataFrame) -> Statistics:
    """The rows of a table as those of a line."""
    days = table["day"].to_numpy().astype("datetime64[D]").astype(str)
    rows: Statistics = table.assign(day=days).to_dict("records")  # type: ignore[assignment]
    return rows


def _words(table: pd.DataFrame, rows: Statistics, shown: int, every: int) -> list[drawing.Words]:
    """Title, days and source of a figure."""
    some = f"{shown} features" if shown == every else f"the first {shown} of {every:,} features"
    what = "mean of 1 feature" if every == 1 else f"mean of each of {some}"
    days = sorted({row["day"] for row in rows})
    when = " to ".join(dict.fromkeys((days[0], days[-1])))
    marks = line.marks([row for row in rows if row["seen"]])
    return [
        (drawing.title_of(table.attrs, what), 10.5, "bold"),
        (f"{when}  ({line.spread_words('cells')}{marks})", 8.0, "normal"),
        (str(table.attrs.get("source", "")), 7.0, "normal"),
    ]


def _day_axis(axes: Any, days: Sequence[str], inches: float) -> None:
    """Ticks at the first and last day, and at one between where there is room for it."""
    numbers = np.array(days, "datetime64[D]").astype(float)
    span = max(numbers[-1] - numbers[0], 1.0)
    axes.set_xlim(numbers[0] - 0.04 * span, numbers[-1] + 0.04 * span)
    middle = int(np.abs(numbers - numbers[[0, -1]].mean()).argmin())
    apart = min(numbers[middle] - numbers[0], numbers[-1] - numbers[middle]) / span * inches
    places = sorted({0, len(days) - 1} | ({middle} if apart > 1.6 * DATE else set()))
    axes.set_xticks(numbers[places], [days[place] for place in places])
    if len(places) > 1:
        first, *_, last = axes.xaxis.get_major_ticks()
        first.label1.set_ha("left")
        last.label1.set_ha("right")


def _title(feature: object, inches: float, more: str) -> str:
    """The name of a feature, as much of it as fits over its panel, and more."""
    name = " ".join(str(feature).split())

    def text(most: int) -> str:
        return shorten(name, most).replace("$", r"\$") + more  # which is no formula

    most = len(name)
    while most > 4 and drawing.words_inches([(text(most), TITLE, "normal")]) > inches:
        most -= 1
    return text(most)


def _handles(figure: Figure) -> dict[str, Any]:
    """A line of each name, from whichever panel has it; one with values is better."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name.removesuffix(line.NO_VALUE), handle)
    return found
