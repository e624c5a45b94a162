"""Known answers, and who may be served a queue: who has passed its practice and is not paused."""

from django.db import transaction
from django.db.models import Exists

from review.accounts.models import User
from review.core.models import record_event
from review.labeling.errors import InvalidLabelError, NotQualifiedError, PausedError
from review.labeling.models import Answer, GoldItem, Pause, Qualification, Queue
from review.rollouts.models import Rollout


def refuse_unqualified(*, queue: Queue, reviewer: User) -> None:
    """Raises NotQualifiedError or PausedError. One query; none where the queue asks for neither."""
    if not queue.practice_size and queue.gold_mark is None:
        return
    theirs = {"queue": queue.pk, "reviewer": reviewer.pk}
    is_qualified, is_paused = (
        Queue.objects.filter(pk=queue.pk)
        .values_list(
            Exists(Qualification.objects.filter(**theirs)),
            Exists(Pause.objects.filter(**theirs, lifted_at=None)),
        )
        .get()
    )
    if queue.practice_size and not is_qualified:
        raise NotQualifiedError
    if queue.gold_mark is not None and is_paused:
        raise PausedError


@transaction.atomic
def mark_gold(
    *,
    rollout: Rollout,
    answer: Answer,
    is_hack: bool = False,
    is_practice: bool = False,
    explanation: str = "",
    actor: object,
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
            "is_practice": is_practice,
            "explanation": explanation,
            "set_by": str(actor),
        },
    )
    if is_new:
        record_event(actor=actor, action="gold set", subject=gold)
    return gold
