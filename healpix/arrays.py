"""What the arrays are called that go from module to module."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Ids = NDArray[np.uint64]  # of cells
Runs = tuple[NDArray[np.uint64], NDArray[np.uint32]]  # first id, and number of cells
Box = tuple[float, float, float, float]  # west, south, east, north: degrees
