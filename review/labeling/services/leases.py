"""Taking items and holding them. Races are settled by the assignment's row."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone

from review.accounts.models import User
from review.core.prepared import instance_of, prepared_rows
from review.labeling.errors import LeaseLostError, NotQualifiedError, PausedError
from review.labeling.models import Assignment, AssignmentState, Queue
from review.labeling.services.known_answers import refuse_unqualified
from review.labeling.services.serving import (
    OWN_AND_ENDED_SQL,
    PEEK_ENDED_SQL,
    PEEK_OPEN_SQL,
    STRIDE,
    TAKE_ENDED_SQL,
    TAKE_OPEN_SQL,
    TAKE_WANTED_SQL,
    move_watermark,
)

# More requests of one reviewer at one moment are no person's.
TURNS = 8

Asked = ParamSpec("Asked")
Answered = TypeVar("Answered")


def in_turns(work: Callable[Asked, Answered]) -> Callable[Asked, Answered]:
    """Two requests of one reviewer at once: the table refuses the second one's lease.

    Done again, the second one sees the first one's.
    """

    @wraps(work)
    def turn(*args: Asked.args, **kwargs: Asked.kwargs) -> Answered:
        for _ in range(TURNS):
            try:
                return work(*args, **kwargs)
            except IntegrityError as error:
                if "one_lease_per_reviewer_and_queue" not in str(error):
                    raise
        return work(*args, **kwargs)

    return turn


@in_turns
def take_next(*, queue: Queue, reviewer: User, wanted: UUID | None = None) -> Assignment | None:
    """Lease the queue's next item to the reviewer; the one that they hold already, if any.

    wanted: the item that was peeked at, which comes before all others if it is still to be had.

    No transaction around it: the statement that takes is one by itself. What the item is about is
    not read.
    """
    refuse_unqualified(queue=queue, reviewer=reviewer)
    own, ended = _own_and_ended(queue, reviewer)
    if own and _is_kept(own, queue):
        return own
    row = _take(TAKE_WANTED_SQL, queue, reviewer, wanted=wanted) if wanted else None
    if row is None and ended:
        row = _take(TAKE_ENDED_SQL, queue, reviewer, ended=ended)
    row = row or _take(TAKE_OPEN_SQL, queue, reviewer)
    if row is None or row["rank"] - row["mark"] > STRIDE:
        move_watermark(queue=queue, reviewer=reviewer)
    if row is None:
        return None
    item = instance_of(Assignment, row)
    item.queue = queue
    return item


def peek_next(
    *, queue: Queue, reviewer: User, after: Assignment | None, passing: Sequence[UUID] = ()
) -> Assignment | None:
    """What a take will probably give once `after` is answered. It is leased to nobody."""
    try:
        refuse_unqualified(queue=queue, reviewer=reviewer)
    except (NotQualifiedError, PausedError):
        return None
    _, ended = _own_and_ended(queue, reviewer)
    asked = {
        "queue": queue.pk,
        "reviewer": reviewer.pk,
        "rollout": after.rollout_id if after else None,
        "passing": list(passing),
    }
    rows = prepared_rows(PEEK_ENDED_SQL, asked | {"ended": ended}) if ended else []
    rows = rows or prepared_rows(PEEK_OPEN_SQL, asked)
    return Assignment.objects.get(pk=rows[0]["id"]) if rows else None


def _own_and_ended(queue: Queue, reviewer: User) -> tuple[Assignment | None, list[UUID]]:
    """What the reviewer holds, its lease ended or not; and the others whose leases have ended."""
    own, ended = None, []
    asked = {"queue": queue.pk, "reviewer": reviewer.pk}
    for row in prepared_rows(OWN_AND_ENDED_SQL, asked):
        if row["reviewer_id"] == reviewer.pk:
            own = instance_of(Assignment, row)
        else:
            ended.append(row["id"])
    return own, ended


def _is_kept(own: Assignment, queue: Queue) -> bool:
    """Renew the lease if it has ended, unless somebody else is faster."""
    own.queue = queue
    now = timezone.now()
    if own.lease_expires_at and own.lease_expires_at > now:
        return True
    own.lease_expires_at = now + timedelta(seconds=queue.lease_seconds)
    held = Assignment.objects.filter(
        pk=own.pk, state=AssignmentState.LEASED, lease_token=own.lease_token
    )
    return held.update(lease_expires_at=own.lease_expires_at) == 1


def _take(
    sql: str, queue: Queue, reviewer: User, **which: UUID | Sequence[UUID]
) -> dict[str, Any] | None:
    """The columns of the item that is leased now, and where the reviewer's mark stands."""
    lease = {"token": uuid4(), "seconds": queue.lease_seconds}
    rows = prepared_rows(sql, {"queue": queue.pk, "reviewer": reviewer.pk} | lease | which)
    return rows[0] if rows else None


def take_turns(reviewer: User) -> None:
    """Lock the reviewer's row: of two of their requests at once the second sees the first's."""
    User.objects.select_for_update(no_key=True).get(pk=reviewer.pk)


def released() -> dict[str, object]:
    return {
        "state": AssignmentState.OPEN,
        "reviewer": None,
        "lease_token": None,
        "lease_expires_at": None,
    }


@transaction.atomic
def release_item(*, assignment: Assignment, reviewer: User, token: UUID) -> None:
    """Give an item back unanswered, to the place in the queue where it was."""
    held = lock_held(assignment, reviewer, token)
    for field, value in released().items():
        setattr(held, field, value)
    held.save()


@transaction.atomic
def extend_lease(*, assignment: Assignment, reviewer: User, token: UUID) -> Assignment:
    """A heartbeat: the reviewer is still at it."""
    held = lock_held(assignment, reviewer, token)
    held.lease_expires_at = timezone.now() + timedelta(seconds=assignment.queue.lease_seconds)
    held.save(update_fields=["lease_expires_at"])
    return held


def lock_held(assignment: Assignment, reviewer: User, token: UUID) -> Assignment:
    held = (
        Assignment.objects.select_for_update()
        .filter(
            pk=assignment.pk,
            reviewer=reviewer,
            lease_token=token,
            state=AssignmentState.LEASED,
        )
        .first()
    )
    if held is None:
        raise LeaseLostError
    return held
