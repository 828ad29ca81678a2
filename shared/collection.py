"""What a collection of the back end is: its bands, and what the archive keeps of them.

A `Product` is what cells hold; an archive carries the one that it was made with, and whoever
reads it obeys that.  A `Collection` is the way to it: what is ordered, by which catalogue, at
what cost.  The two that are known by heart are `KNOWN`; what is said of any other one is
taken from the back end (`jobs.collections`).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from grid import FIRST_DAY

POSITIVE, FINITE = "positive", "finite"  # which pixels count
DECIBELS, REFLECTANCE, PLAIN = "decibels", "reflectance", "plain"  # how a picture shows them
ATTRIBUTE = "product"  # of cells and grids that are not Sentinel-1's: their product as JSON
BACKSCATTER = "sar_backscatter"  # the process that makes it of radar images
FILL = (-32768.0,)  # of Sentinel-2's whole numbers
DEGREE = "degree"  # unit of angles, by UDUNITS
MEAN, FIRST = "mean", "first"  # what an order makes of the steps of a day


@dataclass(frozen=True)
class Band:
    """A band as the archive keeps it: ``file value * scale + offset``, in its units."""

    name: str
    long_name: str
    units: str = "1"  # by UDUNITS; "": unknown
    standard_name: str = ""  # by CF
    scale: float = 1.0
    offset: float = 0.0
    nodata: tuple[float, ...] = ()  # values of files that are none, whatever the files say
    is_class: bool = False  # a cell has the value that most of its pixels have, never a mean

    @property
    def is_angle(self) -> bool:
        """Whether it is an angle of whole products: such a class is shown as a number."""
        return self.is_class and self.units == DEGREE


@dataclass(frozen=True)
class Product:
    """What the cells of an archive hold."""

    name: str  # of the collection, the back end's
    title: str
    bands: tuple[Band, ...]  # all that there are; of others nothing is known
    counts: str = FINITE  # or POSITIVE: a pixel is seen where a band is above 0
    shown: str = PLAIN
    composite: tuple[str, ...] = ()  # three bands that make a picture in true colour

    @property
    def is_power(self) -> bool:
        """Whether values are power: 0 is a measurement where another band is above it."""
        return self.counts == POSITIVE

    def band(self, name: str) -> Band:
        """What is known of a band."""
        known = (band for band in self.bands if band.name == name)
        return next(known, Band(name, name, ""))

    def attributes(self, name: str) -> dict[str, str]:
        """What a band is, by CF; what is not known is left out."""
        band = self.band(name)
        said = {
            "units": band.units, "long_name": band.long_name, "standard_name": band.standard_name
        }  # fmt: skip
        return {key: value for key, value in said.items() if value}

    def classes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of these bands that hold classes, or angles of products."""
        return tuple(name for name in names if self.band(name).is_class)

    def seen_by(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of these bands that say whether a place was seen.

        Angles are there where a product shows nothing, too; they say so only by themselves.
        """
        return tuple(name for name in names if not self.band(name).is_angle) or tuple(names)

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Product:
        """The product of `to_json`; KeyError or TypeError for anything else."""
        bands = [Band(**{**band, "nodata": tuple(band["nodata"])}) for band in found["bands"]]
        return cls(**{**found, "composite": tuple(found["composite"]), "bands": tuple(bands)})


@dataclass(frozen=True)
class Collection:
    """How a product is had from a back end."""

    product: Product
    process: str = ""  # between loading and the mean of a day
    reducer: str = MEAN  # of the steps of a day
    has_clouds: bool = False  # whether images say how cloudy they are
    by_orbit: bool = False  # whether passes of each direction become records of their own
    constellation: str = ""  # of its satellites, by STAC; "": none is known
    images: str = ""  # the collection of the catalogue; "": none is known
    pixel: float = 10.0  # m
    bytes: float = 4.0  # of a pixel and band in a file
    seconds: float = 600.0  # of one job for a tile, from start to finish
    first: dt.date | None = None  # day of which there is anything; None: nobody says
    last: dt.date | None = None

    def has(self, day: dt.date) -> bool:
        """Whether there may be something of a day."""
        return (self.first or day) <= day <= (self.last or day)

    @property
    def name(self) -> str:
        """The back end's name."""
        return self.product.name

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of its bands; none where they are not known."""
        return tuple(band.name for band in self.product.bands)


def _backscatter(band: str) -> Band:
    return Band(
        band, f"sigma0 backscatter in {band}, linear power",
        standard_name="surface_backwards_scattering_coefficient_of_radar_wave",
    )  # fmt: skip


def _reflectance(band: str) -> Band:
    # The radiometric offset has been taken off by the back end.
    return Band(
        band, f"surface reflectance in {band}", standard_name="surface_bidirectional_reflectance",
        scale=1e-4, nodata=FILL,
    )  # fmt: skip


def _angle(band: str, what: str, standard_name: str) -> Band:
    # One number for all of a product, without a scale.
    return Band(band, what, DEGREE, standard_name, nodata=FILL, is_class=True)


SENTINEL1 = Collection(
    Product(
        "SENTINEL1_GRD", "Sentinel-1 backscatter",
        tuple(_backscatter(band) for band in ("VV", "VH", "HH", "HV")),
        counts=POSITIVE, shown=DECIBELS,
    ),
    process=BACKSCATTER, by_orbit=True, constellation="sentinel-1", images="sentinel-1-grd",
    first=FIRST_DAY,
)  # fmt: skip
SENTINEL2 = Collection(
    Product(
        "SENTINEL2_L2A", "Sentinel-2 surface reflectance",
        (
            *map(_reflectance, [f"B{i:02}" for i in (1, 2, 3, 4, 5, 6, 7, 8)]),
            *map(_reflectance, ("B8A", "B09", "B11", "B12")),
            Band(
                "AOT", "aerosol optical thickness at 550 nm",
                standard_name="atmosphere_optical_thickness_due_to_ambient_aerosol_particles",
                scale=1e-3, nodata=FILL,
            ),
            Band("WVP", "water vapour in the column of air", "cm", scale=1e-3, nodata=FILL),
            Band("CLD", "probability of clouds", "percent", nodata=FILL),
            Band("SNW", "probability of snow", "percent", nodata=FILL),
            Band("SCL", "scene classification", nodata=(0.0,), is_class=True),
            _angle("sunAzimuthAngles", "mean azimuth of the sun", "solar_azimuth_angle"),
            _angle("sunZenithAngles", "mean zenith angle of the sun", "solar_zenith_angle"),
            _angle("viewAzimuthMean", "mean azimuth of the satellite", "sensor_azimuth_angle"),
            _angle("viewZenithMean", "mean zenith angle of the satellite", "sensor_zenith_angle"),
        ),
        shown=REFLECTANCE, composite=("B04", "B03", "B02"),
    ),
    reducer=FIRST, has_clouds=True, constellation="sentinel-2", images="sentinel-2-l2a",
    bytes=1.5, seconds=300.0, first=dt.date(2015, 7, 4),
)  # fmt: skip
KNOWN = {collection.name: collection for collection in (SENTINEL1, SENTINEL2)}


def of_name(name: str) -> Collection:
    """What is known of a collection by its name alone."""
    return KNOWN.get(name) or Collection(Product(name, name, ()))


def with_bands(product: Product, names: Sequence[str]) -> Product:
    """The product with a description of just these bands."""
    return replace(product, bands=tuple(map(product.band, names)))


def attributes_of(product: Product) -> dict[str, str]:
    """What cells say of what they hold; nothing, if it is Sentinel-1's backscatter."""
    is_usual = replace(product, bands=()) == replace(SENTINEL1.product, bands=())
    return {} if is_usual else {ATTRIBUTE: json.dumps(product.to_json())}


def product_of(attributes: Mapping[str, Any]) -> Product:
    """The product of cells with such attributes."""
    said = attributes.get(ATTRIBUTE)
    return SENTINEL1.product if said is None else Product.from_json(json.loads(said))


def as_known(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names as they are known, if that is but a matter of capitals; others as they are."""
    by_small = {name.casefold(): name for name in known}
    return tuple(name if name in known else by_small.get(name.casefold(), name) for name in names)
