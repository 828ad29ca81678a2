"""The menu, and the demo: the commands one after the other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.archive_commands import run_list, run_verify
from cli.conversation import held
from cli.exits import DONE
from cli.questions import EXAMPLE_AREA, EXAMPLE_DAY
from cli.spelled import sure
from cli.terminal import begin, choose, confirm, count, tell
from cli.workspace import Workspace

if TYPE_CHECKING:
    from cli.download_command import DownloadFlags
    from jobs.journal import Request

DEMO_FOLDER = "demo"
OPTIONS = {
    "1": "download", "2": "retrieve", "3": "list", "4": "verify", "5": "add", "6": "update",
    "7": "browse", "8": "remove", "q": "quit",
}  # fmt: skip
ABOUT = {
    "1": "order images of an area and store them",
    "2": "show what is stored, or write it to files",
    "3": "say what the archive holds",
    "4": "read all of it again, to find damage",
    "5": "put files that you have into it",
    "6": "order what is new of the last area",
    "7": "look at it on a map in the browser",
    "8": "take records out of it",
}


@held
def run_menu(workspace: Workspace) -> int:
    """Ask what to do, and do it."""
    title = f"Sentinel-1 on HEALPix    archive: {workspace.path}  "
    begin(title)
    try:
        about = workspace.describe()
    except BaseException:
        tell()
        raise
    tell(f"({about})", title)
    if workspace.is_last:
        tell("  It was named last in this folder; --archive names another one.")
    tell("  At any question, ? explains it and back returns to the one before.")
    request = ask_to_continue(workspace)
    if request is not None:
        from cli.download_command import run_download

        return run_download(workspace, flags_of(request))
    match choose("What do you want to do?", OPTIONS, default="1", about=ABOUT):
        case "1":
            return _download(workspace)
        case "2":
            return _retrieve(workspace)
        case "3":
            return run_list(workspace)
        case "4":
            return run_verify(workspace, ask_first=True)
        case "5":
            from cli.add_command import AddFlags, run_add

            return run_add(workspace, AddFlags())
        case "6":
            return _download(workspace, update=True, asks=True)
        case "7":
            from cli.browse_command import run_browse

            return run_browse(workspace)
        case "8":
            from cli.chosen import Chosen
            from cli.remove_command import run_remove

            return run_remove(workspace, Chosen(), asks=True)
    return DONE


def _download(workspace: Workspace, *given: Any, **answers: Any) -> int:
    from cli.download_command import DownloadFlags, run_download

    return run_download(workspace, DownloadFlags(*given, **answers))


def _retrieve(workspace: Workspace, *given: Any, **answers: Any) -> int:
    from cli.retrieve_command import RetrieveFlags, run_retrieve

    return run_retrieve(workspace, RetrieveFlags(*given, **answers))


def flags_of(request: Request) -> DownloadFlags:
    """The flags that ask for the same again."""
    from cli.download_command import DownloadFlags

    return DownloadFlags(
        sure(request.bbox), (request.first, request.first), (request.last, request.last),
        request.orbit, request.backend, yes=True, catalogue=request.catalogue or None,
        no_catalogue=request.catalogue is None, max_credits=request.max_credits,
        collection=request.collection or None, max_cloud=request.max_cloud,
        bands=request.bands.split(",") if request.bands else None,
    )  # fmt: skip


def ask_to_continue(workspace: Workspace) -> Request | None:
    """The last request, if it stopped before its end and somebody wants it to go on."""
    if not workspace.folder.exists():
        return None
    with workspace.journal() as journal:
        request = journal.unfinished_request()
        if request is None:
            return None
        left, spent = journal.left_of(request), journal.spent(request.backend, request.asked)
    if workspace.is_readable:
        left = [chunk for chunk in left if not workspace.has(chunk)]
    if not left:
        return None
    if request.max_credits is not None:
        request = dataclasses.replace(request, max_credits=max(0, request.max_credits - spent))
    total = request.done + max(request.chunks, len(left))
    stopped = (
        f"An earlier download stopped with {total - len(left)} of {count(total, 'chunk')} done.  "
    )
    return request if confirm("Continue it?", True, stopped) else None


def run_demo() -> int:
    """Download two neighbouring tiles from the built-in back end and picture a box of both."""
    folder = Path(DEMO_FOLDER)
    folder.mkdir(exist_ok=True)
    workspace, picture = Workspace(str(folder / "sentinel1.zarr")), str(folder / "sentinel1.png")
    day = EXAMPLE_DAY, EXAMPLE_DAY
    code = _download(workspace, EXAMPLE_AREA, day, day, backend="sandbox", yes=True)
    if code != DONE:
        return code
    code = _retrieve(
        workspace, EXAMPLE_AREA, EXAMPLE_DAY, outputs=[picture], overwrite=True, no_show=True
    )
    tell(f"The archive is in {workspace.path}, the picture in {picture}.")
    return code
