"""Private folders and room on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from review.core.embedded.accounts import Account, make_reachable_folder
from review.core.embedded.errors import DiskFullError, FolderNotOursError


def make_private_folder(folder: Path, account: Account | None) -> None:
    """Create `folder`, or take it over if it is ours: owned by the account, mode 0700."""
    make_reachable_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    owner = folder.lstat().st_uid
    ours = {os.geteuid()} | ({account.uid} if account else set())
    if folder.is_symlink() or owner not in ours:
        raise FolderNotOursError(
            f"{folder} belongs to another account (uid {owner}) or is a link: remove it, or set "
            "ASSAY_HOME to a folder of your own."
        )
    if account and owner != account.uid:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


def require_free_space(folder: Path, *, at_least_mb: int) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < at_least_mb:
        raise DiskFullError(
            f"{folder} has {free_mb} MB free and a new database needs {at_least_mb} MB: free some "
            "room, or set ASSAY_HOME to a folder on another disk."
        )
