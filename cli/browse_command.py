"""The command that browses: the archive as a page in a browser, until somebody ends it."""

from __future__ import annotations

import datetime as dt
import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import retrieve_command, retrieve_questions
from cli.exits import DONE
from cli.page import opened
from cli.retrieve_command import Wish
from cli.terminal import tell, tell_whole
from cli.workspace import Workspace
from grid import BBox
from images.atlas import COLOUR
from shared.heap import give_back

if TYPE_CHECKING:
    from images.atlas import Atlas
    from pages.app import View

MAIN = Path(__file__).parents[1] / "main.py"
DIGITS = 5  # of the degrees of a box that was seen, a metre
LOOK, LONG = 0.1, 3600.0  # s


def run_browse(
    workspace: Workspace, host: str = "127.0.0.1", port: int = 0, no_open: bool = False
) -> int:
    """Serve the page, and open it, until Ctrl-C."""
    from pages.server import LOOPBACK, Address

    address = Address(host, port)
    give_back()
    try:
        atlas = atlas_of(workspace)
        with opened(atlas, Saver(workspace), address, not no_open) as url:
            if host != LOOPBACK:
                tell(f"  whoever reaches {host} and knows the address may look at the archive")
            tell(
                f"The archive {workspace.path} as a map.  Open it in a browser on this computer; "
                "Ctrl-C ends it."
            )
            click.echo(url)
            sys.stdout.flush()
            while not atlas.drawn.wait(LOOK):
                pass
            atlas.prepare()
            while True:
                time.sleep(LONG)  # which Ctrl-C ends on all systems
    except KeyboardInterrupt:
        tell("\nThe map is closed.")
    return DONE


def atlas_of(workspace: Workspace) -> Atlas:
    """The archive, to be looked at for long; ValueError if there is none."""
    import retrieve
    from images.atlas import Atlas

    archive, lock = workspace.existing, threading.Lock()

    def holdings() -> Any:
        with lock:
            workspace.look_again()
            return workspace.holdings

    return Atlas(archive, holdings, lambda: retrieve.settings().look)


class Saver:
    """Writes what is seen to a file of the working folder, as the command `retrieve` does."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def about(self) -> dict[str, Any]:
        """No area is wanted."""
        return {"wantsArea": False, "first": "", "last": "", "box": None}

    def estimate(self, area: str, days: tuple[dt.date, dt.date]) -> dict[str, Any]:
        """Nothing is to be downloaded."""
        raise ValueError(f"No area is wanted, neither {area} nor another one, of {days[0]}.")

    def take(self, area: str) -> None:
        """Nothing is to be downloaded."""
        raise ValueError(f"No area is wanted, neither {area} nor another one.")

    def save(self, view: View, suffix: str) -> dict[str, Any]:
        """Run `retrieve` for what is seen; ValueError with its reason if it does not work."""
        layout = self._workspace.existing.layout
        assert layout is not None
        wish = wish_of(view, layout.product.is_power)
        name = Path(retrieve_command.usual_name(wish, layout.product.name)).stem
        file = unused(Path(name), suffix)
        wish.targets[str(file)] = False
        words = retrieve_questions.arguments(wish, self._workspace.path, shows=False)
        words.remove("--overwrite")  # the name is free
        done = subprocess.run(
            [sys.executable, str(MAIN), *words], capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise ValueError(lines[-1])
        command = retrieve_questions.quoted(["python", "main.py", *words])
        tell("Written by the page, as this does:")
        tell_whole(f"  {command}")
        return {"file": str(file), "command": command}


def wish_of(view: View, is_power: bool) -> Wish:
    """What is seen, as `retrieve` is asked for it."""
    picked, box = view.picked, view.bbox
    bands = None if picked.band == COLOUR else (picked.band,)
    ranges = [] if picked.band == COLOUR and is_power else list(view.ranges.values())
    sides = [round(side, DIGITS) for side in (box.west, box.south, box.east, box.north)]
    return Wish(
        BBox(*sides),
        (picked.first, picked.last),
        bands=bands,
        orbit=picked.orbit,
        how=picked.how,
        stretch=ranges[0] if ranges else None,
    )


def unused(stem: Path, suffix: str) -> Path:
    """A name that no file has: the usual one, or one with a number."""
    names = (f"{stem}{f'_{n}' if n > 1 else ''}.{suffix}" for n in itertools.count(1))
    return next(Path(name) for name in names if not Path(name).exists())
