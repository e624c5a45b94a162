"""Whoever is surely too often wrong on known answers is served nothing until a lead says so."""

from django.db import transaction
from django.utils import timezone

from review.accounts.models import User
from review.core.models import record_event
from review.labeling.known_answers import gold_score
from review.labeling.models import Assignment, AssignmentState, Cause, Label, Pause, Queue
from review.labeling.services.leases import released
from review.stats.intervals import wilson

# Fewer known answers say nothing of anybody.
LEAST_GOLD = 5


@transaction.atomic
def pause_if_wrong(*, label: Label) -> Pause | None:
    """After an answer to a known item: pause the reviewer who is surely under the queue's mark.

    Two at once store one pause; what the reviewer holds goes back to the queue.
    """
    assignment, reviewer = label.assignment, label.reviewer
    mark = assignment.queue.gold_mark
    if assignment.cause != Cause.GOLD or mark is None:
        return None
    right, answered = gold_score(assignment.queue, reviewer)
    if answered < LEAST_GOLD or wilson(right, answered).high >= mark:
        return None
    pause, is_new = Pause.objects.get_or_create(
        queue=assignment.queue,
        reviewer=reviewer,
        lifted_at=None,
        defaults={"reason": f"{right} of {answered} known answers right, mark {100 * mark:g} %"},
    )
    if is_new:
        _release(assignment.queue, reviewer)
        record_event(actor="known answers", action="reviewer paused", subject=pause)
    return pause


def _release(queue: Queue, reviewer: User) -> None:
    Assignment.objects.filter(queue=queue, reviewer=reviewer, state=AssignmentState.LEASED).update(
        **released()
    )


@transaction.atomic
def lift_pause(*, pause: Pause, actor: object) -> None:
    """The reviewer is served again; their known answers are counted from here on."""
    is_lifted = Pause.objects.filter(pk=pause.pk, lifted_at=None).update(
        lifted_at=timezone.now(), lifted_by=str(actor)
    )
    if is_lifted:
        record_event(actor=actor, action="pause lifted", subject=pause)
