"""Images of the archive: select, merge, crop, regrid, plot, export.

`open` gives the images of a box on a regular grid of longitude and latitude, one for each day,
as a lazy dataset: each block reads just what it touches.  `retrieve` is one day, computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from convert import pixel_size
from grid import Day
from images import coverage, lazy
from images.blocks import padded
from images.coverage import Coverage
from images.lazy import nothing_seen
from images.merge import merge
from images.pieces import has_pixels
from images.records import NoData
from images.settings import Settings, judged

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

    from shared.areas import AreaLike
    from shared.features import FeaturesLike
    from store import Archive

Rows: TypeAlias = "list[dict[str, Any]] | pd.DataFrame"  # of `statistics`, of `features`

MEMORY_MAX = 2_000_000_000  # bytes that the bands of a grid in memory may take
PICTURE_MAX = 4000  # pixels, what a side of a grid stays under if no pixel size is asked for
SERIES_MAX = 600  # pixels, as above, of pictures that show several days
DPI = 300  # dots per inch of a saved figure
PERCENTILES = (2.0, 98.0)  # of the drawn values, dB of radar: black and white

__all__ = [
    "DPI", "MEMORY_MAX", "PERCENTILES", "PICTURE_MAX", "SERIES_MAX", "Coverage", "NoData",
    "Settings", "animate", "coverage_map", "days", "export", "features", "has_pixels",
    "load", "merge", "nothing_seen", "open", "padded", "plot", "plot_line", "plot_ranges",
    "range_words", "ranges", "retrieve", "save_figure", "save_line", "select", "settings", "show",
    "spacing", "statistics",
]  # fmt: skip
__dir__ = sorted(__all__).copy  # what is offered, for `dir`


def settings() -> Settings:
    """The constants as they are now; ValueError names the one that cannot be."""
    return judged(globals())


def select(
    archive: Archive, bbox: AreaLike, day: Day, orbit: str | None = None, cell_ids: bool = False
) -> xr.Dataset:
    """The cells of a day whose centres are in the half-open box, of all tiles, merged.

    Returns ``<band>(cells)`` float32, ``count(cells)`` uint16, ``start_ipix(runs)`` uint64 and
    ``run_len(runs)`` uint32 of the tiles that have a record; with ``cell_ids`` also these, as
    xdggs wants them.  ``orbit`` as of `open`.  Raises NoData, or ValueError for an orbit to name.
    """
    return lazy.select(archive, bbox, day, orbit, cell_ids)


def open(  # the name that the house gives it
    archive: Archive, bbox: AreaLike, start: Day, end: Day | None = None,
    bands: Sequence[str] | None = None, dlat: float | None = None, dlon: float | None = None,
    method: str = "nearest", orbit: str | None = None, as_of: int | None = None,
    composite: str | None = None, by: str | None = None, despeckle: bool = False,
) -> xr.Dataset:  # fmt: skip
    """The images of a box from start to end, both included, on a regular grid; lazy.

    A box is a `grid.BBox`, four numbers, or polygons (a file, WKT, shapely's) outside of which are
    gaps; a day a date, a UTC time, or text.  ``<band>(time, lat, lon)`` float32, linear power, NaN
    for gaps, on dask arrays; ``time`` ascends, a step for each day with a record, two where it has
    passes of both directions and ``orbit`` is None.  Pixel centres
    are at ``south + (i + 0.5) dlat`` and ``west + (j + 0.5) dlon``, in degrees, beyond 180, too.

    ``method`` "nearest" or "bilinear", as of `convert.cells_to_grid`, is for a grid that is
    finer than the cells; a pixel of a coarser one is the mean of its cells, by their counts.
    ``orbit`` "ascending" or "descending": passes of this direction alone.  "any": the record
    of all passes of a tile, else both directions, averaged by their counts.  None: as "any",
    but images of each direction where they would be mixed.

    ``composite`` "mean" (by the counts), "median", "newest", "min", "max", "std" or "count": one
    image (of each direction, as above) by each cell's values on all days.  ``as_of`` N: one for
    ``start`` of the newest values of the N days before, too; with them is their ``day``.  ``by``
    "direction" or "relative-orbit": passes that differ have steps of their own.  ``despeckle``:
    each image without its speckle (`images.speckle`).  Raises NoData, ValueError.
    """
    on = lazy.canvas(archive, bbox, bands, *pixel_size(dlat, dlon), method, orbit)
    return lazy.open_grid(lazy.shown_on(on, start, end, as_of, composite, by, despeckle))


def load(
    archive: Archive, bbox: AreaLike, start: Day, end: Day | None = None,
    bands: Sequence[str] | None = None, dlat: float | None = None, dlon: float | None = None,
    method: str = "nearest", orbit: str | None = None, as_of: int | None = None,
    composite: str | None = None, by: str | None = None, despeckle: bool = False,
) -> xr.Dataset:  # fmt: skip
    """As `open`, in memory: what is small is there before dask is imported."""
    on = lazy.canvas(archive, bbox, bands, *pixel_size(dlat, dlon), method, orbit)
    return lazy.open_grid(lazy.shown_on(on, start, end, as_of, composite, by, despeckle), now=True)


def retrieve(
    archive: Archive,
    bbox: AreaLike,
    day: Day,
    bands: Sequence[str] | None = None,
    dlat: float | None = None,
    dlon: float | None = None,
    method: str = "nearest",
    orbit: str | None = None,
) -> xr.Dataset:
    """The image of a day in memory, (lat, lon), as of `open`.

    ValueError beyond `MEMORY_MAX`, or if there are passes of both directions to choose from.
    """
    on = lazy.canvas(archive, bbox, bands, *pixel_size(dlat, dlon), method, orbit)
    return lazy.image_of_day(on, day, settings().memory_max)


def days(archive: Archive, bbox: AreaLike) -> list[Coverage]:
    """The days with something of the box, newest first, and what share was seen."""
    return coverage.days(archive, bbox)


def spacing(
    bbox: AreaLike, dlat: float | None = None, dlon: float | None = None, most: int | None = None
) -> tuple[float, float]:
    """dlat and dlon, or a multiple of both, so that no side has ``most`` (`PICTURE_MAX`) pixels."""
    return lazy.spacing(bbox, *pixel_size(dlat, dlon), most or settings().picture_max)


def plot(dataset: xr.Dataset) -> Figure:
    """Draw a grid of `retrieve` or `open`: a panel for each band, or the days side by side."""
    from images import series

    return series.draw(dataset, settings().look)


def plot_ranges(figure: Figure) -> dict[str, tuple[float, float]]:
    """What `plot` drew darkest and brightest, by band, and of the ratio "VV/VH"; dB of radar."""
    from images import figure as drawing

    return drawing.plot_ranges(figure)


def ranges(dataset: xr.Dataset) -> dict[str, tuple[float, float]]:
    """What `plot_ranges` says of the figure that `plot` draws of a grid, without drawing it."""
    from images import series

    return series.ranges(dataset, settings().look)


def range_words(
    low: float, high: float, band: str = "", attrs: Mapping[Any, Any] | None = None
) -> str:
    """What such a range of a band says of the pixels; ``attrs`` are those of the grid."""
    from images import figure as drawing
    from images.scales import scale_of

    return drawing.range_words(low, high, settings().look, scale_of(attrs or {}), band)


def show(figure: Figure) -> bool:
    """Open a window and wait until it is closed; False where there is no display."""
    from images import figure as drawing

    return drawing.show(figure)


def features(
    archive: Archive, features: FeaturesLike, start: Day, end: Day | None = None,
    bands: Sequence[str] | None = None, orbit: str | None = None, by: str = "direction",
    id: str | None = None, progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Of each polygon or point, day and passes: mean, spread, cells, share of them seen.

    ``features``: a file, GeoDataFrame, geometries, or these by name; ``id``: the column of names.
    ``by`` "direction" or "relative-orbit" is what has a row of its own; the rest is as of `open`.
    """
    from images import features as room

    return room.statistics(archive, features, start, end, bands, orbit, by, id, progress)


def statistics(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Of each image and band of a grid (time, lat, lon): mean and spread, share seen."""
    from images import line

    return line.statistics(dataset)


def plot_line(rows: Rows, attrs: dict[str, Any] | None = None) -> Figure:
    """Draw the rows of `statistics`, or of `features` side by side: means, spreads as shades."""
    from images import export as files

    return files.plot_line(rows, attrs or {})


def animate(dataset: xr.Dataset, path: Path) -> None:
    """Write the images of a grid (time, lat, lon), one after the other, as an animated GIF."""
    from images import series

    series.animate(dataset, path, settings().look)


def coverage_map(archive: Archive) -> Figure:
    """The tiles of an archive and their numbers of records, over land and sea."""
    from images import tile_map

    return tile_map.coverage_map(archive)


def export(
    dataset: xr.Dataset,
    path: str | Path,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a grid of `retrieve` or `open` to .nc, .tif, .png or .gif; the path.

    ``progress`` is called with the blocks written and all.  Raises ValueError for another suffix or
    no band, FileExistsError, IsADirectoryError, FileNotFoundError, OSError (ENOSPC: disk full).
    """
    from images import export as files

    return files.export(dataset, path, settings().look, overwrite, progress)


def save_figure(figure: Figure, path: str | Path, overwrite: bool = False) -> Path:
    """Write a figure as .png at `DPI`; errors as of `export`."""
    from images import export as files

    return files.save_figure(figure, path, settings().look, overwrite)


def save_line(
    rows: Rows, attrs: dict[str, Any] | None, path: str | Path, overwrite: bool = False
) -> Path:
    """Write these rows as a plot (.png) or as numbers (.csv; of `features` .parquet, too)."""
    from images import export as files

    return files.save_line(rows, attrs or {}, path, settings().look, overwrite)
