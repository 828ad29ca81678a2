"""Is a constant what it must be?  Judged when it is used first, before anything rests on it.

Each function returns the value, in the type that the program works with.  Otherwise it raises
ValueError in one line: the constant with its file, what it is, and what it must be.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterable
from typing import Any


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """A whole number in a range; True and 2.0 are none."""
    must = f"a whole number from {least} {'up' if most is None else f'to {most}'}"
    if not is_number(value) or not isinstance(value, numbers.Integral):
        raise ValueError(wrong(name, value, must))
    found = int(value)
    if found < least or (most is not None and found > most):
        raise ValueError(wrong(name, value, must))
    return found


def number(name: str, value: Any, least: float = 0.0, most: float = math.inf) -> float:
    """A finite number in a range, its ends included."""
    must = f"a number from {least:g} {'up' if most == math.inf else f'to {most:g}'}"
    if not is_number(value) or not least <= value <= most:
        raise ValueError(wrong(name, value, must))
    return float(value)


def positive(name: str, value: Any, most: float = math.inf) -> float:
    """A finite number above 0."""
    must = "a number above 0" + ("" if most == math.inf else f", at most {most:g}")
    if not is_number(value) or not 0 < value <= most:
        raise ValueError(wrong(name, value, must))
    return float(value)


def rising(name: str, value: Any, least: float, most: float) -> tuple[float, float]:
    """Two numbers in a range, the second not below the first."""
    must = f"two numbers from {least:g} to {most:g}, the smaller one first"
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(map(is_number, value)):
        raise ValueError(wrong(name, value, must))
    if not least <= value[0] <= value[1] <= most:
        raise ValueError(wrong(name, value, must))
    return float(value[0]), float(value[1])


def flag(name: str, value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(wrong(name, value, "True or False"))
    return value


def text(name: str, value: Any) -> str:
    """A text of one line that is not empty."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError(wrong(name, value, 'a text in quotes, as "this"'))
    return value


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """One of a few texts."""
    known = tuple(options)
    if not isinstance(value, str) or value not in known:
        raise ValueError(wrong(name, value, " or ".join(f'"{option}"' for option in known)))
    return value


def names(name: str, value: Any) -> tuple[str, ...]:
    """Different texts; a single one needs the comma that makes it a tuple."""
    must = 'names in brackets, with a comma behind a single one, as ("VV",)'
    if not isinstance(value, tuple | list) or not value:
        raise ValueError(wrong(name, value, must))
    if not all(isinstance(each, str) and each.strip() for each in value):
        raise ValueError(wrong(name, value, must))
    if len(set(value)) < len(value):
        raise ValueError(wrong(name, value, "different names"))
    return tuple(value)


def options(name: str, value: Any) -> dict[str, Any]:
    """Values by their names, as JSON has them."""
    must = 'options in braces, as {"python-memory": "4G"}'
    if not isinstance(value, dict) or not all(isinstance(key, str) and key for key in value):
        raise ValueError(wrong(name, value, must))
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        raise ValueError(wrong(name, value, must)) from None
    return dict(value)


def is_number(value: Any) -> bool:
    """Whether this is a finite number."""
    return type(value) is not bool and isinstance(value, numbers.Real) and math.isfinite(value)


def wrong(name: str, value: Any, must: str) -> str:
    """The line that says so."""
    return f"{name} is {value!r}; it must be {must}.  Nothing was done.  Edit it, and run again."
