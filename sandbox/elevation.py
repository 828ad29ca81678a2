"""Whether there is an elevation model of a place: the one that is named, or SRTM.

An order that names none gets SRTM, whose files are one degree square, between 56 S and
60 N, and only where there is land.  The back end opens a file for each degree that the box
touches and ends the job with the words of a missing file.  It cuts degrees towards zero,
so in the west and in the south it looks up the files one cell off, and so does this one.
"""

from __future__ import annotations

from sandbox import land
from sandbox.errors import Failed

SRTM = (None, "SRTMGL1")  # the models that are this one
SOUTH, NORTH = -56, 60  # degrees; it has nothing beyond
FOLDER = "/eodata/auxdata/SRTMGL1/dem"
WORDS = (
    "Python exception while evaluating processing graph: FileNotFoundError: [Errno 2] "
    "No such file or directory: '{path}'"
)


def require(bbox: tuple[float, float, float, float], model: str | None) -> None:
    """Raise Failed, in the back end's words, if a file of the model is missing."""
    if model not in SRTM:
        return
    west, south, east, north = (int(edge) for edge in bbox)  # towards zero, as they do
    for lon in range(west, east + 1):
        for lat in range(south, north + 1):
            if not is_there(lon, lat):
                raise Failed(WORDS.format(path=f"{FOLDER}/{_name(lon, lat)}.SRTMGL1.hgt.zip"))


def is_there(lon: int, lat: int) -> bool:
    """Whether there is a file of the degree north and east of a corner."""
    return SOUTH <= lat < NORTH and land.is_in(lon, lat)


def _name(lon: int, lat: int) -> str:
    """As the files are named: N50E003."""
    return f"{'NS'[lat < 0]}{abs(lat):02}{'EW'[lon < 0]}{abs(lon):03}"
