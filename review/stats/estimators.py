"""Design-unbiased estimates from audit waves, with intervals.

The estimator is the wave-wise difference estimator (an adaptive, batch-wise AIPW): waves are
never pooled into one stratified sample, whose adaptive allocation would make the verifier look
better than it is.

Shape suffixes: M = cells (of all windows, one after the other), P = post-strata.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from review.stats.cells import FloatArray, total_by
from review.stats.estimands import Estimand, Ratio, ratio
from review.stats.intervals import effective_n, ess_wilson
from review.stats.pooling import KAPPA, Pooled, pool_windows
from review.stats.windows import Window

METHOD = "wave-wise difference, ESS-Wilson"
MIN_LABELS = 32
TOO_FEW = "too few labels"
MIN_DF = 3.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """`point` is None, the interval [0, 1] and `reason` says why, where nothing can be said.

    n: answered items of closed waves (in the slice); n_eff: the size of a uniform sample with the
    same variance (inf for a census). `se` and `smoothed` feed `intervals.monitor`.
    """

    estimand: Estimand
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


def estimate_all(
    windows: Sequence[Window],
    *,
    slices: Sequence[NDArray[np.generic]] | None = None,
    level: float = 0.95,
) -> dict[Estimand, Estimate]:
    """Every estimand over one or several windows, as `estimate` would give it."""
    if sum(_answers(window) for window in windows) < MIN_LABELS:
        return {e: _undefined(e, _answers_in(windows, slices), TOO_FEW, level) for e in Estimand}
    drawn_from = [window for window in windows if window.waves]
    pooled = pool_windows(drawn_from)
    slice_M = np.ones(len(pooled.frame))
    if slices is not None:
        kept = [s for s, window in zip(slices, windows, strict=True) if window.waves]
        slice_M = np.concatenate([np.asarray(s, float) for s in kept])
    return {e: _estimate(pooled, e, slice_M, level) for e in Estimand}


def estimate(
    windows: Sequence[Window],
    *,
    estimand: Estimand,
    slices: Sequence[NDArray[np.generic]] | None = None,
    level: float = 0.95,
) -> Estimate:
    """One estimand over one or several windows (only their closed waves), or a slice of them.

    Estimand: see `Estimand`; it is a property of the rollouts in these windows' frames. Windows
    without a closed wave are outside it. `slices` weights each window's cells, 0 to 1.
    Assumes: labels are right; an unanswered item is missing at random inside its stratum.
    Point: T(z) of `pool_windows`. Interval: Wilson with the effective sample size of a smoothed
    variance, two small-sample factors, and a Satterthwaite t.
    Degenerate: fewer than 32 answers, no correct (recall) or no incorrect (FPR) answer, or
    no rollout in the denominator: no point, [0, 1], and the reason. Where nothing is left to
    chance (a census; the recall of a verifier that accepts everything) the interval is the point;
    zero events in a sample never give width 0.
    Source: Zrnic and Candes, arXiv 2403.03208 (ICML 2024), made wave-wise and stratified.
    """
    return estimate_all(windows, slices=slices, level=level)[estimand]


def _answers(window: Window) -> int:
    return sum(int(wave.items.is_answered.sum()) for wave in window.waves)


def _answers_in(windows: Sequence[Window], slices: Sequence[NDArray[np.generic]] | None) -> int:
    if slices is None:
        return sum(_answers(window) for window in windows)
    labels = [window.drawn_labels().answered_M for window in windows]
    return sum(int(x[np.asarray(s) > 0].sum()) for x, s in zip(labels, slices, strict=True))


def _undefined(estimand: Estimand, n: int, reason: str, level: float) -> Estimate:
    return Estimate(estimand, None, 0.0, 1.0, level, METHOD, n, reason=reason)


def _estimate(pooled: Pooled, estimand: Estimand, slice_M: FloatArray, level: float) -> Estimate:
    n = int(pooled.labelled_M[slice_M > 0].sum())
    if reason := _why_undefined(pooled, estimand, slice_M):
        return _undefined(estimand, n, reason, level)
    observed = _observed_ratio(pooled, estimand, slice_M)
    if observed.value is None:
        return _undefined(estimand, n, "no rollout in the denominator", level)
    smoothed = _smoothed_value(pooled, estimand, slice_M)
    variance_P = _variance_by_post_stratum(pooled, estimand, observed)
    variance = float(variance_P.sum())
    interval = ess_wilson(
        observed.value,
        smoothed=smoothed,
        variance=variance,
        df=_satterthwaite(variance_P, pooled.smoothed.labels_P),
        level=level,
    )
    return Estimate(
        estimand=estimand,
        point=observed.value,
        low=interval.low,
        high=interval.high,
        level=level,
        method=METHOD,
        n=n,
        n_eff=effective_n(smoothed, variance),
        se=float(np.sqrt(variance)),
        smoothed=smoothed,
    )


def _why_undefined(pooled: Pooled, estimand: Estimand, slice_M: FloatArray) -> str | None:
    """A ratio over the correct (the incorrect) is undefined until one has been seen."""
    inside_M = slice_M > 0
    correct = pooled.labelled_correct_M[inside_M].sum()
    incorrect = pooled.labelled_M[inside_M].sum() - correct
    if estimand is Estimand.RECALL and correct == 0:
        return "no correct rollout among the labels"
    if estimand is Estimand.FPR and incorrect == 0:
        return "no incorrect rollout among the labels"
    return None


def _observed_ratio(pooled: Pooled, estimand: Estimand, slice_M: FloatArray) -> Ratio:
    """The ratio of the estimated totals, each first brought to between 0 and its maximum.

    Single cells' totals may lie outside; only the sums over a verdict mean anything.
    """
    accepted_M = pooled.frame.accepted_M
    correct_M, hacks_M = pooled.correct_M.copy(), pooled.hacks_M.copy()
    for verdict_M in (accepted_M, ~accepted_M):
        sliced_M = slice_M * verdict_M
        most = float(sliced_M @ pooled.count_M)
        for total_M in (correct_M, hacks_M):
            total_M[verdict_M] = _within(total_M, sliced_M, most, pooled.count_M)[verdict_M]
    return _ratio(pooled, estimand, slice_M, correct_M, hacks_M)


def _within(
    total_M: FloatArray, sliced_M: FloatArray, most: float, count_M: FloatArray
) -> FloatArray:
    total = float(sliced_M @ total_M)
    if 0 <= total <= most:
        return total_M
    return np.zeros_like(total_M) if total < 0 else count_M


def _smoothed_value(pooled: Pooled, estimand: Estimand, slice_M: FloatArray) -> float:
    correct_M = pooled.count_M * pooled.smoothed.p_M
    hacks_M = pooled.count_M * pooled.smoothed.q_M
    value = _ratio(pooled, estimand, slice_M, correct_M, hacks_M).value
    return 0.5 if value is None else value


def _ratio(
    pooled: Pooled,
    estimand: Estimand,
    slice_M: FloatArray,
    correct_M: FloatArray,
    hacks_M: FloatArray,
) -> Ratio:
    return ratio(
        estimand,
        accepted_M=pooled.frame.accepted_M,
        count_M=pooled.count_M,
        correct_M=correct_M,
        hacks_M=hacks_M,
        slice_M=slice_M,
    )


def _variance_by_post_stratum(pooled: Pooled, estimand: Estimand, observed: Ratio) -> FloatArray:
    """Smoothed variance of the linearised estimator, with both small-sample factors.

    Sum over waves and cells of the wave's factor times the variance of one rollout's residual in
    its stratum: the binomial part of its cell and the spread of the cells' mean residuals.
    """
    smoothed = pooled.smoothed
    is_hack = estimand is Estimand.HACK_RATE
    p_M = smoothed.q_M if is_hack else smoothed.p_M
    high_p_M = smoothed.variance_q_M if is_hack else smoothed.p_M
    scale_M = observed.multiplier_M / observed.denominator
    variance_P = np.zeros(len(smoothed.labels_P))
    for wave in pooled.waves:
        scale, p, high_p = (x_M[wave.cells] for x_M in (scale_M, p_M, high_p_M))
        residual_M = scale * (p - (wave.q_M if is_hack else wave.f_M))
        strata = int(wave.stratum_M.max()) + 1
        remaining_H = total_by(wave.stratum_M, wave.remaining_M, strata)
        mean_H = total_by(wave.stratum_M, wave.remaining_M * residual_M, strata) / remaining_H
        between_M = (residual_M - mean_H[wave.stratum_M]) ** 2
        unit_M = scale**2 * high_p * (1 - high_p) + between_M
        post_M = smoothed.post_stratum_M[wave.cells]
        variance_P += total_by(post_M, wave.factor_M * unit_M, len(variance_P))
    n = float(smoothed.labels_P.sum())
    factor_P = (smoothed.labels_P + KAPPA) / (smoothed.labels_P + KAPPA - 1)
    return np.asarray(variance_P * factor_P * n / (n - 8))


def _satterthwaite(variance_P: FloatArray, labels_P: FloatArray) -> float:
    spread = float((variance_P**2 / np.maximum(labels_P - 1, 1)).sum())
    return max(float(variance_P.sum()) ** 2 / spread, MIN_DF) if spread > 0 else MIN_DF
