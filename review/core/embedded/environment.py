"""The development environment: what production configures, made by itself on one's own machine."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from review.core.embedded import paths
from review.core.embedded.accounts import make_reachable_folder
from review.core.embedded.errors import FolderNotOursError
from review.core.embedded.postgres import EmbeddedPostgres

DATABASE = "assay"


@contextmanager
def development_environment() -> Iterator[None]:
    """With no DATABASE_URL: a secret key kept in the home folder, and the embedded PostgreSQL.

    With one, nothing is made up: every setting is the operator's.
    """
    if os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE"):
        yield
        return
    home = paths.home()
    try:
        make_reachable_folder(home)
        os.environ.setdefault("SECRET_KEY", kept_secret(home / "secret_key"))
    except OSError as error:
        raise FolderNotOursError(
            f"{home} cannot be used ({error.strerror}): set ASSAY_HOME to a folder of your own."
        ) from error
    # Browsers keep cookies marked secure from plain http.
    os.environ.setdefault("HTTPS", "false")
    with EmbeddedPostgres(home / "postgres") as postgres:
        postgres.ensure_database(DATABASE)
        yield


def kept_secret(file: Path) -> str:
    """The secret in the file, made at the first call; only its owner can read it."""
    if not file.exists():
        _keep_first(file, secrets.token_urlsafe(50))
    return file.read_text(encoding="utf-8").strip()


def _keep_first(file: Path, text: str) -> None:
    """Make the file, whole or not at all; one that another process has made first stays."""
    descriptor, unfinished = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        with suppress(FileExistsError):
            os.link(unfinished, file)
    finally:
        os.unlink(unfinished)
