"""Labels: stored once, taken back by a new row, passed on with a reason."""

from datetime import timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from review.accounts.models import User
from review.labeling.errors import KeyReusedError, LeaseLostError, UndoRefusedError
from review.labeling.models import (
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
from review.labeling.services.judgements import NewLabel, judgement_of
from review.labeling.services.leases import lock_held, released, take_turns
from review.labeling.services.reviews import arrange_reviews, is_given_up, lock_reviews


@transaction.atomic
def commit_label(
    *, assignment: Assignment, reviewer: User, token: UUID, client_key: UUID, new: NewLabel
) -> tuple[Label, bool]:
    """Store the label; the same key again answers the stored one.

    A commit whose lease has passed on is kept and marked late, never dropped: the item is then
    another reviewer's.
    """
    locked = lock_reviews(assignment)
    if earlier := Label.objects.filter(reviewer=reviewer, client_key=client_key).first():
        if earlier.assignment_id != assignment.pk:
            raise KeyReusedError(fields={"client_key": "is another label's"})
        return earlier, False
    judgement = judgement_of(assignment.queue, assignment.rollout, new)
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
        **judgement,
        note=new.note,
        is_late=not is_ours,
        active_ms=new.active_ms,
    )
    if is_ours:
        arrange_reviews(assignment=locked)
    return label, True


def _was_held(assignment: Assignment, reviewer: User, token: UUID) -> bool:
    return Lease.objects.filter(assignment=assignment, reviewer=reviewer, token=token).exists()


@transaction.atomic
def retract_label(*, queue: Queue, reviewer: User) -> Assignment:
    """Take the reviewer's newest label back: its item is leased to them again.

    The item that they have been served since goes back to the queue.
    """
    take_turns(reviewer)
    label = label_to_undo(reviewer, queue)
    if label is None:
        raise UndoRefusedError
    Assignment.objects.filter(queue=queue, reviewer=reviewer, state=AssignmentState.LEASED).update(
        **released()
    )
    assignment = lock_reviews(label.assignment)
    Retraction.objects.create(label=label)
    assignment.state = AssignmentState.LEASED
    assignment.lease_token = uuid4()
    assignment.lease_expires_at = timezone.now() + timedelta(seconds=queue.lease_seconds)
    assignment.save(update_fields=["state", "lease_token", "lease_expires_at"])
    Lease.objects.create(assignment=assignment, reviewer=reviewer, token=assignment.lease_token)
    arrange_reviews(assignment=assignment)
    return assignment


@transaction.atomic
def skip_item(
    *, assignment: Assignment, reviewer: User, token: UUID, reason: SkipReason, note: str = ""
) -> Assignment:
    """Pass on an item. It goes back for others; when enough have passed it counts as unanswered."""
    held = lock_held(assignment, reviewer, token)
    Skip.objects.create(assignment=held, reviewer=reviewer, reason=reason, note=note)
    for field, value in released().items():
        setattr(held, field, value)
    if is_given_up(held):
        held.state = AssignmentState.SKIPPED
    held.save()
    return held
