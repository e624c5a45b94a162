"""Does the verifier, or the working model, change over the run?

Shape suffixes: M = cells of a window, W = windows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from review.stats.cells import BoolArray
from review.stats.comparisons import Difference, compare_windows
from review.stats.estimands import Estimand
from review.stats.estimators import MIN_LABELS, TOO_FEW, Estimate, answers, audited
from review.stats.intervals import monitor_difference
from review.stats.pooling import per_cell, pool_windows, wave_variance, weight_after_nonresponse
from review.stats.variance import MIN_DF, linearised_correct, variance_by_post_stratum
from review.stats.windows import Window

METHOD = "paired difference, monitor"
MIN_WINDOWS = 3
# Standard errors from which the residual of the working model is an alarm.
ALARM = 2.0


@dataclass(frozen=True, slots=True)
class Slope:
    """Change per step. `point` is None and `reason` says why where nothing can be said."""

    point: float | None
    low: float | None
    high: float | None
    level: float
    windows: int
    se: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Residual:
    """Correct rollouts found beyond those predicted, scaled up to all that a wave was drawn from.

    z: in standard errors. None and `reason` where nothing can be said.
    """

    total: float | None
    se: float | None
    z: float | None
    reason: str | None = None

    @property
    def is_alarm(self) -> bool:
        return self.z is not None and abs(self.z) > ALARM


def slope(estimates: Sequence[Estimate], steps: Sequence[float], *, level: float = 0.95) -> Slope:
    """Trend of one estimand over windows, whose middle steps are `steps`.

    Estimand: the slope per step of the least-squares line through the windows' true values,
    weighted by their labels. (Weights of estimated variances would lean to windows whose estimate
    happens to lie near 0 or 1.) The variance is that of the estimates; that the true values
    may not lie on a line is no part of it.
    Assumes: the windows share no rollout. Interval: t with Satterthwaite's degrees of freedom.
    Degenerate: windows without a point are left out; fewer than 3 left, or all at one step: None.
    """
    known = [(e, step) for e, step in zip(estimates, steps, strict=True) if e.point is not None]
    if len(known) < MIN_WINDOWS:
        return Slope(None, None, None, level, len(known), reason="fewer than three windows")
    label_W = np.array([estimate.n for estimate, _ in known], float)
    step_W = np.array([step for _, step in known], float)
    centred_W = step_W - np.average(step_W, weights=label_W)
    square = float(label_W @ centred_W**2)
    if square <= 0:
        return Slope(None, None, None, level, len(known), reason="all windows at one step")
    share_W = label_W * centred_W / square
    point = float(share_W @ np.array([estimate.point for estimate, _ in known], float))
    variance_W = share_W**2 * np.array([(estimate.se or 0.0) ** 2 for estimate, _ in known])
    df_W = np.array([estimate.df or MIN_DF for estimate, _ in known])
    se = float(np.sqrt(variance_W.sum()))
    df = variance_W.sum() ** 2 / (variance_W**2 / df_W).sum() if se > 0 else MIN_DF
    half = float(stdtrit(df, (1 + level) / 2)) * se
    return Slope(point, point - half, point + half, level, len(known), se)


def change_since_first(
    windows: Sequence[Window],
    *,
    estimand: Estimand,
    target_half_width: float,
    slices: Sequence[NDArray[np.generic]] | None = None,
    accepted: Sequence[BoolArray] | None = None,
    level: float = 0.95,
) -> Difference:
    """The newest audited window minus the first: may be looked at as often as labels come in.

    Estimand: the difference of one estimand between the two windows. `windows` in the order of
    their steps; `slices` and `accepted` as in `estimate`. Assumes what `compare` does.
    Interval: the time-uniform `monitor_difference`, tightest at `target_half_width`, which must
    be fixed before the newest window. It holds over all looks at one window; over many windows
    divide 1 - level by their number.
    Degenerate: one window, or fewer than 32 answers in either: no point, [-1, 1], the reason.
    """
    kept = [i for i, window in enumerate(windows) if window.waves]
    if len(kept) < 2:
        reason = "fewer than two windows"
        return Difference(estimand, None, -1.0, 1.0, level, METHOD, answers(windows), reason=reason)
    ends = [kept[-1], kept[0]]
    difference = compare_windows(
        [windows[i] for i in ends[:1]],
        [windows[i] for i in ends[1:]],
        estimand=estimand,
        slices=None if slices is None else [slices[i] for i in ends],
        accepted=None if accepted is None else [accepted[i] for i in ends],
        level=level,
    )
    if difference.point is None or difference.se is None:
        return difference
    low, high = monitor_difference(
        difference.point, se=difference.se, target_half_width=target_half_width, level=level
    )
    return replace(difference, low=low, high=high, method=METHOD)


def model_residual(windows: Sequence[Window]) -> Residual:
    """How far the newest closed wave of each window is from the model it was drawn with.

    Estimand: the rollouts that wave could draw and that are correct, minus the sum of their
    predictions, all windows together: the sum of g (y - f) over the wave's answers. Beyond two
    standard errors the stored model no longer describes these rollouts: the policy has moved, or
    learned what pleases the judge behind the scores. A first wave's model is only a prior, and a
    sound model has errors of its own: fitted to some hundred labels of the same population, its
    newest wave was beyond two standard errors in 9 to 13 % of simulated audits, not in 5 %.
    Assumes what `estimate` does; the standard error is that of the estimates.
    Degenerate: fewer than 32 answers in the windows, or none in their newest waves: None and the
    reason. Where nothing is left to chance (a census) there is no z.
    """
    drawn_from = audited(windows)
    if answers(windows) < MIN_LABELS:
        return Residual(None, None, None, TOO_FEW)
    newest = [window.waves[-1] for window in drawn_from]
    if not any(wave.items.is_answered.any() for wave in newest):
        return Residual(None, None, None, "no answer in the newest wave")
    total = 0.0
    for wave in newest:
        labels = wave.items.counts(len(wave.f_M))
        g_M = per_cell(weight_after_nonresponse(wave), wave.stratum_M)
        total += float(g_M @ (labels.correct_M - labels.answered_M * wave.f_M))
    starts = np.cumsum([0, *(len(window.frame) for window in drawn_from)])
    waves = tuple(
        wave_variance(wave, 1.0, slice(start, start + len(wave.f_M)))
        for wave, start in zip(newest, starts, strict=False)
    )
    pooled = replace(pool_windows(drawn_from), waves=waves)
    linearised = linearised_correct(pooled, np.ones(len(pooled.frame)))
    se = float(np.sqrt(variance_by_post_stratum(pooled, linearised).sum()))
    if se == 0:
        return Residual(total, se, None, "nothing left to chance")
    return Residual(total, se, total / se)
