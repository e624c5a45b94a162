"""A task and a model small enough to train in a test."""

from typing import Any

from trainer.config import TrainerConfig
from trainer.demo.task import VOCABULARY
from trainer.model import Tokenizer

TOKENIZER = Tokenizer(VOCABULARY)

TINY: dict[str, dict[str, Any]] = {
    "run": {"eval_every": 2, "eval_problems": 8, "checkpoint_every": 2},
    "model": {"layers": 1, "hidden_size": 16, "intermediate_size": 32, "heads": 2, "context": 48},
    "task": {"min_terms": 2, "max_terms": 3},
    "cold_start": {
        **{"threads": 1, "batch_size": 16, "min_steps": 2, "max_steps": 4},
        **{"check_every": 2, "check_problems": 8},
    },
    "grpo": {"steps": 4, "prompts_per_step": 4, "group_size": 4, "max_new_tokens": 24},
    "reward": {"warm_up_steps": 1, "wait_s": 0.2},
}


def make_config(**changes: dict[str, Any]) -> TrainerConfig:
    """`changes`: section -> keys, over the tiny defaults."""
    sections = TINY.keys() | changes.keys()
    merged = {name: TINY.get(name, {}) | changes.get(name, {}) for name in sections}
    return TrainerConfig.from_dict(merged)
