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
MIN_DF = 3.0
LEAST_DF_OF_EVENTS = 10.0


@dataclass(frozen=True, slots=True)
class Linearised:
    """What one rollout of each cell adds to an estimate's error, to first order.

    spread_M: variance of a rollout's value around the mean of its cell; mean_M: that mean, after
    the smoothed model; predicted_M: what each wave predicted of it, for the cells of the wave.
    rate_M: how often the event happens that is counted, where it is one; rare ones leave the
    variance less sure.
    """

    spread_M: FloatArray
    mean_M: FloatArray
    predicted_M: Sequence[FloatArray]
    rate_M: FloatArray | None = None


def linearised_correct(pooled: Pooled, scale_M: FloatArray) -> Linearised:
    """Of an estimate that changes by `scale_M` with each correct rollout of a cell."""
    p_M = pooled.smoothed.p_M
    predicted = [scale_M[wave.cells] * wave.f_M for wave in pooled.waves]
    spread_M = scale_M**2 * p_M * (1 - p_M) * _optimism(pooled, p_M)
    return Linearised(spread_M, scale_M * p_M, predicted, p_M)


def _optimism(pooled: Pooled, p_M: FloatArray) -> FloatArray:
    """How much less the model's answers spread inside a post-stratum than all of them together.

    Fitted on the very labels, the model tells cells apart that are alike.
    """
    post_M, size = pooled.smoothed.post_stratum_M, len(pooled.smoothed.labels_P)
    count_P = np.maximum(total_by(post_M, pooled.count_M, size), 1e-12)
    mean_P = total_by(post_M, pooled.count_M * p_M, size) / count_P
    inside_P = total_by(post_M, pooled.count_M * p_M * (1 - p_M), size) / count_P
    ratio_P = mean_P * (1 - mean_P) / np.maximum(inside_P, 1e-12)
    return np.asarray(np.maximum(ratio_P, 1.0)[post_M])


def linearised_hacks(pooled: Pooled, scale_M: FloatArray) -> Linearised:
    """Of an estimate that changes by `scale_M` with each hack of a cell."""
    high_M = pooled.smoothed.variance_q_M
    predicted = [scale_M[wave.cells] * wave.q_M for wave in pooled.waves]
    mean_M = scale_M * pooled.smoothed.q_M
    return Linearised(scale_M**2 * high_M * (1 - high_M), mean_M, predicted, high_M)


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


def satterthwaite(pooled: Pooled, linearised: Linearised, variance_P: FloatArray) -> float:
    """Degrees of freedom of `variance_by_post_stratum`, at least 3.

    Each post-stratum's variance rests on its labels; where the event is rare, on few events:
    p (1 - p) estimated from n labels varies by (1 - 2p)^2 p (1 - p) / n, which is as sure as
    2 n p (1 - p) / (1 - 2p)^2 degrees of freedom. Few events take them down to 10 and no further:
    Wilson's interval leans away from 0 by itself; with fewer it covered 98 % at twice the width.
    Source: Satterthwaite 1946, Biometrics Bulletin 2; the delta method for p (1 - p).
    """
    labels_P = pooled.smoothed.labels_P
    df_P = np.maximum(labels_P - 1, 1)
    if linearised.rate_M is not None:
        post_M, size = pooled.smoothed.post_stratum_M, len(labels_P)
        count_P = np.maximum(total_by(post_M, pooled.count_M, size), 1e-12)
        p_P = total_by(post_M, pooled.count_M * linearised.rate_M, size) / count_P
        of_events_P = 2 * labels_P * p_P * (1 - p_P) / np.maximum((1 - 2 * p_P) ** 2, 1e-12)
        of_events = _total_df(variance_P, np.clip(of_events_P, 1, df_P))
        return min(_total_df(variance_P, df_P), max(of_events, LEAST_DF_OF_EVENTS))
    return _total_df(variance_P, df_P)


def _total_df(variance_P: FloatArray, df_P: FloatArray) -> float:
    spread = float((variance_P**2 / df_P).sum())
    return max(float(variance_P.sum()) ** 2 / spread, MIN_DF) if spread > 0 else MIN_DF
