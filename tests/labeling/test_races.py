"""Many requests at once, on a real PostgreSQL: the rows settle who has what."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections
from django.utils import timezone

from review.accounts.models import Project, Role, User
from review.labeling.errors import UndoRefusedError
from review.labeling.models import Answer, Assignment, AssignmentState, Label, Lease, Queue
from review.labeling.services import labels, leases
from review.labeling.services.judgements import NewLabel
from review.sampling.models import Draw
from tests import builders
from tests.labeling import items

ITEMS = 200
REVIEWERS = 8

Given = TypeVar("Given")
Answered = TypeVar("Answered")


def at_once(work: Callable[[Given], Answered], given: Sequence[Given]) -> list[Answered]:
    """What the work answers for each argument, in a thread with a connection of its own."""

    def alone(argument: Given) -> Answered:
        try:
            return work(argument)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(given)) as threads:
        return list(threads.map(alone, given))


def label_until_empty(queue: Queue, reviewer: User, seed: int) -> list[tuple[UUID, UUID]]:
    """Take and commit, with doubled requests and leases that end too early.

    Each acknowledged commit's assignment and client key.
    """
    chance = random.Random(seed)
    acknowledged = []
    while held := leases.take_next(queue=queue, reviewer=reviewer):
        if chance.random() < 0.2:
            again = leases.take_next(queue=queue, reviewer=reviewer)
            assert again is None or again.pk == held.pk or has_expired(held)
        if chance.random() < 0.2:
            past = timezone.now() - timedelta(seconds=1)
            Assignment.objects.filter(pk=held.pk, lease_token=held.lease_token).update(
                lease_expires_at=past
            )
            if chance.random() < 0.3:
                # Gone for good: whoever takes next gets the item.
                continue
        key = uuid4()
        assert held.lease_token is not None
        for _ in range(chance.choice([1, 1, 2])):
            label, _ = labels.commit_label(
                assignment=held,
                reviewer=reviewer,
                token=held.lease_token,
                client_key=key,
                new=NewLabel(answer=Answer.CORRECT),
            )
            assert label.client_key == key
        acknowledged.append((held.pk, key))
    return acknowledged


def has_expired(assignment: Assignment) -> bool:
    """Whether the lease as it was served has passed on."""
    return not Assignment.objects.filter(
        pk=assignment.pk, lease_token=assignment.lease_token, state=AssignmentState.LEASED
    ).exists()


@pytest.mark.django_db(transaction=True)
def test_no_item_is_served_to_two_lost_or_counted_twice(project: Project) -> None:
    queue = items.open_queue(project, budget=ITEMS, groups=26)
    reviewers = [builders.make_user(project, Role.REVIEWER) for _ in range(REVIEWERS)]

    answers = at_once(
        lambda seed: label_until_empty(queue, reviewers[seed], seed), range(REVIEWERS)
    )
    # What the last one let go of when the others had left.
    label_until_empty(queue, reviewers[0], seed=1000)

    assert Assignment.objects.filter(queue=queue, state=AssignmentState.DONE).count() == ITEMS
    in_time = Counter(Label.objects.filter(is_late=False).values_list("assignment", flat=True))
    assert len(in_time) == ITEMS
    assert set(in_time.values()) == {1}
    stored = set(Label.objects.values_list("assignment", "client_key"))
    assert {row for part in answers for row in part} <= stored
    # Each label is by someone to whom the item was served.
    served = set(Lease.objects.values_list("assignment", "reviewer"))
    assert set(Label.objects.values_list("assignment", "reviewer")) <= served


@pytest.mark.django_db(transaction=True)
def test_a_reviewers_requests_at_once_get_one_lease(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    for _ in range(5):
        taken = at_once(lambda _: leases.take_next(queue=queue, reviewer=ben), range(4))
        assert len({(item.pk, item.lease_token) for item in taken if item}) == 1
        items.commit(items.take(queue, ben), ben)


@pytest.mark.django_db(transaction=True)
def test_of_a_reviewers_undos_at_once_one_is_done(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    items.commit(items.take(queue, ben), ben)

    def undo(_: int) -> bool:
        try:
            labels.retract_label(queue=queue, reviewer=ben)
        except UndoRefusedError:
            return False
        return True

    assert sorted(at_once(undo, range(4))) == [False, False, False, True]


@pytest.mark.django_db(transaction=True)
def test_undo_and_take_at_once_leave_one_lease(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    for _ in range(5):
        items.commit(items.take(queue, ben), ben)
        at_once(
            lambda is_undo: (
                labels.retract_label(queue=queue, reviewer=ben)
                if is_undo
                else leases.take_next(queue=queue, reviewer=ben)
            ),
            [False, True, False],
        )
        assert Assignment.objects.filter(state=AssignmentState.LEASED).count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_same_commit_at_once_is_stored_once(project: Project, ben: User) -> None:
    queue = items.open_queue(project, budget=8, groups=2)
    held, key = items.take(queue, ben), uuid4()

    def commit(_: int) -> tuple[int, bool]:
        assert held.lease_token is not None
        label, is_new = labels.commit_label(
            assignment=held,
            reviewer=ben,
            token=held.lease_token,
            client_key=key,
            new=NewLabel(answer=Answer.CORRECT),
        )
        return label.pk, is_new

    answers = at_once(commit, range(4))
    assert len({pk for pk, _ in answers}) == 1
    assert sum(is_new for _, is_new in answers) == 1
    assert not Label.objects.get().is_late


@pytest.mark.django_db
def test_taking_walks_the_index_of_pending_items(project: Project, ben: User) -> None:
    """No sort, no scan over all items of a queue, and past none of those that are done."""
    queue = items.open_queue(project, budget=8, groups=2)
    draw = Draw.objects.earliest("pk")
    done = {"state": AssignmentState.DONE, "queue": queue, "wave": draw.wave, "draw": draw}
    done["rollout"] = draw.rollout
    Assignment.objects.bulk_create(
        Assignment(slot=k, rank=k, **done | ({"state": AssignmentState.OPEN} if k > 4_000 else {}))
        for k in range(10, 5_010)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE labeling_assignment")
        parameters = {"queue": queue.pk, "reviewer": ben.pk, "token": uuid4(), "seconds": 900}
        cursor.execute(f"EXPLAIN {leases.TAKE_SQL}", parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Index Scan using assignment_pending_by_rank" in plan, plan
    assert "Sort" not in plan
    assert "Seq Scan on labeling_assignment" not in plan
