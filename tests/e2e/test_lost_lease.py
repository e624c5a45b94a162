"""A reviewer stays away for so long that the item is given to somebody else."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from review.accounts.models import Project, User
from review.labeling.models import Assignment, AssignmentState, Label
from review.labeling.services.leases import take_next
from tests.e2e.conftest import Complaints, SignIn
from tests.e2e.scenes import label_with, plain_queue, press

pytestmark = pytest.mark.e2e


def expire_leases() -> None:
    held = Assignment.objects.filter(state=AssignmentState.LEASED)
    held.update(lease_expires_at=timezone.now() - timedelta(hours=1))


def come_back_to(page: Page) -> None:
    """The reader turns to the page again: it says that it is alive."""
    with page.expect_response("**/heartbeat/"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_the_page_says_that_the_hold_has_ended_and_the_late_label_is_kept(
    project: Project, ben: User, dan: User, sign_in: SignIn, complaints: Complaints
) -> None:
    complaints.expect("status of 409")
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    lost = page.locator("[data-lease-lost]")
    come_back_to(page)
    expect(lost).to_be_hidden()

    expire_leases()
    taken = take_next(queue=queue, reviewer=dan)
    come_back_to(page)
    expect(lost).to_be_visible()

    press(page, "c")
    label_with(page, ["Enter"])
    expect(page.get_by_role("alert").filter(has_text="late")).to_be_visible()
    label = Label.objects.get()
    assert label.assignment == taken
    assert label.is_late
    taken.refresh_from_db()
    assert (taken.state, taken.reviewer) == (AssignmentState.LEASED, dan)


def test_a_lease_that_ran_out_unnoticed_still_takes_the_label(
    project: Project, ben: User, sign_in: SignIn
) -> None:
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    expire_leases()
    label_with(page, ["i", "Enter"])
    assert not Label.objects.get().is_late
    expect(page.locator(".notice-warning:visible")).to_have_count(0)
