"""``python -m sandbox``: starts the back end on 127.0.0.1 and says where it is."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from pathlib import Path

from sandbox import auth, jobs, server
from sandbox.api import LINK_SECONDS


def main() -> None:
    """Read the flags, start, and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m sandbox")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--job-seconds", type=float, default=jobs.JOB_SECONDS)
    parser.add_argument("--slots", type=int, default=jobs.SLOTS)
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--state", type=Path)
    parser.add_argument("--parent-watch", action="store_true")
    parser.add_argument("--access-seconds", type=float, default=auth.ACCESS_SECONDS)
    parser.add_argument("--refresh-seconds", type=float, default=auth.REFRESH_SECONDS)
    parser.add_argument("--link-seconds", type=float, default=LINK_SECONDS)
    flags = parser.parse_args()
    if flags.parent_watch:
        threading.Thread(target=_exit_with_parent, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="openeo-sandbox-") as temporary:
        folder = flags.state or Path(temporary)
        running = server.Service(
            folder,
            flags.port,
            switches=flags.fault,
            job_seconds=flags.job_seconds,
            slots=flags.slots,
            access_seconds=flags.access_seconds,
            refresh_seconds=flags.refresh_seconds,
            link_seconds=flags.link_seconds,
        )
        print(f"openEO sandbox at http://127.0.0.1:{running.port}", flush=True)
        running.serve_forever()


def _exit_with_parent() -> None:
    """End the process as soon as its standard input is closed; jobs are kept in the state."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
