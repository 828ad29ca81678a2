"""Polygons as people have them: every kind of file, reference system and way across 180 degrees."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.warp import transform_geom

from grid import BBox, Tile, tiles_covering
from shared import areas, polygons
from shared.areas import Area, iter_tiles
from shared.polygons import read

HOLED = shapely.Polygon(
    [(3.6, 51.1), (4.4, 51.15), (4.2, 51.4), (3.7, 51.35)],
    [[(3.9, 51.2), (4.1, 51.2), (4.0, 51.3)]],
)
PARTS = shapely.MultiPolygon([HOLED, shapely.Polygon([(4.6, 51.1), (4.9, 51.1), (4.7, 51.3)])])
DRIVERS = {
    "a.geojson": "GeoJSON", "a.json": "GeoJSON", "a.shp": "ESRI Shapefile", "a.gpkg": "GPKG",
    "a.kml": "KML", "a.fgb": "FlatGeobuf", "a.gml": "GML",
}  # fmt: skip


def frame_of(*geometries, crs="EPSG:4326"):
    return geopandas.GeoDataFrame(geometry=list(geometries), crs=crs)


def area_of(text):
    found = read(str(text))
    assert isinstance(found, Area)
    assert found.polygon.is_valid
    return found


def geojson(path, geometry, **members):
    path.write_text(json.dumps({**shapely.geometry.mapping(geometry), **members}))
    return path


@pytest.mark.parametrize("name", DRIVERS)
def test_every_kind_of_file_is_read(tmp_path, name):
    frame_of(*PARTS.geoms).to_file(tmp_path / name, driver=DRIVERS[name])
    area = area_of(tmp_path / name)
    assert area.polygon.symmetric_difference(PARTS).area < 1e-9
    assert areas.plain(area) == BBox(*area.polygon.bounds)
    assert area.name == str(tmp_path / name)


def test_a_zipped_shapefile_is_read(tmp_path):
    frame_of(PARTS).to_file(tmp_path / "a.shp")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for part in tmp_path.glob("a.*"):
            if part.suffix != ".zip":
                file.write(part, part.name)
    assert area_of(tmp_path / "a.zip").polygon.equals(PARTS)


@pytest.mark.parametrize("name", ["a.geojson", "a.shp", "a.gpkg"])
@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:3035", "EPSG:3857", "EPSG:4258"])
def test_a_polygon_is_read_in_its_reference_system(tmp_path, name, crs):
    """By GDAL and PROJ; `geopandas` writes a "crs" member into GeoJSON."""
    there = frame_of(PARTS).to_crs(crs)
    there.to_file(tmp_path / name, driver=DRIVERS[name])
    area = area_of(tmp_path / name)
    dense = shapely.segmentize(there.geometry[0], 500 if crs != "EPSG:4258" else 1)
    back = shapely.geometry.shape(transform_geom(crs, "OGC:CRS84", shapely.geometry.mapping(dense)))
    far = shapely.hausdorff_distance(area.polygon.boundary, back.boundary)
    assert far < 1e-5  # a metre


@pytest.mark.parametrize(
    "text",
    [
        HOLED.wkt,
        f"SRID=4326;{HOLED.wkt}",
        f"  {HOLED.wkt.lower()}  ",
        f"GEOMETRYCOLLECTION (POINT (1 2), {HOLED.wkt}, LINESTRING (0 0, 1 1))",
    ],
)
def test_well_known_text_may_be_typed_or_in_a_file(tmp_path, text):
    assert area_of(text).polygon.equals(HOLED)
    (tmp_path / "a.wkt").write_text(f"{text}\n")
    assert area_of(tmp_path / "a.wkt").polygon.equals(HOLED)


def test_text_may_name_its_reference_system():
    utm = frame_of(shapely.segmentize(HOLED, 0.001)).to_crs("EPSG:32631").geometry[0]
    far = area_of(f"SRID=32631;{utm.wkt}").polygon.symmetric_difference(HOLED).area
    assert far < 1e-5


def test_a_geojson_may_be_features_with_nothing_between_them(tmp_path):
    ring = [[7, 50], [8, 50.2, 12], [7.5, 50.5], [7, 50]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    features = [feature, {"type": "Feature", "geometry": None, "properties": {}}, feature]
    path = tmp_path / "an area.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert areas.plain(read(f" '{path}' ")) == BBox(7, 50, 8, 50.5)


def test_a_polygon_that_is_just_its_box_is_a_box(tmp_path):
    assert read(str(geojson(tmp_path / "a.json", shapely.box(7, 50, 8, 50.5)))) == BBox(
        7, 50, 8, 50.5
    )


def test_one_of_several_layers_has_to_be_named(tmp_path):
    path = tmp_path / "a.gpkg"
    frame_of(HOLED).to_file(path, layer="fields")
    frame_of(shapely.Point(1, 2)).to_file(path, layer="wells")
    assert area_of(path).polygon.equals(HOLED), "the only one with polygons"
    frame_of(PARTS.geoms[1]).to_file(path, layer="woods")
    with pytest.raises(ValueError, match=r"several layers: fields, woods\.  Name one, like a.gpkg"):
        read(str(path))
    for text in (f"{path}|woods", f"{path}|layername=woods"):
        assert area_of(text).polygon.equals(PARTS.geoms[1])
    with pytest.raises(ValueError, match="no layer walls"):
        read(f"{path}|walls")
    with pytest.raises(ValueError, match="has 1 point, and no polygon"):
        read(f"{path}|wells")


# --- across 180 degrees ---

FIJI = shapely.Polygon([(179, -17), (181, -16.5), (180, -16)])


def ways_across(polygon):
    """The same polygon as programs write it."""
    west = shapely.intersection(polygon, shapely.box(-180, -90, 180, 90))
    east = shapely.intersection(polygon, shapely.box(180, -90, 540, 90))
    east = shapely.transform(east, lambda xy: xy - [360, 0])
    jumps = shapely.transform(polygon, lambda xy: xy - (xy > 180) * [360, 0])
    west_of = shapely.transform(polygon, lambda xy: xy - [360, 0])
    return [polygon, shapely.union_all([west, east]), jumps, west_of]


@pytest.mark.parametrize("number", range(4))
def test_across_180_degrees_every_way_of_writing_is_the_same(tmp_path, number):
    area = area_of(geojson(tmp_path / "a.geojson", ways_across(FIJI)[number]))
    assert (area.west, area.east) == (179, -179)
    assert area.crosses_antimeridian
    assert area.polygon.symmetric_difference(FIJI).area < 1e-12
    assert {t.name for t in iter_tiles(area, (1, 0.5))} == {
        "E179.0_S17.0", "W180.0_S17.0", "E179.0_S16.5", "W180.0_S16.5",
    }  # fmt: skip


points = st.tuples(st.integers(-1800, 1800), st.integers(-800, 800))


@settings(max_examples=150)
@given(st.lists(points, min_size=1, max_size=4, unique=True), st.integers(1, 300))
def test_parts_anywhere_become_one_box_that_is_as_narrow_as_can_be(middles, size):
    """Triangles; the gap that the box leaves is the widest one between them."""
    parts = [
        shapely.Polygon([(x / 10, y / 10), (x / 10 + size / 10, y / 10), (x / 10, y / 10 + 5)])
        for x, y in middles
    ]
    whole = shapely.union_all(parts)
    area = read(whole.wkt)
    assert isinstance(area, Area)
    west, south, east, north = area.polygon.bounds
    assert west == area.west
    assert (south, north) == (area.south, area.north)
    assert area.width == pytest.approx(east - west)
    busy = sorted(((p.bounds[0] + 180) % 360, size / 10) for p in parts)
    gaps, reach = [], max(a + w for a, w in busy) - 360
    for begin, width in busy:
        gaps.append(begin - reach)
        reach = max(reach, begin + width)
    assert area.width == pytest.approx(360 - max(gaps), abs=1e-6) or max(gaps) < 1e-6
    lon = np.array([p.centroid.x for p in parts])
    lat = np.array([p.centroid.y for p in parts])
    assert areas.holds(area, (lon + 180) % 360 - 180, lat).all()


def test_around_a_pole_and_around_the_earth(tmp_path):
    square = shapely.box(-2e6, -2e6, 2e6, 2e6)
    frame_of(square, crs="EPSG:3413").to_file(tmp_path / "arctic.gpkg")
    area = area_of(tmp_path / "arctic.gpkg")
    assert (area.west, area.east, area.north) == (-180, 180, 90)
    lon = np.array([-170.0, 0.0, 100.0, 100.0])
    assert areas.holds(area, lon, np.array([89.0, 80.0, 75.0, 60.0])).tolist() == [True] * 3 + [
        False
    ]
    world = geojson(tmp_path / "w.json", shapely.box(-180, -60, 180, 60))
    assert read(str(world)) == BBox(-180, -60, 180, 60)


# --- tiles ---

corners = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(
    lambda p: (5 + p[0] / 10, 50 + p[1] / 10)
)


@settings(max_examples=150)
@given(st.lists(corners, min_size=3, max_size=8))
def test_the_tiles_of_a_polygon_are_those_that_share_an_area_with_it(ring):
    polygon = shapely.make_valid(shapely.Polygon(ring))
    assume(polygon.area > 0)
    area = read(polygon.wkt)
    found = set(iter_tiles(area, (1, 0.5)))
    polygon = shapely.from_wkb(area.wkb) if isinstance(area, Area) else polygon
    for tile in tiles_covering(areas.plain(area), (1, 0.5)):
        box = shapely.box(tile.west, tile.south, tile.east, tile.north)
        shared = shapely.intersection(polygon, box).area
        assert (tile in found) == (shared > 0) or shared < 1e-4


def test_the_rounding_of_a_projection_orders_no_tile():
    just = shapely.Polygon([(7, 50), (8 + 5e-7, 50.2), (7.5, 50.4)])
    assert list(iter_tiles(area_of(just.wkt), (1, 0.5))) == [Tile(7, 50, 8, 50.5)]
    more = shapely.Polygon([(7, 50), (8 + 5e-6, 50.2), (7.5, 50.4)])
    assert len(list(iter_tiles(area_of(more.wkt), (1, 0.5)))) == 2


def test_an_area_is_kept_as_text_to_the_bit():
    utm = frame_of(PARTS).to_crs("EPSG:32631").geometry[0]
    area = area_of(f"SRID=32631;{utm.wkt}")
    again = areas.from_text(areas.as_text(area))
    assert again is not None
    assert again.polygon.wkb == area.polygon.wkb
    assert (str(again), again.name) == (str(area), area.name)
    assert areas.as_text(areas.plain(area)) == ""
    assert areas.from_text("") is None


# --- what is wrong ---


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.geojson", "{", "is no file of polygons: an area is a box, or GeoJSON, a shapefile, "),
        ("a.geojson", "{}", "is no file of polygons"),
        ("a.json", "[[1,2],[1,3]]", "is no file of polygons"),
        ("a.geojson", '{"type":"Point","coordinates":[1,2]}', "has 1 point, and no polygon"),
        ("a.geojson", '{"type":"FeatureCollection","features":[]}', "no geometry at all"),
        ("a.png", "\x89PNG", "is no file of polygons"),
        ("a.csv", "a,b\n1,2\n", "no geometry at all, and no polygon"),
        ("a.wkt", "POLYGON ((3 51, 4", "is no WKT, such as POLYGON"),
        ("a.wkt", "some words", "is no WKT"),
        ("a.shp", "x", "a.shx, which belongs to it, is missing"),
    ],
)
def test_what_is_no_polygon_is_told_in_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=words.replace(".", r"\.")) as error:
        read(str(tmp_path / name))
    assert len(str(error.value)) < 200
    assert "\n" not in str(error.value)


def test_numbers_that_are_no_degrees_are_told(tmp_path):
    utm = frame_of(HOLED).to_crs("EPSG:32631").geometry[0]
    path = geojson(tmp_path / "a.geojson", utm)
    with pytest.raises(ValueError, match="is no number of degrees; the file does not say"):
        read(str(path))


def test_what_is_not_there_or_has_no_area_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"There is no file nothing\.shp; an area is a box, or"):
        read("nothing.shp")
    with pytest.raises(ValueError, match="has no area"):
        read("POLYGON ((0 0, 1 1, 0 0, 0 0))")
    with pytest.raises(ValueError, match="is no file of polygons"):
        read(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("area.shp", True), ("a b.geojson", True), ("POLYGON ((0 0", True), ("x.gpkg|y", True),
     ("C:\\x\\fields", True), ("7,50,8,50.5", False), ("3.6E 51.1N 4.4E 51.4N", False),
     ("7/50/8/50.5", False), ("", False)],
)  # fmt: skip
def test_a_polygon_is_told_from_a_box(text, is_one):
    assert areas.is_meant(text) == is_one


def test_a_bow_tie_is_mended():
    area = area_of("POLYGON ((0 0, 2 2, 2 0, 0 2, 0 0))")
    assert area.polygon.area == pytest.approx(2)
    assert polygons.ACCEPTED.count(",") == 4
    assert Path(area.name).name
