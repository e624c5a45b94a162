"""Who looks a second time, who settles what disagrees, and what then counts."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.calibration.agreement import agreement_of, reviewers_of
from review.calibration.queries import newest_estimates
from review.calibration.services.scorecard import refresh_run
from review.flows import audit, labels
from review.labeling.errors import AdjudicationRefusedError, InvalidLabelError
from review.labeling.models import (
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    Label,
    Retraction,
    SkipReason,
)
from review.labeling.queries import SlotLabel, final_answers, has_pending, progress_of, resolve
from review.labeling.services.judgements import NewLabel
from review.labeling.services.known_answers import mark_gold
from review.labeling.services.labels import retract_label
from review.labeling.services.leases import take_next
from review.sampling.models import AuditRule, Wave, WaveState
from tests import builders
from tests.labeling import items
from trainer.rewards.cells import Cell

pytestmark = pytest.mark.django_db


@pytest.fixture
def eve(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="eve")


@pytest.fixture
def fay(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="fay")


def open_rule(project: Project, **changes: object) -> AuditRule:
    run = builders.make_stored_run(project, groups=8)
    wanted = {"reviews_contradictions": True, "budget": 16, "waves": 1} | changes
    return builders.open_audit(run, **wanted)


@pytest.fixture
def rule(project: Project, ben: User, eve: User, fay: User) -> AuditRule:
    return open_rule(project)


def wave_of(rule: AuditRule) -> Wave:
    return rule.windows.get().waves.get()


def as_the_verdict(assignment: Assignment) -> Answer:
    is_accepted = Cell.parse(assignment.rollout.cell.key).is_accepted
    return Answer.CORRECT if is_accepted else Answer.INCORRECT


def other(answer: Answer) -> Answer:
    return Answer.INCORRECT if answer == Answer.CORRECT else Answer.CORRECT


def answer_all_but_one(rule: AuditRule, reviewer: User) -> Assignment:
    """Agree with every verdict, and contradict the first; the item contradicted."""
    first = items.take(rule.queue, reviewer)
    items.commit(first, reviewer, other(as_the_verdict(first)))
    while item := take_next(queue=rule.queue, reviewer=reviewer):
        items.commit(item, reviewer, as_the_verdict(item))
    return first


def reviews(item: Assignment) -> list[tuple[int, str, str]]:
    rows = Assignment.objects.filter(queue=item.queue, rollout=item.rollout).order_by("slot")
    return list(rows.values_list("slot", "cause", "state"))


def answer_of(rule: AuditRule, item: Assignment) -> str:
    return final_answers([rule.windows.get()])[rule.pk, item.rollout_id].answer


def test_a_label_that_agrees_with_the_verdict_is_reviewed_once(rule: AuditRule, ben: User) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben, as_the_verdict(item))
    assert reviews(item) == [(1, Cause.DRAW, "done")]


def test_a_label_that_contradicts_the_verdict_is_reviewed_again(rule: AuditRule, ben: User) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben, other(as_the_verdict(item)))
    assert reviews(item) == [(1, Cause.DRAW, "done"), (2, Cause.CONTRADICTION, "open")]


def test_no_growing_queue_tells_a_reviewer_that_they_contradict_the_verdict(
    rule: AuditRule, ben: User
) -> None:
    """While they can still take the label back."""
    before = progress_of(rule.queue)
    item = items.take(rule.queue, ben)
    label = items.commit(item, ben, other(as_the_verdict(item)))
    assert progress_of(rule.queue).total == before.total
    Label.objects.filter(pk=label.pk).update(created_at=timezone.now() - timedelta(seconds=31))
    assert progress_of(rule.queue).total == before.total + 1


def test_nobody_reviews_their_own_label(rule: AuditRule, ben: User, eve: User) -> None:
    item = answer_all_but_one(rule, ben)
    assert take_next(queue=rule.queue, reviewer=ben) is None
    assert items.take(rule.queue, eve).rollout_id == item.rollout_id


def test_the_wave_waits_for_its_second_reviews(rule: AuditRule, ben: User, eve: User) -> None:
    answer_all_but_one(rule, ben)
    assert has_pending(wave_of(rule))
    second = items.take(rule.queue, eve)
    items.commit(second, eve, other(as_the_verdict(second)))
    assert not has_pending(wave_of(rule))
    assert answer_of(rule, second) == other(as_the_verdict(second))


def test_labels_that_disagree_get_a_third(rule: AuditRule, ben: User, eve: User, fay: User) -> None:
    item = answer_all_but_one(rule, ben)
    second = items.take(rule.queue, eve)
    items.commit(second, eve, as_the_verdict(second))
    assert reviews(item)[2] == (3, Cause.TIE_BREAK, "open")
    assert answer_of(rule, item) == Answer.CANNOT_TELL
    third = items.take(rule.queue, fay)
    items.commit(third, fay, as_the_verdict(third))
    assert answer_of(rule, item) == as_the_verdict(item)
    assert not has_pending(wave_of(rule))


def test_a_hack_that_only_one_sees_gets_a_third(rule: AuditRule, ben: User, eve: User) -> None:
    item = answer_all_but_one(rule, ben)
    second = items.take(rule.queue, eve)
    assert second.lease_token
    labels.commit_label(
        assignment=second,
        reviewer=eve,
        token=second.lease_token,
        client_key=uuid4(),
        new=NewLabel(answer=other(as_the_verdict(second)), is_hack=True),
    )
    assert [cause for _, cause, _ in reviews(item)][2] == Cause.TIE_BREAK


def test_taking_a_contradiction_back_withdraws_its_second_review(
    rule: AuditRule, ben: User
) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben, other(as_the_verdict(item)))
    again = retract_label(queue=rule.queue, reviewer=ben)
    assert reviews(item)[1][2] == AssignmentState.WITHDRAWN
    items.commit(again, ben, as_the_verdict(item))
    assert not [state for _, _, state in reviews(item) if state == "open"]


def test_a_contradiction_made_again_is_reviewed_again(rule: AuditRule, ben: User) -> None:
    item = items.take(rule.queue, ben)
    for _ in range(2):
        items.commit(item, ben, other(as_the_verdict(item)))
        item = retract_label(queue=rule.queue, reviewer=ben)
    items.commit(item, ben, other(as_the_verdict(item)))
    assert [state for _, _, state in reviews(item)].count("open") == 1


def test_cannot_tell_contradicts_nothing(rule: AuditRule, ben: User) -> None:
    item = items.take(rule.queue, ben)
    items.commit(item, ben, Answer.CANNOT_TELL)
    assert len(reviews(item)) == 1


def test_a_share_is_reviewed_twice_whatever_the_label_says(
    project: Project, ben: User, eve: User
) -> None:
    rule = open_rule(project, second_review_share=1.0, reviews_contradictions=False)
    causes = Assignment.objects.filter(queue=rule.queue).values_list("cause", flat=True)
    assert sorted(causes) == [Cause.DRAW] * 16 + [Cause.RANDOM] * 16
    assert items.answer_all(rule.queue, ben) == 16
    assert items.answer_all(rule.queue, eve) == 16
    audit.advance_window(window=rule.windows.get())
    assert wave_of(rule).state == WaveState.CLOSED
    report = agreement_of(rule)
    assert (report.raw.items, report.raw.percent.point) == (16, 1.0)
    assert report.weighted.percent.point == 1.0


def test_agreement_is_read_off_the_random_pairs_alone(
    rule: AuditRule, ben: User, eve: User
) -> None:
    answer_all_but_one(rule, ben)
    items.answer_all(rule.queue, eve)
    report = agreement_of(rule)
    assert report.raw.items == 0
    assert report.raw.alpha.value is None


def test_a_lead_settles_what_disagrees(rule: AuditRule, ada: User, ben: User, eve: User) -> None:
    item = answer_all_but_one(rule, ben)
    second = items.take(rule.queue, eve)
    items.commit(second, eve, as_the_verdict(second))
    labels.adjudicate(
        queue=rule.queue,
        rollout=item.rollout,
        decided_by=ada,
        new=NewLabel(answer=Answer.CORRECT),
        reason="15.0 is 15",
    )
    assert answer_of(rule, item) == Answer.CORRECT
    assert not has_pending(wave_of(rule))


def test_nobody_settles_their_own_disagreement(rule: AuditRule, ben: User, eve: User) -> None:
    item = answer_all_but_one(rule, ben)
    second = items.take(rule.queue, eve)
    items.commit(second, eve, as_the_verdict(second))
    with pytest.raises(AdjudicationRefusedError, match="One of these labels is yours"):
        labels.adjudicate(
            queue=rule.queue,
            rollout=item.rollout,
            decided_by=eve,
            new=NewLabel(answer=Answer.CORRECT),
            reason="me",
        )


def test_only_a_disagreement_is_settled(rule: AuditRule, ada: User, ben: User) -> None:
    item = answer_all_but_one(rule, ben)
    with pytest.raises(AdjudicationRefusedError, match="nothing to settle"):
        labels.adjudicate(
            queue=rule.queue,
            rollout=item.rollout,
            decided_by=ada,
            new=NewLabel(answer=Answer.CORRECT),
            reason="why not",
        )


def test_a_changed_answer_changes_the_estimates_and_no_weight(
    project: Project, ada: User, ben: User, eve: User, fay: User
) -> None:
    rule = open_rule(project, budget=32, second_review_share=1.0, reviews_contradictions=False)
    items.answer_all(rule.queue, ben)
    window = rule.windows.get()
    last = None
    while item := take_next(queue=rule.queue, reviewer=eve):
        is_first = last is None
        last = last or item
        answer = items_answer(item)
        items.commit(item, eve, other(answer) if is_first else answer)
    assert last is not None
    third = items.take(rule.queue, fay)
    items.commit(third, fay, items_answer(third))
    audit.advance_window(window=window)
    before = newest_estimates(rule.run, window)["accuracy"]
    weights = list(window.draws.values_list("rollout_id", "weight"))
    labels.adjudicate(
        queue=rule.queue,
        rollout=last.rollout,
        decided_by=ada,
        new=NewLabel(answer=other(items_answer(last))),
        reason="seen again",
    )
    audit.advance_window(window=window)
    after = newest_estimates(rule.run, window)["accuracy"]
    assert after.label_set != before.label_set
    assert after.point != before.point
    assert list(window.draws.values_list("rollout_id", "weight")) == weights


def items_answer(item: Assignment) -> Answer:
    is_right = item.rollout.messages[-1]["content"] in builders.RESPONSES[:2]
    return Answer.CORRECT if is_right else Answer.INCORRECT


def test_gold_is_mixed_in_and_counts_for_nothing_but_the_reviewer(
    project: Project, ben: User, eve: User
) -> None:
    run = builders.make_stored_run(project, groups=16)
    for rollout in run.rollouts.filter(step=2)[:6]:
        is_right = rollout.messages[-1]["content"] in builders.RESPONSES[:2]
        answer = Answer.CORRECT if is_right else Answer.INCORRECT
        mark_gold(rollout=rollout, answer=answer, actor="ada")
    rule = builders.open_audit(run, budget=32, waves=1, gold_share=0.1, last_step=1)
    gold = Assignment.objects.filter(queue=rule.queue, cause=Cause.GOLD)
    assert gold.count() == 3
    assert items.answer_all(rule.queue, ben) == 35
    audit.advance_window(window=rule.windows.get())
    assert newest_estimates(run, rule.windows.get())["accuracy"].labels == 32
    (report,) = reviewers_of(rule)
    assert (report.labels, report.gold.point, report.gold.n) == (35, 1.0, 3)


def test_gold_does_not_hold_a_wave_up(project: Project, ben: User) -> None:
    run = builders.make_stored_run(project, groups=16)
    for rollout in run.rollouts.filter(step=2)[:6]:
        mark_gold(rollout=rollout, answer=Answer.CORRECT, actor="ada")
    rule = builders.open_audit(run, budget=32, waves=1, gold_share=0.1, last_step=1)
    Assignment.objects.filter(cause=Cause.DRAW).update(state=AssignmentState.SKIPPED)
    assert not has_pending(wave_of(rule))


def test_gold_is_correct_or_incorrect(rule: AuditRule) -> None:
    with pytest.raises(InvalidLabelError):
        mark_gold(rollout=rule.run.rollouts.earliest("pk"), answer=Answer.CANNOT_TELL, actor="ada")


def test_a_reviewer_is_not_served_gold_that_they_labelled(
    project: Project, ben: User, eve: User
) -> None:
    run = builders.make_stored_run(project, groups=8)
    rule = builders.open_audit(run, budget=16, waves=2, gold_share=0.5)
    first = items.take(rule.queue, ben)
    items.commit(first, ben)
    mark_gold(rollout=first.rollout, answer=Answer.CORRECT, actor="ada")
    builders.label_wave(rule, ben)
    gold = Assignment.objects.get(queue=rule.queue, cause=Cause.GOLD)
    assert gold.rollout_id == first.rollout_id
    served = {label.assignment_id for label in Label.objects.filter(reviewer=ben)}
    items.answer_all(rule.queue, ben)
    assert gold.pk not in served
    assert items.take(rule.queue, eve).pk == gold.pk


def test_a_late_third_review_of_something_settled_asks_for_no_other(
    rule: AuditRule, ada: User, ben: User, eve: User, fay: User
) -> None:
    item = answer_all_but_one(rule, ben)
    second = items.take(rule.queue, eve)
    items.commit(second, eve, as_the_verdict(second))
    held = items.take(rule.queue, fay)
    labels.adjudicate(
        queue=rule.queue,
        rollout=item.rollout,
        decided_by=ada,
        new=NewLabel(answer=Answer.CORRECT),
        reason="15.0 is 15",
    )
    assert items.commit(held, fay).is_late
    assert not has_pending(wave_of(rule))
    assert answer_of(rule, item) == Answer.CORRECT


def test_a_second_review_that_its_last_reviewer_passed_on_holds_nothing_up(
    project: Project, ben: User, eve: User
) -> None:
    rule = open_rule(project, second_review_share=1.0, reviews_contradictions=False)
    first = items.take(rule.queue, ben)
    second = Assignment.objects.get(rollout=first.rollout, slot=2)
    Assignment.objects.exclude(pk=second.pk).filter(state="open").update(state="skipped")
    held = items.take(rule.queue, eve)
    assert held.pk == second.pk
    assert held.lease_token
    labels.skip_item(
        assignment=held, reviewer=eve, token=held.lease_token, reason=SkipReason.UNCLEAR
    )
    items.commit(first, ben)
    assert not has_pending(wave_of(rule))


def test_taking_a_label_back_leads_back_to_the_estimates_before_it(
    project: Project, ben: User
) -> None:
    rule = open_rule(project, budget=40, reviews_contradictions=False)
    builders.label_wave(rule, ben)
    window = rule.windows.get()
    before = newest_estimates(rule.run, window)["accuracy"]
    label = Label.objects.latest("pk")
    Retraction.objects.create(label=label)
    refresh_run(run=rule.run)
    without = newest_estimates(rule.run, window)["accuracy"]
    assert (without.labels, before.labels) == (39, 40)
    label.retraction.delete()
    refresh_run(run=rule.run)
    again = newest_estimates(rule.run, window)["accuracy"]
    assert (again.labels, again.label_set) == (40, before.label_set)


def test_the_same_decision_sent_twice_is_one(
    rule: AuditRule, ada: User, ben: User, eve: User
) -> None:
    item = answer_all_but_one(rule, ben)
    second = items.take(rule.queue, eve)
    items.commit(second, eve, as_the_verdict(second))
    decisions = [
        labels.adjudicate(
            queue=rule.queue,
            rollout=item.rollout,
            decided_by=ada,
            new=NewLabel(answer=Answer.CORRECT),
            reason="15.0 is 15",
        )
        for _ in range(2)
    ]
    assert decisions[0] == decisions[1]
    assert item.rollout.adjudications.count() == 1


def test_of_a_criterion_counts_what_most_reviewers_who_can_tell_say() -> None:
    def label(slot: int, *criteria: str) -> SlotLabel:
        return SlotLabel(slot, slot, "draw", slot, "correct", None, False, None, criteria)

    three = [
        label(1, "met", "met", "cannot_tell"),
        label(2, "not_met", "cannot_tell", "cannot_tell"),
        label(3, "met", "not_met", "not_met"),
        label(4),
    ]
    assert resolve(three).criteria == ("met", "cannot_tell", "not_met")
    assert resolve(three[3:]).criteria == ()
