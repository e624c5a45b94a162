"""Leases and labels: who holds an item, whose answer counts."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.labeling.errors import InvalidLabelError, KeyReusedError, LeaseLostError
from review.labeling.models import Answer, Assignment, AssignmentState, Label, Queue, SkipReason
from review.labeling.queries import UNDO_SECONDS
from review.labeling.services.judgements import NewLabel
from review.labeling.services.labels import commit_label, skip_item
from review.labeling.services.leases import extend_lease, release_item, take_next
from tests import builders
from tests.labeling import items

CORRECT = NewLabel(answer=Answer.CORRECT)


@pytest.fixture
def queue(project: Project) -> Queue:
    return items.open_queue(project, budget=8, groups=2)


@pytest.fixture
def eve(project: Project) -> User:
    """Reviews too."""
    return builders.make_user(project, Role.REVIEWER, name="eve")


def expire(assignment: Assignment) -> None:
    past = timezone.now() - timedelta(hours=1)
    Assignment.objects.filter(pk=assignment.pk).update(lease_expires_at=past)


def test_items_are_served_in_the_order_of_their_ranks(queue: Queue, ben: User, eve: User) -> None:
    assert [items.take(queue, ben).rank, items.take(queue, eve).rank] == [0, 1]


def test_a_reviewer_who_asks_again_gets_the_item_that_they_hold(queue: Queue, ben: User) -> None:
    first, again = items.take(queue, ben), items.take(queue, ben)
    assert (first.pk, first.lease_token) == (again.pk, again.lease_token)
    assert Assignment.objects.filter(state=AssignmentState.LEASED).count() == 1


def test_a_lease_lasts_as_long_as_the_queue_says(queue: Queue, ben: User) -> None:
    Queue.objects.update(lease_seconds=60)
    queue.refresh_from_db()
    expires_at = items.take(queue, ben).lease_expires_at
    assert expires_at is not None
    assert 50 < (expires_at - timezone.now()).total_seconds() <= 61


def test_an_expired_item_is_served_to_the_next_reviewer(queue: Queue, ben: User, eve: User) -> None:
    held = items.take(queue, ben)
    expire(held)
    taken = items.take(queue, eve)
    assert taken.pk == held.pk
    assert taken.lease_token != held.lease_token


def test_a_late_label_is_kept_but_does_not_count(queue: Queue, ben: User, eve: User) -> None:
    bens = items.take(queue, ben)
    expire(bens)
    eves = items.take(queue, eve)

    late = items.commit(bens, ben, Answer.INCORRECT)
    assert late.is_late
    in_time = items.commit(eves, eve)
    assert not in_time.is_late

    assert Label.objects.filter(assignment=bens).count() == 2
    assert items.counting_labels(bens.wave) == [in_time]


def test_a_label_after_the_other_reviewers_is_late_too(queue: Queue, ben: User, eve: User) -> None:
    bens = items.take(queue, ben)
    expire(bens)
    items.commit(items.take(queue, eve), eve)
    assert items.commit(bens, ben).is_late


def test_an_expired_lease_that_nobody_took_over_still_counts(queue: Queue, ben: User) -> None:
    held = items.take(queue, ben)
    expire(held)
    assert not items.commit(held, ben).is_late


@pytest.mark.parametrize("whose", ["made up", "another reviewer's"])
def test_a_token_that_was_never_ones_own_is_refused(
    queue: Queue, ben: User, eve: User, whose: str
) -> None:
    held = items.take(queue, ben)
    token = held.lease_token if whose == "another reviewer's" else uuid4()
    assert token is not None
    with pytest.raises(LeaseLostError):
        commit_label(assignment=held, reviewer=eve, token=token, client_key=uuid4(), new=CORRECT)
    for call in (extend_lease, release_item):
        with pytest.raises(LeaseLostError):
            call(assignment=held, reviewer=eve, token=token)
    with pytest.raises(LeaseLostError):
        skip_item(assignment=held, reviewer=eve, token=token, reason=SkipReason.OTHER)
    assert not Label.objects.exists()


def test_a_token_is_good_for_its_own_item_only(queue: Queue, ben: User, eve: User) -> None:
    bens, eves = items.take(queue, ben), items.take(queue, eve)
    assert bens.lease_token is not None
    with pytest.raises(LeaseLostError):
        commit_label(
            assignment=eves, reviewer=ben, token=bens.lease_token, client_key=uuid4(), new=CORRECT
        )


def test_the_same_commit_again_answers_the_same_label(queue: Queue, ben: User) -> None:
    held, key = items.take(queue, ben), uuid4()
    assert held.lease_token is not None
    answers = [
        commit_label(
            assignment=held, reviewer=ben, token=held.lease_token, client_key=key, new=CORRECT
        )
        for _ in range(2)
    ]
    assert [is_new for _, is_new in answers] == [True, False]
    assert answers[0][0] == answers[1][0]


def test_a_key_of_another_items_label_is_refused(queue: Queue, ben: User) -> None:
    key = items.commit(items.take(queue, ben), ben).client_key
    held = items.take(queue, ben)
    assert held.lease_token is not None
    with pytest.raises(KeyReusedError):
        commit_label(
            assignment=held, reviewer=ben, token=held.lease_token, client_key=key, new=CORRECT
        )
    assert Label.objects.count() == 1


def test_two_reviewers_may_have_come_to_the_same_key(queue: Queue, ben: User, eve: User) -> None:
    key = items.commit(items.take(queue, ben), ben).client_key
    held = items.take(queue, eve)
    assert held.lease_token is not None
    label, is_new = commit_label(
        assignment=held, reviewer=eve, token=held.lease_token, client_key=key, new=CORRECT
    )
    assert is_new
    assert not label.is_late


@pytest.mark.parametrize(
    "new",
    [
        NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=0),
        NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=1000),
        NewLabel(answer=Answer.INCORRECT, earliest_wrong_step=1, has_no_wrong_step=True),
        NewLabel(answer=Answer.CORRECT, note="n" * 10_001),
    ],
)
def test_a_label_that_contradicts_itself_is_refused(queue: Queue, ben: User, new: NewLabel) -> None:
    held = items.take(queue, ben)
    assert held.lease_token is not None
    with pytest.raises(InvalidLabelError):
        commit_label(
            assignment=held, reviewer=ben, token=held.lease_token, client_key=uuid4(), new=new
        )
    assert items.take(queue, ben).pk == held.pk


def test_a_heartbeat_keeps_the_item(queue: Queue, ben: User, eve: User) -> None:
    held = items.take(queue, ben)
    expire(held)
    assert held.lease_token is not None
    extend_lease(assignment=held, reviewer=ben, token=held.lease_token)
    assert items.take(queue, eve).pk != held.pk


def test_a_heartbeat_does_not_bring_a_lost_item_back(queue: Queue, ben: User, eve: User) -> None:
    held = items.take(queue, ben)
    expire(held)
    items.take(queue, eve)
    assert held.lease_token is not None
    with pytest.raises(LeaseLostError):
        extend_lease(assignment=held, reviewer=ben, token=held.lease_token)


def test_a_released_item_goes_back_to_its_place(queue: Queue, ben: User, eve: User) -> None:
    held = items.take(queue, ben)
    assert held.lease_token is not None
    release_item(assignment=held, reviewer=ben, token=held.lease_token)
    assert items.take(queue, eve).pk == held.pk


def skip(assignment: Assignment, reviewer: User) -> str:
    assert assignment.lease_token is not None
    skip_item(
        assignment=assignment,
        reviewer=reviewer,
        token=assignment.lease_token,
        reason=SkipReason.UNCLEAR,
    )
    assignment.refresh_from_db()
    return assignment.state


def test_a_skipped_item_is_served_to_others_and_given_up_after_two(
    queue: Queue, ben: User, eve: User, project: Project
) -> None:
    fay = builders.make_user(project, Role.REVIEWER)
    held = items.take(queue, ben)
    assert skip(held, ben) == AssignmentState.OPEN
    assert items.take(queue, ben).pk != held.pk
    again = items.take(queue, eve)
    assert again.pk == held.pk
    assert skip(again, eve) == AssignmentState.SKIPPED
    assert items.take(queue, fay).pk != held.pk


def test_the_only_reviewers_skip_gives_an_item_up(queue: Queue, ben: User) -> None:
    assert skip(items.take(queue, ben), ben) == AssignmentState.SKIPPED


def test_a_queue_of_skipped_items_is_empty_for_who_skipped_them(
    queue: Queue, ben: User, eve: User
) -> None:
    while held := take_next(queue=queue, reviewer=ben):
        skip(held, ben)
    assert Assignment.objects.filter(state=AssignmentState.OPEN).count() == 8
    assert items.answer_all(queue, eve) == 8


def test_undo_is_offered_for_half_a_minute() -> None:
    assert UNDO_SECONDS == 30
