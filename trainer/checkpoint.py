"""Everything a run needs to go on where it stopped, in one file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM

from trainer.config import ConfigError, TrainerConfig
from trainer.data import code_commit

FILE_NAME = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class TrainingState:
    """What changes while training; `restore` fills it in place."""

    model: LlamaForCausalLM
    optimiser: torch.optim.Optimizer
    generator: torch.Generator


def save(
    directory: Path, state: TrainingState, *, config: TrainerConfig, uid: str, step: int
) -> None:
    """Write the state after `step`; an interrupted write leaves the previous checkpoint whole."""
    contents = {
        "model": state.model.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "generator": state.generator.get_state(),
        "step": step,
        "uid": uid,
        "config": json.dumps(config.to_dict()),
        "commit": code_commit(),
    }
    unfinished = directory / f"{FILE_NAME}.part"
    torch.save(contents, unfinished)
    unfinished.replace(directory / FILE_NAME)


def saved_uid(directory: Path, config: TrainerConfig) -> str:
    """The uid of the run that the checkpoint belongs to.

    Raises ConfigError when there is no checkpoint or it was made with other settings.
    """
    contents = _contents(directory)
    if json.loads(contents["config"]) != json.loads(json.dumps(config.to_dict())):
        raise ConfigError(f"--resume: {directory} was made with other settings; use its recipe")
    return str(contents["uid"])


def restore(directory: Path, state: TrainingState) -> int:
    """Put the saved state into `state`; answers the step that it was saved after."""
    contents = _contents(directory)
    state.model.load_state_dict(contents["model"])
    state.optimiser.load_state_dict(contents["optimiser"])
    state.generator.set_state(contents["generator"])
    return int(contents["step"])


def _contents(directory: Path) -> dict[str, Any]:
    path = directory / FILE_NAME
    if not path.exists():
        raise ConfigError(f"--resume: there is no checkpoint in {directory}")
    contents: dict[str, Any] = torch.load(path, weights_only=True)
    return contents
