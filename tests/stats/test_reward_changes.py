"""What a table would change, by hand."""

import numpy as np
import pytest

from review.stats.advantages import Advantage, Loss
from review.stats.reward_changes import (
    FOLLOWS_VERDICT,
    SAME_DIFFERENCES,
    SAME_EVERYWHERE,
    LossChange,
    PaidRollouts,
    Spread,
    loss_change,
    spread,
)

NAN = np.nan
GRPO, DR_GRPO = Loss(Advantage.GROUP), Loss(Advantage.CENTRED)
PASS, FAIL, UNDECIDED = range(3)
RAW = {PASS: 1.0, FAIL: 0.0, UNDECIDED: NAN}


def paid(*groups: list[tuple[int, float]]) -> PaidRollouts:
    """Groups of (outcome, reward by the table); a cell of its own for each outcome and reward."""
    rows = [(number, *row) for number, group in enumerate(groups) for row in group]
    keys = [f"{outcome} {reward}" for _, outcome, reward in rows]
    cells = tuple(dict.fromkeys(keys))
    return PaidRollouts(
        raw_N=np.array([RAW[outcome] for _, outcome, _ in rows], float),
        paid_N=np.array([reward for *_, reward in rows], float),
        group_N=np.array([number for number, *_ in rows], np.int64),
        class_N=np.full(len(rows), -1),
        outcome_N=np.array([outcome for _, outcome, _ in rows], np.int64),
        cell_N=np.array([cells.index(key) for key in keys], np.int64),
        cells=cells,
    )


def change(rollouts: PaidRollouts, loss: Loss) -> LossChange:
    return loss_change(rollouts, loss, loss)


# By the verdict alone: passes .75, failures .25.
GROUP_CONSTANT = paid(
    [(PASS, 0.75), (FAIL, 0.25)],
    [(PASS, 0.75), (PASS, 0.75), (PASS, 0.75), (FAIL, 0.25)],
    [(FAIL, 0.25), (FAIL, 0.25)],
)


def test_a_map_of_the_verdict_is_cancelled_by_group_normalisation() -> None:
    found = change(GROUP_CONSTANT, GRPO)
    assert (found.is_no_op, found.reason) == (True, FOLLOWS_VERDICT)
    assert (found.groups, found.rollouts, found.size, found.flipped, found.cells) == (
        *(0, 0, 0, 0),
        (),
    )
    assert found.size_raw > 0


def test_another_map_in_each_group_is_cancelled_too() -> None:
    rollouts = paid([(PASS, 0.875), (FAIL, 0.125)], [(PASS, 0.5), (FAIL, 0.25)])
    assert change(rollouts, GRPO).is_no_op
    assert not change(rollouts, DR_GRPO).is_no_op


def test_without_the_division_the_same_table_halves_every_advantage() -> None:
    found = change(GROUP_CONSTANT, DR_GRPO)
    # 2 of 3 groups vary; |A| is .5, .5; .25, .25, .25, .75; 0, 0 and goes to the half of it.
    assert (found.is_no_op, found.groups, found.rollouts) == (
        *(False, pytest.approx(2 / 3, abs=1e-6)),
        0.75,
    )
    assert found.size_raw == pytest.approx(2.5 / 8, abs=1e-6)
    assert found.size == pytest.approx(1.25 / 8, abs=1e-6)
    assert (found.flipped, found.reason) == (0, None)


def test_the_reason_is_that_of_the_loss() -> None:
    assert change(paid([(PASS, 1), (FAIL, 0)]), DR_GRPO).reason == SAME_DIFFERENCES
    unanimous = paid([(PASS, 0.75), (PASS, 0.75)], [(FAIL, 0.25)])
    for loss in (GRPO, DR_GRPO):
        assert change(unanimous, loss).reason == SAME_EVERYWHERE


def test_a_floor_under_the_deviation_does_not_cancel_it() -> None:
    assert not change(GROUP_CONSTANT, Loss(Advantage.GROUP, 0.3)).is_no_op


def test_a_table_upside_down_turns_every_sign() -> None:
    found = change(paid([(PASS, 0.25), (FAIL, 0.75)]), GRPO)
    assert (found.flipped, found.size) == (1, 2)


def test_a_hedge_told_apart_from_an_honest_pass() -> None:
    rollouts = paid([(PASS, 1), (PASS, 0), (FAIL, 0), (FAIL, 0)])
    found = change(rollouts, GRPO)
    # From (1, 1, -1, -1) to (sqrt 3, -1/sqrt 3, ...).
    high, low = 3**0.5, -(3**-0.5)
    assert found.size == pytest.approx((high - 1 + 1 - low + 2 * (1 + low)) / 4, abs=1e-6)
    assert found.flipped == 0.25
    accepted, rejected = found.outcomes
    assert (accepted.outcome, accepted.before, accepted.flipped) == ("pass", 1, 0.5)
    assert accepted.after == pytest.approx((high + low) / 2, abs=1e-6)
    assert (rejected.outcome, rejected.rollouts, rejected.before) == ("fail", 0.5, -1)
    hedge = found.cells[0]
    assert (hedge.cell, hedge.raw, hedge.paid, hedge.rollouts) == (f"{PASS} 0", 1, 0, 0.25)
    assert hedge.change == pytest.approx(low - 1, abs=1e-6)
    assert sum(cell.share for cell in found.cells) == pytest.approx(1, abs=1e-5)


def test_a_rejection_left_out_is_a_change_and_no_sign() -> None:
    rollouts = paid([(PASS, 1), (FAIL, NAN), (FAIL, 0)])
    found = change(rollouts, GRPO)
    assert (found.groups, found.flipped) == (1, 0)
    (_, rejected) = found.outcomes
    assert rejected.left_out == 0.5
    assert spread(rollouts) == Spread(
        varied=1,
        varied_raw=1,
        told_apart=1,
        left_out=pytest.approx(1 / 3, abs=1e-6),
        left_out_raw=0,
    )


def test_an_undecided_one_that_is_paid_is_no_longer_left_out() -> None:
    rollouts = paid([(PASS, 1), (UNDECIDED, 0.5), (FAIL, 0)])
    # In the middle it has no advantage itself, and makes the deviation smaller.
    assert change(rollouts, GRPO).rollouts == pytest.approx(2 / 3, abs=1e-6)
    assert change(rollouts, DR_GRPO).is_no_op
    assert spread(rollouts).left_out_raw == pytest.approx(1 / 3, abs=1e-6)
    moved = change(paid([(PASS, 1), (UNDECIDED, 0.75), (FAIL, 0)]), DR_GRPO)
    assert [row.outcome for row in moved.outcomes] == ["pass", "fail", "undecided"]
    assert moved.groups == 1


def test_spread_is_of_groups() -> None:
    found = spread(GROUP_CONSTANT)
    assert (found.varied, found.varied_raw, found.told_apart) == (
        *(pytest.approx(2 / 3, abs=1e-6), pytest.approx(2 / 3, abs=1e-6)),
        0,
    )


def test_two_losses_may_be_held_against_each_other() -> None:
    """A trainer that floors the deviation for the table only."""
    rollouts = paid([(PASS, 0.75), (FAIL, 0.5)])
    found = loss_change(rollouts, Loss(Advantage.GROUP, 0.25), GRPO)
    assert (found.loss, found.size_raw, found.size) == ("group-0.25", 1, 0.5)


def test_without_rollouts_nothing_changes() -> None:
    nothing = paid()
    assert spread(nothing) == Spread(0, 0, 0, 0, 0)
    found = change(nothing, GRPO)
    assert (found.is_no_op, found.groups, found.cells) == (False, 0, ())
