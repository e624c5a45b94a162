"""Known answers mixed in: who is paused by them, who is told, and from where the count goes on."""

import pytest

from review.accounts.models import Project, Role, User
from review.flows import labels
from review.labeling.errors import PausedError
from review.labeling.known_answers import gold_score, pauses_in
from review.labeling.models import Answer, Assignment, Cause, Pause, Queue
from review.labeling.services.known_answers import mark_gold
from review.labeling.services.leases import take_next
from review.labeling.services.pauses import LEAST_GOLD, lift_pause
from tests import builders
from tests.labeling import items

pytestmark = pytest.mark.django_db


def make_queue(project: Project, **changes: object) -> Queue:
    """Every third item is a known answer: it is correct."""
    run = builders.make_stored_run(project, groups=16)
    for rollout in run.rollouts.filter(step=2)[:24]:
        mark_gold(rollout=rollout, answer=Answer.CORRECT, actor="ada")
    rule = builders.open_audit(run, budget=24, waves=1, gold_share=0.5, last_step=1)
    Queue.objects.filter(pk=rule.queue.pk).update(**{"gold_mark": 0.7} | changes)
    return Queue.objects.get(pk=rule.queue.pk)


@pytest.fixture
def queue(project: Project) -> Queue:
    return make_queue(project)


def answer_gold(queue: Queue, reviewer: User, answer: Answer, *, times: int) -> None:
    """Answer known items alone; what was drawn is passed over."""
    Assignment.objects.filter(queue=queue, cause=Cause.DRAW, state="open").update(state="skipped")
    for _ in range(times):
        items.commit(items.take(queue, reviewer), reviewer, answer)


def test_whoever_is_surely_under_the_mark_is_paused_once(queue: Queue, ben: User) -> None:
    answer_gold(queue, ben, Answer.INCORRECT, times=LEAST_GOLD - 1)
    assert not Pause.objects.exists()
    answer_gold(queue, ben, Answer.INCORRECT, times=1)
    (pause,) = pauses_in(Queue.objects.all())
    assert (pause.reviewer, pause.reason) == (ben, "0 of 5 known answers right, mark 70 %")
    with pytest.raises(PausedError):
        take_next(queue=queue, reviewer=ben)
    assert not Assignment.objects.filter(state="leased").exists()


def test_whoever_may_be_over_the_mark_is_not_paused(queue: Queue, ben: User) -> None:
    # 3 of 6: the interval reaches to 81 %.
    answer_gold(queue, ben, Answer.CORRECT, times=3)
    answer_gold(queue, ben, Answer.INCORRECT, times=3)
    assert gold_score(queue, ben) == (3, 6)
    assert not Pause.objects.exists()


def test_not_being_able_to_tell_is_no_wrong_answer(queue: Queue, ben: User) -> None:
    answer_gold(queue, ben, Answer.CANNOT_TELL, times=8)
    assert gold_score(queue, ben) == (0, 0)
    assert not Pause.objects.exists()


def test_nobody_is_paused_without_a_mark(project: Project, ben: User) -> None:
    queue = make_queue(project, gold_mark=None)
    answer_gold(queue, ben, Answer.INCORRECT, times=8)
    assert not Pause.objects.exists()


def test_others_go_on(project: Project, queue: Queue, ben: User) -> None:
    eve = builders.make_user(project, Role.REVIEWER, name="eve")
    answer_gold(queue, ben, Answer.INCORRECT, times=LEAST_GOLD)
    assert take_next(queue=queue, reviewer=eve)


def test_once_lifted_the_count_starts_anew(queue: Queue, ben: User) -> None:
    answer_gold(queue, ben, Answer.INCORRECT, times=LEAST_GOLD)
    lift_pause(pause=Pause.objects.get(), actor="ada")
    assert gold_score(queue, ben) == (0, 0)
    answer_gold(queue, ben, Answer.INCORRECT, times=LEAST_GOLD - 1)
    assert not pauses_in(Queue.objects.all())
    answer_gold(queue, ben, Answer.INCORRECT, times=1)
    assert Pause.objects.count() == 2
    assert Pause.objects.filter(lifted_by="ada").count() == 1


def test_whoever_is_paused_cannot_take_the_last_label_back(queue: Queue, ben: User) -> None:
    answer_gold(queue, ben, Answer.INCORRECT, times=LEAST_GOLD)
    with pytest.raises(PausedError):
        labels.retract_label(queue=queue, reviewer=ben)


def test_practice_items_are_never_mixed_in(project: Project) -> None:
    run = builders.make_stored_run(project, groups=8)
    for rollout in run.rollouts.filter(step=2)[:8]:
        mark_gold(rollout=rollout, answer=Answer.CORRECT, is_practice=True, actor="ada")
    builders.open_audit(run, budget=8, waves=1, gold_share=0.5, last_step=1)
    assert not Assignment.objects.filter(cause=Cause.GOLD).exists()
