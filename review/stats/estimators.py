"""Design-unbiased estimates from audit waves, with intervals.

The estimator is the wave-wise difference estimator (an adaptive, batch-wise AIPW): waves are
never pooled into one stratified sample, whose adaptive allocation would make the verifier look
better than it is.

Shape suffixes: M = cells (of all windows, one after the other), P = post-strata.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from review.stats.cells import BoolArray, FloatArray
from review.stats.estimands import Estimand, Ratio, ratio
from review.stats.intervals import effective_n, ess_wilson
from review.stats.pooling import Pooled, pool_windows
from review.stats.variance import (
    Linearised,
    linearised_correct,
    linearised_hacks,
    satterthwaite,
    variance_by_post_stratum,
)
from review.stats.windows import Window

METHOD = "wave-wise difference, ESS-Wilson"
MIN_LABELS = 32
TOO_FEW = "too few labels"
NO_ROLLOUT = "no rollout in the denominator"


@dataclass(frozen=True, slots=True)
class View:
    """Whose verdicts on which rollouts: `slice_M` weights the cells of all windows, 0 to 1."""

    accepted_M: BoolArray
    slice_M: FloatArray


@dataclass(frozen=True, slots=True)
class Estimate:
    """`point` is None, the interval [0, 1] and `reason` says why, where nothing can be said.

    n: answered items of closed waves (in the slice); n_eff: the size of a uniform sample with the
    same variance (inf for a census). `se` and `smoothed` feed `intervals.monitor`; `df` are the
    degrees of freedom of `se`.
    """

    estimand: StrEnum
    point: float | None
    low: float
    high: float
    level: float
    method: str
    n: int
    n_eff: float | None = None
    reason: str | None = None
    se: float | None = None
    smoothed: float | None = None
    df: float | None = None


def estimate_all(
    windows: Sequence[Window],
    *,
    slices: Sequence[NDArray[np.generic]] | None = None,
    accepted: Sequence[BoolArray] | None = None,
    level: float = 0.95,
) -> dict[Estimand, Estimate]:
    """Every estimand over one or several windows, as `estimate` would give it."""
    view = view_of(windows, slices=slices, accepted=accepted)
    if answers(windows) < MIN_LABELS:
        n = answers(windows, view.slice_M)
        return {e: undefined(e, n, TOO_FEW, level) for e in Estimand}
    pooled = pool_windows(audited(windows), verdicts=(view.accepted_M,), apart=(view.slice_M > 0,))
    return {e: _estimate(pooled, e, view, level) for e in Estimand}


def estimate(
    windows: Sequence[Window],
    *,
    estimand: Estimand,
    slices: Sequence[NDArray[np.generic]] | None = None,
    accepted: Sequence[BoolArray] | None = None,
    level: float = 0.95,
) -> Estimate:
    """One estimand over one or several windows (only their closed waves), or a slice of them.

    Estimand: see `Estimand`; it is a property of the rollouts in these windows' frames. Windows
    without a closed wave are outside it. `slices` weights each window's cells, 0 to 1; `accepted`
    gives the cells of each window that another verifier accepts, whose estimands these then are.
    A slice or a verdict that differs inside cells needs `refine` first.
    Assumes: labels are right; an unanswered item is missing at random inside its stratum.
    Point: T(z) of `pool_windows`. Interval: Wilson with the effective sample size of a smoothed
    variance, two small-sample factors, and a Satterthwaite t.
    Degenerate: fewer than 32 answers, no correct (recall) or no incorrect (FPR) answer, or
    no rollout in the denominator: no point, [0, 1], and the reason. Where nothing is left to
    chance (a census; the recall of a verifier that accepts everything) the interval is the point;
    zero events in a sample never give width 0, and the interval then holds 0 (or 1).
    Source: Zrnic and Candes, arXiv 2403.03208 (ICML 2024), made wave-wise and stratified.
    """
    return estimate_all(windows, slices=slices, accepted=accepted, level=level)[estimand]


def answers(windows: Sequence[Window], slice_M: FloatArray | None = None) -> int:
    """Answered items of closed waves, in the cells (of all audited windows) of a slice."""
    labels = [window.drawn_labels().answered_M for window in audited(windows)]
    if not labels:
        return 0
    answered_M = np.concatenate(labels)
    return int(answered_M.sum() if slice_M is None else answered_M[slice_M > 0].sum())


def audited(windows: Sequence[Window]) -> list[Window]:
    """The windows with a closed wave."""
    return [window for window in windows if window.waves]


def view_of(
    windows: Sequence[Window],
    *,
    slices: Sequence[NDArray[np.generic]] | None = None,
    accepted: Sequence[BoolArray] | None = None,
) -> View:
    """What to look at in the audited ones of these windows: everything, the frames' verdicts."""
    if slices is None:
        slices = [np.ones(len(window.frame)) for window in windows]
    if accepted is None:
        accepted = [window.frame.accepted_M for window in windows]
    pairs = zip(windows, slices, accepted, strict=True)
    kept = [(accepted_M, slice_M) for window, slice_M, accepted_M in pairs if window.waves]
    return View(
        accepted_M=np.concatenate([np.zeros(0, np.bool_), *(a.astype(np.bool_) for a, _ in kept)]),
        slice_M=np.concatenate([np.zeros(0), *(s.astype(float) for _, s in kept)]),
    )


def undefined(estimand: StrEnum, n: int, reason: str, level: float) -> Estimate:
    """No estimate, and why."""
    return Estimate(estimand, None, 0.0, 1.0, level, METHOD, n, reason=reason)


def _estimate(pooled: Pooled, estimand: Estimand, view: View, level: float) -> Estimate:
    n = int(pooled.labelled_M[view.slice_M > 0].sum())
    observed = observed_ratio(pooled, estimand, view)
    reason = why_undefined(pooled, estimand, view)
    if reason or observed.value is None:
        return undefined(estimand, n, reason or NO_ROLLOUT, level)
    error = linearised(pooled, estimand, observed.gradient)
    variance_P = variance_by_post_stratum(pooled, error)
    result = with_interval(
        estimand,
        observed.value,
        smoothed=_smoothed_value(pooled, estimand, view),
        variance=float(variance_P.sum()),
        df=satterthwaite(pooled, error, variance_P),
        n=n,
        level=level,
    )
    return _open_to_the_unseen(result, *_seen(pooled, estimand, view))


def _seen(pooled: Pooled, estimand: Estimand, view: View) -> tuple[float, float]:
    """Labels in the ratio's numerator, and the rest of those in its denominator."""
    inside_M = view.slice_M > 0
    accepted_M, rejected_M = inside_M & view.accepted_M, inside_M & ~view.accepted_M
    right_M = pooled.labelled_correct_M
    wrong_M = pooled.labelled_M - right_M
    if estimand is Estimand.HACK_RATE and pooled.labelled_hacks_M is not None:
        hacks = float(pooled.labelled_hacks_M[accepted_M].sum())
        return hacks, float(pooled.labelled_M[inside_M].sum()) - hacks
    events, others = {
        Estimand.RECALL: (right_M[accepted_M], right_M[rejected_M]),
        Estimand.FPR: (wrong_M[accepted_M], wrong_M[rejected_M]),
        Estimand.PRECISION: (right_M[accepted_M], wrong_M[accepted_M]),
        Estimand.REJECTED_CORRECT: (right_M[rejected_M], wrong_M[rejected_M]),
        Estimand.ACCURACY: (right_M[inside_M], wrong_M[inside_M]),
    }[estimand]
    return float(events.sum()), float(others.sum())


def _open_to_the_unseen(result: Estimate, events: float, others: float) -> Estimate:
    """What no label has shown may never happen: then the interval holds 0 (or 1).

    The model predicts a little of everything, and with it alone the bound would stay away.
    """
    if result.n_eff == np.inf:
        return result
    low = result.low if events > 0 else 0.0
    high = result.high if others > 0 else 1.0
    return replace(result, low=low, high=high)


def with_interval(
    estimand: StrEnum,
    point: float,
    *,
    smoothed: float,
    variance: float,
    df: float,
    n: int,
    level: float,
) -> Estimate:
    """The estimate of a proportion with its ESS-Wilson interval (see `intervals.ess_wilson`)."""
    interval = ess_wilson(point, smoothed=smoothed, variance=variance, df=df, level=level)
    return Estimate(
        estimand=estimand,
        point=point,
        low=interval.low,
        high=interval.high,
        level=level,
        method=METHOD,
        n=n,
        n_eff=effective_n(smoothed, variance),
        se=float(np.sqrt(variance)),
        smoothed=smoothed,
        df=df,
    )


def linearised(pooled: Pooled, estimand: Estimand, scale_M: FloatArray) -> Linearised:
    """The error of an estimate that changes by `scale_M` with the total of each cell."""
    if estimand is Estimand.HACK_RATE:
        return linearised_hacks(pooled, scale_M)
    return linearised_correct(pooled, scale_M)


def why_undefined(pooled: Pooled, estimand: Estimand, view: View) -> str | None:
    """A ratio over the correct (the incorrect) is undefined until one has been seen."""
    inside_M = view.slice_M > 0
    correct = pooled.labelled_correct_M[inside_M].sum()
    incorrect = pooled.labelled_M[inside_M].sum() - correct
    if estimand is Estimand.RECALL and correct == 0:
        return "no correct rollout among the labels"
    if estimand is Estimand.FPR and incorrect == 0:
        return "no incorrect rollout among the labels"
    return None


def observed_ratio(pooled: Pooled, estimand: Estimand, view: View) -> Ratio:
    """The ratio of the estimated totals, each first brought to between 0 and its maximum.

    Single cells' totals may lie outside; only the sums over a verdict mean anything.
    """
    correct_M, hacks_M = pooled.correct_M.copy(), pooled.hacks_M.copy()
    for verdict_M in (view.accepted_M, ~view.accepted_M):
        sliced_M = view.slice_M * verdict_M
        most = float(sliced_M @ pooled.count_M)
        for total_M in (correct_M, hacks_M):
            total_M[verdict_M] = _within(total_M, sliced_M, most, pooled.count_M)[verdict_M]
    return _ratio(pooled, estimand, view, correct_M, hacks_M)


def _within(
    total_M: FloatArray, sliced_M: FloatArray, most: float, count_M: FloatArray
) -> FloatArray:
    total = float(sliced_M @ total_M)
    if 0 <= total <= most:
        return total_M
    return np.zeros_like(total_M) if total < 0 else count_M


def _smoothed_value(pooled: Pooled, estimand: Estimand, view: View) -> float:
    correct_M = pooled.count_M * pooled.smoothed.p_M
    hacks_M = pooled.count_M * pooled.smoothed.q_M
    value = _ratio(pooled, estimand, view, correct_M, hacks_M).value
    return 0.5 if value is None else value


def _ratio(
    pooled: Pooled, estimand: Estimand, view: View, correct_M: FloatArray, hacks_M: FloatArray
) -> Ratio:
    return ratio(
        estimand,
        accepted_M=view.accepted_M,
        count_M=pooled.count_M,
        correct_M=correct_M,
        hacks_M=hacks_M,
        slice_M=view.slice_M,
    )
