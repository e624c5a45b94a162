"""A lead has a rollout looked at again."""

from django.db import transaction

from review.core.models import record_event
from review.labeling.errors import InvalidLabelError, RequeueRefusedError
from review.labeling.models import Assignment, AssignmentState, Queue
from review.labeling.queries import next_rank
from review.labeling.requeues import (
    further_review,
    review_to_repeat,
    reviews_of,
    why_not_requeued,
)
from review.labeling.services.reviews import lock_reviews
from review.rollouts.models import Rollout

MOST_REASON = 2000


@transaction.atomic
def requeue_rollout(*, queue: Queue, rollout: Rollout, reason: str, actor: object) -> Assignment:
    """Ask once more: what was given up is open again, what is answered gets a further review.

    It stands behind everything else, since whoever has worked through the queue is past its old
    place. What comes of it counts like any other label, also after its window has closed.
    """
    if not 0 < len(reason.strip()) <= MOST_REASON:
        raise InvalidLabelError(fields={"reason": f"1 to {MOST_REASON:,} characters"})
    if reviews := reviews_of(queue, rollout):
        lock_reviews(reviews[0])
        reviews = reviews_of(queue, rollout)
    if refusal := why_not_requeued(queue, rollout, reviews):
        raise RequeueRefusedError(refusal)
    given_up = review_to_repeat(reviews)
    again = _reopened(given_up) if given_up else further_review(reviews[-1])
    # Ranks are given out under the queue's row.
    Queue.objects.select_for_update(no_key=True).get(pk=queue.pk)
    again.rank = next_rank(queue.pk)
    again.save()
    record_event(
        actor=actor,
        action="requeued",
        subject=rollout,
        queue=str(queue.pk),
        reason=reason.strip(),
        slot=again.slot,
    )
    return again


def _reopened(review: Assignment) -> Assignment:
    """In its own slot, for the cause that it had; who passed on it may be asked again."""
    review.state = AssignmentState.WITHDRAWN
    review.save(update_fields=["state"])
    again = further_review(review)
    again.slot, again.cause = review.slot, review.cause
    return again
