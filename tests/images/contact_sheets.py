"""Contact sheets of pictures of every kind, for somebody to look at.

`python -m tests.images.contact_sheets FOLDER` draws boxes of all shapes, with 1 to 40 days and 1 to
3 bands, gaps alone, one value everywhere and long names, side by side on a few pages.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image as Picture

import retrieve
from images import line, series
from tests.images.test_layout import BANDS, BOXES, LARGE, cube, filled, timed

SHEET = 2400  # pixels, the width of a page
HEIGHT = 560  # pixels that a picture on it has at most
DPI = 80
DAYS = (1, 2, 5, 40)


def images() -> Iterator[tuple[str, Figure]]:
    """Pictures of one day and of several, by the name of their page."""
    for name in BOXES | LARGE:
        for days in DAYS:
            for bands in (1, 2, 3) if days == 1 else (1, 2):
                yield name, retrieve.plot(cube(name, days, BANDS[:bands]))
    for kind in ("gaps", "constant", "zero", "long"):
        for days in (1, 2, 40):
            for bands in (1, 3):
                yield kind, retrieve.plot(filled(cube("usual", days, BANDS[:bands]), kind))


def lines() -> Iterator[tuple[str, Figure]]:
    """Lines of means over days that are near to each other, and far."""
    for step in (1, 6, 12, 40):
        for days in (2, 3, 7, 40):
            for bands in (1, 3):
                dataset = timed(cube("usual", days, BANDS[:bands]), step)
                yield "line", line.plot_line(line.statistics(dataset), dataset.attrs)
    for kind in ("gaps", "constant", "long"):
        dataset = filled(cube("usual", 5, BANDS), kind)
        yield "line", line.plot_line(line.statistics(dataset), dataset.attrs)


def frames() -> Iterator[tuple[str, Figure]]:
    """The first image of an animation of each box."""
    for name in BOXES:
        for bands in (1, 3):
            yield (
                "frame",
                next(series.frames_of(cube(name, 2, BANDS[:bands]), retrieve.settings().look)),
            )


def drawn(figure: Figure) -> Picture.Image:
    """A figure in colour, no higher than a row of a page."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=DPI)
    picture = Picture.open(stream).convert("RGB")
    picture.thumbnail((SHEET - 20, HEIGHT))
    return picture


def sheet(pictures: list[Picture.Image]) -> Picture.Image:
    """The pictures in rows, on grey, so that the edges of their paper are seen."""
    places, x, y, high = [], 10, 10, 0
    for picture in pictures:
        if x > 10 and x + picture.width > SHEET - 10:
            x, y, high = 10, y + high + 10, 0
        places.append((x, y))
        x, high = x + picture.width + 10, max(high, picture.height)
    page = Picture.new("RGB", (SHEET, y + high + 10), (120, 120, 120))
    for picture, place in zip(pictures, places, strict=True):
        page.paste(picture, place)
    return page


def main(folder: Path) -> None:
    """Write the pages, and print their names."""
    pages: dict[str, list[Picture.Image]] = {}
    for each in (images, lines, frames):
        for name, figure in each():
            pages.setdefault(name, []).append(drawn(figure))
    folder.mkdir(parents=True, exist_ok=True)
    for name, pictures in pages.items():
        path = folder / f"{name.replace(' ', '_')}.png"
        sheet(pictures).save(path)
        print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
