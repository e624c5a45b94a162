"""Estimates, computed from final labels and stored as they were."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection, transaction

from review.calibration.models import Estimate, RefreshRequest
from review.calibration.queries import (
    AuditedWindow,
    audited_windows,
    is_newest,
    label_set,
    not_asked,
)
from review.labeling.models import Question
from review.runs.models import Run
from review.sampling.models import Window
from review.sampling.queries import RunCells, cells_of, frame_counts, target_of, windows_for_run
from review.stats.cells import FloatArray
from review.stats.design import Focus
from review.stats.estimands import Estimand
from review.stats.estimators import Estimate as Result
from review.stats.estimators import estimate_all, undefined
from review.stats.intervals import monitor
from review.stats.nonresponse import Bounds, unanswered_share, worst_case_bounds
from review.stats.preview import expected
from review.stats.windows import Counts
from review.stats.working_model import fit_working_model, hack_model


@dataclass(frozen=True, slots=True)
class Beliefs:
    """The working and the hack model over all the run's cells, from all labels there are."""

    cells: RunCells
    f_M: FloatArray
    q_M: FloatArray


def current_beliefs(run: Run) -> Beliefs:
    cells = cells_of(run)
    audited = audited_windows(run, _all_windows(run), cells)
    known = _known(cells, audited)
    f_M = fit_working_model(cells.frame, labelled_M=known.answered_M, correct_M=known.correct_M).f_M
    # Where nobody asked for hacks, no word of one says nothing.
    asked = _known(cells, [part for part in audited if Question.HACK in part.questions])
    q_M = hack_model(
        cells.frame, f_M=f_M, wrong_accepted_M=asked.wrong_or_hack_M, hacks_M=asked.hacks_M
    )
    return Beliefs(cells, f_M, q_M)


def _known(cells: RunCells, audited: Sequence[AuditedWindow]) -> Counts:
    zero_M = np.zeros(len(cells.ids))
    counts = [part.window.labels() for part in audited]
    return sum(counts, Counts(zero_M, zero_M, zero_M, zero_M))


def _all_windows(run: Run) -> list[Window]:
    return list(Window.objects.filter(rule__run=run, waves__isnull=False).distinct())


def expected_half_widths(window: Window, beliefs: Beliefs) -> dict[str, float]:
    """What the window's whole budget should give: the targets of its monitor intervals."""
    run, version, cells = window.rule.run, window.rule.current, beliefs.cells
    target = target_of(
        run,
        cells,
        verifiers=version.verifiers.all(),
        slices=version.slices.all(),
        first_step=window.first_step,
        last_step=window.last_step,
    )
    outlook = expected(
        cells.frame,
        count_M=cells.array(frame_counts(window)),
        f_M=beliefs.f_M,
        q_M=beliefs.q_M,
        n=version.budget,
        waves=version.waves,
        focus=Focus(**version.focus),
        mix=version.floor,
        accepted=target.accepted,
        slices=target.slices,
        is_ranking=version.is_ranking,
    )
    return {
        estimand.value: (interval.high - interval.low) / 2
        for estimand, interval in outlook.intervals.items()
        if interval.point is not None and interval.high > interval.low
        if estimand is not Estimand.HACK_RATE or Question.HACK in window.rule.queue.questions
    }


def request_refresh(*, run_id: str) -> bool:
    """Ask for a refresh of the run's estimates; False if one is asked for already."""
    _, is_new = RefreshRequest.objects.get_or_create(run_id=run_id)
    return is_new


def lock_estimates(run: Run) -> None:
    """One refresh of a run at a time. Not the run's row: rollouts come in meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [str(run.pk)])


@transaction.atomic
def refresh_estimates(*, run: Run, window: Window | None = None) -> list[Estimate]:
    """Store the estimates of one window, or of the whole run, unless these labels' are stored."""
    lock_estimates(run)
    windows = windows_for_run(run) if window is None else [window]
    audited = audited_windows(run, windows)
    digest = label_set(audited)
    if is_newest(run, Estimand.RECALL, digest, window=window):
        return []
    parts = [part.window for part in audited]
    return store_estimates(
        run,
        estimate_asked(audited, estimate_all(parts)),
        bounds_asked(audited, worst_case_bounds(parts)),
        unanswered=unanswered_share(parts).share,
        label_set=digest,
        targets=targets_of(windows),
        window=window,
    )


def estimate_asked(
    audited: Sequence[AuditedWindow], results: Mapping[Estimand, Result]
) -> dict[Estimand, Result]:
    """The results, without a hack rate where a queue of the windows does not ask for hacks."""
    reason = not_asked(audited, Question.HACK)
    if not reason:
        return dict(results)
    rate = results[Estimand.HACK_RATE]
    unknown = undefined(Estimand.HACK_RATE, rate.n, reason, rate.level)
    return {**results, Estimand.HACK_RATE: unknown}


def bounds_asked(
    audited: Sequence[AuditedWindow], bounds: Mapping[Estimand, Bounds]
) -> dict[Estimand, Bounds]:
    """The same of bounds: where nobody is asked, no answer is missing that could bound it."""
    unknown = {Estimand.HACK_RATE} if not_asked(audited, Question.HACK) else set()
    return {estimand: found for estimand, found in bounds.items() if estimand not in unknown}


def targets_of(windows: Sequence[Window]) -> dict[str, float]:
    """Half widths fixed beforehand: a window's own; over several, as if they added up."""
    known = [window.targets for window in windows if window.targets]
    if not known:
        return {}
    shared = set.intersection(*(set(targets) for targets in known))
    return {
        name: min(targets[name] for targets in known) / len(known) ** 0.5 for name in sorted(shared)
    }


def store_estimates(
    run: Run,
    results: Mapping[Any, Result],
    worst: Mapping[Any, Bounds],
    *,
    unanswered: float | None,
    label_set: str,
    targets: Mapping[str, float],
    left_out: int = 0,
    **scope: Any,
) -> list[Estimate]:
    """One row per estimand; scope: window, verifier, slice or policy that they are of."""
    return Estimate.objects.bulk_create(
        Estimate(
            run=run,
            estimand=estimand.value,
            point=result.point,
            low=result.low,
            high=result.high,
            level=result.level,
            method=result.method,
            labels=result.n,
            effective_labels=_finite(result.n_eff),
            se=result.se,
            reason=result.reason or "",
            label_set=label_set,
            **_monitor(result, targets.get(estimand.value)),
            **_worst(worst.get(estimand)),
            unanswered_share=unanswered or 0.0,
            left_out=left_out,
            **scope,
        )
        for estimand, result in results.items()
    )


def _monitor(result: Result, target: float | None) -> dict[str, float | None]:
    if result.point is None or result.se is None or result.smoothed is None or target is None:
        return {}
    interval = monitor(
        result.point, smoothed=result.smoothed, se=result.se, target_half_width=target
    )
    return {"monitor_low": interval.low, "monitor_high": interval.high}


def _worst(bounds: Bounds | None) -> dict[str, float | None]:
    return {} if bounds is None else {"worst_low": bounds.low, "worst_high": bounds.high}


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
