"""Planning and drawing one wave of an audit: strata, allocation, draw.

Shape suffixes: M = cells, H = strata of the wave.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from review.stats.cells import BoolArray, CellFrame, FloatArray, IntArray, total_by
from review.stats.estimands import Estimand, ratio

# A proportional share of each wave bounds the weights at N / (mix * n).
PROPORTIONAL_MIX = 0.15
# No cell is believed to be free of errors, or of hacks.
MIN_VARIANCE = 0.004
MIN_HACK_VARIANCE = 0.0012
SMALL_WAVE = 8


@dataclass(frozen=True, slots=True)
class Focus:
    """How much each estimand matters; the scale is free, 0 leaves it to chance."""

    recall: float = 1.0
    fpr: float = 1.0
    accuracy: float = 1.0
    hack_rate: float = 1.0

    def __post_init__(self) -> None:
        weights = self.weights().values()
        if not all(np.isfinite(w) and w >= 0 for w in weights) or not any(weights):
            raise ValueError("focus weights must be finite and not negative, and not all 0")

    def weights(self) -> dict[Estimand, float]:
        return {
            Estimand.RECALL: self.recall,
            Estimand.FPR: self.fpr,
            Estimand.ACCURACY: self.accuracy,
            Estimand.HACK_RATE: self.hack_rate,
        }


COMPROMISE = Focus()
RECALL_ONLY = Focus(recall=1, fpr=0, accuracy=0, hack_rate=0)
FPR_ONLY = Focus(recall=0, fpr=1, accuracy=0, hack_rate=0)
ACCURACY_ONLY = Focus(recall=0, fpr=0, accuracy=1, hack_rate=0)
HACKS_ONLY = Focus(recall=0, fpr=0, accuracy=0, hack_rate=1)


@dataclass(frozen=True, slots=True)
class WavePlan:
    """Strata of a wave and how many rollouts to draw from each.

    stratum_M: stratum of each cell, -1 where the cell has nothing left to draw.
    remaining_H: rollouts that can be drawn (N_bh); planned_H: how many will be (n_bh >= 1).
    weight_H: N_bh / n_bh, the conditional inverse inclusion probability; it is stored with each
    drawn item and never recomputed.
    """

    stratum_M: IntArray
    remaining_H: IntArray
    planned_H: IntArray
    weight_H: FloatArray

    @property
    def n(self) -> int:
        return int(self.planned_H.sum())


def plan_wave(
    frame: CellFrame,
    *,
    remaining_M: IntArray,
    count_M: IntArray,
    f_M: FloatArray,
    q_M: FloatArray,
    n: int,
    focus: Focus = COMPROMISE,
    mix: float = PROPORTIONAL_MIX,
    accepted: Sequence[BoolArray] = (),
    slices: Sequence[FloatArray] = (),
    is_ranking: bool = False,
) -> WavePlan:
    """Stratify the rollouts not yet known, and allocate `n` labels to the strata.

    `remaining_M` of the frame's `count_M` rollouts can be drawn; `f_M` and `q_M` are the working
    and the hack model from what is known before this wave. Cells are sorted by f (with `slices`:
    by `item_sd`) inside (verdict, probe) and cut to equal mass of error; labels go where the
    focus's estimands gain most, at least one to each stratum, so that every remaining rollout has
    a positive probability. `accepted`, `slices` and `is_ranking` say whose estimands those are:
    see `item_sd`. Cells that tell none of them anything are strata of their own.
    `mix` is the share of the labels given in proportion to what remains, whatever is believed of
    it: 1 is a proportional sample that ignores the focus and the models; 0 follows them alone, and
    a stratum that they think free of errors keeps its one label, at an unbounded weight.
    Degenerate: n is cut to what remains (nothing left: no strata); below 8 labels there is one
    stratum per verdict, for one label a single one.
    Source: Neyman allocation inside bounds (RNABOX, arXiv 2304.07034) plus a proportional mix.
    """
    remaining_M = np.asarray(remaining_M, np.int64)
    if n < 0 or not 0 <= mix <= 1 or np.any((remaining_M < 0) | (remaining_M > count_M)):
        raise ValueError("need n >= 0, mix in [0, 1] and 0 <= remaining <= count in each cell")
    n = min(n, int(remaining_M.sum()))
    if n == 0:
        nothing = np.zeros(0, np.int64)
        return WavePlan(np.full(len(frame), -1), nothing, nothing, np.zeros(0))
    sd_M = item_sd(
        frame,
        count_M=count_M,
        f_M=f_M,
        q_M=q_M,
        focus=focus,
        accepted=accepted,
        slices=slices,
        is_ranking=is_ranking,
    )
    error_M = remaining_M * sd_M
    # Where a slice counts more, cells of one f differ: sorted by f, no stratum could favour it.
    order_M = sd_M if len(slices) else f_M
    stratum_M = _strata_for(frame, order_M=order_M, error_M=error_M, remaining_M=remaining_M, n=n)
    strata = int(stratum_M.max()) + 1
    remaining_H = total_by(stratum_M, remaining_M, strata)
    planned_H = _allocate(total_by(stratum_M, error_M, strata), remaining_H, n, mix)
    return WavePlan(stratum_M, remaining_H.astype(np.int64), planned_H, remaining_H / planned_H)


def draw_counts(plan: WavePlan, remaining_M: IntArray, *, seed: int) -> IntArray:
    """How many rollouts to draw from each cell: multivariate hypergeometric in each stratum.

    With the next so many of each cell in its fixed random order, this is a simple random sample
    without replacement of every stratum. The same plan and seed give the same counts.
    """
    rng = np.random.default_rng(seed)
    drawn_M = np.zeros(len(plan.stratum_M), np.int64)
    for stratum, planned in enumerate(plan.planned_H):
        cells = np.flatnonzero(plan.stratum_M == stratum)
        drawn_M[cells] = rng.multivariate_hypergeometric(
            np.asarray(remaining_M, np.int64)[cells], int(planned), method="marginals"
        )
    return drawn_M


def item_sd(
    frame: CellFrame,
    *,
    count_M: NDArray[np.generic],
    f_M: FloatArray,
    q_M: FloatArray,
    focus: Focus,
    accepted: Sequence[BoolArray] = (),
    slices: Sequence[FloatArray] = (),
    is_ranking: bool = False,
) -> FloatArray:
    """S_m: what one more rollout of the cell adds to the focus's errors, as a standard deviation.

    Each estimand's variance is counted in units of its variance under uniform sampling, and summed
    over the audited verifiers. accepted: the cells that each of them accepts (none given: the
    frame's own verifier). slices: of each slice of interest, the share (0 to 1) of every cell's
    rollouts inside it; the estimands inside the slices weigh together as much as those of the
    whole. is_ranking: aim at the sign of each difference between two verifiers, to which cells
    where they agree add nothing.
    Degenerate: estimands that cannot vary here (recall where everything is accepted) count
    nothing. Verifiers that never differ are not ranked. Where nothing counts, S_m is the sd of
    correctness.
    """
    if any(np.shape(column) != (len(frame),) for column in (*accepted, *slices)):
        raise ValueError("verdicts and slices have one value for each cell")
    if not all(np.all((np.asarray(share_M) >= 0) & (share_M <= 1)) for share_M in slices):
        raise ValueError("a slice's share of a cell lies between 0 and 1")
    model = _Model(
        np.asarray(count_M, float),
        f_M,
        q_M,
        np.maximum(f_M * (1 - f_M), MIN_VARIANCE),
        np.maximum(q_M * (1 - q_M), MIN_HACK_VARIANCE),
    )
    audited = accepted or (frame.accepted_M,)
    total_M = _rank(model, audited, slices, focus) if is_ranking else np.zeros(len(frame))
    if not total_M.any():
        total_M = _estimate_each(model, audited, slices, focus)
    return np.sqrt(total_M if total_M.any() else model.f_variance_M)


def cut_strata(
    frame: CellFrame,
    *,
    order_M: FloatArray,
    mass_M: FloatArray,
    per_verdict: int,
    is_probe_apart_M: BoolArray,
) -> IntArray:
    """Strata of equal mass along `order_M`, separately for each verdict and for probe hits.

    `per_verdict` strata for each verdict; the probe hits (`is_probe_apart_M`) of accepted cells
    get a quarter as many, those of rejected ones a single one. Cells without mass get -1.
    """
    stratum_M = np.full(len(frame), -1, np.int64)
    strata = 0
    for is_accepted in (False, True):
        for is_probe in (False, True):
            chosen_M = (frame.accepted_M == is_accepted) & (is_probe_apart_M == is_probe)
            cells = np.flatnonzero(chosen_M & (mass_M > 0))
            if not len(cells):
                continue
            wanted = max(1, per_verdict // 4 if is_accepted else 1) if is_probe else per_verdict
            cells = cells[np.argsort(order_M[cells], kind="stable")]
            middle = np.cumsum(mass_M[cells]) - mass_M[cells] / 2
            position = np.minimum((middle / mass_M[cells].sum() * wanted).astype(int), wanted - 1)
            used, position = np.unique(position, return_inverse=True)
            stratum_M[cells] = strata + position
            strata += len(used)
    return stratum_M


@dataclass(frozen=True, slots=True)
class _Model:
    """What is believed of the cells: probabilities, and variances that are never 0."""

    count_M: FloatArray
    f_M: FloatArray
    q_M: FloatArray
    f_variance_M: FloatArray
    q_variance_M: FloatArray

    def gain(
        self, estimand: Estimand, multiplier_M: FloatArray, *, uniform: float, weight: float
    ) -> FloatArray:
        """Variance that one rollout of each cell adds, in units of that of uniform sampling."""
        if weight == 0 or uniform <= 0:
            return np.zeros(len(multiplier_M))
        is_hack = estimand is Estimand.HACK_RATE
        variance_M = self.q_variance_M if is_hack else self.f_variance_M
        return np.asarray(weight * multiplier_M**2 * variance_M / uniform)


def _domains(slices: Sequence[FloatArray], cells: int) -> Iterator[tuple[FloatArray, float]]:
    """The whole and each slice of interest, with their weights."""
    yield np.ones(cells), 1.0
    for share_M in slices:
        yield np.asarray(share_M, float), 1 / len(slices)


def _estimate_each(
    model: _Model, audited: Sequence[BoolArray], slices: Sequence[FloatArray], focus: Focus
) -> FloatArray:
    """Variance per rollout of the focus's estimands, over verifiers and slices."""
    total_M = np.zeros(len(model.f_M))
    for slice_M, share in _domains(slices, len(total_M)):
        for accepted_M in audited:
            for estimand, weight in focus.weights().items():
                multiplier_M, uniform = _linearised(model, estimand, accepted_M, slice_M)
                total_M += model.gain(
                    estimand, multiplier_M, uniform=uniform, weight=share * weight
                )
    return total_M


def _linearised(
    model: _Model, estimand: Estimand, accepted_M: BoolArray, slice_M: FloatArray
) -> tuple[FloatArray, float]:
    """The estimand's multipliers, and its variance under uniform sampling in the same units."""
    expected = ratio(
        estimand,
        accepted_M=accepted_M,
        count_M=model.count_M,
        correct_M=model.count_M * model.f_M,
        hacks_M=model.count_M * model.q_M,
        slice_M=slice_M,
    )
    if expected.value is None:
        return expected.multiplier_M, 0.0
    if estimand in (Estimand.RECALL, Estimand.FPR):
        rate_M = model.f_M if estimand is Estimand.RECALL else 1 - model.f_M
        return expected.multiplier_M, float((model.count_M * rate_M) @ expected.multiplier_M**2)
    rollouts = float(model.count_M @ slice_M**2)
    return expected.multiplier_M, rollouts * expected.value * (1 - expected.value)


def _rank(
    model: _Model, audited: Sequence[BoolArray], slices: Sequence[FloatArray], focus: Focus
) -> FloatArray:
    """Variance per rollout of the differences between verifiers; that of accuracy is none.

    Two recalls (two false positive rates) share their denominator: the sign of their difference
    is that of the difference of the numerators.
    """
    total_M = np.zeros(len(model.f_M))
    rates = {
        Estimand.RECALL: model.f_M,
        Estimand.FPR: 1 - model.f_M,
        Estimand.HACK_RATE: model.q_M,
    }
    for slice_M, share in _domains(slices, len(total_M)):
        for first_M, second_M in combinations(audited, 2):
            differs_M = (np.asarray(first_M) != second_M) * slice_M
            for estimand, rate_M in rates.items():
                uniform = float((model.count_M * rate_M) @ differs_M**2)
                weight = share * focus.weights()[estimand]
                total_M += model.gain(estimand, differs_M, uniform=uniform, weight=weight)
    return total_M


def _strata_for(
    frame: CellFrame, *, order_M: FloatArray, error_M: FloatArray, remaining_M: IntArray, n: int
) -> IntArray:
    if n == 1:
        return np.where(remaining_M > 0, 0, -1)
    is_small = n < SMALL_WAVE
    stratum_M = cut_strata(
        frame,
        order_M=order_M,
        mass_M=remaining_M.astype(float) if is_small else error_M,
        per_verdict=1 if is_small else int(np.clip(round(n / 8), 2, 12)),
        is_probe_apart_M=np.zeros_like(frame.probe_M) if is_small else frame.probe_M,
    )
    # What adds nothing to the error is drawn from all the same.
    for is_accepted in (False, True):
        left_M = (stratum_M < 0) & (remaining_M > 0) & (frame.accepted_M == is_accepted)
        stratum_M[left_M] = stratum_M.max() + 1
    return _without_singletons(stratum_M, frame.accepted_M, remaining_M)


def _without_singletons(
    stratum_M: IntArray, accepted_M: BoolArray, remaining_M: IntArray
) -> IntArray:
    """Join strata of a single rollout, which would take a whole label, to the next in order."""
    merged_M = stratum_M.copy()
    for verdict_M in (~accepted_M, accepted_M):
        strata = np.unique(stratum_M[verdict_M & (stratum_M >= 0)])
        for stratum, neighbour in zip(strata[1:], strata, strict=False):
            pair = [int(remaining_M[merged_M == s].sum()) for s in (stratum, neighbour)]
            if min(pair) < 2:
                merged_M[merged_M == neighbour] = stratum
    labels, position_M = np.unique(merged_M, return_inverse=True)
    return position_M.reshape(-1).astype(np.int64) - int(labels[0] < 0)


def _allocate(error_H: FloatArray, remaining_H: FloatArray, n: int, mix: float) -> IntArray:
    """Labels per stratum: between 1 and what remains, n together; needs n >= strata."""
    proportional_H = mix * n * remaining_H / remaining_H.sum()
    share_H = (error_H + 1e-12) / (error_H + 1e-12).sum()

    def at_scale(scale: float) -> FloatArray:
        return np.asarray(np.clip(scale * share_H + proportional_H, 1, remaining_H))

    low, high = 0.0, float((remaining_H / share_H).max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if at_scale(middle).sum() < n else (low, middle)
    return _round_to(at_scale(high), remaining_H, n)


def _round_to(target_H: FloatArray, remaining_H: FloatArray, n: int) -> IntArray:
    """Largest-remainder rounding to integers that sum to n and stay in [1, remaining]."""
    planned_H = np.clip(np.floor(target_H), 1, remaining_H).astype(np.int64)
    while (short := n - int(planned_H.sum())) != 0:
        gap_H = target_H - planned_H
        if short > 0:
            planned_H[np.where(planned_H < remaining_H, gap_H, -np.inf).argmax()] += 1
        else:
            planned_H[np.where(planned_H > 1, gap_H, np.inf).argmin()] -= 1
    return planned_H
