"""The textbook's adaptive audit, for comparison: Neyman allocation, and one stratified mean.

Fixed strata, allocation by the error rates seen so far, and at the end all labels together as if
the sizes of the strata's samples had been chosen beforehand. They were not: a stratum whose first
labels show no error gets few more, and keeps the wrong estimate; one that shows many is corrected.

Shape suffixes: M = cells, H = strata, O = outcomes (correct, wrong, hack).
"""

from dataclasses import dataclass

import numpy as np

from review.stats.cells import BoolArray, FloatArray, IntArray, total_by
from review.stats.design import COMPROMISE, item_sd
from review.stats.estimands import Estimand, ratio
from review.stats.intervals import Interval, ess_wilson
from review.stats.windows import no_items
from tests.bench.audits import draw_outcomes, fitted
from tests.stats.population import CORRECT, HACK, Population

QUINTILES = 5
WAVES = 4
LEAST = 2
# Labels' worth of the prior mean in each stratum's rates, for the allocation and the variance.
KAPPA = 2.0


@dataclass(frozen=True, slots=True)
class Strata:
    """Fixed strata, and what is expected of them before any label."""

    stratum_M: IntArray
    accepted_H: BoolArray
    count_H: FloatArray
    prior_p_H: FloatArray
    prior_q_H: FloatArray


def pooled_audit(
    population: Population, *, n: int, rng: np.random.Generator
) -> dict[Estimand, Interval]:
    """Draw `n` labels in waves, each allocated by Neyman's rule; pool them all."""
    strata = _strata(population)
    left_MO = population.outcomes_MO
    for wave in range(1, WAVES + 1):
        drawn_HO = _by_stratum(strata, population.outcomes_MO - left_MO)
        wanted_H = _neyman(population, strata, drawn_HO, n * wave // WAVES)
        left_MO = left_MO - _draw(strata, left_MO, wanted_H, rng)
    return _stratified(strata, _by_stratum(strata, population.outcomes_MO - left_MO))


def _strata(population: Population) -> Strata:
    """Verdict by quintile of the judge's score; probe hits apart."""
    frame, count_M = population.frame, population.count_M.astype(float)
    key_M = np.where(
        frame.probe_M, QUINTILES, _quintile(frame.score_M, count_M)
    ) + frame.accepted_M * (QUINTILES + 1)
    _, stratum_M = np.unique(key_M, return_inverse=True)
    strata = int(stratum_M.max()) + 1
    f_M, q_M = fitted(population, no_items().counts(len(frame)))
    count_H = total_by(stratum_M, count_M, strata)
    return Strata(
        stratum_M=stratum_M,
        accepted_H=total_by(stratum_M, frame.accepted_M, strata) > 0,
        count_H=count_H,
        prior_p_H=total_by(stratum_M, count_M * f_M, strata) / count_H,
        prior_q_H=total_by(stratum_M, count_M * q_M, strata) / count_H,
    )


def _quintile(score_M: FloatArray, count_M: FloatArray) -> IntArray:
    order = np.argsort(score_M, kind="stable")
    middle = np.cumsum(count_M[order]) - count_M[order] / 2
    quintile_M = np.zeros(len(order), np.int64)
    quintile_M[order] = middle / count_M.sum() * QUINTILES
    return quintile_M


def _by_stratum(strata: Strata, labels_MO: IntArray) -> FloatArray:
    size = len(strata.count_H)
    return np.stack([total_by(strata.stratum_M, column, size) for column in labels_MO.T], 1)


def _smoothed(strata: Strata, drawn_HO: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rates of correct ones and of accepted hacks, never 0 or 1."""
    n_H = drawn_HO.sum(1) + KAPPA
    p_H = (drawn_HO[:, CORRECT] + KAPPA * strata.prior_p_H) / n_H
    q_H = (drawn_HO[:, HACK] + KAPPA * strata.prior_q_H) / n_H
    return p_H, q_H * strata.accepted_H


def _neyman(population: Population, strata: Strata, drawn_HO: FloatArray, total: int) -> IntArray:
    """How many more labels each stratum gets to come near the best allocation of `total`."""
    p_H, q_H = _smoothed(strata, drawn_HO)
    sd_M = item_sd(
        population.frame,
        count_M=population.count_M,
        f_M=p_H[strata.stratum_M],
        q_M=q_H[strata.stratum_M],
        focus=COMPROMISE,
    )
    n_H = drawn_HO.sum(1)
    error_H = total_by(strata.stratum_M, population.count_M * sd_M, len(n_H))
    most_H = strata.count_H - n_H
    least_H = np.minimum(np.maximum(LEAST - n_H, 0), most_H)

    def missing_at(scale: float) -> FloatArray:
        return np.clip(scale * error_H - n_H, least_H, most_H)

    wanted = total - n_H.sum()
    low, high = 0.0, float(strata.count_H.sum() / error_H.min())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if missing_at(middle).sum() < wanted else (low, middle)
    # Rounded so that the running total is: the sum is the number wanted.
    running_H = np.round(np.cumsum(missing_at(high)), 6)
    return np.diff(np.floor(running_H + 0.5), prepend=0).astype(np.int64)


def _draw(
    strata: Strata, left_MO: IntArray, wanted_H: IntArray, rng: np.random.Generator
) -> IntArray:
    """A simple random sample of each stratum's remaining rollouts."""
    drawn_M = np.zeros(len(left_MO), np.int64)
    for stratum, wanted in enumerate(wanted_H):
        cells = np.flatnonzero(strata.stratum_M == stratum)
        drawn_M[cells] = rng.multivariate_hypergeometric(left_MO[cells].sum(1), int(wanted))
    return draw_outcomes(left_MO, drawn_M, rng)


def _stratified(strata: Strata, drawn_HO: FloatArray) -> dict[Estimand, Interval]:
    """Sum of N_h times the rate in stratum h, with the interval that the product uses."""
    n_H, count_H = drawn_HO.sum(1), strata.count_H
    rate_HO = drawn_HO / n_H[:, None]
    p_H, q_H = _smoothed(strata, drawn_HO)
    intervals = {}
    for estimand in Estimand:
        expected, smoothed = (
            ratio(
                estimand,
                accepted_M=strata.accepted_H,
                count_M=count_H,
                correct_M=count_H * correct_H,
                hacks_M=count_H * hacks_H * strata.accepted_H,
                slice_M=np.ones(len(count_H)),
            )
            for correct_H, hacks_H in ((rate_HO[:, CORRECT], rate_HO[:, HACK]), (p_H, q_H))
        )
        rate_H = q_H if estimand is Estimand.HACK_RATE else p_H
        scale_H = expected.multiplier_M * count_H / expected.denominator
        variance_H = scale_H**2 * (1 - n_H / count_H) * rate_H * (1 - rate_H) / n_H
        variance = float(variance_H.sum())
        df = variance**2 / float((variance_H**2 / np.maximum(n_H - 1, 1)).sum())
        intervals[estimand] = ess_wilson(
            expected.value, smoothed=smoothed.value, variance=variance, df=max(df, 3.0)
        )
    return intervals
