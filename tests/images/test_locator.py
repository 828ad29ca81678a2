"""The globe beside a picture of a small box: its land, its projection, and where it is drawn.

`UPDATE_EARTH=1 pytest tests/images/test_locator.py` writes `images/earth.png` anew.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyproj import Transformer

import retrieve
from images import coast, locator
from shared.land import land
from tests.images.test_layout import BANDS, BOXES, cube

LATS, LONS = 90 - (np.arange(360) + 0.5) / 2, (np.arange(720) + 0.5) / 2 - 180


def test_the_land_is_that_of_the_mask():
    if os.environ.get("UPDATE_EARTH"):
        Image.fromarray(land(LATS, LONS)).save(locator.EARTH, optimize=True)
    some = LATS[1::12]  # each strip of the mask takes a moment
    lats, lons = np.meshgrid(some, LONS, indexing="ij")
    np.testing.assert_array_equal(locator.is_land(lats, lons), land(some, LONS))


def test_longitudes_go_on_around_the_earth_and_poles_are_places():
    lats, lons = np.meshgrid([-90.0, -17.0, 51.0, 90.0], LONS, indexing="ij")
    for turn in (-360, 360):
        np.testing.assert_array_equal(
            locator.is_land(lats, lons + turn), locator.is_land(lats, lons)
        )
    assert locator.is_land(np.array([-90.0]), np.array([180.0])).all()
    assert not locator.is_land(np.array([90.0]), np.array([180.0])).any()


@given(st.floats(-180, 360), st.floats(-90, 90))
def test_the_globe_is_the_projection_that_proj_has(lon, lat):
    at = f"+proj=ortho +R=1 +lon_0={lon} +lat_0={lat}"
    steps = np.linspace(-0.6, 0.6, 23)
    x, y = (side.ravel() for side in np.meshgrid(steps, steps))
    lons, lats = Transformer.from_crs(at, "+proj=longlat +R=1", always_xy=True).transform(x, y)
    columns, rows = (np.round((side + 1) / 2 * locator.PIXELS - 0.5) for side in (x, -y))
    away = np.hypot(x, y) > 0.2  # from the dot
    found = locator.globe(lon, lat)[rows.astype(int), columns.astype(int)][away]
    right = locator.is_land(lats, lons)[away]
    is_found = (found[:, :3] == locator.LAND).all(axis=-1)
    assert (is_found == right).mean() > 0.9  # coasts are a pixel away


def test_the_dot_is_in_the_middle_and_the_corners_are_paper():
    seen = locator.globe(4.0, 51.0)
    middle = locator.PIXELS // 2
    assert tuple(seen[middle, middle]) == (*locator.DOT, 255)
    assert not seen[[0, 0, -1, -1], [0, -1, 0, -1], 3].any()


@pytest.mark.parametrize("name", BOXES)
def test_a_picture_says_where_its_box_is_by_a_globe_or_by_its_coast(name):
    west, south, width, height = BOXES[name]
    figure = retrieve.plot(cube(name, 1, BANDS[:1]))
    globes = [one for one in figure.artists if one.get_gid() == locator.LOCATOR]
    assert len(globes) == (not coast.is_large((west, west + width, south, south + height)))
