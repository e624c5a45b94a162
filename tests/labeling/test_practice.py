"""Practice before the first real item: asked by chance, passed or failed, and no label."""

import pytest

from review.accounts.models import Project, User
from review.labeling.errors import NotQualifiedError, PracticeRefusedError
from review.labeling.known_answers import MOST_ATTEMPTS, practice_of, trainees_of
from review.labeling.models import Answer, GoldItem, Label, PracticeAnswer, Qualification, Queue
from review.labeling.services.known_answers import mark_gold
from review.labeling.services.leases import take_next
from review.labeling.services.practice import answer_practice, let_in
from tests import builders
from tests.labeling import items

pytestmark = pytest.mark.django_db


def make_queue(project: Project, *, practice: int = 8, **changes: object) -> Queue:
    """Of another run of the project are the practice items: all of them are correct."""
    other = builders.make_stored_run(project, groups=4)
    for rollout in other.rollouts.all()[:practice]:
        mark_gold(rollout=rollout, answer=Answer.CORRECT, is_practice=True, actor="ada")
    queue = items.open_queue(project)
    Queue.objects.filter(pk=queue.pk).update(**{"practice_size": 5, "pass_mark": 0.8} | changes)
    return Queue.objects.get(pk=queue.pk)


@pytest.fixture
def queue(project: Project) -> Queue:
    return make_queue(project)


def practise(queue: Queue, reviewer: User, *, right: int, wrong: int) -> list[GoldItem]:
    asked = []
    for answer in [Answer.CORRECT] * right + [Answer.INCORRECT] * wrong:
        theirs = practice_of(queue, reviewer)
        assert theirs.next
        asked.append(theirs.next)
        answer_practice(
            queue=queue,
            reviewer=reviewer,
            gold=theirs.next,
            attempt=theirs.current.number,
            answer=answer,
        )
    return asked


def test_nobody_is_served_before_they_have_passed(queue: Queue, ben: User) -> None:
    with pytest.raises(NotQualifiedError):
        take_next(queue=queue, reviewer=ben)
    practise(queue, ben, right=4, wrong=1)
    assert Qualification.objects.get().granted_by == "practice"
    assert take_next(queue=queue, reviewer=ben)


def test_too_few_right_is_not_enough(queue: Queue, ben: User) -> None:
    practise(queue, ben, right=3, wrong=2)
    with pytest.raises(NotQualifiedError):
        take_next(queue=queue, reviewer=ben)
    assert practice_of(queue, ben).current.number == 2


def test_practice_is_no_label(queue: Queue, ben: User) -> None:
    practise(queue, ben, right=4, wrong=1)
    assert not Label.objects.exists()


def test_an_attempt_asks_each_item_once_and_the_next_one_what_was_not_shown(
    queue: Queue, ben: User
) -> None:
    first = practise(queue, ben, right=0, wrong=5)
    second = practise(queue, ben, right=0, wrong=5)
    assert len(set(first)) == len(set(second)) == 5
    assert len(set(first) | set(second)) == 8


def test_what_is_asked_does_not_change_with_a_reload_and_differs_by_person(
    project: Project, queue: Queue, ben: User
) -> None:
    assert len({practice_of(queue, ben).next for _ in range(3)}) == 1
    people = [builders.make_user(project) for _ in range(20)]
    assert len({practice_of(queue, each).next for each in people}) > 1


def test_after_three_attempts_only_a_lead_lets_them_in(queue: Queue, ben: User, ada: User) -> None:
    for _ in range(MOST_ATTEMPTS):
        practise(queue, ben, right=0, wrong=5)
    theirs = practice_of(queue, ben)
    assert theirs.is_used_up
    assert theirs.next is None
    (trainee,) = trainees_of(queue)
    assert (trainee.scores, trainee.qualification) == ([(0, 5)] * 3, None)
    let_in(queue=queue, reviewer=ben, actor=ada)
    assert trainees_of(queue)[0].qualification
    assert take_next(queue=queue, reviewer=ben)


def test_only_what_is_asked_now_can_be_answered_and_only_once(queue: Queue, ben: User) -> None:
    now = practice_of(queue, ben).next
    assert now
    other = GoldItem.objects.exclude(pk=now.pk).earliest("pk")
    for gold, attempt in ((other, 1), (now, 2)):
        with pytest.raises(PracticeRefusedError):
            answer_practice(
                queue=queue, reviewer=ben, gold=gold, attempt=attempt, answer=Answer.CORRECT
            )
    answers = [
        answer_practice(queue=queue, reviewer=ben, gold=now, attempt=1, answer=answer)
        for answer in (Answer.INCORRECT, Answer.CORRECT)
    ]
    assert answers[0] == answers[1]
    assert not PracticeAnswer.objects.get().is_right


def test_with_too_few_items_nothing_is_left_to_ask(project: Project, ben: User) -> None:
    queue = make_queue(project, practice=2)
    practise(queue, ben, right=2, wrong=0)
    assert practice_of(queue, ben).next is None
    assert not Qualification.objects.exists()
