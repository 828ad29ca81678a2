"""Asking for an area, and saying what was understood, before anything rests on it."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli import conversation, spelled
from cli.questions import EXAMPLE_AREA
from cli.terminal import ask, confirm, count, somebody_is_there, tell
from cli.workspace import Workspace
from grid import DEGREE, BBox, iter_tiles_covering
from shared import areas
from shared.areas import Area

if TYPE_CHECKING:
    from store import Archive

ACCEPTED = ", west,south,east,north in degrees, or a file or WKT of polygons"
TILES_NAMED = 3  # tiles of an area that are named

MAP, OR_MAP = "map", ", or map"  # the answer that opens a map, and what offers it
Draw = Callable[[], str]  # opens it, and gives the area that was drawn, as text
Doubt = Callable[[BBox, BBox], str]  # a box, and with latitudes first: why that is meant, or ""


def place(text: str) -> BBox:
    """A box, or an `Area` of polygons; raises ValueError, `spelled.Doubtful` for one of both.

    ``lat,lon:`` or ``lon,lat:`` before polygons says what comes first in them.
    """
    from shared import polygons

    if not areas.is_meant(text):
        return spelled.box(text)
    if areas.ordered(text)[0]:
        return spelled.sure(polygons.read(text))
    try:
        return polygons.read(text)
    except ValueError as error:
        other = areas.LATITUDES + text
        try:
            meant = polygons.read(other)
        except ValueError:
            raise error from None
        raise spelled.Doubtful(str(error), meant, f"As {other}") from None


def asked_of(
    workspace: Workspace,
    given: BBox | None,
    chunk_size: Sequence[float],
    doubt: Doubt,
    asks: bool = True,
    usual: str = "",
    draw: Draw | None = None,
) -> BBox:
    """The area that a flag gave, or the answer to a question that offers the one of last time.

    ``usual`` is offered if there is none.  ``asks``: whether a flag may be asked about.  ``draw``
    lets it be drawn on a map.
    """
    before = workspace.remembered()
    kept = areas.from_text(before.get("area", ""))
    default = (kept.name if kept else before.get("bbox")) or usual or str(EXAMPLE_AREA)
    return area(given, default, chunk_size, doubt, kept, asks, draw)


def remembered_box(workspace: Workspace) -> BBox | None:
    """The box of the last time, if there was one."""
    with contextlib.suppress(ValueError):
        return BBox.parse(workspace.remembered().get("bbox", ""))
    return None


def remember(workspace: Workspace, bbox: BBox, **answers: object) -> None:
    """Keep an area, its polygons too, and other answers for the next time."""
    workspace.remember(bbox=areas.plain(bbox), area=areas.as_text(bbox), **answers)


def area(
    given: BBox | None,
    default: str,
    chunk_size: Sequence[float],
    doubt: Doubt,
    kept: Area | None = None,
    asks: bool = True,
    draw: Draw | None = None,
) -> BBox:
    """As `asked_of`; ``kept``: the area that ``default`` names, if there is no such file now."""
    if given is not None:
        given = _settled(given, doubt, asks and somebody_is_there())
        tell(f"  {echo_area(given, chunk_size)}")
        return given

    def parse(text: str) -> BBox | spelled.Doubtful | None:
        if draw and text.strip().lower() == MAP and not Path(text).exists():
            return None
        if kept and text == kept.name and areas.file_of(text) is None:
            return kept
        if text == default:
            return spelled.sure(place(text))  # it was agreed on before
        try:
            return place(text)
        except spelled.Doubtful as doubtful:
            return doubtful

    while True:
        found = ask("Area", parse, default, ACCEPTED + OR_MAP * (draw is not None))
        if found is None and draw:
            found = _from_map(draw, parse)
        if found is None:
            continue
        bbox = (
            _agreed(found) if isinstance(found, spelled.Doubtful) else _settled(found, doubt, True)
        )
        # Across 180 degrees is rare, west and east mixed up is not.
        usual = isinstance(bbox, Area) or bool(bbox and not bbox.crosses_antimeridian)
        if bbox and confirm("Right?", usual, f"  {echo_area(bbox, chunk_size)}  "):
            return bbox


def _from_map(
    draw: Draw, parse: Callable[[str], BBox | spelled.Doubtful | None]
) -> BBox | spelled.Doubtful | None:
    """What was drawn, or typed while the map was open; None to be asked again."""
    try:
        answer = draw()
        found = parse(answer) if answer else None
    except ValueError as error:
        tell(f"  {error}")
        found = None
    if found is None:
        conversation.undo()
    else:
        conversation.amend(answer)
    return found


def _settled(given: BBox, doubt: Doubt, asks: bool) -> BBox:
    """What was given; what looks as if its latitudes came first is asked about, or refused."""
    meant = spelled.meant_instead(given)
    why = meant and doubt(given, meant)
    if type(given) is spelled.SureBox:
        return areas.plain(given)
    if not meant or not why:
        return given
    if asks:
        return meant if confirm(f"Did you mean {meant}?", True, f"  {why}.  ") else given
    raise ValueError(
        f"{why}, so latitudes may have been written first.  Nothing was done.  Did you mean "
        f"{meant}?  {spelled.ways_out(given)}"
    )


def _agreed(doubtful: spelled.Doubtful) -> BBox | None:
    """The box in the other order, if that was meant."""
    reason = str(doubtful).partition("  ")[0]
    agreed = confirm(f"Did you mean {doubtful.meant}?", True, f"  {reason}  ")
    return doubtful.meant if agreed else None


def clipped(bbox: BBox, clip: bool | None, asks: bool) -> BBox:
    """An area as images are to show it: without what is outside, unless somebody says otherwise.

    ValueError for a plain box that is to be clipped.
    """
    if not isinstance(bbox, Area):
        if clip:
            raise ValueError(f"{bbox} is a box, so there is nothing to clip.  Name polygons.")
        return bbox
    if clip is None and asks:
        clip = confirm("Leave out what is outside of the polygon?", default=True)
    return bbox.without_clipping() if clip is False else bbox


# --- why latitudes may have come first ---------------------------------------------------


def sea_or_around(given: BBox, meant: BBox) -> str:
    """Of what is to be ordered: open sea against land, or around the Earth against a box."""
    if given.width > 180:
        return f"{given} goes around the Earth"
    from shared.land import is_open_sea

    if is_open_sea(given) and not is_open_sea(meant):
        return f"{given} is open sea, and {meant} has land"
    return ""


def not_archived(archive: Archive) -> Doubt:
    """Of what is to be retrieved: the archive has something of the one alone."""

    def doubt(given: BBox, meant: BBox) -> str:
        tiles = archive.tiles()
        has = [any(tile.bbox.intersects(box) for tile in tiles) for box in (given, meant)]
        return "" if has != [False, True] else f"The archive has nothing of {given}, but of {meant}"

    return doubt


# --- in words ----------------------------------------------------------------------------


def echo_area(bbox: BBox, chunk_size: Sequence[float]) -> str:
    """The area in words, so that swapped coordinates are noticed."""
    width = bbox.width * math.cos(math.radians((bbox.south + bbox.north) / 2))
    across = (
        f", across 180 degrees ({bbox.west:g} to 180 and -180 to {bbox.east:g})"
        if bbox.crosses_antimeridian
        else ""
    )
    what = f"{_described(bbox)}, " if isinstance(bbox, Area) else ""
    return (
        f"{what}west {bbox.west:.10g}, south {bbox.south:.10g}, east {bbox.east:.10g}, "
        f"north {bbox.north:.10g}{across}: {_km(width)} x {_km(bbox.height)} km, "
        f"{_tiles(bbox, chunk_size)}."
    )


def _tiles(bbox: BBox, chunk_size: Sequence[float]) -> str:
    """How many tiles, and the names of the first ones; of a polygon how many of its box."""
    names: list[str] = []
    number = 0
    for number, tile in enumerate(areas.iter_tiles(bbox, chunk_size), 1):
        if number <= TILES_NAMED:
            names.append(tile.name)
    listed = f"({', '.join(names)}{', ...' if number > TILES_NAMED else ''})"
    every = number
    if isinstance(bbox, Area):
        every = sum(1 for _ in iter_tiles_covering(bbox, chunk_size))
    if every > number:
        return f"{number} of the {every} tiles of its box {listed}"
    return f"{count(number, 'tile')} {listed}"


def _described(area: Area) -> str:
    """``field.gpkg: 2 polygons with 1 hole, 34 km2``; the ground is that of WGS84."""
    import shapely
    from pyproj import Geod

    parts = shapely.get_parts(area.polygon)
    holes = int(shapely.get_num_interior_rings(parts).sum())
    ground = abs(Geod(ellps="WGS84").geometry_area_perimeter(area.polygon)[0]) / 1e6
    number = f"{ground:,.0f}" if ground >= 9.95 else f"{ground:.2g}"
    with_holes = f" with {count(holes, 'hole')}" if holes else ""
    return f"{short_name(area)}: {count(len(parts), 'polygon')}{with_holes}, {number} km2"


def short_name(area: Area) -> str:
    """What an area is called: its file without the folder, or the beginning of its WKT."""
    order, name = areas.ordered(area.name)
    return area.name if "(" in name else f"{order}{Path(name).name}"


def stem(bbox: BBox) -> str:
    """What the names of files of an area begin with, or hold: its file's, or its edges."""
    if isinstance(bbox, Area) and "(" not in bbox.name:
        name = areas.ordered(bbox.name)[1].partition("|")[0]
        return re.sub(r"[^\w.-]+", "_", Path(name).stem)
    return str(bbox).replace(",", "_")


def _km(degrees: float) -> str:
    length = degrees * DEGREE / 1000
    return f"{length:.0f}" if length >= 9.95 else f"{length:.2g}"
