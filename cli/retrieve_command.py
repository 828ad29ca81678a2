"""The command that retrieves: ask for a box and days, show them, write them to files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import features_command, places, questions, retrieve_questions
from cli.conversation import held
from cli.exits import DONE
from cli.questions import EXAMPLE_AREA, Period
from cli.running import cluster
from cli.terminal import count, somebody_is_there, tell
from cli.workspace import Workspace
from grid import BBox
from shared.areas import clipping
from shared.collection import SENTINEL1, attributes_of, product_of

if TYPE_CHECKING:
    import xarray as xr

    from store import Archive


DIRECTION = "direction"  # of what has images of its own: as of `retrieve.open`
PICTURES = (".png", ".gif")  # are drawn of a coarser grid where that is enough


@dataclass(frozen=True)
class Wish:
    """What is to be retrieved, when nothing is left to be asked."""

    bbox: BBox
    days: Period
    as_of: int | None = None
    bands: Sequence[str] | None = None
    orbit: str | None = None
    dlat: float | None = None
    dlon: float | None = None
    method: str = "nearest"
    how: str | None = None  # of one image of all days
    colours: Sequence[str] | None = None
    stretch: tuple[float, float] | None = None
    targets: dict[str, bool] = field(default_factory=dict)  # file, and whether to replace it
    lines: dict[str, bool] = field(default_factory=dict)
    by: str | None = None  # what has images and lines of its own
    tables: dict[str, bool] = field(default_factory=dict)  # of each feature of the area's file
    id: str | None = None  # the column with their names
    despeckle: bool = False

    @property
    def is_series(self) -> bool:
        """Whether several days are wanted, each by itself."""
        return self.days[0] != self.days[1] and self.how is None


@dataclass(frozen=True)
class RetrieveFlags:
    """What was asked for on the command line; None is asked for, or has a default."""

    bbox: BBox | None = None
    day: dt.date | None = None
    start: Period | None = None
    end: Period | None = None
    as_of: int | None = None
    bands: Sequence[str] | None = None
    orbit: str | None = None
    dlat: float | None = None
    dlon: float | None = None
    method: str = "nearest"
    outputs: Sequence[str] = ()
    lines: Sequence[str] = ()
    features: str | None = None
    id: str | None = None
    by: str | None = None
    overwrite: bool = False
    no_show: bool = False
    scheduler: str | None = None
    composites: Sequence[str | tuple[str, ...]] = ()
    stretch: tuple[float, float] | None = None
    despeckle: bool = False
    clip: bool | None = None

    @property
    def how(self) -> str | None:
        """How days become one image."""
        return next((one for one in self.composites if isinstance(one, str)), None)

    @property
    def colours(self) -> Sequence[str] | None:
        """The bands for red, green and blue."""
        return next((one for one in self.composites if not isinstance(one, str)), None)


@held
def run_retrieve(workspace: Workspace, flags: RetrieveFlags) -> int:
    """Ask for what is missing, then select, regrid, plot and export."""
    judge_constants()
    days = named_days(flags)
    if flags.features is not None:
        return features_command.run_features(workspace, flags, days)
    if flags.id is not None:
        raise ValueError("--id needs --features, of which it names a column.")
    if flags.by is not None and flags.as_of is not None:
        raise ValueError("--by does not go with --as-of, which is one image.")
    interactive = flags.bbox is None or days is None
    questions.require_targets(flags.outputs)
    questions.require_targets(flags.lines, questions.LINE_SUFFIXES)
    if flags.no_show and not interactive and not flags.outputs and not flags.lines:
        raise ValueError("Nothing to do: with --no-show, name a file with --output.")
    wish = ask_what(workspace, flags, days, interactive)
    asked = ask_files(workspace.archive, wish, flags, interactive)
    if asked is None:
        tell("Nothing was written.")
        return DONE
    with cluster(flags.scheduler):
        if not flags.no_show or asked.targets or asked.lines or not asked.tables:
            read_and_show(workspace.archive, asked, not flags.no_show)
        if asked.tables:
            features_command.write_each(workspace.archive, asked)
    places.remember(workspace, wish.bbox)
    if interactive and (asked.targets or asked.lines or asked.tables):
        retrieve_questions.tell_command(asked, workspace.path, not flags.no_show)
    return DONE


def ask_what(
    workspace: Workspace, flags: RetrieveFlags, days: Period | None, interactive: bool
) -> Wish:
    """Area, days and bands: those of the flags, else the answers to questions."""
    archive, orbit, bands = workspace.existing, flags.orbit, flags.bands
    layout = archive.layout
    assert layout is not None
    bands = bands and questions.require_bands(bands, layout.bands)
    colours = flags.colours and questions.require_bands(flags.colours, layout.bands)
    if colours and layout.product.is_power:
        raise ValueError(
            f"--composite {','.join(colours)} is for what is no radar, whose colours are VV, VH "
            "and VV/VH."
        )
    if colours and bands is not None and not set(colours) <= set(bands):
        raise ValueError(f"--composite {','.join(colours)} needs these among --bands.")
    how = flags.how
    doubt = places.not_archived(archive)
    bbox = places.asked_of(
        workspace, flags.bbox, layout.chunk_size, doubt, usual=first_box(archive),
        draw=lambda: draw_area(workspace, layout.chunk_size),
    )  # fmt: skip
    bbox = places.clipped(bbox, flags.clip, asks=flags.bbox is None)
    if days is None:
        days, orbit, several = ask_days_and_orbit(archive, bbox, orbit)
        if how is None and several:
            how = questions.ask_composite()
    wish = Wish(
        bbox, days, flags.as_of, bands, orbit, flags.dlat, flags.dlon, flags.method, how, colours,
        flags.stretch, by=flags.by, despeckle=flags.despeckle,
    )  # fmt: skip
    require_several_days(wish, flags.outputs, flags.lines)
    if interactive and bands is None:
        return dataclasses.replace(wish, bands=questions.ask_bands(layout.bands))
    return wish


def draw_area(workspace: Workspace, chunk_size: Sequence[float]) -> str:
    """The area, drawn on the archive's map."""
    from cli.area_page import AreaDesk, drawn
    from cli.browse_command import atlas_of

    def price(bbox: BBox, days: Period) -> str:
        import retrieve

        found = [
            c.day for c in retrieve.days(workspace.archive, bbox) if days[0] <= c.day <= days[1]
        ]
        if not found:
            return "the archive has nothing of it."
        return f"the archive has {count(len(set(found)), 'day')}, the newest {max(found)}."

    atlas = atlas_of(workspace)
    every = [dt.date.fromisoformat(image["day"]) for image in atlas.about()["images"]]
    days = (min(every), max(every)) if every else (questions.EXAMPLE_DAY, questions.EXAMPLE_DAY)
    return drawn(atlas, AreaDesk(price, chunk_size, days, None))


def ask_files(archive: Archive, wish: Wish, flags: RetrieveFlags, interactive: bool) -> Wish | None:
    """The wish with the files to write, and what else somebody wants to be asked; None: nothing."""
    asks = interactive or somebody_is_there()
    lines = questions.may_replace(flags.lines, flags.overwrite, asks)
    if lines is None:
        return None
    wish = dataclasses.replace(wish, lines=lines)
    if not interactive or flags.outputs:
        targets = questions.may_replace(flags.outputs, flags.overwrite, asks)
        return None if targets is None else dataclasses.replace(wish, targets=targets)
    layout = archive.layout
    assert layout is not None
    name, several = usual_name(wish, layout.product.name), wish.is_series
    targets = questions.ask_files(name, flags.overwrite, several, more=True)
    if targets is None:
        import retrieve

        found = retrieve.days(archive, wish.bbox)
        wish = retrieve_questions.ask_more(wish, found, layout.product, layout.nside)
        targets = questions.ask_files(name, flags.overwrite, several, more=False)
    return dataclasses.replace(wish, targets=targets or {})


def judge_constants() -> None:
    """ValueError names the constant of a retrieval that cannot be."""
    import convert
    import retrieve

    convert.settings()
    retrieve.settings()


def named_days(flags: RetrieveFlags) -> Period | None:
    """First and last day that the flags name; ValueError if they contradict each other."""
    day, start, end = flags.day, flags.start, flags.end
    if day is not None and (start or end):
        raise ValueError("Name one --day, or --start and --end, not both.")
    if flags.as_of is not None and day is None:
        raise ValueError("--as-of needs the --day that it counts back from.")
    if end is not None and start is None:
        raise ValueError("--end needs a --start.")
    if day is not None:
        return day, day
    if start is None:
        return None
    questions.require_order(start[0], (end or start)[1])
    return start[0], (end or start)[1]


def require_several_days(wish: Wish, outputs: Sequence[str], lines: Sequence[str]) -> None:
    """ValueError for files that need several days when there is but one."""
    animations = [name for name in outputs if name.lower().endswith(".gif")]
    if wish.despeckle and not wish.is_series:
        raise ValueError(
            "--despeckle filters each day by the others: name several days with --start and --end, "
            "and no --composite."
        )
    if wish.how and wish.days[0] == wish.days[1]:
        raise ValueError(f"--composite {wish.how} needs several days: --start and --end.")
    if not wish.is_series and (animations or lines):
        name = [*animations, *lines][0]
        if wish.how:
            raise ValueError(f"{name} shows day by day, so it does not go with a composite.")
        raise ValueError(f"{name} needs several days: name them with --start and --end.")


def read_and_show(archive: Archive, wish: Wish, show: bool) -> None:
    """Draw the box, write it to the files, print their names, and open a window."""
    import retrieve
    from cli.bar import working

    if wish.lines and not wish.targets and not (show and is_to_be_seen()):
        with working("averaging the box"):
            rows, attrs = rows_apart(archive, wish)
        write_lines(wish, rows, attrs)
        return
    lazy = opened(archive, wish, chosen_spacing(wish), wish.by)
    with working("reading and regridding"):
        grid = in_memory(lazy)
        picture = pictured(archive, wish, grid)
        require_pixels(archive, wish, grid, picture)
        drawn = show or any(name.lower().endswith(".png") for name in wish.targets)
        figure = retrieve.plot(picture) if drawn else None
        ranges = retrieve.ranges(picture) if figure is None else retrieve.plot_ranges(figure)
    say_what_it_is(grid, picture, wish, ranges)
    for name, replace in wish.targets.items():
        with working(f"writing {Path(name).name}") as progress:
            suffix = Path(name).suffix.lower()
            if suffix == ".png" and figure is not None:
                retrieve.save_figure(figure, name, replace)
            else:
                retrieve.export(picture if suffix == ".gif" else grid, name, replace, progress)
        click.echo(name)
    if wish.lines:
        with working("averaging the box"):
            rows = retrieve.statistics(grid)
        write_lines(wish, rows, grid.attrs)
    seen = figure is not None and show and retrieve.show(figure)
    if show and not seen and not (wish.targets or wish.lines or wish.tables):
        tell("There is no display to open a window on; name a file with --output.")


def rows_apart(archive: Archive, wish: Wish) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The numbers of a line, of passes of each kind by themselves, and what they are of."""
    import retrieve

    grid = in_memory(opened(archive, wish, chosen_spacing(wish), wish.by or DIRECTION))
    if not retrieve.has_pixels(grid):
        raise retrieve.nothing_seen(archive, wish.bbox, grid)
    rows = retrieve.statistics(grid)
    tell_passes(rows)
    tell(f"  {grid.attrs['source']}")
    return rows, grid.attrs


def tell_passes(rows: list[dict[str, Any]]) -> None:
    """Say of how many days, from when to when, there are passes of each kind."""
    days: dict[str, dict[str, None]] = {}
    for row in rows:
        name = " ".join(filter(None, (row["orbit"], row.get("relative_orbit"))))
        days.setdefault(name, {})[row["day"]] = None
    for name, found in days.items():
        first, *_, last = [*found, *found]
        period = first if first == last else f"{first} to {last}"
        tell(f"  {name}: {count(len(found), 'day')}, {period}")


def write_lines(wish: Wish, rows: list[dict[str, Any]], attrs: dict[str, Any]) -> None:
    """Write the numbers to the files, and print their names."""
    import retrieve

    for name, replace in wish.lines.items():
        retrieve.save_line(rows, attrs, name, replace)
        click.echo(name)


def opened(
    archive: Archive, wish: Wish, spacing: tuple[float, float], by: str | None = None
) -> xr.Dataset:
    """The grid of what is wished for, lazy unless small; of one image without a time dimension.

    ``by``: what makes passes of a day images of their own.
    """
    import retrieve
    from images.grids import image_of

    open_ = retrieve.load if is_small(archive, wish, spacing) else retrieve.open
    grid = open_(
        archive, wish.bbox, *wish.days, bands=wish.bands, dlat=spacing[0], dlon=spacing[1],
        method=wish.method, orbit=wish.orbit, as_of=wish.as_of, composite=wish.how, by=by,
        despeckle=wish.despeckle,
    )  # fmt: skip
    grid = grid if wish.is_series or grid.sizes["time"] > 1 else image_of(grid)
    return grid.assign_attrs(shown_as(grid, wish))


def shown_as(grid: xr.Dataset, wish: Wish) -> dict[str, Any]:
    """The attributes by which a grid is drawn as it is wished for."""
    found: dict[str, Any] = {} if wish.stretch is None else {"stretch": wish.stretch}
    if wish.colours:
        product = dataclasses.replace(product_of(grid.attrs), composite=tuple(wish.colours))
        found |= attributes_of(product)
    return found


def is_small(archive: Archive, wish: Wish, spacing: tuple[float, float]) -> bool:
    """Whether a grid is made sooner than dask is imported, and no cluster waits for work."""
    if "distributed" in sys.modules:
        return False
    from images.pieces import SMALL

    layout = archive.layout
    assert layout is not None
    pixels = wish.bbox.height / spacing[0] * wish.bbox.width / spacing[1]
    one = wish.as_of is not None or wish.how is not None
    days = 1 if one else (wish.days[1] - wish.days[0]).days + 1
    return 4 * pixels * days * len(wish.bands or layout.bands) <= SMALL


def chosen_spacing(wish: Wish) -> tuple[float, float]:
    """dlat and dlon: as asked for, else as fine as the cells if that is no huge picture."""
    import convert
    import retrieve

    if wish.dlat is not None or wish.dlon is not None:
        return wish.dlat or convert.DLAT, wish.dlon or convert.DLON
    dlat, dlon = retrieve.spacing(wish.bbox)
    if (dlat, dlon) != (convert.DLAT, convert.DLON):
        tell(
            f"  pixels of {dlat:g} x {dlon:g} degrees, so that no side has more than "
            f"{retrieve.PICTURE_MAX}; full resolution is --dlat {convert.DLAT:g} "
            f"--dlon {convert.DLON:g}"
        )
    return dlat, dlon


def in_memory(grid: xr.Dataset) -> xr.Dataset:
    """The grid, computed once for all that is made of it, unless it is too large for that."""
    import retrieve
    from images import grids

    return grids.in_memory(grid) if grid.nbytes <= retrieve.MEMORY_MAX else grid


def pictured(archive: Archive, wish: Wish, grid: xr.Dataset) -> xr.Dataset:
    """The grid to draw: the same, or a coarser one where that is enough for the picture."""
    import retrieve

    most = retrieve.SERIES_MAX if "time" in grid.dims else retrieve.PICTURE_MAX
    if max(grid.sizes["lat"], grid.sizes["lon"]) < most or not grid.chunks:
        return grid
    return opened(archive, wish, retrieve.spacing(wish.bbox, most=most), wish.by).compute()


def is_to_be_seen() -> bool:
    """Whether there is a display to open a window on."""
    from images.figure import has_display

    return has_display()


def require_pixels(archive: Archive, wish: Wish, grid: xr.Dataset, picture: xr.Dataset) -> None:
    """NoData if nothing was seen of the box, so that nothing is written.

    A grid beyond memory is looked at if it will be written, first where the picture, which is
    coarser, has something: then a single block of it is computed once more.
    """
    import retrieve

    written = any(not name.lower().endswith(PICTURES) for name in wish.targets) or wish.lines
    looked_at = grid if written else picture
    likely = retrieve.has_pixels(picture)
    if looked_at is picture or (likely and retrieve.has_pixels(around_a_pixel(grid, picture))):
        seen = likely
    else:
        seen = retrieve.has_pixels(looked_at)
    if not seen:
        raise retrieve.nothing_seen(archive, wish.bbox, grid)


def around_a_pixel(grid: xr.Dataset, picture: xr.Dataset) -> xr.Dataset:
    """What a grid has in a pixel of a coarser picture of it that has a value."""
    import numpy as np

    bands = [values for values in picture.data_vars.values() if values.ndim > 1]
    place = np.argwhere(np.logical_or.reduce([values.notnull().values for values in bands]))[0]
    where: dict[str, slice] = {}
    for dim, index in zip(bands[0].dims, place, strict=True):
        share = grid.sizes[dim] / picture.sizes[dim]
        where[str(dim)] = slice(int(index * share), int((index + 1) * share) + 1)
    return grid.isel(where)


def unseen_images(picture: xr.Dataset) -> int:
    """How many images of a picture have no pixel."""
    import retrieve

    images = (picture.isel(time=i) for i in range(picture.sizes["time"]))
    return sum(not retrieve.has_pixels(image) for image in images)


def say_what_it_is(
    grid: xr.Dataset, picture: xr.Dataset, wish: Wish, ranges: dict[str, tuple[float, float]]
) -> None:
    """The range of each band, the days, what was mixed, and where the data came from."""
    import retrieve
    from images.grids import days_of, has_several_a_day

    several = has_several_a_day(grid)
    if wish.is_series:
        empty = unseen_images(picture)
        what = count(empty, "image" if several else "day")
        some = f", {what} without a pixel in the box" if empty else ""
        tell(f"  {count(len(set(days_of(grid))), 'day')}, {grid.attrs['day']}{some}")
    if wish.how:
        tell(f"  {grid.attrs['composite']}, {grid.attrs['day']}")
    elif "days_used" in grid.attrs and not wish.is_series:
        tell(f"  of {grid.attrs['days_used'].replace(' ', ', ')}")
    for band, (low, high) in ranges.items():
        tell(f"  {band}: {retrieve.range_words(low, high, band, grid.attrs)}")
    mixed = grid.attrs["orbit"].split("+")
    if len(mixed) > 1:
        how = "from day to day" if wish.is_series and wish.orbit is None else "in one image"
        how = "in images of their own" if several else how
        tell(f"  {' and '.join(mixed)} passes {how}: they see the ground from different sides")
    tell(f"  {grid.attrs['source']}")


def ask_days_and_orbit(
    archive: Archive, bbox: BBox, orbit: str | None
) -> tuple[Period, str | None, bool]:
    """Offer what the archive has of the box; NoData if that is nothing.

    Days and orbit that were chosen, and whether there are records of several days among them.
    """
    import retrieve

    found = [c for c in retrieve.days(archive, bbox) if orbit in (None, "any", c.orbit)]
    if not found:
        raise retrieve.NoData(
            f"The archive {archive.name} holds nothing of {bbox}.  Get it with `download`."
        )
    days = questions.ask_days(found, str(bbox), "area" if clipping(bbox) else "box")
    chosen = [cover for cover in found if days[0] <= cover.day <= days[1]]
    orbits = sorted({cover.orbit for cover in chosen})
    if orbit is None and len(orbits) > 1 and "any" not in orbits:
        usual = max(chosen, key=lambda cover: cover.share or 0).orbit
        orbit = questions.ask_orbit(orbits, usual, apart=True)
        chosen = [cover for cover in chosen if orbit in (None, "any", cover.orbit)]
    return days, orbit, len({cover.day for cover in chosen}) > 1


def usual_name(wish: Wish, collection: str) -> str:
    """The name that is offered for the picture."""
    what = "s1" if collection == SENTINEL1.name else collection.lower()
    first, last = map(str, wish.days)
    parts = [what, first] + [last] * (last != first) + [wish.how or ""] * (wish.how is not None)
    parts += ["despeckled"] * wish.despeckle
    return "_".join([*parts, places.stem(wish.bbox)]) + ".png"


def first_box(archive: Archive) -> str:
    """The first tile of an archive: a box of which there is something."""
    tiles = archive.tiles()
    return str(tiles[0].bbox if tiles else EXAMPLE_AREA)
