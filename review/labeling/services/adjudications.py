"""Deciding between labels that disagree."""

from django.db import transaction

from review.accounts.models import User
from review.core.models import record_event
from review.labeling.adjudications import authors_of, case_of
from review.labeling.errors import (
    AdjudicationRefusedError,
    InvalidLabelError,
    StaleDecisionError,
)
from review.labeling.models import PENDING, Adjudication, Assignment, AssignmentState, Cause, Queue
from review.labeling.services.judgements import NewLabel, judgement_of
from review.labeling.services.reviews import lock_reviews
from review.rollouts.models import Rollout


@transaction.atomic
def adjudicate(
    *,
    queue: Queue,
    rollout: Rollout,
    decided_by: User,
    new: NewLabel,
    reason: str,
    basis: str | None = None,
) -> Adjudication:
    """Settle labels that disagree, by somebody who wrote none of them. It needs no third review.

    The same decision sent twice is stored once. basis: of the `Case` that was read; what has come
    in since then refuses the decision. Who names it can also replace a decision that they saw.
    Holds the rollout's reviews: of two decisions at once the later one sees the other.
    """
    reviews = Assignment.objects.filter(queue=queue, rollout=rollout).exclude(cause=Cause.GOLD)
    if first := reviews.order_by("slot").first():
        lock_reviews(first)
        # Held, its steps stay as they are now.
        rollout.refresh_from_db(fields=["steps"])
    case = case_of(queue, rollout)
    if not (case.differs or case.objected or case.decision):
        raise AdjudicationRefusedError("Nothing disagrees here: there is nothing to settle.")
    if decided_by.pk in authors_of(rollout):
        raise AdjudicationRefusedError("One of these labels is yours: somebody else must decide.")
    if not reason.strip():
        raise InvalidLabelError(fields={"reason": "say why"})
    said = judgement_of(queue, rollout, new) | {"decided_by": decided_by, "reason": reason}
    decided = case.decision
    if decided and all(getattr(decided, name) == value for name, value in said.items()):
        return decided
    if basis != case.basis and (basis is not None or case.is_decided):
        raise StaleDecisionError
    decision = Adjudication.objects.create(queue=queue, rollout=rollout, **said)
    reviews.filter(state__in=PENDING).update(state=AssignmentState.WITHDRAWN)
    record_event(actor=decided_by, action="labels adjudicated", subject=decision)
    return decision
