"""Rasters that GDAL reads, GeoTIFF above all: SNAP, pyroSAR, hyp3 and openEO write them.

What is open in GDAL is for one thread at a time, so a file is opened several times, and who
reads takes one of these handles; they share GDAL's memory of decoded blocks.  Fill value, scale
and offset of a band are handed on as CF calls them, and a mask is obeyed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.blocks import Rows
from cells.packing import Unpack
from shared.collection import SENTINEL1
from shared.errors import RasterError, brief

BESIDE = (".aux.xml", ".ovr")  # what GDAL keeps beside a file, and changes by itself
HANDLES = min(8, os.cpu_count() or 1)  # threads that read a file at a time


class Image:
    """A raster that is open in GDAL, for as long as its context lasts."""

    def __init__(self, path: Path, stack: contextlib.ExitStack) -> None:
        self.name, self._path = str(path), path
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(HANDLES):
            self._first = stack.enter_context(_opened(path))
            self._free.put(self._first)

    def others(self) -> list[Path]:
        """The other files that its values are in, as of a .vrt; these may refer to others again.

        Raises RasterError for what is not there, or is no file on a disk.
        """
        found: dict[Path, None] = {}
        waiting = self._first.files[::-1]
        while waiting:
            name = waiting.pop()
            if name.lower().endswith(BESIDE):
                continue
            path = _on_disk(name)
            if path is None:
                raise RasterError(
                    f"{self.name}: its values are in {name}, and there is no such file here. "
                    "Bring it there first, or add what it is in."
                )
            if path in found or path == self._path:
                continue
            found[path] = None
            if path.suffix.lower() == ".vrt":
                with _opened(path) as inner:
                    waiting += inner.files[::-1]
        return list(found)

    @property
    def names(self) -> list[str]:
        """The bands' descriptions, "" for none; of one alone the polarisation in the file's name.

        A description may go on after the name, as in "VV 2026-01-20".
        """
        names = [(text or "").strip() for text in self._first.descriptions]
        if names == [""]:
            words = re.split(r"[^A-Z]+", self._path.stem)
            said = [word for word in words if word in SENTINEL1.bands]
            names = said if len(said) == 1 else names
        return names

    @property
    def units(self) -> list[str]:
        """The bands' units, "" for none."""
        return [unit or "" for unit in self._first.units]

    @property
    def tags(self) -> dict[str, str]:
        """What the file says of itself."""
        return {str(key): str(value) for key, value in self._first.tags().items()}

    @property
    def source(self) -> str:
        """What the file says of where it is from, "" if nothing."""
        return self.tags.get("source", "")

    def dtype(self, index: int) -> np.dtype[Any]:
        """The type of the stored numbers of a band."""
        found: np.dtype[Any] = np.dtype(self._first.dtypes[index])
        return found

    def packing(self, index: int) -> dict[str, Any]:
        """Fill value, scale and offset of a band, as CF calls them."""
        image, found = self._first, {}
        if image.nodatavals[index] is not None:
            found["_FillValue"] = image.nodatavals[index]
        if (image.scales[index], image.offsets[index]) != (1, 0):
            found |= {"scale_factor": image.scales[index], "add_offset": image.offsets[index]}
        return found

    def crs(self) -> str:
        """The reference system as well-known text.  Raises RasterError."""
        if self._first.crs:
            return str(self._first.crs.to_wkt())
        points = self._first.gcps[0]
        why = "is only placed by ground control points" if points else "says of no place"
        raise RasterError(
            f"{self.name}: there is no CRS; the image {why}. Geocode it first, for example with "
            "gdalwarp or SNAP's terrain correction."
        )

    def lattice(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The centres of the pixels: x of each column, y of each row.  Raises RasterError."""
        self.crs()
        at = self._first.transform
        if at.b or at.d:
            raise RasterError(
                f"{self.name}: the image is turned against the axes of its CRS. Warp it first, "
                "for example with gdalwarp."
            )
        x = at.c + (np.arange(self._first.width) + 0.5) * at.a
        return x, at.f + (np.arange(self._first.height) + 0.5) * at.e

    def reader(self, index: int, unpack: Unpack) -> Rows:
        """A reader of the rows of a band, for many threads at once."""
        from rasterio.enums import MaskFlags
        from rasterio.windows import Window

        masked = MaskFlags.per_dataset in self._first.mask_flag_enums[index]
        width = self._first.width

        def read(first: int, stop: int) -> NDArray[Any]:
            window = Window(0, first, width, stop - first)
            with self._handle() as image:
                values = unpack(image.read(index + 1, window=window))
                mask = image.read_masks(index + 1, window=window) if masked else None
            return values if mask is None else np.where(mask == 0, np.nan, values)

        return read

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Any]:
        """The file, for this thread alone; waits until another one has done with it."""
        image = self._free.get()
        try:
            yield image
        finally:
            self._free.put(image)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """The image, open.  Raises RasterError for what GDAL cannot read."""
    from rasterio.errors import RasterioError

    with contextlib.ExitStack() as stack:
        try:
            image = Image(path, stack)
        except RasterioError as error:
            raise RasterError(_no_raster(path, error)) from error
        yield image


def _on_disk(name: str) -> Path | None:
    """The file that GDAL reads by this name, also within an archive or of a subdataset."""
    plain = re.sub(r"^(/vsi(zip|tar|gzip|7z|rar)/)+\{?", "", name.replace("\\", "/"))
    subdataset = re.fullmatch(r'[A-Za-z0-9_]{2,}:"?(.+?)"?(:[^:/]*)?', plain)
    for text in (name, plain, *([subdataset[1]] if subdataset else [])):
        path = Path(text)
        for each in (path, *path.parents):
            if each.is_file():
                return each
    return None


def _opened(path: Path) -> Any:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(path)


def _no_raster(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begins = file.read(24)
    if begins[:2] in (b"II", b"MM"):
        return f"{path}: this is no whole GeoTIFF ({brief(error)}). Download it again."
    words = begins.decode("ascii", "replace").split("\n")[0].strip()
    begin = f"; it begins with {words!r}" if words.isprintable() and words else ""
    return f"{path}: this is no whole netCDF file, nor an image that GDAL reads{begin}."
