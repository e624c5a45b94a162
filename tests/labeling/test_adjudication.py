"""What waits for an adjudicator, who decides, and what happens when two decide at once."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.flows import labels
from review.labeling.adjudications import case_of, waiting_for
from review.labeling.errors import AdjudicationRefusedError, StaleDecisionError
from review.labeling.models import (
    Adjudication,
    Answer,
    Assignment,
    Label,
    Objection,
    Queue,
    Reveal,
)
from review.labeling.queries import final_answers
from review.labeling.services.judgements import NewLabel
from review.rollouts.models import Rollout
from review.rollouts.services import set_steps
from tests import builders
from tests.labeling import items
from tests.labeling.test_races import at_once

pytestmark = pytest.mark.django_db


@pytest.fixture
def eve(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="eve")


@pytest.fixture
def kim(project: Project) -> User:
    return builders.make_user(project, Role.ADJUDICATOR, name="kim")


@pytest.fixture
def queue(project: Project, ben: User, eve: User) -> Queue:
    """Everything in it is reviewed twice, and only twice."""
    run = builders.make_stored_run(project, groups=8)
    rule = builders.open_audit(run, budget=16, waves=1, second_review_share=1.0)
    return rule.queue


def both_label(queue: Queue, ben: User, eve: User, *, times: int = 1) -> list[Rollout]:
    """Rollouts that ben calls correct and eve incorrect; no third review is left of them."""
    return [_disagree(queue, ben, eve) for _ in range(times)]


def _disagree(queue: Queue, ben: User, eve: User) -> Rollout:
    first = items.take(queue, ben)
    items.commit(first, ben)
    second = Assignment.objects.get(queue=queue, rollout=first.rollout, slot=2)
    Assignment.objects.filter(queue=queue, state="open").exclude(pk=second.pk).update(
        state="skipped"
    )
    items.commit(items.take(queue, eve), eve, Answer.INCORRECT)
    Assignment.objects.filter(queue=queue, slot=3, state="open").update(state="withdrawn")
    Assignment.objects.filter(queue=queue, state="skipped").update(state="open")
    return first.rollout


def decide(
    queue: Queue, rollout: Rollout, kim: User, answer: Answer = Answer.CORRECT, **changes: Any
) -> Adjudication:
    said: dict[str, Any] = {"new": NewLabel(answer=answer), "reason": "15.0 is 15"} | changes
    return labels.adjudicate(queue=queue, rollout=rollout, decided_by=kim, **said)


def rollouts_waiting(user: User, project: Project) -> list[int]:
    return [row.rollout_id for row in waiting_for(user, project)]


def test_what_disagrees_waits_oldest_first(
    project: Project, queue: Queue, ben: User, eve: User, kim: User
) -> None:
    found = both_label(queue, ben, eve, times=2)
    assert rollouts_waiting(kim, project) == [rollout.pk for rollout in found]
    decide(queue, found[0], kim)
    assert rollouts_waiting(kim, project) == [found[1].pk]


def test_a_third_review_to_come_is_waited_for(
    project: Project, queue: Queue, ben: User, eve: User, kim: User
) -> None:
    (found,) = both_label(queue, ben, eve)
    Assignment.objects.filter(rollout=found, slot=3).update(state="open")
    assert rollouts_waiting(kim, project) == []


def test_what_most_of_three_labels_say_needs_no_decision(
    project: Project, queue: Queue, ben: User, eve: User, kim: User
) -> None:
    (found,) = both_label(queue, ben, eve)
    assert case_of(queue, found).needs_decision
    third = builders.make_user(project, Role.REVIEWER, name="zoe")
    Assignment.objects.filter(queue=queue, state="open").update(state="skipped")
    Assignment.objects.filter(rollout=found, slot=3).update(state="open")
    items.commit(items.take(queue, third), third)
    assert not case_of(queue, found).needs_decision
    assert rollouts_waiting(kim, project) == []


def test_nobody_is_asked_about_their_own_label(
    project: Project, queue: Queue, ben: User, eve: User
) -> None:
    both_label(queue, ben, eve)
    assert rollouts_waiting(ben, project) == []
    assert rollouts_waiting(eve, project) == []


def test_whoever_came_too_late_to_count_is_no_judge_either(
    queue: Queue, ben: User, eve: User, kim: User
) -> None:
    (found,) = both_label(queue, ben, eve)
    late = Label.objects.get(assignment__rollout=found, reviewer=eve)
    Label.objects.create(
        assignment=late.assignment,
        reviewer=kim,
        client_key="9c1f0d0e-0000-4000-8000-000000000001",
        answer=Answer.CORRECT,
        is_late=True,
    )
    with pytest.raises(AdjudicationRefusedError, match="yours"):
        decide(queue, found, kim)


def test_a_purged_text_is_not_to_be_judged(
    project: Project, queue: Queue, ben: User, eve: User, kim: User
) -> None:
    (found,) = both_label(queue, ben, eve)
    Rollout.objects.filter(pk=found.pk).update(purged_at=timezone.now())
    assert rollouts_waiting(kim, project) == []


def test_a_change_of_mind_waits_and_the_blind_label_counts_until_it_is_decided(
    project: Project, queue: Queue, ben: User, kim: User
) -> None:
    item = items.take(queue, ben)
    label = items.commit(item, ben)
    Reveal.objects.create(label=label)
    Objection.objects.create(label=label, note="it is 16 after all")
    (row,) = waiting_for(kim, project)
    assert (row.rollout_id, row.is_objected) == (item.rollout_id, True)
    window = queue.rule.windows.get()
    key = (queue.rule.pk, item.rollout_id)
    assert final_answers([window])[key].answer == Answer.CORRECT
    decide(queue, item.rollout, kim, Answer.INCORRECT)
    assert final_answers([window])[key].answer == Answer.INCORRECT
    assert waiting_for(kim, project) == []


def test_a_change_of_mind_after_a_decision_waits_again(
    project: Project, queue: Queue, ben: User, eve: User, kim: User
) -> None:
    (found,) = both_label(queue, ben, eve)
    decide(queue, found, kim)
    label = Label.objects.get(assignment__rollout=found, reviewer=ben)
    Objection.objects.create(label=label, note="no")
    assert rollouts_waiting(kim, project) == [found.pk]
    decide(queue, found, kim, Answer.INCORRECT)
    assert rollouts_waiting(kim, project) == []


def test_a_decision_stands_unless_whoever_replaces_it_has_seen_it(
    queue: Queue, ben: User, eve: User, kim: User, ada: User
) -> None:
    (found,) = both_label(queue, ben, eve)
    decide(queue, found, kim)
    with pytest.raises(StaleDecisionError):
        decide(queue, found, ada, Answer.INCORRECT)
    seen = case_of(queue, found).basis
    decide(queue, found, ada, Answer.INCORRECT, basis=seen)
    assert found.adjudications.count() == 2
    window = queue.rule.windows.get()
    assert final_answers([window])[queue.rule.pk, found.pk].answer == Answer.INCORRECT


def test_a_decision_on_what_has_changed_meanwhile_is_refused(
    queue: Queue, ben: User, eve: User, kim: User, project: Project
) -> None:
    (found,) = both_label(queue, ben, eve)
    seen = case_of(queue, found).basis
    Objection.objects.create(
        label=Label.objects.get(assignment__rollout=found, reviewer=ben), note="no"
    )
    with pytest.raises(StaleDecisionError):
        decide(queue, found, kim, basis=seen)
    assert not Adjudication.objects.exists()


def test_steps_cut_anew_refuse_a_decision_about_the_old_ones(
    queue: Queue, ben: User, eve: User, kim: User
) -> None:
    found = _disagree(queue, ben, eve)
    seen = case_of(queue, found).basis
    message, start, end = found.steps[0]
    set_steps(steps={found.pk: [[message, start, start + 1], [message, start + 1, end]]})
    with pytest.raises(StaleDecisionError):
        decide(queue, found, kim, basis=seen)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("names_basis", [True, False])
def test_of_two_who_decide_at_once_one_stands_and_the_other_is_told(
    project: Project, queue: Queue, ben: User, eve: User, names_basis: bool
) -> None:
    (found,) = both_label(queue, ben, eve)
    judges = [builders.make_user(project, Role.ADJUDICATOR) for _ in range(6)]
    basis = case_of(queue, found).basis if names_basis else None

    def deciding(judge: User) -> bool:
        try:
            decide(queue, found, judge, basis=basis)
        except StaleDecisionError:
            return False
        return True

    assert sorted(at_once(deciding, judges)) == [False] * 5 + [True]
    assert found.adjudications.count() == 1


def test_the_list_costs_as_many_queries_for_four_as_for_two(
    project: Project, queue: Queue, ben: User, eve: User, kim: User
) -> None:
    costs = []
    for _ in range(2):
        both_label(queue, ben, eve, times=2)
        with CaptureQueriesContext(connection) as queries:
            waiting_for(kim, project)
        costs.append(len(queries))
    assert costs[0] == costs[1] == 2
