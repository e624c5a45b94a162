"""The run page follows its run by itself."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, User
from review.runs.models import Run
from tests import builders
from tests.e2e.conftest import PHONE, SignIn
from tests.e2e.scenes import plain_queue

pytestmark = pytest.mark.e2e

POLL_MS = 5_000


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=1)
    return run


def open_run(page: Page, run: Run) -> None:
    page.clock.install()
    page.goto(reverse("web:run", args=[run.pk]))


def next_poll(page: Page) -> int:
    """Let the time until the next poll pass; the status of its answer."""
    with page.expect_response("**/live/**") as answer:
        page.clock.run_for(POLL_MS)
    answer.value.finished()
    return answer.value.status


def test_a_new_step_appears_and_leaves_the_reader_where_they_were(
    run: Run, ada: User, sign_in: SignIn
) -> None:
    page = sign_in(ada, viewport=PHONE)
    open_run(page, run)
    summary = page.get_by_text("The numbers")
    summary.click()
    summary.focus()
    chart = page.locator("#gap-chart")
    chart.evaluate("chart => chart.scrollTo(120, 0)")
    rows = page.locator("#gap-numbers tbody tr")
    expect(rows).to_have_count(2)
    # Nothing is new: nothing is sent, so that a selection stays, too.
    assert next_poll(page) == 204

    builders.store_steps(run, [3], groups=1)
    assert next_poll(page) == 200
    expect(rows).to_have_count(3)
    expect(page.locator(".figures")).to_contain_text("3")
    expect(page.locator("#gap-numbers")).to_have_attribute("open", "")
    expect(page.locator("#gap-numbers-summary")).to_be_focused()
    assert chart.evaluate("chart => chart.scrollLeft") == 120
    assert next_poll(page) == 204


def test_polls_end_with_the_run(run: Run, ada: User, sign_in: SignIn) -> None:
    page = sign_in(ada)
    open_run(page, run)
    Run.objects.update(status="finished")
    assert next_poll(page) == 200
    expect(page.locator("#live")).not_to_have_attribute("hx-get", "")
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url))
    page.clock.run_for(3 * POLL_MS)
    assert polls == []


def test_the_queue_page_counts_along(project: Project, ben: User, sign_in: SignIn) -> None:
    """Its link keeps the focus, so that Enter starts to label at any moment."""
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    page.clock.install()
    page.goto(reverse("web:queue", args=[queue.pk]))
    start = page.get_by_role("link", name="Start labelling")
    start.focus()
    queue.assignments.filter(rank__lt=3).update(state="done")
    with page.expect_response(page.url):
        page.clock.run_for(15_000)
    expect(page.locator("#progress")).to_contain_text("3 of 8")
    expect(start).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-label-form]")).to_be_visible()
