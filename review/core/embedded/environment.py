"""The development environment: what production configures, made by itself on one's own machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from review.core.embedded import paths
from review.core.embedded.accounts import make_reachable_folder
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
    make_reachable_folder(home)
    os.environ.setdefault("SECRET_KEY", kept_secret(home / "secret_key"))
    # Browsers keep cookies marked secure from plain http.
    os.environ.setdefault("HTTPS", "false")
    with EmbeddedPostgres(home / "postgres") as postgres:
        postgres.ensure_database(DATABASE)
        yield


def kept_secret(file: Path) -> str:
    """The secret in the file, made at the first call; only its owner can read it."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text(encoding="utf-8").strip()
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(secret := secrets.token_urlsafe(50))
    return secret
