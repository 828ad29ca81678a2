"""A grid in pieces: blocks that are computed here, on threads or on a cluster, one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from images.grids import grid_bands, is_lazy
from shared import compute

SIDE = 2048  # pixels, of what is computed and packed at a time

DIFFERS = "it does not read back as it was written"  # the end of a sentence about a file

_COMPUTING = "It came when a block was computed, not when it was written."

Vector = NDArray[Any]
Progress = Callable[[int, int], None]
Place = tuple[int, ...]  # of a block: the index of its first value along each dimension


def has_pixels(dataset: xr.Dataset) -> bool:
    """Whether a grid has a value anywhere; a lazy one is computed until one is found."""
    bands, is_here = grid_bands(dataset), not is_lazy(dataset)
    found = each_block(in_blocks(dataset), bands, _have_values, is_here, None)
    with contextlib.closing(found):  # what has not begun by then is left
        return any(has for _, has in found)


def in_blocks(dataset: xr.Dataset) -> xr.Dataset:
    """The bands of a grid as dask arrays, float32, of blocks that are written at a time."""
    sizes = {"lat": SIDE, "lon": SIDE} | ({"time": 1} if "time" in dataset.dims else {})
    bands = grid_bands(dataset)
    rest = dataset.drop_vars(bands).compute()
    blocks = {name: dataset[name].chunk(sizes) for name in bands}
    return rest.assign({name: block.astype("<f4", copy=False) for name, block in blocks.items()})


def places(values: xr.DataArray) -> Iterator[tuple[Place, tuple[int, ...]]]:
    """Place and shape of each block of a variable."""
    assert values.chunks is not None
    along = []
    for sizes in values.chunks:
        ends = np.cumsum(sizes).tolist()
        along.append([(end - size, size) for end, size in zip(ends, sizes, strict=True)])
    for block in product(*along):
        yield tuple(first for first, _ in block), tuple(size for _, size in block)


def each_block(
    dataset: xr.Dataset,
    names: list[str],
    work: Callable[..., Any],
    is_here: bool,
    progress: Progress | None,
) -> Generator[tuple[Place, Any], None, None]:
    """For each block its place, and what ``work(names, arrays, whole shape)`` makes of it."""
    import dask

    values = [dataset[name] for name in names]
    # Optimised one by one, the bands of a block would no longer share the reading of it.
    blocks = [array.data.to_delayed(optimize_graph=False).ravel() for array in values]
    task, where = dask.delayed(work), [place for place, _ in places(values[0])]
    pieces = (task(names, list(some), values[0].shape) for some in zip(*blocks, strict=True))
    for done, found in enumerate(zip(where, compute.each(pieces, is_here), strict=True), 1):
        yield found
        if progress is not None:
            progress(done, len(where))


def computed(blocks: Iterator[tuple[Place, Any]]) -> Iterator[tuple[Place, Any]]:
    """The blocks; what goes wrong with one is told apart from what goes wrong with the file."""
    try:
        yield from blocks
    except Exception as error:
        error.add_note(_COMPUTING)
        raise


def _have_values(_names: list[str], arrays: list[Vector], _whole: object) -> bool:
    return any(not np.isnan(array).all() for array in arrays)


def is_of_computing(error: Exception) -> bool:
    """Whether an error came when a block was computed."""
    return _COMPUTING in getattr(error, "__notes__", ())
