"""Why a job ended in error, by the words of its log, and what the next one asks for.

A second job is never a blind copy of the first where the log says what a copy would come
to.  `_KINDS` sorts the words; `mend` gives the options of the next job, or None where no
other job would fare better.  The first kind of which any entry speaks is taken, so the
table goes from what is certain to what is a guess: a job that met a product without a band
ends with general words about memory, too.

The words are read in openeo-geopyspark-driver 0.73 (each line names the file there), in
reports of its users (numbers of its issues), and in openeo-driver.  They are no interface:
what is not known is ordered again as before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from jobs.trouble import redact

Options = Mapping[str, Any]

WORDS = 3  # entries of a log that are worth keeping
SOFT = "soft-errors"


class Cause(Enum):
    """What to do about it."""

    BAND = (
        "The product lacks a band: no job will make this chunk with these BANDS; choose those "
        "that it has, or leave this day and orbit out."
    )
    ORDER = "The back end does not support the order: no job will make it; change the constants."
    DRIVER = "Give it more: --job-option driver-memory=48G, say."
    MEMORY = "Give it more: --job-option python-memory=16G --job-option executor-memory=16G, say."
    PRODUCT = (
        "The product is broken there, and leaving it out did not help; run the same command when "
        "it was replaced, or leave this day and orbit out."
    )
    LOST = "Workers were lost; give them more with --job-option, or try again later."
    SILENT = "Give it more with --job-option, or look at the job in the web editor."
    OTHER = "Run the same command to try again."


# What an entry says, what it means, and where that was read.
_KINDS = (
    (r"No tiff for band", Cause.BAND),  # collections/s1backscatter_orfeo.py; 596
    (r"Requested band .* is not present in Sentinel.?1 tile", Cause.BAND),  # backend.py
    (r"Sentinel1BandNotPresent", Cause.BAND),  # backend.py
    (r"\b(Feature|Process|ProcessParameter|Format)Unsupported\b", Cause.ORDER),  # openeo-driver
    (r"\bProcess(Parameter|Graph)(Invalid|Missing|Required)\b", Cause.ORDER),  # openeo-driver
    (r"\bCollectionNotFound\b", Cause.ORDER),  # openeo-driver
    (r"FileNotFoundError.*(srtm|\.hgt|dem)", Cause.ORDER),  # openeo-python-client 786
    (r"'driver' used too much", Cause.DRIVER),  # backend.py
    (r"ran out of memory", Cause.MEMORY),  # backend.py
    (r"used too much memory", Cause.MEMORY),  # backend.py, exit code 143
    (r"MemoryError|bad_alloc|OutOfMemory|OOMKilled", Cause.MEMORY),  # backend.py; 595, 640
    (r"exit(ed with exit)? ?code:? (137|143)", Cause.MEMORY),  # Spark, Kubernetes; 1227
    (r"Orfeo (toolbox|error)|corrupted input product", Cause.PRODUCT),  # s1backscatter_orfeo.py
    (r"Segmentation fault", Cause.PRODUCT),  # s1backscatter_orfeo.py; 1479
    (r"Too many soft errors", Cause.PRODUCT),  # deploy/batch_job.py
    (r"path to SAR product .* does not exist", Cause.PRODUCT),  # s1backscatter_orfeo.py; 1719
    (r"ExecutorLostFailure|exited unexpectedly", Cause.LOST),  # backend.py
    (r"failed multiple times|Missing an output location", Cause.LOST),  # backend.py
    (r"maximum allowable number of times", Cause.LOST),  # backend.py
)
# The log itself could not be had: openeo-driver, views.py; logs.py.
_NO_LOG = re.compile(r"Log collection .*failed|while retrieving logs", re.IGNORECASE)
_PRODUCT = re.compile(r"S1[A-Z]_(?:IW|EW|SM|WV)_\w+")


@dataclass(frozen=True)
class Failure:
    """Why a job failed, as far as its log says."""

    cause: Cause
    words: str  # of the log
    product: str = ""  # that it names

    @property
    def reason(self) -> str:
        """The words for people, with the product where they name one."""
        named = f" [product {self.product}]" if self.product else ""
        return f"the job failed: {redact(self.words)}{named}"


@dataclass(frozen=True)
class Mending:
    """What a next job may ask for."""

    memory_steps: Sequence[Options]  # more and more
    soft_errors: float  # share of failed reads, once


def sort(entries: Sequence[str]) -> Failure:
    """The failure behind the error entries of a log."""
    told = [entry for entry in entries if not _NO_LOG.search(entry)]
    if not told:
        return Failure(Cause.SILENT, "its log cannot be had" if entries else "its log is empty")
    for pattern, cause in _KINDS:
        meant = [entry for entry in told if re.search(pattern, entry, re.IGNORECASE)]
        if meant:
            return Failure(cause, _joined(meant), _product(meant) or _product(told))
    return Failure(Cause.OTHER, _joined(told), _product(told))


def mend(failure: Failure, options: Options, mending: Mending) -> dict[str, Any] | None:
    """What the job after a failed one asks for; None: it would end the same."""
    if failure.cause in (Cause.BAND, Cause.ORDER):
        return None
    if failure.cause is Cause.PRODUCT:
        tolerated = options.get(SOFT, 0)
        more = not isinstance(tolerated, int | float) or tolerated < mending.soft_errors
        return {**options, SOFT: mending.soft_errors} if more else None
    if failure.cause is Cause.OTHER:
        return dict(options)
    return _next_step(options, mending.memory_steps, failure.cause is Cause.DRIVER)


def combined(options: Options, more: Options) -> dict[str, Any]:
    """Both, and of each kind of memory the larger one."""
    larger = {k: v for k, v in options.items() if _adds(k, v, more)}
    return {**options, **more, **larger}


def in_words(options: Options) -> str:
    """Options as they are written on the command line."""
    return " ".join(f"{name}={value}" for name, value in sorted(options.items()))


def _next_step(
    options: Options, steps: Sequence[Options], of_driver: bool
) -> dict[str, Any] | None:
    """The first step that asks for more of what was short."""
    for step in steps:
        asked = {k: v for k, v in step.items() if k.startswith("driver") == of_driver}
        if any(_adds(name, value, options) for name, value in asked.items()):
            return combined(options, asked)
    return None


def _adds(name: str, value: object, options: Options) -> bool:
    """Whether a value asks for more memory than the options do."""
    return "memory" in name.lower() and size(value) > size(options.get(name, 0))


def size(text: object) -> float:
    """Bytes of a size as job options have it: "4G", "512m"; 0 for what is none."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", str(text), re.IGNORECASE)
    return float(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ") if match else 0.0


def _joined(entries: Sequence[str]) -> str:
    return " / ".join(dict.fromkeys(entries[-WORDS:]))


def _product(entries: Sequence[str]) -> str:
    found = [match[0] for entry in entries if (match := _PRODUCT.search(entry))]
    return found[0] if found else ""
