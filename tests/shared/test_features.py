"""Features as people have them: names, columns, kinds, layers, reference systems."""

from __future__ import annotations

import json
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely

from shared.features import as_features

SHAPES = [
    shapely.box(3, 51, 3.1, 51.1), shapely.Point(3.5, 51.2),
    shapely.MultiPolygon([shapely.box(4, 51, 4.1, 51.1), shapely.box(4.2, 51, 4.3, 51.1)]),
]  # fmt: skip
DRIVERS = {"a.geojson": "GeoJSON", "a.gpkg": "GPKG", "a.fgb": "FlatGeobuf", "a.kml": "KML"}


def written(path, columns, shapes=SHAPES, crs="EPSG:4326", **options):
    frame = geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:4326").to_crs(crs)
    frame.to_file(path, **options)
    return str(path)


@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32631"])
def test_features_of_every_kind_of_file_have_their_names_and_shapes(tmp_path, name, crs):
    columns = {"name": ["a", "b", "c"], "area": [1.5, 2.5, 3.5]}
    path = written(tmp_path / name, columns, crs=crs, driver=DRIVERS[name])
    found = as_features(path, "name")
    assert sorted(found.names) == ["a", "b", "c"]
    assert found.called.casefold() == "name"
    for shape, letter in zip(SHAPES, "abc", strict=True):
        parts = shapely.union_all(found.parts[found.owners == found.names.index(letter)])
        assert shapely.hausdorff_distance(parts, shape) < 2e-5  # a straight edge of UTM
    assert (np.diff(found.owners) >= 0).all()


@pytest.mark.parametrize(
    ("columns", "wanted", "names", "called"),
    [
        ({"crop": ["x", "y", "x"]}, None, (1, 2, 3), "their number in the file"),
        ({"crop": ["x", "y", "x"]}, "crop", ("x", "y"), "crop"),
        ({"crop": ["x", "y", "x"]}, "CROP", ("x", "y"), "crop"),
        ({"id": [7, 9, 8], "name": ["a", "b", "c"]}, None, (7, 9, 8), "id"),
        ({"id": [7, 7, 8], "Name": ["a", "b", "c"]}, None, ("a", "b", "c"), "Name"),
        ({"id": [7.0, 9.0, None]}, None, (1, 2, 3), "their number in the file"),
        ({"nr": [7.0, 9.5, 8.0]}, "nr", (7, "9.5", 8), "nr"),
        ({"day": ["", "b", "c"]}, None, (1, 2, 3), "their number in the file"),
    ],
)
def test_names_are_those_of_a_column_or_numbers(columns, wanted, names, called):
    frame = geopandas.GeoDataFrame(columns, geometry=SHAPES)
    found = as_features(frame, wanted)
    assert (found.names, found.called) == (names, called)
    assert found.joined == (wanted is not None and wanted.casefold() == "crop")
    assert set(found.owners) == set(range(len(names)))


@pytest.mark.parametrize(
    ("columns", "wanted", "words"),
    [
        ({"crop": ["x", "y", "z"]}, "field", "no column field; the columns are crop"),
        (
            {"crop": ["x", None, "z"]},
            "crop",
            "crop has nothing for 1 of 3 features.*number 2",
        ),
        ({}, "crop", "no columns at all"),
    ],
)
def test_a_column_that_gives_no_names_is_said(columns, wanted, words):
    with pytest.raises(ValueError, match=words):
        as_features(geopandas.GeoDataFrame(columns, geometry=SHAPES), wanted)


def test_from_python_features_are_shapes_wkt_or_these_by_name():
    by_name = as_features({"a": SHAPES[0], "b": SHAPES[1].wkt})
    assert by_name.names == ("a", "b")
    assert as_features([SHAPES[0].wkt, SHAPES[2]]).names == (1, 2)
    assert as_features(SHAPES[2].wkt).owners.tolist() == [0, 0]
    collection = {"type": "FeatureCollection", "features": [
        {"type": "Feature", "properties": {"id": n}, "geometry": shapely.geometry.mapping(shape)}
        for n, shape in enumerate(SHAPES)
    ]}  # fmt: skip

    class Rows:
        __geo_interface__ = collection

    assert as_features(Rows()).names == (0, 1, 2)


def test_what_is_no_feature_is_said_in_one_line(tmp_path):
    line = shapely.LineString([(3, 51), (4, 52)])
    (tmp_path / "text.geojson").write_text("no json")
    (tmp_path / "empty.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": []})
    )
    far = written(tmp_path / "far.gpkg", {}, [shapely.Point(3, 51)], crs="EPSG:32631")
    frame = geopandas.read_file(far).set_crs(None, allow_override=True)
    wrong: list[tuple[Any, str]] = [
        ([line], "This has 1 linestring; features are polygons or points"),
        (str(tmp_path / "text.geojson"), "text.geojson is no file of"),
        (str(tmp_path / "empty.geojson"), "no geometry at all"),
        (str(tmp_path / "none.gpkg"), "There is no file .*none.gpkg; features are polygons"),
        (frame, "no number of degrees"),
        ([3], "is no geometry"),
        (3, "features are polygons or points"),
    ]
    for source, words in wrong:
        with pytest.raises(ValueError, match=words) as caught:
            as_features(source)
        assert "\n" not in str(caught.value)
    mixed = as_features([line, SHAPES[0], shapely.Point(), shapely.Polygon()])
    assert (mixed.names, mixed.left) == ((2,), 3)


def test_points_may_be_columns_of_a_csv(tmp_path):
    (tmp_path / "a.csv").write_text("id,Longitude,latitude\nx,3.5,51.25\ny,4,52\n")
    found = as_features(str(tmp_path / "a.csv"))
    assert found.names == ("x", "y")
    np.testing.assert_array_equal(shapely.get_coordinates(found.parts), [(3.5, 51.25), (4, 52)])
    (tmp_path / "b.csv").write_text("id,east\nx,3.5\n")
    with pytest.raises(ValueError, match="no geometry at all"):
        as_features(str(tmp_path / "b.csv"))


def test_a_layer_is_named_where_several_have_features(tmp_path):
    path = written(tmp_path / "a.gpkg", {"id": [1, 2, 3]}, layer="fields")
    written(path, {"id": [4]}, [shapely.Point(3, 51)], layer="wells")
    with pytest.raises(ValueError, match="features in several layers: fields, wells"):
        as_features(path)
    assert as_features(f"{path}|wells").names == (4,)


def test_polygons_that_cross_themselves_are_mended_and_may_pass_180():
    bow = shapely.Polygon([(3, 51), (4, 52), (4, 51), (3, 52)])
    across = shapely.Polygon([(179, -17), (-179, -17), (-179, -16), (179, -16)])
    found = as_features([bow, across])
    assert shapely.is_valid(found.parts).all()
    assert shapely.area(found.parts[found.owners == 1]).sum() == pytest.approx(2)
    assert shapely.area(found.parts[found.owners == 0]).sum() == pytest.approx(0.5)
