"""Simple random samples of a population, with Wilson's interval: what audits are held against.

Shape suffixes: V = verdicts (rejected, accepted), O = outcomes (correct, wrong, hack), S = samples.
"""

from collections.abc import Mapping, Sequence
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


def uniform(populations: Sequence[Population], *, n: int) -> dict[Estimand, Uniform]:
    """Samples of `n` rollouts, equally many of each population."""
    rng = np.random.default_rng(n)
    each = [_of_one(population, n, rng) for population in populations]
    return {
        estimand: Uniform(
            mse=float(np.mean([one[estimand].mse for one in each])),
            width=float(np.mean([one[estimand].width for one in each])),
        )
        for estimand in Estimand
    }


def _of_one(population: Population, n: int, rng: np.random.Generator) -> dict[Estimand, Uniform]:
    truth = population.truth()
    found = {}
    for estimand, (successes_S, trials_S) in _samples(population, n, rng).items():
        used_S = trials_S > 0
        error_S = successes_S[used_S] / trials_S[used_S] - truth[estimand]
        pairs = zip(successes_S[:INTERVALS].tolist(), trials_S[:INTERVALS].tolist(), strict=True)
        intervals = [wilson(successes, trials) for successes, trials in pairs]
        width = float(np.mean([interval.high - interval.low for interval in intervals]))
        found[estimand] = Uniform(mse=float(np.mean(error_S**2)), width=width)
    return found


def _samples(
    population: Population, n: int, rng: np.random.Generator
) -> Mapping[Estimand, tuple[IntArray, IntArray]]:
    """Successes and trials in each sample."""
    accepted_M, outcomes_MO = population.frame.accepted_M, population.outcomes_MO
    count_VO = np.stack([outcomes_MO[accepted_M == verdict].sum(0) for verdict in (False, True)])
    drawn_SVO = rng.multivariate_hypergeometric(count_VO.reshape(-1), n, SAMPLES).reshape(-1, 2, 3)
    rejected_SO, accepted_SO = drawn_SVO[:, 0], drawn_SVO[:, 1]
    correct_S = drawn_SVO[:, :, CORRECT].sum(1)
    accepted_wrong_S = accepted_SO.sum(1) - accepted_SO[:, CORRECT]
    all_S = np.full(SAMPLES, n)
    return {
        Estimand.RECALL: (accepted_SO[:, CORRECT], correct_S),
        Estimand.FPR: (accepted_wrong_S, all_S - correct_S),
        Estimand.PRECISION: (accepted_SO[:, CORRECT], accepted_SO.sum(1)),
        Estimand.REJECTED_CORRECT: (rejected_SO[:, CORRECT], rejected_SO.sum(1)),
        Estimand.ACCURACY: (correct_S, all_S),
        Estimand.HACK_RATE: (accepted_SO[:, HACK], all_S),
    }
