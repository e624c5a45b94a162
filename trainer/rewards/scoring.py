"""From verdicts to rewards: the one lookup behind every trainer's hook and the server's call."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.rewards.cells import Cell, GroupRollout, cells_of_group
from trainer.rewards.table import Reward, RewardTable, raw_reward

# What decoders leave behind the last word: <|im_end|>, </s>, <eos>, <end_of_turn>, <pad> ...
_END_TOKEN = re.compile(
    r"(?:<[|\N{FULLWIDTH VERTICAL LINE}][^<>\s]{1,40}[|\N{FULLWIDTH VERTICAL LINE}]>"
    r"|</s>|<eos>|<pad>|<end_of_turn>|\s)\Z"
)
_LONGEST_END_TOKEN = 44


@dataclass(frozen=True, slots=True)
class Scored:
    """What a rollout is paid, and what that rests on.

    reward: None as its value = leave the rollout out of its group. value: the same for trainers
    that cannot leave one out. table_version: None = no table is published, the reward is the raw
    verdict.
    """

    reward: Reward
    cell: Cell
    answer_class: str | None
    table_version: int | None
    value: float


def score_group(
    rollouts: Sequence[GroupRollout],
    *,
    normaliser: str,
    domain: str,
    prompt: str | None = None,
    table: RewardTable | None,
) -> list[Scored]:
    """Each rollout's reward, in order, for the rollouts of one prompt.

    A rollout whose group is not at hand is a group of one: its cell has no answer share, and the
    table answers without it. prompt: the prompt's uid, for answers that labels have settled.
    Raises CellError (a rollout without verdicts) and UnknownNormaliserError.
    """
    cells = cells_of_group(rollouts, normaliser=normaliser, domain=domain)
    if table is None:
        rewards = [raw_reward(cell) for cell, _ in cells]
    else:
        rewards = table.rewards(cells, prompt=prompt)
    substitute = 0.0 if table is None else table.value_if_no_abstain
    return [
        Scored(
            reward=reward,
            cell=cell,
            answer_class=name,
            table_version=None if table is None else table.version,
            value=substitute if reward.value is None else reward.value,
        )
        for (cell, name), reward in zip(cells, rewards, strict=True)
    ]


def response_in(query: str, prompt: str) -> str | None:
    """The response in a decoded text of prompt and response, without the end tokens behind it.

    None where the text does not begin with the prompt: nobody can tell then where the response
    begins, and a prompt that is judged with it may hold the answer.
    """
    if not query.startswith(prompt):
        return None
    end = len(query)
    while found := _END_TOKEN.search(query, max(len(prompt), end - _LONGEST_END_TOKEN), end):
        end = found.start()
    return query[len(prompt) : end]
