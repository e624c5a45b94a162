import math

import pytest
import torch
from torch import Tensor

from trainer.loss import Normaliser, PolicyLoss, policy_loss
from trainer.objectives import NAMED


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
    result = policy_loss(
        torch.tensor([[-1e4, 1e4]]),
        torch.zeros(1, 2),
        torch.tensor([-1.0]),
        mask_NT,
        objective=NAMED["grpo"],
        normaliser=Normaliser.of(mask_NT, budget=2),
        reference_logprob_NT=torch.zeros(1, 2),
    )
    assert math.isfinite(result.loss.item())
    assert all(math.isfinite(value) for value in result.sums)


def test_no_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        loss_of([[1.0]], [1.0], [[False]])
