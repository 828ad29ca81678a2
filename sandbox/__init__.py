"""An openEO back end on this computer with a synthetic Sentinel-1."""
