"""What a lead can pick to be labelled beside the sample."""

from django.db.models import Q

from review.rollouts.queries import cells_inside
from review.rollouts.slices import Conditions, rows_of_rollouts
from review.sampling.models import AuditRule, Draw, Pick, WaveState, WindowState


def pickable_rollouts(rule: AuditRule, conditions: Conditions = (), *, most: int) -> list[int]:
    """Rollouts of the rule's open windows inside the slice, by chance.

    Neither drawn nor picked, and their text is there. One range scan of the open windows.
    """
    windows = rule.windows.filter(state=WindowState.OPEN)
    in_windows = Q(pk__in=[])
    for window in windows:
        in_windows |= Q(step__range=(window.first_step, window.last_step))
    drawn = Draw.objects.filter(window__in=windows).exclude(wave__state=WaveState.CANCELLED)
    picked = Pick.objects.filter(window__in=windows)
    rows = (
        rule.run.rollouts.filter(in_windows, purged_at__isnull=True)
        .filter(rows_of_rollouts(conditions, step_block=rule.run.step_block))
        .filter(cells_inside(rule.run, conditions))
        .exclude(pk__in=drawn.values("rollout"))
        .exclude(pk__in=picked.values("rollout"))
    )
    return list(rows.order_by("?").values_list("pk", flat=True)[:most])
