"""A reviewer's answer, and what it sets off."""

from uuid import UUID

from django.db import transaction

from review.accounts.models import User
from review.flows import tasks
from review.labeling import services
from review.labeling.models import Assignment, Label, SkipReason
from review.labeling.queries import has_pending


def commit_label(
    *,
    assignment: Assignment,
    reviewer: User,
    token: UUID,
    client_key: UUID,
    new: services.NewLabel,
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


def skip_item(
    *, assignment: Assignment, reviewer: User, token: UUID, reason: SkipReason, note: str = ""
) -> None:
    with transaction.atomic():
        services.skip_item(
            assignment=assignment, reviewer=reviewer, token=token, reason=reason, note=note
        )
        _advance_when_answered(assignment)


def _advance_when_answered(assignment: Assignment) -> None:
    """After the commit: of two last answers at once, the later one sees the other's."""
    window_id = str(assignment.draw.window_id)
    wave = assignment.wave

    def advance() -> None:
        if not has_pending(wave):
            tasks.advance_window_task.delay(window_id)

    # Robust: with the broker away the label is stored, and the sweep finds the wave.
    transaction.on_commit(advance, robust=True)
