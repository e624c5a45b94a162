"""Figures of a fitted verifier on its held-out prompts, each with an interval.

All are functions of weighted totals; intervals are percentiles over draws of whole prompts with
replacement (Efron 1979, clustered), since the rollouts of a prompt are right or wrong together.
Conditional on the fit: they do not say how another fit on other labels would vary.

Shape suffixes: I = items, K = prompts, C = columns (totals), R = bootstrap draws, U = different
scores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

DRAWS = 1_000
LEVEL = 0.95
MIN_PROMPTS = 10
_Z = 1.959964  # normal quantile of LEVEL, two-sided


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate. Without enough data point is None, the interval says nothing, reason why.

    n: items behind it; n_prompts: the prompts that they are of.
    """

    point: float | None
    low: float | None
    high: float | None
    level: float
    method: str
    n: int
    n_prompts: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar of the reliability diagram. share: of its items, how many are right."""

    low: float
    high: float
    mean_predicted: float | None
    share: Figure


class HeldOut:
    """Held-out items with their prompts and weights, and the draws that all figures share.

    Two figures of the same items see the same draws, so that their differences are paired.
    """

    def __init__(self, prompts: Sequence[str], weight_I: ArrayLike, *, seed: int) -> None:
        _, self.prompt_I = np.unique(np.array(prompts, dtype=object), return_inverse=True)
        self.weight_I: Array = np.asarray(weight_I, dtype=float)
        self.n_prompts = int(self.prompt_I.max(initial=-1)) + 1
        drawn_RK = np.random.default_rng(seed).random((DRAWS, self.n_prompts)) * self.n_prompts
        # Of the K prompts, how often each is among K draws.
        self.count_RK = _counts(drawn_RK.astype(int))

    def totals(self, *columns_I: ArrayLike) -> Array:
        """Weighted totals (K, C) by prompt of each column."""
        weighted = [
            np.bincount(
                self.prompt_I,
                weights=self.weight_I * np.asarray(column_I, dtype=float),
                minlength=self.n_prompts,
            )
            for column_I in columns_I
        ]
        return np.stack(weighted, axis=1)

    def figure(
        self, statistic: Callable[[Array], Array], *columns_I: ArrayLike, among_I: ArrayLike
    ) -> Figure:
        """`statistic` of the weighted totals (..., C) of these columns.

        among_I: the items that it is about. Degenerate: fewer than 10 prompts with such items, or
        a statistic that more than one draw in twenty leaves undefined: no point, and the reason.
        """
        n, n_prompts = self._size(among_I)
        if n_prompts < MIN_PROMPTS:
            return _too_little(n, n_prompts)
        total_KC = self.totals(*columns_I)
        with np.errstate(divide="ignore", invalid="ignore"):
            point = float(statistic(total_KC.sum(axis=0)))
            drawn_R = statistic(self.count_RK @ total_KC)
        drawn_R = drawn_R[np.isfinite(drawn_R)]
        if not np.isfinite(point) or len(drawn_R) < 0.95 * DRAWS:
            return _undefined(n, n_prompts, "undefined for these items")
        low, high = np.quantile(drawn_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return _figure(point, float(low), float(high), "bootstrap by prompt", n, n_prompts)

    def mean(self, value_I: ArrayLike, *, among_I: ArrayLike) -> Figure:
        """The weighted mean of a value over the items of `among_I`."""
        among = np.asarray(among_I, dtype=float)
        return self.figure(ratio, np.asarray(value_I) * among, among, among_I=among)

    def share(self, hit_I: ArrayLike, *, among_I: ArrayLike) -> Figure:
        """How many of the items of `among_I` are hits.

        At 0 and at 1 no draw differs and the bootstrap would claim certainty: there it is Wilson's
        interval with the effective number of prompts (Kish 1965), as if all hits of a prompt
        came together.
        """
        found = self.mean(hit_I, among_I=among_I)
        if found.point is None or 0 < found.point < 1:
            return found
        total_K = self.totals(among_I)[:, 0]
        n_eff = float(total_K.sum() ** 2 / (total_K**2).sum())
        low, high = _wilson(found.point, n_eff)
        return _figure(
            found.point, low, high, "Wilson, effective prompts", found.n, found.n_prompts
        )

    def harmonic_mean(self, hits: Sequence[ArrayLike], among: Sequence[ArrayLike]) -> Figure:
        """Of two shares, as ProcessBench's F1; 0 where either is.

        Where a share is 0 or 1, the interval is that of the shares' own bounds, put together: wide.
        """
        columns = [
            np.asarray(part, dtype=float) for pair in zip(hits, among, strict=True) for part in pair
        ]
        columns[0], columns[2] = columns[0] * columns[1], columns[2] * columns[3]
        either = columns[1] + columns[3]
        shares = [self.share(hit, among_I=part) for hit, part in zip(hits, among, strict=True)]
        if lacking := next((share for share in shares if share.point is None), None):
            return lacking
        found = self.figure(_harmonic_mean, *columns, among_I=either)
        if found.point is None or all(share.point not in (0, 1) for share in shares):
            return found
        low, high = (
            float(_harmonic_mean(np.array([a, 1.0, b, 1.0])))
            for a, b in (
                (shares[0].low or 0.0, shares[1].low or 0.0),
                (shares[0].high or 0.0, shares[1].high or 0.0),
            )
        )
        return _figure(found.point, low, high, "bounds of both shares", found.n, found.n_prompts)

    def auc(self, score_I: ArrayLike, right_I: ArrayLike, *, among_I: ArrayLike) -> Figure:
        """P(a right item scores above a wrong one), ties counted half; of weighted items."""
        among = np.asarray(among_I, dtype=bool)
        n, n_prompts = self._size(among)
        if n_prompts < MIN_PROMPTS:
            return _too_little(n, n_prompts)
        score, right = np.asarray(score_I, dtype=float)[among], np.asarray(right_I)[among]
        _, first_U = np.unique(np.sort(score), return_index=True)
        order = np.argsort(score, kind="stable")
        weight, prompt, right = (
            self.weight_I[among][order],
            self.prompt_I[among][order],
            right[order],
        )

        def area(count_RK: Array) -> Array:
            drawn = count_RK[:, prompt] * weight
            right_RU = np.add.reduceat(drawn * right, first_U, axis=1)
            wrong_RU = np.add.reduceat(drawn * ~right, first_U, axis=1)
            below_RU = np.cumsum(wrong_RU, axis=1) - wrong_RU / 2
            with np.errstate(divide="ignore", invalid="ignore"):
                pairs = right_RU.sum(axis=1) * wrong_RU.sum(axis=1)
                return np.asarray((right_RU * below_RU).sum(axis=1) / pairs)

        point = float(area(np.ones((1, self.n_prompts)))[0])
        drawn_R = np.concatenate([area(part) for part in np.array_split(self.count_RK, 20)])
        drawn_R = drawn_R[np.isfinite(drawn_R)]
        if not np.isfinite(point) or len(drawn_R) < 0.95 * DRAWS:
            return _undefined(n, n_prompts, "one class alone")
        low, high = np.quantile(drawn_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return _figure(point, float(low), float(high), "bootstrap by prompt", n, n_prompts)

    def reliability(
        self, score_I: ArrayLike, right_I: ArrayLike, *, among_I: ArrayLike
    ) -> list[Bin]:
        """Ten bars of equal width over the score; an empty one has no share."""
        score, among = np.asarray(score_I, dtype=float), np.asarray(among_I, dtype=bool)
        bin_I = np.minimum((score * 10).astype(int), 9)
        bins = []
        for number in range(10):
            inside = among & (bin_I == number)
            weight = self.weight_I[inside]
            mean = float(np.average(score[inside], weights=weight)) if inside.any() else None
            share = self.share(right_I, among_I=inside)
            bins.append(Bin(number / 10, (number + 1) / 10, mean, share))
        return bins

    def _size(self, among_I: ArrayLike) -> tuple[int, int]:
        among = np.asarray(among_I, dtype=float) > 0
        return int(among.sum()), len(np.unique(self.prompt_I[among]))


def _counts(drawn_RK: NDArray[np.int64]) -> Array:
    count_RK = np.zeros(drawn_RK.shape)
    np.add.at(count_RK, (np.arange(len(drawn_RK))[:, None], drawn_RK), 1.0)
    return count_RK


def ratio(total_C: Array) -> Array:
    """First total over the second."""
    return np.asarray(total_C[..., 0] / total_C[..., 1])


def ratio_difference(total_C: Array) -> Array:
    """First less second total, over the third."""
    return np.asarray((total_C[..., 0] - total_C[..., 1]) / total_C[..., 2])


def skill(total_C: Array) -> Array:
    """1 less the first total over the second: the share of an error that is explained."""
    return np.asarray(1 - total_C[..., 0] / total_C[..., 1])


def _harmonic_mean(total_C: Array) -> Array:
    a, b = total_C[..., 0] / total_C[..., 1], total_C[..., 2] / total_C[..., 3]
    return np.asarray(np.where(a + b == 0, 0.0, 2 * a * b / np.where(a + b == 0, 1.0, a + b)))


def _wilson(point: float, n: float) -> tuple[float, float]:
    """Wilson 1927, for an effective sample size."""
    centre = (point + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * sqrt(point * (1 - point) / n + (_Z / (2 * n)) ** 2) / (1 + _Z**2 / n)
    return max(0.0, min(centre - half, point)), min(1.0, max(centre + half, point))


def _figure(point: float, low: float, high: float, method: str, n: int, n_prompts: int) -> Figure:
    # A percentile interval of a skewed statistic may miss its own point.
    return Figure(point, min(low, point), max(high, point), LEVEL, method, n, n_prompts)


def _undefined(n: int, n_prompts: int, reason: str) -> Figure:
    return Figure(None, None, None, LEVEL, "none", n, n_prompts, reason)


def _too_little(n: int, n_prompts: int) -> Figure:
    return _undefined(n, n_prompts, f"{n_prompts} of the {MIN_PROMPTS} prompts that it needs")
