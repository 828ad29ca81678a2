"""Which pixels are inside of a polygon: those that GDAL says, to the bit, block by block."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.features import geometry_mask

from images.mask import PixelMask
from tests.rounds import rounds, torture

STEPS = st.sampled_from([1.0, 0.25, 0.1, 0.002, 24e-5, 15e-5])
WESTS = st.sampled_from([0.0, 3.6, -7.3, -180.0, 179.5])
SOUTHS = st.sampled_from([0.0, 51.1, -85.0, 80.0])


def places(draw, side):
    """Corners in pixels: at edges and centres, where rules differ, or anywhere."""
    fine = st.floats(-2, side + 2, allow_nan=False, width=32)
    halves = st.integers(-4, 2 * side + 4).map(lambda n: n / 2)
    some = draw(st.sampled_from([fine, halves]))
    return draw(st.lists(st.tuples(some, some), min_size=3, max_size=9))


@st.composite
def grids(draw):
    """A grid and a valid polygon on it: with holes, in parts, beyond its edges."""
    height, width = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    dlon, dlat, west, south = draw(STEPS), draw(STEPS), draw(WESTS), draw(SOUTHS)
    rings = [shapely.make_valid(shapely.Polygon(places(draw, 30))) for _ in range(2)]
    polygon = rings[0].symmetric_difference(rings[1]) if draw(st.booleans()) else rings[0]
    parts = [part for part in shapely.get_parts(polygon) if part.geom_type == "Polygon"]
    whole = shapely.union_all(parts)
    scaled = shapely.transform(whole, lambda xy: xy * [dlon, dlat] + [west, south])
    assume(scaled.area > 0 and scaled.is_valid)
    return scaled, (west, south, dlon, dlat, height), width


def by_gdal(polygon, frame, width):
    """Rows from the south."""
    west, south, dlon, dlat, height = frame
    where = Affine(dlon, 0, west, 0, -dlat, south + height * dlat)
    return ~geometry_mask([polygon], (height, width), where)[::-1]


@torture
@settings(max_examples=rounds(100))
@given(grids(), st.data())
def test_a_pixel_is_inside_as_gdal_has_it_in_whichever_block(grid, data):
    polygon, frame, width = grid
    expected = by_gdal(polygon, frame, width)
    mask, height = PixelMask(polygon, *frame), frame[-1]
    top = data.draw(st.integers(0, height))
    left = data.draw(st.integers(0, width))
    found = np.block(
        [
            [mask.of(slice(a, b), slice(c, d)) for c, d in ((0, left), (left, width))]
            for a, b in ((0, top), (top, height))
        ]
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("turned", [False, True])
def test_edges_along_the_middle_of_a_row_count_as_gdal_counts_them(turned):
    shell = [(1, 1.5), (7, 1.5), (7, 7.5), (1, 7.5)]
    hole = [(3, 3.5), (5, 3.5), (5, 5.5), (3, 5.5)]
    polygon = shapely.Polygon(shell[::-1] if turned else shell, [hole])
    frame = 0.0, 0.0, 1.0, 1.0, 9
    found = PixelMask(polygon, *frame).of(slice(0, 9), slice(0, 9))
    np.testing.assert_array_equal(found, by_gdal(polygon, frame, 9))


def test_a_polygon_of_many_corners_is_that_of_gdal():
    rough = shapely.Point(4, 51).buffer(0.3, quad_segs=5000)
    polygon = rough.difference(shapely.Point(4.1, 51).buffer(0.1, quad_segs=3000))
    frame = 3.7, 50.7, 0.6 / 1500, 0.6 / 1500, 1500
    found = PixelMask(polygon, *frame).of(slice(0, 1500), slice(0, 1500))
    np.testing.assert_array_equal(found, by_gdal(polygon, frame, 1500))
