"""Tests against servers that nobody here wrote: `make peers` sets them up and runs these.

In `.peers/` are an environment for each: `openeo` (openeo-driver, the framework of the
Copernicus back end), `stac` (stac-fastapi-geoparquet) and `node` (npm's oidc-provider).
What they found is in docs/peers.md.
"""
