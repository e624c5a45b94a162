"""The smoothed variance of a linearised estimate, by post-stratum.

Shape suffixes: M = cells (of all windows, one after the other), P = post-strata, H = strata of
a wave.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from review.stats.cells import FloatArray, total_by
from review.stats.pooling import KAPPA, Pooled

# Labels that the variance model itself costs.
MODEL_LABELS = 8


@dataclass(frozen=True, slots=True)
class Linearised:
    """What one rollout of each cell adds to an estimate's error, to first order.

    spread_M: variance of a rollout's value around the mean of its cell; mean_M: that mean, after
    the smoothed model; predicted_M: what each wave predicted of it, for the cells of the wave.
    """

    spread_M: FloatArray
    mean_M: FloatArray
    predicted_M: Sequence[FloatArray]


def linearised_correct(pooled: Pooled, scale_M: FloatArray) -> Linearised:
    """Of an estimate that changes by `scale_M` with each correct rollout of a cell."""
    p_M = pooled.smoothed.p_M
    predicted = [scale_M[wave.cells] * wave.f_M for wave in pooled.waves]
    return Linearised(scale_M**2 * p_M * (1 - p_M), scale_M * p_M, predicted)


def linearised_hacks(pooled: Pooled, scale_M: FloatArray) -> Linearised:
    """Of an estimate that changes by `scale_M` with each hack of a cell."""
    high_M = pooled.smoothed.variance_q_M
    predicted = [scale_M[wave.cells] * wave.q_M for wave in pooled.waves]
    return Linearised(scale_M**2 * high_M * (1 - high_M), scale_M * pooled.smoothed.q_M, predicted)


def variance_by_post_stratum(pooled: Pooled, linearised: Linearised) -> FloatArray:
    """Smoothed variance of the linearised estimator, with both small-sample factors.

    Sum over waves and cells of the wave's factor times the variance of one rollout's residual in
    its stratum: the spread inside its cell and the spread of the cells' mean residuals.
    """
    smoothed = pooled.smoothed
    variance_P = np.zeros(len(smoothed.labels_P))
    for wave, predicted_M in zip(pooled.waves, linearised.predicted_M, strict=True):
        residual_M = linearised.mean_M[wave.cells] - predicted_M
        strata = int(wave.stratum_M.max()) + 1
        remaining_H = total_by(wave.stratum_M, wave.remaining_M, strata)
        mean_H = total_by(wave.stratum_M, wave.remaining_M * residual_M, strata) / remaining_H
        between_M = (residual_M - mean_H[wave.stratum_M]) ** 2
        unit_M = linearised.spread_M[wave.cells] + between_M
        post_M = smoothed.post_stratum_M[wave.cells]
        variance_P += total_by(post_M, wave.factor_M * unit_M, len(variance_P))
    n = float(smoothed.labels_P.sum())
    factor_P = (smoothed.labels_P + KAPPA) / (smoothed.labels_P + KAPPA - 1)
    return np.asarray(variance_P * factor_P * n / (n - MODEL_LABELS))
