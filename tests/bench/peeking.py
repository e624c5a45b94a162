"""What looking at an audit after every wave does to its intervals."""

from collections.abc import Mapping

import numpy as np

from review.stats.cells import BoolArray
from review.stats.estimands import Estimand
from review.stats.estimators import Estimate, estimate_all
from review.stats.intervals import monitor
from review.stats.windows import Window
from tests.bench.audits import conduct
from tests.stats.population import Population

LABELS = 1000
WAVES = 20
FIRST_LOOK = 2  # waves


def ever_missed(
    population: Population,
    *,
    target_half_widths: Mapping[Estimand, float],
    rng: np.random.Generator,
) -> BoolArray:
    """For each estimand: does one of 19 looks miss it, with the interval for a single look, and
    with the one for any number of looks?"""
    window = conduct(population, n=LABELS, waves=WAVES, rng=rng).window
    truth = population.truth()
    missed = np.zeros((len(Estimand), 2), bool)
    for closed in range(FIRST_LOOK, WAVES + 1):
        looked = estimate_all([Window(window.frame, window.count_M, window.waves[:closed])])
        for row, estimand in enumerate(Estimand):
            missed[row] |= _misses(looked[estimand], truth[estimand], target_half_widths[estimand])
    return missed


def _misses(estimate: Estimate, truth: float, target_half_width: float) -> tuple[bool, bool]:
    if estimate.point is None:
        return False, False
    assert estimate.smoothed is not None
    assert estimate.se is not None
    watched = monitor(
        estimate.point,
        smoothed=estimate.smoothed,
        se=estimate.se,
        target_half_width=target_half_width,
    )
    return not estimate.low <= truth <= estimate.high, not watched.low <= truth <= watched.high
