"""Jobs that end in error as those of the Copernicus back end do, with its words.

Whether a job fails goes by its options: one that needs more memory is mended by asking for
more, a broken product by tolerating more failed reads, a product without a band by neither.
The words are those of openeo-geopyspark-driver 0.73 (``backend.py``, `summarize_exception`;
``collections/s1backscatter_orfeo.py``; ``deploy/batch_job.py``); as there, what people see
first is seldom the cause.
"""

from __future__ import annotations

import datetime as dt

from sandbox import options
from sandbox.faults import Switch
from sandbox.options import Options

FAILED_READS = 0.5  # share of the reads that fail where a product is broken
FOLDER = "/eodata/Sentinel-1/SAR/IW_GRDH_1S"
_RETRY = (
    "A part of your process graph failed multiple times. Simply try submitting again, or use "
    "batch job logs to find more detailed information in case of persistent failures. Increasing "
    "executor memory may help if the root cause is not clear from the logs."
)
# Entries of the log; the blanks are the day's product, its folder, and what was tolerated.
FATES: dict[str, tuple[str, ...]] = {
    "job-error": ("Exception during Spark execution: java.io.IOException: Connection reset",),
    "job-memory": (
        "Your batch job failed because workers used too much memory. The same task was attempted "
        "multiple times. Consider increasing executor-memory, python-memory or "
        "executor-memoryOverhead or contact the developers to investigate.",
    ),
    "job-driver-memory": (
        "Your batch job failed because the 'driver' used too much java memory. Consider "
        "increasing driver-memory or contact the developers to investigate.",
    ),
    "job-executor-lost": (
        "ExecutorLostFailure (executor 7 exited caused by one of the running tasks) Reason: "
        "The executor with id 7 exited with exit code 137(SIGKILL, possible container OOM).",
        _RETRY,
    ),
    "job-silent": (),
    "job-product": (
        "Error while running Orfeo toolbox. {folder}/{product}_5E1F.SAFE/measurement/vv.tiff, "
        "Exception thrown in otbApplication   EPSG 4326",
        "sar_backscatter: Too many soft errors ({share} > {tolerated})",
    ),
    "job-no-band": (
        "p42-prod6977A0SAFE sar_backscatter: No tiff for band VH in {folder}/{product}_77A0.SAFE",
        _RETRY,
    ),
    "job-unsupported": (
        "OpenEOApiException(status_code=501, code='FeatureUnsupported', message='sar_backscatter: "
        "Unsupported coefficient')",
    ),
}  # fmt: skip


def words(fate: Switch | None, asked: Options, day: dt.date) -> list[str] | None:
    """Entries of the log of a job that fails by this fate; None if it does not."""
    if fate is None or fate.name not in FATES or _mended(fate, asked):
        return None
    kind = "SV" if fate.name == "job-no-band" else "DV"
    blanks = {
        "folder": f"{FOLDER}/{day:%Y/%m/%d}",
        "product": f"S1A_IW_GRDH_1S{kind}_{day:%Y%m%d}T054103_{day:%Y%m%d}T054128_054321_069A12",
        "share": FAILED_READS,
        "tolerated": options.soft_errors(asked),
    }
    return [entry.format(**blanks) for entry in FATES[fate.name]]


def _mended(fate: Switch, asked: Options) -> bool:
    """Whether a job with these options gets by all the same."""
    if fate.name in ("job-memory", "job-executor-lost", "job-silent"):
        return options.more(asked) >= fate.factor
    if fate.name == "job-driver-memory":
        return options.more(asked, options.DRIVER) >= fate.factor
    return fate.name == "job-product" and options.soft_errors(asked) >= FAILED_READS
