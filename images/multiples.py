"""Small multiples: the lines of many features, a panel for each, on the same axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from grid import shorten
from images import figure as drawing
from images import line
from images.line import KEY, LEGEND, Statistics
from images.scales import scale_of
from images.series import PANELS, caption

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ACROSS = ((1, 1), (4, 2), (9, 3), (PANELS, 4))  # up to so many panels: how many side by side
PANEL = (2.5, 1.35)  # inch, the lines of a feature
ALONE = (6.2, 2.0)  # inch, of a single one
TITLE = 7.5  # points, the name of a feature
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 0.2, 0.55, 0.6  # inch, around the panels
_BETWEEN, _OVER = 0.12, 0.24  # inch, between panels, and over each for its name


def draw(table: pd.DataFrame) -> Figure:
    """Draw the rows of `retrieve.features`; of more than `PANELS` features the first ones."""
    from matplotlib.figure import Figure

    every = list(dict.fromkeys(table["feature"].tolist()))
    shown = every[:PANELS]
    rows = _rows(table[table["feature"].isin(shown)])
    names = line.names_of(rows)
    across = next(number for most, number in ACROSS if len(shown) <= most)
    down = math.ceil(len(shown) / across)
    wide, high = ALONE if len(shown) == 1 else PANEL
    lines = _words(table, rows, len(shown), len(every))
    inside = across * (wide + _BETWEEN) - _BETWEEN
    width = max(inside + _LEFT + _RIGHT, drawing.words_inches(lines) + 0.24)
    columns = line.legend_columns(names.values(), width - 0.3)
    key = LEGEND * math.ceil(len(names) / columns) + 0.1
    height = _TOP + key + down * (high + _OVER) + _BOTTOM
    figure = Figure(figsize=(width, height), dpi=100)
    days = sorted({row["day"] for row in rows})
    first: Any = None
    for number, feature in enumerate(shown):
        column, row = number % across, number // across
        left, top = _LEFT + column * (wide + _BETWEEN), _TOP + key + row * (high + _OVER) + _OVER
        box = (left / width, 1 - (top + high) / height, wide / width, high / height)
        axes = figure.add_axes(box, sharex=first, sharey=first, label=f"feature {number}")
        first = first or axes
        line.draw_lines(axes, [each for each in rows if each["feature"] == feature], names)
        line.day_axis(axes, days, wide)
        axes.set_title(_title(feature, wide), fontsize=TITLE, loc="left", pad=3)
        axes.grid(alpha=0.3, linewidth=0.5)
        is_lowest = number + across >= len(shown)
        axes.tick_params(labelsize=6.5, labelleft=column == 0, labelbottom=is_lowest)
        axes.xaxis.get_offset_text().set_fontsize(6.5)
        axes.xaxis.get_offset_text().set_visible(is_lowest)
    if not any(math.isfinite(each[line.keys_of(rows)[0]]) for each in rows):
        first.set_yticks([])  # those of an empty plot are numbers that no cell gave
    bands = list(dict.fromkeys(each["band"] for each in rows))
    figure.text(
        0.14 / width, 0.5, scale_of(table.attrs).quantity(bands), rotation=90, va="center",
        fontsize=8,
    )  # fmt: skip
    handles = _handles(figure)
    figure.legend(
        [handles[name] for name in names.values() if name in handles],
        [name for name in names.values() if name in handles],
        loc="upper left", bbox_to_anchor=(0.06 / width, 1 - (_TOP - 0.02) / height),
        ncols=columns, borderaxespad=0, **KEY,
    )  # fmt: skip
    caption(figure, lines)
    return figure


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
    return [
        (drawing.title_of(table.attrs, what), 10.5, "bold"),
        (f"{when}  ({line.spread_words('cells')}{line.marks(rows)})", 8.0, "normal"),
        (str(table.attrs.get("source", "")), 7.0, "normal"),
    ]


def _title(feature: object, inches: float) -> str:
    """The name of a feature, as much of it as fits over its panel."""
    name = " ".join(str(feature).split())
    most = len(name)
    while most > 4 and drawing.words_inches([(_plain(shorten(name, most)), TITLE, "")]) > inches:
        most -= 1
    return _plain(shorten(name, most))


def _plain(text: str) -> str:
    """A text that matplotlib does not take for a formula."""
    return text.replace("$", r"\$")


def _handles(figure: Figure) -> dict[str, Any]:
    """A line of each name, from whichever panel has it; one with values is better."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(name.removesuffix(line.NO_VALUE), handle)
    return found
