"""An adjudicator decides without a mouse; a reviewer practises without one."""

import re
from uuid import uuid4

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, Role, User
from review.flows import labels
from review.labeling.models import Adjudication, Answer, Assignment, Qualification, Queue
from review.labeling.services.judgements import NewLabel
from review.labeling.services.known_answers import mark_gold
from review.labeling.services.leases import take_next
from tests import builders
from tests.e2e.conftest import PHONE, SignIn
from tests.e2e.scenes import press

pytestmark = pytest.mark.e2e


@pytest.fixture
def kim(project: Project) -> User:
    return builders.make_user(project, Role.ADJUDICATOR, name="kim")


@pytest.fixture
def queue(project: Project, ben: User, dan: User) -> Queue:
    run = builders.make_stored_run(project, groups=8)
    return builders.open_audit(run, budget=16, waves=1, second_review_share=1.0).queue


def answer(queue: Queue, reviewer: User, new: NewLabel) -> Assignment:
    held = take_next(queue=queue, reviewer=reviewer)
    assert held
    assert held.lease_token
    labels.commit_label(
        assignment=held, reviewer=reviewer, token=held.lease_token, client_key=uuid4(), new=new
    )
    return held


@pytest.fixture
def item(queue: Queue, ben: User, dan: User) -> Assignment:
    """One says correct, the other says a hack; no third review of it is to come."""
    first = answer(queue, ben, NewLabel(answer=Answer.CORRECT, note="fine to me"))
    Assignment.objects.filter(queue=queue).exclude(rollout=first.rollout).update(state="skipped")
    wrong = NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=1, is_hack=True)
    answer(queue, dan, wrong)
    Assignment.objects.filter(queue=queue, slot=3).update(state="withdrawn")
    return first


def expect_no_violations(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_two_labels_are_read_side_by_side_and_decided_by_keyboard(
    item: Assignment, kim: User, sign_in: SignIn
) -> None:
    page = sign_in(kim)
    page.goto("/")
    page.get_by_role("link", name="1 rollout waits for your decision").click()
    page.get_by_role("link", name="Decide 1").click()
    expect(page.get_by_role("columnheader", name="Reviewer B")).to_be_visible()
    expect(page.locator("tr.differs")).to_have_count(3)
    press(page, "jxi")
    expect(page.locator("#wrong-1")).to_be_checked()
    expect(page.get_by_label("Incorrect")).to_be_checked()
    press(page, "m")
    page.keyboard.type("two boxes")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("Nothing waits for a decision")).to_be_visible()
    decision = Adjudication.objects.get()
    assert (decision.answer, decision.earliest_wrong_step) == ("incorrect", 1)
    assert (decision.reason, decision.decided_by) == ("two boxes", kim)


def test_digits_answer_a_rubric_one_criterion_after_the_other(
    item: Assignment, kim: User, sign_in: SignIn
) -> None:
    Queue.objects.update(rubric=["It adds.", "It carries.", "It ends."])
    page = sign_in(kim)
    page.goto(reverse("web:adjudication", args=[item.pk]))
    press(page, "c122")
    chosen = page.locator("[data-choice^='criterion-'] input:checked")
    assert [one.get_attribute("data-digit") for one in chosen.all()] == ["1", "2", "2"]
    expect(page.locator("[data-choice='criterion-2']")).to_have_class(re.compile("is-addressed"))
    page.keyboard.press("1")  # the last stays addressed, no other is answered anew
    assert [one.get_attribute("data-digit") for one in chosen.all()] == ["1", "2", "1"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_labels_are_decided(
    item: Assignment, kim: User, sign_in: SignIn, scheme: str
) -> None:
    page = sign_in(kim, color_scheme=scheme, bypass_csp=True)
    for path in (
        reverse("web:adjudications", args=[item.queue.project.slug]),
        reverse("web:adjudication", args=[item.pk]),
    ):
        page.goto(path)
        expect_no_violations(page)


def test_it_fits_a_phone(item: Assignment, kim: User, sign_in: SignIn) -> None:
    page = sign_in(kim, viewport=PHONE)
    page.goto(reverse("web:adjudication", args=[item.pk]))
    wide = page.evaluate(
        "[...document.querySelectorAll('body *')]"
        ".filter((part) => part.getBoundingClientRect().right > innerWidth + 1"
        " && !part.closest('.table-scroll, .rail')).map((part) => part.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_practice_is_passed_by_keyboard_and_leads_to_the_queue(
    project: Project, queue: Queue, ben: User, sign_in: SignIn
) -> None:
    for rollout in queue.rule.run.rollouts.filter(step=2)[:3]:
        mark_gold(rollout=rollout, answer=Answer.CORRECT, is_practice=True, actor="ada")
    Queue.objects.filter(pk=queue.pk).update(practice_size=2, pass_mark=1.0)
    page = sign_in(ben, bypass_csp=True)
    page.goto(reverse("web:queue", args=[queue.pk]))
    page.get_by_role("link", name="Start labelling").click()
    expect_no_violations(page)
    page.locator("#start-practice").click()
    for _ in range(2):
        expect(page.get_by_label("Correct", exact=False).first).to_be_visible()
        expect_no_violations(page)
        press(page, "c")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Right")).to_be_visible()
        expect_no_violations(page)
        expect(page.locator("#practice-next")).to_be_focused()
        page.keyboard.press("Enter")
    page.get_by_role("link", name="Start labelling").click()
    expect(page.locator("[data-label-form]")).to_be_visible()
    assert Qualification.objects.get().reviewer == ben
