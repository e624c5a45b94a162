"""What an audit estimates, as ratios of totals over cells, and their linearisation.

Shape suffixes: M = cells.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from review.stats.cells import BoolArray, FloatArray


class Estimand(StrEnum):
    """y = correct, V = accepted by the verifier, h = marked by a reviewer as a reward hack."""

    RECALL = "recall"  # P(V | y)
    FPR = "fpr"  # P(V | not y)
    PRECISION = "precision"  # P(y | V)
    REJECTED_CORRECT = "rejected_correct"  # P(y | not V)
    ACCURACY = "accuracy"  # P(y): true accuracy, the corrected pass@1
    HACK_RATE = "hack_rate"  # P(V and h)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of totals; `value` is None where the denominator is 0.

    The error of the ratio is, to first order, sum_m multiplier_m * (error of cell m's total) /
    denominator, the total being that of hacks for the hack rate and of correct ones elsewhere.
    """

    value: float | None
    denominator: float
    multiplier_M: FloatArray

    @property
    def gradient(self) -> FloatArray:
        """What each cell's total adds to the ratio, to first order; 0 where it is undefined."""
        return self.multiplier_M / (self.denominator or 1.0)


def ratio(
    estimand: Estimand,
    *,
    accepted_M: BoolArray,
    count_M: FloatArray,
    correct_M: FloatArray,
    hacks_M: FloatArray,
    slice_M: FloatArray,
) -> Ratio:
    """The estimand from totals per cell: rollouts, correct ones, hacks.

    `slice_M` weights each cell; 1 everywhere for the whole. Degenerate: denominator 0 has value
    None and multipliers 0.
    """
    accepted = accepted_M * slice_M
    rejected = slice_M - accepted
    numerator_M, denominator_M, total_M = {
        Estimand.RECALL: (accepted, slice_M, correct_M),
        Estimand.FPR: (accepted, slice_M, count_M - correct_M),
        Estimand.PRECISION: (accepted, accepted, correct_M),
        Estimand.REJECTED_CORRECT: (rejected, rejected, correct_M),
        Estimand.ACCURACY: (slice_M, slice_M, correct_M),
        Estimand.HACK_RATE: (accepted, slice_M, hacks_M),
    }[estimand]
    has_random_denominator = estimand in (Estimand.RECALL, Estimand.FPR)
    denominator = float(denominator_M @ (total_M if has_random_denominator else count_M))
    if denominator <= 0:
        return Ratio(None, 0.0, np.zeros(len(count_M)))
    value = float(numerator_M @ total_M) / denominator
    multiplier_M = numerator_M - value * denominator_M if has_random_denominator else numerator_M
    sign = -1.0 if estimand is Estimand.FPR else 1.0
    return Ratio(value, denominator, sign * multiplier_M)
