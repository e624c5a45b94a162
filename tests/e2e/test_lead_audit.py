"""A lead at the audit desk: a rule, its preview, its start, and what comes of it."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, Role, User
from review.accounts.services.members import add_member
from review.flows import audit
from review.rollouts.models import Slice
from review.runs.models import Run
from review.sampling.models import RuleState, WindowState
from tests import builders
from tests.e2e.conftest import Complaints, SignIn
from tests.e2e.scenes import label_everything, open_audit

pytestmark = pytest.mark.e2e


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project, name="chain_sum, seed 0")
    builders.store_steps(run, [1, 2], groups=20)
    return run


@pytest.fixture
def page(ada: User, sign_in: SignIn) -> Page:
    return sign_in(ada)


def fill_rule(page: Page) -> None:
    page.get_by_label("Name").fill("First two steps")
    page.get_by_label("First step").fill("1")
    page.get_by_label("Last step").fill("2")
    page.get_by_label("Steps in a window").fill("2")


def test_a_lead_weighs_a_rule_starts_it_and_finds_its_first_wave_in_the_queue(
    page: Page, run: Run, project: Project, ada: User
) -> None:
    add_member(project=project, user=ada, role=Role.REVIEWER, actor="test")
    page.goto(reverse("web:audit-new", args=[run.pk]))
    preview = page.locator("#preview")
    # The default: from the next step on. The steps that are in stand in for it.
    expect(preview).to_contain_text("stand in for them")
    fill_rule(page)
    expect(preview).to_contain_text("Of the first window, steps 1 to 2.")
    recall = preview.get_by_role("row", name="Recall")
    before = recall.inner_text()
    page.get_by_label("Labels", exact=True).fill("64")
    expect(preview.get_by_role("row", name="Labels")).to_contain_text("64")
    assert recall.inner_text() != before

    page.get_by_role("button", name="Save as a draft").click()
    expect(page.get_by_text("This is a draft: nothing is drawn.")).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("The audit is started")).to_be_visible()
    audit.open_windows(run=run)
    page.reload()
    expect(page.get_by_role("row").filter(has_text="0/64")).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    page.get_by_role("link", name="Label First two steps").click()
    page.get_by_role("link", name="Start labelling").click()
    expect(page.locator("[data-label-form]")).to_be_visible()


def test_a_rule_that_cannot_be_met_says_why_before_it_is_saved(page: Page, run: Run) -> None:
    page.goto(reverse("web:audit-new", args=[run.pk]))
    fill_rule(page)
    page.get_by_label("Last step").fill("0")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("Last step: The last step comes before the first.")
    expect(preview).not_to_contain_text("±")


def test_the_preview_works_without_javascript(run: Run, ada: User, sign_in: SignIn) -> None:
    page = sign_in(ada, java_script_enabled=False)
    page.goto(reverse("web:audit-new", args=[run.pk]))
    fill_rule(page)
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("±")
    expect(page.get_by_label("Name")).to_have_value("First two steps")
    page.get_by_role("button", name="Save as a draft").click()
    expect(page.get_by_text("saved as a draft")).to_be_visible()


def test_what_cannot_be_undone_is_asked_twice(page: Page, run: Run) -> None:
    rule = open_audit(run, budget=64, waves=2)
    page.goto(reverse("web:audit", args=[rule.pk]))
    expect(page.get_by_role("button", name="End it for good")).to_be_hidden()
    page.get_by_text("End the window…").click()
    page.get_by_role("button", name="End the window of steps 1 to 2").click()
    expect(page.get_by_text("The window of steps 1-2 is ended.")).to_be_visible()
    assert rule.windows.get().state == WindowState.CLOSED


def test_an_audit_is_ended_and_its_estimates_stay(page: Page, run: Run, ben: User) -> None:
    builders.store_steps(run, [3, 4], groups=20)
    rule = open_audit(run, budget=48, waves=1, last_step=None)
    label_everything(rule, ben)
    page.goto(reverse("web:audit", args=[rule.pk]))
    page.get_by_text("End the audit…").click()
    page.get_by_role("button", name="End it for good").click()
    expect(page.get_by_text("The audit is ended.")).to_be_visible()
    expect(page.get_by_role("region", name="Closed windows")).to_contain_text("1 to 2")
    rule.refresh_from_db()
    assert rule.state == RuleState.FINISHED


def test_a_slice_is_written_with_a_second_condition(page: Page, project: Project) -> None:
    page.goto(reverse("web:slices", args=[project.slug]))
    page.get_by_label("Name").fill("long sums")
    page.get_by_label("Value").fill("arithmetic")
    page.get_by_role("button", name="Another condition").click()
    expect(page.get_by_label("Value")).to_have_count(2)
    page.get_by_label("Field").nth(1).select_option("length_bin")
    page.get_by_label("Operator").nth(1).select_option("at_least")
    page.get_by_label("Value").nth(1).fill("2")
    page.get_by_role("button", name="Save the slice").click()
    expect(page.get_by_role("row", name="long sums")).to_contain_text("length at least 256 tokens")
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete long sums").click()
    expect(page.get_by_text("No slice yet")).to_be_visible()
    assert not Slice.objects.exists()


def test_a_number_of_the_scorecard_leads_to_the_text_behind_it(
    page: Page, run: Run, ben: User
) -> None:
    label_everything(open_audit(run, budget=64, waves=2), ben)
    page.goto(reverse("web:run", args=[run.pk]))
    page.get_by_role("link", name="Scorecard").click()
    page.get_by_role("link", name="Recall").click()
    expect(page.get_by_role("columnheader", name="Recall")).to_have_attribute(
        "aria-sort", "ascending"
    )
    page.get_by_role("row", name="every rollout").get_by_role("link").first.click()
    expect(page.get_by_text("labelled rollouts that it speaks of")).to_be_visible()
    page.get_by_role("row", name="right, but rejected").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="Verdicts")).to_be_visible()
    expect(page.get_by_role("heading", name="Labels")).to_be_visible()


def test_a_reviewer_is_refused_the_desk(
    run: Run, ben: User, sign_in: SignIn, complaints: Complaints
) -> None:
    complaints.expect("status of 404")
    rule = open_audit(run, budget=32, waves=1)
    page = sign_in(ben)
    for path in (
        reverse("web:audit-new", args=[run.pk]),
        reverse("web:audit", args=[rule.pk]),
        reverse("web:scorecard", args=[run.pk]),
        reverse("web:slices", args=[run.project.slug]),
        reverse("web:rollout", args=[run.pk, run.rollouts.earliest("pk").pk]),
    ):
        page.goto(path)
        expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
