"""A lead has a rollout asked again: given up or answered, in an open wave or a closed one."""

import pytest

from review.accounts.models import Project, Role, User
from review.calibration.queries import newest_estimates
from review.calibration.services.scorecard import refresh_run
from review.flows import audit, labels
from review.labeling.adjudications import waiting_for
from review.labeling.errors import InvalidLabelError, RequeueRefusedError
from review.labeling.history import Happened, history_of
from review.labeling.models import Answer, Assignment, AssignmentState, Cause, SkipReason
from review.labeling.queries import final_answers, has_pending
from review.labeling.services.labels import retract_label
from review.labeling.services.leases import take_next
from review.labeling.services.requeues import requeue_rollout
from review.rollouts.models import Rollout
from review.sampling.models import AuditRule, WaveState
from tests import builders
from tests.labeling import items

pytestmark = pytest.mark.django_db


@pytest.fixture
def eve(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="eve")


@pytest.fixture
def rule(project: Project, ben: User, eve: User) -> AuditRule:
    run = builders.make_stored_run(project, groups=8)
    return builders.open_audit(run, budget=16, waves=1)


def skip(rule: AuditRule, reviewer: User) -> Rollout:
    item = items.take(rule.queue, reviewer)
    assert item.lease_token
    labels.skip_item(
        assignment=item, reviewer=reviewer, token=item.lease_token, reason=SkipReason.UNCLEAR
    )
    return item.rollout


def ask_again(rule: AuditRule, rollout: Rollout) -> Assignment:
    return requeue_rollout(queue=rule.queue, rollout=rollout, reason="look again", actor="ada")


def states(rollout: Rollout) -> list[tuple[int, str, str]]:
    rows = Assignment.objects.filter(rollout=rollout).order_by("rank")
    return list(rows.values_list("slot", "cause", "state"))


def test_what_was_given_up_is_open_again_and_its_old_skips_are_forgotten(
    rule: AuditRule, ben: User, eve: User
) -> None:
    rollout = skip(rule, ben)
    skip(rule, eve)
    assert states(rollout) == [(1, Cause.DRAW, "skipped")]
    ask_again(rule, rollout)
    assert states(rollout) == [(1, Cause.DRAW, "withdrawn"), (1, Cause.DRAW, "open")]
    items.answer_all(rule.queue, eve)
    assert states(rollout)[1][2] == "done"
    assert not has_pending(rule.windows.get().waves.get())


def test_one_skip_does_not_give_it_up_again(rule: AuditRule, ben: User, eve: User) -> None:
    rollout = skip(rule, ben)
    skip(rule, eve)
    again = ask_again(rule, rollout)
    Assignment.objects.filter(queue=rule.queue, state="open").exclude(pk=again.pk).update(
        state="skipped"
    )
    assert skip(rule, ben) == rollout
    again.refresh_from_db()
    assert again.state == AssignmentState.OPEN


def test_an_answered_one_gets_a_review_by_somebody_else(
    rule: AuditRule, ben: User, eve: User
) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben)
    again = ask_again(rule, item.rollout)
    assert (again.slot, again.cause) == (2, Cause.REQUEUE)
    items.answer_all(rule.queue, ben)
    again.refresh_from_db()
    assert again.state == AssignmentState.OPEN
    assert items.take(rule.queue, eve).pk == again.pk


def test_two_answers_that_differ_go_to_an_adjudicator(
    project: Project, rule: AuditRule, ada: User, ben: User, eve: User
) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben)
    ask_again(rule, item.rollout)
    items.answer_all(rule.queue, ben)
    items.commit(items.take(rule.queue, eve), eve, Answer.INCORRECT)
    key = (rule.pk, item.rollout_id)
    assert final_answers([rule.windows.get()])[key].answer == Answer.CANNOT_TELL
    assert [row.rollout_id for row in waiting_for(ada, project)] == [item.rollout_id]


def test_an_undo_of_the_first_label_leaves_the_review_that_a_lead_asked_for(
    rule: AuditRule, ben: User
) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben)
    again = ask_again(rule, item.rollout)
    retract_label(queue=rule.queue, reviewer=ben)
    again.refresh_from_db()
    assert again.state == AssignmentState.OPEN


def test_after_its_wave_has_closed_an_answer_counts_in_later_estimates(
    rule: AuditRule, ben: User, eve: User
) -> None:
    rollout = skip(rule, ben)
    skip(rule, eve)
    builders.label_wave(rule, ben)
    window = rule.windows.get()
    wave = window.waves.get()
    assert wave.state == WaveState.CLOSED
    before = newest_estimates(rule.run, window)["accuracy"]
    ask_again(rule, rollout)
    audit.advance_window(window=window)
    items.answer_all(rule.queue, ben)
    refresh_run(run=rule.run)
    after = newest_estimates(rule.run, window)["accuracy"]
    assert (before.labels, after.labels) == (15, 16)
    assert after.unanswered_share < before.unanswered_share
    wave.refresh_from_db()
    assert wave.state == WaveState.CLOSED


def test_what_is_still_to_be_answered_or_adjudicated_is_not_asked_again(
    rule: AuditRule, ben: User, eve: User
) -> None:
    item = items.take(rule.queue, ben)
    with pytest.raises(RequeueRefusedError, match="still to come"):
        ask_again(rule, item.rollout)
    items.commit(item, ben)
    ask_again(rule, item.rollout)
    with pytest.raises(RequeueRefusedError, match="still to come"):
        ask_again(rule, item.rollout)


def test_it_is_refused_where_nobody_is_left_to_ask(rule: AuditRule, ben: User, eve: User) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben)
    eve.memberships.all().delete()
    with pytest.raises(RequeueRefusedError, match="Everybody"):
        ask_again(rule, item.rollout)


def test_a_cancelled_wave_is_not_asked_again(rule: AuditRule, ben: User) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben)
    audit.cancel_wave(wave=rule.windows.get().waves.get(), actor="ada")
    with pytest.raises(RequeueRefusedError, match="pick it"):
        ask_again(rule, item.rollout)


def test_a_reason_is_asked_for(rule: AuditRule, ben: User) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben)
    with pytest.raises(InvalidLabelError):
        requeue_rollout(queue=rule.queue, rollout=item.rollout, reason=" ", actor="ada")


def test_history_tells_who_did_what_in_order(rule: AuditRule, ben: User, eve: User) -> None:
    rollout = skip(rule, eve)
    item = items.take(rule.queue, ben)
    assert item.rollout == rollout
    items.commit(item, ben)
    retract_label(queue=rule.queue, reviewer=ben)
    held = take_next(queue=rule.queue, reviewer=ben)
    assert held
    items.commit(held, ben, Answer.INCORRECT)
    ask_again(rule, rollout)
    events = history_of(rollout)
    assert [(event.what, event.who) for event in events] == [
        (Happened.DRAWN, ""),
        (Happened.SERVED, "eve"),
        (Happened.SKIPPED, "eve"),
        (Happened.SERVED, "ben"),
        (Happened.LABELLED, "ben"),
        (Happened.TAKEN_BACK, "ben"),
        (Happened.SERVED, "ben"),
        (Happened.LABELLED, "ben"),
        (Happened.REQUEUED, "ada"),
    ]
    assert events[-1].note == "look again"
    assert events[-1].queue == rule.queue
