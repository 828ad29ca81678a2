"""Of how many pixels the value of a band in a cell is the mean.

Those are the pixels that were seen in the cell, ``count``, less those of them without a value in
the band.  Where these are none, as almost everywhere, `count` says it; else ``<band>_count`` does.
"""

from __future__ import annotations

MISSING = "_missing"


def count_of(band: str) -> str:
    """The variable of cells that counts the pixels with a value in a band."""
    return f"{band}_count"


def missing_of(band: str) -> str:
    """The array of an archive that counts the seen pixels without a value in a band."""
    return band + MISSING
