"""What people see when something is refused, missing, or over."""

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import Page, Route, expect

from review.accounts.models import Project, User
from review.labeling.models import Answer, Label, Retraction
from tests import builders
from tests.e2e.conftest import Complaints, SignIn
from tests.e2e.scenes import label_with, plain_queue, press

pytestmark = pytest.mark.e2e


def test_signing_in_and_out(project: Project, ben: User, sign_in: SignIn) -> None:
    page = sign_in(None)
    queue = plain_queue(project, 12, budget=8)
    page.goto(reverse("web:queue", args=[queue.pk]))
    page.get_by_label("Username").fill("ben")
    page.get_by_label("Password").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("correct username")
    page.get_by_label("Password").fill("pass-word-9")
    page.keyboard.press("Enter")
    # There they wanted to go.
    expect(page.get_by_role("heading", level=1)).to_have_text(queue.name)
    page.get_by_text("ben").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in to Assay")).to_be_visible()


def test_a_stranger_finds_nothing(
    project: Project, cyd: User, sign_in: SignIn, complaints: Complaints
) -> None:
    complaints.expect("status of 404")
    run = builders.make_run(project, name="secret plans")
    page = sign_in(cyd)
    page.goto(reverse("web:home"))
    expect(page.get_by_text("You are in no project yet")).to_be_visible()
    for path in (reverse("web:run", args=[run.pk]), "/no/such/page/"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
        expect(page.get_by_text("secret plans")).to_have_count(0)
    page.get_by_role("link", name="Your projects").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()


def test_a_refusal_of_a_key_says_why_and_leaves_the_item(
    project: Project, ben: User, sign_in: SignIn, complaints: Complaints
) -> None:
    complaints.expect("status of 409|Response Status Error Code 409")
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    label_with(page, ["c", "Enter"])
    # In another tab the label has been taken back.
    Retraction.objects.create(label=Label.objects.get())
    press(page, ["i", "u"])
    refusal = page.locator("[data-unsent]")
    expect(refusal).to_contain_text("A label can be taken back for a short while")
    expect(page.locator("#answer_1")).to_be_checked()
    label_with(page, ["Enter"])
    expect(refusal).to_be_hidden()


def test_a_refusal_without_javascript_is_a_page(
    project: Project, ben: User, sign_in: SignIn, complaints: Complaints
) -> None:
    complaints.expect("status of 409")
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben, java_script_enabled=False)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    page.get_by_role("radio", name="Can't tell").check()
    page.get_by_role("button", name="Commit and next").click()
    Retraction.objects.create(label=Label.objects.get())
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="That is not possible now")).to_be_visible()
    expect(page.get_by_text("A label can be taken back for a short while")).to_be_visible()


def test_a_session_that_is_over_leads_to_the_sign_in_and_back_and_the_label_is_stored_once(
    project: Project, ben: User, sign_in: SignIn
) -> None:
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    item = page.locator("#item").get_attribute("data-item") or ""
    Session.objects.all().delete()
    press(page, ["c", "Enter"])
    # The whole page, not a form inside the item.
    expect(page.locator("#item")).to_have_count(0)
    assert not Label.objects.exists()
    fill_in_sign_in(page, "ben")
    # What was on its way is sent again, under the same key.
    expect(page.locator("[data-label-form]")).to_be_visible()
    expect(page.locator("#item")).not_to_have_attribute("data-item", item)
    label = Label.objects.get()
    assert (str(label.assignment_id), label.reviewer, label.answer) == (item, ben, Answer.CORRECT)


def test_a_label_that_is_sent_again_after_signing_in_is_no_draft_any_more(
    project: Project, ben: User, sign_in: SignIn
) -> None:
    """Answered late, it would otherwise be followed by a draft of an item that is labelled."""
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    Session.objects.all().delete()
    press(page, ["c", "Enter"])
    expect(page.locator("#item")).to_have_count(0)
    drafts: list[str] = []
    held: list[Route] = []
    page.on("request", lambda asked: drafts.append(asked.url) if "/draft/" in asked.url else None)
    page.route("**/label/", lambda route: held.append(route))
    with page.expect_request("**/label/"):
        fill_in_sign_in(page, "ben")
    expect(page.locator("[data-label-form]")).to_be_visible()
    page.wait_for_timeout(600)  # drafts wait for 400 ms
    assert drafts == []
    held[0].continue_()
    expect(page.locator("[data-session]")).to_be_visible()


def test_a_label_on_its_way_waits_for_its_reviewer_while_somebody_else_signs_in(
    project: Project, ben: User, dan: User, sign_in: SignIn
) -> None:
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    item = page.locator("#item").get_attribute("data-item") or ""
    Session.objects.all().delete()
    press(page, ["c", "Enter"])
    expect(page.locator("#item")).to_have_count(0)
    fill_in_sign_in(page, "dan")
    expect(page.locator("#item")).not_to_have_attribute("data-item", item)
    label_with(page, ["i", "Enter"])
    label = Label.objects.get()
    assert (label.reviewer, label.answer) == (dan, Answer.INCORRECT)
    Session.objects.all().delete()
    page.goto(reverse("web:label-next", args=[queue.pk]))
    fill_in_sign_in(page, "ben")
    expect(page.locator("[data-session]")).to_be_visible()
    label = Label.objects.get(reviewer=ben)
    assert (str(label.assignment_id), label.answer) == (item, Answer.CORRECT)


def fill_in_sign_in(page: Page, name: str) -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill("pass-word-9")
    page.keyboard.press("Enter")


def test_a_server_that_does_not_answer_is_said(
    project: Project, ben: User, sign_in: SignIn, complaints: Complaints
) -> None:
    complaints.expect("ERR_FAILED")
    queue = plain_queue(project, 12, budget=8)
    page = sign_in(ben)
    undos: list[Route] = []

    def lose_the_first(route: Route) -> None:
        undos.append(route)
        route.abort() if len(undos) == 1 else route.continue_()

    # Before the page is there: a browser may send what it does just after past a new route.
    page.route("**/undo/", lose_the_first)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    label_with(page, ["c", "Enter"])
    press(page, "u")
    expect(page.locator("[data-unsent]")).to_contain_text("No answer came from the server")
    label_with(page, ["u"])
    expect(page.locator("[data-unsent]")).to_be_hidden()
    assert Retraction.objects.count() == 1
