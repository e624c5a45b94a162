"""The server's advantages, by hand and against the trainer's."""

import numpy as np
import pytest
import torch

from review.stats.advantages import Advantage, Loss, advantages, expected_advantages
from trainer.advantages import outcome_advantages
from trainer.objectives import ADVANTAGES, Objective

NAN = np.nan
ONE_GROUP = np.zeros(4, np.int64)
NO_CLASS = np.full(4, -1)


def of_one_group(reward: list[float], loss: Loss) -> list[float]:
    return advantages(np.array(reward), ONE_GROUP, NO_CLASS, loss).tolist()


@pytest.mark.parametrize(
    ("loss", "by_hand"),
    [
        # Mean 1/4, standard deviation sqrt(3)/4.
        (Loss(Advantage.GROUP), [3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)]),
        (Loss(Advantage.GROUP, 0.5), [1.5, -0.5, -0.5, -0.5]),
        (Loss(Advantage.CENTRED), [0.75, -0.25, -0.25, -0.25]),
        (Loss(Advantage.LEAVE_ONE_OUT), [1.0, -1 / 3, -1 / 3, -1 / 3]),
        # What is surely true has one truth to take the mean over.
        (Loss(Advantage.EXPECTED), [3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5)]),
    ],
)
def test_one_of_four_is_right(loss: Loss, by_hand: list[float]) -> None:
    assert of_one_group([1, 0, 0, 0], loss) == pytest.approx(by_hand)


def test_what_is_left_out_takes_no_part() -> None:
    assert of_one_group([1, 0, NAN, NAN], Loss(Advantage.GROUP)) == [1, -1, 0, 0]
    assert of_one_group([1, 0, NAN, NAN], Loss(Advantage.LEAVE_ONE_OUT)) == [1, -1, 0, 0]


@pytest.mark.parametrize("advantage", Advantage)
@pytest.mark.parametrize("reward", [[0.91] * 4, [NAN] * 4, [0.3, NAN, NAN, NAN]])
def test_a_group_of_equal_rewards_has_no_advantage(
    reward: list[float], advantage: Advantage
) -> None:
    assert of_one_group(reward, Loss(advantage)) == [0, 0, 0, 0]


def test_expected_advantages_of_two_doubtful_answers() -> None:
    """One of two is right in half the truths: (1, -1), (-1, 1), and twice nothing to learn."""
    p, kept = np.array([[0.5, 0.25]]), np.ones((1, 2), bool)
    own = 0.5 * 0.75 - 0.5 * 0.25
    assert expected_advantages(p, np.array([[-1, -1]]), kept) == pytest.approx(
        np.array([[own, -own]])
    )
    # As one answer they are right or wrong together.
    assert expected_advantages(p, np.array([[0, 0]]), kept) == pytest.approx(np.zeros((1, 2)))


def test_expected_advantages_of_what_is_no_probability_are_refused() -> None:
    with pytest.raises(ValueError, match="probability"):
        of_one_group([1.25, 0, 0, 0], Loss(Advantage.EXPECTED))


@pytest.mark.parametrize("advantage", Advantage)
@pytest.mark.parametrize("size", [1, 2, 3, 8, 17])
def test_they_are_the_trainers(advantage: Advantage, size: int) -> None:
    rng = np.random.default_rng(size)
    reward_BG = rng.integers(0, 1025, (40, size)) / 1024
    reward_BG[:8] = np.round(reward_BG[:8])
    reward_BG[rng.random(reward_BG.shape) < 0.2] = NAN
    class_BG = rng.integers(-1, 4, (40, size))
    group_N = np.repeat(np.arange(40), size)
    for std_floor in (0.0, 0.3):
        ours = advantages(reward_BG.ravel(), group_N, class_BG.ravel(), Loss(advantage, std_floor))
        theirs = outcome_advantages(
            torch.from_numpy(reward_BG),
            torch.from_numpy(~np.isnan(reward_BG)),
            objective=Objective(advantage=advantage.value, std_floor=std_floor),
            class_id_BG=torch.from_numpy(class_BG),
        )
        assert ours == pytest.approx(theirs.numpy().ravel(), abs=1e-12)


def test_groups_of_several_sizes_do_not_mix() -> None:
    reward = np.array([1, 0, 1, 1, 0, 0, 0.5])
    group = np.array([0, 0, 1, 1, 1, 1, 2])
    made = advantages(reward, group, np.full(7, -1), Loss(Advantage.CENTRED))
    assert made.tolist() == [0.5, -0.5, 0.5, 0.5, -0.5, -0.5, 0]


def test_without_rollouts_there_are_none() -> None:
    nothing = np.array([], np.int64)
    assert len(advantages(np.array([]), nothing, nothing, Loss(Advantage.EXPECTED))) == 0


def test_a_large_group_is_summed_in_parts_and_still_exact() -> None:
    rng = np.random.default_rng(0)
    size = 400
    p = rng.integers(0, 1025, (8, size)) / 1024
    classes, kept = rng.integers(-1, 60, (8, size)), rng.random((8, size)) < 0.9
    whole = expected_advantages(p, classes, kept)
    alone = np.concatenate(
        [expected_advantages(p[i : i + 1], classes[i : i + 1], kept[i : i + 1]) for i in range(8)]
    )
    assert (whole == alone).all()


def test_every_kind_is_the_trainers_word() -> None:
    assert set(Advantage) <= set(ADVANTAGES)
