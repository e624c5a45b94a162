"""Reward channels: correctness, format, length and whatever else is paid, kept apart until the end.

Sources: soft overlong punishment DAPO (arXiv:2503.14476, eq. 13); channels normalised one by one
GDPO (arXiv:2601.05242). Deviations from them:

1. GDPO's second normalisation, over the batch, leaves out rollouts whose correctness is undecided,
   and does nothing where the advantages vary less than `advantages.MIN_STD`.
2. A channel that could not decide about a rollout neither pays nor punishes it: it counts as the
   mean of its group in that channel. Undecided correctness leaves the rollout out of its group.
3. DAPO takes up to 1 off rewards of 1 and -1. Trainers here pay 1 and 0, and weigh it with a half.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainer.advantages import MIN_STD, outcome_advantages
from trainer.objectives import COMBINATIONS, Objective

# B = prompts of a batch, G = rollouts of a prompt's group

CORRECTNESS = "correctness"


class ChannelError(ValueError):
    """Channels cannot be combined as asked; the message names the channel or the setting."""


@dataclass(frozen=True, slots=True)
class ChannelRewards:
    """What each channel says of each rollout: by name, float64 of shape (B, G), NaN = undecided.

    One channel is correctness.
    """

    by_name: Mapping[str, Tensor]

    @classmethod
    def of(
        cls, columns: Mapping[str, Sequence[float | None]], *, group_size: int
    ) -> "ChannelRewards":
        """Channels of one reward per rollout, group after group; None = undecided.

        Raises ChannelError for a reward that is not finite, channels of different lengths or not
        of whole groups, and where correctness is missing.
        """
        if CORRECTNESS not in columns:
            raise ChannelError(f"{CORRECTNESS}: no such channel among {', '.join(columns)}")
        size = len(columns[CORRECTNESS])
        for name, column in columns.items():
            if len(column) != size or size % group_size:
                raise ChannelError(f"{name}: {len(column)} rewards for groups of {group_size}")
            if not all(reward is None or math.isfinite(reward) for reward in column):
                raise ChannelError(f"{name}: a reward is not finite")
        return cls({name: _tensor(column, group_size) for name, column in columns.items()})

    @property
    def kept(self) -> Tensor:
        """(B, G), false where correctness is undecided: the rollout is left out of its group."""
        return ~self.by_name[CORRECTNESS].isnan()

    def means(self) -> dict[str, float | None]:
        """For the log: each channel's mean over the rollouts it decided; None where none."""
        return {
            name: None if reward_BG.isnan().all() else float(reward_BG.nanmean())
            for name, reward_BG in self.by_name.items()
        }


def overlong_punishment(length: Tensor, *, budget: int, buffer: int) -> Tensor:
    """0 for completions of up to budget - buffer tokens, falling to -1 at the budget and beyond.

    length: tokens of each completion, of any shape; float64 of the same shape comes back.
    Raises ValueError unless 0 < buffer <= budget.
    """
    if not 0 < buffer <= budget:
        raise ValueError(f"the buffer, {buffer} tokens, must be within the budget, {budget}")
    return ((budget - buffer - length.double()) / buffer).clamp(-1.0, 0.0)


def summed_rewards(rewards: ChannelRewards, weights: Mapping[str, float]) -> Tensor:
    """The weighted sum of channels, float64 (B, G); NaN where correctness is undecided.

    weights: by channel; what has none is logged and not paid. Raises ChannelError for a weight of
    an unknown channel.
    """
    total_BG = torch.zeros_like(rewards.by_name[CORRECTNESS])
    for name, weight in weights.items():
        total_BG = total_BG + weight * _neutral(_channel(rewards, name), rewards.kept)
    return torch.where(rewards.kept, total_BG, torch.nan)


def channel_advantages(
    rewards: ChannelRewards,
    *,
    weights: Mapping[str, float],
    objective: Objective,
    combination: str = "sum",
    class_id_BG: Tensor | None = None,
    counted_BG: Tensor | None = None,
    sums: Callable[[Sequence[float]], Sequence[float]] = list,
) -> Tensor:
    """One advantage per rollout of all channels together; float64 of shape (B, G).

    weights: as in `summed_rewards`.
    combination: "sum" (advantages of the weighted sum), or "normalise-first" (GDPO: each channel's
        advantages, their weighted sum, normalised over the batch). Then correctness is treated as
        the objective says, and other channels are so only if it is a plain group statistic.
    class_id_BG: as in `outcome_advantages`, of correctness.
    counted_BG: over which the batch is normalised; None = all whose correctness is decided.
    sums: each figure added up over the processes that share the batch (`Ranks.sums`).
    Raises ChannelError for an unknown combination or channel, and for "expected" advantages of a
    sum, which is no probability.
    """
    if combination not in COMBINATIONS:
        raise ChannelError(f"combination: {combination!r} is none of {', '.join(COMBINATIONS)}")
    if combination == "normalise-first":
        total_BG = _normalised_first(rewards, weights, objective, class_id_BG)
        counted_BG = rewards.kept if counted_BG is None else rewards.kept & counted_BG
        return _over_batch(total_BG, counted_BG, sums)
    if objective.advantage == "expected" and dict(weights) != {CORRECTNESS: 1.0}:
        raise ChannelError('combination: "expected" advantages want "normalise-first"')
    total_BG = summed_rewards(rewards, weights)
    return outcome_advantages(total_BG, rewards.kept, objective=objective, class_id_BG=class_id_BG)


def _normalised_first(
    rewards: ChannelRewards,
    weights: Mapping[str, float],
    objective: Objective,
    class_id_BG: Tensor | None,
) -> Tensor:
    is_plain = objective.advantage in ("group", "centred", "leave-one-out")
    of_others = objective if is_plain else replace(objective, advantage="group")
    total_BG = torch.zeros_like(rewards.by_name[CORRECTNESS])
    for name, weight in weights.items():
        reward_BG = _channel(rewards, name)
        advantage_BG = outcome_advantages(
            reward_BG,
            rewards.kept & ~reward_BG.isnan(),
            objective=objective if name == CORRECTNESS else of_others,
            class_id_BG=class_id_BG,
        )
        total_BG = total_BG + weight * advantage_BG
    return total_BG


def _over_batch(
    advantage_BG: Tensor, kept_BG: Tensor, sums: Callable[[Sequence[float]], Sequence[float]]
) -> Tensor:
    """Less the batch's mean, over its standard deviation; unchanged where that is next to 0."""
    n, total = sums([float(kept_BG.sum()), float(advantage_BG[kept_BG].sum())])
    centred_BG = torch.where(kept_BG, advantage_BG - total / max(n, 1.0), 0.0)
    (squares,) = sums([float(centred_BG.square().sum())])
    std = math.sqrt(squares / max(n, 1.0))
    return advantage_BG if std <= MIN_STD else centred_BG / std


def _channel(rewards: ChannelRewards, name: str) -> Tensor:
    if name not in rewards.by_name:
        raise ChannelError(f"{name}: no such channel among {', '.join(rewards.by_name)}")
    return rewards.by_name[name]


def _neutral(reward_BG: Tensor, kept_BG: Tensor) -> Tensor:
    """The channel with the mean of its group where it is undecided; 0 where it is so throughout."""
    decided_BG = kept_BG & ~reward_BG.isnan()
    n_B1 = decided_BG.sum(dim=1, keepdim=True)
    # Above the lowest, or the mean of equal rewards may differ from them by rounding.
    lowest_B1 = torch.where(decided_BG, reward_BG, torch.inf).amin(dim=1, keepdim=True)
    above_BG = torch.where(decided_BG, reward_BG - lowest_B1, 0.0)
    mean_B1 = lowest_B1 + above_BG.sum(dim=1, keepdim=True) / n_B1.clamp_min(1)
    return torch.where(decided_BG, reward_BG, torch.where(n_B1 > 0, mean_B1, 0.0))


def _tensor(column: Sequence[float | None], group_size: int) -> Tensor:
    filled = [math.nan if reward is None else reward for reward in column]
    return torch.tensor(filled, dtype=torch.float64).view(-1, group_size)
