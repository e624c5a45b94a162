"""A reviewer labels with the keyboard alone."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, User
from review.labeling.models import Answer, Assignment, AssignmentState, Label, Queue, Skip
from tests.e2e.conftest import SignIn
from tests.e2e.scenes import expect_other_item, label_with, plain_queue, press, token_of

pytestmark = pytest.mark.e2e

ENTER, COMMIT_FROM_NOTE = "Enter", "Control+Enter"
# The keys of ten labels, and what is to be stored: answer, wrong step, no wrong step, hack, note.
LABELS = [
    ([*"c", ENTER], (Answer.CORRECT, None, False, False, "")),
    ([*"cn", ENTER], (Answer.CORRECT, None, True, False, "")),
    ([*"ijjx", ENTER], (Answer.INCORRECT, 2, False, False, "")),
    ([*"jjjkxi", ENTER], (Answer.INCORRECT, 2, False, False, "")),
    (["ArrowDown", *"xi", ENTER], (Answer.INCORRECT, 1, False, False, "")),
    ([*"jxxi", ENTER], (Answer.INCORRECT, None, False, False, "")),
    ([*"ih", ENTER], (Answer.INCORRECT, None, False, True, "")),
    ([*"chhT", ENTER], (Answer.CANNOT_TELL, None, False, False, "")),
    ([*"cm", *"cin?", COMMIT_FROM_NOTE], (Answer.CORRECT, None, False, False, "cin?")),
    ([*"jjjjjjjxnim", *"a b", "Escape", *"c", ENTER], (Answer.CORRECT, None, True, False, "a b")),
]


@pytest.fixture
def queue(project: Project) -> Queue:
    return plain_queue(project, 24, budget=16)


@pytest.fixture
def page(queue: Queue, ben: User, sign_in: SignIn) -> Page:
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    return page


def stored(labels: list[Label]) -> list[tuple[object, ...]]:
    return [
        (
            label.answer,
            label.earliest_wrong_step,
            label.has_no_wrong_step,
            label.is_hack,
            label.note,
        )
        for label in labels
    ]


def test_ten_labels_are_stored_as_they_were_typed(page: Page, queue: Queue, ben: User) -> None:
    for keys, _ in LABELS:
        label_with(page, keys)
    labels = list(Label.objects.filter(reviewer=ben).order_by("pk").select_related("assignment"))
    assert stored(labels) == [expected for _, expected in LABELS]
    assert [label.assignment.rank for label in labels] == list(range(10))
    assert queue.assignments.filter(state=AssignmentState.DONE).count() == 10
    expect(page.locator(".label-progress")).to_contain_text("10 / 16")


def test_a_skip_gives_its_reason(page: Page, queue: Queue, ben: User) -> None:
    token = token_of(page)
    press(page, "s")
    expect(page.get_by_label("Reason")).to_be_focused()
    press(page, ["ArrowDown", "Tab", *"cix", "Control+Enter"])
    expect_other_item(page, token)
    skip = Skip.objects.get(reviewer=ben)
    assert (skip.reason, skip.note) == ("not_my_field", "cix")
    # The only reviewer has passed on it.
    assert skip.assignment.state == AssignmentState.SKIPPED
    assert not Label.objects.exists()


def test_undo_serves_the_item_again_and_the_new_label_counts(page: Page, ben: User) -> None:
    label_with(page, ["c", ENTER])
    first = Label.objects.get()
    expect(page.locator(".undo-what")).to_have_text("Last: Correct")
    label_with(page, ["u"])
    held = Assignment.objects.get(state=AssignmentState.LEASED, reviewer=ben)
    assert held == first.assignment
    # What is taken back cannot be taken back again.
    expect(page.locator(".undo")).to_have_count(0)
    label_with(page, ["i", ENTER])
    final = Label.objects.get(retraction=None)
    assert final.assignment == first.assignment
    assert final.answer == Answer.INCORRECT
    assert Label.objects.count() == 2


def test_a_held_enter_key_commits_once(page: Page) -> None:
    token = token_of(page)
    press(page, "c")
    page.keyboard.down(ENTER)
    expect_other_item(page, token)
    # Answered, and the key is still down: each further down is a repeat.
    press(page, "c")
    expect(page.locator("#answer_0")).to_be_checked()
    token = token_of(page)
    for _ in range(5):
        page.keyboard.down(ENTER)
    page.wait_for_timeout(300)
    assert token_of(page) == token
    assert Label.objects.count() == 1
    page.keyboard.up(ENTER)
    page.keyboard.down(ENTER)
    expect_other_item(page, token)
    assert Label.objects.count() == 2


def test_keys_typed_into_the_note_are_text(page: Page) -> None:
    press(page, [*"m", *"chintsux?", ENTER, *"jk"])
    expect(page.get_by_label("Note")).to_have_value("chintsux?\njk")
    expect(page.locator("[name=answer]:checked")).to_have_count(0)
    expect(page.locator("#is_hack")).not_to_be_checked()
    expect(page.locator("#keys")).not_to_be_visible()
    assert not Label.objects.exists()


def test_a_commit_without_an_answer_stays_on_the_item(page: Page) -> None:
    token = token_of(page)
    press(page, [*"jx", ENTER])
    page.wait_for_timeout(300)
    assert token_of(page) == token
    assert not Label.objects.exists()


def test_shortcuts_with_a_modifier_are_left_to_the_browser(page: Page) -> None:
    press(page, ["Control+c", "Alt+i", "Meta+h"])
    expect(page.locator("[name=answer]:checked")).to_have_count(0)
    expect(page.locator("#is_hack")).not_to_be_checked()


def test_the_list_of_keys_opens_and_turns_single_keys_off(page: Page) -> None:
    press(page, "?")
    expect(page.locator("#keys")).to_be_visible()
    press(page, "c")
    expect(page.locator("[name=answer]:checked")).to_have_count(0)
    page.get_by_label("Single keys are on").uncheck()
    press(page, ["Escape", "c"])
    expect(page.locator("#keys")).not_to_be_visible()
    expect(page.locator("[name=answer]:checked")).to_have_count(0)
    page.reload()
    press(page, "c")
    expect(page.locator("[name=answer]:checked")).to_have_count(0)


def test_the_last_item_of_a_wave_says_what_comes_next(
    project: Project, ben: User, sign_in: SignIn
) -> None:
    queue = plain_queue(project, 8, budget=8)
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    for _ in range(8):
        label_with(page, ["c", ENTER])
    expect(page.locator("#item")).to_contain_text("Nothing to label right now")
    # Still to be undone, as every label is for a moment.
    press(page, "u")
    expect(page.locator("[data-label-form]")).to_be_visible()
