"""Windows and their frames: section 1 of the audit's design."""

from django.db import connection, transaction
from django.utils import timezone

from review.core.models import record_event
from review.sampling.models import AuditRule, RuleState, Window, WindowState
from review.sampling.queries import Grid, frame_counts, grid_of, missing_windows
from review.sampling.services.rules import lock_rule, settle_rule


@transaction.atomic
def extend_windows(*, rule: AuditRule) -> list[Window]:
    """Make the rule's next windows as its run moves on; those whose last step is in, to be frozen.

    Windows without a frame follow a change of where the rule ends. When the run is over, its last
    window ends where the run did, and the rule has no more.
    """
    rule = lock_rule(rule.pk)
    if rule.state != RuleState.ACTIVE:
        return []
    run, grid = rule.run, grid_of(rule)
    _follow(rule, grid)
    for number in sorted(missing_windows(rule)):
        first, last = grid.steps_of(number)
        Window.objects.create(rule=rule, number=number, first_step=first, last_step=last)
    if not run.is_running:
        collecting = rule.windows.filter(state=WindowState.COLLECTING)
        collecting.filter(first_step__gt=run.completed_step).delete()
        collecting.filter(last_step__gt=run.completed_step).update(last_step=run.completed_step)
    return list(
        rule.windows.filter(state=WindowState.COLLECTING, last_step__lte=run.completed_step)
    )


def _follow(rule: AuditRule, grid: Grid) -> None:
    for window in rule.windows.filter(state=WindowState.COLLECTING):
        steps = grid.steps_of(window.number)
        if steps[0] > steps[1]:
            window.delete()
        elif steps != (window.first_step, window.last_step):
            window.first_step, window.last_step = steps
            window.save(update_fields=["first_step", "last_step"])


@transaction.atomic
def write_frame(*, window: Window) -> None:
    """Fix the window's frame: a row with its PRN for every rollout. Safe to run twice."""
    rule = lock_rule(window.rule_id)
    # It may have gone or grown meanwhile, with another end of the rule.
    complete = rule.windows.filter(
        state=WindowState.COLLECTING, last_step__lte=rule.run.completed_step
    )
    held = complete.select_for_update().filter(pk=window.pk).first()
    if held is None or rule.state != RuleState.ACTIVE:
        return
    inner, outer = _hmac_pads(bytes(held.secret))
    with connection.cursor() as cursor:
        cursor.execute(
            FRAME_SQL,
            {
                "window": held.pk,
                "run": rule.run_id,
                "first": held.first_step,
                "last": held.last_step,
                "inner": inner,
                "outer": outer,
            },
        )
        cursor.execute(
            "INSERT INTO sampling_framecell (window_id, cell_id, rollouts)"
            " SELECT window_id, cell_id, count(*) FROM sampling_framerow"
            " WHERE window_id = %s GROUP BY window_id, cell_id",
            [held.pk],
        )
    held.frame_size = sum(frame_counts(held).values())
    held.state = WindowState.OPEN if held.frame_size else WindowState.CLOSED
    held.save(update_fields=["frame_size", "state"])


# HMAC-SHA256 from PostgreSQL's sha256() and the two padded keys; its first 63 bits are the PRN.
# In the order of the index, which would else be written all over.
FRAME_SQL = """
INSERT INTO sampling_framerow (window_id, cell_id, prn, rollout_id)
SELECT %(window)s, cell_id,
       ('x' || encode(substring(
           sha256(%(outer)s || sha256(%(inner)s || convert_to(uid, 'UTF8'))) FOR 8
       ), 'hex'))::bit(64)::bigint & x'7fffffffffffffff'::bigint,
       id
FROM rollouts_rollout
WHERE run_id = %(run)s AND step BETWEEN %(first)s AND %(last)s
ORDER BY cell_id, 3
"""


def _hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """RFC 2104 for a key of at most SHA-256's block of 64 bytes."""
    block = key.ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


@transaction.atomic
def close_window(*, window: Window) -> None:
    """No further wave: the window's budget or its frame is used up."""
    lock_rule(window.rule_id)
    Window.objects.filter(pk=window.pk, state=WindowState.OPEN).update(
        state=WindowState.CLOSED, closed_at=timezone.now()
    )
    settle_rule(rule=window.rule)


@transaction.atomic
def end_window(*, window: Window, actor: object) -> None:
    """A lead closes the window before its budget is used up; it has no open wave any more."""
    lock_rule(window.rule_id)
    ended = Window.objects.filter(pk=window.pk, state=WindowState.OPEN).update(
        state=WindowState.CLOSED, closed_at=timezone.now(), is_ended_early=True
    )
    if ended:
        record_event(actor=actor, action="audit window ended early", subject=window)
        settle_rule(rule=window.rule)
