"""What many simulated audits say together.

Shape suffixes: R = replicates, E = estimands, in the order of `Estimand`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from review.stats.cells import FloatArray
from review.stats.estimands import Estimand
from tests.bench.uniform import Uniform


@dataclass(frozen=True, slots=True)
class Results:
    """Intervals for the estimands, and the truth of the population that each replicate audited.

    point_RE is nan where the estimate is undefined.
    """

    point_RE: FloatArray
    low_RE: FloatArray
    high_RE: FloatArray
    truth_RE: FloatArray
    reviews_R: FloatArray

    def reviews_per_item(self, n: int) -> float:
        return float(self.reviews_R.mean() / n)


@dataclass(frozen=True, slots=True)
class Summary:
    """One estimand of one study.

    efficiency: mean squared error of as large a uniform sample, over the study's. bias_over_se:
    the bias in units of the points' standard deviation. Each `_error` is the Monte Carlo standard
    error of what it follows.
    """

    replicates: int
    undefined: int
    covers: float
    covers_error: float
    bias: float
    bias_error: float
    bias_over_se: float
    bias_over_se_error: float
    width: float
    uniform_width: float
    mse: float
    efficiency: float
    efficiency_error: float


def joined(results: Sequence[Results]) -> Results:
    return Results(
        *(
            np.concatenate([getattr(result, name) for result in results])
            for name in ("point_RE", "low_RE", "high_RE", "truth_RE", "reviews_R")
        )
    )


def summarise(results: Results, estimand: Estimand, uniform: Uniform) -> Summary:
    row = list(Estimand).index(estimand)
    point_R, low_R, high_R, truth_R = (
        x[:, row] for x in (results.point_RE, results.low_RE, results.high_RE, results.truth_RE)
    )
    error_R = (point_R - truth_R)[~np.isnan(point_R)]
    covers = float(np.mean((low_R <= truth_R) & (truth_R <= high_R)))
    mse = float(np.mean(error_R**2))
    efficiency = uniform.mse / mse
    return Summary(
        replicates=len(point_R),
        undefined=len(point_R) - len(error_R),
        covers=covers,
        covers_error=float(np.sqrt(covers * (1 - covers) / len(point_R))),
        bias=float(np.mean(error_R)),
        bias_error=float(np.std(error_R) / np.sqrt(len(error_R))),
        bias_over_se=float(np.mean(error_R) / np.std(error_R)),
        bias_over_se_error=float(1 / np.sqrt(len(error_R))),
        width=float(np.mean(high_R - low_R)),
        uniform_width=uniform.width,
        mse=mse,
        efficiency=efficiency,
        efficiency_error=float(efficiency * np.std(error_R**2) / mse / np.sqrt(len(error_R))),
    )
