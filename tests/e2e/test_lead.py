"""A lead's way: an audit, a reward table, a token."""

import pytest
from django.urls import reverse
from playwright.sync_api import Page, expect

from review.accounts.models import Project, Role, ServiceToken, User
from review.accounts.services.members import add_member
from review.calibration.models import RewardTable
from review.runs.models import Run
from review.sampling.models import AuditRule, RuleState
from tests import builders
from tests.e2e.conftest import Complaints, SignIn
from tests.e2e.scenes import follow, label_everything, open_audit

pytestmark = pytest.mark.e2e


@pytest.fixture
def run(project: Project) -> Run:
    run = builders.make_run(project, name="chain_sum, seed 0")
    builders.store_steps(run, [1, 2], groups=20)
    return run


@pytest.fixture
def page(run: Run, ada: User, sign_in: SignIn) -> Page:
    page = sign_in(ada)
    page.goto(reverse("web:home"))
    follow(page, run.name)
    return page


def test_a_lead_audits_a_run_and_publishes_a_reward_table(page: Page, run: Run, ben: User) -> None:
    expect(page.get_by_text("Nothing is estimated yet")).to_be_visible()
    page.get_by_role("link", name="New audit").click()
    page.get_by_label("Name").fill("First two steps")
    page.get_by_label("First step").fill("1")
    page.get_by_label("Last step").fill("2")
    page.get_by_label("Steps in a window").fill("2")
    page.get_by_label("Labels", exact=True).fill("48")
    page.get_by_label("Focus").select_option("recall")
    page.get_by_role("button", name="Save as a draft").click()
    expect(page.get_by_text("saved as a draft")).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("The audit is started")).to_be_visible()
    rule = AuditRule.objects.get()
    version = rule.current
    assert (rule.state, version.budget, version.focus["recall"]) == (RuleState.ACTIVE, 48, 1)

    label_everything(rule, ben)
    follow(page, run.name)
    expect(page.get_by_role("listitem").filter(has_text="Recall")).to_contain_text("48 labels")
    expect(page.get_by_role("row").filter(has_text="1 to 2")).to_contain_text("closed")
    page.get_by_role("button", name="Build a draft").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Reward table v1 draft")
    page.wait_for_load_state("load")
    dr_grpo = page.get_by_role("link", name="Dr. GRPO")
    dr_grpo.press("Enter")
    expect(page.get_by_role("heading", name="Under Dr. GRPO")).to_be_visible()
    expect(dr_grpo).to_be_focused()
    page.get_by_role("button", name="Publish v1").click()
    expect(page.get_by_text("Table v1 is published")).to_be_visible()
    expect(page.get_by_role("button", name="Publish")).to_have_count(0)
    assert RewardTable.objects.get().published_by == "ada"
    page.get_by_role("link", name=run.name).click()
    expect(page.get_by_role("row").filter(has_text="v1")).to_contain_text("published")


def test_what_is_wrong_with_an_audit_is_said_at_its_field(
    page: Page, complaints: Complaints
) -> None:
    complaints.expect("status of 422")
    page.get_by_role("link", name="New audit").click()
    page.get_by_label("Name").fill("Backwards")
    page.get_by_label("First step").fill("9")
    page.get_by_label("Last step").fill("3")
    page.get_by_role("button", name="Save as a draft").click()
    field = page.locator(".field-wrong")
    expect(field).to_have_count(1)
    expect(field).to_contain_text("The last step comes before the first.")
    expect(page.get_by_label("Name")).to_have_value("Backwards")
    assert not AuditRule.objects.exists()


def test_a_table_without_labels_is_refused_beside_the_form(
    page: Page, complaints: Complaints
) -> None:
    complaints.expect("status of 422")
    page.get_by_role("button", name="Build a draft").click()
    expect(page.get_by_role("alert").filter(visible=True)).to_be_visible()
    assert not RewardTable.objects.exists()


def test_a_token_is_shown_once_and_can_be_revoked(page: Page) -> None:
    page.get_by_role("link", name="Service tokens").click()
    page.get_by_label("Name").fill("trainer")
    page.get_by_role("button", name="Make a token").click()
    secret = page.locator(".secret").inner_text()
    assert secret.startswith("assay_")
    page.reload()
    page.goto(page.url)
    expect(page.locator(".secret")).to_have_count(0)
    page.get_by_role("button", name="Revoke trainer").first.click()
    expect(page.get_by_text("The token trainer is revoked.")).to_be_visible()
    assert ServiceToken.objects.exclude(revoked_at=None).count() == 1


def test_a_lead_who_also_reviews_gets_from_the_run_to_the_next_item(
    page: Page, run: Run, project: Project, ada: User
) -> None:
    open_audit(run, budget=32, waves=2)
    page.reload()
    # Whoever only leads has nothing to label with.
    expect(page.get_by_role("link", name="Label steps 1 to 2")).to_have_count(0)
    add_member(project=project, user=ada, role=Role.REVIEWER, actor="test")
    page.reload()
    page.get_by_role("link", name="Label steps 1 to 2").click()
    page.get_by_role("link", name="Start labelling").click()
    expect(page.locator("[data-label-form]")).to_be_visible()
    page.get_by_role("link", name="Overview").click()
    expect(page.get_by_role("link", name="Label first audit")).to_be_visible()
