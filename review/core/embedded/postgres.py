"""A private PostgreSQL: one cluster in one folder, reached over a unix socket only.

Authentication is `trust`, which is safe because only the owner of the 0700 folder around the
socket can connect, and there is no TCP.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from review.core.embedded import paths
from review.core.embedded.accounts import service_account
from review.core.embedded.errors import StartFailedError
from review.core.embedded.folders import make_private_folder, require_free_space
from review.core.embedded.postgres_binaries import postgres_binaries
from review.core.embedded.sharing import SharedServer

NEEDED_MB = 200
MAX_CONNECTIONS = 100
# How long a killed postmaster may linger as a zombie, or its children keep the shared memory.
TAKEOVER_S = 10.0
START_S = 60
LOCALE = "C.UTF-8" if sys.platform == "linux" else "C"


class EmbeddedPostgres(SharedServer):
    """The cluster of `directory` (of `paths.postgres_folder(directory)`, to be exact).

    `durable=False` trades crash safety for speed and is for tests. The process that starts the
    server decides; those that join it get it as it is.
    """

    kind: ClassVar[str] = "postgres"

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        super().__init__(directory.absolute(), paths.postgres_folder(directory))
        self.durable = durable
        self._account = service_account(self.folder)
        self._data = self.folder / "data"
        self._log = self.folder / "server.log"
        self._socket = paths.postgres_socket(directory)

    def url(self, name: str = "postgres") -> str:
        return paths.postgres_url(self.directory, name)

    def ensure_database(self, name: str) -> None:
        """Create the database unless it exists; several processes may ask at once."""
        # Imported here: the guardian, which every start waits for, does without.
        import psycopg
        from psycopg import errors, sql

        with psycopg.connect(self.url(), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if known.fetchone():
                return
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            except (errors.DuplicateDatabase, errors.UniqueViolation):
                return

    def _prepare_folder(self) -> None:
        make_private_folder(self.folder, self._account)
        make_private_folder(self._socket.parent, self._account)

    def is_running(self) -> bool:
        """Ask the socket: the pid file of a killed postmaster may name a zombie."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            answer = self._run("pg_isready", "-q", "-h", str(self._socket.parent)).returncode
            # 0 accepts connections, 1 is starting up or recovering, 2 does not answer.
            if answer != 1:
                return answer == 0
            time.sleep(0.05)
        raise StartFailedError(self._failure("PostgreSQL keeps refusing connections"))

    def _start(self) -> None:
        self._discard_orphan()
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        deadline = time.monotonic() + TAKEOVER_S
        while self._pg_ctl("start", "-t", str(START_S), "-o", self._options()).returncode != 0:
            # A pid file that is still there is a predecessor's; a failed start removes its own.
            if not (self._data / "postmaster.pid").exists() or time.monotonic() > deadline:
                raise StartFailedError(self._failure("PostgreSQL did not start"))
            time.sleep(0.1)

    def _stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self._pg_ctl("stop", "-m", "fast")

    def _discard_orphan(self) -> None:
        """Removing a directory resets it, also when its data had to be kept elsewhere."""
        if self.folder == self.directory or self.directory.exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)
        make_private_folder(self.directory, None)
        note = f"PostgreSQL cannot reach this folder; its data are in {self.folder}\n"
        (self.directory / "README").write_text(note, encoding="utf-8")

    def _initialise(self) -> None:
        # Without PG_VERSION the folder is what an interrupted initdb left.
        shutil.rmtree(self._data, ignore_errors=True)
        require_free_space(self.folder, at_least_mb=NEEDED_MB)
        options = ["-U", paths.POSTGRES_ROLE, "-A", "trust", "-E", "UTF8", f"--locale={LOCALE}"]
        if not self.durable:
            options.append("--no-sync")
        done = self._run("initdb", "-D", str(self._data), "--no-instructions", *options)
        if done.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise StartFailedError(f"initdb failed in {self.folder}:\n{done.stdout.strip()}")

    def _options(self) -> str:
        settings = {
            "listen_addresses": "",
            "port": str(paths.POSTGRES_PORT),
            "unix_socket_directories": str(self._socket.parent),
            "unix_socket_permissions": "0700",
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": "128MB",
            "jit": "off",
        }
        if not self.durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
            # Tests roll back what they write: statistics gathered of such a table say that it is
            # empty, and the next test's queries are planned for that.
            settings["autovacuum"] = "off"
        return " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in settings.items())

    def _pg_ctl(self, action: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self._run(
            "pg_ctl", action, "-D", str(self._data), "-l", str(self._log), "-s", "-w", *options
        )

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        account = self._account
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            # Not a pipe: the postmaster inherits it, and reading would wait for the server's end.
            done = subprocess.run(  # noqa: S603 - the program is PostgreSQL's own
                [str(postgres_binaries(account) / program), *arguments],
                cwd=self.folder,
                env=environment | {"LC_ALL": LOCALE},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read())

    def _failure(self, what: str) -> str:
        return f"{what} in {self.folder}; its log ends:\n{last_lines(self._log)}"


def last_lines(log: Path, count: int = 15) -> str:
    if not log.exists():
        return "(there is no log)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
