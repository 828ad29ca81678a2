"""The server: in threads beside the terminal, which ends it at once."""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pages.guard import new_token

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS = 4  # each keeps memory; a browser that asks for six things waits for two
LOOPBACK = "127.0.0.1"


class Address:
    """Where a server is to listen, and the token of its address."""

    def __init__(self, host: str = LOOPBACK, port: int = 0) -> None:
        self.host, self.port, self.token = host, port, new_token()

    @property
    def url(self) -> str:
        """The address for a browser on this computer."""
        host = LOOPBACK if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/{self.token}/"


@contextlib.contextmanager
def serving(app: WSGIApplication, address: Address) -> Iterator[str]:
    """Serve for as long as this lasts; the address.  Raises OSError, which says the port."""
    from waitress.server import create_server

    logging.getLogger("waitress").setLevel(logging.ERROR)  # not how busy it is
    try:
        server: Any = create_server(
            app, host=address.host, port=address.port, threads=THREADS, ident=None,
            clear_untrusted_proxy_headers=True,
        )  # fmt: skip
    except OSError as error:
        where = f"{address.host}:{address.port}"
        if error.errno == errno.EADDRINUSE:
            raise OSError(
                error.errno, f"Port {address.port} is in use; name another --port"
            ) from None
        raise OSError(
            error.errno, f"There is no listening at {where} ({error.strerror})"
        ) from error
    address.port = int(server.effective_port)
    threading.Thread(target=_run, args=(server,), daemon=True).start()
    try:
        yield address.url
    finally:
        server.task_dispatcher.shutdown(cancel_pending=True, timeout=0)
        server.close()


def _run(server: Any) -> None:
    """Answer until the server is closed, which its loop takes for an error."""
    with contextlib.suppress(OSError, ValueError):
        server.run()
