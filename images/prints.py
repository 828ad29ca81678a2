"""A figure as pixels, as `savefig` prints them, in less time.

matplotlib gives a colour to each dot of the paper; of an image that is enlarged to its nearest
pixels, to colour the pixels first gives the same dots.  What is printed is opaque, so it needs no
fourth channel that says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


def printed(figure: Figure, dpi: float) -> Image:
    """The figure at so many dots per inch, in red, green and blue; it stays as it is."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    shown, resolution = figure.canvas, figure.dpi
    canvas: Any = FigureCanvasAgg(figure)
    try:
        figure.dpi = dpi
        with _coloured(figure):
            canvas.draw()
    finally:
        figure.dpi = resolution
        figure.set_canvas(shown)
    dots = canvas.buffer_rgba()
    return Image.frombytes("RGB", dots.shape[1::-1], dots, "raw", "RGBX")


@contextlib.contextmanager
def _coloured(figure: Figure) -> Iterator[None]:
    """Have images of values show the colours of these, for a while."""
    images = [image for axes in figure.axes for image in axes.images]
    enlarged = [image for image in images if image.get_interpolation() == "nearest"]
    values: list[Any] = [image.get_array() for image in enlarged]
    for image, array in zip(enlarged, values, strict=True):
        if array.ndim == 2:
            image.set_data(image.to_rgba(array, bytes=True))
    try:
        yield
    finally:
        for image, array in zip(enlarged, values, strict=True):
            image.set_data(array)
