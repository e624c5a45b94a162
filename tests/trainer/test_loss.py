import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainer.loss import Normaliser, PolicyLoss, policy_loss, truncated_importance, value_loss
from trainer.objectives import NAMED, Objective

torch.set_num_threads(1)  # two collapse where other processes use the same cores


def loss_of(
    ratios: list[list[float]], advantages: list[float], mask: list[list[bool]] | None = None
):
    ratio_NT = torch.tensor(ratios, dtype=torch.float64)
    mask_NT = torch.ones_like(ratio_NT, dtype=torch.bool) if mask is None else torch.tensor(mask)
    logprob_NT = ratio_NT.log().requires_grad_()
    result = policy_loss(
        logprob_NT,
        torch.zeros_like(ratio_NT),
        torch.tensor(advantages),
        mask_NT,
        objective=NAMED["dapo"],
        normaliser=Normaliser.of(mask_NT, budget=8),
    )
    return result, logprob_NT


def gradient(result: PolicyLoss, logprob_NT: Tensor) -> list[list[float]]:
    [grad] = torch.autograd.grad(result.loss, logprob_NT)
    return grad.tolist()


def test_loss_on_the_sampling_policy_is_minus_the_mean_advantage() -> None:
    result, logprob_NT = loss_of([[1.0, 1.0], [1.0, 1.0]], [2.0, -1.0])
    assert result.loss.item() == pytest.approx(-0.5)
    assert gradient(result, logprob_NT) == [[-0.5, -0.5], [0.25, 0.25]]  # -A / 4 tokens
    assert torch.stack(result.sums).tolist() == [4.0, 0.0, 0.0, 0.0, 0.0]


def test_every_token_weighs_the_same_whatever_its_completions_length() -> None:
    # three tokens of A = 1 and one of A = -1: -(3 - 1) / 4; a mean of row means would give 0
    result, _ = loss_of(
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]],
        [1.0, -1.0],
        [[True, True, True], [True, False, False]],
    )
    assert result.loss.item() == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "surrogate", "is_clipped"),
    [
        (1.5, 1.0, 1.28, True),  # already likelier than the upper bound: no further
        (0.5, 1.0, 0.5, False),  # a good one that became unlikely is pulled back
        (0.5, -1.0, -0.8, True),  # already less likely than the lower bound
        (1.5, -1.0, -1.5, False),  # a bad one that became likelier is pushed back
        (1.27, 1.0, 1.27, False),
        (0.81, -1.0, -0.81, False),
    ],
)
def test_clipping_is_one_sided_with_a_higher_upper_bound(
    ratio: float, advantage: float, surrogate: float, is_clipped: bool
) -> None:
    result, logprob_NT = loss_of([[ratio]], [advantage])
    assert result.loss.item() == pytest.approx(-surrogate)
    assert result.sums.clipped.item() == float(is_clipped)
    assert (gradient(result, logprob_NT) == [[0.0]]) == is_clipped


def test_masked_tokens_change_nothing() -> None:
    shown, _ = loss_of([[1.1]], [1.0])
    padded, logprob_NT = loss_of([[1.1, 9.0]], [1.0], [[True, False]])
    assert padded.loss.item() == pytest.approx(shown.loss.item())
    assert torch.stack(padded.sums).tolist() == pytest.approx(torch.stack(shown.sums).tolist())
    assert gradient(padded, logprob_NT)[0][1] == 0.0


def test_divergence_estimates_by_hand() -> None:
    result, _ = loss_of([[2.0, 0.5]], [0.0])
    assert result.sums.k1.item() == pytest.approx(0.0)  # -(log 2 + log 1/2)
    assert result.sums.k3.item() == pytest.approx(0.5)  # (2 - 1 - log 2) + (0.5 - 1 + log 2)


def test_broken_token_stays_finite() -> None:
    mask_NT = torch.ones(1, 2, dtype=torch.bool)
    logprob_NT = torch.tensor([[-1e4, 1e4]], requires_grad=True)
    result = policy_loss(
        logprob_NT,
        torch.zeros(1, 2),
        torch.tensor([-1.0]),
        mask_NT,
        objective=NAMED["grpo"],
        normaliser=Normaliser.of(mask_NT, budget=2),
        reference_logprob_NT=torch.zeros(1, 2),
    )
    result.loss.backward()
    assert math.isfinite(result.loss.item())
    assert all(math.isfinite(value) for value in result.sums)
    assert logprob_NT.grad is not None
    assert logprob_NT.grad.isfinite().all()


def test_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        loss_of([[1.0]], [1.0], [[False]])


def test_kl_term_without_a_reference_policy_is_refused() -> None:
    batch = random_batch(torch.Generator())
    del batch["reference_logprob_NT"]
    with pytest.raises(ValueError, match="reference policy"):
        policy_loss(**batch, objective=NAMED["grpo"], normaliser=Normaliser(1, 1, 1))


def test_divergence_from_the_reference_policy_is_told_without_a_kl_term() -> None:
    batch = random_batch(torch.Generator())
    normaliser = Normaliser.of(batch["mask_NT"], budget=5)
    shown = policy_loss(**batch, objective=NAMED["dapo"], normaliser=normaliser)
    del batch["reference_logprob_NT"]
    plain = policy_loss(**batch, objective=NAMED["dapo"], normaliser=normaliser)
    assert shown.sums.reference_kl > 0 == plain.sums.reference_kl
    assert shown.loss == plain.loss


def test_half_precision_is_computed_in_single() -> None:
    batch = {
        name: value.bfloat16() if value.is_floating_point() else value
        for name, value in random_batch(torch.Generator()).items()
    }
    normaliser = Normaliser.of(batch["mask_NT"], budget=5)
    result = policy_loss(**batch, objective=NAMED["grpo"], normaliser=normaliser)
    assert result.loss.dtype == torch.float32


def random_batch(generator: torch.Generator, rows: int = 6, tokens: int = 5) -> dict[str, Tensor]:
    """Every other row has no advantage; the first has no tokens, the others have some."""

    def noise() -> Tensor:
        return torch.randn(rows, tokens, generator=generator, dtype=torch.float64)

    length_N = torch.randint(1, tokens + 1, (rows,), generator=generator)
    length_N[0] = 0
    advantage_N = noise()[:, 0]
    advantage_N[::2] = 0
    logprob_NT = noise() - 2
    return {
        "logprob_NT": logprob_NT,
        "old_logprob_NT": logprob_NT + 0.3 * noise(),
        "advantage": advantage_N,
        "mask_NT": torch.arange(tokens) < length_N[:, None],
        "reference_logprob_NT": logprob_NT + 0.5 * noise(),
        "importance_NT": noise().exp(),
    }


def loss_and_gradient(
    batch: dict[str, Tensor], objective: Objective, normaliser: Normaliser
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, its gradient for each log-probability, and the sums."""
    leaf_NT = batch["logprob_NT"].clone().requires_grad_()
    result = policy_loss(
        **{**batch, "logprob_NT": leaf_NT}, objective=objective, normaliser=normaliser
    )
    [gradient_NT] = torch.autograd.grad(result.loss, leaf_NT)
    return result.loss.detach(), gradient_NT, torch.stack(result.sums)


@settings(max_examples=25)
@given(st.sampled_from(sorted(NAMED)), st.integers(0, 2**32), st.permutations(range(6)), st.data())
def test_micro_batches_add_up_to_the_minibatch(
    name: str, seed: int, order: list[int], data: st.DataObject
) -> None:
    batch = random_batch(torch.Generator().manual_seed(seed))
    normaliser = Normaliser.of(batch["mask_NT"], budget=7)
    loss, gradient_NT, sums = loss_and_gradient(batch, NAMED[name], normaliser)
    cut = data.draw(st.integers(1, 5))
    parts = [
        loss_and_gradient(
            {key: value[rows] for key, value in batch.items()}, NAMED[name], normaliser
        )
        for rows in (order[:cut], order[cut:])
    ]
    torch.testing.assert_close(parts[0][0] + parts[1][0], loss)
    torch.testing.assert_close(torch.cat([parts[0][1], parts[1][1]]), gradient_NT[order])
    torch.testing.assert_close(parts[0][2] + parts[1][2], sums)


@pytest.mark.parametrize("name", sorted(name for name in NAMED if NAMED[name].loss_kl == 0))
def test_rows_without_advantage_need_not_be_given(name: str) -> None:
    batch = random_batch(torch.Generator().manual_seed(1))
    normaliser = Normaliser.of(batch["mask_NT"], budget=7)
    loss, gradient_NT, _ = loss_and_gradient(batch, NAMED[name], normaliser)
    some = {key: value[1::2] for key, value in batch.items()}
    less, gradient_of_some_NT, _ = loss_and_gradient(some, NAMED[name], normaliser)
    torch.testing.assert_close(less, loss)
    torch.testing.assert_close(gradient_of_some_NT, gradient_NT[1::2])
    assert not gradient_NT[::2].any()


@pytest.mark.parametrize("name", sorted(NAMED))
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -1e9])
def test_what_stands_outside_the_mask_is_never_read(name: str, garbage: float) -> None:
    batch = random_batch(torch.Generator().manual_seed(2))
    batch["advantage"] = batch["advantage"][:, None].expand(6, 5)
    normaliser = Normaliser.of(batch["mask_NT"], budget=7)
    expected = loss_and_gradient(batch, NAMED[name], normaliser)
    spoilt = {
        key: value if key == "mask_NT" else torch.where(batch["mask_NT"], value, garbage)
        for key, value in batch.items()
    }
    found = loss_and_gradient(spoilt, NAMED[name], normaliser)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert not found[1][~batch["mask_NT"]].any()


def test_importance_weighs_tokens_and_not_the_kl_term() -> None:
    batch = random_batch(torch.Generator().manual_seed(3))
    normaliser = Normaliser.of(batch["mask_NT"], budget=7)
    batch["advantage"] = torch.ones_like(batch["mask_NT"], dtype=torch.float64)
    weight_NT = batch.pop("importance_NT")
    weighted = loss_and_gradient({**batch, "importance_NT": weight_NT}, NAMED["grpo"], normaliser)
    by_advantage = loss_and_gradient({**batch, "advantage": weight_NT}, NAMED["grpo"], normaliser)
    torch.testing.assert_close(weighted, by_advantage)


def test_importance_is_the_capped_ratio_of_the_engines() -> None:
    old_NT = torch.tensor([[0.2, 0.3, 0.9, 0.5]]).log().requires_grad_()
    sampled_NT = torch.tensor([[0.4, 0.2, 0.1, math.nan]]).log()
    mask_NT = torch.tensor([[True, True, True, False]])
    weight_NT = truncated_importance(old_NT, sampled_NT, mask_NT, cap=2.0)
    assert weight_NT.tolist()[0] == pytest.approx([0.5, 1.5, 2.0, 1.0])
    assert not weight_NT.requires_grad


def test_values_pay_half_the_larger_squared_error() -> None:
    # Old values 1; the new may move by .2. Returns 2. Free to 1.1: (.9^2, .9^2); far at 1.5: kept
    # at 1.2, and .8^2 is more than .5^2, without gradient; wrong way at .5: 1.5^2 over 1.2^2.
    value_NT = torch.tensor([[1.1, 1.5, 0.5, math.nan]], requires_grad=True)
    mask_NT = torch.tensor([[True, True, True, False]])
    result = value_loss(
        value_NT,
        torch.ones(1, 4),
        torch.full((1, 4), 2.0),
        mask_NT,
        clip=0.2,
        normaliser=Normaliser.of(mask_NT, budget=4),
    )
    result.loss.backward()
    assert result.loss.item() == pytest.approx((0.81 + 0.64 + 2.25) / 2 / 3)
    assert value_NT.grad is not None
    assert value_NT.grad[0].tolist() == pytest.approx([-0.9 / 3, 0.0, -1.5 / 3, 0.0])
    assert torch.stack(result.sums).tolist() == pytest.approx([3.0, 1.0, 0.81 + 0.25 + 2.25])
