"""The API's errors: code, HTTP status and message.

Codes, statuses and wordings are those of the openEO API's own list (errors.json of
api.openeo.org, version 1.2), and for the job limit, the options and the second start of a
job, which that list lacks, those of the Copernicus back end.
"""

from __future__ import annotations

# code: (HTTP status, message with its blanks)
MESSAGES: dict[str, tuple[int, str]] = {
    "AuthenticationRequired": (401, "Unauthorized."),
    "AuthenticationSchemeInvalid": (403, "Authentication method not supported."),
    "TokenInvalid": (
        403,
        "Authorization token has expired or is invalid. Please authenticate again.",
    ),
    "CredentialsInvalid": (403, "Credentials are not correct."),
    "PermissionsInsufficient": (
        403,
        "Forbidden. The permissions of the authenticated account do not allow to request the "
        "requested resource.",
    ),
    "NotFound": (404, "Resource not found."),
    "CollectionNotFound": (404, "Collection '{identifier}' does not exist."),
    "JobNotFound": (404, "The batch job '{identifier}' does not exist."),
    "FeatureUnsupported": (501, "Feature not supported."),
    "Internal": (500, "Server error: {message}"),
    "InfrastructureBusy": (
        503,
        "Service is not available at the moment due to overloading. Please try again later "
        "or contact our support.",
    ),
    "TooManyRequests": (429, "Too many requests. Please try again later."),
    "ContentTypeInvalid": (400, "The media type is not supported. Allowed: {types}"),
    "RequestInvalid": (400, "The request is invalid: {reason}"),
    "ProcessGraphMissing": (
        400,
        "Invalid process specified. It doesn't contain a process graph.",
    ),
    "ProcessGraphInvalid": (400, "Invalid process graph specified. {reason}"),
    "ProcessUnsupported": (
        400,
        "Process with identifier '{process}' is not available in namespace '{namespace}'.",
    ),
    "ProcessParameterUnsupported": (
        400,
        "Process '{process}' does not support parameter '{parameter}'.",
    ),
    "ProcessParameterRequired": (400, "Process '{process}' parameter '{parameter}' is required."),
    "ProcessParameterInvalid": (
        400,
        "The value passed for parameter '{parameter}' in process '{process}' is invalid: {reason}",
    ),
    "FormatUnsupported": (400, "Output format not supported."),
    "ExtentTooLarge": (
        400,
        "The requested extent holds {pixels} pixels; at most {limit} are allowed.",
    ),
    "JobLocked": (
        400,
        "Batch job is locked due to a queued or running batch computation.",
    ),
    "JobNotFinished": (
        400,
        "Batch job has not finished computing the results yet. Please try again later or "
        "contact our support.",
    ),
    "JobNotStarted": (400, "Batch job must be started first."),
    "NoDataForUpdate": (400, "No data specified to be updated."),
    "PropertyNotEditable": (400, "The specified property '{property}' is read-only."),
    "BillingPlanInvalid": (400, "The billing plan is invalid."),
    "ConcurrentJobLimit": (
        400,
        "Job was not started because concurrent job limit ({limit}) is reached.",
    ),
    "PaymentRequired": (
        402,
        "The budget required to fulfil the request is not sufficient. A payment is required first.",
    ),
    # As the federation in front of the Copernicus back end says it.
    "JobAlreadyStarted": (400, "Batch job {identifier} was already started."),
    # Copernicus's own: it has no code for a refused option.
    "JobOptionInvalid": (400, "{message}"),
    "JobTransitionNotImplemented": (
        501,
        "Backend does not implement start job for state {status}",
    ),
    "JobTransitionUnsupported": (
        400,
        "Backend does not support start job for final job state {status}",
    ),
    "ResultLinkExpired": (
        410,
        "The link to the batch job result has expired. Please request the results again.",
    ),
}

# Shown with another code than the name that they have here.
CODES = {"JobAlreadyStarted": "Internal", "JobOptionInvalid": "Internal"}

NO_DATA = "NoDataAvailable"  # not an HTTP answer: the code of an entry in a job's log
NO_DATA_MESSAGE = "There is no data available for the given extents."


class ApiError(Exception):
    """An answer of the API that says what went wrong; ``blanks`` fill the message."""

    def __init__(self, code: str, **blanks: object) -> None:
        self.code = CODES.get(code, code)
        self.status, message = MESSAGES[code]
        self.message = message.format(**blanks)
        super().__init__(f"{self.code}: {self.message}")


class NoData(Exception):
    """There is nothing to write.  ``catalogued`` tells in which of the two ways.

    False: no pass is in the catalogue for these extents.  True: a pass's footprint
    touches them (footprints are a little larger than what is imaged), but no pixel
    was imaged.
    """

    def __init__(self, *, catalogued: bool) -> None:
        self.catalogued = catalogued
        super().__init__("no image" if catalogued else "no pass")


class Failed(Exception):
    """The job ends in error, with these words in its log."""


class Cancelled(Exception):
    """The job was stopped while it was computed."""
