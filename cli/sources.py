"""Files that are to be added: what they say of themselves, and what is asked because they do not.

What gives a part of the bands alone, as SNAP's and hyp3's files of one polarisation do, is put
together with what gives the others of the same scene.
"""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli import questions
from cli.adding import Part, Source, checksum
from cli.archiver import Settings
from cli.terminal import ask, choose, count, tell
from grid import ORBITS, Chunk
from shared.collection import KNOWN, Collection, as_known
from shared.errors import RasterError
from shared.files import reason

if TYPE_CHECKING:
    from cells.about import About

SUFFIXES = (".nc", ".nc4", ".cdf", ".netcdf", ".tif", ".tiff", ".gtiff", ".vrt")
ANSWER = "your answer"  # what says the day, where somebody was asked


@dataclass(frozen=True)
class AddFlags:
    """What was asked for on the command line; None is asked for, or has a default."""

    files: Sequence[str] = ()
    day: dt.date | None = None
    orbit: str | None = None
    bands: tuple[str, ...] | None = None
    step: int | None = None
    decibels: bool = False
    apart: bool = False
    dry_run: bool = False
    as_json: bool = False
    yes: bool = False
    scheduler: str | None = None


@dataclass(frozen=True)
class Named:
    """A file that is to be looked at."""

    path: Path
    by_name: bool = True  # else it was found in a folder that was named


@dataclass
class Found:
    """The files that can be added, and those of no use, each with the reason."""

    sources: list[Source] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)  # of a folder, that have nothing to do with it


def rasters_in(paths: Sequence[Path]) -> list[Named]:
    """The files that are named, and those in folders that are named, sorted by name.

    A name may be a pattern, which not every shell expands.  ValueError for what is not there, and
    for a folder without a raster.
    """
    found: dict[Path, Named] = {}
    try:
        matching = [each for path in paths for each in questions.matching(path)]
    except ValueError as error:
        raise ValueError(f"{error}  Nothing was done.") from error
    for path in matching:
        if not path.is_dir():
            found[path] = Named(path)
            continue
        below = sorted(each for each in path.iterdir() if each.suffix.lower() in SUFFIXES)
        below = [each for each in below if not each.is_dir() and not each.name.startswith(".")]
        if not below:
            raise ValueError(f"{path} {_nothing_in(path)}  Nothing was done.")
        for each in below:
            found.setdefault(each, Named(each, by_name=False))
    return list(found.values())


def _nothing_in(folder: Path) -> str:
    """Why there is nothing to add in a folder."""
    if (folder / "manifest.safe").exists():
        return (
            "is a product as it is delivered, in the geometry of the radar: calibrate and geocode "
            "it first, for example with SNAP or pyroSAR."
        )
    what = f"is a folder without a netCDF or GeoTIFF file ({', '.join(SUFFIXES)})"
    if any(each.is_dir() for each in folder.iterdir()):
        return f'{what}, and folders in it are not looked into; "{folder / "**" / "*.tif"}" is.'
    return f"{what}."


def find(
    files: Sequence[Named],
    bands: tuple[str, ...],
    flags: AddFlags,
    collection: Collection,
    made: Settings,
) -> Found:
    """The files with all that has to be known of them, asked for where they do not say it."""
    found, pieces = Found(), list[Source]()
    days: dict[str, dt.date] = {}
    orbit = flags.orbit if collection.by_orbit else ORBITS[0]
    for named, about, sha256 in _look_at(files, made, found):
        path = named.path
        try:
            has = _bands_of(path, about, bands, flags)
            if not has and not named.by_name:
                found.strays.append(path.name)
                continue
            if not has:
                raise RasterError(_of_other_bands(about, bands, collection))
            about.require(has, flags.decibels)
            scene = _scene(path, has)
            step, day, day_by = _which_day(path, about, flags, collection.first, days.get(scene))
        except RasterError as error:
            found.refused.append((path.name, str(error)))
            continue
        days |= {scene: day} if day_by == ANSWER else {}
        if about.orbit is None and orbit is None:
            orbit = ORBITS[0] if flags.yes or flags.dry_run else _ask_orbit(path)
        passes = flags.orbit or about.orbit or orbit if collection.by_orbit else orbit
        chunks = tuple(Chunk(tile, day, passes or ORBITS[0]) for tile in about.tiles)
        part = Part(path, sha256, has, is_whole=len(has) == len(bands))
        pieces.append(Source((part,), scene, step, day, day_by, about.synthetic, chunks))
    found.sources = _put_together(pieces)
    return found


def _look_at(
    files: Sequence[Named], made: Settings, found: Found
) -> list[tuple[Named, About, str]]:
    """Each file with what it says of itself and its checksum."""
    import convert
    from cli.bar import working

    size, cells = made.download.chunk_size, made.convert
    looked = []
    with working("looking at the files") as progress:
        for number, named in enumerate(files):
            progress(number, len(files))
            try:
                if named.path.is_symlink() and not named.path.exists():
                    raise RasterError(f"{named.path} is a link to nowhere.")
                about = convert.about(named.path, size, cells.nside, cells.ellipsoid)
                looked.append((named, about, checksum(named.path, about.others)))
            except (RasterError, OSError) as error:
                why = error if isinstance(error, RasterError) else f"{named.path}: {reason(error)}."
                found.refused.append((named.path.name, str(why)))
    return looked


def _bands_of(path: Path, about: About, bands: tuple[str, ...], flags: AddFlags) -> tuple[str, ...]:
    """Which of the bands a file gives; of a file that names none in its order."""
    if any(about.bands):
        return about.which(bands)
    words = re.split(r"[^a-z0-9]+", path.stem.lower())
    said = [band for band in bands if band.lower() in words]
    if len(about.bands) == len(said) == 1:
        return tuple(said)
    if len(about.bands) != len(bands):
        return ()
    return bands if flags.bands else _ask_order(path, bands, flags)


def _of_other_bands(about: About, bands: Sequence[str], collection: Collection) -> str:
    """Why a file is of no use, and which collection it may be of."""
    has = ", ".join(filter(None, about.bands)) or f"{len(about.bands)} without a name"
    known = (name for name, other in KNOWN.items() if any(about.which(other.bands)))
    looks = ""
    if of := next(known, ""):
        looks = f"  Its bands are those of {of}: add it to an archive of that."
    if of == collection.name:
        looks = "  --bands names others, and --archive another archive, for these."
    return (
        f"{about.name}: there is no band {' or '.join(bands)}, only {has}, and this archive is of "
        f"{collection.name}.{looks}"
    )


def _scene(path: Path, has: Sequence[str]) -> str:
    """What is the same in the names of files that give different bands of a scene."""
    stem = path.stem.lower()
    for band in has:
        stem = re.sub(rf"(?<![a-z0-9]){re.escape(band.lower())}(?![a-z0-9])", "*", stem)
    return str(path.absolute().with_name(stem))


def _put_together(pieces: Sequence[Source]) -> list[Source]:
    """What gives some of the bands of a scene, with what gives others of it, by name or place."""
    found = list(pieces)
    alikes: tuple[Callable[[Source], object], ...] = (
        lambda source: (source.scene, source.step, source.day, source.synthetic),
        lambda source: (source.chunks, source.step, source.synthetic),
    )
    for alike in alikes:
        groups: dict[object, list[Source]] = {}
        for number, source in enumerate(found):
            groups.setdefault(number if source.is_whole else alike(source), []).append(source)
        found = list(itertools.chain.from_iterable(map(_joined, groups.values())))
    return found


def _joined(group: list[Source]) -> list[Source]:
    """One of all, if no band is in two of them."""
    parts = [part for source in group for part in source.parts]
    bands = [band for part in parts for band in part.bands]
    if len(group) == 1 or len(set(bands)) < len(bands):
        return group
    chunks = dict.fromkeys(chunk for source in group for chunk in source.chunks)
    return [replace(group[0], parts=tuple(parts), chunks=tuple(chunks))]


def _ask_order(path: Path, bands: tuple[str, ...], flags: AddFlags) -> tuple[str, ...]:
    """The bands of a file that does not name them, in its order."""
    if flags.yes or flags.dry_run:
        raise RasterError(
            f"{path}: it does not say which of its {count(len(bands), 'band')} is which; name them "
            f"in their order, as --bands {','.join(bands)}."
        )

    def parse(text: str) -> tuple[str, ...]:
        names = as_known(questions.band_names(text), bands)
        if sorted(names) != sorted(bands):
            raise ValueError(f"Name {', '.join(bands)}, in the order of the file.")
        return names

    tell(f"  {path.name} does not name its bands.")
    return ask("Bands in the order of the file", parse, ",".join(bands))


def _which_day(
    path: Path, about: About, flags: AddFlags, since: dt.date | None, answered: dt.date | None
) -> tuple[int | None, dt.date, str]:
    """The time step to use, if there are several, the day, and what says which that is."""
    several = len(about.steps) > 1
    if flags.step is not None and not (several or flags.step == 0):
        raise RasterError(f"{path}: there is no step {flags.step}, as it has one time or none.")
    step, listed = flags.step, ", ".join(f"{s.index}: {s.label[:19]}" for s in about.steps)
    if several and step is None:
        if flags.day is not None:
            of_day = sorted((s.label, s.index) for s in about.steps if s.day == flags.day)
            step = of_day[0][1] if of_day else None
        elif not flags.yes and not flags.dry_run:
            step = questions.ask_step(path.name, [s.label[:19] for s in about.steps])
        if step is None:
            missing = f"none is of {flags.day}; " if flags.day else ""
            raise RasterError(
                f"{path}: it has {len(about.steps)} time steps ({listed}); {missing}say which "
                "with --step, or a day of one with --day."
            )
    if several and not 0 <= (step or 0) < len(about.steps):
        raise RasterError(f"{path}: there is no step {step}; it has {listed}.")
    label = about.steps[step or 0] if about.steps else None
    day, day_by = about.day, about.day_by
    if label is not None and label.day is not None:
        day, day_by = label.day, "its time"
    if flags.day is not None:
        day, day_by = flags.day, "--day"
    if day is None:
        if flags.yes or flags.dry_run:
            why = about.day_by or "nothing in it says of which day it is"
            raise RasterError(f"{path}: {why}; name it with --day.")
        if answered is None:
            tell(f"  {path.name}: {about.day_by or 'it does not say of which day it is'}.")
            answered = ask("Day", partial(questions.image_day, since=since))
        day, day_by = answered, ANSWER
    try:
        questions.image_day(day.isoformat(), since)
    except ValueError as error:
        raise RasterError(f"{path}: by {day_by} it is of {day}, but {error}") from error
    return (step if several else None), day, day_by


def _ask_orbit(path: Path) -> str:
    """Ask for the direction of the passes of all files that do not say it."""
    tell(f"  {path.name} does not say of which passes it is.")
    options = {str(number): orbit for number, orbit in enumerate(ORBITS, 1)}
    return options[choose("Passes of which orbit?", options, "1")]
