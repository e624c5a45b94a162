"""The audit page: how far it is, and what a lead does there."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.accounts.services import add_member
from review.flows import audit, labels
from review.labeling.models import Adjudication, Answer, Assignment, SkipReason
from review.labeling.services.judgements import NewLabel
from review.labeling.services.leases import take_next
from review.rollouts.services import create_slice
from review.runs.models import Run
from review.sampling.models import AuditRule, Pick, RuleState, WaveState, Window, WindowState
from tests import builders
from tests.web.rules import signed_in


@pytest.fixture
def rule(run: Run) -> AuditRule:
    return builders.open_audit(run, budget=64, waves=2)


@pytest.fixture
def dan(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="dan")


def page_of(user: User, rule: AuditRule) -> str:
    return signed_in(user).get(reverse("web:audit", args=[rule.pk])).content.decode()


def answer_next(
    rule: AuditRule, reviewer: User, answer: Answer, *, is_hack: bool = False
) -> Assignment:
    assignment = take_next(queue=rule.queue, reviewer=reviewer)
    assert assignment is not None
    assert assignment.lease_token is not None
    labels.commit_label(
        assignment=assignment,
        reviewer=reviewer,
        token=assignment.lease_token,
        client_key=uuid4(),
        new=NewLabel(answer=answer, is_hack=is_hack, note=f"{reviewer} says so"),
    )
    return assignment


def make_disagreement(run: Run, ben: User, dan: User) -> tuple[AuditRule, Assignment]:
    """Every draw has a second review; the first rollout's two labels are at odds."""
    rule = builders.open_audit(run, budget=32, waves=1, second_review_share=1.0)
    first = answer_next(rule, ben, Answer.CORRECT)
    # The second review of it comes next.
    Assignment.objects.filter(queue=rule.queue, rollout=first.rollout, slot=2).update(rank=-1)
    second = answer_next(rule, dan, Answer.INCORRECT, is_hack=True)
    assert second.rollout_id == first.rollout_id
    return rule, first


def test_it_says_how_far_the_waves_are(rule: AuditRule, ada: User, ben: User) -> None:
    answer_next(rule, ben, Answer.CORRECT)
    assert take_next(queue=rule.queue, reviewer=ben)
    page = page_of(ada, rule)
    assert "1/32" in page
    assert "63 labels to go" in page
    assert "Too few have been given here" in page
    assert "no wave is labelled yet" in page


def test_it_says_when_it_should_be_done(rule: AuditRule, ada: User, ben: User) -> None:
    for _ in range(12):
        answer_next(rule, ben, Answer.CORRECT)
    assert "At the pace of the last 12" in page_of(ada, rule)


def test_widths_stand_beside_what_was_expected(rule: AuditRule, ada: User, ben: User) -> None:
    builders.label_wave(rule, ben)
    page = page_of(ada, rule)
    assert "Expected of the whole budget" in page
    assert page.count("±") >= 8
    assert "may be watched as labels come in" in page
    builders.label_wave(rule, ben)
    closed = page_of(ada, rule)
    assert "Closed windows" in closed
    assert "expected" in closed


def test_a_draft_can_be_started_and_an_audit_ended(run: Run, ada: User) -> None:
    rule = builders.make_audit(run)
    client = signed_in(ada)
    assert "This is a draft: nothing is drawn." in page_of(ada, rule)
    client.post(reverse("web:audit-start", args=[rule.pk]))
    audit.open_windows(run=run)
    page = page_of(ada, rule)
    assert "End it for good" in page
    client.post(reverse("web:audit-end", args=[rule.pk]))
    rule.refresh_from_db()
    assert rule.state == RuleState.FINISHED
    over = page_of(ada, rule)
    assert "End it for good" not in over
    assert "Change the rule" not in over
    assert "ended early" in over


def test_a_wave_can_be_cancelled_and_a_window_ended(rule: AuditRule, ada: User) -> None:
    client, window = signed_in(ada), rule.windows.get()
    wave = window.waves.get()
    client.post(reverse("web:wave-cancel", args=[wave.pk]))
    wave.refresh_from_db()
    assert wave.state == WaveState.CANCELLED
    client.post(reverse("web:window-end", args=[window.pk]))
    window.refresh_from_db()
    assert window.state == WindowState.CLOSED
    assert window.is_ended_early


def test_many_unanswered_items_are_said_aloud_with_the_worst_case(
    rule: AuditRule, ada: User, ben: User
) -> None:
    for _ in range(6):
        assignment = take_next(queue=rule.queue, reviewer=ben)
        assert assignment is not None
        assert assignment.lease_token is not None
        labels.skip_item(
            assignment=assignment,
            reviewer=ben,
            token=assignment.lease_token,
            reason=SkipReason.UNCLEAR,
        )
    assert "have no answer" not in page_of(ada, rule)
    builders.label_wave(rule, ben)
    builders.label_wave(rule, ben)
    page = page_of(ada, rule)
    assert "of the drawn rollouts have no answer" in page
    assert "could be" in page


def test_a_review_that_nobody_may_do_is_said(run: Run, ada: User, ben: User, dan: User) -> None:
    rule, _ = make_disagreement(run, ben, dan)
    page = page_of(ada, rule)
    assert "1 waits for another reviewer" in page
    builders.make_user(rule.run.project, Role.REVIEWER, name="eve")
    assert "for another reviewer" not in page_of(ada, rule)


def test_a_disagreement_is_shown_side_by_side_and_settled(
    run: Run, ada: User, ben: User, dan: User
) -> None:
    rule, item = make_disagreement(run, ben, dan)
    page = page_of(ada, rule)
    assert "Disagreements to settle" in page
    assert "ben: correct" in page
    assert "dan: incorrect, hack" in page
    url = reverse("web:settle", args=[rule.pk, item.rollout_id])
    assert url in page
    client = signed_in(ada)
    side_by_side = client.get(url).content.decode()
    assert side_by_side.count('class="differs"') == 2
    assert "ben says so" in side_by_side
    assert "boxed-any" not in side_by_side
    fields = {"answer": "incorrect", "step": "1", "reason": ""}
    assert client.post(url, fields).status_code == 422
    too_far = client.post(url, fields | {"step": "99", "reason": "no"})
    assert too_far.status_code in (302, 422)
    Adjudication.objects.all().delete()
    assert client.post(url, fields | {"reason": "two boxes"}).status_code == 302
    assert Adjudication.objects.get().answer == Answer.INCORRECT
    assert "Disagreements to settle" not in page_of(ada, rule)
    assert "Settled by ada" in client.get(url).content.decode()


def test_a_lead_who_wrote_one_of_the_labels_cannot_settle_it(
    run: Run, project: Project, ada: User, ben: User
) -> None:
    add_member(project=project, user=ada, role=Role.REVIEWER, actor="test")
    rule, item = make_disagreement(run, ben, ada)
    client, url = signed_in(ada), reverse("web:settle", args=[rule.pk, item.rollout_id])
    page = client.get(url).content.decode()
    assert "One of these labels is yours" in page
    assert "Settle it" not in page
    refused = client.post(url, {"answer": "correct", "reason": "mine"})
    assert refused.status_code == 409
    assert not Adjudication.objects.exists()


def test_a_lead_picks_rollouts_of_a_slice(rule: AuditRule, ada: User) -> None:
    conditions = [{"field": "outcome", "op": "is", "value": "fail"}]
    chosen = create_slice(
        project=rule.run.project, name="rejected", conditions=conditions, actor="test"
    )
    client, url = signed_in(ada), reverse("web:picks", args=[rule.pk])
    done = client.post(url, {"slice": str(chosen.pk), "count": "3", "note": "look closer"})
    assert done.status_code == 302
    assert Pick.objects.count() == 3
    assert {pick.cell.key.split("/")[0] for pick in Pick.objects.select_related("cell")} == {"fail"}
    page = page_of(ada, rule)
    assert "look closer" in page
    assert "waiting" in page
    assert client.post(url, {"count": "0"}).status_code == 422
    too_early = client.post(url, {"count": "3", "for_reward": "on"})
    assert too_early.status_code == 422
    assert "rewards may steer from 300 on" in too_early.content.decode()


def test_nothing_is_picked_of_an_audit_without_an_open_window(run: Run, ada: User) -> None:
    rule = builders.make_audit(run)
    AuditRule.objects.filter(pk=rule.pk).update(state=RuleState.ACTIVE)
    answer = signed_in(ada).post(reverse("web:picks", args=[rule.pk]), {"count": "3"})
    assert answer.status_code == 422
    assert "No rollout of an open window" in answer.content.decode()


def test_a_poll_that_has_seen_it_all_gets_nothing(rule: AuditRule, ada: User, ben: User) -> None:
    client = signed_in(ada)
    url = reverse("web:audit-live", args=[rule.pk])
    part = client.get(url)
    assert part.content.decode().lstrip().startswith('<div id="live"')
    seen = part.context["seen"]
    assert client.get(url, {"seen": seen}).status_code == 204
    answer_next(rule, ben, Answer.CORRECT)
    assert client.get(url, {"seen": seen}).status_code == 200


def test_reviewers_and_their_agreement_are_shown(run: Run, ada: User, ben: User, dan: User) -> None:
    rule, _ = make_disagreement(run, ben, dan)
    page = page_of(ada, rule)
    assert "AC1" in page
    assert "none given" in page


def test_many_windows_cost_the_queries_of_two(rule: AuditRule, ada: User) -> None:
    client, counts = signed_in(ada), []
    for number in (1, 9):
        Window.objects.bulk_create(
            Window(
                rule=rule,
                number=number + more,
                first_step=number + more,
                last_step=number + more,
                state=WindowState.CLOSED,
                frame_size=4,
            )
            for more in range(number)
        )
        with CaptureQueriesContext(connection) as queries:
            client.get(reverse("web:audit", args=[rule.pk]))
        counts.append(len(queries))
    assert counts[0] == counts[1]
