"""The reward path without the verifiers' time: from verdicts to cells to the table to advantages.

`python -m tests.bench.reward_path` prints what a step of 100,000 rollouts spends on it.
"""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trainer.advantages import group_advantages
from trainer.rewards import GroupRollout, RewardTable, cells_of_group
from trainer.verifiers import Outcome, Verdict

ROLLOUTS, GROUP = 100_000, 8
PATHS, FORMS = ("boxed", "last-number", "fallback"), ("integer", "decimal", "expression")
DOMAINS = ("arithmetic", "algebra", "geometry", "counting")
# Of a hundred prompts, so many have an answer that a label has settled.
SETTLED = 30
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Group:
    prompt: str
    domain: str
    rollouts: Sequence[GroupRollout]


@dataclass(frozen=True, slots=True)
class RewardPath:
    """Rollouts a second through each part, and through all of them."""

    cells_per_s: float
    lookups_per_s: float
    advantages_per_s: float
    rollouts_per_s: float


def reward_path_lookups_per_s() -> float:
    """Rewards looked up in a table a second, one process, classes and cells mixed."""
    return measure().lookups_per_s


def measure() -> RewardPath:
    """The fastest of some passes over the same batch, part by part."""
    groups = groups_of(random.Random(0))
    table = table_for(groups)
    seconds = [
        min(part) for part in zip(*(pass_over(groups, table) for _ in range(REPEATS)), strict=True)
    ]
    rollouts = sum(len(group.rollouts) for group in groups)
    return RewardPath(*(rollouts / part for part in seconds), rollouts / sum(seconds))


def pass_over(groups: Sequence[Group], table: RewardTable) -> tuple[float, float, float]:
    """Seconds for cells, for lookups, for advantages."""
    started = time.perf_counter()
    cells = [
        cells_of_group(group.rollouts, normaliser="number-1", domain=group.domain)
        for group in groups
    ]
    has_cells = time.perf_counter()
    rewards = [
        reward.value
        for group, found in zip(groups, cells, strict=True)
        for reward in table.rewards(found, prompt=group.prompt)
    ]
    has_rewards = time.perf_counter()
    kept_BG = torch.tensor([reward is not None for reward in rewards]).view(-1, GROUP)
    reward_BG = torch.tensor([0.0 if reward is None else reward for reward in rewards])
    group_advantages(reward_BG.view(-1, GROUP), kept_BG)
    has_advantages = time.perf_counter()
    return has_cells - started, has_rewards - has_cells, has_advantages - has_rewards


def groups_of(rng: random.Random) -> list[Group]:
    return [
        Group(
            prompt=f"p-{number}",
            domain=rng.choice(DOMAINS),
            rollouts=[rollout(rng, number) for _ in range(GROUP)],
        )
        for number in range(ROLLOUTS // GROUP)
    ]


def rollout(rng: random.Random, number: int) -> GroupRollout:
    is_right = rng.random() < 0.5
    return GroupRollout(
        verdicts=(
            Verdict(
                outcome=Outcome.PASS if is_right else Outcome.FAIL,
                score=rng.random(),
                extracted=str(number if is_right else number + rng.randint(1, 5)),
                path=rng.choice(PATHS),
                form=rng.choice(FORMS),
                candidates=1 + (rng.random() < 0.05),
                seconds=0.0,
            ),
        ),
        truncated=rng.random() < 0.03,
        probe=rng.random() < 0.02,
    )


def table_for(groups: Sequence[Group]) -> RewardTable:
    """A table that knows every other cell of the batch, and the right answers of some prompts."""
    found = (
        cell.key
        for group in groups
        for cell, _ in cells_of_group(group.rollouts, normaliser="number-1", domain=group.domain)
    )
    keys = list(dict.fromkeys(found))[::2]
    fallback = {str(outcome): entry(0.5, "verdict") for outcome in Outcome}
    return RewardTable.from_json(
        {
            "format": 1,
            "run": "bench",
            "version": 1,
            "rule": "demote_or_abstain",
            "cell_version": 1,
            "normaliser": "number-1",
            "verifiers": ["bench@1"],
            "valid_from_step": 0,
            "valid_to_step": 1,
            "label_set": "bench",
            "n_labels": 1000,
            "windows": [],
            "value_if_no_abstain": 0.0,
            "cells": {key: entry(i % 1024 / 1024, "cell") for i, key in enumerate(keys)},
            "fallback": fallback,
            "classes": {
                group.prompt: {str(number): 1.0}
                for number, group in enumerate(groups)
                if number % 100 < SETTLED
            },
        }
    )


def entry(value: float, level: str) -> dict[str, Any]:
    numbers = dict.fromkeys(("p_correct", "low", "high", "unbiased", "tpr", "fpr", "youden_j"), 0.5)
    return {"value": value, "abstain": False, "n": 1, "level": level, **numbers}


def main() -> None:
    torch.set_num_threads(1)
    path = measure()
    print(f"a batch of {ROLLOUTS:,} rollouts in groups of {GROUP}, per second and process:")
    print(f"  verdicts to cells      {path.cells_per_s:12,.0f}")
    print(f"  cells to rewards       {path.lookups_per_s:12,.0f}")
    print(f"  rewards to advantages  {path.advantages_per_s:12,.0f}")
    print(f"  all of it              {path.rollouts_per_s:12,.0f}")
    figures = {
        "lookups_per_s": round(path.lookups_per_s),
        "rollouts_per_s": round(path.rollouts_per_s),
    }
    print(json.dumps({"bench": "reward-path", "figures": figures}))


if __name__ == "__main__":
    main()
