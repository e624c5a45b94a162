"""What an audit would tell: the intervals to expect of a number of labels, before any is given.

Shape suffixes: M = cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from review.stats.cells import (
    BoolArray,
    CellFrame,
    FloatArray,
    IntArray,
    concatenate,
    total_by,
)
from review.stats.design import (
    COMPROMISE,
    PROPORTIONAL_MIX,
    SMALL_WAVE,
    Focus,
    WavePlan,
    cut_strata,
    plan_wave,
)
from review.stats.estimands import Estimand, ratio
from review.stats.estimators import MIN_LABELS, NO_ROLLOUT, TOO_FEW, linearised
from review.stats.intervals import ess_wilson
from review.stats.pooling import (
    POST_STRATA_PER_VERDICT,
    Pooled,
    Smoothed,
    WaveVariance,
    per_cell,
)
from review.stats.variance import satterthwaite, variance_by_post_stratum
from review.stats.working_model import hack_model

# Below half a label, none is the likelier number.
LEAST_SEEN = 0.5


@dataclass(frozen=True, slots=True)
class ExpectedInterval:
    """`point` is the model's value; None, the interval [0, 1] and `reason` where none is expected.

    n: expected labels (in the slice).
    """

    point: float | None
    low: float
    high: float
    n: float
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """strata: of the first wave; labels_M: expected labels per cell, all waves together.

    intervals: of the whole; slices: of each slice of interest, in the order given. Both are about
    the frame's own verifier.
    """

    strata: int
    labels_M: FloatArray
    intervals: dict[Estimand, ExpectedInterval]
    slices: list[dict[Estimand, ExpectedInterval]]


def expected(
    frame: CellFrame,
    *,
    count_M: IntArray,
    f_M: FloatArray,
    q_M: FloatArray,
    n: int,
    waves: int,
    focus: Focus = COMPROMISE,
    mix: float = PROPORTIONAL_MIX,
    accepted: Sequence[BoolArray] = (),
    slices: Sequence[FloatArray] = (),
    is_ranking: bool = False,
    level: float = 0.95,
) -> Expected:
    """The intervals that `n` labels in `waves` waves would give if the models are right.

    Estimand: the expected interval of each `Estimand`: the estimator's own variance, degrees of
    freedom and interval at the expected draws, round the models' value.
    Assumes: `f_M` and `q_M` are the truth and no answer changes them, so each wave is planned on
    what is expected to remain; nobody skips. Where the models are surer than they should be, the
    real intervals are wider; where they are vaguer than the truth (before any label, the prior
    mostly is), narrower. The arguments are those of `plan_wave`.
    Degenerate: fewer than 32 labels, fewer than half a label on a correct (recall) or an
    incorrect (FPR) rollout, or an empty denominator: no point, [0, 1] and the reason. There are
    fewer waves where one would have fewer than 8 labels.
    """
    count_M = np.asarray(count_M, np.int64)
    labels_M = np.zeros(len(frame))
    planned: list[tuple[WavePlan, IntArray]] = []
    for budget in _budgets(min(n, int(count_M.sum())), waves):
        # Whole rollouts: what is drawn of a small cell is a fraction on average.
        remaining_M = np.maximum(np.rint(count_M - labels_M), 0).astype(np.int64)
        plan = plan_wave(
            frame,
            remaining_M=remaining_M,
            count_M=count_M,
            f_M=f_M,
            q_M=q_M,
            n=budget,
            focus=focus,
            mix=mix,
            accepted=accepted,
            slices=slices,
            is_ranking=is_ranking,
        )
        if plan.n:
            labels_M += remaining_M * per_cell(1 / plan.weight_H, plan.stratum_M)
            planned.append((plan, remaining_M))
    pooled = _expected_pooled(frame, count_M, f_M, q_M, labels_M, planned)
    whole = _intervals(pooled, np.ones(len(frame)), level)
    sliced = [_intervals(*_split(pooled, np.asarray(s_M, float)), level) for s_M in slices]
    return Expected(len(planned[0][0].planned_H) if planned else 0, labels_M, whole, sliced)


def _intervals(
    pooled: Pooled, slice_M: FloatArray, level: float
) -> dict[Estimand, ExpectedInterval]:
    return {estimand: _interval(pooled, estimand, slice_M, level) for estimand in Estimand}


def _split(pooled: Pooled, share_M: FloatArray) -> tuple[Pooled, FloatArray]:
    """Cells that a slice cuts through in two, as `refine` does it: inside first, then outside."""
    if np.isin(share_M, (0.0, 1.0)).all():
        return pooled, share_M
    part_M = np.concatenate([share_M, 1 - share_M])

    def doubled(values_M: FloatArray) -> FloatArray:
        return np.tile(values_M, 2)

    smoothed = pooled.smoothed
    split = Pooled(
        frame=concatenate([pooled.frame, pooled.frame]),
        count_M=doubled(pooled.count_M) * part_M,
        correct_M=doubled(pooled.correct_M) * part_M,
        hacks_M=doubled(pooled.hacks_M) * part_M,
        labelled_M=doubled(pooled.labelled_M) * part_M,
        labelled_correct_M=doubled(pooled.labelled_correct_M) * part_M,
        waves=tuple(
            WaveVariance(
                cells=slice(0, len(part_M)),
                stratum_M=np.tile(wave.stratum_M, 2),
                remaining_M=doubled(wave.remaining_M) * part_M,
                factor_M=doubled(wave.factor_M) * part_M,
                f_M=doubled(wave.f_M),
                q_M=doubled(wave.q_M),
            )
            for wave in pooled.waves
        ),
        smoothed=Smoothed(
            p_M=doubled(smoothed.p_M),
            q_M=doubled(smoothed.q_M),
            variance_q_M=doubled(smoothed.variance_q_M),
            post_stratum_M=np.tile(smoothed.post_stratum_M, 2),
            labels_P=smoothed.labels_P,
        ),
    )
    return split, np.repeat([1.0, 0.0], len(share_M))


def _budgets(n: int, waves: int) -> list[int]:
    """Labels of each wave: equal, and none below the smallest usable wave."""
    waves = max(1, min(waves, n // SMALL_WAVE))
    return [n * number // waves - n * (number - 1) // waves for number in range(1, waves + 1)]


def _expected_pooled(
    frame: CellFrame,
    count_M: IntArray,
    f_M: FloatArray,
    q_M: FloatArray,
    labels_M: FloatArray,
    planned: Sequence[tuple[WavePlan, IntArray]],
) -> Pooled:
    """What the estimator would start from if every label came out as the models expect."""
    n = sum(plan.n for plan, _ in planned)
    return Pooled(
        frame=frame,
        count_M=count_M.astype(float),
        correct_M=count_M * f_M,
        hacks_M=count_M * q_M,
        labelled_M=labels_M,
        labelled_correct_M=labels_M * f_M,
        waves=tuple(
            WaveVariance(
                cells=slice(0, len(frame)),
                stratum_M=plan.stratum_M,
                remaining_M=remaining_M.astype(float),
                factor_M=(plan.n / n) ** 2
                * remaining_M
                * per_cell(plan.weight_H - 1, plan.stratum_M),
                f_M=f_M,
                q_M=q_M,
            )
            for plan, remaining_M in planned
        ),
        smoothed=_smoothed(frame, count_M, f_M, q_M, labels_M),
    )


def _smoothed(
    frame: CellFrame, count_M: IntArray, f_M: FloatArray, q_M: FloatArray, labels_M: FloatArray
) -> Smoothed:
    """The models themselves, with the estimator's post-strata and its high hack probability."""
    post_M = cut_strata(
        frame,
        order_M=f_M,
        mass_M=count_M.astype(float) * np.sqrt(f_M * (1 - f_M)),
        per_verdict=POST_STRATA_PER_VERDICT,
        is_probe_apart_M=frame.probe_M,
    )
    post_M = np.maximum(post_M, 0)
    high_q_M = hack_model(
        frame,
        f_M=f_M,
        wrong_accepted_M=labels_M * (1 - f_M),
        hacks_M=labels_M * q_M,
        pseudo_hacks=(1.0, 1.0),
        pseudo_labels=2.0,
    )
    labels_P = total_by(post_M, labels_M, int(post_M.max(initial=0)) + 1)
    return Smoothed(f_M, q_M, np.maximum(high_q_M, q_M), post_M, labels_P)


def _interval(
    pooled: Pooled, estimand: Estimand, slice_M: FloatArray, level: float
) -> ExpectedInterval:
    labels = float(pooled.labelled_M[slice_M > 0].sum())
    model = ratio(
        estimand,
        accepted_M=pooled.frame.accepted_M,
        count_M=pooled.count_M,
        correct_M=pooled.correct_M,
        hacks_M=pooled.hacks_M,
        slice_M=slice_M,
    )
    reason = _why_undefined(pooled, estimand, slice_M)
    if reason or model.value is None:
        return ExpectedInterval(None, 0.0, 1.0, labels, reason or NO_ROLLOUT)
    error = linearised(pooled, estimand, model.gradient)
    variance_P = variance_by_post_stratum(pooled, error)
    interval = ess_wilson(
        model.value,
        smoothed=model.value,
        variance=float(variance_P.sum()),
        df=satterthwaite(pooled, error, variance_P),
        level=level,
    )
    return ExpectedInterval(model.value, interval.low, interval.high, labels)


def _why_undefined(pooled: Pooled, estimand: Estimand, slice_M: FloatArray) -> str | None:
    if pooled.labelled_M.sum() < MIN_LABELS - LEAST_SEEN:
        return TOO_FEW
    inside_M = slice_M > 0
    correct = float(pooled.labelled_correct_M[inside_M].sum())
    incorrect = float(pooled.labelled_M[inside_M].sum()) - correct
    if estimand is Estimand.RECALL and correct < LEAST_SEEN:
        return "no correct rollout expected among the labels"
    if estimand is Estimand.FPR and incorrect < LEAST_SEEN:
        return "no incorrect rollout expected among the labels"
    return None
