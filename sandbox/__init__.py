"""An openEO back end on this computer, with synthetic images: ``python -m sandbox``.

It behaves like the Copernicus one as far as a downloader can tell: login, batch jobs with
two at a time, process graphs that are executed as they are sent, results behind signed
links.  Its images are made up by a formula of place, day and orbit.  It is the default for
a first run without an account, it serves the tests, and it works offline.

It offers ``SENTINEL1_GRD``, ``SENTINEL2_L2A`` and an elevation model, ``COPERNICUS_30``, all of
one land.

Accounts: user ``sandbox``, password ``sandbox``; client ``sandbox-client``, secret
``sandbox-secret``; or the device code flow, whose page asks for no password.

Rooms: `server` (the wire), `api` (addresses), `auth`, `jobs`, `graph` (what was ordered),
`offers` and `catalogue` (the documents of the back end, and what may be asked of each
collection), `raster` (the file) and `grids` (its pixels), `ground` (what is where) on `land`,
`loops` (how that is compiled), `stac` (a STAC API of the images, at ``/stac``), `errors`,
`faults` and `control` (for tests).  Of Sentinel-1: `orbit`, `products`, `scene` (what it would
see), `elevation` (whether there is a model of it).  Of Sentinel-2: `granules` (its products),
`optical` (what it would see), `mosaic` (products merged).  The elevation model: `terrain`.
Items of these two: `shelves`.

Faults
======
A switch is written ``NAME[=N][,OPTION=VALUE ...]``, as in ``500=4``, ``502-html=3,path=/jobs``,
``job-error=2`` or ``stall=5,seconds=60,times=1``.
=====================  ====================================================================
requests               each N-th request to the API or for a file (3); a ``path=`` widens
                       or narrows that to addresses that contain it, login included
=====================  ====================================================================
``500`` ``503``        answered with the API's JSON error
``502-html`` ``504``   answered with a proxy's HTML page
``429``                answered with Retry-After: ``seconds`` (1)
``html``               answered 200 with an HTML page
``reset``              connection reset instead of an answer
``reset-body``         connection reset half-way through the answer's body
``stall``              answered ``seconds`` (60) late
``refuse``             connection reset, and none accepted for ``seconds`` (2)
``token-invalid``      403 TokenInvalid, on requests that carry a token
``login-gone``         from the N-th (1) request with a token on: every token is invalid and
                       no login succeeds
``tokens-revoked``     at the N-th (1): the tokens given out so far are invalid; a new login
                       helps
=====================  ====================================================================

=====================  ====================================================================
files                  each N-th GET of a result file (3)
=====================  ====================================================================
``asset-short``        the connection is closed half-way
``asset-short-clean``  no Content-Length, and a clean end half-way
``asset-wrong-length`` Content-Length is wrong by ``bytes`` (1000; may be negative)
``asset-no-range``     Range is ignored: 200 and the whole file
``asset-html``         200 and an HTML page
``asset-flip``         one byte of the pixels is flipped
``asset-reset``        connection reset half-way
``asset-stall``        a pause of ``seconds`` (60) half-way
``asset-403``          this link has expired, as the object store says it
``asset-410``          this link has expired, as the API says it (ResultLinkExpired)
``asset-404``          the file is missing, as the object store says it (NoSuchKey)
``asset-500``          the same, as the API says it when it reads the file itself
``asset-no-validators``  neither ETag nor Last-Modified, as in streamed results
=====================  ====================================================================

=====================  ====================================================================
requests of a kind     each N-th (1) of that kind
=====================  ====================================================================
``payment-required``   a start is refused: 402
``job-limit``          a start is refused: ConcurrentJobLimit, though a slot is free
``lost-create``        the job is created, but the connection reset (``answer=502``: a 502)
``lost-start``         the job is started, likewise
``fields-lost``        the catalogue's fields extension leaves out all properties but datetime
``stac11``             results with STAC 1.1's asset keys, ``<uuid>_openEO``
``no-file-size``       results without file:size
``text-string``        files whose texts are NC_STRING, the CRS as PROJ's own WKT 2
``text-latin1``        files whose texts are characters, that CRS in Latin-1
``no-oidc``            the capabilities offer a login by name and password alone
``no-providers``       the list of identity providers is offered and empty
``refresh-once``       the refresh token that comes is used up: when it comes again the login
                       that it belongs to ends, as RFC 6819 (5.2.2.3) advises
``account-limits``     ``/me`` tells of a budget, a storage and a page
``no-account``         ``/me`` refuses the user: 403, one who has not enrolled
``results-empty``      results without any asset, though there is one
``results-items``      results that name their file in a link ``rel=item`` alone
``asset-no-type``      an asset with neither media type nor roles
``asset-more``         more files than the one that was ordered
``log-empty``          a log without its entries
``log-fails``          a log that says only that it cannot be had
``start-slow``         a start takes ``seconds`` (60); another one meanwhile is refused as one
                       of a job that was already started: 400, code Internal
``start-ended-400``    a start of a job that has ended is refused with 400
                       JobTransitionUnsupported instead of 501 JobTransitionNotImplemented
``start-ended-202``    it is accepted, and does nothing, as by older versions
``status-lag``         after a start the status is still created for ``seconds`` (4)
``federation-missing``  the list of jobs lacks those of a part of the federation
``list-no-next``       a page of that list does not offer the next one
=====================  ====================================================================

=====================  ====================================================================
jobs                   the N-th job that is created after the switch was turned on; without
                       N every one; ``every=N`` each N-th; ``title=`` only jobs whose title
                       contains it are counted
=====================  ====================================================================
``job-error``          ends in error
``job-canceled``       ends canceled
``job-vanishes``       is gone (404) when it should be finished
``job-stuck``          stays queued
``job-slow``           takes ``seconds`` (5) longer
``job-hole``           finishes, but ``share`` (0.5) of the result is empty, without a word
``job-unknown-status`` ends as "postponed", which is no status of the API
``job-no-data-error``  ends in error with NoDataAvailable in its log
``job-no-data-empty``  finishes with no assets
``job-memory``         runs out of memory unless its options ask for ``factor`` (3) times as
                       much as the default
``job-driver-memory``  the same of the driver's
``job-executor-lost``  the same, but the log speaks of a lost executor only
``job-silent``         the same, but the log holds no error
``job-product``        meets a broken product: fails unless soft-errors is 0.5 or more,
                       and then has a hole
``job-no-band``        meets a product without VH
``job-unsupported``    fails as an order that the back end does not support
=====================  ====================================================================

=====================  ====================================================================
products               those whose name contains ``path=``, in jobs and catalogue alike
=====================  ====================================================================
``no-vh``              has no VH: a job that asks for VH ends in error ("No tiff for band VH
                       in ..."), unless it filters on ``polarisation``
``not-read``           is of Sentinel-1D, which the catalogue has and jobs do not see
=====================  ====================================================================

=====================  ====================================================================
items                  each N-th (3) item that the catalogue at ``/stac`` shows; ``path=`` only
                       those whose id contains it
=====================  ====================================================================
``item``               has no ``field=`` (``geometry``, ``properties.platform``), or, with
                       ``answer=``, that JSON there (with ; for each comma)
=====================  ====================================================================

Options of all: ``times=`` stops after so many, ``skip=`` lets so many pass first,
``chance=`` and ``seed=`` replace "each N-th" by a seeded dice, ``path=``, ``method=`` and
``title=`` choose what is counted.
"""
