"""The sandbox's elevation model: the plain collection, in degrees, with negative values."""

from __future__ import annotations

import datetime as dt

import netCDF4
import numpy as np
import pystac_client
import pytest
from pystac.validation import validate_dict

from sandbox import catalogue, offers, raster, shelves, terrain
from sandbox.errors import NoData
from sandbox.graph import Cube, Order

BOX = (4.9, 52.3, 4.93, 52.32)
SEAM = (4.99, 52.3, 5.01, 52.31)
ALWAYS = (dt.datetime(2010, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


def write(path, box=BOX, reducer="max", interval=ALWAYS):
    start, end = interval
    cube = Cube(box, start, end, ("DEM",), reducer=reducer, collection=catalogue.ELEVATION)
    raster.write(Order(cube, "netCDF"), path)
    with netCDF4.Dataset(path) as file:
        file.set_auto_maskandscale(False)
        attributes = {
            n: {k: v.getncattr(k) for k in v.ncattrs()} for n, v in file.variables.items()
        }
        return {name: v[...] for name, v in file.variables.items()}, attributes


def test_the_file_is_of_real_numbers_on_whole_arc_seconds(tmp_path):
    values, attributes = write(tmp_path / "f")
    assert values["DEM"].dtype == np.float32
    assert np.isnan(attributes["DEM"]["_FillValue"])
    for axis, word, size in (("x", "longitude", 110), ("y", "latitude", 74)):
        assert attributes[axis]["standard_name"] == word
        seconds = values[axis] * 3600
        np.testing.assert_allclose(seconds, np.rint(seconds), atol=1e-6)
        assert abs(values[axis].size - size) <= 2
    assert attributes["x"]["units"] == "degrees_east"
    assert (np.diff(values["y"]) < 0).all()
    assert "4326" in attributes["crs"]["crs_wkt"]
    half = 0.5 / 3600 + 1e-9
    assert values["x"][0] - half <= BOX[0]
    assert values["x"][-1] + half >= BOX[2]
    assert values["y"][-1] - half <= BOX[1]
    assert values["y"][0] + half >= BOX[3]


def test_plains_are_in_part_below_the_sea_and_mountains_high(tmp_path):
    plain, _ = write(tmp_path / "plain", (3.6, 51.3, 3.8, 51.4))
    assert plain["DEM"].min() < -1
    assert 0.05 < (plain["DEM"] < 0).mean() < 0.8
    assert plain["DEM"].max() < 60
    alps, _ = write(tmp_path / "alps", (6.2, 45.8, 6.5, 45.9))
    assert alps["DEM"].max() > 700


def test_rasters_agree_where_they_overlap_and_columns_are_as_wide_as_the_files(tmp_path):
    a, _ = write(tmp_path / "a")
    b, _ = write(tmp_path / "b", (4.9117, 52.3081, 4.94, 52.33))
    _, ax, bx = np.intersect1d(np.rint(a["x"] * 3600), np.rint(b["x"] * 3600), return_indices=True)
    _, ay, by = np.intersect1d(np.rint(a["y"] * 3600), np.rint(b["y"] * 3600), return_indices=True)
    assert ax.size > 40 < ay.size
    np.testing.assert_array_equal(a["DEM"][np.ix_(ay, ax)], b["DEM"][np.ix_(by, bx)])
    # One column and a half here, so each third one is that beside it.
    same = (np.diff(a["DEM"], axis=1) == 0).all(axis=0)
    assert same.mean() == pytest.approx(1 / 3, abs=0.05)


def test_files_have_dates_of_their_own_and_a_reducer_puts_them_together(tmp_path):
    stack, _ = write(tmp_path / "stack", SEAM, None)
    west, east = terrain.File(4, 52), terrain.File(5, 52)
    dates = sorted({west.day, east.day})
    assert list(stack["t"]) == [(day - dt.date(1990, 1, 1)).days for day in dates]
    seen = np.isfinite(stack["DEM"])
    assert (seen.sum(axis=0) == 1).all()
    first = seen[dates.index(west.day)]
    np.testing.assert_array_equal(first[0], np.rint(stack["x"] * 3600) < 5 * 3600)
    for reducer in ("first", "mean", "max"):
        whole, _ = write(tmp_path / reducer, SEAM, reducer)
        np.testing.assert_array_equal(whole["DEM"], np.nansum(stack["DEM"], axis=0))


def test_there_is_nothing_at_sea_and_on_other_dates(tmp_path):
    with pytest.raises(NoData):
        write(tmp_path / "f", (-30.0, 40.0, -29.9, 40.1))
    with pytest.raises(NoData):
        write(tmp_path / "f", interval=(dt.datetime(2020, 1, 1, tzinfo=dt.UTC), ALWAYS[1]))
    sea, _ = write(tmp_path / "sea", (3.0, 51.5, 3.02, 51.51))
    assert (sea["DEM"] == 0).all(), "beside land the sea has a height"


def test_items_are_the_files_that_jobs_read(sandbox):
    client = pystac_client.Client.open(f"{sandbox.url}/stac")
    items = list(client.search(collections=[shelves.ELEVATION], bbox=SEAM).items())
    assert {item.id for item in items} == {f.id for f in terrain.files(SEAM)}
    dates = {f.id: f.day for f in terrain.files(SEAM)}
    for item in items:
        assert item.to_dict()["properties"]["datetime"] == f"{dates[item.id]}T00:00:00Z"
        validate_dict(item.to_dict(transform_hrefs=False), extensions=[])
    [one] = client.search(ids=[items[0].id]).items()
    assert one.id == items[0].id


def test_the_collection_tells_what_it_is():
    document = offers.OFFERS[catalogue.ELEVATION].document("http://x", True)
    assert document["cube:dimensions"]["x"]["reference_system"] == 4326
    assert document["cube:dimensions"]["x"]["step"] == pytest.approx(1 / 3600)
    [band] = document["summaries"]["eo:bands"]
    assert (band["name"], band["type"], band["unit"]) == ("DEM", "float32", "m")
