"""Two reviewers, each at a browser of their own, label one queue at the same time."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from review.accounts.models import Project, User
from review.flows import audit
from review.labeling.models import Assignment, AssignmentState, Label
from review.sampling.models import WaveState
from tests.e2e.conftest import Complaints, session_cookie
from tests.e2e.scenes import expect_other_item, plain_queue, token_of
from tests.labeling import items

pytestmark = pytest.mark.e2e

ITEMS = 24


def label_all(
    launch_args: dict[str, Any], url: str, cookie: Any, key: str, together: Barrier
) -> tuple[int, list[str]]:
    """Label until nothing is left; how many it was, and what the page complained about."""
    complaints = Complaints()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_args)
        context = browser.new_context(reduced_motion="reduce")
        context.add_cookies([cookie])
        page = context.new_page()
        complaints.listen(page)
        together.wait(timeout=60)
        page.goto(url)
        labelled = 0
        while has_item(page):
            token = token_of(page)
            page.keyboard.press(key)
            page.keyboard.press("Enter")
            expect_other_item(page, token)
            labelled += 1
        browser.close()
    return labelled, complaints.heard


def has_item(page: Page) -> bool:
    return page.locator("[data-label-form]").count() == 1


def test_two_reviewers_share_a_wave_without_loss_or_overlap(
    project: Project, ben: User, dan: User, live_server: LiveServer, launch_args: dict[str, Any]
) -> None:
    queue = plain_queue(project, 60, budget=2 * ITEMS, waves=2)
    (wave,) = queue.rule.windows.get().waves.all()
    url = live_server.url + reverse("web:label-next", args=[queue.pk])
    cookies = [session_cookie(user, live_server.url) for user in (ben, dan)]
    together = Barrier(2)
    with ThreadPoolExecutor(2) as browsers:
        done = [
            browsers.submit(label_all, launch_args, url, cookie, key, together)
            for cookie, key in zip(cookies, "ci", strict=True)
        ]
        (by_ben, ben_heard), (by_dan, dan_heard) = [future.result() for future in done]

    assert ben_heard == dan_heard == []
    assert by_ben > 0
    assert by_dan > 0
    assert by_ben + by_dan == ITEMS == Assignment.objects.filter(wave=wave).count()
    assert set(Assignment.objects.values_list("state", flat=True)) == {AssignmentState.DONE}
    labels = items.counting_labels(wave)
    assert Label.objects.count() == len({label.assignment_id for label in labels}) == ITEMS
    assert Counter(label.answer for label in labels) == {"correct": by_ben, "incorrect": by_dan}

    audit.advance_window(window=wave.window)
    wave.refresh_from_db()
    assert wave.state == WaveState.CLOSED
    assert wave.window.waves.get(state=WaveState.OPEN).number == 2
    assert queue.assignments.filter(state=AssignmentState.OPEN).count() == ITEMS
