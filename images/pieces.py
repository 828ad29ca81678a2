"""A grid in pieces: blocks that are computed here, on threads or on a cluster, one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from images.grids import grid_bands, grid_layers, is_lazy

if TYPE_CHECKING:
    import xarray as xr

SIDE = 2048  # pixels, of what is computed and packed at a time
SMALL = 64_000_000  # bytes of a grid in memory that is written by a single thread

DIFFERS = "it does not read back as it was written"  # the end of a sentence about a file

_COMPUTING = "It came when a block was computed, not when it was written."

Computed = TypeVar("Computed")
Vector = NDArray[Any]
Progress = Callable[[int, int], None]
Place = tuple[int, ...]  # of a block: the index of its first value along each dimension


def has_pixels(dataset: xr.Dataset) -> bool:
    """Whether a grid has a value anywhere; a lazy one is computed until one is found."""
    bands = grid_bands(dataset)
    if not is_lazy(dataset):
        return _have_values(bands, [dataset[name].values for name in bands], None)
    found = each_block(in_blocks(dataset), bands, _have_values, None)
    with contextlib.closing(found):  # what has not begun by then is left
        return any(has for _, has in found)


def in_blocks(dataset: xr.Dataset) -> xr.Dataset:
    """The bands of a grid, float32, as dask arrays of blocks that are written at a time.

    Those of a small grid stay as they are: dask takes longer to import than they to write.
    """
    bands = grid_layers(dataset)
    if not is_lazy(dataset) and sum(dataset[name].nbytes for name in bands) <= SMALL:
        return dataset.assign(
            {
                name: dataset[name].copy(data=dataset[name].values.astype("<f4", copy=False))
                for name in bands
                if dataset[name].dtype != "<f4"
            }
        )
    sizes = {"lat": SIDE, "lon": SIDE} | ({"time": 1} if "time" in dataset.dims else {})
    rest = dataset.drop_vars(bands).compute()
    blocks = {name: dataset[name].chunk(sizes) for name in bands}
    return rest.assign({name: block.astype("<f4", copy=False) for name, block in blocks.items()})


def places(values: xr.DataArray) -> Iterator[tuple[Place, tuple[int, ...]]]:
    """Place and shape of each block of a variable, (lat, lon) or (time, lat, lon)."""
    along = []
    for sizes in values.chunks or _chunks(values.shape):
        ends = np.cumsum(sizes).tolist()
        along.append([(end - size, size) for end, size in zip(ends, sizes, strict=True)])
    for block in product(*along):
        yield tuple(first for first, _ in block), tuple(size for _, size in block)


def _chunks(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The sizes of the blocks of a variable in memory, along each of its dimensions."""
    sides = (1, SIDE, SIDE)[-len(shape) :]
    return tuple(
        tuple(min(side, size - first) for first in range(0, size, side))
        for size, side in zip(shape, sides, strict=True)
    )


def each_block(
    dataset: xr.Dataset, names: list[str], work: Callable[..., Any], progress: Progress | None,
    is_here: bool = False,
) -> Generator[tuple[Place, Any], None, None]:  # fmt: skip
    """For each block its place, and what ``work(names, arrays, whole shape)`` makes of it.

    ``is_here``: although they are dask arrays, the values are in memory.
    """
    values = [dataset[name] for name in names]
    where = list(places(values[0]))
    results = _on_dask(values, work, is_here) if values[0].chunks else _at_once(values, work, where)
    for done, ((place, _), found) in enumerate(zip(where, results, strict=True), 1):
        yield place, found
        if progress is not None:
            progress(done, len(where))


def _on_dask(values: list[xr.DataArray], work: Callable[..., Any], is_here: bool) -> Iterator[Any]:
    import dask

    from shared import compute

    # Optimised one by one, the bands of a block would no longer share the reading of it.
    blocks = [array.data.to_delayed(optimize_graph=False).ravel() for array in values]
    task, names = dask.delayed(work), [str(array.name) for array in values]
    pieces = (task(names, list(some), values[0].shape) for some in zip(*blocks, strict=True))
    yield from compute.each(pieces, is_here)


def _at_once(
    values: list[xr.DataArray],
    work: Callable[..., Any],
    where: list[tuple[Place, tuple[int, ...]]],
) -> Iterator[Any]:
    """The same of arrays in memory, in this thread."""
    names, arrays = [str(array.name) for array in values], [array.values for array in values]
    for place, shape in where:
        part = tuple(slice(at, at + size) for at, size in zip(place, shape, strict=True))
        yield work(names, [array[part] for array in arrays], arrays[0].shape)


def computed(blocks: Iterator[Computed]) -> Iterator[Computed]:
    """The blocks or images; an error of one is told apart from one of the file."""
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
