"""Pictures that are hardly compressed, as Pillow reads them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

from images import plain_png

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def opened(data):
    with Picture.open(io.BytesIO(data)) as picture:
        picture.load()  # which checks each CRC
        assert picture.format == "PNG"
        return picture.mode, np.asarray(picture.convert("RGBA"))


@given(SIZES, st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_a_picture_in_colour_has_its_pixels(size, level, seed):
    rgba = np.random.default_rng(seed).integers(0, 256, (*size, 4), np.uint8)
    mode, found = opened(plain_png.in_colour(rgba[::-1], level))
    assert mode == "RGBA"
    np.testing.assert_array_equal(found, rgba[::-1])


@pytest.mark.parametrize("transparent", [None, 0, 3])
@given(SIZES, st.integers(4, 256), st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_a_picture_of_a_palette_has_its_colours(transparent, size, colours, level, seed):
    rng = np.random.default_rng(seed)
    palette = [(r, g, b) for r, g, b in rng.integers(0, 256, (colours, 3)).tolist()]
    numbers = rng.integers(0, colours, size).astype(np.uint8)
    mode, found = opened(plain_png.of_palette(numbers, palette, transparent, level))
    assert mode == "P"
    np.testing.assert_array_equal(found[..., :3], np.array(palette, np.uint8)[numbers])
    np.testing.assert_array_equal(found[..., 3], np.where(numbers == transparent, 0, 255))
