"""Images of an archive: which records they are made of, grids, figures, files."""
