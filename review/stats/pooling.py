"""Totals of one or several windows, wave by wave, and the smoothed model of their variance.

Shape suffixes: M = cells (of all windows, one after the other), H = strata of a wave,
P = post-strata.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit, logit

from review.stats.cells import BoolArray, CellFrame, FloatArray, IntArray, concatenate, total_by
from review.stats.design import cut_strata
from review.stats.windows import Counts, Wave, Window
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

    variance_q_M is a deliberately high hack probability, for variances alone.
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


def pool_windows(windows: Sequence[Window]) -> Pooled:
    """Add up windows: T(z) = sum over windows and waves of (n_b / n) T_b(z).

    T_b(z) = sum of z over what was known before the wave + sum of predictions over what was
    not + sum over the drawn of g (z - prediction); its expectation given the past is the true
    total, for any model and any rule of allocation. The weights n_b / n are those of the plan:
    how many labels the waves get must not depend on answers. Windows without a closed wave may
    not be among them.
    """
    if not windows or not all(window.waves for window in windows):
        raise ValueError("every window needs a closed wave")
    frame = concatenate([window.frame for window in windows])
    count_M = np.concatenate([np.asarray(window.count_M, float) for window in windows])
    totals = [_window_totals(window) for window in windows]
    drawn = [window.drawn_labels() for window in windows]
    labelled_M = np.concatenate([d.answered_M for d in drawn])
    offsets = np.cumsum([0, *(len(window.frame) for window in windows)])
    return Pooled(
        frame=frame,
        count_M=count_M,
        correct_M=np.concatenate([correct_M for correct_M, _ in totals]),
        hacks_M=np.concatenate([hacks_M for _, hacks_M in totals]),
        labelled_M=labelled_M,
        labelled_correct_M=np.concatenate([d.correct_M for d in drawn]),
        waves=tuple(
            _wave_variance(wave, weight, slice(start, start + len(window.frame)))
            for window, start in zip(windows, offsets, strict=False)
            for wave, weight in zip(window.waves, _wave_weights(window), strict=True)
        ),
        smoothed=_smooth(windows, frame, count_M),
    )


def _wave_weights(window: Window) -> FloatArray:
    planned = np.array([wave.planned for wave in window.waves], float)
    return np.asarray(planned / planned.sum())


def _weight_after_nonresponse(wave: Wave) -> FloatArray:
    """g of each stratum with n_bh replaced by the answers; N_bh where nobody answered."""
    strata = len(wave.weight_H)
    stratum_I = wave.stratum_M[wave.items.cell_I]
    drawn_H = np.bincount(stratum_I, minlength=strata)
    answered_H = np.bincount(stratum_I[wave.items.is_answered], minlength=strata)
    return np.asarray(wave.weight_H * drawn_H / np.maximum(answered_H, 1))


def _per_cell(weight_H: FloatArray, stratum_M: IntArray) -> FloatArray:
    """A stratum's value at each of its cells, 0 in cells without a stratum."""
    return np.where(stratum_M >= 0, np.append(weight_H, 0.0)[stratum_M], 0.0)


def _window_totals(window: Window) -> tuple[FloatArray, FloatArray]:
    """Estimated totals per cell of the correct and of the accepted hacks."""
    accepted_M = window.frame.accepted_M
    correct_M, hacks_M = np.zeros(len(accepted_M)), np.zeros(len(accepted_M))
    for wave, share in zip(window.waves, _wave_weights(window), strict=True):
        known = window.known_before(wave)
        answers = wave.items.counts(len(accepted_M))
        # What is neither known nor drawn from is a drawn rollout that nobody could judge.
        unknown_M = window.count_M - known.answered_M
        if np.any(unknown_M < wave.remaining_M):
            raise ValueError("a known rollout is counted among those that a wave could draw")
        g_M = _per_cell(_weight_after_nonresponse(wave), wave.stratum_M)
        residual_M = answers.correct_M - answers.answered_M * wave.f_M
        correct_M += share * (known.correct_M + unknown_M * wave.f_M + g_M * residual_M)
        residual_M = answers.hacks_M - answers.answered_M * wave.q_M
        hacks_M += share * (known.hacks_M + unknown_M * wave.q_M + g_M * residual_M)
    return correct_M, hacks_M * accepted_M


def _wave_variance(wave: Wave, share: float, cells: slice) -> WaveVariance:
    g_M = _per_cell(_weight_after_nonresponse(wave), wave.stratum_M)
    remaining_M = np.asarray(wave.remaining_M, float)
    factor_M = share**2 * remaining_M * np.maximum(g_M - 1, 0)
    return WaveVariance(cells, wave.stratum_M, remaining_M, factor_M, wave.f_M, wave.q_M)


def _smooth(windows: Sequence[Window], frame: CellFrame, count_M: FloatArray) -> Smoothed:
    """The final working model, moved to the labels of six post-strata per verdict."""
    known = _joined([window.labels() for window in windows])
    drawn = _joined([window.drawn_labels() for window in windows])
    accepted_M = frame.accepted_M
    f_M = _fit_distinct(frame, known)
    q_M = hack_model(frame, f_M=f_M, wrong_accepted_M=known.wrong_or_hack_M, hacks_M=known.hacks_M)
    post_M = _post_strata(frame, f_M, count_M)
    mean_f_P, p_P = _shrunk_rate(post_M, count_M, f_M, drawn.answered_M, drawn.correct_M)
    hacks_M = drawn.hacks_M * accepted_M
    mean_q_P, q_P = _shrunk_rate(post_M, count_M, q_M, drawn.answered_M, hacks_M)
    shift_P = logit(p_P) - logit(np.clip(mean_f_P, RAREST, 1 - RAREST))
    p_M = expit(logit(np.clip(f_M, RAREST, 1 - RAREST)) + shift_P[post_M])
    q_M = np.clip(q_M * (q_P / np.maximum(mean_q_P, 1e-6))[post_M], 1e-5, 0.999) * accepted_M
    high_q_M = hack_model(
        frame,
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


def _post_strata(frame: CellFrame, f_M: FloatArray, count_M: FloatArray) -> IntArray:
    post_M = cut_strata(
        frame,
        order_M=f_M,
        mass_M=count_M * np.sqrt(f_M * (1 - f_M)),
        per_verdict=POST_STRATA_PER_VERDICT,
        is_probe_apart_M=frame.probe_M,
    )
    # Cells without rollouts have no labels and no variance: any post-stratum will do.
    return np.maximum(post_M, 0)


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
