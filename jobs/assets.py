"""Which file of a job's results is the one that was ordered.

The results are a STAC Collection.  Its files are assets, or those of the items that it
links to.  Keys differ between versions of the back end; so the file goes by its media type,
by its name where it has none, and among several by its role, bands and name.  No file at
all is what the back end says of a job without data, but also while it cannot read what it
knows of a job (openeo-geopyspark-driver 1292).
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.trouble import Kind, Trouble

MEDIA_TYPES = ("application/x-netcdf", "application/netcdf")
NAME = "openEO"  # how the file's own name begins

Json = dict[str, Any]
Named = tuple[str, Json]  # key and asset


@dataclass(frozen=True)
class Asset:
    """A result file: its address, which expires, and its size in bytes if it is known."""

    url: str
    size: int | None


def choose(results: Json, follow: Callable[[str], Json], bands: Sequence[str]) -> Asset:
    """The netCDF file of a finished job; Trouble of Kind.NO_ASSET if none is listed.

    ``follow`` fetches the document behind a link.
    """
    assets = list(_named(results))
    files = [named for named in assets if _is_netcdf(*named)]
    items = [link["href"] for link in results.get("links") or [] if link.get("rel") == "item"]
    if not files and items:
        assets += [named for href in items for named in _named(follow(href))]
        files = [named for named in assets if _is_netcdf(*named)]
    if not assets and items:
        raise Trouble(Kind.PASSING, "the results name items, and those no file")
    if not assets:
        raise Trouble(Kind.NO_ASSET, "the job finished without any file")
    (_, asset), others = _ours(files, bands), [a.get("type") for _, a in assets]
    if not asset:
        types = ", ".join(sorted(map(str, set(others))))
        raise Trouble(
            Kind.WRONG, f"the job made {len(files)} netCDF files instead of one ({types})"
        )
    size = asset.get("file:size")
    return Asset(str(asset["href"]), int(size) if isinstance(size, int | float) else None)


def _named(document: Json) -> Iterator[Named]:
    yield from (document.get("assets") or {}).items()


def _is_netcdf(key: str, asset: Json) -> bool:
    if kind := str(asset.get("type") or ""):
        return kind.startswith(MEDIA_TYPES)
    path = urllib.parse.urlsplit(str(asset.get("href", ""))).path
    return path.endswith(".nc") or key.endswith(".nc")


def _ours(files: list[Named], bands: Sequence[str]) -> Named:
    """The one that was ordered; an empty asset if it cannot be told."""

    def has_bands(_: str, asset: Json) -> bool:
        listed = asset.get("bands") or asset.get("eo:bands") or ()
        return set(bands) <= {band.get("name") for band in listed}

    marks: tuple[Callable[[str, Json], bool], ...] = (
        lambda _, asset: "data" in (asset.get("roles") or ()),
        has_bands,
        lambda key, asset: any(str(n).startswith(NAME) for n in (key, asset.get("title"))),
    )
    for mark in marks:
        files = [named for named in files if mark(*named)] or files
    return files[0] if len({asset.get("href") for _, asset in files}) == 1 else ("", {})
