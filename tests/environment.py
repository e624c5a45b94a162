"""Loaded before everything else: the services that the tests run on, real ones of their own."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from review.core.embedded.broker import EmbeddedBroker
from review.core.embedded.paths import home
from review.core.embedded.postgres import EmbeddedPostgres

# One cluster for all test sessions, kept for speed; each session has a database of its own.
postgres = EmbeddedPostgres(home() / "test-postgres", durable=False).acquire()

scratch = Path(tempfile.mkdtemp(prefix="assay-tests-"))
broker = EmbeddedBroker(scratch / "broker").acquire()


@atexit.register
def _stop() -> None:
    broker.release()
    postgres.release()
    shutil.rmtree(scratch, ignore_errors=True)


os.environ.update(
    {
        "DATABASE_URL": postgres.url(f"assay_{os.getpid()}"),
        "CELERY_BROKER_URL": broker.url(),
        "SECRET_KEY": "only-for-tests",
        "HTTPS": "false",
    }
)
