"""People at a real browser, on a live server; whatever a page complains about fails the test."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import connections
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize
from pytest_django.live_server_helper import LiveServer

from review.accounts.models import Project, Role, User
from tests import builders

# Playwright's sync interface keeps an event loop in this thread; the ORM is used beside it.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREEN: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Pictures are taken only when they are asked for: -m screenshots."""
    if "screenshots" in config.option.markexpr:
        return
    pictures = [item for item in items if item.get_closest_marker("screenshots")]
    if pictures:
        config.hook.pytest_deselected(items=pictures)
        items[:] = [item for item in items if item not in pictures]


@pytest.fixture(scope="session")
def launch_args() -> dict[str, Any]:
    """What a test that starts a browser of its own hands to launch()."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium here: make browser")
    return {"executable_path": chromium, "args": FLAGS}


@pytest.fixture(scope="session")
def browser_type_launch_args(launch_args: dict[str, Any]) -> dict[str, Any]:
    return launch_args


@pytest.fixture(autouse=True)
def _no_connection_is_left(transactional_db: None) -> Iterator[None]:
    """Connections are kept per context: one made beside the event loop would outlive the tests."""
    yield
    connections.close_all()


@pytest.fixture
def dan(project: Project) -> User:
    """Reviews in the project, beside ben."""
    return builders.make_user(project, Role.REVIEWER, name="dan")


class Complaints:
    """What pages said that they should not: errors, warnings, violations of the content policy."""

    # htmx says so, loudly, of a request that a newer one replaces, or whose page is left.
    ABANDONED = re.compile("htmx:(sendAbort|afterRequest)")

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.expected = [self.ABANDONED]

    def expect(self, pattern: str) -> None:
        """A complaint that the test provokes."""
        self.expected.append(re.compile(pattern))

    def listen(self, page: Page) -> None:
        page.on(
            "console",
            lambda message: (
                self.heard.append(f"{message.type}: {message.text}")
                if message.type in {"error", "warning"}
                else None
            ),
        )
        page.on("pageerror", lambda error: self.heard.append(f"page error: {error}"))

    def unexpected(self) -> list[str]:
        return [
            said for said in self.heard if not any(known.search(said) for known in self.expected)
        ]


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    heard = Complaints()
    yield heard
    assert heard.unexpected() == []


class Requests:
    """How many the live server, a thread of this process, is answering."""

    def __init__(self) -> None:
        self.open = 0
        self.quiet_since = time.monotonic()

    def started(self, **_: object) -> None:
        self.open += 1

    def finished(self, **_: object) -> None:
        self.open -= 1
        self.quiet_since = time.monotonic()

    def wait_until_quiet(self, seconds: float = 0.1, at_most: float = 5) -> None:
        end = time.monotonic() + at_most
        self.quiet_since = time.monotonic()
        while time.monotonic() < end:
            if self.open <= 0 and time.monotonic() - self.quiet_since > seconds:
                return
            time.sleep(0.02)


@pytest.fixture
def requests() -> Iterator[Requests]:
    counted = Requests()
    request_started.connect(counted.started)
    request_finished.connect(counted.finished)
    yield counted
    request_started.disconnect(counted.started)
    request_finished.disconnect(counted.finished)


SignIn = Callable[..., Page]


@pytest.fixture
def sign_in(
    live_server: LiveServer, browser: Browser, complaints: Complaints, requests: Requests
) -> Iterator[SignIn]:
    """A page of a browser in which the user is signed in: sign_in(ben, color_scheme="dark")."""
    contexts: list[BrowserContext] = []

    def open_page(user: User | None, **options: Any) -> Page:
        # No animation: a control that still moves cannot be clicked.
        defaults = {"viewport": SCREEN, "reduced_motion": "reduce", "base_url": live_server.url}
        context = browser.new_context(**(defaults | options))
        context.set_default_timeout(10_000)
        contexts.append(context)
        if user is not None:
            context.add_cookies([session_cookie(user, live_server.url)])
        page = context.new_page()
        complaints.listen(page)
        return page

    yield open_page
    # A page that is left saves its draft: what it sends is answered before the database is gone.
    for context in contexts:
        context.set_offline(False)
        for page in context.pages:
            page.goto("about:blank")
    requests.wait_until_quiet()
    for context in contexts:
        context.close()


def session_cookie(user: User, url: str) -> Any:
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    return {"name": name, "value": client.cookies[name].value, "url": url}
