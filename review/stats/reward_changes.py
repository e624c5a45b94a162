"""What a reward table would change in the advantages of stored groups, before it is published.

Why it can be nothing: a group's advantages (r - mean) / std are the same for r and for a r + b,
a > 0. Of rewards that follow the verdict alone, any table that pays passes of a group one value
and failures a lower one is such a map. A loss that does not divide by the group's deviation, or
rewards that tell rollouts with the same verdict apart, make a difference.

Shape suffixes: N = rollouts, B = groups.
"""

from dataclasses import dataclass

import numpy as np

from review.stats.advantages import Loss, advantages
from review.stats.cells import BoolArray, FloatArray, IntArray, total_by

# What rounding can make of two equal advantages is far below, what 1/1024 can, far above.
UNCHANGED_BELOW = 1e-9
OUTCOMES = ("pass", "fail", "undecided")
MOST_CELLS = 8
# Why a table changes nothing.
FOLLOWS_VERDICT = (
    "within every group its rewards follow the verdict alone,"
    " and dividing by the group's standard deviation takes such a map out"
)
SAME_EVERYWHERE = "in every group all rollouts have the same verdict and the same reward"
SAME_DIFFERENCES = "in every group the rewards make the same advantages as the verdicts do"
# Stands for "left out" where rewards are compared: no reward is as low.
_LEFT_OUT = -1e9


@dataclass(frozen=True, slots=True)
class PaidRollouts:
    """Rollouts of whole groups, group by group, paid by the raw verdict and by the table.

    raw_N, paid_N: rewards; nan = left out of its group. group_N: 0.. ascending. class_N: answer
    classes as in `advantages`. outcome_N: position in OUTCOMES. cell_N: position in `cells`, the
    cells' keys.
    """

    raw_N: FloatArray
    paid_N: FloatArray
    group_N: IntArray
    class_N: IntArray
    outcome_N: IntArray
    cell_N: IntArray
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """How rewards vary within groups: shares of groups, whatever the loss.

    varied, varied_raw: in which the kept rewards are not all the same. told_apart: in which
    rollouts with the same verdict are paid differently, one of them left out included.
    left_out, left_out_raw: shares of rollouts.
    """

    varied: float
    varied_raw: float
    told_apart: float
    left_out: float
    left_out_raw: float


@dataclass(frozen=True, slots=True)
class OutcomeChange:
    """rollouts: share of all rollouts; left_out, flipped: shares of the outcome's. before, after:
    mean advantages by the raw verdict and by the table; size: mean |change|."""

    outcome: str
    rollouts: float
    left_out: float
    before: float
    after: float
    size: float
    flipped: float


@dataclass(frozen=True, slots=True)
class CellChange:
    """One cell's part in the change: `share` of the summed |change|, of `rollouts` of all.

    raw, paid: the mean reward of its kept rollouts, null where all are left out. left_out: share
    of the cell's rollouts. change: mean change of the advantage, with its sign.
    """

    cell: str
    rollouts: float
    raw: float | None
    paid: float | None
    left_out: float
    change: float
    share: float


@dataclass(frozen=True, slots=True)
class LossChange:
    """What changes under one loss.

    loss, advantage, std_floor: which one; raw_std_floor: that of the raw verdict.
    is_no_op: no advantage of any rollout changes; reason: why, if so.
    groups: share of groups with a rollout whose advantage changes; rollouts: share of rollouts
    whose own does. size: mean |change| per rollout; size_raw: mean |advantage| by the raw verdict,
    to hold it against. flipped: share of rollouts whose advantage goes from above 0 to below, or
    back. cells: those with the largest part in the change, largest first.
    """

    loss: str
    advantage: str
    std_floor: float
    raw_std_floor: float
    is_no_op: bool
    reason: str | None
    groups: float
    rollouts: float
    size: float
    size_raw: float
    flipped: float
    outcomes: tuple[OutcomeChange, ...]
    cells: tuple[CellChange, ...]


def spread(paid: PaidRollouts) -> Spread:
    """Degenerate: without rollouts all shares are 0."""
    n_groups = _n_groups(paid)
    kind_N = paid.group_N * len(OUTCOMES) + paid.outcome_N
    filled_N = np.where(np.isnan(paid.paid_N), _LEFT_OUT, paid.paid_N)
    is_apart = _varies(filled_N, kind_N, n_groups * len(OUTCOMES))
    return Spread(
        varied=_share(_varies(paid.paid_N, paid.group_N, n_groups)),
        varied_raw=_share(_varies(paid.raw_N, paid.group_N, n_groups)),
        told_apart=_share(np.asarray(is_apart.reshape(n_groups, len(OUTCOMES)).any(axis=1))),
        left_out=_share(np.isnan(paid.paid_N)),
        left_out_raw=_share(np.isnan(paid.raw_N)),
    )


def loss_change(paid: PaidRollouts, loss: Loss, raw_loss: Loss) -> LossChange:
    """The table's advantages under `loss` against the raw verdict's under `raw_loss`: a trainer
    that floors the deviation for tables of probabilities only has two.

    Degenerate: without rollouts nothing changes, and nothing is called a no-op. Raises ValueError
    for "expected" advantages of rewards that are no probabilities.
    """
    before_N = advantages(paid.raw_N, paid.group_N, paid.class_N, raw_loss)
    after_N = advantages(paid.paid_N, paid.group_N, paid.class_N, loss)
    change_N = after_N - before_N
    is_changed_N = np.abs(change_N) > UNCHANGED_BELOW
    is_flipped_N = _signs(before_N) * _signs(after_N) < 0
    is_no_op = bool(len(change_N)) and not is_changed_N.any()
    is_changed_B = total_by(paid.group_N, is_changed_N.astype(float), _n_groups(paid)) > 0
    return LossChange(
        loss=loss.key,
        advantage=loss.advantage.value,
        std_floor=loss.std_floor,
        raw_std_floor=raw_loss.std_floor,
        is_no_op=is_no_op,
        reason=_why_no_op(spread(paid), loss) if is_no_op else None,
        groups=_share(is_changed_B),
        rollouts=_share(is_changed_N),
        size=_mean(np.abs(change_N)),
        size_raw=_mean(np.abs(before_N)),
        flipped=_share(is_flipped_N),
        outcomes=tuple(
            OutcomeChange(
                outcome=name,
                rollouts=_share(is_of),
                left_out=_share(np.isnan(paid.paid_N[is_of])),
                before=_mean(before_N[is_of]),
                after=_mean(after_N[is_of]),
                size=_mean(np.abs(change_N[is_of])),
                flipped=_share(is_flipped_N[is_of]),
            )
            for name, is_of in zip(OUTCOMES, _by_outcome(paid), strict=True)
            if is_of.any()
        ),
        cells=_cells(paid, np.where(is_changed_N, change_N, 0.0)),
    )


def _why_no_op(found: Spread, loss: Loss) -> str:
    if not found.varied and not found.varied_raw:
        return SAME_EVERYWHERE
    return FOLLOWS_VERDICT if loss.normalises and not found.told_apart else SAME_DIFFERENCES


def _cells(paid: PaidRollouts, change_N: FloatArray) -> tuple[CellChange, ...]:
    size = len(paid.cells)
    count_M = np.bincount(paid.cell_N, minlength=size)
    moved_M = total_by(paid.cell_N, np.abs(change_N), size)
    net_M = total_by(paid.cell_N, change_N, size)
    left_M = total_by(paid.cell_N, np.isnan(paid.paid_N).astype(float), size)
    largest = [m for m in np.argsort(-moved_M, kind="stable")[:MOST_CELLS] if moved_M[m] > 0]
    return tuple(
        CellChange(
            cell=paid.cells[m],
            rollouts=_rounded(count_M[m] / len(change_N)),
            raw=_mean_or_none(paid.raw_N[paid.cell_N == m]),
            paid=_mean_or_none(paid.paid_N[paid.cell_N == m]),
            left_out=_rounded(left_M[m] / count_M[m]),
            change=_rounded(net_M[m] / count_M[m]),
            share=_rounded(moved_M[m] / moved_M.sum()),
        )
        for m in largest
    )


def _signs(advantage_N: FloatArray) -> FloatArray:
    return np.asarray(np.where(np.abs(advantage_N) > UNCHANGED_BELOW, np.sign(advantage_N), 0.0))


def _by_outcome(paid: PaidRollouts) -> list[BoolArray]:
    return [paid.outcome_N == position for position in range(len(OUTCOMES))]


def _varies(reward_N: FloatArray, group_N: IntArray, n_groups: int) -> BoolArray:
    """Groups whose rewards, nan aside, are not all the same."""
    highest_B, lowest_B = np.full(n_groups, -np.inf), np.full(n_groups, np.inf)
    is_kept = ~np.isnan(reward_N)
    np.maximum.at(highest_B, group_N[is_kept], reward_N[is_kept])
    np.minimum.at(lowest_B, group_N[is_kept], reward_N[is_kept])
    return np.asarray(highest_B > lowest_B)


def _n_groups(paid: PaidRollouts) -> int:
    return int(paid.group_N[-1]) + 1 if len(paid.group_N) else 0


def _share(is_so: BoolArray) -> float:
    return _mean(is_so.astype(float))


def _mean(values: FloatArray) -> float:
    return _rounded(values.mean()) if len(values) else 0.0


def _mean_or_none(reward_N: FloatArray) -> float | None:
    kept = reward_N[~np.isnan(reward_N)]
    return _mean(kept) if len(kept) else None


def _rounded(value: float) -> float:
    return round(float(value), 6)
