"""Back from the archive: the cells of a box, merged without a seam, on a regular grid."""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from typing import Any

import healpy
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import CRS, Transformer

import retrieve as room
from archive import layout
from convert import raster_to_cells, tile_runs
from grid import BBox, Chunk, Provenance, Tile, tiles_covering, wrap
from healpix.ids import ids_to_runs, runs_to_ids
from images import blocks, coverage
from retrieve import NoData, days, export, merge, padded, plot, retrieve, select
from store import Archive
from tests.rounds import seldom, torture, turns
from tests.sphere import cells_at, centres_of, grown, tile_at

SIZE = (1.0, 0.5)
NSIDE = 4096  # cells of 0.014 degrees: 50 x coarser than usual, so a record is small
DAY = dt.date(2026, 1, 20)
STEP: dict[str, Any] = {"dlat": 0.01, "dlon": 0.016}


def value_of(ids, band="VV"):
    """A value that tells which cell it belongs to."""
    return ((ids * 7919) % 9973 + 1 + (band == "VH") * 0.5).astype(np.float32)


def cells_of(tile, nside=NSIDE, ellipsoid="sphere", bands=("VV", "VH"), source=""):
    start, length = tile_runs(tile, nside, ellipsoid)
    ids = runs_to_ids(start, length)
    values = {band: ("cells", value_of(ids, band)) for band in bands}
    values |= {"count": ("cells", np.ones(len(ids), np.uint16))}
    values |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
    attrs = {"nside": nside, "ellipsoid": ellipsoid, "ordering": "nested", "source": source}
    return xr.Dataset(values, attrs=attrs)


def filled(path, bbox, day=DAY, orbit="any", provenance=None, size=SIZE, **options):
    archive = Archive(path)
    for tile in tiles_covering(bbox, size):
        archive.write(Chunk(tile, day, orbit), cells_of(tile, **options), provenance)
    return archive


@pytest.fixture(scope="module")
def rhine(tmp_path_factory):
    """Twelve tiles around 7 E, 50.5 N."""
    return filled(tmp_path_factory.mktemp("rhine") / "a.zarr", BBox(5, 50, 9, 51.5))


def boxes(west, south, east, north):
    """Boxes inside a box, down to a fraction of a cell."""
    corner = st.tuples(st.floats(west, east - 0.01), st.floats(south, north - 0.01))
    return st.tuples(corner, st.floats(0.009, 2), st.floats(0.009, 1)).map(
        lambda b: BBox(*b[0], min(east, b[0][0] + b[1]), min(north, b[0][1] + b[2]))
    )


# --- cells ---


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(box=boxes(5, 50, 9, 51.5))
def test_the_cells_of_a_box_are_those_whose_centre_healpy_puts_into_it(rhine, box):
    cells = select(rhine, box, DAY)
    reach = padded(box, NSIDE)
    corners = [(reach.west, reach.south), (reach.east, reach.south)]
    corners += [(reach.east, reach.north), (reach.west, reach.north)]
    around = healpy.query_polygon(
        NSIDE, healpy.ang2vec(*np.array(corners).T, lonlat=True), inclusive=True, nest=True
    )
    lon, lat = healpy.pix2ang(NSIDE, around, nest=True, lonlat=True)
    inside = (lon >= box.west) & (lon < box.east) & (lat >= box.south) & (lat < box.north)
    expected = np.sort(around[inside])
    np.testing.assert_array_equal(runs_of(cells), expected)
    np.testing.assert_array_equal(cells["VV"], value_of(expected))


def runs_of(cells):
    return runs_to_ids(cells["start_ipix"].values, cells["run_len"].values)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), unique_by=lambda x: x[0]))
def test_merging_the_parts_of_a_set_gives_the_set(owned):
    def cells(ids):
        ids = np.array(sorted(ids), np.uint64)
        start, length = ids_to_runs(ids)
        data = {"VV": ("cells", value_of(ids)), "count": ("cells", ids.astype(np.uint16))}
        data |= {"start_ipix": ("runs", start), "run_len": ("runs", length)}
        return xr.Dataset(data, attrs={"nside": 64, "source": ""})

    parts = [cells(i for i, owner in owned if owner == number) for number in range(4)]
    xr.testing.assert_identical(merge(parts), cells(i for i, _ in owned))


def scene(bbox, step):
    """A raster in the UTM zone of 9 E; the value depends on the place alone."""
    crs = CRS.from_epsg(32632)
    to_utm = Transformer.from_crs(4326, crs, always_xy=True)
    west, south, east, north = to_utm.transform_bounds(bbox.west, bbox.south, bbox.east, bbox.north)
    x = np.arange(math.floor(west / step), math.ceil(east / step)) * step + step / 2
    y = np.arange(math.ceil(north / step), math.floor(south / step), -1) * step - step / 2
    power = (1 + np.sin(x / 5 / step) * np.cos(y[:, None] / 8 / step)) ** 2 + 0.01
    power[(x / 7 - y[:, None] / 9) % (40 * step) < 3 * step] = 0  # gaps that cross tiles
    bands = {"VV": power, "VH": power / 8}
    data = {band: (("y", "x"), v.astype(np.float32)) for band, v in bands.items()}
    out = xr.Dataset(data, {"x": x, "y": y})
    out["crs"] = ((), 0, {"crs_wkt": crs.to_wkt()})
    return out


@pytest.mark.parametrize(("nside", "step", "part"), [(4096, 200.0, 1), (262144, 10.0, 32)])
@seldom(3)
def test_four_tiles_from_four_rasters_give_what_one_raster_of_all_gives(
    tmp_path, nside, step, part
):
    whole = Tile(8, 50, 8 + 2 / part, 50 + 1 / part)
    four, one = Archive(tmp_path / "four.zarr"), Archive(tmp_path / "one.zarr")
    for tile in tiles_covering(whole.bbox, (1 / part, 0.5 / part)):
        cells = raster_to_cells(scene(grown(tile.bbox, 0.03 / part), step), tile, nside)
        four.write(Chunk(tile, DAY), cells)
    cells = raster_to_cells(scene(grown(whole.bbox, 0.03 / part), step), whole, nside)
    one.write(Chunk(whole, DAY), cells)
    merged = select(four, whole.bbox, DAY)
    for name in ("start_ipix", "run_len", "count"):
        np.testing.assert_array_equal(merged[name], cells[name])
    for band in ("VV", "VH"):
        np.testing.assert_allclose(merged[band], cells[band], rtol=1e-6)
    for method in ("nearest", "bilinear"):
        grids = [
            retrieve(archive, whole.bbox, DAY, dlat=0.01 / part, dlon=0.016 / part, method=method)
            for archive in (four, one)
        ]
        np.testing.assert_allclose(grids[0]["VV"], grids[1]["VV"], rtol=1e-5)
        assert 0 < np.isnan(grids[0]["VV"]).mean() < 0.2


# --- grids ---


def looked_up(dataset, nside=NSIDE, band="VV"):
    """What healpy has in the cell that contains each pixel centre."""
    lon, lat = np.meshgrid(dataset["lon"], dataset["lat"])
    return value_of(healpy.ang2pix(nside, lon, lat, nest=True, lonlat=True), band)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(box=boxes(5.1, 50.1, 8.9, 51.4))
def test_every_pixel_up_to_the_border_is_that_of_its_cell(rhine, box):
    grid = retrieve(rhine, box, DAY, **STEP)
    np.testing.assert_array_equal(grid["VV"], looked_up(grid))
    np.testing.assert_array_equal(grid["VH"], looked_up(grid, band="VH"))


@torture
@pytest.mark.parametrize(
    ("west", "south"),
    turns([(179.5, 66), (7.0, 50.0), (89.5, 41.5), (-0.5, -0.5), (20, 85), (3, 89.2)], 2),
)
def test_a_box_cut_from_a_larger_grid_is_the_grid_of_the_box(tmp_path, west, south):
    large = BBox(west, south, wrap(west + 1), south + 0.75)
    around = padded(large, NSIDE // 4)
    archive = filled(tmp_path / "a.zarr", around, size=(5, 2.5) if south < 80 else (90, 2.5))
    small = BBox(wrap(west + 0.4), south + 0.2, wrap(west + 0.8), south + 0.4)
    for method in ("nearest", "bilinear"):
        whole = retrieve(archive, large, DAY, method=method, dlat=0.01, dlon=0.02)
        part = retrieve(archive, small, DAY, method=method, dlat=0.01, dlon=0.02)
        cut = whole.isel(lat=slice(20, 40), lon=slice(20, 40))
        np.testing.assert_allclose(part["lat"], cut["lat"])
        apart = (part["lon"] - cut["lon"].values) % 360 % 359.999999
        np.testing.assert_allclose(apart, 0, atol=1e-5)
        np.testing.assert_allclose(part["VV"], cut["VV"], rtol=1e-4)
        assert not np.isnan(whole["VV"]).any()


def test_at_the_poles_every_pixel_has_its_cell(tmp_path):
    for south, north in ((-90, -89.8), (89.8, 90)):
        box = BBox(-180, south, 180, north)
        archive = filled(tmp_path / f"{south}.zarr", box, nside=512, size=(90, 1))
        grid = retrieve(archive, box, DAY, dlat=0.01, dlon=5)
        np.testing.assert_array_equal(grid["VV"], looked_up(grid, 512))


def test_across_180_degrees_longitude_goes_on_and_so_do_the_cells(tmp_path):
    box = BBox(179.7, -0.2, -179.6, 0.1)
    archive = filled(tmp_path / "a.zarr", box)
    assert len(archive.tiles()) == 4
    grid = retrieve(archive, box, DAY, **STEP)
    assert (np.diff(grid["lon"]) > 0).all()
    assert grid["lon"].values[[0, -1]] == pytest.approx([179.708, 180.396])
    np.testing.assert_array_equal(grid["VV"], looked_up(grid))
    assert select(archive, box, DAY).sizes["cells"] == pytest.approx(0.7 * 0.3 * 69.8**2, rel=0.02)


@pytest.mark.parametrize(("step", "method"), [(0.0008, "bilinear"), (0.002, "nearest")])
def test_blocks_make_the_grid_that_is_made_at_once(rhine, monkeypatch, step, method):
    box = BBox(6.93, 50.41, 7.06, 50.56)
    options = {"dlat": step, "dlon": 1.6 * step, "method": method}
    monkeypatch.setattr(blocks, "SIDE", 4096)
    whole = retrieve(rhine, box, DAY, **options)
    assert len(room.open(rhine, box, DAY, **options)["VV"].data.chunks[1]) == 1
    monkeypatch.setattr(blocks, "SIDE", 17)
    parts = room.open(rhine, box, DAY, **options)
    assert len(parts["VV"].data.chunks[1]) > 3
    xr.testing.assert_equal(parts.isel(time=0).drop_vars("orbit").compute(), whole)


def test_a_missing_tile_is_a_gap_and_no_error(tmp_path):
    archive = filled(tmp_path / "a.zarr", BBox(7, 50, 9, 50.5))
    archive.remove(Chunk(Tile(8, 50, 9, 50.5), DAY))
    grid = retrieve(archive, BBox(7.5, 50.1, 8.5, 50.2), DAY, **STEP)
    gap = grid["VV"].isnull().all("lat")
    assert not gap[grid["lon"] < 7.99].any()
    assert gap[grid["lon"] > 8.01].all()
    assert grid.attrs["tiles"] == "E007.0_N50.0"


@pytest.mark.parametrize(("nside", "ellipsoid"), [(1024, "sphere"), (4096, "WGS84")])
def test_nside_and_ellipsoid_are_those_of_the_archive(tmp_path, nside, ellipsoid):
    tile = Tile(7, 50, 8, 50.5)
    archive = filled(tmp_path / "a.zarr", tile.bbox, nside=nside, ellipsoid=ellipsoid)
    grid = retrieve(archive, BBox(7.2, 50.2, 7.6, 50.3), DAY, **STEP)
    lon, lat = np.meshgrid(grid["lon"], grid["lat"])
    ids = cells_at(lon.ravel(), lat.ravel(), nside, ellipsoid)
    np.testing.assert_array_equal(grid["VV"].values.ravel(), value_of(ids))
    assert (grid.attrs["healpix_nside"], grid.attrs["healpix_ellipsoid"]) == (nside, ellipsoid)
    centres = centres_of(runs_of(select(archive, tile.bbox, DAY)), nside, ellipsoid)
    assert 50 <= centres[1].min() < centres[1].max() < 50.5


def test_a_grid_says_where_it_came_from(tmp_path):
    box = BBox(7.9, 50.1, 8.1, 50.2)
    origin = Provenance("cdse", "SENTINEL1_GRD", "j-1", "2026-01-21T05:00:00Z", False)
    archive = filled(tmp_path / "a.zarr", box, provenance=origin)
    attrs = retrieve(archive, box, DAY, **STEP).attrs
    assert attrs["source"] == "contains modified Copernicus Sentinel data 2026"
    assert attrs["synthetic"] == 0
    assert attrs["tiles"] == "E007.0_N50.0 E008.0_N50.0"
    assert (attrs["backend"], attrs["job_id"]) == ("cdse", "j-1")
    assert (attrs["day"], attrs["orbit"], attrs["bbox"]) == ("2026-01-20", "any", str(box))
    tile = tile_at(9.5, 50.1, SIZE)
    archive.write(Chunk(tile, DAY), cells_of(tile, source="Synthetic Sentinel-1 (sandbox)"))
    mixed = retrieve(archive, BBox(7.9, 50.1, 9.1, 50.2), DAY, **STEP).attrs
    assert mixed["source"] == "synthetic data (sandbox), not a measurement"
    assert mixed["synthetic"] == 1


def test_bands_are_chosen_in_the_order_asked_and_unknown_ones_refused(rhine):
    box = BBox(7.9, 50.1, 8.1, 50.2)
    assert list(retrieve(rhine, box, DAY, **STEP).data_vars) == ["VV", "VH"]
    assert list(retrieve(rhine, box, DAY, bands=["VH"], **STEP).data_vars) == ["VH"]
    with pytest.raises(ValueError, match="bands VV, VH, but not HH"):
        retrieve(rhine, box, DAY, bands=["VV", "HH"], **STEP)


# --- days, orbits and limits ---


def test_without_a_record_it_is_said_what_there_is(tmp_path):
    box = BBox(7.2, 50.1, 7.3, 50.2)
    archive = Archive(tmp_path / "a.zarr")
    with pytest.raises(NoData, match="no record of this box at all"):
        retrieve(archive, box, DAY)
    for i in range(7):
        filled(archive.path, box, DAY + dt.timedelta(days=6 * i), "ascending")
    with pytest.raises(NoData, match=r"Of this box it has 2026-02-25 \(ascending\), .* and 2 more"):
        select(archive, box, DAY + dt.timedelta(days=1))
    with pytest.raises(NoData, match=r"no record \(descending\)"):
        select(archive, box, DAY, orbit="descending")
    with pytest.raises(NoData, match="download it first"):
        select(archive, BBox(17.2, 50.1, 17.3, 50.2), DAY)


def test_the_orbit_need_not_be_named_when_there_is_but_one(tmp_path):
    box = BBox(7.2, 50.1, 7.3, 50.2)
    archive = filled(tmp_path / "a.zarr", box, orbit="ascending")
    assert retrieve(archive, box, DAY, **STEP).attrs["orbit"] == "ascending"
    filled(archive.path, box, orbit="descending")
    with pytest.raises(ValueError, match=r"ascending and descending passes .*--orbit"):
        select(archive, box, DAY)
    chosen = retrieve(archive, box, DAY, orbit="descending", **STEP)
    assert chosen.attrs["orbit"] == "descending"
    filled(archive.path, box, orbit="any")
    assert retrieve(archive, box, DAY, **STEP).attrs["orbit"] == "any"


def test_the_days_of_a_box_come_newest_first_with_the_share_they_cover(tmp_path):
    archive = filled(tmp_path / "a.zarr", BBox(7, 50, 9, 50.5))
    tile, later = Tile(7, 50, 8, 50.5), DAY + dt.timedelta(days=6)
    half = cells_of(tile)
    half["count"][::2], half["VV"][::2], half["VH"][::2] = 0, np.nan, np.nan
    archive.write(Chunk(tile, later, "ascending"), half)
    found = days(archive, BBox(7.5, 50.1, 8.5, 50.4))
    assert [(c.day, c.orbit) for c in found] == [(later, "ascending"), (DAY, "any")]
    assert [c.share for c in found] == pytest.approx([0.25, 1], abs=0.01)
    assert days(archive, BBox(7.5, 50.25, 7.6, 50.75))[-1].share == pytest.approx(0.5, abs=0.05)
    assert days(archive, BBox(17.5, 50.1, 18.5, 50.4)) == []
    assert days(Archive(tmp_path / "none.zarr"), BBox(7, 50, 8, 51)) == []


def test_days_look_at_both_sides_of_180_degrees(tmp_path):
    archive = filled(tmp_path / "a.zarr", BBox(179, 0, 180, 0.5))
    assert days(archive, BBox(179.5, 0, -179.5, 0.5))[0].share == pytest.approx(0.5, abs=0.01)


def half_seen(nside):
    """A tile of which the western half was seen."""
    cells = cells_of(Tile(7, 50, 8, 50.5), nside)
    ids = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values)
    gap = healpy.pix2ang(nside, ids.astype(np.int64), nest=True, lonlat=True)[0] > 7.5
    cells["count"].values[gap] = 0
    for band in ("VV", "VH"):
        cells[band].values[gap] = np.nan
    return cells


@pytest.fixture(scope="module", params=[4096, 2**16])
def half(request, tmp_path_factory):
    """An archive of that tile alone."""
    archive = Archive(tmp_path_factory.mktemp("half") / "a.zarr")
    archive.write(Chunk(Tile(7, 50, 8, 50.5), DAY), half_seen(request.param))
    return archive


@pytest.mark.parametrize(
    ("box", "share"),
    [
        (BBox(7.05, 50.1, 7.45, 50.4), 1.0), (BBox(7.55, 50.1, 7.95, 50.4), None),
        (BBox(7.1, 50.1, 7.9, 50.4), 0.5), (BBox(7.25, 50, 7.65, 50.5), 0.625),
        (BBox(6.5, 50, 7.5, 50.5), 0.5), (BBox(6, 49, 9, 51.5), 0.5 / 15),
    ],
)  # fmt: skip
def test_the_share_of_a_box_is_what_was_seen_of_it_not_of_its_tiles(half, box, share):
    found = [cover.share for cover in days(half, box)]
    assert found == ([] if share is None else [pytest.approx(share, abs=0.02 * (share < 1))])


def test_without_overviews_a_small_box_is_counted_and_a_large_one_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "OVERVIEWS", ())
    archive = Archive(tmp_path / "a.zarr")
    archive.write(Chunk(Tile(7, 50, 8, 50.5), DAY), half_seen(2**14))
    (view,) = archive.views()
    assert view.levels(view.chunks()[0]) == (14,)
    box = BBox(7.1, 50.1, 7.9, 50.4)
    assert days(archive, box)[0].share == pytest.approx(0.5, abs=0.01)
    monkeypatch.setattr(coverage, "CELLS_READ", 1000)
    assert days(archive, box)[0].share is None


@seldom(4)
def test_the_shares_of_a_hundred_days_are_there_at_once(tmp_path):
    archive = Archive(tmp_path / "a.zarr")
    cells = half_seen(2**14)
    for i in range(100):
        archive.write(Chunk(Tile(7, 50, 8, 50.5), DAY + dt.timedelta(days=i)), cells)
    days(archive, BBox(7.1, 50.1, 7.2, 50.2))
    began = time.process_time()
    assert len(days(archive, BBox(7.1, 50.1, 7.9, 50.4))) == 100
    assert time.process_time() - began < 3


def test_a_grid_that_is_too_large_is_refused_with_one_that_is_not(rhine):
    box = BBox(5, 50, 9, 51.5)
    with pytest.raises(ValueError, match=r"15000 x 40000 pixels, 4\.8 GB") as error:
        retrieve(rhine, box, DAY, dlat=1e-4, dlon=1e-4)
    advice = {k: float(v) for k, v in re.findall(r"(dl..) (\S+\d)", str(error.value))}
    assert 4 * 2 * (1.5 / advice["dlat"]) * (4 / advice["dlon"]) < room.MEMORY_MAX
    for name in ("dlat", "dlon"):
        for step in (0, -1, math.nan, math.inf):
            with pytest.raises(ValueError, match=f"{name} is"):
                retrieve(rhine, box, DAY, **STEP | {name: step})
        with pytest.raises(ValueError, match=f"No pixel centre lies in .*: {name} is 9 degrees"):
            retrieve(rhine, box, DAY, **STEP | {name: 9})
    assert retrieve(rhine, BBox(7, 50.2, 7.1, 50.3), DAY, dlat=0.15, dlon=0.19)["VV"].shape == (
        1,
        1,
    )


# --- looking at it ---


def test_what_was_retrieved_can_be_drawn_and_written(rhine, tmp_path):
    grid = retrieve(rhine, BBox(6.3, 50.1, 8.7, 51.2), DAY, **STEP)
    words = [text.get_text() for text in plot(grid).texts]
    assert "Sentinel-1 backscatter, VV and VH" in words
    assert "contains modified Copernicus Sentinel data 2026" in words
    with xr.open_dataset(export(grid, tmp_path / "a.nc"), decode_coords="all") as back:
        xr.testing.assert_equal(back["VH"], grid["VH"])
        assert back.attrs["healpix_nside"] == NSIDE
    with rasterio.open(export(grid, tmp_path / "a.tif")) as back:
        (sample,) = back.sample([(7.0, 51.0)])
        assert list(sample) == [
            float(grid[band].sel(lon=7.0, lat=51.0, method="nearest")) for band in ("VV", "VH")
        ]
