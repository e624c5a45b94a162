"""Each named objective on numbers worked by hand: its loss, and the gradient of a tiny model.

The model has one parameter, 0 here: it writes "a" with probability sigmoid(parameter), else "b".
It sampled "aab" (reward 1) and "a" (reward 0) when it wrote "a" with probability .4; now with .5.
So the ratios are 1.25 for "a" and 5/6 for "b", and the parameter moves their log-probabilities by
1/2 and -1/2. The reference policy writes "a" with probability .25: its ratios to the model are .5
and 1.5, k3 is .5 - ln .5 - 1 and 1.5 - ln 1.5 - 1, and its gradient (1 - ratio) (+-1/2) = 1/4.
"""

from dataclasses import replace
from math import log, sqrt

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from trainer.advantages import gae, outcome_advantages, step_advantages
from trainer.loss import Normaliser, PolicyLoss, policy_loss
from trainer.objectives import NAMED, Objective, ObjectiveError

MASK_NT = torch.tensor([[True, True, True], [True, False, False]])
IS_A_NT = torch.tensor([[True, True, False], [True, True, True]])
ALL_KEPT_BG = torch.ones(1, 2, dtype=torch.bool)
K3_A, K3_B = 0.5 - log(0.5) - 1, 1.5 - log(1.5) - 1
KL_OF_SEQUENCES = ((2 * K3_A + K3_B) / 3 + K3_A) / 2


def logprobs(chance_of_a: float) -> Tensor:
    of_a, of_b = torch.tensor([chance_of_a, 1 - chance_of_a], dtype=torch.float64).log()
    return torch.where(IS_A_NT, of_a, of_b)


def step_rewards(objective: Objective) -> Tensor:
    """Of "aa" 1, of the "b" after it 0; of the "a" that is the other rollout, 0."""
    rewards_BGS = torch.tensor([[[1.0, 0.0], [0.0, 9.0]]])
    kept_BGS = torch.tensor([[[True, True], [True, False]]])
    ends_BGS = torch.tensor([[[1, 2], [0, 0]]])
    return step_advantages(
        rewards_BGS, kept_BGS, ends_BGS, length=3, std_floor=objective.std_floor
    )[0]


def against_a_critic(objective: Objective) -> Tensor:
    return gae(
        torch.tensor([1.0, 0.0]),
        torch.tensor([True, True]),
        torch.zeros(2, 3),
        MASK_NT,
        objective=objective,
        kl_NT=logprobs(0.4) - logprobs(0.25),
    ).advantage_NT


def loss_and_gradient(objective: Objective) -> tuple[PolicyLoss, float]:
    if objective.advantage == "steps":
        advantage = step_rewards(objective)
    elif objective.advantage == "gae":
        advantage = against_a_critic(objective)
    else:
        rewards_BG = torch.tensor([[1.0, 0.0]])
        advantage = outcome_advantages(rewards_BG, ALL_KEPT_BG, objective=objective)[0]
    parameter = torch.zeros((), dtype=torch.float64, requires_grad=True)
    result = policy_loss(
        torch.where(IS_A_NT, logsigmoid(parameter), logsigmoid(-parameter)),
        logprobs(0.4),
        advantage,
        MASK_NT,
        objective=objective,
        normaliser=Normaliser.of(MASK_NT, budget=4),
        reference_logprob_NT=logprobs(0.25) if objective.needs_reference else None,
    )
    result.loss.backward()
    assert parameter.grad is not None
    return result, parameter.grad.item()


H = 1 / sqrt(2)  # of three steps with rewards 1, 0, 0: 2 H, -H, -H
# What the critic's policy is paid: 1 at the end, less .02 log(policy / reference) of each token.
PAID_A, PAID_B = -0.02 * log(0.4 / 0.25), 1 - 0.02 * log(0.6 / 0.75)
A2 = PAID_B
A1 = PAID_A + 0.95 * A2
A0 = PAID_A + 0.95 * A1

WORKED = {
    # Advantages 1 and -1. Of the first row both "a" are clipped to 1.2; a bad "a" is not.
    "grpo": (
        -((1.2 + 1.2 + 5 / 6) / 3 - 1.25) / 2 + 0.04 * KL_OF_SEQUENCES,
        -((-5 / 6 / 2) / 3 - 1.25 / 2) / 2 + 0.04 / 4,
        2,
    ),
    # Advantages 1/2 and -1/2; the sum over tokens by 2 rows of 4 tokens.
    "dr-grpo": (
        -(0.6 + 0.6 + 5 / 12 - 0.625) / 8,
        -(-5 / 12 / 2 - 0.625 / 2) / 8,
        2,
    ),
    # 1.25 is within 1.28: nothing is clipped.
    "dapo": (-(1.25 + 1.25 + 5 / 6 - 1.25) / 4, -(1.25 + 1.25 - 5 / 6 - 1.25) / 2 / 4, 0),
    # The good sequence's ratio, the cube root of 1.25 * 1.25 * 5/6, is clipped to 1.0004.
    "gspo": (-(1.0004 - 1.25) / 2, -(-1.25 / 2) / 2, 3),
    # Ratios times log .5, none above 5; the gradient is that of the unclipped surrogate.
    "cispo": (
        -(1.25 + 1.25 + 5 / 6 - 1.25) * log(0.5) / 4,
        -(1.25 + 1.25 - 5 / 6 - 1.25) / 2 / 4,
        0,
    ),
    # Each less the other: 1 and -1.
    "rloo": (-(1.25 + 1.25 + 5 / 6 - 1.25) / 8, -(1.25 + 1.25 - 5 / 6 - 1.25) / 2 / 8, 0),
    # "aa" has 2 H - H to come, "b" and the other rollout -H.
    "process": (
        -H * ((1.2 + 1.2 - 5 / 6) / 3 - 1.25) / 2 + 0.04 * KL_OF_SEQUENCES,
        -H * ((5 / 6 / 2) / 3 - 1.25 / 2) / 2 + 0.04 / 4,
        2,
    ),
    "ppo": (
        -(1.2 * A0 + 1.2 * A1 + 5 / 6 * A2 + 1.25 * PAID_A) / 4,
        -(-5 / 6 / 2 * A2 + 1.25 / 2 * PAID_A) / 4,
        2,
    ),
}


@pytest.mark.parametrize("name", WORKED)
def test_loss_and_gradient_are_those_worked_by_hand(name: str) -> None:
    loss, gradient, clipped = WORKED[name]
    result, found = loss_and_gradient(NAMED[name])
    assert result.loss.item() == pytest.approx(loss, rel=1e-9)
    assert found == pytest.approx(gradient, rel=1e-9)
    assert result.sums.clipped.item() == clipped


def test_pass_at_1_is_dapo() -> None:
    result, gradient = loss_and_gradient(replace(NAMED["pass-at-k"], k=1))
    loss, expected, _ = WORKED["dapo"]
    assert (result.loss.item(), gradient) == pytest.approx((loss, expected), rel=1e-9)


def test_every_named_objective_has_been_worked() -> None:
    assert {*WORKED, "pass-at-k"} == set(NAMED)


def test_only_a_weight_of_the_kl_wants_a_reference_policy() -> None:
    assert {name for name in NAMED if NAMED[name].needs_reference} == {"grpo", "process", "ppo"}
    assert {name for name in NAMED if NAMED[name].loss_kl} == {"grpo", "process"}
    assert {name for name in NAMED if NAMED[name].needs_critic} == {"ppo"}


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("advantage", "best", "one of group, centred"),
        ("surrogate", "ppo", "one of clip, cispo"),
        ("ratio", "row", "one of token, sequence"),
        ("aggregation", "mean", "one of sequence, token, constant"),
        ("clip_low", 1.5, "between 0 and 1"),
        ("clip_high", -0.1, "0 or more"),
        ("clip_high", float("inf"), "0 or more"),
        ("kl", float("nan"), "0 or more"),
        ("gae_lambda", 1.01, "between 0 and 1"),
        ("k", 0, "at least 1"),
    ],
)
def test_impossible_objective_is_refused_by_field(field: str, value: object, problem: str) -> None:
    with pytest.raises(ObjectiveError, match=f"{field}: must be .*{problem}"):
        Objective(**{field: value})  # type: ignore[arg-type]
