"""A map of what an archive holds: its tiles with their number of records, on land and sea."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grid import Tile
from images.figure import degree_axes, words_inches
from images.grids import Box, metres_per_degree
from shared.land import land

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from archive.contents import Contents

MAP_SIZE = (7.0, 5.0)  # inch, the most that the map itself takes
MAP_MARGIN = 0.3  # of the extent of the tiles, left free on every side
MAP_LEAST = 0.5  # degrees, the smallest width and height of a map
MAP_SHAPE = 3.0  # times its height, or width, that a map is wide, or high, at most
LAND_PIXELS = 1000  # the most along a side of the background
NUMBER_ROOM = 0.2  # inch, a tile at least this wide gets its number of records written in
LAND, SEA, COAST = "#e9e6dd", "#d3e0e8", "#51606b"
TILE_COLOURS = "OrRd"
DARKEST = 5  # records, at least, that a tile of the darkest colour has

_LEFT, _RIGHT, _BOTTOM, _TOP = 0.8, 1.0, 0.6, 0.6  # inch, around the map
_EDGE = 0.35  # inch, right of a map without a bar
_TEXT = 8.0  # points


def coverage_map(archive: Contents) -> Figure:
    """Draw the tiles of an archive, coloured by their number of records.

    Save it with `export.save_figure`.  Raises ValueError for an archive without records.
    """
    return drawn(archive.name, {tile: len(archive.chunks(tile)) for tile in archive.tiles()})


def drawn(archive: str, records: Mapping[Tile, int]) -> Figure:
    """The same of some tiles and their numbers of records."""
    from matplotlib.figure import Figure

    tiles, counts = list(records), list(records.values())
    if not tiles:
        raise ValueError(f"The archive {archive} holds no record, so there is no map of it.")
    lefts = unwrapped([tile.west for tile in tiles])
    box = _map_box(tiles, lefts)
    width, height = _map_size(box)
    inches = width / (box[1] - box[0])  # of a degree of longitude
    has_numbers = min(tile.size[0] for tile in tiles) * inches >= NUMBER_ROOM
    right = _EDGE if has_numbers else _RIGHT
    title = f"{Path(archive).name}: records by tile, {sum(counts)} in all"
    words = words_inches([(title, _TEXT + 2, "bold")])
    size = _LEFT + max(width + right, words + 0.1), height + _BOTTOM + _TOP
    figure = Figure(figsize=size, dpi=100)
    axes = figure.add_axes((_LEFT / size[0], _BOTTOM / size[1], width / size[0], height / size[1]))
    degree_axes(axes, width, height)
    axes.set_xlabel("Longitude", fontsize=_TEXT)
    axes.set_ylabel("Latitude", fontsize=_TEXT)
    _draw_land(axes, box)
    _draw_tiles(figure, tiles, lefts, counts, inches, has_numbers)
    axes.set_title(title, fontsize=_TEXT + 2, fontweight="bold", loc="left")
    return figure


def unwrapped(lons: Sequence[float]) -> list[float]:
    """The longitudes as neighbours: those west of the widest gap between them plus 360."""
    ordered = sorted(set(lons))
    gaps = np.diff([*ordered, ordered[0] + 360])
    start = ordered[(int(np.argmax(gaps)) + 1) % len(ordered)]
    return [lon if lon >= start else lon + 360 for lon in lons]


def _map_box(tiles: Sequence[Tile], lefts: Sequence[float]) -> Box:
    sizes = [tile.size[0] for tile in tiles]
    west, east = min(lefts), max(a + b for a, b in zip(lefts, sizes, strict=True))
    south, north = min(tile.south for tile in tiles), max(tile.north for tile in tiles)
    per_lon, per_lat = _per_degree((south + north) / 2)
    least = max((east - west) * per_lon, (north - south) * per_lat) / MAP_SHAPE
    west, east = _widened(west, east, least / per_lon, 360.0)
    south, north = _widened(south, north, least / per_lat, 180.0)
    if south < -90:
        south, north = -90.0, min(90.0, north - south - 90)
    if north > 90:
        south, north = max(-90.0, south + 90 - north), 90.0
    return west, east, south, north


def _widened(low: float, high: float, least: float, most: float) -> tuple[float, float]:
    wanted = max(MAP_LEAST, least, high - low) + 2 * MAP_MARGIN * max(high - low, least)
    half = min(most, wanted) / 2
    return (low + high) / 2 - half, (low + high) / 2 + half


def _map_size(box: Box) -> tuple[float, float]:
    west, east, south, north = box
    per_lon, per_lat = _per_degree((south + north) / 2)
    shape = (east - west) * per_lon / ((north - south) * per_lat)
    width = min(MAP_SIZE[0], MAP_SIZE[1] * shape)
    return width, width / shape


def _per_degree(middle: float) -> tuple[float, float]:
    """Metres of a degree at the middle latitude of a map, or at 75 degrees."""
    return metres_per_degree(min(75.0, abs(middle)))


def _draw_land(axes: Axes, box: Box) -> None:
    from matplotlib.colors import ListedColormap

    west, east, south, north = box
    step = max(north - south, east - west) / LAND_PIXELS
    rows, columns = (max(2, round(side / step)) for side in (north - south, east - west))
    lat = north - (np.arange(rows) + 0.5) * (north - south) / rows
    lon = west + (np.arange(columns) + 0.5) * (east - west) / columns
    mask = land(lat, lon)
    colours = ListedColormap([SEA, LAND])
    axes.imshow(
        mask, extent=box, aspect="auto", cmap=colours, vmin=0, vmax=1, interpolation="nearest"
    )
    if mask.any() and not mask.all():  # the coast is to be seen through the tiles
        axes.contour(lon, lat, mask, [0.5], colors=COAST, linewidths=0.35, zorder=3)


def _draw_tiles(
    figure: Figure, tiles: Sequence[Tile], lefts: Sequence[float], counts: Sequence[int],
    inches: float, has_numbers: bool,
) -> None:  # fmt: skip
    """``inches``: the length of a degree of longitude on the map.

    ``has_numbers``: each tile has room for its number, so that no bar has to say it.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import MaxNLocator

    (axes,) = figure.axes
    most = max(DARKEST, *counts)
    boxes = [
        Rectangle((left, tile.south), *tile.size) for tile, left in zip(tiles, lefts, strict=True)
    ]
    colours = PatchCollection(
        boxes, cmap=TILE_COLOURS, norm=Normalize(0, most), edgecolor="0.25",
        linewidth=min(0.4, 3 * tiles[0].size[0] * inches),
    )  # fmt: skip
    colours.set_array(np.array(counts))
    axes.add_collection(colours, autolim=False)
    if has_numbers:
        for tile, left, count in zip(tiles, lefts, counts, strict=True):
            axes.text(
                left + tile.size[0] / 2, (tile.south + tile.north) / 2, str(count),
                ha="center", va="center", fontsize=min(_TEXT, 30 * tile.size[0] * inches),
                color="white" if count > 0.6 * most else "black",
            )  # fmt: skip
        return
    place = axes.get_position()
    bar = figure.add_axes((place.x1 + 0.02, place.y0, 0.12 / figure.get_figwidth(), place.height))
    figure.colorbar(colours, cax=bar, ticks=MaxNLocator(6, integer=True))
    bar.set_ylabel("records", fontsize=_TEXT)
    bar.tick_params(labelsize=_TEXT)
