"""What one step's sampling gives: groups, their tokens, and what each token is worth."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainer.advantages import step_advantages
from trainer.channels import CORRECTNESS, ChannelRewards, channel_advantages, overlong_punishment
from trainer.config import TrainerConfig
from trainer.data import Group, Rollout
from trainer.generation import Completions, joined
from trainer.ranks import Ranks
from trainer.rewards import RewardTable
from trainer.stages.sampling import Sampling
from trainer.tokenizers import Tokenizer
from trainer.verifiers.models.process import steps_of

# N = rows (completions), T = tokens of a completion, B = groups, G = rollouts of a group,
# S = steps of a rollout

OVERLONG = "overlong"
# DAPO takes up to 1 off rewards of 1 and -1; of rewards of 1 and 0 that is half.
OVERLONG_WEIGHT = 0.5
# Posterior tables pay probabilities: dividing by the plain std would blow up tiny differences.
STD_FLOORS = {"posterior": 0.3}


@dataclass(frozen=True, slots=True)
class Experience:
    """One process's share of a step. Row i of the completions is rollout i through the groups.

    places: of each group in the step. chosen: the places, over all processes, that are trained on.
    is_counted_N: rows of chosen groups that nothing leaves out.
    """

    places: Sequence[int]
    groups: Sequence[Group]
    completions: Completions
    chosen: Sequence[int]
    is_counted_N: Tensor

    @classmethod
    def of(
        cls, samplings: Sequence[Sampling], chosen: Sequence[int], *, pad_id: int
    ) -> "Experience":
        places = [place for sampling in samplings for place in sampling.places]
        groups = [group for sampling in samplings for group in sampling.groups]
        completions = joined([sampling.completions for sampling in samplings], pad_id)
        is_counted = [
            place in set(chosen) and rollout.reward is not None
            for place, group in zip(places, groups, strict=True)
            for rollout in group.rollouts
        ]
        device = completions.token_NT.device
        return cls(places, groups, completions, chosen, torch.tensor(is_counted, device=device))

    def rollouts(self) -> list[Rollout]:
        return [rollout for group in self.groups for rollout in group.rollouts]

    def rows_of(self, places: Sequence[int]) -> Tensor:
        """The counted rows of the groups at these places."""
        size, wanted = len(self.groups[0].rollouts), set(places)
        is_wanted = torch.tensor([place in wanted for place in self.places])
        is_wanted_N = is_wanted.repeat_interleave(size).to(self.is_counted_N.device)
        return (is_wanted_N & self.is_counted_N).nonzero().squeeze(1)


def rewards_of(groups: Sequence[Group], config: TrainerConfig) -> ChannelRewards:
    """Every channel's rewards, group by group: correctness, the recipe's others, and overlong
    where truncated completions are punished."""
    grpo, rollouts = config.grpo, [rollout for group in groups for rollout in group.rollouts]
    columns: dict[str, Sequence[float | None]] = {
        CORRECTNESS: [rollout.reward for rollout in rollouts]
    }
    for channel in config.reward.channels:
        name = channel.verifier
        columns[name] = [rollout.channels[name] for rollout in rollouts]
    if grpo.truncated == "punished":
        lengths = torch.tensor([rollout.n_tokens for rollout in rollouts])
        punishment = overlong_punishment(
            lengths, budget=grpo.max_new_tokens, buffer=grpo.overlong_buffer
        )
        columns[OVERLONG] = punishment.tolist()
    return ChannelRewards.of(columns, group_size=len(groups[0].rollouts))


def weights_of(config: TrainerConfig) -> dict[str, float]:
    """What each channel counts for."""
    weights = {CORRECTNESS: 1.0}
    weights |= {channel.verifier: channel.weight for channel in config.reward.channels}
    return weights | ({OVERLONG: OVERLONG_WEIGHT} if config.grpo.truncated == "punished" else {})


def advantages_of(
    experience: Experience,
    config: TrainerConfig,
    table: RewardTable | None,
    tokenizer: Tokenizer,
    ranks: Ranks,
) -> Tensor:
    """One advantage a row, (N,), or with process supervision one a token, (N, T).

    All processes ask for theirs at once. Not for objectives with a critic, whose advantages hang
    on its values.
    """
    objective = config.objective
    if table is not None:
        floor = max(objective.std_floor, STD_FLOORS.get(table.rule, 0.0))
        objective = replace(objective, std_floor=floor)
    if objective.advantage == "steps":
        advantage = _of_steps(experience, config, tokenizer)
    else:
        advantage = channel_advantages(
            rewards_of(experience.groups, config),
            weights=weights_of(config),
            objective=objective,
            combination=config.reward.combination,
            class_id_BG=_class_ids(experience.groups),
            counted_BG=experience.is_counted_N.cpu().view(len(experience.groups), -1),
            sums=ranks.sums,
        ).flatten()
    advantage = advantage.to(experience.is_counted_N.device)
    is_counted = experience.is_counted_N
    return torch.where(is_counted if advantage.ndim == 1 else is_counted[:, None], advantage, 0.0)


def _class_ids(groups: Sequence[Group]) -> Tensor:
    """(B, G): equal numbers of 0 or more are one answer class of the group; -1 = in no class."""
    rows = []
    for group in groups:
        # What a hack probe hit is not paid by its class either.
        names = [None if r.cell.probe else r.answer_class for r in group.rollouts]
        numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
        rows.append([-1 if name is None else numbers[name] for name in names])
    return torch.tensor(rows)


def _of_steps(experience: Experience, config: TrainerConfig, tokenizer: Tokenizer) -> Tensor:
    """(N, T): the scores of each rollout's steps, normalised over the group."""
    rollouts, tokens = experience.rollouts(), experience.completions.token_NT.tolist()
    scores = [rollout.step_scores or () for rollout in rollouts]
    ends = [
        step_ends(tokens[i][: rollout.n_tokens], rollout.response, tokenizer) if scores[i] else []
        for i, rollout in enumerate(rollouts)
    ]
    n_steps = max(1, *(len(row) for row in scores))
    reward_NS = torch.full((len(rollouts), n_steps), math.nan, dtype=torch.float64)
    end_NS = torch.zeros((len(rollouts), n_steps), dtype=torch.long)
    for i, (row, places) in enumerate(zip(scores, ends, strict=True)):
        if len(row) == len(places):
            reward_NS[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
            end_NS[i, : len(row)] = torch.tensor(places)
    shape = (len(experience.groups), -1, n_steps)
    kept_NS = ~reward_NS.isnan() & experience.is_counted_N.cpu()[:, None]
    return step_advantages(
        reward_NS.view(shape),
        kept_NS.view(shape),
        end_NS.view(shape),
        length=experience.completions.token_NT.shape[1],
        std_floor=config.objective.std_floor,
    ).flatten(0, 1)


def step_ends(tokens: Sequence[int], response: str, tokenizer: Tokenizer) -> list[int]:
    """The index of the token that holds each step's last character, for steps cut at blank lines.

    The last step ends with the completion, its end token included.
    """
    ends, behind = [], 0
    for step in steps_of(response):
        behind = response.index(step, behind) + len(step)
        ends.append(_token_at(tokens, behind, tokenizer))
    return [*ends[:-1], len(tokens) - 1] if ends else []


def _token_at(tokens: Sequence[int], n_characters: int, tokenizer: Tokenizer) -> int:
    """Index of the first token by which the text has so many characters, by bisection."""
    low, high = 1, len(tokens)
    while low < high:
        middle = (low + high) // 2
        if len(tokenizer.decode(tokens[:middle])) >= n_characters:
            high = middle
        else:
            low = middle + 1
    return low - 1


def by_length(rows: Tensor, mask_NT: Tensor) -> Tensor:
    """The rows, those of about the same length together: micro-batches are padded less."""
    return rows[mask_NT[rows].sum(dim=1).argsort(stable=True)]


def micro_batches(rows: Tensor, size: int) -> Iterator[Tensor]:
    """The rows in parts of at most `size`; 0 = all at once."""
    yield from torch.split(rows, size or max(1, len(rows)))
