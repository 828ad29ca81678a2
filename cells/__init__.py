"""From rasters to HEALPix cells, and from cells to regular grids."""
