"""The audit page: how far it is, and what a lead does there."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from review.accounts.models import Project, Role, User
from review.flows import audit, labels
from review.labeling.models import Answer, Assignment, Pause, Queue, SkipReason
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
    # The second review of it comes next: it takes the first one's place.
    Assignment.objects.filter(pk=first.pk).update(rank=10_000)
    second = Assignment.objects.filter(queue=rule.queue, rollout=first.rollout, slot=2)
    second.update(rank=first.rank)
    later = answer_next(rule, dan, Answer.INCORRECT, is_hack=True)
    assert later.rollout_id == first.rollout_id
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


def test_a_disagreement_leads_to_its_decision_and_to_its_history(
    run: Run, ada: User, ben: User, dan: User
) -> None:
    rule, item = make_disagreement(run, ben, dan)
    page = page_of(ada, rule)
    assert "Disagreements to settle" in page
    assert "ben: correct" in page
    assert "dan: incorrect, hack" in page
    assert reverse("web:adjudication", args=[item.pk]) in page
    assert reverse("web:rollout", args=[run.pk, item.rollout_id]) in page


def test_what_was_given_up_is_listed_with_its_reasons(
    rule: AuditRule, ada: User, ben: User, dan: User
) -> None:
    for reviewer in (ben, dan):
        item = take_next(queue=rule.queue, reviewer=reviewer)
        assert item
        assert item.lease_token
        labels.skip_item(
            assignment=item, reviewer=reviewer, token=item.lease_token, reason=SkipReason.BROKEN
        )
    page = page_of(ada, rule)
    assert "Given up" in page
    assert "dan: The page does not show it properly" in page
    assert reverse("web:rollout", args=[rule.run_id, item.rollout_id]) in page


def test_a_pause_is_told_and_lifted(rule: AuditRule, ada: User, ben: User) -> None:
    Queue.objects.filter(rule=rule).update(gold_mark=0.8)
    pause = Pause.objects.create(queue=rule.queue, reviewer=ben, reason="0 of 5 right")
    assert "ben is paused" in page_of(ada, rule).replace("<strong>", "")
    home = signed_in(ada).get(reverse("web:home")).content.decode()
    assert reverse("web:audit", args=[rule.pk]) in home
    url = reverse("web:pause-lift", args=[pause.pk])
    assert signed_in(ben).post(url).status_code == 404
    assert signed_in(ada).post(url).status_code == 302
    assert "is paused" not in page_of(ada, rule)


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
