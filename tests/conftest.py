import os
import subprocess
import sys
from collections.abc import Iterable, Iterator

import pytest
from django.conf import settings
from django.contrib.contenttypes.management import create_contenttypes
from django.core.cache import cache
from django.core.servers.basehttp import WSGIRequestHandler
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.db.models.signals import post_migrate
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import DjangoDbBlocker
from pytest_django.fixtures import Settings
from pytest_django.live_server_helper import LiveServer

from review.accounts.models import Project, Role, User
from tests import ROOT, builders

# The same examples each time, so that what the suite says depends on the code alone; `make explore`
# draws others. No test is timed: the machine may be busy, and the first text that is drawn in a
# fresh checkout waits for a table of Unicode.
hypothesis_settings.register_profile(
    "suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.register_profile(
    "explore",
    hypothesis_settings.get_profile("suite"),
    derandomize=False,
    max_examples=2000,
    print_blob=True,
)
hypothesis_settings.load_profile("suite")

# As gunicorn does: else the second part of each answer waits 40 ms for a word about the first.
WSGIRequestHandler.disable_nagle_algorithm = True


@pytest.fixture(autouse=True)
def _quick_settings(settings: Settings) -> None:
    # A hash that is slow on purpose would take most of the tests' time.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    # Each of thousands of clients would look at every static file before its first request.
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A connection that a live server's thread has kept would keep the database from going."""
    DatabaseOperations.sql_flush = delete_rows  # type: ignore[method-assign,assignment]
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    post_migrate.disconnect(create_contenttypes)
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


# Django's lists of models and permissions, which stay as they were installed.
INSTALLED = {"django_content_type", "auth_permission"}


def delete_rows(
    _: DatabaseOperations, style: object, tables: Iterable[str], **options: bool
) -> list[str]:
    """What empties the database after a test that commits.

    TRUNCATE, as Django would have it, makes some 300 files anew, and few tables have rows.
    """
    emptied = (table for table in tables if table not in INSTALLED)
    return [
        "SET LOCAL session_replication_role = replica",
        *(f'DELETE FROM "{table}"' for table in emptied),  # noqa: S608 - our own names
    ]


@pytest.fixture
def project(db: None) -> Project:
    return builders.make_project()


@pytest.fixture
def ada(project: Project) -> User:
    """Leads the project."""
    return builders.make_user(project, Role.LEAD, name="ada")


@pytest.fixture
def ben(project: Project) -> User:
    """Reviews in the project."""
    return builders.make_user(project, Role.REVIEWER, name="ben")


@pytest.fixture
def cyd(db: None) -> User:
    """A stranger."""
    return builders.make_user(name="cyd")


def service_environment() -> dict[str, str]:
    """What a process of its own needs to run on the tests' database and broker."""
    database = settings.DATABASES["default"]
    url = f"postgresql://{database['USER']}@/{database['NAME']}?host={database['HOST']}"
    return {**os.environ, "DATABASE_URL": f"{url}&port={database['PORT']}"}


@pytest.fixture
def worker(live_server: LiveServer) -> Iterator[None]:
    """A real Celery worker beside the live server, on the same test database and broker."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "review", "worker", "-l", "WARNING"),
            *("-P", "solo", "--without-gossip", "--without-mingle"),
        ],
        env=service_environment(),
        cwd=ROOT,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(autouse=True)
def _no_refusals_counted() -> None:
    cache.clear()
