"""The synthetic Sentinel-2 L2A: surface reflectance as a function of place, day and overpass.

The land is that of `ground`, so a field that the radar sees is the same field here.  A pixel
of land is a mixture of soil and leaves by the season of its crop; water, towns, woods and
snow have spectra of their own, about as in the libraries that Sen2Cor's scene classification
was made with (S2-PDGS-MPC-ATBD-L2A, 2.3).  Over it are clouds, their shadows towards the
north-west (south-west in the south), and cirrus.  The same clouds stand over every product
of an overpass.

Values are whole numbers, reflectance x 10,000 with the radiometric offset taken off, so that
dark water may be negative; `FILL` is no data.  Each product has its own remainder of haze,
as the atmospheric correction leaves it, by which products that overlap differ.

Pixels of a band are those of its own resolution, `RESOLUTIONS`, with the value at their centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sandbox import land
from sandbox.ground import (
    ACROSS,
    BUILT,
    CELL,
    COAST,
    COAST_SHARES,
    FOREST,
    GAIN,
    LAND,
    LAT,
    LON,
    PARCELS,
    PX,
    PY,
    RIVER_BED,
    TEXTURE,
    TOWN,
    TREES,
    WIND,
    Array,
    Block,
    Rows,
    cover_at,
    crop_at,
    fill_nodes,
    grown_at,
    lattice_rows,
    mix,
    nearest_block,
    noise_at,
    octaves_at,
    parcel_at,
    seasons,
    span,
    unit,
)
from sandbox.loops import compiled, inlined, kernel

RESOLUTIONS = {  # m, of each band, in the order of the spectra below
    "B01": 60, "B02": 10, "B03": 10, "B04": 10, "B05": 20, "B06": 20, "B07": 20, "B08": 10,
    "B8A": 20, "B09": 60, "B11": 20, "B12": 20, "SCL": 20,
}  # fmt: skip
CLASSES = "SCL"
DERIVED = {  # what is made of the classes: title, and how many there are of a unit
    "AOT": ("Aerosol optical thickness (AOT)", 1000),
    "WVP": ("Water vapour (WVP)", 1000),
    "CLD": ("Cloud probability (CLD)", 1),
    "SNW": ("Snow probability (SNW)", 1),
}
OFFERED = RESOLUTIONS | dict.fromkeys(DERIVED, RESOLUTIONS[CLASSES])  # m, of each band


@dataclass(frozen=True)
class Band:
    """What a band of reflectance is called, and where it is in the spectrum."""

    common_name: str  # of the STAC extension eo
    wavelength: float  # of its centre, micrometres
    title: str


BANDS = {
    "B01": Band("coastal", 0.443, "Coastal aerosol (band 1)"),
    "B02": Band("blue", 0.493, "Blue (band 2)"),
    "B03": Band("green", 0.560, "Green (band 3)"),
    "B04": Band("red", 0.665, "Red (band 4)"),
    "B05": Band("rededge071", 0.704, "Red edge 1 (band 5)"),
    "B06": Band("rededge075", 0.741, "Red edge 2 (band 6)"),
    "B07": Band("rededge078", 0.783, "Red edge 3 (band 7)"),
    "B08": Band("nir", 0.833, "NIR 1 (band 8)"),
    "B8A": Band("nir08", 0.865, "NIR 2 (band 8A)"),
    "B09": Band("nir09", 0.945, "NIR 3 (band 9)"),
    "B11": Band("swir16", 1.614, "SWIR 1 (band 11)"),
    "B12": Band("swir22", 2.202, "SWIR 2 (band 12)"),
}
FILL = -32768
# Classes of SCL.
NO_DATA, SATURATED, DARK, SHADOW, PLANTS, BARE, WATER, UNSURE, MEDIUM, HIGH, CIRRUS, SNOW = range(
    12
)
CLASS_NAMES = (
    "no_data",
    "saturated_or_defective",
    "dark_area_pixels",
    "cloud_shadows",
    "vegetation",
    "not_vegetated",
    "water",
    "unclassified",
    "cloud_medium_probability",
    "cloud_high_probability",
    "thin_cirrus",
    "snow",
)

# Percent, by class.
CLOUD_PROBABILITY = np.array([0, 0, 2, 5, 0, 1, 0, 22, 61, 96, 37, 3], np.int16)
SNOW_PROBABILITY = np.array([0, 0, 0, 0, 0, 1, 0, 3, 2, 4, 1, 98], np.int16)

# Spectra, reflectance x 10,000, band by band as in RESOLUTIONS.
SPECTRA = np.array(
    [
        [330, 350, 300, 150, 110, 80, 75, 60, 55, 40, 10, 5],  # deep water
        [600, 720, 900, 800, 600, 260, 240, 180, 150, 90, 25, 15],  # water with sediment
        [450, 540, 720, 620, 480, 330, 310, 260, 240, 160, 90, 60],  # rivers
        [640, 830, 1120, 1480, 1720, 1880, 2020, 2180, 2280, 2350, 3000, 2450],  # dry soil
        [210, 260, 520, 270, 950, 3000, 3900, 4150, 4350, 4300, 2000, 900],  # leaves
        [170, 210, 360, 210, 650, 1950, 2450, 2600, 2750, 2600, 1250, 560],  # wood in leaf
        [230, 280, 380, 390, 680, 1150, 1350, 1450, 1550, 1550, 1500, 900],  # bare wood
        [900, 1080, 1230, 1390, 1530, 1680, 1790, 1920, 1990, 2020, 2150, 1900],  # towns
        [8600, 8800, 8700, 8600, 8400, 8200, 8100, 8000, 7700, 6900, 900, 800],  # snow
        [7000, 6900, 6800, 6800, 6850, 6900, 6950, 6950, 6950, 6200, 4800, 3900],  # cloud
        [140, 105, 70, 45, 35, 30, 25, 20, 18, 14, 6, 3],  # haze that is left over
    ],
    np.float32,
)
DEEP, MUDDY, RIVER_WATER, SOIL, LEAVES, LEAFY_WOOD, BARE_WOOD, TOWN_ROOFS, SNOWY, CLOUDY, HAZE = (
    range(11)
)
# Leaves of each crop in winter, and what its season adds.
LEAF = np.array([[0.50, 0.42], [0.28, 0.60], [0.06, 0.82], [0.06, 0.80], [0.40, 0.38]])

# Octaves of clouds: rows of the lattice (degrees), amplitude, seed.
CLOUD_OCTAVES = np.array(
    [
        [9.0, 0.70, 201],
        [2.7, 0.50, 202],
        [0.8, 0.36, 203],
        [0.27, 0.27, 204],
        [0.09, 0.18, 205],
        [0.03, 0.10, 206],
    ]
)
CIRRUS_OCTAVES = np.array([[6.0, 0.8, 211], [1.6, 0.45, 212], [0.4, 0.2, 213]])
SNOW_OCTAVES = np.array([[1.5, 0.45, 221], [0.3, 0.25, 222], [0.06, 0.18, 223]])
CLOUD_EDGE = 6.0e-3  # rows of the lattice of what is finer
CLOUD_ROUGHNESS = 0.07
CLOUD_LEVEL = 0.12  # of the field, from which on there is cloud
CIRRUS_LEVEL = 0.62
SURE = 0.09  # above the level: cloud of high probability
HAZY = 0.02  # below the level: neither cloud nor clear
SHADOW_SHIFT = (0.022, 0.016)  # degrees that shadows fall to the west, and from the sun
CLOUDS, SHADES, VEIL, WHITE = range(4)  # fields of the sky at the nodes


@compiled
def _fine(lon: float, lat: float, key: int, rows: Rows) -> float:
    """What the edges of clouds add to their field."""
    rough: float = CLOUD_ROUGHNESS * noise_at(lon, lat, CLOUD_EDGE, 5003 * key + 231, rows)
    return rough


@compiled
def _cloud_class(cloud: float, veil: float) -> int:
    """The class of SCL that the sky makes of a pixel, or 0: fields less their levels."""
    if cloud > SURE:
        return HIGH
    if cloud > 0.0:
        return MEDIUM
    if veil > 0.0:
        return CIRRUS
    if cloud > -HAZY:
        return UNSURE
    return 0


@compiled
def _shadow_place(lon: float, lat: float) -> tuple[float, float]:
    """Where the cloud is whose shadow falls on a point: towards the morning's sun."""
    east, north = SHADOW_SHIFT
    side = -1.0 if lat >= 0.0 else 1.0
    return lon + east / max(math.cos(math.radians(lat)), 0.1), lat + side * north


@kernel
def _fill_sky(sky: Array, nodes: Array, key: int, winter: float) -> None:
    """Clouds, the clouds whose shadows fall here, cirrus and snow, less their levels."""
    for i in range(sky.shape[1]):
        for j in range(sky.shape[2]):
            x, y = nodes[LON, i, j], nodes[LAT, i, j]
            sky[CLOUDS, i, j] = octaves_at(x, y, CLOUD_OCTAVES, key) - CLOUD_LEVEL
            u, v = _shadow_place(x, y)
            sky[SHADES, i, j] = octaves_at(u, v, CLOUD_OCTAVES, key) - CLOUD_LEVEL
            sky[VEIL, i, j] = octaves_at(x, y, CIRRUS_OCTAVES, key) - CIRRUS_LEVEL
            # In midwinter snow lies here and there from 50 degrees on; by summer it has melted.
            cold = (abs(y) - 70.0) / 14.0 + winter * (1.0 if y >= 0.0 else -1.0)
            sky[WHITE, i, j] = -1.0
            if cold > -1.0:
                sky[WHITE, i, j] = cold + octaves_at(x, y, SNOW_OCTAVES, 0)


@kernel
def _classify(lon: Array, lat: Array, key: int, rows: Rows, out: Array) -> None:
    for i in range(lon.size):
        cloud = octaves_at(lon[i], lat[i], CLOUD_OCTAVES, key) - CLOUD_LEVEL
        cloud += _fine(lon[i], lat[i], key, rows)
        veil = octaves_at(lon[i], lat[i], CIRRUS_OCTAVES, key) - CIRRUS_LEVEL
        out[i] = _cloud_class(cloud, veil)


def clouds(lon: Array, lat: Array, key: int) -> Array:
    """The class that the sky makes of points (degrees), or 0 where it leaves them as they are."""
    out = np.zeros(lon.size, np.uint8)
    if lon.size:
        rows = lattice_rows(float(lat.min()), float(lat.max()), CLOUD_EDGE)
        _classify(lon, lat, key, rows, out)
    return out


@compiled
def _mixed(spectra: Array, a: int, b: int, share: float, gain: float, out: Array) -> None:
    """A mixture of two spectra, ``share`` of the second one, times a gain."""
    for k in range(out.size):
        out[k] = (spectra[a, k] + share * (spectra[b, k] - spectra[a, k])) * gain


@inlined
def _surface(at: Array, block: Block, season: Array, rows: Rows, spectra: Array, out: Array) -> int:
    """The reflectance of land without anything above it, and its class."""
    lon, lat = at[LON], at[LAT]
    parcel, edge = parcel_at(lon, lat, block)
    cover = cover_at(at, parcel, rows)
    grain = noise_at(lon, lat, TEXTURE, 82, rows)
    wet = min(max(1.0 - 0.06 * at[GAIN], 0.75), 1.25)  # the radar sees wet soil bright
    if cover == RIVER_BED:
        _mixed(spectra, RIVER_WATER, RIVER_WATER, 0.0, 1.0 + 0.1 * grain, out)
        return WATER
    if cover == BUILT:
        # Roofs, streets and gardens of about 22 m, as the radar's scatterers.
        row = math.floor(lat / 2e-4)
        column = math.floor(lon / 2e-4 * math.cos(math.radians(0.1 * math.floor(10.0 * lat))))
        h = mix(column, row, 71)
        leaf = 0.05
        if unit(h, 2) < 0.35 - 0.3 * at[TOWN]:
            leaf = 0.3 + 0.5 * grown_at(0, lat, season)
        bright = 0.55 + 0.75 * unit(h, 1) + 0.3 * unit(parcel, 2)
        if unit(h, 0) < 0.004:
            bright *= 4.0  # glass and metal
        _mixed(spectra, TOWN_ROOFS, LEAVES, leaf, bright, out)
        if unit(h, 0) < 0.0006:
            for k in range(out.size):
                out[k] = 28000.0
            return SATURATED
        return PLANTS if leaf > 0.55 else BARE
    if cover == TREES:
        evergreen = 0.7 if unit(parcel, 1) < 0.35 else 0.0
        leafy = max(evergreen, grown_at(0, lat, season) ** 0.7)
        gain = 1.0 + 0.16 * grain
        _mixed(spectra, BARE_WOOD, LEAFY_WOOD, leafy, gain, out)
        if gain < 0.88 and leafy < 0.3:
            for k in range(out.size):
                out[k] *= 0.45  # in its own shade
            return DARK
        return PLANTS if leafy > 0.35 else BARE
    crop = crop_at(parcel, at[FOREST])
    leaf = LEAF[crop, 0] + LEAF[crop, 1] * grown_at(crop, lat, season) ** 1.5
    leaf += 0.22 * (unit(parcel, 1) - 0.5) + 0.05 * grain
    if unit(parcel, 3) < 0.08:
        leaf *= 0.25  # fallow
    if edge < 6.0:
        leaf = 0.5 * leaf + 0.2  # hedges and tracks
    leaf = min(max(leaf, 0.0), 1.0)
    _mixed(spectra, SOIL, LEAVES, leaf, wet * (0.9 + 0.25 * unit(parcel, 2)), out)
    return PLANTS if leaf > 0.4 else BARE


@kernel
def _render(
    nodes: Array,
    sky: Array,
    place: Array,
    blocks: Array,
    rows: tuple[Rows, ...],
    offset: tuple[float, float],
    first: tuple[int, int],
    ratio: int,
    bounds: tuple[float, float, float, float],
    keys: tuple[int, int, int],
    season: Array,
    spectra: Array,
    chosen: Array,
    out: Array,
) -> None:
    """All pixels of a strip that a product shows; only where there is nothing yet.

    ``place`` is the position of the nodes in the zone of the product's tile, ``bounds`` the
    tile's; ``first`` the number of the first pixel (row, column), ``ratio`` how many pixels of
    10 m one has at its edge, ``keys`` of the clouds, the day and the product, ``chosen`` which
    spectra ``out`` has, -1 for the classes.  ``rows`` are of the lattices of texture, clouds
    and coast.
    """
    count, height, width = out.shape
    west, step = np.empty(GAIN + 1), np.empty(GAIN + 1)
    at, here = np.empty(GAIN + 1), np.empty((4, 2))
    spot = np.empty((2, 2))
    haze = -0.4 + 1.4 * unit(mix(keys[2], 1, 241), 0)  # of the product
    wanted = spectra[:, np.maximum(chosen, 0)]
    colour = np.empty(count)
    for ci in range(nodes.shape[1] - 1):
        # Pixel i has its centre (i + 0.5) ratio - 0.5 pixels of 10 m after the strip's first.
        i0 = max(0, math.ceil((CELL * ci - offset[0] + 0.5) / ratio - 0.5))
        i1 = min(height, math.ceil((CELL * (ci + 1) - offset[0] + 0.5) / ratio - 0.5))
        for cj in range(nodes.shape[2] - 1):
            j0 = max(0, math.ceil((CELL * cj - offset[1] + 0.5) / ratio - 0.5))
            j1 = min(width, math.ceil((CELL * (cj + 1) - offset[1] + 0.5) / ratio - 0.5))
            low, high = span(nodes, ACROSS, ci, cj)
            if i0 >= i1 or j0 >= j1 or not (high >= 0.0 and low < 1.0):
                continue
            low, high = span(place, 0, ci, cj)
            if high < bounds[0] or low >= bounds[2]:
                continue
            low, high = span(place, 1, ci, cj)
            if high < bounds[1] or low >= bounds[3]:
                continue
            low, high = span(nodes, LAND, ci, cj)
            coast = low < 0.98 and high > 0.02
            some_land = high
            one_block = True
            for k in (PX, PY):
                same = blocks[ci, cj, k] == blocks[ci, cj + 1, k] == blocks[ci + 1, cj, k]
                one_block = one_block and same and blocks[ci, cj, k] == blocks[ci + 1, cj + 1, k]
            block = nearest_block(nodes[LON, ci, cj], nodes[LAT, ci, cj], blocks, ci, cj)
            low, high = span(sky, CLOUDS, ci, cj)
            edges = high > -CLOUD_ROUGHNESS - HAZY and low < SURE + CLOUD_ROUGHNESS
            low, high = span(sky, SHADES, ci, cj)
            shaded = high > -CLOUD_ROUGHNESS
            for i in range(i0, i1):
                fy = (offset[0] + (i + 0.5) * ratio - 0.5 - ci * CELL) / CELL
                for k in range(GAIN + 1):
                    a, b = nodes[k, ci, cj], nodes[k, ci, cj + 1]
                    west[k] = a + (nodes[k, ci + 1, cj] - a) * fy
                    step[k] = b + (nodes[k, ci + 1, cj + 1] - b) * fy - west[k]
                for k in range(4):
                    a, b = sky[k, ci, cj], sky[k, ci, cj + 1]
                    here[k, 0] = a + (sky[k, ci + 1, cj] - a) * fy
                    here[k, 1] = b + (sky[k, ci + 1, cj + 1] - b) * fy - here[k, 0]
                for k in range(2):
                    a, b = place[k, ci, cj], place[k, ci, cj + 1]
                    spot[k, 0] = a + (place[k, ci + 1, cj] - a) * fy
                    spot[k, 1] = b + (place[k, ci + 1, cj + 1] - b) * fy - spot[k, 0]
                for j in range(j0, j1):
                    if out[0, i, j] != FILL:
                        continue
                    fx = (offset[1] + (j + 0.5) * ratio - 0.5 - cj * CELL) / CELL
                    f = west[ACROSS] + step[ACROSS] * fx
                    if not 0.0 <= f < 1.0:
                        continue
                    u, v = spot[0, 0] + spot[0, 1] * fx, spot[1, 0] + spot[1, 1] * fx
                    if not (bounds[0] <= u < bounds[2] and bounds[1] < v <= bounds[3]):
                        continue
                    x, y = west[LON] + step[LON] * fx, west[LAT] + step[LAT] * fx
                    cloud = here[CLOUDS, 0] + here[CLOUDS, 1] * fx
                    if edges:
                        cloud += _fine(x, y, keys[0], rows[1])
                    veil = here[VEIL, 0] + here[VEIL, 1] * fx
                    kind = _cloud_class(cloud, veil)
                    share = some_land
                    if coast:
                        share = west[LAND] + step[LAND] * fx
                        for k in range(len(COAST)):
                            noise = noise_at(x, y, COAST[k], 91 + k, rows[2 + k])
                            share += COAST_SHARES[k] * noise
                    if share < 0.5:
                        mud = min(max(2.2 * share, 0.0), 1.0) if coast else 0.0
                        waves = 0.04 * (west[WIND] + step[WIND] * fx - 7.5)
                        _mixed(wanted, DEEP, MUDDY, mud, 1.0 + waves, colour)
                        ground = WATER
                    else:
                        for k in range(GAIN + 1):
                            at[k] = west[k] + step[k] * fx
                        if not one_block:
                            block = nearest_block(x, y, blocks, ci, cj)
                        ground = _surface(at, block, season, rows[0], wanted, colour)
                        white = here[WHITE, 0] + here[WHITE, 1] * fx
                        if white > 0.0 and ground not in (WATER, SATURATED):
                            lying = min(6.0 * white, 1.0)
                            if ground == DARK or at[FOREST] > 0.62:
                                lying *= 0.45  # under the trees
                            for k in range(count):
                                colour[k] += lying * (wanted[SNOWY, k] - colour[k])
                            if lying > 0.4:
                                ground = SNOW
                    if shaded and kind == 0:
                        shade = here[SHADES, 0] + here[SHADES, 1] * fx
                        p, q = _shadow_place(x, y)
                        shade += _fine(p, q, keys[0], rows[1])
                        if shade > 0.0:
                            dark = 1.0 - 0.6 * min(8.0 * shade, 1.0)
                            for k in range(count):
                                colour[k] *= dark
                            if dark < 0.8:
                                kind = SHADOW
                    if cloud > -HAZY:
                        thick = min(max(0.12 + 4.5 * cloud, 0.05), 0.97)
                        for k in range(count):
                            colour[k] += thick * (wanted[CLOUDY, k] - colour[k])
                    if veil > 0.0:
                        thick = min(0.06 + 0.7 * veil, 0.3)
                        for k in range(count):
                            colour[k] += thick * (wanted[CLOUDY, k] - colour[k])
                    h = mix(first[1] + j, first[0] + i, keys[1])
                    for k in range(count):
                        if chosen[k] < 0:
                            out[k, i, j] = kind if kind else ground
                            continue
                        # The sensor's noise: about 0.001, and 1 % of what is bright.
                        grain = unit(h, k & 3) + unit(h, (k + 1) & 3) - 1.0
                        value = colour[k] + haze * wanted[HAZE, k]
                        value += grain * (22.0 + 0.008 * value)
                        out[k, i, j] = round(min(max(value, -999.0), 32000.0))


@dataclass(frozen=True)
class Ground:
    """The land at the nodes around a strip on a day, for all that is shown of it."""

    nodes: Array
    blocks: Array
    rows: tuple[Rows, ...]
    day: int  # from the catalogue's first

    @classmethod
    def at(cls, lon: Array, lat: Array, day: int) -> Ground:
        """That of nodes at these longitudes and latitudes (degrees)."""
        corners = float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max())
        south, north = corners[1], corners[3]
        cells, top, left = land.window(*corners)
        nodes = np.zeros((GAIN + 1, *lon.shape))
        nodes[LON], nodes[LAT] = lon, lat
        blocks = np.zeros((*lon.shape, 8))
        # A look of 0: without the slopes, which the terrain correction takes out.
        parcels = lattice_rows(south, north, PARCELS)
        fill_nodes(nodes, blocks, parcels, cells, top, left, day, 0.0)
        margin = SHADOW_SHIFT[1]
        rows = tuple(
            lattice_rows(south - margin, north + margin, step)
            for step in (TEXTURE, CLOUD_EDGE, *COAST)
        )
        return cls(nodes, blocks, rows, day)

    def sky(self, key: int) -> Array:
        """Clouds and what goes with them at the nodes, for an overpass."""
        fields = np.empty((4, *self.nodes.shape[1:]))
        _fill_sky(fields, self.nodes, key, _winter(self.day))
        return fields


def render(
    ground: Ground,
    sky: Array,
    place: Array,
    across: Array,
    offset: tuple[int, int],
    first: tuple[int, int],
    resolution: int,
    bounds: tuple[float, float, float, float],
    keys: tuple[int, int, int],
    chosen: list[str],
    out: Array,
) -> None:
    """Fill a strip with what a product shows, where it holds `FILL`.

    ``place`` (metres east and north in the product's zone) and ``across`` (see
    `orbit.Pass.across`) are of the nodes, ``offset`` how many pixels of 10 m (rows, columns)
    the strip begins after the first node, ``first`` the numbers of its first pixel,
    ``resolution`` the edge of a pixel (m), ``bounds`` the product's tile (m), ``keys`` those of
    the clouds, of the sensor's noise and of the product, ``out`` is int16 (band, row, column),
    with the bands ``chosen``, all of that resolution.
    """
    if not ((across >= 0) & (across < 1)).any():
        return
    ground.nodes[ACROSS] = across
    names = list(RESOLUTIONS)
    _render(
        ground.nodes,
        sky,
        place,
        ground.blocks,
        ground.rows,
        (float(offset[0]), float(offset[1])),
        first,
        resolution // 10,
        bounds,
        keys,
        seasons(ground.day),
        SPECTRA,
        np.array([-1 if band == CLASSES else names.index(band) for band in chosen]),
        out,
    )


def derived(band: str, classes: Array, row: int, column: int) -> Array:
    """A band that goes by the classes, int16 as they are; row and column of the first pixel.

    Aerosol and vapour vary slowly from place to place, and there is more of both under clouds.
    """
    known = classes != FILL
    safe = np.where(known, classes, NO_DATA)
    if band == "CLD":
        values = CLOUD_PROBABILITY[safe]
    elif band == "SNW":
        values = SNOW_PROBABILITY[safe]
    else:
        rows = row + np.arange(classes.shape[0])[:, np.newaxis]
        columns = column + np.arange(classes.shape[1])
        slow = np.sin(columns / 900.0) + np.cos(rows / 1100.0)
        middle, swing, more = (140, 35, 2) if band == "AOT" else (1600, 300, 6)
        values = np.rint(middle + swing * slow + more * CLOUD_PROBABILITY[safe])
    return np.where(known, values, FILL).astype(np.int16)


def _winter(day: int) -> float:
    """1 in the middle of January, -1 in July; the catalogue begins on 3 October."""
    return math.cos(2 * math.pi * ((day + 276) % 365.25 - 20.0) / 365.25)


def prepare() -> None:
    """Compile the loops, or load them."""
    lon, lat = np.meshgrid([3.0, 3.002], [51.002, 51.0])
    place = np.stack(np.meshgrid([0.0, 160.0], [160.0, 0.0]))
    out = np.full((2, CELL, CELL), FILL, np.int16)
    bounds = (0.0, 0.0, 160.0, 160.0)
    clouds(lon.ravel(), lat.ravel(), 1)
    ground, across = Ground.at(lon, lat, 1), np.full(lon.shape, 0.5)
    bands = ["B02", "B03"]
    render(ground, ground.sky(1), place, across, (0, 0), (0, 0), 10, bounds, (1, 1, 1), bands, out)
