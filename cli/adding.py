"""What files of one's own add to an archive: which tile and day, and what is there already.

A file gives a part of each chunk that it touches.  What another file has put there is merged with
it, by the counts of the cells, or it is kept apart, in an archive of its own beside this one; what
a back end gave is left as it is.  The checksums in a record's provenance say which files it is made
of, so adding a file twice does nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import apart
from grid import FROM_FILE, ORBITS, Chunk, Provenance, Tile
from shared.errors import RasterError

if TYPE_CHECKING:
    import xarray as xr

    from store import Archive

Key = tuple[str, int | None]  # what is in a file, not its name, and which step of it


@dataclass(frozen=True)
class Part:
    """A file that is to be added."""

    path: Path
    sha256: str  # as of `checksum`
    bands: tuple[str, ...]  # that it gives, of a file that names none in its order
    is_whole: bool = True  # these are all


@dataclass(frozen=True)
class Source:
    """A raster that is to be added, when nothing is left to be asked: one file, or one a band."""

    parts: tuple[Part, ...]
    scene: str  # what its files are called, but for their bands
    step: int | None  # of several
    day: dt.date
    day_by: str  # what says so
    synthetic: bool
    chunks: tuple[Chunk, ...]

    @property
    def name(self) -> str:
        """Its files."""
        return " + ".join(part.path.name for part in self.parts)

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that it gives, in the order of the files."""
        return tuple(band for part in self.parts for band in part.bands)

    @property
    def is_whole(self) -> bool:
        """Whether one file gives all bands."""
        return self.parts[0].is_whole

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What the provenance of a record says of it."""
        return [
            {"name": part.path.name, "sha256": part.sha256}
            | ({} if self.step is None else {"step": self.step})
            | ({} if part.is_whole else {"bands": list(part.bands)})
            for part in self.parts
        ]

    @property
    def keys(self) -> set[Key]:
        """What tells its files from others."""
        return keys_of(self.entries)

    def without(self, keys: Collection[Key]) -> Source | None:
        """What is left of it without these files; None if nothing is."""
        left = tuple(part for part in self.parts if (part.sha256, self.step) not in keys)
        return replace(self, parts=left) if left else None

    @property
    def raster(self) -> Path | dict[str, Path]:
        """Its file, or that of each band."""
        if self.is_whole:
            return self.parts[0].path.absolute()
        return {band: part.path.absolute() for part in self.parts for band in part.bands}


@dataclass
class Addition:
    """A chunk, the files that give a part of it, and the archive that gets it."""

    chunk: Chunk
    sources: list[Source]
    archive: Archive
    merges: bool = False  # with what other files have put there
    is_apart: bool = False  # from what is in the archive that was named
    may_merge: bool = True

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What the provenance of a record says of its files."""
        return [entry for source in self.sources for entry in source.entries]


@dataclass
class AddPlan:
    """What is to be done, by chunk."""

    additions: list[Addition] = field(default_factory=list)
    already: list[tuple[Archive, Chunk]] = field(default_factory=list)  # made of these files
    other: list[Chunk] = field(default_factory=list)  # a record that no file gave

    @property
    def merging(self) -> list[Addition]:
        """The additions to records of other files."""
        return [addition for addition in self.additions if addition.merges]

    @property
    def apart(self) -> list[Addition]:
        """The additions that go to archives of their own."""
        return [addition for addition in self.additions if addition.is_apart]

    @property
    def archives(self) -> list[Archive]:
        """The archives that get something."""
        return list({each.archive.name: each.archive for each in self.additions}.values())

    @property
    def number(self) -> int:
        """How many chunks the files touch."""
        added = (addition.chunk for addition in self.additions)
        return len({*added, *(chunk for _, chunk in self.already), *self.other})

    @property
    def tiles_there(self) -> list[tuple[Archive, Tile]]:
        """The tiles that have a record of these files."""
        there = {(a.name, chunk.tile): (a, chunk.tile) for a, chunk in self.already}
        return list(there.values())


def checksum(path: Path, others: Sequence[Path] = ()) -> str:
    """What tells the content of a file from others, SHA-256; also of what it refers to."""
    from jobs.transfer import fingerprint

    sums = [fingerprint(each) for each in (path, *others)]
    return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()


def plan_of(sources: Sequence[Source], archive: Archive, keep_apart: bool) -> AddPlan:
    """What these files add; with ``keep_apart`` nothing is merged with what is there."""
    by_chunk: dict[Chunk, list[Source]] = {}
    for source in sources:
        for chunk in source.chunks:
            known = by_chunk.setdefault(chunk, [])
            left = source.without({key for other in known for key in other.keys})
            known += [left] if left else []
    plan = AddPlan()
    for chunk, parts in sorted(by_chunk.items(), key=lambda item: item[0]):
        made_of = _standing(archive, chunk)
        if made_of == [] and not keep_apart:
            plan.other.append(chunk)
            continue
        left_of = (part.without(keys_of(made_of or ())) for part in parts)
        new = [left for left in left_of if left]
        if not new:
            plan.already.append((archive, chunk))
        elif keep_apart:
            _plan_apart(chunk, new, archive, made_of is None, plan)
        else:
            plan.additions.append(Addition(chunk, new, archive, merges=made_of is not None))
    return plan


def _plan_apart(
    chunk: Chunk, new: Sequence[Source], archive: Archive, is_free: bool, plan: AddPlan
) -> None:
    """The first one goes into a chunk that is free, each other one to an archive of its own."""
    if is_free:
        plan.additions.append(Addition(chunk, [new[0]], archive, may_merge=False))
    for source in new[is_free:]:
        own = apart.beside(archive, source.entries)
        there = files_of(own, chunk)
        if there is None:
            plan.additions.append(Addition(chunk, [source], own, is_apart=True, may_merge=False))
        elif source.keys <= keys_of(there):
            plan.already.append((own, chunk))
        else:
            raise ValueError(
                f"{own.name} holds another record of {chunk}, so {source.name} cannot be kept "
                "apart there.  Nothing was done.  Name another archive with --archive."
            )


def _standing(archive: Archive, chunk: Chunk) -> list[dict[str, Any]] | None:
    """As `files_of`; none, too, where a back end gave passes of a direction.

    A record of all passes would be seen instead of these.
    """
    found = files_of(archive, chunk)
    if found is not None or chunk.orbit != ORBITS[0]:
        return found
    others = (files_of(archive, replace(chunk, orbit=orbit)) for orbit in ORBITS[1:])
    return [] if [] in others else None


def files_of(archive: Archive, chunk: Chunk) -> list[dict[str, Any]] | None:
    """The files that a record is made of: none if a back end gave it; None if there is none."""
    view = archive.view(chunk.tile)
    if view is None or chunk not in view.chunks():
        return None
    return list(view.about(chunk).get("files") or ())


def provenance(archive: Archive, chunk: Chunk) -> Provenance:
    """Where a record that is made of files is from."""
    view = archive.view(chunk.tile)
    about: dict[str, Any] = {} if view is None else view.about(chunk)
    return _from_files(about.get("files", ()), bool(about.get("synthetic")))


def _from_files(files: Iterable[dict[str, Any]], synthetic: bool) -> Provenance:
    return Provenance(FROM_FILE, "", "", "", synthetic, files=tuple(files))


def keys_of(entries: Iterable[dict[str, Any]]) -> set[Key]:
    """What tells the files of a provenance from others."""
    return {(str(entry["sha256"]), entry.get("step")) for entry in entries}


def add(addition: Addition, cells: xr.Dataset, write: Callable[..., bool]) -> bool:
    """Put cells of files into the record of their chunk; False if others did meanwhile.

    Merged are the means of the two, weighted by their counts, and the sums of the counts.
    Raises RasterError where that was not wanted, and others have filled the chunk meanwhile.
    """
    from images.merge import merge

    archive, chunk = addition.archive, addition.chunk
    while True:
        slot = archive.slot(chunk)
        made_of = files_of(archive, chunk)
        if slot is None or made_of is None:
            entries, merged = [], cells
        elif not made_of or keys_of(addition.entries) & keys_of(made_of):
            return False
        elif not addition.may_merge:
            raise RasterError(
                f"{chunk}: another process has filled it meanwhile; run the same command again, "
                "and this part is kept apart."
            )
        else:
            entries, merged = made_of, merge([archive.read(chunk), cells])
        files = (*entries, *addition.entries)
        about = _from_files(files, addition.sources[0].synthetic)
        if write(archive, chunk, merged, about, instead_of=slot):
            return True
