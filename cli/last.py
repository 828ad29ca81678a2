"""The archive that was named last in a folder: what the menu begins with there.

Only the menu does: a command without --archive always means the constant, so no script changes its
meaning.  Where the constant is another one than it was then, somebody has edited it, and it counts.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from shared.files import replacing

MOST = 200  # folders that are remembered


def archive(usual: str) -> str:
    """The archive to begin with here: the last one, if it is still there, or the usual one."""
    kept = _kept().get(_here(), {})
    name = str(kept.get("archive", usual))
    if kept.get("usual") != usual or not ("://" in name or Path(name).exists()):
        return usual
    return name


def remember(named: str, usual: str) -> None:
    """Keep an archive that was named; where that cannot be written, it is not kept."""
    with contextlib.suppress(OSError):
        kept = _kept()
        kept.pop(_here(), None)
        kept[_here()] = {"archive": named, "usual": usual}
        path = _file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(json.dumps(dict(list(kept.items())[-MOST:])), encoding="utf-8")


def _kept() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(_file().read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(isinstance(one, dict) for one in found.values()):
            return found
    return {}


def _here() -> str:
    return os.getcwd()  # noqa: PTH109 (as it is named, links and all)


def _file() -> Path:
    from platformdirs import user_state_path

    return user_state_path("sentinel1-healpix") / "last.json"
