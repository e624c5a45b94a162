import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.advantages import group_advantages
from trainer.channels import (
    ChannelError,
    ChannelRewards,
    channel_advantages,
    overlong_punishment,
    summed_rewards,
)
from trainer.objectives import NAMED, Objective

torch.set_num_threads(1)  # two collapse where other processes use the same cores

DAPO = NAMED["dapo"]


def channels(group_size: int = 4, **columns: list[float | None]) -> ChannelRewards:
    return ChannelRewards.of(columns, group_size=group_size)


def plain(rewards: list[float]) -> list[float]:
    reward_BG = torch.tensor([rewards])
    return group_advantages(reward_BG, torch.ones_like(reward_BG).bool())[0].tolist()


def test_sum_is_weighted_and_then_normalised() -> None:
    rewards = channels(correctness=[1.0, 1.0, 0.0, 0.0], format=[1.0, 0.0, 1.0, 0.0])
    weights = {"correctness": 1.0, "format": 0.5}
    assert summed_rewards(rewards, weights).tolist() == [[1.5, 1.0, 0.5, 0.0]]
    [row] = channel_advantages(rewards, weights=weights, objective=DAPO).tolist()
    assert row == pytest.approx(plain([1.5, 1.0, 0.5, 0.0]))


def test_normalised_first_every_channel_has_its_say() -> None:
    # Rewards (1, 0) and (0, 10): summed, the second drowns the first. GDPO: each is +-1 first.
    rewards = channels(correctness=[1.0, 1.0, 0.0, 0.0], length=[10.0, 0.0, 10.0, 0.0])
    weights = {"correctness": 1.0, "length": 1.0}
    [row] = channel_advantages(
        rewards, weights=weights, objective=DAPO, combination="normalise-first"
    ).tolist()
    assert row == pytest.approx([math.sqrt(2), 0.0, 0.0, -math.sqrt(2)])  # 2, 0, 0, -2 over sqrt 2


def test_normalised_first_is_normalised_over_the_batch() -> None:
    rewards = channels(2, correctness=[1.0, 0.0, 1.0, 1.0, None, 1.0])
    found = channel_advantages(
        rewards, weights={"correctness": 1.0}, objective=DAPO, combination="normalise-first"
    )
    # 1, -1 | 0, 0 | left out, 0: of the five kept the mean is 0 and the variance 2/5.
    scale = math.sqrt(5 / 2)
    expected = [scale, -scale, 0.0, 0.0, 0.0, 0.0]
    assert found.flatten().tolist() == pytest.approx(expected)


def test_the_batch_is_what_is_trained_on() -> None:
    """Groups that dynamic sampling throws away make no advantage of the others larger."""
    rewards = channels(2, correctness=[1.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    found = channel_advantages(
        rewards,
        weights={"correctness": 1.0},
        objective=DAPO,
        combination="normalise-first",
        counted_BG=torch.tensor([[True, True], [False, False], [False, False]]),
    )
    assert found.flatten().tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0, 0.0, 0.0])


def test_batch_without_differences_stays_without_advantages() -> None:
    rewards = channels(correctness=[0.91] * 4, format=[0.3] * 4)
    for combination in ("sum", "normalise-first"):
        found = channel_advantages(
            rewards,
            weights={"correctness": 1.0, "format": 1.0},
            objective=DAPO,
            combination=combination,
        )
        assert not found.any()


@pytest.mark.parametrize("combination", ["sum", "normalise-first"])
def test_undecided_correctness_leaves_the_rollout_out(combination: str) -> None:
    rewards = channels(correctness=[1.0, 0.0, None, None], format=[0.0, 0.0, 1.0, 0.0])
    [row] = channel_advantages(
        rewards,
        weights={"correctness": 1.0, "format": 1.0},
        objective=DAPO,
        combination=combination,
    ).tolist()
    assert row == pytest.approx([1.0, -1.0, 0.0, 0.0])


@pytest.mark.parametrize("combination", ["sum", "normalise-first"])
def test_undecided_format_neither_pays_nor_punishes(combination: str) -> None:
    rewards = channels(correctness=[0.5] * 4, format=[1.0, 0.0, None, None])
    [row] = channel_advantages(
        rewards,
        weights={"correctness": 1.0, "format": 1.0},
        objective=DAPO,
        combination=combination,
    ).tolist()
    assert row == pytest.approx([math.sqrt(2), -math.sqrt(2), 0.0, 0.0])


@pytest.mark.parametrize("name", ["dapo", "dr-grpo", "rloo"])
def test_equal_rewards_beside_an_undecided_one_have_exactly_zero_advantage(name: str) -> None:
    rewards = channels(correctness=[0.0] * 4, format=[0.1, 0.1, 0.1, None])
    weights = {"correctness": 1.0, "format": 1.0}
    assert not channel_advantages(rewards, weights=weights, objective=NAMED[name]).any()


def test_channel_that_decided_nothing_changes_nothing() -> None:
    rewards = channels(correctness=[1.0, 0.0, 0.0, 0.0], format=[None] * 4)
    weights = {"correctness": 1.0, "format": 1.0}
    [row] = channel_advantages(rewards, weights=weights, objective=DAPO).tolist()
    assert row == pytest.approx(plain([1.0, 0.0, 0.0, 0.0]))


def test_channels_without_a_weight_are_logged_and_not_paid() -> None:
    rewards = channels(correctness=[1.0, 0.0, None, 0.0], monitor=[9.0, None, 0.0, 0.0])
    assert rewards.means() == {"correctness": pytest.approx(1 / 3), "monitor": 3.0}
    [row] = channel_advantages(rewards, weights={"correctness": 1.0}, objective=DAPO).tolist()
    assert row[1] == row[3]


def test_mean_of_a_channel_that_decided_nothing_is_none() -> None:
    assert channels(2, correctness=[None, None]).means() == {"correctness": None}


def test_channels_other_than_correctness_are_normalised_plainly() -> None:
    rewards = channels(correctness=[1.0, 0.0, 0.0, 0.0], length=[-0.5, -0.5, 0.0, 0.0])
    weights = {"correctness": 1.0, "length": 1.0}
    objective = replace(NAMED["pass-at-k"], k=1)  # knows only 0 and 1
    found = channel_advantages(
        rewards, weights=weights, objective=objective, combination="normalise-first"
    )
    both = [a + b for a, b in zip(plain([1, 0, 0, 0]), plain([-0.5, -0.5, 0, 0]), strict=True)]
    assert found[0].tolist() == pytest.approx(plain(both))


def test_expected_advantages_of_one_channel_and_its_classes() -> None:
    rewards = channels(2, correctness=[0.75, 0.25])
    arguments = {
        "objective": Objective(advantage="expected"),
        "class_id_BG": torch.tensor([[0, 1]]),
    }
    [row] = channel_advantages(rewards, weights={"correctness": 1.0}, **arguments).tolist()
    # Right and wrong: .75 * .75, so 1 and -1; the other way round: .25 * .25.
    assert row == pytest.approx([0.5, -0.5])


def test_expected_advantages_of_a_sum_are_refused() -> None:
    rewards = channels(2, correctness=[0.75, 0.25], format=[1.0, 1.0])
    with pytest.raises(ChannelError, match="normalise-first"):
        channel_advantages(
            rewards,
            weights={"correctness": 1.0, "format": 0.1},
            objective=Objective(advantage="expected"),
        )


def test_overlong_punishment_falls_over_the_buffer() -> None:
    length_N = torch.tensor([0, 12, 13, 14, 16, 40])
    found = overlong_punishment(length_N, budget=16, buffer=4)
    assert found.tolist() == [0.0, 0.0, -0.25, -0.5, -1.0, -1.0]


@pytest.mark.parametrize("buffer", [0, 17])
def test_buffer_is_within_the_budget(buffer: int) -> None:
    with pytest.raises(ValueError, match="within the budget"):
        overlong_punishment(torch.zeros(1), budget=16, buffer=buffer)


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"format": [1.0, 0.0]}, "correctness: no such channel among format"),
        ({"correctness": [1.0, math.nan]}, "correctness: a reward is not finite"),
        ({"correctness": [1.0, 0.0], "format": [-math.inf, 1.0]}, "format: .* not finite"),
        ({"correctness": [1.0, 0.0], "format": [1.0]}, "format: 1 rewards for groups of 2"),
        ({"correctness": [1.0, 0.0, 1.0]}, "correctness: 3 rewards for groups of 2"),
    ],
)
def test_broken_channels_are_refused_by_name(
    columns: dict[str, list[float | None]], problem: str
) -> None:
    with pytest.raises(ChannelError, match=problem):
        channels(2, **columns)


@pytest.mark.parametrize("combination", ["sum", "normalise-first"])
def test_weight_of_an_unknown_channel_is_refused(combination: str) -> None:
    with pytest.raises(ChannelError, match="fromat: no such channel among correctness"):
        channel_advantages(
            channels(2, correctness=[1.0, 0.0]),
            weights={"correctness": 1.0, "fromat": 1.0},
            objective=DAPO,
            combination=combination,
        )


def test_unknown_combination_is_refused() -> None:
    with pytest.raises(ChannelError, match="'mean' is none of sum, normalise-first"):
        channel_advantages(
            channels(2, correctness=[1.0, 0.0]), weights={}, objective=DAPO, combination="mean"
        )


UNIT = st.sampled_from([None, 0.0, 0.25, 0.91, 1.0])


@settings(max_examples=50)
@given(
    st.lists(UNIT, min_size=6, max_size=6),
    st.lists(UNIT, min_size=6, max_size=6),
    st.permutations(range(3)),
    st.sampled_from(["sum", "normalise-first"]),
)
def test_order_within_groups_changes_nothing(
    correctness: list[float | None],
    format_rewards: list[float | None],
    order: list[int],
    combination: str,
) -> None:
    rewards = channels(3, correctness=correctness, format=format_rewards)
    permuted = ChannelRewards({name: of[:, order] for name, of in rewards.by_name.items()})

    def of(given: ChannelRewards) -> Tensor:
        weights = {"correctness": 1.0, "format": 0.3}
        return channel_advantages(given, weights=weights, objective=DAPO, combination=combination)

    assert not of(rewards)[~rewards.kept].any()
    torch.testing.assert_close(of(permuted), of(rewards)[:, order], atol=1e-6, rtol=1e-6)
