"""Waves and their draws: sections 1 and 10 of the audit's design.

Each function that changes a window's waves holds the window's row.
"""

import secrets
from collections.abc import Mapping, Sequence

import numpy as np
from django.db import connection, transaction
from django.utils import timezone

from review.core.models import record_event
from review.sampling.models import (
    BudgetPer,
    Draw,
    Pick,
    PickCause,
    RuleState,
    RuleVersion,
    Wave,
    WaveCell,
    WaveState,
    Window,
    WindowState,
)
from review.sampling.queries import (
    RunCells,
    cells_of,
    frame_counts,
    labels_drawn_on,
    last_drawn_prns,
    leftovers,
    spent_labels,
    taken_counts,
    target_of,
)
from review.sampling.services.rules import SMALLEST_WAVE, lock_rule
from review.stats.cells import FloatArray, IntArray
from review.stats.design import Focus, WavePlan, draw_counts, plan_wave


@transaction.atomic
def draw_wave(
    *,
    window: Window,
    f_M: FloatArray,
    q_M: FloatArray,
    cells: RunCells | None = None,
    targets: Mapping[str, float] | None = None,
    seed: int | None = None,
) -> Wave | None:
    """Plan and draw the window's next wave; None if one is open or there is nothing to draw now.

    f_M and q_M are the working and the hack model over `cells`, which are the run's as the models
    were made: it may have got more since, none of them in the window's closed frame. targets: the
    half widths that the whole budget is expected to give; kept with the window's first wave.
    """
    rule = lock_rule(window.rule_id)
    window = (
        Window.objects.select_for_update(of=("self",)).select_related("rule__run").get(pk=window.pk)
    )
    is_ready = rule.state == RuleState.ACTIVE and window.state == WindowState.OPEN
    if not is_ready or window.waves.filter(state=WaveState.OPEN).exists():
        return None
    version = window.rule.current
    cells = cells or cells_of(window.rule.run)
    count_M = cells.array(frame_counts(window))
    remaining_M = count_M - cells.array(taken_counts(window))
    n = next_wave_size(window, version)
    plan = _plan(window, version, cells, count_M, remaining_M, f_M, q_M, n)
    if plan.n == 0:
        return None
    if not window.targets and targets:
        window.targets = dict(targets)
        window.save(update_fields=["targets"])
    seed = secrets.randbits(62) if seed is None else seed
    drawn_M = draw_counts(plan, remaining_M, seed=seed)
    wave = Wave.objects.create(
        window=window,
        version=version,
        number=window.waves.count() + 1,
        planned=plan.n,
        seed=seed,
    )
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
    wanted = _draw_leftovers(wave, wanted, dict(zip(cells.ids, remaining_M, strict=True)))
    _draw_next(wave, wanted)
    return wave


def _plan(
    window: Window,
    version: RuleVersion,
    cells: RunCells,
    count_M: IntArray,
    remaining_M: IntArray,
    f_M: FloatArray,
    q_M: FloatArray,
    n: int,
) -> WavePlan:
    target = target_of(
        window.rule.run,
        cells,
        verifiers=version.verifiers.all(),
        slices=version.slices.all(),
        first_step=window.first_step,
        last_step=window.last_step,
    )
    return plan_wave(
        cells.frame,
        remaining_M=remaining_M,
        count_M=count_M,
        f_M=f_M,
        q_M=q_M,
        n=n,
        focus=Focus(**version.focus),
        mix=version.floor,
        accepted=target.accepted,
        slices=target.slices,
        is_ranking=version.is_ranking,
    )


def next_wave_size(window: Window, version: RuleVersion) -> int:
    """Labels of the window's next wave; 0 when the budget is used up, for the window or for today.

    A window's budget is spread evenly over the waves that are left, as many as the smallest usable
    wave allows.
    """
    if version.budget_per == BudgetPer.DAY:
        left = version.budget - labels_drawn_on(window.rule, timezone.now())
        size = max(version.budget // version.waves, SMALLEST_WAVE)
        return min(size, left) if left >= SMALLEST_WAVE else 0
    left = version.budget - spent_labels(window)
    drawn = window.waves.exclude(state=WaveState.CANCELLED).count()
    waves = max(1, min(version.waves - drawn, left // SMALLEST_WAVE))
    return left // waves if left >= SMALLEST_WAVE else 0


def is_spent(window: Window) -> bool:
    """Whether no further wave can come: nothing is left to draw, or no budget to draw it with.

    A daily budget serves a window until the rule's next one is open.
    """
    frame_size = window.frame_size or 0
    if sum(taken_counts(window).values()) >= frame_size:
        return True
    version = window.rule.current
    if version.budget_per == BudgetPer.DAY:
        later = window.rule.windows.filter(number__gt=window.number)
        return later.exclude(state=WindowState.COLLECTING).exists()
    return next_wave_size(window, version) == 0


def _draw_leftovers(
    wave: Wave, wanted: Mapping[int, int], remaining: Mapping[int, int]
) -> dict[int, int]:
    """Draw what falls to rollouts that a cancelled wave left unanswered; what is then still wanted.

    They are drawn like any other: as many as chance puts among them, each as likely as the next.
    """
    left = leftovers(wave.window)
    rng = np.random.default_rng((wave.seed, 1))
    chosen: list[Draw] = []
    still = dict(wanted)
    for cell_id in sorted(left.keys() & wanted.keys()):
        draws = left[cell_id]
        untouched = int(remaining[cell_id]) - len(draws)
        hits = int(rng.hypergeometric(len(draws), untouched, wanted[cell_id]))
        chosen += [draws[i] for i in rng.permutation(len(draws))[:hits]]
        still[cell_id] -= hits
    _store_again(wave, chosen)
    return {cell_id: count for cell_id, count in still.items() if count}


def _store_again(wave: Wave, draws: Sequence[Draw]) -> None:
    drawable = wave.cells.filter(cell__in={draw.cell_id for draw in draws}, stratum__isnull=False)
    seen = {row.cell_id: (row.stratum or 0, row.weight or 1.0) for row in drawable}
    Draw.objects.bulk_create(
        Draw(
            window=wave.window,
            wave=wave,
            rollout_id=draw.rollout_id,
            cell_id=draw.cell_id,
            prn=draw.prn,
            stratum=seen[draw.cell_id][0],
            weight=seen[draw.cell_id][1],
        )
        for draw in draws
    )


def _draw_next(wave: Wave, wanted: Mapping[int, int]) -> None:
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
      AND NOT EXISTS (
          SELECT FROM sampling_pick AS pick
          WHERE pick.window_id = %(window)s AND pick.rollout_id = sampling_framerow.rollout_id
      )
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
def cancel_wave(*, wave: Wave, answered: Sequence[int], actor: object) -> None:
    """Give the wave up. What was answered is known to later waves, the rest can be drawn again.

    answered: ids of the rollouts that have an answer. The wave itself is in no estimate.
    """
    window = Window.objects.select_for_update().get(pk=wave.window_id)
    cancelled = Wave.objects.filter(pk=wave.pk, state=WaveState.OPEN).update(
        state=WaveState.CANCELLED, closed_at=timezone.now()
    )
    if not cancelled:
        return
    Pick.objects.bulk_create(
        Pick(
            window=window,
            rollout_id=draw.rollout_id,
            cell_id=draw.cell_id,
            cause=PickCause.CANCELLED,
            known_from=wave.number + 1,
            picked_by=str(actor),
        )
        for draw in wave.draws.filter(rollout__in=answered)
    )
    record_event(actor=actor, action="wave cancelled", subject=wave, answered=len(answered))
