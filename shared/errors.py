"""Errors that several rooms know, without what raises them."""

from __future__ import annotations

LONGEST = 160  # characters of what a library says


class RasterError(ValueError):
    """A raster that cannot be used; the message names file, variable and reason."""


def brief(error: BaseException | str) -> str:
    """What a library says, in one line of bounded length and without a stop at its end."""
    words = " ".join(str(error).split())
    if len(words) > LONGEST:
        words = words[: LONGEST - 3].rstrip() + "..."
    return words.rstrip(".") or type(error).__name__
