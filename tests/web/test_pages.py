"""What the main pages show, and to whom."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, User
from review.calibration.models import RewardRule, RewardTable
from review.calibration.services import tables as calibration
from review.flows import audit
from review.labeling.models import Assignment
from review.labeling.services.leases import take_next
from review.runs.models import Run
from review.sampling.models import AuditRule
from tests import builders
from tests.web.rules import signed_in, write_rule


@pytest.fixture
def rule(run: Run) -> AuditRule:
    return builders.open_audit(run, budget=64, waves=2)


@pytest.fixture
def table(run: Run, rule: AuditRule, ben: User) -> RewardTable:
    builders.label_wave(rule, ben)
    return calibration.build_table(
        run=run,
        rule=RewardRule.DEMOTE_OR_ABSTAIN,
        valid_from_step=3,
        valid_to_step=12,
        actor="test",
    )


@pytest.mark.django_db
def test_the_run_page_shows_estimates_windows_and_tables(
    run: Run, rule: AuditRule, table: RewardTable, ada: User
) -> None:
    page = signed_in(ada).get(reverse("web:run", args=[run.pk])).content.decode()
    assert "False-positive rate" in page
    assert "1 to 2" in page
    assert "v1" in page
    assert "<svg" in page


@pytest.mark.django_db
def test_a_lead_writes_starts_and_publishes(run: Run, ada: User, ben: User) -> None:
    client = signed_in(ada)
    refused = client.post(reverse("web:audit-new", args=[run.pk]), {"name": "x", "budget": 0})
    assert refused.status_code == 422
    rule = write_rule(client, run)
    assert client.post(reverse("web:audit-start", args=[rule.pk])).status_code == 302
    audit.open_windows(run=run)
    no_labels = client.post(
        reverse("web:table-build", args=[run.pk]),
        {"rule": "demote_or_abstain", "valid_from_step": 3, "valid_to_step": 9},
    )
    assert no_labels.status_code == 422
    for _ in range(4):
        builders.label_wave(rule, ben)
    built = client.post(
        reverse("web:table-build", args=[run.pk]),
        {"rule": "demote_or_abstain", "valid_from_step": 3, "valid_to_step": 9},
    )
    assert built.status_code == 302
    page = client.get(built["Location"]).content.decode()
    assert "left out" in page
    table = RewardTable.objects.get(run=run)
    client.post(reverse("web:table-publish", args=[table.pk]))
    table.refresh_from_db()
    assert table.is_published
    assert table.published_by == "ada"


@pytest.mark.django_db
def test_the_label_page_is_blind(rule: AuditRule, ben: User) -> None:
    page = signed_in(ben).get(reverse("web:label-next", args=[rule.queue.pk])).content.decode()
    assert "7 + 8" in page
    rollout = Assignment.objects.filter(queue=rule.queue).earliest("rank").rollout
    secrets = (rollout.uid, rollout.policy.uid, rollout.group.uid, rollout.cell.key, rule.run.name)
    for hidden in (*secrets, "boxed-any", "pass/", "fail/"):
        assert f'"{hidden}"' not in page
        assert f">{hidden}<" not in page
        assert hidden not in page or hidden == "step-0", hidden


@pytest.mark.django_db
def test_labelling_without_javascript(rule: AuditRule, ben: User) -> None:
    client = signed_in(ben)
    url = reverse("web:label-next", args=[rule.queue.pk])
    first = Assignment.objects.filter(queue=rule.queue).earliest("rank")
    client.get(url)
    first.refresh_from_db()
    answer = {"token": first.lease_token, "client_key": uuid4(), "earliest_wrong_step": "none"}
    unanswered = client.post(reverse("web:label-commit", args=[first.pk]), answer)
    assert unanswered.status_code == 422
    assert "cannot tell" in unanswered.content.decode()
    answer |= {"answer": "correct"}
    committed = client.post(reverse("web:label-commit", args=[first.pk]), answer)
    assert committed.status_code == 302
    again = client.post(reverse("web:label-commit", args=[first.pk]), answer)
    assert again.status_code == 302
    assert first.labels.count() == 1
    page = client.get(url).content.decode()
    assert "Undo" in page
    client.post(reverse("web:label-undo", args=[rule.queue.pk]))
    held = take_next(queue=rule.queue, reviewer=ben)
    assert held == first


@pytest.mark.django_db
def test_failed_sign_ins_have_to_wait(ben: User) -> None:
    client = Client()
    for _ in range(10):
        client.post(reverse("web:login"), {"username": "ben", "password": "wrong"})
    response = client.post(reverse("web:login"), {"username": "ben", "password": "pass-word-9"})
    assert response.status_code == 429
    assert "wait" in response.content.decode()


@pytest.mark.django_db
def test_ten_runs_cost_the_home_page_what_two_cost(project: Project, ada: User) -> None:
    client = signed_in(ada)
    counts = []
    for more in (2, 8):
        for _ in range(more):
            builders.make_audit(builders.make_run(project))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(reverse("web:home")).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
