"""Where the embedded servers keep their data and sockets, computed without starting anything."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import quote

from review.core.embedded.accounts import can_reach, service_account

PROJECT_ROOT = Path(__file__).resolve().parents[3]
# For data that an unprivileged account must reach when a root process keeps its home private.
SYSTEM_FOLDER = Path("/var/lib/assay")
POSTGRES_PORT = 5432
POSTGRES_ROLE = "assay"
# A socket's address holds 108 bytes on Linux and 104 on macOS, with its closing zero.
MAX_SOCKET_BYTES = 100
# Socket paths travel through configuration files and URLs: anything else gets the short folder.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")


def home() -> Path:
    """The folder of everything that this installation stores: ASSAY_HOME, else .assay."""
    return Path(os.environ.get("ASSAY_HOME") or PROJECT_ROOT / ".assay").absolute()


def database_url(name: str = "assay") -> str:
    """The address of a database of the embedded PostgreSQL, whether it runs or not."""
    return postgres_url(home() / "postgres", name)


def broker_url() -> str:
    """The address of the embedded broker, whether it runs or not."""
    return f"redis+socket://{broker_socket(home() / 'broker')}"


def postgres_url(directory: Path, name: str) -> str:
    """A libpq URL; the port is named so that a PGPORT in the environment changes nothing."""
    host = quote(str(postgres_socket(directory).parent))
    return f"postgresql://{POSTGRES_ROLE}@/{quote(name)}?host={host}&port={POSTGRES_PORT}"


def postgres_folder(directory: Path) -> Path:
    """Where the PostgreSQL of `directory` really lives.

    That is `directory`, unless this process is root and the account that PostgreSQL runs as
    cannot reach it (a clone below a 0700 folder).
    """
    directory = directory.absolute()
    account = service_account(directory)
    if account is None or can_reach(account, directory):
        return directory
    return SYSTEM_FOLDER / _digest(directory)


def postgres_socket(directory: Path) -> Path:
    return socket_path(postgres_folder(directory), f"socket/.s.PGSQL.{POSTGRES_PORT}")


def broker_socket(directory: Path) -> Path:
    return socket_path(directory.absolute(), "socket/valkey.sock")


def socket_path(folder: Path, name: str) -> Path:
    """`folder`/`name`, or a short path below /tmp where that is too long for a socket."""
    path = folder / name
    if len(os.fsencode(path)) <= MAX_SOCKET_BYTES and _PLAIN_PATH.fullmatch(str(path)):
        return path
    # Safe though predictable: the server's start refuses it unless it is ours alone (0700).
    return Path("/tmp") / f"assay-{_digest(folder)}" / Path(name).name  # noqa: S108


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
