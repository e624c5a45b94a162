import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.advantages import group_advantages


def advantages(rewards: list[list[float]], kept: list[list[bool]] | None = None, **options: float):
    reward_BG = torch.tensor(rewards)
    kept_BG = torch.ones_like(reward_BG, dtype=torch.bool) if kept is None else torch.tensor(kept)
    return group_advantages(reward_BG, kept_BG, **options).tolist()


def test_worked_example_uses_the_population_standard_deviation() -> None:
    # mean 1/4, population std sqrt(3)/4: (1 - 1/4) / std = sqrt(3), (0 - 1/4) / std = -1/sqrt(3)
    [row] = advantages([[1.0, 0.0, 0.0, 0.0]])
    assert row == pytest.approx([math.sqrt(3), *[-1 / math.sqrt(3)] * 3], abs=1e-12)


def test_groups_are_normalised_separately() -> None:
    first, second = advantages([[1.0, 0.0], [0.75, 0.25]])
    assert first == second == [1.0, -1.0]


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.91, 0.0366, 1 / 3])
@pytest.mark.parametrize("size", [2, 3, 8, 13])
def test_constant_group_has_exactly_zero_advantage(reward: float, size: int) -> None:
    assert advantages([[reward] * size]) == [[0.0] * size]


def test_rollout_left_out_has_no_advantage_and_is_not_in_the_mean() -> None:
    [row] = advantages([[1.0, 0.0, 0.5, 0.0]], [[True, True, False, False]])
    assert row == [1.0, -1.0, 0.0, 0.0]


def test_reward_of_a_rollout_left_out_is_never_read() -> None:
    [row] = advantages([[1.0, 0.0, math.nan]], [[True, True, False]])
    assert row == [1.0, -1.0, 0.0]


@pytest.mark.parametrize("kept", [[False, False], [True, False]])
def test_group_with_fewer_than_two_kept_rollouts_has_no_advantage(kept: list[bool]) -> None:
    assert advantages([[1.0, 0.0]], [kept]) == [[0.0, 0.0]]


def test_differences_within_the_minimum_are_no_advantage() -> None:
    assert advantages([[0.5, 0.5001]]) == [[0.0, 0.0]]


def test_std_floor_bounds_the_divisor_only() -> None:
    small, large = advantages([[0.2, 0.0], [1.0, 0.0]], std_floor=0.3)
    assert small == pytest.approx([1 / 3, -1 / 3])  # std 0.1, divided by 0.3
    assert large == pytest.approx([1.0, -1.0])


def test_kept_reward_must_be_finite() -> None:
    with pytest.raises(ValueError, match="not finite"):
        advantages([[math.inf, 0.0]])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ"):
        group_advantages(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool))


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.integers(0, 1024), min_size=2, max_size=16),
    st.lists(st.booleans(), min_size=16, max_size=16),
    st.floats(0.1, 5.0),
    st.floats(-3.0, 3.0),
)
def test_advantages_are_centred_scaled_and_blind_to_affine_maps(
    values: list[int], kept: list[bool], scale: float, shift: float
) -> None:
    reward_BG = torch.tensor([values], dtype=torch.float64) / 1024
    kept_BG = torch.tensor([kept[: len(values)]])
    row = group_advantages(reward_BG, kept_BG)[0][kept_BG[0]]
    assert row.sum().abs() < 1e-9
    if row.any():
        assert row.square().mean() == pytest.approx(1.0)
        if reward_BG[kept_BG].std(correction=0) * scale > 1e-4:
            mapped = group_advantages(reward_BG * scale + shift, kept_BG)[0][kept_BG[0]]
            torch.testing.assert_close(mapped, row, atol=1e-7, rtol=1e-7)
