"""A reviewer's answer, and what it sets off."""

from uuid import UUID

from django.db import transaction

from review.accounts.models import User
from review.flows import tasks
from review.labeling.models import Adjudication, Assignment, Cause, Label, Queue, SkipReason
from review.labeling.queries import has_pending
from review.labeling.services import labels as services
from review.labeling.services import reviews
from review.labeling.services.judgements import NewLabel
from review.rollouts.models import Rollout
from review.sampling.models import Wave
from review.sampling.queries import wave_that_drew


def commit_label(
    *,
    assignment: Assignment,
    reviewer: User,
    token: UUID,
    client_key: UUID,
    new: NewLabel,
) -> tuple[Label, bool]:
    """Store the label; the wave's last one sends the audit on its way."""
    with transaction.atomic():
        label, is_new = services.commit_label(
            assignment=assignment,
            reviewer=reviewer,
            token=token,
            client_key=client_key,
            new=new,
        )
        _advance_when_answered(assignment)
    return label, is_new


def retract_label(*, queue: Queue, reviewer: User) -> Assignment:
    """Take the reviewer's newest label back; what was estimated from it is estimated anew."""
    with transaction.atomic():
        assignment = services.retract_label(queue=queue, reviewer=reviewer)
        _advance_when_answered(assignment)
    return assignment


def skip_item(
    *, assignment: Assignment, reviewer: User, token: UUID, reason: SkipReason, note: str = ""
) -> None:
    with transaction.atomic():
        services.skip_item(
            assignment=assignment, reviewer=reviewer, token=token, reason=reason, note=note
        )
        _advance_when_answered(assignment)


def adjudicate(
    *, queue: Queue, rollout: Rollout, decided_by: User, new: NewLabel, reason: str
) -> Adjudication:
    """Settle labels that disagree; it may be the last thing that a wave waits for."""
    with transaction.atomic():
        decision = reviews.adjudicate(
            queue=queue,
            rollout=rollout,
            decided_by=decided_by,
            new=new,
            reason=reason,
        )
        wave = wave_that_drew(queue.rule, rollout)
        _advance_after_commit(wave, str(queue.rule.run_id))
    return decision


def _advance_when_answered(assignment: Assignment) -> None:
    if assignment.cause != Cause.GOLD:
        _advance_after_commit(assignment.wave, str(assignment.queue.rule.run_id))


def _advance_after_commit(wave: Wave | None, run_id: str) -> None:
    """After the commit: of two last answers at once, the later one sees the other's.

    A pick, or an item of a wave that is closed already, changes estimates but draws nothing.
    """

    def advance() -> None:
        if wave is None or not wave.is_open:
            tasks.refresh_soon(run_id)
        elif not has_pending(wave):
            tasks.advance_window_task.delay(str(wave.window_id))

    # Robust: with the broker away the label is stored, and the sweep finds the wave.
    transaction.on_commit(advance, robust=True)
