"""``python -m sandbox``: starts the back end on 127.0.0.1 and says where it is."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import sandbox
from sandbox import api, auth, jobs, server
from sandbox.faults import Switch


def main() -> None:
    """Read the flags, start, and serve until interrupted."""
    flags = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="openeo-sandbox-") as temporary:
        if flags.parent_watch:
            threading.Thread(target=_exit_with_parent, args=(temporary,), daemon=True).start()
        try:
            service = server.Service(
                flags.state or Path(temporary),
                flags.port,
                switches=flags.fault,
                job_seconds=flags.job_seconds,
                slots=flags.slots,
                access_seconds=flags.access_seconds,
                refresh_seconds=flags.refresh_seconds,
                link_seconds=flags.link_seconds,
            )
        except RuntimeError as error:
            sys.exit(str(error))
        print(f"openEO sandbox at http://{server.HOST}:{service.port}", flush=True)
        service.serve_forever()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sandbox",
        description=sandbox.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="0, the default, takes a free one")
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help="keeps jobs, results, keys and counters here; a sandbox that is started on it again "
        "goes on with them (default: a folder that is removed at the end)",
    )
    add("--job-seconds", type=float, default=jobs.JOB_SECONDS, metavar="S",
        help="what a job takes at least, from start to finish (%(default)g)")  # fmt: skip
    add("--slots", type=int, default=jobs.SLOTS, metavar="N",
        help="jobs of a user that may run at a time (%(default)d)")  # fmt: skip
    add("--fault", action="append", default=[], type=_fault, metavar="NAME[=N][,OPTION=VALUE...]",
        help="turn a fault on; may be given several times")  # fmt: skip
    add("--parent-watch", action="store_true", help="end when standard input is closed")
    add("--access-seconds", type=float, default=auth.ACCESS_SECONDS, metavar="S",
        help="life of an access token (%(default)g)")  # fmt: skip
    add("--refresh-seconds", type=float, default=auth.REFRESH_SECONDS, metavar="S",
        help="life of a refresh token (%(default)g)")  # fmt: skip
    add("--link-seconds", type=float, default=api.LINK_SECONDS, metavar="S",
        help="life of a link to a result file (%(default)g)")  # fmt: skip
    return parser


def _fault(text: str) -> str:
    """A switch as it was written, if there is such a switch."""
    try:
        Switch.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _exit_with_parent(temporary: str) -> None:
    """End the process as soon as its standard input is closed; jobs are kept in the state."""
    while sys.stdin.buffer.read(4096):
        pass
    shutil.rmtree(temporary, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
