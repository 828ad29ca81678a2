"""The Zarr archive: tiles, records, overviews; changed wholly or not at all.

Nothing here knows where cells come from or what becomes of them.
"""
