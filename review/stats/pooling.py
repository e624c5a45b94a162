"""Totals of one or several windows, wave by wave, and the smoothed model of their variance.

Shape suffixes: M = cells (of all windows, one after the other), H = strata of a wave,
P = post-strata, I = items, K = quantities.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.special import expit, logit

from review.stats.cells import BoolArray, CellFrame, FloatArray, IntArray, concatenate, total_by
from review.stats.design import cut_strata
from review.stats.windows import Counts, Items, Wave, Window
from review.stats.working_model import fit_working_model, hack_model

# Labels' worth of model in each post-stratum.
KAPPA = 2.0
POST_STRATA_PER_VERDICT = 6
# Smoothed rates stay this far from 0 and 1.
RAREST = 1e-4


@dataclass(frozen=True, slots=True)
class WaveVariance:
    """Variance ingredients of a wave: its cells among those of all windows, and the factor
    w_b^2 R_bm (g_bh - 1) that multiplies the variance of one rollout's residual."""

    cells: slice
    stratum_M: IntArray
    remaining_M: FloatArray
    factor_M: FloatArray
    f_M: FloatArray
    q_M: FloatArray


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Final probabilities per cell, and the label counts of the post-strata behind them.

    variance_q_M is a deliberately high hack probability, for variances alone. Both hack
    probabilities are 0 in cells that no audited verifier accepts.
    """

    p_M: FloatArray
    q_M: FloatArray
    variance_q_M: FloatArray
    post_stratum_M: IntArray
    labels_P: FloatArray


@dataclass(frozen=True, slots=True)
class Pooled:
    """Everything that an estimate needs: design-unbiased totals per cell and the variance model.

    correct_M and hacks_M are estimated totals: single cells may be negative or above the count.
    """

    frame: CellFrame
    count_M: FloatArray
    correct_M: FloatArray
    hacks_M: FloatArray
    labelled_M: FloatArray
    labelled_correct_M: FloatArray
    waves: tuple[WaveVariance, ...]
    smoothed: Smoothed
    # None where no label was given: an expectation.
    labelled_hacks_M: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What is added up over the rollouts of a window: K quantities of each item, and what was
    predicted of a rollout of each cell before each wave.

    Rows of unanswered items are not read.
    """

    drawn_IK: tuple[FloatArray, ...]
    purposive_IK: FloatArray
    predicted_MK: tuple[FloatArray, ...]


def pool_windows(
    windows: Sequence[Window],
    *,
    verdicts: Sequence[BoolArray] = (),
    apart: Sequence[BoolArray] = (),
) -> Pooled:
    """Add up windows: T(z) of the correct and of the hacks, as `estimated_totals`.

    `verdicts`: the cells (of all windows) that each audited verifier accepts; none given, the
    frames' own. `apart`: further divisions of the cells, a slice and the rest. The variance model
    tells cells apart by all of them, and by the frames' verdicts. What the waves recorded, their
    predictions too, stays as it was. Windows without a closed wave may not be among them.
    """
    if not windows or not all(window.waves for window in windows):
        raise ValueError("every window needs a closed wave")
    frame = concatenate([window.frame for window in windows])
    if any(division_M.shape != (len(frame),) for division_M in (*verdicts, *apart)):
        raise ValueError("a verdict or a slice says something of each cell of each window")
    verdicts = verdicts or (frame.accepted_M,)
    count_M = np.concatenate([np.asarray(window.count_M, float) for window in windows])
    total_MK = np.concatenate([estimated_totals(w, _correct_and_hacks(w)) for w in windows])
    drawn = _joined([window.drawn_labels() for window in windows])
    return Pooled(
        frame=frame,
        count_M=count_M,
        correct_M=total_MK[:, 0],
        hacks_M=total_MK[:, 1],
        labelled_M=drawn.answered_M,
        labelled_correct_M=drawn.correct_M,
        labelled_hacks_M=drawn.hacks_M,
        waves=_wave_variances(windows),
        smoothed=_smooth(windows, frame, count_M, verdicts, apart),
    )


def estimated_totals(window: Window, outcomes: Outcomes) -> FloatArray:
    """T(z) = sum over the waves of (n_b / n) T_b(z), per cell, for each of K quantities z.

    T_b(z) = sum of z over what was known before the wave + sum of predictions over what was
    not + sum over the drawn of g (z - prediction); its expectation given the past is the true
    total, for any model and any rule of allocation. The weights n_b / n are those of the plan:
    how many labels the waves get must not depend on answers.
    """
    cells = len(window.frame)
    total_MK = np.zeros(outcomes.predicted_MK[0].shape)
    steps = zip(
        window.waves, wave_weights(window), outcomes.drawn_IK, outcomes.predicted_MK, strict=True
    )
    earlier_MK = np.zeros_like(total_MK)
    for wave, share, drawn_IK, predicted_MK in steps:
        is_known_I = window.known_from_I <= wave.number
        known_MK = earlier_MK + _sums(window.purposive, outcomes.purposive_IK, cells, is_known_I)
        # What is neither known nor drawn from is a drawn rollout that nobody could judge.
        unknown_M = window.count_M - window.known_before(wave).answered_M
        if np.any(unknown_M < wave.remaining_M):
            raise ValueError("a known rollout is counted among those that a wave could draw")
        answered_MK = _sums(wave.items, drawn_IK, cells)
        earlier_MK = earlier_MK + answered_MK
        answered_M = wave.items.counts(cells).answered_M
        g_M = per_cell(weight_after_nonresponse(wave), wave.stratum_M)
        residual_MK = answered_MK - answered_M[:, None] * predicted_MK
        predicted_MK = unknown_M[:, None] * predicted_MK
        total_MK += share * (known_MK + predicted_MK + g_M[:, None] * residual_MK)
    return total_MK


def _correct_and_hacks(window: Window) -> Outcomes:
    def quantities(items: Items) -> FloatArray:
        return np.column_stack([items.correct_I, items.hack_I]).astype(float)

    return Outcomes(
        drawn_IK=tuple(quantities(wave.items) for wave in window.waves),
        purposive_IK=quantities(window.purposive),
        predicted_MK=tuple(np.column_stack([wave.f_M, wave.q_M]) for wave in window.waves),
    )


def _sums(
    items: Items, value_IK: FloatArray, cells: int, kept_I: BoolArray | None = None
) -> FloatArray:
    """Sums of the answered (and kept) items' quantities per cell."""
    use_I = items.is_answered if kept_I is None else items.is_answered & kept_I
    cell_I = items.cell_I[use_I]
    return np.column_stack([total_by(cell_I, value_I, cells) for value_I in value_IK[use_I].T])


def wave_weights(window: Window) -> FloatArray:
    """n_b / n of each of the window's waves."""
    planned = np.array([wave.planned for wave in window.waves], float)
    return np.asarray(planned / planned.sum())


def weight_after_nonresponse(wave: Wave) -> FloatArray:
    """g of each stratum with n_bh replaced by the answers; N_bh where nobody answered."""
    strata = len(wave.weight_H)
    stratum_I = wave.stratum_M[wave.items.cell_I]
    drawn_H = np.bincount(stratum_I, minlength=strata)
    answered_H = np.bincount(stratum_I[wave.items.is_answered], minlength=strata)
    return np.asarray(wave.weight_H * drawn_H / np.maximum(answered_H, 1))


def per_cell(weight_H: FloatArray, stratum_M: IntArray) -> FloatArray:
    """A stratum's value at each of its cells, 0 in cells without a stratum."""
    return np.where(stratum_M >= 0, np.append(weight_H, 0.0)[stratum_M], 0.0)


def _wave_variances(windows: Sequence[Window]) -> tuple[WaveVariance, ...]:
    starts = np.cumsum([0, *(len(window.frame) for window in windows)])
    return tuple(
        wave_variance(wave, weight, slice(start, start + len(window.frame)))
        for window, start in zip(windows, starts, strict=False)
        for wave, weight in zip(window.waves, wave_weights(window), strict=True)
    )


def wave_variance(wave: Wave, share: float, cells: slice) -> WaveVariance:
    """Variance ingredients of a wave that has this share (w_b) in the total."""
    g_M = per_cell(weight_after_nonresponse(wave), wave.stratum_M)
    remaining_M = np.asarray(wave.remaining_M, float)
    factor_M = share**2 * remaining_M * np.maximum(g_M - 1, 0)
    return WaveVariance(cells, wave.stratum_M, remaining_M, factor_M, wave.f_M, wave.q_M)


def _smooth(
    windows: Sequence[Window],
    frame: CellFrame,
    count_M: FloatArray,
    verdicts: Sequence[BoolArray],
    apart: Sequence[BoolArray],
) -> Smoothed:
    """The final working model, moved to the labels of six post-strata per verdict."""
    known = _joined([window.labels() for window in windows])
    drawn = _joined([window.drawn_labels() for window in windows])
    f_M = _fit_distinct(frame, known)
    # Hacks are looked for wherever an audited verifier would pay for them.
    rewarded = replace(frame, accepted_M=np.any(verdicts, axis=0))
    q_M = hack_model(
        rewarded, f_M=f_M, wrong_accepted_M=known.wrong_or_hack_M, hacks_M=known.hacks_M
    )
    post_M = _post_strata(frame, f_M, count_M, (*verdicts, frame.accepted_M, *apart))
    mean_f_P, p_P = _shrunk_rate(post_M, count_M, f_M, drawn.answered_M, drawn.correct_M)
    hacks_M = drawn.hacks_M * rewarded.accepted_M
    mean_q_P, q_P = _shrunk_rate(post_M, count_M, q_M, drawn.answered_M, hacks_M)
    shift_P = logit(p_P) - logit(np.clip(mean_f_P, RAREST, 1 - RAREST))
    p_M = expit(logit(np.clip(f_M, RAREST, 1 - RAREST)) + shift_P[post_M])
    q_M = np.clip(q_M * (q_P / np.maximum(mean_q_P, 1e-6))[post_M], 1e-5, 0.999)
    q_M = q_M * rewarded.accepted_M
    high_q_M = hack_model(
        rewarded,
        f_M=p_M,
        wrong_accepted_M=known.wrong_or_hack_M,
        hacks_M=known.hacks_M,
        pseudo_hacks=(1.0, 1.0),
        pseudo_labels=2.0,
    )
    return Smoothed(p_M, q_M, np.maximum(high_q_M, q_M), post_M, _total(post_M, drawn.answered_M))


def _joined(counts: Sequence[Counts]) -> Counts:
    """Label counts of all windows' cells, one window after the other."""
    return Counts(
        **{
            field.name: np.concatenate([getattr(count, field.name) for count in counts])
            for field in fields(Counts)
        }
    )


def _post_strata(
    frame: CellFrame, f_M: FloatArray, count_M: FloatArray, divisions: Sequence[BoolArray]
) -> IntArray:
    """Bins of f: six per verdict (the first division), shared by the parts that others make.

    Without the parts, the variance of a slice, or of a verifier that the waves did not know, would
    be that of the others' errors: in simulation it covered 90 % where now it covers 93 %.
    """
    mass_M = count_M * np.sqrt(f_M * (1 - f_M))
    judged = replace(frame, accepted_M=divisions[0])
    part_M = np.sum([2.0**i * division_M for i, division_M in enumerate(divisions)], axis=0)
    post_M, used = np.full(len(frame), -1, np.int64), 0
    for is_accepted in (False, True):
        parts = np.unique(part_M[(judged.accepted_M == is_accepted) & (mass_M > 0)])
        for part in parts:
            bin_M = cut_strata(
                judged,
                order_M=f_M,
                mass_M=mass_M * (part_M == part),
                per_verdict=max(POST_STRATA_PER_VERDICT // len(parts), 2),
                is_probe_apart_M=frame.probe_M,
            )
            post_M = np.where(bin_M >= 0, bin_M + used, post_M)
            used = int(post_M.max()) + 1
    # Cells without rollouts have no labels and no variance: any post-stratum will do.
    return np.asarray(np.maximum(post_M, 0))


def _shrunk_rate(
    post_M: IntArray,
    count_M: FloatArray,
    model_M: FloatArray,
    answered_M: FloatArray,
    events_M: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Per post-stratum the model's mean, and the labels' rate with KAPPA labels of that mean."""
    mean_P = _total(post_M, count_M * model_M) / _total(post_M, count_M)
    rate_P = (_total(post_M, events_M) + KAPPA * mean_P) / (_total(post_M, answered_M) + KAPPA)
    return mean_P, np.clip(rate_P, RAREST, 1 - RAREST)


def _total(post_M: IntArray, value_M: FloatArray | BoolArray) -> FloatArray:
    return total_by(post_M, value_M, int(post_M.max()) + 1)


def _fit_distinct(frame: CellFrame, known: Counts) -> FloatArray:
    """The working model fitted with one row per distinct cell: windows share most of theirs."""
    cells, row_M = frame.distinct()
    model = fit_working_model(
        cells,
        labelled_M=total_by(row_M, known.answered_M, len(cells)),
        correct_M=total_by(row_M, known.correct_M, len(cells)),
    )
    return model.f_M[row_M]
