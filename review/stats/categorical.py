"""Estimates from rollouts that fall into one of a few categories.

The totals per category come from the wave-wise difference estimator, like those of the correct;
the variance is that of a linearised function of them.

Shape suffixes: M = cells (of a window, or of all one after the other), I = items,
C = categories, Y = answers (incorrect, correct), P = post-strata.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from review.stats.cells import BoolArray, FloatArray, IntArray, total_by
from review.stats.estimators import (
    MIN_LABELS,
    NO_ROLLOUT,
    TOO_FEW,
    Estimate,
    answers,
    undefined,
    view_of,
    with_interval,
)
from review.stats.pooling import KAPPA, Outcomes, Pooled, estimated_totals, pool_windows
from review.stats.variance import Linearised, satterthwaite, variance_by_post_stratum
from review.stats.windows import Items, Window

Key = TypeVar("Key", bound=StrEnum)

NO_CATEGORY = -1
# Labels' worth of "all possible categories alike" in the rates that predict them.
PSEUDO_LABELS = 1.0


@dataclass(frozen=True, slots=True)
class Channel:
    """A window whose items have an answer only where their category is known, and the categories
    of the items of each wave and of the purposive ones."""

    window: Window
    drawn: Sequence[IntArray]
    purposive_I: IntArray


@dataclass(frozen=True, slots=True)
class Score:
    """An estimand in [0, 1] at totals per category.

    value: with its gradient, None where it is undefined. needs: categories of which one must have
    been seen, and the reason if none was.
    """

    value: Callable[[FloatArray], tuple[float, FloatArray] | None]
    needs: Sequence[tuple[slice, str]]


@dataclass(frozen=True, slots=True)
class _Totals:
    """Per cell and category: estimated totals, labels, smoothed probabilities, and what each wave
    predicted; `slice_M` weights the cells."""

    pooled: Pooled
    slice_M: FloatArray
    total_MC: FloatArray
    label_MC: FloatArray
    p_MC: FloatArray
    predicted_MC: Sequence[FloatArray]


def channel(window: Window, drawn: Sequence[IntArray], purposive_I: IntArray) -> Channel:
    """The window with every item unanswered whose category is not known."""

    def heard(items: Items, category_I: IntArray) -> Items:
        return replace(items, correct_I=np.where(category_I < 0, np.nan, items.correct_I))

    waves = tuple(
        replace(wave, items=heard(wave.items, category_I))
        for wave, category_I in zip(window.waves, drawn, strict=True)
    )
    purposive = heard(window.purposive, purposive_I)
    return Channel(replace(window, waves=waves, purposive=purposive), drawn, purposive_I)


def estimate_scores(
    channels: Sequence[Channel],
    scores: Mapping[Key, Score],
    *,
    possible_YC: BoolArray,
    slices: Sequence[NDArray[np.generic]] | None = None,
    level: float = 0.95,
) -> dict[Key, Estimate]:
    """Functions of the totals of the categories.

    Estimand: the scores, of the rollouts in the channels' frames. `possible_YC`: the categories
    that go with an incorrect and with a correct answer. A category's prediction is made of the
    stored probability of correctness and of its rate in earlier waves. Assumptions, interval and
    degenerate cases as `estimators.estimate`; the variance is linearised at the smoothed totals,
    whose probabilities are never 0.
    """
    slice_M = view_of([channel.window for channel in channels], slices=slices).slice_M
    heard = [channel for channel in channels if channel.window.waves]
    windows = [channel.window for channel in heard]
    n = answers(windows, slice_M)
    if answers(windows) < MIN_LABELS:
        return {key: undefined(key, n, TOO_FEW, level) for key in scores}
    totals = _add_up(heard, pool_windows(windows, apart=(slice_M > 0,)), slice_M, possible_YC)
    return {key: _estimate(totals, key, score, n, level) for key, score in scores.items()}


def _add_up(
    channels: Sequence[Channel], pooled: Pooled, slice_M: FloatArray, possible_YC: BoolArray
) -> _Totals:
    predicted = [_predictions(channel, possible_YC) for channel in channels]
    categories = possible_YC.shape[1]
    total_MC = [
        estimated_totals(
            channel.window,
            Outcomes(
                drawn_IK=tuple(_one_hot(drawn_I, categories) for drawn_I in channel.drawn),
                purposive_IK=_one_hot(channel.purposive_I, categories),
                predicted_MK=before_MC,
            ),
        )
        for channel, before_MC in zip(channels, predicted, strict=True)
    ]
    label_MC = np.concatenate([_labels(channel, categories) for channel in channels])
    rate_YC = _rates([pair for channel in channels for pair in _answered(channel)], possible_YC)
    return _Totals(
        pooled=pooled,
        slice_M=slice_M,
        total_MC=np.concatenate(total_MC),
        label_MC=label_MC,
        p_MC=_smoothed(pooled, label_MC, rate_YC),
        predicted_MC=[before_MC for window in predicted for before_MC in window],
    )


def _answered(channel: Channel) -> list[tuple[Items, IntArray]]:
    return [
        (wave.items, category_I)
        for wave, category_I in zip(channel.window.waves, channel.drawn, strict=True)
    ]


def _predictions(channel: Channel, possible_YC: BoolArray) -> tuple[FloatArray, ...]:
    """Probability of each category before each wave, from what earlier waves found."""
    answered = _answered(channel)
    return tuple(
        _by_answer(wave.f_M, _rates(answered[:b], possible_YC))
        for b, wave in enumerate(channel.window.waves)
    )


def _rates(answered: Sequence[tuple[Items, IntArray]], possible_YC: BoolArray) -> FloatArray:
    """Rate of each category among the incorrect and among the correct."""
    count_YC = np.zeros(possible_YC.shape)
    for items, category_I in answered:
        known_I = category_I >= 0
        np.add.at(count_YC, (items.correct_I[known_I].astype(int), category_I[known_I]), 1)
    prior_YC = PSEUDO_LABELS * possible_YC / possible_YC.sum(1, keepdims=True)
    return np.asarray((count_YC + prior_YC) / (count_YC.sum(1, keepdims=True) + PSEUDO_LABELS))


def _by_answer(p_M: FloatArray, rate_YC: FloatArray) -> FloatArray:
    return np.outer(1 - p_M, rate_YC[0]) + np.outer(p_M, rate_YC[1])


def _one_hot(category_I: IntArray, categories: int) -> FloatArray:
    return np.equal(category_I[:, None], np.arange(categories)).astype(float)


def _labels(channel: Channel, categories: int) -> FloatArray:
    cells = len(channel.window.frame)
    label_MC = np.zeros((cells, categories))
    for items, category_I in _answered(channel):
        known_I = category_I >= 0
        np.add.at(label_MC, (items.cell_I[known_I], category_I[known_I]), 1)
    return label_MC


def _smoothed(pooled: Pooled, label_MC: FloatArray, rate_YC: FloatArray) -> FloatArray:
    """Probability of each category, moved to the labels of the post-strata."""
    p_MC = _by_answer(pooled.smoothed.p_M, rate_YC)
    post_M, n_P = pooled.smoothed.post_stratum_M, pooled.smoothed.labels_P
    count_P = total_by(post_M, pooled.count_M, len(n_P))
    for category in range(p_MC.shape[1]):
        expected_M = pooled.count_M * p_MC[:, category]
        mean_P = total_by(post_M, expected_M, len(n_P)) / count_P
        seen_P = total_by(post_M, label_MC[:, category], len(n_P))
        rate_P = (seen_P + KAPPA * mean_P) / (n_P + KAPPA)
        p_MC[:, category] *= (rate_P / mean_P)[post_M]
    return np.asarray(p_MC / p_MC.sum(1, keepdims=True))


def _estimate(totals: _Totals, key: Key, score: Score, n: int, level: float) -> Estimate:
    seen_C = totals.label_MC[totals.slice_M > 0].sum(0)
    for needed, reason in score.needs:
        if seen_C[needed].sum() == 0:
            return undefined(key, n, reason, level)
    observed = score.value(np.maximum(totals.slice_M @ totals.total_MC, 0))
    smoothed = score.value((totals.slice_M * totals.pooled.count_M) @ totals.p_MC)
    if observed is None or smoothed is None:
        return undefined(key, n, NO_ROLLOUT, level)
    error = _linearised(totals, smoothed[1])
    variance_P = variance_by_post_stratum(totals.pooled, error)
    return with_interval(
        key,
        observed[0],
        smoothed=smoothed[0],
        variance=float(variance_P.sum()),
        df=satterthwaite(totals.pooled, error, variance_P),
        n=n,
        level=level,
    )


def _linearised(totals: _Totals, gradient_C: FloatArray) -> Linearised:
    mean_M = totals.p_MC @ gradient_C
    spread_M = totals.p_MC @ gradient_C**2 - mean_M**2
    pairs = zip(totals.pooled.waves, totals.predicted_MC, strict=True)
    return Linearised(
        spread_M=totals.slice_M**2 * np.maximum(spread_M, 0),
        mean_M=totals.slice_M * mean_M,
        predicted_M=[
            totals.slice_M[wave.cells] * (predicted_MC @ gradient_C) for wave, predicted_MC in pairs
        ],
    )
