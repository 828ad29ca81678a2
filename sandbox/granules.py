"""The products of the synthetic Sentinel-2: what an overpass shows of a tile of 110 km.

Two satellites make 143 revolutions in 10 days, half a cycle apart, and look down at 290 km
in the morning (descending, 10:30 local solar time), so that every place is seen each 5 days,
and twice where neighbouring swaths overlap.

Tiles are those of Sentinel-2: squares of 100 km of the military grid (MGRS) in each UTM
zone, enlarged to 109.8 km towards the east and the south, with their north-west corner on a
multiple of 60 m (from the false northing of 10,000 km in the south).  So neighbours overlap
by about 10 km, and those of neighbouring zones by more.  As of the real one there are only
tiles with land, and none is looked at while the sun is low.

Products are named as Copernicus names its own, but for the mission.  All products of a
*datatake* (a part of an overpass) bear its time.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from sandbox import land, optical, orbit

SIZE = 109_800  # m, edge of a tile
SQUARE = 100_000  # m, of the military grid
ALIGNMENT = 60  # m; corners are on multiples of it
BANDS_OF_LATITUDE = "CDEFGHJKLMNPQRSTUVWX"  # 8 degrees each, from 80 S; X has 12
COLUMN_LETTERS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")  # of zones 3, 1, 2 and so on
ROW_LETTERS = "ABCDEFGHJKLMNPQRSTUV"
DATATAKE = 14.0  # degrees of latitude that bear one time
BASELINE = "N0512"  # of the processing
PROCESSING = dt.timedelta(hours=2, minutes=33, seconds=14)  # from a datatake to its products
TILT = 23.44  # degrees of the Earth's axis
SUN_LEAST = 8.0  # degrees of elevation below which nothing is acquired
STEPS = 22  # into which the edge of a tile is cut: a chord is then within a metre
DIGITS = 7  # of a degree
SLAB = 2.0  # degrees of latitude of an overpass that are looked at together
WEATHER = 96  # such that on 2026-01-20 a third of 3..5 E, 51..51.5 N is under clouds
SAMPLE = 2000.0  # m between two samples of the clouds of a product
MISSION = orbit.Mission(
    revolutions=143,
    cycle=10,
    inclination=98.62,
    range=(-145.0, 145.0),
    limits=(-56.0, 82.0),
    node_longitude=3.2,
    node_hour=22.5,
    states=("DESCENDING",),
)

Array = NDArray[Any]
Box = tuple[float, float, float, float]
Published = Callable[[orbit.Pass], dt.datetime]


@dataclass(frozen=True)
class Tile:
    """A square of a UTM zone: its north-west corner, m."""

    epsg: int
    name: str  # 31UDS
    left: int
    top: int

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """West, south, east, north, m."""
        return self.left, self.top - SIZE, self.left + SIZE, self.top

    @functools.cached_property
    def outline(self) -> BaseGeometry:
        """Where it is: a polygon of longitude and latitude, which may run on beyond 180."""
        west, south, east, north = self.bounds
        share = np.arange(STEPS) / STEPS
        x = np.concatenate([west + SIZE * share, np.full(STEPS, east), east - SIZE * share,
                            np.full(STEPS, west)])  # fmt: skip
        y = np.concatenate([np.full(STEPS, south), south + SIZE * share, np.full(STEPS, north),
                            north - SIZE * share])  # fmt: skip
        lon, lat = to_degrees(self.epsg).transform(x, y)
        middle = 6 * (self.epsg % 100) - 183
        return shapely.polygons(np.stack([(lon - middle + 180) % 360 - 180 + middle, lat], axis=1))

    @functools.cached_property
    def has_land(self) -> bool:
        """Whether anything in it is land."""
        cells, _, _ = land.window(*self.outline.bounds)
        return bool(cells.any())


@functools.cache
def to_degrees(epsg: int) -> Transformer:
    """From a zone's metres to longitude and latitude."""
    return Transformer.from_crs(epsg, 4326, always_xy=True)


@functools.cache
def to_metres(epsg: int) -> Transformer:
    """From longitude and latitude to a zone's metres."""
    return Transformer.from_crs(4326, epsg, always_xy=True)


@functools.cache
def _row(zone: int, row: int) -> tuple[Tile, ...]:
    """The tiles of a row of squares of a zone; rows count from the equator, south is negative."""
    south = row < 0
    epsg = (32700 if south else 32600) + zone
    base = row * SQUARE + (10_000_000 if south else 0)  # northing of the squares' southern edge
    found = []
    for column in range(1, 9):
        x, y = column * SQUARE, base
        corners = np.array([x, x + SQUARE, x, x + SQUARE]), np.array([y, y, y + SQUARE, y + SQUARE])
        lon, lat = to_degrees(epsg).transform(*corners)
        east = (lon - (6 * zone - 183) + 180) % 360 - 180
        if east.max() <= -3 or east.min() >= 3:
            continue
        letters = COLUMN_LETTERS[zone % 3][column - 1]
        letters += ROW_LETTERS[(base // SQUARE + (5 if zone % 2 == 0 else 0)) % 20]
        band = BANDS_OF_LATITUDE[min(max(int((float(lat.mean()) + 80) // 8), 0), 19)]
        origin = 10_000_000 if south else 0
        top = origin - (origin - y - SQUARE) // ALIGNMENT * ALIGNMENT
        left = x // ALIGNMENT * ALIGNMENT
        found.append(Tile(epsg, f"{zone:02}{band}{letters}", left, top))
    return tuple(found)


def tiles(box: Box) -> list[Tile]:
    """The tiles with land that may touch a box (west < east, degrees; also beyond 180)."""
    west, south, east, north = box
    rows = range(
        math.floor(max(south, MISSION.limits[0]) * 110.5e3 / SQUARE) - 2,
        math.floor(min(north, MISSION.limits[1]) * 111.8e3 / SQUARE) + 3,
    )
    found = []
    for number in range(math.floor((west + 180) / 6) - 2, math.floor((east + 180) / 6) + 3):
        zone, turn = number % 60 + 1, 360.0 * (number // 60)
        for row in rows:
            for tile in _row(zone, row):
                w, s, e, n = tile.outline.bounds
                near = w + turn <= east and e + turn >= west and s <= north and n >= south
                if near and tile.has_land:
                    found.append(tile)
    return list(dict.fromkeys(found))


def along(view: orbit.Pass) -> list[Tile]:
    """The tiles that an overpass may show."""
    found: dict[Tile, None] = {}
    least, most = MISSION.limits
    for south in np.arange(least, most, SLAB):
        ring = view.outline(float(south), float(south + SLAB))[:, 0]
        west = (ring.min() + 180) % 360 - 180
        box = (float(west), float(south), float(west + np.ptp(ring)), float(south + SLAB))
        found |= dict.fromkeys(tiles(box))
    return list(found)


def named(name: str) -> Tile | None:
    """The tile of a name, as 31UDS."""
    if len(name) != 5 or not name[:2].isdigit() or name[2] not in BANDS_OF_LATITUDE:
        return None
    south = 8 * BANDS_OF_LATITUDE.index(name[2]) - 80
    middle = 6 * int(name[:2]) - 183
    around = tiles((middle - 4, south - 1, middle + 4, south + 13))
    return next((tile for tile in around if tile.name == name), None)


@dataclass(frozen=True)
class Granule:
    """What an overpass shows of a tile."""

    view: orbit.Pass
    tile: Tile

    @functools.cached_property
    def time(self) -> dt.datetime:
        """When its datatake began."""
        middle = (self.tile.outline.bounds[1] + self.tile.outline.bounds[3]) / 2
        north = MISSION.limits[1]
        return self.view.time_at(north - DATATAKE * math.floor((north - middle) / DATATAKE))

    @functools.cached_property
    def id(self) -> str:
        """As Copernicus names its products, but for the mission."""
        begin, made = (f"{t:%Y%m%dT%H%M%S}" for t in (self.time, self.time + PROCESSING))
        orbit_number = f"R{self.view.relative_orbit:03}"
        mission = f"SYN2{self.view.platform}_MSIL2A"
        return f"{mission}_{begin}_{BASELINE}_{orbit_number}_T{self.tile.name}_{made}"

    @functools.cached_property
    def number(self) -> int:
        """A number that goes with its name."""
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:6], "big")

    @functools.cached_property
    def properties(self) -> dict[str, Any]:
        """What it can be filtered on, by STAC."""
        return {
            "eo:cloud_cover": self.cloud_cover,
            "sat:relative_orbit": self.view.relative_orbit,
            "sat:orbit_state": self.view.orbit.lower(),
            "grid:code": f"MGRS-{self.tile.name}",
            "platform": f"synthetic-2{self.view.platform.lower()}",
            "product:type": "S2MSI2A",
        }

    @functools.cached_property
    def seen(self) -> BaseGeometry:
        """Where it shows something; longitudes run on beyond 180."""
        outline = self.tile.outline
        swath = _swath(self.view)
        turn = round((outline.centroid.x - swath.centroid.x) / 360.0) * 360.0
        parts = [
            shapely.intersection(outline, shapely.affinity.translate(swath, turn + shift))
            for shift in (-360.0, 0.0, 360.0)
        ]
        return shapely.union_all(parts)

    @functools.cached_property
    def footprint(self) -> BaseGeometry:
        """The same, cut at 180 degrees."""
        return cut(self.seen)

    @functools.cached_property
    def shares(self) -> dict[str, float]:
        """Percent of it: ``nodata``, and of what it shows each kind of cloud.

        From samples of the pixels' own clouds each `SAMPLE` metres.
        """
        west, _, _, north = self.tile.bounds
        count = round(SIZE / SAMPLE)
        step = (np.arange(count) + 0.5) * (SIZE / count)
        lon, lat = to_degrees(self.tile.epsg).transform(*np.meshgrid(west + step, north - step))
        across = self.view.across(lon, lat)
        inside = (across >= 0) & (across < 1)
        classes = optical.clouds(lon[inside], lat[inside], key(self.view))
        total = max(classes.size, 1)
        named = {
            "thin_cirrus": optical.CIRRUS,
            "medium_proba_clouds": optical.MEDIUM,
            "high_proba_clouds": optical.HIGH,
        }
        found = {n: 100.0 * float((classes == c).sum()) / total for n, c in named.items()}
        return {"nodata": 100.0 * float(1 - inside.mean()), **found}

    @functools.cached_property
    def cloud_cover(self) -> float:
        """Percent of what it shows that is cloud, thin or thick."""
        return round(sum(v for k, v in self.shares.items() if k != "nodata"), 2)


def key(view: orbit.Pass) -> int:
    """A number of an overpass that no other one has."""
    day = (view.time.date() - orbit.FIRST_DAY).days
    number = 2 * (day * MISSION.revolutions + view.relative_orbit) + (view.platform == "B")
    return number + WEATHER


def cut(shape: BaseGeometry) -> BaseGeometry:
    """A shape around or beyond 180 degrees as one between -180 and 180."""
    shape = shapely.transform(shape, lambda points: points.round(DIGITS))
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return shape
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        near = shapely.intersection(shape, shapely.box(turn - 180, -90, turn + 180, 90))
        near = shapely.transform(near, lambda points, turn=turn: points - [turn, 0])
        parts += [part for part in shapely.get_parts(near) if part.area > 0]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


@functools.lru_cache(maxsize=256)
def _swath(view: orbit.Pass) -> BaseGeometry:
    return shapely.polygons(view.outline(*MISSION.limits))


def _sun_is_up(view: orbit.Pass, lat: float) -> bool:
    """Whether the sun is high enough at the local time of the overpass."""
    _, _, height = sun(view.time, MISSION.node_hour - 12, lat)
    return height >= math.sin(math.radians(SUN_LEAST))


def sun(time: dt.datetime, hour: float, lat: float) -> tuple[float, float, float]:
    """Where the sun stands at an hour of solar time: towards east, north and up, a unit vector."""
    of_year = time.timetuple().tm_yday
    a, b = math.radians(lat), math.radians(-TILT * math.cos(2 * math.pi * (of_year + 10) / 365.25))
    turn = math.radians(15 * (hour - 12))  # from noon
    return (
        -math.cos(b) * math.sin(turn),
        math.cos(a) * math.sin(b) - math.sin(a) * math.cos(b) * math.cos(turn),
        math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(turn),
    )


def of_pass(view: orbit.Pass, among: list[Tile]) -> Iterator[Granule]:
    """The products of an overpass, of these tiles."""
    swath = _swath(view)
    west, _, east, _ = swath.bounds
    for tile in among:
        w, s, e, n = tile.outline.bounds
        shift = 360.0 * math.ceil((west - e) / 360.0)
        if w + shift > east or not _sun_is_up(view, (s + n) / 2):
            continue
        granule = _granule(view, tile)
        if granule.seen.area > 0:
            yield granule


@functools.lru_cache(maxsize=20_000)
def _granule(view: orbit.Pass, tile: Tile) -> Granule:
    """The same object each time, so that what was found out of it is kept."""
    return Granule(view, tile)


def passes(day: dt.date) -> list[orbit.Pass]:
    """The overpasses of a day."""
    return orbit.passes(day, MISSION)
