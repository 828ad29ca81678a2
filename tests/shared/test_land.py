"""Land and sea, against the package's own mask, whatever is kept of it."""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from shared import land as module
from shared.land import land

LAT, LON = np.array([89.9, 51.2, 12.3, 0.4, -33.7, -89.9]), np.arange(-179.5, 180, 7.3)


@pytest.fixture(scope="module")
def strips():
    return module._made()


def forget():
    for kept in (module._strip, module._kept, module._strips):
        kept.cache_clear()


@pytest.fixture
def kept(tmp_path, monkeypatch, strips):
    """A cache of a user, empty; the mask is not inflated again for each test."""
    monkeypatch.setattr(module, "_path", lambda: tmp_path / "cache" / "land.zip")
    monkeypatch.setattr(module, "_made", lambda: strips)
    forget()
    yield tmp_path / "cache" / "land.zip"
    forget()


def test_land_is_where_the_mask_of_the_package_has_none_of_the_ocean(kept):
    spec = find_spec("global_land_mask")
    assert spec is not None
    path = Path(str(spec.origin)).with_name("globe_combined_mask_compressed.npz")
    rows = ((90 - LAT) * 120).astype(int).tolist()
    with zipfile.ZipFile(path) as file, file.open("mask.npy") as stream:
        stream.read(file.getinfo("mask.npy").file_size - 21600 * 43200)
        ocean = {
            row: np.frombuffer(data, bool)
            for row in range(max(rows) + 1)
            if (data := stream.read(43200)) and row in rows
        }
    expected = [~ocean[row][((LON + 180) * 120).astype(int)] for row in rows]
    np.testing.assert_array_equal(land(LAT, LON), expected)
    assert 0 < np.mean(expected) < 1


def without(name, whole):
    """The strips but for one."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as file, zipfile.ZipFile(made, "w") as other:
        for each in file.namelist():
            if each != name:
                other.writestr(each, file.read(each))
    return made.getvalue()


DAMAGES = {
    "none": lambda whole: whole,
    "empty": lambda whole: b"",
    "half of it": lambda whole: whole[: len(whole) // 2],
    "something else": lambda whole: b"no zip at all",
    "a bit of each strip": lambda whole: bytes(
        byte ^ 1 if i < len(whole) * 0.98 and i % 512 == 200 else byte
        for i, byte in enumerate(whole)
    ),
    "a strip is missing": lambda whole: without("38", whole),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_kept_is_made_again_where_it_is_damaged(kept, damage):
    right = land(LAT, LON)
    whole = kept.read_bytes()
    kept.write_bytes(DAMAGES[damage](whole))
    forget()
    np.testing.assert_array_equal(land(LAT, LON), right)
    assert kept.read_bytes() == whole


def test_nothing_is_kept_where_that_is_not_possible(kept):
    kept.parent.write_text("a file in the place of the folder")
    right = land(LAT, LON)
    forget()
    np.testing.assert_array_equal(land(LAT, LON), right)
