"""Taking, leasing and answering items. Races are settled by the assignment's row."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.utils import timezone

from review.accounts.models import Membership, Project, Role, User
from review.core.models import record_event
from review.labeling.errors import (
    InvalidLabelError,
    KeyReusedError,
    LeaseLostError,
    UndoRefusedError,
)
from review.labeling.models import (
    Answer,
    Assignment,
    AssignmentState,
    Label,
    Lease,
    Queue,
    Retraction,
    Skip,
    SkipReason,
)
from review.labeling.queries import label_to_undo
from review.sampling.models import AuditRule, Wave
from review.sampling.queries import draws_of

# So many reviewers may pass on an item before it counts as unanswerable.
SKIPS_TO_GIVE_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLabel:
    answer: Answer
    earliest_wrong_step: int | None = None
    has_no_wrong_step: bool = False
    is_hack: bool = False
    note: str = ""


@transaction.atomic
def create_queue(
    *, project: Project, rule: AuditRule, name: str, shows_reference: bool, actor: object
) -> Queue:
    queue = Queue.objects.create(
        project=project, rule=rule, name=name, shows_reference=shows_reference
    )
    record_event(actor=actor, action="queue created", subject=queue)
    return queue


@transaction.atomic
def enqueue_wave(*, wave: Wave) -> int:
    """One assignment for each draw, ranked behind the queue's earlier ones. Safe to run twice."""
    queue = Queue.objects.select_for_update().get(rule__windows__waves=wave)
    if Assignment.objects.filter(wave=wave).exists():
        return 0
    start = Assignment.objects.filter(queue=queue).count()
    assignments = Assignment.objects.bulk_create(
        Assignment(queue=queue, wave=wave, draw=draw, rank=start + position)
        for position, draw in enumerate(draws_of(wave))
    )
    return len(assignments)


@transaction.atomic
def take_next(*, queue: Queue, reviewer: User) -> Assignment | None:
    """Lease the queue's next item to the reviewer; the one that they hold already, if any."""
    _take_turns(reviewer)
    return _held(queue, reviewer) or _lease_next(queue, reviewer)


def _take_turns(reviewer: User) -> None:
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
        .select_related("queue", "draw__rollout__group__prompt")
        .first()
    )


def _lease_next(queue: Queue, reviewer: User) -> Assignment | None:
    # An expired lease of one's own would stand in the way of the new one.
    Assignment.objects.filter(queue=queue, reviewer=reviewer, state=AssignmentState.LEASED).update(
        **_released()
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
    return Assignment.objects.select_related("queue", "draw__rollout__group__prompt").get(pk=row[0])


# The lowest rank that is open, or whose lease has expired, and that this reviewer has not skipped.
# Rows that another take holds are passed over, so that takers never wait for one another.
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
    ORDER BY rank LIMIT 1
    FOR UPDATE SKIP LOCKED
)
RETURNING id, reviewer_id, lease_token
)
INSERT INTO labeling_lease (assignment_id, reviewer_id, token) SELECT * FROM taken
RETURNING assignment_id
"""


def _released() -> dict[str, object]:
    return {
        "state": AssignmentState.OPEN,
        "reviewer": None,
        "lease_token": None,
        "lease_expires_at": None,
    }


@transaction.atomic
def commit_label(
    *, assignment: Assignment, reviewer: User, token: UUID, client_key: UUID, new: NewLabel
) -> tuple[Label, bool]:
    """Store the label; the same key again answers the stored one.

    A commit whose lease has passed on is kept and marked late, never dropped: the item is then
    another reviewer's.
    """
    locked = Assignment.objects.select_for_update().get(pk=assignment.pk)
    if earlier := Label.objects.filter(reviewer=reviewer, client_key=client_key).first():
        if earlier.assignment_id != assignment.pk:
            raise KeyReusedError(fields={"client_key": "is another label's"})
        return earlier, False
    _check_label(assignment, new)
    is_ours = (
        locked.state == AssignmentState.LEASED
        and locked.lease_token == token
        and locked.reviewer_id == reviewer.pk
    )
    if is_ours:
        locked.state = AssignmentState.DONE
        locked.save(update_fields=["state"])
    elif not _was_held(locked, reviewer, token):
        raise LeaseLostError(fields={"token": "was never yours for this item"})
    label = Label.objects.create(
        assignment=locked,
        reviewer=reviewer,
        client_key=client_key,
        answer=new.answer,
        earliest_wrong_step=new.earliest_wrong_step,
        has_no_wrong_step=new.has_no_wrong_step,
        is_hack=new.is_hack,
        note=new.note,
        is_late=not is_ours,
    )
    return label, True


def _check_label(assignment: Assignment, new: NewLabel) -> None:
    steps = len(assignment.draw.rollout.steps)
    wrong = new.earliest_wrong_step
    if wrong is not None and not 1 <= wrong <= steps:
        raise InvalidLabelError(fields={"earliest_wrong_step": f"1 to {steps}"})
    if wrong is not None and new.has_no_wrong_step:
        raise InvalidLabelError(fields={"no_wrong_step": "contradicts earliest_wrong_step"})
    if len(new.note) > 10_000:
        raise InvalidLabelError(fields={"note": "at most 10,000 characters"})


def _was_held(assignment: Assignment, reviewer: User, token: UUID) -> bool:
    return Lease.objects.filter(assignment=assignment, reviewer=reviewer, token=token).exists()


@transaction.atomic
def retract_label(*, queue: Queue, reviewer: User) -> Assignment:
    """Take the reviewer's newest label back: its item is leased to them again.

    The item that they have been served since goes back to the queue.
    """
    _take_turns(reviewer)
    label = label_to_undo(reviewer, queue)
    if label is None:
        raise UndoRefusedError
    Assignment.objects.filter(queue=queue, reviewer=reviewer, state=AssignmentState.LEASED).update(
        **_released()
    )
    assignment = Assignment.objects.select_for_update().get(pk=label.assignment_id)
    Retraction.objects.create(label=label)
    assignment.state = AssignmentState.LEASED
    assignment.lease_token = uuid4()
    assignment.lease_expires_at = timezone.now() + timedelta(seconds=queue.lease_seconds)
    assignment.save(update_fields=["state", "lease_token", "lease_expires_at"])
    Lease.objects.create(assignment=assignment, reviewer=reviewer, token=assignment.lease_token)
    return assignment


@transaction.atomic
def skip_item(
    *, assignment: Assignment, reviewer: User, token: UUID, reason: SkipReason, note: str = ""
) -> Assignment:
    """Pass on an item. It goes back for others; when enough have passed it counts as unanswered."""
    held = _lock_held(assignment, reviewer, token)
    Skip.objects.create(assignment=held, reviewer=reviewer, reason=reason, note=note)
    for field, value in _released().items():
        setattr(held, field, value)
    if held.skips.count() >= min(SKIPS_TO_GIVE_UP, _reviewers(assignment.queue)):
        held.state = AssignmentState.SKIPPED
    held.save()
    return held


def _reviewers(queue: Queue) -> int:
    return Membership.objects.filter(project=queue.project_id, role=Role.REVIEWER).count()


@transaction.atomic
def release_item(*, assignment: Assignment, reviewer: User, token: UUID) -> None:
    """Give an item back unanswered, to the place in the queue where it was."""
    held = _lock_held(assignment, reviewer, token)
    for field, value in _released().items():
        setattr(held, field, value)
    held.save()


@transaction.atomic
def extend_lease(*, assignment: Assignment, reviewer: User, token: UUID) -> Assignment:
    """A heartbeat: the reviewer is still at it."""
    held = _lock_held(assignment, reviewer, token)
    held.lease_expires_at = timezone.now() + timedelta(seconds=assignment.queue.lease_seconds)
    held.save(update_fields=["lease_expires_at"])
    return held


def _lock_held(assignment: Assignment, reviewer: User, token: UUID) -> Assignment:
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
