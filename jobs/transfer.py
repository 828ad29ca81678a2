"""From the address of a result to a checked file: streamed, resumed, compared, opened.

One call of `fetch` is one try.  What came of it stays in ``<name>.part``; the next try
asks for the rest with ``Range`` and ``If-Range``, so a server whose file has changed, or
which ignores ranges, sends the whole file and the partial one is started afresh.  Results
that the back end streams itself have nothing for If-Range; they are resumed where the size
is known, and the answer must name it as the total.  There
is no checksum at the back end, hence three checks: the size, the netCDF file as such, and
what is in it (bands, reference system, the whole tile).

HEAD is never used: some signed addresses refuse it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import requests
import urllib3

from grid import Tile
from jobs.trouble import Kind, Trouble, of_status
from shared.attributes import text
from shared.files import require_space, sync_file, sync_folder

if TYPE_CHECKING:
    from shared.lattice import Lattice

READ_SIZE = 1 << 16  # bytes read at a time; as much is lost when a connection breaks
SPACE_MARGIN = 50_000_000  # bytes that stay free beside the file
UNTAGGED = "size "  # in place of a validator: what the whole file has by its description
COVER_SLACK = 4.0  # pixels; the back end may leave out a last row or column

Get = Callable[[str, Mapping[str, str]], requests.Response]


class Stopped(Exception):
    """The transfer was told to stop; what came is kept."""


class Refused(ValueError):
    """The file came as the server meant it, and cannot be what was ordered."""


def fetch(
    get: Get,
    url: str,
    size: int | None,
    part: Path,
    on_bytes: Callable[[int, int | None], None] = lambda _have, _total: None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    """Bring ``part`` to its full size in one request; bytes in it.

    ``size`` is what the back end says the file has, if it says so.  ``on_bytes`` is told
    the bytes that are there and the total.  Raises Trouble for what may pass (the part is
    kept where it can be resumed), Refused for a file of another size than announced,
    Stopped, and OSError when the disk is full.
    """
    tag = _tag_path(part)
    validator = _validator(tag, size)
    have = part.stat().st_size if part.exists() and validator else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    if have and not validator.startswith(UNTAGGED):
        headers["If-Range"] = validator
    with _passing():
        response = get(url, headers)
    with contextlib.closing(response):
        if response.status_code == 416:
            return _at_the_end(response, part, have, size)
        _require_file(response)
        if response.status_code == 200:
            have = 0
        elif _range(response)[0] != have or _is_another(response, validator):
            discard(part)
            raise Trouble(Kind.PASSING, "the server sent another range than it was asked for")
        total = _total(response, have)
        needed = (total or size or 0) - have + SPACE_MARGIN
        require_space(part.parent, needed, f"The download of {part.stem}")
        with _open(part, tag, have, response, size) as file:
            have = _stream(response, file, have, total or size, on_bytes, stopped)
    _require_whole(part, have, total, size)
    return have


def check(path: Path, tile: Tile, bands: Sequence[str]) -> None:
    """Raise Refused unless this is a netCDF-4 file with the bands that covers the tile."""
    import xarray as xr

    from shared.lattice import find_axes, locate, with_plain_attributes

    try:
        with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as file:
            missing = [band for band in bands if band not in file]
            if missing:
                raise Refused(f"the result file has no band {', '.join(missing)}")
            file = with_plain_attributes(file)
            where = locate(file, find_axes(file, "the result file"), bands, "the result file")
    except (OSError, RuntimeError) as error:
        raise Refused(f"the result file is no whole netCDF-4 file ({error})") from error
    except Refused:
        raise
    except ValueError as error:
        raise Refused(str(error)) from error
    _require_cover(tile, where)


def source(path: Path) -> str:
    """The file's global attribute ``source``, "" if it has none."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return text(file.attrs.get("source"))
    except (OSError, RuntimeError) as error:
        raise Refused(f"the result file is no whole netCDF-4 file ({error})") from error


def fingerprint(path: Path) -> str:
    """What tells a file's bytes from others; "" if there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def finish(part: Path, path: Path) -> None:
    """Give a checked part its final name, durably."""
    sync_file(part)
    part.replace(path)
    _tag_path(part).unlink(missing_ok=True)
    sync_folder(path.parent)


def discard(part: Path) -> None:
    """Remove a part and what belongs to it, so that the next try begins at the beginning."""
    _tag_path(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


def _tag_path(part: Path) -> Path:
    """Beside the part: the validator of its first bytes, for If-Range."""
    return part.with_name(f"{part.name}.tag")


def _validator(tag: Path, size: int | None) -> str:
    """What the rest of a part is asked for with; "" if it cannot be resumed."""
    known = tag.read_text(encoding="utf-8") if tag.exists() else ""
    return "" if known.startswith(UNTAGGED) and known != f"{UNTAGGED}{size}" else known


def _is_another(response: requests.Response, validator: str) -> bool:
    """Whether a range is of a file of another size than the part, which has no better mark."""
    return validator.startswith(UNTAGGED) and validator != f"{UNTAGGED}{_range(response)[1]}"


@contextlib.contextmanager
def _passing() -> Iterator[None]:
    """Errors of the connection as troubles that pass."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise Trouble(Kind.PASSING, f"{type(error).__name__}: {error}") from error


def _require_file(response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 206):
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            raise Trouble(Kind.PASSING, "a web page came instead of the result file")
        return
    if status in (404, 500):
        raise Trouble(Kind.MISSING, f"HTTP {status} for the result file")
    trouble = of_status(status, "", response.headers.get("Retry-After"))
    if trouble.kind is Kind.PASSING:
        raise trouble
    # Object stores say 400, 401, 403 or 410 when the signature is too old.
    raise Trouble(Kind.EXPIRED, f"HTTP {status} for the address of the result file")


def _at_the_end(response: requests.Response, part: Path, have: int, size: int | None) -> int:
    """The server has nothing after the part: it is whole, or not a part of this file."""
    total = _range(response)[1]
    if total != have:
        discard(part)
        raise Trouble(Kind.PASSING, "the partial file is longer than the server's")
    if size not in (None, have):
        discard(part)
        raise Refused(f"the server's file has {have} bytes, its description says {size}")
    return have


def _range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total of a Content-Range header (RFC 9110, 14.4)."""
    match = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if match is None:
        return None, None
    first, total = match.groups()
    return (int(first) if first else None), (int(total) if total != "*" else None)


def _total(response: requests.Response, have: int) -> int | None:
    """The size of the whole file as this answer tells it."""
    if response.status_code == 206:
        return _range(response)[1]
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() and not _encoded(response) else None


def _encoded(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity") != "identity"


def _open(
    part: Path, tag: Path, have: int, response: requests.Response, size: int | None
) -> IO[bytes]:
    if have:
        return part.open("ab")
    # In this order a kill leaves a part without a tag, which is started afresh.
    tag.unlink(missing_ok=True)
    file = part.open("wb")
    etag = response.headers.get("ETag", "")
    validator = response.headers.get("Last-Modified", "") if etag[:2] in ("", "W/") else etag
    if not validator and size is not None:
        validator = f"{UNTAGGED}{size}"
    if validator and not _encoded(response):
        tag.write_text(validator, encoding="utf-8")
    return file


def _stream(
    response: requests.Response,
    file: IO[bytes],
    have: int,
    total: int | None,
    on_bytes: Callable[[int, int | None], None],
    stopped: Callable[[], bool],
) -> int:
    blocks = response.iter_content(READ_SIZE)
    while True:
        with _passing():
            block = next(blocks, b"")
        if not block:
            return have
        if have == 0 and block.lstrip()[:1] == b"<":
            raise Trouble(Kind.PASSING, "a web page came instead of the result file")
        file.write(block)
        have += len(block)
        on_bytes(have, total)
        if stopped():
            raise Stopped


def _require_whole(part: Path, have: int, total: int | None, size: int | None) -> None:
    expected = size if size is not None else total
    if expected is None or have == expected:
        return
    if have > expected:
        discard(part)
        raise Refused(f"the result file has {have} bytes instead of {expected}")
    short = f"{(expected - have) / 1e6:.3g} MB short ({have / 1e6:.3g} of {expected / 1e6:.3g} MB)"
    raise Trouble(Kind.PASSING, f"the result file is {short}")


def _require_cover(tile: Tile, where: Lattice) -> None:
    """Points all around the tile must lie in the raster, which is a rectangle in its system."""
    import numpy as np
    import pyproj

    x, y = where.x, where.y
    if len(x) < 2 or len(y) < 2:
        raise Refused(f"the result file holds {len(x)} x {len(y)} pixels")
    crs = pyproj.CRS(where.crs)
    project = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    along, zero, one = np.linspace(0, 1, 9), np.zeros(9), np.ones(9)
    edge_x = np.concatenate([along, along, zero, one])
    edge_y = np.concatenate([zero, one, along, along])
    px, py = project(
        tile.west + edge_x * (tile.east - tile.west),
        tile.south + edge_y * (tile.north - tile.south),
    )
    if crs.is_geographic:  # longitudes of the file may go on beyond 180
        middle = (x.min() + x.max()) / 2
        px = (px - middle + 180) % 360 + middle - 180
    for axis, points in ((x, px), (y, py)):
        slack = (0.5 + COVER_SLACK) * abs(axis[1] - axis[0])
        inside = (points >= axis.min() - slack) & (points <= axis.max() + slack)
        if not inside.all():
            raise Refused(f"the result file does not cover the tile {tile.name}")
