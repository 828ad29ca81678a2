"""Makes the pictures of the README from the built-in back end: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import asking  # noqa: E402
import commands  # noqa: E402
import retrieve  # noqa: E402
import store  # noqa: E402
from files import replacing  # noqa: E402
from outcome import DONE  # noqa: E402

DPI = 110  # a page needs less than a paper


def make() -> int:
    """Run the demo and draw its picture at the size of a page."""
    code = commands.run_demo()
    if code == DONE:
        archive = store.Archive(Path(commands.DEMO_FOLDER) / "sentinel1.zarr")
        image = retrieve.retrieve(archive, asking.EXAMPLE_AREA, asking.EXAMPLE_DAY)
        with replacing(ROOT / "docs" / "pictures" / "demo.png") as temporary:
            retrieve.plot(image).savefig(temporary, dpi=DPI)
    return code


if __name__ == "__main__":
    sys.exit(make())
