import math
from itertools import combinations, product
from statistics import mean

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.advantages import (
    centred_advantages,
    expected_advantages,
    gae,
    group_advantages,
    leave_one_out_advantages,
    outcome_advantages,
    pass_at_k_advantages,
    step_advantages,
)
from trainer.objectives import ADVANTAGES, Objective

torch.set_num_threads(1)  # two collapse where other processes use the same cores


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


FINITE = st.floats(allow_nan=False, allow_infinity=False)
SOME_GROUPS = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=3)
WHOLE = [name for name in ADVANTAGES if name not in ("steps", "gae")]


def whole(
    name: str, reward_BG: Tensor, kept_BG: Tensor, class_id_BG: Tensor | None = None
) -> Tensor:
    class_id_BG = torch.full(kept_BG.shape, -1) if class_id_BG is None else class_id_BG
    objective = Objective(advantage=name, k=2)
    return outcome_advantages(reward_BG, kept_BG, objective=objective, class_id_BG=class_id_BG)


@given(FINITE, SOME_GROUPS)
@example(0.91, [[True] * 5])
@example(-1.7e308, [[True] * 5])
def test_constant_group_of_any_reward_has_exactly_zero_advantage(
    reward: float, kept: list[list[bool]]
) -> None:
    kept_BG = torch.tensor(kept)
    reward_BG = torch.full(kept_BG.shape, reward, dtype=torch.float64)
    for name in ("group", "centred", "leave-one-out"):
        assert not whole(name, reward_BG, kept_BG).any(), name


@given(st.floats(0, 1), SOME_GROUPS)
def test_group_of_equal_probabilities_has_exactly_zero_expected_advantage(
    p: float, kept: list[list[bool]]
) -> None:
    kept_BG = torch.tensor(kept)
    class_id_BG = torch.tensor([[0, 0, 1, 2, -1]]).expand(kept_BG.shape)
    p_BG = torch.full(kept_BG.shape, p, dtype=torch.float64)
    assert not whole("expected", p_BG, kept_BG, class_id_BG).any()


@given(
    st.sampled_from(WHOLE),
    st.lists(st.integers(0, 1), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.permutations(range(5)),
    st.sampled_from([math.nan, math.inf, -7.0, 0.5]),
)
def test_order_and_what_is_left_out_change_nothing(
    name: str, rewards: list[int], kept: list[bool], order: list[int], garbage: float
) -> None:
    kept_BG, reward_BG = torch.tensor([kept]), torch.tensor([rewards]).double()
    class_id_BG = torch.tensor([[0, 0, 1, -1, -1]])
    expected_BG = whole(name, reward_BG, kept_BG, class_id_BG)
    assert not expected_BG[~kept_BG].any()
    spoilt_BG = torch.where(kept_BG, reward_BG, garbage)
    assert torch.equal(whole(name, spoilt_BG, kept_BG, class_id_BG), expected_BG)
    permuted_BG = whole(name, spoilt_BG[:, order], kept_BG[:, order], class_id_BG[:, order])
    torch.testing.assert_close(permuted_BG, expected_BG[:, order])
    alone_BG = whole(name, reward_BG[:, kept], kept_BG[:, kept], class_id_BG[:, kept])
    torch.testing.assert_close(expected_BG[kept_BG], alone_BG[0])


def test_centred_advantages_are_not_scaled() -> None:
    kept_BG = torch.tensor([[True, True, True, False]])
    row = centred_advantages(torch.tensor([[1.0, 0.0, 0.5, 9.0]]), kept_BG)[0]
    assert row.tolist() == [0.5, -0.5, 0.0, 0.0]


def test_leave_one_out_compares_with_the_others() -> None:
    kept_BG = torch.tensor([[True, True, True, False]])
    row = leave_one_out_advantages(torch.tensor([[1.0, 0.0, 0.5, 9.0]]), kept_BG)[0]
    assert row.tolist() == pytest.approx([1 - 0.25, 0 - 0.75, 0.5 - 0.5, 0.0])


def test_lone_rollout_has_no_others_to_compare_with() -> None:
    kept_BG = torch.tensor([[True, False]])
    assert leave_one_out_advantages(torch.tensor([[1.0, 0.0]]), kept_BG).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("size", [2, 5, 8])
def test_pass_at_1_is_the_group_advantage(size: int) -> None:
    reward_BG = torch.ones(size + 1, size).tril(-1)  # 0 to `size` right ones
    kept_BG = torch.ones_like(reward_BG, dtype=torch.bool)
    torch.testing.assert_close(
        pass_at_k_advantages(reward_BG, kept_BG, k=1), group_advantages(reward_BG, kept_BG)
    )


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("n_right", range(7))
def test_pass_at_k_is_the_mean_over_all_sets(k: int, n_right: int) -> None:
    rewards = [1.0] * n_right + [0.0] * (6 - n_right)
    sets = list(combinations(range(6), k))
    [of_sets] = advantages([[max(rewards[i] for i in chosen) for chosen in sets]])
    expected = [
        mean(of_set for chosen, of_set in zip(sets, of_sets, strict=True) if i in chosen)
        for i in range(6)
    ]
    kept_BG = torch.tensor([[True] * 6 + [False]])
    row = pass_at_k_advantages(torch.tensor([[*rewards, 0.5]]), kept_BG, k=k)[0]
    assert row.tolist() == pytest.approx([*expected, 0.0], abs=1e-12)


def test_pass_at_k_of_fewer_than_k_is_nothing() -> None:
    kept_BG = torch.ones(1, 3, dtype=torch.bool)
    assert not pass_at_k_advantages(torch.tensor([[1.0, 0.0, 0.0]]), kept_BG, k=4).any()


def test_pass_at_k_of_probabilities_is_refused() -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        pass_at_k_advantages(torch.tensor([[0.5, 0.0]]), torch.tensor([[True, True]]), k=1)


@settings(max_examples=40)
@given(
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
    st.lists(st.integers(-1, 2), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_expected_advantage_is_the_mean_over_all_truths(
    chances: list[float], classes: list[int], kept: list[bool]
) -> None:
    members: dict[int, list[int]] = {}
    for i in range(5):
        if kept[i]:
            members.setdefault(classes[i] if classes[i] >= 0 else -1 - i, []).append(i)
    if len({chances[i] for i in range(5) if kept[i]}) < 2:
        return  # nobody tells them apart: see the test of equal probabilities
    expected = [0.0] * 5
    for truth in product([0, 1], repeat=len(members)):
        weight, rewards = 1.0, [0.0] * 5
        for is_right, rollouts in zip(truth, members.values(), strict=True):
            p = mean(chances[i] for i in rollouts)
            weight *= p if is_right else 1 - p
            for i in rollouts:
                rewards[i] = float(is_right)
        [row] = advantages([rewards], [kept])
        expected = [total + weight * a for total, a in zip(expected, row, strict=True)]
    found = expected_advantages(
        torch.tensor([chances], dtype=torch.float64),
        torch.tensor([classes]),
        torch.tensor([kept]),
    )
    assert found[0].tolist() == pytest.approx(expected, abs=1e-9)


def test_expected_advantage_of_known_answers_is_the_group_advantage() -> None:
    [row] = advantages([[1.0, 0.0, 0.0, 0.0]])
    known = whole("expected", torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.ones(1, 4).bool())
    assert known[0].tolist() == pytest.approx(row)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_expected_advantages_want_probabilities(p: float) -> None:
    with pytest.raises(ValueError, match=r"not in \[0, 1\]|not finite"):
        whole("expected", torch.tensor([[p, 0.5]]), torch.tensor([[True, True]]))


def test_expected_advantages_want_answer_classes() -> None:
    with pytest.raises(ValueError, match="answer classes"):
        outcome_advantages(
            torch.zeros(1, 2),
            torch.ones(1, 2).bool(),
            objective=Objective(advantage="expected"),
        )


@pytest.mark.parametrize("name", ["steps", "gae"])
def test_steps_and_tokens_are_no_whole_rollouts(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        whole(name, torch.zeros(1, 2), torch.ones(1, 2).bool())


def test_floor_of_the_objective_is_used() -> None:
    kept_BG = torch.tensor([[True, True]])
    objective = Objective(std_floor=0.3)
    [row] = outcome_advantages(torch.tensor([[0.2, 0.0]]), kept_BG, objective=objective).tolist()
    assert row == pytest.approx([1 / 3, -1 / 3])


def test_token_gets_the_steps_that_end_at_or_after_it() -> None:
    # Kept rewards 1, 0 | 0, 1: mean 1/2, standard deviation 1/2, so +1 and -1.
    rewards_BGS = torch.tensor([[[1.0, 0.0, math.nan], [0.0, 5.0, 1.0]]])
    kept_BGS = torch.tensor([[[True, True, False], [True, False, True]]])
    ends_BGS = torch.tensor([[[1, 2, 99], [0, 1, 3]]])
    found = step_advantages(rewards_BGS, kept_BGS, ends_BGS, length=5)
    assert found.tolist() == [[[0.0, 0.0, -1.0, 0.0, 0.0], [0.0, 1.0, 1.0, 1.0, 0.0]]]


def test_two_steps_may_end_at_one_token() -> None:
    ones_BGS = torch.ones(1, 2, 2)
    rewards_BGS = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    found = step_advantages(
        rewards_BGS, ones_BGS.bool(), torch.zeros_like(ones_BGS, dtype=torch.long), length=1
    )
    assert found.tolist() == [[[2.0], [-2.0]]]


@pytest.mark.parametrize("end", [-1, 4])
def test_step_that_ends_outside_is_refused(end: int) -> None:
    with pytest.raises(ValueError, match="ends outside"):
        step_advantages(
            torch.zeros(1, 1, 1), torch.ones(1, 1, 1).bool(), torch.tensor([[[end]]]), length=4
        )


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0)])
def test_generalised_advantage_is_the_double_sum(gamma: float, gae_lambda: float) -> None:
    generator = torch.Generator().manual_seed(4)
    objective = Objective(advantage="gae", kl=0.1, gamma=gamma, gae_lambda=gae_lambda)
    value_NT = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    kl_NT = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    reward_N = torch.tensor([1.0, 0.0, 0.5, math.nan], dtype=torch.float64)
    lengths = [6, 3, 1, 4]
    mask_NT = torch.arange(6) < torch.tensor(lengths)[:, None]
    kept_N = torch.tensor([True, True, True, False])
    value_NT[~mask_NT], kl_NT[~mask_NT] = math.nan, math.nan
    found = gae(reward_N, kept_N, value_NT, mask_NT, objective=objective, kl_NT=kl_NT)
    for i, length in enumerate(lengths):
        for t in range(6):
            expected = 0.0
            for later in range(t, length if kept_N[i] else 0):
                reward = -0.1 * kl_NT[i, later] + (reward_N[i] if later == length - 1 else 0)
                after = value_NT[i, later + 1] if later < length - 1 else 0
                delta = reward + gamma * after - value_NT[i, later]
                expected += (gamma * gae_lambda) ** (later - t) * delta.item()
            assert found.advantage_NT[i, t].item() == pytest.approx(expected, abs=1e-12)
            value = value_NT[i, t].item() if kept_N[i] and t < length else 0.0
            assert found.return_NT[i, t].item() == pytest.approx(expected + value, abs=1e-12)


def test_return_without_discount_is_what_is_paid_from_here_on() -> None:
    mask_NT = torch.tensor([[True, True, True, False]])
    found = gae(
        torch.tensor([1.0]),
        torch.tensor([True]),
        torch.full((1, 4), 0.3),
        mask_NT,
        objective=Objective(advantage="gae", gae_lambda=1.0),
    )
    assert found.return_NT[0].tolist() == pytest.approx([1.0, 1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("mask", "value", "kl", "problem"),
    [
        ([True, False, True], 0.0, 0.0, "gaps"),
        ([True, True, False], math.nan, 0.0, "not finite"),
        ([True, True, False], 0.0, 0.1, "reference policy"),
    ],
)
def test_what_has_no_generalised_advantage_is_refused(
    mask: list[bool], value: float, kl: float, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        gae(
            torch.ones(1),
            torch.tensor([True]),
            torch.full((1, 3), value),
            torch.tensor([mask]),
            objective=Objective(advantage="gae", kl=kl),
        )
