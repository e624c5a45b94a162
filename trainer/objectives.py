"""What a run maximises, by name: how advantages are made of rewards and how tokens are weighted.

Each named objective is its paper's; what the papers leave open, or what is done otherwise:

1. `grpo` and `process`: DeepSeekMath names no clip range; PPO's 0.2 is taken.
2. `cispo`: MiniMax-M1 has no lower bound (clip_low 1 puts it at 0) and does not publish the upper
   one; ratios are cut at 5, as in ScaleRL (arXiv:2510.13786).
3. `rloo`: the paper takes the KL to the reference policy out of the reward. Here its weight is 0,
   and where it is given the k3 estimate is added to the loss. The sum over tokens is divided by
   the constant budget, which scales every gradient of the run alike.
4. `pass-at-k`: the paper changes only how advantages are made; the rest is DAPO's.
5. `ppo`: weights as in InstructGPT (KL 0.02, gamma 1, clip 0.2 for policy and values), lambda 0.95.
6. `dapo` covers the loss. Dynamic sampling is up to whoever samples; what a truncated rollout is
   worth, to `judging`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

ADVANTAGES = ("group", "centred", "leave-one-out", "pass-at-k", "expected", "steps", "gae")
SURROGATES = ("clip", "cispo", "unclipped")
RATIOS = ("token", "sequence")
AGGREGATIONS = ("sequence", "token", "constant")
# How rewards of several channels become advantages, see `channels`.
COMBINATIONS = ("sum", "normalise-first")


class ObjectiveError(ValueError):
    """An objective cannot be what was asked for; the message starts with the field."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is maximised. Functions of `advantages` and `loss` take from it what concerns them.

    advantage: how rewards become advantages: "group" (less the group's mean, over its standard
        deviation), "centred" (less the mean), "leave-one-out" (less the mean of the others),
        "pass-at-k", "expected" (rewards are probabilities: the mean of "group" over what may be
        true), "steps" (rewards of steps), "gae" (against a critic's values).
    surrogate: what is made of ratio and advantage: "clip" (the smaller of plain and clipped),
        "cispo" (log-probability weighted by the clipped ratio, no token dropped), "unclipped".
    ratio: of policies, each "token"'s own or the geometric mean of the "sequence".
    aggregation: the mean over sequences of means over their tokens ("sequence"), over all tokens
        ("token"), or the sum over tokens divided by rows times budget ("constant").
    clip_low, clip_high: ratios are clipped to 1 - clip_low .. 1 + clip_high.
    kl: weight of the divergence from the reference policy, k3 in the loss; with "gae" it is k1 in
        the reward.
    std_floor: of "group" and "steps": the divisor is at least this.
    k: of "pass-at-k". gamma, gae_lambda: of "gae". value_clip: of the critic's loss.
    """

    advantage: str = "group"
    surrogate: str = "clip"
    ratio: str = "token"
    aggregation: str = "token"
    clip_low: float = 0.2
    clip_high: float = 0.28
    kl: float = 0.0
    std_floor: float = 0.0
    k: int = 4
    gamma: float = 1.0
    gae_lambda: float = 0.95
    value_clip: float = 0.2

    def __post_init__(self) -> None:
        """Raises ObjectiveError."""
        known = (
            ("advantage", ADVANTAGES),
            ("surrogate", SURROGATES),
            ("ratio", RATIOS),
            ("aggregation", AGGREGATIONS),
        )
        for name, values in known:
            _require(getattr(self, name) in values, name, f"must be one of {', '.join(values)}")
        for name in ("clip_low", "gamma", "gae_lambda"):
            _require(0 <= getattr(self, name) <= 1, name, "must be between 0 and 1")
        for name in ("clip_high", "kl", "std_floor", "value_clip"):
            _require(0 <= getattr(self, name) < float("inf"), name, "must be 0 or more")
        _require(self.k >= 1, "k", "must be at least 1")

    @property
    def needs_critic(self) -> bool:
        return self.advantage == "gae"

    @property
    def needs_reference(self) -> bool:
        return self.kl > 0

    @property
    def loss_kl(self) -> float:
        """Weight of the divergence from the reference policy in the loss."""
        return 0.0 if self.needs_critic else self.kl


def _require(condition: bool, name: str, problem: str) -> None:
    if not condition:
        raise ObjectiveError(f"{name}: {problem}")


NAMED: Mapping[str, Objective] = MappingProxyType(
    {
        # DeepSeekMath, arXiv:2402.03300, eq. 3 and sec. 4.1.2.
        "grpo": Objective(aggregation="sequence", clip_high=0.2, kl=0.04),
        # Understanding R1-Zero-like training, arXiv:2503.20783, sec. 3.2.
        "dr-grpo": Objective(advantage="centred", aggregation="constant", clip_high=0.2),
        # DAPO, arXiv:2503.14476, eq. 8.
        "dapo": Objective(),
        # GSPO, arXiv:2507.18071, eq. 5 and sec. 5.1.
        "gspo": Objective(ratio="sequence", aggregation="sequence", clip_low=3e-4, clip_high=4e-4),
        # MiniMax-M1, arXiv:2506.13585, eq. 4 and 5.
        "cispo": Objective(surrogate="cispo", clip_low=1.0, clip_high=4.0),
        # Back to basics, arXiv:2402.14740.
        "rloo": Objective(advantage="leave-one-out", surrogate="unclipped", aggregation="constant"),
        # Pass@k training, arXiv:2508.10751.
        "pass-at-k": Objective(advantage="pass-at-k"),
        # DeepSeekMath, arXiv:2402.03300, sec. 4.1.3.
        "process": Objective(advantage="steps", aggregation="sequence", clip_high=0.2, kl=0.04),
        # PPO, arXiv:1707.06347, eq. 7; weights of InstructGPT, arXiv:2203.02155, app. C.
        "ppo": Objective(advantage="gae", clip_high=0.2, kl=0.02),
    }
)
