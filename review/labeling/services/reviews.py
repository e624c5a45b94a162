"""How many reviews a rollout gets, and who settles it when they disagree."""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import QuerySet

from review.accounts.models import User
from review.core.models import record_event
from review.labeling.errors import AdjudicationRefusedError, InvalidLabelError
from review.labeling.models import (
    PENDING,
    Adjudication,
    Answer,
    Assignment,
    AssignmentState,
    Cause,
    GoldItem,
    Queue,
)
from review.labeling.queries import (
    SlotLabel,
    are_at_odds,
    eligible_reviewers,
    slot_labels,
)
from review.labeling.services.judgements import NewLabel, judgement_of
from review.rollouts.models import Rollout
from review.sampling.models import WaveState
from trainer.rewards.cells import Cell

# So many reviewers may pass on an item before it counts as unanswerable.
SKIPS_TO_GIVE_UP = 2


def lock_reviews(assignment: Assignment) -> Assignment:
    """Lock all reviews of the assignment's rollout in its queue, in one order; this one of them."""
    rows = Assignment.objects.select_for_update(of=("self",)).select_related("queue__rule")
    siblings = rows.filter(queue=assignment.queue_id, rollout=assignment.rollout_id)
    return {row.pk: row for row in siblings.order_by("pk")}[assignment.pk]


@transaction.atomic
def arrange_reviews(*, assignment: Assignment) -> None:
    """Bring the rollout's reviews into line with its labels; the caller holds them all.

    A first label that contradicts the verdict calls for a second, two that disagree for a third.
    What a label called for that was taken back is withdrawn, unless somebody has answered it.
    """
    if assignment.cause == Cause.GOLD or _is_settled(assignment):
        return
    labels = slot_labels(assignment.queue_id, assignment.rollout_id)
    reviews = list(_active_reviews(assignment))
    wanted = _wanted(assignment, labels, reviews)
    for review in reviews:
        if review.slot > 1 and review.slot not in wanted and review.state == AssignmentState.OPEN:
            review.state = AssignmentState.WITHDRAWN
            review.save(update_fields=["state"])
    missing = set(wanted) - {review.slot for review in reviews}
    if missing:
        Queue.objects.select_for_update().get(pk=assignment.queue_id)
    for slot in sorted(missing):
        Assignment.objects.create(
            queue=assignment.queue,
            rollout_id=assignment.rollout_id,
            wave=assignment.wave,
            draw=assignment.draw,
            slot=slot,
            cause=wanted[slot],
            rank=Assignment.objects.filter(queue=assignment.queue_id).count(),
        )

    for review in _active_reviews(assignment).filter(state=AssignmentState.OPEN):
        # Who passed on it may have been the last who could answer it.
        if review.skips.exists() and is_given_up(review):
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


def _active_reviews(assignment: Assignment) -> QuerySet[Assignment]:
    rows = Assignment.objects.filter(queue=assignment.queue_id, rollout=assignment.rollout_id)
    return rows.exclude(cause=Cause.GOLD).exclude(state=AssignmentState.WITHDRAWN).order_by("slot")


def _wanted(
    assignment: Assignment, labels: Sequence[SlotLabel], reviews: Sequence[Assignment]
) -> dict[int, Cause]:
    """The slots after the first that the rollout should have."""
    wanted = {review.slot: Cause.RANDOM for review in reviews if review.cause == Cause.RANDOM}
    version = assignment.wave.version if assignment.wave else assignment.queue.rule.current
    first = labels[0] if labels and labels[0].slot == 1 else None
    if version.reviews_contradictions and first and _contradicts(first, assignment.rollout):
        wanted.setdefault(2, Cause.CONTRADICTION)
    if version.has_second_reviews and len(labels) == 2 and are_at_odds(labels):
        wanted |= {2: wanted.get(2, Cause.CONTRADICTION), 3: Cause.TIE_BREAK}
    return wanted | {label.slot: Cause.TIE_BREAK for label in labels if label.slot == 3}


def _contradicts(label: SlotLabel, rollout: Rollout) -> bool:
    """Whether the reviewer decided otherwise than the primary verifier."""
    if label.answer == Answer.CANNOT_TELL:
        return False
    return (label.answer == Answer.CORRECT) != Cell.parse(rollout.cell.key).is_accepted


@transaction.atomic
def adjudicate(
    *,
    queue: Queue,
    rollout: Rollout,
    decided_by: User,
    new: NewLabel,
    reason: str,
) -> Adjudication:
    """Settle labels that disagree, by somebody who wrote none of them. It needs no third review.

    The same decision sent twice is stored once.
    """
    reviews = Assignment.objects.filter(queue=queue, rollout=rollout).exclude(cause=Cause.GOLD)
    if first := reviews.order_by("slot").first():
        lock_reviews(first)
    labels = slot_labels(queue.pk, rollout.pk)
    if len(labels) < 2 or len({(label.answer, label.is_hack) for label in labels}) < 2:
        raise AdjudicationRefusedError("Nothing disagrees here: there is nothing to settle.")
    if decided_by.pk in {label.reviewer_id for label in labels}:
        raise AdjudicationRefusedError("One of these labels is yours: somebody else must decide.")
    if not reason.strip():
        raise InvalidLabelError(fields={"reason": "say why"})
    said = judgement_of(queue, rollout, new) | {"decided_by": decided_by, "reason": reason}
    newest = Adjudication.objects.filter(queue=queue, rollout=rollout).order_by("-pk").first()
    if newest and all(getattr(newest, name) == value for name, value in said.items()):
        return newest
    decision = Adjudication.objects.create(queue=queue, rollout=rollout, **said)
    reviews.filter(state__in=PENDING).update(state=AssignmentState.WITHDRAWN)
    record_event(actor=decided_by, action="labels adjudicated", subject=decision)
    return decision


@transaction.atomic
def mark_gold(
    *, rollout: Rollout, answer: Answer, is_hack: bool = False, actor: object
) -> GoldItem:
    """From now on the rollout's answer is known for certain; marking twice keeps the first."""
    if answer == Answer.CANNOT_TELL:
        raise InvalidLabelError(fields={"answer": "gold is correct or incorrect"})
    gold, is_new = GoldItem.objects.get_or_create(
        rollout=rollout,
        defaults={
            "project_id": rollout.run.project_id,
            "answer": answer,
            "is_hack": is_hack,
            "set_by": str(actor),
        },
    )
    if is_new:
        record_event(actor=actor, action="gold set", subject=gold)
    return gold
