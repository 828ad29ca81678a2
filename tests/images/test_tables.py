"""Tables of features as files: read back by pandas and DuckDB; as a picture."""

from __future__ import annotations

import sys

import duckdb
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import retrieve
from images import tables
from tests.rounds import seldom


def table_of(features=3, days=4, bands=("VV", "VH"), passes=("ascending",), relative=()):
    """Made-up rows; of the first feature nothing was seen on the first day."""
    rng = np.random.default_rng(1)
    when = np.datetime64("2026-01-20", "s") + np.arange(days) * np.timedelta64(6, "D")
    rows = [
        {"feature": f"field {number}", "day": day, "orbit": orbit, "relative_orbit": orbits}
        | {"band": band, "mean_dB": mean, "median_dB": mean - 0.2, "low_dB": mean - 2.5}
        | {"high_dB": mean + 2.0, "std_power": 0.03, "cells": 321, "seen": seen}
        for day in when for number in range(features) for orbit in passes
        for orbits in relative or ("",) for band in bands
        for seen in [0.0 if number == 0 and day == when[0] else 1.0]
        for mean in [rng.normal(-12, 1) if seen else np.nan]
    ]  # fmt: skip
    table = pd.DataFrame(rows).drop(columns=[] if relative else ["relative_orbit"])
    table.attrs = {"source": "contains modified Copernicus Sentinel data 2026", "synthetic": 0}
    return table


def test_a_csv_is_what_pandas_reads_back_but_for_its_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BATCH", 7)
    table = table_of()
    path = retrieve.save_line(table, None, tmp_path / "a.csv")
    back = pd.read_csv(path, parse_dates=["day"])
    assert back["mean_dB"].isna().sum() == 2
    pd.testing.assert_frame_equal(
        back, table.astype({"day": back["day"].dtype}), atol=5.1e-4, rtol=0
    )
    first, gap = path.read_text().splitlines()[3:0:-2]
    assert gap == "field 0,2026-01-20,ascending,VV,,,,,0.03,321,0.000"
    assert first.startswith("field 1,2026-01-20,ascending,VV,-1")


def test_a_parquet_has_types_dates_and_nulls(tmp_path):
    table = table_of()
    table["number"] = np.arange(len(table))
    table.loc[5, "mean_dB"] = -np.inf  # the dB of no power
    path = retrieve.save_line(table, None, tmp_path / "a.parquet")
    found = duckdb.sql(f"select * from '{path}'")
    assert found is not None
    kinds = dict(zip(found.columns, map(str, found.types), strict=True))
    assert kinds["day"] == "DATE"
    assert kinds["feature"] == kinds["band"] == "VARCHAR"
    assert kinds["mean_dB"] == kinds["seen"] == "DOUBLE"
    assert kinds["number"] == kinds["cells"] == "BIGINT"
    back = found.df()
    expected = table.replace(-np.inf, np.nan).astype({"day": "datetime64[us]"})
    pd.testing.assert_frame_equal(back.astype({"day": "datetime64[us]"}), expected)
    nulls = duckdb.sql(f"select count(*) from '{path}' where mean_dB is null")
    assert nulls is not None
    assert nulls.fetchall() == [(3,)]


def test_without_the_package_a_parquet_is_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "arro3.io", None)
    with pytest.raises(ValueError, match="pip install arro3-io.*Nothing was written.*csv"):
        retrieve.save_line(table_of(), None, tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_table_goes_to_no_other_file_and_replaces_none_unasked(tmp_path):
    table = table_of()
    with pytest.raises(ValueError, match=r"must end in \.csv or \.parquet or \.png"):
        retrieve.save_line(table, None, tmp_path / "a.nc")
    retrieve.save_line(table, None, tmp_path / "a.csv")
    with pytest.raises(FileExistsError):
        retrieve.save_line(table, None, tmp_path / "a.csv")


@seldom(3)
def test_a_picture_has_a_panel_for_each_feature_on_the_same_axes(tmp_path, monkeypatch):
    monkeypatch.setattr(retrieve, "DPI", 50)
    for number, shown in ((1, 1), (3, 3), (30, 24)):
        figure = retrieve.plot_line(table_of(number))
        assert len(figure.axes) == shown
        assert len({axes.get_xlim() for axes in figure.axes}) == 1
        assert len({axes.get_ylim() for axes in figure.axes}) == 1
        assert [axes.get_title(loc="left") for axes in figure.axes] == [
            f"field {i}" for i in range(shown)
        ]
    assert "the first 24 of 30 features" in figure.texts[1].get_text()
    path = retrieve.save_line(table_of(30), None, tmp_path / "a.png")
    with Image.open(path) as picture:
        assert min(picture.size) > 400


def test_lines_of_a_panel_are_the_means_of_its_feature():
    table = table_of(2, passes=("ascending", "descending"))
    figure = retrieve.plot_line(table)
    for axes, feature in zip(figure.axes, ("field 0", "field 1"), strict=True):
        assert len(axes.get_lines()) == 4
        for one in axes.get_lines():
            band, orbit = str(one.get_label()).split()
            is_mine = (table["band"] == band) & (table["orbit"] == orbit)
            mine = table[is_mine & (table["feature"] == feature)]
            drawn = np.asarray(one.get_ydata(), float)
            np.testing.assert_allclose(drawn, mine["mean_dB"].dropna())
