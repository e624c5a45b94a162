"""Simple random samples of a population, with Wilson's interval: what audits are held against.

Shape suffixes: O = outcomes (correct, wrong, hack), S = samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from review.stats.cells import IntArray
from review.stats.estimands import Estimand
from review.stats.intervals import wilson
from tests.stats.population import CORRECT, HACK, Population

SAMPLES = 20_000
INTERVALS = 500


@dataclass(frozen=True, slots=True)
class Uniform:
    """Mean squared error of the point, and mean width of the interval."""

    mse: float
    width: float


def uniform(
    populations: Sequence[Population], *, n: int, estimand: Estimand, seed: int = 0
) -> Uniform:
    """Samples of `n` rollouts, as many of each population."""
    rng = np.random.default_rng(seed)
    errors, widths = [], []
    for population in populations:
        successes_S, trials_S = _sample(population, estimand, n, rng)
        used_S = trials_S > 0
        points_S = successes_S[used_S] / trials_S[used_S]
        errors.append(np.mean((points_S - population.truth()[estimand]) ** 2))
        pairs = zip(successes_S[:INTERVALS], trials_S[:INTERVALS], strict=True)
        intervals = [wilson(successes, trials) for successes, trials in pairs]
        widths.append(np.mean([interval.high - interval.low for interval in intervals]))
    return Uniform(float(np.mean(errors)), float(np.mean(widths)))


def _sample(
    population: Population, estimand: Estimand, n: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Successes and trials of each sample."""
    accepted_M, outcomes_MO = population.frame.accepted_M, population.outcomes_MO
    count_VO = np.stack([outcomes_MO[~accepted_M].sum(0), outcomes_MO[accepted_M].sum(0)])
    drawn_SVO = rng.multivariate_hypergeometric(count_VO.reshape(-1), n, SAMPLES).reshape(-1, 2, 3)
    rejected_SO, accepted_SO = drawn_SVO[:, 0], drawn_SVO[:, 1]
    correct_S = drawn_SVO[:, :, CORRECT].sum(1)
    all_S = np.full(SAMPLES, n)
    return {
        Estimand.RECALL: (accepted_SO[:, CORRECT], correct_S),
        Estimand.FPR: (accepted_SO[:, CORRECT + 1 :].sum(1), all_S - correct_S),
        Estimand.PRECISION: (accepted_SO[:, CORRECT], accepted_SO.sum(1)),
        Estimand.REJECTED_CORRECT: (rejected_SO[:, CORRECT], rejected_SO.sum(1)),
        Estimand.ACCURACY: (correct_S, all_S),
        Estimand.HACK_RATE: (accepted_SO[:, HACK], all_S),
    }[estimand]
