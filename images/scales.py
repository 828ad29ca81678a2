"""How the values of a band are shown: backscatter in dB, reflectance and classes as they are.

Files and arithmetic have the values themselves; only pictures and words are scaled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from images.grids import Pixels, to_db
from shared.collection import DECIBELS, REFLECTANCE, Product, product_of

RATIO = "VV/VH"
NARROWEST_DB = 1.0  # dB
NARROWEST_REFLECTANCE = 0.01
NARROWEST = 1e-3  # of the values, of anything else
# Those of Okabe and Ito (2008), and twelve more as far from all others as there are: at least 13.9
# apart in CAM02-UCS, also as somebody without red or green cones sees them (Machado et al. 2009).
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000",
    "#b6ffe7", "#3d3d25", "#3d0d55", "#863d6e", "#6ecf9e", "#86e7ff", "#0d25b6", "#0d2525",
    "#6e86ff", "#9e3d0d", "#55ff9e", "#3d6e55",
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """How a product is shown."""

    product: Product
    stretch: tuple[float, float] | None = None  # black and white, if they were asked for

    @property
    def is_decibel(self) -> bool:
        """Whether power is shown in dB."""
        return self.product.shown == DECIBELS

    def shown(self, values: Pixels) -> Pixels:
        """What is drawn of values: -inf for a power of 0, NaN for gaps."""
        return to_db(values) if self.is_decibel else values

    def is_class(self, band: str) -> bool:
        """Whether a band holds classes, each with a colour of its own."""
        known = self.product.band(band)
        return known.is_class and not known.is_angle

    def has_mean(self, band: str) -> bool:
        """Whether values of a band may be averaged: not classes, nor angles of products."""
        return not self.product.band(band).is_class

    def composite(self, bands: Sequence[str]) -> tuple[str, ...]:
        """What red, green and blue stand for in the picture in colour of these bands; or none."""
        if self.is_decibel:
            return ("VV", "VH", RATIO) if {"VV", "VH"} <= set(bands) else ()
        wanted = self.product.composite
        return wanted if wanted and set(wanted) <= set(bands) else ()

    def panels(self, bands: Sequence[str]) -> tuple[str, ...]:
        """The bands that are drawn by themselves: none, if their picture in colour says it all."""
        return () if self.composite(bands) and not self.is_decibel else tuple(bands)

    def channels(self, values: Mapping[str, Pixels]) -> dict[str, Pixels]:
        """Red, green and blue of a picture in colour, by their names, as they are shown."""
        names = self.composite(tuple(values))
        found = {name: self.shown(values[name]) for name in names if name != RATIO}
        if RATIO in names:
            with np.errstate(invalid="ignore"):
                found[RATIO] = found["VV"] - found["VH"]
        return found

    def in_colour(
        self, values: Mapping[str, Pixels], ranges: Mapping[str, tuple[float, float]]
    ) -> NDArray[np.uint8]:
        """The picture in colour, each channel over its range: uint8[..., 4], gaps transparent."""
        channels = self.channels(values)
        # Of bytes: of floats a picture of it would be made in several passes.
        rgba = np.empty((*next(iter(channels.values())).shape, 4), np.uint8)
        known = [np.isfinite(values[name]) for name in channels if name in values]
        rgba[..., 3] = 255 * np.logical_and.reduce(known)
        for i, (name, channel) in enumerate(channels.items()):
            rgba[..., i] = shares(channel, ranges[name], 255)
        return rgba

    @property
    def colours(self) -> str:
        """The map of colours of a single band."""
        return "gray" if self.product.shown in (DECIBELS, REFLECTANCE) else "viridis"

    def narrowest(self, middle: float) -> float:
        """The least range that is drawn around a value."""
        if self.is_decibel:
            return NARROWEST_DB
        if self.product.shown == REFLECTANCE:
            return NARROWEST_REFLECTANCE
        return max(NARROWEST * abs(middle), 1e-9)

    def unit(self, band: str) -> str:
        """The unit that a band is shown in; "" for none."""
        units = self.product.band(band).units
        return "dB" if self.is_decibel else "" if units == "1" else units

    def label(self, band: str) -> str:
        """What stands at the bar of a band."""
        if self.is_decibel:
            return f"{band} σ⁰ (dB)"  # no formula, whose parser takes longer than the drawing
        known = self.product.band(band)
        words = known.long_name.replace(",", " ").split()
        name = known.long_name if band in words else f"{band} {known.long_name}"
        name = band if known.long_name == band else name
        return f"{name} ({unit})" if (unit := self.unit(band)) else name

    def quantity(self, bands: Sequence[str]) -> str:
        """What stands at the axis of several bands."""
        if self.is_decibel or len(bands) == 1:
            return self.label(bands[0]).removeprefix(f"{bands[0]} " * self.is_decibel)
        units = {self.unit(band) for band in bands}
        return units.pop() if len(units) == 1 else ""

    def number(self, value: float) -> str:
        """A value as it is shown."""
        return f"{value:.1f}" if self.is_decibel else f"{value:.3g}"

    @property
    def title(self) -> str:
        """What the pictures show."""
        return self.product.title


def shares(shown: Pixels, limits: tuple[float, float], most: int) -> Pixels:
    """Where values lie between two limits, in whole steps from 0, where gaps are, to ``most``."""
    low, high = limits
    share = np.clip((np.nan_to_num(shown, nan=low) - low) / (high - low), 0, 1)
    return np.asarray(np.rint(most * share), np.float32)


def scale_of(attributes: Mapping[Any, Any]) -> Scale:
    """How a grid with such attributes is shown; its ``stretch`` is black and white, if any."""
    asked = attributes.get("stretch")
    stretch = None if asked is None else (float(asked[0]), float(asked[1]))
    return Scale(product_of(attributes), stretch)
