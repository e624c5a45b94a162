"""Which account PostgreSQL runs as, and whether that account can reach a folder.

PostgreSQL refuses to run as root, so a root process drops to an unprivileged account, which
needs search permission on every parent of what it opens.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from review.core.embedded.errors import EmbeddedServiceError

UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int


def service_account(folder: Path) -> Account | None:
    """The account that serves `folder`: None (this process's own) unless this process is root.

    A folder that one of the accounts already owns stays with it, also when a preferred
    account was added to the machine later.
    """
    if os.geteuid() != 0:
        return None
    accounts = [account for name in UNPRIVILEGED_ACCOUNTS if (account := _lookup(name))]
    if not accounts:
        raise EmbeddedServiceError(
            "PostgreSQL does not run as root and this machine has neither a 'postgres' nor a "
            "'nobody' account: create one, run as another user, or set DATABASE_URL."
        )
    owner = folder.stat().st_uid if folder.exists() else None
    return next((account for account in accounts if account.uid == owner), accounts[0])


def _lookup(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def can_reach(account: Account, path: Path) -> bool:
    """Whether the account may enter every existing folder on the way to `path`.

    Folders that do not exist yet are created enterable (`make_reachable_folder`).
    """
    return all(_may_search(account, folder) for folder in path.parents if folder.exists())


def _may_search(account: Account, folder: Path) -> bool:
    status = folder.stat()
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def make_reachable_folder(folder: Path) -> None:
    """Create `folder` and its parents; as root enterable by other accounts, whatever the umask."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
