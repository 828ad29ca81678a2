"""From a result file to a record of the archive: converted, stored, read back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.workspace import Workspace
from grid import Chunk, Provenance

if TYPE_CHECKING:
    import xarray as xr

    import convert
    import download
    import store
    from download import Result
    from store import Archive


@dataclass(frozen=True)
class Settings:
    """The constants that a download rests on, judged before anything else is done."""

    download: download.Settings
    convert: convert.Settings
    store: store.Settings


def archiver(
    workspace: Workspace, made: Settings, step: Callable[[Chunk, str], None]
) -> Callable[[Result], float]:
    """The function that turns a result into a record, and returns what share of it is seen.

    Where there is a record already, it is replaced if this one shows more.  Only for a damaged
    file it raises `download.Spoiled`: nothing else is mended by fetching it again.  The
    constants go along, as the workers of a cluster have their own.
    """
    import convert
    import download

    archive, kinds = workspace.archive, workspace.kinds
    nside, ellipsoid = made.convert.nside, made.convert.ellipsoid
    chunk_size, recipe = made.download.chunk_size, made.download.recipe
    bands, product = recipe.bands, recipe.collection.product

    def handle(result: Result) -> float:
        from shared import compute

        step(result.chunk, "converting")
        raster, tile = result.path.absolute(), result.chunk.tile
        try:
            archive.require(nside, ellipsoid, chunk_size, bands, product.name)
        except ValueError as error:  # another process has made it since
            raise download.Unwanted(str(error)) from error
        try:
            cells = compute.call(
                convert.raster_to_cells, raster, tile, nside=nside, ellipsoid=ellipsoid,
                bands=bands, product=product,
            )  # fmt: skip
        except convert.RasterError as error:
            raise download.Spoiled(str(error)) from error
        convert.complete_loops()  # while somebody waits for it anyway
        seen = float((cells["count"].values > 0).mean())
        if not seen:
            return False
        if (not result.provenance.synthetic) in kinds:
            raise download.Unwanted(mixed(archive, result.provenance.synthetic, "this back end"))
        step(result.chunk, "writing")
        partial = download.is_partial(result.provenance.covered, seen)
        about = dataclasses.replace(result.provenance, partial=partial)
        before = share_seen(archive, result.chunk)
        if before < seen:
            workspace.set_apart += set_apart(archive, result.chunk, seen)
        store_whole(archive, step, result.chunk, cells, about, replace=before < seen)
        kinds.add(result.provenance.synthetic)
        return max(seen, before)

    return handle


def store_whole(
    archive: Archive,
    step: Callable[[Chunk, str], None],
    chunk: Chunk,
    cells: xr.Dataset,
    about: Provenance,
    **how: Any,
) -> bool:
    """Write a record and read it back; as `store.Archive.write`, OSError if it differs."""
    is_new = archive.write(chunk, cells, about, **how)
    step(chunk, "reading back")
    there = archive.read(chunk)
    if is_new and not there["count"].equals(cells["count"]):
        raise OSError(f"{chunk}: what was read back from {archive.name} differs.")
    return is_new


def set_apart(archive: Archive, chunk: Chunk, seen: float) -> list[tuple[Chunk, str]]:
    """Make room for an image that shows a share of a tile: of this chunk, and of all its passes.

    Records of files that show less are put into archives of their own, so that nothing of
    them is lost, and nothing is seen twice.  That of all passes is removed, since it would be seen
    instead; that of the chunk is still to be replaced.  Those that were, and where they are.
    """
    from cli import adding, apart

    moved = []
    for record in dict.fromkeys([chunk, Chunk(chunk.tile, chunk.day)]):
        files = adding.files_of(archive, record)
        if not files or share_seen(archive, record) >= seen:
            continue
        own = apart.beside(archive, files)
        own.write(record, archive.read(record), adding.provenance(archive, record))
        if record != chunk:
            archive.remove(record)
        moved.append((record, own.name))
    return moved


def share_seen(archive: Archive, chunk: Chunk) -> float:
    """What share of its tile the record of a chunk shows; 0 if there is none."""
    if not archive.has(chunk):
        return 0.0
    cells = archive.read(chunk, variables=["count"])
    return float((cells["count"].values > 0).mean())


def mixed(archive: Archive, synthetic: bool, source: str) -> str:
    """Why measured and synthetic records are kept apart."""
    kinds = ("measured", "synthetic")
    return (
        f"The archive {archive.name} holds {kinds[not synthetic]} data, {source} gives "
        f"{kinds[synthetic]} data, and they must not be mixed.  Nothing was written.  "
        "Name another archive with --archive."
    )
