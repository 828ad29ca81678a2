"""The numbers of many areas, as people ask for them: by flags, and by answers."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import duckdb
import geopandas
import pandas as pd
import pytest
import shapely

import main
import retrieve
from cli.exits import DONE, NO_DATA, USAGE
from tests.cli.test_retrieve_command import archive, three_days

_ = archive, three_days  # fixtures
DAYS = ("--start", "2026-01", "--end", "2026-02")
LINE = ("--line", "a.csv")


@pytest.fixture
def fields(archive):
    """Two fields that overlap, a place, a road, and what is too small, or far away."""
    shapes = [
        shapely.box(7.2, 50.1, 7.4, 50.2), shapely.box(7.3, 50.1, 7.5, 50.2),
        shapely.Point(7.3, 50.3), shapely.LineString([(7.1, 50.1), (7.2, 50.2)]),
        shapely.box(7.4, 50.3, 7.400001, 50.300001), shapely.box(17, 50, 18, 51),
    ]  # fmt: skip
    columns = {"name": ["left", "right", "well", "road", "dot", "far"], "crop": list("aabccd")}
    geopandas.GeoDataFrame(columns, geometry=shapes, crs=4326).to_file("fields.gpkg")
    return archive


def run(*arguments):
    return main.main(["retrieve", "--features", "fields.gpkg", *arguments])


def test_features_become_numbers_and_a_picture(fields, capsys):
    files = ("--line", "a.csv", "--line", "a.parquet", "--line", "a.png")
    assert run(*DAYS, *files) == DONE
    out, err = capsys.readouterr()
    assert out.split() == ["a.csv", "a.parquet", "a.png"]
    for words in (
        "3 of 5 features, named by name", "1 with neither a polygon nor a point", "1 without the",
        "1 outside of the archive's tiles", "ascending: 2 days, 2026-01-20 to 2026-02-01",
        "descending: 2 days, 2026-01-26 to 2026-02-01",
    ):  # fmt: skip
        assert words in err
    table = pd.read_csv("a.csv")
    assert list(table.columns) == [
        "feature", "day", "orbit", "band", "mean_dB", "median_dB", "low_dB", "high_dB",
        "std_power", "cells", "seen",
    ]  # fmt: skip
    assert len(table) == 3 * 4 * 2
    assert set(table["feature"]) == {"left", "right", "well"}
    assert set(table.query("feature == 'well'")["cells"]) == {1}
    relation = duckdb.sql("select feature, mean_dB from 'a.parquet'")
    assert relation is not None
    found = relation.df()
    pd.testing.assert_frame_equal(found, table[["feature", "mean_dB"]], atol=5.1e-4, rtol=0)


def test_flags_choose_names_bands_passes_and_days(fields, capsys):
    more = ("--id", "crop", "--bands", "vh", "--orbit", "descending")
    assert run("--day", "2026-02-01", *more, *LINE) == DONE
    table = pd.read_csv("a.csv")
    assert table["feature"].tolist() == ["a", "b"]
    assert set(table["band"]) == {"VH"}
    assert set(table["orbit"]) == {"descending"}
    assert "1 of the names are of several features" in capsys.readouterr().err
    assert run("--day", "2026-02-01", "--orbit", "any", "--overwrite", *LINE) == DONE
    assert set(pd.read_csv("a.csv")["orbit"]) == {"mixed"}


def test_relative_orbits_are_a_column_and_not_known_ones_are_named_so(fields, capsys):
    assert run(*DAYS, "--by", "relative-orbit", *LINE) == DONE
    assert set(pd.read_csv("a.csv")["relative_orbit"]) == {"not known"}
    assert "ascending not known: 2 days" in capsys.readouterr().err
    area = ("--bbox", "7.2,50.1,7.6,50.3", "--no-show")
    line = ("--by", "relative-orbit", "--line", "l.csv", "--line", "l.png")
    assert main.main(["retrieve", *area, *DAYS, *line]) == DONE
    table = pd.read_csv("l.csv")
    assert list(table.columns[:4]) == ["day", "orbit", "relative_orbit", "band"]
    assert set(table["relative_orbit"]) == {"not known"}
    assert len(table) == 8
    plain = ("--line", "p.csv", "--output", "p.png", "--orbit", "any")
    assert main.main(["retrieve", *area, *DAYS, *plain]) == DONE
    assert "relative_orbit" not in pd.read_csv("p.csv")
    more = ("--by", "relative-orbit", *plain, "--overwrite")
    assert main.main(["retrieve", *area, *DAYS, *more]) == DONE
    assert len(pd.read_csv("p.csv")) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (LINE, "needs days: --day, or --start and --end"),
        (DAYS, "needs a file to write: --line FILE"),
        ((*DAYS, "--line", "a.nc"), "must end in .csv or .parquet or .png"),
        ((*DAYS, *LINE, "--bbox", "7,50,8,51"), "--bbox does not go with --features"),
        ((*DAYS, *LINE, "--output", "a.png"), "--output does not go with --features"),
        ((*DAYS, *LINE, "--composite", "mean"), "--composite does not go with --features"),
        ((*DAYS, *LINE, "--despeckle"), "--despeckle does not go with --features"),
        ((*DAYS, *LINE, "--dlat", "0.1"), "--dlat does not go with --features"),
        ((*DAYS, *LINE, "--no-clip"), "--clip does not go with --features"),
        ((*DAYS, *LINE, "--method", "bilinear"), "--method does not go with --features"),
        ((*DAYS, *LINE, "--bands", "HH"), "HH"),
        ((*DAYS, *LINE, "--id", "owner"), "no column owner; the columns are name, crop"),
        ((*DAYS, *LINE, "--by", "satellite"), "satellite"),
        ((*DAYS, "--line", "no/a.csv"), "the folder no does not exist"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_nothing_is_written(fields, capsys, arguments, words):
    before = sorted(Path().iterdir())
    assert run(*arguments) == USAGE
    told = " ".join(capsys.readouterr().err.split())
    assert words in told
    assert "bug" not in told
    assert sorted(Path().iterdir()) == before


def test_flags_of_features_need_features_or_a_line(archive, capsys):
    area = ("--bbox", "7.2,50.1,7.6,50.3", "--no-show", "--output", "a.png")
    for more, words in (
        (("--id", "x"), "--id needs --features"),
        (("--by", "direction", "--as-of", "3"), "--by does not go with --as-of"),
    ):
        assert main.main(["retrieve", *area, "--day", "2026-01-20", *more]) == USAGE
        assert words in capsys.readouterr().err


def test_days_without_a_record_are_no_data(fields, capsys):
    assert run("--start", "2020-01", *LINE) == NO_DATA
    assert "nothing of the 5 features" in capsys.readouterr().err
    assert not Path("a.csv").exists()


@pytest.mark.parametrize("file", ["swapped.gpkg", "lat,lon:swapped.gpkg"])
def test_features_with_latitudes_first_are_refused_and_a_word_settles_them(fields, capsys, file):
    right = geopandas.read_file("fields.gpkg")
    turned = shapely.transform(right.geometry.values, lambda xy: xy[:, ::-1])
    right.set_geometry(turned, crs=4326).to_file("swapped.gpkg")
    is_said = file.startswith("lat,lon:")
    code = main.main(["retrieve", "--features", file, *DAYS, *LINE])
    assert code == (DONE if is_said else NO_DATA)
    assert ("lat,lon:swapped.gpkg: latitudes may" in capsys.readouterr().err) == (not is_said)
    if is_said:
        assert run(*DAYS, "--line", "b.csv") == DONE
        assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


def test_polygons_that_were_agreed_on_are_those_of_their_features_and_of_the_told_command(
    fields, monkeypatch, capsys
):
    shapes = [shapely.box(50.1, 7.2, 50.2, 7.4), shapely.box(50.1, 7.6, 50.2, 7.7)]
    geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=shapes, crs=4326).to_file("sea.gpkg")
    way = ["sea.gpkg", "y", "y", "", "2026", "any", "", "VV", "more", "0.05", "usual", "n", "none",
           "each.csv", "", "", "a.nc"]  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in way)))
    assert main.main(["retrieve", "--no-show"]) == DONE
    first = {name: Path(name).read_bytes() for name in ("each.csv", "a.nc")}
    told = capsys.readouterr().err.partition("without questions:")[2].splitlines()
    for words in filter(None, map(shlex.split, told)):
        assert main.main(words[2:]) == DONE
    assert Path("each.csv").read_bytes() == first["each.csv"]
    Path("sea.gpkg").unlink()
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n\n2026-01-20\n\nVV\nb.nc\n"))
    assert main.main(["retrieve", "--no-show"]) == DONE, "it is remembered as it was agreed on"


def test_without_the_package_parquet_is_refused_before_anything_is_read(
    fields, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    monkeypatch.setattr(retrieve, "features", None)
    assert run(*DAYS, *LINE, "--line", "a.parquet") == USAGE
    assert "pip install arro3-io" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--no-show"]])
def test_the_questions_offer_each_feature_of_a_file_and_tell_the_command(
    fields, monkeypatch, capsys, more
):
    way = [
        "fields.gpkg", "y", "", "2026", "any", "", "VV", "more", "0.05", "usual", "n", "none",
        "each.csv", "no such", "crop", "relative-orbit", "none",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in way)))
    assert main.main(["retrieve", *more]) == DONE
    out, err = capsys.readouterr()
    assert out.split() == ["each.csv"]
    assert "no display" not in err, "somebody got what was asked for"
    before = Path("each.csv").read_bytes()
    told = [shlex.split(line) for line in err.partition("without questions:")[2].splitlines()]
    for words in filter(None, told):
        assert words[2:5] == ["retrieve", "--archive", main.ZARR_PATH]
        assert main.main(words[2:]) == DONE
    assert Path("each.csv").read_bytes() == before
    table = pd.read_csv("each.csv")
    assert set(table["orbit"]) == {"ascending", "descending"}
    assert set(table["relative_orbit"]) == {"not known"}
    assert set(table["feature"]) == {"a", "b"}
