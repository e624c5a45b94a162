"""A rate with its interval."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval of confidence `LEVEL`; n: what it is a share of."""

    point: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: int, *, level: float = LEVEL) -> Rate:
    """Wilson's score interval of successes / n (Wilson 1927, JASA 22); n >= 1.

    successes may be a sum of shares: their variance is at most that of so many yes and no, so
    that the interval is then too wide rather than too narrow.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Rate(share, max(0.0, centre - half), min(1.0, centre + half), n)
