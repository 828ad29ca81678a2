"""How a command ends: one line for people and an exit code for programs.

Rooms raise ordinary exceptions with whole sentences; this is the only place that turns
them into a line and a code.  An error that no room has raised on purpose is a bug: its
traceback goes to a file, never to the screen.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import dis
import os
import tempfile
import traceback
from pathlib import Path

import click

from cli.terminal import InputEnded, tell
from images.records import NoData
from jobs.trouble import CreditsNeeded, LoginNeeded, Unwanted
from shared.files import is_disk_full, reason

DONE, FAILED, USAGE, NO_DATA, LOGIN_NEEDED, DISK_FULL = range(6)
INTERRUPTED = 130
PROGRAM = Path(__file__).resolve().parents[1]

EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (  # the first that fits
    (NoData, NO_DATA),
    (LoginNeeded, LOGIN_NEEDED),
    (CreditsNeeded, FAILED),
    (Unwanted, USAGE),
    (InputEnded, USAGE),
    (ConnectionError, FAILED),
    (MemoryError, FAILED),
    (ValueError, USAGE),
    (OSError, USAGE),
)


def explain_usage(error: click.ClickException) -> int:
    """One line on a command line that cannot be understood."""
    context = getattr(error, "ctx", None)
    more = f"  `python {context.command_path} --help` shows what there is." if context else ""
    tell(f"Error: {error.format_message()}{more}")
    return USAGE


def explain(error: Exception, debug: bool) -> int:
    """Say what went wrong in one line; the exit code.  The traceback goes to a file."""
    if debug:
        traceback.print_exception(error)
    code = exit_code(error)
    if raised_on_purpose(error):
        tell(f"Error: {reason(error)}")
        return FAILED if code is None else code
    log = write_traceback(error)
    if code == DISK_FULL:
        tell(
            f"Error: The disk is full ({reason(error)}).  Nothing half done was kept.  Free some "
            f"space and run the same command to go on.  Details: {log}"
        )
    elif isinstance(error, MemoryError):
        tell(f"Error: There is not enough memory; take a smaller area.  Details: {log}")
    elif isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        tell(f"Error: {where}{error.strerror}.  Details: {log}")
    else:
        tell(f"Error: This is a bug: {type(error).__name__}: {error}.  The traceback is in {log}.")
        return FAILED
    return FAILED if code is None else code


def raised_on_purpose(error: Exception) -> bool:
    """Whether a room raised it with a sentence for people, rather than a library deep inside.

    That is where the last step of the traceback is a ``raise`` of ours, not a call or an
    operation that failed.
    """
    step = error.__traceback__
    if step is None:
        return True
    while step.tb_next is not None:
        step = step.tb_next
    code = step.tb_frame.f_code
    path = Path(code.co_filename).resolve()
    ours = path.is_relative_to(PROGRAM) and "site-packages" not in path.parts
    return ours and dis.opname[code.co_code[step.tb_lasti]] == "RAISE_VARARGS"


def exit_code(error: Exception) -> int | None:
    """The documented exit code of an error; None for one that nobody expects."""
    if is_disk_full(error):
        return DISK_FULL
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), None)


def write_traceback(error: Exception) -> Path | str:
    """Keep the traceback of an unexpected error in a file of its own; where that is."""
    import platformdirs

    name = f"error-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}-{os.getpid()}.log"
    text = "".join(traceback.format_exception(error))
    for folder in (platformdirs.user_log_path("sentinel1-healpix"), Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            return folder / name
    return "no file: none can be written.  --debug shows them"
