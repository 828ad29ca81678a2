"""When and where a synthetic mission looks: its passes over a day and their swaths.

For Sentinel-1 (`RADAR`) two satellites make 175 revolutions in 12 days at an inclination
of 98.18 degrees, crossing the equator northwards at 18:00 local solar time, half a cycle
(6 days) apart, so that the pattern of passes repeats every 6 days.  Each looks to its
right, at a swath of 250 km.

Seen from its node, every ascending (and every descending) half revolution draws the same
curve over the turning Earth.  So the near and the far edge of a swath are two tables,
longitude east of the node by latitude, made once on a sphere; a pass is such a table and
the longitude of its node, and a point lies ``(lon - near) / (far - near)`` across it.

Times are whole numbers of 1/175 day and the tables depend on constants only, so every
run sees the same.  The node's longitude is chosen such that on 2026-01-20 a single
descending pass covers 3..5 E, 51..51.5 N and an ascending one 7..8 E, 50..50.5 N, while
the tile in between is covered in part.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

REVOLUTIONS = 175  # per cycle
CYCLE = 12  # days; time is counted in units of 1/175 day, so a revolution takes 12 units
REPEAT = 6  # days between the two satellites on one track
INCLINATION = 98.18  # degrees
NEAR_RANGE, FAR_RANGE = 324.0, 574.0  # ground distance of the swath's edges from the track, km
EARTH_RADIUS = 6371.0  # km
SOUTH_LIMIT, NORTH_LIMIT = -76.0, 78.0  # degrees; nothing is imaged beyond
NODE_LONGITUDE = 5.3  # degrees, of revolution 0: places all tracks
NODE_HOUR = 18  # local solar time of the ascending node
FOOTPRINT_MARGIN = 0.08  # share of the swath by which the back end's own footprints are larger
SLICE = 2.0  # degrees of latitude: an image of the catalogue is so much of a pass
PUBLISHED_AFTER = dt.timedelta(hours=3)  # from the pass until its images can be found and loaded

STATES = ("ASCENDING", "DESCENDING")
FIRST_DAY = dt.date(2014, 10, 3)  # day 0 of the cycle, and the first in the catalogue

STEP = 0.05  # degrees of latitude between two entries of the tables


@dataclass(frozen=True)
class Mission:
    """Two satellites on one orbit, half a cycle apart, and the swath of their instrument."""

    revolutions: int  # per cycle
    cycle: int  # days
    inclination: float  # degrees
    range: tuple[float, float]  # ground distance of the swath's edges right of the track, km
    limits: tuple[float, float]  # degrees of latitude; nothing is imaged beyond
    node_longitude: float  # degrees, of revolution 0: places all tracks
    node_hour: float  # local solar time of the ascending node
    states: tuple[str, ...]  # on which halves of a revolution it looks

    @property
    def turn(self) -> float:
        """Degrees that the Earth turns below the orbit in a revolution."""
        return 360.0 * self.cycle / self.revolutions


RADAR = Mission(
    REVOLUTIONS,
    CYCLE,
    INCLINATION,
    (NEAR_RANGE, FAR_RANGE),
    (SOUTH_LIMIT, NORTH_LIMIT),
    NODE_LONGITUDE,
    NODE_HOUR,
    STATES,
)


@dataclass(frozen=True)
class Pass:
    """One half revolution: ascending or descending, with the node that places its swath."""

    orbit: str  # "ASCENDING" or "DESCENDING"
    relative_orbit: int  # 1..175
    node: float  # longitude of the ascending node, degrees in [0, 360)
    time: dt.datetime  # of crossing the equator, UTC
    platform: str  # "A" or "B"
    south: float = SOUTH_LIMIT  # degrees; of a part of it that is left out, nothing is seen
    north: float = NORTH_LIMIT
    mission: Mission = RADAR

    def across(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far across the swath points lie: 0 at the near edge, 1 at the far edge.

        Longitudes and latitudes in degrees, any shape; inside is [0, 1).  NaN beyond
        the latitudes that are imaged.
        """
        near, far = _edges(self.orbit, self.mission)
        place = (lat - self.mission.limits[0]) / STEP
        row = np.clip(place.astype(np.int64), 0, near.size - 2)
        share = place - row
        west = near[row] * (1 - share) + near[row + 1] * share
        width = far[row] * (1 - share) + far[row + 1] * share - west
        east_of = (lon - self.node - west + 180.0) % 360.0 - 180.0
        # Descending passes look westwards, so their width is negative.
        inside = (lat >= self.south) & (lat < self.north)
        return np.where(inside, east_of / width, np.nan)

    def outline(self, south: float, north: float) -> NDArray[np.float64]:
        """The image between two latitudes: (longitude, latitude) around it, counterclockwise.

        This is exactly where `across` is in [0, 1), since its tables are linear between the
        vertices.  The latitudes are multiples of `STEP`; longitudes run on beyond 180.
        """
        near, far = _edges(self.orbit, self.mission)
        least = self.mission.limits[0]
        rows = slice(round((south - least) / STEP), round((north - least) / STEP) + 1)
        lat = least + STEP * np.arange(rows.start, rows.stop)
        east, west = (far, near) if self.orbit == "ASCENDING" else (near, far)
        lon = np.concatenate([east[rows], west[rows][::-1]]) + self.node
        return np.stack([lon, np.concatenate([lat, lat[::-1]])], axis=1)

    def time_at(self, lat: float) -> dt.datetime:
        """When the satellite crosses a latitude, kept within the day that the pass belongs to."""
        highest = np.sin(np.deg2rad(self.mission.inclination))
        turn = np.arcsin(np.clip(np.sin(np.deg2rad(lat)) / highest, -1, 1)) / (2 * np.pi)
        seconds = float(turn) * 86400 * self.mission.cycle / self.mission.revolutions
        sign = 1 if self.orbit == "ASCENDING" else -1
        midnight = self.time.replace(hour=0, minute=0, second=0)
        latest = midnight + dt.timedelta(days=1, seconds=-1)
        return min(max(self.time + dt.timedelta(seconds=round(sign * seconds)), midnight), latest)


def published(view: Pass) -> dt.datetime:
    """When the images of a pass appear in the catalogue, and for the jobs."""
    return view.time + PUBLISHED_AFTER


def passes(day: dt.date, mission: Mission = RADAR) -> list[Pass]:
    """The passes whose equator crossing lies in a UTC day, in the order of time."""
    found = []
    revolutions, cycle = mission.revolutions, mission.cycle
    start = revolutions * (day - FIRST_DAY).days  # in units of 1/revolutions day
    first_node = round(revolutions * ((mission.node_hour - mission.node_longitude / 15) / 24 % 1))
    for platform, satellite in (("A", 0), ("B", revolutions * cycle // 2)):
        for orbit, half in (("ASCENDING", 0), ("DESCENDING", cycle // 2)):
            if orbit not in mission.states:
                continue
            begin = start - first_node - satellite - half
            for n in range(-(-begin // cycle), -(-(begin + revolutions) // cycle)):
                units = n * cycle - begin
                midnight = dt.datetime.combine(day, dt.time(), dt.UTC)
                found.append(
                    Pass(
                        orbit,
                        n % revolutions + 1,
                        (mission.node_longitude - mission.turn * (n % revolutions)) % 360.0,
                        midnight + dt.timedelta(seconds=round(units * 86400 / revolutions)),
                        platform,
                        *mission.limits,
                        mission,
                    )
                )
    return sorted(found, key=lambda p: (p.time, p.platform, p.orbit))


@cache
def _edges(orbit: str, mission: Mission) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude east of the node of the near and the far edge, by latitude."""
    latitudes = np.arange(mission.limits[0], mission.limits[1] + STEP / 2, STEP)
    middle = 0.0 if orbit == "ASCENDING" else 180.0
    u = np.deg2rad(np.linspace(middle - 90.0, middle + 90.0, 36001))
    track = _position(u, mission)
    heading = _position(u + 1e-6, mission) - _position(u - 1e-6, mission)
    heading /= np.linalg.norm(heading, axis=0)
    right = np.cross(heading, track, axis=0)
    edges = []
    for distance in mission.range:
        angle = distance / EARTH_RADIUS
        x, y, z = track * np.cos(angle) + right * np.sin(angle)
        lat, lon = np.degrees(np.arcsin(z)), np.degrees(np.unwrap(np.arctan2(y, x)))
        # Near its turning points the edge runs back; between them it climbs or falls.
        low, high = sorted((int(np.argmin(lat)), int(np.argmax(lat))))
        lat, lon = lat[low : high + 1], lon[low : high + 1]
        order = slice(None) if lat[0] < lat[-1] else slice(None, None, -1)
        edges.append(np.interp(latitudes, lat[order], lon[order]))
    near, far = edges
    far += 360.0 * np.round((near[near.size // 2] - far[far.size // 2]) / 360.0)
    return near, far


def _position(u: NDArray[np.float64], mission: Mission) -> NDArray[np.float64]:
    """The point below the satellite on the turning Earth, as a unit vector, node at 0 E."""
    i = np.deg2rad(mission.inclination)
    lat = np.arcsin(np.sin(i) * np.sin(u))
    lon = np.arctan2(np.cos(i) * np.sin(u), np.cos(u)) - np.deg2rad(mission.turn) * u / (2 * np.pi)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
