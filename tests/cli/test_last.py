"""The archive that was named last in a folder."""

from __future__ import annotations

import json

import pytest

import main
from cli import last
from tests.folders import copied
from tests.images.test_atlas import filled
from tests.terminals import Terminal


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A folder with two archives."""
    folder = tmp_path_factory.mktemp("archives")
    archive = filled(folder / "s2.zarr")
    copied(archive.path, folder / "sentinel1.zarr")
    return folder


@pytest.fixture
def folder(archives, tmp_path, monkeypatch):
    """A copy of it, and a state of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return copied(archives, tmp_path)


def test_it_is_the_one_that_was_named(folder, capsys):
    assert last.archive("sentinel1.zarr") == "sentinel1.zarr"
    assert main.main(["list", "--archive", "s2.zarr"]) == 0
    assert last.archive("sentinel1.zarr") == "s2.zarr"
    assert main.main(["list"]) == 0  # which means the constant, and is no choice
    assert "3 records" in capsys.readouterr().err
    assert last.archive("sentinel1.zarr") == "s2.zarr"


def test_what_went_wrong_is_not_remembered(folder):
    assert main.main(["list", "--archive", "nothing.zarr"]) == 2
    assert last.archive("sentinel1.zarr") == "sentinel1.zarr"


def test_a_constant_that_was_edited_counts(folder):
    last.remember("s2.zarr", "sentinel1.zarr")
    assert last.archive("other.zarr") == "other.zarr"


def test_one_that_is_gone_is_forgotten(folder):
    last.remember("gone.zarr", "sentinel1.zarr")
    assert last.archive("sentinel1.zarr") == "sentinel1.zarr"


def test_another_folder_has_another_one(folder, monkeypatch):
    last.remember("s2.zarr", "sentinel1.zarr")
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    assert last.archive("sentinel1.zarr") == "sentinel1.zarr"


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', "nonsense", json.dumps({"x": {}})])
def test_a_memory_that_cannot_be_read_is_none(folder, text):
    path = folder / "state" / "sentinel1-healpix" / "last.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert last.archive("sentinel1.zarr") == "sentinel1.zarr"
    last.remember("s2.zarr", "sentinel1.zarr")
    assert last.archive("sentinel1.zarr") == "s2.zarr"


def test_the_menu_begins_with_it_and_says_so(folder):
    environ = {"XDG_STATE_HOME": str(folder / "state")}
    last.remember("s2.zarr", "sentinel1.zarr")
    with Terminal(folder, environ=environ) as terminal:
        shown = terminal.wait_for("What do you want to do?")
        assert "archive: s2.zarr" in shown
        assert "It was named last in this folder" in shown
        terminal.answer("q")
        assert terminal.end() == 0
    with Terminal(folder, "--archive", "sentinel1.zarr", environ=environ) as terminal:
        assert "archive: sentinel1.zarr" in terminal.wait_for("What do you want to do?")
        terminal.answer("q")
        assert terminal.end() == 0
