"""An openEO back end on this computer, with a synthetic Sentinel-1: ``python -m sandbox``.

It behaves like the Copernicus one as far as a downloader can tell: login, batch jobs with
two at a time, process graphs that are executed as they are sent, results behind signed
links.  Its images are made up by a formula of place, day and orbit.  It is the default for
a first run without an account, it serves the tests, and it works offline.

Accounts: user ``sandbox``, password ``sandbox``; client ``sandbox-client``, secret
``sandbox-secret``; or the device code flow, whose page asks for no password.

Rooms: `server` (the wire), `api` (addresses), `auth`, `jobs`, `graph` (what was ordered),
`raster` (the file), `scene` and `orbit` (what Sentinel-1 would see), `land`, `catalogue`
(the documents of the back end), `stac` (a STAC API of the images, at ``/stac``), `errors`,
`faults` and `control` (for tests).

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
=====================  ====================================================================

=====================  ====================================================================
starts and creations   each N-th (1) request of its kind
=====================  ====================================================================
``payment-required``   a start is refused: 402
``job-limit``          a start is refused: ConcurrentJobLimit, though a slot is free
``lost-create``        the job is created, but the connection reset (``answer=502``: a 502)
``lost-start``         the job is started, likewise
``stac11``             results with STAC 1.1's asset keys, ``<uuid>_openEO``
``no-file-size``       results without file:size
``text-string``        files whose texts are NC_STRING, the CRS as PROJ's own WKT 2
``text-latin1``        files whose texts are characters, that CRS in Latin-1
``no-oidc``            the capabilities offer a login by name and password alone
``refresh-once``       the refresh token that comes is used up: when it comes again the login
                       that it belongs to ends, as RFC 6819 (5.2.2.3) advises
``account-limits``     ``/me`` tells of a budget, a storage and a page
``no-account``         ``/me`` refuses the user: 403, one who has not enrolled
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
``job-unknown-status`` ends as "postponed", which is no status of the API
``job-no-data-error``  ends in error with NoDataAvailable in its log
``job-no-data-empty``  finishes with no assets
=====================  ====================================================================

Options of all: ``times=`` stops after so many, ``skip=`` lets so many pass first,
``chance=`` and ``seed=`` replace "each N-th" by a seeded dice, ``path=``, ``method=`` and
``title=`` choose what is counted.
"""
