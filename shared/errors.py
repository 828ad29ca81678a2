"""Errors that several rooms know, without what raises them."""

from __future__ import annotations


class RasterError(ValueError):
    """A raster that cannot be used; the message names file, variable and reason."""
