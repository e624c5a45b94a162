"""How far reviewers agree on the same items, beyond chance.

Only the random second reviews say so: those that a contradiction triggered are selected for
disagreement.

Shape suffixes: I = items, R = ratings of an item (by reviewer, or first, second, ...), K =
values that occur.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from review.stats.cells import FloatArray
from review.stats.intervals import Interval, wilson

NO_PAIRS = "no item was rated twice"
NO_VARIATION = "no variation"


@dataclass(frozen=True, slots=True)
class Coefficient:
    """1 is full agreement, 0 that of chance; `value` is None, and `reason` says why, where the
    coefficient is undefined."""

    value: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """items: rated at least twice; percent: share of agreeing pairs, with Wilson's interval."""

    items: int
    percent: Interval
    alpha: Coefficient
    ac1: Coefficient
    kappa: Coefficient


@dataclass(frozen=True, slots=True)
class StepAgreement:
    """items: rated at least twice; exact: share of pairs that name the same step."""

    items: int
    exact: Interval
    alpha: Coefficient


def nominal_agreement(
    rating_IR: FloatArray, *, weight_I: FloatArray | None = None, level: float = 0.95
) -> Agreement:
    """Agreement on categories, whose codes mean nothing but equality; nan is no rating.

    Estimand: of the items, or with design weights `weight_I` of the rollouts that they stand for.
    percent: mean over items of the share of agreeing pairs; its interval has the effective number
    of items (sum w)^2 / sum w^2 (Kish).
    alpha: Krippendorff's, 1 - observed / expected disagreement, from the coincidence matrix; its
    correction for the number of ratings does not grow with the weights.
    ac1: Gwet's, (po - pe) / (1 - pe) with pe = sum of pi (1 - pi) / (K - 1); unlike kappa it does
    not collapse where nearly all items are of one category.
    kappa: Cohen's, of the first two ratings of each item in the order of the columns.
    Assumes: reviewers rate alone. Items of fewer than two ratings are left out everywhere.
    Degenerate: without a pair nothing is defined; where all ratings are equal, alpha and kappa are
    not ("no variation") and AC1 is 1.
    Source: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"; Gwet 2008, Brit. J.
    Math. Stat. Psych. 61; Cohen 1960.
    """
    pairs = _paired(rating_IR, weight_I)
    return Agreement(
        items=len(pairs.weight_I),
        percent=_percent(pairs, level),
        alpha=_alpha(pairs, lambda a, b: (a != b).astype(float)),
        ac1=_ac1(pairs),
        kappa=_kappa(pairs),
    )


def step_agreement(
    step_IR: FloatArray, *, weight_I: FloatArray | None = None, level: float = 0.95
) -> StepAgreement:
    """Agreement on the earliest wrong step (0: none is wrong); nan where it was not said.

    Estimand, weights, degenerate cases and sources as `nominal_agreement`; alpha has the interval
    metric (a - b)^2, so that naming the next step is a smaller disagreement than a far one.
    """
    pairs = _paired(step_IR, weight_I)
    return StepAgreement(
        items=len(pairs.weight_I),
        exact=_percent(pairs, level),
        alpha=_alpha(pairs, lambda a, b: (a - b) ** 2),
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Items rated at least twice: how often each got each value, and weights of mean 1."""

    value_K: FloatArray
    count_IK: FloatArray
    first_I: FloatArray
    second_I: FloatArray
    weight_I: FloatArray

    @property
    def ratings(self) -> FloatArray:
        return np.asarray(self.count_IK.sum(1))


def _paired(rating_IR: FloatArray, weight_I: FloatArray | None) -> _Pairs:
    rating_IR = np.asarray(rating_IR, float)
    if rating_IR.ndim != 2:
        raise ValueError("ratings have a row for each item")
    weight_I = np.ones(len(rating_IR)) if weight_I is None else np.asarray(weight_I, float)
    if weight_I.shape != (len(rating_IR),) or not np.all((weight_I > 0) & np.isfinite(weight_I)):
        raise ValueError("each item has a positive weight")
    is_rated_IR = ~np.isnan(rating_IR)
    kept_I = is_rated_IR.sum(1) >= 2
    rating_IR, is_rated_IR, weight_I = rating_IR[kept_I], is_rated_IR[kept_I], weight_I[kept_I]
    value_K = np.unique(rating_IR[is_rated_IR])
    order_IR = np.argsort(~is_rated_IR, axis=1, kind="stable")
    leading_IR = np.take_along_axis(rating_IR, order_IR, axis=1)
    return _Pairs(
        value_K=value_K,
        count_IK=(rating_IR[:, :, None] == value_K).sum(1).astype(float),
        first_I=leading_IR[:, 0] if len(leading_IR) else np.zeros(0),
        second_I=leading_IR[:, 1] if len(leading_IR) else np.zeros(0),
        weight_I=weight_I / weight_I.mean() if len(weight_I) else weight_I,
    )


def _agreeing_share(pairs: _Pairs) -> FloatArray:
    """Share of each item's pairs of ratings that agree."""
    agreeing_I = (pairs.count_IK * (pairs.count_IK - 1)).sum(1)
    return np.asarray(agreeing_I / (pairs.ratings * (pairs.ratings - 1)))


def _percent(pairs: _Pairs, level: float) -> Interval:
    if not len(pairs.weight_I):
        return wilson(0, 0, level=level)
    n = float(pairs.weight_I.sum() ** 2 / (pairs.weight_I**2).sum())
    share = float(np.average(_agreeing_share(pairs), weights=pairs.weight_I))
    return wilson(min(share, 1.0) * n, n, level=level)


def _alpha(
    pairs: _Pairs, squared_distance: Callable[[FloatArray, FloatArray], FloatArray]
) -> Coefficient:
    if not len(pairs.weight_I):
        return Coefficient(None, NO_PAIRS)
    if len(pairs.value_K) < 2:
        return Coefficient(None, NO_VARIATION)
    distance_KK = squared_distance(pairs.value_K[:, None], pairs.value_K)
    per_pair_I = pairs.weight_I / (pairs.ratings - 1)
    # Pairs of a rating with itself stand on the diagonal, where the distance is 0.
    coincidence_KK = (pairs.count_IK * per_pair_I[:, None]).T @ pairs.count_IK
    total_K = pairs.weight_I @ pairs.count_IK
    n = total_K.sum()
    observed = (coincidence_KK * distance_KK).sum() / n
    by_chance = total_K @ distance_KK @ total_K / (n * (n - 1))
    return Coefficient(float(1 - observed / by_chance))


def _ac1(pairs: _Pairs) -> Coefficient:
    if not len(pairs.weight_I):
        return Coefficient(None, NO_PAIRS)
    observed = float(np.average(_agreeing_share(pairs), weights=pairs.weight_I))
    share_K = np.average(pairs.count_IK / pairs.ratings[:, None], axis=0, weights=pairs.weight_I)
    # A category that nobody chose is unknown here: of at least two there was a choice.
    chance = float((share_K * (1 - share_K)).sum()) / max(len(share_K) - 1, 1)
    return Coefficient((observed - chance) / (1 - chance))


def _kappa(pairs: _Pairs) -> Coefficient:
    if not len(pairs.weight_I):
        return Coefficient(None, NO_PAIRS)
    observed = np.average(pairs.first_I == pairs.second_I, weights=pairs.weight_I)
    first_K, second_K = (
        np.average(rating_I[:, None] == pairs.value_K, axis=0, weights=pairs.weight_I)
        for rating_I in (pairs.first_I, pairs.second_I)
    )
    chance = float(first_K @ second_K)
    if chance >= 1:
        return Coefficient(None, NO_VARIATION)
    return Coefficient(float(observed - chance) / (1 - chance))
