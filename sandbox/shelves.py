"""Items of the STAC API of what is not Sentinel-1: products of Sentinel-2, and elevation.

Their fields are those that the catalogue of Copernicus has (`sentinel-2-l2a` and
`cop-dem-glo-30-dged-cog`), as far as they mean something here.  An item of Sentinel-2 says how
much of it is cloud, by the pixels that jobs get of it; its footprint is where they are.  Assets
are named and described, but lead nowhere: those of Copernicus need an account of their own.
The numbers in such files would have the radiometric offset still in them; jobs take it off.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from sandbox import granules, optical, orbit, terrain
from sandbox.granules import Granule
from sandbox.terrain import File

Json = dict[str, Any]
Published = Callable[[orbit.Pass], dt.datetime]
Boxes = list[tuple[float, float, float, float]]

SENTINEL2 = "sentinel-2-l2a"
ELEVATION = "cop-dem-glo-30-dged-cog"
SYNTHETIC = "Synthetic: made up by a formula, not measured by {}."
EXTENSIONS = {
    SENTINEL2: ["eo/v2.0.0", "grid/v1.1.0", "projection/v2.0.0", "raster/v2.0.0", "sat/v1.1.0"],
    ELEVATION: ["projection/v2.0.0", "raster/v2.0.0"],
}
FINER = {10: (10, 20, 60), 20: (20, 60), 60: (60,)}  # at which sizes a band is kept
DEM_PUBLISHED = dt.datetime(2023, 1, 31, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Scene:
    """A product as an item."""

    granule: Granule

    @property
    def id(self) -> str:
        """Its name."""
        return self.granule.id

    @property
    def times(self) -> tuple[dt.datetime, dt.datetime]:
        """When it was begun and ended: the datatake's time, both."""
        return self.granule.time, self.granule.time

    @property
    def footprint(self) -> BaseGeometry:
        """Where it shows something; cut at 180 degrees."""
        return self.granule.footprint

    def about(self, published: Published) -> tuple[Json, Json]:
        """Its properties and assets."""
        granule = self.granule
        shares = {name: round(value, 6) for name, value in granule.shares.items()}
        created = iso(published(granule.view))
        properties = {
            "title": f"{self.id} (synthetic)",
            "description": SYNTHETIC.format("Sentinel-2"),
            "synthetic": True,
            "datetime": iso(granule.time),
            "start_datetime": iso(granule.time),
            "end_datetime": iso(granule.time),
            "created": created,
            "updated": created,
            "published": created,
            "constellation": "synthetic",
            "instruments": ["msi"],
            "gsd": 10,
            "processing:level": "L2",
            "processing:version": "05.12",
            "proj:code": f"EPSG:{granule.tile.epsg}",
            "statistics": shares,
            **granule.properties,
        }
        return properties, dict(self._assets())

    def _assets(self) -> Iterator[tuple[str, Json]]:
        tile, size = self.granule.tile, granules.SIZE
        west, south, east, north = tile.bounds
        for band, finest in optical.RESOLUTIONS.items():
            for gsd in FINER[finest]:
                name = f"{band}_{gsd}m"
                asset: Json = {
                    "href": f"s3://synthetic/Sentinel-2/MSI/L2A/{self.id}.SAFE/"
                    f"R{gsd}m/T{tile.name}_{name}.jp2",
                    "type": "image/jp2",
                    "roles": ["data"],
                    "gsd": gsd,
                    "nodata": 0,
                    "proj:code": f"EPSG:{tile.epsg}",
                    "proj:bbox": [west, south, east, north],
                    "proj:shape": [size // gsd, size // gsd],
                    "proj:transform": [gsd, 0, west, 0, -gsd, north],
                }
                if band == optical.CLASSES:
                    classes = [
                        {"name": n, "value": v, **({"nodata": True} if v == 0 else {})}
                        for v, n in enumerate(optical.CLASS_NAMES)
                    ]
                    asset |= {"title": f"Scene classification map (SCL) - {gsd}m",
                              "data_type": "uint8", "classification:classes": classes}  # fmt: skip
                else:
                    about = optical.BANDS[band]
                    known = {"name": band, "description": about.title,
                             "eo:common_name": about.common_name,
                             "eo:center_wavelength": about.wavelength}  # fmt: skip
                    asset |= {"title": f"{about.title} - {gsd}m", "data_type": "uint16",
                              "raster:scale": 0.0001, "raster:offset": -0.1,
                              "bands": [known]}  # fmt: skip
                    asset["roles"] = ["data", "reflectance"]
                yield name, asset


@dataclass(frozen=True)
class Degree:
    """A file of the elevation model as an item."""

    file: File

    @property
    def id(self) -> str:
        """Its name."""
        return self.file.id

    @property
    def times(self) -> tuple[dt.datetime, dt.datetime]:
        """Its date."""
        midnight = dt.datetime.combine(self.file.day, dt.time(), dt.UTC)
        return midnight, midnight

    @property
    def footprint(self) -> BaseGeometry:
        """The edges of its pixels."""
        west, south, east, north = self.file.bounds
        return shapely.box(max(west, -180.0), south, east, north)

    def about(self, _: Published) -> tuple[Json, Json]:
        """Its properties and assets."""
        width = terrain.width(self.file.lat + 0.5)
        columns, rows = round(terrain.SECONDS / width), terrain.SECONDS
        west, _south, _east, north = self.file.bounds
        created = iso(DEM_PUBLISHED)
        properties = {
            "title": f"{self.id} (synthetic)",
            "description": SYNTHETIC.format("anybody"),
            "synthetic": True,
            "datetime": iso(self.times[0]),
            "created": created,
            "updated": created,
            "platform": "synthetic-dem",
            "gsd": 30,
            "proj:code": "EPSG:4326",
            "proj:shape": [rows, columns],
            "proj:transform": [width / terrain.SECONDS, 0, west, 0, -1 / terrain.SECONDS, north],
        }
        data = {
            "href": f"s3://synthetic/auxdata/CopDEM_COG/{self.id}_DEM.tif",
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "title": "Height of the surface",
            "roles": ["data"],
            "data_type": "float32",
            "unit": "m",
        }
        return properties, {"data": data}


def scenes(
    day: dt.date, boxes: Boxes | None, ids: Iterable[str] | None, published: Published
) -> Iterator[Scene]:
    """The products of a day that may touch one of the boxes (or any), newest first."""
    among: list[granules.Tile] | None = None
    if ids is not None:
        names = {match[1] for each in ids if (match := re.search(r"_T(\w{5})_", each))}
        among = [tile for name in names if (tile := granules.named(name))]
    elif boxes is not None:
        among = list(dict.fromkeys(tile for box in boxes for tile in granules.tiles(box)))
    now = dt.datetime.now(dt.UTC)
    # What is seen of an overpass lies within its own half revolution, apart from all others.
    for view in reversed(granules.passes(day)):
        if published(view) <= now:
            where = granules.along(view) if among is None else among
            found = [Scene(granule) for granule in granules.of_pass(view, where)]
            yield from sorted(found, key=newest)


def degrees(day: dt.date, boxes: Boxes | None) -> Iterator[Degree]:
    """The files of a day that touch one of the boxes (or any)."""
    if boxes is None:
        files = list(terrain.of_day(day))
    else:
        near = dict.fromkeys(each for box in boxes for each in terrain.files(box))
        files = [each for each in near if each.day == day]
    yield from sorted(map(Degree, files), key=newest)


def newest(image: Any) -> tuple[float, str]:
    """What items are sorted by."""
    return -image.times[0].timestamp(), image.id


def iso(moment: dt.datetime) -> str:
    """A time as STAC writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
