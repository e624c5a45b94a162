"""Long chains of thought: folded in the middle, found in, and opened by whoever goes there."""

import re

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, User
from review.labeling.models import Label, Queue
from review.runs.models import Run
from review.web.reading import KEPT_STEPS, MOST_STEPS
from tests.e2e.conftest import SignIn
from tests.e2e.scenes import make_queue, press

pytestmark = pytest.mark.e2e

STEPS = MOST_STEPS + 16
HIDDEN = STEPS - sum(KEPT_STEPS)
INSIDE = KEPT_STEPS[0] + 2


def chain(number: int) -> str:
    """Every step holds a formula; one in the fold, and one at the end, a word to find."""
    words = {INSIDE: "the needle is here", STEPS: f"the last needle \\boxed{{{number}}}"}
    lines = (f"Step {n} says $x+{n}=0$ {words.get(n, '')}" for n in range(1, STEPS + 1))
    return "\n\n".join(lines)


@pytest.fixture
def queue(project: Project) -> Queue:
    return make_queue(project, [(f"Item {n}", chain(n)) for n in range(8)], budget=8)


@pytest.fixture
def page(queue: Queue, ben: User, sign_in: SignIn) -> Page:
    page = sign_in(ben)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    return page


def find(page: Page, text: str) -> None:
    page.keyboard.press("/")
    expect(page.locator("[data-find] input")).to_be_focused()
    page.keyboard.type(text)


def find_again(page: Page, text: str) -> None:
    """Enter right behind the last letter looks for what stands there now."""
    page.locator("[data-find] input").blur()
    find(page, text)
    page.keyboard.press("Enter")


def count(page: Page, says: str) -> None:
    expect(page.locator("[data-find-count]")).to_have_text(says)


def test_the_middle_is_folded_and_its_button_opens_and_closes_it(page: Page) -> None:
    button = page.get_by_role("button", name=f"Show {HIDDEN} hidden steps")
    inside = page.locator(f"[data-step='{INSIDE}'] .step-text")
    expect(inside).not_to_be_visible()
    expect(page.locator(f"[data-step='{STEPS}'] .step-text")).to_be_visible()
    button.click()
    expect(inside).to_be_visible()
    page.get_by_role("button", name="Hide these steps").click()
    expect(inside).not_to_be_visible()


def test_the_cursor_opens_the_fold_that_it_comes_to(page: Page) -> None:
    press(page, ["j"] * (KEPT_STEPS[0] + 1))
    expect(page.locator(f"[data-step='{KEPT_STEPS[0] + 1}'] .step-text")).to_be_visible()
    expect(page.locator("[data-unfolds]")).to_have_attribute("aria-expanded", "true")


def test_choosing_a_step_in_the_fold_opens_it(page: Page) -> None:
    page.locator(f"#wrong-{INSIDE}").check()
    expect(page.locator(f"[data-step='{INSIDE}'] .step-text")).to_be_visible()


def test_what_is_found_in_the_fold_is_shown(page: Page) -> None:
    find(page, "NEEDLE  is")
    count(page, "1")
    page.keyboard.press("Enter")
    count(page, "1 / 1")
    expect(page.locator(f"[data-step='{INSIDE}'] .step-text")).to_be_in_viewport()
    assert page.evaluate("CSS.highlights.get('found').size") == 1


def test_matches_are_counted_gone_through_and_forgotten(page: Page) -> None:
    find(page, "needle")
    count(page, "2")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    count(page, "2 / 2")
    page.keyboard.press("Enter")
    count(page, "1 / 2")
    page.keyboard.press("Shift+Enter")
    count(page, "2 / 2")
    find_again(page, "last needle")
    count(page, "1 / 1")
    page.keyboard.press("Escape")
    count(page, "")
    assert page.evaluate("CSS.highlights.get('found').size") == 0
    # The keys are the page's again, and nothing that was typed was one of them.
    assert not Label.objects.exists()
    press(page, ["c"])
    expect(page.locator("[name=answer]:checked")).to_have_value("correct")


def test_a_formula_is_found_as_it_reads(page: Page) -> None:
    find(page, f"x+{INSIDE}=0")
    count(page, "1")


def test_signs_that_mean_something_to_a_pattern_are_just_signs(page: Page) -> None:
    find(page, ".*(x")
    count(page, "0")


def test_a_link_into_the_fold_opens_it(page: Page) -> None:
    page.evaluate(f"location.hash = 'step-{INSIDE}'")
    expect(page.locator(f"[data-step='{INSIDE}'] .step-text")).to_be_visible()
    expect(page.locator("[data-unfolds]")).to_have_attribute("aria-expanded", "true")


def test_without_scripts_nothing_is_folded(queue: Queue, ben: User, sign_in: SignIn) -> None:
    page = sign_in(ben, java_script_enabled=False)
    page.goto(reverse("web:label-next", args=[queue.pk]))
    expect(page.locator(f"[data-step='{INSIDE}'] .step-text")).to_be_visible()
    expect(page.locator("[data-unfolds]")).not_to_be_visible()
    expect(page.locator("[data-find]")).not_to_be_visible()


def test_a_lead_finds_in_a_rollout_with_the_same_key(
    queue: Queue, ada: User, sign_in: SignIn
) -> None:
    page = sign_in(ada)
    run = Run.objects.get()
    page.goto(reverse("web:rollout", args=[run.pk, run.rollouts.earliest("pk").pk]))
    find(page, "needle")
    page.keyboard.press("Enter")
    expect(page.locator("[data-find-count]")).to_have_text(re.compile("^1 / 2$"))
    expect(page.locator(f"[data-step='{INSIDE}'] .step-text")).to_be_visible()
