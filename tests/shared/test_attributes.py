"""Attributes in every form that a writer has: one text, whoever reads the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray as xr

from shared.attributes import plain, text

WORDS = "Île 6°E"  # the same characters in Latin-1 and UTF-8, other bytes


def typed(value, dtype):
    """An array as HDF5 keeps it, with the type that it is to have there."""
    return np.asarray(value, dtype)


def characters(raw):
    return np.array([bytes([byte]) for byte in raw])


STRING, ASCII = h5py.string_dtype(), h5py.string_dtype("ascii")

# How a writer puts a text.
FORMS: dict[str, Callable[[str], Any]] = {
    "a string": str,
    "an array of one string": lambda words: typed([words], STRING),
    "a table of one string": lambda words: typed([[words]], STRING),
    "a string that says it is ASCII": lambda words: typed(words.encode(), ASCII),
    "a string in Latin-1": lambda words: typed(words.encode("latin-1"), STRING),
    "one string in Latin-1": lambda words: typed([words.encode("latin-1")], STRING),
    "characters": lambda words: np.bytes_(words.encode()),
    "characters with zeros behind": lambda words: typed(words.encode(), f"S{9 * len(words)}"),
    "characters in Latin-1": lambda words: np.bytes_(words.encode("latin-1")),
    "one in characters": lambda words: np.array([words.encode()]),
    "one in characters in Latin-1": lambda words: np.array([words.encode("latin-1")]),
    "an array of characters": lambda words: characters(words.encode()),
    "an array of characters in Latin-1": lambda words: characters(words.encode("latin-1")),
}


def written(path, value):
    with h5py.File(path, "w") as file:
        file.create_dataset("crs", (), "i1").attrs["words"] = value
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_text_in_any_form_is_that_text_by_h5py_and_by_xarray(form, tmp_path):
    path = written(tmp_path / "a.nc", FORMS[form](WORDS))
    with h5py.File(path) as file:
        assert text(file["crs"].attrs["words"]) == WORDS
        assert plain(file["crs"].attrs)["words"] == WORDS
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as file:
        assert plain(file["crs"].attrs)["words"] == WORDS


@pytest.mark.parametrize("kind", ["NETCDF4", "NETCDF4_CLASSIC", "NETCDF3_CLASSIC"])
def test_what_netcdf4_writes_is_read(kind, tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w", format=kind) as file:
        file.plain, file.number, file.numbers = "words", 0.5, [1, 2]
        if kind == "NETCDF4":
            file.words = WORDS
            file.setncattr_string("string", "words")
            file.setncattr("several", ["a", "b"])
            file.setncattr_string("nothing", "")
    engine = "scipy" if kind.startswith("NETCDF3") else "h5netcdf"
    with xr.open_dataset(tmp_path / "a.nc", engine=engine, decode_cf=False) as file:
        found = plain(file.attrs)
    assert (found["plain"], found["number"], list(found["numbers"])) == ("words", 0.5, [1, 2])
    if kind == "NETCDF4":
        names = ("words", "string", "several", "nothing")
        assert [found[name] for name in names] == [WORDS, "words", "a b", ""]


@pytest.mark.parametrize(
    "value", [None, b"", "", [], np.array([], "S1"), h5py.Empty("S1"), h5py.Empty("f8")]
)
def test_nothing_in_any_form_is_no_text(value):
    assert text(value) == ""
    assert plain({"a": value}) == {"a": ""}


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), [0.5], np.array([[0.5]]), (0.5,)])
def test_a_number_in_any_form_is_that_number(value):
    assert plain({"a": value})["a"] == 0.5
