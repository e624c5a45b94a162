"""Every page, tried by the lead, the reviewer and a stranger."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, reverse

from review.accounts.models import Project, User
from review.calibration.models import RewardRule, RewardTable
from review.calibration.services import tables as calibration
from review.flows import audit
from review.labeling.models import Assignment
from review.labeling.services.leases import take_next
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.sampling.models import AuditRule
from review.web.urls import urlpatterns
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


def targets(run: Run, rule: AuditRule, table: RewardTable) -> dict[str, dict[str, object]]:
    assignment = Assignment.objects.filter(queue=rule.queue).earliest("rank")
    window = rule.windows.get()
    conditions = [{"field": "domain", "op": "is", "value": "arithmetic"}]
    part = create_slice(project=run.project, name="sums", conditions=conditions, actor="test")
    rollout = {"run_id": run.pk, "rollout_id": assignment.rollout_id}
    return {
        "home": {},
        "login": {},
        "logout": {},
        "tokens": {"project_slug": run.project.slug},
        "token-revoke": {"token_id": run.project.tokens.first().pk},  # type: ignore[union-attr]
        "run": {"run_id": run.pk},
        "run-live": {"run_id": run.pk},
        "audit-new": {"run_id": run.pk},
        "audit-new-preview": {"run_id": run.pk},
        "audit-start": {"audit_id": rule.pk},
        "audit": {"audit_id": rule.pk},
        "audit-live": {"audit_id": rule.pk},
        "audit-edit": {"audit_id": rule.pk},
        "audit-edit-preview": {"audit_id": rule.pk},
        "audit-end": {"audit_id": rule.pk},
        "picks": {"audit_id": rule.pk},
        "settle": {"audit_id": rule.pk, "rollout_id": assignment.rollout_id},
        "window-end": {"window_id": window.pk},
        "wave-cancel": {"wave_id": window.waves.earliest("pk").pk},
        "scorecard": {"run_id": run.pk},
        "labelled": {"run_id": run.pk},
        "rollout": rollout,
        "rollout-gold": rollout,
        "slices": {"project_slug": run.project.slug},
        "slice-delete": {"slice_id": part.pk},
        "table-build": {"run_id": run.pk},
        "table": {"table_id": table.pk},
        "table-publish": {"table_id": table.pk},
        "queue": {"queue_id": rule.queue.pk},
        "label-next": {"queue_id": rule.queue.pk},
        "label-undo": {"queue_id": rule.queue.pk},
        "label-commit": {"assignment_id": assignment.pk},
        "label-skip": {"assignment_id": assignment.pk},
        "label-heartbeat": {"assignment_id": assignment.pk},
    }


# What each page answers to whom. A POST that reaches its service may be refused by the state (409)
# or the input (422): what counts here is that it is not "there is no such thing" (404).
FOR_LEADS = {
    *("tokens", "token-revoke", "slices", "slice-delete", "run", "run-live"),
    *("audit-new", "audit-new-preview", "audit-start", "audit", "audit-live", "audit-edit"),
    *("audit-edit-preview", "audit-end", "picks", "settle", "window-end", "wave-cancel"),
    *("scorecard", "labelled", "rollout", "rollout-gold"),
    *("table-build", "table", "table-publish"),
}
FOR_REVIEWERS = {"queue", "label-next", "label-undo", "label-commit", "label-skip"} | {
    "label-heartbeat"
}
FOR_ALL = {"home", "login", "logout"}
POSTS = {
    *("token-revoke", "slice-delete", "audit-start", "audit-new-preview", "audit-edit-preview"),
    *("audit-end", "picks", "window-end", "wave-cancel", "rollout-gold"),
    *("table-build", "table-publish", "logout"),
    *("label-undo", "label-commit", "label-skip", "label-heartbeat"),
}
# What such a page is about, where its path does not say it.
QUERIES = {"labelled": "?estimand=accuracy"}


@pytest.mark.django_db
def test_each_page_is_for_whom_it_is_for(
    run: Run, rule: AuditRule, table: RewardTable, ada: User, ben: User, cyd: User
) -> None:
    builders.make_token(run.project, "ingest")
    pages = targets(run, rule, table)
    names = {pattern.name for pattern in urlpatterns if isinstance(pattern, URLPattern)}
    assert names == FOR_LEADS | FOR_REVIEWERS | FOR_ALL == pages.keys()
    for name in FOR_LEADS | FOR_REVIEWERS:
        url = reverse(f"web:{name}", kwargs=pages[name]) + QUERIES.get(name, "")
        for user, may in ((ada, name in FOR_LEADS), (ben, name in FOR_REVIEWERS), (cyd, False)):
            client = signed_in(user)
            status = (client.post(url) if name in POSTS else client.get(url)).status_code
            assert (status != 404) == may, f"{user} at {name}: {status}"
        anonymous = Client().post(url) if name in POSTS else Client().get(url)
        assert anonymous.status_code == 302
        assert anonymous["Location"].startswith("/login/")


@pytest.mark.django_db
def test_every_page_has_the_strict_content_security_policy(
    run: Run, rule: AuditRule, table: RewardTable, ada: User
) -> None:
    builders.make_token(run.project, "ingest")
    pages = targets(run, rule, table)
    for name in FOR_LEADS - POSTS:
        url = reverse(f"web:{name}", kwargs=pages[name]) + QUERIES.get(name, "")
        response = signed_in(ada).get(url)
        assert response.status_code == 200
        policy = response["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy


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
