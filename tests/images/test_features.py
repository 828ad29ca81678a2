"""Numbers of many areas at once: against shapely, healpy and numpy, of what the archive gives."""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import replace
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
import xarray as xr
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st

import retrieve as room
from grid import BBox, Chunk, Tile
from healpix.boxes import box_runs
from healpix.ids import runs_to_ids
from images import features
from shared.collection import SENTINEL2, attributes_of
from store import Archive
from tests.archive.test_contents import ORIGIN
from tests.images.test_blocks import NSIDE, cells_of
from tests.images.test_export import assert_cf
from tests.rounds import rounds, torture, turns
from tests.sphere import cells_at, centres_of

pytestmark = torture  # with archives of both kinds
DAYS = [dt.date(2026, 1, 20) + dt.timedelta(days=6 * number) for number in range(3)]
WEST, EAST = Tile(7.0, 50.0, 8.0, 50.5), Tile(8.0, 50.0, 9.0, 50.5)
FIJI = Tile(179.0, -17.0, 180.0, -16.5), Tile(-180.0, -17.0, -179.0, -16.5)
NUMBERS = ["mean_dB", "std_power", "low_dB", "median_dB", "high_dB"]
RECORDS = {  # day, direction, relative orbits, tiles
    (DAYS[0], "ascending", (88,), (WEST, EAST, *FIJI)),
    (DAYS[1], "ascending", (88,), (WEST,)),
    (DAYS[2], "ascending", (88,), (WEST,)),
    (DAYS[2], "ascending", (15,), (EAST,)),
    (DAYS[2], "descending", (), (WEST,)),
    (DAYS[2], "descending", (37, 139), (EAST,)),
}


@pytest.fixture(scope="module", params=turns(["sphere", "WGS84"], 2))
def archive(request, tmp_path_factory):
    """Two tiles on three days, of both directions on the last one; two more beside 180 degrees."""
    made = Archive(tmp_path_factory.mktemp("features") / request.param)
    for day, orbit, relative, tiles in RECORDS:
        for tile in tiles:
            seed = day.toordinal() + len(orbit)
            cells = cells_of(tile, ellipsoid=request.param, seed=seed)
            made.write(Chunk(tile, day, orbit), cells, replace(ORIGIN, relative_orbits=relative))
    return made


@functools.cache
def known_cells(ellipsoid):
    """All cells around the tiles, and where their centres are by healpy."""
    boxes = BBox(6, 49.5, 10, 51), BBox(178, -17.5, -178, -16)
    ids = np.concatenate([runs_to_ids(*box_runs(box, NSIDE, ellipsoid)) for box in boxes])
    return ids.astype(np.int64), *centres_of(ids, NSIDE, ellipsoid)


def cells_in(shape, ellipsoid):
    ids, lon, lat = known_cells(ellipsoid)
    if shape.geom_type == "Point":
        return cells_at([shape.x], [shape.y], NSIDE, ellipsoid).astype(np.int64)
    east = np.where(lon < -170, lon + 360, lon)
    return ids[shapely.contains_xy(shape, east, lat)]


def values_in(archive, day, orbits, band="VV"):
    """The value of each cell that some records have, as a series by its id; NaN for none."""
    found = []
    for chunk in archive.chunks():
        if chunk.day == day and chunk.orbit in orbits:
            cells = archive.read(chunk)
            ids = runs_to_ids(cells["start_ipix"].values, cells["run_len"].values)
            found.append(pd.Series(cells[band].values.astype(float), ids.astype(np.int64)))
    return pd.concat(found)


def described(values):
    """By numpy: in the order of `NUMBERS`."""
    some = values[np.isfinite(values)]
    if not len(some):
        return [np.nan] * 5
    mean, *quantiles = 10 * np.log10([some.mean(), *np.quantile(some, [0.1, 0.5, 0.9])])
    return [mean, some.std(), *quantiles]


def require_right(archive, shapes, table):
    """That each number of a table is that of numpy, and that no row is missing."""
    ellipsoid = archive.layout.ellipsoid
    expected = set()
    for day, orbit in {(day, orbit) for day, orbit, *_ in RECORDS}:
        every = {band: values_in(archive, day, {orbit}, band) for band in ("VV", "VH")}
        for name, shape in shapes.items():
            ids = cells_in(shape, ellipsoid)
            if np.isin(ids, every["VV"].index).any():
                expected |= {(name, day, orbit, band) for band in every}
            for row in table.query("feature == @name and orbit == @orbit").itertuples():
                if row.day.date() != day:
                    continue
                values = every[row.band].reindex(ids).to_numpy()
                assert row.cells == len(ids)
                assert row.seen == pytest.approx(np.isfinite(values).mean(), abs=1e-12)
                found = [getattr(row, column) for column in NUMBERS]
                np.testing.assert_allclose(found, described(values), rtol=1e-6, atol=1e-9)
    rows = zip(table["feature"], table["day"].dt.date, table["orbit"], table["band"], strict=True)
    assert sorted(map(str, rows)) == sorted(map(str, expected))


corners = st.tuples(st.floats(6.8, 9.2), st.floats(49.9, 50.6))
hulls = st.lists(corners, min_size=3, max_size=5)
shapes = st.lists(
    st.builds(lambda p: shapely.MultiPoint(p).convex_hull.buffer(0.003), hulls)
    | st.builds(lambda p: shapely.Point(p).buffer(0.2) - shapely.Point(p).buffer(0.1), corners)
    | st.builds(shapely.Point, st.floats(7.0, 9.0), st.floats(50.0, 50.5)),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=rounds(6))
@given(shapes)
def test_each_number_is_that_of_numpy_of_the_cells_that_shapely_finds(archive, shapes):
    """Of polygons with holes and overlaps, across tiles and beyond them, and of points."""
    named = {f"f{number}": shape for number, shape in enumerate(shapes)}
    try:
        table = room.features(archive, named, DAYS[0], DAYS[-1])
    except room.NoData:
        table = pd.DataFrame({n: [] for n in ("feature", "day", "orbit", "band")})
        table["day"] = pd.to_datetime(table["day"])
    require_right(archive, named, table)


def test_features_across_180_degrees_have_the_cells_of_both_sides(archive):
    named = {
        "across": shapely.box(179.8, -16.9, 180.3, -16.6),
        "east": shapely.box(180.1, -16.9, 180.3, -16.6),
    }
    table = room.features(archive, named, DAYS[0], DAYS[-1])
    assert set(table["feature"]) == set(named)
    require_right(archive, named, table)
    cut = shapely.MultiPolygon(
        [shapely.box(179.8, -16.9, 180, -16.6), shapely.box(-180, -16.9, -179.7, -16.6)]
    )
    again = room.features(archive, {"across": cut}, DAYS[0], DAYS[-1])
    pd.testing.assert_frame_equal(again, table[table["feature"] == "across"].reset_index(drop=True))


def test_passes_of_both_directions_are_rows_of_their_own_or_mixed_by_their_counts(archive):
    named = {"a": shapely.box(7.2, 50.1, 8.3, 50.3)}
    apart = room.features(archive, named, DAYS[2], bands=["VV"])
    assert apart["orbit"].tolist() == ["ascending", "descending"]
    mixed = room.features(archive, named, DAYS[2], bands=["VV"], orbit="any")
    assert mixed["orbit"].tolist() == ["mixed"]
    box = room.select(archive, BBox(7.2, 50.1, 8.3, 50.3), DAYS[2], orbit="any")
    np.testing.assert_allclose(mixed[NUMBERS].iloc[0], described(box["VV"].values), rtol=1e-6)
    one = room.features(archive, named, DAYS[2], bands=["VV"], orbit="descending")
    pd.testing.assert_frame_equal(one, apart.iloc[1:].reset_index(drop=True))


def test_each_relative_orbit_has_rows_of_its_own_and_unknown_ones_are_not_known(archive):
    named = {"a": shapely.box(7.2, 50.1, 8.3, 50.3)}
    table = room.features(archive, named, DAYS[0], DAYS[2], bands=["VV"], by="relative-orbit")
    found = zip(table["day"].dt.date, table["orbit"], table["relative_orbit"], strict=True)
    assert sorted(found) == sorted([
        (DAYS[0], "ascending", "88"), (DAYS[1], "ascending", "88"),
        (DAYS[2], "ascending", "15"), (DAYS[2], "ascending", "88"),
        (DAYS[2], "descending", "not known"), (DAYS[2], "descending", "several"),
    ])  # fmt: skip
    with pytest.raises(ValueError, match="direction or relative-orbit"):
        room.features(archive, named, DAYS[0], by="satellite")


@pytest.mark.parametrize("by", turns(["relative-orbit", None, "direction"]))
def test_a_file_tells_the_images_of_a_day_apart(archive, tmp_path, by):
    box = BBox(7.2, 50.1, 8.6, 50.3)
    pixel: dict[str, Any] = {"dlat": 0.002, "dlon": 0.003}
    grid = room.open(archive, box, DAYS[0], DAYS[2], by=by, **pixel)
    kinds = {
        (day, orbit, relative[0] if len(relative) == 1 else -len(relative[:1]))
        for day, orbit, relative, tiles in RECORDS if {WEST, EAST} & set(tiles)
    }  # fmt: skip
    unknown = {-1: "several", 0: "not known"}
    labels = [f"{day} {orbit} orbit {unknown.get(n, n)}" for day, orbit, n in sorted(kinds)]
    if by != "relative-orbit":
        labels = [f"{day} {orbit}" for day, orbit in sorted({kind[:2] for kind in kinds})]
        one = room.load(archive, box, DAYS[2], orbit="descending", **pixel)
        np.testing.assert_array_equal(grid["VV"][3], one["VV"][0])
    rows = room.statistics(grid)
    assert [row["day"] for row in rows[::2]] == [label[:10] for label in labels]
    with xr.open_dataset(room.export(grid, tmp_path / "a.nc")) as back:
        assert dict(back.sizes)["image"] == len(labels)
        assert back["VV"].dims == ("image", "lat", "lon")
        for name in ("VV", "VH", "time", "orbit", "relative_orbit"):
            np.testing.assert_array_equal(back[name], grid[name], name)
    assert_cf(tmp_path / "a.nc", tmp_path)
    with rasterio.open(room.export(grid, tmp_path / "a.tif")) as back:
        assert list(back.descriptions) == [f"{band} {x}" for x in labels for band in ("VV", "VH")]
        for number in range(len(labels)):
            np.testing.assert_array_equal(back.read(2 * number + 1)[::-1], grid["VV"][number])
    maps = [axes for axes in room.plot(grid).axes if axes.get_label() == "map"]
    assert [axes.get_title() or axes.get_title("left") for axes in maps] == labels
    room.export(room.load(archive, box, DAYS[0], DAYS[1], by=by, **pixel), tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "b.nc") as back:
        assert back["VV"].dims == ("time", "lat", "lon")


def test_a_few_features_at_a_time_give_the_same_as_all_at_once(archive, monkeypatch):
    rng = np.random.default_rng(1)
    places = zip(rng.uniform(7, 8.9, 20), rng.uniform(50, 50.4, 20), strict=True)
    shapes = [shapely.Point(x, y).buffer(0.05) for x, y in places]
    whole = room.features(archive, shapes, DAYS[0], DAYS[-1])
    monkeypatch.setattr(features, "CELLS", 100)
    parts = room.features(archive, shapes, DAYS[0], DAYS[-1])
    pd.testing.assert_frame_equal(whole, parts)
    assert whole["feature"].tolist()[::2][:20] == list(range(1, 21))
    with pytest.raises(ValueError, match="more than 100 cells.*--bbox"):
        room.features(archive, [shapely.Point(7.5, 50.2).buffer(0.3)], DAYS[0])


def test_what_has_no_number_is_counted(archive):
    frame = geopandas.GeoDataFrame(
        {"name": ["a", "a", "tiny", "far", "line"]},
        geometry=[
            shapely.box(7.1, 50.1, 7.2, 50.2), shapely.box(7.15, 50.1, 7.3, 50.2),
            shapely.box(7.5, 50.2, 7.500001, 50.200001), shapely.box(20, 50, 21, 51),
            shapely.LineString([(7, 50), (8, 50)]),
        ],
    )  # fmt: skip
    table = room.features(archive, frame, DAYS[0], id="name")
    assert set(table["feature"]) == {"a"}
    about = ("features", "features_joined", "features_without_a_cell", "features_outside")
    assert [table.attrs[name] for name in about] == [3, 1, 1, 1]
    assert table.attrs["features_left_out"] == 1
    whole = room.features(archive, [shapely.box(7.1, 50.1, 7.3, 50.2)], DAYS[0])
    np.testing.assert_array_equal(table["mean_dB"], whole["mean_dB"])
    for shapes, words in (
        ([shapely.box(20, 50, 21, 51)], "nothing of the 1 feature"),
        ([shapely.box(7.5, 50.2, 7.500001, 50.200001)], "no cell of the 1 feature: 1 of them"),
    ):
        with pytest.raises(room.NoData, match=words):
            room.features(archive, shapes, DAYS[0])
    with pytest.raises(room.NoData, match="nothing of the 1 feature on 2020-01-01"):
        room.features(archive, [shapely.box(7.1, 50.1, 7.3, 50.2)], dt.date(2020, 1, 1))


def test_only_the_chunks_that_features_touch_are_read(archive, monkeypatch):
    from archive import snapshot

    read = []
    values = snapshot.View.values

    def noted(view, chunk, spans, variables):
        read.append((view.tile, chunk.day, spans.size, tuple(variables)))
        return values(view, chunk, spans, variables)

    monkeypatch.setattr(snapshot.View, "values", noted)
    shapes = [shapely.box(7.1, 50.1, 7.2, 50.2), shapely.box(7.15, 50.1, 7.25, 50.2)]
    room.features(archive, shapes, DAYS[0], DAYS[1], bands=["VH"])
    union = len(cells_in(shapely.box(7.1, 50.1, 7.25, 50.2), archive.layout.ellipsoid))
    assert sorted(read) == [(WEST, day, union, ("VH",)) for day in DAYS[:2]]


def test_reflectance_is_no_decibel_and_classes_have_no_mean(tmp_path):
    archive = Archive(tmp_path / "s2")
    cells = cells_of(WEST).rename(VV="B08", VH="SCL")
    cells["SCL"] = np.ceil(50 * cells["SCL"]) % 12
    cells.attrs |= attributes_of(replace(SENTINEL2.product, bands=SENTINEL2.product.bands))
    archive.write(Chunk(WEST, DAYS[0]), cells)
    shape = shapely.box(7.2, 50.1, 7.6, 50.3)
    table = room.features(archive, [shape], DAYS[0])
    assert table["band"].tolist() == ["B08"]
    values = values_in(archive, DAYS[0], {"any"}, "B08").reindex(cells_in(shape, "sphere"))
    some = values[np.isfinite(values)]
    assert table["mean"].iloc[0] == pytest.approx(some.mean(), rel=1e-9)
    assert table["std"].iloc[0] == pytest.approx(np.std(some), rel=1e-9)
    with pytest.raises(ValueError, match="SCL: classes and angles have no mean"):
        room.features(archive, [shape], DAYS[0], bands=["SCL"])


def test_a_cluster_gives_the_same(archive, cluster):
    shapes = [shapely.box(7.1, 50.1, 7.2, 50.2), shapely.Point(8.5, 50.2).buffer(0.1)]
    here = room.features(archive, shapes, DAYS[0], DAYS[-1])
    with Client(cluster):
        there = room.features(archive, shapes, DAYS[0], DAYS[-1])
    pd.testing.assert_frame_equal(here, there)


def test_steps_are_counted(archive):
    steps = []
    shapes = [shapely.box(7.1, 50.1, 7.2, 50.2)]
    room.features(archive, shapes, DAYS[0], DAYS[-1], progress=lambda *step: steps.append(step))
    assert steps == [(number, 4) for number in (1, 2, 3, 4)]
