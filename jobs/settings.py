"""The constants of downloading, judged: what a run of jobs rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from grid import check_chunk_size
from jobs.address import require_safe
from jobs.failures import Mending
from jobs.items import Selection
from jobs.model import Pace
from jobs.recipe import Recipe
from shared import collection, judge
from shared.collection import Collection

FILE = "download.py"  # where the constants stand
SMALLEST = 0.001  # degrees, a side of a tile


@dataclass(frozen=True)
class Typical:
    """What one job takes until there is a history of our own."""

    seconds: float  # from start to finish
    embedded_seconds: float  # the same at the embedded back end
    bytes: float  # of a pixel and band
    pixel: float  # m
    credits: float  # of a job where jobs are paid for, at least
    history: int  # jobs of our own that an estimate rests on


@dataclass(frozen=True)
class Settings:
    """What downloading rests on; a door makes them of its constants when a command begins."""

    backends: Mapping[str, str]  # labels of those that are paid for, with their addresses
    chunk_size: tuple[float, float]  # degrees E-W, S-N
    recipe: Recipe
    catalogue: Selection  # as the constants have it
    pace: Pace
    usual: Typical  # by the constants; where one is 0, what is known of the collection
    keep_raw: bool
    claim_lasts: float  # s
    job_options: Mapping[str, Any]
    mending: Mending
    partial: float  # share of what was promised, below which a record is partial
    inexact: float  # share of a tile that the promise may be off by

    @property
    def selection(self) -> Selection:
        """Which images of the catalogue the order can be made from."""
        return self.catalogue.of(self.recipe)

    @property
    def typical(self) -> Typical:
        """What one job takes."""
        usual, collection = self.usual, self.recipe.collection
        return replace(
            usual,
            seconds=usual.seconds or collection.seconds,
            bytes=usual.bytes or collection.bytes,
            pixel=usual.pixel or collection.pixel,
        )


def is_partial(covered: float | None, seen: float, made: Settings) -> bool:
    """Whether a record shows much less than was promised: both are shares of its tile."""
    return covered is not None and seen < made.partial * covered - made.inexact


def judged(constants: Mapping[str, Any]) -> Settings:
    """The settings by these constants; ValueError names the one that cannot be."""
    every = _Constants(constants)
    recipe = _recipe(every)
    typical = _typical(every)
    partial, inexact = every.number("PARTIAL", 0, 1), every.number("INEXACT", 0, 1)
    return Settings(
        _backends(every), _chunk_size(every), recipe, _selection(every), _pace(every), typical,
        every.flag("KEEP_RAW"), every.positive("CLAIM_LASTS"), every.options("JOB_OPTIONS"),
        _mending(every), partial, inexact,
    )  # fmt: skip


class _Constants:
    """Constants by their names, judged one by one."""

    def __init__(self, constants: Mapping[str, Any]) -> None:
        self._constants = constants

    def raw(self, name: str) -> tuple[str, Any]:
        """The name with its file, for messages, and the value as it is."""
        return f"{name} in {FILE}", self._constants[name]

    def whole(self, name: str, least: int = 1) -> int:
        return judge.whole(*self.raw(name), least)

    def number(self, name: str, *limits: float) -> float:
        return judge.number(*self.raw(name), *limits)

    def positive(self, name: str) -> float:
        return judge.positive(*self.raw(name))

    def flag(self, name: str) -> bool:
        return judge.flag(*self.raw(name))

    def text(self, name: str) -> str:
        return judge.text(*self.raw(name))

    def names(self, name: str) -> tuple[str, ...]:
        return judge.names(*self.raw(name))

    def options(self, name: str) -> dict[str, Any]:
        return judge.options(*self.raw(name))


def _recipe(every: _Constants) -> Recipe:
    known = collection.of_name(every.text("COLLECTION"))
    require_bands(*every.raw("BANDS"), known)
    return Recipe(
        known, every.names("BANDS"), every.number("MARGIN", 0, 1), every.text("ELEVATION_MODEL"),
        every.number("MAX_CLOUD", 0, 100),
    )  # fmt: skip


def require_bands(name: str, value: Any, known: Collection) -> None:
    """Raise ValueError unless these are bands of a collection, as far as these are known."""
    if not set(judge.names(name, value)) <= set(known.bands or value):
        must = f"some of {', '.join(known.bands)}, which {known.name} has"
        raise ValueError(judge.wrong(name, value, must))


def _selection(every: _Constants) -> Selection:
    require_safe(address := every.text("CATALOGUE"))
    _, images = every.raw("IMAGES")
    return Selection(
        address, "" if images is None else every.text("IMAGES"), every.names("TYPES"),
        every.names("MODES"), least_share=every.number("LEAST_SHARE", 0, 1),
    )  # fmt: skip


def _typical(every: _Constants) -> Typical:
    def known(name: str) -> float:
        return 0.0 if every.raw(name)[1] is None else every.positive(name)

    return Typical(
        known("TYPICAL_SECONDS"), every.positive("EMBEDDED_SECONDS"), known("TYPICAL_BYTES"),
        known("PIXEL"), every.positive("MIN_CREDITS"), every.whole("HISTORY"),
    )  # fmt: skip


def _pace(every: _Constants) -> Pace:
    first, longest = judge.rising(*every.raw("BACKOFF"), 0.001, 86400)
    return Pace(
        max_inflight=every.whole("MAX_INFLIGHT"),
        max_pending=every.whole("MAX_PENDING"),
        max_trys=every.whole("MAX_TRYS"),
        max_files=every.whole("MAX_FILES"),
        poll=every.positive("POLL_WAIT_TIME"),
        start_interval=every.number("START_INTERVAL"),
        backoff_first=first,
        backoff_longest=longest,
        patience=every.positive("PATIENCE"),
        stuck_after=every.positive("STUCK_AFTER"),
        start_lag=every.number("START_LAG"),
        log_wait=every.number("LOG_WAIT"),
        empty_wait=every.number("EMPTY_WAIT"),
        doubt=every.number("DOUBT"),
        missing_wait=every.number("MISSING_WAIT"),
    )


def _mending(every: _Constants) -> Mending:
    name, steps = every.raw("MEMORY_STEPS")
    if not isinstance(steps, tuple | list):
        raise ValueError(judge.wrong(name, steps, "a list of job options"))
    return Mending([judge.options(name, step) for step in steps], every.number("SOFT_ERRORS", 0, 1))


def _chunk_size(every: _Constants) -> tuple[float, float]:
    name, sides = every.raw("CHUNK_SIZE")
    must = "two numbers above 0, degrees E-W and S-N, as [1, 0.5]"
    if not isinstance(sides, tuple | list) or len(sides) != 2:
        raise ValueError(judge.wrong(name, sides, must))
    if not all(judge.is_number(side) and side >= SMALLEST for side in sides):
        raise ValueError(judge.wrong(name, sides, must))
    return check_chunk_size(sides)


def _backends(every: _Constants) -> dict[str, str]:
    name, found = every.raw("BACKENDS")
    must = 'addresses in braces, as {"cdse": "https://openeo.dataspace.copernicus.eu"}'
    if not isinstance(found, dict) or not all(isinstance(label, str) for label in found):
        raise ValueError(judge.wrong(name, found, must))
    return {label: require_safe(judge.text(name, url)) for label, url in found.items()}
