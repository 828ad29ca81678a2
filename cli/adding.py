"""What files of one's own add to an archive: which tile and day, and what is there already.

A file gives a part of each chunk that it touches.  What another file has put there is merged with
it, by the counts of the cells; what a back end gave is left as it is.  The checksums in a record's
provenance say which files it is made of, so adding a file twice does nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grid import FROM_FILE, Chunk, Provenance

if TYPE_CHECKING:
    import xarray as xr

    from store import Archive

SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf", ".tif", ".tiff", ".gtiff", ".vrt")
Key = tuple[str, int | None]  # what is in a file, not its name, and which step of it


@dataclass(frozen=True)
class Source:
    """A file that is to be added, when nothing is left to be asked."""

    path: Path
    sha256: str
    bands: tuple[str, ...]
    step: int | None  # of several
    day: dt.date
    day_by: str  # what says so
    orbit: str
    synthetic: bool
    chunks: tuple[Chunk, ...]

    @property
    def entry(self) -> dict[str, Any]:
        """What the provenance of a record says of it."""
        about = {"name": self.path.name, "sha256": self.sha256}
        return about if self.step is None else about | {"step": self.step}

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.sha256, self.step


@dataclass
class Addition:
    """A chunk, and the files that give a part of it."""

    chunk: Chunk
    sources: list[Source]
    merges: bool = False  # with what other files have put there


@dataclass
class AddPlan:
    """What is to be done, by chunk."""

    additions: list[Addition] = field(default_factory=list)
    already: list[Chunk] = field(default_factory=list)  # made of these files
    other: list[Chunk] = field(default_factory=list)  # a record that no file gave
    apart: list[tuple[Chunk, Source]] = field(default_factory=list)  # not merged, as was asked

    @property
    def merging(self) -> list[Addition]:
        """The additions to records of other files."""
        return [addition for addition in self.additions if addition.merges]

    @property
    def number(self) -> int:
        """How many chunks the files touch."""
        kept = {chunk for chunk, _ in self.apart} - {a.chunk for a in self.additions}
        return len(self.additions) + len(self.already) + len(self.other) + len(kept)


def rasters_in(paths: Iterable[Path]) -> list[Path]:
    """The files that are named, and those in folders that are named, sorted by name.

    ValueError for what is not there, and for a folder without a raster.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            below = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not below:
                raise ValueError(
                    f"{path} is a folder without a netCDF or GeoTIFF file "
                    f"({', '.join(SUFFIXES)}).  Nothing was done."
                )
            found += below
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"There is no file {path}.  Nothing was done.")
    return list(dict.fromkeys(found))


def plan_of(sources: Sequence[Source], archive: Archive, apart: bool) -> AddPlan:
    """What these files add; with ``apart`` nothing is merged with what other files gave."""
    by_chunk: dict[Chunk, list[Source]] = {}
    for source in sources:
        for chunk in source.chunks:
            known = by_chunk.setdefault(chunk, [])
            if source.key not in [other.key for other in known]:
                known.append(source)
    plan = AddPlan()
    for chunk, parts in sorted(by_chunk.items(), key=lambda item: item[0]):
        made_of = files_of(archive, chunk)
        if made_of == []:
            plan.other.append(chunk)
            continue
        new = [part for part in parts if part.key not in keys_of(made_of or ())]
        if not new:
            plan.already.append(chunk)
            continue
        if apart:
            free = 0 if made_of else 1
            plan.apart += [(chunk, part) for part in new[free:]]
            new = new[:free]
        if new:
            plan.additions.append(Addition(chunk, new, merges=bool(made_of)))
    return plan


def files_of(archive: Archive, chunk: Chunk) -> list[dict[str, Any]] | None:
    """The files that a record is made of: none if a back end gave it; None if there is none."""
    view = archive.view(chunk.tile)
    if view is None or chunk not in view.chunks():
        return None
    return list(view.about(chunk).get("files") or ())


def keys_of(entries: Iterable[dict[str, Any]]) -> set[Key]:
    """What tells the files of a provenance from others."""
    return {(str(entry["sha256"]), entry.get("step")) for entry in entries}


def add(
    addition: Addition, archive: Archive, cells: xr.Dataset, write: Callable[..., bool]
) -> bool:
    """Put cells of files into the record of their chunk; False if others did meanwhile.

    Merged are the means of the two, weighted by their counts, and the sums of the counts.
    """
    from images.merge import merge

    while True:
        slot = archive.slot(addition.chunk)
        made_of = files_of(archive, addition.chunk)
        if slot is None or made_of is None:
            entries, merged = [], cells
        elif not made_of or not {s.key for s in addition.sources}.isdisjoint(keys_of(made_of)):
            return False
        else:
            entries, merged = made_of, merge([archive.read(addition.chunk), cells])
        entries = [*entries, *(source.entry for source in addition.sources)]
        about = Provenance(
            FROM_FILE, "", "", "", addition.sources[0].synthetic, files=tuple(entries)
        )
        if write(addition.chunk, merged, about, instead_of=slot):
            return True
