"""A task and a model small enough to train in a test."""

from typing import Any

import torch

from trainer.config import TrainerConfig
from trainer.demo.task import VOCABULARY
from trainer.tokenizers import ClosedTokenizer

torch.set_num_threads(1)  # two collapse where other processes use the same cores

TOKENIZER = ClosedTokenizer(VOCABULARY)

TINY: dict[str, dict[str, Any]] = {
    "run": {"eval_every": 2, "eval_problems": 8, "checkpoint_every": 2},
    "model": {"layers": 1, "hidden_size": 32, "intermediate_size": 64, "heads": 2, "context": 48},
    "task": {"min_terms": 2, "max_terms": 2},
    "cold_start": {
        **{"threads": 1, "learning_rate": 1e-2, "batch_size": 32, "max_steps": 100},
        **{"warm_up_steps": 5, "min_steps": 50, "check_every": 50, "check_problems": 16},
    },
    "grpo": {"steps": 4, "prompts_per_step": 8, "group_size": 4, "max_new_tokens": 24},
    "reward": {"warm_up_steps": 1, "wait_s": 0.2},
}


def make_config(
    stages: list[dict[str, Any]] | None = None, **changes: dict[str, Any]
) -> TrainerConfig:
    """`changes`: section -> keys, over the tiny defaults."""
    sections = TINY.keys() | changes.keys()
    merged: dict[str, Any] = {n: TINY.get(n, {}) | changes.get(n, {}) for n in sections}
    return TrainerConfig.from_dict(merged | ({} if stages is None else {"stages": stages}))
