"""Differences of estimates from the same labels: verifiers, slices, windows; and rankings.

Two intervals that overlap prove nothing, and errors that both sides share cancel: a difference
has one variance of its own.

Shape suffixes: M = cells (of all windows, one after the other).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from review.stats.cells import BoolArray
from review.stats.estimands import Estimand
from review.stats.estimators import (
    MIN_LABELS,
    NO_ROLLOUT,
    TOO_FEW,
    Estimate,
    View,
    answers,
    audited,
    estimate,
    linearised,
    observed_ratio,
    view_of,
    why_undefined,
)
from review.stats.pooling import Pooled, pool_windows
from review.stats.variance import satterthwaite, variance_by_post_stratum
from review.stats.windows import Window

METHOD = "paired difference, t"
# More is worse. True accuracy says nothing about a verifier.
LOWER_IS_BETTER = {Estimand.FPR, Estimand.REJECTED_CORRECT, Estimand.HACK_RATE}


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a difference: per window the cells that a verifier accepts (None: the frames'
    own) and the weights of a slice (None: everything)."""

    accepted: Sequence[BoolArray] | None = None
    slices: Sequence[NDArray[np.generic]] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """The first side minus the second. `point` is None, the interval [-1, 1] and `reason` says
    why, where nothing can be said. n: answered items of closed waves in either side."""

    estimand: Estimand
    point: float | None
    low: float
    high: float
    level: float
    method: str
    n: int
    se: float | None = None
    df: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A verifier's estimate, and the ranks (1 is the best) that the labels leave possible."""

    estimate: Estimate
    best: int
    worst: int


def compare(
    windows: Sequence[Window],
    *,
    estimand: Estimand,
    first: Side,
    second: Side,
    level: float = 0.95,
) -> Difference:
    """Difference of one estimand between two verifiers, two slices, or both at once.

    Estimand: that of `first` minus that of `second`, of the rollouts in these windows' frames.
    Assumes what `estimate` does. The linearised values are subtracted rollout by rollout, so that
    the variance is that of the difference; the interval is a t interval, cut to [-1, 1].
    Degenerate: as `estimate` for either side: no point, [-1, 1] and the reason. Sides that agree
    on every rollout differ by exactly 0.
    Source: linearisation of a difference of ratios, Sarndal, Swensson and Wretman 1992, chapter 5.
    """
    views = [view_of(windows, slices=s.slices, accepted=s.accepted) for s in (first, second)]
    n_either = answers(windows, np.maximum(views[0].slice_M, views[1].slice_M))
    if answers(windows) < MIN_LABELS:
        return _unknown(estimand, n_either, TOO_FEW, level)
    pooled = pool_windows(
        audited(windows),
        verdicts=[view.accepted_M for view in views],
        apart=[view.slice_M > 0 for view in views],
    )
    return _difference(pooled, estimand, views, n_either, level)


def compare_windows(
    first: Sequence[Window],
    second: Sequence[Window],
    *,
    estimand: Estimand,
    slices: Sequence[NDArray[np.generic]] | None = None,
    accepted: Sequence[BoolArray] | None = None,
    level: float = 0.95,
) -> Difference:
    """Difference of one estimand between two sets of windows: `first` minus `second`.

    Estimand, assumptions and interval as `compare`; the sets share no window. `slices` and
    `accepted` as in `estimate`, for the windows of both sets, one set after the other.
    Degenerate: fewer than 32 answers in either set give no point, [-1, 1] and the reason.
    """
    if any(window is other for window in first for other in second):
        raise ValueError("a window cannot be compared with itself")
    windows = [*first, *second]
    if min(answers(first), answers(second)) < MIN_LABELS:
        return _unknown(estimand, answers(windows), TOO_FEW, level)
    if slices is None:
        slices = [np.ones(len(window.frame)) for window in windows]
    shares = [np.asarray(slice_M, float) for slice_M in slices]
    in_first = [share_M * (i < len(first)) for i, share_M in enumerate(shares)]
    in_second = [share_M * (i >= len(first)) for i, share_M in enumerate(shares)]
    return compare(
        windows,
        estimand=estimand,
        first=Side(accepted, in_first),
        second=Side(accepted, in_second),
        level=level,
    )


def rank_verifiers(
    windows: Sequence[Window],
    *,
    estimand: Estimand,
    verifiers: Mapping[str, Sequence[BoolArray]],
    slices: Sequence[NDArray[np.generic]] | None = None,
    level: float = 0.95,
) -> dict[str, Ranked]:
    """Rank verifiers on the same labels; `verifiers` gives per window the cells each accepts.

    Estimand: the rank of each verifier's estimand. A verifier is behind another where the
    interval of their difference leaves 0 out; all pairs together hold at `level` (Bonferroni), so
    all ranges of ranks hold at once. Assumes what `compare` does.
    Degenerate: a difference that is undefined separates nobody. True accuracy does not depend on
    the verifier and is refused.
    Source: ranks from simultaneous pairwise differences, as in Al Mohamad, van Zwet, Solari and
    Goeman, arXiv 1708.02729, with Bonferroni's quantile in the place of Tukey's.
    """
    if estimand is Estimand.ACCURACY:
        raise ValueError("true accuracy is the same for every verifier")
    sides = {name: Side(accepted, slices) for name, accepted in verifiers.items()}
    behind = _pairs_in_order(windows, estimand, sides, level)
    return {
        name: Ranked(
            estimate(
                windows, estimand=estimand, slices=slices, accepted=side.accepted, level=level
            ),
            best=1 + sum(worse == name for _, worse in behind),
            worst=len(sides) - sum(better == name for better, _ in behind),
        )
        for name, side in sides.items()
    }


def _pairs_in_order(
    windows: Sequence[Window], estimand: Estimand, sides: Mapping[str, Side], level: float
) -> list[tuple[str, str]]:
    """The pairs that their difference tells apart, the better one first."""
    found = []
    pairs = list(combinations(sides, 2))
    for a, b in pairs:
        difference = compare(
            windows,
            estimand=estimand,
            first=sides[a],
            second=sides[b],
            level=1 - (1 - level) / len(pairs),
        )
        if difference.low > 0 or difference.high < 0:
            is_a_better = (difference.low > 0) != (estimand in LOWER_IS_BETTER)
            found.append((a, b) if is_a_better else (b, a))
    return found


def _difference(
    pooled: Pooled, estimand: Estimand, views: Sequence[View], n: int, level: float
) -> Difference:
    ratios = [observed_ratio(pooled, estimand, view) for view in views]
    reasons = [why_undefined(pooled, estimand, view) for view in views]
    values = [ratio.value for ratio in ratios]
    if values[0] is None or values[1] is None or any(reasons):
        return _unknown(estimand, n, next(filter(None, reasons), NO_ROLLOUT), level)
    gradient_M = ratios[0].gradient - ratios[1].gradient
    error = linearised(pooled, estimand, gradient_M)
    variance_P = variance_by_post_stratum(pooled, error)
    point, se = values[0] - values[1], float(np.sqrt(variance_P.sum()))
    df = satterthwaite(pooled, error, variance_P)
    half = float(stdtrit(df, (1 + level) / 2)) * se
    return Difference(
        estimand=estimand,
        point=point,
        low=max(-1.0, point - half),
        high=min(1.0, point + half),
        level=level,
        method=METHOD,
        n=n,
        se=se,
        df=df,
    )


def _unknown(estimand: Estimand, n: int, reason: str, level: float) -> Difference:
    return Difference(estimand, None, -1.0, 1.0, level, METHOD, n, reason=reason)
