"""Rules, windows and their frames, waves and their draws: sections 1 and 10 of the audit's design.

Each function that changes a window holds the window's row.
"""

import math
import secrets
from dataclasses import asdict, dataclass

import numpy as np
from django.db import connection, transaction
from django.utils import timezone

from review.core.models import record_event
from review.runs.models import Run
from review.sampling.errors import InvalidRuleError, RuleStateError
from review.sampling.models import (
    AuditRule,
    RuleState,
    Wave,
    WaveCell,
    WaveState,
    Window,
    WindowState,
)
from review.sampling.queries import (
    cells_of,
    drawn_counts,
    frame_counts,
    last_drawn_prns,
)
from review.stats.cells import FloatArray
from review.stats.design import Focus, draw_counts, plan_wave

# The estimator needs at least this many labels in a wave.
SMALLEST_WAVE = 8
MOST_LABELS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRule:
    name: str
    first_step: int
    last_step: int | None
    window_steps: int
    budget: int
    waves: int
    focus: Focus


@transaction.atomic
def create_rule(*, run: Run, new: NewRule, actor: object) -> AuditRule:
    _check_rule(new)
    rule = AuditRule.objects.create(
        run=run,
        name=new.name,
        first_step=new.first_step,
        last_step=new.last_step,
        window_steps=new.window_steps,
        budget=new.budget,
        waves=new.waves,
        focus=asdict(new.focus),
    )
    record_event(actor=actor, action="audit rule created", subject=rule, budget=new.budget)
    return rule


def _check_rule(new: NewRule) -> None:
    if not SMALLEST_WAVE <= new.budget <= MOST_LABELS:
        raise InvalidRuleError(fields={"budget": f"{SMALLEST_WAVE} to {MOST_LABELS} labels"})
    if not 1 <= new.waves <= 50:
        raise InvalidRuleError(fields={"waves": "1 to 50"})
    if new.first_step < 0:
        raise InvalidRuleError(fields={"first_step": "0 or later"})
    if new.window_steps < 1:
        raise InvalidRuleError(fields={"window_steps": "at least 1"})
    if new.last_step is not None and new.last_step < new.first_step:
        raise InvalidRuleError(fields={"last_step": "not before the first step"})


@transaction.atomic
def start_rule(*, rule: AuditRule, actor: object) -> AuditRule:
    rule = AuditRule.objects.select_for_update().get(pk=rule.pk)
    if rule.state != RuleState.DRAFT:
        raise RuleStateError("This audit has been started already.")
    rule.state = RuleState.ACTIVE
    rule.started_at = timezone.now()
    rule.save(update_fields=["state", "started_at"])
    record_event(actor=actor, action="audit started", subject=rule)
    return rule


@transaction.atomic
def extend_windows(*, rule: AuditRule) -> list[Window]:
    """Make the rule's next windows as its run moves on; those whose last step is in, to be frozen.

    When the run is over, its last window ends where the run did, and the rule has no more.
    """
    rule = AuditRule.objects.select_for_update(of=("self",)).select_related("run").get(pk=rule.pk)
    if rule.state != RuleState.ACTIVE:
        return []
    run = rule.run
    known = set(rule.windows.values_list("number", flat=True))
    for number in sorted(_window_numbers(rule) - known):
        first = rule.first_step + number * rule.window_steps
        last = first + rule.window_steps - 1
        if rule.last_step is not None:
            last = min(last, rule.last_step)
        Window.objects.create(rule=rule, number=number, first_step=first, last_step=last)
    if not run.is_running:
        rule.windows.filter(state=WindowState.COLLECTING, last_step__gt=run.completed_step).update(
            last_step=run.completed_step
        )
    return list(
        rule.windows.filter(state=WindowState.COLLECTING, last_step__lte=run.completed_step)
    )


def _window_numbers(rule: AuditRule) -> set[int]:
    """The windows that have rollouts; a run may skip steps, and a window without any is none."""
    steps = rule.run.step_summaries.filter(step__gte=rule.first_step)
    if rule.last_step is not None:
        steps = steps.filter(step__lte=rule.last_step)
    return {
        (step - rule.first_step) // rule.window_steps
        for step in steps.values_list("step", flat=True)
    }


@transaction.atomic
def write_frame(*, window: Window) -> None:
    """Fix the window's frame: a row with its PRN for every rollout. Safe to run twice."""
    window = Window.objects.select_for_update(of=("self",)).select_related("rule").get(pk=window.pk)
    if window.state != WindowState.COLLECTING:
        return
    inner, outer = _hmac_pads(bytes(window.secret))
    with connection.cursor() as cursor:
        cursor.execute(
            FRAME_SQL,
            {
                "window": window.pk,
                "run": window.rule.run_id,
                "first": window.first_step,
                "last": window.last_step,
                "inner": inner,
                "outer": outer,
            },
        )
        cursor.execute(
            "INSERT INTO sampling_framecell (window_id, cell_id, rollouts)"
            " SELECT window_id, cell_id, count(*) FROM sampling_framerow"
            " WHERE window_id = %s GROUP BY window_id, cell_id",
            [window.pk],
        )
    window.frame_size = sum(frame_counts(window).values())
    window.state = WindowState.OPEN if window.frame_size else WindowState.CLOSED
    window.save(update_fields=["frame_size", "state"])


# HMAC-SHA256 from PostgreSQL's sha256() and the two padded keys; its first 63 bits are the PRN.
FRAME_SQL = """
INSERT INTO sampling_framerow (window_id, cell_id, prn, rollout_id)
SELECT %(window)s, cell_id,
       ('x' || encode(substring(
           sha256(%(outer)s || sha256(%(inner)s || convert_to(uid, 'UTF8'))) FOR 8
       ), 'hex'))::bit(64)::bigint & x'7fffffffffffffff'::bigint,
       id
FROM rollouts_rollout
WHERE run_id = %(run)s AND step BETWEEN %(first)s AND %(last)s
"""


def _hmac_pads(key: bytes) -> tuple[bytes, bytes]:
    """RFC 2104 for a key of at most SHA-256's block of 64 bytes."""
    block = key.ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in block), bytes(byte ^ 0x5C for byte in block)


@transaction.atomic
def draw_wave(
    *, window: Window, f_M: FloatArray, q_M: FloatArray, seed: int | None = None
) -> Wave | None:
    """Plan and draw the window's next wave; None if one is open or there is nothing to draw.

    f_M and q_M are the working and the hack model over all the run's cells.
    """
    window = (
        Window.objects.select_for_update(of=("self",)).select_related("rule__run").get(pk=window.pk)
    )
    number = window.waves.count() + 1
    if window.state != WindowState.OPEN or window.waves.filter(state=WaveState.OPEN).exists():
        return None
    cells = cells_of(window.rule.run)
    count_M = cells.array(frame_counts(window))
    remaining_M = count_M - cells.array(drawn_counts(window))
    plan = plan_wave(
        cells.frame,
        remaining_M=remaining_M,
        count_M=count_M,
        f_M=f_M,
        q_M=q_M,
        n=_labels_of_wave(window, number),
        focus=Focus(**window.rule.focus),
    )
    if plan.n == 0:
        return None
    seed = secrets.randbits(62) if seed is None else seed
    drawn_M = draw_counts(plan, remaining_M, seed=seed)
    wave = Wave.objects.create(window=window, number=number, planned=plan.n, seed=seed)
    WaveCell.objects.bulk_create(
        WaveCell(
            wave=wave,
            cell_id=cells.ids[m],
            remaining=remaining_M[m],
            stratum=plan.stratum_M[m] if remaining_M[m] else None,
            weight=plan.weight_H[plan.stratum_M[m]] if remaining_M[m] else None,
            p_correct=f_M[m],
            p_hack=q_M[m],
        )
        for m in np.flatnonzero(count_M)
    )
    wanted = {cells.ids[m]: int(k) for m, k in enumerate(drawn_M) if k > 0}
    _draw_next(wave, wanted)
    return wave


def _labels_of_wave(window: Window, number: int) -> int:
    """The window's budget in equal waves, as many as the smallest usable wave allows."""
    waves = max(1, min(window.rule.waves, window.rule.budget // SMALLEST_WAVE))
    if number > waves:
        return 0
    until = math.floor(window.rule.budget * number / waves)
    return until - math.floor(window.rule.budget * (number - 1) / waves)


def _draw_next(wave: Wave, wanted: dict[int, int]) -> None:
    """The next so many rollouts of each cell in PRN order: reads as many frame rows as it draws."""
    last = last_drawn_prns(wave.window)
    with connection.cursor() as cursor:
        cursor.execute(
            DRAW_SQL,
            {
                "window": wave.window_id,
                "wave": wave.pk,
                "cells": list(wanted),
                "counts": list(wanted.values()),
                "after": [last.get(cell_id, -1) for cell_id in wanted],
            },
        )


DRAW_SQL = """
INSERT INTO sampling_draw (window_id, wave_id, rollout_id, cell_id, stratum, prn, weight)
SELECT %(window)s, %(wave)s, next.rollout_id, wanted.cell_id, seen.stratum, next.prn, seen.weight
FROM unnest(%(cells)s::bigint[], %(counts)s::bigint[], %(after)s::bigint[])
         AS wanted (cell_id, rollouts, after)
JOIN sampling_wavecell AS seen ON seen.wave_id = %(wave)s AND seen.cell_id = wanted.cell_id
CROSS JOIN LATERAL (
    SELECT prn, rollout_id FROM sampling_framerow
    WHERE window_id = %(window)s AND cell_id = wanted.cell_id AND prn > wanted.after
    ORDER BY prn LIMIT wanted.rollouts
) AS next
"""


@transaction.atomic
def close_wave(*, wave: Wave) -> None:
    """Every draw of the wave is answered or given up. Safe to run twice."""
    Window.objects.select_for_update().get(pk=wave.window_id)
    Wave.objects.filter(pk=wave.pk, state=WaveState.OPEN).update(
        state=WaveState.CLOSED, closed_at=timezone.now()
    )


@transaction.atomic
def close_window(*, window: Window) -> None:
    """No further wave: the window's budget or its frame is used up."""
    Window.objects.filter(pk=window.pk, state=WindowState.OPEN).update(
        state=WindowState.CLOSED, closed_at=timezone.now()
    )
    settle_rule(rule=window.rule)


@transaction.atomic
def settle_rule(*, rule: AuditRule) -> None:
    """The rule is finished when every window that it can have is closed."""
    rule = AuditRule.objects.select_for_update(of=("self",)).select_related("run").get(pk=rule.pk)
    if rule.state == RuleState.ACTIVE and _is_exhausted(rule):
        rule.state = RuleState.FINISHED
        rule.save(update_fields=["state"])


def _is_exhausted(rule: AuditRule) -> bool:
    """No window is open, and none can follow."""
    if rule.windows.exclude(state=WindowState.CLOSED).exists():
        return False
    is_past_end = rule.last_step is not None and rule.run.completed_step >= rule.last_step
    return is_past_end or not rule.run.is_running
