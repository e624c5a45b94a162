"""Purposive picks: labelled the same way, never in an estimate's sampled part."""

from collections.abc import Sequence

from django.db import transaction

from review.core.models import record_event
from review.sampling.errors import RuleStateError
from review.sampling.models import (
    AuditRule,
    Pick,
    PickCause,
    RuleState,
    Window,
    WindowState,
)
from review.sampling.queries import pickable


@transaction.atomic
def pick_rollouts(
    *, rule: AuditRule, rollouts: Sequence[int], cause: PickCause, note: str = "", actor: object
) -> list[Pick]:
    """Put rollouts beside the sample of the windows that hold them.

    Those that a wave has drawn, that are picked already or lie in none of the rule's open windows
    are left out. Locks the windows: no wave is drawn meanwhile.
    """
    if not AuditRule.objects.filter(pk=rule.pk, state=RuleState.ACTIVE).exists():
        raise RuleStateError("Rollouts can be picked while the audit is going on.")
    windows = list(
        Window.objects.select_for_update().filter(rule=rule, state=WindowState.OPEN).order_by("pk")
    )
    picks: list[Pick] = []
    for window in windows:
        known_from = window.waves.count() + 1
        picks += [
            Pick(
                window=window,
                rollout_id=rollout_id,
                cell_id=cell_id,
                cause=cause,
                known_from=known_from,
                picked_by=str(actor),
                note=note,
            )
            for rollout_id, cell_id in _pickable(window, rollouts)
        ]
    stored = Pick.objects.bulk_create(picks)
    record_event(actor=actor, action="rollouts picked", subject=rule, cause=cause, n=len(stored))
    return stored


def _pickable(window: Window, rollouts: Sequence[int]) -> list[tuple[int, int]]:
    rows = pickable(window).filter(pk__in=rollouts)
    return list(rows.order_by("pk").values_list("pk", "cell_id"))
