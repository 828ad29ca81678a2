"""Many areas at once: a few numbers of each of them, of each day and pass.

A cell belongs to a polygon by its centre, to a point by the point; polygons may overlap.  Which
cells these are is found once, ring by ring (`healpix.polygons`), and looked up in each tile once;
then of each record only what the features touch is read, and each of them is described by its
cells: in linear power, each cell counting the same, as all have the same area.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archive.passes import RELATIVE_ORBIT, relative_name
from archive.shards import one_of_many
from archive.spans import Spans
from archive.storage import AT_ONCE, each_of
from grid import ORBITS, Chunk, Day, Tile, as_days, count
from healpix.arrays import Floats, Ints
from healpix.copies import copy_runs
from healpix.few import centres, ids_around
from healpix.groups import describe
from healpix.ids import ids_to_runs, runs_to_ids
from healpix.polygons import polygon_ids
from images.composites import composed
from images.lazy import known_bands, origin_of, passes_in
from images.line import SPREAD, with_a_mean
from images.records import RELATIVE, Image, NoData, apart, layout_of
from images.scales import Scale, scale_of
from shared.collection import attributes_of, with_bands
from shared.features import Features, FeaturesLike, as_features

if TYPE_CHECKING:
    import pandas as pd

    from archive.contents import Contents
    from archive.layout import Layout
    from archive.snapshot import View

CELLS = 20_000_000  # of features that are worked on at a time, and of one at most
SHARES = np.array([SPREAD[0] / 100, 0.5, SPREAD[1] / 100])
NUMBERS = ("mean", "median", "low", "high")  # in dB where that is how values are shown
WITHOUT, OUTSIDE = "features_without_a_cell", "features_outside"  # attributes that count such

Progress = Callable[[int, int], None]
Found = tuple[Ints, Floats]  # features, and what `describe` says of each: (band, feature, number)


def statistics(
    archive: Contents,
    source: FeaturesLike,
    start: Day,
    end: Day | None,
    bands: Sequence[str] | None,
    orbit: str | None,
    by: str,
    column: str | None,
    progress: Progress | None,
) -> pd.DataFrame:
    """A row for each feature, image and band: as `retrieve.features` has it."""
    layout, features = layout_of(archive), as_features(source, column)
    product, scale = layout.product, scale_of(attributes_of(layout.product))
    names = with_a_mean(known_bands(layout, bands), scale)
    near = _Near(features, layout)
    views = archive.views(near.tiles(archive.tiles()))
    what = "the " + count(len(features.names), "feature")
    images = apart(archive, views, what, *as_days(start, end), orbit, by)
    found, without, inside = _Rows(names), 0, 0
    for batch, empty in _batches(near, views):
        without += empty
        inside += batch.inside.size
        found.add(images, batch, progress)
    if not inside:
        raise NoData(
            f"The archive {archive.name} has no cell of {what}: {without} of them are smaller than "
            "a cell, and have none, and the others lie outside of its tiles."
        )
    frame = found.table(features, images, views, by, scale)
    passes = [passes_in(views, image.chunks) for image in images]
    about = {
        **origin_of(views, images, with_bands(product, names), passes), **attributes_of(product),
        "features": len(features.names), "names": features.called,
        WITHOUT: without, OUTSIDE: len(features.names) - without - inside,
        "features_joined": features.joined, "features_left_out": features.left,
    }  # fmt: skip
    frame.attrs.update(about)
    return frame


# --- which cells -------------------------------------------------------------------------


class _Near:
    """Features on the cells of an archive."""

    def __init__(self, features: Features, layout: Layout) -> None:
        import shapely

        self.features, self._layout = features, layout
        self._is_point = shapely.get_type_id(features.parts) == 0
        x, y = shapely.get_coordinates(features.parts[self._is_point]).T
        self._points = ids_around(x, y, layout.nside, layout.ellipsoid)
        self._bounds = shapely.bounds(features.parts)
        lon, lat = centres(self._points, layout.nside, layout.ellipsoid)
        self._bounds[self._is_point] = np.column_stack([lon, lat, lon, lat])

    def tiles(self, every: Sequence[Tile]) -> list[Tile]:
        """Those of some tiles that may own a cell of a feature."""
        west, south, east, north = self._bounds.T
        found = []
        for tile in every:
            there = (south <= tile.north) & (north >= tile.south)
            turned = [
                (west <= tile.east + turn) & (east >= tile.west + turn) for turn in (-360, 0, 360)
            ]
            if (there & np.logical_or.reduce(turned)).any():
                found.append(tile)
        return found

    def cells(self) -> Iterator[tuple[int, Ints]]:
        """Of each feature its number and its cells, ascending."""
        owners, parts = self.features.owners, self.features.parts
        point = np.cumsum(self._is_point) - 1
        begins = np.searchsorted(owners, np.arange(len(self.features.names) + 1))
        for number, (first, last) in enumerate(pairwise(begins.tolist())):
            found = [
                self._points[point[k], np.newaxis] if self._is_point[k] else self._inside(parts[k])
                for k in range(first, last)
            ]
            ids = np.unique(np.concatenate(found))
            if len(ids) > CELLS:
                raise self._too_large()
            yield number, ids

    def _inside(self, polygon: Any) -> Ints:
        layout = self._layout
        found = polygon_ids(edges_of(polygon), layout.nside, layout.ellipsoid, CELLS)
        if found is None:
            raise self._too_large()
        return found

    def _too_large(self) -> ValueError:
        return ValueError(
            f"A feature has more than {CELLS:,} cells.  The mean of a large area over the days is "
            "that of a picture of it: name it with --bbox (`retrieve.statistics` in Python)."
        )


def edges_of(polygon: Any) -> Floats:
    """The edges of all rings of a polygon: (edge, 4), both ends of each."""
    import shapely

    xy, ring = shapely.get_coordinates(shapely.get_rings(polygon), return_index=True)
    same = ring[:-1] == ring[1:]
    return np.hstack([xy[:-1][same], xy[1:][same]])


@dataclass(frozen=True)
class _Part:
    """The cells of some features in a tile."""

    view: View
    spans: Spans  # in the tile
    to: Ints  # the place of each of these spans among all cells of the features
    groups: Ints  # the features that have one of them

    def values(self, chunks: Sequence[Chunk], bands: Sequence[str]) -> dict[str, Any]:
        """Of each band; of several records the mean by their counts."""
        if len(chunks) == 1:
            return self.view.values(chunks[0], self.spans, bands)
        made = composed(self._read, chunks, "mean", bands, ())
        return {band: made[band] for band in bands}

    def _read(
        self, names: Sequence[str], chunks: Sequence[Chunk]
    ) -> Iterator[tuple[Chunk, dict[str, Any]]]:
        for chunk in chunks:
            yield chunk, self.view.values(chunk, self.spans, names)


def _values_of(
    part: _Part, bands: Sequence[str], chunks: dict[Tile, list[Chunk]]
) -> dict[str, Any]:
    return part.values(chunks[part.view.tile], bands)


@dataclass(frozen=True)
class _Batch:
    """Some features, and where their cells are."""

    owners: Ints  # the number of each feature among all
    begins: Ints  # of the places of each
    places: NDArray[np.int32]  # among all cells of the batch
    size: int  # of the batch, in cells
    parts: tuple[_Part, ...]

    @property
    def inside(self) -> Ints:
        """The features of the batch that have a cell in a tile of the archive."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *(p.groups for p in self.parts)]))

    @property
    def at_once(self) -> int:
        """Images that are read at a time from far away, if they fit into memory together."""
        is_far = any(part.view.is_far for part in self.parts)
        return max(1, min(AT_ONCE, CELLS // max(self.size, 1))) if is_far else 1

    @property
    def sizes(self) -> Ints:
        """The number of cells of each feature."""
        return np.diff(self.begins)

    def describe(self, image: Image, bands: Sequence[str]) -> Found:
        """The features that an image may show, and what is said of each."""
        chunks: dict[Tile, list[Chunk]] = {}
        for chunk in image.chunks:
            chunks.setdefault(chunk.tile, []).append(chunk)
        parts = [part for part in self.parts if part.view.tile in chunks]
        if not parts:
            return np.empty(0, np.int64), np.empty((len(bands), 0, 3 + SHARES.size))
        with one_of_many():
            read = partial(_values_of, bands=bands, chunks=chunks)
            values = list(each_of(read, parts, parts[0].view.is_far))
        which = np.unique(np.concatenate([part.groups for part in parts]))
        out = np.empty((len(bands), which.size, 3 + SHARES.size))
        every = np.empty(self.size, np.float32)  # cells of the batch
        for i, band in enumerate(bands):
            every.fill(np.nan)
            for part, found in zip(parts, values, strict=True):
                copy_runs(found[band], part.spans.sizes, part.to, every)
            describe(every, self.places, self.begins, which, SHARES, out[i])
        return which, out


def _batches(near: _Near, views: Sequence[View]) -> Iterator[tuple[_Batch, int]]:
    """Features that fit into memory together, and how many beside them have no cell."""
    waiting: list[tuple[int, Ints]] = []
    size = empty = 0
    for number, ids in near.cells():
        if waiting and size + len(ids) > CELLS:
            yield _batch(waiting, views), empty
            waiting, size, empty = [], 0, 0
        if len(ids):
            waiting.append((number, ids))
        size, empty = size + len(ids), empty + (not len(ids))
    yield _batch(waiting, views), empty


def _batch(cells: Sequence[tuple[int, Ints]], views: Sequence[View]) -> _Batch:
    """Features by their cells, found in the tiles."""
    every = [each for _, each in cells] or [np.empty(0, np.int64)]
    ids, places = np.unique(np.concatenate(every), return_inverse=True)
    begins = np.cumsum([0, *(len(each) for _, each in cells)])
    parts = [_part(view, ids, places, begins[:-1]) for view in views]
    owners = np.array([number for number, _ in cells], np.int64)
    short = places.astype(np.int32)
    return _Batch(owners, begins, short, len(ids), tuple(filter(None, parts)))


def _part(view: View, ids: Ints, places: Ints, begins: Ints) -> _Part | None:
    """What a tile has of some cells; None: nothing."""
    runs, spans = view.meet(ids_to_runs(ids))
    if not spans.size:
        return None
    to = np.searchsorted(ids, runs[0].astype(np.int64))
    is_here = np.zeros(len(ids), bool)
    is_here[runs_to_ids(to, runs[1]).view(np.int64)] = True
    groups = np.flatnonzero(np.logical_or.reduceat(is_here[places], begins))
    return _Part(view, spans, to, groups)


# --- rows --------------------------------------------------------------------------------


class _Rows:
    """What was found of images and features, as columns."""

    def __init__(self, bands: Sequence[str]) -> None:
        self._bands = bands
        self._found: list[tuple[Ints, Ints, Ints, Floats]] = []

    def add(self, images: Sequence[Image], batch: _Batch, progress: Progress | None) -> None:
        """Describe the features of a batch on all images, some of these at a time."""
        import dask

        from shared import compute

        pieces = (
            dask.delayed(partial(batch.describe, image, self._bands), traverse=False)()
            for image in images
        )
        sizes = batch.sizes
        results = compute.each(pieces, at_once=batch.at_once)
        for number, (which, numbers) in enumerate(results):
            if which.size:
                image = np.full(which.size, number)
                self._found.append((image, batch.owners[which], sizes[which], numbers))
            if progress is not None:
                progress(number + 1, len(images))

    def table(
        self, features: Features, images: Sequence[Image], views: Sequence[View], by: str,
        scale: Scale,
    ) -> pd.DataFrame:  # fmt: skip
        """A row for each image, feature and band, in this order."""
        import pandas as pd

        each_image, owners, sizes, found = zip(*self._found, strict=True)
        image, owner, cells = map(np.concatenate, (each_image, owners, sizes))
        numbers = np.concatenate(found, axis=1)
        order = np.lexsort((owner, image))
        image, owner, cells, numbers = image[order], owner[order], cells[order], numbers[:, order]
        times = len(self._bands)
        days = np.array([each.day for each in images], "datetime64[s]")
        columns: dict[str, Any] = {
            "feature": _texts(features.names)[owner].repeat(times),
            "day": days[image].repeat(times),
            "orbit": _texts([name_of(each) for each in images])[image].repeat(times),
        }
        if by == RELATIVE:
            passes = [relative_name(passes_in(views, i.chunks).relative_orbit) for i in images]
            columns[RELATIVE_ORBIT] = _texts(passes)[image].repeat(times)
        columns["band"] = np.tile(_texts(self._bands), image.size)
        columns |= _numbers(numbers.transpose(1, 0, 2).reshape(-1, numbers.shape[2]), scale)
        columns["cells"] = cells.repeat(times)
        columns["seen"] = columns.pop("number") / columns["cells"]
        return pd.DataFrame(columns)


def _numbers(found: Floats, scale: Scale) -> dict[str, NDArray[Any]]:
    """The columns of numbers, in dB where that is how values are shown; the deviation never is."""
    number, mean, spread, low, median, high = found.T
    columns = {"number": number}
    suffix = "_dB" if scale.is_decibel else ""
    for name, values in zip(NUMBERS, (mean, median, low, high), strict=True):
        with np.errstate(divide="ignore"):
            columns[name + suffix] = 10 * np.log10(values) if scale.is_decibel else values
    columns["std_power" if scale.is_decibel else "std"] = spread
    return columns


def _texts(values: Sequence[Any]) -> NDArray[Any]:
    """Whole numbers as such; else objects, so that equal texts are one."""
    if all(isinstance(value, int) for value in values):
        with contextlib.suppress(OverflowError):
            return np.array(values, np.int64)
    found = np.empty(len(values), object)
    found[:] = [str(value) for value in values]
    return found


def name_of(image: Image) -> str:
    """The direction of an image's passes, as the numbers of a line have it."""
    return image.orbit if image.orbit in ORBITS else "mixed"
