"""No page breaks a rule that axe can test, in light and in dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import expect

from review.accounts.models import Project, Role, User
from review.accounts.services.invitations import invite
from review.accounts.services.members import add_member
from review.accounts.services.tokens import issue_token
from review.calibration.services.scorecard import refresh_run
from review.labeling.models import Label
from review.rollouts.services import create_slice
from tests import builders
from tests.e2e.conftest import SignIn
from tests.e2e.scenes import draft_table, label_everything, open_audit, press

pytestmark = pytest.mark.e2e


@pytest.fixture
def paths(project: Project, ada: User, ben: User) -> list[str]:
    """Every page with something on it: an audit done and one under way, a table, a token."""
    run = builders.make_run(project)
    builders.store_steps(run, [1, 2], groups=20)
    conditions = [{"field": "outcome", "op": "is", "value": "fail"}]
    create_slice(project=project, name="rejected", conditions=conditions, actor="test")
    rule = open_audit(run, budget=32, waves=2)
    label_everything(rule, ben)
    refresh_run(run=run)
    label = Label.objects.earliest("pk")
    rollout = label.assignment.rollout_id
    table = draft_table(run)
    builders.store_steps(run, [3, 4], groups=20)
    second = open_audit(run, name="second", first_step=3, last_step=4, budget=32)
    builders.make_audit(run, name="a draft")
    for role in (Role.REVIEWER, Role.ADMIN):
        add_member(project=project, user=ada, role=role, actor="test")
    invited = invite(project=project, invitee="Eve", roles=["reviewer"], actor=ada)
    issue_token(project=project, owner=ada, name="trainer", scopes=["ingest"], actor=ada)
    return [
        reverse("web:home"),
        reverse("web:run", args=[run.pk]),
        reverse("web:audit-new", args=[run.pk]),
        reverse("web:audit", args=[rule.pk]),
        reverse("web:audit", args=[second.pk]),
        reverse("web:audit-edit", args=[second.pk]),
        reverse("web:adjudications", args=[project.slug]),
        reverse("web:adjudication", args=[label.assignment_id]),
        reverse("web:rollout", args=[run.pk, rollout]),
        reverse("web:scorecard", args=[run.pk]) + "?sort=fpr",
        reverse("web:labelled", args=[run.pk]) + "?estimand=accuracy",
        reverse("web:slices", args=[project.slug]),
        reverse("web:table", args=[table.pk]),
        reverse("web:tokens", args=[project.slug]),
        reverse("web:members", args=[project.slug]),
        reverse("web:join", args=[invited.secret]),
        reverse("web:password"),
        reverse("web:queue", args=[second.queue.pk]),
        reverse("web:label-next", args=[second.queue.pk]),
    ]


# All that a page's scheme can change.
COLOURS = {"runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}


def test_axe_finds_nothing_in_light_and_in_dark(
    paths: list[str], ada: User, sign_in: SignIn
) -> None:
    axe, found = Axe(), {}
    for scheme, rules in (("light", {}), ("dark", COLOURS)):
        # The pages' own policy would not let axe in.
        anonymous = sign_in(None, color_scheme=scheme, bypass_csp=True)
        page = sign_in(ada, color_scheme=scheme, bypass_csp=True)
        visits = [(anonymous, reverse("web:login")), *((page, path) for path in paths)]
        for visitor, path in visits:
            visitor.goto(path)
            if visitor.locator("[data-label-form]").count():
                press(visitor, "jxc")
            if visitor.locator("#rule-form").count():
                expect(visitor.locator("#preview-table")).to_be_visible()
            visitor.evaluate(
                "for (const part of document.querySelectorAll('main details')) part.open = true"
            )
            results = axe.run(visitor, options={"resultTypes": ["violations"], **rules})
            if results.violations_count:
                found[f"{path} in {scheme}"] = results.generate_report()
    assert found == {}
