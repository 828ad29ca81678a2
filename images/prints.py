"""A figure as pixels: what is printed is opaque, so it needs no fourth channel that says so."""

from __future__ import annotations

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
        canvas.draw()
    finally:
        figure.dpi = resolution
        figure.set_canvas(shown)
    dots = canvas.buffer_rgba()
    return Image.frombytes("RGB", dots.shape[1::-1], dots, "raw", "RGBX")
