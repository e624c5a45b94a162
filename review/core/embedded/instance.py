"""Checks before the one command starts: nobody else serves this home, and the port is free."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from review.core.embedded.accounts import make_reachable_folder
from review.core.embedded.errors import (
    AlreadyRunningError,
    EmbeddedServiceError,
    PortTakenError,
)


@contextmanager
def single_instance(home: Path, url: str) -> Iterator[None]:
    """Hold `home` for this process, which serves `url`; the kernel lets go when it dies."""
    make_reachable_folder(home)
    descriptor = os.open(home / "instance.lock", os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read().strip() or "starting"
            raise AlreadyRunningError(
                f"already running ({holder}): stop it first, or set ASSAY_HOME to another folder."
            ) from None
        lock.truncate()
        lock.write(f"pid {os.getpid()}, {url}\n")
        lock.flush()
        yield


def chosen_port(default: int = 8000) -> int:
    """ASSAY_PORT, or the default."""
    text = os.environ.get("ASSAY_PORT") or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise EmbeddedServiceError(f"ASSAY_PORT must be a port number, not {text!r}")
    return int(text)


def port_is_free(host: str, port: int) -> bool:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that just ended don't count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


def require_free_port(host: str, port: int) -> None:
    if not port_is_free(host, port):
        raise PortTakenError(
            f"port {port} on {host} cannot be used, most likely because another program listens "
            f"there: set ASSAY_PORT to a free port."
        )
