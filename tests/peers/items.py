"""Serves items by stac-fastapi-geoparquet: ``items.py ITEMS.json COLLECTIONS.json PORT``.

Runs in the environment `.peers/stac`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import rustac
import uvicorn

EXTENSIONS = ("icu", "parquet", "spatial")
SYSTEMS = {"Linux": "linux", "Darwin": "osx", "Windows": "windows"}


async def write(path: Path, items: Any) -> None:
    """Write a GeoParquet file of items."""
    await rustac.write(str(path), items)


def database(folder: Path) -> Any:
    """DuckDB with the extensions that are installed as packages; it has no network for others."""
    arm = platform.machine().lower() in ("arm64", "aarch64")
    system = f"{SYSTEMS[platform.system()]}_{'arm64' if arm else 'amd64'}"
    for name in EXTENSIONS:
        package = importlib.util.find_spec(f"duckdb_extension_{name}")
        assert package is not None
        assert package.origin is not None
        source = next((Path(package.origin).parent / "extensions").glob(f"*/{name}.*"))
        target = folder / source.parent.name / system / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    return rustac.DuckdbClient(extension_directory=folder, install_extensions=False)


if __name__ == "__main__":
    items, collections, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    parquet = items.with_suffix(".parquet")
    asyncio.run(write(parquet, json.loads(items.read_text(encoding="utf-8"))))
    os.environ["STAC_FASTAPI_COLLECTIONS_HREF"] = str(collections)
    from stac_fastapi.geoparquet.api import create

    api = create(duckdb_client=database(items.parent / "extensions"))
    uvicorn.run(api.app, host="127.0.0.1", port=port, log_level="warning")
