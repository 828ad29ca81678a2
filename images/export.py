"""From a grid of backscatter to a file that other programs open at the right place.

.nc   CF-1.11 netCDF: linear power and dB, coordinates with bounds, grid mapping
.tif  cloud-optimised GeoTIFF: linear power, one named band each, EPSG:4326
.png  the picture that `series.draw` draws
.gif  the images of several days, one after the other

A grid may be in memory or lazy (`retrieve.open`), and larger than memory: it is computed,
packed and written block by block.  Each file is written beside its final name, read back,
synced and renamed, so a file that is there is whole.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from images import line, multiples, series, tables
from images.geotiff import write_geotiff
from images.grids import grid_bands, is_lazy
from images.netcdf import write_netcdf
from images.pieces import Progress, is_of_computing
from images.prints import printed
from images.settings import Look
from shared.files import is_disk_full, reason, replacing, require_space

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

Rows: TypeAlias = "line.Statistics | pd.DataFrame"

SUFFIXES = (".nc", ".tif", ".png", ".gif")
LINES = (".png", ".csv")
TABLES = (".csv", ".parquet", ".png")  # of many features
DISK_FULL = 1_000_000  # bytes; with less free space a failed write is taken for a full disk
SPACE_FACTOR = 1.1  # free disk asked for before writing, per uncompressed byte
PNG_LEVEL = 1  # deflate; twice as fast as the usual 6, for a file that is an eighth larger


def export(
    dataset: xr.Dataset,
    path: str | Path,
    look: Look,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a grid, as `retrieve.export` has it; the suffix says how.

    ``progress`` is called with the number of blocks written and of all.

    Raises ValueError for another suffix or a dataset without bands, FileExistsError
    where something is and ``overwrite`` is False, IsADirectoryError,
    FileNotFoundError for a missing parent folder, OSError (ENOSPC) for a full disk.
    """
    path = checked_target(path, overwrite)
    suffix = path.suffix.lower()
    bands = grid_bands(dataset)
    size = sum(dataset[name].nbytes for name in bands) * {".nc": 2, ".tif": 1}.get(suffix, 0)
    if is_lazy(dataset):
        size = 0  # a large lazy grid is mostly gaps, which take no room
    require_space(path.parent, DISK_FULL + int(SPACE_FACTOR * size), f"Writing {path.name}")
    figure = series.draw(dataset, look) if suffix == ".png" else None
    with _replacing(path) as temporary:
        match suffix:
            case ".nc":
                write_netcdf(dataset, temporary, progress)
            case ".tif":
                write_geotiff(dataset, temporary, progress)
            case ".gif":
                series.animate(dataset, temporary, look)
        if figure is not None:
            _save_png(figure, temporary, look)
    return path


def save_figure(figure: Figure, path: str | Path, look: Look, overwrite: bool = False) -> Path:
    """Write a figure as .png; errors as for `export`."""
    path = checked_target(path, overwrite, suffixes=(".png",))
    with _replacing(path) as temporary:
        _save_png(figure, temporary, look)
    return path


def plot_line(rows: Rows, attrs: dict[str, Any]) -> Figure:
    """Draw the rows of `line.statistics`, or those of `features.statistics`, which is a table."""
    return line.plot_line(rows, attrs) if isinstance(rows, list) else multiples.draw(rows)


def save_line(
    rows: Rows, attrs: dict[str, Any], path: str | Path, look: Look, overwrite: bool = False
) -> Path:
    """Write the same as a plot (.png) or as numbers (.csv; a table as .parquet, too)."""
    path = checked_target(path, overwrite, LINES if isinstance(rows, list) else TABLES)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        tables.require_parquet()
    with _replacing(path) as temporary:
        if suffix == ".png":
            _save_png(plot_line(rows, attrs), temporary, look)
        elif isinstance(rows, list):
            line.write_numbers(rows, temporary)
        else:
            (tables.write_csv if suffix == ".csv" else tables.write_parquet)(rows, temporary)
    return path


def checked_target(
    path: str | Path, overwrite: bool = False, suffixes: tuple[str, ...] = SUFFIXES
) -> Path:
    """The path, if a file can be written there; cheap, so ask before the work."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it, like {path / 'x'}.png.")
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path.name}: the name must end in {' or '.join(suffixes)}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist. Make it first.")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already and was left as it is.")
    return path


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`files.replacing`; what the libraries call "HDF error" and the like is explained."""
    with replacing(path) as temporary:
        try:
            yield temporary
        except Exception as error:
            if not _is_of_writing(error):
                raise
            if is_disk_full(error) or shutil.disk_usage(path.parent).free < DISK_FULL:
                text = f"The disk of {path.parent} is full; {path.name} was not written."
                raise OSError(errno.ENOSPC, text) from error
            text = f"{path.name} could not be written to {path.parent}: {reason(error)}"
            raise OSError(f"{text.rstrip('.')}.  Nothing half done was kept.") from error


def _is_of_writing(error: Exception) -> bool:
    """Whether it is an error of the file, by Python or by a library that writes one."""
    if is_of_computing(error):
        return False
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, (OSError, RuntimeError)) or library in ("rasterio", "netCDF4")


def _save_png(figure: Figure, path: Path, look: Look) -> None:
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("Description", str(figure.get_label()))
    picture = printed(figure, look.dpi)
    picture.save(path, "png", dpi=(look.dpi,) * 2, pnginfo=about, compress_level=PNG_LEVEL)
