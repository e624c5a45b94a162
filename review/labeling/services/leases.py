"""Taking items and holding them. Races are settled by the assignment's row."""

from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.utils import timezone

from review.accounts.models import User
from review.labeling.errors import LeaseLostError
from review.labeling.models import Assignment, AssignmentState, Queue


@transaction.atomic
def take_next(*, queue: Queue, reviewer: User) -> Assignment | None:
    """Lease the queue's next item to the reviewer; the one that they hold already, if any."""
    take_turns(reviewer)
    return _held(queue, reviewer) or _lease_next(queue, reviewer)


def take_turns(reviewer: User) -> None:
    """Lock the reviewer's row: two requests of one reviewer at once see each other's lease."""
    User.objects.select_for_update(no_key=True).get(pk=reviewer.pk)


def _held(queue: Queue, reviewer: User) -> Assignment | None:
    return (
        Assignment.objects.filter(
            queue=queue,
            reviewer=reviewer,
            state=AssignmentState.LEASED,
            lease_expires_at__gt=timezone.now(),
        )
        .select_related("queue", "wave__version", "rollout__group__prompt")
        .first()
    )


def _lease_next(queue: Queue, reviewer: User) -> Assignment | None:
    # An expired lease of one's own would stand in the way of the new one.
    Assignment.objects.filter(queue=queue, reviewer=reviewer, state=AssignmentState.LEASED).update(
        **released()
    )
    with connection.cursor() as cursor:
        cursor.execute(
            TAKE_SQL,
            {
                "queue": queue.pk,
                "reviewer": reviewer.pk,
                "token": uuid4(),
                "seconds": queue.lease_seconds,
            },
        )
        row = cursor.fetchone()
    if row is None:
        return None
    return Assignment.objects.select_related(
        "queue", "wave__version", "rollout__group__prompt"
    ).get(pk=row[0])


# The lowest rank that is open, or whose lease has expired; that this reviewer has neither skipped
# nor answered in another slot; and that the wave's version gives to this reviewer.
# Rows that another take holds are passed over, so that takers never wait for one another. Counts,
# not EXISTS, which the planner would turn into joins over the whole queue: the items are looked at
# one by one in the order of their ranks.
TAKE_SQL = """
WITH taken AS (
UPDATE labeling_assignment
SET state = 'leased', reviewer_id = %(reviewer)s, lease_token = %(token)s,
    lease_expires_at = now() + make_interval(secs => %(seconds)s)
WHERE id = (
    SELECT id FROM labeling_assignment AS item
    WHERE queue_id = %(queue)s AND state IN ('open', 'leased')
      AND (state = 'open' OR lease_expires_at <= now())
      AND NOT EXISTS (
          SELECT 1 FROM labeling_skip AS skip
          WHERE skip.assignment_id = item.id AND skip.reviewer_id = %(reviewer)s
      )
      AND (
          SELECT count(*) FROM labeling_assignment AS other
          JOIN labeling_label AS label ON label.assignment_id = other.id
          LEFT JOIN labeling_retraction AS taken_back ON taken_back.label_id = label.id
          WHERE other.queue_id = item.queue_id AND other.rollout_id = item.rollout_id
            AND other.id <> item.id AND label.reviewer_id = %(reviewer)s
            AND taken_back.id IS NULL
      ) = 0
      AND (
          SELECT count(*) = 0 OR bool_or(named.user_id = %(reviewer)s)
          FROM sampling_wave AS wave
          JOIN sampling_ruleversion_reviewers AS named
            ON named.ruleversion_id = wave.version_id
          WHERE wave.id = item.wave_id
      )
    ORDER BY rank LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, reviewer_id, lease_token
)
INSERT INTO labeling_lease (assignment_id, reviewer_id, token) SELECT * FROM taken
RETURNING assignment_id
"""


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
