"""Labels: stored once, taken back by a new row, passed on with a reason."""

from datetime import timedelta
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.utils import timezone

from review.accounts.models import User
from review.core.errors import MissingError
from review.core.prepared import prepared_rows
from review.labeling.errors import (
    InvalidLabelError,
    KeyReusedError,
    LeaseLostError,
    RevealRefusedError,
    UndoRefusedError,
)
from review.labeling.models import (
    Assignment,
    AssignmentState,
    Cause,
    Draft,
    Label,
    Lease,
    Objection,
    Queue,
    Retraction,
    Reveal,
    Skip,
    SkipReason,
)
from review.labeling.queries import FINAL, label_to_undo, was_held
from review.labeling.reveals import still_to_judge
from review.labeling.services.judgements import NewLabel, judgement_of
from review.labeling.services.known_answers import refuse_unqualified
from review.labeling.services.leases import in_turns, lock_held, released, take_turns
from review.labeling.services.pauses import pause_if_wrong
from review.labeling.services.reviews import (
    arrange_reviews,
    is_given_up,
    is_last_review,
    lock_reviews,
)


def commit_label(
    *, assignment: Assignment, reviewer: User, token: UUID, client_key: UUID, new: NewLabel
) -> tuple[Label, bool]:
    """Store the label; the same key again answers the stored one.

    A commit whose lease has passed on is kept and marked late, never dropped: the item is then
    another reviewer's.
    """
    try:
        return _commit(assignment, reviewer, token, client_key, new)
    except IntegrityError as error:
        if "label_key_once" in str(error):
            raise KeyReusedError(fields={"client_key": "is another label's"}) from error
        raise


# With it goes what the reviewer had filled in so far.
DONE_SQL = """
WITH gone AS (
    DELETE FROM labeling_draft
    WHERE assignment_id = %(item)s::uuid AND reviewer_id = %(reviewer)s::bigint
)
UPDATE labeling_assignment SET state = 'done' WHERE id = %(item)s::uuid RETURNING id
"""


@transaction.atomic
def _commit(
    assignment: Assignment, reviewer: User, token: UUID, client_key: UUID, new: NewLabel
) -> tuple[Label, bool]:
    reviews = lock_reviews(assignment)
    locked = next(review for review in reviews if review.pk == assignment.pk)
    is_ours = (
        locked.state == AssignmentState.LEASED
        and locked.lease_token == token
        and locked.reviewer_id == reviewer.pk
    )
    # Whoever holds the item has not answered it under this lease.
    if not is_ours and (earlier := _stored(assignment, reviewer, client_key)):
        return earlier, False
    judgement = judgement_of(assignment.queue, assignment.rollout, new)
    if is_ours:
        prepared_rows(DONE_SQL, {"item": locked.pk, "reviewer": reviewer.pk})
        locked.state = AssignmentState.DONE
    elif not was_held(locked, reviewer, token):
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
    if not is_ours:
        Draft.objects.filter(assignment=locked, reviewer=reviewer).delete()
    elif locked.cause == Cause.GOLD:
        pause_if_wrong(label=label)
    elif not is_last_review(label, assignment, reviews):
        arrange_reviews(assignment=locked, reviews=reviews)
    return label, True


def _stored(assignment: Assignment, reviewer: User, client_key: UUID) -> Label | None:
    earlier = Label.objects.filter(reviewer=reviewer, client_key=client_key).first()
    if earlier and earlier.assignment_id != assignment.pk:
        raise KeyReusedError(fields={"client_key": "is another label's"})
    return earlier


@in_turns
@transaction.atomic
def retract_label(*, queue: Queue, reviewer: User) -> Assignment:
    """Take the reviewer's newest label back: its item is leased to them again.

    The item that they have been served since goes back to the queue.
    """
    take_turns(reviewer)
    # Whoever is paused cannot answer the item again.
    refuse_unqualified(queue=queue, reviewer=reviewer)
    label = label_to_undo(reviewer, queue)
    if label is None:
        raise UndoRefusedError
    held = Assignment.objects.filter(queue=queue, reviewer=reviewer, state=AssignmentState.LEASED)
    # With the reviews, in one order with them: whoever locks many items never waits in a ring.
    reviews = Assignment.objects.filter(queue=queue, rollout=label.assignment.rollout_id)
    list((held | reviews).order_by("pk").select_for_update().values_list("pk"))
    locked = lock_reviews(label.assignment)
    assignment = next(review for review in locked if review.pk == label.assignment_id)
    held.update(**released())
    Retraction.objects.create(label=label)
    assignment.state = AssignmentState.LEASED
    assignment.lease_token = uuid4()
    assignment.lease_expires_at = timezone.now() + timedelta(seconds=queue.lease_seconds)
    assignment.save(update_fields=["state", "lease_token", "lease_expires_at"])
    Lease.objects.create(assignment=assignment, reviewer=reviewer, token=assignment.lease_token)
    arrange_reviews(assignment=assignment, reviews=locked)
    return assignment


@transaction.atomic
def skip_item(
    *, assignment: Assignment, reviewer: User, token: UUID, reason: SkipReason, note: str = ""
) -> Assignment:
    """Pass on an item. It goes back for others; when enough have passed it counts as unanswered."""
    held = lock_held(assignment, reviewer, token)
    Skip.objects.create(assignment=held, reviewer=reviewer, reason=reason, note=note)
    Draft.objects.filter(assignment=held, reviewer=reviewer).delete()
    for field, value in released().items():
        setattr(held, field, value)
    if is_given_up(held):
        held.state = AssignmentState.SKIPPED
    held.save()
    return held


@transaction.atomic
def reveal_label(*, label: Label, reviewer: User) -> Reveal:
    """The reviewer is shown what the verifiers said: from now on the label cannot be taken back.

    Holds the reviewer's row, so that an undo at the same time comes before it or is refused.
    """
    take_turns(reviewer)
    queue = label.assignment.queue
    is_final = Label.objects.filter(pk=label.pk, reviewer=reviewer, **FINAL).exists()
    if not (queue.reveals and is_final):
        raise MissingError("There is nothing to show of this label.")
    if still_to_judge(reviewer, queue.project_id, [label.assignment.rollout_id]):
        raise RevealRefusedError
    reveal, _ = Reveal.objects.get_or_create(label=label)
    return reveal


MOST_OBJECTION = 2000


@transaction.atomic
def object_to_label(*, reveal: Reveal, note: str) -> Objection:
    """The reviewer would answer otherwise now. The label stays; an adjudicator decides.

    The same label is objected to once: a second objection answers the first.
    """
    if not note.strip():
        raise InvalidLabelError(fields={"note": "say what you would answer now, and why"})
    objection, _ = Objection.objects.get_or_create(
        label=reveal.label, defaults={"note": note.strip()[:MOST_OBJECTION]}
    )
    return objection
