"""How many reviews a rollout gets."""

from collections.abc import Sequence

from django.db import transaction

from review.core.prepared import instance_of, prepared_rows
from review.labeling.models import (
    Adjudication,
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    Label,
    Queue,
)
from review.labeling.queries import (
    SlotLabel,
    are_at_odds,
    eligible_reviewers,
    next_rank,
    slot_labels,
)
from review.labeling.services.serving import COLUMNS
from review.rollouts.models import Rollout
from review.sampling.models import RuleVersion, WaveState
from trainer.rewards.cells import Cell

# So many reviewers may pass on an item before it counts as unanswerable.
SKIPS_TO_GIVE_UP = 2

# Not called for by a label: no label taken back withdraws them.
LASTING = (Cause.RANDOM, Cause.REQUEUE)


LOCK_SQL = f"""
SELECT {COLUMNS} FROM labeling_assignment
WHERE queue_id = %(queue)s::uuid AND rollout_id = %(rollout)s::bigint
ORDER BY id FOR UPDATE
"""  # noqa: S608 - names of columns


def lock_reviews(assignment: Assignment) -> list[Assignment]:
    """Lock all reviews of the assignment's rollout in its queue, in one order: these.

    They share the given one's queue and rollout.
    """
    asked = {"queue": assignment.queue_id, "rollout": assignment.rollout_id}
    reviews = [instance_of(Assignment, row) for row in prepared_rows(LOCK_SQL, asked)]
    for review in reviews:
        review.queue, review.rollout = assignment.queue, assignment.rollout
    return reviews


def is_last_review(label: Label, assignment: Assignment, reviews: Sequence[Assignment]) -> bool:
    """Whether the rollout's only review is answered and calls for no other. Most are.

    The reviews are all that the rollout has, withdrawn ones too.
    """
    return len(reviews) == 1 and not (
        _contradicts(label.answer, assignment.rollout)
        and _version_of(assignment).reviews_contradictions
    )


@transaction.atomic(savepoint=False)
def arrange_reviews(*, assignment: Assignment, reviews: Sequence[Assignment]) -> None:
    """Bring the rollout's reviews into line with its labels; the caller holds them all, these.

    A first label that contradicts the verdict calls for a second, two that disagree for a third.
    What a label called for that was taken back is withdrawn, unless somebody has answered it.
    """
    if assignment.cause == Cause.GOLD or _is_settled(assignment):
        return
    labels = slot_labels(assignment.queue_id, assignment.rollout_id)
    active = [
        review
        for review in reviews
        if review.cause != Cause.GOLD and review.state != AssignmentState.WITHDRAWN
    ]
    wanted = _wanted(assignment, labels, active)
    for review in active:
        if review.slot > 1 and review.slot not in wanted and review.state == AssignmentState.OPEN:
            review.state = AssignmentState.WITHDRAWN
            review.save(update_fields=["state"])
    missing = set(wanted) - {review.slot for review in active}
    if missing:
        Queue.objects.select_for_update(no_key=True).get(pk=assignment.queue_id)
    for slot in sorted(missing):
        Assignment.objects.create(
            queue=assignment.queue,
            rollout_id=assignment.rollout_id,
            wave=assignment.wave,
            draw=assignment.draw,
            slot=slot,
            cause=wanted[slot],
            rank=next_rank(assignment.queue_id),
        )
    for review in active:
        # Who passed on it may have been the last who could answer it.
        is_open = review.state == AssignmentState.OPEN
        if is_open and review.skips.exists() and is_given_up(review):
            review.state = AssignmentState.SKIPPED
            review.save(update_fields=["state"])


def is_given_up(review: Assignment) -> bool:
    """Whether as many have passed on it as may, or as there are."""
    return review.skips.count() >= min(SKIPS_TO_GIVE_UP, eligible_reviewers(review))


def _is_settled(assignment: Assignment) -> bool:
    """Nothing more is asked: it is adjudicated, or its wave cancelled."""
    decided = Adjudication.objects.filter(queue=assignment.queue_id, rollout=assignment.rollout_id)
    is_cancelled = assignment.wave is not None and assignment.wave.state == WaveState.CANCELLED
    return is_cancelled or decided.exists()


def _version_of(assignment: Assignment) -> RuleVersion:
    """By which its wave was drawn; for a pick, the newest one."""
    return assignment.wave.version if assignment.wave else assignment.queue.rule.current


def _wanted(
    assignment: Assignment, labels: Sequence[SlotLabel], reviews: Sequence[Assignment]
) -> dict[int, Cause]:
    """The slots after the first that the rollout should have."""
    wanted = {review.slot: Cause(review.cause) for review in reviews if review.cause in LASTING}
    version = _version_of(assignment)
    first = labels[0] if labels and labels[0].slot == 1 else None
    if version.reviews_contradictions and first and _contradicts(first.answer, assignment.rollout):
        wanted.setdefault(2, Cause.CONTRADICTION)
    if version.has_second_reviews and len(labels) == 2 and are_at_odds(labels):
        wanted = {2: Cause.CONTRADICTION, 3: Cause.TIE_BREAK} | wanted
    return {label.slot: Cause(label.cause) for label in labels if label.slot > 2} | wanted


def _contradicts(answer: str, rollout: Rollout) -> bool:
    """Whether the reviewer decided otherwise than the primary verifier."""
    if answer == Answer.CANNOT_TELL:
        return False
    return (answer == Answer.CORRECT) != Cell.parse(rollout.cell.key).is_accepted
