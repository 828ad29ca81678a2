"""How much of what has no end the tests take: some of it in `make test`, all in `make torture`.

Where a test could stop a program at each of a thousand moments, or look at hundreds of
combinations, `make test` takes every third of those moments, and a sixth of the combinations but
not many more than six; of cases that are much alike it takes the first and some of the others.
A test that takes long, of what changes seldom, has one day of five (`seldom`), unless it is named.
Which, and where dice fall, changes from day to day.  A failure says how to repeat it:
``ROUNDS_SEED=<number>``.  ``TORTURE_ROUNDS=<number>`` is `make torture`.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
import random
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import pytest

# Kept for the workers, which may begin after midnight.
SEED = int(os.environ.setdefault("ROUNDS_SEED", str(dt.date.today().toordinal())))
TORTURE = "TORTURE_ROUNDS" in os.environ
EACH, SHARE = 3, 6  # of so many moments, and of so many combinations, `make test` takes one
ENOUGH = 6  # combinations are enough, however many there are
TURNS, DAYS = 4, 5  # days until a case, or a test that is taken seldom, has its turn again

Case = TypeVar("Case")
Moment = TypeVar("Moment")
torture = pytest.mark.torture


def moments(of_all: Sequence[Moment]) -> list[Moment]:
    """Those at which to stop something: the first, the last, and each third between them."""
    if TORTURE:
        return list(of_all)
    _say()
    chosen = {0, len(of_all) - 1, *range(SEED % EACH, len(of_all), EACH)}
    return [of_all[i] for i in sorted(chosen)]


def combinations(*axes: Iterable[Any], most: int = ENOUGH) -> list[tuple[Any, ...]]:
    """Some of all combinations, for `parametrize`: any, not those of every sixth name."""
    every = list(itertools.product(*axes))
    random.Random(0).shuffle(every)
    step = max(SHARE, len(every) // most)
    return every if TORTURE else every[SEED % step :: step]


def turns(cases: Iterable[Case], days: int = TURNS) -> list[Case]:
    """The first case, which tells most, and of the others those whose turn it is today."""
    every = list(cases)
    if TORTURE:
        return every
    return [case for i, case in enumerate(every) if i == 0 or i % days == SEED % days]


def seldom(day: int) -> pytest.MarkDecorator:
    """Mark a test that `make test` takes on this one of five days (0 to 4) only."""
    assert day in range(DAYS)
    return pytest.mark.seldom(day)


def has_turn(item: pytest.Item) -> bool:
    """Whether the turn of a test is today: of most each day."""
    mark = item.get_closest_marker("seldom")
    return TORTURE or mark is None or mark.args[0] == SEED % DAYS


def rounds(usual: int, share: float = 1.0) -> int:
    """How many rounds: so many, or that share of those of `make torture`."""
    return max(usual, round(int(os.environ["TORTURE_ROUNDS"]) * share)) if TORTURE else usual


def dice(name: str) -> random.Random:
    """Dice that fall differently tomorrow."""
    _say()
    return random.Random(f"{name} {SEED}")


def _say() -> None:
    print(f"ROUNDS_SEED={SEED} repeats this.")  # shown when the test fails
