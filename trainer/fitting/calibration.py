"""Temperature and threshold, chosen on the dev prompts.

Shape suffixes: L = labels, I = items, T = thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.fitting.figures import Array, Flags

# To a tenth and to ten times; 1 is among them.
_TEMPERATURES = np.logspace(-1, 1, 201)
_MOST_THRESHOLDS = 1_000


@dataclass(frozen=True, slots=True)
class Temperature:
    """value: what log-odds are divided by. Log losses on the dev prompts without it and with it:
    the latter is the higher one where a few labels looked more certain than they can be."""

    value: float
    log_loss_without: float
    log_loss_with: float


def fit_temperature(log_odds_L: Array, right_L: Flags, weight_L: Array) -> Temperature:
    """The temperature of the lowest weighted log loss (Guo et al., arXiv:1706.04599).

    Its targets are Platt's (1999), (n + 1) / (n + 2) of a class with n labels: a few labels that
    happen to be told apart make nothing certain.
    """
    n_right = right_L.sum()
    target_L = np.where(right_L, (n_right + 1) / (n_right + 2), 1 / (len(right_L) - n_right + 2))

    def smoothed_loss(temperature: float) -> float:
        scaled_L = log_odds_L / temperature
        loss_L = np.logaddexp(0, scaled_L) - target_L * scaled_L
        return float(np.average(loss_L, weights=weight_L))

    value = float(min(_TEMPERATURES, key=smoothed_loss))
    without = log_loss(log_odds_L, right_L, weight_L)
    with_it = log_loss(log_odds_L / value, right_L, weight_L)
    return Temperature(value, without, with_it)


def log_loss(log_odds_L: Array, right_L: Flags, weight_L: Array) -> float:
    """Weighted mean of -log P(what is so)."""
    return float(
        np.average(np.logaddexp(0, np.where(right_L, -1, 1) * log_odds_L), weights=weight_L)
    )


def sigmoid(log_odds_L: Array) -> Array:
    """P(right)."""
    return np.asarray(0.5 * (1 + np.tanh(log_odds_L / 2)))


def outcome_threshold(score_I: Array, right_I: Flags, weight_I: Array) -> float:
    """Where recall less FPR is the greatest (Youden's J: a reward's signal goes with it)."""

    def youden(threshold: float) -> float:
        accepted = (score_I >= threshold).astype(float)
        recall = np.average(accepted[right_I], weights=weight_I[right_I])
        fpr = np.average(accepted[~right_I], weights=weight_I[~right_I])
        return float(recall - fpr)

    return max(_thresholds(score_I), key=youden)


def step_threshold(scores: Sequence[Array], earliest: Sequence[int], weight_I: Array) -> float:
    """Where ProcessBench's F1 is the greatest. earliest: the first wrong step, from 1; 0 = none."""
    wrong_I = np.array([step > 0 for step in earliest])

    def f1(threshold: float) -> float:
        named = np.array([named_step(score, threshold) for score in scores])
        hit = named == np.array(earliest)
        a = float(np.average(hit[wrong_I], weights=weight_I[wrong_I]))
        b = float(np.average(hit[~wrong_I], weights=weight_I[~wrong_I]))
        return 2 * a * b / (a + b) if a + b else 0.0

    return max(_thresholds(np.concatenate(scores)), key=f1)


def named_step(score_S: Array, threshold: float) -> int:
    """The first step under the threshold, from 1; 0 = none."""
    under = np.flatnonzero(score_S < threshold)
    return int(under[0]) + 1 if len(under) else 0


def _thresholds(scores: Array) -> list[float]:
    """Half-way between neighbouring scores: no item sits on one."""
    found = np.unique(scores)
    between = (found[1:] + found[:-1]) / 2 if len(found) > 1 else found
    if len(between) > _MOST_THRESHOLDS:
        between = between[:: len(between) // _MOST_THRESHOLDS]
    return [float(value) for value in np.clip(between, 1e-6, 1 - 1e-6)]
