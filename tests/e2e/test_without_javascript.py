"""The labelling page is plain forms."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from review.accounts.models import Project, User
from review.labeling.models import Answer, Label, Skip
from tests.e2e.conftest import SignIn
from tests.e2e.scenes import plain_queue

pytestmark = pytest.mark.e2e


def test_label_undo_and_skip_without_javascript(
    project: Project, ben: User, sign_in: SignIn
) -> None:
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben, java_script_enabled=False)
    page.goto(reverse("web:queue", args=[queue.pk]))
    page.get_by_role("link", name="Start labelling").click()
    # Nothing that only a script could do is offered.
    expect(page.locator(".needs-js:visible")).to_have_count(0)

    page.get_by_role("radio", name="Incorrect").check()
    page.locator("#wrong-2").check()
    page.get_by_label("Hack").check()
    page.get_by_label("Note").fill("by hand")
    page.get_by_role("button", name="Commit and next").click()
    label = Label.objects.get()
    assert (label.answer, label.earliest_wrong_step) == (Answer.INCORRECT, 2)
    assert (label.is_hack, label.note) == (True, "by hand")

    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Your last label is taken back")).to_be_visible()
    page.get_by_role("radio", name="Can't tell").check()
    page.get_by_role("button", name="Commit and next").click()
    assert Label.objects.get(retraction=None).answer == Answer.CANNOT_TELL

    page.get_by_text("Skip this item").click()
    page.get_by_label("Reason").select_option(label="Not my field")
    page.get_by_role("button", name="Skip", exact=False).click()
    expect(page.locator(".label-progress")).to_contain_text("1 / 8")
    assert Skip.objects.get().reason == "not_my_field"
