"""Archives as older versions of this program made them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from archive.passes import UNKNOWN


def age(path: Path, version: int) -> None:
    """Take from an archive in a folder what came after a version of the format, before 4."""
    _edit(path / "zarr.json", lambda root: _age_root(root["attributes"], version))
    for tile in path.glob("*_*"):
        for name in UNKNOWN:
            shutil.rmtree(tile / name)
        _edit(tile / "zarr.json", _age_tile)
        for own in tile.glob("**/zarr.json"):
            _edit(own, _age_group)


def _edit(path: Path, change: Any) -> None:
    about = json.loads(path.read_bytes())
    change(about)
    path.write_text(json.dumps(about))


def _age_root(attributes: dict[str, Any], version: int) -> None:
    attributes["format_version"] = version
    if version < 3:
        del attributes["collection"]


def _age_tile(about: dict[str, Any]) -> None:
    del about["attributes"]["format_version"]
    arrays = about["consolidated_metadata"]["metadata"]
    for name in UNKNOWN:
        del arrays[name]
    for each in arrays.values():
        _age_group(each)


def _age_group(about: dict[str, Any]) -> None:
    attributes = about["attributes"]
    if "orbit" in attributes.get("coordinates", ""):
        attributes["coordinates"] = "cell_ids orbit"
    attributes.pop("multiscales", None)
    if "zarr_conventions" in attributes:
        attributes["zarr_conventions"] = [
            each for each in attributes["zarr_conventions"] if each["name"] == "dggs"
        ]
