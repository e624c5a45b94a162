"""Where a reviewer's take starts: behind all that is not for them, and never behind what is."""

import json
import random
import threading
from collections.abc import Callable

import pytest
from django.db import connection, connections, transaction

from review.accounts.models import Project, Role, User
from review.labeling.errors import UndoRefusedError
from review.labeling.models import (
    Assignment,
    AssignmentState,
    Label,
    Queue,
    Retraction,
    SkipReason,
    Watermark,
)
from review.labeling.services import leases, serving
from review.labeling.services.labels import retract_label, skip_item
from review.labeling.services.leases import peek_next, release_item, take_next
from tests import builders
from tests.labeling import bulk, items
from tests.labeling.race import token_of
from tests.labeling.test_labels import expire

ROLLOUTS = 12


@pytest.fixture
def eve(project: Project) -> User:
    return builders.make_user(project, Role.REVIEWER, name="eve")


@pytest.fixture
def queue(project: Project) -> Queue:
    """Every rollout is reviewed twice."""
    queue = bulk.open_queue(project)
    bulk.make_rollouts(project, ROLLOUTS)
    bulk.fill_queue(queue, ROLLOUTS)
    bulk.fill_queue(queue, ROLLOUTS, slot=2)
    return queue


@pytest.fixture
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every take moves its reviewer's mark."""
    monkeypatch.setattr(leases, "STRIDE", 0)


def left_for(reviewer: User, queue: Queue) -> list[Assignment]:
    """What is open for a reviewer, found by looking at every item."""
    answered = Label.objects.filter(
        reviewer=reviewer, retraction=None, assignment__queue=queue
    ).values_list("assignment", "assignment__rollout")
    rows = Assignment.objects.filter(queue=queue, state=AssignmentState.OPEN)
    return [
        item
        for item in rows.exclude(skips__reviewer=reviewer).order_by("rank")
        if not any(pk != item.pk and rollout == item.rollout_id for pk, rollout in answered)
    ]


def held_by(reviewer: User, queue: Queue) -> Assignment | None:
    return Assignment.objects.filter(
        queue=queue, reviewer=reviewer, state=AssignmentState.LEASED
    ).first()


def take_what_is_left(reviewer: User, queue: Queue) -> Assignment | None:
    """A take, held against a look at every item."""
    own, left = held_by(reviewer, queue), left_for(reviewer, queue)
    ended = {item.pk for item in Assignment.objects.filter(queue=queue) if has_ended(item)}
    taken = take_next(queue=queue, reviewer=reviewer)
    if own:
        assert taken == own
    elif taken is None:
        assert not left
    else:
        assert taken.pk in ended or taken == left[0]
    return taken


def has_ended(item: Assignment) -> bool:
    return item.state == AssignmentState.LEASED and item.lease_expires_at.year == 2000


def end_lease(item: Assignment) -> None:
    Assignment.objects.filter(pk=item.pk).update(lease_expires_at="2000-01-01T00:00Z")


def one_event(chance: random.Random, queue: Queue, reviewer: User) -> None:
    """Something that a reviewer does, or that happens to what they hold."""
    item = take_what_is_left(reviewer, queue)
    if item is None:
        return
    what = chance.choice(["commit", "commit", "commit", "skip", "release", "end", "undo", "open"])
    if what == "commit":
        items.commit(item, reviewer)
    elif what == "skip":
        reason = SkipReason.UNCLEAR
        skip_item(assignment=item, reviewer=reviewer, token=token_of(item), reason=reason)
    elif what == "release":
        release_item(assignment=item, reviewer=reviewer, token=token_of(item))
    elif what == "end":
        end_lease(item)
    elif what == "undo":
        undo(queue, reviewer)
    else:
        Assignment.objects.filter(queue=queue, state=AssignmentState.SKIPPED).update(state="open")


def undo(queue: Queue, reviewer: User) -> None:
    try:
        retract_label(queue=queue, reviewer=reviewer)
    except UndoRefusedError:
        return


@pytest.mark.django_db
@pytest.mark.usefixtures("_eager")
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_nothing_that_is_left_for_somebody_is_missed(
    project: Project, queue: Queue, ben: User, eve: User, seed: int
) -> None:
    chance = random.Random(seed)
    reviewers = [ben, eve, builders.make_user(project, Role.REVIEWER)]
    for _ in range(100):
        one_event(chance, queue, chance.choice(reviewers))
    for _ in range(2):
        for reviewer in reviewers:
            while item := take_what_is_left(reviewer, queue):
                items.commit(item, reviewer)
    assert not any(left_for(reviewer, queue) for reviewer in reviewers)
    assert not Assignment.objects.filter(queue=queue, state=AssignmentState.LEASED).exists()


def mark_of(reviewer: User) -> int:
    return Watermark.objects.get(reviewer=reviewer).rank


@pytest.mark.django_db
@pytest.mark.usefixtures("_eager")
def test_an_item_that_is_open_again_is_served_again(queue: Queue, ben: User, eve: User) -> None:
    Assignment.objects.filter(queue=queue, slot=2).update(state=AssignmentState.WITHDRAWN)
    first = items.take(queue, eve)
    items.answer_all(queue, ben)
    assert mark_of(ben) > first.rank
    release_item(assignment=first, reviewer=eve, token=token_of(first))
    assert items.take(queue, ben).pk == first.pk


@pytest.mark.django_db
@pytest.mark.usefixtures("_eager")
def test_a_label_taken_back_makes_its_rollouts_other_reviews_ones_own_again(
    queue: Queue, ben: User
) -> None:
    items.answer_all(queue, ben)
    label = Label.objects.filter(reviewer=ben).earliest("pk")
    other = Assignment.objects.get(queue=queue, rollout=label.assignment.rollout, slot=2)
    assert take_next(queue=queue, reviewer=ben) is None
    Retraction.objects.create(label=label)
    assert items.take(queue, ben).pk == other.pk


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_eager")
def test_who_moves_a_mark_waits_for_who_opens_items(queue: Queue, ben: User, eve: User) -> None:
    first = items.take(queue, eve)
    for _ in range(3):
        items.commit(items.take(queue, ben), ben)
    with transaction.atomic():
        release_item(assignment=first, reviewer=eve, token=token_of(first))
        moving = in_thread(lambda: serving.move_watermark(queue=queue, reviewer=ben))
        moving.join(timeout=0.5)
        assert moving.is_alive()
    moving.join()
    assert mark_of(ben) < first.rank
    assert items.take(queue, ben).pk == first.pk


@pytest.mark.django_db(transaction=True)
def test_no_mark_is_made_while_somebody_opens_items(queue: Queue, ben: User, eve: User) -> None:
    first = items.take(queue, eve)
    with transaction.atomic():
        release_item(assignment=first, reviewer=eve, token=token_of(first))
        in_thread(lambda: serving.move_watermark(queue=queue, reviewer=ben)).join()
        assert not Watermark.objects.filter(reviewer=ben).exists()
    serving.move_watermark(queue=queue, reviewer=ben)
    assert mark_of(ben) == -1


def in_thread(work: Callable[[], object]) -> threading.Thread:
    def alone() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=alone)
    thread.start()
    return thread


def blocks_of_a_take(queue: Queue, reviewer: User) -> int:
    """How much PostgreSQL looks at for a take, which is taken back."""
    asked = {"queue": queue.pk, "reviewer": reviewer.pk, "seconds": 900}
    asked["token"] = "00000000-0000-4000-8000-000000000000"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {serving.TAKE_OPEN_SQL}", asked)
        (found,) = cursor.fetchone()
        transaction.set_rollback(True)
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def blocks_after(own_labels: int, queue: Queue, reviewer: User) -> tuple[int, int]:
    """Of a take with a mark, and of one without, after so many labels of half an overlap."""
    start = Label.objects.filter(reviewer=reviewer).count()
    bulk.fill_queue(queue, own_labels, skip=start)
    bulk.fill_queue(queue, own_labels, skip=start, slot=2)
    bulk.label_first_slots(queue, reviewer)
    bulk.fill_queue(queue, 10, skip=5_000)
    for _ in range(2):
        serving.move_watermark(queue=queue, reviewer=reviewer)
    with_mark = blocks_of_a_take(queue, reviewer)
    Watermark.objects.all().delete()
    without = blocks_of_a_take(queue, reviewer)
    Assignment.objects.filter(queue=queue, state=AssignmentState.OPEN, slot=1).delete()
    return with_mark, without


@pytest.mark.django_db
@pytest.mark.usefixtures("_fresh_tables")
def test_a_take_is_no_more_work_after_thousands_of_own_labels(project: Project, ben: User) -> None:
    queue = bulk.open_queue(project)
    bulk.make_rollouts(project, 5_010)
    few, _ = blocks_after(50, queue, ben)
    many, without_mark = blocks_after(4_000, queue, ben)
    assert many < few + 30
    assert without_mark > 100 * many


@pytest.mark.django_db
def test_an_empty_queue_is_walked_once(queue: Queue, ben: User) -> None:
    items.answer_all(queue, ben)
    for _ in range(2):
        assert take_next(queue=queue, reviewer=ben) is None
    assert mark_of(ben) == Assignment.objects.filter(queue=queue).latest("rank").rank


@pytest.mark.django_db
def test_what_is_peeked_at_is_what_is_taken_after_the_commit(queue: Queue, ben: User) -> None:
    held = items.take(queue, ben)
    ahead = peek_next(queue=queue, reviewer=ben, after=held)
    assert ahead is not None
    assert (ahead.state, ahead.lease_token) == (AssignmentState.OPEN, None)
    items.commit(held, ben)
    assert items.take(queue, ben).pk == ahead.pk


@pytest.mark.django_db
def test_another_review_of_the_held_rollout_is_not_peeked_at(queue: Queue, ben: User) -> None:
    rows = Assignment.objects.filter(queue=queue, state=AssignmentState.OPEN)
    rows.exclude(rollout=rows.earliest("rank").rollout).update(state=AssignmentState.WITHDRAWN)
    held = items.take(queue, ben)
    assert rows.get().rollout_id == held.rollout_id
    assert peek_next(queue=queue, reviewer=ben, after=held) is None


@pytest.mark.django_db
def test_an_item_whose_lease_has_ended_is_peeked_at_first(
    queue: Queue, ben: User, eve: User
) -> None:
    held, eves = items.take(queue, ben), items.take(queue, eve)
    expire(eves)
    ahead = peek_next(queue=queue, reviewer=ben, after=held)
    assert ahead == eves


@pytest.mark.django_db
def test_who_comes_back_to_an_ended_lease_keeps_item_and_token(queue: Queue, ben: User) -> None:
    held = items.take(queue, ben)
    expire(held)
    again = items.take(queue, ben)
    assert (again.pk, again.lease_token) == (held.pk, held.lease_token)
    assert again.lease_expires_at is not None
    assert held.lease_expires_at is not None
    assert again.lease_expires_at >= held.lease_expires_at
