"""Jobs at an openEO back end: what is missing, what it costs, ordering it, fetching results.

Nothing here knows of cells or archives: a checked result file is handed to a function.
"""
