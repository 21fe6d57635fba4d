"""Serve the page on an address of this machine."""

from __future__ import annotations

import os
import socket
import webbrowser
from collections.abc import Callable
from typing import Any

from vitdecomp.errors import LoadError, SpecError
from vitdecomp_alignment.app.guard import is_loopback
from vitdecomp_alignment.app.jobs import JobQueue
from vitdecomp_alignment.app.session import Session

EXTRA = 'the explorer needs fastapi and uvicorn: pip install "vitdecomp[app]"'


def check_extra() -> None:
    """Refuse at once what could not be served.

    Raises:
        LoadError: the extra is not installed.
    """
    try:
        import fastapi
        import uvicorn
    except ImportError:
        raise LoadError(EXTRA) from None
    del fastapi, uvicorn


def share_cores() -> None:
    """Let threads sleep while they wait for each other, unless the user says otherwise; call it before torch is loaded.

    By default they spin: where another process had one of two cores, a pass over a store took up to 60 times as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Raises:
        SpecError: it is taken, or there is no such address.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        taken = socket.socket(family, kind, protocol)
        try:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            taken.listen(64)
        except OSError:
            taken.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise SpecError(
            f"cannot listen at {host}:{port} ({reason}): give another --port, or --port 0 for any"
        ) from None
    return taken


def address_of(taken: socket.socket, host: str) -> str:
    """Write the address for a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{taken.getsockname()[1]}/"


def serve(session: Session, taken: socket.socket, host: str, *, browser: bool, ready: Callable[[str], Any]) -> None:
    """Serve until it is interrupted.

    Args:
        session: what is looked into.
        taken: the socket.
        host: its address.
        browser: open a browser.
        ready: called with the address.
    """
    import uvicorn

    from vitdecomp_alignment.app.server import make_app

    jobs, address = JobQueue(), address_of(taken, host)
    config = uvicorn.Config(
        make_app(session, jobs, host=host),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    ready(address)
    if browser and is_loopback(host):
        webbrowser.open(address)
    try:
        uvicorn.Server(config).run(sockets=[taken])
    except KeyboardInterrupt:
        pass
    finally:
        jobs.close()
        session.close()
