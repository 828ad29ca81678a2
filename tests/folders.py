"""Folders that many tests begin with: made once, and copied for each."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def copied(folder: Path, place: Path) -> Path:
    """What is in a folder once more at a place, beside what is there."""
    if sys.platform == "win32":
        shutil.copytree(folder, place, dirs_exist_ok=True)
    else:  # in a fifth of the time: an archive has hundreds of files
        place.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", f"{folder}/.", str(place)], check=True)
    return place
