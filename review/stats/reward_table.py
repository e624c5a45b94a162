"""The numbers of a reward table: what is known of each cell, and what a rollout in it is paid.

Deviations from the written design, each judged by simulation:
1. Cells are shrunk to the model with 20 labels' worth of it only after their signature has been,
   with 4: a signature that is always wrong must come close to 0 with a dozen labels of its own,
   while small cells of one signature are better off with the model.
2. The fallback rates are means over the frame's rollouts of the cells' probabilities, not rates
   of labels: an adaptive queue labels difficult cells more often than they occur.
3. "At most half of all rejections" counts a verdict signature over all its share bins, score
   bins, probes and domains: cut into bins, even the only rejecting signature would hold less.

Shape suffixes: M = cells, R = rows of the table, F = features.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from review.stats.cells import (
    NO_BIN,
    BoolArray,
    CellFrame,
    FloatArray,
    IntArray,
    concatenate,
    total_by,
)
from review.stats.intervals import wilson
from review.stats.working_model import WorkingModel, eta_sd_rows, fit_working_model

ONE_SIDED_95 = 1.6448536269514722
# Level of the two-sided interval whose bounds are one-sided 95 % bounds.
ONE_SIDED_LEVEL = 0.9
LOWEST, HIGHEST = 0.002, 0.998
# Labels' worth of model in the rate of a signature, and of the signature's in that of its cells.
SIGNATURE_KAPPA = 4.0
CELL_KAPPA = 20.0
# A rejected rollout is left out of its group where right answers are proven more often than this.
ABSTAIN_ABOVE = 0.1
# An undecided one is paid as wrong only once its own labels prove it right less often than this.
UNDECIDED_WRONG_BELOW = 0.5
MAX_SHARE_OF_REJECTIONS = 0.5
# Below this Youden index the verdict says next to nothing, and dividing by it is noise.
MIN_YOUDEN = 0.05
RESOLUTION = 1024
# Weight of a cell without rollouts: it counts only where nothing else does.
NEARLY_NOTHING = 1e-9

# Rows of `RewardNumbers.fallback`: by verdict and probe, then by verdict alone.
FALLBACK_KEYS = (
    *("pass/p0", "pass/p1", "fail/p0", "fail/p1", "undecided/p0", "undecided/p1"),
    *("pass", "fail", "undecided"),
)


class Rule(StrEnum):
    """How a reward follows from what is known of a cell."""

    DEMOTE_OR_ABSTAIN = "demote_or_abstain"
    POSTERIOR = "posterior"
    UNBIASED = "unbiased"


@dataclass(frozen=True, slots=True)
class RewardRows:
    """What is known of the rollouts of each row; nan where a number is undefined.

    low_R, high_R: one-sided 95 % bounds of P(correct); sd_R: its standard deviation in logits.
    n_R: labels of the row's own cells. tpr_R, fpr_R: of the verdict among the rollouts that look
    alike but for the verdict. proven_R: left out of its group under "demote or abstain".
    """

    accepted_R: BoolArray
    probe_R: BoolArray
    p_correct_R: FloatArray
    low_R: FloatArray
    high_R: FloatArray
    sd_R: FloatArray
    n_R: FloatArray
    tpr_R: FloatArray
    fpr_R: FloatArray
    proven_R: BoolArray

    def youden(self) -> FloatArray:
        """TPR - FPR."""
        return self.tpr_R - self.fpr_R

    def unbiased(self) -> FloatArray:
        """(V - FPR) / (TPR - FPR): its mean over look-alikes is their true accuracy."""
        youden_R = self.youden()
        usable_R = np.where(np.abs(youden_R) >= MIN_YOUDEN, youden_R, np.nan)
        return np.asarray((self.accepted_R - self.fpr_R) / usable_R)

    def abstain(self, rule: Rule) -> BoolArray:
        """Rows whose rollouts are left out of their groups."""
        return self.proven_R & (rule is Rule.DEMOTE_OR_ABSTAIN)

    def value(self, rule: Rule) -> FloatArray:
        """The reward, in multiples of 1/1024: a group of equal rewards has advantage exactly 0.

        Probe hits are paid the lower bound instead of the probability. `unbiased` pays the
        probability where the unbiased value is undefined; both have the same mean.
        """
        safe_R = np.where(self.probe_R, self.low_R, self.p_correct_R)
        if rule is Rule.DEMOTE_OR_ABSTAIN:
            value_R = np.where(self.accepted_R, safe_R, 0.0)
        elif rule is Rule.POSTERIOR:
            value_R = safe_R
        else:
            unbiased_R = self.unbiased()
            value_R = np.where(np.isnan(unbiased_R), self.p_correct_R, unbiased_R)
        return np.asarray(np.round(value_R * RESOLUTION) / RESOLUTION)


@dataclass(frozen=True, slots=True)
class RewardNumbers:
    """Rows for the frame's cells, for the cells without their share bin, and for the fallbacks.

    pooled_M: row in `pooled` of each cell. The rows of `fallback` are named by `FALLBACK_KEYS`.
    left_out, left_out_of_rejections: share of all, and of the rejected or undecided rollouts,
    that "demote or abstain" leaves out of their groups.
    """

    cells: RewardRows
    pooled: RewardRows
    pooled_M: IntArray
    fallback: RewardRows
    model: WorkingModel
    left_out: float
    left_out_of_rejections: float


def reward_numbers(
    frame: CellFrame,
    *,
    undecided_M: BoolArray,
    family_M: IntArray,
    count_M: NDArray[np.generic],
    labelled_M: NDArray[np.generic],
    correct_M: NDArray[np.generic],
    max_share_of_rejections: float = MAX_SHARE_OF_REJECTIONS,
) -> RewardNumbers:
    """P(correct | cell) with bounds, the verdict's rates, and which cells abstain.

    Estimand: P(correct) among rollouts like those of the cell, now and in the next steps.
    `undecided_M` marks cells whose primary verdict is undecided; `family_M` codes the signature
    without the primary verdict; `count_M` are rollouts; `labelled_M` and `correct_M` are labels,
    as fractions where older windows count less.
    p = f + (k - sum n f) / (n + kappa), f the working model, n and k the labels with the same
    signature and probe (kappa 4); then the same step from that p (kappa 20) with the labels that
    also have the score quintile and domain; clipped to [.002, .998].
    A rejecting cell abstains where the lower bound of its row in `pooled` exceeds .1 and its
    signature holds at most `max_share_of_rejections` of the rejected rollouts; an undecided one
    until the upper bound (Wilson, 95 % one-sided) of its own labels is below .5: could not decide
    is not wrong, whatever the model has learnt of rejections.
    Assumes: labels are right, and labelled rollouts of a cell are typical of it.
    Degenerate: without labels it is the model's prior; a fallback row without rollouts is the
    model for an unknown signature and domain; rates of families without rollouts are nan; a frame
    without cells is a ValueError.
    """
    if not len(frame):
        raise ValueError("a reward table needs a frame with cells")
    n_M, k_M, rollouts_M = (np.asarray(x, float) for x in (labelled_M, correct_M, count_M))
    model = fit_working_model(frame, labelled_M=n_M, correct_M=k_M)
    table = _Table(frame, model, _shrunk(frame, model, n_M, k_M), rollouts_M, n_M)
    pooled_M = _codes(frame.signature_M, frame.score_M, frame.probe_M, frame.domain_M)
    cells = table.rows(np.arange(len(frame)), _codes(family_M, frame.domain_M))
    pooled = table.rows(pooled_M, _codes(family_M, frame.domain_M))
    share_M = _share_of_rejections(frame, undecided_M, rollouts_M)
    has_false_negatives_M = (pooled.low_R > ABSTAIN_ABOVE)[pooled_M]
    may_be_right_M = _may_be_right(total_by(pooled_M, k_M, len(pooled.n_R)), pooled.n_R)[pooled_M]
    abstain_M = ~frame.accepted_M & np.where(
        undecided_M, may_be_right_M, has_false_negatives_M & (share_M <= max_share_of_rejections)
    )
    first = np.unique(pooled_M, return_index=True)[1]
    return RewardNumbers(
        cells=_marked(cells, abstain_M),
        pooled=_marked(pooled, abstain_M[first]),
        pooled_M=pooled_M,
        fallback=table.fallback_rows(undecided_M),
        model=model,
        left_out=_share(rollouts_M * abstain_M, rollouts_M),
        left_out_of_rejections=_share(rollouts_M * abstain_M, rollouts_M * ~frame.accepted_M),
    )


def _codes(*columns: NDArray[np.generic]) -> IntArray:
    """Integer codes 0.. of the distinct combinations; nan equals nan."""
    table = np.column_stack([np.nan_to_num(c.astype(float), nan=-1e9) for c in columns])
    return np.unique(table, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _share(part_M: FloatArray, whole_M: FloatArray) -> float:
    whole = float(whole_M.sum())
    return float(part_M.sum()) / whole if whole else 0.0


def _share_of_rejections(
    frame: CellFrame, undecided_M: BoolArray, count_M: FloatArray
) -> FloatArray:
    rejections_M = count_M * ~(frame.accepted_M | undecided_M)
    signature_M = _codes(frame.signature_M)
    by_signature = total_by(signature_M, rejections_M, int(signature_M.max()) + 1)
    return np.asarray(by_signature[signature_M] / max(float(rejections_M.sum()), 1.0))


def _shrunk(
    frame: CellFrame, model: WorkingModel, labelled_M: FloatArray, correct_M: FloatArray
) -> FloatArray:
    quintile_M = np.where(
        frame.has_score, np.digitize(expit(frame.score_M), (0.2, 0.4, 0.6, 0.8)), NO_BIN
    )
    signature_M = _codes(frame.signature_M, frame.probe_M)
    group_M = _codes(signature_M, quintile_M, frame.domain_M)
    p_M = model.f_M
    for label_M, kappa in ((signature_M, SIGNATURE_KAPPA), (group_M, CELL_KAPPA)):
        size = int(label_M.max()) + 1
        surprise = total_by(label_M, correct_M - labelled_M * p_M, size)
        shift = surprise / (total_by(label_M, labelled_M, size) + kappa)
        p_M = np.clip(p_M + shift[label_M], LOWEST, HIGHEST)
    return p_M


def _may_be_right(correct_R: FloatArray, labelled_R: FloatArray) -> BoolArray:
    pairs = zip(correct_R, labelled_R, strict=True)
    high_R = [wilson(min(k, n), n, level=ONE_SIDED_LEVEL).high for k, n in pairs]
    return np.asarray(np.array(high_R) >= UNDECIDED_WRONG_BELOW)


def _marked(rows: RewardRows, proven_R: BoolArray) -> RewardRows:
    return replace(rows, proven_R=proven_R)


@dataclass(frozen=True, slots=True)
class _Table:
    """Cells with their probabilities; makes rows that are means over cells."""

    frame: CellFrame
    model: WorkingModel
    p_M: FloatArray
    count_M: FloatArray
    labelled_M: FloatArray

    def rows(self, row_M: IntArray, alike_M: IntArray) -> RewardRows:
        """Rows 0.. of the table: each the mean over the rollouts of its cells.

        All cells of a row share verdict, probe and `alike_M`, the code of look-alikes.
        """
        size = int(row_M.max()) + 1
        weight_M = np.maximum(self.count_M, NEARLY_NOTHING)
        weight_M = weight_M / total_by(row_M, weight_M, size)[row_M]
        p_R = total_by(row_M, weight_M * self.p_M, size)
        x_RF = np.zeros((size, len(self.model.coefficients_F)))
        np.add.at(x_RF, row_M, weight_M[:, None] * self.model.features(self.frame))
        sd_R = eta_sd_rows(self.model, x_RF)
        first = np.unique(row_M, return_index=True)[1]
        tpr_M, fpr_M = self._rates(alike_M)
        return RewardRows(
            accepted_R=self.frame.accepted_M[first],
            probe_R=self.frame.probe_M[first],
            p_correct_R=p_R,
            low_R=np.asarray(expit(logit(p_R) - ONE_SIDED_95 * sd_R)),
            high_R=np.asarray(expit(logit(p_R) + ONE_SIDED_95 * sd_R)),
            sd_R=sd_R,
            n_R=total_by(row_M, self.labelled_M, size),
            tpr_R=tpr_M[first],
            fpr_R=fpr_M[first],
            proven_R=np.zeros(size, np.bool_),
        )

    def _rates(self, alike_M: IntArray) -> tuple[FloatArray, FloatArray]:
        """TPR and FPR of the verdict among look-alikes, at each cell."""
        size = int(alike_M.max()) + 1
        correct_M, wrong_M = self.count_M * self.p_M, self.count_M * (1 - self.p_M)
        rates = []
        for mass_M in (correct_M, wrong_M):
            whole = total_by(alike_M, mass_M, size)
            part = total_by(alike_M, mass_M * self.frame.accepted_M, size)
            rates.append(np.divide(part, whole, out=np.full(size, np.nan), where=whole > 0))
        return rates[0][alike_M], rates[1][alike_M]

    def fallback_rows(self, undecided_M: BoolArray) -> RewardRows:
        """The rows named by `FALLBACK_KEYS`; of unknown kinds only the undecided abstain."""
        outcome_M = np.where(self.frame.accepted_M, 0, np.where(undecided_M, 2, 1))
        outcome_M = np.append(outcome_M, np.repeat([0, 1, 2], 2))
        table = self._with_unknown_cells()
        probe_M = table.frame.probe_M
        by_probe = table.rows(outcome_M * 2 + probe_M, probe_M.astype(np.int64))
        by_verdict = table.rows(outcome_M, np.zeros(len(outcome_M), np.int64))
        is_undecided_R = np.array([key.startswith("undecided") for key in FALLBACK_KEYS])
        return _marked(_stacked(by_probe, by_verdict), is_undecided_R)

    def _with_unknown_cells(self) -> "_Table":
        """The cells plus one of unknown signature and domain per verdict and probe."""
        nowhere = np.full(6, min(self.frame.signature_M.min(), self.frame.domain_M.min()) - 1)
        unknown = CellFrame(
            accepted_M=np.array([True, True, False, False, False, False]),
            score_M=np.full(6, np.nan),
            share_bin_M=np.full(6, NO_BIN),
            probe_M=np.tile([False, True], 3),
            signature_M=nowhere,
            domain_M=nowhere,
        )
        return _Table(
            frame=concatenate([self.frame, unknown]),
            model=self.model,
            p_M=np.append(self.p_M, np.clip(self.model.predict(unknown), LOWEST, HIGHEST)),
            count_M=np.append(self.count_M, np.full(6, NEARLY_NOTHING)),
            labelled_M=np.append(self.labelled_M, np.zeros(6)),
        )


def _stacked(*parts: RewardRows) -> RewardRows:
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(RewardRows)
    }
    return RewardRows(**columns)
