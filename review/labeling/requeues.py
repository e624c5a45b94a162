"""Whether a rollout can be asked again in a queue."""

from review.labeling.models import PENDING, Adjudication, Assignment, AssignmentState, Cause, Queue
from review.labeling.queries import eligible_reviewers
from review.rollouts.models import Rollout
from review.sampling.models import WaveState


def reviews_of(queue: Queue, rollout: Rollout) -> list[Assignment]:
    """Its reviews that stand, by slot."""
    rows = Assignment.objects.filter(queue=queue, rollout=rollout).exclude(cause=Cause.GOLD)
    rows = rows.exclude(state=AssignmentState.WITHDRAWN).order_by("slot")
    return list(rows.select_related("queue__rule", "wave__version", "draw"))


def can_be_requeued(queue: Queue, rollout: Rollout) -> bool:
    return not why_not_requeued(queue, rollout, reviews_of(queue, rollout))


def why_not_requeued(queue: Queue, rollout: Rollout, reviews: list[Assignment]) -> str:
    if rollout.purged_at is not None:
        return "Its text is gone: nobody could judge it."
    if not reviews or any(_is_cancelled(review) for review in reviews):
        return "It is in no sample of this queue: pick it instead."
    if any(review.state in PENDING for review in reviews):
        return "A review of it is still to come."
    if any(review.state == AssignmentState.SETTLED for review in reviews):
        return "Its answer class settles it."
    if Adjudication.objects.filter(queue=queue, rollout=rollout).exists():
        return "It is adjudicated: a further label would change nothing."
    # Asked of a review that does not exist yet: everybody with a label of it is out.
    if not eligible_reviewers(further_review(reviews[-1])):
        return "Everybody who may review it has answered it already."
    return ""


def _is_cancelled(review: Assignment) -> bool:
    return review.wave is not None and review.wave.state == WaveState.CANCELLED


def review_to_repeat(reviews: list[Assignment]) -> Assignment | None:
    """The first that was given up."""
    return next((row for row in reviews if row.state == AssignmentState.SKIPPED), None)


def further_review(last: Assignment) -> Assignment:
    """One more than there are, not stored and without a rank."""
    return Assignment(
        queue=last.queue,
        rollout_id=last.rollout_id,
        cause=Cause.REQUEUE,
        wave=last.wave,
        draw=last.draw,
        slot=last.slot + 1,
    )
