"""Confidence intervals for proportions and ratios."""

from dataclasses import dataclass
from math import exp, inf, log, log1p, sqrt

from scipy import special

TINY = 1e-6


@dataclass(frozen=True, slots=True)
class Interval:
    """`point` is None, and the interval [0, 1], where there is nothing to estimate from."""

    point: float | None
    low: float
    high: float
    level: float
    method: str
    n: float


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError("level must lie between 0 and 1")


def _wilson_bounds(point: float, n: float, quantile: float) -> tuple[float, float]:
    if n == inf:
        return point, point
    squared = quantile**2
    centre = (point + squared / (2 * n)) / (1 + squared / n)
    spread = point * (1 - point) / n + (quantile / (2 * n)) ** 2
    half = quantile * sqrt(spread) / (1 + squared / n)
    # At 0 and at 1 the bound is exact; rounding must not push it past the point.
    return max(0.0, min(centre - half, point)), min(1.0, max(centre + half, point))


def wilson(successes: float, n: float, *, level: float = 0.95) -> Interval:
    """Wilson's score interval for one proportion from a simple random sample.

    Estimand: the probability of success. Assumes independent trials of equal probability.
    Degenerate: n = 0 gives no point and [0, 1].
    Source: Wilson 1927; recommended over Wald by Brown, Cai and DasGupta 2001.
    """
    _check_level(level)
    if not 0 <= successes <= n:
        raise ValueError("successes must lie between 0 and n")
    if n == 0:
        return Interval(None, 0.0, 1.0, level, "wilson", 0)
    point = successes / n
    low, high = _wilson_bounds(point, n, float(special.ndtri((1 + level) / 2)))
    return Interval(point, low, high, level, "wilson", n)


def effective_n(smoothed: float, variance: float) -> float:
    """Size of the simple random sample that would have this variance; inf for variance 0."""
    if variance <= 0:
        return inf
    smoothed = min(max(smoothed, TINY), 1 - TINY)
    return max(smoothed * (1 - smoothed) / variance, 1.0)


def ess_wilson(
    point: float, *, smoothed: float, variance: float, df: float, level: float = 0.95
) -> Interval:
    """Wilson's interval with the effective sample size of a complex sample.

    Estimand: whatever `point` estimates, a number in [0, 1].
    `smoothed` is a model-smoothed value of the same thing (never exactly 0 or 1), `variance` that
    of the estimator, `df` the degrees of freedom of the variance (Satterthwaite), whose t quantile
    takes the place of z.
    Degenerate: variance 0 (a census) gives the point alone.
    Source: Franco, Little, Louis and Slud 2019 (PMC6690503); Korn and Graubard 1998; Kott 2017.
    """
    _check_level(level)
    n = effective_n(smoothed, variance)
    low, high = _wilson_bounds(point, n, float(special.stdtrit(df, (1 + level) / 2)))
    return Interval(point, low, high, level, "ess-wilson", n)


def monitor(
    point: float,
    *,
    smoothed: float,
    se: float,
    target_half_width: float,
    level: float = 0.95,
) -> Interval:
    """Interval that may be looked at any number of times (asymptotic confidence sequence).

    Estimand: as `point`. The probability of *ever* missing it, over all looks, is about
    1 - level; on the logit scale, tightest when the fixed-n half-width is `target_half_width`,
    which must be fixed before the first look. About 1.6 times as wide as a fixed-n interval.
    Assumes: approximate normality at each look.
    Degenerate: se 0 gives the point; a point within 1e-4 of 0 or 1 has its logit taken at
    `smoothed`, and the interval is widened to hold the point.
    Source: Waudby-Smith et al., arXiv 2103.06476 (normal mixture).
    """
    _check_level(level)
    if target_half_width <= 0:
        raise ValueError("target_half_width must be positive")
    n = effective_n(smoothed, se**2)
    if n == inf:
        return Interval(point, point, point, level, "monitor", n)
    alpha = 1 - level
    root = float(special.lambertw(-(alpha**2) * exp(-1), -1).real)
    target = (target_half_width / float(special.ndtri((1 + level) / 2))) ** 2
    information = (-root - 1) * target / se**2
    multiplier = sqrt((1 + 1 / information) * (log1p(information) - 2 * log(alpha)))
    centre = point if 1e-4 < point < 1 - 1e-4 else min(max(smoothed, TINY), 1 - TINY)
    half = multiplier * se / (centre * (1 - centre))
    low, high = (float(special.expit(special.logit(centre) + s * half)) for s in (-1, 1))
    return Interval(point, min(low, point), max(high, point), level, "monitor", n)


def monitor_difference(
    point: float, *, se: float, target_half_width: float, level: float = 0.95
) -> tuple[float, float]:
    """Bounds of a difference of proportions that may be looked at any number of times.

    Estimand: as `point`, in [-1, 1]. As `monitor`, on the plain scale: the probability of ever
    missing the difference while labels come in is about 1 - level.
    Assumes: approximate normality at each look. Degenerate: se 0 gives the point.
    Source: Waudby-Smith et al., arXiv 2103.06476 (normal mixture).
    """
    _check_level(level)
    if target_half_width <= 0:
        raise ValueError("target_half_width must be positive")
    if se <= 0:
        return point, point
    alpha = 1 - level
    root = float(special.lambertw(-(alpha**2) * exp(-1), -1).real)
    target = (target_half_width / float(special.ndtri((1 + level) / 2))) ** 2
    information = (-root - 1) * target / se**2
    half = se * sqrt((1 + 1 / information) * (log1p(information) - 2 * log(alpha)))
    return max(-1.0, point - half), min(1.0, point + half)
