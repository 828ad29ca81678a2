"""Job options: how much memory they ask for, and what is refused.

Defaults, the maximum, and the words of the refusals are those of the Copernicus back end's
source (openeo-geopyspark-driver 0.73, ``job_options.py``).  It looks at them when a job is
started, not when it is created.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sandbox.errors import ApiError

Options = Mapping[str, Any]

DEFAULTS = {
    "executor-memory": "2G",
    "executor-memoryOverhead": "3G",
    "python-memory": "0",
    "driver-memory": "8G",
    "driver-memoryOverhead": "2G",
}
SOFT_ERRORS = 0.1  # share of failed reads that is tolerated
MAXIMUM = "64G"  # of an executor, and of the driver
CORES = 4  # of an executor, and of the driver
WORKERS = ("executor-memory", "executor-memoryOverhead", "python-memory")
DRIVER = ("driver-memory", "driver-memoryOverhead")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(text: object) -> int:
    """Bytes of "4G", "512m" or "100"; ApiError where it is none."""
    match = re.fullmatch(r"\s*(\d+)\s*([kmgt]?)b?\s*", str(text), re.IGNORECASE)
    if match is None:
        raise ApiError("JobOptionInvalid", message=f"invalid memory size {text!r}")
    return int(match[1]) * _UNITS[match[2].lower()]


def memory(options: Options, names: tuple[str, ...] = WORKERS) -> int:
    """Bytes that the options ask for; what is not named takes its default."""
    return sum(size(options.get(name, DEFAULTS[name])) for name in names)


def more(options: Options, names: tuple[str, ...] = WORKERS) -> float:
    """How many times the default memory the options ask for."""
    return memory(options, names) / memory({}, names)


def soft_errors(options: Options) -> float:
    """The share of failed reads that the options tolerate."""
    value = options.get("soft-errors", SOFT_ERRORS)
    value = {"true": 1.0, "false": 0.0}.get(value, value) if isinstance(value, str) else value
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise ApiError(
        "JobOptionInvalid",
        message=f"invalid value {value} for job_option soft-errors; supported values include "
        "false/true and values in the interval [0.0, 1.0]",
    )


def check(options: Options) -> None:
    """Raise ApiError for options that a job cannot be started with."""
    for kind, names in (("executor", WORKERS), ("driver", DRIVER)):
        if memory(options, names) > size(MAXIMUM):
            asked = " + ".join(str(options.get(name, DEFAULTS[name])) for name in names[:2])
            raise ApiError(
                "JobOptionInvalid",
                message=f"Requested too much {kind} memory: {asked}, the max for this instance "
                f"is: {MAXIMUM}",
            )
        cores = options.get(f"{kind}-cores", 1)
        if not isinstance(cores, int) or cores > CORES:
            raise ApiError(
                "JobOptionInvalid",
                message=f"Requested too many {kind} cores: {cores} , the max for this instance "
                f"is: {CORES}",
            )
    soft_errors(options)
